//! A network that a command makes for itself and removes again, however it ends.

use crate::console;
use crate::directory::Devnet;
use crate::network::{self, Size};
use std::path::PathBuf;

/// A running network in a temporary directory. Dropped, its nodes are stopped and it is removed.
#[derive(Debug)]
pub struct OwnNetwork {
    /// Its index.
    pub devnet: Devnet,
    /// Leave the directory, with data and logs.
    pub keep: bool,
}

impl OwnNetwork {
    /// Makes and starts one.
    ///
    /// # Errors
    ///
    /// A node did not come up, with the end of its log.
    pub async fn start(
        name: &str,
        validators: usize,
        node_binary: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let directory = std::env::temp_dir().join(format!(
            "sillok-{name}-{}-{:x}",
            std::process::id(),
            rand::random::<u32>()
        ));
        let binary = network::find_node_binary(node_binary)?;
        let size = Size { validators: Some(validators), observers: None };
        match network::up(&directory, &size, binary).await {
            Ok(devnet) => Ok(Self { devnet, keep: false }),
            Err(error) => {
                if let Ok(devnet) = Devnet::read(&directory) {
                    drop(Self { devnet, keep: true });
                }
                Err(error)
            }
        }
    }
}

impl Drop for OwnNetwork {
    fn drop(&mut self) {
        // Processes may have been started since this copy was read.
        if let Ok(newest) = Devnet::read(&self.devnet.directory) {
            self.devnet = newest;
        }
        let stopped = network::down(&mut self.devnet);
        if self.keep || stopped.is_err() {
            console::note(format!("kept {}", self.devnet.directory.display()));
        } else {
            // What is left of it is in the way of nobody.
            let _left = std::fs::remove_dir_all(&self.devnet.directory);
        }
    }
}
