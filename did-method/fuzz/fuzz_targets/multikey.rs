//! A Multikey that parses is printed as it was read.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(key) = sillok_did_method::from_multikey(text) {
        assert_eq!(sillok_did_method::multikey(&key).as_deref(), Ok(text));
    }
});
