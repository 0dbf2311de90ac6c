//! The ordering thread of a running node over real sockets: whom it listens to, and whom it serves.

use super::joining::{NEW_NODE, OPERATOR_NODE, grown, network, node};
use super::support::{VALIDATOR, point};
use bytes::Bytes;
use prost::Message;
use sillok_consensus::{Ed25519, HostConfig};
use sillok_node::ledger::Ledger;
use sillok_node::network::{Network, NetworkEvent, NetworkHandle, PeerAddress};
use sillok_node::ordering::{Ordering, OrderingStatus};
use sillok_node::validator_key::{Found, ValidatorKeys};
use sillok_proto::v1;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(30);

/// An observer's ordering on its own thread, as a node runs it.
struct Running {
    status: watch::Receiver<OrderingStatus>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Running {
    fn start(ledger: &Arc<Ledger>, network: Network, path: &Path) -> Self {
        let genesis_hash = *ledger.chain.hash();
        let keys = ValidatorKeys::new(&path.join("validator"), genesis_hash);
        let config = HostConfig::new(genesis_hash, Arc::new(Ed25519));
        let (shown, status) = watch::channel(OrderingStatus::default());
        let (ledger, handle) = (ledger.clone(), network.handle);
        let ordering = Ordering::start(ledger, handle, config, keys, Found::None, shown).unwrap();
        let (stop, stopped) = watch::channel(false);
        let (runtime, events) = (Handle::current(), network.events);
        let thread = std::thread::spawn(move || {
            runtime.block_on(ordering.run(events, stopped)).unwrap();
        });
        Self { status, stop, thread }
    }

    fn stop(self) {
        self.stop.send(true).unwrap();
        self.thread.join().unwrap();
    }
}

async fn is_connected(network: &mut Network) {
    let connected = async {
        while !matches!(network.events.next().await, Some(NetworkEvent::PeerConnected { .. })) {}
    };
    timeout(PATIENCE, connected).await.expect("they connect");
}

fn address(handle: &NetworkHandle) -> PeerAddress {
    PeerAddress::new(handle.node(), handle.listening()[0].socket())
}

/// A vote that has the form of one, in the name of a validator, which did not sign it.
fn forged(height: u64, round: u32) -> Bytes {
    let vote = v1::SignedVote {
        r#type: v1::VoteType::Prevote.into(),
        statement: Some(v1::VoteStatement { height, round, header_hash: vec![7; 32] }),
        validator: point(VALIDATOR),
        signature: vec![9; 64],
    };
    let message = Some(v1::consensus_message::Message::Vote(vote));
    v1::ConsensusMessage { message }.encode_to_vec().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_hands_on_forged_votes_is_not_listened_to_for_a_while() {
    let path = tempfile::tempdir().unwrap();
    let ledger = grown(path.path());
    let liar = network(&ledger, OPERATOR_NODE, Vec::new()).await;
    let ours = network(&ledger, NEW_NODE, vec![address(&liar.handle)]).await;
    let handle = ours.handle.clone();
    let running = Running::start(&ledger, ours, path.path());
    let next = ledger.tip().height() + 1;
    let flood = async {
        for round in 0.. {
            if !handle.banned().is_empty() {
                return round;
            }
            let _ = liar.handle.broadcast_consensus(forged(next, round % 8));
            sleep(Duration::from_millis(20)).await;
        }
        0
    };
    timeout(PATIENCE, flood).await.expect("it is banned");
    assert_eq!(handle.banned()[0].node, node(OPERATOR_NODE));
    assert_eq!(handle.counters().bans, 1);
    assert!(handle.counters().faults >= 5, "{:?}", handle.counters());
    running.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_while_it_is_being_served_is_told_so_and_not_left_without_an_answer() {
    let path = tempfile::tempdir().unwrap();
    let ledger = grown(path.path());
    let tip = ledger.tip().height();
    let mut asking = network(&ledger, OPERATOR_NODE, Vec::new()).await;
    let ours = network(&ledger, NEW_NODE, vec![address(&asking.handle)]).await;
    let running = Running::start(&ledger, ours, path.path());
    is_connected(&mut asking).await;
    let (mut served, mut busy) = (0, 0);
    for _ in 0..50 {
        let questions: Vec<_> = (0..4)
            .map(|_| {
                let handle = asking.handle.clone();
                let request = v1::SyncRequest { from_height: 1, blocks_max: 64 };
                tokio::spawn(async move { handle.request_blocks(node(NEW_NODE), request).await })
            })
            .collect();
        for question in questions {
            let answer = question.await.unwrap().expect("an answer");
            assert_eq!(answer.tip, tip);
            if answer.blocks.is_empty() { busy += 1 } else { served += 1 }
        }
    }
    assert!(served >= 50 && busy > 0, "{served} served, {busy} times busy");
    running.stop();
}

/// Joining by snapshot comes first, and hears of the connections.
#[tokio::test(flavor = "multi_thread")]
async fn who_connected_before_ordering_began_is_heard() {
    let path = tempfile::tempdir().unwrap();
    let ledger = grown(path.path());
    let peer = network(&ledger, OPERATOR_NODE, Vec::new()).await;
    let mut ours = network(&ledger, NEW_NODE, vec![address(&peer.handle)]).await;
    is_connected(&mut ours).await;
    let running = Running::start(&ledger, ours, path.path());
    let heard = async {
        while running.status.borrow().best_peer_height != 1_000 {
            let _ = peer.handle.announce_tip(1_000);
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, heard).await.expect("its tip is heard");
    running.stop();
}
