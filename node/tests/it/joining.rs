//! A new node that fetches the state over real sockets, from a peer that executed every block.

use super::support::{GENESIS_MS, LIMITS, NETWORK, VALIDATOR, build, chain, create, sign_vote};
use sillok_node::clock::Clock;
use sillok_node::join::{self, Trust};
use sillok_node::joining::{Joined, Terms, fetch_old_blocks, join};
use sillok_node::keys::SecretKey;
use sillok_node::ledger::{Environment, Ledger};
use sillok_node::members::Roster;
use sillok_node::network::{
    ListenAddress, Members, Network, NetworkConfig, NetworkEvent, NodeKey, PeerAddress,
};
use sillok_node::ordering::OrderingStatus;
use sillok_node::storage::{Retention, Storage};
use sillok_proto::v1;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);
const HEIGHTS: u64 = 21;
/// A block a minute, so that some are older than the replay window, which comes with a snapshot.
const BLOCK_MS: u64 = 60_000;
pub(crate) const OPERATOR_NODE: u8 = 4;
pub(crate) const NEW_NODE: u8 = 20;

pub(crate) fn node(seed: u8) -> NodeKey {
    NodeKey::from_bytes(&SecretKey::from_seed(&[seed; 32]).public()).unwrap()
}

/// A record at a time when the genesis may still be trusted.
fn open(path: &Path, retention: Retention) -> Arc<Ledger> {
    open_at(path, retention, Arc::new(AtomicU64::new(GENESIS_MS + HEIGHTS * BLOCK_MS + 1_000)))
}

fn open_at(path: &Path, retention: Retention, now_ms: Arc<AtomicU64>) -> Arc<Ledger> {
    let chain = chain(NETWORK);
    let storage = Storage::open(path, &chain, retention).unwrap();
    let clock = Clock::of(move || now_ms.load(Ordering::Relaxed));
    let environment = Environment { clock, ..Environment::default() };
    Arc::new(Ledger::open(chain, storage, LIMITS, environment).unwrap())
}

/// A record of so many heights, each certified by the one validator.
pub(crate) fn grown(path: &Path) -> Arc<Ledger> {
    let now_ms = Arc::new(AtomicU64::new(GENESIS_MS));
    let ledger = open_at(path, Retention::Archive, now_ms.clone());
    let genesis = *ledger.chain.hash();
    for height in 1..=HEIGHTS {
        let device = 100 + u8::try_from(height).unwrap();
        let time_ms = GENESIS_MS + height * BLOCK_MS;
        now_ms.store(time_ms, Ordering::Relaxed);
        ledger.submit(create(&genesis, device, time_ms + 60_000).1).unwrap();
        let built = build(&ledger, time_ms);
        let header_hash = built.built.outcome.hash;
        let certificate = v1::CommitCertificate {
            height,
            round: 0,
            header_hash: header_hash.to_vec(),
            signatures: vec![v1::CommitSignature {
                validator: 0,
                signature: sign_vote(VALIDATOR, &genesis, height, &header_hash),
            }],
        };
        let (outcome, block) = (&built.built.outcome, &built.built.block);
        ledger.commit(outcome, block, &certificate, &[]).unwrap();
    }
    ledger
}

pub(crate) async fn network(ledger: &Ledger, seed: u8, peers: Vec<PeerAddress>) -> Network {
    Network::start(NetworkConfig {
        key: SecretKey::from_seed(&[seed; 32]),
        genesis_hash: *ledger.chain.hash(),
        listen: vec![ListenAddress::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))],
        peers,
        members: Members {
            validators: [node(OPERATOR_NODE)].into(),
            others: [node(NEW_NODE)].into(),
            ..Members::default()
        },
        consensus_bytes_max: 4 << 20,
        transaction_bytes_max: 512 << 10,
    })
    .await
    .unwrap()
}

/// A node that executed every block and serves peers that join; counts the requests that it answered.
async fn serving(path: &Path) -> (Arc<Ledger>, PeerAddress, Arc<AtomicU64>) {
    serving_to(path, Vec::new()).await
}

async fn serving_to(
    path: &Path,
    peers: Vec<PeerAddress>,
) -> (Arc<Ledger>, PeerAddress, Arc<AtomicU64>) {
    let ledger = grown(path);
    let mut network = network(&ledger, OPERATOR_NODE, peers).await;
    let address = PeerAddress::new(network.handle.node(), network.handle.listening()[0].socket());
    let (record, answered) = (ledger.clone(), Arc::new(AtomicU64::new(0)));
    let count = answered.clone();
    tokio::spawn(async move {
        while let Some(event) = network.events.next().await {
            match event {
                NetworkEvent::PeerConnected { .. } => {
                    network.handle.announce_tip(record.tip().height()).unwrap();
                }
                NetworkEvent::SnapshotRequest { request, channel, .. } => {
                    count.fetch_add(1, Ordering::Relaxed);
                    let response = join::serve(&record, &request);
                    // Who asked may be gone.
                    let _ = network.handle.respond_snapshot(channel, response);
                }
                _ => {}
            }
        }
    });
    (ledger, address, answered)
}

fn settings() -> join::Settings {
    join::Settings { behind_min: 5, anchor_step: 4, ..join::Settings::default() }
}

