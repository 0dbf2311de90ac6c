//! What the shell tells the host.
//!
//! One event at a time, with the time at which it is handed over. Every answer the host waits for comes back as an
//! event of its own, so nothing here blocks; what never comes back is covered by a timer.

use crate::action::{TimerId, ValidationId};
use crate::config::HeightStart;
use sillok_proto::v1;
use std::fmt;
use std::sync::Arc;

/// Another node, named by its node key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer(pub [u8; 32]);

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0[..4]))
    }
}

/// An input of [`crate::Host::handle`].
#[derive(Debug, Clone)]
pub enum Event {
    /// A consensus message from `peer`, decoded canonically and otherwise unchecked.
    Message {
        /// Who handed it to us, which is not always who wrote it.
        peer: Peer,
        /// The message.
        message: v1::ConsensusMessage,
    },
    /// A timer set by [`crate::Action::SetTimer`] ran out. Cancelled and unknown ones are ignored.
    TimerFired(TimerId),
    /// The answer to [`crate::Action::Build`]. Late answers are ignored; no answer costs the round.
    Built {
        /// Height of the request.
        height: u64,
        /// Round of the request.
        round: u32,
        /// The block, executed: the shell vouches for its validity.
        block: Arc<v1::Block>,
    },
    /// The answer to [`crate::Action::Validate`].
    Validated {
        /// Which request this answers.
        request: ValidationId,
        /// What execution said.
        verdict: Verdict,
    },
    /// The decided block is persisted (block, certificate, state and tip in one synced write). Tell
    /// [`Event::TransactionsPending`] first, or the next height begins for what this block has just taken.
    Committed {
        /// What the next height starts from.
        next: HeightStart,
    },
    /// Whether the mempool holds an admissible transaction. Tell every change, and once after boot.
    TransactionsPending(bool),
    /// A peer says that its last committed block is at `height`.
    PeerTip {
        /// The peer.
        peer: Peer,
        /// Height of its last committed block.
        height: u64,
    },
    /// The peer is gone; nothing more is asked of it.
    PeerGone {
        /// The peer.
        peer: Peer,
    },
    /// The answer to [`crate::Action::RequestSync`].
    Synced {
        /// The peer that was asked.
        peer: Peer,
        /// What it answered.
        response: v1::SyncResponse,
    },
    /// A [`crate::Action::RequestSync`] failed: no connection, no answer, or an answer that does not decode.
    SyncFailed {
        /// The peer that was asked.
        peer: Peer,
    },
}

/// What validating a block found. A function of the block and its parent state, never of the clock (PROTOCOL §7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every rule holds and the header's roots are those of this very block.
    Valid,
    /// The parts beside the header are not the ones it commits to: the transactions root, or a hash of a document or
    /// private content, differs. The header may still be good; whoever handed us these bytes changed them.
    Altered,
    /// The state could not be read, so it is not known. Nothing is said of the block: who refuses a block for its own disk
    /// makes others believe that builds differ.
    NotJudged {
        /// What the disk said, for the operator.
        reason: String,
    },
    /// A rule is broken, or execution gives other roots than the header's.
    Invalid {
        /// Which rule, for the operator.
        reason: String,
    },
}
