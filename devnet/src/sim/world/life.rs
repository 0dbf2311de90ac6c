//! Life and death of nodes: starting from what a disk holds, losing power, disks, keys.

use super::{Happening, LIMITS, PASS_ON_US, World};
use crate::sim::disk::Opened;
use crate::sim::network::Packet;
use crate::sim::node::Running;
use crate::sim::scenario::Poison;
use sillok_consensus::testing::Mutant as HostMutant;
use sillok_consensus::{Action, Figures, Host, HostConfig, SigningRecord};
use sillok_node::application;
use sillok_node::application::Application;
use sillok_node::ledger::{Environment, ExecutionFault, Ledger};
use sillok_node::storage::memory::MemoryDisk;
use sillok_node::storage::{Retention, Storage};
use sillok_proto::v1;
use std::collections::BTreeSet;
use std::sync::Arc;

impl World {
    pub(super) fn config(&self, node: usize) -> HostConfig {
        let sim = &self.nodes[node];
        let parameters = self.founding.chain.parameters();
        let signatures = self.scenario.signatures;
        let mut config = HostConfig::new(*self.founding.chain.hash(), signatures.scheme());
        config.signer = sim.key.as_ref().map(|key| signatures.signer(key));
        config.set_figures(self.figures(parameters));
        config.announce_ms = 100;
        config.sync_wait_ms = 30;
        config.sync_timeout_ms = 150;
        config.sync_blocks_max = 4;
        config.timeouts = self.scenario.timeouts;
        // A traitor has no guard: it would only stop itself.
        config.mutants = if sim.honest {
            self.scenario.mutants.host.clone()
        } else {
            vec![HostMutant::NoSignGuard]
        };
        config
    }

    /// The figures that ordering needs. The world goes on without a pause, or more slowly than its genesis says, until
    /// the operators set another heartbeat.
    pub(super) fn figures(&self, parameters: &v1::Parameters) -> Figures {
        let of_genesis = self.founding.chain.parameters().heartbeat_ms;
        let own = parameters.heartbeat_ms == of_genesis;
        Figures {
            heartbeat_ms: if own { self.scenario.heartbeat_ms } else { parameters.heartbeat_ms },
            clock_behind_ms: parameters.clock_behind_ms,
            clock_ahead_ms: parameters.clock_ahead_ms,
        }
    }

    pub(super) fn start(&mut self, node: usize) {
        let sim = &self.nodes[node];
        if sim.is_up() || sim.stopped || sim.joining.is_some() || self.begin_to_join(node) {
            return;
        }
        match self.boot(node) {
            Ok((running, actions)) => {
                self.checker.on_start(node, running.ledger().tip().height());
                let sim = &mut self.nodes[node];
                sim.running = Some(running);
                sim.life += 1;
                let life = sim.life;
                self.note(|_| format!("node {node} starts"));
                self.after(PASS_ON_US, Happening::PassOn { node, life });
                // Connections come up; what was announced before is told again.
                for other in 0..self.nodes.len() {
                    if let Some(ledger) = self.nodes[other].ledger().filter(|_| other != node) {
                        let tip = ledger.tip().height();
                        self.send(other, node, &Packet::Tip(tip));
                    }
                }
                self.carry_out(node, actions);
                self.tell_pending(node);
            }
            // The disk is full: somebody clears it and starts the node again.
            Err(_) if self.nodes[node].disk_full => {
                self.after(50_000, Happening::Start { node });
            }
            Err(reason) => self.checker.on_stop(node, &reason),
        }
    }

    pub(super) fn boot(&mut self, node: usize) -> Result<(Running, Vec<Action>), String> {
        let sim = &mut self.nodes[node];
        let record = match sim.key {
            Some(_) if sim.keyless => SigningRecord::missing(),
            Some(_) => {
                let Opened { record, undone } = sim.record.open()?;
                self.counts.torn_resets += u64::from(undone);
                record
            }
            None => SigningRecord::default(),
        };
        if !record.entries.is_empty() {
            self.counts.replays += 1;
            self.counts.replayed_entries += record.entries.len() as u64;
        }
        let disk = self.nodes[node].disk.clone();
        self.boot_with(node, record, disk)
    }

