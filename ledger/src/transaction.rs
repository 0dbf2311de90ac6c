//! A transaction: its four parts, its names, and everything about it that is decidable without state.
//!
//! [`CheckedTransaction`] says: bounded, complete, every document where it is named, every operation well formed. It
//! says nothing about signatures, versions or grants; those are [`crate::admit`]'s.

use crate::AdmissionError;
use crate::merkle_log::TransactionHasher;
use crate::private::{APPROVERS_MAX, Place, PrivatePart};
use crate::status::{ENROLLMENT_ENTRIES_MAX, chunk_of, record_of};
use sillok_did_method::{
    CheckedOperation, Enrollment, OperationHashes, SetStatus, author_statement_hash, author_string,
    check_named_document, next_private_content, transaction_id,
};
use sillok_proto::{Hash, Tag, encode, v1};
use std::collections::BTreeSet;

/// Longest encoded transaction, in bytes. One transaction may carry 10,000 entry changes.
pub const TRANSACTION_BYTES_MAX: usize = 512 * 1024;
/// Most operations of a transaction.
pub const OPERATIONS_MAX: usize = 256;
/// Most signatures beside one operation: a document's keys, an authority and a countersigner.
pub const SIGNATURES_MAX: usize = 20;
/// Most writes of a transaction, each counted by [`write_weight`]: 10,000 dated entries all over the largest list.
pub const TRANSACTION_WRITES_MAX: usize = 20_000;
/// Most writes of an operation on members: the proposal with 128 approvals (10), the fullest members (24), the operator,
/// two used keys, and the observer that became a member.
const GOVERNANCE_WRITES_MAX: usize = 48;
/// Most that a grant writes: 64 periods, the index of 256 grants, and the name, each full 1,024 bytes counted as a leaf.
const ACCREDIT_WRITES_MAX: usize = 17;
/// The 64 periods.
const WITHDRAW_WRITES_MAX: usize = 6;
/// A type, and a version of it, which has less than 1,024 bytes.
const PUBLISH_TYPE_WRITES: usize = 2;
/// A chunk of a status list.
const CHUNK_WRITES: usize = 5;
/// The fullest leaf of dates: 2,048 of 17 bytes.
const RECORD_WRITES_MAX: usize = 34;
/// What the acting role and each approver have used of their limits, and the approved operation.
const ACTING_WRITES_MAX: usize = APPROVERS_MAX + 2;

/// How much writing a leaf of so many bytes counts: one for each begun KiB. So a bound on writes is one on bytes too,
/// and a few indexes all over a list are not cheaper than what they make a node write.
#[must_use]
pub const fn write_weight(value_bytes: usize) -> usize {
    if value_bytes <= 1_024 { 1 } else { value_bytes.div_ceil(1_024) }
}

/// The names of a transaction in the transactions root (PROTOCOL §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionLeaf {
    /// H(genesis, body).
    pub id: Hash,
    /// H(public signatures).
    pub signatures: Hash,
    /// H(salt, private signatures); of the empty message when there are none.
    pub private_signatures: Hash,
}

impl TransactionLeaf {
    /// The names of `transaction`, which need not be checked yet. `None` without a body.
    #[must_use]
    pub fn of(genesis: &Hash, transaction: &v1::Transaction) -> Option<Self> {
        // Absent is the empty message, whose encoding is empty.
        let signatures = transaction.signatures.as_ref().map(encode).unwrap_or_default();
        let private = transaction.private_signatures.as_ref().map(encode).unwrap_or_default();
        Some(Self {
            id: transaction_id(genesis, transaction.body.as_ref()?),
            signatures: Tag::Signatures.hash(&[&signatures]),
            private_signatures: Tag::PrivateSignatures.hash(&[&private]),
        })
    }

    /// The hash of the leaf.
    #[must_use]
    pub fn hash(&self) -> Hash {
        TransactionHasher::leaf(&self.id, &self.signatures, &self.private_signatures)
    }
}

/// The authors' side of one operation: what they agreed to, and their signatures.
#[derive(Debug, Clone, PartialEq)]
pub struct Authorship {
    /// May any submitter carry it?
    pub any_submitter: bool,
    /// Ledger time until which the authors want it, in milliseconds.
    pub valid_until_ms: u64,
    /// Its name in the replay window.
    pub statement_hash: Hash,
    /// What each of them signed.
    pub string: Vec<u8>,
    /// By ascending key id.
    pub signatures: Vec<Signature>,
}

/// What stands in a trial for a signature that is not made yet (`prepare.rs`): no key makes it.
pub(crate) const UNSIGNED: [u8; 64] = [0; 64];

/// A signature and the key that is said to have made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// H(algorithm, point).
    pub key_id: Hash,
    /// 64 bytes.
    pub bytes: Vec<u8>,
}

