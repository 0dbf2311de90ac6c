//! A new node that fetches the state over real sockets, from a peer that executed every block.

use super::support::{GENESIS_MS, LIMITS, NETWORK, VALIDATOR, build, chain, create, sign_vote};
use sillok_node::clock::Clock;
use sillok_node::join;
use sillok_node::joining::{Joined, join};
use sillok_node::keys::SecretKey;
use sillok_node::ledger::{Environment, Ledger};
use sillok_node::network::{
    ListenAddress, Members, Network, NetworkConfig, NetworkEvent, NodeKey, PeerAddress,
};
use sillok_node::storage::{Retention, Storage};
use sillok_proto::v1;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);
const HEIGHTS: u64 = 21;
const OPERATOR_NODE: u8 = 4;
const NEW_NODE: u8 = 20;

fn node(seed: u8) -> NodeKey {
    NodeKey::from_bytes(&SecretKey::from_seed(&[seed; 32]).public()).unwrap()
}

/// A record at a time when the genesis may still be trusted.
fn open(path: &Path, retention: Retention) -> Arc<Ledger> {
    let chain = chain(NETWORK);
    let storage = Storage::open(path, &chain, retention).unwrap();
    let clock = Clock::of(|| GENESIS_MS + HEIGHTS * 1_000 + 1_000);
    let environment = Environment { clock, ..Environment::default() };
    Arc::new(Ledger::open(chain, storage, LIMITS, environment).unwrap())
}

/// A record of so many heights, each certified by the one validator.
fn grown(path: &Path) -> Arc<Ledger> {
    let ledger = open(path, Retention::Archive);
    let genesis = *ledger.chain.hash();
    let until = GENESIS_MS + HEIGHTS * 1_000 + 60_000;
    for height in 1..=HEIGHTS {
        let device = 100 + u8::try_from(height).unwrap();
        ledger.submit(create(&genesis, device, until).1).unwrap();
        let built = build(&ledger, GENESIS_MS + height * 1_000);
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

async fn network(ledger: &Ledger, seed: u8, peers: Vec<PeerAddress>) -> Network {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_new_node_has_the_state_of_a_peer_without_executing_its_blocks() {
    let (old_path, new_path) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let old = grown(old_path.path());
    let mut served = network(&old, OPERATOR_NODE, Vec::new()).await;
    let address = PeerAddress::new(served.handle.node(), served.handle.listening()[0].socket());
    let serving = old.clone();
    tokio::spawn(async move {
        while let Some(event) = served.events.next().await {
            match event {
                NetworkEvent::PeerConnected { .. } => {
                    served.handle.announce_tip(serving.tip().height()).unwrap();
                }
                NetworkEvent::SnapshotRequest { request, channel, .. } => {
                    let response = join::serve(&serving, &request);
                    served.handle.respond_snapshot(channel, response).unwrap();
                }
                _ => {}
            }
        }
    });

    let new = open(new_path.path(), Retention::Heights(1_000));
    let mut asking = network(&new, NEW_NODE, vec![address]).await;
    let settings = join::Settings { behind_min: 5, anchor_step: 4, ..join::Settings::default() };
    let (_sender, mut stop) = watch::channel(false);
    let joining = join(&new, &asking.handle, &mut asking.events, settings, &mut stop);
    let joined = timeout(PATIENCE, joining).await.expect("it joins").unwrap();
    let Joined::At(height) = joined else { panic!("{joined:?}") };
    assert!((4..=HEIGHTS).contains(&height), "{height}");
    let tip = new.tip();
    assert_eq!(tip.height(), height);
    let there = old.storage.header(height).unwrap().unwrap();
    assert_eq!(tip.header, there, "the very state, by its root");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_not_far_ahead_is_followed_by_blocks() {
    let path = tempfile::tempdir().unwrap();
    let ledger = open(path.path(), Retention::Heights(1_000));
    let mut alone = network(&ledger, NEW_NODE, Vec::new()).await;
    let (stopping, mut stop) = watch::channel(false);
    stopping.send(true).unwrap();
    let settings = join::Settings::default();
    let joining = join(&ledger, &alone.handle, &mut alone.events, settings, &mut stop);
    let joined = timeout(PATIENCE, joining).await.expect("it is told to stop").unwrap();
    assert_eq!(joined, Joined::Stopped);
}
