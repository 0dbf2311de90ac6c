//! Building and executing blocks: a block and its parent state in, the next state out.
//!
//! The proposer executes before it proposes and every validator executes before it prevotes, so a committed block
//! proves its own state. Both go through `Run`; they differ in what a refusal means: the proposer leaves the
//! transaction out, a validator refuses the block.

mod build;

pub use build::{Built, build_block, build_in_order};

use crate::admit::{self, Effects, Frame, Replay, SignatureVerifier};
use crate::governance::GovernanceEvent;
use crate::mutant::{self, Mutant};
use crate::overlay::LEAF_BYTES_MAX;
use crate::status::StatusEvent;
use crate::tip::Tip;
use crate::transaction::{CheckedTransaction, TransactionLeaf, write_weight};
use crate::tree::{self, NodeReader, TreeUpdate};
use crate::trust::TrustEvent;
use crate::{
    AdmissionError, BlockError, Chain, Changes, Overlay, StateFault, StateView, TreeKey,
    certificate, merkle_log,
};
use sillok_proto::{Hash, v1};
use std::collections::BTreeSet;

/// What executing a block makes: everything a node persists with it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The block's header.
    pub header: v1::Header,
    /// Its hash.
    pub hash: Hash,
    /// Leaves, documents and heads written.
    pub changes: Changes,
    /// Nodes of the state tree written and gone stale.
    pub tree: TreeUpdate,
    /// The names of the transactions, in order.
    pub transactions: Vec<TransactionLeaf>,
    /// The heads of DIDs each transaction wrote, in the order of its operations. Operations on members write none.
    pub heads: Vec<Vec<v1::Head>>,
    /// What each transaction did to members and proposals, in the order of its operations.
    pub governance: Vec<Vec<GovernanceEvent>>,
    /// What each transaction did to grants and types, with the index of the operation, in their order.
    pub trust: Vec<Vec<(usize, TrustEvent)>>,
    /// What each transaction did to status in public, in the order of its operations.
    pub status: Vec<Vec<StatusEvent>>,
    /// set(h + 2), if this block made it another one than set(h + 1).
    pub validators: Option<v1::ValidatorSet>,
    /// The figures that bind the next block, if this one changed them.
    pub parameters: Option<v1::Parameters>,
    /// What enters the replay window: names and their valid-until.
    pub replay: Vec<(Hash, u64)>,
}

/// The replay window and what this block has added so far.
struct BlockReplay<'a> {
    window: &'a crate::tip::ReplayWindow,
    block: BTreeSet<Hash>,
}

impl Replay for BlockReplay<'_> {
    fn contains(&self, name: &Hash, valid_until_ms: u64) -> bool {
        self.block.contains(name) || self.window.contains(name, valid_until_ms)
    }
}

/// A block in the making.
struct Run<'a, S: StateView + NodeReader> {
    chain: &'a Chain,
    tip: &'a Tip,
    state: &'a S,
    verifier: &'a dyn SignatureVerifier,
    time_ms: u64,
    overlay: Overlay<'a, S>,
    replay: BlockReplay<'a>,
    entries: Vec<(Hash, u64)>,
    transactions: Vec<TransactionLeaf>,
    heads: Vec<Vec<v1::Head>>,
    governance: Vec<Vec<GovernanceEvent>>,
    trust: Vec<Vec<(usize, TrustEvent)>>,
    status: Vec<Vec<StatusEvent>>,
    signature_checks: usize,
    /// Of all leaves written so far, by [`write_weight`].
    writes: usize,
}

impl<'a, S: StateView + NodeReader> Run<'a, S> {
    fn new(
        chain: &'a Chain,
        tip: &'a Tip,
        state: &'a S,
        verifier: &'a dyn SignatureVerifier,
        time_ms: u64,
    ) -> Self {
        Self {
            chain,
            tip,
            state,
            verifier,
            time_ms,
            overlay: Overlay::new(state),
            replay: BlockReplay { window: &tip.replay, block: BTreeSet::new() },
            entries: Vec::new(),
            transactions: Vec::new(),
            heads: Vec::new(),
            governance: Vec::new(),
            trust: Vec::new(),
            status: Vec::new(),
            signature_checks: 0,
            writes: 0,
        }
    }

    /// Runs a transaction. `false`, and nothing was done, if the block would then write more than `writes_max`.
    fn push(
        &mut self,
        transaction: &CheckedTransaction,
        writes_max: usize,
    ) -> Result<bool, AdmissionError> {
        let frame = Frame {
            chain: self.chain,
            height: self.tip.height().saturating_add(1),
            time_ms: self.time_ms,
            verifier: self.verifier,
            replay: &self.replay,
            recent: &self.tip.recent,
            parameters: &self.tip.parameters,
        };
        let Effects { changes, heads, governance, trust, status } =
            admit::run(&frame, &self.overlay, transaction)?;
        let mut writes = self.writes;
        for (key, value) in &changes.leaves {
            // A leaf written twice in a block is one write.
            let before = self.overlay.changes().leaves.get(key);
            let before = before.map_or(0, |value| write_weight(value.len()));
            writes = writes.saturating_sub(before).saturating_add(write_weight(value.len()));
        }
        if writes > writes_max {
            return Ok(false);
        }
        self.writes = writes;
        self.overlay.apply(changes);
        self.heads.push(heads);
        self.governance.push(governance);
        self.trust.push(trust);
        self.status.push(status);
        self.transactions.push(transaction.leaf);
        self.signature_checks = self.signature_checks.saturating_add(transaction.signature_count());
        for entry in transaction.replay_entries() {
            self.replay.block.insert(entry.0);
            self.entries.push(entry);
        }
        Ok(true)
    }

