//! The figures of the network, which its operators change while it runs (PROTOCOL §7.3).

use crate::grants::at_once;
use crate::motion::{Motion, motion, remove};
use crate::story::{
    ACCEPTED, Draft, check, created, happened_in, outcome, refused, together, wait,
};
use crate::support::{STEP_MS, World, genesis};
use sillok_did_method::parameters_hash;
use sillok_ledger::snapshot::latest_parameters;
use sillok_ledger::{GovernanceEvent, TreeKey};
use sillok_proto::{encode, v1};
use v1::change::Change;

/// The figures in force, but for what `change` does to them.
pub(crate) fn set(change: impl Fn(&mut v1::Parameters) + 'static) -> Motion {
    motion(move |world| {
        let old = &world.tip.parameters;
        let mut new = old.clone();
        change(&mut new);
        Change::SetParameters(made_of(old, &new))
    })
}

fn made_of(old: &v1::Parameters, new: &v1::Parameters) -> v1::Parameters {
    v1::Parameters { previous: parameters_hash(old).to_vec(), ..new.clone() }
}

/// As [`set`], as it is now, whatever is in force when it is approved.
fn set_now(world: &World, change: impl Fn(&mut v1::Parameters) + 'static) -> Motion {
    let now = set(change).proposal(world).change.and_then(|one| one.change).unwrap();
    motion(move |_| now.clone())
}

/// All at once, so that the block that executes it is the next.
fn carried(change: impl Fn(&mut v1::Parameters) + 'static) -> Draft {
    at_once(&set(change))
}

fn three_minutes() -> Draft {
    carried(|parameters| parameters.valid_until_window_ms = 180_000)
}

#[test]
fn figures_are_changed_by_more_than_two_thirds_of_the_operators() {
    let motion = set(|parameters| parameters.heartbeat_ms = 5_000);
    let mut world = happened_in(&motion.nearly_carried());
    assert_eq!(world.tip.parameters, *world.chain.parameters(), "one approval short");
    let transaction = world.transaction(&motion.approved_by("operator-3"));
    let built = world.build(&[transaction], world.next_time_ms(STEP_MS));
    let height = built.outcome.header.height;
    let executed = GovernanceEvent::Executed {
        proposal: motion.hash(&world),
        effective_height: Some(height + 1),
    };
    assert_eq!(built.outcome.governance[0][1], executed);
    world.commit(&built);
    assert_eq!(world.tip.parameters.heartbeat_ms, 5_000);
}

#[test]
fn figures_bind_the_block_after_the_one_that_changed_them() {
    let late = || created("bob").valid_for(181_000);
    let mut world = World::new();
    // Behind it in the very block the window is the old one.
    let transactions = [three_minutes(), late()].map(|draft| world.transaction(&draft));
    let built = world.build(&transactions, world.next_time_ms(STEP_MS));
    assert_eq!((built.block.transactions.len(), &built.refused), (2, &vec![]));
    world.commit(&built);

    let late = created("carol").valid_for(180_001);
    assert_eq!(outcome(&mut world.clone(), &late), refused("VALID_UNTIL_TOO_FAR"));
    assert_eq!(outcome(&mut world, &created("carol").valid_for(180_000)), ACCEPTED);
    // And back.
    let five_minutes = carried(|parameters| parameters.valid_until_window_ms = 300_000);
    assert_eq!(outcome(&mut world, &five_minutes.valid_for(50_000)), ACCEPTED);
    assert_eq!(outcome(&mut world, &created("dan").valid_for(299_000)), ACCEPTED);
}

/// What was ordered under a long window is not ordered again under a short one, nor the other way round.
#[test]
fn names_are_kept_as_long_as_any_window() {
    let mut world = World::new();
    let long = world.transaction(&created("alice").valid_for(290_000));
    let built = world.build(std::slice::from_ref(&long), world.next_time_ms(STEP_MS));
    world.commit(&built);
    assert_eq!(outcome(&mut world, &three_minutes()), ACCEPTED);
    assert_eq!(outcome(&mut world, &wait(200_000)), ACCEPTED);
    let five_minutes = carried(|parameters| parameters.valid_until_window_ms = 300_000);
    assert_eq!(outcome(&mut world, &five_minutes.valid_for(50_000)), ACCEPTED);
    let time_ms = world.next_time_ms(STEP_MS);
    let again = world.mempool(&long, time_ms).unwrap_err();
    assert_eq!(again.code(), "ALREADY_ORDERED");
}

