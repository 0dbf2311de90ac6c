//! The world: one queue of events in virtual time, and the shells of all nodes.
//!
//! It does what a running node does with a host, an application and a network, with one thing more: between any two
//! actions the power may go.

mod counts;
mod desks;
mod join;
mod lies;
mod life;
mod people;
mod recovery;
mod shell;
mod wire;

pub use counts::{Counts, Timeline};
pub use recovery::replay_every_prefix;

use super::checker::{Checker, Violation};
use super::client::{Client, Reads};
use super::desks::Desks;
use super::founding::{Founding, START_MS};
use super::governance::Operators;
use super::keys::Key;
use super::network::{Network, Packet};
use super::node::Node;
use super::scenario::{Poison, Scenario, Step};
use super::trace::Trace;
use sillok_consensus::testing::{Random, Traitor};
use sillok_consensus::{Event, Peer, TimerId};
use sillok_ledger::{StateView as _, TreeKey, overlay};
use sillok_node::application::{BuildJob, Built, Refused, ValidateJob, Validated};
use sillok_node::join::Event as JoinEvent;
use sillok_node::ledger::Ledger;
use sillok_node::mempool::Limits;
use sillok_proto::{Hash, v1};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a node keeps waiting.
const LIMITS: Limits =
    Limits { transactions_max: 2_000, bytes_max: 8 * 1024 * 1024, per_submitter_max: 1_000 };
/// Longest answer with blocks.
const SYNC_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most events kept for a node that stands still: its sockets hold no more.
const BACKLOG_MAX: usize = 2_000;
/// How long nothing is taken from a peer that was disconnected.
const BANNED_US: u64 = 1_000_000;
/// How often a node passes on what waits.
const PASS_ON_US: u64 = 150_000;
/// How often the operators look.
const GOVERN_US: u64 = 30_000;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The seed it came from.
    pub seed: u64,
    /// Height of the tip that every honest node reached.
    pub height: u64,
    /// Rules that did not hold. The run stops at the first.
    pub violations: Vec<Violation>,
    /// Covers every message, every action and every state root: the same for the same scenario.
    pub trace_hash: u64,
    /// Virtual time that passed.
    pub virtual_us: u64,
    /// What happened.
    pub counts: Counts,
    /// And when.
    pub timeline: Timeline,
    /// A line for every event, if asked for.
    pub trace: Vec<String>,
}

pub(super) enum Job {
    Build(BuildJob),
    Validate(ValidateJob),
}

pub(super) enum Done {
    Built(Box<(Built, Refused)>),
    Validated(Box<Validated>),
}

/// What a node is about to persist.
pub(super) struct Decision {
    block: Arc<v1::Block>,
    certificate: v1::CommitCertificate,
    evidence: Vec<v1::Evidence>,
}

/// Something on the queue.
pub(super) enum Happening {
    Arrive { to: usize, from: usize, packet: Packet },
    Unreachable { to: usize, peer: usize },
    Gone { to: usize, peer: usize },
    Timer { node: usize, life: u64, id: TimerId },
    Run { node: usize, life: u64, job: Job },
    Ran { node: usize, life: u64, done: Done },
    Persist { node: usize, life: u64, decision: Box<Decision> },
    PassOn { node: usize, life: u64 },
    JoinTick { node: usize, life: u64 },
    JoinFailed { node: usize, life: u64, request: u64 },
    Start { node: usize },
    Step(Step),
    OneWay(u64),
    Clock { node: usize, skew_ms: i64 },
    DiskFull { node: usize, full: bool },
    Backup { node: usize },
    Client,
    Desk,
    Read,
    Govern,
    Probe,
}

impl Happening {
    /// Whom it happens to, and in which life, if it is a node's own affair.
    fn about(&self) -> Option<(usize, Option<u64>)> {
        match self {
            Self::Arrive { to, .. } | Self::Unreachable { to, .. } | Self::Gone { to, .. } => {
                Some((*to, None))
            }
            Self::Timer { node, life, .. }
            | Self::Run { node, life, .. }
            | Self::Ran { node, life, .. }
            | Self::Persist { node, life, .. }
            | Self::JoinTick { node, life }
            | Self::JoinFailed { node, life, .. }
            | Self::PassOn { node, life } => Some((*node, Some(*life))),
            _ => None,
        }
    }
}

