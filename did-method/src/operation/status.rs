//! The operations on status, as far as they can be checked without state (PROTOCOL §4).
//!
//! Here: lengths, bounds, orders, and that an enrollment's request says what its change calls for and nothing else.
//! What is *not* here: what an entry or an enrollment is now, who may change it, policies and dates; they need the
//! state and belong to the ledger.

use super::{OperationError, hash};
use crate::key::{check_key, key_id};
use sillok_proto::{Hash, v1};

/// Entries of one chunk, which is the smallest public read; a list's capacity is a multiple.
pub const CHUNK_ENTRIES: u32 = 8_192;
/// Fewest entries of a list: an index says less the more there are to hide among (Bitstring Status List, §2.2).
pub const LIST_ENTRIES_MIN: u32 = 131_072;
/// Most entries of a list.
pub const LIST_ENTRIES_MAX: u32 = 1_048_576;
/// Shortest and longest age of what a status issuer signs, in seconds.
pub const LIST_AGE_S: std::ops::RangeInclusive<u32> = 60..=86_400;
/// Most entries that one operation sets.
pub const INDEXES_MAX: usize = 10_000;

/// What an entry says, with the numbers of Token Status List. The numbers are law.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EntryState {
    /// The credential may be used.
    Valid = 0,
    /// It was revoked. Final.
    Invalid = 1,
    /// It may come back.
    Suspended = 2,
    /// It was never made valid: also every entry never used.
    Pending = 3,
    /// Another credential took its place. Final.
    Superseded = 12,
}

impl EntryState {
    /// The state with this number.
    #[must_use]
    pub const fn read(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Valid),
            1 => Some(Self::Invalid),
            2 => Some(Self::Suspended),
            3 => Some(Self::Pending),
            12 => Some(Self::Superseded),
            _ => None,
        }
    }

    /// Nothing leaves it any more (PROTOCOL §4.1).
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Invalid | Self::Superseded)
    }

    /// Is it gained, not lost, when an entry comes to this state?
    #[must_use]
    pub const fn is_gain(self) -> bool {
        matches!(self, Self::Valid)
    }

    /// The name that people and programs read.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "VALID",
            Self::Invalid => "INVALID",
            Self::Suspended => "SUSPENDED",
            Self::Pending => "PENDING",
            Self::Superseded => "SUPERSEDED",
        }
    }
}

/// A status list of one issuer and one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateList {
    /// Digest of the organization.
    pub issuer: Hash,
    /// The name; see [`crate::status_list_name`].
    pub list: Hash,
    /// Name of the type.
    pub credential_type: Hash,
    /// What makes the name one of a kind.
    pub nonce: [u8; 16],
    /// How many entries.
    pub capacity: u32,
    /// Longest age of what a status issuer signs.
    pub max_age_s: u32,
}

/// Setting entries of a list to one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetStatus {
    /// Name of the list.
    pub list: Hash,
    /// The state: valid, invalid, suspended or superseded.
    pub state: EntryState,
    /// Which entries, ascending.
    pub indexes: Vec<u32>,
    /// Until when superseded entries may still be taken; 0 = not at all.
    pub grace_until_ms: u64,
    /// Since when invalid entries are not to be trusted; 0 = since the block.
    pub invalid_from_ms: u64,
    /// Hash of the private content.
    pub content_hash: Hash,
}

/// Changing an enrollment. What it does stands in the private content: see [`Enrollment`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetEnrollment {
    /// Digest of the issuer.
    pub issuer: Hash,
    /// Name of the type.
    pub credential_type: Hash,
    /// Hash of the private content.
    pub content_hash: Hash,
}

