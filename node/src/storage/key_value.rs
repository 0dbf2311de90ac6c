//! What the storage needs of a disk: ordered keys in named families, and batches written whole or not at all.
//!
//! Behind a trait, so that the simulated world runs the very layout that a node runs, on a disk that loses what was
//! not synced. Not here: what the keys and values mean.

use super::StorageError;

/// Family, key, and the new value or its removal.
pub type Write = (&'static str, Vec<u8>, Option<Vec<u8>>);

/// Writes that happen together or not at all, in their order.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// The writes.
    pub writes: Vec<Write>,
}

impl Batch {
    /// Writes a value.
    pub fn put(
        &mut self,
        family: &'static str,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
    ) {
        self.writes.push((family, key.into(), Some(value.into())));
    }

    /// Removes a key, if it is there.
    pub fn delete(&mut self, family: &'static str, key: impl Into<Vec<u8>>) {
        self.writes.push((family, key.into(), None));
    }
}

/// Memory that a disk holds for what lies on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes of what was read lately, indexes and filters included.
    pub read_bytes: u64,
    /// Bytes of what was written and waits for its file; it is in the log of the database already.
    pub unwritten_bytes: u64,
    /// Bytes for open files beside those.
    pub tables_bytes: u64,
}

/// A disk of ordered keys in families.
pub trait KeyValue: Send + Sync + std::fmt::Debug {
    /// The value of a key.
    ///
    /// # Errors
    ///
    /// [`StorageError`] if the disk failed; it never means "absent".
    fn get(&self, family: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError>;

    /// Visits keys not below `from` in ascending order, with their values, until `visit` says `false`. The visitor
    /// must not come back to the disk.
    ///
    /// # Errors
    ///
    /// [`StorageError`] if the disk failed on the way.
    fn scan(
        &self,
        family: &'static str,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StorageError>;

    /// Writes a batch. With `durable` it is on disk when this returns, and everything written before it.
    ///
    /// # Errors
    ///
    /// [`StorageError`]: nothing of the batch was written.
    fn write(&self, batch: Batch, durable: bool) -> Result<(), StorageError>;

    /// Makes everything written durable.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    fn flush(&self) -> Result<(), StorageError>;

    /// Memory it holds now; a disk that is itself in memory says nothing.
    fn memory(&self) -> MemoryUse {
        MemoryUse::default()
    }
}
