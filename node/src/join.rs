//! Joining by snapshot: the state of a recent height, from peers that nobody trusts, instead of executing every block.
//!
//! [`Joining`] is a state machine without I/O, threads or clock: a node's shell and the simulated world drive the same
//! one. [`serve`] is the other side.
//!
//! # How a shell drives it
//!
//! 1. At start, if [`unfinished`] or [`is_far_behind`]: [`Joining::new`]. Until it ends nothing executes blocks here.
//! 2. Tell it what happens: [`Event::Peer`] when a peer says its tip (again when it changes), [`Event::Gone`],
//!    [`Event::Answer`] or [`Event::Failed`] for each request, [`Event::Tick`] at the times it asks for.
//! 3. Do what it says: send [`Action::Request`], cut off who is named by [`Action::Fault`], call again at
//!    [`Action::WakeAt`], and at [`Action::Installed`] let the ledger read its tip again and begin block sync.
//!
//! Events are handled at once and write to disk; a shell runs them where it may block.
//!
//! # What it does
//!
//! | step | asks for | believes because |
//! |---|---|---|
//! | anchor | the trust bundle up to a height, rounded down so that peers offer the same | [`light::follow`] from genesis or a checkpoint |
//! | headers | those before it, downward to genesis | each by the parent hash of the one after it |
//! | blocks | those of the replay window | the transactions root of their headers |
//! | segments | all leaves under a prefix; too many: sixteen narrower ones | the state root: none changed, none left out |
//! | versions | heads and documents of the DIDs in a segment | their hashes, from the leaf back to the first version |
//! | end | – | one tree of all segments, one tip of all parts, one write |
//!
//! Every part is verified before it is staged, so a restart goes on where it ended and asks nobody again. Whoever sends
//! a part that does not verify is named by [`Action::Fault`] and not asked again. Silence and "not here" are no faults.
//! A snapshot that no peer can serve any more (it fell out of their retention) is begun again at a newer height.

mod backfill;

pub use backfill::Backfill;

use crate::application;
use crate::ledger::Ledger;
use crate::storage::snapshot::{Segment, Staged, VerifiedBlock, header_of, leaf_bytes};
use crate::storage::{Storage, StorageError};
use sillok_ledger::light::{self, LightError, TrustedHeader};
use sillok_ledger::merkle_log::{HistoryFrontier, HistoryHasher};
use sillok_ledger::mutant::{self, Mutant};
use sillok_ledger::proof::{VerifiedHeader, value_hash};
use sillok_ledger::proposers::RECENT_MAX;
use sillok_ledger::snapshot::{
    Prefix, SnapshotError, TipParts, assemble_tip, latest_set, verify_block, verify_headers,
    verify_subtree, verify_version, window_start_ms,
};
use sillok_ledger::tree::{self, Grown};
use sillok_ledger::{
    Chain, LeafKind, StateView, Tip, TransactionLeaf, TreeKey, certificate, header_hash,
};
use sillok_proto::v1::snapshot_request::Request as Ask;
use sillok_proto::v1::snapshot_response::Response as Answer;
use sillok_proto::{Hash, v1};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::sync::Arc;

/// Most bytes of leaves in a segment. Law between peers: who says "too large" of fewer lies.
pub const SEGMENT_BYTES_MAX: usize = 1024 * 1024;
/// Longest request, in bytes, and longest answer: a trust bundle of many changes of large sets, or a block.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// See [`REQUEST_BYTES_MAX`].
pub const RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most heads named in one request.
const VERSIONS_ASKED_MAX: usize = 1_024;
/// Bytes of versions, and of blocks, in one answer; one of them at least.
const ANSWER_BYTES: usize = 2 * 1024 * 1024;
/// Most headers in one answer.
const HEADERS_MAX: u32 = 4_096;
/// Most light blocks in one answer.
const LIGHT_BLOCKS_MAX: usize = 100;
/// Most blocks asked for at once.
const BLOCKS_ASKED: u32 = 64;
/// Deepest segment: with 2^32 of them the largest tree is many times covered, so a deeper one is a lie.
const SEGMENT_BITS_MAX: u32 = 32;
/// A segment is synced at the latest with this one: what a loss of power costs.
const SYNC_EVERY: u64 = 16;

