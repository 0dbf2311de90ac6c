//! A million entries of status lists and a hundred thousand revocations in a minute, on a network of real processes.
//!
//! What the network says in the end is compared with what was asked for, entry by entry, by a client that knows the
//! genesis alone: through chunks with their proofs and through whole lists in both standard encodings, from every node.
//! The encodings are decoded here a second time, from their standards and not with the code of the ledger.
//!
//! A figure printed here is of this machine and this run; it stands beside what one thread does with the very same blocks
//! in memory ([`crate::bare`]).

use crate::bare;
use crate::chaos::interrupted;
use crate::console::{self, Style};
use crate::directory::{Devnet, NodeEntry};
use crate::issuing::Issuing;
use crate::load::percentile;
use crate::network;
use crate::own::OwnNetwork;
use crate::reader::Reader;
use crate::scene::Scene;
use anyhow::{Context as _, bail, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde::Serialize;
use sillok_client::credential_type::TypeFile;
use sillok_client::read::TransactionState;
use sillok_client::verify::moment::Moment;
use sillok_consensus::testing::Random;
use sillok_did_method::{
    CHUNK_ENTRIES, EntryState, INDEXES_MAX, LIST_ENTRIES_MAX, LIST_ENTRIES_MIN,
};
use sillok_ledger::answer::CHUNKS_MAX;
use sillok_ledger::status::StatusPurpose;
use sillok_node::node::Layout;
use sillok_node::testing::Database;
use sillok_proto::{Hash, v1};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long a transaction may take, in milliseconds. Less than the ledger's window of five minutes.
const LIFE_MS: u64 = 280_000;
/// Operations in one transaction, where each sets so few entries that there is room for more.
const OPERATIONS_MAX: usize = 200;

/// `status-load`.
#[derive(Debug, Clone, Args)]
pub struct StatusLoad {
    /// Entries that become valid
    #[arg(long, default_value_t = 1_000_000)]
    pub entries: usize,
    /// Of these, how many are revoked
    #[arg(long, default_value_t = 100_000)]
    pub revocations: usize,
    /// Which indexes are drawn
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Lists the entries are in
    #[arg(long, default_value_t = 4)]
    pub lists: usize,
    /// Entries that one operation makes valid
    #[arg(long, default_value_t = INDEXES_MAX)]
    pub batch: usize,
    /// Entries that one operation revokes
    #[arg(long, default_value_t = 1)]
    pub revocation_batch: usize,
    /// Seconds in which all must be revoked, on every validator
    #[arg(long, default_value_t = 60.0)]
    pub within: f64,
    /// Transactions under way at once
    #[arg(long, default_value_t = 16)]
    pub concurrency: usize,
    /// How many nodes vote
    #[arg(long, default_value_t = 4)]
    pub validators: usize,
    /// Keep the network's directory
    #[arg(long)]
    pub keep: bool,
    /// The sillok-node program [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    pub node_binary: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Entries that were set to one state, and how fast.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Phase {
    /// Entries set.
    pub entries: usize,
    /// In so many operations.
    pub operations: usize,
    /// In so many transactions.
    pub transactions: usize,
    /// Bytes of the transactions.
    pub transaction_bytes: usize,
    /// Times a node was asked again.
    pub retries: usize,
    /// Height of the first block with one of them, and of the last.
    pub heights: (u64, u64),
    /// Seconds from the first submission to the last acknowledgment.
    pub seconds: f64,
    /// Seconds until every validator had the last of their blocks.
    pub everywhere_seconds: f64,
    /// Submission to committed: half of the transactions were faster.
    pub finality_p50_ms: f64,
    /// 99 of 100 were faster.
    pub finality_p99_ms: f64,
    /// Transactions per second.
    pub transactions_per_second: f64,
    /// Entries per second.
    pub entries_per_second: f64,
    /// Seconds that one thread takes to execute the same blocks in memory, with every signature checked.
    pub bare_seconds: f64,
    /// Those, as a part of [`Self::seconds`]: 1 would be the bare limit.
    pub of_bare_limit: f64,
}

/// What the database of a validator holds.
#[derive(Debug, Clone, Serialize)]
pub struct Disk {
    /// When.
    pub moment: &'static str,
    /// All files of the database as they lay when the node had stopped, its log included.
    pub lying_bytes: u64,
    /// Files of records alone, after they were merged.
    pub settled_bytes: u64,
    /// The same by column family; those that are empty are left out.
    pub families: BTreeMap<&'static str, u64>,
}

/// What was compared, and held.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Compared {
    /// Whole lists, each from every validator.
    pub exports: usize,
    /// Entries of whole lists in the 4 bits of Token Status List.
    pub token_entries: usize,
    /// Bits of both purposes of Bitstring Status List.
    pub bits: usize,
    /// Chunks with a proof of their own.
    pub chunks: usize,
    /// Entries in these.
    pub chunk_entries: usize,
    /// Receipts whose inclusion proof holds.
    pub receipts: usize,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct StatusLoadReport {
    /// What was asked for.
    pub seed: u64,
    /// Lists.
    pub lists: usize,
    /// Entries that each has.
    pub capacity: u32,
    /// Making entries valid.
    pub issued: Phase,
    /// Revoking some of them.
    pub revoked: Phase,
    /// What was compared.
    pub compared: Compared,
    /// The database of one validator, which is an archive: it keeps every older state too.
    pub disk: Vec<Disk>,
    /// Bytes on its disk for each entry made valid, settled.
    pub bytes_per_entry: f64,
    /// Bytes on its disk for each revocation, settled.
    pub bytes_per_revocation: f64,
    /// Load of the machine in the minute before, and at the end.
    pub load_average: (String, String),
    /// Blocks executed again.
    pub blocks_executed_again: u64,
}

/// A transaction with what it does.
struct Prepared {
    transaction: v1::Transaction,
    entries: usize,
    operations: usize,
}

/// What every entry should say, list by list.
struct Expected(Vec<Vec<u8>>);

fn shuffled(count: u32, random: &mut Random) -> Vec<u32> {
    let mut all: Vec<u32> = (0..count).collect();
    shuffle(&mut all, random);
    all
}

fn shuffle<T>(all: &mut [T], random: &mut Random) {
    for place in (1..all.len()).rev() {
        all.swap(place, random.index(place + 1));
    }
}

/// The size of a list that holds so many entries with some room, as the rules have it.
fn capacity_for(entries: usize) -> anyhow::Result<u32> {
    let with_room = u32::try_from(entries + entries / 20)?;
    let capacity = with_room.next_multiple_of(CHUNK_ENTRIES).max(LIST_ENTRIES_MIN);
    let capacity = capacity.min(LIST_ENTRIES_MAX);
    ensure!(
        entries <= capacity as usize,
        "a list has at most {LIST_ENTRIES_MAX} entries; ask for more --lists"
    );
    Ok(capacity)
}

/// The type that is issued: not exclusive, so entries need no enrollment.
fn type_content() -> anyhow::Result<v1::TypeVersion> {
    let file = TypeFile::parse(
        r#"{
            "schemaHash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "policy": {
                "exclusive": false,
                "reasons": [{ "reason": "first-issue" }, { "reason": "end-of-use" }],
                "channels": ["system"],
                "purposes": ["access"]
            }
        }"#,
    )?;
    Ok(file.content(Path::new("."))?)
}

