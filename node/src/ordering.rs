//! The shell around the ordering host: carries out its actions in order, and tells it what happened.
//!
//! One thread, one event at a time. Executing and building blocks happen elsewhere and come back as events, so the
//! thread is free for votes; the signing record and the commit are written here, because their order is the safety of
//! the network. If an action fails none after it is carried out: the process stops and starts again from disk.

use crate::application::{self, Application, ApplicationError, Built, Validated, height_start};
use crate::clock::Clock;
use crate::join;
use crate::ledger::Ledger;
use crate::network::{
    GossipId, NetworkEvent, NetworkEvents, NetworkHandle, NodeKey, SYNC_RESPONSE_BYTES_MAX,
    SnapshotChannel,
};
use crate::signing_record::{Opened, SigningRecord, SigningRecordError};
use crate::validator_key::{Found, ValidatorKeys};
use bytes::Bytes;
use prost::Message;
use sillok_consensus::{
    Action, Checker, Ed25519Signer, Event, Figures, HaltReason, Host, HostConfig, Peer, TimerId,
    ValidationId,
};
use sillok_ledger::genesis::BLOCK_BYTES_MAX;
use sillok_ledger::header_hash;
use sillok_proto::{CanonicalError, v1};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;

/// Parts of a snapshot made at once for one peer.
const SNAPSHOT_PARTS_AT_ONCE: usize = 2;
/// Results waiting for the thread.
const RESULTS_MAX: usize = 256;
/// Threads that build and execute blocks, and as many that check signatures. Their own, so that no flood of reads or
/// submissions stands before a block.
const WORKERS: usize = 2;
/// Messages whose signatures are being checked at once; the rest wait in the queues of their senders, which are bounded.
const BEING_CHECKED_MAX: usize = 64;
/// Requests for blocks served at once, one of each peer: each may read and hold an answer of full length.
const SERVED_AT_ONCE: usize = 4;
/// How many of them may be of others than validators: a validator that is behind is a vote that the network lacks.
const OTHERS_SERVED_AT_ONCE: usize = 2;

