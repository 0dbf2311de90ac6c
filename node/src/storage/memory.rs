//! A disk in memory, for the simulated world and for tests: it can lose what was not synced, come back as an older
//! copy, and refuse to be written.

use super::StorageError;
use super::key_value::{Batch, KeyValue};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Family, key, and the value before a write.
type Before = (&'static str, Vec<u8>, Option<Arc<[u8]>>);
type Families = BTreeMap<&'static str, BTreeMap<Vec<u8>, Arc<[u8]>>>;

#[derive(Debug, Clone, Default)]
struct Contents {
    families: Families,
    /// By batch since the last sync: what the keys it wrote held before, oldest write first.
    unsynced: Vec<Vec<Before>>,
    failing: bool,
    writes: u64,
}

impl Contents {
    fn set(
        &mut self,
        family: &'static str,
        key: &[u8],
        value: Option<Arc<[u8]>>,
    ) -> Option<Arc<[u8]>> {
        let family = self.families.entry(family).or_default();
        match value {
            Some(value) => family.insert(key.to_vec(), value),
            None => family.remove(key),
        }
    }
}

/// A disk in memory. A clone is the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<RwLock<Contents>>);

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn read(&self) -> RwLockReadGuard<'_, Contents> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn contents(&self) -> RwLockWriteGuard<'_, Contents> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The power goes: what was written since the last durable write is lost.
    pub fn crash(&self) {
        self.crash_keeping(0);
    }

    /// The power goes: of the batches since the last durable write the first `kept` happen to be on disk, as a log that is
    /// cut keeps them. How many are lost.
    pub fn crash_keeping(&self, kept: usize) -> usize {
        let mut contents = self.contents();
        let kept = kept.min(contents.unsynced.len());
        let undone = contents.unsynced.split_off(kept);
        let lost = undone.len();
        contents.unsynced.clear();
        for (family, key, before) in
            undone.into_iter().rev().flat_map(|batch| batch.into_iter().rev())
        {
            contents.set(family, &key, before);
        }
        lost
    }

    /// How many batches a crash may take.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.read().unsynced.len()
    }

    /// Another disk with the same contents: a backup.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self(Arc::new(RwLock::new(self.read().clone())))
    }

    /// Whether every write fails from now on: the disk is full or read-only.
    pub fn set_failing(&self, failing: bool) {
        self.contents().failing = failing;
    }

    /// How many batches were written.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.read().writes
    }
}

impl KeyValue for MemoryDisk {
    fn get(&self, family: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.read().families.get(family).and_then(|keys| keys.get(key)).map(|v| v.to_vec()))
    }

    fn scan(
        &self,
        family: &'static str,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StorageError> {
        let contents = self.read();
        let Some(keys) = contents.families.get(family) else { return Ok(()) };
        for (key, value) in keys.range::<[u8], _>((Bound::Included(from), Bound::Unbounded)) {
            if !visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, batch: Batch, durable: bool) -> Result<(), StorageError> {
        let mut contents = self.contents();
        if contents.failing {
            return Err(StorageError::Io { reason: "no space left on the disk".to_owned() });
        }
        contents.writes += 1;
        let mut before = Vec::with_capacity(batch.writes.len());
        for (family, key, value) in batch.writes {
            let was = contents.set(family, &key, value.map(Arc::from));
            before.push((family, key, was));
        }
        contents.unsynced.push(before);
        if durable {
            contents.unsynced.clear();
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), StorageError> {
        self.contents().unsynced.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(disk: &MemoryDisk, key: u8, value: u8, durable: bool) {
        let mut batch = Batch::default();
        batch.put("meta", [key], [value]);
        disk.write(batch, durable).unwrap();
    }

    #[test]
    fn a_crash_loses_what_was_not_synced_and_nothing_else() {
        let disk = MemoryDisk::new();
        put(&disk, 1, 1, true);
        put(&disk, 1, 2, false);
        put(&disk, 2, 2, false);
        let backup = disk.copy();
        let kept = disk.copy();
        assert_eq!((kept.unsynced(), kept.crash_keeping(1), kept.unsynced()), (2, 1, 0));
        assert_eq!(kept.get("meta", &[1]).unwrap(), Some(vec![2]), "the first batch was on disk");
        assert_eq!(kept.get("meta", &[2]).unwrap(), None);
        disk.crash();
        assert_eq!(disk.get("meta", &[1]).unwrap(), Some(vec![1]));
        assert_eq!(disk.get("meta", &[2]).unwrap(), None);
        // A durable write takes with it what was written before.
        put(&disk, 2, 3, false);
        put(&disk, 3, 3, true);
        disk.crash();
        assert_eq!(disk.get("meta", &[2]).unwrap(), Some(vec![3]));
        assert_eq!(backup.get("meta", &[1]).unwrap(), Some(vec![2]), "a copy is its own disk");
    }

    #[test]
    fn a_failing_disk_writes_nothing() {
        let disk = MemoryDisk::new();
        disk.set_failing(true);
        let mut batch = Batch::default();
        batch.put("meta", [1], [1]);
        assert!(disk.write(batch, true).is_err());
        assert_eq!(disk.get("meta", &[1]).unwrap(), None);
    }

    #[test]
    fn a_scan_is_in_order_from_the_key_it_names() {
        let disk = MemoryDisk::new();
        for key in [3, 1, 2] {
            put(&disk, key, key, false);
        }
        let mut seen = Vec::new();
        disk.scan("meta", &[2], &mut |key, _| {
            seen.push(key[0]);
            true
        })
        .unwrap();
        assert_eq!(seen, [2, 3]);
    }
}
