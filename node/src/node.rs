//! A running node: its directory, its tasks and how they stop.
//!
//! | task | does | ends |
//! |---|---|---|
//! | joining | fetches the state of a recent height, if the node is no archive and has none | before ordering |
//! | ordering (a thread of its own) | drives the host; signing record; commits | stop, or an error that ends the process |
//! | network | the libp2p swarm | after ordering |
//! | transactions | admits what peers gossip | stop |
//! | passing on | sends waiting transactions again | stop |
//! | backfilling | fetches the blocks from before a snapshot, if the node keeps all blocks | when they are here, or stop |
//! | memory | logs once a minute what the process holds | stop |
//! | members | tells the network who is a member, after every block | stop |
//! | api | gRPC; while joining it says so | stop, after open calls |
//! | http | DID Resolution, TRQP and status lists over HTTP; while joining it says so | stop, after open requests |
//!
//! A panic in ordering or in a commit aborts the process, and only that does (PROTOCOL II.3).

use crate::api::{self, Api};
use crate::clock::Clock;
use crate::http;
use crate::join::{self, JoinError, Progress};
use crate::joining::{self, Joined, Terms};
use crate::ledger::{Environment, Ledger, SubmitError};
use crate::lock::{DirectoryLock, LockError};
use crate::members::{self, Roster};
use crate::memory;
use crate::mempool::Limits;
use crate::network::{
    ListenAddress, Network, NetworkConfig, NetworkError, NetworkHandle, NodeKey, PeerAddress,
    ReceivedTransaction, Transactions,
};
use crate::ordering::{Ordering, OrderingError, OrderingStatus};
use crate::signing_record::SigningRecordError;
use crate::standing::{KeyWatch, Standing};
use crate::storage::{Retention, Storage, StorageError};
use crate::validator_key::{Found, ValidatorKeys};
use crate::{keys, keys::SecretKey};
use sillok_consensus::{Ed25519, HostConfig, Timeouts};
use sillok_ledger::genesis::{self, BLOCK_BYTES_MAX};
use sillok_ledger::{Chain, GenesisError, TRANSACTION_BYTES_MAX};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// Transactions of peers checked at once; the rest wait their turn in a bounded queue.
const CHECKED_AT_ONCE: usize = 2;
/// How often waiting transactions are passed on again.
const PASS_ON_EVERY: Duration = Duration::from_secs(2);
/// How many at a time.
const PASSED_ON_MAX: usize = 200;
/// How often remembered refusals are swept.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Longest the tasks take to end before the process ends anyway.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Where things are in a node's directory.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The directory.
    pub root: PathBuf,
    /// The database.
    pub data: PathBuf,
}

impl Layout {
    /// The layout of `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self { data: root.join("data"), root }
    }

    /// `config.toml`, the operator's.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.root.join("config.toml")
    }

    /// `genesis.json`, the network's.
    #[must_use]
    pub fn genesis(&self) -> PathBuf {
        self.root.join("genesis.json")
    }

    /// The node key.
    #[must_use]
    pub fn node_key(&self) -> PathBuf {
        self.root.join("keys").join("node.key")
    }

    /// The validator key and its signing record; an observer has none.
    #[must_use]
    pub fn validator(&self) -> PathBuf {
        self.root.join("validator")
    }
}

/// What a node is started with: the resolved configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node's name, for people.
    pub name: String,
    /// Its directory.
    pub layout: Layout,
    /// Where it listens to peers.
    pub listen: Vec<ListenAddress>,
    /// Peers to dial.
    pub peers: Vec<PeerAddress>,
    /// Where it serves gRPC.
    pub api: SocketAddr,
    /// Where it serves HTTP.
    pub http: SocketAddr,
    /// How long the steps of a round wait.
    pub timeouts: Timeouts,
    /// Memory of the database, in bytes.
    pub memory_bytes_max: usize,
    /// How much of the past it keeps.
    pub retention: Retention,
    /// How much waits to be ordered.
    pub mempool: Limits,
    /// How a node that is no archive fetches the state instead of executing every block.
    pub snapshot: join::Settings,
    /// What it believes then before it asks anybody.
    pub trust: join::Trust,
    /// The wall clock: the machine's, but in tests.
    pub clock: Clock,
    /// What it does that no node should.
    #[cfg(feature = "testing")]
    pub faults: crate::testing::Faults,
}

