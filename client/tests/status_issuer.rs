//! The door of a status issuer over real HTTP, before a network in memory: what it signs, what it refuses to sign, and
//! lists that are forged.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use serde_json::Value;
use sillok_client::desk::{Application, Circumstances, EntryDates};
use sillok_client::identity::Identity;
use sillok_client::keys::{KeyAlgorithm, SecretKey};
use sillok_client::read::{Client, Clock, ReadOptions};
use sillok_client::served::{ServedListError, check_proved, compare};
use sillok_client::status_door;
use sillok_client::status_issuer::StatusIssuer;
use sillok_client::testing::{self, Door, Lie, MemoryNetwork};
use sillok_client::transaction::{OperationDraft, Terms, TransactionBuilder};
use sillok_client::verify::moment::Moment;
use sillok_client::verify::{Policy, Verifier};
use sillok_did_method::{ASSERTION_METHOD, CAPABILITY_INVOCATION, Did, EntryState, SUBMIT};
use sillok_proto::{Hash, v1};
use sillok_status_list::compress::zlib;
use sillok_status_list::document::{Publisher, View};
use sillok_status_list::jws::{Jws, Signer};
use sillok_status_list::served::Served;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use v1::{Action, Reason};

const START_MS: u64 = 1_795_251_600_000;
const CAPACITY: u32 = 131_072 + 8_192;
const MAX_AGE_S: u64 = 300;
/// Height at which the list is created, entries become valid, one is revoked, and the office gets its right.
const VALID: u64 = 3;
const REVOKED: u64 = 4;
const GRANTED: u64 = 5;
const VIEWS: [(View, &str, &str); 3] = [
    (View::Token, "application/statuslist+jwt", "application/json"),
    (View::Revocation, "application/vc+jwt", "application/vc"),
    (View::Suspension, "application/vc+jwt", "application/vc"),
];

/// A hundred seconds lie between two blocks.
fn at_ms(height: u64) -> u64 {
    START_MS + height * 100_000 + 250
}

/// A ministry with a list, and an office that may serve it.
struct World {
    network: MemoryNetwork,
    ministry: Identity,
    office: Identity,
    list: Hash,
}

impl World {
    fn run(&mut self, draft: OperationDraft, authors: &[&Identity]) {
        let time_ms = at_ms(self.network.tip().height() + 1);
        let genesis = *self.network.chain().hash();
        let builder = TransactionBuilder::new(genesis, &self.ministry.did, time_ms + 60_000);
        let at_desk = authors.is_empty();
        let terms = if at_desk { Terms::WHOLE_LIST } else { Terms::NAMED };
        let mut partly = builder.push(draft, terms).freeze();
        for author in authors {
            partly.sign(0, author.newest_secret(CAPABILITY_INVOCATION).unwrap()).unwrap();
        }
        let key = self.ministry.newest_secret(SUBMIT).unwrap();
        if at_desk {
            partly.sign_acting_role(0, key).unwrap();
        }
        let transaction = partly.submit(key).unwrap();
        self.network.commit(time_ms, &[transaction]).unwrap();
    }

    fn set(&mut self, state: EntryState, indexes: &[u32], reason: Reason) {
        let circumstances = Circumstances {
            acting_role: self.ministry.did.clone(),
            reason,
            channel: v1::Channel::Office,
            assurance_level: None,
            organization: None,
            approvers: Vec::new(),
        };
        let entries: Vec<_> = indexes.iter().map(|index| (*index, None)).collect();
        let dates = EntryDates { grace_until_ms: 0, invalid_from_ms: 0 };
        let genesis = *self.network.chain().hash();
        let application =
            Application::set_status(genesis, &circumstances, &self.list, state, &entries, dates);
        self.run(application.unwrap().draft(), &[]);
    }

