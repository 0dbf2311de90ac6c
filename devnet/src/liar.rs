//! A lying node: a real gRPC server that passes an honest node's answers on, but for one lie.
//!
//! Whoever checks answers must catch each of them; whoever does not learns here what a single node can make them
//! believe. The liar has keys of its own and none of the validators': that is all that separates it from the truth. For
//! three lies it has stolen keys of validators, too.

mod forge;
mod registries;

use crate::clock_ms;
use anyhow::{Context as _, ensure};
use forge::Forge;
use sillok_client::keys::SecretKey;
use sillok_ledger::merkle_log::transactions_root;
use sillok_ledger::{Chain, TRANSACTION_BYTES_MAX, TransactionLeaf};
use sillok_proto::v1::did_resolver_client::DidResolverClient;
use sillok_proto::v1::did_resolver_server::{DidResolver, DidResolverServer};
use sillok_proto::v1::ledger_client::LedgerClient;
use sillok_proto::v1::ledger_server::{Ledger, LedgerServer};
use sillok_proto::v1::status_registry_client::StatusRegistryClient;
use sillok_proto::v1::status_registry_server::StatusRegistryServer;
use sillok_proto::v1::trust_registry_client::TrustRegistryClient;
use sillok_proto::v1::trust_registry_server::TrustRegistryServer;
use sillok_proto::{Hash, decode, v1};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, async_trait};

/// What the liar lies about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// The head is true and proved; the document beside it is the liar's.
    ForgedDocument,
    /// The proved leaf is replaced by a head that names the liar's document.
    ForgedHead,
    /// The first answer about a DID is given for ever.
    OldState,
    /// As long as it was true, the DID did not exist; the liar goes on saying so, under the header of that time.
    AbsenceUnderOldHeader,
    /// The entry is said to hold nothing, under today's header.
    WithheldEntry,
    /// A version is left out of the history.
    WithheldVersion,
    /// Everything is true, certified and consistent, on a network of the liar's own.
    WrongNetwork,
    /// Everything is consistent on this network, certified by validators of the liar's own.
    OtherSet,
    /// A true header with fewer signatures than a quorum.
    ThinCertificate,
    /// A header of the liar's under the certificate of a true one.
    SwappedHeader,
    /// A transaction is called committed; in truth nobody ever saw it.
    FalseReceipt,
    /// The answer comes without any proof.
    NoProof,
    /// The true answer about another DID.
    OtherDid,
    /// The document of the proved head is kept back.
    WithheldDocument,
    /// The version before is given as the current one, beside the proof of today.
    OldVersion,
    /// A bundle names validators of the liar's as those of the next height.
    OtherNextSet,
    /// A revoked entry of a status list is valid again.
    RevivedEntry,
    /// Two true chunks, each in the place of the other.
    SwappedChunks,
    /// A list without its last piece.
    ShortList,
    /// A list that goes on after its last piece.
    EndlessList,
    /// A list of which a piece is from before.
    MixedList,
    /// The state of a height is that of the height before.
    OtherHeight,
    /// A leaf that decides whether an organization may do something is kept back.
    WithheldRight,
    /// With keys of validators that were replaced: another past, in which a transaction was committed.
    RetiredSet,
    /// With keys of today's validators: a second header of the same height.
    SecondHeader,
    /// With keys of today's validators: an answer that stays fresh for a year.
    Postdated,
    /// One DID is left out of every bucket.
    BucketLeftOut,
    /// Two leaves of a bucket have changed places.
    BucketExchanged,
    /// The bucket is another than the one asked for.
    BucketElsewhere,
    /// The bucket has fewer DIDs than asked for and is not made wider.
    BucketTooSmall,
    /// What an entry was at a time is told of the block before the one in force.
    NeighborHeader,
    /// What is asked by what was known at a height is told by what was known one block earlier.
    EarlierKnowledge,
}

impl Lie {
    /// Is it told with keys of validators that were stolen?
    #[must_use]
    pub const fn needs_stolen_keys(self) -> bool {
        matches!(self, Self::RetiredSet | Self::SecondHeader | Self::Postdated)
    }

