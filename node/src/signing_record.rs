//! The validator key and its signing record (the write-ahead log), in one directory that is made and lost as a whole.
//!
//! What a validator signs is written here, and made durable by [`SigningRecord::sync`], before it is released. So a
//! validator that crashed finds what it said and says nothing else (PROTOCOL II.4). A key without its record never
//! signs again, which is why [`SigningRecord::open`] refuses rather than begin an empty one.
//!
//! ```text
//! validator/
//!   validator.key   the key, mode 0600
//!   wal             header ‖ record ‖ record ‖ …
//!   lock            held while a process uses the directory
//!   ended           instead of the key, when it has voted its last height: which key, and which height
//!
//! header  magic (16) ‖ genesis hash (32) ‖ validator key (32) ‖ salt (16) ‖ checksum (16)
//! record  length u32 LE ‖ checksum (16) ‖ kind (1) ‖ content
//! kind 1  a height was started: u64 LE; entries after it are of this height
//! kind 2  everything before this offset was made durable: u64 LE
//! kind 3  an entry: canonical `WalEntry`
//! ```
//!
//! A record's checksum covers the file's salt and the record's offset, so bytes left over from another file or place
//! are never taken for a record. Kind 2 tells a torn tail from damage: what was never made durable was never
//! released and may be cut off; damage to what was made durable stops the validator for its operator.
//!
//! Which messages are logged, and when a sync is owed, is the consensus host's to decide, not decided here.

use crate::keys::{self, KeyError, SecretKey, sync_directory_of};
use crate::lock::{DirectoryLock, LockError};
use sillok_proto::v1::{self, WalEntry};
use sillok_proto::{Hash, decode, encode};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Name of the key file in the directory.
pub(crate) const KEY_FILE: &str = "validator.key";
/// Name of the note that the key is destroyed.
const ENDED_FILE: &str = "ended";
/// Name of the log in the directory.
const RECORD_FILE: &str = "wal";
/// First bytes of a log.
const MAGIC: &[u8; 16] = b"sillok-wal-v1\0\0\0";
/// Length of the header, in bytes.
const HEADER_BYTES: usize = 16 + 32 + 32 + 16 + CHECKSUM_BYTES;
/// Length of a checksum, in bytes.
const CHECKSUM_BYTES: usize = 16;
/// What stands before a record's kind.
const PREFIX_BYTES: usize = 4 + CHECKSUM_BYTES;
/// Longest record, in bytes: an entry may hold a whole block.
const RECORD_BYTES_MAX: usize = 64 << 20;
/// Past this length a new height begins a new file; before it, heights follow each other in one, for a new file
/// costs two more syncs.
const FILE_BYTES_MAX: u64 = 8 << 20;

const KIND_HEIGHT: u8 = 1;
const KIND_DURABLE: u8 = 2;
const KIND_ENTRY: u8 = 3;

