//! Faults of a node that runs as a process, for tests alone: this module is not there without feature `testing`.
//!
//! What they do is not here: a traitor is made of what it sends in place of what an honest node would, and the program
//! that starts the node brings that along.

use crate::ledger::ExecutionFault;
use bytes::Bytes;
use sillok_consensus::testing::Mutant;
use std::fmt;
use std::sync::Arc;

/// What a node does that no node should.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// What execution makes of some transactions.
    pub execution: ExecutionFault,
    /// What peers are sent in place of this node's consensus messages.
    pub outgoing: Option<Outgoing>,
    /// What its host forgets.
    pub forgets: Vec<Mutant>,
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
