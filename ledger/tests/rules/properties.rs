//! What holds whatever anybody sends: random operations by every party, in random blocks.

use crate::motion::{Motion, admit_keys, join, observe, rekey, remove, replace, unobserve};
use crate::story::{
    Draft, created, deactivate, founded, give_up, happened_in, rekeyed, restore, set_device,
    take_away, together, update, wait,
};
use crate::support::{STEP_MS, World, agreement, bound, device, document, key};
use proptest::prelude::*;
use sillok_did_method::{CAPABILITY_INVOCATION, SUBMIT};
use sillok_ledger::{CheckedTransaction, TreeKey, proposers, quorum};
use sillok_proto::{Hash, v1};

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

const MEMBERS: [&str; 6] =
    ["operator-1", "operator-2", "operator-3", "operator-4", "ministry", "carrier"];
/// Longer than any test.
const LONG_MS: u64 = 25 * 24 * 3_600_000;
const NUMBERS: [&str; 3] = ["", "2", "3"];
const VALIDATORS: [&str; 3] = ["validator", "validator2", "validator3"];

/// Something that somebody tries about members.
#[derive(Debug, Clone)]
enum Attempt {
    /// Opens the motion of this kind, for this organization and these keys, and gets this many approvals, beginning
    /// with that of the first named.
    Move {
        kind: u8,
        whom: usize,
        number: usize,
        first: usize,
        approvals: usize,
        expires_ms: u64,
    },
    Join {
        whom: usize,
        number: usize,
    },
    Rekey {
        whom: usize,
        number: usize,
    },
    Wait {
        ms: u64,
    },
    Work {
        from: usize,
    },
}

fn attempt_on_members() -> impl Strategy<Value = Attempt> {
    let whom = 0..MEMBERS.len();
    let number = 0..NUMBERS.len();
    let ends = prop::sample::select(vec![4_000_u64, 100_000, LONG_MS, LONG_MS]);
    let kind = prop::sample::select(vec![0, 0, 1, 1, 2, 3, 4]);
    let moves = (kind, whom.clone(), number.clone(), whom.clone(), 2..=6_usize, ends).prop_map(
        |(kind, whom, number, first, approvals, expires_ms)| Attempt::Move {
            kind,
            whom,
            number,
            first,
            approvals,
            expires_ms,
        },
    );
    prop_oneof![
        4 => moves,
        4 => (whom.clone(), number.clone()).prop_map(|(whom, number)| Attempt::Join { whom, number }),
        2 => (whom.clone(), number).prop_map(|(whom, number)| Attempt::Rekey { whom, number }),
        1 => prop::sample::select(vec![1_000_u64, 60_000, 700_000, 25 * 3_600_000])
            .prop_map(|ms| Attempt::Wait { ms }),
        1 => whom.prop_map(|from| Attempt::Work { from }),
    ]
}

impl Attempt {
    fn motion(&self, now_ms: u64) -> Option<Motion> {
        let Self::Move { kind, whom, number, expires_ms, .. } = *self else { return None };
        let (name, number) = (MEMBERS[whom], NUMBERS[number]);
        let motion = match kind {
            0 => admit_keys(name, number),
            1 => replace(name, number),
            2 => remove(name),
            3 => observe(["observer/node", "new/node", "ministry/node"][whom % 3]),
            _ => unobserve(["observer/node", "new/node", "ministry/node"][whom % 3]),
        };
        Some(motion.until(now_ms + expires_ms))
    }

