//! Joining by snapshot in a running node: carries the requests of [`crate::join::Joining`] to peers and their answers
//! back, before ordering starts at the tip that was installed.
//!
//! What is asked and believed is decided there, not here.

use crate::join::{self, Action, Event, JoinError, Joining, Trust};
use crate::ledger::Ledger;
use crate::network::{NetworkEvent, NetworkEvents, NetworkHandle, NodeKey};
use sillok_proto::v1;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// How long peers have to connect and say their tips, before the node goes on without a snapshot.
const PEERS_WITHIN: Duration = Duration::from_secs(10);
/// How long after the first tip others may follow: one peer's word must not decide alone.
const MORE_WITHIN: Duration = Duration::from_secs(2);

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

/// Joins by snapshot if that is worth it, or goes on with one that was not finished.
///
/// # Errors
///
/// [`JoinError`]: what is staged stays for the next start.
pub async fn join(
    ledger: &Arc<Ledger>,
    network: &NetworkHandle,
    events: &mut NetworkEvents,
    settings: join::Settings,
    stop: &mut watch::Receiver<bool>,
) -> Result<Joined, JoinError> {
    let unfinished = join::unfinished(&ledger.storage)?;
    if ledger.tip().height() > 0 {
        return Ok(Joined::NotNeeded);
    }
    let mut shell = Shell::new(ledger.clone(), network.clone());
    if !unfinished && !shell.wait_for_tips(events, &settings, stop).await {
        return Ok(if *stop.borrow() { Joined::Stopped } else { Joined::NotNeeded });
    }
    tracing::info!(event = "joining", "the state of a recent height is fetched from peers");
    let clock = ledger.clock().clone();
    let chain = ledger.chain.clone();
    let storage = ledger.storage.clone();
    let mut joining = Joining::new(chain, storage, settings, &Trust::Genesis, clock.now_ms())?;
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
            if let Some(height) = shell.carry_out(actions, now_ms)? {
                tracing::info!(event = "joined", height, "the node has the state of this height");
                return Ok(Joined::At(height));
            }
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

struct Shell {
    ledger: Arc<Ledger>,
    network: NetworkHandle,
    tips: std::collections::BTreeMap<NodeKey, u64>,
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

    /// Whether peers are so far ahead that a snapshot is worth it.
    async fn wait_for_tips(
        &mut self,
        events: &mut NetworkEvents,
        settings: &join::Settings,
        stop: &mut watch::Receiver<bool>,
    ) -> bool {
        let mut deadline = Instant::now() + PEERS_WITHIN;
        let mut first = true;
        loop {
            let event = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return false,
                event = events.next() => event,
                () = tokio::time::sleep_until(deadline) => break,
            };
            let Some(event) = event else { return false };
            self.on_network(event);
            if first && !self.tips.is_empty() {
                first = false;
                deadline = deadline.min(Instant::now() + MORE_WITHIN);
            }
        }
        let best = self.tips.values().copied().max().unwrap_or(0);
        join::is_far_behind(self.ledger.tip().height(), best, settings)
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
