//! What a run of `chaos` has seen, for people and for programs.

use super::schedule::Fault;
use super::traffic::Traffic;
use super::{Chaos, Site};
use crate::console::{self, Style};
use crate::load::percentile;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a device that was taken away may be shown by an honest validator, with one of four down (A16).
const AWAY_WITHIN_MS: f64 = 3_000.0;
/// How many must have been taken away before that is judged. Of fewer than 100 the p99 is the worst of all.
const AWAY_SAMPLES: usize = 20;
/// The minutes of a process's life in which it fills what is bounded by time: names by which nothing is ordered twice are
/// kept for five.
const WARM_UP_MINUTES: usize = 5;
/// In how many minutes after that memory has a direction.
const MINUTES_MIN: usize = 3;
/// How fast what a process holds beside its database may grow then, in megabytes a minute. Signatures found good fill two
/// generations of 100,000 for as long, and the allocator gives back little.
const GROWTH_MAX: f64 = 2.0;
/// How much memory a node may hold, in megabytes.
const MEMORY_MAX: f64 = 256.0;
/// How much of it may be the database's: what is granted, and a quarter for what is being written to files.
const DATABASE_MAX: f64 = super::DATABASE_MEMORY_BYTES as f64 * 1.25 / MEGABYTE;
const MEGABYTE: f64 = 1_000_000.0;

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// One fault.
#[derive(Debug, Clone, Serialize)]
pub struct FaultReport {
    /// What.
    pub fault: Fault,
    /// To whom.
    pub victims: Vec<String>,
    /// From the fault to its healing.
    pub lasted_ms: u64,
    /// From healing until the nodes were at the network's height and voted.
    pub recovered_ms: u64,
    /// The longest without an acknowledged write, from the fault to the recovery.
    pub stalled_ms: u64,
    /// The longest without one after healing.
    pub stalled_after_ms: u64,
    /// Times that a node exited with 75 and was started again by its supervisor.
    pub restarts: usize,
    /// Reads that a node without a fault did not answer.
    pub missed_reads: usize,
    /// What else was seen.
    pub note: String,
}

impl FaultReport {
    /// A line for people.
    pub(super) fn line(&self, number: usize) -> String {
        format!(
            "{number:>3}  {:<11} {:<9} for {:>8}, back after {:>8}, writes stood still {:>8}{}{}{}",
            self.fault.name(),
            self.victims.join(" "),
            console::duration(Duration::from_millis(self.lasted_ms)),
            console::duration(Duration::from_millis(self.recovered_ms)),
            console::duration(Duration::from_millis(self.stalled_ms)),
            if self.restarts > 0 {
                format!(", {} restarts with 75", self.restarts)
            } else {
                String::new()
            },
            if self.missed_reads > 0 {
                format!(", {} reads without an answer", self.missed_reads)
            } else {
                String::new()
            },
            if self.note.is_empty() { String::new() } else { format!(" ({})", self.note) },
        )
    }
}

/// Memory of one node.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Memory {
    /// Who.
    pub node: String,
    /// How many processes it was, one after the other.
    pub lives: usize,
    /// The most it held, in megabytes.
    pub most_mb: f64,
    /// The most that its database said it held, in megabytes.
    pub database_mb: f64,
    /// How many minutes the longest of its lives is known after the warm-up.
    pub minutes: usize,
    /// How fast what it held beside its database grew then, in megabytes a minute, in the life in which it grew fastest;
    /// none if no life was long enough.
    pub growth_mb_per_minute: Option<f64>,
}

