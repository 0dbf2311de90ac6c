//! What a node keeps of the record, and how it lies on a disk of ordered keys.
//!
//! One atomic synced write for each block: block, certificate, header, leaves, tree nodes, documents, heads, indexes
//! and the tip. After `kill -9` at any byte the node is at the last committed block. Reads name a height and run while
//! later blocks are committed: nothing that a retained height needs is overwritten.
//!
//! The disk itself is [`key_value::KeyValue`]: RocksDB (`rocks`, the only module that knows it), or memory in tests and
//! in the simulated world.
//!
//! Not here: what any of it means. The votes of the height being decided are in the signing record, beside their key.

pub mod key_value;
pub mod memory;
mod proposals;
mod pruning;
pub(crate) mod rocks;
pub(crate) mod snapshot;

use key_value::{Batch, KeyValue, MemoryUse};
use prost::Message;
use sillok_ledger::merkle_log::{
    self, Frontier, HistoryHasher, LogError, LogNode, TransactionHasher,
};
use sillok_ledger::mutant::{Mutant, is};
use sillok_ledger::proposers::{RECENT_MAX, Recent};
use sillok_ledger::snapshot::{latest_parameters, window_start_ms};
use sillok_ledger::tree::{self, NodeReader};
use sillok_ledger::{
    Chain, CheckedTransaction, Outcome, ReplayWindow, StateFault, StateView, StatusEvent, Tip,
    TransactionLeaf, TreeKey, TrustEvent, header_hash, validator_set_hash,
};
use sillok_proto::{Hash, encode, v1};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest stored message this node will read back, in bytes. Larger than any block.
const STORED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Memory of the database, in bytes, where the operator says nothing else.
pub const MEMORY_BYTES: usize = 128 * 1024 * 1024;

const META: &str = "meta";
const BLOCKS: &str = "blocks";
const CERTIFICATES: &str = "certificates";
const HEADERS: &str = "headers";
const EVENTS: &str = "events";
/// Leaf → version ‖ value: the newest.
const LEAVES: &str = "leaves";
/// Leaf ‖ inverted version → value: those before.
const OLD_LEAVES: &str = "old-leaves";
const NODES: &str = "nodes";
/// Version from which on a node is stale ‖ node key → nothing.
const STALE_NODES: &str = "stale-nodes";
const DOCUMENTS: &str = "documents";
const HEADS: &str = "heads";
/// Transaction id → height ‖ index.
const TRANSACTIONS: &str = "transactions";
/// Level ‖ index → hash of a full subtree of the header log.
const HISTORY: &str = "history";
const EVIDENCE: &str = "evidence";
/// Transaction id → valid-until ‖ problem.
const REFUSALS: &str = "refusals";
/// Hash of a validator set → the set.
const SETS: &str = "validator-sets";
/// Height whose header names another set for the next height → nothing.
const SET_CHANGES: &str = "set-changes";
/// Version from which on an old value is of no use ‖ its key among the old leaves → nothing.
const STALE_LEAVES: &str = "stale-leaves";
/// How far an unfinished snapshot has come.
const JOINING: &str = "joining";
const FAMILIES: [&str; 19] = [
    META,
    BLOCKS,
    CERTIFICATES,
    HEADERS,
    EVENTS,
    LEAVES,
    OLD_LEAVES,
    NODES,
    STALE_NODES,
    DOCUMENTS,
    HEADS,
    TRANSACTIONS,
    HISTORY,
    EVIDENCE,
    REFUSALS,
    SETS,
    SET_CHANGES,
    STALE_LEAVES,
    JOINING,
];

const KEY_GENESIS: &[u8] = b"genesis-hash";
const KEY_HEIGHT: &[u8] = b"height";
const KEY_FRONTIER: &[u8] = b"frontier";
/// Hash of the latest set that is fixed: set(height + 2).
const KEY_LATEST_SET: &[u8] = b"latest-set";
/// The lowest height whose state was ever here: that of the snapshot the node began with.
const KEY_STATE_FROM: &[u8] = b"state-from";
/// The lowest height whose block is here.
const KEY_BLOCKS_FROM: &[u8] = b"blocks-from";

