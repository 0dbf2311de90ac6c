//! A whole node of the world: host, record on a disk that forgets, mempool, and what a crash leaves of them.

use super::disk::RecordOnDisk;
use super::founding::START_MS;
use super::keys::Key;
use super::world::Happening;
use sillok_consensus::Host;
use sillok_consensus::testing::Traitor;
use sillok_node::application::Application;
use sillok_node::clock::Clock;
use sillok_node::join::Joining;
use sillok_node::ledger::Ledger;
use sillok_node::storage::memory::MemoryDisk;
use sillok_proto::Hash;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is in memory while a node runs.
pub(super) struct Running {
    pub(super) host: Host,
    pub(super) application: Application,
    /// The key that the host was given to sign with.
    pub(super) signer: Option<[u8; 32]>,
    pub(super) told_pending: bool,
    /// What waited at the last turn of passing on.
    pub(super) waiting: BTreeSet<Hash>,
}

impl Running {
    pub(super) fn ledger(&self) -> &Arc<Ledger> {
        self.application.ledger()
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Node {
    /// Follows the rules. A node may be honest and at fault.
    pub(super) honest: bool,
    pub(super) traitor: Option<Traitor>,
    /// One of two nodes with one key: 0 or 1, and the other.
    pub(super) twin: Option<(usize, usize)>,
    /// Its validator key.
    pub(super) key: Option<Key>,
    pub(super) record: RecordOnDisk,
    pub(super) disk: MemoryDisk,
    pub(super) backup: Option<MemoryDisk>,
    pub(super) running: Option<Running>,
    /// A snapshot being fetched; until it is there nothing else runs.
    pub(super) joining: Option<Joining<usize>>,
    /// Counts starts and stops: what was under way for an earlier life is dropped.
    pub(super) life: u64,
    /// Crash when this many more actions were carried out.
    pub(super) crash_in: Option<u64>,
    /// Crash before the next action of this kind.
    pub(super) crash_before: Option<&'static str>,
    /// Does not come back by itself.
    pub(super) stopped: bool,
    pub(super) paused: bool,
    /// What happened to it while it stood still.
    pub(super) backlog: VecDeque<Happening>,
    /// Milliseconds its wall clock is ahead of (or behind) the world's.
    pub(super) skew_ms: i64,
    pub(super) clock: Arc<AtomicU64>,
    /// Writes take up to this much longer.
    pub(super) slow_us: u64,
    pub(super) disk_full: bool,
    /// Peers from which it takes nothing until then.
    pub(super) banned: BTreeMap<usize, u64>,
    /// Its validator key, or the record of it, is lost.
    pub(super) keyless: bool,
}

impl Node {
    pub(super) fn is_up(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn ledger(&self) -> Option<&Arc<Ledger>> {
        self.running.as_ref().map(Running::ledger)
    }

    /// The record is gone; what was durable once stays known to the checker.
    pub(super) fn forget_record(&mut self) {
        self.record.forget();
    }

    /// Its wall clock, in milliseconds, when the world's is `now_us`.
    pub(super) fn set_clock(&self, now_us: u64) -> u64 {
        let now_ms = (START_MS + 1_000 + now_us / 1_000).saturating_add_signed(self.skew_ms);
        self.clock.store(now_ms, Ordering::Relaxed);
        now_ms
    }

    /// The clock as its ledger reads it.
    pub(super) fn clock(&self) -> Clock {
        let clock = self.clock.clone();
        Clock::of(move || clock.load(Ordering::Relaxed))
    }
}
