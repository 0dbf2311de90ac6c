//! `sillok trust` and `sillok type` as typed.

use super::{CarryArguments, datetime, did, hash};
use clap::{Args, Subcommand, ValueEnum};
use sillok_client::words::Word as _;
use sillok_did_method::Did;
use sillok_proto::{Hash, v1};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum TrustCommand {
    /// Give an organization a right that the grantor holds itself, or prolong one
    ///
    ///   sillok trust accredit did:sillok:devnet:zGz… issue --on TYPE --grantor ministry.json \
    ///     --until 2028-12-31T00:00:00Z --ended-hourly 100
    ///
    /// An organization that another authority registered agrees by a signature of its own:
    ///   sillok trust accredit DID issue --on TYPE --grantor ministry.json --receiver office.json
    /// or, where its keys are elsewhere:
    ///   sillok trust accredit DID issue --on TYPE --grantor ministry.json --out grant.part
    ///   sillok tx sign grant.part --key office.json           (there)
    ///   sillok tx submit grant.part --submitter ministry.json (here, within a few minutes)
    ///
    /// Actions: accredit, define-type, register, issue, approve, revoke, submit, serve-status, audit
    /// and countersign. Without --on the right is on every type (of serve-status: every list).
    #[command(verbatim_doc_comment)]
    Accredit(AccreditArguments),
    /// End a right: by who holds it, who gave it, or who stands above that one
    ///
    ///   sillok trust withdraw did:sillok:devnet:zGz… issue --on TYPE --by ministry.json
    ///
    /// All rights that were given below it end with it; what was done before stays right at its time.
    #[command(verbatim_doc_comment)]
    Withdraw(WithdrawArguments),
    /// End all rights of an organization but `revoke`: nothing is gained, lost phones stay revocable
    ///
    ///   sillok trust wind-down did:sillok:devnet:zGz… --by ministry.json
    #[command(verbatim_doc_comment)]
    WindDown(EndingArguments),
    /// End all rights of an organization, and with it of all below it
    ///
    ///   sillok trust cut-off did:sillok:devnet:zGz… --by ministry.json
    #[command(verbatim_doc_comment)]
    CutOff(EndingArguments),
    /// The rights that an organization has or had, each proved
    Show {
        /// The organization
        #[arg(value_parser = did)]
        organization: Did,
    },
    /// May an organization do something, and by which chain? Proved, "no" too (exit code 9)
    ///
    ///   sillok trust check did:sillok:devnet:zGz… issue --on TYPE
    ///   sillok trust check did:sillok:devnet:zGz… issue --on TYPE --at 2026-11-21T09:00:00Z
    #[command(verbatim_doc_comment)]
    Check(CheckArguments),
}

/// A right, and for how long.
#[derive(Debug, Args)]
pub(crate) struct GrantArguments {
    /// Who receives it
    #[arg(value_parser = did)]
    pub(crate) organization: Did,
    /// What it may do
    #[arg(value_parser = action)]
    pub(crate) action: v1::Action,
    /// On what: a credential type, for serve-status a list; 64 hex digits
    #[arg(long, value_name = "NAME", value_parser = hash)]
    pub(crate) on: Option<Hash>,
    /// From this ledger time on [default: at once]
    #[arg(long, value_name = "TIME", value_parser = datetime)]
    pub(crate) from: Option<u64>,
    /// Until this ledger time [default: open]
    #[arg(long, value_name = "TIME", value_parser = datetime)]
    pub(crate) until: Option<u64>,
    /// Rights it may give in an hour without a second role [default: any number]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) gained_hourly: u32,
    /// Rights it may suspend in an hour without a second role [default: any number]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) suspended_hourly: u32,
    /// Rights it may end in an hour without a second role [default: any number]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) ended_hourly: u32,
    /// The organization's name, set by who registered it, or by governance
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub(crate) name: String,
}

