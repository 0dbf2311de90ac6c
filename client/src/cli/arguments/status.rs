//! `sillok status` as typed.

use super::trust::Level;
use super::{CarryArguments, SigningAlgorithm, datetime, did, duration, hash};
use clap::{Args, Subcommand, ValueEnum};
use sillok_client::words::Word as _;
use sillok_did_method::{Did, EntryState, LIST_ENTRIES_MIN};
use sillok_proto::{Hash, v1};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(crate) enum StatusCommand {
    /// Create a status list of one issuer and one type
    ///
    ///   sillok status create-list TYPE --issuer agency.json --capacity 131072
    ///
    /// A desk that issues by itself has a list of its own, so that no two draw one index.
    #[command(verbatim_doc_comment)]
    CreateList(CreateListArguments),
    /// Reserve an enrollment for a person; the one-time key goes into a new file, for a QR
    ///
    ///   sillok status reserve --issuer DID --type TYPE --handles handles.key --person person.txt \
    ///     --role counter.json --reason first-issue --channel office --level high \
    ///     --valid-for 3years --qr qr.json
    ///
    /// With an approval, which the rules of the type may ask for:
    ///   sillok status reserve … --approver BOARD_DID --out first.application
    ///   sillok status approve first.application --role board.json --out board.approval   (there)
    ///   sillok status submit first.application --approval board.approval --role counter.json
    ///
    /// The person is named by a number of the issuer's own register, in a file or on standard input
    /// (--person -); only a keyed hash of it leaves this machine.
    #[command(verbatim_doc_comment)]
    Reserve(ReserveArguments),
    /// Activate a reservation, with the one-time key and the key of the phone
    ///
    ///   sillok key enrollment --out phone.json
    ///   sillok status activate --issuer DID --type TYPE --handles handles.key --person person.txt \
    ///     --role counter.json --reason first-issue --channel office --level high \
    ///     --qr qr.json --enrollment-key phone.json
    ///
    /// Where the phone keeps its key, give the public half, and let it sign:
    ///   sillok status activate … --qr KEY --enrollment-key KEY --number 1 --out a.application
    ///   sillok status submit a.application --role counter.json --out a.part
    ///   sillok tx sign a.part --key qr.json --key phone.json              (on the phone)
    ///   sillok tx submit a.part --submitter counter.json
    #[command(verbatim_doc_comment)]
    Activate(ActivateArguments),
    /// Suspend a person's enrollment, with all its entries; it may come back
    ///
    ///   sillok status suspend --issuer DID --type TYPE --handles handles.key --person person.txt \
    ///     --role call-centre.json --reason suspected --channel call-centre
    #[command(verbatim_doc_comment)]
    Suspend(SuspendArguments),
    /// Bring a suspended enrollment back; takes the key of the phone
    ///
    ///   sillok status reinstate … --reason found --channel office --level high --number 1 \
    ///     --enrollment-key phone.json
    #[command(verbatim_doc_comment)]
    Reinstate(ReinstateArguments),
    /// End a person's enrollment, with all its entries, for good
    ///
    ///   sillok status end --issuer DID --type TYPE --handles handles.key --person person.txt \
    ///     --role call-centre.json --reason lost-device --channel call-centre
    ///
    /// Takes no approval and no signature of the lost phone.
    #[command(verbatim_doc_comment, visible_alias = "revoke")]
    End(EndArguments),
    /// End the old enrollment and reserve the next, both or neither
    ///
    ///   sillok status reissue … --reason lost-device --channel office --level high --number 2 \
    ///     --valid-for 3years --qr qr2.json
    ///
    /// The old one is dead at once. Where it may live until the new one is activated, reserve for a
    /// reason that replaces it.
    #[command(verbatim_doc_comment)]
    Reissue(ReserveArguments),
    /// Set entries of a list: valid, invalid, suspended or superseded
    ///
    ///   sillok status set LIST valid --draw 3 --role counter.json --reason first-issue --channel office
    ///   sillok status set LIST invalid --index 4711 --index 9 --role counter.json \
    ///     --reason end-of-use --channel portal
    ///
    /// Of an exclusive type entries become valid for people: one line of --people for each.
    #[command(verbatim_doc_comment)]
    Set(SetArguments),
    /// Approve an application in a file, as the organization that it names; submits nothing
    ///
    ///   sillok status approve first.application --role board.json --out board.approval
    ///
    /// Read what is printed: that is what you approve. The approval is for this change alone and ends
    /// by itself.
    #[command(verbatim_doc_comment)]
    Approve(ApproveArguments),
    /// Submit an application that was approved
    ///
    ///   sillok status submit first.application --approval board.approval --role counter.json
    #[command(verbatim_doc_comment)]
    Submit(SubmitArguments),
    /// A status list: whose it is, and how many entries are in which state, proved
    Show {
        /// The list: 64 hex digits
        #[arg(value_parser = hash)]
        list: Hash,
    },
    /// May a credential be used? What a verifier asks; proved (exit code 9: no)
    ///
    ///   sillok status check LIST 4711
    ///   sillok status check LIST 4711 --type TYPE --purpose identification --decoys 3
    ///   sillok status check LIST 4711 --at 2026-11-21T09:00:00Z
    ///
    /// Asks for the whole chunk of 8,192 entries, never for one, so no node learns which credential
    /// was shown; with --decoys for other chunks too.
    #[command(verbatim_doc_comment)]
    Check(CheckStatusArguments),
    /// Serve lists over HTTP as a status issuer: signed, and with their proof
    ///
    ///   sillok key copy office.json --relationships assertionMethod --out door.json
    ///   sillok status serve --key door.json --listen 127.0.0.1:8090
    ///
    /// The organization of the key holds serve-status on the lists. Nothing is signed that was not
    /// verified, that is older than the list's max age, or that the organization may not serve. HTTP/1.1
    /// without TLS: put a proxy before it. Runs until it is stopped.
    #[command(verbatim_doc_comment)]
    Serve(ServeArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// Identity file with the assertionMethod key, and better none other
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// Address and port to listen at; port 0 is any
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    pub(crate) listen: SocketAddr,
}

#[derive(Debug, Args)]
pub(crate) struct CheckStatusArguments {
    /// The list: 64 hex digits
    #[arg(value_parser = hash)]
    pub(crate) list: Hash,
    /// The entry, as the credential names it
    pub(crate) index: u32,
    /// What the credential says it is; another type is WRONG_TYPE
    #[arg(long, value_name = "TYPE", value_parser = hash)]
    pub(crate) r#type: Option<Hash>,
    /// Who the credential says issued it; another is WRONG_ISSUER
    #[arg(long, value_name = "DID", value_parser = did)]
    pub(crate) issuer: Option<Did>,
    /// What it is to be used for: identification, administrative, civil or access; what the type is not for is
    /// PURPOSE_MISMATCH
    #[arg(long, value_parser = purpose)]
    pub(crate) purpose: Option<v1::Purpose>,
    /// At this ledger time, by what is known now [default: now]
    #[arg(long, value_name = "TIME", value_parser = datetime)]
    pub(crate) at: Option<u64>,
    /// How many other chunks to ask for, drawn at random
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) decoys: u8,
}

