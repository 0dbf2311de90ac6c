//! Traitors: what a Byzantine validator makes of the messages of an ordinary host.
//!
//! A traitor runs the same host as everybody and changes what leaves it, for each peer differently; so it always knows what
//! would be believed. It knows nothing of the application: a world that wants blocks against its rules says how to make one.

use super::random::Random;
use crate::signature::Signer;
use sillok_ledger::{header_hash, refusal_string};
use sillok_proto::v1::consensus_message::Message;
use sillok_proto::{Hash, Tag, encode, v1};
use std::collections::BTreeMap;

/// A sin. A traitor may have several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Behavior {
    /// Signs conflicting votes and proposals and shows each peer another; invents proof-of-lock rounds.
    Equivocate,
    /// Says nothing to some, now and then.
    Withhold,
    /// Votes in the names of others; the signature is its own.
    Forge,
    /// Sends again what somebody said long ago.
    Replay,
    /// Sends much that is well signed and of no use: votes of later rounds and of the next height.
    Flood,
}

impl Behavior {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Equivocate, Self::Withhold, Self::Forge, Self::Replay, Self::Flood];
}

/// Whom a traitor talks to, when traitors act together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Another traitor: it is told everything.
    Traitors,
    /// The honest half that is shown one chain.
    First,
    /// The honest half that is shown the other.
    Second,
}

/// Which block a traitor proposes beside the true one, made from it.
pub type Remake<'a> = dyn FnMut(&v1::Block, &mut Random) -> v1::Block + 'a;

/// Most old messages kept for another day: some of every time since the beginning, fewer the longer it goes on.
const KEPT_MAX: usize = 64;

/// What one traitor remembers.
#[derive(Debug)]
pub struct Traitor {
    genesis: Hash,
    behaviors: Vec<Behavior>,
    /// Keys to forge for.
    victims: Vec<Vec<u8>>,
    /// By height and round: header hashes that could be voted for.
    seen: BTreeMap<(u64, u32), Vec<Vec<u8>>>,
    /// By height and round: its other proposal.
    other: BTreeMap<(u64, u32), v1::Block>,
    /// What it heard and said.
    kept: Vec<v1::ConsensusMessage>,
    /// How many messages it heard, and every how many it keeps one.
    heard: usize,
    every: usize,
    sins: [u64; Behavior::ALL.len()],
}

impl Traitor {
    /// A traitor that forges for `victims`.
    #[must_use]
    pub fn new(genesis: Hash, victims: Vec<[u8; 32]>, behaviors: Vec<Behavior>) -> Self {
        Self {
            genesis,
            behaviors,
            victims: victims.into_iter().map(|key| key.to_vec()).collect(),
            seen: BTreeMap::new(),
            other: BTreeMap::new(),
            kept: Vec::new(),
            heard: 0,
            every: 1,
            sins: [0; Behavior::ALL.len()],
        }
    }

    /// How often it did what.
    pub fn sins(&self) -> impl Iterator<Item = (Behavior, u64)> {
        Behavior::ALL.into_iter().zip(self.sins)
    }

    const fn sinned(&mut self, behavior: Behavior) {
        self.sins[behavior as usize] += 1;
    }

    fn is(&self, behavior: Behavior) -> bool {
        self.behaviors.contains(&behavior)
    }

