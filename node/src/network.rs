//! The node among its peers: one libp2p swarm, one port, one identity (its node key).
//!
//! This module and those below it are the only ones that know libp2p. What passes through is bytes: nothing is
//! decoded here but the frames of gossip and the messages of block sync, and nothing is believed but which member's
//! connection it came over. What a message is worth is for the consensus host and the mempool to find out.
//!
//! ```text
//!   NetworkHandle ── commands (bounded) ──▶ Task (the swarm) ◀── TCP + Noise + Yamux ──▶ members
//!   NetworkEvents ◀── peers, consensus, tips, requests ──┤
//!   Transactions  ◀── transactions ──────────────────────┘
//! ```
//!
//! What always holds:
//! - Who is not a member is disconnected at once, and is served nothing (PROTOCOL II.5). See [`Members`].
//! - Consensus messages come over connections of validators' nodes only. Gossip tells us the peer whose connection, proved
//!   by its node key, carried the frame (`propagation_source`), and that is all it can tell: who wrote the message is
//!   known by the validator's signature in it. A validator's message that did not reach us directly reaches us through
//!   another validator, which keeps for others only what its own host found good ([`NetworkHandle::judge`]); observers
//!   keep nothing for others, since nobody would take it from them. So every hander is a validator that has checked what
//!   it hands over, and a fault in it is the hander's. Everybody hears: each message goes from its author to all that
//!   listen, members that do not vote included.
//! - A peer that makes faults, or floods, is banned for a while: see `conduct`.
//! - Every queue is bounded, for each peer apart, and a full one drops: transactions have their own, so they never
//!   displace a vote. Drops are counted ([`Counters`]), not logged: strangers must not fill our disk.
//! - A peer's fault is `debug!`.

mod address;
mod behaviour;
mod conduct;
mod dialing;
mod gate;
mod inbox;
mod sync_codec;
mod task;

pub use address::{AddressError, ListenAddress, NodeKey, PeerAddress};

use crate::keys::SecretKey;
use bytes::Bytes;
use libp2p::gossipsub::MessageId;
use libp2p::identity;
use libp2p::request_response::ResponseChannel;
use prost::Message;
use sillok_proto::Hash;
use sillok_proto::v1::{SnapshotRequest, SnapshotResponse, SyncRequest, SyncResponse};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Longest answer to a request for blocks, in bytes. Answer with as many blocks as fit, and one at least.
pub const SYNC_RESPONSE_BYTES_MAX: usize = sync_codec::RESPONSE_BYTES_MAX;
/// Commands that wait for the network task; it is far behind when this many do.
const COMMANDS_MAX: usize = 1024;

/// What the network needs to know.
#[derive(Debug)]
pub struct NetworkConfig {
    /// This node's identity.
    pub key: SecretKey,
    /// Which network: gossip and block sync of others are not understood.
    pub genesis_hash: Hash,
    /// Where to listen; port 0 takes any free one.
    pub listen: Vec<ListenAddress>,
    /// Peers to dial, for ever. Those that are no members (yet) are left alone; see [`Members::stale`].
    pub peers: Vec<PeerAddress>,
    /// Who may be connected.
    pub members: Members,
    /// Longest consensus message, in bytes: a block and the proposal around it.
    pub consensus_bytes_max: usize,
    /// Longest transaction, in bytes.
    pub transaction_bytes_max: usize,
}

/// Who may be connected, by node key, and what for (PROTOCOL II.5). Our own key in it does no harm.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// Nodes of current and next validators: their consensus messages are taken.
    pub validators: BTreeSet<NodeKey>,
    /// Operators that may join and admitted observers: they hear everything, send transactions, and are served blocks
    /// and snapshots.
    pub others: BTreeSet<NodeKey>,
    /// Validators that have just left, and the last height they voted at: they are served blocks up to it, so that they
    /// learn that it was their last, and hear nothing more.
    pub leaving: BTreeMap<NodeKey, u64>,
    /// The record is too old to know who is a member now: a new node's, or one's that was away for long. Then the peers
    /// that the operator configured may be asked for blocks too; they are sent and served nothing. It is how a node finds
    /// its way back when all members it knows of are gone.
    pub stale: bool,
}

/// Why the network could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The address is taken, or not one of this machine.
    #[error(
        "cannot listen on {address}: {reason}; change `network.listen`, or stop what uses the port"
    )]
    Listen {
        /// The address from the configuration.
        address: ListenAddress,
        /// What the system said.
        reason: String,
    },
    /// libp2p refused its settings.
    #[error(
        "the network cannot be set up: {reason}; this is a fault of the program, please report it"
    )]
    Setup {
        /// What libp2p said.
        reason: String,
    },
}

