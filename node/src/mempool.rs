//! Transactions that wait to be ordered: admissible on the last state seen, bounded, shared fairly among submitters.
//!
//! No fee: what bounds a flood is a share of the room for each submitter, and blocks that take from every submitter in
//! turn. Not here: rules. Everything in the pool passed `ledger::admit` on some committed state, and passes it again
//! in the block.

use sillok_ledger::CheckedTransaction;
use sillok_proto::{Hash, v1};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A transaction in the pool.
#[derive(Debug, Clone)]
pub struct Pending {
    /// The decoded transaction.
    pub transaction: Arc<v1::Transaction>,
    /// The same, checked without state.
    pub checked: Arc<CheckedTransaction>,
}

impl Pending {
    /// Transaction id.
    #[must_use]
    pub fn id(&self) -> Hash {
        self.checked.leaf.id
    }

    /// The DIDs whose change may make it inadmissible: its submitter and those it changes.
    fn touches(&self) -> BTreeSet<Hash> {
        let mut dids: BTreeSet<Hash> =
            self.checked.operations.iter().map(|(operation, _)| *operation.did()).collect();
        dids.insert(self.checked.submitter);
        dids
    }
}

/// How much the pool holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most transactions.
    pub transactions_max: usize,
    /// Most bytes of encoded transactions.
    pub bytes_max: usize,
    /// Most transactions of one submitter.
    pub per_submitter_max: usize,
}

/// The pool has no room.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// One submitter has its share.
    #[error(
        "submitter {submitter} has {count} transactions waiting, its share of this node; wait until some are ordered"
    )]
    SubmitterShare {
        /// Digest of the submitter.
        submitter: Hash,
        /// How many are waiting.
        count: usize,
    },
    /// The node is full.
    #[error("this node has no room for more transactions; wait, or ask another node")]
    Full,
}

/// The pool.
#[derive(Debug)]
pub struct Mempool {
    limits: Limits,
    by_id: BTreeMap<Hash, (Hash, u64)>,
    /// Submitter → order of arrival → transaction.
    queues: BTreeMap<Hash, BTreeMap<u64, Pending>>,
    by_did: BTreeMap<Hash, BTreeSet<Hash>>,
    bytes: usize,
    arrivals: u64,
}

impl Mempool {
    /// An empty pool.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            by_id: BTreeMap::new(),
            queues: BTreeMap::new(),
            by_did: BTreeMap::new(),
            bytes: 0,
            arrivals: 0,
        }
    }

    /// Number of transactions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Is it empty?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Bytes of encoded transactions.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Is the transaction in the pool?
    #[must_use]
    pub fn contains(&self, id: &Hash) -> bool {
        self.by_id.contains_key(id)
    }

    /// Takes in an admitted transaction. `false` if it is there already.
    ///
    /// # Errors
    ///
    /// [`PoolError`] if there is no room.
    pub fn insert(&mut self, pending: Pending) -> Result<bool, PoolError> {
        let id = pending.id();
        if self.contains(&id) {
            return Ok(false);
        }
        let size = pending.checked.size_bytes;
        if self.by_id.len() >= self.limits.transactions_max
            || self.bytes.saturating_add(size) > self.limits.bytes_max
        {
            return Err(PoolError::Full);
        }
        let submitter = pending.checked.submitter;
        let queue = self.queues.entry(submitter).or_default();
        if queue.len() >= self.limits.per_submitter_max {
            return Err(PoolError::SubmitterShare { submitter, count: queue.len() });
        }
        for did in pending.touches() {
            self.by_did.entry(did).or_default().insert(id);
        }
        queue.insert(self.arrivals, pending);
        self.by_id.insert(id, (submitter, self.arrivals));
        self.arrivals += 1;
        self.bytes += size;
        Ok(true)
    }

    /// Takes a transaction out.
    pub fn remove(&mut self, id: &Hash) -> Option<Pending> {
        let (submitter, arrival) = self.by_id.remove(id)?;
        let queue = self.queues.get_mut(&submitter)?;
        let pending = queue.remove(&arrival)?;
        if queue.is_empty() {
            self.queues.remove(&submitter);
        }
        self.bytes = self.bytes.saturating_sub(pending.checked.size_bytes);
        for did in pending.touches() {
            if let Some(ids) = self.by_did.get_mut(&did) {
                ids.remove(id);
                if ids.is_empty() {
                    self.by_did.remove(&did);
                }
            }
        }
        Some(pending)
    }

    /// Candidates for a block in a fair order: one of each submitter in turn, each submitter's in order of arrival,
    /// without those in `left_out`, and only as many as can fit into `bytes_max`.
    #[must_use]
    pub fn candidates(&self, bytes_max: usize, left_out: &BTreeSet<Hash>) -> Vec<Pending> {
        let mut queues: Vec<_> = self.queues.values().map(|queue| queue.values()).collect();
        let mut chosen = Vec::new();
        let mut bytes = 0_usize;
        while !queues.is_empty() {
            queues.retain_mut(|queue| {
                let Some(pending) = queue.next() else { return false };
                if !left_out.contains(&pending.id()) {
                    bytes = bytes.saturating_add(pending.checked.size_bytes);
                    chosen.push(pending.clone());
                }
                bytes <= bytes_max
            });
        }
        chosen
    }

    /// What a change of these DIDs may have made inadmissible.
    #[must_use]
    pub fn touching<'a>(&self, dids: impl IntoIterator<Item = &'a Hash>) -> Vec<Pending> {
        let ids: BTreeSet<&Hash> =
            dids.into_iter().filter_map(|did| self.by_did.get(did)).flatten().collect();
        ids.into_iter().filter_map(|id| self.get(id)).cloned().collect()
    }

    /// Everything in the pool.
    #[must_use]
    pub fn all(&self) -> Vec<Pending> {
        self.queues.values().flat_map(BTreeMap::values).cloned().collect()
    }

    /// What can no longer be ordered at a ledger time later than `time_ms`.
    #[must_use]
    pub fn expired(&self, time_ms: u64) -> Vec<Pending> {
        let late = |pending: &&Pending| {
            let checked = &pending.checked;
            checked.valid_until_ms <= time_ms
                || checked.operations.iter().any(|(_, authors)| {
                    !authors.signatures.is_empty() && authors.valid_until_ms <= time_ms
                })
        };
        self.queues.values().flat_map(BTreeMap::values).filter(late).cloned().collect()
    }

    fn get(&self, id: &Hash) -> Option<&Pending> {
        let (submitter, arrival) = self.by_id.get(id)?;
        self.queues.get(submitter)?.get(arrival)
    }
}
