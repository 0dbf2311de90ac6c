//! What the rest of the world reads: DID documents and resolution results as JSON.
//!
//! The view is derived from the stored document and never hashed or signed by the protocol (PROTOCOL §1.1). Order
//! is fixed: members as DID Core 1.1 lists them, keys and services as stored. There is no free text in a document and
//! every endpoint is checked again, so all output is ASCII; a caller that adds text to a result (`detail`) must
//! escape what is not ASCII as `\uXXXX`, because resolvers read `application/did-resolution` as ISO-8859-1.

use crate::datetime::format_datetime;
use crate::did::{Did, DidError};
use crate::did_url::DidUrlError;
use crate::document::{
    ASSERTION_METHOD, AUTHENTICATION, CAPABILITY_DELEGATION, CAPABILITY_INVOCATION, DocumentError,
    KEY_AGREEMENT, document_hash,
};
use crate::key::{multikey, thumbprint};
use crate::service::{check_endpoint, service_id, service_type};
use serde_json::{Map, Value, json};
use sillok_proto::v1::{Actor, DidDocument, Head, ServiceKind};

/// The media type of a DID document (DID Core 1.1, "Media Types").
pub const DID_MEDIA_TYPE: &str = "application/did";

/// The JSON-LD context, the only one a document needs: it defines Multikey.
pub const DID_CONTEXT: &str = "https://www.w3.org/ns/did/v1.1";

/// The relationships of DID Core 1.1 §5.3, in its order. `SUBMIT` is not one of them.
const RELATIONSHIPS: [(u32, &str); 5] = [
    (AUTHENTICATION, "authentication"),
    (ASSERTION_METHOD, "assertionMethod"),
    (KEY_AGREEMENT, "keyAgreement"),
    (CAPABILITY_INVOCATION, "capabilityInvocation"),
    (CAPABILITY_DELEGATION, "capabilityDelegation"),
];

/// A version of a DID, found.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolution {
    /// The head of that version.
    pub head: Head,
    /// Its document; none is needed when the version is the deactivation.
    pub document: Option<DidDocument>,
    /// The version after it, if there is one.
    pub next_version: Option<u64>,
}

/// The errors of DID Resolution 1.0 by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResolutionError {
    /// Not a DID, or not in the form of its method.
    InvalidDid,
    /// A DID followed by an invalid path, query or fragment.
    InvalidDidUrl,
    /// Options that contradict each other or are malformed.
    InvalidOptions,
    /// No such DID, version or resource.
    NotFound,
    /// A media type that is not offered.
    RepresentationNotSupported,
    /// What is stored is not a DID document.
    InvalidDidDocument,
    /// Anything unexpected.
    InternalError,
    /// A DID of another method.
    MethodNotSupported,
    /// An option that is not offered.
    FeatureNotSupported,
}

impl ResolutionError {
    /// Every error, in the order of the enum.
    pub const ALL: [Self; 9] = [
        Self::InvalidDid,
        Self::InvalidDidUrl,
        Self::InvalidOptions,
        Self::NotFound,
        Self::RepresentationNotSupported,
        Self::InvalidDidDocument,
        Self::InternalError,
        Self::MethodNotSupported,
        Self::FeatureNotSupported,
    ];

    /// The name, as in `NOT_FOUND`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidDid => "INVALID_DID",
            Self::InvalidDidUrl => "INVALID_DID_URL",
            Self::InvalidOptions => "INVALID_OPTIONS",
            Self::NotFound => "NOT_FOUND",
            Self::RepresentationNotSupported => "REPRESENTATION_NOT_SUPPORTED",
            Self::InvalidDidDocument => "INVALID_DID_DOCUMENT",
            Self::InternalError => "INTERNAL_ERROR",
            Self::MethodNotSupported => "METHOD_NOT_SUPPORTED",
            Self::FeatureNotSupported => "FEATURE_NOT_SUPPORTED",
        }
    }

    /// A few words for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::InvalidDid => "Invalid DID",
            Self::InvalidDidUrl => "Invalid DID URL",
            Self::InvalidOptions => "Invalid options",
            Self::NotFound => "Not found",
            Self::RepresentationNotSupported => "Representation not supported",
            Self::InvalidDidDocument => "Invalid DID document",
            Self::InternalError => "Internal error",
            Self::MethodNotSupported => "Method not supported",
            Self::FeatureNotSupported => "Feature not supported",
        }
    }

    /// The identifier of the error: the `type` of its RFC 9457 object.
    #[must_use]
    pub fn type_url(self) -> String {
        format!("https://www.w3.org/ns/did#{}", self.name())
    }
}

impl From<&DidError> for ResolutionError {
    /// A DID of another method is not ours to judge; every other fault is in the DID.
    fn from(error: &DidError) -> Self {
        match error {
            DidError::OtherMethod => Self::MethodNotSupported,
            DidError::NotADid { .. }
            | DidError::Parts { .. }
            | DidError::Network
            | DidError::SuffixBase
            | DidError::SuffixAlphabet
            | DidError::SuffixNotCanonical
            | DidError::HashFunction
            | DidError::DigestLength => Self::InvalidDid,
        }
    }
}

impl From<&DidUrlError> for ResolutionError {
    fn from(error: &DidUrlError) -> Self {
        match error {
            DidUrlError::Did { source } => source.into(),
            DidUrlError::Character { .. }
            | DidUrlError::PercentEncoding { .. }
            | DidUrlError::DotSegment { .. }
            | DidUrlError::DuplicateParameter
            | DidUrlError::ParameterNotText
            | DidUrlError::NotRelative => Self::InvalidDidUrl,
        }
    }
}

