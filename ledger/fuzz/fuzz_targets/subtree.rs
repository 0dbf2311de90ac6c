//! No bytes are a subtree of a root they were not made for, and verifying never panics.
#![no_main]

use sillok_ledger::snapshot::{Prefix, verify_subtree};
use sillok_proto::{Hash, decode, v1};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    const BYTES_MAX: usize = 1 << 20;
    if let Ok(subtree) = decode::<v1::Subtree>(bytes, BYTES_MAX)
        && let Some(prefix) = Prefix::read(&subtree.prefix, subtree.prefix_bits)
    {
        assert!(verify_subtree(&Hash([7; 32]), &prefix, &subtree).is_err());
    }
});