/// Why a signing record could not be made, opened or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SigningRecordError {
    /// There is one already.
    #[error(
        "{directory} exists already; a validator key and its signing record are made once and never overwritten",
        directory = directory.display()
    )]
    Exists {
        /// The validator directory.
        directory: PathBuf,
    },
    /// The key after the present one is there already.
    #[error(
        "{directory} holds the next validator key already, {key}: have it join with `sillok member rekey --validator-key {key}` \
         and `sillok member join`; or, if `sillok member list` does not show it and it never shall join, remove {directory} \
         and make another",
        directory = directory.display(), key = key_or_unknown(key)
    )]
    NextExists {
        /// Its directory.
        directory: PathBuf,
        /// The key, where it can be read.
        key: Option<[u8; 32]>,
    },
    /// The node has no validator directory; it is an observer, or its disk was lost.
    #[error("there is no validator key at {directory}; make one with `sillok-node init`", directory = directory.display())]
    NoValidator {
        /// The validator directory.
        directory: PathBuf,
    },
    /// The key is there and its record is not: it may have signed anything.
    #[error(
        "the validator key of {directory} has lost its signing record `{RECORD_FILE}`, so it must never sign again; \
         have the operator's governance key re-key this validator (PROTOCOL §7.3)",
        directory = directory.display()
    )]
    RecordMissing {
        /// The validator directory.
        directory: PathBuf,
    },
    /// The key file cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Another process uses the directory: two would sign against each other.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The key voted its last height and was destroyed.
    #[error(
        "the validator key of {directory} voted its last height, {last_height}, and was destroyed; the node is an observer \
         until another key of its operator joins",
        directory = directory.display()
    )]
    Ended {
        /// The validator directory.
        directory: PathBuf,
        /// The last height.
        last_height: u64,
    },
    /// The record belongs to another network.
    #[error("{path} is the signing record of network {found}, not of {expected}; check which data directory and genesis file this node uses", path = path.display())]
    WrongNetwork {
        /// The log.
        path: PathBuf,
        /// Genesis hash of this node.
        expected: Hash,
        /// Genesis hash in the header.
        found: Hash,
    },
    /// The record belongs to another key.
    #[error(
        "{path} is the signing record of another validator key; the key here has none and must never sign: \
         put back the directory as it was made, or re-key the validator (PROTOCOL §7.3)",
        path = path.display()
    )]
    WrongKey {
        /// The log.
        path: PathBuf,
    },
    /// Bytes that were made durable are not what was written.
    #[error(
        "{path} is damaged at byte {offset} ({reason}): what this validator signed is not known, so it must not sign; \
         check the disk, then re-key the validator (PROTOCOL §7.3)",
        path = path.display()
    )]
    Damaged {
        /// The log.
        path: PathBuf,
        /// Where the first wrong record begins.
        offset: usize,
        /// What is wrong there.
        reason: &'static str,
    },
    /// A height may be started once.
    #[error(
        "height {requested} was asked for but this key already worked at height {current}; follow without voting until {current} has passed"
    )]
    HeightNotIncreasing {
        /// Latest height started.
        current: u64,
        /// Height asked for.
        requested: u64,
    },
    /// An entry of another height than the one started.
    #[error(
        "an entry of height {entry} cannot be recorded while height {current} is in progress; start that height first"
    )]
    WrongHeight {
        /// Height in progress, 0 before the first.
        current: u64,
        /// Height of the entry.
        entry: u64,
    },
    /// An entry longer than any block may be.
    #[error("an entry of {len} bytes is longer than the {max} a signing record takes; lower the block size", max = RECORD_BYTES_MAX)]
    TooLong {
        /// Its length, in bytes.
        len: usize,
    },
    /// An earlier write or sync failed. After that nobody knows what is on the disk.
    #[error("an earlier write to {path} failed, so nothing more may be signed; mend the disk and restart the node", path = path.display())]
    Failed {
        /// The log.
        path: PathBuf,
    },
    /// The disk failed or refused.
    #[error("{path} cannot be written: {source}; mend the disk and restart the node", path = path.display())]
    Io {
        /// What was being used.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn key_or_unknown(key: &Option<[u8; 32]>) -> String {
    key.map_or_else(|| "KEY".to_owned(), hex::encode)
}

/// What [`SigningRecord::open`] found.
#[derive(Debug)]
pub struct Opened {
    /// The record, ready for the next entry.
    pub record: SigningRecord,
    /// Latest height this key worked at; 0 when it never did.
    pub height: u64,
    /// Entries of that height, in the order they were written: what is replayed.
    pub entries: Vec<WalEntry>,
}

/// A validator's key together with the record of what it signed.
#[derive(Debug)]
pub struct SigningRecord {
    directory: PathBuf,
    genesis_hash: Hash,
    key: SecretKey,
    file: File,
    /// What every checksum of this file begins with: the header's checksum, which covers the salt.
    tag: [u8; CHECKSUM_BYTES],
    height: u64,
    /// Bytes given to the system so far.
    written: u64,
    /// Records not yet given to the system.
    pending: Vec<u8>,
    /// Whether anything but a durability mark was written since the last sync.
    unsynced: bool,
    failed: bool,
    _lock: DirectoryLock,
}

