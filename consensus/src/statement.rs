//! The strings validators sign: tag, genesis hash, statement (PROTOCOL §6.2).
//!
//! The height and round are signed, the signer is not: it is the key. One place builds the strings for signing, for
//! verifying, and for the tests' checkers.

use crate::context::{BlockHeight, BlockProposal, BlockVote, round_number};
use arc_malachitebft_core_types::{NilOrVal, Round, VoteType};
use sillok_proto::{Hash, Tag, encode, v1};

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
    let tag = match vote_type {
        VoteType::Prevote => Tag::SignPrevote,
        VoteType::Precommit => Tag::SignPrecommit,
    };
    tag.signed_string(genesis, &encode(&statement))
}

pub(crate) fn proposal(genesis: &Hash, proposal: &BlockProposal) -> Vec<u8> {
    Tag::SignProposal.signed_string(genesis, &encode(&proposal_statement(proposal)))
}

pub(crate) fn proposal_statement(proposal: &BlockProposal) -> v1::ProposalStatement {
    v1::ProposalStatement {
        height: proposal.height.0,
        round: round_number(proposal.round),
        header_hash: proposal.value.id.to_vec(),
        pol_round: proposal.pol_round.as_u32().map_or(0, |round| round.saturating_add(1)),
    }
}
