//! Status lists: who creates them, who sets which entries, and what an entry may become (PROTOCOL §4.1).
//!
//! Tests are named after the rows of the requirements that they show.

use crate::desk::{
    DAY, HOUR, INVALID, PENDING, SUPERSEDED, SUSPENDED, VALID, YEAR, check, enrolled, issue,
    listed, listed_with, office, policy, set,
};
use crate::story::{ACCEPTED, Draft, meanwhile, outcome, refused, together, wait};
use crate::support::STEP_MS;
use sillok_ledger::{AdmissionError, BlockError, CheckedTransaction, StatusEvent, TreeKey};
use sillok_proto::{encode, v1};
use v1::{Action, Channel, Reason};

fn badges(state: u32, indexes: &[u32]) -> Draft {
    set("badges", state, indexes)
}

fn alice() -> Vec<Draft> {
    enrolled("alice", 1).into()
}

// ---------------------------------------------------------------------------------------------- lists

#[test]
fn a_list_is_created_by_an_issuer_of_the_type_under_its_own_name() {
    let world = check(&[], listed("rival", "id", "theirs"), ACCEPTED);
    let name = world.list_name("rival", "id", "theirs");
    let leaf: v1::StatusList = world.leaf(&sillok_ledger::TreeKey::status_list(&name)).unwrap();
    assert_eq!((leaf.capacity, leaf.max_age_s), (131_072, 300));
    assert_eq!(leaf.created_ms, world.tip.header.time_ms);
    assert_eq!(leaf.issuer, world.did("rival").to_vec());

    check(&[], listed("agency", "id", "ids"), refused("LIST_EXISTS"));
    let named = |op: &mut v1::CreateList| op.list[0] ^= 1;
    check(&[], listed_with("agency", "id", "other", named), refused("LIST_NAME"));
    // Somebody else's issuer in the name is somebody else's signature.
    let stolen = listed("agency", "id", "other").by(&["rival/control"]);
    check(&[], stolen, refused("NOT_AUTHORIZED"));
    let hot = listed("agency", "id", "other").by(&["agency/submit"]);
    check(&[], hot, refused("NOT_AUTHORIZED"));
    check(&[], listed("agency", "id", "other").any(), refused("SUBMITTER_MUST_BE_NAMED"));
    check(&[], listed("board", "id", "other"), refused("WRONG_TYPE"));
    check(&[], listed("agency", "nothing", "other"), refused("UNKNOWN_TYPE"));
}

