//! The host by itself: one validator of four, told one event at a time. Each test is a rule of `docs/protocol.md` or an
//! obligation that a host owes its core.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use sillok_consensus::testing::{KeyedHash, KeyedHashSigner, Mutant};
use sillok_consensus::{
    Action, Event, EvidenceError, FaultReason, Figures, HaltReason, HeightStart, Host, HostConfig,
    Notice, OffenceKind, Peer, RetireReason, SignatureScheme, Signer, SigningRecord, StartError,
    TimerId, ValidationId, ValidatorKey, Verdict, verify_evidence_with,
};
use sillok_ledger::{
    header_hash, precommit_string, prevote_string, proposal_string, refusal_string,
};
use sillok_proto::v1::consensus_message::Message;
use sillok_proto::v1::wal_entry::Entry;
use sillok_proto::{Hash, v1};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const GENESIS: Hash = Hash([1; 32]);
const NOW_MS: u64 = 1_800_000_000_000;
const PEER: Peer = Peer([99; 32]);
/// Our place in the set, and in the order of proposers: the last.
const US: usize = 3;

fn key(index: usize) -> [u8; 32] {
    [u8::try_from(index).unwrap() + 1; 32]
}

fn sign(index: usize, message: &[u8]) -> Vec<u8> {
    KeyedHashSigner::new(key(index)).sign(message).to_vec()
}

fn set() -> v1::ValidatorSet {
    let validator = |index| v1::Validator {
        public_key: key(index).to_vec(),
        organization: key(index).to_vec(),
        since_height: 0,
    };
    v1::ValidatorSet { validators: (0..4).map(validator).collect() }
}

fn start(height: u64) -> HeightStart {
    HeightStart {
        height,
        parent_hash: Hash([2; 32]),
        parent_time_ms: NOW_MS - 1_000,
        validators: set(),
        next_validators: set(),
        proposer_order: (0..4).map(|index| ValidatorKey(key(index))).collect(),
    }
}

fn config() -> HostConfig {
    let mut config = HostConfig::new(GENESIS, Arc::new(KeyedHash));
    config.signer = Some(Arc::new(KeyedHashSigner::new(key(US))));
    config
}

/// A host at height 5, held, with what it did at boot.
fn boot(record: SigningRecord) -> (Host, Vec<Action>) {
    Host::new(config(), &start(5), record, NOW_MS).unwrap()
}

fn held() -> Host {
    boot(SigningRecord { height: 4, entries: Vec::new() }).0
}

/// A host at height 5 that has begun.
fn running() -> Host {
    let mut host = held();
    host.handle(Event::TransactionsPending(true), NOW_MS);
    host
}

fn block(proposer: usize, time_ms: u64) -> v1::Block {
    let header = v1::Header {
        protocol_version: 1,
        genesis_hash: GENESIS.to_vec(),
        height: 5,
        time_ms,
        parent_hash: vec![2; 32],
        transactions_root: vec![3; 32],
        state_root: vec![4; 32],
        proposer: key(proposer).to_vec(),
        ..v1::Header::default()
    };
    v1::Block { header: Some(header), transactions: Vec::new() }
}

fn id(block: &v1::Block) -> Hash {
    header_hash(block.header.as_ref().unwrap())
}

fn message(message: Message) -> Event {
    Event::Message { peer: PEER, message: v1::ConsensusMessage { message: Some(message) } }
}

fn proposal(by: usize, round: u32, pol_round: Option<u32>, block: v1::Block) -> Event {
    let statement = v1::ProposalStatement {
        height: 5,
        round,
        header_hash: id(&block).to_vec(),
        pol_round: pol_round.map_or(0, |round| round + 1),
    };
    let signature = sign(by, &proposal_string(&GENESIS, &statement));
    message(Message::Proposal(v1::SignedProposal {
        statement: Some(statement),
        validator: key(by).to_vec(),
        signature,
        block: Some(block),
    }))
}

fn signed_vote(
    by: usize,
    vote_type: v1::VoteType,
    height: u64,
    round: u32,
    header: Option<Hash>,
) -> v1::SignedVote {
    let header_hash = header.map_or(Vec::new(), Hash::to_vec);
    let statement = v1::VoteStatement { height, round, header_hash };
    let string = match vote_type {
        v1::VoteType::Prevote => prevote_string(&GENESIS, &statement),
        _ => precommit_string(&GENESIS, &statement),
    };
    v1::SignedVote {
        r#type: vote_type.into(),
        statement: Some(statement),
        validator: key(by).to_vec(),
        signature: sign(by, &string),
    }
}

fn prevote(by: usize, round: u32, header: Option<Hash>) -> Event {
    message(Message::Vote(signed_vote(by, v1::VoteType::Prevote, 5, round, header)))
}

fn precommit(by: usize, round: u32, header: Option<Hash>) -> Event {
    message(Message::Vote(signed_vote(by, v1::VoteType::Precommit, 5, round, header)))
}

fn decided(block: v1::Block, signers: &[usize]) -> v1::DecidedBlock {
    decided_in(0, block, signers)
}

fn decided_in(round: u32, block: v1::Block, signers: &[usize]) -> v1::DecidedBlock {
    let header = id(&block);
    let signatures = signers
        .iter()
        .map(|by| v1::CommitSignature {
            validator: u32::try_from(*by).unwrap(),
            signature: signed_vote(*by, v1::VoteType::Precommit, 5, round, Some(header)).signature,
        })
        .collect();
    let certificate =
        v1::CommitCertificate { height: 5, round, header_hash: header.to_vec(), signatures };
    v1::DecidedBlock { block: Some(block), certificate: Some(certificate) }
}

fn synced(blocks: Vec<v1::DecidedBlock>) -> Event {
    Event::Synced { peer: PEER, response: v1::SyncResponse { tip: 9, blocks } }
}

fn requests(actions: &[Action]) -> Vec<ValidationId> {
    let request = |action: &Action| match action {
        Action::Validate { request, .. } => Some(*request),
        _ => None,
    };
    actions.iter().filter_map(request).collect()
}

fn valid(request: ValidationId) -> Event {
    Event::Validated { request, verdict: Verdict::Valid }
}

