//! `StatusRegistry`: lists and chunks with their proofs, whole lists, and which chunks a block changed.
//!
//! The smallest thing that is served is a chunk of 8,192 entries with all dates beside it, so a question does not tell
//! which entry it is about (PROTOCOL §4.1). Reads leave no trace: no list stands in a log, an error or a metric (II.6).
//! Deliberately absent: lists as others read them (`http/lists`), and what is private (enrollments, contents).

use super::moment::Asked;
use super::problem::{Refused, failed};
use super::streams::StreamKind;
use super::{Api, STREAM_READY_MAX};
use sillok_ledger::answer::{self, CHUNK_NUMBERS, CHUNKS_MAX, LISTS_MAX};
use sillok_ledger::overlay::LEAF_BYTES_MAX;
use sillok_ledger::{Retry, StateView, TreeKey};
use sillok_proto::v1::status_registry_server::StatusRegistry;
use sillok_proto::{Hash, v1};
use std::collections::BTreeSet;
use std::pin::Pin;
use tokio::sync::mpsc::Sender;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

/// Pieces of a list ready for a caller that reads slowly.
const PIECES_READY_MAX: usize = 2;

type AnswerStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl StatusRegistry for Api {
    type ExportListStream = AnswerStream<v1::StateAnswer>;
    type WatchListStream = AnswerStream<v1::ListChange>;

    async fn get_list(
        &self,
        request: Request<v1::GetListRequest>,
    ) -> Result<Response<v1::StateProof>, Status> {
        let request = request.into_inner();
        let keys = answer::list_keys(&read_lists(&request.lists)?);
        self.tip_at(request.min_height.max(1)).await?;
        let api = self.clone();
        self.blocking(move || api.state_proof(&api.ledger.tip(), &keys)).await?.map(Response::new)
    }

    async fn get_chunks(
        &self,
        request: Request<v1::GetChunksRequest>,
    ) -> Result<Response<v1::StateAnswer>, Status> {
        let request = request.into_inner();
        let list = read_list(&request.list)?;
        check_chunks(&request.chunks)?;
        let asked = Asked::read(request.at)?;
        self.tip_at(request.min_height.max(asked.height()).max(1)).await?;
        let keys = answer::chunk_keys(&list, &request.chunks);
        let api = self.clone();
        let read = move || api.answer(&api.place(asked, true)?, |_, _| Ok(keys.clone()));
        self.blocking(read).await?.map(Response::new)
    }

    async fn export_list(
        &self,
        request: Request<v1::ExportListRequest>,
    ) -> Result<Response<Self::ExportListStream>, Status> {
        let place = self.stream_place(&request, StreamKind::Export)?;
        let request = request.into_inner();
        let list = read_list(&request.list)?;
        let asked = Asked::read(request.at)?;
        self.tip_at(request.min_height.max(asked.height()).max(1)).await?;
        let (sender, receiver) = tokio::sync::mpsc::channel(PIECES_READY_MAX);
        let api = self.clone();
        tokio::spawn(async move {
            let _place = place;
            if let Err(status) = api.send_list(list, asked, &sender).await {
                api.pass(&sender, Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn watch_list(
        &self,
        request: Request<v1::WatchListRequest>,
    ) -> Result<Response<Self::WatchListStream>, Status> {
        let place = self.stream_place(&request, StreamKind::Subscription)?;
        let request = request.into_inner();
        let list = read_list(&request.list)?;
        let tip = self.ledger.tip().height();
        let after = request.after_height.unwrap_or(tip);
        if after > tip {
            return Err(self.stale(after).into());
        }
        let api = self.clone();
        if self.blocking(move || api.capacity(&list, tip)).await??.is_none() {
            return Err(Refused::new(
                Code::NotFound,
                "UNKNOWN_LIST",
                format!("there is no such list at height {tip}; look at its name, or wait for it"),
                Retry::AfterFix,
            )
            .with("height", tip)
            .into());
        }
        let (sender, receiver) = tokio::sync::mpsc::channel(STREAM_READY_MAX);
        let api = self.clone();
        tokio::spawn(async move {
            let _place = place;
            if let Err(status) = api.send_changes(list, after, &sender).await {
                api.pass(&sender, Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

fn read_list(name: &[u8]) -> Result<Hash, Refused> {
    Hash::from_slice(name).ok_or_else(|| {
        Refused::malformed(
            "INVALID_LIST",
            format!("the name of a list has 32 bytes, not {}", name.len()),
        )
    })
}

fn read_lists(names: &[Vec<u8>]) -> Result<Vec<Hash>, Refused> {
    let refuse = |message: String| Err(Refused::malformed("INVALID_LIST", message));
    if names.is_empty() || names.len() > LISTS_MAX {
        return refuse(format!(
            "{} lists are asked for; ask for 1 to {LISTS_MAX} at a time",
            names.len()
        ));
    }
    let lists = names.iter().map(|name| read_list(name)).collect::<Result<Vec<_>, _>>()?;
    if lists.iter().collect::<BTreeSet<_>>().len() < lists.len() {
        return refuse("a list is asked for twice; name it once".to_owned());
    }
    Ok(lists)
}

fn check_chunks(chunks: &[u32]) -> Result<(), Refused> {
    let refuse = |message: String| Err(Refused::malformed("INVALID_CHUNKS", message));
    if chunks.is_empty() || chunks.len() > CHUNKS_MAX {
        return refuse(format!(
            "{} chunks are asked for; ask for 1 to {CHUNKS_MAX} at a time",
            chunks.len()
        ));
    }
    if !chunks.is_sorted_by(|a, b| a < b) {
        return refuse("the chunks do not ascend; name each once, in order".to_owned());
    }
    if chunks.last().is_some_and(|last| *last >= CHUNK_NUMBERS) {
        return refuse(format!("no list has a chunk {CHUNK_NUMBERS} or later; numbers begin at 0"));
    }
    Ok(())
}

impl Api {
    /// The size of a list; `None`: at that height there is none.
    fn capacity(&self, list: &Hash, height: u64) -> Result<Option<u32>, Status> {
        let leaf = self.ledger.storage.at(height).leaf(&TreeKey::status_list(list));
        let read = leaf.map_err(|error| {
            tracing::error!(what = "status", err = %error, "a read failed");
            Status::from(Refused::internal())
        })?;
        let Some(bytes) = read else { return Ok(None) };
        let list: v1::StatusList = sillok_proto::decode(&bytes, LEAF_BYTES_MAX)
            .map_err(|_| Status::from(Refused::internal()))?;
        Ok(Some(list.capacity))
    }

    /// Sends a list in pieces, all as of one place in the chain.
    async fn send_list(
        &self,
        list: Hash,
        asked: Asked,
        sender: &Sender<Result<v1::StateAnswer, Status>>,
    ) -> Result<(), Status> {
        let api = self.clone();
        let (place, chunks) = self
            .blocking(move || -> Result<_, Status> {
                let place = api.place(asked, true)?;
                let capacity = api.capacity(&list, place.known())?;
                Ok((place, capacity.unwrap_or(0) / sillok_did_method::CHUNK_ENTRIES))
            })
            .await??;
        let numbers: Vec<u32> = (0..chunks).collect();
        // Of a list that there is not, one piece without chunks shows that.
        let pieces: Vec<&[u32]> =
            if numbers.is_empty() { vec![&[]] } else { numbers.chunks(CHUNKS_MAX).collect() };
        for piece in pieces {
            let keys = answer::chunk_keys(&list, piece);
            let (api, at) = (self.clone(), place.clone());
            let piece = self.blocking(move || api.answer(&at, |_, _| Ok(keys.clone()))).await??;
            if !self.pass(sender, Ok(piece)).await {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Sends what each block after a height changed of a list, then each as it is committed.
    async fn send_changes(
        &self,
        list: Hash,
        after: u64,
        sender: &Sender<Result<v1::ListChange, Status>>,
    ) -> Result<(), Status> {
        let mut tips = self.ledger.watch_tip();
        let mut stop = self.stop.clone();
        let mut height = after.saturating_add(1);
        loop {
            let reached = tokio::select! {
                reached = tips.wait_for(|tip| tip.height() >= height) => reached.is_ok(),
                () = sender.closed() => false,
                _ = stop.wait_for(|stop| *stop) => false,
            };
            if !reached {
                return Ok(());
            }
            let api = self.clone();
            let change = self.blocking(move || api.change_of(&list, height)).await??;
            if !self.pass(sender, Ok(change)).await {
                return Ok(());
            }
            height += 1;
        }
    }

    /// What a block changed of a list.
    fn change_of(&self, list: &Hash, height: u64) -> Result<v1::ListChange, Status> {
        let storage = &self.ledger.storage;
        let events = storage.events(height).map_err(failed("watch_list"))?;
        let header = storage.header(height).map_err(failed("watch_list"))?;
        let (Some(events), Some(header)) = (events, header) else {
            return Err(self.pruned(height).into());
        };
        let chunks: BTreeSet<u32> = events
            .transactions
            .iter()
            .flat_map(|transaction| &transaction.written)
            .flat_map(|written| &written.changed)
            .filter(|changed| changed.list == list.0)
            .flat_map(|changed| changed.chunks.iter().copied())
            .collect();
        let chunks = chunks.into_iter().collect();
        Ok(v1::ListChange { height, time_ms: header.time_ms, chunks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_ascend_and_are_few() {
        let refused = |chunks: &[u32]| check_chunks(chunks).unwrap_err().problem.message;
        let all: Vec<u32> = (0..16).collect();
        assert_eq!(check_chunks(&all), Ok(()));
        assert_eq!(check_chunks(&[127]), Ok(()));
        assert!(refused(&[]).contains("1 to 16"));
        assert!(refused(&(0..17).collect::<Vec<_>>()).contains("1 to 16"));
        assert!(refused(&[1, 1]).contains("ascend") && refused(&[2, 1]).contains("ascend"));
        assert!(refused(&[128]).contains("128"));
    }

    #[test]
    fn lists_are_named_once_and_are_few() {
        let refused = |lists: &[Vec<u8>]| read_lists(lists).unwrap_err().problem.message;
        let list = |n: u8| vec![n; 32];
        assert_eq!(read_lists(&[list(2), list(1)]).unwrap(), [Hash([2; 32]), Hash([1; 32])]);
        assert!(refused(&[]).contains("1 to 16"));
        assert!(refused(&(0..17).map(list).collect::<Vec<_>>()).contains("1 to 16"));
        assert!(refused(&[list(1), list(1)]).contains("twice"));
        // What is wrong with a name is said without the name (II.6).
        assert!(refused(&[vec![1; 31]]).contains("not 31"));
    }
}
