//! Many nodes on one machine: starting, watching, breaking and showing them. It needs no root, no container and no
//! network beyond 127.0.0.1.
//!
//! ```text
//!   directory ── process ── ports           what there is, and whether it lives
//!        └── setup ── network ── status     making, running and watching a network
//!   reader   submit ── scene                using it as a client
//!        members   desk                     changing who runs it; an issuer and its people
//!        tour   load   race   kill_test   liar   chaos   what is shown with it
//!        fixtures                         what it answers, for test suites of others
//!   own   issuing   bare ── status_load     status lists by the million, on a network of its own
//!                   privacy                  ten thousand people, and a search for them everywhere
//!   sim                                     whole nodes in one thread and virtual time, from a seed
//! ```
//!
//! Reading order: as the modules are declared. Nothing here is production code, and nothing here is a rule: what holds
//! is checked with the client library, against the genesis alone.

pub mod directory;
pub mod process;

pub mod ports;
pub mod setup;

pub mod log;
pub mod network;
pub mod status;

pub mod reader;
pub mod scene;
pub mod submit;

pub mod desk;
pub mod members;

pub mod bare;
pub mod issuing;
pub mod own;

pub mod chaos;
pub mod fixtures;
pub mod kill_test;
pub mod liar;
pub mod load;
pub mod privacy;
pub mod race;
pub mod status_load;
pub mod tour;

pub mod sim;

pub mod cli;
pub mod console;

use std::time::{SystemTime, UNIX_EPOCH};

/// This machine's clock, in milliseconds since 1970.
#[must_use]
pub fn clock_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}
