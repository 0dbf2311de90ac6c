//! The host: one event in, a list of actions out.
//!
//! ```text
//!              a reason to make a block                core decides            shell persisted it
//!   Held ────────────────────────────────▶ Running ───────────────▶ Deciding ────────────────────▶ Held (height + 1)
//! ```
//!
//! *Held* is how empty blocks are avoided: the core is not told of the next height until there is a pending transaction, a
//! sign that a correct validator has begun it, a certified block of it, or the heartbeat. Only round 0 waits; once
//! begun, a height runs its rounds. After boot a height is held too, unless its signing record has entries.
//!
//! One input runs to completion before the next; what an effect causes (a block wanted, a certificate verified) is
//! queued and fed when the core has returned (`cc/macros.rs`).

mod effects;

use crate::action::{Action, FaultReason, HaltReason, Notice, RetireReason, TimerId, ValidationId};
use crate::ahead::Checker;
use crate::builds::Builds;
use crate::clock;
use crate::codec::{self, MessageError, Refusal, SignedProposal, SignedVote};
use crate::config::{CheckedStart, Figures, HeightStart, HostConfig, SigningRecord, StartError};
use crate::context::{
    BlockHeight, BlockValue, SignatureBytes, ValidatorKey, Validators, Vocabulary, round_number,
};
use crate::early::{EarlyMessages, EarlyProposal};
use crate::event::{Event, Peer, Verdict};
use crate::evidence::Watch;
use crate::faults::Faults;
use crate::guard::{Guard, Statement};
use crate::mutant::Mutant;
use crate::proposals::WaitingProposals;
use crate::statement;
use crate::sync::{BlockSync, Request};
use crate::timers::Purpose;
use crate::vouched::{Said, Vouched};
use arc_malachitebft_core_consensus::{
    Error as CoreError, Input, LocallyProposedValue, Params, PeerId, ProposedValue, State, process,
};
use arc_malachitebft_core_types::{
    ExtendedCommitCertificate, NilOrVal, Round, SignedMessage, ThresholdParams, Timeout, Validity,
    ValueOrigin, ValuePayload, ValueResponse, VoteExtensionPolicy, VoteType,
};
use effects::{Decision, Effects};
use sillok_proto::v1::consensus_message::Message;
use sillok_proto::{Hash, v1};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The core takes messages of at most this many rounds ahead (`cc/params.rs:24`); blocks of later ones are not executed.
const ROUNDS_AHEAD_MAX: u32 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The height has not begun.
    Held,
    /// The core is deciding the height.
    Running,
    /// The core has decided and the shell persists.
    Deciding,
    /// Stopped for good.
    Halted,
}

/// Where a host stands, for logs and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The height to be decided.
    pub height: u64,
    /// The round, once the height has begun.
    pub round: Option<u32>,
    /// Whether the height waits for a reason to begin.
    pub held: bool,
    /// Whether this node votes at this height.
    pub votes: bool,
    /// Whether our key was retired.
    pub retired: bool,
}

/// A synced block whose certificate verified, waiting for its verdict.
struct Certified {
    peer: Peer,
    value: BlockValue,
    round: Round,
    proposer: Option<ValidatorKey>,
    request: Option<ValidationId>,
}

/// The ordering host of one node.
pub struct Host {
    effects: Effects,
    core: Option<State<Vocabulary>>,
    phase: Phase,
    start: CheckedStart,
    /// The record's entries until their height begins.
    record: Vec<Input<Vocabulary>>,
    /// Blocks of this height known to be valid: built here, found valid, or from our record.
    blocks: BTreeMap<Hash, Arc<v1::Block>>,
    /// Blocks the record says we built, by round.
    own_blocks: BTreeMap<u32, Arc<v1::Block>>,
    early: EarlyMessages,
    waiting: WaitingProposals,
    sync: BlockSync,
    certified: Option<Certified>,
    transactions_pending: bool,
    decide: Option<Action>,
    next_validation: u64,
    faults: Faults,
    watch: Watch,
    builds: Builds,
    vouched: Vouched,
    /// Entries of the record that a mutant replays too late.
    late_replay: Vec<Input<Vocabulary>>,
    /// Whether the shell was told to destroy our key.
    key_is_over: bool,
    /// Whether a proposal of this height was said to be off our clock.
    said_off_clock: bool,
    now_ms: u64,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("status", &self.status())
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

impl Host {
    /// Makes a host from disk: the tip of the ledger and the signing record.
    ///
    /// If the record is of this height its entries are replayed; if it is of a later one (the database was restored and
    /// the record was not) nothing is signed until that height is reached.
    ///
    /// # Errors
    ///
    /// [`StartError`]: the tip or the record does not hold together.
    pub fn new(
        config: HostConfig,
        start: &HeightStart,
        record: SigningRecord,
        now_ms: u64,
    ) -> Result<(Self, Vec<Action>), StartError> {
        let start = start.check()?;
        let key = config.signer.as_ref().map(|signer| ValidatorKey(signer.public_key()));
        let forged = record.is_missing() && config.has(Mutant::SignWithoutRecord);
        let record = if forged { SigningRecord::default() } else { record };
        let missing = record.is_missing();
        let entries = if config.has(Mutant::NoWalReplay) { Vec::new() } else { record.entries };
        let (inputs, retired) = decode_record(record.height, &entries)?;
        let mut guard = Guard::of_record(record.height, &inputs, key);
        if retired {
            guard.retire();
        }
        let mut host = Self {
            effects: Effects::new(config, guard, start.height),
            core: None,
            phase: Phase::Held,
            start,
            record: inputs,
            blocks: BTreeMap::new(),
            own_blocks: BTreeMap::new(),
            early: EarlyMessages::default(),
            waiting: WaitingProposals::default(),
            sync: BlockSync::default(),
            certified: None,
            transactions_pending: false,
            decide: None,
            next_validation: 0,
            faults: Faults::default(),
            watch: Watch::default(),
            builds: Builds::default(),
            vouched: Vouched::default(),
            late_replay: Vec::new(),
            key_is_over: false,
            said_off_clock: false,
            now_ms,
        };
        if key.is_some() && missing {
            host.effects.push(Action::StopSigning { reason: RetireReason::RecordMissing });
        } else if retired {
            if host.last_height_of_key().is_none() {
                host.effects.push(Action::StopSigning { reason: RetireReason::Recorded });
            }
        } else {
            host.look_for_ourselves_in_our_blocks();
        }
        let begun = host.hold();
        let actions = host.finish(begun);
        Ok((host, actions))
    }

