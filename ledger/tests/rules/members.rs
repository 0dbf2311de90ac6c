//! Members: who may propose, approve, join and re-key, and what it does (PROTOCOL §7.3). When it is in force is in
//! `sets`.
//!
//! The genesis has four operators, `operator-1` being its only archive; three approvals are more than two thirds of
//! four. `ministry` and `carrier` are organizations that operate nothing yet.

use crate::blocks::Failing;
use crate::motion::{
    DAY_MS, HOUR_MS, Motion, admit, admit_with, all, header_of, join, join_over, keys, observe,
    rekey, remove, replace, replace_with, unobserve,
};
use crate::sets::names;
use crate::story::{
    ACCEPTED, Draft, check, created, deactivate, founded, happened_in, meanwhile, members, outcome,
    refused, rekeyed, together, wait,
};
use crate::support::{START_MS, STEP_MS, World, bound, document, genesis, key};
use sillok_did_method::{SUBMIT, key_id};
use sillok_ledger::governance::{
    GovernanceEvent, JOIN_HEADER_AGE_MS_MAX, PROPOSAL_MS_MAX, REKEY_INTERVAL_MS,
};
use sillok_ledger::{
    AdmissionError, CheckedTransaction, Frame, TreeKey, VerifyEach, admit as admission,
};
use sillok_proto::{Hash, encode, v1};
use std::cell::Cell;
use std::rc::Rc;
use v1::change::Change;
use v1::operation::Operation as Wire;

/// The governance events of a transaction on this world.
fn events(world: &mut World, draft: &Draft) -> Vec<GovernanceEvent> {
    let transaction = world.transaction(draft);
    let built = world.build(&[transaction], world.time_of(draft));
    assert_eq!(built.refused, vec![]);
    assert!(built.outcome.heads[0].is_empty(), "operations on members write no head");
    world.commit(&built);
    built.outcome.governance[0].clone()
}

// ------------------------------------------------------------------------------------------ who signs

#[test]
fn only_a_seated_operator_acts_and_only_with_its_governance_key() {
    let motion = admit("ministry");
    let proposed = || motion.proposed_by("operator-1");
    check(&[], proposed(), ACCEPTED);
    check(&[], proposed().through("carrier"), ACCEPTED);
    check(&[], motion.proposed_by("ministry"), refused("NOT_AN_OPERATOR"));
    check(
        &[],
        motion.proposed_by("registrar").by(&["registrar/control"]),
        refused("NOT_AN_OPERATOR"),
    );
    for signers in [
        &["operator-1/validator"] as &[&str],
        &["operator-1/node"],
        &["operator-1/control"],
        &["operator-2/governance"],
        &[],
    ] {
        check(&[], proposed().by(signers), refused("GOVERNANCE_KEY_REQUIRED"));
        let approve = motion.approved_by("operator-2");
        let by_other: Vec<&str> = signers
            .iter()
            .map(|one| if one.contains("-2") { "operator-1/governance" } else { *one })
            .collect();
        check(&[proposed()], approve.by(&by_other), refused("GOVERNANCE_KEY_REQUIRED"));
        check(
            &[],
            rekey("operator-1", "validator2").by(signers),
            refused("GOVERNANCE_KEY_REQUIRED"),
        );
    }
    check(&[], proposed().and_by("operator-2/governance"), refused("UNEXPECTED_SIGNATURE"));
    check(
        &[],
        rekey("operator-1", "validator2").and_by("operator-1/validator2"),
        refused("UNEXPECTED_SIGNATURE"),
    );
    check(&[], rekey("ministry", "validator"), refused("NOT_AN_OPERATOR"));
    // Approved is not seated.
    let admitted = motion.carried();
    check(&admitted, remove("operator-4").proposed_by("ministry"), refused("NOT_AN_OPERATOR"));
    check(&admitted, rekey("ministry", "validator2"), refused("NOT_AN_OPERATOR"));
    let joined = all(&[admitted, vec![join("ministry", "validator")]]);
    check(&joined, remove("operator-4").proposed_by("ministry"), ACCEPTED);
}

#[test]
fn a_forged_signature_of_a_governance_key_is_refused() {
    let forged = |terms: &mut v1::OperationSignatures| terms.signatures[0].signature[3] ^= 1;
    let proposed = admit("ministry").proposed_by("operator-1");
    check(&[], proposed.forged_terms(forged), refused("BAD_SIGNATURE"));
}

#[test]
fn the_submitter_is_always_named() {
    let motion = admit("ministry");
    check(&[], motion.proposed_by("operator-1").any(), refused("SUBMITTER_MUST_BE_NAMED"));
    let proposed = [motion.proposed_by("operator-1")];
    check(&proposed, motion.approved_by("operator-2").any(), refused("SUBMITTER_MUST_BE_NAMED"));
    check(&[], rekey("operator-1", "validator2").any(), refused("SUBMITTER_MUST_BE_NAMED"));
    let admitted = motion.carried();
    check(&admitted, join("ministry", "validator").any(), refused("SUBMITTER_MUST_BE_NAMED"));
}

/// PROTOCOL §5.3: what depends on the state is told only to who may submit.
#[test]
fn strangers_are_told_nothing_about_members() {
    let unknown = || admit("ministry").approved_by("operator-1");
    check(&[], unknown(), refused("PROPOSAL_UNKNOWN"));
    let stranger = unknown().through_key("registrar", "registrar/control");
    check(&[], stranger, refused("KEY_NOT_AUTHORIZED"));
    check(&[], unknown().through("ministry"), refused("NOT_GRANTED"));
}

// --------------------------------------------------------------------------------------------- form

#[test]
fn what_is_wrong_with_a_proposal_by_itself_needs_no_state() {
    let propose = |change: Option<Change>| {
        let change = Rc::new(move |_: &World| change.clone());
        Motion { change, expires_ms: START_MS + HOUR_MS }.proposed_by("operator-1")
    };
    check(&[], propose(None), refused("PROPOSAL_WITHOUT_CHANGE"));
    check(
        &[],
        admit("ministry").until(0).proposed_by("operator-1"),
        refused("PROPOSAL_WITHOUT_END"),
    );
    let with = |edit: fn(&mut v1::Operator)| {
        [
            admit_with("ministry", "", edit).proposed_by("operator-1"),
            replace_with("operator-2", "2", edit).proposed_by("operator-1"),
        ]
    };
    // A point of order 4, and y = p, which is zero again.
    let not_canonical = {
        let mut point = [0xff; 32];
        (point[0], point[31]) = (0xed, 0x7f);
        point.to_vec()
    };
    for (edit, code) in [
        ((|one| one.validator_key = vec![0; 32]) as fn(&mut v1::Operator), "INVALID_OPERATOR_KEY"),
        (|one| one.node_key = vec![1; 31], "INVALID_OPERATOR_KEY"),
        (|one| one.governance_key.clear(), "INVALID_OPERATOR_KEY"),
        (|one| one.governance_key = key("p256:x").point, "INVALID_OPERATOR_KEY"),
        (|one| one.organization = vec![1; 31], "HASH_LENGTH"),
        (|one| one.node_key = one.validator_key.clone(), "OPERATOR_KEY_TWICE"),
        (|one| one.governance_key = one.validator_key.clone(), "OPERATOR_KEY_TWICE"),
        (|one| one.governance_key = one.node_key.clone(), "OPERATOR_KEY_TWICE"),
    ] {
        for draft in with(edit) {
            check(&[], draft, refused(code));
        }
    }
    for point in [not_canonical, vec![0; 32], vec![], vec![5; 33]] {
        let observer = v1::Observer { node_key: point.clone(), archive: false };
        check(&[], propose(Some(Change::AdmitObserver(observer))), refused("INVALID_OPERATOR_KEY"));
        let remove = Change::RemoveObserver(v1::RemoveObserver { node_key: point.clone() });
        check(&[], propose(Some(remove)), refused("INVALID_OPERATOR_KEY"));
        let set = move |operation: &mut Wire| match operation {
            Wire::Join(op) => op.validator_key = point.clone(),
            Wire::Rekey(op) => op.validator_key = point.clone(),
            _ => {}
        };
        for draft in [join("ministry", "validator"), rekey("operator-1", "validator2")] {
            let set = set.clone();
            let edited = draft.forged_body(move |body| {
                set(body.operations[0].operation.as_mut().unwrap());
            });
            check(&[], edited, refused("INVALID_OPERATOR_KEY"));
        }
    }
    let short = |edit: fn(&mut Wire)| {
        move |body: &mut v1::TransactionBody| edit(body.operations[0].operation.as_mut().unwrap())
    };
    type Edit = fn(&mut Wire);
    let cases: [(Draft, Edit); 5] = [
        (admit("ministry").proposed_by("operator-1"), |wire| {
            if let Wire::Propose(op) = wire {
                op.operator.pop();
            }
        }),
        (admit("ministry").approved_by("operator-1"), |wire| {
            if let Wire::Approve(op) = wire {
                op.proposal_hash.pop();
            }
        }),
        (join("ministry", "validator"), |wire| {
            if let Wire::Join(op) = wire {
                op.header_hash.pop();
            }
        }),
        (join("ministry", "validator"), |wire| {
            if let Wire::Join(op) = wire {
                op.operator.clear();
            }
        }),
        (rekey("operator-1", "validator2"), |wire| {
            if let Wire::Rekey(op) = wire {
                op.operator.push(0);
            }
        }),
    ];
    for (draft, edit) in cases {
        check(&[], draft.forged_body(short(edit)), refused("HASH_LENGTH"));
    }
}

