//! What the host's actions mean for the record: building, executing and deciding blocks, and serving them.
//!
//! No threads, no sockets, no timers: the running node carries the jobs to threads ([`crate::ordering`]), the simulated
//! world runs them in virtual time, and both run this code. Deliberately absent: rules (they are the ledger's) and votes
//! (they are the host's).

use crate::ledger::{BuiltBlock, Ledger};
use crate::mempool::Pending;
use crate::storage::StorageError;
use crate::suspects::Suspects;
use prost::Message;
use sillok_consensus::{Event, HeightStart, ValidationId, ValidatorKey, Verdict};
use sillok_ledger::mutant::{Mutant, is};
use sillok_ledger::{
    AdmissionError, BlockError, Outcome, Tip, TransactionLeaf, certificate, header_hash,
    merkle_log, proposers,
};
use sillok_proto::{Hash, v1};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// After this many failed rounds a proposer leaves out what the failed proposals held (PROTOCOL II.3).
pub const ROUNDS_BEFORE_LEAVING_OUT: u32 = 2;
/// After this many it proposes an empty block.
pub const ROUNDS_BEFORE_EMPTY: u32 = 4;
/// Room for the envelope and the certificates around blocks in an answer, in bytes.
const SYNC_ENVELOPE_BYTES: usize = 256 * 1024;
/// Most blocks in an answer.
const SYNC_BLOCKS_MAX: u32 = 64;

/// Certificates that are looked through at start: one of them holds our signature if we took part lately.
const RECENT_CERTIFICATES: u64 = 16;

/// Why the record cannot go on. The process ends with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplicationError {
    /// The disk failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A decided block that this node did not execute before does not execute now.
    #[error(
        "the decided block of height {height} cannot be executed ({reason}); install the release the other validators run"
    )]
    Execution {
        /// Height of the block.
        height: u64,
        /// Which rule.
        reason: String,
    },
}

/// The record as the host's shell sees it.
#[derive(Debug)]
pub struct Application {
    ledger: Arc<Ledger>,
    /// The key that goes into the headers of our blocks; none for an observer.
    proposer: Option<[u8; 32]>,
    /// Outcomes of undecided blocks, by block hash, never as "the pending state" (PROTOCOL II.2).
    outcomes: BTreeMap<Hash, Outcome>,
    /// The blocks proposed at this height, by ourselves or others, good or bad: the ids of the transactions of each.
    blocks: BTreeMap<Hash, Vec<Hash>>,
    /// Those of them that we built.
    own: BTreeSet<Hash>,
    /// Those on which builds differ, whether they have come here or not.
    differing: BTreeSet<Hash>,
    /// What may have made rounds fail, and is left out of our proposals.
    suspects: Suspects,
}

/// A block to be built; runs on any thread.
#[derive(Debug)]
pub struct BuildJob {
    ledger: Arc<Ledger>,
    height: u64,
    round: u32,
    proposer: Vec<u8>,
    left_out: BTreeSet<Hash>,
    empty: bool,
}

/// What came of building a block.
#[derive(Debug)]
pub struct Built {
    height: u64,
    round: u32,
    result: Result<(v1::Block, Outcome), BlockError>,
}

/// Candidates that building showed to be inadmissible.
#[derive(Debug)]
pub struct Refused {
    ledger: Arc<Ledger>,
    candidates: Vec<(Pending, AdmissionError)>,
}

/// A block to be executed; runs on any thread.
#[derive(Debug)]
pub struct ValidateJob {
    ledger: Arc<Ledger>,
    request: ValidationId,
    block: Arc<v1::Block>,
    certified: bool,
}

/// What came of executing a block.
#[derive(Debug)]
pub struct Validated {
    request: ValidationId,
    height: u64,
    hash: Hash,
    /// Validator key of who built the block.
    builder: Vec<u8>,
    certified: bool,
    /// The transactions its header commits to, also of a block that was refused.
    proposed: Vec<Hash>,
    result: Result<Outcome, BlockError>,
}

/// What the height after `tip` starts from.
#[must_use]
pub fn height_start(tip: &Tip) -> HeightStart {
    let height = tip.height() + 1;
    let keys: Vec<[u8; 32]> = tip
        .validators
        .validators
        .iter()
        .filter_map(|validator| validator.public_key.as_slice().try_into().ok())
        .collect();
    HeightStart {
        height,
        parent_hash: tip.hash,
        parent_time_ms: tip.header.time_ms,
        validators: tip.validators.clone(),
        next_validators: tip.next_validators.clone(),
        proposer_order: proposers::order(&tip.validators, height, &tip.recent)
            .into_iter()
            .filter_map(|index| keys.get(index).copied().map(ValidatorKey))
            .collect(),
    }
}

