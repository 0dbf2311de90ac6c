//! The parts of a snapshot on disk: read for peers, and staged from peers until the node is at its height.
//!
//! Parts are staged where they will stand. Leaves and nodes carry the height of the snapshot, and reads name a height,
//! so nothing staged is seen before one write moves the tip; heads, documents and sets stand under their hashes; headers
//! and blocks stand above the tip, each proved already. Only the progress is kept apart, in the family `joining`.
//!
//! Not here: what proves a part, and whom to ask for it ([`crate::join`]).

use super::{
    BLOCKS, Batch, CERTIFICATES, DOCUMENTS, HEADERS, HEADS, JOINING, KEY_BLOCKS_FROM,
    KEY_STATE_FROM, LEAVES, Leaves, META, NODES, OLD_LEAVES, SET_CHANGES, SETS, STALE_LEAVES,
    STALE_NODES, Storage, StorageError, TRANSACTIONS, be_u64, damaged, height_key, old_leaf_key,
    put_history, put_tip, versioned,
};
use sillok_did_method::{document_hash, head_hash};
use sillok_ledger::merkle_log::{HistoryFrontier, LogNode};
use sillok_ledger::snapshot::Prefix;
use sillok_ledger::tree::{Grown, NodeReader, Nodes};
use sillok_ledger::{Tip, TreeKey, header_hash, validator_set_hash};
use sillok_proto::{Hash, encode, v1};

const KEY_ANCHOR: &[u8] = b"anchor";
const KEY_LOWEST_HEADER: &[u8] = b"lowest-header";
const KEY_LOG: &[u8] = b"log";
/// Before the prefix of a segment: its first key (32 bytes) and its bits (2 bytes).
const KEY_SEGMENT: &[u8] = b"segment/";
/// Most old nodes marked with one write.
const MARKED_AT_ONCE: usize = 10_000;

/// How far a segment has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Segment {
    /// To be fetched.
    Wanted,
    /// Its leaves are staged; versions of its DIDs may be missing.
    Leaves(Grown),
    /// All of it is staged.
    Whole(Grown),
}

/// What is staged of an unfinished snapshot.
#[derive(Debug, Clone)]
pub(crate) struct Staged {
    /// The light block whose state it is.
    pub(crate) anchor: v1::LightBlock,
    /// All headers from this height up to the anchor are staged.
    pub(crate) lowest_header: u64,
    /// The log of the headers, as far as it was made.
    pub(crate) log: HistoryFrontier,
    /// The segments, ascending; together they are the whole tree.
    pub(crate) segments: Vec<(Prefix, Segment)>,
}

/// A block that its header vouches for.
#[derive(Debug)]
pub(crate) struct VerifiedBlock<'a> {
    pub(crate) height: u64,
    pub(crate) block: &'a v1::Block,
    /// Only one that was verified too.
    pub(crate) certificate: Option<&'a v1::CommitCertificate>,
    /// Of its transactions, in order.
    pub(crate) ids: Vec<Hash>,
}

