//! Joining by snapshot: from honest peers, among liars, and killed at every write; the state is the same to the byte.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops where its ground is missing"
)]

use ed25519_dalek::{Signer, SigningKey};
use sillok_did_method::{
    CAPABILITY_INVOCATION, DEVICE_RELATIONSHIPS, SUBMIT, author_statement, author_string,
    document_hash, head_hash, inception_digest, key_id, parameters_hash, submitter_string,
    transaction_id,
};
use sillok_ledger::snapshot::Prefix;
use sillok_ledger::{
    Chain, StateView, Tip, TreeKey, default_parameters, organization_digest, precommit_string, tree,
};
use sillok_node::clock::Clock;
use sillok_node::join::{
    Action, BACKFILL_PAUSE_MS, Backfill, Event, Fault, JoinError, Joining, Settings, Trust,
    serve_within, unfinished,
};
use sillok_node::ledger::{Environment, Ledger};
use sillok_node::mempool::Limits;
use sillok_node::storage::key_value::{Batch, KeyValue};
use sillok_node::storage::memory::MemoryDisk;
use sillok_node::storage::{Retention, Storage, StorageError};
use sillok_proto::v1::operation::Operation as Op;
use sillok_proto::v1::snapshot_request::Request as Ask;
use sillok_proto::v1::snapshot_response::Response as Answer;
use sillok_proto::{Hash, v1};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

const GENESIS_MS: u64 = 1_700_000_000_000;
const LIMITS: Limits = Limits { transactions_max: 100, bytes_max: 1 << 20, per_submitter_max: 50 };
const CONTROL: u8 = 1;
const SUBMITTING: u8 = 2;
const VALIDATOR: u8 = 3;
const GOVERNANCE: u8 = 5;
/// So that a small tree has many segments.
const SEGMENT_BYTES: usize = 1_500;
const TIP: u64 = 330;

fn secret(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn bound(seed: u8, relationships: u32) -> v1::BoundKey {
    let point = secret(seed).verifying_key().to_bytes().to_vec();
    let key = v1::PublicKey { algorithm: v1::Algorithm::Ed25519.into(), point };
    v1::BoundKey { key: Some(key), relationships, expires_ms: 0 }
}

fn sign(seed: u8, message: &[u8]) -> v1::KeySignature {
    let key = bound(seed, 0).key.unwrap();
    let signature = secret(seed).sign(message).to_bytes().to_vec();
    v1::KeySignature { key_id: key_id(&key).to_vec(), signature }
}

fn organization() -> v1::DidDocument {
    let mut keys = vec![bound(CONTROL, CAPABILITY_INVOCATION), bound(SUBMITTING, SUBMIT)];
    keys.sort_by_key(|bound| bound.key.clone().map(|key| key.point));
    v1::DidDocument { keys, services: Vec::new() }
}

fn chain(network: &str) -> Chain {
    let document = organization();
    let digest = organization_digest(&document).to_vec();
    let point = |seed| secret(seed).verifying_key().to_bytes().to_vec();
    Chain::new(v1::Genesis {
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
            governance_key: point(5),
            archive: true,
        }],
        observers: Vec::new(),
    })
    .unwrap()
}

fn open(disk: Arc<dyn KeyValue>, retention: Retention) -> Ledger {
    let chain = chain("test");
    let storage = Storage::over(disk, &chain, retention).unwrap();
    let environment = Environment { clock: Clock::of(|| 0), ..Environment::default() };
    Ledger::open(chain, storage, LIMITS, environment).unwrap()
}

fn holder(device: u8) -> (v1::DidDocument, Hash) {
    let keys = vec![bound(device, DEVICE_RELATIONSHIPS)];
    let inception = v1::Inception {
        kind: v1::Kind::Holder.into(),
        keys: keys.clone(),
        authority: organization_digest(&organization()).to_vec(),
        recovery: None,
    };
    (v1::DidDocument { keys, services: Vec::new() }, inception_digest(&inception))
}