    const fn is_of_receipts(self) -> bool {
        matches!(self, Self::FalseReceipt | Self::RetiredSet)
    }

    /// Every lie.
    pub const ALL: [Self; 32] = [
        Self::ForgedDocument,
        Self::ForgedHead,
        Self::OldState,
        Self::AbsenceUnderOldHeader,
        Self::WithheldEntry,
        Self::WithheldVersion,
        Self::WrongNetwork,
        Self::OtherSet,
        Self::ThinCertificate,
        Self::SwappedHeader,
        Self::FalseReceipt,
        Self::NoProof,
        Self::OtherDid,
        Self::WithheldDocument,
        Self::OldVersion,
        Self::OtherNextSet,
        Self::RevivedEntry,
        Self::SwappedChunks,
        Self::ShortList,
        Self::EndlessList,
        Self::MixedList,
        Self::OtherHeight,
        Self::WithheldRight,
        Self::RetiredSet,
        Self::SecondHeader,
        Self::Postdated,
        Self::BucketLeftOut,
        Self::BucketExchanged,
        Self::BucketElsewhere,
        Self::BucketTooSmall,
        Self::NeighborHeader,
        Self::EarlierKnowledge,
    ];

    /// As on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ForgedDocument => "forged-document",
            Self::ForgedHead => "forged-head",
            Self::OldState => "old-state",
            Self::AbsenceUnderOldHeader => "absence-under-old-header",
            Self::WithheldEntry => "withheld-entry",
            Self::WithheldVersion => "withheld-version",
            Self::WrongNetwork => "wrong-network",
            Self::OtherSet => "other-set",
            Self::ThinCertificate => "thin-certificate",
            Self::SwappedHeader => "swapped-header",
            Self::FalseReceipt => "false-receipt",
            Self::NoProof => "no-proof",
            Self::OtherDid => "other-did",
            Self::WithheldDocument => "withheld-document",
            Self::OldVersion => "old-version",
            Self::OtherNextSet => "other-next-set",
            Self::RevivedEntry => "revived-entry",
            Self::SwappedChunks => "swapped-chunks",
            Self::ShortList => "short-list",
            Self::EndlessList => "endless-list",
            Self::MixedList => "mixed-list",
            Self::OtherHeight => "other-height",
            Self::WithheldRight => "withheld-right",
            Self::RetiredSet => "retired-set",
            Self::SecondHeader => "second-header",
            Self::Postdated => "postdated",
            Self::BucketLeftOut => "bucket-left-out",
            Self::BucketExchanged => "bucket-exchanged",
            Self::BucketElsewhere => "bucket-elsewhere",
            Self::BucketTooSmall => "bucket-too-small",
            Self::NeighborHeader => "neighbor-header",
            Self::EarlierKnowledge => "earlier-knowledge",
        }
    }

    /// What it tells, and what catches it.
    #[must_use]
    pub const fn explain(self) -> &'static str {
        match self {
            Self::ForgedDocument => {
                "the proof is true, the document beside it is not; its hash is not the one in the proved head"
            }
            Self::ForgedHead => {
                "the head names a document of the liar's; the path no longer leads to the certified state root"
            }
            Self::OldState => {
                "the first answer about a DID is repeated for ever; a client that has seen a later height refuses it, any other calls it stale after --max-age"
            }
            Self::AbsenceUnderOldHeader => {
                "\"not found\", proved under a header from before the DID was created; caught by the height the client has seen, or by --max-age"
            }
            Self::WithheldEntry => {
                "\"not found\" under today's header; an absence proof for a key that is there cannot be made"
            }
            Self::WithheldVersion => {
                "a version is missing from the history; each version names the hash of the one before"
            }
            Self::WrongNetwork => {
                "a whole network of the liar's own, consistent in itself; the genesis hash in every header is another"
            }
            Self::OtherSet => {
                "a branch of this network certified by the liar's validators; the set is not the one that the chain from genesis names"
            }
            Self::ThinCertificate => {
                "a true header with one signature; more than two thirds of the set must sign"
            }
            Self::SwappedHeader => {
                "a header of the liar's under a true certificate; the certificate names another header"
            }
            Self::FalseReceipt => {
                "\"committed\" for a transaction that was thrown away; the receipt does not lead to the transactions root"
            }
            Self::NoProof => "an answer without a proof is no answer",
            Self::OtherDid => {
                "the true and proved answer about another did; the proof does not cover the one that was asked for"
            }
            Self::WithheldDocument => {
                "the head is proved and its document is not there; a version that is not deactivated has one"
            }
            Self::OldVersion => {
                "the version before the current one, with today's proof; it is not the head that is proved"
            }
            Self::OtherNextSet => {
                "a bundle that leads to the liar's validators; they are not those that the certified header names"
            }
            Self::RevivedEntry => {
                "a chunk of a status list in which everything is valid; the path no longer leads to the certified state root"
            }
            Self::SwappedChunks => {
                "two true chunks of a list in each other's place; a leaf is not the one that the question reads there"
            }
            Self::ShortList => {
                "a whole list without its last piece; its size is proved by the first"
            }
            Self::EndlessList => {
                "a whole list and then more; its size is proved by the first piece"
            }
            Self::MixedList => {
                "a whole list of which the last piece is from before a revocation; all pieces are of one height"
            }
            Self::OtherHeight => {
                "the state of the height before the one asked for; the header says so"
            }
            Self::WithheldRight => {
                "a right without the leaf of its grant; what the rule reads and is not proved is no absence"
            }
            Self::RetiredSet => {
                "a receipt of a block of another past, certified by the validators of that time, whose keys were stolen; it is not an ancestor of the header that the client has seen"
            }
            Self::SecondHeader => {
                "two headers of one height, both certified, with stolen keys; a client stops and keeps both as evidence"
            }
            Self::Postdated => {
                "a header dated a year ahead, with stolen keys, so that it stays fresh; it is ahead of the client's clock"
            }
            Self::BucketLeftOut => {
                "a DID is missing from the bucket of `did resolve --private`; the leaves no longer lead to the certified state root"
            }
            Self::BucketExchanged => {
                "a leaf of the bucket holds the head of another DID; its key is not that of the head"
            }
            Self::BucketElsewhere => {
                "a true bucket, but not the one asked for; its prefix is another"
            }
            Self::BucketTooSmall => {
                "a true bucket with a single DID where many were asked for, to see who is looked up; fewer are only taken where there are no more"
            }
            Self::NeighborHeader => {
                "what an entry was at a time, true of the block before; the one after it is no later than that time"
            }
            Self::EarlierKnowledge => {
                "what was so, by what was known a block too early, before a loss was reported; the header is not of the height asked for"
            }
        }
    }
}

impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Lie {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|lie| lie.name() == name)
            .ok_or_else(|| format!("there is no lie {name:?}; `liar --list` names them"))
    }
}

/// A liar at work; it stops when dropped.
#[derive(Debug)]
pub struct Liar {
    /// Where it answers, `http://127.0.0.1:port`.
    pub url: String,
    task: JoinHandle<()>,
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Liar {
    /// Starts to lie on `listen`, with `upstream` for what it does not lie about.
    ///
    /// # Errors
    ///
    /// The address is taken, or the honest node does not answer.
    pub async fn start(lie: Lie, upstream: &str, listen: SocketAddr) -> anyhow::Result<Self> {
        Self::start_with(lie, upstream, listen, &[]).await
    }

    /// The same with these stolen keys of validators, which [`Lie::needs_stolen_keys`] may ask for: a quorum.
    ///
    /// # Errors
    ///
    /// The address is taken, the honest node does not answer, or there are no keys for a lie that needs them.
    pub async fn start_with(
        lie: Lie,
        upstream: &str,
        listen: SocketAddr,
        stolen: &[SecretKey],
    ) -> anyhow::Result<Self> {
        ensure!(
            !(lie.needs_stolen_keys() && stolen.is_empty()),
            "{lie} is told with keys of validators; name their files with --stolen-key"
        );
        let channel = Channel::from_shared(upstream.to_owned())
            .with_context(|| format!("{upstream:?} is no address like http://127.0.0.1:26657"))?
            .connect()
            .await
            .with_context(|| format!("the honest node at {upstream} does not answer"))?;
        let genesis = LedgerClient::new(channel.clone())
            .get_genesis(v1::GetGenesisRequest {})
            .await?
            .into_inner()
            .genesis
            .context("the honest node has no genesis")?;
        let chain = Chain::new(genesis)?;
        let forge = match lie {
            Lie::WrongNetwork => Forge::new_network(&chain)?,
            _ => Forge::new(*chain.hash(), chain.genesis().clone())?.with_stolen(stolen),
        };
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("{listen} cannot be listened on"))?;
        let url = format!("http://{}", listener.local_addr()?);
        let server = Server(Arc::new(Answers {
            lie,
            resolver: DidResolverClient::new(channel.clone()),
            status: StatusRegistryClient::new(channel.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX),
            trust: TrustRegistryClient::new(channel.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX),
            ledger: LedgerClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX),
            genesis_hash: *chain.hash(),
            forge,
            first: Mutex::new(BTreeMap::new()),
            list: Mutex::new(Vec::new()),
        }));
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let serving = tonic::transport::Server::builder()
            .add_service(DidResolverServer::new(server.clone()))
            .add_service(StatusRegistryServer::new(server.clone()))
            .add_service(TrustRegistryServer::new(server.clone()))
            .add_service(LedgerServer::new(server))
            .serve_with_incoming(incoming);
        let task = tokio::spawn(async move {
            // It ends only when it is aborted or its socket breaks; both are the end of the liar.
            let _ended = serving.await;
        });
        Ok(Self { url, task })
    }

    /// Lies until the process ends.
    ///
    /// # Errors
    ///
    /// The server broke.
    pub async fn run(mut self) -> anyhow::Result<()> {
        (&mut self.task).await.context("the liar stopped")
    }
}

