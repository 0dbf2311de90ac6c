use super::*;
use crate::document::{CREDENTIAL_MEDIA_TYPE, JSON_MEDIA_TYPE, TOKEN_MEDIA_TYPE};
use crate::jws::Jws;
use crate::served::Served;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::Value;
use sillok_did_method::Did;
use sillok_ledger::{Chain, default_parameters};
use sillok_proto::v1::{self, Algorithm, PublicKey};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const NAME: Hash = Hash([0xab; 32]);
const TIME_MS: u64 = 1_795_251_600_999;
const MAX_AGE_S: u32 = 900;

/// Random states, so that they hardly compress.
fn states(entries: u32) -> Vec<u8> {
    let mut seed = 1_u32;
    (0..entries / 2)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let state = |bits: u32| [0, 1, 2, 3, 12][(bits % 5) as usize];
            state(seed >> 8) | state(seed >> 16) << 4
        })
        .collect()
}

#[derive(Clone)]
struct Memory {
    turn: Arc<AtomicU64>,
    now_ms: Arc<AtomicU64>,
    reads: Arc<AtomicUsize>,
    entries: u32,
    unsigned: Option<Refusal>,
    height: u64,
    /// Without a permit nothing that is read comes back.
    gate: Arc<Semaphore>,
}

impl Memory {
    fn new() -> Self {
        Self {
            turn: Arc::default(),
            now_ms: Arc::new(TIME_MS.into()),
            reads: Arc::default(),
            entries: 131_072,
            unsigned: None,
            height: 7,
            gate: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Memory {
    /// The list's max age passes.
    fn pass_by(&self) {
        self.now_ms.store(TIME_MS + u64::from(MAX_AGE_S + 1) * 1000, Ordering::SeqCst);
    }
}

impl Source for Memory {
    fn turn(&self) -> u64 {
        self.turn.load(Ordering::SeqCst)
    }

    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    async fn read(&self, list: Hash, asked: Asked) -> Result<(u64, Arc<Listed>), Refusal> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let gate = self.gate.clone().acquire_owned().await.unwrap();
        drop(gate);
        if list != NAME {
            return Err(Refusal::unknown_list(Value::Null));
        }
        let listed = Listed {
            name: list,
            list: v1::StatusList {
                issuer: vec![3; 32],
                r#type: vec![4; 32],
                capacity: self.entries,
                max_age_s: MAX_AGE_S,
                created_ms: 1,
            },
            asked,
            states: states(self.entries),
            height: self.height,
            time_ms: TIME_MS,
            known_height: 9,
            pieces: vec![v1::StateAnswer::default()],
            unsigned: self.unsigned.clone(),
        };
        Ok((self.turn(), Arc::new(listed)))
    }
}

fn publisher() -> Publisher {
    let chain = Chain::new(sillok_ledger_genesis()).unwrap();
    Publisher::of(&chain)
}

/// The smallest network that is one.
fn sillok_ledger_genesis() -> v1::Genesis {
    let key = |seed: u8| SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes().to_vec();
    let bound = |seed: u8, relationships| v1::BoundKey {
        key: Some(PublicKey { algorithm: Algorithm::Ed25519.into(), point: key(seed) }),
        relationships,
        expires_ms: 0,
    };
    let mut keys = vec![
        bound(1, sillok_did_method::CAPABILITY_INVOCATION),
        bound(2, sillok_did_method::SUBMIT),
    ];
    keys.sort_by_key(|one| one.key.clone().map(|key| key.point));
    let document = v1::DidDocument { keys, services: Vec::new() };
    let organization = sillok_ledger::organization_digest(&document).to_vec();
    v1::Genesis {
        protocol_version: 1,
        network: "test".to_owned(),
        time_ms: 1,
        parameters: Some(default_parameters()),
        organizations: vec![v1::GenesisOrganization {
            name: "a".to_owned(),
            document: Some(document),
            actions: vec![v1::Action::Register.into(), v1::Action::Submit.into()],
        }],
        operators: vec![v1::Operator {
            organization,
            validator_key: key(3),
            node_key: key(4),
            governance_key: key(5),
            archive: true,
        }],
        observers: Vec::new(),
    }
}

fn signing_key() -> (SigningKey, PublicKey) {
    let secret = SigningKey::from_bytes(&[7; 32]);
    let point = secret.verifying_key().to_bytes().to_vec();
    (secret, PublicKey { algorithm: Algorithm::Ed25519.into(), point })
}

fn signer() -> Signer {
    let (secret, public) = signing_key();
    let did = Did::new("test", Hash([1; 32])).unwrap();
    Signer::new(did, &public, move |bytes| Some(secret.sign(bytes).to_bytes())).unwrap()
}

fn door(source: &Memory, signs: bool) -> Door<Memory> {
    Door::new(source.clone(), publisher(), signs.then(signer))
}

fn path(view: View) -> String {
    format!("/lists/{NAME}{}", view.suffix())
}

async fn get(door: &Door<Memory>, view: View, accept: &str) -> HttpAnswer {
    let path = path(view);
    let request = ListRequest { path: &path, accept: Some(accept), ..ListRequest::default() };
    door.answer(&request).await
}

async fn ask(door: &Door<Memory>, query: &str) -> HttpAnswer {
    let path = path(View::Token);
    door.answer(&ListRequest { path: &path, query: Some(query), ..ListRequest::default() }).await
}

fn header<'a>(answer: &'a HttpAnswer, name: &str) -> &'a str {
    let found = answer.headers.iter().find(|(one, _)| *one == name);
    found.map_or("", |(_, value)| value.as_str())
}

