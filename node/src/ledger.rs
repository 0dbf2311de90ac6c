//! The node's view of the record, shared by all its tasks: storage, the last committed tip, the mempool.
//!
//! Reads take the published tip and read storage at its height; they never wait for writes. Only [`crate::ordering`]
//! commits.

use crate::mempool::{Limits, Mempool, Pending, PoolError};
use crate::storage::{Refusal, Storage, StorageError};
use crate::verifier::RememberingVerifier;
use sillok_ledger::{
    AdmissionError, BlockError, Built, Chain, CheckedTransaction, Frame, Outcome, Tip, build_block,
    execute_block,
};
use sillok_proto::{Hash, v1};
use std::collections::BTreeSet;
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
    /// Execution panicked. A fault of the software, contained: the transaction is refused.
    #[error("the transaction cannot be executed by this software; report it to the operator")]
    Poison,
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
}

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
    pub fn open(chain: Chain, storage: Storage, limits: Limits) -> Result<Self, StorageError> {
        let tip = storage.load_tip(&chain)?;
        Ok(Self {
            chain,
            storage,
            verifier: RememberingVerifier::default(),
            tip: watch::Sender::new(Arc::new(tip)),
            mempool: Mutex::new(Mempool::new(limits)),
            pending: watch::Sender::new(false),
        })
    }

    /// The last committed tip.
    #[must_use]
    pub fn tip(&self) -> Arc<Tip> {
        self.tip.borrow().clone()
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

    /// Checks a transaction against the last committed state, at the ledger time its block may have: an idle network's
    /// time stands still between heartbeats, so the machine's clock counts where it is ahead.
    fn admit(&self, tip: &Tip, checked: &CheckedTransaction) -> Result<(), SubmitError> {
        let state = self.storage.at(tip.height());
        let frame = Frame {
            chain: &self.chain,
            height: tip.height() + 1,
            time_ms: (tip.header.time_ms + 1).max(crate::clock::now_ms()),
            verifier: &self.verifier,
            replay: &tip.replay,
        };
        // A panic over a stranger's bytes is a refusal, never the end of a process (PROTOCOL II.3).
        match catch_unwind(AssertUnwindSafe(|| sillok_ledger::admit::run(&frame, &state, checked)))
        {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.into()),
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
        self.admit(&self.tip(), &checked)?;
        let pending = Pending { transaction: Arc::new(transaction), checked: Arc::new(checked) };
        let new = self.mempool().insert(pending)?;
        self.pending.send_if_modified(|pending| !std::mem::replace(pending, true));
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
        let state = self.storage.at(tip.height());
        let bytes_max =
            usize::try_from(self.chain.parameters().block_bytes_max).unwrap_or(usize::MAX);
        let candidates =
            if empty { Vec::new() } else { self.mempool().candidates(bytes_max, left_out) };
        let run = |candidates: &[Pending]| {
            build_block(
                &self.chain,
                &tip,
                &state,
                &self.verifier,
                time_ms,
                proposer,
                candidates.iter().map(|one| (&*one.transaction, &*one.checked)),
            )
        };
        match catch_unwind(AssertUnwindSafe(|| run(&candidates))) {
            Ok(built) => built.map(|built| BuiltBlock { built, candidates }),
            // Something in the pool panics: an empty block keeps the network going, the pool is not touched.
            Err(_) => run(&[]).map(|built| BuiltBlock { built, candidates: Vec::new() }),
        }
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
            execute_block(&self.chain, &tip, &state, &self.verifier, block)
        }))
        .unwrap_or(Err(BlockError::Panicked))
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
            for pending in &expired {
                mempool.remove(&pending.id());
            }
            // The change of an organization reaches further than its own transactions: authorities, countersigners.
            let organization = v1::Kind::Organization;
            let suspects = if outcome.changes.heads.values().any(|h| h.kind() == organization) {
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
        for pending in expired {
            self.refuse(&pending, None)?;
        }
        for pending in suspects {
            if let Err(error) = self.admit(tip, &pending.checked) {
                self.mempool().remove(&pending.id());
                self.refuse(
                    &pending,
                    Some(crate::api::problem::of_submit(self.chain.network(), &error)),
                )?;
            }
        }
        let pending = !self.mempool().is_empty();
        self.pending.send_if_modified(|before| std::mem::replace(before, pending) != pending);
        Ok(())
    }

    /// Drops a candidate that building a block showed to be inadmissible.
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
        if matches!(error, AdmissionError::ValidUntilTooFar { .. }) {
            return Ok(());
        }
        if self.mempool().remove(&pending.id()).is_some() {
            let error = SubmitError::Admission(error.clone());
            let problem = crate::api::problem::of_submit(self.chain.network(), &error);
            self.refuse(pending, Some(problem))?;
        }
        Ok(())
    }

    fn refuse(&self, pending: &Pending, problem: Option<v1::Problem>) -> Result<(), StorageError> {
        let id = pending.id();
        if self.storage.transaction(&id)?.is_some() {
            return Ok(());
        }
        let valid_until_ms = pending.checked.valid_until_ms;
        self.storage.put_refusal(&id, &Refusal { valid_until_ms, problem })
    }
}
