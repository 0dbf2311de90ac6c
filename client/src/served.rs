//! Checking lists that somebody served over HTTP: whether who signed may sign them, and whether what they say is so.
//!
//! A signature says that a status issuer said it; a proof says that it is so. Both forms have every entry of the list, so
//! both are compared entry by entry with what was verified.

use crate::read::{Client, ReadError};
use crate::status_issuer::has_key;
use crate::verify::authority::Right;
use crate::verify::moment::Moment;
use crate::verify::status::{ListExport, WholeList};
use crate::verify::{Answer, Asked, Verifier, VerifyError};
use serde_json::Value;
use sillok_did_method::{Did, thumbprint};
use sillok_ledger::light::CLOCK_DRIFT_MS;
use sillok_proto::{Hash, v1};
use sillok_status_list::document::{
    CREDENTIAL_TYPE, Publisher, TOKEN_BITS, TOKEN_TYPE, TTL_S, View,
};
use sillok_status_list::jws::{Jws, JwsError};
use sillok_status_list::served::{Served, ServedError, read_proof};

/// Why a served list is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServedListError {
    /// No signed token, or not one of its key.
    #[error(transparent)]
    Token(#[from] JwsError),
    /// No list of the standard.
    #[error(transparent)]
    Document(#[from] ServedError),
    /// The proof does not hold.
    #[error(transparent)]
    Proof(#[from] VerifyError),
    /// The ledger could not be asked.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The token does not say who signed, or not by a DID of this network.
    #[error("the token names no key of a did of this network; ask another status issuer")]
    NoKey,
    /// The DID has no such key for signing what it says.
    #[error("the key of the token is no assertionMethod of its did; the token is forged or old")]
    KeyNotInForce,
    /// Who signed may not serve the list.
    #[error("who signed the list holds no serve-status on it; ask another status issuer")]
    NotGranted,
    /// A credential that names somebody else as its issuer than who signed; or, unsigned, than whose list it is.
    #[error(
        "the credential names another issuer than who signed it, or than whose list it is; it is forged"
    )]
    OtherIssuer,
    /// It says nothing of the time that was asked about, or not any more.
    #[error("the list is of {from_s} to {until_s} and says nothing of {time_s}; ask for it again")]
    NotOfTime {
        /// Its beginning, in seconds.
        from_s: u64,
        /// Its end.
        until_s: u64,
        /// What was asked about.
        time_s: u64,
    },
    /// It says that it may be taken for the present for longer than the list's max age, or shorter.
    #[error(
        "the list says that it serves for {age_s} s and its max age is {max_age_s} s; ask another status issuer"
    )]
    OtherAge {
        /// What it says.
        age_s: u64,
        /// The max age of the list.
        max_age_s: u64,
    },
    /// Another time to keep it than that of this network.
    #[error("the list says to keep it for {ttl_s} s, and here it is {TTL_S} s; it is forged")]
    OtherTtl {
        /// What it says.
        ttl_s: u64,
    },
    /// Another height than that of the proved header.
    #[error(
        "the list says that it is of height {height}, and the proved header is {proved}; it is forged"
    )]
    OtherHeight {
        /// What it says.
        height: u64,
        /// The height by the proof.
        proved: u64,
    },
    /// Another list.
    #[error("the document is of another list ({uri}); ask for the URI that the credential names")]
    OtherList {
        /// What the document says it is.
        uri: String,
    },
    /// The proof says that there is none.
    #[error("it is proved that there is no such list at that moment; look at its name")]
    NoSuchList,
    /// Another time than that of the proved header, or another end.
    #[error(
        "the document says {from_s} to {until_s}, and the proved header with the list's max age {proved_from_s} to {proved_until_s}; it is forged"
    )]
    OtherTime {
        /// Its beginning, in seconds.
        from_s: u64,
        /// Its end.
        until_s: u64,
        /// The beginning by the proof.
        proved_from_s: u64,
        /// The end by the proof.
        proved_until_s: u64,
    },
    /// An entry, or the length, is not what is proved. Which one is not said: an index names a person (PROTOCOL II.6).
    #[error("the list says something else than what is proved; it is forged")]
    OtherEntries,
}

/// Checks a list with its proof, as of a moment that was asked for: the proof from the trusted header on, and that the
/// document says what is proved, entry by entry.
///
/// # Errors
///
/// [`ServedListError`]: the first thing that does not hold.
pub fn check_proved(
    verifier: Verifier<'_>,
    publisher: &Publisher,
    (list, view): (&Hash, View),
    moment: Moment,
    document: &Value,
) -> Result<Answer<WholeList>, ServedListError> {
    let served = Served::read(view, document)?;
    let mut export = ListExport::new(verifier, *list, moment);
    for piece in read_proof(document)? {
        export.piece(&piece)?;
    }
    let answer = export.finish()?;
    let whole = answer.even_if_stale().clone().ok_or(ServedListError::NoSuchList)?;
    compare(publisher, (list, view), &served, &whole)?;
    if served.issuer.is_some() && served.issuer != publisher.did(&whole.list.issuer) {
        return Err(ServedListError::OtherIssuer);
    }
    Ok(answer.map(|_| whole))
}

