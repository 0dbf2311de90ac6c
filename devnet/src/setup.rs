//! Making a network: keys, organizations, genesis, and a directory for each node.
//!
//! Everything is made once, on this machine, by one person: that is what makes it a devnet. A real network's keys are
//! made by those who keep them. Nothing here is needed to *run* a node.

use crate::directory::{Devnet, NodeEntry, NodeRole, OrganizationEntry, OrganizationRole};
use crate::ports;
use anyhow::{Context as _, bail, ensure};
use sillok_client::identity::Identity;
use sillok_client::keys::KeyAlgorithm;
use sillok_ledger::{Chain, default_parameters, genesis};
use sillok_node::config::toml_with;
use sillok_node::keys::SecretKey as NodeSecret;
use sillok_node::network::NodeKey;
use sillok_node::node::Layout;
use sillok_node::signing_record::SigningRecord;
use sillok_proto::v1::{self, Action};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The network's name, and so the second part of every DID.
pub const NETWORK: &str = "devnet";
/// Most validators of a devnet: a laptop runs no more in good time.
pub const VALIDATORS_MAX: usize = 32;
/// Most observers.
pub const OBSERVERS_MAX: usize = 32;

/// What shows that a directory was being made and is not whole.
const UNFINISHED: &str = "unfinished";

/// The operators' names, in order.
const MINISTRIES: [&str; 12] = [
    "행정안전부",
    "인사혁신처",
    "국가정보자원관리원",
    "과학기술정보통신부",
    "보건복지부",
    "법무부",
    "국세청",
    "경찰청",
    "병무청",
    "교육부",
    "국토교통부",
    "고용노동부",
];
const REGISTRAR: &str = "정부24 등록센터";
const SUBMITTER: &str = "서울특별시";
const COUNTERSIGNER: &str = "개인정보보호위원회";

/// What to make.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where.
    pub directory: PathBuf,
    /// How many nodes vote.
    pub validators: usize,
    /// How many replicate only.
    pub observers: usize,
    /// The program the nodes run.
    pub node_binary: PathBuf,
}

struct Member {
    role: OrganizationRole,
    /// File name of its identity.
    file: String,
    name: String,
    identity: Identity,
    actions: Vec<Action>,
}

struct ValidatorKeys {
    node: NodeSecret,
    validator: NodeSecret,
    governance: NodeSecret,
}

/// The name of the operator with this number, from 0.
pub(crate) fn ministry(index: usize) -> String {
    MINISTRIES.get(index).map_or_else(|| format!("기관 {}", index + 1), |name| (*name).to_owned())
}