/// Why a node did not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// A file of the directory cannot be read.
    #[error("{path} cannot be read ({source}); make the node's directory with `sillok-node init`", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The genesis is refused.
    #[error("{path}: {source}", path = path.display())]
    Genesis {
        /// The file.
        path: PathBuf,
        /// The rule.
        source: GenesisError,
    },
    /// Another process uses the directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A key file.
    #[error(transparent)]
    Key(#[from] keys::KeyError),
    /// The signing record.
    #[error(transparent)]
    SigningRecord(#[from] SigningRecordError),
    /// The database.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The port of the API.
    #[error(
        "cannot serve on {address} ({source}); change `api.grpc_listen` or `api.http_listen`, or stop what uses the port"
    )]
    Api {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// No snapshot can be had that is believed.
    #[error("the state of the network cannot be fetched: {0}")]
    Join(#[from] JoinError),
    /// Ordering ended the process.
    #[error(transparent)]
    Ordering(#[from] OrderingError),
    /// The thread of ordering could not be made.
    #[error("the ordering thread cannot be started ({source}); free some memory and start again")]
    Thread {
        /// The system's error.
        source: std::io::Error,
    },
}

impl NodeError {
    /// The exit code, as in `sysexits.h`: 75 when a supervisor may start the process again, 70 when a person must act
    /// first, 78 when the directory or the configuration is wrong.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Ordering(error) if error.may_restart() => 75,
            Self::Ordering(_) => 70,
            Self::Thread { .. } | Self::Join(JoinError::Storage(_)) => 75,
            Self::Join(_) => 70,
            error if error.is_of_the_disk() => 75,
            _ => 78,
        }
    }

    /// Is the disk full, read-only or failing? Then the directory is as it should be, and the start will succeed when the
    /// disk is mended: nobody should have to come back for it.
    fn is_of_the_disk(&self) -> bool {
        match self {
            Self::Lock(LockError::Io { source, .. })
            | Self::SigningRecord(
                SigningRecordError::Io { source, .. }
                | SigningRecordError::Lock(LockError::Io { source, .. }),
            ) => DISK_FAULTS.iter().any(|(number, _)| source.raw_os_error() == Some(*number)),
            // The database tells in words; they are the system's, but for what it says after its first failure.
            Self::Storage(StorageError::Open { reason, .. } | StorageError::Io { reason }) => {
                reason.contains(FAILED_BEFORE)
                    || DISK_FAULTS.iter().any(|(_, words)| reason.contains(words))
            }
            _ => false,
        }
    }
}

/// What a system says of a disk that can be mended: EIO, ENOSPC, EROFS, EDQUOT.
const DISK_FAULTS: [(i32, &str); 4] = [
    (5, "Input/output error"),
    (28, "No space left on device"),
    (30, "Read-only file system"),
    (122, "Disk quota exceeded"),
];

/// What RocksDB says of a log that it could not write once.
const FAILED_BEFORE: &str = "Writer has previous error";

/// Reads and checks the genesis of a directory.
///
/// # Errors
///
/// [`NodeError::Read`] or [`NodeError::Genesis`].
pub fn read_genesis(path: &Path) -> Result<Chain, NodeError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| NodeError::Read { path: path.to_owned(), source })?;
    genesis::from_json(&text).map_err(|source| NodeError::Genesis { path: path.to_owned(), source })
}