fn code(answer: &HttpAnswer) -> (u16, String) {
    let json: Value = serde_json::from_slice(&answer.body).unwrap();
    (answer.status, json["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn every_entry_is_in_both_lists_signed_and_with_the_proof() {
    let source = Memory::new();
    let door = door(&source, true);
    let (_, public) = signing_key();
    let states = states(source.entries);
    for view in [View::Token, View::Revocation, View::Suspension] {
        let answer = get(&door, view, "*/*").await;
        let typ = if view == View::Token { "statuslist+jwt" } else { "vc+jwt" };
        assert_eq!(header(&answer, "content-type"), format!("application/{typ}"));
        let token = String::from_utf8(answer.body.to_vec()).unwrap();
        let jws = Jws::read(&token, typ).unwrap();
        jws.verify(&public).unwrap();
        let proved = if view == View::Token { JSON_MEDIA_TYPE } else { CREDENTIAL_MEDIA_TYPE };
        let answer = get(&door, view, proved).await;
        assert_eq!(header(&answer, "content-type"), proved);
        let json: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(json["proof"]["type"], "SillokStateProof");
        for document in [&jws.payload, &json] {
            let served = Served::read(view, document).unwrap();
            assert_eq!(
                (served.from_s, served.until_s, served.ttl_s),
                (1_795_251_600, 1_795_252_500, 60)
            );
            assert_eq!(served.uri, format!("https://status.sillok.example{}", path(view)));
            for index in 0..source.entries {
                let state = sillok_ledger::status::get(&states, index).unwrap();
                let expected = match view {
                    View::Token => state,
                    View::Revocation => u8::from([1, 12].contains(&state)),
                    View::Suspension => u8::from([2, 3].contains(&state)),
                };
                assert_eq!(served.entry(index), Some(expected), "entry {index}");
            }
        }
        assert!(jws.payload.get("proof").is_none(), "it stands beside");
        assert_eq!(jws.payload["sillok"]["height"], "7");
        if view != View::Token {
            assert_eq!(jws.payload["iss"], jws.payload["issuer"]);
            assert_eq!(jws.payload["exp"], 1_795_252_500);
            assert!(json["issuer"].as_str().unwrap() != jws.payload["issuer"], "the list's own");
        }
    }
}

#[tokio::test]
async fn what_was_made_serves_until_the_next_turn() {
    let source = Memory::new();
    let door = door(&source, true);
    let first = get(&door, View::Token, "*/*").await;
    for _ in 0..3 {
        assert_eq!(get(&door, View::Token, TOKEN_MEDIA_TYPE).await, first);
    }
    assert_eq!(source.reads.load(Ordering::SeqCst), 1);
    source.turn.store(1, Ordering::SeqCst);
    get(&door, View::Token, "*/*").await;
    assert_eq!(source.reads.load(Ordering::SeqCst), 2);
    assert_eq!(door.inner.present.lock().all.len(), 1, "nothing of an earlier turn is kept");
}

#[tokio::test]
async fn what_is_kept_and_on_its_way_has_a_bound_and_is_given_back() {
    const ROOM_KIB: usize = 512;
    let source = Memory::new();
    let door = door(&source, false);
    let (present, past) = (&door.inner.present, &door.inner.past);
    past.room.forget_permits(PAST.bodies_kib - ROOM_KIB);
    let now = ask(&door, "").await;
    let mut sent = Vec::new();
    let mut refused = None;
    // Each about a moment of its own, and none is read to its end.
    for time_s in 1_795_251_600..1_795_251_700 {
        let answer = ask(&door, &format!("time={time_s}")).await;
        if answer.status != 200 {
            refused = Some(code(&answer));
            break;
        }
        sent.push(answer);
    }
    assert_eq!(refused, Some((503, "BUSY".to_owned())));
    let bytes: usize = sent.iter().map(|answer| answer.body.len()).sum();
    assert!(bytes <= ROOM_KIB * 1024 && sent.len() > 2, "{bytes} in {}", sent.len());
    // The present has a room of its own, and what is kept there stays.
    assert_eq!(present.lock().all.len(), 1);
    assert_eq!(ask(&door, "").await, now);
    assert_eq!(get(&door, View::Suspension, CREDENTIAL_MEDIA_TYPE).await.status, 200);
    drop(sent);
    assert_eq!(ask(&door, "time=1795259999").await.status, 200);
    past.lock().forget();
    assert_eq!(past.room.available_permits(), ROOM_KIB);
}

#[test]
fn what_is_kept_is_the_newest_within_both_bounds() {
    let content = |height: u64| {
        let asked = Asked::Height(height);
        Content { list: NAME, view: View::Token, asked, is_signed: false, gzip: false }
    };
    for (bytes, expected) in [(1 << 20, PAST.kept_bytes >> 20), (1, KEPT_MAX)] {
        let mut kept = Kept::default();
        for height in 0..2 * KEPT_MAX as u64 {
            let body = Bytes::from_static(&[0; 1 << 20]).slice(..bytes);
            let digest = Vec::new();
            let made =
                Made { body, digest, time_ms: 0, until_s: 0, is_present: false, proof: None };
            kept.put(content(height), 1, Arc::new(made), PAST.kept_bytes);
        }
        assert_eq!((kept.all.len(), kept.bytes), (expected, expected * bytes));
        let newest = content(2 * KEPT_MAX as u64 - 1);
        assert_eq!(kept.all.back().unwrap().0, newest);
        // What was slow to be made is of a turn that is over, and pushes nothing out.
        let slow = kept.all.back().unwrap().2.clone();
        kept.put(content(0), 0, slow, PAST.kept_bytes);
        assert_eq!((kept.all.len(), kept.all.back().unwrap().0), (expected, newest));
    }
}

/// Polls it until the source was asked, and lets it go: a caller that closes its connection.
async fn ask_and_go(door: &Door<Memory>, source: &Memory, query: &str, reads: usize) {
    let asked = async {
        while source.reads.load(Ordering::SeqCst) < reads {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = ask(door, query) => panic!("nothing comes back yet"),
        () = asked => {}
    }
}

#[tokio::test]
async fn what_is_begun_ends_and_keeps_its_place_when_its_caller_goes() {
    let source = Memory::new();
    let door = door(&source, false);
    source.gate.forget_permits(1);
    ask_and_go(&door, &source, "height=1", 1).await;
    assert_eq!(door.inner.past.making.available_permits(), 0, "as long as it works");
    // Who waits for a place and goes leaves nothing behind.
    tokio::select! {
        biased;
        _ = ask(&door, "height=2") => panic!("there is no place"),
        () = tokio::task::yield_now() => {}
    }
    // Two who want the same wait for the same.
    let both = async { tokio::join!(ask(&door, "height=1"), ask(&door, "height=1")) };
    let (both, ()) = tokio::join!(both, async {
        tokio::task::yield_now().await;
        source.gate.add_permits(1);
    });
    assert_eq!((both.0.status, &both.0), (200, &both.1));
    assert_eq!(ask(&door, "height=1").await, both.0, "and it is kept");
    assert_eq!(source.reads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_took_longer_than_a_turn_serves_in_the_turn_in_which_it_was_read() {
    let source = Memory::new();
    let door = door(&source, true);
    source.gate.forget_permits(1);
    ask_and_go(&door, &source, "", 1).await;
    source.turn.store(2, Ordering::SeqCst);
    source.gate.add_permits(1);
    let first = ask(&door, "").await;
    assert_eq!((first.status, ask(&door, "").await), (200, first.clone()));
    assert_eq!(source.reads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn one_content_is_made_once_by_all_its_names() {
    let source = Memory::new();
    let door = door(&source, true);
    let mut tags = Vec::new();
    for name in [CREDENTIAL_MEDIA_TYPE, "application/ld+json", JSON_MEDIA_TYPE] {
        let answer = get(&door, View::Revocation, name).await;
        assert_eq!((answer.status, header(&answer, "content-type")), (200, name));
        tags.push(header(&answer, "etag").to_owned());
    }
    tags.dedup();
    assert_eq!((tags.len(), source.reads.load(Ordering::SeqCst)), (3, 1));
}

#[tokio::test]
async fn a_cache_keeps_nothing_beyond_its_end() {
    let source = Memory::new();
    let door = door(&source, true);
    let cached = |now_s: u64| source.now_ms.store(now_s * 1000, Ordering::SeqCst);
    let control =
        async || header(&get(&door, View::Token, "*/*").await, "cache-control").to_owned();
    let end = TIME_MS / 1000 + u64::from(MAX_AGE_S);
    for (now_s, expected) in [
        (0, "public, max-age=60, must-revalidate"),
        (TIME_MS / 1000, "public, max-age=60, must-revalidate"),
        (end - 61, "public, max-age=60, must-revalidate"),
        (end - 13, "public, max-age=13, must-revalidate"),
        (end, "no-cache"),
        (end + 1, "no-cache"),
    ] {
        cached(now_s);
        assert_eq!(control().await, expected, "{now_s}");
    }
    for query in ["time=1795251601", "height=7"] {
        assert_eq!(header(&ask(&door, query).await, "cache-control"), "no-cache");
    }
    let answer = get(&door, View::Token, "*/*").await;
    assert_eq!(header(&answer, "last-modified"), "Sat, 21 Nov 2026 09:00:00 GMT");
    assert_eq!(header(&answer, "vary"), "accept, accept-encoding");
}

#[tokio::test]
async fn what_a_caller_has_already_is_not_sent_again() {
    let source = Memory::new();
    let door = door(&source, true);
    let answer = get(&door, View::Token, "*/*").await;
    let tag = header(&answer, "etag").to_owned();
    let path = path(View::Token);
    let again = async |tags: &str, encoding: &str| {
        let request = ListRequest {
            path: &path,
            if_none_match: Some(tags),
            accept_encoding: Some(encoding),
            ..ListRequest::default()
        };
        door.answer(&request).await
    };
    for tags in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
        let answer = again(&tags, "").await;
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{tags}");
        assert_eq!(header(&answer, "etag"), tag);
        assert!(!header(&answer, "cache-control").is_empty());
    }
    assert_eq!(again("\"x\"", "").await.status, 200);
    // Compressed it is another body.
    let gzip = again(&tag, "gzip").await;
    assert_eq!((gzip.status, header(&gzip, "content-encoding")), (200, "gzip"));
    let plain = crate::compress::gunzip(&gzip.body, answer.body.len()).unwrap();
    assert_eq!(plain, answer.body);
    assert!(gzip.body.len() < answer.body.len(), "{} {}", gzip.body.len(), answer.body.len());
    assert_ne!(header(&gzip, "etag"), tag);
    let json = get(&door, View::Token, JSON_MEDIA_TYPE).await;
    assert_ne!(header(&json, "etag"), tag);
}

#[tokio::test]
async fn a_signed_list_says_where_its_proof_is() {
    let source = Memory::new();
    let door = door(&source, true);
    let base = format!("https://status.sillok.example{}", path(View::Token));
    let link = async |query: &str| header(&ask(&door, query).await, "link").to_owned();
    let expected =
        |query: &str| format!("<{base}{query}>; rel=\"alternate\"; type=\"application/json\"");
    assert_eq!(link("").await, expected("?height=9"));
    source.pass_by();
    assert_eq!(link("time=1795251601").await, expected("?time=1795251601&known_at=9"));
    assert_eq!(header(&get(&door, View::Token, JSON_MEDIA_TYPE).await, "link"), "");
    let token = ask(&door, "time=1795251601").await;
    let token = String::from_utf8(token.body.to_vec()).unwrap();
    let claims = Jws::read(&token, "statuslist+jwt").unwrap().payload;
    assert_eq!(
        (&claims["sillok"]["height"], &claims["sillok"]["knownAt"]),
        (&"7".into(), &"9".into())
    );
}

#[tokio::test]
async fn a_time_that_no_token_covers_is_not_signed() {
    let source = Memory::new();
    let door = door(&source, true);
    source.pass_by();
    let end = TIME_MS / 1000 + u64::from(MAX_AGE_S);
    assert_eq!(ask(&door, &format!("time={end}")).await.status, 200);
    let answer = ask(&door, &format!("time={}", end + 1)).await;
    assert_eq!(code(&answer), (404, "NOT_SIGNED_AT_TIME".to_owned()));
    let path = path(View::Token);
    let query = format!("time={}", end + 1);
    let request = ListRequest {
        path: &path,
        query: Some(&query),
        accept: Some("application/json"),
        ..ListRequest::default()
    };
    assert_eq!(door.answer(&request).await.status, 200, "the proof says it");
}

/// What was revoked since is in it as valid, and a verifier would take it for the present until `exp`.
#[tokio::test]
async fn a_list_of_the_past_is_not_signed_while_it_could_be_taken_for_the_present() {
    let source = Memory::new();
    let door = door(&source, true);
    let end = TIME_MS / 1000 + u64::from(MAX_AGE_S);
    for now_s in [TIME_MS / 1000, end] {
        source.now_ms.store(now_s * 1000 + 999, Ordering::SeqCst);
        for query in ["time=1795251601", "height=7"] {
            let answer = ask(&door, query).await;
            assert_eq!(code(&answer), (404, "NOT_SIGNED_YET".to_owned()), "{query}");
            let json: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!((&json["iat"], &json["exp"]), (&(TIME_MS / 1000).into(), &end.into()));
        }
    }
    assert_eq!(ask(&door, "").await.status, 200, "the present is");
    source.pass_by();
    for query in ["time=1795251601", "height=7"] {
        assert_eq!(ask(&door, query).await.status, 200, "{query}");
    }
}

#[tokio::test]
async fn what_may_not_be_signed_is_still_proved() {
    let mut source = Memory::new();
    source.unsigned = Some(Refusal::new(503, "NOT_GRANTED", "no grant"));
    let door = door(&source, true);
    let answer = get(&door, View::Revocation, "*/*").await;
    assert_eq!(code(&answer), (503, "NOT_GRANTED".to_owned()));
    assert_eq!(
        (header(&answer, "retry-after"), header(&answer, "cache-control")),
        ("5", "no-store")
    );
    assert_eq!(get(&door, View::Revocation, CREDENTIAL_MEDIA_TYPE).await.status, 200);
}

#[tokio::test]
async fn a_door_without_a_key_signs_nothing_and_says_so() {
    let source = Memory::new();
    let door = door(&source, false);
    assert!(door.serves(&path(View::Token)) && !door.serves("/lists/") && !door.serves("/"));
    let answer = get(&door, View::Token, TOKEN_MEDIA_TYPE).await;
    assert_eq!(code(&answer), (406, "NOT_SIGNED_HERE".to_owned()));
    assert_eq!(source.reads.load(Ordering::SeqCst), 0, "nothing is read for it");
    assert_eq!(header(&get(&door, View::Token, "*/*").await, "content-type"), JSON_MEDIA_TYPE);
}

#[test]
fn a_date_of_http_has_its_day() {
    assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_eq!(http_date(951_782_400_999), "Tue, 29 Feb 2000 00:00:00 GMT");
    assert_eq!(http_date(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
}