    /// Handles one event that happened at `now_ms`, wall clock.
    pub fn handle(&mut self, event: Event, now_ms: u64) -> Vec<Action> {
        self.now_ms = now_ms;
        if self.phase == Phase::Halted {
            return Vec::new();
        }
        let result = match event {
            Event::Message { peer, message } => self.on_message(peer, message),
            Event::TimerFired(id) => self.on_timer(id),
            Event::Built { height, round, block } => self.on_built(height, round, block),
            Event::Validated { request, verdict } => self.on_validated(request, verdict),
            Event::Committed { next } => self.on_committed(&next),
            Event::TransactionsPending(pending) => {
                self.transactions_pending = pending;
                if pending && self.effects.config.has(Mutant::StartHeightTwice) {
                    self.begin_again()
                } else {
                    self.begin_if_due()
                }
            }
            Event::PeerTip { peer, height } => {
                self.sync.note_tip(peer, height);
                self.pursue_sync()
            }
            Event::PeerGone { peer } => {
                self.effects.cancel_timer(Purpose::SyncAnswer(peer));
                self.sync.forget(peer);
                self.pursue_sync()
            }
            Event::Synced { peer, response } => self.on_synced(peer, response),
            Event::SyncFailed { peer } => self.on_unanswered(peer),
        };
        self.finish(result)
    }

    /// What checks signatures on other threads before the host asks for them.
    #[must_use]
    pub fn checker(&self) -> Checker {
        let config = &self.effects.config;
        Checker::new(config.genesis_hash, config.scheme.clone(), self.effects.verified.clone())
    }

    /// From the next height on with these: called between the decision of a height and [`Event::Committed`], for a block
    /// may change them.
    pub const fn set_figures(&mut self, figures: Figures) {
        self.effects.config.set_figures(figures);
    }

