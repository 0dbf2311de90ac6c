//! The node's parts on real sockets and disks of one machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops where its ground is missing"
)]

mod api;
mod desk;
mod flood;
mod http;
mod joining;
mod judging;
mod lists;
mod members;
mod mempool;
mod network;
mod ordering;
mod parameters;
mod private;
mod registries;
mod support;
