//! Time and repetition: everything runs once, within its time, to the very millisecond (PROTOCOL §2.3, §2.5).

use crate::story::{
    ACCEPTED, check, created, give_up, happened_in, outcome, refused, rekeyed, restore, set_device,
    take_away, together, update, wait,
};
use crate::support::{START_MS, STEP_MS, World, agreement, bound, device, document};
use sillok_did_method::{CAPABILITY_INVOCATION, SUBMIT};
use sillok_ledger::AdmissionError;
use sillok_ledger::Replay as _;
use sillok_ledger::tip::ReplayWindow;
use sillok_proto::Hash;

#[test]
fn a_transaction_is_valid_until_its_time_and_that_time_included() {
    check(&[], created("alice").valid_for(1), ACCEPTED);
    check(&[], created("alice").valid_for(0), ACCEPTED);
    check(&[], created("alice").valid_for(-1), refused("EXPIRED"));
    check(&[], created("alice").valid_for(-(START_MS as i64) - 1_000), refused("EXPIRED"));
}

#[test]
fn a_transaction_is_valid_for_5_minutes_at_most() {
    check(&[], created("alice").valid_for(300_000), ACCEPTED);
    check(&[], created("alice").valid_for(300_001), refused("VALID_UNTIL_TOO_FAR"));
    check(&[], created("alice").valid_for(i64::MAX), refused("VALID_UNTIL_TOO_FAR"));
}

#[test]
fn what_an_author_signed_is_bounded_by_its_own_time_as_well() {
    check(&[], created("alice").authors_valid_for(0), ACCEPTED);
    check(&[], created("alice").authors_valid_for(-1), refused("EXPIRED"));
    check(&[], created("alice").authors_valid_for(300_000), ACCEPTED);
    check(&[], created("alice").authors_valid_for(300_001), refused("VALID_UNTIL_TOO_FAR"));
    // Neither lengthens the other.
    check(&[], created("alice").valid_for(-1).authors_valid_for(60_000), refused("EXPIRED"));
    check(&[], created("alice").valid_for(60_000).authors_valid_for(-1), refused("EXPIRED"));
}

#[test]
fn too_early_today_may_be_in_time_tomorrow() {
    let mut world = World::new();
    let early = world.transaction(&created("alice").valid_for(310_000));
    let time_ms = world.next_time_ms(STEP_MS);
    let refused = world.run_transaction(early.clone(), time_ms).unwrap_err();
    assert_eq!(refused.code(), "VALID_UNTIL_TOO_FAR");
    world.run_transaction(early, time_ms + 10_000).unwrap();
}

/// `expires_ms` is the first millisecond at which the key may not act.
#[test]
fn a_key_acts_before_its_end_and_not_at_it() {
    let end_ms = START_MS + 10_000;
    let mut ending = device("alice/1");
    ending.expires_ms = end_ms;
    let happened = [created("alice").with(document([ending.clone()]))];
    let agree = update("alice").with(document([ending, agreement("x25519:a")]));
    check(&happened, agree.clone().after(8_999), ACCEPTED);
    check(&happened, agree.clone().after(9_000), refused("KEY_EXPIRED"));
    check(&happened, agree.after(9_001), refused("KEY_EXPIRED"));
    check(&happened, give_up("alice").after(9_000), refused("KEY_EXPIRED"));
    // Its end takes nothing from those who may take it away or replace it.
    check(&happened, take_away("alice").after(9_000), ACCEPTED);
    check(&happened, restore("alice", "alice/2").after(9_000), ACCEPTED);
}

