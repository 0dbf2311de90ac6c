//! Whom to ask for blocks that were decided without us, and what came.
//!
//! Needed for liveness and not only to catch up: a node that has decided repeats its votes of that height no more, so
//! one that missed them can learn the decision in no other way. A node far behind asks several peers at once, each for a
//! range of its own; blocks wait here, bounded in number and bytes, and are used in order of height.
//!
//! Tips are claims; a certificate is what counts. A peer that claims and does not deliver (late, empty, wrong) is left
//! alone for a while that doubles each time, and until then what it claims is not believed: a tip of 2⁶⁴−1 costs one
//! question now and then. What a peer failed to give is asked of another.

use crate::event::Peer;
use sillok_proto::{encode, v1};
use std::collections::BTreeMap;

/// How much is asked for and kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Ranges asked for at once.
    pub(crate) requests_max: usize,
    /// Blocks in one range.
    pub(crate) range_max: u64,
    /// Blocks asked for or kept, from the height being decided on.
    pub(crate) window: u64,
    /// Bytes kept before only the next block is asked for.
    pub(crate) bytes_max: usize,
    /// First time that a peer is left alone.
    pub(crate) pause_ms: u64,
}

/// Heights from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u64,
    last: u64,
}

#[derive(Debug, Default)]
struct Claim {
    tip: u64,
    asked: Option<Range>,
    /// How often in a row it did not deliver.
    failures: u32,
    /// By the wall clock; see [`BlockSync::is_believed`].
    not_before_ms: u64,
}

#[derive(Debug)]
struct Received {
    from: Peer,
    bytes: usize,
    decided: v1::DecidedBlock,
}

/// A question to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) peer: Peer,
    pub(crate) from_height: u64,
    pub(crate) blocks_max: u32,
}

#[derive(Debug, Default)]
pub(crate) struct BlockSync {
    peers: BTreeMap<Peer, Claim>,
    /// Asked last; of equals the next is asked after it in turn.
    last: Option<Peer>,
    blocks: BTreeMap<u64, Received>,
    bytes: usize,
    /// The height for which peers one block ahead had time to let us decide for ourselves.
    pub(crate) waited_for: Option<u64>,
}

impl BlockSync {
    /// More peers than any network of ministries has; others' tips are not kept.
    const PEERS_MAX: usize = 1_024;

    /// A pause doubles this often, and no further: after a partition everybody has failed us, and must be asked again soon.
    const DOUBLINGS_MAX: u32 = 3;

    pub(crate) fn note_tip(&mut self, peer: Peer, height: u64) {
        if self.peers.len() >= Self::PEERS_MAX && !self.peers.contains_key(&peer) {
            // Who is gone makes room; it is remembered only so that it cannot begin anew by coming back.
            let gone = self.peers.iter().find(|(_, claim)| claim.tip == 0).map(|(peer, _)| *peer);
            let Some(gone) = gone else { return };
            self.peers.remove(&gone);
        }
        self.peers.entry(peer).or_default().tip = height;
    }

    /// The peer is gone. Its failures are remembered.
    pub(crate) fn forget(&mut self, peer: Peer) {
        if let Some(claim) = self.peers.get_mut(&peer) {
            claim.tip = 0;
            claim.asked = None;
        }
    }

    /// A peer did not deliver what it claimed to have. What was asked of it is free for others.
    pub(crate) fn failed(&mut self, peer: Peer, bounds: &Bounds, now_ms: u64) {
        let Some(claim) = self.peers.get_mut(&peer) else { return };
        claim.asked = None;
        let doublings = claim.failures.min(Self::DOUBLINGS_MAX);
        claim.failures = claim.failures.saturating_add(1);
        let pause_ms = bounds.pause_ms.saturating_mul(1_u64.checked_shl(doublings).unwrap_or(1));
        claim.not_before_ms = now_ms.saturating_add(pause_ms);
    }

    /// A peer sent something wrong: nothing of what it sent is used.
    pub(crate) fn distrust(&mut self, peer: Peer, bounds: &Bounds, now_ms: u64) {
        self.failed(peer, bounds, now_ms);
        self.blocks.retain(|_, received| received.from != peer);
        self.count_bytes();
    }

    fn count_bytes(&mut self) {
        self.bytes = self.blocks.values().map(|received| received.bytes).sum();
    }

    /// Whether a peer's claim counts now. A clock that was set back must not make a pause of minutes one of years.
    fn is_believed(claim: &Claim, bounds: &Bounds, now_ms: u64) -> bool {
        let longest_ms = bounds.pause_ms.saturating_mul(1 << Self::DOUBLINGS_MAX);
        claim.not_before_ms.checked_sub(now_ms).is_none_or(|left| left == 0 || left > longest_ms)
    }

