//! The one header a client trusts: where it starts, how it grows, where it is kept.
//!
//! It starts from the genesis (the checkpoint at height 0) or from a checkpoint had out of band, and only grows: each
//! verified answer moves it on, and a lower height than it is refused ever after (PROTOCOL §6.2, §6.3). Kept in
//! `<home>/<first 16 hex digits of the genesis hash>/`: `genesis.json`, `trusted.json`, and, if two certified headers of
//! one height were ever seen, `fork-<height>.json` with both. While such a file is there nothing is trusted.
//!
//! Deliberately absent: fetching (`read`), and the rules by which it grows ([`sillok_ledger::light`]).

use crate::verify::Network;
use serde::{Deserialize, Serialize};
use sillok_ledger::light::{Fork, LightError, TrustedHeader};
use sillok_ledger::proof::VerifiedHeader;
use sillok_ledger::{Chain, GenesisError, header_hash, validator_set_hash};
use sillok_proto::{Hash, decode, encode, v1};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Longest file read here, in bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Longest signed header: 128 signatures and a header.
const SIGNED_HEADER_BYTES_MAX: usize = 64 * 1024;

/// Why there is nothing to trust.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The system refused.
    #[error("{}: {source}; check the path, or choose another --home", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not in its form.
    #[error("{} is not usable ({reason}); get it again from someone you trust", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The genesis file.
    #[error("{}: {source}", path.display())]
    Genesis {
        /// The file.
        path: PathBuf,
        /// The rule.
        source: GenesisError,
    },
    /// A genesis from a node that is not the one the checkpoint names.
    #[error(
        "the genesis has hash {found}, not {expected}; ask another node, or check the checkpoint"
    )]
    OtherGenesis {
        /// Hash of the genesis received.
        found: Hash,
        /// Hash that is trusted.
        expected: Hash,
    },
    /// A checkpoint of another network.
    #[error("the checkpoint is of network {found}, not of {expected}; use the one of this network")]
    OtherNetwork {
        /// Genesis hash in the checkpoint.
        found: Hash,
        /// Genesis hash in use.
        expected: Hash,
    },
    /// Two trusted headers of one height differ.
    #[error(
        "height {height} has header {known} here and {other} in what was given; stop, find out which is false, and start with a new --home from a checkpoint you are sure of"
    )]
    Conflict {
        /// The height.
        height: u64,
        /// Hash kept here.
        known: Hash,
        /// Hash given.
        other: Hash,
    },
    /// A fork was seen before.
    #[error(
        "two certified headers of one height were seen on this network; they are kept in {}: show the file to the operators, and start with a new --home from a checkpoint you are sure of",
        path.display()
    )]
    ForkOnRecord {
        /// The evidence.
        path: PathBuf,
    },
    /// Neither a genesis nor a checkpoint was given, and none is kept.
    #[error(
        "nothing is trusted yet; give the network's --genesis file or a --checkpoint, had from someone you trust"
    )]
    Nothing,
    /// Several networks are kept and none was named.
    #[error("{} keeps {count} networks; say which with --genesis or --checkpoint", home.display())]
    Several {
        /// The home directory.
        home: PathBuf,
        /// How many.
        count: usize,
    },
    /// A set that is none.
    #[error(transparent)]
    Light(#[from] LightError),
}

/// A checkpoint as people hand it on: `{genesis_hash, height, header_hash, time_ms, validators}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointFile {
    /// Names the network; hex.
    pub genesis_hash: String,
    /// Height of the header; 0 for genesis.
    pub height: u64,
    /// Hash of the header; hex. All zero for genesis.
    pub header_hash: String,
    /// Its ledger time, in milliseconds since 1970.
    pub time_ms: u64,
    /// The validators that certify the next height, by ascending key.
    pub validators: Vec<ValidatorFile>,
    /// The header with its certificate; hex. Half of the evidence, should another of this height turn up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_header: Option<String>,
    /// The validators that certified this height, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certified_by: Option<Vec<ValidatorFile>>,
    /// The network's name, for who checks without its genesis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// How long a header is trusted, in milliseconds; likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusting_period_ms: Option<u64>,
}

/// A validator in a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidatorFile {
    /// Ed25519; hex.
    pub public_key: String,
    /// Digest of its organization's DID; hex.
    pub organization: String,
    /// The first height it votes at; 0, which is left out, since genesis.
    #[serde(default, skip_serializing_if = "is_genesis")]
    pub since_height: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_genesis(height: &u64) -> bool {
    *height == 0
}

