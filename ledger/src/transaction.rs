//! A transaction: its four parts, its names, and everything about it that is decidable without state.
//!
//! [`CheckedTransaction`] says: bounded, complete, every document where it is named, every operation well formed. It
//! says nothing about signatures, versions or grants; those are [`crate::admit`]'s.

use crate::AdmissionError;
use crate::merkle_log::TransactionHasher;
use sillok_did_method::{
    CheckedOperation, OperationHashes, author_statement_hash, author_string, check_named_document,
    transaction_id,
};
use sillok_proto::{Hash, Tag, encode, v1};

/// Longest encoded transaction, in bytes. One transaction may carry 10,000 entry changes.
pub const TRANSACTION_BYTES_MAX: usize = 512 * 1024;
/// Most operations of a transaction.
pub const OPERATIONS_MAX: usize = 256;
/// Most signatures beside one operation: a document's keys, an authority and a countersigner.
pub const SIGNATURES_MAX: usize = 20;
/// Most leaves that an operation on members writes: the proposal, the members, the operator, two used keys, and the
/// observer that became a member.
const GOVERNANCE_WRITES_MAX: usize = 6;
/// Most that a grant writes: 64 periods, the index of 256 grants, and the name, each full 1,024 bytes counted as a leaf.
const ACCREDIT_WRITES_MAX: usize = 17;
/// The 64 periods.
const WITHDRAW_WRITES_MAX: usize = 6;
/// A type, and a version of it, which has less than 1,024 bytes.
const PUBLISH_TYPE_WRITES: usize = 2;

/// The names of a transaction in the transactions root (PROTOCOL §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionLeaf {
    /// H(genesis, body).
    pub id: Hash,
    /// H(public signatures).
    pub signatures: Hash,
    /// H(salt, private signatures); of the empty message when there are none.
    pub private_signatures: Hash,
}

impl TransactionLeaf {
    /// The names of `transaction`, which need not be checked yet. `None` without a body.
    #[must_use]
    pub fn of(genesis: &Hash, transaction: &v1::Transaction) -> Option<Self> {
        // Absent is the empty message, whose encoding is empty.
        let signatures = transaction.signatures.as_ref().map(encode).unwrap_or_default();
        let private = transaction.private_signatures.as_ref().map(encode).unwrap_or_default();
        Some(Self {
            id: transaction_id(genesis, transaction.body.as_ref()?),
            signatures: Tag::Signatures.hash(&[&signatures]),
            private_signatures: Tag::PrivateSignatures.hash(&[&private]),
        })
    }

    /// The hash of the leaf.
    #[must_use]
    pub fn hash(&self) -> Hash {
        TransactionHasher::leaf(&self.id, &self.signatures, &self.private_signatures)
    }
}

/// The authors' side of one operation: what they agreed to, and their signatures.
#[derive(Debug, Clone, PartialEq)]
pub struct Authorship {
    /// May any submitter carry it?
    pub any_submitter: bool,
    /// Ledger time until which the authors want it, in milliseconds.
    pub valid_until_ms: u64,
    /// Its name in the replay window.
    pub statement_hash: Hash,
    /// What each of them signed.
    pub string: Vec<u8>,
    /// By ascending key id.
    pub signatures: Vec<Signature>,
}

/// A signature and the key that is said to have made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// H(algorithm, point).
    pub key_id: Hash,
    /// 64 bytes.
    pub bytes: Vec<u8>,
}

impl Signature {
    fn read(signature: &v1::KeySignature) -> Result<Self, AdmissionError> {
        let key_id = Hash::from_slice(&signature.key_id).ok_or(AdmissionError::SignatureLength)?;
        if signature.signature.len() != 64 {
            return Err(AdmissionError::SignatureLength);
        }
        Ok(Self { key_id, bytes: signature.signature.clone() })
    }
}

/// A transaction that is well formed. See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedTransaction {
    /// Its names.
    pub leaf: TransactionLeaf,
    /// Digest of the submitter.
    pub submitter: Hash,
    /// Ledger time until which it may be ordered, in milliseconds.
    pub valid_until_ms: u64,
    /// The operations with their authors, in order.
    pub operations: Vec<(CheckedOperation, Authorship)>,
    /// The submitter's signature over the id.
    pub submitter_signature: Signature,
    /// Length of the encoded transaction, in bytes.
    pub size_bytes: usize,
}

impl CheckedTransaction {
    /// Checks `transaction` as far as no state is needed.
    ///
    /// # Errors
    ///
    /// [`AdmissionError`]: the first rule broken.
    pub fn check(genesis: &Hash, transaction: &v1::Transaction) -> Result<Self, AdmissionError> {
        let size_bytes = prost::Message::encoded_len(transaction);
        if size_bytes > TRANSACTION_BYTES_MAX {
            return Err(AdmissionError::TransactionTooLong {
                len: size_bytes,
                max: TRANSACTION_BYTES_MAX,
            });
        }
        let missing = |part| AdmissionError::MissingPart { part };
        let body = transaction.body.as_ref().ok_or_else(|| missing("body"))?;
        let signatures = transaction.signatures.as_ref().ok_or_else(|| missing("signatures"))?;
        let submitter_signature =
            signatures.submitter.as_ref().ok_or_else(|| missing("submitter's signature"))?;
        let submitter = Hash::from_slice(&body.submitter).ok_or_else(|| missing("submitter"))?;
        let count = body.operations.len();
        if count == 0 || count > OPERATIONS_MAX {
            return Err(AdmissionError::OperationCount { count, max: OPERATIONS_MAX });
        }
        if signatures.operations.len() != count {
            return Err(AdmissionError::SignatureListLength {
                signed: signatures.operations.len(),
                operations: count,
            });
        }
        check_private_parts(transaction)?;
        let hashes = OperationHashes::of(genesis, body);
        let mut documents = transaction.documents.iter();
        let mut operations = Vec::with_capacity(count);
        for (index, (operation, terms)) in
            body.operations.iter().zip(&signatures.operations).enumerate()
        {
            let checked = CheckedOperation::check(operation, &mut documents)
                .map_err(|source| AdmissionError::Operation { operation: index, source })?;
            let statement = hashes
                .author_statement(index, terms)
                .ok_or(AdmissionError::OperationCount { count, max: OPERATIONS_MAX })?;
            operations.push((checked, authorship(genesis, index, terms, &statement)?));
        }
        if documents.next().is_some() {
            return Err(AdmissionError::UnexpectedPart { part: "a document" });
        }
        let leaf = TransactionLeaf::of(genesis, transaction).ok_or_else(|| missing("body"))?;
        Ok(Self {
            leaf,
            submitter,
            valid_until_ms: body.valid_until_ms,
            operations,
            submitter_signature: Signature::read(submitter_signature)?,
            size_bytes,
        })
    }

