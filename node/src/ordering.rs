//! The shell around the ordering host: carries out its actions in order, and tells it what happened.
//!
//! One thread, one event at a time. Executing and building blocks happen elsewhere and come back as events, so the
//! thread is free for votes; the signing record and the commit are written here, because their order is the safety of
//! the network. If an action fails none after it is carried out: the process stops and starts again from disk.

use crate::clock::now_ms;
use crate::ledger::{BuiltBlock, Ledger};
use crate::network::{
    NetworkEvent, NetworkEvents, NetworkHandle, NodeKey, SYNC_RESPONSE_BYTES_MAX,
};
use crate::signing_record::{SigningRecord, SigningRecordError};
use crate::storage::StorageError;
use prost::Message;
use sillok_consensus::{
    Action, Event, HaltReason, HeightStart, Host, HostConfig, Peer, TimerId, ValidationId,
    ValidatorKey, Verdict,
};
use sillok_ledger::{
    BlockError, Outcome, Tip, TransactionLeaf, header_hash, merkle_log, proposers,
};
use sillok_proto::{Hash, v1};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;

/// Rounds of a height after which a proposer leaves out what failed proposals held (PROTOCOL II.3).
const ROUNDS_BEFORE_LEAVING_OUT: u32 = 2;
/// Rounds of a height after which a proposer takes nothing at all.
const ROUNDS_BEFORE_EMPTY: u32 = 4;
/// Room for the envelope and the certificates around blocks in an answer, in bytes.
const SYNC_ENVELOPE_BYTES: usize = 256 * 1024;
/// Most blocks in an answer.
const SYNC_BLOCKS_MAX: u32 = 64;
/// Results waiting for the thread.
const RESULTS_MAX: usize = 256;
/// Threads that build and execute blocks. Their own, so that no flood of reads or submissions stands before a block.
const WORKERS: usize = 2;
/// Requests for blocks served at once, one of each peer: each may read and hold an answer of full length.
const SERVED_AT_ONCE: usize = 4;

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
    /// A block could not be persisted.
    #[error(transparent)]
    Storage(#[from] StorageError),
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
    /// A decided block that this node did not execute before does not execute now.
    #[error(
        "the decided block of height {height} cannot be executed ({reason}); install the release the other validators run"
    )]
    Execution {
        /// Height of the block.
        height: u64,
        /// Which rule.
        reason: String,
    },
}

