//! Proofs and their verification: no storage, no tree, nothing but hashes and signatures (PROTOCOL §6).
//!
//! Whoever knows the validator set of a height ([`crate::light`]) checks any read with this file. Each function returns
//! what it proved in a type of its own; nothing else that a message says is proved. Deliberately absent: freshness (the
//! caller's policy), and making proofs ([`crate::merkle_log`], and the tree behind its feature).

use crate::TreeKey;
use crate::certificate::{self, CertificateError, HeaderError};
use crate::merkle_log::{self, HistoryHasher, LogError, TransactionHasher};
use sillok_proto::{Hash, v1};
use std::collections::BTreeMap;

/// The hash of an empty subtree (`jmt` 0.12). Nobody knows bytes that hash to it.
pub const PLACEHOLDER: Hash = Hash(*b"SPARSE_MERKLE_PLACEHOLDER_HASH__");
/// Longest path from a leaf to the root: a key has 256 bits.
pub const SIBLINGS_MAX: usize = 256;

/// The hash of a leaf's value.
#[must_use]
pub fn value_hash(value: &[u8]) -> Hash {
    Hash(blake3::hash(value).into())
}

/// The hash of a leaf (`jmt` 0.12).
pub(crate) fn leaf_hash(key: &TreeKey, value_hash: &Hash) -> Hash {
    join(b"JMT::LeafNode", &key.0, &value_hash.0)
}

/// The hash of two subtrees together (`jmt` 0.12; the tag is misspelt there).
pub(crate) fn internal_hash(left: &Hash, right: &Hash) -> Hash {
    join(b"JMT::IntrnalNode", &left.0, &right.0)
}

fn join(tag: &[u8], left: &[u8; 32], right: &[u8; 32]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(tag);
    hasher.update(left);
    hasher.update(right);
    Hash(hasher.finalize().into())
}

/// Why an entry does not show what a key holds under a state root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The key is not 32 bytes.
    #[error("the key has {len} bytes, not 32; ask another node")]
    KeyLength {
        /// Its length.
        len: usize,
    },
    /// No path.
    #[error("the entry has no path to the root; ask another node")]
    NoPath,
    /// More siblings than a key has bits.
    #[error("the path has {len} siblings, more than {SIBLINGS_MAX}; ask another node")]
    PathTooLong {
        /// How many.
        len: usize,
    },
    /// A sibling is neither empty nor 32 bytes.
    #[error("sibling {position} has {len} bytes, neither 0 nor 32; ask another node")]
    SiblingLength {
        /// Position, from the leaf.
        position: usize,
        /// Its length.
        len: usize,
    },
    /// An empty subtree written out: a second form of the same proof.
    #[error("sibling {position} is an empty subtree written out; send empty bytes instead")]
    EmptySiblingWritten {
        /// Position, from the leaf.
        position: usize,
    },
    /// The other leaf's key or value hash is neither absent nor 32 bytes, or only one of them is there.
    #[error(
        "the other leaf has a key of {key_len} and a value hash of {value_hash_len} bytes, not 32 and 32 or none; ask another node"
    )]
    OtherLeafLength {
        /// Length of its key.
        key_len: usize,
        /// Length of the hash of its value.
        value_hash_len: usize,
    },
    /// A present key whose path names another leaf.
    #[error("the entry is present and yet names another leaf; ask another node")]
    OtherLeafOfPresent,
    /// An absent key with a value.
    #[error("the entry is absent and yet has a value of {len} bytes; ask another node")]
    ValueOfAbsent {
        /// Length of the value.
        len: usize,
    },
    /// The leaf that should show the absence of a key is that of the key.
    #[error("the other leaf is that of the key itself, so the key is present; ask another node")]
    OtherLeafIsThis,
    /// The leaf that should show the absence of a key does not stand where the key would.
    #[error(
        "the other leaf shares {shared} bits with the key, the path has {siblings}; ask another node"
    )]
    OtherLeafElsewhere {
        /// Bits that both keys begin with.
        shared: usize,
        /// Length of the path.
        siblings: usize,
    },
    /// The path leads to another root.
    #[error(
        "the path leads to root {computed}, not to {expected}; the answer is forged or of another height"
    )]
    WrongRoot {
        /// Root computed from the entry.
        computed: Hash,
        /// Root that is trusted.
        expected: Hash,
    },
}

