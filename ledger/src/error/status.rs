//! Why a change of status is refused: one variant for each rule (PROTOCOL §4, §5).
//!
//! No message names a handle: whoever reads an error may not know whose enrollment it is.

use super::Retry;
use sillok_did_method::EntryState;
use sillok_proto::{Hash, v1::Action};

/// A date that a change of status brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusDate {
    /// Until when a superseded entry may still be taken.
    Grace,
    /// Since when an invalid entry is not to be trusted.
    InvalidFrom,
    /// Before which a reservation is activated.
    Deadline,
    /// The end of an enrollment.
    ValidUntil,
    /// The end of an approval.
    Approval,
}

impl StatusDate {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Grace => "grace_until_ms",
            Self::InvalidFrom => "invalid_from_ms",
            Self::Deadline => "deadline_ms",
            Self::ValidUntil => "valid_until_ms",
            Self::Approval => "expires_ms of an approval",
        }
    }
}

/// What an enrollment is, where a change calls for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnrollmentStatus {
    /// Nothing was ever activated.
    Pending,
    /// Suspended, and not past its end.
    Suspended,
    /// Ended.
    Ended,
    /// It goes on under another handle.
    Moved,
    /// Past its end.
    Expired,
}

impl EnrollmentStatus {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Suspended => "SUSPENDED",
            Self::Ended => "REVOKED",
            Self::Moved => "MOVED",
            Self::Expired => "EXPIRED",
        }
    }
}

