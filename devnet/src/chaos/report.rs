//! What a run of `chaos` has seen, for people and for programs.

use super::schedule::Fault;
use super::supervisor::Sample;
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
/// How many must have been taken away before the bound is a statement.
const AWAY_SAMPLES: usize = 20;
/// The part of a process's life in which it fills its caches.
const WARM_UP_SECONDS: f64 = 60.0;
/// How long a process must have lived after that before its memory has a direction.
const LIFE_SECONDS: f64 = 60.0;
/// How fast memory may grow after that, in megabytes a minute: the database fills its bounded buffers for a while.
const GROWTH_MAX: f64 = 20.0;
/// How much memory a node may hold, in megabytes.
const MEMORY_MAX: f64 = 1_024.0;

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
#[derive(Debug, Clone, Default, Serialize)]
pub struct Memory {
    /// Who.
    pub node: String,
    /// The most it held, in megabytes.
    pub most_mb: f64,
    /// How fast it grew in the life in which it grew fastest, in megabytes a minute; none if no life was long enough.
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
        self.memory = site.supervisor.memory().into_iter().map(memory).collect();
        for node in &self.memory {
            if node.most_mb > MEMORY_MAX {
                self.broken.push(format!("{} held {:.0} MB", node.node, node.most_mb));
            }
            if let Some(growth) = node.growth_mb_per_minute
                && growth > GROWTH_MAX
            {
                self.broken.push(format!("the memory of {} grows, {growth:.1} MB/min", node.node));
            }
        }
        let measured = self.memory.iter().any(|node| node.growth_mb_per_minute.is_some());
        if !measured && self.seconds > WARM_UP_SECONDS + 2.0 * LIFE_SECONDS {
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
        let most = self.memory.iter().map(|node| node.most_mb).fold(0.0, f64::max);
        let growth = self.memory.iter().filter_map(|node| node.growth_mb_per_minute);
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
            ("memory of a node, most", format!("{most:.0} MB")),
            (
                "memory of a node, growth at most",
                growth
                    .reduce(f64::max)
                    .map_or("no life long enough".to_owned(), |mb| format!("{mb:.1} MB/min")),
            ),
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

fn memory((node, samples): (String, Vec<Sample>)) -> Memory {
    const MEGABYTE: f64 = 1_000_000.0;
    let most_mb = samples.iter().map(|sample| sample.bytes).fold(0.0, f64::max) / MEGABYTE;
    let mut lives: BTreeMap<usize, Vec<(f64, f64)>> = BTreeMap::new();
    for sample in samples.iter().filter(|sample| sample.seconds > WARM_UP_SECONDS) {
        lives
            .entry(sample.life)
            .or_default()
            .push((sample.seconds / 60.0, sample.bytes / MEGABYTE));
    }
    let long = lives.values().filter(|life| match (life.first(), life.last()) {
        (Some(first), Some(last)) => (last.0 - first.0) * 60.0 >= LIFE_SECONDS,
        _ => false,
    });
    let growth_mb_per_minute = long.map(|life| slope(life)).reduce(f64::max);
    Memory { node, most_mb, growth_mb_per_minute }
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

    #[test]
    fn memory_that_grows_is_told_from_memory_that_does_not() {
        let life = |life: usize, per_second: f64| {
            (0..300).map(move |second| Sample {
                life,
                seconds: f64::from(second),
                bytes: 100e6 + per_second * f64::from(second),
            })
        };
        let flat = memory(("v1".to_owned(), life(0, 0.0).collect()));
        assert!(flat.growth_mb_per_minute.unwrap().abs() < 1e-6);
        // A life that begins higher than the one before is no growth.
        let both: Vec<Sample> = life(0, 0.0).chain(life(1, 1e6)).collect();
        let grown = memory(("v1".to_owned(), both));
        assert!((grown.growth_mb_per_minute.unwrap() - 60.0).abs() < 1e-6);
        assert!((grown.most_mb - 399.0).abs() < 1e-6);
        assert_eq!(memory(("v1".to_owned(), Vec::new())).growth_mb_per_minute, None);
    }
}
