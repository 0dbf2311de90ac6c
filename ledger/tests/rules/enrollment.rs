//! Enrollments: one person, one device, and entries that live and die with it (PROTOCOL §4.2, §4.3).
//!
//! Tests are named after the rows of the requirements that they show.

use crate::desk::{
    DAY, HOUR, INVALID, PENDING, SUPERSEDED, SUSPENDED, VALID, What, YEAR, activate, check, end,
    enrolled, issue, keys_of, office, policy, reinstate, reserve, set, suspend,
};
use crate::story::{ACCEPTED, Draft, created, meanwhile, outcome, refused, together, wait};
use crate::support::{STEP_MS, World, key};
use sillok_did_method::key_id;
use sillok_ledger::{StatusEvent, TreeKey};
use sillok_proto::{Hash, encode, v1};
use v1::{Action, EnrollmentState as State, Reason};

/// Alice is enrolled with number 1 and has entries 1 and 2 of `ids`.
fn alice() -> Vec<Draft> {
    let mut happened: Vec<Draft> = enrolled("alice", 1).into();
    happened.push(issue("ids", &[(1, "alice"), (2, "alice")]));
    happened
}

fn and(mut happened: Vec<Draft>, more: &[Draft]) -> Vec<Draft> {
    happened.extend_from_slice(more);
    happened
}

fn states(world: &World) -> [u32; 2] {
    [1, 2].map(|index| world.entry("ids", index))
}

fn state(world: &World, person: &str) -> State {
    world.enrollment(person).map(|one| one.state()).unwrap_or_default()
}

// ------------------------------------------------------------------------- reserving and activating

/// A6: reserved is not valid; active only with the new key's proof.
#[test]
fn a6_reserved_then_activated_with_the_one_time_key_and_a_fresh_one() {
    let mut world = check(&[], reserve("alice", 1), ACCEPTED);
    assert_eq!(state(&world, "alice"), State::Unspecified);
    assert_eq!(outcome(&mut world, &issue("ids", &[(1, "alice")])), refused("PENDING"));
    assert_eq!(outcome(&mut world, &activate("alice", 1)), ACCEPTED);
    let one = world.enrollment("alice").unwrap();
    assert_eq!((one.state(), one.number, one.active_number), (State::Active, 1, 1));
    assert_eq!(one.reservation, None);
    assert_eq!(one.enrollment_key, Some(key("alice/enrolled/1")));
    assert_eq!(one.activated_ms, world.tip.header.time_ms);
    assert_eq!(outcome(&mut world, &issue("ids", &[(1, "alice"), (2, "alice")])), ACCEPTED);
    assert_eq!(states(&world), [VALID, VALID]);
}

/// A6: past its deadline a reservation is expired, on every node alike: at that millisecond, not before.
#[test]
fn a6_a_reservation_ends_at_its_deadline() {
    let reserved = [reserve("alice", 1)];
    check(&reserved, activate("alice", 1).after(HOUR - 1), ACCEPTED);
    check(&reserved, activate("alice", 1).after(HOUR), refused("EXPIRED"));
    check(&reserved, activate("alice", 1).after(2 * HOUR), refused("EXPIRED"));
    let late = [reserve("alice", 1), wait(HOUR)];
    check(&and(late.to_vec(), &[reserve("alice", 2)]), activate("alice", 2), ACCEPTED);
}

/// A7: of two that activate one number exactly one wins.
#[test]
fn a7_one_device() {
    let reserved = [reserve("alice", 1)];
    let other = || {
        activate("alice", 1).desk(|desk| {
            desk.enrollment = Some("alice/other".to_owned());
            desk.holder[1] = "alice/other".to_owned();
        })
    };
    let mut world =
        check(&and(reserved.to_vec(), &[activate("alice", 1)]), other(), refused("ONE_DEVICE"));
    assert_eq!(outcome(&mut world, &activate("alice", 1)), refused("ONE_DEVICE"));
    // Both in one block, in either order: the first runs.
    for order in [[0, 1], [1, 0]] {
        let mut world = office(&reserved);
        let both = [world.transaction(&activate("alice", 1)), world.transaction(&other())];
        let both = order.map(|nth: usize| both[nth].clone());
        let built = world.build(&both, world.next_time_ms(STEP_MS));
        assert_eq!(built.block.transactions, [both[0].clone()]);
        let [(1, error)] = built.refused.as_slice() else { panic!("{:?}", built.refused) };
        assert_eq!(error.code(), "ONE_DEVICE");
        assert!(world.execute(&world.force(&both, world.next_time_ms(STEP_MS))).is_err());
    }
    // Also where it moved to another handle.
    let moving = reserve("alice", 1).desk(|desk| desk.new_person = Some("alice'".to_owned()));
    let moved = [moving, activate("alice", 1)];
    check(&moved, other(), refused("ONE_DEVICE"));
}