/// The machine is wrong: disk, permissions, or files of another network.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The database cannot be opened.
    #[error(
        "the database in {path} cannot be opened ({reason}); check the disk, its permissions and that no other node uses it"
    )]
    Open {
        /// Directory of the database.
        path: PathBuf,
        /// What RocksDB says.
        reason: String,
    },
    /// A read or write failed.
    #[error("the database failed ({reason}); check the disk and start the node again")]
    Io {
        /// What RocksDB says.
        reason: String,
    },
    /// What is stored contradicts itself.
    #[error(
        "the database is damaged ({reason}); restore the data directory, or remove it and let the node fetch the record again"
    )]
    Damaged {
        /// What does not fit.
        reason: String,
    },
    /// The database is of another network.
    #[error(
        "the database belongs to genesis {stored}, the configuration names {configured}; use another data directory"
    )]
    OtherNetwork {
        /// Genesis hash in the database.
        stored: Hash,
        /// Genesis hash of the configuration.
        configured: Hash,
    },
}

impl From<LogError> for StorageError {
    fn from(error: LogError) -> Self {
        Self::Damaged { reason: error.to_string() }
    }
}

impl From<StorageError> for StateFault {
    fn from(error: StorageError) -> Self {
        Self::new(error.to_string())
    }
}

fn damaged(reason: impl Into<String>) -> StorageError {
    StorageError::Damaged { reason: reason.into() }
}

/// How much of the past a node keeps. Headers, heads and documents every node keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// Everything: any height can be proved.
    Archive,
    /// All blocks, and the state of this many last heights.
    Blocks(u64),
    /// Blocks, events and state of this many last heights; the blocks of the replay window in any case.
    Heights(u64),
}

/// What each transaction of a block wrote, for the event stream.
#[derive(Clone, PartialEq, Message)]
pub struct BlockEvents {
    /// One for each transaction.
    #[prost(message, repeated, tag = "1")]
    pub transactions: Vec<TransactionEvents>,
}

/// What each operation of a transaction wrote.
#[derive(Clone, PartialEq, Message)]
pub struct TransactionEvents {
    /// Transaction id.
    #[prost(bytes = "vec", tag = "1")]
    pub id: Vec<u8>,
    /// One for each operation on a DID.
    #[prost(message, repeated, tag = "2")]
    pub heads: Vec<v1::Head>,
    /// What operations wrote of grants and lists, by ascending operation; those that wrote none are not here.
    #[prost(message, repeated, tag = "3")]
    pub written: Vec<OperationEvent>,
}

/// What an operation wrote of grants and lists.
#[derive(Clone, PartialEq, Message)]
pub struct OperationEvent {
    /// Index in the body.
    #[prost(uint32, tag = "1")]
    pub operation: u32,
    /// What became of a grant.
    #[prost(message, optional, tag = "2")]
    pub grant: Option<v1::GrantChange>,
    /// The chunks that changed, by ascending list.
    #[prost(message, repeated, tag = "3")]
    pub changed: Vec<v1::ChangedChunks>,
}

/// A refusal remembered until valid-until: one node's word.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// Ledger time until which the transaction could have been ordered, in milliseconds.
    pub valid_until_ms: u64,
    /// The rule; `None` when the time simply passed.
    pub problem: Option<v1::Problem>,
}

/// Leaves with their values, ascending.
pub type Leaves = Vec<(TreeKey, Vec<u8>)>;

/// The database of one node.
#[derive(Debug, Clone)]
pub struct Storage {
    disk: Arc<dyn KeyValue>,
    retention: Retention,
}

fn height_key(height: u64) -> [u8; 8] {
    height.to_be_bytes()
}

fn be_u64(bytes: &[u8]) -> Option<u64> {
    bytes.get(..8)?.try_into().ok().map(u64::from_be_bytes)
}

