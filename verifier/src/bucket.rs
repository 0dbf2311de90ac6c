//! Checking a bucket of DIDs: all that lie under a prefix of the state tree, so that no node learns which one is meant
//! (PROTOCOL §6.4).
//!
//! The verdict on a bucket is one on all of it. Were only the document that is wanted looked at, a node could spoil one
//! after another and see by the complaint which one that is.

use super::{
    Answer, HEAD_BYTES_MAX, Resolution, ResolvedVersion, Verifier, VerifyError, check_version,
    document_of, needs_document,
};
use sillok_did_method::{Did, document_hash};
use sillok_ledger::TreeKey;
use sillok_ledger::proof::EntryError;
use sillok_ledger::snapshot::{Prefix, SnapshotError, verify_subtree};
use sillok_ledger::state_key::KIND_BITS;
use sillok_proto::{Hash, decode, v1};
use std::collections::{BTreeMap, BTreeSet};

/// The current versions of all DIDs under a prefix, none left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Bucket {
    network: String,
    prefix: Prefix,
    versions: BTreeMap<TreeKey, (v1::Head, Option<v1::DidDocument>)>,
}

impl Bucket {
    /// What all their tree keys begin with.
    #[must_use]
    pub const fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// How many DIDs of it lie under a prefix.
    #[must_use]
    pub fn within(&self, prefix: &Prefix) -> usize {
        self.versions.keys().filter(|key| prefix.contains(key)).count()
    }

    /// The current version of a DID, or that there is none: what lies under the prefix and is not here does not exist.
    ///
    /// # Errors
    ///
    /// [`VerifyError::OtherNetwork`]; [`VerifyError::BucketElsewhere`] for a DID of another bucket.
    pub fn resolve(&self, did: &Did) -> Result<Resolution, VerifyError> {
        if did.network() != self.network {
            let (found, expected) = (did.network().to_owned(), self.network.clone());
            return Err(VerifyError::OtherNetwork { found, expected });
        }
        let key = TreeKey::did_head(&did.digest());
        if !self.prefix.contains(&key) {
            return Err(VerifyError::BucketElsewhere);
        }
        let version = self.versions.get(&key).map(|(head, document)| ResolvedVersion {
            head: head.clone(),
            document: document_of(head, document.as_ref()),
            next_version: None,
            current: head.clone(),
        });
        Ok(Resolution { did: did.clone(), version })
    }
}

impl Verifier<'_> {
    /// Checks a bucket: that it is the one of `asked` or the narrowest around it with `k` DIDs or more, that no DID under
    /// its prefix is left out, and each head and document in it.
    ///
    /// # Errors
    ///
    /// [`VerifyError`]: the first thing that does not hold.
    pub fn bucket(
        &self,
        asked: &Prefix,
        k: usize,
        answer: &v1::ResolveBucketResponse,
    ) -> Result<Answer<Bucket>, VerifyError> {
        let proof = answer.signed_header.clone();
        let proof =
            proof.map(|signed| v1::StateProof { signed_header: Some(signed), entries: vec![] });
        let (_, verified) = self.proved(proof.as_ref())?;
        let subtree = answer.subtree.as_ref().ok_or(VerifyError::NoProof)?;
        let prefix = Prefix::read(&subtree.prefix, subtree.prefix_bits)
            .filter(|prefix| (KIND_BITS..=asked.bits()).contains(&prefix.bits()))
            .filter(|prefix| prefix.contains(&asked.first()))
            .ok_or(VerifyError::BucketElsewhere)?;
        let heads = read_heads(subtree)?;
        let root = Hash::from_slice(&verified.header().header().state_root).unwrap_or_default();
        verify_subtree(&root, &prefix, subtree).map_err(|error| match error {
            SnapshotError::Path(EntryError::WrongRoot { .. }) => VerifyError::BucketIncomplete,
            error => VerifyError::Bucket(error),
        })?;
        let wider = prefix.bits() < asked.bits();
        let narrower = Prefix::of(&asked.first(), prefix.bits().saturating_add(1));
        let within = heads.iter().filter(|(key, _)| narrower.contains(key)).count();
        if heads.len() < k && prefix.bits() > KIND_BITS {
            return Err(VerifyError::BucketTooSmall { dids: heads.len(), k });
        }
        if wider && within >= k {
            return Err(VerifyError::BucketTooWide { dids: heads.len(), k });
        }
        let network = self.network.to_owned();
        let versions = with_documents(&network, heads, &answer.documents)?;
        Ok(verified.map(|()| Bucket { network, prefix, versions }))
    }
}

/// The heads in the leaves, each under its own key.
fn read_heads(subtree: &v1::Subtree) -> Result<Vec<(TreeKey, v1::Head)>, VerifyError> {
    let mut heads = Vec::with_capacity(subtree.leaves.len());
    for (index, leaf) in subtree.leaves.iter().enumerate() {
        let head: v1::Head = decode(&leaf.value, HEAD_BYTES_MAX)
            .map_err(|source| VerifyError::NotAHead { source })?;
        let key = Hash::from_slice(&head.did).map(|did| TreeKey::did_head(&did));
        let key = key.filter(|key| key.0.as_slice() == leaf.key);
        heads.push((key.ok_or(VerifyError::BucketLeafExchanged { index })?, head));
    }
    Ok(heads)
}

/// Each head with its document. Every document must be one that a head names, and none may be missing, whichever DID is
/// meant: else a node could leave out one after another and wait for the complaint.
#[allow(clippy::type_complexity, reason = "what a bucket holds")]
fn with_documents(
    network: &str,
    heads: Vec<(TreeKey, v1::Head)>,
    documents: &[v1::DidDocument],
) -> Result<BTreeMap<TreeKey, (v1::Head, Option<v1::DidDocument>)>, VerifyError> {
    let by_hash: BTreeMap<Hash, &v1::DidDocument> =
        documents.iter().map(|document| (document_hash(document), document)).collect();
    let named = |head: &v1::Head| Hash::from_slice(&head.document_hash);
    let all: BTreeSet<Hash> = heads.iter().filter_map(|(_, head)| named(head)).collect();
    if by_hash.keys().any(|hash| !all.contains(hash)) {
        return Err(VerifyError::BucketDocument);
    }
    let mut versions = BTreeMap::new();
    for (key, head) in heads {
        let document = named(&head).and_then(|hash| by_hash.get(&hash).copied());
        if document.is_none() && needs_document(&head) {
            return Err(VerifyError::DocumentMissing { version: head.version });
        }
        if let Some(digest) = Hash::from_slice(&head.did)
            && let Ok(did) = Did::new(network, digest)
        {
            check_version(&did, &head, document)?;
        }
        versions.insert(key, (head, document.cloned()));
    }
    Ok(versions)
}
