//! `sillok staple` and `sillok verify-staple`: proofs that are handed on, and checked where there is no network.

use super::arguments::{EntryName, Global, StapleArguments, VerifyStapleArguments};
use super::failure::{
    EXIT_DEACTIVATED, EXIT_FAILED, EXIT_NO, EXIT_NOT_FOUND, EXIT_OK, EXIT_STALE, EXIT_UNVERIFIED,
    Failure,
};
use super::output::Output;
use super::read::{did_text, verification, verified_line};
use super::session;
use super::status::verdict;
use serde_json::{Value, json};
use sillok_client::staple::{MakeError, Wanted};
use sillok_client::trust::{keep_fork_beside, read_trust, refuse_fork_beside};
use sillok_client::verify::authority::Right;
use sillok_client::verify::staple::parts::{PREFIX, PartError, join, split};
use sillok_client::verify::staple::{FILE_BYTES_MAX, Proved, Staple, StapleError};
use sillok_client::verify::status::ListChunks;
use sillok_client::verify::{Network, Policy, VerifyError};
use sillok_client::words::Word as _;
use sillok_did_method::format_datetime;
use sillok_ledger::light::{Fork, LightError};
use sillok_proto::Hash;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

impl From<StapleError> for Failure {
    fn from(error: StapleError) -> Self {
        let message = error.to_string();
        // Each lie has a code of its own, so that a gate can say what it was shown.
        let code = match error {
            StapleError::NotAStaple => "NOT_A_STAPLE",
            StapleError::Version { .. } => "STAPLE_VERSION",
            StapleError::TooLong { .. } | StapleError::TooMany { .. } => "STAPLE_TOO_LARGE",
            StapleError::Truncated => "STAPLE_TRUNCATED",
            StapleError::Malformed { .. } | StapleError::NotWhole { .. } => "STAPLE_MALFORMED",
            StapleError::Empty => "STAPLE_EMPTY",
            StapleError::WrongNetwork { .. }
            | StapleError::Item { source: VerifyError::OtherNetwork { .. }, .. } => "WRONG_NETWORK",
            StapleError::Mixed { .. } | StapleError::LightBlockAfter { .. } => "STAPLE_MIXED",
            StapleError::Absence { .. } => "STAPLE_ABSENCE",
            // No file: what the caller named, or this machine.
            StapleError::Item {
                source: VerifyError::NoSuchList | VerifyError::NoSuchEntry { .. },
                ..
            } => return Self::new(EXIT_NOT_FOUND, "NOT_FOUND", message),
            StapleError::Header(VerifyError::Light(LightError::Fork(_))) => "FORK",
            StapleError::Header(VerifyError::BelowMinHeight { .. }) => "BELOW_MIN_HEIGHT",
            StapleError::Header(source) | StapleError::Item { source, .. } => {
                return Self { message, ..Self::from(source) };
            }
            _ => "UNVERIFIED",
        };
        Self::new(EXIT_UNVERIFIED, code, message)
    }
}

impl From<PartError> for Failure {
    fn from(error: PartError) -> Self {
        let code = match error {
            PartError::Missing { .. } => "STAPLE_TRUNCATED",
            PartError::OtherFile | PartError::Repeated { .. } => "STAPLE_MIXED",
            PartError::TooLong { .. } => "STAPLE_TOO_LARGE",
            _ => "STAPLE_MALFORMED",
        };
        Self::new(EXIT_UNVERIFIED, code, error.to_string())
    }
}

impl From<MakeError> for Failure {
    fn from(error: MakeError) -> Self {
        let message = error.to_string();
        match error {
            MakeError::Read(error) => error.into(),
            MakeError::Staple(error) => error.into(),
            MakeError::NoSuchDid => Self::new(EXIT_NOT_FOUND, "NOT_FOUND", message),
            MakeError::TooFast => Self::new(EXIT_FAILED, "CHANGING", message),
            _ => Self::failed(message),
        }
    }
}

// --------------------------------------------------------------------------------------------- stapling

