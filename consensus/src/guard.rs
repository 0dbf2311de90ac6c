//! The sign guard: the last line in front of the key.
//!
//! It knows what was signed for each (height, round, step) of the record's height, rebuilt from the record at boot,
//! and never lets a second, different statement through: not because the core would err, but because a record that
//! is older than what was released, or a bug in either, ends in a signature that convicts an honest operator.

use crate::context::{ValidatorKey, Vocabulary};
use arc_malachitebft_core_consensus::Input;
use arc_malachitebft_core_types::{NilOrVal, VoteType};
use sillok_proto::Hash;
use std::collections::BTreeMap;

use crate::codec::{SignedProposal, SignedVote};
use crate::context::round_number;

/// What a statement is for; one signature of each in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Proposal,
    Prevote,
    Precommit,
}

impl From<VoteType> for Step {
    fn from(vote_type: VoteType) -> Self {
        match vote_type {
            VoteType::Prevote => Self::Prevote,
            VoteType::Precommit => Self::Precommit,
        }
    }
}

/// A statement of ours, as far as it may not contradict another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) height: u64,
    pub(crate) round: u32,
    pub(crate) step: Step,
    content: Content,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Content {
    /// `None` = nil.
    header: Option<Hash>,
    /// Of a proposal; proof-of-lock round.
    pol_round: Option<u32>,
}

impl Statement {
    pub(crate) fn vote(
        vote_type: VoteType,
        height: u64,
        round: u32,
        value: &NilOrVal<Hash>,
    ) -> Self {
        let header = match value {
            NilOrVal::Nil => None,
            NilOrVal::Val(id) => Some(*id),
        };
        Self { height, round, step: vote_type.into(), content: Content { header, pol_round: None } }
    }

    pub(crate) fn of_vote(vote: &SignedVote) -> Self {
        Self::vote(vote.vote_type, vote.height.0, round_number(vote.round), &vote.value)
    }

    pub(crate) fn proposal(height: u64, round: u32, header: Hash, pol_round: Option<u32>) -> Self {
        let content = Content { header: Some(header), pol_round };
        Self { height, round, step: Step::Proposal, content }
    }

    pub(crate) fn of_proposal(proposal: &SignedProposal) -> Self {
        Self::proposal(
            proposal.height.0,
            round_number(proposal.round),
            proposal.value.id,
            proposal.pol_round.as_u32(),
        )
    }
}

/// What the guard says of a statement that somebody else shows with our signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// In the record, or of a height whose record is gone because it was decided.
    Ours,
    /// Not in the record: the record is not that of this key.
    Foreign,
}

/// The guard of one key.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    /// Height of the signing record. Nothing is signed at any other height.
    height: u64,
    signed: BTreeMap<(u32, Step), Content>,
    retired: bool,
}

impl Guard {
    /// The guard of a record: what `key` signed in it.
    pub(crate) fn of_record(
        height: u64,
        inputs: &[Input<Vocabulary>],
        key: Option<ValidatorKey>,
    ) -> Self {
        let mut guard = Self { height, ..Self::default() };
        for input in inputs {
            let statement = match input {
                Input::Vote(vote) if Some(vote.validator) == key => Statement::of_vote(vote),
                Input::Proposal(proposal) if Some(proposal.validator) == key => {
                    Statement::of_proposal(proposal)
                }
                _ => continue,
            };
            // The first of two that differ stays, as in the core's own index of the record.
            guard.signed.entry((statement.round, statement.step)).or_insert(statement.content);
        }
        guard
    }

    pub(crate) const fn height(&self) -> u64 {
        self.height
    }

    pub(crate) const fn is_retired(&self) -> bool {
        self.retired
    }

    pub(crate) fn retire(&mut self) {
        self.retired = true;
    }

    /// Begins the record of a later height. What was signed before is of no further use: heights below the record's are
    /// refused altogether.
    pub(crate) fn begin(&mut self, height: u64) {
        self.height = height;
        self.signed.clear();
    }

    /// Whether a statement may be signed; if so it is remembered. Signing the same again is harmless and happens in
    /// every replay.
    pub(crate) fn allow(&mut self, statement: Statement) -> bool {
        if self.retired || statement.height != self.height {
            return false;
        }
        let key = (statement.round, statement.step);
        *self.signed.entry(key).or_insert(statement.content) == statement.content
    }

    /// Whether a statement under our signature, which somebody shows, can be ours (PROTOCOL II.4).
    pub(crate) fn known(&self, statement: Statement) -> Known {
        if statement.height < self.height {
            return Known::Ours;
        }
        let recorded = self.signed.get(&(statement.round, statement.step));
        if statement.height == self.height && recorded == Some(&statement.content) {
            Known::Ours
        } else {
            Known::Foreign
        }
    }
}
