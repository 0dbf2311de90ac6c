//! A toy ledger: real headers, and blocks whose validity anyone can compute from the chain before them.
//!
//! A transaction is a number; each may be committed once, and [`FORBIDDEN`] never. State is the hash of everything
//! committed so far.

use crate::config::HeightStart;
use crate::context::ValidatorKey;
use crate::event::Verdict;
use crate::testing::random::Random;
use sillok_proto::{Hash, Tag, encode, v1};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The transaction that makes a block invalid.
pub(super) const FORBIDDEN: u64 = 0;

/// Genesis of every simulated network.
pub(super) const GENESIS: Hash = Hash([7; 32]);

/// Where the wall clocks of the world begin.
pub(super) const START_MS: u64 = 1_800_000_000_000;

/// A block with what decided it.
#[derive(Debug, Clone)]
pub(super) struct Committed {
    pub(super) block: v1::Block,
    pub(super) certificate: v1::CommitCertificate,
}

/// Transactions from this number on change the validator set; one in a block at most. A change in block h takes effect at
/// height h + 2, as in the ledger.
const MEMBERSHIP: u64 = 1 << 40;

/// A change of the validator set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// A node is seated with its key of this generation.
    Add { node: usize, generation: usize },
    /// A node loses its seat.
    Remove { node: usize, generation: usize },
    /// A node's seat goes to its key of this generation.
    Rekey { node: usize, generation: usize },
}

impl Change {
    pub(super) const fn number(self) -> u64 {
        let (kind, node, generation) = match self {
            Self::Add { node, generation } => (1, node, generation),
            Self::Remove { node, generation } => (2, node, generation),
            Self::Rekey { node, generation } => (3, node, generation),
        };
        MEMBERSHIP | kind << 32 | (node as u64) << 16 | generation as u64
    }

    fn of(number: u64) -> Option<Self> {
        let node = (number >> 16 & 0xFFFF) as usize;
        let generation = (number & 0xFFFF) as usize;
        match (number & MEMBERSHIP != 0, number >> 32 & 0xFF) {
            (true, 1) => Some(Self::Add { node, generation }),
            (true, 2) => Some(Self::Remove { node, generation }),
            (true, 3) => Some(Self::Rekey { node, generation }),
            _ => None,
        }
    }
}

/// What everybody knows from the start: the keys that nodes have or may get, by node and generation.
#[derive(Debug)]
pub(super) struct Genesis {
    pub(super) keys: Vec<Vec<ValidatorKey>>,
    /// The first so many nodes are the first validators; there are never fewer.
    pub(super) validators: usize,
}

/// What survives a crash besides the signing record.
#[derive(Debug, Clone)]
pub(super) struct Application {
    pub(super) chain: Vec<Committed>,
    applied: BTreeSet<u64>,
    genesis: Arc<Genesis>,
    /// set(1), set(2) and so on, up to set(tip + 2).
    sets: Vec<Vec<ValidatorKey>>,
}

fn genesis_header() -> v1::Header {
    v1::Header { time_ms: START_MS, genesis_hash: GENESIS.to_vec(), ..v1::Header::default() }
}

pub(super) fn header_hash(block: &v1::Block) -> Hash {
    block.header.as_ref().map_or(Hash::default(), |header| Tag::Header.hash_message(header))
}

pub(super) fn transaction(number: u64) -> v1::Transaction {
    let body = v1::TransactionBody {
        submitter: vec![9; 32],
        valid_until_ms: number + 1,
        operations: Vec::new(),
    };
    v1::Transaction { body: Some(body), ..v1::Transaction::default() }
}

pub(super) fn numbers(block: &v1::Block) -> impl Iterator<Item = u64> + '_ {
    block
        .transactions
        .iter()
        .map(|transaction| transaction.body.as_ref().map_or(0, |body| body.valid_until_ms - 1))
}

pub(super) fn transactions_root(transactions: &[v1::Transaction]) -> Vec<u8> {
    let bytes: Vec<u8> = transactions.iter().flat_map(encode).collect();
    Tag::Transactions.hash(&[&bytes]).to_vec()
}