impl Storage {
    /// Opens the database in `path`, making it if there is none, and writes the genesis state into a new one. It holds
    /// [`MEMORY_BYTES`] of memory at most.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn open(path: &Path, chain: &Chain, retention: Retention) -> Result<Self, StorageError> {
        Self::open_within(path, MEMORY_BYTES, chain, retention)
    }

    /// [`Storage::open`] with another bound for memory, in bytes.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn open_within(
        path: &Path,
        memory_bytes: usize,
        chain: &Chain,
        retention: Retention,
    ) -> Result<Self, StorageError> {
        Self::over(Arc::new(rocks::Rocks::open(path, memory_bytes)?), chain, retention)
    }

    /// The record on `disk`; writes the genesis state if the disk is empty.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn over(
        disk: Arc<dyn KeyValue>,
        chain: &Chain,
        retention: Retention,
    ) -> Result<Self, StorageError> {
        let storage = Self { disk, retention };
        match storage.get(META, KEY_GENESIS)? {
            None => storage.write_genesis(chain)?,
            Some(stored) => {
                let stored = Hash::from_slice(&stored)
                    .ok_or_else(|| damaged("the stored genesis hash has another length"))?;
                if stored != *chain.hash() {
                    return Err(StorageError::OtherNetwork { stored, configured: *chain.hash() });
                }
            }
        }
        Ok(storage)
    }

    fn get(&self, family: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.disk.get(family, key)
    }

    fn message<M: Message + Default>(
        &self,
        family: &'static str,
        key: &[u8],
    ) -> Result<Option<M>, StorageError> {
        let Some(bytes) = self.get(family, key)? else { return Ok(None) };
        sillok_proto::decode(&bytes, STORED_BYTES_MAX)
            .map(Some)
            .map_err(|error| damaged(format!("an entry of {family} does not decode: {error}")))
    }

    fn write_genesis(&self, chain: &Chain) -> Result<(), StorageError> {
        let state = chain.state();
        let tree =
            tree::update(&EmptyTree, 0, &state.leaves).map_err(|e| damaged(e.to_string()))?;
        let tip = Tip::genesis(chain, tree.root).map_err(|error| damaged(error.to_string()))?;
        let mut batch = Batch::default();
        put_tree(&mut batch, &tree);
        for (key, value) in &state.leaves {
            batch.put(LEAVES, key.0, versioned(0, value));
        }
        for (hash, document) in &state.documents {
            batch.put(DOCUMENTS, hash.0, encode(document));
        }
        for (hash, head) in &state.heads {
            batch.put(HEADS, hash.0, encode(head));
        }
        let leaf = LogNode { level: 0, index: 0, hash: HistoryHasher::leaf(&tip.hash.0) };
        put_history(&mut batch, &[leaf]);
        put_tip(&mut batch, &tip);
        batch.put(META, KEY_GENESIS, chain.hash().0);
        self.disk.write(batch, true)
    }

    /// The state after a block: tree nodes, leaves with those before them, documents and heads.
    fn put_state(&self, batch: &mut Batch, outcome: &Outcome) -> Result<(), StorageError> {
        let height = outcome.header.height;
        put_tree(batch, &outcome.tree);
        for (leaf, value) in &outcome.changes.leaves {
            if let Some(before) = self.get(LEAVES, &leaf.0)? {
                let version = be_u64(&before).ok_or_else(|| damaged("a leaf has no version"))?;
                let old = old_leaf_key(leaf, version);
                if self.retention != Retention::Archive {
                    batch.put(STALE_LEAVES, [&height_key(height)[..], &old].concat(), []);
                }
                batch.put(OLD_LEAVES, old, &before[8..]);
            }
            batch.put(LEAVES, leaf.0, versioned(height, value));
        }
        for (hash, document) in &outcome.changes.documents {
            batch.put(DOCUMENTS, hash.0, encode(document));
        }
        for (hash, head) in &outcome.changes.heads {
            batch.put(HEADS, hash.0, encode(head));
        }
        Ok(())
    }

    /// Writes the state after a block and nothing else: a bug to be noticed (`Mutant::StateBeforeCertificate`).
    pub(crate) fn write_state(&self, outcome: &Outcome) -> Result<(), StorageError> {
        let mut batch = Batch::default();
        self.put_state(&mut batch, outcome)?;
        self.disk.write(batch, true)
    }

    /// Persists a decided block in one atomic synced write. `tip` is the tip after it, `history` the nodes of the
    /// header log that it completed.
    ///
    /// # Errors
    ///
    /// [`StorageError`]: then nothing was written, and the process must not go on as if it had been.
    pub fn commit(
        &self,
        tip: &Tip,
        outcome: &Outcome,
        block: &v1::Block,
        certificate: &v1::CommitCertificate,
        history: &[LogNode],
        evidence: &[v1::Evidence],
    ) -> Result<(), StorageError> {
        let height = outcome.header.height;
        let key = height_key(height);
        let mut batch = Batch::default();
        batch.put(BLOCKS, key, encode(block));
        batch.put(CERTIFICATES, key, encode(certificate));
        self.put_state(&mut batch, outcome)?;
        let mut events = BlockEvents::default();
        let transactions = outcome.transactions.iter().zip(&outcome.heads);
        for (place_in_block, (leaf, heads)) in transactions.enumerate() {
            let index = u32::try_from(place_in_block).unwrap_or(u32::MAX);
            let place = [&key[..], &index.to_be_bytes()].concat();
            batch.put(TRANSACTIONS, leaf.id.0, place);
            batch.delete(REFUSALS, leaf.id.0);
            events.transactions.push(TransactionEvents {
                id: leaf.id.to_vec(),
                heads: heads.clone(),
                written: written_by(outcome, place_in_block),
            });
        }
        batch.put(EVENTS, key, encode(&events));
        for (index, one) in evidence.iter().enumerate() {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            batch.put(EVIDENCE, [&key[..], &index.to_be_bytes()].concat(), encode(one));
        }
        put_history(&mut batch, history);
        put_tip(&mut batch, tip);
        self.prune(&mut batch, &tip.header)?;
        self.disk.write(batch, !is(Mutant::CommitNotDurable))
    }

    /// Height of the last committed block; 0 before the first.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn height(&self) -> Result<u64, StorageError> {
        let bytes = self.get(META, KEY_HEIGHT)?.ok_or_else(|| damaged("the tip is missing"))?;
        be_u64(&bytes).ok_or_else(|| damaged("the tip has another length"))
    }

    /// Rebuilds the tip from what is stored.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn load_tip(&self, chain: &Chain) -> Result<Tip, StorageError> {
        let height = self.height()?;
        let header = self.header(height)?.ok_or_else(|| damaged("the tip's header is missing"))?;
        let frontier =
            self.get(META, KEY_FRONTIER)?.ok_or_else(|| damaged("the header log is missing"))?;
        let history = Frontier::<HistoryHasher>::decode(&frontier)
            .map_err(|error| damaged(error.to_string()))?;
        let latest =
            self.get(META, KEY_LATEST_SET)?.ok_or_else(|| damaged("the latest set is missing"))?;
        let mut recent = Recent::new();
        for past in height.saturating_sub(RECENT_MAX - 1).max(1)..=height {
            let header =
                self.header(past)?.ok_or_else(|| damaged(format!("header {past} is missing")))?;
            recent.record(&header, header_hash(&header));
        }
        Ok(Tip {
            hash: header_hash(&header),
            validators: self.known_set(&header.next_validator_set_hash)?,
            next_validators: self.known_set(&latest)?,
            parameters: self.load_parameters(header.height)?,
            history,
            recent,
            replay: self.load_replay(chain, &header)?,
            header,
        })
    }

    /// The figures in their leaf after a height.
    fn load_parameters(&self, height: u64) -> Result<v1::Parameters, StorageError> {
        let leaf = self.at(height).leaf(&TreeKey::parameters());
        let leaf = leaf.map_err(|fault| damaged(fault.reason))?;
        let leaf = leaf.ok_or_else(|| damaged("the leaf of the parameters is missing"))?;
        latest_parameters(height, &leaf).map_err(|error| damaged(error.to_string()))
    }

    /// What was ordered within the window before the tip: the blocks hold it.
    fn load_replay(&self, chain: &Chain, tip: &v1::Header) -> Result<ReplayWindow, StorageError> {
        let mut replay = ReplayWindow::default();
        let start = window_start_ms(tip.time_ms);
        let mut height = tip.height;
        while height > 0 {
            // The block before the window may be pruned, its header is not.
            if self.header(height)?.is_none_or(|header| header.time_ms < start) {
                break;
            }
            let block =
                self.block(height)?.ok_or_else(|| damaged(format!("block {height} is missing")))?;
            for transaction in &block.transactions {
                let checked = CheckedTransaction::check(chain.hash(), transaction)
                    .map_err(|error| damaged(format!("block {height}: {error}")))?;
                for (name, valid_until_ms) in checked.replay_entries() {
                    replay.insert(name, valid_until_ms);
                }
            }
            height -= 1;
        }
        replay.advance(tip.time_ms);
        Ok(replay)
    }

    /// A validator set that was ever in force, by its hash.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn validator_set(&self, hash: &Hash) -> Result<Option<v1::ValidatorSet>, StorageError> {
        self.message(SETS, &hash.0)
    }

    fn known_set(&self, hash: &[u8]) -> Result<v1::ValidatorSet, StorageError> {
        Hash::from_slice(hash)
            .map_or(Ok(None), |hash| self.validator_set(&hash))?
            .ok_or_else(|| damaged("a validator set in force is missing"))
    }

    /// The heights from `from` on whose header names another set for the next height, ascending, at most `count`.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn set_changes(&self, from: u64, count: usize) -> Result<Vec<u64>, StorageError> {
        let mut heights = Vec::new();
        self.disk.scan(SET_CHANGES, &height_key(from), &mut |key, _| {
            heights.extend(be_u64(key));
            heights.len() < count
        })?;
        heights.truncate(count);
        Ok(heights)
    }

    /// The header of a height.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn header(&self, height: u64) -> Result<Option<v1::Header>, StorageError> {
        self.message(HEADERS, &height_key(height))
    }

    /// The block of a height.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn block(&self, height: u64) -> Result<Option<v1::Block>, StorageError> {
        self.message(BLOCKS, &height_key(height))
    }

    /// The certificate of a height.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn certificate(&self, height: u64) -> Result<Option<v1::CommitCertificate>, StorageError> {
        self.message(CERTIFICATES, &height_key(height))
    }

    /// The header of a height with its certificate.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn signed_header(&self, height: u64) -> Result<Option<v1::SignedHeader>, StorageError> {
        let (Some(header), Some(certificate)) = (self.header(height)?, self.certificate(height)?)
        else {
            return Ok(None);
        };
        Ok(Some(v1::SignedHeader { header: Some(header), certificate: Some(certificate) }))
    }

    /// What the transactions of a height wrote.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn events(&self, height: u64) -> Result<Option<BlockEvents>, StorageError> {
        self.message(EVENTS, &height_key(height))
    }

    /// A head by its hash.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn head(&self, hash: &Hash) -> Result<Option<v1::Head>, StorageError> {
        self.message(HEADS, &hash.0)
    }

    /// A document by its hash.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn document(&self, hash: &Hash) -> Result<Option<v1::DidDocument>, StorageError> {
        self.message(DOCUMENTS, &hash.0)
    }

    /// Height and index of a committed transaction.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn transaction(&self, id: &Hash) -> Result<Option<(u64, u32)>, StorageError> {
        let Some(place) = self.get(TRANSACTIONS, &id.0)? else { return Ok(None) };
        let index = place.get(8..12).and_then(|bytes| bytes.try_into().ok());
        match (be_u64(&place), index) {
            (Some(height), Some(index)) => Ok(Some((height, u32::from_be_bytes(index)))),
            _ => Err(damaged("the place of a transaction has another length")),
        }
    }

    /// The proof that a committed transaction stands in its block.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn receipt(
        &self,
        genesis: &Hash,
        height: u64,
        index: u32,
    ) -> Result<Option<v1::Receipt>, StorageError> {
        let (Some(block), Some(signed_header)) = (self.block(height)?, self.signed_header(height)?)
        else {
            return Ok(None);
        };
        let leaves: Vec<TransactionLeaf> = block
            .transactions
            .iter()
            .filter_map(|transaction| TransactionLeaf::of(genesis, transaction))
            .collect();
        let position = usize::try_from(index).unwrap_or(usize::MAX);
        let Some(leaf) = leaves.get(position) else { return Ok(None) };
        let hashes: Vec<Hash> = leaves.iter().map(TransactionLeaf::hash).collect();
        let path =
            sillok_ledger::merkle_log::path_among::<TransactionHasher>(&hashes, index.into())
                .map_err(|error| damaged(error.to_string()))?;
        Ok(Some(v1::Receipt {
            signed_header: Some(signed_header),
            transaction_id: leaf.id.to_vec(),
            signatures_hash: leaf.signatures.to_vec(),
            private_signatures_hash: leaf.private_signatures.to_vec(),
            path: Some(path),
        }))
    }

    /// A full subtree of the header log.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn history_node(&self, level: u32, index: u64) -> Result<Option<Hash>, StorageError> {
        Ok(self
            .get(HISTORY, &history_key(level, index))?
            .and_then(|bytes| Hash::from_slice(&bytes)))
    }

    /// The proof that the header of `height` is an ancestor of the one of `at_height`. `None` if either is not there.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn history_proof(
        &self,
        height: u64,
        at_height: u64,
    ) -> Result<Option<v1::HistoryProof>, StorageError> {
        if height >= at_height {
            return Ok(None);
        }
        let (Some(header), Some(signed_header)) =
            (self.header(height)?, self.signed_header(at_height)?)
        else {
            return Ok(None);
        };
        // The log of a header holds all headers before it, so heights are indexes and its own height is the size.
        let path =
            merkle_log::path::<HistoryHasher, StorageError>(height, at_height, |level, index| {
                self.history_node(level, index)?
                    .ok_or_else(|| damaged("a node of the header log is missing"))
            })?;
        Ok(Some(v1::HistoryProof {
            signed_header: Some(signed_header),
            header: Some(header),
            path: Some(path),
        }))
    }

    /// Evidence of misbehavior recorded with the blocks from `height` on, each with that block's height: whole blocks'
    /// until there are `count` pieces.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn evidence(
        &self,
        height: u64,
        count: usize,
    ) -> Result<Vec<(u64, v1::Evidence)>, StorageError> {
        let mut found: Vec<(u64, Vec<u8>)> = Vec::new();
        self.disk.scan(EVIDENCE, &height_key(height), &mut |key, bytes| {
            let Some(height) = be_u64(key) else { return true };
            let full = found.len() >= count;
            if full && found.last().is_some_and(|(last, _)| *last != height) {
                return false;
            }
            found.push((height, bytes.to_vec()));
            true
        })?;
        let read = |(height, bytes): &(u64, Vec<u8>)| {
            Ok((*height, sillok_proto::decode(bytes, STORED_BYTES_MAX)?))
        };
        found
            .iter()
            .map(read)
            .collect::<Result<_, sillok_proto::CanonicalError>>()
            .map_err(|error| damaged(error.to_string()))
    }

    /// Remembers that this node refused a transaction. Not synced: it is one node's word.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn put_refusal(&self, id: &Hash, refusal: &Refusal) -> Result<(), StorageError> {
        let mut value = refusal.valid_until_ms.to_be_bytes().to_vec();
        if let Some(problem) = &refusal.problem {
            value.extend_from_slice(&encode(problem));
        }
        let mut batch = Batch::default();
        batch.put(REFUSALS, id.0, value);
        self.disk.write(batch, false)
    }

    /// What this node said of a transaction it refused.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn refusal(&self, id: &Hash) -> Result<Option<Refusal>, StorageError> {
        let Some(value) = self.get(REFUSALS, &id.0)? else { return Ok(None) };
        let valid_until_ms = be_u64(&value).ok_or_else(|| damaged("a refusal has no time"))?;
        let problem = match &value[8..] {
            [] => None,
            bytes => Some(
                sillok_proto::decode(bytes, STORED_BYTES_MAX)
                    .map_err(|error| damaged(error.to_string()))?,
            ),
        };
        Ok(Some(Refusal { valid_until_ms, problem }))
    }

    /// Drops refusals that nobody needs any more: past valid-until the answer is EXPIRED anyway.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn sweep_refusals(&self, time_ms: u64) -> Result<usize, StorageError> {
        let mut batch = Batch::default();
        self.disk.scan(REFUSALS, &[], &mut |key, value| {
            if be_u64(value).is_none_or(|end| end < time_ms) {
                batch.delete(REFUSALS, key);
            }
            true
        })?;
        let swept = batch.writes.len();
        self.disk.write(batch, false)?;
        Ok(swept)
    }

    /// The state at a committed height.
    #[must_use]
    pub fn at(&self, height: u64) -> StateAt<'_> {
        StateAt { storage: self, height }
    }

    /// Memory that the database holds now.
    #[must_use]
    pub fn memory(&self) -> MemoryUse {
        self.disk.memory()
    }

    /// Writes everything in memory to files, for a graceful stop.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn flush(&self) -> Result<(), StorageError> {
        self.disk.flush()
    }
}

