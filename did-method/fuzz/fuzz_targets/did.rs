//! A DID that parses is printed as it was read.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(did) = sillok_did_method::Did::parse(text) {
        assert_eq!(did.to_string(), text);
    }
});