pub(crate) async fn staple(
    global: &Global,
    arguments: &StapleArguments,
    output: Output,
) -> Result<u8, Failure> {
    let StapleArguments { dids, status, list, right, on, since, out, qr } = arguments;
    if dids.is_empty() && status.is_empty() && list.is_empty() {
        return Err(Failure::usage(
            "nothing to staple; name a DID, --status LIST#INDEX or --list LIST",
        ));
    }
    let client = session::client(global).await?;
    let mut entries: BTreeMap<Hash, BTreeSet<u32>> = BTreeMap::new();
    for EntryName { list, index } in status {
        entries.entry(*list).or_default().insert(*index);
    }
    let rights = right.iter().flat_map(|action| {
        dids.iter().map(|did| Right { organization: did.digest(), action: *action, resource: *on })
    });
    let wanted = Wanted {
        dids: dids.clone(),
        entries: entries
            .into_iter()
            .map(|(list, indexes)| (list, indexes.into_iter().collect()))
            .collect(),
        lists: list.clone(),
        rights: rights.collect(),
        since: *since,
    };
    let staple = client.staple(&wanted).await?;
    let file = staple.to_bytes()?;
    let parts = if *qr { split(&file)? } else { Vec::new() };
    write(out, &file)?;
    for (number, part) in (1..).zip(&parts) {
        write(&part_path(out, number), part.as_bytes())?;
    }
    let height = staple.items.first().map_or(0, |item| item.height);
    let time_ms = staple.signed_header.header.as_ref().map_or(0, |header| header.time_ms);
    output.value(&json!({
        "file": out.display().to_string(),
        "bytes": file.len(),
        "parts": parts.len(),
        "height": height.to_string(),
        "time": format_datetime(time_ms),
    }));
    output.facts(&[
        ("file", format!("{}, {} bytes", out.display(), file.len())),
        ("QR parts", if *qr { parts.len().to_string() } else { "-".to_owned() }),
        ("height", height.to_string()),
        ("time", format_datetime(time_ms)),
    ]);
    output.note("check it with: sillok verify-staple FILE --trust CHECKPOINT --max-age 24h");
    Ok(EXIT_OK)
}

fn part_path(out: &Path, number: usize) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let io = |error: std::io::Error| {
        Failure::failed(format!("{}: {error}; choose another name", path.display()))
    };
    File::create_new(path).map_err(io)?.write_all(bytes).map_err(io)
}

// -------------------------------------------------------------------------------------------- verifying

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let io = |error: std::io::Error| {
        Failure::failed(format!("{}: {error}; check the path", path.display()))
    };
    let mut bytes = Vec::new();
    let most = FILE_BYTES_MAX as u64 + 1;
    File::open(path).map_err(io)?.take(most).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

/// One file, or the one that QR parts make.
fn read_all(paths: &[PathBuf]) -> Result<Vec<u8>, Failure> {
    let mut files = paths.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    if files.len() == 1 && !files[0].starts_with(PREFIX.as_bytes()) {
        return Ok(files.remove(0));
    }
    let texts: Vec<String> =
        files.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect();
    Ok(join(&texts)?)
}

pub(crate) fn verify(
    global: &Global,
    arguments: &VerifyStapleArguments,
    output: Output,
) -> Result<u8, Failure> {
    let (network, trusted) = match &arguments.trust {
        Some(path) => {
            refuse_fork_beside(path)?;
            read_trust(path)?
        }
        None => {
            let trust = session::offline_trust(global)?;
            (Network::from(trust.chain()), trust.trusted().clone())
        }
    };
    let staple = Staple::from_bytes(&read_all(&arguments.files)?)?;
    let options = session::options(global);
    let now_ms = options.clock.now_ms();
    let policy = Policy {
        now_ms,
        max_age_ms: options.max_age_ms,
        min_height: options.min_height,
        past: false,
    };
    let answer = match staple.verify(&network, &trusted, policy) {
        Err(StapleError::Header(VerifyError::Light(LightError::Fork(fork)))) => {
            return Err(keep_fork(global, arguments.trust.as_deref(), &network, *fork));
        }
        answer => answer?,
    };
    let mut verdicts = Verdicts { now_ms, ..Verdicts::default() };
    for item in answer.even_if_stale() {
        verdicts.item(&network, item, arguments.status.is_empty(), output);
    }
    for name in &arguments.status {
        verdicts.asked(answer.even_if_stale(), *name, output)?;
    }
    output.value(&json!({
        "items": verdicts.items,
        "entries": verdicts.entries,
        "verification": verification(&answer, &network.genesis_hash),
    }));
    let from = format!("from {}", arguments.files[0].display());
    verified_line(&answer, &network.genesis_hash, &from, output);
    Ok(if answer.is_stale() {
        EXIT_STALE
    } else if verdicts.deactivated {
        EXIT_DEACTIVATED
    } else if verdicts.refused {
        EXIT_NO
    } else {
        EXIT_OK
    })
}

