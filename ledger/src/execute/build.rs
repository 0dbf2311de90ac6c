//! What a proposer puts into its block: conduct, not law. Every validator executes what comes of it.
//!
//! Candidates stand in a fair order, and the block has them in that order. Where there is no room for all, losses of
//! rights come first to room (PROTOCOL §5.2): those that would use up a quarter of the block are found by a trial, in
//! turns of their submitters ([`crate::lane`]), and what they took is kept for them until they are run in their places.
//!
//! In their places and not in front: the order of a block is public, and whether a change of an enrollment is a loss
//! stands in its private content; and of one submitter a later transaction would come before an earlier one.

use super::{Run, check_origin};
use crate::admit::SignatureVerifier;
use crate::lane::{LOSS_PART, Lane, by_turns};
use crate::tip::Tip;
use crate::tree::NodeReader;
use crate::{
    AdmissionError, BlockError, Chain, CheckedTransaction, Outcome, StateFault, StateView,
};
use sillok_proto::v1;
use std::collections::BTreeMap;

/// A block the proposer made, and the candidates it left out with the rule each breaks.
#[derive(Debug, Clone)]
pub struct Built {
    /// The block.
    pub block: v1::Block,
    /// What executing it made.
    pub outcome: Outcome,
    /// Index of a candidate, and why it was refused. Candidates for which there was no room are not here.
    pub refused: Vec<(usize, AdmissionError)>,
}

/// More than a header ever takes, in bytes.
const HEADER_BYTES_MAX: usize = 512;
/// Most that tag and length before a transaction take, in bytes.
const ENVELOPE_BYTES_MAX: usize = 6;

/// Builds a block of the admissible ones among `candidates`, in their order, as far as the bounds allow. Where they do
/// not allow all, see the module.
///
/// # Errors
///
/// [`BlockError::State`] if storage failed; [`BlockError::Time`] or [`BlockError::Proposer`] if nobody would accept the
/// block.
pub fn build_block<'c, S: StateView + NodeReader>(
    chain: &Chain,
    tip: &Tip,
    state: &S,
    verifier: &dyn SignatureVerifier,
    time_ms: u64,
    proposer: &[u8],
    candidates: impl IntoIterator<Item = (&'c v1::Transaction, &'c CheckedTransaction)>,
) -> Result<Built, BlockError> {
    check_origin(tip, time_ms, proposer)?;
    let candidates: Vec<Candidate<'c>> = candidates.into_iter().collect();
    let begin = || Builder::new(&candidates, Run::new(chain, tip, state, verifier, time_ms));
    let mut trial = begin();
    // What the trial refuses, without those that stand before it, may be right in its place.
    let kept = if trial.is_room_for_all() { BTreeMap::new() } else { trial.try_losses()? };
    begin().build(kept, proposer)
}

/// The same without room kept for losses: each candidate is run after those before it, whatever stands behind it. So of
/// candidates of which one cannot be run at all, each prefix that holds it fails, and none that does not.
///
/// # Errors
///
/// As [`build_block`].
pub fn build_in_order<'c, S: StateView + NodeReader>(
    chain: &Chain,
    tip: &Tip,
    state: &S,
    verifier: &dyn SignatureVerifier,
    time_ms: u64,
    proposer: &[u8],
    candidates: impl IntoIterator<Item = (&'c v1::Transaction, &'c CheckedTransaction)>,
) -> Result<Built, BlockError> {
    check_origin(tip, time_ms, proposer)?;
    let candidates: Vec<Candidate<'c>> = candidates.into_iter().collect();
    let builder = Builder::new(&candidates, Run::new(chain, tip, state, verifier, time_ms));
    builder.build(BTreeMap::new(), proposer)
}

type Candidate<'c> = (&'c v1::Transaction, &'c CheckedTransaction);

/// What blocks are bounded by.
#[derive(Debug, Clone, Copy, Default)]
struct Room {
    bytes: usize,
    signature_checks: usize,
    writes: usize,
}

impl Room {
    fn of_block(parameters: &v1::Parameters) -> Self {
        let max = |max| usize::try_from(max).unwrap_or(usize::MAX);
        Self {
            bytes: usize::try_from(parameters.block_bytes_max).unwrap_or(usize::MAX),
            signature_checks: max(parameters.block_signature_checks_max),
            writes: max(parameters.block_state_writes_max),
        }
    }

