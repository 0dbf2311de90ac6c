//! The command `sillok` as people and programs run it: real processes against a network in memory.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

#[path = "support/world.rs"]
mod support;

use sillok_client::identity::{Identity, IdentityKey};
use sillok_client::keys::{KeyAlgorithm, SecretKey};
use sillok_client::testing::Lie;
use sillok_did_method::SUBMIT;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use support::{now_ms, world, world_with};

fn secrets(path: &Path) -> Vec<String> {
    let identity = Identity::load(path).unwrap();
    identity.keys.iter().map(|key| hex::encode(key.secret.to_bytes().as_slice())).collect()
}

#[tokio::test]
async fn the_life_of_a_holder_on_the_command_line() {
    let world = world().await;
    let create =
        "did create --kind holder --out me.json --submitter registrar.json --with-agreement";
    let ministry = world.did("ministry.json");
    let created =
        world.sillok(&format!("{create} --countersigner {ministry} --json")).await.expect(0);
    let did = world.did("me.json");
    assert_eq!(created.json()["did"], did);
    assert_eq!(fs::metadata(world.path("me.json")).unwrap().permissions().mode() & 0o777, 0o600);
    for secret in secrets(&world.path("me.json")) {
        assert!(!created.stdout.contains(&secret) && !created.stderr.contains(&secret));
    }

    let resolved = world.sillok(&format!("did resolve {did} --json")).await.expect(0).json();
    assert_eq!(resolved["didDocument"]["id"], did);
    assert_eq!(resolved["verification"]["status"], "VALID");
    assert_eq!(resolved["didDocumentMetadata"]["versionId"], "1");
    let text = world.sillok(&format!("did resolve {did}")).await.expect(0).stdout;
    assert!(text.contains("verified against genesis") && text.contains("(current)"), "{text}");

    world
        .sillok("did set-device me.json --algorithm p256 --submitter registrar.json")
        .await
        .expect(0);
    world
        .sillok("did update me.json --new-agreement --submitter ministry.json --any-submitter")
        .await
        .expect(0);

    // No node learns which one is meant; earlier versions are asked for by name.
    let private = format!("did resolve {did} --private --json");
    let private = world.sillok(&private).await.expect(0).json();
    let named = world.sillok(&format!("did resolve {did} --json")).await.expect(0).json();
    assert_eq!(private["didDocument"], named["didDocument"]);
    assert_eq!(private["didDocumentMetadata"], named["didDocumentMetadata"]);
    let text = world.sillok(&format!("did resolve {did} --private --k 8")).await.expect(0).stdout;
    assert!(text.contains("DIDs of the network were asked for"), "{text}");
    for more in ["--version-id 1", "--save kept.json", "--refuse-assisted-within 1h", "--k 7"] {
        world.sillok(&format!("did resolve {did} --private {more}")).await.expect(64);
    }
    world.sillok(&format!("did resolve {did} --k 8")).await.expect(64);

    // The phone is lost: the authority takes it away, twice reported, once done.
    let lost = format!("did set-device {did} --authority registrar.json");
    world.sillok(&lost).await.expect(0);
    let again = world.sillok(&format!("{lost} --json")).await.expect(0).json();
    assert_eq!(again["already"], true);
    let text = world.sillok(&format!("did resolve {did}")).await.expect(0).stdout;
    assert!(text.contains("written by  authority did:sillok:test:"), "{text}");

    // The authority alone sets nothing; with the countersigner it does.
    world.sillok(&format!("key new --did {did} --out phone2.json")).await.expect(0);
    let usage = format!("{lost} --new phone2.json");
    world.sillok(&usage).await.expect(64);
    world.sillok(&format!("{usage} --countersigner ministry.json")).await.expect(0);
    let text = world.sillok(&format!("did resolve {did}")).await.expect(0).stdout;
    let authority = format!("written by  authority {}", world.did("registrar.json"));
    let countersigner = format!("countersigner {ministry}");
    assert!(text.contains(&authority) && text.contains(&countersigner), "{text}");
    let careful = format!("did resolve {did} --refuse-assisted-within 7d --json");
    assert_eq!(world.sillok(&careful).await.expect(1).json()["error"]["code"], "ASSISTED_RECENTLY");

    let history = world.sillok(&format!("did history {did} --json")).await.expect(0).json();
    let versions = history["versions"].as_array().unwrap();
    assert_eq!(versions.len(), 5);
    assert_eq!(versions[4]["change"][0], "created");
    assert_eq!(versions[3]["change"][0], "device key replaced");
    assert_eq!(
        versions[1]["change"],
        serde_json::json!(["device key removed", "keyAgreement key removed"])
    );
    let written_by = &versions[0]["writtenBy"];
    assert_eq!(
        (&written_by[1]["role"], &written_by[1]["did"]),
        (&"countersigner".into(), &ministry.as_str().into())
    );
    let table = world.sillok(&format!("did history {did}")).await.expect(0).stdout;
    assert!(
        table.contains("countersigner") && table.contains("complete back to version 1"),
        "{table}"
    );

    // The lost phone's file cannot do anything any more; the new one can.
    let refused = world.sillok("did deactivate me.json --submitter registrar.json").await.expect(1);
    assert!(refused.stderr.contains("no key that its document allows"), "{}", refused.stderr);
    world.sillok("did deactivate phone2.json --submitter registrar.json").await.expect(0);
    let gone = world.sillok(&format!("did resolve {did} --json")).await.expect(6).json();
    assert_eq!(gone["didDocumentMetadata"]["deactivated"], true);
    world.sillok("did deactivate phone2.json --submitter registrar.json").await.expect(6);
    world.sillok(&format!("did resolve {did} --version-id 1")).await.expect(0);
    world.sillok(&format!("did resolve {did} --version-id 99")).await.expect(5);
}