/// What the operations of one transaction wrote of grants and lists.
fn written_by(outcome: &Outcome, transaction: usize) -> Vec<OperationEvent> {
    let mut written: BTreeMap<u32, OperationEvent> = BTreeMap::new();
    let mut of = |operation: usize, write: &dyn Fn(&mut OperationEvent)| {
        let operation = u32::try_from(operation).unwrap_or(u32::MAX);
        let empty = OperationEvent { operation, ..OperationEvent::default() };
        write(written.entry(operation).or_insert(empty));
    };
    for (operation, event) in outcome.trust.get(transaction).into_iter().flatten() {
        if let Some(grant) = grant_change(event) {
            of(*operation, &|written| written.grant = Some(grant.clone()));
        }
    }
    for event in outcome.status.get(transaction).into_iter().flatten() {
        let (operation, chunks) = match event {
            StatusEvent::StatusSet { operation, list, chunks, .. } => {
                (*operation, chunks.iter().map(|chunk| (*list, *chunk)).collect())
            }
            StatusEvent::EnrollmentSet { operation, chunks, .. } => (*operation, chunks.clone()),
            _ => continue,
        };
        let mut lists: BTreeMap<Hash, BTreeSet<u32>> = BTreeMap::new();
        for (list, chunk) in chunks {
            lists.entry(list).or_default().insert(chunk);
        }
        of(operation, &|written| {
            let changed = lists.iter().map(|(list, chunks)| v1::ChangedChunks {
                list: list.to_vec(),
                chunks: chunks.iter().copied().collect(),
            });
            written.changed = changed.collect();
        });
    }
    written.retain(|_, written| written.grant.is_some() || !written.changed.is_empty());
    written.into_values().collect()
}