/// Why a proof is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The header is not certified.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The older header itself.
    #[error("the older header: {0}")]
    OlderHeader(HeaderError),
    /// An entry of a state proof.
    #[error("entry {index}: {source}")]
    Entry {
        /// Position in the proof.
        index: usize,
        /// What is wrong with it.
        source: EntryError,
    },
    /// One key twice.
    #[error("entry {index} repeats a key; ask another node")]
    RepeatedKey {
        /// Position of the second.
        index: usize,
    },
    /// The proof says nothing about the key that was asked for.
    #[error("the proof does not cover what was asked for; ask another node")]
    NotCovered,
    /// No path.
    #[error("the answer has no path; ask another node")]
    NoPath,
    /// The path.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A hash of a receipt is not 32 bytes.
    #[error("field {field} of the receipt has {len} bytes, not 32; ask another node")]
    FieldLength {
        /// Name of the field.
        field: &'static str,
        /// Its length.
        len: usize,
    },
    /// A receipt from a block of more transactions than a block can hold.
    #[error(
        "the receipt is from a block of {size} transactions, more than any block holds; ask another node"
    )]
    BlockSize {
        /// Transactions claimed.
        size: u64,
    },
    /// The transaction does not stand in the block.
    #[error(
        "the receipt leads to transactions root {computed}, the block has {expected}; ask another node"
    )]
    NotInBlock {
        /// Root computed from the receipt.
        computed: Hash,
        /// Root in the header.
        expected: Hash,
    },
    /// The history path is not for all headers before the certified one.
    #[error(
        "the path is in a log of {size} headers, height {height} has that many before it; ask another node"
    )]
    WrongHistorySize {
        /// Size in the path.
        size: u64,
        /// Height of the certified header.
        height: u64,
    },
    /// The history path is not for the height of the older header.
    #[error(
        "the path is for height {index}, the older header has height {height}; ask another node"
    )]
    WrongHistoryIndex {
        /// Index in the path.
        index: u64,
        /// Height of the older header.
        height: u64,
    },
}

/// A header that a certificate, or a path from a certified one, vouches for.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedHeader {
    header: v1::Header,
    hash: Hash,
}

impl VerifiedHeader {
    /// Only for headers that were verified.
    pub(crate) fn new(header: &v1::Header) -> Self {
        Self { header: header.clone(), hash: certificate::header_hash(header) }
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &v1::Header {
        &self.header
    }

    /// Its hash.
    #[must_use]
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// Its height.
    #[must_use]
    pub const fn height(&self) -> u64 {
        self.header.height
    }

    /// Its ledger time.
    #[must_use]
    pub const fn time_ms(&self) -> u64 {
        self.header.time_ms
    }
}

/// What one entry proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedEntry<'a> {
    /// The key.
    pub key: TreeKey,
    /// What it holds; `None`: nothing, which is proved as well.
    pub value: Option<&'a [u8]>,
}

/// What a state proof proves: what some keys hold after the block of one header.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedState {
    header: VerifiedHeader,
    entries: BTreeMap<TreeKey, Option<Vec<u8>>>,
}

impl VerifiedState {
    /// The header whose state it is.
    #[must_use]
    pub const fn header(&self) -> &VerifiedHeader {
        &self.header
    }

    /// What `key` holds; `None` is a proved absence.
    ///
    /// # Errors
    ///
    /// [`ProofError::NotCovered`]: the proof does not say. Never take that for an absence.
    pub fn value(&self, key: &TreeKey) -> Result<Option<&[u8]>, ProofError> {
        self.entries.get(key).map(Option::as_deref).ok_or(ProofError::NotCovered)
    }

    /// All keys that the proof covers with what they hold, ascending.
    pub fn entries(&self) -> impl Iterator<Item = (&TreeKey, Option<&[u8]>)> {
        self.entries.iter().map(|(key, value)| (key, value.as_deref()))
    }
}

/// What a receipt proves: the place of a transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedReceipt {
    /// The header of the block it stands in.
    pub header: VerifiedHeader,
    /// Its id.
    pub transaction_id: Hash,
    /// Its position in the block.
    pub index: u32,
    /// Hash of its private signatures.
    pub private_signatures_hash: Hash,
}

/// What a history proof proves: an older header of the same chain.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedHistory {
    /// The certified header.
    pub header: VerifiedHeader,
    /// The older one.
    pub ancestor: VerifiedHeader,
}

