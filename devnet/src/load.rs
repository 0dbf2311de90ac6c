//! Creating many holder DIDs, and checking every one of them afterwards.
//!
//! What a node acknowledged is written to a file line by line, so that whoever breaks nodes meanwhile can ask for it
//! later. A figure printed here is of this machine and this run.

use crate::clock_ms;
use crate::console::{self, Style};
use crate::directory::{Devnet, OrganizationRole};
use crate::reader::Reader;
use crate::submit::{Committed, Submitter};
use anyhow::{Context as _, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde::{Deserialize, Serialize};
use sillok_client::identity::Identity;
use sillok_client::keys::KeyAlgorithm;
use sillok_client::transaction::{OperationDraft, Terms, TransactionBuilder};
use sillok_did_method::{Did, SUBMIT, document_hash};
use sillok_proto::{Hash, v1};
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a transaction may take before it is given up, in milliseconds. Less than the ledger's window.
const LIFE_MS: u64 = 120_000;

/// `load`.
#[derive(Debug, Clone, Args)]
pub struct Load {
    /// How many DIDs to create
    #[arg(long, default_value_t = 1_000)]
    pub dids: usize,
    /// DIDs per second at most [default: as fast as it goes]
    #[arg(long)]
    pub rate: Option<f64>,
    /// Transactions under way at once
    #[arg(long, default_value_t = 16)]
    pub concurrency: usize,
    /// DIDs in one transaction
    #[arg(long, default_value_t = 20)]
    pub batch: usize,
    /// One DID in how many has a P-256 device key instead of Ed25519; 0 = none
    #[arg(long, default_value_t = 5)]
    pub p256_every: usize,
    /// Check every DID with its proof afterwards
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub verify: bool,
    /// Where acknowledged writes are recorded [default: acks.jsonl in the network's directory]
    #[arg(long, value_name = "FILE")]
    pub acks: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// One acknowledged write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The DID.
    pub did: String,
    /// Hash of its document, in hex.
    pub document_hash: String,
    /// Height of its block.
    pub height: u64,
    /// Id of its transaction, in hex.
    pub transaction_id: String,
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LoadReport {
    /// DIDs acknowledged.
    pub created: usize,
    /// Transactions acknowledged.
    pub transactions: usize,
    /// Times a node was asked again: it was away, overloaded, or slow.
    pub retries: usize,
    /// Seconds from the first submission to the last acknowledgment.
    pub write_seconds: f64,
    /// DIDs per second.
    pub writes_per_second: f64,
    /// Submission to committed, as the submitter sees it: half of them were faster.
    pub finality_p50_ms: f64,
    /// 99 of 100 were faster.
    pub finality_p99_ms: f64,
    /// The slowest.
    pub finality_max_ms: f64,
    /// DIDs that resolved to the very document, with a proof that holds.
    pub verified: usize,
    /// DIDs that did not.
    pub missing: Vec<String>,
    /// Seconds for checking all of them.
    pub read_seconds: f64,
    /// Verified reads per second.
    pub reads_per_second: f64,
}

/// A stream of new holders, as the registrar of a devnet brings it.
#[derive(Debug, Clone)]
pub struct Writer {
    /// Who registers.
    pub registrar: Arc<Identity>,
    /// The network's genesis hash.
    pub genesis_hash: Hash,
    /// Who takes the transactions.
    pub submitter: Submitter,
    /// DIDs per transaction.
    pub batch: usize,
    /// One DID in how many is P-256; 0 = none.
    pub p256_every: usize,
}

/// Where acknowledgments go, and what was measured on the way.
#[derive(Debug, Default)]
pub struct Sink {
    acks: Mutex<Vec<Ack>>,
    latencies: Mutex<Vec<Duration>>,
    file: Option<Mutex<File>>,
    retries: AtomicUsize,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sink {
    /// A sink that also writes each acknowledgment to `path`, from the start of the file.
    ///
    /// # Errors
    ///
    /// The file cannot be made.
    pub fn to_file(path: &std::path::Path) -> anyhow::Result<Self> {
        let file =
            File::create(path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self { file: Some(Mutex::new(file)), ..Self::default() })
    }

    /// Everything acknowledged so far.
    #[must_use]
    pub fn acks(&self) -> Vec<Ack> {
        locked(&self.acks).clone()
    }

    /// How many were acknowledged so far.
    #[must_use]
    pub fn len(&self) -> usize {
        locked(&self.acks).len()
    }

    /// Was none acknowledged yet?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn record(&self, new: Vec<Ack>, took: Duration) -> anyhow::Result<()> {
        if let Some(file) = &self.file {
            let mut text = String::new();
            for ack in &new {
                text.push_str(&serde_json::to_string(ack)?);
                text.push('\n');
            }
            locked(file).write_all(text.as_bytes())?;
        }
        locked(&self.latencies).push(took);
        locked(&self.acks).extend(new);
        Ok(())
    }
}

impl Writer {
    /// The writer of a devnet: its registrar, over all its validators.
    ///
    /// # Errors
    ///
    /// The registrar's key cannot be read.
    pub fn of(devnet: &Devnet, batch: usize, p256_every: usize) -> anyhow::Result<Self> {
        let registrar = devnet.organization(OrganizationRole::Registrar)?;
        Ok(Self {
            registrar: Arc::new(Identity::load(&registrar.key)?),
            genesis_hash: crate::reader::genesis_hash(devnet)?,
            submitter: Submitter::new(crate::network::validator_urls(devnet))?,
            batch,
            p256_every,
        })
    }

    /// New holders and the transaction that registers them.
    ///
    /// # Errors
    ///
    /// A key could not be made.
    pub fn holders(
        &self,
        from: usize,
        count: usize,
    ) -> anyhow::Result<(Vec<Identity>, v1::Transaction)> {
        let mut holders = Vec::with_capacity(count);
        for nth in from..from + count {
            let p256 = self.p256_every > 0 && nth.is_multiple_of(self.p256_every);
            let algorithm = if p256 { KeyAlgorithm::P256 } else { KeyAlgorithm::Ed25519 };
            let authority = self.registrar.did.clone();
            holders.push(Identity::holder(
                crate::setup::NETWORK,
                algorithm,
                false,
                authority,
                None,
            )?);
        }
        let transaction = self.register(&holders)?;
        Ok((holders, transaction))
    }

    /// The transaction that registers `holders`.
    ///
    /// # Errors
    ///
    /// The registrar has no key to submit with.
    pub fn register(&self, holders: &[Identity]) -> anyhow::Result<v1::Transaction> {
        let mut builder =
            TransactionBuilder::new(self.genesis_hash, &self.registrar.did, clock_ms() + LIFE_MS);
        for holder in holders {
            builder = builder.push(OperationDraft::create(holder)?, Terms::NAMED);
        }
        let mut transaction = builder.freeze();
        for (index, holder) in holders.iter().enumerate() {
            transaction.sign_new_keys(index, holder)?;
        }
        let key =
            self.registrar.newest_secret(SUBMIT).context("the registrar has no submit key")?;
        Ok(transaction.submit(key)?)
    }

    /// Creates DIDs until `count` are taken on or `stop` is set, with `concurrency` transactions under way.
    ///
    /// # Errors
    ///
    /// A transaction was refused, which a devnet of honest nodes has no reason to do.
    pub async fn write(
        &self,
        count: usize,
        concurrency: usize,
        rate: Option<f64>,
        stop: Arc<AtomicBool>,
        sink: Arc<Sink>,
        progress: ProgressBar,
    ) -> anyhow::Result<()> {
        let next = Arc::new(AtomicUsize::new(0));
        let began = Instant::now();
        let mut workers = tokio::task::JoinSet::new();
        for _ in 0..concurrency.max(1) {
            let (writer, next, stop) = (self.clone(), next.clone(), stop.clone());
            let (sink, progress) = (sink.clone(), progress.clone());
            workers.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let from = next.fetch_add(writer.batch, Ordering::Relaxed);
                    if from >= count {
                        break;
                    }
                    if let Some(rate) = rate {
                        let due = began + Duration::from_secs_f64(from as f64 / rate);
                        tokio::time::sleep_until(due.into()).await;
                    }
                    let size = writer.batch.min(count - from);
                    writer.write_one(from, size, &stop, &sink).await?;
                    progress.inc(size as u64);
                }
                anyhow::Ok(())
            });
        }
        while let Some(worker) = workers.join_next().await {
            worker??;
        }
        Ok(())
    }

    async fn write_one(
        &self,
        from: usize,
        size: usize,
        stop: &AtomicBool,
        sink: &Sink,
    ) -> anyhow::Result<()> {
        let (holders, transaction) = self.holders(from, size)?;
        let began = Instant::now();
        let first = from / self.batch.max(1);
        let outcome =
            self.submitter.commit(&self.genesis_hash, &transaction, first, &sink.retries).await;
        let Committed { height, transaction_id } = match outcome {
            Ok(committed) => committed,
            // The network was taken away under our feet, and we were asked to stop: nothing was promised.
            Err(_) if stop.load(Ordering::Relaxed) => return Ok(()),
            Err(error) => return Err(error),
        };
        let took = began.elapsed();
        let acks = holders
            .iter()
            .map(|holder| Ack {
                did: holder.did.to_string(),
                document_hash: document_hash(&holder.document()).to_string(),
                height,
                transaction_id: transaction_id.to_string(),
            })
            .collect();
        sink.record(acks, took)
    }
}