    fn check_bounds(&self) -> Result<(), BlockError> {
        let parameters = &self.tip.parameters;
        let bound = |bound, actual: usize, max: u32| {
            let max = usize::try_from(max).unwrap_or(usize::MAX);
            if actual > max { Err(BlockError::TooLarge { bound, actual, max }) } else { Ok(()) }
        };
        bound("state writes", self.writes, parameters.block_state_writes_max)?;
        bound("signature checks", self.signature_checks, parameters.block_signature_checks_max)
    }

    /// The header that follows from the parent and from what was run, and the outcome.
    fn finish(self, proposer: &[u8]) -> Result<Outcome, BlockError> {
        self.check_bounds()?;
        let changes = self.overlay.into_changes();
        let mut header = header_on(self.chain, self.tip, self.time_ms, proposer);
        let tree = tree::update(self.state, header.height, &changes.leaves)?;
        let leaves: Vec<Hash> = self.transactions.iter().map(TransactionLeaf::hash).collect();
        header.transactions_root = merkle_log::transactions_root(&leaves).to_vec();
        header.state_root = tree.root.to_vec();
        let validators = fixed_set(&changes)?.filter(|set| *set != self.tip.next_validators);
        Ok(Outcome {
            hash: certificate::header_hash(&header),
            validators,
            parameters: fixed_parameters(&changes)?,
            header,
            changes,
            tree,
            transactions: self.transactions,
            heads: self.heads,
            governance: self.governance,
            trust: self.trust,
            status: self.status,
            replay: self.entries,
        })
    }
}

/// The set in the leaf of the members, if the block wrote it.
fn fixed_set(changes: &Changes) -> Result<Option<v1::ValidatorSet>, StateFault> {
    let Some(leaf) = changes.leaves.get(&TreeKey::members()) else { return Ok(None) };
    let members: v1::Members = sillok_proto::decode(leaf, LEAF_BYTES_MAX)
        .map_err(|error| StateFault::new(format!("the members do not decode: {error}")))?;
    Ok(members.validators)
}

/// The figures in their leaf, if the block wrote it.
fn fixed_parameters(changes: &Changes) -> Result<Option<v1::Parameters>, StateFault> {
    let Some(leaf) = changes.leaves.get(&TreeKey::parameters()) else { return Ok(None) };
    let parameters = sillok_proto::decode(leaf, LEAF_BYTES_MAX)
        .map_err(|error| StateFault::new(format!("the parameters do not decode: {error}")))?;
    Ok(Some(parameters))
}

/// The header of a block on `tip`, but for what its transactions decide: their root, and the state after them.
fn header_on(chain: &Chain, tip: &Tip, time_ms: u64, proposer: &[u8]) -> v1::Header {
    v1::Header {
        protocol_version: chain.genesis().protocol_version,
        genesis_hash: chain.hash().to_vec(),
        height: tip.height().saturating_add(1),
        time_ms,
        parent_hash: tip.hash.to_vec(),
        transactions_root: Vec::new(),
        state_root: Vec::new(),
        history_root: tip.history.root().to_vec(),
        validator_set_hash: certificate::validator_set_hash(&tip.validators).to_vec(),
        next_validator_set_hash: certificate::validator_set_hash(&tip.next_validators).to_vec(),
        proposer: proposer.to_vec(),
    }
}

/// Time and proposer, the two fields of a header that follow from nothing.
fn check_origin(tip: &Tip, time_ms: u64, proposer: &[u8]) -> Result<(), BlockError> {
    if time_ms <= tip.header.time_ms {
        return Err(BlockError::Time { time_ms, parent_ms: tip.header.time_ms });
    }
    if !tip.validators.validators.iter().any(|validator| validator.public_key == proposer) {
        return Err(BlockError::Proposer { height: tip.height().saturating_add(1) });
    }
    Ok(())
}