/// Why ordering ended. The process ends with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OrderingError {
    /// The host stopped.
    #[error(transparent)]
    Halted(#[from] HaltReason),
    /// The host could not be made.
    #[error(transparent)]
    Start(#[from] sillok_consensus::StartError),
    /// The signing record failed: nothing may be signed without it.
    #[error(transparent)]
    SigningRecord(#[from] SigningRecordError),
    /// The record cannot go on.
    #[error(transparent)]
    Application(#[from] ApplicationError),
    /// The network task ended by itself, which it never should.
    #[error("the network task ended; start the node again")]
    NetworkEnded,
    /// The threads that execute blocks could not be made.
    #[error(
        "the threads that execute blocks cannot be started ({reason}); free some memory and start again"
    )]
    Workers {
        /// The system's error.
        reason: String,
    },
}

impl OrderingError {
    /// May a supervisor start the process again without a person?
    #[must_use]
    pub const fn may_restart(&self) -> bool {
        match self {
            Self::Halted(reason) => reason.may_restart(),
            Self::SigningRecord(_) | Self::NetworkEnded | Self::Workers { .. } => true,
            Self::Application(ApplicationError::Storage(_)) => true,
            Self::Start(_) | Self::Application(ApplicationError::Execution { .. }) => false,
        }
    }
}

/// What the node says of its ordering.
#[derive(Debug, Clone, Default)]
pub struct OrderingStatus {
    /// Does its key vote in the height being decided?
    pub validating: bool,
    /// Round last seen of the height being decided.
    pub round: u32,
    /// Why the key stopped signing; empty while it signs.
    pub halted: String,
    /// This node's validator key; empty on an observer.
    pub validator_key: Vec<u8>,
    /// What that key is good for.
    pub signing: v1::Signing,
    /// Highest tip a peer announced.
    pub best_peer_height: u64,
    /// Tip of each connected peer.
    pub peers: BTreeMap<[u8; 32], u64>,
}

impl OrderingStatus {
    fn note_tip(&mut self, peer: &NodeKey, height: u64) {
        self.peers.insert(*peer.as_bytes(), height);
        self.best_peer_height = self.peers.values().copied().max().unwrap_or(0);
    }
}

/// What comes back from the tasks beside the thread.
enum Done {
    Built(Built),
    Validated(Validated),
    Synced { peer: NodeKey, response: Option<v1::SyncResponse> },
    Checked { peer: NodeKey, id: GossipId, message: Option<Box<v1::ConsensusMessage>> },
}

/// Threads that take one job after the other. A job that panics costs its own answer.
struct Workers(std::sync::mpsc::Sender<Job>);

type Job = Box<dyn FnOnce() + Send>;

impl Workers {
    fn start(name: &str) -> Result<Self, OrderingError> {
        let (sender, jobs) = std::sync::mpsc::channel::<Job>();
        let jobs = Arc::new(Mutex::new(jobs));
        for nth in 0..WORKERS {
            let jobs = jobs.clone();
            std::thread::Builder::new()
                .name(format!("{name}-{nth}"))
                .spawn(move || {
                    loop {
                        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        let Ok(job) = job else { return };
                        let _ = catch_unwind(AssertUnwindSafe(job));
                    }
                })
                .map_err(|error| OrderingError::Workers { reason: error.to_string() })?;
        }
        Ok(Self(sender))
    }

    fn run(&self, job: impl FnOnce() + Send + 'static) {
        // The threads live as long as this sender, so there is always one to take it.
        let _ = self.0.send(Box::new(job));
    }
}

/// Peers that are being served snapshots, and how much at a time.
type Served = Arc<Mutex<BTreeMap<NodeKey, usize>>>;

/// One answer in the making for a peer.
struct Serving {
    served: Served,
    peer: NodeKey,
}

impl Serving {
    /// `None` if the peer is being served this many answers already.
    fn begin(served: &Served, peer: NodeKey, most: usize) -> Option<Self> {
        let mut counts = served.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(peer).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Self { served: served.clone(), peer })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let mut counts = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

/// Peers that are being served blocks, and whether each is a validator's node.
#[derive(Debug, Clone, Default)]
struct BlockTurns(Arc<Mutex<BTreeMap<NodeKey, bool>>>);

impl BlockTurns {
    /// `None` if the peer is being served already, or too many are.
    fn begin(&self, peer: NodeKey, validator: bool) -> Option<BlockTurn> {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let others = peers.values().filter(|validator| !**validator).count();
        let free = peers.len() < SERVED_AT_ONCE && (validator || others < OTHERS_SERVED_AT_ONCE);
        if !free || peers.contains_key(&peer) {
            return None;
        }
        peers.insert(peer, validator);
        Some(BlockTurn { turns: self.clone(), peer })
    }
}

/// The turn of a peer, until this is dropped.
struct BlockTurn {
    turns: BlockTurns,
    peer: NodeKey,
}

impl Drop for BlockTurn {
    fn drop(&mut self) {
        self.turns.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.peer);
    }
}

/// The shell. See the module.
pub struct Ordering {
    ledger: Arc<Ledger>,
    application: Application,
    clock: Clock,
    network: NetworkHandle,
    /// What hosts are made from, but for the key.
    config: HostConfig,
    keys: ValidatorKeys,
    record: Option<SigningRecord>,
    /// The key that this node votes with, or did.
    validator: Option<[u8; 32]>,
    /// Whether the key voted its last height and was destroyed.
    ended: bool,
    /// That it just was, and its last height.
    destroyed: Option<u64>,
    host: Host,
    timers: BTreeMap<TimerId, Instant>,
    results: mpsc::Sender<Done>,
    done: mpsc::Receiver<Done>,
    status: watch::Sender<OrderingStatus>,
    events: VecDeque<Event>,
    workers: Workers,
    /// Checks signatures beside the thread, into the memory of the host.
    checker: Checker,
    /// Takes the messages to be checked; apart from the execution of blocks, for which no vote is to wait.
    checking: Workers,
    /// Messages being checked.
    being_checked: usize,
    serving: BlockTurns,
    /// Apart from blocks, which keep the network going.
    serving_snapshots: Served,
    snapshot_turns: Arc<Semaphore>,
}

impl std::fmt::Debug for Ordering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ordering").finish_non_exhaustive()
    }
}

