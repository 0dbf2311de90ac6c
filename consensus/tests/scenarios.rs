//! Whole networks in virtual time. A failure prints its scenario; run it again with
//! `SILLOK_SEED=<seed> cargo test -p sillok-consensus --test scenarios one_seed`.

use sillok_consensus::testing::{Faults, Outcome, Scenario, Violation, replay_every_prefix, run};

fn check(scenario: &Scenario) -> Outcome {
    let outcome = run(scenario);
    assert!(
        outcome.violations.is_empty(),
        "seed {}: {:?}\n{scenario:#?}\n{:#?}",
        scenario.seed,
        outcome.violations,
        outcome.counts
    );
    outcome
}

#[test]
fn without_faults_every_height_takes_one_round() {
    let outcome = check(&Scenario { heights: 200, ..Scenario::calm(1) });
    assert_eq!(outcome.counts.round_max, 0);
    assert_eq!(outcome.counts.evidence, 0);
    assert_eq!(outcome.counts.faults_reported, 0);
}

#[test]
fn one_validator_alone_decides() {
    check(&Scenario { validators: 1, heights: 50, ..Scenario::calm(2) });
}

#[test]
fn with_real_signatures_nothing_changes() {
    check(&Scenario { ed25519: true, heights: 30, ..Scenario::calm(3) });
}

#[test]
fn one_of_four_crashed_for_good_costs_rounds_and_no_height() {
    let scenario =
        Scenario { down: Some(2), heights: 100, deadline_us: 600_000_000, ..Scenario::calm(4) };
    let outcome = check(&scenario);
    assert!(outcome.counts.round_max >= 1);
}

#[test]
fn ten_percent_loss_costs_time_and_no_height() {
    let faults = Faults { loss_permille: 100, forever: true, ..Faults::default() };
    check(&Scenario { faults, heights: 200, deadline_us: 600_000_000, ..Scenario::calm(5) });
}

#[test]
fn an_equivocator_is_recorded_and_stops_nobody() {
    let faults = Faults { invalid_permille: 300, ..Faults::default() };
    let scenario = Scenario {
        traitors: vec![1],
        faults,
        heights: 100,
        deadline_us: 600_000_000,
        ..Scenario::calm(6)
    };
    let outcome = check(&scenario);
    assert!(outcome.counts.evidence > 0);
    assert!(outcome.counts.faults_reported > 0);
}

#[test]
fn crashes_and_replays_lose_no_height_and_sign_nothing_twice() {
    let faults = Faults { crash_every_us: 30_000, until_us: 10_000_000, ..Faults::default() };
    let outcome = check(&Scenario { faults, ..Scenario::calm(7) });
    assert!(outcome.counts.crashes > 50);
    assert!(outcome.counts.crashes_between_actions > 20);
    assert!(outcome.counts.replays > 20);
}

#[test]
fn a_validator_whose_database_was_restored_follows_without_signing_until_its_record() {
    let faults = Faults {
        crash_every_us: 40_000,
        restored: Some(3),
        until_us: 20_000_000,
        ..Faults::default()
    };
    let outcome = check(&Scenario { faults, ..Scenario::calm(8) });
    assert!(outcome.counts.restores > 10);
}

#[test]
fn an_idle_network_makes_only_heartbeats() {
    let scenario =
        Scenario { heartbeat_ms: 1_000, transaction_every_us: 0, heights: 20, ..Scenario::calm(9) };
    let outcome = check(&scenario);
    // The first block waits for nobody.
    assert!(outcome.virtual_us > 19 * 1_000_000, "a block more often than the heartbeat");
    assert!(outcome.virtual_us < 19 * 1_300_000, "a heartbeat was missed");
}

#[test]
fn transactions_do_not_wait_for_the_heartbeat() {
    let scenario = Scenario {
        heartbeat_ms: 10_000,
        transaction_every_us: 200_000,
        heights: 50,
        ..Scenario::calm(10)
    };
    let outcome = check(&scenario);
    assert!(outcome.virtual_us < 15_000_000);
    assert!(outcome.counts.empty_blocks <= 4);
}

#[test]
fn observers_follow() {
    check(&Scenario { observers: 2, heights: 100, ..Scenario::calm(11) });
}

#[test]
fn a_crash_after_any_action_of_the_first_heights_is_survived() {
    for node in 0..4 {
        for actions in 0..120 {
            let scenario = Scenario {
                crash_at: Some((node, actions)),
                heights: 8,
                ..Scenario::calm(1_000 + actions)
            };
            let outcome = check(&scenario);
            assert_eq!(outcome.counts.crashes_between_actions, 1);
        }
    }
}

#[test]
fn every_prefix_of_a_signing_record_replays() {
    let mut replayed = 0;
    for seed in 0..40 {
        let mut scenario = Scenario::swarm(seed);
        scenario.traitors.clear();
        let (count, violations) = replay_every_prefix(&scenario);
        assert!(violations.is_empty(), "seed {seed}: {violations:?}");
        replayed += count;
    }
    assert!(replayed > 500, "{replayed} prefixes are too few to mean anything");
}

/// The checker itself is checked: with more traitors than the rules allow it must see honest nodes part.
#[test]
fn with_two_traitors_of_four_agreement_breaks_and_is_seen() {
    let broken = (0..20).any(|seed| {
        let (traitors, conspiracy) = (vec![0, 1], true);
        let scenario =
            Scenario { traitors, conspiracy, deadline_us: 5_000_000, ..Scenario::calm(seed) };
        let violations = run(&scenario).violations;
        violations.iter().any(|violation| matches!(violation, Violation::Agreement { .. }))
    });
    assert!(broken);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..10 {
        let scenario = Scenario::swarm(seed);
        assert_eq!(run(&scenario), run(&scenario), "seed {seed}");
    }
}

/// Runs the seed in `SILLOK_SEED`, or the first.
#[test]
fn one_seed() {
    let seed = option_env!("SILLOK_SEED").and_then(|seed| seed.parse().ok()).unwrap_or(0);
    check(&Scenario::swarm(seed));
}

#[test]
fn two_hundred_seeds_of_faults() {
    for seed in 0..200 {
        check(&Scenario::swarm(seed));
    }
}
