//! `sillok verify-as-of`: a signature, a credential and the right to issue it, as of a time.

use super::arguments::{AsOfArguments, Global};
use super::failure::{EXIT_NO, EXIT_OK, EXIT_STALE, Failure};
use super::operation::resource;
use super::output::Output;
use super::read::{did_text, verification, verified_line};
use super::session;
use super::status::verdict;
use serde_json::{Value, json};
use sillok_client::read::Client;
use sillok_client::verify::Answer;
use sillok_client::verify::as_of::{AsOf, KeyAsOf, Question};
use sillok_client::words::Word as _;
use sillok_did_method::format_datetime;
use sillok_proto::Hash;

pub(crate) async fn run(
    global: &Global,
    arguments: &AsOfArguments,
    output: Output,
) -> Result<u8, Failure> {
    let client = session::client(global).await?;
    let question = Question {
        did: arguments.did.clone(),
        key: arguments.key.clone(),
        relationships: arguments.relationship.unwrap_or(0),
        time_ms: arguments.at,
        known_at: arguments.known_at,
        entry: arguments.status.map(|name| (name.list, name.index)),
        right: arguments.right.map(|action| (action, arguments.on)),
    };
    let answer = match client.as_of(&question).await {
        Ok(answer) => answer,
        Err(error) => return Err(with_archives(&client, error.into()).await),
    };
    let as_of = answer.even_if_stale();
    output.value(&json(&client, &question, &answer));
    output.facts(&facts(&client, &question, as_of, output));
    let from = format!("by what was known at height {}", as_of.known.height());
    verified_line(&answer, &client.genesis_hash(), &from, output);
    // What is known at a height is known for good; what is known now must be of now.
    Ok(match (question.known_at.is_none() && answer.is_stale(), as_of.holds()) {
        (true, _) => EXIT_STALE,
        (false, true) => EXIT_OK,
        (false, false) => EXIT_NO,
    })
}

/// A refusal that names archives by their node keys, with who runs them.
async fn with_archives(client: &Client, failure: Failure) -> Failure {
    let Some(keys) = failure.fields.get("archives").cloned() else { return failure };
    let Ok(members) = client.members().await else { return failure };
    let network = client.chain().network().to_owned();
    let keys: Vec<&str> = keys.split(',').collect();
    let of_members = members.even_if_stale().operators.iter().filter_map(|member| {
        let is_one = keys.contains(&hex::encode(member.keys().node_key).as_str());
        is_one.then(|| format!("{} ({})", member.name, did_text(&network, member.organization)))
    });
    let named: Vec<String> = of_members.collect();
    if named.is_empty() {
        return failure;
    }
    failure.and(&format!("archives are run by {}; give one with --node", named.join(", ")))
}

fn key_words(key: KeyAsOf) -> String {
    match key {
        KeyAsOf::Valid => "valid".to_owned(),
        KeyAsOf::NoDid => "there was no such DID".to_owned(),
        KeyAsOf::Deactivated => "the DID was deactivated".to_owned(),
        KeyAsOf::NotInDocument => "not in the document".to_owned(),
        KeyAsOf::OtherUse => "in the document for another use".to_owned(),
        KeyAsOf::Expired { expires_ms } => format!("expired at {}", format_datetime(expires_ms)),
    }
}

fn facts(
    client: &Client,
    question: &Question,
    as_of: &AsOf,
    output: Output,
) -> Vec<(&'static str, String)> {
    let paint = |good: bool, words: &str| if good { output.good(words) } else { output.bad(words) };
    let network = client.chain().network().to_owned();
    let mut facts = vec![
        ("DID", question.did.to_string()),
        ("at", format_datetime(as_of.time_ms)),
        ("known at", format!("height {}", as_of.known.height())),
    ];
    if let Some(version) = &as_of.resolution.version {
        let (number, head) = (version.head.version, &version.head);
        let until = version.next_version.map_or("in force still".to_owned(), |next| {
            format!("until version {next} of {}", version.current.version)
        });
        let written = format_datetime(head.time_ms);
        facts.push(("version", format!("{number}, written at {written}, {until}")));
    }
    facts.push(("key", paint(as_of.key == KeyAsOf::Valid, &key_words(as_of.key))));
    if let Some(one) = &as_of.entry {
        let usable = one.entry.is_usable(as_of.time_ms);
        facts.push(("entry", paint(usable, verdict(&one.entry, as_of.time_ms))));
        let issuer = Hash::from_slice(&one.list.issuer).unwrap_or_default();
        facts.push(("issuer of its list", did_text(&network, issuer)));
        facts.push(("type", hex::encode(&one.list.r#type)));
        facts.push(("block in force", one.header.height().to_string()));
    }
    if let Some(authority) = &as_of.authority {
        let on = resource(&authority.right.resource_bytes());
        let right = format!("{} on {on}", authority.right.action.word());
        facts.push(("right", right));
        let words = if authority.holds() { "held" } else { "not held" };
        facts.push(("it was", paint(authority.holds(), words)));
    }
    facts
}

fn json(client: &Client, question: &Question, answer: &Answer<AsOf>) -> Value {
    let as_of = answer.even_if_stale();
    let network = client.chain().network().to_owned();
    let version = as_of.resolution.version.as_ref();
    let expires_ms = match as_of.key {
        KeyAsOf::Expired { expires_ms } => Some(format_datetime(expires_ms)),
        _ => None,
    };
    let entry = as_of.entry.as_ref().map(|one| {
        let invalid_from_ms = one.entry.invalid_from_ms;
        json!({
            "verdict": verdict(&one.entry, as_of.time_ms),
            "usable": one.entry.is_usable(as_of.time_ms),
            "invalidFrom": (invalid_from_ms != 0).then(|| format_datetime(invalid_from_ms)),
            "issuer": did_text(&network, Hash::from_slice(&one.list.issuer).unwrap_or_default()),
            "type": hex::encode(&one.list.r#type),
            "heightInForce": one.header.height().to_string(),
            "headerHashInForce": one.header.hash().to_string(),
        })
    });
    let right = as_of.authority.as_ref().map(|authority| {
        json!({
            "action": authority.right.action.word(),
            "resource": authority.right.resource.map(|name| name.to_string()),
            "holds": authority.holds(),
        })
    });
    json!({
        "did": question.did.to_string(),
        "at": format_datetime(as_of.time_ms),
        "knownAt": as_of.known.height().to_string(),
        "knownHeaderHash": as_of.known.hash().to_string(),
        "holds": as_of.holds(),
        "versionId": version.map(|version| version.head.version.to_string()),
        "key": { "verdict": as_of.key.code(), "expires": expires_ms },
        "entry": entry,
        "right": right,
        "verification": verification(answer, &client.genesis_hash()),
    })
}