impl Ordering {
    /// Makes the host from the tip and the signing record, and carries out its first actions.
    ///
    /// # Errors
    ///
    /// [`OrderingError`].
    pub fn start(
        ledger: Arc<Ledger>,
        network: NetworkHandle,
        config: HostConfig,
        keys: ValidatorKeys,
        found: Found,
        status: watch::Sender<OrderingStatus>,
    ) -> Result<Self, OrderingError> {
        let ended = matches!(found, Found::Ended { .. });
        let opened = match found {
            Found::Key(opened) => Some(*opened),
            Found::None | Found::Ended { .. } => None,
        };
        let Made { host, actions, record, validator } = make_host(&config, &ledger, opened)?;
        let clock = ledger.clock().clone();
        let checker = host.checker();
        let (results, done) = mpsc::channel(RESULTS_MAX);
        let mut ordering = Self {
            application: Application::new(ledger.clone(), validator),
            ledger,
            clock,
            network,
            config,
            keys,
            record,
            validator,
            ended,
            destroyed: None,
            host,
            timers: BTreeMap::new(),
            results,
            done,
            status,
            events: VecDeque::new(),
            workers: Workers::start("executing")?,
            checker,
            checking: Workers::start("checking")?,
            being_checked: 0,
            serving: BlockTurns::default(),
            serving_snapshots: Arc::default(),
            snapshot_turns: Arc::new(Semaphore::new(SERVED_AT_ONCE)),
        };
        ordering.carry_out(actions)?;
        ordering.drain()?;
        Ok(ordering)
    }

