//! The simulated world: virtual time, a bad network, crashes, liars, and checkers that know nothing of the faults.
//!
//! Compiled only for tests and for `sillok-devnet`. One seed decides everything: [`Scenario::swarm`] turns it into
//! faults, [`run`] into an [`Outcome`] whose `trace_hash` covers every event and every action.
//!
//! ```text
//!   Scenario ──▶ World ── events in virtual time ──▶ SimulatedNode { Host, Disk, Application }
//!                  │                                      │ actions, one by one, each a place to crash
//!                  ├── Network: delay, loss, duplicates, partitions
//!                  ├── Traitor: what a liar makes of its own messages
//!                  └── Checker: agreement, validity, no second signature, certificates, once only
//! ```
//!
//! The application is a toy (`application`): real headers and blocks, with a rule simple enough to be checked from outside.
//! The ledger's rules are simulated by `sillok-devnet`, on top of this.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::missing_panics_doc,
    reason = "numbers here are small and made by the simulation itself; a wrong one should stop it"
)]

mod application;
mod checker;
mod keyed_hash;
mod network;
mod node;
mod random;
mod scenario;
mod traitor;
mod twins;
mod world;

pub use crate::mutant::Mutant;
pub use checker::Violation;
pub use keyed_hash::{KeyedHash, KeyedHashSigner};
pub use network::Network;
pub use random::Random;
pub use scenario::{Faults, Scenario};
pub use traitor::{Behavior, Remake, Side, Traitor};
pub use twins::{height_and_round, twin_heard};
pub use world::{Counts, Outcome, replay_every_prefix, run};
