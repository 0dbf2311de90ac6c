//! The people of the world at work: sending, reading, governing.

use super::{GOVERN_US, Happening, Shown, World};
use crate::sim::checker::Violation;
use crate::sim::desks::enrollment_changes;
use crate::sim::governance::{Known, Order};
use crate::sim::keys::Key;
use crate::sim::network::Packet;
use crate::sim::scenario::Poison;
use sillok_consensus::testing::Behavior;
use sillok_ledger::{StateView, TransactionLeaf, TreeKey, tree};
use sillok_node::ledger::{Ledger, SubmitError};
use sillok_proto::v1::EnrollmentChange;
use sillok_proto::{Hash, v1};
use std::sync::Arc;

impl World {
    pub(super) fn shown_by_somebody(&mut self) -> Shown {
        let up: Vec<usize> = (0..self.nodes.len())
            .filter(|node| {
                let node = &self.nodes[*node];
                node.is_up() && node.honest && !node.paused
            })
            .collect();
        if up.is_empty() {
            return Shown(None);
        }
        let node = up[self.random.index(up.len())];
        Shown(self.nodes[node].ledger().cloned())
    }

    pub(super) fn clients_act(&mut self) {
        if self.healed && self.scenario.quiet_end {
            return;
        }
        let (now_ms, now_us) = (self.world_ms(), self.now_us);
        let shown = self.shown_by_somebody();
        let mut sent = self.client.act(&mut self.random, &shown, now_ms, now_us);
        if self.random.chance(100) {
            sent.extend(self.client.repeat_a_word(&mut self.random, now_ms, now_us));
        }
        // Those that belong together reach one node in their order.
        let at = self.random.index(self.nodes.len());
        for index in sent {
            self.open.push(index);
            self.counts.transactions_sent += 1;
            self.submit(at, index);
            if self.random.chance(150) {
                let other = self.random.index(self.nodes.len());
                self.submit(other, index);
            }
        }
        self.flood_transactions();
        let every = self.scenario.transaction_every_us.max(20_000 * u64::from(self.healed));
        if every > 0 {
            let next = self.random.between(every / 2, every * 3 / 2);
            self.after(next, Happening::Client);
        }
    }

    /// A flooding traitor sends transactions that nobody signed.
    pub(super) fn flood_transactions(&mut self) {
        let Some(last) = self.client.sent.last() else { return };
        let mut forged = v1::Transaction::clone(&last.transaction);
        for from in 0..self.nodes.len() {
            let floods = self
                .scenario
                .traitors
                .iter()
                .any(|(traitor, sins)| *traitor == from && sins.contains(&Behavior::Flood));
            if !floods {
                continue;
            }
            if let Some(body) = &mut forged.body {
                body.valid_until_ms += 1 + self.random.below(100);
            }
            self.counts.lies += 1;
            self.counts.flooded_transactions += 1;
            let packet = Packet::Transaction(Arc::new(forged.clone()));
            self.send_to_all(from, &packet);
        }
    }

    pub(super) fn submit_anywhere(&mut self, index: usize) {
        self.counts.transactions_sent += 1;
        self.open.push(index);
        let at = self.random.index(self.nodes.len());
        self.submit(at, index);
    }

    pub(super) fn submit(&mut self, at: usize, index: usize) {
        let transaction = self.client.sent[index].transaction.clone();
        if !self.nodes[at].paused && self.take_in(at, &transaction) {
            self.send_to_all(at, &Packet::Transaction(transaction));
        }
    }

    /// Whether the node took it into its mempool, and had it not before.
    pub(super) fn take_in(&mut self, node: usize, transaction: &v1::Transaction) -> bool {
        self.nodes[node].set_clock(self.now_us);
        let honest = self.nodes[node].honest;
        let Some(ledger) = self.nodes[node].ledger().cloned() else { return false };
        let transaction = transaction.clone();
        let genesis = *self.founding.chain.hash();
        let id = TransactionLeaf::of(&genesis, &transaction).map(|leaf| leaf.id);
        let taken = self.scenario.mutants.within(honest, || ledger.submit(transaction));
        self.tell_pending(node);
        if honest && matches!(taken, Err(SubmitError::Poison)) {
            self.check_put_aside(node, &[id.unwrap_or_default()]);
        }
        matches!(taken, Ok((_, true)))
    }

    /// Only what the world made poison may be taken for it.
    pub(super) fn check_put_aside(&mut self, node: usize, ids: &[Hash]) {
        for transaction in ids.iter().copied() {
            if !self.poisoned.contains(&(Poison::Panics, transaction)) {
                self.checker.report(Violation::PutAside { node, transaction });
            }
        }
    }

    /// Transactions from before the end of faults that nobody has shown, that are not too late, and that the rules
    /// would let into the next block.
    fn owed(&self) -> Vec<usize> {
        let now_ms = self.world_ms();
        let is_owed = |index: &usize| {
            let sent = &self.client.sent[*index];
            sent.made_us <= self.healed_us
                && sent.acknowledged.is_none()
                && !self.poisoned.iter().any(|(_, id)| *id == sent.id)
                && self.checker.reference.refuses(&sent.transaction, now_ms).is_none()
        };
        self.open.iter().copied().filter(is_owed).collect()
    }

