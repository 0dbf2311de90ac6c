//! Members that come and go: a new operator with a node of its own, one that leaves, one with a new key, an observer.
//!
//! Everything is decided as on a real network: proposed and approved with governance keys, joined by the new validator
//! key. Only that all keys lie on one machine is a devnet's. `devnet.json` follows each change.

use crate::clock_ms;
use crate::directory::{Devnet, NodeEntry, NodeRole, OrganizationEntry, OrganizationRole};
use crate::network::{self, UP_PATIENCE};
use crate::process::ProcessState;
use crate::scene::Scene;
use crate::{ports, reader, setup, status};
use anyhow::{Context as _, bail, ensure};
use sillok_client::identity::Identity;
use sillok_client::keys::{KeyAlgorithm, SecretKey};
use sillok_client::member::Standing;
use sillok_client::read::Client;
use sillok_client::trust::read_genesis;
use sillok_client::write::{Parties, WriteError};
use sillok_did_method::{Did, proposal_hash};
use sillok_ledger::MEMBERSHIP_DELAY;
use sillok_node::keys::SecretKey as NodeSecret;
use sillok_node::node::Layout;
use sillok_node::signing_record::SigningRecord;
use sillok_proto::{Hash, v1};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use v1::change::Change;

/// How long a proposal of a devnet can be approved and joined under, in milliseconds.
const PROPOSAL_LIFE_MS: u64 = 3_600_000;
/// How often a condition is looked at again.
const POLL: Duration = Duration::from_millis(50);

/// A change that was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The proposal.
    pub proposal: Hash,
    /// The height that executed it.
    pub height: u64,
}

/// A validator key that was seated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seated {
    /// The node's name.
    pub node: String,
    /// Its number.
    pub index: usize,
    /// The first height it votes at.
    pub from_height: u64,
}

/// An operator of a devnet: its DID and its governance key.
#[derive(Debug, Clone)]
pub struct Governor {
    /// The organization.
    pub did: Did,
    /// Its governance key.
    pub key: SecretKey,
}

/// A client of every node whose process runs. It knows the genesis and nothing else.
///
/// # Errors
///
/// No node runs.
pub fn client(devnet: &Devnet) -> anyhow::Result<Client> {
    let alive: Vec<&str> = devnet
        .nodes
        .iter()
        .filter(|node| node.process.is_some_and(|process| process.state() == ProcessState::Alive))
        .map(|node| node.grpc.as_str())
        .collect();
    ensure!(!alive.is_empty(), "no node runs; start them with `sillok-devnet up`");
    Ok(Client::in_memory(&alive, read_genesis(&devnet.genesis)?)?)
}

/// Who brings governance transactions: the registrar, which may submit.
///
/// # Errors
///
/// Its key cannot be read.
pub fn submitter(devnet: &Devnet) -> anyhow::Result<Identity> {
    Ok(Identity::load(&devnet.organization(OrganizationRole::Registrar)?.key)?)
}

fn governance_path(devnet: &Devnet, file: &str) -> PathBuf {
    devnet.directory.join("organizations").join(format!("{file}.governance.key"))
}

/// The operator of a validator, by the node's name.
///
/// # Errors
///
/// Its files cannot be read.
pub fn governor(devnet: &Devnet, node: &str) -> anyhow::Result<Governor> {
    let identity = devnet.directory.join("organizations").join(format!("{node}.json"));
    let did = Identity::load(&identity)
        .with_context(|| format!("{node} is no validator of this devnet"))?
        .did;
    Ok(Governor { did, key: SecretKey::read_file(&governance_path(devnet, node))? })
}

/// The operators that are seated now, without `without` as long as others are left to name.
async fn seated(
    devnet: &Devnet,
    client: &Client,
    without: Option<&Did>,
) -> anyhow::Result<Vec<Governor>> {
    let members = client.members().await?;
    let seated = members.even_if_stale().seated();
    let mut governors = Vec::new();
    for entry in devnet.organizations.iter().filter(|one| one.role == OrganizationRole::Operator) {
        let file = entry.key.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let governor = governor(devnet, file)?;
        if seated.contains(governor.did.digest().0.as_slice()) {
            governors.push(governor);
        }
    }
    // Nobody need approve its own end, but may.
    governors.sort_by_key(|one| without == Some(&one.did));
    Ok(governors)
}

