//! Secret keys in files: `node.key`, `validator.key`, `governance.key`.
//!
//! A key is one JSON object, readable by its owner alone. It is created, never overwritten, and never read from
//! configuration or environment. What may be signed with a key is not decided here.

use ed25519_dalek::{Signer, SigningKey};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, Zeroizing};

/// No key file is longer; what is longer is some other file.
const FILE_BYTES_MAX: u64 = 4096;
/// The only algorithm of a node's own keys (PROTOCOL §7.3).
const ALGORITHM: &str = "Ed25519";

/// Why a key could not be read, written or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A key is made once; writing over one would lose it.
    #[error("{path} exists already and is not overwritten; move it away first if it is no longer needed", path = path.display())]
    Exists {
        /// The key file.
        path: PathBuf,
    },
    /// There is no such file.
    #[error("there is no key file at {path}; make one with `sillok-node init`", path = path.display())]
    Missing {
        /// The key file.
        path: PathBuf,
    },
    /// Somebody else on this machine can read the secret.
    #[error("{path} has mode {mode:04o}, so others can read the secret; run `chmod 600 {path}`", path = path.display())]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a key file of ours.
    #[error("{path} is not a key file ({reason}); restore the file that `sillok-node init` made", path = path.display())]
    Malformed {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it, without its contents.
        reason: &'static str,
    },
    /// The disk failed or refused.
    #[error("{path} cannot be used: {source}", path = path.display())]
    Io {
        /// The key file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system has no randomness to give.
    #[error("the system gave no random bytes for a new key ({reason}); try again")]
    NoRandomness {
        /// What the system said.
        reason: String,
    },
}

/// An Ed25519 secret key, wiped from memory when dropped. Its debug form shows the public key only.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Makes a new key from the system's randomness.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoRandomness`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0u8; 32]);
        getrandom::fill(seed.as_mut_slice())
            .map_err(|error| KeyError::NoRandomness { reason: error.to_string() })?;
        Ok(Self::from_seed(&seed))
    }

    /// The key whose seed (RFC 8032 §5.1.5) is `seed`.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed, for the libraries that want it.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// Reads a key file.
    ///
    /// # Errors
    ///
    /// [`KeyError`]: missing, readable by others, or not a key file whose two halves belong together.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let io = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => KeyError::Missing { path: path.to_owned() },
            _ => KeyError::Io { path: path.to_owned(), source },
        };
        let malformed = |reason| KeyError::Malformed { path: path.to_owned(), reason };
        let file = File::open(path).map_err(io)?;
        // The opened file is asked, not the path: what was checked is what is read.
        let mode = file.metadata().map_err(io)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::new());
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| {
            match error.kind() {
                io::ErrorKind::InvalidData => malformed("it is not text"),
                _ => io(error),
            }
        })?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(malformed("it is too long"));
        }
        let stored: StoredKey = serde_json::from_str(&text).map_err(|_| {
            malformed("it is not a JSON object with algorithm, public_key and secret")
        })?;
        if stored.algorithm != ALGORITHM {
            return Err(malformed("its algorithm is not Ed25519"));
        }
        let mut seed = Zeroizing::new([0u8; 32]);
        hex::decode_to_slice(&stored.secret, seed.as_mut_slice())
            .map_err(|_| malformed("its secret is not 32 bytes in hexadecimal"))?;
        let key = Self::from_seed(&seed);
        if stored.public_key != hex::encode(key.public()) {
            return Err(malformed("its public_key is not that of its secret"));
        }
        Ok(key)
    }

    /// Writes the key to a new file of mode 0600 and makes it durable.
    ///
    /// # Errors
    ///
    /// [`KeyError`]: the file exists already, or the disk refused.
    pub fn write_new(&self, path: &Path) -> Result<(), KeyError> {
        let io = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned() },
            _ => KeyError::Io { path: path.to_owned(), source },
        };
        let stored = StoredKey {
            algorithm: ALGORITHM.to_owned(),
            public_key: hex::encode(self.public()),
            secret: hex::encode(self.seed().as_slice()),
        };
        let mut text = Zeroizing::new(
            serde_json::to_vec_pretty(&stored).map_err(|error| io(io::Error::other(error)))?,
        );
        text.push(b'\n');
        // O_EXCL and the mode at creation: at no moment is there a file that others could open.
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(io)?;
        sync_directory_of(path).map_err(io)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(public {})", hex::encode(self.public()))
    }
}

/// The file's JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    algorithm: String,
    public_key: String,
    secret: String,
}

impl Drop for StoredKey {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// Overwrites a key file and removes it; it need not be there. Begun again after a kill it does the rest.
///
/// A disk or file system that writes elsewhere keeps the bytes; that is for the operator to know (`docs/operating.md`).
pub(crate) fn erase(path: &Path) -> io::Result<()> {
    let file = match OpenOptions::new().write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    file.write_all_at(&vec![0; len], 0)?;
    file.sync_all()?;
    fs::remove_file(path)?;
    sync_directory_of(path)
}

/// Makes the names in the directory of `path` durable: a file's own sync does not.
pub(crate) fn sync_directory_of(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(contents: &str, mode: u32) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        SecretKey::read(&path).unwrap_err().to_string()
    }

    fn stored(algorithm: &str, public: &str, secret: &str) -> String {
        format!(r#"{{"algorithm":"{algorithm}","public_key":"{public}","secret":"{secret}"}}"#)
    }

    #[test]
    fn a_written_key_is_read_back_and_is_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        let key = SecretKey::generate().unwrap();
        key.write_new(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(SecretKey::read(&path).unwrap().seed(), key.seed());
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        let first = SecretKey::from_seed(&[1; 32]);
        first.write_new(&path).unwrap();
        let refusal = SecretKey::from_seed(&[2; 32]).write_new(&path).unwrap_err();
        assert!(matches!(refusal, KeyError::Exists { .. }), "{refusal}");
        assert_eq!(SecretKey::read(&path).unwrap().public(), first.public());
    }

    #[test]
    fn a_key_that_others_may_read_is_refused_with_the_command_that_helps() {
        let good = stored(
            "Ed25519",
            &hex::encode(SecretKey::from_seed(&[7; 32]).public()),
            &"07".repeat(32),
        );
        for mode in [0o640, 0o604, 0o660, 0o666] {
            assert!(refused(&good, mode).contains("chmod 600"));
        }
    }

    #[test]
    fn a_file_that_is_not_a_key_is_refused_without_its_contents_being_told() {
        let public = hex::encode(SecretKey::from_seed(&[7; 32]).public());
        let secret = "07".repeat(32);
        let cases = [
            (String::from("not json"), "JSON"),
            (stored("P-256", &public, &secret), "algorithm"),
            (stored("Ed25519", &public, "0707"), "32 bytes"),
            (stored("Ed25519", &"00".repeat(32), &secret), "public_key"),
            (stored("Ed25519", &public, &secret).replace('}', ",\"note\":\"x\"}"), "JSON"),
            (" ".repeat(5000), "too long"),
        ];
        for (contents, reason) in cases {
            let message = refused(&contents, 0o600);
            assert!(message.contains(reason), "{message}");
            assert!(!message.contains("0707"), "{message}");
        }
    }

    #[test]
    fn a_missing_key_says_what_makes_one() {
        let message = SecretKey::read(Path::new("/nonexistent/node.key")).unwrap_err().to_string();
        assert!(message.contains("sillok-node init"), "{message}");
    }

    #[test]
    fn a_secret_is_not_shown_by_debug() {
        let key = SecretKey::from_seed(&[9; 32]);
        assert!(!format!("{key:?}").contains(&"09".repeat(32)));
    }
}
