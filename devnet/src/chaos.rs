//! `chaos`: a network of real processes to which one fault after another is done, under load, for as long as asked.
//!
//! ```text
//!   schedule            which fault, when, to whom: from the seed
//!   links   disks       what can be cut, filled and broken
//!   supervisor          who starts again what exits with 75, and calls any other end a failure
//!   traffic             writes that are promises, reads that are checked, devices taken away
//!   faults              doing and healing one fault
//!   checks   report     what must hold in the end, and what was measured
//! ```
//!
//! At most f validators are faulty at once, but where more are on purpose. Everything that is made on the machine is
//! removed again, however the run ends. The faults follow from the seed; what they hit does not.

mod checks;
mod disks;
mod faults;
mod links;
mod report;
mod schedule;
mod shell;
mod supervisor;
mod traffic;

pub use report::{ChaosReport, FaultReport};
pub use schedule::Fault;

use crate::console::{self, Style};
use crate::directory::Devnet;
use crate::network;
use crate::setup::{self, Plan};
use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum as _};
use disks::Disks;
use links::Links;
use schedule::Schedule;
use sillok_node::network::NodeKey;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use supervisor::{Program, Supervisor};
use traffic::Traffic;

/// The test-only node beside this program.
const CHAOS_NODE: &str = "sillok-chaos-node";
/// Memory of each node's database, in bytes: the least there may be, so that it is full within minutes, and what still
/// grows then is something else.
const DATABASE_MEMORY_BYTES: usize = 32 * 1024 * 1024;

/// `chaos`.
#[derive(Debug, Clone, Args)]
pub struct Chaos {
    /// How long faults are done
    #[arg(long, default_value_t = 2.0)]
    pub minutes: f64,
    /// What the faults follow from
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How many nodes vote
    #[arg(long, default_value_t = 4)]
    pub validators: usize,
    /// DIDs written per second
    #[arg(long, default_value_t = 20.0)]
    pub rate: f64,
    /// Do these faults alone [default: all]
    #[arg(long, value_delimiter = ',', value_name = "FAULTS")]
    pub only: Vec<Fault>,
    /// Use nothing that asks for root: no namespaces, no disks
    #[arg(long)]
    pub no_root: bool,
    /// Keep the network's directory, with the logs
    #[arg(long)]
    pub keep: bool,
    /// The sillok-node program [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    pub node_binary: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A node's name among peers, from its key in hex.
fn peer_id(key: &str) -> Option<String> {
    let bytes = hex::decode(key).ok()?;
    NodeKey::from_bytes(&bytes).ok().map(|key| key.to_string())
}

/// Everything that was made on the machine. Dropped, it is removed.
#[derive(Debug)]
struct Site {
    devnet: Devnet,
    supervisor: Arc<Supervisor>,
    links: Arc<Links>,
    disks: Option<Disks>,
    honest: Program,
    /// The other build, with what it reads its clock from: the path of a directory of such files.
    other: Option<PathBuf>,
    keep: bool,
}

impl Site {
    async fn make(chaos: &Chaos) -> anyhow::Result<Self> {
        disks::clear_away_forgotten();
        let binary = network::find_node_binary(chaos.node_binary.clone())?;
        let other = binary.with_file_name(CHAOS_NODE);
        let directory = std::env::temp_dir().join(format!(
            "{}{}-{:x}",
            links::PREFIX,
            std::process::id(),
            rand::random::<u32>()
        ));
        let mut devnet = setup::make(&Plan {
            directory,
            validators: chaos.validators,
            // Nothing is done to it: its memory is watched for the whole run, and its reads must never fail.
            observers: 1,
            node_binary: binary.clone(),
        })?;
        // A log is kept elsewhere than on the node's disk, as a journal is.
        for node in &mut devnet.nodes {
            node.log = devnet.directory.join(format!("{}.log", node.name));
        }
        let (disks, links) = if chaos.no_root {
            (None, Links::without_root(&devnet).await?)
        } else {
            (Some(Disks::make(&devnet)?), Links::make(&mut devnet).await?)
        };
        let links = Arc::new(links);
        let honest = Program { path: binary, arguments: Vec::new() };
        let settings = (0..devnet.nodes.len()).map(|place| {
            let mut settings = links.settings(&devnet, place);
            let memory = DATABASE_MEMORY_BYTES.to_string();
            settings.push(("storage.memory_bytes_max".to_owned(), memory));
            settings
        });
        let nodes = devnet.nodes.iter().cloned().zip(settings.collect::<Vec<_>>());
        let supervisor = Arc::new(Supervisor::new(links.clone(), nodes, &honest));
        let other = other.is_file().then_some(other);
        Ok(Self { devnet, supervisor, links, disks, honest, other, keep: chaos.keep })
    }

    /// The other build for the node at `place`, behaving as `behaviour` says.
    fn other(&self, place: usize, behaviour: Option<Fault>) -> anyhow::Result<Program> {
        let path = self.other.clone().with_context(|| format!("{CHAOS_NODE} is not built"))?;
        let mut arguments = vec!["--clock".to_owned(), self.clock(place).display().to_string()];
        if let Some(fault) = behaviour {
            arguments.extend(["--behave".to_owned(), fault.name()]);
        }
        Ok(Program { path, arguments })
    }

    /// The file with the number of milliseconds by which the clock of the node at `place` is wrong.
    fn clock(&self, place: usize) -> PathBuf {
        self.devnet.directory.join(format!("clock-{}", place + 1))
    }

