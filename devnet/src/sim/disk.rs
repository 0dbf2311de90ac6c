//! The signing record on disk: the bytes that a node writes, what of them is durable, and what a crash leaves.

use sillok_consensus::SigningRecord;
use sillok_node::signing_record::image::Image;
use sillok_proto::v1::{self, wal_entry::Entry};
use std::collections::BTreeSet;

/// Small, so that runs begin new files now and then.
const FILE_BYTES_MAX: usize = 40_000;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct RecordOnDisk {
    image: Image,
    /// Signatures of statements that are not durable yet.
    appended: Vec<Vec<u8>>,
    /// Signatures of statements that were durable at some time: for the checker, no node reads it.
    pub(super) ever_durable: BTreeSet<Vec<u8>>,
    /// Height begun last, durably or not: to count what a crash undid.
    begun: u64,
}

impl Default for RecordOnDisk {
    fn default() -> Self {
        Self {
            image: Image::new(FILE_BYTES_MAX),
            appended: Vec::new(),
            ever_durable: BTreeSet::new(),
            begun: 0,
        }
    }
}

/// What opening it found.
pub(super) struct Opened {
    pub(super) record: SigningRecord,
    /// A height was begun and the crash undid it.
    pub(super) undone: bool,
}

impl RecordOnDisk {
    pub(super) fn reset(&mut self, height: u64) -> Result<(), String> {
        self.image.reset(height)?;
        self.begun = height;
        Ok(())
    }

    pub(super) fn append(&mut self, entry: &v1::WalEntry) -> Result<(), String> {
        self.image.append(entry)?;
        self.appended.extend(signature(entry).cloned());
        Ok(())
    }

    pub(super) fn sync(&mut self) {
        self.image.sync();
        self.ever_durable.extend(std::mem::take(&mut self.appended));
    }

    /// It is gone, and an empty one in its place.
    pub(super) fn forget(&mut self) {
        let ever_durable = std::mem::take(&mut self.ever_durable);
        *self = Self { ever_durable, ..Self::default() };
    }

    /// How many bytes a crash may take.
    pub(super) const fn unsynced_bytes(&self) -> usize {
        self.image.unsynced_bytes()
    }

    /// The power goes: of what was not synced so many bytes happen to be on disk.
    pub(super) fn tear(&mut self, kept_bytes: usize) {
        self.image.tear(kept_bytes);
        self.appended.clear();
    }

    /// What a starting node finds. It is durable from then on.
    pub(super) fn open(&mut self) -> Result<Opened, String> {
        let (height, entries) = self.image.open()?;
        self.ever_durable.extend(entries.iter().filter_map(signature).cloned());
        let undone = height < std::mem::replace(&mut self.begun, height);
        Ok(Opened { record: SigningRecord { height, entries }, undone })
    }
}

fn signature(entry: &v1::WalEntry) -> Option<&Vec<u8>> {
    match &entry.entry {
        Some(Entry::Vote(vote)) => Some(&vote.signature),
        Some(Entry::Proposal(proposal)) => Some(&proposal.signature),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(height: u64, round: u32) -> v1::WalEntry {
        let statement = v1::VoteStatement { height, round, header_hash: Vec::new() };
        let vote = v1::SignedVote {
            r#type: v1::VoteType::Prevote.into(),
            statement: Some(statement),
            validator: vec![1; 32],
            signature: vec![round as u8; 64],
        };
        v1::WalEntry { height, entry: Some(Entry::Vote(vote)) }
    }

    /// Every place where the bytes of a height may end: what was synced is there, and what is there was appended.
    #[test]
    fn any_byte_may_be_the_last_and_what_was_synced_stays() {
        let mut disk = RecordOnDisk::default();
        disk.reset(1).unwrap();
        disk.append(&vote(1, 1)).unwrap();
        disk.sync();
        disk.append(&vote(1, 2)).unwrap();
        disk.reset(2).unwrap();
        disk.append(&vote(2, 3)).unwrap();
        let mut found = BTreeSet::new();
        for kept in 0..=disk.unsynced_bytes() {
            let mut torn = disk.clone();
            torn.tear(kept);
            let Opened { record, undone } = torn.open().unwrap();
            assert_eq!(undone, record.height == 1);
            assert!(
                record
                    .entries
                    .iter()
                    .filter_map(signature)
                    .all(|signature| { torn.ever_durable.contains(signature) })
            );
            found.insert((record.height, record.entries.len()));
        }
        assert_eq!(found, BTreeSet::from([(1, 1), (1, 2), (2, 0), (2, 1)]));
    }
}
