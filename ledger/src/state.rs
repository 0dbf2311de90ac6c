//! What the ledger reads the state through, and the one way in which that can fail.
//!
//! Deliberately absent: storage. Whoever keeps the state hands it in.

/// The state could not be read: storage failed, or what it holds contradicts itself. Never a rule, never a caller's
/// fault. The reason names no key (PROTOCOL, Part II §6).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the state could not be read: {reason}; check the disk and restart the node")]
pub struct StateFault {
    /// What failed.
    pub reason: String,
}

impl StateFault {
    /// A fault for this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}
