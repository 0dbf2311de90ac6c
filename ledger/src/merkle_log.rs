//! Logs of RFC 6962 §2.1 shape: the history of headers, and the transactions of one block.
//!
//! One shape, two hashings ([`LogHasher`]): the history log is exactly RFC 6962 (SHA-256, so that any Certificate
//! Transparency verifier can check it), the transactions of a block use the tagged BLAKE3 of every other message.
//! A [`Frontier`] appends and knows the root; a [`LogPath`] shows that a leaf stands at an index. The nodes for building
//! paths come from whoever keeps them. Deliberately absent: storage, and consistency proofs (a header's history root is
//! proved to extend an older header by that header's own path).

#![allow(
    clippy::arithmetic_side_effects,
    reason = "positions in a log: index < size is checked first, and no sum or difference leaves 0..=size"
)]

use sha2::{Digest, Sha256};
use sillok_proto::{Hash, Tag, v1::LogPath};

/// How the nodes of a log are hashed. Leaves and nodes must not be mistakable for one another.
pub trait LogHasher {
    /// The head of the log without leaves.
    fn empty() -> Hash;
    /// The parent of two nodes.
    fn node(left: &Hash, right: &Hash) -> Hash;
}

/// RFC 6962 with SHA-256: leaf prefix 0x00, node prefix 0x01.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryHasher;

impl HistoryHasher {
    /// The leaf hash of an entry; an entry of the history log is the 32 bytes of a header hash.
    #[must_use]
    pub fn leaf(entry: &[u8]) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update([0x00]);
        hasher.update(entry);
        Hash(hasher.finalize().into())
    }
}

impl LogHasher for HistoryHasher {
    fn empty() -> Hash {
        Hash(Sha256::digest([]).into())
    }

    fn node(left: &Hash, right: &Hash) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update([0x01]);
        hasher.update(left.0);
        hasher.update(right.0);
        Hash(hasher.finalize().into())
    }
}

/// The transactions of a block (PROTOCOL §2.1): tagged BLAKE3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionHasher;

impl TransactionHasher {
    /// The leaf of one transaction: its id, the hash of its public signatures, and that of its private signatures.
    #[must_use]
    pub fn leaf(id: &Hash, signatures: &Hash, private_signatures: &Hash) -> Hash {
        Tag::TransactionLeaf.hash(&[&id.0, &signatures.0, &private_signatures.0])
    }
}

impl LogHasher for TransactionHasher {
    fn empty() -> Hash {
        Tag::TransactionNode.hash(&[])
    }

    fn node(left: &Hash, right: &Hash) -> Hash {
        Tag::TransactionNode.hash(&[&left.0, &right.0])
    }
}

/// Why a path or a frontier is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The index is not below the size.
    #[error("entry {index} does not exist in a log of {size}; ask for an index below the size")]
    IndexOutOfRange {
        /// Index asked for or claimed.
        index: u64,
        /// Size of the log.
        size: u64,
    },
    /// A hash of the path is not 32 bytes long.
    #[error("hash {position} of the path has {len} bytes, not 32; ask another node")]
    HashLength {
        /// Position in the path.
        position: usize,
        /// Its length.
        len: usize,
    },
    /// The path has more or fewer hashes than the way from the leaf to the head.
    #[error("the path for entry {index} of {size} must not have {len} hashes; ask another node")]
    PathLength {
        /// Index of the entry.
        index: u64,
        /// Size of the log.
        size: u64,
        /// Number of hashes in the path.
        len: usize,
    },
    /// The path leads to another head.
    #[error(
        "the path leads to head {computed}, not to {expected}; the answer is forged or of another log"
    )]
    WrongHead {
        /// Head computed from leaf and path.
        computed: Hash,
        /// Head that is trusted.
        expected: Hash,
    },
    /// The bytes are not a frontier.
    #[error("{len} bytes are not a frontier of {size} entries; restore it from a snapshot")]
    Frontier {
        /// Length of the bytes.
        len: usize,
        /// Size they claim, 0 if they are too short to claim one.
        size: u64,
    },
    /// 2^64 entries.
    #[error("the log is full; it cannot be extended")]
    Full,
}

/// A complete subtree: `2^level` leaves, the `index`-th of its level. Level 0 are the leaves. Never changes once made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogNode {
    /// Height above the leaves.
    pub level: u32,
    /// Position among the nodes of its level.
    pub index: u64,
    /// Its hash.
    pub hash: Hash,
}