    fn new() -> Self {
        let (network, ministries) = MemoryNetwork::new("test", START_MS).unwrap();
        let mut genesis = network.chain().genesis().clone();
        for one in &mut genesis.organizations {
            let is_ministry = one.document.as_ref() == Some(&ministries.registrar.document());
            let all = i32::from(Action::Accredit)..=i32::from(Action::Countersign);
            one.actions = if is_ministry { all.collect() } else { Vec::new() };
        }
        let keys = network.operators().iter().map(|one| one.validator.clone()).collect();
        let network = MemoryNetwork::of_genesis(genesis, keys).unwrap();
        let (ministry, office) = (ministries.registrar, ministries.countersigner);
        let mut world = Self { network, ministry, office, list: Hash::default() };
        let genesis = *world.network.chain().hash();
        let (ministry, office) = (world.ministry.clone(), world.office.clone());
        let rule = |reason: Reason| v1::ReasonRule { reason: reason.into(), ..Default::default() };
        let policy = v1::TypePolicy {
            reasons: vec![rule(Reason::AttributeChange), rule(Reason::Compromised)],
            channels: 0b10,
            purposes: 0b10,
            ..v1::TypePolicy::default()
        };
        let content =
            v1::TypeVersion { schema_hash: vec![7; 32], render_hash: vec![], policy: Some(policy) };
        let (draft, of) = OperationDraft::publish_type(&genesis, &ministry.did, &[1; 16], content);
        world.run(draft, &[&ministry]);
        let max_age_s = u32::try_from(MAX_AGE_S).unwrap();
        let (draft, list) = OperationDraft::create_list(
            &genesis,
            &ministry.did,
            &of,
            &[2; 16],
            CAPACITY,
            max_age_s,
        );
        world.list = list;
        world.run(draft, &[&ministry]);
        world.set(EntryState::Valid, &[0, 5, 8_192, 139_263], Reason::AttributeChange);
        world.set(EntryState::Invalid, &[5], Reason::Compromised);
        let grant = v1::NewGrant {
            organization: office.did.digest().to_vec(),
            action: Action::ServeStatus.into(),
            resource: list.to_vec(),
            ..v1::NewGrant::default()
        };
        world.run(OperationDraft::accredit(&ministry.did, grant), &[&ministry, &office]);
        assert_eq!(world.network.tip().height(), GRANTED);
        world
    }

    fn withdraw(&mut self) {
        let ended = v1::EndedGrant {
            organization: self.office.did.digest().to_vec(),
            action: Action::ServeStatus.into(),
            resource: self.list.to_vec(),
            at_ms: 0,
        };
        let ministry = self.ministry.clone();
        self.run(OperationDraft::withdraw(&ministry.did, ended), &[&ministry]);
    }

    /// A node of it, and the door of the office before that node, by a clock that can be set.
    async fn open(self) -> Open {
        let key = self.office.newest_secret(ASSERTION_METHOD).unwrap().clone();
        self.open_with(key, Lie::default()).await
    }

    async fn open_with(self, key: SecretKey, lie: Lie) -> Open {
        self.open_at(key, lie, 0).await
    }

    async fn open_at(self, key: SecretKey, lie: Lie, min_height: u64) -> Open {
        let (list, office) = (self.list, self.office.did.clone());
        let chain = self.network.chain().clone();
        let now_ms = Arc::new(AtomicU64::new(at_ms(self.network.tip().height()) + 1_000));
        let node = testing::serve(self.network, || 0, lie).await.unwrap();
        let client = || {
            let clock = now_ms.clone();
            let clock = Clock::new(move || clock.load(Ordering::SeqCst));
            let client = Client::in_memory(&[node.address.to_string()], chain.clone()).unwrap();
            client.with_options(ReadOptions { clock, min_height, ..ReadOptions::default() })
        };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let door = StatusIssuer::door(client(), office.clone(), &key).unwrap();
        tokio::spawn(status_door::serve(door, listener, std::future::pending()));
        let patient = client();
        let options = ReadOptions { max_age_ms: u64::MAX, ..patient.options().clone() };
        let patient = patient.with_options(options);
        Open { reader: client(), patient, office, list, now_ms, address, _node: node }
    }
}