/// Load of the machine, as the system says it: averages of 1, 5 and 15 minutes.
pub(crate) fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// A bar for people; none for programs.
pub(crate) fn progress_bar(
    length: usize,
    what: &'static str,
    unit: &'static str,
    quiet: bool,
) -> anyhow::Result<ProgressBar> {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(length as u64), target);
    let template = format!(
        "{{msg:12}} [{{bar:40}}] {{human_pos}}/{{human_len}} {unit}  {{rate}}  {{elapsed}}"
    );
    let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        // A bar that cannot be written is not worth an error.
        let _unwritten = write!(out, "{:.0}/s", state.per_sec());
    };
    let style = ProgressStyle::with_template(&template)?.with_key("rate", rate);
    bar.set_style(style.progress_chars("=> "));
    bar.set_message(what);
    Ok(bar)
}

/// Signs the transactions that set `entries` (place of the list, index), `batch` of a list in each operation. Desks sign
/// on machines of their own, so this is before the clock runs.
async fn prepare(
    issuing: &Arc<Issuing>,
    entries: &[(usize, u32)],
    batch: usize,
    state: EntryState,
    reason: v1::Reason,
) -> anyhow::Result<Vec<Prepared>> {
    let operations_max = (INDEXES_MAX / batch).clamp(1, OPERATIONS_MAX);
    let mut by_list: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    let mut operations: Vec<(Hash, Vec<u32>)> = Vec::new();
    for (list, index) in entries {
        let open = by_list.entry(*list).or_default();
        open.push(*index);
        if open.len() == batch {
            operations.push((issuing.lists[*list], std::mem::take(open)));
        }
    }
    let rest = by_list.into_iter().filter(|(_, indexes)| !indexes.is_empty());
    operations.extend(rest.map(|(list, indexes)| (issuing.lists[list], indexes)));

    let operations: Vec<Vec<(Hash, Vec<u32>)>> =
        operations.chunks(operations_max).map(<[_]>::to_vec).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = operations.len().div_ceil(threads).max(1);
    let mut workers = Vec::new();
    for mine in operations.chunks(share) {
        let (issuing, mine) = (issuing.clone(), mine.to_vec());
        workers.push(tokio::task::spawn_blocking(move || {
            mine.into_iter()
                .map(|operations| {
                    let applications = operations
                        .iter()
                        .map(|(list, indexes)| issuing.set(list, state, reason, indexes))
                        .collect::<anyhow::Result<Vec<_>>>()?;
                    Ok(Prepared {
                        transaction: issuing.transaction(&applications, &[], LIFE_MS)?,
                        entries: operations.iter().map(|(_, indexes)| indexes.len()).sum(),
                        operations: operations.len(),
                    })
                })
                .collect::<anyhow::Result<Vec<_>>>()
        }));
    }
    let mut all = Vec::with_capacity(operations.len());
    for worker in workers {
        all.extend(worker.await??);
    }
    Ok(all)
}

