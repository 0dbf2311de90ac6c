//! Files that only their owner can read: made with mode 0600, never over another, and refused once others can read them.
//!
//! For keys, and for what a desk writes about a person. What is in them is told by those who use them; a mistake in one
//! is told without its text.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Why a file is not written or not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file exists.
    #[error("{} exists; choose another name", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner may read or write the file.
    #[error(
        "{} has mode {mode:04o}, so others can read it; take what is in it for known if others use this machine, then run chmod 600 {}",
        path.display(), path.display()
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The system refused.
    #[error("{}: {source}; check the path and its permissions", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Something else is in it.
    #[error("{} is not {what} ({reason})", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should be, and who writes such files.
        what: &'static str,
        /// What is wrong with it, without its text.
        reason: String,
    },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> FileError + '_ {
    move |source| FileError::Io { path: path.to_owned(), source }
}

/// Writes a new file of mode 0600.
///
/// # Errors
///
/// [`FileError::Exists`], [`FileError::Io`].
pub fn create(path: &Path, text: &str) -> Result<(), FileError> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(FileError::Exists { path: path.to_owned() });
        }
        Err(source) => return Err(FileError::Io { path: path.to_owned(), source }),
    };
    writeln!(file, "{}", text.trim_end()).map_err(io_error(path))?;
    file.sync_all().map_err(io_error(path))?;
    // A new name is on disk only when its directory is.
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(io_error(directory))
}

/// Reads a file of at most `bytes_max` bytes that only its owner can read.
///
/// # Errors
///
/// [`FileError`].
pub fn read(
    path: &Path,
    what: &'static str,
    bytes_max: u64,
) -> Result<Zeroizing<String>, FileError> {
    let file = File::open(path).map_err(io_error(path))?;
    // Asked of the open file, so that the answer is about the bytes read.
    let metadata = file.metadata().map_err(io_error(path))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(FileError::Mode { path: path.to_owned(), mode });
    }
    read_open(file, path, what, bytes_max)
}

/// Reads a file that is no secret.
///
/// # Errors
///
/// [`FileError`].
pub fn read_public(
    path: &Path,
    what: &'static str,
    bytes_max: u64,
) -> Result<Zeroizing<String>, FileError> {
    read_open(File::open(path).map_err(io_error(path))?, path, what, bytes_max)
}

fn read_open(
    file: File,
    path: &Path,
    what: &'static str,
    bytes_max: u64,
) -> Result<Zeroizing<String>, FileError> {
    let wrong = |reason: &str| content(path, what, reason);
    let metadata = file.metadata().map_err(io_error(path))?;
    if !metadata.is_file() {
        return Err(wrong("it is no plain file"));
    }
    if metadata.len() > bytes_max {
        return Err(wrong("it is too long"));
    }
    let mut text = Zeroizing::new(String::new());
    match file.take(bytes_max).read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(wrong("it is no text")),
        Err(source) => Err(io_error(path)(source)),
    }
}

/// That a file holds something else.
pub(crate) fn content(path: &Path, what: &'static str, reason: impl Into<String>) -> FileError {
    FileError::Content { path: path.to_owned(), what, reason: reason.into() }
}

/// Where the parser stopped, without the text, which may be a secret.
pub(crate) fn json_reason(error: &serde_json::Error) -> String {
    format!("{:?} error at line {} column {}", error.classify(), error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_is_its_owners_alone_and_never_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        create(&path, "one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(matches!(create(&path, "two"), Err(FileError::Exists { .. })));
        assert_eq!(read(&path, "a secret", 10).unwrap().as_str(), "one\n");
        assert!(matches!(read(&path, "a secret", 2), Err(FileError::Content { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read(&path, "a secret", 10), Err(FileError::Mode { mode: 0o640, .. })));
    }
}
