//! No bytes prove anything against a root they were not made for, and verifying never panics.
#![no_main]

use sillok_ledger::proof::{verify_entry, verify_receipt, verify_state_proof};
use sillok_proto::{Hash, decode, v1};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    const BYTES_MAX: usize = 1 << 20;
    let nobody = v1::ValidatorSet::default();
    if let Ok(entry) = decode::<v1::StateEntry>(bytes, BYTES_MAX) {
        assert!(verify_entry(&Hash([7; 32]), &entry).is_err());
    }
    if let Ok(proof) = decode::<v1::StateProof>(bytes, BYTES_MAX) {
        assert!(verify_state_proof(&Hash([7; 32]), &proof, &nobody).is_err());
    }
    if let Ok(receipt) = decode::<v1::Receipt>(bytes, BYTES_MAX) {
        assert!(verify_receipt(&Hash([7; 32]), &receipt, &nobody).is_err());
    }
});
