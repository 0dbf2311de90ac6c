//! What the host asks of the shell.
//!
//! Actions are carried out **in their order**. If one fails none after it may be carried out: the shell stops using the
//! host, and the process starts again from disk. Append, Sync and Broadcast in this order are the whole of "a vote
//! is on disk before it is on the wire".

use crate::context::ValidatorKey;
use crate::event::Peer;
use sillok_proto::{Hash, v1};
use std::sync::Arc;

/// A timer of one host. Never used twice by the same host, so a late one cannot be taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerId(pub u64);

/// A request to validate a block. Never used twice by the same host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ValidationId(pub u64);

/// An output of [`crate::Host::handle`].
#[derive(Debug, Clone)]
pub enum Action {
    /// Drop the signing record and begin an empty one for `height`, durably and atomically: after a crash there is
    /// the old record or the new one.
    ResetWal {
        /// Height of the new record.
        height: u64,
    },
    /// Append one entry to the signing record. It need not be durable yet.
    Append(v1::WalEntry),
    /// Everything appended is durable before the next action.
    Sync,
    /// Send to every validator and observer. The same message may be sent again and must then go out again.
    Broadcast(v1::ConsensusMessage),
    /// Tell every peer the height of our last committed block.
    AnnounceTip {
        /// The height.
        height: u64,
    },
    /// Answer with [`crate::Event::TimerFired`] after `after_ms`.
    SetTimer {
        /// Name of the timer.
        id: TimerId,
        /// Milliseconds from now, by a clock that never jumps.
        after_ms: u64,
    },
    /// Forget the timer. One that fires all the same is ignored.
    CancelTimer {
        /// Name of the timer.
        id: TimerId,
    },
    /// Build and execute a block on the last committed one, and answer with [`crate::Event::Built`].
    Build {
        /// Height of the block.
        height: u64,
        /// Round it is for: after failed rounds a builder leaves out what may have failed (PROTOCOL II.3).
        round: u32,
        /// Answer within this time, or the round goes on without us.
        within_ms: u64,
    },
    /// Execute a block on the last committed one, and answer with [`crate::Event::Validated`].
    Validate {
        /// To be repeated in the answer.
        request: ValidationId,
        /// The block.
        block: Arc<v1::Block>,
        /// Whether a commit certificate vouches for the header. Then a panic in execution is ours, not the block's.
        certified: bool,
    },
    /// Builds differ on this proposed block, for certain: a correct validator found it valid, and a correct one invalid. One
    /// of its transactions is read differently (PROTOCOL II.3). Said once of a block; it may not have come here.
    BuildsDiffer {
        /// Header hash of the block.
        header_hash: Hash,
    },
    /// Persist in one atomic synced write: block, certificate, state, tip, evidence. Then answer with
    /// [`crate::Event::Committed`]. Always the last action of its list.
    Decide {
        /// The decided block, which was validated or built here before.
        block: Arc<v1::Block>,
        /// What decided it. Certificates of one block may differ from node to node.
        certificate: v1::CommitCertificate,
        /// Validators caught signing two things, for the operators. Bounded.
        evidence: Vec<v1::Evidence>,
    },
    /// Ask `peer` for decided blocks, and answer with [`crate::Event::Synced`] or [`crate::Event::SyncFailed`].
    RequestSync {
        /// Whom to ask.
        peer: Peer,
        /// First height wanted.
        from_height: u64,
        /// At most this many blocks.
        blocks_max: u32,
    },
    /// The message of this event was looked at in full and is good: it may be passed on. A message without it is kept from
    /// others, also if nothing was found wrong with it, because whoever passes on what others find wrong is blamed for it.
    Vouch,
    /// `peer` handed us something no correct node sends.
    PeerFault {
        /// The peer.
        peer: Peer,
        /// What it did.
        reason: FaultReason,
    },
    /// The faults of `peer` have used up its budget: end the connection, and take none from it for a while. Counted over
    /// [`FaultReason::weight`]; a committed block makes up for a little.
    Disconnect {
        /// The peer.
        peer: Peer,
    },
    /// Our key may never sign again. The host has recorded it and goes on as an observer; the operator re-keys. Not said of a
    /// key that has just voted its last height as planned: that is [`Action::DestroyKey`].
    StopSigning {
        /// What showed it.
        reason: RetireReason,
    },
    /// Our key has voted its last height, `last_height` is persisted, and no later set holds it: destroy the key and its
    /// record (PROTOCOL §6.2). The record says so already; if the process ends before it is done, the next host asks again.
    /// Never asked of a key that no set has held yet.
    DestroyKey {
        /// The last height of which the record was begun.
        last_height: u64,
    },
    /// Something an operator should see; at most one of a kind for each height.
    Notice(Notice),
    /// The host has stopped for good: end the process with this reason. It never continues on a guess.
    Halt {
        /// What happened.
        reason: HaltReason,
    },
}

/// What an operator should know of, and the network lives with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Notice {
    /// The last block is dated after our clock, further than a fresh proposal may be. A proposer dates its block after the
    /// last one, so this node refuses every fresh proposal until its clock has caught up (PROTOCOL II.1).
    #[error(
        "the last block before height {height} is dated {ahead_ms} ms after this machine's clock, so no fresh proposal is \
         accepted here until the clock catches up; check this machine's time"
    )]
    LedgerAhead {
        /// The height that begins.
        height: u64,
        /// How far the block's time is after our clock.
        ahead_ms: u64,
    },
    /// A fresh proposal was refused because of its time.
    #[error(
        "the proposal of height {height}, round {round} by {proposer} is dated {off_ms} ms off this machine's clock; check \
         the time here and there"
    )]
    ProposalOffClock {
        /// Height of the proposal.
        height: u64,
        /// Round of the proposal.
        round: u32,
        /// Who made it.
        proposer: ValidatorKey,
        /// Its time minus ours.
        off_ms: i64,
    },
}

