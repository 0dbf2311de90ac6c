//! The operations, as far as they can be checked without state: on DIDs, on members, of trust, and on status.
//!
//! [`CheckedOperation::check`] turns a decoded operation and the document beside it into domain types. What is *not*
//! here: versions, grants, used keys and signatures; they need the state and belong to the ledger.

mod governance;
mod status;
mod trust;

pub use governance::{Approve, Change, Join, OperatorKeys, Propose, Rekey, ed25519_key};
pub use status::{
    CHUNK_ENTRIES, CreateList, Enrollment, EntryState, INDEXES_MAX, LIST_AGE_S, LIST_ENTRIES_MAX,
    LIST_ENTRIES_MIN, SetEnrollment, SetStatus,
};
pub use trust::{
    APPROVAL_MS_MAX, APPROVALS_MAX, Accredit, BACKDATING_MS_MAX, EndedGrant, GRACE_MS_MAX,
    NAME_BYTES_MAX, NameError, NewGrant, PublishType, RESERVATION_MS_MAX, VALIDITY_MS_MAX,
    Withdraw, check_name, check_policy,
};

use crate::{DocumentError, KeyError, check_document, document_hash, inception_digest};
use sillok_proto::{Hash, v1};

/// Who may give a DID a new key when its own is lost (PROTOCOL §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Nobody: a DID left without a device stays so.
    None,
    /// The registering authority together with this organization.
    Assisted {
        /// Digest of the countersigning organization's DID.
        countersigner: Hash,
    },
}

impl Recovery {
    /// Reads the rule as it stands in a message.
    ///
    /// # Errors
    ///
    /// [`OperationError::HashLength`] if the countersigner is not 32 bytes.
    pub fn read(rule: Option<&v1::RecoveryRule>) -> Result<Self, OperationError> {
        match rule {
            None => Ok(Self::None),
            Some(rule) => {
                Ok(Self::Assisted { countersigner: hash(&rule.countersigner, "countersigner")? })
            }
        }
    }

    /// The rule as a field of a message.
    #[must_use]
    pub fn write(&self) -> Option<v1::RecoveryRule> {
        match self {
            Self::None => None,
            Self::Assisted { countersigner } => {
                Some(v1::RecoveryRule { countersigner: countersigner.to_vec() })
            }
        }
    }
}

/// An operation that is well formed, with its document, and whose DID or operator belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub enum CheckedOperation {
    /// See [`CreateDid`].
    Create(CreateDid),
    /// See [`UpdateDid`].
    Update(UpdateDid),
    /// See [`SetDevice`].
    SetDevice(SetDevice),
    /// See [`DeactivateDid`].
    Deactivate(DeactivateDid),
    /// See [`Propose`].
    Propose(Propose),
    /// See [`Approve`].
    Approve(Approve),
    /// See [`Join`].
    Join(Join),
    /// See [`Rekey`].
    Rekey(Rekey),
    /// See [`Accredit`].
    Accredit(Accredit),
    /// See [`Withdraw`].
    Withdraw(Withdraw),
    /// See [`PublishType`].
    PublishType(PublishType),
    /// See [`CreateList`].
    CreateList(CreateList),
    /// See [`SetStatus`].
    SetStatus(SetStatus),
    /// See [`SetEnrollment`].
    SetEnrollment(SetEnrollment),
}

/// Registering a DID under its inception.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateDid {
    /// Digest of the new DID.
    pub did: Hash,
    /// Organization or holder.
    pub kind: v1::Kind,
    /// Digest of the registering authority.
    pub authority: Hash,
    /// The recovery rule.
    pub recovery: Recovery,
    /// The first document.
    pub document: v1::DidDocument,
}

/// Replacing a document, and for its controller the recovery rule.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateDid {
    /// Digest of the DID.
    pub did: Hash,
    /// Hash of the head this builds on.
    pub previous: Hash,
    /// The new document.
    pub document: v1::DidDocument,
    /// The new recovery rule, if it changes.
    pub recovery: Option<Recovery>,
}

/// Setting or taking away a holder's one device key.
#[derive(Debug, Clone, PartialEq)]
pub struct SetDevice {
    /// Digest of the DID.
    pub did: Hash,
    /// Hash of the head this builds on. `None` only where the authority takes a device away: naming a version, it
    /// could be outrun by a thief who updates every second.
    pub previous: Option<Hash>,
    /// The new document; `None` leaves the DID without a device.
    pub document: Option<v1::DidDocument>,
}

