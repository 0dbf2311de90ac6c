//! One process to a directory: a second one is refused before it reads anything.
//!
//! The lock is the system's, not a file's existence, so a process that was killed leaves nothing to clean up.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Why a directory could not be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process works here.
    #[error(
        "{directory} is in use by another process ({holder}); stop that one first, or give this node its own directory",
        directory = directory.display()
    )]
    Held {
        /// The directory.
        directory: PathBuf,
        /// The process id that the holder wrote down, as `pid N`, or that it is not known.
        holder: String,
    },
    /// The disk failed or refused.
    #[error("{path} cannot be locked: {source}", path = path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Holds a directory for this process until dropped.
#[derive(Debug)]
pub struct DirectoryLock {
    /// Closing the file is what releases the lock.
    _file: File,
}

impl DirectoryLock {
    /// Takes the lock of `directory`, which must exist.
    ///
    /// # Errors
    ///
    /// [`LockError`]: another process holds it, or the disk refused.
    pub fn acquire(directory: &Path) -> Result<Self, LockError> {
        let path = directory.join("lock");
        let io = |source| LockError::Io { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let known = file.take(16).read_to_string(&mut pid).is_ok()
                    && pid.trim().parse::<u32>().is_ok();
                let holder =
                    if known { format!("pid {}", pid.trim()) } else { "pid unknown".to_owned() };
                return Err(LockError::Held { directory: directory.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        // The process id is for the message above only; the lock does not depend on it.
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(io)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_told_who_holds() {
        let directory = tempfile::tempdir().unwrap();
        let held = DirectoryLock::acquire(directory.path()).unwrap();
        let refusal = DirectoryLock::acquire(directory.path()).unwrap_err().to_string();
        assert!(refusal.contains(&format!("pid {}", std::process::id())), "{refusal}");
        assert!(refusal.contains(&directory.path().display().to_string()), "{refusal}");
        drop(held);
        DirectoryLock::acquire(directory.path()).unwrap();
    }
}