/// Our own votes among what leaves: type, round, header.
fn votes(actions: &[Action]) -> Vec<(v1::VoteType, u32, Vec<u8>)> {
    let vote = |action: &Action| match action {
        Action::Broadcast(v1::ConsensusMessage { message: Some(Message::Vote(vote)) }) => {
            let statement = vote.statement.clone()?;
            assert_eq!(vote.validator, key(US));
            let vote_type = v1::VoteType::try_from(vote.r#type).ok()?;
            Some((vote_type, statement.round, statement.header_hash))
        }
        _ => None,
    };
    actions.iter().filter_map(vote).collect()
}

fn faults(actions: &[Action]) -> Vec<FaultReason> {
    let fault = |action: &Action| match action {
        Action::PeerFault { peer, reason } => {
            assert_eq!(*peer, PEER);
            Some(reason.clone())
        }
        _ => None,
    };
    actions.iter().filter_map(fault).collect()
}

fn has(actions: &[Action], wanted: impl Fn(&Action) -> bool) -> bool {
    actions.iter().any(wanted)
}

fn has_begun(actions: &[Action]) -> bool {
    has(actions, |action| matches!(action, Action::ResetWal { .. }))
}

/// The timer that was set last for this long.
fn timer(actions: &[Action], wanted_ms: u64) -> TimerId {
    let timer = |action: &Action| match action {
        Action::SetTimer { id, after_ms } if *after_ms == wanted_ms => Some(*id),
        _ => None,
    };
    actions.iter().rev().find_map(timer).unwrap()
}

// --------------------------------------------------------------- barrier

#[test]
fn nothing_leaves_before_what_it_says_is_durable() {
    let mut host = running();
    let fresh = block(0, NOW_MS);
    let header = id(&fresh);
    let mut actions = host.handle(proposal(0, 0, None, fresh), NOW_MS);
    let request = requests(&actions)[0];
    actions.extend(host.handle(valid(request), NOW_MS));
    for by in 0..3 {
        actions.extend(host.handle(prevote(by, 0, Some(header)), NOW_MS));
        actions.extend(host.handle(precommit(by, 0, Some(header)), NOW_MS));
    }
    actions.retain(|action| !matches!(action, Action::Vouch));
    let mut unsynced = 0;
    let mut left = 0;
    for action in &actions {
        match action {
            Action::Append(_) => unsynced += 1,
            Action::Sync => unsynced = 0,
            Action::Broadcast(_) | Action::Decide { .. } => {
                assert_eq!(unsynced, 0);
                left += 1;
            }
            _ => {}
        }
    }
    assert!(left >= 3, "a prevote, a precommit and a decision");
    assert!(matches!(actions.last(), Some(Action::Decide { .. })), "persisting comes last");
}

/// The core reports the decision in the middle of our precommit (`cc/handle/driver.rs:405`): who tore down then would keep
/// the vote that others wait for.
#[test]
fn the_vote_that_decides_leaves_before_the_decision_is_persisted() {
    let mut host = running();
    let fresh = block(0, NOW_MS);
    let header = id(&fresh);
    for by in 0..2 {
        host.handle(prevote(by, 0, Some(header)), NOW_MS);
        host.handle(precommit(by, 0, Some(header)), NOW_MS);
    }
    let actions = host.handle(proposal(0, 0, None, fresh), NOW_MS);
    let actions = host.handle(valid(requests(&actions)[0]), NOW_MS);
    let precommit = (v1::VoteType::Precommit, 0, header.to_vec());
    assert!(votes(&actions).contains(&precommit));
    assert!(matches!(actions.last(), Some(Action::Decide { .. })));
}

#[test]
fn the_record_begins_before_the_first_entry_of_a_height() {
    let mut host = held();
    let actions = host.handle(Event::TransactionsPending(true), NOW_MS);
    let reset = actions.iter().position(|action| matches!(action, Action::ResetWal { height: 5 }));
    let append = actions.iter().position(|action| matches!(action, Action::Append(_)));
    assert!(reset.is_some());
    assert!(append.is_none_or(|append| reset.unwrap() < append));
}

// -------------------------------------------------------------- verdicts

#[test]
fn a_vote_waits_for_the_verdict() {
    let mut host = running();
    let fresh = block(0, NOW_MS);
    let header = id(&fresh).to_vec();
    let actions = host.handle(proposal(0, 0, None, fresh), NOW_MS);
    assert!(votes(&actions).is_empty());
    let actions = host.handle(valid(requests(&actions)[0]), NOW_MS);
    assert_eq!(votes(&actions), [(v1::VoteType::Prevote, 0, header)]);
}

#[test]
fn an_invalid_block_gets_nil_when_the_propose_timeout_ends() {
    let mut host = held();
    let begun = host.handle(Event::TransactionsPending(true), NOW_MS);
    let actions = host.handle(proposal(0, 0, None, block(0, NOW_MS)), NOW_MS);
    let request = requests(&actions)[0];
    let verdict = Verdict::Invalid { reason: "a rule".to_owned() };
    let actions = host.handle(Event::Validated { request, verdict }, NOW_MS);
    assert!(votes(&actions).is_empty());
    let actions = host.handle(Event::TimerFired(timer(&begun, 1_000)), NOW_MS + 1_000);
    assert_eq!(votes(&actions), [(v1::VoteType::Prevote, 0, Vec::new())]);
}

/// A refusal by `by` of what `header` names, at height 5.
fn refusal(by: usize, round: u32, header: Hash) -> v1::SignedRefusal {
    let statement = v1::VoteStatement { height: 5, round, header_hash: header.to_vec() };
    let signature = sign(by, &refusal_string(&GENESIS, &statement));
    v1::SignedRefusal { statement: Some(statement), validator: key(by).to_vec(), signature }
}

fn differing(actions: &[Action]) -> Vec<Hash> {
    let differ = |action: &Action| match action {
        Action::BuildsDiffer { header_hash } => Some(*header_hash),
        _ => None,
    };
    actions.iter().filter_map(differ).collect()
}

/// A host at height 5, and what executing the proposal of round 0 said there.
fn judged(verdict: Verdict) -> (Host, Vec<Action>, Hash) {
    let mut host = running();
    let proposed = block(0, NOW_MS);
    let actions = host.handle(proposal(0, 0, None, proposed.clone()), NOW_MS);
    let request = requests(&actions)[0];
    let actions = host.handle(Event::Validated { request, verdict }, NOW_MS);
    (host, actions, id(&proposed))
}

fn invalid() -> Verdict {
    Verdict::Invalid { reason: "another root".to_owned() }
}

fn not_judged() -> Verdict {
    Verdict::NotJudged { reason: "the disk failed".to_owned() }
}

/// A disk that fails says nothing of a block: neither to others, nor that builds differ, nor for the next time.
#[test]
fn who_cannot_judge_a_block_says_nothing_of_it_and_judges_it_when_it_comes_again() {
    let (mut host, actions, header) = judged(not_judged());
    assert!(votes(&actions).is_empty() && differing(&actions).is_empty());
    for by in [0, 2] {
        let actions = host.handle(prevote(by, 0, Some(header)), NOW_MS);
        assert!(differing(&actions).is_empty(), "two who accept it contradict nobody");
    }
    let actions = host.handle(proposal(0, 0, None, block(0, NOW_MS)), NOW_MS);
    let actions = host.handle(valid(requests(&actions)[0]), NOW_MS);
    // With the two it is a polka.
    let said =
        [v1::VoteType::Precommit, v1::VoteType::Prevote].map(|kind| (kind, 0, header.to_vec()));
    assert_eq!(votes(&actions), said);
}

#[test]
fn who_finds_a_block_invalid_says_so_beside_its_vote() {
    let (_, actions, header) = judged(invalid());
    let said: Vec<_> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Broadcast(v1::ConsensusMessage { message: Some(Message::Refusal(said)) }) => {
                Some(said.clone())
            }
            _ => None,
        })
        .collect();
    assert_eq!(said, [refusal(US, 0, header)]);
    // Other bytes beside the header are the doing of whoever sent them, and nothing is said of the block.
    for verdict in [Verdict::Altered, Verdict::Valid, not_judged()] {
        let (_, actions, _) = judged(verdict);
        let refuses = |action: &Action| {
            matches!(action, Action::Broadcast(message)
                if matches!(message.message, Some(Message::Refusal(_))))
        };
        assert!(!actions.iter().any(refuses));
    }
}

/// Of four, one may lie: it proposes what nobody accepts, and refuses what everybody does.
#[test]
fn builds_differ_only_where_correct_validators_contradict_each_other() {
    // Valid here; one refusal may be a lie, two are not.
    let (mut host, actions, header) = judged(Verdict::Valid);
    assert!(differing(&actions).is_empty());
    let refuse = |host: &mut Host, by, round| {
        host.handle(message(Message::Refusal(refusal(by, round, header))), NOW_MS)
    };
    for actions in [refuse(&mut host, 1, 0), refuse(&mut host, 1, 1), refuse(&mut host, 1, 0)] {
        assert!(differing(&actions).is_empty(), "one validator, however often it says so");
    }
    assert_eq!(differing(&refuse(&mut host, 2, 0)), [header]);
    assert!(differing(&refuse(&mut host, 0, 0)).is_empty(), "it is said once");

    // Invalid here: refusals of others are no news, two who accept it are.
    let (mut host, _, header) = judged(invalid());
    for by in [1, 2] {
        let actions = host.handle(message(Message::Refusal(refusal(by, 0, header))), NOW_MS);
        assert!(differing(&actions).is_empty());
    }
    assert!(differing(&host.handle(prevote(0, 0, Some(header)), NOW_MS)).is_empty());
    assert!(differing(&host.handle(prevote(1, 0, None), NOW_MS)).is_empty());
    assert_eq!(differing(&host.handle(prevote(2, 0, Some(header)), NOW_MS)), [header]);

    // Not executed here: two of each.
    let mut host = running();
    let header = Hash([7; 32]);
    for by in [0, 1] {
        assert!(differing(&host.handle(prevote(by, 0, Some(header)), NOW_MS)).is_empty());
    }
    let actions = host.handle(message(Message::Refusal(refusal(2, 0, header))), NOW_MS);
    assert!(differing(&actions).is_empty());
    let actions = host.handle(message(Message::Refusal(refusal(1, 0, header))), NOW_MS);
    assert_eq!(differing(&actions), [header]);
}

#[test]
fn a_refusal_is_a_validators_and_of_this_height() {
    let header = Hash([7; 32]);
    let tell = |refusal| {
        let actions = running().handle(message(Message::Refusal(refusal)), NOW_MS);
        let passed_on = actions.iter().any(|action| matches!(action, Action::Vouch));
        (passed_on, faults(&actions))
    };
    let bad = vec![FaultReason::BadSignature { height: 5, round: 0 }];
    assert_eq!(tell(refusal(1, 0, header)), (true, Vec::new()));
    assert_eq!(tell(refusal(9, 0, header)), (false, bad.clone()), "a stranger");
    let other = v1::SignedRefusal { validator: key(2).to_vec(), ..refusal(1, 0, header) };
    assert_eq!(tell(other), (false, bad), "in another's name");
    assert_eq!(tell(refusal(1, 99, header)), (false, Vec::new()), "a round nobody is near");
    let mut later = refusal(1, 0, header);
    later.statement.as_mut().unwrap().height = 6;
    assert_eq!(tell(later), (false, Vec::new()), "its block is of no use here");
    let mut nil = refusal(1, 0, header);
    nil.statement.as_mut().unwrap().header_hash.clear();
    assert!(matches!(tell(nil).1[..], [FaultReason::Malformed { .. }]), "of no block");
}

#[test]
fn a_verdict_is_for_these_bytes_and_not_for_the_header() {
    let mut host = running();
    let good = block(0, NOW_MS);
    let mut changed = good.clone();
    changed.transactions.push(v1::Transaction::default());
    let Event::Message { message, .. } = proposal(0, 0, None, changed) else { panic!() };
    let forwarder = Peer([98; 32]);
    let actions = host.handle(Event::Message { peer: forwarder, message }, NOW_MS);
    let first = requests(&actions)[0];
    let actions = host.handle(proposal(0, 0, None, good.clone()), NOW_MS);
    let second = requests(&actions)[0];
    let altered = Event::Validated { request: first, verdict: Verdict::Altered };
    assert!(votes(&host.handle(altered, NOW_MS)).is_empty());
    let actions = host.handle(valid(second), NOW_MS);
    assert_eq!(votes(&actions), [(v1::VoteType::Prevote, 0, id(&good).to_vec())]);
}

#[test]
fn the_same_bytes_are_validated_once() {
    let mut host = running();
    let fresh = block(0, NOW_MS);
    assert_eq!(requests(&host.handle(proposal(0, 0, None, fresh.clone()), NOW_MS)).len(), 1);
    assert_eq!(requests(&host.handle(proposal(0, 0, None, fresh), NOW_MS)).len(), 0);
}

#[test]
fn a_proposal_is_the_proposers() {
    let mut host = running();
    let actions = host.handle(proposal(1, 0, None, block(1, NOW_MS)), NOW_MS);
    assert!(requests(&actions).is_empty());
    assert_eq!(faults(&actions), [FaultReason::NotTheProposer { height: 5, round: 0 }]);
}