// -------------------------------------------------------------------------------- propose and approve

#[test]
fn a_proposal_ends_within_thirty_days_and_not_before_it_begins() {
    let at_ms = START_MS + STEP_MS;
    let proposed = |expires_ms| admit("ministry").until(expires_ms).proposed_by("operator-1");
    check(&[], proposed(at_ms), refused("PROPOSAL_EXPIRED"));
    check(&[], proposed(at_ms + 1), ACCEPTED);
    check(&[], proposed(at_ms + PROPOSAL_MS_MAX), ACCEPTED);
    check(&[], proposed(at_ms + PROPOSAL_MS_MAX + 1), refused("PROPOSAL_TOO_LONG"));
    check(&[], proposed(u64::MAX), refused("PROPOSAL_TOO_LONG"));
}

#[test]
fn it_is_approved_before_its_end_and_not_at_it() {
    let motion = admit("ministry").until(START_MS + 10_000);
    let proposed = [motion.proposed_by("operator-1")];
    let approved = |after_ms| motion.approved_by("operator-2").after(after_ms);
    check(&proposed, approved(8_999), ACCEPTED);
    check(&proposed, approved(9_000), refused("PROPOSAL_EXPIRED"));
    check(&proposed, approved(DAY_MS), refused("PROPOSAL_EXPIRED"));
    // Even the approval that would execute it.
    let nearly = motion.nearly_carried();
    let last = |after_ms| motion.approved_by("operator-3").after(after_ms);
    check(&nearly, last(7_999), ACCEPTED);
    check(&nearly, last(8_000), refused("PROPOSAL_EXPIRED"));
}

#[test]
fn a_proposal_is_there_once_and_another_end_makes_another() {
    let motion = admit("ministry");
    let proposed = [motion.proposed_by("operator-1")];
    check(&proposed, motion.proposed_by("operator-1"), refused("PROPOSAL_EXISTS"));
    check(&proposed, motion.proposed_by("operator-2"), refused("PROPOSAL_EXISTS"));
    let other = motion.clone().until(START_MS + DAY_MS);
    check(&proposed, other.proposed_by("operator-2"), ACCEPTED);
    // Also when it was executed or is over.
    check(&motion.carried(), motion.proposed_by("operator-2"), refused("PROPOSAL_EXISTS"));
}

#[test]
fn the_approval_that_completes_more_than_two_thirds_executes() {
    let motion = admit("ministry");
    let mut world = happened_in(&motion.nearly_carried());
    let record = motion.record(&world).unwrap();
    assert_eq!((record.approvals.len(), record.executed_height), (2, 0));
    assert!(world.operator("ministry").is_none(), "two of four are not enough");
    assert_eq!(outcome(&mut world, &motion.approved_by("operator-1")), refused("ALREADY"));
    assert_eq!(outcome(&mut world, &motion.approved_by("operator-2")), refused("ALREADY"));
    assert_eq!(outcome(&mut world, &motion.approved_by("operator-4")), ACCEPTED);
    let record = motion.record(&world).unwrap();
    assert_eq!((record.approvals.len(), record.executed_height), (3, 3));
    assert!(record.approvals.is_sorted_by(|a, b| a.operator < b.operator));
    for name in ["operator-1", "operator-2", "operator-4"] {
        let approval = v1::GovernanceApproval {
            operator: world.did(name).to_vec(),
            key_id: key_id(&key(&format!("{name}/governance"))).to_vec(),
        };
        assert!(record.approvals.contains(&approval));
    }
    let operator = world.operator("ministry").unwrap();
    let key_may_join = v1::PendingKey {
        validator_key: key("ministry/validator").point,
        expires_ms: motion.expires_ms,
        ..v1::PendingKey::default()
    };
    assert_eq!(operator.pending, Some(key_may_join));
    assert!(operator.operator.unwrap().validator_key.is_empty(), "approval seats nobody");
    assert_eq!(world.tip.next_validators, *world.chain.validators());
    for name in ["operator-1", "operator-3"] {
        assert_eq!(outcome(&mut world, &motion.approved_by(name)), refused("PROPOSAL_EXECUTED"));
    }
}

/// Three approvals in one transaction, or in one block, are three approvals.
#[test]
fn approvals_of_one_block_are_counted_together() {
    let motion = admit("ministry");
    let world = check(&[], together(&motion.carried()), ACCEPTED);
    assert_eq!(motion.record(&world).unwrap().executed_height, 1);
    let twice = together(&[motion.proposed_by("operator-1"), motion.approved_by("operator-1")]);
    check(&[], twice, refused("ALREADY"));
    // The approval cannot come before the proposal.
    let turned = together(&[motion.approved_by("operator-2"), motion.proposed_by("operator-1")]);
    check(&[], turned, refused("PROPOSAL_UNKNOWN"));
}

#[test]
fn approvals_are_counted_among_who_is_seated_when_it_executes() {
    // One who approved is removed: its approval is worth nothing any more.
    let motion = admit("ministry");
    let left = all(&[
        vec![motion.proposed_by("operator-4"), motion.approved_by("operator-1")],
        remove("operator-4").carried(),
    ]);
    let mut world = happened_in(&left);
    assert_eq!(outcome(&mut world, &motion.approved_by("operator-2")), ACCEPTED);
    assert_eq!(motion.record(&world).unwrap().approvals.len(), 3);
    assert_eq!(motion.record(&world).unwrap().executed_height, 0, "two of three are not enough");
    assert_eq!(outcome(&mut world, &motion.approved_by("operator-4")), refused("NOT_AN_OPERATOR"));
    assert_eq!(outcome(&mut world, &motion.approved_by("operator-3")), ACCEPTED);
    assert_ne!(motion.record(&world).unwrap().executed_height, 0);

    // One who did not approve is removed: the approvals that are there now suffice, and saying one again says so.
    let four = ["operator-1", "operator-2", "operator-3", "operator-4"];
    let of_five = all(&[
        admit("ministry").carried(),
        vec![join("ministry", "validator")],
        admit("carrier").carried_by(&["operator-1", "operator-2", "operator-3"]),
    ]);
    let motion = admit("carrier");
    let mut world = happened_in(&of_five);
    assert_eq!(motion.record(&world).unwrap().executed_height, 0, "three of five");
    assert_eq!(outcome(&mut world, &motion.approved_by("operator-1")), refused("ALREADY"));
    for draft in remove("ministry").carried_by(&four) {
        assert_eq!(outcome(&mut world, &draft), ACCEPTED);
    }
    assert_eq!(motion.record(&world).unwrap().executed_height, 0, "nobody said anything yet");
    assert_eq!(outcome(&mut world, &motion.approved_by("operator-1")), ACCEPTED);
    assert_ne!(motion.record(&world).unwrap().executed_height, 0);
}

