//! `sillok-devnet sim`: seeds from the command line, on all cores, with progress.

use super::mutants::{Caught, TABLE, catch};
use super::scenario::Scenario;
use super::world::{Counts, Outcome, run};
use crate::console;
use anyhow::bail;
use clap::Args;
use comfy_table::Table;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// `sim`.
#[derive(Debug, Args)]
pub struct SimArgs {
    /// One seed
    #[arg(long, conflicts_with = "seeds")]
    pub seed: Option<u64>,
    /// Seeds from A up to, not including, B
    #[arg(long, value_name = "A..B", value_parser = parse_range)]
    pub seeds: Option<(u64, u64)>,
    /// Switch bugs on, one by one, and say at which seed each is caught and by which rule
    #[arg(long, conflicts_with_all = ["seed", "seeds", "sizes"])]
    pub mutants: bool,
    /// Run 4, 7 and 10 validators without faults and print their speed
    #[arg(long, conflicts_with_all = ["seed", "seeds"])]
    pub sizes: bool,
    /// Print every event of the run
    #[arg(long, requires = "seed")]
    pub trace: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Threads [default: one for each core]
    #[arg(long)]
    pub threads: Option<usize>,
}

fn parse_range(text: &str) -> Result<(u64, u64), String> {
    let parse = |text: &str| text.parse().map_err(|_| format!("{text:?} is not a seed"));
    let (first, end) = text.split_once("..").ok_or("write A..B, for example 0..1000")?;
    let range = (parse(first)?, parse(end)?);
    if range.0 < range.1 { Ok(range) } else { Err("A must be below B".to_owned()) }
}

/// What is printed of one run.
#[derive(Debug, Serialize)]
struct Report<'a> {
    seed: u64,
    height: u64,
    trace_hash: String,
    virtual_ms: u64,
    violations: Vec<String>,
    counts: &'a Counts,
}

impl<'a> Report<'a> {
    fn of(outcome: &'a Outcome) -> Self {
        Self {
            seed: outcome.seed,
            height: outcome.height,
            trace_hash: format!("{:016x}", outcome.trace_hash),
            virtual_ms: outcome.virtual_us / 1_000,
            violations: outcome.violations.iter().map(ToString::to_string).collect(),
            counts: &outcome.counts,
        }
    }
}

/// What is printed of many.
#[derive(Debug, Serialize)]
struct Summary {
    seeds: String,
    commit: &'static str,
    ran: u64,
    failed: Vec<u64>,
    heights: u64,
    /// Covers the trace hash of every seed, in their order.
    trace_hash: String,
    seconds: f64,
    counts: Counts,
}

/// The commit this was built from: `-dirty` if files were changed since, `unknown` if it was built without git.
const COMMIT: &str = match option_env!("SILLOK_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// Which code ran, and how to see this seed again.
#[must_use]
pub fn replay_hint(seed: u64) -> String {
    format!(
        "seed {seed}, commit {COMMIT}; see it again with: sillok-devnet sim --seed {seed} --trace"
    )
}

/// How to see a failure again.
fn say_failure(outcome: &Outcome) {
    let seed = outcome.seed;
    for violation in &outcome.violations {
        console::note(format!("seed {seed}: {violation}"));
    }
    console::note(replay_hint(seed));
}

/// Does what was asked.
///
/// # Errors
///
/// A rule did not hold, or a bug that was switched on was not noticed.
pub fn command(args: &SimArgs) -> anyhow::Result<()> {
    silence_expected_panics();
    if args.mutants {
        return print_mutants(args.json);
    }
    if args.sizes {
        return print_sizes(args.json);
    }
    match (args.seed, args.seeds) {
        (Some(seed), _) => one(seed, args),
        (None, range) => many(range.unwrap_or((0, 100)), args),
    }
}

/// Panics are part of some runs; what they say would bury the rest.
fn silence_expected_panics() {
    std::panic::set_hook(Box::new(|_| {}));
}

fn one(seed: u64, args: &SimArgs) -> anyhow::Result<()> {
    let scenario = Scenario { trace: args.trace, ..Scenario::swarm(seed) };
    let outcome = run(&scenario);
    if args.trace {
        console::line(format!("{scenario:#?}"));
        for line in &outcome.trace {
            console::line(line);
        }
    }
    if args.json {
        console::json(&Report::of(&outcome))?;
    } else {
        console::line(format!(
            "seed {seed}: height {}, {} ms of virtual time, trace {:016x}",
            outcome.height,
            outcome.virtual_us / 1_000,
            outcome.trace_hash
        ));
        console::line(format!("{:#?}", outcome.counts));
    }
    if outcome.violations.is_empty() {
        return Ok(());
    }
    say_failure(&outcome);
    bail!("a rule did not hold")
}

fn many((first, end): (u64, u64), args: &SimArgs) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.unwrap_or(cores).max(1);
    let bar = ProgressBar::new(end - first);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:30} {pos}/{len} seeds, {per_sec}, {eta} left, {msg}")
    {
        bar.set_style(style);
    }
    bar.set_message("0 failed");
    bar.enable_steady_tick(Duration::from_millis(500));
    let began = Instant::now();
    let failed = AtomicU64::new(0);
    let outcomes = run_all(first, end, threads, |outcome| {
        bar.inc(1);
        if !outcome.violations.is_empty() {
            let failed = failed.fetch_add(1, Ordering::Relaxed) + 1;
            bar.set_message(format!("{failed} failed"));
            bar.suspend(|| say_failure(outcome));
        }
    });
    bar.finish_and_clear();
    let mut counts = Counts::default();
    let mut trace = 0_u64;
    for outcome in &outcomes {
        counts.add(&outcome.counts);
        trace = (trace ^ outcome.trace_hash).wrapping_mul(0x0100_0000_01B3).rotate_left(23);
    }
    let failed: Vec<u64> = outcomes
        .iter()
        .filter(|outcome| !outcome.violations.is_empty())
        .map(|outcome| outcome.seed)
        .collect();
    let summary = Summary {
        seeds: format!("{first}..{end}"),
        commit: COMMIT,
        ran: outcomes.len() as u64,
        heights: outcomes.iter().map(|outcome| outcome.height).sum(),
        trace_hash: format!("{trace:016x}"),
        seconds: began.elapsed().as_secs_f64(),
        counts,
        failed: failed.clone(),
    };
    if args.json {
        console::json(&summary)?;
    } else {
        let Summary { ran, heights, seconds, trace_hash, counts, .. } = &summary;
        console::line(format!(
            "{ran} seeds, {heights} heights in {seconds:.1} s ({:.1} seeds a second on {threads} threads), trace {trace_hash}",
            *ran as f64 / seconds
        ));
        console::line(format!("{counts:#?}"));
    }
    if failed.is_empty() {
        if !args.json {
            console::line("no rule was broken, and nothing was stuck");
        }
        return Ok(());
    }
    bail!("{} of {} seeds failed: {failed:?}", failed.len(), outcomes.len())
}

