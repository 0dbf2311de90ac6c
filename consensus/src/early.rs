//! Messages of a height that has not begun here: kept, bounded, and fed when it begins.
//!
//! The core would queue them unverified, first come first kept, so one peer could fill the next height with junk
//! (`cc/handle/vote.rs:51`), and it would replay its own buffer of proposals as valid. So they wait here, each verified
//! against the set of its height, at most one for each validator, round and step.

use crate::codec::{SignedProposal, SignedVote};
use crate::context::{ValidatorKey, round_number};
use crate::event::Peer;
use crate::guard::Step;
use std::collections::{BTreeMap, BTreeSet};

/// A proposal, with what could only be known when it came.
#[derive(Debug)]
pub(crate) struct EarlyProposal {
    pub(crate) peer: Peer,
    pub(crate) proposal: SignedProposal,
    /// Whether its time was near the clock then (PROTOCOL II.1); later it would look old.
    pub(crate) near: bool,
}

#[derive(Debug, Default)]
pub(crate) struct EarlyMessages {
    votes: BTreeMap<(u64, u32, Step, ValidatorKey), SignedVote>,
    proposals: BTreeMap<(u64, u32, ValidatorKey), EarlyProposal>,
}

impl EarlyMessages {
    /// Later rounds than the core would take at the height's start are not kept (`cc/params.rs:24`).
    const VOTE_ROUND_MAX: u32 = 10;

    /// Proposals carry blocks. A node that is more than a round late gets the block by sync.
    const PROPOSAL_ROUND_MAX: u32 = 1;

    pub(crate) fn add_vote(&mut self, vote: SignedVote) {
        let round = round_number(vote.round);
        if round <= Self::VOTE_ROUND_MAX {
            let step = Step::from(vote.vote_type);
            self.votes.entry((vote.height.0, round, step, vote.validator)).or_insert(vote);
        }
    }

    pub(crate) fn add_proposal(&mut self, early: EarlyProposal) {
        let proposal = &early.proposal;
        let round = round_number(proposal.round);
        if round <= Self::PROPOSAL_ROUND_MAX {
            let key = (proposal.height.0, round, proposal.validator);
            self.proposals.entry(key).or_insert(early);
        }
    }

    /// How many validators have said something of `height`.
    pub(crate) fn senders(&self, height: u64) -> usize {
        let votes = self.votes.keys().filter(|key| key.0 == height).map(|key| key.3);
        let proposals = self.proposals.keys().filter(|key| key.0 == height).map(|key| key.2);
        votes.chain(proposals).collect::<BTreeSet<_>>().len()
    }

    /// Takes what is for `height` and forgets what is for lower ones.
    pub(crate) fn take(&mut self, height: u64) -> (Vec<EarlyProposal>, Vec<SignedVote>) {
        let later = height.saturating_add(1);
        let none = (0, Step::Proposal, ValidatorKey::default());
        let later_votes = self.votes.split_off(&(later, none.0, none.1, none.2));
        let later_proposals = self.proposals.split_off(&(later, 0, ValidatorKey::default()));
        let votes = std::mem::replace(&mut self.votes, later_votes);
        let proposals = std::mem::replace(&mut self.proposals, later_proposals);
        (
            proposals.into_values().filter(|early| early.proposal.height.0 == height).collect(),
            votes.into_values().filter(|vote| vote.height.0 == height).collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{BlockHeight, BlockProposal, BlockValue, BlockVote, SignatureBytes};
    use arc_malachitebft_core_types::{NilOrVal, Round, SignedMessage, VoteType};
    use sillok_proto::{Hash, v1};
    use std::sync::Arc;

    fn vote(by: u8, height: u64, round: u32, value: NilOrVal<Hash>) -> SignedVote {
        let vote = BlockVote {
            vote_type: VoteType::Prevote,
            height: BlockHeight(height),
            round: Round::new(round),
            value,
            validator: ValidatorKey([by; 32]),
        };
        SignedMessage::new(vote, SignatureBytes([0; 64]))
    }

    fn proposal(by: u8, height: u64, round: u32) -> EarlyProposal {
        let value = BlockValue { id: Hash([by; 32]), block: Arc::new(v1::Block::default()) };
        let proposal = BlockProposal {
            height: BlockHeight(height),
            round: Round::new(round),
            value,
            pol_round: Round::Nil,
            validator: ValidatorKey([by; 32]),
        };
        let proposal = SignedMessage::new(proposal, SignatureBytes([0; 64]));
        EarlyProposal { peer: Peer([by; 32]), proposal, near: true }
    }

    #[test]
    fn who_says_much_fills_its_own_places_only() {
        let mut early = EarlyMessages::default();
        for nth in 0..200_u8 {
            early.add_vote(vote(1, 6, 0, NilOrVal::Val(Hash([nth; 32]))));
            early.add_vote(vote(1, 6, nth.into(), NilOrVal::Nil));
            early.add_proposal(proposal(1, 6, nth.into()));
        }
        early.add_vote(vote(2, 6, 0, NilOrVal::Nil));
        assert_eq!((early.votes.len(), early.proposals.len()), (12, 2));
        assert_eq!(early.senders(6), 2, "one of them many times");
        let (proposals, votes) = early.take(6);
        assert_eq!((proposals.len(), votes.len()), (2, 12));
    }

    #[test]
    fn what_is_for_a_later_height_waits_and_what_is_over_is_forgotten() {
        let mut early = EarlyMessages::default();
        for height in [5, 6, 7] {
            early.add_vote(vote(1, height, 0, NilOrVal::Nil));
            early.add_proposal(proposal(1, height, 0));
        }
        let (proposals, votes) = early.take(6);
        assert_eq!((proposals.len(), votes.len()), (1, 1));
        assert_eq!((early.votes.len(), early.proposals.len()), (1, 1));
        assert_eq!(early.senders(7), 1);
    }
}