#[test]
fn a_fresh_block_is_built_by_its_proposer() {
    let mut host = running();
    assert!(requests(&host.handle(proposal(0, 0, None, block(2, NOW_MS)), NOW_MS)).is_empty());
}

#[test]
fn a_block_that_does_not_follow_the_tip_is_not_executed() {
    let change = |change: &dyn Fn(&mut v1::Header)| {
        let mut fresh = block(0, NOW_MS);
        change(fresh.header.as_mut().unwrap());
        !requests(&running().handle(proposal(0, 0, None, fresh), NOW_MS)).is_empty()
    };
    assert!(change(&|_| ()));
    assert!(!change(&|header| header.height = 6));
    assert!(!change(&|header| header.parent_hash = vec![9; 32]));
    assert!(!change(&|header| header.genesis_hash = vec![9; 32]));
    assert!(!change(&|header| header.time_ms = NOW_MS - 1_000));
}

// ----------------------------------------------------------------- clock

#[test]
fn the_clock_bounds_a_fresh_proposal() {
    let accepted = |now_ms: u64| {
        let mut host = running();
        !requests(&host.handle(proposal(0, 0, None, block(0, NOW_MS)), now_ms)).is_empty()
    };
    assert!(accepted(NOW_MS));
    assert!(accepted(NOW_MS - 2_000), "as far ahead as the genesis allows");
    assert!(!accepted(NOW_MS - 2_001), "too far ahead");
    assert!(accepted(NOW_MS + 10_000), "as far behind as the genesis allows");
    assert!(!accepted(NOW_MS + 10_001), "too far behind");
}

#[test]
fn the_clock_is_not_asked_about_a_proposal_that_was_made_before() {
    let mut host = running();
    let again = proposal(1, 1, Some(0), block(0, NOW_MS));
    assert!(!requests(&host.handle(again, NOW_MS + 100_000)).is_empty());
}

#[test]
fn the_lower_bound_of_the_clock_widens_with_the_round() {
    let mut host = running();
    let late = proposal(1, 1, None, block(1, NOW_MS));
    assert!(!requests(&host.handle(late, NOW_MS + 20_000)).is_empty());
}

// ------------------------------------------------------------------ hold

#[test]
fn one_liar_cannot_begin_a_height() {
    let mut host = held();
    for round in 0..5 {
        assert!(!has_begun(&host.handle(prevote(0, round, None), NOW_MS)));
    }
    assert!(has_begun(&host.handle(prevote(1, 0, None), NOW_MS)), "of two one is correct");
}

#[test]
fn a_claimed_tip_begins_nothing() {
    let mut host = held();
    let actions = host.handle(Event::PeerTip { peer: PEER, height: 1_000 }, NOW_MS);
    assert!(!has_begun(&actions));
    assert!(has(&actions, |action| matches!(action, Action::RequestSync { from_height: 5, .. })));
}

#[test]
fn the_heartbeat_begins_a_height() {
    let (mut host, actions) = boot(SigningRecord { height: 4, entries: Vec::new() });
    let heartbeat = timer(&actions, 10_000);
    assert!(has_begun(&host.handle(Event::TimerFired(heartbeat), NOW_MS + 10_000)));
}

#[test]
fn a_timer_fires_once_and_a_cancelled_one_never() {
    let (mut host, actions) = boot(SigningRecord { height: 4, entries: Vec::new() });
    let heartbeat = timer(&actions, 10_000);
    host.handle(Event::TransactionsPending(true), NOW_MS);
    assert!(host.handle(Event::TimerFired(heartbeat), NOW_MS).is_empty());
}

#[test]
fn messages_that_came_early_are_used_when_the_height_begins() {
    let mut host = held();
    let fresh = block(0, NOW_MS);
    let header = id(&fresh);
    host.handle(proposal(0, 0, None, fresh), NOW_MS);
    let actions = host.handle(prevote(1, 0, Some(header)), NOW_MS);
    assert_eq!(requests(&actions).len(), 1);
}

// --------------------------------------------------------------- our key

#[test]
fn a_signature_of_ours_that_the_record_does_not_hold_retires_the_key() {
    let mut host = running();
    let actions = host.handle(prevote(US, 3, None), NOW_MS);
    let retired = |action: &Action| matches!(action, Action::StopSigning { .. });
    assert!(has(&actions, retired));
    let append = actions.iter().position(|action| {
        matches!(action, Action::Append(v1::WalEntry { entry: Some(Entry::KeyRetired(_)), .. }))
    });
    assert!(matches!(actions[append.unwrap() + 1], Action::Sync));
    // From now on it follows and says nothing.
    let fresh = block(0, NOW_MS);
    let actions = host.handle(proposal(0, 0, None, fresh), NOW_MS);
    let actions = host.handle(valid(requests(&actions)[0]), NOW_MS);
    assert!(votes(&actions).is_empty());
    assert!(host.status().retired);
}

#[test]
fn a_signature_of_ours_at_a_later_height_retires_the_key() {
    let vote = signed_vote(US, v1::VoteType::Prevote, 6, 0, None);
    let actions = running().handle(message(Message::Vote(vote)), NOW_MS);
    assert!(has(&actions, |action| matches!(action, Action::StopSigning { .. })));
}

#[test]
fn a_forged_signature_of_ours_retires_nothing() {
    let mut vote = signed_vote(US, v1::VoteType::Prevote, 5, 3, None);
    vote.signature[0] ^= 1;
    let mut host = running();
    let actions = host.handle(message(Message::Vote(vote)), NOW_MS);
    assert_eq!(faults(&actions), [FaultReason::BadSignature { height: 5, round: 3 }]);
    assert!(!host.status().retired);
}

#[test]
fn our_own_vote_shown_back_to_us_is_ours() {
    let mut host = running();
    let fresh = block(0, NOW_MS);
    let header = id(&fresh);
    let actions = host.handle(proposal(0, 0, None, fresh), NOW_MS);
    host.handle(valid(requests(&actions)[0]), NOW_MS);
    let actions = host.handle(prevote(US, 0, Some(header)), NOW_MS);
    assert!(!has(&actions, |action| matches!(action, Action::StopSigning { .. })));
    assert!(faults(&actions).is_empty());
}

#[test]
fn a_retired_key_stays_retired_after_a_restart() {
    let entry = Entry::KeyRetired(v1::KeyRetired { height: 5, round: 3 });
    let entries = vec![v1::WalEntry { height: 5, entry: Some(entry) }];
    let (mut host, actions) = boot(SigningRecord { height: 5, entries });
    let recorded =
        |action: &Action| matches!(action, Action::StopSigning { reason: RetireReason::Recorded });
    assert!(has(&actions, recorded));
    let actions = host.handle(Event::TransactionsPending(true), NOW_MS);
    assert!(!has_begun(&actions) && !host.status().votes);
}

#[test]
fn an_older_database_signs_nothing_before_the_height_of_its_record() {
    let (mut host, _) = boot(SigningRecord { height: 9, entries: Vec::new() });
    let actions = host.handle(Event::TransactionsPending(true), NOW_MS);
    assert!(!has_begun(&actions), "the record of height 9 must stay");
    let actions = host.handle(proposal(0, 0, None, block(0, NOW_MS)), NOW_MS);
    let actions = host.handle(valid(requests(&actions)[0]), NOW_MS);
    assert!(
        votes(&actions).is_empty()
            && !has(&actions, |action| { matches!(action, Action::Append(_)) })
    );
}

/// What a first life appended up to our prevote, given back to a second.
#[test]
fn a_restart_repeats_the_recorded_vote_and_signs_no_other() {
    let mut host = running();
    let fresh = block(0, NOW_MS);
    let actions = host.handle(proposal(0, 0, None, fresh.clone()), NOW_MS);
    let actions = host.handle(valid(requests(&actions)[0]), NOW_MS);
    let entries = appended(actions);
    assert_eq!(entries.len(), 2, "the proposal and our prevote");
    let (mut host, actions) = boot(SigningRecord { height: 5, entries });
    assert_eq!(votes(&actions), [(v1::VoteType::Prevote, 0, id(&fresh).to_vec())]);
    assert!(!has(&actions, |action| matches!(action, Action::Append(_) | Action::ResetWal { .. })));
    // Another block of the same round moves it no more.
    let other = block(0, NOW_MS + 1);
    let actions = host.handle(proposal(0, 0, None, other), NOW_MS);
    let actions = host.handle(valid(requests(&actions)[0]), NOW_MS);
    assert!(votes(&actions).is_empty());
}

fn appended(actions: Vec<Action>) -> Vec<v1::WalEntry> {
    let entry = |action: Action| match action {
        Action::Append(entry) => Some(entry),
        _ => None,
    };
    actions.into_iter().filter_map(entry).collect()
}

/// A record in which we prevoted a block after a timeout that makes everybody prevote nil is no record of a life that was.
#[test]
fn a_record_whose_replay_would_sign_otherwise_stops_the_node_for_a_person() {
    let mut host = held();
    let begun = host.handle(Event::TransactionsPending(true), NOW_MS);
    let timeout = appended(host.handle(Event::TimerFired(timer(&begun, 1_000)), NOW_MS));
    let mut host = running();
    let actions = host.handle(proposal(0, 0, None, block(0, NOW_MS)), NOW_MS);
    let voted = appended(host.handle(valid(requests(&actions)[0]), NOW_MS));
    let entries = vec![timeout[0].clone(), voted[1].clone()];
    assert!(matches!(entries[0].entry, Some(Entry::Timeout(_))));
    assert!(matches!(entries[1].entry, Some(Entry::Vote(_))));
    let halts = |mutants: Vec<Mutant>| {
        let config = HostConfig { mutants, ..config() };
        let record = SigningRecord { height: 5, entries: entries.clone() };
        let (_, actions) = Host::new(config, &start(5), record, NOW_MS).unwrap();
        assert_eq!(votes(&actions), [], "nothing is released");
        let Some(Action::Halt { reason }) = actions.last().cloned() else { panic!("{actions:?}") };
        assert!(!reason.may_restart());
        reason
    };
    let diverged = HaltReason::ReplayDiverged { kind: "prevote".to_owned(), height: 5, round: 0 };
    assert_eq!(halts(Vec::new()), diverged);
    // The guard is behind the core's own check, for the day on which that errs.
    let refused = HaltReason::SignedOtherwise { height: 5, round: 0 };
    assert_eq!(halts(vec![Mutant::NoReplayIndex]), refused);
}

