//! Reading the state, and writing on top of it without touching it.
//!
//! A [`StateView`] is the committed state at one height, or an [`Overlay`] of such a state and the changes made so
//! far. Rules read through the view and write into the overlay, so a refused transaction leaves no trace and mempool,
//! proposer and validator run the same code on different views.

use crate::mutant::{self, Mutant};
use crate::{LeafKind, StateFault, TreeKey};
use sillok_did_method::head_hash;
use sillok_proto::{Hash, v1};
use std::collections::BTreeMap;

/// What rules may read: leaves of the tree, and documents and heads by their hash.
pub trait StateView {
    /// The value of a leaf, `None` if the tree holds none.
    ///
    /// # Errors
    ///
    /// [`StateFault`] if storage failed. It never means "absent".
    fn leaf(&self, key: &TreeKey) -> Result<Option<Vec<u8>>, StateFault>;

    /// A document by its hash. Every active DID's document is kept.
    ///
    /// # Errors
    ///
    /// [`StateFault`] if storage failed.
    fn document(&self, hash: &Hash) -> Result<Option<v1::DidDocument>, StateFault>;
}

/// What a transaction or a block writes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// Leaves written, by key; leaves are never removed.
    pub leaves: BTreeMap<TreeKey, Vec<u8>>,
    /// New documents, by hash.
    pub documents: BTreeMap<Hash, v1::DidDocument>,
    /// New heads, by hash, so that a chain of heads can be walked.
    pub heads: BTreeMap<Hash, v1::Head>,
}

/// A state and changes on top of it.
#[derive(Debug)]
pub struct Overlay<'a, V: StateView + ?Sized> {
    base: &'a V,
    changes: Changes,
}

impl<'a, V: StateView + ?Sized> Overlay<'a, V> {
    /// No changes yet.
    pub fn new(base: &'a V) -> Self {
        Self { base, changes: Changes::default() }
    }

    /// What was written.
    #[must_use]
    pub fn into_changes(self) -> Changes {
        self.changes
    }

    /// What was written so far.
    #[must_use]
    pub const fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Takes over the changes of an overlay on top of this one.
    pub fn apply(&mut self, changes: Changes) {
        self.changes.leaves.extend(changes.leaves);
        self.changes.documents.extend(changes.documents);
        self.changes.heads.extend(changes.heads);
    }

    /// Writes a leaf.
    pub fn put(&mut self, key: TreeKey, value: Vec<u8>) {
        self.changes.leaves.insert(key, value);
    }

    /// Writes a document under its hash.
    pub fn put_document(&mut self, hash: Hash, document: v1::DidDocument) {
        self.changes.documents.insert(hash, document);
    }

    /// Writes the head of a DID.
    pub fn put_head(&mut self, did: &Hash, head: v1::Head) {
        self.changes.leaves.insert(TreeKey::did_head(did), sillok_proto::encode(&head));
        self.changes.heads.insert(head_hash(&head), head);
    }
}

impl<V: StateView + ?Sized> StateView for Overlay<'_, V> {
    fn leaf(&self, key: &TreeKey) -> Result<Option<Vec<u8>>, StateFault> {
        let own = self.changes.leaves.get(key);
        let private_or_used =
            [LeafKind::Private as u8, LeafKind::UsedKey as u8].contains(&key.kind_nibble());
        match own.filter(|_| !(private_or_used && mutant::is(Mutant::EnrollmentsOfParent))) {
            Some(value) => Ok(Some(value.clone())),
            None => self.base.leaf(key),
        }
    }

    fn document(&self, hash: &Hash) -> Result<Option<v1::DidDocument>, StateFault> {
        match self.changes.documents.get(hash) {
            Some(document) => Ok(Some(document.clone())),
            None => self.base.document(hash),
        }
    }
}

/// Reads a leaf as a message. A leaf that does not decode is a fault of this machine, never a rule.
pub(crate) fn read<M: prost::Message + Default>(
    view: &(impl StateView + ?Sized),
    key: &TreeKey,
) -> Result<Option<M>, StateFault> {
    let Some(bytes) = view.leaf(key)? else { return Ok(None) };
    sillok_proto::decode(&bytes, LEAF_BYTES_MAX)
        .map(Some)
        .map_err(|error| StateFault::new(format!("a leaf does not decode: {error}")))
}

/// Longest leaf of the state, in bytes.
pub const LEAF_BYTES_MAX: usize = 64 * 1024;

/// The head of a DID.
///
/// # Errors
///
/// [`StateFault`] if storage failed.
pub fn head(view: &(impl StateView + ?Sized), did: &Hash) -> Result<Option<v1::Head>, StateFault> {
    read(view, &TreeKey::did_head(did))
}

/// The document of a head. The empty document, of a holder without a device, is not stored.
///
/// # Errors
///
/// [`StateFault`] if storage failed, or if the document of an active DID is missing.
pub fn document_of(
    view: &(impl StateView + ?Sized),
    head: &v1::Head,
) -> Result<v1::DidDocument, StateFault> {
    let empty = v1::DidDocument::default();
    let Some(hash) = Hash::from_slice(&head.document_hash) else { return Ok(empty) };
    if hash == sillok_did_method::document_hash(&empty) {
        return Ok(empty);
    }
    view.document(&hash)?.ok_or_else(|| StateFault::new("the document of an active DID is missing"))
}
