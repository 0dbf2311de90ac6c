//! Who may do what: giving rights, ending them, and what follows for everybody below; and credential types.

use crate::grants::{
    OTHER_TYPE, TYPE, accredit, accredit_with, accredited, at_once, governed, policy, publish,
    type_name, version, withdraw, withdrawn,
};
use crate::story::{
    ACCEPTED, Draft, check, created, deactivate, founded, happened_in, outcome, refused, together,
    wait,
};
use crate::support::{START_MS, STEP_MS, World};
use proptest::prelude::*;
use sillok_ledger::authority::{self, chain};
use sillok_ledger::credential_type::{latest_type, type_version};
use sillok_ledger::trust::{GRANTS_MAX, PERIODS_MAX, TrustEvent};
use sillok_ledger::{TreeKey, proof, tree};
use sillok_proto::{Hash, v1};
use std::collections::BTreeMap;
use v1::Action::{self, Accredit, Approve, DefineType, Issue, Register, Revoke, Submit};
use v1::operation::Operation as Wire;

/// The registrar and the ministry each may accredit and issue, by governance.
fn two_issuers() -> Draft {
    governed(&[
        ("registrar", Accredit),
        ("registrar", Issue),
        ("ministry", Accredit),
        ("ministry", Issue),
    ])
}

/// Two issuers of the first level, and an agency and a bureau that the registrar registered.
fn issuers() -> Vec<Draft> {
    vec![two_issuers(), founded("agency"), founded("bureau")]
}

fn then(mut happened: Vec<Draft>, more: impl IntoIterator<Item = Draft>) -> Vec<Draft> {
    happened.extend(more);
    happened
}

/// Who stands in the chain, by name; `None` without the right.
fn chain_at(
    world: &World,
    name: &str,
    action: Action,
    on: &[u8],
    time_ms: u64,
) -> Option<Vec<String>> {
    let links = chain(&world.state, &world.did(name), action, on, time_ms).unwrap()?;
    let name_of = |did: &Hash| {
        let found = world.names.iter().find(|(_, one)| *one == did);
        found.map(|(name, _)| name.clone()).unwrap()
    };
    Some(links.iter().map(|link| name_of(&link.organization)).collect())
}

fn holds(world: &World, name: &str, action: Action, on: &[u8]) -> bool {
    chain_at(world, name, action, on, world.tip.header.time_ms).is_some()
}

fn periods(world: &World, name: &str, action: Action, on: &[u8]) -> Vec<v1::Period> {
    let grant: Option<v1::Grant> = world.leaf(&TreeKey::grant(&world.did(name), action, on));
    grant.unwrap_or_default().periods
}

/// From and until of each period, after the start.
fn times(world: &World, name: &str, action: Action, on: &[u8]) -> Vec<(u64, u64)> {
    periods(world, name, action, on)
        .iter()
        .map(|one| (one.from_ms - START_MS, one.until_ms.saturating_sub(START_MS)))
        .collect()
}

/// What the next block did to rights and types.
fn events(world: &mut World, draft: &Draft) -> Vec<TrustEvent> {
    let transaction = world.transaction(draft);
    let built = world.build(&[transaction], world.time_of(draft));
    assert_eq!(built.refused, vec![]);
    world.commit(&built);
    built.outcome.trust[0].iter().map(|(_, event)| event.clone()).collect()
}

// ------------------------------------------------------------------------------------------ who gives

