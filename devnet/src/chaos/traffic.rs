//! What goes on all the time while nodes fail: writes, each of which is a promise once it is acknowledged; reads, each of
//! which is checked; and devices taken away, each of which every node must say soon (requirement A16).

use crate::clock_ms;
use crate::directory::Devnet;
use crate::load::Writer;
use crate::scene::Scene;
use crate::submit::{self, Refusal};
use anyhow::{Context as _, anyhow};
use sillok_client::keys::KeyAlgorithm;
use sillok_client::problem::is_unreachable;
use sillok_client::read::{Client, ReadError};
use sillok_client::trust::read_genesis;
use sillok_client::verify::{Asked, Resolution, ResolvedVersion};
use sillok_did_method::{Did, document_hash, transaction_id};
use sillok_proto::v1::transaction_state::State;
use sillok_proto::{Hash, encode, v1};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a node is asked to wait for a commit, in milliseconds, and how much longer the answer may take.
const WAIT_MS: u32 = 3_000;
const GRACE: Duration = Duration::from_secs(2);
/// How long a read may take.
const READ_PATIENCE: Duration = Duration::from_secs(5);
/// Between two reads of one reader, and between two looks for an answer that is due.
const READ_EVERY: Duration = Duration::from_millis(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Between two devices taken away.
const PROBE_EVERY: Duration = Duration::from_millis(300);
/// How long a device that was taken away may be shown, before the network counts as wrong.
const PROBE_PATIENCE: Duration = Duration::from_secs(60);
/// Writes under way at once.
const WRITERS: usize = 6;
/// Readers.
const READERS: usize = 2;
/// One read in how many asks for a DID that does not exist.
const ABSENT_EVERY: usize = 8;

/// A write that was acknowledged, and so must be there for ever.
#[derive(Debug, Clone)]
pub(super) struct Promise {
    /// The DID.
    pub(super) did: Did,
    /// Hash of its document.
    pub(super) document_hash: Hash,
    /// Height it was acknowledged at.
    pub(super) height: u64,
}

/// A transaction that was acknowledged, with the proof that was given.
#[derive(Debug, Clone)]
pub(super) struct Acknowledged {
    /// Its id.
    pub(super) id: Hash,
    /// Height it was acknowledged at.
    pub(super) height: u64,
    /// The proof.
    pub(super) receipt: v1::Receipt,
    /// When.
    pub(super) at: Instant,
    /// How long it took.
    pub(super) took: Duration,
}

/// A device that was taken away: how long until every honest validator said so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probe {
    /// How many validators were faulty all that time.
    pub(super) faulty: usize,
    /// How long.
    pub(super) took: Duration,
}

/// A transaction on which execution is made to fail.
#[derive(Debug)]
pub(super) struct Poison {
    /// Its id.
    pub(super) id: Hash,
    /// The transaction.
    pub(super) transaction: v1::Transaction,
}

