//! Create, update and deactivate of a holder's DID, and what never comes back.

use crate::story::{
    ACCEPTED, check, created, deactivate, founded, give_up, happened_in, meanwhile, outcome,
    refused, restore, set_device, take_away, together, update,
};
use crate::support::{STEP_MS, agreement, bound, device, document, key};
use sillok_did_method::{DEVICE_RELATIONSHIPS, document_hash};
use sillok_proto::v1;

#[test]
fn a_holder_is_registered_under_the_hash_of_the_inception() {
    let world = check(&[], created("alice"), ACCEPTED);
    let expected = v1::Head {
        did: world.did("alice").to_vec(),
        kind: v1::Kind::Holder.into(),
        version: 1,
        document_hash: document_hash(&document([device("alice/1")])).to_vec(),
        previous: vec![],
        authority: world.did("registrar").to_vec(),
        recovery: Some(v1::RecoveryRule { countersigner: world.did("countersigner").to_vec() }),
        deactivated: false,
        created_ms: world.tip.header.time_ms,
        height: 1,
        time_ms: world.tip.header.time_ms,
        actor: v1::Actor::Controller.into(),
    };
    assert_eq!(world.head("alice", None), Some(expected));
}

#[test]
fn a_did_is_created_once() {
    let again = created("alice").valid_for(61_000);
    check(&[created("alice")], again.clone(), refused("ALREADY_EXISTS"));
    check(&[created("alice"), deactivate("alice")], again.clone(), refused("ALREADY_EXISTS"));
    check(
        &[],
        together(&[created("alice"), created("alice").authors_valid_for(9)]),
        refused("ALREADY_EXISTS"),
    );
    check(&[created("alice")], created("bob"), ACCEPTED);
}

#[test]
fn an_authority_is_an_active_organization() {
    let bob_as_authority = created("alice").under("bob").through("carrier").and_by("bob/1");
    check(&[created("bob")], bob_as_authority, refused("UNKNOWN_AUTHORITY"));
    check(&[], created("alice").under("nobody"), refused("UNKNOWN_AUTHORITY"));
    let retired = [founded("agency"), deactivate("agency").by(&["agency/control"])];
    let under_it = created("alice").under("agency").and_by("agency/control");
    check(&retired, under_it, refused("UNKNOWN_AUTHORITY"));
}

#[test]
fn an_authority_may_register_at_this_very_time() {
    let under_carrier = created("alice").under("carrier").through("carrier");
    check(&[], under_carrier, refused("NOT_GRANTED"));

    let granted = |from_ms: u64, until_ms: u64| {
        meanwhile(move |world| {
            let now = world.next_time_ms(0);
            let until_ms = if until_ms == 0 { 0 } else { now + until_ms };
            world.set_grant("registrar", v1::Action::Register, &[(now + from_ms, until_ms)]);
        })
    };
    let later = |ms| created("alice").after(ms);
    check(&[granted(0, 0)], later(1), ACCEPTED);
    check(&[granted(STEP_MS, 0)], later(STEP_MS - 1), refused("NOT_GRANTED"));
    check(&[granted(STEP_MS, 0)], later(STEP_MS), ACCEPTED);
    check(&[granted(0, STEP_MS)], later(STEP_MS - 1), ACCEPTED);
    check(&[granted(0, STEP_MS)], later(STEP_MS), refused("NOT_GRANTED"));

    let never = meanwhile(|world| world.set_grant("registrar", v1::Action::Register, &[]));
    check(&[never], created("alice"), refused("NOT_GRANTED"));
    let renewed = || {
        meanwhile(|world| {
            let now = world.next_time_ms(0);
            let periods = [(now, now + 10), (now + 20, 0)];
            world.set_grant("registrar", v1::Action::Register, &periods);
        })
    };
    check(&[renewed()], later(9), ACCEPTED);
    check(&[renewed()], later(15), refused("NOT_GRANTED"));
    check(&[renewed()], later(20), ACCEPTED);
}

#[test]
fn the_authority_consents_by_submitting_or_by_signing() {
    check(&[], created("alice"), ACCEPTED);
    let carried = created("alice").through("carrier");
    check(&[], carried.clone(), refused("NOT_AUTHORIZED"));
    check(&[], carried.clone().and_by("registrar/control"), ACCEPTED);
    check(&[], carried.clone().and_by("registrar/submit"), refused("NOT_AUTHORIZED"));
    check(&[], carried.and_by("registrar-2/control"), refused("NOT_AUTHORIZED"));
    check(&[], created("alice").and_by("registrar/control"), refused("UNEXPECTED_SIGNATURE"));
}