/// Longest encoding of a [`Frontier`], in bytes.
pub const FRONTIER_BYTES_MAX: usize = 8 + 64 * 32;

/// The right edge of a log: the complete subtrees that its leaves fall into, largest first. Enough to append to it and
/// to know its head.
#[derive(Clone, PartialEq, Eq)]
pub struct Frontier<H> {
    size: u64,
    peaks: Vec<Hash>,
    hasher: std::marker::PhantomData<H>,
}

/// The history log's right edge.
pub type HistoryFrontier = Frontier<HistoryHasher>;

impl<H> std::fmt::Debug for Frontier<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frontier").field("size", &self.size).field("peaks", &self.peaks).finish()
    }
}

impl<H: LogHasher> Default for Frontier<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: LogHasher> Frontier<H> {
    /// The frontier of the log without leaves.
    #[must_use]
    pub const fn new() -> Self {
        Self { size: 0, peaks: Vec::new(), hasher: std::marker::PhantomData }
    }

    /// Number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf and returns the subtrees that became complete, the leaf first. Whoever serves paths keeps them.
    ///
    /// # Errors
    ///
    /// [`LogError::Full`].
    pub fn append(&mut self, leaf: Hash) -> Result<Vec<LogNode>, LogError> {
        let size = self.size.checked_add(1).ok_or(LogError::Full)?;
        let mut node = LogNode { level: 0, index: self.size, hash: leaf };
        let mut made = vec![node];
        // An odd index is a right child, so its left sibling is the smallest peak: both are now one complete subtree.
        while node.index % 2 == 1
            && let Some(left) = self.peaks.pop()
        {
            node = LogNode {
                level: node.level + 1,
                index: node.index / 2,
                hash: H::node(&left, &node.hash),
            };
            made.push(node);
        }
        self.peaks.push(node.hash);
        self.size = size;
        Ok(made)
    }

    /// The tree head.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(&smallest) = peaks.next() else { return H::empty() };
        peaks.fold(smallest, |right, left| H::node(left, &right))
    }

    /// Size (8 bytes, big-endian), then the peaks, largest first.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + self.peaks.len() * 32);
        out.extend_from_slice(&self.size.to_be_bytes());
        for peak in &self.peaks {
            out.extend_from_slice(&peak.0);
        }
        out
    }

    /// Reads what [`Frontier::encode`] wrote. The hashes are not checked: compare [`Frontier::root`] with a certified
    /// header.
    ///
    /// # Errors
    ///
    /// [`LogError::Frontier`] if the length is not that of the size.
    pub fn decode(bytes: &[u8]) -> Result<Self, LogError> {
        let Some((size, rest)) = bytes.split_first_chunk::<8>() else {
            return Err(LogError::Frontier { len: bytes.len(), size: 0 });
        };
        let size = u64::from_be_bytes(*size);
        let (peaks, tail) = rest.as_chunks::<32>();
        if !tail.is_empty() || peaks.len() != size.count_ones() as usize {
            return Err(LogError::Frontier { len: bytes.len(), size });
        }
        Ok(Self {
            size,
            peaks: peaks.iter().copied().map(Hash).collect(),
            hasher: std::marker::PhantomData,
        })
    }
}

/// The head over these leaf hashes.
#[must_use]
pub fn root<H: LogHasher>(leaves: &[Hash]) -> Hash {
    let mut level = leaves.to_vec();
    // Pairing from the left and lifting an odd last node gives the shape of RFC 6962.
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => H::node(left, right),
                lone => lone.first().copied().unwrap_or_else(H::empty),
            })
            .collect();
    }
    level.first().copied().unwrap_or_else(H::empty)
}

/// The transactions root of a header: `H(transactions, count (4 bytes, big-endian) ‖ head)`.
#[must_use]
pub fn transactions_root(leaves: &[Hash]) -> Hash {
    // A block holds far fewer than 2^32 transactions: its bytes are bounded.
    let count = u32::try_from(leaves.len()).unwrap_or(u32::MAX);
    transactions_root_of(count, &root::<TransactionHasher>(leaves))
}

pub(crate) fn transactions_root_of(count: u32, head: &Hash) -> Hash {
    Tag::Transactions.hash(&[&count.to_be_bytes(), &head.0])
}

