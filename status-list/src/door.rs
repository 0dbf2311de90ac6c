//! What a door answers: made once for each state and form, kept within bounds, and told with the headers of HTTP.
//!
//! A list of a million entries is a megabyte or more in each form. So few are made at once, what was made serves whoever
//! asks until the next state, and the bytes of all bodies, also of those that a slow caller still reads, have one bound.
//! How long others may keep an answer is told by its own end, never beyond it.

use crate::compress::gzip_body;
use crate::document::{Listed, Publisher, TTL_S, View};
use crate::jws::Signer;
use crate::request::{Asked, ListRequest, Question, Refusal, read, read_path};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use sillok_did_method::binding::ascii;
use sillok_did_method::format_datetime;
use sillok_ledger::StateFault;
use sillok_proto::Hash;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Lists of the present that are made at once.
const MAKING_MAX: usize = 2;
/// Lists of the past that are made at once: whoever asks about a thousand moments keeps nobody from the present.
const MAKING_PAST_MAX: usize = 1;
/// Most bytes of bodies that are kept.
const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most bodies that are kept: small ones too have their price.
const KEPT_MAX: usize = 1_024;
/// Most KiB of bodies in all, kept and on their way.
const BODIES_KIB_MAX: usize = 192 * 1024;
/// When to come again to a door that cannot answer now, in seconds.
const RETRY_AFTER_S: &str = "5";

/// Where a door reads lists: a node its own state, a status issuer what it verified.
pub trait Source: Clone + Send + Sync + 'static {
    /// What was made is served while this stays the same.
    fn turn(&self) -> u64;

    /// The clock, in milliseconds since 1970: how long others may keep an answer, and nothing that is in it.
    fn now_ms(&self) -> u64;

    /// Reads a whole list as of a moment, with what proves it.
    fn read(
        &self,
        list: Hash,
        asked: Asked,
    ) -> impl Future<Output = Result<Arc<Listed>, Refusal>> + Send;
}

/// An answer, for whoever has the socket. It adds what is the same for all.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// The headers, by their names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}

impl From<Refusal> for HttpAnswer {
    fn from(refusal: Refusal) -> Self {
        let mut headers = vec![
            ("content-type", "application/problem+json".to_owned()),
            ("cache-control", "no-store".to_owned()),
            ("vary", VARY.to_owned()),
        ];
        if refusal.status == 503 {
            headers.push(("retry-after", RETRY_AFTER_S.to_owned()));
        }
        Self { status: refusal.status, headers, body: refusal.to_json().into() }
    }
}

const VARY: &str = "accept, accept-encoding";

/// A body that was made, and what is told of it.
#[derive(Debug)]
struct Made {
    body: Bytes,
    entity_tag: String,
    time_ms: u64,
    until_s: u64,
    is_present: bool,
    /// Where the same state is with our proof, of a signed form.
    proof: Option<String>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The oldest first.
    all: VecDeque<(Question, u64, Arc<Made>)>,
    bytes: usize,
}

impl Kept {
    /// Keeps it, unless the turn went on while it was made.
    fn put(&mut self, question: Question, turn: u64, made: Arc<Made>) {
        if self.all.iter().any(|(_, of, _)| *of > turn) {
            return;
        }
        self.all.retain(|(other, of, _)| *of == turn && *other != question);
        self.bytes = self.all.iter().map(|(_, _, made)| made.body.len()).sum();
        self.bytes += made.body.len();
        self.all.push_back((question, turn, made));
        while self.bytes > KEPT_BYTES_MAX || self.all.len() > KEPT_MAX {
            let Some((_, _, oldest)) = self.all.pop_front() else { break };
            self.bytes -= oldest.body.len();
        }
    }
}

/// A door for the lists of a network.
#[derive(Debug)]
pub struct Door<S> {
    source: S,
    publisher: Arc<Publisher>,
    signer: Option<Arc<Signer>>,
    kept: Mutex<Kept>,
    making: Semaphore,
    making_past: Semaphore,
    room: Arc<Semaphore>,
}

