//! The node's view of the record, shared by all its tasks: storage, the last committed tip, the mempool.
//!
//! Reads take the published tip and read storage at its height; they never wait for writes. Only [`crate::ordering`]
//! commits.

use crate::clock::Clock;
use crate::mempool::{Limits, Mempool, Pending, PoolError};
use crate::storage::{Refusal, Storage, StorageError};
use crate::verifier::RememberingVerifier;
use sillok_ledger::mutant::{Mutant, is};
use sillok_ledger::prepare::Asked;
use sillok_ledger::{
    AdmissionError, BlockError, Built, Chain, CheckedTransaction, Frame, Outcome, Prepared,
    SignatureVerifier, StateFault, Tip, VerifyEach, build_block, build_in_order, execute_block,
};
use sillok_proto::{Hash, v1};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Why a transaction did not enter the mempool.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// A rule of the record.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// No room.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A trial, and nothing for the mempool: the submitter has as many at work here as one may.
    #[error(
        "{TRIALS_PER_SUBMITTER} trials of this submitter are at work here already; try again in a moment, or ask another node"
    )]
    TooManyTrials,
    /// Execution panicked. A fault of the software, contained: the transaction is refused.
    #[error("the transaction cannot be executed by this software; report it to the operator")]
    Poison,
}

/// What a ledger needs of the machine it runs on.
#[derive(Clone)]
pub struct Environment {
    /// The wall clock.
    pub clock: Clock,
    /// How the signatures of transactions are checked.
    pub verifier: Arc<dyn SignatureVerifier + Send + Sync>,
}

impl Default for Environment {
    fn default() -> Self {
        Self { clock: Clock::system(), verifier: Arc::new(VerifyEach) }
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}

/// A test-only fault of execution, for the simulated world and for tests with real processes.
#[cfg(feature = "testing")]
#[derive(Debug, Clone, Default)]
pub struct ExecutionFault {
    /// Transactions on which executing and building panic; admission does not.
    pub panics_on: BTreeSet<Hash>,
    /// Transactions after which this build computes another state root than others.
    pub other_root_on: BTreeSet<Hash>,
    /// That root: builds with one root agree with each other.
    pub other_root: [u8; 32],
    /// How often it showed, in every ledger that has a clone of it.
    pub hits: Arc<std::sync::atomic::AtomicU64>,
}

#[cfg(feature = "testing")]
impl ExecutionFault {
    fn hit(&self) {
        self.hits.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// See the module.
#[derive(Debug)]
pub struct Ledger {
    /// The network.
    pub chain: Chain,
    /// The disk.
    pub storage: Storage,
    verifier: RememberingVerifier,
    tip: watch::Sender<Arc<Tip>>,
    mempool: Mutex<Mempool>,
    pending: watch::Sender<bool>,
    /// What panicked a block in the making: not taken in again by this process (PROTOCOL II.3).
    quarantine: Mutex<BTreeSet<Hash>>,
    /// What our proposals leave out for long.
    left_out: Mutex<BTreeSet<Hash>>,
    trials: Trials,
    clock: Clock,
    #[cfg(feature = "testing")]
    fault: Mutex<ExecutionFault>,
}

/// Most trials of one submitter at work at once. A trial may be a whole transaction's work, and the doors do eight such
/// things at a time: a submitter leaves room for others.
const TRIALS_PER_SUBMITTER: usize = 4;

/// Trials at work, by submitter.
#[derive(Debug, Default)]
struct Trials(Mutex<BTreeMap<Hash, usize>>);

/// A trial at work, for as long as it is held.
#[derive(Debug)]
struct Turn<'a> {
    trials: &'a Trials,
    submitter: Hash,
}

impl Trials {
    fn counts(&self) -> MutexGuard<'_, BTreeMap<Hash, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, submitter: &Hash) -> Option<Turn<'_>> {
        let mut counts = self.counts();
        let count = counts.entry(*submitter).or_insert(0);
        if *count >= TRIALS_PER_SUBMITTER {
            return None;
        }
        *count += 1;
        Some(Turn { trials: self, submitter: *submitter })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut counts = self.trials.counts();
        if let Some(count) = counts.get_mut(&self.submitter) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.submitter);
            }
        }
    }
}

