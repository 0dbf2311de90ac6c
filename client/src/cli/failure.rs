//! How a command fails: an exit code, a code for programs, words for people.

use sillok_client::connection::CallError;
use sillok_client::credential_type::TypeFileError;
use sillok_client::desk::DeskError;
use sillok_client::draw::DrawError;
use sillok_client::identity::IdentityError;
use sillok_client::keys::SecretKeyError;
use sillok_client::private_file::FileError;
use sillok_client::problem::Problem;
use sillok_client::pseudonym::PersonError;
use sillok_client::read::ReadError;
use sillok_client::transaction::BuildError;
use sillok_client::trust::TrustError;
use sillok_client::verify::{Stale, VerifyError};
use sillok_client::write::WriteError;
use sillok_ledger::light::LightError;
use std::collections::BTreeMap;

/// Done, verified and fresh.
pub(crate) const EXIT_OK: u8 = 0;
/// Refused by a rule, or failed on this machine.
pub(crate) const EXIT_FAILED: u8 = 1;
/// Verified, but too old to be taken for the present.
pub(crate) const EXIT_STALE: u8 = 3;
/// The answer does not hold.
pub(crate) const EXIT_UNVERIFIED: u8 = 4;
/// Proved not to exist.
pub(crate) const EXIT_NOT_FOUND: u8 = 5;
/// Deactivated.
pub(crate) const EXIT_DEACTIVATED: u8 = 6;
/// No node could be reached.
pub(crate) const EXIT_UNREACHABLE: u8 = 7;
/// A write whose outcome is open.
pub(crate) const EXIT_OPEN: u8 = 8;
/// Verified, and the answer is no.
pub(crate) const EXIT_NO: u8 = 9;
/// Wrong usage (`EX_USAGE`).
pub(crate) const EXIT_USAGE: u8 = 64;

/// Why a command ends without what was asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: u8,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) fields: BTreeMap<String, String>,
    /// Every rule that a prepared change breaks, for programs.
    pub(crate) violations: Vec<serde_json::Value>,
    /// A transaction was sent, and may be ordered yet whatever a node says of it.
    pub(crate) open: bool,
}

impl Failure {
    pub(crate) fn new(exit: u8, code: &str, message: impl Into<String>) -> Self {
        let (code, message) = (code.to_owned(), message.into());
        Self { exit, code, message, fields: BTreeMap::new(), violations: Vec::new(), open: false }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(EXIT_USAGE, "USAGE", message)
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(EXIT_FAILED, "FAILED", message)
    }

    fn refused(problem: &Problem, message: String) -> Self {
        let exit = match problem.code.as_str() {
            "STALE" => EXIT_STALE,
            "DEACTIVATED" => EXIT_DEACTIVATED,
            _ => EXIT_FAILED,
        };
        let mut failure = Self::new(exit, &problem.code, message);
        failure.fields.clone_from(&problem.fields);
        failure.fields.insert("retry".to_owned(), problem.retry.as_str().to_owned());
        failure
    }

    /// That a change breaks rules, all of which a node has named.
    pub(crate) fn violations(all: &[(Option<u32>, Problem)]) -> Option<Self> {
        let (_, first) = all.first()?;
        let words: Vec<String> = all.iter().map(|(_, problem)| problem.to_string()).collect();
        let mut failure = Self::refused(first, format!("refused: {}", words.join("; and ")));
        failure.violations = all
            .iter()
            .map(|(operation, problem)| {
                serde_json::json!({
                    "operation": operation,
                    "code": problem.code,
                    "message": problem.message,
                    "retry": problem.retry.as_str(),
                    "fields": problem.fields,
                })
            })
            .collect();
        Some(failure)
    }

    /// Of a transaction that was sent.
    pub(crate) fn sent(error: WriteError) -> Self {
        let open = error.is_open();
        Self { open, ..error.into() }
    }

    /// More to the message, for what the command has done so far.
    pub(crate) fn and(mut self, more: &str) -> Self {
        self.message = format!("{}; {more}", self.message);
        self
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let message = error.to_string();
        match &error {
            CallError::Refused { problem, .. } => Self::refused(problem, message),
            CallError::Unreachable { .. } => Self::new(EXIT_UNREACHABLE, "UNREACHABLE", message),
            _ => Self::usage(message),
        }
    }
}