/// How a snapshot is fetched. The defaults are for a network of any size.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A node without blocks joins by snapshot when its peers are more than this many heights ahead.
    pub behind_min: u64,
    /// The height of a snapshot is a multiple of this, where the network is that high.
    pub anchor_step: u64,
    /// Most requests to one peer at a time.
    pub requests_per_peer_max: usize,
    /// How long a peer may take to answer, in milliseconds.
    pub request_timeout_ms: u64,
    /// How long a peer is left alone after it did not answer or had nothing, in milliseconds; doubled each time.
    pub backoff_ms: u64,
    /// After this long without a new part another snapshot is begun, in milliseconds.
    pub stall_ms: u64,
    /// [`SEGMENT_BYTES_MAX`]; less only in tests, on both sides.
    pub segment_bytes_max: usize,
    /// Headers in one request, and headers put into the log between two events.
    pub headers_at_once: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            behind_min: 10_000,
            anchor_step: 256,
            requests_per_peer_max: 4,
            request_timeout_ms: 20_000,
            backoff_ms: 500,
            stall_ms: 120_000,
            segment_bytes_max: SEGMENT_BYTES_MAX,
            headers_at_once: HEADERS_MAX,
        }
    }
}

/// What a node believes before it asks anybody.
#[derive(Debug, Clone, PartialEq)]
pub enum Trust {
    /// The genesis, while it is younger than the trusting period.
    Genesis,
    /// A header had out of band, configured by the operator.
    Checkpoint {
        /// Its height.
        height: u64,
        /// Its hash.
        hash: Hash,
    },
}

/// What happened. `P` names a peer.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<P> {
    /// A peer is there and says that this is its last height.
    Peer {
        /// The peer.
        peer: P,
        /// Its word on its height.
        tip: u64,
    },
    /// A peer is gone, and with it the answers to its requests.
    Gone {
        /// The peer.
        peer: P,
    },
    /// The answer to a request.
    Answer {
        /// The request.
        request: u64,
        /// The answer.
        response: v1::SnapshotResponse,
    },
    /// A request that nobody will answer.
    Failed {
        /// The request.
        request: u64,
    },
    /// Time passed.
    Tick,
}

/// What to do.
#[derive(Debug, Clone)]
pub enum Action<P> {
    /// Ask a peer.
    Request {
        /// The peer.
        peer: P,
        /// Name of the request, for its answer.
        request: u64,
        /// What to ask.
        message: v1::SnapshotRequest,
    },
    /// A peer sent what no honest peer sends: it is not asked again.
    Fault {
        /// The peer.
        peer: P,
        /// What was wrong.
        fault: Fault,
    },
    /// Send [`Event::Tick`] at this time, or at once if it is past.
    WakeAt {
        /// The time, in milliseconds.
        at_ms: u64,
    },
    /// The node is at the height of the snapshot.
    Installed {
        /// The tip, as storage now holds it.
        tip: Arc<Tip>,
    },
}

/// What no honest peer sends.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A part that does not verify.
    #[error("a part of the snapshot: {0}")]
    Part(#[from] SnapshotError),
    /// A trust bundle that does not lead on from what is trusted.
    #[error("the trust bundle: {0}")]
    Bundle(Box<LightError>),
    /// An answer to another question, or with nothing in it.
    #[error("the answer is not one to the request")]
    OtherAnswer,
    /// A certificate that does not hold.
    #[error("the certificate of a block does not hold")]
    Certificate,
    /// "Too large", of a segment that is not.
    #[error("a segment was called too large that has {bytes} bytes")]
    NotTooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// Why joining ends without a snapshot.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The disk.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The node has blocks of its own.
    #[error("the node is at height {height} already; it catches up by blocks")]
    NotEmpty {
        /// Its height.
        height: u64,
    },
    /// Nothing that peers say can be believed: trust in the genesis has ended, the clock is wrong, or the network forked.
    #[error("{0}; or configure a checkpoint")]
    Trust(Box<LightError>),
    /// A certified header does not descend from this node's genesis header.
    #[error(
        "height {height} is certified and does not descend from this genesis; check the genesis and the release of this software"
    )]
    OtherGenesis {
        /// The height.
        height: u64,
    },
}

/// Is a snapshot worth it for a node at height `tip` whose best peer is at `best`? Only a node without blocks takes one.
#[must_use]
pub const fn is_far_behind(tip: u64, best: u64, settings: &Settings) -> bool {
    tip == 0 && best > settings.behind_min
}

