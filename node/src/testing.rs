//! Faults of a node that runs as a process, and the database of one that does not, for tests alone: this module is not
//! there without feature `testing`.
//!
//! What the faults do is not here: a traitor is made of what it sends in place of what an honest node would, and the
//! program that starts the node brings that along.

use crate::ledger::ExecutionFault;
use crate::storage::StorageError;
use crate::storage::rocks::Rocks;
use bytes::Bytes;
use sillok_consensus::testing::Mutant;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Memory for looking at a database, in bytes.
const DATABASE_MEMORY_BYTES: usize = 64 * 1024 * 1024;

/// The database of a node that does not run, as it lies on the disk.
#[derive(Debug)]
pub struct Database(Rocks);

impl Database {
    /// Opens the database in a node's `data` directory. What is still in its log is read in, as at a start.
    ///
    /// # Errors
    ///
    /// [`StorageError`]: another process uses it, or the disk failed.
    pub fn open(data: &Path) -> Result<Self, StorageError> {
        Rocks::open(data, DATABASE_MEMORY_BYTES).map(Self)
    }

    /// Visits every key with its value, in every column family that there is.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn visit(&self, visit: impl FnMut(&str, &[u8], &[u8])) -> Result<(), StorageError> {
        self.0.visit_all(visit)
    }

    /// Merges the files of each column family and says how many bytes are left: what the record takes, without what is
    /// only there until it is merged.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn settle(&self) -> Result<Vec<(&'static str, u64)>, StorageError> {
        self.0.settle()
    }
}

/// What a node does that no node should.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// What execution makes of some transactions.
    pub execution: ExecutionFault,
    /// What peers are sent in place of this node's consensus messages.
    pub outgoing: Option<Outgoing>,
    /// What its host forgets.
    pub forgets: Vec<Mutant>,
    /// Who is shown everything that is sent to peers.
    pub tap: Option<Tap>,
}

/// Is shown everything that a node sends to peers, before it is encrypted: gossip, questions and answers.
#[derive(Clone)]
pub struct Tap(Arc<See>);

type See = dyn Fn(&[u8]) + Send + Sync;

impl Tap {
    /// Shows every message to `see`.
    pub fn new(see: impl Fn(&[u8]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(see))
    }

    pub(crate) fn see(&self, bytes: &[u8]) {
        (self.0)(bytes);
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tap")
    }
}

/// Makes the consensus messages that are sent of the one that an honest node would send.
#[derive(Clone)]
pub struct Outgoing(Arc<dyn Fn(Bytes) -> Vec<Bytes> + Send + Sync>);

impl Outgoing {
    /// Sends what `change` makes of each encoded message.
    pub fn new(change: impl Fn(Bytes) -> Vec<Bytes> + Send + Sync + 'static) -> Self {
        Self(Arc::new(change))
    }

    pub(crate) fn instead_of(&self, bytes: Bytes) -> Vec<Bytes> {
        (self.0)(bytes)
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outgoing")
    }
}