/// What a [`SetEnrollment`] does.
#[derive(Debug, Clone, PartialEq)]
pub enum Enrollment {
    /// A one-time key and a deadline, for the next number.
    Reserve {
        /// One more than the last.
        number: u32,
        /// Its secret half is given to the person.
        one_time_key: v1::PublicKey,
        /// Activated before, or never.
        deadline_ms: u64,
        /// The end of the enrollment.
        valid_until_ms: u64,
        /// The handle it moves to at the activation.
        new_handle: Option<Hash>,
    },
    /// Signed by the one-time key and by the new enrollment key.
    Activate {
        /// The number reserved.
        number: u32,
        /// The key reserved.
        one_time_key: v1::PublicKey,
        /// The key that is kept.
        enrollment_key: v1::PublicKey,
        /// Until when the entries it supersedes may still be taken; 0 = not at all.
        grace_until_ms: u64,
    },
    /// It may come back.
    Suspend {
        /// The one it is about; 0 = whichever.
        number: u32,
    },
    /// Signed by the enrollment key.
    Reinstate {
        /// The one it is about.
        number: u32,
        /// The key that signs.
        enrollment_key: v1::PublicKey,
    },
    /// Final for this number.
    End {
        /// The one it is about; 0 = whichever.
        number: u32,
        /// Since when its entries are not to be trusted; 0 = since the block.
        invalid_from_ms: u64,
    },
}

fn out_of_range(field: &'static str, value: u64) -> OperationError {
    OperationError::OutOfRange { field, value }
}

impl CreateList {
    pub(super) fn check(op: &v1::CreateList) -> Result<Self, OperationError> {
        let capacity = op.capacity;
        if !(LIST_ENTRIES_MIN..=LIST_ENTRIES_MAX).contains(&capacity)
            || !capacity.is_multiple_of(CHUNK_ENTRIES)
        {
            return Err(out_of_range("capacity", capacity.into()));
        }
        if !LIST_AGE_S.contains(&op.max_age_s) {
            return Err(out_of_range("max_age_s", op.max_age_s.into()));
        }
        let nonce = op.nonce.as_slice().try_into();
        Ok(Self {
            issuer: hash(&op.issuer, "issuer")?,
            list: hash(&op.list, "list")?,
            credential_type: hash(&op.r#type, "type")?,
            nonce: nonce.map_err(|_| OperationError::NonceLength { len: op.nonce.len() })?,
            capacity,
            max_age_s: op.max_age_s,
        })
    }
}

impl SetStatus {
    pub(super) fn check(op: &v1::SetStatus) -> Result<Self, OperationError> {
        let state = EntryState::read(op.state)
            .filter(|state| *state != EntryState::Pending)
            .ok_or_else(|| out_of_range("state", op.state.into()))?;
        let count = op.indexes.len();
        if count == 0 || count > INDEXES_MAX {
            return Err(OperationError::IndexCount { count });
        }
        if let Some(pair) = op.indexes.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(OperationError::IndexOrder { index: pair[1] });
        }
        // Each date has one state to which it says something; elsewhere it would be a place for a message.
        if op.grace_until_ms != 0 && state != EntryState::Superseded {
            return Err(OperationError::UncalledField { field: "grace_until_ms" });
        }
        if op.invalid_from_ms != 0 && state != EntryState::Invalid {
            return Err(OperationError::UncalledField { field: "invalid_from_ms" });
        }
        Ok(Self {
            list: hash(&op.list, "list")?,
            state,
            indexes: op.indexes.clone(),
            grace_until_ms: op.grace_until_ms,
            invalid_from_ms: op.invalid_from_ms,
            content_hash: hash(&op.content_hash, "content_hash")?,
        })
    }
}

