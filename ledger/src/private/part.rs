//! The private side of one operation, complete and well formed: its content, and who signed beside it (PROTOCOL §2.4).
//!
//! Everything here is decided without state: that the content is the one the operation names, that there are as many
//! handles as the operation has, and that signatures are there for exactly those whom the content names. Deliberately
//! absent: whether the signatures verify and whether their makers may act.

use super::{HANDLE_BYTES, check_private_content};
use crate::AdmissionError;
use crate::transaction::Signature;
use sillok_did_method::{
    CheckedOperation, Enrollment, EntryState, OperationError, acting_role_string, approval_string,
    holder_string, key_id,
};
use sillok_proto::{Hash, v1};

/// One approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenApproval {
    /// Digest of the organization that approves.
    pub approver: Hash,
    /// Ledger time from which on it counts no more.
    pub expires_ms: u64,
    /// What was signed: the operation and the end, and nothing of the transaction.
    pub string: Vec<u8>,
    /// By a key of the approver.
    pub signature: Signature,
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct PrivatePart {
    /// Of the content: what private leaves are salted with.
    pub salt: Hash,
    /// Digest of the organization, office or role that acts.
    pub acting_role: Hash,
    /// What the acting role signed: this operation of this transaction.
    pub acting_string: Vec<u8>,
    /// By a key of the acting role.
    pub acting_signature: Signature,
    /// By ascending approver.
    pub approvals: Vec<GivenApproval>,
    /// Number of a [`v1::Channel`], as received.
    pub channel: i32,
    /// Number of a [`v1::Reason`], as received.
    pub reason: i32,
    /// Number of a [`v1::AssuranceLevel`], as received.
    pub assurance_level: i32,
    /// Digest of the organization that the person belongs to.
    pub organization_code: Option<Hash>,
    /// One for an enrollment; one for each index, or none, where entries become valid; else none.
    pub handles: Vec<Hash>,
    /// What is done to the enrollment.
    pub enrollment: Option<Enrollment>,
    /// What the holder's keys signed.
    pub holder_string: Vec<u8>,
    /// The holder's keys and their signatures, by ascending key id.
    pub holder_signatures: Vec<(v1::PublicKey, Signature)>,
    /// O, the operation's name.
    pub operation_hash: Hash,
}

/// Where an operation stands.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) genesis: &'a Hash,
    pub(crate) transaction_id: &'a Hash,
    /// Index in the body.
    pub(crate) index: usize,
}

impl PrivatePart {
    /// Checks the content of `operation`, whose hash was compared, and the signatures beside it.
    pub(crate) fn check(
        place: Place<'_>,
        operation_hash: Hash,
        operation: &CheckedOperation,
        content: &v1::PrivateContent,
        signatures: &v1::PrivateOperationSignatures,
    ) -> Result<Self, AdmissionError> {
        let index = place.index;
        let expected = handle_count(operation, content);
        check_private_content(content, expected)
            .map_err(|source| AdmissionError::PrivateContent { operation: index, source })?;
        let refuse = |source| AdmissionError::Operation { operation: index, source };
        // `check_private_content` has seen that each has 32 bytes.
        let digest = |bytes: &[u8]| {
            Hash::from_slice(bytes).ok_or(AdmissionError::MissingPart { part: "private content" })
        };
        let handles =
            content.handles.chunks(HANDLE_BYTES).map(digest).collect::<Result<Vec<_>, _>>()?;
        let enrollment = match (operation, &content.enrollment, handles.first()) {
            (CheckedOperation::SetEnrollment(_), Some(request), Some(handle)) => {
                Some(Enrollment::check(request, handle).map_err(refuse)?)
            }
            (CheckedOperation::SetEnrollment(_), ..) => {
                return Err(refuse(OperationError::MissingField { field: "enrollment" }));
            }
            (_, Some(_), _) => {
                return Err(refuse(OperationError::UncalledField { field: "enrollment" }));
            }
            (_, None, _) => None,
        };
        let acting = v1::ActingStatement {
            transaction_id: place.transaction_id.to_vec(),
            // At most 256 operations.
            operation: u32::try_from(index).unwrap_or(u32::MAX),
        };
        let holder_keys = enrollment.as_ref().map(Enrollment::holder_keys).unwrap_or_default();
        Ok(Self {
            salt: digest(&content.salt)?,
            acting_role: digest(&content.acting_role)?,
            acting_string: acting_role_string(place.genesis, &acting),
            acting_signature: Signature::read(
                signatures
                    .acting_role
                    .as_ref()
                    .ok_or(AdmissionError::MissingPart { part: "acting role's signature" })?,
            )?,
            approvals: approvals(place, &operation_hash, content, signatures)?,
            channel: content.channel,
            reason: content.reason,
            assurance_level: content.assurance_level,
            organization_code: match content.organization_code.as_slice() {
                [] => None,
                code => Some(digest(code)?),
            },
            handles,
            holder_string: holder_string(place.genesis, &acting),
            holder_signatures: holder_signatures(index, holder_keys, &signatures.holder_keys)?,
            enrollment,
            operation_hash,
        })
    }