/// A new seat counts at once: it is in set(h + 2), which nobody can take back.
#[test]
fn a_member_that_joined_counts_from_the_next_operation_on() {
    let motion = remove("operator-4");
    let joined = all(&[
        motion.nearly_carried(),
        admit("ministry").carried(),
        vec![join("ministry", "validator")],
    ]);
    let mut world = happened_in(&joined);
    assert_eq!(outcome(&mut world, &motion.approved_by("operator-3")), ACCEPTED);
    assert_eq!(motion.record(&world).unwrap().executed_height, 0, "three of five");
    assert_eq!(outcome(&mut world, &motion.approved_by("ministry")), ACCEPTED);
    assert_ne!(motion.record(&world).unwrap().executed_height, 0);
}

#[test]
fn what_cannot_be_executed_now_waits_one_approval_short() {
    let motion = admit("agency");
    let nearly = motion.nearly_carried();
    let last = || motion.approved_by("operator-3");
    let mut world = check(&nearly, last(), refused("UNKNOWN_ORGANIZATION"));
    assert_eq!(motion.record(&world).unwrap().approvals.len(), 2);
    // The agency's digest is known before it is registered, for its DID is the hash of its inception.
    let found = founded("agency");
    world.run(&found).unwrap();
    let motion = admit("agency");
    for draft in motion.carried() {
        assert_eq!(outcome(&mut world, &draft), ACCEPTED);
    }
}

#[test]
fn a_network_of_one_executes_by_proposing() {
    let mut alone = genesis();
    alone.operators.retain(|one| one.archive);
    let mut world = World::of(alone);
    let motion = admit("ministry");
    let hash = motion.hash(&world);
    let operator = world.did("operator-1");
    let seen = events(&mut world, &motion.proposed_by("operator-1"));
    assert_eq!(
        seen,
        [
            GovernanceEvent::Proposed { proposal: hash, operator },
            GovernanceEvent::Executed { proposal: hash, effective_height: None }
        ]
    );
    let removal = remove("operator-1").proposed_by("operator-1");
    assert_eq!(outcome(&mut world, &removal), refused("NO_QUORUM_LEFT"));
    assert_eq!(outcome(&mut world, &join("ministry", "validator")), ACCEPTED);
    assert_eq!(outcome(&mut world, &removal), ACCEPTED);
    assert_eq!(remove("operator-1").record(&world).unwrap().executed_height, 0, "one of two");
}

#[test]
fn what_happened_to_members_is_told_apart_by_operation() {
    let mut world = World::new();
    let motion = admit("ministry");
    let (proposal, height) = (motion.hash(&world), world.tip.height());
    let did = |world: &World, name: &str| world.did(name);
    let operator = did(&world, "operator-1");
    let seen = events(&mut world, &motion.proposed_by("operator-1"));
    assert_eq!(seen, [GovernanceEvent::Proposed { proposal, operator }]);
    let operator = did(&world, "operator-2");
    let seen = events(&mut world, &motion.approved_by("operator-2"));
    assert_eq!(seen, [GovernanceEvent::Approved { proposal, operator }]);
    let operator = did(&world, "operator-3");
    let seen = events(&mut world, &motion.approved_by("operator-3"));
    let approved = GovernanceEvent::Approved { proposal, operator };
    assert_eq!(seen, [approved, GovernanceEvent::Executed { proposal, effective_height: None }]);
    let operator = did(&world, "ministry");
    let validator_key = key("ministry/validator").point.try_into().unwrap();
    let seen = events(&mut world, &join("ministry", "validator"));
    let effective_height = height + 4 + 2;
    assert_eq!(seen, [GovernanceEvent::Joined { operator, validator_key, effective_height }]);
    let validator_key = key("ministry/validator2").point.try_into().unwrap();
    let seen = events(&mut world, &rekey("ministry", "validator2"));
    let expires_ms = world.tip.header.time_ms + REKEY_INTERVAL_MS;
    assert_eq!(seen, [GovernanceEvent::Rekeyed { operator, validator_key, expires_ms }]);
    let motion = remove("operator-4");
    for draft in motion.carried() {
        events(&mut world, &draft);
    }
    let seen = events(&mut world, &motion.approved_by("operator-4"));
    let proposal = motion.hash(&world);
    let effective_height = Some(world.tip.height() + 2);
    assert_eq!(seen[1], GovernanceEvent::Executed { proposal, effective_height });
}

// ---------------------------------------------------------------------------------- admit an operator

#[test]
fn a_member_is_a_registered_active_organization_and_no_member_yet() {
    let last = |motion: &Motion| motion.approved_by("operator-3");
    let try_after = |before: &[Draft], motion: Motion, expected| {
        let nearly = all(&[before.to_vec(), motion.nearly_carried()]);
        check(&nearly, last(&motion), expected);
    };
    try_after(&[], admit("ministry"), ACCEPTED);
    try_after(&[], admit("nobody"), refused("UNKNOWN_ORGANIZATION"));
    try_after(&[created("alice")], admit("alice"), refused("UNKNOWN_ORGANIZATION"));
    try_after(&[founded("agency")], admit("agency"), ACCEPTED);
    let gone = [founded("agency"), deactivate("agency").by(&["agency/control"])];
    try_after(&gone, admit("agency"), refused("UNKNOWN_ORGANIZATION"));
    try_after(&[], admit_with("operator-2", "2", |_| {}), refused("OPERATOR_EXISTS"));
    // Admitted and not joined yet is a member too.
    let admitted = admit("ministry").carried();
    try_after(&admitted, admit_with("ministry", "2", |_| {}), refused("OPERATOR_EXISTS"));
}

/// B12: one key, one use, once.
#[test]
fn b12_the_keys_of_a_new_member_were_never_used() {
    type Edit = fn(&mut v1::Operator, Vec<u8>);
    let uses: [(&str, Edit); 3] = [
        ("validator", |one, point| one.validator_key = point),
        ("node", |one, point| one.node_key = point),
        ("governance", |one, point| one.governance_key = point),
    ];
    for (what, set) in uses {
        for used in [
            "registrar/submit",
            "alice/1",
            "operator-1/validator",
            "operator-2/node",
            "operator-3/governance",
            "carrier/node",
            "carrier/governance",
        ] {
            let motion = admit_with("ministry", "", move |one| set(one, key(used).point));
            let before =
                all(&[vec![created("alice")], admit("carrier").carried(), motion.nearly_carried()]);
            check(&before, motion.approved_by("operator-3"), refused("KEY_REUSE"));
        }
        // Of an observer only its node key comes along.
        let motion = admit_with("ministry", "", move |one| set(one, key("observer/node").point));
        let expected = if what == "node" { ACCEPTED } else { refused("OBSERVER_EXISTS") };
        check(&motion.nearly_carried(), motion.approved_by("operator-3"), expected);
    }
    // And no DID takes an operator's key, nor that of one who only may join.
    let admitted = admit("ministry").carried();
    for used in ["operator-1/validator", "operator-1/node", "ministry/governance", "ministry/node"]
    {
        let new = document([
            bound("registrar/submit", SUBMIT),
            bound("registrar/control", 9),
            bound(used, SUBMIT),
        ]);
        let bind = rekeyed("registrar", new, &["registrar/control", used]);
        check(&admitted, bind, refused("KEY_REUSE"));
    }
}

