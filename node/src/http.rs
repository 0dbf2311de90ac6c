//! The HTTP door of a node, read-only, for resolvers and verifiers that speak the standards.
//!
//! | path | methods | is |
//! |---|---|---|
//! | `/1.0/identifiers/{did or DID URL}` | GET, HEAD, POST | DID Resolution 1.0, "HTTP(S) Binding" (`identifiers`) |
//! | `/authorization`, `/recognition` | POST | TRQP v2 (`trust`) |
//! | the path of `list_base`, a list, and `/revocation` or `/suspension` | GET, HEAD | status lists (`lists`) |
//!
//! HTTP/1.1 without TLS, which a proxy before the node adds. What is asked and answered is decided by plain functions of
//! `sillok_did_method` and `sillok_status_list`; here are the socket, the limits and the headers. A request is named by
//! its route alone, and none is logged (PROTOCOL II.6). Answers are as of a height, so nothing may keep them as fresh:
//! `no-store`, but for lists, which say until when they hold.

mod identifiers;
mod lists;
mod trust;

use crate::api::Api;
use crate::api::connections::{self, Connection};
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use lists::Lists;
use serde_json::json;
use sillok_did_method::trqp::Kind;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long a head may take, and a connection say nothing between two requests.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Longest head, in bytes, request line included.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Longest body, in bytes: a few options.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// How long a request may take, the body included, until its answer is begun.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// How long a connection may last, and then finish what it sends: who takes a list byte by byte holds it no longer. Who
/// asks more comes again.
const CONNECTION_WITHIN: Duration = Duration::from_secs(120);
const FINISH_WITHIN: Duration = Duration::from_secs(20);
/// How long a connection may take to end when the node stops.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// When to come again to a node that is not ready, in seconds.
const RETRY_AFTER: &str = "5";

const IDENTIFIERS: &str = "/1.0/identifiers/";
/// Longest `X-Request-ID` that is sent back, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;
const REQUEST_ID: &str = "x-request-id";
const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

type Answer = Response<Full<Bytes>>;

/// Serves until the node stops.
pub async fn serve(api: Api, listener: TcpListener) {
    let mut stop = api.stop.clone();
    let mut open = JoinSet::new();
    let lists = Arc::new(lists::of(api.clone()));
    {
        let mut connections = pin!(connections::accept(listener, connections::HTTP));
        loop {
            let next = tokio::select! {
                next = connections.next() => next,
                _ = stop.wait_for(|stop| *stop) => None,
            };
            let Some(Ok(connection)) = next else { break };
            open.spawn(answer_all(api.clone(), lists.clone(), connection));
            while open.try_join_next().is_some() {}
        }
    }
    while open.join_next().await.is_some() {}
}