/// The last operation of a DID.
#[derive(Debug, Clone, PartialEq)]
pub struct DeactivateDid {
    /// Digest of the DID.
    pub did: Hash,
    /// Hash of the head this builds on.
    pub previous: Hash,
}

/// Why an operation is refused without looking at the state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// The `oneof` is empty or of a later protocol version.
    #[error("the operation is of no known kind; use one that this protocol version defines")]
    UnknownOperation,
    /// A field that holds a digest or a hash.
    #[error("`{field}` has {len} bytes; a digest or hash has 32")]
    HashLength {
        /// Name of the field.
        field: &'static str,
        /// Length received, in bytes.
        len: usize,
    },
    /// The operation names a document that does not stand beside the body.
    #[error(
        "the operation names a document that is not beside it; send the documents in the order of the operations"
    )]
    MissingDocument,
    /// The document beside the operation has another hash.
    #[error(
        "the document's hash is {actual} but the operation names {named}; sign the operation for this document"
    )]
    DocumentHash {
        /// Hash named in the operation.
        named: Hash,
        /// Hash of the document received.
        actual: Hash,
    },
    /// A rule of documents.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The kind is neither organization nor holder.
    #[error("the kind is unknown; a DID is of an organization or of a holder")]
    UnknownKind,
    /// Only governance registers without an authority.
    #[error("a DID is registered by an authority; name its digest")]
    AuthorityRequired,
    /// A new holder brings the key of its device.
    #[error("a new holder has no device key; create the DID with the key of its device")]
    DeviceRequired,
    /// The authority cannot assist itself.
    #[error("the countersigner is the registering authority itself; name another organization")]
    CountersignerIsAuthority,
    /// The digest is not the hash of the inception.
    #[error(
        "the inception's digest is {actual} but the operation names {named}; derive the DID from its first keys, authority and recovery rule"
    )]
    InceptionMismatch {
        /// Digest named in the operation.
        named: Hash,
        /// Digest of the inception.
        actual: Hash,
    },
    /// A device is set by a document that has none.
    #[error(
        "the document of `set device` has no device key; leave the document out to take the device away"
    )]
    NoDeviceInDocument,
    /// A device can be given only on top of a named version.
    #[error(
        "setting a device key names the version it builds on; resolve the DID and set `previous`"
    )]
    PreviousRequired,
    /// A proposal that proposes nothing.
    #[error("the proposal has no change of a known kind; say what is to change")]
    ProposalWithoutChange,
    /// A proposal that never ends.
    #[error("the proposal has no end; set `expires_ms`, at most 30 days ahead")]
    ProposalWithoutEnd,
    /// A key of an operator or an observer.
    #[error("`{field}` is no key of an operator or observer: {source}")]
    OperatorKey {
        /// Name of the field.
        field: &'static str,
        /// What is wrong with the key.
        source: KeyError,
    },
    /// One key for two uses.
    #[error("key {key_id} is both `{}` and `{}`; make one for each use", .fields[0], .fields[1])]
    OperatorKeyTwice {
        /// Names of the fields.
        fields: [&'static str; 2],
        /// The key.
        key_id: Hash,
    },
    /// The action is none that this protocol version has.
    #[error("action {number} is unknown; use one that this protocol version defines")]
    UnknownAction {
        /// The number received.
        number: i32,
    },
    /// An action that is never on one thing.
    #[error("{} is not on one thing; leave the resource out", .action.as_str_name())]
    ResourceNotAllowed {
        /// The action.
        action: v1::Action,
    },
    /// An accreditation or a withdrawal of nothing.
    #[error("the operation has no grant; say which")]
    GrantMissing,
    /// Nobody gives itself a right.
    #[error("the grantor is the receiver; nobody gives a right to itself")]
    GrantToItself,
    /// A period that ends before it begins.
    #[error("the period ends at {until_ms} ms and begins at {from_ms} ms; let it end later")]
    PeriodEmpty {
        /// Its beginning.
        from_ms: u64,
        /// Its end.
        until_ms: u64,
    },
    /// A name that people could not read for what it is.
    #[error("the name is refused: {0}")]
    Name(#[from] NameError),
    /// Versions count from one.
    #[error("a type has no version 0; the first one is 1")]
    TypeVersionZero,
    /// The nonce is in the name of the type, and so of version 1 alone.
    #[error("the nonce has {len} bytes; this version has one of {expected}")]
    TypeNonce {
        /// Length received, in bytes.
        len: usize,
        /// 16 for version 1, else 0.
        expected: usize,
    },
    /// A version that says nothing.
    #[error("the version has no content or no policy; say what it is")]
    TypeContentMissing,
    /// A rule of rules of types.
    #[error("{field} of the policy is refused: {reason}; set it within")]
    TypePolicy {
        /// Name of the field.
        field: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// The operation names a private content that does not stand beside the body.
    #[error(
        "the operation names a private content that is not beside it; send the contents in the order of the operations"
    )]
    MissingPrivateContent,
    /// The private content beside the operation has another hash.
    #[error(
        "the private content's hash is {actual} but the operation names {named}; sign the operation for this content"
    )]
    PrivateContentHash {
        /// Hash named in the operation.
        named: Hash,
        /// Hash of the content received.
        actual: Hash,
    },
    /// A figure outside its bounds, or a number outside a closed set.
    #[error("`{field}` may not be {value}; see docs/status.md for its range")]
    OutOfRange {
        /// Name of the field.
        field: &'static str,
        /// The value received.
        value: u64,
    },
    /// A nonce of another length.
    #[error("the nonce has {len} bytes; draw 16 at random")]
    NonceLength {
        /// Length received, in bytes.
        len: usize,
    },
    /// No index, or too many.
    #[error("there are {count} indexes; name 1 to {INDEXES_MAX}")]
    IndexCount {
        /// How many there are.
        count: usize,
    },
    /// Indexes out of order, or one twice.
    #[error("index {index} is not after the one before it; sort indexes, each once")]
    IndexOrder {
        /// The index.
        index: u32,
    },
    /// A field that says something only elsewhere.
    #[error("`{field}` is not called for here; leave it out")]
    UncalledField {
        /// Name of the field.
        field: &'static str,
    },
    /// A field without which the operation says nothing.
    #[error("`{field}` is missing; set it")]
    MissingField {
        /// Name of the field.
        field: &'static str,
    },
    /// A one-time or enrollment key.
    #[error("`{field}` is no key: {source}")]
    HolderKey {
        /// Name of the field.
        field: &'static str,
        /// What is wrong with the key.
        source: KeyError,
    },
    /// A key that cannot sign.
    #[error("`{field}` is for key agreement and cannot sign; use one that can")]
    HolderKeyAgreement {
        /// Name of the field.
        field: &'static str,
    },
    /// One key for two uses.
    #[error("key {key_id} is both the one-time and the enrollment key; make a new enrollment key")]
    SameKey {
        /// The key.
        key_id: Hash,
    },
}