impl OrderingError {
    /// May a supervisor start the process again without a person?
    #[must_use]
    pub const fn may_restart(&self) -> bool {
        match self {
            Self::Halted(reason) => reason.may_restart(),
            Self::SigningRecord(_)
            | Self::Storage(_)
            | Self::NetworkEnded
            | Self::Workers { .. } => true,
            Self::Start(_) | Self::Execution { .. } => false,
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
    /// Highest tip a peer announced.
    pub best_peer_height: u64,
    /// Tip of each connected peer.
    pub peers: BTreeMap<[u8; 32], u64>,
}

/// What comes back from the tasks beside the thread.
enum Done {
    Built { height: u64, round: u32, result: Result<(v1::Block, Outcome), BlockError> },
    Validated(Validated),
    Synced { peer: NodeKey, response: Option<v1::SyncResponse> },
}

/// What came of executing a block.
struct Validated {
    request: ValidationId,
    height: u64,
    hash: Hash,
    certified: bool,
    /// The transactions its header commits to, also of a block that was refused.
    proposed: Vec<Hash>,
    result: Result<Outcome, BlockError>,
}

/// Threads that take one job after the other. A job that panics costs its own answer.
struct Workers(std::sync::mpsc::Sender<Job>);

type Job = Box<dyn FnOnce() + Send>;

impl Workers {
    fn start() -> Result<Self, OrderingError> {
        let (sender, jobs) = std::sync::mpsc::channel::<Job>();
        let jobs = Arc::new(Mutex::new(jobs));
        for nth in 0..WORKERS {
            let jobs = jobs.clone();
            std::thread::Builder::new()
                .name(format!("executing-{nth}"))
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

/// A peer that is being served blocks.
struct Serving {
    peers: Arc<Mutex<BTreeSet<NodeKey>>>,
    peer: NodeKey,
}

impl Serving {
    /// `None` if the peer is being served already.
    fn begin(peers: &Arc<Mutex<BTreeSet<NodeKey>>>, peer: NodeKey) -> Option<Self> {
        let new = peers.lock().unwrap_or_else(PoisonError::into_inner).insert(peer);
        new.then(|| Self { peers: peers.clone(), peer })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.peer);
    }
}

/// The shell. See the module.
pub struct Ordering {
    ledger: Arc<Ledger>,
    network: NetworkHandle,
    record: Option<SigningRecord>,
    host: Host,
    validator: Option<[u8; 32]>,
    timers: BTreeMap<TimerId, Instant>,
    /// Outcomes of undecided blocks, by block hash, never as "the pending state" (PROTOCOL II.2).
    outcomes: BTreeMap<Hash, Outcome>,
    /// Transactions of the proposals seen at this height.
    proposed: BTreeSet<Hash>,
    results: mpsc::Sender<Done>,
    done: mpsc::Receiver<Done>,
    status: watch::Sender<OrderingStatus>,
    events: VecDeque<Event>,
    workers: Workers,
    serving: Arc<Mutex<BTreeSet<NodeKey>>>,
    serving_turns: Arc<Semaphore>,
}

impl std::fmt::Debug for Ordering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ordering").finish_non_exhaustive()
    }
}

/// What the height after `tip` starts from.
#[must_use]
pub fn height_start(tip: &Tip) -> HeightStart {
    let height = tip.height() + 1;
    let keys: Vec<[u8; 32]> = tip
        .validators
        .validators
        .iter()
        .filter_map(|validator| validator.public_key.as_slice().try_into().ok())
        .collect();
    HeightStart {
        height,
        parent_hash: tip.hash,
        parent_time_ms: tip.header.time_ms,
        validators: tip.validators.clone(),
        next_validators: tip.next_validators.clone(),
        proposer_order: proposers::order(&tip.validators, height, &tip.recent)
            .into_iter()
            .filter_map(|index| keys.get(index).copied().map(ValidatorKey))
            .collect(),
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
        record: Option<(SigningRecord, sillok_consensus::SigningRecord)>,
    ) -> Result<(Self, watch::Receiver<OrderingStatus>), OrderingError> {
        let (record, recorded) = match record {
            Some((record, recorded)) => (Some(record), recorded),
            None => (None, sillok_consensus::SigningRecord::default()),
        };
        let validator = config.signer.as_ref().map(|signer| signer.public_key());
        let start = height_start(&ledger.tip());
        let (host, actions) = Host::new(config, &start, recorded, now_ms())?;
        let (results, done) = mpsc::channel(RESULTS_MAX);
        let (status, watched) = watch::channel(OrderingStatus::default());
        let mut ordering = Self {
            ledger,
            network,
            record,
            host,
            validator,
            timers: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            proposed: BTreeSet::new(),
            results,
            done,
            status,
            events: VecDeque::new(),
            workers: Workers::start()?,
            serving: Arc::default(),
            serving_turns: Arc::new(Semaphore::new(SERVED_AT_ONCE)),
        };
        ordering.carry_out(actions)?;
        ordering.drain()?;
        Ok((ordering, watched))
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
                event = network.next() => match event {
                    Some(event) => self.on_network(event),
                    None => return Err(OrderingError::NetworkEnded),
                },
            }
            self.drain()?;
        }
    }

    fn drain(&mut self) -> Result<(), OrderingError> {
        while let Some(event) = self.events.pop_front() {
            let actions = self.host.handle(event, now_ms());
            self.carry_out(actions)?;
        }
        self.publish_status();
        Ok(())
    }