/// The value below which the share `share` of the sorted `values` lies.
pub(crate) fn percentile(sorted: &[Duration], share: f64) -> f64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index between 0 and the length"
    )]
    let index = ((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1);
    sorted.get(index).map_or(0.0, |duration| duration.as_secs_f64() * 1e3)
}

/// Reads every acknowledged DID through `readers` in turn and checks it. Returns those that were not as acknowledged.
///
/// # Errors
///
/// An acknowledged DID is not one.
pub async fn verify_all(
    acks: &[Ack],
    readers: Vec<Reader>,
    concurrency: usize,
    progress: ProgressBar,
) -> anyhow::Result<Vec<String>> {
    ensure!(!readers.is_empty(), "there is no node to read from");
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = Arc::new(AtomicUsize::new(0));
    let acks: Arc<[Ack]> = acks.into();
    let readers: Arc<[Reader]> = readers.into();
    let mut workers = tokio::task::JoinSet::new();
    for thread in 0..threads {
        let (next, acks, readers) = (next.clone(), acks.clone(), readers.clone());
        let (progress, runtime) = (progress.clone(), tokio::runtime::Handle::current());
        // A thread each: checking proofs is work, and as many as there are cores do it at once.
        workers.spawn_blocking(move || {
            let mine = (0..concurrency.max(1)).filter(|worker| worker % threads == thread);
            let all = mine
                .filter_map(|worker| readers.get(worker % readers.len()))
                .map(|reader| verify_next(reader, &acks, &next, &progress));
            runtime.block_on(futures::future::try_join_all(all))
        });
    }
    let mut missing = Vec::new();
    while let Some(worker) = workers.join_next().await {
        missing.extend(worker??.into_iter().flatten());
    }
    Ok(missing)
}

