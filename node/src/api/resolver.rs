//! `DidResolver`: the head of a DID with its proof, the heads before it, and their documents.

use super::problem::{Refused, failed};
use super::{ANSWER_BYTES_MAX, Api, MIN_HEIGHT_WAIT, bucket};
use prost::Message;
use sillok_did_method::binding::AskedVersion;
use sillok_did_method::view::{self, Resolution};
use sillok_did_method::{Did, DidError};
use sillok_ledger::{StateFault, Tip, TreeKey, tree};
use sillok_proto::v1::did_resolver_server::DidResolver;
use sillok_proto::{Hash, v1};
use tonic::{Code, Request, Response, Status};

/// Most versions in one answer.
const VERSIONS_MAX: usize = 10_000;
/// Room for versions in an answer, in bytes: what does not fit must not be read either.
const VERSIONS_BYTES_MAX: usize = ANSWER_BYTES_MAX / 2;

#[tonic::async_trait]
impl DidResolver for Api {
    async fn resolve(
        &self,
        request: Request<v1::ResolveRequest>,
    ) -> Result<Response<v1::ResolveResponse>, Status> {
        let request = request.into_inner();
        let did = parse(self.ledger.chain.network(), &request.did)?;
        let wanted = wanted(&request)?;
        self.tip_at(request.min_height).await?;
        let api = self.clone();
        // The tip of when its turn has come: one that waited longer may be pruned.
        let read = move || api.resolution(&api.ledger.tip(), &did, &wanted);
        self.blocking(read).await?.map(Response::new)
    }

    async fn history(
        &self,
        request: Request<v1::HistoryRequest>,
    ) -> Result<Response<v1::HistoryResponse>, Status> {
        let request = request.into_inner();
        let did = parse(self.ledger.chain.network(), &request.did)?;
        self.tip_at(request.min_height).await?;
        let api = self.clone();
        self.blocking(move || api.versions(&api.ledger.tip(), &did)).await?.map(Response::new)
    }

    async fn resolve_bucket(
        &self,
        request: Request<v1::ResolveBucketRequest>,
    ) -> Result<Response<v1::ResolveBucketResponse>, Status> {
        let request = request.into_inner();
        self.tip_at(request.min_height).await?;
        let ledger = self.ledger.clone();
        // Before the turn among all reads, so that many who ask for buckets wait for each other alone.
        let turn = self.room.buckets.clone().acquire_owned().await;
        let turn = turn.map_err(|_| Status::from(Refused::internal()))?;
        let serve = move || {
            let _turn = turn;
            bucket::serve(&ledger, &request)
        };
        self.blocking(serve).await?.map(Response::new)
    }
}

/// A DID of this network. The names of the errors are those of DID Resolution.
fn parse(network: &str, text: &str) -> Result<Did, Refused> {
    let did = Did::parse(text).map_err(|error| {
        let name = match &error {
            DidError::OtherMethod => "METHOD_NOT_SUPPORTED",
            _ => "INVALID_DID",
        };
        Refused::malformed(name, error.to_string())
    })?;
    if did.network() == network {
        return Ok(did);
    }
    Err(Refused::new(
        Code::NotFound,
        "NOT_FOUND",
        format!(
            "the DID is of network {}, this node serves {network}; ask a node of that network",
            did.network()
        ),
        sillok_ledger::Retry::AfterFix,
    ))
}

/// The same rule as over HTTP; here empty text is no option.
fn wanted(request: &v1::ResolveRequest) -> Result<AskedVersion, Refused> {
    let given = |text: &'_ str| (!text.is_empty()).then(|| text.to_owned());
    let (id, time) = (given(&request.version_id), given(&request.version_time));
    AskedVersion::read(id.as_deref(), time.as_deref())
        .map_err(|detail| Refused::malformed("INVALID_OPTIONS", detail))
}

pub(super) fn fault(what: &'static str) -> impl Fn(StateFault) -> Status {
    move |error| {
        tracing::error!(what, err = %error, "a read failed");
        Refused::internal().into()
    }
}

impl Api {
    /// The proof of what the state holds for a DID, and its head.
    fn proved_head(
        &self,
        tip: &Tip,
        did: &Did,
    ) -> Result<(v1::StateProof, Option<v1::Head>), Status> {
        let storage = &self.ledger.storage;
        let height = tip.height();
        if height == 0 {
            return Err(no_block_yet().into());
        }
        let signed_header = storage.signed_header(height).map_err(failed("resolve"))?;
        let entry = tree::prove(&storage.at(height), height, &TreeKey::did_head(&did.digest()))
            .map_err(fault("resolve"))?;
        let head = if entry.present {
            let head = sillok_proto::decode(&entry.value, sillok_ledger::overlay::LEAF_BYTES_MAX)
                .map_err(|_| Status::from(Refused::internal()))?;
            Some(head)
        } else {
            None
        };
        Ok((v1::StateProof { signed_header, entries: vec![entry] }, head))
    }

