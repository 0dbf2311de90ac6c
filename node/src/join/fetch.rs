//! The state machine of a node that fetches a snapshot: what it asks, of whom, and when it begins anew.

mod answers;
mod end;

use super::{
    Action, BLOCKS_ASKED, Event, Fault, HEADERS_MAX, JoinError, Progress, Settings, Trust,
    VERSIONS_ASKED_MAX,
};
use crate::storage::{Storage, StorageError};
use sillok_ledger::Chain;
use sillok_ledger::light::TrustedHeader;
use sillok_ledger::merkle_log::HistoryFrontier;
use sillok_ledger::proof::VerifiedHeader;
use sillok_ledger::snapshot::Prefix;
use sillok_ledger::tree::Grown;
use sillok_proto::v1::snapshot_request::Request as Ask;
use sillok_proto::{Hash, v1};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::sync::Arc;

#[derive(Debug)]
struct Peer {
    tip: u64,
    in_flight: usize,
    not_before_ms: u64,
    misses: u32,
    last_asked: u64,
}

/// What a request is for.
#[derive(Debug, Clone)]
enum Work {
    Anchor { height: u64 },
    Segment(Prefix),
    Versions { prefix: Prefix, heads: Vec<Hash> },
    Headers { from: u64 },
    Blocks { heights: Vec<u64> },
}

#[derive(Debug)]
struct Pending<P> {
    peer: P,
    work: Work,
    deadline_ms: u64,
}

/// Versions that a segment lacks.
#[derive(Debug, Default)]
struct Lacking {
    heads: VecDeque<Hash>,
    in_flight: usize,
    grown: Option<Grown>,
}

/// Who called a segment too large, and what its parts have shown so far.
#[derive(Debug)]
struct Split<P> {
    peer: P,
    parts_left: usize,
    bytes: usize,
}

/// A snapshot being fetched.
#[derive(Debug)]
struct Fetch<P> {
    header: VerifiedHeader,
    validators: v1::ValidatorSet,
    lowest: v1::Header,
    headers_asked: bool,
    /// The lowest height of the replay window, once the headers tell.
    window_from: Option<u64>,
    blocks: BTreeSet<u64>,
    segments: BTreeSet<Prefix>,
    versions: BTreeMap<Prefix, Lacking>,
    splits: BTreeMap<Prefix, Split<P>>,
    log: HistoryFrontier,
}

/// See the module.
#[derive(Debug)]
pub struct Joining<P> {
    chain: Chain,
    storage: Storage,
    settings: Settings,
    checkpoint: Option<(u64, Hash)>,
    /// `None` until the light block of the checkpoint is there.
    trusted: Option<TrustedHeader>,
    /// What led to the trusted header.
    light_blocks: Vec<v1::LightBlock>,
    peers: BTreeMap<P, Peer>,
    faulty: BTreeSet<P>,
    pending: BTreeMap<u64, Pending<P>>,
    requests: u64,
    staged: u64,
    fetch: Option<Fetch<P>>,
    progress_ms: u64,
    finished: bool,
}

type Handled = Result<(), JoinError>;

impl<P: Ord + Clone + Debug> Joining<P> {
    /// Begins to join, or goes on with what is staged.
    ///
    /// # Errors
    ///
    /// [`JoinError::NotEmpty`], or the disk.
    pub fn new(
        chain: Chain,
        storage: Storage,
        settings: Settings,
        trust: &Trust,
        now_ms: u64,
    ) -> Result<Self, JoinError> {
        let height = storage.height()?;
        if height != 0 {
            return Err(JoinError::NotEmpty { height });
        }
        let (checkpoint, trusted) = match trust {
            Trust::Checkpoint { height, hash } => (Some((*height, *hash)), None),
            Trust::Genesis => (None, Some(genesis(&chain)?)),
        };
        let mut joining = Self {
            fetch: None,
            chain,
            settings,
            checkpoint,
            trusted,
            light_blocks: Vec::new(),
            peers: BTreeMap::new(),
            faulty: BTreeSet::new(),
            pending: BTreeMap::new(),
            requests: 0,
            staged: 0,
            progress_ms: now_ms,
            finished: false,
            storage,
        };
        if let Some(staged) = joining.storage.staged()? {
            joining.fetch = Some(joining.resume(staged)?);
        }
        Ok(joining)
    }