#[test]
fn a_list_has_a_form() {
    type Form = fn(&mut v1::CreateList);
    let cases: [(Form, &str); 8] = [
        (|op| op.capacity = 131_072 - 8_192, "OUT_OF_RANGE"),
        (|op| op.capacity = 131_073, "OUT_OF_RANGE"),
        (|op| op.capacity = 1_048_576 + 8_192, "OUT_OF_RANGE"),
        (|op| op.max_age_s = 59, "OUT_OF_RANGE"),
        (|op| op.max_age_s = 86_401, "OUT_OF_RANGE"),
        (|op| op.nonce = vec![1; 15], "NONCE_LENGTH"),
        (|op| op.issuer = vec![1; 31], "HASH_LENGTH"),
        (|op| op.r#type = vec![], "HASH_LENGTH"),
    ];
    for (change, code) in cases {
        check(&[], listed_with("agency", "id", "other", change), refused(code));
    }
}

/// D9: the refusal names the types that the organization may issue.
#[test]
fn d9_wrong_type_names_the_types_that_may_be_issued() {
    let mut world = office(&[meanwhile(|world| {
        world.give("board", Action::Issue, "badge", "agency", [0; 3]);
        world.give("board", Action::Issue, "never", "nobody", [0; 3]);
    })]);
    let error = world.run(&listed("board", "id", "other")).unwrap_err();
    assert_eq!(error.code(), "WRONG_TYPE");
    let fields = error.fields();
    let named: Vec<&str> = fields
        .iter()
        .filter(|(name, _)| *name == "allowed_type")
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(named, [world.did("badge").to_string()], "and not one whose chain is broken");
    // Before anything is written, and before the entries are looked at.
    check(&[], badges(VALID, &[0]).role("call-centre"), refused("WRONG_TYPE"));
    check(&[], badges(VALID, &[9_999_999]).role("call-centre"), refused("WRONG_TYPE"));
}

// -------------------------------------------------------------------------------------------- entries

#[test]
fn entries_become_what_was_set_and_no_entry_beside_them() {
    let mut world = check(&[], badges(VALID, &[0, 3, 8_191, 8_192, 131_071]), ACCEPTED);
    for (index, state) in [
        (0, VALID),
        (1, PENDING),
        (2, PENDING),
        (3, VALID),
        (8_191, VALID),
        (8_192, VALID),
        (8_193, PENDING),
        (131_071, VALID),
    ] {
        assert_eq!(world.entry("badges", index), state, "{index}");
    }
    assert_eq!(outcome(&mut world, &badges(SUSPENDED, &[3])), ACCEPTED);
    assert_eq!(outcome(&mut world, &badges(INVALID, &[8_191, 8_192])), ACCEPTED);
    assert_eq!([0, 3, 8_191, 8_192].map(|index| world.entry("badges", index)), [0, 2, 1, 1]);
}

/// C8, C10: each move of an entry, and each that there is not.
#[test]
fn c8_c10_the_moves_of_an_entry() {
    let to = |state: u32| -> Vec<Draft> {
        match state {
            PENDING => vec![],
            VALID => vec![badges(VALID, &[7])],
            other => vec![badges(VALID, &[7]), badges(other, &[7])],
        }
    };
    let moves = [
        (PENDING, [(VALID, ""), (INVALID, ""), (SUSPENDED, "PENDING"), (SUPERSEDED, "PENDING")]),
        (VALID, [(VALID, "ALREADY"), (INVALID, ""), (SUSPENDED, ""), (SUPERSEDED, "")]),
        (SUSPENDED, [(VALID, ""), (INVALID, ""), (SUSPENDED, "ALREADY"), (SUPERSEDED, "")]),
        (
            INVALID,
            [(VALID, "REVOKED"), (INVALID, "ALREADY"), (SUSPENDED, "REVOKED"), (12, "REVOKED")],
        ),
        (
            SUPERSEDED,
            [
                (VALID, "SUPERSEDED"),
                (INVALID, "SUPERSEDED"),
                (SUSPENDED, "SUPERSEDED"),
                (SUPERSEDED, "ALREADY"),
            ],
        ),
    ];
    for (from, asked) in moves {
        let world = office(&to(from));
        for (state, code) in asked {
            let expected = if code.is_empty() { ACCEPTED } else { refused(code) };
            let mut world = world.clone();
            assert_eq!(outcome(&mut world, &badges(state, &[7])), expected, "{from} to {state}");
            let is = if code.is_empty() { state } else { from };
            assert_eq!(world.entry("badges", 7), is);
        }
    }
}

/// B17: idempotent by target. What is there stays, a change of none is not ordered, and the answer says so.
#[test]
fn b17_two_channels_at_once_are_one_change() {
    let mut world = office(&[badges(VALID, &[1, 2]), badges(INVALID, &[1])]);
    let call = badges(INVALID, &[1]).role("call-centre").channel(Channel::CallCentre);
    let error = world.run(&call).unwrap_err();
    assert_eq!(error.code(), "ALREADY");
    assert_eq!(error.retry(), sillok_ledger::Retry::Never);
    let fields = error.fields();
    assert!(fields.contains(&("state", "INVALID".to_owned())), "{fields:?}");
    assert!(fields.contains(&("height", world.tip.height().to_string())), "{fields:?}");
    // With one that is new the others stay.
    assert_eq!(outcome(&mut world, &badges(INVALID, &[1, 2])), ACCEPTED);
    assert_eq!(world.entry("badges", 2), INVALID);
    // One that cannot refuses all.
    let mut world = office(&[badges(VALID, &[1, 2]), badges(INVALID, &[1])]);
    assert_eq!(outcome(&mut world, &badges(SUSPENDED, &[1, 2])), refused("REVOKED"));
    assert_eq!(world.entry("badges", 2), VALID);
}

#[test]
fn an_index_stands_in_the_list_once_and_in_order() {
    check(&[], badges(VALID, &[131_072]), refused("INDEX_OUT_OF_RANGE"));
    check(&[], badges(VALID, &[u32::MAX]), refused("INDEX_OUT_OF_RANGE"));
    check(&[], badges(VALID, &[]), refused("INDEX_COUNT"));
    check(&[], badges(VALID, &[5, 5]), refused("INDEX_ORDER"));
    check(&[], badges(VALID, &[5, 4]), refused("INDEX_ORDER"));
    let many: Vec<u32> = (0..10_001).collect();
    check(&[], badges(VALID, &many), refused("INDEX_COUNT"));
    for state in [PENDING, 4, 11, 13, u32::MAX] {
        check(&[], badges(state, &[5]), refused("OUT_OF_RANGE"));
    }
    check(&[], set("no-list", VALID, &[5]), refused("UNKNOWN_LIST"));
}

// ------------------------------------------------------------------------------------------ who may

#[test]
fn entries_are_set_by_the_issuer_those_it_accredited_and_for_losses_those_above() {
    let issued = [badges(VALID, &[1])];
    for (role, gain, loss) in [
        ("agency", ACCEPTED, ACCEPTED),
        ("counter", ACCEPTED, ACCEPTED),
        ("call-centre", refused("WRONG_TYPE"), ACCEPTED),
        ("ministry", refused("WRONG_TYPE"), ACCEPTED),
        ("rival", refused("NOT_OWNER"), refused("NOT_OWNER")),
        ("board", refused("WRONG_TYPE"), refused("WRONG_TYPE")),
        ("nobody", refused("UNKNOWN_ORGANIZATION"), refused("UNKNOWN_ORGANIZATION")),
    ] {
        check(&issued, badges(VALID, &[2]).role(role), gain);
        check(&issued, badges(SUSPENDED, &[1]).role(role), loss);
        check(&issued, badges(INVALID, &[1]).role(role), loss);
    }
    // Above by the chain of grants, too.
    let chained = meanwhile(|world| {
        world.give("registrar", Action::Revoke, "badge", "", [0; 3]);
        world.give("agency", Action::Revoke, "badge", "registrar", [0; 3]);
    });
    let by = badges(INVALID, &[1]).role("registrar");
    check(&[issued[0].clone(), chained], by, ACCEPTED);
}

/// Wound down, an issuer gains nothing and its lost phones stay revocable; cut off, they are revoked from above.
#[test]
fn an_issuer_that_was_cut_off_is_revoked_from_above() {
    let wound_down = meanwhile(|world| {
        world.take_right("agency", Action::Issue, "badge");
        world.take_right("agency", Action::Approve, "badge");
    });
    let issued = badges(VALID, &[1]);
    let happened = [issued.clone(), wound_down.clone()];
    check(&happened, badges(VALID, &[2]).role("counter"), refused("WRONG_TYPE"));
    check(&happened, badges(INVALID, &[1]).role("call-centre"), ACCEPTED);
    let cut = meanwhile(|world| world.take_right("agency", Action::Revoke, "badge"));
    let happened = [issued, wound_down, cut];
    check(&happened, badges(INVALID, &[1]).role("call-centre"), refused("WRONG_TYPE"));
    check(&happened, badges(INVALID, &[1]).role("agency"), refused("WRONG_TYPE"));
    check(&happened, badges(INVALID, &[1]).role("ministry"), ACCEPTED);
}

/// The grants are all there, but one who gave them is gone.
#[test]
fn below_an_issuer_that_was_deactivated_nothing_is_gained_and_all_stays_revocable() {
    let gone = || {
        meanwhile(|world| {
            let leaf = TreeKey::did_head(&world.did("agency"));
            let mut head: v1::Head = world.leaf(&leaf).unwrap();
            head.deactivated = true;
            head.time_ms = world.tip.header.time_ms;
            world.state.leaves.insert(leaf, encode(&head));
        })
    };
    check(&[], badges(VALID, &[2]).role("counter"), ACCEPTED);
    check(&[gone()], badges(VALID, &[2]).role("counter"), refused("WRONG_TYPE"));
    let issued = badges(VALID, &[1]);
    check(&[issued.clone(), gone()], badges(INVALID, &[1]).role("call-centre"), ACCEPTED);
    check(&[issued, gone()], badges(SUSPENDED, &[1]).role("counter"), ACCEPTED);
}

#[test]
fn an_acting_role_signs_this_operation_of_this_transaction_with_its_hot_key() {
    let key = |name: &'static str| {
        badges(VALID, &[1]).desk(move |desk| desk.role_key = Some(name.to_owned()))
    };
    check(&[], key("counter/control"), refused("KEY_NOT_AUTHORIZED"));
    check(&[], key("agency/submit"), refused("KEY_NOT_AUTHORIZED"));
    let forged = |change: fn(&mut v1::PrivateOperationSignatures)| {
        badges(VALID, &[1]).forged(move |one| {
            change(&mut one.private_signatures.as_mut().unwrap().operations[0]);
        })
    };
    let flip = |one: &mut v1::PrivateOperationSignatures| {
        one.acting_role.as_mut().unwrap().signature[3] ^= 1;
    };
    check(&[], forged(flip), refused("BAD_SIGNATURE"));
    check(&[], forged(|one| one.acting_role = None), refused("MISSING_PART"));
    check(&[], forged(|one| one.operation = 1), refused("PRIVATE_SIGNATURE_LIST"));
    check(
        &[],
        badges(VALID, &[1]).forged(|one| one.private_signatures = None),
        refused("PRIVATE_SIGNATURE_LIST"),
    );
    // In public nobody signs for it.
    let public = badges(VALID, &[1]).by(&["agency/control"]);
    check(&[], public, refused("TOO_MANY_SIGNATURES"));

    // What was signed for one transaction, or for another place in it, is worth nothing elsewhere.
    let mut world = office(&[]);
    let first = world.transaction(&badges(VALID, &[1]));
    let taken = first.private_signatures.unwrap();
    let stolen = badges(VALID, &[1]).through("carrier").forged(move |one| {
        one.private_signatures = Some(taken.clone());
    });
    assert_eq!(outcome(&mut world, &stolen), refused("BAD_SIGNATURE"));
    let pair = together(&[badges(VALID, &[1]), badges(VALID, &[2])]).forged(|one| {
        let operations = &mut one.private_signatures.as_mut().unwrap().operations;
        let (a, b) = (operations[0].acting_role.clone(), operations[1].acting_role.clone());
        (operations[0].acting_role, operations[1].acting_role) = (b, a);
    });
    assert_eq!(outcome(&mut world, &pair), refused("BAD_SIGNATURE"));
}

