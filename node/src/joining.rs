//! Joining by snapshot in a running node: carries the requests of [`crate::join::Joining`] to peers and their answers
//! back, before ordering starts at the tip that was installed; and those of [`crate::join::Backfill`] beside ordering.
//!
//! What is asked and believed is decided there, not here.

use crate::join::{self, Action, Backfill, Event, Fault, JoinError, Joining, Progress, Trust};
use crate::ledger::Ledger;
use crate::members::Roster;
use crate::network::{NetworkEvent, NetworkEvents, NetworkHandle, NodeKey};
use crate::ordering::OrderingStatus;
use sillok_ledger::light::LightError;
use sillok_proto::v1;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// How long peers have to connect and say their tips, before a node that votes from the genesis on goes on without a
/// snapshot: its network may be a new one, of which nobody has said anything yet.
const PEERS_WITHIN: Duration = Duration::from_secs(10);
/// How long after the first tip others may follow: the word of a few must not decide.
const MORE_WITHIN: Duration = Duration::from_secs(10);

/// How often the log is told how far the blocks before a snapshot have come.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// The node is at the height of a snapshot.
    At(u64),
    /// The network is not far ahead: blocks will do.
    NotNeeded,
    /// The node was told to stop.
    Stopped,
}

/// What decides whether and from where on a node joins by snapshot.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// Its settings.
    pub settings: &'a join::Settings,
    /// What it believes at first.
    pub trust: &'a Trust,
    /// Does the genesis seat its operator? Then its network may be a new one that waits for it.
    pub seat: bool,
}

/// Joins by snapshot if that is worth it, or goes on with one that was not finished. `shown` is told how far it is.
///
/// # Errors
///
/// [`JoinError`]: what is staged stays for the next start.
pub async fn join(
    ledger: &Arc<Ledger>,
    network: &NetworkHandle,
    events: &mut NetworkEvents,
    terms: Terms<'_>,
    shown: &watch::Sender<Option<Progress>>,
    stop: &mut watch::Receiver<bool>,
) -> Result<Joined, JoinError> {
    let Terms { settings, trust, seat } = terms;
    let unfinished = join::unfinished(&ledger.storage)?;
    if ledger.tip().height() > 0 {
        return Ok(Joined::NotNeeded);
    }
    let mut shell = Shell::new(ledger.clone(), network.clone());
    if !unfinished && !shell.wait_for_tips(events, settings, seat, stop).await {
        return Ok(if *stop.borrow() { Joined::Stopped } else { Joined::NotNeeded });
    }
    tracing::info!(event = "joining", "the state of a recent height is fetched from peers");
    let clock = ledger.clock().clone();
    let chain = ledger.chain.clone();
    let storage = ledger.storage.clone();
    let mut joining = Joining::new(chain, storage, settings.clone(), trust, clock.now_ms())?;
    let mut waiting: Vec<Event<NodeKey>> = shell
        .tips
        .iter()
        .map(|(peer, tip)| Event::Peer { peer: *peer, tip: *tip })
        .chain([Event::Tick])
        .collect();
    loop {
        for event in std::mem::take(&mut waiting) {
            // It writes to disk.
            let now_ms = clock.now_ms();
            let actions = tokio::task::block_in_place(|| joining.handle(event, now_ms))?;
            shown.send_replace(Some(joining.progress()));
            if let Some(height) = shell.carry_out(actions, now_ms)? {
                tracing::info!(event = "joined", height, "the node has the state of this height");
                return Ok(Joined::At(height));
            }
        }
        // A height that one peer made up is not waited for.
        let known = shell.tips.len() > 2 * shell.liars_max();
        if known && joining.progress().height == 0 && !shell.is_worth_it(settings) {
            return Ok(Joined::NotNeeded);
        }
        let wake = shell.wake.unwrap_or_else(|| Instant::now() + Duration::from_secs(1));
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Ok(Joined::Stopped),
            Some(answer) = shell.answered.recv() => waiting.push(answer),
            event = events.next() => match event {
                Some(event) => waiting.extend(shell.on_network(event)),
                None => return Ok(Joined::Stopped),
            },
            () = tokio::time::sleep_until(wake) => {
                shell.wake = None;
                waiting.push(Event::Tick);
            }
        }
    }
}

