//! A small disk for each node, which can be filled and can fail.
//!
//! With root it is an ext4 file system in a file, mounted over the node's directory. Full is full of a ballast; failing
//! is what such a file system does after an error of the disk below it: it refuses every write from then on, also to
//! files that are open, until it is mounted anew. Without root there are no disks, and both faults are left out, aloud.

use super::links::PREFIX;
use super::shell;
use crate::directory::Devnet;
use crate::process::{ProcessId, ProcessState};
use anyhow::{Context as _, bail};
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The size of a disk. The file holds only what was written.
const SIZE: &str = "1G";
/// The file that fills it.
const BALLAST: &str = "ballast";
/// How long a disk may be busy after its node is gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// The disks of a network.
#[derive(Debug)]
pub(super) struct Disks {
    disks: Vec<Disk>,
    /// Why there are none.
    pub(super) missing: Option<String>,
}

#[derive(Debug)]
struct Disk {
    image: PathBuf,
    mounted_at: PathBuf,
}

impl Disks {
    /// Makes a disk for every node and moves the node's directory onto it. The nodes must not run.
    pub(super) fn make(devnet: &Devnet) -> anyhow::Result<Self> {
        let mut made = Self { disks: Vec::new(), missing: None };
        for node in &devnet.nodes {
            let image = devnet.directory.join(format!("{}.disk", node.name));
            let disk = Disk { image, mounted_at: node.directory.clone() };
            if let Err(error) = disk.format() {
                if made.disks.is_empty() {
                    made.missing = Some(format!("{error:#}"));
                    return Ok(made);
                }
                return Err(error);
            }
            let before = devnet.directory.join(format!("{}.before", node.name));
            fs::rename(&disk.mounted_at, &before)?;
            fs::create_dir(&disk.mounted_at)?;
            if let Err(error) = disk.mount() {
                fs::remove_dir(&disk.mounted_at)?;
                fs::rename(&before, &disk.mounted_at)?;
                if made.disks.is_empty() {
                    made.missing = Some(format!("{error:#}"));
                    return Ok(made);
                }
                return Err(error);
            }
            let (from, to) =
                (format!("{}/.", before.display()), disk.mounted_at.display().to_string());
            made.disks.push(disk);
            shell::run("cp", &["-a", &from, &to])?;
            // A disk that fails loses what was only promised to it.
            shell::run("sync", &["-f", &to])?;
            fs::remove_dir_all(&before)?;
        }
        Ok(made)
    }

    fn of(&self, place: usize) -> anyhow::Result<&Disk> {
        self.disks.get(place).context("this node has no disk of its own")
    }

    /// Leaves no room on the disk of the node at `place`.
    pub(super) fn fill(&self, place: usize) -> anyhow::Result<()> {
        self.of(place)?.fill()
    }

    /// Gives the room back.
    pub(super) fn empty(&self, place: usize) -> anyhow::Result<()> {
        let disk = self.of(place)?;
        fs::remove_file(disk.mounted_at.join(BALLAST))?;
        // Freed blocks are usable once that is on the disk.
        shell::run("sync", &["-f", &disk.mounted_at.display().to_string()])
    }

    /// Makes the disk refuse every write, now.
    pub(super) fn fail(&self, place: usize) -> anyhow::Result<()> {
        let at = self.of(place)?.mounted_at.display().to_string();
        shell::run("mount", &["-o", "remount,abort", &at])
    }

    /// Mounts the disk anew. The node must not run.
    pub(super) fn replace(&self, place: usize) -> anyhow::Result<()> {
        let disk = self.of(place)?;
        disk.unmount()?;
        disk.mount()
    }
}

impl Disk {
    fn format(&self) -> anyhow::Result<()> {
        let image = self.image.display().to_string();
        shell::run("truncate", &["-s", SIZE, &image])?;
        let quick = "lazy_itable_init=1,lazy_journal_init=1,nodiscard";
        shell::run("mkfs.ext4", &["-q", "-m", "0", "-E", quick, &image])
    }

    fn mount(&self) -> anyhow::Result<()> {
        let (image, at) = (self.image.display().to_string(), self.mounted_at.display().to_string());
        shell::run("mount", &["-t", "ext4", "-o", "loop", &image, &at])
    }

    fn unmount(&self) -> anyhow::Result<()> {
        let at = self.mounted_at.display().to_string();
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = shell::run("umount", &[&at]) {
            if Instant::now() > deadline {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn fill(&self) -> anyhow::Result<()> {
        let path = self.mounted_at.join(BALLAST);
        let at = self.mounted_at.display().to_string();
        let room = shell::output("df", &["--output=avail", "-B1", &at])?;
        let room: u64 = room.lines().nth(1).unwrap_or_default().trim().parse()?;
        // The node writes on meanwhile, so a little less than all at once and the rest in small pieces.
        let most = room.saturating_sub(8 << 20);
        if most > 0 {
            shell::run("fallocate", &["-l", &most.to_string(), &path.display().to_string()])?;
        }
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&path)?;
        for piece in [1 << 20, 64 << 10, 4 << 10] {
            let bytes = vec![0x5a; piece];
            loop {
                // Synced each time: what is only promised room may still be refused.
                let full = file.write_all(&bytes).and_then(|()| file.sync_data());
                match full {
                    Ok(()) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                    Err(error) => bail!("{} cannot be filled: {error}", path.display()),
                }
            }
        }
        Ok(())
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for disk in &self.disks {
            // Whoever lives here was ended before.
            let _gone = disk.unmount();
        }
    }
}

/// The numbers of the processes that left mounts or namespaces of ours behind, and are gone.
fn forgotten() -> Vec<u32> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let names = super::links::namespaces();
    let marks = mounts.split(PREFIX).skip(1).map(str::to_owned);
    let marks =
        marks.chain(names.iter().filter_map(|name| Some(name.strip_prefix(PREFIX)?.to_owned())));
    let mut owners: Vec<u32> = marks
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
        // Killed and not buried by whoever should is gone all the same.
        .filter(|owner| {
            let process = i32::try_from(*owner).ok().and_then(ProcessId::of);
            process.is_none_or(|process| process.state() == ProcessState::Dead)
        })
        .collect();
    owners.sort_unstable();
    owners.dedup();
    owners
}

/// Clears away what runs left that were killed themselves.
pub(super) fn clear_away_forgotten() {
    for owner in forgotten() {
        super::links::clear_away(owner);
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        let mark = format!("{PREFIX}{owner}-");
        for at in mounts.lines().filter_map(|line| line.split_whitespace().nth(1)) {
            if at.contains(&mark) {
                let _gone = shell::run("umount", &[at]);
            }
        }
    }
}
