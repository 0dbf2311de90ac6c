//! The one device key of a holder: who sets it, who takes it away, and that a key never returns (PROTOCOL §3.2, §3.4).

use crate::story::{
    ACCEPTED, Draft, check, created, deactivate, founded, give_up, happened_in, meanwhile, outcome,
    refused, rekeyed, restore, set_device, take_away, together, update,
};
use crate::support::{
    STEP_MS, World, agreement, bound, device, document, key, organization_document,
};
use sillok_did_method::{CAPABILITY_INVOCATION, SUBMIT};
use sillok_proto::v1;

fn actor(world: &World) -> v1::Actor {
    world.head("alice", None).unwrap().actor()
}

/// Old key out and new key in at one height; what the old key signs for a later height fails.
#[test]
fn b10_device_change_is_atomic() {
    let mut world = check(&[created("alice")], set_device("alice", "alice/2"), ACCEPTED);
    assert_eq!(world.document("alice"), document([device("alice/2")]), "one key, the new one");
    assert_eq!(actor(&world), v1::Actor::Controller);
    let head = world.head("alice", None).unwrap();
    assert_eq!((head.height, head.time_ms), (world.tip.height(), world.tip.header.time_ms));

    for by_the_old_key in [
        update("alice").with(document([device("alice/2"), agreement("x25519:a")])),
        set_device("alice", "alice/3"),
        give_up("alice"),
        deactivate("alice"),
    ] {
        assert_eq!(outcome(&mut world, &by_the_old_key), refused("NOT_AUTHORIZED"));
    }
    let by_the_new_key = set_device("alice", "alice/3").by(&["alice/3", "alice/2"]);
    assert_eq!(outcome(&mut world, &by_the_new_key), ACCEPTED);
}

/// At no place in a block are there two, not even between two transactions.
#[test]
fn b10_what_the_old_key_signed_fails_behind_the_change_in_the_same_block() {
    let mut world = happened_in(&[created("alice")]);
    let change = world.transaction(&set_device("alice", "alice/2"));
    let second_change = world.transaction(&set_device("alice", "alice/3"));
    let surrender = world.transaction(&give_up("alice"));
    let time_ms = world.next_time_ms(STEP_MS);
    let built = world.build(&[change, second_change, surrender], time_ms);
    let codes: Vec<&str> = built.refused.iter().map(|(_, error)| error.code()).collect();
    assert_eq!(codes, ["STALE_VERSION", "STALE_VERSION"]);
    world.commit(&built);
    assert_eq!(world.device_of("alice"), Some(key("alice/2")));
}

/// End on the old one, then register on the new one: in between there is none, and never are there two.
#[test]
fn b11_two_step_order_has_no_two_devices() {
    for first_step in [give_up("alice"), take_away("alice")] {
        let mut world = happened_in(&[created("alice"), first_step]);
        assert_eq!(world.document("alice"), v1::DidDocument::default());
        // The gap is closed to the old key and to the new one.
        assert_eq!(outcome(&mut world, &set_device("alice", "alice/2")), refused("NOT_AUTHORIZED"));
        assert_eq!(outcome(&mut world, &restore("alice", "alice/2")), ACCEPTED);
        assert_eq!(world.document("alice"), document([device("alice/2")]));
        assert_eq!(actor(&world), v1::Actor::AuthorityAndCountersigner);
        assert_eq!(outcome(&mut world, &give_up("alice")), refused("NOT_AUTHORIZED"));
    }
    // One step by the assistants replaces the key as well.
    let world = check(&[created("alice")], restore("alice", "alice/2"), ACCEPTED);
    assert_eq!(world.document("alice"), document([device("alice/2")]));
}

/// Another DID with this device key. (The same key, authority and rule would be the same DID.)
fn bob_with_key(name: &str) -> Draft {
    created("bob").with(document([device(name)])).recovery(None).by(&[name])
}