/// What an event says of a grant; `None` for one about a type.
fn grant_change(event: &TrustEvent) -> Option<v1::GrantChange> {
    let resource = |resource: &Option<Hash>| resource.map(|name| name.to_vec()).unwrap_or_default();
    Some(match event {
        TrustEvent::Accredited { organization, action, resource: on, period } => v1::GrantChange {
            organization: organization.to_vec(),
            action: (*action).into(),
            resource: resource(on),
            period: Some(period.clone()),
            ended_ms: 0,
        },
        TrustEvent::Withdrawn { organization, action, resource: on, at_ms, .. } => {
            v1::GrantChange {
                organization: organization.to_vec(),
                action: (*action).into(),
                resource: resource(on),
                period: None,
                ended_ms: *at_ms,
            }
        }
        _ => return None,
    })
}

fn put_tree(batch: &mut Batch, tree: &tree::TreeUpdate) {
    for (key, node) in &tree.nodes {
        batch.put(NODES, key.as_slice(), node.as_slice());
    }
    for key in &tree.stale {
        batch.put(STALE_NODES, [&height_key(tree.version), key.as_slice()].concat(), []);
    }
}

fn put_history(batch: &mut Batch, nodes: &[LogNode]) {
    for node in nodes {
        batch.put(HISTORY, history_key(node.level, node.index), node.hash.0);
    }
}