/// Takes one acknowledgment after another and reads it back.
async fn verify_next(
    reader: &Reader,
    acks: &[Ack],
    next: &AtomicUsize,
    progress: &ProgressBar,
) -> anyhow::Result<Vec<String>> {
    let mut missing = Vec::new();
    while let Some(ack) = acks.get(next.fetch_add(1, Ordering::Relaxed)) {
        let did = Did::parse(&ack.did)?;
        match reader.resolve(&did).await {
            Ok(found) if found.document_hash() == ack.document_hash => {}
            Ok(_) => missing.push(format!("{did}: another document")),
            Err(error) => missing.push(format!("{did}: {error:#}")),
        }
        progress.inc(1);
    }
    Ok(missing)
}

fn progress_bar(length: usize, what: &'static str, quiet: bool) -> anyhow::Result<ProgressBar> {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(length as u64), target);
    let template =
        "{msg:9} [{bar:40}] {human_pos}/{human_len} DIDs  {rate}  {elapsed} (about {eta} left)";
    let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        // A bar that cannot be written is not worth an error.
        let _unwritten = write!(out, "{:.0}/s", state.per_sec());
    };
    let style = ProgressStyle::with_template(template)?.with_key("rate", rate);
    bar.set_style(style.progress_chars("=> "));
    bar.set_message(what);
    Ok(bar)
}