/// Brings all of them to the validators in turn, and waits until every validator has them. Returns what was measured and
/// the ids.
async fn bring(
    devnet: &Devnet,
    issuing: &Arc<Issuing>,
    prepared: Vec<Prepared>,
    concurrency: usize,
    bar: ProgressBar,
) -> anyhow::Result<(Phase, Vec<(Hash, v1::Transaction)>)> {
    let count = prepared.len();
    let mut phase = Phase {
        entries: prepared.iter().map(|one| one.entries).sum(),
        operations: prepared.iter().map(|one| one.operations).sum(),
        transactions: count,
        transaction_bytes: prepared
            .iter()
            .map(|one| prost::Message::encoded_len(&one.transaction))
            .sum(),
        ..Phase::default()
    };
    ensure!(count > 0, "there is nothing to bring");
    let prepared: Arc<[Prepared]> = prepared.into();
    let (next, retries) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let began = Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..concurrency.max(1) {
        let (issuing, prepared, next) = (issuing.clone(), prepared.clone(), next.clone());
        let (retries, bar) = (retries.clone(), bar.clone());
        workers.spawn(async move {
            let scene = &issuing.scene;
            let mut done = Vec::new();
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some(one) = prepared.get(place) else { break };
                let sent = Instant::now();
                let committed = scene
                    .nodes
                    .commit(&scene.genesis_hash, &one.transaction, place, &retries)
                    .await?;
                done.push((committed, sent.elapsed()));
                bar.inc(one.entries as u64);
            }
            anyhow::Ok(done)
        });
    }
    let mut done = Vec::with_capacity(count);
    while let Some(worker) = workers.join_next().await {
        done.extend(worker??);
    }
    phase.seconds = began.elapsed().as_secs_f64();
    let heights = || done.iter().map(|(committed, _)| committed.height);
    phase.heights = (heights().min().unwrap_or(0), heights().max().unwrap_or(0));
    network::wait_until_up(devnet, phase.heights.1, network::UP_PATIENCE).await?;
    phase.everywhere_seconds = began.elapsed().as_secs_f64();
    bar.finish();
    ensure!(done.len() == count, "{} of {count} transactions were ordered", done.len());
    let mut latencies: Vec<Duration> = done.iter().map(|(_, took)| *took).collect();
    latencies.sort_unstable();
    phase.finality_p50_ms = percentile(&latencies, 0.5);
    phase.finality_p99_ms = percentile(&latencies, 0.99);
    phase.retries = retries.load(Ordering::Relaxed);
    phase.transactions_per_second = count as f64 / phase.seconds;
    phase.entries_per_second = phase.entries as f64 / phase.seconds;
    let genesis = &issuing.scene.genesis_hash;
    let known = prepared.iter().map(|one| {
        let body = one.transaction.body.clone().unwrap_or_default();
        (sillok_did_method::transaction_id(genesis, &body), one.transaction.clone())
    });
    Ok((phase, known.collect()))
}

