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
//! | anchor | the trust bundle up to a height, rounded down so that peers offer the same | [`sillok_ledger::light::follow`] from genesis or a checkpoint |
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
mod fetch;
mod serve;

pub use backfill::Backfill;
pub use fetch::Joining;
pub use serve::{serve, serve_within};

use crate::storage::snapshot::VerifiedBlock;
use crate::storage::{Storage, StorageError};
use sillok_ledger::light::LightError;
use sillok_ledger::snapshot::{SnapshotError, verify_block};
use sillok_ledger::{Chain, Tip, TransactionLeaf, certificate};
use sillok_proto::{Hash, v1};
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
/// How long to wait after an answer before older blocks are asked for again, in milliseconds.
pub const BACKFILL_PAUSE_MS: u64 = 100;
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// The genesis, while it is younger than the trusting period.
    #[default]
    Genesis,
    /// A header had out of band, configured by the operator.
    Checkpoint {
        /// Its height.
        height: u64,
        /// Its hash.
        hash: Hash,
    },
}

/// How far a snapshot has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Its height; 0 until a peer proved one.
    pub height: u64,
    /// Headers yet to be fetched.
    pub headers_left: u64,
    /// Segments of the state yet to be fetched, as far as they are known: large ones turn into narrower ones.
    pub segments_left: usize,
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
    /// Nothing that peers say can be believed: trust in the genesis or the checkpoint has ended, the clock is wrong, or the
    /// network forked.
    #[error(
        "{0}; or set `snapshot.trusted_header` to a newer header that the other operators tell you"
    )]
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
