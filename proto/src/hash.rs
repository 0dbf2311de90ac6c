//! Tagged hashes and signed strings: one tag for each meaning, so that no byte string can stand for another.
//!
//! `H(tag, parts) = BLAKE3(tag || 0x00 || parts…)`. A tag is ASCII beginning with `s`, which no protobuf message of
//! ours begins with, and ends at the zero byte; the parts are of fixed length except the last.
//! A signed string is `tag || 0x00 || genesis hash || statement`.

use crate::canonical;
use prost::Message;
use std::fmt;

/// 32 bytes of BLAKE3 (or, in the history log alone, SHA-256).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash in a `bytes` field, if the field holds 32 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes as a field of a message.
    #[must_use]
    pub fn to_vec(self) -> Vec<u8> {
        self.0.to_vec()
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl From<[u8; 32]> for Hash {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// What a hash or a signature is about. Each string is law: changing one is a new protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names are those of the messages they tag")]
pub enum Tag {
    Genesis,
    Key,
    Document,
    Head,
    PrivateContent,
    Operation,
    OperationList,
    Transaction,
    Signatures,
    PrivateSignatures,
    TransactionLeaf,
    TransactionNode,
    Transactions,
    Header,
    ValidatorSet,
    TreeKey,
    /// Name of a [`crate::v1::Proposal`].
    GovernanceProposal,
    /// The figures that others were made of: [`crate::v1::Parameters`].
    Parameters,
    /// Name of a credential type.
    CredentialType,
    /// Name of a status list.
    StatusList,
    /// Salt of a private leaf, from that of a private content.
    LeafSalt,
    /// Replay entry of an author-signed statement.
    AuthorStatement,
    /// Where a submitter stands among those that have a transaction for the next block.
    Turn,
    /// Signed by the submitter: the transaction body.
    SignSubmit,
    /// Signed by who prepares a transaction: its body.
    SignPrepare,
    /// Signed by who reads what is private: [`crate::v1::ReadStatement`].
    SignRead,
    /// Signed by authors: [`crate::v1::AuthorStatement`].
    SignAuthor,
    /// Signed by approvers: [`crate::v1::ApprovalStatement`].
    SignApproval,
    /// Signed by an acting role: [`crate::v1::ActingStatement`].
    SignActingRole,
    /// Signed by a holder's one-time and enrollment keys: [`crate::v1::ActingStatement`].
    SignHolder,
    /// Signed by validators: [`crate::v1::VoteStatement`].
    SignPrevote,
    /// Signed by validators: [`crate::v1::VoteStatement`].
    SignPrecommit,
    /// Signed by proposers: [`crate::v1::ProposalStatement`].
    SignProposal,
    /// Signed by validators that found a block invalid: [`crate::v1::VoteStatement`].
    SignRefusal,
}

impl Tag {
    /// Every tag, in the order of the enum.
    pub const ALL: [Self; 34] = [
        Self::Genesis,
        Self::Key,
        Self::Document,
        Self::Head,
        Self::PrivateContent,
        Self::Operation,
        Self::OperationList,
        Self::Transaction,
        Self::Signatures,
        Self::PrivateSignatures,
        Self::TransactionLeaf,
        Self::TransactionNode,
        Self::Transactions,
        Self::Header,
        Self::ValidatorSet,
        Self::TreeKey,
        Self::GovernanceProposal,
        Self::Parameters,
        Self::CredentialType,
        Self::StatusList,
        Self::LeafSalt,
        Self::AuthorStatement,
        Self::Turn,
        Self::SignSubmit,
        Self::SignPrepare,
        Self::SignRead,
        Self::SignAuthor,
        Self::SignApproval,
        Self::SignActingRole,
        Self::SignHolder,
        Self::SignPrevote,
        Self::SignPrecommit,
        Self::SignProposal,
        Self::SignRefusal,
    ];

    /// The ASCII string that stands before the hashed or signed bytes.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Genesis => "sillok/v1/genesis",
            Self::Key => "sillok/v1/key",
            Self::Document => "sillok/v1/document",
            Self::Head => "sillok/v1/head",
            Self::PrivateContent => "sillok/v1/private-content",
            Self::Operation => "sillok/v1/operation",
            Self::OperationList => "sillok/v1/operation-list",
            Self::Transaction => "sillok/v1/transaction",
            Self::Signatures => "sillok/v1/signatures",
            Self::PrivateSignatures => "sillok/v1/private-signatures",
            Self::TransactionLeaf => "sillok/v1/transaction-leaf",
            Self::TransactionNode => "sillok/v1/transaction-node",
            Self::Transactions => "sillok/v1/transactions",
            Self::Header => "sillok/v1/header",
            Self::ValidatorSet => "sillok/v1/validator-set",
            Self::TreeKey => "sillok/v1/tree-key",
            Self::GovernanceProposal => "sillok/v1/governance-proposal",
            Self::Parameters => "sillok/v1/parameters",
            Self::CredentialType => "sillok/v1/credential-type",
            Self::StatusList => "sillok/v1/status-list",
            Self::LeafSalt => "sillok/v1/leaf-salt",
            Self::AuthorStatement => "sillok/v1/author-statement",
            Self::Turn => "sillok/v1/turn",
            Self::SignSubmit => "sillok/v1/sign/submit",
            Self::SignPrepare => "sillok/v1/sign/prepare",
            Self::SignRead => "sillok/v1/sign/read",
            Self::SignAuthor => "sillok/v1/sign/author",
            Self::SignApproval => "sillok/v1/sign/approval",
            Self::SignActingRole => "sillok/v1/sign/acting-role",
            Self::SignHolder => "sillok/v1/sign/holder",
            Self::SignPrevote => "sillok/v1/sign/prevote",
            Self::SignPrecommit => "sillok/v1/sign/precommit",
            Self::SignProposal => "sillok/v1/sign/proposal",
            Self::SignRefusal => "sillok/v1/sign/refusal",
        }
    }

    /// `H(tag, parts)`.
    #[must_use]
    pub fn hash(self, parts: &[&[u8]]) -> Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.as_str().as_bytes());
        hasher.update(&[0]);
        for part in parts {
            hasher.update(part);
        }
        Hash(hasher.finalize().into())
    }

    /// `H(tag, message)`.
    #[must_use]
    pub fn hash_message<M: Message>(self, message: &M) -> Hash {
        self.hash(&[&canonical::encode(message)])
    }

    /// `H(tag, genesis hash || message)`.
    #[must_use]
    pub fn hash_message_in<M: Message>(self, genesis: &Hash, message: &M) -> Hash {
        self.hash(&[&genesis.0, &canonical::encode(message)])
    }

    /// The string that is signed: `tag || 0x00 || genesis hash || statement`.
    #[must_use]
    pub fn signed_string(self, genesis: &Hash, statement: &[u8]) -> Vec<u8> {
        let tag = self.as_str().as_bytes();
        let mut out = Vec::with_capacity(tag.len() + 1 + 32 + statement.len());
        out.extend_from_slice(tag);
        out.push(0);
        out.extend_from_slice(&genesis.0);
        out.extend_from_slice(statement);
        out
    }
}