/// The path of entry `index` in the log of the first `size` entries, from a source of complete subtrees: those that
/// [`Frontier::append`] returned, by level and index.
///
/// # Errors
///
/// [`LogError::IndexOutOfRange`], or what `node` returns.
pub fn path<H: LogHasher, E: From<LogError>>(
    index: u64,
    size: u64,
    mut node: impl FnMut(u32, u64) -> Result<Hash, E>,
) -> Result<LogPath, E> {
    if index >= size {
        return Err(LogError::IndexOutOfRange { index, size }.into());
    }
    let mut hashes = Vec::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        let sibling = if index < middle { (middle, end) } else { (start, middle) };
        hashes.push(head_between::<H, E>(sibling.0, sibling.1, &mut node)?.to_vec());
        (start, end) = if index < middle { (start, middle) } else { (middle, end) };
    }
    hashes.reverse();
    Ok(LogPath { index, size, hashes })
}

/// The path of leaf `index` among these leaf hashes.
///
/// # Errors
///
/// [`LogError::IndexOutOfRange`].
pub fn path_among<H: LogHasher>(leaves: &[Hash], index: u64) -> Result<LogPath, LogError> {
    let size = leaves.len() as u64;
    path::<H, LogError>(index, size, |level, index| {
        let subtree = 1_usize
            .checked_shl(level)
            .zip(usize::try_from(index).ok())
            .and_then(|(width, index)| {
                let start = index.checked_mul(width)?;
                leaves.get(start..start.checked_add(width)?)
            })
            .ok_or(LogError::IndexOutOfRange { index, size })?;
        Ok(root::<H>(subtree))
    })
}

/// The head that `leaf` at `path.index` of `path.size` and the hashes of the path lead to (RFC 9162 §2.1.3.2).
///
/// # Errors
///
/// [`LogError`]: index out of range, or a path that is not exactly as long as the way to the head.
pub fn head_of_path<H: LogHasher>(leaf: &Hash, path: &LogPath) -> Result<Hash, LogError> {
    let (index, size) = (path.index, path.size);
    if index >= size {
        return Err(LogError::IndexOutOfRange { index, size });
    }
    let wrong_length = LogError::PathLength { index, size, len: path.hashes.len() };
    let (mut position, mut last) = (index, size - 1);
    let mut head = *leaf;
    for (nth, sibling) in path.hashes.iter().enumerate() {
        let Some(sibling) = Hash::from_slice(sibling) else {
            return Err(LogError::HashLength { position: nth, len: sibling.len() });
        };
        if last == 0 {
            return Err(wrong_length);
        }
        if position % 2 == 1 || position == last {
            head = H::node(&sibling, &head);
            // A last node without a right sibling was lifted unhashed until it became a right child.
            while position.is_multiple_of(2) && position != 0 {
                position /= 2;
                last /= 2;
            }
        } else {
            head = H::node(&head, &sibling);
        }
        position /= 2;
        last /= 2;
    }
    if last == 0 { Ok(head) } else { Err(wrong_length) }
}

/// Checks that `leaf` stands at `path.index` of the log with `path.size` entries and head `expected`.
///
/// # Errors
///
/// [`LogError`]: malformed path, or another head.
pub fn verify_path<H: LogHasher>(
    leaf: &Hash,
    path: &LogPath,
    expected: &Hash,
) -> Result<(), LogError> {
    let computed = head_of_path::<H>(leaf, path)?;
    if computed == *expected {
        Ok(())
    } else {
        Err(LogError::WrongHead { computed, expected: *expected })
    }
}

/// The head over the entries `start..end`, where `start` is a multiple of the largest power of two in the range.
fn head_between<H: LogHasher, E>(
    start: u64,
    end: u64,
    node: &mut impl FnMut(u32, u64) -> Result<Hash, E>,
) -> Result<Hash, E> {
    let width = end - start;
    if width.is_power_of_two() {
        return node(width.trailing_zeros(), start / width);
    }
    let middle = start + split(width);
    let left = head_between::<H, E>(start, middle, node)?;
    let right = head_between::<H, E>(middle, end, node)?;
    Ok(H::node(&left, &right))
}

/// The largest power of two below `size` (RFC 6962 §2.1); `size` is at least 2.
const fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}
