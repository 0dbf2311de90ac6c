//! A record with one organization that may register and submit, and holders to be registered by it.

use ed25519_dalek::{Signer, SigningKey};
use sillok_did_method::{
    CAPABILITY_INVOCATION, DEVICE_RELATIONSHIPS, Did, SUBMIT, author_statement, author_string,
    document_hash, inception_digest, key_id, submitter_string, transaction_id,
};
use sillok_ledger::{Chain, default_parameters, organization_digest};
use sillok_node::config::{Config, LogLevel};
use sillok_node::ledger::{BuiltBlock, Environment, Ledger};
use sillok_node::mempool::Limits;
use sillok_node::storage::{Retention, Storage};
use sillok_proto::{Hash, v1};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, Once};
use std::time::{SystemTime, UNIX_EPOCH};

/// The name of the network.
pub(crate) const NETWORK: &str = "test";
pub(crate) const GENESIS_MS: u64 = 1_700_000_000_000;
pub(crate) const LIMITS: Limits =
    Limits { transactions_max: 100, bytes_max: 1 << 20, per_submitter_max: 50 };
/// The key by which the organization changes itself and gives rights.
pub(crate) const CONTROL: u8 = 1;
/// The key by which it submits and acts at a desk.
pub(crate) const SUBMITTING: u8 = 2;
pub(crate) const VALIDATOR: u8 = 3;
/// The operator's governance key.
pub(crate) const GOVERNANCE: u8 = 5;