#[test]
fn private_parts_are_complete_and_those_that_the_operations_name() {
    let forged = |change: fn(&mut v1::Transaction), code| {
        check(&[], badges(VALID, &[1]).forged(change), refused(code));
    };
    forged(|one| one.private_contents.clear(), "MISSING_PRIVATE_CONTENT");
    forged(|one| one.private_contents.push(one.private_contents[0].clone()), "UNEXPECTED_PART");
    forged(|one| one.private_contents[0].reason = 6, "PRIVATE_CONTENT_HASH");
    forged(|one| one.private_signatures.as_mut().unwrap().salt.clear(), "PRIVATE_SALT");
    forged(
        |one| {
            let operations = &mut one.private_signatures.as_mut().unwrap().operations;
            operations.push(operations[0].clone());
        },
        "PRIVATE_SIGNATURE_LIST",
    );
    forged(
        |one| {
            let operation = &mut one.private_signatures.as_mut().unwrap().operations[0];
            operation.approvals.push(v1::Approval::default());
        },
        "APPROVAL_COUNT",
    );
    forged(
        |one| {
            let operation = &mut one.private_signatures.as_mut().unwrap().operations[0];
            operation.holder_keys.push(operation.acting_role.clone().unwrap());
        },
        "UNEXPECTED_SIGNATURE",
    );
    let two = together(&[badges(VALID, &[1]), badges(VALID, &[2])]);
    let swapped = two.forged(|one| one.private_contents.swap(0, 1));
    check(&[], swapped, refused("PRIVATE_CONTENT_HASH"));
    // A content of an enrollment beside a list, and the wrong number of handles.
    let handles = |people: &'static [&'static str], of: &'static str| {
        let people: Vec<String> = people.iter().map(|one| (*one).to_owned()).collect();
        set(of, VALID, &[1, 2]).desk(move |desk| desk.people.clone_from(&people))
    };
    check(&alice(), handles(&["alice", "alice"], "badges"), refused("HANDLE_COUNT"));
    check(&alice(), handles(&["alice"], "ids"), refused("HANDLE_COUNT"));
    check(&alice(), handles(&[], "ids"), refused("HANDLE_COUNT"));
    check(&alice(), handles(&["alice", "alice"], "ids"), ACCEPTED);
}

