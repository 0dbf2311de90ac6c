//! Whole nodes in the simulated world. A failure prints its seed and the command that shows it again.

use sillok_consensus::Timeouts;
use sillok_consensus::testing::Behavior;
use sillok_devnet::console;
use sillok_devnet::sim::{
    Change, Counts, Faults, Outcome, Poison, Scenario, Signatures, Step, Timeline, Violation,
    replay_every_prefix, replay_hint, run,
};
use std::collections::{BTreeMap, BTreeSet};
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
        "{:?}\n{scenario:#?}\n{:#?}\n{}",
        outcome.violations,
        outcome.counts,
        replay_hint(scenario.seed),
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
    assert!(failed.is_empty(), "failed: {failed:#?}\n{}", replay_hint(failed[0].0));
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
    // The mix is on: a fault that no seed has would be a fault that nobody looks for. Least numbers in a thousand seeds,
    // about four tenths of what there was when they were set.
    let floors = [
        ("packets lost", counts.messages_lost, 50_000),
        ("packets kept back by a partition", counts.messages_parted, 50_000),
        ("packets twice", counts.duplicates, 25_000),
        ("stragglers", counts.stragglers, 7_000),
        ("packets between cities", counts.messages_far, 300_000),
        ("partitions", counts.partitions, 300),
        ("one-way partitions", counts.partitions_one_way, 120),
        ("crashes", counts.crashes, 2_500),
        ("crashes between actions", counts.crashes_between_actions, 800),
        ("replays of a signing record", counts.replays, 2_000),
        ("torn records", counts.torn_records, 1_500),
        ("heights begun and undone", counts.torn_resets, 120),
        ("writes lost", counts.lost_writes, 300),
        ("slow disks", counts.slow_disks, 250),
        ("restored disks", counts.restores, 60),
        ("lost disks", counts.lost_disks, 30),
        ("full disks", counts.full_disks, 120),
        ("pauses", counts.pauses, 400),
        ("sleepers", counts.sleepers, 40),
        ("clock jumps", counts.clock_jumps, 140),
        ("clocks that are off", counts.skewed_clocks, 1_500),
        ("equivocations", counts.equivocations, 5_000),
        ("withholdings", counts.withholdings, 3_000),
        ("forgeries", counts.forgeries, 2_000),
        ("messages of long ago", counts.replayed_messages, 2_000),
        ("floods", counts.floods, 1_700),
        ("transactions nobody signed", counts.flooded_transactions, 3_000),
        ("false tips", counts.false_tips, 500),
        ("false blocks", counts.false_blocks, 700),
        ("false segments", counts.false_segments, 8),
        ("messages that one twin kept from some", counts.split_by_twins, 9_000),
        ("evidence", counts.evidence, 1_200),
        ("faults reported", counts.faults_reported, 1_200),
        ("disconnects", counts.disconnects, 100),
        ("synced blocks", counts.synced_blocks, 3_000),
        ("joins by snapshot", counts.snapshots_joined, 20),
        ("ends without load", counts.quiet_ends, 100),
        ("poisons", counts.poisons, 50),
        ("validators added", counts.added, 25),
        ("validators re-keyed", counts.rekeyed, 35),
        ("validators removed", counts.removed, 8),
        ("validators replaced", counts.replaced, 25),
        ("observers", counts.observers_changed, 30),
        ("validators given another key", counts.equipped, 80),
        ("keys destroyed", counts.destroyed_keys, 45),
        ("stale reads refused", counts.stale_reads, 600),
        ("poisons that did what they do", counts.poison_hits, 60),
        ("poisons proposed", counts.poison_proposed, 5),
        ("forged certificates", counts.forged_certificates, 200),
        ("creations", counts.creates, 5_000),
        ("updates of organizations", counts.updates, 200),
        ("changes of devices", counts.device_changes, 1_000),
        ("devices taken away", counts.devices_taken, 400),
        ("recoveries", counts.recoveries, 50),
        ("deactivations", counts.deactivations, 150),
        ("proposals of operators", counts.proposals, 60),
        ("approvals", counts.approvals, 150),
        ("joins", counts.joins, 50),
        ("re-keyings", counts.rekeys, 50),
        ("figures changed", counts.figures_changed, 25),
        ("acts of one instant at different validators", counts.desks_at_once, 900),
        ("two devices with one one-time key", counts.device_races, 250),
        ("reservations", counts.reservations, 800),
        ("activations", counts.activations, 200),
        ("suspensions", counts.suspensions, 30),
        ("reinstatements", counts.reinstatements, 10),
        ("ends of enrollments", counts.endings, 120),
        ("moves to another handle", counts.moves, 7),
        ("entries set", counts.entries_set, 175),
    ];
    let seeds = outcomes.len() as u64;
    let rare: Vec<_> =
        floors.into_iter().filter(|(_, count, floor)| count * 1_000 < floor * seeds).collect();
    assert!(rare.is_empty() || seeds < 1_000, "too few in {seeds} seeds: {rare:?}");
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

