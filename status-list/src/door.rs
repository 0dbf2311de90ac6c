//! What a door answers: made once for each state and form, kept within bounds, and told with the headers of HTTP.
//!
//! A list of a million entries is a megabyte or more in each form. So few are made at once, each once for all who ask for
//! it, and to its end also when they go away: what was made serves whoever asks until the next state. The bytes of all
//! bodies, also of those that a slow caller still reads, have a bound. The past has its own part of everything, so who
//! asks about a thousand moments keeps nobody from the present. How long others may keep an answer is told by its own end,
//! never beyond it.

use crate::compress::gzip_body;
use crate::document::{Listed, Publisher, TTL_S, View};
use crate::jws::Signer;
use crate::request::{Asked, Content, ListRequest, Question, Refusal, read, read_path};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use sillok_did_method::binding::ascii;
use sillok_did_method::format_datetime;
use sillok_ledger::StateFault;
use sillok_proto::Hash;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// What a door takes on, of the present or of the past.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Lists that are made at once.
    making: usize,
    /// Most bytes of bodies that are kept.
    kept_bytes: usize,
    /// Most KiB of bodies in all, kept and on their way.
    bodies_kib: usize,
}

const PRESENT: Limits = Limits { making: 2, kept_bytes: 48 << 20, bodies_kib: 128 << 10 };
const PAST: Limits = Limits { making: 1, kept_bytes: 16 << 20, bodies_kib: 64 << 10 };
/// Most bodies that are kept of either: small ones too have their price.
const KEPT_MAX: usize = 1_024;
/// When to come again to a door that cannot answer now, in seconds.
const RETRY_AFTER_S: &str = "5";

/// Where a door reads lists: a node its own state, a status issuer what it verified.
pub trait Source: Clone + Send + Sync + 'static {
    /// What was made is served while this stays the same.
    fn turn(&self) -> u64;

    /// The clock, in milliseconds since 1970: how long others may keep an answer, and nothing that is in it.
    fn now_ms(&self) -> u64;

    /// Reads a whole list as of a moment, with what proves it; and the turn until whose end it serves.
    fn read(
        &self,
        list: Hash,
        asked: Asked,
    ) -> impl Future<Output = Result<(u64, Arc<Listed>), Refusal>> + Send;
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
    digest: Vec<u8>,
    time_ms: u64,
    until_s: u64,
    is_present: bool,
    /// Where the same state is with our proof, of a signed form.
    proof: Option<String>,
}

/// A list that is made, or was: whoever asks for it waits for this one.
type Flight = watch::Receiver<Option<Result<Arc<Made>, Refusal>>>;

#[derive(Debug, Default)]
struct Kept {
    /// The oldest first, each with its turn.
    all: VecDeque<(Content, u64, Arc<Made>)>,
    bytes: usize,
    /// What is made now, as many as are made at once.
    flights: BTreeMap<Content, Flight>,
}

impl Kept {
    /// What serves in this turn: kept, or still made.
    fn find(&self, content: &Content, turn: u64) -> Option<Flight> {
        let kept = self.all.iter().find(|(other, of, _)| *of == turn && other == content);
        let kept = kept.map(|(_, _, made)| watch::channel(Some(Ok(made.clone()))).1);
        // One that ended without an end is none.
        let made_now = || self.flights.get(content).filter(|flight| flight.has_changed().is_ok());
        kept.or_else(|| made_now().cloned())
    }

    /// Keeps it, unless the turn went on while it was made.
    fn put(&mut self, content: Content, turn: u64, made: Arc<Made>, bytes_max: usize) {
        if self.all.iter().any(|(_, of, _)| *of > turn) {
            return;
        }
        self.all.retain(|(other, of, _)| *of == turn && *other != content);
        self.bytes = self.all.iter().map(|(_, _, made)| made.body.len()).sum();
        self.bytes += made.body.len();
        self.all.push_back((content, turn, made));
        while self.bytes > bytes_max || self.all.len() > KEPT_MAX {
            let Some((_, _, oldest)) = self.all.pop_front() else { break };
            self.bytes -= oldest.body.len();
        }
    }

    fn forget(&mut self) {
        self.all.clear();
        self.bytes = 0;
    }
}

/// What is made and kept of the present, or of the past.
#[derive(Debug)]
struct Part {
    limits: Limits,
    kept: Mutex<Kept>,
    making: Arc<Semaphore>,
    room: Arc<Semaphore>,
}