#[test]
fn b12_a_key_once_used_never_returns() {
    // To its own DID.
    let moved = [created("alice"), set_device("alice", "alice/2")];
    check(&moved, set_device("alice", "alice/1").by(&["alice/1", "alice/2"]), refused("KEY_REUSE"));
    check(&moved, restore("alice", "alice/1"), refused("KEY_REUSE"));
    let lost = [created("alice"), take_away("alice")];
    check(&lost, restore("alice", "alice/1"), refused("KEY_REUSE"));
    check(&lost, restore("alice", "alice/2"), ACCEPTED);

    // To another DID: while it is bound, after it was, and after its DID ended.
    let bob_with = bob_with_key;
    check(&[created("alice")], bob_with("alice/1"), refused("KEY_REUSE"));
    check(&moved, bob_with("alice/1"), refused("KEY_REUSE"));
    check(&[created("alice"), deactivate("alice")], bob_with("alice/1"), refused("KEY_REUSE"));
    check(&moved, bob_with("alice/3"), ACCEPTED);
    let two = [created("alice"), created("bob")];
    let take_over = set_device("bob", "alice/1").by(&["alice/1", "bob/1"]);
    check(&two, take_over, refused("KEY_REUSE"));

    // Inside one transaction.
    check(&[], together(&[created("alice"), bob_with("alice/1")]), refused("KEY_REUSE"));

    // Keys of the genesis, and of organizations.
    for name in ["registrar/control", "registrar/submit", "ministry/control", "operator-1/submit"] {
        check(&[], bob_with(name), refused("KEY_REUSE"));
    }
    check(&[founded("agency")], bob_with("agency/control"), refused("KEY_REUSE"));
    let dropped = document([
        bound("agency/control", CAPABILITY_INVOCATION),
        bound("agency/submit-2", SUBMIT),
    ]);
    let drop_submit = rekeyed("agency", dropped, &["agency/control", "agency/submit-2"]);
    let old = organization_document("agency");
    let back = rekeyed("agency", old, &["agency/control", "agency/submit"]);
    check(&[founded("agency"), drop_submit.clone()], back, refused("KEY_REUSE"));
    check(&[founded("agency"), drop_submit], bob_with("agency/submit"), refused("KEY_REUSE"));

    // Of either algorithm.
    let p256 = [created("alice").with(document([device("p256:a")])).by(&["p256:a"])];
    check(&p256, bob_with("p256:a"), refused("KEY_REUSE"));
}

#[test]
fn b12_a_key_is_not_used_twice_in_one_block() {
    let mut world = World::new();
    let alice = world.transaction(&created("alice"));
    let bob = world.transaction(&bob_with_key("alice/1"));
    let time_ms = world.next_time_ms(STEP_MS);
    let built = world.build(&[alice, bob], time_ms);
    let codes: Vec<_> = built.refused.iter().map(|(index, error)| (*index, error.code())).collect();
    assert_eq!(codes, [(1, "KEY_REUSE")]);
    world.commit(&built);
}

/// They cannot prove possession, so anybody could bind a victim's: they are not indexed and cannot be burnt.
#[test]
fn b12_a_key_agreement_key_may_return_and_be_shared() {
    let with = |name: &str| update("alice").with(document([device("alice/1"), agreement(name)]));
    let without = || update("alice").with(document([device("alice/1")]));
    let happened = [created("alice"), with("x25519:a"), without(), with("x25519:b")];
    check(&happened, with("x25519:a"), ACCEPTED);
    check(
        &[&happened[..], &[created("bob")]].concat(),
        {
            let keys = document([device("bob/1"), agreement("x25519:b")]);
            update("bob").with(keys)
        },
        ACCEPTED,
    );
}

#[test]
fn b12_nobody_burns_a_key_that_is_not_his() {
    let stolen =
        |signers: &[&str]| created("mallory").with(document([device("alice/1")])).by(signers);
    check(&[], stolen(&[]), refused("POSSESSION_MISSING"));
    check(&[], stolen(&["mallory/1"]), refused("POSSESSION_MISSING"));
    // What was refused has used up nothing.
    let mut world = World::new();
    let refused_list = together(&[created("alice"), update("nobody")]);
    assert_eq!(outcome(&mut world, &refused_list), refused("NOT_FOUND"));
    assert_eq!(outcome(&mut world, &created("alice")), ACCEPTED);
}

