//! Signatures checked ahead of the loop: on a shell's worker threads, before a message reaches the ordering thread.
//!
//! Signatures are 95 % of the cost of a height, and the core wants each verdict at once. A [`Checker`] verifies a decoded
//! message and remembers what was good; the host asks again, finds the answer, and never takes a worker's word for more
//! than "this key signed these bytes": who may vote, and for what, is decided by the host alone.

use crate::codec;
use crate::context::{SignatureBytes, ValidatorKey, Validators, Vocabulary};
use crate::signature::{SignatureScheme, VerifiedSignatures};
use crate::statement;
use arc_malachitebft_core_types::{NilOrVal, VoteType};
use sillok_proto::v1::consensus_message::Message;
use sillok_proto::{Hash, v1};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// Checks signatures on any thread, into the memory of one host. From [`crate::Host::checker`].
#[derive(Clone)]
pub struct Checker {
    genesis_hash: Hash,
    scheme: Arc<dyn SignatureScheme>,
    memory: VerifiedSignatures,
}

impl fmt::Debug for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checker").finish_non_exhaustive()
    }
}

impl Checker {
    pub(crate) const fn new(
        genesis_hash: Hash,
        scheme: Arc<dyn SignatureScheme>,
        memory: VerifiedSignatures,
    ) -> Self {
        Self { genesis_hash, scheme, memory }
    }

    /// Checks the signatures of a message; says how many are good. Only what the host may use: of strangers and of other
    /// heights nothing is checked, and of a certificate nothing after the first bad signature. So one message costs a liar's
    /// victim one check in vain, and the memory of the validators keeps its room.
    #[must_use = "what is left unchecked the host checks itself"]
    pub fn check(&self, message: &v1::ConsensusMessage) -> usize {
        match &message.message {
            Some(Message::Vote(vote)) => codec::vote_from(vote).map_or(0, |vote| {
                usize::from(self.is_near(vote.height.0) && self.vote(&vote, vote.signature))
            }),
            Some(Message::Proposal(proposal)) => {
                codec::proposal_head_from(proposal).map_or(0, |(statement, key, signature)| {
                    let message = statement::proposal_of(&self.genesis_hash, statement);
                    let near = self.is_near(statement.height);
                    usize::from(near && self.verify(key, message, signature))
                })
            }
            Some(Message::PolkaCertificate(certificate)) => {
                codec::polka_from(certificate, Validators::COUNT_MAX).map_or(0, |certificate| {
                    self.certificate(certificate.height.0, certificate.votes(&Vocabulary))
                })
            }
            Some(Message::RoundCertificate(certificate)) => codec::round_certificate_from(
                certificate,
                Validators::COUNT_MAX,
            )
            .map_or(0, |certificate| {
                self.certificate(certificate.height.0, certificate.votes(&Vocabulary))
            }),
            Some(Message::Refusal(refusal)) => codec::refusal_from(refusal).map_or(0, |refusal| {
                let codec::Refusal { height, round, header, validator, signature } = refusal;
                let message = statement::refusal(&self.genesis_hash, height, round, &header);
                let near = height == self.memory.height();
                usize::from(near && self.verify(validator, message, signature))
            }),
            None => 0,
        }
    }

    /// Whether the host keeps messages of a height.
    fn is_near(&self, height: u64) -> bool {
        matches!(height.checked_sub(self.memory.height()), Some(0 | 1))
    }

    /// A certificate is of use at its own height only (`cc/handle/liveness.rs:90`).
    fn certificate(&self, height: u64, votes: impl Iterator<Item = codec::SignedVote>) -> usize {
        if height != self.memory.height() {
            return 0;
        }
        let mut signers = BTreeSet::new();
        votes
            .take_while(|vote| signers.insert(vote.validator) && self.vote(vote, vote.signature))
            .count()
    }

    /// Checks the certificates of synced blocks; says how many signatures are good. Certificates name validators by position
    /// in a set that may not be known yet: the set of now is tried, and what does not fit it is left to the host.
    #[must_use = "what is left unchecked the host checks itself"]
    pub fn check_synced(&self, response: &v1::SyncResponse) -> usize {
        let Some(validators) = self.memory.validators() else { return 0 };
        let certificates =
            response.blocks.iter().filter_map(|decided| decided.certificate.as_ref());
        certificates
            .filter_map(|certificate| codec::commit_from(certificate, &validators).ok())
            .map(|certificate| {
                let value = NilOrVal::Val(certificate.value_id);
                let message = statement::vote_of(
                    &self.genesis_hash,
                    VoteType::Precommit,
                    certificate.height,
                    certificate.round,
                    &value,
                );
                let good = |signer: ValidatorKey, signature| {
                    self.verify(signer, message.clone(), signature)
                };
                let signatures = certificate.commit_signatures.iter();
                signatures.take_while(|signed| good(signed.address, signed.signature)).count()
            })
            .sum()
    }

    fn vote(&self, vote: &codec::SignedVote, signature: SignatureBytes) -> bool {
        let message = statement::vote(&self.genesis_hash, vote);
        self.verify(vote.validator, message, signature)
    }

    fn verify(&self, key: ValidatorKey, message: Vec<u8>, signature: SignatureBytes) -> bool {
        self.memory.is_member(&key)
            && self.memory.verify(self.scheme.as_ref(), key, message, signature)
    }
}