impl SigningRecord {
    /// Makes the directory with the key of `seed` and an empty record: all of it or nothing.
    ///
    /// # Errors
    ///
    /// [`SigningRecordError`]: the directory exists, or the disk refused.
    pub fn create(
        directory: &Path,
        genesis_hash: Hash,
        seed: &[u8; 32],
    ) -> Result<(), SigningRecordError> {
        let io = |source| SigningRecordError::Io { path: directory.to_owned(), source };
        if directory.symlink_metadata().is_ok() {
            return Err(SigningRecordError::Exists { directory: directory.to_owned() });
        }
        // Made under another name and renamed, so that a crash never leaves a key without its record. What an
        // earlier crash left under that name never had its final name, so it never signed.
        let mut unfinished = directory.as_os_str().to_owned();
        unfinished.push(".unfinished");
        let unfinished = PathBuf::from(unfinished);
        match fs::remove_dir_all(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        DirBuilder::new().mode(0o700).create(&unfinished).map_err(io)?;
        let key = SecretKey::from_seed(seed);
        key.write_new(&unfinished.join(KEY_FILE))?;
        let (header, _) = new_header(&genesis_hash, &key.public())?;
        let write = || -> io::Result<()> {
            let mut file = create_file(&unfinished.join(RECORD_FILE))?;
            file.write_all(&header)?;
            file.sync_all()?;
            File::open(&unfinished)?.sync_all()?;
            fs::rename(&unfinished, directory)?;
            sync_directory_of(directory)
        };
        write().map_err(io)
    }

    /// Opens the directory: takes its lock, checks key and record against each other and the network, cuts off a
    /// torn tail, and makes durable what it returns.
    ///
    /// # Errors
    ///
    /// [`SigningRecordError`]: whatever makes it unsafe to sign.
    pub fn open(directory: &Path, genesis_hash: Hash) -> Result<Opened, SigningRecordError> {
        if !directory.is_dir() {
            return Err(SigningRecordError::NoValidator { directory: directory.to_owned() });
        }
        let lock = DirectoryLock::acquire(directory)?;
        if let Some(last_height) = ended(directory)? {
            // The note may have been written and the key not yet been.
            erase_key(directory)?;
            return Err(SigningRecordError::Ended { directory: directory.to_owned(), last_height });
        }
        let key = SecretKey::read(&directory.join(KEY_FILE))?;
        let path = directory.join(RECORD_FILE);
        let io = |source| SigningRecordError::Io { path: path.clone(), source };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SigningRecordError::RecordMissing { directory: directory.to_owned() });
            }
            Err(error) => return Err(io(error)),
        };
        let damaged =
            |offset, reason| SigningRecordError::Damaged { path: path.clone(), offset, reason };
        let header = Header::read(&bytes).ok_or_else(|| damaged(0, "its header is not whole"))?;
        if header.genesis_hash != genesis_hash {
            return Err(SigningRecordError::WrongNetwork {
                path: path.clone(),
                expected: genesis_hash,
                found: header.genesis_hash,
            });
        }
        if header.validator != key.public() {
            return Err(SigningRecordError::WrongKey { path: path.clone() });
        }
        let scan = scan(&bytes, &header.tag).map_err(|(offset, reason)| damaged(offset, reason))?;

        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(io)?;
        let end = scan.end as u64;
        if scan.end < bytes.len() {
            tracing::warn!(
                cut_bytes = bytes.len() - scan.end,
                "the signing record ended in a write that was never finished; it was cut off"
            );
            file.set_len(end).map_err(io)?;
        }
        // After a kill, what was read may have been in the page cache only; it is about to be acted on.
        file.sync_all().map_err(io)?;
        let mut record = Self {
            directory: directory.to_owned(),
            genesis_hash,
            key,
            file,
            tag: header.tag,
            height: scan.height,
            written: end,
            pending: Vec::new(),
            unsynced: false,
            failed: false,
            _lock: lock,
        };
        record.mark_durable()?;
        Ok(Opened { record, height: scan.height, entries: scan.entries })
    }

    /// Destroys the key: it has voted its last height, and whoever finds an old disk must not be able to sign another
    /// past with it (PROTOCOL §6.2). A note stays that says which key it was, and the record of what it signed.
    ///
    /// The bytes are overwritten in place. A disk or file system that writes elsewhere, and a backup that should not
    /// exist, keep them; that is for the operator to know (`docs/operating.md`).
    ///
    /// # Errors
    ///
    /// [`SigningRecordError`]: the disk failed. The next open goes on with it.
    pub fn destroy(self, last_height: u64) -> Result<(), SigningRecordError> {
        let validator = self.key.public();
        write_ended(&self.directory, &self.genesis_hash, Some(validator), Some(last_height))?;
        erase_key(&self.directory)?;
        Ok(())
    }

    /// Destroys a key that never signs again, whatever is wrong with its record: it was lost or is damaged, or the key has
    /// no use any more. A key that nobody needs is only there to be found.
    ///
    /// # Errors
    ///
    /// [`SigningRecordError`]: the disk failed, or another process uses the directory. Begun again it does the rest.
    pub fn discard(directory: &Path, genesis_hash: &Hash) -> Result<(), SigningRecordError> {
        let _lock = DirectoryLock::acquire(directory)?;
        // For people; a file that holds no key is erased as well.
        let key = SecretKey::read(&directory.join(KEY_FILE)).ok();
        write_ended(directory, genesis_hash, key.map(|key| key.public()), None)?;
        erase_key(directory)?;
        Ok(())
    }

    /// The validator key.
    #[must_use]
    pub fn key(&self) -> &SecretKey {
        &self.key
    }

    /// Latest height started; 0 before the first.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.height
    }

    /// Adds an entry. It is not durable, and nothing that depends on it may leave, before [`Self::sync`] returns.
    ///
    /// # Errors
    ///
    /// [`SigningRecordError`]: of another height, too long, or the record failed before.
    pub fn append(&mut self, entry: &WalEntry) -> Result<(), SigningRecordError> {
        self.check_usable()?;
        // Before its first height a record holds no votes, but it must be able to say that the key is retired: somebody
        // shows a vote of this key, and the record of it is elsewhere (PROTOCOL II.4).
        let retires = matches!(entry.entry, Some(v1::wal_entry::Entry::KeyRetired(_)));
        if entry.height != self.height || (entry.height == 0 && !retires) {
            return Err(SigningRecordError::WrongHeight {
                current: self.height,
                entry: entry.height,
            });
        }
        let bytes = encode(entry);
        if bytes.len() >= RECORD_BYTES_MAX {
            return Err(SigningRecordError::TooLong { len: bytes.len() });
        }
        self.push(KIND_ENTRY, &bytes);
        Ok(())
    }

    /// Makes every entry so far durable. This is the barrier before anything leaves.
    ///
    /// # Errors
    ///
    /// [`SigningRecordError`]: the disk failed. Nothing more can be recorded or signed until a restart, for after a
    /// failed sync the system may forget that data was ever to be written.
    pub fn sync(&mut self) -> Result<(), SigningRecordError> {
        self.check_usable()?;
        if !self.unsynced {
            return Ok(());
        }
        self.write_pending()?;
        let synced = self.file.sync_data();
        self.keep_failure(synced)?;
        self.unsynced = false;
        self.mark_durable()
    }

    /// Starts `height`: entries from now on are of this height, and earlier ones are no longer replayed.
    ///
    /// The block of the height before must be durable already. The start itself becomes durable with the first
    /// [`Self::sync`], which is early enough: until then nothing of this height has left.
    ///
    /// # Errors
    ///
    /// [`SigningRecordError`]: this key already worked at `height` or above, or the disk failed.
    pub fn reset(&mut self, height: u64) -> Result<(), SigningRecordError> {
        self.check_usable()?;
        if height <= self.height {
            return Err(SigningRecordError::HeightNotIncreasing {
                current: self.height,
                requested: height,
            });
        }
        if self.written + self.pending.len() as u64 > FILE_BYTES_MAX {
            let begun = self.begin_file(height);
            self.failed |= begun.is_err();
            return begun;
        }
        self.height = height;
        self.push(KIND_HEIGHT, &height.to_le_bytes());
        Ok(())
    }

    /// Puts a new file, which begins at `height`, in the place of the present one.
    fn begin_file(&mut self, height: u64) -> Result<(), SigningRecordError> {
        let path = self.directory.join(RECORD_FILE);
        let next = self.directory.join("wal.next");
        let (mut bytes, tag) = new_header(&self.genesis_hash, &self.key.public())?;
        let start = bytes.len() as u64;
        push_record(&mut bytes, &tag, start, KIND_HEIGHT, &height.to_le_bytes());
        let replace = || -> io::Result<File> {
            match fs::remove_file(&next) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = create_file(&next)?;
            file.write_all(&bytes)?;
            // Whole and durable before it has the name: at any byte of a crash there is one whole record.
            file.sync_all()?;
            fs::rename(&next, &path)?;
            sync_directory_of(&path)?;
            Ok(file)
        };
        self.file =
            replace().map_err(|source| SigningRecordError::Io { path: path.clone(), source })?;
        self.tag = tag;
        self.height = height;
        self.written = bytes.len() as u64;
        self.pending.clear();
        self.unsynced = false;
        self.mark_durable()
    }

    /// Notes that all that was written is durable. The note itself need not be: it only sharpens what the next
    /// open can tell from a torn tail.
    fn mark_durable(&mut self) -> Result<(), SigningRecordError> {
        let durable = self.written;
        push_record(&mut self.pending, &self.tag, durable, KIND_DURABLE, &durable.to_le_bytes());
        self.write_pending()
    }

    fn push(&mut self, kind: u8, content: &[u8]) {
        let offset = self.written + self.pending.len() as u64;
        push_record(&mut self.pending, &self.tag, offset, kind, content);
        self.unsynced = true;
    }

    fn write_pending(&mut self) -> Result<(), SigningRecordError> {
        let written = self.file.write_all_at(&self.pending, self.written);
        self.keep_failure(written)?;
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    fn check_usable(&self) -> Result<(), SigningRecordError> {
        if self.failed {
            return Err(SigningRecordError::Failed { path: self.directory.join(RECORD_FILE) });
        }
        Ok(())
    }

    fn keep_failure(&mut self, result: io::Result<()>) -> Result<(), SigningRecordError> {
        result.map_err(|source| {
            self.failed = true;
            SigningRecordError::Io { path: self.directory.join(RECORD_FILE), source }
        })
    }
}