fn transaction(
    ledger: &Ledger,
    device: u8,
    operation: Op,
    document: Option<v1::DidDocument>,
) -> v1::Transaction {
    let genesis = ledger.chain.hash();
    let valid_until_ms = ledger.tip().header.time_ms + 250_000;
    let body = v1::TransactionBody {
        submitter: organization_digest(&organization()).to_vec(),
        valid_until_ms,
        operations: vec![v1::Operation { operation: Some(operation) }],
    };
    let mut terms = v1::OperationSignatures { valid_until_ms, ..Default::default() };
    let statement = author_statement(genesis, &body, 0, &terms).unwrap();
    terms.signatures = vec![sign(device, &author_string(genesis, &statement))];
    let id = transaction_id(genesis, &body);
    v1::Transaction {
        body: Some(body),
        documents: document.into_iter().collect(),
        private_contents: Vec::new(),
        signatures: Some(v1::PublicSignatures {
            submitter: Some(sign(SUBMITTING, &submitter_string(genesis, &id))),
            operations: vec![terms],
        }),
        private_signatures: None,
    }
}

fn create(ledger: &Ledger, device: u8) -> v1::Transaction {
    let (document, did) = holder(device);
    let operation = Op::CreateDid(v1::CreateDid {
        did: did.to_vec(),
        kind: v1::Kind::Holder.into(),
        authority: organization_digest(&organization()).to_vec(),
        recovery: None,
        document_hash: document_hash(&document).to_vec(),
    });
    transaction(ledger, device, operation, Some(document))
}

fn deactivate(ledger: &Ledger, device: u8) -> v1::Transaction {
    let (_, did) = holder(device);
    let tip = ledger.tip().height();
    let leaf = ledger.storage.at(tip).leaf(&TreeKey::did_head(&did)).unwrap().unwrap();
    let head: v1::Head = sillok_proto::decode(&leaf, 1 << 16).unwrap();
    let operation = Op::DeactivateDid(v1::DeactivateDid {
        did: did.to_vec(),
        previous: head_hash(&head).to_vec(),
    });
    transaction(ledger, device, operation, None)
}

/// The one operator sets figures: opening the proposal is executing it.
fn set_parameters(ledger: &Ledger, change: impl Fn(&mut v1::Parameters)) -> v1::Transaction {
    let mut parameters = ledger.tip().parameters.clone();
    parameters.previous = parameters_hash(&parameters).to_vec();
    change(&mut parameters);
    let proposal = v1::Proposal {
        expires_ms: ledger.tip().header.time_ms + 3_600_000,
        change: Some(v1::Change { change: Some(v1::change::Change::SetParameters(parameters)) }),
    };
    let operator = organization_digest(&organization()).to_vec();
    let operation = Op::Propose(v1::Propose { operator, proposal: Some(proposal) });
    transaction(ledger, GOVERNANCE, operation, None)
}

/// One block of what waits, certified by the one validator.
fn commit(ledger: &Ledger) {
    let time_ms = ledger.tip().header.time_ms + 2_000;
    let proposer = secret(VALIDATOR).verifying_key().to_bytes();
    let built = ledger.build(time_ms, &proposer, &BTreeSet::new(), false).unwrap().built;
    let height = built.outcome.header.height;
    let header_hash = built.outcome.hash.to_vec();
    let statement = v1::VoteStatement { height, round: 0, header_hash: header_hash.clone() };
    let string = precommit_string(ledger.chain.hash(), &statement);
    let signature = secret(VALIDATOR).sign(&string).to_bytes().to_vec();
    let certificate = v1::CommitCertificate {
        height,
        round: 0,
        header_hash,
        signatures: vec![v1::CommitSignature { validator: 0, signature }],
    };
    ledger.commit(&built.outcome, &built.block, &certificate, &[]).unwrap();
}