fn secret(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub(crate) fn bound(seed: u8, relationships: u32) -> v1::BoundKey {
    let point = secret(seed).verifying_key().to_bytes().to_vec();
    let key = v1::PublicKey { algorithm: v1::Algorithm::Ed25519.into(), point };
    v1::BoundKey { key: Some(key), relationships, expires_ms: 0 }
}

pub(crate) fn sign(seed: u8, message: &[u8]) -> v1::KeySignature {
    let key = bound(seed, 0).key.unwrap();
    let signature = secret(seed).sign(message).to_bytes().to_vec();
    v1::KeySignature { key_id: key_id(&key).to_vec(), signature }
}

fn organization() -> v1::DidDocument {
    organization_of(CONTROL, SUBMITTING)
}

/// An organization with these two keys.
pub(crate) fn organization_of(control: u8, submitting: u8) -> v1::DidDocument {
    let mut keys = vec![bound(control, CAPABILITY_INVOCATION), bound(submitting, SUBMIT)];
    keys.sort_by_key(|bound| bound.key.clone().map(|key| key.point));
    v1::DidDocument { keys, services: Vec::new() }
}

pub(crate) fn chain(network: &str) -> Chain {
    Chain::new(genesis(network)).unwrap()
}

pub(crate) fn genesis(network: &str) -> v1::Genesis {
    let document = organization();
    let digest = organization_digest(&document).to_vec();
    let point = |seed| secret(seed).verifying_key().to_bytes().to_vec();
    v1::Genesis {
        protocol_version: 1,
        network: network.to_owned(),
        time_ms: GENESIS_MS,
        parameters: Some(default_parameters()),
        organizations: vec![v1::GenesisOrganization {
            name: "행정안전부".to_owned(),
            document: Some(document),
            actions: vec![v1::Action::Register.into(), v1::Action::Submit.into()],
        }],
        operators: vec![v1::Operator {
            organization: digest,
            validator_key: point(VALIDATOR),
            node_key: point(4),
            governance_key: point(GOVERNANCE),
            archive: true,
        }],
        observers: Vec::new(),
    }
}

/// The record in `path`.
pub(crate) fn open(path: &Path) -> Ledger {
    let chain = chain(NETWORK);
    let storage = Storage::open(path, &chain, Retention::Archive).unwrap();
    Ledger::open(chain, storage, LIMITS, Environment::default()).unwrap()
}

/// The genesis hash of a network that differs in its name alone.
pub(crate) fn other_genesis() -> Hash {
    *chain("other").hash()
}

/// The machine's clock.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A block of what waits, not committed.
pub(crate) fn build(ledger: &Ledger, time_ms: u64) -> BuiltBlock {
    build_by(VALIDATOR, ledger, time_ms)
}

/// A block of another proposer.
pub(crate) fn build_by(proposer: u8, ledger: &Ledger, time_ms: u64) -> BuiltBlock {
    let proposer = secret(proposer).verifying_key().to_bytes();
    ledger.build(time_ms, &proposer, &BTreeSet::new(), false).unwrap()
}

/// Commits a block. Storage keeps certificates, it does not judge them.
pub(crate) fn commit(ledger: &Ledger, built: &BuiltBlock) {
    let certificate = v1::CommitCertificate {
        height: built.built.outcome.header.height,
        header_hash: built.built.outcome.hash.to_vec(),
        ..v1::CommitCertificate::default()
    };
    ledger.commit(&built.built.outcome, &built.built.block, &certificate, &[]).unwrap();
}

/// Commits a block of one transaction.
pub(crate) fn commit_one(ledger: &Ledger, transaction: v1::Transaction) {
    ledger.submit(transaction).unwrap();
    let built = build(ledger, now_ms().max(ledger.tip().header.time_ms + 1));
    assert_eq!(built.built.block.transactions.len(), 1, "{:?}", built.built.refused);
    commit(ledger, &built);
}

/// The registration of a holder with this device, and its id.
pub(crate) fn create(genesis: &Hash, device: u8, valid_until_ms: u64) -> (Hash, v1::Transaction) {
    let keys = vec![bound(device, DEVICE_RELATIONSHIPS)];
    let authority = organization_digest(&organization()).to_vec();
    let kind = v1::Kind::Holder.into();
    let document = v1::DidDocument { keys: keys.clone(), services: Vec::new() };
    let body = v1::TransactionBody {
        submitter: authority.clone(),
        valid_until_ms,
        operations: vec![v1::Operation {
            operation: Some(v1::operation::Operation::CreateDid(v1::CreateDid {
                did: holder(device).to_vec(),
                kind,
                authority,
                recovery: None,
                document_hash: document_hash(&document).to_vec(),
            })),
        }],
    };
    let mut terms = v1::OperationSignatures { valid_until_ms, ..Default::default() };
    let statement = author_statement(genesis, &body, 0, &terms).unwrap();
    terms.signatures = vec![sign(device, &author_string(genesis, &statement))];
    let id = transaction_id(genesis, &body);
    let transaction = v1::Transaction {
        body: Some(body),
        documents: vec![document],
        private_contents: Vec::new(),
        signatures: Some(v1::PublicSignatures {
            submitter: Some(sign(SUBMITTING, &submitter_string(genesis, &id))),
            operations: vec![terms],
        }),
        private_signatures: None,
    };
    (id, transaction)
}

/// A precommit of round 0 for a block, signed.
pub(crate) fn sign_vote(seed: u8, genesis: &Hash, height: u64, header_hash: &Hash) -> Vec<u8> {
    let statement = v1::VoteStatement { height, round: 0, header_hash: header_hash.to_vec() };
    let message = sillok_ledger::precommit_string(genesis, &statement);
    secret(seed).sign(&message).to_bytes().to_vec()
}

/// The digest of the organization, which is the operator.
pub(crate) fn operator() -> Vec<u8> {
    organization_digest(&organization()).to_vec()
}

/// The public half of the key of this seed.
pub(crate) fn point(seed: u8) -> Vec<u8> {
    secret(seed).verifying_key().to_bytes().to_vec()
}

/// A transaction with one operation on members, signed by the key of `signer`, and its id.
pub(crate) fn governance(
    genesis: &Hash,
    operation: v1::operation::Operation,
    signer: u8,
    valid_until_ms: u64,
) -> (Hash, v1::Transaction) {
    let body = v1::TransactionBody {
        submitter: operator(),
        valid_until_ms,
        operations: vec![v1::Operation { operation: Some(operation) }],
    };
    let mut terms = v1::OperationSignatures { valid_until_ms, ..Default::default() };
    let statement = author_statement(genesis, &body, 0, &terms).unwrap();
    terms.signatures = vec![sign(signer, &author_string(genesis, &statement))];
    let id = transaction_id(genesis, &body);
    let transaction = v1::Transaction {
        body: Some(body),
        signatures: Some(v1::PublicSignatures {
            submitter: Some(sign(SUBMITTING, &submitter_string(genesis, &id))),
            operations: vec![terms],
        }),
        ..Default::default()
    };
    (id, transaction)
}

fn holder(device: u8) -> Hash {
    inception_digest(&v1::Inception {
        kind: v1::Kind::Holder.into(),
        keys: vec![bound(device, DEVICE_RELATIONSHIPS)],
        authority: organization_digest(&organization()).to_vec(),
        recovery: None,
    })
}

/// The DID of the holder with this device.
pub(crate) fn did(device: u8) -> String {
    Did::new(NETWORK, holder(device)).unwrap().to_string()
}

/// What a node logs at level trace, from now on. A process has one log, so all tests of this program are in it.
pub(crate) fn everything_logged() -> &'static Mutex<Vec<u8>> {
    struct Shared;
    static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    static INIT: Once = Once::new();
    impl std::io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let poisoned = |_| std::io::Error::other("a test panicked");
            LOG.lock().map_err(poisoned)?.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    INIT.call_once(|| {
        let mut config = Config::default();
        config.telemetry.log_level = LogLevel::Trace;
        let filter = tracing_subscriber::EnvFilter::new(config.telemetry.filter());
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
        builder.with_writer(|| Shared).init();
    });
    &LOG
}
