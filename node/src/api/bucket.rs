//! Buckets of DIDs: all that lie under a prefix of the state tree, for callers that do not say which one they mean
//! (PROTOCOL §6.4).
//!
//! The prefix asked for is all that the caller tells, and it is taken as it is or made wider, never narrower.

use super::problem::{Refused, failed};
use super::resolver::{fault, no_block_yet};
use crate::ledger::Ledger;
use prost::Message;
use sillok_did_method::document_hash;
use sillok_ledger::overlay::LEAF_BYTES_MAX;
use sillok_ledger::snapshot::{PREFIX_BITS_MAX, Prefix, verify_subtree};
use sillok_ledger::state_key::KIND_BITS;
use sillok_ledger::{LeafKind, Retry, TreeKey, tree};
use sillok_proto::v1::ResolveBucketResponse as Answer;
use sillok_proto::{Hash, v1};
use tonic::{Code, Status};

/// Most DIDs that a caller may hide among, by asking for as many: a client that finds the width of its buckets asks for
/// four times its own number.
const K_MAX: u32 = 2_048;
/// Longest bucket, in bytes of its heads and documents: more than twice what that many holders take.
const BUCKET_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Buckets made at once, of all callers: the other places of reads are for questions that are quick.
pub(super) const BUCKETS_AT_ONCE: usize = 2;

/// What a request asks for.
#[derive(Debug, Clone, Copy)]
struct Asked {
    prefix: Prefix,
    k: usize,
}

impl Asked {
    fn read(request: &v1::ResolveBucketRequest) -> Result<Self, Refused> {
        let refuse = |message: String| Refused::malformed("INVALID_BUCKET", message);
        let is_of_heads = |prefix: &Prefix| {
            prefix.bits() >= KIND_BITS && prefix.first().kind_nibble() == LeafKind::Head as u8
        };
        let prefix = Prefix::read(&request.prefix, request.prefix_bits).filter(is_of_heads);
        let prefix = prefix.ok_or_else(|| {
            refuse(format!(
                "a bucket is named by the first {KIND_BITS} to {PREFIX_BITS_MAX} bits of the tree key of a head, the rest of the last byte 0"
            ))
        })?;
        if request.k == 0 || request.k > K_MAX {
            let k = request.k;
            return Err(refuse(format!("{k} DIDs are asked for; ask for 1 to {K_MAX}")));
        }
        Ok(Self { prefix, k: usize::try_from(request.k).unwrap_or(usize::MAX) })
    }
}

/// The narrowest bucket around the prefix asked for, or the prefix's own, that has as many DIDs as asked for; all DIDs
/// where there are fewer.
///
/// # Errors
///
/// `INVALID_BUCKET`, `BUCKET_TOO_LARGE`; `STALE` before the first block.
pub fn serve(ledger: &Ledger, request: &v1::ResolveBucketRequest) -> Result<Answer, Status> {
    serve_within(ledger, request, BUCKET_BYTES_MAX)
}

/// [`serve`] with another bound of a bucket, for tests.
///
/// # Errors
///
/// The same.
pub fn serve_within(
    ledger: &Ledger,
    request: &v1::ResolveBucketRequest,
    bytes_max: usize,
) -> Result<Answer, Status> {
    let asked = Asked::read(request)?;
    // The tip of when its turn has come: one that waited longer may be pruned.
    let tip = ledger.tip();
    let height = tip.height();
    if height == 0 {
        return Err(no_block_yet().into());
    }
    let view = ledger.storage.at(height);
    let path_to = |prefix: &Prefix| {
        tree::subtree_path(&view, height, prefix).map_err(fault("resolve_bucket"))
    };
    // Deeper than the path goes is one leaf at most.
    let depth = u32::try_from(path_to(&asked.prefix)?.siblings.len()).unwrap_or(u32::MAX);
    let bits = asked.prefix.bits().min(depth.max(KIND_BITS));
    let mut prefix = Prefix::of(&asked.prefix.first(), bits);
    let too_large = |prefix: &Prefix| Status::from(too_large(ledger, prefix, height, bytes_max));
    let leaves = loop {
        let leaves = ledger.storage.leaves_under(&prefix, height, bytes_max);
        let leaves = leaves.map_err(failed("resolve_bucket"))?;
        let leaves = leaves.ok_or_else(|| too_large(&prefix))?;
        if leaves.len() >= asked.k || prefix.bits() == KIND_BITS {
            break leaves;
        }
        prefix = Prefix::of(&prefix.first(), prefix.bits().saturating_sub(1));
    };
    let documents = documents(ledger, &leaves, bytes_max)?.ok_or_else(|| too_large(&prefix))?;
    let subtree = v1::Subtree {
        prefix: prefix.to_vec(),
        prefix_bits: prefix.bits(),
        leaves: leaves
            .into_iter()
            .map(|(key, value)| v1::SubtreeLeaf { key: key.to_vec(), value })
            .collect(),
        path: Some(path_to(&prefix)?),
    };
    // Pruning may have taken a value since: better no answer than one that is called a lie.
    let root = Hash::from_slice(&tip.header.state_root);
    if root.is_none_or(|root| verify_subtree(&root, &prefix, &subtree).is_err()) {
        return Err(Refused::internal().into());
    }
    let signed_header = ledger.storage.signed_header(height).map_err(failed("resolve_bucket"))?;
    Ok(Answer { signed_header, subtree: Some(subtree), documents })
}

