//! The layers of docs/architecture.md, held against what cargo would really link.
//!
//! The tree of the repository is its first architecture diagram; these tests keep it true. Only code that runs in
//! production is looked at: tests may use what they like.

#![allow(clippy::unwrap_used, reason = "every function here is part of a test")]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Each crate and the crates of ours that it may use.
const EDGES: [(&str, &[&str]); 9] = [
    ("sillok-proto", &[]),
    ("sillok-did-method", &["sillok-proto"]),
    ("sillok-ledger", &["sillok-proto", "sillok-did-method"]),
    ("sillok-consensus", &["sillok-proto", "sillok-ledger"]),
    ("sillok-verifier", &["sillok-proto", "sillok-did-method", "sillok-ledger"]),
    ("sillok-status-list", &["sillok-proto", "sillok-did-method", "sillok-ledger"]),
    (
        "sillok-client",
        &[
            "sillok-proto",
            "sillok-did-method",
            "sillok-ledger",
            "sillok-verifier",
            "sillok-status-list",
        ],
    ),
    (
        "sillok-node",
        &[
            "sillok-proto",
            "sillok-did-method",
            "sillok-ledger",
            "sillok-status-list",
            "sillok-consensus",
        ],
    ),
    (
        "sillok-devnet",
        &[
            "sillok-proto",
            "sillok-did-method",
            "sillok-ledger",
            "sillok-status-list",
            "sillok-consensus",
            "sillok-client",
            "sillok-node",
        ],
    ),
];