impl Part {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            kept: Mutex::default(),
            making: Arc::new(Semaphore::new(limits.making)),
            room: Arc::new(Semaphore::new(limits.bodies_kib)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The body with its part of the room, which it gives back when nobody keeps or reads it any more.
    fn hold(&self, bytes: Vec<u8>) -> Result<Bytes, Refusal> {
        let kib = u32::try_from(bytes.len() / 1024 + 1).map_err(|_| Refusal::internal())?;
        let take = || self.room.clone().try_acquire_many_owned(kib).ok();
        let room = take().or_else(|| {
            self.lock().forget();
            take()
        });
        let room = room.ok_or_else(|| {
            Refusal::new(503, "BUSY", "too many lists are on their way; come again a little later")
        })?;
        Ok(Bytes::from_owner(Held { bytes, _room: room }))
    }
}

/// A door for the lists of a network.
#[derive(Debug)]
pub struct Door<S> {
    inner: Arc<Inner<S>>,
}

#[derive(Debug)]
struct Inner<S> {
    source: S,
    publisher: Publisher,
    signer: Option<Signer>,
    present: Part,
    past: Part,
}

impl<S: Source> Door<S> {
    /// A door that signs with `signer`, or does not.
    #[must_use]
    pub fn new(source: S, publisher: Publisher, signer: Option<Signer>) -> Self {
        let (present, past) = (Part::new(PRESENT), Part::new(PAST));
        Self { inner: Arc::new(Inner { source, publisher, signer, present, past }) }
    }

    /// Is this the path of a list?
    #[must_use]
    pub fn serves(&self, path: &str) -> bool {
        read_path(self.inner.publisher.path(), path).is_some()
    }

    /// Answers a GET or HEAD of a path that it [serves](Self::serves). What is begun for it ends also when this is
    /// dropped, and needs the runtime of tokio.
    pub async fn answer(&self, request: &ListRequest<'_>) -> HttpAnswer {
        self.find(request).await.unwrap_or_else(HttpAnswer::from)
    }

    async fn find(&self, request: &ListRequest<'_>) -> Result<HttpAnswer, Refusal> {
        let named = read_path(self.inner.publisher.path(), request.path);
        let named = named.ok_or_else(|| {
            Refusal::new(404, "UNKNOWN_LIST", "the path is not one of a list; look at its URI")
        })?;
        let question = read(named, self.inner.signer.is_some(), request)?;
        let made = self.made(question.content).await?;
        Ok(self.tell(&question, request, &made))
    }

    /// What was made in this turn, or is made now: of those who wait for the same list the first begins it.
    async fn made(&self, content: Content) -> Result<Arc<Made>, Refusal> {
        let part = self.inner.part(content.asked);
        let found = part.lock().find(&content, self.inner.source.turn());
        let mut flight = if let Some(flight) = found {
            flight
        } else {
            // Who goes away before it is begun leaves nothing behind.
            let place = part.making.clone().acquire_owned().await;
            self.begin(content, place.map_err(|_| Refusal::internal())?)
        };
        let ended = flight.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone());
        ended.unwrap_or_else(|| Err(Refusal::internal()))
    }

    /// Begins to make it, unless somebody did meanwhile. Its place among those made at once is its own until it ends.
    fn begin(&self, content: Content, place: OwnedSemaphorePermit) -> Flight {
        let mut kept = self.inner.part(content.asked).lock();
        if let Some(flight) = kept.find(&content, self.inner.source.turn()) {
            return flight;
        }
        let (end, flight) = watch::channel(None);
        kept.flights.insert(content, flight.clone());
        drop(kept);
        let inner = self.inner.clone();
        tokio::spawn(async move {
            let made = inner.clone().work(content).await;
            end.send_replace(Some(inner.land(content, made)));
            drop(place);
        });
        flight
    }

    fn tell(&self, question: &Question, request: &ListRequest<'_>, made: &Made) -> HttpAnswer {
        let entity_tag = entity_tag(question.media_type, &made.digest);
        let mut headers = vec![
            ("etag", entity_tag.clone()),
            ("last-modified", http_date(made.time_ms)),
            ("cache-control", self.cache_control(made)),
            ("vary", VARY.to_owned()),
        ];
        if let Some(proof) = &made.proof {
            let media_type = proof_media_type(question.content.view);
            headers.push(("link", format!("<{proof}>; rel=\"alternate\"; type=\"{media_type}\"")));
        }
        if request.if_none_match.is_some_and(|tags| names(tags, &entity_tag)) {
            return HttpAnswer { status: 304, headers, body: Bytes::new() };
        }
        headers.push(("content-type", question.media_type.to_owned()));
        if question.content.gzip {
            headers.push(("content-encoding", "gzip".to_owned()));
        }
        HttpAnswer { status: 200, headers, body: made.body.clone() }
    }