/// Is a snapshot staged that was not finished? Then go on with it.
///
/// # Errors
///
/// [`StorageError`].
pub fn unfinished(storage: &Storage) -> Result<bool, StorageError> {
    Ok(storage.height()? == 0 && storage.staged()?.is_some())
}

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

    // ------------------------------------------------------------------------------------- answers

    fn answered(
        &mut self,
        request: u64,
        response: v1::SnapshotResponse,
        now_ms: u64,
        actions: &mut Vec<Action<P>>,
    ) -> Handled {
        // Too late, or never asked.
        let Some(pending) = self.pending.get(&request) else { return Ok(()) };
        let (peer, work) = (pending.peer.clone(), pending.work.clone());
        if let Some(Answer::Refusal(refusal)) = &response.response {
            let too_large = *refusal == v1::SnapshotRefusal::TooLarge as i32;
            if !too_large {
                self.give_back(request, now_ms);
                return Ok(());
            }
        }
        let result = match (work, response.response) {
            (Work::Anchor { height }, Some(Answer::Anchor(bundle))) => {
                self.on_anchor(height, bundle, now_ms)?
            }
            (Work::Segment(prefix), Some(Answer::Segment(subtree))) => {
                self.on_segment(&prefix, &subtree, actions)?
            }
            (Work::Segment(prefix), Some(Answer::Refusal(_))) => {
                self.on_too_large(&prefix, &peer)?
            }
            (Work::Versions { prefix, heads }, Some(Answer::Versions(list))) => {
                self.on_versions(&prefix, &heads, list.versions)?
            }
            (Work::Headers { .. }, Some(Answer::Headers(list))) => self.on_headers(list.headers)?,
            (Work::Blocks { heights }, Some(Answer::Blocks(response))) => {
                // No fault: the blocks may be pruned by now.
                if response.blocks.is_empty() {
                    self.give_back(request, now_ms);
                    return Ok(());
                }
                self.on_blocks(&heights, &response.blocks)?
            }
            _ => Err(Fault::OtherAnswer),
        };
        match result {
            Ok(()) => {
                self.progress_ms = now_ms;
                self.pending.remove(&request);
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.in_flight = peer.in_flight.saturating_sub(1);
                    peer.misses = 0;
                }
            }
            Err(fault) => {
                self.give_back(request, now_ms);
                self.blame(&peer, fault, now_ms, actions);
            }
        }
        Ok(())
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

    fn on_anchor(
        &mut self,
        height: u64,
        bundle: v1::TrustBundle,
        now_ms: u64,
    ) -> Result<Result<(), Fault>, JoinError> {
        let genesis_hash = *self.chain.hash();
        let bad = |error: LightError| Fault::Bundle(Box::new(error));
        let trusted = match (&self.trusted, self.checkpoint) {
            (Some(trusted), _) => trusted.clone(),
            (None, Some((_, hash))) => {
                let Some(first) = bundle.light_blocks.first() else {
                    return Ok(Err(bad(LightError::Empty)));
                };
                match TrustedHeader::checkpoint(genesis_hash, hash, first) {
                    Ok(trusted) => trusted,
                    Err(error) => return Ok(Err(bad(error))),
                }
            }
            (None, None) => genesis(&self.chain)?,
        };
        let trusting_period_ms = self.chain.parameters().trusting_period_ms;
        let followed = light::follow(&genesis_hash, &trusted, &bundle, now_ms, trusting_period_ms);
        let followed = match followed {
            Ok(followed) => followed,
            // Not the peer's fault, and no other peer's answer would be better.
            Err(
                error @ (LightError::Expired { .. }
                | LightError::ClockBehind { .. }
                // It is certified, so either this clock is behind or more than two thirds run ahead.
                | LightError::FromTheFuture { .. }
                | LightError::Fork(_)),
            ) => return Err(JoinError::Trust(Box::new(error))),
            Err(error) => return Ok(Err(bad(error))),
        };
        if followed.height <= trusted.height || followed.height > height {
            return Ok(Err(Fault::OtherAnswer));
        }
        self.light_blocks.extend(bundle.light_blocks);
        self.trusted = Some(followed.clone());
        if followed.height < height {
            // The bundle was cut; the next request goes on from here.
            return Ok(Ok(()));
        }
        let Some(header) = followed.verified() else { return Ok(Err(Fault::OtherAnswer)) };
        let anchor = v1::LightBlock {
            signed_header: followed.signed_header.clone(),
            next_validators: Some(followed.next_validators.clone()),
        };
        self.storage.stage_anchor(&anchor, &self.light_blocks)?;
        tracing::info!(
            event = "snapshot_begun",
            height,
            "the state of a certified height is fetched"
        );
        let mut fetch = Fetch {
            lowest: header.header().clone(),
            header,
            validators: followed.next_validators,
            headers_asked: false,
            window_from: None,
            blocks: BTreeSet::new(),
            segments: BTreeSet::from([Prefix::ALL]),
            versions: BTreeMap::new(),
            splits: BTreeMap::new(),
            log: HistoryFrontier::new(),
        };
        let top = fetch.lowest.clone();
        self.note_window(&mut fetch, &top)?;
        self.fetch = Some(fetch);
        Ok(Ok(()))
    }

    fn on_segment(
        &mut self,
        prefix: &Prefix,
        subtree: &v1::Subtree,
        actions: &mut Vec<Action<P>>,
    ) -> Result<Result<(), Fault>, JoinError> {
        let Some(fetch) = &self.fetch else { return Ok(Ok(())) };
        let height = fetch.header.height();
        let root = Hash::from_slice(&fetch.header.header().state_root).unwrap_or_default();
        let leaves = if mutant::is(Mutant::SnapshotNotVerified) {
            subtree
                .leaves
                .iter()
                .filter_map(|leaf| Some((TreeKey::from_slice(&leaf.key)?, leaf.value.as_slice())))
                .collect()
        } else {
            match verify_subtree(&root, prefix, subtree) {
                Ok(leaves) => leaves,
                Err(error) => return Ok(Err(error.into())),
            }
        };
        let hashes: Vec<(TreeKey, Hash)> =
            leaves.iter().map(|(key, value)| (*key, value_hash(value))).collect();
        let (grown, nodes) = tree::grow(height, prefix, &hashes).map_err(fault)?;
        let lacking = self.lacking(grown, &leaves)?;
        let segment =
            if lacking.is_some() { Segment::Leaves(grown) } else { Segment::Whole(grown) };
        self.staged = self.staged.wrapping_add(1);
        let durable = self.staged.is_multiple_of(SYNC_EVERY);
        self.storage.stage_segment(height, prefix, &leaves, &segment, nodes, durable)?;
        if let Some(fetch) = &mut self.fetch {
            fetch.versions.extend(lacking.map(|lacking| (*prefix, lacking)));
        }
        let bytes = leaves.iter().map(|(_, value)| leaf_bytes(value)).sum();
        self.weigh_splits(prefix, bytes, actions);
        Ok(Ok(()))
    }

    /// The versions that the heads among these leaves name and that are not here; `None` if all are.
    fn lacking<V: AsRef<[u8]>>(
        &self,
        grown: Grown,
        leaves: &[(TreeKey, V)],
    ) -> Result<Option<Lacking>, StorageError> {
        let mut heads = VecDeque::new();
        for (key, value) in leaves {
            if key.kind_nibble() == LeafKind::Head as u8 {
                // The leaf is the head's canonical encoding, so its hash is that of these bytes.
                let hash = sillok_proto::Tag::Head.hash(&[value.as_ref()]);
                heads.extend(self.storage.missing_version(&hash)?);
            }
        }
        Ok((!heads.is_empty()).then_some(Lacking { heads, in_flight: 0, grown: Some(grown) }))
    }

    /// Adds the size of a part to the segments it was split from. A segment whose parts turn out to fit into one answer
    /// was never too large.
    fn weigh_splits(&mut self, prefix: &Prefix, bytes: usize, actions: &mut Vec<Action<P>>) {
        let (mut prefix, mut bytes) = (*prefix, bytes);
        while let Some(bits) = prefix.bits().checked_sub(4) {
            prefix = Prefix::of(&prefix.first(), bits);
            let Some(fetch) = &mut self.fetch else { return };
            let Some(split) = fetch.splits.get_mut(&prefix) else { return };
            split.bytes = split.bytes.saturating_add(bytes);
            split.parts_left = split.parts_left.saturating_sub(1);
            if split.parts_left > 0 {
                return;
            }
            let Some(split) = fetch.splits.remove(&prefix) else { return };
            bytes = split.bytes;
            if bytes <= self.settings.segment_bytes_max {
                let now_ms = self.progress_ms;
                self.blame(&split.peer, Fault::NotTooLarge { bytes }, now_ms, actions);
            }
        }
    }

    fn on_too_large(&mut self, prefix: &Prefix, peer: &P) -> Result<Result<(), Fault>, JoinError> {
        if prefix.bits() >= SEGMENT_BITS_MAX {
            return Ok(Err(Fault::NotTooLarge { bytes: 0 }));
        }
        self.storage.stage_split(prefix)?;
        if let Some(fetch) = &mut self.fetch {
            let parts = prefix.split();
            let split = Split { peer: peer.clone(), parts_left: parts.len(), bytes: 0 };
            fetch.splits.insert(*prefix, split);
            fetch.segments.extend(parts);
        }
        Ok(Ok(()))
    }

    fn on_versions(
        &mut self,
        prefix: &Prefix,
        heads: &[Hash],
        versions: Vec<v1::DidVersion>,
    ) -> Result<Result<(), Fault>, JoinError> {
        // Chain after chain, in the order asked for: `wanted` is the next hash of the chain being read.
        let mut asked = heads.iter().copied();
        let mut wanted = asked.next();
        for version in &versions {
            let (Some(hash), Some(head)) = (wanted, &version.head) else {
                return Ok(Err(Fault::OtherAnswer));
            };
            wanted = match verify_version(&hash, head, version.document.as_ref()) {
                Ok(Some(previous)) => Some(previous),
                Ok(None) => asked.next(),
                Err(error) => return Ok(Err(error.into())),
            };
        }
        if versions.is_empty() {
            return Ok(Err(Fault::OtherAnswer));
        }
        self.storage.stage_versions(&versions)?;
        let left: Vec<Hash> = wanted.into_iter().chain(asked).collect();
        let Some(lacking) = self.fetch.as_mut().and_then(|fetch| fetch.versions.get_mut(prefix))
        else {
            return Ok(Ok(()));
        };
        lacking.in_flight = lacking.in_flight.saturating_sub(1);
        lacking.heads.extend(left);
        if lacking.heads.is_empty() && lacking.in_flight == 0 {
            let grown = lacking.grown.take();
            if let Some(fetch) = &mut self.fetch {
                fetch.versions.remove(prefix);
            }
            if let Some(grown) = grown {
                self.storage.stage_progress(prefix, &Segment::Whole(grown))?;
            }
        }
        Ok(Ok(()))
    }

    fn on_headers(&mut self, headers: Vec<v1::Header>) -> Result<Result<(), Fault>, JoinError> {
        let Some(mut fetch) = self.fetch.take() else { return Ok(Ok(())) };
        let verified = if headers.is_empty() {
            Err(Fault::OtherAnswer)
        } else {
            verify_headers(&fetch.lowest, &headers).map_err(Fault::from)
        };
        if let Err(fault) = verified {
            self.fetch = Some(fetch);
            return Ok(Err(fault));
        }
        if let Some(last) = headers.last().filter(|last| last.height == 0) {
            let ours = self.storage.header(0)?.map(|header| header_hash(&header));
            if ours != Some(header_hash(last)) {
                return Err(JoinError::OtherGenesis { height: fetch.header.height() });
            }
        }
        self.staged = self.staged.wrapping_add(1);
        let durable = self.staged.is_multiple_of(SYNC_EVERY);
        self.storage.stage_headers(&headers, durable)?;
        for header in headers {
            self.note_window(&mut fetch, &header)?;
            fetch.lowest = header;
        }
        fetch.headers_asked = false;
        self.fetch = Some(fetch);
        Ok(Ok(()))
    }

    /// Notes which blocks a verified header, the next one downward, shows to be needed.
    fn note_window(&self, fetch: &mut Fetch<P>, header: &v1::Header) -> Result<(), StorageError> {
        if fetch.window_from.is_some() {
            return Ok(());
        }
        let start_ms = window_start_ms(&self.chain, fetch.header.header().time_ms);
        if header.height == 0 || header.time_ms < start_ms {
            fetch.window_from = Some(header.height.saturating_add(1));
        } else if self.storage.block(header.height)?.is_none() {
            fetch.blocks.insert(header.height);
        }
        Ok(())
    }

    fn on_blocks(
        &mut self,
        heights: &[u64],
        blocks: &[v1::DecidedBlock],
    ) -> Result<Result<(), Fault>, JoinError> {
        let mut staged = Vec::with_capacity(blocks.len());
        for (index, decided) in blocks.iter().enumerate() {
            let (Some(height), Some(block)) = (heights.get(index), &decided.block) else {
                return Ok(Err(Fault::OtherAnswer));
            };
            let certificate = decided.certificate.as_ref();
            match check_block(&self.chain, &self.storage, *height, block, certificate)? {
                Ok(verified) => staged.push(verified),
                Err(fault) => return Ok(Err(fault)),
            }
        }
        self.storage.stage_blocks(&staged)?;
        if let Some(fetch) = &mut self.fetch {
            fetch.blocks.extend(heights.iter().skip(blocks.len()));
        }
        Ok(Ok(()))
    }

    // ------------------------------------------------------------------------------------ requests

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

    // ----------------------------------------------------------------------------------------- end

    /// Goes on with what an earlier run staged.
    fn resume(&mut self, staged: Staged) -> Result<Fetch<P>, JoinError> {
        let Staged { anchor, lowest_header, log, segments } = staged;
        let unreadable = || StorageError::Damaged {
            reason: "the anchor of the snapshot does not decode".to_owned(),
        };
        let (header, header_hash) = header_of(&anchor).ok_or_else(unreadable)?;
        let validators = anchor.next_validators.clone().ok_or_else(unreadable)?;
        let trusted = TrustedHeader {
            genesis_hash: *self.chain.hash(),
            height: header.height,
            header_hash,
            time_ms: header.time_ms,
            next_validators: validators.clone(),
            signed_header: anchor.signed_header.clone(),
            validators: None,
        };
        let verified = trusted.verified().ok_or_else(unreadable)?;
        let mut fetch = Fetch {
            lowest: verified.header().clone(),
            header: verified,
            validators,
            headers_asked: false,
            window_from: None,
            blocks: BTreeSet::new(),
            segments: BTreeSet::new(),
            versions: BTreeMap::new(),
            splits: BTreeMap::new(),
            log,
        };
        let height = trusted.height;
        for at in (lowest_header..=height).rev() {
            let header = self.storage.header(at)?.ok_or_else(|| StorageError::Damaged {
                reason: format!("the staged header {at} is missing"),
            })?;
            self.note_window(&mut fetch, &header)?;
            // Below the window only the lowest one matters.
            if fetch.window_from.is_some() {
                fetch.lowest = self.storage.header(lowest_header)?.unwrap_or(header);
                break;
            }
            fetch.lowest = header;
        }
        for (prefix, segment) in segments {
            match segment {
                Segment::Wanted => _ = fetch.segments.insert(prefix),
                Segment::Whole(_) => {}
                Segment::Leaves(grown) => {
                    let leaves = self.storage.leaves_under(&prefix, height, usize::MAX)?;
                    match self.lacking(grown, &leaves.unwrap_or_default())? {
                        Some(lacking) => _ = fetch.versions.insert(prefix, lacking),
                        None => self.storage.stage_progress(&prefix, &Segment::Whole(grown))?,
                    }
                }
            }
        }
        self.trusted = Some(trusted);
        tracing::info!(event = "snapshot_resumed", height, "goes on with what is staged");
        Ok(fetch)
    }

    fn is_complete(&self) -> bool {
        self.pending.is_empty()
            && self.fetch.as_ref().is_some_and(|fetch| {
                fetch.lowest.height == 0
                    && fetch.window_from.is_some()
                    && fetch.blocks.is_empty()
                    && fetch.segments.is_empty()
                    && fetch.versions.is_empty()
                    && fetch.log.size() == fetch.header.height()
            })
    }

    /// Puts the next headers into the log. `true`: there are more.
    fn extend_log(&mut self) -> Result<bool, JoinError> {
        let Some(fetch) = &mut self.fetch else { return Ok(false) };
        let height = fetch.header.height();
        let (mut nodes, mut changes) = (Vec::new(), Vec::new());
        for _ in 0..self.settings.headers_at_once.max(1) {
            let at = fetch.log.size();
            if at >= height {
                break;
            }
            let header = self.storage.header(at)?.ok_or_else(|| StorageError::Damaged {
                reason: format!("the staged header {at} is missing"),
            })?;
            // Those before a checkpoint have no certificate here: a client that trusts less asks an archive.
            if header.validator_set_hash != header.next_validator_set_hash
                && self.storage.certificate(at)?.is_some()
            {
                changes.push(at);
            }
            let leaf = HistoryHasher::leaf(&header_hash(&header).0);
            nodes.extend(fetch.log.append(leaf).map_err(StorageError::from)?);
        }
        if !nodes.is_empty() {
            self.storage.stage_log(&fetch.log, &nodes, &changes)?;
        }
        Ok(fetch.log.size() < height)
    }

    /// All parts are here: assembles tree and tip, checks both once more, and makes them the node's in one write.
    fn finish(&mut self) -> Result<Tip, JoinError> {
        let Some(fetch) = &self.fetch else {
            return Err(damaged("there is no snapshot to end").into());
        };
        let height = fetch.header.height();
        let staged = self.storage.staged()?.ok_or_else(|| damaged("the snapshot is gone"))?;
        let mut parts = Vec::with_capacity(staged.segments.len());
        for (prefix, segment) in &staged.segments {
            match segment {
                Segment::Whole(grown) => parts.push((*prefix, *grown)),
                _ => return Err(damaged("a segment of the snapshot is not whole").into()),
            }
        }
        let (root, nodes) = tree::grow_root(height, &parts).map_err(fault)?;
        if fetch.header.header().state_root != root.0 && !mutant::is(Mutant::SnapshotNotVerified) {
            return Err(damaged("the staged segments are not those of the snapshot").into());
        }
        let at = self.storage.at(height);
        let members = at.leaf(&TreeKey::members()).map_err(fault)?;
        let members = members.ok_or_else(|| damaged("the members are not staged"))?;
        let window_from = fetch.window_from.unwrap_or(1);
        let recent_from = height.saturating_sub(RECENT_MAX.saturating_sub(1));
        let first = recent_from.min(window_from.saturating_sub(1)).max(1);
        let headers = read(first..=height, |at| self.storage.header(at))?;
        let blocks = read(window_from..=height, |at| self.storage.block(at))?;
        let mut tip = assemble_tip(
            &self.chain,
            TipParts {
                header: &fetch.header,
                validators: fetch.validators.clone(),
                next_validators: latest_set(height, &members).map_err(not_assembled)?,
                history: fetch.log.clone(),
                headers: &headers,
                blocks: &blocks,
            },
        )
        .map_err(not_assembled)?;
        // Appended once more, for the nodes that it completes.
        let mut log = fetch.log.clone();
        let log_nodes = log.append(HistoryHasher::leaf(&tip.hash.0)).map_err(StorageError::from)?;
        tip.history = log;
        self.storage.finish_snapshot(&tip, &log_nodes, nodes, window_from)?;
        tracing::info!(
            event = "snapshot_installed",
            height,
            "the node is at the height of the snapshot"
        );
        Ok(tip)
    }
}

