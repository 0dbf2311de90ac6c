//! A `genesis.json` that is accepted is written and read back as the same genesis.
#![no_main]

use sillok_ledger::genesis::{from_json, to_json};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(chain) = from_json(text) {
        let again = to_json(&chain).and_then(|text| from_json(&text));
        assert_eq!(again.as_ref().map(|chain| *chain.hash()), Ok(*chain.hash()));
    }
});
