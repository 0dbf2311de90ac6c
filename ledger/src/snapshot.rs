//! The parts of a snapshot, each proved against one certified header (PROTOCOL §6.4, §7.1), whoever sent it.
//!
//! | part | is proved by |
//! |---|---|
//! | the leaves under a prefix of the state tree, none left out | [`verify_subtree`]: the state root |
//! | set(h + 1); set(h + 2) | its hash in the header; the leaf of the members |
//! | the figures of the next block | their leaf |
//! | all earlier headers | [`verify_headers`]: each by the parent hash of the one after it |
//! | the header log | [`assemble_tip`]: the history root |
//! | the blocks of the replay window | [`verify_block`]: the transactions root of their header |
//! | heads and documents | [`verify_version`]: their hashes, the newest from its leaf |
//!
//! No tree and no storage: a client checks a bucket of resolution with the same function. Deliberately absent: making
//! parts ([`crate::tree`]), fetching them, and how a header comes to be certified ([`crate::light`]).

use crate::genesis::{self, VALID_UNTIL_WINDOW_MS_MAX};
use crate::merkle_log::{self, HistoryFrontier, HistoryHasher, LogError};
use crate::overlay::LEAF_BYTES_MAX;
use crate::proof::{self, EntryError, PLACEHOLDER, VerifiedHeader};
use crate::proposers::{RECENT_MAX, Recent};
use crate::tip::{ReplayWindow, Tip};
use crate::{AdmissionError, Chain, CheckedTransaction, TransactionLeaf, TreeKey, certificate};
use sillok_did_method::{document_hash, head_hash};
use sillok_proto::{Hash, v1};
use std::fmt;

/// Most bits of a prefix: all of a key.
pub const PREFIX_BITS_MAX: u32 = 256;
/// Most leaves of a subtree in one message.
pub const SUBTREE_LEAVES_MAX: usize = 65_536;

/// The first bits of tree keys: names a subtree. Ordered by its first key, the wider first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    /// The bits beyond the prefix are 0.
    first: TreeKey,
    bits: u32,
}

impl Prefix {
    /// The whole tree.
    pub const ALL: Self = Self { first: TreeKey([0; 32]), bits: 0 };

    /// The first `bits` bits of `key`; all of it from 256 on.
    #[must_use]
    pub fn of(key: &TreeKey, bits: u32) -> Self {
        let bits = bits.min(PREFIX_BITS_MAX);
        let mut first = *key;
        for (at, byte) in (0_u32..).zip(&mut first.0) {
            *byte &= mask(bits.saturating_sub(at.saturating_mul(8)));
        }
        Self { first, bits }
    }

    /// The prefix in a message, if it is written in its one form: as many bytes as the bits need, the rest 0.
    #[must_use]
    pub fn read(bytes: &[u8], bits: u32) -> Option<Self> {
        if bits > PREFIX_BITS_MAX || bytes.len() != bytes_for(bits) {
            return None;
        }
        let mut key = [0; 32];
        key.get_mut(..bytes.len())?.copy_from_slice(bytes);
        let prefix = Self::of(&TreeKey(key), bits);
        (prefix.first.0 == key).then_some(prefix)
    }

    /// The bytes of a message.
    #[must_use]
    pub fn to_vec(self) -> Vec<u8> {
        self.first.0.iter().take(bytes_for(self.bits)).copied().collect()
    }

    /// How many bits.
    #[must_use]
    pub const fn bits(&self) -> u32 {
        self.bits
    }

    /// The lowest key that begins with it.
    #[must_use]
    pub const fn first(&self) -> TreeKey {
        self.first
    }

    /// Does the key begin with it?
    #[must_use]
    pub fn contains(&self, key: &TreeKey) -> bool {
        Self::of(key, self.bits).first == self.first
    }

    /// The sixteen prefixes that are four bits longer; none if a key has no four bits more.
    #[must_use]
    pub fn split(&self) -> Vec<Self> {
        let bits = self.bits.saturating_add(4);
        if bits > PREFIX_BITS_MAX {
            return Vec::new();
        }
        (0_u8..16)
            .map(|nibble| {
                let mut first = self.first;
                // Bit by bit, so that a prefix of any length can be split.
                for (place, bit) in (self.bits..bits).zip([8_u8, 4, 2, 1]) {
                    let byte = usize::try_from(place / 8).unwrap_or(usize::MAX);
                    if nibble & bit != 0
                        && let Some(byte) = first.0.get_mut(byte)
                    {
                        *byte |= 0x80 >> (place % 8);
                    }
                }
                Self { first, bits }
            })
            .collect()
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prefix({}/{})", hex::encode(self.to_vec()), self.bits)
    }
}