#[test]
fn a_countersigner_is_another_organization_with_that_grant() {
    check(&[], created("alice").recovery(None), ACCEPTED);
    check(&[], created("alice").recovery(Some("countersigner")), ACCEPTED);
    check(&[], created("alice").recovery(Some("registrar")), refused("COUNTERSIGNER_IS_AUTHORITY"));
    for nobody in ["ministry", "nobody", "bob"] {
        let named = created("alice").recovery(Some(nobody));
        check(&[created("bob")], named, refused("UNKNOWN_COUNTERSIGNER"));
    }
    let ended = meanwhile(|world| world.set_grant("countersigner", v1::Action::Countersign, &[]));
    check(&[ended], created("alice"), refused("UNKNOWN_COUNTERSIGNER"));
    let gone = deactivate("countersigner").by(&["countersigner/control"]);
    check(&[gone], created("alice"), refused("UNKNOWN_COUNTERSIGNER"));
}

#[test]
fn an_update_builds_on_the_current_version() {
    let world = check(&[created("alice")], update("alice"), ACCEPTED);
    let head = world.head("alice", None).unwrap();
    assert_eq!((head.version, head.height, head.actor()), (2, 2, v1::Actor::Controller));

    let back = update("alice").with(document([device("alice/1")]));
    let happened = [created("alice"), update("alice")];
    check(&happened, back.clone().on(2), ACCEPTED);
    check(&happened, back.clone().on(1), refused("STALE_VERSION"));
    check(&happened, back.on_hash(sillok_proto::Hash([9; 32])), refused("STALE_VERSION"));
    check(&[], update("alice"), refused("NOT_FOUND"));
}

#[test]
fn two_updates_of_one_version_are_one() {
    let mut world = happened_in(&[created("alice")]);
    let first = world.transaction(&update("alice"));
    let other = update("alice").with(document([device("alice/1"), agreement("x25519:other")]));
    let second = world.transaction(&other);
    let time_ms = world.next_time_ms(STEP_MS);
    let built = world.build(&[first, second], time_ms);
    assert_eq!(built.block.transactions.len(), 1);
    let codes: Vec<_> = built.refused.iter().map(|(index, error)| (*index, error.code())).collect();
    assert_eq!(codes, [(1, "STALE_VERSION")]);
    world.commit(&built);
}

#[test]
fn an_update_that_changes_nothing_is_not_ordered() {
    let same = update("alice").with(document([device("alice/1")]));
    check(&[created("alice")], same.clone(), refused("ALREADY"));
    let same_rule = same.clone().recovery(Some("countersigner"));
    check(&[created("alice")], same_rule, refused("ALREADY"));
    check(&[created("alice")], same.recovery(None), ACCEPTED);
}

#[test]
fn only_the_holders_own_key_updates() {
    let happened = [created("alice"), created("bob")];
    check(&happened, update("alice"), ACCEPTED);
    for signers in [
        &["bob/1"][..],
        &["registrar/control"],
        &["registrar/control", "countersigner/control"],
        &["x25519:alice"],
        &[],
    ] {
        check(&happened, update("alice").by(signers), refused("NOT_AUTHORIZED"));
    }
    // A holder without a device has nobody who could; not even the rule can change.
    let rule = update("alice").with(v1::DidDocument::default()).recovery(None).by(&["alice/1"]);
    check(&[created("alice"), give_up("alice")], rule, refused("NOT_AUTHORIZED"));
}

#[test]
fn an_update_leaves_the_device_key_alone() {
    let with = |keys: v1::DidDocument| update("alice").with(keys);
    let happened = [created("alice")];
    check(
        &happened,
        with(document([device("alice/2")])).and_by("alice/2"),
        refused("USE_SET_DEVICE"),
    );
    check(&happened, with(v1::DidDocument::default()), refused("USE_SET_DEVICE"));
    let mut ending = device("alice/1");
    ending.expires_ms = 2_000_000_000_000;
    check(&happened, with(document([ending])), refused("USE_SET_DEVICE"));
    let back = [created("alice"), give_up("alice")];
    check(&back, with(document([device("alice/2")])).by(&["alice/2"]), refused("USE_SET_DEVICE"));
}

#[test]
fn a_document_fits_the_kind_of_its_did() {
    let organization = update("alice").with(crate::support::organization_document("agency"));
    check(&[created("alice")], organization, refused("INVALID_DID_DOCUMENT"));
    let two = document([device("alice/1"), device("alice/2")]);
    check(&[created("alice")], update("alice").with(two), refused("INVALID_DID_DOCUMENT"));
    let signing = bound("alice/1", DEVICE_RELATIONSHIPS | sillok_did_method::SUBMIT);
    check(&[], created("alice").with(document([signing])), refused("INVALID_DID_DOCUMENT"));
}