/// What a peer did wrong.
///
/// Correct nodes do none of these, and a correct node passes on only what its host vouched for ([`Action::Vouch`]), which
/// no other correct node finds wrong. So each is the doing of whoever handed us the bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultReason {
    /// A field has the wrong length, is missing, or is out of bounds.
    #[error("the message is malformed: {detail}")]
    Malformed {
        /// Which field.
        detail: String,
    },
    /// The signature does not verify, or is by no member of the validator set.
    #[error(
        "a message of height {height}, round {round} is not signed by a validator of that height"
    )]
    BadSignature {
        /// Height of the message.
        height: u64,
        /// Round of the message.
        round: u32,
    },
    /// A proposal by a validator whose turn it was not.
    #[error("a proposal of height {height}, round {round} is not by the proposer of that round")]
    NotTheProposer {
        /// Height of the proposal.
        height: u64,
        /// Round of the proposal.
        round: u32,
    },
    /// A certificate of votes does not verify.
    #[error("a certificate of height {height}, round {round} does not verify")]
    BadCertificate {
        /// Height of the certificate.
        height: u64,
        /// Round of the certificate.
        round: u32,
    },
    /// A synced block is not the block its certificate names, or its parts were changed.
    #[error("the block sent for height {height} is not the certified one")]
    NotTheCertifiedBlock {
        /// Height asked for.
        height: u64,
    },
}

impl FaultReason {
    /// What a peer may do before [`Action::Disconnect`].
    pub const BUDGET: u32 = 100;

    /// How much of the budget it uses up. Wrong blocks cost most: each holds up a node that is behind.
    #[must_use]
    pub const fn weight(&self) -> u32 {
        match self {
            Self::Malformed { .. }
            | Self::BadSignature { .. }
            | Self::NotTheProposer { .. }
            | Self::BadCertificate { .. } => 20,
            Self::NotTheCertifiedBlock { .. } => 50,
        }
    }
}

/// Why a key may never sign again (PROTOCOL II.4).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RetireReason {
    /// A peer showed a signature by our key that our record does not hold.
    #[error(
        "our key signed at height {height}, round {round} what our signing record does not hold: the record was lost or \
         the key runs twice; re-key this validator"
    )]
    UnknownSignature {
        /// Height of the foreign signature.
        height: u64,
        /// Round of the foreign signature.
        round: u32,
    },
    /// A block that we hold ourselves is certified with a signature of ours that our record does not hold: the record is an
    /// older copy beside a current database.
    #[error(
        "the block of height {height} holds a signature of ours that our signing record does not: the record is an older \
         copy; re-key this validator"
    )]
    OlderRecord {
        /// Height of the block.
        height: u64,
    },
    /// There is a key and no signing record of it.
    #[error("the signing record of this key is missing; re-key this validator")]
    RecordMissing,
    /// The signing record says so, from before.
    #[error("the signing record says that this key was retired; re-key this validator")]
    Recorded,
}

/// Why the host stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HaltReason {
    /// The core wanted a second, different signature for one height, round and step.
    #[error(
        "refused to sign twice at height {height}, round {round}; keep the signing record and report this"
    )]
    SignedOtherwise {
        /// Height of the statement.
        height: u64,
        /// Round of the statement.
        round: u32,
    },
    /// Replaying the signing record gave another message than the recorded one.
    #[error(
        "replaying the signing record of height {height} gave another {kind} at round {round} than the recorded one; keep the \
         signing record and report this"
    )]
    ReplayDiverged {
        /// What differed: a prevote, precommit or proposal.
        kind: String,
        /// Height of the record.
        height: u64,
        /// Round of the message.
        round: u32,
    },
    /// The core failed in the middle of an input; what it holds is no longer certain.
    #[error("the ordering core failed at height {height}: {reason}; start again from disk")]
    CoreFailed {
        /// Height being decided.
        height: u64,
        /// What the core says.
        reason: String,
    },
    /// More than two thirds certified a block that we find invalid: this build differs from theirs, or more than a
    /// third of the validators lie.
    #[error(
        "block {header_hash} at height {height} is certified but invalid here ({reason}); install the release the other \
         validators run"
    )]
    CertifiedBlockInvalid {
        /// Height of the block.
        height: u64,
        /// Its header hash.
        header_hash: Hash,
        /// What validation says.
        reason: String,
    },
    /// The core decided a block whose parts the host does not hold.
    #[error("decided {header_hash} at height {height} without holding the block; report this")]
    DecidedUnknownBlock {
        /// Height of the decision.
        height: u64,
        /// The decided header hash.
        header_hash: Hash,
    },
    /// [`crate::Event::Committed`] came at the wrong time or does not fit what was decided.
    #[error("the next height was given as {given} while {expected} was expected; report this")]
    WrongNextHeight {
        /// Height in the event.
        given: u64,
        /// Height that follows the decision, or the height not yet decided.
        expected: u64,
    },
    /// The next height's start does not hold together.
    #[error("the start of height {height} is wrong: {reason}; report this")]
    BadStart {
        /// Height to be started.
        height: u64,
        /// What is wrong with it.
        reason: String,
    },
}

impl HaltReason {
    /// Whether starting the process again, from disk, may help without a person.
    #[must_use]
    pub const fn may_restart(&self) -> bool {
        match self {
            Self::CoreFailed { .. } => true,
            Self::SignedOtherwise { .. }
            | Self::ReplayDiverged { .. }
            | Self::CertifiedBlockInvalid { .. }
            | Self::DecidedUnknownBlock { .. }
            | Self::WrongNextHeight { .. }
            | Self::BadStart { .. } => false,
        }
    }
}