    /// Runs until told to stop.
    ///
    /// # Errors
    ///
    /// [`OrderingError`]: the process must end.
    pub async fn run(
        mut self,
        mut network: NetworkEvents,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), OrderingError> {
        let mut pending = self.ledger.watch_pending();
        pending.mark_changed();
        loop {
            let timer = self.timers.iter().min_by_key(|(_, at)| **at).map(|(id, at)| (*id, *at));
            let due =
                timer.map_or_else(|| Instant::now() + Duration::from_secs(3600), |(_, at)| at);
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                done = self.done.recv() => {
                    if let Some(done) = done { self.on_done(done)? }
                }
                () = tokio::time::sleep_until(due) => {
                    if let Some((id, _)) = timer {
                        self.timers.remove(&id);
                        self.events.push_back(Event::TimerFired(id));
                    }
                }
                // Before the network, which a flooding peer keeps ready for ever.
                changed = pending.changed() => {
                    if changed.is_err() { return Ok(()) }
                    let pending = *pending.borrow_and_update();
                    self.events.push_back(Event::TransactionsPending(pending));
                }
                event = network.next(), if self.being_checked < BEING_CHECKED_MAX => match event {
                    Some(event) => self.on_network(event),
                    None => return Err(OrderingError::NetworkEnded),
                },
            }
            self.drain()?;
        }
    }

    fn drain(&mut self) -> Result<(), OrderingError> {
        loop {
            while let Some(event) = self.events.pop_front() {
                let actions = self.host.handle(event, self.clock.now_ms());
                self.carry_out(actions)?;
            }
            let Some(last_height) = self.destroyed.take() else { break };
            let next = match self.keys.after_end(last_height)? {
                Found::Key(opened) => Some(*opened),
                Found::None | Found::Ended { .. } => None,
            };
            self.leave_key(next)?;
        }
        self.publish_status();
        Ok(())
    }

    /// Goes on without the key that has voted its last height: with the next key of this operator, or with none. The host
    /// before held the key in memory.
    fn leave_key(&mut self, next: Option<Opened>) -> Result<(), OrderingError> {
        let Made { host, actions, record, validator } =
            make_host(&self.config, &self.ledger, next)?;
        // What was under way was for the host before, whose names for it this one uses again.
        (self.results, self.done) = mpsc::channel(RESULTS_MAX);
        self.being_checked = 0;
        self.timers.clear();
        self.events.clear();
        self.application = Application::new(self.ledger.clone(), validator);
        self.checker = host.checker();
        (self.host, self.record) = (host, record);
        self.status.send_modify(|status| status.halted = String::new());
        if let Some(key) = validator {
            (self.validator, self.ended) = (validator, false);
            tracing::info!(
                event = "next_key",
                height = self.ledger.tip().height(),
                key = %hex::encode(key),
                "the next validator key has taken the place of the one before"
            );
        }
        self.carry_out(actions)?;
        // What the host before knew of the world.
        let pending = *self.ledger.watch_pending().borrow();
        self.events.push_back(Event::TransactionsPending(pending));
        let tips = self.status.borrow().peers.clone();
        let tips = tips.into_iter().map(|(peer, height)| (Peer(peer), height));
        self.events.extend(tips.map(|(peer, height)| Event::PeerTip { peer, height }));
        Ok(())
    }

    fn on_done(&mut self, done: Done) -> Result<(), OrderingError> {
        match done {
            Done::Built(built) => self.events.extend(self.application.on_built(built)),
            Done::Validated(validated) => {
                self.events.push_back(self.application.on_validated(validated)?);
            }
            Done::Checked { peer, id, message } => {
                self.being_checked = self.being_checked.saturating_sub(1);
                self.on_checked(peer, id, message.map(|message| *message))?;
            }
            Done::Synced { peer, response } => {
                let peer = Peer(*peer.as_bytes());
                self.events.push_back(match response {
                    Some(response) => Event::Synced { peer, response },
                    None => Event::SyncFailed { peer },
                });
            }
        }
        Ok(())
    }

    /// Decodes a message and checks its signatures beside the thread.
    fn check(&mut self, peer: NodeKey, id: GossipId, bytes: Bytes) {
        // Not by the bound in force: the message may be of a height after a change of it. Validity asks for that one.
        let max = usize::try_from(BLOCK_BYTES_MAX).unwrap_or(usize::MAX);
        let (checker, results) = (self.checker.clone(), self.results.clone());
        self.being_checked += 1;
        self.checking.run(move || {
            // A panic over a stranger's bytes is a refusal, and must come back too: it is counted.
            let checked = catch_unwind(AssertUnwindSafe(|| {
                let message = sillok_consensus::decode_message(&bytes, max)?;
                // What was not found good the host looks at itself, and says whose fault it is.
                let _good = checker.check(&message);
                Ok::<_, CanonicalError>(message)
            }));
            let message = checked.ok().and_then(|checked| {
                checked
                    .inspect_err(|error| {
                        // Strangers must not be able to fill our disk: debug, and a counter in the network.
                        tracing::debug!(%peer, err = %error, "a consensus message does not decode");
                    })
                    .ok()
            });
            let _ =
                results.blocking_send(Done::Checked { peer, id, message: message.map(Box::new) });
        });
    }

    fn on_checked(
        &mut self,
        peer: NodeKey,
        id: GossipId,
        message: Option<v1::ConsensusMessage>,
    ) -> Result<(), OrderingError> {
        let Some(message) = message else {
            self.network.judge(peer, id, false);
            self.network.fault(peer);
            return Ok(());
        };
        let event = Event::Message { peer: Peer(*peer.as_bytes()), message };
        let actions = self.host.handle(event, self.clock.now_ms());
        // Whoever passes on what another finds wrong is blamed for it, so only what the host vouches for goes further.
        let good = actions.iter().any(|action| matches!(action, Action::Vouch));
        self.network.judge(peer, id, good);
        self.carry_out(actions)
    }

    fn on_network(&mut self, event: NetworkEvent) {
        match event {
            NetworkEvent::Consensus { peer, bytes, id } => self.check(peer, id, bytes),
            NetworkEvent::Tip { peer, height } => {
                // A goodbye overtakes what was said before it. Who connected before this thread began is there too.
                if self.network.is_connected(&peer) {
                    self.status.send_modify(|status| status.note_tip(&peer, height));
                    self.events.push_back(Event::PeerTip { peer: Peer(*peer.as_bytes()), height });
                }
            }
            NetworkEvent::PeerConnected { peer } => {
                tracing::info!(event = "peer_connected", %peer);
                self.status.send_modify(|status| {
                    status.peers.entry(*peer.as_bytes()).or_default();
                });
                // What was announced before it listened it has missed.
                let _ = self.network.announce_tip(self.ledger.tip().height());
            }
            NetworkEvent::PeerDisconnected { peer } => {
                tracing::info!(event = "peer_disconnected", %peer);
                self.status.send_modify(|status| {
                    status.peers.remove(peer.as_bytes());
                });
                self.events.push_back(Event::PeerGone { peer: Peer(*peer.as_bytes()) });
            }
            NetworkEvent::SnapshotRequest { peer, request, channel } => {
                self.serve_snapshot(peer, request, channel);
            }
            NetworkEvent::SyncRequest { peer, request, validator, channel } => {
                // A correct node asks one thing at a time.
                let Some(turn) = self.serving.begin(peer, validator) else {
                    // Nothing in spite of our height says "busy": who asks asks another, and us again soon.
                    let tip = self.ledger.tip().height();
                    let busy = v1::SyncResponse { tip, blocks: Vec::new() };
                    let _ = self.network.respond(channel, busy);
                    return;
                };
                let (ledger, network) = (self.ledger.clone(), self.network.clone());
                tokio::task::spawn_blocking(move || {
                    let _held = turn;
                    match application::blocks(&ledger, &request, SYNC_RESPONSE_BYTES_MAX) {
                        Ok(response) => {
                            let _ = network.respond(channel, response);
                        }
                        Err(error) => {
                            tracing::error!(err = %error, "blocks could not be read for a peer");
                        }
                    }
                });
            }
        }
    }

    fn carry_out(&mut self, actions: Vec<Action>) -> Result<(), OrderingError> {
        for action in actions {
            match action {
                Action::ResetWal { height } => {
                    if let Some(record) = &mut self.record {
                        record.reset(height)?;
                    }
                }
                Action::Append(entry) => {
                    if let Some(record) = &mut self.record {
                        record.append(&entry)?;
                    }
                }
                Action::Sync => {
                    if let Some(record) = &mut self.record {
                        record.sync()?;
                    }
                }
                Action::Broadcast(message) => {
                    let bytes = message.encode_to_vec().into();
                    if let Err(error) = self.network.broadcast_consensus(bytes) {
                        tracing::warn!(err = %error, "a consensus message was not sent");
                    }
                }
                // Told to the network with the message's id: see `on_checked`.
                Action::Vouch => {}
                Action::AnnounceTip { height } => {
                    let _ = self.network.announce_tip(height);
                }
                Action::SetTimer { id, after_ms } => {
                    self.timers.insert(id, Instant::now() + Duration::from_millis(after_ms));
                }
                Action::CancelTimer { id } => {
                    self.timers.remove(&id);
                }
                Action::Build { height, round, .. } => self.build(height, round),
                Action::Validate { request, block, certified } => {
                    self.validate(request, block, certified);
                }
                Action::BuildsDiffer { header_hash } => {
                    tracing::warn!(
                        event = "builds_differ",
                        block = %header_hash,
                        "validators do not agree on a proposed block; its transactions are left out for a while, and all \
                         operators should run one release"
                    );
                    self.application.on_builds_differ(header_hash);
                }
                Action::Decide { block, certificate, evidence } => {
                    let next = self.application.decide(&block, &certificate, &evidence)?;
                    // Before the host begins the next height with them.
                    self.host.set_figures(figures(&self.ledger.tip().parameters));
                    self.events.extend(next);
                }
                Action::RequestSync { peer, from_height, blocks_max } => {
                    self.request_sync(peer, from_height, blocks_max);
                }
                Action::PeerFault { peer, reason } => {
                    tracing::debug!(peer = ?peer, err = %reason, "a peer sent what no correct node sends");
                    if let Ok(node) = NodeKey::from_bytes(&peer.0) {
                        self.network.fault(node);
                    }
                }
                Action::Disconnect { peer } => {
                    if let Ok(node) = NodeKey::from_bytes(&peer.0) {
                        self.network.ban(node);
                    }
                }
                Action::Notice(notice) => {
                    tracing::warn!(event = "clock", err = %notice, "times do not fit");
                }
                // The record says already that it signs no more.
                Action::DestroyKey { last_height } => {
                    if let Some(record) = self.record.take() {
                        record.destroy(last_height)?;
                        self.ended = true;
                        self.destroyed = Some(last_height);
                        tracing::warn!(
                            event = "key_destroyed",
                            height = last_height,
                            "this validator's key voted its last height and was destroyed"
                        );
                    }
                }
                Action::StopSigning { reason } => {
                    tracing::error!(event = "stopped_signing", err = %reason, "this validator's key never signs again");
                    self.status.send_modify(|status| {
                        status.halted = reason.to_string();
                        status.validating = false;
                    });
                }
                Action::Halt { reason } => return Err(reason.into()),
            }
        }
        Ok(())
    }

    fn build(&self, height: u64, round: u32) {
        let (job, results) = (self.application.build(height, round), self.results.clone());
        self.workers.run(move || {
            let (built, refused) = job.run();
            let _ = results.blocking_send(Done::Built(built));
            refused.drop_all();
        });
    }

    fn validate(&self, request: ValidationId, block: Arc<v1::Block>, certified: bool) {
        tracing::info!(
            event = "proposal",
            height = block.header.as_ref().map_or(0, |header| header.height),
            transactions = block.transactions.len(),
            block = %header_hash(&block.header.clone().unwrap_or_default())
        );
        let job = self.application.validate(request, block, certified);
        let results = self.results.clone();
        self.workers.run(move || {
            let _ = results.blocking_send(Done::Validated(job.run()));
        });
    }

    fn serve_snapshot(
        &self,
        peer: NodeKey,
        request: v1::SnapshotRequest,
        channel: SnapshotChannel,
    ) {
        let serving = Serving::begin(&self.serving_snapshots, peer, SNAPSHOT_PARTS_AT_ONCE);
        let turn = self.snapshot_turns.clone().try_acquire_owned();
        let (Some(serving), Ok(turn)) = (serving, turn) else {
            use v1::snapshot_response::Response;
            let refusal = Response::Refusal(v1::SnapshotRefusal::Busy.into());
            let response = v1::SnapshotResponse { response: Some(refusal) };
            let _ = self.network.respond_snapshot(channel, response);
            return;
        };
        let (ledger, network) = (self.ledger.clone(), self.network.clone());
        tokio::task::spawn_blocking(move || {
            let _held = (serving, turn);
            // A panic over a stranger's bytes costs the answer.
            let _ = network.respond_snapshot(channel, join::serve(&ledger, &request));
        });
    }

    fn publish_status(&self) {
        let host = self.host.status();
        let key = self.validator.map(|key| key.to_vec()).unwrap_or_default();
        let seated = || {
            let tip = self.ledger.tip();
            tip.validators.validators.iter().any(|validator| validator.public_key == key)
        };
        self.status.send_if_modified(|status| {
            let signing = match self.validator {
                _ if self.ended => v1::Signing::Destroyed,
                None => v1::Signing::Observer,
                Some(_) if host.retired || !status.halted.is_empty() => v1::Signing::Stopped,
                Some(_) if seated() => v1::Signing::Seated,
                Some(_) => v1::Signing::Waiting,
            };
            let before = (status.validating, status.round, status.signing);
            let now = (host.votes && !host.retired, host.round.unwrap_or(0), signing);
            let changed = before != now || status.validator_key != key;
            (status.validating, status.round, status.signing) = now;
            status.validator_key.clone_from(&key);
            changed
        });
    }

    fn request_sync(&self, peer: Peer, from_height: u64, blocks_max: u32) {
        let (network, results) = (self.network.clone(), self.results.clone());
        let Ok(node) = NodeKey::from_bytes(&peer.0) else { return };
        tokio::spawn(async move {
            let request = v1::SyncRequest { from_height, blocks_max };
            let response = network
                .request_blocks(node, request)
                .await
                .inspect_err(|error| tracing::debug!(err = %error, "no blocks from a peer"))
                .ok();
            let _ = results.send(Done::Synced { peer: node, response }).await;
        });
    }
}

