//! Evidence that a validator signed two things, for the operators who decide about it.
//!
//! The host collects it itself, beside the core: from messages of the next height, of blocks that were found invalid, and
//! after the decision, none of which the core sees. A piece stands for itself: [`verify_evidence`] needs the validator
//! set of its height and nothing else, so whoever is served evidence can tell it from slander.

use crate::codec::{self, SignedProposal, SignedVote};
use crate::context::{ValidatorKey, round_number};
use crate::guard::Step;
use crate::signature::{Ed25519, SignatureScheme};
use sillok_ledger::{precommit_string, prevote_string, proposal_string};
use sillok_proto::{Hash, v1};
use std::collections::BTreeMap;

/// What a piece of evidence proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offence {
    /// Who signed twice.
    pub validator: ValidatorKey,
    /// Height of both statements.
    pub height: u64,
    /// Round of both statements.
    pub round: u32,
    /// What was signed twice.
    pub kind: OffenceKind,
}

/// What was signed twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum OffenceKind {
    Proposals,
    Prevotes,
    Precommits,
}

/// Why something is no evidence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// A part that must be there is not, or has the wrong length.
    #[error("{field} is missing or malformed")]
    Malformed {
        /// Name of the part.
        field: &'static str,
    },
    /// The two are by different validators, or of different heights, rounds or types.
    #[error("the two statements are not by one validator for one height, round and step")]
    NotOneStep,
    /// The two say the same.
    #[error("the two statements do not differ")]
    NoDifference,
    /// The signer is not of the set.
    #[error("the signer is no validator of height {height}")]
    NotAValidator {
        /// Height of the statements.
        height: u64,
    },
    /// A signature does not verify.
    #[error("one of the signatures does not verify")]
    BadSignature,
}

/// Whether `evidence` proves that a member of `validators`, the set of its height, signed two things.
///
/// # Errors
///
/// [`EvidenceError`]: it proves nothing.
pub fn verify_evidence(
    genesis_hash: &Hash,
    validators: &v1::ValidatorSet,
    evidence: &v1::Evidence,
) -> Result<Offence, EvidenceError> {
    verify_evidence_with(&Ed25519, genesis_hash, validators, evidence)
}

/// [`verify_evidence`] under another scheme, for simulations.
///
/// # Errors
///
/// [`EvidenceError`]: it proves nothing.
pub fn verify_evidence_with(
    scheme: &dyn SignatureScheme,
    genesis_hash: &Hash,
    validators: &v1::ValidatorSet,
    evidence: &v1::Evidence,
) -> Result<Offence, EvidenceError> {
    let [first, second] = halves(genesis_hash, evidence)?;
    if first.offence != second.offence {
        return Err(EvidenceError::NotOneStep);
    }
    if first.message == second.message {
        return Err(EvidenceError::NoDifference);
    }
    let offence = first.offence;
    let is_member =
        validators.validators.iter().any(|member| member.public_key == offence.validator.0);
    if !is_member {
        return Err(EvidenceError::NotAValidator { height: offence.height });
    }
    let good = [first, second]
        .iter()
        .all(|half| scheme.verify(&offence.validator.0, &half.message, &half.signature));
    if good { Ok(offence) } else { Err(EvidenceError::BadSignature) }
}

struct Half {
    offence: Offence,
    message: Vec<u8>,
    signature: [u8; 64],
}

fn halves(genesis: &Hash, evidence: &v1::Evidence) -> Result<[Half; 2], EvidenceError> {
    let malformed = |field| EvidenceError::Malformed { field };
    match evidence.evidence.as_ref().ok_or(malformed("evidence"))? {
        v1::evidence::Evidence::Votes(pair) => Ok([
            vote_half(genesis, pair.first.as_ref().ok_or(malformed("first"))?)?,
            vote_half(genesis, pair.second.as_ref().ok_or(malformed("second"))?)?,
        ]),
        v1::evidence::Evidence::Proposals(pair) => Ok([
            proposal_half(genesis, pair.first.as_ref().ok_or(malformed("first"))?)?,
            proposal_half(genesis, pair.second.as_ref().ok_or(malformed("second"))?)?,
        ]),
    }
}

fn array<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], EvidenceError> {
    bytes.try_into().map_err(|_| EvidenceError::Malformed { field })
}