fn set_file(set: &v1::ValidatorSet) -> Vec<ValidatorFile> {
    set.validators
        .iter()
        .map(|validator| ValidatorFile {
            public_key: hex::encode(&validator.public_key),
            organization: hex::encode(&validator.organization),
            since_height: validator.since_height,
        })
        .collect()
}

fn parse_set(file: &[ValidatorFile]) -> Result<v1::ValidatorSet, String> {
    let bytes = |text: &str| hex::decode(text).map_err(|_| "a validator is not hex".to_owned());
    let validators = file
        .iter()
        .map(|validator| {
            Ok(v1::Validator {
                public_key: bytes(&validator.public_key)?,
                organization: bytes(&validator.organization)?,
                since_height: validator.since_height,
            })
        })
        .collect::<Result<Vec<_>, String>>()?;
    let set = v1::ValidatorSet { validators };
    sillok_ledger::certificate::check_validator_set(&set).map_err(|error| error.to_string())?;
    Ok(set)
}

fn parse_hash(text: &str, field: &str) -> Result<Hash, String> {
    hex::decode(text)
        .ok()
        .and_then(|bytes| Hash::from_slice(&bytes))
        .ok_or_else(|| format!("{field} is not 64 hex digits"))
}

impl CheckpointFile {
    /// The checkpoint of a trusted header; `whole` keeps the evidence with it.
    #[must_use]
    pub fn of(trusted: &TrustedHeader, whole: bool) -> Self {
        Self {
            genesis_hash: trusted.genesis_hash.to_string(),
            height: trusted.height,
            header_hash: trusted.header_hash.to_string(),
            time_ms: trusted.time_ms,
            validators: set_file(&trusted.next_validators),
            signed_header: trusted
                .signed_header
                .as_ref()
                .filter(|_| whole)
                .map(|signed| hex::encode(encode(signed))),
            certified_by: trusted.validators.as_ref().filter(|_| whole).map(set_file),
            network: None,
            trusting_period_ms: None,
        }
    }

    /// The same with what of the genesis a verifier needs, so that it needs no other file.
    #[must_use]
    pub fn with_network(mut self, network: &Network) -> Self {
        self.network = Some(network.name.clone());
        self.trusting_period_ms = Some(network.trusting_period_ms);
        self
    }

    /// The text of the file.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings, numbers and lists of them have a JSON form.
        serde_json::to_string_pretty(self).map(|text| text + "\n").unwrap_or_default()
    }

    /// The trusted header it says. Whoever handed it over vouches for it; nothing here can.
    ///
    /// # Errors
    ///
    /// A few words on the first field that is not usable.
    pub fn trusted(&self) -> Result<TrustedHeader, String> {
        let header_hash_ = parse_hash(&self.header_hash, "header_hash")?;
        let signed_header = match &self.signed_header {
            None => None,
            Some(text) => {
                let bytes = hex::decode(text).map_err(|_| "signed_header is not hex".to_owned())?;
                let signed: v1::SignedHeader = decode(&bytes, SIGNED_HEADER_BYTES_MAX)
                    .map_err(|error| format!("signed_header: {error}"))?;
                let own = signed.header.as_ref().map(header_hash);
                if own != Some(header_hash_) {
                    return Err("signed_header is not the header of header_hash".to_owned());
                }
                Some(signed)
            }
        };
        Ok(TrustedHeader {
            genesis_hash: parse_hash(&self.genesis_hash, "genesis_hash")?,
            height: self.height,
            header_hash: header_hash_,
            time_ms: self.time_ms,
            next_validators: parse_set(&self.validators)?,
            signed_header,
            validators: self.certified_by.as_deref().map(parse_set).transpose()?,
        })
    }
}

/// Reads a checkpoint file.
///
/// # Errors
///
/// [`TrustError`].
pub fn read_checkpoint(path: &Path) -> Result<TrustedHeader, TrustError> {
    let text = read(path)?;
    let file: CheckpointFile = serde_json::from_str(&text)
        .map_err(|error| TrustError::File { path: path.to_owned(), reason: error.to_string() })?;
    file.trusted().map_err(|reason| TrustError::File { path: path.to_owned(), reason })
}