/// A network with some past: holders registered and deactivated, before and within the replay window, and figures
/// changed before and after the snapshot.
fn source() -> Arc<Ledger> {
    static SOURCE: LazyLock<Arc<Ledger>> = LazyLock::new(|| {
        let ledger = open(Arc::new(MemoryDisk::new()), Retention::Archive);
        for height in 1..=TIP {
            let device = u8::try_from(10 + height / 5).unwrap();
            if height % 5 == 0 {
                ledger.submit(create(&ledger, device)).unwrap();
            } else if height % 15 == 1 && height > 30 {
                ledger.submit(deactivate(&ledger, device - 1)).unwrap();
            }
            if height == 42 {
                let window = |one: &mut v1::Parameters| one.valid_until_window_ms = 260_000;
                ledger.submit(set_parameters(&ledger, window)).unwrap();
            } else if height == 312 {
                let heartbeat = |one: &mut v1::Parameters| one.heartbeat_ms = 7_000;
                ledger.submit(set_parameters(&ledger, heartbeat)).unwrap();
            }
            commit(&ledger);
        }
        let changed = (ledger.tip().parameters.valid_until_window_ms, 7_000);
        assert_eq!(changed, (260_000, ledger.tip().parameters.heartbeat_ms));
        Arc::new(ledger)
    });
    SOURCE.clone()
}

fn settings() -> Settings {
    Settings {
        behind_min: 10,
        anchor_step: 100,
        segment_bytes_max: SEGMENT_BYTES,
        headers_at_once: 70,
        ..Settings::default()
    }
}

type Forge = dyn Fn(&v1::SnapshotRequest, v1::SnapshotResponse) -> v1::SnapshotResponse;

struct End {
    tip: Option<Arc<Tip>>,
    faults: BTreeMap<u8, Fault>,
    blamed: usize,
    requests: u64,
}

fn now_ms() -> u64 {
    source().tip().header.time_ms + 5_000
}

/// Drives a node that joins on `disk`, as far as it comes. Peer 0 may forge; while it is there the others come only
/// when it is found out, so that it is asked for everything first.
fn join_on(
    disk: Arc<dyn KeyValue>,
    peers: &[u8],
    forge: &Forge,
) -> Result<(Storage, End), JoinError> {
    let chain = chain("test");
    let storage = Storage::over(disk, &chain, Retention::Heights(50))?;
    let mut end = End { tip: None, faults: BTreeMap::new(), blamed: 0, requests: 0 };
    if storage.height()? > 0 {
        end.tip = Some(Arc::new(storage.load_tip(&chain)?));
        return Ok((storage, end));
    }
    let mut now = now_ms();
    let mut joining = Joining::new(chain, storage.clone(), settings(), &Trust::Genesis, now)?;
    let mut events: VecDeque<Event<u8>> =
        peers.iter().take(1).map(|peer| Event::Peer { peer: *peer, tip: TIP }).collect();
    let mut others = peers.iter().skip(1).map(|peer| Event::Peer { peer: *peer, tip: TIP });
    if peers[0] != 0 {
        events.extend(&mut others);
    }
    for _ in 0..5_000 {
        let event = events.pop_front().unwrap_or(Event::Tick);
        let ticks = event == Event::Tick;
        for action in joining.handle(event, now)? {
            match action {
                Action::Request { peer, request, message } => {
                    end.requests += 1;
                    let response = serve_within(&source(), &message, SEGMENT_BYTES);
                    let response = if peer == 0 { forge(&message, response) } else { response };
                    events.push_back(Event::Answer { request, response });
                }
                Action::Fault { peer, fault } => {
                    end.blamed += 1;
                    end.faults.insert(peer, fault);
                    events.extend(&mut others);
                }
                Action::WakeAt { at_ms } if ticks && events.is_empty() => now = now.max(at_ms),
                Action::WakeAt { .. } => {}
                Action::Installed { tip } => {
                    end.tip = Some(tip);
                    return Ok((storage, end));
                }
            }
        }
    }
    Ok((storage, end))
}

fn honest(_: &v1::SnapshotRequest, response: v1::SnapshotResponse) -> v1::SnapshotResponse {
    response
}

fn assert_same_tip(left: &Tip, right: &Tip) {
    assert_eq!((&left.header, left.hash), (&right.header, right.hash));
    assert_eq!(left.validators, right.validators);
    assert_eq!(left.next_validators, right.next_validators);
    assert_eq!(left.parameters, right.parameters);
    assert_eq!(left.history, right.history);
    assert_eq!(left.recent, right.recent);
    assert_eq!(left.replay, right.replay);
}

