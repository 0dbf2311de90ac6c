//! Transactions that wait to be ordered: admissible on the last state seen, bounded, shared fairly among submitters.
//!
//! No fee: what bounds a flood is a share of the room for each submitter, and blocks that take from every submitter in
//! turn. Losses of rights have a lane of their own with room of its own (PROTOCOL §5.2, decision 22): whatever else
//! floods the pool, a phone that was lost can be reported, also by the one who floods. Not here: rules. Everything in
//! the pool passed `ledger::admit` on some committed state, and passes it again in the block.

use sillok_ledger::CheckedTransaction;
use sillok_ledger::lane::{LOSS_PART, Lane, place_in_turn};
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
    /// Most transactions of one submitter in each lane; at most half of what the lane has for itself.
    pub per_submitter_max: usize,
}

/// How much is there, or may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Amount {
    transactions: usize,
    bytes: usize,
}

impl Amount {
    const fn holds(self, other: Self) -> bool {
        other.transactions <= self.transactions && other.bytes <= self.bytes
    }

    const fn plus(self, bytes: usize) -> Self {
        Self {
            transactions: self.transactions.saturating_add(1),
            bytes: self.bytes.saturating_add(bytes),
        }
    }

    const fn minus(self, bytes: usize) -> Self {
        Self {
            transactions: self.transactions.saturating_sub(1),
            bytes: self.bytes.saturating_sub(bytes),
        }
    }
}

impl Limits {
    const fn all(self) -> Amount {
        Amount { transactions: self.transactions_max, bytes: self.bytes_max }
    }

    /// What a lane has for itself: a quarter for losses, three for the rest.
    const fn part(self, lane: Lane) -> Amount {
        let losses = Amount {
            transactions: self.transactions_max / LOSS_PART,
            bytes: self.bytes_max / LOSS_PART,
        };
        match lane {
            Lane::Loss => losses,
            Lane::General => Amount {
                transactions: self.transactions_max.saturating_sub(losses.transactions),
                bytes: self.bytes_max.saturating_sub(losses.bytes),
            },
        }
    }

    /// What one submitter may have in a lane: never so much that no other has a place.
    fn share(self, lane: Lane) -> Amount {
        let Amount { transactions, bytes } = self.part(lane);
        Amount { transactions: self.per_submitter_max.min(transactions / 2), bytes: bytes / 2 }
    }
}

/// The pool has no room.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// One submitter has its share of a lane.
    #[error(
        "{count} of your transactions ({}) wait at this node, your share of its room; wait until some are ordered, or ask another node",
        lane.as_str()
    )]
    SubmitterShare {
        /// Which lane.
        lane: Lane,
        /// How many are waiting.
        count: usize,
    },
    /// A lane is full.
    #[error("this node has no room for more transactions ({}); wait, or ask another node", .0.as_str())]
    Full(Lane),
}

type Queue = BTreeMap<u64, Pending>;

