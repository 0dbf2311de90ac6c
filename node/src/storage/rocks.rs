//! The disk of a running node: RocksDB. The only module that knows it.
//!
//! # Memory
//!
//! All families share one cache of the size the operator grants, and it is charged with parts of files read lately, with
//! indexes and filters of files, and with what was written and waits for its file. By RocksDB's own defaults each family
//! has buffers of its own, and every open file keeps its index and filter outside of any bound. Outside remain some KiB
//! for each open file, of which there are [`OPEN_FILES_MAX`], and the name and bounds of every file there is.
//!
//! Indexes and filters are cut into parts of a few KiB of which only those in use are held: whole ones, of a megabyte a
//! file, would push each other out of a cache that is smaller than all of them, and every read would fetch one anew.

use super::key_value::{Batch, KeyValue, MemoryUse};
use super::{FAMILIES, StorageError, damaged};
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType,
    Direction, IteratorMode, LruCacheOptions, Options, WriteBatch, WriteBufferManager,
    WriteOptions, properties,
};
use std::path::Path;

/// A quarter of the memory is for what was written and waits for its file. More would make files larger and fewer, and
/// leave less for reading.
const UNWRITTEN_PART: usize = 4;
/// Blocks in which a family takes memory for what was written, in bytes. Each family that was written at all holds one, so
/// they must be small beside what is granted; by default they would be 1 MiB, and the memory full of nothing.
const ARENA_BLOCK_BYTES: usize = 64 * 1024;
/// 2 to the power of this many parts of the cache, each with a lock of its own. With the 64 of RocksDB's choice a part of a
/// small cache would hold little more than one charge of what was written.
const CACHE_SHARD_BITS: i32 = 4;
/// Open files: each holds a descriptor and a little memory outside of the cache.
const OPEN_FILES_MAX: i32 = 256;
/// Longest log of RocksDB itself, in bytes; this one and the one before are kept.
const LOG_BYTES_MAX: usize = 8 * 1024 * 1024;

impl From<rocksdb::Error> for StorageError {
    fn from(error: rocksdb::Error) -> Self {
        Self::Io { reason: error.to_string() }
    }
}

/// A database in a directory.
pub(crate) struct Rocks {
    database: DB,
    cache: Cache,
    unwritten: WriteBufferManager,
}

impl std::fmt::Debug for Rocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Rocks").field(&self.database.path()).finish()
    }
}

impl Rocks {
    /// Opens the database in `path`, making it if there is none. It holds about `memory_bytes` of memory at most; what is in
    /// use at a moment may exceed it for that moment, for a write or a read is never refused for it.
    pub(crate) fn open(path: &Path, memory_bytes: usize) -> Result<Self, StorageError> {
        let mut cache = LruCacheOptions::default();
        cache.set_capacity(memory_bytes);
        cache.set_num_shard_bits(CACHE_SHARD_BITS);
        let cache = Cache::new_lru_cache_opts(&cache);
        let unwritten_bytes = memory_bytes / UNWRITTEN_PART;
        // Without stalling: a commit that waits for a file would make a height late.
        let unwritten = WriteBufferManager::new_write_buffer_manager_with_cache(
            unwritten_bytes,
            false,
            cache.clone(),
        );
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_max_total_wal_size(64 * 1024 * 1024);
        options.set_keep_log_file_num(2);
        options.set_max_log_file_size(LOG_BYTES_MAX);
        options.set_max_open_files(OPEN_FILES_MAX);
        options.increase_parallelism(2);
        options.set_write_buffer_manager(&unwritten);
        let mut family = Options::default();
        family.set_compression_type(DBCompressionType::Lz4);
        family.set_write_buffer_size(unwritten_bytes / 2);
        family.set_arena_block_size(ARENA_BLOCK_BYTES);
        let mut table = BlockBasedOptions::default();
        table.set_bloom_filter(10.0, false);
        table.set_block_cache(&cache);
        table.set_cache_index_and_filter_blocks(true);
        table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        table.set_partition_filters(true);
        family.set_block_based_table_factory(&table);
        let families = FAMILIES.map(|name| ColumnFamilyDescriptor::new(name, family.clone()));
        let database = DB::open_cf_descriptors(&options, path, families).map_err(|error| {
            StorageError::Open { path: path.to_owned(), reason: error.to_string() }
        })?;
        Ok(Self { database, cache, unwritten })
    }

    fn family(&self, name: &str) -> Result<&rocksdb::ColumnFamily, StorageError> {
        self.database
            .cf_handle(name)
            .ok_or_else(|| damaged(format!("column family {name} is missing")))
    }
}