#[test]
fn a_block_that_was_built_too_late_is_not_proposed() {
    let us_first = HeightStart {
        proposer_order: [US, 0, 1, 2].map(|index| ValidatorKey(key(index))).to_vec(),
        ..start(5)
    };
    let built = |round: u32| Event::Built { height: 5, round, block: Arc::new(block(US, NOW_MS)) };
    let record = || SigningRecord { height: 4, entries: Vec::new() };
    let says = |actions: &[Action]| {
        has(actions, |action| matches!(action, Action::Append(_) | Action::Broadcast(_)))
    };
    let (mut host, _) = Host::new(config(), &us_first, record(), NOW_MS).unwrap();
    let begun = host.handle(Event::TransactionsPending(true), NOW_MS);
    assert!(has(&begun, |action| matches!(action, Action::Build { height: 5, round: 0, .. })));
    assert!(!says(&host.handle(built(1), NOW_MS)), "not asked for");
    assert!(says(&host.handle(built(0), NOW_MS)), "in time");
    assert!(!says(&host.handle(built(0), NOW_MS)), "once");
    let (mut host, _) = Host::new(config(), &us_first, record(), NOW_MS).unwrap();
    let begun = host.handle(Event::TransactionsPending(true), NOW_MS);
    host.handle(Event::TimerFired(timer(&begun, 1_000)), NOW_MS);
    assert!(!says(&host.handle(built(0), NOW_MS)), "we have prevoted nil");
}

#[test]
fn a_record_entry_of_another_height_is_refused() {
    let vote = signed_vote(0, v1::VoteType::Prevote, 5, 0, None);
    let entries = vec![v1::WalEntry { height: 4, entry: Some(Entry::Vote(vote)) }];
    let record = SigningRecord { height: 5, entries };
    let error = Host::new(config(), &start(5), record, NOW_MS).err();
    assert!(matches!(error, Some(StartError::RecordEntry { index: 0, .. })));
}

// ------------------------------------------------------------------ sync

/// Asked for height 5 and not begun.
fn asking() -> Host {
    let mut host = held();
    host.handle(Event::PeerTip { peer: PEER, height: 9 }, NOW_MS);
    host
}

#[test]
fn a_certified_block_is_decided_without_votes() {
    let mut host = asking();
    let fresh = block(0, NOW_MS);
    let actions = host.handle(synced(vec![decided(fresh.clone(), &[0, 1, 2])]), NOW_MS + 500_000);
    let actions = host.handle(valid(requests(&actions)[0]), NOW_MS + 500_000);
    let Some(Action::Decide { block, certificate, .. }) = actions.last() else { panic!() };
    assert_eq!(**block, fresh);
    assert_eq!(certificate.signatures.len(), 3);
}

/// The core connects a certificate with a block only if both are of one round (`eng/consensus.rs:2025`).
#[test]
fn a_block_that_was_certified_in_a_later_round_is_decided_in_round_0() {
    let mut host = asking();
    let there = decided_in(3, block(0, NOW_MS), &[0, 1, 2]);
    let actions = host.handle(synced(vec![there]), NOW_MS);
    let actions = host.handle(valid(requests(&actions)[0]), NOW_MS);
    let Some(Action::Decide { certificate, .. }) = actions.last() else { panic!("{actions:?}") };
    assert_eq!((certificate.round, certificate.signatures.len()), (3, 3));
}

#[test]
fn a_block_without_a_quorum_is_the_peers_fault() {
    for signers in [&[0, 1][..], &[]] {
        let mut host = asking();
        let actions = host.handle(synced(vec![decided(block(0, NOW_MS), signers)]), NOW_MS);
        assert_eq!(faults(&actions), [FaultReason::NotTheCertifiedBlock { height: 5 }]);
        assert!(!has_begun(&actions));
    }
}

#[test]
fn a_block_that_is_not_the_certified_one_is_the_peers_fault() {
    let mut other = decided(block(0, NOW_MS), &[0, 1, 2]);
    other.block = Some(block(0, NOW_MS + 1));
    let actions = asking().handle(synced(vec![other]), NOW_MS);
    assert_eq!(faults(&actions), [FaultReason::NotTheCertifiedBlock { height: 5 }]);
}

#[test]
fn changed_parts_beside_a_certified_header_are_the_peers_fault_and_another_is_asked() {
    let mut host = asking();
    let second = Peer([98; 32]);
    host.handle(Event::PeerTip { peer: second, height: 9 }, NOW_MS);
    // Asked for the rest of the range as soon as this one has answered.
    host.handle(tip(97, 9), NOW_MS);
    let actions = host.handle(synced(vec![decided(block(0, NOW_MS), &[0, 1, 2])]), NOW_MS);
    let request = requests(&actions)[0];
    let actions = host.handle(Event::Validated { request, verdict: Verdict::Altered }, NOW_MS);
    assert_eq!(faults(&actions), [FaultReason::NotTheCertifiedBlock { height: 5 }]);
    assert!(has(&actions, |action| {
        matches!(action, Action::RequestSync { peer, .. } if *peer == second)
    }));
}

#[test]
fn a_certified_block_that_is_invalid_here_stops_the_node() {
    let mut host = asking();
    let actions = host.handle(synced(vec![decided(block(0, NOW_MS), &[0, 1, 2])]), NOW_MS);
    let request = requests(&actions)[0];
    let verdict = Verdict::Invalid { reason: "another root".to_owned() };
    let actions = host.handle(Event::Validated { request, verdict }, NOW_MS);
    let halted = |action: &Action| {
        matches!(action, Action::Halt { reason: HaltReason::CertifiedBlockInvalid { .. } })
    };
    assert!(has(&actions, halted));
    assert!(host.handle(prevote(0, 0, None), NOW_MS).is_empty(), "it does nothing any more");
}

#[test]
fn a_silent_peer_is_not_waited_for() {
    let mut host = held();
    let actions = host.handle(Event::PeerTip { peer: PEER, height: 9 }, NOW_MS);
    let second = Peer([98; 32]);
    host.handle(Event::PeerTip { peer: second, height: 9 }, NOW_MS);
    let actions = host.handle(Event::TimerFired(timer(&actions, 5_000)), NOW_MS + 5_000);
    assert!(has(&actions, |action| {
        matches!(action, Action::RequestSync { peer, .. } if *peer == second)
    }));
}

#[test]
fn a_peer_that_answers_with_nothing_useful_is_not_asked_again() {
    let mut older = decided(block(0, NOW_MS), &[0, 1, 2]);
    older.certificate.as_mut().unwrap().height = 4;
    for blocks in [Vec::new(), vec![older]] {
        let actions = asking().handle(synced(blocks), NOW_MS);
        assert!(!has(&actions, |action| matches!(action, Action::RequestSync { .. })));
    }
}

#[test]
fn an_answer_that_is_late_is_used_and_half_as_much_is_asked_for_next() {
    let mut host = held();
    let actions = host.handle(tip(1, 20), NOW_MS);
    assert_eq!(asked(&actions), [(peer(1), 5, 16)]);
    let actions = host.handle(Event::TimerFired(timer(&actions, 5_000)), NOW_MS + 5_000);
    assert_eq!(asked(&actions), [], "it is not asked again while its answer is on its way");
    let mut blocks: Vec<_> = (5..=12).map(unchecked).collect();
    blocks[0] = decided(block(0, NOW_MS), &[0, 1, 2]);
    let answer = Event::Synced { peer: peer(1), response: v1::SyncResponse { tip: 20, blocks } };
    let actions = host.handle(answer, NOW_MS + 9_000);
    assert_eq!(requests(&actions).len(), 1, "the block is used");
    assert_eq!(asked(&actions), [(peer(1), 13, 8)]);
    // The network's word that an answer will not come is about the older of two questions.
    let actions = host.handle(Event::TimerFired(timer(&actions, 5_000)), NOW_MS + 14_000);
    assert_eq!(asked(&actions), []);
    let actions = host.handle(Event::SyncFailed { peer: peer(1) }, NOW_MS + 20_000);
    assert_eq!(asked(&actions), [(peer(1), 13, 4)]);
}

#[test]
fn who_is_busy_is_asked_again_soon() {
    let mut host = held();
    host.handle(tip(1, 20), NOW_MS);
    host.handle(tip(2, 9), NOW_MS);
    let busy = v1::SyncResponse { tip: 20, blocks: Vec::new() };
    let actions = host.handle(Event::Synced { peer: peer(1), response: busy }, NOW_MS + 10);
    assert_eq!(asked(&actions), [(peer(2), 5, 5)], "another is asked");
    let actions = host.handle(tip(1, 20), NOW_MS + 1_010);
    assert_eq!(asked(&actions), [(peer(1), 10, 11)], "after a second, not after five");
    // Who has nothing of what it claimed is no busy one.
    let mut host = held();
    host.handle(tip(1, 20), NOW_MS);
    let nothing = v1::SyncResponse { tip: 3, blocks: Vec::new() };
    host.handle(Event::Synced { peer: peer(1), response: nothing }, NOW_MS);
    assert_eq!(asked(&host.handle(tip(1, 20), NOW_MS + 4_000)), []);
}

