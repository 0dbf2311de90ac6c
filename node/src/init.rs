//! Making a node's directory: keys, genesis, configuration, and for a validator its signing record.
//!
//! Nothing is overwritten. The validator key and its signing record are made together (PROTOCOL II.4).

use crate::config::{self, ConfigError};
use crate::keys::{self, KeyError, SecretKey};
use crate::lock::DirectoryLock;
use crate::members::Roster;
use crate::node::{Layout, NodeError, read_genesis, seat_of};
use crate::signing_record::{SigningRecord, SigningRecordError};
use crate::standing::{Standing, not_approved};
use crate::storage::{Retention, Storage};
use crate::validator_key::ValidatorKeys;
use sillok_ledger::{Chain, Tip};
use sillok_proto::Hash;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Why a directory could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// The directory holds a node already.
    #[error("{path} exists already; choose another directory, nothing was changed", path = path.display())]
    Exists {
        /// What is in the way.
        path: PathBuf,
    },
    /// The disk refused.
    #[error("{path} cannot be written ({source})", path = path.display())]
    Io {
        /// What was written.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The genesis.
    #[error(transparent)]
    Genesis(#[from] NodeError),
    /// A setting.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The signing record.
    #[error(transparent)]
    SigningRecord(#[from] SigningRecordError),
    /// The genesis does not know these keys.
    #[error(
        "{which} {key} is not in the genesis; use the keys that were handed in for it, or say `--joins` if the operators \
         admit this node later"
    )]
    UnknownKey {
        /// Which key.
        which: &'static str,
        /// The public key, hex.
        key: String,
    },
}

/// Public keys of a node to be, to hand in for the genesis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKeys {
    /// Identity of the node.
    pub node: [u8; 32],
    /// Votes.
    pub validator: [u8; 32],
    /// Kept offline.
    pub governance: [u8; 32],
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> InitError + '_ {
    move |source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => InitError::Exists { path: path.to_owned() },
        _ => InitError::Io { path: path.to_owned(), source },
    }
}

fn make_directory(path: &Path) -> Result<(), InitError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io(path))
}

fn write_new(path: &Path, text: &str) -> Result<(), InitError> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(io(path))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io(path))
}

/// Makes the three keys of an operator in a new directory: `node.key`, `validator.key`, `governance.key`.
///
/// # Errors
///
/// [`InitError`].
pub fn generate_keys(directory: &Path) -> Result<PublicKeys, InitError> {
    make_directory(directory)?;
    let make = |name: &str| -> Result<[u8; 32], InitError> {
        let key = SecretKey::generate()?;
        key.write_new(&directory.join(name))?;
        Ok(key.public())
    };
    Ok(PublicKeys {
        node: make("node.key")?,
        validator: make("validator.key")?,
        governance: make("governance.key")?,
    })
}

/// Makes a node's directory from the keys of [`generate_keys`]. With `validator`, the validator key moves into it, so
/// that it is never in two places. With `joins`, keys that the genesis does not know are no mistake: the operators admit
/// them later.
///
/// # Errors
///
/// [`InitError`].
pub fn make_node(
    directory: &Path,
    genesis: &Path,
    keys: &Path,
    validator: bool,
    joins: bool,
    settings: &[(&str, &str)],
) -> Result<Hash, InitError> {
    let layout = Layout::new(directory);
    if layout.config().exists() || layout.genesis().exists() {
        return Err(InitError::Exists { path: directory.to_owned() });
    }
    let chain = read_genesis(genesis)?;
    let config = config::toml_with(settings)?;
    let node_key = SecretKey::read(&keys.join("node.key"))?;
    let operators = &chain.genesis().operators;
    let mut nodes = operators
        .iter()
        .map(|operator| &operator.node_key)
        .chain(chain.genesis().observers.iter().map(|observer| &observer.node_key));
    if !joins && !nodes.any(|known| *known == node_key.public()) {
        return Err(InitError::UnknownKey {
            which: "node key",
            key: hex::encode(node_key.public()),
        });
    }
    let validator_path = keys.join("validator.key");
    let validator_key = if validator {
        let key = SecretKey::read(&validator_path)?;
        let known = operators.iter().any(|operator| operator.validator_key == key.public());
        if !joins && !known {
            return Err(InitError::UnknownKey {
                which: "validator key",
                key: hex::encode(key.public()),
            });
        }
        Some(key)
    } else {
        None
    };
    let key_directory = layout.root.join("keys");
    make_directory(&key_directory)?;
    node_key.write_new(&layout.node_key())?;
    let text = fs::read_to_string(genesis).map_err(io(genesis))?;
    write_new(&layout.genesis(), &text)?;
    if let Some(key) = validator_key {
        SigningRecord::create(&layout.validator(), *chain.hash(), &key.seed())?;
        // The one in the directory is to be the only one.
        keys::erase(&validator_path).map_err(io(&validator_path))?;
    }
    // Last: a directory without it is unfinished, and `start` says so.
    write_new(&layout.config(), &config)?;
    Ok(*chain.hash())
}