    /// Are the parts beside the body those that it names? Until this is known, what is wrong with the transaction may
    /// be the work of whoever passed it on: no hash but those in the body covers them.
    ///
    /// # Errors
    ///
    /// [`AdmissionError`]: a part is missing, another, or too many.
    pub(crate) fn check_parts(transaction: &v1::Transaction) -> Result<(), AdmissionError> {
        check_private_parts(transaction)?;
        let operations = transaction.body.as_ref().map_or(&[][..], |body| &body.operations);
        let mut documents = transaction.documents.iter();
        for (index, operation) in operations.iter().enumerate() {
            check_named_document(operation, &mut documents)
                .map_err(|source| AdmissionError::Operation { operation: index, source })?;
        }
        match documents.next() {
            Some(_) => Err(AdmissionError::UnexpectedPart { part: "a document" }),
            None => Ok(()),
        }
    }

    /// How many signatures its execution checks at the most.
    #[must_use]
    pub fn signature_count(&self) -> usize {
        self.operations
            .iter()
            .fold(1, |sum: usize, (_, authors)| sum.saturating_add(authors.signatures.len()))
    }

    /// How many leaves its execution writes at the most.
    #[must_use]
    pub fn write_count(&self) -> usize {
        self.operations.iter().fold(0, |sum: usize, (operation, authors)| {
            sum.saturating_add(match operation {
                CheckedOperation::Create(_)
                | CheckedOperation::Update(_)
                | CheckedOperation::SetDevice(_)
                | CheckedOperation::Deactivate(_) => {
                    // The head, and a used key for each signature.
                    authors.signatures.len().saturating_add(1)
                }
                // A change may be of a grant, which takes the place of what it would do to members.
                CheckedOperation::Propose(_) | CheckedOperation::Approve(_) => {
                    GOVERNANCE_WRITES_MAX.saturating_add(ACCREDIT_WRITES_MAX)
                }
                CheckedOperation::Join(_) | CheckedOperation::Rekey(_) => GOVERNANCE_WRITES_MAX,
                CheckedOperation::Accredit(_) => ACCREDIT_WRITES_MAX,
                CheckedOperation::Withdraw(_) => WITHDRAW_WRITES_MAX,
                CheckedOperation::PublishType(_) => PUBLISH_TYPE_WRITES,
            })
        })
    }

    /// What it puts into the replay window: its id and the statements of its authors, with the end of each.
    #[must_use]
    pub fn replay_entries(&self) -> Vec<(Hash, u64)> {
        let mut entries = vec![(self.leaf.id, self.valid_until_ms)];
        entries.extend(
            self.operations
                .iter()
                .filter(|(_, authors)| !authors.signatures.is_empty())
                .map(|(_, authors)| (authors.statement_hash, authors.valid_until_ms)),
        );
        entries
    }
}

/// No operation of this protocol version has private contents or private signatures.
fn check_private_parts(transaction: &v1::Transaction) -> Result<(), AdmissionError> {
    if !transaction.private_contents.is_empty() {
        return Err(AdmissionError::UnexpectedPart { part: "a private content" });
    }
    // Also the empty message, whose hash is that of none at all.
    if transaction.private_signatures.is_some() {
        return Err(AdmissionError::UnexpectedPart { part: "private signatures" });
    }
    Ok(())
}

fn authorship(
    genesis: &Hash,
    index: usize,
    terms: &v1::OperationSignatures,
    statement: &v1::AuthorStatement,
) -> Result<Authorship, AdmissionError> {
    let count = terms.signatures.len();
    if count > SIGNATURES_MAX {
        return Err(AdmissionError::TooManySignatures {
            operation: index,
            count,
            max: SIGNATURES_MAX,
        });
    }
    // Nothing signs the terms when nobody signs under them, so they must say nothing.
    if terms.signatures.is_empty() && *terms != v1::OperationSignatures::default() {
        return Err(AdmissionError::TermsWithoutSignature { operation: index });
    }
    let signatures = terms.signatures.iter().map(Signature::read).collect::<Result<Vec<_>, _>>()?;
    if signatures.windows(2).any(|pair| pair[0].key_id >= pair[1].key_id) {
        return Err(AdmissionError::SignatureOrder { operation: index });
    }
    Ok(Authorship {
        any_submitter: terms.any_submitter,
        valid_until_ms: terms.valid_until_ms,
        statement_hash: author_statement_hash(genesis, statement),
        string: author_string(genesis, statement),
        signatures,
    })
}
