//! Checking signatures once: a bounded memory of verdicts from mempool to block.
//!
//! A verdict is remembered by (public key, signed bytes, signature) and by nothing else (PROTOCOL II.2): remembered by
//! transaction id it would outlive a key rotation and split the network.

use sillok_ledger::{SignatureVerifier, VerifyEach};
use sillok_proto::{Hash, v1};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Verdicts in each generation; two generations are kept.
const GENERATION_MAX: usize = 100_000;

/// Remembers verdicts; shared by all tasks of a node.
pub struct RememberingVerifier {
    inner: Arc<dyn SignatureVerifier + Send + Sync>,
    generations: Mutex<Generations>,
}

impl std::fmt::Debug for RememberingVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RememberingVerifier").finish_non_exhaustive()
    }
}

impl RememberingVerifier {
    /// Remembers what `inner` finds.
    #[must_use]
    pub fn over(inner: Arc<dyn SignatureVerifier + Send + Sync>) -> Self {
        Self { inner, generations: Mutex::default() }
    }
}

impl Default for RememberingVerifier {
    fn default() -> Self {
        Self::over(Arc::new(VerifyEach))
    }
}

#[derive(Debug, Default)]
struct Generations {
    young: BTreeMap<Hash, bool>,
    old: BTreeMap<Hash, bool>,
}

impl Generations {
    fn get(&mut self, name: &Hash) -> Option<bool> {
        if let Some(verdict) = self.young.get(name) {
            return Some(*verdict);
        }
        let verdict = self.old.remove(name)?;
        self.put(*name, verdict);
        Some(verdict)
    }

    fn put(&mut self, name: Hash, verdict: bool) {
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name, verdict);
    }
}

fn name(key: &v1::PublicKey, message: &[u8], signature: &[u8]) -> Hash {
    // Lengths first, so that no two triples run together.
    let mut hasher = blake3::Hasher::new();
    hasher.update(&key.algorithm.to_be_bytes());
    for part in [key.point.as_slice(), signature, message] {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    Hash(hasher.finalize().into())
}

impl SignatureVerifier for RememberingVerifier {
    fn verify(&self, key: &v1::PublicKey, message: &[u8], signature: &[u8]) -> bool {
        let name = name(key, message, signature);
        let remembered = self.generations.lock().unwrap_or_else(PoisonError::into_inner).get(&name);
        if let Some(verdict) = remembered {
            return verdict;
        }
        let verdict = self.inner.verify(key, message, signature);
        self.generations.lock().unwrap_or_else(PoisonError::into_inner).put(name, verdict);
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer, SigningKey};

    #[test]
    fn a_verdict_is_of_key_bytes_and_signature_together() {
        let verifier = RememberingVerifier::default();
        let signer = SigningKey::from_bytes(&[1; 32]);
        let key = |signer: &SigningKey| v1::PublicKey {
            algorithm: v1::Algorithm::Ed25519.into(),
            point: signer.verifying_key().to_bytes().to_vec(),
        };
        let signature = signer.sign(b"one").to_bytes();
        for _ in 0..2 {
            assert!(verifier.verify(&key(&signer), b"one", &signature));
            assert!(!verifier.verify(&key(&signer), b"two", &signature));
            assert!(!verifier.verify(&key(&SigningKey::from_bytes(&[2; 32])), b"one", &signature));
            assert!(!verifier.verify(&key(&signer), b"one", &[0; 64]));
        }
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut generations = Generations::default();
        for nth in 0..u64::try_from(GENERATION_MAX * 3).unwrap() {
            let mut name = [0; 32];
            name[..8].copy_from_slice(&nth.to_be_bytes());
            generations.put(Hash(name), true);
        }
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION_MAX);
    }
}