/// The joined node holds the state of the snapshot to the byte, and goes on like the others.
fn assert_joined(disk: MemoryDisk, tip: &Tip) {
    let source = source();
    let joined = open(Arc::new(disk), Retention::Heights(50));
    assert_same_tip(&joined.tip(), tip);
    let height = tip.height();
    assert_eq!(height, 300, "rounded down");
    assert!(!unfinished(&joined.storage).unwrap());
    let leaves = |ledger: &Ledger, height| {
        ledger.storage.leaves_under(&Prefix::ALL, height, usize::MAX).unwrap().unwrap()
    };
    assert_eq!(leaves(&joined, height), leaves(&source, height));
    // Every version of every DID, and every header.
    for (key, value) in leaves(&joined, height) {
        if key.kind_nibble() == 1 {
            let mut head: v1::Head = sillok_proto::decode(&value, 1 << 16).unwrap();
            loop {
                assert_eq!(joined.storage.head(&head_hash(&head)).unwrap().as_ref(), Some(&head));
                if let Some(hash) = Hash::from_slice(&head.document_hash) {
                    assert!(joined.storage.document(&hash).unwrap().is_some());
                }
                let Some(previous) = Hash::from_slice(&head.previous) else { break };
                head = joined.storage.head(&previous).unwrap().unwrap();
            }
        }
    }
    for at in 0..=height {
        assert_eq!(joined.storage.header(at).unwrap(), source.storage.header(at).unwrap());
    }
    assert!(joined.storage.history_proof(7, height).unwrap().is_some());
    assert_eq!(joined.storage.state_from().unwrap(), height);
    assert_eq!(joined.storage.blocks_from().unwrap(), 150, "the replay window of 300 s");
    // The next blocks execute alike, replays included.
    for next in height + 1..=TIP {
        let block = source.storage.block(next).unwrap().unwrap();
        let outcome = joined.execute(&block).unwrap();
        let certificate = source.storage.certificate(next).unwrap().unwrap();
        joined.commit(&outcome, &block, &certificate, &[]).unwrap();
    }
    assert_same_tip(&joined.tip(), &source.tip());
    assert_eq!(leaves(&joined, TIP), leaves(&source, TIP));
    let root = tree::root(&joined.storage.at(TIP), TIP).unwrap();
    assert_eq!(source.tip().header.state_root, root.to_vec());
}

#[test]
fn a_node_joins_from_honest_peers_and_holds_the_same_state_to_the_byte() {
    let disk = MemoryDisk::new();
    let (_, end) = join_on(Arc::new(disk.clone()), &[1, 2], &honest).unwrap();
    assert!(end.faults.is_empty(), "{:?}", end.faults);
    assert_joined(disk, &end.tip.unwrap());
}

/// A disk whose process dies: after so many writes it takes no more.
#[derive(Debug)]
struct Dying {
    disk: MemoryDisk,
    left: AtomicU64,
}

impl KeyValue for Dying {
    fn get(&self, family: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.disk.get(family, key)
    }

    fn scan(
        &self,
        family: &'static str,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StorageError> {
        self.disk.scan(family, from, visit)
    }

    fn write(&self, batch: Batch, durable: bool) -> Result<(), StorageError> {
        if self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_err()
        {
            return Err(StorageError::Io { reason: "killed".to_owned() });
        }
        self.disk.write(batch, durable)
    }

    fn flush(&self) -> Result<(), StorageError> {
        self.disk.flush()
    }
}

