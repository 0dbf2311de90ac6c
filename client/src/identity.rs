//! An identity: a DID with its secret keys, in a file only its owner can read.
//!
//! The file is JSON, made with mode 0600 and never over another file; a file that others can read is refused, because
//! its keys must be taken for known. It holds what no node can give back: the secrets, and what the DID was derived
//! from. Which of the keys are in force is *not* in it: that is read from the verified document, so a crash between a
//! write and the saving of its result loses nothing.

use crate::keys::{KeyAlgorithm, SecretKey, SecretKeyError};
use serde::{Deserialize, Serialize};
use sillok_did_method::{
    ASSERTION_METHOD, AUTHENTICATION, CAPABILITY_DELEGATION, CAPABILITY_INVOCATION,
    DEVICE_RELATIONSHIPS, Did, DidError, DocumentError, KEY_AGREEMENT, KeyError, Recovery, SUBMIT,
    check_document, from_multikey, inception, inception_digest,
};
use sillok_proto::v1;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Longest identity file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Why an identity cannot be made, read or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file exists.
    #[error("{} exists and may hold the only copy of a key; choose another name", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner may read or write the file.
    #[error(
        "{} has mode {mode:04o}, so others can read its keys; replace them if others use this machine, then run chmod 600 {}",
        path.display(), path.display()
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a plain file, or far too long.
    #[error("{} is not an identity file; give the file that `did create` or `key new` wrote", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("{}: {source}; check the path and its permissions", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Not JSON of this form.
    #[error(
        "the identity is not in the form this version writes ({reason}); restore it from its backup"
    )]
    Json {
        /// What the parser says; never the text itself, which holds secrets.
        reason: String,
    },
    /// A field holds something else.
    #[error("field `{field}` of the identity is not usable; restore it from its backup")]
    Field {
        /// Name of the field.
        field: &'static str,
    },
    /// A public key that is not the public half of the secret beside it.
    #[error(
        "the public key of key {index} does not belong to its secret; restore the identity from its backup"
    )]
    KeyMismatch {
        /// Place among the keys, from 0.
        index: usize,
    },
    /// A DID.
    #[error("the did of the identity is refused: {source}")]
    Did {
        /// What is wrong with it.
        #[from]
        source: DidError,
    },
    /// A document that no DID may have.
    #[error("the keys make no document: {source}")]
    Document {
        /// The rule.
        #[from]
        source: DocumentError,
    },
    /// A key.
    #[error(transparent)]
    Key(#[from] SecretKeyError),
    /// A public key in the file.
    #[error("a public key of the identity is refused: {source}")]
    PublicKey {
        /// What is wrong with it.
        #[from]
        source: KeyError,
    },
}

/// A secret key and what its public half may be used for.
#[derive(Debug, Clone)]
pub struct IdentityKey {
    /// The key.
    pub secret: SecretKey,
    /// A sum of the constants of `did-method`.
    pub relationships: u32,
    /// Ledger time from which on it may not be used, in milliseconds; 0 = no end.
    pub expires_ms: u64,
}

impl IdentityKey {
    /// A new key without an end.
    ///
    /// # Errors
    ///
    /// [`SecretKeyError`].
    pub fn generate(algorithm: KeyAlgorithm, relationships: u32) -> Result<Self, SecretKeyError> {
        Ok(Self { secret: SecretKey::generate(algorithm)?, relationships, expires_ms: 0 })
    }

    /// The key as it stands in a document.
    #[must_use]
    pub fn bound(&self) -> v1::BoundKey {
        v1::BoundKey {
            key: Some(self.secret.public().clone()),
            relationships: self.relationships,
            expires_ms: self.expires_ms,
        }
    }
}