/// Reads all that a verifier without a network needs, from one file: a checkpoint as `sillok checkpoint save` writes it,
/// or a genesis.
///
/// # Errors
///
/// [`TrustError`].
pub fn read_trust(path: &Path) -> Result<(Network, TrustedHeader), TrustError> {
    let text = read(path)?;
    let wrong = |reason: String| TrustError::File { path: path.to_owned(), reason };
    let Ok(file) = serde_json::from_str::<CheckpointFile>(&text) else {
        let chain = sillok_ledger::genesis::from_json(&text)
            .map_err(|_| wrong("it is neither a checkpoint nor a genesis".to_owned()))?;
        return Ok((Network::from(&chain), genesis_header(&chain)?));
    };
    let trusted = file.trusted().map_err(wrong)?;
    let (Some(name), Some(trusting_period_ms)) = (file.network, file.trusting_period_ms) else {
        return Err(wrong("the checkpoint does not name its network".to_owned()));
    };
    Ok((Network { name, genesis_hash: trusted.genesis_hash, trusting_period_ms }, trusted))
}

/// Reads `genesis.json`.
///
/// # Errors
///
/// [`TrustError`].
pub fn read_genesis(path: &Path) -> Result<Chain, TrustError> {
    let text = read(path)?;
    sillok_ledger::genesis::from_json(&text)
        .map_err(|source| TrustError::Genesis { path: path.to_owned(), source })
}

/// What a client trusts of one network, in memory and, with a directory, on disk.
#[derive(Debug, Clone)]
pub struct Trust {
    directory: Option<PathBuf>,
    chain: Chain,
    trusted: TrustedHeader,
}

fn genesis_header(chain: &Chain) -> Result<TrustedHeader, TrustError> {
    let validators = chain.validators().clone();
    Ok(TrustedHeader::genesis(*chain.hash(), chain.genesis().time_ms, validators)?)
}

impl Trust {
    /// Starts from the genesis and keeps nothing: for tests and for programs with a store of their own.
    ///
    /// # Errors
    ///
    /// [`TrustError::Light`] never in practice: the genesis was checked.
    pub fn in_memory(chain: Chain) -> Result<Self, TrustError> {
        let trusted = genesis_header(&chain)?;
        Ok(Self { directory: None, chain, trusted })
    }

    /// Starts from what is kept under `home` for this network, or from its genesis, and keeps what is verified.
    ///
    /// # Errors
    ///
    /// [`TrustError`]; [`TrustError::ForkOnRecord`] once a fork was seen.
    pub fn open(home: &Path, chain: Chain) -> Result<Self, TrustError> {
        let directory = network_directory(home, chain.hash());
        make_directory(&directory)?;
        refuse_fork(&directory)?;
        let trusted = match read_kept(&directory, chain.hash())? {
            Some(trusted) => trusted,
            None => genesis_header(&chain)?,
        };
        let genesis_path = directory.join("genesis.json");
        if !genesis_path.exists() {
            let text = sillok_ledger::genesis::to_json(&chain)
                .map_err(|source| TrustError::Genesis { path: genesis_path.clone(), source })?;
            write(&genesis_path, &text)?;
        }
        Ok(Self { directory: Some(directory), chain, trusted })
    }

