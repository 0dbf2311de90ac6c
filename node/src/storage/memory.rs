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
    /// What the keys written since the last sync held before, oldest write first.
    unsynced: Vec<Before>,
    failing: bool,
    writes: u64,
}

impl Contents {
    fn set(&mut self, family: &'static str, key: Vec<u8>, value: Option<Arc<[u8]>>) {
        let before = match value {
            Some(value) => self.families.entry(family).or_default().insert(key.clone(), value),
            None => self.families.entry(family).or_default().remove(&key),
        };
        self.unsynced.push((family, key, before));
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
        let mut contents = self.contents();
        while let Some((family, key, before)) = contents.unsynced.pop() {
            let family = contents.families.entry(family).or_default();
            match before {
                Some(value) => family.insert(key, value),
                None => family.remove(&key),
            };
        }
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
        for (family, key, value) in batch.writes {
            contents.set(family, key, value.map(Arc::from));
        }
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