/// A DID and its secret keys.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The DID.
    pub did: Did,
    /// Organization or holder.
    pub kind: v1::Kind,
    /// The keys, those of the first document and those made since. Which of them are in force says the document.
    pub keys: Vec<IdentityKey>,
    /// The registering authority; `None` for an organization that the genesis names.
    pub authority: Option<Did>,
    /// The countersigner of the recovery rule at the time the DID was made; `None` = nobody recovers it.
    pub countersigner: Option<Did>,
}

/// A document of `keys`, in the order of the ledger.
#[must_use]
pub fn document_of(mut keys: Vec<v1::BoundKey>, mut services: Vec<v1::Service>) -> v1::DidDocument {
    let place = |bound: &v1::BoundKey| {
        bound.key.as_ref().map(|key| (key.algorithm, key.point.clone())).unwrap_or_default()
    };
    keys.sort_by_cached_key(place);
    services.sort_by_key(|service| service.kind);
    v1::DidDocument { keys, services }
}

impl Identity {
    /// A DID of `keys`, `authority` and recovery rule, not registered yet.
    ///
    /// # Errors
    ///
    /// [`IdentityError`]: the keys make no document of this kind, or the network's name is none.
    pub fn new(
        network: &str,
        kind: v1::Kind,
        keys: Vec<IdentityKey>,
        authority: Option<Did>,
        countersigner: Option<Did>,
    ) -> Result<Self, IdentityError> {
        let document = document_of(keys.iter().map(IdentityKey::bound).collect(), Vec::new());
        check_document(kind, &document)?;
        let recovery = recovery(countersigner.as_ref());
        let digest = authority.as_ref().map(Did::digest);
        let inception = inception(kind, &document, digest.as_ref(), &recovery);
        let did = Did::new(network, inception_digest(&inception))?;
        Ok(Self { did, kind, keys, authority, countersigner })
    }

    /// A new holder: a device key, and with `agreement` a key-agreement key.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Key`] if no key can be made.
    pub fn holder(
        network: &str,
        algorithm: KeyAlgorithm,
        agreement: bool,
        authority: Did,
        countersigner: Option<Did>,
    ) -> Result<Self, IdentityError> {
        let mut keys = vec![IdentityKey::generate(algorithm, DEVICE_RELATIONSHIPS)?];
        if agreement {
            keys.push(IdentityKey::generate(KeyAlgorithm::X25519, KEY_AGREEMENT)?);
        }
        Self::new(network, v1::Kind::Holder, keys, Some(authority), countersigner)
    }

    /// A new organization with one key for each role: changing the DID, submitting, signing credentials; and with
    /// `agreement` a key-agreement key. One stolen key then does one kind of harm.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Key`] if no key can be made.
    pub fn organization(
        network: &str,
        algorithm: KeyAlgorithm,
        agreement: bool,
        authority: Option<Did>,
        countersigner: Option<Did>,
    ) -> Result<Self, IdentityError> {
        let mut keys = vec![
            IdentityKey::generate(algorithm, CAPABILITY_INVOCATION | CAPABILITY_DELEGATION)?,
            IdentityKey::generate(algorithm, SUBMIT)?,
            IdentityKey::generate(algorithm, ASSERTION_METHOD | AUTHENTICATION)?,
        ];
        if agreement {
            keys.push(IdentityKey::generate(KeyAlgorithm::X25519, KEY_AGREEMENT)?);
        }
        Self::new(network, v1::Kind::Organization, keys, authority, countersigner)
    }

    /// The document of all its keys: the first one, before it is registered.
    #[must_use]
    pub fn document(&self) -> v1::DidDocument {
        document_of(self.keys.iter().map(IdentityKey::bound).collect(), Vec::new())
    }