    /// Where the host stands.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            height: self.start.height,
            round: self.core.as_ref().and_then(|core| core.round().as_u32()),
            held: self.phase == Phase::Held,
            votes: self.effects.votes,
            retired: self.effects.guard.is_retired(),
        }
    }

    /// The actions of one event. Persisting comes last, so that our last precommit is on its way before the disk is busy.
    fn finish(&mut self, result: Result<(), HaltReason>) -> Vec<Action> {
        if let Err(reason) = result {
            // What was put on the list before is covered by the record; nothing follows.
            self.phase = Phase::Halted;
            self.core = None;
            self.decide = None;
            self.effects.push(Action::Halt { reason });
        }
        if let Some(decide) = self.decide.take() {
            self.effects.barrier();
            self.effects.push(decide);
        }
        std::mem::take(&mut self.effects.actions)
    }

    fn fault(&mut self, peer: Peer, reason: FaultReason) {
        let enough = self.faults.charge(peer, &reason);
        self.effects.push(Action::PeerFault { peer, reason });
        if enough {
            self.effects.push(Action::Disconnect { peer });
        }
    }

    /// Says that the message of this event was verified to the end. What is too far ahead to be of use is nobody's to pass on.
    fn vouch(&mut self, height: u64, round: u32, said: Said) {
        if round > self.newest_round(height) {
            return;
        }
        // Half the time after which it is repeated, so that every repetition passes.
        let interval_ms = self.effects.config.timeouts.rebroadcast_ms / 2;
        if self.vouched.admit((height, round, said), interval_ms, self.now_ms) {
            self.effects.push(Action::Vouch);
        }
    }

    /// The last round of a height of which anything is of use.
    fn newest_round(&self, height: u64) -> u32 {
        let begun = height == self.start.height && self.phase != Phase::Held;
        let round = if begun { round_number(self.core_round()) } else { 0 };
        round.saturating_add(ROUNDS_AHEAD_MAX)
    }

    fn malformed(&mut self, peer: Peer, error: &MessageError) {
        self.fault(peer, FaultReason::Malformed { detail: error.to_string() });
    }

    fn next_request(&mut self) -> ValidationId {
        let id = ValidationId(self.next_validation);
        self.next_validation = self.next_validation.saturating_add(1);
        id
    }

    /// The set of a height, where it is known: of this one and of the next.
    fn validators_at(&self, height: u64) -> Option<&Validators> {
        if height == self.start.height {
            Some(&self.start.validators)
        } else if Some(height) == self.start.height.checked_add(1) {
            Some(&self.start.next_validators)
        } else {
            None
        }
    }

    // ------------------------------------------------------------------------- holding, beginning

    /// Waits for a reason to begin the height.
    fn hold(&mut self) -> Result<(), HaltReason> {
        self.phase = Phase::Held;
        self.said_off_clock = false;
        self.effects.begin(self.start.height);
        self.effects.votes = false;
        let (validators, next) = (&self.start.validators, &self.start.next_validators);
        self.effects.verified.note_height(self.start.height, validators, next);
        self.leave_if_unseated();
        // A node that has the next block already has nothing that others lack; it speaks up again when the timer says so. What
        // peers merely claim silences nobody.
        if !self.sync.holds(self.start.height) {
            self.announce();
        } else if !self.effects.timers.is_set(Purpose::Announce) {
            self.effects.set_timer(Purpose::Announce, self.effects.config.announce_ms);
        }
        self.effects.set_timer(Purpose::Heartbeat, self.effects.config.heartbeat_ms);
        self.begin_if_due()?;
        self.pursue_sync()
    }

    fn announce(&mut self) {
        self.effects.push(Action::AnnounceTip { height: self.start.height.saturating_sub(1) });
        self.effects.set_timer(Purpose::Announce, self.effects.config.announce_ms);
    }

    fn begin_if_due(&mut self) -> Result<(), HaltReason> {
        let height = self.start.height;
        let unfinished = self.effects.guard.height() == height && !self.record.is_empty();
        // One liar alone must not be able to make blocks: of f+1 validators one is correct and has a reason.
        let begun_elsewhere = self.start.validators.holds_a_correct_one(self.early.senders(height));
        // Before the first block nothing can be proved, so it waits for nobody.
        let first = height == 1;
        let due = self.transactions_pending
            || first
            || unfinished
            || begun_elsewhere
            || self.effects.config.heartbeat_ms == 0;
        if self.phase == Phase::Held && due { self.begin() } else { Ok(()) }
    }

    /// The bug that `begin`'s assertion is for.
    fn begin_again(&mut self) -> Result<(), HaltReason> {
        if self.phase != Phase::Running {
            return self.begin_if_due();
        }
        let (height, set) = (BlockHeight(self.start.height), self.start.validators.clone());
        let disabled = VoteExtensionPolicy::Disabled;
        self.process(Input::StartHeight(height, set, false, None, disabled))?;
        self.settle()
    }

    /// Begins the height: record, core, replay, and what came early. Exactly once for a height.
    #[allow(clippy::panic_in_result_fn, reason = "beginning twice signs twice: stop at once")]
    fn begin(&mut self) -> Result<(), HaltReason> {
        assert!(self.phase == Phase::Held, "height {} begun twice", self.start.height);
        self.phase = Phase::Running;
        self.effects.cancel_timer(Purpose::Heartbeat);
        let height = self.start.height;
        let key = self.effects.own_key();
        let member = key.is_some_and(|key| self.start.validators.contains(&key));
        let recorded = self.effects.guard.height();
        // A record of a later height means that the database is older than the record: our votes of the heights between
        // are forgotten, so there are none.
        self.effects.votes = member && !self.effects.guard.is_retired() && recorded <= height;
        let ahead_ms = self.start.parent_time_ms.saturating_sub(self.now_ms);
        if ahead_ms > self.effects.config.clock_ahead_ms {
            self.effects.push(Action::Notice(Notice::LedgerAhead { height, ahead_ms }));
        }
        let mut entries = Vec::new();
        if self.effects.votes {
            if recorded == height {
                entries = std::mem::take(&mut self.record);
                if self.effects.config.has(Mutant::RecordNotFed) {
                    entries.clear();
                }
            } else {
                self.record.clear();
                self.effects.begin_record();
            }
        }
        let set = self.start.validators.clone();
        let enabled = self.effects.votes;
        let early_to_core = self.effects.config.has(Mutant::EarlyProposalsToCore);
        let core = self.core.get_or_insert_with(|| {
            let params = Params {
                address: key.unwrap_or_default(),
                threshold_params: ThresholdParams::default(),
                value_payload: ValuePayload::ProposalOnly,
                enabled,
            };
            // The core's queue for future heights stays empty: see `early`.
            let (heights, inputs) = if early_to_core { (10, 500) } else { (1, 1) };
            State::new(Vocabulary, BlockHeight(height), set.clone(), params, heights, inputs)
        });
        core.params.enabled = enabled;
        self.effects.replaying = !entries.is_empty();
        // No target time: with one the core reads a clock (`cc/state.rs:535`). Never `is_restart`: it would drop the record.
        let disabled = VoteExtensionPolicy::Disabled;
        self.process(Input::StartHeight(BlockHeight(height), set, false, None, disabled))?;
        let too_early =
            self.effects.config.has(Mutant::AnswerBeforeReplay) && !self.effects.wanted.is_empty();
        if too_early {
            self.effects.replaying = false;
            self.late_replay = entries;
        } else if !entries.is_empty() {
            self.replay(entries)?;
        }
        self.settle()?;
        self.feed_early()
    }

    /// Feeds the record in the order written. Appends and barriers are off, publishing is on: all of it is durable.
    fn replay(&mut self, entries: Vec<Input<Vocabulary>>) -> Result<(), HaltReason> {
        let key = self.effects.own_key();
        let mut own_proposals = Vec::new();
        for entry in &entries {
            // The record holds the blocks themselves; a decision may name any of them.
            match entry {
                Input::Proposal(proposal) => {
                    let value = proposal.value.clone();
                    self.blocks.insert(value.id, value.block);
                    if Some(proposal.validator) == key {
                        own_proposals.push(proposal.clone());
                    }
                }
                Input::ProposedValue(proposed, origin) => {
                    let value = proposed.value.clone();
                    self.blocks.insert(value.id, value.block.clone());
                    if Some(proposed.proposer) == key && origin.is_consensus() {
                        self.own_blocks.entry(round_number(proposed.round)).or_insert(value.block);
                    }
                }
                _ => {}
            }
        }
        let index = !self.effects.config.has(Mutant::NoReplayIndex);
        if let Some(core) = self.core.as_mut().filter(|_| index) {
            // After StartHeight, which clears both (`cc/state.rs:164`).
            core.record_recovered_own_precommit_extensions(entries.iter());
            core.index_wal_entries(entries.iter());
        }
        for entry in entries {
            self.process(entry)?;
        }
        if let Some(core) = &mut self.core {
            core.reset_entries_index();
        }
        self.effects.replaying = false;
        // Replay publishes our votes again and never our proposal; without it a crash between append and broadcast would
        // cost the round.
        let round = self.core_round();
        for proposal in own_proposals.into_iter().filter(|proposal| proposal.round == round) {
            let message = Message::Proposal(codec::proposal_to(&proposal));
            self.effects.release(codec::wrap(message));
        }
        Ok(())
    }

    fn feed_early(&mut self) -> Result<(), HaltReason> {
        let (proposals, votes) = self.early.take(self.start.height);
        for early in proposals {
            self.consider_proposal(early)?;
        }
        for vote in votes {
            self.feed(Input::Vote(vote))?;
        }
        Ok(())
    }

    // ---------------------------------------------------------------------------------- the core

    fn core_round(&self) -> Round {
        self.core.as_ref().map_or(Round::Nil, State::round)
    }

    /// One input, run to completion.
    fn process(&mut self, input: Input<Vocabulary>) -> Result<(), HaltReason> {
        let Some(core) = self.core.as_mut() else { return Ok(()) };
        let effects = &mut self.effects;
        let result: Result<(), CoreError<Vocabulary>> = process!(
            input: input,
            state: core,
            metrics: &(),
            // Returning from here drops the suspended core: it is in the middle of an input and must not go on.
            with: effect => match effects.handle(effect) {
                Ok(resume) => Ok::<_, HaltReason>(resume),
                Err(reason) => return Err(reason),
            }
        );
        result.map_err(|error| match error {
            CoreError::ReplayDivergence(kind, height, round) => HaltReason::ReplayDiverged {
                kind: kind.to_string(),
                height: height.0,
                round: round_number(round),
            },
            other => {
                HaltReason::CoreFailed { height: self.start.height, reason: other.to_string() }
            }
        })
    }

    /// An input while the height runs, and everything it causes.
    fn feed(&mut self, input: Input<Vocabulary>) -> Result<(), HaltReason> {
        if self.phase != Phase::Running {
            return Ok(());
        }
        self.process(input)?;
        self.settle()
    }

    /// Feeds what the last input made necessary, until nothing is left.
    fn settle(&mut self) -> Result<(), HaltReason> {
        loop {
            if let Some(decision) = self.effects.decision.take() {
                return self.on_decided(decision);
            }
            if let Some((round, within_ms)) = self.effects.wanted.pop() {
                self.want_block(round, within_ms)?;
            } else if let Some((round, proposer)) = self.effects.certified.take() {
                self.on_certified(round, proposer)?;
            } else {
                return Ok(());
            }
        }
    }

    /// The core has decided. Its last precommit may have been published after the decision, and is on the list before it.
    fn on_decided(&mut self, decision: Decision) -> Result<(), HaltReason> {
        let id = decision.certificate.value_id;
        let height = self.start.height;
        self.phase = Phase::Deciding;
        self.effects.cancel_core_timers();
        self.effects.cancel_timer(Purpose::SyncWait);
        self.waiting.clear();
        self.certified = None;
        let Some(block) = self.blocks.get(&id).cloned() else {
            return Err(HaltReason::DecidedUnknownBlock { height, header_hash: id });
        };
        let certificate = codec::commit_to(&decision.certificate, &self.start.validators);
        for evidence in decision.evidence {
            self.watch.add(evidence);
        }
        let evidence = self.watch.take();
        self.decide = Some(Action::Decide { block, certificate, evidence });
        Ok(())
    }

    fn on_committed(&mut self, next: &HeightStart) -> Result<(), HaltReason> {
        let expected = match self.phase {
            Phase::Deciding => self.start.height.saturating_add(1),
            Phase::Held | Phase::Running | Phase::Halted => self.start.height,
        };
        if self.phase != Phase::Deciding || next.height != expected {
            return Err(HaltReason::WrongNextHeight { given: next.height, expected });
        }
        let bad = |reason: String| HaltReason::BadStart { height: next.height, reason };
        let start = next.check().map_err(|error| bad(error.to_string()))?;
        // set(h + 1) was fixed before height h was decided (PROTOCOL §6.2), and votes of h + 1 were checked against it.
        if !start.validators.has_members_of(&self.start.next_validators) {
            return Err(bad("its validators are not those announced a height before".to_owned()));
        }
        self.start = start;
        if !self.effects.config.has(Mutant::EarlyProposalsToCore) {
            self.blocks.clear();
        }
        self.own_blocks.clear();
        self.late_replay.clear();
        self.watch.forget_below(next.height);
        self.builds.clear();
        self.vouched.forget_below(next.height);
        self.faults.forgive();
        self.hold()
    }

    // ------------------------------------------------------------------------------------ blocks

    fn want_block(&mut self, round: Round, within_ms: u64) -> Result<(), HaltReason> {
        if round != self.core_round() || !self.is_our_turn_to_propose() {
            return Ok(());
        }
        // A block that we logged and had no time to sign is proposed now. A new one in its place would be one more entry of
        // this round in the record, and the core's replay keeps only two (CONSENSUS §4a).
        if let Some(block) = self.own_blocks.get(&round_number(round)).cloned() {
            return self.propose(round, block);
        }
        let height = self.start.height;
        self.effects.push(Action::Build { height, round: round_number(round), within_ms });
        Ok(())
    }

    fn is_our_turn_to_propose(&self) -> bool {
        self.effects.votes && self.core.as_ref().is_some_and(|core| core.driver.step_is_propose())
    }

    fn on_built(
        &mut self,
        height: u64,
        round: u32,
        block: Arc<v1::Block>,
    ) -> Result<(), HaltReason> {
        let asked = height == self.start.height && Round::new(round) == self.core_round();
        if self.phase == Phase::Running && asked && self.is_our_turn_to_propose() {
            self.propose(Round::new(round), block)?;
            self.settle()?;
        }
        if !self.late_replay.is_empty() && self.phase == Phase::Running {
            self.effects.replaying = true;
            let entries = std::mem::take(&mut self.late_replay);
            self.replay(entries)?;
            self.settle()?;
        }
        Ok(())
    }

    fn propose(&mut self, round: Round, block: Arc<v1::Block>) -> Result<(), HaltReason> {
        let height = BlockHeight(self.start.height);
        let Ok(value) = codec::block_value(block) else { return Ok(()) };
        self.blocks.insert(value.id, value.block.clone());
        self.builds.judged_here(value.id, true);
        self.process(Input::Propose(LocallyProposedValue { height, round, value }))
    }

    fn on_validated(&mut self, request: ValidationId, verdict: Verdict) -> Result<(), HaltReason> {
        if self.phase != Phase::Running {
            return Ok(());
        }
        if self.certified.as_ref().is_some_and(|certified| certified.request == Some(request)) {
            return self.on_certified_verdict(verdict);
        }
        // But for a valid one the proposal stays unfed, and the propose timeout makes the core prevote nil (Tendermint,
        // line 57).
        match verdict {
            Verdict::Valid => {}
            Verdict::Altered => {
                self.waiting.refuse(request);
                return Ok(());
            }
            Verdict::NotJudged { .. } => {
                self.waiting.forget(request);
                return Ok(());
            }
            Verdict::Invalid { .. } => {
                if let Some((header, round)) = self.waiting.refuse(request) {
                    self.effects.refuse(self.start.height, round, header);
                    self.builds.judged_here(header, false);
                    self.say_if_builds_differ(header);
                }
                return Ok(());
            }
        }
        let Some((value, proposals)) = self.waiting.accept(request) else { return Ok(()) };
        self.blocks.insert(value.id, value.block.clone());
        self.builds.judged_here(value.id, true);
        self.say_if_builds_differ(value.id);
        for proposal in proposals {
            self.feed_proposal(proposal, &value)?;
        }
        Ok(())
    }

    /// No vote says why it is for nil, so who finds a block invalid says so besides, and who proposes next leaves out what
    /// is read differently (PROTOCOL II.3). What this node did itself it learns from no message.
    fn say_if_builds_differ(&mut self, header_hash: Hash) {
        if self.builds.differ_on(&header_hash, &self.start.validators) {
            self.effects.push(Action::BuildsDiffer { header_hash });
        }
    }

    /// Feeds a proposal with the block that was found valid, whatever bytes came beside this copy of it.
    fn feed_proposal(
        &mut self,
        proposal: SignedProposal,
        valid: &BlockValue,
    ) -> Result<(), HaltReason> {
        let SignedMessage { mut message, signature } = proposal;
        message.value = valid.clone();
        self.feed(Input::Proposal(SignedMessage::new(message, signature)))
    }

    // ---------------------------------------------------------------------------------- messages

    fn on_message(&mut self, peer: Peer, message: v1::ConsensusMessage) -> Result<(), HaltReason> {
        let signers_max = Validators::COUNT_MAX;
        match message.message {
            Some(Message::Vote(vote)) => match codec::vote_from(&vote) {
                Ok(vote) => return self.on_vote(peer, vote),
                Err(error) => self.malformed(peer, &error),
            },
            Some(Message::Proposal(proposal)) => match codec::proposal_from(proposal) {
                Ok(proposal) => return self.on_proposal(peer, proposal),
                Err(error) => self.malformed(peer, &error),
            },
            Some(Message::PolkaCertificate(certificate)) => {
                match codec::polka_from(&certificate, signers_max) {
                    Ok(certificate) => {
                        let votes: Vec<_> = certificate.votes(&Vocabulary).collect();
                        let about =
                            (certificate.height.0, certificate.round, Said::PolkaCertificate);
                        let input = Input::PolkaCertificate(certificate);
                        return self.on_certificate(peer, about, &votes, input);
                    }
                    Err(error) => self.malformed(peer, &error),
                }
            }
            Some(Message::RoundCertificate(certificate)) => {
                match codec::round_certificate_from(&certificate, signers_max) {
                    Ok(certificate) => {
                        let votes: Vec<_> = certificate.votes(&Vocabulary).collect();
                        let about =
                            (certificate.height.0, certificate.round, Said::RoundCertificate);
                        let input = Input::RoundCertificate(certificate);
                        return self.on_certificate(peer, about, &votes, input);
                    }
                    Err(error) => self.malformed(peer, &error),
                }
            }
            Some(Message::Refusal(refusal)) => match codec::refusal_from(&refusal) {
                Ok(refusal) => self.on_refusal(peer, refusal),
                Err(error) => self.malformed(peer, &error),
            },
            None => self.malformed(peer, &MessageError::Missing { field: "message" }),
        }
        Ok(())
    }

    /// Of this height only: at another its block is of no use here.
    fn on_refusal(&mut self, peer: Peer, refusal: Refusal) {
        let Refusal { height, round, header, validator, signature } = refusal;
        if height != self.start.height || round > self.newest_round(height) {
            return;
        }
        let message = statement::refusal(&self.effects.config.genesis_hash, height, round, &header);
        if !self.start.validators.contains(&validator)
            || !self.effects.verify(validator, message, signature)
        {
            self.fault(peer, FaultReason::BadSignature { height, round });
            return;
        }
        self.vouch(height, round, Said::Refusal(validator));
        self.builds.refused(header, round, validator);
        self.say_if_builds_differ(header);
    }

    fn on_vote(&mut self, peer: Peer, vote: SignedVote) -> Result<(), HaltReason> {
        let (height, round) = (vote.height.0, round_number(vote.round));
        // Below: decided. Above the next height: the set is unknown, so nothing about it can be checked.
        let Some(validators) = self.validators_at(height) else { return Ok(()) };
        if !validators.contains(&vote.validator) || !self.effects.verify_vote(&vote) {
            self.fault(peer, FaultReason::BadSignature { height, round });
            return Ok(());
        }
        let said = match vote.vote_type {
            VoteType::Prevote => Said::Prevote(vote.validator),
            VoteType::Precommit => Said::Precommit(vote.validator),
        };
        self.vouch(height, round, said);
        self.look_for_ourselves(&vote);
        self.watch.note_vote(&vote);
        if let (VoteType::Prevote, NilOrVal::Val(header)) = (vote.vote_type, vote.value)
            && height == self.start.height
            && round <= self.newest_round(height)
        {
            self.builds.prevoted(header, round, vote.validator);
            self.say_if_builds_differ(header);
        }
        if height == self.start.height && self.phase == Phase::Running {
            return self.feed(Input::Vote(vote));
        }
        if height > self.start.height || self.phase == Phase::Held {
            self.early.add_vote(vote);
            return self.begin_if_due();
        }
        Ok(())
    }

    fn on_proposal(&mut self, peer: Peer, proposal: SignedProposal) -> Result<(), HaltReason> {
        let (height, round) = (proposal.height.0, round_number(proposal.round));
        let Some(validators) = self.validators_at(height) else { return Ok(()) };
        if !validators.contains(&proposal.validator) || !self.effects.verify_proposal(&proposal) {
            self.fault(peer, FaultReason::BadSignature { height, round });
            return Ok(());
        }
        let message = statement::proposal(&self.effects.config.genesis_hash, &proposal);
        self.refuse_foreign(
            Statement::of_proposal(&proposal),
            proposal.validator,
            message,
            proposal.signature,
        );
        self.watch.note_proposal(&proposal);
        // The order of the next height is not known yet, so that nobody can say whose turn it is then.
        if height == self.start.height {
            if self.start.validators.proposer_of(proposal.round) != proposal.validator {
                self.fault(peer, FaultReason::NotTheProposer { height, round });
                return Ok(());
            }
            self.vouch(height, round, Said::Proposal(proposal.validator));
        }
        if height > self.start.height && self.effects.config.has(Mutant::EarlyProposalsToCore) {
            let value = proposal.value.clone();
            self.blocks.insert(value.id, value.block);
            return self.process(Input::Proposal(proposal));
        }
        let block_time_ms = proposal.value.block.header.as_ref().map_or(0, |header| header.time_ms);
        let near = clock::is_near(&self.effects.config, round, block_time_ms, self.now_ms);
        let early = EarlyProposal { peer, proposal, near };
        if height == self.start.height && self.phase == Phase::Running {
            return self.consider_proposal(early);
        }
        if height > self.start.height || self.phase == Phase::Held {
            self.early.add_proposal(early);
            return self.begin_if_due();
        }
        Ok(())
    }

    /// A signed proposal of this height: everything that can be said without executing it, then its verdict.
    fn consider_proposal(&mut self, early: EarlyProposal) -> Result<(), HaltReason> {
        let EarlyProposal { peer, proposal, near } = early;
        let round = round_number(proposal.round);
        if self.phase != Phase::Running || round > self.newest_round(self.start.height) {
            return Ok(());
        }
        if self.start.validators.proposer_of(proposal.round) != proposal.validator {
            let height = self.start.height;
            self.fault(peer, FaultReason::NotTheProposer { height, round });
            return Ok(());
        }
        let value = proposal.value.clone();
        if self.effects.config.has(Mutant::AcceptInvalid) {
            self.blocks.insert(value.id, value.block.clone());
        } else if !self.fits(&proposal, near) {
            self.say_if_off_clock(&proposal, near);
            return Ok(());
        }
        if let Some(block) = self.blocks.get(&value.id).cloned() {
            return self.feed_proposal(proposal, &BlockValue { id: value.id, block });
        }
        let request = self.next_request();
        if self.waiting.offer(peer, proposal, request) {
            let block = value.block;
            self.effects.push(Action::Validate { request, block, certified: false });
        }
        Ok(())
    }

    /// What a header must say on its face, and the clock of a fresh one (PROTOCOL II.1).
    fn fits(&self, proposal: &SignedProposal, near: bool) -> bool {
        let Some(header) = &proposal.value.block.header else { return false };
        let follows = header.height == self.start.height
            && header.parent_hash == self.start.parent_hash.0
            && header.genesis_hash == self.effects.config.genesis_hash.0
            && header.time_ms > self.start.parent_time_ms;
        let fresh = proposal.pol_round.is_nil();
        if self.effects.config.has(Mutant::ClockOnReproposal) && !near {
            return false;
        }
        follows && (!fresh || (near && header.proposer == proposal.validator.0))
    }

    /// A clock that is wrong looks like a network that is slow, so it is said; once for a height, or a liar fills our logs.
    fn say_if_off_clock(&mut self, proposal: &SignedProposal, near: bool) {
        let Some(header) = &proposal.value.block.header else { return };
        if near || !proposal.pol_round.is_nil() || self.said_off_clock {
            return;
        }
        self.said_off_clock = true;
        let off_ms = i128::from(header.time_ms).saturating_sub(i128::from(self.now_ms));
        self.effects.push(Action::Notice(Notice::ProposalOffClock {
            height: self.start.height,
            round: round_number(proposal.round),
            proposer: proposal.validator,
            off_ms: i64::try_from(off_ms).unwrap_or(i64::MAX),
        }));
    }

    /// A certificate of votes, for this height only: those of another cannot be used later (`cc/handle/liveness.rs:90`).
    /// The core looks at none that it has no use for, and what nobody looked at is not vouched for.
    fn on_certificate(
        &mut self,
        peer: Peer,
        (height, round, said): (u64, Round, Said),
        votes: &[SignedVote],
        input: Input<Vocabulary>,
    ) -> Result<(), HaltReason> {
        if height != self.start.height || self.phase != Phase::Running {
            return Ok(());
        }
        // Before anything is verified: a certificate that names us a hundred times must not cost a hundred checks.
        let key = self.effects.own_key();
        let mut signers = BTreeSet::new();
        let formed = votes.iter().all(|vote| {
            let config = &self.effects.config;
            let member = self.start.validators.contains(&vote.validator);
            (member || config.has(Mutant::StrangersCounted))
                && (signers.insert(vote.validator) || config.has(Mutant::SignerCountedTwice))
        });
        let ours = votes.iter().find(|vote| Some(vote.validator) == key);
        if !formed || ours.is_some_and(|vote| !self.effects.verify_vote(vote)) {
            let round = round_number(round);
            self.fault(peer, FaultReason::BadCertificate { height, round });
            return Ok(());
        }
        if let Some(vote) = ours {
            self.look_for_ourselves(vote);
        }
        self.effects.refused_certificate = false;
        self.effects.verified_certificate = false;
        self.feed(input)?;
        let round = round_number(round);
        if std::mem::take(&mut self.effects.refused_certificate) {
            self.fault(peer, FaultReason::BadCertificate { height, round });
        } else if std::mem::take(&mut self.effects.verified_certificate) {
            self.vouch(height, round, said);
        }
        Ok(())
    }

    // ------------------------------------------------------------------------------- our own key

    fn look_for_ourselves(&mut self, vote: &SignedVote) {
        if Some(vote.validator) == self.effects.own_key() {
            let message = statement::vote(&self.effects.config.genesis_hash, vote);
            self.refuse_foreign(Statement::of_vote(vote), vote.validator, message, vote.signature);
        }
    }

    /// A signature of ours that our record does not hold: the record is not this key's, so the key never signs again, and
    /// the record says so from now on (PROTOCOL II.4). The node goes on as an observer.
    fn refuse_foreign(
        &mut self,
        shown: Statement,
        signer: ValidatorKey,
        message: Vec<u8>,
        signature: SignatureBytes,
    ) {
        if Some(signer) != self.effects.own_key()
            || self.effects.guard.is_retired()
            || self.effects.config.has(Mutant::SignWithoutRecord)
            || !self.effects.is_foreign(shown, message, signature)
        {
            return;
        }
        let reason = RetireReason::UnknownSignature { height: shown.height, round: shown.round };
        self.retire(shown.height, shown.round);
        self.effects.push(Action::StopSigning { reason });
    }

    /// Our key signs nothing from here on, and the record says so before anything else happens.
    fn retire(&mut self, height: u64, round: u32) {
        self.effects.guard.retire();
        self.effects.votes = false;
        if let Some(core) = &mut self.core {
            core.params.enabled = false;
        }
        // A record that was never begun has no height to append at; it is empty, so beginning it loses nothing.
        if self.effects.guard.height() == 0 {
            self.effects.push(Action::ResetWal { height: self.start.height });
            self.effects.guard.begin(self.start.height);
        }
        self.effects.append(v1::WalEntry {
            height: self.effects.guard.height(),
            entry: Some(v1::wal_entry::Entry::KeyRetired(v1::KeyRetired { height, round })),
        });
        self.effects.barrier();
    }

    /// An older copy of the signing record beside a current database: blocks of ours hold signatures of ours that the record
    /// never saw. Certificates name signers by position in sets of the past, so each signature is tried with our key.
    fn look_for_ourselves_in_our_blocks(&mut self) {
        for certificate in std::mem::take(&mut self.effects.config.recent_certificates) {
            let Some((shown, message, signatures)) =
                codec::commit_statement(&self.effects.config.genesis_hash, &certificate)
            else {
                continue;
            };
            let foreign = signatures
                .into_iter()
                .any(|signature| self.effects.is_foreign(shown, message.clone(), signature));
            if foreign && !self.effects.guard.is_retired() {
                let (height, round) = (shown.height, shown.round);
                self.retire(height, round);
                let reason = RetireReason::OlderRecord { height };
                self.effects.push(Action::StopSigning { reason });
            }
        }
    }

    /// The last height of our key, if that is over and no later set holds the key.
    fn last_height_of_key(&self) -> Option<u64> {
        let key = self.effects.own_key()?;
        let last_height = self.effects.guard.height();
        let seated =
            self.start.validators.contains(&key) || self.start.next_validators.contains(&key);
        let over = !seated && last_height > 0 && last_height < self.start.height;
        over.then_some(last_height)
    }

    /// Our key was a validator's and is none's any more: it has voted its last height, which is persisted. It signs nothing
    /// again, so that whoever finds an old disk cannot sign another past (PROTOCOL §6.2).
    ///
    /// A record that was begun shows that the key was seated once; a key that waits for its join has none. A record of this
    /// height or a later one stands beside an older database, which may not have reached the key's first set yet.
    fn leave_if_unseated(&mut self) {
        let Some(last_height) = self.last_height_of_key().filter(|_| !self.key_is_over) else {
            return;
        };
        self.key_is_over = true;
        if !self.effects.guard.is_retired() {
            self.retire(last_height, 0);
        }
        self.effects.push(Action::DestroyKey { last_height });
    }

    // ------------------------------------------------------------------------------------ timers

    fn on_timer(&mut self, id: TimerId) -> Result<(), HaltReason> {
        match self.effects.timers.fired(id) {
            Some(Purpose::Core(timeout)) => self.on_core_timeout(timeout),
            Some(Purpose::Heartbeat) if self.phase == Phase::Held => self.begin(),
            Some(Purpose::Announce) => {
                self.announce();
                // Peers that were left alone for a while may be asked again.
                self.pursue_sync()
            }
            Some(Purpose::SyncWait) => {
                self.sync.waited_for = Some(self.start.height);
                self.pursue_sync()
            }
            Some(Purpose::SyncAnswer(peer)) => {
                self.sync.late(peer, &self.effects.config.sync_bounds(), self.now_ms);
                self.pursue_sync()
            }
            Some(Purpose::Heartbeat) | None => Ok(()),
        }
    }

    fn on_core_timeout(&mut self, timeout: Timeout) -> Result<(), HaltReason> {
        self.feed(Input::TimeoutElapsed(timeout))
    }

    // -------------------------------------------------------------------------------- block sync

    fn on_synced(&mut self, peer: Peer, response: v1::SyncResponse) -> Result<(), HaltReason> {
        let bounds = self.effects.config.sync_bounds();
        let about = (&bounds, self.now_ms);
        let Some(in_time) = self.sync.keep(peer, response, self.start.height, about) else {
            return Ok(());
        };
        if in_time {
            self.effects.cancel_timer(Purpose::SyncAnswer(peer));
        }
        self.pursue_sync()
    }

    fn on_unanswered(&mut self, peer: Peer) -> Result<(), HaltReason> {
        if self.sync.unanswered(peer, &self.effects.config.sync_bounds(), self.now_ms) {
            self.effects.cancel_timer(Purpose::SyncAnswer(peer));
        }
        self.pursue_sync()
    }

    fn distrust(&mut self, peer: Peer) {
        self.effects.cancel_timer(Purpose::SyncAnswer(peer));
        self.sync.distrust(peer, &self.effects.config.sync_bounds(), self.now_ms);
    }

    /// Uses a received block of this height, and asks for what is missing of those that peers have.
    fn pursue_sync(&mut self) -> Result<(), HaltReason> {
        if self.effects.config.has(Mutant::NoSync) {
            return Ok(());
        }
        while matches!(self.phase, Phase::Held | Phase::Running) && self.certified.is_none() {
            let Some((peer, decided)) = self.sync.take(self.start.height) else { break };
            self.apply_synced(peer, decided)?;
        }
        self.request_blocks();
        Ok(())
    }

    fn request_blocks(&mut self) {
        let height = self.start.height;
        let bounds = self.effects.config.sync_bounds();
        // What is being applied or persisted is not asked for again.
        let in_hand = self.certified.is_some() || self.phase == Phase::Deciding;
        let first = height.saturating_add(u64::from(in_hand));
        let tip = self.sync.best_tip(&bounds, self.now_ms);
        if tip < first || self.phase == Phase::Halted {
            return;
        }
        // One block ahead is the usual state of things for some milliseconds: its votes are on their way to us too.
        if tip == first && !self.sync.is_asking() && self.sync.waited_for != Some(first) {
            if !in_hand && !self.effects.timers.is_set(Purpose::SyncWait) {
                self.effects.set_timer(Purpose::SyncWait, self.effects.config.sync_wait_ms);
            }
            return;
        }
        while let Some(Request { peer, from_height, blocks_max }) =
            self.sync.next_request(first, &bounds, self.now_ms)
        {
            self.effects.push(Action::RequestSync { peer, from_height, blocks_max });
            let timeout_ms = self.effects.config.sync_timeout_ms;
            self.effects.set_timer(Purpose::SyncAnswer(peer), timeout_ms);
        }
    }

    /// Gives the core a certificate from a peer. It is checked before the height begins: a claim alone must not end a hold.
    fn apply_synced(&mut self, peer: Peer, decided: v1::DecidedBlock) -> Result<(), HaltReason> {
        let height = self.start.height;
        let Some((value, certificate)) = self.check_synced(decided) else {
            self.fault(peer, FaultReason::NotTheCertifiedBlock { height });
            self.distrust(peer);
            return Ok(());
        };
        for signed in &certificate.commit_signatures {
            let (round, id) = (certificate.round, NilOrVal::Val(certificate.value_id));
            let genesis = &self.effects.config.genesis_hash;
            let (vote_type, at) = (VoteType::Precommit, certificate.height);
            let message = statement::vote_of(genesis, vote_type, at, round, &id);
            let shown = Statement::vote(vote_type, height, round_number(round), &id);
            self.refuse_foreign(shown, signed.address, message, signed.signature);
        }
        if self.phase == Phase::Held {
            self.begin()?;
        }
        if self.phase != Phase::Running {
            return Ok(());
        }
        let round = certificate.round;
        self.certified = Some(Certified { peer, value, round, proposer: None, request: None });
        let response = ValueResponse::new(core_peer(peer), bytes::Bytes::new(), certificate);
        self.effects.refused_certificate = false;
        self.feed(Input::SyncValueResponse(response))?;
        if std::mem::take(&mut self.effects.refused_certificate) {
            self.certified = None;
            self.fault(peer, FaultReason::NotTheCertifiedBlock { height });
            self.distrust(peer);
        }
        Ok(())
    }

    fn check_synced(
        &mut self,
        decided: v1::DecidedBlock,
    ) -> Option<(BlockValue, ExtendedCommitCertificate<Vocabulary>)> {
        let value = codec::block_value(Arc::new(decided.block?)).ok()?;
        let set = self.start.validators.clone();
        let certificate = codec::commit_from(&decided.certificate?, &set).ok()?;
        let about = (certificate.height, certificate.round, certificate.value_id);
        let signatures = certificate.commit_signatures.iter();
        let good = certificate.height.0 == self.start.height
            && certificate.value_id == value.id
            && self
                .effects
                .verify_commit(
                    &set,
                    about,
                    signatures.map(|signed| (&signed.address, &signed.signature)),
                )
                .is_ok();
        good.then_some((value, certificate))
    }

    /// The core took the certificate: now the block itself, unless it is known to be valid.
    fn on_certified(&mut self, round: Round, proposer: ValidatorKey) -> Result<(), HaltReason> {
        let Some(certified) = &mut self.certified else { return Ok(()) };
        certified.proposer = Some(proposer);
        let value = certified.value.clone();
        if let Some(block) = self.blocks.get(&value.id).cloned() {
            self.certified = None;
            return self.decide_certified(BlockValue { id: value.id, block }, round, proposer);
        }
        let request = ValidationId(self.next_validation);
        self.next_validation = self.next_validation.saturating_add(1);
        certified.request = Some(request);
        self.effects.push(Action::Validate { request, block: value.block, certified: true });
        Ok(())
    }

    fn on_certified_verdict(&mut self, verdict: Verdict) -> Result<(), HaltReason> {
        let Some(Certified { peer, value, round, proposer, .. }) = self.certified.take() else {
            return Ok(());
        };
        let height = self.start.height;
        match verdict {
            Verdict::Valid => {
                self.sync.delivered(peer);
                self.blocks.insert(value.id, value.block.clone());
                let proposer = proposer.unwrap_or_default();
                self.decide_certified(value, round, proposer)?;
                self.settle()
            }
            Verdict::Altered => {
                self.fault(peer, FaultReason::NotTheCertifiedBlock { height });
                self.distrust(peer);
                self.pursue_sync()
            }
            // The shell ends the process before it says so; the block is asked for again.
            Verdict::NotJudged { .. } => self.pursue_sync(),
            Verdict::Invalid { reason } => {
                Err(HaltReason::CertifiedBlockInvalid { height, header_hash: value.id, reason })
            }
        }
    }

    /// The round must be the certificate's, or the core does not connect the two (`eng/consensus.rs:2025`).
    fn decide_certified(
        &mut self,
        value: BlockValue,
        round: Round,
        proposer: ValidatorKey,
    ) -> Result<(), HaltReason> {
        let proposed = ProposedValue {
            height: BlockHeight(self.start.height),
            round,
            valid_round: Round::Nil,
            proposer,
            value,
            validity: Validity::Valid,
        };
        self.process(Input::ProposedValue(proposed, ValueOrigin::Sync))
    }
}

/// The core wants a libp2p peer id; ours is the identity multihash of the node key.
fn core_peer(peer: Peer) -> PeerId {
    let mut bytes = vec![0x00, 0x20];
    bytes.extend_from_slice(&peer.0);
    PeerId::from_bytes(&bytes).expect("an identity multihash of 32 bytes is a peer id")
}

/// The inputs of a record, and whether it retires the key.
fn decode_record(
    height: u64,
    entries: &[v1::WalEntry],
) -> Result<(Vec<Input<Vocabulary>>, bool), StartError> {
    let mut inputs = Vec::with_capacity(entries.len());
    let mut retired = false;
    for (index, entry) in entries.iter().enumerate() {
        let wrong = |reason: String| StartError::RecordEntry { index, reason };
        if entry.height != height {
            return Err(wrong(format!("it is of height {}, the record of {height}", entry.height)));
        }
        match codec::entry_from(entry).map_err(|error| wrong(error.to_string()))? {
            Some(input) => inputs.push(input),
            None => retired = true,
        }
    }
    Ok((inputs, retired))
}
