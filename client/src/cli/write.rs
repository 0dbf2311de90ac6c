//! `sillok did create`, `update`, `set-device`, `deactivate`: identity files in, a verified receipt out.
//!
//! A new key is on disk before it is sent anywhere: a crash in between costs a key that was never bound, not a DID.

use super::arguments::{
    CreateArguments, DeactivateArguments, Global, Kind, PartyArguments, SetDeviceArguments,
    UpdateArguments,
};
use super::failure::{EXIT_OK, Failure};
use super::output::Output;
use super::session;
use serde_json::json;
use sillok_client::identity::{Identity, IdentityKey, document_of, parse_relationships};
use sillok_client::keys::KeyAlgorithm;
use sillok_client::read::{Client, Committed};
use sillok_client::verify::as_of::is_named;
use sillok_client::verify::{Asked, ResolvedVersion};
use sillok_client::write::{Parties, WriteError};
use sillok_did_method::{DEVICE_RELATIONSHIPS, Did, KEY_AGREEMENT, Recovery, service_id};
use sillok_proto::v1;
use std::path::Path;

/// The files of the parties, read.
struct Files {
    submitter: Identity,
    authority: Option<Identity>,
}

impl Files {
    /// `default` submits where no file is named.
    fn read(arguments: &PartyArguments, default: Option<&Identity>) -> Result<Self, Failure> {
        let authority = arguments.authority.as_deref().map(Identity::load).transpose()?;
        let submitter = match (&arguments.submitter, &authority, default) {
            (Some(path), _, _) => Identity::load(path)?,
            (None, Some(authority), _) => authority.clone(),
            (None, None, Some(default)) => default.clone(),
            (None, None, None) => {
                return Err(Failure::usage(
                    "a transaction is brought by an accredited organization; name its identity file with --submitter",
                ));
            }
        };
        Ok(Self { submitter, authority })
    }

    fn parties(&self) -> Parties<'_> {
        Parties { authority: self.authority.as_ref(), ..Parties::submitter(&self.submitter) }
    }
}

fn done(output: Output, did: &Did, what: &str, committed: &Committed) -> u8 {
    let receipt = &committed.receipt;
    let header = &receipt.header;
    output.value(&json!({
        "did": did.to_string(),
        "transactionId": receipt.transaction_id.to_string(),
        "height": header.height().to_string(),
        "index": receipt.index,
        "time": sillok_did_method::format_datetime(header.time_ms()),
        "headerHash": header.hash().to_string(),
    }));
    output.line(format_args!("{} {did}", output.good(what)));
    output.facts(&[
        ("transaction", receipt.transaction_id.to_string()),
        ("height", format!("{} (receipt verified)", header.height())),
    ]);
    EXIT_OK
}

/// The state asked for is there already: by whom is shown by the history, that it is so is proved here.
async fn already(
    client: &Client,
    did: &Did,
    result: Result<Committed, WriteError>,
    is_so: impl Fn(&ResolvedVersion) -> bool,
    output: Output,
) -> Result<Option<Committed>, Failure> {
    let error = match result {
        Ok(committed) => return Ok(Some(committed)),
        Err(error) => error,
    };
    if error.problem().is_none_or(|problem| problem.code != "ALREADY") {
        return Err(error.into());
    }
    let resolved = client.resolve(did, Asked::Current).await?;
    // Of an old answer, a device that was set since would be missed.
    let Some(version) = resolved.answer.fresh()?.version.as_ref().filter(|one| is_so(one)) else {
        return Err(error.into());
    };
    output.value(&json!({
        "did": did.to_string(),
        "already": true,
        "versionId": version.head.version.to_string(),
        "height": version.head.height.to_string(),
    }));
    output.line(format_args!(
        "{} {did}: since version {} at height {}",
        output.good("already so"),
        version.head.version,
        version.head.height
    ));
    Ok(None)
}

pub(crate) async fn create(
    global: &Global,
    arguments: &CreateArguments,
    output: Output,
) -> Result<u8, Failure> {
    let files = Files::read(&arguments.parties, None)?;
    let client = session::client(global).await?;
    let (identity, path) = match (&arguments.from, &arguments.out) {
        (Some(path), _) => (Identity::load(path)?, path),
        (None, Some(path)) => (new_identity(&client, arguments, &files)?, path),
        (None, None) => {
            return Err(Failure::usage("say with --out where to keep the new identity"));
        }
    };
    if arguments.from.is_none() {
        identity.create(path)?;
    }
    let committed = client.create(&identity, &files.parties()).await.map_err(|error| {
        let again = format!(
            "the keys are in {}; to try again: sillok did create --from {}",
            path.display(),
            path.display()
        );
        Failure::from(error).and(&again)
    })?;
    let exit = done(output, &identity.did, "created", &committed);
    output.note(format_args!("{} holds the only copy of its keys", path.display()));
    Ok(exit)
}