/// Makes a network in a directory that holds none.
///
/// # Errors
///
/// The directory holds something else, the figures are out of range, or the disk refused.
pub fn make(plan: &Plan) -> anyhow::Result<Devnet> {
    ensure!(
        (1..=VALIDATORS_MAX).contains(&plan.validators),
        "a devnet has 1 to {VALIDATORS_MAX} validators, not {}; four is the fewest that outlive a traitor",
        plan.validators
    );
    ensure!(
        plan.observers <= OBSERVERS_MAX,
        "a devnet has at most {OBSERVERS_MAX} observers, not {}",
        plan.observers
    );
    let directory = &prepare(&plan.directory)?;

    let mut validator_keys = Vec::with_capacity(plan.validators);
    for _ in 0..plan.validators {
        validator_keys.push(ValidatorKeys {
            node: NodeSecret::generate()?,
            validator: NodeSecret::generate()?,
            governance: NodeSecret::generate()?,
        });
    }
    // By key, as in the validator set: validator 0 of a certificate is v1.
    validator_keys.sort_by_key(|keys| keys.validator.public());
    let observer_keys =
        (0..plan.observers).map(|_| NodeSecret::generate()).collect::<Result<Vec<_>, _>>()?;

    let members = members(plan.validators)?;
    let chain = Chain::new(genesis_of(&members, &validator_keys, &observer_keys)?)?;
    let genesis_path = directory.join("genesis.json");
    let genesis_text = genesis::to_json(&chain)?;
    fs::write(&genesis_path, &genesis_text)?;

    let organizations = write_organizations(directory, &members)?;
    for (keys, index) in validator_keys.iter().zip(1..) {
        let path = directory.join("organizations").join(format!("v{index}.governance.key"));
        keys.governance.write_new(&path)?;
    }

    let nodes = validator_keys
        .iter()
        .enumerate()
        .map(|(index, keys)| {
            (NodeRole::Validator, ministry(index), &keys.node, Some(&keys.validator))
        })
        .chain(observer_keys.iter().map(|key| (NodeRole::Observer, String::new(), key, None)));
    let found = ports::find_free(3 * (plan.validators + plan.observers))?;
    let mut entries = Vec::new();
    for (place, ((role, organization, node, validator), port)) in
        nodes.zip(found.chunks_exact(3)).enumerate()
    {
        let name = match role {
            NodeRole::Validator => format!("v{}", place + 1),
            NodeRole::Observer => format!("o{}", place + 1 - plan.validators),
        };
        let home = directory.join(&name);
        let layout = Layout::new(&home);
        fs::create_dir_all(home.join("keys"))?;
        fs::write(layout.genesis(), &genesis_text)?;
        node.write_new(&layout.node_key())?;
        if let Some(validator) = validator {
            SigningRecord::create(&layout.validator(), *chain.hash(), &validator.seed())?;
        }
        entries.push(NodeEntry {
            index: place + 1,
            name,
            role,
            organization,
            process: None,
            p2p: format!("127.0.0.1:{}", port[0]),
            grpc: format!("http://127.0.0.1:{}", port[1]),
            http: format!("http://127.0.0.1:{}", port[2]),
            config: layout.config(),
            log: home.join("node.log"),
            directory: home,
            node_key: hex::encode(node.public()),
            validator_key: validator.map(|key| hex::encode(key.public())).unwrap_or_default(),
        });
    }
    for entry in &entries {
        fs::write(&entry.config, node_config(entry, &entries)?)?;
    }

    let devnet = Devnet {
        network: NETWORK.to_owned(),
        genesis: genesis_path,
        genesis_hash: chain.hash().to_string(),
        node_binary: plan.node_binary.clone(),
        nodes: entries,
        organizations,
        last_index: plan.validators + plan.observers,
        directory: directory.clone(),
    };
    devnet.write()?;
    fs::remove_file(directory.join(UNFINISHED))?;
    Ok(devnet)
}

/// An empty directory, by its absolute name. What an interrupted `make` left is cleared away, and nothing else.
fn prepare(directory: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(directory)
        .with_context(|| format!("{} cannot be made", directory.display()))?;
    let directory = directory.canonicalize()?;
    let marker = directory.join(UNFINISHED);
    if marker.exists() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_dir() { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
        }
    } else if fs::read_dir(&directory)?.next().is_some() {
        bail!("{} holds something else; name an empty or new directory", directory.display());
    }
    fs::write(marker, "")?;
    Ok(directory)
}

/// The settings of one node: its own addresses, and all the others as peers.
pub(crate) fn node_config(node: &NodeEntry, all: &[NodeEntry]) -> anyhow::Result<String> {
    node_config_with(node, all, &[])
}

/// The same, with more settings.
pub(crate) fn node_config_with(
    node: &NodeEntry,
    all: &[NodeEntry],
    more: &[(&str, &str)],
) -> anyhow::Result<String> {
    let listen = multiaddress(&node.p2p)?;
    let mut peers = Vec::with_capacity(all.len());
    for peer in all.iter().filter(|peer| peer.index != node.index) {
        let key = NodeKey::from_bytes(&hex::decode(&peer.node_key)?)?;
        peers.push(format!("{}/p2p/{key}", multiaddress(&peer.p2p)?));
    }
    let socket = |url: &str| url.strip_prefix("http://").unwrap_or(url).to_owned();
    let (grpc, http) = (socket(&node.grpc), socket(&node.http));
    let peers = peers.join(",");
    let mut settings = vec![
        ("node.name", node.name.as_str()),
        ("network.listen", listen.as_str()),
        ("network.peers", peers.as_str()),
        ("api.grpc_listen", grpc.as_str()),
        ("api.http_listen", http.as_str()),
    ];
    settings.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    settings.extend_from_slice(more);
    Ok(toml_with(&settings)?)
}