impl Signature {
    pub(crate) fn read(signature: &v1::KeySignature) -> Result<Self, AdmissionError> {
        let key_id = Hash::from_slice(&signature.key_id).ok_or(AdmissionError::SignatureLength)?;
        if signature.signature.len() != 64 {
            return Err(AdmissionError::SignatureLength);
        }
        Ok(Self { key_id, bytes: signature.signature.clone() })
    }

    /// Is it one? Not what a trial puts in the place of one that is still to be made; in a block no rule takes that.
    pub(crate) fn is_made(&self) -> bool {
        self.bytes != UNSIGNED
    }
}

/// A transaction that is well formed. See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedTransaction {
    /// Its names.
    pub leaf: TransactionLeaf,
    /// Digest of the submitter.
    pub submitter: Hash,
    /// Ledger time until which it may be ordered, in milliseconds.
    pub valid_until_ms: u64,
    /// The operations with their authors, in order.
    pub operations: Vec<(CheckedOperation, Authorship)>,
    /// The private side of each operation that has one; as long as `operations`.
    pub private: Vec<Option<PrivatePart>>,
    /// The submitter's signature over the id.
    pub submitter_signature: Signature,
    /// Length of the encoded transaction, in bytes.
    pub size_bytes: usize,
}

impl CheckedTransaction {
    /// Checks `transaction` as far as no state is needed.
    ///
    /// # Errors
    ///
    /// [`AdmissionError`]: the first rule broken.
    pub fn check(genesis: &Hash, transaction: &v1::Transaction) -> Result<Self, AdmissionError> {
        let size_bytes = prost::Message::encoded_len(transaction);
        if size_bytes > TRANSACTION_BYTES_MAX {
            return Err(AdmissionError::TransactionTooLong {
                len: size_bytes,
                max: TRANSACTION_BYTES_MAX,
            });
        }
        let missing = |part| AdmissionError::MissingPart { part };
        let body = transaction.body.as_ref().ok_or_else(|| missing("body"))?;
        let signatures = transaction.signatures.as_ref().ok_or_else(|| missing("signatures"))?;
        let submitter_signature =
            signatures.submitter.as_ref().ok_or_else(|| missing("submitter's signature"))?;
        let submitter = Hash::from_slice(&body.submitter).ok_or_else(|| missing("submitter"))?;
        let count = body.operations.len();
        if count == 0 || count > OPERATIONS_MAX {
            return Err(AdmissionError::OperationCount { count, max: OPERATIONS_MAX });
        }
        if signatures.operations.len() != count {
            return Err(AdmissionError::SignatureListLength {
                signed: signatures.operations.len(),
                operations: count,
            });
        }
        let mut private_signatures = PrivateSignatures::read(transaction)?;
        let id = transaction_id(genesis, body);
        let hashes = OperationHashes::of(genesis, body);
        let mut documents = transaction.documents.iter();
        let mut contents = transaction.private_contents.iter();
        let mut operations = Vec::with_capacity(count);
        let mut private = Vec::with_capacity(count);
        for (index, (operation, terms)) in
            body.operations.iter().zip(&signatures.operations).enumerate()
        {
            let place = Place { genesis, transaction_id: &id, index };
            let parts = (&mut documents, &mut contents);
            let signatures = || private_signatures.next(index);
            let (checked, authors, part) =
                check_operation(place, &hashes, operation, terms, parts, signatures)?;
            operations.push((checked, authors));
            private.push(part);
        }
        if documents.next().is_some() {
            return Err(AdmissionError::UnexpectedPart { part: "a document" });
        }
        if contents.next().is_some() {
            return Err(AdmissionError::UnexpectedPart { part: "a private content" });
        }
        private_signatures.finish()?;
        let leaf = TransactionLeaf::of(genesis, transaction).ok_or_else(|| missing("body"))?;
        let checked = Self {
            leaf,
            submitter,
            valid_until_ms: body.valid_until_ms,
            operations,
            private,
            submitter_signature: Signature::read(submitter_signature)?,
            size_bytes,
        };
        let (count, max) = (checked.write_count(), TRANSACTION_WRITES_MAX);
        if count > max { Err(AdmissionError::TooManyWrites { count, max }) } else { Ok(checked) }
    }