/// The rule that a change of status breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are named by the message of their variant")]
pub enum StatusError {
    // ------------------------------------------------------------------ lists and types
    /// No list has this name.
    #[error("there is no status list {list}; create it first, or check its name")]
    UnknownList { list: Hash },
    /// A list is named by issuer, type and nonce, so that nobody takes a name before another.
    #[error("the list's name is {expected} but the operation names {named}; derive it again")]
    ListName { named: Hash, expected: Hash },
    /// The very list is there.
    #[error("status list {list} is there already; draw another nonce for another list")]
    ListExists { list: Hash },
    /// D9: the organization may not do this to credentials of this type.
    #[error(
        "organization {organization} holds no grant to {action:?} type {credential_type}; of types of its own it holds one for {types:?}"
    )]
    WrongType { organization: Hash, action: Action, credential_type: Hash, types: Vec<Hash> },
    /// The organization may do this, but not to what this issuer issued.
    #[error(
        "organization {organization} may do this to the type but not for issuer {issuer}; only the issuer, those it has accredited, and for revoking those above it may"
    )]
    NotOwner { organization: Hash, issuer: Hash },

    // ------------------------------------------------------------------ policy
    /// C5: why is mandatory.
    #[error("the change has no reason; give one that the type allows")]
    ReasonRequired,
    /// A13, C5: reasons are a closed set, of which a type allows some.
    #[error("reason {reason} is not one that the type allows; give one of its policy")]
    ReasonNotAllowed { reason: i32 },
    /// B16: channels are a closed set, of which a type allows some.
    #[error("channel {channel} is not one that the type allows; give one of its policy")]
    ChannelNotAllowed { channel: i32 },
    /// C1: stated where the type asks for it and a right is gained, else not at all.
    #[error("assurance level {level} is not what the type asks for here; see its policy")]
    AssuranceLevelNotAllowed { level: i32 },
    /// D10: the person's organization is not one under the issuer.
    #[error(
        "organization code {code} is no active organization of issuer {issuer} or below it; correct the code"
    )]
    OrgMismatch { code: Hash, issuer: Hash },

    // ------------------------------------------------------------------ approvals and limits
    /// A3: too few approve.
    #[error("the reason calls for {asked} approvals and there are {given}; have others approve")]
    ApprovalMissing { asked: usize, given: usize },
    /// A3: an approval has an end.
    #[error(
        "the approval of {approver} ended at {expires_ms} ms and ledger time is {time_ms} ms; have it approve again"
    )]
    ApprovalExpired { approver: Hash, expires_ms: u64, time_ms: u64 },
    /// A3: what was signed is the approval of something else, or nothing.
    #[error(
        "the signature of approver {approver} is none over this operation and end; have it approve this one"
    )]
    ApprovalMismatch { approver: Hash },
    /// The organization holds no right to approve this, or is the one that acts.
    #[error(
        "{approver} may not approve this; approving takes a grant for the type under the issuer, and another organization than the one that acts"
    )]
    ApproverNotAllowed { approver: Hash },
    /// A3: the approver is of another department than the person.
    #[error(
        "approver {approver} is not on one line with organization {code}; have its own department approve"
    )]
    ApproverMismatch { approver: Hash, code: Hash },
    /// An approval is for one change.
    #[error(
        "what was approved has run at height {height}; make a new operation and have it approved"
    )]
    ApprovalUsed { height: u64 },
    /// Beyond an hourly limit a second role must sign (PROTOCOL §5.2).
    #[error(
        "organization {organization} is beyond its limit of {limit} in this hour of ledger time; have one more organization approve, or wait until {next_ms} ms"
    )]
    VelocityLimit { organization: Hash, limit: u32, next_ms: u64 },

    // ------------------------------------------------------------------ entries
    /// The list is shorter.
    #[error("index {index} is beyond the list's {capacity} entries; name entries of the list")]
    IndexOutOfRange { index: u32, capacity: u32 },
    /// What the entry is now does not go to the state asked for.
    #[error("entry {index} is {}; it does not become {}", .state.as_str(), .asked.as_str())]
    EntryState { index: u32, state: EntryState, asked: EntryState },
    /// The entry is valid under another enrollment than the one named for it.
    #[error("entry {index} is another's; draw another index")]
    EntryTaken { index: u32 },
    /// B17: all entries are in the state asked for (PROTOCOL §2.3).
    #[error("all entries are {} at height {height} already; nothing to do", .state.as_str())]
    AlreadySet { list: Hash, state: EntryState, height: u64 },
    /// Undoing a suspension takes the holder's key (B18).
    #[error(
        "entries of an exclusive type are suspended and reinstated with their enrollment; use set-enrollment"
    )]
    UseSetEnrollment,
    /// How many handles there are follows from the type.
    #[error("the type calls for {expected} handles here and there are {actual}")]
    HandleCount { expected: usize, actual: usize },
    /// An enrollment has a bounded number of entries.
    #[error(
        "an enrollment has its most entries, {entries} in {lists} lists; supersede older ones first"
    )]
    EnrollmentFull { entries: usize, lists: usize },
    /// A date beyond what the type or the ledger allows.
    #[error("{} is {at_ms} ms, outside {from_ms} to {until_ms} ms; set it within", .date.as_str())]
    Date { date: StatusDate, at_ms: u64, from_ms: u64, until_ms: u64 },

    // ------------------------------------------------------------------ enrollments
    /// Enrollments are of exclusive types.
    #[error("the type is not exclusive and has no enrollments; use set-status")]
    NotExclusive,
    /// What the enrollment is now does not allow the change.
    #[error("the enrollment is {}; this change is not for it", .state.as_str())]
    Enrollment { state: EnrollmentStatus },
    /// B17: the enrollment is what it would become.
    #[error("the enrollment is so since height {height} already; nothing to do")]
    AlreadyEnrolled { height: u64 },
    /// A15: numbers only grow, one by one.
    #[error("the enrollment is at number {number}; read it again")]
    StaleNumber { number: u32 },
    /// D6: the active one is ended first, or replaced for a reason that replaces.
    #[error("there is an active enrollment; end it first, or give a reason that replaces it")]
    OldNotRevoked,
    /// C9: renewal has a window.
    #[error("renewal is taken from {from_ms} ms on; wait, or give another reason")]
    RenewalTooEarly { from_ms: u64 },
    /// D7: the type does not reissue what has expired.
    #[error("the enrollment has expired and the type does not reissue; apply anew")]
    ApplyAnew,
    /// D7: nothing has expired.
    #[error("no enrollment has expired here; give another reason")]
    NotExpired,
    /// A handle is moved to once.
    #[error("the new handle is in use; derive another")]
    HandleInUse,
    /// D12: algorithms are the type's.
    #[error("keys of algorithm {algorithm} are not allowed by the type; use another key")]
    KeyAlgorithmNotAllowed { algorithm: i32 },
    /// A7: the number is activated, with another device.
    #[error("number {number} is activated already (ONE_DEVICE); reserve again for another device")]
    OneDevice { number: u32 },
    /// Nothing is reserved.
    #[error("there is no reservation; reserve first")]
    NoReservation,
    /// A6: the deadline has passed.
    #[error(
        "the reservation ended at {deadline_ms} ms and ledger time is {time_ms} ms; reserve again"
    )]
    ReservationExpired { deadline_ms: u64, time_ms: u64 },
    /// B7: who reserved may not issue any more.
    #[error("role {role}, which reserved this, may not issue any more; reserve again")]
    RoleEnded { role: Hash },
    /// B7: another key than the one reserved.
    #[error("the one-time key is not the one reserved; use the one that was handed out")]
    OneTimeKeyMismatch,
    /// B18: another key than the one enrolled.
    #[error("the enrollment key is another one; sign with the key that was activated")]
    EnrollmentKeyMismatch,
}

