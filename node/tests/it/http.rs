//! The HTTP door over real sockets: the rules of DID Resolution's HTTP(S) binding one by one, the limits, and silence.
//!
//! What is decided without a socket is asked in more ways in `did-method/tests/binding.rs`; here is what a client sees.

use super::api::{Doors, doors_of};
use super::support::{
    LIMITS, NETWORK, commit_one, create, did, everything_logged, genesis, governance, now_ms,
};
use serde_json::{Value, json};
use sillok_did_method::binding::read_proof;
use sillok_did_method::{Did, head_hash, trqp};
use sillok_ledger::{Chain, organization_digest};
use sillok_node::join::Progress;
use sillok_node::ledger::{Environment, Ledger};
use sillok_node::storage::{Retention, Storage};
use sillok_proto::{Hash, v1};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(40);
const RESOLUTION: &str = "application/did-resolution";
const DEREFERENCING: &str = "application/did-url-dereferencing";
const ENDPOINT: &str = "https://trust.example/v1/registry";
/// A holder that is there, one that is deactivated, and one that never was.
const HOLDER: u8 = 9;
const GONE: u8 = 10;
const NOBODY: u8 = 11;

// ------------------------------------------------------------------------------------------------ a client

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Sends one request as it is written, and reads until the node closes.
pub(crate) async fn send(address: SocketAddr, request: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("it answers").unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Reply { status, headers, body: bytes[end..].to_vec() }
}