#[test]
fn a_new_device_key_proves_possession_whoever_sets_it() {
    let happened = [created("alice")];
    check(
        &happened,
        set_device("alice", "alice/2").by(&["alice/1"]),
        refused("POSSESSION_MISSING"),
    );
    let both = ["registrar/control", "countersigner/control"];
    check(&happened, restore("alice", "alice/2").by(&both), refused("POSSESSION_MISSING"));
    let wrong = set_device("alice", "alice/2").forged_terms(|terms| {
        for signature in &mut terms.signatures {
            signature.signature[0] ^= 1;
        }
    });
    check(&happened, wrong, refused("BAD_SIGNATURE"));
}

#[test]
fn the_authority_alone_takes_a_device_away_and_cannot_set_one() {
    let happened = [created("alice")];
    let world = check(&happened, take_away("alice"), ACCEPTED);
    assert_eq!((world.device_of("alice"), actor(&world)), (None, v1::Actor::Authority));
    let signed = take_away("alice").by(&["registrar/control"]).through("carrier");
    check(&happened, signed.clone(), ACCEPTED);
    check(&happened, signed.clone().any(), refused("SUBMITTER_MUST_BE_NAMED"));

    check(
        &happened,
        restore("alice", "alice/2").by(&["alice/2", "registrar/control"]),
        refused("NOT_AUTHORIZED"),
    );
    check(&happened, restore("alice", "alice/2").by(&["alice/2"]), refused("NOT_AUTHORIZED"));
    check(&happened, restore("alice", "alice/2").on_none(), refused("PREVIOUS_REQUIRED"));
    // Neither can anybody else take it away.
    check(&happened, take_away("alice").through("carrier"), refused("NOT_AUTHORIZED"));
    check(&happened, take_away("alice").through("registrar-2"), refused("NOT_AUTHORIZED"));
    check(&happened, take_away("alice").through("revoker"), refused("NOT_AUTHORIZED"));
    for other in ["registrar/submit", "registrar-2/control", "countersigner/control", "alice/1"] {
        let signed = take_away("alice").by(&[other]).through("carrier");
        check(&happened, signed, refused("NOT_AUTHORIZED"));
    }
}

#[test]
fn taking_away_needs_the_right_to_register_or_to_revoke() {
    let set = |register: bool, revoke: bool| {
        meanwhile(move |world| {
            let periods = |open: bool| if open { vec![(0, 0)] } else { vec![] };
            world.set_grant("registrar", v1::Action::Register, &periods(register));
            world.set_grant("registrar", v1::Action::Revoke, &periods(revoke));
        })
    };
    for (register, revoke, expected) in [
        (true, true, ACCEPTED),
        (true, false, ACCEPTED),
        (false, true, ACCEPTED),
        (false, false, refused("NOT_GRANTED")),
    ] {
        check(&[created("alice"), set(register, revoke)], take_away("alice"), expected);
    }
}

#[test]
fn authority_and_countersigner_set_a_device_together() {
    let happened = [created("alice")];
    let world = check(&happened, restore("alice", "alice/2"), ACCEPTED);
    assert_eq!(actor(&world), v1::Actor::AuthorityAndCountersigner);
    check(&happened, restore("alice", "alice/2").through("carrier"), ACCEPTED);
    check(&happened, restore("alice", "alice/2").any(), refused("SUBMITTER_MUST_BE_NAMED"));
    check(
        &[created("alice"), update("alice")],
        restore("alice", "alice/2").on(1),
        refused("STALE_VERSION"),
    );
    for signers in [
        ["alice/2", "registrar-2/control", "countersigner/control"],
        ["alice/2", "registrar/control", "registrar-2/control"],
        ["alice/2", "registrar/submit", "countersigner/control"],
        ["alice/2", "registrar/control", "countersigner/submit"],
    ] {
        check(&happened, restore("alice", "alice/2").by(&signers), refused("NOT_AUTHORIZED"));
    }
    // Together with the holder one signature is too many: the act is the holder's or it is theirs.
    check(
        &happened,
        restore("alice", "alice/2").and_by("alice/1"),
        refused("UNEXPECTED_SIGNATURE"),
    );
}