fn new_identity(
    client: &Client,
    arguments: &CreateArguments,
    files: &Files,
) -> Result<Identity, Failure> {
    let chain = client.chain();
    let authority = files.parties().acting_authority().did.clone();
    let algorithm = arguments.algorithm.into();
    let (agreement, countersigner) = (arguments.with_agreement, arguments.countersigner.clone());
    let network = chain.network();
    Ok(match arguments.kind {
        Some(Kind::Holder) => {
            Identity::holder(network, algorithm, agreement, authority, countersigner)?
        }
        Some(Kind::Organization) => {
            Identity::organization(network, algorithm, agreement, Some(authority), countersigner)?
        }
        None => {
            return Err(Failure::usage(
                "say with --kind whether it is of a holder or of an organization",
            ));
        }
    })
}

pub(crate) async fn update(
    global: &Global,
    arguments: &UpdateArguments,
    output: Output,
) -> Result<u8, Failure> {
    let mut identity = Identity::load(&arguments.identity)?;
    let own = (identity.kind == v1::Kind::Organization).then(|| identity.clone());
    let files = Files::read(&arguments.parties, own.as_ref())?;
    let client = session::client(global).await?;
    let current = client.current(&identity.did).await?;
    let mut document = current.document_or_empty();
    let before = identity.keys.len();
    change_keys(&mut identity, &mut document, arguments)?;
    change_services(&mut document, arguments)?;
    let recovery = arguments.recovery.as_deref().map(parse_recovery).transpose()?;
    let document = document_of(document.keys, document.services);
    if document == current.document_or_empty() && recovery.is_none() {
        return Err(Failure::usage("nothing to change was named; see --help"));
    }
    if identity.keys.len() > before {
        identity.replace(&arguments.identity)?;
    }
    let parties = Parties { any_submitter: arguments.any_submitter, ..files.parties() };
    let committed = client.update(&identity, document, recovery, &parties).await?;
    Ok(done(output, &identity.did, "updated", &committed))
}

fn parse_recovery(text: &str) -> Result<Recovery, Failure> {
    if text == "none" {
        return Ok(Recovery::None);
    }
    let did = Did::parse(text).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(Recovery::Assisted { countersigner: did.digest() })
}

fn change_keys(
    identity: &mut Identity,
    document: &mut v1::DidDocument,
    arguments: &UpdateArguments,
) -> Result<(), Failure> {
    for named in &arguments.remove_key {
        let before = document.keys.len();
        document.keys.retain(|bound| !bound.key.as_ref().is_some_and(|key| is_named(key, named)));
        if document.keys.len() == before {
            return Err(Failure::usage(format!(
                "the document has no key {named}; resolve the DID and copy one of its keys"
            )));
        }
    }
    let mut add = |key: IdentityKey| {
        document.keys.push(key.bound());
        identity.keys.push(key);
    };
    for text in &arguments.add_key {
        let wrong = || {
            Failure::usage(format!(
                "{text:?} is not ALGORITHM:USES; write p256:assertionMethod,authentication"
            ))
        };
        let (algorithm, uses) = text.split_once(':').ok_or_else(wrong)?;
        let algorithm: KeyAlgorithm = algorithm.parse().map_err(|_| wrong())?;
        let uses: Vec<&str> = uses.split(',').collect();
        let relationships = parse_relationships(&uses).ok_or_else(wrong)?;
        add(IdentityKey::generate(algorithm, relationships)?);
    }
    if arguments.new_agreement {
        add(IdentityKey::generate(KeyAlgorithm::X25519, KEY_AGREEMENT)?);
    }
    if arguments.new_agreement || arguments.no_agreement {
        let newest = if arguments.new_agreement { document.keys.last().cloned() } else { None };
        document
            .keys
            .retain(|bound| bound.relationships != KEY_AGREEMENT || Some(bound) == newest.as_ref());
    }
    Ok(())
}

/// Is the key called this: its Multikey, its id in the document, or the fragment of that?
fn change_services(
    document: &mut v1::DidDocument,
    arguments: &UpdateArguments,
) -> Result<(), Failure> {
    for name in &arguments.remove_service {
        let kind = service_kind(name)?;
        document.services.retain(|service| service.kind() != kind);
    }
    for text in &arguments.set_service {
        let (name, endpoint) = text.split_once('=').ok_or_else(|| {
            Failure::usage(format!(
                "{text:?} is not KIND=URL; write credential-issuer=https://issuer.example"
            ))
        })?;
        let kind = service_kind(name)?;
        sillok_did_method::check_endpoint(endpoint)
            .map_err(|error| Failure::usage(error.to_string()))?;
        document.services.retain(|service| service.kind() != kind);
        document.services.push(v1::Service { kind: kind.into(), endpoint: endpoint.to_owned() });
    }
    Ok(())
}