/// The last certificates of the record, for the host to look for signatures of ours that its signing record does not
/// hold ([`sillok_consensus::HostConfig::recent_certificates`]).
///
/// # Errors
///
/// [`StorageError`].
pub fn recent_certificates(ledger: &Ledger) -> Result<Vec<v1::CommitCertificate>, StorageError> {
    let tip = ledger.tip().height();
    let heights = tip.saturating_sub(RECENT_CERTIFICATES - 1).max(1)..=tip;
    heights.filter_map(|height| ledger.storage.certificate(height).transpose()).collect()
}

impl Application {
    /// The record of a node whose blocks carry `proposer`.
    #[must_use]
    pub fn new(ledger: Arc<Ledger>, proposer: Option<[u8; 32]>) -> Self {
        Self {
            ledger,
            proposer,
            outcomes: BTreeMap::new(),
            blocks: BTreeMap::new(),
            own: BTreeSet::new(),
            differing: BTreeSet::new(),
            suspects: Suspects::default(),
        }
    }

    /// The record.
    #[must_use]
    pub const fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// [`sillok_consensus::Action::Build`].
    #[must_use]
    pub fn build(&self, height: u64, round: u32) -> BuildJob {
        let mut left_out = self.suspects.left_out();
        if round >= ROUNDS_BEFORE_LEAVING_OUT {
            left_out.extend(self.blocks.values().flatten());
        }
        BuildJob {
            ledger: self.ledger.clone(),
            height,
            round,
            proposer: self.proposer.map(|key| key.to_vec()).unwrap_or_default(),
            left_out,
            empty: round >= ROUNDS_BEFORE_EMPTY,
        }
    }

    /// The answer to a build. None if no block could be built: that costs the round, not the process.
    pub fn on_built(&mut self, built: Built) -> Option<Event> {
        let Built { height, round, result } = built;
        match result {
            Ok((block, outcome)) => {
                if height == outcome.header.height && height == self.ledger.tip().height() + 1 {
                    let ids: Vec<Hash> = outcome.transactions.iter().map(|leaf| leaf.id).collect();
                    self.blocks.insert(outcome.hash, ids);
                    self.own.insert(outcome.hash);
                    self.outcomes.insert(outcome.hash, outcome);
                }
                Some(Event::Built { height, round, block: Arc::new(block) })
            }
            Err(error) => {
                tracing::error!(height, round, err = reason(&error), "no block could be built");
                None
            }
        }
    }

    /// [`sillok_consensus::Action::Validate`].
    #[must_use]
    pub fn validate(
        &self,
        request: ValidationId,
        block: Arc<v1::Block>,
        certified: bool,
    ) -> ValidateJob {
        ValidateJob { ledger: self.ledger.clone(), request, block, certified }
    }

    /// The answer to a validation.
    ///
    /// # Errors
    ///
    /// [`ApplicationError`]: the process must end.
    pub fn on_validated(&mut self, validated: Validated) -> Result<Event, ApplicationError> {
        let Validated { request, height, hash, builder, certified, proposed, result } = validated;
        // Late answers are of a height that is over.
        let current = height == self.ledger.tip().height() + 1;
        let disagrees = match &result {
            Ok(outcome) => outcome.hash != hash,
            Err(BlockError::Panicked) => true,
            Err(BlockError::Header { field, .. }) => *field == "state_root",
            Err(_) => false,
        };
        if current {
            if disagrees {
                self.suspects.failed(&proposed, &builder, height);
            }
            // Also of blocks that were refused: theirs are the ones that may have failed (PROTOCOL II.3).
            if !proposed.is_empty() {
                self.blocks.insert(hash, proposed);
                self.leave_out_if_known(hash);
            }
        }
        let verdict = match result {
            Ok(outcome) if outcome.hash == hash => {
                if current {
                    if is(Mutant::StateBeforeCertificate) {
                        self.ledger.storage.write_state(&outcome)?;
                    }
                    self.outcomes.insert(outcome.hash, outcome);
                }
                Verdict::Valid
            }
            Ok(_) => Verdict::Invalid { reason: "the header's hash differs".to_owned() },
            // The disk failed. It says nothing about a block that a quorum found valid, so it must not halt for good.
            Err(BlockError::State(fault)) if certified => {
                return Err(StorageError::Io { reason: fault.reason }.into());
            }
            Err(BlockError::State(fault)) => Verdict::NotJudged { reason: fault.reason },
            Err(error) if error.is_altered() => Verdict::Altered,
            Err(error) => Verdict::Invalid { reason: reason(&error) },
        };
        match &verdict {
            Verdict::Valid => {}
            Verdict::NotJudged { reason } => {
                tracing::error!(event = "not_judged", block = %hash, err = %reason, "the state cannot be read, so nothing is said of a proposed block; look at the disk");
            }
            Verdict::Altered | Verdict::Invalid { .. } => {
                tracing::warn!(event = "refused", block = %hash, verdict = ?verdict, "a proposed block was refused");
            }
        }
        Ok(Event::Validated { request, verdict })
    }