/// Longest message passed on: a block with its certificate.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

struct Answers {
    lie: Lie,
    resolver: DidResolverClient<Channel>,
    status: StatusRegistryClient<Channel>,
    trust: TrustRegistryClient<Channel>,
    ledger: LedgerClient<Channel>,
    genesis_hash: Hash,
    forge: Forge,
    /// The first answer about each DID.
    first: Mutex<BTreeMap<String, v1::ResolveResponse>>,
    /// The first answer about a whole list.
    list: Mutex<Vec<v1::StateAnswer>>,
}

#[derive(Clone)]
struct Server(Arc<Answers>);

impl Answers {
    /// Does it make up whole worlds, so that every answer comes from one?
    const fn has_a_world_of_its_own(&self) -> bool {
        matches!(self.lie, Lie::WrongNetwork | Lie::OtherSet)
    }

    fn first_answer(&self, did: &str, honest: v1::ResolveResponse) -> v1::ResolveResponse {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.entry(did.to_owned()).or_insert(honest).clone()
    }

    /// What is true of another DID that was asked about before.
    fn first_of_another(&self, did: &str, honest: v1::ResolveResponse) -> v1::ResolveResponse {
        self.first_answer(did, honest.clone());
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let other = first.iter().find(|(asked, _)| asked.as_str() != did);
        other.map_or(honest, |(_, answer)| answer.clone())
    }