/// Both headers are kept before anything else is said; after that nothing is believed from there.
fn keep_fork(global: &Global, trust: Option<&Path>, network: &Network, fork: Fork) -> Failure {
    let kept = match trust {
        Some(path) => keep_fork_beside(path, &network.genesis_hash, &fork).map(Some),
        None => match session::offline_trust(global) {
            Ok(trust) => trust.keep_fork(&fork),
            Err(failure) => return failure,
        },
    };
    match kept {
        Err(error) => error.into(),
        Ok(path) => {
            let both =
                path.map_or_else(String::new, |path| format!("; both are in {}", path.display()));
            let message = format!("{}{both}", LightError::Fork(Box::new(fork)));
            Failure::new(EXIT_UNVERIFIED, "FORK", message)
        }
    }
}

/// What the items say, for programs and for the exit code.
#[derive(Default)]
struct Verdicts {
    now_ms: u64,
    items: Vec<Value>,
    entries: Vec<Value>,
    deactivated: bool,
    refused: bool,
}

impl Verdicts {
    fn item(&mut self, network: &Network, item: &Proved, entries: bool, output: Output) {
        let value = match item {
            Proved::Document(resolution) => {
                self.deactivated |= resolution.is_deactivated();
                let state = if resolution.is_deactivated() {
                    output.bad("deactivated")
                } else {
                    output.good("document")
                };
                output.line(format_args!("{}: {state}", resolution.did));
                let value = resolution.to_json();
                output.line(format_args!("{:#}", value["didDocument"]));
                json!({ "kind": "document", "resolution": value })
            }
            Proved::Entries { list, indexes, chunks } => {
                if entries {
                    for index in indexes {
                        // Verified to be there.
                        let _known =
                            self.entry(chunks, EntryName { list: *list, index: *index }, output);
                    }
                }
                json!({ "kind": "entries", "list": list.to_string(), "indexes": indexes })
            }
            Proved::List { list, chunks } => {
                let capacity = chunks.list().map_or(0, |list| list.capacity);
                output.line(format_args!("{list}: whole list, {capacity} entries"));
                json!({ "kind": "list", "list": list.to_string(), "capacity": capacity })
            }
            Proved::Right(authority) => {
                self.refused |= !authority.holds();
                let right = &authority.right;
                let organization = did_text(&network.name, right.organization);
                let holds =
                    if authority.holds() { output.good("yes") } else { output.bad("no (proved)") };
                output.line(format_args!(
                    "{organization} may {} on {}: {holds}",
                    right.action.word(),
                    super::operation::resource(&right.resource_bytes()),
                ));
                json!({
                    "kind": "right",
                    "organization": organization,
                    "action": right.action.word(),
                    "resource": right.resource.map(|name| name.to_string()),
                    "holds": authority.holds(),
                })
            }
        };
        self.items.push(value);
    }

    /// Dates are compared with the clock of who checks: a grace that ended since the file was made has ended.
    fn entry(
        &mut self,
        chunks: &ListChunks,
        name: EntryName,
        output: Output,
    ) -> Result<(), VerifyError> {
        let entry = chunks.entry(name.index)?;
        let time_ms = self.now_ms.max(chunks.time_ms());
        let (word, usable) = (verdict(&entry, time_ms), entry.is_usable(time_ms));
        self.refused |= !usable;
        let painted = if usable { output.good(word) } else { output.bad(word) };
        output.line(format_args!("{}#{}: {painted}", name.list, name.index));
        self.entries.push(json!({
            "list": name.list.to_string(),
            "index": name.index,
            "verdict": word,
            "usable": usable,
            "issuer": chunks.list().map(|list| hex::encode(&list.issuer)),
            "type": chunks.list().map(|list| hex::encode(&list.r#type)),
        }));
        Ok(())
    }

    /// An entry that somebody asks about, in whichever item has it.
    fn asked(&mut self, items: &[Proved], name: EntryName, output: Output) -> Result<(), Failure> {
        for item in items {
            let (Proved::Entries { list, chunks, .. } | Proved::List { list, chunks }) = item
            else {
                continue;
            };
            if *list != name.list {
                continue;
            }
            match self.entry(chunks, name, output) {
                Err(VerifyError::NotAsked) => {}
                Err(error @ VerifyError::NoSuchEntry { .. }) => {
                    return Err(Failure::new(EXIT_NOT_FOUND, "NOT_FOUND", error.to_string()));
                }
                found => return Ok(found?),
            }
        }
        // What is not proved is no absence.
        let message = "the stapled proof does not cover that entry; get one that does";
        Err(Failure::new(EXIT_UNVERIFIED, "NOT_COVERED", message))
    }
}
