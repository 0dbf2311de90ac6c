//! Lies about lists and rights.
//!
//! Leaves are handed over without a verdict here, so a liar leaves some out, brings others, or takes them from another
//! moment.

use super::{Lie, Server, forge};
use sillok_proto::v1;
use sillok_proto::v1::status_registry_server::StatusRegistry;
use sillok_proto::v1::trust_registry_server::TrustRegistry;
use std::sync::PoisonError;
use tonic::{Request, Response, Status, async_trait};

/// Entries of a chunk of which each is valid.
const ALL_VALID: [u8; 4_096] = [0; 4_096];

type Pieces = futures::stream::Iter<std::vec::IntoIter<Result<v1::StateAnswer, Status>>>;

impl Server {
    /// What is asked of the honest node instead of what was asked for.
    fn misunderstand(&self, asked: Option<v1::Moment>) -> Option<v1::Moment> {
        use v1::moment::Moment;
        let moment = match (self.0.lie, asked?.moment?) {
            (Lie::EarlierKnowledge, Moment::Time(time)) => {
                let known_at = time.known_at.map(|height| height.saturating_sub(1));
                Moment::Time(v1::KnownTime { known_at, ..time })
            }
            (Lie::OtherHeight, Moment::Height(height)) => Moment::Height(height.saturating_sub(1)),
            (_, moment) => moment,
        };
        Some(v1::Moment { moment: Some(moment) })
    }

    /// The state of the block before the one in force, by the true answer about the last moment of that block.
    async fn neighbor(
        &self,
        request: &v1::GetChunksRequest,
        honest: v1::StateAnswer,
    ) -> Result<v1::StateAnswer, Status> {
        use v1::moment::Moment;
        let in_force = honest.then.as_ref().and_then(|then| then.header.as_ref()?.header.as_ref());
        let before_ms = in_force.map(|header| header.time_ms.saturating_sub(1));
        let mut request = request.clone();
        let asked = request.at.as_mut().and_then(|at| at.moment.as_mut());
        let (Some(Moment::Time(time)), Some(before_ms)) = (asked, before_ms) else {
            return Ok(honest);
        };
        time.time_ms = before_ms;
        Ok(self.0.status.clone().get_chunks(request).await?.into_inner())
    }

    fn chunks(&self, honest: v1::StateAnswer) -> v1::StateAnswer {
        let mut answer = honest;
        let Some(proof) = &mut answer.proof else { return answer };
        match self.0.lie {
            Lie::RevivedEntry => forge::rewrite_chunk(proof, &ALL_VALID),
            // The leaf of the list, then five of each chunk.
            Lie::SwappedChunks => {
                if let Some(chunks) = proof.entries.get_mut(1..11) {
                    chunks.rotate_left(5);
                }
            }
            Lie::NoProof => answer.proof = None,
            Lie::ThinCertificate => forge::thin(Some(proof)),
            _ => {}
        }
        answer
    }

    /// Pieces of a list, all of them true.
    fn pieces(&self, honest: Vec<v1::StateAnswer>) -> Vec<v1::StateAnswer> {
        let mut pieces = honest;
        match self.0.lie {
            Lie::ShortList => {
                pieces.pop();
            }
            Lie::EndlessList => pieces.extend(pieces.last().cloned()),
            Lie::MixedList => {
                let mut before = self.0.list.lock().unwrap_or_else(PoisonError::into_inner);
                if before.is_empty() {
                    before.clone_from(&pieces);
                } else if let (Some(last), Some(old)) = (pieces.last_mut(), before.last()) {
                    last.clone_from(old);
                }
            }
            _ => {}
        }
        pieces
    }
}

#[async_trait]
impl StatusRegistry for Server {
    async fn get_list(
        &self,
        request: Request<v1::GetListRequest>,
    ) -> Result<Response<v1::StateProof>, Status> {
        self.0.status.clone().get_list(request.into_inner()).await
    }

    async fn get_chunks(
        &self,
        request: Request<v1::GetChunksRequest>,
    ) -> Result<Response<v1::StateAnswer>, Status> {
        let mut request = request.into_inner();
        request.at = self.misunderstand(request.at);
        let mut answer = self.0.status.clone().get_chunks(request.clone()).await?.into_inner();
        if self.0.lie == Lie::NeighborHeader {
            answer = self.neighbor(&request, answer).await?;
        }
        Ok(Response::new(self.chunks(answer)))
    }

    type ExportListStream = Pieces;

    async fn export_list(
        &self,
        request: Request<v1::ExportListRequest>,
    ) -> Result<Response<Pieces>, Status> {
        let mut request = request.into_inner();
        request.at = self.misunderstand(request.at);
        let mut stream = self.0.status.clone().export_list(request).await?.into_inner();
        let mut pieces = Vec::new();
        while let Some(piece) = stream.message().await? {
            pieces.push(piece);
        }
        let told: Vec<_> = self.pieces(pieces).into_iter().map(Ok).collect();
        Ok(Response::new(futures::stream::iter(told)))
    }

    type WatchListStream = tonic::Streaming<v1::ListChange>;

    async fn watch_list(
        &self,
        request: Request<v1::WatchListRequest>,
    ) -> Result<Response<Self::WatchListStream>, Status> {
        self.0.status.clone().watch_list(request.into_inner()).await
    }
}

#[async_trait]
impl TrustRegistry for Server {
    async fn get_authority(
        &self,
        request: Request<v1::GetAuthorityRequest>,
    ) -> Result<Response<v1::StateAnswer>, Status> {
        let mut request = request.into_inner();
        request.at = self.misunderstand(request.at);
        let mut answer = self.0.trust.clone().get_authority(request).await?.into_inner();
        match (self.0.lie, &mut answer.proof) {
            // Without the first leaf of the walk there is no grant.
            (Lie::WithheldRight, Some(proof)) if !proof.entries.is_empty() => {
                proof.entries.remove(0);
            }
            _ => {}
        }
        Ok(Response::new(answer))
    }

    async fn get_grants(
        &self,
        request: Request<v1::GetGrantsRequest>,
    ) -> Result<Response<v1::StateProof>, Status> {
        self.0.trust.clone().get_grants(request.into_inner()).await
    }

    async fn get_type(
        &self,
        request: Request<v1::GetTypeRequest>,
    ) -> Result<Response<v1::StateProof>, Status> {
        self.0.trust.clone().get_type(request.into_inner()).await
    }
}
