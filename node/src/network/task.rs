//! The one task that owns the swarm: commands in, peers' messages out, dials when they are due.

use super::address::{Host, ListenAddress, NodeKey, PeerAddress, multiaddr};
use super::behaviour::{self, Behaviour, BehaviourEvent, Names, Topic};
use super::conduct::{self, Conduct};
use super::dialing::Dialing;
use super::inbox::{self, Share};
use super::{
    COMMANDS_MAX, Command, Counters, GossipId, Members, Network, NetworkConfig, NetworkError,
    NetworkEvent, NetworkEvents, NetworkHandle, OutgoingTransaction, PeerInfo, ReceivedTransaction,
    RequestError, SnapshotChannel, SyncChannel, Transactions, count, frame, keypair,
};
use bytes::Bytes;
use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::gossipsub::{self, IdentTopic, MessageAcceptance, PublishError};
use libp2p::request_response::{self, OutboundRequestId};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId, identify, ping};
use sillok_proto::v1::{
    SnapshotRequest, SnapshotResponse, SyncRequest, SyncResponse, TipAnnouncement,
};
use sillok_proto::{decode, encode};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// How often the dialing is looked at.
const DIAL_TICK: Duration = Duration::from_millis(50);
/// Failed dials in a row after which the operator is told, once for each outage: some seven seconds.
const FAILURES_TOLD: u32 = 10;
/// How long a peer may take to listen to gossip before it is asked for its tip instead.
const LISTENS_WITHIN: Duration = Duration::from_secs(2);
/// How often it is asked then.
const ASK_TIP_EVERY: Duration = Duration::from_secs(3);
/// How long a name may take to be looked up.
const LOOKUP_MAX: Duration = Duration::from_secs(5);
/// Requests for blocks that wait for an answer.
const REQUESTS_MAX: usize = 64;
/// Longest tip announcement, in bytes.
const TIP_BYTES_MAX: usize = 16;
/// Consensus messages of one peer that wait: four blocks of a usual network, and one of the longest.
const CONSENSUS_SHARE_BYTES: usize = 9 << 20;

// The lanes of the event inbox, the most urgent first.
const LANE_PEERS: usize = 0;
const LANE_CONSENSUS: usize = 1;
const LANE_REQUESTS: usize = 2;

/// Builds the swarm, starts to listen, and spawns the task.
pub(super) async fn start(config: NetworkConfig) -> Result<Network, NetworkError> {
    let keypair = keypair(&config.key)?;
    let us = NodeKey::from_bytes(&config.key.public())
        .map_err(|error| NetworkError::Setup { reason: error.to_string() })?;
    let names = Names::of(&config.genesis_hash);
    let mut swarm = behaviour::swarm(
        &keypair,
        &names,
        config.consensus_bytes_max,
        config.transaction_bytes_max,
    )?;
    let listening = listen(&mut swarm, &config.listen).await?;

    let four = config.consensus_bytes_max.saturating_mul(4);
    let consensus_share = four.min(CONSENSUS_SHARE_BYTES.max(config.consensus_bytes_max));
    // One peer's share: room for a burst of votes and a few blocks, for a burst of transactions, for its requests.
    let (events_sender, events) = inbox::inbox(vec![
        Share { messages_max: 256, bytes_max: usize::MAX },
        Share { messages_max: 2048, bytes_max: consensus_share },
        Share { messages_max: 32, bytes_max: usize::MAX },
    ]);
    let (transactions_sender, transactions) = inbox::inbox(vec![Share {
        messages_max: 4096,
        bytes_max: config.transaction_bytes_max.saturating_mul(4).max(16 << 20),
    }]);
    let (commands, commands_receiver) = mpsc::channel(COMMANDS_MAX);
    let (outgoing, outgoing_receiver) = mpsc::channel(COMMANDS_MAX);
    let (peers_sender, peers) = watch::channel(Vec::new());
    let (bans_sender, bans) = watch::channel(Vec::new());
    let (resolved_sender, resolved) = mpsc::channel(16);
    let counters = Arc::new(Counters::default());

    let handle = NetworkHandle {
        node: us,
        listening: listening.into(),
        commands,
        transactions: outgoing,
        peers,
        bans,
        counters: Arc::clone(&counters),
        consensus_bytes_max: config.consensus_bytes_max,
        transaction_bytes_max: config.transaction_bytes_max,
        #[cfg(feature = "testing")]
        outgoing: None,
    };
    let mut task = Task {
        us,
        swarm,
        names,
        dialing: Dialing::new(us, config.peers, Instant::now()),
        members: Members::default(),
        conduct: Conduct::default(),
        classes: BTreeMap::new(),
        peers: BTreeMap::new(),
        requests: BTreeMap::new(),
        snapshot_requests: BTreeMap::new(),
        events: events_sender,
        transactions: transactions_sender,
        peers_shown: peers_sender,
        bans_shown: bans_sender,
        resolved: resolved_sender,
        counters,
        // A restarted node must not repeat the nonces of its former self within gossip's memory.
        nonce: first_nonce()?,
        consensus_bytes_max: config.consensus_bytes_max,
        transaction_bytes_max: config.transaction_bytes_max,
        #[cfg(feature = "testing")]
        tap: None,
    };
    task.set_members(config.members);
    let task = tokio::spawn(task.run(commands_receiver, outgoing_receiver, resolved));
    Ok(Network {
        handle,
        events: NetworkEvents(events),
        transactions: Transactions(transactions),
        task,
    })
}