#[test]
fn who_did_not_join_in_time_is_admitted_anew() {
    let end_ms = START_MS + HOUR_MS;
    let admitted = admit("ministry").until(end_ms).carried();
    let again = admit_with("ministry", "2", |_| {});
    let late = all(&[admitted.clone(), vec![wait(HOUR_MS)], again.nearly_carried()]);
    let world = check(&late, again.approved_by("operator-3"), ACCEPTED);
    let pending = world.operator("ministry").unwrap().pending.unwrap();
    assert_eq!(pending.validator_key, key("ministry/validator2").point);
    check(&late, join("ministry", "validator"), refused("JOIN_EXPIRED"));
    // Its old keys are used, but for the one that never joined.
    let with_old = |edit: fn(&mut v1::Operator)| admit_with("ministry", "2", edit);
    for (motion, expected) in [
        (
            with_old(|one| one.governance_key = key("ministry/governance").point),
            refused("KEY_REUSE"),
        ),
        (with_old(|one| one.node_key = key("ministry/node").point), refused("KEY_REUSE")),
        (with_old(|one| one.validator_key = key("ministry/validator").point), ACCEPTED),
    ] {
        let late = all(&[admitted.clone(), vec![wait(HOUR_MS)], motion.nearly_carried()]);
        check(&late, motion.approved_by("operator-3"), expected);
    }
    // One millisecond before the end it may still join.
    let late = all(&[admitted.clone(), again.nearly_carried()]);
    let at_ms = happened_in(&late).tip.header.time_ms;
    let approve = |time_ms: u64| again.approved_by("operator-3").after(time_ms - at_ms);
    check(&late, approve(end_ms - 1), refused("OPERATOR_EXISTS"));
    check(&late, approve(end_ms), ACCEPTED);
}

#[test]
fn an_observer_becomes_a_member_and_is_none_any_more() {
    let motion = admit_with("ministry", "", |one| one.node_key = key("observer/node").point);
    let mut world = happened_in(&motion.carried());
    assert!(world.members().observers.is_empty());
    let leaf = TreeKey::observer(&key("observer/node").point);
    let record: v1::ObserverRecord = world.leaf(&leaf).unwrap();
    assert_eq!(record.ended_height, 3);
    let again = observe("observer/node");
    for draft in again.nearly_carried() {
        world.run(&draft).unwrap();
    }
    assert_eq!(outcome(&mut world, &again.approved_by("operator-3")), refused("KEY_REUSE"));
}

/// Members behind the back of the rules, so that a test need not vote a hundred times.
fn filled(operators: usize, observers: usize, expires_ms: u64) -> Draft {
    meanwhile(move |world| {
        let mut members = world.members();
        for nth in 0..operators - 4 {
            let organization = Hash(blake3::hash(format!("filler {nth}").as_bytes()).into());
            members.operators.push(organization.to_vec());
            let record = v1::OperatorRecord {
                operator: Some(v1::Operator {
                    organization: organization.to_vec(),
                    ..v1::Operator::default()
                }),
                pending: Some(v1::PendingKey {
                    validator_key: vec![1; 32],
                    expires_ms,
                    ..v1::PendingKey::default()
                }),
                ..v1::OperatorRecord::default()
            };
            world.state.leaves.insert(TreeKey::operator(&organization), encode(&record));
        }
        for nth in 0..observers - 1 {
            let node_key = key(&format!("filler {nth}")).point;
            members.observers.push(node_key.clone());
            let observer = v1::Observer { node_key: node_key.clone(), archive: false };
            let record = v1::ObserverRecord { observer: Some(observer), ended_height: 0 };
            world.state.leaves.insert(TreeKey::observer(&node_key), encode(&record));
        }
        members.operators.sort();
        members.observers.sort();
        world.state.leaves.insert(TreeKey::members(), encode(&members));
    })
}

#[test]
fn a_network_has_at_most_128_operators_and_256_observers() {
    let end_ms = START_MS + HOUR_MS;
    for (operators, observers, motion, expected) in [
        (127, 1, admit("ministry"), ACCEPTED),
        (128, 1, admit("ministry"), refused("MEMBERS_MAX")),
        (4, 255, observe("new/node"), ACCEPTED),
        (4, 256, observe("new/node"), refused("MEMBERS_MAX")),
        (128, 256, replace("operator-2", "2"), ACCEPTED),
        (128, 256, remove("operator-2"), ACCEPTED),
        (128, 256, unobserve("observer/node"), ACCEPTED),
    ] {
        let full = all(&[vec![filled(operators, observers, end_ms)], motion.nearly_carried()]);
        check(&full, motion.approved_by("operator-3"), expected);
    }
    // Who cannot join any more makes room.
    let motion = admit("ministry");
    let full = all(&[vec![filled(128, 1, end_ms)], motion.nearly_carried(), vec![wait(HOUR_MS)]]);
    let world = check(&full, motion.approved_by("operator-3"), ACCEPTED);
    assert_eq!(world.members().operators.len(), 5);
    // The fullest leaf fits into a leaf.
    let mut members = happened_in(&[filled(128, 256, end_ms)]).members();
    let seat = v1::Validator {
        public_key: vec![1; 32],
        organization: vec![1; 32],
        since_height: u64::MAX,
    };
    members.validators = Some(v1::ValidatorSet { validators: vec![seat; 128] });
    assert!(encode(&members).len() < sillok_ledger::overlay::LEAF_BYTES_MAX / 2);
}

// -------------------------------------------------------------------------------- replace an operator

#[test]
fn a_new_governance_key_is_in_force_at_once_and_those_of_the_node_when_it_joins() {
    let motion = replace("operator-2", "2");
    let mut world = happened_in(&motion.carried());
    let record = world.operator("operator-2").unwrap();
    let in_force = record.operator.unwrap();
    assert_eq!(in_force.validator_key, key("operator-2/validator").point);
    // The node that votes keeps its key for as long: nobody drops it.
    assert_eq!(in_force.node_key, key("operator-2/node").point);
    assert_eq!(in_force.governance_key, key("operator-2/governance2").point);
    let pending = record.pending.unwrap();
    assert_eq!(pending.validator_key, key("operator-2/validator2").point);
    assert_eq!(pending.node_key, key("operator-2/node2").point);
    assert_eq!(world.tip.next_validators, *world.chain.validators(), "the seat is as it was");
    let other = admit("ministry");
    let propose = || other.proposed_by("operator-2");
    assert_eq!(outcome(&mut world, &propose()), refused("GOVERNANCE_KEY_REQUIRED"));
    assert_eq!(outcome(&mut world, &propose().by(&["operator-2/governance2"])), ACCEPTED);
    assert_eq!(outcome(&mut world, &join("operator-2", "validator2")), ACCEPTED);
    let height = world.tip.height();
    let seat = |world: &World, point: Vec<u8>| {
        let set = &world.tip.next_validators;
        set.validators.iter().find(|seat| seat.public_key == point).cloned()
    };
    assert_eq!(seat(&world, key("operator-2/validator").point), None);
    let new = seat(&world, key("operator-2/validator2").point).unwrap();
    assert_eq!(new.since_height, height + 2);
    assert_eq!(names(&world, &world.tip.next_validators).len(), 4);
    let record = world.operator("operator-2").unwrap();
    assert_eq!(record.operator.unwrap().node_key, key("operator-2/node2").point);
    // For one height more the old key votes, and its node is known.
    assert_eq!(record.previous_node_key, key("operator-2/node").point);
    assert!(record.pending.is_none());
    // Of the next key it is the same node.
    let next = rekey("operator-2", "validator3").by(&["operator-2/governance2"]);
    assert_eq!(outcome(&mut world, &next), ACCEPTED);
    assert_eq!(outcome(&mut world, &join("operator-2", "validator3")), ACCEPTED);
    let record = world.operator("operator-2").unwrap();
    assert_eq!(record.operator.unwrap().node_key, key("operator-2/node2").point);
    assert!(record.previous_node_key.is_empty());
}