#[test]
fn with_recovery_none_a_did_without_a_device_stays_so() {
    let created = || created("alice").recovery(None);
    for left_without in [give_up("alice"), take_away("alice")] {
        let happened = [created(), left_without];
        check(&happened, restore("alice", "alice/2"), refused("RECOVERY_NOT_ALLOWED"));
        check(&happened, set_device("alice", "alice/2"), refused("NOT_AUTHORIZED"));
        check(&happened, update("alice"), refused("USE_SET_DEVICE"));
        check(&happened, deactivate("alice"), refused("NOT_AUTHORIZED"));
    }
    // Also while the holder still has one, it is the holder's alone.
    check(&[created()], restore("alice", "alice/2"), refused("RECOVERY_NOT_ALLOWED"));
    check(&[created()], set_device("alice", "alice/2"), ACCEPTED);
}

#[test]
fn the_device_asked_for_is_there_already() {
    let happened = [created("alice"), take_away("alice")];
    check(&happened, take_away("alice").valid_for(9_000), refused("ALREADY"));
    check(&happened, give_up("alice"), refused("ALREADY"));
    let moved = [created("alice"), set_device("alice", "alice/2")];
    // By target, not by caller, and whatever version it names.
    check(&moved, restore("alice", "alice/2"), refused("ALREADY"));
    check(&moved, set_device("alice", "alice/2").on(1).valid_for(9_000), refused("ALREADY"));
}

/// "Already" would be a lie to whoever asked for another end or another key-agreement key.
#[test]
fn a_device_key_that_stays_is_not_set_anew() {
    let mut later = device("alice/1");
    later.expires_ms = 2_000_000_000_000;
    let happened = [created("alice")];
    for keys in [document([later]), document([device("alice/1"), agreement("x25519:a")])] {
        let by_holder = set_device("alice", "alice/1").with(keys.clone()).by(&["alice/1"]);
        check(&happened, by_holder, refused("KEY_REUSE"));
        let assisted = restore("alice", "alice/1").with(keys);
        let assistants = ["registrar/control", "countersigner/control"];
        check(&happened, assisted.by(&assistants), refused("KEY_REUSE"));
    }
}

/// A thief with the device changes the DID at every height; the authority names no version and is not outrun.
#[test]
fn a_thief_who_updates_every_height_does_not_outrun_the_authority() {
    let agree = |n: u32| {
        let keys = document([device("alice/1"), agreement(&format!("x25519:{n}"))]);
        update("alice").with(keys)
    };
    let mut world = happened_in(&[created("alice"), agree(1), agree(2)]);
    let takes_away = world.transaction(&take_away("alice"));
    let by_version = world.transaction(&restore("alice", "alice/2"));
    for n in 3..6 {
        world.run(&agree(n)).unwrap();
    }
    // Even behind the thief in one block.
    let thief = world.transaction(&agree(6));
    let time_ms = world.next_time_ms(STEP_MS);
    let built = world.build(&[thief, by_version, takes_away], time_ms);
    let codes: Vec<&str> = built.refused.iter().map(|(_, error)| error.code()).collect();
    assert_eq!(codes, ["STALE_VERSION"], "whoever names a version is outrun");
    world.commit(&built);
    assert_eq!(world.device_of("alice"), None);
    assert_eq!(outcome(&mut world, &agree(7)), refused("USE_SET_DEVICE"));
    assert_eq!(outcome(&mut world, &restore("alice", "alice/2")), ACCEPTED);
}

/// The act of a holder stays the holder's: without the signature it is refused, not turned into the authority's.
#[test]
fn a_holders_signature_cannot_be_stripped_from_what_the_authority_submits() {
    let happened = [created("alice")];
    let world = check(&happened, give_up("alice"), ACCEPTED);
    assert_eq!(actor(&world), v1::Actor::Controller);
    let stripped =
        give_up("alice").forged_terms(|terms| *terms = v1::OperationSignatures::default());
    check(&happened, stripped, refused("NOT_AUTHORIZED"));
    // Nor can the authority's act be given a holder's signature.
    check(&happened, take_away("alice").by(&["alice/1"]), refused("UNEXPECTED_SIGNATURE"));
    check(
        &happened,
        take_away("alice").by(&["registrar/control"]),
        refused("UNEXPECTED_SIGNATURE"),
    );
}
