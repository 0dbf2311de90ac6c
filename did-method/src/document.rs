//! DID documents as stored: a closed set of keys, relationships and services, in one order.
//!
//! There is no text in a document but the endpoints of an organization, no chosen identifier and no alias: what
//! cannot be written cannot name a person (REQUIREMENTS A1, B2). Whether a key was used before, and who may change
//! a document, is the ledger's to say.

use crate::key::{self, KeyError, check_key};
use crate::service::{EndpointError, check_endpoint};
use sillok_proto::v1::{Algorithm, BoundKey, DidDocument, Kind, ServiceKind};
use sillok_proto::{Hash, Tag};

/// DID Core 1.1 §5.3.1.
pub const AUTHENTICATION: u32 = 1;
/// DID Core 1.1 §5.3.2.
pub const ASSERTION_METHOD: u32 = 2;
/// DID Core 1.1 §5.3.3.
pub const KEY_AGREEMENT: u32 = 4;
/// DID Core 1.1 §5.3.4; here: change the DID, and accredit.
pub const CAPABILITY_INVOCATION: u32 = 8;
/// DID Core 1.1 §5.3.5.
pub const CAPABILITY_DELEGATION: u32 = 16;
/// Bring transactions to the ledger. Not a relationship of DID Core.
pub const SUBMIT: u32 = 32;

/// Exactly what the device key of a holder may do.
pub const DEVICE_RELATIONSHIPS: u32 = AUTHENTICATION | ASSERTION_METHOD | CAPABILITY_INVOCATION;

/// What a signing key of an organization may do, in any non-empty union.
const SIGNING_RELATIONSHIPS: u32 =
    AUTHENTICATION | ASSERTION_METHOD | CAPABILITY_INVOCATION | CAPABILITY_DELEGATION | SUBMIT;

/// Most keys in the document of an organization.
pub const KEYS_MAX: usize = 16;

/// Most services in the document of an organization: one of each kind.
pub const SERVICES_MAX: usize = 6;

/// Longest canonical encoding of a document, in bytes. The rules keep a document well below it.
pub const DOCUMENT_BYTES_MAX: usize = 4096;

/// 9999-12-31T23:59:59Z, the last second with a year of four digits: later ends could not be shown.
const EXPIRES_MS_MAX: u64 = 253_402_300_799_000;

/// Why a document is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The kind is none of the known ones.
    #[error("the kind of the did is not known; use organization or holder")]
    UnknownKind,
    /// More keys than the kind may have.
    #[error("the document has {count} keys, more than the {max} allowed; remove some")]
    TooManyKeys {
        /// Keys in the document.
        count: usize,
        /// Most keys of this kind.
        max: usize,
    },
    /// An entry without a key.
    #[error("entry {index} of the keys holds no key; remove it")]
    MissingKey {
        /// Place among the keys, from 0.
        index: usize,
    },
    /// A key that is none.
    #[error("key {index} is not usable: {source}")]
    Key {
        /// Place among the keys, from 0.
        index: usize,
        /// What is wrong with it.
        source: KeyError,
    },
    /// Keys out of order, or one key twice.
    #[error(
        "key {index} is not after the key before it; sort keys by algorithm and point, each once"
    )]
    KeyOrder {
        /// Place among the keys, from 0.
        index: usize,
    },
    /// Relationships that a key of this algorithm and kind may not have.
    #[error(
        "key {index} may not have the relationships {relationships}; see the method specification, documents"
    )]
    Relationships {
        /// Place among the keys, from 0.
        index: usize,
        /// The sum as received.
        relationships: u32,
    },
    /// An end that is not a whole second, or beyond the year 9999.
    #[error(
        "the end of key {index} is not a whole second up to the year 9999; round it down, or 0 for no end"
    )]
    Expires {
        /// Place among the keys, from 0.
        index: usize,
    },
    /// A second device key, or a second key-agreement key, in the document of a holder.
    #[error(
        "key {index} is a second key for one use; a holder has one device key and one key-agreement key at most"
    )]
    SecondKey {
        /// Place among the keys, from 0.
        index: usize,
    },
    /// A holder's key-agreement key without a device key.
    #[error("a key-agreement key stands without a device key; remove it too")]
    AgreementWithoutDevice,
    /// An organization that nobody could change.
    #[error("no key has capabilityInvocation; an organization needs one to change its did")]
    NoController,
    /// Services in the document of a holder.
    #[error("a holder has no services; remove them")]
    HolderServices,
    /// A service of no known kind.
    #[error("service {index} is of an unknown kind {kind}; use one of the closed set")]
    UnknownService {
        /// Place among the services, from 0.
        index: usize,
        /// The number as received.
        kind: i32,
    },
    /// Services out of order, or one kind twice.
    #[error("service {index} is not after the service before it; sort services by kind, each once")]
    ServiceOrder {
        /// Place among the services, from 0.
        index: usize,
    },
    /// An endpoint outside the grammar.
    #[error("the endpoint of service {index} is refused: {source}")]
    Endpoint {
        /// Place among the services, from 0.
        index: usize,
        /// What is wrong with it.
        source: EndpointError,
    },
}

