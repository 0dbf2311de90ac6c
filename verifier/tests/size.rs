//! How much code stands between an answer and believing it. What is short can be read by those who must trust it.
//!
//! Counted are lines inside of functions, without blank ones, comments and tests: what decides, and not the names of the
//! errors or what they say.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use std::fs;
use std::path::Path;

/// Lines inside of functions.
fn lines_of(path: &str) -> usize {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let mut count = 0;
    let mut open: Option<usize> = None;
    for line in text.lines().take_while(|line| *line != "#[cfg(test)]") {
        let word = line.trim_start();
        if word.is_empty() || word.starts_with("//") {
            continue;
        }
        let indent = line.len() - word.len();
        let begins = ["fn ", "pub fn ", "const fn ", "pub const fn "].iter().any(|one| {
            word.strip_prefix("pub(super) ")
                .or_else(|| word.strip_prefix("pub(crate) "))
                .unwrap_or(word)
                .starts_with(one)
        });
        match open {
            None if begins => {
                count += 1;
                open = Some(indent).filter(|_| !word.ends_with([';', '}']));
            }
            None => {}
            Some(outer) => {
                count += 1;
                open = Some(outer).filter(|_| indent != outer || !word.starts_with('}'));
            }
        }
    }
    assert!(count > 10, "{path}: only {count} lines were found");
    count
}

#[test]
fn the_verifier_is_short_enough_to_be_read() {
    let own = ["lib", "moment", "status", "authority", "bucket", "as_of", "staple"]
        .map(|name| format!("src/{name}.rs"));
    let own: usize = own.iter().map(|path| lines_of(path)).sum();
    assert!(own <= 1_500, "the verifier has {own} lines");
    // What it calls: certificates, paths, following sets; and the rules of lists and rights, which blocks run too.
    let proofs = ["certificate", "merkle_log", "proof", "light"];
    let rules = ["answer", "authority", "status", "state_key", "credential_type"];
    let sum = |names: &[&str]| -> usize {
        names.iter().map(|name| lines_of(&format!("../ledger/src/{name}.rs"))).sum()
    };
    let (proofs, rules) = (sum(&proofs), sum(&rules));
    assert!(proofs <= 900, "certificates, paths and sets have {proofs} lines");
    assert!(rules <= 500, "the rules that are run again have {rules} lines");
}
