//! Where a snapshot goes on after a restart, and how it ends: one tree of all segments, one tip of all parts, one write.

use super::{Fetch, Joining, damaged, fault};
use crate::join::JoinError;
use crate::storage::StorageError;
use crate::storage::snapshot::{Segment, Staged, header_of};
use sillok_ledger::light::TrustedHeader;
use sillok_ledger::merkle_log::HistoryHasher;
use sillok_ledger::mutant::{self, Mutant};
use sillok_ledger::proposers::RECENT_MAX;
use sillok_ledger::snapshot::{
    SnapshotError, TipParts, assemble_tip, latest_parameters, latest_set,
};
use sillok_ledger::{StateView, Tip, TreeKey, header_hash, tree};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

impl<P: Ord + Clone + Debug> Joining<P> {
    /// Goes on with what an earlier run staged.
    pub(super) fn resume(&mut self, staged: Staged) -> Result<Fetch<P>, JoinError> {
        let Staged { anchor, lowest_header, log, segments } = staged;
        let unreadable = || StorageError::Damaged {
            reason: "the anchor of the snapshot does not decode".to_owned(),
        };
        let (header, header_hash) = header_of(&anchor).ok_or_else(unreadable)?;
        let validators = anchor.next_validators.clone().ok_or_else(unreadable)?;
        let trusted = TrustedHeader {
            genesis_hash: *self.chain.hash(),
            height: header.height,
            header_hash,
            time_ms: header.time_ms,
            next_validators: validators.clone(),
            signed_header: anchor.signed_header.clone(),
            validators: None,
        };
        let verified = trusted.verified().ok_or_else(unreadable)?;
        let mut fetch = Fetch {
            lowest: verified.header().clone(),
            header: verified,
            validators,
            headers_asked: false,
            window_from: None,
            blocks: BTreeSet::new(),
            segments: BTreeSet::new(),
            versions: BTreeMap::new(),
            splits: BTreeMap::new(),
            log,
        };
        let height = trusted.height;
        for at in (lowest_header..=height).rev() {
            let header = self.storage.header(at)?.ok_or_else(|| StorageError::Damaged {
                reason: format!("the staged header {at} is missing"),
            })?;
            self.note_window(&mut fetch, &header)?;
            // Below the window only the lowest one matters.
            if fetch.window_from.is_some() {
                fetch.lowest = self.storage.header(lowest_header)?.unwrap_or(header);
                break;
            }
            fetch.lowest = header;
        }
        for (prefix, segment) in segments {
            match segment {
                Segment::Wanted => _ = fetch.segments.insert(prefix),
                Segment::Whole(_) => {}
                Segment::Leaves(grown) => {
                    let leaves = self.storage.leaves_under(&prefix, height, usize::MAX)?;
                    match self.lacking(grown, &leaves.unwrap_or_default())? {
                        Some(lacking) => _ = fetch.versions.insert(prefix, lacking),
                        None => self.storage.stage_progress(&prefix, &Segment::Whole(grown))?,
                    }
                }
            }
        }
        self.trusted = Some(trusted);
        tracing::info!(event = "snapshot_resumed", height, "goes on with what is staged");
        Ok(fetch)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.pending.is_empty()
            && self.fetch.as_ref().is_some_and(|fetch| {
                fetch.lowest.height == 0
                    && fetch.window_from.is_some()
                    && fetch.blocks.is_empty()
                    && fetch.segments.is_empty()
                    && fetch.versions.is_empty()
                    && fetch.log.size() == fetch.header.height()
            })
    }