/// Runs a node until `stop` becomes true or something ends it.
///
/// # Errors
///
/// [`NodeError`].
pub async fn run(settings: Settings, stop: watch::Receiver<bool>) -> Result<(), NodeError> {
    let layout = &settings.layout;
    let _lock = DirectoryLock::acquire(&layout.root)?;
    let chain = read_genesis(&layout.genesis())?;
    let genesis_hash = *chain.hash();
    let node_key = SecretKey::read(&layout.node_key())?;
    let keys = ValidatorKeys::new(&layout.validator(), genesis_hash);
    let found = keys.open()?;
    // Taken before anything else runs, so that a taken port is told at once.
    let listener = api::bind(settings.api)
        .await
        .map_err(|source| NodeError::Api { address: settings.api, source })?;
    let http_listener = api::bind(settings.http)
        .await
        .map_err(|source| NodeError::Api { address: settings.http, source })?;
    let memory_bytes = settings.memory_bytes_max;
    let storage = Storage::open_within(&layout.data, memory_bytes, &chain, settings.retention)?;
    let environment = Environment { clock: settings.clock.clone(), ..Environment::default() };
    let ledger = Arc::new(Ledger::open(chain, storage, settings.mempool, environment)?);
    #[cfg(feature = "testing")]
    ledger.set_execution_fault(settings.faults.execution.clone());
    let (tip, now_ms) = (ledger.tip(), ledger.clock().now_ms());
    let roster = Roster::read(&ledger.storage, &tip)?;
    let seat = seat_of(&roster, &node_key);
    let members = roster.for_network(&tip, now_ms);
    let network = Network::start(NetworkConfig {
        key: node_key,
        genesis_hash,
        listen: settings.listen.clone(),
        peers: settings.peers.clone(),
        members,
        // Whatever the bound in force is: a message may be of a height after a change of it.
        consensus_bytes_max: usize::try_from(BLOCK_BYTES_MAX)
            .unwrap_or(usize::MAX)
            .saturating_add(CONSENSUS_ENVELOPE_BYTES),
        transaction_bytes_max: TRANSACTION_BYTES_MAX,
    })
    .await?;
    #[cfg(feature = "testing")]
    if let Some(tap) = settings.faults.tap.clone() {
        // Nothing else was sent to that task yet, so it is the first thing that it hears.
        let _full = network.handle.tap(tap);
    }

    let mut host = HostConfig::new(genesis_hash, Arc::new(Ed25519));
    host.timeouts = settings.timeouts;
    #[cfg(feature = "testing")]
    {
        host.mutants = settings.faults.forgets.clone();
    }
    tracing::info!(
        event = "starting",
        peer_id = %network.handle.node(),
        name = settings.name,
        network = ledger.chain.network(),
        genesis = %genesis_hash,
        height = ledger.tip().height(),
        validator = matches!(found, Found::Key(_)),
        api = %settings.api,
        http = %settings.http
    );

    // Ends the other tasks, whoever ends first.
    let (ending, ended) = watch::channel(false);
    let (mut stop, mut events) = (stop, network.events);
    let (status_shown, status) = watch::channel(OrderingStatus::default());
    let (shown, roster) = watch::channel(roster);
    // The doors open at once: who asks before there is a record is told so.
    let (joining_shown, joining) = watch::channel(Some(Progress::default()));
    let api = Api {
        ledger: ledger.clone(),
        network: network.handle.clone(),
        ordering: status.clone(),
        name: settings.name.clone(),
        roster: roster.clone(),
        joining,
        stop: ended.clone(),
        room: api::Room::default(),
    };
    let serving_http = tokio::spawn(http::serve(api.clone(), http_listener));
    let serving = tokio::spawn(api.serve(listener));
    // An archive proves any height, so it executes every block; the others may fetch blocks later.
    let wants_snapshot = settings.retention != Retention::Archive;
    if wants_snapshot || join::unfinished(&ledger.storage)? {
        let terms =
            Terms { settings: &settings.snapshot, trust: &settings.trust, seat: seat.is_some() };
        let (handle, events) = (&network.handle, &mut events);
        let joined =
            joining::join(&ledger, handle, events, terms, &joining_shown, &mut stop).await?;
        if joined == Joined::Stopped {
            let _ = ending.send(true);
            network.handle.stop().await;
            let _ =
                tokio::time::timeout(STOP_WITHIN, async { tokio::join!(serving, serving_http) })
                    .await;
            return Ok(());
        }
    }
    // By the tip that ordering starts at.
    let standing = |key: &[u8; 32]| Standing::of(key, &ledger.storage, &ledger.tip());
    let found = keys.retire(found, |key| standing(key).map_err(NodeError::from))?;
    warn_if_key_is_missing(&found, seat.as_deref());
    let watched = KeyWatch::new(keys.clone());
    let ordering = {
        let (ledger, handle) = (ledger.clone(), network.handle.clone());
        #[cfg(feature = "testing")]
        let handle = handle.with_outgoing(settings.faults.outgoing.clone());
        // Replay and the first commit may take a moment; nothing else runs yet.
        tokio::task::block_in_place(|| {
            Ordering::start(ledger, handle, host, keys, found, status_shown)
        })?
    };
    joining_shown.send_replace(None);
    let runtime = tokio::runtime::Handle::current();
    let (finish, mut finished) = tokio::sync::oneshot::channel();
    let thread_stop = ended.clone();
    std::thread::Builder::new()
        .name("ordering".to_owned())
        .spawn(move || {
            let run = std::panic::AssertUnwindSafe(|| {
                runtime.block_on(ordering.run(events, thread_stop))
            });
            match std::panic::catch_unwind(run) {
                Ok(result) => {
                    let _ = finish.send(result);
                }
                // A safety bug must not become a guess: the process ends at once.
                Err(_) => std::process::abort(),
            }
        })
        .map_err(|source| NodeError::Thread { source })?;

    let admitting = tokio::spawn(admit_gossip(
        ledger.clone(),
        network.handle.clone(),
        network.transactions,
        ended.clone(),
    ));
    let passing = tokio::spawn(pass_on(ledger.clone(), network.handle.clone(), ended.clone()));
    let telling = tokio::spawn(memory::tell(ledger.clone(), ended.clone()));
    let backfilling = tokio::spawn(backfill(
        ledger.clone(),
        network.handle.clone(),
        settings.clone(),
        status,
        roster,
        ended.clone(),
    ));
    let following = tokio::spawn(members::follow(
        ledger.clone(),
        network.handle.clone(),
        watched,
        shown,
        ended.clone(),
    ));

    let result = tokio::select! {
        result = &mut finished => result.unwrap_or(Ok(())),
        _ = stop.wait_for(|stop| *stop) => {
            tracing::info!(event = "stopping", height = ledger.tip().height());
            let _ = ending.send(true);
            tokio::time::timeout(STOP_WITHIN, finished).await.map_or(Ok(()), |result| result.unwrap_or(Ok(())))
        }
    };
    let _ = ending.send(true);
    network.handle.stop().await;
    let _ = tokio::time::timeout(STOP_WITHIN, async {
        let _ = tokio::join!(
            admitting,
            passing,
            following,
            telling,
            backfilling,
            serving,
            serving_http,
            network.task
        );
    })
    .await;
    let flushed = ledger.storage.flush();
    tracing::info!(event = "stopped", height = ledger.tip().height());
    cause(result, flushed)
}

