//! Whom to ask for blocks that were decided without us, and what came.
//!
//! Needed for liveness and not only to catch up: a node that has decided repeats its votes of that height no more, so
//! one that missed them can learn the decision in no other way. A node far behind asks several peers at once, each for a
//! range of its own; blocks wait here, bounded in number and bytes, and are used in order of height.
//!
//! Tips are claims; a certificate is what counts. A peer that claims and does not deliver is left alone for a while that
//! doubles each time, and until then what it claims is not believed: a tip of 2⁶⁴−1 costs one question now and then.
//! What a peer failed to give is asked of another.
//!
//! Slow is not false. Who is late is next asked for half as much, down to one block, and what comes late is used all the
//! same: over a slow link every answer may be late. Who is busy says so with an empty answer, and is asked again soon.

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

impl Range {
    const fn len(self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }

    fn contains(self, height: u64) -> bool {
        (self.first..=self.last).contains(&height)
    }
}

/// A question that was given up on. Its answer may still be on its way, and is taken.
#[derive(Debug, Clone, Copy)]
struct Late {
    range: Range,
    /// Until then no other question is put on the same link.
    until_ms: u64,
}

#[derive(Debug, Default)]
struct Claim {
    tip: u64,
    asked: Option<Range>,
    late: Option<Late>,
    /// Most blocks asked of it at once, after it was late.
    share: Option<u64>,
    /// How often in a row it said that it is busy.
    busy: u32,
    /// How often in a row it did not deliver.
    failures: u32,
    /// By the wall clock; see [`BlockSync::is_believed`].
    not_before_ms: u64,
}

impl Claim {
    fn pause(&mut self, pause_ms: u64, now_ms: u64) {
        self.not_before_ms = now_ms.saturating_add(pause_ms);
    }

    /// Whether an answer that is late may still be filling its link.
    fn is_late(&self, bounds: &Bounds, now_ms: u64) -> bool {
        self.late_for_ms(bounds, now_ms).is_some()
    }

    /// For how long an answer is late that may still come.
    fn late_for_ms(&self, bounds: &Bounds, now_ms: u64) -> Option<u64> {
        let left_ms = self.late?.until_ms.saturating_sub(now_ms);
        // A clock that was set back must not keep it so for years.
        (left_ms > 0).then(|| bounds.late_ms().checked_sub(left_ms)).flatten()
    }
}

impl Bounds {
    /// How long a link is left to an answer that is late.
    const fn late_ms(&self) -> u64 {
        self.pause_ms.saturating_mul(12)
    }

    /// How long nobody is asked because all answers of so many blocks are late, unless late ones are known to come. One that
    /// was lost never comes, and if one was of each peer, a node would stand still until the last of them is given up, with
    /// everybody around it ready to answer.
    const fn patience_ms(&self, blocks: u64) -> u64 {
        let ms = self.pause_ms.saturating_mul(6).saturating_mul(blocks);
        if ms < self.late_ms() { ms } else { self.late_ms() }
    }
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
    /// The last late answer came, and nobody has answered a whole range in time since.
    late_ones_come: bool,
    /// The height for which peers one block ahead had time to let us decide for ourselves.
    pub(crate) waited_for: Option<u64>,
}

impl BlockSync {
    /// More peers than any network of ministries has; others' tips are not kept.
    const PEERS_MAX: usize = 1_024;

    /// A pause doubles this often, and no further: after a partition everybody has failed us, and must be asked again soon.
    const DOUBLINGS_MAX: u32 = 3;

    /// Questions that may be open beside as many as there should be, all of which are late.
    const SPARE: usize = 2;