/// A block by its verified header; its certificate by the set of its height, where that is known.
fn check_block<'a>(
    chain: &Chain,
    storage: &Storage,
    height: u64,
    block: &'a v1::Block,
    certificate: Option<&'a v1::CommitCertificate>,
) -> Result<Result<VerifiedBlock<'a>, Fault>, StorageError> {
    let Some(header) = storage.header(height)? else { return Ok(Err(Fault::OtherAnswer)) };
    if let Err(error) = verify_block(chain.hash(), &header, block) {
        return Ok(Err(error.into()));
    }
    let set = Hash::from_slice(&header.validator_set_hash)
        .map_or(Ok(None), |hash| storage.validator_set(&hash))?;
    let certificate = match (certificate, set) {
        (Some(certificate), Some(set)) => {
            if certificate::verify_certificate(chain.hash(), &header, certificate, &set).is_err() {
                return Ok(Err(Fault::Certificate));
            }
            Some(certificate)
        }
        _ => None,
    };
    let ids = block
        .transactions
        .iter()
        .filter_map(|transaction| Some(TransactionLeaf::of(chain.hash(), transaction)?.id))
        .collect();
    Ok(Ok(VerifiedBlock { height, block, certificate, ids }))
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

/// Every part was verified before it was staged, so this is the disk's fault.
fn not_assembled(error: SnapshotError) -> StorageError {
    StorageError::Damaged { reason: format!("the staged parts make no tip: {error}") }
}

