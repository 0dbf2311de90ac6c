//! What must hold whatever happens. The checker sees what leaves honest nodes, what they commit and what they show, and
//! nothing else: it does not know which faults or bugs are switched on.

use super::desks::Issued;
use super::enrollments::Enrollments;
use super::founding::Founding;
use super::keys::Signatures;
use super::reference::{Reference, root_of};
use sillok_consensus::{SignatureScheme, verify_evidence_with};
use sillok_ledger::mutant::Mutant;
use sillok_ledger::{CheckedTransaction, TreeKey, header_hash, validator_set_hash};
use sillok_node::ledger::Ledger;
use sillok_node::storage::key_value::KeyValue;
use sillok_node::storage::memory::MemoryDisk;
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
    /// An honest node committed a block that executing the record once more refuses.
    InvalidCommit { height: u64, node: usize, reason: String },
    /// An honest node holds another state than the record gives.
    OtherState { height: u64, node: usize, what: String },
    /// An honest validator voted for, or proposed, a block that no chain allows.
    InvalidVote { height: u64, node: usize, header: Hash, reason: String },
    /// An honest validator precommitted a block for which more than two thirds cannot have prevoted.
    PrecommitWithoutPolka { height: u64, round: u32, node: usize },
    /// An honest validator signed for a height whose set does not hold its key.
    SignedUnseated { height: u64, round: u32, step: &'static str, node: usize },
    /// An honest validator signed with a key that is destroyed, or whose signing record is lost.
    SignedWithDeadKey { height: u64, round: u32, step: &'static str, node: usize },
    /// An honest node passed on a statement in the name of an honest validator, who never made it.
    Forged { height: u64, round: u32, step: &'static str, node: usize, victim: usize },
    /// An honest node was told to destroy a key that a set still holds, or that none ever held.
    KeyDestroyedEarly { height: u64, node: usize },
    /// An honest node keeps evidence that does not hold, or that is against an honest validator.
    FalseEvidence { node: usize, reason: String },
    /// What a node had committed is not on its disk after a restart.
    Forgotten { node: usize, had: u64, has: u64 },
    /// A node put a transaction aside as one that panics execution, and it does not.
    PutAside { node: usize, transaction: Hash },
    /// An honest validator released two different statements for one height, round and step.
    SecondSignature { height: u64, round: u32, step: &'static str, node: usize },
    /// A statement left before it was durable.
    ReleasedBeforeDurable { height: u64, round: u32, step: &'static str, node: usize },
    /// A commit certificate is not by more than two thirds of the set of its height.
    BadCertificate { height: u64, node: usize, reason: String },
    /// A transaction, or what an author signed, was committed twice.
    TwiceCommitted { what: &'static str, name: Hash, height: u64, node: usize },
    /// A node showed a transaction as committed that is not where it said.
    AcknowledgedAndLost { transaction: Hash, height: u64, node: usize },
    /// A read showed what the record does not hold at that height, or hid what it does.
    WrongRead { height: u64, node: usize, reason: String },
    /// An honest node was blamed by another.
    HonestBlamed { node: usize, by: usize, reason: String },
    /// An honest node stopped, or stopped signing, without cause.
    Stopped { node: usize, reason: String },
    /// Nothing went wrong and a height took more rounds than one.
    LostRound { height: u64, round: u32, node: usize },
    /// After every fault was healed the network, or one node of it, did not go on.
    Stuck { node: usize, tip: u64, wanted: u64 },
    /// After every fault was healed an honest validator with a seat signed in no certificate.
    Absent { node: usize, height: u64 },
    /// After every fault was healed a transaction was not ordered.
    NotOrdered { transaction: Hash },
    /// A transaction that the software cannot bear cost more rounds than it may: so many until this height.
    CostlyPoison { height: u64, round: u32 },
    /// A person has two active enrollments, or a number was activated twice, or an entry lives without its enrollment.
    TwoActive { height: u64, reason: String },
    /// What was revoked, ended or replaced is in force again.
    CameBack { height: u64, reason: String },
    /// From one enrollment there are two ways on, or a way back.
    Forked { height: u64, reason: String },
    /// A block is beyond a figure that its parent state holds, or a tip holds other figures than the state.
    OtherFigures { height: u64, node: usize, reason: String },
    /// A panic outside of where panics are expected.
    Panicked { reason: String },
}

impl Violation {
    /// The name of the rule.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Agreement { .. } => "agreement",
            Self::InvalidCommit { .. } => "validity of commits",
            Self::OtherState { .. } => "state roots equal",
            Self::InvalidVote { .. } => "validity of votes",
            Self::PrecommitWithoutPolka { .. } => "precommits after prevotes",
            Self::SignedUnseated { .. } => "votes by the set of their height",
            Self::SignedWithDeadKey { .. } => "no signature by a key that is gone",
            Self::Forged { .. } => "no statement in another's name",
            Self::KeyDestroyedEarly { .. } => "no key destroyed early",
            Self::FalseEvidence { .. } => "evidence holds",
            Self::Forgotten { .. } => "what is committed is durable",
            Self::PutAside { .. } => "only poison is put aside",
            Self::SecondSignature { .. } => "no second signature",
            Self::ReleasedBeforeDurable { .. } => "durable before released",
            Self::BadCertificate { .. } => "certificates by the set of their height",
            Self::TwiceCommitted { .. } => "once only",
            Self::AcknowledgedAndLost { .. } => "nothing acknowledged is lost",
            Self::WrongRead { .. } => "linearizable reads",
            Self::HonestBlamed { .. } => "no honest node blamed",
            Self::Stopped { .. } => "no honest node stopped",
            Self::LostRound { .. } => "no round lost without cause",
            Self::Stuck { .. } | Self::Absent { .. } | Self::NotOrdered { .. } => {
                "progress after healing"
            }
            Self::CostlyPoison { .. } => "poison costs few rounds",
            Self::TwoActive { .. } => "never two active of one enrollment",
            Self::CameBack { .. } => "nothing comes back from revoked",
            Self::Forked { .. } => "no fork or cycle of replacement",
            Self::OtherFigures { .. } => "figures in force",
            Self::Panicked { .. } => "no panic",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self:?}", self.rule())
    }
}

type StepKey = ([u8; 32], u64, u32, &'static str);

fn holds(set: &v1::ValidatorSet, key: &[u8; 32]) -> bool {
    set.validators.iter().any(|one| one.public_key == key)
}

pub(super) struct Checker {
    genesis: Hash,
    scheme: Arc<dyn SignatureScheme>,
    pub(super) reference: Reference,
    pub(super) enrollments: Enrollments,
    /// Honest validator keys of all lives, and whose they are.
    keys: BTreeMap<[u8; 32], usize>,
    honest: Vec<bool>,
    pub(super) check_durability: bool,
    /// Nothing goes wrong in this run.
    pub(super) calm: bool,
    said: BTreeMap<StepKey, Vec<u8>>,
    /// Honest keys that are destroyed, or whose signing record is lost.
    dead: BTreeSet<[u8; 32]>,
    /// The highest block that each node has committed, on the disk it has.
    had: Vec<u64>,
    /// Votes for blocks of heights past, which cannot be judged any more.
    pub(super) votes_not_judged: u64,
    pub(super) votes_judged: u64,
    /// Blocks that traitors made against the rules.
    pub(super) forbidden: BTreeSet<Hash>,
    /// Transaction ids and authors' statements, and the height of each.
    ran: BTreeMap<Hash, u64>,
    pub(super) violations: Vec<Violation>,
}

impl Checker {
    pub(super) fn new(
        founding: &Founding,
        signatures: Signatures,
        honest: Vec<bool>,
        bugs: &[Mutant],
    ) -> Self {
        let chain = &founding.chain;
        let issued = founding.offices.map(|offices| Issued::of(chain.hash(), offices.agency.did));
        Self {
            genesis: *chain.hash(),
            scheme: signatures.scheme(),
            reference: Reference::new(chain, signatures, bugs),
            enrollments: Enrollments::of(issued),
            keys: BTreeMap::new(),
            had: vec![0; honest.len()],
            dead: BTreeSet::new(),
            votes_not_judged: 0,
            votes_judged: 0,
            honest,
            check_durability: true,
            calm: false,
            said: BTreeMap::new(),
            forbidden: BTreeSet::new(),
            ran: BTreeMap::new(),
            violations: Vec::new(),
        }
    }

    pub(super) fn report(&mut self, violation: Violation) {
        self.violations.push(violation);
    }

    /// From now on `node` signs with `key`.
    pub(super) fn knows(&mut self, node: usize, key: [u8; 32]) {
        if self.honest[node] {
            self.keys.insert(key, node);
        }
    }

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

    /// A message leaves honest `node`: nothing in it that bears an honest signature may contradict what left before, in
    /// any life and from any node.
    pub(super) fn on_release(
        &mut self,
        node: usize,
        own: Option<[u8; 32]>,
        message: &v1::ConsensusMessage,
        ever_durable: &BTreeSet<Vec<u8>>,
    ) {
        for said in statements_of(message) {
            self.on_statement(node, own, &said, ever_durable);
        }
    }

    fn on_statement(
        &mut self,
        node: usize,
        own: Option<[u8; 32]>,
        said: &Said<'_>,
        ever_durable: &BTreeSet<Vec<u8>>,
    ) {
        let Ok(key) = <[u8; 32]>::try_from(said.validator) else { return };
        let Some(signer) = self.keys.get(&key).copied() else { return };
        let (height, round, step) = (said.height, said.round, said.step);
        let mut content = said.header.to_vec();
        content.extend_from_slice(&said.pol_round.to_be_bytes());
        let before = self.said.get(&(key, height, round, step));
        let (new, same) = (before.is_none(), before.is_none_or(|before| *before == content));
        if own != Some(key) {
            if new || !same {
                self.report(Violation::Forged { height, round, step, node, victim: signer });
            }
            return;
        }
        if !same {
            self.report(Violation::SecondSignature { height, round, step, node: signer });
        }
        if !new {
            return;
        }
        self.said.insert((key, height, round, step), content);
        if self.dead.contains(&key) {
            self.report(Violation::SignedWithDeadKey { height, round, step, node });
        }
        if !self.reference.set(height).is_some_and(|set| holds(set, &key)) {
            self.report(Violation::SignedUnseated { height, round, step, node });
        }
        if let Some(header) = Hash::from_slice(said.header) {
            self.on_vote(node, height, header);
            if step == "precommit" && !self.may_have_polka(&key, height, round, &header) {
                self.report(Violation::PrecommitWithoutPolka { height, round, node });
            }
        }
        if self.check_durability && !ever_durable.contains(said.signature) {
            self.report(Violation::ReleasedBeforeDurable { height, round, step, node });
        }
    }

    /// Whether more than two thirds of a set may have prevoted for a block: the honest members that did, everybody who is
    /// not honest, and the signer itself, whose prevote may leave in the same moment, or may have been lost with the power.
    fn may_have_polka(&self, own: &[u8; 32], height: u64, round: u32, header: &Hash) -> bool {
        let Some(set) = self.reference.set(height) else { return false };
        let prevoted = |member: &&v1::Validator| {
            let Ok(key) = <[u8; 32]>::try_from(member.public_key.as_slice()) else { return false };
            match self.said.get(&(key, height, round, "prevote")) {
                Some(content) => content.starts_with(&header.0),
                None => key == *own || !self.keys.contains_key(&key),
            }
        };
        3 * set.validators.iter().filter(prevoted).count() > 2 * set.validators.len()
    }

    /// Honest `node` puts its key to a block: executing it on the record must give that header.
    fn on_vote(&mut self, node: usize, height: u64, header: Hash) {
        let reason = match self.reference.judgement(height, &header) {
            _ if self.forbidden.contains(&header) => "a traitor made it against the rules".into(),
            Some(Ok(())) => return self.votes_judged += 1,
            Some(Err(reason)) => reason,
            None => return self.votes_not_judged += 1,
        };
        self.report(Violation::InvalidVote { height, node, header, reason });
    }

    /// The record of this key is lost, or the key is destroyed: it never signs again.
    pub(super) fn key_is_gone(&mut self, key: [u8; 32]) {
        self.dead.insert(key);
    }

    /// A node is told to destroy a key: no set that is still to vote may hold it, and some set must have.
    pub(super) fn on_key_destroyed(&mut self, node: usize, key: [u8; 32]) {
        if !self.honest[node] {
            return;
        }
        let height = self.reference.height() + 1;
        let seated = [height, height + 1]
            .into_iter()
            .any(|height| self.reference.set(height).is_some_and(|set| holds(set, &key)));
        if seated || !self.reference.was_seated(&key) {
            self.report(Violation::KeyDestroyedEarly { height, node });
        }
        self.key_is_gone(key);
    }

    /// A node keeps evidence: it must hold, and be against somebody who is not honest.
    pub(super) fn on_evidence(&mut self, node: usize, evidence: &v1::Evidence) {
        if !self.honest[node] {
            return;
        }
        use v1::evidence::Evidence::{Proposals, Votes};
        let height = match &evidence.evidence {
            Some(Votes(pair)) => {
                pair.first.as_ref().and_then(|vote| vote.statement.as_ref()).map(|one| one.height)
            }
            Some(Proposals(pair)) => {
                pair.first.as_ref().and_then(|one| one.statement.as_ref()).map(|one| one.height)
            }
            None => None,
        };
        let set = height.and_then(|height| self.reference.set(height)).cloned().unwrap_or_default();
        let checked = verify_evidence_with(&*self.scheme, &self.genesis, &set, evidence);
        let reason = match checked {
            Err(error) => error.to_string(),
            Ok(offence) => match self.keys.get(&offence.validator.0) {
                Some(victim) => format!("it is against node {victim}"),
                None => return,
            },
        };
        self.report(Violation::FalseEvidence { node, reason });
    }

    /// A node has started, with a record up to this height.
    pub(super) fn on_start(&mut self, node: usize, has: u64) {
        let had = self.had[node];
        if self.honest[node] && has < had {
            self.report(Violation::Forgotten { node, had, has });
        }
    }

    /// The disk of a node is another, empty or older.
    pub(super) fn on_other_disk(&mut self, node: usize) {
        self.had[node] = 0;
    }

    /// Honest `node` has committed a block: `ledger` holds it.
    pub(super) fn on_commit(
        &mut self,
        node: usize,
        ledger: &Ledger,
        block: &v1::Block,
        certificate: &v1::CommitCertificate,
    ) {
        let header = block.header.clone().unwrap_or_default();
        let (height, hash) = (header.height, header_hash(&header));
        self.had[node] = self.had[node].max(height);
        if height == self.reference.height() + 1 {
            if let Err(reason) = self.reference.execute(block) {
                self.report(Violation::InvalidCommit { height, node, reason });
                return;
            }
            self.note_once(node, height, block);
            self.check_figures(node, &header, block);
            let broken = self.enrollments.on_block(&self.reference, height, block);
            self.violations.extend(broken);
        }
        let Some(decided) = self.reference.decided(height) else {
            let reason = "it follows nothing that was committed".to_owned();
            self.report(Violation::InvalidCommit { height, node, reason });
            return;
        };
        if decided.hash != hash {
            let one = decided.hash;
            self.report(Violation::Agreement { height, one, other: hash, node });
            return;
        }
        if let Err(reason) = self.certifies(certificate, &header) {
            self.report(Violation::BadCertificate { height, node, reason });
        }
        if self.calm && certificate.round > 0 {
            self.report(Violation::LostRound { height, round: certificate.round, node });
        }
        if let Some(what) = self.differs(ledger, height, false) {
            self.report(Violation::OtherState { height, node, what });
        }
    }

    /// PROTOCOL §7.3: a block is bounded by the figures that the leaf held before it.
    fn check_figures(&mut self, node: usize, header: &v1::Header, block: &v1::Block) {
        let height = header.height;
        let leaf = self.reference.leaf(&TreeKey::parameters(), height - 1);
        let in_force: v1::Parameters =
            leaf.and_then(|leaf| prost::Message::decode(leaf.as_slice()).ok()).unwrap_or_default();
        let latest_ms = header.time_ms + in_force.valid_until_window_ms;
        let mut bodies = block.transactions.iter().filter_map(|one| one.body.as_ref());
        let reason = if bodies.any(|body| body.valid_until_ms > latest_ms) {
            "a transaction lives longer than the window"
        } else if encode(block).len() as u64 > in_force.block_bytes_max {
            "it is longer than a block may be"
        } else {
            return;
        };
        self.report(Violation::OtherFigures { height, node, reason: reason.to_owned() });
    }

    /// Every transaction and every statement of an author stands in the record once.
    fn note_once(&mut self, node: usize, height: u64, block: &v1::Block) {
        for transaction in &block.transactions {
            let Ok(checked) = CheckedTransaction::check(&self.genesis, transaction) else {
                continue;
            };
            for (nth, (name, _)) in checked.replay_entries().into_iter().enumerate() {
                if self.ran.insert(name, height).is_some() {
                    let what = if nth == 0 { "transaction" } else { "author's statement" };
                    self.report(Violation::TwiceCommitted { what, name, height, node });
                }
            }
        }
    }

    /// What `ledger` holds otherwise than the record at `height`: of what that block wrote, or of everything.
    fn differs(&self, ledger: &Ledger, height: u64, everything: bool) -> Option<String> {
        let decided = self.reference.decided(height)?;
        let state = ledger.storage.at(height);
        let differs = |key: &TreeKey| {
            let found = sillok_ledger::StateView::leaf(&state, key).ok().flatten();
            found.as_ref() != self.reference.leaf(key, height)
        };
        let wrong = if everything {
            self.reference.leaves().find(|key| differs(key))
        } else {
            decided.wrote.iter().find(|key| differs(key))
        };
        if let Some(key) = wrong {
            return Some(format!("leaf {}", hex::encode(key.0)));
        }
        let header = ledger.storage.header(height).ok().flatten();
        (header.as_ref() != Some(&decided.header)).then(|| "its header".to_owned())
    }

    /// A node, at rest: does it hold the record up to its tip, all of it and nothing else?
    pub(super) fn on_rest(&mut self, node: usize, ledger: &Ledger, disk: &MemoryDisk) {
        let tip = ledger.tip();
        let height = tip.height();
        self.had[node] = self.had[node].max(height);
        if height == 0 {
            return;
        }
        let hash = self.reference.decided(height).map(|decided| decided.hash);
        if hash != Some(tip.hash) {
            let (one, other) = (hash.unwrap_or_default(), tip.hash);
            self.report(Violation::Agreement { height, one, other, node });
            return;
        }
        if let Some(what) = self.differs(ledger, height, true) {
            self.report(Violation::OtherState { height, node, what });
        }
        if let Some(what) = self.holds_other_leaves(disk, height) {
            self.report(Violation::OtherState { height, node, what });
        }
        let leaf: Option<v1::Parameters> = self
            .reference
            .leaf(&TreeKey::parameters(), height)
            .and_then(|leaf| prost::Message::decode(leaf.as_slice()).ok());
        if leaf.as_ref() != Some(&tip.parameters) {
            let reason = "its tip holds other figures than the state".to_owned();
            self.report(Violation::OtherFigures { height, node, reason });
        }
        if height == self.reference.height() {
            let ought = self.reference.tip();
            let same = ought.validators == tip.validators
                && ought.next_validators == tip.next_validators
                && ought.history.root() == tip.history.root()
                && ought.recent == tip.recent
                && ought.replay == tip.replay;
            if !same {
                let what = "the tip: sets, header log, last headers or replay window".to_owned();
                self.report(Violation::OtherState { height, node, what });
            }
        }
    }

    /// Reads the leaves as they lie on the disk, apart from every reader of the node: they are those of the record at
    /// `height`, none missing and none besides, and a tree over them has the root that the header names.
    fn holds_other_leaves(&self, disk: &MemoryDisk, height: u64) -> Option<String> {
        let mut stored: BTreeMap<TreeKey, Vec<u8>> = BTreeMap::new();
        let mut odd = None;
        let read = disk.scan("leaves", &[], &mut |key, value| {
            match (TreeKey::from_slice(key), value.split_first_chunk::<8>()) {
                (Some(key), Some((version, value))) if u64::from_be_bytes(*version) <= height => {
                    stored.insert(key, value.to_vec());
                }
                _ => odd = Some(format!("leaf {} is not of height {height}", hex::encode(key))),
            }
            odd.is_none()
        });
        if let Err(error) = read {
            return Some(error.to_string());
        }
        if odd.is_some() {
            return odd;
        }
        let there = |key: &&TreeKey| self.reference.leaf(key, height).is_some();
        if let Some(besides) = stored.keys().find(|key| !there(key)) {
            return Some(format!("leaf {} is none of the record", hex::encode(besides.0)));
        }
        if let Some(missing) =
            self.reference.leaves().filter(there).find(|key| !stored.contains_key(key))
        {
            return Some(format!("leaf {} is missing", hex::encode(missing.0)));
        }
        let root = self.reference.decided(height)?.header.state_root.clone();
        (root_of(&stored).to_vec() != root).then(|| "the root over its leaves".to_owned())
    }

    /// Written apart from the host's and the ledger's own checks, from PROTOCOL §6.2: more than two thirds of the set that
    /// the record fixed for this height.
    fn certifies(
        &self,
        certificate: &v1::CommitCertificate,
        header: &v1::Header,
    ) -> Result<(), String> {
        let height = header.height;
        let hash = header_hash(header);
        let (Some(set), Some(next)) = (self.reference.set(height), self.reference.set(height + 1))
        else {
            return Err("no set is known".to_owned());
        };
        let named = header.validator_set_hash == validator_set_hash(set).0
            && header.next_validator_set_hash == validator_set_hash(next).0;
        if !named {
            return Err("its header names other sets than the record fixed".to_owned());
        }
        let statement =
            v1::VoteStatement { height, round: certificate.round, header_hash: hash.to_vec() };
        let message = Tag::SignPrecommit.signed_string(&self.genesis, &encode(&statement));
        let good = certificate.signatures.iter().all(|signed| {
            let member = set.validators.get(signed.validator as usize);
            let key = member.and_then(|member| member.public_key.as_slice().try_into().ok());
            let signature = signed.signature.as_slice().try_into().ok();
            matches!((key, signature), (Some(key), Some(signature))
                if self.scheme.verify(key, &message, signature))
        });
        let ascending = certificate.signatures.is_sorted_by(|a, b| a.validator < b.validator);
        if !(good && ascending && certificate.height == height && certificate.header_hash == hash.0)
        {
            return Err("a signature is not of a member of its set".to_owned());
        }
        if 3 * certificate.signatures.len() <= 2 * set.validators.len() {
            return Err("it is not more than two thirds".to_owned());
        }
        Ok(())
    }

    /// A node says where a transaction was committed.
    pub(super) fn on_acknowledged(
        &mut self,
        node: usize,
        transaction: Hash,
        height: u64,
        index: u32,
    ) {
        let there = self
            .reference
            .decided(height)
            .and_then(|decided| decided.transactions.get(index as usize));
        if there != Some(&transaction) {
            self.report(Violation::AcknowledgedAndLost { transaction, height, node });
        }
    }

    /// A node shows what a leaf holds at its tip, to somebody who has seen `min_height`.
    pub(super) fn on_read(
        &mut self,
        node: usize,
        key: &TreeKey,
        height: u64,
        min_height: u64,
        shown: Option<&Vec<u8>>,
    ) {
        let reason = if height < min_height {
            format!("an answer of height {height} to who has seen {min_height}")
        } else if height > self.reference.height() {
            "nobody has committed that height".to_owned()
        } else {
            match (shown, self.reference.leaf(key, height)) {
                (one, other) if one == other => return,
                (None, Some(_)) => "it hides what was written".to_owned(),
                (Some(_), None) => "it shows what was not written".to_owned(),
                _ => "it shows another value".to_owned(),
            }
        };
        self.report(Violation::WrongRead { height, node, reason });
    }
}

/// A signed statement inside a message.
struct Said<'a> {
    step: &'static str,
    height: u64,
    round: u32,
    header: &'a [u8],
    pol_round: u32,
    validator: &'a [u8],
    signature: &'a Vec<u8>,
}

fn of_vote(vote: &v1::SignedVote) -> Option<Said<'_>> {
    let statement = vote.statement.as_ref()?;
    let prevote = vote.r#type == i32::from(v1::VoteType::Prevote);
    Some(Said {
        step: if prevote { "prevote" } else { "precommit" },
        height: statement.height,
        round: statement.round,
        header: &statement.header_hash,
        pol_round: 0,
        validator: &vote.validator,
        signature: &vote.signature,
    })
}

/// Every signed statement in a message, those inside certificates too.
fn statements_of(message: &v1::ConsensusMessage) -> Vec<Said<'_>> {
    match &message.message {
        Some(Message::Vote(vote)) => of_vote(vote).into_iter().collect(),
        Some(Message::Proposal(proposal)) => {
            let Some(statement) = &proposal.statement else { return Vec::new() };
            vec![Said {
                step: "proposal",
                height: statement.height,
                round: statement.round,
                header: &statement.header_hash,
                pol_round: statement.pol_round,
                validator: &proposal.validator,
                signature: &proposal.signature,
            }]
        }
        Some(Message::PolkaCertificate(certificate)) => certificate
            .signatures
            .iter()
            .map(|signed| Said {
                step: "prevote",
                height: certificate.height,
                round: certificate.round,
                header: &certificate.header_hash,
                pol_round: 0,
                validator: &signed.validator,
                signature: &signed.signature,
            })
            .collect(),
        Some(Message::RoundCertificate(certificate)) => {
            certificate.votes.iter().filter_map(of_vote).collect()
        }
        // It contradicts no vote, and no record holds it.
        Some(Message::Refusal(_)) | None => Vec::new(),
    }
}
