//! What travels between nodes, and what each does with what arrives.

use super::{Happening, PASS_ON_US, SYNC_BYTES_MAX, World};
use crate::sim::checker::Violation;
use crate::sim::network::{Fate, Packet};
use sillok_consensus::testing::Traitor;
use sillok_consensus::{Event, decode_message};
use sillok_ledger::genesis::BLOCK_BYTES_MAX;
use sillok_node::application;
use sillok_node::join::Event as JoinEvent;
use sillok_node::mempool::Pending;
use sillok_proto::{Hash, encode, v1};
use std::collections::BTreeSet;
use std::sync::Arc;

impl World {
    pub(super) fn arrive(&mut self, to: usize, from: usize, packet: Packet) {
        if self.nodes[to].banned.get(&from).is_some_and(|until| *until > self.now_us) {
            return;
        }
        if self.nodes[to].joining.is_some() {
            match packet {
                Packet::Tip(tip) => self.join(to, JoinEvent::Peer { peer: from, tip }),
                Packet::SnapshotResponse { request, life, response }
                    if life == self.nodes[to].life =>
                {
                    let response = v1::SnapshotResponse::clone(&response);
                    self.join(to, JoinEvent::Answer { request, response });
                }
                _ => {}
            }
            return;
        }
        if !self.nodes[to].is_up() {
            if let Packet::SnapshotRequest { request, life, .. } = packet {
                let node = from;
                let delay = self.random.below(50_000);
                self.after(delay, Happening::JoinFailed { node, life, request });
                return;
            }
            if matches!(packet, Packet::SyncRequest(_)) && self.random.chance(500) {
                let delay = self.random.below(50_000);
                self.after(delay, Happening::Unreachable { to: from, peer: to });
            }
            return;
        }
        let peer = self.peer(from);
        match packet {
            Packet::Consensus(message) => {
                if let Some(traitor) = &mut self.nodes[to].traitor {
                    traitor.observe(&message);
                }
                let message = if self.scenario.wire {
                    let max = BLOCK_BYTES_MAX as usize;
                    match decode_message(&encode(&*message), max) {
                        Ok(message) => message,
                        Err(_) => return,
                    }
                } else {
                    v1::ConsensusMessage::clone(&message)
                };
                self.tell(to, Event::Message { peer, message });
            }
            Packet::Tip(height) => self.tell(to, Event::PeerTip { peer, height }),
            Packet::SyncRequest(request) => self.answer_sync(to, from, &request),
            Packet::SyncResponse(response) => {
                self.counts.synced_blocks += response.blocks.len() as u64;
                let response = v1::SyncResponse::clone(&response);
                self.tell(to, Event::Synced { peer, response });
            }
            Packet::SnapshotRequest { request, life, message } => {
                self.serve_snapshot(to, from, (request, life), &message);
            }
            // Of an earlier life.
            Packet::SnapshotResponse { .. } => {}
            Packet::Transaction(transaction) => {
                self.take_in(to, &transaction);
            }
        }
    }

    pub(super) fn answer_sync(&mut self, node: usize, peer: usize, request: &v1::SyncRequest) {
        let Some(ledger) = self.nodes[node].ledger().cloned() else { return };
        let honest = self.nodes[node].honest;
        let answer = application::blocks(&ledger, request, SYNC_BYTES_MAX);
        let Ok(mut response) = answer else {
            self.checker.on_stop(node, &"it cannot read its blocks");
            return;
        };
        // A node holds every block up to the tip it shows.
        let asked = request.from_height <= response.tip && request.blocks_max > 0;
        if honest && asked && response.blocks.is_empty() && request.from_height > 0 {
            let height = request.from_height;
            let what = "the block of a height below its tip is missing".to_owned();
            self.checker.report(Violation::OtherState { height, node, what });
            return;
        }
        if self.nodes[node].traitor.is_some() && self.random.chance(500) {
            self.counts.lies += 1;
            self.counts.false_blocks += 1;
            if self.random.chance(500) {
                self.forge_blocks(node, &mut response);
            } else {
                Traitor::corrupt(&mut response, &mut self.random);
            }
        }
        self.send(node, peer, &Packet::SyncResponse(Arc::new(response)));
    }

    pub(super) fn send_to_all(&mut self, from: usize, packet: &Packet) {
        let digest = packet.digest();
        for to in 0..self.nodes.len() {
            if to != from {
                self.send_digested(from, to, packet, digest);
            }
        }
    }

    pub(super) fn send(&mut self, from: usize, to: usize, packet: &Packet) {
        self.send_digested(from, to, packet, packet.digest());
    }

    /// As it leaves, whoever sends it: a traitor's lie is in the trace as it is told.
    fn send_digested(&mut self, from: usize, to: usize, packet: &Packet, digest: u64) {
        self.hash.mix(self.now_us).mix((from as u64) << 32 | to as u64).mix(digest);
        self.counts.messages_sent += 1;
        if self.scenario.drop_packet == Some(self.counts.messages_sent) {
            self.counts.messages_dropped += 1;
            return;
        }
        let (delay_us, again_us, late, far) = match self.network.fate(&mut self.random, from, to) {
            Fate::Parted => {
                self.counts.messages_parted += 1;
                return;
            }
            Fate::Lost => {
                self.counts.messages_lost += 1;
                return;
            }
            Fate::Sent { delay_us, again_us, late, far } => (delay_us, again_us, late, far),
        };
        self.counts.stragglers += u64::from(late);
        self.counts.messages_far += u64::from(far);
        self.counts.duplicates += u64::from(again_us.is_some());
        for delay in [Some(delay_us), again_us].into_iter().flatten() {
            let packet = packet.clone();
            self.after(delay, Happening::Arrive { to, from, packet });
        }
    }

    /// Passes waiting transactions on again, as a running node does.
    pub(super) fn pass_on(&mut self, node: usize, life: u64) {
        self.after(PASS_ON_US, Happening::PassOn { node, life });
        let Some(running) = &mut self.nodes[node].running else { return };
        running.ledger().note_pending();
        let parent = running.ledger().tip().hash;
        let candidates =
            running.ledger().mempool().candidates(&parent, 512 * 1024, &BTreeSet::new());
        let still: BTreeSet<Hash> = candidates.iter().map(Pending::id).collect();
        let before = std::mem::replace(&mut running.waiting, still);
        for pending in candidates.iter().filter(|one| before.contains(&one.id())).take(50) {
            self.send_to_all(node, &Packet::Transaction(pending.transaction.clone()));
        }
        self.tell_pending(node);
    }
}