fn put_tip(batch: &mut Batch, tip: &Tip) {
    let height = height_key(tip.height());
    batch.put(HEADERS, height, encode(&tip.header));
    batch.put(META, KEY_HEIGHT, height);
    batch.put(META, KEY_FRONTIER, tip.history.encode());
    let next = validator_set_hash(&tip.next_validators);
    batch.put(META, KEY_LATEST_SET, next.0);
    // Most blocks change no set, and then these two are written already.
    if tip.height() == 0 || tip.header.validator_set_hash != next.0 {
        batch.put(SETS, next.0, encode(&tip.next_validators));
        batch.put(SETS, validator_set_hash(&tip.validators).0, encode(&tip.validators));
    }
    if tip.header.validator_set_hash != tip.header.next_validator_set_hash {
        batch.put(SET_CHANGES, height, []);
    }
}

fn versioned(version: u64, value: &[u8]) -> Vec<u8> {
    [&version.to_be_bytes()[..], value].concat()
}

fn old_leaf_key(leaf: &TreeKey, version: u64) -> Vec<u8> {
    // Inverted, so that a forward seek finds the newest version not above the one asked for.
    [&leaf.0[..], &(!version).to_be_bytes()].concat()
}

fn history_key(level: u32, index: u64) -> Vec<u8> {
    [&level.to_be_bytes()[..], &index.to_be_bytes()].concat()
}

