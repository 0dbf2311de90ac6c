//! Signatures that cost almost nothing, so that a seed can run thousands of heights.
//!
//! Whoever knows the public key can sign, so a traitor of the simulation must not: it forges by altering bytes.

use crate::signature::{SignatureScheme, Signer};
use sillok_proto::Tag;

/// A hash keyed with the public key, in place of Ed25519.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeyedHash;

fn sign(public_key: &[u8; 32], message: &[u8]) -> [u8; 64] {
    let half = Tag::Key.hash(&[public_key, message]).0;
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&half);
    signature[32..].copy_from_slice(&half);
    signature
}

impl SignatureScheme for KeyedHash {
    fn verify(&self, public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        sign(public_key, message) == *signature
    }
}

/// A key of [`KeyedHash`].
#[derive(Debug, Clone)]
pub struct KeyedHashSigner {
    public_key: [u8; 32],
}

impl KeyedHashSigner {
    /// The key whose public half is this.
    #[must_use]
    pub const fn new(public_key: [u8; 32]) -> Self {
        Self { public_key }
    }
}

impl Signer for KeyedHashSigner {
    fn public_key(&self) -> [u8; 32] {
        self.public_key
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        sign(&self.public_key, message)
    }
}