#[tokio::test]
async fn an_organization_on_the_command_line() {
    let world = world().await;
    let create = "did create --kind organization --algorithm p256 --out office.json --submitter registrar.json";
    world.sillok(create).await.expect(0);
    let did = world.did("office.json");
    let submitter = "--submitter registrar.json";
    let update = format!(
        "did update office.json --add-key ed25519:assertionMethod --set-service credential-issuer=https://issuer.example {submitter}"
    );
    world.sillok(&update).await.expect(0);
    let resolved = world.sillok(&format!("did resolve {did} --json")).await.expect(0).json();
    let document = &resolved["didDocument"];
    assert_eq!(document["verificationMethod"].as_array().unwrap().len(), 4);
    assert_eq!(document["service"][0]["serviceEndpoint"], "https://issuer.example");
    let id = document["assertionMethod"][0].as_str().unwrap();
    world.sillok(&format!("did update office.json --remove-key {id} {submitter}")).await.expect(0);
    world.sillok(&format!("did update office.json --remove-key {id} {submitter}")).await.expect(64);
    world.sillok(&format!("did update office.json {submitter}")).await.expect(64);
    world.sillok(&format!("did set-device office.json {submitter}")).await.expect(1);
}

#[tokio::test]
async fn a_kept_answer_is_checked_without_a_node_and_ages() {
    let world = world().await;
    let did = world.ministries.registrar.did.to_string();
    world.sillok(&format!("did resolve {did} --save answer.json")).await.expect(0);
    let nobody = "127.0.0.1:1";
    let verified = world.run("verify answer.json --json", nobody).await.expect(0).json();
    assert_eq!(verified["didDocument"]["id"], did);
    let stale = world.run("verify answer.json --max-age 1ms --json", nobody).await.expect(3).json();
    assert_eq!(stale["verification"]["status"], "STALE");
    // Once more is known it is never valid again.
    let mut later = now_ms() + 1;
    world.door.network().commit(later, &[]).unwrap();
    later += 1;
    world.door.network().commit(later, &[]).unwrap();
    world.sillok(&format!("did resolve {did}")).await.expect(0);
    world.run("verify answer.json", nobody).await.expect(3);
    // A changed file is refused.
    let text = fs::read_to_string(world.path("answer.json")).unwrap();
    let (head, tail) = text.split_at(text.len() - 40);
    let flipped = tail.replace(['0', '1', '2', '3'], "a");
    fs::write(world.path("answer.json"), format!("{head}{flipped}")).unwrap();
    let run = world.run("verify answer.json", nobody).await;
    assert!(matches!(run.exit, 1 | 4), "{}", run.stderr);
}