/// Proposes `change` and lets one seated operator after another approve it until it is decided.
///
/// # Errors
///
/// A rule refuses it, with its code; or too few governance keys are here.
pub async fn decide(devnet: &Devnet, change: Change) -> anyhow::Result<Decision> {
    let client = client(devnet)?;
    let brings = submitter(devnet)?;
    let network = client.chain().network().to_owned();
    let target = match &change {
        Change::RemoveOperator(remove) => Hash::from_slice(&remove.organization),
        Change::ReplaceOperator(operator) => Hash::from_slice(&operator.organization),
        _ => None,
    };
    let target = target.map(|digest| Did::new(&network, digest)).transpose()?;
    let governors = seated(devnet, &client, target.as_ref()).await?;
    let proposal = v1::Proposal {
        expires_ms: clock_ms() + PROPOSAL_LIFE_MS,
        change: Some(v1::Change { change: Some(change) }),
    };
    let hash = proposal_hash(&client.genesis_hash(), &proposal);
    let mut first = Some(proposal);
    for governor in &governors {
        match first.take() {
            Some(proposal) => {
                client.propose(&governor.did, &governor.key, proposal, &brings).await?;
            }
            None => {
                client.approve(&governor.did, &governor.key, &hash, &brings).await?;
            }
        }
        let answer = client.proposal(&hash).await?;
        let proposed = answer.even_if_stale().as_ref().context("the proposal is not there")?;
        if proposed.record.executed_height != 0 {
            return Ok(Decision { proposal: hash, height: proposed.record.executed_height });
        }
    }
    bail!("{} operators approved, and proposal {hash} is not decided", governors.len())
}

/// Waits until every running validator but `except` is at `height`.
async fn wait_for_height(devnet: &Devnet, except: usize, height: u64) -> anyhow::Result<()> {
    let others = Devnet {
        nodes: devnet.nodes.iter().filter(|node| node.index != except).cloned().collect(),
        ..devnet.clone()
    };
    network::wait_for_height(&others, height, UP_PATIENCE).await
}

/// Writes the directory of a node that joins a running network, and its entry in the index.
fn make_node(
    devnet: &mut Devnet,
    role: NodeRole,
    organization: &str,
    node_key: &NodeSecret,
    validator_key: Option<&NodeSecret>,
) -> anyhow::Result<NodeEntry> {
    let prefix = if role == NodeRole::Validator { 'v' } else { 'o' };
    let name = free_name(devnet, prefix);
    // Numbers are not given again: a script that holds one must not mean another node by it.
    let index =
        devnet.nodes.iter().map(|node| node.index).max().unwrap_or(0).max(devnet.last_index) + 1;
    let [p2p, grpc, http] = ports::find_free(3)?[..] else { bail!("three ports are not three") };
    let home = devnet.directory.join(&name);
    let layout = Layout::new(&home);
    fs::create_dir_all(home.join("keys"))?;
    fs::copy(&devnet.genesis, layout.genesis())?;
    node_key.write_new(&layout.node_key())?;
    if let Some(key) = validator_key {
        SigningRecord::create(&layout.validator(), reader::genesis_hash(devnet)?, &key.seed())?;
    }
    let entry = NodeEntry {
        index,
        name,
        role,
        organization: organization.to_owned(),
        process: None,
        p2p: format!("127.0.0.1:{p2p}"),
        grpc: format!("http://127.0.0.1:{grpc}"),
        http: format!("http://127.0.0.1:{http}"),
        config: layout.config(),
        log: home.join("node.log"),
        directory: home,
        node_key: hex::encode(node_key.public()),
        validator_key: validator_key.map(|key| hex::encode(key.public())).unwrap_or_default(),
    };
    devnet.change(|devnet| {
        devnet.last_index = index;
        devnet.nodes.push(entry.clone());
    })?;
    fs::write(&entry.config, setup::node_config(&entry, &devnet.nodes)?)?;
    Ok(entry)
}