/// By time, then by order of scheduling.
struct Scheduled(u64, u64, Happening);

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

pub(super) struct World {
    scenario: Scenario,
    founding: Founding,
    random: Random,
    now_us: u64,
    scheduled: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    nodes: Vec<Node>,
    by_peer: BTreeMap<[u8; 32], usize>,
    network: Network,
    client: Client,
    /// Who goes to a desk, where there is one.
    desks: Option<Desks>,
    /// Transactions nobody has shown yet.
    open: Vec<usize>,
    /// The highest height somebody has seen: reads must not show less.
    seen_height: u64,
    operators: Operators,
    checker: Checker,
    poisoned: Vec<(Poison, Hash)>,
    /// How often one of them did what it does.
    poison_hits: Arc<AtomicU64>,
    /// Rounds lost since the first of them, where nothing else goes wrong.
    poison_rounds: u32,
    /// Validator keys that are out of use, and that somebody kept.
    retired: Vec<Key>,
    /// When every fault ended.
    healed_us: u64,
    hash: Trace,
    trace: Vec<String>,
    counts: Counts,
    timeline: Timeline,
    healed: bool,
    probe: Option<usize>,
    /// Validator keys in certificates of honest nodes since healing.
    signed_since: BTreeSet<[u8; 32]>,
}

/// What a node shows to a client.
struct Shown(Option<Arc<Ledger>>);

impl Reads for Shown {
    fn head(&self, did: &Hash) -> Option<v1::Head> {
        let ledger = self.0.as_ref()?;
        let state = ledger.storage.at(ledger.tip().height());
        overlay::head(&state, did).ok().flatten()
    }

    fn leaf(&self, key: &TreeKey) -> Option<Vec<u8>> {
        let ledger = self.0.as_ref()?;
        ledger.storage.at(ledger.tip().height()).leaf(key).ok().flatten()
    }
}

/// Runs a scenario to its end.
#[must_use]
pub fn run(scenario: &Scenario) -> Outcome {
    match catch_unwind(AssertUnwindSafe(|| run_world(scenario))) {
        Ok(outcome) => outcome,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Outcome {
                seed: scenario.seed,
                height: 0,
                violations: vec![Violation::Panicked { reason: text.unwrap_or_default() }],
                trace_hash: 0,
                virtual_us: 0,
                counts: Counts::default(),
                timeline: Timeline::default(),
                trace: Vec::new(),
            }
        }
    }
}

fn run_world(scenario: &Scenario) -> Outcome {
    let mut world = World::new(scenario.clone());
    world.run_until(scenario.faults.until_us, |_| false);
    if world.checker.violations.is_empty() {
        world.recover();
    }
    world.sum_up();
    world.counts.poison_hits = world.poison_hits.load(Ordering::Relaxed);
    world.counts.moves = world.checker.enrollments.moves;
    world.counts.votes_judged = world.checker.votes_judged;
    world.counts.votes_not_judged = world.checker.votes_not_judged;
    Outcome {
        seed: scenario.seed,
        height: world.tips().map(|(_, tip)| tip).min().unwrap_or(0),
        violations: world.checker.violations,
        trace_hash: world.hash.hash(),
        virtual_us: world.now_us,
        counts: world.counts,
        timeline: world.timeline,
        trace: world.trace,
    }
}