    /// For as long as a verifier would keep it, and not beyond its end, also by a cache that cannot reach us then. By a
    /// clock that is slow it still began at the time of its header.
    fn cache_control(&self, made: &Made) -> String {
        let now_s = (self.inner.source.now_ms() / 1000).max(made.time_ms / 1000);
        let left_s = TTL_S.min(made.until_s.saturating_sub(now_s));
        if made.is_present && left_s > 0 {
            format!("public, max-age={left_s}, must-revalidate")
        } else {
            "no-cache".to_owned()
        }
    }
}

impl<S: Source> Inner<S> {
    const fn part(&self, asked: Asked) -> &Part {
        match asked {
            Asked::Now => &self.present,
            Asked::Height(_) | Asked::Time { .. } => &self.past,
        }
    }

    async fn work(self: Arc<Self>, content: Content) -> Result<(u64, Arc<Made>), Refusal> {
        let (turn, listed) = self.source.read(content.list, content.asked).await?;
        let making = tokio::task::spawn_blocking(move || self.make(content, &listed));
        let made = making.await.map_err(|_| Refusal::internal())??;
        Ok((turn, Arc::new(made)))
    }

    fn make(&self, content: Content, listed: &Listed) -> Result<Made, Refusal> {
        let wrong = |_: StateFault| Refusal::internal();
        let Content { view, gzip, .. } = content;
        let signer = self.signer.as_ref().filter(|_| content.is_signed);
        let bytes = match signer {
            None => ascii(&self.publisher.proved(listed, view).map_err(wrong)?),
            Some(signer) => {
                may_be_signed(listed, self.source.now_ms() / 1000)?;
                let token = self.publisher.signed(listed, view, signer).map_err(wrong)?;
                token.ok_or_else(Refusal::internal)?.into_bytes()
            }
        };
        let bytes = if gzip { gzip_body(&bytes) } else { bytes };
        Ok(Made {
            digest: Sha256::digest(&bytes).to_vec(),
            body: self.part(content.asked).hold(bytes)?,
            time_ms: listed.time_ms,
            until_s: listed.until_s(),
            is_present: listed.is_present(),
            proof: signer.map(|_| self.publisher.proof_uri(listed, view)),
        })
    }

    /// It is kept before anybody is told, so nobody begins it once more.
    fn land(
        &self,
        content: Content,
        made: Result<(u64, Arc<Made>), Refusal>,
    ) -> Result<Arc<Made>, Refusal> {
        let part = self.part(content.asked);
        let mut kept = part.lock();
        kept.flights.remove(&content);
        let (turn, made) = made?;
        kept.put(content, turn, made.clone(), part.limits.kept_bytes);
        Ok(made)
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

fn proof_media_type(view: View) -> &'static str {
    use crate::document::{CREDENTIAL_MEDIA_TYPE, JSON_MEDIA_TYPE};
    if view == View::Token { JSON_MEDIA_TYPE } else { CREDENTIAL_MEDIA_TYPE }
}

fn may_be_signed(listed: &Listed, now_s: u64) -> Result<(), Refusal> {
    if let Some(refusal) = &listed.unsigned {
        return Err(refusal.clone());
    }
    let no = |code, detail: &str| {
        Err(Refusal::new(404, code, detail)
            .with("height", listed.height.to_string())
            .with("iat", listed.from_s())
            .with("exp", listed.until_s()))
    };
    // A token is of the time between its `iat` and its `exp`, and a verifier asks no more of it (Token Status List).
    if listed.asked.time_s().is_some_and(|time_s| time_s > listed.until_s()) {
        return no(
            "NOT_SIGNED_AT_TIME",
            "the last block up to that time is older than the list's max age; ask for the form with the proof, or about another time",
        );
    }
    // Before its end it would be taken for the present, and what was revoked since is in it as valid.
    if !listed.is_present() && now_s <= listed.until_s() {
        return no(
            "NOT_SIGNED_YET",
            "a list of the past is signed once it cannot be taken for the present, after `exp`; ask for the form with the proof, or for the present",
        );
    }
    Ok(())
}

/// Strong: of the bytes and of how they are called. Compressed they are other bytes.
fn entity_tag(media_type: &str, digest: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(media_type);
    hash.update([0]);
    hash.update(digest);
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
