//! Running a network that [`crate::setup`] made: starting, stopping, breaking and mending its nodes.

use crate::directory::{Devnet, NodeEntry, NodeRole};
use crate::process::{self, ProcessState};
use crate::scene::Scene;
use crate::setup::{self, Plan};
use crate::{log, status};
use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;
use sillok_client::keys::KeyAlgorithm;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a network has to come up, and a node to come back.
pub const UP_PATIENCE: Duration = Duration::from_secs(60);
/// How long a node has to stop by itself before it is killed.
pub const STOP_PATIENCE: Duration = Duration::from_secs(15);
/// How often a condition is looked at again.
const POLL: Duration = Duration::from_millis(20);

/// How many nodes to bring up; `None` = four validators and no observer, or what the directory has.
#[derive(Debug, Clone, Default)]
pub struct Size {
    /// Validators.
    pub validators: Option<usize>,
    /// Observers.
    pub observers: Option<usize>,
}

/// The node program: the one named, or the one beside this program.
///
/// # Errors
///
/// There is none.
pub fn find_node_binary(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(path) = named {
        ensure!(path.is_file(), "{} is not a program; name the built sillok-node", path.display());
        return Ok(path.canonicalize()?);
    }
    let own = std::env::current_exe().context("this program does not know its own path")?;
    // Test programs live one directory below the others.
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join("sillok-node"))
        .find(|path| path.is_file())
        .context("there is no sillok-node beside this program; build it with `cargo build`, or name it with --node-binary")
}

/// Makes the network if the directory holds none, starts every node that does not run, and waits until all answer and
/// the first block is certified.
///
/// # Errors
///
/// A node did not come up, with the end of its log; or the directory holds a network of another size.
pub async fn up(directory: &Path, size: &Size, node_binary: PathBuf) -> anyhow::Result<Devnet> {
    let mut devnet = if Devnet::exists(directory) {
        let mut devnet = Devnet::read(&directory.canonicalize()?)?;
        check_size(&devnet, size)?;
        devnet.node_binary = node_binary;
        devnet.write()?;
        devnet
    } else {
        setup::make(&Plan {
            directory: directory.to_owned(),
            validators: size.validators.unwrap_or(4),
            observers: size.observers.unwrap_or(0),
            node_binary,
        })?
    };
    for index in devnet.nodes.iter().map(|node| node.index).collect::<Vec<_>>() {
        start(&mut devnet, index)?;
    }
    wait_until_up(&devnet, 0, UP_PATIENCE).await?;
    first_write(&devnet).await?;
    wait_until_up(&devnet, 1, UP_PATIENCE).await?;
    Ok(devnet)
}

/// Writes once to a network that has no block yet, so that nobody waits for the first heartbeat and whoever sees it up
/// knows that it writes.
async fn first_write(devnet: &Devnet) -> anyhow::Result<()> {
    if status::highest(devnet).await != Some(0) {
        return Ok(());
    }
    let scene = Scene::of(devnet)?;
    let holder = scene.holder(KeyAlgorithm::Ed25519, false)?;
    let written = scene.commit(&scene.create(&[&holder])?, 0).await;
    written.context("the network does not take the first write")?;
    Ok(())
}

fn check_size(devnet: &Devnet, size: &Size) -> anyhow::Result<()> {
    let validators = devnet.validators().count();
    let observers = devnet.nodes.len() - validators;
    let same = size.validators.is_none_or(|asked| asked == validators)
        && size.observers.is_none_or(|asked| asked == observers);
    ensure!(
        same,
        "{} holds a network of {validators} validators and {observers} observers; leave the numbers out to start it, or wipe it with `sillok-devnet down --wipe`",
        devnet.directory.display()
    );
    Ok(())
}

/// The node with this number, as of now.
fn entry(devnet: &Devnet, index: usize) -> anyhow::Result<NodeEntry> {
    devnet.node(&index.to_string()).cloned()
}

/// Starts a node that does not run. Says whether it had to.
///
/// # Errors
///
/// The program cannot be started.
pub fn start(devnet: &mut Devnet, index: usize) -> anyhow::Result<bool> {
    let node = entry(devnet, index)?;
    match node.process.map(|process| process.state()) {
        Some(ProcessState::Alive) => return Ok(false),
        Some(ProcessState::Paused) => {
            resume(devnet, index)?;
            return Ok(false);
        }
        Some(ProcessState::Dead) | None => {}
    }
    let process = process::start_node(&devnet.node_binary, &node.directory, &node.log)?;
    devnet.set_process(index, Some(process))?;
    Ok(true)
}

fn running(devnet: &Devnet, index: usize) -> anyhow::Result<process::ProcessId> {
    let node = entry(devnet, index)?;
    node.process
        .filter(|process| process.state() != ProcessState::Dead)
        .with_context(|| format!("{} does not run; start it with `restart {index}`", node.name))
}