fn first_nonce() -> Result<u64, NetworkError> {
    getrandom::u64().map_err(|error| NetworkError::Setup { reason: error.to_string() })
}

/// Listens on all addresses and waits until each is bound.
async fn listen(
    swarm: &mut Swarm<Behaviour>,
    addresses: &[ListenAddress],
) -> Result<Vec<ListenAddress>, NetworkError> {
    let mut waiting: Vec<(ListenerId, ListenAddress)> = Vec::new();
    for address in addresses {
        // libp2p binds with SO_REUSEPORT, by which a second process would silently get half of our connections. A
        // plain bind first finds out.
        std::net::TcpListener::bind(address.socket()).map_err(|error| NetworkError::Listen {
            address: *address,
            reason: error.to_string(),
        })?;
        let listener = swarm.listen_on(multiaddr(address.socket())).map_err(|error| {
            NetworkError::Listen { address: *address, reason: error.to_string() }
        })?;
        waiting.push((listener, *address));
    }
    let mut listening = Vec::new();
    while !waiting.is_empty() {
        // Nobody is allowed yet, so nothing but listeners' news can come.
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { listener_id, address } => {
                waiting.retain(|(id, _)| *id != listener_id);
                listening.extend(ListenAddress::from_multiaddr(&address));
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                if let Some((_, address)) =
                    waiting.iter().copied().find(|(id, _)| *id == listener_id)
                {
                    let reason = match reason {
                        Err(error) => error.to_string(),
                        Ok(()) => "it was closed".to_owned(),
                    };
                    return Err(NetworkError::Listen { address, reason });
                }
            }
            _ => {}
        }
    }
    Ok(listening)
}

struct Task {
    us: NodeKey,
    swarm: Swarm<Behaviour>,
    names: Names,
    dialing: Dialing,
    members: Members,
    conduct: Conduct,
    /// Whose connections are kept: all members but us and those that are banned.
    classes: BTreeMap<NodeKey, Class>,
    /// Peers with at least one connection.
    peers: BTreeMap<NodeKey, Peer>,
    requests: BTreeMap<OutboundRequestId, Asked<SyncResponse>>,
    snapshot_requests: BTreeMap<OutboundRequestId, Asked<SnapshotResponse>>,
    events: inbox::Sender<NetworkEvent>,
    transactions: inbox::Sender<ReceivedTransaction>,
    peers_shown: watch::Sender<Vec<PeerInfo>>,
    bans_shown: watch::Sender<Vec<conduct::Ban>>,
    resolved: mpsc::Sender<(NodeKey, Vec<Multiaddr>)>,
    counters: Arc<Counters>,
    nonce: u64,
    consensus_bytes_max: usize,
    transaction_bytes_max: usize,
    #[cfg(feature = "testing")]
    tap: Option<crate::testing::Tap>,
}

/// What a peer may be connected for. See [`Members`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Validator,
    Other,
    /// Served blocks up to this height.
    Leaving(u64),
    /// Asked, and given nothing.
    Source,
}

impl Class {
    /// Whether it takes part in gossip.
    const fn gossips(self) -> bool {
        matches!(self, Self::Validator | Self::Other)
    }
}

