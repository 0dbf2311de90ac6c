//! What a running node does with its host and its application, action by action.

use super::{BANNED_US, Decision, Done, Happening, Job, World};
use crate::sim::checker::Violation;
use crate::sim::network::Packet;
use crate::sim::scenario::Poison;
use crate::sim::trace::kind;
use sillok_consensus::{Action, Event, RetireReason};
use sillok_ledger::header_hash;
use sillok_proto::{Hash, v1};

impl World {
    pub(super) fn tell(&mut self, node: usize, event: Event) {
        let now_ms = self.nodes[node].set_clock(self.now_us);
        let Some(running) = &mut self.nodes[node].running else { return };
        if let Event::TransactionsPending(pending) = &event {
            running.told_pending = *pending;
        }
        let actions = running.host.handle(event, now_ms);
        self.carry_out(node, actions);
    }

    pub(super) fn tell_pending(&mut self, node: usize) {
        let Some(running) = &self.nodes[node].running else { return };
        let pending = *running.ledger().watch_pending().borrow();
        if pending != running.told_pending {
            self.tell(node, Event::TransactionsPending(pending));
        }
    }

    /// Carries out actions in their order, until one of them is where the power goes.
    pub(super) fn carry_out(&mut self, node: usize, actions: Vec<Action>) {
        let life = self.nodes[node].life;
        for action in actions {
            if self.nodes[node].life != life {
                return;
            }
            // Everybody is connected with everybody here, so nothing is passed on.
            if matches!(action, Action::Vouch) {
                continue;
            }
            if self.power_goes(node, kind(&action)) {
                return;
            }
            self.hash.mix(self.now_us).mix(node as u64).mix_action(&action);
            self.carry_out_one(node, action);
        }
    }

    /// Whether this is where the power goes: before an action of this kind.
    pub(super) fn power_goes(&mut self, node: usize, kind: &'static str) -> bool {
        let sim = &mut self.nodes[node];
        let after = sim.crash_in == Some(0);
        let before = sim.crash_before == Some(kind);
        if !after && !before {
            sim.crash_in = sim.crash_in.map(|left| left - 1);
            return false;
        }
        if before {
            sim.crash_before = None;
        }
        self.counts.crashes_between_actions += 1;
        *self.timeline.crashed_before.entry(kind).or_default() += 1;
        self.crash(node);
        true
    }