#[test]
fn blocks_are_bounded_by_the_figures_in_force() {
    let mut world = crate::blocks::network(|parameters| {
        parameters.block_signature_checks_max = 100_000;
    });
    let transactions: Vec<_> =
        (0..3).map(|nth| world.transaction(&crate::blocks::large(nth))).collect();
    let count = |world: &World| {
        let built = world.build(&transactions, world.next_time_ms(STEP_MS));
        assert!(world.execute(&built.block).is_ok());
        built.block.transactions.len()
    };
    assert_eq!(count(&world), 3);
    let wide = world.build(&transactions, world.next_time_ms(2 * STEP_MS)).block;
    let bound = carried(|parameters| parameters.block_signature_checks_max = 6_000);
    assert_eq!(outcome(&mut world, &bound), ACCEPTED);
    assert_eq!(count(&world), 2);
    let forced = world.force(&wide.transactions, world.next_time_ms(STEP_MS));
    assert!(world.execute(&forced).is_err(), "a validator refuses what is above the new bound");
}

#[test]
fn a_figure_that_would_stop_the_network_is_not_even_proposed() {
    let proposed = |change: fn(&mut v1::Parameters), code: &'static str| {
        check(&[], set(change).proposed_by("operator-1"), refused(code));
    };
    let range = |change| proposed(change, "PARAMETER_RANGE");
    range(|p| p.valid_until_window_ms = 179_999);
    range(|p| p.valid_until_window_ms = 300_001);
    range(|p| p.heartbeat_ms = 999);
    range(|p| p.heartbeat_ms = 20_001);
    range(|p| p.clock_behind_ms = 999);
    range(|p| p.clock_ahead_ms = 999);
    range(|p| p.clock_behind_ms = 60_001);
    range(|p| p.clock_ahead_ms = 5_001);
    range(|p| p.clock_ahead_ms = u64::MAX);
    range(|p| p.block_bytes_max = 1_048_575);
    range(|p| p.block_bytes_max = 8_388_609);
    range(|p| p.block_state_writes_max = 19_999);
    range(|p| p.block_signature_checks_max = 5_999);
    range(|p| p.archives_min = 129);
    range(|p| {
        *p = v1::Parameters {
            trusting_period_ms: p.trusting_period_ms,
            list_base: p.list_base.clone(),
            ..v1::Parameters::default()
        }
    });
    let fixed = |change| proposed(change, "PARAMETER_FIXED");
    fixed(|p| p.trusting_period_ms += 1);
    fixed(|p| p.list_base = "https://other.example/lists/".to_owned());
    fixed(|p| *p = v1::Parameters::default());

    // Said again when it is executed, for what was in force may be another by then.
    let mut narrow = genesis();
    narrow.parameters.as_mut().unwrap().clock_ahead_ms = 500;
    let mut world = World::of(narrow);
    let keeps = set(|parameters| parameters.heartbeat_ms = 5_000);
    assert_eq!(outcome(&mut world, &at_once(&keeps)), ACCEPTED, "what is narrow may stay so");
    let narrower = set(|parameters| parameters.clock_ahead_ms = 400);
    let tried = narrower.proposed_by("operator-1");
    assert_eq!(outcome(&mut world, &tried), refused("PARAMETER_RANGE"));
}

#[test]
fn the_edges_of_every_range_are_in_it() {
    let low = carried(|p| {
        p.valid_until_window_ms = 180_000;
        p.heartbeat_ms = 1_000;
        p.clock_behind_ms = 1_000;
        p.clock_ahead_ms = 1_000;
        p.block_bytes_max = 1_048_576;
        p.block_state_writes_max = 20_000;
        p.block_signature_checks_max = 6_000;
        p.archives_min = 0;
    });
    let high = carried(|p| {
        p.valid_until_window_ms = 300_000;
        p.heartbeat_ms = 20_000;
        p.clock_behind_ms = 60_000;
        p.clock_ahead_ms = 5_000;
        p.block_bytes_max = 8_388_608;
        p.block_state_writes_max = 1_000_000;
        p.block_signature_checks_max = 100_000;
    });
    let mut world = check(&[], low, ACCEPTED);
    assert_eq!(outcome(&mut world, &high.valid_for(50_000)), ACCEPTED);
    assert_eq!(world.tip.parameters.block_bytes_max, 8_388_608);
}

#[test]
fn what_changes_nothing_is_refused() {
    check(&[], carried(|_| {}), refused("ALREADY"));
}

