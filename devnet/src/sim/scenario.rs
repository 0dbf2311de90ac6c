//! What a run is made of. [`Scenario::swarm`] draws it from a seed: each seed switches faults on and off, so that every
//! combination comes up.

use super::keys::Signatures;
use super::mutants::Mutants;
use sillok_consensus::Timeouts;
use sillok_consensus::testing::{Behavior, Random};
use sillok_ledger::certificate::faulty_max;

/// A transaction that the software cannot bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poison {
    /// Executing it panics on every node.
    Panics,
    /// Half of the validators runs a build that computes another state root.
    OtherRoot,
    /// Each of that half computes a root of its own, as a build does that depends on chance.
    OwnRoots,
}

/// A change of the members that the operators want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The next candidate becomes a validator.
    Add,
    /// A validator takes another key, approved by nobody but its operator.
    Rekey,
    /// A validator is removed.
    Remove,
    /// All other operators give new keys to one that lost its own.
    Replace,
    /// An observer is admitted, or removed again.
    Observer,
    /// Other figures of the network.
    Parameters,
}

impl Change {
    /// Those of members.
    pub const MEMBERS: [Self; 5] =
        [Self::Add, Self::Rekey, Self::Remove, Self::Replace, Self::Observer];
}

/// Something that happens at a set time, for scripted runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Its power goes; it comes back after a while.
    Crash(usize),
    /// It crashes after this many more actions.
    CrashAfter(usize, u64),
    /// It stands still, with everything in its memory.
    Pause(usize),
    /// It goes on.
    Resume(usize),
    /// It is stopped and not started before [`Step::Start`].
    Stop(usize),
    /// It is started.
    Start(usize),
    /// It loses its disk, with its key, and comes back empty.
    LoseDisk(usize),
    /// Nodes of different bits do not reach each other.
    Partition(u64),
    /// Everyone reaches everyone.
    Unite,
    /// The operators want a change.
    Change(Change),
    /// Somebody sends a transaction that the software cannot bear.
    Poison(Poison),
    /// This many transactions at once.
    Load(u64),
}

/// What goes wrong, and until when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// Packets lost, of a thousand.
    pub loss_permille: u64,
    /// Packets that arrive twice.
    pub duplicate_permille: u64,
    /// Packets that arrive up to 300 ms late.
    pub straggler_permille: u64,
    /// A crash of some node about this often; 0 = never. Half of them between two actions of one event.
    pub crash_every_us: u64,
    /// A node whose database comes back from half of its crashes as an older copy, and the signing record does not.
    pub restored: Option<usize>,
    /// A node that loses its disk and its key, once.
    pub loses_disk: Option<usize>,
    /// A partition about this often; 0 = never. Some are one-way.
    pub partition_every_us: u64,
    /// A node stands still about this often, with everything in its memory; 0 = never.
    pub pause_every_us: u64,
    /// A node that sleeps through most of the run.
    pub sleeper: Option<usize>,
    /// A node whose clock jumps, by up to a minute.
    pub jumping_clock: Option<usize>,
    /// Wall clocks are off by up to this much, either way.
    pub skew_ms: u64,
    /// Writes of some nodes take up to this long.
    pub slow_disk_us: u64,
    /// Nodes stand in this many cities, with slow links between them.
    pub cities: usize,
    /// A disk that refuses writes for a while, now and then.
    pub full_disk: Option<usize>,
    /// A transaction that the software cannot bear.
    pub poison: Option<Poison>,
    /// Changes of the members, one after the other.
    pub changes: Vec<Change>,
    /// When all of it ends.
    pub until_us: u64,
}

/// One run. Equal scenarios give equal runs, event by event.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// Validators at genesis.
    pub validators: usize,
    /// Nodes that follow without a key.
    pub observers: usize,
    /// Nodes of organizations that may become operators; they follow until then.
    pub candidates: usize,
    /// Traitors and what they do: at most f, if the rules are to hold.
    pub traitors: Vec<(usize, Vec<Behavior>)>,
    /// A validator whose key runs on two nodes that know nothing of each other; it counts as a traitor.
    pub twins: Option<usize>,
    /// Traitors act together: half of the honest nodes is shown one chain and half another.
    pub conspiracy: bool,
    /// How everybody signs.
    pub signatures: Signatures,
    /// What goes wrong.
    pub faults: Faults,
    /// What happens when, besides.
    pub script: Vec<(u64, Step)>,
    /// Shortest and longest way of a packet within a city.
    pub latency_us: (u64, u64),
    /// Building and validating take this long.
    pub work_us: (u64, u64),
    /// Persisting takes this long; other events come in between.
    pub persist_us: (u64, u64),
    /// How long steps wait.
    pub timeouts: Timeouts,
    /// 0 = blocks without a pause.
    pub heartbeat_ms: u64,
    /// Clock rule: how far behind a fresh proposal may be.
    pub clock_behind_ms: u64,
    /// A transaction about this often; 0 = none.
    pub transaction_every_us: u64,
    /// Somebody goes to a desk about this often, for a credential of an exclusive type; 0 = there is none.
    pub desk_every_us: u64,
    /// A read about this often; 0 = none.
    pub read_every_us: u64,
    /// Whether messages go through their encoding.
    pub wire: bool,
    /// Whether observers and candidates join by snapshot instead of by blocks.
    pub snapshot: bool,
    /// Heights every honest node must gain after healing; the time it has for that follows from the timeouts.
    pub heights: u64,
    /// Nothing new is sent after healing: the network must go on all the same.
    pub quiet_end: bool,
    /// The packet of this number is lost, whatever the network would do.
    pub drop_packet: Option<u64>,
    /// A crash of this node after this many of its actions, counted from the start of the run.
    pub crash_at: Option<(usize, u64)>,
    /// Every honest node crashes once, before its first action of this kind.
    pub crash_before: Option<&'static str>,
    /// Bugs in every honest node.
    pub mutants: Mutants,
    /// Whether the rule "durable before released" is checked as such.
    pub check_durability: bool,
    /// Whether to keep a line for every event.
    pub trace: bool,
}