impl<S: Source> Door<S> {
    /// A door that signs with `signer`, or does not.
    #[must_use]
    pub fn new(source: S, publisher: Publisher, signer: Option<Signer>) -> Self {
        Self {
            source,
            publisher: Arc::new(publisher),
            signer: signer.map(Arc::new),
            kept: Mutex::default(),
            making: Semaphore::new(MAKING_MAX),
            making_past: Semaphore::new(MAKING_PAST_MAX),
            room: Arc::new(Semaphore::new(BODIES_KIB_MAX)),
        }
    }

    /// Is this the path of a list?
    #[must_use]
    pub fn serves(&self, path: &str) -> bool {
        read_path(self.publisher.path(), path).is_some()
    }

    /// Answers a GET or HEAD of a path that it [serves](Self::serves).
    pub async fn answer(&self, request: &ListRequest<'_>) -> HttpAnswer {
        self.find(request).await.unwrap_or_else(HttpAnswer::from)
    }

    async fn find(&self, request: &ListRequest<'_>) -> Result<HttpAnswer, Refusal> {
        let named = read_path(self.publisher.path(), request.path);
        let named = named.ok_or_else(|| {
            Refusal::new(404, "UNKNOWN_LIST", "the path is not one of a list; look at its URI")
        })?;
        let question = read(named, self.signer.is_some(), request)?;
        let made = self.made(question).await?;
        Ok(self.tell(&question, request, &made))
    }

