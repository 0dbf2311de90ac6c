//! Why a transaction is refused: one variant for each rule, so reading the enum is reading the rule book.
//!
//! Every refusal has a code that programs match on, a message that says what to do next, and an answer to the
//! question whether sending it again can help.

mod status;

pub use status::{EnrollmentStatus, StatusDate, StatusError};

use crate::StateFault;
use crate::private::PrivateContentError;
use sillok_did_method::{DocumentError, OperationError};
use sillok_proto::{Hash, v1::Action};

/// Whether the same request can succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It never will.
    Never,
    /// After the caller changed what the message names.
    AfterFix,
    /// As it is, a little later.
    Later,
}

impl Retry {
    /// `NEVER`, `AFTER_FIX` or `LATER`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "NEVER",
            Self::AfterFix => "AFTER_FIX",
            Self::Later => "LATER",
        }
    }
}

/// The rule that a transaction breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are named by the message of their variant")]
pub enum AdmissionError {
    // ------------------------------------------------------------------ form
    /// A part of the transaction is missing.
    #[error("the transaction has no {part}; send all its parts")]
    MissingPart { part: &'static str },
    /// The encoded transaction is too long.
    #[error("the transaction has {len} bytes, more than {max}; split it")]
    TransactionTooLong { len: usize, max: usize },
    /// No operation, or too many.
    #[error("the transaction has {count} operations; send 1 to {max}")]
    OperationCount { count: usize, max: usize },
    /// A stateless rule of an operation.
    #[error("operation {operation}: {source}")]
    Operation { operation: usize, source: OperationError },
    /// Documents, private contents or private signatures that no operation names.
    #[error("the transaction carries {part} that no operation names; leave it out")]
    UnexpectedPart { part: &'static str },
    /// The list of signatures does not go with the list of operations.
    #[error(
        "there are signatures for {signed} operations but {operations} operations; send one entry for each, in order"
    )]
    SignatureListLength { signed: usize, operations: usize },
    /// Signatures of one operation are not sorted by key id, or a key signs twice.
    #[error(
        "operation {operation}: signatures are not sorted by key id without repetition; sort them"
    )]
    SignatureOrder { operation: usize },
    /// More signatures than any operation can call for.
    #[error(
        "operation {operation} has {count} signatures, more than {max}; leave out those it does not call for"
    )]
    TooManySignatures { operation: usize, count: usize, max: usize },
    /// Terms that nobody signed: whoever passes the transaction on could change them.
    #[error(
        "operation {operation} has terms but no signature under them; leave the terms out, or sign"
    )]
    TermsWithoutSignature { operation: usize },
    /// A key id of another length than 32 bytes, or a signature of another than 64.
    #[error(
        "a signature or its key id has the wrong length; a key id has 32 bytes and a signature 64"
    )]
    SignatureLength,
    /// The form of a private content.
    #[error("operation {operation}: {source}")]
    PrivateContent { operation: usize, source: PrivateContentError },
    /// Approvals stand beside the approvers that the content names.
    #[error(
        "operation {operation} names {named} approvers and has {given} approvals; bring one of each"
    )]
    ApprovalCount { operation: usize, named: usize, given: usize },
    /// The salt of the private signatures.
    #[error("the salt of the private signatures has {len} bytes; draw 32 at random")]
    PrivateSalt { len: usize },
    /// Private signatures are there for exactly the operations that have a private content.
    #[error(
        "private signatures do not go with the operations; bring one entry for each that has a private content, in order"
    )]
    PrivateSignatureList,
    /// It could make nodes write more than a block may.
    #[error("the transaction may write {count} times, more than {max}; split it")]
    TooManyWrites { count: usize, max: usize },

    // ------------------------------------------------------------------ time and repetition
    /// Ledger time has passed valid-until: final everywhere.
    #[error(
        "valid until {valid_until_ms} ms but ledger time is {time_ms} ms; sign it again with a later time"
    )]
    Expired { valid_until_ms: u64, time_ms: u64 },
    /// Valid-until is too far ahead.
    #[error(
        "valid until {valid_until_ms} ms is more than {window_ms} ms after ledger time {time_ms} ms; choose an earlier time"
    )]
    ValidUntilTooFar { valid_until_ms: u64, time_ms: u64, window_ms: u64 },
    /// The very transaction was ordered already.
    #[error("transaction {transaction_id} was ordered already; ask for its state")]
    AlreadyOrdered { transaction_id: Hash },
    /// The author-signed operation was ordered already, in this or another transaction.
    #[error(
        "operation {operation} was ordered already in another transaction; read the DID's state"
    )]
    OperationAlreadyOrdered { operation: usize },

    // ------------------------------------------------------------------ who signs
    /// The submitter is not a registered, active organization.
    #[error(
        "submitter {submitter} is not an active organization; submit through an accredited one"
    )]
    UnknownSubmitter { submitter: Hash },
    /// The organization has no grant for what it does.
    #[error(
        "organization {organization} holds no grant to {action:?} at this time; ask its accrediting authority"
    )]
    NotGranted { organization: Hash, action: Action },
    /// The named key is not in the document, or not for this use.
    #[error(
        "key {key_id} of {did} may not {relationship}; sign with a key bound to that relationship"
    )]
    KeyNotAuthorized { did: Hash, key_id: Hash, relationship: &'static str },
    /// The key's end is past.
    #[error("key {key_id} expired at {expires_ms} ms of ledger time; sign with another key")]
    KeyExpired { key_id: Hash, expires_ms: u64 },
    /// A signature does not verify.
    #[error(
        "the signature of key {key_id} does not verify; sign the canonical bytes under this genesis hash"
    )]
    BadSignature { key_id: Hash },
    /// A new key without a signature of its own.
    #[error(
        "operation {operation}: new key {key_id} does not prove possession; let it sign the author statement"
    )]
    PossessionMissing { operation: usize, key_id: Hash },
    /// Nobody who may author the operation signed it.
    #[error(
        "operation {operation}: no signature of someone who may do this to {did}; sign with its own key, or as its authority"
    )]
    NotAuthorized { operation: usize, did: Hash },
    /// A signature that the operation does not call for.
    #[error("operation {operation}: the signature of key {key_id} is not called for; leave it out")]
    UnexpectedSignature { operation: usize, key_id: Hash },
    /// `any` submitter outside a holder's own operations.
    #[error(
        "operation {operation}: only a holder's own operation may be carried by any submitter; name the submitter"
    )]
    SubmitterMustBeNamed { operation: usize },

    // ------------------------------------------------------------------ DIDs
    /// A second create.
    #[error("{did} exists already at version {version}; update it instead")]
    AlreadyExists { did: Hash, version: u64 },
    /// Nothing is registered under the digest.
    #[error("{did} is not registered; create it first")]
    UnknownDid { did: Hash },
    /// Deactivation is final.
    #[error("{did} was deactivated at height {height}; it accepts no operation any more")]
    Deactivated { did: Hash, height: u64 },
    /// The state asked for is the state there is (PROTOCOL §2.3): nothing is ordered.
    #[error(
        "{did} already is in the state asked for, since version {version} at height {height}; nothing to do"
    )]
    Already { did: Hash, version: u64, height: u64 },
    /// Another operation was committed between reading and signing.
    #[error(
        "{did} is at version {version} (head {head}) but the operation builds on {previous}; resolve it again and re-sign"
    )]
    StaleVersion { did: Hash, version: u64, head: Hash, previous: Hash },
    /// A rule of documents for the kind of this DID.
    #[error("operation {operation}: {source}")]
    Document { operation: usize, source: DocumentError },
    /// The registering authority is not an active organization.
    #[error("authority {authority} is not an active organization; name one that is registered")]
    UnknownAuthority { authority: Hash },
    /// The countersigner of the recovery rule is not an active organization.
    #[error(
        "countersigner {countersigner} is not an active organization with that grant; name one that is"
    )]
    UnknownCountersigner { countersigner: Hash },
    /// B12: a key once used, of a DID or of an operator, never returns.
    #[error(
        "key {key_id} was used at height {height} and never returns (KEY_REUSE); make a new key"
    )]
    KeyReuse { key_id: Hash, height: u64 },
    /// A holder's device key changes by `set device` only.
    #[error("an update leaves a holder's device key as it is; use set-device to change it")]
    UseSetDevice { did: Hash },
    /// `set device` on an organization.
    #[error("{did} is an organization and has no device; use update")]
    NotAHolder { did: Hash },
    /// The recovery rule is `none`, or names another countersigner.
    #[error(
        "the recovery rule of {did} does not allow this; only the holder's own key may set a device"
    )]
    RecoveryNotAllowed { did: Hash },
    /// Only the controller changes the recovery rule.
    #[error("only {did}'s own key changes its recovery rule; leave the rule out")]
    RecoveryRuleByController { did: Hash },

    // ------------------------------------------------------------------ members
    /// Only who holds a seat proposes, approves and re-keys.
    #[error("{operator} holds no seat; only the operator of a validator may do this")]
    NotAnOperator { operator: Hash },
    /// Authored by another key than the operator's governance key in force.
    #[error(
        "operation {operation}: the governance key of operator {operator} did not sign; sign with the one in force"
    )]
    GovernanceKeyRequired { operation: usize, operator: Hash },
    /// The end of a proposal is past.
    #[error(
        "proposal {proposal} ended at {expires_ms} ms and ledger time is {time_ms} ms; propose it again with a later end"
    )]
    ProposalExpired { proposal: Hash, expires_ms: u64, time_ms: u64 },
    /// A proposal ends within 30 days.
    #[error(
        "the proposal would end at {expires_ms} ms, later than {latest_ms} ms, which is 30 days ahead; choose an earlier end"
    )]
    ProposalTooLong { expires_ms: u64, latest_ms: u64 },
    /// The very proposal is there already.
    #[error("proposal {proposal} is there already; approve it, or propose it with another end")]
    ProposalExists { proposal: Hash },
    /// An operator has a bounded number of open proposals.
    #[error(
        "operator {operator} has {max} open proposals; wait until one is executed or ends, or let another operator propose"
    )]
    OpenProposalsMax { operator: Hash, max: usize },
    /// No proposal has this hash.
    #[error("there is no proposal {proposal}; propose it first, or check the hash")]
    ProposalUnknown { proposal: Hash },
    /// A proposal is executed once.
    #[error("proposal {proposal} was executed at height {height}; nothing to do")]
    ProposalExecuted { proposal: Hash, height: u64 },
    /// The approval is there, and with it there still are too few.
    #[error("operator {operator} has approved proposal {proposal} already; wait for the others")]
    AlreadyApproved { proposal: Hash, operator: Hash },
    /// A member is an organization that is registered and active.
    #[error("organization {organization} is not registered and active; register it first")]
    UnknownOrganization { organization: Hash },
    /// An organization is a member once.
    #[error("{operator} is an operator already; propose to replace its keys instead")]
    OperatorExists { operator: Hash },
    /// The organization is no member.
    #[error("{operator} is no operator; check its digest, or propose to admit it")]
    OperatorUnknown { operator: Hash },
    /// The key is an observer's.
    #[error(
        "key {key_id} is an observer's; make a new key, or propose to remove the observer first"
    )]
    ObserverExists { key_id: Hash },
    /// No observer has this key.
    #[error("there is no observer with key {key_id}; check its node key")]
    ObserverUnknown { key_id: Hash },
    /// The network is full.
    #[error("there are {max} {members} already, which is the most; propose to remove one first")]
    MembersMax { members: &'static str, max: usize },
    /// What would be left could not go on.
    #[error(
        "of the {validators} validators that this would leave only {present} built blocks lately and {quorum} must; bring them back, or change those that are absent first"
    )]
    NoQuorumLeft { validators: usize, present: usize, quorum: usize },
    /// What would be left might lose history (PROTOCOL §6.5).
    #[error(
        "this would leave {archives} archives and the network keeps at least {min}; admit another archive first"
    )]
    ArchivesMin { archives: usize, min: u32 },
    /// A figure that a client knows from the genesis.
    #[error("{name} is fixed by the genesis; propose the other figures with {name} as it is")]
    ParameterFixed { name: &'static str },
    /// A figure with which the network could not go on.
    #[error("{name} would be {value}, outside {range}; propose it within")]
    ParameterRange { name: &'static str, value: u64, range: &'static str },
    /// Figures that were made of others than those in force.
    #[error(
        "these figures were made of {previous} and {in_force} are in force, so they would undo what was decided meanwhile; propose again"
    )]
    ParametersChanged { previous: Hash, in_force: Hash },
    /// The figures in force.
    #[error("these figures are in force already; nothing to do")]
    ParametersUnchanged,
    /// Approval comes before the seat.
    #[error("validator key {key_id} of {operator} may not join; have it approved, or re-key")]
    JoinNotApproved { operator: Hash, key_id: Hash },
    /// The key could have joined earlier.
    #[error(
        "the validator key of {operator} could join until {expires_ms} ms and ledger time is {time_ms} ms; re-key with it again, or have a replacement with it approved"
    )]
    JoinExpired { operator: Hash, expires_ms: u64, time_ms: u64 },
    /// The key holds the seat.
    #[error("validator key {key_id} holds the seat of {operator} already; nothing to do")]
    AlreadyJoined { operator: Hash, key_id: Hash },
    /// A join is signed over one of the last headers of this chain.
    #[error(
        "the header of height {height} that the join names is none of the last of this chain; sign it over the latest one"
    )]
    JoinHeaderUnknown { height: u64 },
    /// A join is signed over a header that is at most ten minutes old.
    #[error(
        "the header of height {height} that the join names is {age_ms} ms old, more than 10 minutes; sign it over the latest one"
    )]
    JoinHeaderOld { height: u64, age_ms: u64 },
    /// An operator re-keys once a day.
    #[error(
        "{operator} may re-key at {next_ms} ms again and ledger time is {time_ms} ms; wait, or have a replacement approved"
    )]
    RekeyTooSoon { operator: Hash, next_ms: u64, time_ms: u64 },

    // ------------------------------------------------------------------ trust
    /// Who receives a right agrees to it, unless it is given by who registered it or by governance.
    #[error(
        "organization {organization} was not registered by the grantor and did not sign; let it sign too"
    )]
    GrantNotAccepted { organization: Hash },
    /// Every period but those of the past is as asked for.
    #[error("organization {organization} has this grant to {action:?} already; nothing to do")]
    GrantExists { organization: Hash, action: Action },
    /// At any time a grant has one grantor.
    #[error(
        "the grant is given by {} until its end; begin after that, or let it be withdrawn first",
        .grantor.map_or_else(|| "governance".to_owned(), |grantor| grantor.to_string())
    )]
    GrantedByOther { grantor: Option<Hash> },
    /// Periods of a grant do not overlap.
    #[error(
        "the last period is from {from_ms} ms until {until_ms} ms (0: open); begin after its end, or name its beginning to change it"
    )]
    PeriodOverlap { from_ms: u64, until_ms: u64 },
    /// Nothing begins or ends in the past.
    #[error("{ms} ms is before ledger time {time_ms} ms; name a later time, or none for now")]
    PeriodInPast { ms: u64, time_ms: u64 },
    /// A period begins before it ends.
    #[error("the period would end at {until_ms} ms and begin at {from_ms} ms; let it end later")]
    PeriodEmpty { from_ms: u64, until_ms: u64 },
    /// A grant is ended by withdrawing it.
    #[error(
        "the period goes on until {until_ms} ms (0: open) and is not made shorter; withdraw it at the earlier time"
    )]
    PeriodShortened { until_ms: u64 },
    /// A grant has a bounded number of periods.
    #[error(
        "organization {organization} has {max} periods of this grant, which is the most; extend the last one, or grant on another resource"
    )]
    PeriodsMax { organization: Hash, max: usize },
    /// An organization has a bounded number of grants.
    #[error("organization {organization} has {max} grants, which is the most; grant on all")]
    GrantsMax { organization: Hash, max: usize },
    /// A chain has at most eight organizations.
    #[error(
        "the chain of grantor {grantor} has {max} organizations already; accredit from further up"
    )]
    ChainTooLong { grantor: Hash, max: usize },
    /// The grantor has the right from the receiver.
    #[error("{organization} stands in the chain of grantor {grantor}; it has the right already")]
    GrantInCircle { grantor: Hash, organization: Hash },
    /// A name is given by who registered the organization, or by governance.
    #[error(
        "grantor {grantor} did not register {organization} and does not name it; leave the name out"
    )]
    NameNotAllowed { grantor: Hash, organization: Hash },
    /// No period goes beyond that time.
    #[error(
        "organization {organization} has no grant to {action:?} beyond that time; nothing to do"
    )]
    NothingToWithdraw { organization: Hash, action: Action },
    /// Neither the holder nor a grantor, nor above one.
    #[error(
        "{by} neither holds the grant of {organization} nor stands in its chain; ask who accredited it"
    )]
    WithdrawNotAllowed { by: Hash, organization: Hash },
    /// The name of a type is the hash of its first version.
    #[error(
        "the type's name is {derived} but the operation names {named}; derive it from publisher, nonce and content"
    )]
    TypeNameMismatch { named: Hash, derived: Hash },
    /// Nobody published a type of this name.
    #[error("there is no credential type {name}; publish its version 1 first, or check the name")]
    UnknownType { name: Hash },
    /// A version once published stays as it is, and none is left out.
    #[error("credential type {name} is at version {latest}, and version {version} is not the next; publish {}", u64::from(*.latest).saturating_add(1))]
    TypeVersion { name: Hash, version: u32, latest: u32 },
    /// Exclusive or not is for ever.
    #[error("whether credential type {name} is exclusive does not change; publish another type")]
    ExclusiveFixed { name: Hash },
    /// Owned by another organization.
    #[error("{organization} does not own {resource} (NOT_OWNER); ask its owner")]
    NotOwner { organization: Hash, resource: Hash },
    // ------------------------------------------------------------------ status
    /// A rule of status lists and enrollments.
    #[error(transparent)]
    Status(#[from] StatusError),

    // ------------------------------------------------------------------ not the caller's fault
    /// The state could not be read.
    #[error(transparent)]
    State(#[from] StateFault),
}

impl AdmissionError {
    /// The code that programs match on: upper snake case, one for each rule.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingPart { .. } => "MISSING_PART",
            Self::TransactionTooLong { .. } => "TRANSACTION_TOO_LONG",
            Self::OperationCount { .. } => "OPERATION_COUNT",
            Self::Operation { source, .. } => operation_code(source),
            Self::UnexpectedPart { .. } => "UNEXPECTED_PART",
            Self::SignatureListLength { .. } => "SIGNATURE_LIST_LENGTH",
            Self::SignatureOrder { .. } => "SIGNATURE_ORDER",
            Self::TooManySignatures { .. } => "TOO_MANY_SIGNATURES",
            Self::TermsWithoutSignature { .. } => "TERMS_WITHOUT_SIGNATURE",
            Self::SignatureLength => "SIGNATURE_LENGTH",
            Self::PrivateContent { source, .. } => private_content_code(source),
            Self::ApprovalCount { .. } => "APPROVAL_COUNT",
            Self::PrivateSalt { .. } => "PRIVATE_SALT",
            Self::PrivateSignatureList => "PRIVATE_SIGNATURE_LIST",
            Self::TooManyWrites { .. } => "TOO_MANY_WRITES",
            Self::Expired { .. } => "EXPIRED",
            Self::ValidUntilTooFar { .. } => "VALID_UNTIL_TOO_FAR",
            Self::AlreadyOrdered { .. } => "ALREADY_ORDERED",
            Self::OperationAlreadyOrdered { .. } => "OPERATION_ALREADY_ORDERED",
            Self::UnknownSubmitter { .. } => "UNKNOWN_SUBMITTER",
            Self::NotGranted { .. } => "NOT_GRANTED",
            Self::KeyNotAuthorized { .. } => "KEY_NOT_AUTHORIZED",
            Self::KeyExpired { .. } => "KEY_EXPIRED",
            Self::BadSignature { .. } => "BAD_SIGNATURE",
            Self::PossessionMissing { .. } => "POSSESSION_MISSING",
            Self::NotAuthorized { .. } => "NOT_AUTHORIZED",
            Self::UnexpectedSignature { .. } => "UNEXPECTED_SIGNATURE",
            Self::SubmitterMustBeNamed { .. } => "SUBMITTER_MUST_BE_NAMED",
            Self::AlreadyExists { .. } => "ALREADY_EXISTS",
            Self::UnknownDid { .. } => "NOT_FOUND",
            Self::Deactivated { .. } => "DEACTIVATED",
            Self::Already { .. } => "ALREADY",
            Self::StaleVersion { .. } => "STALE_VERSION",
            Self::Document { .. } => "INVALID_DID_DOCUMENT",
            Self::UnknownAuthority { .. } => "UNKNOWN_AUTHORITY",
            Self::UnknownCountersigner { .. } => "UNKNOWN_COUNTERSIGNER",
            Self::KeyReuse { .. } => "KEY_REUSE",
            Self::UseSetDevice { .. } => "USE_SET_DEVICE",
            Self::NotAHolder { .. } => "NOT_A_HOLDER",
            Self::RecoveryNotAllowed { .. } => "RECOVERY_NOT_ALLOWED",
            Self::RecoveryRuleByController { .. } => "RECOVERY_RULE_BY_CONTROLLER",
            Self::NotAnOperator { .. } => "NOT_AN_OPERATOR",
            Self::GovernanceKeyRequired { .. } => "GOVERNANCE_KEY_REQUIRED",
            Self::ProposalExpired { .. } => "PROPOSAL_EXPIRED",
            Self::ProposalTooLong { .. } => "PROPOSAL_TOO_LONG",
            Self::ProposalExists { .. } => "PROPOSAL_EXISTS",
            Self::OpenProposalsMax { .. } => "OPEN_PROPOSALS_MAX",
            Self::ProposalUnknown { .. } => "PROPOSAL_UNKNOWN",
            Self::ProposalExecuted { .. } => "PROPOSAL_EXECUTED",
            Self::AlreadyApproved { .. } => "ALREADY",
            Self::UnknownOrganization { .. } => "UNKNOWN_ORGANIZATION",
            Self::OperatorExists { .. } => "OPERATOR_EXISTS",
            Self::OperatorUnknown { .. } => "OPERATOR_UNKNOWN",
            Self::ObserverExists { .. } => "OBSERVER_EXISTS",
            Self::ObserverUnknown { .. } => "OBSERVER_UNKNOWN",
            Self::MembersMax { .. } => "MEMBERS_MAX",
            Self::NoQuorumLeft { .. } => "NO_QUORUM_LEFT",
            Self::ArchivesMin { .. } => "ARCHIVES_MIN",
            Self::ParameterFixed { .. } => "PARAMETER_FIXED",
            Self::ParameterRange { .. } => "PARAMETER_RANGE",
            Self::ParametersChanged { .. } => "FIGURES_CHANGED",
            Self::ParametersUnchanged => "ALREADY",
            Self::JoinNotApproved { .. } => "JOIN_NOT_APPROVED",
            Self::JoinExpired { .. } => "JOIN_EXPIRED",
            Self::AlreadyJoined { .. } => "ALREADY",
            Self::JoinHeaderUnknown { .. } => "JOIN_HEADER_UNKNOWN",
            Self::JoinHeaderOld { .. } => "JOIN_HEADER_OLD",
            Self::RekeyTooSoon { .. } => "REKEY_TOO_SOON",
            Self::GrantNotAccepted { .. } => "GRANT_NOT_ACCEPTED",
            Self::GrantExists { .. } => "GRANT_EXISTS",
            Self::GrantedByOther { .. } => "GRANTED_BY_OTHER",
            Self::PeriodOverlap { .. } => "PERIOD_OVERLAP",
            Self::PeriodInPast { .. } => "PERIOD_IN_PAST",
            Self::PeriodEmpty { .. } => "PERIOD_EMPTY",
            Self::PeriodShortened { .. } => "PERIOD_SHORTENED",
            Self::PeriodsMax { .. } => "PERIODS_MAX",
            Self::GrantsMax { .. } => "GRANTS_MAX",
            Self::ChainTooLong { .. } => "CHAIN_TOO_LONG",
            Self::GrantInCircle { .. } => "GRANT_IN_CIRCLE",
            Self::NameNotAllowed { .. } => "NAME_NOT_ALLOWED",
            Self::NothingToWithdraw { .. } => "NOTHING_TO_WITHDRAW",
            Self::WithdrawNotAllowed { .. } => "WITHDRAW_NOT_ALLOWED",
            Self::TypeNameMismatch { .. } => "TYPE_NAME_MISMATCH",
            Self::UnknownType { .. } => "UNKNOWN_TYPE",
            Self::TypeVersion { .. } => "TYPE_VERSION",
            Self::ExclusiveFixed { .. } => "EXCLUSIVE_FIXED",
            Self::NotOwner { .. } => "NOT_OWNER",
            Self::Status(error) => error.code(),
            Self::State(_) => "INTERNAL_ERROR",
        }
    }

    /// Whether the rule reads the transaction alone, so that it is refused on every state. Such a transaction is passed
    /// on by no correct node. A signature names its key by the key's hash, so a bad one is bad for ever.
    #[must_use]
    pub const fn holds_at_every_height(&self) -> bool {
        matches!(
            self,
            Self::MissingPart { .. }
                | Self::TransactionTooLong { .. }
                | Self::OperationCount { .. }
                | Self::Operation { .. }
                | Self::UnexpectedPart { .. }
                | Self::SignatureListLength { .. }
                | Self::SignatureOrder { .. }
                | Self::TooManySignatures { .. }
                | Self::TermsWithoutSignature { .. }
                | Self::SignatureLength
                | Self::PrivateContent { .. }
                | Self::ApprovalCount { .. }
                | Self::PrivateSalt { .. }
                | Self::PrivateSignatureList
                | Self::TooManyWrites { .. }
                | Self::BadSignature { .. }
        )
    }

    /// Is nothing tried after it? Whether an entry is a person's is told of one entry, as a block tells it; else one trial
    /// would sort a whole list by person.
    pub(crate) const fn ends_trial(&self) -> bool {
        matches!(self, Self::Status(StatusError::EntryTaken { .. }))
    }

    /// Whether sending it again can help.
    #[must_use]
    pub const fn retry(&self) -> Retry {
        match self {
            Self::AlreadyOrdered { .. }
            | Self::OperationAlreadyOrdered { .. }
            | Self::AlreadyExists { .. }
            | Self::Deactivated { .. }
            | Self::Already { .. }
            | Self::ProposalExecuted { .. }
            | Self::AlreadyApproved { .. }
            | Self::AlreadyJoined { .. }
            | Self::GrantExists { .. }
            | Self::ParametersUnchanged
            | Self::NothingToWithdraw { .. } => Retry::Never,
            Self::State(_) | Self::NoQuorumLeft { .. } => Retry::Later,
            Self::Status(error) => error.retry(),
            Self::MissingPart { .. }
            | Self::TransactionTooLong { .. }
            | Self::OperationCount { .. }
            | Self::Operation { .. }
            | Self::UnexpectedPart { .. }
            | Self::SignatureListLength { .. }
            | Self::SignatureOrder { .. }
            | Self::TooManySignatures { .. }
            | Self::TermsWithoutSignature { .. }
            | Self::SignatureLength
            | Self::PrivateContent { .. }
            | Self::ApprovalCount { .. }
            | Self::PrivateSalt { .. }
            | Self::PrivateSignatureList
            | Self::TooManyWrites { .. }
            | Self::Expired { .. }
            | Self::ValidUntilTooFar { .. }
            | Self::UnknownSubmitter { .. }
            | Self::NotGranted { .. }
            | Self::KeyNotAuthorized { .. }
            | Self::KeyExpired { .. }
            | Self::BadSignature { .. }
            | Self::PossessionMissing { .. }
            | Self::NotAuthorized { .. }
            | Self::UnexpectedSignature { .. }
            | Self::SubmitterMustBeNamed { .. }
            | Self::UnknownDid { .. }
            | Self::StaleVersion { .. }
            | Self::Document { .. }
            | Self::UnknownAuthority { .. }
            | Self::UnknownCountersigner { .. }
            | Self::KeyReuse { .. }
            | Self::UseSetDevice { .. }
            | Self::NotAHolder { .. }
            | Self::RecoveryNotAllowed { .. }
            | Self::RecoveryRuleByController { .. }
            | Self::NotAnOperator { .. }
            | Self::GovernanceKeyRequired { .. }
            | Self::ProposalExpired { .. }
            | Self::ProposalTooLong { .. }
            | Self::ProposalExists { .. }
            | Self::OpenProposalsMax { .. }
            | Self::ProposalUnknown { .. }
            | Self::UnknownOrganization { .. }
            | Self::OperatorExists { .. }
            | Self::OperatorUnknown { .. }
            | Self::ObserverExists { .. }
            | Self::ObserverUnknown { .. }
            | Self::MembersMax { .. }
            | Self::ArchivesMin { .. }
            | Self::ParameterFixed { .. }
            | Self::ParameterRange { .. }
            | Self::ParametersChanged { .. }
            | Self::JoinNotApproved { .. }
            | Self::JoinExpired { .. }
            | Self::JoinHeaderUnknown { .. }
            | Self::JoinHeaderOld { .. }
            | Self::RekeyTooSoon { .. }
            | Self::GrantNotAccepted { .. }
            | Self::GrantedByOther { .. }
            | Self::PeriodOverlap { .. }
            | Self::PeriodInPast { .. }
            | Self::PeriodEmpty { .. }
            | Self::PeriodShortened { .. }
            | Self::PeriodsMax { .. }
            | Self::GrantsMax { .. }
            | Self::ChainTooLong { .. }
            | Self::GrantInCircle { .. }
            | Self::NameNotAllowed { .. }
            | Self::WithdrawNotAllowed { .. }
            | Self::TypeNameMismatch { .. }
            | Self::UnknownType { .. }
            | Self::TypeVersion { .. }
            | Self::ExclusiveFixed { .. }
            | Self::NotOwner { .. } => Retry::AfterFix,
        }
    }

    /// The values a program needs to act, by name: for example the newer version of a stale update.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::StaleVersion { did, version, head, .. } => {
                vec![
                    ("did", did.to_string()),
                    ("version", version.to_string()),
                    ("head", head.to_string()),
                ]
            }
            Self::Already { did, version, height } => {
                vec![
                    ("did", did.to_string()),
                    ("version", version.to_string()),
                    ("height", height.to_string()),
                ]
            }
            Self::AlreadyExists { did, version } => {
                vec![("did", did.to_string()), ("version", version.to_string())]
            }
            Self::Deactivated { did, height } => {
                vec![("did", did.to_string()), ("height", height.to_string())]
            }
            Self::AlreadyOrdered { transaction_id } => {
                vec![("transaction_id", transaction_id.to_string())]
            }
            Self::KeyReuse { key_id, height } => {
                vec![("key_id", key_id.to_string()), ("height", height.to_string())]
            }
            Self::Expired { valid_until_ms, time_ms }
            | Self::ValidUntilTooFar { valid_until_ms, time_ms, .. } => {
                vec![
                    ("valid_until_ms", valid_until_ms.to_string()),
                    ("time_ms", time_ms.to_string()),
                ]
            }
            Self::NotGranted { organization, action } => vec![
                ("organization", organization.to_string()),
                ("action", action.as_str_name().to_owned()),
            ],
            Self::BadSignature { key_id } | Self::KeyNotAuthorized { key_id, .. } => {
                vec![("key_id", key_id.to_string())]
            }
            Self::ProposalExpired { proposal, expires_ms, time_ms } => vec![
                ("proposal", proposal.to_string()),
                ("expires_ms", expires_ms.to_string()),
                ("time_ms", time_ms.to_string()),
            ],
            Self::ParameterFixed { name } => vec![("parameter", (*name).to_owned())],
            Self::ParameterRange { name, value, .. } => {
                vec![("parameter", (*name).to_owned()), ("value", value.to_string())]
            }
            Self::ParametersChanged { previous, in_force } => {
                vec![("previous", previous.to_string()), ("in_force", in_force.to_string())]
            }
            Self::ProposalExists { proposal } | Self::ProposalUnknown { proposal } => {
                vec![("proposal", proposal.to_string())]
            }
            Self::OpenProposalsMax { operator, max } => {
                vec![("operator", operator.to_string()), ("max", max.to_string())]
            }
            Self::ProposalExecuted { proposal, height } => {
                vec![("proposal", proposal.to_string()), ("height", height.to_string())]
            }
            Self::AlreadyApproved { proposal, operator } => {
                vec![("proposal", proposal.to_string()), ("operator", operator.to_string())]
            }
            Self::UnknownOrganization { organization } => {
                vec![("organization", organization.to_string())]
            }
            Self::NotAnOperator { operator }
            | Self::GovernanceKeyRequired { operator, .. }
            | Self::OperatorExists { operator }
            | Self::OperatorUnknown { operator } => vec![("operator", operator.to_string())],
            Self::AlreadyJoined { operator, key_id }
            | Self::JoinNotApproved { operator, key_id } => {
                vec![("operator", operator.to_string()), ("key_id", key_id.to_string())]
            }
            Self::JoinExpired { operator, expires_ms, time_ms } => vec![
                ("operator", operator.to_string()),
                ("expires_ms", expires_ms.to_string()),
                ("time_ms", time_ms.to_string()),
            ],
            Self::RekeyTooSoon { operator, next_ms, time_ms } => vec![
                ("operator", operator.to_string()),
                ("next_ms", next_ms.to_string()),
                ("time_ms", time_ms.to_string()),
            ],
            Self::GrantNotAccepted { organization } => {
                vec![("organization", organization.to_string())]
            }
            Self::GrantExists { organization, action }
            | Self::NothingToWithdraw { organization, action } => vec![
                ("organization", organization.to_string()),
                ("action", action.as_str_name().to_owned()),
            ],
            Self::GrantedByOther { grantor: Some(grantor) } => {
                vec![("organization", grantor.to_string())]
            }
            Self::PeriodOverlap { from_ms, until_ms } => {
                vec![("from_ms", from_ms.to_string()), ("until_ms", until_ms.to_string())]
            }
            Self::PeriodInPast { time_ms, .. } => vec![("time_ms", time_ms.to_string())],
            Self::PeriodShortened { until_ms } => vec![("until_ms", until_ms.to_string())],
            Self::UnknownType { name } | Self::ExclusiveFixed { name } => {
                vec![("type", name.to_string())]
            }
            Self::TypeVersion { name, latest, .. } => {
                vec![("type", name.to_string()), ("version", latest.to_string())]
            }
            Self::TypeNameMismatch { derived, .. } => vec![("type", derived.to_string())],
            Self::NotOwner { organization, resource } => {
                vec![("organization", organization.to_string()), ("resource", resource.to_string())]
            }
            Self::Status(error) => error.fields(),
            _ => Vec::new(),
        }
    }
}

