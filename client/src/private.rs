//! Reading what is private, as the issuer whose it is or as an auditor: signed requests, and what is believed of their
//! answers (PROTOCOL §2.4, §4.1, §4.2). Pure.
//!
//! The proof is checked first, as that of any read ([`crate::verify`]); what is here reads the leaves that it proves.

use crate::keys::{SecretKey, SecretKeyError};
use sillok_did_method::{private_content_hash, read_string, transaction_id};
use sillok_ledger::proof::{ProofError, VerifiedReceipt, VerifiedState};
use sillok_ledger::status::{chunk_of, entry_dates, entry_state, record_of};
use sillok_ledger::{StateFault, TreeKey};
use sillok_proto::{Hash, Tag, decode, encode, v1};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use v1::operation::Operation as Wire;
use v1::read_statement::Read;

/// Longest leaf, in bytes.
const LEAF_BYTES_MAX: usize = sillok_ledger::overlay::LEAF_BYTES_MAX;

/// Why an answer is not believed: the node is lying or broken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateError {
    /// The proof does not cover what was asked for.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// A proved leaf is not what it should be.
    #[error(transparent)]
    Leaf(#[from] StateFault),
    /// The entries beside the proof are others than it shows.
    #[error("the answer says otherwise of entry {index} than its proof; ask another node")]
    OtherEntry {
        /// The entry.
        index: u32,
    },
    /// A part of the answer is missing.
    #[error("the answer has no {part}; ask another node")]
    Missing {
        /// Which.
        part: &'static str,
    },
    /// The body is another transaction's.
    #[error("the answer brings the body of another transaction; ask another node")]
    OtherTransaction,
    /// A private content is not the one that its operation names.
    #[error("the private content of operation {operation} is forged; ask another node")]
    OtherContent {
        /// Index in the body.
        operation: u32,
    },
    /// The private signatures are others than those that were ordered.
    #[error("the private signatures are others than those that were ordered; ask another node")]
    OtherSignatures,
}

/// A signed request. `header` is the height and hash of the caller's newest verified header, of at most a minute ago.
///
/// # Errors
///
/// [`SecretKeyError`] if the key cannot sign.
pub fn read_request(
    genesis_hash: &Hash,
    organization: &Hash,
    header: (u64, Hash),
    read: Read,
    key: &SecretKey,
) -> Result<v1::PrivateReadRequest, SecretKeyError> {
    let (header_height, header_hash) = header;
    let statement = v1::ReadStatement {
        organization: organization.to_vec(),
        header_height,
        header_hash: header_hash.to_vec(),
        read: Some(read),
    };
    let signature = Some(key.key_signature(&read_string(genesis_hash, &statement))?);
    let statement = encode(&statement);
    Ok(v1::PrivateReadRequest { statement, signature, min_height: header_height })
}

fn leaf<M: prost::Message + Default>(
    state: &VerifiedState,
    key: &TreeKey,
) -> Result<Option<M>, PrivateError> {
    let Some(bytes) = state.value(key)? else { return Ok(None) };
    decode(bytes, LEAF_BYTES_MAX)
        .map(Some)
        .map_err(|error| StateFault::new(format!("a leaf does not decode: {error}")).into())
}

/// The leaves that prove these entries of a list: ask that the proof covers them.
#[must_use]
pub fn entry_keys(list: &Hash, indexes: &[u32]) -> Vec<TreeKey> {
    let chunks: BTreeSet<u32> = indexes.iter().map(|index| chunk_of(*index).0).collect();
    let records: BTreeSet<u32> = indexes.iter().map(|index| record_of(*index)).collect();
    let mut keys = vec![TreeKey::status_list(list)];
    keys.extend(chunks.iter().map(|number| TreeKey::status_chunk(list, *number)));
    keys.extend(records.iter().map(|number| TreeKey::entry_record(list, *number)));
    keys
}

