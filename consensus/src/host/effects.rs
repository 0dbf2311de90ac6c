//! What the host does when the core asks: sign, verify, log, publish, wait.
//!
//! The core runs inside `process!` and suspends at each effect. A handler may not fail there: the macro would log the error
//! and go on, so that a failed append would be followed by the publication (`cc/macros.rs:32`). Handlers therefore put
//! actions on a list, and the only failure (a broken invariant of ours) drops the core altogether.

use crate::action::{Action, HaltReason};
use crate::codec;
use crate::config::HostConfig;
use crate::context::{
    BlockProposal, BlockVote, SignatureBytes, ValidatorKey, Validators, Vocabulary, round_number,
};
use crate::guard::{Guard, Known, Statement, Step};
use crate::mutant::Mutant;
use crate::signature::VerifiedSignatures;
use crate::statement;
use crate::timers::{Purpose, Timers};
use arc_malachitebft_core_consensus::{ConsensusMsg, Effect, Input, Resumable, Resume};
use arc_malachitebft_core_types::{
    CertificateError, CommitCertificate, CommitSignature, LinearTimeouts, NilOrVal, PolkaSignature,
    Round, RoundCertificateType, RoundSignature, SignedMessage, ThresholdParam, Timeout,
    ValidatorSet as _, VoteType,
};
use sillok_proto::{Hash, v1};
use std::collections::BTreeSet;
use std::time::Duration;

/// A decision of the core, with what it knows of misbehavior.
pub(crate) struct Decision {
    pub(crate) certificate: CommitCertificate<Vocabulary>,
    pub(crate) evidence: Vec<v1::Evidence>,
}

/// Everything an effect may touch.
pub(crate) struct Effects {
    pub(crate) config: HostConfig,
    pub(crate) actions: Vec<Action>,
    pub(crate) timers: Timers,
    pub(crate) guard: Guard,
    pub(crate) verified: VerifiedSignatures,
    /// The height of the core.
    pub(crate) height: u64,
    /// Whether we vote at this height: then, and only then, the record is of this height.
    pub(crate) votes: bool,
    /// Whether the inputs come from the record.
    pub(crate) replaying: bool,
    /// What replay signed anew, because the crash came before it reached the record.
    signed_in_replay: BTreeSet<(u32, Step)>,
    /// Whether something was appended since the last barrier.
    unsynced: bool,
    /// Rounds for which the core wants a block, with how long it waits.
    pub(crate) wanted: Vec<(Round, u64)>,
    /// A synced certificate verified; its round and proposer.
    pub(crate) certified: Option<(Round, ValidatorKey)>,
    /// A certificate did not verify: whoever sent it is to blame.
    pub(crate) refused_certificate: bool,
    /// A certificate of votes was checked, and is good. One that the core has no use for it does not check.
    pub(crate) verified_certificate: bool,
    pub(crate) decision: Option<Decision>,
}

impl Effects {
    pub(crate) fn new(config: HostConfig, guard: Guard, height: u64) -> Self {
        Self {
            config,
            actions: Vec::new(),
            timers: Timers::default(),
            guard,
            verified: VerifiedSignatures::default(),
            height,
            votes: false,
            replaying: false,
            signed_in_replay: BTreeSet::new(),
            unsynced: false,
            wanted: Vec::new(),
            certified: None,
            refused_certificate: false,
            verified_certificate: false,
            decision: None,
        }
    }

    pub(crate) fn own_key(&self) -> Option<ValidatorKey> {
        self.config.signer.as_ref().map(|signer| ValidatorKey(signer.public_key()))
    }

    /// Begins a height: nothing of the last one remains.
    pub(crate) fn begin(&mut self, height: u64) {
        self.height = height;
        self.signed_in_replay.clear();
        self.wanted.clear();
        self.certified = None;
        self.decision = None;
    }

    // ------------------------------------------------------------------------------ actions

    pub(crate) fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub(crate) fn set_timer(&mut self, purpose: Purpose, after_ms: u64) {
        if !self.config.has(Mutant::StaleTimers) {
            self.cancel_timer(purpose);
        }
        self.timers.set(purpose, after_ms, &mut self.actions);
    }

