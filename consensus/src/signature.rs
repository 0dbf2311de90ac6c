//! How validators sign and how their signatures are checked, and a memory of checks already made.
//!
//! Behind traits, so that a simulation may use a keyed hash: signatures are 95 % of the cost of a simulated height.
//! Ed25519 is `verify_strict`, one at a time, never in batches (PROTOCOL §1.3).

use crate::context::{SignatureBytes, ValidatorKey};
use ed25519_dalek::Signer as _;
use std::collections::BTreeSet;
use std::fmt;

/// Verifies validators' signatures.
pub trait SignatureScheme: Send + Sync {
    /// Whether `signature` is `public_key`'s over `message`.
    fn verify(&self, public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool;
}

/// Holds the validator key.
///
/// Only the host calls it, behind the sign guard. It must be deterministic: replaying the signing record signs again.
pub trait Signer: Send + Sync {
    /// The public half.
    fn public_key(&self) -> [u8; 32];

    /// Signs.
    fn sign(&self, message: &[u8]) -> [u8; 64];
}

/// Ed25519 with `verify_strict`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ed25519;

impl SignatureScheme for Ed25519 {
    fn verify(&self, public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        sillok_ledger::verify_ed25519(public_key, message, signature).is_ok()
    }
}

/// An Ed25519 validator key.
pub struct Ed25519Signer {
    key: ed25519_dalek::SigningKey,
}

impl Ed25519Signer {
    /// From the 32-byte secret.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self { key: ed25519_dalek::SigningKey::from_bytes(secret) }
    }
}

impl fmt::Debug for Ed25519Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ed25519Signer").field("public", &ValidatorKey(self.public_key())).finish()
    }
}

impl Signer for Ed25519Signer {
    fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

/// Signatures found good, so that one signature costs one check: the core asks again for our own votes and for every
/// member of a certificate made of votes it has seen.
///
/// Keyed by all of (public key, signed bytes, signature), and only successes are kept (PROTOCOL II.2): a key that
/// left out one of them would let a forger borrow another's verdict.
#[derive(Default)]
pub(crate) struct VerifiedSignatures {
    recent: BTreeSet<Checked>,
    older: BTreeSet<Checked>,
}

type Checked = (ValidatorKey, SignatureBytes, Vec<u8>);

impl VerifiedSignatures {
    /// Two generations of this many: several heights of the largest validator set.
    const GENERATION_MAX: usize = 4_096;

    pub(crate) fn verify(
        &mut self,
        scheme: &dyn SignatureScheme,
        key: ValidatorKey,
        message: Vec<u8>,
        signature: SignatureBytes,
    ) -> bool {
        let checked = (key, signature, message);
        if self.recent.contains(&checked) {
            return true;
        }
        let good = self.older.contains(&checked) || scheme.verify(&key.0, &checked.2, &signature.0);
        if good {
            if self.recent.len() >= Self::GENERATION_MAX {
                self.older = std::mem::take(&mut self.recent);
            }
            self.recent.insert(checked);
        }
        good
    }
}