fn private_content_code(error: &PrivateContentError) -> &'static str {
    match error {
        PrivateContentError::FieldLength { .. } => "PRIVATE_CONTENT_FIELD",
        PrivateContentError::TooManyApprovers { .. } => "TOO_MANY_APPROVERS",
        PrivateContentError::ApproverTwice { .. } => "APPROVER_TWICE",
        PrivateContentError::ApproverOrder { .. } => "APPROVER_ORDER",
        PrivateContentError::Padding => "PRIVATE_CONTENT_PADDING",
        PrivateContentError::Handles { .. } => "HANDLE_COUNT",
        PrivateContentError::Length { .. } => "PRIVATE_CONTENT_LENGTH",
    }
}

fn operation_code(error: &OperationError) -> &'static str {
    match error {
        OperationError::UnknownOperation => "UNKNOWN_OPERATION",
        OperationError::HashLength { .. } => "HASH_LENGTH",
        OperationError::MissingDocument => "MISSING_DOCUMENT",
        OperationError::DocumentHash { .. } => "DOCUMENT_HASH",
        OperationError::Document(_) => "INVALID_DID_DOCUMENT",
        OperationError::UnknownKind => "UNKNOWN_KIND",
        OperationError::AuthorityRequired => "AUTHORITY_REQUIRED",
        OperationError::DeviceRequired => "DEVICE_REQUIRED",
        OperationError::CountersignerIsAuthority => "COUNTERSIGNER_IS_AUTHORITY",
        OperationError::InceptionMismatch { .. } => "INCEPTION_MISMATCH",
        OperationError::NoDeviceInDocument => "NO_DEVICE_IN_DOCUMENT",
        OperationError::PreviousRequired => "PREVIOUS_REQUIRED",
        OperationError::ProposalWithoutChange => "PROPOSAL_WITHOUT_CHANGE",
        OperationError::ProposalWithoutEnd => "PROPOSAL_WITHOUT_END",
        OperationError::OperatorKey { .. } => "INVALID_OPERATOR_KEY",
        OperationError::OperatorKeyTwice { .. } => "OPERATOR_KEY_TWICE",
        OperationError::UnknownAction { .. } => "UNKNOWN_ACTION",
        OperationError::ResourceNotAllowed { .. } => "RESOURCE_NOT_ALLOWED",
        OperationError::GrantMissing => "GRANT_MISSING",
        OperationError::GrantToItself => "GRANT_TO_ITSELF",
        OperationError::PeriodEmpty { .. } => "PERIOD_EMPTY",
        OperationError::Name(_) => "INVALID_NAME",
        OperationError::TypeVersionZero | OperationError::TypeNonce { .. } => "INVALID_TYPE_FORM",
        OperationError::TypeContentMissing => "TYPE_CONTENT_MISSING",
        OperationError::TypePolicy { .. } => "INVALID_TYPE_POLICY",
        OperationError::MissingPrivateContent => "MISSING_PRIVATE_CONTENT",
        OperationError::PrivateContentHash { .. } => "PRIVATE_CONTENT_HASH",
        OperationError::OutOfRange { .. } => "OUT_OF_RANGE",
        OperationError::NonceLength { .. } => "NONCE_LENGTH",
        OperationError::IndexCount { .. } => "INDEX_COUNT",
        OperationError::IndexOrder { .. } => "INDEX_ORDER",
        OperationError::UncalledField { .. } => "UNCALLED_FIELD",
        OperationError::MissingField { .. } => "MISSING_FIELD",
        OperationError::HolderKey { .. } | OperationError::HolderKeyAgreement { .. } => {
            "INVALID_HOLDER_KEY"
        }
        OperationError::SameKey { .. } => "SAME_KEY",
        _ => "INVALID_OPERATION",
    }
}