/// The database of a node while it stands still.
async fn disk_of(
    devnet: &mut Devnet,
    node: &NodeEntry,
    moment: &'static str,
) -> anyhow::Result<Disk> {
    ensure!(network::stop(devnet, node.index)?, "{} did not stop by itself", node.name);
    let data = Layout::new(&node.directory).data;
    let measured = tokio::task::spawn_blocking(move || {
        let lying_bytes = files_bytes(&data)?;
        let settled = Database::open(&data)?.settle()?;
        anyhow::Ok((lying_bytes, settled))
    })
    .await?;
    network::restart(devnet, node.index).await?;
    let (lying_bytes, settled) = measured?;
    Ok(Disk {
        moment,
        lying_bytes,
        settled_bytes: settled.iter().map(|(_, bytes)| bytes).sum(),
        families: settled.into_iter().filter(|(_, bytes)| *bytes > 0).collect(),
    })
}

/// Bytes of all files in a directory.
fn files_bytes(directory: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

/// The state of an entry in the 4 bits of a Token Status List (draft-ietf-oauth-status-list, §4.1: packed from the least
/// significant bits of each byte on).
fn token_state(list: &[u8], index: usize) -> Option<u8> {
    let byte = *list.get(index / 2)?;
    Some((byte >> (4 * (index % 2))) & 0b1111)
}

/// The bit of an entry in a Bitstring Status List (W3C, §1: the first is the most significant of the first byte).
fn bit(list: &[u8], index: usize) -> Option<bool> {
    let byte = *list.get(index / 8)?;
    Some(byte & (0b1000_0000 >> (index % 8)) != 0)
}

/// Compares every entry of every list on every validator with what it should say.
async fn compare(
    devnet: &Devnet,
    issuing: &Issuing,
    expected: &Expected,
    compared: &mut Compared,
    quiet: bool,
) -> anyhow::Result<()> {
    let height = crate::status::highest(devnet).await.context("no node answers")?;
    let nodes: Vec<NodeEntry> = devnet.validators().cloned().collect();
    let bar = progress_bar(nodes.len() * issuing.lists.len(), "comparing", "lists", quiet)?;
    for node in &nodes {
        let reader = Reader::fresh(devnet, &node.grpc)?;
        reader.wait_for(height).await?;
        for (list, expected) in issuing.lists.iter().zip(&expected.0) {
            compare_export(&reader, list, expected, compared)
                .await
                .with_context(|| format!("a whole list of {}", node.name))?;
            compare_chunks(&reader, list, expected, compared)
                .await
                .with_context(|| format!("the chunks of {}", node.name))?;
            bar.inc(1);
        }
    }
    bar.finish();
    Ok(())
}

async fn compare_export(
    reader: &Reader,
    list: &Hash,
    expected: &[u8],
    compared: &mut Compared,
) -> anyhow::Result<()> {
    let answer = reader.client.whole_list(list, Moment::Tip).await?;
    let whole = answer.fresh()?.as_ref().context("it is proved that there is no such list")?;
    ensure!(whole.list.capacity as usize == expected.len(), "the list has another size");
    let token = whole.token_status_list();
    let revocation = whole.bitstring(StatusPurpose::Revocation)?;
    let suspension = whole.bitstring(StatusPurpose::Suspension)?;
    ensure!(token.len() == expected.len() / 2, "a Token Status List of another length");
    ensure!(
        revocation.len() == expected.len() / 8 && suspension.len() == expected.len() / 8,
        "a Bitstring Status List of another length"
    );
    for (index, state) in expected.iter().enumerate() {
        // No message says which entry: it would be about a person.
        ensure!(token_state(token, index) == Some(*state), "an entry says something else");
        let revoked = matches!(state, 1 | 12);
        let suspended = matches!(state, 2 | 3);
        ensure!(
            bit(&revocation, index) == Some(revoked) && bit(&suspension, index) == Some(suspended),
            "a bit says something else"
        );
    }
    compared.exports += 1;
    compared.token_entries += expected.len();
    compared.bits += 2 * expected.len();
    Ok(())
}

async fn compare_chunks(
    reader: &Reader,
    list: &Hash,
    expected: &[u8],
    compared: &mut Compared,
) -> anyhow::Result<()> {
    let numbers: Vec<u32> = (0..u32::try_from(expected.len())? / CHUNK_ENTRIES).collect();
    for numbers in numbers.chunks(CHUNKS_MAX) {
        let answer = reader.client.chunks(list, numbers, Moment::Tip).await?;
        let chunks = answer.fresh()?;
        for number in numbers {
            for index in number * CHUNK_ENTRIES..(number + 1) * CHUNK_ENTRIES {
                let state = chunks.entry(index)?.state as u8;
                ensure!(
                    expected.get(index as usize) == Some(&state),
                    "an entry of a chunk says something else"
                );
            }
            compared.chunks += 1;
            compared.chunk_entries += CHUNK_ENTRIES as usize;
        }
    }
    Ok(())
}

/// Verifies the receipt of every transaction.
async fn check_receipts(
    devnet: &Devnet,
    ids: impl Iterator<Item = &Hash>,
    compared: &mut Compared,
) -> anyhow::Result<()> {
    let node = devnet.nodes.last().context("the devnet has no node")?;
    let reader = Reader::fresh(devnet, &node.grpc)?;
    for id in ids {
        let state = reader.client.transaction(id, Duration::ZERO).await?;
        ensure!(
            matches!(state, TransactionState::Committed(_)),
            "transaction {id} is not shown as ordered"
        );
        compared.receipts += 1;
    }
    Ok(())
}

/// Runs it on a network of its own.
///
/// # Errors
///
/// A write was refused, or what the network says is not what was asked for.
pub async fn measure(load: &StatusLoad) -> anyhow::Result<StatusLoadReport> {
    ensure!(
        load.entries > 0 && load.revocations > 0 && load.revocations <= load.entries,
        "ask for at least one revocation, and for no more than there are entries"
    );
    for batch in [load.batch, load.revocation_batch] {
        ensure!((1..=INDEXES_MAX).contains(&batch), "an operation sets 1 to {INDEXES_MAX} entries");
    }
    ensure!((1..=100).contains(&load.lists), "1 to 100 lists, not {}", load.lists);
    let before = load_average();
    let mut own =
        OwnNetwork::start("status-load", load.validators, load.node_binary.clone()).await?;
    own.keep = load.keep;
    let mut report = watched(load, &mut own).await?;
    report.load_average = (before, load_average());
    Ok(report)
}

async fn watched(load: &StatusLoad, own: &mut OwnNetwork) -> anyhow::Result<StatusLoadReport> {
    let capacity = capacity_for(load.entries.div_ceil(load.lists))?;
    let scene = Scene::of(&own.devnet)?;
    let issuing = Arc::new(Issuing::begin(scene, type_content()?, load.lists, capacity).await?);
    let measured = own.devnet.nodes.last().cloned().context("the devnet has no node")?;
    let mut random = Random::new(load.seed);
    let mut compared = Compared::default();
    let mut expected =
        Expected(vec![vec![EntryState::Pending as u8; capacity as usize]; load.lists]);
    // As many of each list, drawn by lot.
    let drawn: Vec<Vec<u32>> = (0..load.lists).map(|_| shuffled(capacity, &mut random)).collect();
    let mut entries: Vec<(usize, u32)> = (0..load.entries)
        .filter_map(|nth| {
            let list = nth % load.lists;
            drawn[list].get(nth / load.lists).map(|index| (list, *index))
        })
        .collect();
    ensure!(entries.len() == load.entries, "the lists are too small");
    let mut disk = vec![disk_of(&mut own.devnet, &measured, "before").await?];

    let prepared =
        prepare(&issuing, &entries, load.batch, EntryState::Valid, v1::Reason::FirstIssue).await?;
    let bar = progress_bar(entries.len(), "making valid", "entries", load.json)?;
    let (mut issued, mut known) =
        bring(&own.devnet, &issuing, prepared, load.concurrency, bar).await?;
    set_expected(&mut expected, &entries, EntryState::Valid);
    compare(&own.devnet, &issuing, &expected, &mut compared, load.json).await?;
    disk.push(disk_of(&mut own.devnet, &measured, "with all entries").await?);

    shuffle(&mut entries, &mut random);
    entries.truncate(load.revocations);
    let prepared = prepare(
        &issuing,
        &entries,
        load.revocation_batch,
        EntryState::Invalid,
        v1::Reason::EndOfUse,
    )
    .await?;
    let bar = progress_bar(entries.len(), "revoking", "entries", load.json)?;
    let (mut revoked, more) = bring(&own.devnet, &issuing, prepared, load.concurrency, bar).await?;
    known.extend(more);
    set_expected(&mut expected, &entries, EntryState::Invalid);
    compare(&own.devnet, &issuing, &expected, &mut compared, load.json).await?;
    check_receipts(&own.devnet, known.iter().map(|(id, _)| id), &mut compared).await?;
    disk.push(disk_of(&mut own.devnet, &measured, "with all revocations").await?);

    let last = revoked.heights.1;
    let known: BTreeMap<Hash, v1::Transaction> = known.into_iter().collect();
    let times = bare::execute_again(&own.devnet, last, &known).await?;
    for phase in [&mut issued, &mut revoked] {
        phase.bare_seconds = times.of(phase.heights.0, phase.heights.1).as_secs_f64();
        phase.of_bare_limit = phase.bare_seconds / phase.seconds;
    }
    let grown = |from: usize, to: usize, count: usize| {
        let (from, to) = (disk[from].settled_bytes, disk[to].settled_bytes);
        to.saturating_sub(from) as f64 / count as f64
    };
    Ok(StatusLoadReport {
        seed: load.seed,
        lists: load.lists,
        capacity,
        bytes_per_entry: grown(0, 1, load.entries),
        bytes_per_revocation: grown(1, 2, load.revocations),
        issued,
        revoked,
        compared,
        disk,
        load_average: (String::new(), String::new()),
        blocks_executed_again: last,
    })
}

fn set_expected(expected: &mut Expected, entries: &[(usize, u32)], state: EntryState) {
    for (list, index) in entries {
        expected.0[*list][*index as usize] = state as u8;
    }
}

/// The command.
///
/// # Errors
///
/// What the network says is not what was asked for, or it took too long.
pub async fn run(load: &StatusLoad) -> anyhow::Result<()> {
    let report = tokio::select! {
        report = measure(load) => report?,
        () = interrupted() => bail!("interrupted; the network is removed"),
    };
    if load.json {
        console::json(&report)?;
    } else {
        print(&report);
    }
    let took = report.revoked.everywhere_seconds;
    ensure!(
        took <= load.within,
        "{} revocations took {took:.1} s, more than {} s",
        console::count(report.revoked.entries as u64),
        load.within
    );
    Ok(())
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn print(report: &StatusLoadReport) {
    let style = Style::detect();
    for (what, phase) in [("made valid", &report.issued), ("revoked", &report.revoked)] {
        console::line(style.bold(format!(
            "{} entries {what}, in {} lists of {}",
            console::count(phase.entries as u64),
            report.lists,
            console::count(report.capacity.into())
        )));
        console::line(console::figures([
            ("operations", console::count(phase.operations as u64)),
            ("transactions", console::count(phase.transactions as u64)),
            ("bytes of transactions", megabytes(phase.transaction_bytes as u64)),
            ("blocks", console::count(phase.heights.1 - phase.heights.0 + 1)),
            ("asked again", console::count(phase.retries as u64)),
            ("until the last is acknowledged", format!("{:.2} s", phase.seconds)),
            ("until every validator has all", format!("{:.2} s", phase.everywhere_seconds)),
            ("transactions/s", format!("{:.1}", phase.transactions_per_second)),
            ("entries/s", format!("{:.0}", phase.entries_per_second)),
            ("finality p50", format!("{:.0} ms", phase.finality_p50_ms)),
            ("finality p99", format!("{:.0} ms", phase.finality_p99_ms)),
            ("one thread, in memory, no network", format!("{:.2} s", phase.bare_seconds)),
            ("ratio to that", format!("{:.2}", phase.of_bare_limit)),
        ]));
    }
    console::line(style.bold("database of one validator, an archive"));
    for disk in &report.disk {
        let largest: Vec<String> = disk
            .families
            .iter()
            .filter(|(_, bytes)| **bytes * 20 >= disk.settled_bytes)
            .map(|(name, bytes)| format!("{name} {}", megabytes(*bytes)))
            .collect();
        console::line(format!(
            "  {:21} {:>9} settled, {:>9} as it lay: {}",
            disk.moment,
            megabytes(disk.settled_bytes),
            megabytes(disk.lying_bytes),
            largest.join(", ")
        ));
    }
    console::line(format!(
        "  {:.1} bytes for each entry made valid, {:.1} for each revocation",
        report.bytes_per_entry, report.bytes_per_revocation
    ));
    let compared = &report.compared;
    console::line(style.good(format!(
        "✓ {} entries of {} whole lists and {} bits as they should be; {} chunks proved with all their entries; {} receipts hold; {} blocks executed again to the same headers",
        console::count(compared.token_entries as u64),
        compared.exports,
        console::count(compared.bits as u64),
        console::count(compared.chunks as u64),
        console::count(compared.receipts as u64),
        console::count(report.blocks_executed_again)
    )));
    console::line(format!(
        "load average before {}, after {}",
        report.load_average.0, report.load_average.1
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// draft-ietf-oauth-status-list, §4.1: of two bits the draft's own example; of four, the same order.
    #[test]
    fn entries_and_bits_are_where_the_standards_put_them() {
        assert_eq!(token_state(&[0xc1, 0x32], 0), Some(0x1));
        assert_eq!(token_state(&[0xc1, 0x32], 1), Some(0xc));
        assert_eq!(token_state(&[0xc1, 0x32], 2), Some(0x2));
        assert_eq!(token_state(&[0xc1, 0x32], 3), Some(0x3));
        assert_eq!(token_state(&[0xc1, 0x32], 4), None);
        let set: Vec<usize> = (0..16)
            .filter(|index| bit(&[0b1000_0001, 0b0100_0000], *index) == Some(true))
            .collect();
        assert_eq!(set, [0, 7, 9]);
        assert_eq!(bit(&[0], 8), None);
    }

    #[test]
    fn lists_have_sizes_that_the_rules_allow() {
        assert_eq!(capacity_for(10).unwrap(), LIST_ENTRIES_MIN);
        assert_eq!(capacity_for(250_000).unwrap(), 33 * CHUNK_ENTRIES);
        assert_eq!(capacity_for(1_040_000).unwrap(), LIST_ENTRIES_MAX);
        assert!(capacity_for(1_048_577).is_err());
    }

    #[test]
    fn every_index_is_drawn_once() {
        let mut drawn = shuffled(1_000, &mut Random::new(3));
        assert_ne!(drawn, (0..1_000).collect::<Vec<_>>());
        drawn.sort_unstable();
        assert_eq!(drawn, (0..1_000).collect::<Vec<_>>());
    }
}
