//! Texts that are no parts of one file make none, and reading them never panics.
#![no_main]

use sillok_verifier::staple::parts::{join, split};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let parts: Vec<&str> = text.lines().collect();
    if let Ok(file) = join(&parts) {
        assert_eq!(split(&file).and_then(|parts| join(&parts)), Ok(file));
    }
});