/// The whole run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ChaosReport {
    /// What the faults followed from.
    pub seed: u64,
    /// How partitions were made.
    pub partitions: String,
    /// Faults that cannot be done on this machine, and why.
    pub not_done: Vec<String>,
    /// Every fault.
    pub faults: Vec<FaultReport>,
    /// DIDs whose registration was acknowledged.
    pub promised: usize,
    /// How many times one of them was found with its proof, summed over all nodes.
    pub found: usize,
    /// Transactions acknowledged, each with a receipt that holds.
    pub acknowledged: usize,
    /// Times a write was sent again.
    pub retries: u64,
    /// Submission to acknowledgment: half of the writes were faster.
    pub write_p50_ms: f64,
    /// 99 of 100 were faster.
    pub write_p99_ms: f64,
    /// The slowest.
    pub write_max_ms: f64,
    /// Reads that were answered, checked and right.
    pub reads_right: u64,
    /// Reads that a faulty node did not answer.
    pub reads_unanswered: u64,
    /// Reads that a node without a fault did not answer.
    pub reads_missed: u64,
    /// Devices taken away while nobody was faulty.
    pub away_calm: usize,
    /// From submission until every validator said so: 99 of 100 were faster.
    pub away_calm_p99_ms: f64,
    /// Devices taken away while one validator was faulty.
    pub away_one_faulty: usize,
    /// Half of those were faster.
    pub away_one_faulty_p50_ms: f64,
    /// From submission until every honest validator said so: 99 of 100 were faster.
    pub away_one_faulty_p99_ms: f64,
    /// Heights compared over all nodes, none skipped.
    pub heights_checked: u64,
    /// Times that a node exited with 75 and was started again by its supervisor.
    pub restarts: usize,
    /// Memory of every node.
    pub memory: Vec<Memory>,
    /// Seconds for everything.
    pub seconds: f64,
    /// What must hold and does not.
    pub broken: Vec<String>,
}

impl ChaosReport {
    /// Adds what was measured on the way.
    pub(super) fn finish(
        &mut self,
        site: &Site,
        chaos: &Chaos,
        traffic: &Traffic,
        faults: Vec<FaultReport>,
        not_done: Vec<String>,
        took: Duration,
    ) -> anyhow::Result<()> {
        self.seed = chaos.seed;
        self.partitions = site.links.describe();
        self.not_done = not_done;
        self.restarts = site.supervisor.restarts().iter().sum();
        self.seconds = took.as_secs_f64();
        self.retries = traffic.retries.load(Ordering::Relaxed);
        self.reads_unanswered = traffic.unanswered.load(Ordering::Relaxed);
        self.reads_missed = traffic.missed.load(Ordering::Relaxed);
        let acknowledged = traffic.acknowledged();
        self.acknowledged = acknowledged.len();
        let mut writes: Vec<Duration> = acknowledged.iter().map(|one| one.took).collect();
        writes.sort_unstable();
        self.write_p50_ms = percentile(&writes, 0.5);
        self.write_p99_ms = percentile(&writes, 0.99);
        self.write_max_ms = percentile(&writes, 1.0);
        let away = |faulty: usize| {
            let probes = traffic.probes().into_iter().filter(|probe| probe.faulty == faulty);
            let mut took: Vec<Duration> = probes.map(|probe| probe.took).collect();
            took.sort_unstable();
            took
        };
        let (calm, one) = (away(0), away(1));
        self.away_calm = calm.len();
        self.away_calm_p99_ms = percentile(&calm, 0.99);
        self.away_one_faulty = one.len();
        self.away_one_faulty_p50_ms = percentile(&one, 0.5);
        self.away_one_faulty_p99_ms = percentile(&one, 0.99);
        if one.len() >= AWAY_SAMPLES && self.away_one_faulty_p99_ms > AWAY_WITHIN_MS {
            self.broken.push(format!(
                "a device taken away was shown for {:.0} ms (p99) with one validator faulty, {AWAY_WITHIN_MS} may be",
                self.away_one_faulty_p99_ms
            ));
        }
        for (node, most_bytes) in site.devnet.nodes.iter().zip(site.supervisor.most_bytes()) {
            let log = std::fs::read(&node.log).unwrap_or_default();
            let told = memory(&String::from_utf8_lossy(&log));
            let most_mb = most_bytes / MEGABYTE;
            self.memory.push(Memory { node: node.name.clone(), most_mb, ..told });
        }
        for node in &self.memory {
            if node.most_mb > MEMORY_MAX {
                self.broken.push(format!("{} held {:.0} MB", node.node, node.most_mb));
            }
            if node.database_mb > DATABASE_MAX {
                let (name, held) = (&node.node, node.database_mb);
                self.broken.push(format!("the database of {name} held {held:.1} MB"));
            }
            if let Some(growth) = node.growth_mb_per_minute
                && growth > GROWTH_MAX
            {
                self.broken.push(format!("the memory of {} grows, {growth:.1} MB/min", node.node));
            }
        }
        let measured = self.memory.iter().any(|node| node.growth_mb_per_minute.is_some());
        // The observer lives as long as the run.
        if !measured && self.seconds > 60.0 * (WARM_UP_MINUTES + MINUTES_MIN + 1) as f64 {
            self.broken.push("no node lived long enough to say whether memory grows".to_owned());
        }
        for fault in faults.iter().filter(|fault| fault.fault == Fault::Upgrade) {
            if fault.missed_reads > 0 {
                self.broken.push(format!("{} reads failed in an upgrade", fault.missed_reads));
            }
        }
        self.faults = faults;
        Ok(())
    }

