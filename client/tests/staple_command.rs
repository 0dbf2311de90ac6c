//! `sillok staple` and `sillok verify-staple` as a holder and a gate run them: real processes, the second without any node.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

#[path = "support/stapled.rs"]
mod stapled;
#[path = "support/world.rs"]
mod support;

use sillok_client::verify::staple::Staple;
use sillok_did_method::EntryState;
use stapled::Registry;
use std::fs;
use support::{Run, World, now_ms, world};

/// A door with a list, and a gate that has its checkpoint.
struct Gate {
    world: World,
    registry: Registry,
}

impl Gate {
    async fn open() -> Self {
        let world = world().await;
        let mut time_ms = now_ms();
        let registry = Registry::begin(&mut world.door.network(), &world.ministries, || {
            time_ms += 1;
            time_ms
        });
        world.sillok("checkpoint save gate.json").await.expect(0);
        Self { world, registry }
    }

    /// Where nobody listens.
    async fn offline(&self, arguments: &str) -> Run {
        self.world.run(arguments, "127.0.0.1:1").await
    }

    async fn verify(&self, arguments: &str) -> Run {
        self.offline(&format!("verify-staple --trust gate.json --json {arguments}")).await
    }

    /// The code of a refusal.
    async fn refused(&self, arguments: &str, exit: i32) -> String {
        let run = self.verify(arguments).await.expect(exit);
        run.json()["error"]["code"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a11_a12_a_gate_without_a_network_checks_what_a_holder_shows() {
    let gate = Gate::open().await;
    let (list, did) = (gate.registry.list, gate.registry.ministry.did.to_string());
    let of = gate.registry.of;
    let staple = format!(
        "staple {did} --status {list}#5 --status {list}#8192 --right issue --on {of} --out shown.staple --qr --json"
    );
    let made = gate.world.sillok(&staple).await.expect(0).json();
    let parts = made["parts"].as_u64().unwrap();
    assert!(parts >= 2, "{made}");
    let shown = gate.verify("shown.staple --max-age 24h").await.expect(0).json();
    assert_eq!(shown["verification"]["status"], "VALID");
    assert_eq!(shown["entries"][0]["verdict"], "VALID");
    assert_eq!(shown["entries"][1]["index"], 8_192);
    assert_eq!(shown["items"][0]["resolution"]["didDocument"]["id"], did);
    assert_eq!(shown["items"][2]["holds"], true);
    let text = gate.offline("verify-staple shown.staple --trust gate.json").await.expect(0).stdout;
    assert!(text.contains("verified against genesis") && text.contains("VALID"), "{text}");
    // The genesis alone is a trust file too, and so is what a home keeps.
    gate.offline("verify-staple shown.staple --trust genesis.json").await.expect(0);
    gate.offline("verify-staple shown.staple").await.expect(0);
    // From a screen, in any order.
    let names: Vec<String> = (1..=parts).rev().map(|n| format!("shown.staple.{n}")).collect();
    gate.verify(&names.join(" ")).await.expect(0);
    let missing = gate.refused(&names[1..].join(" "), 4).await;
    assert_eq!(missing, "STAPLE_TRUNCATED");

    // An entry that the file does not cover is not absent: it is not covered.
    assert_eq!(
        gate.refused(&format!("shown.staple --status {list}#20000"), 4).await,
        "NOT_COVERED"
    );
    let other = gate.verify(&format!("shown.staple --status {list}#6")).await.expect(9).json();
    assert_eq!(other["entries"][0]["verdict"], "PENDING");
    // Policy: age, and a floor.
    assert_eq!(
        gate.verify("shown.staple --max-age 1ms").await.expect(3).json()["verification"]["status"],
        "STALE"
    );
    assert_eq!(gate.refused("shown.staple --min-height 1000", 4).await, "BELOW_MIN_HEIGHT");
    // Nothing is written over, nothing is stapled that is not there.
    gate.world.sillok(&staple).await.expect(1);
    gate.world.sillok("staple --out none.staple").await.expect(64);
    gate.world.sillok(&format!("staple --list {of} --out none.staple")).await.expect(5);
}

#[tokio::test]
async fn a11_a_revoked_entry_is_refused_from_the_next_refresh() {
    let gate = Gate::open().await;
    let list = gate.registry.list;
    gate.world.sillok(&format!("staple --list {list} --out first.staple")).await.expect(0);
    let asked = format!("--status {list}#5 --max-age 24h");
    gate.verify(&format!("first.staple {asked}")).await.expect(0);
    {
        let mut network = gate.world.door.network();
        let time_ms = now_ms().max(network.tip().header.time_ms + 1);
        gate.registry.set(&mut network, time_ms, EntryState::Invalid, &[5]);
    }
    let made = gate.world.sillok(&format!("staple --list {list} --out second.staple --json")).await;
    let height = made.expect(0).json()["height"].as_str().unwrap().to_owned();
    let refreshed = gate.verify(&format!("second.staple {asked}")).await.expect(9).json();
    assert_eq!(refreshed["entries"][0]["verdict"], "INVALID");
    // The old file still proves what was, within its age; the floor of the refresh is what refuses it.
    gate.verify(&format!("first.staple {asked}")).await.expect(0);
    let floor = format!("first.staple {asked} --min-height {height}");
    assert_eq!(gate.refused(&floor, 4).await, "BELOW_MIN_HEIGHT");
}

#[tokio::test]
async fn every_false_file_has_a_code_of_its_own() {
    let gate = Gate::open().await;
    let (list, did) = (gate.registry.list, gate.registry.ministry.did.to_string());
    let make = |out: &str| format!("staple {did} --status {list}#5 --out {out}");
    gate.world.sillok(&make("old.staple")).await.expect(0);
    {
        let mut network = gate.world.door.network();
        let time_ms = now_ms().max(network.tip().header.time_ms + 1);
        gate.registry.set(&mut network, time_ms, EntryState::Invalid, &[5]);
    }
    gate.world.sillok(&make("new.staple")).await.expect(0);
    let read = |name: &str| fs::read(gate.world.path(name)).unwrap();
    let (old, new) = (read("old.staple"), read("new.staple"));
    let parsed = |bytes: &[u8]| Staple::from_bytes(bytes).unwrap();
    let changed = |change: &dyn Fn(&mut Staple)| {
        let mut staple = parsed(&new);
        change(&mut staple);
        staple.to_bytes().unwrap()
    };
    let mixed = changed(&|staple| staple.items[1] = parsed(&old).items[1].clone());
    let forged = changed(&|staple| {
        staple.signed_header.header.as_mut().unwrap().state_root = vec![7; 32];
    });
    let foreign = changed(&|staple| staple.genesis_hash = gate.registry.list);
    let empty = changed(&|staple| staple.items.clear());
    for (bytes, code) in [
        (new[..new.len() / 2].to_vec(), "STAPLE_TRUNCATED"),
        ([new.as_slice(), b"x"].concat(), "STAPLE_MALFORMED"),
        (b"{}".to_vec(), "NOT_A_STAPLE"),
        (mixed, "STAPLE_MIXED"),
        (forged, "UNVERIFIED"),
        (foreign, "WRONG_NETWORK"),
        (empty, "STAPLE_EMPTY"),
    ] {
        fs::write(gate.world.path("lie.staple"), bytes).unwrap();
        assert_eq!(gate.refused("lie.staple", 4).await, code);
    }
    gate.verify("new.staple").await.expect(9);

    // Another certified header of the height that the gate trusts: both are kept, and nothing counts any more.
    gate.world.sillok("checkpoint save fork.json").await.expect(0);
    let signed = {
        let network = gate.world.door.network();
        let mut header = network.tip().header.clone();
        header.transactions_root = vec![7; 32];
        network.certify(&header).unwrap()
    };
    let fork = changed(&|staple| staple.signed_header = signed.clone());
    fs::write(gate.world.path("lie.staple"), fork).unwrap();
    let verify = |file: &str| format!("verify-staple {file} --trust fork.json --json");
    let code = |run: Run| run.expect(4).json()["error"]["code"].clone();
    assert_eq!(code(gate.offline(&verify("lie.staple")).await), "FORK");
    let evidence = fs::read_to_string(gate.world.path("fork.json.fork.json")).unwrap();
    let evidence: serde_json::Value = serde_json::from_str(&evidence).unwrap();
    assert!(evidence["trusted"].is_string() && evidence["other"].is_string(), "both headers");
    assert_eq!(code(gate.offline(&verify("new.staple")).await), "FORK");
}