fn hash(bytes: &[u8], field: &'static str) -> Result<Hash, OperationError> {
    Hash::from_slice(bytes).ok_or(OperationError::HashLength { field, len: bytes.len() })
}

/// Can the key sign, and so prove possession? Key-agreement keys cannot.
#[must_use]
pub fn is_verification_key(key: &v1::PublicKey) -> bool {
    key.algorithm() != v1::Algorithm::X25519
}

/// The inception of a DID: what its digest is the hash of.
#[must_use]
pub fn inception(
    kind: v1::Kind,
    document: &v1::DidDocument,
    authority: Option<&Hash>,
    recovery: &Recovery,
) -> v1::Inception {
    v1::Inception {
        kind: kind.into(),
        keys: document.keys.clone(),
        authority: authority.map(|digest| digest.to_vec()).unwrap_or_default(),
        recovery: recovery.write(),
    }
}

impl CheckedOperation {
    /// Checks `operation`, taking the document it names, if it names one, from the front of `documents`.
    ///
    /// Whether a document fits the kind of an existing DID is checked with the state.
    ///
    /// # Errors
    ///
    /// [`OperationError`]: the first rule broken.
    pub fn check<'a>(
        operation: &v1::Operation,
        documents: &mut impl Iterator<Item = &'a v1::DidDocument>,
    ) -> Result<Self, OperationError> {
        use v1::operation::Operation as Wire;
        match operation.operation.as_ref().ok_or(OperationError::UnknownOperation)? {
            Wire::CreateDid(op) => CreateDid::check(op, documents).map(Self::Create),
            Wire::UpdateDid(op) => UpdateDid::check(op, documents).map(Self::Update),
            Wire::SetDevice(op) => SetDevice::check(op, documents).map(Self::SetDevice),
            Wire::DeactivateDid(op) => Ok(Self::Deactivate(DeactivateDid {
                did: hash(&op.did, "did")?,
                previous: hash(&op.previous, "previous")?,
            })),
            Wire::Propose(op) => Propose::check(op).map(Self::Propose),
            Wire::Approve(op) => Approve::check(op).map(Self::Approve),
            Wire::Join(op) => Join::check(op).map(Self::Join),
            Wire::Rekey(op) => Rekey::check(op).map(Self::Rekey),
            Wire::Accredit(op) => Accredit::check(op).map(Self::Accredit),
            Wire::Withdraw(op) => Withdraw::check(op).map(Self::Withdraw),
            Wire::PublishType(op) => PublishType::check(op).map(Self::PublishType),
            Wire::CreateList(op) => CreateList::check(op).map(Self::CreateList),
            Wire::SetStatus(op) => SetStatus::check(op).map(Self::SetStatus),
            Wire::SetEnrollment(op) => SetEnrollment::check(op).map(Self::SetEnrollment),
        }
    }

    /// Digest of the DID that the operation changes; of the organization that acts, or name of the list, where it changes
    /// none.
    #[must_use]
    pub const fn subject(&self) -> &Hash {
        match self {
            Self::Create(op) => &op.did,
            Self::Update(op) => &op.did,
            Self::SetDevice(op) => &op.did,
            Self::Deactivate(op) => &op.did,
            Self::Propose(op) => &op.operator,
            Self::Approve(op) => &op.operator,
            Self::Join(op) => &op.operator,
            Self::Rekey(op) => &op.operator,
            Self::Accredit(op) => &op.grantor,
            Self::Withdraw(op) => &op.by,
            Self::PublishType(op) => &op.publisher,
            Self::CreateList(op) => &op.issuer,
            Self::SetStatus(op) => &op.list,
            Self::SetEnrollment(op) => &op.issuer,
        }
    }

    /// Is it of the operators that run the network?
    #[must_use]
    pub const fn is_governance(&self) -> bool {
        match self {
            Self::Create(_)
            | Self::Update(_)
            | Self::SetDevice(_)
            | Self::Deactivate(_)
            | Self::Accredit(_)
            | Self::Withdraw(_)
            | Self::PublishType(_)
            | Self::CreateList(_)
            | Self::SetStatus(_)
            | Self::SetEnrollment(_) => false,
            Self::Propose(_) | Self::Approve(_) | Self::Join(_) | Self::Rekey(_) => true,
        }
    }
}

