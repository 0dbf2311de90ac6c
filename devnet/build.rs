//! Says from which commit this was built, so that a failing seed can be run again on the same code.
//!
//! Whoever builds without git, or sets `SILLOK_COMMIT`, is not disturbed.

use std::path::Path;
use std::process::Command;

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn main() {
    // The crates whose change may change a run; they are built again then anyway.
    for member in ["proto", "did-method", "ledger", "consensus", "client", "node", "devnet"] {
        watch(&format!("../{member}/src"));
    }
    watch("../proto/sillok");
    watch("../Cargo.lock");
    watch("build.rs");
    // Moves with every commit and checkout, in a worktree too.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        watch(&log);
    }
    say("cargo::rerun-if-env-changed=SILLOK_COMMIT");
    if std::env::var_os("SILLOK_COMMIT").is_some() {
        return;
    }
    let Some(commit) = git(&["rev-parse", "HEAD"]) else { return };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
    let dirty = if changed.is_some_and(|changed| changed.is_empty()) { "" } else { "-dirty" };
    say(&format!("cargo::rustc-env=SILLOK_COMMIT={commit}{dirty}"));
}

/// A path that is not there would be built again each time.
fn watch(path: &str) {
    if Path::new(path).exists() {
        say(&format!("cargo::rerun-if-changed={path}"));
    }
}

#[allow(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]
fn say(line: &str) {
    println!("{line}");
}