/// Why a message was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// Peers would refuse it.
    #[error("the message has {len} bytes and peers take at most {max}; make it smaller")]
    TooLong {
        /// Its length, in bytes.
        len: usize,
        /// Longest length, in bytes.
        max: usize,
    },
    /// The network task is far behind.
    #[error("too much is waiting to be sent; try again when the network has caught up")]
    Busy,
    /// The network task has ended.
    #[error("the network has stopped; restart the node")]
    Stopped,
}

/// Why a peer gave no blocks, or no part of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// There is no connection to that peer.
    #[error("peer {peer} is not connected; ask another")]
    NotConnected {
        /// The peer asked.
        peer: NodeKey,
    },
    /// The peer took too long, hung up, or sent what is no answer.
    #[error("peer {peer} gave no answer ({reason}); ask another")]
    NoAnswer {
        /// The peer asked.
        peer: NodeKey,
        /// What happened.
        reason: String,
    },
    /// The request could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// What happened on the network, in the order of its urgency.
#[derive(Debug)]
#[non_exhaustive]
pub enum NetworkEvent {
    /// A peer is connected and listens to gossip: what is broadcast from now on reaches it. What was broadcast
    /// before it may have missed.
    PeerConnected {
        /// The peer.
        peer: NodeKey,
    },
    /// The last connection to a peer is gone.
    PeerDisconnected {
        /// The peer.
        peer: NodeKey,
    },
    /// A vote, proposal or certificate, as bytes nobody has looked at yet.
    Consensus {
        /// Who handed it to us; not always its author.
        peer: NodeKey,
        /// An encoded `ConsensusMessage`.
        bytes: Bytes,
        /// Names it in [`NetworkHandle::judge`].
        id: GossipId,
    },
    /// A peer's highest block.
    Tip {
        /// The peer.
        peer: NodeKey,
        /// What it says.
        height: u64,
    },
    /// A peer asks for blocks: answer with [`NetworkHandle::respond`], or drop the channel to refuse.
    SyncRequest {
        /// The peer.
        peer: NodeKey,
        /// What it asks for.
        request: SyncRequest,
        /// Whether it is a validator's node.
        validator: bool,
        /// Where the answer goes.
        channel: SyncChannel,
    },
    /// A member asks for a part of a snapshot: answer with [`NetworkHandle::respond_snapshot`], or drop the channel to
    /// refuse.
    SnapshotRequest {
        /// The peer.
        peer: NodeKey,
        /// What it asks for.
        request: SnapshotRequest,
        /// Where the answer goes.
        channel: SnapshotChannel,
    },
}

/// The name of a vote, proposal, certificate or transaction that a peer gossiped.
#[derive(Debug, Clone)]
pub struct GossipId {
    topic: behaviour::Topic,
    id: MessageId,
}

/// A transaction that a peer gossiped, as bytes nobody has looked at yet.
#[derive(Debug, Clone)]
pub struct ReceivedTransaction {
    /// Who handed it to us.
    pub peer: NodeKey,
    /// An encoded `Transaction`.
    pub bytes: Bytes,
    /// Names it in [`NetworkHandle::judge`].
    pub id: GossipId,
}

/// Where the answer to one request for blocks goes.
#[derive(Debug)]
pub struct SyncChannel(ResponseChannel<SyncResponse>);

/// Where the answer to one request for a part of a snapshot goes.
#[derive(Debug)]
pub struct SnapshotChannel(ResponseChannel<SnapshotResponse>);

/// A started network. The task ends when it is stopped, or all handles are dropped, and both receivers end with it.
#[derive(Debug)]
pub struct Network {
    /// What is sent goes in here.
    pub handle: NetworkHandle,
    /// Everything received but transactions.
    pub events: NetworkEvents,
    /// Transactions received.
    pub transactions: Transactions,
    /// The swarm's task. That it ends by a panic is for the node to notice.
    pub task: JoinHandle<()>,
}

impl Network {
    /// Starts listening and dialing on the current tokio runtime.
    ///
    /// # Errors
    ///
    /// [`NetworkError`]: an address cannot be listened on.
    pub async fn start(config: NetworkConfig) -> Result<Self, NetworkError> {
        task::start(config).await
    }
}

/// What peers say, but for transactions. Peers that come and go are told before messages, consensus before tips and
/// requests; peers take turns.
#[derive(Debug)]
pub struct NetworkEvents(inbox::Receiver<NetworkEvent>);