/// A connected peer.
struct Peer {
    outbound: bool,
    round_trip: Option<Duration>,
    /// Whether the node was told that it is connected.
    told: bool,
    /// When it is asked for its tip, unless it listens to gossip by then.
    ask_tip: Instant,
    /// Topics it listens to: the bits of [`topic_bit`].
    topics: u8,
}

impl Peer {
    /// Whether it listens to everything.
    fn listens(&self) -> bool {
        self.topics == 0b111
    }
}

/// A request that waits for its answer.
struct Asked<A> {
    peer: NodeKey,
    /// Where the answer goes; nowhere if only the tip in it was wanted.
    answer: Option<oneshot::Sender<Result<A, RequestError>>>,
}

const fn topic_bit(topic: Topic) -> u8 {
    match topic {
        Topic::Consensus => 0b001,
        Topic::Transactions => 0b010,
        Topic::Tips => 0b100,
    }
}

impl Task {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut outgoing: mpsc::Receiver<OutgoingTransaction>,
        mut resolved: mpsc::Receiver<(NodeKey, Vec<Multiaddr>)>,
    ) {
        let mut tick = interval(DIAL_TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    None | Some(Command::Stop) => break,
                    Some(command) => self.on_command(command),
                },
                Some(transaction) = outgoing.recv() => self.on_transaction(&transaction),
                event = self.swarm.select_next_some() => self.on_swarm(event),
                Some((node, addresses)) = resolved.recv() => self.dial(node, addresses),
                _ = tick.tick() => self.on_tick(),
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Consensus(bytes) => {
                let topic = self.names.consensus.clone();
                let nonce = self.next_nonce();
                let message = frame::wrap(nonce, &bytes);
                self.show_tap(|| message.clone());
                let sent = self.swarm.behaviour_mut().consensus.publish(topic, message);
                self.note_publish(sent);
            }
            Command::Tip(height) => {
                let message = encode(&TipAnnouncement { height });
                let nonce = self.next_nonce();
                let topic = self.names.tips.clone();
                self.publish_ledger(topic, nonce, &message);
            }
            Command::Request { peer, request, answer } => {
                let waiting = self.requests.len();
                if let Some(answer) = self.may_ask(peer, waiting, answer) {
                    self.show_tap(|| encode(&request));
                    let sync = &mut self.swarm.behaviour_mut().sync;
                    let id = sync.send_request(&peer.peer_id(), request);
                    self.requests.insert(id, Asked { peer, answer: Some(answer) });
                }
            }
            Command::RequestSnapshot { peer, request, answer } => {
                let waiting = self.snapshot_requests.len();
                if let Some(answer) = self.may_ask(peer, waiting, answer) {
                    self.show_tap(|| encode(&request));
                    let snapshots = &mut self.swarm.behaviour_mut().snapshots;
                    let id = snapshots.send_request(&peer.peer_id(), request);
                    self.snapshot_requests.insert(id, Asked { peer, answer: Some(answer) });
                }
            }
            Command::RespondSnapshot { channel, response } => {
                self.show_tap(|| encode(&response));
                let snapshots = &mut self.swarm.behaviour_mut().snapshots;
                if snapshots.send_response(channel.0, response).is_err() {
                    tracing::debug!(
                        "a peer no longer waits for the part of a snapshot it asked for"
                    );
                }
            }
            Command::Respond { channel, response } => {
                self.show_tap(|| encode(&response));
                if self.swarm.behaviour_mut().sync.send_response(channel.0, response).is_err() {
                    tracing::debug!("a peer no longer waits for the blocks it asked for");
                }
            }
            Command::Judge { peer, id, good } => {
                let keep = match id.topic {
                    // Observers are not listened to, so what they kept would only be offered in vain.
                    Topic::Consensus => good && self.members.validators.contains(&self.us),
                    Topic::Transactions => good,
                    Topic::Tips => false,
                };
                if !good && id.topic == Topic::Transactions {
                    self.note_message(peer);
                }
                self.report(&id, &peer.peer_id(), keep);
            }
            Command::Fault(peer) => self.fault(peer),
            Command::Ban(peer) => {
                let validator = self.members.validators.contains(&peer);
                let banned = self.conduct.ban(peer, validator, Instant::now());
                self.banned(peer, banned);
            }
            Command::SetMembers(members) => self.set_members(*members),
            #[cfg(feature = "testing")]
            Command::Tap(tap) => self.tap = Some(tap),
            Command::Stop => {}
        }
    }

    /// Shows what is sent to whoever taps this node. Nobody can but in tests.
    #[cfg(feature = "testing")]
    fn show_tap(&self, message: impl FnOnce() -> Vec<u8>) {
        if let Some(tap) = &self.tap {
            tap.see(&message());
        }
    }

    #[cfg(not(feature = "testing"))]
    #[allow(clippy::unused_self, reason = "it does something in tests alone")]
    fn show_tap(&self, _message: impl FnOnce() -> Vec<u8>) {}

    /// The answer's way back, unless the request is refused, which it is told then.
    fn may_ask<A>(
        &self,
        peer: NodeKey,
        waiting: usize,
        answer: oneshot::Sender<Result<A, RequestError>>,
    ) -> Option<oneshot::Sender<Result<A, RequestError>>> {
        // Unconnected, libp2p would dial first; dialing is ours.
        let refusal = if !self.swarm.is_connected(&peer.peer_id()) {
            RequestError::NotConnected { peer }
        } else if waiting >= REQUESTS_MAX {
            RequestError::Send(super::SendError::Busy)
        } else {
            return Some(answer);
        };
        // Who no longer waits for the answer does not miss it.
        let _ = answer.send(Err(refusal));
        None
    }

    fn on_transaction(&mut self, transaction: &OutgoingTransaction) {
        let nonce = if transaction.again { self.next_nonce() } else { 0 };
        let topic = self.names.transactions.clone();
        self.publish_ledger(topic, nonce, &transaction.bytes);
    }

    fn publish_ledger(&mut self, topic: IdentTopic, nonce: u64, message: &[u8]) {
        let message = frame::wrap(nonce, message);
        self.show_tap(|| message.clone());
        let sent = self.swarm.behaviour_mut().ledger.publish(topic, message);
        self.note_publish(sent);
    }

    fn note_publish(&self, sent: Result<gossipsub::MessageId, PublishError>) {
        match sent {
            // Nobody to tell, or everybody knows: both are as it should be.
            Ok(_) | Err(PublishError::NoPeersSubscribedToTopic | PublishError::Duplicate) => {}
            Err(error) => {
                count(&self.counters.slow_peers);
                tracing::debug!(err = %error, "a message reached no peer");
            }
        }
    }

    fn next_nonce(&mut self) -> u64 {
        // Zero is for what has one frame whoever sends it.
        self.nonce = self.nonce.wrapping_add(1).max(1);
        self.nonce
    }

    /// Ends the wait of a message for its verdict.
    fn report(&mut self, id: &GossipId, source: &PeerId, keep: bool) {
        let verdict = if keep { MessageAcceptance::Accept } else { MessageAcceptance::Ignore };
        let behaviour = self.swarm.behaviour_mut();
        let gossip = match id.topic {
            Topic::Consensus => &mut behaviour.consensus,
            Topic::Transactions | Topic::Tips => &mut behaviour.ledger,
        };
        // False: it is no longer remembered.
        gossip.report_message_validation_result(&id.id, source, verdict);
    }

    fn set_members(&mut self, members: Members) {
        if self.members == members && !self.classes.is_empty() {
            return;
        }
        let own = self.dialing.nodes().collect::<BTreeSet<_>>();
        self.conduct.keep(|node| {
            members.validators.contains(node) || members.others.contains(node) || own.contains(node)
        });
        self.members = members;
        self.sort_peers();
    }

    /// Works out anew whose connections are kept and what for, and closes those that are not as they should be.
    fn sort_peers(&mut self) {
        let mut classes = BTreeMap::new();
        if self.members.stale {
            classes.extend(self.dialing.nodes().map(|node| (node, Class::Source)));
        }
        let leaving = self.members.leaving.iter();
        classes.extend(leaving.map(|(node, last)| (*node, Class::Leaving(*last))));
        classes.extend(self.members.others.iter().map(|node| (*node, Class::Other)));
        classes.extend(self.members.validators.iter().map(|node| (*node, Class::Validator)));
        classes.retain(|node, _| *node != self.us && !self.conduct.banned(node));

        let gossiping = classes.iter().filter(|(_, class)| class.gossips());
        let gossiping: BTreeSet<PeerId> = gossiping.map(|(node, _)| node.peer_id()).collect();
        let behaviour = self.swarm.behaviour_mut();
        behaviour.consensus.open_to(gossiping.clone());
        behaviour.ledger.open_to(gossiping);
        for node in self.classes.keys().filter(|node| !classes.contains_key(node)) {
            behaviour.members.disallow_peer(node.peer_id());
        }
        for node in classes.keys().filter(|node| !self.classes.contains_key(node)) {
            behaviour.members.allow_peer(node.peer_id());
        }
        let before = std::mem::replace(&mut self.classes, classes);
        for (node, class) in self.classes.clone() {
            self.set_voice(node);
            // The gate is passed when a connection is made.
            if before.get(&node).is_some_and(|before| before.gossips() != class.gossips()) {
                // It may not be connected.
                let _ = self.swarm.disconnect_peer_id(node.peer_id());
            }
        }
    }

    /// Whether consensus messages of a connected peer are taken. Those of a peer on gossipsub's own list are refused
    /// before their ids are remembered, so a member that does not vote cannot, by being faster, make us take a
    /// validator's message for a repetition. It may offer ids that it does not deliver, by which the repair through
    /// a third node is late by the few seconds that gossipsub waits for it; what comes directly is not.
    fn set_voice(&mut self, node: NodeKey) {
        let gossip = &mut self.swarm.behaviour_mut().consensus;
        let name = node.peer_id();
        // Only while connected: gossipsub would not greet a listed peer, and then it would not hear us either.
        if self.classes.get(&node) == Some(&Class::Validator) || !self.peers.contains_key(&node) {
            gossip.remove_blacklisted_peer(&name);
        } else {
            gossip.blacklist_peer(&name);
        }
    }

    fn fault(&mut self, peer: NodeKey) {
        count(&self.counters.faults);
        let validator = self.members.validators.contains(&peer);
        let banned = self.conduct.fault(peer, validator, Instant::now());
        self.banned(peer, banned);
    }

    fn banned(&mut self, peer: NodeKey, banned: Option<Duration>) {
        let Some(length) = banned else { return };
        count(&self.counters.bans);
        // One line for each ban, and bans grow longer: a peer cannot fill our disk with them.
        tracing::warn!(
            event = "peer_banned",
            %peer,
            seconds = length.as_secs(),
            "a peer sent what no correct node sends; it is not heard for a while, tell its operator"
        );
        self.bans_shown.send_replace(self.conduct.bans());
        self.sort_peers();
    }

    fn on_tick(&mut self) {
        let now = Instant::now();
        if self.conduct.end_bans(now) {
            self.bans_shown.send_replace(self.conduct.bans());
            self.sort_peers();
        }
        let silent = self.peers.iter_mut().filter(|(_, peer)| !peer.listens());
        let due: Vec<NodeKey> = silent
            .filter(|(_, peer)| peer.ask_tip <= now)
            .map(|(node, peer)| {
                peer.ask_tip = now + ASK_TIP_EVERY;
                *node
            })
            .collect();
        for peer in due {
            // No blocks, so the answer is the tip alone.
            let request = SyncRequest { from_height: 0, blocks_max: 0 };
            let id = self.swarm.behaviour_mut().sync.send_request(&peer.peer_id(), request);
            self.requests.insert(id, Asked { peer, answer: None });
        }
        self.dial_due();
    }

    fn dial_due(&mut self) {
        let due = self.dialing.due(Instant::now(), |node| self.classes.contains_key(node));
        for (node, addresses) in due {
            if addresses.iter().all(|address| matches!(address.host(), Host::Ip(_))) {
                let addresses = addresses
                    .iter()
                    .filter_map(|address| match address.host() {
                        Host::Ip(ip) => Some(multiaddr(SocketAddr::new(*ip, address.port()))),
                        Host::Name { .. } => None,
                    })
                    .collect();
                self.dial(node, addresses);
            } else {
                let resolved = self.resolved.clone();
                tokio::spawn(async move {
                    let addresses = look_up(&addresses).await;
                    // The task is gone only when the network has stopped.
                    let _ = resolved.send((node, addresses)).await;
                });
            }
        }
    }

    fn dial(&mut self, node: NodeKey, addresses: Vec<Multiaddr>) {
        let dial = DialOpts::peer_id(node.peer_id())
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            // From our listening port, two nodes that dial each other at once would meet in one TCP connection of
            // which both believe they are the dialer, and the handshake would fail.
            .allocate_new_port()
            .build();
        if let Err(error) = self.swarm.dial(dial) {
            self.on_dial_failed(node, &error);
        }
    }

    fn on_dial_failed(&mut self, node: NodeKey, error: &libp2p::swarm::DialError) {
        tracing::debug!(peer = %node, err = %error, "a peer was not reached");
        if self.dialing.failed(node, Instant::now()) == Some(FAILURES_TOLD) {
            tracing::warn!(
                peer = %node,
                "a configured peer cannot be reached; it is tried for ever, but check that it runs and its address"
            );
        }
    }

    fn on_swarm(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event),
            SwarmEvent::ConnectionEstablished { peer_id, endpoint, num_established, .. } => {
                let Ok(node) = NodeKey::from_peer_id(&peer_id) else { return };
                tracing::debug!(peer = %node, connections = num_established, "connected");
                self.dialing.connected(node);
                self.peers.entry(node).or_insert_with(|| Peer {
                    outbound: endpoint.is_dialer(),
                    round_trip: None,
                    told: false,
                    ask_tip: Instant::now() + LISTENS_WITHIN,
                    topics: 0,
                });
                self.set_voice(node);
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, cause, .. } => {
                let Ok(node) = NodeKey::from_peer_id(&peer_id) else { return };
                tracing::debug!(peer = %node, ?cause, "disconnected");
                self.dialing.disconnected(node, Instant::now());
                let told = self.peers.remove(&node).is_some_and(|peer| peer.told);
                self.set_voice(node);
                if told {
                    self.show_peers();
                    self.tell(LANE_PEERS, node, NetworkEvent::PeerDisconnected { peer: node }, 0);
                }
            }
            SwarmEvent::IncomingConnectionError { error, .. } => {
                count(&self.counters.refused_connections);
                tracing::debug!(err = %error, "a connection was refused");
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer_id), error, .. } => {
                if let Ok(node) = NodeKey::from_peer_id(&peer_id) {
                    self.on_dial_failed(node, &error);
                }
            }
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                tracing::error!(
                    ?addresses,
                    ?reason,
                    "the node no longer listens for peers here; restart it when the cause is mended"
                );
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::debug!(err = %error, "a connection could not be accepted");
            }
            _ => {}
        }
    }

    fn on_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Consensus(event) | BehaviourEvent::Ledger(event) => {
                self.on_gossip(event);
            }
            BehaviourEvent::Sync(event) => self.on_sync(event),
            BehaviourEvent::Snapshots(event) => self.on_snapshots(event),
            BehaviourEvent::Ping(ping::Event { peer, connection, result }) => match result {
                Ok(round_trip) => {
                    if let Ok(node) = NodeKey::from_peer_id(&peer)
                        && let Some(peer) = self.peers.get_mut(&node)
                    {
                        peer.round_trip = Some(round_trip);
                        self.show_peers();
                    }
                }
                Err(error) => {
                    tracing::debug!(peer = %peer, err = %error, "a silent connection is closed");
                    self.swarm.close_connection(connection);
                }
            },
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. })
                if info.protocol_version != self.names.protocol_version =>
            {
                tracing::debug!(peer = %peer_id, "a peer of another network or version is disconnected");
                count(&self.counters.refused_connections);
                // It may have gone by itself.
                let _ = self.swarm.disconnect_peer_id(peer_id);
            }
            _ => {}
        }
    }

    fn on_gossip(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                // Each gossip knows its own topics only.
                let Some(topic) = self.names.topic(&message.topic) else { return };
                let id = GossipId { topic, id: message_id };
                let taken = self.on_message(&propagation_source, &id, message.data);
                // The node judges what it gets to see. Tips are not passed on: they are told by those whose tips they
                // are. Nothing else may be kept for others, or they would blame us for it.
                if taken != Some(true) || topic == Topic::Tips {
                    self.report(&id, &propagation_source, false);
                }
                if taken.is_none() {
                    count(&self.counters.refused_messages);
                    tracing::debug!(peer = %propagation_source, "a message that is none was dropped");
                    if let Ok(peer) = NodeKey::from_peer_id(&propagation_source) {
                        self.fault(peer);
                    }
                }
            }
            gossipsub::Event::Subscribed { peer_id, topic } => {
                self.set_topic(&peer_id, &topic, true);
            }
            gossipsub::Event::Unsubscribed { peer_id, topic } => {
                self.set_topic(&peer_id, &topic, false);
            }
            gossipsub::Event::SlowPeer { peer_id, .. } => {
                count(&self.counters.slow_peers);
                tracing::debug!(peer = %peer_id, "a peer does not read fast enough");
            }
            gossipsub::Event::GossipsubNotSupported { .. } => {}
        }
    }

    /// Hands a gossiped message on: whether there was room for it; `None` if it is no message.
    fn on_message(&mut self, source: &PeerId, id: &GossipId, data: Vec<u8>) -> Option<bool> {
        let peer = NodeKey::from_peer_id(source).ok()?;
        let gossip_id = id.clone();
        match id.topic {
            Topic::Consensus => {
                self.note_message(peer);
                let bytes: Bytes = frame::unwrap(data, self.consensus_bytes_max)?;
                let len = bytes.len();
                let event = NetworkEvent::Consensus { peer, bytes, id: gossip_id };
                Some(self.tell(LANE_CONSENSUS, peer, event, len))
            }
            Topic::Transactions => {
                let bytes = frame::unwrap(data, self.transaction_bytes_max)?;
                let len = bytes.len();
                let received = ReceivedTransaction { peer, bytes, id: gossip_id };
                let taken = self.transactions.push(0, peer, received, len);
                if !taken {
                    count(&self.counters.dropped_transactions_in);
                }
                Some(taken)
            }
            Topic::Tips => {
                self.note_message(peer);
                let bytes = frame::unwrap(data, TIP_BYTES_MAX)?;
                let TipAnnouncement { height } = decode(&bytes, TIP_BYTES_MAX).ok()?;
                Some(self.tell(LANE_REQUESTS, peer, NetworkEvent::Tip { peer, height }, 0))
            }
        }
    }

    /// Counts what a correct node sends little of.
    fn note_message(&mut self, peer: NodeKey) {
        if self.conduct.message(peer, Instant::now()) {
            self.fault(peer);
        }
    }

    fn set_topic(&mut self, peer_id: &PeerId, topic: &gossipsub::TopicHash, listens: bool) {
        let (Ok(node), Some(topic)) = (NodeKey::from_peer_id(peer_id), self.names.topic(topic))
        else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let before = peer.listens();
        if listens {
            peer.topics |= topic_bit(topic);
        } else {
            peer.topics &= !topic_bit(topic);
        }
        let now = peer.listens();
        if before == now || now == peer.told {
            return;
        }
        peer.told = now;
        self.show_peers();
        let event = if now {
            NetworkEvent::PeerConnected { peer: node }
        } else {
            NetworkEvent::PeerDisconnected { peer: node }
        };
        self.tell(LANE_PEERS, node, event, 0);
    }

    fn on_sync(
        &mut self,
        event: request_response::Event<sillok_proto::v1::SyncRequest, SyncResponse>,
    ) {
        match event {
            request_response::Event::Message { peer, message, .. } => match message {
                request_response::Message::Request { request, channel, .. } => {
                    let Ok(peer) = NodeKey::from_peer_id(&peer) else { return };
                    self.note_message(peer);
                    // Who is given nothing sees its request refused with the channel.
                    let Some(request) = self.granted(peer, request) else { return };
                    let channel = SyncChannel(channel);
                    let validator = self.classes.get(&peer) == Some(&Class::Validator);
                    let event = NetworkEvent::SyncRequest { peer, request, validator, channel };
                    self.tell(LANE_REQUESTS, peer, event, 0);
                }
                request_response::Message::Response { request_id, response } => {
                    match self.requests.remove(&request_id) {
                        Some(Asked { answer: Some(answer), .. }) => {
                            // Who no longer waits for the answer does not miss it.
                            let _ = answer.send(Ok(response));
                        }
                        Some(Asked { peer, answer: None }) => self.on_tip_told(peer, response.tip),
                        None => {}
                    }
                }
            },
            request_response::Event::OutboundFailure { request_id, error, .. } => {
                if let Some(Asked { peer, answer }) = self.requests.remove(&request_id) {
                    tracing::debug!(peer = %peer, err = %error, "a request for blocks failed");
                    let reason = error.to_string();
                    if let Some(answer) = answer {
                        let _ = answer.send(Err(RequestError::NoAnswer { peer, reason }));
                    }
                }
            }
            request_response::Event::InboundFailure { peer, error, .. } => {
                tracing::debug!(peer = %peer, err = %error, "a peer's request was not answered");
            }
            request_response::Event::ResponseSent { .. } => {}
        }
    }

    fn on_snapshots(&mut self, event: request_response::Event<SnapshotRequest, SnapshotResponse>) {
        match event {
            request_response::Event::Message { peer, message, .. } => match message {
                request_response::Message::Request { request, channel, .. } => {
                    let Ok(peer) = NodeKey::from_peer_id(&peer) else { return };
                    self.note_message(peer);
                    // Leaves hold what only members may see (PROTOCOL II.5).
                    if self.classes.get(&peer).is_some_and(|class| class.gossips()) {
                        let channel = SnapshotChannel(channel);
                        let event = NetworkEvent::SnapshotRequest { peer, request, channel };
                        self.tell(LANE_REQUESTS, peer, event, 0);
                    }
                }
                request_response::Message::Response { request_id, response } => {
                    let asked = self.snapshot_requests.remove(&request_id);
                    if let Some(Asked { answer: Some(answer), .. }) = asked {
                        // Who no longer waits for the answer does not miss it.
                        let _ = answer.send(Ok(response));
                    }
                }
            },
            request_response::Event::OutboundFailure { request_id, error, .. } => {
                let asked = self.snapshot_requests.remove(&request_id);
                if let Some(Asked { peer, answer: Some(answer) }) = asked {
                    tracing::debug!(peer = %peer, err = %error, "a request for a snapshot failed");
                    let reason = error.to_string();
                    let _ = answer.send(Err(RequestError::NoAnswer { peer, reason }));
                }
            }
            request_response::Event::InboundFailure { peer, error, .. } => {
                tracing::debug!(peer = %peer, err = %error, "a peer's request was not answered");
            }
            request_response::Event::ResponseSent { .. } => {}
        }
    }

    /// As much of a request as a peer may have.
    fn granted(&self, peer: NodeKey, request: SyncRequest) -> Option<SyncRequest> {
        match self.classes.get(&peer)? {
            Class::Validator | Class::Other => Some(request),
            Class::Leaving(last) => {
                let left = last.checked_add(1)?.saturating_sub(request.from_height);
                let blocks_max = request.blocks_max.min(u32::try_from(left).unwrap_or(u32::MAX));
                Some(SyncRequest { blocks_max, ..request })
            }
            Class::Source => None,
        }
    }

    /// A peer that takes no part in gossip said how high it is.
    fn on_tip_told(&mut self, node: NodeKey, height: u64) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if !peer.told {
            peer.told = true;
            self.show_peers();
            self.tell(LANE_PEERS, node, NetworkEvent::PeerConnected { peer: node }, 0);
        }
        self.tell(LANE_REQUESTS, node, NetworkEvent::Tip { peer: node, height }, 0);
    }

    /// Hands an event to the node, or drops it if the peer's share is full.
    /// Whether there was room.
    fn tell(&self, lane: usize, peer: NodeKey, event: NetworkEvent, bytes: usize) -> bool {
        let told = self.events.push(lane, peer, event, bytes);
        if !told {
            count(if lane == LANE_CONSENSUS {
                &self.counters.dropped_consensus_in
            } else {
                &self.counters.dropped_requests_in
            });
        }
        told
    }

    fn show_peers(&self) {
        let told = self.peers.iter().filter(|(_, peer)| peer.told);
        self.peers_shown.send_replace(
            told.map(|(node, peer)| PeerInfo {
                node: *node,
                outbound: peer.outbound,
                round_trip: peer.round_trip,
            })
            .collect(),
        );
    }
}

/// The addresses behind names, as far as they can be found.
async fn look_up(addresses: &[PeerAddress]) -> Vec<Multiaddr> {
    let mut found = Vec::new();
    for address in addresses {
        match address.host() {
            Host::Ip(ip) => found.push(multiaddr(SocketAddr::new(*ip, address.port()))),
            Host::Name { name, v4, v6 } => {
                let lookup = tokio::net::lookup_host((name.as_str(), address.port()));
                let Ok(Ok(sockets)) = timeout(LOOKUP_MAX, lookup).await else { continue };
                found.extend(
                    sockets
                        .filter(|socket| if socket.is_ipv4() { *v4 } else { *v6 })
                        .map(multiaddr),
                );
            }
        }
    }
    found
}
