//! How validators sign and how their signatures are checked, and a memory of checks already made.
//!
//! Behind traits, so that a simulation may use a keyed hash: signatures are 95 % of the cost of a simulated height.
//! Ed25519 is `verify_strict`, one at a time, never in batches (PROTOCOL §1.3).

use crate::context::{SignatureBytes, ValidatorKey, Validators};
use ed25519_dalek::Signer as _;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
/// left out one of them would let a forger borrow another's verdict. Clones share one memory.
#[derive(Clone, Default)]
pub(crate) struct VerifiedSignatures {
    memory: Arc<Mutex<Memory>>,
}

#[derive(Default)]
struct Memory {
    recent: BTreeSet<Checked>,
    older: BTreeSet<Checked>,
    /// The height being decided.
    height: u64,
    /// Its set.
    validators: Option<Validators>,
    /// Set of the one after.
    next: Option<Validators>,
}

type Checked = (ValidatorKey, SignatureBytes, Vec<u8>);

impl VerifiedSignatures {
    /// Two generations of this many: several heights of the largest validator set.
    const GENERATION_MAX: usize = 4_096;

    // A thread that panicked in here left a set of true facts: the memory is good.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whose signatures are worth checking ahead, and of which heights.
    pub(crate) fn note_height(&self, height: u64, validators: &Validators, next: &Validators) {
        let mut memory = self.memory();
        memory.height = height;
        memory.validators = Some(validators.clone());
        memory.next = Some(next.clone());
    }

    pub(crate) fn validators(&self) -> Option<Validators> {
        self.memory().validators.clone()
    }

    /// The height being decided.
    pub(crate) fn height(&self) -> u64 {
        self.memory().height
    }

    pub(crate) fn is_member(&self, key: &ValidatorKey) -> bool {
        let memory = self.memory();
        [&memory.validators, &memory.next]
            .into_iter()
            .any(|set| set.as_ref().is_some_and(|set| set.contains(key)))
    }

    /// The check itself runs outside of the lock, so that no thread waits for another's arithmetic.
    pub(crate) fn verify(
        &self,
        scheme: &dyn SignatureScheme,
        key: ValidatorKey,
        message: Vec<u8>,
        signature: SignatureBytes,
    ) -> bool {
        let checked = (key, signature, message);
        let known = {
            let memory = self.memory();
            if memory.recent.contains(&checked) {
                return true;
            }
            memory.older.contains(&checked)
        };
        let good = known || scheme.verify(&key.0, &checked.2, &signature.0);
        if good {
            let mut memory = self.memory();
            if memory.recent.len() >= Self::GENERATION_MAX {
                memory.older = std::mem::take(&mut memory.recent);
            }
            memory.recent.insert(checked);
        }
        good
    }
}