    fn on_done(&mut self, done: Done) -> Result<(), OrderingError> {
        match done {
            Done::Built { height, round, result: Ok((block, outcome)) } => {
                if height == outcome.header.height && height == self.ledger.tip().height() + 1 {
                    self.proposed.extend(outcome.transactions.iter().map(|leaf| leaf.id));
                    self.outcomes.insert(outcome.hash, outcome);
                }
                self.events.push_back(Event::Built { height, round, block: Arc::new(block) });
            }
            // No answer costs the round, not the process.
            Done::Built { height, round, result: Err(error) } => {
                tracing::error!(height, round, err = reason(&error), "no block could be built");
            }
            Done::Validated(validated) => self.on_validated(validated)?,
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

    fn on_validated(&mut self, validated: Validated) -> Result<(), OrderingError> {
        let Validated { request, height, hash, certified, proposed, result } = validated;
        // Late answers are of a height that is over.
        let current = height == self.ledger.tip().height() + 1;
        if current {
            // Also of blocks that were refused: theirs are the ones that may have failed (PROTOCOL II.3).
            self.proposed.extend(proposed);
        }
        let verdict = match result {
            Ok(outcome) if outcome.hash == hash => {
                if current {
                    self.outcomes.insert(outcome.hash, outcome);
                }
                Verdict::Valid
            }
            Ok(_) => Verdict::Invalid { reason: "the header's hash differs".to_owned() },
            // The disk failed. It says nothing about a block that a quorum found valid, so it must not halt for good.
            Err(BlockError::State(fault)) if certified => {
                return Err(StorageError::Io { reason: fault.reason }.into());
            }
            Err(error) if error.is_altered() => Verdict::Altered,
            Err(error) => Verdict::Invalid { reason: reason(&error) },
        };
        if verdict != Verdict::Valid {
            tracing::warn!(event = "refused", block = %hash, verdict = ?verdict, "a proposed block was refused");
        }
        self.events.push_back(Event::Validated { request, verdict });
        Ok(())
    }

    fn on_network(&mut self, event: NetworkEvent) {
        match event {
            NetworkEvent::Consensus { peer, bytes } => {
                let max = self.ledger.chain.parameters().block_bytes_max;
                let max = usize::try_from(max).unwrap_or(usize::MAX);
                match sillok_consensus::decode_message(&bytes, max) {
                    Ok(message) => {
                        let peer = Peer(*peer.as_bytes());
                        self.events.push_back(Event::Message { peer, message });
                    }
                    // Strangers must not be able to fill our disk: debug, and a counter in the network.
                    Err(error) => {
                        tracing::debug!(%peer, err = %error, "a consensus message does not decode")
                    }
                }
            }
            NetworkEvent::Tip { peer, height } => {
                self.status.send_modify(|status| {
                    status.peers.insert(*peer.as_bytes(), height);
                    status.best_peer_height = status.peers.values().copied().max().unwrap_or(0);
                });
                self.events.push_back(Event::PeerTip { peer: Peer(*peer.as_bytes()), height });
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
            NetworkEvent::SyncRequest { peer, request, channel } => {
                // Refused by dropping the channel: who asks asks another. A correct node asks one thing at a time.
                let Some(serving) = Serving::begin(&self.serving, peer) else { return };
                let Ok(turn) = self.serving_turns.clone().try_acquire_owned() else { return };
                let (ledger, network) = (self.ledger.clone(), self.network.clone());
                tokio::task::spawn_blocking(move || {
                    let _held = (serving, turn);
                    match blocks(&ledger, &request) {
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
                Action::Decide { block, certificate, evidence } => {
                    self.decide(&block, &certificate, &evidence)?;
                }
                Action::RequestSync { peer, from_height, blocks_max } => {
                    self.request_sync(peer, from_height, blocks_max);
                }
                Action::PeerFault { peer, reason } => {
                    tracing::debug!(peer = ?peer, err = %reason, "a peer sent what no correct node sends");
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

    fn build(&mut self, height: u64, round: u32) {
        let (ledger, results) = (self.ledger.clone(), self.results.clone());
        let proposer = self.validator.map(|key| key.to_vec()).unwrap_or_default();
        let left_out = if round >= ROUNDS_BEFORE_LEAVING_OUT {
            self.proposed.clone()
        } else {
            BTreeSet::new()
        };
        let empty = round >= ROUNDS_BEFORE_EMPTY;
        self.workers.run(move || {
            // A proposer uses max(clock, parent + 1 ms) (PROTOCOL II.1).
            let time_ms = now_ms().max(ledger.tip().header.time_ms + 1);
            let (built, candidates) = match ledger.build(time_ms, &proposer, &left_out, empty) {
                Ok(BuiltBlock { built, candidates }) => (built, candidates),
                Err(error) => {
                    let _ =
                        results.blocking_send(Done::Built { height, round, result: Err(error) });
                    return;
                }
            };
            let result = Ok((built.block, built.outcome));
            let _ = results.blocking_send(Done::Built { height, round, result });
            // After the block is on its way.
            for (index, error) in &built.refused {
                let Some(pending) = candidates.get(*index) else { continue };
                if let Err(error) = ledger.drop_refused(pending, error) {
                    tracing::error!(err = %error, "a refused transaction could not be dropped");
                }
            }
        });
    }

    fn validate(&self, request: ValidationId, block: Arc<v1::Block>, certified: bool) {
        let (ledger, results) = (self.ledger.clone(), self.results.clone());
        let hash = header_hash(&block.header.clone().unwrap_or_default());
        let height = block.header.as_ref().map_or(0, |header| header.height);
        tracing::info!(
            event = "proposal",
            height,
            transactions = block.transactions.len(),
            block = %hash
        );
        self.workers.run(move || {
            let result = ledger.execute(&block);
            let proposed = catch_unwind(AssertUnwindSafe(|| committed_to(&ledger, &block)));
            let proposed = proposed.unwrap_or_default();
            let validated = Validated { request, height, hash, certified, proposed, result };
            let _ = results.blocking_send(Done::Validated(validated));
        });
    }

    fn decide(
        &mut self,
        block: &v1::Block,
        certificate: &v1::CommitCertificate,
        evidence: &[v1::Evidence],
    ) -> Result<(), OrderingError> {
        let hash = header_hash(&block.header.clone().unwrap_or_default());
        let height = certificate.height;
        let outcome = match self.outcomes.remove(&hash) {
            Some(outcome) => outcome,
            // After a restart the replay may decide a block that this process never executed.
            None => self.ledger.execute(block).map_err(|error| match error {
                BlockError::State(fault) => StorageError::Io { reason: fault.reason }.into(),
                error => OrderingError::Execution { height, reason: reason(&error) },
            })?,
        };
        let tip = self.ledger.commit(&outcome, block, certificate, evidence)?;
        tracing::info!(
            event = "committed",
            height,
            round = certificate.round,
            transactions = block.transactions.len(),
            signatures = certificate.signatures.len(),
            block = %hash
        );
        for piece in evidence {
            tracing::warn!(event = "evidence", height, kind = ?piece, "a validator signed two things");
        }
        self.outcomes.clear();
        self.proposed.clear();
        // First, or the next height begins for what this block has just taken, and is empty.
        let pending = *self.ledger.watch_pending().borrow();
        self.events.push_back(Event::TransactionsPending(pending));
        self.events.push_back(Event::Committed { next: height_start(&tip) });
        Ok(())
    }

    fn publish_status(&self) {
        let host = self.host.status();
        self.status.send_if_modified(|status| {
            let (validating, round) = (host.votes && !host.retired, host.round.unwrap_or(0));
            let changed = status.validating != validating || status.round != round;
            (status.validating, status.round) = (validating, round);
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

/// What is wrong with a block, without what the rule says of a DID: this goes into logs (PROTOCOL II.6).
fn reason(error: &BlockError) -> String {
    match error {
        BlockError::Transaction { index, source } => {
            format!("transaction {index}: {}", source.code())
        }
        error => error.to_string(),
    }
}

/// The ids of the transactions that the header commits to; none if the bytes beside it are others, for who changed them
/// on their way could make us leave out what was never proposed.
fn committed_to(ledger: &Ledger, block: &v1::Block) -> Vec<Hash> {
    let genesis = ledger.chain.hash();
    let leaves: Option<Vec<TransactionLeaf>> =
        block.transactions.iter().map(|one| TransactionLeaf::of(genesis, one)).collect();
    let leaves = leaves.unwrap_or_default();
    let hashes: Vec<Hash> = leaves.iter().map(TransactionLeaf::hash).collect();
    let root = merkle_log::transactions_root(&hashes);
    let named = block.header.as_ref().is_some_and(|header| header.transactions_root == root.0);
    if named { leaves.into_iter().map(|leaf| leaf.id).collect() } else { Vec::new() }
}

/// Blocks for a peer that is behind: as many as fit, one at least.
fn blocks(ledger: &Ledger, request: &v1::SyncRequest) -> Result<v1::SyncResponse, StorageError> {
    let tip = ledger.tip().height();
    let mut response = v1::SyncResponse { tip, blocks: Vec::new() };
    let mut bytes = SYNC_ENVELOPE_BYTES;
    for nth in 0..request.blocks_max.min(SYNC_BLOCKS_MAX) {
        let Some(height) = request.from_height.checked_add(nth.into()).filter(|h| *h <= tip) else {
            break;
        };
        let (Some(block), Some(certificate)) =
            (ledger.storage.block(height)?, ledger.storage.certificate(height)?)
        else {
            break;
        };
        let decided = v1::DecidedBlock { block: Some(block), certificate: Some(certificate) };
        bytes += decided.encoded_len();
        if bytes > SYNC_RESPONSE_BYTES_MAX && !response.blocks.is_empty() {
            break;
        }
        response.blocks.push(decided);
    }
    Ok(response)
}
