//! The wire schema `sillok.v1`: generated messages, canonical bytes, tagged hashes, bounded decoding.
//!
//! Reading order: [`v1`] (the messages), [`canonical`] (the one encoding), [`hash`] (what is hashed and signed).
//! No rule of the registry is here: a message of this crate has been *decoded*, nothing more.

pub mod canonical;
pub mod hash;

/// The generated messages of package `sillok.v1`, and with features `client` and `server` its gRPC stubs.
#[allow(
    missing_docs,
    unreachable_pub,
    rustdoc::all,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::missing_errors_doc,
    reason = "generated code"
)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/sillok.v1.rs"));
}

/// The compiled schema (`FileDescriptorSet`), for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

pub use canonical::{CanonicalError, decode, encode};
pub use hash::{Hash, Tag};
