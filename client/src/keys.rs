//! Secret keys: made, kept and used to sign, by the same rules that validators verify by.
//!
//! A secret is wiped from memory when its key is dropped and never printed. Where keys are stored is
//! [`crate::identity`]'s; which signatures verify is `did-method`'s alone, so every signature made here is one that it
//! accepts (low-s for P-256, PROTOCOL §1.3).

use ed25519_dalek::Signer as _;
use ed25519_dalek::SigningKey as Ed25519Secret;
use p256::ecdsa::{Signature as P256Signature, SigningKey as P256Secret};
use sillok_did_method::{KeyError, key_id, multikey, normalize_p256};
use sillok_proto::Hash;
use sillok_proto::v1::{Algorithm, KeySignature, PublicKey};
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use zeroize::{Zeroize as _, Zeroizing};

/// Longest key file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4096;

/// Why a secret key cannot be made or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretKeyError {
    /// The operating system gave no random bytes.
    #[error(
        "the system's random source failed ({reason}); try again, and if it persists do not make keys on this machine"
    )]
    Random {
        /// What the system says.
        reason: String,
    },
    /// Not a name of an algorithm.
    #[error("there is no key algorithm {name:?}; use ed25519, p256 or x25519")]
    UnknownAlgorithm {
        /// The name given.
        name: String,
    },
    /// The bytes are no secret of this algorithm.
    #[error("the secret is not one of algorithm {algorithm}; restore the key file from its backup")]
    NotASecret {
        /// The algorithm named.
        algorithm: KeyAlgorithm,
    },
    /// The public key that follows is refused by the ledger's rules.
    #[error("the public key of the secret is refused: {source}")]
    Public {
        /// What is wrong with it.
        #[from]
        source: KeyError,
    },
    /// An X25519 key was asked to sign.
    #[error("an x25519 key agrees on secrets and signs nothing; sign with an ed25519 or p256 key")]
    KeyAgreementKey,
    /// A key file that cannot be read.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do, without its contents.
        reason: String,
    },
    /// The signature could not be made.
    #[error("the key made no signature; restore the key file from its backup")]
    NotSigned,
}

/// Fills `bytes` from the system's random source.
///
/// # Errors
///
/// [`SecretKeyError::Random`].
pub fn fill(bytes: &mut [u8]) -> Result<(), SecretKeyError> {
    getrandom::fill(bytes).map_err(|error| SecretKeyError::Random { reason: error.to_string() })
}

/// Bytes from the system's random source that are no secret: salts and nonces.
///
/// # Errors
///
/// [`SecretKeyError::Random`].
pub fn random<const N: usize>() -> Result<[u8; N], SecretKeyError> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// The algorithms of the registry, by the names used in files and on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyAlgorithm {
    /// Ed25519.
    Ed25519,
    /// ECDSA over P-256 with SHA-256.
    P256,
    /// X25519, for key agreement.
    X25519,
}

impl KeyAlgorithm {
    /// `ed25519`, `p256` or `x25519`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::P256 => "p256",
            Self::X25519 => "x25519",
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeyAlgorithm {
    type Err = SecretKeyError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "ed25519" => Ok(Self::Ed25519),
            "p256" => Ok(Self::P256),
            "x25519" => Ok(Self::X25519),
            _ => Err(SecretKeyError::UnknownAlgorithm { name: name.to_owned() }),
        }
    }
}

/// The JSON of an operator's key file.
#[derive(serde::Deserialize)]
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

/// A secret key and its public half.
#[derive(Clone)]
pub struct SecretKey {
    secret: Secret,
    public: PublicKey,
    key_id: Hash,
}

/// Each of these is wiped when dropped.
#[derive(Clone)]
enum Secret {
    Ed25519(Box<Ed25519Secret>),
    P256(Box<P256Secret>),
    X25519(Zeroizing<[u8; 32]>),
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey").field("algorithm", &self.algorithm()).finish_non_exhaustive()
    }
}