/// B7: a one-time key works once, for who holds it, while who handed it out may issue.
#[test]
fn b7_a_one_time_key_works_once_for_its_holder_while_the_role_may_issue() {
    let reserved = [reserve("alice", 1)];
    let with = |one_time: &'static str, signers: [&'static str; 2]| {
        activate("alice", 1).desk(move |desk| {
            desk.one_time = Some(one_time.to_owned());
            desk.holder = signers.map(str::to_owned).to_vec();
        })
    };
    let enrolled_key = "alice/enrolled/1";
    check(&reserved, with("mallory", ["mallory", enrolled_key]), refused("ONE_TIME_KEY_MISMATCH"));
    check(&reserved, with("alice/qr/1", ["mallory", enrolled_key]), refused("POSSESSION_MISSING"));
    let one = activate("alice", 1).desk(|desk| desk.holder.truncate(1));
    check(&reserved, one, refused("POSSESSION_MISSING"));
    let forged = activate("alice", 1).forged(|one| {
        let operation = &mut one.private_signatures.as_mut().unwrap().operations[0];
        operation.holder_keys[0].signature[1] ^= 1;
    });
    check(&reserved, forged, refused("BAD_SIGNATURE"));
    let same = activate("alice", 1).desk(|desk| desk.enrollment.clone_from(&desk.one_time));
    check(&reserved, same, refused("SAME_KEY"));
    check(&[], activate("alice", 1), refused("NO_RESERVATION"));
    // The role's delegation ended; another role carries it all the same.
    let ended = meanwhile(|world| world.take_right("counter", Action::Issue, "id"));
    let by_agency = activate("alice", 1).role("agency");
    check(&and(reserved.to_vec(), &[ended]), by_agency.clone(), refused("ROLE_ENDED"));
    check(&reserved, by_agency, ACCEPTED);
    // Used keys never return, neither the one-time key nor the enrollment key, nor a key of any DID.
    let [one_time, enrollment] = keys_of("alice", 1);
    for used in [one_time, enrollment, "registrar/control".to_owned(), "carol/1".to_owned()] {
        let happened = and(alice(), &[created("carol"), end("alice")]);
        let again = reserve("alice", 2).desk(move |desk| desk.one_time = Some(used.clone()));
        check(&happened, again, refused("KEY_REUSE"));
    }
    let happened = and(alice(), &[end("alice"), reserve("alice", 2)]);
    let kept = activate("alice", 2).desk(|desk| {
        desk.enrollment = Some("alice/enrolled/1".to_owned());
        desk.holder[1] = "alice/enrolled/1".to_owned();
    });
    check(&happened, kept, refused("KEY_REUSE"));
    // Two reservations of one key: the first to be activated takes it.
    let twice = reserve("bob", 1).desk(|desk| desk.one_time = Some("alice/qr/1".to_owned()));
    let second = activate("bob", 1).desk(|desk| {
        desk.one_time = Some("alice/qr/1".to_owned());
        desk.holder[0] = "alice/qr/1".to_owned();
    });
    check(&[reserve("alice", 1), twice, activate("alice", 1)], second, refused("KEY_REUSE"));
}

/// What the holder signed for one transaction is worth nothing in another.
#[test]
fn signatures_of_a_holder_are_for_one_transaction() {
    let mut world = office(&[reserve("alice", 1)]);
    let first = world.transaction(&activate("alice", 1));
    let taken = first.private_signatures.unwrap().operations[0].holder_keys.clone();
    let stolen = activate("alice", 1).through("carrier").forged(move |one| {
        one.private_signatures.as_mut().unwrap().operations[0].holder_keys.clone_from(&taken);
    });
    assert_eq!(outcome(&mut world, &stolen), refused("BAD_SIGNATURE"));
}

#[test]
fn a_reservation_has_bounds() {
    let with = |deadline: i64, valid_until: i64| {
        reserve("alice", 1).desk(move |desk| {
            (desk.deadline, desk.valid_until) = (Some(deadline), Some(valid_until));
        })
    };
    let (day, five) = (DAY as i64, 5 * YEAR as i64);
    check(&[], with(day, five), ACCEPTED);
    check(&[], with(day + 1, five), refused("DEADLINE_OUT_OF_RANGE"));
    check(&[], with(0, five), refused("DEADLINE_OUT_OF_RANGE"));
    check(&[], with(-1, five), refused("DEADLINE_OUT_OF_RANGE"));
    check(&[], with(day, day), refused("OUT_OF_RANGE"));
    check(&[], with(i64::MAX, i64::MAX), refused("OUT_OF_RANGE"));
    let far = reserve("alice", 1).desk(|desk| desk.valid_until = Some(i64::MAX));
    check(&[], far, refused("VALIDITY_OUT_OF_RANGE"));
}

