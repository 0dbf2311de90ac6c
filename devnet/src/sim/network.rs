//! The network between nodes: delays, loses, repeats and parts; it never alters (traitors do).

use sillok_consensus::testing::Random;
use sillok_proto::v1;
use std::sync::Arc;

/// What travels.
#[derive(Debug, Clone)]
pub(super) enum Packet {
    Consensus(Arc<v1::ConsensusMessage>),
    Tip(u64),
    SyncRequest(v1::SyncRequest),
    SyncResponse(Arc<v1::SyncResponse>),
    Transaction(Arc<v1::Transaction>),
    SnapshotRequest { request: u64, message: Arc<v1::SnapshotRequest> },
    SnapshotResponse { request: u64, response: Arc<v1::SnapshotResponse> },
}

#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) latency_us: (u64, u64),
    /// City of each node; a slow link between two.
    pub(super) cities: Vec<usize>,
    pub(super) slow_us: (u64, u64),
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
    fn reaches(&self, from: usize, to: usize) -> bool {
        let Some(sides) = self.partition else { return true };
        let side = |node: usize| sides >> (node % 64) & 1;
        side(from) == side(to) || (self.one_way && side(from) == 1)
    }

    /// When the copies of a packet arrive, as delays. None: it is lost.
    pub(super) fn delays(&self, random: &mut Random, from: usize, to: usize) -> [Option<u64>; 2] {
        if !self.reaches(from, to) || random.chance(self.loss_permille) {
            return [None, None];
        }
        let near = self.cities[from] == self.cities[to];
        let (first, last) = if near { self.latency_us } else { self.slow_us };
        let mut delay = || {
            let late = random.chance(self.straggler_permille);
            random.between(first, last) + if late { random.below(300_000) } else { 0 }
        };
        let one = delay();
        let again = random.chance(self.duplicate_permille);
        let other = again.then(|| random.between(first, last) + random.below(50_000));
        [Some(one), other]
    }
}