/// Two keys of one seat in one block: only the one before both ever votes.
#[test]
fn the_node_before_is_that_of_the_key_that_still_votes() {
    let replaced = replace("operator-2", "2").carried();
    let by_new = |draft: Draft| draft.by(&["operator-2/governance2"]);
    let twice = together(&[
        join("operator-2", "validator2"),
        by_new(rekey("operator-2", "validator3")),
        join("operator-2", "validator3"),
    ]);
    let world = check(&replaced, twice, ACCEPTED);
    let record = world.operator("operator-2").unwrap();
    assert_eq!(record.previous_node_key, key("operator-2/node").point);
    assert_eq!(record.operator.unwrap().node_key, key("operator-2/node2").point);
    // Removed and admitted in one block, with other keys.
    let motions = [remove("operator-4").carried(), admit_with("operator-4", "2", |_| {}).carried()];
    let world = check(&[], together(&all(&motions)), ACCEPTED);
    let record = world.operator("operator-4").unwrap();
    assert_eq!(record.previous_node_key, key("operator-4/node").point);
    let other_block = all(&[motions[0].clone(), motions[1][..2].to_vec()]);
    let world = check(&other_block, motions[1][2].clone(), ACCEPTED);
    assert!(world.operator("operator-4").unwrap().previous_node_key.is_empty());
}

/// The key that is seated and removed in one block votes never, whatever else of its operator is in that block.
#[test]
fn the_node_before_outlives_a_key_that_comes_and_goes_in_one_block() {
    let replaced = replace("operator-4", "2").carried();
    let readmitted = admit_with("operator-4", "3", |_| {}).carried();
    let comes_and_goes =
        all(&[vec![join("operator-4", "validator2")], remove("operator-4").carried(), readmitted]);
    let node_before = |world: &World| world.operator("operator-4").unwrap().previous_node_key;
    let world = check(&replaced, together(&comes_and_goes), ACCEPTED);
    assert_eq!(node_before(&world), key("operator-4/node").point);
    // Nor when the key after it is seated in that block too.
    let and_joins = all(&[comes_and_goes, vec![join("operator-4", "validator3")]]);
    let mut world = check(&replaced, together(&and_joins), ACCEPTED);
    assert_eq!(node_before(&world), key("operator-4/node").point);
    let votes_on = key("operator-4/validator").point;
    assert!(world.tip.validators.validators.iter().any(|seat| seat.public_key == votes_on));
    // From the next change on it is of the past.
    let rekeyed = rekey("operator-4", "validator4").by(&["operator-4/governance3"]);
    assert_eq!(outcome(&mut world, &rekeyed), ACCEPTED);
    assert_eq!(outcome(&mut world, &join("operator-4", "validator4")), ACCEPTED);
    assert!(node_before(&world).is_empty());
}

#[test]
fn a_replacement_that_lapses_leaves_the_old_node_in_force_and_its_keys_the_operators_own() {
    let motion = replace("operator-2", "2").until(START_MS + HOUR_MS);
    let mut world = happened_in(&all(&[motion.carried(), vec![wait(HOUR_MS)]]));
    assert_eq!(outcome(&mut world, &join("operator-2", "validator2")), refused("JOIN_EXPIRED"));
    // A re-key does not bring back what lapsed.
    let mut rekeyed = world.clone();
    let next = rekey("operator-2", "validator3").by(&["operator-2/governance2"]);
    assert_eq!(outcome(&mut rekeyed, &next), ACCEPTED);
    assert_eq!(outcome(&mut rekeyed, &join("operator-2", "validator3")), ACCEPTED);
    let keys_of = |world: &World| world.operator("operator-2").unwrap().operator.unwrap();
    assert_eq!(keys_of(&rekeyed).node_key, key("operator-2/node").point);
    // Approved again the same new node takes over; anybody else's use of its key is refused.
    for (whose, expected) in [("operator-2", ACCEPTED), ("operator-3", refused("KEY_REUSE"))] {
        let again = replace_with(whose, "3", |one| one.node_key = key("operator-2/node2").point);
        let mut world = world.clone();
        for draft in [again.proposed_by("operator-1"), again.approved_by("operator-3")] {
            assert_eq!(outcome(&mut world, &draft), ACCEPTED);
        }
        assert_eq!(outcome(&mut world, &again.approved_by("operator-4")), expected);
        if whose == "operator-2" {
            assert_eq!(outcome(&mut world, &join("operator-2", "validator3")), ACCEPTED);
            assert_eq!(keys_of(&world).node_key, key("operator-2/node2").point);
        }
    }
    let observed = observe("operator-2/node2");
    let mut world = happened_in(&motion.carried());
    for draft in [observed.proposed_by("operator-1"), observed.approved_by("operator-3")] {
        assert_eq!(outcome(&mut world, &draft), ACCEPTED);
    }
    assert_eq!(outcome(&mut world, &observed.approved_by("operator-4")), refused("KEY_REUSE"));
}

/// The machine was lost, and the key made on the new one too: the node that the others approved still takes over.
#[test]
fn a_rekey_takes_along_the_node_that_was_approved() {
    let replaced = replace_with("operator-2", "2", |one| one.archive = true).carried();
    let rekeyed = rekey("operator-2", "validator3").by(&["operator-2/governance2"]);
    let happened = all(&[replaced, vec![rekeyed]]);
    check(&happened, join("operator-2", "validator2"), refused("JOIN_NOT_APPROVED"));
    let world = check(&happened, join("operator-2", "validator3"), ACCEPTED);
    let keys = world.operator("operator-2").unwrap().operator.unwrap();
    assert_eq!(keys.node_key, key("operator-2/node2").point);
    assert!(keys.archive);
    // Where nothing was approved, all stays but the key of the validator.
    let happened = [rekey("operator-1", "validator2")];
    let world = check(&happened, join("operator-1", "validator2"), ACCEPTED);
    let keys = world.operator("operator-1").unwrap().operator.unwrap();
    assert_eq!(keys.node_key, key("operator-1/node").point);
    assert!(keys.archive);
}

/// Whose governance key was stolen approved what the thief wished: the replacement takes it back.
#[test]
fn an_approval_belongs_to_the_key_that_gave_it() {
    let motion = admit("ministry");
    let replaced = all(&[
        vec![motion.proposed_by("operator-1"), motion.approved_by("operator-2")],
        replace("operator-2", "2").carried_by(&["operator-1", "operator-3", "operator-4"]),
    ]);
    let mut world = happened_in(&replaced);
    assert_eq!(outcome(&mut world, &motion.approved_by("operator-3")), ACCEPTED);
    let record = motion.record(&world).unwrap();
    assert_eq!((record.approvals.len(), record.executed_height), (3, 0), "two of them count");
    assert_eq!(outcome(&mut world, &motion.approved_by("operator-3")), refused("ALREADY"));
    let old = motion.approved_by("operator-2");
    assert_eq!(outcome(&mut world, &old), refused("GOVERNANCE_KEY_REQUIRED"));
    // Said again with the key in force it replaces what the old one said, and counts.
    let mut other = world.clone();
    let again = || motion.approved_by("operator-2").by(&["operator-2/governance2"]);
    assert_eq!(outcome(&mut world, &again()), ACCEPTED);
    let record = motion.record(&world).unwrap();
    assert_eq!(record.approvals.len(), 3);
    assert_ne!(record.executed_height, 0);
    let new_key = key_id(&key("operator-2/governance2")).to_vec();
    assert!(record.approvals.iter().any(|one| one.key_id == new_key));
    // Others suffice without it.
    assert_eq!(outcome(&mut other, &motion.approved_by("operator-4")), ACCEPTED);
    assert_ne!(motion.record(&other).unwrap().executed_height, 0);

    // With too few beside it, saying it again is no ALREADY but once.
    let motion = admit("carrier");
    let happened = all(&[
        vec![motion.proposed_by("operator-2")],
        replace("operator-2", "2").carried_by(&["operator-1", "operator-3", "operator-4"]),
    ]);
    let mut world = happened_in(&happened);
    let again = || motion.approved_by("operator-2").by(&["operator-2/governance2"]);
    assert_eq!(outcome(&mut world, &again()), ACCEPTED);
    assert_eq!(outcome(&mut world, &again()), refused("ALREADY"));
    assert_eq!(motion.record(&world).unwrap().approvals.len(), 1);
}