fn read<T>(
    heights: std::ops::RangeInclusive<u64>,
    one: impl Fn(u64) -> Result<Option<T>, StorageError>,
) -> Result<Vec<T>, StorageError> {
    let missing = |height| damaged(&format!("a staged part of height {height} is missing"));
    heights.map(|height| one(height)?.ok_or_else(|| missing(height))).collect()
}

// ---------------------------------------------------------------------------------------------- serve

/// Answers a peer that joins. Whether it may ask is the network's to say (PROTOCOL II.5).
#[must_use]
pub fn serve(ledger: &Ledger, request: &v1::SnapshotRequest) -> v1::SnapshotResponse {
    serve_within(ledger, request, SEGMENT_BYTES_MAX)
}

/// [`serve`] with another bound of a segment, for tests.
#[must_use]
pub fn serve_within(
    ledger: &Ledger,
    request: &v1::SnapshotRequest,
    segment_bytes_max: usize,
) -> v1::SnapshotResponse {
    let refuse = |refusal: v1::SnapshotRefusal| Answer::Refusal(refusal.into());
    let answer = match &request.request {
        None => Ok(Some(refuse(v1::SnapshotRefusal::Unspecified))),
        Some(Ask::Anchor(asked)) => serve_anchor(ledger, asked),
        Some(Ask::Segment(asked)) => serve_segment(ledger, asked, segment_bytes_max),
        Some(Ask::Versions(asked)) => serve_versions(ledger, asked),
        Some(Ask::Headers(asked)) => serve_headers(ledger, asked),
        Some(Ask::Blocks(asked)) => application::blocks(ledger, asked, ANSWER_BYTES)
            .map(|blocks| Some(Answer::Blocks(blocks))),
    };
    let answer = answer.unwrap_or_else(|error| {
        tracing::error!(err = %error, "a part of a snapshot could not be read for a peer");
        None
    });
    let answer = answer.unwrap_or_else(|| refuse(v1::SnapshotRefusal::NotHere));
    v1::SnapshotResponse { response: Some(answer) }
}

