//! The other side: parts of a snapshot for peers that join.

use super::{ANSWER_BYTES, HEADERS_MAX, LIGHT_BLOCKS_MAX, SEGMENT_BYTES_MAX, VERSIONS_ASKED_MAX};
use crate::application;
use crate::ledger::Ledger;
use crate::storage::StorageError;
use sillok_ledger::snapshot::{Prefix, verify_subtree};
use sillok_ledger::tree;
use sillok_proto::v1::snapshot_request::Request as Ask;
use sillok_proto::v1::snapshot_response::Response as Answer;
use sillok_proto::{Hash, v1};

/// Answers a peer that joins. Whether it may ask is the network's to say (PROTOCOL II.5).
#[must_use]
pub fn serve(ledger: &Ledger, request: &v1::SnapshotRequest) -> v1::SnapshotResponse {
    serve_within(ledger, request, SEGMENT_BYTES_MAX)
}

/// [`serve`] with another bound of a segment, for tests.
#[must_use]
pub fn serve_within(
    ledger: &Ledger,
    request: &v1::SnapshotRequest,
    segment_bytes_max: usize,
) -> v1::SnapshotResponse {
    let refuse = |refusal: v1::SnapshotRefusal| Answer::Refusal(refusal.into());
    let answer = match &request.request {
        None => Ok(Some(refuse(v1::SnapshotRefusal::Unspecified))),
        Some(Ask::Anchor(asked)) => serve_anchor(ledger, asked),
        Some(Ask::Segment(asked)) => serve_segment(ledger, asked, segment_bytes_max),
        Some(Ask::Versions(asked)) => serve_versions(ledger, asked),
        Some(Ask::Headers(asked)) => serve_headers(ledger, asked),
        Some(Ask::Blocks(asked)) => application::blocks(ledger, asked, ANSWER_BYTES)
            .map(|blocks| Some(Answer::Blocks(blocks))),
    };
    let answer = answer.unwrap_or_else(|error| {
        tracing::error!(err = %error, "a part of a snapshot could not be read for a peer");
        None
    });
    let answer = answer.unwrap_or_else(|| refuse(v1::SnapshotRefusal::NotHere));
    v1::SnapshotResponse { response: Some(answer) }
}

type Served = Result<Option<Answer>, StorageError>;

fn serve_anchor(ledger: &Ledger, asked: &v1::AnchorRequest) -> Served {
    let storage = &ledger.storage;
    let (from, height) = (asked.from_height, asked.height);
    if height > ledger.tip().height() || height <= from || height < storage.state_from()? {
        return Ok(None);
    }
    let mut light_blocks = Vec::new();
    if from > 0 {
        // For who has only its hash.
        light_blocks.extend(storage.light_block(from)?);
    }
    for change in storage.set_changes(from.saturating_add(1), LIGHT_BLOCKS_MAX)? {
        if change < height {
            light_blocks.extend(storage.light_block(change)?);
        }
    }
    if light_blocks.len() < LIGHT_BLOCKS_MAX {
        let last = storage.light_block(height)?;
        let certified = last.filter(|block| {
            block.signed_header.as_ref().is_some_and(|signed| signed.certificate.is_some())
        });
        let Some(last) = certified else { return Ok(None) };
        light_blocks.push(last);
    }
    Ok(Some(Answer::Anchor(v1::TrustBundle { light_blocks })))
}

fn serve_segment(ledger: &Ledger, asked: &v1::SegmentRequest, bytes_max: usize) -> Served {
    let storage = &ledger.storage;
    let height = asked.height;
    let Some(prefix) = Prefix::read(&asked.prefix, asked.prefix_bits) else {
        return Ok(Some(Answer::Refusal(v1::SnapshotRefusal::Unspecified.into())));
    };
    if height > ledger.tip().height() || height < storage.state_from()? {
        return Ok(None);
    }
    let Some(leaves) = storage.leaves_under(&prefix, height, bytes_max)? else {
        return Ok(Some(Answer::Refusal(v1::SnapshotRefusal::TooLarge.into())));
    };
    // Pruned while it was read.
    let Ok(path) = tree::subtree_path(&storage.at(height), height, &prefix) else {
        return Ok(None);
    };
    let subtree = v1::Subtree {
        prefix: asked.prefix.clone(),
        prefix_bits: asked.prefix_bits,
        leaves: leaves
            .into_iter()
            .map(|(key, value)| v1::SubtreeLeaf { key: key.to_vec(), value })
            .collect(),
        path: Some(path),
    };
    // Pruning may have taken a value since: better no answer than one that is called a lie.
    let header = storage.header(height)?;
    let root = header.and_then(|header| Hash::from_slice(&header.state_root));
    let holds = root.is_some_and(|root| verify_subtree(&root, &prefix, &subtree).is_ok());
    Ok(holds.then_some(Answer::Segment(subtree)))
}

fn serve_versions(ledger: &Ledger, asked: &v1::VersionsRequest) -> Served {
    let storage = &ledger.storage;
    let mut versions = Vec::new();
    let mut bytes = 0_usize;
    'chains: for head in asked.head_hashes.iter().take(VERSIONS_ASKED_MAX) {
        let mut next = Hash::from_slice(head);
        while let Some(hash) = next {
            let Some(head) = storage.head(&hash)? else { break 'chains };
            next = Hash::from_slice(&head.previous);
            let document = Hash::from_slice(&head.document_hash);
            let document = document.map_or(Ok(None), |hash| storage.document(&hash))?;
            let version = v1::DidVersion { head: Some(head), document };
            bytes = bytes.saturating_add(prost::Message::encoded_len(&version));
            if bytes > ANSWER_BYTES && !versions.is_empty() {
                break 'chains;
            }
            versions.push(version);
        }
    }
    Ok((!versions.is_empty()).then_some(Answer::Versions(v1::DidVersionList { versions })))
}

fn serve_headers(ledger: &Ledger, asked: &v1::HeadersRequest) -> Served {
    let mut headers = Vec::new();
    if asked.from_height <= ledger.tip().height() {
        let count = asked.headers_max.clamp(1, HEADERS_MAX);
        for height in (0..=asked.from_height).rev().take(count as usize) {
            let Some(header) = ledger.storage.header(height)? else { break };
            headers.push(header);
        }
    }
    Ok((!headers.is_empty()).then_some(Answer::Headers(v1::HeaderList { headers })))
}