#[tokio::test]
async fn exit_codes_and_errors_say_what_is_so() {
    let world = world().await;
    let registrar = world.did("registrar.json");
    let resolve = format!("did resolve {registrar}");
    // 7: nobody there.
    let run = world.run(&format!("{resolve} --json"), "127.0.0.1:1").await.expect(7);
    assert_eq!(run.json()["error"]["code"], "UNREACHABLE");
    // 5: proved not to exist.
    let authority = world.ministries.registrar.did.clone();
    let nobody = Identity::holder("test", KeyAlgorithm::P256, false, authority, None).unwrap();
    world.sillok(&format!("did resolve {}", nobody.did)).await.expect(5);
    // 3: verified and too old.
    let stale = world.sillok(&format!("{resolve} --max-age 0s")).await.expect(3);
    assert!(stale.stderr.contains("STALE"), "{}", stale.stderr);
    // 3: the node is behind.
    world.sillok(&format!("{resolve} --min-height 99")).await.expect(3);
    // 64: usage.
    world.sillok("did resolve did:web:example.org").await.expect(64);
    world.sillok("did resolve").await.expect(64);
    world.sillok("nonsense").await.expect(64);
    let elsewhere = registrar.replace(":test:", ":elsewhere:");
    world.sillok(&format!("did resolve {elsewhere}")).await.expect(64);
    world.sillok("did create --kind holder --out x.json").await.expect(64);
    // 1: refused by a rule, with its code; the file stays for another try.
    let stranger =
        Identity::organization("test", KeyAlgorithm::Ed25519, false, None, None).unwrap();
    stranger.create(&world.path("stranger.json")).unwrap();
    world
        .sillok("did create --kind holder --out y.json --submitter stranger.json --json")
        .await
        .expect(5);
    assert!(world.path("y.json").exists());
    // 1: a file that others can read.
    fs::set_permissions(world.path("registrar.json"), fs::Permissions::from_mode(0o644)).unwrap();
    let run = world
        .sillok("did create --kind holder --out z.json --submitter registrar.json")
        .await
        .expect(1);
    assert!(run.stderr.contains("chmod 600"), "{}", run.stderr);
    // 0: help and version.
    world.sillok("--help").await.expect(0);
    world.sillok("--version").await.expect(0);
}

#[tokio::test]
async fn a_lying_node_is_caught_on_the_command_line() {
    let thief = SecretKey::generate(KeyAlgorithm::Ed25519).unwrap();
    let lie = Lie {
        resolve: Some(Arc::new(move |_, answer| {
            answer.document.as_mut().unwrap().keys[0].key = Some(thief.public().clone());
        })),
        history: Some(Arc::new(|_, answer| {
            answer.versions.clear();
        })),
        ..Lie::default()
    };
    let world = world_with(lie).await;
    let did = world.did("registrar.json");
    let run = world.sillok(&format!("did resolve {did} --json")).await.expect(4);
    assert_eq!(run.json()["error"]["code"], "UNVERIFIED");
    let run = world.sillok(&format!("did resolve {did}")).await.expect(4);
    assert!(
        run.stderr.contains("forged") && run.stderr.contains("ask another node"),
        "{}",
        run.stderr
    );
    assert!(run.stdout.is_empty(), "nothing of a forged answer is printed");
    world.sillok(&format!("did history {did}")).await.expect(4);
}

#[tokio::test]
async fn a_node_of_another_network_is_caught_on_the_command_line() {
    let (world, other) = (world().await, world().await);
    let did = world.did("registrar.json");
    let run =
        world.run(&format!("did resolve {did}"), &other.door.address.to_string()).await.expect(4);
    assert!(run.stderr.contains("check the genesis"), "{}", run.stderr);
    let run = world.run("network status", &other.door.address.to_string()).await.expect(4);
    assert!(run.stdout.contains("another network"), "{}", run.stdout);
}

