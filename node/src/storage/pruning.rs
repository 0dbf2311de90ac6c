//! What a node forgets with each block, as its retention says.
//!
//! A little with each block, so that pruning never makes a block late. Never forgotten: headers, heads, documents, sets,
//! the certificates at which the set changed (clients follow them), and the blocks of the replay window.

use super::{
    BLOCKS, Batch, CERTIFICATES, EVENTS, KEY_BLOCKS_FROM, META, NODES, OLD_LEAVES, Retention,
    SET_CHANGES, STALE_LEAVES, STALE_NODES, Storage, StorageError, TRANSACTIONS, be_u64, damaged,
    height_key,
};
use sillok_ledger::TransactionLeaf;
use sillok_ledger::snapshot::window_start_ms;
use sillok_proto::{Hash, v1};

/// Most stale nodes, and most stale leaves, removed with one block.
const PRUNED_AT_ONCE: usize = 4_096;
/// Most blocks removed with one block: more than one, so that a shorter retention takes effect in time.
const BLOCKS_PRUNED_AT_ONCE: usize = 16;

impl Retention {
    /// Of how many last heights the state is kept; `None`: of all.
    #[must_use]
    pub fn state_heights(&self) -> Option<u64> {
        match self {
            Self::Archive => None,
            Self::Blocks(heights) | Self::Heights(heights) => Some((*heights).max(2)),
        }
    }

    /// Of how many last heights the blocks are kept; `None`: of all.
    #[must_use]
    pub fn block_heights(&self) -> Option<u64> {
        match self {
            Self::Archive | Self::Blocks(_) => None,
            Self::Heights(heights) => Some((*heights).max(2)),
        }
    }
}

impl Storage {
    /// Removes what the heights that are kept at the tip `header` do not need.
    pub(super) fn prune(&self, batch: &mut Batch, header: &v1::Header) -> Result<(), StorageError> {
        let below = |heights: Option<u64>| heights.and_then(|n| header.height.checked_sub(n));
        if let Some(last) = below(self.retention.state_heights()) {
            self.prune_stale(batch, STALE_NODES, NODES, last)?;
            self.prune_stale(batch, STALE_LEAVES, OLD_LEAVES, last)?;
        }
        if let Some(last) = below(self.retention.block_heights()) {
            self.prune_blocks(batch, header, last)?;
        }
        Ok(())
    }

    /// What is stale since `last` or before is needed only by heights below it.
    fn prune_stale(
        &self,
        batch: &mut Batch,
        stale: &'static str,
        family: &'static str,
        last: u64,
    ) -> Result<(), StorageError> {
        let mut found = Vec::new();
        self.disk.scan(stale, &[], &mut |key, _| {
            let due = be_u64(key).is_none_or(|since| since <= last);
            if due {
                found.push(key.to_vec());
            }
            due && found.len() < PRUNED_AT_ONCE
        })?;
        for key in found {
            let named = key.get(8..).ok_or_else(|| damaged("a stale key has no version"))?;
            batch.delete(family, named);
            batch.delete(stale, key);
        }
        Ok(())
    }

    fn prune_blocks(
        &self,
        batch: &mut Batch,
        tip: &v1::Header,
        last: u64,
    ) -> Result<(), StorageError> {
        let first = self.blocks_from()?;
        let mut from = first;
        while from < last && from.saturating_sub(first) < BLOCKS_PRUNED_AT_ONCE as u64 {
            let key = height_key(from);
            if let Some(block) = self.block(from)? {
                let time_ms = block.header.as_ref().map_or(0, |header| header.time_ms);
                // The replay window is rebuilt from them.
                if time_ms >= window_start_ms(tip.time_ms) {
                    break;
                }
                let genesis = Hash::from_slice(&tip.genesis_hash).unwrap_or_default();
                for transaction in &block.transactions {
                    if let Some(leaf) = TransactionLeaf::of(&genesis, transaction) {
                        batch.delete(TRANSACTIONS, leaf.id.0);
                    }
                }
                batch.delete(BLOCKS, key);
                batch.delete(EVENTS, key);
            }
            if self.get(SET_CHANGES, &key)?.is_none() {
                batch.delete(CERTIFICATES, key);
            }
            from += 1;
        }
        if from != first {
            batch.put(META, KEY_BLOCKS_FROM, height_key(from));
        }
        Ok(())
    }
}
