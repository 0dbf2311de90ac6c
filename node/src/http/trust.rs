//! `/authorization` and `/recognition` (TRQP v2): the verdict of the walk that blocks run, on the state at the tip.
//!
//! With `?proof=true` the leaves that it read come along, so that a caller runs the same walk and believes no verdict.

use super::{Answer, JSON, problem, with_body};
use crate::api::Api;
use crate::api::moment::Asked;
use crate::api::problem::Refused;
use crate::api::trust::recorded;
use hyper::StatusCode;
use hyper::body::Bytes;
use serde_json::Value;
use sillok_did_method::binding::ascii;
use sillok_did_method::trqp::{self, Authority, Kind, Query, QueryError, Resource};
use sillok_ledger::authority::{self, Link};
use sillok_ledger::overlay::head;
use sillok_ledger::{StateFault, StateView, TreeKey};
use sillok_proto::Hash;
use std::cell::RefCell;
use tonic::{Code, Status};

/// Why there is no verdict.
enum Refusal {
    Query(QueryError),
    Node(Status),
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Node(status)
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        Self::Query(error)
    }
}

pub(super) async fn answer(api: &Api, kind: Kind, query: Option<&str>, body: Bytes) -> Answer {
    let proved = match query.unwrap_or_default() {
        "" => false,
        "proof=true" => true,
        _ => {
            return problem(
                StatusCode::BAD_REQUEST,
                "the query is not proof=true; write that for an answer with its proof, or nothing",
            );
        }
    };
    let query = match trqp::read(kind, api.ledger.chain.network(), &body) {
        Ok(query) => query,
        Err(error) => return refused(&error.into()),
    };
    if let Err(not_ready) = api.check_joined() {
        return refused(&Status::from(not_ready).into());
    }
    let reader = api.clone();
    let read = move || evaluate(&reader, &query, proved);
    match api.blocking(read).await.unwrap_or_else(|status| Err(status.into())) {
        Ok(verdict) => with_body(StatusCode::OK, JSON, ascii(&verdict)),
        Err(refusal) => refused(&refusal),
    }
}

fn refused(refusal: &Refusal) -> Answer {
    let (status, detail) = match refusal {
        Refusal::Query(error) => (error.status(), error.to_string()),
        Refusal::Node(status) => {
            let code = if status.code() == Code::Unavailable { 503 } else { 500 };
            (code, status.message().to_owned())
        }
    };
    problem(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &detail)
}

fn evaluate(api: &Api, query: &Query, proved: bool) -> Result<Value, Refusal> {
    let asked = query.time_ms.map_or(Asked::Tip, |time_ms| Asked::Time { time_ms, known_at: None });
    // By what is known now: grants are never rewritten for a time that has passed.
    let place = api.place(asked, false)?;
    let (network, genesis_hash) = (api.ledger.chain.network(), api.ledger.chain.hash().as_bytes());
    let resource = query.resource.to_bytes();
    let (mut holds, mut proofs, mut state_ms) = (true, Vec::new(), 0);
    for action in query.actions() {
        let seen = RefCell::new(None);
        let answer = api.answer(&place, |state, time_ms| {
            recorded(state, |view| {
                let unknown = unknown(state, query)?;
                let chain = authority::chain(view, &query.entity, action, &resource, time_ms)?;
                seen.replace(Some((unknown, chain)));
                Ok(())
            })
        })?;
        let Some((unknown, chain)) = seen.into_inner() else {
            return Err(Status::from(Refused::internal()).into());
        };
        if let Some(name) = unknown {
            return Err(QueryError::NotRecognized(name).into());
        }
        holds &= query.is_under(&organizations(chain));
        let header = answer.proof.as_ref().and_then(|proof| proof.signed_header.as_ref());
        state_ms = header.and_then(|signed| signed.header.as_ref()).map_or(0, |one| one.time_ms);
        if proved {
            proofs.push(trqp::proof_member(network, genesis_hash, action, &answer));
        }
    }
    Ok(query.answer(holds, state_ms, proved.then_some(Value::Array(proofs))))
}

/// The part of the query that the ledger has never seen.
fn unknown(state: &impl StateView, query: &Query) -> Result<Option<&'static str>, StateFault> {
    if head(state, &query.entity)?.is_none() {
        return Ok(Some("entity_id"));
    }
    if let Authority::Organization(authority) = &query.authority
        && head(state, authority)?.is_none()
    {
        return Ok(Some("authority_id"));
    }
    let key = match query.resource {
        Resource::All => return Ok(None),
        Resource::Type(name) => TreeKey::credential_type(&name),
        Resource::List(name) => TreeKey::status_list(&name),
    };
    Ok(state.leaf(&key)?.is_none().then_some("resource"))
}

fn organizations(chain: Option<Vec<Link>>) -> Vec<Hash> {
    chain.unwrap_or_default().into_iter().map(|link| link.organization).collect()
}
