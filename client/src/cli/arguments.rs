//! The command line as typed. Help teaches by example.

#![allow(rustdoc::bare_urls, reason = "these comments are the help that is printed on terminals")]

mod as_of;
mod staple;
mod status;
mod trust;

use clap::{Args, Parser, Subcommand, ValueEnum};
use sillok_client::keys::KeyAlgorithm;
use sillok_did_method::{Did, parse_datetime};
use sillok_proto::{Hash, v1};
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use as_of::AsOfArguments;
pub(crate) use staple::{EntryName, StapleArguments, VerifyStapleArguments};
pub(crate) use status::{
    ActivateArguments, ApproveArguments, CheckStatusArguments, CreateListArguments, DeskArguments,
    EndArguments, PersonArguments, ReinstateArguments, ReserveArguments, ServeArguments,
    SetArguments, StatusCommand, SubmitArguments, SuspendArguments,
};
pub(crate) use trust::{
    AccreditArguments, CheckArguments, EndingArguments, GrantArguments, TrustCommand, TypeCommand,
    WithdrawArguments,
};

/// Resolve, verify and write decentralized identifiers on a Sillok network.
///
/// Every answer is checked against the validators' signatures, from the genesis or a checkpoint on:
/// a node is only a messenger. First steps on a devnet:
///
///   eval "$(sillok-devnet env)"
///   sillok network status
///   sillok did create --kind holder --out me.json
///   sillok did resolve did:sillok:devnet:zGz…
///
/// Exit codes:
///   0  done, verified and fresh
///   1  refused by a rule, or failed on this machine
///   3  STALE: verified, but too old to be taken for the present
///   4  the answer does not hold: the node lies or is broken
///   5  proved not to exist
///   6  deactivated
///   7  no node could be reached
///   8  a write whose outcome is still open
///   9  verified, and the answer is no: a right that is not held, an entry that is not valid
///   64 wrong usage
#[derive(Debug, Parser)]
#[command(name = "sillok", version, verbatim_doc_comment, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Address of a node; may be repeated: the next one is asked when one cannot answer
    #[arg(
        long = "node",
        global = true,
        env = "SILLOK_NODE",
        value_name = "URL",
        value_delimiter = ',',
        help_heading = "Network"
    )]
    pub(crate) nodes: Vec<String>,
    /// The network's genesis.json, had from someone you trust
    #[arg(
        long,
        global = true,
        env = "SILLOK_GENESIS",
        value_name = "FILE",
        help_heading = "Network"
    )]
    pub(crate) genesis: Option<PathBuf>,
    /// A checkpoint to start from instead of the genesis, had from someone you trust
    #[arg(long, global = true, value_name = "FILE", help_heading = "Network")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// Where what was verified is kept, so that no node can go back in time [default: ~/.sillok]
    #[arg(long, global = true, env = "SILLOK_HOME", value_name = "DIR", help_heading = "Network")]
    pub(crate) home: Option<PathBuf>,
    /// Age past which a verified answer is STALE (exit code 3)
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        default_value = "60s",
        value_parser = duration,
        help_heading = "Network"
    )]
    pub(crate) max_age: Duration,
    /// Lowest height that is an answer; a node waits for it a little
    #[arg(
        long,
        global = true,
        value_name = "HEIGHT",
        default_value_t = 0,
        help_heading = "Network"
    )]
    pub(crate) min_height: u64,
    /// Print JSON, errors too
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make and show keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Create, change and resolve DIDs
    #[command(subcommand)]
    Did(DidCommand),
    /// Ask for a transaction; sign and submit one that came in a file
    #[command(subcommand)]
    Tx(TxCommand),
    /// Who may do what: give rights, end them, check them
    ///
    ///   sillok trust accredit DID issue --on TYPE --grantor ministry.json
    ///   sillok trust check DID issue --on TYPE
    #[command(subcommand, verbatim_doc_comment)]
    Trust(TrustCommand),
    /// Credential types: publish them, show their rules
    #[command(subcommand)]
    Type(TypeCommand),
    /// Credential status: reserve, activate, suspend, end; and check, as a verifier
    ///
    ///   sillok status create-list TYPE --issuer agency.json
    ///   sillok status check LIST 4711
    #[command(subcommand, verbatim_doc_comment)]
    Status(StatusCommand),
    /// Who runs the network: show it, propose changes, approve them, join
    ///
    /// A new operator, from the proposal to its first vote:
    ///   sillok member propose admit DID --keys keys.json --governance-key governance.key
    ///   sillok member approve HASH --governance-key governance.key
    ///   sillok member join --dir node
    ///   sillok member list
    #[command(subcommand, verbatim_doc_comment)]
    Member(MemberCommand),
    /// Ask nodes how they are
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Check an answer kept by `did resolve --save`, without any node
    ///
    ///   sillok did resolve did:sillok:devnet:zGz… --save answer.json
    ///   sillok verify answer.json --genesis genesis.json --max-age 24h
    ///
    /// Where the validators who certified it were replaced since, their signatures say nothing any
    /// more: then a --node is asked for the history that proves it.
    #[command(verbatim_doc_comment)]
    Verify {
        /// The file
        file: PathBuf,
    },
    /// Was a key, an entry and a right good when something was signed? Also years later
    ///
    ///   sillok verify-as-of DID --key KEY --at 2026-11-21T09:00:00Z --use assertionMethod
    ///   sillok verify-as-of DID --key KEY --at 2026-11-21T09:00:00Z --status LIST#4711 \
    ///     --right issue --on TYPE
    ///
    /// Everything is proved from a header of today, so who validated then does not matter, nor what
    /// was rotated, revoked or withdrawn since. What became known later counts, such as the date
    /// since when a phone was lost; with --known-at what was known after that block. Exit code 9:
    /// something was not so. Where a node has pruned the state of then, the next --node is asked.
    #[command(verbatim_doc_comment)]
    VerifyAsOf(AsOfArguments),
    /// Keep documents, entries, lists and rights of one height in a file, with all that proves them
    ///
    ///   sillok staple DID --status LIST#4711 --out credential.staple
    ///   sillok staple --list LIST --out gate.staple
    ///   sillok staple DID --right issue --on TYPE --out issuer.staple
    ///
    /// Who has a checkpoint checks it without a network: sillok verify-staple
    #[command(verbatim_doc_comment)]
    Staple(StapleArguments),
    /// Check a file that `staple` wrote, without any node
    ///
    ///   sillok verify-staple credential.staple --trust checkpoint.json --max-age 24h
    ///   sillok verify-staple gate.staple --trust checkpoint.json --max-age 24h --status LIST#4711
    ///
    /// Exit code 9: an entry is not valid, or a right is not held. Nothing older than --max-age is
    /// valid (3); with --min-height nothing below what was taken before.
    #[command(verbatim_doc_comment)]
    VerifyStaple(VerifyStapleArguments),
    /// Show or hand on what is trusted
    #[command(subcommand)]
    Checkpoint(CheckpointCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make keys for a DID that exists, in a new file of mode 0600
    ///
    ///   sillok key new --did did:sillok:devnet:zGz… --out phone2.json
    ///
    /// makes the device key of a holder who lost the old one; `did set-device --new phone2.json`
    /// then binds it.
    #[command(verbatim_doc_comment)]
    New {
        /// The DID the key is for
        #[arg(long, value_name = "DID", value_parser = did)]
        did: Did,
        /// The new file
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Algorithm of the key
        #[arg(long, default_value = "ed25519")]
        algorithm: SigningAlgorithm,
        /// What it may be used for: device, or a list such as submit,assertionMethod
        #[arg(long, value_name = "USE", default_value = "device")]
        relationships: String,
    },
    /// Make an issuer's secret for handles: by it a person's number becomes a pseudonym
    ///
    ///   sillok key handles --out handles.key
    ///
    /// Keep a copy where keys are kept: without it no person is found again. Whoever has it can try
    /// all numbers.
    #[command(verbatim_doc_comment)]
    Handles {
        /// The new file
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Make the key of a phone under an enrollment; its public half goes to the desk
    ///
    ///   sillok key enrollment --out phone.json --algorithm p256
    #[command(verbatim_doc_comment)]
    Enrollment {
        /// The new file
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Algorithm of the key
        #[arg(long, default_value = "ed25519")]
        algorithm: SigningAlgorithm,
    },
    /// Copy the keys for some uses into a new file, for a machine that needs no others
    ///
    ///   sillok key copy office.json --relationships assertionMethod --out door.json
    #[command(verbatim_doc_comment)]
    Copy {
        /// The identity file
        file: PathBuf,
        /// The uses: every key that has one of them
        #[arg(long, value_name = "USE")]
        relationships: String,
        /// The new file
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Show the public keys of an identity file
    Show {
        /// The file
        file: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum SigningAlgorithm {
    Ed25519,
    P256,
}

impl From<SigningAlgorithm> for KeyAlgorithm {
    fn from(algorithm: SigningAlgorithm) -> Self {
        match algorithm {
            SigningAlgorithm::Ed25519 => Self::Ed25519,
            SigningAlgorithm::P256 => Self::P256,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Kind {
    Holder,
    Organization,
}

/// How a change gets to the ledger.
#[derive(Debug, Args)]
pub(crate) struct CarryArguments {
    /// Identity file of the organization that submits [default: the one that signs]
    #[arg(long, env = "SILLOK_SUBMITTER", value_name = "FILE", help_heading = "Submitting")]
    pub(crate) submitter: Option<PathBuf>,
    /// Submit what was shown without asking
    #[arg(long, short, help_heading = "Submitting")]
    pub(crate) yes: bool,
    /// Write it to this new file instead, for others to sign
    #[arg(long, value_name = "FILE", help_heading = "Submitting")]
    pub(crate) out: Option<PathBuf>,
}

/// Who brings the transaction and who acts.
#[derive(Debug, Args)]
pub(crate) struct PartyArguments {
    /// Identity file of the organization that submits
    #[arg(long, env = "SILLOK_SUBMITTER", value_name = "FILE")]
    pub(crate) submitter: Option<PathBuf>,
    /// Identity file of the registering authority, if it is not the submitter
    #[arg(long, value_name = "FILE")]
    pub(crate) authority: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DidCommand {
    /// Resolve a DID and verify the answer
    ///
    ///   sillok did resolve did:sillok:devnet:zGz…
    ///   sillok did resolve did:sillok:devnet:zGz… --version-id 2 --json
    ///   sillok did resolve did:sillok:devnet:zGz… --version-time 2026-11-21T09:00:00Z
    ///
    /// With --private a node is asked for some hundred DIDs and does not learn which one is meant. Only
    /// the current version can be had so, and nothing is kept: other questions name the DID.
    ///   sillok did resolve did:sillok:devnet:zGz… --private
    #[command(verbatim_doc_comment)]
    Resolve(ResolveArguments),
    /// Every version of a DID: who wrote it, when, and what it changed
    History {
        /// The DID
        #[arg(value_parser = did)]
        did: Did,
    },
    /// Make an identity and register its DID
    ///
    ///   sillok did create --kind holder --out me.json --submitter registrar.json
    ///   sillok did create --kind organization --out office.json --submitter ministry.json
    ///
    /// With --countersigner, the registering authority and that organization together may give the
    /// DID a new key when its own is lost; without, nobody can.
    #[command(verbatim_doc_comment)]
    Create(CreateArguments),
    /// Change the document of a DID, or a holder's recovery rule
    ///
    ///   sillok did update office.json --add-key p256:assertionMethod --remove-key z6Mk…
    ///   sillok did update office.json --set-service credential-issuer=https://issuer.example
    ///   sillok did update me.json --new-agreement --recovery none --submitter registrar.json
    #[command(verbatim_doc_comment)]
    Update(UpdateArguments),
    /// Set, replace or take away a holder's device key
    ///
    /// A new key, signed by the current one, which then is used no more:
    ///   sillok did set-device me.json --submitter registrar.json
    /// The holder gives the device up:
    ///   sillok did set-device me.json --none --submitter registrar.json
    /// The authority takes the device away, by itself:
    ///   sillok did set-device DID --authority registrar.json
    /// The authority and the countersigner set another:
    ///   sillok key new --did DID --out phone2.json
    ///   sillok did set-device DID --authority registrar.json \
    ///     --countersigner ministry.json --new phone2.json
    #[command(verbatim_doc_comment)]
    SetDevice(SetDeviceArguments),
    /// Deactivate a DID, for good
    Deactivate(DeactivateArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ResolveArguments {
    /// The DID
    #[arg(value_parser = did)]
    pub(crate) did: Did,
    /// This version, from 1 on
    #[arg(long, value_name = "N", conflicts_with = "version_time", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) version_id: Option<u64>,
    /// The newest version before this time, such as 2026-11-21T09:00:00Z
    #[arg(long, value_name = "TIME", value_parser = datetime)]
    pub(crate) version_time: Option<u64>,
    /// Keep the answer with its proof, for `sillok verify`
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    /// Refuse a DID whose device was set by others than its holder within this time
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) refuse_assisted_within: Option<Duration>,
    /// Let no node learn which DID is resolved
    #[arg(
        long,
        conflicts_with_all = ["version_id", "version_time", "save", "refuse_assisted_within"]
    )]
    pub(crate) private: bool,
    /// Among how many DIDs, from 8 to 512
    #[arg(
        long,
        value_name = "N",
        requires = "private",
        default_value_t = sillok_client::bucket::K,
        value_parser = clap::value_parser!(u32).range(8..=512)
    )]
    pub(crate) k: u32,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArguments {
    /// Of a person, or of an organization
    #[arg(long)]
    pub(crate) kind: Option<Kind>,
    /// The new identity file, mode 0600; it will hold the only copy of the keys
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "from",
        conflicts_with = "from",
        requires = "kind"
    )]
    pub(crate) out: Option<PathBuf>,
    /// Register the DID of an identity file that was made before
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
    /// Algorithm of the signing keys
    #[arg(long, default_value = "ed25519")]
    pub(crate) algorithm: SigningAlgorithm,
    /// Also make a key-agreement key (X25519)
    #[arg(long)]
    pub(crate) with_agreement: bool,
    /// The organization that may help, with the authority, when the keys are lost
    #[arg(long, value_name = "DID", value_parser = did)]
    pub(crate) countersigner: Option<Did>,
    #[command(flatten)]
    pub(crate) parties: PartyArguments,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateArguments {
    /// Identity file of the DID; new keys are added to it
    pub(crate) identity: PathBuf,
    /// Make a key: ALGORITHM:USE,USE … (organizations)
    #[arg(long, value_name = "ALGORITHM:USES")]
    pub(crate) add_key: Vec<String>,
    /// Remove a key, by its Multikey or by its id in the document (organizations)
    #[arg(long, value_name = "KEY")]
    pub(crate) remove_key: Vec<String>,
    /// Add or replace a service: linked-domains, trust-registry, credential-issuer, status-list, governance-framework or
    /// did-resolver (organizations)
    #[arg(long, value_name = "KIND=URL")]
    pub(crate) set_service: Vec<String>,
    /// Remove a service (organizations)
    #[arg(long, value_name = "KIND")]
    pub(crate) remove_service: Vec<String>,
    /// Replace the key-agreement key by a new one
    #[arg(long, conflicts_with = "no_agreement")]
    pub(crate) new_agreement: bool,
    /// Remove the key-agreement key
    #[arg(long)]
    pub(crate) no_agreement: bool,
    /// The new recovery rule: the DID of a countersigner, or none
    #[arg(long, value_name = "DID|none")]
    pub(crate) recovery: Option<String>,
    /// Let any submitter carry it (a holder's own operations)
    #[arg(long)]
    pub(crate) any_submitter: bool,
    #[command(flatten)]
    pub(crate) parties: PartyArguments,
}

#[derive(Debug, Args)]
pub(crate) struct SetDeviceArguments {
    /// Identity file of the holder, or where others act, its DID
    #[arg(value_name = "FILE|DID")]
    pub(crate) target: String,
    /// Leave the DID without a device
    #[arg(long, conflicts_with_all = ["new", "countersigner"])]
    pub(crate) none: bool,
    /// Algorithm of the new key, when the current key sets it
    #[arg(long, default_value = "ed25519")]
    pub(crate) algorithm: SigningAlgorithm,
    /// Identity file with the new device key, made by `sillok key new`
    #[arg(long, value_name = "FILE", requires = "countersigner")]
    pub(crate) new: Option<PathBuf>,
    /// Identity file of the countersigner of the recovery rule
    #[arg(long, value_name = "FILE", requires_all = ["new", "authority"])]
    pub(crate) countersigner: Option<PathBuf>,
    /// Let any submitter carry it (when the current key signs)
    #[arg(long)]
    pub(crate) any_submitter: bool,
    #[command(flatten)]
    pub(crate) parties: PartyArguments,
}

#[derive(Debug, Args)]
pub(crate) struct DeactivateArguments {
    /// Identity file of the DID
    pub(crate) identity: PathBuf,
    /// Let any submitter carry it (holders)
    #[arg(long)]
    pub(crate) any_submitter: bool,
    #[command(flatten)]
    pub(crate) parties: PartyArguments,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TxCommand {
    /// Where a transaction stands; committed is proved, anything else is one node's word
    Status {
        /// Its id: 64 hex digits
        #[arg(value_parser = hash)]
        id: Hash,
        /// Wait this long for it to be final
        #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
        wait: Duration,
    },
    /// Show what a transaction in a file would do, and who signed it; asks no node
    Show {
        /// The file that another command wrote with --out
        file: PathBuf,
    },
    /// Sign a transaction in a file, on the machine that has the key; asks no node
    ///
    ///   sillok tx sign approve.part --key governance.key
    ///
    /// Read what is printed before you hand the file back: that is what you signed. The genesis
    /// must be at hand (--genesis), since every signature is for one network.
    #[command(verbatim_doc_comment)]
    Sign {
        /// The file; the signature is added to it
        file: PathBuf,
        /// The key: governance.key or validator.key of an operator, an identity file, or a key of a holder; may be
        /// repeated
        #[arg(long, value_name = "FILE", required = true)]
        key: Vec<PathBuf>,
    },
    /// Sign a transaction in a file as its submitter, submit it, and wait for its receipt
    Submit {
        /// The file, signed by its authors
        file: PathBuf,
        /// Identity file of the organization that submits
        #[arg(long, env = "SILLOK_SUBMITTER", value_name = "FILE")]
        submitter: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// Members, their keys and whether they vote; observers; all proved
    List,
    /// Propose a change of members; the proposer approves it with that
    #[command(subcommand)]
    Propose(ProposeCommand),
    /// Approve a proposal in the name of an operator
    ///
    ///   sillok member show HASH
    ///   sillok member approve HASH --governance-key governance.key
    ///
    /// Where the governance key is on a machine of its own:
    ///   sillok member approve HASH --operator DID --out approve.part
    ///   sillok tx sign approve.part --key governance.key      (there)
    ///   sillok tx submit approve.part                         (here, within 4 minutes)
    #[command(verbatim_doc_comment)]
    Approve {
        /// The proposal's hash: 64 hex digits
        #[arg(value_parser = hash)]
        proposal: Hash,
        #[command(flatten)]
        signing: SigningArguments,
    },
    /// Proposals, their approvals and what came of them
    Proposals {
        /// Also those that were executed or expired, until their operator opens another
        #[arg(long)]
        all: bool,
    },
    /// Validators that signed two things where one is allowed; each piece is checked here
    Evidence,
    /// One proposal: what it changes, who approved it, what is next
    Show {
        /// The proposal's hash: 64 hex digits
        #[arg(value_parser = hash)]
        proposal: Hash,
    },
    /// Name a new validator key for your own seat, once a day, without asking anybody
    ///
    ///   sillok-node keys validator --dir node
    ///   sillok member rekey --validator-key KEY --governance-key governance.key
    ///   sillok member join --dir node
    ///
    /// The old key votes until the new one's first height; the running node changes over by itself.
    #[command(verbatim_doc_comment)]
    Rekey {
        /// The new validator key: 64 hex digits
        #[arg(long, value_name = "KEY", value_parser = key)]
        validator_key: [u8; 32],
        #[command(flatten)]
        signing: SigningArguments,
    },
    /// Seat an approved validator key, by the key itself, from where its node runs
    ///
    ///   sillok member join --dir node
    ///
    /// Start the node first and let it catch up: from its height on the network counts on its votes.
    #[command(verbatim_doc_comment)]
    Join {
        /// The node's directory: the key in validator.next/ joins, or where there is none that in validator/
        #[arg(long, value_name = "DIR", required_unless_present = "key", conflicts_with = "key")]
        dir: Option<PathBuf>,
        /// The key file itself
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// Identity file of the organization that submits
        #[arg(long, env = "SILLOK_SUBMITTER", value_name = "FILE")]
        submitter: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProposeCommand {
    /// A new operator, seated when its validator key joins
    ///
    ///   sillok member propose admit DID --keys keys.json --archive --governance-key governance.key
    ///
    /// keys.json is what `sillok-node keys --json` printed on the new operator's machine.
    #[command(verbatim_doc_comment)]
    Admit {
        /// The organization's DID
        #[arg(value_parser = did)]
        organization: Did,
        /// Its three public keys
        #[arg(long, value_name = "FILE")]
        keys: PathBuf,
        /// It keeps all blocks
        #[arg(long)]
        archive: bool,
        #[command(flatten)]
        propose: ProposeArguments,
    },
    /// New keys for an operator that lost its own; node and governance key are in force at once
    Replace {
        /// The organization's DID
        #[arg(value_parser = did)]
        organization: Did,
        /// Its three public keys; node and governance key may be the old ones
        #[arg(long, value_name = "FILE")]
        keys: PathBuf,
        /// It keeps all blocks
        #[arg(long)]
        archive: bool,
        #[command(flatten)]
        propose: ProposeArguments,
    },
    /// An operator goes; its votes do not count from two heights after the last approval on
    Remove {
        /// The organization's DID
        #[arg(value_parser = did)]
        organization: Did,
        #[command(flatten)]
        propose: ProposeArguments,
    },
    /// A node that replicates without voting
    AdmitObserver {
        /// Its node key: 64 hex digits
        #[arg(value_parser = key)]
        node_key: [u8; 32],
        /// It keeps all blocks
        #[arg(long)]
        archive: bool,
        #[command(flatten)]
        propose: ProposeArguments,
    },
    /// A right of the first level: given by governance, and to be given on
    ///
    ///   sillok member propose accredit DID issue --on TYPE --governance-key governance.key
    #[command(verbatim_doc_comment)]
    Accredit {
        #[command(flatten)]
        grant: GrantArguments,
        #[command(flatten)]
        propose: ProposeArguments,
    },
    /// The end of any right, of whatever level
    Withdraw {
        /// Who holds it
        #[arg(value_parser = did)]
        organization: Did,
        /// What it may not do any more
        #[arg(value_parser = trust::action)]
        action: v1::Action,
        /// On what: as it was given
        #[arg(long, value_name = "NAME", value_parser = hash)]
        on: Option<Hash>,
        #[command(flatten)]
        propose: ProposeArguments,
    },
    /// Other figures of the network, for the next block on; those that are not named stay
    ///
    ///   sillok member propose set-parameters --heartbeat 20s --governance-key governance.key
    ///
    /// The proposal names all figures, and what it changes is shown before it is confirmed.
    #[command(verbatim_doc_comment)]
    SetParameters {
        #[command(flatten)]
        figures: FigureArguments,
        /// Do not ask; needed where nobody is there to answer
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        propose: ProposeArguments,
    },
    /// An observer goes
    RemoveObserver {
        /// Its node key: 64 hex digits
        #[arg(value_parser = key)]
        node_key: [u8; 32],
        #[command(flatten)]
        propose: ProposeArguments,
    },
}

/// Figures of the network, at least one.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct FigureArguments {
    /// Longest life of a transaction, 3 to 5 minutes
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "Figures")]
    pub(crate) valid_until_window: Option<Duration>,
    /// An empty block when nothing was ordered for this long, 1 to 20 seconds
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "Figures")]
    pub(crate) heartbeat: Option<Duration>,
    /// How far behind a validator's clock a block's time may be, 1 to 60 seconds
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "Figures")]
    pub(crate) clock_behind: Option<Duration>,
    /// How far ahead of it, 1 to 5 seconds
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "Figures")]
    pub(crate) clock_ahead: Option<Duration>,
    /// Longest block, 1 to 8 MiB
    #[arg(long, value_name = "BYTES", help_heading = "Figures")]
    pub(crate) block_bytes_max: Option<u64>,
    /// Most writes of a block, 20000 to 1000000
    #[arg(long, value_name = "COUNT", help_heading = "Figures")]
    pub(crate) block_state_writes_max: Option<u32>,
    /// Most signatures of a block, 6000 to 100000
    #[arg(long, value_name = "COUNT", help_heading = "Figures")]
    pub(crate) block_signature_checks_max: Option<u32>,
    /// Seats of archives that a change of the members must leave; at most as many as there are
    #[arg(long, value_name = "COUNT", help_heading = "Figures")]
    pub(crate) archives_min: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct ProposeArguments {
    /// How long it can be approved and joined under, at most 30 days
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = duration)]
    pub(crate) expires_in: Duration,
    #[command(flatten)]
    pub(crate) signing: SigningArguments,
}