impl Storage {
    /// All leaves under a prefix after a height, ascending. `None` if they take more than `bytes_max`.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn leaves_under(
        &self,
        prefix: &Prefix,
        height: u64,
        bytes_max: usize,
    ) -> Result<Option<Leaves>, StorageError> {
        let mut found: Vec<(TreeKey, Option<Vec<u8>>)> = Vec::new();
        let mut bytes = 0;
        self.disk.scan(LEAVES, prefix.first().as_bytes(), &mut |key, value| {
            let Some(key) = TreeKey::from_slice(key).filter(|key| prefix.contains(key)) else {
                return false;
            };
            let at = be_u64(value).filter(|version| *version <= height);
            let value = at.and_then(|_| value.get(8..)).map(<[u8]>::to_vec);
            bytes += value.as_ref().map_or(0, |value| leaf_bytes(value));
            found.push((key, value));
            bytes <= bytes_max
        })?;
        let mut leaves = Vec::with_capacity(found.len());
        for (key, value) in found {
            let value = match value {
                Some(value) => Some(value),
                // Written again since: the value of the height is among the old ones, if there was any.
                None => {
                    let old = self
                        .at(height)
                        .value(&key, height)
                        .map_err(|fault| damaged(fault.reason))?;
                    bytes += old.as_ref().map_or(0, |value| leaf_bytes(value));
                    old
                }
            };
            leaves.extend(value.map(|value| (key, value)));
            if bytes > bytes_max {
                return Ok(None);
            }
        }
        Ok(Some(leaves))
    }

    /// The light block of a height; without a certificate where that is not kept. `None` without header or next set.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn light_block(&self, height: u64) -> Result<Option<v1::LightBlock>, StorageError> {
        let Some(header) = self.header(height)? else { return Ok(None) };
        let next = Hash::from_slice(&header.next_validator_set_hash);
        let Some(next_validators) = next.map_or(Ok(None), |hash| self.validator_set(&hash))? else {
            return Ok(None);
        };
        let certificate = self.certificate(height)?;
        Ok(Some(v1::LightBlock {
            signed_header: Some(v1::SignedHeader { header: Some(header), certificate }),
            next_validators: Some(next_validators),
        }))
    }

    /// The lowest height whose state can be proved here; lower ones are an archive's to prove.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn state_from(&self) -> Result<u64, StorageError> {
        let joined = self.get(META, KEY_STATE_FROM)?.and_then(|bytes| be_u64(&bytes)).unwrap_or(0);
        Ok(match self.retention.state_heights() {
            None => joined,
            Some(heights) => joined.max(self.height()?.saturating_sub(heights)),
        })
    }

    /// The lowest height whose block, events and transactions are kept here.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn blocks_from(&self) -> Result<u64, StorageError> {
        Ok(self.get(META, KEY_BLOCKS_FROM)?.and_then(|bytes| be_u64(&bytes)).unwrap_or(1))
    }

    /// What is staged of an unfinished snapshot, if anything is.
    pub(crate) fn staged(&self) -> Result<Option<Staged>, StorageError> {
        let Some(anchor) = self.message::<v1::LightBlock>(JOINING, KEY_ANCHOR)? else {
            return Ok(None);
        };
        let lowest_header = self.get(JOINING, KEY_LOWEST_HEADER)?;
        let lowest_header = lowest_header.and_then(|bytes| be_u64(&bytes));
        let log = match self.get(JOINING, KEY_LOG)? {
            Some(bytes) => HistoryFrontier::decode(&bytes)?,
            None => HistoryFrontier::new(),
        };
        let mut segments = Vec::new();
        self.disk.scan(JOINING, KEY_SEGMENT, &mut |key, value| {
            let segment = key.strip_prefix(KEY_SEGMENT).map(|prefix| read_segment(prefix, value));
            let more = segment.is_some();
            segments.extend(segment);
            more
        })?;
        let segments: Option<Vec<(Prefix, Segment)>> = segments.into_iter().collect();
        match (lowest_header, segments) {
            (Some(lowest_header), Some(segments)) => {
                Ok(Some(Staged { anchor, lowest_header, log, segments }))
            }
            _ => Err(damaged("the progress of the snapshot does not decode")),
        }
    }

    /// Begins a snapshot: everything that was noted of another is forgotten. The light blocks led to the anchor.
    pub(crate) fn stage_anchor(
        &self,
        anchor: &v1::LightBlock,
        light_blocks: &[v1::LightBlock],
    ) -> Result<(), StorageError> {
        let mut batch = Batch::default();
        self.forget_staged(&mut batch)?;
        for block in light_blocks.iter().chain([anchor]) {
            let signed = block.signed_header.as_ref();
            let header = signed.and_then(|signed| signed.header.as_ref());
            let certificate = signed.and_then(|signed| signed.certificate.as_ref());
            if let (Some(header), Some(certificate)) = (header, certificate) {
                batch.put(CERTIFICATES, height_key(header.height), encode(certificate));
                batch.put(HEADERS, height_key(header.height), encode(header));
            }
            if let Some(set) = &block.next_validators {
                batch.put(SETS, validator_set_hash(set).0, encode(set));
            }
        }
        let height = anchor.signed_header.as_ref().and_then(|signed| signed.header.as_ref());
        let height = height.ok_or_else(|| damaged("the anchor has no header"))?.height;
        batch.put(JOINING, KEY_ANCHOR, encode(anchor));
        batch.put(JOINING, KEY_LOWEST_HEADER, height_key(height));
        batch.put(JOINING, segment_key(&Prefix::ALL), write_segment(&Segment::Wanted));
        self.disk.write(batch, true)
    }

    /// Forgets what was noted of a snapshot. What is staged stays, unseen: all of it is true of its height.
    pub(crate) fn abandon_staged(&self) -> Result<(), StorageError> {
        let mut batch = Batch::default();
        self.forget_staged(&mut batch)?;
        self.disk.write(batch, true)
    }

    fn forget_staged(&self, batch: &mut Batch) -> Result<(), StorageError> {
        self.disk.scan(JOINING, &[], &mut |key, _| {
            batch.delete(JOINING, key);
            true
        })
    }

    /// Notes that a segment is fetched as sixteen narrower ones.
    pub(crate) fn stage_split(&self, prefix: &Prefix) -> Result<(), StorageError> {
        let mut batch = Batch::default();
        batch.delete(JOINING, segment_key(prefix));
        for part in prefix.split() {
            batch.put(JOINING, segment_key(&part), write_segment(&Segment::Wanted));
        }
        self.disk.write(batch, false)
    }

    /// Stages the leaves of a segment and the tree grown of them.
    pub(crate) fn stage_segment(
        &self,
        height: u64,
        prefix: &Prefix,
        leaves: &[(TreeKey, &[u8])],
        segment: &Segment,
        nodes: Nodes,
        durable: bool,
    ) -> Result<(), StorageError> {
        let mut batch = Batch::default();
        for (key, value) in leaves {
            let before = self.get(LEAVES, &key.0)?;
            let version = before.as_deref().and_then(be_u64);
            let held = before.as_deref().and_then(|before| before.get(8..));
            match version {
                // What it held before is what it holds at this height too.
                Some(version) if version <= height && held == Some(value) => continue,
                // Of a later snapshot that was given up.
                Some(version) if version > height => {
                    batch.put(OLD_LEAVES, old_leaf_key(key, height), *value);
                    continue;
                }
                Some(version) if version < height => {
                    let old = old_leaf_key(key, version);
                    batch.put(STALE_LEAVES, [&height_key(height)[..], &old].concat(), []);
                    batch.put(OLD_LEAVES, old, held.unwrap_or_default());
                }
                _ => {}
            }
            batch.put(LEAVES, key.0, versioned(height, value));
        }
        for (key, node) in nodes {
            batch.put(NODES, key, node);
        }
        batch.put(JOINING, segment_key(prefix), write_segment(segment));
        self.disk.write(batch, durable)
    }

    /// Notes how far a segment has come.
    pub(crate) fn stage_progress(
        &self,
        prefix: &Prefix,
        segment: &Segment,
    ) -> Result<(), StorageError> {
        let mut batch = Batch::default();
        batch.put(JOINING, segment_key(prefix), write_segment(segment));
        self.disk.write(batch, false)
    }

    /// Stages versions of DIDs: a head never without its document.
    pub(crate) fn stage_versions(&self, versions: &[v1::DidVersion]) -> Result<(), StorageError> {
        let mut batch = Batch::default();
        for version in versions {
            if let Some(head) = &version.head {
                batch.put(HEADS, head_hash(head).0, encode(head));
            }
            if let Some(document) = &version.document {
                batch.put(DOCUMENTS, document_hash(document).0, encode(document));
            }
        }
        self.disk.write(batch, false)
    }

    /// Stages headers, descending.
    pub(crate) fn stage_headers(
        &self,
        headers: &[v1::Header],
        durable: bool,
    ) -> Result<(), StorageError> {
        let mut batch = Batch::default();
        for header in headers {
            batch.put(HEADERS, height_key(header.height), encode(header));
        }
        if let Some(lowest) = headers.last() {
            batch.put(JOINING, KEY_LOWEST_HEADER, height_key(lowest.height));
        }
        self.disk.write(batch, durable)
    }

    /// Stages blocks of verified headers, with the certificates that were verified too.
    pub(crate) fn stage_blocks(&self, blocks: &[VerifiedBlock<'_>]) -> Result<(), StorageError> {
        let mut batch = Batch::default();
        put_blocks(&mut batch, blocks);
        self.disk.write(batch, false)
    }

    /// Stages the log of the headers so far, and which of them changed the set.
    pub(crate) fn stage_log(
        &self,
        log: &HistoryFrontier,
        nodes: &[LogNode],
        set_changes: &[u64],
    ) -> Result<(), StorageError> {
        let mut batch = Batch::default();
        put_history(&mut batch, nodes);
        for height in set_changes {
            batch.put(SET_CHANGES, height_key(*height), []);
        }
        batch.put(JOINING, KEY_LOG, log.encode());
        self.disk.write(batch, false)
    }

    /// Ends a snapshot: in one synced write the node is at its height. Before it, nothing staged is seen; after it,
    /// nothing else.
    pub(crate) fn finish_snapshot(
        &self,
        tip: &Tip,
        log_nodes: &[LogNode],
        tree_nodes: Nodes,
        blocks_from: u64,
    ) -> Result<(), StorageError> {
        self.mark_old_nodes(tip.height())?;
        let mut batch = Batch::default();
        for (key, node) in tree_nodes {
            batch.put(NODES, key, node);
        }
        put_history(&mut batch, log_nodes);
        for set in [&tip.validators, &tip.next_validators] {
            batch.put(SETS, validator_set_hash(set).0, encode(set));
        }
        put_tip(&mut batch, tip);
        batch.put(META, KEY_STATE_FROM, height_key(tip.height()));
        batch.put(META, KEY_BLOCKS_FROM, height_key(blocks_from));
        self.forget_staged(&mut batch)?;
        self.disk.write(batch, true)
    }

    /// Marks the nodes of lower versions, which the tree of a snapshot does not use, to be pruned after it.
    fn mark_old_nodes(&self, height: u64) -> Result<(), StorageError> {
        let mut from = Vec::new();
        loop {
            let mut batch = Batch::default();
            let mut last_key = Vec::new();
            self.disk.scan(NODES, &from, &mut |key, _| {
                if be_u64(key).is_none_or(|version| version >= height) {
                    return false;
                }
                batch.put(STALE_NODES, [&height_key(height), key].concat(), []);
                last_key = [key, &[0]].concat();
                batch.writes.len() < MARKED_AT_ONCE
            })?;
            from = last_key;
            let last = batch.writes.len() < MARKED_AT_ONCE;
            self.disk.write(batch, false)?;
            if last {
                return Ok(());
            }
        }
    }

    /// Keeps blocks that lie below those that are kept, ascending, each verified by its header.
    pub(crate) fn keep_older_blocks(
        &self,
        blocks: &[VerifiedBlock<'_>],
    ) -> Result<(), StorageError> {
        let Some(lowest) = blocks.first() else { return Ok(()) };
        let mut batch = Batch::default();
        put_blocks(&mut batch, blocks);
        batch.put(META, KEY_BLOCKS_FROM, height_key(lowest.height));
        self.disk.write(batch, false)
    }

    /// The newest version from this head back that is not here, by its hash. `None`: all are.
    pub(crate) fn missing_version(&self, head: &Hash) -> Result<Option<Hash>, StorageError> {
        let mut hash = *head;
        while let Some(head) = self.head(&hash)? {
            match Hash::from_slice(&head.previous) {
                Some(previous) => hash = previous,
                None => return Ok(None),
            }
        }
        Ok(Some(hash))
    }
}

/// What a leaf counts towards the bound of a segment: its key and its value.
pub(crate) const fn leaf_bytes(value: &[u8]) -> usize {
    32 + value.len()
}

fn put_blocks(batch: &mut Batch, blocks: &[VerifiedBlock<'_>]) {
    for VerifiedBlock { height, block, certificate, ids } in blocks {
        let key = height_key(*height);
        batch.put(BLOCKS, key, encode(*block));
        if let Some(certificate) = certificate {
            batch.put(CERTIFICATES, key, encode(*certificate));
        }
        for (index, id) in (0_u32..).zip(ids) {
            batch.put(TRANSACTIONS, id.0, [&key[..], &index.to_be_bytes()].concat());
        }
    }
}

fn segment_key(prefix: &Prefix) -> Vec<u8> {
    // At most 256.
    let bits = u16::try_from(prefix.bits()).unwrap_or(u16::MAX).to_be_bytes();
    [KEY_SEGMENT, prefix.first().as_bytes().as_slice(), &bits].concat()
}

fn write_segment(segment: &Segment) -> Vec<u8> {
    let (state, grown) = match segment {
        Segment::Wanted => return vec![0],
        Segment::Leaves(grown) => (1, grown),
        Segment::Whole(grown) => (2, grown),
    };
    match grown {
        Grown::Empty => vec![state, 0],
        Grown::Leaf { key, value_hash } => [&[state, 1], &key.0[..], &value_hash.0].concat(),
        Grown::Fork { hash, leaves } => [&[state, 2], &hash.0[..], &leaves.to_be_bytes()].concat(),
    }
}

fn read_segment(key: &[u8], value: &[u8]) -> Option<(Prefix, Segment)> {
    let (first, bits) = key.split_first_chunk::<32>()?;
    let bits = u16::from_be_bytes(bits.try_into().ok()?);
    let prefix = Prefix::of(&TreeKey(*first), bits.into());
    let (state, rest) = value.split_first()?;
    if *state == 0 {
        return Some((prefix, Segment::Wanted));
    }
    let (kind, rest) = rest.split_first()?;
    let grown = match (kind, rest.split_first_chunk::<32>()) {
        (0, None) => Grown::Empty,
        (1, Some((key, hash))) => {
            Grown::Leaf { key: TreeKey(*key), value_hash: Hash::from_slice(hash)? }
        }
        (2, Some((hash, leaves))) => Grown::Fork { hash: Hash(*hash), leaves: be_u64(leaves)? },
        _ => return None,
    };
    Some((prefix, if *state == 1 { Segment::Leaves(grown) } else { Segment::Whole(grown) }))
}

/// The header that a light block certifies, and its hash.
pub(crate) fn header_of(light_block: &v1::LightBlock) -> Option<(&v1::Header, Hash)> {
    let header = light_block.signed_header.as_ref()?.header.as_ref()?;
    Some((header, header_hash(header)))
}
