//! `sillok did resolve`, `did history` and `verify`: verified answers, and what they are worth now.

use super::arguments::{Global, ResolveArguments};
use super::failure::{EXIT_DEACTIVATED, EXIT_NOT_FOUND, EXIT_OK, EXIT_STALE, Failure};
use super::output::{Output, age};
use super::session;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sillok_client::identity::{kind_name, relationship_names};
use sillok_client::read::Client;
use sillok_client::verify::{
    Answer, Asked, Policy, Resolution, ResolvedVersion, Verifier, VerifyError,
};
use sillok_did_method::{
    DEVICE_RELATIONSHIPS, Did, Recovery, device_key, format_datetime, multikey,
};
use sillok_proto::{Hash, v1};
use std::fs;
use std::io::Write as _;
use std::path::Path;

/// Longest kept answer, in bytes of JSON.
const KEPT_BYTES_MAX: u64 = 128 * 1024 * 1024;

pub(crate) async fn resolve(
    global: &Global,
    arguments: &ResolveArguments,
    output: Output,
) -> Result<u8, Failure> {
    let client = session::client(global).await?;
    if arguments.private {
        return resolve_private(&client, arguments, output).await;
    }
    let asked = match (arguments.version_id, arguments.version_time) {
        (Some(version), _) => Asked::Version(version),
        (None, Some(time_ms)) => Asked::Before(time_ms),
        (None, None) => Asked::Current,
    };
    let resolved = client.resolve(&arguments.did, asked).await?;
    if let Some(path) = &arguments.save {
        let response = resolved.response.as_ref().ok_or_else(|| {
            Failure::failed(
                "there is no such version, so there is no answer to save; save the current one",
            )
        })?;
        Kept::new(&arguments.did, asked, response).write(path)?;
        output.note(format_args!(
            "kept in {}; check it with: sillok verify {}",
            path.display(),
            path.display()
        ));
    }
    if let Some(within) = arguments.refuse_assisted_within {
        let history = client.history(&arguments.did).await?;
        let now_ms = client.options().clock.now_ms();
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let assisted = history.even_if_stale().versions.iter().find(|(head, _)| {
            head.actor() == v1::Actor::AuthorityAndCountersigner
                && now_ms.saturating_sub(head.time_ms) <= within_ms
        });
        if let Some((head, _)) = assisted {
            let message = format!(
                "the keys were set by others than the controller in version {}, {} ago; ask for another proof of who this is",
                head.version,
                age(now_ms.saturating_sub(head.time_ms))
            );
            return Err(Failure::new(super::failure::EXIT_FAILED, "ASSISTED_RECENTLY", message));
        }
    }
    let from = format!("answered by {}", resolved.node);
    let genesis_hash = client.genesis_hash();
    Ok(show(&resolved.answer, &genesis_hash, &from, output))
}

async fn resolve_private(
    client: &Client,
    arguments: &ResolveArguments,
    output: Output,
) -> Result<u8, Failure> {
    let found = client.resolve_among(&arguments.did, arguments.k).await?;
    let (dids, node) = (found.dids, &found.node);
    let among = match (found.all, dids < usize::try_from(arguments.k).unwrap_or(usize::MAX)) {
        (true, _) => format!("all {dids} DIDs of the network were asked for"),
        (false, false) => format!("{dids} DIDs were asked for"),
        (false, true) => output.warning(&format!("only {dids} DIDs were asked for")),
    };
    let from = format!("answered by {node}; {among}");
    Ok(show(&found.answer, &client.genesis_hash(), &from, output))
}

/// Prints a resolution and says with its exit code what it is worth.
fn show(answer: &Answer<Resolution>, genesis_hash: &Hash, from: &str, output: Output) -> u8 {
    let resolution = answer.even_if_stale();
    let mut value = resolution.to_json();
    if let Value::Object(members) = &mut value {
        let mut verification = verification(answer, genesis_hash);
        if let Some(version) = &resolution.version {
            verification["writtenBy"] = written_by_json(&resolution.did, &version.head);
        }
        members.insert("verification".to_owned(), verification);
    }
    output.value(&value);
    match &resolution.version {
        None => output
            .line(format_args!("{}: there is no such DID or version (proved)", resolution.did)),
        Some(version) => show_version(resolution, version, &value, output),
    }
    verified_line(answer, genesis_hash, from, output);
    if answer.is_stale() {
        EXIT_STALE
    } else if resolution.version.is_none() {
        EXIT_NOT_FOUND
    } else if resolution.is_deactivated() {
        EXIT_DEACTIVATED
    } else {
        EXIT_OK
    }
}

