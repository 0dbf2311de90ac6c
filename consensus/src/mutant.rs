//! Deliberate bugs in the host, to see whether the simulation notices (CONSENSUS §2, mutants).
//!
//! Named here and not in `testing` so that the places they touch need no conditional compilation; outside of tests
//! [`crate::HostConfig`] has no field to switch one on.

/// A host bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// The signing record is not replayed after a restart.
    NoWalReplay,
    /// Messages leave before what they say is durable.
    PublishBeforeSync,
    /// The sign guard allows everything.
    NoSignGuard,
    /// Cancelled timers still fire.
    StaleTimers,
    /// Blocks decided without us are never fetched.
    NoSync,
    /// Votes and round certificates are never repeated.
    NoRepublish,
    /// Proposals reach the core without a verdict.
    AcceptInvalid,
    /// Every signature is good.
    SkipSignatureCheck,
    /// The record is kept from height to height.
    WalNotReset,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::NoWalReplay,
        Self::PublishBeforeSync,
        Self::NoSignGuard,
        Self::StaleTimers,
        Self::NoSync,
        Self::NoRepublish,
        Self::AcceptInvalid,
        Self::SkipSignatureCheck,
        Self::WalNotReset,
    ];
}
