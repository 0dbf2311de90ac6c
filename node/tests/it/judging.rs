//! What a validator says of a block that it cannot judge.

use super::support::{LIMITS, NETWORK, build, chain, create, now_ms};
use sillok_consensus::{Event, ValidationId, Verdict};
use sillok_node::application::Application;
use sillok_node::ledger::{Environment, Ledger};
use sillok_node::storage::key_value::{Batch, KeyValue};
use sillok_node::storage::memory::MemoryDisk;
use sillok_node::storage::{Retention, Storage, StorageError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A disk that answers so many more reads, and then fails.
#[derive(Debug, Clone)]
struct FailingDisk {
    disk: MemoryDisk,
    reads_left: Arc<AtomicU64>,
}

impl FailingDisk {
    fn count(&self) -> Result<(), StorageError> {
        let one_less = |left: u64| left.checked_sub(1);
        match self.reads_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less) {
            Ok(_) => Ok(()),
            Err(_) => Err(StorageError::Io { reason: "a sector cannot be read".to_owned() }),
        }
    }
}

impl KeyValue for FailingDisk {
    fn get(&self, family: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.count()?;
        self.disk.get(family, key)
    }

    fn scan(
        &self,
        family: &'static str,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StorageError> {
        self.count()?;
        self.disk.scan(family, from, visit)
    }

    fn write(&self, batch: Batch, durable: bool) -> Result<(), StorageError> {
        self.disk.write(batch, durable)
    }

    fn flush(&self) -> Result<(), StorageError> {
        self.disk.flush()
    }
}

/// Whichever read of a validation it is that fails: the block is not refused for it, and judged when it comes again.
#[test]
fn a_disk_that_cannot_be_read_refuses_no_block() {
    let reads_left = Arc::new(AtomicU64::new(u64::MAX));
    let disk = FailingDisk { disk: MemoryDisk::new(), reads_left: reads_left.clone() };
    let chain = chain(NETWORK);
    let storage = Storage::over(Arc::new(disk), &chain, Retention::Archive).unwrap();
    let ledger = Ledger::open(chain, storage, LIMITS, Environment::default()).unwrap();
    ledger.submit(create(ledger.chain.hash(), 9, now_ms() + 60_000).1).unwrap();
    let block = Arc::new(build(&ledger, now_ms()).built.block);
    assert_eq!(block.transactions.len(), 1);

    let mut application = Application::new(Arc::new(ledger), None);
    let mut judge = |reads: u64, certified: bool| {
        let job = application.validate(ValidationId(1), block.clone(), certified);
        reads_left.store(reads, Ordering::Relaxed);
        let validated = job.run();
        let took = reads - reads_left.swap(u64::MAX, Ordering::Relaxed);
        (application.on_validated(validated), took)
    };
    let verdict = |event| match event {
        Ok(Event::Validated { verdict, .. }) => verdict,
        other => panic!("{other:?}"),
    };
    let (judged, reads) = judge(u64::MAX, false);
    assert_eq!(verdict(judged), Verdict::Valid);
    assert!(reads > 3, "it reads the state {reads} times");
    for reads in 0..reads {
        let said = verdict(judge(reads, false).0);
        assert!(matches!(said, Verdict::NotJudged { .. }), "{reads}: {said:?}");
    }
    assert_eq!(verdict(judge(u64::MAX, false).0), Verdict::Valid);
    // Of what a quorum decided the node cannot say nothing: the process ends, and begins again over its disk.
    assert!(judge(0, true).0.is_err());
}
