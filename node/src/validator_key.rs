//! Which validator key a node votes with: the one in `validator/`, and after it the one in `validator.next/`.
//!
//! A key and its signing record are one directory. A re-key makes a second one beside it: the old key votes until the
//! height before the new one's first, is destroyed then, and the new one takes its place, without a stop. A directory
//! whose key is spent is kept under another name, for its record may be asked for.

use crate::signing_record::{Opened, SigningRecord, SigningRecordError};
use sillok_proto::Hash;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// The directories of a node's validator keys.
#[derive(Debug, Clone)]
pub struct ValidatorKeys {
    current: PathBuf,
    next: PathBuf,
    genesis_hash: Hash,
}

/// What a node has to vote with.
#[derive(Debug)]
pub enum Found {
    /// Nothing: it is an observer.
    None,
    /// Its key was destroyed after this height.
    Ended {
        /// The last height it voted at.
        last_height: u64,
    },
    /// A key and its record.
    Key(Box<Opened>),
}

impl ValidatorKeys {
    /// Those beside `current`, which is `validator/` in the node's directory.
    #[must_use]
    pub fn new(current: &Path, genesis_hash: Hash) -> Self {
        Self { current: current.to_owned(), next: with_suffix(current, ".next"), genesis_hash }
    }

    /// The key that votes, or will. A key that can never sign again gives way to the next one.
    ///
    /// # Errors
    ///
    /// [`SigningRecordError`]: whatever makes it unsafe to sign, and no next key is there.
    pub fn open(&self) -> Result<Found, SigningRecordError> {
        if !self.current.exists() {
            return if self.next.exists() { self.take_next("lost") } else { Ok(Found::None) };
        }
        match SigningRecord::open(&self.current, self.genesis_hash) {
            Ok(opened) => Ok(Found::Key(Box::new(opened))),
            Err(
                SigningRecordError::Ended { .. }
                | SigningRecordError::RecordMissing { .. }
                | SigningRecordError::WrongKey { .. }
                | SigningRecordError::Damaged { .. },
            ) if self.next.exists() => self.take_next("spent"),
            Err(SigningRecordError::Ended { last_height, .. }) => Ok(Found::Ended { last_height }),
            Err(error) => Err(error),
        }
    }

    /// Puts the next key in the place of one that was destroyed; nothing if there is none.
    ///
    /// # Errors
    ///
    /// [`SigningRecordError`].
    pub fn after_end(&self, last_height: u64) -> Result<Found, SigningRecordError> {
        if self.next.exists() {
            self.take_next(&format!("ended-{last_height}"))
        } else {
            Ok(Found::Ended { last_height })
        }
    }

    fn take_next(&self, why: &str) -> Result<Found, SigningRecordError> {
        let io = |source| SigningRecordError::Io { path: self.current.clone(), source };
        if self.current.exists() {
            let mut aside = with_suffix(&self.current, &format!(".{why}"));
            for nth in 2..1_000 {
                if !aside.exists() {
                    break;
                }
                aside = with_suffix(&self.current, &format!(".{why}.{nth}"));
            }
            fs::rename(&self.current, &aside).map_err(io)?;
        }
        fs::rename(&self.next, &self.current).map_err(io)?;
        sync_parent(&self.current).map_err(io)?;
        let opened = SigningRecord::open(&self.current, self.genesis_hash)?;
        Ok(Found::Key(Box::new(opened)))
    }

    /// Makes a new key with an empty record: in `validator/` where there is none, else in `validator.next/`. The place
    /// and the key.
    ///
    /// # Errors
    ///
    /// [`SigningRecordError::Exists`] if a next key waits already.
    pub fn make(&self) -> Result<(PathBuf, [u8; 32]), SigningRecordError> {
        let key = crate::keys::SecretKey::generate()?;
        let place = if self.current.exists() { &self.next } else { &self.current };
        SigningRecord::create(place, self.genesis_hash, &key.seed())?;
        Ok((place.clone(), key.public()))
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(found: Found) -> [u8; 32] {
        match found {
            Found::Key(opened) => opened.record.key().public(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_destroyed_key_is_gone_and_its_place_says_which_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("validator");
        let keys = ValidatorKeys::new(&path, Hash([7; 32]));
        assert!(matches!(keys.open().unwrap(), Found::None));
        let (place, public) = keys.make().unwrap();
        assert_eq!(place, path);
        let Found::Key(mut opened) = keys.open().unwrap() else { panic!("it was made") };
        let secret = hex::encode(opened.record.key().seed().as_slice());
        opened.record.reset(9).unwrap();
        opened.record.destroy(9).unwrap();
        assert!(!path.join("validator.key").exists());
        for file in fs::read_dir(&path).unwrap() {
            let bytes = fs::read(file.unwrap().path()).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains(&secret));
        }
        let note = fs::read_to_string(path.join("ended")).unwrap();
        assert!(note.contains(&hex::encode(public)) && note.contains('9'), "{note}");
        assert!(matches!(keys.open().unwrap(), Found::Ended { last_height: 9 }));
    }

    #[test]
    fn a_kill_between_the_note_and_the_end_of_the_key_is_made_good() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("validator");
        let keys = ValidatorKeys::new(&path, Hash([7; 32]));
        keys.make().unwrap();
        fs::write(path.join("ended"), "{\"last_he").unwrap();
        assert!(matches!(keys.open().unwrap(), Found::Ended { .. }));
        assert!(!path.join("validator.key").exists());
    }

    #[test]
    fn the_next_key_waits_for_the_end_of_the_present_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("validator");
        let keys = ValidatorKeys::new(&path, Hash([7; 32]));
        let (_, first) = keys.make().unwrap();
        let (place, second) = keys.make().unwrap();
        assert!(place.ends_with("validator.next"));
        assert!(matches!(keys.make(), Err(SigningRecordError::Exists { .. })), "one waits already");
        let found = keys.open().unwrap();
        let Found::Key(opened) = found else { panic!("{found:?}") };
        assert_eq!(opened.record.key().public(), first);
        opened.record.destroy(20).unwrap();
        assert_eq!(key_of(keys.after_end(20).unwrap()), second);
        assert!(directory.path().join("validator.ended-20").join("ended").exists());
        assert_eq!(key_of(keys.open().unwrap()), second);
    }

    #[test]
    fn ii4_a_key_whose_record_is_lost_gives_way_to_a_new_one_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("validator");
        let keys = ValidatorKeys::new(&path, Hash([7; 32]));
        keys.make().unwrap();
        fs::remove_file(path.join("wal")).unwrap();
        assert!(matches!(keys.open(), Err(SigningRecordError::RecordMissing { .. })));
        let (_, second) = keys.make().unwrap();
        assert_eq!(key_of(keys.open().unwrap()), second);
    }
}
