//! Following the validator sets, and each attack on a client that does.

use crate::support::{
    GENESIS, START_MS, STEP_MS, TestChain, Validators, certify, certify_by_quorum, validators,
};
use sillok_ledger::certificate::{CertificateError, HeaderError, header_hash, validator_set_hash};
use sillok_ledger::light::{
    CLOCK_DRIFT_MS, LightError, TrustedHeader, check_descent, follow, verify_header, verify_past,
};
use sillok_ledger::proof::ProofError;
use sillok_proto::{Hash, v1};

const PERIOD_MS: u64 = 30 * 24 * 3600 * 1000;
const TIP: u64 = 20;

/// set(1..=5) are validators 1 to 4, set(6..=12) are 3 to 6, set(13..) are 5 to 9: it changes at heights 5 and 12.
fn set_at(height: u64) -> Validators {
    match height {
        0..=5 => validators(1..=4),
        6..=12 => validators(3..=6),
        _ => validators(5..=9),
    }
}

fn chain() -> TestChain {
    TestChain::new(TIP, None, set_at)
}

fn genesis() -> TrustedHeader {
    TrustedHeader::genesis(GENESIS, START_MS, set_at(1).set).unwrap()
}

/// The clock of a client that looks at height `height` when it is new.
fn at(height: u64) -> u64 {
    START_MS + height * STEP_MS + 500
}

fn follow_at(
    trusted: &TrustedHeader,
    bundle: &v1::TrustBundle,
    height: u64,
) -> Result<TrustedHeader, LightError> {
    follow(&GENESIS, trusted, bundle, at(height), PERIOD_MS)
}

fn trusted_at(height: u64) -> TrustedHeader {
    let changes: Vec<u64> = [5, 12].into_iter().filter(|change| *change < height).collect();
    follow_at(&genesis(), &chain().bundle(&[changes, vec![height]].concat()), height).unwrap()
}

/// A light block whose header was changed and then signed by a quorum of `by`.
fn forged(
    height: u64,
    by: &Validators,
    next: &Validators,
    change: impl Fn(&mut v1::Header),
) -> v1::LightBlock {
    let mut header = chain().header(height);
    header.validator_set_hash = validator_set_hash(&by.set).to_vec();
    header.next_validator_set_hash = validator_set_hash(&next.set).to_vec();
    change(&mut header);
    v1::LightBlock {
        signed_header: Some(certify_by_quorum(&header, by)),
        next_validators: Some(next.set.clone()),
    }
}

fn bundle(light_blocks: Vec<v1::LightBlock>) -> v1::TrustBundle {
    v1::TrustBundle { light_blocks }
}

#[test]
fn a12_from_genesis_alone_a_client_reaches_the_tip_over_the_changes() {
    let chain = chain();
    let trusted = follow_at(&genesis(), &chain.bundle(&[5, 12, TIP]), TIP).unwrap();
    assert_eq!(trusted.height, TIP);
    assert_eq!(trusted.header_hash, header_hash(&chain.header(TIP)));
    assert_eq!(trusted.time_ms, chain.header(TIP).time_ms);
    assert_eq!(trusted.next_validators, set_at(TIP + 1).set);
    assert_eq!(trusted.signed_header, Some(chain.signed(TIP)));
}

#[test]
fn any_height_can_be_trusted_and_extended_from() {
    let chain = chain();
    for from in 1..=TIP {
        let trusted = trusted_at(from);
        assert_eq!(trusted.next_validators, set_at(from + 1).set);
        for to in from..=TIP {
            let changes: Vec<u64> =
                [5, 12].into_iter().filter(|change| (from + 1..to).contains(change)).collect();
            let bundle = chain.bundle(&[changes, vec![to]].concat());
            assert_eq!(follow_at(&trusted, &bundle, to).unwrap(), trusted_at(to), "{from} to {to}");
        }
        // One bundle from genesis serves every client.
        assert_eq!(
            follow_at(&trusted, &chain.bundle(&[5, 12, TIP]), TIP).unwrap(),
            trusted_at(TIP)
        );
    }
}

#[test]
fn the_last_light_block_may_be_a_change_itself() {
    let trusted = follow_at(&genesis(), &chain().bundle(&[5, 12]), 12).unwrap();
    assert_eq!(trusted.next_validators, set_at(13).set);
}

