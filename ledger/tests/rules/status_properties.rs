//! What holds of status whatever anybody tries: random histories by every desk, each step in a block of its own, as
//! mempool, proposer and validator run it.

use crate::desk::{
    DAY, HOUR, INVALID, PENDING, SUPERSEDED, SUSPENDED, VALID, activate, end, handle, issue,
    office, reinstate, reserve, set, suspend,
};
use crate::story::{Draft, together, wait};
use crate::support::World;
use proptest::prelude::*;
use sillok_proto::v1;
use std::collections::BTreeMap;
use v1::{EnrollmentState as State, Reason};

const PEOPLE: [&str; 4] = ["alice", "bob", "alice'", "bob'"];
const ENTRIES: u32 = 10;

fn person() -> impl Strategy<Value = &'static str> {
    prop::sample::select(PEOPLE.to_vec())
}

/// Something that somebody tries, at whatever number: mostly nearly right, so that many run.
fn attempt() -> impl Strategy<Value = Draft> {
    let reason = prop::sample::select(vec![
        Reason::FirstIssue,
        Reason::LostDevice,
        Reason::AppDeleted,
        Reason::Renewal,
        Reason::DeviceChange,
        Reason::Expired,
    ]);
    let number = prop_oneof![6 => 1..4_u32, 1 => 4..6_u32];
    let state = prop::sample::select(vec![VALID, VALID, INVALID, SUSPENDED, SUPERSEDED]);
    let role = prop::sample::select(vec!["counter", "counter", "counter", "call-centre", "rival"]);
    let indexes = proptest::collection::btree_set(0..ENTRIES, 1..4);
    (0..12_u8, person(), person(), number, reason, state, role, indexes).prop_map(
        |(what, person, other, number, reason, state, role, indexes)| {
            let indexes: Vec<u32> = indexes.into_iter().collect();
            let entries: Vec<(u32, &str)> = indexes.iter().map(|index| (*index, person)).collect();
            let approved = |draft: Draft| draft.approved(&["board", "board-2"]);
            let draft = match what {
                0 | 1 => approved(reserve(person, number).reason(reason)),
                2 => approved(reserve(person, number).reason(reason))
                    .desk(move |desk| desk.new_person = Some(other.to_owned())),
                3..=5 => activate(person, number),
                6 => suspend(person),
                7 => reinstate(person, number),
                8 => end(person),
                9 | 10 => issue("ids", &entries),
                _ => set("ids", state, &indexes),
            };
            draft.role(role)
        },
    )
}

fn step() -> impl Strategy<Value = Draft> {
    prop_oneof![
        8 => attempt(),
        2 => proptest::collection::vec(attempt(), 2..4).prop_map(|all| together(&all)),
        1 => prop::sample::select(vec![HOUR, DAY, 340 * DAY]).prop_map(wait),
    ]
}

/// What was seen of an enrollment and of the entries at one height.
#[derive(Clone, Default)]
struct Seen {
    entries: Vec<u32>,
    enrollments: BTreeMap<&'static str, v1::Enrollment>,
}

fn see(world: &World) -> Seen {
    let enrollments =
        PEOPLE.iter().filter_map(|person| Some((*person, world.enrollment(person)?))).collect();
    Seen { entries: (0..ENTRIES).map(|index| world.entry("ids", index)).collect(), enrollments }
}

fn check_height(world: &World, before: &Seen, now: &Seen) {
    let list = world.did("ids");
    // C8: nothing comes back from invalid or superseded, and nothing is pending again.
    for (index, (was, is)) in before.entries.iter().zip(&now.entries).enumerate() {
        match *was {
            INVALID | SUPERSEDED => assert_eq!(was, is, "entry {index} came back"),
            _ => assert!(*is != PENDING || *was == PENDING, "entry {index} is unused again"),
        }
    }
    for (person, was) in &before.enrollments {
        let is = &now.enrollments[person];
        // A15: numbers only grow; a handle that was moved from never lives again.
        assert!(is.number >= was.number && is.active_number >= was.active_number);
        if was.state() == State::Moved {
            assert_eq!(was, is);
        }
        // C8, A17: an ended or replaced number is never active again.
        let live = |one: &v1::Enrollment| matches!(one.state(), State::Active | State::Suspended);
        if live(is) && (!live(was) || is.enrollment_key != was.enrollment_key) {
            assert!(is.active_number > was.active_number, "{person} came back");
        }
    }
    // A17: an entry is of one enrollment, and lives as it does.
    let mut owners: BTreeMap<u32, &str> = BTreeMap::new();
    for (person, one) in &now.enrollments {
        for of_list in one.entries.iter().filter(|entries| entries.list == list.0) {
            for index in &of_list.indexes {
                assert_eq!(owners.insert(*index, person), None, "entry {index} is of two");
                let state = now.entries[*index as usize];
                match one.state() {
                    State::Active => assert_ne!(state, SUSPENDED),
                    State::Suspended => assert_ne!(state, VALID),
                    other => panic!("{other:?} has entries"),
                }
            }
        }
    }
    // Whatever is valid or suspended is of somebody who is active or suspended: an ended enrollment has no valid entry.
    for (index, state) in now.entries.iter().enumerate() {
        if [VALID, SUSPENDED].contains(state) {
            assert!(owners.contains_key(&(index as u32)), "entry {index} is of nobody");
        }
    }
    // A15, A17: from a number of a handle there is one way on: each key is live in one place.
    let mut keys = BTreeMap::new();
    for (person, one) in &now.enrollments {
        if let Some(key) = &one.enrollment_key {
            assert_eq!(keys.insert(key.point.clone(), person), None, "one key in two places");
        }
    }
    assert_ne!(handle("alice"), handle("alice'"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// A15, A17, C8: see `check_height`.
    #[test]
    fn a15_a17_c8_whatever_is_tried(steps in proptest::collection::vec(step(), 1..40)) {
        let mut world = office(&[]);
        let mut before = see(&world);
        let mut ran = 0;
        for draft in &steps {
            ran += usize::from(world.run(draft).is_ok());
            let now = see(&world);
            check_height(&world, &before, &now);
            before = now;
        }
        prop_assert!(ran <= steps.len());
    }
}

/// The histories above do something: of those that begin like this most steps run.
#[test]
fn histories_reach_every_state() {
    let mut world = office(&[]);
    let mut reached = std::collections::BTreeSet::new();
    for draft in [
        reserve("alice", 1),
        activate("alice", 1),
        issue("ids", &[(1, "alice"), (2, "alice")]),
        suspend("alice"),
        reinstate("alice", 1),
        set("ids", SUPERSEDED, &[1]),
        reserve("alice", 2)
            .reason(Reason::DeviceChange)
            .desk(|desk| desk.new_person = Some("alice'".to_owned())),
        activate("alice", 2),
        end("alice'"),
    ] {
        let before = see(&world);
        world.run(&draft).unwrap();
        let now = see(&world);
        check_height(&world, &before, &now);
        reached.extend(now.enrollments.values().map(|one| one.state));
        reached.extend(now.entries.iter().map(|state| 100 + *state as i32));
    }
    let expected =
        [State::Unspecified, State::Active, State::Suspended, State::Ended, State::Moved];
    assert!(expected.iter().all(|state| reached.contains(&i32::from(*state))), "{reached:?}");
    assert!([100, 102, 103, 112].iter().all(|state| reached.contains(state)), "{reached:?}");
}