/// The documents that these heads name; `None` if they are too long together.
fn documents(
    ledger: &Ledger,
    leaves: &[(TreeKey, Vec<u8>)],
    bytes_max: usize,
) -> Result<Option<Vec<v1::DidDocument>>, Status> {
    let empty = document_hash(&v1::DidDocument::default());
    let mut documents = Vec::with_capacity(leaves.len());
    let mut bytes: usize = leaves.iter().map(|(_, value)| value.len()).sum();
    for (_, value) in leaves {
        let head: v1::Head = sillok_proto::decode(value, LEAF_BYTES_MAX)
            .map_err(|_| Status::from(Refused::internal()))?;
        // The empty one is known by its hash.
        let named = Hash::from_slice(&head.document_hash).filter(|hash| *hash != empty);
        let Some(named) = named else { continue };
        let document = ledger.storage.document(&named).map_err(failed("resolve_bucket"))?;
        // A bucket with one missing would be taken for a lie.
        let document = document.ok_or_else(|| Status::from(Refused::internal()))?;
        bytes = bytes.saturating_add(document.encoded_len());
        if bytes > bytes_max {
            return Ok(None);
        }
        documents.push(document);
    }
    Ok(Some(documents))
}

/// Tells how many bits a bucket has that fits: with its documents it is about three times its heads.
fn too_large(ledger: &Ledger, prefix: &Prefix, height: u64, bytes_max: usize) -> Refused {
    let fits = |bits: &u32| {
        let narrower = Prefix::of(&prefix.first(), *bits);
        matches!(ledger.storage.leaves_under(&narrower, height, bytes_max / 4), Ok(Some(_)))
    };
    let bits = (prefix.bits().saturating_add(1)..=PREFIX_BITS_MAX).find(fits);
    Refused::new(
        Code::ResourceExhausted,
        "BUCKET_TOO_LARGE",
        format!(
            "the bucket takes more than {bytes_max} bytes; ask for one of more bits, or among fewer DIDs"
        ),
        Retry::AfterFix,
    )
    .with("prefix_bits", bits.unwrap_or(PREFIX_BITS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(prefix: &[u8], prefix_bits: u32, k: u32) -> Result<u32, String> {
        let request =
            v1::ResolveBucketRequest { prefix: prefix.to_vec(), prefix_bits, k, min_height: 0 };
        let asked = Asked::read(&request).map_err(|refused| refused.problem.code)?;
        Ok(asked.prefix.bits())
    }

    #[test]
    fn a_bucket_is_one_of_heads_and_of_a_bounded_number_of_them() {
        assert_eq!(asked(&[0x10], 4, 1), Ok(4));
        assert_eq!(asked(&[0x1f, 0x80], 9, K_MAX), Ok(9));
        let wrong = Err("INVALID_BUCKET".to_owned());
        // Wider than a kind, of another kind, bits beyond the prefix, a byte too many.
        for (prefix, bits) in [(&[][..], 0), (&[0], 3), (&[0xf0], 4), (&[0x18], 4), (&[0x10, 0], 4)]
        {
            assert_eq!(asked(prefix, bits, 16), wrong, "{prefix:?}/{bits}");
        }
        assert_eq!(asked(&[0x10; 33], 257, 16), wrong);
        assert_eq!(asked(&[0x10], 4, 0), wrong);
        assert_eq!(asked(&[0x10], 4, K_MAX + 1), wrong);
    }
}