    fn memory_table(&self) -> comfy_table::Table {
        let headings = ["memory of", "lives", "most", "of the database", "growth of the rest"];
        let mut table = console::table(headings);
        for node in &self.memory {
            let growth = node.growth_mb_per_minute.map_or_else(
                || "no life long enough".to_owned(),
                |mb| format!("{mb:.2} MB/min in {} min", node.minutes),
            );
            table.add_row(vec![
                node.node.clone().into(),
                console::number(node.lives),
                console::number(format!("{:.0} MB", node.most_mb)),
                console::number(format!("{:.1} MB", node.database_mb)),
                console::number(growth),
            ]);
        }
        table
    }

    /// Prints it for people.
    pub(super) fn print(&self, style: Style) {
        let mut table = console::table([
            "fault",
            "times",
            "back p50",
            "back max",
            "no write, max",
            "no write after healing, max",
        ]);
        let mut kinds: BTreeMap<Fault, Vec<&FaultReport>> = BTreeMap::new();
        for fault in &self.faults {
            kinds.entry(fault.fault).or_default().push(fault);
        }
        for (kind, faults) in kinds {
            let mut back: Vec<u64> = faults.iter().map(|fault| fault.recovered_ms).collect();
            back.sort_unstable();
            let shown = |ms: Option<&u64>| {
                console::number(console::duration(Duration::from_millis(ms.copied().unwrap_or(0))))
            };
            table.add_row(vec![
                kind.name().into(),
                console::number(faults.len()),
                shown(back.get(back.len() / 2)),
                shown(back.last()),
                shown(faults.iter().map(|fault| &fault.stalled_ms).max()),
                shown(faults.iter().map(|fault| &fault.stalled_after_ms).max()),
            ]);
        }
        console::line(table);
        console::line(self.memory_table());
        console::line(console::figures([
            ("faults", self.faults.len().to_string()),
            ("partitions by", self.partitions.clone()),
            ("DIDs acknowledged", console::count(self.promised as u64)),
            ("found with proof, over all nodes", console::count(self.found as u64)),
            ("receipts that hold", console::count(self.acknowledged as u64)),
            ("writes p50", format!("{:.0} ms", self.write_p50_ms)),
            ("writes p99", format!("{:.0} ms", self.write_p99_ms)),
            ("writes max", format!("{:.0} ms", self.write_max_ms)),
            ("reads checked and right", console::count(self.reads_right)),
            ("reads a faulty node did not answer", console::count(self.reads_unanswered)),
            ("reads a node without fault did not answer", console::count(self.reads_missed)),
            (
                "device taken away, all well, p99",
                format!("{:.0} ms of {}", self.away_calm_p99_ms, self.away_calm),
            ),
            (
                "device taken away, one faulty, p50",
                format!("{:.0} ms of {}", self.away_one_faulty_p50_ms, self.away_one_faulty),
            ),
            (
                "device taken away, one faulty, p99",
                format!("{:.0} ms of {}", self.away_one_faulty_p99_ms, self.away_one_faulty),
            ),
            ("heights equal on all nodes, none skipped", console::count(self.heights_checked)),
            ("restarts by the supervisor (exit 75)", self.restarts.to_string()),
            ("time", format!("{:.0} s", self.seconds)),
        ]));
        for what in &self.not_done {
            console::line(style.bad(format!("NOT DONE {what}")));
        }
        for what in &self.broken {
            console::line(style.bad(format!("✗ {what}")));
        }
        if self.broken.is_empty() {
            console::line(style.good(
                "✓ nothing acknowledged is lost, no answer was wrong, all states are equal, and nobody had to help",
            ));
        }
    }
}