/// An approval that comes late does not bring back what was changed since.
#[test]
fn figures_are_executed_only_over_those_that_they_were_made_of() {
    let mut world = World::new();
    let early = set_now(&world, |parameters| parameters.block_bytes_max = 4 << 20);
    world.run(&together(&early.nearly_carried())).unwrap();
    let between = set_now(&world, |parameters| parameters.heartbeat_ms = 5_000);
    assert_eq!(outcome(&mut world, &at_once(&between)), ACCEPTED);
    assert_eq!(outcome(&mut world, &early.approved_by("operator-3")), refused("FIGURES_CHANGED"));
    assert_eq!(world.tip.parameters.heartbeat_ms, 5_000);
    // Nor is it proposed; made of those in force it is.
    let same = early.clone().until(early.expires_ms + 1);
    assert_eq!(outcome(&mut world, &same.proposed_by("operator-1")), refused("FIGURES_CHANGED"));
    let anew = carried(|parameters| parameters.block_bytes_max = 4 << 20);
    assert_eq!(outcome(&mut world, &anew), ACCEPTED);
    assert_eq!(world.tip.parameters.heartbeat_ms, 5_000);
    assert_eq!(world.tip.parameters.block_bytes_max, 4 << 20);
}

/// Figures are changed from those in force, also where these are of the same block.
#[test]
fn of_two_changes_in_a_block_the_second_is_made_of_the_first() {
    let first = || carried(|parameters| parameters.heartbeat_ms = 5_000);
    let second = carried(|parameters| parameters.heartbeat_ms = 6_000);
    check(&[], together(&[first(), second]), refused("FIGURES_CHANGED"));
    let second = at_once(&motion(|world| {
        let genesis = &world.tip.parameters;
        let old = made_of(genesis, &v1::Parameters { heartbeat_ms: 5_000, ..genesis.clone() });
        Change::SetParameters(made_of(&old, &v1::Parameters { heartbeat_ms: 6_000, ..old.clone() }))
    }));
    let world = check(&[], together(&[first(), second]), ACCEPTED);
    assert_eq!(world.tip.parameters.heartbeat_ms, 6_000);

    // What is narrow may stay so only while it is in force.
    let mut narrow = genesis();
    narrow.parameters.as_mut().unwrap().clock_ahead_ms = 500;
    let mut world = World::of(narrow);
    let wide = carried(|parameters| parameters.clock_ahead_ms = 2_000);
    let back = at_once(&motion(|world| {
        let narrow = &world.tip.parameters;
        let wide = made_of(narrow, &v1::Parameters { clock_ahead_ms: 2_000, ..narrow.clone() });
        Change::SetParameters(made_of(&wide, narrow))
    }));
    assert_eq!(outcome(&mut world, &together(&[wide, back])), refused("PARAMETER_RANGE"));
}

/// PROTOCOL 6.5: after a block there are as many archives as its figures ask for.
#[test]
fn archives_are_counted_by_the_figures_of_the_same_block() {
    let mut genesis = genesis();
    let parameters = genesis.parameters.as_mut().unwrap();
    parameters.archives_min = 0;
    let mut world = World::of(genesis);
    let one = carried(|parameters| parameters.archives_min = 1);
    let gone = at_once(&remove("operator-1"));
    assert_eq!(outcome(&mut world.clone(), &gone), ACCEPTED);
    assert_eq!(outcome(&mut world, &together(&[one, gone])), refused("ARCHIVES_MIN"));
}

/// The world's network has one archive.
#[test]
fn no_more_archives_are_asked_for_than_there_are() {
    check(&[], carried(|parameters| parameters.archives_min = 2), refused("ARCHIVES_MIN"));
    let none = carried(|parameters| parameters.archives_min = 0);
    let mut world = check(&[], none, ACCEPTED);
    // The bound in force counts: now the one archive may leave.
    assert_eq!(outcome(&mut world.clone(), &at_once(&remove("operator-1"))), ACCEPTED);
    let again = carried(|parameters| parameters.archives_min = 1);
    assert_eq!(outcome(&mut world, &again), ACCEPTED);
    assert_eq!(outcome(&mut world, &at_once(&remove("operator-1"))), refused("ARCHIVES_MIN"));
}

#[test]
fn who_joins_by_snapshot_reads_the_figures_from_their_leaf() {
    let world = happened_in(&[three_minutes(), created("alice")]);
    let leaf = &world.state.leaves[&TreeKey::parameters()];
    let height = world.tip.height();
    assert_eq!(latest_parameters(height, leaf).unwrap(), world.tip.parameters);
    assert_eq!(world.tip.parameters.valid_until_window_ms, 180_000);
    assert!(latest_parameters(height, &leaf[1..]).is_err());
    assert!(latest_parameters(height, &encode(&v1::Parameters::default())).is_err());
}
