//! Node processes: starting them apart from us, asking whether they live, and signalling them.
//!
//! A process is named by its id *and* its start time, so that a number the system gave to somebody else meanwhile is
//! never signalled. Each node leads its own process group: Ctrl-C in the terminal reaches us alone, and a node outlives
//! the command that started it.

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A process of this machine since its last start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The system's number.
    pub pid: i32,
    /// When it started, in the system's ticks since boot.
    pub started: u64,
}

/// What a process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessState {
    /// It runs, or waits for work.
    Alive,
    /// It was stopped by a signal and can be resumed.
    Paused,
    /// It is gone.
    Dead,
}

impl ProcessState {
    /// As it is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Paused => "paused",
            Self::Dead => "dead",
        }
    }
}

/// What `/proc/<pid>/stat` says of a process.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    threads: u32,
    started: u64,
}

/// Reads a line of `/proc/<pid>/stat`. The program's name stands in parentheses and may hold anything, so the fields are
/// counted from the last one.
fn parse_stat(stat: &str) -> Option<Stat> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    // proc(5): state is field 3, num_threads field 20, starttime field 22.
    let state = fields.next()?.chars().next()?;
    let threads = fields.nth(16)?.parse().ok()?;
    let started = fields.nth(1)?.parse().ok()?;
    Some(Stat { state, threads, started })
}

fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

impl ProcessId {
    /// The running process with this number.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        stat(pid).map(|stat| Self { pid, started: stat.started })
    }

    /// What it is doing now. A child of ours that ended is buried on the way.
    #[must_use]
    pub fn state(&self) -> ProcessState {
        if let Some(pid) = Pid::from_raw(self.pid) {
            // An error means that it is not our child; then somebody else buries it.
            let _buried = waitpid(Some(pid), WaitOptions::NOHANG);
        }
        match stat(self.pid) {
            None => ProcessState::Dead,
            Some(stat) if stat.started != self.started => ProcessState::Dead,
            // The first thread of a killed process may be gone while others still hold its files and locks.
            Some(Stat { state: 'Z' | 'X', threads: 0 | 1, .. }) => ProcessState::Dead,
            Some(Stat { state: 'T' | 't', .. }) => ProcessState::Paused,
            Some(_) => ProcessState::Alive,
        }
    }

    /// Sends a signal, unless it is gone already.
    ///
    /// # Errors
    ///
    /// The system refused.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        if self.state() == ProcessState::Dead {
            return Ok(());
        }
        let pid = Pid::from_raw(self.pid).context("a process id is positive")?;
        match kill_process(pid, signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            other => other.with_context(|| format!("process {} cannot be signalled", self.pid)),
        }
    }

    /// Waits until it is gone.
    ///
    /// # Errors
    ///
    /// It still is not after `patience`.
    pub fn wait_gone(&self, patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        while self.state() != ProcessState::Dead {
            if Instant::now() > deadline {
                bail!("process {} is still there after {patience:?}", self.pid);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Asks it to stop, and kills it when it has not after `patience`. Says whether it stopped by itself.
    ///
    /// # Errors
    ///
    /// The system refused, or even killing did not end it.
    pub fn stop(&self, patience: Duration) -> anyhow::Result<bool> {
        self.signal(Signal::TERM)?;
        // A paused process acts on the signal only once it runs again.
        self.signal(Signal::CONT)?;
        if self.wait_gone(patience).is_ok() {
            return Ok(true);
        }
        self.signal(Signal::KILL)?;
        self.wait_gone(Duration::from_secs(10))?;
        Ok(false)
    }
}

/// Starts `sillok-node start --dir directory`, with its output appended to `log`.
///
/// # Errors
///
/// The program or the log cannot be opened.
pub fn start_node(binary: &Path, directory: &Path, log: &Path) -> anyhow::Result<ProcessId> {
    let open = || OpenOptions::new().create(true).append(true).open(log);
    let output = open().with_context(|| format!("{} cannot be opened", log.display()))?;
    let errors = output.try_clone()?;
    let child = Command::new(binary)
        .arg("start")
        .arg("--dir")
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .with_context(|| {
            format!(
                "{} cannot be started; build it with `cargo build`, or name it with --node-binary",
                binary.display()
            )
        })?;
    let pid = i32::try_from(child.id()).context("a process id fits 31 bits")?;
    ProcessId::of(pid)
        .with_context(|| format!("process {pid} ended at once; see {}", log.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::zombie_processes, reason = "asking for its state is what buries it")]
    fn sleeper() -> ProcessId {
        let child = Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
        ProcessId::of(i32::try_from(child.id()).unwrap()).unwrap()
    }

    fn wait_for(process: &ProcessId, state: ProcessState) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while process.state() != state {
            assert!(Instant::now() < deadline, "{process:?} never became {state:?}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_program_name_with_parentheses_does_not_confuse_the_start_time() {
        let stat = "12 (a) b) (c) T 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(parse_stat(stat), Some(Stat { state: 'T', threads: 17, started: 4711 }));
    }

    #[test]
    fn a_process_is_paused_resumed_and_killed() {
        let process = sleeper();
        assert_eq!(process.state(), ProcessState::Alive);
        process.signal(Signal::STOP).unwrap();
        wait_for(&process, ProcessState::Paused);
        process.signal(Signal::CONT).unwrap();
        wait_for(&process, ProcessState::Alive);
        process.signal(Signal::KILL).unwrap();
        wait_for(&process, ProcessState::Dead);
    }

    #[test]
    fn a_paused_process_is_stopped_too() {
        let process = sleeper();
        process.signal(Signal::STOP).unwrap();
        wait_for(&process, ProcessState::Paused);
        assert!(process.stop(Duration::from_secs(10)).unwrap());
    }

    #[test]
    fn a_number_given_to_another_process_is_not_signalled() {
        let process = sleeper();
        let stranger = ProcessId { pid: process.pid, started: process.started + 1 };
        assert_eq!(stranger.state(), ProcessState::Dead);
        stranger.signal(Signal::KILL).unwrap();
        assert_eq!(process.state(), ProcessState::Alive);
        process.stop(Duration::from_secs(10)).unwrap();
    }
}
