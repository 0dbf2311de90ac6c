//! `sillok verify-as-of` as typed.

use super::staple::{EntryName, entry};
use super::{datetime, did, hash, trust};
use clap::Args;
use sillok_client::identity::parse_relationships;
use sillok_did_method::Did;
use sillok_proto::{Hash, v1};

fn relationship(text: &str) -> Result<u32, String> {
    parse_relationships(&[text]).ok_or_else(|| {
        "no verification relationship of that name; write assertionMethod, for example".to_owned()
    })
}

#[derive(Debug, Args)]
pub(crate) struct AsOfArguments {
    /// Who signed
    #[arg(value_parser = did)]
    pub(crate) did: Did,
    /// By which key, as the signature names it: a Multikey, or the DID URL of the verification method
    #[arg(long, value_name = "KEY")]
    pub(crate) key: String,
    /// When, in ledger time, such as 2026-11-21T09:00:00Z
    #[arg(long, value_name = "TIME", value_parser = datetime)]
    pub(crate) at: u64,
    /// What the key must have been there for, such as assertionMethod [default: anything]
    #[arg(long = "use", value_name = "RELATIONSHIP", value_parser = relationship)]
    pub(crate) relationship: Option<u32>,
    /// By what was known after the block of this height [default: by what is known now]
    #[arg(long, value_name = "HEIGHT")]
    pub(crate) known_at: Option<u64>,
    /// The entry that the credential names
    #[arg(long, value_name = "LIST#INDEX", value_parser = entry)]
    pub(crate) status: Option<EntryName>,
    /// What the signer must have been allowed to do: issue, for example
    #[arg(long, value_name = "ACTION", value_parser = trust::action)]
    pub(crate) right: Option<v1::Action>,
    /// On which type or list the right is [default: on all]
    #[arg(long, value_name = "NAME", value_parser = hash, requires = "right")]
    pub(crate) on: Option<Hash>,
}
