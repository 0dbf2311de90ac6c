//! An endpoint that is accepted is ASCII and has no user, query, fragment or percent-encoding.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    if sillok_did_method::check_endpoint(text).is_ok() {
        assert!(text.is_ascii() && !text.contains(['@', '?', '#', '%']));
    }
});