/// The last height of a key that is destroyed, or is to be.
fn ended(directory: &Path) -> Result<Option<u64>, SigningRecordError> {
    let path = directory.join(ENDED_FILE);
    match fs::read(&path) {
        // A note that was not written whole still means the end; of which height is only for people.
        Ok(note) => Ok(Some(
            serde_json::from_slice::<serde_json::Value>(&note)
                .ok()
                .and_then(|note| note.get("last_height")?.as_u64())
                .unwrap_or_default(),
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SigningRecordError::Io { path, source }),
    }
}

/// Overwrites and removes the key of a validator directory, if it holds one. Whether it did.
///
/// # Errors
///
/// [`SigningRecordError::Io`].
pub(crate) fn erase_key(directory: &Path) -> Result<bool, SigningRecordError> {
    let path = directory.join(KEY_FILE);
    let there = path.exists();
    keys::erase(&path).map_err(|source| SigningRecordError::Io { path, source })?;
    Ok(there)
}

/// Notes that the key is destroyed, or is to be: from here on no open gives it out.
fn write_ended(
    directory: &Path,
    genesis_hash: &Hash,
    validator: Option<[u8; 32]>,
    last_height: Option<u64>,
) -> Result<(), SigningRecordError> {
    let path = directory.join(ENDED_FILE);
    let note = serde_json::json!({
        "validator_key": validator.map(hex::encode),
        "genesis_hash": genesis_hash.to_string(),
        "last_height": last_height,
    });
    let write = || -> io::Result<()> {
        let mut file = match create_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            made => made?,
        };
        file.write_all(format!("{note}\n").as_bytes())?;
        file.sync_all()?;
        sync_directory_of(&path)
    };
    write().map_err(|source| SigningRecordError::Io { path: path.clone(), source })
}