/// Whoever passes a block on can change what no hash in the header covers; that is no verdict on the block.
#[test]
fn private_contents_that_were_changed_on_their_way_are_altered_and_not_invalid() {
    let mut world = office(&[]);
    let transaction = world.transaction(&badges(VALID, &[1]));
    let built = world.build(&[transaction], world.next_time_ms(STEP_MS));
    let changed = |change: fn(&mut v1::Transaction)| {
        let mut block = built.block.clone();
        change(&mut block.transactions[0]);
        world.execute(&block).unwrap_err()
    };
    for change in [
        (|one| one.private_contents.clear()) as fn(&mut v1::Transaction),
        |one| one.private_contents[0].channel = 2,
        |one| one.private_contents.push(v1::PrivateContent::default()),
    ] {
        let error = changed(change);
        assert!(error.is_altered(), "{error}");
    }
    // Private signatures are in the transactions root.
    let error = changed(|one| one.private_signatures.as_mut().unwrap().salt[0] ^= 1);
    assert!(matches!(error, BlockError::Header { field: "transactions_root", .. }), "{error}");
    assert!(changed(|one| one.private_signatures = None).is_altered());
}

// --------------------------------------------------------------------------------------------- policy

/// A13, C5: a change has a reason, of a closed set, that the type allows.
#[test]
fn a13_c5_a_change_has_a_reason_that_the_type_allows() {
    let reason = |number: i32| badges(VALID, &[1]).desk(move |desk| desk.reason = number);
    check(&[], reason(0), refused("REASON_REQUIRED"));
    for number in [16, 1_000_000, -1, i32::MIN] {
        check(&[], reason(number), refused("REASON_NOT_ALLOWED"));
    }
    let fewer = meanwhile(|world| {
        let mut fewer = policy(false);
        fewer.reasons.retain(|rule| rule.reason() != Reason::AttributeChange);
        world.publish("badge", fewer);
    });
    check(&[fewer], badges(VALID, &[1]), refused("REASON_NOT_ALLOWED"));
    check(
        &[badges(VALID, &[1])],
        badges(INVALID, &[1]).desk(|desk| desk.reason = 0),
        refused("REASON_REQUIRED"),
    );
}

/// B16: three channels, each of which suffices; the channel is a number of a closed set.
#[test]
fn b16_each_channel_suffices() {
    for (role, channel) in [
        ("counter", Channel::Office),
        ("call-centre", Channel::CallCentre),
        ("agency", Channel::Portal),
    ] {
        let lost = badges(INVALID, &[1]).role(role).channel(channel);
        check(&[badges(VALID, &[1])], lost, ACCEPTED);
    }
    for number in [0, 8, 32, 33, -1] {
        let odd = badges(VALID, &[1]).desk(move |desk| desk.channel = number);
        check(&[], odd, refused("CHANNEL_NOT_ALLOWED"));
    }
    let offices_only = meanwhile(|world| {
        world.publish("badge", v1::TypePolicy { channels: 0b10, ..policy(false) });
    });
    let call = badges(VALID, &[1]).channel(Channel::Portal);
    check(&[offices_only], call, refused("CHANNEL_NOT_ALLOWED"));
}