#[test]
fn a_submitters_key_and_those_of_the_assistants_end_too() {
    let end_ms = START_MS + 10_000;
    let ending = |name: &str| {
        let mut control = bound(&format!("{name}/control-2"), CAPABILITY_INVOCATION);
        let mut submit = bound(&format!("{name}/submit-2"), SUBMIT);
        (control.expires_ms, submit.expires_ms) = (end_ms, end_ms);
        let keys =
            document([control, submit, bound(&format!("{name}/last"), CAPABILITY_INVOCATION)]);
        let [a, b, c, d] =
            ["control-2", "submit-2", "last", "control"].map(|key| format!("{name}/{key}"));
        rekeyed(name, keys, &[&a, &b, &c, &d])
    };
    let submit = |ms| created("alice").through_key("registrar", "registrar/submit-2").after(ms);
    check(&[ending("registrar")], submit(8_999), ACCEPTED);
    check(&[ending("registrar")], submit(9_000), refused("KEY_EXPIRED"));

    let happened = [created("alice"), ending("countersigner")];
    let restore =
        |ms, key| restore("alice", "alice/2").by(&["alice/2", "registrar/control", key]).after(ms);
    check(&happened, restore(7_999, "countersigner/control-2"), ACCEPTED);
    check(&happened, restore(8_000, "countersigner/control-2"), refused("KEY_EXPIRED"));
    check(&happened, restore(8_000, "countersigner/last"), ACCEPTED);
}

#[test]
fn the_same_bytes_are_ordered_once() {
    let mut world = World::new();
    let bytes = world.transaction(&created("alice"));
    let time_ms = world.next_time_ms(STEP_MS);

    // Within a block.
    let built = world.build(&[bytes.clone(), bytes.clone()], time_ms);
    assert_eq!(built.block.transactions.len(), 1);
    assert!(matches!(built.refused[..], [(1, AdmissionError::AlreadyOrdered { .. })]));
    let twice = world.force(&[bytes.clone(), bytes.clone()], time_ms);
    assert!(world.execute(&twice).is_err());

    // Across the boundary of a block, up to the last millisecond at which it could be ordered.
    world.commit(&built);
    for later_ms in [1, STEP_MS, 60_000] {
        let refused = world.run_transaction(bytes.clone(), time_ms + later_ms).unwrap_err();
        assert_eq!(refused.code(), "ALREADY_ORDERED", "{later_ms} ms later");
    }
    let refused = world.run_transaction(bytes, time_ms + 60_001).unwrap_err();
    assert_eq!(refused.code(), "EXPIRED", "then it is expired, so nobody need remember it");
}

#[test]
fn the_window_forgets_only_what_can_no_longer_be_ordered() {
    let mut world = World::new();
    let bytes = world.transaction(&created("alice").valid_for(5_000));
    let time_ms = world.next_time_ms(STEP_MS);
    world.run_transaction(bytes.clone(), time_ms).unwrap();
    assert_eq!(world.tip.replay.len(), 2, "the transaction and its author's statement");
    world.run(&wait(5_000)).unwrap();
    assert_eq!(world.tip.replay.len(), 2, "at valid-until it is still there");
    world.run(&wait(1)).unwrap();
    assert!(world.tip.replay.is_empty(), "and a millisecond later it is gone");
    assert_eq!(world.tip.replay, ReplayWindow::default(), "as in a window that never had it");
    let refused = world.run_transaction(bytes, world.next_time_ms(1)).unwrap_err();
    assert_eq!(refused.code(), "EXPIRED");
}

#[test]
fn the_window_is_asked_by_name_and_end() {
    let mut window = ReplayWindow::default();
    assert!(window.is_empty());
    window.insert(Hash([1; 32]), 5_999);
    window.insert(Hash([2; 32]), 5_000);
    window.insert(Hash([2; 32]), 5_000);
    assert_eq!(window.len(), 2);
    assert!(window.contains(&Hash([1; 32]), 5_999));
    assert!(!window.contains(&Hash([3; 32]), 5_999));
    window.advance(5_001);
    assert!(!window.contains(&Hash([2; 32]), 5_000) && window.contains(&Hash([1; 32]), 5_999));
    window.advance(6_000);
    assert!(window.is_empty());
}