impl NetworkEvents {
    /// The next event; `None` when the network has stopped. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<NetworkEvent> {
        self.0.next().await
    }

    /// The next event if one is waiting.
    pub fn try_next(&mut self) -> Option<NetworkEvent> {
        self.0.try_next()
    }
}

/// Transactions from peers; peers take turns.
#[derive(Debug)]
pub struct Transactions(inbox::Receiver<ReceivedTransaction>);

impl Transactions {
    /// The next transaction; `None` when the network has stopped. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<ReceivedTransaction> {
        self.0.next().await
    }

    /// The next transaction if one is waiting.
    pub fn try_next(&mut self) -> Option<ReceivedTransaction> {
        self.0.try_next()
    }
}

/// A peer that is connected and listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// The peer.
    pub node: NodeKey,
    /// Whether we dialed it.
    pub outbound: bool,
    /// How long its last pong took.
    pub round_trip: Option<Duration>,
}

/// A peer that is not listened to for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BannedPeer {
    /// The peer.
    pub node: NodeKey,
    /// How often it was banned.
    pub times: u32,
    /// How long it is banned for yet.
    pub remaining: Duration,
}

/// What was dropped or refused, counted since the start.
#[derive(Debug, Default)]
pub struct Counters {
    refused_connections: AtomicU64,
    refused_messages: AtomicU64,
    dropped_consensus_in: AtomicU64,
    dropped_transactions_in: AtomicU64,
    dropped_requests_in: AtomicU64,
    dropped_consensus_out: AtomicU64,
    dropped_transactions_out: AtomicU64,
    slow_peers: AtomicU64,
    faults: AtomicU64,
    bans: AtomicU64,
}

/// The values of [`Counters`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CounterValues {
    /// Connections of strangers, and handshakes that failed.
    pub refused_connections: u64,
    /// Messages that were no frames, too long, or not of any topic.
    pub refused_messages: u64,
    /// Consensus messages received while the sender's share of the queue was full.
    pub dropped_consensus_in: u64,
    /// Transactions likewise.
    pub dropped_transactions_in: u64,
    /// Tips, requests for blocks and news of peers likewise.
    pub dropped_requests_in: u64,
    /// Consensus messages not sent because the network task was far behind.
    pub dropped_consensus_out: u64,
    /// Transactions likewise.
    pub dropped_transactions_out: u64,
    /// Times that a peer was found not to read fast enough.
    pub slow_peers: u64,
    /// Things that no correct node does.
    pub faults: u64,
    /// Times that a peer was banned for them.
    pub bans: u64,
}