/// Checks that `document` is one that a DID of `kind` may have.
///
/// # Errors
///
/// The [`DocumentError`] of the first rule that it breaks.
pub fn check_document(kind: Kind, document: &DidDocument) -> Result<(), DocumentError> {
    let keys_max = match kind {
        Kind::Organization => KEYS_MAX,
        Kind::Holder => 2,
        Kind::Unspecified => return Err(DocumentError::UnknownKind),
    };
    // The cheap bounds first: a key takes a curve operation.
    if document.keys.len() > keys_max {
        return Err(DocumentError::TooManyKeys { count: document.keys.len(), max: keys_max });
    }
    check_keys(&document.keys)?;
    match kind {
        Kind::Organization => {
            check_organization_keys(&document.keys)?;
            check_services(document)
        }
        Kind::Holder => {
            check_holder_keys(&document.keys)?;
            if document.services.is_empty() { Ok(()) } else { Err(DocumentError::HolderServices) }
        }
        Kind::Unspecified => Err(DocumentError::UnknownKind),
    }
}

/// What holds for the keys of either kind.
fn check_keys(keys: &[BoundKey]) -> Result<(), DocumentError> {
    let mut before = None;
    for (index, bound) in keys.iter().enumerate() {
        let key = bound.key.as_ref().ok_or(DocumentError::MissingKey { index })?;
        check_key(key).map_err(|source| DocumentError::Key { index, source })?;
        let place = (key.algorithm, key.point.as_slice());
        if before.is_some_and(|before| before >= place) {
            return Err(DocumentError::KeyOrder { index });
        }
        before = Some(place);
        if !bound.expires_ms.is_multiple_of(1000) || bound.expires_ms > EXPIRES_MS_MAX {
            return Err(DocumentError::Expires { index });
        }
    }
    Ok(())
}

fn check_organization_keys(keys: &[BoundKey]) -> Result<(), DocumentError> {
    for (index, bound) in keys.iter().enumerate() {
        let relationships = bound.relationships;
        let allowed = if is_agreement(bound) {
            relationships == KEY_AGREEMENT
        } else {
            relationships != 0 && relationships & !SIGNING_RELATIONSHIPS == 0
        };
        if !allowed {
            return Err(DocumentError::Relationships { index, relationships });
        }
    }
    if keys.iter().any(|bound| bound.relationships & CAPABILITY_INVOCATION != 0) {
        Ok(())
    } else {
        Err(DocumentError::NoController)
    }
}

fn check_holder_keys(keys: &[BoundKey]) -> Result<(), DocumentError> {
    let (mut devices, mut agreements) = (0_usize, 0_usize);
    for (index, bound) in keys.iter().enumerate() {
        let relationships = bound.relationships;
        let (expected, count) = if is_agreement(bound) {
            (KEY_AGREEMENT, &mut agreements)
        } else {
            (DEVICE_RELATIONSHIPS, &mut devices)
        };
        if relationships != expected {
            return Err(DocumentError::Relationships { index, relationships });
        }
        if *count == 1 {
            return Err(DocumentError::SecondKey { index });
        }
        *count = 1;
    }
    if agreements > devices { Err(DocumentError::AgreementWithoutDevice) } else { Ok(()) }
}

fn check_services(document: &DidDocument) -> Result<(), DocumentError> {
    // No bound on their number is needed: the order admits each of the six kinds once.
    let mut before = ServiceKind::Unspecified;
    for (index, service) in document.services.iter().enumerate() {
        let kind = match ServiceKind::try_from(service.kind) {
            Ok(ServiceKind::Unspecified) | Err(_) => {
                return Err(DocumentError::UnknownService { index, kind: service.kind });
            }
            Ok(kind) => kind,
        };
        if before >= kind {
            return Err(DocumentError::ServiceOrder { index });
        }
        before = kind;
        check_endpoint(&service.endpoint)
            .map_err(|source| DocumentError::Endpoint { index, source })?;
    }
    Ok(())
}

/// Whether the key is for key agreement by its algorithm.
fn is_agreement(bound: &BoundKey) -> bool {
    bound.key.as_ref().is_some_and(|key| key::algorithm(key) == Ok(Algorithm::X25519))
}

/// `H("document", document)`: what operations and heads name a document by.
#[must_use]
pub fn document_hash(document: &DidDocument) -> Hash {
    Tag::Document.hash_message(document)
}

/// The device key of a holder's document, if it has one. The document must have passed [`check_document`] as a
/// holder's; to ask this of an organization's document is meaningless.
#[must_use]
pub fn device_key(document: &DidDocument) -> Option<&BoundKey> {
    document
        .keys
        .iter()
        .find(|bound| bound.relationships == DEVICE_RELATIONSHIPS && !is_agreement(bound))
}
