//! Evidence of misbehavior, as it was written down with the blocks.
//!
//! Each piece proves itself: two signatures of one validator over two statements of one height, round and step. What
//! comes of it is for the operators to decide (`docs/governance.md`), not decided here.

use crate::storage::{Storage, StorageError};
use sillok_proto::v1::{self, evidence::Evidence as Kind};

/// Pieces in an answer if the caller names no number.
const PIECES: u32 = 100;
/// Most pieces in an answer. At most three of one validator are written down with a block, so a height adds few.
const PIECES_MAX: u32 = 1_000;

/// The pieces from a height on, whole heights only.
pub(super) fn page(
    storage: &Storage,
    request: &v1::GetEvidenceRequest,
) -> Result<v1::GetEvidenceResponse, StorageError> {
    let count = if request.count == 0 { PIECES } else { request.count.min(PIECES_MAX) };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let found = storage.evidence(request.from_height, count)?;
    let evidence = found
        .into_iter()
        .map(|evidence| v1::RecordedEvidence {
            height: height(&evidence),
            validator: validator(&evidence),
            evidence: Some(evidence),
        })
        .collect();
    Ok(v1::GetEvidenceResponse { evidence, next_height: 0 })
}

/// The height that both statements are of.
fn height(evidence: &v1::Evidence) -> u64 {
    match &evidence.evidence {
        Some(Kind::Votes(pair)) => {
            pair.first.as_ref().and_then(|vote| vote.statement.as_ref()).map_or(0, |s| s.height)
        }
        Some(Kind::Proposals(pair)) => pair
            .first
            .as_ref()
            .and_then(|proposal| proposal.statement.as_ref())
            .map_or(0, |s| s.height),
        None => 0,
    }
}

/// Who signed both.
fn validator(evidence: &v1::Evidence) -> Vec<u8> {
    match &evidence.evidence {
        Some(Kind::Votes(pair)) => pair.first.as_ref().map(|vote| vote.validator.clone()),
        Some(Kind::Proposals(pair)) => pair.first.as_ref().map(|one| one.validator.clone()),
        None => None,
    }
    .unwrap_or_default()
}
