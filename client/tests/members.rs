//! Clients of a network whose validators are replaced: what was proved before holds, and who left says nothing any more.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use sillok_client::identity::Identity;
use sillok_client::keys::KeyAlgorithm::Ed25519;
use sillok_client::keys::SecretKey;
use sillok_client::member::{Progress, Standing};
use sillok_client::read::{Client, Clock, ReadError, ReadOptions};
use sillok_client::testing::{Door, Lie, MemoryNetwork, MemoryOperator, Ministries, serve};
use sillok_client::trust::Trust;
use sillok_client::verify::{Asked, Policy, Verifier, VerifyError};
use sillok_client::write::Parties;
use sillok_did_method::{parameters_hash, proposal_hash};
use sillok_ledger::light::LightError;
use sillok_ledger::validator_set_hash;
use sillok_proto::v1;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use v1::change::Change;

const START_MS: u64 = 1_795_251_600_000;
/// How long a transaction of this client lives, where every window allows it.
const LIFE_MS: u64 = 45_000;

/// A network, its door, and the clock of all: each question is a second later.
struct World {
    door: Door,
    ministries: Ministries,
    operators: Vec<MemoryOperator>,
    clock: Arc<AtomicU64>,
}

async fn world_with(lie: Lie) -> World {
    let (mut network, ministries) = MemoryNetwork::new("test", START_MS).unwrap();
    let operators = network.operators().to_vec();
    network.commit(START_MS + 1_000, &[]).unwrap();
    let clock = Arc::new(AtomicU64::new(START_MS + 1_000));
    let now = clock.clone();
    let door = serve(network, move || now.fetch_add(1_000, Ordering::Relaxed), lie).await.unwrap();
    World { door, ministries, operators, clock }
}

async fn world() -> World {
    world_with(Lie::default()).await
}

/// A network that began with a window.
async fn world_of(window_ms: u64) -> World {
    let (network, ministries) = MemoryNetwork::new("test", START_MS).unwrap();
    let mut genesis = network.chain().genesis().clone();
    genesis.parameters.as_mut().unwrap().valid_until_window_ms = window_ms;
    let operators = network.operators().to_vec();
    let keys = operators.iter().map(|one| one.validator.clone()).collect();
    let mut network = MemoryNetwork::of_genesis(genesis, keys).unwrap();
    network.commit(START_MS + 1_000, &[]).unwrap();
    let clock = Arc::new(AtomicU64::new(START_MS + 2_000));
    let now = clock.clone();
    let door = serve(network, move || now.load(Ordering::Relaxed), Lie::default()).await.unwrap();
    World { door, ministries, operators, clock }
}

impl World {
    /// The operators go over to another window.
    async fn set_window(&self, client: &Client, window_ms: u64) {
        let mut parameters = client.parameters().await.unwrap().even_if_stale().clone();
        parameters.previous = parameters_hash(&parameters).to_vec();
        parameters.valid_until_window_ms = window_ms;
        let proposal = v1::Proposal {
            expires_ms: self.now_ms() + 60_000,
            change: Some(v1::Change { change: Some(Change::SetParameters(parameters)) }),
        };
        let hash = proposal_hash(&client.genesis_hash(), &proposal);
        let submitter = &self.ministries.registrar;
        let [one, two, three, _] = self.operators.as_slice() else { panic!("four operators") };
        client.propose(&one.did, &one.governance, proposal, submitter).await.unwrap();
        for other in [two, three] {
            client.approve(&other.did, &other.governance, &hash, submitter).await.unwrap();
        }
        let in_force = self.door.network().tip().parameters.valid_until_window_ms;
        assert_eq!(in_force, window_ms);
    }