/// Timeouts of a fast network, so that a run is short.
pub const FAST: Timeouts = Timeouts {
    propose_ms: 80,
    propose_delta_ms: 30,
    prevote_ms: 30,
    prevote_delta_ms: 15,
    precommit_ms: 30,
    precommit_delta_ms: 15,
    rebroadcast_ms: 100,
    max_ms: 2_000,
};

/// Builds that differ agree with each other in every other seed.
const fn other_root(seed: u64) -> Poison {
    if seed.is_multiple_of(2) { Poison::OtherRoot } else { Poison::OwnRoots }
}

fn pick<T: Copy>(random: &mut Random, values: &[T]) -> T {
    values[random.index(values.len())]
}

impl Scenario {
    /// Four validators, nothing goes wrong.
    #[must_use]
    pub fn calm(seed: u64) -> Self {
        Self {
            seed,
            validators: 4,
            observers: 0,
            candidates: 0,
            traitors: Vec::new(),
            twins: None,
            conspiracy: false,
            signatures: Signatures::KeyedHash,
            faults: Faults::default(),
            script: Vec::new(),
            latency_us: (500, 3_000),
            work_us: (100, 1_000),
            persist_us: (100, 1_000),
            timeouts: FAST,
            heartbeat_ms: 200,
            clock_behind_ms: 10_000,
            transaction_every_us: 20_000,
            desk_every_us: 0,
            read_every_us: 30_000,
            wire: false,
            snapshot: false,
            heights: 10,
            quiet_end: false,
            drop_packet: None,
            crash_at: None,
            crash_before: None,
            mutants: Mutants::default(),
            check_durability: true,
            trace: false,
        }
    }

    /// A seed: its faults, and in many the people of status and trust, or other figures.
    #[must_use]
    pub fn swarm(seed: u64) -> Self {
        Self::faults_of(seed).with_more()
    }

    /// What came later than the faults is drawn from a stream of its own, so that the faults of a seed stay what they
    /// were.
    fn with_more(mut self) -> Self {
        let mut random = Random::new(self.seed ^ 0x000D_E5C5_0F57_A705);
        let random = &mut random;
        if random.chance(400) {
            self.desk_every_us = pick(random, &[25_000, 40_000, 80_000]);
        }
        // Changes take their turns, so where there are none yet the world must last long enough for one.
        if random.chance(150) && self.faults != Faults::default() && self.faults.poison.is_none() {
            self.faults.changes.insert(0, Change::Parameters);
            self.faults.until_us = self.faults.until_us.max(1_500_000);
        }
        self
    }

