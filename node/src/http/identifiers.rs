//! `/1.0/identifiers/…`: what `sillok_did_method::binding` asks for is read at the tip, with its proof.

use super::{Answer, problem, with_body};
use crate::api::Api;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use sillok_did_method::binding::{self, BindingError, HttpAnswer, HttpRequest, Question};
use sillok_did_method::view::ResolutionError;
use tonic::{Code, Status};

pub(super) async fn answer(
    api: &Api,
    identifier: &str,
    query: Option<&str>,
    accept: Option<&str>,
    options: Option<Bytes>,
) -> Answer {
    let request = HttpRequest { identifier, query, accept, options: options.as_deref() };
    let question = match binding::read(api.ledger.chain.network(), &request) {
        Ok(question) => question,
        Err(refused) => return response(refused),
    };
    if let Err(refused) = api.check_joined() {
        let message = &refused.problem.message;
        return response(binding::failure(&question, BindingError::NotReady, message));
    }
    let (reader, asked) = (api.clone(), question.clone());
    let read = move || {
        let tip = reader.ledger.tip();
        match reader.resolution(&tip, asked.did(), &asked.version()) {
            Ok(found) => binding::answer(&asked, reader.ledger.chain.hash().as_bytes(), &found),
            Err(status) => failure(&asked, &status),
        }
    };
    response(api.blocking(read).await.unwrap_or_else(|status| failure(&question, &status)))
}

/// The binding's error for one of the gRPC doors, which say in the message what to do.
fn failure(question: &Question, status: &Status) -> HttpAnswer {
    let error = match status.code() {
        Code::NotFound => ResolutionError::NotFound.into(),
        Code::Unavailable => BindingError::NotReady,
        _ => ResolutionError::InternalError.into(),
    };
    binding::failure(question, error, status.message())
}

fn response(answer: HttpAnswer) -> Answer {
    let HttpAnswer { status, content_type, location, body } = answer;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match content_type {
        Some(content_type) => with_body(status, content_type, body),
        None => {
            let mut empty = Answer::default();
            *empty.status_mut() = status;
            empty
        }
    };
    if let Some(location) = location {
        let Ok(location) = HeaderValue::try_from(location) else {
            return problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the address of the service is none; ask another node",
            );
        };
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}
