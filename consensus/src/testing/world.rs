//! The world: one queue of events in virtual time, and the shells of all nodes.
//!
//! It does what `node` does with a host (carries out its actions in order), with one thing more: between any two actions
//! the power may go.

use super::application::{self, Application, Committed, FORBIDDEN, GENESIS, Genesis, START_MS};
use super::checker::{Checker, Violation};
use super::keyed_hash::{KeyedHash, KeyedHashSigner};
use super::network::Network;
use super::node::{RecordOnDisk, SimulatedNode};
use super::random::Random;
use super::scenario::Scenario;
use super::traitor::{Side, Traitor};
use super::twins::{height_and_round, twin_heard};
use crate::action::{Action, RetireReason, TimerId, ValidationId};
use crate::config::{HostConfig, SigningRecord, Timeouts};
use crate::context::ValidatorKey;
use crate::event::{Event, Peer};
use crate::host::Host;
use crate::mutant::Mutant;
use crate::signature::{Ed25519, Ed25519Signer, SignatureScheme, Signer};
use sillok_proto::{encode, v1};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

/// Keys a node may use up while the set changes.
const GENERATIONS: u8 = 6;

/// Transactions in a block.
const BLOCK_TRANSACTIONS_MAX: usize = 50;

/// What happened how often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Counts {
    pub events: u64,
    pub messages_sent: u64,
    pub consensus_messages: u64,
    pub crashes: u64,
    pub crashes_between_actions: u64,
    pub replays: u64,
    pub replayed_entries: u64,
    pub restores: u64,
    pub synced_blocks: u64,
    pub evidence: u64,
    pub faults_reported: u64,
    pub disconnects: u64,
    pub notices: u64,
    pub keys_destroyed: u64,
    pub keys_changed: u64,
    pub changes_asked: u64,
    pub set_changes: u64,
    pub records_lost: u64,
    pub pauses: u64,
    pub clock_jumps: u64,
    pub syncs: u64,
    pub round_max: u32,
    pub empty_blocks: u64,
    pub committed_transactions: u64,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The seed it came from.
    pub seed: u64,
    /// Height of the tip that every honest node reached.
    pub height: u64,
    /// Rules that did not hold. The run stops at the first.
    pub violations: Vec<Violation>,
    /// Covers every event and every action: the same for the same scenario.
    pub trace_hash: u64,
    /// Virtual time that passed.
    pub virtual_us: u64,
    /// What happened.
    pub counts: Counts,
}

/// What travels.
#[derive(Debug, Clone)]
enum Packet {
    Consensus(Arc<v1::ConsensusMessage>),
    Tip(u64),
    SyncRequest { from_height: u64, blocks_max: u32 },
    SyncResponse(Arc<v1::SyncResponse>),
    Transaction(u64),
}