/// D2: no longer than the type allows, also when it allows less by the time of the activation.
#[test]
fn d2_an_enrollment_is_no_longer_than_its_type_allows() {
    let long = reserve("alice", 1).desk(|desk| desk.valid_until = Some(5 * YEAR as i64 + 1));
    check(&[], long, refused("VALIDITY_OUT_OF_RANGE"));
    let shorter = meanwhile(|world| {
        world.publish("id", v1::TypePolicy { validity_max_ms: YEAR / 2, ..policy(true) });
    });
    let happened = [reserve("alice", 1), shorter];
    check(&happened, activate("alice", 1), refused("VALIDITY_OUT_OF_RANGE"));
}

/// D12: several algorithms by policy; others, and what is no key, are refused.
#[test]
fn d12_algorithms_are_those_of_the_type() {
    let phone = |draft: Draft| {
        draft.desk(|desk| {
            for one in [&mut desk.one_time, &mut desk.enrollment] {
                *one = one.take().map(|name| format!("p256:{name}"));
            }
            desk.holder = desk.holder.iter().map(|name| format!("p256:{name}")).collect();
        })
    };
    check(&[phone(reserve("alice", 1))], phone(activate("alice", 1)), ACCEPTED);
    let tokens_only = meanwhile(|world| {
        world.publish("id", v1::TypePolicy { key_algorithms: 0b100, ..policy(true) });
    });
    let only = [tokens_only];
    check(&only, reserve("alice", 1), refused("KEY_ALGORITHM_NOT_ALLOWED"));
    check(&only, phone(reserve("alice", 1)), ACCEPTED);
    let agreement = reserve("alice", 1).desk(|desk| desk.one_time = Some("x25519:a".to_owned()));
    check(&[], agreement, refused("INVALID_HOLDER_KEY"));
}

/// A3, A15: first issue and reissue alike are approved, and prove a fresh key.
#[test]
fn a3_a15_a_reissue_is_approved_like_a_first_issue() {
    check(&[], reserve("alice", 1).approved(&[]), refused("APPROVAL_MISSING"));
    let reissue = || reserve("alice", 2).reason(Reason::LostDevice);
    let lost = and(alice(), &[end("alice")]);
    check(&lost, reissue().approved(&[]), refused("APPROVAL_MISSING"));
    check(&lost, reissue(), ACCEPTED);
    // The one that acts is not its own approver, and the approval is not of the activation.
    check(&lost, reissue().role("agency").approved(&["agency"]), refused("APPROVER_NOT_ALLOWED"));
    check(&and(lost, &[reissue()]), activate("alice", 2), ACCEPTED);
}

/// A15: numbers grow one by one, so there is no fork and no cycle.
#[test]
fn a15_numbers_only_grow() {
    for number in [2, 3, u32::MAX] {
        check(&[], reserve("alice", number), refused("STALE_NUMBER"));
    }
    check(&[], reserve("alice", 0), refused("MISSING_FIELD"));
    let ended = and(alice(), &[end("alice")]);
    check(&ended, reserve("alice", 1), refused("STALE_NUMBER"));
    check(&ended, reserve("alice", 3), refused("STALE_NUMBER"));
    // A second reservation takes the place of the first, whose key opens nothing any more.
    let twice = [reserve("alice", 1), reserve("alice", 2)];
    let mut world = check(&twice, activate("alice", 1), refused("STALE_NUMBER"));
    assert_eq!(outcome(&mut world, &activate("alice", 2)), ACCEPTED);
    assert_eq!(world.enrollment("alice").unwrap().active_number, 2);
    // At the end of all numbers nothing follows.
    let last = meanwhile(|world| {
        let leaf = TreeKey::enrollment(
            &world.did("agency"),
            &world.did("id"),
            &crate::desk::handle("zoe"),
        );
        let one = v1::Enrollment { number: u32::MAX, ..v1::Enrollment::default() };
        world.state.leaves.insert(leaf, encode(&one));
    });
    check(&[last], reserve("zoe", u32::MAX), refused("STALE_NUMBER"));
}

// --------------------------------------------------------------------------------------- replacing

/// D6: the old one is ended first, or in the same transaction, or replaced for a reason that replaces.
#[test]
fn d6_the_old_one_is_ended_before_a_new_one() {
    let again = || reserve("alice", 2);
    check(&alice(), again(), refused("OLD_NOT_REVOKED"));
    check(&alice(), again().reason(Reason::LostDevice), refused("OLD_NOT_REVOKED"));
    check(
        &and(alice(), &[suspend("alice")]),
        again().reason(Reason::DeviceChange),
        refused("OLD_NOT_REVOKED"),
    );
    check(&and(alice(), &[end("alice")]), again(), ACCEPTED);
    let at_once = together(&[end("alice"), again().reason(Reason::LostDevice)]);
    let world = check(&alice(), at_once, ACCEPTED);
    assert_eq!(states(&world), [INVALID, INVALID]);
}

