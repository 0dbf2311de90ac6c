//! The libp2p protocols a node speaks, put together, and the reasons for their settings.

use super::NetworkError;
use super::gate::Gated;
use super::sync_codec::{Exchange, REQUEST_BYTES_MAX, SNAPSHOT_REQUEST_BYTES_MAX};
use libp2p::core::upgrade;
use libp2p::gossipsub::{
    self, IdentTopic, MessageAuthenticity, MessageId, TopicHash, ValidationMode,
};
use libp2p::swarm::{self, NetworkBehaviour, Swarm};
use libp2p::{
    StreamProtocol, Transport, allow_block_list, connection_limits, identify, identity, noise,
    ping, request_response, tcp, yamux,
};
use sillok_proto::Hash;
use sillok_proto::v1::{SnapshotRequest, SnapshotResponse, SyncRequest, SyncResponse};
use std::time::Duration;

/// How long a connection may take to prove who it is.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Connections of which nobody has proved yet who they are.
const PENDING_INCOMING_MAX: u32 = 256;
/// Two nodes that dial each other at once make two; a peer that restarted may make another before the old is gone.
const CONNECTIONS_PER_PEER_MAX: u32 = 4;
/// A dead connection is noticed after two failed pings (libp2p forgives the first), that is within 12 s.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// How long a ping may take.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Rhythm of the lazy repair: what a peer did not get directly it learns of, and asks for, within about this time.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// A request for blocks that takes longer has failed. Long after another peer was asked, for over a slow link every answer
/// may be late, and is used all the same.
const SYNC_TIMEOUT: Duration = Duration::from_secs(60);
/// Requests for blocks that one connection may have under way.
const SYNC_STREAMS_MAX: usize = 8;
/// What surrounds a message on the wire: the protobuf of gossipsub, our nonce, and one read of the socket, for the
/// decoder counts what it has buffered of the next message too.
const WIRE_SLACK_BYTES: usize = 64 << 10;
/// Ids of messages in one announcement of the lazy repair.
const ANNOUNCED_IDS_MAX: usize = 2048;
/// Room for one announcement. libp2p's own 16 KiB is less than its own announcements take on a busy network, and a
/// peer that sends five too long ones is no longer heard.
const CONTROL_BYTES_MAX: usize = 128 << 10;
/// Bytes of the hash that names a message.
const MESSAGE_ID_BYTES: usize = 20;

/// Everything a connection carries.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) limits: connection_limits::Behaviour,
    /// Only these stay connected (PROTOCOL II.5).
    pub(super) members: allow_block_list::Behaviour<allow_block_list::AllowedPeers>,
    pub(super) identify: identify::Behaviour,
    pub(super) ping: ping::Behaviour,
    /// Votes, proposals and certificates: a protocol of its own, so that they never queue behind transactions.
    pub(super) consensus: Gated<gossipsub::Behaviour>,
    /// Transactions and tips.
    pub(super) ledger: Gated<gossipsub::Behaviour>,
    pub(super) sync: request_response::Behaviour<Exchange<SyncRequest, SyncResponse>>,
    pub(super) snapshots: request_response::Behaviour<Exchange<SnapshotRequest, SnapshotResponse>>,
}

/// What is gossiped about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    Consensus,
    Transactions,
    Tips,
}

/// The topics and names of one network, all bound to its genesis hash.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) protocol_version: String,
    pub(super) consensus: IdentTopic,
    pub(super) transactions: IdentTopic,
    pub(super) tips: IdentTopic,
}

impl Names {
    pub(super) fn of(genesis_hash: &Hash) -> Self {
        let network = format!("sillok/1/{genesis_hash}");
        Self {
            consensus: IdentTopic::new(format!("{network}/consensus")),
            transactions: IdentTopic::new(format!("{network}/transactions")),
            tips: IdentTopic::new(format!("{network}/tips")),
            protocol_version: network,
        }
    }

    pub(super) fn topic(&self, hash: &TopicHash) -> Option<Topic> {
        [
            (&self.consensus, Topic::Consensus),
            (&self.transactions, Topic::Transactions),
            (&self.tips, Topic::Tips),
        ]
        .into_iter()
        .find_map(|(name, topic)| (name.hash() == *hash).then_some(topic))
    }
}

