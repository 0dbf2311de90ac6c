//! Who may read what is private: the issuer whose it is, and who may audit the type (PROTOCOL §2.4, §4.2).
//!
//! A request is signed by a submitting key of the organization that asks, over a header of a moment ago. Who may not read
//! something is told the same whether it is there or not, so a refusal says nothing. Nothing here is a rule of blocks: a
//! door asks it, on the state that it answers from.

use crate::admit::{self, Frame};
use crate::transaction::Signature;
use crate::{AdmissionError, Retry, StateFault, StateView, TreeKey, authority};
use sillok_did_method::{SUBMIT, read_string};
use sillok_proto::{Hash, v1};

/// Longest encoded [`v1::ReadStatement`], in bytes.
pub const READ_BYTES_MAX: usize = 8 * 1024;
/// Most entries that one request asks for.
pub const READ_INDEXES_MAX: usize = 1_024;
/// Oldest header over which a request is signed, in milliseconds of ledger time before the answer's: a copy of a request
/// is worth nothing after that.
pub const READ_HEADER_AGE_MS_MAX: u64 = 60_000;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// Single entries of a list.
    Entries {
        /// Name of the list.
        list: Hash,
        /// Ascending, at least one.
        indexes: Vec<u32>,
    },
    /// An enrollment.
    Enrollment {
        /// Digest of the issuer.
        issuer: Hash,
        /// Name of the type.
        credential_type: Hash,
        /// The handle.
        handle: Hash,
    },
    /// The private contents of a transaction.
    Contents {
        /// Its id.
        transaction_id: Hash,
    },
}

/// Why a private read is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are named by the message of their variant")]
pub enum ReadError {
    /// A field of the statement.
    #[error("`{field}` of the read statement is missing or not as it should be; correct it")]
    Form { field: &'static str },
    /// The header is none of this chain, or too old: the request may be a copy of somebody else's.
    #[error(
        "the read statement names no header of the last {READ_HEADER_AGE_MS_MAX} ms before height {height}; sign it again over a newer one"
    )]
    Expired { height: u64 },
    /// Who asks is not known, or did not sign.
    #[error(transparent)]
    Unknown(#[from] AdmissionError),
    /// Neither the issuer nor an auditor, or there is no such thing: which of them is not said.
    #[error(
        "there is nothing here that this organization may read; only the issuer and who may audit the type may"
    )]
    NotAllowed,
}

impl From<StateFault> for ReadError {
    fn from(fault: StateFault) -> Self {
        Self::Unknown(fault.into())
    }
}

impl ReadError {
    /// The code that programs match on.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Form { .. } => "INVALID_READ",
            Self::Expired { .. } => "READ_EXPIRED",
            Self::Unknown(error) => error.code(),
            Self::NotAllowed => "READ_NOT_ALLOWED",
        }
    }

    /// Whether sending it again can help.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Unknown(error) => error.retry(),
            Self::Form { .. } | Self::Expired { .. } | Self::NotAllowed => Retry::AfterFix,
        }
    }
}

/// Checks the form of a statement, that its header is of a moment ago, and that the organization signed it. Returns who
/// asks, and for what; whether it may is [`may_read`]'s.
///
/// # Errors
///
/// [`ReadError`]: the first that is not so, or a storage fault.
pub fn check_read<V: StateView + ?Sized>(
    frame: &Frame<'_>,
    view: &V,
    statement: &v1::ReadStatement,
    signature: &v1::KeySignature,
) -> Result<(Hash, Read), ReadError> {
    let digest = |bytes: &[u8], field| Hash::from_slice(bytes).ok_or(ReadError::Form { field });
    let organization = digest(&statement.organization, "organization")?;
    let read = match statement.read.as_ref().ok_or(ReadError::Form { field: "read" })? {
        v1::read_statement::Read::Entries(read) => {
            let indexes = read.indexes.clone();
            let is_ascending = indexes.windows(2).all(|pair| pair[0] < pair[1]);
            if indexes.is_empty() || indexes.len() > READ_INDEXES_MAX || !is_ascending {
                return Err(ReadError::Form { field: "indexes" });
            }
            Read::Entries { list: digest(&read.list, "list")?, indexes }
        }
        v1::read_statement::Read::Enrollment(read) => Read::Enrollment {
            issuer: digest(&read.issuer, "issuer")?,
            credential_type: digest(&read.r#type, "type")?,
            handle: digest(&read.handle, "handle")?,
        },
        v1::read_statement::Read::Contents(read) => {
            Read::Contents { transaction_id: digest(&read.transaction_id, "transaction_id")? }
        }
    };
    let header = frame.recent.header(statement.header_height);
    let fresh = header.is_some_and(|header| {
        header.hash.0 == statement.header_hash.as_slice()
            && frame.time_ms.saturating_sub(header.time_ms) <= READ_HEADER_AGE_MS_MAX
    });
    if !fresh {
        return Err(ReadError::Expired { height: frame.height });
    }
    let document = admit::organization(view, &organization)?
        .ok_or(AdmissionError::UnknownOrganization { organization })?;
    let signature = Signature::read(signature)?;
    let id = &signature.key_id;
    let key = admit::usable_key(frame, &organization, &document, id, SUBMIT, "read for it")?;
    let string = read_string(frame.chain.hash(), statement);
    if !frame.verifier.verify(key, &string, &signature.bytes) {
        return Err(AdmissionError::BadSignature { key_id: signature.key_id }.into());
    }
    Ok((organization, read))
}

/// May `organization` read what is private of `issuer` and a type at this time: is it the issuer, or may it audit the type?
///
/// An issuer holds `issue` on the type, or held it: grants end and are never deleted, so whoever is wound down or cut off
/// still reads what it issued. Whoever never held it has nothing there to read.
///
/// # Errors
///
/// [`StateFault`] if the view could not be read.
pub fn may_read<V: StateView + ?Sized>(
    view: &V,
    organization: &Hash,
    issuer: &Hash,
    credential_type: &Hash,
    time_ms: u64,
) -> Result<bool, StateFault> {
    if organization == issuer && ever_held(view, issuer, v1::Action::Issue, credential_type)? {
        return Ok(true);
    }
    let audit = v1::Action::Audit;
    Ok(authority::chain(view, organization, audit, &credential_type.0, time_ms)?.is_some())
}

/// Was a grant of this kind ever given, on the type or on all?
fn ever_held<V: StateView + ?Sized>(
    view: &V,
    organization: &Hash,
    action: v1::Action,
    credential_type: &Hash,
) -> Result<bool, StateFault> {
    for resource in [&credential_type.0[..], &[]] {
        if view.leaf(&TreeKey::grant(organization, action, resource))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
