//! The inception: what a DID is the hash of.
//!
//! Kind, first keys, registering authority and recovery rule are hashed into the identifier, so a DID cannot be
//! squatted, is known before it is registered, and cannot be created under another authority (PROTOCOL §3.1).

use sillok_proto::v1::Inception;
use sillok_proto::{Hash, encode};

/// The digest in the DID: BLAKE3-256 of the canonical bytes.
///
/// Untagged, unlike every other hash of a message of ours, because a multihash names its function and any
/// multiformats library must be able to recompute it (PROTOCOL §1.2).
#[must_use]
pub fn inception_digest(inception: &Inception) -> Hash {
    Hash(blake3::hash(&encode(inception)).into())
}