    /// Puts the next headers into the log. `true`: there are more.
    pub(super) fn extend_log(&mut self) -> Result<bool, JoinError> {
        let Some(fetch) = &mut self.fetch else { return Ok(false) };
        let height = fetch.header.height();
        let (mut nodes, mut changes) = (Vec::new(), Vec::new());
        for _ in 0..self.settings.headers_at_once.max(1) {
            let at = fetch.log.size();
            if at >= height {
                break;
            }
            let header = self.storage.header(at)?.ok_or_else(|| StorageError::Damaged {
                reason: format!("the staged header {at} is missing"),
            })?;
            // Those before a checkpoint have no certificate here: a client that trusts less asks an archive.
            if header.validator_set_hash != header.next_validator_set_hash
                && self.storage.certificate(at)?.is_some()
            {
                changes.push(at);
            }
            let leaf = HistoryHasher::leaf(&header_hash(&header).0);
            nodes.extend(fetch.log.append(leaf).map_err(StorageError::from)?);
        }
        if !nodes.is_empty() {
            self.storage.stage_log(&fetch.log, &nodes, &changes)?;
        }
        Ok(fetch.log.size() < height)
    }

    /// All parts are here: assembles tree and tip, checks both once more, and makes them the node's in one write.
    pub(super) fn finish(&mut self) -> Result<Tip, JoinError> {
        let Some(fetch) = &self.fetch else {
            return Err(damaged("there is no snapshot to end").into());
        };
        let height = fetch.header.height();
        let staged = self.storage.staged()?.ok_or_else(|| damaged("the snapshot is gone"))?;
        let mut parts = Vec::with_capacity(staged.segments.len());
        for (prefix, segment) in &staged.segments {
            match segment {
                Segment::Whole(grown) => parts.push((*prefix, *grown)),
                _ => return Err(damaged("a segment of the snapshot is not whole").into()),
            }
        }
        let (root, nodes) = tree::grow_root(height, &parts).map_err(fault)?;
        if fetch.header.header().state_root != root.0 && !mutant::is(Mutant::SnapshotNotVerified) {
            return Err(damaged("the staged segments are not those of the snapshot").into());
        }
        let at = self.storage.at(height);
        let members = at.leaf(&TreeKey::members()).map_err(fault)?;
        let members = members.ok_or_else(|| damaged("the members are not staged"))?;
        let parameters = at.leaf(&TreeKey::parameters()).map_err(fault)?;
        let parameters = parameters.ok_or_else(|| damaged("the parameters are not staged"))?;
        let window_from = fetch.window_from.unwrap_or(1);
        let recent_from = height.saturating_sub(RECENT_MAX.saturating_sub(1));
        let first = recent_from.min(window_from.saturating_sub(1)).max(1);
        let headers = read(first..=height, |at| self.storage.header(at))?;
        let blocks = read(window_from..=height, |at| self.storage.block(at))?;
        let mut tip = assemble_tip(
            &self.chain,
            TipParts {
                header: &fetch.header,
                validators: fetch.validators.clone(),
                next_validators: latest_set(height, &members).map_err(not_assembled)?,
                parameters: latest_parameters(height, &parameters).map_err(not_assembled)?,
                history: fetch.log.clone(),
                headers: &headers,
                blocks: &blocks,
            },
        )
        .map_err(not_assembled)?;
        // Appended once more, for the nodes that it completes.
        let mut log = fetch.log.clone();
        let log_nodes = log.append(HistoryHasher::leaf(&tip.hash.0)).map_err(StorageError::from)?;
        tip.history = log;
        self.storage.finish_snapshot(&tip, &log_nodes, nodes, window_from)?;
        tracing::info!(
            event = "snapshot_installed",
            height,
            "the node is at the height of the snapshot"
        );
        Ok(tip)
    }
}

/// Every part was verified before it was staged, so this is the disk's fault.
fn not_assembled(error: SnapshotError) -> StorageError {
    StorageError::Damaged { reason: format!("the staged parts make no tip: {error}") }
}

fn read<T>(
    heights: std::ops::RangeInclusive<u64>,
    one: impl Fn(u64) -> Result<Option<T>, StorageError>,
) -> Result<Vec<T>, StorageError> {
    let missing = |height| damaged(&format!("a staged part of height {height} is missing"));
    heights.map(|height| one(height)?.ok_or_else(|| missing(height))).collect()
}
