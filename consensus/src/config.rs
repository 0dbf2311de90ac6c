//! What a host is made from: the figures of the network, the key, and where the chain stands.
//!
//! Nothing here is read from a file: `node` resolves its configuration and the ledger's tip into these.

use crate::context::{ValidatorKey, Validators};
use crate::mutant::Mutant;
use crate::signature::{SignatureScheme, Signer};
use crate::sync::Bounds;
use sillok_ledger::certificate::ValidatorSetError;
use sillok_proto::{Hash, v1};
use std::fmt;
use std::sync::Arc;

/// The figures of a network that its members may change while a host lives (PROTOCOL §7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// See [`HostConfig::heartbeat_ms`].
    pub heartbeat_ms: u64,
    /// See [`HostConfig::clock_behind_ms`].
    pub clock_behind_ms: u64,
    /// See [`HostConfig::clock_ahead_ms`].
    pub clock_ahead_ms: u64,
}

/// Figures and keys of a host. All but [`Figures`] stay the same while it lives.
#[derive(Clone)]
pub struct HostConfig {
    /// The network: part of every signed string.
    pub genesis_hash: Hash,
    /// How signatures are verified: [`crate::Ed25519`] outside of simulations.
    pub scheme: Arc<dyn SignatureScheme>,
    /// The validator key; `None` for an observer.
    pub signer: Option<Arc<dyn Signer>>,
    /// How long each step waits. A node's own matter: nodes need not agree.
    pub timeouts: Timeouts,
    /// Longest time without a block (a figure of the network). 0 = never wait for transactions.
    pub heartbeat_ms: u64,
    /// How far behind our clock a fresh proposal's time may be (a figure of the network); widened by this much again each round.
    pub clock_behind_ms: u64,
    /// How far ahead of our clock a fresh proposal's time may be (a figure of the network).
    pub clock_ahead_ms: u64,
    /// How often the tip is announced when nothing happens, so that a node that missed the end of a height hears of it.
    pub announce_ms: u64,
    /// How long a peer may be one block ahead before we ask for it: mostly its votes are already on their way.
    pub sync_wait_ms: u64,
    /// How long a peer has to answer a sync request before another is asked.
    pub sync_timeout_ms: u64,
    /// Most blocks in one sync request.
    pub sync_blocks_max: u32,
    /// Most sync requests open at once, each to another peer.
    pub sync_requests_max: usize,
    /// Most blocks asked for or kept ahead of the height being decided.
    pub sync_window: u64,
    /// Once this much is kept only the next block is asked for.
    pub sync_bytes_max: usize,
    /// Certificates of the last committed blocks that are at hand, a dozen or so; looked at when the host is made. One that
    /// holds a signature of ours which the signing record does not shows that the record is an older copy
    /// (PROTOCOL II.4), before anything is signed with it. Not every certificate holds every validator's signature.
    pub recent_certificates: Vec<v1::CommitCertificate>,
    /// Host bugs to be noticed by the simulation.
    #[cfg(any(test, feature = "testing"))]
    pub mutants: Vec<Mutant>,
}

impl HostConfig {
    /// The defaults of the design for a network: only the genesis hash, and a key if this node votes.
    #[must_use]
    pub fn new(genesis_hash: Hash, scheme: Arc<dyn SignatureScheme>) -> Self {
        Self {
            genesis_hash,
            scheme,
            signer: None,
            timeouts: Timeouts::default(),
            heartbeat_ms: 10_000,
            clock_behind_ms: 10_000,
            clock_ahead_ms: 2_000,
            announce_ms: 2_000,
            sync_wait_ms: 500,
            sync_timeout_ms: 5_000,
            sync_blocks_max: 16,
            sync_requests_max: 4,
            sync_window: 128,
            sync_bytes_max: 32 * 1024 * 1024,
            recent_certificates: Vec::new(),
            #[cfg(any(test, feature = "testing"))]
            mutants: Vec::new(),
        }
    }

    /// From now on with these.
    pub const fn set_figures(&mut self, figures: Figures) {
        let Figures { heartbeat_ms, clock_behind_ms, clock_ahead_ms } = figures;
        self.heartbeat_ms = heartbeat_ms;
        self.clock_behind_ms = clock_behind_ms;
        self.clock_ahead_ms = clock_ahead_ms;
    }

    pub(crate) fn sync_bounds(&self) -> Bounds {
        Bounds {
            requests_max: self.sync_requests_max,
            range_max: self.sync_blocks_max.into(),
            window: self.sync_window,
            bytes_max: self.sync_bytes_max,
            pause_ms: self.sync_timeout_ms,
        }
    }

    /// Whether the host is to have this bug: never outside of tests.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn has(&self, bug: Mutant) -> bool {
        self.mutants.contains(&bug)
    }

    #[cfg(not(any(test, feature = "testing")))]
    pub(crate) const fn has(&self, _bug: Mutant) -> bool {
        false
    }
}

