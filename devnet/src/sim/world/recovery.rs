//! The end of a run: every fault is healed, and from here on everything must be well within a time that follows from the
//! timeouts, the number of validators and how far the faults had driven them.

use super::{Happening, World};
use crate::sim::checker::Violation;
use crate::sim::governance::HEARTBEAT_MS_MAX;
use crate::sim::scenario::Scenario;
use sillok_consensus::testing::Behavior;
use sillok_consensus::{Action, SigningRecord};

/// A node that ended by itself is back after this long at the latest.
const DOWN_US: u64 = 300_000;
/// Announcing a tip, asking for blocks, asking another peer after a lost answer: as `World::config` sets them.
const ANNOUNCE_US: u64 = 100_000;
const SYNC_TIMEOUT_US: u64 = 150_000;
const SYNC_BLOCKS: u64 = 4;
/// A joining node gives up on its peers after a stall and begins anew.
const JOIN_US: u64 = 3_000_000;

impl World {
    /// Heals everything and holds the network to its promise.
    pub(super) fn recover(&mut self) {
        self.heal();
        let silent = self.silent_seats();
        let tip = self.tips().map(|(_, tip)| tip).max().unwrap_or(0);
        // The probe is in the first block of a validator that is not at fault; give it a turn.
        let wanted = tip + self.scenario.heights;
        let bound_us = self.recovery_us(self.scenario.heights + silent + 2, silent);
        let healed_us = self.now_us;
        self.timeline.healed_us = healed_us;
        self.run_until(healed_us + bound_us, |world| {
            world.probe_is_shown()
                && world.tips().all(|(_, tip)| tip >= wanted)
                && world.absent().next().is_none()
        });
        if self.checker.violations.is_empty() {
            self.check_back(wanted);
        }
        if self.checker.violations.is_empty() {
            let took_us = self.now_us - healed_us;
            self.counts.recovery_us_max = took_us;
            self.counts.recovery_permille_max = took_us * 1_000 / bound_us;
            self.wait_for_what_is_owed(healed_us + 2 * bound_us);
        }
        if self.checker.violations.is_empty() {
            self.check_end();
        }
    }

    /// Every fault ends: whoever is honest must go on from here.
    fn heal(&mut self) {
        self.healed = true;
        self.healed_us = self.now_us;
        self.note(|_| "healed".to_owned());
        self.network.partition = None;
        self.network.loss_permille = 0;
        self.network.duplicate_permille = 0;
        self.network.straggler_permille = 0;
        self.operators.want_nothing_more();
        let skew_max = self.scenario.faults.skew_ms as i64;
        for node in 0..self.nodes.len() {
            self.nodes[node].crash_in = None;
            self.nodes[node].crash_before = None;
            self.nodes[node].skew_ms = self.nodes[node].skew_ms.clamp(-skew_max, skew_max);
            self.set_disk_full(node, false);
            self.resume(node);
            if self.scenario.faults.sleeper == Some(node) {
                self.nodes[node].stopped = false;
            }
            self.start(node);
        }
        self.send_again(u64::MAX);
        if self.scenario.quiet_end {
            self.counts.quiet_ends += 1;
            return;
        }
        self.after(0, Happening::Probe);
        if self.scenario.transaction_every_us == 0 {
            self.after(50_000, Happening::Client);
        }
    }

