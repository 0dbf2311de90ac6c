//! What a verifier relies on, from outside the crate: logs, certificates, proofs, light blocks, and the golden bytes.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "what a test builds must be buildable, and its numbers are small"
)]

mod certificate;
mod golden;
mod light;
mod merkle_log;
mod proposers;
mod reads;
mod support;
