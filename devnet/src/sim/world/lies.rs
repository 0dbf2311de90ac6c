//! What leaves a node: the same for everybody from who is honest, for each another from traitors and twins.

use super::World;
use crate::sim::keys::Key;
use crate::sim::network::Packet;
use sillok_consensus::Signer;
use sillok_consensus::testing::{Behavior, Random, Side, height_and_round, twin_heard};
use sillok_ledger::{TransactionLeaf, header_hash};
use sillok_node::ledger::Ledger;
use sillok_proto::v1::consensus_message::Message;
use sillok_proto::{Hash, Tag, encode, v1};
use std::collections::BTreeSet;
use std::sync::Arc;

impl World {
    pub(super) fn broadcast(&mut self, node: usize, message: v1::ConsensusMessage) {
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
        let mut sins = self.scenario.traitors.iter();
        let forges = sins.any(|(one, sins)| *one == node && sins.contains(&Behavior::Forge));
        for to in 0..self.nodes.len() {
            if to == node {
                continue;
            }
            let mut told = if self.scenario.conspiracy {
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
            if let Some(Message::Vote(vote)) = &message.message
                && forges
                && self.random.chance(150)
            {
                told.push(self.forged_certificate(vote, signer.as_ref()));
            }
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
            if !self.poisoned.is_empty() {
                let genesis = *self.founding.chain.hash();
                let leaf = |one| TransactionLeaf::of(&genesis, one).map(|leaf| leaf.id);
                let is_poison = |id: Hash| self.poisoned.iter().any(|(_, poison)| *poison == id);
                let proposed = block.transactions.iter().filter_map(leaf).any(is_poison);
                self.counts.poison_proposed += u64::from(proposed);
            }
        }
    }

    /// A certificate that certifies nothing: one signer counted often, one signature under many names, or keys that are
    /// of no set any more.
    fn forged_certificate(
        &mut self,
        vote: &v1::SignedVote,
        signer: &dyn Signer,
    ) -> v1::ConsensusMessage {
        self.counts.forged_certificates += 1;
        let genesis = *self.founding.chain.hash();
        let mut statement = vote.statement.clone().unwrap_or_default();
        let set = self.checker.reference.set(statement.height).cloned().unwrap_or_default();
        let names: Vec<Vec<u8>> =
            set.validators.iter().map(|member| member.public_key.clone()).collect();
        let own = signer.public_key().to_vec();
        if statement.header_hash.is_empty() && self.random.chance(700) {
            statement.header_hash = vec![7; 32];
        }
        let later = self.random.below(3) as u32;
        let polka = self.random.chance(500);
        if !polka {
            statement.round += later;
        }
        let precommit = !polka && self.random.chance(500);
        let (tag, kind) = if precommit {
            (Tag::SignPrecommit, v1::VoteType::Precommit)
        } else {
            (Tag::SignPrevote, v1::VoteType::Prevote)
        };
        let string = tag.signed_string(&genesis, &encode(&statement));
        let signature = signer.sign(&string).to_vec();
        let by: Vec<(Vec<u8>, Vec<u8>)> = match self.random.below(3) {
            0 => vec![(own, signature); names.len()],
            1 => names.into_iter().map(|name| (name, signature.clone())).collect(),
            _ => {
                // Keys of former sets, and keys that were never of one.
                let others = self.founding.members.iter().map(|member| &member.node);
                let strangers = self.retired.iter().chain(others);
                let strangers = strangers.filter(|key| !names.contains(&key.point.to_vec()));
                let sign =
                    |key: &Key| (key.point.to_vec(), self.scenario.signatures.sign(key, &string));
                let signed = strangers.take(names.len().saturating_sub(1)).map(sign);
                std::iter::once((own, signature)).chain(signed).collect()
            }
        };
        let message = if polka {
            let signatures = by
                .into_iter()
                .map(|(validator, signature)| v1::ValidatorSignature { validator, signature })
                .collect();
            let v1::VoteStatement { height, round, header_hash } = statement;
            Message::PolkaCertificate(v1::PolkaCertificate {
                height,
                round,
                header_hash,
                signatures,
            })
        } else {
            let votes = by.into_iter().map(|(validator, signature)| v1::SignedVote {
                r#type: kind.into(),
                statement: Some(statement.clone()),
                validator,
                signature,
            });
            Message::RoundCertificate(v1::RoundCertificate {
                height: statement.height,
                round: statement.round,
                skip: !precommit || self.random.chance(500),
                votes: votes.collect(),
            })
        };
        v1::ConsensusMessage { message: Some(message) }
    }

    /// Blocks for a peer that is behind, with certificates that certify nothing, and often another block than the
    /// certified one.
    pub(super) fn forge_blocks(&mut self, node: usize, response: &mut v1::SyncResponse) {
        let Some(key) = self.nodes[node].key else { return };
        let genesis = *self.founding.chain.hash();
        let Some(decided) = response.blocks.first_mut() else { return };
        let (Some(block), Some(certificate)) = (&mut decided.block, &mut decided.certificate)
        else {
            return;
        };
        let Some(header) = &mut block.header else { return };
        self.counts.forged_certificates += 1;
        let set = self.checker.reference.set(header.height).cloned().unwrap_or_default();
        let place = |key: &Key| {
            let mut members = set.validators.iter();
            members.position(|member| member.public_key == key.point).unwrap_or(0) as u32
        };
        let is_seated =
            |key: &Key| set.validators.iter().any(|member| member.public_key == key.point);
        let count = set.validators.len() as u32;
        if self.random.chance(700) {
            header.time_ms += 1;
            certificate.header_hash = header_hash(header).to_vec();
        }
        let statement = v1::VoteStatement {
            height: header.height,
            round: certificate.round,
            header_hash: certificate.header_hash.clone(),
        };
        let string = Tag::SignPrecommit.signed_string(&genesis, &encode(&statement));
        let signatures = self.scenario.signatures;
        let own = v1::CommitSignature {
            validator: place(&key),
            signature: signatures.sign(&key, &string),
        };
        match self.random.below(5) {
            // One signer counted often.
            0 => certificate.signatures = vec![own; count as usize],
            // One signature under every name.
            1 => {
                certificate.signatures = (0..count)
                    .map(|validator| v1::CommitSignature { validator, ..own.clone() })
                    .collect();
            }
            // Keys that are of the set no more.
            2 => {
                let others = self.founding.members.iter().map(|member| &member.node);
                let retired = self.retired.iter().chain(others).filter(|key| !is_seated(key));
                let names = (0..count).filter(|name| *name != own.validator);
                let signed = retired.zip(names).map(|(key, validator)| v1::CommitSignature {
                    validator,
                    signature: signatures.sign(key, &string),
                });
                certificate.signatures = signed.chain([own.clone()]).collect();
                certificate.signatures.sort_by_key(|one| one.validator);
            }
            // The first of true signatures in place of all others.
            3 => {
                if let Some(first) = certificate.signatures.first().cloned() {
                    certificate.signatures = vec![first; count as usize];
                }
            }
            // One fewer than more than two thirds.
            _ => {
                let enough = 2 * count as usize / 3 + 1;
                certificate.signatures.truncate(enough - 1);
                header.time_ms = header.time_ms.max(1);
            }
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
            } else if to != from {
                self.counts.split_by_twins += 1;
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
        Some(Message::Refusal(refusal)) => {
            let header = refusal.statement.as_ref().map_or(&[][..], |one| &one.header_hash);
            format!("refusal {height}/{round} {}", short(header))
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
        let mut transactions = other.transactions.clone();
        match random.below(9) {
            0 => header.state_root = vec![7; 32],
            1 => header.history_root = vec![7; 32],
            2 => header.validator_set_hash = vec![7; 32],
            3 => header.next_validator_set_hash = vec![7; 32],
            4 => header.parent_hash = vec![7; 32],
            // Before its parent.
            5 => header.time_ms = 1,
            6 => header.proposer = vec![7; 32],
            // A transaction twice, or one that nobody signed, and the root says so.
            nth => match other.transactions.first() {
                Some(first) if nth == 7 => transactions.push(first.clone()),
                Some(first) => {
                    let mut unsigned = first.clone();
                    if let Some(body) = &mut unsigned.body {
                        body.valid_until_ms += 1;
                    }
                    transactions.push(unsigned);
                }
                None => header.state_root = vec![8; 32],
            },
        }
        if transactions.len() != other.transactions.len() {
            let genesis = Hash::from_slice(&header.genesis_hash).unwrap_or_default();
            let leaves: Vec<Hash> = transactions
                .iter()
                .filter_map(|one| sillok_ledger::TransactionLeaf::of(&genesis, one))
                .map(|leaf| leaf.hash())
                .collect();
            header.transactions_root =
                sillok_ledger::merkle_log::transactions_root(&leaves).to_vec();
            other.transactions = transactions;
        }
        forbidden.push(header_hash(header));
    }
    other
}
