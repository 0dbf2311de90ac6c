//! Does the simulation notice a host that forgets an obligation? Each mutant must be caught within its number of seeds, by
//! checkers that know nothing of mutants.

use sillok_consensus::testing::{Mutant, Scenario, Violation, run};

/// What was seen at the first seed that showed anything.
fn first_caught(mutants: &[Mutant], seeds: u64) -> Option<(u64, Violation)> {
    (0..seeds).find_map(|seed| {
        let scenario = Scenario {
            mutants: mutants.to_vec(),
            // By its effects, not by looking for it.
            check_durability: false,
            ..Scenario::swarm(seed)
        };
        run(&scenario).violations.into_iter().next().map(|violation| (seed, violation))
    })
}

fn check(mutant: Mutant, seeds: u64) {
    let caught = first_caught(&[mutant], seeds);
    assert!(caught.is_some(), "{mutant:?} was not noticed in {seeds} seeds");
}

#[test]
fn a_record_that_is_not_replayed_is_noticed() {
    check(Mutant::NoWalReplay, 30);
}

#[test]
fn a_record_that_is_not_fed_to_the_core_is_noticed() {
    check(Mutant::RecordNotFed, 30);
}

#[test]
fn publishing_before_the_barrier_is_noticed() {
    check(Mutant::PublishBeforeSync, 30);
}

#[test]
fn a_record_that_is_never_reset_is_noticed() {
    check(Mutant::WalNotReset, 30);
}

#[test]
fn no_block_sync_is_noticed() {
    check(Mutant::NoSync, 30);
}

#[test]
fn votes_that_are_never_repeated_are_noticed() {
    check(Mutant::NoRepublish, 30);
}

#[test]
fn feeding_proposals_without_a_verdict_is_noticed() {
    check(Mutant::AcceptInvalid, 30);
}

#[test]
fn unchecked_signatures_are_noticed() {
    check(Mutant::SkipSignatureCheck, 30);
}

/// With the guard a host that does not replay its record stops; without it the same host signs twice.
#[test]
fn the_sign_guard_turns_a_second_signature_into_a_stop() {
    let second = |violation: &Violation| matches!(violation, Violation::SecondSignature { .. });
    let signed_twice = |mutants: &[Mutant]| {
        (0..30).any(|seed| {
            let mutants = mutants.to_vec();
            let scenario = Scenario { mutants, ..Scenario::swarm(seed) };
            run(&scenario).violations.iter().any(second)
        })
    };
    assert!(!signed_twice(&[Mutant::RecordNotFed]));
    assert!(signed_twice(&[Mutant::RecordNotFed, Mutant::NoSignGuard]));
}

/// Timers of an earlier height cost rounds where none should be lost.
#[test]
fn timers_that_outlive_their_height_are_noticed() {
    let scenario = Scenario { heights: 200, ..Scenario::calm(1) };
    assert_eq!(run(&scenario).counts.round_max, 0);
    let outcome = run(&Scenario { mutants: vec![Mutant::StaleTimers], ..scenario });
    assert!(outcome.counts.round_max > 0 || !outcome.violations.is_empty());
}
