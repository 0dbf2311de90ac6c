//! Does the simulation notice a host that forgets an obligation? Each mutant must be caught within its number of seeds, by
//! checkers that know nothing of mutants. Where the faults of any seed do not bring a bug to light, the scenario says
//! which faults do; it still knows nothing of the mutant, and without it nothing may be found.
//!
//! Two bugs show in no run, and are here as such: without the index of its record, and without the sign guard alone, a
//! correct core signs the same again. Both are there for the day on which the core errs.

#![allow(clippy::print_stdout, reason = "figures, for who runs this with --nocapture")]

use sillok_consensus::testing::{Faults, Mutant, Scenario, Violation, run};

/// What was seen at the first seed that showed anything.
fn first_caught(
    mutants: &[Mutant],
    seeds: u64,
    scenario: impl Fn(u64) -> Scenario,
) -> Option<(u64, Violation)> {
    (0..seeds).find_map(|seed| {
        let scenario = Scenario { mutants: mutants.to_vec(), ..scenario(seed) };
        run(&scenario).violations.into_iter().next().map(|violation| (seed, violation))
    })
}

/// Faults of any kind; a missing barrier is to be noticed by its effects, not by looking for it.
fn any(seed: u64) -> Scenario {
    Scenario { check_durability: false, ..Scenario::swarm(seed) }
}

fn check_in(mutant: Mutant, seeds: u64, scenario: impl Fn(u64) -> Scenario) {
    let caught = first_caught(&[mutant], seeds, &scenario);
    let Some((seed, violation)) = caught else {
        panic!("{mutant:?} was not noticed in {seeds} seeds");
    };
    println!("{mutant:?}: seed {seed}, {violation}");
    assert_eq!(run(&scenario(seed)).violations, [], "{mutant:?}: seed {seed} fails without it");
}

fn check(mutant: Mutant, seeds: u64) {
    check_in(mutant, seeds, any);
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
    check(Mutant::AcceptInvalid, 60);
}

#[test]
fn unchecked_signatures_are_noticed() {
    check(Mutant::SkipSignatureCheck, 60);
}

#[test]
fn an_answer_to_the_core_before_the_replay_is_over_is_noticed() {
    check(Mutant::AnswerBeforeReplay, 60);
}

#[test]
fn a_height_that_is_begun_twice_is_noticed() {
    check(Mutant::StartHeightTwice, 30);
}

/// A traitor that proposes early and against the rules, and peers that are a height behind.
#[test]
fn proposals_of_the_next_height_left_to_the_core_are_noticed() {
    check_in(Mutant::EarlyProposalsToCore, 40, |seed| Scenario {
        traitors: vec![1],
        persist_us: (0, 20_000),
        faults: Faults { invalid_permille: 700, until_us: 2_000_000, ..Faults::default() },
        ..Scenario::calm(seed)
    });
}

/// From round 10 on the core sends the polka it locks on, which may hold our vote of a moment ago (CONSENSUS §4b).
#[test]
fn a_liveness_message_that_does_not_wait_for_the_barrier_is_noticed() {
    check_in(Mutant::NoLivenessBarrier, 40, |seed| {
        let faults = Faults { loss_permille: 550, until_us: 20_000_000, ..Faults::default() };
        Scenario { faults, ..Scenario::calm(seed) }
    });
}

/// Blocks get old while rounds fail: a quorum is locked on one, and everybody must take it again.
#[test]
fn a_clock_that_is_asked_about_a_block_made_before_is_noticed() {
    check_in(Mutant::ClockOnReproposal, 40, |seed| {
        let faults = Faults { loss_permille: 300, until_us: 3_000_000, ..Faults::default() };
        Scenario { clock_behind_ms: 30, faults, ..Scenario::calm(seed) }
    });
}

/// A record is lost and the key is not.
#[test]
fn a_key_that_signs_without_its_record_is_noticed() {
    check_in(Mutant::SignWithoutRecord, 30, |seed| {
        let faults = Faults {
            record_lost: usize::try_from(seed % 4).ok(),
            crash_every_us: 30_000,
            until_us: 2_000_000,
            ..Faults::default()
        };
        Scenario { check_durability: false, faults, ..Scenario::calm(seed) }
    });
}

/// Timers of an earlier height cost rounds where none may be lost.
#[test]
fn timers_that_outlive_their_height_are_noticed() {
    check_in(Mutant::StaleTimers, 3, |seed| Scenario { heights: 200, ..Scenario::calm(seed) });
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

#[test]
fn what_is_defence_in_depth_shows_in_no_run() {
    for mutant in [Mutant::NoReplayIndex, Mutant::NoSignGuard] {
        assert_eq!(first_caught(&[mutant], 15, any), None, "{mutant:?}");
    }
}
