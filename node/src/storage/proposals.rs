//! Which proposals there are: their leaves, found by looking at every leaf of governance.
//!
//! The state names a proposal by its hash and lists none, so that old ones cost no block anything. Whoever lists them
//! proves nothing by it; each is proved by its own leaf.

use super::{LEAVES, Storage, StorageError};
use sillok_did_method::proposal_hash;
use sillok_ledger::{LeafKind, TreeKey};
use sillok_proto::{Hash, v1};
use std::collections::BTreeSet;

/// Longest leaf of a proposal, in bytes: 128 approvals.
const PROPOSAL_BYTES_MAX: usize = 16 * 1024;

impl Storage {
    /// The hashes of all proposals, ascending, at most `count`.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn proposals(&self, genesis: &Hash, count: usize) -> Result<BTreeSet<Hash>, StorageError> {
        let kind = LeafKind::Governance as u8;
        let mut found = BTreeSet::new();
        self.disk.scan(LEAVES, &[kind << 4], &mut |key, stored| {
            if key.first().is_none_or(|first| first >> 4 != kind) || found.len() >= count {
                return false;
            }
            found.extend(stored.get(8..).and_then(|value| proposal(genesis, key, value)));
            true
        })?;
        Ok(found)
    }
}

/// The hash of the proposal that stands in a leaf, if one does: nothing else lies at the place that its hash names.
fn proposal(genesis: &Hash, key: &[u8], value: &[u8]) -> Option<Hash> {
    let record: v1::ProposalRecord = sillok_proto::decode(value, PROPOSAL_BYTES_MAX).ok()?;
    let hash = proposal_hash(genesis, record.proposal.as_ref()?);
    (TreeKey::proposal(&hash).as_bytes().as_slice() == key).then_some(hash)
}