/// Signatures are not in the id: a re-signed copy is the same transaction.
#[test]
fn a_resigned_copy_is_the_same_transaction() {
    let mut world = World::new();
    let draft = created("alice").with(document([device("p256:a")])).by(&["p256:a"]);
    let first = world.transaction(&draft);
    world.run_transaction(first.clone(), world.next_time_ms(STEP_MS)).unwrap();
    let mut copy = first.clone();
    copy.signatures.as_mut().unwrap().submitter.as_mut().unwrap().signature[5] ^= 1;
    assert_ne!(copy, first);
    let refused = world.run_transaction(copy, world.next_time_ms(STEP_MS)).unwrap_err();
    assert_eq!(refused.code(), "ALREADY_ORDERED");
}

/// What an author signed runs once, in whatever transaction and through whatever submitter.
#[test]
fn an_author_signed_operation_is_not_carried_twice() {
    // In another transaction of the same submitter. A device was set in between, so the state alone would let it run.
    let mut world = happened_in(&[created("alice")]);
    let signed = take_away("alice").by(&["registrar/control"]).through("carrier");
    let first = world.transaction(&signed.authors_valid_for(200_000));
    let mut second = first.clone();
    second.body.as_mut().unwrap().valid_until_ms += 1;
    world.submit(&mut second, "carrier/submit");
    world.run_transaction(first, world.next_time_ms(STEP_MS)).unwrap();
    world.run(&restore("alice", "alice/2")).unwrap();
    let refused_again = world.run_transaction(second, world.next_time_ms(STEP_MS)).unwrap_err();
    assert_eq!(refused_again, AdmissionError::OperationAlreadyOrdered { operation: 0 });
    assert!(world.device_of("alice").is_some(), "the new device is not taken away by the old word");

    // Through another submitter, where the author allowed any.
    let mut world = happened_in(&[created("alice")]);
    let by_one = world.transaction(&give_up("alice").any());
    let by_other = world.transaction(&give_up("alice").any().through("carrier"));
    let time_ms = world.next_time_ms(STEP_MS);
    let built = world.build(&[by_one, by_other.clone()], time_ms);
    assert!(matches!(
        built.refused[..],
        [(1, AdmissionError::OperationAlreadyOrdered { operation: 0 })]
    ));
    world.commit(&built);
    let refused_later = world.run_transaction(by_other, time_ms + STEP_MS).unwrap_err();
    assert_eq!(refused_later, AdmissionError::OperationAlreadyOrdered { operation: 0 });
}

#[test]
fn an_author_signed_operation_stands_once_in_a_list() {
    let twice = together(&[
        take_away("alice").by(&["registrar/control"]),
        take_away("alice").by(&["registrar/control"]),
    ]);
    check(&[created("alice")], twice.through("carrier"), refused("OPERATION_ALREADY_ORDERED"));
    // The same wish signed anew is another statement, and then the state decides.
    let twice = together(&[give_up("alice"), give_up("alice").authors_valid_for(9_000)]);
    check(&[created("alice")], twice, refused("ALREADY"));
}

/// The authority's own act has no author's statement; what keeps it from running again is its transaction's id.
#[test]
fn what_the_authority_submits_is_repeated_only_by_submitting_anew() {
    let mut world = happened_in(&[created("alice")]);
    let bytes = world.transaction(&take_away("alice"));
    world.run_transaction(bytes.clone(), world.next_time_ms(STEP_MS)).unwrap();
    world.run(&restore("alice", "alice/2")).unwrap();
    let refused = world.run_transaction(bytes, world.next_time_ms(STEP_MS)).unwrap_err();
    assert_eq!(refused.code(), "ALREADY_ORDERED");
    assert_eq!(outcome(&mut world, &take_away("alice")), ACCEPTED);
}

#[test]
fn what_was_refused_may_be_ordered_later() {
    let mut world = World::new();
    let waiting = world.transaction(&update("alice").on_hash(Hash([0; 32])));
    assert!(world.run_transaction(waiting, world.next_time_ms(STEP_MS)).is_err());
    let mut world = happened_in(&[created("alice"), set_device("alice", "alice/2")]);
    let bob = world.transaction(&together(&[created("bob"), update("carol")]));
    assert!(world.run_transaction(bob, world.next_time_ms(STEP_MS)).is_err());
    assert_eq!(outcome(&mut world, &created("bob")), ACCEPTED);
}
