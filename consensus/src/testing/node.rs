//! A node of the world: a host, what it has on disk, and what a crash leaves of it.

use super::application::{self, Application};
use crate::config::SigningRecord;
use crate::context::ValidatorKey;
use crate::host::Host;
use crate::signature::Signer;
use sillok_proto::v1;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The signing record on disk: what is durable, and what a crash may lose from the end.
#[derive(Debug, Clone, Default)]
pub(super) struct RecordOnDisk {
    pub(super) height: u64,
    pub(super) durable: Vec<v1::WalEntry>,
    pub(super) appended: Vec<v1::WalEntry>,
}

impl RecordOnDisk {
    pub(super) fn reset(&mut self, height: u64) {
        *self = Self { height, ..Self::default() };
    }

    pub(super) fn append(&mut self, entry: v1::WalEntry) {
        self.appended.push(entry);
    }

    pub(super) fn sync(&mut self) {
        self.durable.append(&mut self.appended);
    }

    /// The power goes: any prefix of what was not synced happens to be on disk.
    pub(super) fn tear(&mut self, kept: usize) {
        self.appended.truncate(kept);
        self.sync();
    }

    pub(super) fn read(&self) -> SigningRecord {
        // A record that was never reset (`Mutant::WalNotReset`) gives its entries out as of its height.
        let entries = self
            .durable
            .iter()
            .map(|entry| v1::WalEntry { height: self.height, ..entry.clone() })
            .collect();
        SigningRecord { height: self.height, entries }
    }
}

/// See the module.
pub(super) struct SimulatedNode {
    /// Its validator keys, by generation. The directory of a key is the key and its record.
    pub(super) signers: Vec<Arc<dyn Signer>>,
    /// The records beside the keys. `None`: lost, or destroyed with the key.
    pub(super) records: Vec<Option<RecordOnDisk>>,
    /// Keys that were destroyed.
    pub(super) destroyed: BTreeSet<usize>,
    /// Which key the host has.
    pub(super) generation: usize,
    pub(super) byzantine: bool,
    /// Milliseconds its wall clock is ahead of (or behind) the world's.
    pub(super) skew_ms: i64,
    pub(super) application: Application,
    pub(super) mempool: BTreeSet<u64>,
    pub(super) host: Option<Host>,
    /// Counts starts and stops: what was under way for an earlier life is dropped.
    pub(super) life: u64,
    /// Crash when this many more actions were carried out.
    pub(super) crash_in: Option<u64>,
    /// Stays down once it is down.
    pub(super) dead: bool,
    /// Nothing happens on it before this time; then everything that came meanwhile, at once.
    pub(super) paused_until_us: u64,
}

impl SimulatedNode {
    pub(super) fn is_up(&self) -> bool {
        self.host.is_some()
    }

    /// The key the host has, if it was not destroyed.
    pub(super) fn signer(&self) -> Option<&Arc<dyn Signer>> {
        self.signers.get(self.generation).filter(|_| !self.destroyed.contains(&self.generation))
    }

    pub(super) fn key(&self) -> ValidatorKey {
        self.signers
            .get(self.generation)
            .map_or(ValidatorKey::default(), |signer| ValidatorKey(signer.public_key()))
    }

    /// The key for the next height: of its set, else of the one after, else as before.
    pub(super) fn generation_for_next_height(&self) -> usize {
        let next = self.application.tip() + 1;
        let seated = |height| {
            let set = self.application.set(height)?;
            let is_in = |signer: &Arc<dyn Signer>| set.contains(&ValidatorKey(signer.public_key()));
            self.signers.iter().position(is_in)
        };
        seated(next).or_else(|| seated(next + 1)).unwrap_or(self.generation)
    }

    pub(super) fn record(&mut self) -> &mut Option<RecordOnDisk> {
        &mut self.records[self.generation]
    }

    pub(super) fn has_pending(&self) -> bool {
        self.mempool.iter().any(|number| self.application.is_admissible(*number))
    }

    pub(super) fn pending(&self, at_most: usize) -> Vec<u64> {
        let mut changes = 0;
        self.mempool
            .iter()
            .filter(|number| self.application.is_admissible(**number))
            .filter(|number| {
                changes += usize::from(application::is_change(**number));
                !application::is_change(**number) || changes == 1
            })
            .take(at_most)
            .copied()
            .collect()
    }
}