/// Creates a log file, readable by its owner alone.
fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Makes a header and the tag that its records' checksums begin with.
fn new_header(
    genesis_hash: &Hash,
    validator: &[u8; 32],
) -> Result<(Vec<u8>, [u8; CHECKSUM_BYTES]), KeyError> {
    let mut salt = [0u8; 16];
    getrandom::fill(&mut salt)
        .map_err(|error| KeyError::NoRandomness { reason: error.to_string() })?;
    Ok(salted_header(genesis_hash, validator, salt))
}

fn salted_header(
    genesis_hash: &Hash,
    validator: &[u8; 32],
    salt: [u8; 16],
) -> (Vec<u8>, [u8; CHECKSUM_BYTES]) {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(genesis_hash.as_bytes());
    header.extend_from_slice(validator);
    header.extend_from_slice(&salt);
    let tag = checksum(&[&header]);
    header.extend_from_slice(&tag);
    (header, tag)
}

/// A header that was read.
struct Header {
    genesis_hash: Hash,
    validator: [u8; 32],
    tag: [u8; CHECKSUM_BYTES],
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (covered, tag) = bytes.get(..HEADER_BYTES)?.split_at(HEADER_BYTES - CHECKSUM_BYTES);
        if checksum(&[covered]) != tag || !covered.starts_with(MAGIC) {
            return None;
        }
        Some(Self {
            genesis_hash: Hash::from_slice(&covered[16..48])?,
            validator: covered[48..80].try_into().ok()?,
            tag: tag.try_into().ok()?,
        })
    }
}