/// Runs the load and measures it.
///
/// # Errors
///
/// A write was refused.
pub async fn measure(devnet: &Devnet, load: &Load) -> anyhow::Result<LoadReport> {
    ensure!(
        load.batch > 0 && load.batch <= 256,
        "a transaction has 1 to 256 operations, not {}",
        load.batch
    );
    ensure!(load.rate.is_none_or(|rate| rate > 0.0), "the rate is above 0");
    let writer = Writer::of(devnet, load.batch, load.p256_every)?;
    let path = load.acks.clone().unwrap_or_else(|| devnet.directory.join("acks.jsonl"));
    let sink = Arc::new(Sink::to_file(&path)?);
    let bar = progress_bar(load.dids, "creating", load.json)?;
    let began = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    writer.write(load.dids, load.concurrency, load.rate, stop, sink.clone(), bar.clone()).await?;
    let write_seconds = began.elapsed().as_secs_f64();
    bar.finish();

    let acks = sink.acks();
    let mut latencies = locked(&sink.latencies).clone();
    latencies.sort_unstable();
    let mut report = LoadReport {
        created: acks.len(),
        transactions: latencies.len(),
        retries: sink.retries.load(Ordering::Relaxed),
        write_seconds,
        writes_per_second: acks.len() as f64 / write_seconds,
        finality_p50_ms: percentile(&latencies, 0.5),
        finality_p99_ms: percentile(&latencies, 0.99),
        finality_max_ms: percentile(&latencies, 1.0),
        ..LoadReport::default()
    };
    if load.verify {
        let bar = progress_bar(acks.len(), "verifying", load.json)?;
        let began = Instant::now();
        let mut readers = Vec::new();
        for node in &devnet.nodes {
            readers.push(Reader::fresh(devnet, &node.grpc)?);
        }
        // A node that is a block behind says so and is asked again; it never says "not found" for what is late.
        for reader in &readers {
            reader.wait_for(acks.iter().map(|ack| ack.height).max().unwrap_or(0)).await?;
        }
        report.missing = verify_all(&acks, readers, load.concurrency, bar.clone()).await?;
        bar.finish();
        report.read_seconds = began.elapsed().as_secs_f64();
        report.verified = acks.len() - report.missing.len();
        report.reads_per_second = acks.len() as f64 / report.read_seconds;
    }
    Ok(report)
}

/// The command.
///
/// # Errors
///
/// A write was refused, or an acknowledged DID is missing.
pub async fn run(devnet: &Devnet, load: &Load) -> anyhow::Result<()> {
    let report = measure(devnet, load).await?;
    if load.json {
        console::json(&report)?;
    } else {
        print(&report, load.verify);
    }
    ensure!(report.created == load.dids, "{} of {} DIDs were created", report.created, load.dids);
    if let [first, ..] = report.missing.as_slice() {
        anyhow::bail!(
            "{} DIDs do not resolve as acknowledged; the first is {first}",
            report.missing.len()
        );
    }
    Ok(())
}

fn print(report: &LoadReport, verified: bool) {
    let style = Style::detect();
    let mut rows = vec![
        ("DIDs created", console::count(report.created as u64)),
        ("in transactions", console::count(report.transactions as u64)),
        ("asked again", console::count(report.retries as u64)),
        ("time", format!("{:.1} s", report.write_seconds)),
        ("writes/s", format!("{:.0}", report.writes_per_second)),
        ("finality p50", format!("{:.0} ms", report.finality_p50_ms)),
        ("finality p99", format!("{:.0} ms", report.finality_p99_ms)),
        ("finality max", format!("{:.0} ms", report.finality_max_ms)),
    ];
    if verified {
        rows.push(("resolved and verified", console::count(report.verified as u64)));
        rows.push(("missing", console::count(report.missing.len() as u64)));
        rows.push(("verified reads/s", format!("{:.0}", report.reads_per_second)));
    }
    let table = console::figures(rows);
    console::line(table);
    if verified && report.missing.is_empty() {
        console::line(style.good(format!(
            "✓ all {} DIDs resolve with a proof that holds",
            console::count(report.verified as u64)
        )));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_values_that_were_measured() {
        let values: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert!((percentile(&values, 0.5) - 50.0).abs() < 1e-9);
        assert!((percentile(&values, 0.99) - 99.0).abs() < 1e-9);
        assert!((percentile(&values, 1.0) - 100.0).abs() < 1e-9);
        assert!(percentile(&[], 0.5).abs() < 1e-9);
    }
}