    /// The recovery rule it was made with.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        recovery(self.countersigner.as_ref())
    }

    /// The secret of a public key, if it is here.
    #[must_use]
    pub fn secret_of(&self, key: &v1::PublicKey) -> Option<&SecretKey> {
        self.keys.iter().map(|one| &one.secret).find(|secret| secret.public() == key)
    }

    /// A secret here whose public half stands in `document` with `relationship`, and is not past its end at `time_ms`.
    #[must_use]
    pub fn secret_for(
        &self,
        document: &v1::DidDocument,
        relationship: u32,
        time_ms: u64,
    ) -> Option<&SecretKey> {
        document
            .keys
            .iter()
            .filter(|bound| bound.relationships & relationship != 0)
            .filter(|bound| bound.expires_ms == 0 || time_ms < bound.expires_ms)
            .find_map(|bound| self.secret_of(bound.key.as_ref()?))
    }

    /// The newest secret with `relationship`, without asking the document: for those who made the keys just now.
    #[must_use]
    pub fn newest_secret(&self, relationship: u32) -> Option<&SecretKey> {
        self.keys
            .iter()
            .rev()
            .find(|key| key.relationships & relationship != 0)
            .map(|key| &key.secret)
    }

    /// Writes a new file with mode 0600; refuses to write over one.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Exists`], [`IdentityError::Io`].
    pub fn create(&self, path: &Path) -> Result<(), IdentityError> {
        let text = self.to_json()?;
        write_new(path, &text)?;
        sync_directory(path)
    }

    /// Writes over its file: the new text whole beside it, then in its place, so that a crash loses neither.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Io`].
    pub fn replace(&self, path: &Path) -> Result<(), IdentityError> {
        let text = self.to_json()?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let beside = path.with_file_name(name);
        // A rest of an earlier crash: its text was never in force.
        match fs::remove_file(&beside) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(IdentityError::Io { path: beside, source });
            }
            _ => {}
        }
        write_new(&beside, &text)?;
        fs::rename(&beside, path).map_err(io_error(path))?;
        sync_directory(path)
    }

    /// Reads a file that nobody but its owner can read.
    ///
    /// # Errors
    ///
    /// [`IdentityError`].
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let file = File::open(path).map_err(io_error(path))?;
        // Asked of the open file, so that the answer is about the bytes read.
        let metadata = file.metadata().map_err(io_error(path))?;
        if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
            return Err(IdentityError::NotAFile { path: path.to_owned() });
        }
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(IdentityError::Mode { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::new());
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(io_error(path))?;
        Self::from_json(&text)
    }

    /// The JSON of the file. It holds the secrets.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Json`] never in practice.
    pub fn to_json(&self) -> Result<Zeroizing<String>, IdentityError> {
        let mut keys = Vec::with_capacity(self.keys.len());
        for key in &self.keys {
            keys.push(KeyFile {
                algorithm: key.secret.algorithm().name().to_owned(),
                relationships: relationship_names(key.relationships),
                expires: (key.expires_ms != 0)
                    .then(|| sillok_did_method::format_datetime(key.expires_ms)),
                public: key.secret.multikey()?,
                secret: Zeroizing::new(hex::encode(key.secret.to_bytes().as_slice())),
            });
        }
        let file = IdentityFile {
            did: self.did.to_string(),
            network: self.did.network().to_owned(),
            kind: kind_name(self.kind).to_owned(),
            authority: self.authority.as_ref().map(Did::to_string),
            recovery: self
                .countersigner
                .as_ref()
                .map(|did| RecoveryFile { countersigner: did.to_string() }),
            keys,
        };
        let mut text = serde_json::to_string_pretty(&file)
            .map(Zeroizing::new)
            .map_err(|error| IdentityError::Json { reason: json_reason(&error) })?;
        text.push('\n');
        Ok(text)
    }

    /// Parses the JSON of a file and checks that every public key belongs to its secret.
    ///
    /// # Errors
    ///
    /// [`IdentityError`].
    pub fn from_json(text: &str) -> Result<Self, IdentityError> {
        let file: IdentityFile = serde_json::from_str(text)
            .map_err(|error| IdentityError::Json { reason: json_reason(&error) })?;
        let did = Did::parse(&file.did)?;
        if did.network() != file.network {
            return Err(IdentityError::Field { field: "network" });
        }
        let kind = parse_kind(&file.kind).ok_or(IdentityError::Field { field: "kind" })?;
        let mut keys = Vec::with_capacity(file.keys.len());
        for (index, key) in file.keys.iter().enumerate() {
            let mut bytes = Zeroizing::new([0; 32]);
            hex::decode_to_slice(key.secret.as_bytes(), bytes.as_mut_slice())
                .map_err(|_| IdentityError::Field { field: "secret" })?;
            let secret = SecretKey::from_bytes(key.algorithm.parse()?, &bytes)?;
            if *secret.public() != from_multikey(&key.public)? {
                return Err(IdentityError::KeyMismatch { index });
            }
            let relationships = parse_relationships(&key.relationships)
                .ok_or(IdentityError::Field { field: "relationships" })?;
            let expires_ms = match &key.expires {
                None => 0,
                Some(text) => sillok_did_method::parse_datetime(text)
                    .map_err(|_| IdentityError::Field { field: "expires" })?,
            };
            keys.push(IdentityKey { secret, relationships, expires_ms });
        }
        let authority = file.authority.as_deref().map(Did::parse).transpose()?;
        let countersigner =
            file.recovery.map(|rule| Did::parse(&rule.countersigner)).transpose()?;
        Ok(Self { did, kind, keys, authority, countersigner })
    }
}

