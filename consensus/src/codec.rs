//! Between the wire's messages and the core's: every length and number is bounded here, nothing is verified.
//!
//! Decoding from bytes is [`decode_message`] and [`decode_entry`]; both accept only canonical bytes.

use crate::context::{
    BlockHeight, BlockProposal, BlockValue, BlockVote, SignatureBytes, ValidatorKey, Validators,
    Vocabulary, round_number,
};
use crate::guard::Statement;
use crate::statement;
use arc_malachitebft_core_consensus::{
    Input, LivenessMsg, MisbehaviorEvidence, ProposedValue, SignedConsensusMsg,
};
use arc_malachitebft_core_types::{
    CommitCertificate, ExtendedCommitCertificate, ExtendedCommitSignature, NilOrVal,
    PolkaCertificate, PolkaSignature, Round, RoundCertificate, RoundCertificateType,
    RoundSignature, SignedMessage, Timeout, TimeoutKind, Validity, ValueOrigin, VoteType,
};
use sillok_ledger::header_hash;
use sillok_proto::v1::consensus_message::Message;
use sillok_proto::v1::wal_entry::Entry;
use sillok_proto::{CanonicalError, Hash, decode, v1};
use std::sync::Arc;

pub(crate) type SignedVote = SignedMessage<Vocabulary, BlockVote>;
pub(crate) type SignedProposal = SignedMessage<Vocabulary, BlockProposal>;

/// No honest network comes near this round; the core adds to round numbers.
const ROUND_MAX: u32 = 1_000_000;

/// What a message may be longer than the largest block: signatures, and the certificates of the largest set.
const MESSAGE_OVERHEAD_BYTES: usize = 64 * 1024;

/// Most pieces of evidence one decision carries.
const EVIDENCE_MAX: usize = 64;

/// Decodes a consensus message as it came from the network.
///
/// # Errors
///
/// [`CanonicalError`]: too long for blocks of `block_bytes_max`, malformed, or not canonical.
pub fn decode_message(
    bytes: &[u8],
    block_bytes_max: usize,
) -> Result<v1::ConsensusMessage, CanonicalError> {
    decode(bytes, block_bytes_max.saturating_add(MESSAGE_OVERHEAD_BYTES))
}

/// Decodes an entry of the signing record.
///
/// # Errors
///
/// [`CanonicalError`]: the entry is longer than any that is written, malformed, or not canonical.
pub fn decode_entry(bytes: &[u8], block_bytes_max: usize) -> Result<v1::WalEntry, CanonicalError> {
    decode(bytes, block_bytes_max.saturating_add(MESSAGE_OVERHEAD_BYTES))
}

/// Why a message of the right protobuf type says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// A key, hash or signature of the wrong length.
    #[error("{field} has {len} bytes")]
    WrongLength {
        /// Name of the field.
        field: &'static str,
        /// Its length.
        len: usize,
    },
    /// A field that must be there is not.
    #[error("{field} is missing")]
    Missing {
        /// Name of the field.
        field: &'static str,
    },
    /// An enumeration has a number without a name.
    #[error("{field} is {value}, which has no meaning")]
    UnknownNumber {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: i32,
    },
    /// A round no network reaches.
    #[error("round {round} is out of bounds")]
    RoundOutOfBounds {
        /// The round.
        round: u32,
    },
    /// A proposal names a proof-of-lock round that does not come before its own (Tendermint, line 28).
    #[error("the proof-of-lock round {pol_round} does not come before round {round}")]
    PolRoundNotEarlier {
        /// The proof-of-lock round.
        pol_round: u32,
        /// The proposal's round.
        round: u32,
    },
    /// More signatures than there are validators.
    #[error("{len} signatures by a set of {max}")]
    TooManySignatures {
        /// Signatures received.
        len: usize,
        /// Size of the set.
        max: usize,
    },
    /// A commit certificate names validators out of order, twice, or beyond the set.
    #[error("the signatures are not by ascending members of the set")]
    SignersOutOfOrder,
    /// A vote in a round certificate is of another height or round.
    #[error("a vote in a certificate is of another height or round")]
    ForeignVote,
    /// The block beside a statement is not the one it names.
    #[error("the block's header is not the one that is signed")]
    NotTheNamedHeader,
}

fn key(field: &'static str, bytes: &[u8]) -> Result<ValidatorKey, MessageError> {
    bytes
        .try_into()
        .map(ValidatorKey)
        .map_err(|_| MessageError::WrongLength { field, len: bytes.len() })
}

