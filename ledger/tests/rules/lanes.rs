//! A18: a flood keeps no loss of a right out of the next block, and nobody out for more than a turn (PROTOCOL §5.2).

use crate::blocks::{large, network};
use crate::story::{Draft, created, take_away, together, update};
use crate::support::{STEP_MS, World};
use sillok_ledger::{Built, CheckedTransaction, Lane};
use sillok_proto::{Hash, v1};

/// Registers so many holders under `registrar-2`, and returns how each loses its device, one transaction each.
fn losses(world: &mut World, count: usize) -> Vec<v1::Transaction> {
    let of = |name: &str| created(name).under("registrar-2").through("registrar-2");
    let names: Vec<String> = (0..count).map(|nth| format!("holder/{nth}")).collect();
    for names in names.chunks(250) {
        let drafts: Vec<Draft> = names.iter().map(|name| of(name)).collect();
        happen(world, &together(&drafts));
    }
    let lost = |name: &String| take_away(name).through("registrar-2");
    names.iter().map(|name| world.transaction(&lost(name))).collect()
}

fn happen(world: &mut World, draft: &Draft) {
    let transaction = world.transaction(draft);
    let built = world.build(&[transaction], world.next_time_ms(STEP_MS));
    assert_eq!(built.refused, vec![]);
    world.commit(&built);
}

fn lane(world: &World, transaction: &v1::Transaction) -> Lane {
    CheckedTransaction::check(world.chain.hash(), transaction).unwrap().lane()
}

/// How many of the block are losses, and how many by `submitter`.
fn count(world: &World, block: &v1::Block, submitter: &str) -> (usize, usize) {
    let submitter: Hash = world.did(submitter);
    let losses = block.transactions.iter().filter(|one| lane(world, one) == Lane::Loss);
    let losses: Vec<_> = losses.collect();
    let own = losses.iter().filter(|one| one.body.as_ref().unwrap().submitter == submitter.0);
    (losses.len(), own.count())
}

/// Each transaction of the block stands at a later place of `candidates` than the one before it.
fn is_in_order(block: &v1::Block, candidates: &[v1::Transaction]) -> bool {
    let mut left = candidates.iter();
    block.transactions.iter().all(|one| left.any(|candidate| candidate == one))
}

/// 6,000 signature checks in a block; a large one has 2,881, a loss one.
fn small_network() -> World {
    let mut world = network(|parameters| parameters.block_signature_checks_max = 6_000);
    happen(&mut world, &created("alice"));
    world
}

#[test]
fn a18_a_flood_of_one_keeps_out_no_loss_of_another_nor_its_own() {
    let mut world = small_network();
    let mut losses = losses(&mut world, 1_700);
    let mut candidates: Vec<v1::Transaction> =
        (0..3).map(|nth| world.transaction(&large(nth))).collect();
    candidates.append(&mut losses);
    let own = world.transaction(&take_away("alice"));
    candidates.push(own.clone());

    let built = world.build(&candidates, world.next_time_ms(STEP_MS));
    assert_eq!(built.refused, vec![]);
    assert!(built.block.transactions.contains(&own), "it stands behind 1,700 of another");
    // 1,500 are kept for losses; one large one fits into the rest; what remains takes the other losses.
    assert_eq!(count(&world, &built.block, "registrar-2"), (1_701, 1_700));
    assert_eq!(built.block.transactions.len(), 1_702);
    assert!(is_in_order(&built.block, &candidates));
    world.commit(&built);
    assert_eq!(world.device_of("alice"), None);
}

