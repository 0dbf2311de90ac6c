//! The client against a network in memory behind a real gRPC door: reading, writing, trust on disk, lies on the wire.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use sillok_client::connection::{CallError, Connection};
use sillok_client::identity::{Identity, IdentityKey, document_of};
use sillok_client::keys::KeyAlgorithm::{Ed25519, P256, X25519};
use sillok_client::keys::SecretKey;
use sillok_client::read::{Client, Clock, ReadError, ReadOptions, TransactionState, fetch_genesis};
use sillok_client::testing::{Door, Lie, MemoryNetwork, Ministries, serve};
use sillok_client::trust::{CheckpointFile, Trust, TrustError};
use sillok_client::verify::moment::Moment;
use sillok_client::verify::{Asked, VerifyError};
use sillok_client::write::{Parties, WriteError};
use sillok_did_method::{DEVICE_RELATIONSHIPS, Did, KEY_AGREEMENT, SUBMIT};
use sillok_ledger::light::LightError;
use sillok_proto::{Hash, v1};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const START_MS: u64 = 1_795_251_600_000;

struct World {
    door: Door,
    now: Arc<AtomicU64>,
    ministries: Ministries,
}

async fn world_with(lie: Lie) -> World {
    let (mut network, ministries) = MemoryNetwork::new("test", START_MS).unwrap();
    network.commit(START_MS + 1_000, &[]).unwrap();
    let now = Arc::new(AtomicU64::new(START_MS + 2_000));
    let clock = now.clone();
    let door = serve(network, move || clock.load(Ordering::SeqCst), lie).await.unwrap();
    World { door, now, ministries }
}

async fn world() -> World {
    world_with(Lie::default()).await
}

impl World {
    fn options(&self) -> ReadOptions {
        let now = self.now.clone();
        ReadOptions {
            clock: Clock::new(move || now.load(Ordering::SeqCst)),
            ..ReadOptions::default()
        }
    }

    fn address(&self) -> String {
        self.door.address.to_string()
    }

    fn client(&self) -> Client {
        let chain = self.door.network().chain().clone();
        Client::in_memory(&[self.address()], chain).unwrap().with_options(self.options())
    }

    fn client_at(&self, home: &Path) -> Result<Client, ReadError> {
        let chain = self.door.network().chain().clone();
        let connection = Connection::new(&[self.address()])?;
        Ok(Client::new(connection, Trust::open(home, chain)?, self.options()))
    }

    fn pass(&self, seconds: u64) {
        self.now.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    /// An empty block now.
    fn heartbeat(&self) {
        let now = self.now.load(Ordering::SeqCst);
        self.door.network().commit(now, &[]).unwrap();
    }

    fn parties(&self) -> Parties<'_> {
        Parties::submitter(&self.ministries.registrar)
    }

    fn holder(&self) -> Identity {
        let authority = self.ministries.registrar.did.clone();
        let countersigner = Some(self.ministries.countersigner.did.clone());
        Identity::holder("test", Ed25519, true, authority, countersigner).unwrap()
    }
}

fn device() -> IdentityKey {
    IdentityKey::generate(P256, DEVICE_RELATIONSHIPS).unwrap()
}

async fn actor(client: &Client, did: &Did) -> v1::Actor {
    client.current(did).await.unwrap().head.actor()
}