/// Most ids in quarantine. Their submitters are accredited, so this many is a fault of the software, not a flood.
const QUARANTINE_MAX: usize = 10_000;
/// Most transactions singled out for one block; more cost the round, not the process.
const POISONS_SOUGHT_MAX: usize = 4;

/// What the proposer gets from [`Ledger::build`].
#[derive(Debug)]
pub struct BuiltBlock {
    /// The block and its outcome.
    pub built: Built,
    /// The candidates, to which `built.refused` points.
    pub candidates: Vec<Pending>,
}

impl Ledger {
    /// Opens the record as it stands on disk.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn open(
        chain: Chain,
        storage: Storage,
        limits: Limits,
        environment: Environment,
    ) -> Result<Self, StorageError> {
        let tip = storage.load_tip(&chain)?;
        Ok(Self {
            chain,
            storage,
            verifier: RememberingVerifier::over(environment.verifier),
            tip: watch::Sender::new(Arc::new(tip)),
            mempool: Mutex::new(Mempool::new(limits)),
            pending: watch::Sender::new(false),
            quarantine: Mutex::new(BTreeSet::new()),
            left_out: Mutex::default(),
            trials: Trials::default(),
            clock: environment.clock,
            #[cfg(feature = "testing")]
            fault: Mutex::default(),
        })
    }

    /// Reads the tip from disk again: a snapshot was installed.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn reload_tip(&self) -> Result<Arc<Tip>, StorageError> {
        let tip = Arc::new(self.storage.load_tip(&self.chain)?);
        self.tip.send_replace(tip.clone());
        Ok(tip)
    }

    /// The machine's clock.
    #[must_use]
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// From now on execution has this fault.
    #[cfg(feature = "testing")]
    pub fn set_execution_fault(&self, fault: ExecutionFault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    #[cfg(feature = "testing")]
    fn panic_if_faulty<'a>(&self, ids: impl IntoIterator<Item = &'a Hash>) {
        let panics = {
            let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
            let panics = ids.into_iter().any(|id| fault.panics_on.contains(id));
            if panics {
                fault.hit();
            }
            panics
        };
        assert!(!panics, "a test makes execution panic");
    }

    /// Executes as a build does that reads some transactions differently: it accepts what a build like it proposes.
    #[cfg(feature = "testing")]
    fn misread(
        &self,
        block: &v1::Block,
        execute: impl Fn(&v1::Block) -> Result<Outcome, BlockError>,
    ) -> Result<Outcome, BlockError> {
        let misreads = {
            let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
            let misread = self.ids_of(block).iter().any(|id| fault.other_root_on.contains(id));
            let root = block.header.as_ref().map(|header| header.state_root.as_slice());
            misread && root == Some(fault.other_root.as_slice())
        };
        let mut outcome = execute(block);
        if let (true, Err(BlockError::Header { field: "state_root", expected, .. })) =
            (misreads, &outcome)
        {
            let mut as_others_read = block.clone();
            if let (Some(header), Ok(root)) = (&mut as_others_read.header, hex::decode(expected)) {
                header.state_root = root;
            }
            outcome = execute(&as_others_read);
        }
        outcome.map(|outcome| self.distort(outcome))
    }

    /// What this build makes of an outcome that others see otherwise.
    #[cfg(feature = "testing")]
    fn distort(&self, mut outcome: Outcome) -> Outcome {
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        if outcome.transactions.iter().any(|leaf| fault.other_root_on.contains(&leaf.id)) {
            fault.hit();
            outcome.header.state_root = fault.other_root.to_vec();
            outcome.hash = sillok_ledger::header_hash(&outcome.header);
        }
        outcome
    }

    /// The last committed tip.
    #[must_use]
    pub fn tip(&self) -> Arc<Tip> {
        self.tip.borrow().clone()
    }

    /// The tip, if a read may be answered at it for a caller that has seen `min_height`.
    #[must_use]
    pub fn tip_for(&self, min_height: u64) -> Option<Arc<Tip>> {
        let tip = self.tip.borrow();
        is_recent_enough(&tip, min_height).then(|| tip.clone())
    }

    /// Follows the tip.
    #[must_use]
    pub fn watch_tip(&self) -> watch::Receiver<Arc<Tip>> {
        self.tip.subscribe()
    }

    /// Follows whether anything is pending.
    #[must_use]
    pub fn watch_pending(&self) -> watch::Receiver<bool> {
        self.pending.subscribe()
    }

    /// The mempool. Hold it shortly: no I/O, no signature check under it.
    pub fn mempool(&self) -> MutexGuard<'_, Mempool> {
        self.mempool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells ordering whether anything is pending that a block of ours could hold. Looked up under the lock of what it
    /// tells: a look before it could overwrite the news of a transaction that came in between, which would then wait
    /// for the heartbeat.
    ///
    /// A clock that runs behind the submitters' sees transactions that are valid too far ahead: they wait here, and are
    /// no reason to make empty blocks one after the other. Called again as time passes.
    pub fn note_pending(&self) {
        self.pending.send_if_modified(|before| {
            let (tip_ms, window_ms) = {
                let tip = self.tip.borrow();
                (tip.header.time_ms, tip.parameters.valid_until_window_ms)
            };
            let time_ms = self.clock.now_ms().max(tip_ms.saturating_add(1));
            let latest_ms = time_ms.saturating_add(window_ms);
            let left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
            let pending = self.mempool().holds_for_now(latest_ms, &left_out);
            std::mem::replace(before, pending) != pending
        });
    }

    /// Checks a transaction against the last committed state, at the ledger time its block may have: an idle network's
    /// time stands still between heartbeats, so the machine's clock counts where it is ahead.
    fn admit(&self, tip: &Tip, checked: &CheckedTransaction) -> Result<(), SubmitError> {
        self.admit_at(tip, checked, (tip.header.time_ms + 1).max(self.clock.now_ms()))
    }

    /// Checks a transaction that waits, at the earliest ledger time its block may have. Not by the clock: one that runs
    /// ahead would empty the pool of what the network can still order. What cannot be told now stays.
    fn inadmissible(&self, tip: &Tip, pending: &Pending) -> Option<SubmitError> {
        let error = self.admit_at(tip, &pending.checked, tip.header.time_ms + 1).err()?;
        let stays = matches!(
            error,
            SubmitError::Admission(
                AdmissionError::ValidUntilTooFar { .. } | AdmissionError::State(_)
            )
        );
        (!stays).then_some(error)
    }

    /// The next block on `tip`, at this time.
    pub(crate) fn frame<'a>(&'a self, tip: &'a Tip, time_ms: u64) -> Frame<'a> {
        Frame {
            chain: &self.chain,
            height: tip.height() + 1,
            time_ms,
            verifier: &self.verifier,
            replay: &tip.replay,
            recent: &tip.recent,
            parameters: &tip.parameters,
        }
    }

    fn admit_at(
        &self,
        tip: &Tip,
        checked: &CheckedTransaction,
        time_ms: u64,
    ) -> Result<(), SubmitError> {
        let state = self.storage.at(tip.height());
        let frame = self.frame(tip, time_ms);
        // A panic over a stranger's bytes is a refusal, never the end of a process (PROTOCOL II.3).
        match catch_unwind(AssertUnwindSafe(|| sillok_ledger::admit::run(&frame, &state, checked)))
        {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(SubmitError::Poison),
        }
    }

    /// Tries a transaction on the last committed state, at the ledger time its block may have, and keeps nothing
    /// (PROTOCOL §5.3). Also the height and the time at which it was tried.
    ///
    /// # Errors
    ///
    /// [`SubmitError`]: nobody who may submit asks for it, it has no transaction's form, or too many of the submitter are
    /// at work.
    pub fn simulate(
        &self,
        transaction: &v1::Transaction,
        submitter: &v1::KeySignature,
        roles: &[v1::KeySignature],
    ) -> Result<(Prepared, u64, u64), SubmitError> {
        let tip = self.tip();
        let state = self.storage.at(tip.height());
        let time_ms = (tip.header.time_ms + 1).max(self.clock.now_ms());
        let frame = self.frame(&tip, time_ms);
        let tried = || -> Result<Prepared, SubmitError> {
            let asked = Asked::check(&frame, &state, transaction, submitter)?;
            let _turn = self.trials.begin(asked.submitter()).ok_or(SubmitError::TooManyTrials)?;
            Ok(sillok_ledger::prepare(&frame, &state, asked, roles)?)
        };
        match catch_unwind(AssertUnwindSafe(tried)) {
            Ok(tried) => tried.map(|prepared| (prepared, tip.height(), time_ms)),
            Err(_) => Err(SubmitError::Poison),
        }
    }

    /// Checks a transaction and takes it into the mempool. `Ok(false)`: it is there already.
    ///
    /// # Errors
    ///
    /// [`SubmitError`]: then nothing was kept.
    pub fn submit(&self, transaction: v1::Transaction) -> Result<(Hash, bool), SubmitError> {
        let genesis = self.chain.hash();
        let checked = match catch_unwind(AssertUnwindSafe(|| {
            CheckedTransaction::check(genesis, &transaction)
        })) {
            Ok(checked) => checked?,
            Err(_) => return Err(SubmitError::Poison),
        };
        let id = checked.leaf.id;
        if self.mempool().contains(&id) {
            return Ok((id, false));
        }
        if self.quarantined().contains(&id) {
            return Err(SubmitError::Poison);
        }
        let tip = self.tip();
        self.admit(&tip, &checked)?;
        let pending = Pending { transaction: Arc::new(transaction), checked: Arc::new(checked) };
        let new = self.mempool().insert(pending.clone())?;
        // A block committed meanwhile was mended without this transaction: it may have ordered it, or its rival.
        let now = self.tip();
        if new
            && now.height() != tip.height()
            && let Err(error) = self.admit(&now, &pending.checked)
        {
            self.mempool().remove(&id);
            self.note_pending();
            return Err(error);
        }
        self.note_pending();
        Ok((id, new))
    }

    /// Builds a block on the tip. With `left_out` come those that may have failed; `empty` takes nothing at all.
    ///
    /// # Errors
    ///
    /// [`BlockError`] if the state cannot be read.
    pub fn build(
        &self,
        time_ms: u64,
        proposer: &[u8],
        left_out: &BTreeSet<Hash>,
        empty: bool,
    ) -> Result<BuiltBlock, BlockError> {
        let tip = self.tip();
        // What a longer window let in takes no place from what can be ordered now.
        let latest_ms = time_ms.saturating_add(tip.parameters.valid_until_window_ms);
        let left_out = &(left_out | &self.mempool().too_far_ahead(latest_ms));
        let state = self.storage.at(tip.height());
        let bytes_max = usize::try_from(tip.parameters.block_bytes_max).unwrap_or(usize::MAX);
        let mut candidates = if empty {
            Vec::new()
        } else {
            self.mempool().candidates(&tip.hash, bytes_max, left_out)
        };
        let run = |candidates: &[Pending], in_order: bool| {
            #[cfg(feature = "testing")]
            self.panic_if_faulty(candidates.iter().map(|one| &one.checked.leaf.id));
            let (chain, verifier) = (&self.chain, &self.verifier);
            let pairs = candidates.iter().map(|one| (&*one.transaction, &*one.checked));
            let built = if in_order {
                build_in_order(chain, &tip, &state, verifier, time_ms, proposer, pairs)
            } else {
                build_block(chain, &tip, &state, verifier, time_ms, proposer, pairs)
            };
            #[cfg(feature = "testing")]
            let built = built.map(|mut built| {
                built.outcome = self.distort(built.outcome);
                built.block.header = Some(built.outcome.header.clone());
                built
            });
            built
        };
        let attempt = |candidates: &[Pending], in_order: bool| {
            catch_unwind(AssertUnwindSafe(|| run(candidates, in_order))).ok()
        };
        // A panic is a refusal of the transaction that causes it, and the rest is not to suffer (PROTOCOL II.3).
        for _ in 0..POISONS_SOUGHT_MAX {
            // With room kept for losses a longer list may leave out what panics; without, it never does.
            let built = attempt(&candidates, false).or_else(|| attempt(&candidates, true));
            if let Some(built) = built {
                return built.map(|built| BuiltBlock { built, candidates });
            }
            let panics = |count: usize| attempt(&candidates[..count], true).is_none();
            let Some(poison) = first_that_panics(candidates.len(), panics) else { break };
            let poison = candidates.remove(poison);
            tracing::error!(event = "poison", transaction = %poison.id(), "a transaction that panics execution is put aside; report it");
            self.put_aside(&poison).map_err(StateFault::from)?;
        }
        run(&[], true).map(|built| BuiltBlock { built, candidates: Vec::new() })
    }

    /// Transactions that are in no proposal of ours for long, and so no reason to make a block.
    pub fn leave_out(&self, ids: BTreeSet<Hash>) {
        let changed = {
            let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
            let before = std::mem::replace(&mut *left_out, ids);
            before != *left_out
        };
        if changed {
            self.note_pending();
        }
    }

    fn quarantined(&self) -> MutexGuard<'_, BTreeSet<Hash>> {
        self.quarantine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this process has put aside because it panics execution.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn poisons(&self) -> Vec<Hash> {
        self.quarantined().iter().copied().collect()
    }

    fn put_aside(&self, poison: &Pending) -> Result<(), StorageError> {
        {
            let mut quarantine = self.quarantined();
            if quarantine.len() >= QUARANTINE_MAX {
                quarantine.clear();
            }
            quarantine.insert(poison.id());
        }
        self.drop_for(poison, Some(&SubmitError::Poison))?;
        self.note_pending();
        Ok(())
    }

    /// Executes a block on the tip.
    ///
    /// # Errors
    ///
    /// [`BlockError`]; a panic is a refusal.
    pub fn execute(&self, block: &v1::Block) -> Result<Outcome, BlockError> {
        let tip = self.tip();
        let state = self.storage.at(tip.height());
        catch_unwind(AssertUnwindSafe(|| {
            #[cfg(feature = "testing")]
            self.panic_if_faulty(&self.ids_of(block));
            let execute =
                |block: &v1::Block| execute_block(&self.chain, &tip, &state, &self.verifier, block);
            #[cfg(feature = "testing")]
            let execute = |block: &v1::Block| self.misread(block, execute);
            execute(block)
        }))
        .unwrap_or(Err(BlockError::Panicked))
    }

    #[cfg(feature = "testing")]
    fn ids_of(&self, block: &v1::Block) -> Vec<Hash> {
        let genesis = self.chain.hash();
        let leaf = |one| sillok_ledger::TransactionLeaf::of(genesis, one).map(|leaf| leaf.id);
        block.transactions.iter().filter_map(leaf).collect()
    }

    /// Persists a decided block and publishes the new tip; then mends the mempool.
    ///
    /// # Errors
    ///
    /// [`StorageError`]: nothing was persisted and the process must stop.
    pub fn commit(
        &self,
        outcome: &Outcome,
        block: &v1::Block,
        certificate: &v1::CommitCertificate,
        evidence: &[v1::Evidence],
    ) -> Result<Arc<Tip>, StorageError> {
        let mut tip = (*self.tip()).clone();
        let history =
            tip.advance(outcome).map_err(|fault| StorageError::Damaged { reason: fault.reason })?;
        self.storage.commit(&tip, outcome, block, certificate, &history, evidence)?;
        let tip = Arc::new(tip);
        self.tip.send_replace(tip.clone());
        self.mend_mempool(&tip, outcome)?;
        Ok(tip)
    }

    /// Takes out what was ordered, what is too late, and what the block made inadmissible, and remembers why.
    fn mend_mempool(&self, tip: &Tip, outcome: &Outcome) -> Result<(), StorageError> {
        let (suspects, expired) = {
            let mut mempool = self.mempool();
            for leaf in &outcome.transactions {
                mempool.remove(&leaf.id);
            }
            let expired = mempool.expired(tip.header.time_ms);
            // The change of an organization reaches further than its own transactions: authorities, countersigners.
            // So does one of members: other approvals of what was executed; and one of a grant: a whole subtree.
            let organization = v1::Kind::Organization;
            let members = outcome.governance.iter().any(|events| !events.is_empty());
            let trust = outcome.trust.iter().any(|events| !events.is_empty());
            let wide = members
                || trust
                || outcome.changes.heads.values().any(|h| h.kind() == organization);
            let suspects = if wide {
                mempool.all()
            } else {
                let dids: Vec<Hash> = outcome
                    .changes
                    .heads
                    .values()
                    .filter_map(|head| Hash::from_slice(&head.did))
                    .collect();
                mempool.touching(&dids)
            };
            (suspects, expired)
        };
        let mut refused = !expired.is_empty();
        for pending in &expired {
            self.drop_for(pending, None)?;
        }
        for pending in suspects {
            if self.mempool().contains(&pending.id())
                && let Some(error) = self.inadmissible(tip, &pending)
            {
                self.drop_for(&pending, Some(&error))?;
                refused = true;
            }
        }
        self.note_pending();
        if refused {
            // Who waits for the end of a transaction looked when the tip came, which was before this.
            self.tip.send_modify(|_| {});
        }
        Ok(())
    }

    /// Drops a candidate that building a block showed to be inadmissible, if the committed state says so too. It may
    /// only be at odds with another candidate of a block that is never decided, or with a clock that runs ahead.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn drop_refused(
        &self,
        pending: &Pending,
        error: &AdmissionError,
    ) -> Result<(), StorageError> {
        // Too early is not wrong: the proposer's time may be behind ours.
        if matches!(error, AdmissionError::ValidUntilTooFar { .. } | AdmissionError::State(_)) {
            return Ok(());
        }
        if let Some(error) = self.inadmissible(&self.tip(), pending) {
            self.drop_for(pending, Some(&error))?;
            self.note_pending();
        }
        Ok(())
    }

    /// Remembers why, then takes it out: in this order, so that it is never unknown in between. `None`: its time passed.
    fn drop_for(&self, pending: &Pending, error: Option<&SubmitError>) -> Result<(), StorageError> {
        let id = pending.id();
        if self.mempool().contains(&id) && self.storage.transaction(&id)?.is_none() {
            let problem =
                error.map(|error| crate::api::problem::of_submit(self.chain.network(), error));
            let valid_until_ms = pending.checked.valid_until_ms;
            self.storage.put_refusal(&id, &Refusal { valid_until_ms, problem })?;
        }
        self.mempool().remove(&id);
        Ok(())
    }
}

