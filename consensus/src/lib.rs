//! Ordering: the host around the Tendermint core. Inputs go in, actions come out; nothing here reads a clock, a
//! socket or a disk, so the code that runs a validator also runs in the simulated world, from one seed.
//!
//! ```text
//!            messages, timers, verdicts, tips          ┌───────────── Host ─────────────┐
//!   shell ───────────────────────── Event ───────────▶ │ checks, queues, sign guard     │
//!  (node or                                            │   └── core (Malachite) ──────┐ │
//!   world)  ◀─────────────────────── Action ────────── │ log, barrier, release ◀──────┘ │
//!            append, sync, broadcast, build, decide    └────────────────────────────────┘
//! ```
//!
//! The core (`arc-malachitebft-core-consensus`) is Tendermint and nothing else; what a host owes it is in
//! `docs/protocol.md`. The shell owes the host one thing above all: **carry out the actions in their order, and
//! after one that failed carry out none.** That order is what keeps a vote from leaving before it is on disk.
//!
//! Reading order: [`event`] and [`action`] (the whole interface), [`config`], [`host`] (the state machine),
//! [`signature`], then the parts: `guard` (never sign twice), `clock`, `early` (messages of the next height),
//! `proposals` (blocks waiting for a verdict), `sync` (blocks decided without us), `codec` and `context` (the
//! core's vocabulary). Not here: what makes a block valid (`ledger`), who is connected (`node`).

#![warn(clippy::arithmetic_side_effects, clippy::float_arithmetic)]

pub mod action;
pub mod codec;
pub mod config;
pub mod event;
pub mod host;
pub mod signature;

mod ahead;
mod builds;
mod clock;
mod context;
mod early;
mod evidence;
mod faults;
mod guard;
mod mutant;
mod proposals;
mod statement;
mod sync;
mod timers;
mod vouched;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use action::{Action, FaultReason, HaltReason, Notice, RetireReason, TimerId, ValidationId};
pub use ahead::Checker;
pub use codec::{MessageError, decode_entry, decode_message};
pub use config::{Figures, HeightStart, HostConfig, SigningRecord, StartError, Timeouts};
pub use context::ValidatorKey;
pub use event::{Event, Peer, Verdict};
pub use evidence::{EvidenceError, Offence, OffenceKind, verify_evidence, verify_evidence_with};
pub use host::{Host, Status};
pub use signature::{Ed25519, Ed25519Signer, SignatureScheme, Signer};