#[test]
fn an_operator_has_sixteen_open_proposals() {
    let opened: Vec<Draft> = (0..16)
        .map(|nth| admit("ministry").until(START_MS + HOUR_MS + nth).proposed_by("operator-1"))
        .collect();
    let mut world = happened_in(&opened[..15]);
    let next = admit("ministry").until(START_MS + DAY_MS);
    assert_eq!(outcome(&mut world.clone(), &next.proposed_by("operator-1")), ACCEPTED);
    assert_eq!(outcome(&mut world, &opened[15]), ACCEPTED);
    let full = refused("OPEN_PROPOSALS_MAX");
    assert_eq!(outcome(&mut world, &next.proposed_by("operator-1")), full);
    let open = world.operator("operator-1").unwrap().open_proposals;
    assert!(open.len() == 16 && open.is_sorted_by(|a, b| a < b));
    assert_eq!(outcome(&mut world.clone(), &next.proposed_by("operator-2")), ACCEPTED);
    // One that is executed makes room, and so do those that ended.
    let one = admit("ministry").until(START_MS + HOUR_MS + 3);
    for name in ["operator-2", "operator-3"] {
        assert_eq!(outcome(&mut world, &one.approved_by(name)), ACCEPTED);
    }
    assert_eq!(outcome(&mut world, &next.proposed_by("operator-1")), ACCEPTED);
    let other = admit("carrier").until(START_MS + DAY_MS);
    assert_eq!(outcome(&mut world, &other.proposed_by("operator-1")), full);
    let until_ms = START_MS + HOUR_MS + 1 - world.tip.header.time_ms;
    assert_eq!(outcome(&mut world, &other.proposed_by("operator-1").after(until_ms - 2)), full);
    world.run(&wait(until_ms)).unwrap();
    assert_eq!(outcome(&mut world, &other.proposed_by("operator-1")), ACCEPTED);
    let open = world.operator("operator-1").unwrap().open_proposals;
    assert_eq!(open.len(), 2);
    for motion in [&next, &other] {
        assert!(open.contains(&motion.hash(&world).to_vec()));
    }
}

#[test]
fn keys_that_stay_are_named_again_and_the_validators_is_another() {
    let nearly_then = |motion: Motion, expected| {
        check(&motion.nearly_carried(), motion.approved_by("operator-3"), expected);
    };
    nearly_then(replace("operator-2", "2"), ACCEPTED);
    let old = |what: &'static str| key(&format!("operator-2/{what}")).point;
    nearly_then(
        replace_with("operator-2", "2", move |one| {
            one.node_key = old("node");
            one.governance_key = old("governance");
        }),
        ACCEPTED,
    );
    let with = |edit: fn(&mut v1::Operator)| replace_with("operator-2", "2", edit);
    nearly_then(
        with(|one| one.validator_key = key("operator-2/validator").point),
        refused("KEY_REUSE"),
    );
    nearly_then(
        with(|one| one.validator_key = key("operator-3/validator").point),
        refused("KEY_REUSE"),
    );
    nearly_then(
        with(|one| one.governance_key = key("operator-2/node").point),
        refused("KEY_REUSE"),
    );
    nearly_then(
        with(|one| one.node_key = key("operator-2/governance").point),
        refused("KEY_REUSE"),
    );
    nearly_then(
        with(|one| one.governance_key = key("operator-3/governance").point),
        refused("KEY_REUSE"),
    );
    nearly_then(
        with(|one| one.governance_key = key("observer/node").point),
        refused("OBSERVER_EXISTS"),
    );
    nearly_then(
        with(|one| one.validator_key = key("observer/node").point),
        refused("OBSERVER_EXISTS"),
    );
    nearly_then(with(|one| one.node_key = key("observer/node").point), ACCEPTED);
    nearly_then(replace("ministry", "2"), refused("OPERATOR_UNKNOWN"));
    // One that has not joined yet may get other keys, also when its time is over.
    for waited in [STEP_MS, 2 * HOUR_MS] {
        let motion = replace("ministry", "2");
        let waiting = all(&[
            admit("ministry").until(START_MS + HOUR_MS).carried(),
            vec![wait(waited)],
            motion.carried(),
        ]);
        check(&waiting, join("ministry", "validator2"), ACCEPTED);
        check(&waiting, join("ministry", "validator"), refused("JOIN_NOT_APPROVED"));
    }
}

// --------------------------------------------------------------------------------- remove an operator

#[test]
fn who_is_removed_leaves_the_set_two_heights_later() {
    let motion = remove("operator-4");
    let mut world = happened_in(&motion.nearly_carried());
    assert_eq!(outcome(&mut world, &motion.approved_by("operator-3")), ACCEPTED);
    let height = world.tip.height();
    assert_eq!(world.operator("operator-4").unwrap().ended_height, height + 2);
    assert_eq!(names(&world, world.tip.validators_at(height + 1).unwrap()).len(), 4);
    assert_eq!(names(&world, world.tip.validators_at(height + 2).unwrap()).len(), 3);
    for draft in [rekey("operator-4", "validator2"), admit("ministry").proposed_by("operator-4")] {
        assert_eq!(outcome(&mut world, &draft), refused("NOT_AN_OPERATOR"));
    }
    // It is no operator any more, and may become one again, with other keys.
    let gone = remove("operator-4").until(START_MS + DAY_MS);
    for draft in gone.nearly_carried() {
        world.run(&draft).unwrap();
    }
    assert_eq!(outcome(&mut world, &gone.approved_by("operator-3")), refused("OPERATOR_UNKNOWN"));
    let back = admit_with("operator-4", "", |_| {});
    for draft in back.nearly_carried() {
        world.run(&draft).unwrap();
    }
    assert_eq!(outcome(&mut world, &back.approved_by("operator-3")), refused("KEY_REUSE"));
    let back = admit_with("operator-4", "2", |_| {});
    for draft in back.carried() {
        world.run(&draft).unwrap();
    }
    assert_eq!(outcome(&mut world, &join("operator-4", "validator")), refused("JOIN_NOT_APPROVED"));
    assert_eq!(outcome(&mut world, &join("operator-4", "validator2")), ACCEPTED);
    assert_eq!(world.operator("operator-4").unwrap().ended_height, 0);
    assert_eq!(world.tip.next_validators.validators.len(), 4);
}

#[test]
fn who_is_removed_before_it_joined_joins_no_more() {
    let admitted = admit("ministry").carried();
    check(&admitted, join("ministry", "validator"), ACCEPTED);
    let removed = all(&[admitted, remove("ministry").carried()]);
    let world = check(&removed, join("ministry", "validator"), refused("JOIN_NOT_APPROVED"));
    let record = world.operator("ministry").unwrap();
    assert!(record.pending.is_none() && record.ended_height != 0);
    assert_eq!(world.tip.next_validators, *world.chain.validators());
    // Neither does the next key of a member that was removed in between.
    let rekeyed = all(&[vec![rekey("operator-4", "validator2")], remove("operator-4").carried()]);
    check(&rekeyed, join("operator-4", "validator2"), refused("JOIN_NOT_APPROVED"));
}