/// The first name with this letter that no node and no file has, or had.
fn free_name(devnet: &Devnet, prefix: char) -> String {
    let taken = |name: &str| {
        devnet.directory.join(name).exists()
            || devnet.directory.join("organizations").join(format!("{name}.json")).exists()
    };
    (1..)
        .map(|number: usize| format!("{prefix}{number}"))
        .find(|name| !taken(name))
        .unwrap_or_default()
}

/// An operator that was admitted, whose node is made and does not run yet.
#[derive(Debug)]
pub struct Admitted {
    /// Its node.
    pub node: NodeEntry,
    /// How it was decided.
    pub decision: Decision,
}

/// Registers a new organization, makes the keys of an operator, and has it admitted. Its node is not started.
///
/// # Errors
///
/// A rule refuses it.
pub async fn admit(devnet: &mut Devnet) -> anyhow::Result<Admitted> {
    let client = client(devnet)?;
    let registrar = submitter(devnet)?;
    let authority = Some(registrar.did.clone());
    let identity =
        Identity::organization(&devnet.network, KeyAlgorithm::Ed25519, false, authority, None)?;
    let file = free_name(devnet, 'v');
    let name = setup::ministry(
        devnet.organizations.iter().filter(|one| one.role == OrganizationRole::Operator).count(),
    );
    let path = devnet.directory.join("organizations").join(format!("{file}.json"));
    let [node, validator, governance] =
        [NodeSecret::generate()?, NodeSecret::generate()?, NodeSecret::generate()?];
    client.create(&identity, &Parties::submitter(&registrar)).await?;
    governance.write_new(&governance_path(devnet, &file))?;
    let change = Change::AdmitOperator(v1::Operator {
        organization: identity.did.digest().to_vec(),
        validator_key: validator.public().to_vec(),
        node_key: node.public().to_vec(),
        governance_key: governance.public().to_vec(),
        archive: true,
    });
    let decision = decide(devnet, change).await?;
    let node = make_node(devnet, NodeRole::Validator, &name, &node, Some(&validator))?;
    ensure!(node.name == file, "another command made {} meanwhile", node.name);
    identity.create(&path)?;
    let did = identity.did.to_string();
    let entry = OrganizationEntry {
        name,
        role: OrganizationRole::Operator,
        did,
        actions: Vec::new(),
        key: path,
    };
    devnet.change(|devnet| devnet.organizations.push(entry.clone()))?;
    Ok(Admitted { node, decision })
}

/// Starts the node of an approved validator key, waits until it has caught up, joins, and waits until it votes.
///
/// # Errors
///
/// It does not come so far in time.
pub async fn start_and_join(devnet: &mut Devnet, index: usize) -> anyhow::Result<Seated> {
    network::start(devnet, index)?;
    network::wait_until_caught_up(devnet, index, UP_PATIENCE).await?;
    let seated = join(devnet, index).await?;
    wait_until_it_votes(devnet, index, seated.from_height).await?;
    Ok(seated)
}

/// Seats the validator key of a node, by that key.
///
/// # Errors
///
/// A rule refuses it.
pub async fn join(devnet: &Devnet, index: usize) -> anyhow::Result<Seated> {
    let node = devnet.node(&index.to_string())?.clone();
    let key = validator_key(&node.directory)?;
    let client = client(devnet)?;
    let did = governor(devnet, &node.name)?.did;
    let committed = client.join(&did, &key, &submitter(devnet)?).await?;
    let from_height = committed.receipt.header.height() + MEMBERSHIP_DELAY;
    Ok(Seated { node: node.name, index, from_height })
}

/// The validator key in a node's directory.
///
/// # Errors
///
/// There is none.
pub fn validator_key(directory: &Path) -> anyhow::Result<SecretKey> {
    Ok(SecretKey::read_file(&Layout::new(directory).validator().join("validator.key"))?)
}

