//! A18: one organization floods a node with all that its share allows, and the loss reports of another and its own are
//! in the next block.

use super::support::{GENESIS_MS, VALIDATOR, build, commit, point};
use ed25519_dalek::{Signer, SigningKey};
use sillok_did_method::{
    CAPABILITY_INVOCATION, DEVICE_RELATIONSHIPS, SUBMIT, author_statement, author_string,
    document_hash, inception_digest, key_id, submitter_string, transaction_id,
};
use sillok_ledger::{Chain, default_parameters, organization_digest};
use sillok_node::ledger::{Environment, Ledger, SubmitError};
use sillok_node::mempool::{Limits, PoolError};
use sillok_node::storage::{Retention, Storage};
use sillok_proto::{Hash, v1};
use std::time::Instant;
use v1::operation::Operation as Wire;

/// What a node has by default.
const LIMITS: Limits =
    Limits { transactions_max: 50_000, bytes_max: 64 << 20, per_submitter_max: 10_000 };
const UNTIL_MS: u64 = GENESIS_MS + 200_000;

struct Key(SigningKey);

impl Key {
    fn of(name: &str) -> Self {
        Self(SigningKey::from_bytes(blake3::hash(name.as_bytes()).as_bytes()))
    }

    fn public(&self) -> v1::PublicKey {
        let point = self.0.verifying_key().to_bytes().to_vec();
        v1::PublicKey { algorithm: v1::Algorithm::Ed25519.into(), point }
    }

    fn bound(&self, relationships: u32) -> v1::BoundKey {
        v1::BoundKey { key: Some(self.public()), relationships, expires_ms: 0 }
    }

    fn sign(&self, message: &[u8]) -> v1::KeySignature {
        let signature = self.0.sign(message).to_bytes().to_vec();
        v1::KeySignature { key_id: key_id(&self.public()).to_vec(), signature }
    }
}

fn organization(name: &str) -> v1::DidDocument {
    let mut keys = vec![
        Key::of(&format!("{name}/control")).bound(CAPABILITY_INVOCATION),
        Key::of(&format!("{name}/submit")).bound(SUBMIT),
    ];
    keys.sort_by_key(|bound| bound.key.clone().map(|key| key.point));
    v1::DidDocument { keys, services: Vec::new() }
}

fn digest(name: &str) -> Vec<u8> {
    organization_digest(&organization(name)).to_vec()
}

fn chain() -> Chain {
    let mut organizations: Vec<_> = ["flooder", "ministry"]
        .map(|name| v1::GenesisOrganization {
            name: name.to_owned(),
            document: Some(organization(name)),
            actions: vec![v1::Action::Register.into(), v1::Action::Submit.into()],
        })
        .to_vec();
    organizations.sort_by_key(|one| organization_digest(one.document.as_ref().unwrap()));
    Chain::new(v1::Genesis {
        protocol_version: 1,
        network: "test".to_owned(),
        time_ms: GENESIS_MS,
        parameters: Some(default_parameters()),
        organizations,
        operators: vec![v1::Operator {
            organization: digest("ministry"),
            validator_key: point(VALIDATOR),
            node_key: point(4),
            governance_key: point(5),
            archive: true,
        }],
        observers: Vec::new(),
    })
    .unwrap()
}

fn transaction(
    genesis: &Hash,
    submitter: &str,
    operation: Wire,
    document: Option<v1::DidDocument>,
    author: Option<&Key>,
) -> v1::Transaction {
    let body = v1::TransactionBody {
        submitter: digest(submitter),
        valid_until_ms: UNTIL_MS,
        operations: vec![v1::Operation { operation: Some(operation) }],
    };
    let mut terms = v1::OperationSignatures::default();
    if let Some(author) = author {
        terms.valid_until_ms = UNTIL_MS;
        let statement = author_statement(genesis, &body, 0, &terms).unwrap();
        terms.signatures = vec![author.sign(&author_string(genesis, &statement))];
    }
    let key = Key::of(&format!("{submitter}/submit"));
    let submitter = key.sign(&submitter_string(genesis, &transaction_id(genesis, &body)));
    v1::Transaction {
        body: Some(body),
        documents: document.into_iter().collect(),
        signatures: Some(v1::PublicSignatures {
            submitter: Some(submitter),
            operations: vec![terms],
        }),
        ..Default::default()
    }
}