    pub(crate) fn cancel_timer(&mut self, purpose: Purpose) {
        self.timers.cancel(|live| live == purpose, &mut self.actions);
    }

    pub(crate) fn cancel_core_timers(&mut self) {
        if !self.config.has(Mutant::StaleTimers) {
            self.timers.cancel_core(&mut self.actions);
        }
    }

    /// Begins the signing record of this height.
    pub(crate) fn begin_record(&mut self) {
        let height = self.height;
        if self.config.has(Mutant::WalNotReset) {
            // The bug: what earlier heights left stays and is taken for this height's.
            self.guard.begin(height);
            return;
        }
        self.push(Action::ResetWal { height });
        self.guard.begin(height);
        self.unsynced = false;
    }

    pub(crate) fn append(&mut self, entry: v1::WalEntry) {
        self.push(Action::Append(entry));
        self.unsynced = true;
    }

    /// Whatever was appended is durable before what follows.
    pub(crate) fn barrier(&mut self) {
        if std::mem::take(&mut self.unsynced) {
            self.push(Action::Sync);
        }
    }

    /// Lets a message out. Every message, also those for liveness only: a polka certificate can hold our prevote signed
    /// a moment ago (CONSENSUS §4b).
    pub(crate) fn release(&mut self, message: v1::ConsensusMessage) {
        if !self.config.has(Mutant::PublishBeforeSync) {
            self.barrier();
        }
        self.push(Action::Broadcast(message));
    }

    // ------------------------------------------------------------------------------- checks

    pub(crate) fn verify(
        &mut self,
        key: ValidatorKey,
        message: Vec<u8>,
        signature: SignatureBytes,
    ) -> bool {
        self.config.has(Mutant::SkipSignatureCheck)
            || self.verified.verify(self.config.scheme.as_ref(), key, message, signature)
    }

    pub(crate) fn verify_vote(&mut self, vote: &codec::SignedVote) -> bool {
        let message = statement::vote(&self.config.genesis_hash, vote);
        self.verify(vote.validator, message, vote.signature)
    }

    pub(crate) fn verify_proposal(&mut self, proposal: &codec::SignedProposal) -> bool {
        let message = statement::proposal(&self.config.genesis_hash, proposal);
        self.verify(proposal.validator, message, proposal.signature)
    }

    /// Checks the votes of a certificate: every signer a member, none twice, every signature good, and together more than
    /// the threshold. One bad signature refuses all: a correct node sends none.
    fn tally<'a>(
        &mut self,
        validators: &Validators,
        threshold: ThresholdParam,
        votes: impl Iterator<Item = (BlockVote, &'a SignatureBytes)>,
        bad: impl Fn(ValidatorKey, SignatureBytes) -> CertificateError<Vocabulary>,
    ) -> Result<(), CertificateError<Vocabulary>> {
        let mut signers = BTreeSet::new();
        let mut votes_counted = 0_u64;
        for (vote, signature) in votes {
            let key = vote.validator;
            votes_counted = votes_counted.saturating_add(1);
            if !signers.insert(key) && !self.config.has(Mutant::SignerCountedTwice) {
                return Err(CertificateError::DuplicateVote(key));
            }
            if !validators.contains(&key) && !self.config.has(Mutant::StrangersCounted) {
                return Err(CertificateError::UnknownValidator(key));
            }
            let message = statement::vote(&self.config.genesis_hash, &vote);
            if !self.verify(key, message, *signature) {
                return Err(bad(key, *signature));
            }
        }
        let twice = self.config.has(Mutant::SignerCountedTwice);
        let signed = if twice { votes_counted } else { signers.len() as u64 };
        let total = validators.total_voting_power();
        if threshold.is_met(signed, total) {
            Ok(())
        } else {
            let expected = threshold.min_expected(total);
            Err(CertificateError::NotEnoughVotingPower { signed, total, expected })
        }
    }

