//! Deliberate bugs in the host, to see whether the simulation notices (CONSENSUS §2, mutants).
//!
//! Named here and not in `testing` so that the places they touch need no conditional compilation; outside of tests
//! [`crate::HostConfig`] has no field to switch one on.

#![cfg_attr(
    not(any(test, feature = "testing")),
    allow(dead_code, unreachable_pub, reason = "public to tests only")
)]

/// A host bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// The signing record is not replayed after a restart.
    NoWalReplay,
    /// The sign guard knows the signing record, but the core is not fed with it.
    RecordNotFed,
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
    /// The core's wish for a block is answered before the record is replayed.
    AnswerBeforeReplay,
    /// A height that runs is begun again when a transaction comes.
    StartHeightTwice,
    /// Proposals of the next height wait in the core's own queue, which takes them as valid.
    EarlyProposalsToCore,
    /// Certificates sent for liveness do not wait for the barrier.
    NoLivenessBarrier,
    /// The core is not told in advance what its record holds.
    NoReplayIndex,
    /// The clock is asked about a proposal that was made before.
    ClockOnReproposal,
    /// A key whose record is missing signs with a new record, and signatures of its own that it is shown are none of its
    /// business.
    SignWithoutRecord,
    /// A validator that signed twice counts twice in certificates of prevotes and of rounds.
    SignerCountedTwice,
    /// Whoever signed counts in certificates of prevotes and of rounds, of whatever set.
    StrangersCounted,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::NoWalReplay,
        Self::RecordNotFed,
        Self::PublishBeforeSync,
        Self::NoSignGuard,
        Self::StaleTimers,
        Self::NoSync,
        Self::NoRepublish,
        Self::AcceptInvalid,
        Self::SkipSignatureCheck,
        Self::WalNotReset,
        Self::AnswerBeforeReplay,
        Self::StartHeightTwice,
        Self::EarlyProposalsToCore,
        Self::NoLivenessBarrier,
        Self::NoReplayIndex,
        Self::ClockOnReproposal,
        Self::SignWithoutRecord,
        Self::SignerCountedTwice,
        Self::StrangersCounted,
    ];
}