impl fmt::Debug for HostConfig {
    // The key is not for logs, not even by accident.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostConfig")
            .field("genesis_hash", &self.genesis_hash)
            .field(
                "validator",
                &self.signer.as_ref().map(|signer| ValidatorKey(signer.public_key())),
            )
            .field("timeouts", &self.timeouts)
            .field("heartbeat_ms", &self.heartbeat_ms)
            .finish_non_exhaustive()
    }
}

/// How long the steps of a round wait, and how much longer in each round after the first.
///
/// A dead proposer costs `propose_ms` every n-th height until it is moved to the end of the order, so it is one
/// second and not the usual three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Tendermint's")]
pub struct Timeouts {
    pub propose_ms: u64,
    pub propose_delta_ms: u64,
    pub prevote_ms: u64,
    pub prevote_delta_ms: u64,
    pub precommit_ms: u64,
    pub precommit_delta_ms: u64,
    /// How often an undecided validator repeats its last votes.
    pub rebroadcast_ms: u64,
    /// No wait is longer than this, whatever the round.
    pub max_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            propose_ms: 1_000,
            propose_delta_ms: 500,
            prevote_ms: 500,
            prevote_delta_ms: 250,
            precommit_ms: 500,
            precommit_delta_ms: 250,
            rebroadcast_ms: 5_000,
            max_ms: 60_000,
        }
    }
}

/// Where a height starts: the part of the ledger's tip that ordering needs.
#[derive(Debug, Clone, PartialEq)]
pub struct HeightStart {
    /// The height to be decided: that of the last committed block plus one.
    pub height: u64,
    /// Header hash of the last committed block.
    pub parent_hash: Hash,
    /// Time of the last committed block.
    pub parent_time_ms: u64,
    /// set(height).
    pub validators: v1::ValidatorSet,
    /// set(height + 1), which is fixed before `height` is decided.
    pub next_validators: v1::ValidatorSet,
    /// order(height): every member of set(height) once; the proposer of round r is at r mod n (PROTOCOL §7.2).
    pub proposer_order: Vec<ValidatorKey>,
}

/// What the signing record holds at boot: its height, and the entries that survived, in the order written.
///
/// A record that was just made has height 0 and no entries.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SigningRecord {
    /// Height given to the last [`crate::Action::ResetWal`].
    pub height: u64,
    /// Every whole entry of it; a torn last one is left out by the shell.
    pub entries: Vec<v1::WalEntry>,
}

impl SigningRecord {
    /// What a shell says when there is a key and no record of it: a record of a height that no chain reaches, so that nothing
    /// is ever signed (PROTOCOL II.4). The host appends nothing to it.
    #[must_use]
    pub const fn missing() -> Self {
        Self { height: u64::MAX, entries: Vec::new() }
    }

    /// Whether it is [`SigningRecord::missing`].
    #[must_use]
    pub const fn is_missing(&self) -> bool {
        self.height == u64::MAX
    }
}

/// Why a host cannot be made. All of these mean that the machine, not a peer, is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A validator set is not one the ledger makes.
    #[error("the validator set of height {height} is malformed; report this")]
    ValidatorSet {
        /// Height of the set.
        height: u64,
        /// What is wrong.
        source: ValidatorSetError,
    },
    /// The proposer order is not a permutation of the set.
    #[error(
        "the proposer order of height {height} does not name every validator once; report this"
    )]
    ProposerOrder {
        /// Height of the order.
        height: u64,
    },
    /// A signing record entry does not decode or is of another height.
    #[error(
        "entry {index} of the signing record does not belong there ({reason}); restore the disk or re-key this validator"
    )]
    RecordEntry {
        /// Position of the entry.
        index: usize,
        /// What is wrong.
        reason: String,
    },
}

/// A [`HeightStart`] whose sets and order were checked.
#[derive(Debug, Clone)]
pub(crate) struct CheckedStart {
    pub(crate) height: u64,
    pub(crate) parent_hash: Hash,
    pub(crate) parent_time_ms: u64,
    pub(crate) validators: Validators,
    pub(crate) next_validators: Validators,
}

impl HeightStart {
    pub(crate) fn check(&self) -> Result<CheckedStart, StartError> {
        let validators = Validators::new(&self.validators, &self.proposer_order, self.height)?;
        let next = self.height.saturating_add(1);
        // The order of the next height is not known before this one is decided; nothing is asked of this one's.
        let members = Validators::members_of(&self.next_validators, next)?;
        let next_validators = Validators::new(&self.next_validators, &members, next)?;
        Ok(CheckedStart {
            height: self.height,
            parent_hash: self.parent_hash,
            parent_time_ms: self.parent_time_ms,
            validators,
            next_validators,
        })
    }
}
