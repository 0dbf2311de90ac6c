//! Bytes that decode canonically encode to themselves, and checking them never panics.
#![no_main]

use sillok_ledger::{CheckedTransaction, TRANSACTION_BYTES_MAX};
use sillok_proto::{Hash, decode, encode, v1};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(transaction) = decode::<v1::Transaction>(bytes, TRANSACTION_BYTES_MAX) {
        assert_eq!(encode(&transaction), bytes);
        let _ = CheckedTransaction::check(&Hash([7; 32]), &transaction);
    }
});