    pub(super) fn carry_out_one(&mut self, node: usize, action: Action) {
        let life = self.nodes[node].life;
        match action {
            // Without a key, or with one whose record is lost, there is nothing to write to.
            Action::ResetWal { .. } | Action::Append(_) | Action::Sync
                if self.nodes[node].key.is_none() || self.nodes[node].keyless => {}
            Action::ResetWal { height } => {
                if let Err(error) = self.nodes[node].record.reset(height) {
                    self.end(node, &error);
                }
            }
            Action::Append(entry) => {
                if let Err(error) = self.nodes[node].record.append(&entry) {
                    self.end(node, &error);
                }
            }
            // What a full disk took of it is any number of bytes.
            Action::Sync if self.nodes[node].disk_full => self.crash(node),
            Action::Sync => self.nodes[node].record.sync(),
            Action::Broadcast(message) => self.broadcast(node, message),
            Action::Vouch => {}
            Action::AnnounceTip { height } => {
                let lies = self.nodes[node].traitor.is_some() && self.random.chance(200);
                let tip = if lies { height + self.random.below(1_000) } else { height };
                self.counts.lies += u64::from(lies);
                self.counts.false_tips += u64::from(lies);
                self.send_to_all(node, &Packet::Tip(tip));
            }
            Action::SetTimer { id, after_ms } => {
                self.after(after_ms * 1_000, Happening::Timer { node, life, id });
            }
            // Never cancelled: the host must ignore it when it fires.
            Action::CancelTimer { .. } => {}
            Action::Build { height, round, .. } => {
                let Some(running) = &self.nodes[node].running else { return };
                let job = Job::Build(running.application.build(height, round));
                self.begin_job(node, life, job);
            }
            Action::Validate { request, block, certified } => {
                let Some(running) = &self.nodes[node].running else { return };
                let job = Job::Validate(running.application.validate(request, block, certified));
                self.begin_job(node, life, job);
            }
            Action::BuildsDiffer { header_hash } => {
                self.note(|_| format!("node {node} sees that builds differ on {header_hash}"));
                let honest = self.nodes[node].honest;
                let Some(running) = &mut self.nodes[node].running else { return };
                let mutants = &self.scenario.mutants;
                mutants.within(honest, || running.application.on_builds_differ(header_hash));
                self.tell_pending(node);
            }
            Action::Decide { block, certificate, evidence } => {
                self.counts.evidence += evidence.len() as u64;
                for piece in &evidence {
                    self.checker.on_evidence(node, piece);
                }
                let (first, last) = self.scenario.persist_us;
                let slow = self.nodes[node].slow_us;
                let delay = self.random.between(first, last + slow);
                let decision = Box::new(Decision { block, certificate, evidence });
                self.after(delay, Happening::Persist { node, life, decision });
            }
            Action::RequestSync { peer, from_height, blocks_max } => {
                let Some(to) = self.by_peer.get(&peer.0).copied() else { return };
                let request = v1::SyncRequest { from_height, blocks_max };
                self.send(node, to, &Packet::SyncRequest(request));
            }
            Action::PeerFault { peer, reason } => {
                self.counts.faults_reported += 1;
                let Some(blamed) = self.by_peer.get(&peer.0).copied() else { return };
                self.note(|_| format!("node {node} blames {blamed}: {reason}"));
                self.checker.on_fault(node, blamed, &reason);
            }
            Action::Disconnect { peer } => {
                let Some(banned) = self.by_peer.get(&peer.0).copied() else { return };
                self.counts.disconnects += 1;
                self.checker.on_fault(node, banned, &"its budget of faults is used up");
                let until = self.now_us + BANNED_US;
                self.nodes[node].banned.insert(banned, until);
                self.after(0, Happening::Gone { to: node, peer: banned });
            }
            Action::Notice(notice) => self.note(|_| format!("node {node} notices: {notice}")),
            Action::StopSigning { reason } => self.stop_signing(node, &reason),
            // Who is loyal destroys a key that no set holds; a traitor keeps it.
            Action::DestroyKey { last_height } => {
                self.note(|_| format!("node {node} destroys its key of height {last_height}"));
                if self.nodes[node].honest {
                    self.counts.destroyed_keys += 1;
                    if let Some(key) = self.nodes[node].key {
                        self.checker.on_key_destroyed(node, key.point);
                    }
                    self.nodes[node].key = None;
                    self.nodes[node].forget_record();
                }
            }
            Action::Halt { reason } => self.stop(node, &reason),
        }
    }

    /// A key stops for good: with cause if no set holds it any more, or if its record is lost.
    pub(super) fn stop_signing(&mut self, node: usize, reason: &RetireReason) {
        let sim = &self.nodes[node];
        let point = sim.key.map(|key| key.point).unwrap_or_default();
        let next = self.checker.reference.height() + 1;
        let seated = [next, next + 1].into_iter().any(|height| {
            let set = self.checker.reference.set(height);
            set.is_some_and(|set| set.validators.iter().any(|one| one.public_key == point))
        });
        let with_cause = match reason {
            RetireReason::Recorded => !seated || sim.keyless,
            RetireReason::RecordMissing => sim.keyless,
            _ => false,
        };
        if with_cause {
            self.note(|_| format!("node {node} stops signing: {reason}"));
        } else {
            self.stop(node, reason);
        }
    }

    pub(super) fn stop(&mut self, node: usize, reason: &dyn std::fmt::Display) {
        self.note(|_| format!("node {node} stops: {reason}"));
        self.checker.on_stop(node, reason);
        if !self.nodes[node].honest {
            // A traitor met its own lies; it comes back and has forgotten them.
            self.crash(node);
            self.nodes[node].record = crate::sim::disk::RecordOnDisk::default();
        }
    }

    pub(super) fn begin_job(&mut self, node: usize, life: u64, job: Job) {
        let (first, last) = self.scenario.work_us;
        let delay = self.random.between(first / 2, last / 2 + 1);
        self.after(delay, Happening::Run { node, life, job });
    }

    pub(super) fn run_job(&mut self, node: usize, life: u64, job: Job) {
        self.nodes[node].set_clock(self.now_us);
        let honest = self.nodes[node].honest;
        let done = self.scenario.mutants.within(honest, || match job {
            Job::Build(job) => Done::Built(Box::new(job.run())),
            Job::Validate(job) => Done::Validated(Box::new(job.run())),
        });
        let (first, last) = self.scenario.work_us;
        let delay = self.random.between(first / 2, last / 2 + 1);
        self.after(delay, Happening::Ran { node, life, done });
    }