/// Makes a new validator key with an empty signing record in a node's directory: the present one's place if there is
/// none, else beside it, where it waits until the present one has voted its last height.
///
/// # Errors
///
/// [`InitError`].
pub fn make_validator_key(directory: &Path) -> Result<(PathBuf, [u8; 32]), InitError> {
    let layout = Layout::new(directory);
    let chain = read_genesis(&layout.genesis())?;
    Ok(ValidatorKeys::new(&layout.validator(), *chain.hash()).make()?)
}

/// What is so in a node's directory and need not be a mistake, for its operator to read.
///
/// Looks at the record if no node runs here, else at the genesis alone.
///
/// # Errors
///
/// [`NodeError`]: the directory is not that of a node.
pub fn remarks(layout: &Layout) -> Result<Vec<String>, NodeError> {
    let chain = read_genesis(&layout.genesis())?;
    let node_key = SecretKey::read(&layout.node_key())?;
    let keys = ValidatorKeys::new(&layout.validator(), *chain.hash());
    let record = record_of(layout, &chain);
    let (seat, source) = match &record {
        Some((_, _, roster)) => (seat_of(roster, &node_key), "the record here"),
        None => (seat_in_genesis(&chain, &node_key), "the genesis"),
    };
    let mut remarks = Vec::new();
    if let Some(seat) = seat
        && !layout.validator().exists()
        && keys.next_key().is_none()
    {
        remarks.push(format!(
            "{source} gives this node's operator a seat with validator key {}, and there is no {}: the node would be an \
             observer and its vote missing. If the key is lost, make another with `sillok-node keys validator --dir {}` \
             and re-key",
            hex::encode(seat),
            layout.validator().display(),
            layout.root.display()
        ));
    }
    for key in keys.current_key().into_iter().chain(keys.next_key()) {
        remarks.extend(remark_on(&key, &chain, record.as_ref()));
    }
    Ok(remarks)
}

/// What to know of a validator key that is here, unless it simply votes.
fn remark_on(key: &[u8; 32], chain: &Chain, record: Option<&OnRecord>) -> Option<String> {
    let shown = hex::encode(key);
    let Some((storage, tip, _)) = record else {
        let mut seats = chain.validators().validators.iter();
        let seated = seats.any(|seat| seat.public_key == key);
        return (!seated).then(|| {
            format!("the genesis gives the validator key {shown} no seat: the node waits until it has joined")
        });
    };
    Some(match Standing::of(key, storage, tip).ok()? {
        Standing::Seated => return None,
        Standing::MayJoin { .. } => {
            format!("the validator key {shown} may join: `sillok member join` seats it")
        }
        Standing::NotApproved => not_approved(key),
        Standing::Ended => {
            format!("the seat of the validator key {shown} has ended: the next start destroys it")
        }
    })
}

type OnRecord = (Storage, Tip, Roster);

/// `None`: the record cannot be read now, or there is none.
fn record_of(layout: &Layout, chain: &Chain) -> Option<OnRecord> {
    if !layout.data.exists() {
        return None;
    }
    let _lock = DirectoryLock::acquire(&layout.root).ok()?;
    let storage = Storage::open(&layout.data, chain, Retention::Archive).ok()?;
    let tip = storage.load_tip(chain).ok()?;
    let roster = Roster::read(&storage, &tip).ok()?;
    Some((storage, tip, roster))
}

fn seat_in_genesis(chain: &Chain, node_key: &SecretKey) -> Option<Vec<u8>> {
    let operators = chain.genesis().operators.iter();
    let ours = operators.filter(|operator| operator.node_key == node_key.public());
    ours.map(|operator| operator.validator_key.clone()).next()
}