/// What is open, and a client that trusts neither.
struct Open {
    reader: Client,
    /// Takes answers of any age for the present.
    patient: Client,
    office: Did,
    list: Hash,
    now_ms: Arc<AtomicU64>,
    address: SocketAddr,
    _node: Door,
}

struct Reply {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn code(&self) -> (u16, String) {
        (self.status, self.json()["code"].as_str().unwrap().to_owned())
    }
}

impl Open {
    async fn send(&self, method: &str, target: &str, lines: &str) -> Reply {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request =
            format!("{method} {target} HTTP/1.1\r\nHost: door\r\nConnection: close\r\n{lines}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let headers = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Reply { status, headers, body: bytes[end..].to_vec() }
    }

    async fn get(&self, view: View, query: &str, accept: &str) -> Reply {
        let target = format!("/lists/{}{}{query}", self.list, view.suffix());
        self.send("GET", &target, &format!("Accept: {accept}\r\n")).await
    }

    async fn signed(&self, query: &str) -> Reply {
        self.get(View::Token, query, "*/*").await
    }

    fn publisher(&self) -> Publisher {
        Publisher::of(&self.reader.chain())
    }

    fn proved(&self, view: View, moment: Moment, json: &Value) -> Result<u64, ServedListError> {
        let (chain, trusted) = (self.reader.chain(), self.reader.trusted());
        let policy = Policy::at(self.now_ms.load(Ordering::SeqCst));
        let verifier = Verifier::new(&chain, &trusted, policy);
        check_proved(verifier, &self.publisher(), (&self.list, view), moment, json)
            .map(|answer| answer.even_if_stale().header.height())
    }
}

#[tokio::test]
async fn a_signed_list_is_verified_by_key_by_grant_and_by_entry() {
    for algorithm in [KeyAlgorithm::Ed25519, KeyAlgorithm::P256] {
        let mut world = World::new();
        let mut key = world.office.newest_secret(ASSERTION_METHOD).unwrap().clone();
        if algorithm == KeyAlgorithm::P256 {
            key = SecretKey::generate(algorithm).unwrap();
            add_key(&mut world, &key);
        }
        let tip = world.network.tip().height();
        let open = world.open_with(key, Lie::default()).await;
        let whole = open.reader.whole_list(&open.list, Moment::Tip).await.unwrap();
        let whole = whole.fresh().unwrap().clone().unwrap();
        for (view, signed, with_proof) in VIEWS {
            let reply = open.get(view, "", "*/*").await;
            assert_eq!((reply.status, reply.header("content-type")), (200, signed));
            let served =
                open.reader.signed_list((&open.list, view), None, reply.text()).await.unwrap();
            // PROTOCOL §4.5: the time of the header, the list's max age, 60 s.
            assert_eq!(served.from_s, at_ms(tip) / 1000);
            assert_eq!((served.until_s, served.ttl_s), (served.from_s + MAX_AGE_S, 60));
            assert_eq!(served.height, Some(tip));
            compare(&open.publisher(), (&open.list, view), &served, &whole).unwrap();
            // The proof stands beside, at the address that is told.
            let link = reply.header("link");
            let query = link.split_once('?').unwrap().1.split_once('>').unwrap().0;
            assert_eq!(query, format!("height={tip}"));
            let beside = open.get(view, &format!("?{query}"), with_proof).await;
            assert_eq!(beside.header("content-type"), with_proof);
            let json = beside.json();
            assert_eq!(open.proved(view, Moment::Height(tip), &json).unwrap(), tip);
            let proved = Served::read(view, &json).unwrap();
            assert_eq!((proved.bytes, proved.from_s), (served.bytes, served.from_s));
        }
    }
}

/// The office gets one more key to sign with.
fn add_key(world: &mut World, key: &SecretKey) {
    let mut document = world.office.document();
    document.keys.push(v1::BoundKey {
        key: Some(key.public().clone()),
        relationships: ASSERTION_METHOD,
        expires_ms: 0,
    });
    let place = |bound: &v1::BoundKey| {
        bound.key.as_ref().map(|key| (key.algorithm, key.point.clone())).unwrap()
    };
    document.keys.sort_by_key(place);
    let head = world.network.head_hash(&world.office.did).unwrap();
    let draft = OperationDraft::update(&world.office.did, &head, document, None);
    let office = world.office.clone();
    let time_ms = at_ms(world.network.tip().height() + 1);
    let genesis = *world.network.chain().hash();
    let builder = TransactionBuilder::new(genesis, &world.ministry.did, time_ms + 60_000);
    let mut partly = builder.push(draft, Terms::NAMED).freeze();
    partly.sign(0, office.newest_secret(CAPABILITY_INVOCATION).unwrap()).unwrap();
    partly.sign(0, key).unwrap();
    let transaction = partly.submit(world.ministry.newest_secret(SUBMIT).unwrap()).unwrap();
    world.network.commit(time_ms, &[transaction]).unwrap();
}

#[tokio::test]
async fn what_the_office_may_not_serve_it_does_not_sign() {
    let mut world = World::new();
    world.withdraw();
    let open = world.open().await;
    for (view, _, with_proof) in VIEWS {
        let reply = open.get(view, "", "*/*").await;
        assert_eq!(reply.code(), (503, "NOT_GRANTED".to_owned()));
        assert_eq!((reply.header("retry-after"), reply.header("cache-control")), ("5", "no-store"));
        let reply = open.get(view, "", with_proof).await;
        assert_eq!(reply.status, 200, "what is proved needs nobody's word");
        assert_eq!(open.proved(view, Moment::Tip, &reply.json()).unwrap(), GRANTED + 1);
    }
}

#[tokio::test]
async fn a_state_past_the_max_age_is_not_signed() {
    let open = World::new().open().await;
    let end_s = at_ms(GRANTED) / 1000 + MAX_AGE_S;
    open.now_ms.store(end_s * 1000 - 1, Ordering::SeqCst);
    let reply = open.signed("").await;
    assert_eq!(
        (reply.status, reply.header("cache-control")),
        (200, "public, max-age=1, must-revalidate")
    );
    let token = Jws::read(reply.text(), "statuslist+jwt").unwrap();
    assert_eq!(token.payload["iat"], at_ms(GRANTED) / 1000, "and by no clock");

    let open = World::new().open().await;
    open.now_ms.store(end_s * 1000, Ordering::SeqCst);
    let reply = open.signed("").await;
    assert_eq!(reply.code(), (503, "STALE".to_owned()));
    assert_eq!(reply.json()["height"], GRANTED.to_string());
    let reply = open.get(View::Token, "", "application/json").await;
    assert_eq!((reply.status, reply.header("cache-control")), (200, "no-cache"));
}

#[tokio::test]
async fn a_key_that_the_did_has_not_for_that_signs_nothing() {
    let stranger = SecretKey::generate(KeyAlgorithm::Ed25519).unwrap();
    let open = World::new().open_with(stranger, Lie::default()).await;
    assert_eq!(open.signed("").await.code(), (503, "KEY_NOT_IN_FORCE".to_owned()));
    let world = World::new();
    let submits = world.office.newest_secret(SUBMIT).unwrap().clone();
    let open = world.open_with(submits, Lie::default()).await;
    assert_eq!(open.signed("").await.code(), (503, "KEY_NOT_IN_FORCE".to_owned()));
}

#[tokio::test]
async fn b20_a_signed_list_of_the_past_is_the_last_one_and_covers_the_time() {
    // So much later that none of it could be taken for the present.
    let mut world = World::new();
    for index in [77, 78, 79] {
        world.set(EntryState::Valid, &[index], Reason::AttributeChange);
    }
    let tip = world.network.tip().height();
    let open = world.open().await;
    // A second before the revocation, to which it is nearer than to the block before it.
    let revoked_s = at_ms(REVOKED) / 1000;
    for (time_s, height, state) in [
        (at_ms(VALID) / 1000 + 1, VALID, 0),
        (revoked_s, VALID, 0),
        (revoked_s + 1, REVOKED, 1),
        (revoked_s + 50, REVOKED, 1),
    ] {
        let reply = open.signed(&format!("?time={time_s}")).await;
        assert_eq!((reply.status, reply.header("cache-control")), (200, "no-cache"), "{time_s}");
        let token = (&open.list, View::Token);
        let served = open.reader.signed_list(token, Some(time_s), reply.text()).await.unwrap();
        // It says nothing of now, nor of a time that it does not cover.
        for other_s in [None, Some(served.from_s - 1), Some(served.until_s + 1)] {
            let read = open.reader.signed_list(token, other_s, reply.text()).await;
            assert!(matches!(read, Err(ServedListError::NotOfTime { .. })), "{other_s:?}");
        }
        assert_eq!((served.height, served.entry(5)), (Some(height), Some(state)), "{time_s}");
        assert_eq!(served.from_s, at_ms(height) / 1000);
        assert!(served.from_s <= time_s && time_s <= served.until_s, "as the standard asks");
        let query = reply.header("link").split_once('?').unwrap().1.split_once('>').unwrap().0;
        assert_eq!(query, format!("time={time_s}&known_at={tip}"));
        let json = open.get(View::Token, &format!("?{query}"), "application/json").await.json();
        let moment = Moment::Time { time_ms: time_s * 1000, known_at: Some(tip) };
        assert_eq!(open.proved(View::Token, moment, &json).unwrap(), height);
    }
    // Of the last minutes there is the proof alone: signed, a revoked credential would stay valid until its end.
    for query in [format!("?time={}", at_ms(tip - 2) / 1000 + 1), format!("?height={tip}")] {
        assert_eq!(open.signed(&query).await.code(), (404, "NOT_SIGNED_YET".to_owned()));
        assert_eq!(open.get(View::Token, &query, "application/json").await.status, 200);
    }
    let later = at_ms(tip) / 1000 + 1;
    assert_eq!(open.signed(&format!("?time={later}")).await.code(), (404, "STALE".to_owned()));
}

#[tokio::test]
async fn a_node_that_lies_has_nothing_signed() {
    let forge = |_: &MemoryNetwork, answer: &mut v1::StateAnswer| {
        let entries = answer.proof.as_mut().map(|proof| &mut proof.entries);
        for entry in entries.into_iter().flatten().filter(|entry| entry.present) {
            if entry.value.len() > 4_000 {
                let last = entry.value.len() - 1;
                entry.value[last] ^= 1;
            }
        }
    };
    let lie = Lie { answer: Some(Arc::new(forge)), ..Lie::default() };
    let world = World::new();
    let key = world.office.newest_secret(ASSERTION_METHOD).unwrap().clone();
    let open = world.open_with(key, lie).await;
    for (view, signed, with_proof) in VIEWS {
        for accept in [signed, with_proof] {
            let reply = open.get(view, "", accept).await;
            assert_eq!(reply.code(), (503, "NODE_UNREACHABLE".to_owned()));
        }
    }
}

#[tokio::test]
async fn a_forged_list_is_told_by_its_own_error() {
    let world = World::new();
    let ministry = world.ministry.clone();
    let office_key = world.office.newest_secret(ASSERTION_METHOD).unwrap().clone();
    let stranger = SecretKey::generate(KeyAlgorithm::Ed25519).unwrap();
    let open = world.open().await;
    let token = open.signed("").await.text().to_owned();
    let payload = Jws::read(&token, "statuslist+jwt").unwrap().payload;
    let whole = open.reader.whole_list(&open.list, Moment::Tip).await.unwrap();
    let whole = whole.fresh().unwrap().clone().unwrap();
    let sign = |did: &Did, key: &SecretKey, payload: &Value| {
        let secret = key.clone();
        let signer =
            Signer::new(did.clone(), key.public(), move |bytes| secret.sign(bytes).ok()).unwrap();
        signer.token("statuslist+jwt", None, payload).unwrap()
    };
    let check = async |token: &str| {
        let read = open.reader.signed_list((&open.list, View::Token), None, token).await;
        read.map(|_| ()).unwrap_err()
    };
    // Somebody else's key under the office's name.
    let error = check(&sign(&open.office, &stranger, &payload)).await;
    assert!(matches!(error, ServedListError::KeyNotInForce), "{error}");
    // A key of an organization that has no such right would do; this one has it, and another key.
    let submit = ministry.newest_secret(SUBMIT).unwrap();
    let error = check(&sign(&ministry.did, submit, &payload)).await;
    assert!(matches!(error, ServedListError::KeyNotInForce), "{error}");
    // The office's key id over somebody else's signature.
    let (_, of_stranger) = sign(&open.office, &stranger, &payload)
        .rsplit_once('.')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let (head, _) = token.rsplit_once('.').unwrap();
    let error = check(&format!("{head}.{of_stranger}")).await;
    assert!(matches!(error, ServedListError::Token(_)), "{error}");
    // The right key over a list that serves for longer than its max age.
    let mut long = payload.clone();
    long["exp"] = (long["exp"].as_u64().unwrap() + 1).into();
    let error = check(&sign(&open.office, &office_key, &long)).await;
    let ServedListError::OtherAge { age_s, max_age_s } = error else { panic!("{error}") };
    assert_eq!((age_s, max_age_s), (MAX_AGE_S + 1, MAX_AGE_S));
    // Its own time: before its end it is taken, at it no more. The node's answers are of that block too.
    let end_s = payload["exp"].as_u64().unwrap();
    let now_ms = open.now_ms.load(Ordering::SeqCst);
    for (at_ms, holds) in [(payload["iat"].as_u64().unwrap() * 1000, true), (end_s * 1000, false)] {
        open.now_ms.store(at_ms, Ordering::SeqCst);
        let read = open.patient.signed_list((&open.list, View::Token), None, &token).await;
        let expired =
            matches!(&read, Err(ServedListError::NotOfTime { until_s, .. }) if *until_s == end_s);
        assert_eq!((read.is_ok(), expired), (holds, !holds), "{read:?}");
    }
    open.now_ms.store(now_ms, Ordering::SeqCst);
    // A token of another type, of another list, and none at all.
    let credential = open.get(View::Revocation, "", "*/*").await.text().to_owned();
    assert!(matches!(check(&credential).await, ServedListError::Token(_)));
    let nobody = (&Hash([7; 32]), View::Token);
    let other = open.reader.signed_list(nobody, None, &token).await.unwrap_err();
    assert!(matches!(other, ServedListError::OtherList { .. }), "{other}");
    assert!(matches!(check("a.b.c").await, ServedListError::Token(_)));
    // Signed by the right key, and not what is proved.
    let publisher = open.publisher();
    let against = |payload: &Value| {
        let served = Served::read(View::Token, payload).unwrap();
        compare(&publisher, (&open.list, View::Token), &served, &whole)
    };
    against(&payload).unwrap();
    let mut later = payload.clone();
    later["exp"] = (later["exp"].as_u64().unwrap() + 1).into();
    assert!(matches!(against(&later), Err(ServedListError::OtherTime { .. })));
    let mut valid = payload.clone();
    let mut states = whole.token_status_list().to_vec();
    assert!(sillok_ledger::status::set(&mut states, 5, 0));
    let lst = base64_of(&zlib(&states));
    valid["status_list"]["lst"] = lst.clone().into();
    assert!(matches!(against(&valid), Err(ServedListError::OtherEntries)));
    let mut other = payload.clone();
    other["sub"] = publisher.uri(&Hash([7; 32]), View::Token).into();
    assert!(matches!(against(&other), Err(ServedListError::OtherList { .. })));

    let mut kept = payload.clone();
    kept["ttl"] = 43_200.into();
    assert!(matches!(against(&kept), Err(ServedListError::OtherTtl { ttl_s: 43_200 })));
    let mut elsewhere = payload.clone();
    elsewhere["sillok"]["height"] = "4".into();
    let error = against(&elsewhere).unwrap_err();
    assert!(
        matches!(error, ServedListError::OtherHeight { height: 4, proved: GRANTED }),
        "{error}"
    );

    // The same with the proof in it: what the document says beside is believed no more than the rest.
    let json = open.get(View::Token, "", "application/json").await.json();
    open.proved(View::Token, Moment::Tip, &json).unwrap();
    let mut forged = json.clone();
    forged["status_list"]["lst"] = lst.into();
    let error = open.proved(View::Token, Moment::Tip, &forged).unwrap_err();
    assert!(matches!(error, ServedListError::OtherEntries), "{error}");
    let mut renamed = open.get(View::Revocation, "", "application/vc").await.json();
    open.proved(View::Revocation, Moment::Tip, &renamed).unwrap();
    renamed["issuer"] = open.office.to_string().into();
    let error = open.proved(View::Revocation, Moment::Tip, &renamed).unwrap_err();
    assert!(matches!(error, ServedListError::OtherIssuer), "{error}");
    let mut bare = json.clone();
    bare.as_object_mut().unwrap().remove("proof");
    let error = open.proved(View::Token, Moment::Tip, &bare).unwrap_err();
    assert!(matches!(error, ServedListError::Document(_)), "{error}");
    // A proof of the past is none of the present.
    let past = open.get(View::Token, &format!("?height={VALID}"), "application/json").await.json();
    open.proved(View::Token, Moment::Height(VALID), &past).unwrap();
    let error = open.proved(View::Token, Moment::Tip, &past).unwrap_err();
    assert!(matches!(error, ServedListError::Proof(_)), "{error}");
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// A node that has not reached the height that this client knows of has not the last word about the present.
#[tokio::test]
async fn a_list_is_not_said_to_be_missing_because_a_node_lags() {
    let world = World::new();
    let key = world.office.newest_secret(ASSERTION_METHOD).unwrap().clone();
    let open = world.open_at(key, Lie::default(), GRANTED + 1).await;
    for accept in ["*/*", "application/json"] {
        let reply = open.get(View::Token, "", accept).await;
        assert_eq!(reply.code(), (503, "STALE".to_owned()));
        assert_eq!(reply.header("retry-after"), "5");
    }
}

#[tokio::test]
async fn the_door_has_lists_and_nothing_else() {
    let open = World::new().open().await;
    let path = format!("/lists/{}", open.list);
    for (method, target, status) in [
        ("GET", "/".to_owned(), 404),
        ("GET", "/1.0/identifiers/x".to_owned(), 404),
        ("GET", format!("{path}/5"), 404),
        ("POST", path.clone(), 405),
        ("OPTIONS", path.clone(), 204),
        ("HEAD", path.clone(), 200),
    ] {
        let reply = open.send(method, &target, "").await;
        assert_eq!(reply.status, status, "{method} {target}");
        assert_eq!(reply.header("access-control-allow-origin"), "*");
        assert_eq!(reply.body.is_empty(), ["OPTIONS", "HEAD"].contains(&method));
    }
    let unknown = open.send("GET", &format!("/lists/{}", Hash([7; 32])), "").await;
    assert_eq!(unknown.code(), (404, "UNKNOWN_LIST".to_owned()));
    assert_eq!(unknown.json()["proof"]["type"], "SillokStateProof");
    // What it read serves for a while.
    let first = open.signed("").await;
    let tag = format!("If-None-Match: {}\r\n", first.header("etag"));
    assert_eq!(open.send("GET", &path, &tag).await.status, 304);
}