    /// The most that a transaction takes. What it writes is known when it has run; until then it may be much more.
    fn of(transaction: &CheckedTransaction) -> Self {
        Self {
            bytes: transaction.size_bytes.saturating_add(ENVELOPE_BYTES_MAX),
            signature_checks: transaction.signature_count(),
            writes: transaction.write_count(),
        }
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            signature_checks: self.signature_checks.saturating_add(other.signature_checks),
            writes: self.writes.saturating_add(other.writes),
        }
    }

    const fn minus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            signature_checks: self.signature_checks.saturating_sub(other.signature_checks),
            writes: self.writes.saturating_sub(other.writes),
        }
    }

    const fn holds(self, used: Self) -> bool {
        used.bytes <= self.bytes
            && used.signature_checks <= self.signature_checks
            && used.writes <= self.writes
    }

    /// Has `used` come to the part of this that is kept for losses? The transaction that comes to it may go beyond:
    /// the largest has more than a quarter of the smallest block.
    const fn loss_part_is_used_up(self, used: Self) -> bool {
        used.bytes >= self.bytes / LOSS_PART
            || used.signature_checks >= self.signature_checks / LOSS_PART
            || used.writes >= self.writes / LOSS_PART
    }
}

/// Candidates being taken into a block.
struct Builder<'a, 'c, S: StateView + NodeReader> {
    candidates: &'a [Candidate<'c>],
    room: Room,
    used: Room,
    run: Run<'a, S>,
    /// Indexes, in the order in which they were run.
    taken: Vec<usize>,
    refused: Vec<(usize, AdmissionError)>,
}

impl<'a, 'c, S: StateView + NodeReader> Builder<'a, 'c, S> {
    fn new(candidates: &'a [Candidate<'c>], run: Run<'a, S>) -> Self {
        let room = Room::of_block(&run.tip.parameters);
        let used = Room { bytes: HEADER_BYTES_MAX, ..Room::default() };
        Self { candidates, room, used, run, taken: Vec::new(), refused: Vec::new() }
    }

    /// Takes what there is room for, and makes the block.
    fn build(mut self, kept: BTreeMap<usize, Room>, proposer: &[u8]) -> Result<Built, BlockError> {
        self.take_all(kept)?;
        let outcome = self.run.finish(proposer)?;
        let transactions = self.taken.iter().filter_map(|index| self.candidates.get(*index));
        let transactions = transactions.map(|(transaction, _)| (*transaction).clone()).collect();
        let block = v1::Block { header: Some(outcome.header.clone()), transactions };
        Ok(Built { block, outcome, refused: self.refused })
    }

    fn is_room_for_all(&self) -> bool {
        let all = self.candidates.iter().fold(self.used, |all, (_, one)| all.plus(Room::of(one)));
        self.room.holds(all)
    }

    /// Runs losses until they have used up their part, and returns what each took.
    fn try_losses(&mut self) -> Result<BTreeMap<usize, Room>, StateFault> {
        let losses = self.candidates.iter().enumerate();
        let losses: Vec<(usize, &CheckedTransaction)> = losses
            .filter(|(_, (_, checked))| checked.lane() == Lane::Loss)
            .map(|(index, (_, checked))| (index, *checked))
            .collect();
        let mut kept = BTreeMap::new();
        for turn in by_turns(losses.iter().map(|(_, checked)| checked.submitter)) {
            if self.room.loss_part_is_used_up(self.used) {
                break;
            }
            let Some((index, checked)) = losses.get(turn).copied() else { break };
            let before = self.used;
            if self.is_room_for(checked, Room::default()) && self.take(index, checked)? {
                kept.insert(index, self.used.minus(before));
            }
        }
        Ok(kept)
    }

    /// Takes candidates in their order, keeping room for those that have it.
    fn take_all(&mut self, mut kept: BTreeMap<usize, Room>) -> Result<(), StateFault> {
        let mut for_losses = kept.values().fold(Room::default(), |all, one| all.plus(*one));
        for (index, (_, checked)) in self.candidates.iter().enumerate() {
            let own = kept.remove(&index);
            for_losses = for_losses.minus(own.unwrap_or_default());
            if own.is_some() || self.is_room_for(checked, for_losses) {
                self.take(index, checked)?;
            }
        }
        Ok(())
    }

    /// Is there room for the most that it may take? To run each of thousands for which there is none would take longer
    /// than a round.
    fn is_room_for(&self, checked: &CheckedTransaction, kept: Room) -> bool {
        self.room.holds(self.used.plus(kept).plus(Room::of(checked)))
    }

    /// Takes a candidate if it is admissible. Whether it was taken.
    fn take(&mut self, index: usize, checked: &CheckedTransaction) -> Result<bool, StateFault> {
        match self.run.push(checked, self.room.writes) {
            Ok(true) => {
                self.taken.push(index);
                self.used = Room { writes: self.run.writes, ..self.used.plus(Room::of(checked)) };
                Ok(true)
            }
            // A loss that was tried in another order may have written less then.
            Ok(false) => Ok(false),
            Err(AdmissionError::State(fault)) => Err(fault),
            Err(error) => {
                self.refused.push((index, error));
                Ok(false)
            }
        }
    }
}