/// B10, A14, D5: a device is changed at one height: the old key out, the new one in, and the old entries superseded.
#[test]
fn b10_a14_d5_a_device_is_changed_at_one_height() {
    let changed = |reason| reserve("alice", 2).reason(reason);
    for reason in
        [Reason::DeviceChange, Reason::AppDeleted, Reason::PasswordLocked, Reason::Damaged]
    {
        let mut world = office(&and(alice(), &[changed(reason)]));
        // Until then the old one is active, and its entries are valid.
        assert_eq!((state(&world, "alice"), states(&world)), (State::Active, [VALID, VALID]));
        assert_eq!(world.enrollment("alice").unwrap().active_number, 1);
        let activated = activate("alice", 2).reason(reason).grace(DAY as i64);
        assert_eq!(outcome(&mut world, &activated), ACCEPTED);
        let one = world.enrollment("alice").unwrap();
        assert_eq!((one.state(), one.active_number), (State::Active, 2));
        assert_eq!(one.enrollment_key, Some(key("alice/enrolled/2")));
        assert_eq!(one.entries, vec![]);
        assert_eq!(states(&world), [SUPERSEDED, SUPERSEDED]);
        assert_eq!(world.dates("ids", 1), (world.tip.header.time_ms + DAY, 0));
        // The old key reinstates nothing.
        let mut world = office(&and(alice(), &[changed(reason), activated, suspend("alice")]));
        assert_eq!(outcome(&mut world, &reinstate("alice", 1)), refused("STALE_NUMBER"));
        let old = reinstate("alice", 2).desk(|desk| {
            desk.enrollment = Some("alice/enrolled/1".to_owned());
            desk.holder = vec!["alice/enrolled/1".to_owned()];
        });
        assert_eq!(outcome(&mut world, &old), refused("ENROLLMENT_KEY_MISMATCH"));
    }
    let late = activate("alice", 2).grace(7 * DAY as i64 + 1);
    check(&and(alice(), &[changed(Reason::DeviceChange)]), late, refused("GRACE_OUT_OF_RANGE"));
}

/// A14, B20, D5: lost is dead at once, with a date, before anything new is approved.
#[test]
fn a14_b20_d5_what_is_lost_is_dead_at_once() {
    let happened = and(alice(), &[wait(2 * HOUR)]);
    let lost = |ms: i64| end("alice").role("call-centre").invalid_from(ms);
    let world = check(&happened, lost(-(HOUR as i64)), ACCEPTED);
    assert_eq!(states(&world), [INVALID, INVALID]);
    assert_eq!(world.dates("ids", 2), (0, world.tip.header.time_ms - HOUR));
    let one = world.enrollment("alice").unwrap();
    assert_eq!((one.state(), one.enrollment_key, one.entries), (State::Ended, None, vec![]));
    // Not before it was activated.
    check(&happened, lost(-(3 * HOUR as i64)), refused("INVALID_FROM_OUT_OF_RANGE"));
    check(&happened, lost(1), refused("INVALID_FROM_OUT_OF_RANGE"));
}

/// B14, A14: a refresh touches entries alone; enrollment and key stay, and no approval is needed.
#[test]
fn b14_a_refresh_leaves_the_enrollment_as_it_is() {
    let mut world = office(&alice());
    let before = world.enrollment("alice").unwrap();
    let refresh = together(&[
        set("ids", SUPERSEDED, &[1, 2]).grace(DAY as i64),
        issue("ids", &[(11, "alice"), (12, "alice")]),
    ]);
    assert_eq!(outcome(&mut world, &refresh), ACCEPTED);
    assert_eq!(states(&world), [SUPERSEDED, SUPERSEDED]);
    assert_eq!([11, 12].map(|index| world.entry("ids", index)), [VALID, VALID]);
    let after = world.enrollment("alice").unwrap();
    assert_eq!(
        (after.state(), after.number, after.enrollment_key),
        (State::Active, 1, before.enrollment_key)
    );
    // What was superseded stays so when the rest ends.
    assert_eq!(outcome(&mut world, &end("alice")), ACCEPTED);
    assert_eq!(states(&world), [SUPERSEDED, SUPERSEDED]);
    assert_eq!([11, 12].map(|index| world.entry("ids", index)), [INVALID, INVALID]);
}

/// D14, C9: renewal in its window alone; after the end another reason.
#[test]
fn c9_d14_renewal_has_a_window() {
    let renew = || reserve("alice", 2).reason(Reason::Renewal);
    let at = |ms: u64| and(alice(), &[wait(ms)]);
    check(&at(HOUR), renew(), refused("RENEWAL_TOO_EARLY"));
    check(&at(YEAR - 31 * DAY), renew(), refused("RENEWAL_TOO_EARLY"));
    let world = check(&at(YEAR - 29 * DAY), renew(), ACCEPTED);
    assert_eq!(states(&world), [VALID, VALID]);
    check(
        &and(at(YEAR - 29 * DAY), &[renew()]),
        activate("alice", 2).reason(Reason::Renewal),
        ACCEPTED,
    );
    check(&at(YEAR), renew(), refused("EXPIRED"));
    check(&[], reserve("alice", 1).reason(Reason::Renewal), refused("PENDING"));
    check(&and(alice(), &[end("alice")]), renew(), refused("REVOKED"));
    // To the millisecond.
    let mut world = office(&alice());
    let valid_until_ms = world.enrollment("alice").unwrap().valid_until_ms;
    let until = |ms: u64| ms - world.tip.header.time_ms;
    let (window, last) = (until(valid_until_ms - 30 * DAY), until(valid_until_ms));
    let tried = |ms: u64, expected| {
        assert_eq!(outcome(&mut world.clone(), &renew().after(ms)), expected, "{ms}");
    };
    tried(window - 1, refused("RENEWAL_TOO_EARLY"));
    tried(window, ACCEPTED);
    tried(last - 1, ACCEPTED);
    tried(last, refused("EXPIRED"));
    // Nothing becomes valid under what has expired.
    assert_eq!(outcome(&mut world, &issue("ids", &[(9, "alice")]).after(last)), refused("EXPIRED"));
}

