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

/// The pieces from a height on; those of one height are never torn apart.
pub(super) fn page(
    storage: &Storage,
    request: &v1::GetEvidenceRequest,
) -> Result<v1::GetEvidenceResponse, StorageError> {
    let count = if request.count == 0 { PIECES } else { request.count.min(PIECES_MAX) };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let found = storage.evidence(request.from_height, count)?;
    // Full: there may be more after the last height.
    let next_height = found.last().filter(|_| found.len() >= count).map_or(0, |(last, _)| last + 1);
    let evidence = found
        .into_iter()
        .map(|(height, evidence)| v1::RecordedEvidence {
            height,
            validator: validator(&evidence),
            evidence: Some(evidence),
        })
        .collect();
    Ok(v1::GetEvidenceResponse { evidence, next_height })
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