/// What the proved state says of these entries, if `answered` says the same.
///
/// # Errors
///
/// [`PrivateError`].
pub fn own_entries(
    list: &Hash,
    indexes: &[u32],
    state: &VerifiedState,
    answered: &[v1::OwnEntry],
) -> Result<Vec<v1::OwnEntry>, PrivateError> {
    let mut chunks: BTreeMap<u32, Option<v1::StatusChunk>> = BTreeMap::new();
    let mut records: BTreeMap<u32, Option<v1::EntryRecord>> = BTreeMap::new();
    if leaf::<v1::StatusList>(state, &TreeKey::status_list(list))?.is_none() {
        return Err(PrivateError::Missing { part: "such list" });
    }
    let mut entries = Vec::with_capacity(indexes.len());
    for (nth, index) in indexes.iter().enumerate() {
        let (chunk, record) = (chunk_of(*index).0, record_of(*index));
        if let Entry::Vacant(place) = chunks.entry(chunk) {
            place.insert(leaf(state, &TreeKey::status_chunk(list, chunk))?);
        }
        if let Entry::Vacant(place) = records.entry(record) {
            place.insert(leaf(state, &TreeKey::entry_record(list, record))?);
        }
        let chunk = chunks.get(&chunk).and_then(Option::as_ref);
        let record = records.get(&record).and_then(Option::as_ref);
        let dates = entry_dates(record, *index).copied().unwrap_or_default();
        let entry = v1::OwnEntry {
            index: *index,
            state: entry_state(chunk, *index)? as u32,
            grace_until_ms: dates.grace_until_ms,
            invalid_from_ms: dates.invalid_from_ms,
        };
        if answered.get(nth) != Some(&entry) {
            return Err(PrivateError::OtherEntry { index: *index });
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// The enrollment that the proved state holds. An answer has a proof only where there is one: that there is none is the
/// node's word, which is enough to make a reservation, for that is refused where it is not so, and for nothing else.
///
/// # Errors
///
/// [`PrivateError`].
pub fn own_enrollment(
    issuer: &Hash,
    credential_type: &Hash,
    handle: &Hash,
    state: &VerifiedState,
) -> Result<v1::Enrollment, PrivateError> {
    leaf(state, &TreeKey::enrollment(issuer, credential_type, handle))?
        .ok_or(PrivateError::Missing { part: "such enrollment" })
}

/// Private contents that are those of an ordered transaction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OwnContents<'a> {
    /// Of each operation at most once.
    pub contents: &'a [v1::OperationContent],
    /// Are the signatures beside them those that were ordered? Where some contents of the transaction are another
    /// issuer's, that is the node's word until each signature was checked under the key of who signs.
    pub signatures_proved: bool,
}

/// Checks the private contents of a transaction whose receipt was verified: that they are those that its body names, that
/// none is left out of which `is_own` says that the caller may read it, and where all are there, that the signatures are
/// those that were ordered.
///
/// # Errors
///
/// [`PrivateError`].
pub fn private_contents<'a>(
    genesis_hash: &Hash,
    receipt: &VerifiedReceipt,
    is_own: impl Fn(&Wire) -> bool,
    answer: &'a v1::PrivateContentsResponse,
) -> Result<OwnContents<'a>, PrivateError> {
    let missing = |part| Err(PrivateError::Missing { part });
    let Some(body) = &answer.body else { return missing("body") };
    if transaction_id(genesis_hash, body) != receipt.transaction_id {
        return Err(PrivateError::OtherTransaction);
    }
    let mut left: BTreeMap<u32, (&Wire, &[u8])> = BTreeMap::new();
    for (index, operation) in (0..).zip(&body.operations) {
        let Some(wire) = &operation.operation else { continue };
        let content_hash = match wire {
            Wire::SetStatus(op) => &op.content_hash,
            Wire::SetEnrollment(op) => &op.content_hash,
            _ => continue,
        };
        left.insert(index, (wire, content_hash.as_slice()));
    }
    for one in &answer.contents {
        let operation = one.operation;
        let content = one.content.as_ref().map(private_content_hash);
        // Each is taken once.
        match (content, left.remove(&operation)) {
            (Some(content), Some((_, named))) if content.0 == named => {}
            _ => return Err(PrivateError::OtherContent { operation }),
        }
        if one.signatures.as_ref().is_none_or(|one| one.operation != operation) {
            return missing("private signatures of an operation");
        }
    }
    // Who may read nothing is refused: an answer says something.
    if answer.contents.is_empty() || left.values().any(|&(wire, _)| is_own(wire)) {
        return missing("private content of an operation");
    }
    let signatures_proved = left.is_empty();
    if signatures_proved {
        let signatures = v1::PrivateSignatures {
            salt: answer.signatures_salt.clone(),
            operations: answer.contents.iter().filter_map(|one| one.signatures.clone()).collect(),
        };
        let hash = Tag::PrivateSignatures.hash(&[&encode(&signatures)]);
        if hash != receipt.private_signatures_hash {
            return Err(PrivateError::OtherSignatures);
        }
    }
    Ok(OwnContents { contents: &answer.contents, signatures_proved })
}