/// D7, D5: what has expired is reissued by a reason of its own, or applied for anew, as the type says.
#[test]
fn d7_what_has_expired_is_reissued_as_the_type_says() {
    let expired = and(alice(), &[wait(YEAR)]);
    let reissue = |reason| reserve("alice", 2).reason(reason).approved(&["board", "board-2"]);
    check(&expired, reissue(Reason::Expired), ACCEPTED);
    check(&expired, reissue(Reason::FirstIssue), ACCEPTED);
    check(&expired, reissue(Reason::Damaged), refused("EXPIRED"));
    let anew = meanwhile(|world| {
        world.publish("id", v1::TypePolicy { reissue_after_expiry: false, ..policy(true) });
    });
    let expired = and(expired, &[anew]);
    check(&expired, reissue(Reason::Expired), refused("APPLY_ANEW"));
    check(&expired, reissue(Reason::Damaged), refused("APPLY_ANEW"));
    check(&expired, reissue(Reason::FirstIssue), ACCEPTED);
    check(&alice(), reissue(Reason::Expired), refused("NOT_EXPIRED"));
    let first = reserve("bob", 1).reason(Reason::Expired).approved(&["board", "board-2"]);
    check(&[], first, refused("NOT_EXPIRED"));
    // The entries of the expired one are superseded when the new one is activated, suspended ones too.
    let suspended = and(alice(), &[suspend("alice"), wait(YEAR), reserve("alice", 2)]);
    let world = check(&suspended, activate("alice", 2), ACCEPTED);
    assert_eq!(states(&world), [SUPERSEDED, SUPERSEDED]);
}

/// A handle is rotated by a reissue that moves the enrollment at one height.
#[test]
fn an_enrollment_moves_to_another_handle_at_one_height() {
    let to = |person: &'static str| {
        reserve("alice", 2)
            .reason(Reason::DeviceChange)
            .desk(move |desk| desk.new_person = Some(person.to_owned()))
    };
    let mut world = office(&and(alice(), &[to("alice'"), activate("alice", 2)]));
    assert_eq!((state(&world, "alice"), state(&world, "alice'")), (State::Moved, State::Active));
    let (old, new) = (world.enrollment("alice").unwrap(), world.enrollment("alice'").unwrap());
    assert_eq!((old.number, new.number, new.active_number), (2, 2, 2));
    assert_eq!((old.enrollment_key, old.entries), (None, vec![]));
    assert_eq!(states(&world), [SUPERSEDED, SUPERSEDED]);
    // Final for the old one, whatever is tried.
    for tried in [
        reserve("alice", 3),
        suspend("alice"),
        end("alice"),
        reinstate("alice", 2),
        issue("ids", &[(5, "alice")]),
    ] {
        assert_eq!(outcome(&mut world, &tried), refused("MOVED"), "{tried:?}");
    }
    assert_eq!(outcome(&mut world, &issue("ids", &[(5, "alice'")])), ACCEPTED);
    let back = reserve("alice'", 2).reason(Reason::DeviceChange);
    assert_eq!(outcome(&mut world, &back), refused("STALE_NUMBER"));

    check(&alice(), to("alice"), refused("UNCALLED_FIELD"));
    check(&and(alice(), &[reserve("bob", 1)]), to("bob"), refused("HANDLE_IN_USE"));
    // Taken while it was reserved.
    check(
        &and(alice(), &[to("bob"), reserve("bob", 1)]),
        activate("alice", 2),
        refused("HANDLE_IN_USE"),
    );
}

// --------------------------------------------------------------------------- suspending and ending

