//! Status lists at the path of their URI, each with its proof: what `sillok_status_list` makes of the state of a moment.
//!
//! A node holds no key of a status issuer, so nothing is signed here (decision 29).

use super::{Answer, joined, problem};
use crate::api::Api;
use crate::api::moment::{Asked as Moment, Place};
use crate::api::problem::Refused;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{StatusCode, Uri};
use sillok_did_method::CHUNK_ENTRIES;
use sillok_ledger::StateFault;
use sillok_ledger::answer::{self, CHUNKS_MAX};
use sillok_proto::{Hash, v1};
use sillok_status_list::document::{Listed, Publisher};
use sillok_status_list::door::{Door, HttpAnswer, Source};
use sillok_status_list::request::{Asked, ListRequest, Refusal};
use std::collections::BTreeMap;
use std::sync::Arc;
use tonic::Status;
use tonic_types::StatusExt as _;

/// The lists that this node serves.
pub(super) type Lists = Door<OwnState>;

/// The door of a node's own state.
pub(super) fn of(api: Api) -> Lists {
    let publisher = Publisher::of(&api.ledger.chain);
    Door::new(OwnState { api, publisher: Arc::new(publisher.clone()) }, publisher, None)
}

pub(super) async fn answer(lists: &Lists, uri: &Uri, headers: &HeaderMap) -> Answer {
    let line = |name| joined(headers, name);
    let (accept, accept_encoding) = (line(header::ACCEPT), line(header::ACCEPT_ENCODING));
    let if_none_match = line(header::IF_NONE_MATCH);
    let request = ListRequest {
        path: uri.path(),
        query: uri.query(),
        accept: accept.as_deref(),
        accept_encoding: accept_encoding.as_deref(),
        if_none_match: if_none_match.as_deref(),
    };
    response(lists.answer(&request).await)
}

fn response(answer: HttpAnswer) -> Answer {
    let mut response = Answer::new(Full::new(answer.body));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers {
        let Ok(value) = HeaderValue::try_from(value) else {
            return problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the list has a header that is none; ask another node",
            );
        };
        response.headers_mut().insert(name, value);
    }
    response
}

/// What this node executed.
#[derive(Debug, Clone)]
pub(super) struct OwnState {
    api: Api,
    publisher: Arc<Publisher>,
}

impl Source for OwnState {
    /// Each block is a turn.
    fn turn(&self) -> u64 {
        self.api.ledger.tip().height()
    }

    fn now_ms(&self) -> u64 {
        self.api.ledger.clock().now_ms()
    }

    async fn read(&self, list: Hash, asked: Asked) -> Result<(u64, Arc<Listed>), Refusal> {
        if let Err(joining) = self.api.check_joined() {
            return Err(refusal(&joining.into()));
        }
        let own = self.clone();
        // A block that comes while it is read may have changed it.
        let read = move || {
            let turn = own.turn();
            own.listed(list, asked).map(|listed| (turn, listed))
        };
        let read = self.api.blocking(read).await;
        read.unwrap_or_else(|status| Err(refusal(&status)))
    }
}

impl OwnState {
    fn listed(&self, name: Hash, asked: Asked) -> Result<Arc<Listed>, Refusal> {
        let node = |status: Status| refusal(&status);
        let moment = Moment::read(asked.to_message()).map_err(|refused| node(refused.into()))?;
        let place = self.api.place(moment, true).map_err(node)?;
        let leaf = |height: u64| -> Result<Option<v1::StatusList>, Refusal> {
            let storage = &self.api.ledger.storage;
            let read = answer::chunks(&storage.at(height), &name, &[]).map(|(list, _)| list);
            self.if_kept(&place, read)
        };
        let piece = |numbers: &[u32]| {
            let keys = answer::chunk_keys(&name, numbers);
            self.api.answer(&place, |_, _| Ok(keys.clone())).map_err(node)
        };
        let nothing = piece(&[])?;
        let (in_force, known) = (leaf(place.in_force())?, leaf(place.known())?);
        let (Some(list), Some(known)) = (in_force, known) else {
            return Err(Refusal::unknown_list(self.publisher.proof(&[nothing])));
        };
        let numbers: Vec<u32> = (0..known.capacity / CHUNK_ENTRIES).collect();
        let pieces = numbers.chunks(CHUNKS_MAX).map(piece).collect::<Result<Vec<_>, _>>()?;
        let states = self.if_kept(&place, self.states(&name, &place, &numbers))?;
        let header = self.api.ledger.storage.header(place.in_force());
        let header = header.ok().flatten().ok_or_else(Refusal::internal)?;
        Ok(Arc::new(Listed {
            name,
            list,
            asked,
            states,
            height: header.height,
            time_ms: header.time_ms,
            known_height: place.known(),
            pieces,
            unsigned: None,
        }))
    }

    /// What was read, unless its state went away meanwhile: a leaf that was pruned reads like one that never was.
    fn if_kept<T>(&self, place: &Place, read: Result<T, StateFault>) -> Result<T, Refusal> {
        for height in [place.known(), place.in_force()] {
            self.api.check_kept(height).map_err(|status| refusal(&status))?;
        }
        read.map_err(fault)
    }

    /// The packed states of all chunks, as they are proved.
    fn states(&self, list: &Hash, place: &Place, numbers: &[u32]) -> Result<Vec<u8>, StateFault> {
        let storage = &self.api.ledger.storage;
        let chunks = |height| answer::chunks(&storage.at(height), list, numbers);
        let (_, known) = chunks(place.known())?;
        match place.then() {
            None => answer::packed(&known, None),
            Some(height) => {
                let (_, then) = chunks(height)?;
                answer::packed(&known, Some((&then, place.time_ms())))
            }
        }
    }
}

/// Which list it was is not said (PROTOCOL II.6).
fn fault(fault: StateFault) -> Refusal {
    tracing::error!(what = "lists", err = %fault, "a read failed");
    refusal(&Refused::internal().into())
}

/// What one of the gRPC doors would say, with its code.
fn refusal(status: &Status) -> Refusal {
    let details = status.get_error_details();
    let info = details.error_info();
    let (code, fields) = info.map_or(("", BTreeMap::new()), |info| {
        let fields = info.metadata.iter().map(|(name, value)| (name.clone(), value.clone()));
        (info.reason.as_str(), fields.collect())
    });
    Refusal::of_node(code, status.message(), &fields)
}