    fn resolve(&self, did: &str, honest: v1::ResolveResponse) -> v1::ResolveResponse {
        let mut answer = honest;
        match self.lie {
            Lie::ForgedDocument => answer.document = Some(self.forge.document()),
            Lie::ForgedHead => self.forge.forge_head(&mut answer),
            Lie::OldState => answer = self.first_answer(did, answer),
            Lie::AbsenceUnderOldHeader => {
                answer = self.first_answer(did, answer);
                // Whoever was told too late to have an old absence has to make one up.
                if !answer.heads.is_empty() {
                    forge::say_absent(&mut answer);
                }
            }
            Lie::WithheldEntry => forge::say_absent(&mut answer),
            Lie::WithheldVersion => {
                answer.heads.truncate(1);
            }
            Lie::WrongNetwork | Lie::OtherSet => self.forge.rewrite(&mut answer),
            Lie::ThinCertificate => forge::thin(answer.proof.as_mut()),
            Lie::SwappedHeader => self.forge.swap_header(&mut answer),
            Lie::NoProof => answer.proof = None,
            Lie::OtherDid => answer = self.first_of_another(did, answer),
            Lie::WithheldDocument => answer.document = None,
            Lie::OldVersion => {
                let first = self.first_answer(did, answer.clone());
                (answer.heads, answer.document) = (first.heads, first.document);
            }
            Lie::SecondHeader => self.forge.second_header(&mut answer),
            Lie::Postdated => self.forge.postdate(&mut answer),
            _ => {}
        }
        if !answer.heads.is_empty() && answer.document.is_some() {
            // The view for readers who check nothing tells the same lie.
            answer.resolution_json = forge::view(&self.forge.network(), &answer);
        }
        answer
    }

    fn history(&self, honest: v1::HistoryResponse) -> v1::HistoryResponse {
        let mut answer = honest;
        match self.lie {
            Lie::ForgedDocument => {
                if let Some(version) = answer.versions.first_mut() {
                    version.document = Some(self.forge.document());
                }
            }
            Lie::WithheldVersion => {
                if answer.versions.len() > 2 {
                    answer.versions.remove(1);
                } else {
                    answer.versions.truncate(1);
                }
            }
            Lie::WithheldEntry => {
                if let Some(proof) = &mut answer.proof {
                    forge::hide_entries(proof);
                }
                answer.versions.clear();
            }
            Lie::WrongNetwork | Lie::OtherSet => {
                if let Some(proof) = &mut answer.proof {
                    self.forge.certify_entries(proof);
                }
            }
            Lie::ThinCertificate => forge::thin(answer.proof.as_mut()),
            Lie::NoProof => answer.proof = None,
            _ => {}
        }
        answer
    }

    /// The tip as an honest node certifies it.
    async fn tip(&self) -> Result<v1::GetBlockResponse, Status> {
        let request = v1::GetBlockRequest { height: 0 };
        Ok(self.ledger.clone().get_block(request).await?.into_inner())
    }

    /// A block of another past that holds one transaction, certified by those who were validators then.
    async fn other_past(&self, leaf: &TransactionLeaf) -> Result<v1::SignedHeader, Status> {
        let request = v1::GetBlockRequest { height: 1 };
        let first = self.ledger.clone().get_block(request).await?.into_inner();
        let mut header = first.signed_header.and_then(|signed| signed.header).unwrap_or_default();
        header.transactions_root = transactions_root(&[leaf.hash()]).to_vec();
        Ok(self.forge.certify(header))
    }

    /// "Committed", with as good a receipt as can be made up.
    async fn false_receipt(&self, leaf: TransactionLeaf) -> Result<v1::TransactionState, Status> {
        let signed_header = match self.lie {
            Lie::RetiredSet => Some(self.other_past(&leaf).await?),
            _ => self.tip().await?.signed_header,
        };
        let header = signed_header.as_ref().and_then(|signed| signed.header.clone());
        let header = header.ok_or_else(|| Status::internal("the tip has no header"))?;
        let receipt = v1::Receipt {
            signed_header,
            transaction_id: leaf.id.to_vec(),
            signatures_hash: leaf.signatures.to_vec(),
            private_signatures_hash: leaf.private_signatures.to_vec(),
            path: Some(v1::LogPath { index: 0, size: 1, hashes: Vec::new() }),
        };
        let committed = v1::Committed { height: header.height, index: 0, receipt: Some(receipt) };
        Ok(v1::TransactionState {
            transaction_id: leaf.id.to_vec(),
            height: header.height,
            time_ms: header.time_ms,
            state: Some(v1::transaction_state::State::Committed(committed)),
        })
    }
}