type Served = Result<Option<Answer>, StorageError>;

fn serve_anchor(ledger: &Ledger, asked: &v1::AnchorRequest) -> Served {
    let storage = &ledger.storage;
    let (from, height) = (asked.from_height, asked.height);
    if height > ledger.tip().height() || height <= from || height < storage.state_from()? {
        return Ok(None);
    }
    let mut light_blocks = Vec::new();
    if from > 0 {
        // For who has only its hash.
        light_blocks.extend(storage.light_block(from)?);
    }
    for change in storage.set_changes(from.saturating_add(1), LIGHT_BLOCKS_MAX)? {
        if change < height {
            light_blocks.extend(storage.light_block(change)?);
        }
    }
    if light_blocks.len() < LIGHT_BLOCKS_MAX {
        let last = storage.light_block(height)?;
        let certified = last.filter(|block| {
            block.signed_header.as_ref().is_some_and(|signed| signed.certificate.is_some())
        });
        let Some(last) = certified else { return Ok(None) };
        light_blocks.push(last);
    }
    Ok(Some(Answer::Anchor(v1::TrustBundle { light_blocks })))
}

fn serve_segment(ledger: &Ledger, asked: &v1::SegmentRequest, bytes_max: usize) -> Served {
    let storage = &ledger.storage;
    let height = asked.height;
    let Some(prefix) = Prefix::read(&asked.prefix, asked.prefix_bits) else {
        return Ok(Some(Answer::Refusal(v1::SnapshotRefusal::Unspecified.into())));
    };
    if height > ledger.tip().height() || height < storage.state_from()? {
        return Ok(None);
    }
    let Some(leaves) = storage.leaves_under(&prefix, height, bytes_max)? else {
        return Ok(Some(Answer::Refusal(v1::SnapshotRefusal::TooLarge.into())));
    };
    // Pruned while it was read.
    let Ok(path) = tree::subtree_path(&storage.at(height), height, &prefix) else {
        return Ok(None);
    };
    let subtree = v1::Subtree {
        prefix: asked.prefix.clone(),
        prefix_bits: asked.prefix_bits,
        leaves: leaves
            .into_iter()
            .map(|(key, value)| v1::SubtreeLeaf { key: key.to_vec(), value })
            .collect(),
        path: Some(path),
    };
    // Pruning may have taken a value since: better no answer than one that is called a lie.
    let header = storage.header(height)?;
    let root = header.and_then(|header| Hash::from_slice(&header.state_root));
    let holds = root.is_some_and(|root| verify_subtree(&root, &prefix, &subtree).is_ok());
    Ok(holds.then_some(Answer::Segment(subtree)))
}