enum Happening {
    Arrive { to: usize, from: usize, packet: Packet },
    Timer { node: usize, life: u64, id: TimerId },
    Build { node: usize, life: u64, height: u64, round: u32 },
    Verdict { node: usize, life: u64, request: ValidationId, block: Arc<v1::Block> },
    Persist { node: usize, life: u64, committed: Box<Committed> },
    Start { node: usize },
    Crash { node: usize },
    Partition { sides: u64, one_way: bool },
    PartitionEnd,
    Transaction,
    Change,
    Pause { node: usize, until_us: u64 },
    ClockJump { node: usize, by_ms: i64 },
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

struct World {
    scenario: Scenario,
    random: Random,
    now_us: u64,
    scheduled: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    nodes: Vec<SimulatedNode>,
    traitors: BTreeMap<usize, Traitor>,
    network: Network,
    /// Keys that sign for more than one mind.
    faulty_keys: Vec<ValidatorKey>,
    scheme: Arc<dyn SignatureScheme>,
    checker: Checker,
    trace: u64,
    counts: Counts,
    next_transaction: u64,
    healed: bool,
}

/// Runs a scenario to its end.
#[must_use]
pub fn run(scenario: &Scenario) -> Outcome {
    let mut world = World::new(scenario.clone());
    world.run_until(scenario.faults.until_us, |_| false);
    if world.checker.violations.is_empty() {
        world.heal();
        let wanted = world.tips().map(|(_, tip)| tip).max().unwrap_or(0) + scenario.heights;
        let deadline_us = world.now_us + scenario.deadline_us;
        world.run_until(deadline_us, |world| world.tips().all(|(_, tip)| tip >= wanted));
        if world.checker.violations.is_empty() {
            let tips: Vec<_> = world.tips().collect();
            world.checker.check_progress(&tips, wanted);
        }
    }
    Outcome {
        seed: scenario.seed,
        height: world.tips().map(|(_, tip)| tip).min().unwrap_or(0),
        violations: world.checker.violations,
        trace_hash: world.trace,
        virtual_us: world.now_us,
        counts: world.counts,
    }
}

/// Runs a scenario until its faults end, then replays every prefix of every signing record, as if the log had been cut
/// there. Says how many, and which did not replay.
#[must_use]
pub fn replay_every_prefix(scenario: &Scenario) -> (u64, Vec<Violation>) {
    let mut world = World::new(scenario.clone());
    world.run_until(scenario.faults.until_us, |_| false);
    let mut replayed = 0;
    for node in 0..scenario.validators {
        let Some(mut whole) = world.nodes[node].record().clone() else { continue };
        whole.sync();
        let whole = whole.read();
        for cut in 0..=whole.entries.len() {
            let entries = whole.entries[..cut].to_vec();
            let record = SigningRecord { height: whole.height, entries };
            let config = world.config(node);
            let start = world.nodes[node].application.height_start();
            let now_ms = world.clock_ms(node);
            replayed += 1;
            match Host::new(config, &start, record, now_ms) {
                Ok((_, actions)) => {
                    for action in actions {
                        if let Action::Halt { reason } = action {
                            world.checker.on_stop(node, &reason);
                        }
                    }
                }
                Err(error) => world.checker.on_stop(node, &error),
            }
        }
    }
    (replayed, world.checker.violations)
}

impl World {
    fn new(scenario: Scenario) -> Self {
        let mut random = Random::new(scenario.seed);
        let twins = usize::from(scenario.twin.is_some());
        let singles = scenario.validators + scenario.observers + scenario.candidates;
        let count = singles + twins;
        let signer = |node: usize, generation: u8| {
            let mut seed = [node as u8 + 1; 32];
            seed[0] ^= generation << 5;
            if scenario.ed25519 {
                Arc::new(Ed25519Signer::new(&seed)) as Arc<dyn Signer>
            } else {
                Arc::new(KeyedHashSigner::new(seed))
            }
        };
        let generations = if scenario.membership_every_us > 0 { GENERATIONS } else { 1 };
        let signers: Vec<Vec<Arc<dyn Signer>>> = (0..count)
            .map(|index| {
                let node = if index == singles { scenario.twin.unwrap_or(index) } else { index };
                let observes = index >= scenario.validators
                    && index < scenario.validators + scenario.observers;
                let own = if observes { 0 } else { generations };
                (0..own).map(|generation| signer(node, generation)).collect()
            })
            .collect();
        let public = |of: &Vec<Arc<dyn Signer>>| -> Vec<ValidatorKey> {
            of.iter().map(|signer| ValidatorKey(signer.public_key())).collect()
        };
        let keys: Vec<_> = signers.iter().take(singles).map(public).collect();
        let is_twin = |index: usize| {
            scenario.twin.is_some() && (index == singles || scenario.twin == Some(index))
        };
        let byzantine = |index: usize| scenario.traitors.contains(&index) || is_twin(index);
        let faulty_keys =
            (0..singles).filter(|node| byzantine(*node)).flat_map(|node| keys[node].clone());
        let faulty_keys = faulty_keys.collect();
        let genesis = Arc::new(Genesis { keys: keys.clone(), validators: scenario.validators });
        let scheme: Arc<dyn SignatureScheme> =
            if scenario.ed25519 { Arc::new(Ed25519) } else { Arc::new(KeyedHash) };
        let honest = (0..count).map(|index| !byzantine(index)).collect();
        let mut checker = Checker::new(honest, scheme.clone());
        checker.check_durability = scenario.check_durability;
        let nodes = signers
            .into_iter()
            .enumerate()
            .map(|(index, signers)| {
                let skew = random.below(2 * scenario.skew_ms + 1) as i64 - scenario.skew_ms as i64;
                SimulatedNode {
                    records: signers.iter().map(|_| Some(RecordOnDisk::default())).collect(),
                    signers,
                    destroyed: BTreeSet::new(),
                    generation: 0,
                    byzantine: byzantine(index),
                    skew_ms: skew,
                    application: Application::new(genesis.clone()),
                    mempool: BTreeSet::new(),
                    host: None,
                    life: 0,
                    crash_in: None,
                    dead: scenario.down == Some(index),
                    paused_until_us: 0,
                }
            })
            .collect();
        let network = Network {
            latency_us: scenario.latency_us,
            loss_permille: scenario.faults.loss_permille,
            duplicate_permille: scenario.faults.duplicate_permille,
            straggler_permille: scenario.faults.straggler_permille,
            partition: None,
            one_way: false,
        };
        let victims = |traitor: usize| {
            let others = (0..scenario.validators).filter(|index| *index != traitor);
            let behaviors = scenario.behaviors.clone();
            Traitor::new(GENESIS, others.map(|index| keys[index][0].0).collect(), behaviors)
        };
        let traitors = scenario.traitors.iter().map(|index| (*index, victims(*index))).collect();
        let mut world = Self {
            random,
            now_us: 0,
            scheduled: 0,
            queue: BinaryHeap::new(),
            nodes,
            traitors,
            network,
            faulty_keys,
            scheme,
            checker,
            trace: 0xCBF2_9CE4_8422_2325,
            counts: Counts::default(),
            next_transaction: FORBIDDEN + 1,
            healed: false,
            scenario,
        };
        world.plan();
        world
    }

