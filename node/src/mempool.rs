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

    /// The DIDs whose change may make it inadmissible: its submitter, those it changes, and the operators that act.
    fn touches(&self) -> BTreeSet<Hash> {
        let mut dids: BTreeSet<Hash> =
            self.checked.operations.iter().map(|(operation, _)| *operation.subject()).collect();
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

    /// Does it hold a transaction that a block of ours could hold: none of `left_out`, and with a valid-until not after
    /// `latest_ms`? Others are too far ahead to be ordered now.
    #[must_use]
    pub fn holds_for_now(&self, latest_ms: u64, left_out: &BTreeSet<Hash>) -> bool {
        let ripe = |pending: &Pending| {
            pending.checked.valid_until_ms <= latest_ms && !left_out.contains(&pending.id())
        };
        self.queues.values().flat_map(BTreeMap::values).any(ripe)
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

#[cfg(test)]
mod tests {
    use super::*;
    use sillok_ledger::TransactionLeaf;
    use sillok_ledger::transaction::Signature;

    const LIMITS: Limits = Limits { transactions_max: 6, bytes_max: 1_000, per_submitter_max: 4 };

    fn pending(submitter: u8, nth: u8, valid_until_ms: u64) -> Pending {
        let hash = Hash([0; 32]);
        let mut id = [submitter; 32];
        id[0] = nth;
        Pending {
            transaction: Arc::new(v1::Transaction::default()),
            checked: Arc::new(CheckedTransaction {
                leaf: TransactionLeaf { id: Hash(id), signatures: hash, private_signatures: hash },
                submitter: Hash([submitter; 32]),
                valid_until_ms,
                operations: Vec::new(),
                private: Vec::new(),
                submitter_signature: Signature { key_id: hash, bytes: vec![0; 64] },
                size_bytes: 100,
            }),
        }
    }

    fn ids(chosen: &[Pending]) -> Vec<(u8, u8)> {
        chosen.iter().map(|one| (one.id().0[1], one.id().0[0])).collect()
    }

    #[test]
    fn a18_one_submitter_at_its_share_does_not_shut_out_another() {
        let mut pool = Mempool::new(LIMITS);
        for nth in 0..4 {
            assert_eq!(pool.insert(pending(1, nth, 9)), Ok(true));
        }
        assert!(matches!(pool.insert(pending(1, 4, 9)), Err(PoolError::SubmitterShare { .. })));
        assert_eq!(pool.insert(pending(2, 0, 9)), Ok(true));
        assert_eq!(pool.insert(pending(2, 0, 9)), Ok(false), "the same again is no error");
        // Each submitter in turn, so the flood of the first waits for the second.
        assert_eq!(ids(&pool.candidates(10_000, &BTreeSet::new()))[..2], [(1, 0), (2, 0)]);
    }

    #[test]
    fn the_pool_is_bounded_and_empties_again() {
        let mut pool = Mempool::new(LIMITS);
        for nth in 0..6 {
            assert_eq!(pool.insert(pending(nth, nth, 9)), Ok(true));
        }
        assert_eq!(pool.insert(pending(7, 7, 9)), Err(PoolError::Full));
        assert_eq!((pool.len(), pool.bytes()), (6, 600));
        for one in pool.all() {
            assert!(pool.remove(&one.id()).is_some());
        }
        assert!(pool.is_empty() && pool.bytes() == 0 && pool.by_did.is_empty());
    }

    #[test]
    fn candidates_leave_out_what_failed_and_stop_at_the_room_there_is() {
        let mut pool = Mempool::new(LIMITS);
        for nth in 0..4 {
            pool.insert(pending(1, nth, 9)).unwrap();
        }
        let left_out = BTreeSet::from([pending(1, 0, 9).id()]);
        assert_eq!(ids(&pool.candidates(10_000, &left_out)), [(1, 1), (1, 2), (1, 3)]);
        assert_eq!(pool.candidates(150, &BTreeSet::new()).len(), 2);
    }

    #[test]
    fn what_is_too_late_for_the_next_block_is_found() {
        let mut pool = Mempool::new(LIMITS);
        pool.insert(pending(1, 0, 5)).unwrap();
        pool.insert(pending(1, 1, 6)).unwrap();
        // The next block is later than the tip at 5.
        assert_eq!(ids(&pool.expired(5)), [(1, 0)]);
    }

    #[test]
    fn what_is_too_far_ahead_for_the_next_block_is_no_reason_for_one() {
        let mut pool = Mempool::new(LIMITS);
        pool.insert(pending(1, 0, 9)).unwrap();
        let none = BTreeSet::new();
        assert!(!pool.holds_for_now(8, &none));
        assert!(pool.holds_for_now(9, &none));
        assert!(!pool.holds_for_now(9, &BTreeSet::from([pending(1, 0, 9).id()])));
    }

    #[test]
    fn a_change_of_a_did_finds_what_depends_on_it() {
        let mut pool = Mempool::new(LIMITS);
        pool.insert(pending(1, 0, 9)).unwrap();
        pool.insert(pending(2, 0, 9)).unwrap();
        assert_eq!(ids(&pool.touching([&Hash([2; 32])])), [(2, 0)]);
    }
}
