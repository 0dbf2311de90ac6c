//! The signing record on disk: what is durable, and what a crash may lose from the end.

use sillok_consensus::SigningRecord;
use sillok_proto::v1;
use std::collections::BTreeSet;

#[derive(Debug, Clone, Default)]
pub(super) struct RecordOnDisk {
    pub(super) height: u64,
    pub(super) durable: Vec<v1::WalEntry>,
    pub(super) appended: Vec<v1::WalEntry>,
    /// Signatures of statements that were durable at some time: for the checker, no node reads it.
    pub(super) ever_durable: BTreeSet<Vec<u8>>,
}

impl RecordOnDisk {
    pub(super) fn reset(&mut self, height: u64) {
        self.height = height;
        self.durable.clear();
        self.appended.clear();
    }

    pub(super) fn append(&mut self, entry: v1::WalEntry) {
        // A host that forgets to begin a record leaves it to whoever begins the file.
        self.height = self.height.max(entry.height);
        self.appended.push(entry);
    }

    pub(super) fn sync(&mut self) {
        for entry in &self.appended {
            let signature = match &entry.entry {
                Some(v1::wal_entry::Entry::Vote(vote)) => &vote.signature,
                Some(v1::wal_entry::Entry::Proposal(proposal)) => &proposal.signature,
                _ => continue,
            };
            self.ever_durable.insert(signature.clone());
        }
        self.durable.append(&mut self.appended);
    }

    /// The power goes: any prefix of what was not synced happens to be on disk.
    pub(super) fn tear(&mut self, kept: usize) {
        self.appended.truncate(kept);
        self.sync();
    }

    pub(super) fn read(&self) -> SigningRecord {
        // A record that was never reset gives its entries out as of its height.
        let entries = self
            .durable
            .iter()
            .map(|entry| v1::WalEntry { height: self.height, ..entry.clone() })
            .collect();
        SigningRecord { height: self.height, entries }
    }
}
