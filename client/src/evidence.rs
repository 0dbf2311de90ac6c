//! What a validator signed twice: checked by its two signatures alone, whoever shows them.
//!
//! Two statements of one height, round and step that name different blocks convict the key that signed both. What
//! follows from it the members decide; nothing here acts. An honest validator never signs them, whatever it is told:
//! its signing record keeps it from it (PROTOCOL II.4).

use sillok_did_method::verify_ed25519;
use sillok_ledger::{precommit_string, prevote_string, proposal_string};
use sillok_proto::{Hash, v1};
use v1::evidence::Evidence as Kind;

/// What was signed twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Two blocks were proposed.
    Proposal,
    /// Two first votes.
    Prevote,
    /// Two second votes.
    Precommit,
}

impl Step {
    /// As it is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proposal => "proposal",
            Self::Prevote => "prevote",
            Self::Precommit => "precommit",
        }
    }
}

/// A key that signed two things where one is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misbehavior {
    /// The validator key.
    pub validator: Vec<u8>,
    /// Height of both statements.
    pub height: u64,
    /// Their round.
    pub round: u32,
    /// What they are.
    pub step: Step,
}

/// Why evidence convicts nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// It is not two statements.
    #[error("the evidence is not a pair of statements; ask another node")]
    NotAPair,
    /// They are of different validators, heights, rounds or steps.
    #[error(
        "the two statements may both be signed: they are not of one validator, height, round and step"
    )]
    Compatible,
    /// They say the same.
    #[error("the two statements say the same, which is no fault")]
    Same,
    /// A signature does not hold.
    #[error("a signature in the evidence does not hold; it is forged, ask another node")]
    Signature,
}

/// One of the two, as it was signed.
struct Statement {
    validator: Vec<u8>,
    height: u64,
    round: u32,
    step: Step,
    /// What may differ.
    says: (Vec<u8>, u32),
    string: Vec<u8>,
    signature: Vec<u8>,
}

fn vote(genesis_hash: &Hash, vote: Option<&v1::SignedVote>) -> Option<Statement> {
    let vote = vote?;
    let statement = vote.statement.as_ref()?;
    let (step, string) = match vote.r#type() {
        v1::VoteType::Prevote => (Step::Prevote, prevote_string(genesis_hash, statement)),
        v1::VoteType::Precommit => (Step::Precommit, precommit_string(genesis_hash, statement)),
        v1::VoteType::Unspecified => return None,
    };
    Some(Statement {
        validator: vote.validator.clone(),
        height: statement.height,
        round: statement.round,
        step,
        says: (statement.header_hash.clone(), 0),
        string,
        signature: vote.signature.clone(),
    })
}

fn proposal(genesis_hash: &Hash, proposal: Option<&v1::SignedProposal>) -> Option<Statement> {
    let proposal = proposal?;
    let statement = proposal.statement.as_ref()?;
    Some(Statement {
        validator: proposal.validator.clone(),
        height: statement.height,
        round: statement.round,
        step: Step::Proposal,
        says: (statement.header_hash.clone(), statement.pol_round),
        string: proposal_string(genesis_hash, statement),
        signature: proposal.signature.clone(),
    })
}

/// Checks evidence. Whether the key was in the set of that height is for the caller to look up.
///
/// # Errors
///
/// [`EvidenceError`].
pub fn verify_evidence(
    genesis_hash: &Hash,
    evidence: &v1::Evidence,
) -> Result<Misbehavior, EvidenceError> {
    let pair = match &evidence.evidence {
        Some(Kind::Votes(pair)) => {
            [vote(genesis_hash, pair.first.as_ref()), vote(genesis_hash, pair.second.as_ref())]
        }
        Some(Kind::Proposals(pair)) => [
            proposal(genesis_hash, pair.first.as_ref()),
            proposal(genesis_hash, pair.second.as_ref()),
        ],
        None => return Err(EvidenceError::NotAPair),
    };
    let [Some(first), Some(second)] = pair else { return Err(EvidenceError::NotAPair) };
    let place = |one: &Statement| (one.validator.clone(), one.height, one.round, one.step as u8);
    if place(&first) != place(&second) {
        return Err(EvidenceError::Compatible);
    }
    if first.says == second.says {
        return Err(EvidenceError::Same);
    }
    for one in [&first, &second] {
        verify_ed25519(&one.validator, &one.string, &one.signature)
            .map_err(|_| EvidenceError::Signature)?;
    }
    let Statement { validator, height, round, step, .. } = first;
    Ok(Misbehavior { validator, height, round, step })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{KeyAlgorithm, SecretKey};

    const GENESIS: Hash = Hash([1; 32]);

    fn precommit(key: &SecretKey, height: u64, header: u8) -> v1::SignedVote {
        let header_hash = if header == 0 { Vec::new() } else { vec![header; 32] };
        let statement = v1::VoteStatement { height, round: 2, header_hash };
        let signature = key.sign(&precommit_string(&GENESIS, &statement)).unwrap().to_vec();
        v1::SignedVote {
            r#type: v1::VoteType::Precommit.into(),
            statement: Some(statement),
            validator: key.public().point.clone(),
            signature,
        }
    }

    fn judge(first: v1::SignedVote, second: v1::SignedVote) -> Result<Misbehavior, EvidenceError> {
        let pair = v1::VotePair { first: Some(first), second: Some(second) };
        verify_evidence(&GENESIS, &v1::Evidence { evidence: Some(Kind::Votes(pair)) })
    }

    #[test]
    fn two_votes_of_one_place_convict_and_nothing_else_does() {
        let key = SecretKey::generate(KeyAlgorithm::Ed25519).unwrap();
        let other = SecretKey::generate(KeyAlgorithm::Ed25519).unwrap();
        let guilty = judge(precommit(&key, 7, 1), precommit(&key, 7, 0)).unwrap();
        assert_eq!((guilty.height, guilty.round, guilty.step), (7, 2, Step::Precommit));
        assert_eq!(guilty.validator, key.public().point);

        assert_eq!(judge(precommit(&key, 7, 1), precommit(&key, 7, 1)), Err(EvidenceError::Same));
        for second in [precommit(&key, 8, 2), precommit(&other, 7, 2)] {
            assert_eq!(judge(precommit(&key, 7, 1), second), Err(EvidenceError::Compatible));
        }
        let mut prevote = precommit(&key, 7, 2);
        prevote.r#type = v1::VoteType::Prevote.into();
        assert_eq!(judge(precommit(&key, 7, 1), prevote), Err(EvidenceError::Compatible));
        // Words put into the mouth of another.
        let framed =
            v1::SignedVote { validator: other.public().point.clone(), ..precommit(&key, 7, 2) };
        let verdict = judge(precommit(&other, 7, 1), framed);
        assert_eq!(verdict, Err(EvidenceError::Signature));
        assert_eq!(
            verify_evidence(&GENESIS, &v1::Evidence::default()),
            Err(EvidenceError::NotAPair)
        );
    }
}