#[tokio::test]
async fn the_network_and_transactions_are_shown() {
    let world = world().await;
    let nodes = format!("127.0.0.1:1,{}", world.door.address);
    let table = world.run("network status", &nodes).await.expect(0).stdout;
    assert!(table.contains("unreachable") && table.contains("ok"), "{table}");
    let value = world.run("network status --json", &nodes).await.expect(0).json();
    assert_eq!(value["nodes"][1]["proved"]["height"], "1");

    let create = "did create --kind holder --out me.json --submitter registrar.json --json";
    let id =
        world.sillok(create).await.expect(0).json()["transactionId"].as_str().unwrap().to_owned();
    let state = world.sillok(&format!("tx status {id} --json")).await.expect(0).json();
    assert_eq!((&state["state"], &state["proved"]), (&"COMMITTED".into(), &true.into()));
    world.sillok(&format!("tx status {}", "00".repeat(32))).await.expect(5);
    world.sillok("tx status 1234").await.expect(64);
}

#[tokio::test]
async fn a_checkpoint_is_handed_on_and_started_from() {
    let world = world().await;
    let did = world.did("registrar.json");
    world.sillok("checkpoint save checkpoint.json").await.expect(0);
    let shown = world.sillok("checkpoint show --json").await.expect(0).json();
    assert_eq!(shown["checkpoint"]["height"], 1);
    // A machine that has nothing but the checkpoint.
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_sillok"))
        .args(["did", "resolve", &did, "--checkpoint", "checkpoint.json", "--home", "elsewhere"])
        .args(["--node", &world.door.address.to_string()])
        .current_dir(world.directory.path())
        .env_remove("SILLOK_GENESIS")
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    // And one that has nothing at all.
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_sillok"))
        .args(["did", "resolve", &did, "--home", "nowhere", "--node", "127.0.0.1:1"])
        .current_dir(world.directory.path())
        .env_remove("SILLOK_GENESIS")
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
}

#[tokio::test]
async fn keys_are_shown_without_their_secrets() {
    let world = world().await;
    let run = world.sillok("key show registrar.json --json").await.expect(0);
    assert_eq!(run.json()["keys"].as_array().unwrap().len(), 3);
    for secret in secrets(&world.path("registrar.json")) {
        assert!(!run.stdout.contains(&secret));
    }
    // A key of an organization made beforehand.
    let did = world.did("registrar.json");
    world
        .sillok(&format!("key new --did {did} --out new.json --relationships submit"))
        .await
        .expect(0);
    let key: IdentityKey = Identity::load(&world.path("new.json")).unwrap().keys.remove(0);
    assert_eq!(key.relationships, SUBMIT);
    world.sillok(&format!("key new --did {did} --out new.json")).await.expect(1);
    world
        .sillok(&format!("key new --did {did} --out other.json --relationships anything"))
        .await
        .expect(64);
}