fn recovery(countersigner: Option<&Did>) -> Recovery {
    countersigner.map_or(Recovery::None, |did| Recovery::Assisted { countersigner: did.digest() })
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> IdentityError + '_ {
    move |source| IdentityError::Io { path: path.to_owned(), source }
}

fn write_new(path: &Path, text: &str) -> Result<(), IdentityError> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(IdentityError::Exists { path: path.to_owned() });
        }
        Err(source) => return Err(IdentityError::Io { path: path.to_owned(), source }),
    };
    file.write_all(text.as_bytes()).map_err(io_error(path))?;
    file.sync_all().map_err(io_error(path))
}

/// A new name is on disk only when its directory is.
fn sync_directory(path: &Path) -> Result<(), IdentityError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(io_error(directory))
}

/// Where the parser stopped, without the text, which may be a secret.
fn json_reason(error: &serde_json::Error) -> String {
    format!("{:?} error at line {} column {}", error.classify(), error.line(), error.column())
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityFile {
    did: String,
    network: String,
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    authority: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery: Option<RecoveryFile>,
    keys: Vec<KeyFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecoveryFile {
    countersigner: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    algorithm: String,
    relationships: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    public: String,
    secret: Zeroizing<String>,
}

const RELATIONSHIPS: [(u32, &str); 6] = [
    (AUTHENTICATION, "authentication"),
    (ASSERTION_METHOD, "assertionMethod"),
    (KEY_AGREEMENT, "keyAgreement"),
    (CAPABILITY_INVOCATION, "capabilityInvocation"),
    (CAPABILITY_DELEGATION, "capabilityDelegation"),
    (SUBMIT, "submit"),
];

/// The names of a sum of relationships.
#[must_use]
pub fn relationship_names(relationships: u32) -> Vec<String> {
    RELATIONSHIPS
        .iter()
        .filter(|(bit, _)| relationships & bit != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect()
}

/// The sum of named relationships; `None` if a name is unknown or there is none.
#[must_use]
pub fn parse_relationships<S: AsRef<str>>(names: &[S]) -> Option<u32> {
    let mut sum = 0;
    for name in names {
        let (bit, _) = RELATIONSHIPS.iter().find(|(_, known)| *known == name.as_ref())?;
        sum |= bit;
    }
    (sum != 0).then_some(sum)
}

/// `organization` or `holder`.
#[must_use]
pub const fn kind_name(kind: v1::Kind) -> &'static str {
    match kind {
        v1::Kind::Organization => "organization",
        v1::Kind::Holder => "holder",
        v1::Kind::Unspecified => "unspecified",
    }
}

fn parse_kind(name: &str) -> Option<v1::Kind> {
    match name {
        "organization" => Some(v1::Kind::Organization),
        "holder" => Some(v1::Kind::Holder),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn organization() -> Identity {
        Identity::organization("test", KeyAlgorithm::Ed25519, true, None, None).unwrap()
    }

    fn holder() -> Identity {
        let authority = organization().did;
        let countersigner = organization().did;
        Identity::holder("test", KeyAlgorithm::P256, true, authority, Some(countersigner)).unwrap()
    }

    #[test]
    fn a_file_gives_back_what_was_written() {
        let directory = tempfile::tempdir().unwrap();
        for (name, identity) in [("org.json", organization()), ("holder.json", holder())] {
            let path = directory.path().join(name);
            identity.create(&path).unwrap();
            let again = Identity::load(&path).unwrap();
            assert_eq!(again.did, identity.did);
            assert_eq!(again.document(), identity.document());
            assert_eq!(again.authority, identity.authority);
            assert_eq!(again.countersigner, identity.countersigner);
            assert_eq!(again.to_json().unwrap(), identity.to_json().unwrap());
        }
    }

    #[test]
    fn an_organization_has_the_did_that_genesis_gives_it() {
        let identity = organization();
        let digest = sillok_ledger::organization_digest(&identity.document());
        assert_eq!(identity.did.digest(), digest);
    }

    #[test]
    fn a_file_is_made_with_mode_0600_and_never_over_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("id.json");
        organization().create(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600);
        assert!(matches!(organization().create(&path), Err(IdentityError::Exists { .. })));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("id.json");
        organization().create(&path).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = Identity::load(&path).unwrap_err();
            assert!(matches!(error, IdentityError::Mode { mode: found, .. } if found == mode));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        Identity::load(&path).unwrap();
    }

    #[test]
    fn replacing_keeps_the_mode_and_survives_a_rest_of_a_crash() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("id.json");
        let mut identity = organization();
        identity.create(&path).unwrap();
        fs::write(directory.path().join("id.json.new"), "half").unwrap();
        identity.keys.push(IdentityKey::generate(KeyAlgorithm::Ed25519, SUBMIT).unwrap());
        identity.replace(&path).unwrap();
        assert_eq!(Identity::load(&path).unwrap().keys.len(), identity.keys.len());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_swapped_public_key_is_refused() {
        let identity = organization();
        let other = SecretKey::generate(KeyAlgorithm::Ed25519).unwrap();
        let own = identity.keys[0].secret.multikey().unwrap();
        let text = identity.to_json().unwrap().replace(&own, &other.multikey().unwrap());
        let error = Identity::from_json(&text).unwrap_err();
        assert!(matches!(error, IdentityError::KeyMismatch { index: 0 }));
    }

    #[test]
    fn errors_never_show_the_text_of_the_file() {
        let secret = "00112233445566778899aabbccddeeff";
        let error =
            Identity::from_json(&format!("{{\"did\": \"{secret}\", \"x\": 1}}")).unwrap_err();
        assert!(!error.to_string().contains(secret), "{error}");
        assert!(!format!("{error:?}").contains(secret));
    }

    #[test]
    fn only_a_key_of_the_document_is_chosen() {
        let mut identity = organization();
        let old = identity.newest_secret(SUBMIT).unwrap().clone();
        let document = identity.document();
        identity.keys.push(IdentityKey::generate(KeyAlgorithm::Ed25519, SUBMIT).unwrap());
        let chosen = identity.secret_for(&document, SUBMIT, 0).unwrap();
        assert_eq!(chosen.public(), old.public());
        assert_ne!(identity.newest_secret(SUBMIT).unwrap().public(), old.public());
    }
}
