//! Organizations: their documents, their re-keying, and their part in the life of other DIDs.

use crate::story::{
    ACCEPTED, Draft, check, created, deactivate, founded, meanwhile, refused, rekeyed, restore,
    set_device, take_away, together,
};
use crate::support::{bound, device, document, organization_document};
use sillok_did_method::{ASSERTION_METHOD, CAPABILITY_INVOCATION, SUBMIT};
use sillok_proto::v1;

/// New keys of an organization.
fn keys_2(name: &str) -> v1::DidDocument {
    document([
        bound(&format!("{name}/control-2"), CAPABILITY_INVOCATION),
        bound(&format!("{name}/submit-2"), SUBMIT),
    ])
}

/// An organization replaces all its keys, signed by the new ones and by these.
fn rekey(name: &str, others: &[&str]) -> Draft {
    let new = [format!("{name}/control-2"), format!("{name}/submit-2")];
    let signers: Vec<&str> = new.iter().map(String::as_str).chain(others.iter().copied()).collect();
    rekeyed(name, keys_2(name), &signers)
}

#[test]
fn an_organization_is_registered_with_all_its_keys_signing() {
    let world = check(&[], founded("agency"), ACCEPTED);
    assert_eq!(world.head("agency", None).unwrap().kind(), v1::Kind::Organization);
    check(&[], founded("agency").by(&["agency/control"]), refused("POSSESSION_MISSING"));
    check(&[], founded("agency").by(&["agency/submit"]), refused("POSSESSION_MISSING"));
}

#[test]
fn a_registered_organization_may_do_nothing_yet() {
    check(
        &[founded("agency")],
        created("alice").through("agency").and_by("registrar/control"),
        refused("NOT_GRANTED"),
    );
    check(
        &[founded("agency")],
        created("alice").under("agency").and_by("agency/control"),
        refused("NOT_GRANTED"),
    );
    check(
        &[founded("agency")],
        created("alice").recovery(Some("agency")),
        refused("UNKNOWN_COUNTERSIGNER"),
    );
}

#[test]
fn an_organization_is_changed_by_a_controlling_key() {
    let happened = [founded("agency")];
    let world = check(&happened, rekey("agency", &["agency/control"]), ACCEPTED);
    assert_eq!(world.head("agency", None).unwrap().actor(), v1::Actor::Controller);
    check(&happened, rekey("agency", &["agency/submit"]), refused("NOT_AUTHORIZED"));
    check(&happened, rekey("agency", &[]), refused("NOT_AUTHORIZED"));
    check(
        &happened,
        rekey("agency", &["agency/control"]).any(),
        refused("SUBMITTER_MUST_BE_NAMED"),
    );
    // Its new key proves possession but does not make itself the controller.
    let add = document([
        bound("agency/control", CAPABILITY_INVOCATION),
        bound("thief/control", CAPABILITY_INVOCATION),
    ]);
    check(&happened, rekeyed("agency", add, &["thief/control"]), refused("NOT_AUTHORIZED"));
    // A genesis organization changes itself like any other.
    check(&[], rekey("ministry", &["ministry/control"]), ACCEPTED);
}

#[test]
fn a_key_that_stays_needs_no_signature_and_a_new_use_of_it_none_either() {
    let other_uses = document([
        bound("agency/control", CAPABILITY_INVOCATION | ASSERTION_METHOD),
        bound("agency/submit", SUBMIT | ASSERTION_METHOD),
    ]);
    check(
        &[founded("agency")],
        rekeyed("agency", other_uses.clone(), &["agency/control"]),
        ACCEPTED,
    );
    let both = rekeyed("agency", other_uses, &["agency/control", "agency/submit"]);
    check(&[founded("agency")], both, refused("UNEXPECTED_SIGNATURE"));
}

#[test]
fn an_organization_that_lost_its_keys_is_rekeyed_by_authority_and_countersigner() {
    let both = ["registrar/control", "countersigner/control"];
    let happened = [founded("agency")];
    let world = check(&happened, rekey("agency", &both), ACCEPTED);
    assert_eq!(world.head("agency", None).unwrap().actor(), v1::Actor::AuthorityAndCountersigner);
    check(&happened, rekey("agency", &both).through("carrier"), ACCEPTED);
    check(&happened, rekey("agency", &both[..1]), refused("NOT_AUTHORIZED"));
    check(&happened, rekey("agency", &both[1..]), refused("NOT_AUTHORIZED"));
    check(&happened, rekey("agency", &["registrar-2/control", both[1]]), refused("NOT_AUTHORIZED"));
    check(&happened, rekey("agency", &both).any(), refused("SUBMITTER_MUST_BE_NAMED"));
    check(&happened, rekey("agency", &both).recovery(None), refused("RECOVERY_RULE_BY_CONTROLLER"));
    check(&happened, rekey("agency", &["agency/control"]).recovery(None), ACCEPTED);
    let alone = [founded("agency").recovery(None)];
    check(&alone, rekey("agency", &both), refused("RECOVERY_NOT_ALLOWED"));
    // Governance registered the organizations of the genesis, and no key is governance.
    check(&[], rekey("ministry", &both), refused("NOT_AUTHORIZED"));
}

