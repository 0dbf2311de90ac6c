//! The network between nodes: delays, loses, repeats and parts; it never alters (traitors do).

use super::trace::Trace;
use sillok_consensus::testing::Random;
use sillok_proto::{encode, v1};
use std::sync::Arc;

/// What travels.
#[derive(Debug, Clone)]
pub(super) enum Packet {
    Consensus(Arc<v1::ConsensusMessage>),
    Tip(u64),
    SyncRequest(v1::SyncRequest),
    SyncResponse(Arc<v1::SyncResponse>),
    Transaction(Arc<v1::Transaction>),
    /// Request and answer travel on a stream of their own, which ends with the life of who asked.
    SnapshotRequest {
        request: u64,
        life: u64,
        message: Arc<v1::SnapshotRequest>,
    },
    SnapshotResponse {
        request: u64,
        life: u64,
        response: Arc<v1::SnapshotResponse>,
    },
}

impl Packet {
    /// Of every byte that travels, for the trace.
    pub(super) fn digest(&self) -> u64 {
        let mut trace = Trace::default();
        match self {
            Self::Consensus(message) => trace.mix(0).mix_bytes(&encode(&**message)),
            Self::Tip(tip) => trace.mix(1).mix(*tip),
            Self::SyncRequest(request) => trace.mix(2).mix_bytes(&encode(request)),
            Self::SyncResponse(response) => trace.mix(3).mix_bytes(&encode(&**response)),
            Self::Transaction(transaction) => trace.mix(4).mix_bytes(&encode(&**transaction)),
            Self::SnapshotRequest { request, life, message } => {
                trace.mix(5).mix(*request).mix(*life).mix_bytes(&encode(&**message))
            }
            Self::SnapshotResponse { request, life, response } => {
                trace.mix(6).mix(*request).mix(*life).mix_bytes(&encode(&**response))
            }
        };
        trace.hash()
    }
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

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// A partition is in between.
    Parted,
    Lost,
    Sent {
        /// After how long it arrives.
        delay_us: u64,
        /// After how long it arrives once more.
        again_us: Option<u64>,
        late: bool,
        /// Between two cities.
        far: bool,
    },
}

impl Network {
    fn reaches(&self, from: usize, to: usize) -> bool {
        let Some(sides) = self.partition else { return true };
        let side = |node: usize| sides >> (node % 64) & 1;
        side(from) == side(to) || (self.one_way && side(from) == 1)
    }

    pub(super) fn fate(&self, random: &mut Random, from: usize, to: usize) -> Fate {
        if !self.reaches(from, to) {
            return Fate::Parted;
        }
        if random.chance(self.loss_permille) {
            return Fate::Lost;
        }
        let far = self.cities[from] != self.cities[to];
        let (first, last) = if far { self.slow_us } else { self.latency_us };
        let late = random.chance(self.straggler_permille);
        let delay_us = random.between(first, last) + if late { random.below(300_000) } else { 0 };
        let again = random.chance(self.duplicate_permille);
        let again_us = again.then(|| random.between(first, last) + random.below(50_000));
        Fate::Sent { delay_us, again_us, late, far }
    }
}