/// C10, B18: lost and found, or lost for good; coming back takes the holder's key and the issuer.
#[test]
fn c10_b18_suspended_then_back_or_ended() {
    let suspended = and(alice(), &[suspend("alice").role("call-centre")]);
    let world = office(&suspended);
    assert_eq!((state(&world, "alice"), states(&world)), (State::Suspended, [SUSPENDED; 2]));
    let world = check(&suspended, reinstate("alice", 1), ACCEPTED);
    assert_eq!((state(&world, "alice"), states(&world)), (State::Active, [VALID; 2]));
    let world = check(&suspended, end("alice"), ACCEPTED);
    assert_eq!((state(&world, "alice"), states(&world)), (State::Ended, [INVALID; 2]));

    check(&suspended, reinstate("alice", 1).role("call-centre"), refused("WRONG_TYPE"));
    check(&suspended, reinstate("alice", 1).approved(&[]), refused("APPROVAL_MISSING"));
    let without = reinstate("alice", 1).desk(|desk| desk.holder.clear());
    check(&suspended, without, refused("POSSESSION_MISSING"));
    check(&suspended, reinstate("alice", 2), refused("STALE_NUMBER"));
    check(&and(suspended.clone(), &[wait(YEAR)]), reinstate("alice", 1), refused("EXPIRED"));
    // No way around by the list.
    let around = issue("ids", &[(1, "alice")]);
    check(&suspended, around, refused("USE_SET_ENROLLMENT"));
    check(&alice(), set("ids", SUSPENDED, &[1]), refused("USE_SET_ENROLLMENT"));
    check(&suspended, issue("ids", &[(9, "alice")]), refused("SUSPENDED"));
    // Nor by a reservation from before.
    let before =
        and(alice(), &[reserve("alice", 2).reason(Reason::DeviceChange), suspend("alice")]);
    check(&before, activate("alice", 2), refused("SUSPENDED"));
}

/// A3: the approvals of one reinstatement are not those of the next.
#[test]
fn a3_a_reinstatement_is_approved_anew() {
    let again = || reinstate("alice", 1).desk(|desk| desk.salt = Some(9));
    // The same content at the same time of a deadline-free change: the same operation.
    let happened = and(alice(), &[suspend("alice"), again(), suspend("alice")]);
    check(&happened, again(), refused("APPROVAL_USED"));
    check(&happened, reinstate("alice", 1), ACCEPTED);
}

/// B17, B18: each state by target; and losing takes no key of the phone.
#[test]
fn b17_each_change_is_idempotent_by_target() {
    let ended = and(alice(), &[end("alice")]);
    let suspended = and(alice(), &[suspend("alice")]);
    for (happened, tried, code) in [
        (&ended, end("alice").role("call-centre"), "ALREADY"),
        (&ended, suspend("alice"), "REVOKED"),
        (&ended, reinstate("alice", 1), "REVOKED"),
        (&ended, activate("alice", 1), "REVOKED"),
        (&suspended, suspend("alice").role("call-centre"), "ALREADY"),
        (&alice(), reinstate("alice", 1), "ALREADY"),
        (&Vec::new(), end("alice"), "PENDING"),
        (&Vec::new(), suspend("alice"), "PENDING"),
        (&Vec::new(), reinstate("alice", 1), "PENDING"),
    ] {
        check(happened, tried, refused(code));
    }
    let mut world = office(&ended);
    let height = world.tip.height();
    let error = world.run(&end("alice")).unwrap_err();
    assert_eq!(error.fields(), [("height", height.to_string())]);
    let stale = |draft: Draft| draft.desk(|desk| desk.number = 7);
    check(&alice(), stale(end("alice")), refused("STALE_NUMBER"));
    check(&alice(), stale(suspend("alice")), refused("STALE_NUMBER"));
}

#[test]
fn ending_takes_back_what_is_reserved() {
    let reserved = [reserve("alice", 1)];
    let world = check(&reserved, end("alice"), ACCEPTED);
    assert_eq!(state(&world, "alice"), State::Ended);
    check(&and(reserved.to_vec(), &[end("alice")]), activate("alice", 1), refused("REVOKED"));
    check(&and(reserved.to_vec(), &[wait(HOUR)]), end("alice"), refused("PENDING"));
    let again = and(alice(), &[end("alice"), reserve("alice", 2), end("alice")]);
    check(&again, activate("alice", 2), refused("REVOKED"));
    check(&again, end("alice"), refused("ALREADY"));
    let late = and(alice(), &[end("alice"), reserve("alice", 2), wait(HOUR)]);
    check(&late, end("alice"), refused("ALREADY"));
    let of_old = end("alice").desk(|desk| desk.number = 1);
    check(&and(alice(), &[end("alice"), reserve("alice", 2)]), of_old, refused("STALE_NUMBER"));
}

#[test]
fn velocity_counts_enrollments() {
    let limit = |holder: &'static str, action, each: [u32; 3]| {
        meanwhile(move |world| world.give(holder, action, "id", "agency", each))
    };
    let mut happened = vec![limit("call-centre", Action::Revoke, [0, 1, 1])];
    for person in ["alice", "bob", "carol"] {
        happened.extend(enrolled(person, 1));
    }
    let call = |draft: Draft| draft.role("call-centre");
    happened.push(call(suspend("alice")));
    check(&happened, call(suspend("bob")), refused("VELOCITY_LIMIT"));
    check(&happened, call(suspend("bob")).approved(&["board"]), ACCEPTED);
    happened.push(call(end("bob")));
    check(&happened, call(end("carol")), refused("VELOCITY_LIMIT"));
    check(&happened, call(end("carol")).after(HOUR), ACCEPTED);
    let happened = [limit("counter", Action::Issue, [1, 0, 0]), reserve("alice", 1)];
    check(&happened, reserve("bob", 1), refused("VELOCITY_LIMIT"));
    check(&happened, activate("alice", 1), ACCEPTED);
}