/// The `bits` highest bits of a byte, all from 8 on.
const fn mask(bits: u32) -> u8 {
    if bits >= 8 { 0xff } else { !(0xff_u8 >> bits) }
}

fn bytes_for(bits: u32) -> usize {
    usize::try_from(bits.div_ceil(8)).unwrap_or(usize::MAX)
}

/// Why a part of a snapshot is refused. Whoever sent it made a mistake or lies: no honest part is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// A subtree of another prefix than was asked for, or a prefix that is none.
    #[error("the answer is about another part of the tree than was asked for; ask another node")]
    OtherPrefix,
    /// More leaves than one message may hold.
    #[error(
        "the subtree has {count} leaves, more than {SUBTREE_LEAVES_MAX}; ask for a longer prefix"
    )]
    TooManyLeaves {
        /// How many.
        count: usize,
    },
    /// A key that is not 32 bytes.
    #[error("leaf {index} has a key of {len} bytes, not 32; ask another node")]
    KeyLength {
        /// Position among the leaves.
        index: usize,
        /// Its length.
        len: usize,
    },
    /// A leaf outside the prefix.
    #[error("leaf {index} does not begin with the prefix; ask another node")]
    Outside {
        /// Position among the leaves.
        index: usize,
    },
    /// Leaves not strictly ascending by key.
    #[error("leaf {index} does not follow the one before it; ask another node")]
    Order {
        /// Position of the second.
        index: usize,
    },
    /// A value longer than any leaf may hold.
    #[error(
        "leaf {index} has a value of {len} bytes, more than {LEAF_BYTES_MAX}; ask another node"
    )]
    ValueLength {
        /// Position among the leaves.
        index: usize,
        /// Its length.
        len: usize,
    },
    /// The path has another length than the leaves can have.
    #[error(
        "{leaves} leaves under a prefix of {bits} bits cannot have a path of {siblings} siblings; ask another node"
    )]
    PathLength {
        /// How many leaves.
        leaves: usize,
        /// Bits of the prefix.
        bits: u32,
        /// Siblings of the path.
        siblings: usize,
    },
    /// Another leaf where there are leaves, or one that begins with the prefix and is left out.
    #[error("the other leaf does not show that the subtree is empty; ask another node")]
    OtherLeaf,
    /// The path itself.
    #[error(transparent)]
    Path(#[from] EntryError),
    /// Headers that do not descend from the known one.
    #[error(
        "the header at position {index} is not the parent of the one of height {above}; ask another node"
    )]
    NotTheParent {
        /// Position in the answer.
        index: usize,
        /// Height of the header above it.
        above: u64,
    },
    /// No header where there should be one, or a block of another.
    #[error("the block is not the one of header {header}; ask another node")]
    OtherBlock {
        /// Hash of the header.
        header: Hash,
    },
    /// The transactions of a block are not those of its header.
    #[error("the transactions of the block are not those of header {header}; ask another node")]
    OtherTransactions {
        /// Hash of the header.
        header: Hash,
    },
    /// A part of a transaction that its body does not name.
    #[error("transaction {index} of the block: {source}")]
    Transaction {
        /// Position in the block.
        index: usize,
        /// What is wrong with it.
        source: Box<AdmissionError>,
    },
    /// A head or a document whose hash is another.
    #[error("a version is not the one of hash {expected}; ask another node")]
    OtherVersion {
        /// Hash asked for.
        expected: Hash,
    },
    /// A set that the header does not name, or a leaf of the members that is none.
    #[error("the validator sets are not those that height {height} fixes; ask another node")]
    ValidatorSets {
        /// The height.
        height: u64,
    },
    /// A leaf of the figures that is none.
    #[error("the parameters after height {height} are none; ask another node")]
    Parameters {
        /// The height.
        height: u64,
    },
    /// The log of headers is not the one of the header.
    #[error(
        "the log of headers has root {computed}, height {height} has {expected}; ask another node"
    )]
    History {
        /// The height.
        height: u64,
        /// Root of the log.
        computed: Hash,
        /// Root in the header.
        expected: Hash,
    },
    /// The log of headers cannot be extended.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Headers or blocks that the tip is made of are not there.
    #[error("height {height} is needed for the tip and was not given; fetch it")]
    Missing {
        /// The height.
        height: u64,
    },
}