/// `cargo metadata` as cargo prints it. The lock file names every version, so no registry is asked.
fn metadata() -> Value {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The dependencies that a crate's manifest declares for production.
fn declared(metadata: &Value, krate: &str) -> BTreeSet<String> {
    let package = packages(metadata).find(|package| package["name"] == krate).unwrap();
    package["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|dependency| dependency["kind"].is_null())
        .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
        .collect()
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().unwrap().iter()
}

/// What `cargo tree` prints of what is linked, a line for each package.
fn tree(arguments: &[&str]) -> String {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["tree", "--locked", "--edges", "normal", "--prefix", "none"])
        .args(arguments)
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The names of all that is linked into `krate`, built by itself with its default features or none.
fn linked(krate: &str, arguments: &[&str]) -> BTreeSet<String> {
    tree(&[&["--format", "{p}", "--package", krate], arguments].concat())
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

fn assert_none_of(krate: &str, arguments: &[&str], banned: &[&str]) {
    let linked = linked(krate, arguments);
    assert!(linked.contains(krate), "cargo tree did not name {krate} itself");
    let found: Vec<&String> = linked
        .iter()
        .filter(|name| {
            banned.iter().any(|ban| *name == ban || name.starts_with(&format!("{ban}-")))
        })
        .collect();
    assert!(found.is_empty(), "{krate} {arguments:?} links {found:?}");
}

#[test]
fn crates_use_only_those_above_them() {
    let metadata = metadata();
    let ours: BTreeMap<&str, &[&str]> = EDGES.into_iter().collect();
    let members: BTreeSet<&str> = packages(&metadata)
        .filter(|package| package["source"].is_null())
        .map(|package| package["name"].as_str().unwrap())
        .collect();
    assert_eq!(members, ours.keys().copied().collect(), "a crate without a place in the layers");
    for (krate, allowed) in ours {
        for used in declared(&metadata, krate).iter().filter(|used| used.starts_with("sillok-")) {
            assert!(allowed.contains(&used.as_str()), "{krate} may not use {used}");
        }
    }
}

#[test]
fn rules_reach_no_runtime_no_network_and_no_disk() {
    let banned = ["tonic", "hyper", "libp2p", "rocksdb", "librocksdb", "mio", "rand", "socket2"];
    for krate in ["sillok-proto", "sillok-did-method", "sillok-ledger"] {
        assert_none_of(krate, &[], &banned);
        assert_none_of(krate, &[], &["tokio"]);
    }
    assert_none_of("sillok-ledger", &["--no-default-features"], &["jmt", "borsh"]);
    // The Tendermint core names a peer by libp2p's identity type and declares tokio without any of its features: neither
    // brings a runtime, a clock or a socket. Ours declare neither.
    let ordering: Vec<&str> = banned.iter().copied().filter(|ban| *ban != "libp2p").collect();
    assert_none_of("sillok-consensus", &[], &ordering);
    let linked = linked("sillok-consensus", &[]);
    let libp2p: Vec<&String> = linked.iter().filter(|name| name.starts_with("libp2p")).collect();
    assert!(libp2p.iter().all(|name| *name == "libp2p-identity"), "{libp2p:?}");
    for feature in ["rt", "time", "net", "fs", "signal", "process"] {
        assert!(!tokio_features("sillok-consensus").contains(feature), "tokio has {feature}");
    }
    let own = declared(&metadata(), "sillok-consensus");
    assert!(!own.contains("tokio") && !own.contains("libp2p"));
}

/// The features with which `krate` links tokio.
fn tokio_features(krate: &str) -> BTreeSet<String> {
    tree(&["--format", "{p} {f}", "--package", krate])
        .lines()
        .filter(|line| line.starts_with("tokio v"))
        .flat_map(|line| line.split_whitespace().skip(2))
        .flat_map(|features| features.split(','))
        .map(str::to_owned)
        .collect()
}

/// A11, B4: what a gate or a phone links to check an answer. No runtime, no transport, no storage, no state tree, not even a
/// source of randomness.
#[test]
fn a11_b4_the_verifier_needs_no_runtime_no_transport_no_storage_and_no_tree() {
    let banned = [
        "tokio",
        "tonic",
        "hyper",
        "libp2p",
        "rocksdb",
        "librocksdb",
        "mio",
        "rand",
        "getrandom",
        "socket2",
        "jmt",
        "borsh",
        "clap",
        "futures",
    ];
    assert_none_of("sillok-verifier", &[], &banned);
    // What it links is said here, so that nothing comes in unseen: everything beyond the rules themselves.
    let more: BTreeSet<String> = linked("sillok-verifier", &[])
        .difference(&linked("sillok-ledger", &["--no-default-features"]))
        .cloned()
        .collect();
    let expected = ["adler2", "minicbor", "miniz_oxide", "sillok-verifier"].map(str::to_owned);
    assert_eq!(more, BTreeSet::from(expected));
}

/// Who makes lists needs no transport: nodes and status issuers bring their own.
#[test]
fn status_lists_need_no_transport_and_no_storage() {
    let banned = ["tonic", "hyper", "libp2p", "rocksdb", "librocksdb", "jmt", "borsh", "clap"];
    assert_none_of("sillok-status-list", &[], &banned);
}

#[test]
fn the_client_needs_no_tree_no_storage_and_no_peers() {
    assert_none_of("sillok-client", &[], &["jmt", "borsh", "rocksdb", "librocksdb", "libp2p"]);
}

#[test]
fn the_node_links_neither_the_client_nor_the_simulated_world() {
    assert_none_of("sillok-node", &[], &["sillok-client", "sillok-devnet", "proptest"]);
}

#[test]
fn every_package_comes_from_the_registry_under_an_accepted_license() {
    // The same list as in .deny.toml, for machines without cargo-deny.
    let accepted = [
        "Apache-2.0",
        "MIT",
        "MIT-0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BlueOak-1.0.0",
        "ISC",
        "Zlib",
        "Unicode-3.0",
        "Unlicense",
        "CC0-1.0",
        "0BSD",
        "BSL-1.0",
        "CDLA-Permissive-2.0",
        "Apache-2.0 WITH LLVM-exception",
    ];
    for package in packages(&metadata()).filter(|package| !package["source"].is_null()) {
        let (name, source) = (&package["name"], package["source"].as_str().unwrap());
        let registry = source.starts_with("registry+") && source.contains("crates.io-index");
        assert!(registry, "{name} comes from {source}");
    }
    // The lock file also names what other systems or features would need; what is linked here counts.
    let linked = tree(&["--workspace", "--format", "{p}|{l}"]);
    for line in linked.lines().filter(|line| !line.is_empty()) {
        let (package, license) = line.split_once('|').unwrap();
        let license = license.trim_end_matches(" (*)").replace('/', " OR ");
        // Every part of an AND must be accepted, one part of an OR.
        let ok = license
            .replace(['(', ')'], "")
            .split(" AND ")
            .all(|part| part.split(" OR ").any(|choice| accepted.contains(&choice.trim())));
        assert!(ok, "{package} is under {license:?}");
    }
}