fn hash(field: &'static str, bytes: &[u8]) -> Result<Hash, MessageError> {
    Hash::from_slice(bytes).ok_or(MessageError::WrongLength { field, len: bytes.len() })
}

fn signature(bytes: &[u8]) -> Result<SignatureBytes, MessageError> {
    bytes
        .try_into()
        .map(SignatureBytes)
        .map_err(|_| MessageError::WrongLength { field: "signature", len: bytes.len() })
}

fn round(round: u32) -> Result<Round, MessageError> {
    if round > ROUND_MAX {
        return Err(MessageError::RoundOutOfBounds { round });
    }
    Ok(Round::new(round))
}

/// A round that may be absent: 0 = none, else plus one.
fn round_plus_one(number: u32) -> Result<Round, MessageError> {
    number.checked_sub(1).map_or(Ok(Round::Nil), round)
}

fn at_most(len: usize, max: usize) -> Result<(), MessageError> {
    if len > max {
        return Err(MessageError::TooManySignatures { len, max });
    }
    Ok(())
}

/// A block and its header hash.
pub(crate) fn block_value(block: Arc<v1::Block>) -> Result<BlockValue, MessageError> {
    let header = block.header.as_ref().ok_or(MessageError::Missing { field: "header" })?;
    Ok(BlockValue { id: header_hash(header), block })
}

// ------------------------------------------------------------------------------------- votes

pub(crate) fn vote_from(vote: &v1::SignedVote) -> Result<SignedVote, MessageError> {
    let statement =
        vote.statement.as_ref().ok_or(MessageError::Missing { field: "vote statement" })?;
    let vote_type = match v1::VoteType::try_from(vote.r#type) {
        Ok(v1::VoteType::Prevote) => VoteType::Prevote,
        Ok(v1::VoteType::Precommit) => VoteType::Precommit,
        Ok(v1::VoteType::Unspecified) | Err(_) => {
            return Err(MessageError::UnknownNumber { field: "vote type", value: vote.r#type });
        }
    };
    let value = if statement.header_hash.is_empty() {
        NilOrVal::Nil
    } else {
        NilOrVal::Val(hash("header hash", &statement.header_hash)?)
    };
    let message = BlockVote {
        vote_type,
        height: BlockHeight(statement.height),
        round: round(statement.round)?,
        value,
        validator: key("validator", &vote.validator)?,
    };
    Ok(SignedMessage::new(message, signature(&vote.signature)?))
}

pub(crate) fn vote_to(vote: &SignedVote) -> v1::SignedVote {
    v1::SignedVote {
        r#type: match vote.vote_type {
            VoteType::Prevote => v1::VoteType::Prevote.into(),
            VoteType::Precommit => v1::VoteType::Precommit.into(),
        },
        statement: Some(v1::VoteStatement {
            height: vote.height.0,
            round: round_number(vote.round),
            header_hash: match &vote.value {
                NilOrVal::Nil => Vec::new(),
                NilOrVal::Val(id) => id.to_vec(),
            },
        }),
        validator: vote.validator.0.to_vec(),
        signature: vote.signature.0.to_vec(),
    }
}

// --------------------------------------------------------------------------------- proposals

pub(crate) fn proposal_from(proposal: v1::SignedProposal) -> Result<SignedProposal, MessageError> {
    let statement =
        proposal.statement.ok_or(MessageError::Missing { field: "proposal statement" })?;
    let block = proposal.block.ok_or(MessageError::Missing { field: "block" })?;
    let value = block_value(Arc::new(block))?;
    if hash("header hash", &statement.header_hash)? != value.id {
        return Err(MessageError::NotTheNamedHeader);
    }
    let pol_round = round_plus_one(statement.pol_round)?;
    if let Some(pol) = pol_round.as_u32()
        && pol >= statement.round
    {
        return Err(MessageError::PolRoundNotEarlier { pol_round: pol, round: statement.round });
    }
    let message = BlockProposal {
        height: BlockHeight(statement.height),
        round: round(statement.round)?,
        value,
        pol_round,
        validator: key("validator", &proposal.validator)?,
    };
    Ok(SignedMessage::new(message, signature(&proposal.signature)?))
}

/// What a proposal's signature covers, without the block beside it.
pub(crate) fn proposal_head_from(
    proposal: &v1::SignedProposal,
) -> Result<(&v1::ProposalStatement, ValidatorKey, SignatureBytes), MessageError> {
    let statement =
        proposal.statement.as_ref().ok_or(MessageError::Missing { field: "proposal statement" })?;
    Ok((statement, key("validator", &proposal.validator)?, signature(&proposal.signature)?))
}

pub(crate) fn proposal_to(proposal: &SignedProposal) -> v1::SignedProposal {
    v1::SignedProposal {
        block: Some(v1::Block::clone(&proposal.value.block)),
        ..proposal_without_block(proposal)
    }
}

pub(crate) fn proposal_without_block(proposal: &SignedProposal) -> v1::SignedProposal {
    v1::SignedProposal {
        statement: Some(statement::proposal_statement(proposal)),
        validator: proposal.validator.0.to_vec(),
        signature: proposal.signature.0.to_vec(),
        block: None,
    }
}

// ---------------------------------------------------------------------------------- refusals

/// That `validator` executed a proposed block and found it invalid.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusal {
    pub(crate) height: u64,
    pub(crate) round: u32,
    pub(crate) header: Hash,
    pub(crate) validator: ValidatorKey,
    pub(crate) signature: SignatureBytes,
}

