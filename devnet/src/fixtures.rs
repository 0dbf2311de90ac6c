//! Fixtures of live DIDs, for test suites that are not ours: what the nodes of a devnet answer over HTTP, written down.
//!
//! One DID of each sort is made on the network, its answer is verified with its proof, and what the HTTP door serves goes
//! into two files: `did-sillok.json` in the form of the W3C DID test suite, and `scene.json`, which names the DIDs for
//! clients in other languages. Nothing of a fixture is written by hand.

use crate::directory::{Devnet, NodeEntry, OrganizationRole};
use crate::reader::{Found, Reader};
use crate::scene::{Scene, finish, new_device, organization_key};
use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::{Map, Value, json};
use sillok_client::identity::{Identity, IdentityKey, document_of};
use sillok_client::keys::KeyAlgorithm;
use sillok_client::transaction::{OperationDraft, Terms};
use sillok_did_method::{ASSERTION_METHOD, AUTHENTICATION, Did, head_hash};
use sillok_proto::{Hash, v1};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use v1::ServiceKind;

/// The file in the form of the W3C DID test suite.
pub const SUITE_FILE: &str = "did-sillok.json";
/// The file that says which DID is what.
pub const SCENE_FILE: &str = "scene.json";
/// Under which media types a document is taken: that of DID Core 1.1, and those of 1.0, which the suite still asks for.
pub const MEDIA_TYPES: [&str; 3] =
    ["application/did", "application/did+json", "application/did+ld+json"];
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;
/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// `fixtures`.
#[derive(Debug, Args)]
pub struct Fixtures {
    /// Directory for the files; made if it is missing
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// An answer of the HTTP door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// Its media type.
    pub content_type: String,
    /// The body.
    pub body: String,
}

/// The DIDs of a scene, by what they are.
pub type Cast = BTreeMap<&'static str, Did>;

/// Makes the DIDs, reads them back and writes the files.
///
/// # Errors
///
/// The network does not take or give back what it should, or a file cannot be written.
pub async fn run(devnet: &Devnet, arguments: &Fixtures) -> anyhow::Result<()> {
    let cast = Box::pin(make(devnet)).await?;
    let node = devnet.nodes.first().context("the devnet has no node")?;
    let suite = suite(devnet, node, &cast).await?;
    let scene = json!({
        "network": devnet.network,
        "genesisHash": devnet.genesis_hash,
        "grpc": node.grpc,
        "http": node.http,
        "dids": cast.iter().map(|(name, did)| ((*name).to_owned(), did.to_string().into()))
            .collect::<Map<String, Value>>(),
    });
    std::fs::create_dir_all(&arguments.out)
        .with_context(|| format!("{} cannot be made", arguments.out.display()))?;
    for (name, content) in [(SUITE_FILE, suite), (SCENE_FILE, scene)] {
        write(&arguments.out.join(name), &content)?;
    }
    Ok(())
}

fn write(path: &Path, content: &Value) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(content)?;
    std::fs::write(path, format!("{text}\n"))
        .with_context(|| format!("{} cannot be written", path.display()))?;
    crate::console::line(path.display());
    Ok(())
}

// ------------------------------------------------------------------------------------------ the DIDs

/// Makes one DID of each sort.
async fn make(devnet: &Devnet) -> anyhow::Result<Cast> {
    let scene = Scene::of(devnet)?;
    let node = devnet.nodes.first().context("the devnet has no node")?;
    let reader = Reader::fresh(devnet, &node.grpc)?;
    let holder = scene.holder(KeyAlgorithm::Ed25519, false)?;
    let agreeing = scene.holder(KeyAlgorithm::P256, true)?;
    let changed = scene.holder(KeyAlgorithm::Ed25519, false)?;
    let deviceless = scene.holder(KeyAlgorithm::Ed25519, false)?;
    let deactivated = scene.holder(KeyAlgorithm::Ed25519, false)?;
    let organization = organization(&scene)?;
    let all = [&holder, &agreeing, &changed, &deviceless, &deactivated, &organization];
    let at = scene.commit(&scene.create(&all)?, 0).await?;

    let found = reader.resolve_from(&changed.did, at.height).await?;
    let old = changed.keys.first().context("a holder has a device key")?;
    let device = new_device(KeyAlgorithm::P256)?;
    scene.commit(&scene.set_device(&changed, &found.head, &device, &[&old.secret])?, 0).await?;
    scene.commit(&scene.take_device_away(&deviceless)?, 0).await?;
    let found = reader.resolve_from(&deactivated.did, at.height).await?;
    let ended = scene.deactivate(&deactivated, &found.head, &deactivated.document())?;
    scene.commit(&ended, 0).await?;
    let found = reader.resolve_from(&organization.did, at.height).await?;
    let last = scene.commit(&with_services(&scene, &organization, &found)?, 0).await?;
    reader.wait_for(last.height).await?;

    let nobody = Did::new(devnet.network.clone(), Hash([1; 32]))?;
    let registrar = devnet.organization(OrganizationRole::Registrar)?;
    Ok(BTreeMap::from([
        ("holder", holder.did),
        ("holderWithKeyAgreement", agreeing.did),
        ("holderWithAnotherDevice", changed.did),
        ("holderWithoutDevice", deviceless.did),
        ("deactivated", deactivated.did),
        ("organization", organization.did),
        ("registrar", Did::parse(&registrar.did)?),
        ("nobody", nobody),
    ]))
}