fn serve_versions(ledger: &Ledger, asked: &v1::VersionsRequest) -> Served {
    let storage = &ledger.storage;
    let mut versions = Vec::new();
    let mut bytes = 0_usize;
    'chains: for head in asked.head_hashes.iter().take(VERSIONS_ASKED_MAX) {
        let mut next = Hash::from_slice(head);
        while let Some(hash) = next {
            let Some(head) = storage.head(&hash)? else { break 'chains };
            next = Hash::from_slice(&head.previous);
            let document = Hash::from_slice(&head.document_hash);
            let document = document.map_or(Ok(None), |hash| storage.document(&hash))?;
            let version = v1::DidVersion { head: Some(head), document };
            bytes = bytes.saturating_add(prost::Message::encoded_len(&version));
            if bytes > ANSWER_BYTES && !versions.is_empty() {
                break 'chains;
            }
            versions.push(version);
        }
    }
    Ok((!versions.is_empty()).then_some(Answer::Versions(v1::DidVersionList { versions })))
}

fn serve_headers(ledger: &Ledger, asked: &v1::HeadersRequest) -> Served {
    let mut headers = Vec::new();
    if asked.from_height <= ledger.tip().height() {
        let count = asked.headers_max.clamp(1, HEADERS_MAX);
        for height in (0..=asked.from_height).rev().take(count as usize) {
            let Some(header) = ledger.storage.header(height)? else { break };
            headers.push(header);
        }
    }
    Ok((!headers.is_empty()).then_some(Answer::Headers(v1::HeaderList { headers })))
}