/// C1: the level is a number of a closed set, stated where a right is gained and the type asks for it.
#[test]
fn c1_the_assurance_level_is_stated_where_the_type_asks_for_it() {
    let level = |draft: Draft, level: i32| draft.desk(move |desk| desk.level = level);
    check(&[], level(badges(VALID, &[1]), 3), refused("ASSURANCE_LEVEL_NOT_ALLOWED"));
    let asks = meanwhile(|world| {
        world.publish("badge", v1::TypePolicy { assurance_levels: 0b1100, ..policy(false) });
    });
    for (number, expected) in [
        (0, refused("ASSURANCE_LEVEL_NOT_ALLOWED")),
        (1, refused("ASSURANCE_LEVEL_NOT_ALLOWED")),
        (2, ACCEPTED),
        (3, ACCEPTED),
        (4, refused("ASSURANCE_LEVEL_NOT_ALLOWED")),
    ] {
        check(std::slice::from_ref(&asks), level(badges(VALID, &[1]), number), expected);
    }
    let losing = level(badges(INVALID, &[1]), 3);
    check(&[asks], losing, refused("ASSURANCE_LEVEL_NOT_ALLOWED"));
}

/// A22: a policy that changed holds for whatever happens from then on.
#[test]
fn the_latest_version_of_a_policy_holds() {
    let strict = meanwhile(|world| {
        let mut strict = policy(false);
        for rule in &mut strict.reasons {
            rule.approvals = 1;
        }
        world.publish("badge", strict);
    });
    check(&[badges(VALID, &[1]), strict.clone()], badges(VALID, &[2]), refused("APPROVAL_MISSING"));
    check(&[badges(VALID, &[1]), strict], badges(INVALID, &[1]), ACCEPTED);
}

// ------------------------------------------------------------------------------------------ approvals

fn needs(approvals: u32) -> Draft {
    meanwhile(move |world| {
        let mut strict = policy(false);
        for rule in &mut strict.reasons {
            rule.approvals = approvals;
        }
        world.publish("badge", strict);
    })
}

/// A3: as many others as the rule asks for, each once, none of another department, none late, none for something else.
#[test]
fn a3_approvals_are_those_of_others_for_this_operation_in_time() {
    let gain = || badges(VALID, &[1]);
    let tried = |draft, expected| check(&[needs(2)], draft, expected);
    tried(gain().approved(&["board", "board-2"]), ACCEPTED);
    tried(gain().approved(&["board", "board-2", "dept-1"]), ACCEPTED);
    tried(gain().approved(&["board", "agency"]), ACCEPTED);
    tried(gain(), refused("APPROVAL_MISSING"));
    tried(gain().approved(&["board"]), refused("APPROVAL_MISSING"));
    // One approver twice, and the one that acts as its own.
    tried(gain().approved(&["board", "board"]), refused("APPROVER_TWICE"));
    tried(gain().role("agency").approved(&["agency", "board"]), refused("APPROVER_NOT_ALLOWED"));
    // Who may not approve this type under this issuer.
    tried(gain().approved(&["board", "call-centre"]), refused("APPROVER_NOT_ALLOWED"));
    tried(gain().approved(&["board", "rival"]), refused("APPROVER_NOT_ALLOWED"));
    tried(gain().approved(&["board", "nobody"]), refused("APPROVER_NOT_ALLOWED"));
    // Time.
    let both = ["board", "board-2"];
    tried(gain().approved_for(&both, 0), refused("APPROVAL_EXPIRED"));
    tried(gain().approved_for(&both, -1), refused("APPROVAL_EXPIRED"));
    tried(gain().approved_for(&both, 1), ACCEPTED);
    tried(gain().approved_for(&both, DAY as i64), ACCEPTED);
    tried(gain().approved_for(&both, DAY as i64 + 1), refused("APPROVAL_TOO_LONG"));
    tried(gain().approved_for(&both, i64::MAX), refused("APPROVAL_TOO_LONG"));
    // Not with the key that controls the organization, nor with another's.
    let keyed = |key: &'static str| {
        gain().approved(&both).desk(move |desk| desk.approvals[0].1 = key.to_owned())
    };
    tried(keyed("board/control"), refused("KEY_NOT_AUTHORIZED"));
    tried(keyed("board-2/submit"), refused("KEY_NOT_AUTHORIZED"));
    // A loss needs none, and what is not needed is checked all the same.
    let valid = [needs(0), badges(VALID, &[1]), needs(2)];
    check(&valid, badges(INVALID, &[1]), ACCEPTED);
    check(&valid, badges(INVALID, &[1]).approved(&["rival"]), refused("APPROVER_NOT_ALLOWED"));
}

/// A3: an approval of another application is none of this one.
#[test]
fn a3_an_approval_is_for_one_operation() {
    let mut world = office(&[needs(1)]);
    let first = world.transaction(&badges(VALID, &[1]).approved(&["board"]));
    let approvals = first.private_signatures.unwrap().operations[0].approvals.clone();
    let stolen = badges(VALID, &[2]).approved(&["board"]).forged(move |one| {
        one.private_signatures.as_mut().unwrap().operations[0].approvals.clone_from(&approvals);
    });
    assert_eq!(outcome(&mut world, &stolen), refused("APPROVAL_MISMATCH"));
    // A later end is another statement.
    let longer = badges(VALID, &[1]).approved(&["board"]).forged(|one| {
        one.private_signatures.as_mut().unwrap().operations[0].approvals[0].expires_ms += 1;
    });
    assert_eq!(outcome(&mut world, &longer), refused("APPROVAL_MISMATCH"));
}

