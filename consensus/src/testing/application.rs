//! A toy ledger: real headers, and blocks whose validity anyone can compute from the chain before them.
//!
//! A transaction is a number; each may be committed once, and [`FORBIDDEN`] never. State is the hash of everything
//! committed so far.

use crate::config::HeightStart;
use crate::context::ValidatorKey;
use crate::event::Verdict;
use sillok_proto::{Hash, Tag, encode, v1};
use std::collections::BTreeSet;

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

/// What survives a crash besides the signing record.
#[derive(Debug, Clone, Default)]
pub(super) struct Application {
    pub(super) chain: Vec<Committed>,
    applied: BTreeSet<u64>,
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
    pub(super) fn tip(&self) -> u64 {
        self.chain.len() as u64
    }

    pub(super) fn tip_header(&self) -> v1::Header {
        self.chain
            .last()
            .and_then(|committed| committed.block.header.clone())
            .unwrap_or_else(genesis_header)
    }

    pub(super) fn has_applied(&self, number: u64) -> bool {
        self.applied.contains(&number)
    }

    pub(super) fn height_start(&self, set: &v1::ValidatorSet) -> HeightStart {
        let parent = self.tip_header();
        let height = self.tip() + 1;
        HeightStart {
            height,
            parent_hash: Tag::Header.hash_message(&parent),
            parent_time_ms: parent.time_ms,
            validators: set.clone(),
            next_validators: set.clone(),
            proposer_order: proposer_order(set, height),
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
        for number in numbers(block) {
            if number == FORBIDDEN || self.applied.contains(&number) || !seen.insert(number) {
                return invalid("a transaction is not admissible");
            }
        }
        Verdict::Valid
    }

    pub(super) fn commit(&mut self, committed: Committed) {
        self.applied.extend(numbers(&committed.block));
        self.chain.push(committed);
    }

    /// An older copy of the same database: the last blocks are gone.
    pub(super) fn restore(&mut self, height: u64) {
        self.chain.truncate(height as usize);
        self.applied = self.chain.iter().flat_map(|committed| numbers(&committed.block)).collect();
    }
}
