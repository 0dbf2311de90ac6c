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
use sillok_did_method::OperationError;
use sillok_ledger::{AdmissionError, BlockError, Outcome, Tip, header_hash, proposers};
use sillok_proto::{Hash, v1};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
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
            Self::SigningRecord(_) | Self::Storage(_) | Self::NetworkEnded => true,
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
    Built { height: u64, round: u32, result: Result<BuiltBlock, BlockError> },
    Validated { request: ValidationId, hash: Hash, result: Result<Outcome, BlockError> },
    Synced { peer: NodeKey, response: Option<v1::SyncResponse> },
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
                event = network.next() => match event {
                    Some(event) => self.on_network(event),
                    None => return Err(OrderingError::NetworkEnded),
                },
                changed = pending.changed() => {
                    if changed.is_err() { return Ok(()) }
                    let pending = *pending.borrow_and_update();
                    self.events.push_back(Event::TransactionsPending(pending));
                }
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
            Done::Built { height, round, result: Ok(BuiltBlock { built, candidates }) } => {
                for (index, error) in &built.refused {
                    if let Some(pending) = candidates.get(*index) {
                        self.ledger.drop_refused(pending, error)?;
                    }
                }
                self.note_proposed(&built.outcome);
                if height == self.ledger.tip().height() + 1 {
                    self.outcomes.insert(built.outcome.hash, built.outcome);
                }
                self.events.push_back(Event::Built { height, round, block: Arc::new(built.block) });
            }
            // No answer costs the round, not the process.
            Done::Built { height, round, result: Err(error) } => {
                tracing::error!(height, round, err = %error, "no block could be built");
            }
            Done::Validated { request, hash, result } => {
                let verdict = match result {
                    Ok(outcome) if outcome.hash == hash => {
                        self.note_proposed(&outcome);
                        self.outcomes.insert(outcome.hash, outcome);
                        Verdict::Valid
                    }
                    Ok(_) => Verdict::Invalid { reason: "the header's hash differs".to_owned() },
                    Err(error) => refusal(&error),
                };
                if verdict != Verdict::Valid {
                    tracing::warn!(event = "refused", block = %hash, verdict = ?verdict, "a proposed block was refused");
                }
                self.events.push_back(Event::Validated { request, verdict });
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

    fn note_proposed(&mut self, outcome: &Outcome) {
        self.proposed.extend(outcome.transactions.iter().map(|leaf| leaf.id));
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
            NetworkEvent::SyncRequest { request, channel, .. } => {
                let (ledger, network) = (self.ledger.clone(), self.network.clone());
                tokio::task::spawn_blocking(move || match blocks(&ledger, &request) {
                    Ok(response) => {
                        let _ = network.respond(channel, response);
                    }
                    Err(error) => {
                        tracing::error!(err = %error, "blocks could not be read for a peer")
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
                Action::Validate { request, block, .. } => self.validate(request, block),
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
        tokio::task::spawn_blocking(move || {
            // A proposer uses max(clock, parent + 1 ms) (PROTOCOL II.1).
            let time_ms = now_ms().max(ledger.tip().header.time_ms + 1);
            let result = ledger.build(time_ms, &proposer, &left_out, empty);
            let _ = results.blocking_send(Done::Built { height, round, result });
        });
    }

    fn validate(&mut self, request: ValidationId, block: Arc<v1::Block>) {
        let (ledger, results) = (self.ledger.clone(), self.results.clone());
        let hash = header_hash(&block.header.clone().unwrap_or_default());
        tracing::info!(
            event = "proposal",
            height = block.header.as_ref().map_or(0, |header| header.height),
            transactions = block.transactions.len(),
            block = %hash
        );
        tokio::task::spawn_blocking(move || {
            let result = ledger.execute(&block);
            let _ = results.blocking_send(Done::Validated { request, hash, result });
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
            None => self
                .ledger
                .execute(block)
                .map_err(|error| OrderingError::Execution { height, reason: error.to_string() })?,
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

/// What a refused block says: were its bytes changed on the way, or is it wrong?
fn refusal(error: &BlockError) -> Verdict {
    let altered = match error {
        BlockError::Header { field, .. } => *field == "transactions_root",
        BlockError::Transaction { source, .. } => matches!(
            source,
            AdmissionError::MissingPart { .. }
                | AdmissionError::UnexpectedPart { .. }
                | AdmissionError::Operation {
                    source: OperationError::DocumentHash { .. } | OperationError::MissingDocument,
                    ..
                }
        ),
        _ => false,
    };
    if altered { Verdict::Altered } else { Verdict::Invalid { reason: error.to_string() } }
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
