//! Resolving a DID among others: a node is asked for a bucket of DIDs and does not learn which one is meant
//! (PROTOCOL §6.4, decision 30).
//!
//! How wide a bucket must be to have enough DIDs in it, no node is asked to say. A bucket around a key drawn at random,
//! which tells nobody anything, is widened until it has four times as many as wanted, with the proof that they are there;
//! buckets of that width are asked for from then on. Keys are hashes, so a bucket elsewhere has about as many.
//!
//! Buckets of one DID lie in each other. Two of them together say no more than the narrower one, and within one client no
//! bucket is narrower than the first.

use crate::keys::random;
use crate::read::{Client, ReadError};
use crate::verify::bucket::Bucket;
use crate::verify::{Answer, Resolution, VerifyError};
use sillok_did_method::Did;
use sillok_ledger::TreeKey;
use sillok_ledger::snapshot::{PREFIX_BITS_MAX, Prefix};
use sillok_ledger::state_key::KIND_BITS;
use sillok_proto::{Hash, v1};

/// How many DIDs to hide among, unless the caller says otherwise.
pub const K: u32 = 64;
/// Fewest that are of use.
pub const K_MIN: u32 = 8;
/// Most that a node is asked for.
pub const K_MAX: u32 = 512;
/// How many times more a bucket at a random place must have: then one elsewhere has too few about never.
const MARGIN: u32 = 4;

/// How many bits the buckets of a client have, and for how many DIDs that was found to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Width {
    bits: u32,
    k: u32,
}

/// What a DID resolved to, and among how many.
#[derive(Debug, Clone)]
pub struct ResolvedAmong {
    /// The answer: the current version, as [`Client::resolve`] gives it.
    pub answer: Answer<Resolution>,
    /// DIDs in the bucket that was asked for. Fewer than wanted only by rare chance, or where there are no more.
    pub dids: usize,
    /// Are these all DIDs of the network?
    pub all: bool,
    /// Address of the node.
    pub node: String,
}

impl Client {
    /// Resolves the current version of `did` among `k` DIDs or more, 8 to 512.
    ///
    /// Deliberately not here: earlier versions. A question for one names the DID.
    ///
    /// # Errors
    ///
    /// [`ReadError`]; [`ReadError::AmongHowMany`].
    pub async fn resolve_among(&self, did: &Did, k: u32) -> Result<ResolvedAmong, ReadError> {
        self.check_network(did)?;
        if !(K_MIN..=K_MAX).contains(&k) {
            return Err(ReadError::AmongHowMany { k });
        }
        let width = self.width(k).await?;
        let asked = Prefix::of(&TreeKey::did_head(&did.digest()), width.bits);
        let (answer, node) = self.bucket(asked, k).await?;
        let bucket = answer.even_if_stale();
        let (dids, all) = (bucket.within(&asked), asked.bits() == KIND_BITS);
        let found = bucket.resolve(did);
        let found = found
            .map_err(|source| ReadError::Verify { node: node.clone(), source: Box::new(source) })?;
        Ok(ResolvedAmong { answer: answer.map(|_| found), dids, all, node })
    }

    /// The width of buckets with `k` DIDs: that of before, if it was for as many.
    async fn width(&self, k: u32) -> Result<Width, ReadError> {
        let known = *self.lock_width();
        if let Some(width) = known.filter(|width| width.k >= k) {
            return Ok(width);
        }
        let anywhere = TreeKey::did_head(&Hash(random().map_err(|_| ReadError::NoRandomness)?));
        let anywhere = Prefix::of(&anywhere, PREFIX_BITS_MAX);
        let (answer, _) = self.bucket(anywhere, k.saturating_mul(MARGIN)).await?;
        let bits = answer.even_if_stale().prefix().bits();
        let mut width = self.lock_width();
        // Never narrower than before.
        let bits = width.map_or(bits, |before| before.bits.min(bits));
        let k = width.map_or(k, |before| before.k.max(k));
        Ok(*width.insert(Width { bits, k }))
    }

    async fn bucket(&self, asked: Prefix, k: u32) -> Result<(Answer<Bucket>, String), ReadError> {
        let fewest = usize::try_from(k).unwrap_or(usize::MAX);
        let (answer, _, node) = self
            .ask(
                |node, min_height| {
                    let (prefix, prefix_bits) = (asked.to_vec(), asked.bits());
                    let request = v1::ResolveBucketRequest { prefix, prefix_bits, k, min_height };
                    async move { node.resolver().resolve_bucket(request).await }
                },
                |verifier, answer| -> Result<_, VerifyError> {
                    verifier.bucket(&asked, fewest, answer)
                },
            )
            .await?;
        Ok((answer, node))
    }
}