#[tokio::test]
async fn the_life_of_a_holder_is_written_and_read_back_verified() {
    let world = world().await;
    let client = world.client();
    let mut holder = world.holder();
    let created = client.create(&holder, &world.parties()).await.unwrap();
    assert_eq!(created.receipt.header.height(), 2);
    // Reads its own write: the trusted header moved on with the receipt.
    assert_eq!(client.trusted().height, 2);

    let new = device();
    holder.keys.push(new.clone());
    client.replace_device(&holder, &new, &world.parties()).await.unwrap();
    let current = client.current(&holder.did).await.unwrap();
    assert_eq!(current.head.version, 2);
    // The key-agreement key stayed.
    assert_eq!(current.document_or_empty().keys.len(), 2);

    client.take_device_away(&holder.did, &world.parties()).await.unwrap();
    assert_eq!(actor(&client, &holder.did).await, v1::Actor::Authority);

    let again = device();
    let assisted =
        Parties { countersigner: Some(&world.ministries.countersigner), ..world.parties() };
    client.assist_device(&holder.did, &again, &assisted).await.unwrap();
    assert_eq!(actor(&client, &holder.did).await, v1::Actor::AuthorityAndCountersigner);
    holder.keys.push(again);

    // Whoever submits: a holder's own operation may be carried by any organization.
    let any =
        Parties { any_submitter: true, ..Parties::submitter(&world.ministries.countersigner) };
    client.deactivate(&holder, &any).await.unwrap();
    let error = client.current(&holder.did).await.unwrap_err();
    assert!(matches!(error, WriteError::Deactivated { .. }));

    let history = client.history(&holder.did).await.unwrap();
    let actors: Vec<v1::Actor> =
        history.fresh().unwrap().versions.iter().map(|(head, _)| head.actor()).collect();
    use v1::Actor::{Authority, AuthorityAndCountersigner, Controller};
    let expected = [Controller, AuthorityAndCountersigner, Authority, Controller, Controller];
    assert_eq!(actors, expected);
}

#[tokio::test]
async fn the_authority_alone_cannot_set_a_device() {
    let world = world().await;
    let client = world.client();
    let holder = world.holder();
    client.create(&holder, &world.parties()).await.unwrap();
    let error = client.assist_device(&holder.did, &device(), &world.parties()).await.unwrap_err();
    assert_eq!(error.problem().unwrap().code, "NOT_AUTHORIZED");
}

#[tokio::test]
async fn a_holder_changes_its_recovery_rule_and_its_agreement_key() {
    let world = world().await;
    let client = world.client();
    let mut holder = world.holder();
    client.create(&holder, &world.parties()).await.unwrap();
    let document = client.current(&holder.did).await.unwrap().document_or_empty();
    let agreement = IdentityKey::generate(X25519, KEY_AGREEMENT).unwrap();
    let mut keys = document.keys.clone();
    keys.retain(|bound| bound.relationships != KEY_AGREEMENT);
    keys.push(agreement.bound());
    holder.keys.push(agreement);
    let document = document_of(keys, Vec::new());
    let none = Some(sillok_did_method::Recovery::None);
    client.update(&holder, document.clone(), none, &world.parties()).await.unwrap();
    let current = client.current(&holder.did).await.unwrap();
    assert_eq!(current.document, Some(document.clone()));
    assert_eq!(current.head.recovery, None);
    // The very state asked for is not ordered again.
    let error = client.update(&holder, document, none, &world.parties()).await.unwrap_err();
    assert_eq!(error.problem().unwrap().code, "ALREADY");
}

#[tokio::test]
async fn an_organization_registers_another_and_rotates_its_keys() {
    let world = world().await;
    let client = world.client();
    let authority = Some(world.ministries.registrar.did.clone());
    let mut office = Identity::organization("test", P256, true, authority, None).unwrap();
    client.create(&office, &world.parties()).await.unwrap();
    let new = IdentityKey::generate(Ed25519, SUBMIT).unwrap();
    let mut keys = office.document().keys;
    keys.retain(|bound| bound.relationships != SUBMIT);
    keys.push(new.bound());
    office.keys.push(new.clone());
    client.update(&office, document_of(keys, Vec::new()), None, &world.parties()).await.unwrap();
    let key = client.acting_key(&office, SUBMIT).await.unwrap();
    assert_eq!(key.public(), new.secret.public());
}