/// Questions among the actions: whom, from which height, how many.
fn asked(actions: &[Action]) -> Vec<(Peer, u64, u32)> {
    let asked = |action: &Action| match action {
        Action::RequestSync { peer, from_height, blocks_max } => {
            Some((*peer, *from_height, *blocks_max))
        }
        _ => None,
    };
    actions.iter().filter_map(asked).collect()
}

fn peer(number: u8) -> Peer {
    Peer([number; 32])
}

fn tip(number: u8, height: u64) -> Event {
    Event::PeerTip { peer: peer(number), height }
}

/// A block of a later height; its certificate is looked at when its turn comes.
fn unchecked(height: u64) -> v1::DecidedBlock {
    let certificate = v1::CommitCertificate { height, ..v1::CommitCertificate::default() };
    v1::DecidedBlock { block: None, certificate: Some(certificate) }
}

#[test]
fn a_node_far_behind_asks_several_peers_at_once_each_for_a_range_of_its_own() {
    let mut host = held();
    let actions: Vec<_> =
        (1..=6).flat_map(|number| host.handle(tip(number, 1_000), NOW_MS)).collect();
    let expected = [(peer(1), 5, 16), (peer(2), 21, 16), (peer(3), 37, 16), (peer(4), 53, 16)];
    assert_eq!(asked(&actions), expected, "four questions are open and no more");
    // Who answers is asked for the next range, in turn.
    let blocks = (21..37).map(unchecked).collect();
    let response = v1::SyncResponse { tip: 1_000, blocks };
    let actions = host.handle(Event::Synced { peer: peer(2), response }, NOW_MS);
    assert_eq!(asked(&actions), [(peer(5), 69, 16)]);
}

#[test]
fn a_range_that_a_peer_fails_to_give_is_asked_of_another() {
    let mut host = held();
    for number in 1..=5 {
        host.handle(tip(number, 40), NOW_MS);
    }
    let actions = host.handle(Event::SyncFailed { peer: peer(1) }, NOW_MS);
    assert_eq!(asked(&actions), [(peer(4), 5, 16)]);
    // Half an answer is an answer; the rest is asked for again.
    let response = v1::SyncResponse { tip: 40, blocks: (21..30).map(unchecked).collect() };
    let actions = host.handle(Event::Synced { peer: peer(2), response }, NOW_MS);
    assert_eq!(asked(&actions), [(peer(5), 30, 7)]);
    // Who goes away leaves its range to others.
    let actions = host.handle(Event::PeerGone { peer: peer(3) }, NOW_MS);
    assert_eq!(asked(&actions), [(peer(2), 37, 4)]);
}

#[test]
fn blocks_that_wait_are_bounded_in_number_and_bytes() {
    let mut host = held();
    let mut open: Vec<_> =
        (1..=4).flat_map(|number| asked(&host.handle(tip(number, 10_000), NOW_MS))).collect();
    // Everything but the next block comes, so nothing can be used.
    open.remove(0);
    let mut highest = 0;
    while let Some((from, first, count)) = open.pop() {
        highest = highest.max(first + u64::from(count) - 1);
        let blocks = (first..first + u64::from(count)).map(unchecked).collect();
        let response = v1::SyncResponse { tip: 10_000, blocks };
        open.extend(asked(&host.handle(Event::Synced { peer: from, response }, NOW_MS)));
    }
    assert_eq!(highest, 5 + 128 - 1);
    let small = HostConfig { sync_bytes_max: 10, ..config() };
    let record = SigningRecord { height: 4, entries: Vec::new() };
    let (mut host, _) = Host::new(small, &start(5), record, NOW_MS).unwrap();
    host.handle(tip(1, 10_000), NOW_MS);
    host.handle(tip(2, 10_000), NOW_MS);
    let blocks = (21..37).map(unchecked).collect();
    let response = v1::SyncResponse { tip: 10_000, blocks };
    assert_eq!(asked(&host.handle(Event::Synced { peer: peer(2), response }, NOW_MS)), []);
    let actions = host.handle(Event::SyncFailed { peer: peer(1) }, NOW_MS);
    assert_eq!(asked(&actions), [(peer(2), 5, 16)], "the next block is always asked for");
}

#[test]
fn a_tip_that_nothing_follows_is_believed_less_and_less() {
    let mut host = held();
    let mut now_ms = NOW_MS;
    let mut questions = 0;
    for _ in 0..1_000 {
        now_ms += 1_000;
        let actions = host.handle(tip(1, u64::MAX), now_ms);
        for (liar, ..) in asked(&actions) {
            questions += 1;
            let response = v1::SyncResponse { tip: u64::MAX, blocks: Vec::new() };
            host.handle(Event::Synced { peer: liar, response }, now_ms);
        }
    }
    assert!((10..=40).contains(&questions), "{questions} in 1,000 seconds");
    // A clock that was set back ten years does not silence anybody for ten years.
    let before_ms = now_ms - 10 * 365 * 86_400_000;
    assert_eq!(asked(&host.handle(tip(1, 1_000), before_ms)).len(), 1);
}

#[test]
fn what_a_liar_claims_does_not_keep_us_from_saying_where_we_are() {
    let mut host = running();
    host.handle(tip(1, u64::MAX), NOW_MS);
    let fresh = block(0, NOW_MS);
    let header = id(&fresh);
    let actions = host.handle(proposal(0, 0, None, fresh), NOW_MS);
    host.handle(valid(requests(&actions)[0]), NOW_MS);
    for by in 0..3 {
        host.handle(precommit(by, 0, Some(header)), NOW_MS);
    }
    let next = HeightStart { parent_hash: header, parent_time_ms: NOW_MS, ..start(6) };
    let actions = host.handle(Event::Committed { next }, NOW_MS);
    assert!(has(&actions, |action| matches!(action, Action::AnnounceTip { height: 5 })));
}

#[test]
fn figures_that_a_block_changed_are_those_of_the_next_height() {
    let mut host = running();
    let fresh = block(0, NOW_MS);
    let header = id(&fresh);
    let actions = host.handle(proposal(0, 0, None, fresh), NOW_MS);
    host.handle(valid(requests(&actions)[0]), NOW_MS);
    for by in 0..3 {
        host.handle(precommit(by, 0, Some(header)), NOW_MS);
    }
    host.set_figures(Figures { heartbeat_ms: 7_000, clock_behind_ms: 50, clock_ahead_ms: 50 });
    let next = HeightStart { parent_hash: header, parent_time_ms: NOW_MS, ..start(6) };
    let actions = host.handle(Event::Committed { next }, NOW_MS);
    timer(&actions, 7_000);
}

#[test]
fn an_answer_that_was_not_asked_for_is_not_used() {
    let actions = running().handle(synced(vec![decided(block(0, NOW_MS), &[0, 1, 2])]), NOW_MS);
    assert!(actions.is_empty());
}

// ------------------------------------------------------------- the shell

#[test]
fn the_next_height_is_the_decided_one_plus_one() {
    let actions = running().handle(Event::Committed { next: start(6) }, NOW_MS);
    assert!(has(&actions, |action| matches!(
        action,
        Action::Halt { reason: HaltReason::WrongNextHeight { given: 6, expected: 5 } }
    )));
}

#[test]
fn a_proposer_order_names_every_validator_once() {
    for order in [vec![0, 1, 2], vec![0, 1, 2, 2], vec![0, 1, 2, 3, 3]] {
        let proposer_order = order.into_iter().map(|index| ValidatorKey(key(index))).collect();
        let start = HeightStart { proposer_order, ..start(5) };
        let error = Host::new(config(), &start, SigningRecord::default(), NOW_MS).err();
        assert_eq!(error, Some(StartError::ProposerOrder { height: 5 }));
    }
}

// --------------------------------------------------------------- passing on

fn vouched(actions: &[Action]) -> bool {
    has(actions, |action| matches!(action, Action::Vouch))
}

fn polka(round: u32, signers: &[usize], header: Hash) -> Message {
    let signature = |by: &usize| v1::ValidatorSignature {
        validator: key(*by).to_vec(),
        signature: signed_vote(*by, v1::VoteType::Prevote, 5, round, Some(header)).signature,
    };
    Message::PolkaCertificate(v1::PolkaCertificate {
        height: 5,
        round,
        header_hash: header.to_vec(),
        signatures: signers.iter().map(signature).collect(),
    })
}

fn skip(round: u32, signers: &[usize]) -> Message {
    let vote = |by: &usize| signed_vote(*by, v1::VoteType::Prevote, 5, round, None);
    let votes = signers.iter().map(vote).collect();
    Message::RoundCertificate(v1::RoundCertificate { height: 5, round, skip: true, votes })
}

