//! A network in memory, its files, and `sillok` as a process in their directory.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]
#![allow(dead_code, reason = "each test uses what it needs")]

use serde_json::Value;
use sillok_client::identity::Identity;
use sillok_client::testing::{Door, Lie, MemoryNetwork, Ministries, serve};
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

pub(crate) fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A directory with the files of a network, and its door.
pub(crate) struct World {
    pub(crate) directory: TempDir,
    pub(crate) door: Door,
    pub(crate) ministries: Ministries,
}

pub(crate) struct Run {
    pub(crate) exit: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }

    pub(crate) fn expect(self, exit: i32) -> Self {
        assert_eq!(self.exit, exit, "{}{}", self.stdout, self.stderr);
        self
    }
}

pub(crate) async fn world_with(lie: Lie) -> World {
    let (mut network, ministries) = MemoryNetwork::new("test", now_ms() - 5_000).unwrap();
    network.commit(now_ms(), &[]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let genesis = sillok_ledger::genesis::to_json(network.chain()).unwrap();
    fs::write(directory.path().join("genesis.json"), genesis).unwrap();
    ministries.registrar.create(&directory.path().join("registrar.json")).unwrap();
    ministries.countersigner.create(&directory.path().join("ministry.json")).unwrap();
    let door = serve(network, now_ms, lie).await.unwrap();
    World { directory, door, ministries }
}

pub(crate) async fn world() -> World {
    world_with(Lie::default()).await
}

impl World {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs `sillok` with these arguments, in the directory.
    pub(crate) async fn sillok(&self, arguments: &str) -> Run {
        self.run(arguments, &self.door.address.to_string()).await
    }

    pub(crate) async fn run(&self, arguments: &str, node: &str) -> Run {
        self.run_with(arguments, node, &[]).await
    }

    /// As whom a file of an identity says, who also submits.
    pub(crate) async fn sillok_as(&self, file: &str, arguments: &str) -> Run {
        let identity = [("SILLOK_IDENTITY", file), ("SILLOK_SUBMITTER", file)];
        self.run_with(arguments, &self.door.address.to_string(), &identity).await
    }

    async fn run_with(&self, arguments: &str, node: &str, environment: &[(&str, &str)]) -> Run {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_sillok"))
            .args(arguments.split_whitespace())
            // Nobody is there to be asked.
            .stdin(Stdio::null())
            .current_dir(self.directory.path())
            .env_remove("SILLOK_SUBMITTER")
            .env_remove("SILLOK_IDENTITY")
            .env_remove("SILLOK_HANDLES")
            .env("SILLOK_NODE", node)
            .env("SILLOK_GENESIS", "genesis.json")
            .env("SILLOK_HOME", "home")
            .envs(environment.iter().copied())
            .output()
            .await
            .unwrap();
        Run {
            exit: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn did(&self, file: &str) -> String {
        Identity::load(&self.path(file)).unwrap().did.to_string()
    }
}