    /// [`sillok_consensus::Action::BuildsDiffer`]: its transactions are left out from the next proposal on.
    pub fn on_builds_differ(&mut self, header_hash: Hash) {
        if !is(Mutant::SuspectsNotLeftOut) && self.differing.insert(header_hash) {
            self.leave_out_if_known(header_hash);
        }
    }

    /// Executed or built here; what is said of a block may come before the block.
    fn leave_out_if_known(&mut self, block: Hash) {
        if let Some(ids) = self.blocks.get(&block).filter(|_| self.differing.contains(&block)) {
            self.suspects.builds_differ(ids, self.ledger.tip().height() + 1);
            self.ledger.leave_out(self.suspects.given_up());
        }
    }

    /// After a decision that ordered these transactions.
    fn end_height(&mut self, decided: &Hash, height: u64, ordered: &[Hash]) {
        let own = self.proposer;
        let blocks = std::mem::take(&mut self.blocks);
        for block in std::mem::take(&mut self.own).iter().filter(|block| *block != decided) {
            if let (Some(own), Some(ids)) = (&own, blocks.get(block)) {
                self.suspects.failed(ids, own, height);
            }
        }
        self.differing.clear();
        self.suspects.ordered(ordered);
        if is(Mutant::SuspectsNotLeftOut) {
            return;
        }
        let faulty_max = certificate::faulty_max(self.ledger.tip().validators.validators.len());
        self.suspects.decided(height, own.as_ref().map(<[u8; 32]>::as_slice), faulty_max);
        self.ledger.leave_out(self.suspects.given_up());
    }

    /// [`sillok_consensus::Action::Decide`]: persists, and says what the host is told next, in this order.
    ///
    /// # Errors
    ///
    /// [`ApplicationError`]: nothing was persisted and the process must end.
    pub fn decide(
        &mut self,
        block: &v1::Block,
        certificate: &v1::CommitCertificate,
        evidence: &[v1::Evidence],
    ) -> Result<Vec<Event>, ApplicationError> {
        let hash = header_hash(&block.header.clone().unwrap_or_default());
        let height = certificate.height;
        let kept = if is(Mutant::OutcomeReused) {
            self.outcomes.pop_first().map(|(_, outcome)| outcome)
        } else {
            self.outcomes.remove(&hash)
        };
        let outcome = match kept {
            Some(outcome) => outcome,
            // After a restart the replay may decide a block that this process never executed.
            None => self.ledger.execute(block).map_err(|error| match error {
                BlockError::State(fault) => StorageError::Io { reason: fault.reason }.into(),
                error => ApplicationError::Execution { height, reason: reason(&error) },
            })?,
        };
        let ordered: Vec<Hash> = outcome.transactions.iter().map(|leaf| leaf.id).collect();
        let tip = self.ledger.commit(&outcome, block, certificate, evidence)?;
        tracing::info!(
            event = "committed",
            height,
            round = certificate.round,
            transactions = block.transactions.len(),
            signatures = certificate.signatures.len(),
            block = %hash
        );
        for piece in evidence {
            tracing::warn!(event = "evidence", height, kind = ?piece, "a validator signed two things");
        }
        self.outcomes.clear();
        self.end_height(&hash, height, &ordered);
        // First, or the next height begins for what this block has just taken, and is empty.
        let pending = *self.ledger.watch_pending().borrow();
        Ok(vec![Event::TransactionsPending(pending), Event::Committed { next: height_start(&tip) }])
    }
}