#[tokio::test]
async fn a_stale_update_is_refused_with_the_newer_version() {
    let world = world().await;
    let client = world.client();
    let holder = world.holder();
    client.create(&holder, &world.parties()).await.unwrap();
    let key = &holder.keys[0].secret;
    let previous = client.current(&holder.did).await.unwrap().head_hash();
    let until_ms = client.valid_until_ms().await.unwrap();
    let transaction = |new: &IdentityKey| {
        let document = document_of(vec![new.bound()], Vec::new());
        let draft = sillok_client::transaction::OperationDraft::set_device(
            &holder.did,
            &previous,
            document,
        );
        let mut partly = sillok_client::transaction::TransactionBuilder::new(
            client.genesis_hash(),
            &world.ministries.registrar.did,
            until_ms,
        )
        .push(draft, sillok_client::transaction::Terms::NAMED)
        .freeze();
        partly.sign(0, key).unwrap();
        partly.sign(0, &new.secret).unwrap();
        partly.submit(world.ministries.registrar.newest_secret(SUBMIT).unwrap()).unwrap()
    };
    let (one, two) = (transaction(&device()), transaction(&device()));
    let committed = client.submit(&one, Duration::from_secs(5)).await.unwrap();
    let error = client.submit(&two, Duration::from_secs(5)).await.unwrap_err();
    let problem = error.problem().unwrap();
    assert_eq!(problem.code, "STALE_VERSION");
    assert_eq!(problem.fields.get("version").map(String::as_str), Some("2"));
    // C3: the same bytes again act once and are answered with the same place.
    let again = client.submit(&one, Duration::from_secs(5)).await.unwrap();
    assert_eq!(again.receipt, committed.receipt);
}

#[tokio::test]
async fn an_old_answer_is_stale_and_never_valid() {
    let world = world().await;
    let client = world.client();
    let did = &world.ministries.registrar.did;
    assert!(client.resolve(did, Asked::Current).await.unwrap().answer.fresh().is_ok());
    world.pass(60);
    let answer = client.resolve(did, Asked::Current).await.unwrap().answer;
    let stale = answer.fresh().unwrap_err();
    assert_eq!((stale.height, stale.age_ms, stale.max_age_ms), (1, 61_000, 60_000));
    // Whoever asks for a day's patience gets it.
    let patient = ReadOptions { max_age_ms: 86_400_000, ..world.options() };
    let patient = world.client().with_options(patient);
    assert!(patient.resolve(did, Asked::Current).await.unwrap().answer.fresh().is_ok());
}

#[tokio::test]
async fn d8_a_node_that_is_behind_answers_stale_and_another_is_asked() {
    let world = world().await;
    let did = &world.ministries.registrar.did;
    let copy = world.door.network().clone();
    let behind = serve(copy, || START_MS, Lie::default()).await.unwrap();
    world.pass(1);
    world.heartbeat();
    let options = || ReadOptions { min_height: 2, ..world.options() };

    let chain = world.door.network().chain().clone();
    let alone = Client::in_memory(&[behind.address.to_string()], chain.clone()).unwrap();
    let error = alone.with_options(options()).resolve(did, Asked::Current).await.unwrap_err();
    let ReadError::Call(CallError::Refused { problem, .. }) = error else { panic!("{error}") };
    assert_eq!(problem.code, "STALE");

    let both = [behind.address.to_string(), world.address()];
    let client = Client::in_memory(&both, chain).unwrap().with_options(options());
    let resolved = client.resolve(did, Asked::Current).await.unwrap();
    assert_eq!((resolved.answer.height(), resolved.node), (2, world.address()));
}

/// Another node, with all that the network has now.
async fn another(world: &World, lie: Lie) -> Door {
    let (network, now) = (world.door.network().clone(), world.now.clone());
    serve(network, move || now.load(Ordering::SeqCst), lie).await.unwrap()
}

/// A client that asks these nodes, in this order.
fn client_of(world: &World, doors: &[&Door]) -> Client {
    let addresses: Vec<String> = doors.iter().map(|door| door.address.to_string()).collect();
    let chain = world.door.network().chain().clone();
    Client::in_memory(&addresses, chain).unwrap().with_options(world.options())
}