/// What the traffic has seen.
#[derive(Debug)]
pub(super) struct Traffic {
    writer: Writer,
    scene: Scene,
    /// A client of each node that goes on trusting what it verified.
    clients: Vec<Client>,
    validators: usize,
    stop: AtomicBool,
    next: AtomicUsize,
    promises: Mutex<Vec<Promise>>,
    acknowledged: Mutex<Vec<Acknowledged>>,
    /// Places of the nodes that are faulty or have not recovered, and how often that changed.
    faulty: Mutex<(BTreeSet<usize>, u64)>,
    /// Places of nodes that ever signed twice.
    traitors: Mutex<BTreeSet<usize>>,
    probes: Mutex<Vec<Probe>>,
    wrong: Mutex<Vec<String>>,
    /// Reads that were answered and right.
    pub(super) right: AtomicU64,
    /// Reads that a faulty node did not answer.
    pub(super) unanswered: AtomicU64,
    /// Reads that a node without a fault did not answer.
    pub(super) missed: AtomicU64,
    /// The reasons of those.
    misses: Mutex<Vec<String>>,
    /// Times a write was sent again.
    pub(super) retries: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Traffic {
    /// Traffic for a network that is up.
    pub(super) fn of(devnet: &Devnet, batch: usize) -> anyhow::Result<Self> {
        let client = |url: &str| -> anyhow::Result<Client> {
            Ok(Client::in_memory(&[url], read_genesis(&devnet.genesis)?)?)
        };
        Ok(Self {
            writer: Writer::of(devnet, batch, 0)?,
            scene: Scene::of(devnet)?,
            clients: devnet
                .nodes
                .iter()
                .map(|node| client(&node.grpc))
                .collect::<Result<_, _>>()?,
            validators: devnet.validators().count(),
            stop: AtomicBool::new(false),
            next: AtomicUsize::new(0),
            promises: Mutex::default(),
            acknowledged: Mutex::default(),
            faulty: Mutex::default(),
            traitors: Mutex::default(),
            probes: Mutex::default(),
            wrong: Mutex::default(),
            right: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            misses: Mutex::default(),
            retries: AtomicU64::new(0),
        })
    }

    /// Starts everything.
    pub(super) fn start(self: &Arc<Self>, rate: f64) -> tokio::task::JoinSet<anyhow::Result<()>> {
        let mut tasks = tokio::task::JoinSet::new();
        let began = Instant::now();
        for _ in 0..WRITERS {
            tasks.spawn(self.clone().write_on(began, rate));
        }
        for nth in 0..READERS {
            tasks.spawn(self.clone().read_on(nth));
        }
        tasks.spawn(self.clone().probe_on());
        tasks
    }

    /// Ends everything, each after what it is at.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Says which nodes are faulty from now on.
    pub(super) fn set_faulty(&self, places: impl IntoIterator<Item = usize>) {
        let mut faulty = locked(&self.faulty);
        faulty.0 = places.into_iter().collect();
        faulty.1 += 1;
    }

    /// Says which nodes sign twice.
    pub(super) fn add_traitors(&self, places: &[usize]) {
        locked(&self.traitors).extend(places);
    }

    /// The nodes that ever signed twice.
    pub(super) fn traitors(&self) -> BTreeSet<usize> {
        locked(&self.traitors).clone()
    }

    fn faulty(&self) -> (BTreeSet<usize>, u64) {
        locked(&self.faulty).clone()
    }

    /// Everything promised so far.
    pub(super) fn promises(&self) -> Vec<Promise> {
        locked(&self.promises).clone()
    }

    /// Everything acknowledged so far.
    pub(super) fn acknowledged(&self) -> Vec<Acknowledged> {
        locked(&self.acknowledged).clone()
    }

    /// How many transactions were acknowledged so far.
    pub(super) fn count(&self) -> usize {
        locked(&self.acknowledged).len()
    }

    /// The devices taken away so far.
    pub(super) fn probes(&self) -> Vec<Probe> {
        locked(&self.probes).clone()
    }

    /// Wrong answers so far.
    pub(super) fn wrong(&self) -> Vec<String> {
        locked(&self.wrong).clone()
    }

    /// Why nodes without a fault did not answer.
    pub(super) fn misses(&self) -> Vec<String> {
        locked(&self.misses).clone()
    }

    fn say_wrong(&self, what: String) {
        locked(&self.wrong).push(what);
    }

    /// The longest time in a row without an acknowledgment, between two moments.
    pub(super) fn stalled(&self, from: Instant, to: Instant) -> Duration {
        let acknowledged = locked(&self.acknowledged);
        let within = acknowledged.iter().map(|one| one.at).filter(|at| *at > from && *at < to);
        let mut moments: Vec<Instant> = [from].into_iter().chain(within).chain([to]).collect();
        moments.sort_unstable();
        moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    async fn write_on(self: Arc<Self>, began: Instant, rate: f64) -> anyhow::Result<()> {
        while self.goes_on() {
            let from = self.next.fetch_add(self.writer.batch, Ordering::Relaxed);
            let due = began + Duration::from_secs_f64(from as f64 / rate);
            // After a standstill the load goes on as before, it does not make up for it.
            if let Some(wait) = due.checked_duration_since(Instant::now()) {
                tokio::time::sleep(wait).await;
            }
            let (holders, transaction) = self.writer.holders(from, self.writer.batch)?;
            let Some(acknowledged) = self.bring(&transaction, from / self.writer.batch).await?
            else {
                return Ok(());
            };
            locked(&self.promises).extend(holders.iter().map(|holder| Promise {
                did: holder.did.clone(),
                document_hash: document_hash(&holder.document()),
                height: acknowledged.height,
            }));
        }
        Ok(())
    }

    /// Brings a transaction to validators in turn until one acknowledges it. `None` when everything ends.
    async fn bring(
        &self,
        transaction: &v1::Transaction,
        nth: usize,
    ) -> anyhow::Result<Option<Acknowledged>> {
        let body = transaction.body.clone().unwrap_or_default();
        let id = transaction_id(&self.scene.genesis_hash, &body);
        let bytes = encode(transaction);
        let began = Instant::now();
        let mut refused = 0;
        for attempt in nth.. {
            let mut ledger = self.writer.submitter.client(attempt)?;
            let request = v1::SubmitRequest {
                transaction: bytes.clone(),
                wait_ms: WAIT_MS,
                ..Default::default()
            };
            let patience = Duration::from_millis(WAIT_MS.into()) + GRACE;
            let answer = tokio::time::timeout(patience, ledger.submit(request)).await;
            let state = match answer {
                Ok(Ok(state)) => state.into_inner().state,
                Ok(Err(status)) => match Refusal::of(&status) {
                    Some(refusal) if !submit::may_pass(&refusal) => {
                        // An earlier attempt may have got through although its answer was lost.
                        refused += 1;
                        match self.look_up(&id).await {
                            Some(committed) => Some(State::Committed(committed)),
                            // One that is behind refuses what builds on blocks it has not: when each has refused
                            // twice, it is refused.
                            None if refused >= 2 * self.validators => {
                                return Err(anyhow!("a write was refused: {refusal}"));
                            }
                            None => None,
                        }
                    }
                    None if !is_unreachable(&status) && !submit::is_transient(status.code()) => {
                        return Err(anyhow!("a node answered a write with {status}"));
                    }
                    _ => None,
                },
                Err(_) => None,
            };
            if let Some(State::Committed(committed)) = state {
                let receipt = committed.receipt.context("an acknowledgment has no receipt")?;
                let (at, took) = (Instant::now(), began.elapsed());
                let height = committed.height;
                let acknowledged = Acknowledged { id, height, receipt, at, took };
                locked(&self.acknowledged).push(acknowledged.clone());
                return Ok(Some(acknowledged));
            }
            if !self.goes_on() {
                return Ok(None);
            }
            if clock_ms() > body.valid_until_ms {
                return Err(anyhow!("a write was not ordered in its time"));
            }
            self.retries.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(LOOK_EVERY * 5).await;
        }
        Ok(None)
    }

    /// A transaction to be failed on. It does not outlive the fault by much.
    pub(super) fn poison(&self) -> anyhow::Result<Poison> {
        let holder = self.scene.holder(KeyAlgorithm::Ed25519, false)?;
        let transaction = self.scene.create(&[&holder])?;
        let body = transaction.body.clone().unwrap_or_default();
        Ok(Poison { id: transaction_id(&self.scene.genesis_hash, &body), transaction })
    }

    /// Sends a transaction to the `nth` validator and does not wait. What it says to it does not matter.
    pub(super) async fn send(
        &self,
        transaction: &v1::Transaction,
        nth: usize,
    ) -> anyhow::Result<()> {
        let mut ledger = self.writer.submitter.client(nth)?;
        let request = v1::SubmitRequest {
            transaction: encode(transaction),
            wait_ms: 0,
            ..Default::default()
        };
        let _told = tokio::time::timeout(GRACE, ledger.submit(request)).await;
        Ok(())
    }

    async fn look_up(&self, id: &Hash) -> Option<v1::Committed> {
        for nth in 0..self.writer.submitter.len() {
            let mut ledger = self.writer.submitter.client(nth).ok()?;
            let request = v1::GetTransactionRequest { transaction_id: id.to_vec(), wait_ms: 0 };
            let asked = tokio::time::timeout(GRACE, ledger.get_transaction(request)).await;
            if let Ok(Ok(state)) = asked
                && let Some(State::Committed(committed)) = state.into_inner().state
            {
                return Some(committed);
            }
        }
        None
    }

    async fn read_on(self: Arc<Self>, nth: usize) -> anyhow::Result<()> {
        let mut turn = nth;
        while self.goes_on() {
            tokio::time::sleep(READ_EVERY).await;
            turn += 1;
            let promise = {
                let promises = locked(&self.promises);
                if promises.is_empty() {
                    continue;
                }
                promises[rand::random_range(0..promises.len())].clone()
            };
            let place = turn % self.clients.len();
            if turn.is_multiple_of(ABSENT_EVERY) {
                let stranger = self.scene.holder(KeyAlgorithm::Ed25519, false)?;
                self.read(place, &stranger.did, None).await;
            } else {
                self.read(place, &promise.did, Some(&promise)).await;
            }
        }
        Ok(())
    }

    /// Reads a DID from a node and checks the answer against what is known.
    async fn read(&self, place: usize, did: &Did, promise: Option<&Promise>) {
        let before = self.faulty();
        let client = &self.clients[place];
        let asked = tokio::time::timeout(READ_PATIENCE, client.resolve(did, Asked::Current)).await;
        let name = client.connection().nodes().first().map_or("a node", |node| node.address());
        let missed = match asked {
            Ok(Ok(resolved)) => {
                let answer = &resolved.answer;
                match judge(answer.even_if_stale(), answer.height(), promise) {
                    Ok(()) => {
                        self.right.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(what) => self.say_wrong(format!("{name}: {did} {what}")),
                }
                return;
            }
            // An answer that is held back and says so is none.
            Ok(Err(error @ (ReadError::Call(_) | ReadError::Stale(_)))) => error.to_string(),
            Ok(Err(error)) => {
                self.say_wrong(format!("{name}: {error}"));
                return;
            }
            Err(_) => format!("{name}: no answer in {READ_PATIENCE:?}"),
        };
        if before.0.contains(&place) || self.faulty() != before {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
        } else {
            self.missed.fetch_add(1, Ordering::Relaxed);
            locked(&self.misses).push(missed);
        }
    }

    async fn probe_on(self: Arc<Self>) -> anyhow::Result<()> {
        let mut nth = 0;
        while self.goes_on() {
            tokio::time::sleep(PROBE_EVERY).await;
            let holder = self.scene.holder(KeyAlgorithm::Ed25519, false)?;
            nth += 1;
            if self.bring(&self.scene.create(&[&holder])?, nth).await?.is_none() {
                return Ok(());
            }
            let before = self.faulty();
            let honest: Vec<usize> =
                (0..self.validators).filter(|place| !before.0.contains(place)).collect();
            if honest.len() <= self.validators * 2 / 3 {
                continue;
            }
            let transaction = self.scene.take_device_away(&holder)?;
            // To one that is there: how a client finds one is not what is measured. One that is a block behind would
            // refuse what it does not know yet.
            let target = honest[nth % honest.len()];
            if !self.wait_until(target, &holder.did, |version| version.is_some()).await {
                continue;
            }
            let began = Instant::now();
            if self.bring(&transaction, target).await?.is_none() {
                return Ok(());
            }
            let mut told = true;
            for place in honest {
                told &= self.wait_until(place, &holder.did, is_bare).await;
            }
            let took = began.elapsed();
            if self.faulty() == before {
                locked(&self.probes).push(Probe { faulty: before.0.len(), took });
                if !told && self.goes_on() {
                    self.say_wrong(format!("a device taken away is shown after {took:?}"));
                }
            }
        }
        Ok(())
    }

    /// Waits until the node says something of a DID, with proof. Not when the node is faulty or everything ends.
    async fn wait_until(
        &self,
        place: usize,
        did: &Did,
        holds: impl Fn(Option<&ResolvedVersion>) -> bool,
    ) -> bool {
        let deadline = Instant::now() + PROBE_PATIENCE;
        while Instant::now() < deadline && self.goes_on() && !self.faulty().0.contains(&place) {
            let asking = self.clients[place].resolve(did, Asked::Current);
            if let Ok(Ok(resolved)) = tokio::time::timeout(READ_PATIENCE, asking).await
                && holds(resolved.answer.even_if_stale().version.as_ref())
            {
                return true;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        false
    }
}

/// Is there no key in this version?
fn is_bare(version: Option<&ResolvedVersion>) -> bool {
    version.is_some_and(|version| {
        version.document.as_ref().is_none_or(|document| document.keys.is_empty())
    })
}

/// Is a verified answer what it must be?
fn judge(resolution: &Resolution, height: u64, promise: Option<&Promise>) -> Result<(), String> {
    match (&resolution.version, promise) {
        (Some(version), Some(promise)) if version.head.document_hash == promise.document_hash.0 => {
            Ok(())
        }
        (Some(_), Some(_)) => Err(format!("has another document at height {height}")),
        (None, Some(promise)) if height < promise.height => Ok(()),
        (None, Some(promise)) => Err(format!(
            "is not there at height {height}, and was acknowledged at {}",
            promise.height
        )),
        (Some(_), None) => Err(format!("exists at height {height}, and nobody registered it")),
        (None, None) => Ok(()),
    }
}