    fn now_ms(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    fn options(&self) -> ReadOptions {
        let clock = self.clock.clone();
        let clock = Clock::new(move || clock.load(Ordering::Relaxed));
        ReadOptions { clock, ..ReadOptions::default() }
    }

    fn client(&self) -> Client {
        let chain = self.door.network().chain().clone();
        let client = Client::in_memory(&[self.door.address.to_string()], chain).unwrap();
        client.with_options(self.options())
    }

    /// A client that keeps what it trusts.
    fn client_in(&self, home: &std::path::Path) -> Client {
        let chain = self.door.network().chain().clone();
        let connection = self.client().connection().clone();
        Client::new(connection, Trust::open(home, chain).unwrap(), self.options())
    }

    /// Empty blocks, by which a change takes effect.
    fn blocks(&self, count: usize) {
        for _ in 0..count {
            let time_ms = self.clock.fetch_add(1_000, Ordering::Relaxed) + 1_000;
            self.door.network().commit(time_ms, &[]).unwrap();
        }
    }

    /// Every operator names a new key, which joins: nobody of the first set is left.
    async fn replace_all(&self, client: &Client) {
        let operators = self.door.network().operators().to_vec();
        let submitter = &self.ministries.registrar;
        for operator in &operators {
            let new = SecretKey::generate(Ed25519).unwrap();
            let point: [u8; 32] = new.public().point.clone().try_into().unwrap();
            client.rekey(&operator.did, &operator.governance, &point, submitter).await.unwrap();
            self.door.network().add_validator_key(new.clone());
            client.join(&operator.did, &new, submitter).await.unwrap();
        }
        self.blocks(3);
    }
}

#[tokio::test]
async fn a21_a_receipt_and_a_kept_answer_hold_after_all_validators_were_replaced() {
    let world = world().await;
    let old = world.client();
    let identity =
        Identity::holder("test", Ed25519, false, world.ministries.registrar.did.clone(), None)
            .unwrap();
    let parties = sillok_client::write::Parties::submitter(&world.ministries.registrar);
    let committed = old.create(&identity, &parties).await.unwrap();
    let id = committed.receipt.transaction_id;
    let kept = old.resolve(&identity.did, Asked::Current).await.unwrap().response.unwrap();
    let first = world.door.network().set(1).unwrap().clone();

    world.replace_all(&world.client()).await;
    for client in [old, world.client()] {
        client.resolve(&identity.did, Asked::Current).await.unwrap();
        let trusted = client.trusted();
        assert!(
            trusted.next_validators.validators.iter().all(|one| !first.validators.contains(one))
        );
        // Asked of a node, and kept by whoever has it: both are proved by the history.
        let found = client.transaction(&id, std::time::Duration::ZERO).await.unwrap();
        assert!(matches!(found, sillok_client::read::TransactionState::Committed(_)), "{found:?}");
        let again = client.kept_receipt(&id, &committed.proof).await.unwrap();
        assert_eq!(again.header.hash(), committed.receipt.header.hash());

        let chain = client.chain();
        let policy = Policy { past: true, ..Policy::at(world.now_ms()) };
        let verifier = Verifier::new(&chain, &trusted, policy);
        let height = kept.proof.as_ref().unwrap().signed_header.as_ref().unwrap();
        let height = height.header.as_ref().unwrap().height;
        assert_eq!(
            verifier.resolution(&identity.did, Asked::Current, &kept).unwrap_err(),
            VerifyError::PastValidators { height }
        );
        let node = &client.connection().nodes()[0];
        let history = client.history_of(node, &trusted, height).await.unwrap();
        let answer = verifier
            .with_history(&history)
            .resolution(&identity.did, Asked::Current, &kept)
            .unwrap();
        assert!(answer.is_stale() && answer.height() == height);
    }
}

#[tokio::test]
async fn a21_keys_that_were_replaced_cannot_make_another_past_or_present() {
    let world = world().await;
    let client = world.client();
    let parties = sillok_client::write::Parties::submitter(&world.ministries.registrar);
    let identity =
        Identity::holder("test", Ed25519, false, world.ministries.registrar.did.clone(), None)
            .unwrap();
    let committed = client.create(&identity, &parties).await.unwrap();
    let id = committed.receipt.transaction_id;
    world.replace_all(&client).await;
    client.resolve(&identity.did, Asked::Current).await.unwrap();
    let trusted = client.trusted();

    // The past: the keys of the first set, sold with their disks, sign another block of that height.
    let mut forged = committed.proof.clone();
    let mut header = forged.signed_header.unwrap().header.unwrap();
    header.state_root = vec![9; 32];
    forged.signed_header = Some(world.door.network().certify(&header).unwrap());
    let error = client.kept_receipt(&id, &forged).await.unwrap_err();
    let ReadError::Verify { source, .. } = error else { panic!("{error}") };
    let height = header.height;
    assert_eq!(*source, VerifyError::Light(LightError::NotAnAncestor { height }));

    // The present: they sign a block after the trusted one.
    let first = world.door.network().set(1).unwrap().clone();
    let mut header = trusted.signed_header.clone().unwrap().header.unwrap();
    header.height += 1;
    header.time_ms += 1;
    header.parent_hash = trusted.header_hash.to_vec();
    header.validator_set_hash = validator_set_hash(&first).to_vec();
    header.next_validator_set_hash = header.validator_set_hash.clone();
    let signed = world.door.network().certify(&header).unwrap();
    let receipt = v1::Receipt { signed_header: Some(signed), ..committed.proof.clone() };
    let chain = client.chain();
    let verifier = Verifier::new(&chain, &trusted, Policy::at(world.now_ms() + 60_000));
    assert!(matches!(
        verifier.receipt(&id, &receipt).unwrap_err(),
        VerifyError::Light(LightError::WrongValidatorSet { .. })
    ));
    // And nobody is led there: the bundle that a node sends is of the set in force.
    client.kept_receipt(&id, &receipt).await.unwrap_err();
    assert_eq!(client.trusted().header_hash, trusted.header_hash);
}

#[tokio::test]
async fn trust_on_disk_follows_many_changes_and_goes_on_from_its_file() {
    let world = world().await;
    let home = tempfile::tempdir().unwrap();
    let registrar = world.ministries.registrar.did.clone();
    let writer = world.client();
    let operators = world.door.network().operators().to_vec();
    let mut heights = Vec::new();
    for operator in &operators {
        let client = world.client_in(home.path());
        client.resolve(&registrar, Asked::Current).await.unwrap();
        heights.push(client.trusted().height);
        let kept = world.client_in(home.path()).trusted();
        assert_eq!(kept, client.trusted());

        let new = SecretKey::generate(Ed25519).unwrap();
        let point: [u8; 32] = new.public().point.clone().try_into().unwrap();
        let submitter = &world.ministries.registrar;
        writer.rekey(&operator.did, &operator.governance, &point, submitter).await.unwrap();
        world.door.network().add_validator_key(new.clone());
        writer.join(&operator.did, &new, submitter).await.unwrap();
        world.blocks(3);
    }
    let client = world.client_in(home.path());
    client.resolve(&registrar, Asked::Current).await.unwrap();
    let set = client.trusted().next_validators;
    // Where a validator votes since is part of the set's hash, and so of what is kept.
    assert!(set.validators.iter().all(|one| one.since_height > 0));
    assert_eq!(Some(&set), world.door.network().set(client.trusted().height + 1));
    assert!(heights.windows(2).all(|pair| pair[0] < pair[1]), "{heights:?}");
}

#[tokio::test]
async fn members_and_proposals_are_read_with_proof() {
    let world = world().await;
    let client = world.client();
    let operators = world.door.network().operators().to_vec();
    let submitter = &world.ministries.registrar;
    let known = client.members().await.unwrap();
    let members = known.even_if_stale();
    assert_eq!((members.operators.len(), members.threshold()), (4, 3));
    for operator in &operators {
        let member = members.by_governance_key(&operator.governance.public().point).unwrap();
        assert_eq!(member.organization, operator.did.digest());
        assert_eq!(member.standing(known.height(), known.time_ms()), Standing::Votes);
        assert_eq!(member.name, "operator");
    }

    let observer = v1::Observer {
        node_key: SecretKey::generate(Ed25519).unwrap().public().point.clone(),
        archive: true,
    };
    let proposal = v1::Proposal {
        expires_ms: world.now_ms() + 60_000,
        change: Some(v1::Change { change: Some(Change::AdmitObserver(observer.clone())) }),
    };
    let hash = proposal_hash(&client.genesis_hash(), &proposal);
    let absent = client.proposal(&hash).await.unwrap();
    assert!(absent.even_if_stale().is_none());
    let [one, two, three, _] = operators.as_slice() else { panic!("four operators") };
    client.propose(&one.did, &one.governance, proposal, submitter).await.unwrap();
    client.approve(&two.did, &two.governance, &hash, submitter).await.unwrap();
    let answer = client.proposal(&hash).await.unwrap();
    let open = answer.even_if_stale().clone().unwrap();
    assert_eq!(open.counted(members), 2);
    assert_eq!(open.progress(answer.time_ms()), Progress::Open);
    assert_eq!(open.progress(open.expires_ms()), Progress::Expired);
    assert!(client.members().await.unwrap().even_if_stale().observers.is_empty());
    client.approve(&three.did, &three.governance, &hash, submitter).await.unwrap();
    let found = client.proposals().await.unwrap();
    assert_eq!(found.iter().map(|one| one.hash).collect::<Vec<_>>(), [hash]);
    assert!(matches!(found[0].progress(answer.time_ms()), Progress::Executed(_)));
    let members = client.members().await.unwrap();
    assert_eq!(members.even_if_stale().observers[0].observer, Some(observer));
}

#[tokio::test]
async fn what_is_signed_lives_by_the_window_in_force_and_not_by_that_of_the_genesis() {
    let world = world_of(10_000).await;
    let client = world.client();
    assert_eq!(client.valid_until_ms().await.unwrap(), world.now_ms() + 5_000);
    world.set_window(&client, 300_000).await;
    world.clock.fetch_add(1_000, Ordering::Relaxed);
    assert_eq!(client.valid_until_ms().await.unwrap(), world.now_ms() + LIFE_MS);
}

#[tokio::test]
async fn what_a_clock_that_is_ahead_signs_is_within_every_window() {
    let world = world_of(300_000).await;
    world.set_window(&world.client(), 180_000).await;
    let ahead_of = |offset_ms: i64| {
        let clock = world.clock.clone();
        let clock =
            Clock::new(move || clock.load(Ordering::Relaxed).saturating_add_signed(offset_ms));
        world.client().with_options(ReadOptions { clock, ..ReadOptions::default() })
    };
    let authority = world.ministries.registrar.did.clone();
    let countersigner = Some(world.ministries.countersigner.did.clone());
    let holder = Identity::holder("test", Ed25519, true, authority, countersigner).unwrap();
    let parties = Parties::submitter(&world.ministries.registrar);
    ahead_of(170_000).create(&holder, &parties).await.unwrap();
    // One that is behind leaves an offline key as much time as any other.
    let behind = ahead_of(-9_000);
    let until_ms = behind.latest_valid_until_ms().await.unwrap();
    assert_eq!(until_ms, behind.trusted().time_ms + 165_000);
}

#[tokio::test]
async fn a_lie_about_who_the_members_are_is_caught() {
    // A leaf put in the place of another, one changed, one left out.
    let changed: Lie = Lie {
        state: Some(Arc::new(|_, proof| {
            let entry = &mut proof.entries[0];
            let mut members: v1::Members = sillok_proto::decode(&entry.value, 65_536).unwrap();
            members.operators.pop();
            entry.value = sillok_proto::encode(&members);
        })),
        ..Lie::default()
    };
    let absent = Lie {
        state: Some(Arc::new(|_, proof| {
            let entry = &mut proof.entries[0];
            (entry.present, entry.value) = (false, Vec::new());
        })),
        ..Lie::default()
    };
    let withheld =
        Lie { state: Some(Arc::new(|_, proof| proof.entries.clear())), ..Lie::default() };
    for lie in [changed, absent, withheld] {
        let world = world_with(lie).await;
        let error = world.client().members().await.unwrap_err();
        assert!(matches!(error, ReadError::Verify { .. }), "{error}");
    }
}