/// The figures of the network that ordering needs.
const fn figures(parameters: &v1::Parameters) -> Figures {
    Figures {
        heartbeat_ms: parameters.heartbeat_ms,
        clock_behind_ms: parameters.clock_behind_ms,
        clock_ahead_ms: parameters.clock_ahead_ms,
    }
}

/// A host, and what belongs to it.
struct Made {
    host: Host,
    actions: Vec<Action>,
    record: Option<SigningRecord>,
    validator: Option<[u8; 32]>,
}

/// Makes a host that goes on from the tip, with this key.
fn make_host(
    config: &HostConfig,
    ledger: &Ledger,
    opened: Option<Opened>,
) -> Result<Made, OrderingError> {
    let mut config = config.clone();
    let mut recorded = sillok_consensus::SigningRecord::default();
    let mut record = None;
    config.signer = None;
    if let Some(Opened { record: own, height, entries }) = opened {
        config.signer = Some(Arc::new(Ed25519Signer::new(&own.key().seed())));
        recorded = sillok_consensus::SigningRecord { height, entries };
        record = Some(own);
    }
    let tip = ledger.tip();
    config.recent_certificates =
        application::recent_certificates(ledger).map_err(ApplicationError::from)?;
    let validator = config.signer.as_ref().map(|signer| signer.public_key());
    config.set_figures(figures(&tip.parameters));
    let (host, actions) =
        Host::new(config, &height_start(&tip), recorded, ledger.clock().now_ms())?;
    Ok(Made { host, actions, record, validator })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey;

    fn peer(seed: u8) -> NodeKey {
        NodeKey::from_bytes(&SecretKey::from_seed(&[seed; 32]).public()).unwrap()
    }

    #[test]
    fn half_of_the_turns_are_kept_for_validators() {
        let serving = BlockTurns::default();
        let others: Vec<_> = (1..=3).filter_map(|seed| serving.begin(peer(seed), false)).collect();
        assert_eq!(others.len(), 2);
        let mut validators: Vec<_> =
            (11..=14).filter_map(|seed| serving.begin(peer(seed), true)).collect();
        assert_eq!(validators.len(), 2);
        validators.pop();
        assert!(serving.begin(peer(3), false).is_none());
        assert!(serving.begin(peer(11), true).is_none(), "one request of each");
        assert!(serving.begin(peer(14), true).is_some());
    }
}