    /// Runs it; much of it is refused.
    fn run(&self, world: &mut World) {
        let governance = |world: &World, name: &str| {
            // With the governance key in force, whichever it is; names of keys follow their numbers.
            let record = world.operator(name).and_then(|record| record.operator)?;
            let names = NUMBERS.iter().map(|number| format!("{name}/governance{number}"));
            names.into_iter().find(|one| key(one).point == record.governance_key)
        };
        let sign = |world: &World, name: &str, draft: Draft| match governance(world, name) {
            Some(key) => draft.by(&[&key]),
            None => draft,
        };
        let one = |world: &mut World, draft: &Draft| {
            let _ = world.run(draft);
        };
        match self {
            Self::Move { first, approvals, .. } => {
                let Some(motion) = self.motion(world.tip.header.time_ms) else { return };
                let mut names = MEMBERS.iter().cycle().skip(*first).take(*approvals);
                if let Some(name) = names.next() {
                    let draft = sign(world, name, motion.proposed_by(name));
                    one(world, &draft);
                }
                for name in names {
                    let draft = sign(world, name, motion.approved_by(name));
                    one(world, &draft);
                }
            }
            Self::Join { whom, number } => {
                // Mostly a key that may join, if there is one.
                let waiting: Vec<(&str, &str)> = MEMBERS
                    .into_iter()
                    .flat_map(|name| VALIDATORS.map(|validator| (name, validator)))
                    .filter(|(name, validator)| {
                        let pending = world.operator(name).and_then(|record| record.pending);
                        let point = key(&format!("{name}/{validator}")).point;
                        pending.is_some_and(|pending| pending.validator_key == point)
                    })
                    .collect();
                let (name, chosen) = match waiting.get(whom % waiting.len().max(1)) {
                    Some(one) if *number > 0 => *one,
                    _ => (MEMBERS[*whom], VALIDATORS[*number]),
                };
                one(world, &join(name, chosen));
            }
            Self::Rekey { whom, number } => {
                let name = MEMBERS[*whom];
                let draft = sign(world, name, rekey(name, VALIDATORS[*number]));
                one(world, &draft);
            }
            Self::Wait { ms } => one(world, &wait(*ms)),
            Self::Work { from } => {
                // One of the members does not work for a while, so that it counts as absent.
                let working = MEMBERS.iter().enumerate().filter(|(nth, _)| nth != from);
                world.working = working.map(|(_, name)| (*name).to_owned()).collect();
                for _ in 0..45 {
                    let seated = |name: &String| {
                        let did = world.did(name);
                        world
                            .tip
                            .validators
                            .validators
                            .iter()
                            .any(|seat| seat.organization == did.0)
                    };
                    if !world.working.iter().any(seated) {
                        break;
                    }
                    one(world, &wait(STEP_MS));
                }
                world.working = all_members();
            }
        }
    }
}

/// All build blocks, in turn, who are seated.
fn all_members() -> Vec<String> {
    MEMBERS.iter().map(|name| (*name).to_owned()).collect()
}

/// How many validators of the latest set are not absent, and how many must not be.
fn present(world: &World) -> (usize, usize) {
    let set = &world.tip.next_validators;
    // As the last block saw it, whose rule it was.
    let absent = proposers::absent(set, world.tip.height(), &world.tip.recent).len();
    (set.validators.len() - absent, quorum(set.validators.len()))
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever anybody tries about members, in whatever order: the set is one, its operators are the members, every
    /// seat has its key in force, keys never return (all asserted where blocks are committed); and a set that changes
    /// keeps a quorum that is not absent, and its archive.
    #[test]
    fn members_stay_a_network_whatever_is_tried(
        attempts in proptest::collection::vec(attempt_on_members(), 1..40),
    ) {
        let mut world = World::new();
        // Quantity matters here, and who signed is read from the keys that are named.
        world.trusting = true;
        world.working = all_members();
        let mut seats_ever = std::collections::BTreeMap::new();
        for attempt in &attempts {
            let before = world.tip.next_validators.clone();
            attempt.run(&mut world);
            if world.tip.next_validators != before && !matches!(attempt, Attempt::Work { .. }) {
                let (present, quorum) = present(&world);
                prop_assert!(present >= quorum, "{} of {}", present, quorum);
            }
            let mut archives = 0;
            for seat in &world.tip.next_validators.validators {
                let owner = seats_ever.entry(seat.public_key.clone());
                let since = (seat.organization.clone(), seat.since_height);
                let first = owner.or_insert_with(|| since.clone());
                prop_assert_eq!(first, &since, "a key takes one seat once");
                let organization = Hash::from_slice(&seat.organization).unwrap();
                let record: v1::OperatorRecord =
                    world.leaf(&TreeKey::operator(&organization)).unwrap();
                archives += usize::from(record.operator.unwrap().archive);
            }
            prop_assert!(archives >= 1);
        }
    }
}