/// The operation runs once with its approvals: what was suspended again is not reinstated by the old ones.
#[test]
fn a3_an_approval_is_used_once() {
    let gain = || badges(VALID, &[1]).approved(&["board"]).desk(|desk| desk.salt = Some(5));
    let mut world = office(&[needs(1), gain(), badges(SUSPENDED, &[1])]);
    assert_eq!(outcome(&mut world, &gain()), refused("APPROVAL_USED"));
    assert_eq!(world.entry("badges", 1), SUSPENDED);
    let anew = badges(VALID, &[1]).reason(Reason::Found).approved(&["board"]);
    assert_eq!(outcome(&mut world, &anew), ACCEPTED);
    // Without approvals there is nothing to use up.
    let free = || badges(VALID, &[1]).desk(|desk| desk.salt = Some(5));
    check(&[free(), badges(SUSPENDED, &[1])], free(), ACCEPTED);
}

/// A4: whoever acts, approves or stands in a code is an organization, never a person.
#[test]
fn a4_no_person_acts_or_approves() {
    let person = [crate::story::created("alice"), needs(1)];
    let by = |role: &'static str, key: &'static str| {
        badges(VALID, &[1]).role(role).desk(move |desk| desk.role_key = Some(key.to_owned()))
    };
    check(&person, by("alice", "alice/1"), refused("UNKNOWN_ORGANIZATION"));
    let approved = badges(VALID, &[1]).approved(&["alice"]);
    check(&person, approved, refused("APPROVER_NOT_ALLOWED"));
    check(&person, badges(VALID, &[1]).code("alice"), refused("ORG_MISMATCH"));
}

/// D10: the code is an active organization of the issuer or below it. A3: approvers are of that department.
#[test]
fn d10_a3_the_organization_code_and_the_approvers_are_on_one_line() {
    let gain = || badges(VALID, &[1]);
    for (code, expected) in [
        ("agency", ACCEPTED),
        ("dept-1", ACCEPTED),
        ("clerk-1", ACCEPTED),
        ("ministry", refused("ORG_MISMATCH")),
        ("rival", refused("ORG_MISMATCH")),
        ("nobody", refused("ORG_MISMATCH")),
    ] {
        check(&[], gain().code(code), expected);
    }
    let approved = |code, approver| gain().code(code).approved(&[approver]);
    for (code, approver, expected) in [
        ("clerk-1", "dept-1", ACCEPTED),
        ("clerk-1", "agency", ACCEPTED),
        ("clerk-1", "dept-2", refused("APPROVER_MISMATCH")),
        ("dept-1", "dept-1", ACCEPTED),
        ("dept-1", "board", refused("APPROVER_MISMATCH")),
        ("agency", "dept-2", ACCEPTED),
    ] {
        check(&[needs(1)], approved(code, approver), expected);
    }
}

// -------------------------------------------------------------------------------------------- limits

fn limits(holder: &'static str, action: Action, grantor: &'static str, each: [u32; 3]) -> Draft {
    meanwhile(move |world| world.give(holder, action, "badge", grantor, each))
}

/// A stolen call-centre key at full speed ends and suspends no more than its limit, until the next hour begins.
#[test]
fn velocity_a_stolen_key_ends_and_suspends_no_more_than_its_limit() {
    let all: Vec<u32> = (0..40).collect();
    let limit = limits("call-centre", Action::Revoke, "agency", [0, 3, 5]);
    let mut world = office(&[limit, badges(VALID, &all)]);
    let at = |state, index: u32| badges(state, &[index]).role("call-centre");
    let mut counts = [0, 0];
    for index in 0..20 {
        let end = world.run(&at(INVALID, index));
        let suspend = world.run(&at(SUSPENDED, index + 20));
        for (count, tried) in counts.iter_mut().zip([end, suspend]) {
            match tried {
                Ok(()) => *count += 1,
                Err(error) => assert_eq!(error.code(), "VELOCITY_LIMIT"),
            }
        }
    }
    assert_eq!(counts, [5, 3]);
    let usage = world.usage("call-centre", Action::Revoke, "badge");
    assert_eq!((usage.gained, usage.suspended, usage.ended), (0, 3, 5));
    // Many at once are as many.
    assert_eq!(
        outcome(&mut world, &badges(INVALID, &all[10..]).role("call-centre")),
        refused("VELOCITY_LIMIT")
    );
    // The others go on, and in the next hour the call centre does.
    assert_eq!(outcome(&mut world, &badges(INVALID, &[9])), ACCEPTED);
    assert_eq!(outcome(&mut world, &at(INVALID, 10).after(HOUR)), ACCEPTED);
    assert_eq!(world.usage("call-centre", Action::Revoke, "badge").ended, 1);
}