    /// Tells the traitor of a message it received: which blocks there are to vote for.
    pub fn observe(&mut self, message: &v1::ConsensusMessage) {
        if self.is(Behavior::Replay) {
            if self.heard.is_multiple_of(self.every) {
                self.kept.push(message.clone());
            }
            self.heard += 1;
            if self.kept.len() > KEPT_MAX {
                let mut nth = 0;
                self.kept.retain(|_| {
                    nth += 1;
                    nth % 2 == 1
                });
                self.every *= 2;
            }
        }
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

    /// What one peer is sent in place of `message`.
    pub fn tell(
        &mut self,
        message: &v1::ConsensusMessage,
        signer: &dyn Signer,
        random: &mut Random,
        remake: &mut Remake<'_>,
    ) -> Vec<v1::ConsensusMessage> {
        let mut sent = if self.is(Behavior::Equivocate) {
            self.equivocate(message, signer, random, remake)
        } else {
            vec![message.clone()]
        };
        if sent.len() != 1 || sent[0] != *message {
            self.sinned(Behavior::Equivocate);
        }
        if self.is(Behavior::Withhold) && random.chance(400) {
            self.sinned(Behavior::Withhold);
            sent.clear();
        }
        if let Some(Message::Vote(vote)) = &message.message {
            if self.is(Behavior::Forge) && random.chance(300) && !self.victims.is_empty() {
                // The signature is ours and the name is not.
                self.sinned(Behavior::Forge);
                let validator = self.victims[random.index(self.victims.len())].clone();
                sent.push(wrap(Message::Vote(v1::SignedVote { validator, ..vote.clone() })));
            }
            if self.is(Behavior::Forge) && random.chance(300) {
                self.sinned(Behavior::Forge);
                sent.extend(self.refuse(vote, signer, random));
            }
            if self.is(Behavior::Flood) && random.chance(300) {
                self.sinned(Behavior::Flood);
                sent.extend(self.flood(vote, signer, random));
            }
        }
        if self.is(Behavior::Replay) && random.chance(300) && !self.kept.is_empty() {
            self.sinned(Behavior::Replay);
            sent.push(self.kept[random.index(self.kept.len())].clone());
        }
        sent
    }

    fn equivocate(
        &mut self,
        message: &v1::ConsensusMessage,
        signer: &dyn Signer,
        random: &mut Random,
        remake: &mut Remake<'_>,
    ) -> Vec<v1::ConsensusMessage> {
        match &message.message {
            Some(Message::Vote(vote)) => self.votes(vote, signer, random),
            Some(Message::Proposal(proposal)) => self.proposals(proposal, signer, random, remake),
            _ if random.chance(300) => Vec::new(),
            _ => vec![message.clone()],
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
        let other = self.revote(vote, statement, header_hash, signer);
        let sent = match random.below(10) {
            0 | 1 => Vec::new(),
            2..5 => vec![other],
            5..7 => vec![other, vote.clone()],
            _ => vec![vote.clone()],
        };
        sent.into_iter().map(|vote| wrap(Message::Vote(vote))).collect()
    }

    fn proposals(
        &mut self,
        proposal: &v1::SignedProposal,
        signer: &dyn Signer,
        random: &mut Random,
        remake: &mut Remake<'_>,
    ) -> Vec<v1::ConsensusMessage> {
        let (Some(statement), Some(block)) = (&proposal.statement, &proposal.block) else {
            return Vec::new();
        };
        let key = (statement.height, statement.round);
        let other_block = self.other.entry(key).or_insert_with(|| remake(block, random)).clone();
        let pol_round = random.chance(100).then_some(statement.round);
        let other = self.repropose(proposal, other_block, pol_round, signer);
        let sent = match random.below(10) {
            0 => Vec::new(),
            1..5 => vec![other],
            5..7 => vec![other, proposal.clone()],
            7 => {
                // Other parts beside the header that is signed.
                let mut altered = proposal.clone();
                if let Some(block) = &mut altered.block {
                    block.transactions.push(stranger(random));
                }
                vec![altered, proposal.clone()]
            }
            _ => vec![proposal.clone()],
        };
        sent.into_iter().map(|proposal| wrap(Message::Proposal(proposal))).collect()
    }

    /// Refuses a block that is good, in its own name and with its own signature in another's.
    fn refuse(
        &self,
        vote: &v1::SignedVote,
        signer: &dyn Signer,
        random: &mut Random,
    ) -> Vec<v1::ConsensusMessage> {
        let Some(statement) = &vote.statement else { return Vec::new() };
        let seen = self.seen.get(&(statement.height, statement.round));
        let Some(header_hash) = seen.and_then(|seen| seen.first()).cloned() else {
            return Vec::new();
        };
        let statement = v1::VoteStatement { header_hash, ..statement.clone() };
        let signature = signer.sign(&refusal_string(&self.genesis, &statement)).to_vec();
        let mut names = vec![vote.validator.clone()];
        if !self.victims.is_empty() && random.chance(300) {
            names.push(self.victims[random.index(self.victims.len())].clone());
        }
        let refuse = |validator: Vec<u8>| {
            let (statement, signature) = (Some(statement.clone()), signature.clone());
            wrap(Message::Refusal(v1::SignedRefusal { statement, validator, signature }))
        };
        names.into_iter().map(refuse).collect()
    }

    /// Votes of rounds and of a height nobody is at, all well signed.
    fn flood(
        &self,
        vote: &v1::SignedVote,
        signer: &dyn Signer,
        random: &mut Random,
    ) -> Vec<v1::ConsensusMessage> {
        let Some(statement) = &vote.statement else { return Vec::new() };
        (0..random.below(12))
            .map(|_| {
                let later = v1::VoteStatement {
                    height: statement.height + random.below(4),
                    round: statement.round + random.below(30) as u32,
                    header_hash: vec![random.below(256) as u8; 32],
                };
                let header_hash = later.header_hash.clone();
                wrap(Message::Vote(self.revote(vote, &later, header_hash, signer)))
            })
            .collect()
    }

    /// What one peer is sent by traitors that act together: to each side the votes and blocks of its own chain.
    pub fn conspire(
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
                vec![wrap(Message::Vote(self.revote(vote, statement, header_hash, signer)))]
            }
            (Some(Message::Proposal(proposal)), to) => {
                let Some(block) = &proposal.block else { return Vec::new() };
                let mut other = block.clone();
                if let Some(header) = &mut other.header {
                    header.time_ms += 1;
                }
                let mut both = [proposal.clone(), self.repropose(proposal, other, None, signer)];
                both.sort_by_key(|proposal| proposal.block.as_ref().map(hash_of));
                let [first, second] = both.map(|proposal| wrap(Message::Proposal(proposal)));
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

    /// Makes of blocks for a peer that is behind something else than the certified ones, or nothing.
    pub fn corrupt(response: &mut v1::SyncResponse, random: &mut Random) {
        let Some(decided) = response.blocks.first_mut() else { return };
        match random.below(4) {
            0 => {
                if let Some(block) = &mut decided.block {
                    block.transactions.push(stranger(random));
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

    /// The same vote for another header.
    fn revote(
        &self,
        vote: &v1::SignedVote,
        statement: &v1::VoteStatement,
        header_hash: Vec<u8>,
        signer: &dyn Signer,
    ) -> v1::SignedVote {
        let statement = v1::VoteStatement { header_hash, ..statement.clone() };
        let precommit = vote.r#type == i32::from(v1::VoteType::Precommit);
        let tag = if precommit { Tag::SignPrecommit } else { Tag::SignPrevote };
        let message = tag.signed_string(&self.genesis, &encode(&statement));
        let signature = signer.sign(&message).to_vec();
        v1::SignedVote { statement: Some(statement), signature, ..vote.clone() }
    }

    /// The same proposal of another block, perhaps with an invented proof-of-lock round.
    fn repropose(
        &self,
        proposal: &v1::SignedProposal,
        block: v1::Block,
        pol_round: Option<u32>,
        signer: &dyn Signer,
    ) -> v1::SignedProposal {
        let before = proposal.statement.clone().unwrap_or_default();
        let statement = v1::ProposalStatement {
            header_hash: hash_of(&block).to_vec(),
            pol_round: pol_round.unwrap_or(before.pol_round),
            ..before
        };
        let message = Tag::SignProposal.signed_string(&self.genesis, &encode(&statement));
        let signature = signer.sign(&message).to_vec();
        v1::SignedProposal {
            statement: Some(statement),
            signature,
            block: Some(block),
            ..proposal.clone()
        }
    }
}

fn wrap(message: Message) -> v1::ConsensusMessage {
    v1::ConsensusMessage { message: Some(message) }
}

fn hash_of(block: &v1::Block) -> Hash {
    block.header.as_ref().map_or(Hash::default(), header_hash)
}

/// A transaction that no header commits to.
fn stranger(random: &mut Random) -> v1::Transaction {
    let body = v1::TransactionBody {
        submitter: vec![9; 32],
        valid_until_ms: random.between(2, 1_000),
        operations: Vec::new(),
    };
    v1::Transaction { body: Some(body), ..v1::Transaction::default() }
}
