//! A status issuer: it signs lists that it verified, while the ledger says that it may (PROTOCOL §4.5).
//!
//! It reads any node as a client does, so a node that lies or is cut off has it sign nothing wrong: a list is as of its
//! header, and one older than its own max age is not signed at all. Deliberately absent: the socket
//! ([`crate::status_door`]), and the documents themselves (`sillok_status_list`).

use crate::keys::SecretKey;
use crate::read::{Client, ReadError};
use crate::verify::authority::Right;
use crate::verify::moment::Moment;
use crate::verify::status::WholeList;
use crate::verify::{Answer, Asked as AskedVersion, Resolution, VerifyError};
use sillok_did_method::{ASSERTION_METHOD, Did};
use sillok_proto::{Hash, v1};
use sillok_status_list::document::{Listed, Publisher};
use sillok_status_list::door::{Door, Source};
use sillok_status_list::jws::{JwsError, Signer};
use sillok_status_list::request::{Asked, Refusal};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long what was read serves.
pub const TURN: Duration = Duration::from_secs(5);
/// Lists that are held between two forms of them, of the present and of the past.
const HELD_MAX: usize = 4;

/// Who serves lists, and what it read last.
#[derive(Debug, Clone)]
pub struct StatusIssuer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: Client,
    publisher: Publisher,
    did: Did,
    key: v1::PublicKey,
    began: Instant,
    present: Mutex<VecDeque<Held>>,
    /// Apart, so that questions about the past push nothing else out.
    past: Mutex<VecDeque<Held>>,
}

/// A list that was read in a turn.
#[derive(Debug)]
struct Held {
    list: Hash,
    asked: Asked,
    turn: u64,
    listed: Arc<Listed>,
}

impl StatusIssuer {
    /// The door of `did`, which signs with `key`. Whether it may is asked for each list.
    ///
    /// # Errors
    ///
    /// [`JwsError`] of a key that signs nothing.
    pub fn door(client: Client, did: Did, key: &SecretKey) -> Result<Door<Self>, JwsError> {
        let publisher = Publisher::of(&client.chain());
        let public = key.public().clone();
        let secret = key.clone();
        let signer = Signer::new(did.clone(), &public, move |bytes| secret.sign(bytes).ok())?;
        let inner = Inner {
            client,
            publisher: publisher.clone(),
            did,
            key: public,
            began: Instant::now(),
            present: Mutex::default(),
            past: Mutex::default(),
        };
        Ok(Door::new(Self { inner: Arc::new(inner) }, publisher, Some(signer)))
    }

    fn held(&self, asked: Asked) -> MutexGuard<'_, VecDeque<Held>> {
        let Inner { present, past, .. } = &*self.inner;
        let held = if asked == Asked::Now { present } else { past };
        held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch(&self, list: Hash, asked: Asked) -> Result<Listed, Refusal> {
        let Inner { client, publisher, .. } = &*self.inner;
        let exported = client.exported_list(&list, moment(asked)).await;
        let (answer, pieces) = exported.map_err(|error| match asked {
            Asked::Now => refusal(&error).for_now(),
            Asked::Height(_) | Asked::Time { .. } => refusal(&error),
        })?;
        let Some(whole) = answer.even_if_stale() else {
            return Err(Refusal::unknown_list(publisher.proof(&pieces)));
        };
        let known_height = match asked {
            Asked::Height(height) | Asked::Time { known_at: Some(height), .. } => height,
            Asked::Now | Asked::Time { known_at: None, .. } => answer.height(),
        };
        let unsigned = self.may_sign(&list, whole, &answer).await.err();
        Ok(Listed {
            name: list,
            list: whole.list.clone(),
            asked,
            states: whole.token_status_list().to_vec(),
            height: whole.header.height(),
            time_ms: whole.header.time_ms(),
            known_height,
            pieces,
            unsigned,
        })
    }

