//! Errors at the door: the only place that maps rules to gRPC codes.
//!
//! Every refusal carries a code that programs match on, a message for people, and whether to try again, in the status
//! details as `google.rpc.ErrorInfo` of domain `sillok.v1`.

use crate::ledger::SubmitError;
use crate::mempool::PoolError;
use sillok_did_method::Did;
use sillok_ledger::{AdmissionError, Retry};
use sillok_proto::{Hash, v1};
use std::collections::HashMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of our error codes.
pub const DOMAIN: &str = "sillok.v1";

/// A problem with its gRPC code.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// Which class of error.
    pub code: Code,
    /// What the caller gets.
    pub problem: v1::Problem,
}

impl Refused {
    /// A problem of the door itself.
    pub fn new(code: Code, name: &str, message: impl Into<String>, retry: Retry) -> Self {
        let problem = v1::Problem {
            code: name.to_owned(),
            message: message.into(),
            retry: retry.as_str().to_owned(),
            fields: Vec::new(),
        };
        Self { code, problem }
    }

    /// The bytes or fields sent are not what they should be.
    pub fn malformed(name: &str, message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, name, message, Retry::AfterFix)
    }

    /// Something that must not happen did. What happened is for the log, not for the caller.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            Code::Internal,
            "INTERNAL_ERROR",
            "this node failed to answer; ask another node, and tell this one's operator",
            Retry::Later,
        )
    }

    /// Adds a value that a program needs to act.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.problem
            .fields
            .push(v1::ProblemField { name: name.to_owned(), value: value.to_string() });
        self
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        let Refused { code, problem } = refused;
        let mut metadata: HashMap<String, String> =
            problem.fields.into_iter().map(|field| (field.name, field.value)).collect();
        metadata.insert("retry".to_owned(), problem.retry);
        let details = ErrorDetails::with_error_info(problem.code, DOMAIN, metadata);
        Self::with_error_details(code, problem.message, details)
    }
}

/// The problem of a refused transaction, for its remembered state.
#[must_use]
pub fn of_submit(network: &str, error: &SubmitError) -> v1::Problem {
    refused(network, error).problem
}

/// The problem of a refused transaction, for its submitter.
#[must_use]
pub fn refused(network: &str, error: &SubmitError) -> Refused {
    match error {
        SubmitError::Admission(error) => admission(network, error),
        SubmitError::Pool(error) => {
            let code = match error {
                PoolError::SubmitterShare { .. } => "SUBMITTER_SHARE",
                PoolError::Full(_) => "MEMPOOL_FULL",
            };
            Refused::new(Code::ResourceExhausted, code, error.to_string(), Retry::Later)
        }
        SubmitError::TooManyTrials => {
            let code = "TOO_MANY_TRIALS";
            Refused::new(Code::ResourceExhausted, code, error.to_string(), Retry::Later)
        }
        SubmitError::Poison => {
            Refused::new(Code::Internal, "INTERNAL_ERROR", error.to_string(), Retry::Never)
        }
    }
}

/// The problem of a rule that is broken.
#[must_use]
pub fn admission(network: &str, error: &AdmissionError) -> Refused {
    if matches!(error, AdmissionError::State(_)) {
        return Refused::internal();
    }
    let mut message = error.to_string();
    let mut fields = Vec::new();
    for (name, value) in error.fields() {
        // Rules know digests; people and programs know DIDs.
        let text = match did_text(network, &value)
            .filter(|_| matches!(name, "did" | "organization" | "operator"))
        {
            Some(did) => {
                message = message.replace(&value, &did);
                did
            }
            None => value,
        };
        fields.push(v1::ProblemField { name: name.to_owned(), value: text });
    }
    let problem = v1::Problem {
        code: error.code().to_owned(),
        message,
        retry: error.retry().as_str().to_owned(),
        fields,
    };
    Refused { code: code(error), problem }
}

fn did_text(network: &str, digest: &str) -> Option<String> {
    let digest = hex::decode(digest).ok().and_then(|bytes| Hash::from_slice(&bytes))?;
    Did::new(network, digest).ok().map(|did| did.to_string())
}

fn code(error: &AdmissionError) -> Code {
    match error {
        AdmissionError::MissingPart { .. }
        | AdmissionError::OperationCount { .. }
        | AdmissionError::Operation { .. }
        | AdmissionError::UnexpectedPart { .. }
        | AdmissionError::SignatureListLength { .. }
        | AdmissionError::SignatureOrder { .. }
        | AdmissionError::TooManySignatures { .. }
        | AdmissionError::TermsWithoutSignature { .. }
        | AdmissionError::SignatureLength
        | AdmissionError::Document { .. }
        | AdmissionError::UnexpectedSignature { .. }
        | AdmissionError::SubmitterMustBeNamed { .. } => Code::InvalidArgument,
        AdmissionError::TransactionTooLong { .. } => Code::ResourceExhausted,
        AdmissionError::UnknownSubmitter { .. }
        | AdmissionError::NotGranted { .. }
        | AdmissionError::KeyNotAuthorized { .. }
        | AdmissionError::KeyExpired { .. }
        | AdmissionError::BadSignature { .. }
        | AdmissionError::PossessionMissing { .. }
        | AdmissionError::NotAuthorized { .. }
        | AdmissionError::RecoveryNotAllowed { .. }
        | AdmissionError::RecoveryRuleByController { .. }
        | AdmissionError::NotAnOperator { .. }
        | AdmissionError::GovernanceKeyRequired { .. }
        | AdmissionError::JoinNotApproved { .. }
        | AdmissionError::GrantNotAccepted { .. }
        | AdmissionError::NameNotAllowed { .. }
        | AdmissionError::WithdrawNotAllowed { .. }
        | AdmissionError::NotOwner { .. } => Code::PermissionDenied,
        AdmissionError::UnknownDid { .. }
        | AdmissionError::ProposalUnknown { .. }
        | AdmissionError::UnknownOrganization { .. }
        | AdmissionError::OperatorUnknown { .. }
        | AdmissionError::ObserverUnknown { .. }
        | AdmissionError::UnknownType { .. } => Code::NotFound,
        AdmissionError::AlreadyOrdered { .. }
        | AdmissionError::OperationAlreadyOrdered { .. }
        | AdmissionError::AlreadyExists { .. }
        | AdmissionError::ProposalExists { .. }
        | AdmissionError::OperatorExists { .. }
        | AdmissionError::ObserverExists { .. }
        | AdmissionError::AlreadyApproved { .. }
        | AdmissionError::AlreadyJoined { .. }
        | AdmissionError::GrantExists { .. }
        | AdmissionError::KeyReuse { .. } => Code::AlreadyExists,
        AdmissionError::State(_) => Code::Internal,
        _ => Code::FailedPrecondition,
    }
}

/// Logs what failed and answers with [`Refused::internal`]. The log names no DID (PROTOCOL II.6).
pub fn failed(what: &'static str) -> impl Fn(crate::storage::StorageError) -> Status {
    move |error| {
        tracing::error!(what, err = %error, "a read failed");
        Refused::internal().into()
    }
}