/// The hash covers every packet: without one of them, whichever, it is another.
#[test]
fn one_packet_less_is_another_trace() {
    let scenario = Scenario { heights: 2, ..Scenario::calm(1) };
    let whole = check(&scenario);
    for nth in [1, 2, 3, whole.counts.messages_sent / 2, whole.counts.messages_sent - 1] {
        let without = check(&Scenario { drop_packet: Some(nth), ..scenario.clone() });
        assert_eq!(without.counts.messages_dropped, 1);
        assert_ne!(whole.trace_hash, without.trace_hash, "packet {nth}");
    }
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

/// Crashes a node once after each single action until the faults end; returns before which kinds of action that was.
fn crash_everywhere(node: usize, scenario: &Scenario) -> BTreeMap<&'static str, u64> {
    let mut kinds = BTreeMap::new();
    for actions in 0.. {
        let crashing = Scenario { crash_at: Some((node, actions)), ..scenario.clone() };
        let Timeline { crashed_before, .. } = check(&crashing).timeline;
        // Past the last action of this node there is nothing to crash after.
        if crashed_before.is_empty() {
            assert!(actions >= 40, "node {node} has no action {actions}");
            return kinds;
        }
        assert_eq!(crashed_before.values().sum::<u64>(), 1, "node {node} after {actions} actions");
        for (kind, count) in crashed_before {
            *kinds.entry(kind).or_default() += count;
        }
    }
    kinds
}

/// A crash after each single action of the first heights, on each node.
#[test]
fn a_crash_after_any_single_action_loses_nothing() {
    let mut kinds = BTreeMap::new();
    let short = Scenario {
        heights: 3,
        transaction_every_us: 10_000,
        faults: Faults { until_us: 150_000, ..Faults::default() },
        ..Scenario::calm(11)
    };
    for node in 0..4 {
        for (kind, count) in crash_everywhere(node, &short) {
            *kinds.entry(kind).or_insert(0) += count;
        }
    }
    console::line(format!("crashes before: {kinds:?}"));
    for kind in [
        "ResetWal",
        "Append",
        "Sync",
        "Broadcast",
        "AnnounceTip",
        "SetTimer",
        "CancelTimer",
        "Build",
        "Validate",
        "Decide",
    ] {
        assert!(kinds.contains_key(kind), "no crash before {kind}: {kinds:?}");
    }
}

/// What only happens to who is behind, hears lies, joins, or gives a key up.
#[test]
fn a_crash_before_a_rare_action_loses_nothing() {
    for kind in
        ["RequestSync", "PeerFault", "Disconnect", "StopSigning", "DestroyKey", "Notice", "Join"]
    {
        let mut crashes = 0;
        for seed in 0..200 {
            let scenario = Scenario { crash_before: Some(kind), ..Scenario::swarm(seed) };
            let timeline = check(&scenario).timeline;
            crashes += timeline.crashed_before.get(kind).copied().unwrap_or_default();
            if crashes >= 4 {
                break;
            }
        }
        assert!(crashes >= 4, "{kind}: {crashes}");
    }
}

