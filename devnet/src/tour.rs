//! The main job, step by step: who does what, what the ledger says, and what a verifier checked by itself.
//!
//! Every claim printed here was checked in this run by the client library, starting from the genesis alone; a claim that
//! does not hold ends the tour.

mod status;

use crate::console::{self, Style};
use crate::directory::Devnet;
use crate::liar::{Liar, Lie};
use crate::network;
use crate::reader::{Found, Reader};
use crate::scene::{Scene, controller, new_device, organization_key};
use anyhow::{Context as _, ensure};
use serde::Serialize;
use sillok_client::identity::{Identity, IdentityKey, document_of};
use sillok_client::keys::KeyAlgorithm::{Ed25519, P256};
use sillok_client::read::ReadError;
use sillok_did_method::{ASSERTION_METHOD, AUTHENTICATION, Did, format_datetime};
use sillok_ledger::quorum;
use sillok_proto::v1;
use std::time::{Duration, Instant};

/// One step, as it is printed.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// From 1.
    pub number: usize,
    /// What happens.
    pub title: String,
    /// What was checked.
    pub checks: Vec<String>,
    /// How long it took.
    pub milliseconds: u64,
}

/// The whole tour.
#[derive(Debug, Clone, Serialize)]
pub struct TourReport {
    /// Every step.
    pub steps: Vec<Step>,
    /// How long all took.
    pub milliseconds: u64,
    /// Commands to go on with.
    pub next: Vec<String>,
}

/// Prints steps as they are done.
struct Guide {
    style: Style,
    quiet: bool,
    steps: Vec<Step>,
    began: Instant,
}

impl Guide {
    fn done(&mut self, title: &str, checks: Vec<String>) {
        let took = self.began.elapsed();
        let number = self.steps.len() + 1;
        if !self.quiet {
            let mark = self.style.good("✓");
            let took = self.style.dim(console::duration(took));
            console::line(format!("{mark} {number:>2}  {}  {took}", self.style.bold(title)));
            for check in &checks {
                console::line(format!("       {check}"));
            }
        }
        self.steps.push(Step {
            number,
            title: title.to_owned(),
            checks,
            milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        });
        self.began = Instant::now();
    }
}

/// Who appears in the tour.
struct Cast {
    scene: Scene,
    office: Identity,
    /// Holders: the first two stay, the third is deactivated.
    holders: Vec<Identity>,
}

/// A short form of a DID for people.
fn short(did: &Did) -> String {
    let text = did.to_string();
    let (head, tail) = (text.len().min(21), text.len().saturating_sub(5));
    format!("{}…{}", &text[..head], &text[tail..])
}

fn proof_checks(found: &Found) -> Vec<String> {
    vec![
        format!(
            "certificate: {} of {} validators signed header {}, {} must",
            found.signatures,
            found.validators,
            found.height,
            quorum(found.validators)
        ),
        format!(
            "proof: {} hashes lead from the DID's head to the state root; the document has the hash in the head",
            found.siblings
        ),
        format!(
            "freshness: the header is {} old",
            console::duration(Duration::from_millis(found.age_ms))
        ),
    ]
}

/// Takes the tour of a running devnet.
///
/// # Errors
///
/// A claim did not hold.
pub async fn take(devnet: &mut Devnet, quiet: bool) -> anyhow::Result<TourReport> {
    let scene = Scene::of(devnet)?;
    let began = Instant::now();
    let mut guide = Guide { style: Style::detect(), quiet, steps: Vec::new(), began };
    let mut cast = enter(devnet, scene, &mut guide).await?;
    resolve(devnet, &cast, &mut guide).await?;
    rotate(devnet, &mut cast, &mut guide).await?;
    replace_device(devnet, &mut cast, &mut guide).await?;
    lose_device(devnet, &mut cast, &mut guide).await?;
    deactivate(devnet, &cast, &mut guide).await?;
    Box::pin(status::tell(devnet, &cast, &mut guide)).await?;
    catch_a_liar(devnet, &cast, &mut guide).await?;
    survive(devnet, &cast, &mut guide).await?;
    let next = next_commands(&cast.holders[0].did);
    Ok(TourReport {
        steps: guide.steps,
        milliseconds: u64::try_from(began.elapsed().as_millis())?,
        next,
    })
}