/// The rule that a block breaks. One broken rule makes the whole block invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are named by the message of their variant")]
pub enum BlockError {
    /// The block has no header.
    #[error("the block has no header")]
    MissingHeader,
    /// The header field does not follow from the parent.
    #[error("header field {field} is {actual} but follows as {expected} from the parent")]
    Header { field: &'static str, expected: String, actual: String },
    /// Time stands still or runs backwards.
    #[error("time {time_ms} ms is not later than the parent's {parent_ms} ms")]
    Time { time_ms: u64, parent_ms: u64 },
    /// Built by nobody of set(h).
    #[error("the proposer is not a validator of height {height}")]
    Proposer { height: u64 },
    /// A bound of the genesis parameters.
    #[error("the block has {actual} {bound}, more than {max}")]
    TooLarge { bound: &'static str, actual: usize, max: usize },
    /// A transaction is not admissible.
    #[error("transaction {index}: {source}")]
    Transaction { index: usize, source: AdmissionError },
    /// Executing it panicked. A fault of this software; the block is refused and the process goes on (PROTOCOL II.3).
    #[error("executing the block panicked; report it")]
    Panicked,
    /// The state could not be read: says nothing about the block.
    #[error(transparent)]
    State(#[from] StateFault),
}

impl BlockError {
    /// Does the refusal say nothing about the block of this header, because the transactions beside it are not those
    /// that it commits to? Then another peer may hold the block itself (PROTOCOL §2.1).
    #[must_use]
    pub fn is_altered(&self) -> bool {
        match self {
            Self::Header { field, .. } => *field == "transactions_root",
            // Everything else about a transaction is in its body or its signatures, which the header commits to.
            Self::Transaction { source, .. } => matches!(
                source,
                AdmissionError::UnexpectedPart { .. }
                    | AdmissionError::Operation {
                        source: OperationError::MissingDocument
                            | OperationError::DocumentHash { .. }
                            | OperationError::MissingPrivateContent
                            | OperationError::PrivateContentHash { .. },
                        ..
                    }
            ),
            _ => false,
        }
    }

    /// The rule without the names in its message, for logs: no DID stands in any of them (PROTOCOL, Part II §6).
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Transaction { index, source } => {
                format!("transaction {index}: {}", source.code())
            }
            other => other.to_string(),
        }
    }
}