/// Counts the answers to resolving.
fn counted() -> (Arc<AtomicU64>, Lie) {
    let count = Arc::new(AtomicU64::new(0));
    let counted = count.clone();
    let resolve = move |_: &MemoryNetwork, _: &mut v1::ResolveResponse| {
        counted.fetch_add(1, Ordering::SeqCst);
    };
    (count, Lie { resolve: Some(Arc::new(resolve)), ..Lie::default() })
}

#[tokio::test]
async fn d8_where_the_answer_of_one_node_is_stale_the_next_is_asked() {
    let world = world().await;
    let did = &world.ministries.registrar.did;
    let cut_off = another(&world, Lie::default()).await;
    world.pass(61);
    let alone = client_of(&world, &[&cut_off]).resolve(did, Asked::Current).await.unwrap();
    assert!(alone.answer.is_stale());
    world.heartbeat();
    let both = client_of(&world, &[&cut_off, &world.door]);
    let found = both.resolve(did, Asked::Current).await.unwrap();
    assert!(found.answer.fresh().is_ok());
    assert_eq!(found.node, world.address());

    // Where no node has a fresh one, the newest is told for what it is.
    world.pass(61);
    for doors in [[&cut_off, &world.door], [&world.door, &cut_off]] {
        let found = client_of(&world, &doors).resolve(did, Asked::Current).await.unwrap();
        assert_eq!(found.answer.fresh().unwrap_err().height, 2);
        assert_eq!(found.node, world.address());
    }
    let nobody = [cut_off.address.to_string(), "127.0.0.1:1".to_owned()];
    let chain = world.door.network().chain().clone();
    let client = Client::in_memory(&nobody, chain).unwrap().with_options(world.options());
    let found = client.resolve(did, Asked::Current).await.unwrap();
    assert_eq!(found.answer.fresh().unwrap_err().height, 1);
}