/// Executes a block on its parent state.
///
/// # Errors
///
/// [`BlockError`]: the first rule broken, or a storage fault, which says nothing about the block.
pub fn execute_block<S: StateView + NodeReader>(
    chain: &Chain,
    tip: &Tip,
    state: &S,
    verifier: &dyn SignatureVerifier,
    block: &v1::Block,
) -> Result<Outcome, BlockError> {
    let header = block.header.as_ref().ok_or(BlockError::MissingHeader)?;
    check_parts(chain, header, block)?;
    let follows = header_on(chain, tip, header.time_ms, &header.proposer);
    compare(header, &follows)?;
    check_origin(tip, header.time_ms, &header.proposer)?;
    let len = prost::Message::encoded_len(block);
    let max = usize::try_from(tip.parameters.block_bytes_max).unwrap_or(usize::MAX);
    if len > max {
        return Err(BlockError::TooLarge { bound: "bytes", actual: len, max });
    }
    let mut run = Run::new(chain, tip, state, verifier, header.time_ms);
    for (index, transaction) in block.transactions.iter().enumerate() {
        let refuse = |source| match source {
            AdmissionError::State(fault) => BlockError::State(fault),
            source => BlockError::Transaction { index, source },
        };
        let checked = CheckedTransaction::check(chain.hash(), transaction).map_err(refuse)?;
        // No bound here: one more than there may be is what `check_bounds` names.
        run.push(&checked, usize::MAX).map_err(refuse)?;
        run.check_bounds()?;
    }
    let outcome = run.finish(&header.proposer)?;
    if header.state_root != outcome.header.state_root {
        let (expected, actual) = (&outcome.header.state_root, &header.state_root);
        return Err(mismatch("state_root", hex::encode(expected), hex::encode(actual)));
    }
    Ok(outcome)
}

/// The transactions are those the header commits to, and their parts those that they name. First of all: bytes that
/// were changed on their way say nothing about the block of that header. Even its length: who passes a block on could
/// pad it, and a certified block that counts as invalid stops the node.
fn check_parts(chain: &Chain, header: &v1::Header, block: &v1::Block) -> Result<(), BlockError> {
    let leaves: Option<Vec<Hash>> = block
        .transactions
        .iter()
        .map(|transaction| TransactionLeaf::of(chain.hash(), transaction).map(|leaf| leaf.hash()))
        .collect();
    let actual = leaves.map(|leaves| merkle_log::transactions_root(&leaves));
    if actual.is_none_or(|actual| header.transactions_root != actual.0) {
        let actual = actual.map_or_else(
            || "nothing, for a transaction has no body".to_owned(),
            |root| root.to_string(),
        );
        return Err(mismatch("transactions_root", actual, hex::encode(&header.transactions_root)));
    }
    for (index, transaction) in block.transactions.iter().enumerate() {
        CheckedTransaction::check_parts(transaction)
            .map_err(|source| BlockError::Transaction { index, source })?;
    }
    Ok(())
}

fn mismatch(field: &'static str, expected: impl ToString, actual: impl ToString) -> BlockError {
    BlockError::Header { field, expected: expected.to_string(), actual: actual.to_string() }
}

/// The fields that follow from the parent alone: compared before anything is executed.
fn compare(actual: &v1::Header, expected: &v1::Header) -> Result<(), BlockError> {
    let numbers = [
        (
            "protocol_version",
            u64::from(actual.protocol_version),
            u64::from(expected.protocol_version),
        ),
        ("height", actual.height, expected.height),
    ];
    for (field, actual, expected) in numbers {
        if actual != expected {
            return Err(mismatch(field, expected, actual));
        }
    }
    let hashes = [
        ("genesis_hash", &actual.genesis_hash, &expected.genesis_hash),
        ("parent_hash", &actual.parent_hash, &expected.parent_hash),
        ("history_root", &actual.history_root, &expected.history_root),
        ("validator_set_hash", &actual.validator_set_hash, &expected.validator_set_hash),
        (
            "next_validator_set_hash",
            &actual.next_validator_set_hash,
            &expected.next_validator_set_hash,
        ),
    ];
    for (field, actual, expected) in hashes {
        if actual != expected {
            return Err(mismatch(field, hex::encode(expected), hex::encode(actual)));
        }
    }
    Ok(())
}

impl Tip {
    /// Moves on to the block that `outcome` is of.
    ///
    /// # Errors
    ///
    /// [`StateFault`] if the history log is full, which takes 2^63 blocks.
    pub fn advance(&mut self, outcome: &Outcome) -> Result<Vec<merkle_log::LogNode>, StateFault> {
        let nodes = self
            .history
            .append(merkle_log::HistoryHasher::leaf(&outcome.hash.0))
            .map_err(|error| StateFault::new(error.to_string()))?;
        self.header = outcome.header.clone();
        self.hash = outcome.hash;
        self.validators = self.next_validators.clone();
        if let Some(set) = &outcome.validators {
            self.next_validators = set.clone();
            if mutant::is(Mutant::MembershipOneHeightEarly) {
                self.validators = set.clone();
            }
        }
        let changed = outcome.parameters.as_ref();
        if let Some(parameters) = changed.filter(|_| !mutant::is(Mutant::FiguresOfGenesis)) {
            self.parameters = parameters.clone();
        }
        for (name, valid_until_ms) in &outcome.replay {
            self.replay.insert(*name, *valid_until_ms);
        }
        self.replay.advance(self.header.time_ms);
        self.recent.record(&self.header, self.hash);
        Ok(nodes)
    }
}