/// Checks what one key holds, or that it holds nothing, under `state_root`.
///
/// Absence has two forms: the place is empty, or the only leaf of the subtree there is another one, whose key must then
/// begin with the same bits as far as the path goes.
///
/// # Errors
///
/// [`EntryError`], one variant for each rule.
pub fn verify_entry<'a>(
    state_root: &Hash,
    entry: &'a v1::StateEntry,
) -> Result<VerifiedEntry<'a>, EntryError> {
    let key =
        TreeKey::from_slice(&entry.key).ok_or(EntryError::KeyLength { len: entry.key.len() })?;
    let path = entry.path.as_ref().ok_or(EntryError::NoPath)?;
    let siblings = path.siblings.len();
    if siblings > SIBLINGS_MAX {
        return Err(EntryError::PathTooLong { len: siblings });
    }
    let other = other_leaf(path)?;
    let start = match (entry.present, other) {
        (true, None) => leaf_hash(&key, &value_hash(&entry.value)),
        (true, Some(_)) => return Err(EntryError::OtherLeafOfPresent),
        (false, _) if !entry.value.is_empty() => {
            return Err(EntryError::ValueOfAbsent { len: entry.value.len() });
        }
        (false, None) => PLACEHOLDER,
        (false, Some((other, _))) if other == key => return Err(EntryError::OtherLeafIsThis),
        (false, Some((other, value_hash))) => {
            let shared = shared_bits(&key, &other);
            if shared < siblings {
                return Err(EntryError::OtherLeafElsewhere { shared, siblings });
            }
            leaf_hash(&other, &value_hash)
        }
    };
    // The first sibling is the deepest: it stands beside the bit `siblings - 1` of the key.
    let mut computed = start;
    for ((position, sibling), depth) in path.siblings.iter().enumerate().zip((0..siblings).rev()) {
        let sibling = read_sibling(position, sibling)?;
        computed = if bit(&key, depth) {
            internal_hash(&sibling, &computed)
        } else {
            internal_hash(&computed, &sibling)
        };
    }
    if computed != *state_root {
        return Err(EntryError::WrongRoot { computed, expected: *state_root });
    }
    Ok(VerifiedEntry { key, value: entry.present.then_some(entry.value.as_slice()) })
}

/// Checks a state proof against the validator set of its height.
///
/// # Errors
///
/// [`ProofError`]: the header is not certified by `set`, or an entry does not hold under its state root.
pub fn verify_state_proof(
    genesis_hash: &Hash,
    proof: &v1::StateProof,
    set: &v1::ValidatorSet,
) -> Result<VerifiedState, ProofError> {
    let header =
        certificate::verify_signed_header(genesis_hash, proof.signed_header.as_ref(), set)?;
    verify_entries(VerifiedHeader::new(header), &proof.entries)
}

/// Checks entries against a header that is already verified: the rest of [`verify_state_proof`], for several proofs
/// under one header and for a header proved by its history.
///
/// # Errors
///
/// [`ProofError`]: an entry does not hold under the header's state root, or a key is repeated.
pub fn verify_entries(
    header: VerifiedHeader,
    entries: &[v1::StateEntry],
) -> Result<VerifiedState, ProofError> {
    let state_root = Hash::from_slice(&header.header.state_root).unwrap_or_default();
    let mut verified = BTreeMap::new();
    for (index, entry) in entries.iter().enumerate() {
        let VerifiedEntry { key, value } = verify_entry(&state_root, entry)
            .map_err(|source| ProofError::Entry { index, source })?;
        if verified.insert(key, value.map(<[u8]>::to_vec)).is_some() {
            return Err(ProofError::RepeatedKey { index });
        }
    }
    Ok(VerifiedState { header, entries: verified })
}

/// Checks that a transaction stands in a block certified by `set`. Inclusion is success (PROTOCOL §2.3).
///
/// # Errors
///
/// [`ProofError`]: the header is not certified, or the path does not lead to its transactions root.
pub fn verify_receipt(
    genesis_hash: &Hash,
    receipt: &v1::Receipt,
    set: &v1::ValidatorSet,
) -> Result<VerifiedReceipt, ProofError> {
    let header =
        certificate::verify_signed_header(genesis_hash, receipt.signed_header.as_ref(), set)?;
    verify_receipt_in(VerifiedHeader::new(header), receipt)
}

/// Checks that a transaction stands in the block of `header`, which is already verified: by a certificate, or as an
/// ancestor of a trusted header. The receipt's own header is not looked at.
///
/// # Errors
///
/// [`ProofError`]: the path does not lead to the transactions root of `header`.
pub fn verify_receipt_in(
    header: VerifiedHeader,
    receipt: &v1::Receipt,
) -> Result<VerifiedReceipt, ProofError> {
    let transaction_id = receipt_field("transaction_id", &receipt.transaction_id)?;
    let signatures = receipt_field("signatures_hash", &receipt.signatures_hash)?;
    let private_signatures =
        receipt_field("private_signatures_hash", &receipt.private_signatures_hash)?;
    let path = receipt.path.as_ref().ok_or(ProofError::NoPath)?;
    let leaf = TransactionHasher::leaf(&transaction_id, &signatures, &private_signatures);
    let head = merkle_log::head_of_path::<TransactionHasher>(&leaf, path)?;
    let oversized = ProofError::BlockSize { size: path.size };
    let Ok(count) = u32::try_from(path.size) else { return Err(oversized) };
    let Ok(index) = u32::try_from(path.index) else { return Err(oversized) };
    let computed = merkle_log::transactions_root_of(count, &head);
    let expected = Hash::from_slice(&header.header.transactions_root).unwrap_or_default();
    if computed != expected {
        return Err(ProofError::NotInBlock { computed, expected });
    }
    let private_signatures_hash = private_signatures;
    Ok(VerifiedReceipt { header, transaction_id, index, private_signatures_hash })
}