impl SecretKey {
    /// A new key from the system's random source.
    ///
    /// # Errors
    ///
    /// [`SecretKeyError::Random`]; the others practically never.
    pub fn generate(algorithm: KeyAlgorithm) -> Result<Self, SecretKeyError> {
        let mut last = SecretKeyError::NotASecret { algorithm };
        // Random bytes are no P-256 secret once in 2^32: draw again.
        for _ in 0..8 {
            let mut bytes = Zeroizing::new([0; 32]);
            fill(bytes.as_mut_slice())?;
            match Self::from_bytes(algorithm, &bytes) {
                Ok(key) => return Ok(key),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The key of a secret of 32 bytes: an RFC 8032 seed, a P-256 scalar, or an RFC 7748 scalar.
    ///
    /// # Errors
    ///
    /// [`SecretKeyError::NotASecret`].
    pub fn from_bytes(algorithm: KeyAlgorithm, bytes: &[u8; 32]) -> Result<Self, SecretKeyError> {
        let (secret, wire, point) = match algorithm {
            KeyAlgorithm::Ed25519 => {
                let secret = Ed25519Secret::from_bytes(bytes);
                let point = secret.verifying_key().to_bytes().to_vec();
                (Secret::Ed25519(Box::new(secret)), Algorithm::Ed25519, point)
            }
            KeyAlgorithm::P256 => {
                let secret = P256Secret::from_slice(bytes)
                    .map_err(|_| SecretKeyError::NotASecret { algorithm })?;
                let point = secret.verifying_key().to_sec1_point(true).as_bytes().to_vec();
                (Secret::P256(Box::new(secret)), Algorithm::P256, point)
            }
            KeyAlgorithm::X25519 => {
                let point = x25519_dalek::x25519(*bytes, x25519_dalek::X25519_BASEPOINT_BYTES);
                (Secret::X25519(Zeroizing::new(*bytes)), Algorithm::X25519, point.to_vec())
            }
        };
        let public = PublicKey { algorithm: wire.into(), point };
        sillok_did_method::check_key(&public)?;
        let key_id = key_id(&public);
        Ok(Self { secret, public, key_id })
    }

    /// Reads one key of an operator: `governance.key`, `validator.key` or `node.key`, as `sillok-node keys` made it.
    ///
    /// # Errors
    ///
    /// [`SecretKeyError::File`]: missing, readable by others, or not a key file whose two halves belong together.
    pub fn read_file(path: &Path) -> Result<Self, SecretKeyError> {
        let wrong = |reason: &str| SecretKeyError::File {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let system = |error: std::io::Error| wrong(&format!("{error}; check the path"));
        let file = File::open(path).map_err(system)?;
        // Asked of the open file, so that the answer is about the bytes read.
        let mode = file.metadata().map_err(system)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(wrong(&format!(
                "it has mode {mode:04o}, so others can read the secret; run chmod 600 {}",
                path.display()
            )));
        }
        let mut text = Zeroizing::new(String::new());
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(system)?;
        let no_key = "it is not a key file; give one that `sillok-node keys` made";
        let stored: StoredKey = serde_json::from_str(&text).map_err(|_| wrong(no_key))?;
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(&stored.secret, bytes.as_mut_slice()).map_err(|_| wrong(no_key))?;
        if stored.algorithm != "Ed25519" {
            return Err(wrong("its algorithm is not Ed25519; operators have no other keys"));
        }
        let key = Self::from_bytes(KeyAlgorithm::Ed25519, &bytes)?;
        if stored.public_key != hex::encode(&key.public.point) {
            return Err(wrong("its public key is not that of its secret; restore its backup"));
        }
        Ok(key)
    }

    /// The 32 bytes to store.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        match &self.secret {
            Secret::Ed25519(secret) => Zeroizing::new(secret.to_bytes()),
            Secret::P256(secret) => Zeroizing::new(secret.to_bytes().into()),
            Secret::X25519(secret) => secret.clone(),
        }
    }

    /// Its algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> KeyAlgorithm {
        match self.secret {
            Secret::Ed25519(_) => KeyAlgorithm::Ed25519,
            Secret::P256(_) => KeyAlgorithm::P256,
            Secret::X25519(_) => KeyAlgorithm::X25519,
        }
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The name by which signatures call it: H(algorithm, point).
    #[must_use]
    pub const fn key_id(&self) -> &Hash {
        &self.key_id
    }

    /// The public half as a Multikey.
    ///
    /// # Errors
    ///
    /// Never in practice: the key was checked when it was made.
    pub fn multikey(&self) -> Result<String, SecretKeyError> {
        Ok(multikey(&self.public)?)
    }

    /// Signs `message`; the signature is one that the ledger's rules accept.
    ///
    /// # Errors
    ///
    /// [`SecretKeyError::KeyAgreementKey`] for X25519.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], SecretKeyError> {
        match &self.secret {
            Secret::Ed25519(secret) => Ok(secret.sign(message).to_bytes()),
            Secret::P256(secret) => {
                // RFC 6979: the nonce follows from key and message, so no random source can leak the key.
                let signature: P256Signature =
                    secret.try_sign(message).map_err(|_| SecretKeyError::NotSigned)?;
                Ok(normalize_p256(signature.to_bytes().into()))
            }
            Secret::X25519(_) => Err(SecretKeyError::KeyAgreementKey),
        }
    }