/// Checks that `subtree` holds all leaves under `prefix` of the tree with this root, and returns them, ascending.
///
/// In a compact tree a leaf that is alone in a subtree stands for it. So under the prefix are two leaves or more, whose
/// subtree is at the very depth of the prefix; or one, there or higher; or none, because the place is empty or the only
/// leaf there is another one.
///
/// # Errors
///
/// [`SnapshotError`], one variant for each rule. No change of any byte is accepted for the same prefix and root.
pub fn verify_subtree<'a>(
    state_root: &Hash,
    prefix: &Prefix,
    subtree: &'a v1::Subtree,
) -> Result<Vec<(TreeKey, &'a [u8])>, SnapshotError> {
    if Prefix::read(&subtree.prefix, subtree.prefix_bits) != Some(*prefix) {
        return Err(SnapshotError::OtherPrefix);
    }
    let leaves = read_leaves(prefix, &subtree.leaves)?;
    let path = subtree.path.as_ref().ok_or(EntryError::NoPath)?;
    let bits = usize::try_from(prefix.bits).unwrap_or(usize::MAX);
    let siblings = path.siblings.len();
    let right_length = if leaves.len() > 1 { siblings == bits } else { siblings <= bits };
    if !right_length {
        let leaves = leaves.len();
        return Err(SnapshotError::PathLength { leaves, bits: prefix.bits, siblings });
    }
    let mut computed = match proof::other_leaf(path)? {
        None => {
            let hashes: Vec<(TreeKey, Hash)> =
                leaves.iter().map(|(key, value)| (*key, proof::value_hash(value))).collect();
            subtree_hash(&hashes, siblings)
        }
        // It must stand where the leaves of the prefix would, and not be one of them.
        Some((other, value_hash)) => {
            let elsewhere = proof::shared_bits(&prefix.first, &other) < siblings;
            if !leaves.is_empty() || elsewhere || prefix.contains(&other) {
                return Err(SnapshotError::OtherLeaf);
            }
            proof::leaf_hash(&other, &value_hash)
        }
    };
    for ((position, sibling), depth) in path.siblings.iter().enumerate().zip((0..siblings).rev()) {
        let sibling = proof::read_sibling(position, sibling)?;
        computed = if proof::bit(&prefix.first, depth) {
            proof::internal_hash(&sibling, &computed)
        } else {
            proof::internal_hash(&computed, &sibling)
        };
    }
    if computed != *state_root {
        return Err(EntryError::WrongRoot { computed, expected: *state_root }.into());
    }
    Ok(leaves)
}

fn read_leaves<'a>(
    prefix: &Prefix,
    leaves: &'a [v1::SubtreeLeaf],
) -> Result<Vec<(TreeKey, &'a [u8])>, SnapshotError> {
    if leaves.len() > SUBTREE_LEAVES_MAX {
        return Err(SnapshotError::TooManyLeaves { count: leaves.len() });
    }
    let mut read: Vec<(TreeKey, &[u8])> = Vec::with_capacity(leaves.len());
    for (index, leaf) in leaves.iter().enumerate() {
        let key = TreeKey::from_slice(&leaf.key)
            .ok_or(SnapshotError::KeyLength { index, len: leaf.key.len() })?;
        if !prefix.contains(&key) {
            return Err(SnapshotError::Outside { index });
        }
        if read.last().is_some_and(|(previous, _)| *previous >= key) {
            return Err(SnapshotError::Order { index });
        }
        if leaf.value.len() > LEAF_BYTES_MAX {
            return Err(SnapshotError::ValueLength { index, len: leaf.value.len() });
        }
        read.push((key, &leaf.value));
    }
    Ok(read)
}

/// The hash of the compact subtree at `depth` that holds exactly these leaves, which are ascending and share that many
/// bits.
pub(crate) fn subtree_hash(leaves: &[(TreeKey, Hash)], depth: usize) -> Hash {
    match leaves {
        [] => PLACEHOLDER,
        [(key, value_hash)] => proof::leaf_hash(key, value_hash),
        // Different keys part within 256 bits, so it ends.
        _ => {
            let (left, right) =
                leaves.split_at(leaves.partition_point(|(key, _)| !proof::bit(key, depth)));
            let below = depth.saturating_add(1);
            proof::internal_hash(&subtree_hash(left, below), &subtree_hash(right, below))
        }
    }
}