#[test]
fn killed_at_any_write_it_goes_on_where_it_ended() {
    let whole = MemoryDisk::new();
    let (_, end) = join_on(Arc::new(whole.clone()), &[1, 2], &honest).unwrap();
    let all = end.requests;
    for power_loss in [false, true] {
        let mut resumed_with_less = 0;
        // The genesis is the first write.
        for left in 1..whole.writes() {
            let disk = MemoryDisk::new();
            let dying = Dying { disk: disk.clone(), left: AtomicU64::new(left) };
            let killed = join_on(Arc::new(dying), &[1, 2], &honest);
            assert!(matches!(killed, Err(JoinError::Storage(_))), "killed at write {left}");
            if power_loss {
                disk.crash();
            }
            let (_, end) = join_on(Arc::new(disk.clone()), &[1, 2], &honest).unwrap();
            assert!(end.faults.is_empty());
            resumed_with_less += u64::from(end.requests < all / 2);
            let tip = end.tip.unwrap();
            let storage =
                Storage::over(Arc::new(disk.clone()), &chain("test"), Retention::Heights(50))
                    .unwrap();
            assert_same_tip(&storage.load_tip(&chain("test")).unwrap(), &tip);
            let root = tree::root(&storage.at(300), 300).unwrap();
            assert_eq!(tip.header.state_root, root.to_vec());
            if left % 40 == 0 || left + 1 == whole.writes() {
                assert_joined(disk, &tip);
            }
        }
        assert!(resumed_with_less > 0, "nothing was asked for twice that was staged");
    }
}

/// Changes the answers of one kind.
fn forging(
    change: impl Fn(&mut Answer),
) -> impl Fn(&v1::SnapshotRequest, v1::SnapshotResponse) -> v1::SnapshotResponse {
    move |_, mut response| {
        if let Some(answer) = &mut response.response {
            change(answer);
        }
        response
    }
}

fn lies() -> Vec<(&'static str, Box<Forge>)> {
    fn segment(change: fn(&mut v1::Subtree)) -> Box<Forge> {
        Box::new(forging(move |answer| {
            if let Answer::Segment(subtree) = answer {
                change(subtree);
            }
        }))
    }
    fn anchor(change: fn(&mut v1::LightBlock)) -> Box<Forge> {
        Box::new(forging(move |answer| {
            if let Answer::Anchor(bundle) = answer {
                bundle.light_blocks.iter_mut().for_each(change);
            }
        }))
    }
    fn header(block: &mut v1::LightBlock) -> &mut v1::Header {
        block.signed_header.as_mut().unwrap().header.as_mut().unwrap()
    }
    vec![
        (
            "one true light block at a time",
            Box::new(|request, response| match &request.request {
                Some(Ask::Anchor(asked)) => {
                    let height = asked.from_height + 1;
                    let less = v1::AnchorRequest { height, ..*asked };
                    let request = v1::SnapshotRequest { request: Some(Ask::Anchor(less)) };
                    serve_within(&source(), &request, SEGMENT_BYTES)
                }
                _ => response,
            }),
        ),
        (
            "a changed leaf",
            segment(|s| {
                if let Some(leaf) = s.leaves.first_mut() {
                    leaf.value.push(0);
                } else {
                    s.path = None;
                }
            }),
        ),
        (
            "a leaf left out",
            segment(|s| {
                if s.leaves.pop().is_none() {
                    s.path = None;
                }
            }),
        ),
        (
            "a leaf added",
            segment(|s| {
                let mut key = s.prefix.clone();
                key.resize(32, 0x77);
                s.leaves.insert(0, v1::SubtreeLeaf { key, value: vec![1] });
            }),
        ),
        (
            "another sibling",
            segment(|s| {
                if let Some(path) = &mut s.path {
                    path.siblings.push(vec![1; 32]);
                }
            }),
        ),
        ("a header of another state", anchor(|block| header(block).state_root[0] ^= 1)),
        (
            "a header of another network",
            anchor(|block| {
                header(block).genesis_hash = chain("other").hash().to_vec();
            }),
        ),
        (
            "another next set",
            anchor(|block| {
                block.next_validators.as_mut().unwrap().validators[0].organization[0] ^= 1;
            }),
        ),
        (
            "no certificate",
            anchor(|block| {
                block.signed_header.as_mut().unwrap().certificate = None;
            }),
        ),
        (
            "headers with a gap",
            Box::new(forging(|answer| {
                if let Answer::Headers(list) = answer {
                    list.headers.remove(0);
                }
            })),
        ),
        (
            "a changed header",
            Box::new(forging(|answer| {
                if let Answer::Headers(list) = answer {
                    list.headers.last_mut().unwrap().time_ms += 1;
                }
            })),
        ),
        (
            "a block without its transactions",
            Box::new(forging(|answer| {
                if let Answer::Blocks(response) = answer {
                    for decided in &mut response.blocks {
                        decided.block.as_mut().unwrap().header = None;
                    }
                }
            })),
        ),
        (
            "a false certificate of a block",
            Box::new(forging(|answer| {
                if let Answer::Blocks(response) = answer {
                    for decided in &mut response.blocks {
                        decided.certificate.as_mut().unwrap().signatures[0].signature[0] ^= 1;
                    }
                }
            })),
        ),
        (
            "another version",
            Box::new(forging(|answer| {
                if let Answer::Versions(list) = answer {
                    list.versions[0].head.as_mut().unwrap().height += 1;
                }
            })),
        ),
        (
            "a version without its document",
            Box::new(forging(|answer| {
                if let Answer::Versions(list) = answer {
                    list.versions.iter_mut().for_each(|version| version.document = None);
                }
            })),
        ),
        (
            "everything is too large",
            Box::new(|request, response| match &request.request {
                Some(v1::snapshot_request::Request::Segment(_)) => v1::SnapshotResponse {
                    response: Some(Answer::Refusal(v1::SnapshotRefusal::TooLarge.into())),
                },
                _ => response,
            }),
        ),
        ("nothing", Box::new(|_, _| v1::SnapshotResponse::default())),
    ]
}

