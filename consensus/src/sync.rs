//! Whom to ask for blocks that were decided without us.
//!
//! Needed for liveness and not only to catch up: a node that has decided repeats its votes of that height no more, so
//! one that missed them can learn the decision in no other way. Tips are claims; a certificate is what counts.

use crate::event::Peer;
use sillok_proto::v1;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct BlockSync {
    tips: BTreeMap<Peer, u64>,
    /// Asked, and not answered yet.
    pub(crate) asked: Option<Peer>,
    /// Asked last; the next is asked after it in turn.
    last: Option<Peer>,
    /// Blocks received, by height, with who sent them.
    blocks: BTreeMap<u64, (Peer, v1::DecidedBlock)>,
    /// The height for which peers one block ahead had time to let us decide for ourselves.
    pub(crate) waited_for: Option<u64>,
}

impl BlockSync {
    /// More peers than any network of ministries has; others' tips are not kept.
    const PEERS_MAX: usize = 1_024;

    pub(crate) fn note_tip(&mut self, peer: Peer, height: u64) {
        if self.tips.len() < Self::PEERS_MAX || self.tips.contains_key(&peer) {
            self.tips.insert(peer, height);
        }
    }

    /// Forgets what a peer claimed, until it claims again.
    pub(crate) fn forget(&mut self, peer: Peer) {
        self.tips.remove(&peer);
        if self.asked == Some(peer) {
            self.asked = None;
        }
    }

    /// A peer sent something wrong: nothing of what it sent is used.
    pub(crate) fn distrust(&mut self, peer: Peer) {
        self.forget(peer);
        self.blocks.retain(|_, (from, _)| *from != peer);
    }

    pub(crate) fn best_tip(&self) -> u64 {
        self.tips.values().copied().max().unwrap_or(0)
    }

    /// The next peer, in turn, that claims to have `height`.
    pub(crate) fn choose(&mut self, height: u64) -> Option<Peer> {
        let has = |(peer, tip): (&Peer, &u64)| (*tip >= height).then_some(*peer);
        let after = self.last.and_then(|last| {
            let later = (std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded);
            self.tips.range(later).find_map(has)
        });
        let chosen = after.or_else(|| self.tips.iter().find_map(has))?;
        self.asked = Some(chosen);
        self.last = Some(chosen);
        Some(chosen)
    }

    /// Keeps the blocks of an answer that are from `height` on, at most `blocks_max` ahead.
    pub(crate) fn keep(
        &mut self,
        peer: Peer,
        blocks: Vec<v1::DecidedBlock>,
        height: u64,
        blocks_max: u32,
    ) {
        let end = height.saturating_add(u64::from(blocks_max));
        for decided in blocks.into_iter().take(usize::try_from(blocks_max).unwrap_or(1)) {
            let at = decided.certificate.as_ref().map_or(0, |certificate| certificate.height);
            if (height..end).contains(&at) {
                self.blocks.insert(at, (peer, decided));
            }
        }
    }

    pub(crate) fn holds(&self, height: u64) -> bool {
        self.blocks.contains_key(&height)
    }

    /// Takes the block of `height` and forgets lower ones.
    pub(crate) fn take(&mut self, height: u64) -> Option<(Peer, v1::DecidedBlock)> {
        self.blocks = self.blocks.split_off(&height);
        self.blocks.remove(&height)
    }
}