#[test]
fn the_last_archive_stays_one() {
    let last = |motion: &Motion| motion.approved_by("operator-4");
    let by = ["operator-2", "operator-3"];
    let motion = remove("operator-1");
    check(&motion.carried_by(&by), last(&motion), refused("ARCHIVES_MIN"));
    let not_any_more = replace_with("operator-1", "2", |one| one.archive = false);
    check(&not_any_more.carried_by(&by), last(&not_any_more), refused("ARCHIVES_MIN"));
    let still = replace("operator-1", "2");
    check(&still.carried_by(&by), last(&still), ACCEPTED);
    // With another archive that holds a seat it may go; with one that only may join it may not.
    let other = admit_with("ministry", "", |one| one.archive = true);
    let waiting = all(&[other.carried(), motion.carried_by(&by)]);
    check(&waiting, last(&motion), refused("ARCHIVES_MIN"));
    let seated = all(&[
        other.carried(),
        vec![join("ministry", "validator")],
        motion.carried_by(&["operator-2", "operator-3", "ministry"]),
    ]);
    check(&seated, last(&motion), ACCEPTED);
    let became = replace_with("operator-2", "2", |one| one.archive = true);
    let by_two = || motion.approved_by("operator-2").by(&["operator-2/governance2"]);
    let approved = motion.carried_by(&["operator-3", "operator-4"]);
    let waiting = all(&[became.carried(), approved.clone()]);
    check(&waiting, by_two(), refused("ARCHIVES_MIN"));
    let seated = all(&[became.carried(), vec![join("operator-2", "validator2")], approved]);
    check(&seated, by_two(), ACCEPTED);
    // Two that stop being archives were approved while both were: the second one's key does not join.
    let first = replace_with("operator-1", "2", |one| one.archive = false);
    let second = replace_with("operator-2", "3", |one| one.archive = false);
    let two_archives = all(&[became.carried(), vec![join("operator-2", "validator2")]]);
    let mut world = happened_in(&two_archives);
    for draft in [
        second.proposed_by("operator-1"),
        second.approved_by("operator-3"),
        second.approved_by("operator-4"),
        first.proposed_by("operator-3"),
        first.approved_by("operator-4"),
        first.approved_by("operator-2").by(&["operator-2/governance3"]),
        join("operator-1", "validator2"),
    ] {
        assert_eq!(outcome(&mut world, &draft), ACCEPTED);
    }
    let last = join("operator-2", "validator3");
    assert_eq!(outcome(&mut world, &last), refused("ARCHIVES_MIN"));
    // A network that has too few already may still change, but not for the worse.
    let mut without = genesis();
    without.operators.iter_mut().for_each(|one| one.archive = false);
    let mut world = World::of(without);
    for draft in remove("operator-4").carried() {
        assert_eq!(outcome(&mut world, &draft), ACCEPTED);
    }
}

// ---------------------------------------------------------------------------------------------- join

#[test]
fn a_key_joins_by_signing_itself() {
    let admitted = admit("ministry").carried();
    let joined = || join("ministry", "validator");
    check(&admitted, joined(), ACCEPTED);
    check(&admitted, joined().through("carrier"), ACCEPTED);
    for signers in
        [&["ministry/governance"] as &[&str], &["ministry/node"], &["operator-1/validator"], &[]]
    {
        check(&admitted, joined().by(signers), refused("POSSESSION_MISSING"));
    }
    check(&admitted, joined().and_by("ministry/governance"), refused("UNEXPECTED_SIGNATURE"));
    // What was approved, for whom it was approved, and once.
    check(&[], joined(), refused("JOIN_NOT_APPROVED"));
    check(&admitted, join("ministry", "validator2"), refused("JOIN_NOT_APPROVED"));
    check(&admitted, join("operator-1", "validator2"), refused("JOIN_NOT_APPROVED"));
    check(&[], join("operator-1", "validator"), refused("ALREADY"));
    let again = all(&[admitted.clone(), vec![joined()]]);
    check(&again, joined(), refused("ALREADY"));
    let other = all(&[
        admitted,
        vec![joined(), rekey("ministry", "validator2"), join("ministry", "validator2")],
    ]);
    check(&other, joined(), refused("JOIN_NOT_APPROVED"));
}

#[test]
fn it_joins_before_the_approval_ends() {
    let end_ms = START_MS + HOUR_MS;
    let admitted = admit("ministry").until(end_ms).carried();
    let waited = |until_ms: u64| {
        let mut world = happened_in(&admitted);
        let gap_ms = until_ms - STEP_MS - world.tip.header.time_ms;
        world.run(&wait(gap_ms)).unwrap();
        outcome(&mut world, &join("ministry", "validator"))
    };
    assert_eq!(waited(end_ms - 1), ACCEPTED);
    assert_eq!(waited(end_ms), refused("JOIN_EXPIRED"));
}

#[test]
fn it_joins_over_a_header_of_this_chain_under_ten_minutes_old() {
    let admitted = admit("ministry").carried();
    // Admitted at height 3, and time stands at START + 3 s.
    let over = |height, after_ms: u64| {
        let mut world = happened_in(&admitted);
        world.run(&wait(STEP_MS)).unwrap();
        let draft = join_over("ministry", "validator", height).after(after_ms);
        outcome(&mut world, &draft)
    };
    assert_eq!(over(4, JOIN_HEADER_AGE_MS_MAX), ACCEPTED);
    assert_eq!(over(4, JOIN_HEADER_AGE_MS_MAX + 1), refused("JOIN_HEADER_OLD"));
    assert_eq!(over(3, JOIN_HEADER_AGE_MS_MAX - STEP_MS), ACCEPTED);
    assert_eq!(over(3, JOIN_HEADER_AGE_MS_MAX - STEP_MS + 1), refused("JOIN_HEADER_OLD"));
    assert_eq!(over(1, STEP_MS), ACCEPTED);
    // No header at all, one that is not there yet, the hash of another.
    assert_eq!(over(0, STEP_MS), refused("JOIN_HEADER_UNKNOWN"));
    assert_eq!(over(5, STEP_MS), refused("JOIN_HEADER_UNKNOWN"));
    let other = |world: &World| {
        Wire::Join(v1::Join {
            operator: world.did("ministry").to_vec(),
            validator_key: key("ministry/validator").point,
            header_height: 2,
            header_hash: header_of(world, 3).to_vec(),
        })
    };
    check(&admitted, members(other, "ministry/validator"), refused("JOIN_HEADER_UNKNOWN"));
}

/// A join is signed in advance and sent when the node is gone: the header it is over is too old, or it is too late.
#[test]
fn a_join_signed_in_advance_seats_nobody_later() {
    let mut world = happened_in(&admit("ministry").carried());
    let signed = world.transaction(&join("ministry", "validator").valid_for(200_000));
    let mut later = world.clone();
    assert!(world.run_transaction(signed.clone(), world.next_time_ms(STEP_MS)).is_ok());
    later.run(&wait(JOIN_HEADER_AGE_MS_MAX)).unwrap();
    let error = later.run_transaction(signed, later.next_time_ms(STEP_MS)).unwrap_err();
    assert_eq!(error.code(), "EXPIRED");
    // Signed anew it needs a header that its signer cannot have known before.
    let again = join_over("ministry", "validator", 3);
    assert_eq!(outcome(&mut later, &again), refused("JOIN_HEADER_OLD"));
    assert_eq!(outcome(&mut later, &join("ministry", "validator")), ACCEPTED);
}

/// B12: the key that was approved was bound to a DID before it joined.
#[test]
fn b12_a_key_that_was_used_in_between_joins_no_more() {
    let new = document([
        bound("registrar/submit", SUBMIT),
        bound("registrar/control", 9),
        bound("ministry/validator", SUBMIT),
    ]);
    let bind = rekeyed("registrar", new, &["registrar/control", "ministry/validator"]);
    let used = all(&[admit("ministry").carried(), vec![bind]]);
    check(&used, join("ministry", "validator"), refused("KEY_REUSE"));
    let observed = all(&[admit("ministry").carried(), observe("ministry/validator").carried()]);
    check(&observed, join("ministry", "validator"), refused("OBSERVER_EXISTS"));
    // Two members were approved with one validator key: one of them joins.
    let both = all(&[
        admit("ministry").carried(),
        admit_with("carrier", "", |one| one.validator_key = key("ministry/validator").point)
            .carried(),
        vec![join("ministry", "validator")],
    ]);
    let other = |world: &World| {
        Wire::Join(v1::Join {
            operator: world.did("carrier").to_vec(),
            validator_key: key("ministry/validator").point,
            header_height: world.tip.height(),
            header_hash: world.tip.hash.to_vec(),
        })
    };
    check(&both, members(other, "ministry/validator"), refused("KEY_REUSE"));
}

// --------------------------------------------------------------------------------------------- rekey

