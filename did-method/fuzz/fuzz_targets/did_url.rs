//! A DID URL that parses is printed as it was read. The text is put behind a DID, which no fuzzer would find.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let text = format!("did:sillok:devnet:zgVx96LvWYTq4ouocjvwMMa1NAXtiAquREsid1RCcYLtATQ{text}");
    if let Ok(url) = sillok_did_method::DidUrl::parse(&text) {
        assert_eq!(url.to_string(), text);
    }
});