/// `kill -9`: the process gets no chance to tidy up.
///
/// # Errors
///
/// It does not run.
pub fn kill(devnet: &mut Devnet, index: usize) -> anyhow::Result<()> {
    let process = running(devnet, index)?;
    process.signal(Signal::KILL)?;
    process.wait_gone(STOP_PATIENCE)?;
    devnet.set_process(index, None)
}

/// Freezes the process, as a machine that hangs.
///
/// # Errors
///
/// It does not run.
pub fn pause(devnet: &Devnet, index: usize) -> anyhow::Result<()> {
    running(devnet, index)?.signal(Signal::STOP)
}

/// Lets a frozen process go on.
///
/// # Errors
///
/// It does not run.
pub fn resume(devnet: &Devnet, index: usize) -> anyhow::Result<()> {
    running(devnet, index)?.signal(Signal::CONT)
}

/// Asks a node to stop. Says whether it did so by itself.
///
/// # Errors
///
/// It could not even be killed.
pub fn stop(devnet: &mut Devnet, index: usize) -> anyhow::Result<bool> {
    let node = entry(devnet, index)?;
    let graceful = match node.process {
        Some(process) => process.stop(STOP_PATIENCE)?,
        None => true,
    };
    devnet.set_process(index, None)?;
    Ok(graceful)
}

/// Asks all nodes to stop, all at once, and names those that had to be killed.
///
/// # Errors
///
/// One could not even be killed.
pub fn down(devnet: &mut Devnet) -> anyhow::Result<Vec<String>> {
    for node in &devnet.nodes {
        if let Some(process) = node.process {
            process.signal(Signal::TERM)?;
        }
    }
    let mut killed = Vec::new();
    for node in devnet.nodes.clone() {
        if !stop(devnet, node.index)? {
            killed.push(node.name);
        }
    }
    Ok(killed)
}

/// Stops a node if it runs, starts it, and waits until it is where the others are. Says how long that took.
///
/// # Errors
///
/// It did not come back in time.
pub async fn restart(devnet: &mut Devnet, index: usize) -> anyhow::Result<Duration> {
    stop(devnet, index)?;
    let began = Instant::now();
    start(devnet, index)?;
    wait_until_caught_up(devnet, index, UP_PATIENCE).await?;
    Ok(began.elapsed())
}

/// Waits until the node is at the height that the others had when this was called, or higher.
///
/// # Errors
///
/// It is not in time; the message has the end of its log.
pub async fn wait_until_caught_up(
    devnet: &Devnet,
    index: usize,
    patience: Duration,
) -> anyhow::Result<u64> {
    let node = entry(devnet, index)?;
    let deadline = Instant::now() + patience;
    let others = status::collect(devnet).await;
    let goal = others
        .iter()
        .filter(|report| report.index != index)
        .filter_map(|report| report.height)
        .max()
        .unwrap_or(0);
    loop {
        if let Ok(status) = status::ask(&node.grpc).await
            && status.height >= goal
            && !status.syncing
        {
            return Ok(status.height);
        }
        give_up_on(devnet, &node, deadline, &format!("height {goal}"))?;
        tokio::time::sleep(POLL).await;
    }
}

/// Fails when the node's process is gone or the time is over, with the end of its log.
fn give_up_on(
    devnet: &Devnet,
    node: &NodeEntry,
    deadline: Instant,
    goal: &str,
) -> anyhow::Result<()> {
    let process = entry(devnet, node.index)?.process;
    let dead = process.is_none_or(|process| process.state() == ProcessState::Dead);
    if !dead && Instant::now() < deadline {
        return Ok(());
    }
    let what = if dead { "ended" } else { "is late" };
    let lines = log::last_lines(&node.log, 12).join("\n  ");
    bail!("{} {what} before {goal}; its log ({}) ends:\n  {lines}", node.name, node.log.display())
}

/// Waits until every node answers and is at `height` or higher.
///
/// # Errors
///
/// One does not in time, with the end of its log.
pub async fn wait_until_up(devnet: &Devnet, height: u64, patience: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + patience;
    for node in &devnet.nodes {
        loop {
            if let Ok(status) = status::ask(&node.grpc).await
                && status.height >= height
            {
                break;
            }
            give_up_on(devnet, node, deadline, &format!("height {height}"))?;
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(())
}

/// Waits until every running node is at `height` or higher.
///
/// # Errors
///
/// One is not in time, with the end of its log.
pub async fn wait_for_height(
    devnet: &Devnet,
    height: u64,
    patience: Duration,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + patience;
    let alive = devnet
        .nodes
        .iter()
        .filter(|node| node.process.is_some_and(|process| process.state() == ProcessState::Alive));
    for node in alive {
        while status::ask(&node.grpc).await.map_or(0, |status| status.height) < height {
            give_up_on(devnet, node, deadline, &format!("height {height}"))?;
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(())
}

/// The addresses of all validators' gRPC.
#[must_use]
pub fn validator_urls(devnet: &Devnet) -> Vec<String> {
    devnet
        .nodes
        .iter()
        .filter(|node| node.role == NodeRole::Validator)
        .map(|node| node.grpc.clone())
        .collect()
}