fn show_version(resolution: &Resolution, version: &ResolvedVersion, value: &Value, output: Output) {
    if let Some(document) = value.get("didDocument").filter(|document| !document.is_null()) {
        output.line(format_args!("{document:#}"));
        output.line("");
    }
    let head = &version.head;
    let mut facts = vec![
        ("DID", resolution.did.to_string()),
        ("kind", kind_name(head.kind()).to_owned()),
        ("version", version_line(version)),
        ("written by", written_by(&resolution.did, head)),
        ("written at", format!("{}, height {}", format_datetime(head.time_ms), head.height)),
        ("authority", did_or(resolution.did.network(), &head.authority, "genesis")),
    ];
    let recovery = match Recovery::read(head.recovery.as_ref()) {
        Ok(Recovery::Assisted { countersigner }) => {
            format!("authority with {}", did_text(resolution.did.network(), countersigner))
        }
        _ => "none".to_owned(),
    };
    facts.push(("recovery", recovery));
    if head.kind() == v1::Kind::Holder && !head.deactivated {
        let document = version.document_or_empty();
        let device = device_key(&document).and_then(|bound| multikey(bound.key.as_ref()?).ok());
        facts.push(("device", device.unwrap_or_else(|| output.warning("none"))));
    }
    if head.deactivated {
        facts.push(("state", output.bad("deactivated")));
    } else if version.current.deactivated {
        let state = format!("deactivated since version {}", version.current.version);
        facts.push(("state", output.bad(&state)));
    }
    output.facts(&facts);
}

fn version_line(version: &ResolvedVersion) -> String {
    let (number, current) = (version.head.version, version.current.version);
    if number == current { format!("{number} (current)") } else { format!("{number} of {current}") }
}

/// Who wrote a version: as what, and by which DIDs (PROTOCOL §3.2).
fn writers(did: &Did, head: &v1::Head) -> Vec<(&'static str, String)> {
    let authority = || ("authority", did_or(did.network(), &head.authority, "genesis"));
    match head.actor() {
        v1::Actor::Controller => vec![("controller", did.to_string())],
        v1::Actor::Authority => vec![authority()],
        v1::Actor::AuthorityAndCountersigner => {
            // The rule that allowed it is the one in the head: an assisted change leaves it as it is.
            let countersigner = match Recovery::read(head.recovery.as_ref()) {
                Ok(Recovery::Assisted { countersigner }) => did_text(did.network(), countersigner),
                _ => "unknown".to_owned(),
            };
            vec![authority(), ("countersigner", countersigner)]
        }
        v1::Actor::Unspecified => vec![("unknown", String::new())],
    }
}

fn written_by(did: &Did, head: &v1::Head) -> String {
    let writers = writers(did, head).into_iter().map(|(role, did)| format!("{role} {did}"));
    writers.collect::<Vec<_>>().join("\n")
}

fn written_by_json(did: &Did, head: &v1::Head) -> Value {
    let writers = writers(did, head).into_iter();
    Value::Array(writers.map(|(role, did)| json!({ "role": role, "did": did })).collect())
}

pub(super) fn did_text(network: &str, digest: Hash) -> String {
    Did::new(network, digest).map_or_else(|_| digest.to_string(), |did| did.to_string())
}

fn did_or(network: &str, digest: &[u8], none: &str) -> String {
    Hash::from_slice(digest).map_or_else(|| none.to_owned(), |digest| did_text(network, digest))
}

/// What the answer rests on, for programs.
pub(super) fn verification<T>(answer: &Answer<T>, genesis_hash: &Hash) -> Value {
    let certificate = answer.signed_header().certificate.as_ref();
    json!({
        "status": if answer.is_stale() { "STALE" } else { "VALID" },
        "genesisHash": genesis_hash.to_string(),
        "height": answer.height().to_string(),
        "headerHash": answer.header().hash().to_string(),
        "time": format_datetime(answer.time_ms()),
        "ageMs": answer.age_ms(),
        "maxAgeMs": answer.max_age_ms(),
        "validatorSignatures": certificate.map_or(0, |one| one.signatures.len()),
    })
}

