//! The tip: the part of a block's parent state that is not in the tree (PROTOCOL §7.1).
//!
//! Parent state = tree + tip, and validity is a function of the block and its parent state. Everything here follows
//! from the committed blocks, so a node rebuilds it at start.

use crate::admit::Replay;
use crate::certificate::{self, PROTOCOL_VERSION};
use crate::merkle_log::{Frontier, HistoryHasher, LogError};
use crate::proposers::Recent;
use crate::{Chain, merkle_log};
use sillok_proto::{Hash, v1};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a block is built on, beside the tree.
#[derive(Debug, Clone)]
pub struct Tip {
    /// The last committed header.
    pub header: v1::Header,
    /// Its hash.
    pub hash: Hash,
    /// The set that certifies the next height.
    pub validators: v1::ValidatorSet,
    /// The set that certifies the height after it.
    pub next_validators: v1::ValidatorSet,
    /// The figures that bind the next block: those of the leaf after the last one.
    pub parameters: v1::Parameters,
    /// The log of all headers, the last one included.
    pub history: Frontier<HistoryHasher>,
    /// The last headers: who built them, their hashes and times.
    pub recent: Recent,
    /// What was ordered and is not past its valid-until yet.
    pub replay: ReplayWindow,
}

/// The header of the genesis state. It has no certificate: who trusts a genesis computes it.
#[must_use]
pub fn genesis_header(chain: &Chain, state_root: Hash) -> v1::Header {
    let set = certificate::validator_set_hash(chain.validators()).to_vec();
    v1::Header {
        protocol_version: PROTOCOL_VERSION,
        genesis_hash: chain.hash().to_vec(),
        height: 0,
        time_ms: chain.genesis().time_ms,
        parent_hash: vec![0; 32],
        transactions_root: merkle_log::transactions_root(&[]).to_vec(),
        state_root: state_root.to_vec(),
        history_root: Frontier::<HistoryHasher>::default().root().to_vec(),
        validator_set_hash: set.clone(),
        next_validator_set_hash: set,
        proposer: Vec::new(),
    }
}

impl Tip {
    /// The tip of a network that has no block yet.
    ///
    /// # Errors
    ///
    /// [`LogError`] never in practice: the log is empty.
    pub fn genesis(chain: &Chain, state_root: Hash) -> Result<Self, LogError> {
        let header = genesis_header(chain, state_root);
        let hash = certificate::header_hash(&header);
        let mut history = Frontier::default();
        history.append(HistoryHasher::leaf(&hash.0))?;
        Ok(Self {
            header,
            hash,
            validators: chain.validators().clone(),
            next_validators: chain.validators().clone(),
            parameters: chain.parameters().clone(),
            history,
            recent: Recent::default(),
            replay: ReplayWindow::default(),
        })
    }

    /// Height of the last committed block.
    #[must_use]
    pub const fn height(&self) -> u64 {
        self.header.height
    }

    /// The set that certifies `height`, if this tip fixes it.
    #[must_use]
    pub fn validators_at(&self, height: u64) -> Option<&v1::ValidatorSet> {
        match height.checked_sub(self.header.height)? {
            1 => Some(&self.validators),
            2 => Some(&self.next_validators),
            _ => None,
        }
    }
}

/// Names of what was ordered, until ledger time passes their valid-until (PROTOCOL §2.3).
///
/// A name is a hash that covers its valid-until, so it is looked for in one bucket alone; buckets are shared between
/// copies, so a tip is copied cheaply however much was ordered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplayWindow {
    /// Second of valid-until → names.
    buckets: BTreeMap<u64, Arc<BTreeMap<Hash, u64>>>,
}

impl ReplayWindow {
    /// Adds a name with the ledger time until which it could be ordered again.
    pub fn insert(&mut self, name: Hash, valid_until_ms: u64) {
        let bucket = self.buckets.entry(valid_until_ms / 1_000).or_default();
        Arc::make_mut(bucket).insert(name, valid_until_ms);
    }

    /// Forgets what can no longer be ordered at `time_ms` or later.
    pub fn advance(&mut self, time_ms: u64) {
        let second = time_ms / 1_000;
        self.buckets = self.buckets.split_off(&second);
        if let Some(bucket) = self.buckets.get_mut(&second) {
            Arc::make_mut(bucket).retain(|_, valid_until_ms| *valid_until_ms >= time_ms);
            if bucket.is_empty() {
                self.buckets.remove(&second);
            }
        }
    }

    /// How many names it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buckets.values().map(|bucket| bucket.len()).sum()
    }

    /// Does it hold nothing?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Replay for ReplayWindow {
    fn contains(&self, name: &Hash, valid_until_ms: u64) -> bool {
        self.buckets.get(&(valid_until_ms / 1_000)).is_some_and(|bucket| bucket.contains_key(name))
    }
}
