//! Which fault comes when, to whom and for how long: all of it follows from the seed.

use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;
use std::time::Duration;

/// What is done to nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Killed (SIGKILL), and started again later
    Kill,
    /// Frozen (SIGSTOP), and resumed later
    Pause,
    /// Cut off from all other nodes
    Partition,
    /// Cut off in one direction: it hears and is not heard, or the other way round
    OneWay,
    /// Its disk has no room left
    DiskFull,
    /// Its disk refuses every write
    ReadOnly,
    /// Its clock is wrong by seconds, ahead or behind
    ClockSkew,
    /// Its clock jumps to and fro
    ClockJump,
    /// Every node is stopped and started with another build, one after the other
    Upgrade,
    /// It signs two different votes and proposals for the same round
    Equivocate,
    /// It keeps its votes and proposals to itself
    Withhold,
    /// It sends votes in the name of others, and its own with a wrong signature
    Forge,
    /// It sends garbage, and old messages again, as fast as it can
    Flood,
    /// A transaction panics the execution of every node
    Panicking,
    /// A transaction on which some nodes, run by another build, compute another state root
    Diverging,
    /// More than the network can bear: as many killed that no quorum is left
    TooMany,
}

impl Fault {
    /// As on the command line.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// What.
    pub(super) fault: Fault,
    /// To whom: places among the nodes, in the order in which it is done to them.
    pub(super) victims: Vec<usize>,
    /// For how long, before it is healed.
    pub(super) lasts: Duration,
    /// Chooses where a fault has two ways to go.
    pub(super) coin: bool,
}

/// An endless row of faults: every kind once in each turn, in an order that changes.
#[derive(Debug)]
pub(super) struct Schedule {
    random: StdRng,
    faults: Vec<Fault>,
    turn: Vec<Fault>,
    validators: usize,
    longest: Duration,
}

/// The shortest fault.
const SHORTEST: Duration = Duration::from_secs(3);
/// The longest, in a long run.
const LONGEST: Duration = Duration::from_secs(15);

impl Schedule {
    /// The row that follows from `seed`, for a run of `time`.
    pub(super) fn new(seed: u64, faults: &[Fault], validators: usize, time: Duration) -> Self {
        // Every kind should have its turn twice, with as long for its recovery.
        let turns = u32::try_from(faults.len().max(1) * 4).unwrap_or(u32::MAX);
        Self {
            random: StdRng::seed_from_u64(seed),
            faults: faults.to_vec(),
            turn: Vec::new(),
            validators,
            longest: (time / turns).clamp(SHORTEST, LONGEST),
        }
    }

    /// How many may be faulty at once.
    pub(super) const fn bearable(&self) -> usize {
        self.validators.saturating_sub(1) / 3
    }

    fn lasts(&mut self) -> Duration {
        let most = u64::try_from(self.longest.as_millis()).unwrap_or(u64::MAX);
        let least = u64::try_from(SHORTEST.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.random.random_range(least..=most.max(least)))
    }
}

impl Iterator for Schedule {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.turn.is_empty() {
            self.turn.clone_from(&self.faults);
            self.turn.shuffle(&mut self.random);
        }
        let fault = self.turn.pop()?;
        let mut places: Vec<usize> = (0..self.validators).collect();
        places.shuffle(&mut self.random);
        let count = match fault {
            Fault::Upgrade | Fault::Panicking => self.validators,
            Fault::TooMany | Fault::Diverging => self.bearable() + 1,
            _ => self.random.random_range(1..=self.bearable().max(1)),
        };
        places.truncate(count);
        let coin = self.random.random();
        Some(Step { fault, victims: places, lasts: self.lasts(), coin })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTES: Duration = Duration::from_secs(1_200);

    fn steps(seed: u64) -> Vec<Step> {
        Schedule::new(seed, Fault::value_variants(), 4, MINUTES).take(60).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        assert_eq!(steps(7), steps(7));
        assert_ne!(steps(7), steps(8));
    }

    #[test]
    fn every_fault_has_its_turn_before_one_comes_again() {
        let kinds = Fault::value_variants().len();
        for turn in steps(3).chunks_exact(kinds) {
            let mut seen: Vec<Fault> = turn.iter().map(|step| step.fault).collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), kinds);
        }
    }

    #[test]
    fn no_more_are_faulty_than_can_be_borne_but_where_that_is_the_point() {
        for validators in [4, 7] {
            let bearable = (validators - 1) / 3;
            for step in Schedule::new(1, Fault::value_variants(), validators, MINUTES).take(200) {
                match step.fault {
                    Fault::TooMany | Fault::Diverging => {
                        assert_eq!(step.victims.len(), bearable + 1);
                    }
                    Fault::Upgrade | Fault::Panicking => assert_eq!(step.victims.len(), validators),
                    _ => assert!((1..=bearable).contains(&step.victims.len())),
                }
                assert!(step.lasts >= SHORTEST && step.lasts <= LONGEST);
            }
        }
    }
}
