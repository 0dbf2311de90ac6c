//! Which proposals there are: those that the records of the members name.
//!
//! Each names at most 16 that it opened, so whoever asks costs a bounded number of reads. Whoever lists them proves
//! nothing by it; each is proved by its own leaf.

use super::{Storage, StorageError};
use sillok_ledger::overlay::LEAF_BYTES_MAX;
use sillok_ledger::{StateView, TreeKey};
use sillok_proto::{Hash, v1};
use std::collections::BTreeSet;

impl Storage {
    /// The proposals that members opened and that were open at their last look, ascending.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn proposals(&self, height: u64) -> Result<BTreeSet<Hash>, StorageError> {
        let members: v1::Members = self.leaf_at(height, &TreeKey::members())?;
        let mut found = BTreeSet::new();
        for organization in members.operators.iter().filter_map(|one| Hash::from_slice(one)) {
            let record: v1::OperatorRecord =
                self.leaf_at(height, &TreeKey::operator(&organization))?;
            found.extend(record.open_proposals.iter().filter_map(|one| Hash::from_slice(one)));
        }
        Ok(found)
    }

    fn leaf_at<M: prost::Message + Default>(
        &self,
        height: u64,
        key: &TreeKey,
    ) -> Result<M, StorageError> {
        let bytes =
            self.at(height).leaf(key).map_err(|fault| StorageError::Io { reason: fault.reason })?;
        sillok_proto::decode(&bytes.unwrap_or_default(), LEAF_BYTES_MAX)
            .map_err(|error| StorageError::Damaged { reason: error.to_string() })
    }
}