    fn document(&self, head: &v1::Head) -> Result<Option<v1::DidDocument>, Status> {
        let Some(hash) = Hash::from_slice(&head.document_hash) else { return Ok(None) };
        let empty = v1::DidDocument::default();
        if hash == sillok_did_method::document_hash(&empty) {
            return Ok(Some(empty));
        }
        self.ledger.storage.document(&hash).map_err(failed("resolve"))
    }

    fn before(&self, head: &v1::Head) -> Result<Option<v1::Head>, Status> {
        match Hash::from_slice(&head.previous) {
            None => Ok(None),
            Some(hash) => self.ledger.storage.head(&hash).map_err(failed("resolve")),
        }
    }

    /// A version of a DID with its proof, or the proof that there is none.
    pub(crate) fn resolution(
        &self,
        tip: &Tip,
        did: &Did,
        wanted: &AskedVersion,
    ) -> Result<v1::ResolveResponse, Status> {
        let (proof, head) = self.proved_head(tip, did)?;
        let Some(head) = head else {
            return Ok(v1::ResolveResponse {
                proof: Some(proof),
                resolution_json: view::resolution_json(did, None).to_string(),
                ..v1::ResolveResponse::default()
            });
        };
        let mut heads = vec![head];
        while let Some(oldest) = heads.last() {
            let found = match wanted {
                AskedVersion::Current => true,
                AskedVersion::Version(version) => oldest.version <= *version,
                AskedVersion::Before(time_ms) => oldest.time_ms < *time_ms,
            };
            if found {
                break;
            }
            if heads.len() >= VERSIONS_MAX {
                return Err(too_many_versions().into());
            }
            match self.before(oldest)? {
                Some(before) => heads.push(before),
                None => break,
            }
        }
        heads.reverse();
        let Some(asked) = heads.first().filter(|head| match wanted {
            AskedVersion::Current => true,
            AskedVersion::Version(version) => head.version == *version,
            AskedVersion::Before(time_ms) => head.time_ms < *time_ms,
        }) else {
            return Err(no_such_version().into());
        };
        let document = self.document(asked)?;
        let resolution = Resolution {
            head: asked.clone(),
            document: document.clone(),
            next_version: heads.get(1).map(|next| next.version),
        };
        Ok(v1::ResolveResponse {
            proof: Some(proof),
            resolution_json: view::resolution_json(did, Some(&resolution)).to_string(),
            heads,
            document,
        })
    }

    fn versions(&self, tip: &Tip, did: &Did) -> Result<v1::HistoryResponse, Status> {
        let (proof, head) = self.proved_head(tip, did)?;
        let mut versions = Vec::new();
        let mut next = head;
        let mut bytes = 0_usize;
        while let Some(head) = next {
            let document = self.document(&head)?;
            next = self.before(&head)?;
            let version = v1::Version { head: Some(head), document };
            bytes = bytes.saturating_add(version.encoded_len());
            // The newest always; clients see from its number that older ones are missing.
            if !versions.is_empty()
                && (versions.len() >= VERSIONS_MAX || bytes > VERSIONS_BYTES_MAX)
            {
                break;
            }
            versions.push(version);
        }
        Ok(v1::HistoryResponse { proof: Some(proof), versions })
    }
}

/// Of a header of height 0 there is no certificate.
pub(super) fn no_block_yet() -> Refused {
    Refused::new(
        Code::Unavailable,
        "STALE",
        "the network has no block yet, so nothing can be proved; try again in a moment",
        sillok_ledger::Retry::Later,
    )
}

/// Late or many is not "not found": the version may well exist.
fn too_many_versions() -> Refused {
    Refused::new(
        Code::ResourceExhausted,
        "TOO_MANY_VERSIONS",
        format!(
            "the DID has more than {VERSIONS_MAX} versions after the one asked for; ask for a newer one"
        ),
        sillok_ledger::Retry::AfterFix,
    )
}

fn no_such_version() -> Refused {
    Refused::new(
        Code::NotFound,
        "NOT_FOUND",
        "the DID has no such version; ask for its history",
        sillok_ledger::Retry::AfterFix,
    )
}

const _: () = assert!(MIN_HEIGHT_WAIT.as_secs() < 60, "clients wait at most a minute");