#[test]
fn a_change_left_out_is_noticed() {
    let chain = chain();
    let (first, second, third) = (set_at(1).set, set_at(6).set, set_at(13).set);
    let wrong = |height, found: &v1::ValidatorSet, expected: &v1::ValidatorSet| {
        LightError::WrongValidatorSet {
            height,
            found: validator_set_hash(found),
            expected: validator_set_hash(expected),
        }
    };
    let refuse = |heights: &[u64]| follow_at(&genesis(), &chain.bundle(heights), TIP).unwrap_err();
    assert_eq!(refuse(&[TIP]), wrong(TIP, &third, &first));
    assert_eq!(refuse(&[5, TIP]), wrong(TIP, &third, &second));
    assert_eq!(refuse(&[12, TIP]), wrong(12, &second, &first));
}

#[test]
fn only_a_quorum_of_the_set_in_force_extends_trust() {
    let chain = chain();
    let light_block = |signers: &[usize]| v1::LightBlock {
        signed_header: Some(certify(&chain.header(3), &set_at(3), signers)),
        next_validators: Some(set_at(4).set),
    };
    follow_at(&genesis(), &bundle(vec![light_block(&[0, 2, 3])]), 3).unwrap();
    assert!(matches!(
        follow_at(&genesis(), &bundle(vec![light_block(&[0, 2])]), 3).unwrap_err(),
        LightError::Certificate { height: 3, source: CertificateError::NoQuorum { .. } }
    ));
    // A set of the attacker's own, named by the header as it should be.
    let own = validators(100..=103);
    let forged = forged(3, &own, &own, |_| {});
    assert!(matches!(
        follow_at(&genesis(), &bundle(vec![forged]), 3).unwrap_err(),
        LightError::WrongValidatorSet { height: 3, .. }
    ));
}

#[test]
fn the_next_set_is_the_one_that_the_header_names() {
    let chain = chain();
    let refuse = |next: Option<v1::ValidatorSet>| {
        let light_block = v1::LightBlock { next_validators: next, ..chain.light_block(5) };
        follow_at(&genesis(), &bundle(vec![light_block]), 5).unwrap_err()
    };
    let expected = LightError::NextValidators { height: 5 };
    assert_eq!(refuse(None), expected);
    assert_eq!(refuse(Some(set_at(1).set)), expected);
    assert_eq!(refuse(Some(validators(100..=103).set)), expected);
    // A malformed set that a header names all the same is no set.
    let mut unsorted = set_at(6);
    unsorted.set.validators.reverse();
    let forged = forged(5, &set_at(5), &unsorted, |_| {});
    assert_eq!(follow_at(&genesis(), &bundle(vec![forged]), 5).unwrap_err(), expected);
}

#[test]
fn sold_keys_of_a_retired_set_are_of_no_use_once_the_client_passed_the_change() {
    let retired = set_at(5);
    let own = validators(100..=103);
    for next in [&retired, &own] {
        for height in [6, 13, TIP] {
            let forged = bundle(vec![forged(height, &retired, next, |_| {})]);
            for trusted in [trusted_at(5), trusted_at(12)] {
                let result = follow_at(&trusted, &forged, TIP);
                assert!(
                    matches!(
                        result,
                        Err(LightError::WrongValidatorSet { .. } | LightError::Rollback { .. })
                    ),
                    "{result:?}"
                );
            }
        }
    }
}

#[test]
fn sold_keys_of_a_retired_set_are_of_no_use_after_the_trusting_period() {
    // The client slept before the change and wakes up when the keys were sold: it must not be led into another past.
    let own = validators(100..=103);
    let forged = bundle(vec![forged(6, &set_at(5), &own, |_| {})]);
    let trusted = trusted_at(4);
    let wakes_at = trusted.time_ms + PERIOD_MS;
    // At the end of the period the retired set still counts: its keys must live in no disk by then.
    follow(&GENESIS, &trusted, &forged, wakes_at, PERIOD_MS).unwrap();
    let expired = LightError::Expired { age_ms: PERIOD_MS + 1, trusting_period_ms: PERIOD_MS };
    assert_eq!(follow(&GENESIS, &trusted, &forged, wakes_at + 1, PERIOD_MS).unwrap_err(), expired);
    let light_block = &forged.light_blocks[0];
    assert_eq!(
        verify_header(
            &GENESIS,
            &trusted,
            light_block.signed_header.as_ref().unwrap(),
            wakes_at + 1,
            PERIOD_MS
        )
        .unwrap_err(),
        expired
    );
    // The same for an honest bundle: the client cannot tell them apart.
    let honest = chain().bundle(&[5, 12, TIP]);
    assert_eq!(follow(&GENESIS, &trusted, &honest, wakes_at + 1, PERIOD_MS).unwrap_err(), expired);
}

