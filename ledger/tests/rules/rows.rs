//! Rows of the requirements about what does not happen: nothing of another issuer, nothing of another credential,
//! nothing at all.

use crate::desk::{
    INVALID, SUSPENDED, VALID, What, YEAR, enrolled, issue, listed, office, policy, reserve, set,
};
use crate::desk::{activate, end, keys_of};
use crate::story::{
    ACCEPTED, Draft, created, meanwhile, outcome, refused, set_device, update, wait,
};
use crate::support::World;
use sillok_ledger::TreeKey;
use sillok_proto::v1;
use std::collections::BTreeSet;
use v1::{Action, Channel, Reason};

/// The list `theirs` of `rival`, which issues the same types on its own.
fn theirs() -> Vec<Draft> {
    let named = meanwhile(|world| {
        let list = world.list_name("rival", "id", "theirs");
        world.names.insert("theirs".to_owned(), list);
    });
    vec![listed("rival", "id", "theirs"), named]
}

/// The leaves that a step changes.
fn changed(world: &mut World, step: &Draft) -> BTreeSet<TreeKey> {
    let before = world.state.leaves.clone();
    assert_eq!(outcome(world, step), ACCEPTED);
    assert!(before.keys().all(|key| world.state.leaves.contains_key(key)), "nothing goes away");
    let new = |(key, leaf): &(&TreeKey, &Vec<u8>)| before.get(key) != Some(leaf);
    world.state.leaves.iter().filter(new).map(|(key, _)| *key).collect()
}

/// Not private: those that everybody may read.
fn public(keys: BTreeSet<TreeKey>) -> BTreeSet<TreeKey> {
    keys.into_iter().filter(|key| key.0[0] >> 4 != 15).collect()
}

/// A2: two systems issue, each on its own. Whoever writes an entry, a list or an enrollment of the other is told whose
/// it is. (A version of another's type: `a19_a_version_of_a_type_is_published_once_and_stays`.)
#[test]
fn a2_an_issuer_writes_nothing_of_another() {
    let mut happened = theirs();
    happened.extend(enrolled("alice", 1));
    happened.push(issue("ids", &[(1, "alice")]));
    let world = office(&happened);
    let foreign = |step: Draft, code| {
        let mut world = world.clone();
        let leaves = world.state.leaves.clone();
        assert_eq!(outcome(&mut world, &step), refused(code));
        assert!(leaves == world.state.leaves, "a refusal leaves no trace");
    };
    // Entries: set, suspended, ended; by the other issuer itself and by those below it.
    for (list, other) in [("ids", "rival"), ("theirs", "agency"), ("theirs", "counter")] {
        for state in [VALID, SUSPENDED, INVALID] {
            foreign(set(list, state, &[1]).role(other), "NOT_OWNER");
        }
    }
    // Enrollments: reserved, activated, suspended, ended.
    foreign(reserve("bob", 1).role("rival"), "NOT_OWNER");
    foreign(activate("alice", 1).role("rival"), "NOT_OWNER");
    foreign(crate::desk::suspend("alice").role("rival"), "NOT_OWNER");
    foreign(end("alice").role("rival"), "NOT_OWNER");
    // Lists: one in the other's name needs the other's controlling key.
    foreign(listed("agency", "id", "another").by(&["rival/control"]), "NOT_AUTHORIZED");
    // Each writes its own.
    for (list, own) in [("ids", "agency"), ("theirs", "rival")] {
        let mut world = world.clone();
        assert_eq!(outcome(&mut world, &set(list, INVALID, &[7]).role(own)), ACCEPTED);
    }
}

/// A9: beside the plastic card and other mobile IDs. What ends one credential changes no other, of the same person, of
/// the same device or of anybody; and there is no place for the status of a person.
#[test]
fn a9_ending_one_credential_changes_no_other() {
    let at_rival = |step: Draft, number: u32| {
        step.role("rival").desk(move |desk| {
            desk.what = What::Enroll { issuer: "rival".to_owned(), of: "id".to_owned() };
            // Another phone key, and another QR.
            let [one_time, enrollment] = keys_of("alice at rival", number);
            desk.one_time = desk.one_time.is_some().then(|| one_time.clone());
            if desk.enrollment.is_some() {
                desk.enrollment = Some(enrollment.clone());
                desk.holder = vec![one_time, enrollment];
            }
        })
    };
    let mut happened = theirs();
    happened.push(meanwhile(|world| world.give("dept-2", Action::Approve, "id", "rival", [0; 3])));
    happened.extend([
        at_rival(reserve("alice", 1), 1).approved(&["dept-2"]),
        at_rival(activate("alice", 1), 1),
        issue("theirs", &[(5, "alice")]).role("rival"),
    ]);
    happened.extend(enrolled("alice", 1));
    happened.extend(enrolled("bob", 1));
    happened.extend([
        created("alice"),
        issue("ids", &[(1, "alice"), (2, "alice"), (3, "bob")]),
        issue("ids-2", &[(1, "alice")]),
        set("badges", VALID, &[1]),
    ]);
    let mut world = office(&happened);
    let ids = world.did("ids");
    let beside = |world: &World| {
        [("theirs", 5), ("badges", 1), ("ids", 3), ("ids", 4)]
            .map(|(list, index)| world.entry(list, index))
    };
    let before = beside(&world);

    // One entry: its list, its chunk, and the record of its date; nothing of the DID, of grants or of other lists.
    let step = set("ids", INVALID, &[1]).invalid_from(-1_000);
    let touched = public(changed(&mut world, &step));
    let allowed = [
        TreeKey::status_list(&ids),
        TreeKey::status_chunk(&ids, 0),
        TreeKey::entry_record(&ids, 0),
    ];
    assert!(touched.contains(&allowed[1]) && touched.iter().all(|key| allowed.contains(key)));
    assert_eq!(world.entry("ids", 2), VALID, "one entry of a person, not the other");
    assert_eq!(world.entry("ids-2", 1), VALID);
    assert_eq!(beside(&world), before);

    // The enrollment at one issuer: its entries in both of its lists, and no other's.
    let others = world.did("ids-2");
    let touched = public(changed(&mut world, &end("alice")));
    let allowed: Vec<TreeKey> = [ids, others]
        .iter()
        .flat_map(|list| {
            [
                TreeKey::status_list(list),
                TreeKey::status_chunk(list, 0),
                TreeKey::entry_record(list, 0),
            ]
        })
        .collect();
    assert!(touched.iter().all(|key| allowed.contains(key)), "{touched:?}");
    assert_eq!((world.entry("ids", 2), world.entry("ids-2", 1)), (INVALID, INVALID));
    assert_eq!(beside(&world), before);
    assert_eq!(before[0], VALID);
    // What the other issuer gave goes on living: it can be renewed, suspended and ended by itself.
    let of_rival = at_rival(crate::desk::suspend("alice"), 1);
    assert_eq!(outcome(&mut world, &of_rival), ACCEPTED);
    assert_eq!(world.entry("theirs", 5), SUSPENDED);
    assert_eq!(outcome(&mut world, &update("alice")), ACCEPTED);
}

