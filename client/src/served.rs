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
use sillok_proto::{Hash, v1};
use sillok_status_list::document::{CREDENTIAL_TYPE, Publisher, TOKEN_BITS, TOKEN_TYPE, View};
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
    /// A credential that names somebody else as its issuer than who signed.
    #[error("the credential names another issuer than who signed it; it is forged")]
    OtherIssuer,
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
    Ok(answer.map(|_| whole))
}

/// Does a served list say what was verified?
///
/// # Errors
///
/// [`ServedListError::OtherList`], [`ServedListError::OtherTime`], [`ServedListError::OtherEntries`].
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
    /// Checks a signed list: by a key that its DID has for that, and the DID by a grant that holds now. What it says is
    /// its status issuer's word; [`compare`] holds it against what was verified.
    ///
    /// # Errors
    ///
    /// [`ServedListError`]: the first thing that does not hold.
    pub async fn signed_list(
        &self,
        (list, view): (&Hash, View),
        token: &str,
    ) -> Result<Served, ServedListError> {
        let typ = if view == View::Token { TOKEN_TYPE } else { CREDENTIAL_TYPE };
        let token = Jws::read(token, typ)?;
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
        let served = Served::read(view, &token.payload)?;
        let uri = Publisher::of(&self.chain()).uri(list, view);
        if served.uri != uri {
            return Err(ServedListError::OtherList { uri: served.uri });
        }
        if served.issuer.as_ref().is_some_and(|issuer| *issuer != did.to_string()) {
            return Err(ServedListError::OtherIssuer);
        }
        let right = Right {
            organization: did.digest(),
            action: v1::Action::ServeStatus,
            resource: Some(*list),
        };
        let authority = self.authority(&right, Moment::Tip).await?;
        if !authority.fresh().map_err(ReadError::from)?.holds() {
            return Err(ServedListError::NotGranted);
        }
        Ok(served)
    }
}