    /// Are the parts beside the body those that it names? Until this is known, what is wrong with the transaction may
    /// be the work of whoever passed it on: no hash but those in the body covers them.
    ///
    /// # Errors
    ///
    /// [`AdmissionError`]: a part is missing, another, or too many.
    pub fn check_parts(transaction: &v1::Transaction) -> Result<(), AdmissionError> {
        check_empty_private_signatures(transaction)?;
        let operations = transaction.body.as_ref().map_or(&[][..], |body| &body.operations);
        let mut documents = transaction.documents.iter();
        let mut contents = transaction.private_contents.iter();
        for (index, operation) in operations.iter().enumerate() {
            check_named_document(operation, &mut documents)
                .and_then(|()| next_private_content(operation, &mut contents))
                .map_err(|source| AdmissionError::Operation { operation: index, source })?;
        }
        if documents.next().is_some() {
            return Err(AdmissionError::UnexpectedPart { part: "a document" });
        }
        match contents.next() {
            Some(_) => Err(AdmissionError::UnexpectedPart { part: "a private content" }),
            None => Ok(()),
        }
    }

    /// How many signatures its execution checks at the most.
    #[must_use]
    pub fn signature_count(&self) -> usize {
        let private = self.private.iter().flatten().map(PrivatePart::signature_count);
        let public = self.operations.iter().map(|(_, authors)| authors.signatures.len());
        public.chain(private).fold(1, usize::saturating_add)
    }

    /// How much its execution writes at the most, each leaf counted by [`write_weight`].
    #[must_use]
    pub fn write_count(&self) -> usize {
        let private = self.private.iter().map(Option::as_ref);
        let count = |((operation, authors), part): (&(CheckedOperation, Authorship), _)| {
            operation_writes(operation, authors, part)
        };
        self.operations.iter().zip(private).map(count).fold(0, usize::saturating_add)
    }

    /// What it puts into the replay window: its id and the statements of its authors, with the end of each.
    #[must_use]
    pub fn replay_entries(&self) -> Vec<(Hash, u64)> {
        let mut entries = vec![(self.leaf.id, self.valid_until_ms)];
        entries.extend(
            self.operations
                .iter()
                .filter(|(_, authors)| !authors.signatures.is_empty())
                .map(|(_, authors)| (authors.statement_hash, authors.valid_until_ms)),
        );
        entries
    }
}

/// Documents and private contents that operations still to come name.
pub(crate) type PartsLeft<'p, 'a> = (
    &'p mut std::slice::Iter<'a, v1::DidDocument>,
    &'p mut std::slice::Iter<'a, v1::PrivateContent>,
);

/// Checks one operation with what stands beside it. `signatures` gives its private ones, if it has a private content.
pub(crate) fn check_operation<'s>(
    place: Place<'_>,
    hashes: &OperationHashes<'_>,
    operation: &v1::Operation,
    terms: &v1::OperationSignatures,
    (documents, contents): PartsLeft<'_, '_>,
    signatures: impl FnOnce() -> Result<&'s v1::PrivateOperationSignatures, AdmissionError>,
) -> Result<(CheckedOperation, Authorship, Option<PrivatePart>), AdmissionError> {
    let Place { genesis, index, .. } = place;
    let refuse = |source| AdmissionError::Operation { operation: index, source };
    let checked = CheckedOperation::check(operation, documents).map_err(refuse)?;
    let (operation_hash, statement) = hashes
        .operation(index)
        .zip(hashes.author_statement(index, terms))
        .ok_or(AdmissionError::OperationCount { count: index, max: OPERATIONS_MAX })?;
    let content = next_private_content(operation, contents).map_err(refuse)?;
    // What is signed in private has no public author, who would name the acting role.
    let max = if content.is_some() { 0 } else { SIGNATURES_MAX };
    let authors = authorship(genesis, index, terms, &statement, max)?;
    let part = match content {
        None => None,
        Some(content) => {
            Some(PrivatePart::check(place, operation_hash, &checked, content, signatures()?)?)
        }
    };
    Ok((checked, authors, part))
}

/// What an operation writes at the most.
pub(crate) fn operation_writes(
    operation: &CheckedOperation,
    authors: &Authorship,
    part: Option<&PrivatePart>,
) -> usize {
    match operation {
        CheckedOperation::SetStatus(op) => {
            let handles = part.map_or(0, |part| part.handles.len());
            status_writes(op).saturating_add(handles).saturating_add(ACTING_WRITES_MAX)
        }
        CheckedOperation::SetEnrollment(_) => {
            enrollment_writes(part).saturating_add(ACTING_WRITES_MAX)
        }
        CheckedOperation::CreateList(_) => 1,
        CheckedOperation::Create(_)
        | CheckedOperation::Update(_)
        | CheckedOperation::SetDevice(_)
        | CheckedOperation::Deactivate(_) => {
            // The head, and a used key for each signature.
            authors.signatures.len().saturating_add(1)
        }
        // A change may be of a grant, which takes the place of what it would do to members.
        CheckedOperation::Propose(_) | CheckedOperation::Approve(_) => {
            GOVERNANCE_WRITES_MAX.saturating_add(ACCREDIT_WRITES_MAX)
        }
        CheckedOperation::Join(_) | CheckedOperation::Rekey(_) => GOVERNANCE_WRITES_MAX,
        CheckedOperation::Accredit(_) => ACCREDIT_WRITES_MAX,
        CheckedOperation::Withdraw(_) => WITHDRAW_WRITES_MAX,
        CheckedOperation::PublishType(_) => PUBLISH_TYPE_WRITES,
    }
}

