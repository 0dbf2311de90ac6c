//! Proofs and their verification: no storage, no tree, nothing but hashes and signatures (PROTOCOL §6).
//!
//! Whoever knows the validator set of a height ([`crate::light`]) checks any read with this file. Each function returns
//! what it proved; nothing else in the message is proved. Deliberately absent: freshness (the caller's policy), and
//! making proofs ([`crate::tree`], [`crate::merkle_log`]).

use crate::TreeKey;
use sillok_proto::Hash;

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