/// Joins by snapshot; the height.
async fn joins(ledger: &Arc<Ledger>, network: &mut Network, trust: &Trust) -> u64 {
    let (_sender, mut stop) = watch::channel(false);
    let (shown, progress) = watch::channel(None);
    let (handle, events) = (&network.handle, &mut network.events);
    let terms = Terms { settings: &settings(), trust, seat: false };
    let joining = join(ledger, handle, events, terms, &shown, &mut stop);
    let joined = timeout(PATIENCE, joining).await.expect("it joins").unwrap();
    let Joined::At(height) = joined else { panic!("{joined:?}") };
    assert_eq!(progress.borrow().map(|progress| progress.headers_left), Some(0));
    height
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_node_has_the_state_of_a_peer_without_executing_its_blocks() {
    let (old_path, new_path) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (old, address, _) = serving(old_path.path()).await;
    let new = open(new_path.path(), Retention::Heights(1_000));
    let mut asking = network(&new, NEW_NODE, vec![address]).await;
    let height = joins(&new, &mut asking, &Trust::Genesis).await;
    assert!((4..=HEIGHTS).contains(&height), "{height}");
    let tip = new.tip();
    assert_eq!(tip.height(), height);
    let there = old.storage.header(height).unwrap().unwrap();
    assert_eq!(tip.header, there, "the very state, by its root");
}

/// `history = "blocks"`: a snapshot first, from a header told by another way; then the blocks before it, beside
/// everything else, and on where it was stopped.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_keeps_all_blocks_fetches_the_old_ones_after_its_snapshot() {
    let (old_path, new_path) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (old, address, answered) = serving(old_path.path()).await;
    let new = open(new_path.path(), Retention::Blocks(1_000));
    let mut asking = network(&new, NEW_NODE, vec![address]).await;
    let hash = sillok_ledger::header_hash(&old.storage.header(6).unwrap().unwrap());
    let height = joins(&new, &mut asking, &Trust::Checkpoint { height: 6, hash }).await;
    let lowest = new.storage.blocks_from().unwrap();
    assert!(lowest > 3 && lowest < height, "those of the replay window, from {lowest}");

    let status = OrderingStatus {
        peers: [(*node(OPERATOR_NODE).as_bytes(), HEIGHTS)].into(),
        ..OrderingStatus::default()
    };
    let (_status, peers) = watch::channel(status);
    let roster = Roster::read(&new.storage, &new.tip()).unwrap();
    assert_eq!(roster.archives, [node(OPERATOR_NODE)]);
    let (_roster, roster) = watch::channel(roster);
    let fetch = |ledger: &Arc<Ledger>, stop| {
        let (handle, settings) = (asking.handle.clone(), settings());
        fetch_old_blocks(ledger.clone(), handle, settings, peers.clone(), roster.clone(), stop)
    };
    // Told to stop before it began: nothing is lost, nothing more is asked.
    let (_stop, stopped) = watch::channel(true);
    timeout(PATIENCE, fetch(&new, stopped)).await.expect("it stops").unwrap();
    assert!(new.storage.blocks_from().unwrap() > 1);
    let (_stop, running) = watch::channel(false);
    timeout(PATIENCE, fetch(&new, running.clone())).await.expect("it ends").unwrap();
    assert_eq!(new.storage.blocks_from().unwrap(), 1);
    for height in 1..=height {
        assert_eq!(new.storage.block(height).unwrap(), old.storage.block(height).unwrap());
    }
    // Nothing is left to do, also after a restart.
    let asked = answered.load(Ordering::Relaxed);
    timeout(PATIENCE, fetch(&new, running)).await.expect("it ends").unwrap();
    assert_eq!(answered.load(Ordering::Relaxed), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_peers_stops_when_told_to_and_one_with_a_seat_goes_on() {
    for (seat, told) in [(false, true), (true, false)] {
        let path = tempfile::tempdir().unwrap();
        let ledger = open(path.path(), Retention::Heights(1_000));
        let mut alone = network(&ledger, NEW_NODE, Vec::new()).await;
        let (_stopping, mut stop) = watch::channel(told);
        let (shown, _) = watch::channel(None);
        let (handle, events) = (&alone.handle, &mut alone.events);
        let terms = Terms { settings: &settings(), trust: &Trust::Genesis, seat };
        let joining = join(&ledger, handle, events, terms, &shown, &mut stop);
        let joined = timeout(PATIENCE, joining).await.expect("it ends").unwrap();
        assert_eq!(joined, if told { Joined::Stopped } else { Joined::NotNeeded });
    }
}

/// Nobody lets a node in before it is admitted, and it may be started before that.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_seat_waits_for_its_first_peer_however_long_that_takes() {
    let (old_path, new_path) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let new = open(new_path.path(), Retention::Heights(1_000));
    let mut asking = network(&new, NEW_NODE, Vec::new()).await;
    let address = PeerAddress::new(asking.handle.node(), asking.handle.listening()[0].socket());
    let late = async {
        tokio::time::sleep(Duration::from_secs(12)).await;
        serving_to(old_path.path(), vec![address]).await
    };
    let (_, height) = tokio::join!(late, joins(&new, &mut asking, &Trust::Genesis));
    assert_eq!(new.tip().height(), height);
}
