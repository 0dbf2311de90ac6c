//! The doors over real gRPC: what is refused and how, what is late, and what a cursor finds again.

use super::support::{
    LIMITS, NETWORK, VALIDATOR, build, chain, commit, create, did, now_ms, open, other_genesis,
    point,
};
use sillok_ledger::TreeKey;
use sillok_ledger::snapshot::{Prefix, verify_subtree};
use sillok_node::api::{self, Api, Room, bucket};
use sillok_node::join::Progress;
use sillok_node::keys::SecretKey;
use sillok_node::ledger::{Environment, Ledger};
use sillok_node::members::Roster;
use sillok_node::network::{ListenAddress, Members, Network, NetworkConfig};
use sillok_node::ordering::OrderingStatus;
use sillok_node::storage::{Retention, Storage};
use sillok_proto::v1::did_resolver_client::DidResolverClient;
use sillok_proto::v1::ledger_client::LedgerClient;
use sillok_proto::v1::status_registry_client::StatusRegistryClient;
use sillok_proto::v1::transaction_state::State;
use sillok_proto::v1::trust_registry_client::TrustRegistryClient;
use sillok_proto::{Hash, encode, v1};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;

const PATIENCE: Duration = Duration::from_secs(20);

/// A node's doors, without ordering behind them.
pub(crate) struct Doors {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) writer: LedgerClient<Channel>,
    resolver: DidResolverClient<Channel>,
    pub(crate) status: StatusRegistryClient<Channel>,
    pub(crate) trust: TrustRegistryClient<Channel>,
    pub(crate) address: SocketAddr,
    pub(crate) http: SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
    serving_http: JoinHandle<()>,
    network: Network,
}

async fn doors(path: &Path) -> Doors {
    doors_of(open(path), None).await.0
}

/// Those of a node with this record, or of one that joins.
pub(crate) async fn doors_of(
    ledger: Ledger,
    joins: Option<Progress>,
) -> (Doors, watch::Sender<Option<Progress>>) {
    let ledger = Arc::new(ledger);
    let (joining_shown, joining) = watch::channel(joins);
    let network = Network::start(NetworkConfig {
        key: SecretKey::from_seed(&[4; 32]),
        genesis_hash: *ledger.chain.hash(),
        listen: vec![ListenAddress::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))],
        peers: Vec::new(),
        members: Members::default(),
        consensus_bytes_max: 4 << 20,
        transaction_bytes_max: 512 << 10,
    })
    .await
    .unwrap();
    let listener = api::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let api = Api {
        ledger: ledger.clone(),
        network: network.handle.clone(),
        ordering: watch::channel(OrderingStatus::default()).1,
        name: "test".to_owned(),
        roster: watch::channel(Roster::read(&ledger.storage, &ledger.tip()).unwrap()).1,
        joining,
        stop: stopped,
        room: Room::default(),
    };
    let http_listener = api::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let http = http_listener.local_addr().unwrap();
    let serving_http = tokio::spawn(sillok_node::http::serve(api.clone(), http_listener));
    let serving = tokio::spawn(api.serve(listener));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    let channel = channel.connect().await.unwrap();
    let doors = Doors {
        ledger,
        writer: LedgerClient::new(channel.clone()),
        resolver: DidResolverClient::new(channel.clone()),
        status: StatusRegistryClient::new(channel.clone()),
        trust: TrustRegistryClient::new(channel),
        address,
        http,
        stop,
        serving,
        serving_http,
        network,
    };
    (doors, joining_shown)
}

impl Doors {
    async fn submit(&mut self, transaction: Vec<u8>) -> Result<v1::TransactionState, Status> {
        let request = v1::SubmitRequest { transaction, wait_ms: 0, ..Default::default() };
        self.writer.submit(request).await.map(tonic::Response::into_inner)
    }

