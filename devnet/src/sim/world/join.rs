//! Joining by snapshot, in place of a node's shell: the state machine of a running node, with every message in virtual time.

use super::{Happening, World};
use crate::sim::network::Packet;
use sillok_node::join::{self, Joining, Trust};
use sillok_node::storage::{Retention, Storage};
use sillok_proto::{encode, v1};
use std::sync::Arc;

/// Most bytes in a segment of a snapshot: never less than the longest leaf there is.
const SEGMENT_BYTES_MAX: usize = 1_500;
/// The same where there are status lists, with their chunks of 4 KiB.
const LISTS_SEGMENT_BYTES_MAX: usize = 5_000;

/// Small figures, so that a small state is many segments and fetching them takes many requests.
fn join_settings(segment_bytes_max: usize) -> join::Settings {
    join::Settings {
        behind_min: 2,
        anchor_step: 2,
        requests_per_peer_max: 2,
        request_timeout_ms: 200,
        backoff_ms: 50,
        stall_ms: 2_000,
        segment_bytes_max,
        headers_at_once: 8,
    }
}

impl World {
    const fn segment_bytes_max(&self) -> usize {
        if self.scenario.desk_every_us > 0 { LISTS_SEGMENT_BYTES_MAX } else { SEGMENT_BYTES_MAX }
    }

    /// Whether the node fetches a snapshot first: one without blocks, in a network that has some.
    pub(super) fn begin_to_join(&mut self, node: usize) -> bool {
        let best = self.checker.reference.height();
        if !self.scenario.snapshot {
            return false;
        }
        let chain = self.founding.chain.clone();
        let now_ms = self.nodes[node].set_clock(self.now_us);
        let disk = Arc::new(self.nodes[node].disk.clone());
        let Ok(storage) = Storage::over(disk, &chain, Retention::Archive) else { return false };
        let settings = join_settings(self.segment_bytes_max());
        let far = storage.height().is_ok_and(|tip| join::is_far_behind(tip, best, &settings));
        if !far && !join::unfinished(&storage).unwrap_or(false) {
            return false;
        }
        let honest = self.nodes[node].honest;
        let joining = self
            .scenario
            .mutants
            .within(honest, || Joining::new(chain, storage, settings, &Trust::Genesis, now_ms));
        let Ok(joining) = joining else { return false };
        self.note(|_| format!("node {node} joins by snapshot"));
        self.nodes[node].joining = Some(joining);
        self.nodes[node].life += 1;
        for peer in 0..self.nodes.len() {
            if let Some(ledger) = self.nodes[peer].ledger().filter(|_| peer != node) {
                let tip = ledger.tip().height();
                self.send(peer, node, &Packet::Tip(tip));
            }
        }
        self.join(node, join::Event::Tick);
        true
    }

    pub(super) fn join(&mut self, node: usize, event: join::Event<usize>) {
        let now_ms = self.nodes[node].set_clock(self.now_us);
        let honest = self.nodes[node].honest;
        let Some(joining) = &mut self.nodes[node].joining else { return };
        let handled = self.scenario.mutants.within(honest, || joining.handle(event, now_ms));
        let actions = match handled {
            Ok(actions) => actions,
            Err(error) => {
                let excused =
                    self.nodes[node].disk_full || self.scenario.faults.jumping_clock == Some(node);
                if !excused {
                    self.checker.on_stop(node, &error);
                }
                return self.crash(node);
            }
        };
        let life = self.nodes[node].life;
        for action in actions {
            if self.power_goes(node, "Join") {
                return;
            }
            match action {
                join::Action::Request { peer, request, message } => {
                    let message = Arc::new(message);
                    self.send(node, peer, &Packet::SnapshotRequest { request, life, message });
                }
                join::Action::Fault { peer, fault } => {
                    self.counts.faults_reported += 1;
                    self.note(|_| format!("node {node} blames {peer}: {fault}"));
                    self.checker.on_fault(node, peer, &fault);
                }
                join::Action::WakeAt { at_ms } => {
                    let delay_us = at_ms.saturating_sub(now_ms).max(1) * 1_000;
                    self.after(delay_us, Happening::JoinTick { node, life });
                }
                join::Action::Installed { tip } => {
                    self.note(|_| format!("node {node} joined at {}", tip.height()));
                    self.counts.snapshots_joined += 1;
                    self.nodes[node].joining = None;
                    self.start(node);
                    if let Some(ledger) = self.nodes[node].ledger().cloned().filter(|_| honest) {
                        let disk = self.nodes[node].disk.clone();
                        self.checker.on_rest(node, &ledger, &disk);
                    }
                    return;
                }
            }
        }
    }

    pub(super) fn serve_snapshot(
        &mut self,
        node: usize,
        peer: usize,
        (request, life): (u64, u64),
        message: &v1::SnapshotRequest,
    ) {
        let Some(ledger) = self.nodes[node].ledger().cloned() else { return };
        let mut response = join::serve_within(&ledger, message, self.segment_bytes_max());
        if self.nodes[node].traitor.is_some() && self.random.chance(300) {
            // Some byte of it is another; mostly it still decodes.
            self.counts.lies += 1;
            self.counts.false_segments += 1;
            let mut bytes = encode(&response);
            if !bytes.is_empty() {
                let place = self.random.index(bytes.len());
                bytes[place] ^= 1 << self.random.below(8);
            }
            match sillok_proto::decode(&bytes, join::RESPONSE_BYTES_MAX) {
                Ok(other) => response = other,
                Err(_) => return,
            }
        }
        let response = Arc::new(response);
        self.send(node, peer, &Packet::SnapshotResponse { request, life, response });
    }
}