impl From<TrustError> for Failure {
    fn from(error: TrustError) -> Self {
        let message = error.to_string();
        match error {
            TrustError::Nothing | TrustError::Several { .. } => Self::usage(message),
            TrustError::Conflict { .. } | TrustError::ForkOnRecord { .. } => {
                Self::new(EXIT_UNVERIFIED, "FORK", message)
            }
            TrustError::OtherGenesis { .. } => Self::new(EXIT_UNVERIFIED, "UNVERIFIED", message),
            _ => Self::failed(message),
        }
    }
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        let message = error.to_string();
        match error {
            VerifyError::OtherNetwork { .. } => Self::usage(message),
            // Neither proved nor a lie: whoever has a node can tell.
            VerifyError::PastValidators { .. } => {
                Self::new(EXIT_FAILED, "PAST_VALIDATORS", message)
            }
            VerifyError::Changing => Self::new(EXIT_FAILED, "CHANGING", message),
            // About this machine, not about the answer.
            VerifyError::Light(LightError::Expired { .. }) => {
                Self::new(EXIT_FAILED, "TRUST_EXPIRED", message)
            }
            VerifyError::Light(LightError::ClockBehind { .. }) => {
                Self::new(EXIT_FAILED, "CLOCK_BEHIND", message)
            }
            _ => Self::new(EXIT_UNVERIFIED, "UNVERIFIED", message),
        }
    }
}

impl From<Stale> for Failure {
    fn from(error: Stale) -> Self {
        Self::new(EXIT_STALE, "STALE", error.to_string())
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        let message = error.to_string();
        match error {
            ReadError::Call(error) => error.into(),
            ReadError::Trust(error) => error.into(),
            ReadError::Stale(error) => error.into(),
            ReadError::OtherNetwork(_) => Self::usage(message),
            ReadError::Fork { .. } => Self::new(EXIT_UNVERIFIED, "FORK", message),
            ReadError::Verify { source, .. } => Self { message, ..Self::from(*source) },
            ReadError::AsOf(source) => match *source {
                VerifyError::NoSuchList | VerifyError::NoSuchEntry { .. } => {
                    Self::new(EXIT_NOT_FOUND, "NOT_FOUND", message)
                }
                VerifyError::TimeToCome { .. } => Self::new(EXIT_FAILED, "TIME_TO_COME", message),
                source => source.into(),
            },
            ReadError::NotYet { .. } => Self::new(EXIT_FAILED, "NOT_YET", message),
            ReadError::AmongHowMany { .. } => Self::usage(message),
            ReadError::NoRandomness => Self::failed(message),
            _ => Self::new(EXIT_UNVERIFIED, "UNVERIFIED", message),
        }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        let message = error.to_string();
        match error {
            WriteError::Read(error) => error.into(),
            WriteError::Refused { problem } | WriteError::Rejected { problem, .. } => {
                Self::refused(&problem, message)
            }
            WriteError::NotFound { .. } => Self::new(EXIT_NOT_FOUND, "NOT_FOUND", message),
            WriteError::Deactivated { .. } => Self::new(EXIT_DEACTIVATED, "DEACTIVATED", message),
            WriteError::Expired { .. } => Self::new(EXIT_FAILED, "EXPIRED", message),
            WriteError::Pending { id, .. } => {
                let mut failure = Self::new(EXIT_OPEN, "PENDING", message);
                failure.fields.insert("transactionId".to_owned(), id.to_string());
                failure
            }
            _ => Self::failed(message),
        }
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<SecretKeyError> for Failure {
    fn from(error: SecretKeyError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<TypeFileError> for Failure {
    fn from(error: TypeFileError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<PersonError> for Failure {
    fn from(error: PersonError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<DrawError> for Failure {
    fn from(error: DrawError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<DeskError> for Failure {
    fn from(error: DeskError) -> Self {
        match error {
            DeskError::Key(_) | DeskError::File { .. } | DeskError::OtherNetwork { .. } => {
                Self::failed(error.to_string())
            }
            _ => Self::usage(error.to_string()),
        }
    }
}
