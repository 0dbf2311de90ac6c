//! The directory of a devnet and its one index, `devnet.json`.
//!
//! Scripts and people read `devnet.json`; this crate reads nothing else to find a node. It is replaced in one rename, so
//! a reader never sees half of it. Whether a process lives is not written here but asked of the system
//! ([`crate::process`]): a file cannot know.

use crate::process::ProcessId;
use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The name of the index inside the directory.
pub const INDEX_FILE: &str = "devnet.json";

/// Whether a node votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeRole {
    /// Votes, and so is one of the set.
    Validator,
    /// Replicates and serves reads.
    Observer,
}

impl NodeRole {
    /// As it is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Validator => "validator",
            Self::Observer => "observer",
        }
    }
}

/// What an organization of the devnet is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrganizationRole {
    /// Runs a validator.
    Operator,
    /// Registers holders and submits.
    Registrar,
    /// Submits, and registers nobody.
    Submitter,
    /// Signs beside the registrar when a lost device is replaced.
    Countersigner,
}

impl OrganizationRole {
    /// As it is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Registrar => "registrar",
            Self::Submitter => "submitter",
            Self::Countersigner => "countersigner",
        }
    }
}

/// One node: where it lives and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEntry {
    /// Its number on the command line, from 1.
    pub index: usize,
    /// Its name on the command line: `v1`, `o1`.
    pub name: String,
    /// Validator or observer.
    pub role: NodeRole,
    /// The organization that operates it; empty for an observer.
    pub organization: String,
    /// The process last started; `null` when it was stopped.
    pub process: Option<ProcessId>,
    /// Peer-to-peer address, `127.0.0.1:port`.
    pub p2p: String,
    /// Where gRPC answers, `http://127.0.0.1:port`.
    pub grpc: String,
    /// Where HTTP answers, `http://127.0.0.1:port`.
    #[serde(default)]
    pub http: String,
    /// Its directory.
    pub directory: PathBuf,
    /// Its settings.
    pub config: PathBuf,
    /// Its standard output and error.
    pub log: PathBuf,
    /// Its identity among peers: an Ed25519 key in hex.
    pub node_key: String,
    /// The key it votes with, in hex; empty for an observer.
    pub validator_key: String,
}

/// One organization: who it is and where its secret key lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrganizationEntry {
    /// Its name on the ledger.
    pub name: String,
    /// What it is there for.
    pub role: OrganizationRole,
    /// Its DID.
    pub did: String,
    /// The actions it is granted, as named in the schema.
    pub actions: Vec<String>,
    /// The file of its secret key (mode 0600), which may change its DID and, if granted, submit.
    pub key: PathBuf,
}

/// Everything about a devnet that does not change by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devnet {
    /// The second part of every DID.
    pub network: String,
    /// The genesis, for clients.
    pub genesis: PathBuf,
    /// Its hash in hex.
    pub genesis_hash: String,
    /// The program the nodes run.
    pub node_binary: PathBuf,
    /// Every node, by index.
    pub nodes: Vec<NodeEntry>,
    /// Every organization of the genesis, and every operator admitted since.
    pub organizations: Vec<OrganizationEntry>,
    /// The highest number a node was ever given.
    #[serde(default)]
    pub last_index: usize,
    /// The directory of this file; not written.
    #[serde(skip)]
    pub directory: PathBuf,
}

impl Devnet {
    /// Is there a devnet in `directory`?
    #[must_use]
    pub fn exists(directory: &Path) -> bool {
        directory.join(INDEX_FILE).is_file()
    }