/// Fetches the blocks from before the snapshot, beside ordering, until all are here or the node stops. Where it was killed
/// it goes on. Archives are asked, and others only where no archive is connected.
///
/// # Errors
///
/// [`JoinError`]: the disk.
pub async fn fetch_old_blocks(
    ledger: Arc<Ledger>,
    network: NetworkHandle,
    settings: join::Settings,
    peers: watch::Receiver<OrderingStatus>,
    roster: watch::Receiver<Roster>,
    stop: watch::Receiver<bool>,
) -> Result<(), JoinError> {
    let (mut peers, mut stop) = (peers, stop);
    let clock = ledger.clock().clone();
    let mut backfill = Backfill::new(ledger.chain.clone(), ledger.storage.clone(), settings);
    let mut shell = Shell::new(ledger.clone(), network);
    let mut said = None;
    let mut waiting = vec![Event::Tick];
    while !backfill.is_done()? {
        if said.is_none_or(|at: Instant| at.elapsed() > SAY_EVERY) {
            said = Some(Instant::now());
            let height = ledger.storage.blocks_from()?;
            tracing::info!(
                event = "backfill",
                height,
                "the blocks below this height are fetched from peers"
            );
        }
        waiting.extend(shell.meet(keepers(&peers.borrow_and_update(), &roster.borrow())));
        for event in std::mem::take(&mut waiting) {
            // It checks blocks and writes to disk.
            let now_ms = clock.now_ms();
            let actions = tokio::task::block_in_place(|| backfill.handle(event, now_ms))?;
            shell.carry_out(actions, now_ms)?;
        }
        let wake = shell.wake.unwrap_or_else(|| Instant::now() + SAY_EVERY);
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            Some(answer) = shell.answered.recv() => waiting.push(answer),
            changed = peers.changed() => if changed.is_err() { return Ok(()) },
            () = tokio::time::sleep_until(wake) => {
                shell.wake = None;
                waiting.push(Event::Tick);
            }
        }
    }
    if said.is_some() {
        tracing::info!(event = "backfilled", "the blocks of all heights are here");
    }
    Ok(())
}

/// Connected peers that should have the blocks of all heights, with their tips.
fn keepers(status: &OrderingStatus, roster: &Roster) -> BTreeMap<NodeKey, u64> {
    let connected = status
        .peers
        .iter()
        .filter_map(|(key, tip)| NodeKey::from_bytes(key).ok().map(|peer| (peer, *tip)));
    let connected: BTreeMap<NodeKey, u64> = connected.collect();
    let archives = connected.iter().filter(|(peer, _)| roster.archives.contains(peer));
    let archives: BTreeMap<NodeKey, u64> = archives.map(|(peer, tip)| (*peer, *tip)).collect();
    if archives.is_empty() { connected } else { archives }
}

struct Shell {
    ledger: Arc<Ledger>,
    network: NetworkHandle,
    tips: BTreeMap<NodeKey, u64>,
    answers: mpsc::UnboundedSender<Event<NodeKey>>,
    /// As many at most as the machine asked for.
    answered: mpsc::UnboundedReceiver<Event<NodeKey>>,
    wake: Option<Instant>,
}

impl Shell {
    fn new(ledger: Arc<Ledger>, network: NetworkHandle) -> Self {
        let (answers, answered) = mpsc::unbounded_channel();
        Self { ledger, network, tips: Default::default(), answers, answered, wake: None }
    }