/// B13: how long a credential may be valid and when it may be renewed are configuration of its type; and what ended
/// long ago stays readable.
#[test]
fn b13_validity_is_of_the_type_and_what_has_ended_stays() {
    let day = crate::desk::DAY;
    for (validity_max_ms, renewal_window_ms) in
        [(10 * YEAR, 180 * day), (3 * YEAR, 60 * day), (YEAR, 30 * day)]
    {
        let kind = meanwhile(move |world| {
            let policy = v1::TypePolicy { validity_max_ms, renewal_window_ms, ..policy(true) };
            world.publish("id", policy);
        });
        let until =
            |ms: u64| reserve("alice", 1).desk(move |desk| desk.valid_until = Some(ms as i64));
        let world = office(std::slice::from_ref(&kind));
        let tried = |step: Draft| outcome(&mut world.clone(), &step);
        assert_eq!(tried(until(validity_max_ms)), ACCEPTED);
        assert_eq!(tried(until(validity_max_ms + 1)), refused("VALIDITY_OUT_OF_RANGE"));

        let mut world = office(&[
            kind,
            until(validity_max_ms),
            activate("alice", 1),
            issue("ids", &[(1, "alice")]),
        ]);
        let left = |world: &World| {
            world.enrollment("alice").unwrap().valid_until_ms - world.tip.header.time_ms
        };
        let renewal = || {
            let [one_time, _] = keys_of("alice", 2);
            reserve("alice", 2).reason(Reason::Renewal).desk(move |desk| {
                desk.valid_until = Some(YEAR as i64);
                desk.one_time = Some(one_time.clone());
            })
        };
        let opens = left(&world) - renewal_window_ms;
        let tried = |ms: u64| outcome(&mut world.clone(), &renewal().after(ms));
        assert_eq!(tried(opens - 1), refused("RENEWAL_TOO_EARLY"));
        assert_eq!(tried(opens), ACCEPTED);

        // More than ten years after its end: the entry, its list, and the keys of whoever issued it.
        assert_eq!(outcome(&mut world, &end("alice")), ACCEPTED);
        let (kept, head) = (world.state.leaves.clone(), world.head("agency", None));
        for _ in 0..11 {
            assert_eq!(outcome(&mut world, &wait(YEAR)), ACCEPTED);
        }
        assert_eq!(world.entry("ids", 1), INVALID);
        let list = world.did("ids");
        for key in [TreeKey::status_list(&list), TreeKey::status_chunk(&list, 0)] {
            assert!(kept.contains_key(&key) && kept.get(&key) == world.state.leaves.get(&key));
        }
        assert_eq!(world.head("agency", None), head);
    }
}

/// B19: each of the three channels ends at once, by one operation at one height, without approval and without any key
/// of the lost phone.
#[test]
fn b19_a16_each_channel_ends_at_once_and_alone() {
    let mut happened: Vec<Draft> = enrolled("alice", 1).into();
    happened.push(issue("ids", &[(1, "alice")]));
    for (channel, role) in [
        (Channel::Portal, "counter"),
        (Channel::Office, "counter"),
        (Channel::CallCentre, "call-centre"),
    ] {
        let mut world = office(&happened);
        let height = world.tip.height();
        let lost = end("alice").channel(channel).role(role);
        assert_eq!(outcome(&mut world, &lost), ACCEPTED, "{channel:?}");
        assert_eq!((world.tip.height(), world.entry("ids", 1)), (height + 1, INVALID));
    }
}

/// D16: the PIN of a wallet and the password of an office are of no concern to the ledger. With the same keys there is
/// nothing to write: each operation that would change nothing is refused.
#[test]
fn d16_a_new_password_has_nothing_to_write() {
    let mut happened: Vec<Draft> = enrolled("alice", 1).into();
    happened.extend([issue("ids", &[(1, "alice")]), created("alice")]);
    let mut world = office(&happened);
    let keys = world.document("alice");
    for (step, code) in [
        (update("alice").with(keys), "ALREADY"),
        (set_device("alice", "alice/1").by(&["alice/1"]), "ALREADY"),
        (issue("ids", &[(1, "alice")]), "ALREADY"),
    ] {
        let before = (world.tip.height(), world.state.leaves.clone());
        assert_eq!(outcome(&mut world, &step), refused(code));
        assert!(before == (world.tip.height(), world.state.leaves.clone()));
    }
}