/// Runs seeds on threads; the outcomes come back in the order of the seeds.
pub(super) fn run_all(
    first: u64,
    end: u64,
    threads: usize,
    seen: impl Fn(&Outcome) + Sync,
) -> Vec<Outcome> {
    let next = AtomicU64::new(first);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let outcome = run(&Scenario::swarm(seed));
                    seen(&outcome);
                    if let Ok(mut outcomes) = outcomes.lock() {
                        outcomes.push(outcome);
                    }
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_default();
    outcomes.sort_by_key(|outcome| outcome.seed);
    outcomes
}

fn print_mutants(json: bool) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(0);
    let missed = AtomicBool::new(false);
    let rows: Mutex<Vec<(usize, Caught)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let nth = next.fetch_add(1, Ordering::Relaxed) as usize;
                    let Some(entry) = TABLE.get(nth) else { return };
                    let caught = catch(entry);
                    if !caught.is_proof() {
                        missed.store(true, Ordering::Relaxed);
                    }
                    if let Ok(mut rows) = rows.lock() {
                        rows.push((nth, caught));
                    }
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_default();
    rows.sort_by_key(|(nth, _)| *nth);
    if json {
        let rows: Vec<&Caught> = rows.iter().map(|(_, row)| row).collect();
        console::json(&rows)?;
    } else {
        let mut table = Table::new();
        table.set_header(["bug", "caught at seed", "by", "what was seen", "granted to it"]);
        for (_, row) in &rows {
            let seed = row.seed.map_or_else(|| "not caught".to_owned(), |seed| seed.to_string());
            let unclean = row.unclean.as_ref().map(|(_, rule)| format!("without it too: {rule}"));
            table.add_row([
                row.bug,
                &seed,
                row.rule,
                unclean.as_ref().unwrap_or(&row.seen),
                row.exception,
            ]);
        }
        console::line(table);
    }
    if missed.into_inner() { bail!("a bug was not noticed") } else { Ok(()) }
}

/// A row of the table of sizes.
#[derive(Debug, Serialize)]
struct SizeRow {
    validators: usize,
    heights: u64,
    heights_per_second: f64,
    messages_per_height: f64,
}

fn print_sizes(json: bool) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for validators in [4, 7, 10] {
        let scenario = Scenario {
            validators,
            heights: 200,
            heartbeat_ms: 0,
            transaction_every_us: 0,
            read_every_us: 500_000,
            ..Scenario::calm(1)
        };
        let began = Instant::now();
        let outcome = run(&scenario);
        let seconds = began.elapsed().as_secs_f64();
        if !outcome.violations.is_empty() {
            say_failure(&outcome);
            bail!("a rule did not hold with {validators} validators");
        }
        let heights = outcome.height as f64;
        rows.push(SizeRow {
            validators,
            heights: outcome.height,
            heights_per_second: heights / seconds,
            messages_per_height: outcome.counts.messages_sent as f64 / heights,
        });
    }
    if json {
        return console::json(&rows);
    }
    let mut table = Table::new();
    table.set_header(["validators", "heights", "heights a second", "messages a height"]);
    for row in &rows {
        table.add_row([
            row.validators.to_string(),
            row.heights.to_string(),
            format!("{:.0}", row.heights_per_second),
            format!("{:.0}", row.messages_per_height),
        ]);
    }
    console::line(table);
    Ok(())
}