/// What a node said of its memory in its log, once a minute.
fn memory(log: &str) -> Memory {
    let mut lives: Vec<Vec<Told>> = Vec::new();
    for line in log.lines() {
        if line.contains("event=\"starting\"") {
            lives.push(Vec::new());
        } else if let (Some(told), Some(life)) = (Told::read(line), lives.last_mut()) {
            life.push(told);
        }
    }
    let rest = |life: &Vec<Told>| {
        let warm = life.iter().enumerate().skip(WARM_UP_MINUTES);
        let points = warm.map(|(minute, told)| (minute as f64, told.rest_mb()));
        points.collect::<Vec<_>>()
    };
    let rests: Vec<_> = lives.iter().map(rest).collect();
    let long = rests.iter().filter(|points| points.len() >= MINUTES_MIN);
    Memory {
        lives: lives.len(),
        database_mb: lives
            .iter()
            .flatten()
            .map(|told| told.database / MEGABYTE)
            .fold(0.0, f64::max),
        minutes: rests.iter().map(Vec::len).max().unwrap_or(0),
        growth_mb_per_minute: long.map(|points| slope(points)).reduce(f64::max),
        ..Memory::default()
    }
}

/// A line of a node about its memory, in bytes.
#[derive(Debug, Clone, Copy)]
struct Told {
    process: f64,
    database: f64,
}

impl Told {
    fn read(line: &str) -> Option<Self> {
        let (_, fields) = line.split_once("event=\"memory\"")?;
        let field = |name: &str| {
            let mut words = fields.split_whitespace().filter_map(|word| word.split_once('='));
            words.find(|(of, _)| *of == name)?.1.parse::<f64>().ok()
        };
        let parts = ["database_read", "database_unwritten", "database_tables"];
        let database = parts.into_iter().map(field).sum::<Option<f64>>()?;
        Some(Self { process: field("process")?, database })
    }

    fn rest_mb(self) -> f64 {
        (self.process - self.database) / MEGABYTE
    }
}

/// The slope of the straight line nearest to the points.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len().max(1) as f64;
    let x = points.iter().map(|point| point.0).sum::<f64>() / count;
    let y = points.iter().map(|point| point.1).sum::<f64>() / count;
    let (mut over, mut under) = (0.0, 0.0);
    for point in points {
        over += (point.0 - x) * (point.1 - y);
        under += (point.0 - x) * (point.0 - x);
    }
    if under > 0.0 { over / under } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The log of a process that holds so much beside its database in each minute, in megabytes. The database grows and
    /// empties as it likes.
    fn life(rests: impl IntoIterator<Item = u32>) -> String {
        let mut log = "INFO sillok_node::node: event=\"starting\" name=\"o1\"\n".to_owned();
        for (minute, rest) in rests.into_iter().enumerate() {
            let unwritten = minute * 4_000_000 % 9_000_000;
            let process = rest * 1_000_000 + 10_000_000 + u32::try_from(unwritten).unwrap();
            log.push_str(&format!(
                "INFO sillok_node::memory: event=\"memory\" process={process} database_read=9000000 \
                 database_unwritten={unwritten} database_tables=1000000 mempool=0 replay=7\n"
            ));
        }
        log
    }

    fn growth(log: &str) -> Option<f64> {
        memory(log).growth_mb_per_minute
    }

    #[test]
    fn memory_that_grows_is_told_from_memory_that_does_not() {
        assert!(growth(&life([50; 20])).unwrap().abs() < 1e-6, "a database that fills and empties");
        assert!((growth(&life(50..70)).unwrap() - 1.0).abs() < 1e-6);
        let filled = (50..100).step_by(10).chain([100; 10]);
        assert!(growth(&life(filled)).unwrap().abs() < 1e-6, "what fills at first is no growth");
        let late = [50; 8].into_iter().chain((50..110).step_by(6));
        assert!(growth(&life(late)).unwrap() > GROWTH_MAX);
        assert_eq!(growth(&life(50..57)), None, "too short");
        assert_eq!(growth(""), None);
    }

    #[test]
    fn each_life_is_measured_by_itself() {
        // A life that begins higher than the one before is no growth.
        let log = [life([50; 10]), life([90; 9]), life((60..160).step_by(10))].concat();
        let report = memory(&log);
        assert!((report.growth_mb_per_minute.unwrap() - 10.0).abs() < 1e-6);
        assert_eq!((report.lives, report.minutes), (3, 5));
        assert!((report.database_mb - 18.0).abs() < 1e-6);
    }
}