    /// Whether peers are so far ahead that a snapshot is worth it. A node without a `seat` has nothing to do until it
    /// hears of the network's height: nobody may let it in yet, and then it waits.
    async fn wait_for_tips(
        &mut self,
        events: &mut NetworkEvents,
        settings: &join::Settings,
        seat: bool,
        stop: &mut watch::Receiver<bool>,
    ) -> bool {
        let enough = self.liars_max() + 1;
        let mut deadline = Instant::now() + PEERS_WITHIN;
        let mut first = true;
        while self.tips.len() < enough {
            let event = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return false,
                event = events.next() => event,
                () = tokio::time::sleep_until(deadline) => {
                    if seat || !self.tips.is_empty() {
                        break;
                    }
                    tracing::info!(
                        event = "waiting_for_peers",
                        "no peer has said how high the network is; is this node admitted, and do `peers` name nodes that \
                         run?"
                    );
                    deadline = Instant::now() + SAY_EVERY;
                    continue;
                }
            };
            let Some(event) = event else { return false };
            self.on_network(event);
            if first && !self.tips.is_empty() {
                first = false;
                deadline = Instant::now() + MORE_WITHIN;
            }
        }
        self.is_worth_it(settings)
    }

    /// How many validators may lie, as far as it is known who votes.
    fn liars_max(&self) -> usize {
        self.ledger.tip().validators.validators.len().saturating_sub(1) / 3
    }

    /// By the highest tip that is told. Once so many have told theirs that liars are fewer than the others, by one that
    /// no liar can have raised.
    fn is_worth_it(&self, settings: &join::Settings) -> bool {
        let liars = self.liars_max();
        let mut tips: Vec<u64> = self.tips.values().copied().collect();
        tips.sort_unstable_by(|left, right| right.cmp(left));
        let word = if tips.len() > 2 * liars { liars } else { 0 };
        let best = tips.get(word).copied().unwrap_or(0);
        join::is_far_behind(self.ledger.tip().height(), best, settings)
    }

    /// Who is there now, told as what changed.
    fn meet(&mut self, now: BTreeMap<NodeKey, u64>) -> Vec<Event<NodeKey>> {
        let before = std::mem::replace(&mut self.tips, now);
        let gone = before.keys().filter(|peer| !self.tips.contains_key(peer));
        let gone = gone.map(|peer| Event::Gone { peer: *peer });
        let new = self.tips.iter().filter(|(peer, _)| !before.contains_key(peer));
        gone.chain(new.map(|(peer, tip)| Event::Peer { peer: *peer, tip: *tip })).collect()
    }

    /// What a peer's doing means for joining. Requests of others are refused by dropping them: nothing is here yet.
    fn on_network(&mut self, event: NetworkEvent) -> Option<Event<NodeKey>> {
        match event {
            NetworkEvent::Tip { peer, height } => {
                self.tips.insert(peer, height);
                Some(Event::Peer { peer, tip: height })
            }
            NetworkEvent::PeerDisconnected { peer } => {
                self.tips.remove(&peer);
                Some(Event::Gone { peer })
            }
            NetworkEvent::PeerConnected { .. } => {
                let _ = self.network.announce_tip(self.ledger.tip().height());
                None
            }
            NetworkEvent::Consensus { .. }
            | NetworkEvent::SyncRequest { .. }
            | NetworkEvent::SnapshotRequest { .. } => None,
        }
    }

    /// The height that was installed, if one was.
    fn carry_out(
        &mut self,
        actions: Vec<Action<NodeKey>>,
        now_ms: u64,
    ) -> Result<Option<u64>, JoinError> {
        for action in actions {
            match action {
                Action::Request { peer, request, message } => self.ask(peer, request, message),
                // The peer lies, or the setting does, and then every honest peer is at odds with it.
                Action::Fault { peer, fault: Fault::Bundle(error) }
                    if matches!(*error, LightError::WrongCheckpoint { .. }) =>
                {
                    tracing::warn!(
                        event = "other_checkpoint",
                        %peer,
                        err = %error,
                        "a peer has another header at the height of `snapshot.trusted_header`; if several have, ask the \
                         other operators again"
                    );
                }
                Action::Fault { peer, fault } => {
                    tracing::debug!(%peer, err = %fault, "a peer gave a part of a snapshot that is none");
                    self.network.ban(peer);
                }
                Action::WakeAt { at_ms } => {
                    let after = Duration::from_millis(at_ms.saturating_sub(now_ms));
                    let at = Instant::now() + after;
                    self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
                }
                Action::Installed { .. } => {
                    let tip = self.ledger.reload_tip()?;
                    return Ok(Some(tip.height()));
                }
            }
        }
        Ok(None)
    }

    fn ask(&self, peer: NodeKey, request: u64, message: v1::SnapshotRequest) {
        let (network, answers) = (self.network.clone(), self.answers.clone());
        tokio::spawn(async move {
            let answer = match network.request_snapshot(peer, message).await {
                Ok(response) => Event::Answer { request, response },
                Err(error) => {
                    tracing::debug!(%peer, err = %error, "no part of a snapshot from a peer");
                    Event::Failed { request }
                }
            };
            // Nobody waits once the snapshot is there.
            let _ = answers.send(answer);
        });
    }
}
