//! The rules of the record, as stories: what is allowed beside what is refused, by mempool, proposer and validator
//! alike. `support` makes the network, `story` the transactions.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "what a test builds must be buildable, and its numbers are small"
)]

mod blocks;
mod desk;
mod devices;
mod enrollment;
mod form;
mod genesis;
mod golden;
mod grants;
mod holders;
mod lanes;
mod members;
mod motion;
mod organizations;
mod parameters;
mod prepare;
mod properties;
mod repetition;
mod rows;
mod sets;
mod signing;
mod snapshot;
mod status;
mod status_properties;
mod story;
mod support;
mod trust;