    /// Who is busy this often in a row is taken for one that does not deliver.
    const BUSY_MAX: u32 = 8;

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
            claim.late = None;
        }
    }

    /// A peer has not answered yet. What was asked of it is free for others; it is asked for less.
    pub(crate) fn late(&mut self, peer: Peer, bounds: &Bounds, now_ms: u64) {
        let Some(claim) = self.peers.get_mut(&peer) else { return };
        let Some(range) = claim.asked.take() else { return };
        claim.late = Some(Late { range, until_ms: now_ms.saturating_add(bounds.late_ms()) });
        if range.len() > 1 {
            claim.share = Some(range.len() / 2);
            claim.pause(bounds.pause_ms, now_ms);
        } else {
            self.failed(peer, bounds, now_ms);
        }
    }

    /// There will be no answer. Whether it is the last question that has none, and not one that was given up on.
    pub(crate) fn unanswered(&mut self, peer: Peer, bounds: &Bounds, now_ms: u64) -> bool {
        if let Some(claim) = self.peers.get_mut(&peer)
            && claim.late.take().is_some()
        {
            // It had its pause when it was late. Others are asked before it: who is silent must not look like who is slow.
            claim.failures = claim.failures.saturating_add(1);
            return false;
        }
        self.failed(peer, bounds, now_ms);
        true
    }

    /// A peer did not deliver what it claimed to have. What was asked of it is free for others.
    fn failed(&mut self, peer: Peer, bounds: &Bounds, now_ms: u64) {
        let Some(claim) = self.peers.get_mut(&peer) else { return };
        claim.asked = None;
        let doublings = claim.failures.min(Self::DOUBLINGS_MAX);
        claim.failures = claim.failures.saturating_add(1);
        let pause_ms = bounds.pause_ms.saturating_mul(1_u64.checked_shl(doublings).unwrap_or(1));
        claim.pause(pause_ms, now_ms);
    }

    /// A peer sent something wrong: nothing of what it sent is used.
    pub(crate) fn distrust(&mut self, peer: Peer, bounds: &Bounds, now_ms: u64) {
        self.failed(peer, bounds, now_ms);
        if let Some(claim) = self.peers.get_mut(&peer) {
            claim.late = None;
        }
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

    /// Whether no other question is put to a peer because its last answer is late.
    fn is_awaited(&self, claim: &Claim, bounds: &Bounds, now_ms: u64) -> bool {
        let Some(late) = claim.late else { return false };
        let is_waited_for = self.late_ones_come || self.is_asking();
        let for_ms =
            if is_waited_for { bounds.late_ms() } else { bounds.patience_ms(late.range.len()) };
        claim.late_for_ms(bounds, now_ms).is_some_and(|late_ms| late_ms < for_ms)
    }

    fn is_under_way(&self, height: u64) -> bool {
        self.blocks.contains_key(&height)
            || self
                .peers
                .values()
                .filter_map(|claim| claim.asked)
                .any(|range| range.contains(height))
    }

    /// The next question, if one more may be open: the first heights from `height` on that nobody was asked for.
    pub(crate) fn next_request(
        &mut self,
        height: u64,
        bounds: &Bounds,
        now_ms: u64,
    ) -> Option<Request> {
        let asked = self.peers.values().filter(|claim| claim.asked.is_some()).count();
        // Answers that are late fill the link too; those that never come must not keep us from asking.
        let fills = |claim: &&Claim| self.is_awaited(claim, bounds, now_ms);
        let open = asked.saturating_add(self.peers.values().filter(fills).count());
        let most = bounds.requests_max.saturating_add(if asked == 0 { Self::SPARE } else { 0 });
        if open >= most {
            return None;
        }
        let end = height.saturating_add(bounds.window);
        // What is late is asked of another when it is the next, and not before: over a slow link it would come twice.
        let late: Vec<Range> = {
            let claims = self.peers.values().filter(|claim| claim.is_late(bounds, now_ms));
            claims.filter_map(|claim| claim.late).map(|late| late.range).collect()
        };
        let is_free = |at: u64| {
            !self.is_under_way(at) && (at == height || !late.iter().any(|late| late.contains(at)))
        };
        let first = (height..end).find(|at| is_free(*at))?;
        // The next block is always asked for, or a full buffer of later ones would never empty.
        if first > height && self.bytes >= bounds.bytes_max {
            return None;
        }
        let peer = self.choose(first, bounds, now_ms)?;
        let claim = self.peers.get(&peer)?;
        let (tip, share) = (claim.tip, claim.share.unwrap_or(bounds.range_max));
        // The link that is slow may be ours.
        let late = self.peers.values().filter(|claim| claim.is_late(bounds, now_ms));
        let slow = late.filter_map(|claim| claim.share).min().unwrap_or(bounds.range_max);
        let longest = first.saturating_add(bounds.range_max.min(share).min(slow)).min(end);
        let last = (first..longest).take_while(|at| *at <= tip && is_free(*at)).last()?;
        self.peers.get_mut(&peer)?.asked = Some(Range { first, last });
        self.last = Some(peer);
        let blocks_max = u32::try_from(Range { first, last }.len()).unwrap_or(u32::MAX);
        Some(Request { peer, from_height: first, blocks_max })
    }

    /// Of the idle peers that claim `height` the one with the fewest failures and the least busy, and of equals the next in
    /// turn. Whose answer is late comes last, and only where nobody is being asked.
    fn choose(&self, height: u64, bounds: &Bounds, now_ms: u64) -> Option<Peer> {
        let can = |claim: &Claim| {
            claim.asked.is_none()
                && !self.is_awaited(claim, bounds, now_ms)
                && claim.tip >= height
                && Self::is_believed(claim, bounds, now_ms)
        };
        let candidates = self.peers.iter().filter(|(_, claim)| can(claim));
        let order = |(peer, claim): &(&Peer, &Claim)| {
            let is_late = claim.is_late(bounds, now_ms);
            let had_its_turn = self.last.is_some_and(|last| **peer <= last);
            (is_late, claim.failures, claim.busy, had_its_turn, **peer)
        };
        candidates.min_by_key(order).map(|(peer, _)| *peer)
    }

    /// Keeps what was asked for of an answer. `None`: the peer was not asked. Else whether it answers the last question, and
    /// not one that was given up on.
    pub(crate) fn keep(
        &mut self,
        peer: Peer,
        response: v1::SyncResponse,
        height: u64,
        (bounds, now_ms): (&Bounds, u64),
    ) -> Option<bool> {
        let claim = self.peers.get_mut(&peer)?;
        let late = claim.late.map(|late| late.range);
        let begins_at = response.blocks.first().map(height_of);
        let is_late = late.is_some_and(|late| {
            claim.asked.is_none_or(|asked| {
                begins_at.is_some_and(|first| first != asked.first && late.contains(first))
            })
        });
        let range = if is_late {
            claim.late = None;
            late?
        } else {
            claim.asked.take()?
        };
        let is_busy = response.blocks.is_empty() && response.tip >= range.first;
        let most = usize::try_from(range.len()).unwrap_or(1);
        // What others brought meanwhile is no fault of its, unless it only waited for that.
        let mut useful = range.last < height && !(is_late && response.blocks.is_empty());
        for decided in response.blocks.into_iter().take(most) {
            let at = height_of(&decided);
            if at >= height && range.contains(at) {
                let bytes = encode(&decided).len();
                self.blocks.entry(at).or_insert(Received { from: peer, bytes, decided });
                useful = true;
            }
        }
        self.count_bytes();
        if useful && (is_late || range.len() >= bounds.range_max) {
            self.late_ones_come = is_late;
        }
        let claim = self.peers.get_mut(&peer)?;
        if useful {
            claim.busy = 0;
            if is_late {
                // It is slow, and delivers.
                claim.failures = claim.failures.saturating_sub(1);
                claim.not_before_ms = 0;
            } else if let Some(share) = claim.share {
                claim.share = share.checked_mul(2).filter(|share| *share < bounds.range_max);
            }
        } else if is_late {
            claim.failures = claim.failures.saturating_add(1);
        } else if is_busy && claim.busy < Self::BUSY_MAX {
            let pause_ms = (bounds.pause_ms / 5).saturating_mul(1 << claim.busy);
            claim.busy = claim.busy.saturating_add(1);
            claim.pause(pause_ms.min(bounds.pause_ms), now_ms);
        } else {
            self.failed(peer, bounds, now_ms);
        }
        Some(!is_late)
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

fn height_of(decided: &v1::DecidedBlock) -> u64 {
    decided.certificate.as_ref().map_or(0, |certificate| certificate.height)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "small figures of a test")]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        requests_max: 4,
        range_max: 16,
        window: 128,
        bytes_max: 32 << 20,
        pause_ms: 5_000,
    };
    const ANSWER_MAX: u64 = 16 << 20;
    /// After this long the network gives up.
    const STREAM_MAX_MS: u64 = 60_000;
    const STEP_MS: u64 = 100;

    /// An answer on its way over our link, which all share.
    struct Stream {
        peer: Peer,
        range: Range,
        bytes_left: u64,
        asked_ms: u64,
        given_up: bool,
    }

    fn blocks(range: Range) -> Vec<v1::DecidedBlock> {
        let certificate = |height| v1::CommitCertificate { height, ..Default::default() };
        (range.first..=range.last)
            .map(|height| v1::DecidedBlock { block: None, certificate: Some(certificate(height)) })
            .collect()
    }

    /// Fetches `count` blocks over a link from these peers, of which the first are silent; how long it takes, in seconds,
    /// and how many bytes come.
    fn fetch(
        (count, block_bytes): (u64, u64),
        bytes_a_second: u64,
        (peers, silent): (u8, u8),
    ) -> Option<(u64, u64)> {
        let mut sync = BlockSync::default();
        for number in 1..=peers {
            sync.note_tip(Peer([number; 32]), count);
        }
        let (mut height, mut now_ms, mut sent) = (1, 1_000_000, 0);
        let mut streams: Vec<Stream> = Vec::new();
        for _ in 0..36_000 {
            now_ms += STEP_MS;
            while let Some(request) = sync.next_request(height, &BOUNDS, now_ms) {
                let fit = (ANSWER_MAX / block_bytes).clamp(1, request.blocks_max.into());
                let range =
                    Range { first: request.from_height, last: request.from_height + fit - 1 };
                let bytes_left = fit * block_bytes;
                let (peer, asked_ms) = (request.peer, now_ms);
                streams.push(Stream { peer, range, bytes_left, asked_ms, given_up: false });
            }
            let each = bytes_a_second * STEP_MS / 1_000 / (streams.len() as u64).max(1);
            for stream in &mut streams {
                let each = if stream.peer.0[0] <= silent { 0 } else { each };
                sent += each.min(stream.bytes_left);
                stream.bytes_left = stream.bytes_left.saturating_sub(each);
                let age_ms = now_ms - stream.asked_ms;
                if stream.bytes_left == 0 {
                    let response = v1::SyncResponse { tip: count, blocks: blocks(stream.range) };
                    sync.keep(stream.peer, response, height, (&BOUNDS, now_ms));
                } else if age_ms >= STREAM_MAX_MS {
                    sync.unanswered(stream.peer, &BOUNDS, now_ms);
                } else if age_ms >= BOUNDS.pause_ms && !stream.given_up {
                    stream.given_up = true;
                    sync.late(stream.peer, &BOUNDS, now_ms);
                }
            }
            streams.retain(|one| one.bytes_left > 0 && now_ms - one.asked_ms < STREAM_MAX_MS);
            while let Some((peer, _)) = sync.take(height) {
                sync.delivered(peer);
                height += 1;
            }
            if height > count {
                return Some(((now_ms - 1_000_000) / 1_000, sent));
            }
        }
        None
    }

    #[test]
    fn large_blocks_come_over_slow_links() {
        for (block_bytes, bytes_a_second, peers) in [
            (1 << 20, 100 << 20, 6),
            (1 << 16, 1 << 18, 6),
            (1 << 20, 1 << 20, 3),
            (1 << 20, 1 << 20, 24),
            (1 << 20, 1 << 18, 3),
            (4 << 20, 1 << 19, 3),
        ] {
            let count = 100;
            let bytes = count * block_bytes;
            let ideal = bytes / bytes_a_second;
            let fetched = fetch((count, block_bytes), bytes_a_second, (peers, 0));
            let (seconds, sent) = fetched.expect("every block comes");
            assert!(seconds <= 4 * ideal + 5, "{seconds} s instead of {ideal} s");
            assert!(sent <= 3 * bytes, "{sent} B instead of {bytes} B");
        }
    }

    #[test]
    fn an_answer_that_came_late_and_brought_nothing_counts_against_a_peer() {
        let peer = Peer([1; 32]);
        let late_and = |answer: Vec<v1::DecidedBlock>, height| {
            let mut sync = BlockSync::default();
            sync.note_tip(peer, 40);
            assert!(sync.next_request(1, &BOUNDS, 0).is_some());
            sync.late(peer, &BOUNDS, 5_000);
            let response = v1::SyncResponse { tip: 40, blocks: answer };
            assert_eq!(sync.keep(peer, response, height, (&BOUNDS, 6_000)), Some(false));
            sync.peers.get(&peer).map(|claim| claim.failures)
        };
        let all = Range { first: 1, last: 16 };
        assert_eq!(late_and(blocks(all), 1), Some(0));
        assert_eq!(late_and(blocks(all), 20), Some(0), "others were faster");
        assert_eq!(late_and(Vec::new(), 1), Some(1));
        assert_eq!(late_and(Vec::new(), 20), Some(1), "it only waited for others");
    }

    #[test]
    fn one_lost_answer_of_each_peer_is_asked_for_again_before_it_is_given_up() {
        let mut sync = BlockSync::default();
        let peers = || (1..=3).map(|number| Peer([number; 32]));
        peers().for_each(|peer| sync.note_tip(peer, 3));
        let one_each = Bounds { range_max: 1, ..BOUNDS };
        let mut asked = Vec::new();
        for now_ms in (0..60_000).step_by(100) {
            while let Some(request) = sync.next_request(1, &one_each, now_ms) {
                asked.push((now_ms, request.from_height));
            }
            if now_ms == BOUNDS.pause_ms {
                peers().for_each(|peer| sync.late(peer, &one_each, now_ms));
            }
        }
        let again = 7 * BOUNDS.pause_ms;
        assert_eq!(asked[..4], [(0, 1), (0, 2), (0, 3), (again, 1)], "{asked:?}");
    }

    #[test]
    fn silent_peers_hold_up_nobody_for_long() {
        for silent in [1, 4, 6, 8] {
            let fetched = fetch((1_000, 1 << 10), 100 << 20, (silent + 3, silent));
            let (seconds, _) = fetched.expect("every block comes");
            assert!(seconds <= 90, "{seconds} s beside {silent} silent peers");
        }
    }
}