    /// The height of the snapshot being fetched, once a peer proved one.
    #[must_use]
    pub fn height(&self) -> Option<u64> {
        self.fetch.as_ref().map(|fetch| fetch.header.height())
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let Some(fetch) = &self.fetch else { return Progress::default() };
        let asked = self.pending.values().filter(|one| matches!(one.work, Work::Segment(_)));
        Progress {
            height: fetch.header.height(),
            headers_left: fetch.lowest.height,
            segments_left: fetch.segments.len() + asked.count() + fetch.versions.len(),
        }
    }

    /// Handles one event.
    ///
    /// # Errors
    ///
    /// [`JoinError`]: joining ends. What is staged stays for the next start.
    pub fn handle(&mut self, event: Event<P>, now_ms: u64) -> Result<Vec<Action<P>>, JoinError> {
        let mut actions = Vec::new();
        if self.finished {
            return Ok(actions);
        }
        match event {
            Event::Peer { peer, tip } => {
                let known = self.peers.entry(peer).or_insert(Peer {
                    tip,
                    in_flight: 0,
                    not_before_ms: 0,
                    misses: 0,
                    last_asked: 0,
                });
                known.tip = tip;
            }
            Event::Gone { peer } => {
                self.peers.remove(&peer);
                let lost: Vec<u64> = self
                    .pending
                    .iter()
                    .filter(|(_, pending)| pending.peer == peer)
                    .map(|(request, _)| *request)
                    .collect();
                for request in lost {
                    self.give_back(request, now_ms);
                }
            }
            Event::Answer { request, response } => {
                self.answered(request, response, now_ms, &mut actions)?;
            }
            Event::Failed { request } => self.give_back(request, now_ms),
            Event::Tick => {}
        }
        self.advance(now_ms, &mut actions)?;
        Ok(actions)
    }