impl Counters {
    fn values(&self) -> CounterValues {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CounterValues {
            refused_connections: value(&self.refused_connections),
            refused_messages: value(&self.refused_messages),
            dropped_consensus_in: value(&self.dropped_consensus_in),
            dropped_transactions_in: value(&self.dropped_transactions_in),
            dropped_requests_in: value(&self.dropped_requests_in),
            dropped_consensus_out: value(&self.dropped_consensus_out),
            dropped_transactions_out: value(&self.dropped_transactions_out),
            slow_peers: value(&self.slow_peers),
            faults: value(&self.faults),
            bans: value(&self.bans),
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What the task is asked to do.
#[derive(Debug)]
enum Command {
    Consensus(Bytes),
    Tip(u64),
    Request {
        peer: NodeKey,
        request: SyncRequest,
        answer: oneshot::Sender<Result<SyncResponse, RequestError>>,
    },
    Respond {
        channel: SyncChannel,
        response: SyncResponse,
    },
    RequestSnapshot {
        peer: NodeKey,
        request: SnapshotRequest,
        answer: oneshot::Sender<Result<SnapshotResponse, RequestError>>,
    },
    RespondSnapshot {
        channel: SnapshotChannel,
        response: SnapshotResponse,
    },
    Judge {
        peer: NodeKey,
        id: GossipId,
        good: bool,
    },
    Fault(NodeKey),
    Ban(NodeKey),
    SetMembers(Box<Members>),
    /// Everything that is sent from now on is shown to it too.
    #[cfg(feature = "testing")]
    Tap(crate::testing::Tap),
    Stop,
}

/// A transaction to be sent.
#[derive(Debug)]
struct OutgoingTransaction {
    bytes: Bytes,
    again: bool,
}

/// Sends to peers. Cheap to clone; nothing in it waits but requests.
#[derive(Debug, Clone)]
pub struct NetworkHandle {
    node: NodeKey,
    listening: Arc<[ListenAddress]>,
    commands: mpsc::Sender<Command>,
    transactions: mpsc::Sender<OutgoingTransaction>,
    peers: watch::Receiver<Vec<PeerInfo>>,
    bans: watch::Receiver<Vec<conduct::Ban>>,
    counters: Arc<Counters>,
    consensus_bytes_max: usize,
    transaction_bytes_max: usize,
    #[cfg(feature = "testing")]
    outgoing: Option<crate::testing::Outgoing>,
}

impl NetworkHandle {
    /// This node's own key.
    #[must_use]
    pub fn node(&self) -> NodeKey {
        self.node
    }

    /// Where the node listens, with the ports it really got.
    #[must_use]
    pub fn listening(&self) -> &[ListenAddress] {
        &self.listening
    }

    /// Sends a consensus message to every peer. Sent twice, it arrives twice: a repeated vote is not a duplicate.
    ///
    /// # Errors
    ///
    /// [`SendError`]. That no peer is connected is no error.
    pub fn broadcast_consensus(&self, bytes: Bytes) -> Result<(), SendError> {
        check_len(bytes.len(), self.consensus_bytes_max)?;
        #[cfg(feature = "testing")]
        if let Some(outgoing) = &self.outgoing {
            for bytes in outgoing.instead_of(bytes) {
                self.command(Command::Consensus(bytes))?;
            }
            return Ok(());
        }
        self.command(Command::Consensus(bytes))
            .inspect_err(|_| count(&self.counters.dropped_consensus_out))
    }

    /// From now on this handle, and what is cloned from it, sends what `outgoing` makes of consensus messages.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn with_outgoing(mut self, outgoing: Option<crate::testing::Outgoing>) -> Self {
        self.outgoing = outgoing;
        self
    }

    /// Shows everything that is sent to peers from now on, before it is encrypted.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    #[cfg(feature = "testing")]
    pub fn tap(&self, tap: crate::testing::Tap) -> Result<(), SendError> {
        self.command(Command::Tap(tap))
    }

    /// Sends a transaction to every peer, once: what another node already spread is not spread again.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub fn broadcast_transaction(&self, bytes: Bytes) -> Result<(), SendError> {
        self.transaction(bytes, false)
    }

    /// Sends a transaction again to peers that may have missed or dropped it the first time.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub fn rebroadcast_transaction(&self, bytes: Bytes) -> Result<(), SendError> {
        self.transaction(bytes, true)
    }

    fn transaction(&self, bytes: Bytes, again: bool) -> Result<(), SendError> {
        check_len(bytes.len(), self.transaction_bytes_max)?;
        self.transactions
            .try_send(OutgoingTransaction { bytes, again })
            .map_err(send_error)
            .inspect_err(|_| count(&self.counters.dropped_transactions_out))
    }