/// Does a served list say what was verified? Whom it names as its issuer follows from who vouches for it, and is not
/// compared here.
///
/// # Errors
///
/// [`ServedListError::OtherList`], [`ServedListError::OtherTime`], [`ServedListError::OtherTtl`],
/// [`ServedListError::OtherHeight`], [`ServedListError::OtherEntries`].
pub fn compare(
    publisher: &Publisher,
    (list, view): (&Hash, View),
    served: &Served,
    whole: &WholeList,
) -> Result<(), ServedListError> {
    if served.uri != publisher.uri(list, view) {
        return Err(ServedListError::OtherList { uri: served.uri.clone() });
    }
    let proved_from_s = whole.header.time_ms() / 1000;
    let proved_until_s = proved_from_s.saturating_add(whole.list.max_age_s.into());
    if (served.from_s, served.until_s) != (proved_from_s, proved_until_s) {
        let Served { from_s, until_s, .. } = *served;
        return Err(ServedListError::OtherTime { from_s, until_s, proved_from_s, proved_until_s });
    }
    if served.ttl_s != TTL_S {
        return Err(ServedListError::OtherTtl { ttl_s: served.ttl_s });
    }
    let proved = whole.header.height();
    if let Some(height) = served.height.filter(|height| *height != proved) {
        return Err(ServedListError::OtherHeight { height, proved });
    }
    let bits = if view == View::Token { TOKEN_BITS } else { 1 };
    let bytes = view
        .bytes(whole.token_status_list())
        .map_err(|fault| VerifyError::Contradiction { reason: fault.reason })?;
    if served.bits != bits || served.bytes != bytes {
        return Err(ServedListError::OtherEntries);
    }
    Ok(())
}

impl Client {
    /// Checks a signed list: by a key that its DID has for that, the DID by a grant that holds now, and that it is of the
    /// time asked about: `time_s` in seconds, or now. What it says is its status issuer's word; [`compare`] holds it
    /// against what was verified.
    ///
    /// # Errors
    ///
    /// [`ServedListError`]: the first thing that does not hold.
    pub async fn signed_list(
        &self,
        (list, view): (&Hash, View),
        time_s: Option<u64>,
        token: &str,
    ) -> Result<Served, ServedListError> {
        let typ = if view == View::Token { TOKEN_TYPE } else { CREDENTIAL_TYPE };
        let token = Jws::read(token, typ)?;
        let did = self.check_key(&token).await?;
        let served = Served::read(view, &token.payload)?;
        let uri = Publisher::of(&self.chain()).uri(list, view);
        if served.uri != uri {
            return Err(ServedListError::OtherList { uri: served.uri });
        }
        if served.issuer.as_ref().is_some_and(|issuer| *issuer != did.to_string()) {
            return Err(ServedListError::OtherIssuer);
        }
        self.check_time(&served, time_s)?;
        let right = Right {
            organization: did.digest(),
            action: v1::Action::ServeStatus,
            resource: Some(*list),
        };
        let lists = [*list];
        let (authority, lists) = tokio::try_join!(
            Box::pin(self.authority(&right, Moment::Tip)),
            Box::pin(self.lists(&lists)),
        )?;
        if !authority.fresh().map_err(ReadError::from)?.holds() {
            return Err(ServedListError::NotGranted);
        }
        let found = lists.fresh().map_err(ReadError::from)?.first().and_then(Option::as_ref);
        let max_age_s = found.ok_or(ServedListError::NoSuchList)?.max_age_s.into();
        let age_s = served.until_s.saturating_sub(served.from_s);
        if age_s != max_age_s {
            return Err(ServedListError::OtherAge { age_s, max_age_s });
        }
        Ok(served)
    }

    /// Whose key signed, if its DID has that key for signing now.
    async fn check_key(&self, token: &Jws) -> Result<Did, ServedListError> {
        let (did, fragment) = token.key_id.split_once('#').ok_or(ServedListError::NoKey)?;
        let did = Did::parse(did).map_err(|_| ServedListError::NoKey)?;
        let resolved = self.resolve(&did, Asked::Current).await?;
        let resolution = resolved.answer.fresh().map_err(ReadError::from)?;
        let document = resolution.version.as_ref().map(|version| version.document_or_empty());
        let keys = document.unwrap_or_default().keys;
        let mut keys = keys.iter().filter_map(|bound| bound.key.as_ref());
        let key = keys.find(|key| thumbprint(key).is_ok_and(|id| id == fragment));
        let key = key
            .filter(|key| has_key(resolution, key, resolved.answer.time_ms()))
            .ok_or(ServedListError::KeyNotInForce)?;
        token.verify(key)?;
        Ok(did)
    }

    /// Is it of the time asked about? A clock may be behind the ledger's, within what is allowed for headers.
    fn check_time(&self, served: &Served, time_s: Option<u64>) -> Result<(), ServedListError> {
        let Served { from_s, until_s, .. } = *served;
        let now_ms = self.options().clock.now_ms();
        let holds = match time_s {
            Some(time_s) => from_s <= time_s && time_s <= until_s,
            // At its `exp` a token has ended (RFC 7519 §4.1.4).
            None => {
                from_s <= now_ms.saturating_add(CLOCK_DRIFT_MS) / 1000 && now_ms / 1000 < until_s
            }
        };
        if holds {
            return Ok(());
        }
        let time_s = time_s.unwrap_or(now_ms / 1000);
        Err(ServedListError::NotOfTime { from_s, until_s, time_s })
    }
}