/// A record that ends after any of its entries starts its node.
#[test]
fn every_prefix_of_a_signing_record_starts_its_node() {
    quiet();
    let mut replayed = 0;
    for seed in 0..20 {
        let (count, violations) = replay_every_prefix(&Scenario::swarm(seed));
        assert!(violations.is_empty(), "{violations:?}\n{}", replay_hint(seed));
        replayed += count;
    }
    assert!(replayed > 300, "{replayed}");
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
    assert!(outcome.counts.replays >= 10, "{:#?}", outcome.counts);
    assert!(outcome.counts.crashes >= 35, "{:#?}", outcome.counts);
    // It goes on between two restarts, and after the last.
    assert!(outcome.timeline.decided_between(350_000, 3_500_000) >= 3, "{:?}", outcome.timeline);
    assert!(outcome.timeline.decided_between(3_500_000, 4_500_000) >= 1, "{:?}", outcome.timeline);
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
        faults: Faults { until_us: 30 * minutes + SECOND, ..Faults::default() },
        ..Scenario::calm(1488)
    });
    assert_eq!(outcome.counts.pauses, 2);
    let paused = (SECOND, 30 * minutes);
    assert_eq!(outcome.timeline.decided_between(paused.0, paused.1), 0);
    assert!(outcome.timeline.reads_between(paused.0, paused.1, &[0, 2]) > 10);
    assert!(outcome.timeline.decided_between(30 * minutes, 33 * minutes) >= 5);
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
    // Who is seated may be down for longer than operators wait; they want it once more, and four are the fewest.
    crashes.extend([3, 4, 5].map(|nth| (nth * SECOND, Step::Change(Change::Remove))));
    let outcome = check(&Scenario {
        candidates: 1,
        script: crashes,
        faults: Faults { until_us: 8 * SECOND, ..Faults::default() },
        ..Scenario::calm(3)
    });
    let counts = outcome.counts;
    assert!(counts.added == 1 && counts.rekeyed == 1 && counts.removed == 1, "{counts:#?}");
    assert!(counts.rounds_lost > 0 && counts.crashes_between_actions >= 20, "{counts:#?}");
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
    let counts = outcome.counts;
    assert!(counts.synced_blocks > 10 && counts.crashes > 3, "{counts:#?}");
    assert!(counts.crashes_between_actions >= 3, "{counts:#?}");
}

/// Every validator is replaced, one by one, under load, without a stop.
#[test]
fn all_validators_take_new_keys_one_by_one_under_load() {
    let script = (0..8).map(|nth| (50_000 + nth, Step::Change(Change::Rekey))).collect();
    let outcome = check(&Scenario {
        script,
        transaction_every_us: 10_000,
        faults: Faults { until_us: 6 * SECOND, ..Faults::default() },
        ..Scenario::calm(7)
    });
    let Outcome { timeline, counts, .. } = outcome;
    assert_eq!(timeline.equipped, BTreeSet::from([0, 1, 2, 3]), "{counts:#?}");
    // One of four at a time is away, so a height may lose the rounds of one proposer.
    let gap_ms = timeline.gap_max_us(0, timeline.healed_us) / 1_000;
    assert!(gap_ms < 1_000, "nothing was decided for {gap_ms} ms");
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
    assert!(outcome.counts.synced_blocks > 10, "{:#?}", outcome.counts);
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
    let Outcome { timeline, counts, .. } = outcome;
    assert!(counts.snapshots_joined >= 1 && counts.false_segments > 0, "{counts:#?}");
    assert!(timeline.crashed_before.contains_key("Join"), "{:?}", timeline.crashed_before);
}

#[test]
fn a_transaction_that_panics_execution_everywhere_costs_no_round_and_no_process() {
    let outcome = check(&Scenario {
        script: vec![(200_000, Step::Poison(Poison::Panics))],
        faults: Faults { until_us: SECOND, ..Faults::default() },
        ..Scenario::calm(4)
    });
    assert_eq!(outcome.counts.rounds_lost, 0, "{:#?}", outcome.counts);
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
    assert!((1..=5).contains(&outcome.counts.rounds_lost), "{:#?}", outcome.counts);
    assert_eq!((outcome.counts.crashes, outcome.counts.poisons), (0, 1));
    assert!(outcome.counts.poison_hits > 0);
}

#[test]
fn a_transaction_that_some_builds_read_each_in_its_own_way_costs_five_rounds_of_each_and_one() {
    let outcome = check(&Scenario {
        script: vec![(200_000, Step::Poison(Poison::OwnRoots))],
        faults: Faults { until_us: SECOND, ..Faults::default() },
        ..Scenario::calm(5)
    });
    assert!((1..=15).contains(&outcome.counts.rounds_lost), "{:#?}", outcome.counts);
    assert!(outcome.counts.poison_hits > 0);
}