/// `127.0.0.1:port` as libp2p writes it.
fn multiaddress(address: &str) -> anyhow::Result<String> {
    let (host, port) = address.split_once(':').context("an address has a port")?;
    Ok(format!("/ip4/{host}/tcp/{port}"))
}

fn members(validators: usize) -> anyhow::Result<Vec<Member>> {
    let member = |role, file: String, name: String, actions: &[Action]| {
        Identity::organization(NETWORK, KeyAlgorithm::Ed25519, false, None, None)
            .map(|identity| Member { role, file, name, identity, actions: actions.to_vec() })
    };
    let mut members = Vec::with_capacity(validators + 3);
    for index in 0..validators {
        let file = format!("v{}", index + 1);
        members.push(member(OrganizationRole::Operator, file, ministry(index), &[])?);
    }
    for (role, name, actions) in [
        // It also issues, so that status can be tried without a vote.
        (
            OrganizationRole::Registrar,
            REGISTRAR,
            &[
                Action::Accredit,
                Action::DefineType,
                Action::Register,
                Action::Issue,
                Action::Approve,
                Action::Revoke,
                Action::Submit,
                Action::ServeStatus,
            ][..],
        ),
        // It may register too: the strongest rival there can be to a create that is still pending.
        (OrganizationRole::Submitter, SUBMITTER, &[Action::Register, Action::Submit]),
        (OrganizationRole::Countersigner, COUNTERSIGNER, &[Action::Countersign]),
    ] {
        members.push(member(role, role.as_str().to_owned(), name.to_owned(), actions)?);
    }
    Ok(members)
}

fn genesis_of(
    members: &[Member],
    validators: &[ValidatorKeys],
    observers: &[NodeSecret],
) -> anyhow::Result<v1::Genesis> {
    let mut by_digest: Vec<&Member> = members.iter().collect();
    by_digest.sort_by_key(|member| member.identity.did.digest());
    let organizations = by_digest
        .into_iter()
        .map(|member| v1::GenesisOrganization {
            name: member.name.clone(),
            document: Some(member.identity.document()),
            actions: member.actions.iter().map(|action| (*action).into()).collect(),
        })
        .collect();
    let operators = validators
        .iter()
        .zip(members)
        .map(|(keys, member)| v1::Operator {
            organization: member.identity.did.digest().to_vec(),
            validator_key: keys.validator.public().to_vec(),
            node_key: keys.node.public().to_vec(),
            governance_key: keys.governance.public().to_vec(),
            archive: true,
        })
        .collect();
    let mut observers: Vec<v1::Observer> = observers
        .iter()
        .map(|key| v1::Observer { node_key: key.public().to_vec(), archive: false })
        .collect();
    observers.sort_by(|a, b| a.node_key.cmp(&b.node_key));
    let parameters = default_parameters();
    // A heartbeat ago, so that the first block is due at once and a newcomer need not wait for it.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let start = now.saturating_sub(Duration::from_millis(parameters.heartbeat_ms));
    Ok(v1::Genesis {
        protocol_version: sillok_ledger::certificate::PROTOCOL_VERSION,
        network: NETWORK.to_owned(),
        time_ms: u64::try_from(start.as_millis())?,
        parameters: Some(parameters),
        organizations,
        operators,
        observers,
    })
}

fn write_organizations(
    directory: &Path,
    members: &[Member],
) -> anyhow::Result<Vec<OrganizationEntry>> {
    let directory = directory.join("organizations");
    fs::create_dir(&directory)?;
    let mut entries = Vec::with_capacity(members.len());
    for member in members {
        let key = directory.join(format!("{}.json", member.file));
        member.identity.create(&key)?;
        entries.push(OrganizationEntry {
            name: member.name.clone(),
            role: member.role,
            did: member.identity.did.to_string(),
            actions: member.actions.iter().map(|action| action.as_str_name().to_owned()).collect(),
            key,
        });
    }
    Ok(entries)
}