    /// What was made in this turn, or is made now: of those who wait for the same list the first makes it.
    async fn made(&self, question: Question) -> Result<Arc<Made>, Refusal> {
        if let Some(made) = self.kept_of(&question) {
            return Ok(made);
        }
        let making = match question.asked {
            Asked::Now => &self.making,
            Asked::Height(_) | Asked::Time { .. } => &self.making_past,
        };
        let _turn = making.acquire().await.map_err(|_| Refusal::internal())?;
        if let Some(made) = self.kept_of(&question) {
            return Ok(made);
        }
        let turn = self.source.turn();
        let listed = self.source.read(question.list, question.asked).await?;
        let (publisher, signer) = (self.publisher.clone(), self.signer.clone());
        let (bytes, told) = tokio::task::spawn_blocking(move || {
            let bytes = make(&publisher, signer.as_deref(), &question, &listed)?;
            Ok::<_, Refusal>((bytes, Told::of(&publisher, &question, &listed)))
        })
        .await
        .map_err(|_| Refusal::internal())??;
        let entity_tag = entity_tag(&question, &bytes);
        let body = self.hold(bytes)?;
        let Told { time_ms, until_s, is_present, proof } = told;
        let made = Arc::new(Made { body, entity_tag, time_ms, until_s, is_present, proof });
        self.lock().put(question, turn, made.clone());
        Ok(made)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept_of(&self, question: &Question) -> Option<Arc<Made>> {
        let turn = self.source.turn();
        let kept = self.lock();
        let found = kept.all.iter().find(|(other, of, _)| *of == turn && other == question);
        found.map(|(_, _, made)| made.clone())
    }

    /// The body with its part of the room, which it gives back when nobody keeps or reads it any more.
    fn hold(&self, bytes: Vec<u8>) -> Result<Bytes, Refusal> {
        let kib = u32::try_from(bytes.len() / 1024 + 1).map_err(|_| Refusal::internal())?;
        let take = || self.room.clone().try_acquire_many_owned(kib).ok();
        let room = take().or_else(|| {
            *self.lock() = Kept::default();
            take()
        });
        let room = room.ok_or_else(|| {
            Refusal::new(503, "BUSY", "too many lists are on their way; come again a little later")
        })?;
        Ok(Bytes::from_owner(Held { bytes, _room: room }))
    }

    fn tell(&self, question: &Question, request: &ListRequest<'_>, made: &Made) -> HttpAnswer {
        let mut headers = vec![
            ("etag", made.entity_tag.clone()),
            ("last-modified", http_date(made.time_ms)),
            ("cache-control", self.cache_control(made)),
            ("vary", VARY.to_owned()),
        ];
        if let Some(proof) = &made.proof {
            let media_type = proof_media_type(question.view);
            headers.push(("link", format!("<{proof}>; rel=\"alternate\"; type=\"{media_type}\"")));
        }
        if request.if_none_match.is_some_and(|tags| names(tags, &made.entity_tag)) {
            return HttpAnswer { status: 304, headers, body: Bytes::new() };
        }
        headers.push(("content-type", question.form.media_type.to_owned()));
        if question.gzip {
            headers.push(("content-encoding", "gzip".to_owned()));
        }
        HttpAnswer { status: 200, headers, body: made.body.clone() }
    }

    /// For as long as a verifier would keep it, and not beyond its end. By a clock that is slow it still began at the time
    /// of its header.
    fn cache_control(&self, made: &Made) -> String {
        let now_s = (self.source.now_ms() / 1000).max(made.time_ms / 1000);
        let left_s = TTL_S.min(made.until_s.saturating_sub(now_s));
        if made.is_present && left_s > 0 {
            format!("public, max-age={left_s}")
        } else {
            "no-cache".to_owned()
        }
    }
}

/// Bytes and their part of the room.
struct Held {
    bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What is told of a list beside its bytes.
struct Told {
    time_ms: u64,
    until_s: u64,
    is_present: bool,
    proof: Option<String>,
}

impl Told {
    fn of(publisher: &Publisher, question: &Question, listed: &Listed) -> Self {
        let proof = question.form.is_signed.then(|| publisher.proof_uri(listed, question.view));
        Self {
            time_ms: listed.time_ms,
            until_s: listed.until_s(),
            is_present: listed.is_present(),
            proof,
        }
    }
}

fn proof_media_type(view: View) -> &'static str {
    use crate::document::{CREDENTIAL_MEDIA_TYPE, JSON_MEDIA_TYPE};
    if view == View::Token { JSON_MEDIA_TYPE } else { CREDENTIAL_MEDIA_TYPE }
}

fn make(
    publisher: &Publisher,
    signer: Option<&Signer>,
    question: &Question,
    listed: &Listed,
) -> Result<Vec<u8>, Refusal> {
    let wrong = |_: StateFault| Refusal::internal();
    let bytes = match signer.filter(|_| question.form.is_signed) {
        None => ascii(&publisher.proved(listed, question.view).map_err(wrong)?),
        Some(signer) => {
            may_be_signed(listed)?;
            let token = publisher.signed(listed, question.view, signer).map_err(wrong)?;
            token.ok_or_else(Refusal::internal)?.into_bytes()
        }
    };
    Ok(if question.gzip { gzip_body(&bytes) } else { bytes })
}

fn may_be_signed(listed: &Listed) -> Result<(), Refusal> {
    if let Some(refusal) = &listed.unsigned {
        return Err(refusal.clone());
    }
    // A token is of the time between its `iat` and its `exp`, and a verifier asks no more of it (Token Status List).
    match listed.asked.time_s() {
        Some(time_s) if time_s > listed.until_s() => Err(Refusal::new(
            404,
            "NOT_SIGNED_AT_TIME",
            "the last block up to that time is older than the list's max age; ask for the form with the proof, or about another time",
        )
        .with("height", listed.height.to_string())
        .with("iat", listed.from_s())
        .with("exp", listed.until_s())),
        _ => Ok(()),
    }
}

/// Strong: of the bytes and of how they are called.
fn entity_tag(question: &Question, bytes: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(question.form.media_type);
    hash.update([0, u8::from(question.gzip)]);
    hash.update(bytes);
    let digest = hash.finalize();
    format!("\"{}\"", hex::encode(digest.get(..16).unwrap_or_default()))
}

/// Does `If-None-Match` name this tag (RFC 9110 §13.1.2)?
fn names(tags: &str, entity_tag: &str) -> bool {
    tags.trim() == "*"
        || tags
            .split(',')
            .map(str::trim)
            .any(|tag| tag.strip_prefix("W/").unwrap_or(tag) == entity_tag)
}

/// `Sat, 21 Nov 2026 09:00:00 GMT` (RFC 9110 §5.6.7), rounded down.
fn http_date(time_ms: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = format_datetime(time_ms);
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    let month = part(5, 7).parse::<usize>().unwrap_or(1).saturating_sub(1);
    let day = usize::try_from(time_ms / 86_400_000 % 7).unwrap_or_default();
    format!(
        "{}, {} {} {} {} GMT",
        DAYS[day],
        part(8, 10),
        MONTHS[month % 12],
        part(0, 4),
        part(11, 19)
    )
}

#[cfg(test)]
mod tests;
