//! The equivocator: signs conflicting votes and proposals and shows each peer another; proposes blocks against the rules,
//! changes the parts beside a good header, forges votes in others' names, invents proof-of-lock rounds and tips, and
//! answers block sync with rubbish.
//!
//! It runs an ordinary host and changes what leaves it, so it always knows what would be believed.

use crate::signature::Signer;
use crate::testing::application::{self, FORBIDDEN, GENESIS};
use crate::testing::random::Random;
use sillok_proto::v1::consensus_message::Message;
use sillok_proto::{Hash, Tag, encode, v1};
use std::collections::BTreeMap;

/// What one traitor remembers: another block for each round in which it said something.
#[derive(Debug, Default)]
pub(in crate::testing) struct Equivocator {
    /// Keys to forge for.
    victims: Vec<Vec<u8>>,
    /// By height and round: header hashes that could be voted for.
    seen: BTreeMap<(u64, u32), Vec<Vec<u8>>>,
    /// By height and round: its other proposal.
    other: BTreeMap<(u64, u32), v1::Block>,
}

impl Equivocator {
    pub(in crate::testing) fn new(victims: Vec<Vec<u8>>) -> Self {
        Self { victims, ..Self::default() }
    }

    /// Remembers which blocks there are to vote for.
    pub(in crate::testing) fn observe(&mut self, message: &v1::ConsensusMessage) {
        let (height, round, header) = match &message.message {
            Some(Message::Vote(v1::SignedVote { statement: Some(statement), .. })) => {
                (statement.height, statement.round, &statement.header_hash)
            }
            Some(Message::Proposal(v1::SignedProposal { statement: Some(statement), .. })) => {
                (statement.height, statement.round, &statement.header_hash)
            }
            _ => return,
        };
        let seen = self.seen.entry((height, round)).or_default();
        if !header.is_empty() && seen.len() < 4 && !seen.contains(header) {
            seen.push(header.clone());
        }
        self.seen = self.seen.split_off(&(height.saturating_sub(2), 0));
        self.other = self.other.split_off(&(height.saturating_sub(2), 0));
    }

    /// What one peer is sent by traitors that act together: to each side the votes and blocks of its own chain.
    pub(in crate::testing) fn conspire(
        &mut self,
        message: &v1::ConsensusMessage,
        signer: &dyn Signer,
        to: Side,
    ) -> Vec<v1::ConsensusMessage> {
        match (&message.message, to) {
            (Some(Message::Vote(vote)), Side::First | Side::Second) => {
                let Some(statement) = &vote.statement else { return Vec::new() };
                let key = (statement.height, statement.round);
                let mut seen = self.seen.get(&key).cloned().unwrap_or_default();
                seen.sort_unstable();
                let chosen = if to == Side::First { seen.first() } else { seen.last() };
                let Some(header_hash) = chosen.cloned() else { return vec![message.clone()] };
                let vote = revote(vote, statement, header_hash, signer);
                vec![v1::ConsensusMessage { message: Some(Message::Vote(vote)) }]
            }
            (Some(Message::Proposal(proposal)), to) => {
                let Some(block) = &proposal.block else { return Vec::new() };
                let mut other = block.clone();
                if let Some(header) = &mut other.header {
                    header.time_ms += 1;
                }
                let mut both = [proposal.clone(), repropose(proposal, other, None, signer)];
                both.sort_by_key(|proposal| proposal.block.as_ref().map(application::header_hash));
                let wrap =
                    |proposal| v1::ConsensusMessage { message: Some(Message::Proposal(proposal)) };
                let [first, second] = both.map(wrap);
                self.observe(&first);
                self.observe(&second);
                match to {
                    Side::First => vec![first],
                    Side::Second => vec![second],
                    Side::Traitors => vec![first, second],
                }
            }
            _ => vec![message.clone()],
        }
    }

    /// What one peer is sent in place of `message`, and the headers of blocks made against the rules.
    pub(in crate::testing) fn tell(
        &mut self,
        message: &v1::ConsensusMessage,
        signer: &dyn Signer,
        random: &mut Random,
        invalid_permille: u64,
    ) -> (Vec<v1::ConsensusMessage>, Option<Hash>) {
        match &message.message {
            Some(Message::Vote(vote)) => (self.votes(vote, signer, random), None),
            Some(Message::Proposal(proposal)) => {
                self.proposals(proposal, signer, random, invalid_permille)
            }
            _ if random.chance(300) => (Vec::new(), None),
            _ => (vec![message.clone()], None),
        }
    }