#[test]
fn an_operator_rekeys_its_own_validator_once_a_day() {
    let first = [rekey("operator-2", "validator2")];
    let again = |after_ms| rekey("operator-2", "validator3").after(after_ms);
    check(&first, again(REKEY_INTERVAL_MS - 1), refused("REKEY_TOO_SOON"));
    check(&first, again(REKEY_INTERVAL_MS), ACCEPTED);
    // Whether it joined or not, and whatever others do.
    let joined = [rekey("operator-2", "validator2"), join("operator-2", "validator2")];
    check(&joined, again(STEP_MS), refused("REKEY_TOO_SOON"));
    check(&joined, rekey("operator-3", "validator2"), ACCEPTED);
    let replaced = all(&[first.to_vec(), replace("operator-2", "3").carried()]);
    let by_new = rekey("operator-2", "validator4").by(&["operator-2/governance3"]);
    check(&replaced, by_new, refused("REKEY_TOO_SOON"));
    for used in ["validator", "node", "governance", "control"] {
        check(&[], rekey("operator-2", used), refused("KEY_REUSE"));
    }
}

#[test]
fn the_old_key_votes_until_the_new_one_joins_within_a_day() {
    let first = [rekey("operator-2", "validator2")];
    let mut world = happened_in(&first);
    assert_eq!(world.tip.next_validators, *world.chain.validators());
    let mut late = world.clone();
    late.run(&wait(REKEY_INTERVAL_MS - STEP_MS)).unwrap();
    assert_eq!(outcome(&mut late, &join("operator-2", "validator2")), refused("JOIN_EXPIRED"));
    world.run(&wait(REKEY_INTERVAL_MS - STEP_MS - 1)).unwrap();
    assert_eq!(outcome(&mut world, &join("operator-2", "validator2")), ACCEPTED);
    assert_eq!(outcome(&mut world, &join("operator-2", "validator")), refused("JOIN_NOT_APPROVED"));
    let record = world.operator("operator-2").unwrap();
    assert_eq!(record.operator.unwrap().validator_key, key("operator-2/validator2").point);
    assert!(record.pending.is_none() && record.rekeyed_ms == START_MS + STEP_MS);
    // Of two names for the next key the later one counts.
    let twice = all(&[first.to_vec(), replace("operator-2", "3").carried()]);
    check(&twice, join("operator-2", "validator2"), refused("JOIN_NOT_APPROVED"));
    check(&twice, join("operator-2", "validator3"), ACCEPTED);
}

// ----------------------------------------------------------------------------------------- observers

#[test]
fn observers_come_and_go() {
    let nearly_then = |before: &[Draft], motion: Motion, expected| {
        let nearly = all(&[before.to_vec(), motion.nearly_carried()]);
        check(&nearly, motion.approved_by("operator-3"), expected)
    };
    let world = nearly_then(&[], observe("new/node"), ACCEPTED);
    assert_eq!(world.members().observers.len(), 2);
    assert_eq!(world.tip.next_validators, *world.chain.validators());
    nearly_then(&[], observe("observer/node"), refused("OBSERVER_EXISTS"));
    nearly_then(&[], observe("operator-1/node"), refused("KEY_REUSE"));
    nearly_then(&[], observe("registrar/submit"), refused("KEY_REUSE"));
    nearly_then(&[], unobserve("new/node"), refused("OBSERVER_UNKNOWN"));
    nearly_then(&[], unobserve("operator-1/node"), refused("OBSERVER_UNKNOWN"));
    let world = nearly_then(&[], unobserve("observer/node"), ACCEPTED);
    let record: v1::ObserverRecord =
        world.leaf(&TreeKey::observer(&key("observer/node").point)).unwrap();
    assert_eq!(record.ended_height, 3);
    assert!(world.members().observers.is_empty());
    let removed = unobserve("observer/node").carried();
    let twice = unobserve("observer/node").until(START_MS + DAY_MS);
    nearly_then(&removed, twice, refused("OBSERVER_UNKNOWN"));
    let world = nearly_then(&removed, observe("observer/node"), ACCEPTED);
    assert_eq!(world.members().observers.len(), 1, "it signs nothing, so its key may return");
}

/// The genesis fills the same leaves that operations change.
#[test]
fn the_genesis_writes_members_as_operations_do() {
    let world = World::new();
    let members = world.members();
    assert_eq!(members.validators.as_ref(), Some(world.chain.validators()));
    let mut operators: Vec<Vec<u8>> =
        (1..=4).map(|nth| world.did(&format!("operator-{nth}")).to_vec()).collect();
    operators.sort();
    assert_eq!(members.operators, operators);
    assert_eq!(members.observers, [key("observer/node").point]);
    let record = world.operator("operator-1").unwrap();
    let operator = v1::Operator { archive: true, ..keys(&world, "operator-1", "") };
    assert_eq!(record, v1::OperatorRecord { operator: Some(operator), ..record.clone() });
    assert!(record.pending.is_none() && record.rekeyed_ms == 0 && record.ended_height == 0);
}

// ------------------------------------------------------------------------------------------- storage

/// A disk that fails, at whatever read, says nothing about a proposal or a join.
#[test]
fn a_fault_of_storage_is_no_rule_of_members() {
    let with_observer = admit_with("ministry", "", |one| one.node_key = key("observer/node").point);
    let removal = remove("operator-4");
    for (happened, tried) in [
        (with_observer.nearly_carried(), with_observer.approved_by("operator-3")),
        (removal.nearly_carried(), removal.approved_by("operator-3")),
        (vec![], removal.proposed_by("operator-1")),
        (admit("ministry").carried(), join("ministry", "validator")),
        (vec![], rekey("operator-1", "validator2")),
    ] {
        let mut world = happened_in(&happened);
        let transaction = world.transaction(&tried);
        let checked = CheckedTransaction::check(world.chain.hash(), &transaction).unwrap();
        let frame = Frame {
            chain: &world.chain,
            height: world.tip.height() + 1,
            time_ms: world.time_of(&tried),
            verifier: &VerifyEach,
            replay: &world.tip.replay,
            recent: &world.tip.recent,
            parameters: &world.tip.parameters,
        };
        let mut reads = 0;
        loop {
            let failing = Failing { state: &world.state, left: Cell::new(reads) };
            match admission::run(&frame, &failing, &checked) {
                Ok(_) => break,
                Err(error) => assert!(matches!(error, AdmissionError::State(_)), "{error}"),
            }
            reads += 1;
        }
        assert!(reads > 5, "it was tried at every read");
    }
}

/// Leaves that contradict each other are this machine's fault, never a caller's, and nothing panics over them.
#[test]
fn members_that_contradict_themselves_are_a_fault() {
    let motion = admit("ministry");
    let proposal = |world: &World| TreeKey::proposal(&motion.hash(world));
    let operator = |world: &World| TreeKey::operator(&world.did("operator-3"));
    let members = |_: &World| TreeKey::members();
    type Leaf<'a> = &'a dyn Fn(&World) -> TreeKey;
    let leaves: [(Leaf<'_>, &[u8]); 6] = [
        (&members, &[0xff]),
        (&operator, &[0xff]),
        (&proposal, &[0xff]),
        // A record without keys asks for the signature of a key that nobody has; a proposal without a change, and a
        // network without a seat, cannot be.
        (&operator, &[]),
        (&proposal, &[]),
        (&members, &[]),
    ];
    for (leaf, bytes) in leaves {
        let mut world = happened_in(&motion.nearly_carried());
        let transaction = world.transaction(&motion.approved_by("operator-3"));
        let leaf = leaf(&world);
        world.state.leaves.insert(leaf, bytes.to_vec());
        let refused = world.mempool(&transaction, world.next_time_ms(STEP_MS)).unwrap_err();
        if !bytes.is_empty() {
            assert_eq!(refused.code(), "INTERNAL_ERROR");
        }
        world.state.leaves.remove(&leaf);
        let refused = world.mempool(&transaction, world.next_time_ms(STEP_MS)).unwrap_err();
        let expected = if leaf == proposal(&world) { "PROPOSAL_UNKNOWN" } else { "INTERNAL_ERROR" };
        assert_eq!(refused.code(), expected);
    }
}
