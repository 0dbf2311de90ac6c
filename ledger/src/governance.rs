//! How members change: the figures that are law, and what an event stream may say about it (PROTOCOL §7.3).
//!
//! The rules themselves are in `operation/`: propose, approve, join, rekey.

use sillok_proto::Hash;

/// A change of the set in block h is in force at height h + 2: header h + 1 announces it, and header h, which was
/// certified by a set fixed before, does not depend on what the block does to members (PROTOCOL §6.2).
pub const MEMBERSHIP_DELAY: u64 = 2;
/// A change of the figures in block h is in force at height h + 1, whose parent state holds them.
pub const PARAMETERS_DELAY: u64 = 1;
/// Shortest window that a network may go over to, 3 minutes: what is signed away from the network, as governance is, is
/// carried to the key and back by hand.
pub const PARAMETERS_VALID_UNTIL_WINDOW_MS_MIN: u64 = 180_000;
/// Shortest heartbeat and nearest clocks that a network may go over to, in milliseconds.
pub const PARAMETERS_CLOCK_MS_MIN: u64 = 1_000;
/// Longest heartbeat that a network may go over to, in milliseconds: with ordinary delays the answers of an idle network
/// are then well below the minute from which on clients call them stale.
pub const PARAMETERS_HEARTBEAT_MS_MAX: u64 = 20_000;
/// Furthest end of a proposal, from the block that opens it: 30 days, in milliseconds.
pub const PROPOSAL_MS_MAX: u64 = 30 * DAY_MS;
/// Most proposals that one operator opened and that can still be approved.
pub const OPEN_PROPOSALS_MAX: usize = 16;
/// Oldest header over which a validator key may join: 10 minutes, in milliseconds.
pub const JOIN_HEADER_AGE_MS_MAX: u64 = 600_000;
/// From one re-key of an operator to its next, and the time in which its new key may join: a day, in milliseconds.
pub const REKEY_INTERVAL_MS: u64 = DAY_MS;

const DAY_MS: u64 = 24 * 3_600_000;

/// What an operation did to members.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GovernanceEvent {
    /// A proposal was opened, and approved by who opened it.
    Proposed {
        /// Name of the proposal.
        proposal: Hash,
        /// Digest of the operator.
        operator: Hash,
    },
    /// A proposal was approved.
    Approved {
        /// Name of the proposal.
        proposal: Hash,
        /// Digest of the operator.
        operator: Hash,
    },
    /// A proposal had enough approvals and was executed.
    Executed {
        /// Name of the proposal.
        proposal: Hash,
        /// The first height of the changed validator set, or of the changed figures. `None` where both stay:
        /// observers, grants, and keys that take over when they join.
        effective_height: Option<u64>,
    },
    /// A validator key took its operator's seat.
    Joined {
        /// Digest of the operator.
        operator: Hash,
        /// The key.
        validator_key: [u8; 32],
        /// The first height it votes at.
        effective_height: u64,
    },
    /// An operator named a new validator key, which may join.
    Rekeyed {
        /// Digest of the operator.
        operator: Hash,
        /// The key.
        validator_key: [u8; 32],
        /// Ledger time from which on it may not join any more.
        expires_ms: u64,
    },
}