/// Why the node ended: what ended ordering, before what flushing the database said after it. A database that could not
/// write once refuses in words of its own from then on, and they do not say that it was the disk.
fn cause(
    ended: Result<(), OrderingError>,
    flushed: Result<(), StorageError>,
) -> Result<(), NodeError> {
    ended?;
    Ok(flushed?)
}

/// Fetches blocks from before a snapshot, if the node keeps all blocks.
async fn backfill(
    ledger: Arc<Ledger>,
    network: NetworkHandle,
    settings: Settings,
    status: watch::Receiver<OrderingStatus>,
    roster: watch::Receiver<Roster>,
    stop: watch::Receiver<bool>,
) {
    if settings.retention.block_heights().is_some() {
        return;
    }
    let fetched =
        joining::fetch_old_blocks(ledger, network, settings.snapshot, status, roster, stop).await;
    // The disk failed; ordering ends the process when it meets the same.
    if let Err(error) = fetched {
        tracing::error!(err = %error, "old blocks could not be fetched");
    }
}

/// The record says that this node's operator has a seat, and there is no key to vote with: its directory was lost, and the
/// network is without a vote that it counts on.
fn warn_if_key_is_missing(found: &Found, seat: Option<&[u8]>) {
    let (Found::None | Found::Ended { .. }, Some(seat)) = (found, seat) else { return };
    tracing::warn!(
        event = "key_missing",
        key = %hex::encode(seat),
        "this node's operator has a seat and its validator key is not here: the node is an observer and its vote is missing; \
         if the key is lost, make another with `sillok-node keys validator` and re-key"
    );
}