pub(super) fn verified_line<T>(
    answer: &Answer<T>,
    genesis_hash: &Hash,
    from: &str,
    output: Output,
) {
    let signatures =
        answer.signed_header().certificate.as_ref().map_or(0, |one| one.signatures.len());
    let line = format!(
        "against genesis {genesis_hash}: height {}, {}, {} old, {signatures} validator signatures; {from}",
        answer.height(),
        format_datetime(answer.time_ms()),
        age(answer.age_ms()),
    );
    output.line("");
    match answer.fresh() {
        Ok(_) => output.line(format_args!("{} {line}", output.good("verified"))),
        Err(stale) => {
            output.line(format_args!("{} verified {line}", output.warning("STALE")));
            output.note(format_args!("sillok: {stale}"));
        }
    }
}

/// What an answer has. That it has nothing is believed of a fresh one alone: an old one is from before what came since.
pub(super) fn found<'a, T, U>(
    answer: &'a Answer<T>,
    find: impl FnOnce(&'a T) -> Option<&'a U>,
    nothing: impl FnOnce() -> Failure,
) -> Result<&'a U, Failure> {
    match find(answer.even_if_stale()) {
        Some(found) => Ok(found),
        None => {
            answer.fresh()?;
            Err(nothing())
        }
    }
}

pub(crate) async fn history(global: &Global, did: &Did, output: Output) -> Result<u8, Failure> {
    let client = session::client(global).await?;
    let answer = client.history(did).await?;
    let history = answer.even_if_stale();
    let mut rows = Vec::new();
    let mut versions = Vec::new();
    for (place, (head, document)) in history.versions.iter().enumerate() {
        let before = history.versions.get(place + 1);
        let change =
            change(before.and_then(|(_, document)| document.as_ref()), head, document.as_ref());
        rows.push([
            head.version.to_string(),
            format_datetime(head.time_ms),
            head.height.to_string(),
            written_by(did, head),
            change.clone(),
        ]);
        let found = history.resolve(Asked::Version(head.version));
        versions.push(json!({
            "versionId": head.version.to_string(),
            "time": format_datetime(head.time_ms),
            "height": head.height.to_string(),
            "writtenBy": written_by_json(did, head),
            "deactivated": head.deactivated,
            "change": change.split('\n').collect::<Vec<_>>(),
            "didDocument": found.map_or(Value::Null, |found| found.to_json()["didDocument"].clone()),
        }));
    }
    let genesis_hash = client.genesis_hash();
    output.value(&json!({
        "did": did.to_string(),
        "versions": versions,
        "verification": verification(&answer, &genesis_hash),
    }));
    if history.versions.is_empty() {
        output.line(format_args!("{did}: there is no such DID (proved)"));
    } else {
        output.table(["version", "written at", "height", "written by", "what changed"], rows);
    }
    verified_line(&answer, &genesis_hash, "complete back to version 1", output);
    Ok(if answer.is_stale() {
        EXIT_STALE
    } else if history.versions.is_empty() {
        EXIT_NOT_FOUND
    } else {
        EXIT_OK
    })
}

/// What a version changed, in a few words.
fn change(
    before: Option<&v1::DidDocument>,
    head: &v1::Head,
    document: Option<&v1::DidDocument>,
) -> String {
    if head.deactivated {
        return "deactivated".to_owned();
    }
    if head.version == 1 {
        return "created".to_owned();
    }
    let (Some(before), Some(document)) = (before, document) else {
        return "documents erased".to_owned();
    };
    let name = |bound: &v1::BoundKey| match bound.relationships {
        DEVICE_RELATIONSHIPS if head.kind() == v1::Kind::Holder => "device".to_owned(),
        relationships => relationship_names(relationships).join("+"),
    };
    let without = |keys: &[v1::BoundKey], others: &[v1::BoundKey]| -> Vec<String> {
        let new = keys.iter().filter(|bound| !others.iter().any(|other| other.key == bound.key));
        new.map(name).collect()
    };
    let mut added = without(&document.keys, &before.keys);
    let mut words = Vec::new();
    for removed in without(&before.keys, &document.keys) {
        match added.iter().position(|one| *one == removed) {
            Some(place) => words.push(format!("{} key replaced", added.remove(place))),
            None => words.push(format!("{removed} key removed")),
        }
    }
    words.extend(added.into_iter().map(|one| format!("{one} key added")));
    if before.services != document.services {
        words.push("services".to_owned());
    }
    if words.is_empty() { "rules".to_owned() } else { words.join("\n") }
}