    fn votes(
        &self,
        vote: &v1::SignedVote,
        signer: &dyn Signer,
        random: &mut Random,
    ) -> Vec<v1::ConsensusMessage> {
        let Some(statement) = &vote.statement else { return Vec::new() };
        let mut choices =
            self.seen.get(&(statement.height, statement.round)).cloned().unwrap_or_default();
        choices.push(Vec::new());
        let header_hash = choices[random.index(choices.len())].clone();
        let other = revote(vote, statement, header_hash, signer);
        let mut sent = Vec::new();
        match random.below(10) {
            0 | 1 => {}
            2..5 => sent.push(other),
            5..7 => sent.extend([other, vote.clone()]),
            7 => {
                // A vote in another's name: the signature is ours and the name is not.
                let validator = self.victims[random.index(self.victims.len())].clone();
                let forged = v1::SignedVote { validator, ..other };
                sent.extend([forged, vote.clone()]);
            }
            _ => sent.push(vote.clone()),
        }
        let wrap = |vote| v1::ConsensusMessage { message: Some(Message::Vote(vote)) };
        sent.into_iter().map(wrap).collect()
    }

    fn proposals(
        &mut self,
        proposal: &v1::SignedProposal,
        signer: &dyn Signer,
        random: &mut Random,
        invalid_permille: u64,
    ) -> (Vec<v1::ConsensusMessage>, Option<Hash>) {
        let (Some(statement), Some(block)) = (&proposal.statement, &proposal.block) else {
            return (Vec::new(), None);
        };
        let key = (statement.height, statement.round);
        let other_block = self
            .other
            .entry(key)
            .or_insert_with(|| {
                let mut other = block.clone();
                if random.chance(invalid_permille) {
                    other.transactions.push(application::transaction(FORBIDDEN));
                }
                if let Some(header) = &mut other.header {
                    header.transactions_root = application::transactions_root(&other.transactions);
                    header.time_ms += 1;
                }
                other
            })
            .clone();
        let forbidden = application::numbers(&other_block)
            .any(|number| number == FORBIDDEN)
            .then(|| application::header_hash(&other_block));
        let pol_round = random.chance(100).then_some(statement.round);
        let other = repropose(proposal, other_block, pol_round, signer);
        let mut sent = Vec::new();
        match random.below(10) {
            0 => {}
            1..5 => sent.push(other),
            5..7 => sent.extend([other, proposal.clone()]),
            7 => {
                // Other parts beside the header that is signed.
                let mut altered = proposal.clone();
                if let Some(block) = &mut altered.block {
                    block.transactions.push(application::transaction(random.between(1, 1_000)));
                }
                sent.extend([altered, proposal.clone()]);
            }
            _ => sent.push(proposal.clone()),
        }
        let wrap = |proposal| v1::ConsensusMessage { message: Some(Message::Proposal(proposal)) };
        (sent.into_iter().map(wrap).collect(), forbidden)
    }

    /// Blocks for a peer that is behind, some of them not the certified ones.
    pub(in crate::testing) fn corrupt(response: &mut v1::SyncResponse, random: &mut Random) {
        let Some(decided) = response.blocks.first_mut() else { return };
        match random.below(4) {
            0 => {
                if let Some(block) = &mut decided.block {
                    block.transactions.push(application::transaction(random.between(1, 1_000)));
                }
            }
            1 => {
                if let Some(header) = decided.block.as_mut().and_then(|block| block.header.as_mut())
                {
                    header.time_ms += 1;
                }
            }
            2 => {
                if let Some(certificate) = &mut decided.certificate {
                    certificate.signatures.pop();
                    certificate.signatures.pop();
                }
            }
            _ => response.blocks.clear(),
        }
    }
}

/// Whom a traitor talks to, when traitors act together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::testing) enum Side {
    Traitors,
    First,
    Second,
}

/// The same vote for another header.
fn revote(
    vote: &v1::SignedVote,
    statement: &v1::VoteStatement,
    header_hash: Vec<u8>,
    signer: &dyn Signer,
) -> v1::SignedVote {
    let statement = v1::VoteStatement { header_hash, ..statement.clone() };
    let precommit = vote.r#type == i32::from(v1::VoteType::Precommit);
    let tag = if precommit { Tag::SignPrecommit } else { Tag::SignPrevote };
    let message = tag.signed_string(&GENESIS, &encode(&statement));
    let signature = signer.sign(&message).to_vec();
    v1::SignedVote { statement: Some(statement), signature, ..vote.clone() }
}

/// The same proposal of another block, perhaps with an invented proof-of-lock round.
fn repropose(
    proposal: &v1::SignedProposal,
    block: v1::Block,
    pol_round: Option<u32>,
    signer: &dyn Signer,
) -> v1::SignedProposal {
    let before = proposal.statement.clone().unwrap_or_default();
    let statement = v1::ProposalStatement {
        header_hash: application::header_hash(&block).to_vec(),
        pol_round: pol_round.unwrap_or(before.pol_round),
        ..before
    };
    let message = Tag::SignProposal.signed_string(&GENESIS, &encode(&statement));
    let signature = signer.sign(&message).to_vec();
    v1::SignedProposal {
        statement: Some(statement),
        signature,
        block: Some(block),
        ..proposal.clone()
    }
}