    /// Tells every peer our highest block.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub fn announce_tip(&self, height: u64) -> Result<(), SendError> {
        self.command(Command::Tip(height))
    }

    /// Asks `peer` for blocks.
    ///
    /// # Errors
    ///
    /// [`RequestError`]: ask another peer.
    pub async fn request_blocks(
        &self,
        peer: NodeKey,
        request: SyncRequest,
    ) -> Result<SyncResponse, RequestError> {
        let (answer, answered) = oneshot::channel();
        self.command(Command::Request { peer, request, answer })?;
        answered.await.unwrap_or(Err(RequestError::Send(SendError::Stopped)))
    }

    /// Answers a peer's request for blocks.
    ///
    /// # Errors
    ///
    /// [`SendError`]: longer than [`SYNC_RESPONSE_BYTES_MAX`], or the network is behind.
    pub fn respond(&self, channel: SyncChannel, response: SyncResponse) -> Result<(), SendError> {
        check_len(response.encoded_len(), SYNC_RESPONSE_BYTES_MAX)?;
        self.command(Command::Respond { channel, response })
    }

    /// Asks `peer` for a part of a snapshot.
    ///
    /// # Errors
    ///
    /// [`RequestError`]: ask another peer.
    pub async fn request_snapshot(
        &self,
        peer: NodeKey,
        request: SnapshotRequest,
    ) -> Result<SnapshotResponse, RequestError> {
        let (answer, answered) = oneshot::channel();
        self.command(Command::RequestSnapshot { peer, request, answer })?;
        answered.await.unwrap_or(Err(RequestError::Send(SendError::Stopped)))
    }

    /// Answers a peer's request for a part of a snapshot.
    ///
    /// # Errors
    ///
    /// [`SendError`]: longer than [`SYNC_RESPONSE_BYTES_MAX`], or the network is behind.
    pub fn respond_snapshot(
        &self,
        channel: SnapshotChannel,
        response: SnapshotResponse,
    ) -> Result<(), SendError> {
        check_len(response.encoded_len(), SYNC_RESPONSE_BYTES_MAX)?;
        self.command(Command::RespondSnapshot { channel, response })
    }

    /// Says whether what a peer gossiped may be kept for members that it did not reach: a consensus message only if the
    /// host vouches for it, a transaction only if it was admitted. For whoever hands it on is answerable for it. Of
    /// transactions that are not good no correct node sends many.
    pub fn judge(&self, peer: NodeKey, id: GossipId, good: bool) {
        // Unjudged it is not kept, which costs little.
        let _ = self.command(Command::Judge { peer, id, good });
    }

    /// Notes that `peer` did what no correct node does. After many in a short time it is banned.
    pub fn fault(&self, peer: NodeKey) {
        let _ = self.command(Command::Fault(peer));
    }

    /// Ends the connections of `peer` and refuses new ones for a while: longer each time, and never for good.
    pub fn ban(&self, peer: NodeKey) {
        let _ = self.command(Command::Ban(peer));
    }

    /// Replaces the members. Connections of those that are members no more are closed at once.
    ///
    /// # Errors
    ///
    /// [`SendError`].
    pub async fn set_members(&self, members: Members) -> Result<(), SendError> {
        // Waits for its turn rather than be dropped: who is a member is not a matter of load.
        let command = Command::SetMembers(Box::new(members));
        self.commands.send(command).await.map_err(|_| SendError::Stopped)
    }

    /// The peers that are banned now.
    #[must_use]
    pub fn banned(&self) -> Vec<BannedPeer> {
        let now = Instant::now();
        let bans = self.bans.borrow();
        bans.iter()
            .map(|ban| BannedPeer {
                node: ban.node,
                times: ban.times,
                remaining: ban.until.saturating_duration_since(now),
            })
            .collect()
    }

    /// The peers that are connected and listen now.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.peers.borrow().clone()
    }

    /// Whether a peer is among [`NetworkHandle::peers`].
    #[must_use]
    pub fn is_connected(&self, node: &NodeKey) -> bool {
        self.peers.borrow().iter().any(|peer| peer.node == *node)
    }

    /// What was dropped or refused so far.
    #[must_use]
    pub fn counters(&self) -> CounterValues {
        self.counters.values()
    }

    /// Closes all connections and ends the task.
    pub async fn stop(&self) {
        // A task that is gone has stopped already.
        let _ = self.commands.send(Command::Stop).await;
    }

    fn command(&self, command: Command) -> Result<(), SendError> {
        self.commands.try_send(command).map_err(send_error)
    }
}

fn check_len(len: usize, max: usize) -> Result<(), SendError> {
    if len > max { Err(SendError::TooLong { len, max }) } else { Ok(()) }
}

#[allow(clippy::needless_pass_by_value, reason = "used as a function for `map_err`")]
fn send_error<T>(error: mpsc::error::TrySendError<T>) -> SendError {
    match error {
        mpsc::error::TrySendError::Full(_) => SendError::Busy,
        mpsc::error::TrySendError::Closed(_) => SendError::Stopped,
    }
}

/// The frame around everything gossiped: a nonce of eight bytes, then the message.
///
/// Gossip delivers a frame once. A fresh nonce makes a repetition a new frame, the nonce 0 makes the frames of two
/// senders one.
mod frame {
    use bytes::Bytes;

    /// Length of the nonce, in bytes.
    pub(super) const NONCE_BYTES: usize = 8;

    pub(super) fn wrap(nonce: u64, message: &[u8]) -> Vec<u8> {
        let mut frame = Vec::with_capacity(NONCE_BYTES + message.len());
        frame.extend_from_slice(&nonce.to_le_bytes());
        frame.extend_from_slice(message);
        frame
    }

    pub(super) fn unwrap(frame: Vec<u8>, message_bytes_max: usize) -> Option<Bytes> {
        if frame.len() < NONCE_BYTES || frame.len() - NONCE_BYTES > message_bytes_max {
            return None;
        }
        Some(Bytes::from(frame).slice(NONCE_BYTES..))
    }
}

/// The key pair in libp2p's form.
fn keypair(key: &SecretKey) -> Result<identity::Keypair, NetworkError> {
    identity::Keypair::ed25519_from_bytes(key.seed().as_mut_slice())
        .map_err(|error| NetworkError::Setup { reason: error.to_string() })
}