    /// Checks the precommits of a commit certificate.
    pub(crate) fn verify_commit<'a>(
        &mut self,
        validators: &Validators,
        (height, round, id): (crate::context::BlockHeight, Round, Hash),
        signatures: impl Iterator<Item = (&'a ValidatorKey, &'a SignatureBytes)>,
    ) -> Result<(), CertificateError<Vocabulary>> {
        let votes = signatures.map(|(key, signature)| {
            let value = NilOrVal::Val(id);
            let vote_type = VoteType::Precommit;
            (BlockVote { vote_type, height, round, value, validator: *key }, signature)
        });
        self.tally(validators, ThresholdParam::TWO_F_PLUS_ONE, votes, |key, signature| {
            CertificateError::InvalidCommitSignature(CommitSignature::new(key, signature))
        })
    }

    // ------------------------------------------------------------------------------ signing

    /// Whether somebody shows our signature under a statement that our record does not hold.
    pub(crate) fn is_foreign(
        &mut self,
        shown: Statement,
        message: Vec<u8>,
        signature: SignatureBytes,
    ) -> bool {
        let Some(key) = self.own_key() else { return false };
        !self.config.has(Mutant::NoSignGuard)
            && self.guard.known(shown) == Known::Foreign
            && self.verify(key, message, signature)
    }

    /// Signs, if the guard allows it. The signature exists before the append; it is released only after the barrier.
    fn sign(&mut self, statement: Statement, message: &[u8]) -> Result<SignatureBytes, HaltReason> {
        let refused =
            HaltReason::SignedOtherwise { height: statement.height, round: statement.round };
        let Some(signer) = self.config.signer.clone() else { return Err(refused) };
        if !self.votes {
            return Err(refused);
        }
        if !self.guard.allow(statement) && !self.config.has(Mutant::NoSignGuard) {
            return Err(refused);
        }
        if self.replaying {
            self.signed_in_replay.insert((statement.round, statement.step));
        }
        Ok(SignatureBytes(signer.sign(message)))
    }

    /// Signs and lets out that a block was found invalid. It contradicts nothing that could be signed besides, so neither the
    /// guard nor the record is asked.
    pub(crate) fn refuse(&mut self, height: u64, round: u32, header: Hash) {
        let Some(signer) = self.config.signer.clone().filter(|_| self.votes) else { return };
        let message = statement::refusal(&self.config.genesis_hash, height, round, &header);
        let validator = ValidatorKey(signer.public_key());
        let signature = SignatureBytes(signer.sign(&message));
        let refusal = codec::Refusal { height, round, header, validator, signature };
        let refusal = v1::consensus_message::Message::Refusal(codec::refusal_to(&refusal));
        self.release(codec::wrap(refusal));
    }

    fn sign_vote(&mut self, vote: &BlockVote) -> Result<SignatureBytes, HaltReason> {
        let round = round_number(vote.round);
        let what = Statement::vote(vote.vote_type, vote.height.0, round, &vote.value);
        let message = statement::vote(&self.config.genesis_hash, vote);
        self.sign(what, &message)
    }

    fn sign_proposal(&mut self, proposal: &BlockProposal) -> Result<SignatureBytes, HaltReason> {
        let what = Statement::proposal(
            proposal.height.0,
            round_number(proposal.round),
            proposal.value.id,
            proposal.pol_round.as_u32(),
        );
        let message = statement::proposal(&self.config.genesis_hash, proposal);
        self.sign(what, &message)
    }

    /// Logs an input. Who does not vote keeps no record (`eng/consensus.rs:295`).
    fn log(&mut self, input: &Input<Vocabulary>) -> Result<(), HaltReason> {
        if !self.votes || (self.replaying && !self.is_signed_in_replay(input)) {
            return Ok(());
        }
        let Some(entry) = codec::entry_to(self.height, input) else {
            let reason = "it logs an input that no record holds".to_owned();
            return Err(HaltReason::CoreFailed { height: self.height, reason });
        };
        self.append(entry);
        Ok(())
    }

    /// In replay only what it signed anew is appended: everything else is in the record already, and this is not.
    fn is_signed_in_replay(&self, input: &Input<Vocabulary>) -> bool {
        let own = |validator: ValidatorKey| Some(validator) == self.own_key();
        let key = match input {
            Input::Vote(vote) if own(vote.validator) => {
                (round_number(vote.round), Step::from(vote.vote_type))
            }
            Input::Proposal(proposal) if own(proposal.validator) => {
                (round_number(proposal.round), Step::Proposal)
            }
            _ => return false,
        };
        self.signed_in_replay.contains(&key)
    }

    fn duration_ms(&self, timeout: Timeout) -> u64 {
        let given = &self.config.timeouts;
        let timeouts = LinearTimeouts {
            propose: Duration::from_millis(given.propose_ms),
            propose_delta: Duration::from_millis(given.propose_delta_ms),
            prevote: Duration::from_millis(given.prevote_ms),
            prevote_delta: Duration::from_millis(given.prevote_delta_ms),
            precommit: Duration::from_millis(given.precommit_ms),
            precommit_delta: Duration::from_millis(given.precommit_delta_ms),
            rebroadcast: Duration::from_millis(given.rebroadcast_ms),
            max_timeout: Duration::from_millis(given.max_ms),
        };
        u64::try_from(timeouts.duration_for(timeout).as_millis()).unwrap_or(u64::MAX)
    }

    // ------------------------------------------------------------------------------ effects

    /// Carries out one effect of the core.
    pub(crate) fn handle(
        &mut self,
        effect: Effect<Vocabulary>,
    ) -> Result<Resume<Vocabulary>, HaltReason> {
        Ok(match effect {
            Effect::CancelAllTimeouts(resume) => {
                self.cancel_core_timers();
                resume.resume_with(())
            }
            Effect::CancelTimeout(timeout, resume) => {
                if !self.config.has(Mutant::StaleTimers) {
                    self.cancel_timer(Purpose::Core(timeout));
                }
                resume.resume_with(())
            }
            Effect::ScheduleTimeout(timeout, resume) => {
                let after_ms = self.duration_ms(timeout);
                self.set_timer(Purpose::Core(timeout), after_ms);
                resume.resume_with(())
            }
            Effect::StartRound(_height, _round, _proposer, _role, resume) => {
                self.barrier();
                resume.resume_with(())
            }
            Effect::PublishConsensusMsg(message, resume) => {
                self.release(codec::consensus_to(&message));
                resume.resume_with(())
            }
            Effect::PublishLivenessMsg(message, resume) => {
                if self.config.has(Mutant::NoLivenessBarrier) {
                    self.push(Action::Broadcast(codec::liveness_to(&message)));
                } else {
                    self.release(codec::liveness_to(&message));
                }
                resume.resume_with(())
            }
            Effect::RepublishVote(vote, resume) => {
                if !self.config.has(Mutant::NoRepublish) {
                    let vote = v1::consensus_message::Message::Vote(codec::vote_to(&vote));
                    self.release(codec::wrap(vote));
                }
                resume.resume_with(())
            }
            Effect::RepublishRoundCertificate(certificate, resume) => {
                if !self.config.has(Mutant::NoRepublish) {
                    let certificate = codec::round_certificate_to(&certificate);
                    self.release(codec::wrap(v1::consensus_message::Message::RoundCertificate(
                        certificate,
                    )));
                }
                resume.resume_with(())
            }
            // Answered after the core returns, and never before a replay is over: an answer in the middle of it would be
            // signed although the record holds another.
            Effect::GetValue(_height, round, timeout, resume) => {
                let within_ms = self.duration_ms(timeout);
                self.wanted.push((round, within_ms));
                resume.resume_with(())
            }
            // The proposal that is published next to this effect carries the whole block.
            Effect::RestreamProposal(_height, _round, _valid_round, _proposer, _id, resume) => {
                resume.resume_with(())
            }
            Effect::CertVerifiedSyncValue(value, proposer, resume) => {
                self.certified = Some((value.certificate.round, proposer));
                resume.resume_with(())
            }
            Effect::CertRejectedSyncValue(_peer, _height, _error, resume) => {
                self.refused_certificate = true;
                resume.resume_with(())
            }
            // Persisting waits for Finalize, which follows at once without a target time and brings the evidence.
            Effect::Decide(_certificate, _extensions, resume) => {
                self.barrier();
                resume.resume_with(())
            }
            Effect::Finalize(certificate, _extensions, evidence, resume) => {
                let evidence = codec::evidence_to(evidence);
                self.decision = Some(Decision { certificate, evidence });
                resume.resume_with(())
            }
            Effect::SignVote(vote, resume) => {
                let signature = self.sign_vote(&vote)?;
                resume.resume_with(SignedMessage::new(vote, signature))
            }
            Effect::SignProposal(proposal, resume) => {
                let signature = self.sign_proposal(&proposal)?;
                resume.resume_with(SignedMessage::new(proposal, signature))
            }
            Effect::VerifySignature(signed, key, resume) => {
                let genesis = &self.config.genesis_hash;
                let message = match &signed.message {
                    ConsensusMsg::Vote(vote) => statement::vote(genesis, vote),
                    ConsensusMsg::Proposal(proposal) => statement::proposal(genesis, proposal),
                };
                resume.resume_with(self.verify(key, message, signed.signature))
            }
            Effect::VerifyCommitCertificate(certificate, validators, _thresholds, resume) => {
                let about = (certificate.height, certificate.round, certificate.value_id);
                let signatures = certificate.commit_signatures.iter();
                resume.resume_with(self.verify_commit(
                    &validators,
                    about,
                    signatures.map(|signed| (&signed.address, &signed.signature)),
                ))
            }
            // Extensions are disabled, so there is nothing in the extended form to verify beyond the precommits.
            Effect::VerifyExtendedCommitCertificate(certificate, validators, _, _, resume) => {
                let about = (certificate.height, certificate.round, certificate.value_id);
                let signatures = certificate.commit_signatures.iter();
                resume.resume_with(self.verify_commit(
                    &validators,
                    about,
                    signatures.map(|signed| (&signed.address, &signed.signature)),
                ))
            }
            Effect::VerifyPolkaCertificate(certificate, validators, thresholds, resume) => {
                let votes = certificate.polka_signatures.iter().map(|signed| {
                    let vote = BlockVote {
                        vote_type: VoteType::Prevote,
                        height: certificate.height,
                        round: certificate.round,
                        value: NilOrVal::Val(certificate.value_id),
                        validator: signed.address,
                    };
                    (vote, &signed.signature)
                });
                let result = self.tally(&validators, thresholds.quorum, votes, |key, signature| {
                    CertificateError::InvalidPolkaSignature(PolkaSignature::new(key, signature))
                });
                self.refused_certificate |= result.is_err();
                self.verified_certificate |= result.is_ok();
                resume.resume_with(result)
            }
            Effect::VerifyRoundCertificate(certificate, validators, thresholds, resume) => {
                let precommits_only = certificate.cert_type == RoundCertificateType::Precommit;
                let threshold = if precommits_only { thresholds.quorum } else { thresholds.honest };
                let wrong = certificate
                    .round_signatures
                    .iter()
                    .find(|signed| precommits_only && signed.vote_type == VoteType::Prevote);
                let result = if let Some(signed) = wrong {
                    Err(CertificateError::InvalidVoteType(signed.address))
                } else {
                    let votes = certificate.round_signatures.iter().map(|signed| {
                        let vote = BlockVote {
                            vote_type: signed.vote_type,
                            height: certificate.height,
                            round: certificate.round,
                            value: signed.value_id,
                            validator: signed.address,
                        };
                        (vote, &signed.signature)
                    });
                    self.tally(&validators, threshold, votes, |key, signature| {
                        let (vote_type, value) = (VoteType::Prevote, NilOrVal::Nil);
                        let signed = RoundSignature::new(vote_type, value, key, signature);
                        CertificateError::InvalidRoundSignature(signed)
                    })
                };
                self.refused_certificate |= result.is_err();
                self.verified_certificate |= result.is_ok();
                resume.resume_with(result)
            }
            Effect::WalAppend(_height, input, resume) => {
                self.log(&input)?;
                resume.resume_with(())
            }
            // Never asked while extensions are disabled; `None` and a refusal are the answers that sign nothing.
            Effect::ExtendVote(_height, _round, _id, _policy, resume) => resume.resume_with(None),
            Effect::VerifyVoteExtension(_, _, _, _, _, _, resume) => resume.resume_with(Err(
                arc_malachitebft_core_consensus::VoteExtensionError::InvalidVoteExtension,
            )),
        })
    }
}