#[test]
fn authority_and_countersigner_act_under_their_grants() {
    let both = ["registrar/control", "countersigner/control"];
    let ended = |name: &'static str, action| {
        let end = meanwhile(move |world| world.set_grant(name, action, &[]));
        [founded("agency"), created("alice"), end]
    };
    for tried in
        [rekey("agency", &both).through("carrier"), restore("alice", "alice/2").through("carrier")]
    {
        check(&[founded("agency"), created("alice")], tried.clone(), ACCEPTED);
        let register = ended("registrar", v1::Action::Register);
        check(&register, tried.clone(), refused("NOT_GRANTED"));
        let countersign = ended("countersigner", v1::Action::Countersign);
        check(&countersign, tried, refused("NOT_GRANTED"));
    }
}

#[test]
fn a_deactivated_organization_signs_for_nothing_any_more() {
    let gone = |name: &str| deactivate(name).by(&[&format!("{name}/control")]);
    let happened = |name: &str| [created("alice"), founded("agency"), gone(name)];

    check(&happened("registrar"), created("bob"), refused("UNKNOWN_SUBMITTER"));
    check(
        &happened("registrar"),
        restore("alice", "alice/2").through("carrier"),
        refused("NOT_AUTHORIZED"),
    );
    check(&happened("countersigner"), restore("alice", "alice/2"), refused("NOT_AUTHORIZED"));
    let signed = take_away("alice").by(&["registrar/control"]).through("carrier");
    check(&[created("alice")], signed.clone(), ACCEPTED);
    check(&happened("registrar"), signed, refused("NOT_AUTHORIZED"));
    // The holder's own key needs neither.
    check(&happened("registrar"), set_device("alice", "alice/2").through("carrier"), ACCEPTED);

    // Ended by an operation of the same transaction, which it may still bring but no longer speak in.
    let last_act = together(&[gone("registrar"), take_away("alice")]);
    check(&[created("alice")], last_act, refused("NOT_AUTHORIZED"));
    let last_create = together(&[gone("registrar"), created("bob")]);
    check(&[], last_create, refused("UNKNOWN_AUTHORITY"));
    check(&[], together(&[created("bob"), gone("registrar")]), ACCEPTED);
}

#[test]
fn an_organization_cannot_countersign_for_itself() {
    let rule = |countersigner: &str| {
        let same = rekeyed("agency", organization_document("agency"), &["agency/control"]);
        same.recovery(Some(countersigner))
    };
    let grant = meanwhile(|world| world.set_grant("agency", v1::Action::Countersign, &[(0, 0)]));
    let happened = [founded("agency").recovery(None), grant];
    check(&happened, rule("agency"), refused("UNKNOWN_COUNTERSIGNER"));
    check(&happened, rule("registrar"), refused("UNKNOWN_COUNTERSIGNER"));
    check(&happened, rule("countersigner"), ACCEPTED);
    // And cannot be its own authority: the authority is hashed into the DID, so another name would be needed first.
    let own = founded("agency").under("agency").through("carrier");
    check(&[], own, refused("UNKNOWN_AUTHORITY"));
}

#[test]
fn an_organization_has_no_device() {
    let happened = [founded("agency")];
    let set = set_device("agency", "agency/2").by(&["agency/2", "agency/control"]);
    check(&happened, set, refused("NOT_A_HOLDER"));
    check(&happened, take_away("agency"), refused("NOT_A_HOLDER"));
    let as_holder =
        rekeyed("agency", document([device("agency/2")]), &["agency/2", "agency/control"]);
    // A device's relationships are among an organization's, so the document fits; the kind stays.
    let world = check(&happened, as_holder, ACCEPTED);
    assert_eq!(world.head("agency", None).unwrap().kind(), v1::Kind::Organization);
}

#[test]
fn an_organization_is_deactivated_by_its_controlling_key_through_a_named_submitter() {
    let happened = [founded("agency")];
    check(&happened, deactivate("agency").by(&["agency/control"]), ACCEPTED);
    check(&happened, deactivate("agency").by(&["agency/submit"]), refused("NOT_AUTHORIZED"));
    check(
        &happened,
        deactivate("agency").by(&["registrar/control", "countersigner/control"]),
        refused("NOT_AUTHORIZED"),
    );
    let any = deactivate("agency").by(&["agency/control"]).any();
    check(&happened, any, refused("SUBMITTER_MUST_BE_NAMED"));
}