#[tokio::test]
async fn where_one_node_lies_no_other_is_asked_instead() {
    let world = world().await;
    let did = &world.ministries.registrar.did;
    let thief = SecretKey::generate(Ed25519).unwrap();
    let lie = Lie {
        resolve: Some(Arc::new(move |_, answer| {
            answer.document.as_mut().unwrap().keys[0].key = Some(thief.public().clone());
        })),
        ..Lie::default()
    };
    let liar = another(&world, lie).await;
    let (asked, honest) = counted();
    let honest = another(&world, honest).await;
    let caught = async |doors: &[&Door]| {
        let error = client_of(&world, doors).resolve(did, Asked::Current).await.unwrap_err();
        let ReadError::Verify { node, source } = error else { panic!("{error}") };
        assert_eq!(node, liar.address.to_string());
        assert!(matches!(*source, VerifyError::ForgedDocument { version: 1, .. }));
    };
    caught(&[&liar, &honest]).await;
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    // Nor is its lie passed over for the old answer of a node that was asked before.
    world.pass(61);
    caught(&[&honest, &liar, &world.door]).await;
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn d15_where_one_node_breaks_off_the_next_is_asked() {
    let world = world().await;
    let did = &world.ministries.registrar.did;
    let (asked, lie) = counted();
    let lie = Lie { breaks_off: Some(Arc::new(|call| call != "GetTrustBundle")), ..lie };
    let stops = another(&world, lie).await;
    let next = another(&world, Lie::default()).await;
    let (both, alone) = (client_of(&world, &[&stops, &next]), client_of(&world, &[&stops]));
    for client in [&both, &alone] {
        client.resolve(did, Asked::Current).await.unwrap();
    }
    assert_eq!(asked.swap(0, Ordering::SeqCst), 2);
    // Two heights later an answer rests on a proof of descent, for which the node is not there any more.
    for _ in 0..2 {
        world.pass(1);
        for door in [&stops, &next] {
            door.network().commit(world.now.load(Ordering::SeqCst), &[]).unwrap();
        }
    }
    let found = both.resolve(did, Asked::Current).await.unwrap();
    assert_eq!((found.answer.height(), found.node), (3, next.address.to_string()));
    assert_eq!((both.trusted().height, asked.swap(0, Ordering::SeqCst)), (3, 1));
    let error = alone.resolve(did, Asked::Current).await.unwrap_err();
    assert!(matches!(error, ReadError::Call(CallError::Unreachable { .. })), "{error}");
    // A connection that broke is made again, once.
    assert_eq!((alone.trusted().height, asked.swap(0, Ordering::SeqCst)), (1, 2));

    // A list that breaks off is no list, however much of it is proved.
    let none = Hash([9; 32]);
    assert!(both.whole_list(&none, Moment::Tip).await.unwrap().fresh().unwrap().is_none());
    let error = client_of(&world, &[&stops]).whole_list(&none, Moment::Tip).await.unwrap_err();
    assert!(matches!(error, ReadError::Call(CallError::Unreachable { .. })), "{error}");
}

#[tokio::test]
async fn a_node_that_is_down_does_no_harm_beside_one_that_is_up() {
    let world = world().await;
    let chain = world.door.network().chain().clone();
    let addresses = ["127.0.0.1:1".to_owned(), world.address()];
    let client = Client::in_memory(&addresses, chain).unwrap().with_options(world.options());
    let resolved = client.resolve(&world.ministries.registrar.did, Asked::Current).await.unwrap();
    assert_eq!(resolved.node, world.address());
}

#[tokio::test]
async fn a_missing_version_is_proved_by_the_history() {
    let world = world().await;
    let client = world.client();
    let did = &world.ministries.registrar.did;
    let resolved = client.resolve(did, Asked::Version(7)).await.unwrap();
    assert_eq!(resolved.answer.fresh().unwrap().version, None);
    let resolved = client.resolve(did, Asked::Before(START_MS)).await;
    // The door in memory does not know version times; what it answers is checked all the same.
    assert!(matches!(resolved, Err(ReadError::Verify { .. })));
}

#[tokio::test]
async fn a_forged_answer_on_the_wire_is_refused_and_names_the_node() {
    let thief = SecretKey::generate(Ed25519).unwrap();
    let lie = Lie {
        resolve: Some(Arc::new(move |_, answer| {
            answer.document.as_mut().unwrap().keys[0].key = Some(thief.public().clone());
        })),
        ..Lie::default()
    };
    let world = world_with(lie).await;
    let did = &world.ministries.registrar.did;
    let error = world.client().resolve(did, Asked::Current).await.unwrap_err();
    assert!(error.to_string().contains(&world.address()), "{error}");
    let ReadError::Verify { source, .. } = error else { panic!("{error}") };
    assert!(matches!(*source, VerifyError::ForgedDocument { version: 1, .. }));
}

#[tokio::test]
async fn a_tampered_receipt_on_the_wire_is_refused() {
    let lie = Lie {
        transaction: Some(Arc::new(|_, answer| {
            if let Some(v1::transaction_state::State::Committed(committed)) = &mut answer.state {
                committed.height += 1;
            }
        })),
        ..Lie::default()
    };
    let world = world_with(lie).await;
    let error = world.client().create(&world.holder(), &world.parties()).await.unwrap_err();
    let WriteError::Read(ReadError::Verify { source, .. }) = error else { panic!("{error}") };
    assert!(matches!(*source, VerifyError::OtherPlace { height: 3, proved: 2 }));
}

#[tokio::test]
async fn an_open_write_says_so() {
    let lie = Lie {
        transaction: Some(Arc::new(|_, answer| {
            answer.state = Some(v1::transaction_state::State::Pending(v1::Pending {}));
        })),
        ..Lie::default()
    };
    let world = world_with(lie).await;
    let client = world.client();
    let transaction = creation(&world, &client).await;
    let error = client.submit(&transaction, Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(error, WriteError::Pending { .. }) && error.is_open());
}

/// The transaction that registers a holder.
async fn creation(world: &World, client: &Client) -> v1::Transaction {
    let holder = world.holder();
    let mut partly = sillok_client::transaction::TransactionBuilder::new(
        client.genesis_hash(),
        &world.ministries.registrar.did,
        client.valid_until_ms().await.unwrap(),
    )
    .push(
        sillok_client::transaction::OperationDraft::create(&holder).unwrap(),
        sillok_client::transaction::Terms::NAMED,
    )
    .freeze();
    partly.sign_new_keys(0, &holder).unwrap();
    partly.submit(world.ministries.registrar.newest_secret(SUBMIT).unwrap()).unwrap()
}

#[tokio::test]
async fn a_write_is_over_when_ledger_time_says_so_and_not_when_a_node_does() {
    let lie = Lie {
        transaction: Some(Arc::new(|_, answer| {
            let expired = v1::Expired { valid_until_ms: 1 };
            answer.state = Some(v1::transaction_state::State::Expired(expired));
        })),
        ..Lie::default()
    };
    let world = world_with(lie).await;
    let client = world.client();
    let transaction = creation(&world, &client).await;
    let error = client.submit(&transaction, Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(error, WriteError::Pending { .. }), "{error}");
    let passes = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.pass(400);
        world.heartbeat();
    };
    let submit = client.submit(&transaction, Duration::from_secs(20));
    let (ended, ()) = tokio::join!(submit, passes);
    let error = ended.unwrap_err();
    assert!(matches!(error, WriteError::Expired { .. }) && error.is_open(), "{error}");
}