    async fn state(&mut self, id: &Hash) -> Option<State> {
        let request = v1::GetTransactionRequest { transaction_id: id.to_vec(), wait_ms: 0 };
        self.writer.get_transaction(request).await.unwrap().into_inner().state
    }

    /// The next events after a cursor, as many as asked for.
    pub(crate) async fn events(
        &mut self,
        after: Option<v1::Cursor>,
        count: usize,
    ) -> Vec<v1::Event> {
        let request = v1::SubscribeRequest { after };
        let mut stream = self.writer.subscribe(request).await.unwrap().into_inner();
        let mut events = Vec::new();
        while events.len() < count {
            let next = timeout(PATIENCE, stream.message()).await.expect("the event comes");
            events.push(next.unwrap().unwrap());
        }
        events
    }

    pub(crate) async fn close(self) {
        self.stop.send_replace(true);
        self.network.handle.stop().await;
        let _ = self.network.task.await;
        // With the last client the last connection is gone.
        drop((self.writer, self.resolver, self.status, self.trust));
        timeout(PATIENCE, self.serving).await.expect("the doors close").unwrap().unwrap();
        timeout(PATIENCE, self.serving_http).await.expect("the http door closes").unwrap();
    }
}

pub(crate) fn refusal(status: &Status) -> (Code, String) {
    let details = status.get_error_details();
    let info = details.error_info().expect("every refusal carries its code");
    assert_eq!(info.domain, "sillok.v1");
    assert!(info.metadata.contains_key("retry"), "{info:?}");
    (status.code(), info.reason.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_good_transaction_is_refused_by_name_and_leaves_no_trace() {
    let directory = tempfile::tempdir().unwrap();
    let mut doors = doors(directory.path()).await;
    let genesis = *doors.ledger.chain.hash();
    let until = now_ms() + 60_000;
    let (id, good) = create(&genesis, 9, until);
    let bytes = encode(&good);
    let changed = |change: fn(&mut v1::Transaction)| {
        let mut transaction = good.clone();
        change(&mut transaction);
        encode(&transaction)
    };
    let cases = [
        ("noise", vec![0xff; 40], Code::InvalidArgument, "MALFORMED"),
        ("nothing", Vec::new(), Code::InvalidArgument, "MISSING_PART"),
        ("truncated", bytes[..bytes.len() - 1].to_vec(), Code::InvalidArgument, "MALFORMED"),
        (
            "an unknown field",
            [bytes.as_slice(), &[0x78, 0x01]].concat(),
            Code::InvalidArgument,
            "NOT_CANONICAL",
        ),
        ("oversized", vec![0; 600 << 10], Code::ResourceExhausted, "TRANSACTION_TOO_LONG"),
        (
            "of another network",
            encode(&create(&other_genesis(), 9, until).1),
            Code::PermissionDenied,
            "BAD_SIGNATURE",
        ),
        (
            "unsigned",
            changed(|one| one.signatures.as_mut().unwrap().submitter = None),
            Code::InvalidArgument,
            "MISSING_PART",
        ),
        (
            "wrongly signed",
            changed(|one| {
                let signatures = one.signatures.as_mut().unwrap();
                signatures.submitter.as_mut().unwrap().signature[0] ^= 1;
            }),
            Code::PermissionDenied,
            "BAD_SIGNATURE",
        ),
        (
            "without proof of possession",
            changed(|one| {
                let signatures = one.signatures.as_mut().unwrap();
                signatures.operations[0] = v1::OperationSignatures::default();
            }),
            Code::PermissionDenied,
            "POSSESSION_MISSING",
        ),
        (
            "without its document",
            changed(|one| one.documents.clear()),
            Code::InvalidArgument,
            "MISSING_DOCUMENT",
        ),
        (
            "too late",
            encode(&create(&genesis, 9, now_ms() - 1_000).1),
            Code::FailedPrecondition,
            "EXPIRED",
        ),
        (
            "too far ahead",
            encode(&create(&genesis, 9, now_ms() + 3_600_000).1),
            Code::FailedPrecondition,
            "VALID_UNTIL_TOO_FAR",
        ),
    ];
    for (what, bytes, code, reason) in cases {
        let refused = doors.submit(bytes).await.unwrap_err();
        assert_eq!(refusal(&refused), (code, reason.to_owned()), "{what}: {refused:?}");
    }
    assert!(doors.ledger.mempool().is_empty());
    assert_eq!(doors.ledger.storage.refusal(&id).unwrap(), None);
    assert!(matches!(doors.state(&id).await, Some(State::Unknown(_))));

    // The same id, rightly signed, is taken; sent again it is its state and no error (C3).
    for _ in 0..2 {
        let state = doors.submit(bytes.clone()).await.unwrap();
        assert!(matches!(state.state, Some(State::Pending(_))), "{state:?}");
    }
    let built = build(&doors.ledger, now_ms());
    commit(&doors.ledger, &built);
    let state = doors.submit(bytes).await.unwrap();
    assert!(matches!(state.state, Some(State::Committed(_))), "a replay: {state:?}");
    assert_eq!((state.height, doors.ledger.tip().height()), (1, 1));
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d8_what_is_late_is_stale_and_never_not_found() {
    let directory = tempfile::tempdir().unwrap();
    let mut doors = doors(directory.path()).await;
    let built = build(&doors.ledger, now_ms());
    commit(&doors.ledger, &built);
    let request =
        v1::ResolveRequest { did: did(9), min_height: u64::MAX, ..v1::ResolveRequest::default() };
    let start = Instant::now();
    let stale = doors.resolver.resolve(request).await.unwrap_err();
    assert_eq!(refusal(&stale), (Code::Unavailable, "STALE".to_owned()));
    assert!(start.elapsed() < PATIENCE, "however high the height");

    let stale = doors.writer.get_block(v1::GetBlockRequest { height: 2 }).await.unwrap_err();
    assert_eq!(refusal(&stale), (Code::Unavailable, "STALE".to_owned()));
    let after = Some(v1::Cursor { height: 9, transaction: 0, operation: 0 });
    let stale = doors.writer.subscribe(v1::SubscribeRequest { after }).await.unwrap_err();
    assert_eq!(refusal(&stale), (Code::Unavailable, "STALE".to_owned()));

    // What is absent at the tip is an answer with a proof, and no error.
    let request = v1::ResolveRequest { did: did(9), ..v1::ResolveRequest::default() };
    let absent = doors.resolver.resolve(request).await.unwrap().into_inner();
    assert!(absent.heads.is_empty() && !absent.proof.unwrap().entries[0].present);
    assert!(did(9).starts_with(&format!("did:sillok:{NETWORK}:")));
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c3_a_transaction_is_unknown_pending_or_expired_and_says_which() {
    let directory = tempfile::tempdir().unwrap();
    let mut doors = doors(directory.path()).await;
    assert!(matches!(doors.state(&Hash([7; 32])).await, Some(State::Unknown(_))));
    let request = v1::GetTransactionRequest { transaction_id: vec![7; 31], wait_ms: 0 };
    let refused = doors.writer.get_transaction(request).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::InvalidArgument, "INVALID_TRANSACTION_ID".to_owned()));

    let until = now_ms() + 60_000;
    let (id, transaction) = create(doors.ledger.chain.hash(), 9, until);
    doors.submit(encode(&transaction)).await.unwrap();
    assert!(matches!(doors.state(&id).await, Some(State::Pending(_))));
    // Who waits is told when ledger time passes it, also by a block that came without it.
    let request = v1::GetTransactionRequest { transaction_id: id.to_vec(), wait_ms: u32::MAX };
    let mut writer = doors.writer.clone();
    let waiting = tokio::spawn(async move { writer.get_transaction(request).await });
    let empty = build(&doors.ledger, until + 1);
    assert!(empty.built.block.transactions.is_empty());
    commit(&doors.ledger, &empty);
    let state = timeout(PATIENCE, waiting).await.expect("it does not wait for the next block");
    let state = state.unwrap().unwrap().into_inner();
    assert!(matches!(state.state, Some(State::Expired(_))), "{state:?}");
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_finds_the_same_events_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = doors(directory.path()).await;
    for devices in [vec![10, 11, 12], vec![], vec![13]] {
        for device in devices {
            let (_, transaction) = create(first.ledger.chain.hash(), device, now_ms() + 60_000);
            first.submit(encode(&transaction)).await.unwrap();
        }
        let built = build(&first.ledger, now_ms().max(first.ledger.tip().header.time_ms + 1));
        commit(&first.ledger, &built);
    }
    let start = Some(v1::Cursor::default());
    // Four registrations and the ends of three blocks.
    let before = first.events(start, 7).await;
    let positions: Vec<_> = before
        .iter()
        .map(|event| event.cursor.unwrap())
        .map(|c| (c.height, c.transaction))
        .collect();
    assert_eq!(
        positions,
        [(1, 0), (1, 1), (1, 2), (1, u32::MAX), (2, u32::MAX), (3, 0), (3, u32::MAX)]
    );
    first.close().await;

    let mut second = doors(directory.path()).await;
    assert_eq!(second.events(start, 7).await, before);
    for (nth, event) in before.iter().enumerate().take(6) {
        assert_eq!(second.events(event.cursor, 6 - nth).await, before[nth + 1..]);
    }
    second.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doors_close_on_a_subscriber_that_does_not_read_and_a_caller_that_waits() {
    let directory = tempfile::tempdir().unwrap();
    let mut doors = doors(directory.path()).await;
    for _ in 0..400 {
        let built = build(&doors.ledger, doors.ledger.tip().header.time_ms + 1);
        commit(&doors.ledger, &built);
    }
    let after = Some(v1::Cursor::default());
    let stream = doors.writer.subscribe(v1::SubscribeRequest { after }).await.unwrap();
    let request = v1::GetTransactionRequest { transaction_id: vec![7; 32], wait_ms: u32::MAX };
    let mut writer = doors.writer.clone();
    let waiting = tokio::spawn(async move { writer.get_transaction(request).await });
    while doors.writer.get_status(v1::GetStatusRequest {}).await.is_err() {}
    let start = Instant::now();
    let _ = doors.stop.send(true);
    assert!(timeout(PATIENCE, waiting).await.is_ok(), "who waits is answered");
    drop(stream);
    doors.close().await;
    assert!(start.elapsed() < PATIENCE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_connections_of_one_stranger_leave_room_for_another() {
    let directory = tempfile::tempdir().unwrap();
    let mut doors = doors(directory.path()).await;
    let mut held = Vec::new();
    for _ in 0..1_000 {
        held.extend(tokio::net::TcpStream::connect(doors.address).await);
    }
    // Who was connected is served; the stranger's share is not all there is.
    doors.writer.get_status(v1::GetStatusRequest {}).await.unwrap();
    // From another address: the HTTP/2 preface and empty settings are answered by settings.
    let elsewhere = tokio::net::TcpSocket::new_v4().unwrap();
    elsewhere.bind(SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
    let mut other = timeout(PATIENCE, elsewhere.connect(doors.address)).await.unwrap().unwrap();
    let hello = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &[0, 0, 0, 4, 0, 0, 0, 0, 0]];
    other.write_all(&hello.concat()).await.unwrap();
    let mut frame = [0; 9];
    timeout(PATIENCE, other.read_exact(&mut frame)).await.expect("it is served").unwrap();
    assert_eq!(frame[3], 4, "settings");
    drop((held, other));
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_told_with_proof_and_followed_by_sets_and_events() {
    let directory = tempfile::tempdir().unwrap();
    let mut doors = doors(directory.path()).await;
    super::members::with_changes(&doors.ledger);
    let tip = doors.ledger.tip();
    let (old, new) = (point(VALIDATOR), point(30));

    // One proof: the leaf of members, then each record that it names.
    let request = v1::GetMembersRequest { min_height: 4, proposal_hashes: vec![vec![9; 32]] };
    let proof = doors.writer.get_members(request).await.unwrap().into_inner().proof.unwrap();
    let root = Hash::from_slice(&tip.header.state_root).unwrap();
    for entry in &proof.entries {
        sillok_ledger::proof::verify_entry(&root, entry).unwrap();
    }
    let present: Vec<bool> = proof.entries.iter().map(|entry| entry.present).collect();
    assert_eq!(present, [true, true, true, false], "members, operator, observer, no proposal");
    let members: v1::Members = sillok_proto::decode(&proof.entries[0].value, 1 << 20).unwrap();
    assert_eq!(members.validators.unwrap().validators[0].public_key, new);
    let record: v1::OperatorRecord =
        sillok_proto::decode(&proof.entries[1].value, 1 << 20).unwrap();
    assert_eq!((record.operator.unwrap().validator_key, record.pending), (new.clone(), None));

    // The set of each height, and the light block at which it changes.
    for (height, key) in [(1, &old), (4, &old), (5, &new), (6, &new)] {
        let request = v1::GetValidatorsRequest { height };
        let set = doors.writer.get_validators(request).await.unwrap().into_inner().validators;
        assert_eq!(&set.unwrap().validators[0].public_key, key, "height {height}");
    }
    let request = v1::GetTrustBundleRequest { from_height: 1 };
    let bundle = doors.writer.get_trust_bundle(request).await.unwrap().into_inner();
    let [only] = bundle.light_blocks.as_slice() else { panic!("{bundle:?}") };
    assert_eq!(only.next_validators.as_ref().unwrap().validators[0].public_key, new);

    // What was done stands at the place of its operation.
    use v1::event::Event as Kind;
    use v1::operation::Operation;
    let events = doors.events(Some(v1::Cursor::default()), 7).await;
    let done: Vec<&str> = events
        .iter()
        .map(|event| match event.event.as_ref().unwrap() {
            Kind::Governance(event) => match event.operation.as_ref().unwrap().operation {
                Some(Operation::Propose(_)) if event.proposal_hash.len() == 32 => "propose",
                Some(Operation::Rekey(_)) => "rekey",
                Some(Operation::Join(_)) => "join",
                _ => "another",
            },
            Kind::Block(block) if block.new_validators.is_some() => "block that changes the set",
            Kind::Block(_) => "block",
            Kind::Did(_) => "did",
            Kind::Trust(_) | Kind::Status(_) => "another",
        })
        .collect();
    assert_eq!(
        done,
        ["propose", "block", "rekey", "block", "join", "block that changes the set", "block"]
    );
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a25_evidence_is_told_in_whole_heights_page_by_page() {
    let directory = tempfile::tempdir().unwrap();
    let mut doors = doors(directory.path()).await;
    let vote = |height, hash: u8| v1::SignedVote {
        statement: Some(v1::VoteStatement { height, round: 0, header_hash: vec![hash; 32] }),
        validator: point(VALIDATOR),
        ..Default::default()
    };
    let evidence = |height| v1::Evidence {
        evidence: Some(v1::evidence::Evidence::Votes(v1::VotePair {
            first: Some(vote(height, 1)),
            second: Some(vote(height, 2)),
        })),
    };
    for (height, count) in [(1, 2), (2, 0), (3, 3)] {
        let built = build(&doors.ledger, now_ms().max(doors.ledger.tip().header.time_ms + 1));
        let certificate = v1::CommitCertificate { height, ..Default::default() };
        let pieces = vec![evidence(height); count];
        let (outcome, block) = (&built.built.outcome, &built.built.block);
        doors.ledger.commit(outcome, block, &certificate, &pieces).unwrap();
    }
    let mut pages = Vec::new();
    let mut from_height = 0;
    loop {
        let request = v1::GetEvidenceRequest { from_height, count: 1 };
        let page = doors.writer.get_evidence(request).await.unwrap().into_inner();
        if page.evidence.is_empty() {
            break;
        }
        assert!(page.evidence.iter().all(|piece| piece.validator == point(VALIDATOR)));
        pages.push(page.evidence.iter().map(|piece| piece.height).collect::<Vec<_>>());
        from_height = page.next_height;
        if from_height == 0 {
            break;
        }
    }
    assert_eq!(pages, [vec![1, 1], vec![3, 3, 3]]);
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_says_how_far_it_is_and_answers_once_it_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let (mut doors, shown) = doors_of(open(directory.path()), Some(Progress::default())).await;
    let asked = |doors: &mut Doors| {
        let (mut writer, mut resolver) = (doors.writer.clone(), doors.resolver.clone());
        async move {
            let resolve = v1::ResolveRequest { did: did(9), ..v1::ResolveRequest::default() };
            let _ = refusal(&resolver.resolve(resolve).await.unwrap_err());
            writer.get_status(v1::GetStatusRequest {}).await
        }
    };
    let status = asked(&mut doors).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::Unavailable, "JOINING".to_owned()));
    assert!(status.message().contains("looks for peers"), "{}", status.message());
    shown.send_replace(Some(Progress { height: 300, headers_left: 70, segments_left: 16 }));
    let status = asked(&mut doors).await.unwrap_err();
    let details = status.get_error_details();
    let metadata = &details.error_info().unwrap().metadata;
    assert_eq!((metadata["height"].as_str(), metadata["headers_left"].as_str()), ("300", "70"));
    assert_eq!(metadata["retry"], "LATER");
    shown.send_replace(None);
    assert_eq!(asked(&mut doors).await.unwrap().into_inner().height, 0);
    drop(shown);
    doors.close().await;
}

/// The bucket of a DID with 256 bits of its key, as a client asks that does not know how wide buckets are.
fn bucket_of(device: u8, k: u32) -> v1::ResolveBucketRequest {
    let did = sillok_did_method::Did::parse(&did(device)).unwrap();
    let prefix = TreeKey::did_head(&did.digest()).to_vec();
    v1::ResolveBucketRequest { prefix, prefix_bits: 256, k, min_height: 0 }
}

#[tokio::test(flavor = "multi_thread")]
async fn b1_a_bucket_is_as_wide_as_it_must_be_and_whole() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path());
    let genesis = *ledger.chain.hash();
    for device in 20..50 {
        ledger.submit(create(&genesis, device, now_ms() + 60_000).1).unwrap();
    }
    let refused = bucket::serve(&ledger, &bucket_of(20, 8)).unwrap_err();
    assert_eq!(refusal(&refused), (Code::Unavailable, "STALE".to_owned()));
    commit(&ledger, &build(&ledger, now_ms()));
    let root = Hash::from_slice(&ledger.tip().header.state_root).unwrap();
    let (mut doors, _shown) = doors_of(ledger, None).await;
    for device in 20..50 {
        let asked = bucket_of(device, 8);
        let answer = doors.resolver.resolve_bucket(asked.clone()).await.unwrap().into_inner();
        let subtree = answer.subtree.unwrap();
        let prefix = Prefix::read(&subtree.prefix, subtree.prefix_bits).unwrap();
        let leaves = verify_subtree(&root, &prefix, &subtree).unwrap();
        assert!(leaves.iter().any(|(key, _)| key.0.as_slice() == asked.prefix));
        // One bit more and there would be fewer than eight.
        let narrower = Prefix::of(&TreeKey::from_slice(&asked.prefix).unwrap(), prefix.bits() + 1);
        let within = leaves.iter().filter(|(key, _)| narrower.contains(key)).count();
        assert!(leaves.len() >= 8 && within < 8, "{} and {within}", leaves.len());
        assert_eq!(answer.documents.len(), leaves.len());
    }
    // More than there are: all of them, 30 and the organization.
    let all = doors.resolver.resolve_bucket(bucket_of(20, 2_048)).await.unwrap().into_inner();
    let subtree = all.subtree.unwrap();
    assert_eq!((subtree.prefix_bits, subtree.leaves.len()), (4, 31));
    let wrong = v1::ResolveBucketRequest { prefix_bits: 3, prefix: vec![0], ..bucket_of(20, 8) };
    let refused = doors.resolver.resolve_bucket(wrong).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::InvalidArgument, "INVALID_BUCKET".to_owned()));
    let ahead = v1::ResolveBucketRequest { min_height: 9, ..bucket_of(20, 8) };
    let refused = doors.resolver.resolve_bucket(ahead).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::Unavailable, "STALE".to_owned()));

    // One that is too large says how many bits one has that fits.
    let refused = bucket::serve_within(&doors.ledger, &bucket_of(20, 2_048), 4_000).unwrap_err();
    assert_eq!(refusal(&refused), (Code::ResourceExhausted, "BUCKET_TOO_LARGE".to_owned()));
    let details = refused.get_error_details();
    let bits: u32 = details.error_info().unwrap().metadata["prefix_bits"].parse().unwrap();
    let prefix = Prefix::of(&TreeKey::from_slice(&bucket_of(20, 1).prefix).unwrap(), bits);
    let prefix_bits = prefix.bits();
    let fits =
        v1::ResolveBucketRequest { prefix: prefix.to_vec(), prefix_bits, ..bucket_of(20, 1) };
    assert!(bucket::serve_within(&doors.ledger, &fits, 4_000).is_ok(), "{bits} bits");
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_pruned_is_said_to_be_pruned_and_where_to_ask() {
    let directory = tempfile::tempdir().unwrap();
    let chain = chain(NETWORK);
    let storage = Storage::open(directory.path(), &chain, Retention::Heights(2)).unwrap();
    let ledger = Ledger::open(chain, storage, LIMITS, Environment::default()).unwrap();
    let genesis = *ledger.chain.hash();
    let (old, transaction) = create(&genesis, 9, now_ms() + 60_000);
    ledger.submit(transaction).unwrap();
    // Past the window in which a transaction is remembered, a block is kept for the last heights only.
    for nth in 0..4 {
        commit(&ledger, &build(&ledger, now_ms() + nth * 400_000));
    }
    let earliest = ledger.storage.blocks_from().unwrap();
    assert!(earliest > 1, "{earliest}");
    let (mut doors, _shown) = doors_of(ledger, None).await;
    let status = doors.writer.get_status(v1::GetStatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.earliest_block, earliest);
    let asked = v1::GetBlockRequest { height: 1 };
    let refused = doors.writer.get_block(asked).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::OutOfRange, "HISTORY_PRUNED".to_owned()));
    let details = refused.get_error_details();
    let metadata = &details.error_info().unwrap().metadata;
    assert_eq!(metadata["archives"], hex::encode(point(4)), "the node of the one archive");
    assert_eq!(metadata["height"], "1");
    // What is kept is served, and events from before it are not passed over in silence.
    let kept = v1::GetBlockRequest { height: earliest };
    assert!(doors.writer.get_block(kept).await.is_ok());
    let after = Some(v1::Cursor { height: 1, transaction: 0, operation: 0 });
    let mut stream =
        doors.writer.subscribe(v1::SubscribeRequest { after }).await.unwrap().into_inner();
    let refused = stream.message().await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::OutOfRange, "HISTORY_PRUNED".to_owned()));
    let state = doors.state(&old).await;
    assert!(matches!(state, Some(State::Unknown(_))), "{state:?}");
    drop(stream);
    doors.close().await;
}