    /// One transaction is handed to one honest node, once: it must get from there into a block by itself.
    pub(super) fn send_probe(&mut self) {
        let up: Vec<usize> = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].honest && self.nodes[*node].is_up())
            .collect();
        if up.is_empty() {
            return self.after(10_000, Happening::Probe);
        }
        let (now_ms, now_us) = (self.world_ms(), self.now_us);
        let probe = self.client.create(&mut self.random, now_ms, now_us);
        // Nobody sends it again.
        self.client.sent[probe].sent_us = u64::MAX / 2;
        self.probe = Some(probe);
        self.open.push(probe);
        let at = up[self.random.index(up.len())];
        self.timeline.probed = Some(at);
        self.submit(at, probe);
    }

    fn probe_is_shown(&self) -> bool {
        let shown = |probe: usize| self.client.sent[probe].acknowledged.is_some();
        self.scenario.quiet_end || self.probe.is_some_and(shown)
    }

    /// Seats from which nobody honest votes.
    fn silent_seats(&self) -> u64 {
        let next = self.checker.reference.height() + 1;
        let Some(set) = self.checker.reference.set(next) else { return 0 };
        let voiced = |key: &[u8]| {
            self.nodes.iter().any(|node| {
                node.honest
                    && !node.stopped
                    && !node.keyless
                    && node.key.is_some_and(|own| own.point == *key)
            })
        };
        set.validators.iter().filter(|seat| !voiced(&seat.public_key)).count() as u64
    }

    /// Honest nodes that sit in the set of the next height, may sign, and are in no certificate since healing.
    fn absent(&self) -> impl Iterator<Item = usize> + '_ {
        let next = self.checker.reference.height() + 1;
        let set = self.checker.reference.set(next);
        self.nodes.iter().enumerate().filter_map(move |(index, node)| {
            let key = node.key.filter(|_| node.honest && !node.stopped && !node.keyless)?.point;
            let seated = set?.validators.iter().any(|seat| seat.public_key == key);
            let retired = node.running.as_ref().is_some_and(|up| up.host.status().retired);
            (seated && !retired && !self.signed_since.contains(&key)).then_some(index)
        })
    }

    /// How long a round may take that decides nothing: every step waits until its end, and what was lost before the
    /// faults ended is said again.
    fn round_us(&self, round: u64) -> u64 {
        let timeouts = &self.scenario.timeouts;
        let wait = |first: u64, delta: u64| (first + delta * round).min(timeouts.max_ms) * 1_000;
        wait(timeouts.propose_ms, timeouts.propose_delta_ms)
            + wait(timeouts.prevote_ms, timeouts.prevote_delta_ms)
            + wait(timeouts.precommit_ms, timeouts.precommit_delta_ms)
            + self.scenario.timeouts.rebroadcast_ms.min(timeouts.max_ms) * 1_000
            + 3 * self.way_us()
            + 2 * self.scenario.work_us.1
    }

    /// Longest way of a packet.
    fn way_us(&self) -> u64 {
        let far = self.scenario.faults.cities > 1;
        if far { self.network.slow_us.1 } else { self.network.latency_us.1 }
    }

    /// The longest heartbeat there may be until everybody is back.
    fn heartbeat_ms(&self) -> u64 {
        let changed = if self.scenario.changes_figures() { HEARTBEAT_MS_MAX } else { 0 };
        self.scenario.heartbeat_ms.max(changed)
    }

    /// Within what time after healing `heights` more heights are decided and everybody has them: the height under way
    /// goes on in the round it is in, `silent` proposers in a row are of no use, and who is behind fetches blocks.
    fn recovery_us(&self, heights: u64, silent: u64) -> u64 {
        let rounds = self.nodes.iter().filter(|node| node.honest).filter_map(|node| {
            node.running.as_ref().and_then(|running| running.host.status().round)
        });
        let round = u64::from(rounds.max().unwrap_or(0));
        let persist_us = self.scenario.persist_us.1 + self.scenario.faults.slow_disk_us;
        let under_way: u64 = (round..=round + silent + 1).map(|round| self.round_us(round)).sum();
        let each: u64 = (0..=silent).map(|round| self.round_us(round)).sum::<u64>()
            + self.heartbeat_ms() * 1_000
            + persist_us;
        let tips = || self.tips().map(|(_, tip)| tip);
        let behind = tips().max().unwrap_or(0) - tips().min().unwrap_or(0);
        let asked = (behind + heights) / SYNC_BLOCKS + 1;
        let fetch_us = asked
            * (2 * self.way_us() + SYNC_BLOCKS * (self.scenario.work_us.1 + persist_us))
            + (silent + 1) * SYNC_TIMEOUT_US
            + 2 * ANNOUNCE_US;
        let join_us = if self.scenario.snapshot { JOIN_US } else { 0 };
        DOWN_US + join_us + fetch_us + under_way + heights * each
    }

    /// Whoever is not back by now is stuck.
    fn check_back(&mut self, wanted: u64) {
        let tips: Vec<_> = self.tips().collect();
        for (node, tip) in &tips {
            if *tip < wanted {
                self.checker.report(Violation::Stuck { node: *node, tip: *tip, wanted });
            }
        }
        if !self.probe_is_shown() {
            let transaction = self.probe.map(|probe| self.client.sent[probe].id);
            let transaction = transaction.unwrap_or_default();
            self.checker.report(Violation::NotOrdered { transaction });
        }
        let height = self.checker.reference.height();
        for node in self.absent().collect::<Vec<_>>() {
            self.checker.report(Violation::Absent { node, height });
        }
    }

    /// Everybody holds the record, and shows what anybody showed.
    fn check_end(&mut self) {
        for (node, tip) in self.tips().collect::<Vec<_>>() {
            let Some(ledger) = self.nodes[node].ledger().cloned() else { continue };
            self.check_put_aside(node, &ledger.poisons());
            let disk = self.nodes[node].disk.clone();
            self.checker.on_rest(node, &ledger, &disk);
            // What one node showed every other shows too, at the same place.
            for sent in self.client.sent.iter().rev().take(200) {
                let Some(height) = sent.acknowledged.filter(|height| *height <= tip) else {
                    continue;
                };
                let place = ledger.storage.transaction(&sent.id).ok().flatten();
                if place.map(|place| place.0) != Some(height) {
                    self.checker.report(Violation::AcknowledgedAndLost {
                        transaction: sent.id,
                        height,
                        node,
                    });
                }
            }
        }
    }

    /// What traitors count themselves.
    pub(super) fn sum_up(&mut self) {
        for traitor in self.nodes.iter().filter_map(|node| node.traitor.as_ref()) {
            for (behavior, count) in traitor.sins() {
                *match behavior {
                    Behavior::Equivocate => &mut self.counts.equivocations,
                    Behavior::Withhold => &mut self.counts.withholdings,
                    Behavior::Forge => &mut self.counts.forgeries,
                    Behavior::Replay => &mut self.counts.replayed_messages,
                    Behavior::Flood => &mut self.counts.floods,
                } += count;
            }
        }
        self.counts.equipped = self.timeline.equipped.len() as u64;
    }
}

/// A crash at every entry: runs until the faults end, then starts every validator from each prefix of its record. How
/// many were started, and what did not hold.
#[must_use]
pub fn replay_every_prefix(scenario: &Scenario) -> (u64, Vec<Violation>) {
    let mut world = World::new(scenario.clone());
    world.run_until(scenario.faults.until_us, |_| false);
    let mut replayed = 0;
    for node in 0..world.nodes.len() {
        let sim = &world.nodes[node];
        if !sim.honest || sim.key.is_none() || sim.keyless {
            continue;
        }
        let (mut record, disk) = (sim.record.clone(), sim.disk.clone());
        let whole = match record.open() {
            Ok(opened) => opened.record,
            Err(error) => {
                world.checker.on_stop(node, &error);
                continue;
            }
        };
        for cut in 0..=whole.entries.len() {
            let entries = whole.entries[..cut].to_vec();
            let record = SigningRecord { height: whole.height, entries };
            replayed += 1;
            match world.boot_with(node, record, disk.copy()) {
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