    /// May it be signed, by what the certified header says?
    async fn may_sign<T>(
        &self,
        list: &Hash,
        whole: &WholeList,
        answer: &Answer<T>,
    ) -> Result<(), Refusal> {
        // By whole seconds, like `iat` and `exp`: nothing is signed that has ended.
        let until_s = (answer.time_ms() / 1000).saturating_add(whole.list.max_age_s.into());
        if self.now_ms() / 1000 >= until_s {
            return Err(Refusal::new(
                503,
                "STALE",
                "no block that could be verified is younger than the list's max age, so nothing is signed; ask for the form with the proof, or come again",
            )
            .with("height", answer.height().to_string()));
        }
        let Inner { client, did, key, .. } = &*self.inner;
        let right = Right {
            organization: did.digest(),
            action: v1::Action::ServeStatus,
            resource: Some(*list),
        };
        let (authority, resolved) = tokio::try_join!(
            Box::pin(client.authority(&right, Moment::Height(answer.height()))),
            Box::pin(client.resolve(did, AskedVersion::Current)),
        )
        .map_err(|error| refusal(&error).for_now())?;
        if !authority.even_if_stale().holds() {
            return Err(Refusal::new(
                503,
                "NOT_GRANTED",
                "the organization of this door may not serve the list; ask another status issuer, or for the form with the proof",
            ));
        }
        if !has_key(resolved.answer.even_if_stale(), key, answer.time_ms()) {
            return Err(Refusal::new(
                503,
                "KEY_NOT_IN_FORCE",
                "the key of this door is not an assertionMethod of its did any more; ask another status issuer, or for the form with the proof",
            ));
        }
        Ok(())
    }
}

/// Is this a key by which the DID signs what it says, at this time?
pub(crate) fn has_key(resolution: &Resolution, key: &v1::PublicKey, time_ms: u64) -> bool {
    let Some(version) = &resolution.version else { return false };
    version.document_or_empty().keys.iter().any(|bound| {
        bound.key.as_ref() == Some(key)
            && bound.relationships & ASSERTION_METHOD != 0
            && (bound.expires_ms == 0 || time_ms < bound.expires_ms)
    })
}

impl Source for StatusIssuer {
    fn turn(&self) -> u64 {
        self.inner.began.elapsed().as_secs() / TURN.as_secs()
    }

    fn now_ms(&self) -> u64 {
        self.inner.client.options().clock.now_ms()
    }

    async fn read(&self, list: Hash, asked: Asked) -> Result<(u64, Arc<Listed>), Refusal> {
        let turn = self.turn();
        let same = |one: &&Held| (one.list, one.asked, one.turn) == (list, asked, turn);
        if let Some(held) = self.held(asked).iter().find(same) {
            return Ok((turn, held.listed.clone()));
        }
        let listed = Arc::new(Box::pin(self.fetch(list, asked)).await?);
        // It serves from now on, however long it took.
        let turn = self.turn();
        let mut held = self.held(asked);
        held.retain(|one| one.turn >= turn);
        held.truncate(HELD_MAX - 1);
        held.push_front(Held { list, asked, turn, listed: listed.clone() });
        Ok((turn, listed))
    }
}

const fn moment(asked: Asked) -> Moment {
    match asked {
        Asked::Now => Moment::Tip,
        Asked::Height(height) => Moment::Height(height),
        Asked::Time { time_s, known_at } => {
            Moment::Time { time_ms: time_s.saturating_mul(1000), known_at }
        }
    }
}

/// What a failed read is to whoever asked the door. Which node it was, and what exactly it did, is not theirs to know.
fn refusal(error: &ReadError) -> Refusal {
    use crate::connection::CallError;
    match error {
        ReadError::Call(CallError::Refused { problem, .. })
        | ReadError::Unproved { problem, .. } => {
            Refusal::of_node(&problem.code, &problem.message, &problem.fields)
        }
        ReadError::Verify { source, .. } => match &**source {
            VerifyError::TimeToCome { .. } => Refusal::new(404, "STALE", source.to_string()),
            _ => unreachable_node("what a node answered does not hold, so nothing is signed"),
        },
        _ => unreachable_node("no node answered this door"),
    }
}

fn unreachable_node(what: &str) -> Refusal {
    Refusal::new(503, "NODE_UNREACHABLE", format!("{what}; come again, or ask a node"))
}