pub(crate) fn refusal_from(refusal: &v1::SignedRefusal) -> Result<Refusal, MessageError> {
    let statement =
        refusal.statement.as_ref().ok_or(MessageError::Missing { field: "refusal statement" })?;
    Ok(Refusal {
        height: statement.height,
        round: round_number(round(statement.round)?),
        header: hash("header hash", &statement.header_hash)?,
        validator: key("validator", &refusal.validator)?,
        signature: signature(&refusal.signature)?,
    })
}

pub(crate) fn refusal_to(refusal: &Refusal) -> v1::SignedRefusal {
    v1::SignedRefusal {
        statement: Some(v1::VoteStatement {
            height: refusal.height,
            round: refusal.round,
            header_hash: refusal.header.to_vec(),
        }),
        validator: refusal.validator.0.to_vec(),
        signature: refusal.signature.0.to_vec(),
    }
}

// ------------------------------------------------------------------------------ certificates

pub(crate) fn polka_from(
    certificate: &v1::PolkaCertificate,
    signers_max: usize,
) -> Result<PolkaCertificate<Vocabulary>, MessageError> {
    at_most(certificate.signatures.len(), signers_max)?;
    Ok(PolkaCertificate {
        height: BlockHeight(certificate.height),
        round: round(certificate.round)?,
        value_id: hash("header hash", &certificate.header_hash)?,
        polka_signatures: certificate
            .signatures
            .iter()
            .map(|signed| {
                Ok(PolkaSignature::new(
                    key("validator", &signed.validator)?,
                    signature(&signed.signature)?,
                ))
            })
            .collect::<Result<_, _>>()?,
    })
}

pub(crate) fn polka_to(certificate: &PolkaCertificate<Vocabulary>) -> v1::PolkaCertificate {
    v1::PolkaCertificate {
        height: certificate.height.0,
        round: round_number(certificate.round),
        header_hash: certificate.value_id.to_vec(),
        signatures: certificate
            .polka_signatures
            .iter()
            .map(|signed| v1::ValidatorSignature {
                validator: signed.address.0.to_vec(),
                signature: signed.signature.0.to_vec(),
            })
            .collect(),
    }
}

pub(crate) fn round_certificate_from(
    certificate: &v1::RoundCertificate,
    signers_max: usize,
) -> Result<RoundCertificate<Vocabulary>, MessageError> {
    at_most(certificate.votes.len(), signers_max)?;
    let (height, at) = (BlockHeight(certificate.height), round(certificate.round)?);
    let round_signatures = certificate
        .votes
        .iter()
        .map(|vote| {
            let vote = vote_from(vote)?;
            if vote.height != height || vote.round != at {
                return Err(MessageError::ForeignVote);
            }
            let SignedMessage { message, signature } = vote;
            Ok(RoundSignature::new(message.vote_type, message.value, message.validator, signature))
        })
        .collect::<Result<_, _>>()?;
    Ok(RoundCertificate {
        height,
        round: at,
        cert_type: if certificate.skip {
            RoundCertificateType::Skip
        } else {
            RoundCertificateType::Precommit
        },
        round_signatures,
    })
}

pub(crate) fn round_certificate_to(
    certificate: &RoundCertificate<Vocabulary>,
) -> v1::RoundCertificate {
    v1::RoundCertificate {
        height: certificate.height.0,
        round: round_number(certificate.round),
        skip: matches!(certificate.cert_type, RoundCertificateType::Skip),
        votes: certificate.votes(&Vocabulary).map(|vote| vote_to(&vote)).collect(),
    }
}