    /// Puts the faults of the whole run on the queue.
    fn plan(&mut self) {
        let faults = self.scenario.faults.clone();
        for node in 0..self.nodes.len() {
            let late = self.scenario.late.filter(|late| late.0 == node);
            let at = late.map_or(node as u64, |late| late.1);
            self.schedule(at, Happening::Start { node });
        }
        let mut at = 0;
        loop {
            at += self.random.between(faults.crash_every_us / 4, faults.crash_every_us * 2);
            if faults.crash_every_us == 0 || at >= faults.until_us {
                break;
            }
            let node = self.random.index(self.nodes.len());
            self.schedule(at, Happening::Crash { node });
        }
        let mut at = 0;
        loop {
            at += self.random.between(faults.partition_every_us / 4, faults.partition_every_us * 2);
            if faults.partition_every_us == 0 || at >= faults.until_us {
                break;
            }
            let sides = self.random.below(1 << self.nodes.len());
            let one_way = self.random.chance(300);
            self.schedule(at, Happening::Partition { sides, one_way });
            at += self.random.between(20_000, 600_000);
            self.schedule(at, Happening::PartitionEnd);
        }
        for at in self.moments(faults.pause_every_us, faults.until_us) {
            let node = self.random.index(self.nodes.len());
            let until_us = (at + self.random.below(2_000_000)).min(faults.until_us);
            self.schedule(at, Happening::Pause { node, until_us });
        }
        for at in self.moments(faults.clock_jump_every_us, faults.until_us) {
            let node = self.random.index(self.nodes.len());
            let by_ms = self.random.below(6_001) as i64 - 3_000;
            self.schedule(at, Happening::ClockJump { node, by_ms });
        }
        for at in self.moments(self.scenario.membership_every_us, faults.until_us.max(5_000_000)) {
            self.schedule(at, Happening::Change);
        }
        if self.scenario.transaction_every_us > 0 {
            self.schedule(self.scenario.transaction_every_us, Happening::Transaction);
        }
        if let Some((node, actions)) = self.scenario.crash_at {
            self.nodes[node].crash_in = Some(actions);
        }
    }

    /// Times about `every_us` apart; none if that is 0.
    fn moments(&mut self, every_us: u64, until_us: u64) -> Vec<u64> {
        let mut moments = Vec::new();
        if every_us == 0 {
            return moments;
        }
        loop {
            let last = moments.last().copied().unwrap_or(0);
            let at = last + self.random.between(every_us / 4, every_us * 2);
            if at >= until_us {
                break;
            }
            moments.push(at);
        }
        moments
    }

