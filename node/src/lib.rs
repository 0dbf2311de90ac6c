//! The node of the registry `sillok`: disk, sockets, tasks and the answers it gives.
//!
//! ```text
//!             gRPC ── api ──┐                                  ┌── storage (RocksDB, or memory in tests)
//!                           ├──────── application ── ledger ───┤
//!   peers ── network ── ordering (the host)                    └── mempool, verifier
//!                           │
//!                    signing_record (key + write-ahead log)
//! ```
//!
//! Reading order: [`node`] (every task of a running process), [`ledger`], [`application`], [`ordering`], then the parts. No rule of the
//! registry is here: what is valid is decided by `sillok-ledger`, what is signed by `sillok-consensus`.

pub mod config;
pub mod init;
pub mod node;
pub mod process;

pub mod ledger;
pub mod mempool;
pub mod verifier;

pub mod application;
pub mod join;
pub mod ordering;
pub mod signing_record;
pub mod standing;
mod suspects;
pub mod validator_key;

pub mod storage;

pub mod joining;
pub mod members;
pub mod network;

pub mod api;
pub mod http;

pub mod clock;
pub mod keys;
pub mod lock;
mod memory;

#[cfg(feature = "testing")]
pub mod testing;
