//! The record on a real disk: what is committed survives, old heights stay provable, nothing else is touched.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops where its ground is missing"
)]

use sillok_did_method::{CAPABILITY_INVOCATION, SUBMIT};
use sillok_ledger::merkle_log::{self, HistoryHasher};
use sillok_ledger::{
    Chain, Tip, TreeKey, default_parameters, header_hash, organization_digest, proof, tree,
};
use sillok_node::ledger::{Environment, Ledger};
use sillok_node::mempool::Limits;
use sillok_node::storage::{Refusal, Retention, Storage, StorageError};
use sillok_proto::{Hash, v1};
use std::collections::BTreeSet;
use std::path::Path;

const LIMITS: Limits = Limits { transactions_max: 100, bytes_max: 1 << 20, per_submitter_max: 50 };
const GENESIS_MS: u64 = 1_700_000_000_000;

fn public(seed: u8) -> Vec<u8> {
    ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes().to_vec()
}

fn chain(network: &str) -> Chain {
    let key = |seed, relationships| v1::BoundKey {
        key: Some(v1::PublicKey { algorithm: v1::Algorithm::Ed25519.into(), point: public(seed) }),
        relationships,
        expires_ms: 0,
    };
    let mut keys = vec![key(1, CAPABILITY_INVOCATION), key(2, SUBMIT)];
    keys.sort_by_key(|bound| bound.key.clone().map(|key| key.point));
    let document = v1::DidDocument { keys, services: Vec::new() };
    let organization = organization_digest(&document).to_vec();
    Chain::new(v1::Genesis {
        protocol_version: 1,
        network: network.to_owned(),
        time_ms: GENESIS_MS,
        parameters: Some(default_parameters()),
        organizations: vec![v1::GenesisOrganization {
            name: "행정안전부".to_owned(),
            document: Some(document),
            actions: vec![v1::Action::Submit.into()],
        }],
        operators: vec![v1::Operator {
            organization,
            validator_key: public(3),
            node_key: public(4),
            governance_key: public(5),
            archive: true,
        }],
        observers: Vec::new(),
    })
    .unwrap()
}

fn open(path: &Path, retention: Retention) -> Ledger {
    let chain = chain("test");
    let storage = Storage::open(path, &chain, retention).unwrap();
    Ledger::open(chain, storage, LIMITS, Environment::default()).unwrap()
}

/// Builds and commits one empty block. Storage keeps certificates, it does not judge them.
fn commit(ledger: &Ledger) {
    let time_ms = ledger.tip().header.time_ms + 1;
    let built = ledger.build(time_ms, &public(3), &BTreeSet::new(), false).unwrap().built;
    let executed = ledger.execute(&built.block).unwrap();
    assert_eq!(executed.hash, built.outcome.hash, "who builds and who executes agree");
    let certificate = v1::CommitCertificate {
        height: executed.header.height,
        header_hash: executed.hash.to_vec(),
        ..v1::CommitCertificate::default()
    };
    ledger.commit(&executed, &built.block, &certificate, &[]).unwrap();
}

fn assert_same(left: &Tip, right: &Tip) {
    assert_eq!(left.hash, right.hash);
    assert_eq!(left.history.root(), right.history.root());
    assert_eq!(left.recent, right.recent);
    assert_eq!(left.replay, right.replay);
}

#[test]
fn a_node_opened_again_is_at_the_last_committed_block() {
    let directory = tempfile::tempdir().unwrap();
    let before = {
        let ledger = open(directory.path(), Retention::Archive);
        assert_eq!(ledger.tip().height(), 0);
        for _ in 0..30 {
            commit(&ledger);
        }
        ledger.tip()
    };
    let ledger = open(directory.path(), Retention::Archive);
    assert_same(&ledger.tip(), &before);
    commit(&ledger);
    assert_eq!(ledger.tip().height(), 31);
}

#[test]
fn what_was_not_committed_leaves_no_trace() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path(), Retention::Archive);
    commit(&ledger);
    let before = ledger.tip();
    let built = ledger.build(GENESIS_MS + 50, &public(3), &BTreeSet::new(), false).unwrap().built;
    ledger.execute(&built.block).unwrap();
    assert_same(&ledger.tip(), &before);
    drop(ledger);
    assert_same(&open(directory.path(), Retention::Archive).tip(), &before);
}

