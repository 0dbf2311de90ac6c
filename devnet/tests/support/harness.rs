//! Networks of real processes for tests.
//!
//! Each is kept by a `sillok-devnet up` of its own that lives as long as its standard input is open: however the test
//! program ends, the nodes are stopped and their directory is removed.

use sillok_client::identity::Identity;
use sillok_client::keys::KeyAlgorithm;
use sillok_devnet::directory::{Devnet, NodeEntry};
use sillok_devnet::network;
use sillok_devnet::reader::{Found, Reader};
use sillok_devnet::scene::Scene;
use sillok_proto::v1;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A running network.
pub(crate) struct Network {
    pub(crate) directory: PathBuf,
    keeper: Child,
}

impl Network {
    /// Starts one in a directory of its own.
    pub(crate) fn start(name: &str, validators: usize, observers: usize) -> Self {
        let directory = std::env::temp_dir().join(format!(
            "sillok-{name}-{}-{:x}",
            std::process::id(),
            rand::random::<u32>()
        ));
        let mut keeper = Command::new(env!("CARGO_BIN_EXE_sillok-devnet"))
            .arg("up")
            .args(["--validators", &validators.to_string(), "--observers", &observers.to_string()])
            .arg("--until-eof")
            .arg("--node-binary")
            .arg(network::find_node_binary(None).unwrap())
            .arg("--dir")
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(keeper.stdout.take().unwrap());
        let up = output.lines().map_while(Result::ok).any(|line| line.contains("is up after"));
        assert!(up, "the network did not come up; its directory is {}", directory.display());
        Self { directory, keeper }
    }

    pub(crate) fn devnet(&self) -> Devnet {
        Devnet::read(&self.directory).unwrap()
    }

    pub(crate) fn scene(&self) -> Scene {
        Scene::of(&self.devnet()).unwrap()
    }

    pub(crate) fn reader(&self, node: &NodeEntry) -> Reader {
        Reader::fresh(&self.devnet(), &node.grpc).unwrap()
    }

    /// A client of the first node.
    pub(crate) fn first_reader(&self) -> Reader {
        self.reader(&self.devnet().nodes[0])
    }

    /// A new holder that is registered, and its first version.
    pub(crate) async fn holder(&self, algorithm: KeyAlgorithm) -> (Identity, Found) {
        let scene = self.scene();
        let holder = scene.holder(algorithm, false).unwrap();
        let at = scene.commit(&scene.create(&[&holder]).unwrap(), 0).await.unwrap();
        let found = self.first_reader().resolve_from(&holder.did, at.height).await.unwrap();
        (holder, found)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Closed standard input is the sign to stop.
        drop(self.keeper.stdin.take());
        let _status = self.keeper.wait();
    }
}

/// The document in an answer.
pub(crate) fn document(found: &Found) -> v1::DidDocument {
    found.document.clone().unwrap_or_default()
}
