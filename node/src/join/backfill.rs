//! Blocks from before a snapshot, fetched later by a node that keeps all blocks (`history = "blocks"`).
//!
//! Downward from the lowest that is here, each verified by its header, which came with the snapshot; a restart goes on
//! below what it has. Nothing waits for it, so it takes little: one request at a time, a pause after each, and no more in
//! memory than one answer. What a block wrote is not computed again, so it has no events.
//!
//! A shell drives it as it drives [`super::Joining`], beside block sync: the same events, of which [`Event::Peer`] should
//! name nodes that keep old blocks, and the same actions, but for [`super::Action::Installed`], which never comes. It
//! asks by [`v1::SyncRequest`], in a snapshot request.

use super::{
    Action, BACKFILL_PAUSE_MS, BLOCKS_ASKED, Event, Fault, JoinError, Settings, check_block,
};
use crate::storage::Storage;
use sillok_ledger::Chain;
use sillok_proto::v1;
use sillok_proto::v1::snapshot_request::Request as Ask;
use sillok_proto::v1::snapshot_response::Response as Answer;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
struct Pending<P> {
    peer: P,
    request: u64,
    from: u64,
    /// The lowest height that is here.
    until: u64,
    deadline_ms: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Backfill<P> {
    chain: Chain,
    storage: Storage,
    settings: Settings,
    /// When each peer may be asked again.
    peers: BTreeMap<P, u64>,
    faulty: BTreeSet<P>,
    pending: Option<Pending<P>>,
    requests: u64,
    /// When the next request is due.
    next_ms: u64,
    /// How many to ask for: fewer after an answer that was cut, which leaves a gap.
    count: u32,
}

impl<P: Ord + Clone> Backfill<P> {
    /// Begins, or goes on. Nothing is asked for before a peer is named.
    #[must_use]
    pub fn new(chain: Chain, storage: Storage, settings: Settings) -> Self {
        Self {
            chain,
            storage,
            settings,
            peers: BTreeMap::new(),
            faulty: BTreeSet::new(),
            pending: None,
            requests: 0,
            next_ms: 0,
            count: BLOCKS_ASKED,
        }
    }

    /// Are all blocks here?
    ///
    /// # Errors
    ///
    /// [`JoinError::Storage`].
    pub fn is_done(&self) -> Result<bool, JoinError> {
        Ok(self.storage.blocks_from()? <= 1)
    }

    /// Handles one event.
    ///
    /// # Errors
    ///
    /// [`JoinError::Storage`].
    pub fn handle(&mut self, event: Event<P>, now_ms: u64) -> Result<Vec<Action<P>>, JoinError> {
        let mut actions = Vec::new();
        match event {
            Event::Peer { peer, .. } => _ = self.peers.entry(peer).or_insert(0),
            Event::Gone { peer } => {
                self.peers.remove(&peer);
                if self.pending.as_ref().is_some_and(|pending| pending.peer == peer) {
                    self.pending = None;
                }
            }
            Event::Answer { request, response } => {
                let asked = self.pending.take_if(|pending| pending.request == request);
                if let Some(asked) = asked {
                    self.next_ms = now_ms.saturating_add(BACKFILL_PAUSE_MS);
                    self.answered(asked, response, now_ms, &mut actions)?;
                }
            }
            Event::Failed { request } => {
                let asked = self.pending.take_if(|pending| pending.request == request);
                if let Some(asked) = asked {
                    self.rest(&asked.peer, now_ms);
                }
            }
            Event::Tick => {}
        }
        if let Some(late) = self.pending.take_if(|pending| pending.deadline_ms <= now_ms) {
            self.rest(&late.peer, now_ms);
        }
        self.ask(now_ms, &mut actions)?;
        Ok(actions)
    }

    fn answered(
        &mut self,
        asked: Pending<P>,
        response: v1::SnapshotResponse,
        now_ms: u64,
        actions: &mut Vec<Action<P>>,
    ) -> Result<(), JoinError> {
        let blocks = match response.response {
            Some(Answer::Blocks(response)) => response.blocks,
            // Pruned there too: leave it alone for long.
            Some(Answer::Refusal(_)) => Vec::new(),
            _ => return self.blame(asked.peer, Fault::OtherAnswer, actions),
        };
        if blocks.is_empty() {
            self.rest(&asked.peer, now_ms.saturating_add(self.settings.stall_ms));
            return Ok(());
        }
        let mut kept = Vec::with_capacity(blocks.len());
        for (height, decided) in (asked.from..asked.until).zip(&blocks) {
            let Some(block) = &decided.block else {
                return self.blame(asked.peer, Fault::OtherAnswer, actions);
            };
            let certificate = decided.certificate.as_ref();
            match check_block(&self.chain, &self.storage, height, block, certificate)? {
                Ok(verified) => kept.push(verified),
                Err(fault) => return self.blame(asked.peer, fault, actions),
            }
        }
        let whole = asked.until.saturating_sub(asked.from) == kept.len() as u64;
        if whole {
            self.storage.keep_older_blocks(&kept)?;
            self.count = self.count.saturating_mul(2).min(BLOCKS_ASKED);
        } else {
            // Cut where the answer was full: the blocks next to ours are not in it.
            self.count = u32::try_from(kept.len() / 2).unwrap_or(1).max(1);
        }
        Ok(())
    }

    fn blame(
        &mut self,
        peer: P,
        fault: Fault,
        actions: &mut Vec<Action<P>>,
    ) -> Result<(), JoinError> {
        self.faulty.insert(peer.clone());
        actions.push(Action::Fault { peer, fault });
        Ok(())
    }

    fn rest(&mut self, peer: &P, now_ms: u64) {
        if let Some(not_before_ms) = self.peers.get_mut(peer) {
            *not_before_ms = now_ms.saturating_add(self.settings.backoff_ms);
        }
    }

    fn ask(&mut self, now_ms: u64, actions: &mut Vec<Action<P>>) -> Result<(), JoinError> {
        let until = self.storage.blocks_from()?;
        if until <= 1 {
            return Ok(());
        }
        let longest = now_ms.saturating_add(self.settings.request_timeout_ms);
        if let Some(pending) = &self.pending {
            actions.push(Action::WakeAt { at_ms: pending.deadline_ms });
            return Ok(());
        }
        let candidates = self.peers.iter().filter(|(peer, _)| !self.faulty.contains(peer));
        let Some((peer, not_before_ms)) =
            candidates.min_by_key(|(_, not_before_ms)| **not_before_ms)
        else {
            return Ok(());
        };
        let due_ms = self.next_ms.max(*not_before_ms);
        if due_ms > now_ms {
            actions.push(Action::WakeAt { at_ms: due_ms.min(longest) });
            return Ok(());
        }
        let from = until.saturating_sub(self.count.into()).max(1);
        self.requests = self.requests.saturating_add(1);
        let blocks_max = u32::try_from(until.saturating_sub(from)).unwrap_or(BLOCKS_ASKED);
        let asked = Ask::Blocks(v1::SyncRequest { from_height: from, blocks_max });
        actions.push(Action::Request {
            peer: peer.clone(),
            request: self.requests,
            message: v1::SnapshotRequest { request: Some(asked) },
        });
        actions.push(Action::WakeAt { at_ms: longest });
        self.pending = Some(Pending {
            peer: peer.clone(),
            request: self.requests,
            from,
            until,
            deadline_ms: longest,
        });
        Ok(())
    }
}
