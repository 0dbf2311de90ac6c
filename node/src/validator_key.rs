//! Which validator key a node votes with: the one in `validator/`, and after it the one in `validator.next/`.
//!
//! A key and its signing record are one directory. A re-key makes a second one beside it: the old key votes until the
//! height before the new one's first, is destroyed then, and the new one takes its place, without a stop. A directory
//! whose key is spent is kept under another name, for its record may be asked for; its key is not kept.
//!
//! A key that never signs again is on no disk: it is noted as ended, erased and only then put aside, and every start goes
//! on with what a kill left between these. Nor does a start rest on what the node saw while it ran: [`ValidatorKeys::retire`]
//! asks the record whether a key's seat has ended.

use crate::keys::{KeyError, SecretKey};
use crate::signing_record::{KEY_FILE, Opened, SigningRecord, SigningRecordError, erase_key};
use crate::standing::Standing;
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
        /// The last height it voted at; 0 where that is not known.
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

    /// The key that votes, or will. A key that can never sign again is destroyed and gives way to the next one.
    ///
    /// # Errors
    ///
    /// [`SigningRecordError`]: whatever makes it unsafe to sign, and no next key is there.
    pub fn open(&self) -> Result<Found, SigningRecordError> {
        self.erase_what_was_put_aside()?;
        if !self.current.exists() {
            return if self.next.exists() { self.take_next("lost") } else { Ok(Found::None) };
        }
        match SigningRecord::open(&self.current, self.genesis_hash) {
            Ok(opened) => Ok(Found::Key(Box::new(opened))),
            Err(SigningRecordError::Ended { last_height, .. }) => self.after_end(last_height),
            // Somebody took the key out, as one does whose node cannot learn any more that its seat has ended.
            Err(SigningRecordError::Key(KeyError::Missing { .. })) => self.after_end(0),
            Err(
                SigningRecordError::RecordMissing { .. }
                | SigningRecordError::WrongKey { .. }
                | SigningRecordError::Damaged { .. },
            ) if self.next.exists() => {
                SigningRecord::discard(&self.current, &self.genesis_hash)?;
                self.take_next("spent")
            }
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

    /// Destroys what was found as long as the record says that the key's seat has ended, or that the next key has the seat
    /// which this one never had; and goes on with the next.
    ///
    /// The host destroys a key that it saw voting its last height. It saw nothing where the node was killed at that
    /// height, joined by a snapshot past it, or never voted with the key; the record knows (PROTOCOL §6.2).
    ///
    /// # Errors
    ///
    /// [`SigningRecordError`], or that of `standing`.
    pub fn retire<E: From<SigningRecordError>>(
        &self,
        mut found: Found,
        standing: impl Fn(&[u8; 32]) -> Result<Standing, E>,
    ) -> Result<Found, E> {
        let of_next = self.next_key().map(|key| standing(&key)).transpose()?;
        if of_next == Some(Standing::Ended) {
            SigningRecord::discard(&self.next, &self.genesis_hash)?;
            self.put_aside(&self.next, "spent")?;
            say_destroyed(0);
        }
        while let Found::Key(opened) = found {
            let gives_way = match standing(&opened.record.key().public())? {
                Standing::Ended => true,
                Standing::Seated => false,
                // An operator has one seat.
                Standing::MayJoin { .. } | Standing::NotApproved => {
                    self.next.exists() && of_next == Some(Standing::Seated)
                }
            };
            if !gives_way {
                return Ok(Found::Key(opened));
            }
            let last_height = opened.height;
            opened.record.destroy(last_height)?;
            say_destroyed(last_height);
            found = self.after_end(last_height)?;
        }
        Ok(found)
    }

    /// The key in `validator/`.
    #[must_use]
    pub fn current_key(&self) -> Option<[u8; 32]> {
        key_in(&self.current)
    }

    /// The key that waits in `validator.next/`.
    #[must_use]
    pub fn next_key(&self) -> Option<[u8; 32]> {
        key_in(&self.next)
    }

    /// `what` is spent: its key is erased already.
    fn put_aside(&self, what: &Path, why: &str) -> Result<(), SigningRecordError> {
        let mut aside = with_suffix(&self.current, &format!(".{why}"));
        for nth in 2..1_000 {
            if !aside.exists() {
                break;
            }
            aside = with_suffix(&self.current, &format!(".{why}.{nth}"));
        }
        fs::rename(what, &aside)
            .and_then(|()| sync_parent(&self.current))
            .map_err(|source| SigningRecordError::Io { path: what.to_owned(), source })
    }

    fn take_next(&self, why: &str) -> Result<Found, SigningRecordError> {
        let io = |source| SigningRecordError::Io { path: self.current.clone(), source };
        if self.current.exists() {
            self.put_aside(&self.current, why)?;
        }
        fs::rename(&self.next, &self.current).map_err(io)?;
        sync_parent(&self.current).map_err(io)?;
        let opened = SigningRecord::open(&self.current, self.genesis_hash)?;
        Ok(Found::Key(Box::new(opened)))
    }

    /// What was put aside signs no more. A key that lies there was put there by an earlier release, or by hand.
    fn erase_what_was_put_aside(&self) -> Result<(), SigningRecordError> {
        let parent = parent_of(&self.current);
        let Some(name) = self.current.file_name().map(|name| name.to_string_lossy()) else {
            return Ok(());
        };
        // No directory yet: nothing is there.
        let Ok(entries) = fs::read_dir(parent) else { return Ok(()) };
        for entry in entries.flatten() {
            let there = entry.file_name();
            let there = there.to_string_lossy();
            let why = there.strip_prefix(name.as_ref()).unwrap_or_default();
            if (why.starts_with(".spent") || why.starts_with(".ended-"))
                && erase_key(&entry.path())?
            {
                say_destroyed(0);
            }
        }
        Ok(())
    }

    /// Makes a new key with an empty record: in `validator/` where there is none, else in `validator.next/`. The place
    /// and the key.
    ///
    /// # Errors
    ///
    /// [`SigningRecordError::NextExists`] if a next key waits already.
    pub fn make(&self) -> Result<(PathBuf, [u8; 32]), SigningRecordError> {
        if self.next.exists() {
            let (directory, key) = (self.next.clone(), self.next_key());
            return Err(SigningRecordError::NextExists { directory, key });
        }
        let key = SecretKey::generate()?;
        let place = if self.current.exists() { &self.next } else { &self.current };
        SigningRecord::create(place, self.genesis_hash, &key.seed())?;
        Ok((place.clone(), key.public()))
    }
}

fn key_in(directory: &Path) -> Option<[u8; 32]> {
    SecretKey::read(&directory.join(KEY_FILE)).ok().map(|key| key.public())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(parent_of(path))?.sync_all()
}

fn say_destroyed(height: u64) {
    tracing::warn!(
        event = "key_destroyed",
        height,
        "a validator key that never signs again was destroyed"
    );
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
        assert!(
            matches!(keys.make(), Err(SigningRecordError::NextExists { .. })),
            "one waits already"
        );
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

    const LAST: u64 = 9;

    /// A node's directory with a key that voted up to [`LAST`], its secret, and the key after it.
    struct Rekeyed {
        directory: tempfile::TempDir,
        keys: ValidatorKeys,
        old: [u8; 32],
        secret: String,
        new: [u8; 32],
    }

    fn rekeyed() -> Rekeyed {
        let directory = tempfile::tempdir().unwrap();
        let keys = ValidatorKeys::new(&directory.path().join("validator"), Hash([7; 32]));
        let (_, old) = keys.make().unwrap();
        let Found::Key(mut opened) = keys.open().unwrap() else { panic!("it was made") };
        let secret = hex::encode(opened.record.key().seed().as_slice());
        opened.record.reset(LAST).unwrap();
        opened.record.sync().unwrap();
        drop(opened);
        let (_, new) = keys.make().unwrap();
        Rekeyed { directory, keys, old, secret, new }
    }

    impl Rekeyed {
        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        /// Starts the node, whose record says that the seat of the old key has ended.
        fn start(&self) -> Found {
            let found = self.keys.open().unwrap();
            let standing = |key: &[u8; 32]| {
                let ended = *key == self.old;
                Ok::<_, SigningRecordError>(if ended { Standing::Ended } else { Standing::Seated })
            };
            self.keys.retire(found, standing).unwrap()
        }

        fn assert_only_the_new_key(&self, state: &str) {
            // Twice: the second start finds nothing left to do.
            for _ in 0..2 {
                assert_eq!(key_of(self.start()), self.new, "{state}");
                assert!(!holds(self.directory.path(), &self.secret), "{state}");
                assert!(!self.path("validator.next").exists(), "{state}");
            }
        }
    }

    /// Does any file below this directory hold the secret?
    fn holds(directory: &Path, secret: &str) -> bool {
        fs::read_dir(directory).unwrap().any(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() {
                return holds(&path, secret);
            }
            String::from_utf8_lossy(&fs::read(path).unwrap()).contains(secret)
        })
    }

    #[test]
    fn killed_at_any_step_of_a_takeover_the_old_key_is_gone_at_the_next_start() {
        let note = "{\"last_height\":9}\n";
        type Step = fn(&Rekeyed, &str);
        let steps: [(&str, Step); 8] = [
            ("before anything", |_, _| {}),
            ("the note is empty", |node, _| {
                fs::write(node.path("validator/ended"), "").unwrap();
            }),
            ("the note is torn", |node, note| {
                fs::write(node.path("validator/ended"), &note[..7]).unwrap();
            }),
            ("the note is written", |node, note| {
                fs::write(node.path("validator/ended"), note).unwrap();
            }),
            ("the key is overwritten", |node, note| {
                fs::write(node.path("validator/ended"), note).unwrap();
                fs::write(node.path("validator/validator.key"), [0; 40]).unwrap();
            }),
            ("the key is removed", |node, note| {
                fs::write(node.path("validator/ended"), note).unwrap();
                fs::remove_file(node.path("validator/validator.key")).unwrap();
            }),
            ("it is put aside", |node, note| {
                fs::write(node.path("validator/ended"), note).unwrap();
                fs::remove_file(node.path("validator/validator.key")).unwrap();
                fs::rename(node.path("validator"), node.path("validator.ended-9")).unwrap();
            }),
            ("the new one has its place", |node, note| {
                fs::write(node.path("validator/ended"), note).unwrap();
                fs::remove_file(node.path("validator/validator.key")).unwrap();
                fs::rename(node.path("validator"), node.path("validator.ended-9")).unwrap();
                fs::rename(node.path("validator.next"), node.path("validator")).unwrap();
            }),
        ];
        for (state, step) in steps {
            let node = rekeyed();
            assert!(holds(node.directory.path(), &node.secret));
            step(&node, note);
            node.assert_only_the_new_key(state);
        }
    }

    #[test]
    fn a_spent_key_is_erased_before_it_is_put_aside_and_wherever_it_was_put_before() {
        // Its record is lost, so it can never sign; then what an earlier release left, key and all.
        let lost: fn(&Rekeyed) = |node| fs::remove_file(node.path("validator/wal")).unwrap();
        let left: fn(&Rekeyed) = |node| {
            fs::rename(node.path("validator"), node.path("validator.spent")).unwrap();
        };
        let left_again: fn(&Rekeyed) = |node| {
            fs::rename(node.path("validator"), node.path("validator.ended-9.2")).unwrap();
            fs::rename(node.path("validator.next"), node.path("validator")).unwrap();
        };
        for (state, change) in [("lost", lost), ("left", left), ("left again", left_again)] {
            let node = rekeyed();
            change(&node);
            // Without asking the record.
            assert_eq!(key_of(node.keys.open().unwrap()), node.new, "{state}");
            node.assert_only_the_new_key(state);
        }
    }

    #[test]
    fn a_key_that_never_voted_is_destroyed_too_when_its_seat_has_ended() {
        let directory = tempfile::tempdir().unwrap();
        let keys = ValidatorKeys::new(&directory.path().join("validator"), Hash([7; 32]));
        let (_, only) = keys.make().unwrap();
        let start = |ended: &[[u8; 32]]| {
            let standing = |key: &[u8; 32]| {
                let ended = ended.contains(key);
                Ok::<_, SigningRecordError>(if ended {
                    Standing::Ended
                } else {
                    Standing::NotApproved
                })
            };
            keys.retire(keys.open().unwrap(), standing).unwrap()
        };
        assert_eq!(key_of(start(&[])), only);
        // One that waits for a seat that it had already goes first.
        let (_, next) = keys.make().unwrap();
        assert_eq!(keys.next_key(), Some(next));
        assert_eq!(key_of(start(&[next])), only);
        assert!(directory.path().join("validator.spent").join("ended").exists());
        assert_eq!(keys.next_key(), None);
        assert!(matches!(start(&[only]), Found::Ended { last_height: 0 }));
        assert!(matches!(start(&[only]), Found::Ended { last_height: 0 }));
    }

    #[test]
    fn a_key_that_never_got_a_seat_gives_way_to_the_next_one_that_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let keys = ValidatorKeys::new(&directory.path().join("validator"), Hash([7; 32]));
        let ((_, waits), (_, next)) = (keys.make().unwrap(), keys.make().unwrap());
        let start = |of_next: Standing| {
            let standing = |key: &[u8; 32]| {
                Ok::<_, SigningRecordError>(if *key == next {
                    of_next
                } else {
                    Standing::NotApproved
                })
            };
            key_of(keys.retire(keys.open().unwrap(), standing).unwrap())
        };
        assert_eq!(start(Standing::NotApproved), waits);
        assert_eq!(start(Standing::MayJoin { expires_ms: 7 }), waits);
        assert_eq!(start(Standing::Seated), next);
        assert_eq!(start(Standing::Seated), next);
        assert_eq!(keys.next_key(), None);
    }

    #[test]
    fn a_key_taken_out_by_hand_leaves_an_observer() {
        let node = rekeyed();
        fs::remove_file(node.path("validator/validator.key")).unwrap();
        assert_eq!(key_of(node.keys.open().unwrap()), node.new);
        fs::remove_file(node.path("validator/validator.key")).unwrap();
        assert!(matches!(node.keys.open().unwrap(), Found::Ended { last_height: 0 }));
    }
}