/// `sillok verify`: an answer kept on disk, without any node; only where the validators who certified it were replaced
/// since, a node is asked for the history that proves it.
pub(crate) async fn verify(global: &Global, path: &Path, output: Output) -> Result<u8, Failure> {
    let trust = session::offline_trust(global)?;
    let kept = Kept::read(path)?;
    let (did, asked, response) = kept.parse()?;
    let options = session::options(global);
    let policy = Policy {
        now_ms: options.clock.now_ms(),
        max_age_ms: options.max_age_ms,
        min_height: options.min_height,
        past: true,
    };
    let verifier = Verifier::new(trust.chain(), trust.trusted(), policy);
    let answer = match verifier.resolution(&did, asked, &response) {
        Err(VerifyError::PastValidators { height }) if !global.nodes.is_empty() => {
            let client = Client::new(session::connection(global)?, trust.detached(), options);
            let history = client.history_from_any(height).await?;
            verifier.with_history(&history).resolution(&did, asked, &response)?
        }
        answer => answer?,
    };
    let from = format!("kept in {}", path.display());
    Ok(show(&answer, trust.chain().hash(), &from, output))
}

/// An answer in a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    did: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version_id: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version_time_ms: Option<u64>,
    /// `ResolveResponse`, protobuf in hex.
    response: String,
}

impl Kept {
    fn new(did: &Did, asked: Asked, response: &v1::ResolveResponse) -> Self {
        // The view is made from what is verified; a node's own words are not worth keeping.
        let response = v1::ResolveResponse { resolution_json: String::new(), ..response.clone() };
        Self {
            did: did.to_string(),
            version_id: if let Asked::Version(version) = asked { Some(version) } else { None },
            version_time_ms: if let Asked::Before(time_ms) = asked { Some(time_ms) } else { None },
            response: hex::encode(sillok_proto::encode(&response)),
        }
    }

    fn write(&self, path: &Path) -> Result<(), Failure> {
        let io = |error: std::io::Error| {
            Failure::failed(format!("{}: {error}; choose another name", path.display()))
        };
        let mut file = fs::File::create_new(path).map_err(io)?;
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        writeln!(file, "{text}").map_err(io)
    }

    fn read(path: &Path) -> Result<Self, Failure> {
        let wrong = |error: &dyn std::fmt::Display| {
            Failure::failed(format!(
                "{}: {error}; give a file that `did resolve --save` wrote",
                path.display()
            ))
        };
        let len = fs::metadata(path).map_err(|error| wrong(&error))?.len();
        if len > KEPT_BYTES_MAX {
            return Err(wrong(&"it is too long"));
        }
        let text = fs::read_to_string(path).map_err(|error| wrong(&error))?;
        serde_json::from_str(&text).map_err(|error| wrong(&error))
    }

    fn parse(&self) -> Result<(Did, Asked, v1::ResolveResponse), Failure> {
        let wrong = |what: &str| {
            Failure::failed(format!("{what} in the file is not usable; save the answer again"))
        };
        let did = Did::parse(&self.did).map_err(|error| wrong(&error.to_string()))?;
        let asked = match (self.version_id, self.version_time_ms) {
            (Some(version), _) => Asked::Version(version),
            (None, Some(time_ms)) => Asked::Before(time_ms),
            (None, None) => Asked::Current,
        };
        let bytes = hex::decode(&self.response).map_err(|_| wrong("the response"))?;
        let response =
            sillok_proto::decode(&bytes, bytes.len()).map_err(|_| wrong("the response"))?;
        Ok((did, asked, response))
    }
}