// -------------------------------------------------------------------------------------------- entries

#[test]
fn an_entry_is_one_persons() {
    let both = and(alice(), &enrolled("bob", 1));
    check(&both, issue("ids", &[(1, "bob")]), refused("ENTRY_TAKEN"));
    check(&both, issue("ids", &[(1, "bob"), (9, "bob")]), refused("ENTRY_TAKEN"));
    check(&both, issue("ids", &[(1, "nobody"), (9, "bob")]), refused("ENTRY_TAKEN"));
    check(&both, issue("ids", &[(1, "alice")]), refused("ALREADY"));
    check(&both, issue("ids", &[(1, "alice"), (9, "bob")]), ACCEPTED);
    check(&both, issue("ids", &[(9, "nobody")]), refused("PENDING"));
    // Handles are of this issuer and type: a list of another has none of them.
    let theirs = meanwhile(|world| {
        let list = world.list_name("rival", "id", "theirs");
        world.names.insert("theirs".to_owned(), list);
    });
    let other = and(alice(), &[crate::desk::listed("rival", "id", "theirs"), theirs]);
    check(&other, issue("theirs", &[(1, "alice")]).role("rival"), refused("PENDING"));
    check(&other, issue("theirs", &[(1, "alice")]), refused("NOT_OWNER"));
}

#[test]
fn an_enrollment_has_64_entries_and_final_ones_make_room() {
    let entries = |from: u32, count: u32| -> Vec<(u32, &str)> {
        (from..from + count).map(|index| (index, "alice")).collect()
    };
    let one: Vec<Draft> = enrolled("alice", 1).into();
    check(&one, issue("ids", &entries(0, 65)), refused("ENROLLMENT_FULL"));
    check(&one, issue("ids", &entries(0, 10_000)), refused("ENROLLMENT_FULL"));
    let full = and(one, &[issue("ids", &entries(0, 63)), issue("ids-2", &[(5, "alice")])]);
    check(&full, issue("ids-2", &[(6, "alice")]), refused("ENROLLMENT_FULL"));
    let refreshed = and(full, &[set("ids", SUPERSEDED, &[3]), set("ids", INVALID, &[4])]);
    let two = issue("ids-2", &[(6, "alice"), (7, "alice")]);
    let mut world = check(&refreshed, two, ACCEPTED);
    let of_lists = world.enrollment("alice").unwrap().entries;
    assert!(of_lists.is_sorted_by(|a, b| a.list < b.list));
    assert_eq!(of_lists.iter().map(|one| one.indexes.len()).sum::<usize>(), 64);
    // All of them go with it, in both lists.
    assert_eq!(outcome(&mut world, &end("alice")), ACCEPTED);
    assert_eq!(
        [3, 4, 5, 62].map(|index| world.entry("ids", index)),
        [SUPERSEDED, INVALID, INVALID, INVALID]
    );
    assert_eq!(
        [5, 6, 7, 8].map(|index| world.entry("ids-2", index)),
        [INVALID, INVALID, INVALID, PENDING]
    );
}

/// The largest leaf counts as one write.
#[test]
fn an_enrollment_takes_less_than_a_kibibyte() {
    let largest = v1::Enrollment {
        salt: vec![1; 32],
        state: State::Suspended.into(),
        number: u32::MAX,
        enrollment_key: Some(key("p256:alice")),
        activated_ms: u64::MAX,
        valid_until_ms: u64::MAX,
        reservation: Some(v1::Reservation {
            one_time_key_id: vec![1; 32],
            deadline_ms: u64::MAX,
            valid_until_ms: u64::MAX,
            role: vec![1; 32],
            new_handle: vec![1; 32],
        }),
        entries: (0..8)
            .map(|list| v1::EnrollmentEntries {
                list: vec![list; 32],
                indexes: (0..8).map(|n| 1_048_575 - n).collect(),
            })
            .collect(),
        height: u64::MAX,
        active_number: u32::MAX,
    };
    let len = encode(&largest).len();
    assert!(len <= 1_024, "{len}");
    assert_eq!(sillok_ledger::write_weight(len), 1);
}

// --------------------------------------------------------------------------------- form and privacy

