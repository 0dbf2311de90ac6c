//! Was it so then? A document that was signed years ago, verified as of its time (D4, decision 31).
//!
//! Nothing of the past is trusted: every part is proved from a header that the validators of today certify. The checks
//! are [`crate::verify::as_of`]'s. Versions are looked up in the whole history of the DID, for a node that is asked for
//! one version may give it to the second only, and need not learn which time is meant.

use crate::connection::call_one;
use crate::read::{Client, ReadError};
use crate::verify::as_of::{AsOf, Question};
use crate::verify::authority::Right;
use crate::verify::moment::Moment;
use crate::verify::{Answer, Asked, VerifyError};
use sillok_ledger::light;
use sillok_ledger::proof::VerifiedHeader;
use sillok_ledger::status::chunk_of;
use sillok_proto::v1;
use std::time::Duration;

impl Client {
    /// What a key, an entry and a right were at a time, by what was known at a height.
    ///
    /// With `known_at` the answer is the same for good, so that it is stale says nothing of it. Where a node has pruned
    /// the state of then, the next of the client's nodes is asked.
    ///
    /// # Errors
    ///
    /// [`ReadError`]; of [`VerifyError`] those of [`AsOf::judge`], where the question has no answer; a refusal
    /// `HISTORY_PRUNED`, with the node keys of `archives`, if none of the nodes keeps the state of then.
    pub async fn as_of(&self, question: &Question) -> Result<Answer<AsOf>, ReadError> {
        let history = self.history(&question.did).await?;
        let refuse = |source: VerifyError| ReadError::AsOf(Box::new(source));
        let before = Asked::Before(question.time_ms.saturating_add(1));
        let resolution = history.even_if_stale().resolve(before).map_err(refuse)?;
        let known = match question.known_at {
            None => history.header().clone(),
            Some(height) if height == history.height() => history.header().clone(),
            Some(height) => self.header_at(height).await?,
        };
        if question.time_ms > known.time_ms() {
            let (time_ms, known_ms) = (question.time_ms, known.time_ms());
            return Err(refuse(VerifyError::TimeToCome { time_ms, known_ms }));
        }
        let moment = Moment::Time { time_ms: question.time_ms, known_at: Some(known.height()) };
        let chunks = match question.entry {
            None => None,
            Some((list, index)) => Some(self.chunks(&list, &[chunk_of(index).0], moment).await?),
        };
        let authority = match question.right {
            None => None,
            Some((action, resource)) => {
                let organization = question.did.digest();
                let right = Right { organization, action, resource };
                Some(self.authority(&right, moment).await?)
            }
        };
        let chunks = chunks.as_ref().map(Answer::even_if_stale);
        let authority = authority.as_ref().map(|answer| answer.even_if_stale().clone());
        let judged = AsOf::judge(question, known, resolution, chunks, authority).map_err(refuse)?;
        Ok(history.map(|_| judged))
    }

    /// The header of a height up to the trusted one, as that proves it by its history root.
    ///
    /// # Errors
    ///
    /// [`ReadError`]; [`ReadError::NotYet`] above the trusted height.
    pub async fn header_at(&self, height: u64) -> Result<VerifiedHeader, ReadError> {
        let trusted = self.trusted();
        if height > trusted.height {
            return Err(ReadError::NotYet { height, trusted: trusted.height });
        }
        if let Some(header) = trusted.verified().filter(|header| header.height() == height) {
            return Ok(header);
        }
        let mut last = None;
        for node in self.connection().nodes() {
            let request = v1::GetHistoryProofRequest { height, at_height: trusted.height };
            let mut ledger = node.ledger();
            match call_one(node, Duration::ZERO, ledger.get_history_proof(request)).await {
                Err(error) => last = Some(error),
                Ok(proof) => {
                    let header = proof.header.as_ref();
                    let missing = VerifyError::PastMissing { what: "the header that was known" };
                    let header =
                        header.ok_or(missing).map_err(|error| ReadError::verify(node, error))?;
                    if header.height != height {
                        let (height, asked) = (header.height, height);
                        let other = VerifyError::NotTheHeightAsked { height, asked };
                        return Err(ReadError::verify(node, other));
                    }
                    return light::verify_past(&trusted, header, &proof)
                        .map_err(|error| ReadError::verify(node, error.into()));
                }
            }
        }
        Err(last.unwrap_or(crate::connection::CallError::NoNode).into())
    }
}