#[async_trait]
impl DidResolver for Server {
    async fn resolve(
        &self,
        request: Request<v1::ResolveRequest>,
    ) -> Result<Response<v1::ResolveResponse>, Status> {
        let mut request = request.into_inner();
        let did = request.did.clone();
        if matches!(self.0.lie, Lie::OldState | Lie::AbsenceUnderOldHeader) {
            // It has no intention of waiting for anything.
            request.min_height = 0;
        }
        let honest = self.0.resolver.clone().resolve(request).await?.into_inner();
        Ok(Response::new(self.0.resolve(&did, honest)))
    }

    async fn history(
        &self,
        request: Request<v1::HistoryRequest>,
    ) -> Result<Response<v1::HistoryResponse>, Status> {
        let honest = self.0.resolver.clone().history(request.into_inner()).await?.into_inner();
        Ok(Response::new(self.0.history(honest)))
    }

    async fn resolve_bucket(
        &self,
        request: Request<v1::ResolveBucketRequest>,
    ) -> Result<Response<v1::ResolveBucketResponse>, Status> {
        let mut request = request.into_inner();
        other_bucket(self.0.lie, &mut request);
        let mut answer = self.0.resolver.clone().resolve_bucket(request).await?.into_inner();
        match self.0.lie {
            Lie::BucketLeftOut => forge::leave_out(&mut answer),
            Lie::BucketExchanged => forge::exchange_leaves(&mut answer),
            Lie::ThinCertificate => forge::thin_header(answer.signed_header.as_mut()),
            _ => {}
        }
        Ok(Response::new(answer))
    }
}

/// The true bucket, or one of another question.
fn other_bucket(lie: Lie, asked: &mut v1::ResolveBucketRequest) {
    match lie {
        Lie::BucketElsewhere => {
            // The other half of all DIDs, or of that some part.
            if let Some(first) = asked.prefix.first_mut() {
                *first ^= 0x08;
            }
            asked.k = 1;
        }
        Lie::BucketTooSmall => asked.k = 1,
        _ => {}
    }
}

#[async_trait]
impl Ledger for Server {
    async fn submit(
        &self,
        request: Request<v1::SubmitRequest>,
    ) -> Result<Response<v1::TransactionState>, Status> {
        let request = request.into_inner();
        if self.0.lie.is_of_receipts() {
            let leaf = decode::<v1::Transaction>(&request.transaction, TRANSACTION_BYTES_MAX)
                .ok()
                .and_then(|transaction| TransactionLeaf::of(&self.0.genesis_hash, &transaction))
                .ok_or_else(|| Status::invalid_argument("the transaction has no body"))?;
            return Ok(Response::new(self.0.false_receipt(leaf).await?));
        }
        self.0.ledger.clone().submit(request).await
    }

    async fn simulate(
        &self,
        request: Request<v1::SimulateRequest>,
    ) -> Result<Response<v1::SimulateResponse>, Status> {
        self.0.ledger.clone().simulate(request).await
    }

    async fn get_transaction(
        &self,
        request: Request<v1::GetTransactionRequest>,
    ) -> Result<Response<v1::TransactionState>, Status> {
        let request = request.into_inner();
        if self.0.lie.is_of_receipts() {
            let id = Hash::from_slice(&request.transaction_id).unwrap_or_default();
            let leaf = TransactionLeaf { id, signatures: id, private_signatures: id };
            return Ok(Response::new(self.0.false_receipt(leaf).await?));
        }
        self.0.ledger.clone().get_transaction(request).await
    }