    /// The faults that can be done here, of those asked for; and those that cannot, with the reason.
    fn possible(&self, chaos: &Chaos) -> (Vec<Fault>, Vec<String>) {
        let all = if chaos.only.is_empty() { Fault::value_variants() } else { &chaos.only };
        let (mut possible, mut left_out) = (Vec::new(), Vec::new());
        for fault in all {
            let why = match fault {
                Fault::DiskFull | Fault::ReadOnly => match &self.disks {
                    None => Some("it asks for root".to_owned()),
                    Some(disks) => disks.missing.clone(),
                },
                Fault::ClockSkew
                | Fault::ClockJump
                | Fault::Upgrade
                | Fault::Equivocate
                | Fault::Withhold
                | Fault::Forge
                | Fault::Flood
                | Fault::Panicking
                | Fault::Diverging => {
                    self.other.is_none().then(|| format!("{CHAOS_NODE} is not built"))
                }
                Fault::Kill | Fault::Pause | Fault::Partition | Fault::OneWay | Fault::TooMany => {
                    None
                }
            };
            match why {
                None => possible.push(*fault),
                Some(why) => left_out.push(format!("{}: {why}", fault.name())),
            }
        }
        (possible, left_out)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.supervisor.end();
        self.disks = None;
        self.links.clear_away();
        if self.keep {
            console::note(format!("kept {}", self.devnet.directory.display()));
        } else {
            // What is left of it is in the way of nobody.
            let _left = std::fs::remove_dir_all(&self.devnet.directory);
        }
    }
}

/// Does faults to a network of its own, and checks.
///
/// # Errors
///
/// Something promised was lost, an answer was wrong, or a node did not come back by itself. What was measured until then
/// is printed.
pub async fn measure(chaos: &Chaos) -> anyhow::Result<ChaosReport> {
    ensure!(chaos.minutes > 0.0 && chaos.rate > 0.0, "minutes and rate are above 0");
    ensure!(
        chaos.validators >= 4,
        "{} validators do not outlive the loss of one; ask for at least 4",
        chaos.validators
    );
    let mut site = Site::make(chaos).await?;
    let result = watched(chaos, &site).await;
    // The logs tell what happened.
    site.keep |= result.is_err();
    result
}

async fn watched(chaos: &Chaos, site: &Site) -> anyhow::Result<ChaosReport> {
    let mut watching = tokio::task::JoinSet::new();
    watching.spawn(site.supervisor.clone().watch());
    let (possible, left_out) = site.possible(chaos);
    ensure!(!possible.is_empty(), "none of these faults can be done here: {}", left_out.join("; "));
    let say = |what: String| {
        if !chaos.json {
            console::note(what);
        }
    };
    say(format!("partitions: {}", site.links.describe()));
    for what in &left_out {
        say(format!("NOT DONE {what}"));
    }
    let began = Instant::now();
    for place in 0..site.devnet.nodes.len() {
        site.supervisor.start(place)?;
    }
    faults::wait_until_up(site).await?;
    let traffic = Arc::new(Traffic::of(&site.devnet, 2)?);
    let mut tasks = traffic.start(chaos.rate);
    let time = Duration::from_secs_f64(chaos.minutes * 60.0);
    let mut schedule = Schedule::new(chaos.seed, &possible, chaos.validators, time);
    let mut done: Vec<FaultReport> = Vec::new();
    // The first writes before the first fault.
    faults::wait_for_writes(&traffic, 5).await?;
    let deadline = Instant::now() + time;
    while Instant::now() < deadline
        && let Some(step) = schedule.next()
    {
        let report = tokio::select! {
            report = faults::inflict(site, &traffic, &step) => report,
            Some(ended) = tasks.join_next() => match ended? {
                Ok(()) => bail!("the traffic stopped by itself"),
                Err(error) => Err(error),
            },
        };
        let report = report.with_context(|| {
            let names: Vec<&str> = step.victims.iter().map(|place| site.name(*place)).collect();
            format!("{} of {}, number {}", step.fault.name(), names.join(", "), done.len() + 1)
        })?;
        say(report.line(done.len() + 1));
        done.push(report);
        if let [first, ..] = site.supervisor.failures().as_slice() {
            bail!("{first}");
        }
        if let [first, ..] = traffic.wrong().as_slice() {
            bail!("a wrong answer: {first}");
        }
    }
    traffic.stop();
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let mut report = checks::check(site, &traffic).await?;
    report.finish(site, chaos, &traffic, done, left_out, began.elapsed())?;
    Ok(report)
}

impl Site {
    /// Does the node at `place` vote? The others stand behind those that do.
    fn votes(&self, place: usize) -> bool {
        place < self.devnet.validators().count()
    }

    fn disk(&self) -> anyhow::Result<&Disks> {
        self.disks.as_ref().context("there are no disks here")
    }

    fn name(&self, place: usize) -> &str {
        self.devnet.nodes.get(place).map_or("?", |node| node.name.as_str())
    }
}

/// The command.
///
/// # Errors
///
/// Something that must hold does not.
pub async fn run(chaos: &Chaos) -> anyhow::Result<()> {
    let report = tokio::select! {
        report = measure(chaos) => report?,
        () = interrupted() => bail!("interrupted; everything that was made is removed"),
    };
    if chaos.json {
        console::json(&report)?;
    } else {
        report.print(Style::detect());
    }
    match report.broken.as_slice() {
        [] => Ok(()),
        [first, ..] => {
            bail!("{} of the checks do not hold; the first: {first}", report.broken.len())
        }
    }
}

/// Ctrl-C, or a request to end.
pub(crate) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => {
            let _asked = tokio::signal::ctrl_c().await;
        }
    }
}