/// The network, an organization and its holders.
async fn enter(devnet: &Devnet, scene: Scene, guide: &mut Guide) -> anyhow::Result<Cast> {
    let reader = first_reader(devnet)?;
    let status = reader.status().await?;
    let validators = devnet.validators().count();
    guide.done(
        "A network of ministries",
        vec![
            format!(
                "{validators} validators, one for each operator; {} make a quorum",
                quorum(validators)
            ),
            format!(
                "network {:?}, genesis {}…, height {}",
                devnet.network,
                &devnet.genesis_hash[..16],
                status.height
            ),
        ],
    );

    let (authority, countersigner) = (scene.registrar.did.clone(), scene.countersigner.did.clone());
    let office = Identity::organization(
        &devnet.network,
        Ed25519,
        false,
        Some(authority),
        Some(countersigner),
    )?;
    let at = scene.commit(&scene.create(&[&office])?, 0).await?;
    let found = reader.resolve_from(&office.did, at.height).await?;
    ensure!(found.document == Some(office.document()), "the office has another document");
    guide.done(
        "An organization gets its DID",
        vec![
            format!("{} committed at height {}, read back with proof", short(&office.did), at.height),
            "three keys: one to change the DID, one to submit, one to sign credentials; each proved possession".to_owned(),
        ],
    );

    let holders = vec![
        scene.holder(Ed25519, false)?,
        scene.holder(P256, true)?,
        scene.holder(Ed25519, false)?,
    ];
    let all: Vec<&Identity> = holders.iter().collect();
    let at = scene.commit(&scene.create(&all)?, 1).await?;
    for holder in &holders {
        let found = reader.resolve_from(&holder.did, at.height).await?;
        ensure!(found.document == Some(holder.document()), "a holder has another document");
    }
    guide.done(
        "Its holders get theirs",
        vec![
            format!(
                "{} DIDs in one transaction, all or nothing, at height {}",
                holders.len(),
                at.height
            ),
            "Ed25519 and P-256 device keys; no name, no number, no text in the document".to_owned(),
        ],
    );
    Ok(Cast { scene, office, holders })
}

/// A verifier that trusts no node, and then all nodes.
async fn resolve(devnet: &Devnet, cast: &Cast, guide: &mut Guide) -> anyhow::Result<()> {
    let did = &cast.holders[0].did;
    let last = devnet.nodes.last().context("the devnet has no node")?;
    let reader = Reader::fresh(devnet, &last.grpc)?;
    let found = reader.resolve(did).await?;
    let mut checks = vec![format!(
        "one node ({}), which it does not trust; it holds the genesis and nothing else",
        last.name
    )];
    checks.extend(proof_checks(&found));
    guide.done("A verifier resolves a DID and checks the answer itself", checks);

    let mut seen = Vec::new();
    for node in &devnet.nodes {
        let reader = Reader::fresh(devnet, &node.grpc)?;
        reader.wait_for(found.head.height).await?;
        let other = reader.resolve(did).await?;
        ensure!(other.document == found.document, "{} has another document", node.name);
        ensure!(other.head == found.head, "{} has another head", node.name);
        seen.push(node.name.clone());
    }
    guide.done(
        "Every node gives the same verified document",
        vec![format!(
            "{}: version {}, document {}…",
            seen.join(", "),
            found.head.version,
            &found.document_hash()[..16]
        )],
    );
    Ok(())
}

/// The organization rotates the key it signs credentials with.
async fn rotate(devnet: &Devnet, cast: &mut Cast, guide: &mut Guide) -> anyhow::Result<()> {
    let reader = first_reader(devnet)?;
    let found = reader.resolve(&cast.office.did).await?;
    let before = found.document.clone().context("the office has no document")?;
    let new = IdentityKey::generate(P256, ASSERTION_METHOD | AUTHENTICATION)?;
    let mut keys: Vec<v1::BoundKey> = before
        .keys
        .iter()
        .filter(|bound| bound.relationships & ASSERTION_METHOD == 0)
        .cloned()
        .collect();
    keys.push(new.bound());
    cast.office.keys.push(new);
    let after = document_of(keys, Vec::new());
    let update = cast.scene.update(&cast.office, &found.head, &before, after.clone())?;
    let at = cast.scene.commit(&update, 2).await?;
    let now = reader.resolve_from(&cast.office.did, at.height).await?;
    ensure!(now.document == Some(after), "the update is not the document");
    let old = reader.resolve_version(&cast.office.did, 1).await?;
    ensure!(old.document == Some(before.clone()), "version 1 has changed");
    let stale = cast.scene.update(&cast.office, &found.head, &before, before.clone());
    let refused = cast.scene.refusal(&stale?, 0).await?;
    guide.done(
        "Keys are rotated",
        vec![
            format!(
                "version {} at height {}: a P-256 key signs from now on",
                now.head.version, at.height
            ),
            "version 1 is still proved from today's head: an old signature can be checked for ever"
                .to_owned(),
            format!("the same change again is refused: {}", refused.code),
        ],
    );
    Ok(())
}

