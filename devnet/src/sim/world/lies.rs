//! What leaves a node: the same for everybody from who is honest, for each another from traitors and twins.

use super::World;
use crate::sim::network::Packet;
use sillok_consensus::testing::{Random, Side, height_and_round, twin_heard};
use sillok_ledger::header_hash;
use sillok_node::ledger::Ledger;
use sillok_proto::v1::consensus_message::Message;
use sillok_proto::{Hash, encode, v1};
use std::collections::BTreeSet;
use std::sync::Arc;

impl World {
    pub(super) fn broadcast(&mut self, node: usize, message: v1::ConsensusMessage) {
        self.mix_bytes(&encode(&message));
        self.note(|_| format!("node {node} says {}", say(&message)));
        self.judge(&message);
        let sim = &self.nodes[node];
        if sim.honest {
            // The signer it was started with, whatever became of the key since.
            let own = sim.running.as_ref().and_then(|running| running.signer);
            self.checker.on_release(node, own, &message, &sim.record.ever_durable);
            let packet = Packet::Consensus(Arc::new(message));
            if self.scenario.twins.is_none() {
                self.send_to_all(node, &packet);
            } else if let Packet::Consensus(message) = &packet {
                self.send_by_twins(node, &message.clone());
            }
            return;
        }
        if sim.twin.is_some() {
            return self.send_by_twins(node, &Arc::new(message));
        }
        let Some(signer) = sim.key.as_ref().map(|key| self.scenario.signatures.signer(key)) else {
            return;
        };
        let Some(mut traitor) = self.nodes[node].traitor.take() else { return };
        traitor.observe(&message);
        let ledger = self.nodes[node].ledger().cloned();
        let (mut forbidden, proposer) = (Vec::new(), signer.public_key());
        for to in 0..self.nodes.len() {
            if to == node {
                continue;
            }
            let told = if self.scenario.conspiracy {
                let side = match to {
                    to if !self.nodes[to].honest => Side::Traitors,
                    to if to % 2 == 0 => Side::First,
                    _ => Side::Second,
                };
                traitor.conspire(&message, signer.as_ref(), side)
            } else {
                let mut remake = |block: &v1::Block, random: &mut Random| {
                    remake(ledger.as_deref(), &proposer, block, random, &mut forbidden)
                };
                traitor.tell(&message, signer.as_ref(), &mut self.random, &mut remake)
            };
            if told.len() != 1 || told[0] != message {
                self.counts.lies += 1;
            }
            for message in told {
                self.judge(&message);
                self.send(node, to, &Packet::Consensus(Arc::new(message)));
            }
        }
        self.checker.forbidden.extend(forbidden);
        self.nodes[node].traitor = Some(traitor);
    }

    /// Whatever is proposed, by whomever, is executed on the record before anybody votes for it.
    fn judge(&mut self, message: &v1::ConsensusMessage) {
        if let Some(Message::Proposal(v1::SignedProposal { block: Some(block), .. })) =
            &message.message
        {
            self.checker.reference.judge(block);
        }
    }

    /// Between twins and others, each is heard by some.
    pub(super) fn send_by_twins(&mut self, from: usize, message: &Arc<v1::ConsensusMessage>) {
        let (height, round) = height_and_round(message);
        for to in 0..self.nodes.len() {
            let (twin, other) = match (self.nodes[from].twin, self.nodes[to].twin) {
                (Some(_), Some(_)) => continue,
                (Some((side, _)), None) => (Some(side), to),
                (None, Some((side, _))) => (Some(side), from),
                (None, None) => (None, to),
            };
            let heard = twin
                .is_none_or(|side| twin_heard(self.scenario.seed, height, round, other) == side);
            if to != from && heard {
                self.send(from, to, &Packet::Consensus(message.clone()));
            }
        }
    }
}

/// A message in a few words.
fn say(message: &v1::ConsensusMessage) -> String {
    let short = |hash: &[u8]| {
        if hash.is_empty() { "nil".to_owned() } else { hex::encode(&hash[..hash.len().min(3)]) }
    };
    let (height, round) = height_and_round(message);
    match &message.message {
        Some(Message::Vote(vote)) => {
            let prevote = vote.r#type == i32::from(v1::VoteType::Prevote);
            let header = vote.statement.as_ref().map_or(&[][..], |one| &one.header_hash);
            let kind = if prevote { "prevote" } else { "precommit" };
            format!("{kind} {height}/{round} {}", short(header))
        }
        Some(Message::Proposal(proposal)) => {
            let statement = proposal.statement.clone().unwrap_or_default();
            let (header, pol) = (short(&statement.header_hash), statement.pol_round);
            format!("proposal {height}/{round} {header}, proof-of-lock {pol}")
        }
        Some(Message::PolkaCertificate(polka)) => {
            let count = polka.signatures.len();
            format!("polka {height}/{round} {}, {count} votes", short(&polka.header_hash))
        }
        Some(Message::RoundCertificate(certificate)) => {
            format!("round certificate {height}/{round}, {} votes", certificate.votes.len())
        }
        None => "nothing".to_owned(),
    }
}

/// Another block in place of `block`: one that is as good, or one against the rules, which is noted.
fn remake(
    ledger: Option<&Ledger>,
    proposer: &[u8],
    block: &v1::Block,
    random: &mut Random,
    forbidden: &mut Vec<Hash>,
) -> v1::Block {
    let mut other = block.clone();
    let time_ms = block.header.as_ref().map_or(0, |header| header.time_ms) + 1;
    let height = block.header.as_ref().map_or(0, |header| header.height);
    if let Some(ledger) = ledger
        && ledger.tip().height() + 1 == height
        && random.chance(600)
    {
        let empty = random.chance(500);
        if let Ok(built) = ledger.build(time_ms, proposer, &BTreeSet::new(), empty) {
            return built.built.block;
        }
    }
    if let Some(header) = &mut other.header {
        header.time_ms = time_ms;
        match random.below(3) {
            0 => header.state_root = vec![7; 32],
            1 => header.history_root = vec![7; 32],
            // A transaction twice.
            _ => {
                if let Some(first) = other.transactions.first().cloned() {
                    other.transactions.push(first);
                    let genesis = Hash::from_slice(&header.genesis_hash).unwrap_or_default();
                    let leaves: Vec<Hash> = other
                        .transactions
                        .iter()
                        .filter_map(|one| sillok_ledger::TransactionLeaf::of(&genesis, one))
                        .map(|leaf| leaf.hash())
                        .collect();
                    header.transactions_root =
                        sillok_ledger::merkle_log::transactions_root(&leaves).to_vec();
                } else {
                    header.state_root = vec![8; 32];
                }
            }
        }
        forbidden.push(header_hash(header));
    }
    other
}