impl World {
    fn new(scenario: Scenario) -> Self {
        let mut random = Random::new(scenario.seed);
        let mut founding = Founding::of(&scenario);
        if let Some(twin) = scenario.twins {
            // A machine more, with the same key.
            let mut member = founding.members[twin].clone();
            member.node = Key::numbered(founding.next_key);
            founding.next_key += 1;
            founding.members.push(member);
        }
        let count = founding.members.len();
        let genesis = *founding.chain.hash();
        let cities = scenario.faults.cities.max(1);
        let mut nodes: Vec<Node> = Vec::with_capacity(count);
        for index in 0..count {
            let extra = index >= scenario.validators + scenario.observers + scenario.candidates;
            let twin = scenario.twins.and_then(|first| match index {
                _ if extra => Some((1, first)),
                index if index == first => Some((0, count - 1)),
                _ => None,
            });
            let sins = scenario.traitors.iter().find(|(traitor, _)| *traitor == index);
            let victims = founding.members[..scenario.validators]
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index)
                .map(|(_, member)| member.validator.point)
                .collect();
            let skew_max = scenario.faults.skew_ms;
            let skew = random.below(2 * skew_max + 1) as i64 - skew_max as i64;
            let slow = random.chance(400);
            nodes.push(Node {
                honest: sins.is_none() && twin.is_none(),
                traitor: sins.map(|(_, sins)| Traitor::new(genesis, victims, sins.clone())),
                twin,
                key: (index < scenario.validators || extra)
                    .then(|| founding.members[index].validator),
                skew_ms: skew,
                slow_us: if slow { scenario.faults.slow_disk_us } else { 0 },
                ..Node::default()
            });
        }
        let honest: Vec<bool> = nodes.iter().map(|node| node.honest).collect();
        let bugs = scenario.mutants.of_record();
        let mut checker = Checker::new(&founding, scenario.signatures, honest, bugs);
        checker.check_durability = scenario.check_durability;
        checker.calm = scenario.is_calm();
        for (index, node) in nodes.iter().enumerate() {
            if let Some(key) = node.key {
                checker.knows(index, key.point);
            }
        }
        let network = Network {
            latency_us: scenario.latency_us,
            cities: (0..count).map(|_| random.index(cities)).collect(),
            slow_us: (15_000, 45_000),
            loss_permille: scenario.faults.loss_permille,
            duplicate_permille: scenario.faults.duplicate_permille,
            straggler_permille: scenario.faults.straggler_permille,
            partition: None,
            one_way: false,
        };
        let by_peer = founding
            .members
            .iter()
            .enumerate()
            .map(|(index, member)| (member.node.point, index))
            .collect();
        let mut world = Self {
            client: Client::new(&founding, &scenario),
            desks: Desks::of(&founding, &scenario),
            founding,
            random,
            now_us: 0,
            scheduled: 0,
            queue: BinaryHeap::new(),
            nodes,
            by_peer,
            network,
            open: Vec::new(),
            seen_height: 0,
            operators: Operators::default(),
            checker,
            poisoned: Vec::new(),
            poison_hits: Arc::default(),
            poison_rounds: 0,
            retired: Vec::new(),
            healed_us: 0,
            hash: Trace::default(),
            trace: Vec::new(),
            counts: Counts::default(),
            timeline: Timeline::default(),
            healed: false,
            probe: None,
            signed_since: BTreeSet::new(),
            scenario,
        };
        for node in &world.nodes {
            world.counts.slow_disks += u64::from(node.slow_us > 0);
            world.counts.skewed_clocks += u64::from(node.skew_ms != 0);
        }
        world.plan();
        world
    }

    /// Puts the faults of the whole run on the queue.
    fn plan(&mut self) {
        let faults = self.scenario.faults.clone();
        for node in 0..self.nodes.len() {
            self.schedule(node as u64, Happening::Start { node });
        }
        self.every(faults.crash_every_us, |world, at| {
            let node = world.random.index(world.nodes.len());
            let step = if world.random.chance(500) {
                Step::Crash(node)
            } else {
                Step::CrashAfter(node, world.random.below(60))
            };
            world.schedule(at, Happening::Step(step));
        });
        self.every(faults.partition_every_us, |world, at| {
            let sides = world.random.below(1 << world.nodes.len());
            let happening = if world.random.chance(300) {
                Happening::OneWay(sides)
            } else {
                Happening::Step(Step::Partition(sides))
            };
            world.schedule(at, happening);
            let end = at + world.random.between(20_000, 500_000);
            world.schedule(end, Happening::Step(Step::Unite));
        });
        self.every(faults.pause_every_us, |world, at| {
            let node = world.random.index(world.nodes.len());
            world.schedule(at, Happening::Step(Step::Pause(node)));
            let end = at + world.random.between(10_000, 600_000);
            world.schedule(end, Happening::Step(Step::Resume(node)));
        });
        if let Some(node) = faults.jumping_clock {
            self.every(250_000, |world, at| {
                let skew_ms = world.random.below(120_000) as i64 - 60_000;
                world.schedule(at, Happening::Clock { node, skew_ms });
            });
        }
        if let Some(node) = faults.full_disk {
            self.every(300_000, |world, at| {
                world.schedule(at, Happening::DiskFull { node, full: true });
                let end = at + world.random.between(10_000, 300_000);
                world.schedule(end, Happening::DiskFull { node, full: false });
            });
        }
        if self.scenario.snapshot {
            let first = self.scenario.validators + self.scenario.observers;
            for node in first..first + self.scenario.candidates {
                let late = self.random.between(faults.until_us / 2, faults.until_us * 4 / 5);
                self.schedule(0, Happening::Step(Step::Stop(node)));
                self.schedule(late, Happening::Step(Step::Start(node)));
            }
        }
        if let Some(node) = faults.sleeper {
            self.counts.sleepers += 1;
            self.schedule(faults.until_us / 8, Happening::Step(Step::Stop(node)));
        }
        if let Some(node) = faults.loses_disk {
            let at = self.random.between(faults.until_us / 6, faults.until_us / 2);
            self.schedule(at, Happening::Step(Step::LoseDisk(node)));
        }
        if let Some(node) = faults.restored {
            self.every(120_000, |world, at| world.schedule(at, Happening::Backup { node }));
            self.every(250_000, |world, at| {
                world.schedule(at, Happening::Step(Step::Crash(node)));
            });
        }
        if let Some(poison) = faults.poison {
            let at = self.random.between(50_000, faults.until_us / 2);
            self.schedule(at, Happening::Step(Step::Poison(poison)));
        }
        for change in faults.changes {
            self.operators.want(change);
        }
        for (at, step) in self.scenario.script.clone() {
            self.schedule(at, Happening::Step(step));
        }
        if self.scenario.transaction_every_us > 0 {
            self.schedule(self.scenario.transaction_every_us, Happening::Client);
        }
        if self.scenario.desk_every_us > 0 {
            self.schedule(self.scenario.desk_every_us, Happening::Desk);
        }
        if self.scenario.read_every_us > 0 {
            self.schedule(self.scenario.read_every_us, Happening::Read);
        }
        self.schedule(GOVERN_US, Happening::Govern);
        if let Some((node, actions)) = self.scenario.crash_at {
            self.nodes[node].crash_in = Some(actions);
        }
        for node in self.nodes.iter_mut().filter(|node| node.honest) {
            node.crash_before = self.scenario.crash_before;
        }
    }

    /// Plans something about every `every_us` until the faults end; 0 = never.
    fn every(&mut self, every_us: u64, mut plan: impl FnMut(&mut Self, u64)) {
        let mut at = 0;
        loop {
            at += self.random.between(every_us / 4, every_us * 2);
            if every_us == 0 || at >= self.scenario.faults.until_us {
                return;
            }
            plan(self, at);
        }
    }

    fn schedule(&mut self, at: u64, happening: Happening) {
        self.scheduled += 1;
        self.queue.push(Reverse(Scheduled(at, self.scheduled, happening)));
    }

    fn after(&mut self, delay_us: u64, happening: Happening) {
        self.schedule(self.now_us + delay_us, happening);
    }

    fn note(&mut self, text: impl FnOnce(&Self) -> String) {
        if self.scenario.trace {
            let line = format!("{:>9} {}", self.now_us, text(self));
            self.trace.push(line);
        }
    }

    /// Tips of the honest nodes that are not meant to be down.
    fn tips(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| node.honest && !node.stopped)
            .map(|(index, node)| (index, node.ledger().map_or(0, |ledger| ledger.tip().height())))
    }

    fn run_until(&mut self, until_us: u64, done: impl Fn(&Self) -> bool) {
        while self.checker.violations.is_empty() && !done(self) {
            match self.queue.peek() {
                Some(Reverse(next)) if next.0 <= until_us => {}
                _ => break,
            }
            let Some(Reverse(Scheduled(at, order, happening))) = self.queue.pop() else { break };
            self.now_us = at;
            self.counts.events += 1;
            self.hash.mix(at).mix(order);
            self.happen(happening);
        }
        self.now_us = self.now_us.max(until_us.min(self.now_us));
    }

    // -------------------------------------------------------------------------------- events

    fn happen(&mut self, happening: Happening) {
        if let Some((node, life)) = happening.about() {
            if life.is_some_and(|life| life != self.nodes[node].life) {
                return;
            }
            if self.nodes[node].paused {
                let backlog = &mut self.nodes[node].backlog;
                if backlog.len() < BACKLOG_MAX || life.is_some() {
                    backlog.push_back(happening);
                }
                return;
            }
        }
        match happening {
            Happening::Arrive { to, from, packet } => self.arrive(to, from, packet),
            Happening::Unreachable { to, peer } => {
                let peer = self.peer(peer);
                self.tell(to, Event::SyncFailed { peer });
            }
            Happening::Gone { to, peer } => {
                let peer = self.peer(peer);
                self.tell(to, Event::PeerGone { peer });
            }
            Happening::Timer { node, id, .. } => self.tell(node, Event::TimerFired(id)),
            Happening::Run { node, life, job } => self.run_job(node, life, job),
            Happening::Ran { node, done, .. } => self.on_done(node, done),
            Happening::Persist { node, decision, .. } => self.persist(node, *decision),
            Happening::PassOn { node, life } => self.pass_on(node, life),
            Happening::JoinTick { node, .. } => self.join(node, JoinEvent::Tick),
            Happening::JoinFailed { node, request, .. } => {
                self.join(node, JoinEvent::Failed { request });
            }
            Happening::Start { node } => {
                if !self.nodes[node].stopped {
                    self.start(node);
                }
            }
            Happening::Step(step) => self.step(step),
            Happening::OneWay(sides) if !self.healed => {
                self.counts.partitions_one_way += 1;
                self.network.partition = Some(sides);
                self.network.one_way = true;
            }
            Happening::OneWay(_) => {}
            Happening::Clock { node, skew_ms } => {
                if !self.healed {
                    self.counts.clock_jumps += 1;
                    self.nodes[node].skew_ms = skew_ms;
                }
            }
            Happening::DiskFull { node, full } => self.set_disk_full(node, full && !self.healed),
            Happening::Backup { node } => {
                self.nodes[node].backup = Some(self.nodes[node].disk.copy());
            }
            Happening::Client => self.clients_act(),
            Happening::Desk => self.somebody_at_a_desk(),
            Happening::Read => self.somebody_reads(),
            Happening::Govern => self.govern(),
            Happening::Probe => self.send_probe(),
        }
    }

    fn step(&mut self, step: Step) {
        self.note(|_| format!("{step:?}"));
        match step {
            Step::Crash(node) => self.crash(node),
            Step::CrashAfter(node, actions) => {
                if !self.healed {
                    self.nodes[node].crash_in = Some(actions);
                }
            }
            Step::Pause(node) => {
                if !self.healed && self.nodes[node].is_up() && !self.nodes[node].paused {
                    self.counts.pauses += 1;
                    self.nodes[node].paused = true;
                }
            }
            Step::Resume(node) => self.resume(node),
            Step::Stop(node) => {
                if !self.healed {
                    self.crash(node);
                    self.nodes[node].stopped = true;
                }
            }
            Step::Start(node) => {
                self.nodes[node].stopped = false;
                self.start(node);
            }
            Step::LoseDisk(node) => self.lose_disk(node),
            Step::Partition(sides) => {
                if !self.healed {
                    self.counts.partitions += 1;
                    self.network.partition = Some(sides);
                    self.network.one_way = false;
                }
            }
            Step::Unite => self.network.partition = None,
            Step::Change(change) => self.operators.want(change),
            Step::Poison(poison) => self.poison(poison),
            Step::Load(count) => {
                for _ in 0..count {
                    let (now_ms, now_us) = (self.world_ms(), self.now_us);
                    let sent = self.client.create(&mut self.random, now_ms, now_us);
                    self.submit_anywhere(sent);
                }
            }
        }
    }

    fn set_disk_full(&mut self, node: usize, full: bool) {
        if full && !self.nodes[node].disk_full {
            self.counts.full_disks += 1;
        }
        self.nodes[node].disk_full = full;
        self.nodes[node].disk.set_failing(full);
    }

    fn resume(&mut self, node: usize) {
        if !self.nodes[node].paused {
            return;
        }
        self.nodes[node].paused = false;
        for happening in std::mem::take(&mut self.nodes[node].backlog) {
            self.after(0, happening);
        }
    }

    fn world_ms(&self) -> u64 {
        START_MS + 1_000 + self.now_us / 1_000
    }

    fn peer(&self, node: usize) -> Peer {
        Peer(self.founding.members[node].node.point)
    }
}