#[test]
fn a_right_is_given_by_who_holds_it_and_may_accredit() {
    let give = || accredit("registrar", "agency", Issue, &TYPE);
    let world = check(&issuers(), give(), ACCEPTED);
    assert!(holds(&world, "agency", Issue, &TYPE));
    assert!(!holds(&world, "agency", Issue, &OTHER_TYPE) && !holds(&world, "agency", Issue, &[]));
    assert!(!holds(&world, "agency", Approve, &TYPE) && !holds(&world, "bureau", Issue, &TYPE));
    // The one without the other.
    let without = |rights: &[(&'static str, Action)]| [founded("agency"), governed(rights)];
    check(&without(&[("registrar", Accredit)]), give(), refused("NOT_GRANTED"));
    check(&without(&[("registrar", Issue)]), give(), refused("NOT_GRANTED"));
    check(&without(&[("carrier", Issue), ("carrier", Accredit)]), give(), refused("NOT_GRANTED"));
    // Both on the one type is enough for that type, and for no other and not for all.
    let on = |action| at_once(&accredited("registrar", action, &TYPE, |_| {}));
    let scoped = [founded("agency"), on(Issue), on(Accredit)];
    check(&scoped, give(), ACCEPTED);
    let other = accredit("registrar", "agency", Issue, &OTHER_TYPE);
    check(&scoped, other, refused("NOT_GRANTED"));
    check(&scoped, accredit("registrar", "agency", Issue, &[]), refused("NOT_GRANTED"));
}

#[test]
fn the_grantor_signs_with_its_controlling_key_through_a_named_submitter() {
    let give = || accredit("registrar", "agency", Issue, &TYPE);
    check(&issuers(), give().through("carrier"), ACCEPTED);
    check(&issuers(), give().any(), refused("SUBMITTER_MUST_BE_NAMED"));
    check(&issuers(), give().by(&["registrar/submit"]), refused("NOT_AUTHORIZED"));
    check(&issuers(), give().by(&["agency/control"]), refused("NOT_AUTHORIZED"));
    check(&issuers(), give().by(&[]), refused("NOT_AUTHORIZED"));
    check(&issuers(), give().and_by("bureau/control"), refused("UNEXPECTED_SIGNATURE"));
    let forged = |terms: &mut v1::OperationSignatures| terms.signatures[0].signature[3] ^= 1;
    check(&issuers(), give().forged_terms(forged), refused("BAD_SIGNATURE"));
    let end = || withdraw("registrar", "agency", Issue, &TYPE, 0);
    let given = then(issuers(), [give()]);
    check(&given, end().any(), refused("SUBMITTER_MUST_BE_NAMED"));
    check(&given, end().by(&["registrar/submit"]), refused("NOT_AUTHORIZED"));
    check(&given, end().and_by("agency/control"), refused("UNEXPECTED_SIGNATURE"));
    check(&given, end(), ACCEPTED);
    // What was signed once runs once: withdrawn, the old accreditation does not come back.
    let mut world = happened_in(&issuers());
    let signed = world.transaction(&give());
    world.run_transaction(signed.clone(), world.next_time_ms(STEP_MS)).unwrap();
    assert_eq!(outcome(&mut world, &end()), ACCEPTED);
    let again = world.run_transaction(signed, world.next_time_ms(STEP_MS)).unwrap_err();
    assert_eq!(again.code(), "ALREADY_ORDERED");
}

#[test]
fn strangers_are_told_nothing_about_rights() {
    let give = || accredit("registrar", "agency", Issue, &TYPE);
    let stranger = give().through_key("registrar", "registrar/control");
    check(&[], stranger, refused("KEY_NOT_AUTHORIZED"));
    check(&[], give().through("ministry"), refused("NOT_GRANTED"));
}

#[test]
fn a_right_is_received_by_an_active_organization() {
    let give = |to| accredit("registrar", to, Issue, &TYPE);
    check(&issuers(), give("nobody"), refused("UNKNOWN_ORGANIZATION"));
    let holder = then(issuers(), [created("alice")]);
    check(&holder, give("alice"), refused("UNKNOWN_ORGANIZATION"));
    let gone = then(issuers(), [deactivate("agency").by(&["agency/control"])]);
    check(&gone, give("agency"), refused("UNKNOWN_ORGANIZATION"));
    check(
        &gone,
        at_once(&accredited("agency", Issue, &[], |_| {})),
        refused("UNKNOWN_ORGANIZATION"),
    );
    // One that was deactivated with a right keeps the leaf, has no right by it and acts no more.
    let had = [give("agency"), deactivate("agency").by(&["agency/control"])];
    let world = happened_in(&then(issuers(), had.clone()));
    assert_eq!(periods(&world, "agency", Issue, &TYPE)[0].until_ms, 0, "it is no withdrawal");
    assert!(!holds(&world, "agency", Issue, &TYPE));
    let act = accredit("agency", "bureau", Issue, &TYPE);
    check(&then(issuers(), had), act, refused("NOT_AUTHORIZED"));
}

#[test]
fn what_is_wrong_with_a_grant_by_itself_needs_no_state() {
    let give = |edit: fn(&mut v1::NewGrant)| {
        accredit_with("registrar", "agency", Issue, &TYPE, move |_, grant| edit(grant))
    };
    type Edit = fn(&mut v1::NewGrant);
    let cases: [(Edit, &'static str); 12] = [
        (|grant| grant.action = 0, "UNKNOWN_ACTION"),
        (|grant| grant.action = 11, "UNKNOWN_ACTION"),
        (|grant| grant.action = -1, "UNKNOWN_ACTION"),
        (|grant| grant.action = Submit.into(), "RESOURCE_NOT_ALLOWED"),
        (|grant| grant.action = Register.into(), "RESOURCE_NOT_ALLOWED"),
        (|grant| grant.action = Action::Countersign.into(), "RESOURCE_NOT_ALLOWED"),
        (|grant| grant.resource = vec![1; 31], "HASH_LENGTH"),
        (|grant| grant.resource = vec![1; 33], "HASH_LENGTH"),
        (|grant| grant.organization.clear(), "HASH_LENGTH"),
        (|grant| (grant.from_ms, grant.until_ms) = (7, 7), "PERIOD_EMPTY"),
        (|grant| (grant.from_ms, grant.until_ms) = (u64::MAX, 1), "PERIOD_EMPTY"),
        (|grant| grant.name = "a\u{202e}b".to_owned(), "INVALID_NAME"),
    ];
    for (edit, code) in cases {
        check(&[], give(edit), refused(code));
        let motion = accredited("agency", Issue, &TYPE, edit);
        check(&[], motion.proposed_by("operator-1"), refused(code));
    }
    check(&[], accredit("registrar", "registrar", Issue, &TYPE), refused("GRANT_TO_ITSELF"));
    let edited = |edit: fn(&mut Wire)| {
        let end = withdraw("registrar", "agency", Issue, &TYPE, 0);
        end.forged_body(move |body| edit(body.operations[0].operation.as_mut().unwrap()))
    };
    let missing = edited(|wire| {
        *wire = Wire::Accredit(v1::Accredit { grantor: vec![1; 32], grant: None });
    });
    check(&[], missing, refused("GRANT_MISSING"));
    for (edit, code) in [
        ((|op| op.by.clear()) as fn(&mut v1::Withdraw), "HASH_LENGTH"),
        (|op| op.grant = None, "GRANT_MISSING"),
        (|op| op.grant.as_mut().unwrap().action = 99, "UNKNOWN_ACTION"),
        (|op| op.grant.as_mut().unwrap().resource.push(1), "HASH_LENGTH"),
        (|op| op.grant.as_mut().unwrap().action = Submit.into(), "RESOURCE_NOT_ALLOWED"),
    ] {
        let end = withdraw("registrar", "agency", Issue, &TYPE, 0);
        let forged = end.forged_body(move |body| {
            if let Some(Wire::Withdraw(op)) = &mut body.operations[0].operation {
                edit(op);
            }
        });
        check(&[], forged, refused(code));
    }
}

// ------------------------------------------------------------------------------------- foreign grantors

/// A stranger with some rights can neither take the ministry's place in a leaf, nor slow an organization down by limits,
/// nor fill its leaves: who receives a right agrees to it, but for that of its own authority and of governance.
#[test]
fn a_foreign_grantor_changes_nothing_without_the_receivers_word() {
    let foreign = |on| accredit("ministry", "agency", Issue, on);
    check(&issuers(), foreign(&TYPE), refused("GRANT_NOT_ACCEPTED"));
    let agreed = foreign(&TYPE).and_by("agency/control");
    let mut world = check(&issuers(), agreed.clone(), ACCEPTED);
    assert_eq!(
        chain_at(&world, "agency", Issue, &TYPE, world.tip.header.time_ms).unwrap(),
        ["agency", "ministry"]
    );
    // From then on it is the ministry's to change: no word is needed for its own period.
    let limited = accredit_with("ministry", "agency", Issue, &TYPE, |_, grant| {
        grant.gained_hourly = 5;
    });
    assert_eq!(outcome(&mut world, &limited), ACCEPTED);
    assert_eq!(periods(&world, "agency", Issue, &TYPE)[0].gained_hourly, 5);
    // Also then the signature of the receiver may be there: who signs need not know.
    let more = accredit_with("ministry", "agency", Issue, &TYPE, |_, grant| {
        grant.gained_hourly = 6;
    });
    assert_eq!(outcome(&mut world, &more.and_by("agency/control")), ACCEPTED);
    // The authority's own grant stands on all; on the type it has to wait, or the agency withdraws.
    assert_eq!(outcome(&mut world, &accredit("registrar", "agency", Issue, &[])), ACCEPTED);
    let own = || accredit("registrar", "agency", Issue, &TYPE);
    assert_eq!(outcome(&mut world, &own()), refused("GRANTED_BY_OTHER"));
    let changed = together(&[withdraw("agency", "agency", Issue, &TYPE, 0), own()]);
    assert_eq!(outcome(&mut world, &changed), ACCEPTED);
    assert_eq!(
        chain_at(&world, "agency", Issue, &TYPE, world.tip.header.time_ms).unwrap(),
        ["agency", "registrar"]
    );
    // A new period needs its word again.
    let end = withdraw("registrar", "agency", Issue, &TYPE, 0);
    assert_eq!(outcome(&mut world, &end), ACCEPTED);
    assert_eq!(outcome(&mut world, &foreign(&TYPE)), refused("GRANT_NOT_ACCEPTED"));
    // The organizations of the genesis were registered by governance, whose word needs no other.
    check(&issuers(), accredit("registrar", "carrier", Issue, &[]), refused("GRANT_NOT_ACCEPTED"));
    check(&issuers(), at_once(&accredited("agency", Issue, &[], |_| {})), ACCEPTED);
}

#[test]
fn nobody_gives_a_right_to_who_it_has_it_from() {
    let down = [
        accredit("registrar", "agency", Accredit, &[]),
        accredit("registrar", "agency", Issue, &[]),
        accredit("registrar", "bureau", Issue, &[]),
    ];
    let happened = then(issuers(), down);
    let up = accredit("agency", "registrar", Issue, &TYPE).and_by("registrar/control");
    check(&happened, up, refused("GRANT_IN_CIRCLE"));
    let aside = accredit("agency", "bureau", Issue, &TYPE).and_by("bureau/control");
    check(&happened, aside, ACCEPTED);
}

#[test]
fn a_chain_has_eight_organizations_at_the_most() {
    const NAMES: [&str; 9] = ["o1", "o2", "o3", "o4", "o5", "o6", "o7", "o8", "o9"];
    let mut happened: Vec<Draft> = NAMES.iter().map(|name| founded(name)).collect();
    happened.push(governed(&[("o1", Accredit), ("o1", Issue)]));
    for pair in NAMES[..8].windows(2) {
        for action in [Accredit, Issue] {
            let agrees = format!("{}/control", pair[1]);
            happened.push(accredit(pair[0], pair[1], action, &[]).and_by(&agrees));
        }
    }
    let ninth = accredit("o8", "o9", Issue, &TYPE).and_by("o9/control");
    let mut world = check(&happened, ninth, refused("CHAIN_TOO_LONG"));
    let links = chain_at(&world, "o8", Issue, &TYPE, world.tip.header.time_ms).unwrap();
    assert_eq!(links.len(), authority::CHAIN_MAX);
    let from_further_up = accredit("o7", "o9", Issue, &TYPE).and_by("o9/control");
    assert_eq!(outcome(&mut world, &from_further_up), ACCEPTED);
}

// --------------------------------------------------------------------------------------------- periods

/// Registrar to agency, issue on the type, from and until so long after the start; 0 is none.
fn give(from_ms: u64, until_ms: u64) -> Draft {
    let at = |ms: u64| if ms == 0 { 0 } else { START_MS + ms };
    accredit_with("registrar", "agency", Issue, &TYPE, move |_, grant| {
        (grant.from_ms, grant.until_ms) = (at(from_ms), at(until_ms));
    })
}

#[test]
fn a_period_is_extended_by_its_own_grantor_and_never_made_shorter() {
    // Three blocks were before, so that the next is at 4 s.
    let mut world = check(&issuers(), give(0, 60_000), ACCEPTED);
    assert_eq!(times(&world, "agency", Issue, &TYPE), [(4_000, 60_000)]);
    assert_eq!(outcome(&mut world, &give(0, 60_000)), refused("GRANT_EXISTS"));
    assert_eq!(outcome(&mut world, &give(4_000, 60_000)), refused("GRANT_EXISTS"));
    assert_eq!(outcome(&mut world, &give(0, 59_999)), refused("PERIOD_SHORTENED"));
    assert_eq!(outcome(&mut world, &give(0, 90_000)), ACCEPTED);
    assert_eq!(outcome(&mut world, &give(4_000, 95_000)), ACCEPTED, "named by its beginning");
    assert_eq!(outcome(&mut world, &give(0, 0)), ACCEPTED);
    assert_eq!(times(&world, "agency", Issue, &TYPE), [(4_000, 0)]);
    assert_eq!(outcome(&mut world, &give(0, 0)), refused("GRANT_EXISTS"));
    assert_eq!(outcome(&mut world, &give(0, 99_000)), refused("PERIOD_SHORTENED"));
    assert_eq!(outcome(&mut world, &give(50_000, 0)), refused("PERIOD_OVERLAP"));
    // Limits change at once, and with the same end that is a change.
    let limited = accredit_with("registrar", "agency", Issue, &TYPE, |_, grant| {
        (grant.gained_hourly, grant.suspended_hourly, grant.ended_hourly) = (1, 2, u32::MAX);
    });
    assert_eq!(outcome(&mut world, &limited), ACCEPTED);
    let [period] = periods(&world, "agency", Issue, &TYPE).try_into().unwrap();
    assert_eq!(
        (period.gained_hourly, period.suspended_hourly, period.ended_hourly),
        (1, 2, u32::MAX)
    );
    assert_eq!(period.grantor, world.did("registrar").to_vec());
}

#[test]
fn nothing_begins_in_the_past_and_nothing_overlaps() {
    check(&issuers(), give(3_999, 0), refused("PERIOD_IN_PAST"));
    check(&issuers(), give(1, 0), refused("PERIOD_IN_PAST"));
    check(&issuers(), give(4_000, 0), ACCEPTED);
    // Until now or before is no time at all.
    check(&issuers(), give(0, 4_000), refused("PERIOD_EMPTY"));
    check(&issuers(), give(0, 1), refused("PERIOD_EMPTY"));
    check(&issuers(), give(0, 4_001), ACCEPTED);

    let mut world = check(&issuers(), give(20_000, 30_000), ACCEPTED);
    assert!(!holds(&world, "agency", Issue, &TYPE), "not yet");
    assert_eq!(
        outcome(&mut world, &give(0, 10_000)),
        refused("PERIOD_OVERLAP"),
        "they are in order"
    );
    assert_eq!(outcome(&mut world, &give(29_999, 0)), refused("PERIOD_OVERLAP"));
    assert_eq!(outcome(&mut world, &give(20_000, 31_000)), ACCEPTED, "one to come is extended too");
    assert_eq!(outcome(&mut world, &give(31_000, 40_000)), ACCEPTED, "where the other ends");
    assert_eq!(outcome(&mut world, &give(50_000, 60_000)), ACCEPTED, "and with a gap");
    assert_eq!(
        times(&world, "agency", Issue, &TYPE),
        [(20_000, 31_000), (31_000, 40_000), (50_000, 60_000)]
    );
    world.run(&wait(50_000)).unwrap();
    for (after_ms, expected) in [
        (19_999, false),
        (20_000, true),
        (39_999, true),
        (40_000, false),
        (49_999, false),
        (50_000, true),
        (60_000, false),
    ] {
        let found = chain_at(&world, "agency", Issue, &TYPE, START_MS + after_ms);
        assert_eq!(found.is_some(), expected, "{after_ms}");
    }
    // When the last is over, it begins anew, and the time between stays without the right.
    world.run(&wait(10_000)).unwrap();
    assert_eq!(outcome(&mut world, &give(50_000, 0)), refused("PERIOD_IN_PAST"));
    assert_eq!(outcome(&mut world, &give(0, 0)), ACCEPTED);
    assert_eq!(chain_at(&world, "agency", Issue, &TYPE, START_MS + 60_000), None);
}

#[test]
fn no_time_is_too_large() {
    let last = |from_ms: u64, until_ms: u64| {
        accredit_with("registrar", "agency", Issue, &TYPE, move |_, grant| {
            (grant.from_ms, grant.until_ms) = (from_ms, until_ms);
        })
    };
    let mut world = check(&issuers(), last(u64::MAX - 1, u64::MAX), ACCEPTED);
    assert_eq!(outcome(&mut world, &last(u64::MAX, 0)), ACCEPTED);
    for (time_ms, expected) in [(u64::MAX - 2, false), (u64::MAX - 1, true), (u64::MAX, true)] {
        assert_eq!(chain_at(&world, "agency", Issue, &TYPE, time_ms).is_some(), expected);
    }
    let end = |at_ms| withdraw("agency", "agency", Issue, &TYPE, at_ms);
    assert_eq!(outcome(&mut world, &end(u64::MAX)), ACCEPTED);
    assert_eq!(outcome(&mut world, &end(u64::MAX)), refused("NOTHING_TO_WITHDRAW"));
    assert_eq!(periods(&world, "agency", Issue, &TYPE).len(), 1);
    assert_eq!(outcome(&mut world, &end(0)), ACCEPTED);
    assert_eq!(periods(&world, "agency", Issue, &TYPE), []);
}

#[test]
fn a_grant_has_64_periods_and_an_organization_256_grants() {
    let period = |n: usize| give(100_000 + 10 * n as u64, 100_005 + 10 * n as u64);
    let all: Vec<Draft> = (0..PERIODS_MAX).map(period).collect();
    let happened = then(issuers(), [together(&all)]);
    let mut world = check(&happened, period(PERIODS_MAX), refused("PERIODS_MAX"));
    assert_eq!(periods(&world, "agency", Issue, &TYPE).len(), PERIODS_MAX);
    // The last is extended as before, and what never began goes without a trace and makes room.
    assert_eq!(outcome(&mut world, &give(100_630, 100_700)), ACCEPTED);
    let end = withdraw("agency", "agency", Issue, &TYPE, START_MS + 100_600);
    assert_eq!(outcome(&mut world, &end), ACCEPTED);
    assert_eq!(periods(&world, "agency", Issue, &TYPE).len(), PERIODS_MAX - 4);
    assert_eq!(outcome(&mut world, &period(PERIODS_MAX)), ACCEPTED);

    let on = |n: usize| {
        accredit_with("registrar", "agency", Issue, &TYPE, move |_, grant| {
            grant.resource[..2].copy_from_slice(&(n as u16).to_be_bytes());
        })
    };
    let all: Vec<Draft> = (0..GRANTS_MAX).map(on).collect();
    let happened = then(issuers(), [together(&all)]);
    let mut world = check(&happened, on(GRANTS_MAX), refused("GRANTS_MAX"));
    assert_eq!(
        outcome(&mut world, &accredit("registrar", "agency", Issue, &[])),
        refused("GRANTS_MAX")
    );
    // One that is there goes on, and has its place when it is over.
    let agency = world.did("agency");
    let index: v1::GrantIndex = world.leaf(&TreeKey::grant_index(&agency)).unwrap();
    assert_eq!(index.grants.len(), GRANTS_MAX);
    assert!(index.grants.is_sorted_by(|a, b| (a.action, &a.resource) < (b.action, &b.resource)));
    for one in &index.grants {
        let leaf = TreeKey::grant(&agency, one.action(), &one.resource);
        assert!(world.state.leaves.contains_key(&leaf), "each is there");
    }
    assert_eq!(outcome(&mut world, &on(3)), refused("GRANT_EXISTS"));
    let longest = world.state.leaves.values().map(Vec::len).max().unwrap();
    assert!(longest <= 16 * 1024, "{longest} bytes");
}

#[test]
fn the_index_names_every_grant_once_and_keeps_ended_ones() {
    let happened = then(
        issuers(),
        [
            accredit("registrar", "agency", Issue, &TYPE),
            accredit("registrar", "agency", Accredit, &[]),
            accredit("registrar", "agency", Issue, &[]),
            withdraw("registrar", "agency", Issue, &TYPE, 0),
            accredit("registrar", "agency", Issue, &TYPE),
        ],
    );
    let world = happened_in(&happened);
    let index: v1::GrantIndex = world.leaf(&TreeKey::grant_index(&world.did("agency"))).unwrap();
    let one = |action: Action, resource: &[u8]| v1::GrantName {
        action: action.into(),
        resource: resource.to_vec(),
    };
    assert_eq!(index.grants, [one(Accredit, &[]), one(Issue, &[]), one(Issue, &TYPE)]);
    // Those of the genesis have one from the start.
    let carrier: v1::GrantIndex = world.leaf(&TreeKey::grant_index(&world.did("carrier"))).unwrap();
    assert_eq!(carrier.grants, [one(Submit, &[])]);
    assert_eq!(world.leaf::<v1::GrantIndex>(&TreeKey::grant_index(&world.did("bureau"))), None);
}

// ------------------------------------------------------------------------------------------- names

#[test]
fn a_name_is_given_by_who_registered_the_organization_or_by_governance() {
    let named = |grantor: &'static str, name: &'static str| {
        accredit_with(grantor, "agency", Issue, &TYPE, move |_, grant| grant.name = name.to_owned())
    };
    let name = |world: &World| {
        let leaf: Option<v1::Organization> =
            world.leaf(&TreeKey::organization(&world.did("agency")));
        leaf.map(|one| one.name)
    };
    let mut world = check(&issuers(), named("registrar", "Agency of the registrar"), ACCEPTED);
    assert_eq!(name(&world).unwrap(), "Agency of the registrar");
    // With the same grant, a name alone is a change; the same one is none.
    assert_eq!(outcome(&mut world, &named("registrar", "Agency")), ACCEPTED);
    assert_eq!(name(&world).unwrap(), "Agency");
    assert_eq!(outcome(&mut world, &named("registrar", "Agency")), refused("GRANT_EXISTS"));
    assert_eq!(periods(&world, "agency", Issue, &TYPE).len(), 1);
    // No name leaves it as it is.
    let limited =
        accredit_with("registrar", "agency", Issue, &TYPE, |_, grant| grant.ended_hourly = 1);
    assert_eq!(outcome(&mut world, &limited), ACCEPTED);
    assert_eq!(name(&world).unwrap(), "Agency");
    let by_governance = accredited("agency", Approve, &[], |grant| grant.name = "청".to_owned());
    assert_eq!(outcome(&mut world, &at_once(&by_governance)), ACCEPTED);
    assert_eq!(name(&world).unwrap(), "청");
    // Who accredits without having registered it has no word in it, though the agency agrees.
    let foreign = named("ministry", "Ministry of the Interior").and_by("agency/control");
    let world = check(&issuers(), foreign, refused("NAME_NOT_ALLOWED"));
    assert_eq!(name(&world), None);
}

// -------------------------------------------------------------------------------------------- ending

/// Governance → registrar → agency → bureau: issue on all, and on the type for the bureau.
fn issue_line() -> Vec<Draft> {
    then(
        issuers(),
        [
            accredit("registrar", "agency", Accredit, &[]),
            accredit("registrar", "agency", Issue, &[]),
            accredit("agency", "bureau", Issue, &TYPE).and_by("bureau/control"),
        ],
    )
}

#[test]
fn a_right_is_ended_by_who_holds_it_gave_it_or_stands_above() {
    let end = |by| withdraw(by, "bureau", Issue, &TYPE, 0);
    for by in ["bureau", "agency", "registrar"] {
        let world = check(&issue_line(), end(by), ACCEPTED);
        assert!(!holds(&world, "bureau", Issue, &TYPE), "{by}");
        assert!(holds(&world, "agency", Issue, &TYPE), "{by}: nobody else is touched");
    }
    let world = check(&issue_line(), at_once(&withdrawn("bureau", Issue, &TYPE, 0)), ACCEPTED);
    assert!(!holds(&world, "bureau", Issue, &TYPE));
    for by in ["ministry", "carrier"] {
        check(&issue_line(), end(by), refused("WITHDRAW_NOT_ALLOWED"));
    }
    // Who stood above and does not any more; but one always may take back what one gave.
    let cut = [at_once(&withdrawn("agency", Issue, &[], 0))];
    check(&then(issue_line(), cut.clone()), end("registrar"), refused("WITHDRAW_NOT_ALLOWED"));
    check(&then(issue_line(), cut), end("agency"), ACCEPTED);
    // What governance gave is ended by governance, or given up.
    let first_level = |by| withdraw(by, "registrar", Issue, &[], 0);
    check(&issue_line(), first_level("agency"), refused("WITHDRAW_NOT_ALLOWED"));
    check(&issue_line(), first_level("ministry"), refused("WITHDRAW_NOT_ALLOWED"));
    check(&issue_line(), first_level("registrar"), ACCEPTED);
}

#[test]
fn ending_twice_or_what_never_was_is_refused() {
    let end = |on, at_ms| withdraw("agency", "agency", Issue, on, at_ms);
    let mut world = happened_in(&then(issuers(), [give(0, 60_000)]));
    assert_eq!(outcome(&mut world, &end(&OTHER_TYPE, 0)), refused("NOTHING_TO_WITHDRAW"));
    assert_eq!(outcome(&mut world, &end(&[], 0)), refused("NOTHING_TO_WITHDRAW"));
    assert_eq!(outcome(&mut world, &end(&TYPE, START_MS + 4_999)), refused("PERIOD_IN_PAST"));
    assert_eq!(outcome(&mut world, &end(&TYPE, START_MS + 60_000)), refused("NOTHING_TO_WITHDRAW"));
    assert_eq!(outcome(&mut world, &end(&TYPE, START_MS + 30_000)), ACCEPTED, "later");
    assert!(holds(&world, "agency", Issue, &TYPE), "until then it holds");
    assert_eq!(outcome(&mut world, &end(&TYPE, START_MS + 40_000)), refused("NOTHING_TO_WITHDRAW"));
    assert_eq!(outcome(&mut world, &end(&TYPE, START_MS + 20_000)), ACCEPTED, "earlier yet");
    assert_eq!(outcome(&mut world, &end(&TYPE, 0)), ACCEPTED, "now");
    assert_eq!(times(&world, "agency", Issue, &TYPE), [(4_000, 7_000)]);
    assert_eq!(outcome(&mut world, &end(&TYPE, 0)), refused("NOTHING_TO_WITHDRAW"));
    assert_eq!(
        outcome(&mut world, &at_once(&withdrawn("agency", Issue, &TYPE, 0))),
        refused("NOTHING_TO_WITHDRAW")
    );
}

#[test]
fn what_has_not_begun_goes_without_a_trace() {
    let happened = then(issuers(), [give(0, 20_000), give(30_000, 40_000), give(50_000, 0)]);
    let end = |at_ms| withdraw("registrar", "agency", Issue, &TYPE, START_MS + at_ms);
    let left = |at_ms| times(&check(&happened, end(at_ms), ACCEPTED), "agency", Issue, &TYPE);
    assert_eq!(left(60_000), [(4_000, 20_000), (30_000, 40_000), (50_000, 60_000)]);
    assert_eq!(left(50_000), [(4_000, 20_000), (30_000, 40_000)]);
    assert_eq!(left(35_000), [(4_000, 20_000), (30_000, 35_000)]);
    assert_eq!(left(30_000), [(4_000, 20_000)]);
    assert_eq!(left(10_000), [(4_000, 10_000)]);
    // Given and taken back in one block, nothing was ever there; the leaf stays, empty, and is proved.
    let both = together(&[give(0, 0), withdraw("agency", "agency", Issue, &TYPE, 0)]);
    let world = check(&issuers(), both, ACCEPTED);
    assert_eq!(periods(&world, "agency", Issue, &TYPE), []);
    let key = TreeKey::grant(&world.did("agency"), Issue, &TYPE);
    let entry = tree::prove(&world.state, world.tip.height(), &key).unwrap();
    assert!(entry.present && entry.value.is_empty());
    let root = Hash::from_slice(&world.tip.header.state_root).unwrap();
    assert!(proof::verify_entry(&root, &entry).is_ok());
}

/// The ones of two grantors: each ends its own and leaves the other's.
#[test]
fn of_two_grantors_each_ends_its_own() {
    let foreign = accredit_with("ministry", "agency", Issue, &TYPE, |_, grant| {
        grant.from_ms = START_MS + 30_000;
    });
    let happened = then(issuers(), [give(0, 20_000), foreign.and_by("agency/control")]);
    let end = |by| withdraw(by, "agency", Issue, &TYPE, 0);
    let left = |by| times(&check(&happened, end(by), ACCEPTED), "agency", Issue, &TYPE);
    assert_eq!(left("registrar"), [(4_000, 6_000), (30_000, 0)]);
    assert_eq!(left("ministry"), [(4_000, 20_000)]);
    assert_eq!(left("agency"), [(4_000, 6_000)]);
    // The first cannot go on over the second, which is of another.
    check(&happened, give(0, 40_000), refused("GRANTED_BY_OTHER"));
}

#[test]
fn cutting_one_off_cuts_off_all_below_at_the_next_height() {
    let mut world = happened_in(&issue_line());
    let before_ms = world.tip.header.time_ms;
    for name in ["registrar", "agency", "bureau"] {
        assert!(holds(&world, name, Issue, &TYPE), "{name}");
    }
    let give = || accredit("agency", "bureau", Issue, &OTHER_TYPE).and_by("bureau/control");
    let mut still = world.clone();
    assert_eq!(outcome(&mut still, &give()), ACCEPTED);
    assert_eq!(outcome(&mut world, &at_once(&withdrawn("registrar", Issue, &[], 0))), ACCEPTED);
    for name in ["registrar", "agency", "bureau"] {
        assert!(!holds(&world, name, Issue, &TYPE), "{name}");
        let earlier = chain_at(&world, name, Issue, &TYPE, before_ms);
        assert!(earlier.is_some(), "{name}: what was done before verifies at its time");
    }
    assert_eq!(outcome(&mut world, &give()), refused("NOT_GRANTED"));
    // Back again with all below, by one word; the time between stays without the right.
    let between_ms = world.tip.header.time_ms;
    let back = accredited("registrar", Issue, &[], |_| {}).until(START_MS + 60_000);
    assert_eq!(outcome(&mut world, &at_once(&back)), ACCEPTED);
    assert!(holds(&world, "bureau", Issue, &TYPE));
    assert_eq!(chain_at(&world, "bureau", Issue, &TYPE, between_ms), None);
}

/// In the very block: what stands behind the withdrawal in the transaction finds it done.
#[test]
fn a_right_ended_earlier_in_the_block_does_not_hold_later_in_it() {
    let end = withdraw("registrar", "agency", Issue, &[], 0);
    let give = accredit("agency", "bureau", Issue, &OTHER_TYPE).and_by("bureau/control");
    check(&issue_line(), together(&[give.clone(), end.clone()]), ACCEPTED);
    check(&issue_line(), together(&[end, give]), refused("NOT_GRANTED"));
}

/// Winding down: all grants end but `revoke`, so nothing is gained and what was lost stays revocable.
#[test]
fn a_ministry_wound_down_keeps_the_right_to_revoke_and_no_other() {
    let all = [Accredit, Issue, Approve, Revoke, Submit];
    let rights: Vec<(&str, Action)> = all.iter().map(|action| ("ministry", *action)).collect();
    let office = |action| accredit("ministry", "agency", action, &[]).and_by("agency/control");
    let happened =
        [founded("agency"), founded("bureau"), governed(&rights), together(&all.map(office))];
    let mut world = happened_in(&happened);
    let wind_down: Vec<Draft> = [Accredit, Issue, Approve, Submit]
        .iter()
        .flat_map(|action| withdrawn("ministry", *action, &[], 0).carried())
        .collect();
    assert_eq!(outcome(&mut world, &together(&wind_down)), ACCEPTED);
    for name in ["ministry", "agency"] {
        for action in all {
            assert_eq!(holds(&world, name, action, &TYPE), action == Revoke, "{name} {action:?}");
        }
    }
    let more = accredit("ministry", "bureau", Revoke, &[]).and_by("bureau/control");
    assert_eq!(outcome(&mut world, &more), refused("NOT_GRANTED"), "nothing is gained");
    // Cut off, that ends too.
    assert_eq!(outcome(&mut world, &at_once(&withdrawn("ministry", Revoke, &[], 0))), ACCEPTED);
    assert!(!holds(&world, "agency", Revoke, &[]));
}

/// Without a word about its grants: nothing is gained in its name, and what was given below it stays revocable.
#[test]
fn who_is_deactivated_gives_nothing_and_nothing_is_gained_below_it() {
    let office = |action| accredit("agency", "bureau", action, &[]).and_by("bureau/control");
    let both = |action| accredit("registrar", "agency", action, &[]);
    let happened = [
        issuers(),
        vec![governed(&[("registrar", Revoke)])],
        vec![together(&[both(Accredit), both(Issue), both(Revoke)])],
        vec![together(&[office(Accredit), office(Issue), office(Revoke)])],
    ]
    .concat();
    let mut world = happened_in(&happened);
    let before_ms = world.tip.header.time_ms;
    assert!(holds(&world, "bureau", Issue, &TYPE));
    let gone = deactivate("agency").by(&["agency/control"]);
    assert_eq!(outcome(&mut world, &gone), ACCEPTED);
    for name in ["agency", "bureau"] {
        assert!(!holds(&world, name, Issue, &TYPE), "{name}");
        assert!(holds(&world, name, Revoke, &TYPE), "{name}");
        let earlier = chain_at(&world, name, Issue, &TYPE, before_ms);
        assert!(earlier.is_some(), "{name}: what was done before verifies at its time");
    }
    let more = accredit("bureau", "carrier", Issue, &TYPE).and_by("carrier/control");
    assert_eq!(outcome(&mut world.clone(), &more), refused("NOT_GRANTED"));
    // Its period is in the way of another grantor's until somebody above ends it.
    let again = accredit("registrar", "bureau", Issue, &[]);
    assert_eq!(outcome(&mut world.clone(), &again), refused("GRANTED_BY_OTHER"));
    let end = withdraw("registrar", "bureau", Issue, &[], 0);
    assert_eq!(outcome(&mut world, &end), ACCEPTED);
    assert_eq!(outcome(&mut world, &again), ACCEPTED);
    assert!(holds(&world, "bureau", Issue, &TYPE));
}

// ----------------------------------------------------------------------------------------- governance

#[test]
fn governance_gives_rights_of_the_first_level_without_holding_any() {
    let motion = accredited("agency", Issue, &TYPE, |grant| grant.gained_hourly = 9);
    let happened = then(vec![founded("agency")], motion.nearly_carried());
    let mut world = happened_in(&happened);
    assert!(!holds(&world, "agency", Issue, &TYPE), "two of four are not enough");
    let seen = events(&mut world, &motion.approved_by("operator-3"));
    let period =
        v1::Period { from_ms: world.tip.header.time_ms, gained_hourly: 9, ..v1::Period::default() };
    let expected = TrustEvent::Accredited {
        organization: world.did("agency"),
        action: Issue,
        resource: Some(Hash(TYPE)),
        period: period.clone(),
    };
    assert_eq!(seen, [expected]);
    assert_eq!(periods(&world, "agency", Issue, &TYPE), [period]);
    assert_ne!(motion.record(&world).unwrap().executed_height, 0);
    // The periods of governance are nobody else's.
    let other = then(happened, [motion.approved_by("operator-4"), two_issuers()]);
    check(&other, give(0, 0), refused("GRANTED_BY_OTHER"));
    // An executable motion that would change nothing is refused with the approval that completes it.
    let again = accredited("carrier", Submit, &[], |_| {});
    check(&again.nearly_carried(), again.approved_by("operator-3"), refused("GRANT_EXISTS"));
    let late = accredited("carrier", Issue, &[], |grant| grant.from_ms = START_MS + 2_500);
    check(&late.nearly_carried(), late.approved_by("operator-3"), refused("PERIOD_IN_PAST"));
}

#[test]
fn what_happened_to_rights_is_told() {
    let mut world = happened_in(&issuers());
    let (registrar, agency) = (world.did("registrar"), world.did("agency"));
    let period = v1::Period {
        from_ms: world.next_time_ms(STEP_MS),
        grantor: registrar.to_vec(),
        ..v1::Period::default()
    };
    let (organization, action, resource) = (agency, Issue, Some(Hash(TYPE)));
    assert_eq!(
        events(&mut world, &give(0, 0)),
        [TrustEvent::Accredited { organization, action, resource, period }]
    );
    let at_ms = world.next_time_ms(STEP_MS);
    let seen = events(&mut world, &withdraw("registrar", "agency", Issue, &TYPE, 0));
    let by = Some(registrar);
    assert_eq!(seen, [TrustEvent::Withdrawn { by, organization, action, resource, at_ms }]);
    assert!(events(&mut world, &created("alice")).is_empty());
}

// -------------------------------------------------------------------------------------- requirements

/// Content and look are anchored by hash and version; what was published stays, and nothing is published over it.
#[test]
fn a19_a_version_of_a_type_is_published_once_and_stays() {
    let may = vec![governed(&[("ministry", DefineType), ("registrar", DefineType)])];
    let v = |number| publish("ministry", ("ministry", 1), number, |_| {});
    let mut world = check(&may, v(1), ACCEPTED);
    let name = type_name(&world, "ministry", 1);
    let first: v1::TypeVersionRecord = world.leaf(&TreeKey::type_version(&name, 1)).unwrap();
    assert_eq!(
        first,
        v1::TypeVersionRecord {
            r#type: name.to_vec(),
            version: 1,
            content: Some(version(1)),
            height: world.tip.height(),
            time_ms: world.tip.header.time_ms,
        }
    );
    let old_proof = {
        let key = TreeKey::type_version(&name, 1);
        tree::prove(&world.state, world.tip.height(), &key).unwrap()
    };
    let old_root = Hash::from_slice(&world.tip.header.state_root).unwrap();
    // Not over the first, not past the next, not by another.
    assert_eq!(outcome(&mut world, &v(1)), refused("TYPE_VERSION"));
    assert_eq!(outcome(&mut world, &v(3)), refused("TYPE_VERSION"));
    assert_eq!(outcome(&mut world, &v(u32::MAX)), refused("TYPE_VERSION"));
    let foreign = publish("registrar", ("ministry", 1), 2, |_| {});
    assert_eq!(outcome(&mut world, &foreign), refused("NOT_OWNER"));
    let seen = events(&mut world, &v(2));
    assert_eq!(seen, [TrustEvent::TypePublished { name, version: 2 }]);
    assert_eq!(outcome(&mut world, &v(2)), refused("TYPE_VERSION"));
    let (latest, record) = latest_type(&world.state, &name).unwrap().unwrap();
    assert_eq!((latest.version, latest.owner), (2, world.did("ministry").to_vec()));
    assert_eq!((record.version, record.content), (2, Some(version(2))));
    // The old credential verifies under its own version, before and after.
    assert_eq!(type_version(&world.state, &name, 1).unwrap(), Some(first));
    assert!(proof::verify_entry(&old_root, &old_proof).is_ok());
    // Whether it is exclusive is for ever.
    let other = publish("ministry", ("ministry", 1), 3, |op| {
        let policy = op.content.as_mut().unwrap().policy.as_mut().unwrap();
        policy.exclusive = false;
        policy.reasons.iter_mut().for_each(|rule| rule.replaces = false);
    });
    assert_eq!(outcome(&mut world, &other), refused("EXCLUSIVE_FIXED"));
    // Without the right to define no version follows.
    assert_eq!(outcome(&mut world, &at_once(&withdrawn("ministry", DefineType, &[], 0))), ACCEPTED);
    assert_eq!(outcome(&mut world, &v(3)), refused("NOT_GRANTED"));
    // On that one type it does, but no other type.
    let on_one =
        accredited("ministry", DefineType, &[], move |grant| grant.resource = name.to_vec());
    assert_eq!(outcome(&mut world, &at_once(&on_one)), ACCEPTED);
    assert_eq!(outcome(&mut world, &v(3)), ACCEPTED);
    let another = publish("ministry", ("ministry", 2), 1, |_| {});
    assert_eq!(outcome(&mut world, &another), refused("NOT_GRANTED"));
}

#[test]
fn a_type_is_published_by_its_publishers_controlling_key_under_its_own_name() {
    let may = || vec![governed(&[("ministry", DefineType), ("registrar", DefineType)])];
    let first = || publish("ministry", ("ministry", 1), 1, |_| {});
    check(&may(), first(), ACCEPTED);
    check(&may(), first().any(), refused("SUBMITTER_MUST_BE_NAMED"));
    check(&may(), first().by(&["ministry/submit"]), refused("NOT_AUTHORIZED"));
    check(&may(), first().by(&["registrar/control"]), refused("NOT_AUTHORIZED"));
    check(&may(), first().and_by("registrar/control"), refused("UNEXPECTED_SIGNATURE"));
    check(&[], first(), refused("NOT_GRANTED"));
    // Whoever sees it pending cannot take it: the name is of this publisher, nonce and content.
    let taken = publish("registrar", ("ministry", 1), 1, |_| {});
    check(&may(), taken, refused("TYPE_NAME_MISMATCH"));
    let with = |edit: fn(&mut v1::PublishType)| publish("ministry", ("ministry", 1), 1, edit);
    check(&may(), with(|op| op.nonce[0] ^= 1), refused("TYPE_NAME_MISMATCH"));
    check(
        &may(),
        with(|op| op.content.as_mut().unwrap().render_hash.clear()),
        refused("TYPE_NAME_MISMATCH"),
    );
    check(&may(), with(|op| op.version = 0), refused("INVALID_TYPE_FORM"));
    check(&may(), with(|op| op.version = 2), refused("INVALID_TYPE_FORM"));
    check(&may(), with(|op| op.nonce = vec![1; 15]), refused("INVALID_TYPE_FORM"));
    check(&may(), with(|op| op.nonce.clear()), refused("INVALID_TYPE_FORM"));
    check(&may(), with(|op| op.content = None), refused("TYPE_CONTENT_MISSING"));
    check(
        &may(),
        with(|op| op.content.as_mut().unwrap().policy = None),
        refused("TYPE_CONTENT_MISSING"),
    );
    let content = |edit: fn(&mut v1::TypeVersion)| {
        publish("ministry", ("ministry", 1), 1, move |op| edit(op.content.as_mut().unwrap()))
    };
    check(&may(), content(|one| one.schema_hash.clear()), refused("HASH_LENGTH"));
    check(&may(), content(|one| one.render_hash = vec![1; 31]), refused("HASH_LENGTH"));
    let unknown = content(|one| one.policy.as_mut().unwrap().channels = 1 << 6);
    check(&may(), unknown, refused("INVALID_TYPE_POLICY"));
    assert_eq!(sillok_did_method::check_policy(&policy()), Ok(()));
}

/// Local governments join later: issuers are added while others work, and what was proved before still verifies.
#[test]
fn a21_issuers_join_later_and_earlier_proofs_still_verify() {
    let mut world = happened_in(&then(issuers(), [accredit("registrar", "agency", Issue, &TYPE)]));
    let key = TreeKey::grant(&world.did("agency"), Issue, &TYPE);
    let height = world.tip.height();
    let proved = tree::prove(&world.state, height, &key).unwrap();
    let root = Hash::from_slice(&world.tip.header.state_root).unwrap();
    let time_ms = world.tip.header.time_ms;
    for name in ["city-1", "city-2", "city-3"] {
        assert_eq!(outcome(&mut world, &founded(name)), ACCEPTED);
        let give: &'static str = name;
        let joins = accredit("registrar", give, Issue, &TYPE);
        let meanwhile = together(&[joins, created(&format!("citizen of {name}"))]);
        assert_eq!(outcome(&mut world, &meanwhile), ACCEPTED);
        assert!(holds(&world, name, Issue, &TYPE));
        assert_eq!(chain_at(&world, name, Issue, &TYPE, time_ms), None, "not before it joined");
    }
    assert!(proof::verify_entry(&root, &proved).is_ok());
    assert_eq!(tree::prove(&world.state, height, &key).unwrap(), proved);
    assert!(holds(&world, "agency", Issue, &TYPE));
}

/// A new kind of credential is a published type; one that nobody published is unknown.
#[test]
fn a22_a_new_kind_of_credential_is_configuration() {
    let mut world = happened_in(&then(issuers(), [governed(&[("ministry", DefineType)])]));
    for nonce in 1..=3 {
        let name = type_name(&world, "ministry", nonce);
        assert_eq!(latest_type(&world.state, &name).unwrap(), None);
        let next = publish("ministry", ("ministry", nonce), 2, |_| {});
        assert_eq!(outcome(&mut world, &next), refused("UNKNOWN_TYPE"));
        let first = publish("ministry", ("ministry", nonce), 1, |_| {});
        assert_eq!(outcome(&mut world, &first), ACCEPTED);
        let issue = accredit_with("registrar", "agency", Issue, &TYPE, move |_, grant| {
            grant.resource = name.to_vec();
        });
        assert_eq!(outcome(&mut world, &issue), ACCEPTED);
        assert!(holds(&world, "agency", Issue, &name.0));
    }
}

/// The official acts under a delegation: of operations, types and a period, and it can be taken back. What was done
/// within it stays.
#[test]
fn b8_a_delegation_has_operations_types_and_a_period_and_is_revocable() {
    let rights = [("registrar", Accredit), ("registrar", Issue), ("registrar", Submit)];
    let counter = |until_ms| {
        accredit_with("registrar", "counter", Submit, &[], move |_, grant| {
            grant.until_ms = START_MS + until_ms;
        })
    };
    let act = |name| created(name).through("counter").and_by("registrar/control");
    let happened = [founded("counter"), governed(&rights[..2]), counter(20_000)];
    let mut world = happened_in(&happened);
    assert_eq!(outcome(&mut world, &act("alice")), ACCEPTED);
    // At 5 s; the next is at 19,999 ms, and then at 20,000.
    assert_eq!(outcome(&mut world, &act("bob").after(15_999)), ACCEPTED);
    assert_eq!(outcome(&mut world, &act("carol").after(1)), refused("NOT_GRANTED"));
    assert!(world.head("alice", None).is_some() && world.head("bob", None).is_some());
    // Renewed, and taken back before its end.
    assert_eq!(outcome(&mut world, &counter(90_000)), ACCEPTED);
    assert_eq!(outcome(&mut world, &act("carol")), ACCEPTED);
    let end = withdraw("registrar", "counter", Submit, &[], 0);
    assert_eq!(outcome(&mut world, &end), ACCEPTED);
    assert_eq!(outcome(&mut world, &act("dave")), refused("NOT_GRANTED"));
    // Scoped to one type, and to what was given.
    let scoped = accredit("registrar", "counter", Issue, &TYPE);
    assert_eq!(outcome(&mut world, &scoped), ACCEPTED);
    assert!(holds(&world, "counter", Issue, &TYPE));
    assert!(!holds(&world, "counter", Issue, &OTHER_TYPE));
    assert!(!holds(&world, "counter", Accredit, &TYPE));
    check(
        &[founded("counter"), founded("bureau"), governed(&rights[..2]), scoped],
        accredit("counter", "bureau", Issue, &TYPE).and_by("bureau/control"),
        refused("NOT_GRANTED"),
    );
}

/// Only who holds the governed right may issue the type, and holds it on the type or on all.
#[test]
fn d1_only_who_holds_the_right_on_the_type_may_issue_it() {
    let world = happened_in(&then(issuers(), [accredit("registrar", "agency", Issue, &TYPE)]));
    for (name, on_type, on_other) in [
        ("registrar", true, true),
        ("agency", true, false),
        ("bureau", false, false),
        ("carrier", false, false),
        ("operator-1", false, false),
    ] {
        assert_eq!(holds(&world, name, Issue, &TYPE), on_type, "{name}");
        assert_eq!(holds(&world, name, Issue, &OTHER_TYPE), on_other, "{name}");
    }
}

/// Who checks and who signs are two roles: neither right is in the other, and neither gives the other away.
#[test]
fn d13_approving_and_issuing_are_separate_rights() {
    let happened = [
        founded("ra"),
        founded("ca"),
        founded("bureau"),
        governed(&[("registrar", Accredit), ("registrar", Issue), ("registrar", Approve)]),
        together(&[
            accredit("registrar", "ra", Approve, &TYPE),
            accredit("registrar", "ra", Accredit, &TYPE),
            accredit("registrar", "ca", Issue, &TYPE),
            accredit("registrar", "ca", Accredit, &TYPE),
        ]),
    ];
    let world = happened_in(&happened);
    assert!(holds(&world, "ra", Approve, &TYPE) && !holds(&world, "ra", Issue, &TYPE));
    assert!(holds(&world, "ca", Issue, &TYPE) && !holds(&world, "ca", Approve, &TYPE));
    let give = |from, action| accredit(from, "bureau", action, &TYPE).and_by("bureau/control");
    check(&happened, give("ra", Issue), refused("NOT_GRANTED"));
    check(&happened, give("ca", Approve), refused("NOT_GRANTED"));
    check(&happened, give("ra", Approve), ACCEPTED);
}

// ---------------------------------------------------------------------------------------- random histories

const NAMES: [&str; 5] = ["registrar", "registrar-2", "carrier", "ministry", "revoker"];
const KEYS: [&str; 5] = [
    "registrar/control",
    "registrar-2/control",
    "carrier/control",
    "ministry/control",
    "revoker/control",
];
/// Blocks come once in a second; this is more seconds than any history reaches into.
const SECONDS: usize = 64;

/// What somebody tries. 0 is governance, else an organization counted from 1. Times are seconds from the block on; 0 is
/// none given.
#[derive(Debug, Clone)]
enum Try {
    Accredit { grantor: usize, to: usize, on_type: bool, from: u64, lasts: u64 },
    Withdraw { by: usize, of: usize, on_type: bool, at: u64 },
}

fn attempt() -> impl Strategy<Value = Try> {
    let who = 0..=NAMES.len();
    let whom = 1..=NAMES.len();
    let from = prop::sample::select(vec![0_u64, 0, 0, 1, 4]);
    let lasts = prop::sample::select(vec![0_u64, 0, 3, 12]);
    let at = prop::sample::select(vec![0_u64, 0, 0, 2]);
    prop_oneof![
        3 => (who.clone(), whom.clone(), any::<bool>(), from, lasts).prop_map(
            |(grantor, to, on_type, from, lasts)| Try::Accredit { grantor, to, on_type, from, lasts }
        ),
        1 => (who, whom, any::<bool>(), at)
            .prop_map(|(by, of, on_type, at)| Try::Withdraw { by, of, on_type, at }),
    ]
}

const fn on(on_type: bool) -> &'static [u8] {
    if on_type { &TYPE } else { &[] }
}

/// The specification, told second by second: who gives the right to whom at each, without periods, leaves or order.
#[derive(Default)]
struct Specification {
    /// (holder, on the type, second) → grantor, 0 being governance.
    given: BTreeMap<(usize, bool, usize), usize>,
}

impl Specification {
    /// By which chain, if at all.
    fn chain(
        &self,
        holder: usize,
        on_type: bool,
        second: usize,
        depth: usize,
    ) -> Option<Vec<usize>> {
        if depth == authority::CHAIN_MAX {
            return None;
        }
        let ways: &[bool] = if on_type { &[true, false] } else { &[false] };
        ways.iter().find_map(|on_type| {
            let grantor = *self.given.get(&(holder, *on_type, second))?;
            let above = match grantor {
                0 => Vec::new(),
                grantor => self.chain(grantor, *on_type, second, depth + 1)?,
            };
            Some([vec![holder], above].concat())
        })
    }

    fn accept(&mut self, attempt: &Try, now: usize) {
        match *attempt {
            Try::Accredit { grantor, to, on_type, from, lasts } => {
                let from = now + from as usize;
                let until = if lasts == 0 { SECONDS } else { from + lasts as usize };
                for second in from..until.min(SECONDS) {
                    let before = self.given.insert((to, on_type, second), grantor);
                    assert!(before.is_none_or(|one| one == grantor), "nobody's place is taken");
                }
            }
            Try::Withdraw { by, of, on_type, at } => {
                let ended: Vec<(usize, bool, usize)> = self
                    .given
                    .iter()
                    .filter(|((holder, one, second), grantor)| {
                        let above = |grantor| {
                            self.chain(grantor, on_type, now, 0)
                                .is_some_and(|all| all.contains(&by))
                        };
                        (*holder, *one) == (of, on_type)
                            && *second >= now + at as usize
                            && (by == 0
                                || by == of
                                || by == **grantor
                                || (**grantor != 0 && above(**grantor)))
                    })
                    .map(|(key, _)| *key)
                    .collect();
                assert!(!ended.is_empty(), "what ends nothing is refused");
                for key in ended {
                    self.given.remove(&key);
                }
            }
        }
    }
}

impl Try {
    fn draft(&self) -> Draft {
        match *self {
            Self::Accredit { grantor, to, on_type, from, lasts } => {
                let time = move |now_ms: u64| {
                    let from_ms = if from == 0 { 0 } else { now_ms + from * 1_000 };
                    let until_ms = if lasts == 0 { 0 } else { now_ms + (from + lasts) * 1_000 };
                    (from_ms, until_ms)
                };
                let name = NAMES[to - 1];
                if grantor == 0 {
                    let motion = crate::motion::motion(move |world| {
                        let mut grant = crate::grants::grant(world, name, Issue, on(on_type));
                        (grant.from_ms, grant.until_ms) = time(world.next_time_ms(STEP_MS));
                        v1::change::Change::Accredit(grant)
                    });
                    return at_once(&until_now(motion));
                }
                let draft = accredit_with(
                    NAMES[grantor - 1],
                    name,
                    Issue,
                    on(on_type),
                    move |world, grant| {
                        (grant.from_ms, grant.until_ms) = time(world.next_time_ms(STEP_MS));
                    },
                );
                if grantor == to { draft } else { draft.and_by(KEYS[to - 1]) }
            }
            Self::Withdraw { by, of, on_type, at } => {
                let name = NAMES[of - 1];
                let make = move |world: &World| v1::EndedGrant {
                    organization: world.did(name).to_vec(),
                    action: Issue.into(),
                    resource: on(on_type).to_vec(),
                    at_ms: if at == 0 { 0 } else { world.next_time_ms(STEP_MS) + at * 1_000 },
                };
                if by == 0 {
                    let motion = crate::motion::motion(move |world| {
                        v1::change::Change::Withdraw(make(world))
                    });
                    return at_once(&until_now(motion));
                }
                let by = NAMES[by - 1];
                crate::story::members(
                    move |world| {
                        let grant = Some(make(world));
                        Wire::Withdraw(v1::Withdraw { by: world.did(by).to_vec(), grant })
                    },
                    &format!("{by}/control"),
                )
            }
        }
    }
}

/// The same motion said twice is another proposal only with another end.
fn until_now(motion: crate::motion::Motion) -> crate::motion::Motion {
    use std::cell::Cell;
    thread_local! { static NTH: Cell<u64> = const { Cell::new(0) } }
    let nth = NTH.with(|nth| nth.replace(nth.get() + 1)) % 1_000_000;
    motion.until(START_MS + 20 * 24 * 3_600_000 + nth)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever is granted and withdrawn by whomever: the walk over the leaves says at every height what the
    /// specification says, for that second and all to come; and nothing that comes later changes what it said for a
    /// second that has passed, so what was done then verifies for ever.
    #[test]
    fn rights_are_what_the_specification_says_and_the_past_stays(
        attempts in proptest::collection::vec(attempt(), 1..24),
    ) {
        let mut world = happened_in(&[governed(&[
            ("registrar", Accredit),
            ("registrar-2", Accredit),
            ("carrier", Accredit),
            ("ministry", Accredit),
            ("revoker", Accredit),
        ])]);
        world.trusting = true;
        let mut specification = Specification::default();
        let answer = |world: &World, holder: usize, on_type: bool, second: usize| {
            let time_ms = START_MS + 1_000 * second as u64;
            let links = chain(&world.state, &world.did(NAMES[holder - 1]), Issue, on(on_type), time_ms);
            links.unwrap().map(|links| {
                let place = |link: &authority::Link| {
                    1 + NAMES.iter().position(|name| world.did(name) == link.organization).unwrap()
                };
                links.iter().map(place).collect::<Vec<usize>>()
            })
        };
        let mut past = Vec::new();
        for attempt in &attempts {
            let now = world.tip.height() as usize + 1;
            let verdict = world.run(&attempt.draft());
            match &verdict {
                Ok(()) => specification.accept(attempt, now),
                // Time goes on, as in the specification.
                Err(_) => world.run(&wait(STEP_MS)).unwrap(),
            }
            for holder in 1..=NAMES.len() {
                for on_type in [false, true] {
                    for second in [now, now + 1, now + 3, now + 6, SECONDS - 1] {
                        prop_assert_eq!(
                            answer(&world, holder, on_type, second),
                            specification.chain(holder, on_type, second, 0),
                            "{:?} {:?} at {}", attempt, verdict, second
                        );
                    }
                    past.push((holder, on_type, now, answer(&world, holder, on_type, now)));
                }
            }
        }
        for (holder, on_type, second, said) in past {
            prop_assert_eq!(answer(&world, holder, on_type, second), said);
        }
    }

    /// Of whatever tree of accreditations: one withdrawal at its top and the next height knows no right below, of
    /// those that have no other way; what was before verifies at its time.
    #[test]
    fn a_withdrawn_ancestor_cuts_off_its_whole_subtree(
        parents in proptest::collection::vec(any::<prop::sample::Index>(), 1..7),
        cut in any::<prop::sample::Index>(),
    ) {
        const OFFICES: [&str; 7] = ["o0", "o1", "o2", "o3", "o4", "o5", "o6"];
        let names = &OFFICES[..=parents.len()];
        let mut happened: Vec<Draft> = names.iter().map(|name| founded(name)).collect();
        happened.push(governed(&[("o0", Accredit), ("o0", Issue)]));
        let mut parent_of = vec![0];
        for (nth, parent) in parents.iter().enumerate() {
            let parent = parent.index(nth + 1);
            parent_of.push(parent);
            let both = [Accredit, Issue].map(|action| accredit(names[parent], names[nth + 1], action, &[]));
            happened.push(together(&both).and_by(&format!("{}/control", names[nth + 1])));
        }
        let mut world = happened_in(&happened);
        let cut = cut.index(names.len());
        let before_ms = world.tip.header.time_ms;
        prop_assert_eq!(outcome(&mut world, &withdraw(names[cut], names[cut], Issue, &[], 0)), ACCEPTED);
        let below = |mut nth: usize| loop {
            if nth == cut {
                return true;
            }
            if nth == 0 {
                return false;
            }
            nth = parent_of[nth];
        };
        for (nth, name) in names.iter().enumerate() {
            prop_assert_eq!(holds(&world, name, Issue, &TYPE), !below(nth), "{}", name);
            prop_assert!(chain_at(&world, name, Issue, &TYPE, before_ms).is_some());
        }
    }
}
