//! The socket of a status issuer: HTTP/1.1 without TLS, which a proxy before it adds.
//!
//! What is answered is [`sillok_status_list::door`]'s. Nothing is logged, by list or by client (PROTOCOL II.6). Behind a
//! proxy all callers have one address, so connections are counted in all and not for each.

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use sillok_status_list::door::{Door, HttpAnswer, Source};
use sillok_status_list::request::{ListRequest, Refusal};
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Most connections at once.
pub const CONNECTIONS_MAX: usize = 192;
/// How long a head may take, and a connection say nothing between two requests.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Longest head, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long a request may take until its answer is begun: one node may be silent for 15 s while the list is read, and
/// another while the right to sign it is.
const ANSWER_WITHIN: Duration = Duration::from_secs(45);
/// How long a connection may last, and then finish what it sends. Who reads slower comes again.
const CONNECTION_WITHIN: Duration = Duration::from_secs(120);
const CLOSE_WITHIN: Duration = Duration::from_secs(20);
/// Pause after a connection could not be accepted, which is mostly for want of descriptors.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

type Answer = Response<Full<Bytes>>;

/// Serves until `stop`.
pub async fn serve<S: Source>(
    door: Door<S>,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send,
) {
    let (door, room) = (Arc::new(door), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    let mut open = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = async {
            let place = room.clone().acquire_owned().await.ok()?;
            Some((place, listener.accept().await))
        };
        let next = tokio::select! {
            next = accepted => next,
            () = &mut stop => None,
        };
        match next {
            None => break,
            Some((_, Err(_))) => sleep(ACCEPT_AGAIN_AFTER).await,
            Some((place, Ok((stream, _)))) => {
                let door = door.clone();
                open.spawn(async move {
                    answer_all(door, stream).await;
                    drop(place);
                });
            }
        }
        while open.try_join_next().is_some() {}
    }
    open.shutdown().await;
}

async fn answer_all<S: Source>(door: Arc<Door<S>>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let door = door.clone();
        async move { Ok::<_, Infallible>(respond(&door, request).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    // What went wrong on a stranger's connection is the stranger's.
    if timeout(CONNECTION_WITHIN, serving.as_mut()).await.is_err() {
        serving.as_mut().graceful_shutdown();
        let _ = timeout(CLOSE_WITHIN, serving).await;
    }
}

async fn respond<S: Source>(door: &Door<S>, request: Request<Incoming>) -> Answer {
    let (head, _) = request.into_parts();
    let path = head.uri.path();
    let answer = match head.method {
        _ if !door.serves(path) => Refusal::new(
            404,
            "NOT_FOUND",
            "there is nothing here but status lists; look at the URI",
        )
        .into(),
        Method::GET | Method::HEAD => {
            let line = |name| joined(&head.headers, name);
            let accept = line(header::ACCEPT);
            let accept_encoding = line(header::ACCEPT_ENCODING);
            let if_none_match = line(header::IF_NONE_MATCH);
            let request = ListRequest {
                path,
                query: head.uri.query(),
                accept: accept.as_deref(),
                accept_encoding: accept_encoding.as_deref(),
                if_none_match: if_none_match.as_deref(),
            };
            let answered = timeout(ANSWER_WITHIN, Box::pin(door.answer(&request))).await;
            answered.unwrap_or_else(|_| {
                Refusal::new(503, "BUSY", "the list was not ready in time; come again").into()
            })
        }
        Method::OPTIONS => {
            let allowed = vec![
                ("access-control-allow-methods", "GET, HEAD".to_owned()),
                ("access-control-allow-headers", "accept, if-none-match".to_owned()),
            ];
            HttpAnswer { status: 204, headers: allowed, body: Bytes::new() }
        }
        _ => {
            let refusal = Refusal::new(
                405,
                "METHOD_NOT_ALLOWED",
                "nothing is changed here; the methods are GET, HEAD, OPTIONS",
            );
            let mut answer = HttpAnswer::from(refusal);
            answer.headers.push(("allow", "GET, HEAD, OPTIONS".to_owned()));
            answer
        }
    };
    response(answer)
}

fn response(answer: HttpAnswer) -> Answer {
    let mut response = Answer::new(Full::new(answer.body));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    for (name, value) in answer.headers {
        // Made of digits, names of ours and `list_base`, which is ASCII: all may stand in a header.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    // Public data without credentials: any page may read it (wallets in browsers).
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    let exposed = HeaderValue::from_static("etag, link, retry-after");
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Several headers of one name as one (RFC 9110 §5.3).
fn joined(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let lines: Vec<&str> =
        headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join(","))
}