    fn schedule(&mut self, at: u64, happening: Happening) {
        self.scheduled += 1;
        self.queue.push(Reverse(Scheduled(at, self.scheduled, happening)));
    }

    fn mix(&mut self, value: u64) {
        self.trace = (self.trace ^ value).wrapping_mul(0x0100_0000_01B3).rotate_left(23);
    }

    fn mix_bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_be_bytes(word));
        }
    }

    /// Tips of the honest nodes that are not meant to be down.
    fn tips(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| !node.byzantine && !node.dead)
            .map(|(index, node)| (index, node.application.tip()))
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
            self.mix(at ^ (order << 40));
            self.happen(happening);
            if self.counts.events.is_multiple_of(20_000) {
                let lowest = self.nodes.iter().map(|node| node.application.tip()).min();
                self.checker.forget_below(lowest.unwrap_or(0).saturating_sub(10));
            }
        }
        self.now_us = self.now_us.max(until_us.min(self.now_us));
    }

    /// Every fault ends; whoever is down and not dead starts.
    fn heal(&mut self) {
        self.healed = true;
        self.network.partition = None;
        if !self.scenario.faults.forever {
            self.network.loss_permille = 0;
            self.network.duplicate_permille = 0;
            self.network.straggler_permille = 0;
        }
        for node in 0..self.nodes.len() {
            // Somebody set the clocks right. What they dated meanwhile stays dated.
            if self.scenario.faults.clock_jump_every_us > 0 {
                self.nodes[node].skew_ms = 0;
            }
            if self.scenario.crash_at.is_none() {
                self.nodes[node].crash_in = None;
            }
        }
    }

    // ------------------------------------------------------------------------------ happenings

    /// The node something happens on, if a pause of it can hold that up.
    const fn place(happening: &Happening) -> Option<usize> {
        match happening {
            Happening::Arrive { to: node, .. }
            | Happening::Timer { node, .. }
            | Happening::Build { node, .. }
            | Happening::Verdict { node, .. }
            | Happening::Persist { node, .. } => Some(*node),
            _ => None,
        }
    }

    fn happen(&mut self, happening: Happening) {
        if let Some(node) = Self::place(&happening) {
            let until_us = self.nodes[node].paused_until_us;
            if until_us > self.now_us {
                self.schedule(until_us, happening);
                return;
            }
        }
        match happening {
            Happening::Arrive { to, from, packet } => self.arrive(to, from, packet),
            Happening::Timer { node, life, id } => {
                if self.nodes[node].life == life {
                    self.tell(node, Event::TimerFired(id));
                }
            }
            Happening::Build { node, life, height, round } => {
                let sim = &self.nodes[node];
                if sim.life == life && sim.is_up() && sim.application.tip() + 1 == height {
                    let pending = sim.pending(BLOCK_TRANSACTIONS_MAX);
                    let block = sim.application.build(sim.key(), self.clock_ms(node), &pending);
                    self.tell(node, Event::Built { height, round, block: Arc::new(block) });
                }
            }
            Happening::Verdict { node, life, request, block } => {
                if self.nodes[node].life == life {
                    let verdict = self.nodes[node].application.validate(&block);
                    self.tell(node, Event::Validated { request, verdict });
                }
            }
            Happening::Persist { node, life, committed } => {
                if self.nodes[node].life == life {
                    self.persist(node, *committed);
                }
            }
            Happening::Start { node } => self.start(node),
            Happening::Crash { node } => {
                // At once, or in the middle of what it does next.
                if self.random.chance(500) {
                    self.crash(node);
                } else {
                    self.nodes[node].crash_in = Some(self.random.below(60));
                }
            }
            Happening::Partition { sides, one_way } => {
                self.network.partition = (!self.healed).then_some(sides);
                self.network.one_way = one_way;
            }
            Happening::PartitionEnd => self.network.partition = None,
            Happening::Transaction => self.submit(),
            Happening::Change => self.change_members(),
            Happening::Pause { node, until_us } => {
                self.counts.pauses += 1;
                self.nodes[node].paused_until_us = until_us;
            }
            Happening::ClockJump { node, by_ms } => {
                self.counts.clock_jumps += 1;
                self.nodes[node].skew_ms = (self.nodes[node].skew_ms + by_ms).clamp(-6_000, 6_000);
            }
        }
    }

    fn clock_ms(&self, node: usize) -> u64 {
        (START_MS + self.now_us / 1_000).saturating_add_signed(self.nodes[node].skew_ms)
    }

    fn submit(&mut self) {
        let number = self.next_transaction;
        self.next_transaction += 1;
        let at = self.random.index(self.nodes.len());
        self.receive_transaction(at, number);
        for to in 0..self.nodes.len() {
            if to != at {
                self.send(at, to, &Packet::Transaction(number));
            }
        }
        let every = self.scenario.transaction_every_us;
        let next = self.now_us + self.random.between(every / 2, every * 3 / 2);
        self.schedule(next, Happening::Transaction);
    }

    /// Asks for a change of the validator set that is possible where a random node stands. Faulty validators stay.
    fn change_members(&mut self) {
        let mut stays = self.scenario.traitors.clone();
        let faults = &self.scenario.faults;
        let faulty = [self.scenario.twin, self.scenario.down, faults.restored, faults.record_lost];
        stays.extend(faulty.into_iter().flatten());
        let at = self.random.index(self.nodes.len());
        let chain = &self.nodes[at].application;
        let Some(change) = chain.draw_change(&mut self.random, &stays) else { return };
        self.counts.changes_asked += 1;
        let number = change.number();
        self.receive_transaction(at, number);
        for to in 0..self.nodes.len() {
            if to != at {
                self.send(at, to, &Packet::Transaction(number));
            }
        }
    }

    fn receive_transaction(&mut self, node: usize, number: u64) {
        if self.nodes[node].is_up() && self.nodes[node].mempool.insert(number) {
            self.tell_pending(node);
        }
    }

    fn tell_pending(&mut self, node: usize) {
        let pending = self.nodes[node].has_pending();
        self.tell(node, Event::TransactionsPending(pending));
    }

    fn config(&self, node: usize) -> HostConfig {
        let sim = &self.nodes[node];
        let mut config = HostConfig::new(GENESIS, self.scheme.clone());
        let recent = sim.application.chain.iter().rev().take(8);
        config.recent_certificates = recent.map(|one| one.certificate.clone()).collect();
        config.signer = sim.signer().cloned();
        config.clock_behind_ms = self.scenario.clock_behind_ms;
        config.heartbeat_ms = self.scenario.heartbeat_ms;
        config.announce_ms = 100;
        config.sync_wait_ms = 20;
        config.sync_timeout_ms = 100;
        config.sync_blocks_max = 4;
        config.timeouts = Timeouts {
            propose_ms: 60,
            propose_delta_ms: 20,
            prevote_ms: 20,
            prevote_delta_ms: 10,
            precommit_ms: 20,
            precommit_delta_ms: 10,
            rebroadcast_ms: 100,
            max_ms: 2_000,
        };
        // A traitor has no guard: it would only stop itself.
        config.mutants =
            if sim.byzantine { vec![Mutant::NoSignGuard] } else { self.scenario.mutants.clone() };
        config
    }

    fn start(&mut self, node: usize) {
        if self.nodes[node].is_up() || self.nodes[node].dead {
            return;
        }
        let generation = self.nodes[node].generation_for_next_height();
        self.nodes[node].generation = generation;
        let config = self.config(node);
        let sim = &mut self.nodes[node];
        // Whoever has no key has no record; whoever has a key and no record says so.
        let record = match (config.signer.is_some(), sim.records.get(generation)) {
            (true, Some(Some(record))) => record.read(),
            (true, _) => SigningRecord::missing(),
            (false, _) => SigningRecord::default(),
        };
        if !record.entries.is_empty() {
            self.counts.replays += 1;
            self.counts.replayed_entries += record.entries.len() as u64;
        }
        let start = sim.application.height_start();
        sim.life += 1;
        let now_ms = self.clock_ms(node);
        match Host::new(config, &start, record, now_ms) {
            Ok((host, actions)) => {
                self.nodes[node].host = Some(host);
                self.carry_out(node, actions);
                if self.nodes[node].is_up() {
                    self.tell_pending(node);
                }
            }
            Err(error) => self.checker.on_stop(node, &error),
        }
    }

    /// The power goes. What was not synced is lost from some place on.
    fn crash(&mut self, node: usize) {
        if !self.nodes[node].is_up() {
            return;
        }
        self.counts.crashes += 1;
        let has_key = !self.nodes[node].signers.is_empty();
        let unsynced = if has_key {
            self.nodes[node].record().as_ref().map_or(0, |record| record.appended.len())
        } else {
            0
        };
        let kept = self.random.below(unsynced as u64 + 1) as usize;
        let lost = self.scenario.faults.record_lost == Some(node) && self.random.chance(500);
        let restored = self.scenario.faults.restored == Some(node) && self.random.chance(500);
        let back = self.random.between(1, 8);
        let sim = &mut self.nodes[node];
        if has_key {
            if let Some(record) = sim.record() {
                record.tear(kept);
            }
            if lost {
                self.counts.records_lost += 1;
                *sim.record() = None;
            }
        }
        sim.host = None;
        sim.life += 1;
        sim.crash_in = None;
        sim.paused_until_us = 0;
        sim.mempool.clear();
        if restored {
            self.counts.restores += 1;
            sim.application.restore(sim.application.tip().saturating_sub(back));
        }
        let down_us = self.random.between(1_000, 400_000);
        self.schedule(self.now_us + down_us, Happening::Start { node });
    }

    fn persist(&mut self, node: usize, committed: Committed) {
        self.checker.on_commit(node, &self.nodes[node].application, &committed);
        let numbers: Vec<u64> = application::numbers(&committed.block).collect();
        self.counts.empty_blocks += u64::from(numbers.is_empty());
        self.counts.committed_transactions += numbers.len() as u64;
        self.counts.round_max = self.counts.round_max.max(committed.certificate.round);
        self.mix_bytes(&application::header_hash(&committed.block).0);
        let (height, round) = (committed.certificate.height, committed.certificate.round);
        if round > 0 && self.scenario.is_calm() {
            self.checker.report(Violation::LostRound { height, round });
        }
        let sim = &mut self.nodes[node];
        sim.application.commit(committed);
        for number in numbers {
            sim.mempool.remove(&number);
        }
        let next = sim.application.height_start();
        self.counts.set_changes += u64::from(next.validators != next.next_validators);
        // In this order: what the block took is pending no more when the next height may begin.
        self.tell_pending(node);
        let life = self.nodes[node].life;
        self.tell(node, Event::Committed { next });
        let sim = &mut self.nodes[node];
        if sim.life == life && sim.generation_for_next_height() != sim.generation {
            // Another key from here on: a new host, with that key's record. The old one has said what is to become of its.
            sim.host = None;
            sim.life += 1;
            sim.crash_in = None;
            self.counts.keys_changed += 1;
            self.start(node);
        }
    }

    fn arrive(&mut self, to: usize, from: usize, packet: Packet) {
        if !self.nodes[to].is_up() {
            return;
        }
        let peer = Peer([from as u8 + 1; 32]);
        match packet {
            Packet::Consensus(message) => {
                if let Some(traitor) = self.traitors.get_mut(&to) {
                    traitor.observe(&message);
                }
                let message = v1::ConsensusMessage::clone(&message);
                self.tell(to, Event::Message { peer, message });
            }
            Packet::Tip(height) => self.tell(to, Event::PeerTip { peer, height }),
            Packet::SyncRequest { from_height, blocks_max } => {
                self.answer_sync(to, from, from_height, blocks_max);
            }
            Packet::SyncResponse(response) => {
                self.counts.synced_blocks += response.blocks.len() as u64;
                let response = v1::SyncResponse::clone(&response);
                self.tell(to, Event::Synced { peer, response });
            }
            Packet::Transaction(number) => self.receive_transaction(to, number),
        }
    }

    fn answer_sync(&mut self, node: usize, peer: usize, from_height: u64, blocks_max: u32) {
        let chain = &self.nodes[node].application.chain;
        let first = from_height.saturating_sub(1) as usize;
        let blocks = chain
            .iter()
            .skip(first)
            .take(blocks_max as usize)
            .map(|committed| v1::DecidedBlock {
                block: Some(committed.block.clone()),
                certificate: Some(committed.certificate.clone()),
            })
            .collect();
        let mut response = v1::SyncResponse { tip: chain.len() as u64, blocks };
        if self.traitors.contains_key(&node) && self.random.chance(500) {
            Traitor::corrupt(&mut response, &mut self.random);
        }
        self.send(node, peer, &Packet::SyncResponse(Arc::new(response)));
    }

    fn send(&mut self, from: usize, to: usize, packet: &Packet) {
        self.counts.messages_sent += 1;
        self.counts.consensus_messages += u64::from(matches!(packet, Packet::Consensus(_)));
        for delay in self.network.delays(&mut self.random, from, to) {
            let packet = packet.clone();
            self.schedule(self.now_us + delay, Happening::Arrive { to, from, packet });
        }
    }

    fn work_us(&mut self) -> u64 {
        self.random.between(self.scenario.work_us.0, self.scenario.work_us.1)
    }

    // -------------------------------------------------------------------------------- the shell

    fn tell(&mut self, node: usize, event: Event) {
        let now_ms = self.clock_ms(node);
        let Some(host) = &mut self.nodes[node].host else { return };
        let actions = host.handle(event, now_ms);
        self.carry_out(node, actions);
    }

    /// Carries out actions in their order, until one of them is where the power goes.
    fn carry_out(&mut self, node: usize, actions: Vec<Action>) {
        for action in actions {
            // Everybody is connected with everybody here, so nothing is passed on.
            if matches!(action, Action::Vouch) {
                continue;
            }
            if let Some(left) = &mut self.nodes[node].crash_in {
                if *left == 0 {
                    self.counts.crashes_between_actions += 1;
                    self.crash(node);
                    return;
                }
                *left -= 1;
            }
            self.mix(node as u64);
            self.carry_out_one(node, action);
        }
    }

    fn carry_out_one(&mut self, node: usize, action: Action) {
        let life = self.nodes[node].life;
        match action {
            Action::ResetWal { height } => {
                self.nodes[node].record().get_or_insert_default().reset(height);
            }
            Action::Append(entry) => {
                // A host that forgets to begin a record leaves it to whoever begins the file.
                let Some(record) = self.nodes[node].record() else { return };
                record.height = record.height.max(entry.height);
                record.append(entry);
            }
            Action::Sync => {
                self.counts.syncs += 1;
                if let Some(record) = self.nodes[node].record() {
                    record.sync();
                }
            }
            Action::Broadcast(message) => self.broadcast(node, message),
            Action::Vouch => {}
            Action::AnnounceTip { height } => {
                let lie = self.traitors.contains_key(&node) && self.random.chance(200);
                let tip = match lie.then(|| self.random.below(4)) {
                    None => height,
                    Some(0) => u64::MAX,
                    Some(_) => height + self.random.below(1_000),
                };
                for to in 0..self.nodes.len() {
                    if to != node {
                        self.send(node, to, &Packet::Tip(tip));
                    }
                }
            }
            Action::SetTimer { id, after_ms } => {
                let at = self.now_us + after_ms * 1_000;
                self.schedule(at, Happening::Timer { node, life, id });
            }
            // Never cancelled: the host must ignore it when it fires.
            Action::CancelTimer { .. } => {}
            Action::Build { height, round, .. } => {
                let at = self.now_us + self.work_us();
                self.schedule(at, Happening::Build { node, life, height, round });
            }
            Action::Validate { request, block, .. } => {
                let at = self.now_us + self.work_us();
                self.schedule(at, Happening::Verdict { node, life, request, block });
            }
            // The toy ledger has one build.
            Action::BuildsDiffer { .. } => {}
            Action::Decide { block, certificate, evidence } => {
                self.counts.evidence += evidence.len() as u64;
                for evidence in &evidence {
                    let chain = &self.nodes[node].application;
                    self.checker.on_evidence(node, chain, evidence, &self.faulty_keys);
                }
                let block = v1::Block::clone(&block);
                let committed = Box::new(Committed { block, certificate });
                let (first, last) = self.scenario.persist_us;
                let at = self.now_us + self.random.between(first, last);
                self.schedule(at, Happening::Persist { node, life, committed });
            }
            Action::RequestSync { peer, from_height, blocks_max } => {
                let to = usize::from(peer.0[0]) - 1;
                self.send(node, to, &Packet::SyncRequest { from_height, blocks_max });
            }
            Action::PeerFault { peer, reason } => {
                self.counts.faults_reported += 1;
                self.checker.on_fault(node, usize::from(peer.0[0]) - 1, &reason);
            }
            Action::Disconnect { peer } => {
                self.counts.disconnects += 1;
                self.checker.on_fault(node, usize::from(peer.0[0]) - 1, &"disconnected");
            }
            Action::Notice(_) => self.counts.notices += 1,
            Action::DestroyKey { .. } => {
                self.counts.keys_destroyed += 1;
                let key = self.nodes[node].key();
                let chain = &self.nodes[node].application;
                self.checker.on_key_destroyed(node, chain, &key);
                let sim = &mut self.nodes[node];
                *sim.record() = None;
                sim.destroyed.insert(sim.generation);
            }
            Action::StopSigning { reason } => {
                let sim = &self.nodes[node];
                let unseated = !sim.application.is_seated(&sim.key());
                let lost = self.scenario.faults.record_lost == Some(node);
                let expected = match reason {
                    // A record that was lost and one that was destroyed look the same to who starts.
                    RetireReason::RecordMissing => lost || unseated,
                    RetireReason::Recorded => unseated,
                    _ => false,
                };
                if !expected {
                    self.checker.on_stop(node, &reason);
                }
            }
            Action::Halt { reason } => {
                self.checker.on_stop(node, &reason);
                // A traitor met its own lies; it comes back.
                self.crash(node);
            }
        }
    }

    fn broadcast(&mut self, node: usize, message: v1::ConsensusMessage) {
        self.mix_bytes(&encode(&message));
        let key = self.nodes[node].key();
        if let Some(Some(record)) = self.nodes[node].records.get(self.nodes[node].generation) {
            self.checker.on_release((node, key), &message, &record.durable);
        }
        let (height, round) = height_and_round(&message);
        let twin = self.scenario.twin.map(|twin| (twin, self.nodes.len() - 1));
        let invalid_permille = self.scenario.faults.invalid_permille;
        let honest = Packet::Consensus(Arc::new(message.clone()));
        for to in 0..self.nodes.len() {
            if to == node {
                continue;
            }
            if let Some((first, second)) = twin {
                let pair = [first, second];
                let deaf = |of: usize, other: usize| {
                    pair.contains(&of)
                        && twin_heard(self.scenario.seed, height, round, other)
                            != usize::from(of == second)
                };
                if !self.healed && (deaf(node, to) || deaf(to, node)) {
                    continue;
                }
            }
            let signer = self.nodes[node].signer().cloned();
            match (self.traitors.get_mut(&node), signer) {
                (Some(traitor), Some(signer)) => {
                    traitor.observe(&message);
                    let told = if self.scenario.conspiracy {
                        let side = match to {
                            to if self.nodes[to].byzantine => Side::Traitors,
                            to if to % 2 == 0 => Side::First,
                            _ => Side::Second,
                        };
                        traitor.conspire(&message, signer.as_ref(), side)
                    } else {
                        let forbidden = &mut self.checker.forbidden;
                        let mut remake = |block: &v1::Block, random: &mut Random| {
                            let spoil = random.chance(invalid_permille);
                            let other = application::remake(block, spoil);
                            if spoil {
                                forbidden.insert(application::header_hash(&other));
                            }
                            other
                        };
                        traitor.tell(&message, signer.as_ref(), &mut self.random, &mut remake)
                    };
                    for message in told {
                        self.send(node, to, &Packet::Consensus(Arc::new(message)));
                    }
                }
                _ => self.send(node, to, &honest),
            }
        }
    }
}