/// Commit certificates name validators by position, so the set must be that of the certificate's height.
pub(crate) fn commit_from(
    certificate: &v1::CommitCertificate,
    validators: &Validators,
) -> Result<ExtendedCommitCertificate<Vocabulary>, MessageError> {
    at_most(certificate.signatures.len(), validators.len())?;
    if !certificate.signatures.is_sorted_by(|a, b| a.validator < b.validator) {
        return Err(MessageError::SignersOutOfOrder);
    }
    Ok(ExtendedCommitCertificate {
        height: BlockHeight(certificate.height),
        round: round(certificate.round)?,
        value_id: hash("header hash", &certificate.header_hash)?,
        commit_signatures: certificate
            .signatures
            .iter()
            .map(|signed| {
                let address = usize::try_from(signed.validator)
                    .ok()
                    .and_then(|index| validators.key_at(index))
                    .ok_or(MessageError::SignersOutOfOrder)?;
                Ok(ExtendedCommitSignature::new(address, signature(&signed.signature)?, None))
            })
            .collect::<Result<_, _>>()?,
    })
}

/// What a commit certificate's signers say, its signed string and the signatures, without asking whose they are.
pub(crate) fn commit_statement(
    genesis: &Hash,
    certificate: &v1::CommitCertificate,
) -> Option<(Statement, Vec<u8>, Vec<SignatureBytes>)> {
    let height = certificate.height;
    let at = round(certificate.round).ok()?;
    let value = NilOrVal::Val(hash("header hash", &certificate.header_hash).ok()?);
    let vote_type = VoteType::Precommit;
    let message = statement::vote_of(genesis, vote_type, BlockHeight(height), at, &value);
    let shown = Statement::vote(vote_type, height, certificate.round, &value);
    let signatures = certificate.signatures.iter().take(Validators::COUNT_MAX);
    let signatures = signatures.filter_map(|signed| signature(&signed.signature).ok()).collect();
    Some((shown, message, signatures))
}

/// By ascending validator; signers outside the set, which the core does not admit, are left out.
pub(crate) fn commit_to(
    certificate: &CommitCertificate<Vocabulary>,
    validators: &Validators,
) -> v1::CommitCertificate {
    let mut signatures: Vec<v1::CommitSignature> = certificate
        .commit_signatures
        .iter()
        .filter_map(|signed| {
            Some(v1::CommitSignature {
                validator: u32::try_from(validators.index_of(&signed.address)?).ok()?,
                signature: signed.signature.0.to_vec(),
            })
        })
        .collect();
    signatures.sort_by_key(|signed| signed.validator);
    v1::CommitCertificate {
        height: certificate.height.0,
        round: round_number(certificate.round),
        header_hash: certificate.value_id.to_vec(),
        signatures,
    }
}

// ---------------------------------------------------------------------------------- messages

pub(crate) fn consensus_to(message: &SignedConsensusMsg<Vocabulary>) -> v1::ConsensusMessage {
    wrap(match message {
        SignedConsensusMsg::Vote(vote) => Message::Vote(vote_to(vote)),
        SignedConsensusMsg::Proposal(proposal) => Message::Proposal(proposal_to(proposal)),
    })
}

pub(crate) fn liveness_to(message: &LivenessMsg<Vocabulary>) -> v1::ConsensusMessage {
    wrap(match message {
        LivenessMsg::Vote(vote) => Message::Vote(vote_to(vote)),
        LivenessMsg::PolkaCertificate(certificate) => {
            Message::PolkaCertificate(polka_to(certificate))
        }
        LivenessMsg::SkipRoundCertificate(certificate) => {
            Message::RoundCertificate(round_certificate_to(certificate))
        }
    })
}

pub(crate) fn wrap(message: Message) -> v1::ConsensusMessage {
    v1::ConsensusMessage { message: Some(message) }
}

// -------------------------------------------------------------------------- signing record