#[test]
fn another_past_signed_by_a_retired_set_is_a_fork_at_a_height_the_client_knows() {
    // The client trusts height 5, the change. The retired set signs another height 5 without the change.
    let trusted = trusted_at(5);
    let retired = set_at(5);
    let forged = bundle(vec![forged(5, &retired, &retired, |_| {})]);
    let Err(LightError::Fork(fork)) = follow_at(&trusted, &forged, TIP) else { panic!("no fork") };
    assert_eq!(fork.height, 5);
    assert_eq!(fork.trusted_hash, trusted.header_hash);
    assert_eq!(fork.trusted, Some(chain().signed(5)));
    assert_eq!(Some(&fork.other), forged.light_blocks[0].signed_header.as_ref());
    assert_eq!(fork.other_hash, header_hash(fork.other.header.as_ref().unwrap()));
}

#[test]
fn two_certified_headers_at_one_height_are_a_fork_and_both_are_kept() {
    let branch = TestChain::new(TIP, Some(8), set_at);
    for height in [8, 12, 15, TIP] {
        let trusted = trusted_at(height);
        let result = verify_header(&GENESIS, &trusted, &branch.signed(height), at(TIP), PERIOD_MS);
        let Err(LightError::Fork(fork)) = result else { panic!("no fork") };
        assert_eq!(
            (fork.trusted, fork.other),
            (Some(chain().signed(height)), branch.signed(height))
        );
        let result = follow_at(&trusted, &branch.bundle(&[height]), TIP);
        assert!(matches!(result, Err(LightError::Fork(_))), "{result:?}");
    }
}

#[test]
fn a_parent_that_is_not_the_trusted_header_is_a_fork() {
    let branch = TestChain::new(TIP, Some(8), set_at);
    let result = follow_at(&trusted_at(8), &branch.bundle(&[9]), TIP);
    let Err(LightError::Fork(fork)) = result else { panic!("no fork") };
    assert_eq!((fork.height, fork.other), (8, branch.signed(9)));
    assert_eq!(fork.other_hash, header_hash(&branch.header(8)));
}

#[test]
fn a_branch_further_on_is_found_by_asking_for_the_descent() {
    let (chain, branch) = (chain(), TestChain::new(TIP, Some(8), set_at));
    let trusted = trusted_at(10);
    // Signatures alone do not tell: one set signed both.
    let misled = follow_at(&trusted, &branch.bundle(&[12, TIP]), TIP).unwrap();
    let newer = misled.signed_header.unwrap();
    let result = check_descent(&trusted, &newer, &branch.history(TIP, 10));
    let Err(LightError::Fork(fork)) = result else { panic!("no fork") };
    assert_eq!((fork.height, fork.other_hash), (10, header_hash(&branch.header(10))));
    // The path of the true chain does not help the branch.
    assert!(matches!(
        check_descent(&trusted, &newer, &chain.history(TIP, 10)).unwrap_err(),
        LightError::Ancestry(ProofError::Log(_))
    ));
    // Nor does another height's.
    assert_eq!(
        check_descent(&trusted, &newer, &branch.history(TIP, 7)).unwrap_err(),
        LightError::Ancestry(ProofError::WrongHistoryIndex { index: 7, height: 10 })
    );
    check_descent(&trusted, &chain.signed(TIP), &chain.history(TIP, 10)).unwrap();
}