impl BuildJob {
    /// Builds the block. What it refused is for [`Refused::drop_all`], once the block is on its way.
    #[must_use]
    pub fn run(self) -> (Built, Refused) {
        let Self { ledger, height, round, proposer, left_out, empty } = self;
        // A proposer uses max(clock, parent + 1 ms) (PROTOCOL II.1).
        let time_ms = ledger.clock().now_ms().max(ledger.tip().header.time_ms + 1);
        let (result, candidates) = match ledger.build(time_ms, &proposer, &left_out, empty) {
            Ok(BuiltBlock { built, candidates }) => {
                let refused = built.refused.into_iter().filter_map(|(index, error)| {
                    candidates.get(index).map(|pending| (pending.clone(), error))
                });
                let refused = refused.collect();
                (Ok((built.block, built.outcome)), refused)
            }
            Err(error) => (Err(error), Vec::new()),
        };
        (Built { height, round, result }, Refused { ledger, candidates })
    }
}

impl Refused {
    /// Takes out of the mempool what the committed state refuses too.
    pub fn drop_all(self) {
        for (pending, error) in &self.candidates {
            if let Err(error) = self.ledger.drop_refused(pending, error) {
                tracing::error!(err = %error, "a refused transaction could not be dropped");
            }
        }
    }
}

impl ValidateJob {
    /// Executes the block. A panic is a refusal.
    #[must_use]
    pub fn run(self) -> Validated {
        let Self { ledger, request, block, certified } = self;
        let result = ledger.execute(&block);
        let proposed = catch_unwind(AssertUnwindSafe(|| committed_to(&ledger, &block)));
        Validated {
            request,
            height: block.header.as_ref().map_or(0, |header| header.height),
            hash: header_hash(&block.header.clone().unwrap_or_default()),
            builder: block
                .header
                .as_ref()
                .map(|header| header.proposer.clone())
                .unwrap_or_default(),
            certified,
            proposed: proposed.unwrap_or_default(),
            result,
        }
    }
}

/// What is wrong with a block, without what the rule says of a DID: this goes into logs (PROTOCOL II.6).
fn reason(error: &BlockError) -> String {
    match error {
        BlockError::Transaction { index, source } => {
            format!("transaction {index}: {}", source.code())
        }
        error => error.to_string(),
    }
}

/// The ids of the transactions that the header commits to; none if the bytes beside it are others, for who changed them
/// on their way could make us leave out what was never proposed.
fn committed_to(ledger: &Ledger, block: &v1::Block) -> Vec<Hash> {
    let genesis = ledger.chain.hash();
    let leaves: Option<Vec<TransactionLeaf>> =
        block.transactions.iter().map(|one| TransactionLeaf::of(genesis, one)).collect();
    let leaves = leaves.unwrap_or_default();
    let hashes: Vec<Hash> = leaves.iter().map(TransactionLeaf::hash).collect();
    let root = merkle_log::transactions_root(&hashes);
    let named = block.header.as_ref().is_some_and(|header| header.transactions_root == root.0);
    if named { leaves.into_iter().map(|leaf| leaf.id).collect() } else { Vec::new() }
}

/// Blocks for a peer that is behind: as many as fit into `bytes_max`, one at least.
///
/// # Errors
///
/// [`StorageError`].
pub fn blocks(
    ledger: &Ledger,
    request: &v1::SyncRequest,
    bytes_max: usize,
) -> Result<v1::SyncResponse, StorageError> {
    let tip = ledger.tip().height();
    let mut response = v1::SyncResponse { tip, blocks: Vec::new() };
    let mut bytes = SYNC_ENVELOPE_BYTES;
    for nth in 0..request.blocks_max.min(SYNC_BLOCKS_MAX) {
        let Some(height) = request.from_height.checked_add(nth.into()).filter(|h| *h <= tip) else {
            break;
        };
        let (Some(block), Some(certificate)) =
            (ledger.storage.block(height)?, ledger.storage.certificate(height)?)
        else {
            break;
        };
        let decided = v1::DecidedBlock { block: Some(block), certificate: Some(certificate) };
        bytes += decided.encoded_len();
        if bytes > bytes_max && !response.blocks.is_empty() {
            break;
        }
        response.blocks.push(decided);
    }
    Ok(response)
}