/// Another block in the place of this one, perhaps against the rules.
pub(super) fn remake(block: &v1::Block, spoil: bool) -> v1::Block {
    let mut other = block.clone();
    if spoil {
        other.transactions.push(transaction(FORBIDDEN));
    }
    if let Some(header) = &mut other.header {
        header.transactions_root = transactions_root(&other.transactions);
        header.time_ms += 1;
    }
    other
}

fn state_root(parent: &[u8], transactions_root: &[u8]) -> Vec<u8> {
    Tag::TreeKey.hash(&[parent, transactions_root]).to_vec()
}

/// Whether a transaction changes the validator set.
pub(super) const fn is_change(number: u64) -> bool {
    number & MEMBERSHIP != 0
}

/// Every member, ascending by key.
pub(super) fn validator_set(keys: &[ValidatorKey]) -> v1::ValidatorSet {
    let mut keys = keys.to_vec();
    keys.sort_unstable();
    let validators = keys
        .iter()
        .map(|key| v1::Validator {
            public_key: key.0.to_vec(),
            organization: key.0.to_vec(),
            since_height: 0,
        })
        .collect();
    v1::ValidatorSet { validators }
}

/// The set rotated by the height (PROTOCOL §7.2, without absent validators).
pub(super) fn proposer_order(set: &v1::ValidatorSet, height: u64) -> Vec<ValidatorKey> {
    let mut order: Vec<ValidatorKey> = set
        .validators
        .iter()
        .map(|validator| ValidatorKey(validator.public_key.clone().try_into().unwrap_or_default()))
        .collect();
    let len = order.len() as u64;
    order.rotate_left((height % len) as usize);
    order
}

impl Application {
    pub(super) fn new(genesis: Arc<Genesis>) -> Self {
        let first: Vec<_> = genesis.keys.iter().take(genesis.validators).map(|of| of[0]).collect();
        let sets = vec![first.clone(), first];
        Self { chain: Vec::new(), applied: BTreeSet::new(), genesis, sets }
    }

    /// set(height), if it is known here.
    pub(super) fn set(&self, height: u64) -> Option<&[ValidatorKey]> {
        let index = usize::try_from(height.checked_sub(1)?).ok()?;
        self.sets.get(index).map(Vec::as_slice)
    }

    /// Whether a key is of set(tip + 1) or set(tip + 2).
    pub(super) fn is_seated(&self, key: &ValidatorKey) -> bool {
        self.sets.iter().rev().take(2).any(|set| set.contains(key))
    }

    /// The last set known, changed; `None` if the change is against the rules.
    fn changed(&self, change: Change) -> Option<Vec<ValidatorKey>> {
        let mut set = self.sets.last()?.clone();
        let key = |node: usize, generation: usize| {
            self.genesis.keys.get(node).and_then(|of| of.get(generation)).copied()
        };
        let seat = |set: &[ValidatorKey], node: usize| {
            let own = self.genesis.keys.get(node)?;
            set.iter().position(|seated| own.contains(seated))
        };
        let unused = |key: &ValidatorKey| !self.sets.iter().any(|set| set.contains(key));
        match change {
            Change::Add { node, generation } => {
                let key = key(node, generation).filter(unused)?;
                if seat(&set, node).is_some() {
                    return None;
                }
                set.push(key);
            }
            Change::Remove { node, generation } => {
                let at = seat(&set, node)?;
                if set.len() <= self.genesis.validators || Some(set[at]) != key(node, generation) {
                    return None;
                }
                set.remove(at);
            }
            Change::Rekey { node, generation } => {
                let at = seat(&set, node)?;
                set[at] = key(node, generation).filter(unused)?;
            }
        }
        Some(set)
    }