    /// How many signatures it holds.
    #[must_use]
    pub fn signature_count(&self) -> usize {
        self.approvals.len().saturating_add(self.holder_signatures.len()).saturating_add(1)
    }
}

/// How many handles the operation has. Where entries become valid it depends on the type, so both numbers are well
/// formed; the length of the content tells which, and so does the type.
fn handle_count(operation: &CheckedOperation, content: &v1::PrivateContent) -> usize {
    match operation {
        CheckedOperation::SetEnrollment(_) => 1,
        CheckedOperation::SetStatus(op)
            if op.state == EntryState::Valid && !content.handles.is_empty() =>
        {
            op.indexes.len()
        }
        _ => 0,
    }
}

fn approvals(
    place: Place<'_>,
    operation_hash: &Hash,
    content: &v1::PrivateContent,
    signatures: &v1::PrivateOperationSignatures,
) -> Result<Vec<GivenApproval>, AdmissionError> {
    let (named, given) = (content.approvers.len(), signatures.approvals.len());
    if named != given {
        return Err(AdmissionError::ApprovalCount { operation: place.index, named, given });
    }
    let missing = |part| AdmissionError::MissingPart { part };
    content
        .approvers
        .iter()
        .zip(&signatures.approvals)
        .map(|(approver, approval)| {
            let expires_ms = approval.expires_ms;
            let operation_hash = operation_hash.to_vec();
            let statement = v1::ApprovalStatement { operation_hash, expires_ms };
            let signature =
                approval.signature.as_ref().ok_or_else(|| missing("approver's signature"))?;
            Ok(GivenApproval {
                approver: Hash::from_slice(approver).ok_or_else(|| missing("approver"))?,
                expires_ms,
                string: approval_string(place.genesis, &statement),
                signature: Signature::read(signature)?,
            })
        })
        .collect()
}

/// The signatures of exactly these keys.
fn holder_signatures(
    index: usize,
    keys: Vec<v1::PublicKey>,
    given: &[v1::KeySignature],
) -> Result<Vec<(v1::PublicKey, Signature)>, AdmissionError> {
    let mut left = given.iter().map(Signature::read).collect::<Result<Vec<_>, _>>()?.into_iter();
    let mut signed = Vec::with_capacity(keys.len());
    for key in keys {
        let id = key_id(&key);
        match left.next() {
            Some(signature) if signature.key_id == id => signed.push((key, signature)),
            _ => return Err(AdmissionError::PossessionMissing { operation: index, key_id: id }),
        }
    }
    match left.next() {
        None => Ok(signed),
        Some(signature) => {
            let key_id = signature.key_id;
            Err(AdmissionError::UnexpectedSignature { operation: index, key_id })
        }
    }
}
