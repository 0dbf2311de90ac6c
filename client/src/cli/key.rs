//! `sillok key`: making and showing keys. Secrets go into files and nowhere else.

use super::arguments::KeyCommand;
use super::failure::{EXIT_OK, Failure};
use super::output::Output;
use serde_json::json;
use sillok_client::holder::HolderKey;
use sillok_client::identity::{
    Identity, IdentityKey, kind_name, parse_relationships, relationship_names,
};
use sillok_client::pseudonym::HandleSecret;
use sillok_did_method::{DEVICE_RELATIONSHIPS, thumbprint};
use sillok_proto::v1;

pub(crate) fn run(command: &KeyCommand, output: Output) -> Result<u8, Failure> {
    match command {
        KeyCommand::New { did, out, algorithm, relationships } => {
            let (kind, relationships) = if relationships == "device" {
                (v1::Kind::Holder, DEVICE_RELATIONSHIPS)
            } else {
                (v1::Kind::Organization, uses(relationships)?)
            };
            let key = IdentityKey::generate((*algorithm).into(), relationships)?;
            let identity = Identity {
                did: did.clone(),
                kind,
                keys: vec![key],
                authority: None,
                countersigner: None,
            };
            identity.create(out)?;
            show(&identity, output)?;
            output.note(format_args!("{} holds the only copy of the key", out.display()));
        }
        KeyCommand::Handles { out } => {
            HandleSecret::generate()?.create(out)?;
            output.value(&json!({ "file": out.display().to_string() }));
            output.line(format_args!("{} {}", output.good("written to"), out.display()));
            output.note("keep a copy where keys are kept: without it no person is found again");
        }
        KeyCommand::Enrollment { out, algorithm } => {
            let key = HolderKey::enrollment((*algorithm).into())?;
            key.create(out)?;
            let public = key.secret.multikey()?;
            output.value(&json!({
                "file": out.display().to_string(),
                "algorithm": key.secret.algorithm().name(),
                "publicKeyMultibase": public,
            }));
            output.facts(&[
                ("algorithm", key.secret.algorithm().name().to_owned()),
                ("public key", public),
            ]);
            output.note(format_args!("{} holds the only copy of the key", out.display()));
        }
        KeyCommand::Copy { file, relationships, out } => {
            let sum = uses(relationships)?;
            let mut identity = Identity::load(file)?;
            identity.keys.retain(|key| key.relationships & sum != 0);
            if identity.keys.is_empty() {
                return Err(Failure::usage(format!(
                    "{} has no key for that; `sillok key show` says which it has",
                    file.display()
                )));
            }
            identity.create(out)?;
            show(&identity, output)?;
            output.note(format_args!("{} holds copies of these keys alone", out.display()));
        }
        KeyCommand::Show { file } => show(&Identity::load(file)?, output)?,
    }
    Ok(EXIT_OK)
}

/// What a key of an organization may be used for, as typed.
fn uses(relationships: &str) -> Result<u32, Failure> {
    let names: Vec<&str> = relationships.split(',').collect();
    parse_relationships(&names).ok_or_else(|| {
        Failure::usage("a key is for `device`, or for a list of authentication, assertionMethod, capabilityInvocation, capabilityDelegation and submit")
    })
}

fn show(identity: &Identity, output: Output) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut values = Vec::new();
    for key in &identity.keys {
        let public = key.secret.public();
        let multikey = key.secret.multikey()?;
        let id = thumbprint(public).map_err(|error| Failure::failed(error.to_string()))?;
        let uses = relationship_names(key.relationships);
        values.push(json!({
            "id": format!("{}#{id}", identity.did),
            "algorithm": key.secret.algorithm().name(),
            "publicKeyMultibase": multikey,
            "relationships": uses,
        }));
        rows.push([key.secret.algorithm().name().to_owned(), multikey, uses.join(" ")]);
    }
    output
        .facts(&[("DID", identity.did.to_string()), ("kind", kind_name(identity.kind).to_owned())]);
    output.table(["algorithm", "public key", "for"], rows);
    output.value(&json!({
        "did": identity.did.to_string(),
        "kind": kind_name(identity.kind),
        "keys": values,
    }));
    Ok(())
}