impl StatusError {
    /// The code that programs match on.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownList { .. } => "UNKNOWN_LIST",
            Self::ListName { .. } => "LIST_NAME",
            Self::ListExists { .. } => "LIST_EXISTS",
            Self::WrongType { .. } => "WRONG_TYPE",
            Self::NotOwner { .. } => "NOT_OWNER",
            Self::ReasonRequired => "REASON_REQUIRED",
            Self::ReasonNotAllowed { .. } => "REASON_NOT_ALLOWED",
            Self::ChannelNotAllowed { .. } => "CHANNEL_NOT_ALLOWED",
            Self::AssuranceLevelNotAllowed { .. } => "ASSURANCE_LEVEL_NOT_ALLOWED",
            Self::OrgMismatch { .. } => "ORG_MISMATCH",
            Self::ApprovalMissing { .. } => "APPROVAL_MISSING",
            Self::ApprovalExpired { .. } => "APPROVAL_EXPIRED",
            Self::ApprovalMismatch { .. } => "APPROVAL_MISMATCH",
            Self::ApproverNotAllowed { .. } => "APPROVER_NOT_ALLOWED",
            Self::ApproverMismatch { .. } => "APPROVER_MISMATCH",
            Self::ApprovalUsed { .. } => "APPROVAL_USED",
            Self::VelocityLimit { .. } => "VELOCITY_LIMIT",
            Self::IndexOutOfRange { .. } => "INDEX_OUT_OF_RANGE",
            Self::EntryState { state, .. } => match state {
                EntryState::Invalid => "REVOKED",
                EntryState::Superseded => "SUPERSEDED",
                EntryState::Suspended => "SUSPENDED",
                EntryState::Pending => "PENDING",
                EntryState::Valid => "VALID",
            },
            Self::EntryTaken { .. } => "ENTRY_TAKEN",
            Self::AlreadySet { .. } | Self::AlreadyEnrolled { .. } => "ALREADY",
            Self::UseSetEnrollment => "USE_SET_ENROLLMENT",
            Self::HandleCount { .. } => "HANDLE_COUNT",
            Self::EnrollmentFull { .. } => "ENROLLMENT_FULL",
            Self::Date { date, .. } => match date {
                StatusDate::Grace => "GRACE_OUT_OF_RANGE",
                StatusDate::InvalidFrom => "INVALID_FROM_OUT_OF_RANGE",
                StatusDate::Deadline => "DEADLINE_OUT_OF_RANGE",
                StatusDate::ValidUntil => "VALIDITY_OUT_OF_RANGE",
                StatusDate::Approval => "APPROVAL_TOO_LONG",
            },
            Self::NotExclusive => "NOT_EXCLUSIVE",
            Self::Enrollment { state } => state.as_str(),
            Self::StaleNumber { .. } => "STALE_NUMBER",
            Self::OldNotRevoked => "OLD_NOT_REVOKED",
            Self::RenewalTooEarly { .. } => "RENEWAL_TOO_EARLY",
            Self::ApplyAnew => "APPLY_ANEW",
            Self::NotExpired => "NOT_EXPIRED",
            Self::HandleInUse => "HANDLE_IN_USE",
            Self::KeyAlgorithmNotAllowed { .. } => "KEY_ALGORITHM_NOT_ALLOWED",
            Self::OneDevice { .. } => "ONE_DEVICE",
            Self::NoReservation => "NO_RESERVATION",
            Self::ReservationExpired { .. } => "EXPIRED",
            Self::RoleEnded { .. } => "ROLE_ENDED",
            Self::OneTimeKeyMismatch => "ONE_TIME_KEY_MISMATCH",
            Self::EnrollmentKeyMismatch => "ENROLLMENT_KEY_MISMATCH",
        }
    }

    /// Whether sending it again can help.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::AlreadySet { .. } | Self::AlreadyEnrolled { .. } | Self::ListExists { .. } => {
                Retry::Never
            }
            Self::EntryState { state, .. } if state.is_final() => Retry::Never,
            Self::RenewalTooEarly { .. } => Retry::Later,
            _ => Retry::AfterFix,
        }
    }

    /// The values a program needs to act, by name.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::UnknownList { list } | Self::ListExists { list } => {
                vec![("list", list.to_string())]
            }
            Self::WrongType { organization, action, credential_type, types } => {
                let mut fields = vec![
                    ("organization", organization.to_string()),
                    ("action", action.as_str_name().to_owned()),
                    ("type", credential_type.to_string()),
                ];
                fields.extend(types.iter().map(|one| ("allowed_type", one.to_string())));
                fields
            }
            Self::NotOwner { organization, issuer } => {
                vec![("organization", organization.to_string()), ("issuer", issuer.to_string())]
            }
            Self::ApprovalMissing { asked, given } => {
                vec![("asked", asked.to_string()), ("given", given.to_string())]
            }
            Self::ApprovalExpired { approver, expires_ms, .. } => {
                vec![("approver", approver.to_string()), ("expires_ms", expires_ms.to_string())]
            }
            Self::ApprovalMismatch { approver }
            | Self::ApproverNotAllowed { approver }
            | Self::ApproverMismatch { approver, .. } => vec![("approver", approver.to_string())],
            Self::VelocityLimit { organization, limit, next_ms } => vec![
                ("organization", organization.to_string()),
                ("limit", limit.to_string()),
                ("next_ms", next_ms.to_string()),
            ],
            Self::IndexOutOfRange { index, .. } | Self::EntryTaken { index } => {
                vec![("index", index.to_string())]
            }
            Self::EntryState { index, state, .. } => {
                vec![("index", index.to_string()), ("state", state.as_str().to_owned())]
            }
            Self::AlreadySet { list, state, height } => vec![
                ("list", list.to_string()),
                ("state", state.as_str().to_owned()),
                ("height", height.to_string()),
            ],
            Self::AlreadyEnrolled { height } | Self::ApprovalUsed { height } => {
                vec![("height", height.to_string())]
            }
            Self::Date { at_ms, from_ms, until_ms, .. } => vec![
                ("at_ms", at_ms.to_string()),
                ("from_ms", from_ms.to_string()),
                ("until_ms", until_ms.to_string()),
            ],
            Self::StaleNumber { number } | Self::OneDevice { number } => {
                vec![("number", number.to_string())]
            }
            Self::RenewalTooEarly { from_ms } => vec![("from_ms", from_ms.to_string())],
            Self::ReservationExpired { deadline_ms, .. } => {
                vec![("deadline_ms", deadline_ms.to_string())]
            }
            Self::RoleEnded { role } => vec![("role", role.to_string())],
            _ => Vec::new(),
        }
    }
}