    /// Does whatever can be done now: lets requests expire, asks, makes the log, and ends.
    fn advance(&mut self, now_ms: u64, actions: &mut Vec<Action<P>>) -> Handled {
        let late: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.deadline_ms <= now_ms)
            .map(|(request, _)| *request)
            .collect();
        for request in late {
            self.give_back(request, now_ms);
        }
        self.give_up_on_a_stall(now_ms)?;
        self.ask(now_ms, actions);
        let mut more = false;
        if self.fetch.as_ref().is_some_and(|fetch| fetch.lowest.height == 0) {
            more = self.extend_log()?;
        }
        if !more && self.is_complete() {
            let tip = self.finish()?;
            self.finished = true;
            actions.push(Action::Installed { tip: Arc::new(tip) });
            return Ok(());
        }
        actions
            .push(Action::WakeAt { at_ms: if more { now_ms } else { self.next_wake_ms(now_ms) } });
        Ok(())
    }

    fn next_wake_ms(&self, now_ms: u64) -> u64 {
        let deadlines = self.pending.values().map(|pending| pending.deadline_ms);
        let backoffs = self.peers.values().map(|peer| peer.not_before_ms).filter(|at| *at > now_ms);
        let longest = now_ms.saturating_add(self.settings.request_timeout_ms);
        deadlines.chain(backoffs).min().unwrap_or(longest).min(longest)
    }

    /// No peer can serve this snapshot any more: begin another one, at a newer height.
    fn give_up_on_a_stall(&mut self, now_ms: u64) -> Handled {
        let stalled = now_ms.saturating_sub(self.progress_ms) >= self.settings.stall_ms;
        let Some(height) = self.height().filter(|_| stalled) else { return Ok(()) };
        let newer = self.peers.iter().any(|(peer, known)| {
            !self.faulty.contains(peer) && self.anchor_height(known.tip) > height
        });
        if !newer {
            return Ok(());
        }
        tracing::info!(event = "snapshot_stalled", height, "no peer serves this snapshot any more");
        self.storage.abandon_staged()?;
        // What was trusted stays trusted: the next anchor is above it.
        for request in self.pending.keys().copied().collect::<Vec<_>>() {
            self.give_back(request, now_ms);
        }
        self.fetch = None;
        self.progress_ms = now_ms;
        Ok(())
    }

    /// The height to ask a peer for: rounded down, so that peers at about the same height offer the same.
    fn anchor_height(&self, tip: u64) -> u64 {
        let step = self.settings.anchor_step.max(1);
        let rounded = tip.saturating_sub(tip.checked_rem(step).unwrap_or(0));
        if rounded == 0 { tip } else { rounded }
    }

    fn ask(&mut self, now_ms: u64, actions: &mut Vec<Action<P>>) {
        while let Some((work, avoid)) = self.next_work() {
            let needed = match &work {
                Work::Anchor { .. } => 1,
                _ => self.height().unwrap_or(1),
            };
            let Some(peer) = self.choose(needed, avoid.as_ref(), now_ms) else { return };
            let work = match work {
                Work::Anchor { .. } => {
                    let tip = self.peers.get(&peer).map_or(0, |peer| peer.tip);
                    Work::Anchor { height: self.anchor_height(tip) }
                }
                work => work,
            };
            self.take(&work);
            self.requests = self.requests.saturating_add(1);
            let request = self.requests;
            let message = v1::SnapshotRequest { request: Some(self.message(&work)) };
            if let Some(known) = self.peers.get_mut(&peer) {
                known.in_flight = known.in_flight.saturating_add(1);
                known.last_asked = request;
            }
            let deadline_ms = now_ms.saturating_add(self.settings.request_timeout_ms);
            self.pending.insert(request, Pending { peer: peer.clone(), work, deadline_ms });
            actions.push(Action::Request { peer, request, message });
        }
    }

    /// The next thing to ask for, and whom rather not.
    fn next_work(&self) -> Option<(Work, Option<P>)> {
        let Some(fetch) = &self.fetch else {
            let asked =
                self.pending.values().any(|pending| matches!(pending.work, Work::Anchor { .. }));
            return (!asked).then_some((Work::Anchor { height: 0 }, None));
        };
        if !fetch.headers_asked
            && let Some(from) = fetch.lowest.height.checked_sub(1)
        {
            return Some((Work::Headers { from }, None));
        }
        if let Some(first) = fetch.blocks.first() {
            let run = (*first..).zip(&fetch.blocks).take_while(|(expected, at)| expected == *at);
            let heights = run.map(|(height, _)| height).take(BLOCKS_ASKED as usize).collect();
            return Some((Work::Blocks { heights }, None));
        }
        let lacking = fetch.versions.iter().find(|(_, lacking)| !lacking.heads.is_empty());
        if let Some((prefix, lacking)) = lacking {
            let heads = lacking.heads.iter().take(VERSIONS_ASKED_MAX).copied().collect();
            return Some((Work::Versions { prefix: *prefix, heads }, None));
        }
        let prefix = fetch.segments.first()?;
        let above = Prefix::of(&prefix.first(), prefix.bits().saturating_sub(4));
        // Whoever called the whole too large is not the one to show that it is.
        let avoid = fetch.splits.get(&above).map(|split| split.peer.clone());
        Some((Work::Segment(*prefix), avoid))
    }

    /// Takes work off the list of what is to be asked for.
    fn take(&mut self, work: &Work) {
        let Some(fetch) = &mut self.fetch else { return };
        match work {
            Work::Anchor { .. } => {}
            Work::Segment(prefix) => _ = fetch.segments.remove(prefix),
            Work::Versions { prefix, heads } => {
                if let Some(lacking) = fetch.versions.get_mut(prefix) {
                    lacking.in_flight = lacking.in_flight.saturating_add(1);
                    lacking.heads.drain(..heads.len());
                }
            }
            Work::Headers { .. } => fetch.headers_asked = true,
            Work::Blocks { heights } => {
                fetch.blocks.retain(|height| !heights.contains(height));
            }
        }
    }

    fn message(&self, work: &Work) -> Ask {
        let height = self.height().unwrap_or_default();
        match work {
            Work::Anchor { height } => {
                let trusted = self.trusted.as_ref().map(|trusted| trusted.height);
                let from = trusted.or(self.checkpoint.map(|(height, _)| height));
                Ask::Anchor(v1::AnchorRequest {
                    from_height: from.unwrap_or_default(),
                    height: *height,
                })
            }
            Work::Segment(prefix) => Ask::Segment(v1::SegmentRequest {
                height,
                prefix: prefix.to_vec(),
                prefix_bits: prefix.bits(),
            }),
            Work::Versions { heads, .. } => Ask::Versions(v1::VersionsRequest {
                head_hashes: heads.iter().map(|hash| hash.to_vec()).collect(),
            }),
            Work::Headers { from } => Ask::Headers(v1::HeadersRequest {
                from_height: *from,
                headers_max: self.settings.headers_at_once.clamp(1, HEADERS_MAX),
            }),
            Work::Blocks { heights } => Ask::Blocks(v1::SyncRequest {
                from_height: heights.first().copied().unwrap_or_default(),
                blocks_max: u32::try_from(heights.len()).unwrap_or(BLOCKS_ASKED),
            }),
        }
    }

    /// The peer to ask: not at fault, at this height at least, not resting; of those the one with the fewest requests,
    /// asked longest ago.
    fn choose(&self, height: u64, avoid: Option<&P>, now_ms: u64) -> Option<P> {
        self.peers
            .iter()
            .filter(|(peer, known)| {
                !self.faulty.contains(peer)
                    && known.tip >= height
                    && known.not_before_ms <= now_ms
                    && known.in_flight < self.settings.requests_per_peer_max
                    && (self.fetch.is_some() || self.is_newer(known.tip))
            })
            .min_by_key(|(peer, known)| {
                // The newest anchor first: who offers an old one would have this node execute all that came since, and
                // who claims a height it has not rests after its first answer.
                let newest = self.fetch.is_none().then_some(Reverse(known.tip));
                (newest, Some(*peer) == avoid, known.in_flight, known.last_asked)
            })
            .map(|(peer, _)| peer.clone())
    }

    /// Would an anchor at this peer's height lead on?
    fn is_newer(&self, tip: u64) -> bool {
        let trusted = self.trusted.as_ref().map(|trusted| trusted.height);
        let trusted = trusted.or(self.checkpoint.map(|(height, _)| height));
        self.anchor_height(tip) > trusted.unwrap_or_default()
    }

    /// The request will not be answered: its work is to be done by another, and the peer is left alone for a while.
    fn give_back(&mut self, request: u64, now_ms: u64) {
        let Some(pending) = self.pending.remove(&request) else { return };
        if let Some(peer) = self.peers.get_mut(&pending.peer) {
            peer.in_flight = peer.in_flight.saturating_sub(1);
            let backoff = self.settings.backoff_ms << peer.misses.min(6);
            peer.not_before_ms = now_ms.saturating_add(backoff);
            peer.misses = peer.misses.saturating_add(1);
        }
        let Some(fetch) = &mut self.fetch else { return };
        match pending.work {
            Work::Anchor { .. } => {}
            Work::Segment(prefix) => _ = fetch.segments.insert(prefix),
            Work::Versions { prefix, heads } => {
                if let Some(lacking) = fetch.versions.get_mut(&prefix) {
                    lacking.in_flight = lacking.in_flight.saturating_sub(1);
                    lacking.heads.extend(heads);
                }
            }
            Work::Headers { .. } => fetch.headers_asked = false,
            Work::Blocks { heights } => fetch.blocks.extend(heights),
        }
    }

    fn blame(&mut self, peer: &P, fault: Fault, now_ms: u64, actions: &mut Vec<Action<P>>) {
        if !self.faulty.insert(peer.clone()) {
            return;
        }
        let others: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.peer == *peer)
            .map(|(request, _)| *request)
            .collect();
        for request in others {
            self.give_back(request, now_ms);
        }
        actions.push(Action::Fault { peer: peer.clone(), fault });
    }
}

fn genesis(chain: &Chain) -> Result<TrustedHeader, JoinError> {
    TrustedHeader::genesis(*chain.hash(), chain.genesis().time_ms, chain.validators().clone())
        .map_err(|error| JoinError::Trust(Box::new(error)))
}

fn damaged(reason: &str) -> StorageError {
    StorageError::Damaged { reason: reason.to_owned() }
}

fn fault(fault: sillok_ledger::StateFault) -> StorageError {
    StorageError::Damaged { reason: fault.reason }
}
