//! `sillok type`: credential types and their rules.

use super::arguments::{CarryArguments, Global, TypeCommand};
use super::carry::{self, Done};
use super::failure::{EXIT_NOT_FOUND, EXIT_OK, EXIT_STALE, Failure};
use super::output::Output;
use super::read::{did_text, found, verification, verified_line};
use super::session;
use serde_json::json;
use sillok_client::credential_type::TypeFile;
use sillok_client::identity::Identity;
use sillok_client::keys::random;
use sillok_client::transaction::OperationDraft;
use sillok_did_method::format_datetime;
use sillok_proto::Hash;
use std::path::Path;

pub(crate) async fn run(
    global: &Global,
    command: &TypeCommand,
    output: Output,
) -> Result<u8, Failure> {
    match command {
        TypeCommand::Publish { file, publisher, r#type, carry } => {
            publish(global, file, publisher, r#type.as_ref(), carry, output).await
        }
        TypeCommand::Show { r#type, type_version } => {
            show(global, r#type, *type_version, output).await
        }
    }
}

async fn publish(
    global: &Global,
    file: &Path,
    publisher: &Path,
    name: Option<&Hash>,
    carry: &CarryArguments,
    output: Output,
) -> Result<u8, Failure> {
    let directory = file.parent().unwrap_or_else(|| Path::new("."));
    let content = TypeFile::read(file)?.content(directory)?;
    let publisher = Identity::load(publisher)?;
    let submitter = carry::submitter(carry, &publisher)?;
    let client = session::client(global).await?;
    let (draft, name, version) = match name {
        None => {
            let nonce = random::<16>()?;
            let genesis_hash = client.genesis_hash();
            let (draft, name) =
                OperationDraft::publish_type(&genesis_hash, &publisher.did, &nonce, content);
            (draft, name, 1)
        }
        Some(name) => {
            let answer = client.credential_type(name, None).await?;
            let (latest, _) = found(&answer, Option::as_ref, || not_found(name))?;
            let version = latest.version.saturating_add(1);
            let draft = OperationDraft::publish_version(&publisher.did, name, version, content);
            (draft, *name, version)
        }
    };
    let until_ms = carry::valid_until_ms(&client, carry).await?;
    let partly = client.authored(&publisher, vec![draft], &submitter.did, until_ms).await?;
    let facts = vec![("type", name.to_string()), ("version", version.to_string())];
    let done = Done::new("published", facts);
    carry::finish(&client, partly, &submitter, carry, &done, output).await
}

fn not_found(name: &Hash) -> Failure {
    let message = format!("there is no credential type {name}, or no such version (proved)");
    Failure::new(EXIT_NOT_FOUND, "NOT_FOUND", message)
}

async fn show(
    global: &Global,
    name: &Hash,
    version: Option<u32>,
    output: Output,
) -> Result<u8, Failure> {
    let client = session::client(global).await?;
    let network = client.chain().network().to_owned();
    let answer = client.credential_type(name, version).await?;
    let (one, record) = found(&answer, Option::as_ref, || not_found(name))?;
    let owner = did_text(&network, Hash::from_slice(&one.owner).unwrap_or_default());
    let content = TypeFile::of(&record.content.clone().unwrap_or_default()).to_json();
    output.value(&json!({
        "type": name.to_string(),
        "owner": owner,
        "version": record.version,
        "latestVersion": one.version,
        "published": format_datetime(record.time_ms),
        "height": record.height.to_string(),
        "content": content,
        "verification": verification(&answer, &client.genesis_hash()),
    }));
    output.facts(&[
        ("type", name.to_string()),
        ("owner", owner),
        ("version", format!("{} of {}", record.version, one.version)),
        ("published", format!("{}, height {}", format_datetime(record.time_ms), record.height)),
    ]);
    output.line("");
    output.line(format_args!("{content:#}"));
    verified_line(&answer, &client.genesis_hash(), "the type and this version", output);
    Ok(if answer.is_stale() { EXIT_STALE } else { EXIT_OK })
}