fn take_document<'a>(
    named: &[u8],
    documents: &mut impl Iterator<Item = &'a v1::DidDocument>,
) -> Result<v1::DidDocument, OperationError> {
    next_document(named, documents).cloned()
}

fn next_document<'a>(
    named: &[u8],
    documents: &mut impl Iterator<Item = &'a v1::DidDocument>,
) -> Result<&'a v1::DidDocument, OperationError> {
    let named = hash(named, "document_hash")?;
    let document = documents.next().ok_or(OperationError::MissingDocument)?;
    let actual = document_hash(document);
    if actual != named {
        return Err(OperationError::DocumentHash { named, actual });
    }
    Ok(document)
}

/// Checks that the document `operation` names, if it names one, is next in `documents`, and takes it. Nothing else
/// about the operation is looked at.
///
/// # Errors
///
/// [`OperationError::MissingDocument`], [`OperationError::DocumentHash`], or [`OperationError::HashLength`].
pub fn check_named_document<'a>(
    operation: &v1::Operation,
    documents: &mut impl Iterator<Item = &'a v1::DidDocument>,
) -> Result<(), OperationError> {
    use v1::operation::Operation as Wire;
    let named = match &operation.operation {
        Some(Wire::CreateDid(op)) => &op.document_hash,
        Some(Wire::UpdateDid(op)) => &op.document_hash,
        Some(Wire::SetDevice(op)) if !op.document_hash.is_empty() => &op.document_hash,
        Some(
            Wire::SetDevice(_)
            | Wire::DeactivateDid(_)
            | Wire::Propose(_)
            | Wire::Approve(_)
            | Wire::Join(_)
            | Wire::Rekey(_)
            | Wire::Accredit(_)
            | Wire::Withdraw(_)
            | Wire::PublishType(_)
            | Wire::CreateList(_)
            | Wire::SetStatus(_)
            | Wire::SetEnrollment(_),
        )
        | None => return Ok(()),
    };
    next_document(named, documents).map(|_| ())
}