    /// Signs `message` and names itself beside the signature.
    ///
    /// # Errors
    ///
    /// As [`SecretKey::sign`].
    pub fn key_signature(&self, message: &[u8]) -> Result<KeySignature, SecretKeyError> {
        let signature = self.sign(message)?.to_vec();
        Ok(KeySignature { key_id: self.key_id.to_vec(), signature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sillok_did_method::verify;

    #[test]
    fn a_signature_made_here_is_one_that_validators_accept() {
        for algorithm in [KeyAlgorithm::Ed25519, KeyAlgorithm::P256] {
            // High-s comes up in half of all P-256 signatures, so many messages.
            let key = SecretKey::generate(algorithm).unwrap();
            for message in 0_u8..32 {
                let signature = key.sign(&[message]).unwrap();
                verify(key.public(), &[message], &signature).unwrap();
                assert!(verify(key.public(), b"other", &signature).is_err());
            }
        }
    }

    #[test]
    fn a_key_survives_its_32_bytes() {
        for algorithm in [KeyAlgorithm::Ed25519, KeyAlgorithm::P256, KeyAlgorithm::X25519] {
            let key = SecretKey::generate(algorithm).unwrap();
            let again = SecretKey::from_bytes(algorithm, &key.to_bytes()).unwrap();
            assert_eq!(again.public(), key.public());
            assert_eq!(again.algorithm(), algorithm);
        }
    }

    #[test]
    fn an_x25519_key_has_the_public_half_that_rfc_7748_gives() {
        // RFC 7748 §5.2, the first iteration: k = u = 9.
        let mut nine = [0; 32];
        nine[0] = 9;
        let key = SecretKey::from_bytes(KeyAlgorithm::X25519, &nine).unwrap();
        let expected = "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079";
        assert_eq!(hex::encode(&key.public().point), expected);
    }

    #[test]
    fn an_agreement_key_signs_nothing() {
        let key = SecretKey::generate(KeyAlgorithm::X25519).unwrap();
        assert_eq!(key.sign(b"x"), Err(SecretKeyError::KeyAgreementKey));
    }

    #[test]
    fn zero_is_no_p256_secret() {
        let error = SecretKey::from_bytes(KeyAlgorithm::P256, &[0; 32]).unwrap_err();
        assert_eq!(error, SecretKeyError::NotASecret { algorithm: KeyAlgorithm::P256 });
    }

    #[test]
    fn a_secret_is_never_printed() {
        let key = SecretKey::from_bytes(KeyAlgorithm::Ed25519, &[7; 32]).unwrap();
        assert_eq!(format!("{key:?}"), "SecretKey { algorithm: Ed25519, .. }");
    }
}
