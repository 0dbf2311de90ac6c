//! `sillok tx show`, `sign` and `submit`: a transaction that goes from machine to machine in a file.
//!
//! Who signs sees in words what is signed. The file holds no secret, and a change of one byte of it breaks every
//! signature in it.

use super::arguments::Global;
use super::failure::{EXIT_OK, Failure};
use super::operation;
use super::output::Output;
use super::session;
use serde_json::{Map, Value, json};
use sillok_client::identity::Identity;
use sillok_client::keys::SecretKey;
use sillok_client::transaction::PartlySigned;
use sillok_did_method::{CAPABILITY_INVOCATION, format_datetime};
use sillok_proto::Hash;
use std::fs;
use std::io::Write as _;
use std::path::Path;

/// Longest file of a transaction, in bytes of JSON.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Writes a transaction to a new file.
pub(super) fn write_new(path: &Path, partly: &PartlySigned) -> Result<(), Failure> {
    let io = |error: std::io::Error| {
        Failure::failed(format!("{}: {error}; choose another name", path.display()))
    };
    let mut file = fs::File::create_new(path).map_err(io)?;
    writeln!(file, "{}", partly.to_json()).map_err(io)
}

fn read(path: &Path, genesis_hash: &Hash) -> Result<PartlySigned, Failure> {
    let io = |error: std::io::Error| {
        Failure::failed(format!("{}: {error}; check the path", path.display()))
    };
    if fs::metadata(path).map_err(io)?.len() > FILE_BYTES_MAX {
        return Err(Failure::failed(format!("{}: it is too long", path.display())));
    }
    let text = fs::read_to_string(path).map_err(io)?;
    Ok(PartlySigned::from_json(&text, *genesis_hash)?)
}

/// Prints what the transaction would do and how far it is signed.
fn print(network: &str, partly: &PartlySigned, output: Output) -> Value {
    let body = partly.body();
    let submitter =
        super::read::did_text(network, Hash::from_slice(&body.submitter).unwrap_or_default());
    output.facts(&[
        ("transaction", partly.id().to_string()),
        ("submitter", submitter.clone()),
        ("valid until", format_datetime(body.valid_until_ms)),
    ]);
    let signatures = partly.transaction().signatures.clone().unwrap_or_default();
    let mut operations = Vec::new();
    for (index, one) in body.operations.iter().enumerate() {
        let mut facts = operation::describe(network, partly.genesis_hash(), one);
        let signed_by: Vec<String> = signatures
            .operations
            .get(index)
            .map(|terms| terms.signatures.iter().map(|one| hex::encode(&one.key_id)).collect())
            .unwrap_or_default();
        let shown =
            if signed_by.is_empty() { "nobody yet".to_owned() } else { signed_by.join("\n") };
        facts.push(("signed by key id", shown));
        output.line("");
        output.facts(&facts);
        let mut object: Map<String, Value> = facts
            .into_iter()
            .filter(|(name, _)| *name != "signed by key id")
            .map(|(name, value)| (name.replace(' ', "_"), value.into()))
            .collect();
        object.insert("signed_by".to_owned(), signed_by.into());
        operations.push(Value::Object(object));
    }
    json!({
        "transactionId": partly.id().to_string(),
        "submitter": submitter,
        "validUntil": format_datetime(body.valid_until_ms),
        "operations": operations,
    })
}

pub(crate) fn show(global: &Global, path: &Path, output: Output) -> Result<u8, Failure> {
    let trust = session::offline_trust(global)?;
    let partly = read(path, trust.chain().hash())?;
    let value = print(trust.chain().network(), &partly, output);
    output.value(&value);
    Ok(EXIT_OK)
}

/// A key of an operator, or that of an identity which may change its DID.
fn read_key(path: &Path) -> Result<SecretKey, Failure> {
    match SecretKey::read_file(path) {
        Ok(key) => Ok(key),
        Err(error) => {
            let Ok(identity) = Identity::load(path) else { return Err(error.into()) };
            identity.newest_secret(CAPABILITY_INVOCATION).cloned().ok_or_else(|| {
                Failure::failed(format!(
                    "{} has no key that may change its DID; give the file that has",
                    path.display()
                ))
            })
        }
    }
}

pub(crate) fn sign(
    global: &Global,
    path: &Path,
    key: &Path,
    output: Output,
) -> Result<u8, Failure> {
    let trust = session::offline_trust(global)?;
    let mut partly = read(path, trust.chain().hash())?;
    let key = read_key(key)?;
    for index in 0..partly.body().operations.len() {
        partly.sign(index, &key)?;
    }
    // Beside and renamed: the file is whole at every moment.
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    write_new(&beside, &partly)?;
    fs::rename(&beside, path)
        .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    let value = print(trust.chain().network(), &partly, output);
    output.value(&value);
    output.line("");
    output.line(format_args!("{} with key id {}", output.good("signed"), key.key_id()));
    output.note(format_args!(
        "next, where the submitter's file is, before {}: sillok tx submit {}",
        format_datetime(partly.body().valid_until_ms),
        path.display()
    ));
    Ok(EXIT_OK)
}

pub(crate) async fn submit(
    global: &Global,
    path: &Path,
    submitter: &Path,
    output: Output,
) -> Result<u8, Failure> {
    let submitter = Identity::load(submitter)?;
    let client = session::client(global).await?;
    let partly = read(path, &client.genesis_hash())?;
    if partly.body().submitter != submitter.did.digest().0 {
        return Err(Failure::usage(format!(
            "the transaction names another submitter; give the file of {}",
            super::read::did_text(
                client.chain().network(),
                Hash::from_slice(&partly.body().submitter).unwrap_or_default()
            )
        )));
    }
    let committed = client.bring(partly, &submitter).await?;
    super::member::done(output, "committed", &[], &committed);
    Ok(EXIT_OK)
}