/// Answers the requests of one connection, one after another.
async fn answer_all(api: Api, lists: Arc<Lists>, connection: Connection) {
    let mut stop = api.stop.clone();
    let service = service_fn(move |request| {
        let (api, lists) = (api.clone(), lists.clone());
        async move { Ok::<_, Infallible>(respond(&api, &lists, request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(connection), service);
    let mut serving = pin!(serving);
    let within = tokio::select! {
        // What went wrong on a stranger's connection is the stranger's.
        _ = serving.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => CLOSE_WITHIN,
        () = sleep(CONNECTION_WITHIN) => FINISH_WITHIN,
    };
    serving.as_mut().graceful_shutdown();
    tokio::select! {
        _ = timeout(within, serving) => {}
        () = async {
            let _ = stop.wait_for(|stop| *stop).await;
            sleep(CLOSE_WITHIN).await;
        } => {}
    }
}

async fn respond(api: &Api, lists: &Lists, request: Request<Incoming>) -> Answer {
    let id = request.headers().get(REQUEST_ID).cloned();
    let answered = timeout(ANSWER_WITHIN, Box::pin(route(api, lists, request))).await;
    let mut answer = answered.unwrap_or_else(|_| {
        problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "the request was not answered in time; try again or ask another node",
        )
    });
    let not_ready = answer.status() == StatusCode::SERVICE_UNAVAILABLE;
    let headers = answer.headers_mut();
    // Public data without credentials: any page may read it (wallets in browsers).
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    let exposed = HeaderValue::from_static("etag, link, retry-after");
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    headers.entry(header::VARY).or_insert(HeaderValue::from_static("accept"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    // So that a caller tells its answers apart (TRQP v2, HTTPS binding). What a cache may keep is nobody's own.
    let is_own = headers.get(header::CACHE_CONTROL).is_some_and(|control| control == "no-store");
    if let Some(id) = id.filter(|id| is_own && id.len() <= REQUEST_ID_BYTES_MAX) {
        headers.insert(REQUEST_ID, id);
    }
    if not_ready {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    }
    answer
}

async fn route(api: &Api, lists: &Lists, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if lists.serves(path) {
        return match head.method {
            Method::GET | Method::HEAD => lists::answer(lists, &head.uri, &head.headers).await,
            Method::OPTIONS => preflight("GET, HEAD", "accept, if-none-match"),
            _ => wrong_method("GET, HEAD, OPTIONS"),
        };
    }
    let kind = match path {
        "/authorization" => Some(Kind::Authorization),
        "/recognition" => Some(Kind::Recognition),
        _ => None,
    };
    if let Some(kind) = kind {
        return match head.method {
            Method::POST if !is_json(&head.headers) => {
                problem(StatusCode::BAD_REQUEST, "the body is not application/json; send JSON")
            }
            Method::POST => match read_body(body).await {
                Ok(bytes) => trust::answer(api, kind, head.uri.query(), bytes).await,
                Err(answer) => answer,
            },
            Method::OPTIONS => preflight("POST", "accept, content-type"),
            _ => wrong_method("POST, OPTIONS"),
        };
    }
    let Some(identifier) = path.strip_prefix(IDENTIFIERS) else {
        return problem(
            StatusCode::NOT_FOUND,
            "there is nothing here; resolve at /1.0/identifiers/{did}, ask for rights at /authorization and /recognition, and for status lists at the path of their URI",
        );
    };
    let options = match head.method {
        Method::GET | Method::HEAD => None,
        Method::POST => match read_body(body).await {
            Ok(bytes) => Some(bytes),
            Err(answer) => return answer,
        },
        Method::OPTIONS => return preflight("GET, HEAD, POST", "accept, content-type"),
        _ => return wrong_method("GET, HEAD, POST, OPTIONS"),
    };
    let accept = accepted(&head.headers);
    identifiers::answer(api, identifier, head.uri.query(), accept.as_deref(), options).await
}

fn is_json(headers: &HeaderMap) -> bool {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = text.and_then(|text| text.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case(JSON))
}

/// The whole body, if it is no longer than it may be.
async fn read_body(body: Incoming) -> Result<Bytes, Answer> {
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            &format!("the body has more than {BODY_BYTES_MAX} bytes; send less"),
        )),
        Err(_) => Err(problem(StatusCode::BAD_REQUEST, "the body ended early; send it again")),
    }
}

/// Several `Accept` headers are one, joined by commas (RFC 9110 §5.3).
fn accepted(headers: &HeaderMap) -> Option<String> {
    joined(headers, header::ACCEPT)
}

/// Several headers of one name as one.
fn joined(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let lines: Vec<&str> =
        headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join(","))
}

/// A page may send these methods, with these headers.
fn preflight(methods: &'static str, names: &'static str) -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(names));
    answer
}

fn wrong_method(allowed: &'static str) -> Answer {
    let mut answer = problem(
        StatusCode::METHOD_NOT_ALLOWED,
        &format!("nothing is changed over HTTP; the methods here are {allowed}"),
    );
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// Problem details (RFC 9457) of the door itself.
fn problem(status: StatusCode, detail: &str) -> Answer {
    let title = status.canonical_reason().unwrap_or_default();
    let json = json!({
        "type": "about:blank",
        "title": title,
        "status": status.as_u16(),
        "detail": detail,
    });
    with_body(status, PROBLEM, sillok_did_method::binding::ascii(&json))
}

fn with_body(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Answer {
    let mut answer = Answer::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
