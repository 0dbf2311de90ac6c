//! A node of the world: a host, what it has on disk, and what a crash leaves of it.

use super::application::Application;
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
    pub(super) signer: Option<Arc<dyn Signer>>,
    pub(super) key: ValidatorKey,
    pub(super) byzantine: bool,
    /// Milliseconds its wall clock is ahead of (or behind) the world's.
    pub(super) skew_ms: i64,
    pub(super) record: RecordOnDisk,
    pub(super) application: Application,
    pub(super) mempool: BTreeSet<u64>,
    pub(super) host: Option<Host>,
    /// Counts starts and stops: what was under way for an earlier life is dropped.
    pub(super) life: u64,
    /// Crash when this many more actions were carried out.
    pub(super) crash_in: Option<u64>,
    /// Stays down once it is down.
    pub(super) dead: bool,
}

impl SimulatedNode {
    pub(super) fn is_up(&self) -> bool {
        self.host.is_some()
    }

    pub(super) fn has_pending(&self) -> bool {
        self.mempool.iter().any(|number| !self.application.has_applied(*number))
    }

    pub(super) fn pending(&self, at_most: usize) -> Vec<u64> {
        self.mempool
            .iter()
            .filter(|number| !self.application.has_applied(**number))
            .take(at_most)
            .copied()
            .collect()
    }
}
