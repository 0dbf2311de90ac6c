//! Status lists over HTTP at a live node: what the two standards ask of whoever serves them, one rule after another, each
//! list held against the state, entry by entry, and its proof taken apart.
//!
//! Made and read here by the same crate; `status-list/src/served.rs` holds its reading against published lists.

use super::api::{Doors, doors_of};
use super::http::{Reply, request};
use super::registries::{GOVERNED, ISSUED, REVOKED, at, list, open, proved, set, world};
use super::support::{NETWORK, everything_logged, operator, point};
use serde_json::Value;
use sillok_did_method::{Did, EntryState};
use sillok_ledger::answer::chunks;
use sillok_ledger::status::get;
use sillok_node::join::Progress;
use sillok_node::storage::Retention;
use sillok_proto::Hash;
use sillok_status_list::compress::gunzip;
use sillok_status_list::document::View;
use sillok_status_list::served::{Served, read_proof};
use std::time::Duration;

const BASE: &str = "https://status.sillok.example";
const ENTRIES: u32 = 131_072 + 8_192;
const CHUNKS: u32 = ENTRIES / 8_192;
const VIEWS: [(View, &str); 3] = [
    (View::Token, "application/json"),
    (View::Revocation, "application/vc"),
    (View::Suspension, "application/vc"),
];

fn path(doors: &Doors, view: View) -> String {
    format!("/lists/{}{}", list(&doors.ledger), view.suffix())
}

async fn get_with(doors: &Doors, target: &str, headers: &[&str]) -> Reply {
    request(doors.http, "GET", target, headers, "").await
}

async fn ask(doors: &Doors, query: &str) -> Reply {
    get_with(doors, &format!("{}?{query}", path(doors, View::Token)), &[]).await
}

fn code(reply: &Reply) -> (u16, String) {
    assert_eq!(reply.header("content-type"), "application/problem+json");
    (reply.status, reply.json()["code"].as_str().unwrap().to_owned())
}

/// The states of all entries after a block, as they stand in storage.
fn states(doors: &Doors, height: u64) -> Vec<u8> {
    let numbers: Vec<u32> = (0..CHUNKS).collect();
    let view = doors.ledger.storage.at(height);
    let (_, chunks) = chunks(&view, &list(&doors.ledger), &numbers).unwrap();
    chunks.iter().flat_map(|chunk| chunk.states().iter().copied()).collect()
}