#[derive(Debug, Args)]
pub(crate) struct CreateListArguments {
    /// The credential type: 64 hex digits
    #[arg(value_parser = hash)]
    pub(crate) r#type: Hash,
    /// Identity file of the issuer
    #[arg(long, env = "SILLOK_IDENTITY", value_name = "FILE")]
    pub(crate) issuer: PathBuf,
    /// Entries: a multiple of 8,192 from 131,072 to 1,048,576
    #[arg(long, value_name = "N", default_value_t = LIST_ENTRIES_MIN)]
    pub(crate) capacity: u32,
    /// Longest age of what a status issuer signs, from 1 minute to 1 day
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub(crate) max_age: Duration,
    #[command(flatten)]
    pub(crate) carry: CarryArguments,
}

/// Whose enrollment.
#[derive(Debug, Args)]
pub(crate) struct PersonArguments {
    /// The issuer [default: the role that acts]
    #[arg(long, value_name = "DID", value_parser = did, help_heading = "Whose enrollment")]
    pub(crate) issuer: Option<Did>,
    /// The credential type: 64 hex digits
    #[arg(long, value_name = "TYPE", value_parser = hash, help_heading = "Whose enrollment")]
    pub(crate) r#type: Hash,
    /// The issuer's secret for handles, made by `sillok key handles`
    #[arg(long, env = "SILLOK_HANDLES", value_name = "FILE", help_heading = "Whose enrollment")]
    pub(crate) handles: PathBuf,
    /// A file with the person's number in the issuer's register; - is standard input
    #[arg(long, value_name = "FILE", help_heading = "Whose enrollment")]
    pub(crate) person: PathBuf,
}