/// Beyond the quarter losses have no other place than their turn.
#[test]
fn a18_a_flood_of_losses_keeps_nobody_out_either() {
    let mut world = small_network();
    let losses = losses(&mut world, 5_000);
    let gains = [world.transaction(&large(0)), world.transaction(&created("bob"))];
    let own = world.transaction(&take_away("alice"));
    // In turns of their submitters, as a mempool gives them.
    let mut candidates = losses;
    for (nth, one) in gains.iter().chain([&own]).enumerate() {
        candidates.insert(2 * nth, one.clone());
    }
    let built = world.build(&candidates, world.next_time_ms(STEP_MS));
    assert!(gains.iter().chain([&own]).all(|one| built.block.transactions.contains(one)));
    // 6,000, without the 2,881 of the large one and the two of a registration.
    assert_eq!(count(&world, &built.block, "registrar"), (3_117, 1));
    assert!(is_in_order(&built.block, &candidates));
    world.commit(&built);
    let rest: Vec<v1::Transaction> =
        candidates.into_iter().filter(|one| !built.block.transactions.contains(one)).collect();
    let next = world.build(&rest, world.next_time_ms(STEP_MS));
    assert_eq!((next.block.transactions.len(), next.refused), (1_884, vec![]));
}

#[test]
fn a_block_keeps_the_order_of_a_submitter_across_lanes() {
    let mut world = small_network();
    happen(&mut world, &created("bob"));
    let change = world.transaction(&update("bob"));
    let lost = world.transaction(&take_away("bob"));
    let again = world.transaction(&take_away("bob").valid_for(50_000));
    let mut candidates = vec![change.clone(), lost.clone(), again];
    let room_for_all = world.build(&candidates, world.next_time_ms(STEP_MS));
    assert_eq!(room_for_all.block.transactions, [change.clone(), lost.clone()]);

    candidates.extend((0..3).map(|nth| world.transaction(&large(nth))));
    let built = world.build(&candidates, world.next_time_ms(STEP_MS));
    assert_eq!(built.block.transactions[..2], [change, lost]);
    assert_eq!(built.block.transactions.len(), 4, "two large ones have room");
    // The same loss twice: tried, run in its place, and told once.
    let refused = |built: &Built| -> Vec<(usize, &str)> {
        built.refused.iter().map(|(index, error)| (*index, error.code())).collect()
    };
    assert_eq!(refused(&built), [(2, "ALREADY")]);
    assert_eq!(refused(&built), refused(&room_for_all));
    world.commit(&built);
    assert_eq!(world.device_of("bob"), None);
}

/// The trial runs losses without what stands before them: what it refuses is refused in its place or not at all.
#[test]
fn a_loss_is_judged_in_its_place_and_not_by_the_trial() {
    let mut world = small_network();
    let mut candidates =
        vec![world.transaction(&created("bob")), world.transaction(&take_away("bob"))];
    candidates.extend((0..3).map(|nth| world.transaction(&large(nth))));
    let built = world.build(&candidates, world.next_time_ms(STEP_MS));
    assert_eq!(built.refused, vec![]);
    assert_eq!(built.block.transactions[..2], candidates[..2]);
    world.commit(&built);
    assert_eq!(world.device_of("bob"), None);
}

/// Whoever looks for the one that cannot be run asks shorter and shorter lists: more behind it must not put it out.
#[test]
fn without_lanes_what_stands_behind_changes_nothing_of_what_stands_before() {
    let mut world = small_network();
    let mut losses = losses(&mut world, 1_700);
    let mut candidates: Vec<v1::Transaction> =
        (0..2).map(|nth| world.transaction(&large(nth))).collect();
    candidates.append(&mut losses);
    let time_ms = world.next_time_ms(STEP_MS);
    let all = world.build_in_order(&candidates, time_ms).block.transactions;
    for count in [1, 2, 50, 1_000] {
        let block = world.build_in_order(&candidates[..count], time_ms).block;
        assert_eq!(block.transactions, all[..block.transactions.len()], "{count}");
    }
    assert_eq!(all[..2], candidates[..2]);
    // With them the second large one has room only while nothing waits behind it.
    assert_eq!(world.build(&candidates[..2], time_ms).block.transactions, candidates[..2]);
    assert_ne!(world.build(&candidates, time_ms).block.transactions[..2], candidates[..2]);
}