fn holder(device: &Key, authority: &str) -> Vec<u8> {
    inception_digest(&v1::Inception {
        kind: v1::Kind::Holder.into(),
        keys: vec![device.bound(DEVICE_RELATIONSHIPS)],
        authority: digest(authority),
        recovery: None,
    })
    .to_vec()
}

fn create(genesis: &Hash, authority: &str, name: &str) -> v1::Transaction {
    let device = Key::of(name);
    let document =
        v1::DidDocument { keys: vec![device.bound(DEVICE_RELATIONSHIPS)], services: Vec::new() };
    let operation = Wire::CreateDid(v1::CreateDid {
        did: holder(&device, authority),
        kind: v1::Kind::Holder.into(),
        authority: digest(authority),
        recovery: None,
        document_hash: document_hash(&document).to_vec(),
    });
    transaction(genesis, authority, operation, Some(document), Some(&device))
}

/// The authority takes the device away.
fn loss(genesis: &Hash, authority: &str, name: &str) -> v1::Transaction {
    let did = holder(&Key::of(name), authority);
    let operation = Wire::SetDevice(v1::SetDevice { did, ..Default::default() });
    transaction(genesis, authority, operation, None, None)
}

#[test]
#[allow(clippy::print_stdout, reason = "figures of this run, for who asks for them")]
fn a18_a_flood_of_ten_thousand_keeps_no_loss_report_out_of_the_next_block() {
    let directory = tempfile::tempdir().unwrap();
    let chain = chain();
    let storage = Storage::open(directory.path(), &chain, Retention::Archive).unwrap();
    // Stands still, so that what is signed here stays valid.
    let clock = sillok_node::clock::Clock::of(|| GENESIS_MS + 1_000);
    let environment = Environment { clock, ..Environment::default() };
    let ledger = Ledger::open(chain, storage, LIMITS, environment).unwrap();
    let genesis = *ledger.chain.hash();
    for (authority, name) in [("flooder", "bob"), ("ministry", "alice")] {
        ledger.submit(create(&genesis, authority, name)).unwrap();
    }
    commit(&ledger, &build(&ledger, GENESIS_MS + 1_000));

    let before = Instant::now();
    let mut taken = 0;
    let refused = loop {
        match ledger.submit(create(&genesis, "flooder", &format!("flood/{taken}"))) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    let submitting = before.elapsed();
    let share =
        matches!(refused, SubmitError::Pool(PoolError::SubmitterShare { count: 10_000, .. }));
    assert!(share && taken == 10_000, "{refused}");

    let reports = [loss(&genesis, "ministry", "alice"), loss(&genesis, "flooder", "bob")];
    for report in &reports {
        ledger.submit(report.clone()).unwrap();
    }
    let other = create(&genesis, "ministry", "carol");
    ledger.submit(other.clone()).unwrap();

    let before = Instant::now();
    let built = build(&ledger, GENESIS_MS + 2_000);
    let building = before.elapsed();
    let block = &built.built.block.transactions;
    println!(
        "{taken} waiting taken in {submitting:?}; a block of {} built in {building:?}",
        block.len()
    );
    assert!(block.len() < taken, "the block is full");
    for report in &reports {
        assert!(block.contains(report));
    }
    // The second of its submitter.
    let place = block.iter().position(|one| *one == other).unwrap();
    assert!(place <= 3, "another waits for one of the flood for each of its own: {place}");
    commit(&ledger, &built);
}
