//! The operations of governance, as far as they can be checked without state (PROTOCOL §7.3).
//!
//! Here: that every key is one, that an operator's three are three, that a proposal proposes something. What is *not*
//! here: who is a member, which key was used before, dates and thresholds; they need the state and belong to the ledger.

use super::{EndedGrant, NewGrant, OperationError, hash};
use crate::key::{self, key_id};
use sillok_proto::{Hash, v1};

/// A new member, or new keys of one: its organization and three keys, each a valid Ed25519 key, no two the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorKeys {
    /// Digest of the organization.
    pub organization: Hash,
    /// Votes.
    pub validator_key: [u8; 32],
    /// The identity of its node.
    pub node_key: [u8; 32],
    /// Authors governance operations.
    pub governance_key: [u8; 32],
    /// Does its node keep everything?
    pub archive: bool,
}

/// What a proposal changes once it is executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new member. It is seated when its validator key joins.
    AdmitOperator(OperatorKeys),
    /// New keys of a member. The validator key takes over when it joins.
    ReplaceOperator(OperatorKeys),
    /// A member leaves.
    RemoveOperator {
        /// Digest of the organization.
        organization: Hash,
    },
    /// A node that replicates without voting.
    AdmitObserver {
        /// The identity of the node.
        node_key: [u8; 32],
        /// Does it keep everything?
        archive: bool,
    },
    /// An observer leaves.
    RemoveObserver {
        /// The identity of the node.
        node_key: [u8; 32],
    },
    /// A grant of the first level.
    Accredit(NewGrant),
    /// The end of a grant, of whatever level.
    Withdraw(EndedGrant),
    /// All figures of the network, also those that stay. Their ranges are the ledger's to check.
    SetParameters {
        /// See [`crate::parameters_hash`]: of the figures that these were made of.
        previous: Hash,
        /// The new ones, which name the previous.
        parameters: v1::Parameters,
    },
}

/// Opening a proposal, which the proposer approves by opening it.
#[derive(Debug, Clone, PartialEq)]
pub struct Propose {
    /// Digest of the operator.
    pub operator: Hash,
    /// What is proposed, as it is hashed and stored.
    pub proposal: v1::Proposal,
}

/// Approving a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approve {
    /// Digest of the operator.
    pub operator: Hash,
    /// Name of the proposal; see [`crate::proposal_hash`].
    pub proposal: Hash,
}

/// Seating a validator key that was approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// Digest of the operator.
    pub operator: Hash,
    /// The key that is seated and signs this.
    pub validator_key: [u8; 32],
    /// Height of a recent header of the chain.
    pub header_height: u64,
    /// Its hash.
    pub header_hash: Hash,
}

/// An operator's own new validator key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rekey {
    /// Digest of the operator.
    pub operator: Hash,
    /// The key that may join.
    pub validator_key: [u8; 32],
}

/// The key of the registry that these 32 bytes are, so that it is named and verified like every other.
#[must_use]
pub fn ed25519_key(point: &[u8]) -> v1::PublicKey {
    v1::PublicKey { algorithm: v1::Algorithm::Ed25519.into(), point: point.to_vec() }
}

/// The 32 bytes of an Ed25519 key that is canonical and not of small order: one of small order would let anybody
/// sign for it (PROTOCOL §1.3).
fn ed25519(point: &[u8], field: &'static str) -> Result<[u8; 32], OperationError> {
    key::ed25519(point).map_err(|source| OperationError::OperatorKey { field, source })?;
    point.try_into().map_err(|_| OperationError::HashLength { field, len: point.len() })
}

impl OperatorKeys {
    fn check(operator: &v1::Operator) -> Result<Self, OperationError> {
        let keys = Self {
            organization: hash(&operator.organization, "organization")?,
            validator_key: ed25519(&operator.validator_key, "validator_key")?,
            node_key: ed25519(&operator.node_key, "node_key")?,
            governance_key: ed25519(&operator.governance_key, "governance_key")?,
            archive: operator.archive,
        };
        // One key has one use: the validator key is hot, the governance key is not.
        for (a, b, fields) in [
            (&keys.validator_key, &keys.node_key, ["validator_key", "node_key"]),
            (&keys.validator_key, &keys.governance_key, ["validator_key", "governance_key"]),
            (&keys.node_key, &keys.governance_key, ["node_key", "governance_key"]),
        ] {
            if a == b {
                let key_id = key_id(&ed25519_key(a));
                return Err(OperationError::OperatorKeyTwice { fields, key_id });
            }
        }
        Ok(keys)
    }
}

impl Change {
    /// Checks what a proposal changes.
    ///
    /// # Errors
    ///
    /// [`OperationError`]: nothing to change, or a digest or key that is none.
    pub fn check(proposal: &v1::Proposal) -> Result<Self, OperationError> {
        use v1::change::Change as Wire;
        if proposal.expires_ms == 0 {
            return Err(OperationError::ProposalWithoutEnd);
        }
        let change = proposal.change.as_ref().and_then(|change| change.change.as_ref());
        match change.ok_or(OperationError::ProposalWithoutChange)? {
            Wire::AdmitOperator(operator) => OperatorKeys::check(operator).map(Self::AdmitOperator),
            Wire::ReplaceOperator(operator) => {
                OperatorKeys::check(operator).map(Self::ReplaceOperator)
            }
            Wire::RemoveOperator(remove) => Ok(Self::RemoveOperator {
                organization: hash(&remove.organization, "organization")?,
            }),
            Wire::AdmitObserver(observer) => Ok(Self::AdmitObserver {
                node_key: ed25519(&observer.node_key, "node_key")?,
                archive: observer.archive,
            }),
            Wire::RemoveObserver(remove) => {
                Ok(Self::RemoveObserver { node_key: ed25519(&remove.node_key, "node_key")? })
            }
            Wire::Accredit(grant) => NewGrant::check(grant).map(Self::Accredit),
            Wire::Withdraw(grant) => EndedGrant::check(grant).map(Self::Withdraw),
            Wire::SetParameters(figures) => {
                let previous = hash(&figures.previous, "previous")?;
                Ok(Self::SetParameters { previous, parameters: figures.clone() })
            }
        }
    }
}

impl Propose {
    pub(super) fn check(op: &v1::Propose) -> Result<Self, OperationError> {
        let operator = hash(&op.operator, "operator")?;
        let proposal = op.proposal.clone().ok_or(OperationError::ProposalWithoutChange)?;
        Change::check(&proposal)?;
        Ok(Self { operator, proposal })
    }
}

impl Approve {
    pub(super) fn check(op: &v1::Approve) -> Result<Self, OperationError> {
        Ok(Self {
            operator: hash(&op.operator, "operator")?,
            proposal: hash(&op.proposal_hash, "proposal_hash")?,
        })
    }
}

impl Join {
    pub(super) fn check(op: &v1::Join) -> Result<Self, OperationError> {
        Ok(Self {
            operator: hash(&op.operator, "operator")?,
            validator_key: ed25519(&op.validator_key, "validator_key")?,
            header_height: op.header_height,
            header_hash: hash(&op.header_hash, "header_hash")?,
        })
    }
}

impl Rekey {
    pub(super) fn check(op: &v1::Rekey) -> Result<Self, OperationError> {
        Ok(Self {
            operator: hash(&op.operator, "operator")?,
            validator_key: ed25519(&op.validator_key, "validator_key")?,
        })
    }
}