/// Who acts, why, and through which door.
#[derive(Debug, Args)]
pub(crate) struct DeskArguments {
    /// Identity file of the organization, office or role that acts
    #[arg(long, env = "SILLOK_IDENTITY", value_name = "FILE", help_heading = "Who acts, and why")]
    pub(crate) role: PathBuf,
    /// first-issue, lost-device, app-deleted, password-locked, attribute-change, renewal, expired, damaged,
    /// device-change, end-of-use, compromised, deceased, issued-in-error, suspected or found
    #[arg(long, value_parser = reason, help_heading = "Who acts, and why")]
    pub(crate) reason: v1::Reason,
    /// office, call-centre, portal, app or system
    #[arg(long, value_parser = channel, help_heading = "Who acts, and why")]
    pub(crate) channel: v1::Channel,
    /// How well the person was proofed, where the type asks and a right is gained
    #[arg(long, help_heading = "Who acts, and why")]
    pub(crate) level: Option<Level>,
    /// The organization that the person belongs to
    #[arg(long, value_name = "DID", value_parser = did, help_heading = "Who acts, and why")]
    pub(crate) organization: Option<Did>,
    /// An organization that will approve; may be repeated
    #[arg(long, value_name = "DID", value_parser = did, requires = "out", help_heading = "Who acts, and why")]
    pub(crate) approver: Vec<Did>,
}

#[derive(Debug, Args)]
pub(crate) struct ReserveArguments {
    #[command(flatten)]
    pub(crate) person: PersonArguments,
    #[command(flatten)]
    pub(crate) desk: DeskArguments,
    /// The number to reserve: one more than the last of this person
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) number: u32,
    /// The new file for the one-time key, mode 0600: show it as a QR
    #[arg(long, value_name = "FILE")]
    pub(crate) qr: PathBuf,
    /// Algorithm of the one-time key
    #[arg(long, default_value = "ed25519")]
    pub(crate) algorithm: SigningAlgorithm,
    /// Activated within, or never
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    pub(crate) activate_within: Duration,
    /// How long the enrollment will be valid
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) valid_for: Duration,
    /// Move it to the handle of another secret, when that of the old one must be given up
    #[arg(long, value_name = "FILE")]
    pub(crate) new_handles: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) carry: CarryArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ActivateArguments {
    #[command(flatten)]
    pub(crate) person: PersonArguments,
    #[command(flatten)]
    pub(crate) desk: DeskArguments,
    /// The one-time key: its file, or its public half, a Multikey
    #[arg(long, value_name = "FILE|KEY")]
    pub(crate) qr: String,
    /// The key of the phone: its file, or its public half, a Multikey
    #[arg(long, value_name = "FILE|KEY")]
    pub(crate) enrollment_key: String,
    /// The number that was reserved [default: the one in the file of --qr]
    #[arg(long, value_name = "N")]
    pub(crate) number: Option<u32>,
    /// Entries that are superseded may still be taken until then [default: not at all]
    #[arg(long, value_name = "TIME", value_parser = datetime)]
    pub(crate) grace_until: Option<u64>,
    #[command(flatten)]
    pub(crate) carry: CarryArguments,
}