impl SetEnrollment {
    pub(super) fn check(op: &v1::SetEnrollment) -> Result<Self, OperationError> {
        Ok(Self {
            issuer: hash(&op.issuer, "issuer")?,
            credential_type: hash(&op.r#type, "type")?,
            content_hash: hash(&op.content_hash, "content_hash")?,
        })
    }
}

impl Enrollment {
    /// Checks the request that stands in the private content of a [`SetEnrollment`] about `handle`.
    ///
    /// # Errors
    ///
    /// [`OperationError`]: an unknown change, a field that the change calls for and that is missing or is no key, or one
    /// that it does not call for.
    pub fn check(request: &v1::EnrollmentRequest, handle: &Hash) -> Result<Self, OperationError> {
        use v1::EnrollmentChange as Change;
        let change = request.change();
        if change == Change::Unspecified {
            // Also a number of no change.
            let value = u64::try_from(request.change).unwrap_or(u64::MAX);
            return Err(out_of_range("change", value));
        }
        let (reserves, activates, reinstates, ends) = (
            change == Change::Reserve,
            change == Change::Activate,
            change == Change::Reinstate,
            change == Change::End,
        );
        for (field, called_for, given) in [
            ("one_time_key", reserves || activates, request.one_time_key.is_some()),
            ("enrollment_key", activates || reinstates, request.enrollment_key.is_some()),
            ("deadline_ms", reserves, request.deadline_ms != 0),
            ("valid_until_ms", reserves, request.valid_until_ms != 0),
        ] {
            if called_for != given {
                return Err(if given {
                    OperationError::UncalledField { field }
                } else {
                    OperationError::MissingField { field }
                });
            }
        }
        for (field, allowed, given) in [
            ("new_handle", reserves, !request.new_handle.is_empty()),
            ("grace_until_ms", activates, request.grace_until_ms != 0),
            ("invalid_from_ms", ends, request.invalid_from_ms != 0),
        ] {
            if given && !allowed {
                return Err(OperationError::UncalledField { field });
            }
        }
        let number = request.number;
        if number == 0 && !ends && change != Change::Suspend {
            return Err(OperationError::MissingField { field: "number" });
        }
        Ok(match change {
            Change::Unspecified => return Err(out_of_range("change", 0)),
            Change::Reserve => {
                if request.valid_until_ms <= request.deadline_ms {
                    return Err(out_of_range("valid_until_ms", request.valid_until_ms));
                }
                let new_handle = match request.new_handle.as_slice() {
                    [] => None,
                    bytes => Some(hash(bytes, "new_handle")?),
                };
                if new_handle.as_ref() == Some(handle) {
                    return Err(OperationError::UncalledField { field: "new_handle" });
                }
                Self::Reserve {
                    number,
                    one_time_key: holder_key(request.one_time_key.as_ref(), "one_time_key")?,
                    deadline_ms: request.deadline_ms,
                    valid_until_ms: request.valid_until_ms,
                    new_handle,
                }
            }
            Change::Activate => {
                let one_time_key = holder_key(request.one_time_key.as_ref(), "one_time_key")?;
                let enrollment_key = holder_key(request.enrollment_key.as_ref(), "enrollment_key")?;
                // The issuer's machine made the one; it must not hold the other.
                if one_time_key == enrollment_key {
                    return Err(OperationError::SameKey { key_id: key_id(&one_time_key) });
                }
                let grace_until_ms = request.grace_until_ms;
                Self::Activate { number, one_time_key, enrollment_key, grace_until_ms }
            }
            Change::Suspend => Self::Suspend { number },
            Change::Reinstate => Self::Reinstate {
                number,
                enrollment_key: holder_key(request.enrollment_key.as_ref(), "enrollment_key")?,
            },
            Change::End => Self::End { number, invalid_from_ms: request.invalid_from_ms },
        })
    }

    /// The keys of the holder that sign, by ascending key id.
    #[must_use]
    pub fn holder_keys(&self) -> Vec<v1::PublicKey> {
        let mut keys = match self {
            Self::Activate { one_time_key, enrollment_key, .. } => {
                vec![one_time_key.clone(), enrollment_key.clone()]
            }
            Self::Reinstate { enrollment_key, .. } => vec![enrollment_key.clone()],
            Self::Reserve { .. } | Self::Suspend { .. } | Self::End { .. } => Vec::new(),
        };
        keys.sort_by_key(key_id);
        keys
    }

    /// Is a right gained by it, and not lost?
    #[must_use]
    pub const fn is_gain(&self) -> bool {
        matches!(self, Self::Reserve { .. } | Self::Activate { .. } | Self::Reinstate { .. })
    }
}

fn holder_key(
    key: Option<&v1::PublicKey>,
    field: &'static str,
) -> Result<v1::PublicKey, OperationError> {
    let key = key.ok_or(OperationError::MissingField { field })?;
    check_key(key).map_err(|source| OperationError::HolderKey { field, source })?;
    if !super::is_verification_key(key) {
        return Err(OperationError::HolderKeyAgreement { field });
    }
    Ok(key.clone())
}
