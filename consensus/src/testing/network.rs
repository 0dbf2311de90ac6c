//! The network between nodes: delays, loses, repeats and parts; it never alters (traitors do).

use super::random::Random;

/// How bad the network is.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// Shortest and longest way of a packet.
    pub latency_us: (u64, u64),
    /// Packets lost, of a thousand.
    pub loss_permille: u64,
    /// Packets that arrive twice, of a thousand.
    pub duplicate_permille: u64,
    /// Packets that come up to 300 ms late, so that they are of another round or height; of a thousand.
    pub straggler_permille: u64,
    /// A bit for each node: whoever is on the other side is not reached.
    pub partition: Option<u64>,
    /// One-way: side 1 reaches side 0 and not the other way round.
    pub one_way: bool,
}

impl Network {
    /// When the copies of a packet arrive, as delays. None: it is lost.
    #[must_use]
    pub fn delays(&self, random: &mut Random, from: usize, to: usize) -> Vec<u64> {
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