    /// The one network kept under `home`.
    ///
    /// # Errors
    ///
    /// [`TrustError::Nothing`] or [`TrustError::Several`].
    pub fn open_only(home: &Path) -> Result<Self, TrustError> {
        let entries = match fs::read_dir(home) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(TrustError::Nothing);
            }
            Err(source) => return Err(TrustError::Io { path: home.to_owned(), source }),
        };
        let found: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path().join("genesis.json")))
            .filter(|path| path.is_file())
            .collect();
        match found.as_slice() {
            [] => Err(TrustError::Nothing),
            [only] => Self::open(home, read_genesis(only)?),
            several => Err(TrustError::Several { home: home.to_owned(), count: several.len() }),
        }
    }

    /// The genesis kept under `home` for the network of `genesis_hash`, if there is one.
    ///
    /// # Errors
    ///
    /// [`TrustError`].
    pub fn kept_genesis(home: &Path, genesis_hash: &Hash) -> Result<Option<Chain>, TrustError> {
        let path = network_directory(home, genesis_hash).join("genesis.json");
        if !path.is_file() {
            return Ok(None);
        }
        let chain = read_genesis(&path)?;
        Ok((chain.hash() == genesis_hash).then_some(chain))
    }

    /// Takes a checkpoint had out of band: it counts if it is ahead of what was verified.
    ///
    /// # Errors
    ///
    /// [`TrustError::OtherNetwork`], [`TrustError::Conflict`], [`TrustError::Io`].
    pub fn take_checkpoint(&mut self, checkpoint: TrustedHeader) -> Result<(), TrustError> {
        self.advance(checkpoint)
    }

    /// The genesis and what follows from it.
    #[must_use]
    pub const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The trusted header.
    #[must_use]
    pub const fn trusted(&self) -> &TrustedHeader {
        &self.trusted
    }

    /// The same, kept in memory alone from here on.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self { directory: None, ..self.clone() }
    }

    /// Where it is kept.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Moves on to a header that was verified. A lower one changes nothing.
    ///
    /// # Errors
    ///
    /// [`TrustError`]: another network, another header of this height, or the file could not be written.
    pub fn advance(&mut self, newer: TrustedHeader) -> Result<(), TrustError> {
        if newer.genesis_hash != *self.chain.hash() {
            return Err(TrustError::OtherNetwork {
                found: newer.genesis_hash,
                expected: *self.chain.hash(),
            });
        }
        if newer.height < self.trusted.height {
            return Ok(());
        }
        refuse_conflict(&self.trusted, &newer)?;
        if newer.height == self.trusted.height {
            return Ok(());
        }
        let Some(directory) = &self.directory else {
            self.trusted = newer;
            return Ok(());
        };
        // Another process of the same user may have come further meanwhile.
        let lock_path = directory.join("lock");
        let io = |source| TrustError::Io { path: lock_path.clone(), source };
        let lock = OpenOptions::new().create(true).append(true).open(&lock_path).map_err(io)?;
        lock.lock().map_err(io)?;
        refuse_fork(directory)?;
        let path = directory.join("trusted.json");
        match read_kept(directory, self.chain.hash())? {
            Some(kept) if kept.height >= newer.height => {
                refuse_conflict(&kept, &newer)?;
                self.trusted = kept;
            }
            _ => {
                write(&path, &CheckpointFile::of(&newer, true).to_json())?;
                self.trusted = newer;
            }
        }
        Ok(())
    }

    /// The trusted header after a header that was verified under the set in force and does not change it.
    #[must_use]
    pub fn after(
        &self,
        signed: &v1::SignedHeader,
        verified: &VerifiedHeader,
    ) -> Option<TrustedHeader> {
        let header = verified.header();
        let unchanged = header.next_validator_set_hash == header.validator_set_hash
            && validator_set_hash(&self.trusted.next_validators).0.as_slice()
                == header.next_validator_set_hash;
        (unchanged && verified.height() > self.trusted.height).then(|| TrustedHeader {
            genesis_hash: *self.chain.hash(),
            height: verified.height(),
            header_hash: verified.hash(),
            time_ms: verified.time_ms(),
            next_validators: self.trusted.next_validators.clone(),
            signed_header: Some(signed.clone()),
            validators: Some(self.trusted.next_validators.clone()),
        })
    }

    /// Keeps both headers of a fork. From then on nothing of this network is trusted under this home.
    ///
    /// # Errors
    ///
    /// [`TrustError::Io`].
    pub fn keep_fork(&self, fork: &Fork) -> Result<Option<PathBuf>, TrustError> {
        let Some(directory) = &self.directory else { return Ok(None) };
        let path = directory.join(format!("fork-{}.json", fork.height));
        write(&path, &fork_json(self.chain.hash(), fork))?;
        Ok(Some(path))
    }
}

/// Both headers of a fork, as they are kept.
fn fork_json(genesis_hash: &Hash, fork: &Fork) -> String {
    let signed = |one: &v1::SignedHeader| hex::encode(encode(one));
    let text = serde_json::json!({
        "genesis_hash": genesis_hash.to_string(),
        "height": fork.height,
        "trusted_hash": fork.trusted_hash.to_string(),
        "other_hash": fork.other_hash.to_string(),
        "trusted": fork.trusted.as_ref().map(signed),
        "other": signed(&fork.other),
    });
    format!("{text:#}\n")
}

/// Where the evidence against a trust file is kept: beside it.
fn fork_beside(trust: &Path) -> PathBuf {
    let mut name = trust.as_os_str().to_owned();
    name.push(".fork.json");
    PathBuf::from(name)
}

/// Refuses a trust file beside which the evidence of a fork lies.
///
/// # Errors
///
/// [`TrustError::ForkOnRecord`].
pub fn refuse_fork_beside(trust: &Path) -> Result<(), TrustError> {
    let path = fork_beside(trust);
    if path.exists() { Err(TrustError::ForkOnRecord { path }) } else { Ok(()) }
}

/// Keeps both headers of a fork beside the trust file that shows one of them; from then on
/// [`refuse_fork_beside`] refuses it.
///
/// # Errors
///
/// [`TrustError::Io`].
pub fn keep_fork_beside(
    trust: &Path,
    genesis_hash: &Hash,
    fork: &Fork,
) -> Result<PathBuf, TrustError> {
    let path = fork_beside(trust);
    write(&path, &fork_json(genesis_hash, fork))?;
    Ok(path)
}