/// A device is replaced by its own key.
async fn replace_device(devnet: &Devnet, cast: &mut Cast, guide: &mut Guide) -> anyhow::Result<()> {
    let reader = first_reader(devnet)?;
    let scene = &cast.scene;
    let holder = &cast.holders[0];
    let found = reader.resolve(&holder.did).await?;
    let document = found.document.clone().context("the holder has no document")?;
    let (old, new) = (holder.keys[0].clone(), new_device(Ed25519)?);
    let change = scene.set_device(holder, &found.head, &new, &[controller(holder, &document)?])?;
    let at = scene.commit(&change, 0).await?;
    let now = reader.resolve_from(&holder.did, at.height).await?;
    ensure!(now.keys() == vec![new.secret.public().clone()], "the new key is not the only one");

    let back = scene.set_device(holder, &now.head, &old, &[&new.secret])?;
    let refused = scene.refusal(&back, 3).await?;
    ensure!(refused.code == "KEY_REUSE", "the old key was refused as {}", refused.code);
    guide.done(
        "A device is replaced by its own key",
        vec![
            format!("old key out and new key in at height {}: at no height two", at.height),
            format!("the old key never returns, not even to its own DID: {}", refused.code),
        ],
    );
    cast.holders[0].keys.push(new);
    Ok(())
}

/// A lost device: taken away by the authority, set again with the countersigner.
async fn lose_device(devnet: &Devnet, cast: &mut Cast, guide: &mut Guide) -> anyhow::Result<()> {
    let reader = first_reader(devnet)?;
    let scene = &cast.scene;
    let holder = &cast.holders[1];
    let at = scene.commit(&scene.take_device_away(holder)?, 1).await?;
    let gone = reader.resolve_from(&holder.did, at.height).await?;
    ensure!(gone.keys().is_empty(), "the lost device still has a key");
    guide.done(
        "A device is lost: the registering authority takes it away",
        vec![format!(
            "no device from height {} on; the authority alone is enough to end a right",
            at.height
        )],
    );

    let new = new_device(P256)?;
    let registrar = organization_key(&scene.registrar)?;
    let alone = scene.set_device(holder, &gone.head, &new, &[registrar])?;
    let refused = scene.refusal(&alone, 2).await?;
    let together = [registrar, organization_key(&scene.countersigner)?];
    let at = scene.commit(&scene.set_device(holder, &gone.head, &new, &together)?, 2).await?;
    let now = reader.resolve_from(&holder.did, at.height).await?;
    ensure!(now.keys() == vec![new.secret.public().clone()], "the new device is not there");
    let mut checks = vec![
        format!("the authority alone may not: {}", refused.code),
        "with the countersigner it may, and the history says so:".to_owned(),
    ];
    for version in reader.history(&holder.did).await? {
        checks.push(format!(
            "  version {} at height {}, {}: {}",
            version.version,
            version.height,
            format_datetime(version.time_ms),
            actor(version.actor())
        ));
    }
    guide.done("Authority and countersigner together set a new one", checks);
    cast.holders[1].keys.push(new);
    Ok(())
}

/// Who wrote a version, in words.
#[must_use]
pub const fn actor(actor: v1::Actor) -> &'static str {
    match actor {
        v1::Actor::Controller => "its own key",
        v1::Actor::Authority => "the registering authority",
        v1::Actor::AuthorityAndCountersigner => "the registering authority and the countersigner",
        v1::Actor::Unspecified => "unknown",
    }
}

/// The last operation of a DID.
async fn deactivate(devnet: &Devnet, cast: &Cast, guide: &mut Guide) -> anyhow::Result<()> {
    let reader = first_reader(devnet)?;
    let (scene, holder) = (&cast.scene, &cast.holders[2]);
    let found = reader.resolve(&holder.did).await?;
    let document = found.document.clone().context("the holder has no document")?;
    let at = scene.commit(&scene.deactivate(holder, &found.head, &document)?, 0).await?;
    let now = reader.resolve_from(&holder.did, at.height).await?;
    ensure!(now.head.deactivated && now.document.is_none(), "the DID is not deactivated");
    let device = new_device(Ed25519)?;
    let again = scene.set_device(holder, &now.head, &device, &[controller(holder, &document)?])?;
    let refused = scene.refusal(&again, 1).await?;
    ensure!(refused.code == "DEACTIVATED", "it was refused as {}", refused.code);
    guide.done(
        "A DID is deactivated",
        vec![
            format!("proved deactivated from height {} on; its past stays readable", at.height),
            format!("nothing brings it back: {}", refused.code),
        ],
    );
    Ok(())
}