#[derive(Debug, Args)]
pub(crate) struct SuspendArguments {
    #[command(flatten)]
    pub(crate) person: PersonArguments,
    #[command(flatten)]
    pub(crate) desk: DeskArguments,
    /// This number alone [default: whichever is active]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) number: u32,
    #[command(flatten)]
    pub(crate) carry: CarryArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ReinstateArguments {
    #[command(flatten)]
    pub(crate) person: PersonArguments,
    #[command(flatten)]
    pub(crate) desk: DeskArguments,
    /// The key of the phone: its file, or its public half, a Multikey
    #[arg(long, value_name = "FILE|KEY")]
    pub(crate) enrollment_key: String,
    /// The active number
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) number: u32,
    #[command(flatten)]
    pub(crate) carry: CarryArguments,
}

#[derive(Debug, Args)]
pub(crate) struct EndArguments {
    #[command(flatten)]
    pub(crate) person: PersonArguments,
    #[command(flatten)]
    pub(crate) desk: DeskArguments,
    /// This number alone [default: whichever there is]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) number: u32,
    /// Its entries are not to be trusted since then [default: since the block]
    #[arg(long, value_name = "TIME", value_parser = datetime)]
    pub(crate) invalid_from: Option<u64>,
    #[command(flatten)]
    pub(crate) carry: CarryArguments,
}

/// The states that entries are set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TargetState {
    Valid,
    Invalid,
    Suspended,
    Superseded,
}

impl From<TargetState> for EntryState {
    fn from(state: TargetState) -> Self {
        match state {
            TargetState::Valid => Self::Valid,
            TargetState::Invalid => Self::Invalid,
            TargetState::Suspended => Self::Suspended,
            TargetState::Superseded => Self::Superseded,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct SetArguments {
    /// The list: 64 hex digits
    #[arg(value_parser = hash)]
    pub(crate) list: Hash,
    /// What they become
    pub(crate) state: TargetState,
    /// An entry; may be repeated
    #[arg(long, value_name = "INDEX", required_unless_present = "draw")]
    pub(crate) index: Vec<u32>,
    /// So many entries that were never used, drawn by lot
    #[arg(long, value_name = "N", conflicts_with = "index")]
    pub(crate) draw: Option<usize>,
    /// The issuer's secret for handles; for entries of an exclusive type
    #[arg(long, env = "SILLOK_HANDLES", value_name = "FILE")]
    pub(crate) handles: Option<PathBuf>,
    /// A file with a person's number on each line, one for each entry; - is standard input
    #[arg(long, value_name = "FILE", requires = "handles")]
    pub(crate) people: Option<PathBuf>,
    /// Superseded entries may still be taken until then [default: not at all]
    #[arg(long, value_name = "TIME", value_parser = datetime)]
    pub(crate) grace_until: Option<u64>,
    /// Invalid entries are not to be trusted since then [default: since the block]
    #[arg(long, value_name = "TIME", value_parser = datetime)]
    pub(crate) invalid_from: Option<u64>,
    #[command(flatten)]
    pub(crate) desk: DeskArguments,
    #[command(flatten)]
    pub(crate) carry: CarryArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ApproveArguments {
    /// The application
    pub(crate) file: PathBuf,
    /// Identity file of who approves
    #[arg(long, env = "SILLOK_IDENTITY", value_name = "FILE")]
    pub(crate) role: PathBuf,
    /// The new file for the approval
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// How long it counts, at most as long as the type allows
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    pub(crate) within: Duration,
    /// Approve without asking
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SubmitArguments {
    /// The application
    pub(crate) file: PathBuf,
    /// An approval; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) approval: Vec<PathBuf>,
    /// Identity file of the role that acts
    #[arg(long, env = "SILLOK_IDENTITY", value_name = "FILE")]
    pub(crate) role: PathBuf,
    /// A key of the holder, where the change takes it; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) holder_key: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) carry: CarryArguments,
}

fn reason(text: &str) -> Result<v1::Reason, String> {
    v1::Reason::parse(text).map_err(|error| error.to_string())
}

fn channel(text: &str) -> Result<v1::Channel, String> {
    v1::Channel::parse(text).map_err(|error| error.to_string())
}

fn purpose(text: &str) -> Result<v1::Purpose, String> {
    v1::Purpose::parse(text).map_err(|error| error.to_string())
}