/// For measurements and searches over the database of a node that does not run.
#[cfg(feature = "testing")]
impl Rocks {
    /// Visits every key with its value, in every family that there is, whether this build knows it or not.
    pub(crate) fn visit_all(
        &self,
        mut visit: impl FnMut(&str, &[u8], &[u8]),
    ) -> Result<(), StorageError> {
        for name in DB::list_cf(&Options::default(), self.database.path())? {
            for entry in self.database.iterator_cf(self.family(&name)?, IteratorMode::Start) {
                let (key, value) = entry?;
                visit(&name, &key, &value);
            }
        }
        Ok(())
    }

    /// Writes everything to files, merges them, and says how many bytes of files each family has then.
    pub(crate) fn settle(&self) -> Result<Vec<(&'static str, u64)>, StorageError> {
        let mut sizes = Vec::with_capacity(FAMILIES.len());
        for name in FAMILIES {
            let family = self.family(name)?;
            self.database.flush_cf(family)?;
            self.database.compact_range_cf(family, None::<&[u8]>, None::<&[u8]>);
            let property = properties::LIVE_SST_FILES_SIZE;
            let bytes = self.database.property_int_value_cf(family, property)?;
            sizes.push((name, bytes.unwrap_or(0)));
        }
        Ok(sizes)
    }
}

impl KeyValue for Rocks {
    fn get(&self, family: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.database.get_cf(self.family(family)?, key)?)
    }

    fn scan(
        &self,
        family: &'static str,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StorageError> {
        let mode = IteratorMode::From(from, Direction::Forward);
        for entry in self.database.iterator_cf(self.family(family)?, mode) {
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
        Ok(self.database.write_opt(writes, &options)?)
    }

    fn flush(&self) -> Result<(), StorageError> {
        Ok(self.database.flush_wal(true)?)
    }

    fn memory(&self) -> MemoryUse {
        let tables = |name| {
            let family = self.family(name).ok()?;
            let property = properties::ESTIMATE_TABLE_READERS_MEM;
            self.database.property_int_value_cf(family, property).ok().flatten()
        };
        let unwritten_bytes = self.unwritten.get_usage() as u64;
        MemoryUse {
            // What was written is charged to the cache too.
            read_bytes: (self.cache.get_usage() as u64).saturating_sub(unwritten_bytes),
            unwritten_bytes,
            tables_bytes: FAMILIES.iter().filter_map(|name| tables(name)).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{BLOCKS, HEADS, LEAVES, NODES};

    /// As much as `open` allows itself, and a quarter: what is being written to files counts until it is there.
    fn bound(memory_bytes: usize) -> u64 {
        (memory_bytes + memory_bytes / 4) as u64
    }

    #[test]
    fn memory_stays_within_its_bound_however_much_is_written_and_read() {
        const MEMORY_BYTES: usize = 32 << 20;
        const FAMILIES_WRITTEN: [&str; 4] = [BLOCKS, HEADS, LEAVES, NODES];
        const ENTRIES: u32 = 20_000;
        let directory = tempfile::tempdir().unwrap();
        let rocks = Rocks::open(directory.path(), MEMORY_BYTES).unwrap();
        let mut value = [0_u8; 1_000];
        let (mut most, mut written) = (0, 0);
        let mut look = |rocks: &Rocks| {
            let MemoryUse { read_bytes, unwritten_bytes, tables_bytes } = rocks.memory();
            most = most.max(read_bytes + unwritten_bytes + tables_bytes);
        };
        // Keys in no order, so that files overlap and are merged, and values that do not shrink.
        let key = |nth: u32| blake3::hash(&nth.to_be_bytes());
        for nth in 0..ENTRIES {
            let mut batch = Batch::default();
            for family in FAMILIES_WRITTEN {
                blake3::Hasher::new()
                    .update(family.as_bytes())
                    .update(&nth.to_be_bytes())
                    .finalize_xof()
                    .fill(&mut value);
                batch.put(family, *key(nth).as_bytes(), value);
                written += value.len();
            }
            rocks.write(batch, false).unwrap();
            if nth % 64 == 0 {
                look(&rocks);
            }
        }
        for nth in 0..ENTRIES {
            for family in FAMILIES_WRITTEN {
                assert!(rocks.get(family, key(nth).as_bytes()).unwrap().is_some());
            }
            if nth % 64 == 0 {
                look(&rocks);
            }
        }
        assert!(written > 2 * MEMORY_BYTES, "too little to say anything");
        assert!(most > MEMORY_BYTES as u64 / 2, "the memory that is granted is used: {most}");
        assert!(most <= bound(MEMORY_BYTES), "{most} bytes, {MEMORY_BYTES} are granted");
    }
}