/// A node lies, and is caught.
async fn catch_a_liar(devnet: &Devnet, cast: &Cast, guide: &mut Guide) -> anyhow::Result<()> {
    let honest = &devnet.nodes.first().context("the devnet has no node")?.grpc;
    let mut checks = Vec::new();
    for lie in [Lie::ForgedDocument, Lie::WithheldEntry, Lie::OtherSet] {
        let liar = Liar::start(lie, honest, "127.0.0.1:0".parse()?).await?;
        let told = Reader::fresh(devnet, &liar.url)?.resolve(&cast.holders[0].did).await;
        let Err(caught) = told else { anyhow::bail!("the lie {lie} was believed") };
        checks.push(format!("{lie}: {}", plainly(&caught)));
    }
    guide.done("A lying node is caught", checks);
    Ok(())
}

/// What was caught, for people: the reason without the address, and hashes as far as eyes read them.
fn plainly(error: &anyhow::Error) -> String {
    let reason = match error.downcast_ref::<ReadError>() {
        Some(ReadError::Verify { source, .. }) => source.to_string(),
        _ => error.to_string(),
    };
    let words = reason.split(' ').map(|word| {
        let digits = word.trim_end_matches([',', ';', '.']);
        if digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            format!("{}…{}", &digits[..8], &word[64..])
        } else {
            word.to_owned()
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A validator dies; the network writes on; it comes back.
async fn survive(devnet: &mut Devnet, cast: &Cast, guide: &mut Guide) -> anyhow::Result<()> {
    let Some(victim) = devnet.validators().last().cloned() else { return Ok(()) };
    if devnet.validators().count() < 4 {
        guide.done(
            "A validator is killed: left out",
            vec!["fewer than four validators do not outlive the loss of one".to_owned()],
        );
        return Ok(());
    }
    network::kill(devnet, victim.index)?;
    let holder = cast.scene.holder(Ed25519, false)?;
    let at = cast.scene.commit(&cast.scene.create(&[&holder])?, 0).await?;
    let reader = first_reader(devnet)?;
    let found = reader.resolve_from(&holder.did, at.height).await?;
    ensure!(found.document == Some(holder.document()), "the new holder has another document");
    guide.done(
        &format!("One validator is killed ({}); writing goes on", victim.name),
        vec![format!(
            "a new DID at height {}, certified by {} of {}",
            at.height, found.signatures, found.validators
        )],
    );

    network::restart(devnet, victim.index).await?;
    let reader = Reader::fresh(devnet, &victim.grpc)?;
    let found = reader.resolve_from(&holder.did, at.height).await?;
    ensure!(found.document == Some(holder.document()), "the restarted node has another document");
    guide.done(
        "It is started again and catches up",
        vec![format!("{} proves the DID that was written while it was dead", victim.name)],
    );
    Ok(())
}

fn first_reader(devnet: &Devnet) -> anyhow::Result<Reader> {
    let node = devnet.nodes.first().context("the devnet has no node")?;
    Reader::fresh(devnet, &node.grpc)
}

fn next_commands(did: &Did) -> Vec<String> {
    [
        "eval \"$(sillok-devnet env)\"      # lets sillok talk to this network",
        &format!("sillok did resolve {did}"),
        &format!("sillok did history {did}"),
        "sillok-devnet status",
        "sillok-devnet kill 2  &&  sillok-devnet restart 2",
        "sillok-devnet load --dids 1000",
        "sillok-devnet liar --list",
        "sillok-devnet kill-test --kills 10",
        "sillok-devnet down --wipe",
    ]
    .into_iter()
    .map(str::to_owned)
    .collect()
}

/// The command.
///
/// # Errors
///
/// A claim did not hold.
pub async fn run(devnet: &mut Devnet, json: bool) -> anyhow::Result<()> {
    let report = take(devnet, json).await?;
    if json {
        return console::json(&report);
    }
    let style = Style::detect();
    console::line("");
    let took = console::duration(Duration::from_millis(report.milliseconds));
    console::line(style.bold(format!("{} steps in {took}. What to try next:", report.steps.len())));
    for command in report.next {
        console::line(format!("  {command}"));
    }
    Ok(())
}
