//! What each peer has done wrong, weighed: the shell is told when it is enough.
//!
//! A correct node does none of it, so the budget is small. It is not zero, because one message may be a bug, and losing a
//! connection costs the network more than a message that is not used.

use crate::action::FaultReason;
use crate::event::Peer;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct Faults {
    spent: BTreeMap<Peer, u32>,
}

impl Faults {
    /// More peers than any network has; of others nothing is counted.
    const PEERS_MAX: usize = 1_024;

    /// Whether `peer` has now used up its budget. Then it begins anew: it was told to go.
    pub(crate) fn charge(&mut self, peer: Peer, reason: &FaultReason) -> bool {
        if self.spent.len() >= Self::PEERS_MAX && !self.spent.contains_key(&peer) {
            return false;
        }
        let spent = self.spent.entry(peer).or_default();
        *spent = spent.saturating_add(reason.weight());
        let over = *spent >= FaultReason::BUDGET;
        if over {
            self.spent.remove(&peer);
        }
        over
    }

    /// A block was committed: in spite of it all the network goes on.
    pub(crate) fn forgive(&mut self) {
        self.spent.retain(|_, spent| {
            *spent = spent.saturating_sub(1);
            *spent > 0
        });
    }
}