    /// The faults of a seed, and nobody at a desk.
    #[must_use]
    pub fn faults_of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5133_0CC5_EED5);
        let random = &mut random;
        let mut scenario = Self::calm(seed);
        scenario.heights = 4;
        if random.chance(40) {
            // Nothing goes wrong: then nothing may take longer than it must.
            return scenario;
        }
        if random.chance(40) {
            // Nothing but a transaction that the software cannot bear: then it is known how many rounds it costs.
            scenario.validators = pick(random, &[4, 4, 5, 7]);
            scenario.faults.poison = Some(pick(random, &[Poison::Panics, other_root(seed)]));
            scenario.faults.until_us = 1_000_000;
            scenario.transaction_every_us = pick(random, &[8_000, 25_000]);
            return scenario;
        }
        scenario.validators = pick(random, &[4, 4, 5, 7, 7, 10]);
        scenario.observers = pick(random, &[0, 0, 1]);
        scenario.signatures =
            if random.chance(50) { Signatures::Ed25519 } else { Signatures::KeyedHash };
        scenario.heartbeat_ms = pick(random, &[0, 200, 200, 500]);
        scenario.transaction_every_us = pick(random, &[8_000, 25_000, 25_000, 80_000]);
        scenario.work_us = (100, pick(random, &[500, 3_000, 30_000]));
        scenario.persist_us = (0, pick(random, &[0, 1_000, 10_000]));
        scenario.latency_us = (1_000, pick(random, &[4_000, 12_000]));
        scenario.wire = random.chance(100);
        let tight_clocks = random.chance(150);
        scenario.clock_behind_ms = if tight_clocks { 150 } else { 10_000 };
        scenario.faults = Faults {
            loss_permille: pick(random, &[0, 0, 20, 100, 250]),
            duplicate_permille: pick(random, &[0, 0, 100]),
            straggler_permille: pick(random, &[0, 0, 30]),
            crash_every_us: pick(random, &[0, 60_000, 200_000]),
            partition_every_us: pick(random, &[0, 0, 300_000]),
            pause_every_us: pick(random, &[0, 0, 250_000]),
            skew_ms: if tight_clocks { 20 } else { pick(random, &[0, 20, 500]) },
            slow_disk_us: pick(random, &[0, 0, 60_000]),
            cities: pick(random, &[1, 1, 2, 3]),
            until_us: pick(random, &[600_000, 1_000_000, 1_500_000]),
            ..Faults::default()
        };
        scenario.draw_members(random);
        scenario.draw_culprits(random);
        scenario.quiet_end = random.chance(250);
        scenario
    }

    fn draw_members(&mut self, random: &mut Random) {
        if random.chance(350) {
            let count = 1 + random.index(3);
            self.faults.changes = (0..count).map(|_| pick(random, &Change::MEMBERS)).collect();
            let added = self.faults.changes.iter().filter(|change| **change == Change::Add);
            self.candidates = added.count();
            // Changes take their turns; give them the time.
            self.faults.until_us = 2_000_000;
            self.transaction_every_us = self.transaction_every_us.max(25_000);
        }
        // The light client of a joining node knows real signatures only.
        if random.chance(80) {
            self.snapshot = true;
            self.signatures = Signatures::Ed25519;
            self.candidates = self.candidates.max(1);
        }
    }

    /// Fewer than a third may be at fault in ways that cost the network a validator.
    fn draw_culprits(&mut self, random: &mut Random) {
        let mut left: Vec<usize> = (0..self.validators).collect();
        let as_many_as_may_be = random.chance(333);
        for _ in 0..faulty_max(self.validators) {
            if !random.chance(700) && !as_many_as_may_be {
                continue;
            }
            let culprit = left.remove(random.index(left.len()));
            // Lies to a joining node are told only where somebody joins.
            let kind = if self.snapshot && random.chance(400) { 8 } else { random.below(9) };
            let faults = &mut self.faults;
            match kind {
                0 if faults.restored.is_none() => faults.restored = Some(culprit),
                1 if faults.loses_disk.is_none() => faults.loses_disk = Some(culprit),
                2 if faults.jumping_clock.is_none() => faults.jumping_clock = Some(culprit),
                3 if faults.sleeper.is_none() => faults.sleeper = Some(culprit),
                4 if faults.full_disk.is_none() => faults.full_disk = Some(culprit),
                5 if self.twins.is_none() => self.twins = Some(culprit),
                _ => {
                    let mut sins: Vec<Behavior> =
                        Behavior::ALL.into_iter().filter(|_| random.chance(400)).collect();
                    if sins.is_empty() {
                        sins.push(Behavior::Equivocate);
                    }
                    self.traitors.push((culprit, sins));
                }
            }
        }
        // One build that computes another root is a fault of many, and leaves no room for others.
        if random.chance(150) {
            let alone = left.len() == self.validators && self.faults.changes.is_empty();
            self.faults.poison = Some(if alone && random.chance(500) {
                other_root(self.seed)
            } else {
                Poison::Panics
            });
        }
    }

    /// How many validators, the first ones, read poison differently.
    #[must_use]
    pub const fn misreading(&self) -> usize {
        self.validators / 2
    }

    /// Whether the figures of the network may change.
    #[must_use]
    pub fn changes_figures(&self) -> bool {
        self.faults.changes.contains(&Change::Parameters)
            || self.script.iter().any(|(_, step)| *step == Step::Change(Change::Parameters))
    }

    /// Nothing at all goes wrong: then no round may be lost.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.culprits() == 0
            && self.script.is_empty()
            && self.crash_at.is_none()
            && self.crash_before.is_none()
            && self.drop_packet.is_none()
            && self.faults == Faults::default()
    }

    /// Nothing goes wrong but transactions that the software cannot bear.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let faults = Faults { poison: None, until_us: 0, ..self.faults.clone() };
        let harmless = |step: &Step| matches!(step, Step::Poison(_) | Step::Load(_));
        self.culprits() == 0
            && self.crash_at.is_none()
            && self.script.iter().all(|(_, step)| harmless(step))
            && faults == Faults::default()
    }

    /// How many of the first validators are at fault in a way that costs the network a validator.
    #[must_use]
    pub fn culprits(&self) -> usize {
        let faults = &self.faults;
        let one_each = [
            faults.restored,
            faults.loses_disk,
            faults.jumping_clock,
            faults.sleeper,
            faults.full_disk,
            self.twins,
        ];
        self.traitors.len() + one_each.iter().flatten().count()
    }
}