#[test]
fn a_liar_among_the_peers_is_named_and_changes_nothing() {
    for (lie, forge) in lies() {
        let disk = MemoryDisk::new();
        let (_, end) = join_on(Arc::new(disk.clone()), &[0, 1, 2], &*forge).unwrap();
        let tip = end.tip.unwrap_or_else(|| panic!("{lie}: it joins from the others"));
        assert_eq!(end.faults.keys().collect::<Vec<_>>(), [&0], "{lie}");
        assert_eq!(end.blamed, 1, "{lie}: once");
        assert_joined(disk, &tip);
    }
}

#[test]
fn from_a_liar_alone_nothing_is_installed() {
    for (lie, forge) in lies() {
        let (storage, end) = join_on(Arc::new(MemoryDisk::new()), &[0], &*forge).unwrap();
        assert!(end.tip.is_none(), "{lie}");
        assert_eq!(storage.height().unwrap(), 0, "{lie}");
        assert!(storage.load_tip(&chain("test")).is_ok(), "{lie}: still the node it was");
    }
}

#[test]
fn silence_and_refusals_are_no_faults() {
    for refusal in [v1::SnapshotRefusal::NotHere, v1::SnapshotRefusal::Busy] {
        let forge = move |_: &v1::SnapshotRequest, _: v1::SnapshotResponse| v1::SnapshotResponse {
            response: Some(Answer::Refusal(refusal.into())),
        };
        let disk = MemoryDisk::new();
        let (_, end) = join_on(Arc::new(disk.clone()), &[1, 0], &forge).unwrap();
        assert!(end.faults.is_empty());
        assert_joined(disk, &end.tip.unwrap());
    }
}

#[test]
fn without_trust_in_the_genesis_it_needs_a_checkpoint() {
    let chain = chain("test");
    let disk = Arc::new(MemoryDisk::new());
    let storage = Storage::over(disk, &chain, Retention::Heights(50)).unwrap();
    let late = now_ms() + chain.parameters().trusting_period_ms;
    let run = |trust: &Trust, now: u64| {
        let mut joining = Joining::new(chain.clone(), storage.clone(), settings(), trust, now)?;
        let mut actions = joining.handle(Event::Peer { peer: 1_u8, tip: TIP }, now)?;
        while let Some(Action::Request { request, message, .. }) =
            actions.iter().find(|action| matches!(action, Action::Request { .. })).cloned()
        {
            let response = serve_within(&source(), &message, SEGMENT_BYTES);
            actions = joining.handle(Event::Answer { request, response }, now)?;
            if joining.height().is_some() {
                break;
            }
        }
        Ok::<_, JoinError>(joining.height())
    };
    assert!(matches!(run(&Trust::Genesis, late), Err(JoinError::Trust(_))));
    let hash = sillok_ledger::header_hash(&source().storage.header(250).unwrap().unwrap());
    let checkpoint = Trust::Checkpoint { height: 250, hash };
    assert_eq!(run(&checkpoint, now_ms()).unwrap(), Some(300));
    storage.load_tip(&chain).unwrap();
}