#[test]
fn the_recovery_rule_is_changed_by_the_holder_alone() {
    let same = || update("alice").with(document([device("alice/1")]));
    let happened = [created("alice")];
    let world = check(&happened, same().recovery(None), ACCEPTED);
    assert_eq!(world.head("alice", None).unwrap().recovery, None);
    let back = [created("alice").recovery(None)];
    let world = check(&back, same().recovery(Some("countersigner")), ACCEPTED);
    assert!(world.head("alice", None).unwrap().recovery.is_some());

    for nobody in ["ministry", "nobody", "registrar"] {
        check(&happened, same().recovery(Some(nobody)), refused("UNKNOWN_COUNTERSIGNER"));
    }
    let others = same().recovery(None).by(&["registrar/control", "countersigner/control"]);
    check(&happened, others, refused("NOT_AUTHORIZED"));
    // An update that says nothing of the rule keeps it, whatever became of the countersigner since.
    let ended = meanwhile(|world| world.set_grant("countersigner", v1::Action::Countersign, &[]));
    let world = check(&[created("alice"), ended], update("alice"), ACCEPTED);
    assert!(world.head("alice", None).unwrap().recovery.is_some());
}

#[test]
fn a_holder_deactivates_with_the_device_key_and_no_other_does() {
    let happened = [created("alice"), created("bob")];
    let world = check(&happened, deactivate("alice"), ACCEPTED);
    let head = world.head("alice", None).unwrap();
    assert!(head.deactivated && head.document_hash.is_empty() && head.version == 2);
    check(&happened, deactivate("alice").on(1), ACCEPTED);
    check(
        &[created("alice"), update("alice")],
        deactivate("alice").on(1),
        refused("STALE_VERSION"),
    );
    check(&[], deactivate("alice"), refused("NOT_FOUND"));
    for signers in [
        &["bob/1"][..],
        &["registrar/control"],
        &["registrar/control", "countersigner/control"],
        &[],
    ] {
        check(&happened, deactivate("alice").by(signers), refused("NOT_AUTHORIZED"));
    }
    check(&[created("alice"), give_up("alice")], deactivate("alice"), refused("NOT_AUTHORIZED"));
}

#[test]
fn c8_deactivated_is_final() {
    let gone = [created("alice"), deactivate("alice")];
    check(&gone, deactivate("alice").on(1), refused("ALREADY"));
    check(&gone, deactivate("alice").on(2), refused("ALREADY"));
    let still = update("alice").recovery(None);
    for tried in [
        update("alice").on(1),
        update("alice").on(2),
        still,
        set_device("alice", "alice/2"),
        set_device("alice", "alice/2").on(1),
        restore("alice", "alice/2"),
        give_up("alice"),
        take_away("alice"),
    ] {
        check(&gone, tried, refused("DEACTIVATED"));
    }
    check(&gone, created("alice").valid_for(61_000), refused("ALREADY_EXISTS"));
    // Its key is used up: no other DID revives what it could sign for.
    check(
        &gone,
        created("alice-again").with(document([device("alice/1")])).recovery(None).by(&["alice/1"]),
        refused("KEY_REUSE"),
    );
    // Within one transaction as within one block.
    let mut world = happened_in(&[created("alice")]);
    let previous = sillok_did_method::head_hash(&world.head("alice", None).unwrap());
    let both = together(&[deactivate("alice"), update("alice").on_hash(previous)]);
    assert_eq!(outcome(&mut world, &both), refused("DEACTIVATED"));
}

#[test]
fn heads_of_one_did_in_one_list_build_on_each_other() {
    let both = together(&[created("alice"), update("alice")]);
    // The hash of a head covers height and time, which no signer knows before the block: so in practice a list changes
    // a DID once. What is refused is the stale version, not the list.
    check(&[], both, refused("STALE_VERSION"));
    let two = together(&[created("alice"), created("bob")]);
    let world = check(&[], two, ACCEPTED);
    assert_eq!(world.device_of("alice"), Some(key("alice/1")));
    assert_eq!(world.device_of("bob"), Some(key("bob/1")));
    // Taking away names no version, so it may follow in the same list.
    let world = check(&[], together(&[created("alice"), take_away("alice")]), ACCEPTED);
    assert_eq!(world.device_of("alice"), None);
}

#[test]
fn a_list_is_done_whole_or_not_at_all() {
    let half = together(&[created("alice"), update("nobody")]);
    let world = check(&[], half, refused("NOT_FOUND"));
    assert_eq!(world.head("alice", None), None);
    check(&[], together(&[created("alice"), created("bob")]), ACCEPTED);
}