/// An operator's key file, as `sillok-node keys` writes it.
fn write_key(path: &Path, key: &SecretKey) {
    let text = serde_json::json!({
        "algorithm": "Ed25519",
        "public_key": hex::encode(&key.public().point),
        "secret": hex::encode(key.to_bytes().as_slice()),
    });
    fs::write(path, text.to_string()).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn a_new_operator_is_admitted_and_joins_on_the_command_line() {
    let world = world().await;
    let operators = world.door.network().operators().to_vec();
    for (operator, number) in operators.iter().zip(1..) {
        write_key(&world.path(&format!("governance{number}.key")), &operator.governance);
    }
    let list = world.sillok("member list --json").await.expect(0).json();
    assert_eq!((&list["seated"], &list["approvalsNeeded"]), (&4.into(), &3.into()));
    assert_eq!(list["operators"][0]["standing"], "votes");
    assert_eq!(list["verification"]["status"], "VALID");

    // What the new operator hands in: its DID, and what `sillok-node keys --json` printed.
    world
        .sillok("did create --kind organization --out office.json --submitter registrar.json")
        .await
        .expect(0);
    let did = world.did("office.json");
    let new: Vec<SecretKey> =
        (0..3).map(|_| SecretKey::generate(KeyAlgorithm::Ed25519).unwrap()).collect();
    let point = |key: &SecretKey| hex::encode(&key.public().point);
    let keys = serde_json::json!({
        "node_key": point(&new[0]),
        "validator_key": point(&new[1]),
        "governance_key": point(&new[2]),
        "peer_id": "12D3KooW",
    });
    fs::write(world.path("keys.json"), keys.to_string()).unwrap();
    let propose =
        format!("member propose admit {did} --keys keys.json --archive --submitter registrar.json");
    world.sillok(&propose).await.expect(64);
    let proposed =
        world.sillok(&format!("{propose} --governance-key governance1.key --json")).await.expect(0);
    assert!(
        proposed.stderr.contains("1 of 3 approvals; next: sillok member approve"),
        "{}",
        proposed.stderr
    );
    let hash = proposed.json()["proposal"].as_str().unwrap().to_owned();
    world.sillok(&format!("member show {}", "00".repeat(32))).await.expect(5);

    // A governance key that is offline: the file goes there and back.
    let second = operators[1].did.to_string();
    let out = format!(
        "member approve {hash} --operator {second} --out approve.part --submitter registrar.json"
    );
    world.sillok(&out).await.expect(0);
    world.sillok(&out).await.expect(1);
    world.sillok("tx submit approve.part --submitter registrar.json").await.expect(1);
    let nobody = "127.0.0.1:1";
    let shown = world.run("tx show approve.part", nobody).await.expect(0).stdout;
    assert!(shown.contains(&hash) && shown.contains("nobody yet"), "{shown}");
    let signed =
        world.run("tx sign approve.part --key governance2.key --json", nobody).await.expect(0);
    assert_eq!(signed.json()["operations"][0]["signed_by"].as_array().unwrap().len(), 1);
    assert_eq!(signed.json()["operations"][0]["in_the_name_of"], second);
    world.sillok("tx submit approve.part --submitter ministry.json").await.expect(64);
    world.sillok("tx submit approve.part --submitter registrar.json").await.expect(0);

    // Before it is decided, nobody joins.
    fs::create_dir_all(world.path("node/validator")).unwrap();
    write_key(&world.path("node/validator/validator.key"), &new[1]);
    let join = "member join --dir node --submitter registrar.json";
    assert!(world.sillok(join).await.expect(1).stderr.contains("not approved"));
    let open = world.sillok("member proposals").await.expect(0).stdout;
    assert!(open.contains(&hash) && open.contains("2 of 3") && open.contains(&did), "{open}");
    let approve = format!("member approve {hash} --submitter registrar.json --governance-key");
    let again = world.sillok(&format!("{approve} governance2.key --json")).await.expect(0);
    assert_eq!(again.json()["already"], true);
    let decided = world.sillok(&format!("{approve} governance3.key")).await.expect(0);
    assert!(decided.stderr.contains("sillok member join"), "{}", decided.stderr);
    let late = world.sillok(&format!("{approve} governance4.key --json")).await.expect(1).json();
    assert_eq!(late["error"]["code"], "PROPOSAL_EXECUTED");
    let text = world.sillok(&format!("member show {hash}")).await.expect(0).stdout;
    assert!(text.contains("decided at height") && text.contains("admit operator"), "{text}");
    let none = world.sillok("member proposals").await.expect(0).stdout;
    assert!(none.contains("no proposal is open"), "{none}");
    assert!(world.sillok("member proposals --all").await.expect(0).stdout.contains(&hash));

    world.door.network().add_validator_key(new[1].clone());
    let joined = world.sillok(&format!("{join} --json")).await.expect(0).json();
    assert_eq!(joined["member"], did);
    let again = world.sillok(&format!("{join} --json")).await.expect(0).json();
    assert_eq!(again["already"], true);
    let list = world.sillok("member list").await.expect(0).stdout;
    assert!(list.contains("5 members are seated") && list.contains(&did), "{list}");

    let none = world.sillok("member evidence").await.expect(0).stdout;
    assert!(none.contains("no validator"), "{none}");

    // An operator names a new key for its own seat, once a day.
    let fresh = SecretKey::generate(KeyAlgorithm::Ed25519).unwrap();
    let rekey = |key: &SecretKey| {
        format!(
            "member rekey --validator-key {} --governance-key governance4.key --submitter registrar.json --json",
            point(key)
        )
    };
    world.sillok(&rekey(&fresh)).await.expect(0);
    let other = SecretKey::generate(KeyAlgorithm::Ed25519).unwrap();
    let soon = world.sillok(&rekey(&other)).await.expect(1).json();
    assert_eq!(soon["error"]["code"], "REKEY_TOO_SOON");
    write_key(&world.path("fresh.key"), &fresh);
    world.door.network().add_validator_key(fresh);
    world.sillok("member join --key fresh.key --submitter registrar.json").await.expect(0);
    // A key that others can read is taken for known.
    fs::set_permissions(world.path("fresh.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let open =
        world.sillok("member join --key fresh.key --submitter registrar.json").await.expect(1);
    assert!(open.stderr.contains("chmod 600"), "{}", open.stderr);
}

/// Figures are read, shown, proposed and approved; what is signed afterwards lives as long as the new window allows.
#[tokio::test]
async fn figures_of_the_network_are_changed_on_the_command_line() {
    let world = world().await;
    let operators = world.door.network().operators().to_vec();
    for (operator, number) in operators.iter().zip(1..) {
        write_key(&world.path(&format!("governance{number}.key")), &operator.governance);
    }
    let with = |figures: &str| {
        format!(
            "member propose set-parameters {figures} --submitter registrar.json --governance-key governance1.key"
        )
    };
    world.sillok(&with("")).await.expect(64);
    world.sillok(&with("--heartbeat soon --yes")).await.expect(64);
    // Nobody is there to confirm, and nothing is sent unconfirmed.
    let shown = world.sillok(&with("--valid-until-window 3m")).await.expect(64);
    assert!(shown.stdout.contains("300000 -> 180000"), "{}", shown.stdout);
    assert!(!shown.stdout.contains("heartbeat_ms"), "only what changes: {}", shown.stdout);
    let none = world.sillok("member proposals --all").await.expect(0).stdout;
    assert!(none.contains("no proposal"), "{none}");
    // A node tries it before anybody is asked.
    let range = world.sillok(&with("--valid-until-window 179s --json")).await.expect(1).json();
    assert_eq!(range["error"]["code"], "PARAMETER_RANGE");

    let figures = "--valid-until-window 3m --heartbeat 20s --archives-min 0 --yes --json";
    let proposed = world.sillok(&with(figures)).await.expect(0).json();
    let hash = proposed["proposal"].as_str().unwrap().to_owned();
    let approve = |number: usize| {
        format!(
            "member approve {hash} --submitter registrar.json --governance-key governance{number}.key"
        )
    };
    // Who approves is shown what would change.
    let difference = "heartbeat_ms 10000 -> 20000";
    let open = world.sillok(&format!("member show {hash}")).await.expect(0).stdout;
    assert!(open.contains(difference), "{open}");
    let second = world.sillok(&approve(2)).await.expect(0).stdout;
    assert!(second.contains(difference), "{second}");
    world.sillok(&approve(3)).await.expect(0);
    let in_force = world.door.network().tip().parameters.clone();
    assert_eq!((in_force.valid_until_window_ms, in_force.heartbeat_ms), (180_000, 20_000));
    assert_eq!(in_force.block_bytes_max, 2 * 1024 * 1024, "what was not named stays");
    let text = world.sillok(&format!("member show {hash}")).await.expect(0).stdout;
    assert!(text.contains("set parameters") && text.contains("decided at height"), "{text}");
    let already = world.sillok(&with("--heartbeat 20s --yes --json")).await.expect(0).json();
    assert_eq!(already["already"], true);

    // What is written at once, and what is carried to another machine, end within the new window.
    world
        .sillok("did create --kind holder --out me.json --submitter registrar.json")
        .await
        .expect(0);
    let (operator, node_key) = (operators[1].did.to_string(), "11".repeat(32));
    let carried = format!(
        "member propose remove-observer {node_key} --operator {operator} --out remove.part --submitter registrar.json --json"
    );
    let before_ms = now_ms();
    let until = world.sillok(&carried).await.expect(0).json()["validUntil"].clone();
    let until_ms = sillok_did_method::parse_datetime(until.as_str().unwrap()).unwrap();
    assert!((150_000..180_000).contains(&(until_ms - before_ms)), "{until}");
}