/// In whose name it is signed, by which key, and who brings it.
#[derive(Debug, Args)]
pub(crate) struct SigningArguments {
    /// The governance key file of an operator
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "out",
        conflicts_with = "out",
        help_heading = "Signing"
    )]
    pub(crate) governance_key: Option<PathBuf>,
    /// The DID of that operator; needed with --out, else known by its key
    #[arg(
        long,
        value_name = "DID",
        value_parser = did,
        required_unless_present = "governance_key",
        help_heading = "Signing"
    )]
    pub(crate) operator: Option<Did>,
    /// Write the transaction to this new file, to be signed where the key is, instead of submitting it
    #[arg(long, value_name = "FILE", help_heading = "Signing")]
    pub(crate) out: Option<PathBuf>,
    /// Identity file of the organization that submits
    #[arg(long, env = "SILLOK_SUBMITTER", value_name = "FILE", help_heading = "Signing")]
    pub(crate) submitter: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NetworkCommand {
    /// Height, age and health of every --node, with the height it can prove
    Status,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CheckpointCommand {
    /// Show the trusted header
    Show,
    /// Bring the trusted header up to date and write it to a file, for others to start from
    ///
    /// Hand it on by a way that cannot be tampered with: whoever takes it trusts it.
    Save {
        /// The new file
        file: PathBuf,
    },
}

fn did(text: &str) -> Result<Did, String> {
    Did::parse(text).map_err(|error| error.to_string())
}

fn hash(text: &str) -> Result<Hash, String> {
    hex::decode(text)
        .ok()
        .and_then(|bytes| Hash::from_slice(&bytes))
        .ok_or_else(|| "an id is 64 hex digits; copy it whole".to_owned())
}

fn key(text: &str) -> Result<[u8; 32], String> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| "a public key is 64 hex digits; copy it whole".to_owned())?;
    Ok(bytes)
}

fn datetime(text: &str) -> Result<u64, String> {
    parse_datetime(text).map_err(|error| error.to_string())
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write 60s, 15m or 24h"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn secrets_are_no_arguments() {
        // Keys come from files alone: a command line is seen by every process of the machine.
        let help = Arguments::command().render_long_help().to_string();
        assert!(!help.contains("--secret") && !help.contains("--seed"));
    }
}
