//! A client of a Sillok network: builds, submits, resolves and *verifies*. The command line `sillok` is this crate's.
//!
//! Reading order: as the modules are declared. Deliberately absent: trust in a node's answer, and everything that
//! only a node needs (libp2p, RocksDB, the state tree).

pub mod keys;

pub mod identity;

pub mod transaction;