#[tokio::test]
async fn an_unknown_transaction_is_unknown() {
    let world = world().await;
    let state = world.client().transaction(&Hash([5; 32]), Duration::ZERO).await.unwrap();
    assert_eq!(state, TransactionState::Unknown);
}

#[tokio::test]
async fn trust_on_disk_only_grows() {
    let home = tempfile::tempdir().unwrap();
    let world = world().await;
    let did = world.ministries.registrar.did.clone();
    let old = world.door.network().clone();
    world.client_at(home.path()).unwrap().resolve(&did, Asked::Current).await.unwrap();
    for _ in 0..3 {
        world.pass(1);
        world.heartbeat();
    }
    let client = world.client_at(home.path()).unwrap();
    assert_eq!(client.trusted().height, 1);
    client.resolve(&did, Asked::Current).await.unwrap();
    assert_eq!(world.client_at(home.path()).unwrap().trusted().height, 4);
    // A client that knows no genesis finds the network here.
    assert_eq!(Trust::open_only(home.path()).unwrap().trusted().height, 4);

    // The node goes back in time: it says it is behind; lying about it is refused.
    *world.door.network() = old;
    let client = world.client_at(home.path()).unwrap();
    let error = client.resolve(&did, Asked::Current).await.unwrap_err();
    assert!(matches!(error, ReadError::Call(CallError::Refused { .. })), "{error}");
}

#[tokio::test]
async fn a_rollback_on_the_wire_is_refused() {
    let lie = Lie {
        resolve: Some(Arc::new(|network, answer| {
            let did = network.chain().genesis().organizations[0].document.as_ref().unwrap();
            let did = Did::new("test", sillok_ledger::organization_digest(did)).unwrap();
            *answer = network.resolve_at(&did, None, 1).unwrap();
        })),
        ..Lie::default()
    };
    let world = world_with(lie).await;
    world.heartbeat();
    let client = world.client();
    let node = client.connection().nodes()[0].clone();
    assert_eq!(client.follow(&node).await.unwrap().height, 2);
    let error = client.resolve(&world.ministries.registrar.did, Asked::Current).await.unwrap_err();
    let ReadError::Verify { source, .. } = error else { panic!("{error}") };
    let expected = VerifyError::Light(LightError::Rollback { trusted: 2, offered: 1 });
    assert_eq!(*source, expected);
}