/// Checks that `headers`, descending, are the ones before `above`, each by the parent hash of the one after it.
///
/// # Errors
///
/// [`SnapshotError::NotTheParent`].
pub fn verify_headers(above: &v1::Header, headers: &[v1::Header]) -> Result<(), SnapshotError> {
    let mut above = above;
    for (index, header) in headers.iter().enumerate() {
        let follows = above.height.checked_sub(1) == Some(header.height)
            && certificate::header_hash(header).0.as_slice() == above.parent_hash;
        if !follows {
            return Err(SnapshotError::NotTheParent { index, above: above.height });
        }
        above = header;
    }
    Ok(())
}

/// Checks that `block` is the one of a verified header, with every part that its transactions name.
///
/// # Errors
///
/// [`SnapshotError`], one variant for each rule.
pub fn verify_block(
    genesis_hash: &Hash,
    header: &v1::Header,
    block: &v1::Block,
) -> Result<(), SnapshotError> {
    let hash = || certificate::header_hash(header);
    if block.header.as_ref() != Some(header) {
        return Err(SnapshotError::OtherBlock { header: hash() });
    }
    let leaves: Option<Vec<Hash>> = block
        .transactions
        .iter()
        .map(|transaction| TransactionLeaf::of(genesis_hash, transaction).map(|leaf| leaf.hash()))
        .collect();
    let root = leaves.map(|leaves| merkle_log::transactions_root(&leaves));
    if root.is_none_or(|root| header.transactions_root != root.0) {
        return Err(SnapshotError::OtherTransactions { header: hash() });
    }
    for (index, transaction) in block.transactions.iter().enumerate() {
        CheckedTransaction::check_parts(transaction)
            .map_err(|source| SnapshotError::Transaction { index, source: Box::new(source) })?;
    }
    Ok(())
}

/// Checks a head by its hash and the document beside it by its own, and returns the hash of the version before, if there
/// is one. The empty document is not sent: its hash says all of it; a deactivated DID has none.
///
/// # Errors
///
/// [`SnapshotError::OtherVersion`].
pub fn verify_version(
    hash: &Hash,
    head: &v1::Head,
    document: Option<&v1::DidDocument>,
) -> Result<Option<Hash>, SnapshotError> {
    let other = SnapshotError::OtherVersion { expected: *hash };
    let is_empty = head.document_hash.is_empty()
        || head.document_hash == document_hash(&v1::DidDocument::default()).0;
    let right_document = match document {
        Some(document) => !is_empty && head.document_hash == document_hash(document).0,
        None => is_empty,
    };
    if head_hash(head) != *hash || !right_document {
        return Err(other);
    }
    if head.previous.is_empty() {
        return Ok(None);
    }
    Hash::from_slice(&head.previous).map(Some).ok_or(other)
}

/// set(height + 2), from what the leaf of the members holds after `height`.
///
/// # Errors
///
/// [`SnapshotError::ValidatorSets`].
pub fn latest_set(height: u64, members: &[u8]) -> Result<v1::ValidatorSet, SnapshotError> {
    sillok_proto::decode::<v1::Members>(members, LEAF_BYTES_MAX)
        .ok()
        .and_then(|members| members.validators)
        .filter(|set| certificate::check_validator_set(set).is_ok())
        .ok_or(SnapshotError::ValidatorSets { height })
}

/// The figures that bind the block after `height`, from what their leaf holds.
///
/// # Errors
///
/// [`SnapshotError::Parameters`].
pub fn latest_parameters(height: u64, leaf: &[u8]) -> Result<v1::Parameters, SnapshotError> {
    sillok_proto::decode::<v1::Parameters>(leaf, LEAF_BYTES_MAX)
        .ok()
        .filter(|parameters| genesis::check_figures(parameters).is_ok())
        .ok_or(SnapshotError::Parameters { height })
}

