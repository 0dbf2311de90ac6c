//! Timers: at most one for each purpose, each with a name of its own.
//!
//! The core's timeouts carry a round and no height, so one of an old height that fires late would be taken for one of
//! this height. Names are never used twice; what is not in the table does not fire.

use crate::action::{Action, TimerId};
use crate::event::Peer;
use arc_malachitebft_core_types::Timeout;
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A timeout of the core.
    Core(Timeout),
    /// The next block is due even without transactions.
    Heartbeat,
    /// The tip is announced again.
    Announce,
    /// A peer is one block ahead; its votes had time to come.
    SyncWait,
    /// A peer did not answer a sync request.
    SyncAnswer(Peer),
}

#[derive(Debug, Default)]
pub(crate) struct Timers {
    next: u64,
    live: BTreeMap<TimerId, Purpose>,
}

impl Timers {
    /// Sets a timer; the caller cancels an earlier one of the same purpose.
    pub(crate) fn set(&mut self, purpose: Purpose, after_ms: u64, actions: &mut Vec<Action>) {
        let id = TimerId(self.next);
        self.next = self.next.saturating_add(1);
        self.live.insert(id, purpose);
        actions.push(Action::SetTimer { id, after_ms });
    }

    pub(crate) fn cancel(&mut self, which: impl Fn(Purpose) -> bool, actions: &mut Vec<Action>) {
        self.live.retain(|id, purpose| {
            let cancelled = which(*purpose);
            if cancelled {
                actions.push(Action::CancelTimer { id: *id });
            }
            !cancelled
        });
    }

    pub(crate) fn cancel_core(&mut self, actions: &mut Vec<Action>) {
        self.cancel(|purpose| matches!(purpose, Purpose::Core(_)), actions);
    }

    pub(crate) fn is_set(&self, purpose: Purpose) -> bool {
        self.live.values().any(|live| *live == purpose)
    }

    /// What the timer was for; `None` if it was cancelled.
    pub(crate) fn fired(&mut self, id: TimerId) -> Option<Purpose> {
        self.live.remove(&id)
    }
}