/// The DID document of `did` as DID Core 1.1 JSON.
///
/// # Errors
///
/// [`DocumentError`] of a key or service that no checked document has.
pub fn document_json(did: &Did, document: &DidDocument) -> Result<Value, DocumentError> {
    let did = did.to_string();
    let mut methods = Vec::with_capacity(document.keys.len());
    let mut references: [Vec<Value>; 5] = Default::default();
    for (index, bound) in document.keys.iter().enumerate() {
        let key = bound.key.as_ref().ok_or(DocumentError::MissingKey { index })?;
        let bad_key = |source| DocumentError::Key { index, source };
        let id = format!("{did}#{}", thumbprint(key).map_err(bad_key)?);
        let mut method = Map::new();
        method.insert("id".into(), json!(id));
        method.insert("type".into(), json!("Multikey"));
        method.insert("controller".into(), json!(did));
        if bound.expires_ms != 0 {
            method.insert("expires".into(), json!(format_datetime(bound.expires_ms)));
        }
        method.insert("publicKeyMultibase".into(), json!(multikey(key).map_err(bad_key)?));
        methods.push(Value::Object(method));
        for ((relationship, _), references) in RELATIONSHIPS.iter().zip(&mut references) {
            if bound.relationships & relationship != 0 {
                references.push(json!(id));
            }
        }
    }
    let mut services = Vec::with_capacity(document.services.len());
    for (index, service) in document.services.iter().enumerate() {
        let kind = match ServiceKind::try_from(service.kind) {
            Ok(ServiceKind::Unspecified) | Err(_) => {
                return Err(DocumentError::UnknownService { index, kind: service.kind });
            }
            Ok(kind) => kind,
        };
        check_endpoint(&service.endpoint)
            .map_err(|source| DocumentError::Endpoint { index, source })?;
        services.push(json!({
            "id": format!("{did}#{}", service_id(kind)),
            "type": service_type(kind),
            "serviceEndpoint": service.endpoint,
        }));
    }

    let mut view = Map::new();
    view.insert("@context".into(), json!([DID_CONTEXT]));
    view.insert("id".into(), json!(did));
    // Sets may be left out but not be empty (DID Core 1.1 §5).
    let sets = [("verificationMethod", methods)]
        .into_iter()
        .chain(RELATIONSHIPS.iter().map(|(_, name)| *name).zip(references))
        .chain([("service", services)]);
    for (name, set) in sets {
        if !set.is_empty() {
            view.insert(name.into(), Value::Array(set));
        }
    }
    Ok(Value::Object(view))
}

/// The result of resolving `did` (DID Resolution 1.0): what was found, or `NOT_FOUND`.
///
/// A deactivated DID is found: it has metadata and no document, and this is no error. A found version that is not
/// of this DID, or whose document is missing or not the one its head names, gives an error and never a document.
#[must_use]
pub fn resolution_json(did: &Did, resolution: Option<&Resolution>) -> Value {
    let Some(found) = resolution else {
        return error_json(ResolutionError::NotFound, "no such did on this ledger at this height");
    };
    if found.head.did != did.digest().as_bytes() {
        return error_json(ResolutionError::InternalError, "the version found is of another did");
    }
    let document = match &found.document {
        _ if found.head.deactivated => Value::Null,
        Some(document) if found.head.document_hash == document_hash(document).as_bytes() => {
            match document_json(did, document) {
                Ok(view) => view,
                Err(error) => {
                    return error_json(ResolutionError::InvalidDidDocument, &error.to_string());
                }
            }
        }
        Some(_) => {
            let detail = "the document is not the one that its version names";
            return error_json(ResolutionError::InvalidDidDocument, detail);
        }
        None => {
            let detail = "the document of this version is not stored here; ask an archive";
            return error_json(ResolutionError::InternalError, detail);
        }
    };
    json!({
        "didDocument": document,
        "didResolutionMetadata": { "contentType": DID_MEDIA_TYPE },
        "didDocumentMetadata": document_metadata(found),
    })
}

fn document_metadata(found: &Resolution) -> Value {
    let head = &found.head;
    let mut metadata = Map::new();
    metadata.insert("created".into(), json!(format_datetime(head.created_ms)));
    if head.version > 1 {
        metadata.insert("updated".into(), json!(format_datetime(head.time_ms)));
    }
    if head.deactivated {
        metadata.insert("deactivated".into(), json!(true));
    }
    // Numbers of 64 bits go out as strings (DID Resolution 1.0, "Metadata Structure").
    metadata.insert("versionId".into(), json!(head.version.to_string()));
    if let Some(next) = found.next_version {
        metadata.insert("nextVersionId".into(), json!(next.to_string()));
    }
    // Ours: who wrote this version, and at which height (PROTOCOL §3.2).
    let actor = match head.actor() {
        Actor::Unspecified => None,
        Actor::Controller => Some("controller"),
        Actor::Authority => Some("authority"),
        Actor::AuthorityAndCountersigner => Some("authorityAndCountersigner"),
    };
    if let Some(actor) = actor {
        metadata.insert("actor".into(), json!(actor));
    }
    metadata.insert("height".into(), json!(head.height.to_string()));
    Value::Object(metadata)
}

/// The result of a resolution that failed. `detail` is for the caller: what is so, and what to do.
#[must_use]
pub fn error_json(error: ResolutionError, detail: &str) -> Value {
    json!({
        "didDocument": null,
        "didResolutionMetadata": {
            "error": { "type": error.type_url(), "title": error.title(), "detail": detail },
        },
        "didDocumentMetadata": {},
    })
}
