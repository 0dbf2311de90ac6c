//! What comes of an answer: verified it is staged, else its sender is named.

use super::{Fetch, Handled, Joining, Lacking, Split, Work, fault, genesis};
use crate::join::{
    Action, Fault, JoinError, LIGHT_BLOCKS_MAX, SEGMENT_BITS_MAX, SYNC_EVERY, check_block,
};
use crate::storage::StorageError;
use crate::storage::snapshot::{Segment, leaf_bytes};
use sillok_ledger::light::{self, LightError, TrustedHeader};
use sillok_ledger::merkle_log::HistoryFrontier;
use sillok_ledger::mutant::{self, Mutant};
use sillok_ledger::proof::value_hash;
use sillok_ledger::snapshot::{
    Prefix, verify_headers, verify_subtree, verify_version, window_start_ms,
};
use sillok_ledger::tree::{self, Grown};
use sillok_ledger::{LeafKind, TreeKey, header_hash};
use sillok_proto::v1::snapshot_response::Response as Answer;
use sillok_proto::{Hash, v1};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;

impl<P: Ord + Clone + Debug> Joining<P> {
    pub(super) fn answered(
        &mut self,
        request: u64,
        response: v1::SnapshotResponse,
        now_ms: u64,
        actions: &mut Vec<Action<P>>,
    ) -> Handled {
        // Too late, or never asked.
        let Some(pending) = self.pending.get(&request) else { return Ok(()) };
        let (peer, work) = (pending.peer.clone(), pending.work.clone());
        if let Some(Answer::Refusal(refusal)) = &response.response {
            let too_large = *refusal == v1::SnapshotRefusal::TooLarge as i32;
            if !too_large {
                self.give_back(request, now_ms);
                return Ok(());
            }
        }
        let result = match (work, response.response) {
            (Work::Anchor { height }, Some(Answer::Anchor(bundle))) => {
                self.on_anchor(height, bundle, now_ms)?
            }
            (Work::Segment(prefix), Some(Answer::Segment(subtree))) => {
                self.on_segment(&prefix, &subtree, actions)?
            }
            (Work::Segment(prefix), Some(Answer::Refusal(_))) => {
                self.on_too_large(&prefix, &peer)?
            }
            (Work::Versions { prefix, heads }, Some(Answer::Versions(list))) => {
                self.on_versions(&prefix, &heads, list.versions)?
            }
            (Work::Headers { .. }, Some(Answer::Headers(list))) => self.on_headers(list.headers)?,
            (Work::Blocks { heights }, Some(Answer::Blocks(response))) => {
                // No fault: the blocks may be pruned by now.
                if response.blocks.is_empty() {
                    self.give_back(request, now_ms);
                    return Ok(());
                }
                self.on_blocks(&heights, &response.blocks)?
            }
            _ => Err(Fault::OtherAnswer),
        };
        match result {
            Ok(()) => {
                self.progress_ms = now_ms;
                self.pending.remove(&request);
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.in_flight = peer.in_flight.saturating_sub(1);
                    peer.misses = 0;
                }
            }
            Err(fault) => {
                self.give_back(request, now_ms);
                self.blame(&peer, fault, now_ms, actions);
            }
        }
        Ok(())
    }

    fn on_anchor(
        &mut self,
        height: u64,
        bundle: v1::TrustBundle,
        now_ms: u64,
    ) -> Result<Result<(), Fault>, JoinError> {
        let genesis_hash = *self.chain.hash();
        let bad = |error: LightError| Fault::Bundle(Box::new(error));
        let trusted = match (&self.trusted, self.checkpoint) {
            (Some(trusted), _) => trusted.clone(),
            (None, Some((_, hash))) => {
                let Some(first) = bundle.light_blocks.first() else {
                    return Ok(Err(bad(LightError::Empty)));
                };
                match TrustedHeader::checkpoint(genesis_hash, hash, first) {
                    Ok(trusted) => trusted,
                    Err(error) => return Ok(Err(bad(error))),
                }
            }
            (None, None) => genesis(&self.chain)?,
        };
        let trusting_period_ms = self.chain.parameters().trusting_period_ms;
        let followed = light::follow(&genesis_hash, &trusted, &bundle, now_ms, trusting_period_ms);
        let followed = match followed {
            Ok(followed) => followed,
            // Not the peer's fault, and no other peer's answer would be better.
            Err(
                error @ (LightError::Expired { .. }
                | LightError::ClockBehind { .. }
                // It is certified, so either this clock is behind or more than two thirds run ahead.
                | LightError::FromTheFuture { .. }
                | LightError::Fork(_)),
            ) => return Err(JoinError::Trust(Box::new(error))),
            Err(error) => return Ok(Err(bad(error))),
        };
        if followed.height <= trusted.height || followed.height > height {
            return Ok(Err(Fault::OtherAnswer));
        }
        // Only a full bundle is cut. One that ends early leads a little further each time, true and without end.
        if followed.height < height && bundle.light_blocks.len() < LIGHT_BLOCKS_MAX {
            return Ok(Err(Fault::OtherAnswer));
        }
        self.light_blocks.extend(bundle.light_blocks);
        self.trusted = Some(followed.clone());
        if followed.height < height {
            // The bundle was cut; the next request goes on from here.
            return Ok(Ok(()));
        }
        let Some(header) = followed.verified() else { return Ok(Err(Fault::OtherAnswer)) };
        let anchor = v1::LightBlock {
            signed_header: followed.signed_header.clone(),
            next_validators: Some(followed.next_validators.clone()),
        };
        self.storage.stage_anchor(&anchor, &self.light_blocks)?;
        tracing::info!(
            event = "snapshot_begun",
            height,
            "the state of a certified height is fetched"
        );
        let mut fetch = Fetch {
            lowest: header.header().clone(),
            header,
            validators: followed.next_validators,
            headers_asked: false,
            window_from: None,
            blocks: BTreeSet::new(),
            segments: BTreeSet::from([Prefix::ALL]),
            versions: BTreeMap::new(),
            splits: BTreeMap::new(),
            log: HistoryFrontier::new(),
        };
        let top = fetch.lowest.clone();
        self.note_window(&mut fetch, &top)?;
        self.fetch = Some(fetch);
        Ok(Ok(()))
    }

    fn on_segment(
        &mut self,
        prefix: &Prefix,
        subtree: &v1::Subtree,
        actions: &mut Vec<Action<P>>,
    ) -> Result<Result<(), Fault>, JoinError> {
        let Some(fetch) = &self.fetch else { return Ok(Ok(())) };
        let height = fetch.header.height();
        let root = Hash::from_slice(&fetch.header.header().state_root).unwrap_or_default();
        let leaves = if mutant::is(Mutant::SnapshotNotVerified) {
            subtree
                .leaves
                .iter()
                .filter_map(|leaf| Some((TreeKey::from_slice(&leaf.key)?, leaf.value.as_slice())))
                .collect()
        } else {
            match verify_subtree(&root, prefix, subtree) {
                Ok(leaves) => leaves,
                Err(error) => return Ok(Err(error.into())),
            }
        };
        let hashes: Vec<(TreeKey, Hash)> =
            leaves.iter().map(|(key, value)| (*key, value_hash(value))).collect();
        let (grown, nodes) = tree::grow(height, prefix, &hashes).map_err(fault)?;
        let lacking = self.lacking(grown, &leaves)?;
        let segment =
            if lacking.is_some() { Segment::Leaves(grown) } else { Segment::Whole(grown) };
        self.staged = self.staged.wrapping_add(1);
        let durable = self.staged.is_multiple_of(SYNC_EVERY);
        self.storage.stage_segment(height, prefix, &leaves, &segment, nodes, durable)?;
        if let Some(fetch) = &mut self.fetch {
            fetch.versions.extend(lacking.map(|lacking| (*prefix, lacking)));
        }
        let bytes = leaves.iter().map(|(_, value)| leaf_bytes(value)).sum();
        self.weigh_splits(prefix, bytes, actions);
        Ok(Ok(()))
    }

    /// The versions that the heads among these leaves name and that are not here; `None` if all are.
    pub(super) fn lacking<V: AsRef<[u8]>>(
        &self,
        grown: Grown,
        leaves: &[(TreeKey, V)],
    ) -> Result<Option<Lacking>, StorageError> {
        let mut heads = VecDeque::new();
        for (key, value) in leaves {
            if key.kind_nibble() == LeafKind::Head as u8 {
                // The leaf is the head's canonical encoding, so its hash is that of these bytes.
                let hash = sillok_proto::Tag::Head.hash(&[value.as_ref()]);
                heads.extend(self.storage.missing_version(&hash)?);
            }
        }
        Ok((!heads.is_empty()).then_some(Lacking { heads, in_flight: 0, grown: Some(grown) }))
    }

    /// Adds the size of a part to the segments it was split from. A segment whose parts turn out to fit into one answer
    /// was never too large.
    fn weigh_splits(&mut self, prefix: &Prefix, bytes: usize, actions: &mut Vec<Action<P>>) {
        let (mut prefix, mut bytes) = (*prefix, bytes);
        while let Some(bits) = prefix.bits().checked_sub(4) {
            prefix = Prefix::of(&prefix.first(), bits);
            let Some(fetch) = &mut self.fetch else { return };
            let Some(split) = fetch.splits.get_mut(&prefix) else { return };
            split.bytes = split.bytes.saturating_add(bytes);
            split.parts_left = split.parts_left.saturating_sub(1);
            if split.parts_left > 0 {
                return;
            }
            let Some(split) = fetch.splits.remove(&prefix) else { return };
            bytes = split.bytes;
            if bytes <= self.settings.segment_bytes_max {
                let now_ms = self.progress_ms;
                self.blame(&split.peer, Fault::NotTooLarge { bytes }, now_ms, actions);
            }
        }
    }

    fn on_too_large(&mut self, prefix: &Prefix, peer: &P) -> Result<Result<(), Fault>, JoinError> {
        if prefix.bits() >= SEGMENT_BITS_MAX {
            return Ok(Err(Fault::NotTooLarge { bytes: 0 }));
        }
        self.storage.stage_split(prefix)?;
        if let Some(fetch) = &mut self.fetch {
            let parts = prefix.split();
            let split = Split { peer: peer.clone(), parts_left: parts.len(), bytes: 0 };
            fetch.splits.insert(*prefix, split);
            fetch.segments.extend(parts);
        }
        Ok(Ok(()))
    }

    fn on_versions(
        &mut self,
        prefix: &Prefix,
        heads: &[Hash],
        versions: Vec<v1::DidVersion>,
    ) -> Result<Result<(), Fault>, JoinError> {
        // Chain after chain, in the order asked for: `wanted` is the next hash of the chain being read.
        let mut asked = heads.iter().copied();
        let mut wanted = asked.next();
        for version in &versions {
            let (Some(hash), Some(head)) = (wanted, &version.head) else {
                return Ok(Err(Fault::OtherAnswer));
            };
            wanted = match verify_version(&hash, head, version.document.as_ref()) {
                Ok(Some(previous)) => Some(previous),
                Ok(None) => asked.next(),
                Err(error) => return Ok(Err(error.into())),
            };
        }
        if versions.is_empty() {
            return Ok(Err(Fault::OtherAnswer));
        }
        self.storage.stage_versions(&versions)?;
        let left: Vec<Hash> = wanted.into_iter().chain(asked).collect();
        let Some(lacking) = self.fetch.as_mut().and_then(|fetch| fetch.versions.get_mut(prefix))
        else {
            return Ok(Ok(()));
        };
        lacking.in_flight = lacking.in_flight.saturating_sub(1);
        lacking.heads.extend(left);
        if lacking.heads.is_empty() && lacking.in_flight == 0 {
            let grown = lacking.grown.take();
            if let Some(fetch) = &mut self.fetch {
                fetch.versions.remove(prefix);
            }
            if let Some(grown) = grown {
                self.storage.stage_progress(prefix, &Segment::Whole(grown))?;
            }
        }
        Ok(Ok(()))
    }

    fn on_headers(&mut self, headers: Vec<v1::Header>) -> Result<Result<(), Fault>, JoinError> {
        let Some(mut fetch) = self.fetch.take() else { return Ok(Ok(())) };
        let verified = if headers.is_empty() {
            Err(Fault::OtherAnswer)
        } else {
            verify_headers(&fetch.lowest, &headers).map_err(Fault::from)
        };
        if let Err(fault) = verified {
            self.fetch = Some(fetch);
            return Ok(Err(fault));
        }
        if let Some(last) = headers.last().filter(|last| last.height == 0) {
            let ours = self.storage.header(0)?.map(|header| header_hash(&header));
            if ours != Some(header_hash(last)) {
                return Err(JoinError::OtherGenesis { height: fetch.header.height() });
            }
        }
        self.staged = self.staged.wrapping_add(1);
        let durable = self.staged.is_multiple_of(SYNC_EVERY);
        self.storage.stage_headers(&headers, durable)?;
        for header in headers {
            self.note_window(&mut fetch, &header)?;
            fetch.lowest = header;
        }
        fetch.headers_asked = false;
        self.fetch = Some(fetch);
        Ok(Ok(()))
    }

    /// Notes which blocks a verified header, the next one downward, shows to be needed.
    pub(super) fn note_window(
        &self,
        fetch: &mut Fetch<P>,
        header: &v1::Header,
    ) -> Result<(), StorageError> {
        if fetch.window_from.is_some() {
            return Ok(());
        }
        let start_ms = window_start_ms(fetch.header.header().time_ms);
        if header.height == 0 || header.time_ms < start_ms {
            fetch.window_from = Some(header.height.saturating_add(1));
        } else if self.storage.block(header.height)?.is_none() {
            fetch.blocks.insert(header.height);
        }
        Ok(())
    }

    fn on_blocks(
        &mut self,
        heights: &[u64],
        blocks: &[v1::DecidedBlock],
    ) -> Result<Result<(), Fault>, JoinError> {
        let mut staged = Vec::with_capacity(blocks.len());
        for (index, decided) in blocks.iter().enumerate() {
            let (Some(height), Some(block)) = (heights.get(index), &decided.block) else {
                return Ok(Err(Fault::OtherAnswer));
            };
            let certificate = decided.certificate.as_ref();
            match check_block(&self.chain, &self.storage, *height, block, certificate)? {
                Ok(verified) => staged.push(verified),
                Err(fault) => return Ok(Err(fault)),
            }
        }
        self.storage.stage_blocks(&staged)?;
        if let Some(fetch) = &mut self.fetch {
            fetch.blocks.extend(heights.iter().skip(blocks.len()));
        }
        Ok(Ok(()))
    }
}