#[cfg(feature = "testing")]
#[test]
fn a_node_that_does_not_verify_leaves_ends_with_another_state() {
    use sillok_ledger::mutant::{self, Mutant};
    let forge = forging(|answer| {
        if let Answer::Segment(subtree) = answer {
            for leaf in &mut subtree.leaves {
                // The used keys: nothing reads them while joining.
                if leaf.key[0] >> 4 == 2 {
                    leaf.value = vec![8, 99];
                }
            }
        }
    });
    mutant::with(&[Mutant::SnapshotNotVerified], || {
        let (storage, end) = join_on(Arc::new(MemoryDisk::new()), &[0], &forge).unwrap();
        let tip = end.tip.expect("it believes everything");
        let root = tree::root(&storage.at(300), 300).unwrap();
        assert_ne!(tip.header.state_root, root.to_vec());
    });
}

#[test]
fn a_node_that_keeps_blocks_fetches_those_before_its_snapshot_and_verifies_them() {
    let (storage, end) = join_on(Arc::new(MemoryDisk::new()), &[1, 2], &honest).unwrap();
    assert!(end.tip.is_some());
    let mut now = now_ms();
    let mut faults = Vec::new();
    let mut answers = 0_u32;
    // Killed now and then; a liar is asked first.
    while storage.blocks_from().unwrap() > 1 {
        let mut backfill = Backfill::new(chain("test"), storage.clone(), settings());
        let mut events = VecDeque::from([0_u8, 1].map(|peer| Event::Peer { peer, tip: TIP }));
        for _ in 0..9 {
            for action in backfill.handle(events.pop_front().unwrap_or(Event::Tick), now).unwrap() {
                match action {
                    Action::Request { peer, request, message } => {
                        answers += 1;
                        let mut response = serve_within(&source(), &message, SEGMENT_BYTES);
                        if let Some(Answer::Blocks(blocks)) = &mut response.response {
                            if peer == 0 {
                                blocks.blocks[0].block.as_mut().unwrap().transactions.clear();
                                blocks.blocks[0].block.as_mut().unwrap().header = None;
                            }
                            // Cut, as long blocks are.
                            let len = if answers.is_multiple_of(3) { 5 } else { 100 };
                            blocks.blocks.truncate(len);
                        }
                        events.push_back(Event::Answer { request, response });
                    }
                    Action::Fault { peer, .. } => faults.push(peer),
                    Action::WakeAt { at_ms } => now = if events.is_empty() { at_ms } else { now },
                    Action::Installed { .. } => unreachable!("it installs nothing"),
                }
            }
        }
        assert!(answers < 1_000, "it ends");
    }
    assert!(!faults.is_empty() && faults.iter().all(|peer| *peer == 0));
    for height in 1..=300 {
        let expected = source().storage.block(height).unwrap();
        assert_eq!(storage.block(height).unwrap(), expected, "block {height}");
        for transaction in &expected.unwrap().transactions {
            let id = transaction_id(source().chain.hash(), transaction.body.as_ref().unwrap());
            assert_eq!(storage.transaction(&id).unwrap(), Some((height, 0)));
        }
    }
}

