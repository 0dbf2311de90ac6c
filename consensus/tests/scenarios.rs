//! Whole networks in virtual time. A failure prints its scenario; run it again with
//! `SILLOK_SEED=<seed> cargo test -p sillok-consensus --test scenarios one_seed`.

#![allow(clippy::print_stdout, reason = "figures, for who runs this with --nocapture")]

use sillok_consensus::testing::{
    Behavior, Faults, Outcome, Scenario, Violation, replay_every_prefix, run,
};

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

// ------------------------------------------------------------ changing sets

/// Nodes join, leave and change their keys while packets are lost and nodes crash. Old votes count no more, a key is
/// destroyed after its last height and never before its first.
#[test]
fn validators_come_go_and_change_keys_while_faults_run() {
    let (mut changes, mut destroyed, mut changed) = (0, 0, 0);
    for seed in 0..8 {
        let faults = Faults {
            loss_permille: 50,
            duplicate_permille: 50,
            crash_every_us: 150_000,
            until_us: 4_000_000,
            ..Faults::default()
        };
        let outcome = check(&Scenario {
            candidates: 3,
            membership_every_us: 40_000,
            transaction_every_us: 20_000,
            faults,
            ..Scenario::calm(300 + seed)
        });
        changes += outcome.counts.set_changes;
        destroyed += outcome.counts.keys_destroyed;
        changed += outcome.counts.keys_changed;
    }
    assert!(changes > 100, "{changes} heights with a new set after them");
    assert!(destroyed > 20, "{destroyed} keys destroyed");
    assert!(changed > 10, "{changed} hosts made anew with another key");
}

// ---------------------------------------------------------------- traitors

#[test]
fn each_sin_alone_breaks_nothing() {
    for (nth, behavior) in Behavior::ALL.into_iter().enumerate() {
        for validators in [4, 7] {
            let faults = Faults { loss_permille: 20, until_us: 1_000_000, ..Faults::default() };
            check(&Scenario {
                validators,
                traitors: if validators == 7 { vec![1, 4] } else { vec![1] },
                behaviors: vec![behavior],
                faults,
                ..Scenario::calm(400 + nth as u64)
            });
        }
    }
}

/// One key, two machines, each an ordinary host: what they sign differs, and is recorded.
#[test]
fn twins_break_nothing_and_are_recorded() {
    let mut evidence = 0;
    for seed in 0..12 {
        let faults = Faults { loss_permille: 20, until_us: 2_000_000, ..Faults::default() };
        let scenario =
            Scenario { twin: usize::try_from(seed % 4).ok(), faults, ..Scenario::calm(seed) };
        evidence += check(&scenario).counts.evidence;
    }
    assert!(evidence > 0);
}

// ------------------------------------------------------------------- sync

/// A node far behind is killed at some moment of its catching up, and goes on from there.
#[test]
fn a_kill_in_the_middle_of_catching_up_costs_nothing_that_was_persisted() {
    for actions in (0..400).step_by(20) {
        let outcome = check(&Scenario {
            late: Some((2, 2_000_000)),
            crash_at: Some((2, actions)),
            deadline_us: 60_000_000,
            heights: 300,
            ..Scenario::calm(500 + actions)
        });
        assert_eq!(outcome.counts.crashes_between_actions, 1);
        assert!(outcome.counts.synced_blocks > 50, "{:?}", outcome.counts);
    }
}

/// A peer that claims the end of time and delivers nothing: who is behind catches up from the others.
#[test]
fn a_node_far_behind_catches_up_past_a_liar() {
    check(&Scenario {
        late: Some((2, 2_000_000)),
        traitors: vec![0],
        heights: 200,
        deadline_us: 200_000_000,
        ..Scenario::calm(600)
    });
}

// ------------------------------------------------------------------ clocks

#[test]
fn clocks_that_jump_cost_rounds_and_are_said() {
    let mut notices = 0;
    for seed in 0..6 {
        let faults =
            Faults { clock_jump_every_us: 40_000, until_us: 3_000_000, ..Faults::default() };
        notices += check(&Scenario { faults, ..Scenario::calm(700 + seed) }).counts.notices;
    }
    assert!(notices > 0);
}

#[test]
fn paused_machines_come_back() {
    for seed in 0..6 {
        let faults = Faults { pause_every_us: 50_000, until_us: 4_000_000, ..Faults::default() };
        let outcome = check(&Scenario { faults, ..Scenario::calm(800 + seed) });
        assert!(outcome.counts.pauses > 20);
    }
}

// ----------------------------------------------------------------- figures

#[allow(clippy::disallowed_types, reason = "how fast this machine is, and nothing depends on it")]
fn stopwatch() -> impl Fn() -> u64 {
    let begun = std::time::Instant::now();
    move || u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
}

/// Printed by `cargo test -p sillok-consensus --test scenarios figures -- --nocapture`.
#[test]
fn figures_for_four_seven_and_ten_validators() {
    println!("validators  heights/s  messages/height  highest round");
    for validators in [4, 7, 10] {
        let scenario = Scenario { validators, heights: 200, ..Scenario::calm(900) };
        let elapsed_ms = stopwatch();
        let outcome = check(&scenario);
        let rate = outcome.height * 1_000 / elapsed_ms();
        let messages = outcome.counts.consensus_messages / outcome.height;
        let round = outcome.counts.round_max;
        println!("{validators:>10}  {rate:>9}  {messages:>15}  {round:>13}");
        // Proposal, prevotes and precommits, each to all others.
        let all = (2 * validators as u64 + 1) * (validators as u64 - 1);
        assert!(messages <= all + all / 5, "{messages} messages for each height");
    }
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