    pub(super) fn on_done(&mut self, node: usize, done: Done) {
        let honest = self.nodes[node].honest;
        self.nodes[node].set_clock(self.now_us);
        let Some(running) = &mut self.nodes[node].running else { return };
        match done {
            Done::Built(built) => {
                let (built, refused) = *built;
                let mutants = &self.scenario.mutants;
                let event = mutants.within(honest, || running.application.on_built(built));
                let aside = running.ledger().poisons();
                if honest {
                    self.check_put_aside(node, &aside);
                }
                if let Some(event) = event {
                    self.tell(node, event);
                }
                self.scenario.mutants.within(honest, || refused.drop_all());
                self.tell_pending(node);
            }
            Done::Validated(validated) => {
                let mutants = &self.scenario.mutants;
                match mutants.within(honest, || running.application.on_validated(*validated)) {
                    Ok(event) => self.tell(node, event),
                    Err(error) => self.end(node, &error),
                }
            }
        }
    }

    /// Where nothing else goes wrong, every round lost is the poison's (PROTOCOL II.3). What panics everywhere is in nobody's
    /// proposal. Where two builds differ, all proposers know it after one round; where each has a root of its own, one that
    /// is alone with it is believed by nobody else, and each of them loses a round until all know. That happens at five
    /// heights: the first, and after four short leaves.
    fn count_rounds_of_poison(&mut self, height: u64, round: u32) {
        if self.poisoned.is_empty() || !self.scenario.is_quiet() {
            return;
        }
        self.poison_rounds += round;
        let cost = |(poison, _): &(Poison, Hash)| match poison {
            Poison::Panics => 0,
            Poison::OtherRoot => 1,
            Poison::OwnRoots => 1 + self.scenario.misreading(),
        };
        let at_a_height: usize = self.poisoned.iter().map(cost).sum();
        if round as usize > at_a_height || self.poison_rounds as usize > 5 * at_a_height {
            let round = self.poison_rounds;
            self.checker.report(Violation::CostlyPoison { height, round });
        }
    }

    /// The process ends by itself; a supervisor starts it again.
    pub(super) fn end(&mut self, node: usize, error: &dyn std::fmt::Display) {
        if !self.nodes[node].disk_full {
            self.checker.on_stop(node, error);
        }
        self.crash(node);
    }

    /// Who is in a certificate since healing.
    fn note_signers(&mut self, certificate: &v1::CommitCertificate) {
        let Some(set) = self.checker.reference.set(certificate.height) else { return };
        let seats = certificate.signatures.iter();
        let seats = seats.filter_map(|signed| set.validators.get(signed.validator as usize));
        let keys = seats.filter_map(|seat| <[u8; 32]>::try_from(seat.public_key.as_slice()).ok());
        self.signed_since.extend(keys);
    }

    pub(super) fn persist(&mut self, node: usize, decision: Decision) {
        let Decision { block, certificate, evidence } = decision;
        let honest = self.nodes[node].honest;
        self.nodes[node].set_clock(self.now_us);
        let Some(running) = &mut self.nodes[node].running else { return };
        let mutants = &self.scenario.mutants;
        let decided =
            mutants.within(honest, || running.application.decide(&block, &certificate, &evidence));
        let events = match decided {
            Ok(events) => events,
            Err(error) => return self.end(node, &error),
        };
        let ledger = running.ledger().clone();
        // As a running node does, before the host begins the next height.
        let figures = self.figures(&ledger.tip().parameters);
        if let Some(running) = &mut self.nodes[node].running {
            running.host.set_figures(figures);
        }
        let header = block.header.clone().unwrap_or_default();
        let hash = header_hash(&header);
        self.note(|_| {
            let (height, round) = (header.height, certificate.round);
            let count = block.transactions.len();
            format!("node {node} commits {height} in round {round}, {count} transactions, {hash}")
        });
        self.hash.mix(node as u64).mix_bytes(&hash.0).mix_bytes(&header.state_root);
        if honest {
            if self.checker.reference.height() < header.height {
                self.timeline.decided.push((self.now_us, header.height));
                self.counts.transactions_committed += block.transactions.len() as u64;
                self.counts.empty_blocks += u64::from(block.transactions.is_empty());
                self.counts.rounds_lost += u64::from(certificate.round);
                self.count_operations(&block);
                self.count_rounds_of_poison(header.height, certificate.round);
            }
            self.counts.round_max = self.counts.round_max.max(certificate.round);
            self.checker.on_commit(node, &ledger, &block, &certificate);
            if self.healed {
                self.note_signers(&certificate);
            }
        }
        let life = self.nodes[node].life;
        for event in events {
            if self.nodes[node].life == life {
                self.tell(node, event);
            }
        }
    }
}