impl GrantArguments {
    /// The grant as it stands in an operation.
    pub(crate) fn grant(&self) -> v1::NewGrant {
        v1::NewGrant {
            organization: self.organization.digest().to_vec(),
            action: self.action.into(),
            resource: self.on.map(Hash::to_vec).unwrap_or_default(),
            from_ms: self.from.unwrap_or(0),
            until_ms: self.until.unwrap_or(0),
            gained_hourly: self.gained_hourly,
            suspended_hourly: self.suspended_hourly,
            ended_hourly: self.ended_hourly,
            name: self.name.clone(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct AccreditArguments {
    #[command(flatten)]
    pub(crate) grant: GrantArguments,
    /// Identity file of who gives it
    #[arg(long, env = "SILLOK_IDENTITY", value_name = "FILE")]
    pub(crate) grantor: PathBuf,
    /// Identity file of who receives it, if another authority registered it
    #[arg(long, value_name = "FILE")]
    pub(crate) receiver: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) carry: CarryArguments,
}

#[derive(Debug, Args)]
pub(crate) struct WithdrawArguments {
    /// Who holds it
    #[arg(value_parser = did)]
    pub(crate) organization: Did,
    /// What it may not do any more
    #[arg(value_parser = action)]
    pub(crate) action: v1::Action,
    /// On what: as it was given
    #[arg(long, value_name = "NAME", value_parser = hash)]
    pub(crate) on: Option<Hash>,
    /// Identity file of who ends it
    #[arg(long, env = "SILLOK_IDENTITY", value_name = "FILE")]
    pub(crate) by: PathBuf,
    /// The end [default: at once]
    #[arg(long, value_name = "TIME", value_parser = datetime)]
    pub(crate) at: Option<u64>,
    #[command(flatten)]
    pub(crate) carry: CarryArguments,
}

#[derive(Debug, Args)]
pub(crate) struct EndingArguments {
    /// The organization
    #[arg(value_parser = did)]
    pub(crate) organization: Did,
    /// Identity file of who ends them: its grantor, or who stands above that one
    #[arg(long, env = "SILLOK_IDENTITY", value_name = "FILE")]
    pub(crate) by: PathBuf,
    #[command(flatten)]
    pub(crate) carry: CarryArguments,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// Who
    #[arg(value_parser = did)]
    pub(crate) organization: Did,
    /// May do what
    #[arg(value_parser = action)]
    pub(crate) action: v1::Action,
    /// On what [default: on everything]
    #[arg(long, value_name = "NAME", value_parser = hash)]
    pub(crate) on: Option<Hash>,
    /// At this ledger time [default: now]
    #[arg(long, value_name = "TIME", value_parser = datetime)]
    pub(crate) at: Option<u64>,
}

pub(super) fn action(text: &str) -> Result<v1::Action, String> {
    v1::Action::parse(text).map_err(|error| error.to_string())
}

#[derive(Debug, Subcommand)]
pub(crate) enum TypeCommand {
    /// Publish a credential type, or its next version
    ///
    ///   sillok type publish docs/examples/resident-id.type.json --publisher ministry.json
    ///   sillok type publish resident-id.type.json --publisher ministry.json --type TYPE
    ///
    /// The file says which schema and which rules: see the example. A version never changes; the
    /// rules of the latest hold for whatever happens from then on.
    #[command(verbatim_doc_comment)]
    Publish {
        /// The description of the type, JSON
        file: PathBuf,
        /// Identity file of who publishes it
        #[arg(long, env = "SILLOK_IDENTITY", value_name = "FILE")]
        publisher: PathBuf,
        /// The type whose next version this is [default: a new type]
        #[arg(long, value_name = "TYPE", value_parser = hash)]
        r#type: Option<Hash>,
        #[command(flatten)]
        carry: CarryArguments,
    },
    /// A type: its owner, its version and its rules, proved
    Show {
        /// The type: 64 hex digits
        #[arg(value_parser = hash)]
        r#type: Hash,
        /// This version [default: the latest]
        #[arg(long, value_name = "N")]
        type_version: Option<u32>,
    },
}

/// A closed set as arguments, with the words of the library.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Level {
    Low,
    Substantial,
    High,
}

impl From<Level> for v1::AssuranceLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Low => Self::Low,
            Level::Substantial => Self::Substantial,
            Level::High => Self::High,
        }
    }
}