    /// Which change a world may ask for: drawn at random, and possible now.
    pub(super) fn draw_change(&self, random: &mut Random, stays: &[usize]) -> Option<Change> {
        let node = random.index(self.genesis.keys.len());
        if stays.contains(&node) {
            return None;
        }
        let used = self.genesis.keys[node]
            .iter()
            .take_while(|key| self.sets.iter().any(|set| set.contains(key)))
            .count();
        let change = match (used, random.below(3)) {
            (0, _) => Change::Add { node, generation: 0 },
            (used, 0) => Change::Remove { node, generation: used - 1 },
            (used, 1) => Change::Add { node, generation: used },
            (used, _) => Change::Rekey { node, generation: used },
        };
        self.changed(change).map(|_| change)
    }

    /// Whether a transaction may be in the next block.
    pub(super) fn is_admissible(&self, number: u64) -> bool {
        number != FORBIDDEN
            && !self.applied.contains(&number)
            && Change::of(number).is_none_or(|change| self.changed(change).is_some())
    }

    pub(super) fn tip(&self) -> u64 {
        self.chain.len() as u64
    }

    pub(super) fn tip_header(&self) -> v1::Header {
        self.chain
            .last()
            .and_then(|committed| committed.block.header.clone())
            .unwrap_or_else(genesis_header)
    }

    pub(super) fn height_start(&self) -> HeightStart {
        let parent = self.tip_header();
        let height = self.tip() + 1;
        let set = validator_set(self.set(height).unwrap_or_default());
        let next = validator_set(self.set(height + 1).unwrap_or_default());
        HeightStart {
            height,
            parent_hash: Tag::Header.hash_message(&parent),
            parent_time_ms: parent.time_ms,
            proposer_order: proposer_order(&set, height),
            validators: set,
            next_validators: next,
        }
    }

    /// A block on the tip.
    pub(super) fn build(
        &self,
        proposer: ValidatorKey,
        clock_ms: u64,
        numbers: &[u64],
    ) -> v1::Block {
        let parent = self.tip_header();
        let transactions: Vec<_> = numbers.iter().map(|number| transaction(*number)).collect();
        let transactions_root = transactions_root(&transactions);
        let header = v1::Header {
            protocol_version: 1,
            genesis_hash: GENESIS.to_vec(),
            height: self.tip() + 1,
            time_ms: clock_ms.max(parent.time_ms + 1),
            parent_hash: Tag::Header.hash_message(&parent).to_vec(),
            state_root: state_root(&parent.state_root, &transactions_root),
            transactions_root,
            proposer: proposer.0.to_vec(),
            ..v1::Header::default()
        };
        v1::Block { header: Some(header), transactions }
    }

    /// The rules.
    pub(super) fn validate(&self, block: &v1::Block) -> Verdict {
        let invalid = |reason: &str| Verdict::Invalid { reason: reason.to_owned() };
        let Some(header) = &block.header else { return invalid("no header") };
        let parent = self.tip_header();
        if transactions_root(&block.transactions) != header.transactions_root {
            return Verdict::Altered;
        }
        if header.height != self.tip() + 1
            || header.parent_hash != Tag::Header.hash_message(&parent).0
            || header.time_ms <= parent.time_ms
        {
            return invalid("it does not follow the tip");
        }
        if header.state_root != state_root(&parent.state_root, &header.transactions_root) {
            return invalid("another state root");
        }
        let mut seen = BTreeSet::new();
        let mut changes = 0;
        for number in numbers(block) {
            changes += usize::from(Change::of(number).is_some());
            if !self.is_admissible(number) || !seen.insert(number) || changes > 1 {
                return invalid("a transaction is not admissible");
            }
        }
        Verdict::Valid
    }

    pub(super) fn commit(&mut self, committed: Committed) {
        let change = numbers(&committed.block).find_map(Change::of);
        let last = self.sets.last().cloned().unwrap_or_default();
        let set = change.and_then(|change| self.changed(change)).unwrap_or(last);
        self.sets.push(set);
        self.applied.extend(numbers(&committed.block));
        self.chain.push(committed);
    }

    /// An older copy of the same database: the last blocks are gone.
    pub(super) fn restore(&mut self, height: u64) {
        self.chain.truncate(height as usize);
        self.sets.truncate(height as usize + 2);
        self.applied = self.chain.iter().flat_map(|committed| numbers(&committed.block)).collect();
    }
}
