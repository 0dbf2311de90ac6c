//! Killing validators at random moments under load, and checking that nothing that was promised is lost.
//!
//! After each kill the validator is started again and must rejoin by itself; every write acknowledged so far is read
//! back, with its proof, from another node by a client that knows nothing but the genesis. In the end all nodes must
//! have the same chain without a gap. The moments follow from a seed; which transaction they hit does not.

use crate::console::{self, Style};
use crate::directory::{Devnet, NodeEntry};
use crate::load::{self, Ack, Sink, Writer};
use crate::log::{self, Progress};
use crate::network::{self, UP_PATIENCE};
use crate::reader::Reader;
use crate::status;
use anyhow::{Context as _, bail, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;
use sillok_ledger::header_hash;
use sillok_proto::v1::ledger_client::LedgerClient;
use sillok_proto::{Hash, v1};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long the log of a victim is watched for a proposal before it is killed anyhow.
const WATCH: Duration = Duration::from_secs(3);
/// How far after a proposal a kill is aimed, at the most, in microseconds: a block of a quiet machine is decided in a few
/// milliseconds, and most of that has passed when the log was read.
const IN_FLIGHT_US: u64 = 500;
/// How long the load may go without an acknowledgment before the network counts as stuck.
const STUCK: Duration = Duration::from_secs(60);

/// `kill-test`.
#[derive(Debug, Clone, Args)]
pub struct KillTest {
    /// How many times a validator is killed
    #[arg(long, default_value_t = 50)]
    pub kills: usize,
    /// How many of them must hit a block in flight [default: three fifths]
    #[arg(long)]
    pub in_flight: Option<usize>,
    /// What the moments and victims follow from
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Transactions under way at once
    #[arg(long, default_value_t = 8)]
    pub concurrency: usize,
    /// DIDs in one transaction
    #[arg(long, default_value_t = 2)]
    pub batch: usize,
    /// DIDs per second: each one is read back, which takes longer than to write it
    #[arg(long, default_value_t = 60.0)]
    pub rate: f64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// One kill.
#[derive(Debug, Clone, Serialize)]
pub struct Kill {
    /// Who.
    pub victim: String,
    /// The height whose block was in flight, by the victim's log.
    pub in_flight: Option<u64>,
    /// Milliseconds from the start until it was at the network's height and voted again.
    pub rejoin_ms: u64,
    /// Acknowledged writes read back from another node.
    pub read_back: usize,
    /// That node.
    pub read_from: String,
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct KillReport {
    /// Every kill.
    pub kills: Vec<Kill>,
    /// How many hit a block in flight.
    pub in_flight: usize,
    /// DIDs acknowledged over the whole run.
    pub acknowledged: usize,
    /// DIDs read back with proof, each at least once.
    pub read_back: usize,
    /// Height of the network at the end.
    pub height: u64,
    /// Heights compared over all nodes, none skipped.
    pub heights_checked: u64,
    /// Half of the victims rejoined faster than this.
    pub rejoin_p50_ms: u64,
    /// The slowest.
    pub rejoin_max_ms: u64,
    /// Seconds for the whole run.
    pub seconds: f64,
}

/// Waits until the victim's log ends in a proposal, or long enough.
async fn wait_for_proposal(victim: &NodeEntry) -> anyhow::Result<()> {
    let deadline = Instant::now() + WATCH;
    while Instant::now() < deadline {
        let text = log::tail(&victim.log)?;
        if matches!(text.lines().rev().find_map(log::progress), Some(Progress::Proposal { .. })) {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Waits until the node votes.
async fn wait_until_voting(node: &NodeEntry) -> anyhow::Result<()> {
    let deadline = Instant::now() + UP_PATIENCE;
    loop {
        let status = status::ask(&node.grpc).await;
        if let Ok(status) = &status {
            ensure!(status.halted.is_empty(), "{} stopped voting: {}", node.name, status.halted);
            if status.validating {
                return Ok(());
            }
        }
        ensure!(Instant::now() < deadline, "{} did not vote again in {UP_PATIENCE:?}", node.name);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until something new is acknowledged: the network writes on.
async fn wait_for_acks(sink: &Sink, more_than: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + STUCK;
    while sink.len() <= more_than {
        ensure!(Instant::now() < deadline, "no write was acknowledged for {STUCK:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Reads `acks` back from `nodes` by turns, with clients that know nothing but the genesis.
async fn read_back(devnet: &Devnet, nodes: &[&NodeEntry], acks: &[Ack]) -> anyhow::Result<()> {
    let newest = acks.iter().map(|ack| ack.height).max().unwrap_or(0);
    let mut readers = Vec::with_capacity(nodes.len());
    for node in nodes {
        let reader = Reader::fresh(devnet, &node.grpc)?;
        reader.wait_for(newest).await?;
        readers.push(reader);
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    let missing = load::verify_all(acks, readers, 8, bar).await?;
    match missing.as_slice() {
        [] => Ok(()),
        [first, ..] => bail!(
            "{} of {} acknowledged writes cannot be read back; the first is {first}",
            missing.len(),
            acks.len()
        ),
    }
}

/// Kills and checks.
///
/// # Errors
///
/// Something promised was lost, a height was skipped, or a node did not come back.
pub async fn measure(devnet: &mut Devnet, test: &KillTest) -> anyhow::Result<KillReport> {
    let validators: Vec<NodeEntry> = devnet.validators().cloned().collect();
    ensure!(
        validators.len() >= 4,
        "{} validators do not outlive the loss of one; start at least 4",
        validators.len()
    );
    let began = Instant::now();
    let mut random = StdRng::seed_from_u64(test.seed);
    let sink = Arc::new(Sink::to_file(&devnet.directory.join("kill-test-acks.jsonl"))?);
    let stop = Arc::new(AtomicBool::new(false));
    let writing = {
        let writer = Writer::of(devnet, test.batch, 0)?;
        let (sink, stop) = (sink.clone(), stop.clone());
        let (concurrency, rate) = (test.concurrency, Some(test.rate));
        let hidden = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        tokio::spawn(async move {
            writer.write(usize::MAX, concurrency, rate, stop, sink, hidden).await
        })
    };
    let kills = kill_all(devnet, test, &validators, &sink, &mut random).await;
    stop.store(true, Ordering::Relaxed);
    let mut report = kills?;
    writing.await?.context("the load was refused")?;

    // Everything once more, by turns from all nodes: also what was acknowledged after the last kill.
    let acks = sink.acks();
    let all: Vec<&NodeEntry> = devnet.nodes.iter().collect();
    read_back(devnet, &all, &acks).await?;
    report.acknowledged = acks.len();
    report.read_back = acks.len();
    (report.height, report.heights_checked) = check_chains(devnet).await?;
    report.in_flight = report.kills.iter().filter(|kill| kill.in_flight.is_some()).count();
    let mut rejoins: Vec<u64> = report.kills.iter().map(|kill| kill.rejoin_ms).collect();
    rejoins.sort_unstable();
    report.rejoin_p50_ms = rejoins.get(rejoins.len() / 2).copied().unwrap_or(0);
    report.rejoin_max_ms = rejoins.last().copied().unwrap_or(0);
    report.seconds = began.elapsed().as_secs_f64();
    let wanted = test.in_flight.unwrap_or(test.kills * 3 / 5);
    ensure!(
        report.in_flight >= wanted,
        "only {} of {} kills hit a block in flight, {wanted} must",
        report.in_flight,
        test.kills
    );
    Ok(report)
}

async fn kill_all(
    devnet: &mut Devnet,
    test: &KillTest,
    validators: &[NodeEntry],
    sink: &Sink,
    random: &mut StdRng,
) -> anyhow::Result<KillReport> {
    let mut report = KillReport::default();
    let mut checked = 0;
    for nth in 0..test.kills {
        wait_for_acks(sink, sink.len()).await?;
        let victim = &validators[random.random_range(0..validators.len())];
        tokio::time::sleep(Duration::from_micros(random.random_range(0..400_000))).await;
        // Three of four kills wait for a proposal first, and then some: between it and the commit are all the steps of
        // a height. The others hit whatever is there.
        if nth % 4 != 3 {
            wait_for_proposal(victim).await?;
            tokio::time::sleep(Duration::from_micros(random.random_range(0..IN_FLIGHT_US))).await;
        }
        network::kill(devnet, victim.index)?;
        let in_flight = log::in_flight(&log::tail(&victim.log)?);
        let promised = sink.acks();

        let started = Instant::now();
        network::start(devnet, victim.index)?;
        network::wait_until_caught_up(devnet, victim.index, UP_PATIENCE).await?;
        wait_until_voting(victim).await?;
        let rejoin = started.elapsed();

        let others: Vec<&NodeEntry> =
            validators.iter().filter(|node| node.index != victim.index).collect();
        let from = others[random.random_range(0..others.len())];
        let new = promised.get(checked..).unwrap_or_default();
        read_back(devnet, &[from], new).await?;
        checked = promised.len();
        report.kills.push(Kill {
            victim: victim.name.clone(),
            in_flight,
            rejoin_ms: u64::try_from(rejoin.as_millis())?,
            read_back: new.len(),
            read_from: from.name.clone(),
        });
        if !test.json {
            console::note(format!(
                "kill {:>3}/{}: {} {}, back after {}, {} writes read back from {}",
                nth + 1,
                test.kills,
                victim.name,
                in_flight
                    .map_or("between blocks".to_owned(), |h| format!("with block {h} in flight")),
                console::duration(rejoin),
                new.len(),
                from.name
            ));
        }
    }
    Ok(report)
}

/// The header hashes of a node's chain from height 1 on, each checked to name the one before it.
pub(crate) async fn chain_of(node: &NodeEntry) -> anyhow::Result<Vec<Hash>> {
    let tip = status::ask(&node.grpc).await?.height;
    let mut client = LedgerClient::new(status::connect(&node.grpc).await?)
        .max_decoding_message_size(16 * 1024 * 1024);
    let mut chain: Vec<Hash> = Vec::new();
    for height in 1..=tip {
        let asked = client.get_block(v1::GetBlockRequest { height });
        let block = tokio::time::timeout(UP_PATIENCE, asked).await??.into_inner();
        let header = block
            .signed_header
            .and_then(|signed| signed.header)
            .with_context(|| format!("{} has no block {height}", node.name))?;
        ensure!(header.height == height, "{} answers {} for {height}", node.name, header.height);
        let follows = chain.last().is_none_or(|parent| header.parent_hash == parent.0);
        ensure!(follows, "{}: block {height} does not build on the one before", node.name);
        chain.push(header_hash(&header));
    }
    Ok(chain)
}

/// Compares the chains of all nodes from the first height to the lowest tip. Returns the highest tip and how many heights
/// were compared.
async fn check_chains(devnet: &Devnet) -> anyhow::Result<(u64, u64)> {
    let chains = futures::future::try_join_all(devnet.nodes.iter().map(chain_of)).await?;
    let tips = chains.iter().map(Vec::len);
    let (lowest, highest) = (tips.clone().min().unwrap_or(0), tips.max().unwrap_or(0));
    let mut prefixes = chains.iter().map(|chain| &chain[..lowest]);
    let first = prefixes.next();
    ensure!(prefixes.all(|other| Some(other) == first), "the nodes have different blocks");
    Ok((u64::try_from(highest)?, u64::try_from(lowest)?))
}

/// The command.
///
/// # Errors
///
/// Something promised was lost, a height was skipped, or a node did not come back.
pub async fn run(devnet: &mut Devnet, test: &KillTest) -> anyhow::Result<()> {
    let report = measure(devnet, test).await?;
    if test.json {
        return console::json(&report);
    }
    let table = console::figures([
        ("kills", report.kills.len().to_string()),
        ("with a block in flight", report.in_flight.to_string()),
        ("writes acknowledged", console::count(report.acknowledged as u64)),
        ("read back with proof", console::count(report.read_back as u64)),
        ("height", console::count(report.height)),
        ("heights equal on all nodes, none skipped", console::count(report.heights_checked)),
        ("rejoined after, p50", format!("{} ms", report.rejoin_p50_ms)),
        ("rejoined after, max", format!("{} ms", report.rejoin_max_ms)),
        ("time", format!("{:.0} s", report.seconds)),
    ]);
    console::line(table);
    console::line(Style::detect().good("✓ nothing that was acknowledged is lost"));
    Ok(())
}
