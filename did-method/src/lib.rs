//! The DID method `did:sillok`: everything about DIDs that is decidable without state.
//!
//! ```text
//!   did ── did_url                     names
//!   key ── signature                   what a key is, what it signed
//!   service ── document ── inception   what is stored, and what a DID is the hash of
//!   view ── datetime                   the JSON that the rest of the world reads
//! ```
//!
//! Reading order: [`did`], [`did_url`], [`key`], [`signature`], [`service`], [`document`], [`inception`],
//! [`view`]. Each function is a plain function of its arguments: no clock, no randomness, no I/O. Whether a key
//! may act, and whether a DID exists, is the ledger's to say and is deliberately not here.

pub mod did;
pub mod document;
pub mod inception;
pub mod key;
pub mod service;
pub mod signature;

pub use did::{Did, DidError, METHOD, NETWORK_CHARS_MAX, check_network};
pub use document::{
    ASSERTION_METHOD, AUTHENTICATION, CAPABILITY_DELEGATION, CAPABILITY_INVOCATION,
    DEVICE_RELATIONSHIPS, DOCUMENT_BYTES_MAX, DocumentError, KEY_AGREEMENT, KEYS_MAX, SERVICES_MAX,
    SUBMIT, check_document, device_key, document_hash,
};
pub use inception::inception_digest;
pub use key::{KeyError, check_key, from_multikey, key_id, multikey, thumbprint};
pub use service::{ENDPOINT_BYTES_MAX, EndpointError, check_endpoint, service_id, service_type};
pub use signature::{SIGNATURE_BYTES, SignatureError, normalize_p256, verify, verify_ed25519};