/// Two branches of one network, certified by the same validators, part after height 1.
async fn branches() -> (World, MemoryNetwork) {
    let world = world().await;
    let mut branch = world.door.network().clone();
    branch.commit(START_MS + 1_500, &[]).unwrap();
    for _ in 0..3 {
        world.pass(1);
        world.heartbeat();
        branch.commit(world.now.load(Ordering::SeqCst), &[]).unwrap();
    }
    (world, branch)
}

#[tokio::test]
async fn a_branch_of_the_same_validators_is_found_kept_as_evidence_and_stops_everything() {
    let home = tempfile::tempdir().unwrap();
    let (world, mut branch) = branches().await;
    let did = world.ministries.registrar.did.clone();
    let client = world.client_at(home.path()).unwrap();
    client.resolve(&did, Asked::Current).await.unwrap();
    let trusted = client.trusted().height;
    assert_eq!(trusted, 4);
    // Two heights further, so that neither height nor parent hash gives it away: only the history does.
    for _ in 0..2 {
        world.pass(1);
        branch.commit(world.now.load(Ordering::SeqCst), &[]).unwrap();
    }
    *world.door.network() = branch;
    let error = client.resolve(&did, Asked::Current).await.unwrap_err();
    let ReadError::Fork { height: 4, evidence: Some(path) } = error else { panic!("{error}") };
    let evidence: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert!(evidence["trusted"].is_string() && evidence["other"].is_string());
    assert_ne!(evidence["trusted_hash"], evidence["other_hash"]);
    let error = world.client_at(home.path()).unwrap_err();
    assert!(matches!(error, ReadError::Trust(TrustError::ForkOnRecord { .. })));
}

#[tokio::test]
async fn a_checkpoint_is_enough_to_start_from() {
    let world = world().await;
    let client = world.client();
    client.resolve(&world.ministries.registrar.did, Asked::Current).await.unwrap();
    let checkpoint = CheckpointFile::of(&client.trusted(), false);
    let text = checkpoint.to_json();
    let again: CheckpointFile = serde_json::from_str(&text).unwrap();
    let trusted = again.trusted().unwrap();

    let home = tempfile::tempdir().unwrap();
    let connection = Connection::new(&[world.address()]).unwrap();
    let chain = fetch_genesis(&connection, &trusted.genesis_hash).await.unwrap();
    let mut trust = Trust::open(home.path(), chain).unwrap();
    trust.take_checkpoint(trusted.clone()).unwrap();
    let client = Client::new(connection.clone(), trust.clone(), world.options());
    assert_eq!(client.trusted().height, 1);
    client.resolve(&world.ministries.registrar.did, Asked::Current).await.unwrap();

    // Another header of that height is a contradiction, and another genesis is another network.
    let other =
        sillok_ledger::light::TrustedHeader { header_hash: Hash([3; 32]), ..trusted.clone() };
    assert!(matches!(trust.take_checkpoint(other), Err(TrustError::Conflict { height: 1, .. })));
    let error = fetch_genesis(&connection, &Hash([3; 32])).await.unwrap_err();
    assert!(matches!(error, ReadError::Trust(TrustError::OtherGenesis { .. })));
}

#[tokio::test]
async fn many_tasks_share_one_client() {
    let world = world().await;
    let client = Arc::new(world.client());
    let did = world.ministries.registrar.did.clone();
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let (client, did) = (client.clone(), did.clone());
        tasks.push(tokio::spawn(async move {
            for _ in 0..5 {
                client.resolve(&did, Asked::Current).await?.answer.fresh()?;
            }
            Ok::<(), ReadError>(())
        }));
        world.pass(1);
        world.heartbeat();
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
}
