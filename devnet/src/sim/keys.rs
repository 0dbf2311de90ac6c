//! Keys and signatures of the world. Keys are real ones, drawn by number; signatures are a keyed hash in most seeds and
//! real Ed25519 in some.

use ed25519_dalek::{Signer as _, SigningKey};
use sillok_consensus::testing::{KeyedHash, KeyedHashSigner};
use sillok_consensus::{Ed25519, Ed25519Signer, SignatureScheme, Signer};
use sillok_did_method::key_id;
use sillok_ledger::{SignatureVerifier, VerifyEach};
use sillok_proto::{Hash, Tag, v1};
use std::cell::RefCell;
use std::sync::Arc;

/// A key pair of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    secret: [u8; 32],
    /// The public half: a valid Ed25519 point.
    pub(super) point: [u8; 32],
}

thread_local! {
    /// Making a key takes longer than anything else a seed does with it.
    static MADE: RefCell<Vec<Key>> = const { RefCell::new(Vec::new()) };
}

impl Key {
    /// The key of a number: the same in every run.
    pub(super) fn numbered(number: usize) -> Self {
        MADE.with_borrow_mut(|made| {
            while made.len() <= number {
                let secret = Tag::Key.hash(&[b"simulated", &made.len().to_be_bytes()]).0;
                let point = SigningKey::from_bytes(&secret).verifying_key().to_bytes();
                made.push(Self { secret, point });
            }
            made[number]
        })
    }

    /// As a message.
    pub(super) fn public(&self) -> v1::PublicKey {
        v1::PublicKey { algorithm: v1::Algorithm::Ed25519.into(), point: self.point.to_vec() }
    }

    /// Its name on the ledger.
    pub(super) fn id(&self) -> Hash {
        key_id(&self.public())
    }
}

/// How a run signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signatures {
    /// A hash keyed with the public key: costs almost nothing.
    KeyedHash,
    /// The real thing.
    Ed25519,
}

impl Signatures {
    pub(super) fn sign(self, key: &Key, message: &[u8]) -> Vec<u8> {
        match self {
            Self::KeyedHash => KeyedHashSigner::new(key.point).sign(message).to_vec(),
            Self::Ed25519 => SigningKey::from_bytes(&key.secret).sign(message).to_bytes().to_vec(),
        }
    }

    pub(super) fn signer(self, key: &Key) -> Arc<dyn Signer> {
        match self {
            Self::KeyedHash => Arc::new(KeyedHashSigner::new(key.point)),
            Self::Ed25519 => Arc::new(Ed25519Signer::new(&key.secret)),
        }
    }

    pub(super) fn scheme(self) -> Arc<dyn SignatureScheme> {
        match self {
            Self::KeyedHash => Arc::new(KeyedHash),
            Self::Ed25519 => Arc::new(Ed25519),
        }
    }

    pub(super) fn verifier(self) -> Arc<dyn SignatureVerifier + Send + Sync> {
        match self {
            Self::KeyedHash => Arc::new(HashVerifier),
            Self::Ed25519 => Arc::new(VerifyEach),
        }
    }
}

/// [`KeyedHash`] for the signatures of transactions.
struct HashVerifier;

impl SignatureVerifier for HashVerifier {
    fn verify(&self, key: &v1::PublicKey, message: &[u8], signature: &[u8]) -> bool {
        match (key.point.as_slice().try_into(), signature.try_into()) {
            (Ok(point), Ok(signature)) => KeyedHash.verify(point, message, signature),
            _ => false,
        }
    }
}