/// The record's form of an input the core wants logged; `None` for what is never logged (`eng/wal/entry.rs:45`).
pub(crate) fn entry_to(height: u64, input: &Input<Vocabulary>) -> Option<v1::WalEntry> {
    let entry = match input {
        Input::Vote(vote) => Entry::Vote(vote_to(vote)),
        Input::Proposal(proposal) => Entry::Proposal(proposal_to(proposal)),
        Input::PolkaCertificate(certificate) => Entry::PolkaCertificate(polka_to(certificate)),
        Input::TimeoutElapsed(timeout) => Entry::Timeout(v1::TimeoutElapsed {
            kind: match timeout.kind {
                TimeoutKind::Propose => v1::TimeoutKind::Propose.into(),
                TimeoutKind::Prevote => v1::TimeoutKind::Prevote.into(),
                TimeoutKind::Precommit => v1::TimeoutKind::Precommit.into(),
                TimeoutKind::Rebroadcast | TimeoutKind::FinalizeHeight(_) => return None,
            },
            round: round_number(timeout.round),
        }),
        Input::ProposedValue(proposed, origin) => Entry::ProposedValue(v1::ProposedValue {
            round: round_number(proposed.round),
            valid_round: proposed.valid_round.as_u32().map_or(0, |round| round.saturating_add(1)),
            proposer: proposed.proposer.0.to_vec(),
            valid: proposed.validity.is_valid(),
            block: Some(v1::Block::clone(&proposed.value.block)),
            synced: origin.is_sync(),
        }),
        Input::StartHeight(..)
        | Input::RoundCertificate(_)
        | Input::Propose(_)
        | Input::SyncValueResponse(_) => return None,
    };
    Some(v1::WalEntry { height, entry: Some(entry) })
}

/// The input an entry stands for; `None` for the entry that retires the key.
pub(crate) fn entry_from(entry: &v1::WalEntry) -> Result<Option<Input<Vocabulary>>, MessageError> {
    Ok(Some(match entry.entry.as_ref().ok_or(MessageError::Missing { field: "entry" })? {
        Entry::Vote(vote) => Input::Vote(vote_from(vote)?),
        Entry::Proposal(proposal) => Input::Proposal(proposal_from(proposal.clone())?),
        Entry::PolkaCertificate(certificate) => {
            Input::PolkaCertificate(polka_from(certificate, Validators::COUNT_MAX)?)
        }
        Entry::Timeout(timeout) => {
            let kind = match v1::TimeoutKind::try_from(timeout.kind) {
                Ok(v1::TimeoutKind::Propose) => TimeoutKind::Propose,
                Ok(v1::TimeoutKind::Prevote) => TimeoutKind::Prevote,
                Ok(v1::TimeoutKind::Precommit) => TimeoutKind::Precommit,
                Ok(v1::TimeoutKind::Unspecified | v1::TimeoutKind::Rebroadcast) | Err(_) => {
                    return Err(MessageError::UnknownNumber {
                        field: "timeout kind",
                        value: timeout.kind,
                    });
                }
            };
            Input::TimeoutElapsed(Timeout::new(round(timeout.round)?, kind))
        }
        Entry::ProposedValue(proposed) => {
            let block = proposed.block.clone().ok_or(MessageError::Missing { field: "block" })?;
            let value = ProposedValue {
                height: BlockHeight(entry.height),
                round: round(proposed.round)?,
                valid_round: round_plus_one(proposed.valid_round)?,
                proposer: key("proposer", &proposed.proposer)?,
                value: block_value(Arc::new(block))?,
                validity: Validity::from_bool(proposed.valid),
            };
            let origin = if proposed.synced { ValueOrigin::Sync } else { ValueOrigin::Consensus };
            Input::ProposedValue(value, origin)
        }
        Entry::KeyRetired(_) => return Ok(None),
    }))
}

// -------------------------------------------------------------------------------- evidence

pub(crate) fn evidence_to(evidence: MisbehaviorEvidence<Vocabulary>) -> Vec<v1::Evidence> {
    let votes = evidence.votes.into_iter().flat_map(|(_, pairs)| pairs).map(|(first, second)| {
        v1::evidence::Evidence::Votes(v1::VotePair {
            first: Some(vote_to(&first)),
            second: Some(vote_to(&second)),
        })
    });
    let proposals =
        evidence.proposals.into_iter().flat_map(|(_, pairs)| pairs).map(|(first, second)| {
            v1::evidence::Evidence::Proposals(v1::ProposalPair {
                first: Some(proposal_without_block(&first)),
                second: Some(proposal_without_block(&second)),
            })
        });
    votes
        .chain(proposals)
        .take(EVIDENCE_MAX)
        .map(|evidence| v1::Evidence { evidence: Some(evidence) })
        .collect()
}

#[cfg(test)]
mod tests;
