//! The DID method `did:sillok`: everything about DIDs that is decidable without state.
//!
//! ```text
//!   did ── did_url                     names
//!   key ── signature                   what a key is, what it signed
//!   service ── document ── inception   what is stored, and what a DID is the hash of
//!   statement ── operation             what is signed, and what can be checked of it without state
//!   view ── datetime                   the JSON that the rest of the world reads
//!   binding ── trqp                    what HTTP asks and answers, without a socket
//! ```
//!
//! Reading order: [`did`], [`did_url`], [`key`], [`signature`], [`service`], [`document`], [`mod@inception`],
//! [`statement`], [`operation`], [`view`], [`binding`], [`trqp`]. Each function is a plain function of its arguments: no clock, no
//! randomness, no I/O. Whether a key may act, and whether a DID exists, is the ledger's to say and is deliberately
//! not here.

pub mod binding;
pub mod datetime;
pub mod did;
pub mod did_url;
pub mod document;
pub mod inception;
pub mod key;
pub mod operation;
pub mod service;
pub mod signature;
pub mod statement;
pub mod trqp;
pub mod view;

pub use datetime::{DatetimeError, format_datetime, parse_datetime};
pub use did::{Did, DidError, METHOD, NETWORK_CHARS_MAX, check_network};
pub use did_url::{DidUrl, DidUrlError, UrlPart};
pub use document::{
    ASSERTION_METHOD, AUTHENTICATION, CAPABILITY_DELEGATION, CAPABILITY_INVOCATION,
    DEVICE_RELATIONSHIPS, DOCUMENT_BYTES_MAX, DocumentError, KEY_AGREEMENT, KEYS_MAX, SERVICES_MAX,
    SUBMIT, check_document, device_key, document_hash,
};
pub use inception::inception_digest;
pub use key::{KeyError, check_key, from_multikey, key_id, multikey, thumbprint};
pub use operation::{
    Accredit, Approve, CHUNK_ENTRIES, Change, CheckedOperation, CreateDid, CreateList,
    DeactivateDid, EndedGrant, Enrollment, EntryState, INDEXES_MAX, Join, LIST_AGE_S,
    LIST_ENTRIES_MAX, LIST_ENTRIES_MIN, NAME_BYTES_MAX, NameError, NewGrant, OperationError,
    OperatorKeys, Propose, PublishType, Recovery, Rekey, SetDevice, SetEnrollment, SetStatus,
    UpdateDid, Withdraw, check_name, check_named_document, check_policy, ed25519_key, inception,
    is_verification_key, next_private_content,
};
pub use service::{ENDPOINT_BYTES_MAX, EndpointError, check_endpoint, service_id, service_type};
pub use signature::{SIGNATURE_BYTES, SignatureError, normalize_p256, verify, verify_ed25519};
pub use statement::{
    OperationHashes, acting_role_string, approval_string, author_statement, author_statement_hash,
    author_string, credential_type_name, head_hash, holder_string, operation_hash,
    operation_list_hash, parameters_hash, prepare_string, private_content_hash, proposal_hash,
    read_string, status_list_name, submitter_string, transaction_id,
};
pub use view::{
    DID_CONTEXT, DID_MEDIA_TYPE, Resolution, ResolutionError, document_json, error_json,
    resolution_json,
};
