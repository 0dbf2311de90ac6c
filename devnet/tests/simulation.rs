//! Whole nodes in the simulated world. A failure prints its seed and the command that shows it again.

use sillok_consensus::Timeouts;
use sillok_consensus::testing::Behavior;
use sillok_devnet::console;
use sillok_devnet::sim::{
    Change, Counts, Faults, Outcome, Poison, Scenario, Signatures, Step, Violation, run,
};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const SECOND: u64 = 1_000_000;

/// Panics that scenarios ask for would bury what a test says.
fn quiet() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let ours =
                info.payload().downcast_ref::<&str>() == Some(&"a test makes execution panic");
            if !ours {
                hook(info);
            }
        }));
    });
}

fn check(scenario: &Scenario) -> Outcome {
    quiet();
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

/// All seeds of a range, on all cores.
fn check_seeds(first: u64, end: u64) -> Vec<Outcome> {
    quiet();
    let next = AtomicU64::new(first);
    let outcomes = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let outcome = run(&Scenario::swarm(seed));
                    outcomes.lock().expect("no run panics while it adds").push(outcome);
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().expect("no run panics while it adds");
    outcomes.sort_by_key(|outcome| outcome.seed);
    let failed: Vec<_> = outcomes
        .iter()
        .filter(|outcome| !outcome.violations.is_empty())
        .map(|outcome| (outcome.seed, &outcome.violations))
        .collect();
    assert!(
        failed.is_empty(),
        "failed: {failed:#?}\nsee one again with: sillok-devnet sim --seed {} --trace",
        failed[0].0
    );
    outcomes
}

#[test]
fn a_thousand_seeds_break_no_rule_and_leave_nobody_stuck() {
    let seeds = std::env::var("SILLOK_SEEDS").ok().and_then(|text| text.parse().ok());
    let outcomes = check_seeds(0, seeds.unwrap_or(1_000));
    let mut counts = Counts::default();
    for outcome in &outcomes {
        counts.add(&outcome.counts);
    }
    console::line(format!("{} seeds: {counts:#?}", outcomes.len()));
    // The mix is on: a fault that no seed has would be a fault that nobody looks for.
    let happened = [
        ("crashes between actions", counts.crashes_between_actions),
        ("replays of a signing record", counts.replays),
        ("restored disks", counts.restores),
        ("lost disks", counts.lost_disks),
        ("full disks", counts.full_disks),
        ("pauses", counts.pauses),
        ("partitions", counts.partitions),
        ("clock jumps", counts.clock_jumps),
        ("lies", counts.lies),
        ("evidence", counts.evidence),
        ("synced blocks", counts.synced_blocks),
        ("poisons", counts.poisons),
        ("validators added", counts.added),
        ("validators re-keyed", counts.rekeyed),
        ("validators removed", counts.removed),
        ("validators replaced", counts.replaced),
        ("stale reads refused", counts.stale_reads),
        ("joins by snapshot", counts.snapshots_joined),
        ("poisons that did what they do", counts.poison_hits),
        ("poisons proposed", counts.poison_proposed),
        ("forged certificates", counts.forged_certificates),
        ("creations", counts.creates),
        ("updates of organizations", counts.updates),
        ("changes of devices", counts.device_changes),
        ("devices taken away", counts.devices_taken),
        ("recoveries", counts.recoveries),
        ("deactivations", counts.deactivations),
        ("proposals of operators", counts.proposals),
        ("approvals", counts.approvals),
        ("joins", counts.joins),
        ("re-keyings", counts.rekeys),
    ];
    for (what, count) in happened {
        assert!(count > 0 || outcomes.len() < 300, "{what}: none in {} seeds", outcomes.len());
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    quiet();
    for seed in [1, 2, 3, 5, 8, 13, 21, 34, 55, 89] {
        assert_eq!(run(&Scenario::swarm(seed)), run(&Scenario::swarm(seed)), "seed {seed}");
    }
    let (one, other) = (run(&Scenario::swarm(1)), run(&Scenario::swarm(2)));
    assert_ne!(one.trace_hash, other.trace_hash);
}

#[test]
fn without_faults_every_height_takes_one_round() {
    for (validators, signatures) in
        [(1, Signatures::KeyedHash), (4, Signatures::Ed25519), (7, Signatures::KeyedHash)]
    {
        let outcome = check(&Scenario { validators, signatures, ..Scenario::calm(1) });
        assert_eq!(outcome.counts.round_max, 0);
        assert_eq!(outcome.counts.evidence + outcome.counts.faults_reported, 0);
    }
}

/// With more traitors than the rules allow agreement breaks, and the checker sees it.
#[test]
fn with_two_traitors_of_four_the_agreement_checker_fires() {
    quiet();
    let fires = (0..40).any(|seed| {
        let scenario = Scenario {
            traitors: vec![(0, vec![Behavior::Equivocate]), (1, vec![Behavior::Equivocate])],
            conspiracy: true,
            heartbeat_ms: 0,
            transaction_every_us: 0,
            heights: 40,
            ..Scenario::calm(seed)
        };
        let violations = run(&scenario).violations;
        violations.iter().any(|violation| matches!(violation, Violation::Agreement { .. }))
    });
    assert!(fires, "two of four traitors must be able to break agreement");
}

/// A crash after each single action of the first heights, on each node.
#[test]
fn a_crash_after_any_single_action_loses_nothing() {
    for node in 0..4 {
        for actions in 0..70 {
            check(&Scenario {
                crash_at: Some((node, actions)),
                heights: 3,
                transaction_every_us: 10_000,
                faults: Faults { until_us: 150_000, ..Faults::default() },
                ..Scenario::calm(11)
            });
        }
    }
}

// ------------------------------------------------------------------------------- incidents

/// Sovrin, 2018: after a restart of all validators votes were lost, and the pool could not go on. Here the power goes for
/// all of them at once, again and again, in the middle of rounds.
#[test]
fn incident_votes_lost_at_restart() {
    let script = (1..11)
        .flat_map(|nth| (0..4).map(move |node| (nth * 350_000 + node as u64, Step::Crash(node))))
        .collect();
    let outcome = check(&Scenario {
        script,
        transaction_every_us: 5_000,
        faults: Faults { until_us: 4 * SECOND, ..Faults::default() },
        ..Scenario::calm(2018)
    });
    assert!(outcome.counts.replays > 0 && outcome.counts.crashes >= 20);
}

/// indy-plenum#1488: half of the pool stood still for 30 minutes and never found back.
#[test]
fn incident_half_of_the_pool_paused_for_half_an_hour() {
    let minutes = 60 * SECOND;
    let script = vec![
        (SECOND / 2, Step::Pause(1)),
        (SECOND / 2, Step::Pause(3)),
        (30 * minutes, Step::Resume(1)),
        (30 * minutes, Step::Resume(3)),
    ];
    let outcome = check(&Scenario {
        script,
        // The product's own timeouts: the rounds of half an hour grow as long as they would.
        timeouts: Timeouts::default(),
        heartbeat_ms: 10_000,
        transaction_every_us: 20 * SECOND,
        read_every_us: 20 * SECOND,
        heights: 5,
        deadline_us: 5 * minutes,
        faults: Faults { until_us: 30 * minutes + SECOND, ..Faults::default() },
        ..Scenario::calm(1488)
    });
    assert_eq!(outcome.counts.pauses, 2);
}

/// A member comes, another takes a new key and one goes, while proposers crash and rounds change.
#[test]
fn incident_members_change_during_changes_of_round() {
    let mut crashes: Vec<(u64, Step)> = (1..30)
        .map(|nth| {
            (nth * 150_000, Step::CrashAfter(usize::try_from(nth % 4).unwrap_or(0), nth % 23))
        })
        .collect();
    crashes.push((100_000, Step::Change(Change::Add)));
    crashes.push((1_500_000, Step::Change(Change::Rekey)));
    crashes.push((3_000_000, Step::Change(Change::Remove)));
    let outcome = check(&Scenario {
        candidates: 1,
        script: crashes,
        faults: Faults { until_us: 8 * SECOND, ..Faults::default() },
        ..Scenario::calm(3)
    });
    let counts = outcome.counts;
    assert!(counts.added == 1 && counts.rekeyed == 1 && counts.removed == 1, "{counts:#?}");
}

/// indy-node#1618: a node killed while it caught up came back damaged. Here it is killed again and again on its way.
#[test]
fn incident_killed_during_catch_up() {
    let mut script = vec![(50_000, Step::Stop(3)), (900_000, Step::Start(3))];
    script.extend((0..12).map(|nth| (905_000 + nth * 25_000, Step::CrashAfter(3, 3 + nth * 2))));
    let outcome = check(&Scenario {
        script,
        transaction_every_us: 8_000,
        heartbeat_ms: 0,
        faults: Faults { until_us: 2 * SECOND, ..Faults::default() },
        ..Scenario::calm(1618)
    });
    assert!(outcome.counts.synced_blocks > 10 && outcome.counts.crashes > 3);
}

/// Every validator is replaced, one by one, under load, without a stop.
#[test]
fn all_validators_take_new_keys_one_by_one_under_load() {
    let script = (0..6).map(|nth| (50_000 + nth, Step::Change(Change::Rekey))).collect();
    let outcome = check(&Scenario {
        script,
        transaction_every_us: 10_000,
        faults: Faults { until_us: 4 * SECOND, ..Faults::default() },
        ..Scenario::calm(7)
    });
    assert!(outcome.counts.rekeyed >= 4, "{:#?}", outcome.counts);
}

/// A node that slept through changes of the members finds its way back.
#[test]
fn a_sleeper_wakes_after_re_keyings() {
    let outcome = check(&Scenario {
        observers: 1,
        candidates: 1,
        script: vec![(40_000, Step::Stop(4)), (2 * SECOND + 1, Step::Start(4))],
        faults: Faults {
            changes: vec![Change::Add, Change::Rekey, Change::Rekey],
            until_us: 2 * SECOND + 2,
            ..Faults::default()
        },
        ..Scenario::calm(9)
    });
    assert!(outcome.counts.added == 1 && outcome.counts.rekeyed >= 1, "{:#?}", outcome.counts);
}

/// A node without blocks joins by snapshot while one peer lies and it is killed on its way; it holds the same as everybody.
#[test]
fn a_node_joins_by_snapshot_from_peers_of_which_one_lies() {
    let mut script: Vec<(u64, Step)> =
        (0..6).map(|nth| (1_100_000 + nth * 60_000, Step::CrashAfter(4, 2 + nth))).collect();
    script.push((700_000, Step::Change(Change::Add)));
    let outcome = check(&Scenario {
        candidates: 1,
        snapshot: true,
        signatures: Signatures::Ed25519,
        traitors: vec![(2, vec![Behavior::Forge])],
        script,
        faults: Faults { until_us: 2 * SECOND, ..Faults::default() },
        ..Scenario::calm(31)
    });
    assert!(outcome.counts.snapshots_joined >= 1, "{:#?}", outcome.counts);
}

#[test]
fn a_transaction_that_panics_execution_everywhere_costs_five_rounds_at_most_and_no_process() {
    let outcome = check(&Scenario {
        script: vec![(200_000, Step::Poison(Poison::Panics))],
        faults: Faults { until_us: SECOND, ..Faults::default() },
        ..Scenario::calm(4)
    });
    assert!(outcome.counts.rounds_lost <= 5, "{:#?}", outcome.counts);
    assert_eq!((outcome.counts.crashes, outcome.counts.poisons), (0, 1));
    assert!(outcome.counts.poison_hits > 0);
}

#[test]
fn a_transaction_that_one_build_reads_otherwise_costs_five_rounds_at_most_and_no_process() {
    let outcome = check(&Scenario {
        script: vec![(200_000, Step::Poison(Poison::OtherRoot))],
        faults: Faults { until_us: SECOND, ..Faults::default() },
        ..Scenario::calm(5)
    });
    assert!(outcome.counts.rounds_lost <= 5, "{:#?}", outcome.counts);
    assert_eq!((outcome.counts.crashes, outcome.counts.poisons), (0, 1));
    assert!(outcome.counts.poison_hits > 0);
}

/// Seed 445: a late answer to a request of before a crash was taken for one to a request of after it, which had the same
/// number, and an honest server was blamed. Requests end with the connections of a life.
#[test]
fn regression_a_late_answer_to_an_earlier_life_blames_nobody() {
    let outcome = check(&Scenario::swarm(445));
    assert!(outcome.counts.snapshots_joined > 0, "{:#?}", outcome.counts);
}

/// Seed 896: an innocent transaction stood twice beside one that builds read differently and was left out for longer than
/// it lives.
#[test]
fn regression_what_stood_beside_poison_holds_up_nobody() {
    let outcome = check(&Scenario::swarm(896));
    assert!(outcome.counts.poison_hits > 0, "{:#?}", outcome.counts);
}

/// A traitor's software bears it, and proposes it to those whose does not.
#[test]
fn a_traitor_that_proposes_what_panics_execution_stops_nobody() {
    let outcome = check(&Scenario {
        traitors: vec![(1, vec![Behavior::Forge])],
        script: vec![(200_000, Step::Poison(Poison::Panics))],
        faults: Faults { until_us: SECOND, ..Faults::default() },
        ..Scenario::calm(6)
    });
    assert!(outcome.counts.poison_proposed > 0, "{:#?}", outcome.counts);
    assert!(outcome.counts.poison_hits > 0, "{:#?}", outcome.counts);
    assert!(outcome.counts.forged_certificates > 0, "{:#?}", outcome.counts);
}

// ----------------------------------------------------------------------- rows of requirements

/// F1: one of four is down; reads and writes go on.
#[test]
fn f1_one_of_four_down_stops_nothing() {
    let outcome = check(&Scenario {
        script: vec![(100_000, Step::Stop(2))],
        faults: Faults { until_us: 3 * SECOND, ..Faults::default() },
        ..Scenario::calm(21)
    });
    assert!(outcome.counts.transactions_committed > 20, "{:#?}", outcome.counts);
}

/// F2: a site with at most f validators is cut off; the rest goes on, and the site catches up.
#[test]
fn f2_a_site_with_at_most_f_validators_is_cut_off() {
    let outcome = check(&Scenario {
        validators: 7,
        script: vec![(100_000, Step::Partition(0b000_0011)), (2 * SECOND, Step::Unite)],
        faults: Faults { until_us: 2 * SECOND + 1, ..Faults::default() },
        ..Scenario::calm(22)
    });
    assert!(outcome.counts.transactions_committed > 10, "{:#?}", outcome.counts);
}

/// F3: no side has a quorum; nothing is written, nothing is lost, and when the sides meet again the network goes on.
#[test]
fn f3_without_a_quorum_nothing_is_decided_and_nothing_lost() {
    check(&Scenario {
        script: vec![(200_000, Step::Partition(0b0011)), (2 * SECOND, Step::Unite)],
        faults: Faults { until_us: 2 * SECOND + 1, ..Faults::default() },
        ..Scenario::calm(23)
    });
}