    /// Starts a node from what is on its disks.
    pub(super) fn boot_with(
        &self,
        node: usize,
        record: SigningRecord,
        disk: MemoryDisk,
    ) -> Result<(Running, Vec<Action>), String> {
        let mut config = self.config(node);
        let chain = self.founding.chain.clone();
        let sim = &self.nodes[node];
        let now_ms = sim.set_clock(self.now_us);
        let (honest, key) = (sim.honest, sim.key);
        let environment =
            Environment { clock: sim.clock(), verifier: self.scenario.signatures.verifier() };
        let disk = Arc::new(disk);
        let fault = self.execution_fault(node);
        self.scenario.mutants.within(honest, || {
            let storage = Storage::over(disk, &chain, Retention::Archive)
                .map_err(|error| error.to_string())?;
            let ledger = Ledger::open(chain, storage, LIMITS, environment)
                .map_err(|error| error.to_string())?;
            ledger.set_execution_fault(fault);
            let tip = ledger.tip();
            let start = application::height_start(&tip);
            config.set_figures(self.figures(&tip.parameters));
            config.recent_certificates = (tip.height().saturating_sub(11).max(1)..=tip.height())
                .filter_map(|height| ledger.storage.certificate(height).ok().flatten())
                .collect();
            let application = Application::new(Arc::new(ledger), key.map(|key| key.point));
            let (host, actions) =
                Host::new(config, &start, record, now_ms).map_err(|error| error.to_string())?;
            let waiting = BTreeSet::new();
            let signer = key.map(|key| key.point);
            Ok((Running { host, application, signer, told_pending: false, waiting }, actions))
        })
    }

    /// The power goes. What was not synced is lost from some place on.
    pub(super) fn crash(&mut self, node: usize) {
        if !self.nodes[node].is_up() && self.nodes[node].joining.is_none() {
            return;
        }
        self.counts.crashes += 1;
        let unsynced = self.nodes[node].record.unsynced_bytes() as u64;
        // Nothing of it, any part of it, all of it.
        let kept = match self.random.below(4) {
            0 => 0,
            1 => unsynced,
            _ => self.random.below(unsynced + 1),
        };
        self.counts.torn_records += u64::from(kept < unsynced);
        let batches = self.nodes[node].disk.unsynced() as u64;
        let batches_kept = self.random.below(batches + 1) as usize;
        let restored =
            !self.healed && self.scenario.faults.restored == Some(node) && self.random.chance(500);
        self.note(|_| format!("node {node} crashes"));
        let sim = &mut self.nodes[node];
        sim.record.tear(kept as usize);
        sim.running = None;
        sim.joining = None;
        sim.life += 1;
        sim.crash_in = None;
        sim.paused = false;
        sim.backlog.clear();
        sim.banned.clear();
        self.counts.lost_writes += sim.disk.crash_keeping(batches_kept) as u64;
        if let Some(backup) = sim.backup.as_ref().filter(|_| restored) {
            self.counts.restores += 1;
            self.checker.on_other_disk(node);
            sim.disk = backup.copy();
        }
        for to in 0..self.nodes.len() {
            if to != node && self.random.chance(500) {
                let delay = self.random.below(100_000);
                self.after(delay, Happening::Gone { to, peer: node });
            }
        }
        let down_us = self.random.between(1_000, 300_000);
        self.after(down_us, Happening::Start { node });
    }

    pub(super) fn lose_disk(&mut self, node: usize) {
        if self.healed {
            return;
        }
        self.crash(node);
        self.counts.lost_disks += 1;
        self.checker.on_other_disk(node);
        if let Some(key) = self.nodes[node].key {
            self.checker.key_is_gone(key.point);
        }
        // Either the key is lost with its record, or somebody has it on paper: it is never used again (PROTOCOL II.4).
        let on_paper = self.random.chance(500);
        let sim = &mut self.nodes[node];
        sim.disk = MemoryDisk::new();
        sim.forget_record();
        sim.keyless = true;
        if !on_paper {
            sim.key = None;
        }
    }

    pub(super) fn execution_fault(&self, node: usize) -> ExecutionFault {
        let hits = self.poison_hits.clone();
        let mut fault = ExecutionFault { hits, ..ExecutionFault::default() };
        // A traitor proposes what others cannot bear to validate.
        if !self.nodes[node].honest {
            return fault;
        }
        for (poison, id) in &self.poisoned {
            match poison {
                Poison::Panics => {
                    fault.panics_on.insert(*id);
                }
                Poison::OtherRoot | Poison::OwnRoots if node < self.scenario.misreading() => {
                    fault.other_root_on.insert(*id);
                    let own = if *poison == Poison::OwnRoots { node as u8 } else { 0xff };
                    fault.other_root = [own; 32];
                }
                Poison::OtherRoot | Poison::OwnRoots => {}
            }
        }
        fault
    }

    /// Somebody sends a transaction that the software cannot bear.
    pub(super) fn poison(&mut self, poison: Poison) {
        self.counts.poisons += 1;
        let (now_ms, now_us) = (self.world_ms(), self.now_us);
        let sent = self.client.create(&mut self.random, now_ms - 55_000, now_us);
        self.client.sent[sent].doubtful = true;
        self.poisoned.push((poison, self.client.sent[sent].id));
        if poison != Poison::Panics {
            self.checker.reference.excuse(self.client.sent[sent].id);
        }
        for node in 0..self.nodes.len() {
            let fault = self.execution_fault(node);
            if let Some(ledger) = self.nodes[node].ledger() {
                ledger.set_execution_fault(fault);
            }
        }
        self.submit_anywhere(sent);
    }
}