#[test]
fn only_what_was_verified_to_the_end_is_vouched_for() {
    let header = Hash([7; 32]);
    let says = |host: &mut Host, event: Event| vouched(&host.handle(event, NOW_MS));
    // Nobody looks at certificates while the height waits, so nobody is blamed and nothing is passed on.
    for bad in [polka(0, &[0], header), skip(1, &[0]), polka(0, &[0, 1, 2], header)] {
        assert!(host_is_silent(&held().handle(message(bad), NOW_MS)));
    }
    assert!(says(&mut running(), message(polka(0, &[0, 1, 2], header))));
    assert!(!says(&mut running(), message(polka(0, &[0], header))));
    assert!(says(&mut running(), message(skip(1, &[0, 1]))));
    // Certificates of rounds that are over are of no use, and nobody looks at them.
    let mut later = running();
    assert!(says(&mut later, message(skip(4, &[0, 1]))));
    assert!(!says(&mut later, message(skip(2, &[0]))));
    // Proposals are the proposer's, also before the height begins.
    for mut host in [held(), running()] {
        assert!(says(&mut host, proposal(0, 0, None, block(0, NOW_MS))));
        let actions = host.handle(proposal(1, 0, None, block(1, NOW_MS)), NOW_MS);
        assert_eq!(faults(&actions), [FaultReason::NotTheProposer { height: 5, round: 0 }]);
        assert!(!vouched(&actions));
        assert!(says(&mut host, prevote(1, 0, None)));
        assert!(!says(&mut host, prevote(1, 1_000, None)), "of use to nobody");
    }
    // Of the next height the set is known and the order is not.
    let next = |by| message(Message::Vote(signed_vote(by, v1::VoteType::Prevote, 6, 0, None)));
    assert!(says(&mut held(), next(0)));
    let mut early = running();
    let statement = v1::ProposalStatement {
        height: 6,
        header_hash: id(&block(0, NOW_MS)).to_vec(),
        ..v1::ProposalStatement::default()
    };
    let signature = sign(0, &proposal_string(&GENESIS, &statement));
    let ahead = v1::SignedProposal {
        statement: Some(statement),
        validator: key(0).to_vec(),
        signature,
        block: Some(block(0, NOW_MS)),
    };
    assert!(host_is_silent(&early.handle(message(Message::Proposal(ahead)), NOW_MS)));
    let forged = v1::SignedVote {
        signature: vec![1; 64],
        ..signed_vote(0, v1::VoteType::Prevote, 5, 0, None)
    };
    assert!(!says(&mut held(), message(Message::Vote(forged))));
}

/// Neither passed on nor blamed.
fn host_is_silent(actions: &[Action]) -> bool {
    !vouched(actions) && faults(actions).is_empty()
}

#[test]
fn what_one_host_vouches_for_none_finds_wrong() {
    let header = Hash([7; 32]);
    let rounds = 0..6_u32;
    let lies: Vec<Event> = rounds
        .flat_map(|round| {
            let by = usize::try_from(round % 4).unwrap();
            let mut wrong_set = signed_vote(by, v1::VoteType::Precommit, 6, round, None);
            wrong_set.validator = vec![200; 32];
            [
                message(polka(round, &[by], header)),
                message(polka(round, &[by, by, by], header)),
                message(polka(round, &[0, 1, 2], header)),
                message(skip(round, &[by])),
                message(skip(round, &[0, 1])),
                proposal(by, round, None, block(by, NOW_MS)),
                proposal((by + 1) % 4, round, None, block(by, NOW_MS)),
                prevote(by, round, Some(header)),
                message(Message::Vote(wrong_set)),
            ]
        })
        .collect();
    for mut first in [held(), running()] {
        let passed: Vec<Event> = lies
            .iter()
            .filter(|lie| vouched(&first.handle(Event::clone(lie), NOW_MS)))
            .cloned()
            .collect();
        assert!(!passed.is_empty());
        for mut second in [held(), running()] {
            for event in &passed {
                assert_eq!(faults(&second.handle(event.clone(), NOW_MS)), []);
            }
            assert_eq!(faults(&second.handle(Event::TransactionsPending(true), NOW_MS)), []);
        }
    }
}

#[test]
fn copies_of_one_statement_are_vouched_for_once_in_a_while() {
    let mut host = running();
    let copies = |host: &mut Host, event: &Event, now_ms: u64| {
        (0..1_000).filter(|_| vouched(&host.handle(event.clone(), now_ms))).count()
    };
    let vote = prevote(0, 0, None);
    assert_eq!(copies(&mut host, &vote, NOW_MS), 1);
    assert_eq!(copies(&mut host, &vote, NOW_MS + 1_000), 0);
    // It is repeated every five seconds, and then goes on to those that missed it.
    assert_eq!(copies(&mut host, &vote, NOW_MS + 4_900), 1);
    // The parts beside a proposal's header may have been changed by whoever handed it over.
    assert_eq!(copies(&mut host, &proposal(0, 0, None, block(0, NOW_MS)), NOW_MS), 3);
    assert_eq!(copies(&mut host, &message(skip(1, &[0, 1])), NOW_MS), 1);
}

// -------------------------------------------------------- malformed input