    /// The highest tip of a peer that is believed.
    pub(crate) fn best_tip(&self, bounds: &Bounds, now_ms: u64) -> u64 {
        let believed = self.peers.values().filter(|claim| Self::is_believed(claim, bounds, now_ms));
        believed.map(|claim| claim.tip).max().unwrap_or(0)
    }

    pub(crate) fn is_asking(&self) -> bool {
        self.peers.values().any(|claim| claim.asked.is_some())
    }

    fn is_under_way(&self, height: u64) -> bool {
        self.blocks.contains_key(&height)
            || self
                .peers
                .values()
                .filter_map(|claim| claim.asked)
                .any(|range| (range.first..=range.last).contains(&height))
    }

    /// The next question, if one more may be open: the first heights from `height` on that nobody was asked for.
    pub(crate) fn next_request(
        &mut self,
        height: u64,
        bounds: &Bounds,
        now_ms: u64,
    ) -> Option<Request> {
        let open = self.peers.values().filter(|claim| claim.asked.is_some()).count();
        if open >= bounds.requests_max {
            return None;
        }
        let end = height.saturating_add(bounds.window);
        let first = (height..end).find(|at| !self.is_under_way(*at))?;
        // The next block is always asked for, or a full buffer of later ones would never empty.
        if first > height && self.bytes >= bounds.bytes_max {
            return None;
        }
        let peer = self.choose(first, bounds, now_ms)?;
        let tip = self.peers.get(&peer)?.tip;
        let longest = first.saturating_add(bounds.range_max).min(end);
        let last =
            (first..longest).take_while(|at| *at <= tip && !self.is_under_way(*at)).last()?;
        self.peers.get_mut(&peer)?.asked = Some(Range { first, last });
        self.last = Some(peer);
        let blocks = last.saturating_sub(first).saturating_add(1);
        let blocks_max = u32::try_from(blocks).unwrap_or(u32::MAX);
        Some(Request { peer, from_height: first, blocks_max })
    }

    /// Of the idle peers that claim `height` the one with the fewest failures, and of equals the next in turn.
    fn choose(&self, height: u64, bounds: &Bounds, now_ms: u64) -> Option<Peer> {
        let can = |claim: &Claim| {
            claim.asked.is_none() && claim.tip >= height && Self::is_believed(claim, bounds, now_ms)
        };
        let candidates = self.peers.iter().filter(|(_, claim)| can(claim));
        let order = |(peer, claim): &(&Peer, &Claim)| {
            (claim.failures, self.last.is_some_and(|last| **peer <= last), **peer)
        };
        candidates.min_by_key(order).map(|(peer, _)| *peer)
    }

    /// Keeps what was asked for of an answer. `None`: the peer was not asked. Else whether anything of it is of use.
    pub(crate) fn keep(
        &mut self,
        peer: Peer,
        response: v1::SyncResponse,
        height: u64,
        (bounds, now_ms): (&Bounds, u64),
    ) -> Option<bool> {
        let claim = self.peers.get_mut(&peer)?;
        let range = claim.asked.take()?;
        let mut useful = range.last < height;
        let most = range.last.saturating_sub(range.first).saturating_add(1);
        for decided in response.blocks.into_iter().take(usize::try_from(most).unwrap_or(1)) {
            let at = decided.certificate.as_ref().map_or(0, |certificate| certificate.height);
            if (range.first.max(height)..=range.last).contains(&at) {
                let bytes = encode(&decided).len();
                self.blocks.entry(at).or_insert(Received { from: peer, bytes, decided });
                useful = true;
            }
        }
        self.count_bytes();
        if !useful {
            self.failed(peer, bounds, now_ms);
        }
        Some(useful)
    }

    /// A block from `peer` was the certified one: it delivers.
    pub(crate) fn delivered(&mut self, peer: Peer) {
        if let Some(claim) = self.peers.get_mut(&peer) {
            claim.failures = 0;
        }
    }

    pub(crate) fn holds(&self, height: u64) -> bool {
        self.blocks.contains_key(&height)
    }

    /// Takes the block of `height` and forgets lower ones.
    pub(crate) fn take(&mut self, height: u64) -> Option<(Peer, v1::DecidedBlock)> {
        self.blocks = self.blocks.split_off(&height);
        let taken = self.blocks.remove(&height);
        self.count_bytes();
        taken.map(|received| (received.from, received.decided))
    }
}