/// Nothing: what the tree of version 0 starts from.
struct EmptyTree;

impl NodeReader for EmptyTree {
    fn node(&self, _key: &[u8]) -> Result<Option<Vec<u8>>, StateFault> {
        Ok(None)
    }

    fn value(&self, _key: &TreeKey, _max_version: u64) -> Result<Option<Vec<u8>>, StateFault> {
        Ok(None)
    }
}

/// The state at one committed height: stays what it is while later blocks are committed.
#[derive(Debug, Clone, Copy)]
pub struct StateAt<'a> {
    storage: &'a Storage,
    height: u64,
}

impl StateAt<'_> {
    /// The height.
    #[must_use]
    pub const fn height(&self) -> u64 {
        self.height
    }
}

impl NodeReader for StateAt<'_> {
    fn node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateFault> {
        Ok(self.storage.get(NODES, key)?)
    }

    fn value(&self, key: &TreeKey, max_version: u64) -> Result<Option<Vec<u8>>, StateFault> {
        let Some(newest) = self.storage.get(LEAVES, &key.0)? else { return Ok(None) };
        let version = be_u64(&newest).ok_or_else(|| StateFault::new("a leaf has no version"))?;
        if version <= max_version {
            return Ok(Some(newest[8..].to_vec()));
        }
        let seek = old_leaf_key(key, max_version);
        let mut found = None;
        self.storage.disk.scan(OLD_LEAVES, &seek, &mut |old, value| {
            found = old.starts_with(&key.0).then(|| value.to_vec());
            false
        })?;
        Ok(found)
    }
}

impl StateView for StateAt<'_> {
    fn leaf(&self, key: &TreeKey) -> Result<Option<Vec<u8>>, StateFault> {
        self.value(key, self.height)
    }

    fn document(&self, hash: &Hash) -> Result<Option<v1::DidDocument>, StateFault> {
        Ok(self.storage.document(hash)?)
    }
}