/// Checks that an older header is an ancestor of one certified by `set`: no old key is needed (PROTOCOL §6.1).
///
/// # Errors
///
/// [`ProofError`]: the newer header is not certified, or the path does not lead to its history root.
pub fn verify_history_proof(
    genesis_hash: &Hash,
    proof: &v1::HistoryProof,
    set: &v1::ValidatorSet,
) -> Result<VerifiedHistory, ProofError> {
    let header =
        certificate::verify_signed_header(genesis_hash, proof.signed_header.as_ref(), set)?;
    let header = VerifiedHeader::new(header);
    let ancestor = verify_ancestor(genesis_hash, &header, proof)?;
    Ok(VerifiedHistory { header, ancestor })
}

/// Checks that the older header of `proof` is an ancestor of `header`, which is already verified.
///
/// # Errors
///
/// [`ProofError`]: the path does not lead to the history root of `header`.
pub fn verify_ancestor(
    genesis_hash: &Hash,
    header: &VerifiedHeader,
    proof: &v1::HistoryProof,
) -> Result<VerifiedHeader, ProofError> {
    let ancestor = proof.header.as_ref().ok_or(ProofError::OlderHeader(HeaderError::Missing))?;
    certificate::check_header(genesis_hash, ancestor).map_err(ProofError::OlderHeader)?;
    let path = proof.path.as_ref().ok_or(ProofError::NoPath)?;
    // The log of a header has exactly one entry for each earlier height, the genesis header being entry 0.
    if path.size != header.height() {
        return Err(ProofError::WrongHistorySize { size: path.size, height: header.height() });
    }
    if path.index != ancestor.height {
        return Err(ProofError::WrongHistoryIndex { index: path.index, height: ancestor.height });
    }
    let ancestor = VerifiedHeader::new(ancestor);
    let expected = Hash::from_slice(&header.header.history_root).unwrap_or_default();
    let leaf = HistoryHasher::leaf(&ancestor.hash.0);
    merkle_log::verify_path::<HistoryHasher>(&leaf, path, &expected)?;
    Ok(ancestor)
}

fn receipt_field(field: &'static str, bytes: &[u8]) -> Result<Hash, ProofError> {
    Hash::from_slice(bytes).ok_or(ProofError::FieldLength { field, len: bytes.len() })
}

/// The leaf that stands where an absent key would: its key, and the hash of its value.
pub(crate) fn other_leaf(path: &v1::TreePath) -> Result<Option<(TreeKey, Hash)>, EntryError> {
    if path.other_key.is_empty() && path.other_value_hash.is_empty() {
        return Ok(None);
    }
    match (TreeKey::from_slice(&path.other_key), Hash::from_slice(&path.other_value_hash)) {
        (Some(key), Some(value_hash)) => Ok(Some((key, value_hash))),
        _ => Err(EntryError::OtherLeafLength {
            key_len: path.other_key.len(),
            value_hash_len: path.other_value_hash.len(),
        }),
    }
}

pub(crate) fn read_sibling(position: usize, sibling: &[u8]) -> Result<Hash, EntryError> {
    if sibling.is_empty() {
        return Ok(PLACEHOLDER);
    }
    match Hash::from_slice(sibling) {
        Some(PLACEHOLDER) => Err(EntryError::EmptySiblingWritten { position }),
        Some(hash) => Ok(hash),
        None => Err(EntryError::SiblingLength { position, len: sibling.len() }),
    }
}

/// Bit `depth` of a key, the highest bit of the first byte being bit 0.
pub(crate) fn bit(key: &TreeKey, depth: usize) -> bool {
    key.0.get(depth / 8).is_some_and(|byte| byte & (0x80 >> (depth % 8)) != 0)
}

/// How many bits two keys both begin with.
pub(crate) fn shared_bits(one: &TreeKey, other: &TreeKey) -> usize {
    (0..SIBLINGS_MAX).take_while(|&depth| bit(one, depth) == bit(other, depth)).count()
}