    /// Reads the index of `directory`.
    ///
    /// # Errors
    ///
    /// The file is missing, or is not an index.
    pub fn read(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join(INDEX_FILE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
                "there is no devnet in {}; start one with `sillok-devnet up`, or name its directory with --dir",
                directory.display()
            ),
            other => other.with_context(|| format!("{} cannot be read", path.display()))?,
        };
        let mut devnet: Self = serde_json::from_str(&text).with_context(|| {
            format!("{} is damaged; remove the directory and start anew", path.display())
        })?;
        devnet.directory = directory.to_owned();
        Ok(devnet)
    }

    /// Replaces the index in one step.
    ///
    /// # Errors
    ///
    /// The disk refused.
    pub fn write(&self) -> anyhow::Result<()> {
        let path = self.directory.join(INDEX_FILE);
        let unfinished = self.directory.join(format!("{INDEX_FILE}.{}", std::process::id()));
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        let mut file = fs::File::create(&unfinished)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)
            .with_context(|| format!("{} cannot be replaced", path.display()))
    }

    /// The node that `which` means: its number or its name.
    ///
    /// # Errors
    ///
    /// There is none; the message lists those there are.
    pub fn node(&self, which: &str) -> anyhow::Result<&NodeEntry> {
        self.nodes
            .iter()
            .find(|node| node.name == which || node.index.to_string() == which)
            .with_context(|| {
                let names: Vec<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
                format!("there is no node {which:?}; the nodes are {}", names.join(", "))
            })
    }

    /// The nodes that vote.
    pub fn validators(&self) -> impl Iterator<Item = &NodeEntry> {
        self.nodes.iter().filter(|node| node.role == NodeRole::Validator)
    }

    /// The one organization with this role that is not an operator.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn organization(&self, role: OrganizationRole) -> anyhow::Result<&OrganizationEntry> {
        self.organizations
            .iter()
            .find(|organization| organization.role == role)
            .with_context(|| format!("the devnet has no {}", role.as_str()))
    }

    /// Notes which process runs node `index` and writes the index. Another command may have written in between, so the
    /// file is read again first.
    ///
    /// # Errors
    ///
    /// The disk refused.
    pub fn set_process(&mut self, index: usize, process: Option<ProcessId>) -> anyhow::Result<()> {
        self.change(|devnet| {
            if let Some(node) = devnet.nodes.iter_mut().find(|node| node.index == index) {
                node.process = process;
            }
        })
    }

    /// Changes the index on disk, as it is there now, and this copy of it.
    ///
    /// # Errors
    ///
    /// The disk refused.
    pub fn change(&mut self, change: impl FnOnce(&mut Self)) -> anyhow::Result<()> {
        let mut newest = Self::read(&self.directory)?;
        change(&mut newest);
        newest.write()?;
        *self = newest;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devnet(directory: &Path) -> Devnet {
        let node = |index: usize, name: &str, role| NodeEntry {
            index,
            name: name.to_owned(),
            role,
            organization: String::new(),
            process: None,
            p2p: "127.0.0.1:1".to_owned(),
            grpc: "http://127.0.0.1:2".to_owned(),
            http: "http://127.0.0.1:3".to_owned(),
            directory: directory.join(name),
            config: directory.join(name).join("config.toml"),
            log: directory.join(name).join("node.log"),
            node_key: String::new(),
            validator_key: String::new(),
        };
        Devnet {
            network: "devnet".to_owned(),
            genesis: directory.join("genesis.json"),
            genesis_hash: String::new(),
            node_binary: PathBuf::from("sillok-node"),
            nodes: vec![node(1, "v1", NodeRole::Validator), node(2, "o1", NodeRole::Observer)],
            organizations: Vec::new(),
            last_index: 2,
            directory: directory.to_owned(),
        }
    }

    #[test]
    fn a_node_is_found_by_number_and_by_name() {
        let devnet = devnet(Path::new("/nowhere"));
        assert_eq!(devnet.node("2").unwrap().name, "o1");
        assert_eq!(devnet.node("v1").unwrap().index, 1);
        let refusal = devnet.node("v9").unwrap_err().to_string();
        assert!(refusal.contains("v1, o1"), "{refusal}");
    }

    #[test]
    fn the_index_is_read_as_written_and_a_changed_process_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let mut devnet = devnet(directory.path());
        devnet.write().unwrap();
        assert_eq!(Devnet::read(directory.path()).unwrap(), devnet);
        let process = ProcessId { pid: 7, started: 11 };
        devnet.set_process(2, Some(process)).unwrap();
        assert_eq!(Devnet::read(directory.path()).unwrap().nodes[1].process, Some(process));
    }

    #[test]
    fn a_directory_without_a_devnet_says_how_to_start_one() {
        let directory = tempfile::tempdir().unwrap();
        let refusal = Devnet::read(directory.path()).unwrap_err().to_string();
        assert!(refusal.contains("sillok-devnet up"), "{refusal}");
    }
}
