//! The network between nodes: delays, loses, repeats and parts; it never alters (traitors do).

use super::random::Random;
use sillok_proto::v1;
use std::sync::Arc;

/// What travels.
#[derive(Debug, Clone)]
pub(super) enum Packet {
    Consensus(Arc<v1::ConsensusMessage>),
    Tip(u64),
    SyncRequest { from_height: u64, blocks_max: u32 },
    SyncResponse(Arc<v1::SyncResponse>),
    Transaction(u64),
}

#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) latency_us: (u64, u64),
    pub(super) loss_permille: u64,
    pub(super) duplicate_permille: u64,
    /// Some packets come so late that they are of another round or height.
    pub(super) straggler_permille: u64,
    /// A bit for each node: whoever is on the other side is not reached.
    pub(super) partition: Option<u64>,
    /// One-way: side 1 reaches side 0 and not the other way round.
    pub(super) one_way: bool,
}

impl Network {
    /// When the copies of a packet arrive, as delays. None: it is lost.
    pub(super) fn delays(&self, random: &mut Random, from: usize, to: usize) -> Vec<u64> {
        if let Some(sides) = self.partition {
            let side = |node: usize| sides >> node & 1;
            let cut = side(from) != side(to) && !(self.one_way && side(from) == 1);
            if cut {
                return Vec::new();
            }
        }
        if random.chance(self.loss_permille) {
            return Vec::new();
        }
        let copies = if random.chance(self.duplicate_permille) { 2 } else { 1 };
        (0..copies)
            .map(|_| {
                let delay = random.between(self.latency_us.0, self.latency_us.1);
                let late = random.chance(self.straggler_permille);
                delay + if late { random.below(300_000) } else { 0 }
            })
            .collect()
    }
}