#[test]
fn what_does_not_have_the_form_of_a_message_is_the_peers_fault() {
    let is_malformed = |event: Event| {
        let actions = running().handle(event, NOW_MS);
        matches!(faults(&actions)[..], [FaultReason::Malformed { .. }])
    };
    let vote = signed_vote(0, v1::VoteType::Prevote, 5, 0, None);
    let changed = |change: &dyn Fn(&mut v1::SignedVote)| {
        let mut vote = vote.clone();
        change(&mut vote);
        is_malformed(message(Message::Vote(vote)))
    };
    assert!(!changed(&|_| ()));
    assert!(changed(&|vote| vote.validator.truncate(31)));
    assert!(changed(&|vote| vote.signature.push(0)));
    assert!(changed(&|vote| vote.statement = None));
    assert!(changed(&|vote| vote.r#type = 0));
    assert!(changed(&|vote| vote.r#type = 77));
    assert!(changed(&|vote| vote.statement.as_mut().unwrap().header_hash = vec![1; 31]));
    assert!(changed(&|vote| vote.statement.as_mut().unwrap().round = u32::MAX));
    let no_block = v1::SignedProposal {
        statement: Some(v1::ProposalStatement::default()),
        ..v1::SignedProposal::default()
    };
    assert!(is_malformed(message(Message::Proposal(no_block))));
    assert!(is_malformed(proposal(1, 1, Some(1), block(1, NOW_MS))), "locked in its own round");
    let many = v1::PolkaCertificate {
        height: 5,
        header_hash: vec![1; 32],
        signatures: vec![v1::ValidatorSignature::default(); 1_000],
        ..v1::PolkaCertificate::default()
    };
    assert!(is_malformed(message(Message::PolkaCertificate(many))));
    let foreign = v1::RoundCertificate {
        height: 5,
        round: 1,
        skip: true,
        votes: vec![signed_vote(0, v1::VoteType::Prevote, 5, 2, None)],
    };
    assert!(is_malformed(message(Message::RoundCertificate(foreign))));
    let empty = Event::Message { peer: PEER, message: v1::ConsensusMessage { message: None } };
    assert!(is_malformed(empty));
}

#[test]
fn a_round_certificate_needs_a_correct_signer_and_no_signer_twice() {
    let refused = |votes: Vec<v1::SignedVote>, skip: bool| {
        let certificate = v1::RoundCertificate { height: 5, round: 1, skip, votes };
        let actions = running().handle(message(Message::RoundCertificate(certificate)), NOW_MS);
        matches!(faults(&actions)[..], [FaultReason::BadCertificate { height: 5, round: 1 }])
    };
    let vote = |by| signed_vote(by, v1::VoteType::Prevote, 5, 1, None);
    assert!(!refused(vec![vote(0), vote(1)], true));
    assert!(refused(vec![vote(0)], true), "one may be a liar");
    assert!(refused(vec![vote(0), vote(0)], true), "twice the same");
    assert!(refused(vec![vote(0), vote(1), vote(2)], false), "prevotes among precommits");
}

#[test]
fn a_host_moves_between_threads() {
    fn sendable<T: Send>(_: &T) {}
    sendable(&held());
}

// -------------------------------------------- a key without its past, and after it

/// The host of a validator whose record is of `height`, with this certificate in its newest block.
fn boot_beside(height: u64, decided: v1::DecidedBlock) -> Vec<Action> {
    let mut config = config();
    config.recent_certificates = vec![decided.certificate.unwrap()];
    let record = SigningRecord { height, entries: Vec::new() };
    Host::new(config, &start(6), record, NOW_MS).unwrap().1
}

#[test]
fn an_older_copy_of_the_record_is_noticed_before_anything_is_signed() {
    let ours = decided(block(0, NOW_MS), &[0, 1, US]);
    let actions = boot_beside(3, ours.clone());
    let older = |action: &Action| {
        matches!(action, Action::StopSigning { reason: RetireReason::OlderRecord { height: 5 } })
    };
    assert!(has(&actions, older));
    let append = actions.iter().position(|action| {
        matches!(
            action,
            Action::Append(v1::WalEntry { height: 3, entry: Some(Entry::KeyRetired(_)) })
        )
    });
    assert!(matches!(actions[append.unwrap() + 1], Action::Sync));
    // A block that others decided says nothing of ours, and a record that has gone on knows better.
    assert!(!has(&boot_beside(3, decided(block(0, NOW_MS), &[0, 1, 2])), older));
    assert!(!has(&boot_beside(6, ours.clone()), older));
    // A forged signature retires nobody.
    let mut forged = ours;
    forged.certificate.as_mut().unwrap().signatures[2].signature[0] ^= 1;
    assert!(!has(&boot_beside(3, forged), older));
}

#[test]
fn a_key_without_its_record_signs_nothing() {
    let (mut host, actions) = boot(SigningRecord::missing());
    let missing = |action: &Action| {
        matches!(action, Action::StopSigning { reason: RetireReason::RecordMissing })
    };
    assert!(has(&actions, missing));
    let mut actions = host.handle(Event::TransactionsPending(true), NOW_MS);
    let proposed = host.handle(proposal(0, 0, None, block(0, NOW_MS)), NOW_MS);
    actions.extend(host.handle(valid(requests(&proposed)[0]), NOW_MS));
    // Nor can a peer's proof be written to a record that is not there.
    actions.extend(host.handle(prevote(US, 3, None), NOW_MS));
    assert!(votes(&actions).is_empty());
    assert!(!has(&actions, |action| {
        matches!(action, Action::Append(_) | Action::ResetWal { .. } | Action::Sync)
    }));
}

#[test]
fn a_key_retired_before_its_first_height_begins_a_record_to_say_so() {
    let mut host = boot(SigningRecord::default()).0;
    let actions = host.handle(prevote(US, 3, None), NOW_MS);
    let reset = actions.iter().position(|action| matches!(action, Action::ResetWal { height: 5 }));
    let append = actions.iter().position(|action| {
        matches!(
            action,
            Action::Append(v1::WalEntry { height: 5, entry: Some(Entry::KeyRetired(_)) })
        )
    });
    assert!(reset.unwrap() < append.unwrap());
    assert!(matches!(actions[append.unwrap() + 1], Action::Sync));
}

fn without_us() -> v1::ValidatorSet {
    let mut set = set();
    set.validators.remove(US);
    set
}

/// Boots at height 6 with our key in set(6), in set(7), as said, and a record of `height`.
fn boot_in(now: bool, next: bool, height: u64) -> (Host, Vec<Action>) {
    let pick = |seated: bool| if seated { set() } else { without_us() };
    let validators = pick(now);
    let count = validators.validators.len();
    let start = HeightStart {
        validators,
        next_validators: pick(next),
        proposer_order: (0..count).map(|index| ValidatorKey(key(index))).collect(),
        ..start(6)
    };
    let record = SigningRecord { height, entries: Vec::new() };
    Host::new(config(), &start, record, NOW_MS).unwrap()
}

fn destroys(actions: &[Action]) -> bool {
    has(actions, |action| matches!(action, Action::DestroyKey { last_height: 5 }))
}

#[test]
fn a_key_is_destroyed_after_its_last_height_and_says_so_first() {
    let (host, actions) = boot_in(false, false, 5);
    assert!(destroys(&actions));
    let append = actions.iter().position(|action| {
        matches!(action, Action::Append(v1::WalEntry { entry: Some(Entry::KeyRetired(_)), .. }))
    });
    let destroy = actions.iter().position(|action| matches!(action, Action::DestroyKey { .. }));
    assert!(matches!(actions[append.unwrap() + 1], Action::Sync));
    assert!(append.unwrap() < destroy.unwrap());
    assert!(host.status().retired);
    // This was planned; nobody is to be alarmed.
    let alarmed = |action: &Action| matches!(action, Action::StopSigning { .. });
    assert!(!has(&actions, alarmed));
    // Nor when the process ended between the two.
    let retired = Entry::KeyRetired(v1::KeyRetired { height: 5, round: 0 });
    let entries = vec![v1::WalEntry { height: 5, entry: Some(retired) }];
    let unseated = HeightStart {
        validators: without_us(),
        next_validators: without_us(),
        proposer_order: (0..3).map(|index| ValidatorKey(key(index))).collect(),
        ..start(7)
    };
    let record = SigningRecord { height: 5, entries };
    let (_, actions) = Host::new(config(), &unseated, record, NOW_MS).unwrap();
    assert!(destroys(&actions) && !has(&actions, alarmed));
}

#[test]
fn a_key_that_votes_or_will_vote_is_not_destroyed() {
    assert!(!destroys(&boot_in(true, true, 5).1));
    assert!(!destroys(&boot_in(true, false, 5).1), "its last height is still to come");
    assert!(!destroys(&boot_in(false, true, 5).1));
    // No set has held it yet: it waits for its join, and its record was never begun.
    let (_, actions) = boot_in(false, false, 0);
    assert!(!has(&actions, |action| matches!(action, Action::DestroyKey { .. })));
    // The database is older than the record: the height at which the key is seated is still to be fetched.
    let (_, actions) = boot_in(false, false, 9);
    assert!(!has(&actions, |action| matches!(action, Action::DestroyKey { .. })));
}

/// Height 5, with this set after it, decided with our vote, then a next height with these sets.
fn after_height_five(
    validators: v1::ValidatorSet,
    next_validators: v1::ValidatorSet,
) -> (Host, Vec<Action>) {
    let start_five = HeightStart { next_validators: validators.clone(), ..start(5) };
    let record = SigningRecord { height: 4, entries: Vec::new() };
    let mut host = Host::new(config(), &start_five, record, NOW_MS).unwrap().0;
    host.handle(Event::TransactionsPending(true), NOW_MS);
    let fresh = block(0, NOW_MS);
    let header = id(&fresh);
    let actions = host.handle(proposal(0, 0, None, fresh), NOW_MS);
    host.handle(valid(requests(&actions)[0]), NOW_MS);
    for by in 0..3 {
        host.handle(precommit(by, 0, Some(header)), NOW_MS);
    }
    let count = validators.validators.len();
    let next = HeightStart {
        parent_hash: header,
        parent_time_ms: NOW_MS,
        validators,
        next_validators,
        proposer_order: (0..count).map(|index| ValidatorKey(key(index))).collect(),
        ..start(6)
    };
    let actions = host.handle(Event::Committed { next }, NOW_MS);
    (host, actions)
}

#[test]
fn a_validator_that_loses_its_seat_follows_without_voting() {
    let (mut host, actions) = after_height_five(without_us(), without_us());
    assert!(destroys(&actions));
    let actions = host.handle(Event::TransactionsPending(true), NOW_MS);
    assert!(!has_begun(&actions) && !host.status().votes);
    // The votes of who is of the set no more count for nothing, from this height on and not before.
    let (mut host, _) = after_height_five(without_us(), without_us());
    let vote = signed_vote(US, v1::VoteType::Prevote, 6, 0, None);
    let actions = host.handle(message(Message::Vote(vote)), NOW_MS);
    assert_eq!(faults(&actions), [FaultReason::BadSignature { height: 6, round: 0 }]);
}

#[test]
fn a_set_that_was_not_announced_stops_the_node() {
    let mut host = running();
    decide_five(&mut host);
    let next = HeightStart {
        validators: without_us(),
        proposer_order: (0..3).map(|index| ValidatorKey(key(index))).collect(),
        ..start(6)
    };
    let actions = host.handle(Event::Committed { next }, NOW_MS);
    let bad =
        |action: &Action| matches!(action, Action::Halt { reason: HaltReason::BadStart { .. } });
    assert!(has(&actions, bad));
}

#[test]
fn a_node_that_becomes_a_validator_votes_with_a_record_begun_for_that_height() {
    let (mut host, _) = boot_in(false, true, 0);
    let actions = host.handle(Event::TransactionsPending(true), NOW_MS);
    assert!(!has_begun(&actions), "of set(6) it is not yet");
    // Height 6 is decided without it.
    let fresh = {
        let mut block = block(0, NOW_MS);
        block.header.as_mut().unwrap().height = 6;
        block
    };
    let header = id(&fresh);
    let signatures = (0..3).map(|by| v1::CommitSignature {
        validator: u32::try_from(by).unwrap(),
        signature: signed_vote(by, v1::VoteType::Precommit, 6, 0, Some(header)).signature,
    });
    let certificate = v1::CommitCertificate {
        height: 6,
        round: 0,
        header_hash: header.to_vec(),
        signatures: signatures.collect(),
    };
    host.handle(Event::PeerTip { peer: PEER, height: 9 }, NOW_MS);
    let decided = v1::DecidedBlock { block: Some(fresh), certificate: Some(certificate) };
    let actions = host.handle(synced(vec![decided]), NOW_MS);
    host.handle(valid(requests(&actions)[0]), NOW_MS);
    let next = HeightStart { parent_hash: header, parent_time_ms: NOW_MS, ..start(7) };
    let actions = host.handle(Event::Committed { next }, NOW_MS);
    assert!(has(&actions, |action| matches!(action, Action::ResetWal { height: 7 })));
    assert!(host.status().votes);
}

// ---------------------------------------------------------------- evidence

fn evidence(actions: &[Action]) -> Vec<v1::Evidence> {
    let evidence = |action: &Action| match action {
        Action::Decide { evidence, .. } => Some(evidence.clone()),
        _ => None,
    };
    actions.iter().find_map(evidence).unwrap()
}

/// Our host decides height 5 at round 0; what it has as evidence then.
fn decide_five(host: &mut Host) -> Vec<v1::Evidence> {
    let fresh = block(0, NOW_MS);
    let header = id(&fresh);
    let mut actions = host.handle(proposal(0, 0, None, fresh), NOW_MS);
    let request = *requests(&actions).last().unwrap();
    actions = host.handle(valid(request), NOW_MS);
    for by in 0..3 {
        actions.extend(host.handle(precommit(by, 0, Some(header)), NOW_MS));
    }
    evidence(&actions)
}

#[test]
fn what_the_core_never_sees_is_evidence_all_the_same() {
    let mut host = running();
    // A second proposal whose block is invalid.
    let spoilt = block(0, NOW_MS + 1);
    let actions = host.handle(proposal(0, 0, None, spoilt), NOW_MS);
    let verdict = Verdict::Invalid { reason: "a rule".to_owned() };
    host.handle(Event::Validated { request: requests(&actions)[0], verdict }, NOW_MS);
    // Two votes of a height that has not begun.
    for header in [None, Some(Hash([8; 32]))] {
        let vote = signed_vote(1, v1::VoteType::Precommit, 6, 0, header);
        host.handle(message(Message::Vote(vote)), NOW_MS);
    }
    // Ten double votes of one validator are three pieces.
    for round in 1..6 {
        for header in [None, Some(Hash([8; 32]))] {
            host.handle(prevote(2, round, header), NOW_MS);
        }
    }
    let found = decide_five(&mut host);
    let offences: Vec<_> = found
        .iter()
        .map(|one| verify_evidence_with(&KeyedHash, &GENESIS, &set(), one).unwrap())
        .map(|offence| (offence.validator.0[0], offence.height, offence.kind))
        .collect();
    assert!(offences.contains(&(1, 5, OffenceKind::Proposals)));
    assert!(offences.contains(&(2, 6, OffenceKind::Precommits)));
    assert_eq!(offences.iter().filter(|offence| offence.0 == 3).count(), 3);
    assert_eq!(offences.len(), 5);
}

#[test]
fn what_is_seen_after_the_decision_goes_with_the_next() {
    let mut host = running();
    assert!(decide_five(&mut host).is_empty());
    // Everybody but our disk is at the next height.
    host.handle(precommit(1, 0, None), NOW_MS);
    let next = HeightStart { parent_time_ms: NOW_MS - 1, ..start(6) };
    host.handle(Event::Committed { next }, NOW_MS);
    host.handle(Event::TransactionsPending(true), NOW_MS);
    let mut fresh = block(0, NOW_MS);
    fresh.header.as_mut().unwrap().height = 6;
    let header = id(&fresh);
    let statement =
        v1::ProposalStatement { height: 6, round: 0, header_hash: header.to_vec(), pol_round: 0 };
    let signature = sign(0, &proposal_string(&GENESIS, &statement));
    let actions = host.handle(
        message(Message::Proposal(v1::SignedProposal {
            statement: Some(statement),
            validator: key(0).to_vec(),
            signature,
            block: Some(fresh),
        })),
        NOW_MS,
    );
    let mut actions = host.handle(valid(requests(&actions)[0]), NOW_MS);
    for by in 0..3 {
        let vote = signed_vote(by, v1::VoteType::Precommit, 6, 0, Some(header));
        actions.extend(host.handle(message(Message::Vote(vote)), NOW_MS));
    }
    assert_eq!(evidence(&actions).len(), 1);
}

#[test]
fn slander_is_no_evidence() {
    let pair = |first: v1::SignedVote, second: v1::SignedVote| v1::Evidence {
        evidence: Some(v1::evidence::Evidence::Votes(v1::VotePair {
            first: Some(first),
            second: Some(second),
        })),
    };
    let vote = |by, round, header| signed_vote(by, v1::VoteType::Prevote, 5, round, header);
    let other = Some(Hash([8; 32]));
    let verify =
        |evidence: &v1::Evidence| verify_evidence_with(&KeyedHash, &GENESIS, &set(), evidence);
    let good = pair(vote(0, 0, None), vote(0, 0, other));
    assert_eq!(verify(&good).unwrap().kind, OffenceKind::Prevotes);
    let no = |evidence: v1::Evidence| verify(&evidence).unwrap_err();
    assert_eq!(no(pair(vote(0, 0, None), vote(0, 0, None))), EvidenceError::NoDifference);
    assert_eq!(no(pair(vote(0, 0, None), vote(0, 1, other))), EvidenceError::NotOneStep);
    assert_eq!(no(pair(vote(0, 0, None), vote(1, 0, other))), EvidenceError::NotOneStep);
    let stranger = pair(vote(7, 0, None), vote(7, 0, other));
    assert_eq!(no(stranger), EvidenceError::NotAValidator { height: 5 });
    let mut forged = vote(0, 0, other);
    forged.signature[0] ^= 1;
    assert_eq!(no(pair(vote(0, 0, None), forged)), EvidenceError::BadSignature);
    let elsewhere = verify_evidence_with(&KeyedHash, &Hash([9; 32]), &set(), &good);
    assert_eq!(elsewhere.unwrap_err(), EvidenceError::BadSignature, "another network");
    assert!(matches!(no(v1::Evidence::default()), EvidenceError::Malformed { .. }));
}

// --------------------------------------------------- faults, clocks, signatures

#[test]
fn a_peer_that_does_wrong_again_and_again_is_to_be_disconnected() {
    let mut host = running();
    let mut forged = signed_vote(0, v1::VoteType::Prevote, 5, 3, None);
    forged.signature[0] ^= 1;
    let mut wrongs = 0;
    loop {
        let actions = host.handle(message(Message::Vote(forged.clone())), NOW_MS);
        wrongs += 1;
        if has(&actions, |action| matches!(action, Action::Disconnect { peer } if *peer == PEER)) {
            break;
        }
    }
    assert_eq!(wrongs, 5);
    assert_eq!(FaultReason::NotTheCertifiedBlock { height: 5 }.weight() * 2, FaultReason::BUDGET);
}

#[test]
fn a_ledger_ahead_of_the_clock_is_said_once_and_waited_for() {
    let early_ms = NOW_MS - 60_000;
    let mut host = held();
    let actions = host.handle(Event::TransactionsPending(true), early_ms);
    let ahead = |action: &Action| {
        matches!(action, Action::Notice(Notice::LedgerAhead { height: 5, ahead_ms: 59_000 }))
    };
    assert!(has(&actions, ahead));
    let off_clock = |action: &Action| {
        matches!(action, Action::Notice(Notice::ProposalOffClock { off_ms: 60_000, .. }))
    };
    let actions = host.handle(proposal(0, 0, None, block(0, NOW_MS)), early_ms);
    assert!(has(&actions, off_clock) && requests(&actions).is_empty());
    let actions = host.handle(proposal(0, 0, None, block(0, NOW_MS)), early_ms);
    assert!(actions.iter().all(|action| matches!(action, Action::Vouch)), "said once");
    // The clock has caught up.
    let actions = host.handle(proposal(0, 0, None, block(0, NOW_MS)), NOW_MS);
    assert_eq!(requests(&actions).len(), 1);
}

/// Counts how often a signature is really checked.
#[derive(Default)]
struct Counting(AtomicUsize);

impl SignatureScheme for Counting {
    fn verify(&self, public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        KeyedHash.verify(public_key, message, signature)
    }
}

#[test]
fn what_was_checked_on_another_thread_is_not_checked_again() {
    let scheme = Arc::new(Counting::default());
    let config = HostConfig { scheme: scheme.clone(), ..config() };
    let record = SigningRecord { height: 4, entries: Vec::new() };
    let (mut host, _) = Host::new(config, &start(5), record, NOW_MS).unwrap();
    let checker = host.checker();
    let tell = |event: Event| match event {
        Event::Message { message, .. } => message,
        _ => panic!(),
    };
    let fresh = block(0, NOW_MS);
    let messages = [
        tell(proposal(0, 0, None, fresh.clone())),
        tell(prevote(1, 0, Some(id(&fresh)))),
        tell(prevote(2, 0, None)),
    ];
    let given = messages.clone();
    let checked = std::thread::spawn(move || {
        given.iter().map(|message| checker.check(message)).sum::<usize>()
    });
    assert_eq!(checked.join().unwrap(), 3);
    assert_eq!(scheme.0.load(Ordering::Relaxed), 3);
    for message in messages {
        host.handle(Event::Message { peer: PEER, message }, NOW_MS);
    }
    assert_eq!(scheme.0.load(Ordering::Relaxed), 3);
    // A bad signature is remembered nowhere, and a stranger's is not even looked at.
    let mut forged = signed_vote(0, v1::VoteType::Prevote, 5, 0, None);
    forged.signature[0] ^= 1;
    let stranger = signed_vote(9, v1::VoteType::Prevote, 5, 0, None);
    let checker = host.checker();
    assert_eq!(checker.check(&tell(message(Message::Vote(forged.clone())))), 0);
    assert_eq!(checker.check(&tell(message(Message::Vote(stranger)))), 0);
    assert_eq!(scheme.0.load(Ordering::Relaxed), 4);
    let actions = host.handle(message(Message::Vote(forged)), NOW_MS);
    assert_eq!(faults(&actions), [FaultReason::BadSignature { height: 5, round: 0 }]);
    // The certificate of a synced block too.
    let decided = decided(block(0, NOW_MS + 1), &[0, 1, 2]);
    let response = v1::SyncResponse { tip: 5, blocks: vec![decided] };
    assert_eq!(checker.check_synced(&response), 3);
}

/// Checks cost 50 µs each, so what a liar sends must not cost more of them than it costs the liar to send.
#[test]
fn one_message_of_a_liar_costs_one_check_in_vain() {
    let scheme = Arc::new(Counting::default());
    let config = HostConfig { scheme: scheme.clone(), ..config() };
    let record = SigningRecord { height: 4, entries: Vec::new() };
    let (mut host, _) = Host::new(config, &start(5), record, NOW_MS).unwrap();
    host.handle(Event::TransactionsPending(true), NOW_MS);
    let checker = host.checker();
    let checks = || scheme.0.swap(0, Ordering::Relaxed);
    let forged = |signers: &[usize], height: u64| {
        let Message::PolkaCertificate(mut polka) = polka(0, signers, Hash([7; 32])) else {
            panic!()
        };
        polka.height = height;
        for (nth, signed) in polka.signatures.iter_mut().enumerate() {
            signed.signature[..8].copy_from_slice(&nth.to_be_bytes());
        }
        Message::PolkaCertificate(polka)
    };
    let ahead = |message: &Message| {
        let message = v1::ConsensusMessage { message: Some(message.clone()) };
        (checker.check(&message), checks())
    };
    let bad = [FaultReason::BadCertificate { height: 5, round: 0 }];
    for (signers, worth) in [([US; 100].as_slice(), 0), (&[US, 0, 1], 1), (&[0; 100], 0)] {
        let certificate = forged(signers, 5);
        assert_eq!(ahead(&certificate), (0, 1), "nothing after the first");
        assert_eq!(faults(&host.handle(message(certificate), NOW_MS)), bad);
        assert_eq!(checks(), worth);
    }
    // Of other heights than the host may use nothing is checked.
    assert_eq!(ahead(&forged(&[0, 1, 2], 6)), (0, 0));
    for (height, expected) in [(4, (0, 0)), (5, (1, 1)), (6, (1, 1)), (7, (0, 0))] {
        let vote = signed_vote(0, v1::VoteType::Prevote, height, 0, None);
        assert_eq!(ahead(&Message::Vote(vote)), expected, "height {height}");
    }
    // A liar's own signature is good, however often it repeats it.
    let again = polka(0, &[0; 100], Hash([8; 32]));
    assert_eq!(ahead(&again), (1, 1));
}
