//! The simulated world of whole nodes: host, signing record, mempool, ledger on a disk that forgets, block sync and
//! membership, in one thread with virtual time. One seed decides everything.
//!
//! ```text
//!   Scenario ──▶ World ── events in virtual time ──▶ Node { Host, Application, Ledger, MemoryDisk, signing record }
//!                  │                                     │ actions, one by one, each a place where the power may go
//!                  ├── Network: delay, loss, duplicates, partitions, cities
//!                  ├── Traitor, twins: what liars make of their own messages
//!                  ├── Client, Desks, Operators: real transactions, real governance, reads
//!                  └── Checker ┬─ Reference: every decided block executed once more, from the rules alone
//!                              └─ Enrollments: what must hold of every state, whatever the rules say
//! ```
//!
//! It runs the code that a node runs; what is missing is sockets, threads, RocksDB and gRPC, which real processes test.
//! The checker knows neither scenarios nor mutants. Reading order: `scenario`, `world`, `checker`, `reference`, the rest.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "numbers here are small and made by the simulation itself; a wrong one should stop it"
)]

mod checker;
mod client;
mod command;
mod desks;
mod disk;
mod enrollments;
mod founding;
mod governance;
mod keys;
mod mutants;
mod network;
mod node;
mod reference;
mod scenario;
mod trace;
mod world;

pub use checker::Violation;
pub use command::{SimArgs, command, replay_hint};
pub use keys::Signatures;
pub use mutants::{Caught, Entry, Mutants, TABLE, catch};
pub use scenario::{Change, FAST, Faults, Poison, Scenario, Step};
pub use world::{Counts, Outcome, Timeline, replay_every_prefix, run};
