//! What was vouched for lately, so that copies of one statement are not passed on again and again.
//!
//! Gossip knows a message by its bytes on the wire, of which one statement has as many forms as somebody cares to make. A
//! node that passed on all of them would be taken for the author of the flood.

use crate::context::ValidatorKey;
use std::collections::BTreeMap;

/// What a message says, however often and by whatever bytes it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Said {
    Proposal(ValidatorKey),
    Prevote(ValidatorKey),
    Precommit(ValidatorKey),
    PolkaCertificate,
    RoundCertificate,
    Refusal(ValidatorKey),
}

/// Of a height and round.
type Statement = (u64, u32, Said);

#[derive(Debug, Clone, Copy)]
struct Copies {
    since_ms: u64,
    count: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Vouched {
    recent: BTreeMap<Statement, Copies>,
}

impl Vouched {
    /// The parts beside a proposal's header are not signed, so the first copy may not be the good one.
    const PROPOSALS_MAX: u32 = 3;

    /// Whether one more copy may be passed on.
    pub(crate) fn admit(&mut self, statement: Statement, interval_ms: u64, now_ms: u64) -> bool {
        let most = if matches!(statement.2, Said::Proposal(_)) { Self::PROPOSALS_MAX } else { 1 };
        let copies = self.recent.entry(statement).or_insert(Copies { since_ms: now_ms, count: 0 });
        // Also a clock that was set back ends an interval.
        if now_ms.abs_diff(copies.since_ms) >= interval_ms {
            *copies = Copies { since_ms: now_ms, count: 0 };
        }
        copies.count = copies.count.saturating_add(1);
        copies.count <= most
    }

    /// Forgets what is below a height; bounded by the rounds that are vouched for and the size of a set.
    pub(crate) fn forget_below(&mut self, height: u64) {
        self.recent = self.recent.split_off(&(height, 0, Said::Proposal(ValidatorKey::default())));
    }
}