/// What a tip is assembled of. See [`assemble_tip`].
#[derive(Debug)]
pub struct TipParts<'a> {
    /// The certified header.
    pub header: &'a VerifiedHeader,
    /// set(height + 1), from the light block.
    pub validators: v1::ValidatorSet,
    /// set(height + 2), from the leaf of the members.
    pub next_validators: v1::ValidatorSet,
    /// The figures, from their leaf.
    pub parameters: v1::Parameters,
    /// The log of all headers before this one.
    pub history: HistoryFrontier,
    /// Headers that end with this one, ascending: the last [`RECENT_MAX`] or more, or all from height 1 on.
    pub headers: &'a [v1::Header],
    /// The blocks of the replay window, ascending, each checked by [`verify_block`].
    pub blocks: &'a [v1::Block],
}

/// Ledger time before which no block matters for the replay window of a header of `time_ms`, whatever the windows in
/// force were: what an older one ordered cannot be ordered any more.
#[must_use]
pub const fn window_start_ms(time_ms: u64) -> u64 {
    time_ms.saturating_sub(VALID_UNTIL_WINDOW_MS_MAX)
}

/// The tip after a certified header, every part of it checked against the header.
///
/// # Errors
///
/// [`SnapshotError`], one variant for each rule.
pub fn assemble_tip(chain: &Chain, parts: TipParts<'_>) -> Result<Tip, SnapshotError> {
    let TipParts { header, validators, next_validators, parameters, mut history, headers, blocks } =
        parts;
    let height = header.height();
    let named = certificate::validator_set_hash(&validators).0.as_slice()
        == header.header().next_validator_set_hash;
    if !named || certificate::check_validator_set(&next_validators).is_err() {
        return Err(SnapshotError::ValidatorSets { height });
    }

    let expected = Hash::from_slice(&header.header().history_root).unwrap_or_default();
    let computed = history.root();
    if computed != expected || history.size() != height {
        return Err(SnapshotError::History { height, computed, expected });
    }
    history.append(HistoryHasher::leaf(&header.hash().0))?;

    check_descent(header, headers)?;
    let first = height.saturating_sub(RECENT_MAX.saturating_sub(1)).max(1);
    if height > 0 && headers.first().is_none_or(|header| header.height > first) {
        return Err(SnapshotError::Missing { height: first });
    }
    let mut recent = Recent::new();
    for header in headers.iter().filter(|header| header.height >= first) {
        recent.record(header, certificate::header_hash(header));
    }

    Ok(Tip {
        header: header.header().clone(),
        hash: header.hash(),
        validators,
        next_validators,
        parameters,
        history,
        recent,
        replay: replay_window(chain, header.header(), headers, blocks)?,
    })
}

/// Are these headers, ascending, the last ones up to `tip`?
fn check_descent(tip: &VerifiedHeader, headers: &[v1::Header]) -> Result<(), SnapshotError> {
    let Some((last, before)) = headers.split_last() else { return Ok(()) };
    if certificate::header_hash(last) != tip.hash() {
        return Err(SnapshotError::Missing { height: tip.height() });
    }
    let mut above = last;
    for header in before.iter().rev() {
        verify_headers(above, std::slice::from_ref(header))?;
        above = header;
    }
    Ok(())
}

/// What was ordered within the window before a header: all its blocks must be there.
fn replay_window(
    chain: &Chain,
    tip: &v1::Header,
    headers: &[v1::Header],
    blocks: &[v1::Block],
) -> Result<ReplayWindow, SnapshotError> {
    let start = window_start_ms(tip.time_ms);
    let mut replay = ReplayWindow::default();
    let mut blocks = blocks.iter().rev();
    for header in headers.iter().rev().filter(|header| header.height > 0) {
        if header.time_ms < start {
            break;
        }
        let block = blocks.next().filter(|block| block.header.as_ref() == Some(header));
        let block = block.ok_or(SnapshotError::Missing { height: header.height })?;
        for (index, transaction) in block.transactions.iter().enumerate() {
            let checked = CheckedTransaction::check(chain.hash(), transaction)
                .map_err(|source| SnapshotError::Transaction { index, source: Box::new(source) })?;
            for (name, valid_until_ms) in checked.replay_entries() {
                replay.insert(name, valid_until_ms);
            }
        }
        // The window is whole if an older header ends it, or if it begins with the first block.
        if header.height > 1 && headers.first().is_some_and(|first| first.height == header.height) {
            return Err(SnapshotError::Missing { height: header.height.saturating_sub(1) });
        }
    }
    replay.advance(tip.time_ms);
    Ok(replay)
}