/// An organization with keys of every algorithm.
fn organization(scene: &Scene) -> anyhow::Result<Identity> {
    let network = scene.registrar.did.network();
    let authority = Some(scene.registrar.did.clone());
    let made = Identity::organization(network, KeyAlgorithm::Ed25519, true, authority, None)?;
    let Identity { kind, mut keys, authority, .. } = made;
    keys.push(IdentityKey::generate(KeyAlgorithm::P256, AUTHENTICATION | ASSERTION_METHOD)?);
    Ok(Identity::new(network, kind, keys, authority, None)?)
}

/// The second version of an organization: with a service of each kind.
fn with_services(
    scene: &Scene,
    organization: &Identity,
    found: &Found,
) -> anyhow::Result<v1::Transaction> {
    let kinds = [
        ServiceKind::LinkedDomains,
        ServiceKind::TrustRegistry,
        ServiceKind::CredentialIssuer,
        ServiceKind::StatusList,
        ServiceKind::GovernanceFramework,
        ServiceKind::DidResolver,
    ];
    let services = kinds.map(|kind| v1::Service {
        kind: kind.into(),
        endpoint: format!("https://office.example/{}", kind as i32),
    });
    let document = document_of(found.document.clone().unwrap_or_default().keys, services.to_vec());
    let previous = head_hash(&found.head);
    let draft = OperationDraft::update(&organization.did, &previous, document, None);
    let mut partly = scene.draft(&scene.registrar, [(draft, Terms::NAMED)]);
    partly.sign(0, organization_key(organization)?)?;
    finish(partly, &scene.registrar)
}

// ----------------------------------------------------------------------------------------- the files

/// The fixtures of every DID that has a document, as the suite has them.
async fn suite(devnet: &Devnet, node: &NodeEntry, cast: &Cast) -> anyhow::Result<Value> {
    let reader = Reader::fresh(devnet, &node.grpc)?;
    let mut suite = Map::new();
    let mut dids: Vec<Value> = Vec::new();
    for (name, did) in cast {
        let answer = resolve(node, did, "application/did-resolution").await?;
        let result: Value = serde_json::from_str(&answer.body)?;
        let proved = reader.find(did).await?;
        let document =
            proved.as_ref().map_or(Value::Null, |found| found.json()["didDocument"].take());
        ensure!(result["didDocument"] == document, "{name}: the JSON is not what is proved");
        if document.is_null() {
            continue;
        }
        let mut fixture = Map::new();
        let mut properties = document.clone();
        let context = properties["@context"].take();
        properties.as_object_mut().context("a document is an object")?.remove("@context");
        fixture.insert("didDocumentDataModel".to_owned(), json!({ "properties": properties }));
        for media_type in MEDIA_TYPES {
            let served = resolve(node, did, media_type).await?;
            ensure!(served.status == 200, "{name}: {} for {media_type}", served.status);
            let entries = json!({ "@context": context });
            let production = json!({
                "didDocumentDataModel": { "representationSpecificEntries": entries },
                "representation": served.body,
                "didDocumentMetadata": without_proof(&result["didDocumentMetadata"]),
                "didResolutionMetadata": { "contentType": served.content_type },
            });
            fixture.insert(media_type.to_owned(), production);
        }
        dids.push(did.to_string().into());
        suite.insert(did.to_string(), Value::Object(fixture));
    }
    suite.insert("didMethod".to_owned(), "did:sillok".into());
    suite.insert("implementation".to_owned(), "Sillok".into());
    suite.insert("implementer".to_owned(), "the maintainers of Sillok".into());
    suite.insert("supportedContentTypes".to_owned(), json!(MEDIA_TYPES));
    suite.insert("dids".to_owned(), dids.into());
    let organization = cast.get("organization").context("there is an organization")?;
    suite.insert(
        "didParameters".to_owned(),
        json!({
            "service": format!("{organization}?service=linked-domains"),
            "relativeRef": format!("{organization}?service=linked-domains&relativeRef=%2Fterms"),
            "versionId": format!("{organization}?versionId=1"),
            "versionTime": format!("{organization}?versionTime=9999-12-31T23:59:59Z"),
        }),
    );
    Ok(Value::Object(suite))
}

/// The proof changes with every block and is no part of a fixture.
fn without_proof(metadata: &Value) -> Value {
    let mut metadata = metadata.clone();
    if let Some(members) = metadata.as_object_mut() {
        members.remove("proof");
    }
    metadata
}

/// Asks a node over HTTP as any resolver would.
///
/// # Errors
///
/// It does not answer in time.
pub async fn resolve(node: &NodeEntry, did: &Did, accept: &str) -> anyhow::Result<HttpAnswer> {
    let address = node.http.strip_prefix("http://").context("the node has no HTTP address")?;
    let request = format!(
        "GET /1.0/identifiers/{did} HTTP/1.1\r\nHost: {address}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    );
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut text).await?;
        std::io::Result::Ok(text)
    };
    let text = tokio::time::timeout(PATIENCE, exchange)
        .await
        .with_context(|| format!("{address} did not answer"))??;
    let (head, body) = text.split_once("\r\n\r\n").context("no answer of HTTP")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    let content_type = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        .map_or_else(String::new, |(_, value)| value.to_owned());
    Ok(HttpAnswer { status, content_type, body: body.to_owned() })
}
