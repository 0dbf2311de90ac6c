//! The disk of a running node: RocksDB. The only module that knows it.

use super::key_value::{Batch, KeyValue};
use super::{FAMILIES, StorageError, damaged};
use rocksdb::{
    ColumnFamilyDescriptor, DB, DBCompressionType, Direction, IteratorMode, Options, WriteBatch,
    WriteOptions,
};
use std::path::Path;

impl From<rocksdb::Error> for StorageError {
    fn from(error: rocksdb::Error) -> Self {
        Self::Io { reason: error.to_string() }
    }
}

/// A database in a directory.
pub(super) struct Rocks(DB);

impl std::fmt::Debug for Rocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Rocks").field(&self.0.path()).finish()
    }
}

impl Rocks {
    /// Opens the database in `path`, making it if there is none.
    pub(super) fn open(path: &Path) -> Result<Self, StorageError> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_max_total_wal_size(64 * 1024 * 1024);
        options.set_keep_log_file_num(2);
        options.set_max_open_files(256);
        options.increase_parallelism(2);
        let mut family = Options::default();
        family.set_compression_type(DBCompressionType::Lz4);
        family.set_write_buffer_size(16 * 1024 * 1024);
        let mut table = rocksdb::BlockBasedOptions::default();
        table.set_bloom_filter(10.0, false);
        let cache = rocksdb::Cache::new_lru_cache(64 * 1024 * 1024);
        table.set_block_cache(&cache);
        family.set_block_based_table_factory(&table);
        let families = FAMILIES.map(|name| ColumnFamilyDescriptor::new(name, family.clone()));
        DB::open_cf_descriptors(&options, path, families).map(Self).map_err(|error| {
            StorageError::Open { path: path.to_owned(), reason: error.to_string() }
        })
    }

    fn family(&self, name: &str) -> Result<&rocksdb::ColumnFamily, StorageError> {
        self.0.cf_handle(name).ok_or_else(|| damaged(format!("column family {name} is missing")))
    }
}

impl KeyValue for Rocks {
    fn get(&self, family: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.0.get_cf(self.family(family)?, key)?)
    }

    fn scan(
        &self,
        family: &'static str,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StorageError> {
        let mode = IteratorMode::From(from, Direction::Forward);
        for entry in self.0.iterator_cf(self.family(family)?, mode) {
            let (key, value) = entry?;
            if !visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, batch: Batch, durable: bool) -> Result<(), StorageError> {
        let mut writes = WriteBatch::default();
        for (family, key, value) in batch.writes {
            let family = self.family(family)?;
            match value {
                Some(value) => writes.put_cf(family, key, value),
                None => writes.delete_cf(family, key),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(durable);
        Ok(self.0.write_opt(writes, &options)?)
    }

    fn flush(&self) -> Result<(), StorageError> {
        Ok(self.0.flush_wal(true)?)
    }
}