fn vote_half(genesis: &Hash, vote: &v1::SignedVote) -> Result<Half, EvidenceError> {
    let statement =
        vote.statement.as_ref().ok_or(EvidenceError::Malformed { field: "vote statement" })?;
    let (kind, message) = match v1::VoteType::try_from(vote.r#type) {
        Ok(v1::VoteType::Prevote) => (OffenceKind::Prevotes, prevote_string(genesis, statement)),
        Ok(v1::VoteType::Precommit) => {
            (OffenceKind::Precommits, precommit_string(genesis, statement))
        }
        Ok(v1::VoteType::Unspecified) | Err(_) => {
            return Err(EvidenceError::Malformed { field: "vote type" });
        }
    };
    let validator = ValidatorKey(array("validator", &vote.validator)?);
    let (height, round) = (statement.height, statement.round);
    let offence = Offence { validator, height, round, kind };
    Ok(Half { offence, message, signature: array("signature", &vote.signature)? })
}

fn proposal_half(genesis: &Hash, proposal: &v1::SignedProposal) -> Result<Half, EvidenceError> {
    let statement = proposal
        .statement
        .as_ref()
        .ok_or(EvidenceError::Malformed { field: "proposal statement" })?;
    let validator = ValidatorKey(array("validator", &proposal.validator)?);
    let (height, round) = (statement.height, statement.round);
    let offence = Offence { validator, height, round, kind: OffenceKind::Proposals };
    let message = proposal_string(genesis, statement);
    Ok(Half { offence, message, signature: array("signature", &proposal.signature)? })
}

/// The first of every statement seen, and what contradicts it. All signatures were checked before.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    seen: BTreeMap<(u64, u32, Step, ValidatorKey), Said>,
    found: Vec<v1::Evidence>,
    counted: BTreeMap<(u64, ValidatorKey), Vec<(u32, OffenceKind)>>,
}

#[derive(Debug)]
enum Said {
    Vote(v1::SignedVote),
    Proposal(v1::SignedProposal),
}

impl Watch {
    /// For one validator at one height: who signs twice signs twenty times.
    const PER_VALIDATOR_MAX: usize = 3;
    /// Carried by one decision, or waiting for it.
    const FOUND_MAX: usize = 64;
    /// Of later rounds nothing is remembered; with sets of 128 that would be megabytes.
    const ROUND_MAX: u32 = 20;

    pub(crate) fn note_vote(&mut self, vote: &SignedVote) {
        let round = round_number(vote.round);
        if round > Self::ROUND_MAX {
            return;
        }
        let key = (vote.height.0, round, Step::from(vote.vote_type), vote.validator);
        let second = codec::vote_to(vote);
        let pair = match self.seen.get(&key) {
            None => {
                self.seen.insert(key, Said::Vote(second));
                return;
            }
            Some(Said::Vote(first)) if first.statement != second.statement => {
                v1::VotePair { first: Some(first.clone()), second: Some(second) }
            }
            Some(_) => return,
        };
        let evidence = Some(v1::evidence::Evidence::Votes(pair));
        self.add(v1::Evidence { evidence });
    }

    pub(crate) fn note_proposal(&mut self, proposal: &SignedProposal) {
        let round = round_number(proposal.round);
        if round > Self::ROUND_MAX {
            return;
        }
        let key = (proposal.height.0, round, Step::Proposal, proposal.validator);
        let second = codec::proposal_without_block(proposal);
        let pair = match self.seen.get(&key) {
            None => {
                self.seen.insert(key, Said::Proposal(second));
                return;
            }
            Some(Said::Proposal(first)) if first.statement != second.statement => {
                v1::ProposalPair { first: Some(first.clone()), second: Some(second) }
            }
            Some(_) => return,
        };
        let evidence = Some(v1::evidence::Evidence::Proposals(pair));
        self.add(v1::Evidence { evidence });
    }

    /// Keeps a piece, unless the same step of the same validator is there already.
    pub(crate) fn add(&mut self, evidence: v1::Evidence) {
        let Ok([first, _]) = halves(&Hash::default(), &evidence) else { return };
        let Offence { validator, height, round, kind } = first.offence;
        let counted = self.counted.entry((height, validator)).or_default();
        let full = counted.len() >= Self::PER_VALIDATOR_MAX || self.found.len() >= Self::FOUND_MAX;
        if !full && !counted.contains(&(round, kind)) {
            counted.push((round, kind));
            self.found.push(evidence);
        }
    }

    pub(crate) fn take(&mut self) -> Vec<v1::Evidence> {
        std::mem::take(&mut self.found)
    }

    /// Forgets what was said below `height`; what was found stays until a decision carries it.
    pub(crate) fn forget_below(&mut self, height: u64) {
        let first = (height, 0, Step::Proposal, ValidatorKey::default());
        self.seen = self.seen.split_off(&first);
        self.counted = self.counted.split_off(&(height, ValidatorKey::default()));
    }
}