fn network_directory(home: &Path, genesis_hash: &Hash) -> PathBuf {
    let mut name = genesis_hash.to_string();
    name.truncate(16);
    home.join(name)
}

fn refuse_conflict(known: &TrustedHeader, other: &TrustedHeader) -> Result<(), TrustError> {
    if known.height == other.height && known.header_hash != other.header_hash {
        return Err(TrustError::Conflict {
            height: known.height,
            known: known.header_hash,
            other: other.header_hash,
        });
    }
    Ok(())
}

fn refuse_fork(directory: &Path) -> Result<(), TrustError> {
    let entries = fs::read_dir(directory)
        .map_err(|source| TrustError::Io { path: directory.to_owned(), source })?;
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with("fork-") {
            return Err(TrustError::ForkOnRecord { path: entry.path() });
        }
    }
    Ok(())
}

fn read_kept(directory: &Path, genesis_hash: &Hash) -> Result<Option<TrustedHeader>, TrustError> {
    let path = directory.join("trusted.json");
    if !path.is_file() {
        return Ok(None);
    }
    let trusted = read_checkpoint(&path)?;
    if trusted.genesis_hash != *genesis_hash {
        return Err(TrustError::OtherNetwork {
            found: trusted.genesis_hash,
            expected: *genesis_hash,
        });
    }
    Ok(Some(trusted))
}

fn make_directory(path: &Path) -> Result<(), TrustError> {
    // What is trusted is nobody else's to change.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| TrustError::Io { path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<String, TrustError> {
    let io = |source| TrustError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let mut text = String::new();
    let len = io::Read::read_to_string(&mut io::Read::take(file, FILE_BYTES_MAX), &mut text)
        .map_err(io)?;
    if len as u64 == FILE_BYTES_MAX {
        return Err(TrustError::File {
            path: path.to_owned(),
            reason: "it is too long".to_owned(),
        });
    }
    Ok(text)
}

/// Writes beside and renames, so that a reader sees the old text or the new one.
fn write(path: &Path, text: &str) -> Result<(), TrustError> {
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let io = |source| TrustError::Io { path: path.to_owned(), source };
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .map_err(io)?;
    file.write_all(text.as_bytes()).map_err(io)?;
    fs::rename(&beside, path).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> CheckpointFile {
        let validator = |byte: u8| ValidatorFile {
            public_key: hex::encode([byte; 32]),
            organization: hex::encode([9; 32]),
            since_height: u64::from(byte) - 1,
        };
        CheckpointFile {
            genesis_hash: Hash([1; 32]).to_string(),
            height: 7,
            header_hash: Hash([2; 32]).to_string(),
            time_ms: 5,
            validators: vec![validator(1), validator(2)],
            signed_header: None,
            certified_by: None,
            network: None,
            trusting_period_ms: None,
        }
    }

    #[test]
    fn a_checkpoint_survives_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("checkpoint.json");
        fs::write(&path, checkpoint().to_json()).unwrap();
        let trusted = read_checkpoint(&path).unwrap();
        assert_eq!((trusted.height, trusted.header_hash), (7, Hash([2; 32])));
        assert_eq!(CheckpointFile::of(&trusted, true), checkpoint());
    }

    #[test]
    fn a_broken_checkpoint_is_refused() {
        let broken = |change: fn(&mut CheckpointFile)| {
            let mut file = checkpoint();
            change(&mut file);
            file.trusted().unwrap_err()
        };
        assert!(broken(|file| file.header_hash.truncate(10)).contains("header_hash"));
        assert!(broken(|file| file.validators.reverse()).contains("sort the set"));
        assert!(broken(|file| file.validators.clear()).contains("1 to 128"));
        assert!(broken(|file| file.validators[0].public_key.push('x')).contains("not hex"));
        // The evidence beside it must be of the very header.
        let empty = |file: &mut CheckpointFile| file.signed_header = Some(String::new());
        assert!(broken(empty).contains("signed_header"));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("checkpoint.json");
        fs::write(&path, checkpoint().to_json().replace("height", "heigth")).unwrap();
        assert!(matches!(read_checkpoint(&path), Err(TrustError::File { .. })));
    }

    #[test]
    fn without_a_genesis_nothing_is_trusted() {
        let home = tempfile::tempdir().unwrap();
        assert!(matches!(Trust::open_only(home.path()), Err(TrustError::Nothing)));
        let nowhere = home.path().join("nowhere");
        assert!(matches!(Trust::open_only(&nowhere), Err(TrustError::Nothing)));
    }
}