/// Whether a node with this tip answers a caller that has seen `min_height`: it never shows less than that (D8). Here and
/// nowhere else, so that the simulated world asks what a node asks.
#[must_use]
pub fn is_recent_enough(tip: &Tip, min_height: u64) -> bool {
    tip.height() >= min_height || is(Mutant::MinHeightIgnored)
}

/// The index of the first of `count` that makes a run over it and those before it panic; `None` if even a run over
/// nothing does. All of them panic, and a run over more does where one over fewer did.
fn first_that_panics(count: usize, panics: impl Fn(usize) -> bool) -> Option<usize> {
    if count == 0 || panics(0) {
        return None;
    }
    let (mut good, mut bad) = (0, count);
    while bad - good > 1 {
        let middle = usize::midpoint(good, bad);
        if panics(middle) {
            bad = middle;
        } else {
            good = middle;
        }
    }
    Some(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submitter_has_some_trials_at_work_at_once_and_leaves_room_for_others() {
        let trials = Trials::default();
        let (one, other) = (Hash([1; 32]), Hash([2; 32]));
        let mut held: Vec<Turn<'_>> =
            (0..TRIALS_PER_SUBMITTER).map(|_| trials.begin(&one).unwrap()).collect();
        assert!(trials.begin(&one).is_none());
        assert!(trials.begin(&other).is_some());
        held.pop();
        assert!(trials.begin(&one).is_some(), "one is over");
        // Also one that panicked.
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _turn = trials.begin(&one);
            panic!("a trial")
        }));
        assert!(panicked.is_err());
        assert!(trials.begin(&one).is_some());
        drop(held);
        assert!(trials.counts().is_empty(), "nobody is remembered");
    }

    #[test]
    fn the_poison_is_found_among_any_number_of_candidates() {
        for count in 1..20 {
            for poison in 0..count {
                assert_eq!(first_that_panics(count, |prefix| prefix > poison), Some(poison));
            }
        }
        assert_eq!(first_that_panics(3, |_| true), None, "then no transaction is to blame");
    }
}