/// The chunks, and the dates.
fn status_writes(op: &SetStatus) -> usize {
    let chunks: BTreeSet<u32> = op.indexes.iter().map(|index| chunk_of(*index).0).collect();
    let chunks = chunks.len().saturating_mul(CHUNK_WRITES);
    if op.grace_until_ms == 0 && op.invalid_from_ms == 0 {
        return chunks;
    }
    let records: BTreeSet<u32> = op.indexes.iter().map(|index| record_of(*index)).collect();
    records.len().saturating_mul(RECORD_WRITES_MAX).saturating_add(chunks)
}

/// The enrollment, the one it moves to, two used keys; and its entries, each of which may stand in a chunk of its own.
fn enrollment_writes(part: Option<&PrivatePart>) -> usize {
    let dated = match part.and_then(|part| part.enrollment.as_ref()) {
        Some(Enrollment::Reserve { .. }) => return 1,
        Some(Enrollment::Activate { grace_until_ms, .. }) => *grace_until_ms != 0,
        Some(Enrollment::End { invalid_from_ms, .. }) => *invalid_from_ms != 0,
        Some(Enrollment::Suspend { .. } | Enrollment::Reinstate { .. }) | None => false,
    };
    let entry = CHUNK_WRITES.saturating_add(if dated { RECORD_WRITES_MAX } else { 0 });
    ENROLLMENT_ENTRIES_MAX.saturating_mul(entry).saturating_add(4)
}

/// The empty message has the hash of none at all, so whoever passes a transaction on could add it.
fn check_empty_private_signatures(transaction: &v1::Transaction) -> Result<(), AdmissionError> {
    if transaction.private_signatures == Some(v1::PrivateSignatures::default()) {
        return Err(AdmissionError::UnexpectedPart { part: "private signatures" });
    }
    Ok(())
}

/// The private signatures, taken one operation after another.
struct PrivateSignatures<'a> {
    left: std::slice::Iter<'a, v1::PrivateOperationSignatures>,
}

impl<'a> PrivateSignatures<'a> {
    fn read(transaction: &'a v1::Transaction) -> Result<Self, AdmissionError> {
        let Some(signatures) = &transaction.private_signatures else {
            return Ok(Self { left: [].iter() });
        };
        check_empty_private_signatures(transaction)?;
        // A salt without signatures salts nothing.
        if signatures.operations.is_empty() {
            return Err(AdmissionError::PrivateSignatureList);
        }
        if signatures.salt.len() != 32 {
            return Err(AdmissionError::PrivateSalt { len: signatures.salt.len() });
        }
        Ok(Self { left: signatures.operations.iter() })
    }

    /// Those of this operation, which are the next.
    fn next(&mut self, index: usize) -> Result<&'a v1::PrivateOperationSignatures, AdmissionError> {
        let next = self.left.next().ok_or(AdmissionError::PrivateSignatureList)?;
        if usize::try_from(next.operation) == Ok(index) {
            Ok(next)
        } else {
            Err(AdmissionError::PrivateSignatureList)
        }
    }

    fn finish(mut self) -> Result<(), AdmissionError> {
        // Covered by the transactions root, so they are no work of whoever passed the transaction on.
        self.left.next().map_or(Ok(()), |_| Err(AdmissionError::PrivateSignatureList))
    }
}

fn authorship(
    genesis: &Hash,
    index: usize,
    terms: &v1::OperationSignatures,
    statement: &v1::AuthorStatement,
    max: usize,
) -> Result<Authorship, AdmissionError> {
    let count = terms.signatures.len();
    if count > max {
        return Err(AdmissionError::TooManySignatures { operation: index, count, max });
    }
    // Nothing signs the terms when nobody signs under them, so they must say nothing.
    if terms.signatures.is_empty() && *terms != v1::OperationSignatures::default() {
        return Err(AdmissionError::TermsWithoutSignature { operation: index });
    }
    let signatures = terms.signatures.iter().map(Signature::read).collect::<Result<Vec<_>, _>>()?;
    if signatures.windows(2).any(|pair| pair[0].key_id >= pair[1].key_id) {
        return Err(AdmissionError::SignatureOrder { operation: index });
    }
    Ok(Authorship {
        any_submitter: terms.any_submitter,
        valid_until_ms: terms.valid_until_ms,
        statement_hash: author_statement_hash(genesis, statement),
        string: author_string(genesis, statement),
        signatures,
    })
}
