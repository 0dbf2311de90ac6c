//! The bytes of the record: one encoding for every message, a closed schema, and tags that cannot stand for each other.

#![allow(clippy::unwrap_used, reason = "what a test builds must be buildable")]

mod canonical;
mod questions;
mod schema;
mod support;
mod tags;
