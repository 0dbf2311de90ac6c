//! Who keeps the nodes running: what exits with 75 is started again, as systemd would with
//! `RestartForceExitStatus=75`, and any other end that was not asked for is a failure of the run.

use super::links::Links;
use crate::directory::NodeEntry;
use crate::log;
use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::OpenOptions;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long after an exit a node is started again (systemd's `RestartSec`).
const RESTART_AFTER: Duration = Duration::from_millis(500);
/// How often exits are looked for.
const EVERY: Duration = Duration::from_millis(25);
/// How often memory is measured.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// How long a node has to stop when it is asked to.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// The exit code that asks for another start.
const RESTART: i32 = 75;

/// What a node runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    /// The program.
    pub(super) path: PathBuf,
    /// What stands before `start`.
    pub(super) arguments: Vec<String>,
}

#[derive(Debug)]
struct Managed {
    entry: NodeEntry,
    settings: Vec<(String, String)>,
    program: Program,
    child: Option<Child>,
    /// Whether it should run.
    wanted: bool,
    start_at: Instant,
    sampled: Instant,
    restarts: usize,
    /// The most memory that it held, in bytes.
    most_bytes: f64,
}

/// Runs the nodes. Dropped, it kills them.
#[derive(Debug)]
pub(super) struct Supervisor {
    links: Arc<Links>,
    nodes: Mutex<Vec<Managed>>,
    failures: Mutex<Vec<String>>,
}

impl Supervisor {
    /// A supervisor of nodes that do not run yet, each with its settings.
    pub(super) fn new(
        links: Arc<Links>,
        nodes: impl IntoIterator<Item = (NodeEntry, Vec<(String, String)>)>,
        program: &Program,
    ) -> Self {
        let now = Instant::now();
        let nodes = nodes.into_iter().map(|(entry, settings)| Managed {
            entry,
            settings,
            program: program.clone(),
            child: None,
            wanted: false,
            start_at: now,
            sampled: now,
            restarts: 0,
            most_bytes: 0.0,
        });
        Self { links, nodes: Mutex::new(nodes.collect()), failures: Mutex::default() }
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<Managed>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, place: usize, change: impl FnOnce(&mut Managed) -> T) -> anyhow::Result<T> {
        let mut nodes = self.nodes();
        Ok(change(nodes.get_mut(place).context("there is no such node")?))
    }

    /// Watches until it is dropped with the task.
    pub(super) async fn watch(self: Arc<Self>) {
        loop {
            self.look();
            tokio::time::sleep(EVERY).await;
        }
    }

    fn look(&self) {
        for (place, node) in self.nodes().iter_mut().enumerate() {
            if let Some(child) = &mut node.child
                && let Ok(Some(status)) = child.try_wait()
            {
                node.child = None;
                node.start_at = Instant::now() + RESTART_AFTER;
                self.ended(node, status);
            }
            if node.wanted && node.child.is_none() && Instant::now() >= node.start_at {
                match start(&self.links, place, node) {
                    Ok(child) => node.child = Some(child),
                    Err(error) => {
                        node.wanted = false;
                        self.fail(format!("{} cannot be started: {error:#}", node.entry.name));
                    }
                }
            }
            node.sample();
        }
    }

    fn ended(&self, node: &mut Managed, status: ExitStatus) {
        if status.code() == Some(RESTART) {
            node.restarts += 1;
            return;
        }
        // A person would have to look at it.
        node.wanted = false;
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exited with {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "ended".to_owned(),
        };
        let lines = log::last_lines(&node.entry.log, 6).join("\n  ");
        self.fail(format!("{} {how}; its log ends:\n  {lines}", node.entry.name));
    }

    fn fail(&self, what: String) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// What went wrong so far.
    pub(super) fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often each node was started again by itself.
    pub(super) fn restarts(&self) -> Vec<usize> {
        self.nodes().iter().map(|node| node.restarts).collect()
    }

    /// The most memory that each node held, in bytes.
    pub(super) fn most_bytes(&self) -> Vec<f64> {
        self.nodes().iter().map(|node| node.most_bytes).collect()
    }

    /// What the node runs, or will run when it is started next.
    pub(super) fn program(&self, place: usize) -> anyhow::Result<Program> {
        self.with(place, |node| node.program.clone())
    }

    /// Kills every node and starts none again.
    pub(super) fn end(&self) {
        for node in self.nodes().iter_mut() {
            node.wanted = false;
            if let Some(mut child) = node.child.take() {
                let _gone = child.kill().and_then(|()| child.wait());
            }
        }
    }

    /// Wants the node to run.
    pub(super) fn start(&self, place: usize) -> anyhow::Result<()> {
        self.with(place, |node| {
            node.wanted = true;
            node.start_at = Instant::now();
        })?;
        self.look();
        Ok(())
    }

    /// What the node runs from its next start on.
    pub(super) fn set_program(&self, place: usize, program: Program) -> anyhow::Result<()> {
        self.with(place, |node| node.program = program)
    }

    /// Kills the node, if it runs, and does not start it again.
    pub(super) fn kill(&self, place: usize) -> anyhow::Result<()> {
        self.with(place, |node| {
            node.wanted = false;
            let Some(mut child) = node.child.take() else { return Ok(()) };
            child.kill()?;
            child.wait().map(drop)
        })?
        .context("a node cannot be killed")
    }

    /// Asks the node to stop and waits until it has, with 0.
    pub(super) async fn stop(&self, place: usize) -> anyhow::Result<()> {
        let child = self.with(place, |node| {
            node.wanted = false;
            node.child.take().map(|child| (child, node.entry.name.clone()))
        })?;
        let Some((mut child, name)) = child else { return Ok(()) };
        signal(&child, Signal::TERM)?;
        let deadline = Instant::now() + STOP_PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                child.kill()?;
                break child.wait()?;
            }
            tokio::time::sleep(EVERY).await;
        };
        ensure!(status.success(), "{name} did not stop as asked: {status}");
        Ok(())
    }

    /// Sends a signal to the node.
    pub(super) fn signal(&self, place: usize, what: Signal) -> anyhow::Result<()> {
        self.with(place, |node| {
            let child = node.child.as_ref();
            signal(child.with_context(|| format!("{} does not run", node.entry.name))?, what)
        })?
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.end();
    }
}

impl Managed {
    fn sample(&mut self) {
        if self.sampled.elapsed() < SAMPLE_EVERY {
            return;
        }
        let Some(child) = &self.child else { return };
        self.sampled = Instant::now();
        let bytes = resident_bytes(child.id()).unwrap_or(0.0);
        self.most_bytes = self.most_bytes.max(bytes);
    }
}

/// Memory that a process holds, in bytes.
fn resident_bytes(pid: u32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

fn signal(child: &Child, what: Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.context("a process id is positive")?, what).context("cannot be signalled")
}

fn start(links: &Links, place: usize, node: &Managed) -> anyhow::Result<Child> {
    let log = OpenOptions::new().create(true).append(true).open(&node.entry.log)?;
    let errors = log.try_clone()?;
    let mut command = links.command(place, &node.program.path);
    command.args(&node.program.arguments).arg("start").arg("--dir").arg(&node.entry.directory);
    for (setting, value) in &node.settings {
        command.arg("--set").arg(format!("{setting}={value}"));
    }
    let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0).spawn();
    child.with_context(|| format!("{} cannot be run", node.program.path.display()))
}