/// The pool.
#[derive(Debug)]
pub struct Mempool {
    limits: Limits,
    by_id: BTreeMap<Hash, (Lane, Hash, u64)>,
    /// Lane and submitter → order of arrival → transaction.
    queues: BTreeMap<(Lane, Hash), Queue>,
    /// How much is in each queue.
    queued: BTreeMap<(Lane, Hash), Amount>,
    /// How much is in the general lane.
    general: Amount,
    /// How much is in all.
    all: Amount,
    by_did: BTreeMap<Hash, BTreeSet<Hash>>,
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
            queued: BTreeMap::new(),
            general: Amount { transactions: 0, bytes: 0 },
            all: Amount { transactions: 0, bytes: 0 },
            by_did: BTreeMap::new(),
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
        self.queues.values().flat_map(Queue::values).any(ripe)
    }

    /// Those with a valid-until after `latest_ms`, which no block can hold now.
    #[must_use]
    pub fn too_far_ahead(&self, latest_ms: u64) -> BTreeSet<Hash> {
        let waiting = self.queues.values().flat_map(Queue::values);
        let far = waiting.filter(|pending| pending.checked.valid_until_ms > latest_ms);
        far.map(Pending::id).collect()
    }

    /// Bytes of encoded transactions.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.all.bytes
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
        let (bytes, lane) = (pending.checked.size_bytes, pending.checked.lane());
        let key = (lane, pending.checked.submitter);
        let queued = self.queued.get(&key).copied().unwrap_or_default();
        // The first of a submitter has a place wherever its lane has one: the largest may be more than a share.
        if queued.transactions > 0 && !self.limits.share(lane).holds(queued.plus(bytes)) {
            return Err(PoolError::SubmitterShare { lane, count: queued.transactions });
        }
        // What is kept for losses is theirs; beyond it they take what is free.
        let general = if lane == Lane::General { self.general.plus(bytes) } else { self.general };
        if !self.limits.all().holds(self.all.plus(bytes))
            || (lane == Lane::General && !self.limits.part(lane).holds(general))
        {
            return Err(PoolError::Full(lane));
        }
        for did in pending.touches() {
            self.by_did.entry(did).or_default().insert(id);
        }
        self.queues.entry(key).or_default().insert(self.arrivals, pending);
        self.queued.insert(key, queued.plus(bytes));
        self.by_id.insert(id, (lane, key.1, self.arrivals));
        self.arrivals += 1;
        self.all = self.all.plus(bytes);
        self.general = general;
        Ok(true)
    }

    /// Takes a transaction out.
    pub fn remove(&mut self, id: &Hash) -> Option<Pending> {
        let (lane, submitter, arrival) = self.by_id.remove(id)?;
        let key = (lane, submitter);
        let queue = self.queues.get_mut(&key)?;
        let pending = queue.remove(&arrival)?;
        let bytes = pending.checked.size_bytes;
        if queue.is_empty() {
            self.queues.remove(&key);
            self.queued.remove(&key);
        } else if let Some(queued) = self.queued.get_mut(&key) {
            *queued = queued.minus(bytes);
        }
        self.all = self.all.minus(bytes);
        if lane == Lane::General {
            self.general = self.general.minus(bytes);
        }
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

    /// Candidates for a block on `parent`: of each lane as many as can fit into `bytes_max`, one of each submitter in turn,
    /// without those in `left_out`. Their order does not say which lane each is of: one of each submitter in turn again,
    /// each submitter's in order of arrival, and within a turn in an order that is another on each parent.
    #[must_use]
    pub fn candidates(
        &self,
        parent: &Hash,
        bytes_max: usize,
        left_out: &BTreeSet<Hash>,
    ) -> Vec<Pending> {
        // By place in a turn.
        let mut chosen: BTreeMap<Hash, Vec<(u64, &Pending)>> = BTreeMap::new();
        for lane in [Lane::Loss, Lane::General] {
            let of_lane = self.queues.iter().filter(|((of, _), _)| *of == lane);
            let mut queues: Vec<_> = of_lane
                .map(|((_, submitter), queue)| (place_in_turn(parent, submitter), queue.iter()))
                .collect();
            queues.sort_unstable_by_key(|(place, _)| *place);
            let mut bytes = 0_usize;
            while !queues.is_empty() {
                queues.retain_mut(|(place, queue)| {
                    let Some((arrival, pending)) = queue.next() else { return false };
                    if !left_out.contains(&pending.id()) {
                        bytes = bytes.saturating_add(pending.checked.size_bytes);
                        chosen.entry(*place).or_default().push((*arrival, pending));
                    }
                    bytes <= bytes_max
                });
            }
        }
        let mut turns: Vec<(usize, &Pending)> = Vec::new();
        for mut queue in chosen.into_values() {
            queue.sort_unstable_by_key(|(arrival, _)| *arrival);
            turns.extend(queue.into_iter().map(|(_, pending)| pending).enumerate());
        }
        // Stable: within a turn by place.
        turns.sort_by_key(|(turn, _)| *turn);
        turns.into_iter().map(|(_, pending)| pending.clone()).collect()
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
        self.queues.values().flat_map(Queue::values).cloned().collect()
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
        self.queues.values().flat_map(Queue::values).filter(late).cloned().collect()
    }

    fn get(&self, id: &Hash) -> Option<&Pending> {
        let (lane, submitter, arrival) = self.by_id.get(id)?;
        self.queues.get(&(*lane, *submitter))?.get(arrival)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sillok_did_method::{CheckedOperation, DeactivateDid};
    use sillok_ledger::TransactionLeaf;
    use sillok_ledger::transaction::{Authorship, Signature};

    /// General: 9 transactions and 900 bytes, 4 of one submitter; losses: 3 and 300 of their own, 1 of one submitter.
    const LIMITS: Limits = Limits { transactions_max: 12, bytes_max: 1_200, per_submitter_max: 5 };

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

    /// One that takes a right away.
    fn loss(submitter: u8, nth: u8) -> Pending {
        let mut pending = pending(submitter, nth, 9);
        let hash = Hash([0; 32]);
        let authors = Authorship {
            any_submitter: false,
            valid_until_ms: 9,
            statement_hash: hash,
            string: Vec::new(),
            signatures: Vec::new(),
        };
        let operation = CheckedOperation::Deactivate(DeactivateDid { did: hash, previous: hash });
        let checked = Arc::get_mut(&mut pending.checked).unwrap();
        checked.operations.push((operation, authors));
        checked.private.push(None);
        pending
    }

    fn full(pool: &mut Mempool, lane: Lane) -> usize {
        let mut count = 0;
        for submitter in 0..100 {
            let one = match lane {
                Lane::Loss => loss(submitter, 200),
                Lane::General => pending(submitter, 100, 9),
            };
            match pool.insert(one) {
                Ok(new) => count += usize::from(new),
                Err(error) => assert_eq!(error, PoolError::Full(lane)),
            }
        }
        count
    }

    /// A parent on which the first submitter stands before the second.
    fn parent() -> Hash {
        let stands_first = |parent: &Hash| {
            let [first, second] = [1, 2].map(|one| place_in_turn(parent, &Hash([one; 32])));
            first < second
        };
        (0..=255).map(|n| Hash([n; 32])).find(stands_first).unwrap()
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
        let refused = Err(PoolError::SubmitterShare { lane: Lane::General, count: 4 });
        assert_eq!(pool.insert(pending(1, 4, 9)), refused);
        assert_eq!(pool.insert(pending(2, 0, 9)), Ok(true));
        assert_eq!(pool.insert(pending(2, 0, 9)), Ok(false), "the same again is no error");
        // Each submitter in turn, so the flood of the first waits for the second.
        let chosen = ids(&pool.candidates(&parent(), 10_000, &BTreeSet::new()));
        assert_eq!(chosen[..2], [(1, 0), (2, 0)]);
        // And at its share it may still report a loss, one for now.
        assert_eq!(pool.insert(loss(1, 9)), Ok(true));
        let refused = Err(PoolError::SubmitterShare { lane: Lane::Loss, count: 1 });
        assert_eq!(pool.insert(loss(1, 10)), refused);
        pool.remove(&loss(1, 9).id());
        assert_eq!(pool.insert(loss(1, 10)), Ok(true));
    }

    #[test]
    fn a18_one_submitter_fills_neither_the_count_nor_the_bytes_of_a_lane() {
        let mut pool = Mempool::new(Limits { bytes_max: 4_000, ..LIMITS });
        let sized = |mut pending: Pending, bytes| {
            Arc::get_mut(&mut pending.checked).unwrap().size_bytes = bytes;
            pending
        };
        // The largest may be more than a share, and is all of it then.
        assert_eq!(pool.insert(sized(pending(1, 0, 9), 1_600)), Ok(true));
        let refused = Err(PoolError::SubmitterShare { lane: Lane::General, count: 1 });
        assert_eq!(pool.insert(sized(pending(1, 1, 9), 1)), refused);
        assert_eq!(pool.insert(sized(pending(2, 0, 9), 1_400)), Ok(true));
        assert_eq!(pool.insert(sized(pending(3, 0, 9), 1)), Err(PoolError::Full(Lane::General)));
        assert_eq!(pool.insert(sized(loss(3, 9), 1_000)), Ok(true), "these bytes are kept");
    }

    #[test]
    fn a18_no_flood_of_others_takes_the_room_of_losses_nor_of_losses_that_of_all() {
        let mut pool = Mempool::new(LIMITS);
        assert_eq!(full(&mut pool, Lane::General), 9);
        assert_eq!(full(&mut pool, Lane::Loss), 3, "a quarter is kept");

        let mut pool = Mempool::new(LIMITS);
        assert_eq!(full(&mut pool, Lane::Loss), 12, "they take what is free");
        assert_eq!(full(&mut pool, Lane::General), 0);
        pool.remove(&loss(0, 200).id());
        assert_eq!(pool.insert(pending(1, 0, 9)), Ok(true));
    }

    #[test]
    fn the_pool_is_bounded_and_empties_again() {
        let mut pool = Mempool::new(LIMITS);
        full(&mut pool, Lane::General);
        full(&mut pool, Lane::Loss);
        assert_eq!((pool.len(), pool.bytes()), (12, 1_200));
        for one in pool.all() {
            assert!(pool.remove(&one.id()).is_some());
        }
        assert!(pool.is_empty() && pool.bytes() == 0 && pool.by_did.is_empty());
        assert!(pool.queues.is_empty() && pool.queued.is_empty());
        assert_eq!((pool.all, pool.general), (Amount::default(), Amount::default()));
    }

    #[test]
    fn candidates_are_of_both_lanes_and_their_order_does_not_say_of_which() {
        let limits = Limits { transactions_max: 400, bytes_max: 40_000, per_submitter_max: 100 };
        let mut pool = Mempool::new(limits);
        for nth in 0..50 {
            pool.insert(pending(1, nth, 9)).unwrap();
        }
        pool.insert(loss(1, 50)).unwrap();
        pool.insert(loss(2, 0)).unwrap();
        pool.insert(pending(2, 1, 9)).unwrap();
        // Room for five of each lane, and a loss stands behind fifty others of its submitter.
        let chosen = ids(&pool.candidates(&parent(), 450, &BTreeSet::new()));
        let expected = [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2), (1, 3), (1, 50)];
        assert_eq!(chosen, expected);
    }

    /// Three submitters never run out, and a block has room for one: whoever wrote the DIDs, none of them waits for ever.
    #[test]
    fn a18_where_a_block_has_less_room_than_there_are_submitters_each_is_first_now_and_then() {
        let mut pool = Mempool::new(LIMITS);
        for submitter in 1..=3 {
            for nth in 0..2 {
                pool.insert(pending(submitter, nth, 9)).unwrap();
            }
        }
        let mut first: BTreeMap<u8, usize> = BTreeMap::new();
        for height in 0..60 {
            let chosen = ids(&pool.candidates(&Hash([height; 32]), 10_000, &BTreeSet::new()));
            assert_eq!(chosen.len(), 6);
            let turns: Vec<u8> = chosen.iter().map(|(_, nth)| *nth).collect();
            assert_eq!(turns, [0, 0, 0, 1, 1, 1], "in turns");
            *first.entry(chosen[0].0).or_default() += 1;
        }
        assert!(first.len() == 3 && first.values().all(|times| *times > 5), "{first:?}");
    }

    #[test]
    fn candidates_leave_out_what_failed_and_stop_at_the_room_there_is() {
        let mut pool = Mempool::new(LIMITS);
        for nth in 0..4 {
            pool.insert(pending(1, nth, 9)).unwrap();
        }
        let left_out = BTreeSet::from([pending(1, 0, 9).id()]);
        assert_eq!(ids(&pool.candidates(&parent(), 10_000, &left_out)), [(1, 1), (1, 2), (1, 3)]);
        assert_eq!(pool.candidates(&parent(), 150, &BTreeSet::new()).len(), 2);
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