fn expected(view: View, state: u8) -> u8 {
    match view {
        View::Token => state,
        View::Revocation => u8::from([1, 12].contains(&state)),
        View::Suspension => u8::from([2, 3].contains(&state)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a24_any_node_serves_both_lists_whole_and_with_their_proof() {
    let (_directory, doors, times) = world(Retention::Archive).await;
    let states = states(&doors, GOVERNED);
    let issuer = Did::new(NETWORK, Hash::from_slice(&operator()).unwrap()).unwrap().to_string();
    for (view, media_type) in VIEWS {
        let reply = get_with(&doors, &path(&doors, view), &[]).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, media_type));
        let json = reply.json();
        let served = Served::read(view, &json).unwrap();
        // The URI names no node and no version of an interface.
        assert_eq!(served.uri, format!("{BASE}{}", path(&doors, view)));
        // The time of the header, and the list's own max age.
        let from_s = times[at(GOVERNED)] / 1000;
        assert_eq!((served.from_s, served.until_s, served.ttl_s), (from_s, from_s + 300, 60));
        for index in 0..ENTRIES {
            let state = get(&states, index).unwrap();
            assert_eq!(served.entry(index), Some(expected(view, state)), "entry {index}");
        }
        assert_eq!(served.entry(ENTRIES), None);
        assert_eq!(served.issuer, (view != View::Token).then(|| issuer.clone()));
        // Its proof holds every leaf of the list, from the validators of the genesis on.
        let mut from_proof = Vec::new();
        for (place, piece) in read_proof(&json).unwrap().iter().enumerate() {
            let first = u32::try_from(place).unwrap() * 16;
            let numbers: Vec<u32> = (first..CHUNKS.min(first + 16)).collect();
            let name = list(&doors.ledger);
            let (found, chunks) =
                proved(&doors.ledger, piece).known(|view| chunks(view, &name, &numbers));
            assert_eq!(found.unwrap().capacity, ENTRIES);
            from_proof.extend(chunks.iter().flat_map(|chunk| chunk.states().iter().copied()));
        }
        assert_eq!(from_proof, states);
    }
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documents_have_the_members_that_the_standards_name() {
    let (_directory, doors, _) = world(Retention::Archive).await;
    let token = get_with(&doors, &path(&doors, View::Token), &[]).await.json();
    let members: Vec<&String> = token.as_object().unwrap().keys().collect();
    assert_eq!(members, ["sub", "iat", "exp", "ttl", "status_list", "sillok", "proof"]);
    assert_eq!(token["status_list"]["bits"], 4);
    let genesis_hash = doors.ledger.chain.hash().to_string();
    assert_eq!(token["sillok"]["genesisHash"], genesis_hash.as_str());
    assert_eq!(token["sillok"]["height"], GOVERNED.to_string());
    let proof = &token["proof"];
    assert_eq!((&proof["type"], &proof["network"]), (&"SillokStateProof".into(), &NETWORK.into()));
    let credential = get_with(&doors, &path(&doors, View::Revocation), &[]).await.json();
    assert_eq!(credential["@context"], serde_json::json!(["https://www.w3.org/ns/credentials/v2"]));
    let subject = &credential["credentialSubject"];
    assert_eq!(subject["statusPurpose"], "revocation");
    assert_eq!(subject["ttl"], 60_000, "in milliseconds");
    assert!(subject["encodedList"].as_str().unwrap().starts_with("uH4sI"), "gzip as multibase");
    assert_eq!(subject["id"], format!("{}#list", credential["id"].as_str().unwrap()));
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_signed_is_not_had_from_a_node_and_it_says_from_whom() {
    let (_directory, doors, _) = world(Retention::Archive).await;
    for (view, media_type, instead) in [
        (View::Token, "application/statuslist+jwt", "application/json"),
        (View::Revocation, "application/vc+jwt", "application/vc"),
    ] {
        let accept = format!("Accept: {media_type}");
        let reply = get_with(&doors, &path(&doors, view), &[&accept]).await;
        assert_eq!(code(&reply), (406, "NOT_SIGNED_HERE".to_owned()));
        assert_eq!(reply.json()["offered"][0], instead);
        assert_eq!(reply.header("cache-control"), "no-store");
        // Who takes either gets what there is.
        let accept = format!("Accept: {media_type}, {instead};q=0.1");
        let reply = get_with(&doors, &path(&doors, view), &[&accept]).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, instead));
    }
    for (view, other) in [
        (View::Token, "application/statuslist+cwt"),
        (View::Token, "application/vc"),
        (View::Suspension, "text/html"),
    ] {
        let accept = format!("Accept: {other}");
        let reply = get_with(&doors, &path(&doors, view), &[&accept]).await;
        assert_eq!(code(&reply), (406, "NOT_ACCEPTABLE".to_owned()), "{other}");
    }
    for name in ["application/ld+json", "application/json"] {
        let accept = format!("Accept: {name}");
        let reply = get_with(&doors, &path(&doors, View::Revocation), &[&accept]).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, name));
    }
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a24_there_is_no_door_for_one_entry() {
    let (_directory, doors, _) = world(Retention::Archive).await;
    let path = path(&doors, View::Token);
    for target in [
        format!("{path}/5"),
        format!("{path}/entries/5"),
        format!("{path}/revocation/5"),
        format!("{path}/"),
        path.to_uppercase().replace("/LISTS/", "/lists/"),
        "/lists/".to_owned(),
        "/lists".to_owned(),
    ] {
        assert_eq!(get_with(&doors, &target, &[]).await.status, 404, "{target}");
    }
    for query in ["idx=5", "index=5", "statusListIndex=5", "chunk=0", "from=0&to=1"] {
        let reply = ask(&doors, query).await;
        assert_eq!(code(&reply), (400, "INVALID_QUERY".to_owned()), "{query}");
    }
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b20_a_list_of_the_past_is_the_last_one_up_to_then_and_never_the_nearest() {
    let (_directory, doors, times) = world(Retention::Archive).await;
    // Whole seconds apart, so that a second tells them apart.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let revoked_ms = set(&doors.ledger, EntryState::Invalid, &[139_263], 0, 0);
    let before_s = times[at(GOVERNED)] / 1000 + 1;
    assert!(before_s * 1000 > times[at(GOVERNED)] && before_s * 1000 < revoked_ms);
    let tip = doors.ledger.tip().height();
    // One second before the revocation is nearer to it than to the block before it, and yet of that one.
    let almost_s = revoked_ms / 1000;
    for time_s in [before_s, almost_s] {
        if time_s * 1000 >= revoked_ms {
            continue;
        }
        let json = ask(&doors, &format!("time={time_s}")).await.json();
        let served = Served::read(View::Token, &json).unwrap();
        assert_eq!((served.height, served.entry(139_263)), (Some(GOVERNED), Some(0)), "{time_s}");
        assert_eq!(served.from_s, times[at(GOVERNED)] / 1000);
        assert!(served.from_s <= time_s, "never one of later");
        // As Bitstring Status List asks for the same.
        let timestamp = sillok_did_method::format_datetime(time_s * 1000);
        let target = format!("{}?timestamp={timestamp}", path(&doors, View::Revocation));
        let json = get_with(&doors, &target, &[]).await.json();
        let bits = Served::read(View::Revocation, &json).unwrap();
        assert_eq!((bits.from_s, bits.entry(139_263)), (served.from_s, Some(0)));
        // That no later block was so early is proved by the one after it.
        for piece in read_proof(&json).unwrap() {
            let (then, _) = proved(&doors.ledger, &piece).then.unwrap();
            assert_eq!(then.header().height(), GOVERNED);
            assert!(then.header().time_ms() <= time_s * 1000);
            let next = piece.then.unwrap().next.unwrap().header.unwrap();
            assert!(next.time_ms > time_s * 1000);
        }
    }
    // What is known now reaches back; by what was known then it does not.
    let invalid_s = times[at(REVOKED)] / 1000;
    assert_eq!(ask(&doors, &format!("time={before_s}&known_at={ISSUED}")).await.status, 400);
    let json = ask(&doors, &format!("time={before_s}&known_at={tip}")).await.json();
    assert_eq!(json["sillok"]["knownAt"], tip.to_string());
    assert!(invalid_s <= before_s);
    // After a block of a height.
    for (height, state) in [(ISSUED, 0), (REVOKED, 1)] {
        let json = ask(&doors, &format!("height={height}")).await.json();
        let served = Served::read(View::Token, &json).unwrap();
        assert_eq!((served.height, served.entry(5)), (Some(height), Some(state)));
        assert_eq!(served.from_s, times[at(height)] / 1000);
    }
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moment_that_there_is_not_is_said_by_name() {
    let (_directory, doors, times) = world(Retention::Archive).await;
    let genesis_s = times[0] / 1000;
    for (query, expected) in [
        (format!("time={}", times[at(GOVERNED)] / 1000 + 3_600), "STALE"),
        (format!("height={}", GOVERNED + 1), "STALE"),
        (format!("time={}", genesis_s - 1), "BEFORE_GENESIS"),
        (format!("time={genesis_s}"), "UNKNOWN_LIST"),
        ("height=1".to_owned(), "UNKNOWN_LIST"),
    ] {
        let reply = ask(&doors, &query).await;
        assert_eq!(code(&reply), (404, expected.to_owned()), "{query}");
        // An absence is proved.
        let json = reply.json();
        assert_eq!(read_proof(&json).is_ok(), expected == "UNKNOWN_LIST", "{query}");
    }
    let nobody = Hash([7; 32]);
    let reply = get_with(&doors, &format!("/lists/{nobody}/suspension"), &[]).await;
    assert_eq!(code(&reply), (404, "UNKNOWN_LIST".to_owned()));
    let pieces = read_proof(&reply.json()).unwrap();
    let (found, _) = proved(&doors.ledger, &pieces[0]).known(|view| chunks(view, &nobody, &[]));
    assert_eq!(found, None);
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_keeps_no_old_state_names_the_archives_over_http() {
    let (_directory, doors, times) = world(Retention::Heights(2)).await;
    for query in [format!("height={ISSUED}"), format!("time={}", times[at(ISSUED)] / 1000)] {
        let reply = ask(&doors, &query).await;
        let json = reply.json();
        // A whole second may end before the list began, but never where the node keeps state.
        assert_eq!((reply.status, &json["code"]), (404, &"HISTORY_PRUNED".into()), "{query}");
        assert_eq!(json["archives"], serde_json::json!([hex::encode(point(4))]));
    }
    let reply = ask(&doors, &format!("height={GOVERNED}")).await;
    assert_eq!(reply.status, 200);
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_how_long_it_may_be_kept_and_is_not_sent_twice() {
    let (_directory, doors, times) = world(Retention::Archive).await;
    let target = path(&doors, View::Token);
    let first = get_with(&doors, &target, &[]).await;
    let control = first.header("cache-control");
    let max_age = control.strip_prefix("public, max-age=").unwrap();
    let max_age: u64 = max_age.strip_suffix(", must-revalidate").unwrap().parse().unwrap();
    assert!((1..=60).contains(&max_age), "never beyond its end, which is 300 s away");
    assert!(first.header("last-modified").ends_with(" GMT"));
    assert_eq!(first.header("vary"), "accept, accept-encoding");
    assert_eq!(first.header("access-control-allow-origin"), "*");
    // What others may keep is nobody's own; what they may not is told apart.
    let named = get_with(&doors, &target, &["X-Request-ID: mine"]).await;
    assert_eq!((named.status, named.header("x-request-id")), (200, ""));
    let none = format!("/lists/{}", Hash([7; 32]));
    let named = get_with(&doors, &none, &["X-Request-ID: mine"]).await;
    assert_eq!((named.header("cache-control"), named.header("x-request-id")), ("no-store", "mine"));
    let tag = format!("If-None-Match: {}", first.header("etag"));
    let again = get_with(&doors, &target, &[&tag]).await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_eq!(again.header("etag"), first.header("etag"));
    assert!(!again.header("cache-control").is_empty() && !again.header("vary").is_empty());
    // About the past nothing is fresh.
    let past = ask(&doors, &format!("time={}", times[at(GOVERNED)] / 1000)).await;
    assert!([200, 404].contains(&past.status));
    let past = ask(&doors, &format!("height={ISSUED}")).await;
    assert_eq!((past.status, past.header("cache-control")), (200, "no-cache"));
    // The next block is another answer.
    set(&doors.ledger, EntryState::Invalid, &[139_263], 0, 0);
    let next = get_with(&doors, &target, &[&tag]).await;
    assert_eq!(next.status, 200);
    assert_eq!(Served::read(View::Token, &next.json()).unwrap().entry(139_263), Some(1));
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_compressed_for_who_asks_for_it_and_a_head_has_none() {
    let (_directory, doors, _) = world(Retention::Archive).await;
    let target = path(&doors, View::Token);
    let plain = get_with(&doors, &target, &[]).await;
    assert_eq!(plain.header("content-encoding"), "");
    for accept in ["gzip", "br;q=1, gzip;q=0.2", "*"] {
        let line = format!("Accept-Encoding: {accept}");
        let reply = get_with(&doors, &target, &[&line]).await;
        assert_eq!((reply.status, reply.header("content-encoding")), (200, "gzip"), "{accept}");
        assert_eq!(gunzip(&reply.body, plain.body.len()).unwrap(), plain.body);
        assert!(reply.body.len() < plain.body.len());
        assert_ne!(reply.header("etag"), plain.header("etag"));
    }
    for accept in ["gzip;q=0", "identity", "gzip;q=0.1, identity"] {
        let line = format!("Accept-Encoding: {accept}");
        let reply = get_with(&doors, &target, &[&line]).await;
        assert_eq!((reply.body == plain.body, reply.header("content-encoding")), (true, ""));
    }
    let head = request(doors.http, "HEAD", &target, &[], "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), plain.body.len().to_string());
    assert_eq!(head.header("etag"), plain.header("etag"));
    for (method, status) in [("POST", 405), ("PUT", 405), ("DELETE", 405), ("OPTIONS", 204)] {
        let reply = request(doors.http, method, &target, &[], "").await;
        assert_eq!(reply.status, status, "{method}");
        let allowed = reply.header("allow").contains("GET, HEAD");
        let preflight = reply.header("access-control-allow-methods") == "GET, HEAD";
        assert!(allowed || preflight, "{method}");
        // A page may ask whether what it has still holds.
        let names = reply.header("access-control-allow-headers");
        assert_eq!(names.contains("if-none-match"), preflight, "{method}");
        assert!(reply.header("access-control-expose-headers").contains("retry-after"));
    }
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_has_no_lists_yet() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path(), Retention::Archive);
    let progress = Progress { height: 7, headers_left: 1, segments_left: 2 };
    let (doors, _shown) = doors_of(ledger, Some(progress)).await;
    let reply = get_with(&doors, &format!("/lists/{}", Hash([7; 32])), &[]).await;
    assert_eq!(code(&reply), (503, "JOINING".to_owned()));
    assert_eq!(reply.header("retry-after"), "5");
    doors.close().await;
}

/// A24, B1: no list and no moment of a request stands in a log.
#[tokio::test(flavor = "multi_thread")]
async fn a24_no_list_that_is_asked_for_over_http_stands_in_a_log() {
    let log = everything_logged();
    let (_directory, doors, _) = world(Retention::Archive).await;
    let name = list(&doors.ledger);
    let planted = Hash([0xcb; 32]);
    tracing::error!(target: "sillok_node::http", err = %planted, "planted");
    for query in ["", "time=1", "height=3", "time=nonsense"] {
        ask(&doors, query).await;
        get_with(&doors, &format!("/lists/{name}/revocation?{query}"), &[]).await;
    }
    doors.close().await;
    let log = String::from_utf8_lossy(&log.lock().unwrap()).to_lowercase();
    assert!(log.contains(&planted.to_string()), "what is logged is seen here");
    assert!(!log.contains(&name.to_string()) && !log.contains("/lists/"));
}

/// Clients that see no charset take something else than UTF-8 for granted.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_over_http_is_ascii() {
    let (_directory, doors, _) = world(Retention::Archive).await;
    for (view, _) in VIEWS {
        let reply = get_with(&doors, &path(&doors, view), &[]).await;
        assert!(reply.body.is_ascii());
        assert!(matches!(reply.json(), Value::Object(_)));
    }
    doors.close().await;
}
