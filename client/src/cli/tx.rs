//! `sillok tx show`, `sign` and `submit`: a transaction that goes from machine to machine in a file.
//!
//! Who signs sees in words what is signed. The file holds no secret, and a change of one byte of it breaks every
//! signature in it. Of a change of status it holds the private content too, so its mode is 0600.

use super::arguments::Global;
use super::failure::{EXIT_OK, Failure};
use super::operation;
use super::output::Output;
use super::session;
use serde_json::{Map, Value, json};
use sillok_client::holder::HolderKey;
use sillok_client::identity::Identity;
use sillok_client::keys::SecretKey;
use sillok_client::private_file;
use sillok_client::transaction::PartlySigned;
use sillok_did_method::{CAPABILITY_INVOCATION, SUBMIT, format_datetime};
use sillok_proto::{Hash, v1};
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file of a transaction, in bytes of JSON.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Writes a transaction to a new file.
pub(super) fn write_new(path: &Path, partly: &PartlySigned) -> Result<(), Failure> {
    Ok(private_file::create(path, &partly.to_json())?)
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

/// One operation: what it does in words, and the ids of the keys that have signed it.
struct Shown {
    facts: Vec<(&'static str, String)>,
    signed_by: Vec<String>,
}

fn operations(network: &str, partly: &PartlySigned) -> Vec<Shown> {
    let signatures = partly.transaction().signatures.clone().unwrap_or_default();
    let shown = |(index, one): (usize, &v1::Operation)| {
        let mut facts = operation::describe(network, partly.genesis_hash(), one);
        if let Some(content) = partly.content(index) {
            facts.extend(operation::private_facts(network, content));
        }
        let mut signed_by: Vec<String> = signatures
            .operations
            .get(index)
            .map(|terms| terms.signatures.iter().map(|one| hex::encode(&one.key_id)).collect())
            .unwrap_or_default();
        if let Some(desk) = partly.desk_signatures(index) {
            let approvals = desk.approvals.iter().filter_map(|one| one.signature.as_ref());
            let all = desk.acting_role.iter().chain(approvals).chain(&desk.holder_keys);
            signed_by.extend(all.map(|one| hex::encode(&one.key_id)));
        }
        Shown { facts, signed_by }
    };
    partly.body().operations.iter().enumerate().map(shown).collect()
}

fn submitter(network: &str, partly: &PartlySigned) -> String {
    super::read::did_text(network, Hash::from_slice(&partly.body().submitter).unwrap_or_default())
}

/// Prints what the transaction would do and how far it is signed.
pub(super) fn print(network: &str, partly: &PartlySigned, output: Output) {
    output.facts(&[
        ("transaction", partly.id().to_string()),
        ("submitter", submitter(network, partly)),
        ("valid until", format_datetime(partly.body().valid_until_ms)),
    ]);
    for Shown { mut facts, signed_by } in operations(network, partly) {
        let shown =
            if signed_by.is_empty() { "nobody yet".to_owned() } else { signed_by.join("\n") };
        facts.push(("signed by key id", shown));
        output.line("");
        output.facts(&facts);
    }
}

/// The same for programs.
fn value(network: &str, partly: &PartlySigned) -> Value {
    let object = |Shown { facts, signed_by }: Shown| {
        let facts = facts.into_iter();
        let mut object: Map<String, Value> =
            facts.map(|(name, value)| (name.replace(' ', "_"), value.into())).collect();
        object.insert("signed_by".to_owned(), signed_by.into());
        Value::Object(object)
    };
    let operations: Vec<Value> = operations(network, partly).into_iter().map(object).collect();
    json!({
        "transactionId": partly.id().to_string(),
        "submitter": submitter(network, partly),
        "validUntil": format_datetime(partly.body().valid_until_ms),
        "operations": operations,
    })
}

pub(crate) fn show(global: &Global, path: &Path, output: Output) -> Result<u8, Failure> {
    let trust = session::offline_trust(global)?;
    let partly = read(path, trust.chain().hash())?;
    print(trust.chain().network(), &partly, output);
    output.value(&value(trust.chain().network(), &partly));
    Ok(EXIT_OK)
}

/// Keys of the kinds of files that there are.
enum Signer {
    /// Of an operator.
    Operator(SecretKey),
    /// Of an organization: for its own operations, and for what it does at a desk.
    Identity(Box<Identity>),
    /// Of a holder under an enrollment.
    Holder(SecretKey),
}

impl Signer {
    fn read(path: &Path) -> Result<Self, Failure> {
        match SecretKey::read_file(path) {
            Ok(key) => Ok(Self::Operator(key)),
            Err(error) => match (Identity::load(path), HolderKey::read(path)) {
                (Ok(identity), _) => Ok(Self::Identity(Box::new(identity))),
                (_, Ok(key)) => Ok(Self::Holder(key.secret)),
                _ => Err(error.into()),
            },
        }
    }

    /// Signs what is its to sign, and says by which key; `None` where nothing of this operation is.
    fn sign(&self, partly: &mut PartlySigned, index: usize) -> Result<Option<Hash>, Failure> {
        let role = partly.content(index).map(|content| content.acting_role.clone());
        match (self, role) {
            (Self::Operator(key), None) => {
                partly.sign(index, key)?;
                Ok(Some(*key.key_id()))
            }
            (Self::Identity(identity), None) => {
                let key = own_key(identity, CAPABILITY_INVOCATION)?;
                partly.sign(index, key)?;
                Ok(Some(*key.key_id()))
            }
            (Self::Identity(identity), Some(role)) if role == identity.did.digest().0 => {
                let key = own_key(identity, SUBMIT)?;
                partly.sign_acting_role(index, key)?;
                Ok(Some(*key.key_id()))
            }
            (Self::Holder(key), Some(_)) if partly.holder_keys(index).contains(key.public()) => {
                partly.sign_holder(index, key)?;
                Ok(Some(*key.key_id()))
            }
            _ => Ok(None),
        }
    }
}

fn own_key(identity: &Identity, relationship: u32) -> Result<&SecretKey, Failure> {
    identity.newest_secret(relationship).ok_or_else(|| {
        Failure::failed(format!(
            "the identity of {} has no key for this; give the file that has",
            identity.did
        ))
    })
}

pub(crate) fn sign(
    global: &Global,
    path: &Path,
    keys: &[PathBuf],
    output: Output,
) -> Result<u8, Failure> {
    let trust = session::offline_trust(global)?;
    let mut partly = read(path, trust.chain().hash())?;
    // First, so that nothing is signed that was not shown.
    print(trust.chain().network(), &partly, output);
    let mut signed = Vec::new();
    for file in keys {
        let signer = Signer::read(file)?;
        let before = signed.len();
        for index in 0..partly.body().operations.len() {
            signed.extend(signer.sign(&mut partly, index)?);
        }
        if signed.len() == before {
            return Err(Failure::failed(format!(
                "{} holds no key that this transaction calls for; `sillok tx show` says who signs",
                file.display()
            )));
        }
    }
    signed.dedup();
    // Beside and renamed: the file is whole at every moment.
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    write_new(&beside, &partly)?;
    fs::rename(&beside, path)
        .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
    output.value(&value(trust.chain().network(), &partly));
    output.line("");
    for key_id in &signed {
        output.line(format_args!("{} with key id {key_id}", output.good("signed")));
    }
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