/// Fetches old blocks from one honest peer, until all are here or the disk takes no more.
#[allow(clippy::panic_in_result_fn, reason = "what it asserts is part of the test")]
fn backfill_on(disk: Arc<dyn KeyValue>, requests: &mut u64) -> Result<Storage, JoinError> {
    let storage = Storage::over(disk, &chain("test"), Retention::Blocks(50))?;
    let mut backfill = Backfill::new(chain("test"), storage.clone(), settings());
    let mut events = VecDeque::from([Event::Peer { peer: 1_u8, tip: TIP }]);
    let (mut now, mut last) = (now_ms(), None);
    while !backfill.is_done()? {
        for action in backfill.handle(events.pop_front().unwrap_or(Event::Tick), now)? {
            match action {
                Action::Request { request, message, .. } => {
                    assert!(events.is_empty(), "one at a time");
                    assert!(last.is_none_or(|at| now >= at + BACKFILL_PAUSE_MS));
                    last = Some(now);
                    *requests += 1;
                    let mut response = serve_within(&source(), &message, SEGMENT_BYTES);
                    if let Some(Answer::Blocks(blocks)) = &mut response.response {
                        // Large blocks: few fit.
                        blocks.blocks.truncate(8);
                    }
                    events.push_back(Event::Answer { request, response });
                }
                Action::WakeAt { at_ms } if events.is_empty() => now = now.max(at_ms),
                Action::WakeAt { .. } => {}
                Action::Fault { fault, .. } => panic!("{fault}"),
                Action::Installed { .. } => unreachable!("it installs nothing"),
            }
        }
    }
    Ok(storage)
}

#[test]
fn killed_at_any_write_it_goes_on_below_the_old_blocks_it_has() {
    let joined = MemoryDisk::new();
    join_on(Arc::new(joined.clone()), &[1, 2], &honest).unwrap();
    let (whole, mut all) = (joined.copy(), 0);
    let before = whole.writes();
    backfill_on(Arc::new(whole.clone()), &mut all).unwrap();
    let writes = whole.writes() - before;
    assert!(writes > 10, "{writes}");
    for power_loss in [false, true] {
        for left in 0..writes {
            let (disk, mut requests) = (joined.copy(), 0);
            let dying = Dying { disk: disk.clone(), left: AtomicU64::new(left) };
            let killed = backfill_on(Arc::new(dying), &mut requests);
            assert!(matches!(killed, Err(JoinError::Storage(_))), "killed at write {left}");
            if power_loss {
                disk.crash();
            }
            let storage = backfill_on(Arc::new(disk), &mut requests).unwrap();
            // What was written is not asked for again; only the first requests, whose answers are cut, are tried anew.
            assert!(power_loss || requests <= all + 8, "{requests} requests, {all} without a kill");
            for height in 1..=150 {
                let expected = source().storage.block(height).unwrap();
                assert_eq!(storage.block(height).unwrap(), expected, "block {height}");
                let certificate = source().storage.certificate(height).unwrap();
                assert_eq!(storage.certificate(height).unwrap(), certificate, "of {height}");
            }
        }
    }
}

#[test]
fn a_pruned_node_forgets_old_blocks_and_values_and_says_from_where_it_knows() {
    let source = source();
    let disk = MemoryDisk::new();
    let ledger = open(Arc::new(disk.clone()), Retention::Heights(20));
    for height in 1..=TIP {
        let block = source.storage.block(height).unwrap().unwrap();
        let outcome = ledger.execute(&block).unwrap();
        let certificate = source.storage.certificate(height).unwrap().unwrap();
        ledger.commit(&outcome, &block, &certificate, &[]).unwrap();
    }
    assert_eq!(ledger.storage.state_from().unwrap(), TIP - 20);
    // The replay window of 300 s, a block every 2 s, is longer than the retention.
    let from = ledger.storage.blocks_from().unwrap();
    assert_eq!(from, TIP - 150);
    for height in 1..=TIP {
        let kept = height >= from;
        assert_eq!(ledger.storage.block(height).unwrap().is_some(), kept, "block {height}");
        assert_eq!(ledger.storage.events(height).unwrap().is_some(), kept);
        assert_eq!(ledger.storage.certificate(height).unwrap().is_some(), kept);
        assert!(ledger.storage.header(height).unwrap().is_some());
    }
    for (at, device) in [(50_u64, 20_u8), (TIP - 10, 74)] {
        let (_, did) = holder(device);
        let leaf = ledger.storage.at(at).leaf(&TreeKey::did_head(&did)).unwrap();
        let expected = source.storage.at(at).leaf(&TreeKey::did_head(&did)).unwrap();
        assert!(at < TIP - 20 || leaf == expected);
    }
    // Opened again it is the same.
    assert_same_tip(&open(Arc::new(disk), Retention::Heights(20)).tip(), &source.tip());
}
