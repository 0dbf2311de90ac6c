//! No bytes prove anything to a gate whose validators' keys the fuzzer does not hold, reading never panics, and what is read
//! is written the same. The content goes in as it is, since nobody finds a good DEFLATE stream by chance.
#![no_main]

use sillok_ledger::light::TrustedHeader;
use sillok_proto::v1;
use sillok_verifier::staple::Staple;
use sillok_verifier::{Network, Policy};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (plain, bytes) = match bytes.split_first() {
        Some((flag, rest)) => (flag & 1 == 0, rest),
        None => return,
    };
    let read = if plain { Staple::from_content(bytes) } else { Staple::from_bytes(bytes) };
    let Ok(staple) = read else { return };
    if let Ok(file) = staple.to_bytes() {
        assert_eq!(Staple::from_bytes(&file).as_ref(), Ok(&staple));
    }
    let set = v1::ValidatorSet {
        validators: vec![v1::Validator { public_key: vec![1; 32], organization: vec![2; 32], since_height: 0 }],
    };
    let network =
        Network { name: "test".to_owned(), genesis_hash: staple.genesis_hash, trusting_period_ms: 60_000 };
    if let Ok(trusted) = TrustedHeader::genesis(staple.genesis_hash, 1_000, set) {
        assert!(staple.verify(&network, &trusted, Policy::at(2_000)).is_err());
    }
});
