//! What holds whatever anybody sends: random operations by every party, in random blocks.

use crate::story::{
    Draft, created, deactivate, founded, give_up, happened_in, rekeyed, restore, set_device,
    take_away, together, update,
};
use crate::support::{STEP_MS, World, agreement, bound, device, document};
use proptest::prelude::*;
use sillok_did_method::{CAPABILITY_INVOCATION, SUBMIT};
use sillok_ledger::{CheckedTransaction, TreeKey};
use sillok_proto::v1;

const SIGNERS: [&str; 9] = [
    "alice/1",
    "alice/2",
    "alice/3",
    "bob/1",
    "registrar/control",
    "registrar-2/control",
    "countersigner/control",
    "agency/control",
    "agency/submit",
];

/// Something that somebody tries: mostly nearly right, so that many run.
fn attempt() -> impl Strategy<Value = Draft> {
    let name = prop::sample::select(vec!["alice", "alice", "alice", "bob", "agency"]);
    let nth = 1..=3_u32;
    let signers =
        proptest::option::weighted(0.4, prop::sample::subsequence(SIGNERS.to_vec(), 0..4));
    let submitter =
        prop::sample::select(vec!["registrar", "registrar", "carrier", "registrar-2", "ministry"]);
    let version = prop_oneof![4 => Just(None), 1 => (1..4_u64).prop_map(Some), 1 => Just(Some(0))];
    let terms = (prop::bool::weighted(0.2), prop::bool::weighted(0.1), 0..70_000_i64);
    (0..9_u8, name, nth, signers, submitter, version, terms).prop_map(
        |(what, name, nth, signers, submitter, version, (any, whole_list, valid_for))| {
            let new = format!("{name}/{nth}");
            let mut draft = match what {
                0 => created(name),
                1 => {
                    let keys = document([device(&new), agreement(&format!("x25519:{nth}"))]);
                    update(name).with(keys).by(&[&new])
                }
                2 => set_device(name, &new),
                3 => give_up(name).by(&[&new]),
                4 => take_away(name),
                5 => restore(name, &new),
                6 => deactivate(name).by(&[&new]),
                7 => founded(name),
                _ => {
                    let (control, submit) =
                        (format!("{name}/control"), format!("{name}/submit-{nth}"));
                    let keys =
                        document([bound(&control, CAPABILITY_INVOCATION), bound(&submit, SUBMIT)]);
                    rekeyed(name, keys, &[&control, &submit])
                }
            };
            if let Some(signers) = signers {
                draft = draft.by(&signers);
            }
            draft = match version {
                None => draft,
                Some(0) => draft.on_none(),
                Some(version) => draft.on(version),
            };
            if any {
                draft = draft.any();
            }
            if whole_list {
                draft = draft.whole_list();
            }
            draft.through(submitter).valid_for(valid_for)
        },
    )
}

fn transaction() -> impl Strategy<Value = Draft> {
    prop_oneof![4 => attempt(), 1 => proptest::collection::vec(attempt(), 1..4).prop_map(|all| together(&all))]
}

fn leaf(world: &World, name: &str) -> Vec<u8> {
    world.state.leaves[&TreeKey::did_head(&world.did(name))].clone()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// No operation or sequence of operations, by whomever, changes what was deactivated. What else holds after every
    /// block is asserted where blocks are committed: heads form a chain, nothing follows a deactivation, one device.
    #[test]
    fn c8_deactivated_is_final(
        before in proptest::collection::vec(transaction(), 0..6),
        after in proptest::collection::vec(transaction(), 1..12),
    ) {
        let mut world = happened_in(&[created("alice"), founded("agency"), created("bob")]);
        for draft in &before {
            let _ = world.run(draft);
        }
        for key in ["alice/1", "alice/2", "alice/3"] {
            let _ = world.run(&deactivate("alice").by(&[key]));
        }
        let deactivated = |world: &World| world.head("alice", None).unwrap().deactivated;
        let was = deactivated(&world).then(|| leaf(&world, "alice"));
        for draft in &after {
            let _ = world.run(draft);
        }
        if let Some(was) = was {
            prop_assert_eq!(leaf(&world, "alice"), was);
        }
    }

    /// Whatever waits in a mempool: the proposer makes a block of it that every validator accepts, and what it leaves
    /// out leaves no trace.
    #[test]
    fn a_proposers_block_is_valid_for_every_validator(
        rounds in proptest::collection::vec(proptest::collection::vec(transaction(), 1..6), 1..4),
    ) {
        let mut world = happened_in(&[created("alice"), founded("agency")]);
        for drafts in &rounds {
            let time_ms = world.next_time_ms(STEP_MS);
            let mut transactions: Vec<v1::Transaction> =
                drafts.iter().map(|draft| world.transaction(draft)).collect();
            transactions.retain(|one| CheckedTransaction::check(world.chain.hash(), one).is_ok());
            let built = world.build(&transactions, time_ms);
            prop_assert_eq!(
                built.block.transactions.len() + built.refused.len(),
                transactions.len(),
                "there is room for all"
            );
            let only = world.build(&built.block.transactions, time_ms);
            prop_assert_eq!(&only.refused, &vec![]);
            prop_assert_eq!(&only.block, &built.block);
            prop_assert_eq!(&only.outcome.changes, &built.outcome.changes);
            // The first one sees the very state that a mempool sees.
            if let Some(first) = transactions.first() {
                let refused = built.refused.first().filter(|(index, _)| *index == 0);
                let verdict = refused.map_or(Ok(()), |(_, error)| Err(error.clone()));
                prop_assert_eq!(world.mempool(first, time_ms), verdict);
            }
            // One that was left out makes the block invalid wherever it is put.
            if let Some((index, error)) = built.refused.last() {
                let mut with = built.block.transactions.clone();
                with.push(transactions[*index].clone());
                let refused = world.execute(&world.force(&with, time_ms));
                prop_assert!(refused.is_err(), "{}", error);
            }
            world.commit(&built);
        }
    }

    /// Of one key there is at most one DID, for ever.
    #[test]
    fn b12_no_key_is_ever_bound_to_two_dids(
        drafts in proptest::collection::vec(transaction(), 1..16),
    ) {
        let mut world = happened_in(&[created("alice"), created("bob")]);
        let mut owners = std::collections::BTreeMap::new();
        for draft in &drafts {
            let _ = world.run(draft);
            for name in ["alice", "bob", "agency"] {
                if world.head(name, None).is_none() {
                    continue;
                }
                for bound in world.document(name).keys {
                    let key = bound.key.unwrap();
                    if key.algorithm() != v1::Algorithm::X25519 {
                        let owner = *owners.entry(key.point).or_insert(name);
                        prop_assert_eq!(owner, name);
                    }
                }
            }
        }
    }
}
