//! What must hold whatever happens. The checker sees what leaves honest nodes and what they commit, and nothing else: it
//! does not know which faults or bugs are switched on.

use super::application::{self, Application, Committed, GENESIS};
use crate::context::ValidatorKey;
use crate::event::Verdict;
use crate::evidence::verify_evidence_with;
use crate::signature::SignatureScheme;
use sillok_proto::v1::consensus_message::Message;
use sillok_proto::{Hash, Tag, encode, v1};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// A rule that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "fields are named for what they hold, and the message says it")]
pub enum Violation {
    /// Two honest nodes committed different blocks at one height.
    Agreement { height: u64, one: Hash, other: Hash, node: usize },
    /// An honest node committed a block that its chain does not allow.
    InvalidCommit { height: u64, node: usize, reason: String },
    /// An honest validator voted for, or proposed, a block that no chain allows.
    InvalidVote { height: u64, node: usize, header: Hash },
    /// An honest validator released two different statements for one height, round and step.
    SecondSignature { height: u64, round: u32, step: &'static str, node: usize },
    /// A statement left before it was durable.
    ReleasedBeforeDurable { height: u64, round: u32, step: &'static str, node: usize },
    /// A commit certificate does not prove what it says.
    BadCertificate { height: u64, node: usize },
    /// A transaction was committed twice.
    TwiceCommitted { transaction: u64, height: u64, node: usize },
    /// An honest node was blamed by another.
    HonestBlamed { node: usize, by: usize, reason: String },
    /// Evidence that proves nothing, or against an honest validator.
    FalseEvidence { node: usize, evidence: String },
    /// A key was to be destroyed that a set to come still holds.
    KeyDestroyedEarly { node: usize, height: u64 },
    /// Nothing went wrong, and a height took more than one round all the same.
    LostRound { height: u64, round: u32 },
    /// An honest node stopped, or stopped signing, without cause.
    Stopped { node: usize, reason: String },
    /// After every fault was healed the network, or one node of it, did not go on.
    Stuck { node: usize, tip: u64, wanted: u64 },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

type StepKey = (ValidatorKey, u64, u32, &'static str);

pub(super) struct Checker {
    honest: Vec<bool>,
    scheme: Arc<dyn SignatureScheme>,
    /// Switched off to see whether the other rules notice a missing barrier by its effect.
    pub(super) check_durability: bool,
    decided: BTreeMap<u64, Hash>,
    transactions: BTreeMap<u64, u64>,
    said: BTreeMap<StepKey, Vec<u8>>,
    /// Blocks that traitors made against the rules.
    pub(super) forbidden: BTreeSet<Hash>,
    pub(super) violations: Vec<Violation>,
}

impl Checker {
    pub(super) fn new(honest: Vec<bool>, scheme: Arc<dyn SignatureScheme>) -> Self {
        Self {
            honest,
            scheme,
            check_durability: true,
            decided: BTreeMap::new(),
            transactions: BTreeMap::new(),
            said: BTreeMap::new(),
            forbidden: BTreeSet::new(),
            violations: Vec::new(),
        }
    }

    pub(super) fn report(&mut self, violation: Violation) {
        self.violations.push(violation);
    }

    /// `node` blames `peer`.
    pub(super) fn on_fault(&mut self, by: usize, node: usize, reason: &dyn fmt::Display) {
        if self.honest[by] && self.honest[node] {
            self.report(Violation::HonestBlamed { node, by, reason: reason.to_string() });
        }
    }

    pub(super) fn on_stop(&mut self, node: usize, reason: &dyn fmt::Display) {
        if self.honest[node] {
            self.report(Violation::Stopped { node, reason: reason.to_string() });
        }
    }

    /// A message leaves `node`: nothing in it that bears the node's signature may contradict what left before, in any life.
    pub(super) fn on_release(
        &mut self,
        (node, key): (usize, ValidatorKey),
        message: &v1::ConsensusMessage,
        durable: &[v1::WalEntry],
    ) {
        if !self.honest[node] {
            return;
        }
        for (step, height, round, content, signature) in statements_of(message, key) {
            let header = Hash::from_slice(&content[..content.len().min(32)]);
            if let Some(header) = header.filter(|header| self.forbidden.contains(header)) {
                self.report(Violation::InvalidVote { height, node, header });
            }
            if self.check_durability && !is_durable(durable, &signature) {
                self.report(Violation::ReleasedBeforeDurable { height, round, step, node });
            }
            let before = self.said.entry((key, height, round, step)).or_insert(content.clone());
            if *before != content {
                self.report(Violation::SecondSignature { height, round, step, node });
            }
        }
    }

    /// `node` has evidence against somebody: it must hold, and be against a traitor.
    pub(super) fn on_evidence(
        &mut self,
        node: usize,
        chain: &Application,
        evidence: &v1::Evidence,
        traitors: &[ValidatorKey],
    ) {
        let height = match &evidence.evidence {
            Some(v1::evidence::Evidence::Votes(pair)) => {
                pair.first.as_ref().and_then(|vote| vote.statement.as_ref()).map(|one| one.height)
            }
            Some(v1::evidence::Evidence::Proposals(pair)) => {
                pair.first.as_ref().and_then(|one| one.statement.as_ref()).map(|one| one.height)
            }
            None => None,
        };
        let set = height.and_then(|height| chain.set(height)).unwrap_or_default();
        let set = application::validator_set(set);
        let offence = verify_evidence_with(self.scheme.as_ref(), &GENESIS, &set, evidence);
        let against_traitor = offence.is_ok_and(|offence| traitors.contains(&offence.validator));
        if self.honest[node] && !against_traitor {
            self.report(Violation::FalseEvidence { node, evidence: format!("{evidence:?}") });
        }
    }

    /// A node is told to destroy a key: no set that is still to vote may hold it.
    pub(super) fn on_key_destroyed(
        &mut self,
        node: usize,
        chain: &Application,
        key: &ValidatorKey,
    ) {
        if self.honest[node] && chain.is_seated(key) {
            self.report(Violation::KeyDestroyedEarly { node, height: chain.tip() + 1 });
        }
    }

    /// `node` is about to commit.
    pub(super) fn on_commit(&mut self, node: usize, chain: &Application, committed: &Committed) {
        if !self.honest[node] {
            return;
        }
        let (block, height) = (&committed.block, chain.tip() + 1);
        let hash = application::header_hash(block);
        if let Verdict::Invalid { reason } = chain.validate(block) {
            self.report(Violation::InvalidCommit { height, node, reason });
        } else if chain.validate(block) == Verdict::Altered {
            self.report(Violation::InvalidCommit { height, node, reason: "altered".to_owned() });
        }
        let set = chain.set(height).unwrap_or_default();
        if !self.certifies(&committed.certificate, height, hash, set) {
            self.report(Violation::BadCertificate { height, node });
        }
        let one = *self.decided.entry(height).or_insert(hash);
        if one != hash {
            self.report(Violation::Agreement { height, one, other: hash, node });
        }
        for transaction in application::numbers(block) {
            if *self.transactions.entry(transaction).or_insert(height) != height {
                self.report(Violation::TwiceCommitted { transaction, height, node });
            }
        }
    }

    /// Written apart from the host's own check, from PROTOCOL §6.2.
    fn certifies(
        &self,
        certificate: &v1::CommitCertificate,
        height: u64,
        hash: Hash,
        set: &[ValidatorKey],
    ) -> bool {
        let mut set = set.to_vec();
        set.sort_unstable();
        let statement =
            v1::VoteStatement { height, round: certificate.round, header_hash: hash.to_vec() };
        let message = Tag::SignPrecommit.signed_string(&GENESIS, &encode(&statement));
        let ascending = certificate.signatures.is_sorted_by(|a, b| a.validator < b.validator);
        let good = certificate.signatures.iter().all(|signed| {
            let key = set.get(signed.validator as usize).map(|key| &key.0);
            let signature = signed.signature.as_slice().try_into().ok();
            matches!((key, signature), (Some(key), Some(signature))
                if self.scheme.verify(key, &message, signature))
        });
        let quorum = 3 * certificate.signatures.len() > 2 * set.len();
        certificate.height == height
            && certificate.header_hash == hash.0
            && ascending
            && good
            && quorum
    }

    /// After healing: every honest node must have gone on.
    pub(super) fn check_progress(&mut self, tips: &[(usize, u64)], wanted: u64) {
        for (node, tip) in tips {
            if *tip < wanted {
                self.report(Violation::Stuck { node: *node, tip: *tip, wanted });
            }
        }
    }

    /// Forgets heights that nobody will touch again, so that a long run stays small.
    pub(super) fn forget_below(&mut self, height: u64) {
        self.said.retain(|key, _| key.1 >= height);
    }
}

fn is_durable(durable: &[v1::WalEntry], signature: &[u8]) -> bool {
    durable.iter().any(|entry| match &entry.entry {
        Some(v1::wal_entry::Entry::Vote(vote)) => vote.signature == signature,
        Some(v1::wal_entry::Entry::Proposal(proposal)) => proposal.signature == signature,
        _ => false,
    })
}

type Said = (&'static str, u64, u32, Vec<u8>, Vec<u8>);

fn of_vote(vote: &v1::SignedVote, key: ValidatorKey) -> Option<Said> {
    let statement = vote.statement.as_ref().filter(|_| vote.validator == key.0)?;
    let prevote = vote.r#type == i32::from(v1::VoteType::Prevote);
    let step = if prevote { "prevote" } else { "precommit" };
    let content = statement.header_hash.clone();
    Some((step, statement.height, statement.round, content, vote.signature.clone()))
}

/// What `key` says in a message: directly, and inside certificates.
fn statements_of(message: &v1::ConsensusMessage, key: ValidatorKey) -> Vec<Said> {
    match &message.message {
        Some(Message::Vote(vote)) => of_vote(vote, key).into_iter().collect(),
        Some(Message::Proposal(proposal)) => proposal
            .statement
            .as_ref()
            .filter(|_| proposal.validator == key.0)
            .map(|statement| {
                let mut content = statement.header_hash.clone();
                content.extend_from_slice(&statement.pol_round.to_be_bytes());
                let (height, round) = (statement.height, statement.round);
                ("proposal", height, round, content, proposal.signature.clone())
            })
            .into_iter()
            .collect(),
        Some(Message::PolkaCertificate(certificate)) => certificate
            .signatures
            .iter()
            .filter(|signed| signed.validator == key.0)
            .map(|signed| {
                let content = certificate.header_hash.clone();
                let (height, round) = (certificate.height, certificate.round);
                ("prevote", height, round, content, signed.signature.clone())
            })
            .collect(),
        Some(Message::RoundCertificate(certificate)) => {
            certificate.votes.iter().filter_map(|vote| of_vote(vote, key)).collect()
        }
        // It contradicts no vote, and no record holds it.
        Some(Message::Refusal(_)) | None => Vec::new(),
    }
}
