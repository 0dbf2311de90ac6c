//! Checking signatures once: a bounded memory of verdicts from mempool to block.
//!
//! A verdict is remembered by (public key, signed bytes, signature) and by nothing else (PROTOCOL II.2): remembered by
//! transaction id it would outlive a key rotation and split the network.

use sillok_ledger::{SignatureVerifier, VerifyEach};
use sillok_proto::{Hash, v1};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Verdicts in each generation; two generations are kept.
const GENERATION_MAX: usize = 100_000;

/// Remembers verdicts; shared by all tasks of a node.
#[derive(Debug, Default)]
pub struct RememberingVerifier {
    generations: Mutex<Generations>,
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
        let verdict = VerifyEach.verify(key, message, signature);
        self.generations.lock().unwrap_or_else(PoisonError::into_inner).put(name, verdict);
        verdict
    }
}