/// An innocent transaction stood beside one that builds read differently and was left out for longer than it lives: 4502
/// with packets lost besides, 2639 where nobody else made blocks, 4255 because it came back with it twice, 9780 and 11967
/// because heights were slow. In the worlds in which it was seen, with nobody at a desk.
#[test]
fn regression_what_stood_beside_poison_holds_up_nobody() {
    for seed in [543, 896, 2639, 4255, 4502, 9780, 11_967] {
        let outcome = check(&Scenario::faults_of(seed));
        assert!(outcome.counts.poison_hits > 0, "{:#?}", outcome.counts);
    }
}

/// Seeds at which a rule did not hold once, for reasons of their own: in the world in which that was seen, with nobody at
/// a desk, and in what their seed is now.
#[test]
fn regression_seeds_that_failed_once_hold() {
    for seed in [
        431, 602, 915, 1_098, 1_291, 1_833, 2_388, 2_416, 2_605, 2_914, 3_057, 3_119, 5_444,
        12_560, 16_527, 18_134,
    ] {
        check(&Scenario::faults_of(seed));
        check(&Scenario::swarm(seed));
    }
}

/// A chunk of a status list is one leaf and cannot be split: who bounds a segment below it was called a liar.
#[test]
fn regression_a_snapshot_with_status_lists_blames_nobody() {
    let mut joined = 0;
    for seed in [64, 117, 426, 987] {
        let scenario = Scenario::swarm(seed);
        assert!(scenario.snapshot && scenario.desk_every_us > 0, "{scenario:#?}");
        joined += check(&scenario).counts.snapshots_joined;
    }
    assert!(joined > 0);
}

/// The window became a minute, and who signs for a whole minute is refused by a node whose clock is a little behind.
#[test]
fn regression_people_sign_for_less_than_the_shortest_window() {
    for seed in [268, 503] {
        let outcome = check(&Scenario::swarm(seed));
        assert!(outcome.counts.figures_changed > 0, "{:#?}", outcome.counts);
    }
}

