//! What a run is made of. [`Scenario::swarm`] draws it from a seed: each seed switches faults on and off, so that every
//! combination comes up.

use super::random::Random;
use super::traitor::Behavior;
use crate::mutant::Mutant;

/// What goes wrong, and until when.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Packets lost, of a thousand.
    pub loss_permille: u64,
    /// Packets that arrive twice.
    pub duplicate_permille: u64,
    /// Packets that arrive up to 300 ms late.
    pub straggler_permille: u64,
    /// A crash of some node about this often; 0 = never. Half of them between two actions of one event.
    pub crash_every_us: u64,
    /// A node whose database comes back from half of its crashes as an older copy, and the signing record does not. It
    /// counts as faulty: it has forgotten blocks and refuses to vote for them again.
    pub restored: Option<usize>,
    /// A node that loses its signing record in half of its crashes and keeps the key. It counts as faulty: it votes no more.
    pub record_lost: Option<usize>,
    /// A node stands still about this often, for up to 2 s; 0 = never.
    pub pause_every_us: u64,
    /// A wall clock is set forth or back by up to 3 s about this often; 0 = never.
    pub clock_jump_every_us: u64,
    /// A partition about this often; 0 = never.
    pub partition_every_us: u64,
    /// A traitor's proposals that break a rule.
    pub invalid_permille: u64,
    /// When crashes and partitions end, and everything else too unless `forever`.
    pub until_us: u64,
    /// Loss, duplicates and stragglers stay.
    pub forever: bool,
}

/// One run. Equal scenarios give equal runs, event by event.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// Number of validators.
    pub validators: usize,
    /// Number of nodes that follow without a key.
    pub observers: usize,
    /// Which validators are traitors: fewer than a third, if the rules are to hold.
    pub traitors: Vec<usize>,
    /// What the traitors do.
    pub behaviors: Vec<Behavior>,
    /// A validator that runs twice, with one key and two minds: one more traitor, and one more node.
    pub twin: Option<usize>,
    /// Nodes that are no validators yet and may become some.
    pub candidates: usize,
    /// A change of the validator set about this often: nodes are added, removed and re-keyed; 0 = never.
    pub membership_every_us: u64,
    /// How far behind a clock a fresh proposal may be.
    pub clock_behind_ms: u64,
    /// Traitors act together: half of the honest nodes is shown one chain and half another. With more traitors than the rules
    /// allow, agreement must break, and the checker must see it.
    pub conspiracy: bool,
    /// A validator that never starts.
    pub down: Option<usize>,
    /// A node that starts only at this time, far behind.
    pub late: Option<(usize, u64)>,
    /// Real signatures in place of the keyed hash.
    pub ed25519: bool,
    /// What goes wrong.
    pub faults: Faults,
    /// Shortest and longest way of a packet.
    pub latency_us: (u64, u64),
    /// Building and validating take this long.
    pub work_us: (u64, u64),
    /// Persisting takes this long; other events come in between.
    pub persist_us: (u64, u64),
    /// Wall clocks are off by up to this much, either way.
    pub skew_ms: u64,
    /// 0 = blocks without a pause.
    pub heartbeat_ms: u64,
    /// A transaction about this often; 0 = none.
    pub transaction_every_us: u64,
    /// Heights every honest node must gain after healing.
    pub heights: u64,
    /// Virtual time it has for that.
    pub deadline_us: u64,
    /// Bugs in every honest host.
    pub mutants: Vec<Mutant>,
    /// Whether the rule "durable before released" is checked as such.
    pub check_durability: bool,
    /// A crash of this node after this many of its actions, counted from the start of the run.
    pub crash_at: Option<(usize, u64)>,
}

impl Scenario {
    /// Four validators, nothing goes wrong.
    #[must_use]
    pub fn calm(seed: u64) -> Self {
        Self {
            seed,
            validators: 4,
            observers: 0,
            traitors: Vec::new(),
            behaviors: vec![Behavior::Equivocate, Behavior::Forge],
            twin: None,
            candidates: 0,
            membership_every_us: 0,
            clock_behind_ms: 10_000,
            conspiracy: false,
            down: None,
            late: None,
            ed25519: false,
            faults: Faults::default(),
            latency_us: (500, 3_000),
            work_us: (100, 1_000),
            persist_us: (100, 1_000),
            skew_ms: 0,
            heartbeat_ms: 0,
            transaction_every_us: 5_000,
            heights: 20,
            deadline_us: 60_000_000,
            mutants: Vec::new(),
            check_durability: true,
            crash_at: None,
        }
    }

    /// Whether nothing at all goes wrong. Then no height may need a second round.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        let faults = &self.faults;
        let numbers = [
            faults.loss_permille,
            faults.duplicate_permille,
            faults.straggler_permille,
            faults.crash_every_us,
            faults.pause_every_us,
            faults.clock_jump_every_us,
            faults.partition_every_us,
            self.membership_every_us,
            self.skew_ms,
        ];
        numbers.iter().all(|number| *number == 0)
            && self.traitors.is_empty()
            && [self.twin, self.down, self.late.map(|late| late.0)] == [None; 3]
            && self.crash_at.is_none()
            && self.validators > 1
    }

    /// The faults of a seed.
    #[must_use]
    pub fn swarm(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0xA11C_E5ED);
        let mut scenario = Self::calm(seed);
        let pick = |random: &mut Random, values: &[u64]| values[random.index(values.len())];
        scenario.validators = pick(&mut random, &[4, 4, 4, 5, 7]) as usize;
        scenario.observers = pick(&mut random, &[0, 0, 1]) as usize;
        if random.chance(500) {
            scenario.traitors.push(random.index(scenario.validators));
        }
        scenario.ed25519 = random.chance(60);
        scenario.heartbeat_ms = pick(&mut random, &[0, 0, 300]);
        scenario.transaction_every_us = pick(&mut random, &[3_000, 20_000, 150_000]);
        scenario.work_us = (100, pick(&mut random, &[500, 3_000, 30_000]));
        scenario.persist_us = (0, pick(&mut random, &[0, 1_000, 20_000]));
        scenario.skew_ms = pick(&mut random, &[0, 0, 500]);
        scenario.latency_us = (500, pick(&mut random, &[2_000, 10_000]));
        scenario.heights = 5;
        scenario.faults = Faults {
            loss_permille: pick(&mut random, &[0, 20, 100, 250]),
            duplicate_permille: pick(&mut random, &[0, 100]),
            straggler_permille: pick(&mut random, &[0, 30]),
            crash_every_us: pick(&mut random, &[0, 40_000, 200_000]),
            restored: None,
            record_lost: None,
            pause_every_us: pick(&mut random, &[0, 0, 300_000]),
            clock_jump_every_us: pick(&mut random, &[0, 0, 0, 300_000]),
            partition_every_us: pick(&mut random, &[0, 0, 400_000]),
            invalid_permille: 300,
            until_us: 2_000_000,
            forever: false,
        };
        scenario.behaviors = Behavior::ALL.into_iter().filter(|_| random.chance(600)).collect();
        // One faulty validator in each seed: no more can be borne by the smallest set.
        if scenario.traitors.is_empty() {
            let node = random.index(scenario.validators);
            match random.below(10) {
                0..3 => scenario.faults.restored = Some(node),
                3..5 => scenario.faults.record_lost = Some(node),
                5..7 => scenario.twin = Some(node),
                _ => {}
            }
        }
        if random.chance(400) {
            scenario.candidates = 2;
            scenario.membership_every_us = pick(&mut random, &[60_000, 250_000]);
        }
        scenario
    }
}