/// The validator key of the seat that the operator of this node has.
#[must_use]
pub fn seat_of(roster: &Roster, node_key: &SecretKey) -> Option<Vec<u8>> {
    let node = NodeKey::from_bytes(&node_key.public()).ok()?;
    roster.validators.get(&node).cloned()
}

/// Room around a block in a consensus message, in bytes: statement, key and signature, certificates.
const CONSENSUS_ENVELOPE_BYTES: usize = 256 * 1024;

/// Admits transactions that peers gossip. A bad one is a peer's fault: debug, never more.
async fn admit_gossip(
    ledger: Arc<Ledger>,
    network: NetworkHandle,
    mut transactions: Transactions,
    stop: watch::Receiver<bool>,
) {
    let turns = Arc::new(Semaphore::new(CHECKED_AT_ONCE));
    let mut stopped = stop;
    loop {
        let received = tokio::select! {
            received = transactions.next() => received,
            _ = stopped.wait_for(|stop| *stop) => None,
        };
        let Some(received) = received else { return };
        let Ok(turn) = turns.clone().acquire_owned().await else { return };
        let (ledger, network) = (ledger.clone(), network.clone());
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let peer = received.peer;
            let verdict = admit_received(&ledger, &received);
            if verdict == Verdict::Fault {
                network.fault(peer);
            }
            network.judge(peer, received.id, verdict == Verdict::Good);
        });
    }
}

/// What a gossiped transaction says of the peer that handed it over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It was admitted.
    Good,
    /// It was not, and another node may have had reason to admit it: at another height, or with more room.
    Nothing,
    /// No node at any height admits it, so no correct one passes it on.
    Fault,
}

fn admit_received(ledger: &Ledger, received: &ReceivedTransaction) -> Verdict {
    let transaction = match sillok_proto::decode(&received.bytes, TRANSACTION_BYTES_MAX) {
        Ok(transaction) => transaction,
        Err(error) => {
            tracing::debug!(peer = %received.peer, err = %error, "a gossiped transaction does not decode");
            return Verdict::Fault;
        }
    };
    match ledger.submit(transaction) {
        Ok((_, true)) => Verdict::Good,
        // Its name is known, which says nothing of its signatures: the name does not cover them.
        Ok((_, false)) | Err(SubmitError::Pool(_) | SubmitError::TooManyTrials) => Verdict::Nothing,
        // By its code: what the rule says names DIDs (PROTOCOL II.6).
        Err(SubmitError::Admission(error)) => {
            tracing::debug!(code = error.code(), "a gossiped transaction is refused");
            if error.holds_at_every_height() { Verdict::Fault } else { Verdict::Nothing }
        }
        Err(SubmitError::Poison) => {
            tracing::error!("a gossiped transaction panics admission; report it");
            Verdict::Nothing
        }
    }
}