fn service_kind(name: &str) -> Result<v1::ServiceKind, Failure> {
    (1..)
        .map_while(|number| v1::ServiceKind::try_from(number).ok())
        .find(|kind| service_id(*kind) == name)
        .ok_or_else(|| Failure::usage(format!("there is no service kind {name:?}; see --help")))
}

pub(crate) async fn set_device(
    global: &Global,
    arguments: &SetDeviceArguments,
    output: Output,
) -> Result<u8, Failure> {
    let by_others = arguments.parties.authority.is_some();
    let file = (!arguments.target.starts_with("did:")).then(|| Path::new(&arguments.target));
    if by_others {
        let did = match file {
            Some(path) => Identity::load(path)?.did,
            None => {
                Did::parse(&arguments.target).map_err(|error| Failure::usage(error.to_string()))?
            }
        };
        return set_device_of(global, arguments, &did, output).await;
    }
    let path = file.ok_or_else(|| {
        Failure::usage("a device is changed by the holder's identity file, or by --authority for a DID; name one of them")
    })?;
    let mut identity = Identity::load(path)?;
    let files = Files::read(&arguments.parties, None)?;
    let parties = Parties { any_submitter: arguments.any_submitter, ..files.parties() };
    let client = session::client(global).await?;
    if arguments.none {
        let result = client.give_device_up(&identity, &parties).await;
        let without = |version: &ResolvedVersion| has_no_device(version);
        return Ok(match already(&client, &identity.did, result, without, output).await? {
            Some(committed) => done(output, &identity.did, "device given up", &committed),
            None => EXIT_OK,
        });
    }
    // The current key must be able to sign before another is made.
    client.current(&identity.did).await?;
    let new = IdentityKey::generate(arguments.algorithm.into(), DEVICE_RELATIONSHIPS)?;
    identity.keys.push(new.clone());
    identity.replace(path)?;
    let committed = client.replace_device(&identity, &new, &parties).await?;
    Ok(done(output, &identity.did, "device replaced", &committed))
}

/// By the authority: alone it takes the device away, with the countersigner it sets another.
async fn set_device_of(
    global: &Global,
    arguments: &SetDeviceArguments,
    did: &Did,
    output: Output,
) -> Result<u8, Failure> {
    let files = Files::read(&arguments.parties, None)?;
    let client = session::client(global).await?;
    let (Some(new), Some(countersigner)) = (&arguments.new, &arguments.countersigner) else {
        let result = client.take_device_away(did, &files.parties()).await;
        let without = |version: &ResolvedVersion| has_no_device(version);
        return Ok(match already(&client, did, result, without, output).await? {
            Some(committed) => done(output, did, "device taken away", &committed),
            None => EXIT_OK,
        });
    };
    let (new, countersigner) = (Identity::load(new)?, Identity::load(countersigner)?);
    if new.did != *did {
        return Err(Failure::usage(
            "the new key was made for another DID; make one with: sillok key new --did DID",
        ));
    }
    let key = new
        .keys
        .iter()
        .rev()
        .find(|key| key.relationships == DEVICE_RELATIONSHIPS)
        .ok_or_else(|| {
            Failure::usage(
                "the file of --new holds no device key; make one with: sillok key new --did DID",
            )
        })?;
    let parties = Parties { countersigner: Some(&countersigner), ..files.parties() };
    let committed = client.assist_device(did, key, &parties).await?;
    Ok(done(output, did, "device set by authority and countersigner", &committed))
}

fn has_no_device(version: &ResolvedVersion) -> bool {
    sillok_did_method::device_key(&version.document_or_empty()).is_none()
}

pub(crate) async fn deactivate(
    global: &Global,
    arguments: &DeactivateArguments,
    output: Output,
) -> Result<u8, Failure> {
    let identity = Identity::load(&arguments.identity)?;
    let own = (identity.kind == v1::Kind::Organization).then(|| identity.clone());
    let files = Files::read(&arguments.parties, own.as_ref())?;
    let client = session::client(global).await?;
    let parties = Parties { any_submitter: arguments.any_submitter, ..files.parties() };
    let committed = client.deactivate(&identity, &parties).await?;
    Ok(done(output, &identity.did, "deactivated", &committed))
}