/// Takes the private content that `operation` names from the front of `contents`; `None` if it names none.
///
/// # Errors
///
/// [`OperationError::MissingPrivateContent`], [`OperationError::PrivateContentHash`], or
/// [`OperationError::HashLength`].
pub fn next_private_content<'a>(
    operation: &v1::Operation,
    contents: &mut impl Iterator<Item = &'a v1::PrivateContent>,
) -> Result<Option<&'a v1::PrivateContent>, OperationError> {
    use v1::operation::Operation as Wire;
    let named = match &operation.operation {
        Some(Wire::SetStatus(op)) => &op.content_hash,
        Some(Wire::SetEnrollment(op)) => &op.content_hash,
        _ => return Ok(None),
    };
    let named = hash(named, "content_hash")?;
    let content = contents.next().ok_or(OperationError::MissingPrivateContent)?;
    let actual = crate::private_content_hash(content);
    if actual != named {
        return Err(OperationError::PrivateContentHash { named, actual });
    }
    Ok(Some(content))
}

impl CreateDid {
    fn check<'a>(
        op: &v1::CreateDid,
        documents: &mut impl Iterator<Item = &'a v1::DidDocument>,
    ) -> Result<Self, OperationError> {
        let did = hash(&op.did, "did")?;
        let kind = v1::Kind::try_from(op.kind).unwrap_or(v1::Kind::Unspecified);
        if kind == v1::Kind::Unspecified {
            return Err(OperationError::UnknownKind);
        }
        if op.authority.is_empty() {
            return Err(OperationError::AuthorityRequired);
        }
        let authority = hash(&op.authority, "authority")?;
        let recovery = Recovery::read(op.recovery.as_ref())?;
        if recovery == (Recovery::Assisted { countersigner: authority }) {
            return Err(OperationError::CountersignerIsAuthority);
        }
        let document = take_document(&op.document_hash, documents)?;
        check_document(kind, &document)?;
        if kind == v1::Kind::Holder && crate::device_key(&document).is_none() {
            return Err(OperationError::DeviceRequired);
        }
        let actual = inception_digest(&inception(kind, &document, Some(&authority), &recovery));
        if actual != did {
            return Err(OperationError::InceptionMismatch { named: did, actual });
        }
        Ok(Self { did, kind, authority, recovery, document })
    }
}

impl UpdateDid {
    fn check<'a>(
        op: &v1::UpdateDid,
        documents: &mut impl Iterator<Item = &'a v1::DidDocument>,
    ) -> Result<Self, OperationError> {
        Ok(Self {
            did: hash(&op.did, "did")?,
            previous: hash(&op.previous, "previous")?,
            document: take_document(&op.document_hash, documents)?,
            recovery: match &op.recovery {
                None => None,
                Some(change) => Some(Recovery::read(change.rule.as_ref())?),
            },
        })
    }
}

impl SetDevice {
    fn check<'a>(
        op: &v1::SetDevice,
        documents: &mut impl Iterator<Item = &'a v1::DidDocument>,
    ) -> Result<Self, OperationError> {
        let did = hash(&op.did, "did")?;
        let previous =
            if op.previous.is_empty() { None } else { Some(hash(&op.previous, "previous")?) };
        let document = if op.document_hash.is_empty() {
            None
        } else {
            let document = take_document(&op.document_hash, documents)?;
            check_document(v1::Kind::Holder, &document)?;
            if crate::device_key(&document).is_none() {
                return Err(OperationError::NoDeviceInDocument);
            }
            if previous.is_none() {
                return Err(OperationError::PreviousRequired);
            }
            Some(document)
        };
        Ok(Self { did, previous, document })
    }
}
