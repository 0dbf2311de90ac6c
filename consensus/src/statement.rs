//! The strings validators sign: tag, genesis hash, statement (PROTOCOL §6.2).
//!
//! The height and round are signed, the signer is not: it is the key. The strings themselves are the ledger's, so that what
//! is signed here is what a light client verifies.

use crate::context::{BlockHeight, BlockProposal, BlockVote, round_number};
use arc_malachitebft_core_types::{NilOrVal, Round, VoteType};
use sillok_ledger::{precommit_string, prevote_string, proposal_string, refusal_string};
use sillok_proto::{Hash, v1};

pub(crate) fn vote(genesis: &Hash, vote: &BlockVote) -> Vec<u8> {
    vote_of(genesis, vote.vote_type, vote.height, vote.round, &vote.value)
}

pub(crate) fn vote_of(
    genesis: &Hash,
    vote_type: VoteType,
    height: BlockHeight,
    round: Round,
    value: &NilOrVal<Hash>,
) -> Vec<u8> {
    let statement = v1::VoteStatement {
        height: height.0,
        round: round_number(round),
        header_hash: match value {
            NilOrVal::Nil => Vec::new(),
            NilOrVal::Val(id) => id.to_vec(),
        },
    };
    match vote_type {
        VoteType::Prevote => prevote_string(genesis, &statement),
        VoteType::Precommit => precommit_string(genesis, &statement),
    }
}

pub(crate) fn proposal(genesis: &Hash, proposal: &BlockProposal) -> Vec<u8> {
    proposal_of(genesis, &proposal_statement(proposal))
}

pub(crate) fn proposal_of(genesis: &Hash, statement: &v1::ProposalStatement) -> Vec<u8> {
    proposal_string(genesis, statement)
}

/// That a block was found invalid.
pub(crate) fn refusal(genesis: &Hash, height: u64, round: u32, header: &Hash) -> Vec<u8> {
    let statement = v1::VoteStatement { height, round, header_hash: header.to_vec() };
    refusal_string(genesis, &statement)
}

pub(crate) fn proposal_statement(proposal: &BlockProposal) -> v1::ProposalStatement {
    v1::ProposalStatement {
        height: proposal.height.0,
        round: round_number(proposal.round),
        header_hash: proposal.value.id.to_vec(),
        pol_round: proposal.pol_round.as_u32().map_or(0, |round| round.saturating_add(1)),
    }
}
