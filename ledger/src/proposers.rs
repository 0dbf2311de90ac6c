//! Who proposes in which round (PROTOCOL §7.2): a pure function of the set, the height and the last headers.
//!
//! Read from headers only: certificates differ from node to node and would fork the schedule. Deliberately absent: time,
//! votes, and who is reachable.

use crate::certificate::{VALIDATORS_MAX, faulty_max};
use sillok_proto::{Hash, v1};
use std::collections::{BTreeMap, BTreeSet};

/// How many headers back a validator of `n` is looked for, in multiples of `n`.
const WINDOW: u64 = 10;

/// The most headers that [`order`] looks back for any set: keep as many, because a set may grow from one height to the
/// next.
pub const RECENT_MAX: u64 = WINDOW * VALIDATORS_MAX as u64;

/// What rules read of a header of the last [`RECENT_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecentHeader {
    /// Validator key of who built the block.
    pub proposer: [u8; 32],
    /// Hash of the header.
    pub hash: Hash,
    /// Its ledger time.
    pub time_ms: u64,
}

/// The last headers: who built each of them (the schedule is read from that), their hashes and times (a validator key
/// joins by signing over one of them).
///
/// Part of the tip (PROTOCOL §7.1). Two nodes that hold the same headers hold the same value, however they got them:
/// it always keeps the last [`RECENT_MAX`] headers, fewer only where fewer exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recent {
    headers: BTreeMap<u64, RecentHeader>,
}

impl Recent {
    /// Before the first block.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Records a committed header and its hash, and forgets what no rule asks for any more.
    pub fn record(&mut self, header: &v1::Header, hash: Hash) {
        // A committed block was built by a member of its set, whose key has 32 bytes.
        let proposer = header.proposer.as_slice().try_into().unwrap_or_default();
        let recent = RecentHeader { proposer, hash, time_ms: header.time_ms };
        self.headers.insert(header.height, recent);
        let first = header.height.saturating_sub(RECENT_MAX - 1);
        self.headers = self.headers.split_off(&first);
    }

    /// The header of this height, if it is among the last.
    #[must_use]
    pub fn header(&self, height: u64) -> Option<&RecentHeader> {
        self.headers.get(&height)
    }

    /// The headers held, by ascending height.
    pub fn headers(&self) -> impl Iterator<Item = (u64, &RecentHeader)> {
        self.headers.iter().map(|(height, header)| (*height, header))
    }
}

/// The order in which the validators of set(`height`) propose at `height`, as indexes of the set.
///
/// The set sorted by key, rotated by the height. A validator that was in the set for all of the last 10n headers and
/// built none of them is *absent*: it stands at the end, except at heights with `height mod 10n < n`, which give it its
/// turn to come back. At most f are moved, chosen and placed in the order of the set. While fewer than 10n headers
/// exist nobody is absent.
///
/// An empty set has an empty order.
#[must_use]
pub fn order(set: &v1::ValidatorSet, height: u64, recent: &Recent) -> Vec<usize> {
    let count = set.validators.len();
    let Some(turn) = (height).checked_rem(count as u64) else { return Vec::new() };
    let mut order: Vec<usize> = (0..count).collect();
    // `turn` is below `count`, which is a `usize`.
    order.rotate_left(usize::try_from(turn).unwrap_or_default());

    let absent = absent(set, height, recent);
    let coming_back = height.checked_rem(window(set)).is_none_or(|turn| turn < count as u64);
    if absent.is_empty() || coming_back {
        return order;
    }
    let moved: Vec<usize> = absent.into_iter().take(faulty_max(count)).collect();
    order.retain(|index| !moved.contains(index));
    order.extend(moved);
    order
}

/// The index of the validator that proposes in `round` of `height`; none for an empty set.
#[must_use]
pub fn proposer(set: &v1::ValidatorSet, height: u64, round: u32, recent: &Recent) -> Option<usize> {
    let order = order(set, height, recent);
    let nth = (u64::from(round)).checked_rem(order.len() as u64)?;
    order.get(usize::try_from(nth).ok()?).copied()
}

/// The validators of set(`height`) that were there for all of the last 10n headers and built none of them, in the order
/// of the set.
#[must_use]
pub fn absent(set: &v1::ValidatorSet, height: u64, recent: &Recent) -> Vec<usize> {
    let window = window(set);
    // Height 0 was built by nobody, so the first full window ends before height 10n + 1.
    let Some(first) = height.checked_sub(window).filter(|first| *first > 0) else {
        return Vec::new();
    };
    let mut count: u64 = 0;
    let mut built = BTreeSet::new();
    for (_, header) in recent.headers.range(first..height) {
        count = count.saturating_add(1);
        built.insert(header.proposer.as_slice());
    }
    if count < window {
        return Vec::new();
    }
    set.validators
        .iter()
        .enumerate()
        .filter(|(_, validator)| {
            validator.since_height <= first && !built.contains(validator.public_key.as_slice())
        })
        .map(|(index, _)| index)
        .collect()
}

/// 10n.
fn window(set: &v1::ValidatorSet) -> u64 {
    WINDOW.saturating_mul(set.validators.len() as u64)
}
