//! `sillok staple` and `sillok verify-staple` as typed.

use super::{did, hash, trust};
use clap::Args;
use sillok_did_method::Did;
use sillok_proto::{Hash, v1};
use std::path::PathBuf;

/// An entry as a credential names it: the list and the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryName {
    pub(crate) list: Hash,
    pub(crate) index: u32,
}

pub(super) fn entry(text: &str) -> Result<EntryName, String> {
    let (list, index) =
        text.split_once('#').ok_or("an entry is LIST#INDEX, as the credential names it")?;
    let index = index.parse().map_err(|_| "an index is a number from 0 on".to_owned())?;
    Ok(EntryName { list: hash(list)?, index })
}

#[derive(Debug, Args)]
pub(crate) struct StapleArguments {
    /// DIDs whose current documents are stapled
    #[arg(value_name = "DID", value_parser = did)]
    pub(crate) dids: Vec<Did>,
    /// An entry of a status list, as the credential names it; may be repeated
    #[arg(long, value_name = "LIST#INDEX", value_parser = entry)]
    pub(crate) status: Vec<EntryName>,
    /// A whole status list, for a gate; may be repeated
    #[arg(long, value_name = "LIST", value_parser = hash)]
    pub(crate) list: Vec<Hash>,
    /// What each of the DIDs may do, or that it may not: issue, for example
    #[arg(long, value_name = "ACTION", value_parser = trust::action, requires = "dids")]
    pub(crate) right: Option<v1::Action>,
    /// On which type or list the right is [default: on all]
    #[arg(long, value_name = "NAME", value_parser = hash, requires = "right")]
    pub(crate) on: Option<Hash>,
    /// Also the changes of validators since this height, for verifiers whose checkpoint is that old
    #[arg(long, value_name = "HEIGHT")]
    pub(crate) since: Option<u64>,
    /// The new file
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Also write it in parts that each fit a QR code: FILE.1, FILE.2 …
    #[arg(long)]
    pub(crate) qr: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyStapleArguments {
    /// The file, or all its QR parts in any order
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// What is trusted: a checkpoint written by `sillok checkpoint save`, or the genesis [default: what is kept in --home]
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: Option<PathBuf>,
    /// The entry that a credential names; without, those that the file was made for
    #[arg(long, value_name = "LIST#INDEX", value_parser = entry)]
    pub(crate) status: Vec<EntryName>,
}
