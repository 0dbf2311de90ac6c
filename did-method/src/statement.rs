//! What is hashed and signed around an operation: operation hashes, transaction ids, author and submitter strings.
//!
//! Nothing signed contains a signature (PROTOCOL §2.1): a signature in the id would make a re-signed copy a second
//! transaction. Whether a key may sign is not decided here.

use sillok_proto::{Hash, Tag, encode, v1};

/// O = H(genesis, operation): the operation's name in every signature about it (PROTOCOL §2.1).
#[must_use]
pub fn operation_hash(genesis: &Hash, operation: &v1::Operation) -> Hash {
    Tag::Operation.hash_message_in(genesis, operation)
}

/// The hash of the operations of a body in their order, for authors whose operation must not be torn from the others.
#[must_use]
pub fn operation_list_hash(genesis: &Hash, operations: &[v1::Operation]) -> Hash {
    let hashes: Vec<Hash> = operations.iter().map(|one| operation_hash(genesis, one)).collect();
    list_hash(genesis, &hashes)
}

fn list_hash(genesis: &Hash, hashes: &[Hash]) -> Hash {
    let mut parts: Vec<&[u8]> = vec![&genesis.0];
    parts.extend(hashes.iter().map(|hash| hash.0.as_slice()));
    Tag::OperationList.hash(&parts)
}

/// Transaction id = H(genesis, body).
#[must_use]
pub fn transaction_id(genesis: &Hash, body: &v1::TransactionBody) -> Hash {
    Tag::Transaction.hash_message_in(genesis, body)
}

/// The string a submitter signs: its tag, the genesis hash, and the transaction id.
#[must_use]
pub fn submitter_string(genesis: &Hash, transaction_id: &Hash) -> Vec<u8> {
    Tag::SignSubmit.signed_string(genesis, &transaction_id.0)
}

/// The string that is signed to prepare a transaction: the id under a tag of its own, so that it is no submission.
#[must_use]
pub fn prepare_string(genesis: &Hash, transaction_id: &Hash) -> Vec<u8> {
    Tag::SignPrepare.signed_string(genesis, &transaction_id.0)
}

/// The string that is signed to read what is private: who asks, what for, and a header of a moment ago.
#[must_use]
pub fn read_string(genesis: &Hash, statement: &v1::ReadStatement) -> Vec<u8> {
    Tag::SignRead.signed_string(genesis, &encode(statement))
}

/// The hashes of a body's operations, each computed once: a long list whose operations may not be torn apart would
/// else be hashed whole for each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationHashes<'a> {
    submitter: &'a [u8],
    hashes: Vec<Hash>,
    list: Hash,
}

impl<'a> OperationHashes<'a> {
    /// Those of `body`.
    #[must_use]
    pub fn of(genesis: &Hash, body: &'a v1::TransactionBody) -> Self {
        let hashes: Vec<Hash> =
            body.operations.iter().map(|one| operation_hash(genesis, one)).collect();
        let list = list_hash(genesis, &hashes);
        Self { submitter: &body.submitter, hashes, list }
    }

    /// O of operation `index`. `None` if the body has no such operation.
    #[must_use]
    pub fn operation(&self, index: usize) -> Option<Hash> {
        self.hashes.get(index).copied()
    }

    /// The statement that all signers of operation `index` agree to, under the terms that stand beside their
    /// signatures (PROTOCOL §2.2). `None` if the body has no such operation.
    #[must_use]
    pub fn author_statement(
        &self,
        index: usize,
        terms: &v1::OperationSignatures,
    ) -> Option<v1::AuthorStatement> {
        Some(v1::AuthorStatement {
            operation_hash: self.hashes.get(index)?.to_vec(),
            submitter: if terms.any_submitter { Vec::new() } else { self.submitter.to_vec() },
            valid_until_ms: terms.valid_until_ms,
            operation_list_hash: if terms.whole_list { self.list.to_vec() } else { Vec::new() },
        })
    }
}

/// The statement that all signers of operation `index` of `body` agree to; see
/// [`OperationHashes::author_statement`].
#[must_use]
pub fn author_statement(
    genesis: &Hash,
    body: &v1::TransactionBody,
    index: usize,
    terms: &v1::OperationSignatures,
) -> Option<v1::AuthorStatement> {
    OperationHashes::of(genesis, body).author_statement(index, terms)
}

/// The string an author signs.
#[must_use]
pub fn author_string(genesis: &Hash, statement: &v1::AuthorStatement) -> Vec<u8> {
    Tag::SignAuthor.signed_string(genesis, &encode(statement))
}

/// The name of an author-signed statement in the replay window (PROTOCOL §2.3): it runs once, whoever carries it.
#[must_use]
pub fn author_statement_hash(genesis: &Hash, statement: &v1::AuthorStatement) -> Hash {
    Tag::AuthorStatement.hash_message_in(genesis, statement)
}

/// The string an approver signs.
#[must_use]
pub fn approval_string(genesis: &Hash, statement: &v1::ApprovalStatement) -> Vec<u8> {
    Tag::SignApproval.signed_string(genesis, &encode(statement))
}

/// The string an acting role signs: which operation of which transaction. The id covers submitter, valid-until and all
/// operations, so that what was signed once cannot stand in another transaction.
#[must_use]
pub fn acting_role_string(genesis: &Hash, statement: &v1::ActingStatement) -> Vec<u8> {
    Tag::SignActingRole.signed_string(genesis, &encode(statement))
}

/// The string a holder's one-time key and enrollment key sign: the same under a tag of its own.
#[must_use]
pub fn holder_string(genesis: &Hash, statement: &v1::ActingStatement) -> Vec<u8> {
    Tag::SignHolder.signed_string(genesis, &encode(statement))
}

/// The name of a credential type: H(genesis, publisher, nonce, first version). Whoever sees it pending cannot take it.
#[must_use]
pub fn credential_type_name(
    genesis: &Hash,
    publisher: &Hash,
    nonce: &[u8; 16],
    first: &v1::TypeVersion,
) -> Hash {
    Tag::CredentialType.hash(&[&genesis.0, &publisher.0, nonce, &encode(first)])
}

/// The name of a status list: H(genesis, issuer, type, nonce).
#[must_use]
pub fn status_list_name(
    genesis: &Hash,
    issuer: &Hash,
    credential_type: &Hash,
    nonce: &[u8; 16],
) -> Hash {
    Tag::StatusList.hash(&[&genesis.0, &issuer.0, &credential_type.0, nonce])
}

/// The name of a proposal, which approvals cover (PROTOCOL §7.3): H(genesis, proposal).
#[must_use]
pub fn proposal_hash(genesis: &Hash, proposal: &v1::Proposal) -> Hash {
    Tag::GovernanceProposal.hash_message_in(genesis, proposal)
}

/// H(figures): how new ones name those that they were made of.
#[must_use]
pub fn parameters_hash(parameters: &v1::Parameters) -> Hash {
    Tag::Parameters.hash_message(parameters)
}

/// H(head): how a version is named by the next one and by an operation that builds on it.
#[must_use]
pub fn head_hash(head: &v1::Head) -> Hash {
    Tag::Head.hash_message(head)
}

/// H(private content): how a body names it. The salt inside keeps the hash from being guessed.
#[must_use]
pub fn private_content_hash(content: &v1::PrivateContent) -> Hash {
    Tag::PrivateContent.hash_message(content)
}