    async fn get_status(
        &self,
        request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::NodeStatus>, Status> {
        let mut status = self.0.ledger.clone().get_status(request.into_inner()).await?.into_inner();
        if self.0.has_a_world_of_its_own() {
            status.genesis_hash = self.0.forge.genesis_hash().to_vec();
            status.time_ms = clock_ms();
        }
        Ok(Response::new(status))
    }

    async fn get_genesis(
        &self,
        request: Request<v1::GetGenesisRequest>,
    ) -> Result<Response<v1::GetGenesisResponse>, Status> {
        if self.0.has_a_world_of_its_own() {
            let genesis = Some(self.0.forge.genesis().clone());
            return Ok(Response::new(v1::GetGenesisResponse { genesis }));
        }
        self.0.ledger.clone().get_genesis(request.into_inner()).await
    }

    async fn get_block(
        &self,
        request: Request<v1::GetBlockRequest>,
    ) -> Result<Response<v1::GetBlockResponse>, Status> {
        let mut block = self.0.ledger.clone().get_block(request.into_inner()).await?.into_inner();
        if self.0.has_a_world_of_its_own() {
            block.signed_header = block.signed_header.map(|signed| self.0.forge.recertify(signed));
        }
        Ok(Response::new(block))
    }

    async fn get_validators(
        &self,
        request: Request<v1::GetValidatorsRequest>,
    ) -> Result<Response<v1::GetValidatorsResponse>, Status> {
        let honest = self.0.ledger.clone().get_validators(request.into_inner()).await?;
        let mut answer = honest.into_inner();
        if self.0.has_a_world_of_its_own() {
            answer.validators = Some(self.0.forge.validators().clone());
        }
        Ok(Response::new(answer))
    }

    async fn get_trust_bundle(
        &self,
        request: Request<v1::GetTrustBundleRequest>,
    ) -> Result<Response<v1::TrustBundle>, Status> {
        let mut bundle =
            self.0.ledger.clone().get_trust_bundle(request.into_inner()).await?.into_inner();
        if self.0.has_a_world_of_its_own() {
            for block in &mut bundle.light_blocks {
                block.signed_header =
                    block.signed_header.take().map(|signed| self.0.forge.recertify(signed));
                block.next_validators = Some(self.0.forge.validators().clone());
            }
        }
        if self.0.lie == Lie::OtherNextSet {
            for block in &mut bundle.light_blocks {
                block.next_validators = Some(self.0.forge.validators().clone());
            }
        }
        Ok(Response::new(bundle))
    }

    async fn get_state(
        &self,
        request: Request<v1::GetStateRequest>,
    ) -> Result<Response<v1::StateProof>, Status> {
        self.0.ledger.clone().get_state(request.into_inner()).await
    }

    async fn get_proposals(
        &self,
        request: Request<v1::GetProposalsRequest>,
    ) -> Result<Response<v1::GetProposalsResponse>, Status> {
        self.0.ledger.clone().get_proposals(request.into_inner()).await
    }

    async fn get_history_proof(
        &self,
        request: Request<v1::GetHistoryProofRequest>,
    ) -> Result<Response<v1::HistoryProof>, Status> {
        self.0.ledger.clone().get_history_proof(request.into_inner()).await
    }

    async fn get_members(
        &self,
        request: Request<v1::GetMembersRequest>,
    ) -> Result<Response<v1::GetMembersResponse>, Status> {
        self.0.ledger.clone().get_members(request.into_inner()).await
    }

    async fn get_evidence(
        &self,
        request: Request<v1::GetEvidenceRequest>,
    ) -> Result<Response<v1::GetEvidenceResponse>, Status> {
        self.0.ledger.clone().get_evidence(request.into_inner()).await
    }

    type SubscribeStream = tonic::Streaming<v1::Event>;

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        self.0.ledger.clone().subscribe(request.into_inner()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lie_is_found_by_its_name() {
        for lie in Lie::ALL {
            assert_eq!(lie.name().parse::<Lie>().unwrap(), lie);
            assert!(!lie.explain().is_empty());
        }
        assert!("white".parse::<Lie>().unwrap_err().contains("liar --list"));
    }
}