#[test]
fn an_archive_proves_every_height_and_a_pruned_node_its_last_ones() {
    let key = TreeKey::parameters();
    for retention in [Retention::Archive, Retention::Heights(5)] {
        let directory = tempfile::tempdir().unwrap();
        let ledger = open(directory.path(), retention);
        for _ in 0..40 {
            commit(&ledger);
        }
        for height in 0..=40 {
            let root = ledger.storage.header(height).unwrap().unwrap().state_root;
            let entry = tree::prove(&ledger.storage.at(height), height, &key);
            let proved = entry.is_ok_and(|entry| {
                proof::verify_entry(&Hash::from_slice(&root).unwrap(), &entry).is_ok()
            });
            let kept = retention == Retention::Archive || height > 35;
            assert!(proved || !kept, "height {height} of {retention:?}");
            assert!(!proved || kept || height >= 34, "height {height} was not pruned");
        }
    }
}

#[test]
fn every_older_header_is_proved_by_the_history_of_a_later_one() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path(), Retention::Archive);
    for _ in 0..20 {
        commit(&ledger);
    }
    for at in 1..=20 {
        let root = ledger.storage.header(at).unwrap().unwrap().history_root;
        for height in 0..at {
            let proved = ledger.storage.history_proof(height, at).unwrap().unwrap();
            let leaf = HistoryHasher::leaf(&header_hash(&proved.header.unwrap()).0);
            let found = merkle_log::head_of_path::<HistoryHasher>(&leaf, &proved.path.unwrap());
            assert_eq!(found.unwrap().to_vec(), root, "header {height} at {at}");
        }
        assert_eq!(ledger.storage.history_proof(at, at).unwrap(), None);
    }
}

#[test]
fn a_database_of_another_network_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path(), Retention::Archive));
    let refused = Storage::open(directory.path(), &chain("other"), Retention::Archive);
    assert!(matches!(refused, Err(StorageError::OtherNetwork { .. })), "{refused:?}");
}

#[test]
fn a_second_process_cannot_open_the_database() {
    let directory = tempfile::tempdir().unwrap();
    let _first = open(directory.path(), Retention::Archive);
    let refused = Storage::open(directory.path(), &chain("test"), Retention::Archive);
    assert!(matches!(refused, Err(StorageError::Open { .. })), "{refused:?}");
}

#[test]
fn a_refusal_is_remembered_until_its_time_has_passed() {
    let directory = tempfile::tempdir().unwrap();
    let id = Hash([7; 32]);
    let refusal = Refusal {
        valid_until_ms: 100,
        problem: Some(v1::Problem { code: "STALE_VERSION".to_owned(), ..v1::Problem::default() }),
    };
    {
        let ledger = open(directory.path(), Retention::Archive);
        ledger.storage.put_refusal(&id, &refusal).unwrap();
    }
    let ledger = open(directory.path(), Retention::Archive);
    assert_eq!(ledger.storage.refusal(&id).unwrap(), Some(refusal));
    assert_eq!(ledger.storage.sweep_refusals(100).unwrap(), 0);
    assert_eq!(ledger.storage.sweep_refusals(101).unwrap(), 1);
    assert_eq!(ledger.storage.refusal(&id).unwrap(), None);
}

#[test]
fn a_block_of_another_parent_or_root_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path(), Retention::Archive);
    let built = ledger.build(GENESIS_MS + 5, &public(3), &BTreeSet::new(), false).unwrap().built;
    for change in [
        |header: &mut v1::Header| header.parent_hash[0] ^= 1,
        |header: &mut v1::Header| header.state_root[0] ^= 1,
        |header: &mut v1::Header| header.history_root[0] ^= 1,
        |header: &mut v1::Header| header.time_ms = GENESIS_MS,
        |header: &mut v1::Header| header.height += 1,
        |header: &mut v1::Header| header.proposer[0] ^= 1,
        |header: &mut v1::Header| header.genesis_hash[0] ^= 1,
    ] {
        let mut block = built.block.clone();
        change(block.header.as_mut().unwrap());
        assert!(ledger.execute(&block).is_err());
    }
    assert!(ledger.execute(&built.block).is_ok());
}