/// One question for one block was lost to each peer, and the node stood still until the last of them was given up, in the
/// middle of peers that would have answered; then it was too far behind to be back in time, for its disk is slow.
#[test]
fn regression_one_lost_answer_of_each_peer_keeps_nobody_away() {
    let outcome = check(&Scenario::faults_of(12_560));
    assert!(outcome.counts.synced_blocks > 0, "{:#?}", outcome.counts);
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

// ------------------------------------------------------------------------- status and figures

/// A7, A15, A17, C8: people at desks, two at once for one person at different validators, devices that race for one
/// one-time key; under faults too. What must hold is checked at every height.
#[test]
fn a7_a15_a17_c8_people_at_desks_of_different_validators() {
    let mut counts = Counts::default();
    for seed in 0..6 {
        let calm = Scenario {
            desk_every_us: 12_000,
            faults: Faults { until_us: 2 * SECOND, ..Faults::default() },
            ..Scenario::calm(seed)
        };
        let faulty = Scenario {
            validators: 7,
            traitors: vec![(2, vec![Behavior::Equivocate, Behavior::Withhold])],
            faults: Faults {
                loss_permille: 50,
                crash_every_us: 150_000,
                partition_every_us: 300_000,
                ..calm.faults.clone()
            },
            ..calm.clone()
        };
        for scenario in [calm, faulty] {
            counts.add(&check(&scenario).counts);
        }
    }
    assert!(counts.device_races >= 60 && counts.desks_at_once >= 150, "{counts:#?}");
    assert!(counts.activations >= 100 && counts.reservations > counts.activations, "{counts:#?}");
    let rest = [counts.suspensions, counts.reinstatements, counts.endings, counts.moves];
    assert!(rest.into_iter().all(|count| count > 0) && counts.entries_set > 50, "{counts:#?}");
}

/// Figures change while blocks are made and people sign for longer than some of them allow.
#[test]
fn figures_change_under_load_and_bind_the_next_block() {
    let script = (0..4).map(|nth| (100_000 + nth, Step::Change(Change::Parameters))).collect();
    let outcome = check(&Scenario {
        script,
        desk_every_us: 30_000,
        faults: Faults { until_us: 4 * SECOND, ..Faults::default() },
        ..Scenario::calm(25)
    });
    assert!(outcome.counts.figures_changed >= 3, "{:#?}", outcome.counts);
}

/// What came later than the faults changes none of them: without it a seed is the world that it was.
#[test]
fn the_faults_of_a_seed_stay_what_they_were() {
    let mut more = 0;
    for seed in 0..200 {
        let (before, now) = (Scenario::faults_of(seed), Scenario::swarm(seed));
        assert_eq!(before.desk_every_us, 0);
        assert_eq!((before.validators, &before.traitors), (now.validators, &now.traitors));
        let faults = Faults {
            changes: before.faults.changes.clone(),
            until_us: before.faults.until_us,
            ..now.faults.clone()
        };
        assert_eq!(before.faults, faults);
        more += u64::from(now.desk_every_us > 0);
    }
    assert!((50..110).contains(&more), "{more}");
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
    let Outcome { timeline, counts, .. } = outcome;
    assert!(counts.transactions_committed > 20, "{counts:#?}");
    // Every fourth height waits for the proposer that is down, if it is not passed over.
    let gap_ms = timeline.gap_max_us(100_000, 3 * SECOND) / 1_000;
    assert!(gap_ms < 600, "nothing was decided for {gap_ms} ms");
    assert!(timeline.decided_between(100_000, 3 * SECOND) >= 10);
    for node in [0, 1, 3] {
        assert!(timeline.reads_between(200_000, 3 * SECOND, &[node]) >= 5, "node {node}");
    }
    assert_eq!(timeline.reads_between(100_000, 3 * SECOND, &[2]), 0);
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
    let Outcome { timeline, counts, .. } = outcome;
    assert!(counts.transactions_committed > 10, "{counts:#?}");
    let gap_ms = timeline.gap_max_us(100_000, 2 * SECOND) / 1_000;
    assert!(gap_ms < 800, "nothing was decided for {gap_ms} ms");
    assert!(timeline.decided_between(100_000, 2 * SECOND) >= 5);
    assert!(timeline.reads_between(200_000, 2 * SECOND, &[2, 3, 4, 5, 6]) >= 10);
    // The rest was not waited for: it fetched what it missed.
    assert!(counts.synced_blocks > 0, "{counts:#?}");
}

/// F3: no side has a quorum; nothing is written, nothing is lost, and when the sides meet again the network goes on.
#[test]
fn f3_without_a_quorum_nothing_is_decided_and_nothing_lost() {
    let outcome = check(&Scenario {
        script: vec![(200_000, Step::Partition(0b0011)), (2 * SECOND, Step::Unite)],
        faults: Faults { until_us: 2 * SECOND + 1, ..Faults::default() },
        ..Scenario::calm(23)
    });
    let timeline = outcome.timeline;
    assert!(timeline.decided_between(0, 200_000) >= 2);
    // What was on its way arrives within 10 ms and may decide one more.
    assert_eq!(timeline.decided_between(210_000, 2 * SECOND), 0, "{:?}", timeline.decided);
    assert!(timeline.reads_between(210_000, 2 * SECOND, &[0, 1]) > 5, "old answers are given");
    assert!(timeline.reads_between(210_000, 2 * SECOND, &[2, 3]) > 5, "on both sides");
    assert!(timeline.decided_between(2 * SECOND, 3 * SECOND) >= 1, "{:?}", timeline.decided);
}

// ------------------------------------------------------------------------------- regressions
//
// A seed that broke a rule stays here under the name of what it showed, with the shape that it needs.

/// An answer to a question of the life before is no answer: the streams of a process end with it.
#[test]
fn regression_an_answer_to_an_earlier_life_blames_nobody() {
    let script = (0..8).map(|nth| (1_000_000 + nth * 70_000, Step::Crash(4))).collect();
    let joined_in_spite = (0..10).map(|seed| {
        let outcome = check(&Scenario {
            candidates: 1,
            snapshot: true,
            signatures: Signatures::Ed25519,
            // Answers are long on their way, and the node is soon back.
            latency_us: (1_000, 60_000),
            script: Vec::clone(&script),
            faults: Faults { until_us: 2 * SECOND, ..Faults::default() },
            ..Scenario::calm(seed)
        });
        outcome.counts.crashes
    });
    assert!(joined_in_spite.sum::<u64>() >= 20, "it is killed again and again");
}
