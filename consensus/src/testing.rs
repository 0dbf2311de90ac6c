//! The simulated world: virtual time, a bad network, crashes, liars, and checkers that know nothing of the faults.
//!
//! Compiled only for tests and for `sillok-devnet`. One seed decides everything.

/// A deliberate bug in the host. The simulation is good only if it notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// The signing record is not replayed after a restart.
    NoWalReplay,
    /// Messages leave before what they say is durable.
    PublishBeforeSync,
    /// The sign guard allows everything.
    NoSignGuard,
}