#[test]
fn a21_what_a_replaced_set_certified_is_proved_by_the_history_and_by_it_alone() {
    let chain = chain();
    let trusted = trusted_at(TIP);
    for height in [0, 3, 5, 12, 19, TIP] {
        let proof = chain.history(TIP, height.min(TIP - 1));
        let verified = verify_past(&trusted, &chain.header(height), &proof).unwrap();
        assert_eq!(verified.hash(), header_hash(&chain.header(height)));
    }
    // The keys of the first set, sold with their disks, sign another past: their signatures are not even looked at.
    let mut other = chain.header(3);
    other.state_root = vec![9; 32];
    assert_eq!(
        verify_past(&trusted, &other, &chain.history(TIP, 3)).unwrap_err(),
        LightError::NotAnAncestor { height: 3 }
    );
    let branch = TestChain::new(TIP, Some(3), set_at);
    let proof = branch.history(TIP, 3);
    assert_eq!(
        verify_past(&trusted, &branch.header(3), &proof).unwrap_err(),
        LightError::NotTheTrustedHeader { height: TIP }
    );
    let mut stolen = proof;
    stolen.signed_header = Some(chain.signed(TIP));
    assert!(matches!(
        verify_past(&trusted, &branch.header(3), &stolen).unwrap_err(),
        LightError::Ancestry(ProofError::Log(_))
    ));
}

#[test]
fn an_uncertified_header_at_the_trusted_height_is_a_lie_not_a_fork() {
    let mut signed = chain().signed(8);
    signed.header.as_mut().unwrap().state_root = vec![9; 32];
    assert!(matches!(
        verify_header(&GENESIS, &trusted_at(8), &signed, at(TIP), PERIOD_MS).unwrap_err(),
        LightError::Certificate { height: 8, .. }
    ));
    let own = validators(100..=103);
    let forged = forged(8, &own, &own, |_| {});
    assert!(matches!(
        follow_at(&trusted_at(8), &bundle(vec![forged]), TIP).unwrap_err(),
        LightError::Certificate { height: 8, source: CertificateError::WrongValidatorSet { .. } }
    ));
}

#[test]
fn what_is_older_than_the_trusted_header_is_refused() {
    let chain = chain();
    let expected = LightError::Rollback { trusted: 15, offered: 14 };
    assert_eq!(follow_at(&trusted_at(15), &chain.bundle(&[5, 12, 14]), TIP).unwrap_err(), expected);
    assert_eq!(
        verify_header(&GENESIS, &trusted_at(15), &chain.signed(14), at(TIP), PERIOD_MS)
            .unwrap_err(),
        expected
    );
}

#[test]
fn the_same_header_again_is_nothing_new() {
    let trusted = trusted_at(15);
    assert_eq!(follow_at(&trusted, &chain().bundle(&[5, 12, 15]), 15).unwrap(), trusted);
    let verified =
        verify_header(&GENESIS, &trusted, &chain().signed(15), at(15), PERIOD_MS).unwrap();
    assert_eq!(verified.hash(), trusted.header_hash);
}

#[test]
fn a_header_under_the_same_set_needs_no_bundle() {
    let chain = chain();
    for height in 8..=12 {
        let verified =
            verify_header(&GENESIS, &trusted_at(8), &chain.signed(height), at(height), PERIOD_MS);
        assert_eq!(*verified.unwrap().header(), chain.header(height));
    }
    assert!(matches!(
        verify_header(&GENESIS, &trusted_at(8), &chain.signed(13), at(13), PERIOD_MS).unwrap_err(),
        LightError::WrongValidatorSet { height: 13, .. }
    ));
}

#[test]
fn ledger_time_only_advances() {
    let set = set_at(8);
    let trusted = trusted_at(7);
    for time_ms in [trusted.time_ms, trusted.time_ms - 1, 0] {
        let forged = bundle(vec![forged(8, &set, &set, |header| header.time_ms = time_ms)]);
        assert_eq!(
            follow_at(&trusted, &forged, TIP).unwrap_err(),
            LightError::TimeNotLater { height: 8, time_ms, previous_ms: trusted.time_ms }
        );
    }
}

#[test]
fn a_header_from_the_future_would_make_trust_without_end() {
    let set = set_at(8);
    let trusted = trusted_at(7);
    let dated =
        |ahead| bundle(vec![forged(8, &set, &set, |header| header.time_ms = at(7) + ahead)]);
    follow_at(&trusted, &dated(CLOCK_DRIFT_MS), 7).unwrap();
    assert_eq!(
        follow_at(&trusted, &dated(CLOCK_DRIFT_MS + 1), 7).unwrap_err(),
        LightError::FromTheFuture { height: 8, ahead_ms: CLOCK_DRIFT_MS + 1 }
    );
}