#[test]
fn a_request_says_what_its_change_calls_for_and_nothing_else() {
    let with = |draft: Draft, change: fn(&mut crate::desk::Desk), code| {
        check(&alice(), draft.desk(change), refused(code));
    };
    with(reserve("bob", 1), |desk| desk.one_time = None, "MISSING_FIELD");
    with(reserve("bob", 1), |desk| desk.deadline = None, "MISSING_FIELD");
    with(reserve("bob", 1), |desk| desk.valid_until = None, "MISSING_FIELD");
    with(reserve("bob", 1), |desk| desk.enrollment = Some("k".to_owned()), "UNCALLED_FIELD");
    with(reserve("bob", 1), |desk| desk.grace = Some(1), "UNCALLED_FIELD");
    with(activate("alice", 2), |desk| desk.enrollment = None, "MISSING_FIELD");
    with(activate("alice", 2), |desk| desk.deadline = Some(1), "UNCALLED_FIELD");
    with(suspend("alice"), |desk| desk.invalid_from = Some(-1), "UNCALLED_FIELD");
    with(suspend("alice"), |desk| desk.new_person = Some("b".to_owned()), "UNCALLED_FIELD");
    with(end("alice"), |desk| desk.one_time = Some("k".to_owned()), "UNCALLED_FIELD");
    with(reinstate("alice", 1), |desk| desk.enrollment = None, "MISSING_FIELD");
    with(end("alice"), |desk| desk.change = v1::EnrollmentChange::Unspecified, "OUT_OF_RANGE");
    with(end("alice"), |desk| desk.people.clear(), "HANDLE_COUNT");
    with(end("alice"), |desk| desk.people.push("bob".to_owned()), "HANDLE_COUNT");
    with(
        end("alice"),
        |desk| desk.holder = vec!["alice/enrolled/1".to_owned()],
        "UNEXPECTED_SIGNATURE",
    );
    let of = |issuer: &'static str, of: &'static str| {
        end("alice").desk(move |desk| {
            desk.what = What::Enroll { issuer: issuer.to_owned(), of: of.to_owned() };
        })
    };
    check(&alice(), of("agency", "badge"), refused("NOT_EXCLUSIVE"));
    check(&alice(), of("agency", "nothing"), refused("UNKNOWN_TYPE"));
    check(&alice(), of("rival", "id"), refused("NOT_OWNER"));
    check(&alice(), of("rival", "id").role("rival"), refused("PENDING"));
}

/// B15, A14: whatever is done to an enrollment, its public form has the same fields and the same length.
#[test]
fn b15_changes_of_an_enrollment_look_alike() {
    let mut world = office(&and(alice(), &[reserve("bob", 1)]));
    let mut seen: Vec<(v1::SetEnrollment, usize, usize)> = Vec::new();
    for draft in [reserve("carol", 1), activate("bob", 1), suspend("alice"), end("alice")] {
        let transaction = world.transaction(&draft);
        let body = transaction.body.clone().unwrap();
        let Some(v1::operation::Operation::SetEnrollment(mut op)) =
            body.operations[0].operation.clone()
        else {
            unreachable!()
        };
        op.content_hash.clear();
        seen.push((op, encode(&body).len(), encode(&transaction.private_contents[0]).len()));
        let built = world.build(&[transaction], world.next_time_ms(STEP_MS));
        let [[StatusEvent::EnrollmentSet { issuer, credential_type, .. }]] =
            [built.outcome.status[0].as_slice()]
        else {
            panic!("{:?}", built.outcome.status)
        };
        assert_eq!((*issuer, *credential_type), (world.did("agency"), world.did("id")));
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
}

/// A path shows the hash of a value, and what is in it can be guessed: so it is salted, anew at each change.
#[test]
fn private_leaves_are_salted_by_their_last_content() {
    let mut world = office(&[]);
    let draft = reserve("alice", 1);
    let transaction = world.transaction(&draft);
    let salt = transaction.private_contents[0].salt.clone();
    world.run_transaction(transaction, world.next_time_ms(STEP_MS)).unwrap();
    let leaf =
        TreeKey::enrollment(&world.did("agency"), &world.did("id"), &crate::desk::handle("alice"));
    let expected: Hash = sillok_proto::Tag::LeafSalt.hash(&[&salt, &leaf.0]);
    let one = world.enrollment("alice").unwrap();
    assert_eq!(one.salt, expected.to_vec());
    assert_eq!(leaf.kind_nibble(), 15);
    assert_eq!(outcome(&mut world, &activate("alice", 1)), ACCEPTED);
    assert_ne!(world.enrollment("alice").unwrap().salt, one.salt);
}

/// B12: keys of an enrollment are used keys like all others; a DID cannot take them.
#[test]
fn keys_of_an_enrollment_are_indexed() {
    let world = office(&alice());
    for name in keys_of("alice", 1) {
        let leaf = TreeKey::used_key(&key_id(&key(&name)));
        assert!(world.state.leaves.contains_key(&leaf));
    }
    let world = office(&[reserve("alice", 1)]);
    let leaf = TreeKey::used_key(&key_id(&key("alice/qr/1")));
    assert!(!world.state.leaves.contains_key(&leaf), "only with a proof of possession");
}