#[test]
fn velocity_beyond_the_limit_a_second_role_signs() {
    let limit = limits("call-centre", Action::Revoke, "agency", [0, 0, 1]);
    let happened = [limit, badges(VALID, &[1, 2, 3]), badges(INVALID, &[1]).role("call-centre")];
    let next = || badges(INVALID, &[2]).role("call-centre");
    check(&happened, next(), refused("VELOCITY_LIMIT"));
    check(&happened, next().approved(&["board"]), ACCEPTED);
    // The second role has limits of its own.
    let mut limited = happened.to_vec();
    limited.push(limits("board", Action::Approve, "agency", [0, 0, 1]));
    let mut world = check(&limited, next().approved(&["board"]), ACCEPTED);
    let third = badges(INVALID, &[3]).role("call-centre").approved(&["board"]);
    let error = world.run(&third).unwrap_err();
    assert_eq!(error.code(), "VELOCITY_LIMIT");
    assert!(error.fields().contains(&("organization", world.did("board").to_string())));

    // For gains one more than the rule asks for.
    let gains = limits("counter", Action::Issue, "agency", [1, 0, 0]);
    let happened = [needs(1), gains, badges(VALID, &[1]).approved(&["board"])];
    let next = || badges(VALID, &[2]);
    check(&happened, next().approved(&["board"]), refused("VELOCITY_LIMIT"));
    check(&happened, next().approved(&["board", "board-2"]), ACCEPTED);
}

/// Several operations of one transaction count together, and what was refused counts nothing.
#[test]
fn velocity_counts_what_runs_and_nothing_else() {
    let limit = || limits("counter", Action::Issue, "agency", [2, 0, 0]);
    let three = together(&[badges(VALID, &[1]), badges(VALID, &[2]), badges(VALID, &[3])]);
    let mut world = check(&[limit()], three, refused("VELOCITY_LIMIT"));
    assert_eq!(world.usage("counter", Action::Issue, "badge").gained, 0);
    let two = together(&[badges(VALID, &[1]), badges(VALID, &[2])]);
    assert_eq!(outcome(&mut world, &two), ACCEPTED);
    assert_eq!(outcome(&mut world, &badges(VALID, &[2])), refused("ALREADY"));
    assert_eq!(world.usage("counter", Action::Issue, "badge").gained, 2);
    // Without a limit nothing is written.
    let world = check(&[], badges(VALID, &[1]), ACCEPTED);
    assert_eq!(world.usage("counter", Action::Issue, "badge"), v1::Usage::default());
}

// --------------------------------------------------------------------------------------------- dates

/// B14, D5: a superseded entry may have a grace, within the type's bound.
#[test]
fn b14_d5_a_superseded_entry_may_have_a_grace() {
    let issued = [badges(VALID, &[1, 2])];
    let refresh = |ms: i64| badges(SUPERSEDED, &[1]).grace(ms);
    let world = check(&issued, refresh(DAY as i64), ACCEPTED);
    let until_ms = world.tip.header.time_ms + DAY;
    assert_eq!(world.entry("badges", 1), SUPERSEDED);
    assert_eq!(world.dates("badges", 1), (until_ms, 0));
    assert_eq!(world.dates("badges", 2), (0, 0));
    check(&issued, refresh(7 * DAY as i64), ACCEPTED);
    for ms in [7 * DAY as i64 + 1, 0, -1, i64::MAX] {
        check(&issued, refresh(ms), refused("GRACE_OUT_OF_RANGE"));
    }
    check(&issued, badges(INVALID, &[1]).grace(1), refused("UNCALLED_FIELD"));
    check(&issued, badges(VALID, &[3]).grace(1), refused("UNCALLED_FIELD"));
}

/// B20: a revocation may say since when, within the type's bound and never before there was a list.
#[test]
fn b20_a_revocation_may_say_since_when() {
    let issued = [badges(VALID, &[1, 9]), wait(2 * HOUR)];
    let lost = |ms: i64| badges(INVALID, &[1]).reason(Reason::Compromised).invalid_from(ms);
    let world = check(&issued, lost(-(HOUR as i64)), ACCEPTED);
    assert_eq!(world.dates("badges", 1), (0, world.tip.header.time_ms - HOUR));
    check(&issued, lost(0), ACCEPTED);
    check(&issued, lost(1), refused("INVALID_FROM_OUT_OF_RANGE"));
    check(&issued, lost(i64::MAX), refused("INVALID_FROM_OUT_OF_RANGE"));
    check(&issued, lost(-(3 * HOUR as i64)), refused("INVALID_FROM_OUT_OF_RANGE"));
    let later = [badges(VALID, &[1]), wait(YEAR)];
    check(&later, lost(-(30 * DAY as i64)), ACCEPTED);
    check(&later, lost(-(30 * DAY as i64) - 1), refused("INVALID_FROM_OUT_OF_RANGE"));
    check(&issued, badges(SUSPENDED, &[1]).invalid_from(-1), refused("UNCALLED_FIELD"));
    // Dates of what is final stay.
    let mut world = check(&issued, lost(-1), ACCEPTED);
    let before = world.dates("badges", 1);
    assert_eq!(outcome(&mut world, &lost(-2)), refused("ALREADY"));
    assert_eq!(world.dates("badges", 1), before);
}

// -------------------------------------------------------------------------------------------- privacy