#[test]
fn a_clock_set_back_does_not_prolong_trust() {
    let trusted = trusted_at(15);
    let now_ms = trusted.time_ms - CLOCK_DRIFT_MS - 1;
    let expected = LightError::ClockBehind { ahead_ms: CLOCK_DRIFT_MS + 1 };
    let bundle = chain().bundle(&[TIP]);
    assert_eq!(follow(&GENESIS, &trusted, &bundle, now_ms, PERIOD_MS).unwrap_err(), expected);
}

#[test]
fn another_network_is_refused() {
    let other = Hash([1; 32]);
    assert_eq!(
        follow(&other, &genesis(), &chain().bundle(&[3]), at(3), PERIOD_MS).unwrap_err(),
        LightError::WrongNetwork { trusted: GENESIS, asked: other }
    );
    let elsewhere = TrustedHeader::genesis(other, START_MS, set_at(1).set).unwrap();
    assert!(matches!(
        follow(&other, &elsewhere, &chain().bundle(&[3]), at(3), PERIOD_MS).unwrap_err(),
        LightError::Certificate {
            source: CertificateError::Header(HeaderError::WrongNetwork { .. }),
            ..
        }
    ));
}

#[test]
fn a_bundle_has_one_form() {
    let chain = chain();
    let refuse = |bundle: &v1::TrustBundle| follow_at(&genesis(), bundle, TIP).unwrap_err();
    assert_eq!(refuse(&bundle(vec![])), LightError::Empty);
    assert_eq!(refuse(&bundle(vec![v1::LightBlock::default()])), LightError::NoHeader { index: 0 });
    assert_eq!(refuse(&chain.bundle(&[5, 5, TIP])), LightError::Order { index: 1 });
    assert_eq!(refuse(&chain.bundle(&[5, 12, 9])), LightError::Order { index: 2 });
    // Light blocks that change nothing only cost the client signatures.
    assert_eq!(refuse(&chain.bundle(&[3, 5, 12, TIP])), LightError::NotAChange { index: 0 });
    assert!(matches!(refuse(&chain.bundle(&[0, 5])), LightError::Certificate { height: 0, .. }));
}

#[test]
fn a_checkpoint_is_a_hash_had_out_of_band() {
    let chain = chain();
    let hash = header_hash(&chain.header(12));
    let light_block = chain.light_block(12);
    let trusted = TrustedHeader::checkpoint(GENESIS, hash, &light_block).unwrap();
    assert_eq!(follow_at(&trusted, &chain.bundle(&[TIP]), TIP).unwrap(), trusted_at(TIP));
    let refuse = |genesis, hash, light_block: &v1::LightBlock| {
        TrustedHeader::checkpoint(genesis, hash, light_block).unwrap_err()
    };
    assert!(matches!(
        refuse(GENESIS, hash, &chain.light_block(13)),
        LightError::WrongCheckpoint { .. }
    ));
    assert!(matches!(
        refuse(Hash([1; 32]), hash, &light_block),
        LightError::Header(HeaderError::WrongNetwork { .. })
    ));
    let other_set = v1::LightBlock { next_validators: Some(set_at(1).set), ..light_block };
    assert_eq!(refuse(GENESIS, hash, &other_set), LightError::NextValidators { height: 12 });
    // Its own certificate was not looked at, but a certified rival under the next set is still a fork.
    let branch = TestChain::new(TIP, Some(8), set_at);
    let trusted =
        TrustedHeader::checkpoint(GENESIS, header_hash(&chain.header(10)), &chain.light_block(10));
    let result = verify_header(&GENESIS, &trusted.unwrap(), &branch.signed(10), at(TIP), PERIOD_MS);
    assert!(matches!(result, Err(LightError::Fork(_))), "{result:?}");
}

#[test]
fn b4_no_changed_byte_of_a_bundle_leads_elsewhere() {
    let bundle = chain().bundle(&[5, 12]);
    let trusted = follow_at(&genesis(), &bundle, 12).unwrap();
    let bytes = sillok_proto::encode(&bundle);
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let Ok(forged) = sillok_proto::decode::<v1::TrustBundle>(&bytes, bytes.len()) else {
            continue;
        };
        let result = follow_at(&genesis(), &forged, 12);
        assert!(result.is_err(), "byte {at}");
    }
    assert_eq!(trusted.height, 12);
}
