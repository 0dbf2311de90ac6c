//! What a node says when it refuses: a code for programs, words for people. It is one node's word and proves nothing.

use sillok_proto::v1;
use std::collections::BTreeMap;
use std::fmt;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The domain of our codes in `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "sillok.v1";
/// Longest text taken from a node, in characters.
const TEXT_CHARS_MAX: usize = 600;

/// Whether sending the same again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It never will.
    Never,
    /// After a change on the caller's side.
    AfterFix,
    /// As it is, a little later or on another node.
    Later,
}

impl Retry {
    fn parse(text: &str) -> Self {
        match text {
            "NEVER" => Self::Never,
            "LATER" => Self::Later,
            _ => Self::AfterFix,
        }
    }

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

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which rule, in upper snake case: `STALE_VERSION`, `ALREADY`, `NOT_GRANTED` …
    pub code: String,
    /// What is so, and what to do.
    pub message: String,
    /// Whether sending it again can help.
    pub retry: Retry,
    /// Values to act on, by name: for example the newer version of a stale update.
    pub fields: BTreeMap<String, String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl Problem {
    /// The refusal in a gRPC status, if a Sillok node made it; `None` for anything between it and us.
    #[must_use]
    pub fn of_status(status: &Status) -> Option<Self> {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN)?;
        let mut fields: BTreeMap<String, String> =
            info.metadata.iter().map(|(name, value)| (plain(name), plain(value))).collect();
        let retry = Retry::parse(&fields.remove("retry").unwrap_or_default());
        Some(Self { code: plain(&info.reason), message: plain(status.message()), retry, fields })
    }

    /// The refusal in the state of a transaction.
    #[must_use]
    pub fn of_message(problem: &v1::Problem) -> Self {
        Self {
            code: plain(&problem.code),
            message: plain(&problem.message),
            retry: Retry::parse(&problem.retry),
            fields: problem
                .fields
                .iter()
                .map(|field| (plain(&field.name), plain(&field.value)))
                .collect(),
        }
    }

    /// A refusal by the gRPC stack itself: no such method, message too long and the like.
    #[must_use]
    pub fn of_other_status(status: &Status) -> Self {
        Self {
            code: format!("{:?}", status.code()).to_uppercase(),
            message: plain(status.message()),
            retry: Retry::AfterFix,
            fields: BTreeMap::new(),
        }
    }
}

/// Is the status about the way to the node, rather than from it? What was made on our side has a source; a node that is
/// being stopped ends a connection with one of code `INTERNAL`.
#[must_use]
pub fn is_unreachable(status: &Status) -> bool {
    let codes = [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled, Code::Unknown];
    Problem::of_status(status).is_none()
        && (codes.contains(&status.code()) || std::error::Error::source(status).is_some())
}

/// Text from a node as a terminal may show it: no control characters, not endless.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn a_refusal_survives_the_wire() {
        let metadata = [("retry", "AFTER_FIX"), ("version", "3")];
        let metadata = metadata.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let details = ErrorDetails::with_error_info("STALE_VERSION", DOMAIN, metadata);
        let status = Status::with_error_details(Code::FailedPrecondition, "at 3", details);
        let problem = Problem::of_status(&status).unwrap();
        assert_eq!(problem.code, "STALE_VERSION");
        assert_eq!(problem.retry, Retry::AfterFix);
        assert_eq!(problem.fields.get("version").map(String::as_str), Some("3"));
        assert!(!is_unreachable(&status));
    }

    #[test]
    fn a_refusal_cannot_write_to_the_terminal_as_it_likes() {
        let problem = v1::Problem { message: "\u{1b}[2J".repeat(1000), ..v1::Problem::default() };
        let problem = Problem::of_message(&problem);
        assert!(!problem.message.contains('\u{1b}'));
        assert!(problem.message.len() <= TEXT_CHARS_MAX);
    }

    #[test]
    fn a_broken_connection_is_no_refusal() {
        assert!(is_unreachable(&Status::unavailable("tcp connect error")));
        assert!(!is_unreachable(&Status::invalid_argument("no")));
        assert!(!is_unreachable(&Status::internal("of the node")));
        let mut of_ours = Status::internal("h2 protocol error: http2 error");
        of_ours.set_source(std::sync::Arc::new(std::io::Error::other("GOAWAY")));
        assert!(is_unreachable(&of_ours));
    }
}