/// B15: in public a refresh is a refresh, whatever for: same fields, same size, the same event.
#[test]
fn b15_c5_a_change_looks_the_same_whatever_its_reason() {
    let mut world = office(&[badges(VALID, &[1])]);
    let refresh =
        |reason| badges(SUPERSEDED, &[1]).reason(reason).role("agency").channel(Channel::System);
    let mut seen: Vec<(v1::SetStatus, usize, usize, Vec<StatusEvent>)> = Vec::new();
    for reason in [Reason::AttributeChange, Reason::LostDevice, Reason::Deceased, Reason::Renewal] {
        let transaction = world.transaction(&refresh(reason));
        let body = transaction.body.clone().unwrap();
        let Some(v1::operation::Operation::SetStatus(mut op)) =
            body.operations[0].operation.clone()
        else {
            unreachable!()
        };
        op.content_hash.clear();
        let sizes = (encode(&transaction).len(), encode(&transaction.private_contents[0]).len());
        let built = world.build(&[transaction], world.next_time_ms(STEP_MS));
        seen.push((op, sizes.0, sizes.1, built.outcome.status[0].clone()));
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(seen[0].2, 512);
}

// -------------------------------------------------------------------------------------------- bounds

/// One transaction with 10,000 changes all over a list of a million: it fits, and it is counted by what it writes.
#[test]
#[allow(
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "the figure is printed for people; no rule reads it"
)]
fn ten_thousand_changes_in_one_transaction() {
    let mut world = office(&[listed_with("agency", "badge", "large", |op| {
        op.capacity = 1_048_576;
    })]);
    world.names.insert("large".to_owned(), world.list_name("agency", "badge", "large"));
    let indexes: Vec<u32> = (0..10_000_u64).map(|n| (n * 1_048_575 / 9_999) as u32).collect();
    let valid = set("large", VALID, &indexes);
    let started = std::time::Instant::now();
    assert_eq!(outcome(&mut world, &valid), ACCEPTED);
    println!("10,000 entries made valid, run four times: {:?}", started.elapsed());
    let dated = set("large", INVALID, &indexes).invalid_from(-1);
    let transaction = world.transaction(&dated);
    let checked = CheckedTransaction::check(world.chain.hash(), &transaction).unwrap();
    assert!(checked.write_count() <= sillok_ledger::TRANSACTION_WRITES_MAX);
    assert_eq!(checked.write_count(), 18_054);
    let started = std::time::Instant::now();
    let built = world.build(&[transaction], world.next_time_ms(STEP_MS));
    println!("10,000 dated entries built into a block: {:?}", started.elapsed());
    assert_eq!(built.refused, vec![]);
    let leaves = built.outcome.changes.leaves.values();
    let weight: usize = leaves.map(|value| sillok_ledger::write_weight(value.len())).sum();
    assert!(weight <= checked.write_count(), "{weight}");
    assert_eq!(built.outcome.changes.leaves.len(), 128 + 512);
    world.commit(&built);
    assert!(indexes.iter().all(|index| world.entry("large", *index) == INVALID));
    // Two of them could write more than a block may.
    let twice = together(&[
        set("large", INVALID, &indexes).invalid_from(-1),
        set("large", INVALID, &indexes).invalid_from(-1),
    ]);
    assert_eq!(outcome(&mut world, &twice), refused("TOO_MANY_WRITES"));
}

/// What a transaction writes is never more than what it was counted for before it ran.
#[test]
fn the_count_of_writes_is_an_upper_bound() {
    let mut world = office(&alice());
    let tried = [
        badges(VALID, &[1]).approved(&["board"]),
        badges(SUPERSEDED, &[1]).grace(1),
        issue("ids", &[(1, "alice"), (2, "alice")]),
        crate::desk::suspend("alice"),
        crate::desk::reinstate("alice", 1),
        crate::desk::reserve("bob", 1),
        crate::desk::activate("bob", 1),
        crate::desk::end("alice").invalid_from(0),
    ];
    for draft in tried {
        let transaction = world.transaction(&draft);
        let checked = CheckedTransaction::check(world.chain.hash(), &transaction).unwrap();
        let built = world.build(&[transaction], world.next_time_ms(STEP_MS));
        assert_eq!(built.refused, vec![]);
        let leaves = built.outcome.changes.leaves.values();
        let weight: usize = leaves.map(|value| sillok_ledger::write_weight(value.len())).sum();
        assert!(weight <= checked.write_count(), "{draft:?}");
        world.commit(&built);
    }
}

#[test]
fn a_change_of_status_runs_once() {
    let mut world = office(&[badges(VALID, &[1])]);
    let transaction = world.transaction(&badges(SUSPENDED, &[1]));
    let time_ms = world.next_time_ms(STEP_MS);
    assert_eq!(world.run_transaction(transaction.clone(), time_ms), Ok(()));
    assert_eq!(outcome(&mut world, &badges(VALID, &[1])), ACCEPTED);
    let again = world.run_transaction(transaction, world.next_time_ms(STEP_MS)).unwrap_err();
    assert!(matches!(again, AdmissionError::AlreadyOrdered { .. }));
    assert_eq!(world.entry("badges", 1), VALID);
}

#[test]
fn the_event_names_the_chunks_and_nothing_private() {
    let mut world = office(&[]);
    let transaction = world.transaction(&badges(VALID, &[1, 8_192, 131_071]));
    let built = world.build(&[transaction], world.next_time_ms(STEP_MS));
    let expected = StatusEvent::StatusSet {
        operation: 0,
        list: world.did("badges"),
        state: sillok_did_method::EntryState::Valid,
        chunks: vec![0, 1, 15],
    };
    assert_eq!(built.outcome.status, [[expected]]);
}