/// What a log holds.
struct Scan {
    height: u64,
    entries: Vec<WalEntry>,
    /// Where the last whole record ends.
    end: usize,
}

/// Reads all records, or says where and how the log is damaged.
fn scan(bytes: &[u8], tag: &[u8; CHECKSUM_BYTES]) -> Result<Scan, (usize, &'static str)> {
    let mut scan = Scan { height: 0, entries: Vec::new(), end: HEADER_BYTES };
    while scan.end < bytes.len() {
        let Some((kind, content)) = record_at(bytes, tag, scan.end) else {
            // Torn, if nothing says that this place was made durable; then nothing from here on ever left.
            if (scan.end + 1..bytes.len())
                .filter_map(|offset| durable_mark_at(bytes, tag, offset))
                .any(|durable| durable > scan.end as u64)
            {
                return Err((scan.end, "a record that was made durable is not whole"));
            }
            break;
        };
        match kind {
            KIND_HEIGHT => {
                let height =
                    read_u64(content).ok_or((scan.end, "a height is not eight bytes long"))?;
                if height <= scan.height {
                    return Err((scan.end, "heights do not increase"));
                }
                scan.height = height;
                scan.entries.clear();
            }
            KIND_DURABLE => {}
            KIND_ENTRY => {
                let entry: WalEntry = decode(content, RECORD_BYTES_MAX)
                    .map_err(|_| (scan.end, "an entry is not a canonical message"))?;
                if entry.height != scan.height {
                    return Err((scan.end, "an entry is of another height than the one started"));
                }
                scan.entries.push(entry);
            }
            _ => return Err((scan.end, "a record is of a kind this version does not know")),
        }
        scan.end += PREFIX_BYTES + 1 + content.len();
    }
    Ok(scan)
}

/// The record that begins at `offset`, if a whole one does.
fn record_at<'a>(
    bytes: &'a [u8],
    tag: &[u8; CHECKSUM_BYTES],
    offset: usize,
) -> Option<(u8, &'a [u8])> {
    let prefix = bytes.get(offset..offset.checked_add(PREFIX_BYTES)?)?;
    let (length, sum) = prefix.split_at(4);
    let payload_len = usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?;
    if payload_len == 0 || payload_len > RECORD_BYTES_MAX {
        return None;
    }
    let payload = bytes[offset + PREFIX_BYTES..].get(..payload_len)?;
    if checksum(&[tag, &(offset as u64).to_le_bytes(), length, payload]) != sum {
        return None;
    }
    let (kind, content) = payload.split_first()?;
    Some((*kind, content))
}

/// The offset in a durability mark that begins at `offset`, if one does.
fn durable_mark_at(bytes: &[u8], tag: &[u8; CHECKSUM_BYTES], offset: usize) -> Option<u64> {
    // The cheap test first: this is asked of every byte after a torn write.
    let start = bytes.get(offset..)?;
    if !start.starts_with(&[9, 0, 0, 0]) || start.get(PREFIX_BYTES) != Some(&KIND_DURABLE) {
        return None;
    }
    let (_, content) = record_at(bytes, tag, offset)?;
    read_u64(content)
}

fn read_u64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

fn push_record(
    out: &mut Vec<u8>,
    tag: &[u8; CHECKSUM_BYTES],
    offset: u64,
    kind: u8,
    content: &[u8],
) {
    // Content is shorter than RECORD_BYTES_MAX, which `append` checks, so the length always fits.
    let length = u32::try_from(content.len() + 1).unwrap_or(u32::MAX).to_le_bytes();
    let sum = checksum(&[tag, &offset.to_le_bytes(), &length, &[kind], content]);
    out.extend_from_slice(&length);
    out.extend_from_slice(&sum);
    out.push(kind);
    out.extend_from_slice(content);
}

/// The first 16 bytes of BLAKE3: against accidents of the disk, so no key is needed.
fn checksum(parts: &[&[u8]]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    let mut sum = [0u8; CHECKSUM_BYTES];
    hasher.finalize_xof().fill(&mut sum);
    sum
}

#[cfg(feature = "testing")]
pub mod image;
#[cfg(test)]
mod tests;
