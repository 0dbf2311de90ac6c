//! The bytes of a signing record without a file under them: for the simulated world, whose disks lose what was not synced.
//!
//! The same format, read by the same code as the file; not here are the key, the lock, and the disk itself.

use super::{
    CHECKSUM_BYTES, HEADER_BYTES, KIND_DURABLE, KIND_ENTRY, KIND_HEIGHT, push_record,
    salted_header, scan,
};
use sillok_proto::v1::{WalEntry, wal_entry};
use sillok_proto::{Hash, encode};

/// A signing record in memory.
#[derive(Debug, Clone)]
pub struct Image {
    tag: [u8; CHECKSUM_BYTES],
    bytes: Vec<u8>,
    /// So many bytes survive whatever happens.
    durable_bytes: usize,
    /// Past this length a new height begins a new file.
    file_bytes_max: usize,
    files: u64,
    height: u64,
}

impl Image {
    /// An empty record, on disk. A new height begins a new file past `file_bytes_max`.
    #[must_use]
    pub fn new(file_bytes_max: usize) -> Self {
        let mut image = Self {
            tag: [0; CHECKSUM_BYTES],
            bytes: Vec::new(),
            durable_bytes: 0,
            file_bytes_max,
            files: 0,
            height: 0,
        };
        image.begin_file();
        image
    }

    /// A whole file in the place of the old one, durable before it has the name.
    fn begin_file(&mut self) {
        self.files = self.files.wrapping_add(1);
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&self.files.to_be_bytes());
        (self.bytes, self.tag) = salted_header(&Hash::default(), &[0; 32], salt);
        if self.height > 0 {
            self.push(KIND_HEIGHT, &self.height.to_le_bytes());
        }
        self.durable_bytes = self.bytes.len();
        self.mark_durable();
    }

    fn push(&mut self, kind: u8, content: &[u8]) {
        let offset = self.bytes.len() as u64;
        push_record(&mut self.bytes, &self.tag, offset, kind, content);
    }

    fn mark_durable(&mut self) {
        let durable = self.bytes.len() as u64;
        self.push(KIND_DURABLE, &durable.to_le_bytes());
    }

    /// Latest height started; 0 before the first.
    #[must_use]
    pub const fn height(&self) -> u64 {
        self.height
    }

    /// As [`super::SigningRecord::reset`].
    ///
    /// # Errors
    ///
    /// The height does not increase.
    pub fn reset(&mut self, height: u64) -> Result<(), String> {
        if height <= self.height {
            let current = self.height;
            return Err(format!("height {height} is begun in a record of height {current}"));
        }
        self.height = height;
        if self.bytes.len() > self.file_bytes_max {
            self.begin_file();
        } else {
            self.push(KIND_HEIGHT, &height.to_le_bytes());
        }
        Ok(())
    }

    /// As [`super::SigningRecord::append`].
    ///
    /// # Errors
    ///
    /// The entry is of another height.
    pub fn append(&mut self, entry: &WalEntry) -> Result<(), String> {
        let retires = matches!(entry.entry, Some(wal_entry::Entry::KeyRetired(_)));
        if entry.height != self.height || (entry.height == 0 && !retires) {
            let (current, height) = (self.height, entry.height);
            return Err(format!("an entry of height {height} in a record of height {current}"));
        }
        self.push(KIND_ENTRY, &encode(entry));
        Ok(())
    }

    /// As [`super::SigningRecord::sync`].
    pub fn sync(&mut self) {
        self.durable_bytes = self.bytes.len();
        self.mark_durable();
    }

    /// How many bytes a crash may take.
    #[must_use]
    pub const fn unsynced_bytes(&self) -> usize {
        self.bytes.len().saturating_sub(self.durable_bytes)
    }

    /// The power goes: of the bytes that were not synced, the first `kept_bytes` are on disk.
    pub fn tear(&mut self, kept_bytes: usize) {
        let kept_bytes = kept_bytes.min(self.unsynced_bytes());
        self.bytes.truncate(self.durable_bytes.saturating_add(kept_bytes));
    }

    /// As [`super::SigningRecord::open`]: what it holds, with a torn tail cut off.
    ///
    /// # Errors
    ///
    /// It is damaged.
    pub fn open(&mut self) -> Result<(u64, Vec<WalEntry>), String> {
        let scan = scan(&self.bytes, &self.tag)
            .map_err(|(offset, reason)| format!("the record is damaged at {offset}: {reason}"))?;
        self.bytes.truncate(scan.end.max(HEADER_BYTES));
        self.height = scan.height;
        self.sync();
        Ok((scan.height, scan.entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(height: u64, number: u64) -> WalEntry {
        let retired = sillok_proto::v1::KeyRetired { height: number, round: 0 };
        WalEntry { height, entry: Some(wal_entry::Entry::KeyRetired(retired)) }
    }

    #[test]
    fn torn_at_any_byte_it_opens_with_a_prefix_and_never_without_what_was_synced() {
        let mut image = Image::new(300);
        for height in 1..6 {
            image.reset(height).unwrap();
            image.append(&entry(height, 1)).unwrap();
            image.sync();
            image.append(&entry(height, 2)).unwrap();
            let mut next = image.clone();
            next.reset(height + 1).unwrap();
            for kept in 0..=next.unsynced_bytes() {
                let mut torn = next.clone();
                torn.tear(kept);
                let (found, entries) = torn.open().unwrap();
                assert!(found == height && !entries.is_empty() || found == height + 1);
                assert!(torn.append(&entry(found, 3)).is_ok());
            }
        }
        assert!(image.reset(5).is_err() && image.append(&entry(4, 1)).is_err());
    }
}
