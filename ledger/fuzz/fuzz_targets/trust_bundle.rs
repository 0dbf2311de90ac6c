//! No bytes extend trust that starts from a set whose keys the fuzzer does not hold, and following never panics.
#![no_main]

use sillok_ledger::light::{TrustedHeader, follow};
use sillok_proto::{Hash, decode, v1};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let genesis = Hash([7; 32]);
    let set = v1::ValidatorSet {
        validators: vec![v1::Validator { public_key: vec![1; 32], organization: vec![2; 32], since_height: 0 }],
    };
    if let (Ok(bundle), Ok(trusted)) =
        (decode::<v1::TrustBundle>(bytes, 1 << 20), TrustedHeader::genesis(genesis, 1_000, set))
    {
        if let Ok(extended) = follow(&genesis, &trusted, &bundle, 2_000, 60_000) {
            assert_eq!(extended.height, trusted.height);
        }
    }
});