    /// Those whose transactions nobody has shown send them again, each to some node that works.
    pub(super) fn send_again(&mut self, older_than_us: u64) {
        let up: Vec<usize> = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].honest && self.nodes[*node].is_up())
            .collect();
        for index in self.open.clone() {
            if up.is_empty() || self.client.sent[index].sent_us > older_than_us {
                continue;
            }
            self.client.sent[index].sent_us = self.now_us;
            let at = up[self.random.index(up.len())];
            self.submit(at, index);
        }
    }

    /// After the end of faults everything that is valid is ordered, and not the probe alone. What is not is refused by
    /// a rule, or too late.
    pub(super) fn wait_for_what_is_owed(&mut self, deadline_us: u64) {
        while self.checker.violations.is_empty() {
            let owed = self.owed();
            let Some(first) = owed.first() else { return };
            if self.now_us >= deadline_us {
                let transaction = self.client.sent[*first].id;
                return self.checker.report(Violation::NotOrdered { transaction });
            }
            self.send_again(self.now_us.saturating_sub(400_000));
            let next_us = self.now_us + 50_000;
            self.run_until(next_us, |_| false);
            self.now_us = next_us;
            self.look_at_all();
        }
    }

    fn look_at_all(&mut self) {
        for node in 0..self.nodes.len() {
            if let Some(ledger) =
                self.nodes[node].ledger().cloned().filter(|_| self.nodes[node].honest)
            {
                self.look_for_transactions(node, &ledger);
            }
        }
    }

    pub(super) fn count_operations(&mut self, block: &v1::Block) {
        use v1::operation::Operation;
        let counts = &mut self.counts;
        for transaction in &block.transactions {
            for (_, request) in enrollment_changes(transaction) {
                *match request.change() {
                    EnrollmentChange::Reserve => &mut counts.reservations,
                    EnrollmentChange::Activate => &mut counts.activations,
                    EnrollmentChange::Suspend => &mut counts.suspensions,
                    EnrollmentChange::Reinstate => &mut counts.reinstatements,
                    EnrollmentChange::End => &mut counts.endings,
                    EnrollmentChange::Unspecified => continue,
                } += 1;
            }
            let operations = transaction.body.iter().flat_map(|body| &body.operations);
            let terms = transaction.signatures.iter().flat_map(|all| &all.operations);
            for (operation, terms) in operations.zip(terms) {
                *match &operation.operation {
                    Some(Operation::CreateDid(_)) => &mut counts.creates,
                    Some(Operation::UpdateDid(_)) => &mut counts.updates,
                    Some(Operation::SetDevice(set)) if set.document_hash.is_empty() => {
                        &mut counts.devices_taken
                    }
                    Some(Operation::SetDevice(_)) if terms.signatures.len() > 2 => {
                        &mut counts.recoveries
                    }
                    Some(Operation::SetDevice(_)) => &mut counts.device_changes,
                    Some(Operation::DeactivateDid(_)) => &mut counts.deactivations,
                    Some(Operation::Propose(_)) => &mut counts.proposals,
                    Some(Operation::Approve(_)) => &mut counts.approvals,
                    Some(Operation::Join(_)) => &mut counts.joins,
                    Some(Operation::Rekey(_)) => &mut counts.rekeys,
                    Some(Operation::SetStatus(_)) => &mut counts.entries_set,
                    // Enrollments are counted by what is done to them; the rest founds an agency, once.
                    Some(_) | None => continue,
                } += 1;
            }
        }
    }

    pub(super) fn somebody_reads(&mut self) {
        let next = self.scenario.read_every_us;
        let next = self.random.between(next / 2, next * 3 / 2);
        self.after(next, Happening::Read);
        let node = self.random.index(self.nodes.len());
        let asked = self.nodes[node].ledger().cloned();
        let Some(ledger) = asked.filter(|_| self.nodes[node].honest && !self.nodes[node].paused)
        else {
            return;
        };
        self.look_for_transactions(node, &ledger);
        // The caller has seen this height, here or at another node. STALE: the node says so and shows nothing.
        let min_height = self.seen_height;
        let honest = self.nodes[node].honest;
        let tip = self.scenario.mutants.within(honest, || ledger.tip_for(min_height));
        let Some(tip) = tip else {
            self.counts.stale_reads += 1;
            return;
        };
        let height = tip.height();
        self.counts.reads += 1;
        self.timeline.reads.push((self.now_us, node));
        let key = if self.client.holders.is_empty() || self.random.chance(100) {
            TreeKey::members()
        } else {
            let nth = self.random.index(self.client.holders.len());
            TreeKey::did_head(&self.client.holders[nth].did)
        };
        let state = ledger.storage.at(height);
        match state.leaf(&key) {
            Ok(shown) => {
                self.checker.on_read(node, &key, height, min_height, shown.as_ref());
                if self.random.chance(100) {
                    self.check_proof(node, &ledger, &key, shown.as_ref());
                }
            }
            Err(fault) => self.checker.on_stop(node, &fault.reason),
        }
        if self.random.chance(500) {
            self.seen_height = self.seen_height.max(height);
        }
    }

    pub(super) fn check_proof(
        &mut self,
        node: usize,
        ledger: &Ledger,
        key: &TreeKey,
        shown: Option<&Vec<u8>>,
    ) {
        let tip = ledger.tip();
        let height = tip.height();
        let root = Hash::from_slice(&tip.header.state_root).unwrap_or_default();
        let reason = match tree::prove(&ledger.storage.at(height), height, key) {
            Ok(entry) if entry.present != shown.is_some() => "its proof says otherwise".to_owned(),
            Ok(entry) => match sillok_ledger::proof::verify_entry(&root, &entry) {
                Ok(_) => return,
                Err(error) => error.to_string(),
            },
            Err(fault) => fault.reason,
        };
        self.checker.report(Violation::WrongRead { height, node, reason });
    }

    /// Asks a node for everything that nobody has shown yet, and sends again what seems lost.
    pub(super) fn look_for_transactions(&mut self, node: usize, ledger: &Ledger) {
        let mut again = Vec::new();
        let now_ms = self.world_ms();
        for index in std::mem::take(&mut self.open) {
            let sent = &mut self.client.sent[index];
            match ledger.storage.transaction(&sent.id) {
                Ok(Some((height, place))) => {
                    sent.acknowledged = Some(height);
                    let id = sent.id;
                    self.counts.acknowledged += 1;
                    self.checker.on_acknowledged(node, id, height, place);
                    self.seen_height = self.seen_height.max(height);
                }
                _ if sent.valid_until_ms + 1_000 < now_ms => {}
                _ => {
                    let old = self.now_us > sent.sent_us + 400_000 && !sent.doubtful;
                    if old {
                        sent.sent_us = self.now_us;
                        again.push(index);
                    }
                    self.open.push(index);
                }
            }
        }
        for index in again {
            let at = self.random.index(self.nodes.len());
            self.submit(at, index);
        }
    }

    pub(super) fn govern(&mut self) {
        self.after(GOVERN_US, Happening::Govern);
        if self.operators.is_idle() {
            return;
        }
        let keyless: Vec<usize> =
            (0..self.nodes.len()).filter(|node| self.nodes[*node].keyless).collect();
        let twins = |node: &usize| self.nodes[*node].twin.is_some();
        let fixed: Vec<usize> = (0..self.nodes.len()).filter(twins).collect();
        let culprits: Vec<usize> = (0..self.nodes.len())
            .filter(|node| {
                let faults = &self.scenario.faults;
                let at_fault = [
                    faults.restored,
                    faults.jumping_clock,
                    faults.sleeper,
                    faults.full_disk,
                    faults.loses_disk,
                ];
                !self.nodes[*node].honest
                    || self.nodes[*node].keyless
                    || at_fault.contains(&Some(*node))
            })
            .collect();
        let known = Known {
            members: &self.founding.members,
            culprits: &culprits,
            keyless: &keyless,
            fixed: &fixed,
        };
        let client = &mut self.client;
        let orders = self.operators.tick(
            &self.checker.reference,
            &known,
            &mut self.random,
            self.now_us,
            &mut || client.new_key(),
        );
        for order in orders {
            match order {
                Order::Send(operation, key) => {
                    let (now_ms, now_us) = (self.world_ms(), self.now_us);
                    let sent = self.client.govern(operation, key, now_ms, now_us);
                    self.submit_anywhere(sent);
                }
                Order::Equip(node, key) => self.equip(node, key),
                Order::Done(change) => {
                    self.note(|_| format!("{change:?} is done"));
                    *match change {
                        crate::sim::Change::Add => &mut self.counts.added,
                        crate::sim::Change::Rekey => &mut self.counts.rekeyed,
                        crate::sim::Change::Remove => &mut self.counts.removed,
                        crate::sim::Change::Replace => &mut self.counts.replaced,
                        crate::sim::Change::Observer => &mut self.counts.observers_changed,
                        crate::sim::Change::Parameters => &mut self.counts.figures_changed,
                    } += 1;
                }
            }
        }
    }

    /// A node gets another validator key and a new record with it; the old key is destroyed with the old record.
    pub(super) fn equip(&mut self, node: usize, key: Key) {
        self.note(|_| format!("node {node} gets another validator key"));
        self.crash(node);
        self.timeline.equipped.insert(node);
        let sim = &mut self.nodes[node];
        if let Some(old) = sim.key {
            self.checker.key_is_gone(old.point);
            self.retired.push(old);
        }
        sim.key = Some(key);
        sim.keyless = false;
        sim.forget_record();
        self.founding.members[node].validator = key;
        self.checker.knows(node, key.point);
    }
}