/// Waits until a node has its own key in the set of `height` or a later one. An idle network makes few blocks, so this
/// writes where nobody else does.
///
/// # Errors
///
/// It is not there in time.
pub async fn wait_until_it_votes(devnet: &Devnet, index: usize, height: u64) -> anyhow::Result<()> {
    nudge(devnet, height.saturating_sub(1)).await?;
    let node = devnet.node(&index.to_string())?;
    let deadline = Instant::now() + UP_PATIENCE;
    loop {
        match status::ask(&node.grpc).await {
            // It works on the height after its tip.
            Ok(status)
                if status.signing() == v1::Signing::Seated && status.height + 1 >= height =>
            {
                return Ok(());
            }
            other => ensure!(
                Instant::now() < deadline,
                "{} does not vote at height {height}: {other:?}",
                node.name
            ),
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Writes until the network is at `height`: a heartbeat would bring it there too, later.
async fn nudge(devnet: &Devnet, height: u64) -> anyhow::Result<()> {
    let scene = Scene::of(devnet)?;
    let deadline = Instant::now() + UP_PATIENCE;
    while status::highest(devnet).await.unwrap_or(0) < height {
        ensure!(Instant::now() < deadline, "the network does not reach height {height}");
        let holder = scene.holder(KeyAlgorithm::Ed25519, false)?;
        scene.commit(&scene.create(&[&holder])?, 0).await?;
    }
    Ok(())
}

/// Adds a validator: a new organization, admitted by the others, with a node that syncs, joins and votes.
///
/// # Errors
///
/// A rule refuses it, or the node does not come up.
pub async fn add_validator(devnet: &mut Devnet) -> anyhow::Result<Seated> {
    let admitted = admit(devnet).await?;
    start_and_join(devnet, admitted.node.index).await
}

/// Removes an operator: the others decide, its votes stop counting, and its node is stopped and forgotten. Its
/// directory stays.
///
/// # Errors
///
/// A rule refuses it: `NO_QUORUM_LEFT` where too few would be left that vote.
pub async fn remove_validator(devnet: &mut Devnet, index: usize) -> anyhow::Result<Decision> {
    let node = devnet.node(&index.to_string())?.clone();
    ensure!(node.role == NodeRole::Validator, "{} is an observer", node.name);
    let organization = governor(devnet, &node.name)?.did.digest().to_vec();
    let decision =
        decide(devnet, Change::RemoveOperator(v1::RemoveOperator { organization })).await?;
    // It may be needed until then: its votes count up to the height before.
    nudge(devnet, decision.height + MEMBERSHIP_DELAY - 1).await?;
    wait_for_height(devnet, index, decision.height + MEMBERSHIP_DELAY - 1).await?;
    network::stop(devnet, index)?;
    devnet.change(|devnet| devnet.nodes.retain(|one| one.index != index))?;
    Ok(decision)
}

/// Gives a validator a new key, as its operator alone may once a day: stops the node, destroys the old key, makes a
/// fresh one with a record of its own, names it, starts, joins.
///
/// # Errors
///
/// A rule refuses it, or the node does not come back.
pub async fn rekey_validator(devnet: &mut Devnet, index: usize) -> anyhow::Result<Seated> {
    name_new_key(devnet, index).await?;
    start_and_join(devnet, index).await
}

/// Gives a validator a new key without missing it: the new key is made, named and joined beside the old one, and the
/// node changes over when the old one's votes count no more.
///
/// # Errors
///
/// A rule refuses it, or the node does not come back.
pub async fn rekey_in_place(devnet: &mut Devnet, index: usize) -> anyhow::Result<Seated> {
    let node = devnet.node(&index.to_string())?.clone();
    let governor = governor(devnet, &node.name)?;
    let brings = submitter(devnet)?;
    let new = NodeSecret::generate()?;
    let next = node.directory.join("validator.next");
    SigningRecord::create(&next, reader::genesis_hash(devnet)?, &new.seed())?;
    let client = client(devnet)?;
    client.rekey(&governor.did, &governor.key, &new.public(), &brings).await?;
    let key = SecretKey::from_bytes(KeyAlgorithm::Ed25519, &new.seed())?;
    let committed = client.join(&governor.did, &key, &brings).await?;
    let from_height = committed.receipt.header.height() + MEMBERSHIP_DELAY;
    // The running node changes over by itself: nothing here may be moved or removed meanwhile.
    devnet.change(|devnet| {
        for one in devnet.nodes.iter_mut().filter(|one| one.index == index) {
            one.validator_key = hex::encode(new.public());
        }
    })?;
    wait_until_it_votes(devnet, index, from_height).await?;
    Ok(Seated { node: node.name, index, from_height })
}

/// The first half of [`rekey_validator`]: the node is stopped and its new key named, not joined.
///
/// # Errors
///
/// A rule refuses it.
pub async fn name_new_key(devnet: &mut Devnet, index: usize) -> anyhow::Result<()> {
    let node = devnet.node(&index.to_string())?.clone();
    ensure!(node.role == NodeRole::Validator, "{} is an observer", node.name);
    let governor = governor(devnet, &node.name)?;
    let client = client(devnet)?;
    let new = NodeSecret::generate()?;
    network::stop(devnet, index)?;
    // Asked before the old key is gone: the once-a-day rule may say no.
    let named =
        client.rekey(&governor.did, &governor.key, &new.public(), &submitter(devnet)?).await;
    if let Err(error) = named {
        network::start(devnet, index)?;
        return Err(error.into());
    }
    let directory = Layout::new(&node.directory).validator();
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    SigningRecord::create(&directory, reader::genesis_hash(devnet)?, &new.seed())?;
    devnet.change(|devnet| {
        for one in devnet.nodes.iter_mut().filter(|one| one.index == index) {
            one.validator_key = hex::encode(new.public());
        }
    })
}

/// Adds an observer: its node key is admitted, then it starts and catches up.
///
/// # Errors
///
/// A rule refuses it, or the node does not come up.
pub async fn add_observer(devnet: &mut Devnet) -> anyhow::Result<NodeEntry> {
    let key = NodeSecret::generate()?;
    let observer = v1::Observer { node_key: key.public().to_vec(), archive: false };
    decide(devnet, Change::AdmitObserver(observer)).await?;
    let node = make_node(devnet, NodeRole::Observer, "", &key, None)?;
    network::start(devnet, node.index)?;
    network::wait_until_caught_up(devnet, node.index, UP_PATIENCE).await?;
    Ok(devnet.node(&node.index.to_string())?.clone())
}

/// The code of the rule that refused, if one did.
#[must_use]
pub fn refusal(error: &anyhow::Error) -> Option<String> {
    let write = error.downcast_ref::<WriteError>()?;
    write.problem().map(|problem| problem.code.clone())
}

/// For each validator of the index, whether it is seated, as the ledger proves it.
///
/// # Errors
///
/// No node answers.
pub async fn standings(devnet: &Devnet) -> anyhow::Result<Vec<(usize, String)>> {
    let answer = client(devnet)?.members().await?;
    let members = answer.even_if_stale();
    let mut standings = Vec::new();
    for node in devnet.nodes.iter().filter(|node| node.role == NodeRole::Validator) {
        let key = hex::decode(&node.validator_key)?;
        let standing = match members.by_validator_key(&key) {
            None => "removed".to_owned(),
            Some(member)
                if member.pending(answer.time_ms()).is_some_and(|one| one.validator_key == key) =>
            {
                "pending".to_owned()
            }
            Some(member) => match member.standing(answer.height(), answer.time_ms()) {
                Standing::Votes => "seated".to_owned(),
                Standing::VotesFrom(height) => format!("from {height}"),
                Standing::MayJoin(_) => "pending".to_owned(),
                Standing::Lapsed(_) => "lapsed".to_owned(),
            },
        };
        standings.push((node.index, standing));
    }
    Ok(standings)
}