/// Passes waiting transactions on again: a peer may have been away when they came, and a node that does not propose
/// must not keep them to itself.
async fn pass_on(ledger: Arc<Ledger>, network: NetworkHandle, stop: watch::Receiver<bool>) {
    let mut stopped = stop;
    let mut swept = tokio::time::Instant::now();
    let mut waiting = BTreeSet::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(PASS_ON_EVERY) => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        ledger.note_pending();
        // Only what waited a whole turn: the rest is on its way.
        let parent = ledger.tip().hash;
        let candidates =
            ledger.mempool().candidates(&parent, TRANSACTION_BYTES_MAX, &BTreeSet::new());
        let still: BTreeSet<_> = candidates.iter().map(crate::mempool::Pending::id).collect();
        for pending in
            candidates.iter().filter(|one| waiting.contains(&one.id())).take(PASSED_ON_MAX)
        {
            let bytes = sillok_proto::encode(&*pending.transaction).into();
            if network.rebroadcast_transaction(bytes).is_err() {
                break;
            }
        }
        waiting = still;
        if swept.elapsed() > SWEEP_EVERY {
            swept = tokio::time::Instant::now();
            if let Err(error) = ledger.storage.sweep_refusals(ledger.tip().header.time_ms) {
                tracing::error!(err = %error, "remembered refusals could not be swept");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_ordering_is_told_and_not_what_the_database_said_after_it() {
        let failed = |reason: &str| StorageError::Io { reason: reason.to_owned() };
        let full =
            || OrderingError::Application(failed("IO error: No space left on device").into());
        // `chaos --minutes 8 --seed 2`: a disk made read-only ended a node with 78.
        let told = cause(Err(full()), Err(failed("IO error: of another kind"))).unwrap_err();
        assert!(matches!(&told, NodeError::Ordering(_)) && told.exit_code() == 75, "{told}");
        assert!(matches!(cause(Ok(()), Err(failed("any"))), Err(NodeError::Storage(_))));
        assert!(matches!(cause(Err(full()), Ok(())), Err(NodeError::Ordering(_))));
        assert!(cause(Ok(()), Ok(())).is_ok());
    }

    #[test]
    fn a_disk_that_can_be_mended_asks_for_another_start_and_a_wrong_directory_does_not() {
        let lock = |number| {
            let source = std::io::Error::from_raw_os_error(number);
            NodeError::Lock(LockError::Io { path: PathBuf::from("lock"), source })
        };
        for (number, words) in DISK_FAULTS {
            assert_eq!(lock(number).exit_code(), 75);
            // As the standard library words it, so does the C library for the database.
            assert!(std::io::Error::from_raw_os_error(number).to_string().contains(words));
            let reason = format!("IO error: {words}: While appending to file: data/000004.log");
            let path = PathBuf::from("data");
            assert_eq!(NodeError::from(StorageError::Open { path, reason }).exit_code(), 75);
        }
        let failed_before = || StorageError::Io { reason: format!("IO error: {FAILED_BEFORE}.") };
        assert_eq!(NodeError::from(failed_before()).exit_code(), 75);
        let damaged = StorageError::Io { reason: "Corruption: block checksum mismatch".to_owned() };
        assert_eq!(NodeError::from(damaged).exit_code(), 78);
        // ENOENT, EACCES.
        assert_eq!(lock(2).exit_code(), 78);
        assert_eq!(lock(13).exit_code(), 78);
        let reason =
            "IO error: While lock file: data/LOCK: Resource temporarily unavailable".to_owned();
        let path = PathBuf::from("data");
        assert_eq!(NodeError::from(StorageError::Open { path, reason }).exit_code(), 78);
    }
}
