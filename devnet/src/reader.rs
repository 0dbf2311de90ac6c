//! Reading from one node and believing nothing it does not prove: the client library, and what a person wants to see
//! of its checks.

use crate::directory::Devnet;
use anyhow::{Context as _, ensure};
use sillok_client::read::Client;
use sillok_client::trust::read_genesis;
use sillok_client::verify::{Asked, Resolution};
use sillok_did_method::Did;
use sillok_proto::{Hash, v1};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a node has to reach a height that others have.
const PATIENCE: Duration = Duration::from_secs(30);

/// The genesis hash in the index of a devnet.
///
/// # Errors
///
/// It is not one.
pub fn genesis_hash(devnet: &Devnet) -> anyhow::Result<Hash> {
    let bytes = hex::decode(&devnet.genesis_hash)?;
    Hash::from_slice(&bytes).context("the genesis hash in devnet.json is not 32 bytes")
}

/// A client of one node. It trusts the genesis, and what it verified since.
#[derive(Debug, Clone)]
pub struct Reader {
    /// The client library.
    pub client: Arc<Client>,
}

/// A verified answer, with what was checked.
#[derive(Debug, Clone)]
pub struct Found {
    /// The version asked for.
    pub head: v1::Head,
    /// Its document.
    pub document: Option<v1::DidDocument>,
    /// Height of the certified header.
    pub height: u64,
    /// Validators that signed it.
    pub signatures: usize,
    /// Validators there are.
    pub validators: usize,
    /// Hashes from the leaf to the state root.
    pub siblings: usize,
    /// Age of the header, in milliseconds.
    pub age_ms: u64,
    resolution: Resolution,
}

impl Found {
    /// The DID Resolution result.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        self.resolution.to_json()
    }

    /// Hash of the document, in hex.
    #[must_use]
    pub fn document_hash(&self) -> String {
        hex::encode(&self.head.document_hash)
    }

    /// The keys in the document.
    #[must_use]
    pub fn keys(&self) -> Vec<v1::PublicKey> {
        let document = self.document.clone().unwrap_or_default();
        document.keys.into_iter().filter_map(|bound| bound.key).collect()
    }
}

impl Reader {
    /// A client of the node at `url` that knows the genesis of the devnet and nothing else.
    ///
    /// # Errors
    ///
    /// The genesis cannot be read.
    pub fn fresh(devnet: &Devnet, url: &str) -> anyhow::Result<Self> {
        let client = Client::in_memory(&[url], read_genesis(&devnet.genesis)?)?;
        Ok(Self { client: Arc::new(client) })
    }

    /// What the node says of itself, unverified.
    ///
    /// # Errors
    ///
    /// It does not answer.
    pub async fn status(&self) -> anyhow::Result<v1::NodeStatus> {
        let call = async |node: sillok_client::connection::Node| {
            node.ledger().get_status(v1::GetStatusRequest {}).await
        };
        Ok(self.client.connection().call(Duration::ZERO, call).await?.0)
    }

    /// Waits until the node is at `height`.
    ///
    /// # Errors
    ///
    /// It does not get there.
    pub async fn wait_for(&self, height: u64) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.status().await?.height < height {
            ensure!(Instant::now() < deadline, "the node did not reach height {height}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// The current version, with proof.
    ///
    /// # Errors
    ///
    /// There is none, the answer does not hold, or it is stale.
    pub async fn resolve(&self, did: &Did) -> anyhow::Result<Found> {
        self.ask(did, Asked::Current)
            .await?
            .with_context(|| format!("{did} is proved not to exist"))
    }

    /// The current version or the proof that there is none.
    ///
    /// # Errors
    ///
    /// The answer does not hold, or it is stale.
    pub async fn find(&self, did: &Did) -> anyhow::Result<Option<Found>> {
        self.ask(did, Asked::Current).await
    }

    /// The current version at `min_height` or later, with proof.
    ///
    /// # Errors
    ///
    /// There is none, the answer does not hold, or the node is late.
    pub async fn resolve_from(&self, did: &Did, min_height: u64) -> anyhow::Result<Found> {
        self.wait_for(min_height).await?;
        let found = self.resolve(did).await?;
        ensure!(found.height >= min_height, "the answer is of height {}", found.height);
        Ok(found)
    }

    /// A version by its number, with proof.
    ///
    /// # Errors
    ///
    /// There is none, or the answer does not hold.
    pub async fn resolve_version(&self, did: &Did, version: u64) -> anyhow::Result<Found> {
        self.ask(did, Asked::Version(version))
            .await?
            .with_context(|| format!("{did} is proved to have no version {version}"))
    }

    async fn ask(&self, did: &Did, asked: Asked) -> anyhow::Result<Option<Found>> {
        let resolved = self.client.resolve(did, asked).await?;
        let answer = &resolved.answer;
        let resolution = answer.fresh()?;
        let Some(version) = resolution.version.clone() else { return Ok(None) };
        let certificate = answer.signed_header().certificate.as_ref();
        let siblings = resolved
            .response
            .as_ref()
            .and_then(|response| response.proof.as_ref()?.entries.first()?.path.as_ref())
            .map_or(0, |path| path.siblings.len());
        Ok(Some(Found {
            head: version.head,
            document: version.document,
            resolution: resolution.clone(),
            height: answer.height(),
            signatures: certificate.map_or(0, |certificate| certificate.signatures.len()),
            validators: self.client.trusted().next_validators.validators.len(),
            siblings,
            age_ms: answer.age_ms(),
        }))
    }

    /// The heads of all versions, newest first, complete.
    ///
    /// # Errors
    ///
    /// The answer does not hold, or it is stale.
    pub async fn history(&self, did: &Did) -> anyhow::Result<Vec<v1::Head>> {
        let answer = self.client.history(did).await?;
        Ok(answer.fresh()?.versions.iter().map(|(head, _)| head.clone()).collect())
    }
}