/// Builds the swarm of the node whose key pair is `keypair`.
pub(super) fn swarm(
    keypair: &identity::Keypair,
    names: &Names,
    consensus_bytes_max: usize,
    transaction_bytes_max: usize,
) -> Result<Swarm<Behaviour>, NetworkError> {
    let setup = |reason: String| NetworkError::Setup { reason };
    let transport = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(upgrade::Version::V1Lazy)
        .authenticate(noise::Config::new(keypair).map_err(|error| setup(error.to_string()))?)
        .multiplex(yamux::Config::default())
        .timeout(HANDSHAKE_MAX)
        .boxed();

    let limits = connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(PENDING_INCOMING_MAX))
        .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX));
    let identify = identify::Config::new(names.protocol_version.clone(), keypair.public())
        .with_agent_version(format!("sillok-node/{}", env!("CARGO_PKG_VERSION")))
        .with_hide_listen_addrs(true)
        .with_cache_size(0);
    let blocks = StreamProtocol::try_from_owned(format!("/{}/blocks", names.protocol_version))
        .map_err(|error| setup(error.to_string()))?;

    let snapshots =
        StreamProtocol::try_from_owned(format!("/{}/snapshots", names.protocol_version))
            .map_err(|error| setup(error.to_string()))?;
    let exchange = request_response::Config::default()
        .with_request_timeout(SYNC_TIMEOUT)
        .with_max_concurrent_streams(SYNC_STREAMS_MAX);

    let mut consensus =
        gossip(format!("/{}/consensus-gossip", names.protocol_version), consensus_bytes_max)?;
    let mut ledger =
        gossip(format!("/{}/ledger-gossip", names.protocol_version), transaction_bytes_max)?;
    consensus
        .subscribe(&names.consensus)
        .and_then(|_| ledger.subscribe(&names.transactions))
        .and_then(|_| ledger.subscribe(&names.tips))
        .map_err(|error| setup(error.to_string()))?;

    let behaviour = Behaviour {
        limits: connection_limits::Behaviour::new(limits),
        members: allow_block_list::Behaviour::default(),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(
            ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_TIMEOUT),
        ),
        consensus: Gated::new(consensus),
        ledger: Gated::new(ledger),
        sync: request_response::Behaviour::with_codec(
            Exchange::new(REQUEST_BYTES_MAX),
            [(blocks, request_response::ProtocolSupport::Full)],
            exchange.clone(),
        ),
        snapshots: request_response::Behaviour::with_codec(
            Exchange::new(SNAPSHOT_REQUEST_BYTES_MAX),
            [(snapshots, request_response::ProtocolSupport::Full)],
            exchange,
        ),
    };
    let config = swarm::Config::with_tokio_executor()
        // Members stay connected while nothing is said; a dead connection is the ping's to notice.
        .with_idle_connection_timeout(Duration::from_secs(365 * 24 * 60 * 60))
        .with_per_connection_event_buffer_size(64);
    Ok(Swarm::new(transport, behaviour, keypair.public().to_peer_id(), config))
}

/// Gossip for a network in which every member is connected to every other.
///
/// - *Flood publishing and an empty mesh*: a message goes from its author straight to every peer, once. Passing it
///   on eagerly would bring each of n members n − 1 copies, and cost a vote no time less. Where a connection is
///   missing, the lazy half of gossipsub repairs it: peers tell each other at every heartbeat which messages they
///   have, and ask for those they miss.
/// - *Anonymous*, so unsigned: what is gossiped carries its own signatures (validators' and submitters'), and the
///   connection proves who handed it over. Signing each message once more would cost every receiver one Ed25519
///   check and prove nothing new.
/// - *The id is the hash of the whole frame*, nonce included (see [`super::frame`]). So nobody can take the id of a
///   message that another is about to send, as forged sequence numbers would allow; a repeated vote has a fresh
///   nonce and is delivered again (with a content id it would be dropped: CONSENSUS, 88 of 200 seeds stuck); and a
///   transaction that two nodes publish has one id.
/// - *Nothing is passed on before it was judged* by the node. So who hands over a message that is no good is to blame
///   for it, though seldom its author: a correct node would not have kept it for others.
fn gossip(
    protocol: String,
    message_bytes_max: usize,
) -> Result<gossipsub::Behaviour, NetworkError> {
    let setup = |reason: String| NetworkError::Setup { reason };
    let mut config = gossipsub::ConfigBuilder::default();
    config
        .protocol_id(protocol, gossipsub::Version::V1_1)
        .validation_mode(ValidationMode::Anonymous)
        .message_id_fn(|message: &gossipsub::Message| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(message.topic.as_str().as_bytes());
            hasher.update(&message.data);
            MessageId::new(&hasher.finalize().as_bytes()[..MESSAGE_ID_BYTES])
        })
        .flood_publish(true)
        .mesh_outbound_min(0)
        .mesh_n_low(0)
        .mesh_n(0)
        .mesh_n_high(1)
        .heartbeat_initial_delay(HEARTBEAT)
        .heartbeat_interval(HEARTBEAT)
        .history_length(6)
        .history_gossip(3)
        .gossip_lazy(3)
        .max_transmit_size(message_bytes_max + WIRE_SLACK_BYTES)
        .max_control_messages_sent(ANNOUNCED_IDS_MAX)
        .max_control_message_size(CONTROL_BYTES_MAX)
        .connection_handler_queue_len(4096)
        .publish_queue_duration(Duration::from_secs(5))
        .forward_queue_duration(Duration::from_secs(5))
        .validate_messages();
    let config = config.build().map_err(|error| setup(error.to_string()))?;
    gossipsub::Behaviour::new(MessageAuthenticity::Anonymous, config)
        .map_err(|error| setup(error.to_owned()))
}