/// A request with its headers, each a whole line, and its body.
pub(crate) async fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[&str],
    body: &str,
) -> Reply {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n");
    for line in headers {
        text.push_str(&format!("{line}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str(&format!("\r\n{body}"));
    send(address, text.as_bytes()).await
}

async fn get(address: SocketAddr, identifier: &str, accept: &str) -> Reply {
    let accept = format!("Accept: {accept}");
    let headers: &[&str] = if accept.len() > 8 { &[accept.as_str()] } else { &[] };
    request(address, "GET", &format!("/1.0/identifiers/{identifier}"), headers, "").await
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The error that an answer names, by its last part; empty where there is none.
fn error(reply: &Reply) -> String {
    let json = reply.json();
    ["didResolutionMetadata", "dereferencingMetadata"]
        .iter()
        .find_map(|metadata| json[metadata]["error"]["type"].as_str())
        .and_then(|url| url.rsplit_once('#'))
        .map(|(_, name)| name.to_owned())
        .unwrap_or_default()
}

// ------------------------------------------------------------------------------------------------ a record

/// An organization with a service, a holder, and a deactivated one.
fn record(path: &Path) -> Ledger {
    let mut genesis = genesis(NETWORK);
    let organization = genesis.organizations[0].document.as_mut().unwrap();
    organization.services = vec![v1::Service {
        kind: v1::ServiceKind::TrustRegistry.into(),
        endpoint: ENDPOINT.to_owned(),
    }];
    let chain = Chain::new(genesis).unwrap();
    let storage = Storage::open(path, &chain, Retention::Archive).unwrap();
    let ledger = Ledger::open(chain, storage, LIMITS, Environment::default()).unwrap();
    let genesis_hash = *ledger.chain.hash();
    for device in [HOLDER, GONE] {
        commit_one(&ledger, create(&genesis_hash, device, now_ms() + 60_000).1);
    }
    let digest = Did::parse(&did(GONE)).unwrap().digest();
    let key = sillok_ledger::TreeKey::did_head(&digest);
    let tip = ledger.tip().height();
    let entry = sillok_ledger::tree::prove(&ledger.storage.at(tip), tip, &key).unwrap();
    let head: v1::Head = sillok_proto::decode(&entry.value, 1 << 20).unwrap();
    let end = v1::operation::Operation::DeactivateDid(v1::DeactivateDid {
        did: digest.to_vec(),
        previous: head_hash(&head).to_vec(),
    });
    commit_one(&ledger, governance(&genesis_hash, end, GONE, now_ms() + 60_000).1);
    ledger
}

fn organization() -> String {
    let document = genesis(NETWORK).organizations[0].document.clone().unwrap();
    Did::new(NETWORK, organization_digest(&document)).unwrap().to_string()
}

async fn doors(path: &Path) -> Doors {
    doors_of(record(path), None).await.0
}

// ------------------------------------------------------------------------------------------------ the binding

#[tokio::test(flavor = "multi_thread")]
async fn c11_get_answers_a_resolution_result_with_its_media_type() {
    let directory = tempfile::tempdir().unwrap();
    let doors = doors(directory.path()).await;
    for identifier in [did(HOLDER), encoded(&did(HOLDER))] {
        let reply = get(doors.http, &identifier, RESOLUTION).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, RESOLUTION));
        let json = reply.json();
        let members: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert_eq!(members, ["didDocument", "didResolutionMetadata", "didDocumentMetadata"]);
        assert_eq!(json["didDocument"]["id"], did(HOLDER).as_str());
        assert_eq!(json["didResolutionMetadata"]["contentType"], "application/did");
        assert_eq!(json["didDocumentMetadata"]["versionId"], "1");
        assert!(reply.body.is_ascii());
        assert_eq!(reply.header("access-control-allow-origin"), "*");
        assert_eq!(reply.header("cache-control"), "no-store");
    }
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c11_the_bare_document_and_the_old_media_types_are_answered() {
    let directory = tempfile::tempdir().unwrap();
    let doors = doors(directory.path()).await;
    let full = get(doors.http, &did(HOLDER), RESOLUTION).await.json();
    for media_type in [
        "application/did",
        "application/did+json",
        "application/did+ld+json",
        "application/ld+json",
    ] {
        let reply = get(doors.http, &did(HOLDER), media_type).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, media_type));
        assert_eq!(reply.json(), full["didDocument"]);
    }
    // As Universal Resolver asks, and as its older deployments do.
    for accept in [
        "application/did-resolution,application/did",
        "application/did-resolution,application/ld+json;profile=\"https://w3id.org/did-resolution\"",
        "application/ld+json;profile=\"https://w3id.org/did-resolution\"",
        "*/*",
        "",
    ] {
        let reply = get(doors.http, &did(HOLDER), accept).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, RESOLUTION), "{accept}");
    }
    // Two headers are one list.
    let lines = ["Accept: text/html", "Accept: application/did"];
    let target = format!("/1.0/identifiers/{}", did(HOLDER));
    let reply = request(doors.http, "GET", &target, &lines, "").await;
    assert_eq!(reply.header("content-type"), "application/did");
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c11_each_error_has_its_status_and_a_full_result() {
    let directory = tempfile::tempdir().unwrap();
    let doors = doors(directory.path()).await;
    let here = did(HOLDER);
    let cases = [
        ("not-a-did".to_owned(), RESOLUTION, 400, "INVALID_DID"),
        ("did:example".to_owned(), RESOLUTION, 400, "INVALID_DID"),
        (String::new(), RESOLUTION, 400, "INVALID_DID"),
        (format!("{here}/../x"), RESOLUTION, 400, "INVALID_DID_URL"),
        (format!("{here}?versionId=1&versionId=1"), RESOLUTION, 400, "INVALID_DID_URL"),
        (format!("{here}?versionId=x"), RESOLUTION, 400, "INVALID_OPTIONS"),
        (
            format!("{here}?versionId=1&versionTime=2026-11-21T09:00:00Z"),
            RESOLUTION,
            400,
            "INVALID_OPTIONS",
        ),
        (did(NOBODY), RESOLUTION, 404, "NOT_FOUND"),
        (did(NOBODY), "application/did", 404, "NOT_FOUND"),
        (did(NOBODY), DEREFERENCING, 404, "NOT_FOUND"),
        (did(NOBODY).replace(NETWORK, "other"), RESOLUTION, 404, "NOT_FOUND"),
        (format!("{here}?versionId=7"), RESOLUTION, 404, "NOT_FOUND"),
        (format!("{here}?versionTime=2001-01-01T00:00:00Z"), RESOLUTION, 404, "NOT_FOUND"),
        (format!("{here}/path"), DEREFERENCING, 404, "NOT_FOUND"),
        (here.clone(), "text/html", 406, "REPRESENTATION_NOT_SUPPORTED"),
        (here.clone(), "application/did+cbor", 406, "REPRESENTATION_NOT_SUPPORTED"),
        ("did:web:example.org".to_owned(), RESOLUTION, 501, "METHOD_NOT_SUPPORTED"),
        ("did:unsupported:123".to_owned(), "*/*", 501, "METHOD_NOT_SUPPORTED"),
        (format!("{}?hl=zm", encoded(&here)), RESOLUTION, 501, "FEATURE_NOT_SUPPORTED"),
    ];
    for (identifier, accept, status, name) in cases {
        let reply = get(doors.http, &identifier, accept).await;
        assert_eq!((reply.status, error(&reply).as_str()), (status, name), "{identifier}");
        let json = reply.json();
        let (document, about, metadata, media_type) = if accept == DEREFERENCING {
            ("content", "contentMetadata", "dereferencingMetadata", DEREFERENCING)
        } else {
            ("didDocument", "didDocumentMetadata", "didResolutionMetadata", RESOLUTION)
        };
        assert_eq!(reply.header("content-type"), media_type, "{identifier}");
        assert_eq!((&json[document], &json[about]), (&Value::Null, &json!({})), "{identifier}");
        let error = &json[metadata]["error"];
        assert_eq!(error["type"], format!("https://www.w3.org/ns/did#{name}"));
        assert!(error["title"].is_string() && error["detail"].is_string(), "{error}");
    }
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c11_a_deactivated_did_is_410_without_document_and_without_error() {
    let directory = tempfile::tempdir().unwrap();
    let doors = doors(directory.path()).await;
    for accept in [RESOLUTION, "application/did"] {
        let reply = get(doors.http, &did(GONE), accept).await;
        assert_eq!((reply.status, reply.header("content-type")), (410, RESOLUTION));
        let json = reply.json();
        assert_eq!(json["didDocument"], Value::Null);
        assert_eq!(json["didDocumentMetadata"]["deactivated"], true);
        assert_eq!(error(&reply), "");
    }
    let old = get(doors.http, &format!("{}?versionId=1", did(GONE)), RESOLUTION).await;
    assert_eq!(old.status, 200);
    assert_eq!(old.json()["didDocumentMetadata"]["nextVersionId"], "2");
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c11_versions_are_found_by_parameter_by_option_and_by_body() {
    let directory = tempfile::tempdir().unwrap();
    let doors = doors(directory.path()).await;
    let whole = |rest: &str| encoded(&format!("{}{rest}", did(GONE)));
    let bare = encoded(&did(GONE));
    for identifier in [
        format!("{}?versionId=1", did(GONE)),
        format!("{bare}?versionId=1"),
        whole("?versionId=1"),
        format!("{bare}?%7B%22versionId%22%3A%221%22%2C%22noCache%22%3Atrue%7D"),
    ] {
        let reply = get(doors.http, &identifier, RESOLUTION).await;
        assert_eq!(reply.json()["didDocumentMetadata"]["versionId"], "1", "{identifier}");
    }
    let target = format!("/1.0/identifiers/{}", did(GONE));
    let accept = format!("Accept: {RESOLUTION}");
    let headers = [accept.as_str(), "Content-Type: application/json"];
    let reply = request(doors.http, "POST", &target, &headers, r#"{"versionId":"1"}"#).await;
    assert_eq!(reply.json()["didDocumentMetadata"]["versionId"], "1");
    let reply = request(doors.http, "POST", &target, &headers, "").await;
    assert_eq!(reply.status, 410, "no body, no options");
    let reply = request(doors.http, "POST", &target, &headers, "nonsense").await;
    assert_eq!((reply.status, error(&reply).as_str()), (400, "INVALID_OPTIONS"));
    // The newest version from before a time.
    let later = "?versionTime=2999-01-01T00:00:00Z";
    let reply = get(doors.http, &whole(later), RESOLUTION).await;
    assert_eq!(reply.status, 410, "the newest is the end");
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c11_fragments_and_services_are_dereferenced() {
    let directory = tempfile::tempdir().unwrap();
    let doors = doors(directory.path()).await;
    let document = get(doors.http, &organization(), "application/did").await.json();
    let method = &document["verificationMethod"][0];
    let url = method["id"].as_str().unwrap();
    let reply = get(doors.http, &encoded(url), DEREFERENCING).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, DEREFERENCING));
    let json = reply.json();
    assert_eq!((&json["content"], &json["contentStream"]), (method, method));
    assert_eq!(json["dereferencingMetadata"]["contentType"], "application/did");
    let bare = get(doors.http, &encoded(url), "application/did").await;
    assert_eq!((bare.status, &bare.json()), (200, method));
    let reply = get(doors.http, &encoded(&format!("{}#no", organization())), DEREFERENCING).await;
    assert_eq!((reply.status, error(&reply).as_str()), (404, "NOT_FOUND"));

    let service = format!("{}?service=trust-registry", organization());
    let reply = get(doors.http, &service, "application/did").await;
    assert_eq!(reply.json()["service"][0]["serviceEndpoint"], ENDPOINT);
    assert!(reply.json().get("verificationMethod").is_none());
    let reply = get(doors.http, &service, "text/uri-list").await;
    assert_eq!((reply.status, reply.header("location")), (303, ENDPOINT));
    assert!(reply.body.is_empty());
    let deeper = format!("{service}&relativeRef=%2Flists%2F1");
    let reply = get(doors.http, &encoded(&deeper), "text/uri-list").await;
    assert_eq!(reply.header("location"), "https://trust.example/lists/1");
    let climbs = format!("{service}&relativeRef=..%2F..%2Fetc");
    let reply = get(doors.http, &encoded(&climbs), "text/uri-list").await;
    assert_eq!((reply.status, error(&reply).as_str()), (400, "INVALID_DID_URL"));
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c11_the_proof_stands_in_the_metadata_and_leads_to_the_state_root() {
    let directory = tempfile::tempdir().unwrap();
    let doors = doors(directory.path()).await;
    let root = Hash::from_slice(&doors.ledger.tip().header.state_root).unwrap();
    for (device, accept, present) in [
        (HOLDER, RESOLUTION, true),
        (HOLDER, DEREFERENCING, true),
        (GONE, RESOLUTION, true),
        (NOBODY, RESOLUTION, false),
    ] {
        let json = get(doors.http, &did(device), accept).await.json();
        let found = read_proof(&json).unwrap();
        let proof = found.proof.unwrap();
        let [entry] = proof.entries.as_slice() else { panic!("one leaf") };
        let verified = sillok_ledger::proof::verify_entry(&root, entry).unwrap();
        let digest = Did::parse(&did(device)).unwrap().digest();
        assert_eq!(verified.key, sillok_ledger::TreeKey::did_head(&digest));
        assert_eq!((entry.present, verified.value.is_some()), (present, present));
        // The same that gRPC answers, without the JSON.
        let header = proof.signed_header.unwrap().header.unwrap();
        assert_eq!(header, doors.ledger.tip().header);
    }
    doors.close().await;
}

// ------------------------------------------------------------------------------------------------ the door

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_changed_over_http_and_other_paths_are_problems() {
    let directory = tempfile::tempdir().unwrap();
    let doors = doors(directory.path()).await;
    let target = format!("/1.0/identifiers/{}", did(HOLDER));
    for method in ["PUT", "DELETE", "PATCH"] {
        let reply = request(doors.http, method, &target, &[], "").await;
        assert_eq!((reply.status, reply.header("content-type")), (405, "application/problem+json"));
        assert!(reply.header("allow").contains("GET"));
    }
    let head = request(doors.http, "HEAD", &target, &[], "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let preflight = request(doors.http, "OPTIONS", &target, &[], "").await;
    assert_eq!(preflight.status, 204);
    assert!(preflight.header("access-control-allow-methods").contains("POST"));
    for path in ["/", "/1.0/identifiers", "/2.0/identifiers/x", "/metrics"] {
        let reply = request(doors.http, "GET", path, &[], "").await;
        assert_eq!(reply.status, 404);
        assert_eq!(reply.json()["status"], 404);
        assert_eq!(reply.header("content-type"), "application/problem+json");
    }
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_or_too_slow_ends() {
    let directory = tempfile::tempdir().unwrap();
    let doors = doors(directory.path()).await;
    let target = format!("/1.0/identifiers/{}", did(HOLDER));
    let long = " ".repeat(20_000);
    assert_eq!(request(doors.http, "POST", &target, &[], &long).await.status, 413);
    let header = format!("X-Long: {}", "a".repeat(20_000));
    assert_eq!(request(doors.http, "GET", &target, &[&header], "").await.status, 431);
    // One connection says nothing, one half a head, and one is kept after an answer: none is kept for ever.
    let start = Instant::now();
    let mut ends = Vec::new();
    for begin in [
        "".to_owned(),
        "GET /1.0/ident".to_owned(),
        format!("GET {target} HTTP/1.1\r\nHost: node\r\n\r\n"),
        format!("POST {target} HTTP/1.1\r\nHost: node\r\nContent-Length: 9\r\n\r\n{{"),
    ] {
        let mut stream = TcpStream::connect(doors.http).await.unwrap();
        ends.push(tokio::spawn(async move {
            stream.write_all(begin.as_bytes()).await.unwrap();
            let mut bytes = Vec::new();
            // Closed, or reset: ended in any case.
            let _ = stream.read_to_end(&mut bytes).await;
        }));
    }
    for end in ends {
        timeout(PATIENCE, end).await.expect("the connection ends").unwrap();
    }
    assert!(start.elapsed() > Duration::from_secs(5), "but not at once");
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_with_many_connections_leaves_room_for_another() {
    let directory = tempfile::tempdir().unwrap();
    let doors = doors(directory.path()).await;
    let mut held = Vec::new();
    for _ in 0..300 {
        held.extend(TcpStream::connect(doors.http).await);
    }
    let elsewhere = tokio::net::TcpSocket::new_v4().unwrap();
    elsewhere.bind(SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
    let mut other = timeout(PATIENCE, elsewhere.connect(doors.http)).await.unwrap().unwrap();
    let asked = format!(
        "GET /1.0/identifiers/{} HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n",
        did(HOLDER)
    );
    other.write_all(asked.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    timeout(PATIENCE, other.read_to_end(&mut bytes)).await.expect("it is served").unwrap();
    assert!(bytes.starts_with(b"HTTP/1.1 200"));
    drop((held, other));
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_is_not_ready_and_says_when_to_come_again() {
    let directory = tempfile::tempdir().unwrap();
    let (doors, shown) = doors_of(record(directory.path()), Some(Progress::default())).await;
    let reply = get(doors.http, &did(HOLDER), RESOLUTION).await;
    assert_eq!((reply.status, error(&reply).as_str()), (503, "INTERNAL_ERROR"));
    assert_eq!(reply.header("retry-after"), "5");
    // What is wrong in itself is told all the same.
    assert_eq!(get(doors.http, "not-a-did", RESOLUTION).await.status, 400);
    shown.send_replace(None);
    assert_eq!(get(doors.http, &did(HOLDER), RESOLUTION).await.status, 200);
    drop(shown);
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a24_no_did_that_is_asked_for_over_http_stands_in_a_log() {
    let log = everything_logged();
    let directory = tempfile::tempdir().unwrap();
    let doors = doors(directory.path()).await;
    // A DID that no other test of this program asks for.
    let asked = did(77);
    let suffix = asked.rsplit(':').next().unwrap().to_owned();
    for identifier in [asked.clone(), encoded(&asked), format!("{asked}?versionId=x")] {
        for accept in [RESOLUTION, "text/html"] {
            assert!(get(doors.http, &identifier, accept).await.status >= 400);
        }
    }
    doors.close().await;
    let text = String::from_utf8_lossy(&log.lock().unwrap()).into_owned();
    assert!(!text.contains(&suffix), "a DID stands in the log");
    assert!(!text.contains("/1.0/identifiers"), "a target stands in the log");
}

// ------------------------------------------------------------------------------------------------ rights

fn query(action: &str) -> Value {
    json!({
        "entity_id": organization(),
        "authority_id": format!("urn:sillok:governance:{NETWORK}"),
        "action": action,
        "resource": "urn:sillok:all",
    })
}

async fn post(address: SocketAddr, target: &str, body: &Value) -> Reply {
    let headers = ["Content-Type: application/json; charset=utf-8", "X-Request-ID: 7-a"];
    request(address, "POST", target, &headers, &body.to_string()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn b4_a_right_is_answered_yes_and_no_with_its_proof() {
    let directory = tempfile::tempdir().unwrap();
    let doors = doors(directory.path()).await;
    let root = Hash::from_slice(&doors.ledger.tip().header.state_root).unwrap();
    for (action, holds) in [("register", true), ("submit", true), ("issue", false)] {
        let reply = post(doors.http, "/authorization", &query(action)).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, "application/json"));
        assert_eq!(reply.header("x-request-id"), "7-a");
        let json = reply.json();
        assert_eq!(json["authorized"], holds, "{json}");
        assert!(json.get("proof").is_none());
        for (name, text) in query(action).as_object().unwrap() {
            assert_eq!(&json[name], text);
        }
        let proved = post(doors.http, "/authorization?proof=true", &query(action)).await.json();
        let [answer] = trqp::read_proofs(&proved).unwrap().try_into().unwrap();
        let entries = answer.proof.unwrap().entries;
        assert!(!entries.is_empty());
        for entry in &entries {
            sillok_ledger::proof::verify_entry(&root, entry).unwrap();
        }
    }
    // Who may register does not thereby let others do so.
    let reply = post(doors.http, "/recognition?proof=true", &query("register")).await;
    assert_eq!((reply.status, &reply.json()["recognized"]), (200, &json!(false)));
    assert_eq!(trqp::read_proofs(&reply.json()).unwrap().len(), 2);
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d4_a_right_is_answered_as_of_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let doors = doors(directory.path()).await;
    let at = |time: &str| {
        let mut query = query("register");
        query["context"] = json!({"time": time, "note": "a"});
        query
    };
    let now = sillok_did_method::format_datetime(doors.ledger.tip().header.time_ms);
    let reply = post(doors.http, "/authorization", &at(&now)).await.json();
    assert_eq!((&reply["authorized"], &reply["time_requested"]), (&json!(true), &json!(now)));
    assert_eq!(reply["context"], json!({"time": now, "note": "a"}));
    // The genesis gave the right, and not before.
    let reply = post(doors.http, "/authorization", &at("2001-01-01T00:00:00Z")).await;
    assert_eq!((reply.status, &reply.json()["authorized"]), (200, &json!(false)));
    let reply = post(doors.http, "/authorization", &at("2999-01-01T00:00:00Z")).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, "5"), "nobody knows yet");
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_trqp_refuses_is_a_problem_with_its_status() {
    let directory = tempfile::tempdir().unwrap();
    let doors = doors(directory.path()).await;
    let changed = |name: &str, value: Value| {
        let mut query = query("issue");
        query[name] = value;
        query
    };
    let unknown_type = format!("urn:sillok:type:{}", "ab".repeat(32));
    let cases = [
        (changed("action", json!(null)), 400),
        (changed("context", json!({"time": "soon"})), 400),
        (json!([]), 400),
        // Nobody, in the ledger's words: never registered.
        (changed("entity_id", json!(did(NOBODY))), 404),
        (changed("authority_id", json!(did(NOBODY))), 404),
        (changed("authority_id", json!("urn:sillok:governance:other")), 404),
        (changed("action", json!("fly")), 404),
        (changed("resource", json!(unknown_type)), 404),
    ];
    for (query, status) in cases {
        let reply = post(doors.http, "/authorization", &query).await;
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (status, "application/problem+json")
        );
        assert_eq!(reply.json()["status"], status, "{query}");
    }
    let body = query("issue").to_string();
    let reply = request(doors.http, "POST", "/authorization", &[], &body).await;
    assert_eq!(reply.status, 400, "no content type");
    assert_eq!(request(doors.http, "GET", "/recognition", &[], "").await.status, 405);
    assert_eq!(post(doors.http, "/recognition?proof=maybe", &query("issue")).await.status, 400);
    // A known authority that is not above the entity: a plain no.
    let reply =
        post(doors.http, "/authorization", &changed("authority_id", json!(did(HOLDER)))).await;
    assert_eq!((reply.status, &reply.json()["authorized"]), (200, &json!(false)));
    doors.close().await;
}
