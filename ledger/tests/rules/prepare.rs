//! Preparing a transaction: what a desk is told before anybody confirms (PROTOCOL §5.3).
//!
//! Each story ends with what a block makes of the same transaction, so that the preview is held against the truth.

use crate::desk::{
    DAY, HOUR, INVALID, PENDING, SUPERSEDED, SUSPENDED, VALID, YEAR, activate, end, enrolled,
    issue, keys_of, office, policy, reserve, set, suspend,
};
use crate::grants::accredit_with;
use crate::story::{Draft, created, founded, meanwhile, together};
use crate::support::{World, sign};
use sillok_did_method::{EntryState, key_id, prepare_string, transaction_id};
use sillok_ledger::prepare::{Asked, MissingSignature, Prepared, Signer, VIOLATIONS_MAX};
use sillok_ledger::{AdmissionError, StateFault, StateView, StatusError, TreeKey, prepare};
use sillok_proto::{Hash, v1};
use std::cell::Cell;
use v1::{Action, Reason};

/// Tries a transaction, prepared by these keys, the submitter's first.
#[allow(
    clippy::panic_in_result_fn,
    reason = "what is refused is the caller's to judge; this may not be wrong"
)]
fn trial(
    world: &World,
    transaction: &v1::Transaction,
    time_ms: u64,
    keys: &[&str],
) -> Result<Prepared, AdmissionError> {
    let id = transaction_id(world.chain.hash(), transaction.body.as_ref().unwrap());
    let string = prepare_string(world.chain.hash(), &id);
    let mut signatures = keys.iter().map(|key| sign(key, &string));
    let submitter = signatures.next().unwrap_or_default();
    let roles: Vec<v1::KeySignature> = signatures.collect();
    let frame = world.frame(time_ms);
    let asked = Asked::check(&frame, &world.state, transaction, &submitter)?;
    assert_eq!(asked.submitter().0, transaction.body.as_ref().unwrap().submitter[..]);
    prepare(&frame, &world.state, asked, &roles)
}

/// Everything signed, and prepared by `registrar`.
fn tried(world: &mut World, draft: &Draft) -> Prepared {
    let time_ms = world.time_of(draft);
    let transaction = world.transaction(draft);
    trial(world, &transaction, time_ms, &["registrar/submit"]).unwrap()
}

/// The codes of what stands against it, with the operations.
fn codes(prepared: &Prepared) -> Vec<(Option<usize>, &'static str)> {
    prepared.violations.iter().map(|one| (one.operation, one.error.code())).collect()
}

fn without_private_signatures(transaction: &v1::Transaction) -> v1::Transaction {
    v1::Transaction { private_signatures: None, ..transaction.clone() }
}

/// C2: a request that fails gets all errors at once, and leaves no trace.
#[test]
fn c2_every_rule_that_is_broken_is_named_at_once() {
    let mut world = office(&[set("badges", VALID, &[1, 2, 3]), set("badges", INVALID, &[2])]);
    let before = world.state.leaves.clone();
    let bad = set("badges", INVALID, &[1, 131_072])
        .desk(|desk| (desk.channel, desk.level) = (9, 3))
        .reason(Reason::Unspecified)
        .invalid_from(DAY as i64)
        .code("rival");
    let found = tried(&mut world, &bad);
    assert_eq!(
        codes(&found),
        [
            "REASON_REQUIRED",
            "CHANNEL_NOT_ALLOWED",
            "ASSURANCE_LEVEL_NOT_ALLOWED",
            "ORG_MISMATCH",
            "INVALID_FROM_OUT_OF_RANGE",
            "INDEX_OUT_OF_RANGE",
        ]
        .map(|code| (Some(0), code))
    );
    assert!(found.previews.is_empty(), "what breaks a rule would do nothing");
    // A block stops at the first of the very same rules.
    let error = world.run(&bad).unwrap_err();
    assert_eq!(error, found.violations[0].error);

    // Every entry by itself, and every operation.
    let entries = together(&[
        set("badges", SUSPENDED, &[1, 2, 4]),
        set("nothing", VALID, &[1]),
        set("badges", SUSPENDED, &[3]).role("board"),
    ]);
    let found = tried(&mut world, &entries);
    assert_eq!(
        codes(&found),
        [
            (Some(0), "REVOKED"),
            (Some(0), "PENDING"),
            (Some(1), "UNKNOWN_LIST"),
            (Some(2), "WRONG_TYPE")
        ]
    );
    assert_eq!(world.state.leaves, before, "nothing is kept");
}

#[test]
fn enrollments_and_approvals_are_told_all_their_faults_too() {
    let mut world = office(&enrolled("alice", 1));
    let again = reserve("alice", 7)
        .desk(|desk| {
            desk.deadline = Some(2 * DAY as i64);
            desk.valid_until = Some(6 * YEAR as i64);
            desk.one_time = Some(keys_of("alice", 1)[1].clone());
        })
        .approved(&["rival", "dept-1"]);
    let found = tried(&mut world, &again);
    let mut codes: Vec<&str> = found.violations.iter().map(|one| one.error.code()).collect();
    assert_eq!(
        codes.drain(..5).collect::<Vec<_>>(),
        [
            "OLD_NOT_REVOKED",
            "STALE_NUMBER",
            "DEADLINE_OUT_OF_RANGE",
            "VALIDITY_OUT_OF_RANGE",
            "KEY_REUSE"
        ]
    );
    assert_eq!(codes, ["APPROVER_NOT_ALLOWED"], "and dept-1 may approve");
}

#[test]
fn what_is_not_well_formed_is_named_beside_what_is() {
    let mut world = office(&[]);
    let draft = together(&[
        set("badges", VALID, &[5, 5]),
        set("badges", VALID, &[6]),
        set("badges", VALID, &[7]).reason(Reason::Unspecified),
    ]);
    let found = tried(&mut world, &draft);
    assert_eq!(codes(&found), [(Some(0), "INDEX_ORDER"), (Some(2), "REASON_REQUIRED")]);
    let previews: Vec<usize> = found.previews.iter().map(|one| one.operation).collect();
    assert_eq!(previews, [1], "each has its own content, whatever the one before it is");

    let extra = set("badges", VALID, &[6]).forged(|transaction| {
        transaction.private_contents.push(transaction.private_contents[0].clone());
    });
    assert_eq!(codes(&tried(&mut world, &extra)), [(None, "UNEXPECTED_PART")]);
    let twice = together(&[set("badges", VALID, &[6]), set("badges", VALID, &[6])]);
    assert_eq!(codes(&tried(&mut world, &twice)), [(Some(1), "ALREADY")], "one after another");
}

#[test]
fn there_are_at_most_256_violations() {
    let indexes: Vec<u32> = (0..300).collect();
    let mut world = office(&[set("badges", VALID, &indexes), set("badges", INVALID, &indexes)]);
    let found = tried(&mut world, &set("badges", SUSPENDED, &indexes));
    assert_eq!((found.violations.len(), found.more), (VIOLATIONS_MAX, true));
}

/// C6: what is shown is what happens.
#[test]
fn c6_the_preview_is_what_the_block_then_does() {
    let mut world = office(
        &[
            enrolled("alice", 1).to_vec(),
            vec![
                issue("ids", &[(10, "alice"), (20_000, "alice")]),
                meanwhile(|world| world.give("counter", Action::Revoke, "id", "agency", [0, 5, 9])),
            ],
        ]
        .concat(),
    );
    let draft = together(&[
        suspend("alice"),
        end("alice"),
        set("badges", VALID, &[3, 9_000]),
        founded("bureau"),
    ]);
    let time_ms = world.time_of(&draft);
    let transaction = world.transaction(&draft);
    let found = trial(&world, &transaction, time_ms, &["registrar/submit"]).unwrap();
    assert_eq!((codes(&found), found.missing.len()), (vec![], 0));
    let before = world.clone();
    world.run_transaction(transaction, time_ms).unwrap();

    let [suspended, ended, set, registered] = found.previews.as_slice() else { panic!() };
    // The enrollment, and how many entries go with it, but not which.
    let standing = &suspended.enrollments[0];
    assert_eq!(standing.before.as_ref().unwrap().state, v1::EnrollmentState::Active);
    assert_eq!(standing.after.state, v1::EnrollmentState::Suspended);
    assert_eq!(suspended.entries.len(), 1);
    let entries = &suspended.entries[0];
    assert_eq!((entries.from, entries.to), (EntryState::Valid, EntryState::Suspended));
    assert_eq!((entries.count, entries.indexes.len()), (2, 0));
    assert_eq!(suspended.limit.as_ref().map(|limit| (limit.limit, limit.left)), Some((5, 4)));
    assert_eq!(ended.enrollments[0].after.state, v1::EnrollmentState::Ended);
    assert_eq!(ended.entries[0].from, EntryState::Suspended, "as the one before it left them");
    assert_eq!(ended.limit.as_ref().map(|limit| (limit.limit, limit.left)), Some((9, 8)));
    let leaf = world.enrollment("alice").unwrap();
    assert_eq!(leaf.state(), ended.enrollments[0].after.state);
    assert_eq!(world.usage("counter", Action::Revoke, "id").ended, 1);
    assert_eq!(set.entries[0].indexes, [3, 9_000]);
    assert_eq!((world.entry("badges", 3), world.entry("badges", 9_000)), (VALID, VALID));
    assert_eq!((before.entry("badges", 3), world.entry("ids", 10)), (PENDING, INVALID));
    assert!(registered.leaves.iter().any(|leaf| leaf.is_new && !leaf.value.is_empty()));

    // Each leaf that was written was named, and its value where it is public; and none beside them. But for those of the
    // entries that went with the enrollment.
    let written: Vec<&TreeKey> = world
        .state
        .leaves
        .iter()
        .filter(|(key, value)| before.state.leaves.get(*key) != Some(*value))
        .map(|(key, _)| key)
        .collect();
    let with_it = [0, 2].map(|number| TreeKey::status_chunk(&world.did("ids"), number));
    assert!(with_it.iter().all(|key| written.contains(&key)));
    let written: Vec<&TreeKey> =
        written.into_iter().filter(|key| !with_it.contains(*key)).collect();
    let mut named: Vec<&TreeKey> =
        found.previews.iter().flat_map(|one| &one.leaves).map(|leaf| &leaf.key).collect();
    named.sort();
    named.dedup();
    assert_eq!(named, written);
    let mut there = before.state.leaves.clone();
    for leaf in found.previews.iter().flat_map(|one| &one.leaves) {
        let kind = leaf.key.kind_nibble();
        assert_eq!(leaf.value.is_empty(), matches!(kind, 4 | 5 | 15));
        if !leaf.value.is_empty() {
            assert_eq!(world.state.leaves[&leaf.key], leaf.value);
        }
        // One operation after another: what the first writes is there for the second.
        let was_there = there.insert(leaf.key, leaf.value.clone()).is_some();
        assert_eq!(leaf.is_new, !was_there);
    }
}

#[test]
fn a_move_to_another_handle_is_shown_on_both_sides() {
    let moved = reserve("alice", 2)
        .reason(Reason::Damaged)
        .desk(|desk| desk.new_person = Some("alice anew".to_owned()));
    let mut world = office(&[enrolled("alice", 1).to_vec(), vec![moved]].concat());
    let found = tried(&mut world, &activate("alice", 2));
    assert_eq!(codes(&found), []);
    let sides: Vec<_> = found.previews[0]
        .enrollments
        .iter()
        .map(|one| (one.is_new_handle, one.before.is_some(), one.after.state))
        .collect();
    assert_eq!(
        sides,
        [(false, true, v1::EnrollmentState::Moved), (true, false, v1::EnrollmentState::Active)]
    );
}

/// Signatures that are not made yet are named, and everything else is as if they were.
#[test]
fn what_is_still_to_be_signed_is_named_and_is_no_violation() {
    let mut world = office(&[reserve("alice", 1)]);
    let missing = |operation, signer, did: Option<Hash>, key: Option<&str>| MissingSignature {
        operation: Some(operation),
        signer,
        did,
        key_id: key.map(|name| key_id(&crate::support::key(name))),
    };
    let draft =
        together(&[activate("alice", 1), reserve("bob", 1).approved(&["board"]), created("carol")])
            .through("registrar");
    let time_ms = world.time_of(&draft);
    let signed = world.transaction(&draft);
    let mut bare = without_private_signatures(&signed);
    bare.signatures = None;
    let found = trial(&world, &bare, time_ms, &["registrar/submit", "counter/submit"]).unwrap();
    assert_eq!(codes(&found), []);
    assert_eq!(found.previews.len(), 3, "what would be done is shown all the same");
    let [one_time, enrollment] = keys_of("alice", 1);
    let counter = Some(world.did("counter"));
    let expected = [
        MissingSignature {
            operation: None,
            signer: Signer::Submitter,
            did: Some(world.did("registrar")),
            key_id: None,
        },
        missing(0, Signer::ActingRole, counter, None),
        missing(0, Signer::Holder, None, Some(&one_time)),
        missing(0, Signer::Holder, None, Some(&enrollment)),
        missing(1, Signer::ActingRole, counter, None),
        missing(1, Signer::Approver, Some(world.did("board")), None),
        missing(2, Signer::Author, None, Some("carol/1")),
    ];
    assert_eq!(found.missing.len(), expected.len(), "{:?}", found.missing);
    for one in &expected {
        assert!(found.missing.contains(one), "{one:?} in {:?}", found.missing);
    }

    // The same with every signature: nothing is missing, and the same is shown.
    let whole = trial(&world, &signed, time_ms, &["registrar/submit"]).unwrap();
    assert_eq!((codes(&whole), whole.missing.len()), (vec![], 0));
    assert_eq!(whole.previews, found.previews);

    // One that is there and wrong is a violation.
    let mut wrong = signed;
    let signatures = wrong.private_signatures.as_mut().unwrap();
    signatures.operations[0].holder_keys[0].signature[5] ^= 1;
    let found = trial(&world, &wrong, time_ms, &["registrar/submit"]).unwrap();
    assert_eq!(codes(&found), [(Some(0), "BAD_SIGNATURE")]);
}

/// Nobody asks the state who is not known: not without a submitter's signature, and about what is private not without
/// the acting role's.
#[test]
fn a_trial_is_no_oracle() {
    let mut world = office(&enrolled("alice", 1));
    let draft = end("alice");
    let time_ms = world.time_of(&draft);
    let transaction = world.transaction(&draft);
    let refused = |keys: &[&str]| trial(&world, &transaction, time_ms, keys).unwrap_err().code();
    assert_eq!(refused(&["carrier/submit"]), "KEY_NOT_AUTHORIZED");
    assert_eq!(refused(&["registrar/control"]), "KEY_NOT_AUTHORIZED");
    assert_eq!(refused(&[]), "SIGNATURE_LENGTH");
    // The submitter's signature under the transaction is none under a trial.
    let frame = world.frame(time_ms);
    let submitted = transaction.signatures.clone().unwrap().submitter.unwrap();
    let refused = Asked::check(&frame, &world.state, &transaction, &submitted).unwrap_err();
    assert_eq!(refused.code(), "BAD_SIGNATURE");

    // A submitter that knows a handle asks in the name of a role that knows nothing of it.
    let bare = without_private_signatures(&transaction);
    let asked = trial(&world, &bare, time_ms, &["registrar/submit"]).unwrap();
    assert_eq!((codes(&asked), asked.previews.len()), (vec![], 0));
    assert_eq!(asked.missing[0].signer, Signer::ActingRole);
    let of_nobody = world.transaction(&end("nobody"));
    let of_nobody = without_private_signatures(&of_nobody);
    let other = trial(&world, &of_nobody, time_ms, &["registrar/submit"]).unwrap();
    assert_eq!(other.missing, asked.missing);
    assert_eq!((other.violations, other.previews), (asked.violations, asked.previews));
    // Another organization's signature is not the role's.
    let board = trial(&world, &bare, time_ms, &["registrar/submit", "board/submit"]).unwrap();
    assert_eq!((codes(&board), board.previews.len()), (vec![], 0));
    let counter = trial(&world, &bare, time_ms, &["registrar/submit", "counter/submit"]).unwrap();
    assert_eq!((codes(&counter), counter.previews.len()), (vec![], 1));

    // A role without the right is told the same of a person who is enrolled and of one who is not.
    for person in ["alice", "nobody"] {
        let asked = tried(&mut world, &end(person).role("board").reason(Reason::Unspecified));
        assert_eq!(codes(&asked), [(Some(0), "WRONG_TYPE")], "{person}");
    }

    // A right that nobody signed makes no role of whoever writes it down: not one given, not one by a broken rule.
    world.give("agency", Action::Accredit, "id", "", [0; 3]);
    let given = accredit_with("agency", "board", Action::Revoke, &[], |world, grant| {
        grant.resource = world.did("id").to_vec();
    });
    let mut asked = |person: &str, given: &Draft, is_signed: bool| {
        let draft = together(&[given.clone(), end(person).role("board")]);
        let time_ms = world.time_of(&draft);
        let mut transaction = world.transaction(&draft);
        if !is_signed {
            transaction.signatures = None;
        }
        let found = trial(&world, &transaction, time_ms, &["registrar/submit"]).unwrap();
        let shown: Vec<usize> = found.previews.iter().map(|one| one.operation).collect();
        (codes(&found), shown)
    };
    for person in ["alice", "nobody"] {
        let refused = (vec![(Some(1), "WRONG_TYPE")], vec![0]);
        assert_eq!(asked(person, &given, false), refused, "{person}");
        let late = given.clone().authors_valid_for(-1);
        let refused = (vec![(Some(0), "EXPIRED"), (Some(1), "WRONG_TYPE")], vec![]);
        assert_eq!(asked(person, &late, true), refused, "{person}");
    }
    assert_eq!(asked("alice", &given, true), (vec![], vec![0, 1]), "one that is signed does");
}

/// A role that may change entries and enrollments is told which entries are a person's by no trial: not by what one
/// change makes of the entries of another, not by leaves, and not by asking for many at once.
#[test]
fn a_trial_does_not_say_which_entries_are_a_persons() {
    let happened = [
        enrolled("alice", 1).to_vec(),
        enrolled("bob", 1).to_vec(),
        vec![issue("ids", &[(10, "alice"), (11, "bob"), (12, "bob")])],
    ];
    let mut world = office(&happened.concat());
    // An enrollment first: of its entries, ended with it, one that is set after is not told apart.
    let after = together(&[end("alice"), set("ids", SUPERSEDED, &[10, 11])]);
    let found = tried(&mut world, &after);
    assert_eq!((codes(&found), found.previews.len()), (vec![], 2));
    assert_eq!(found.previews[1].entries[0].indexes, [10, 11]);
    assert!(world.run(&after).is_err(), "which a block refuses, once everybody has signed");
    // Entries first: how many go with the enrollment does not say whether it was one of them.
    let ended = |world: &mut World, index: u32| {
        let found = tried(world, &together(&[set("ids", INVALID, &[index]), end("alice")]));
        assert_eq!(codes(&found), []);
        found.previews[1].clone()
    };
    let (own, other) = (ended(&mut world, 10), ended(&mut world, 11));
    assert_eq!((own.entries.len(), own.entries[0].count), (1, 1));
    assert_eq!(own.entries, other.entries);
    // What follows from the enrollment itself is seen by both.
    let anew = together(&[end("alice"), issue("ids", &[(13, "alice")])]);
    assert_eq!(codes(&tried(&mut world, &anew)), [(Some(1), "REVOKED")]);

    // The key of a chunk names it to whoever tries all.
    let kinds: Vec<u8> = own.leaves.iter().map(|leaf| leaf.key.kind_nibble()).collect();
    assert!(!kinds.is_empty() && kinds.iter().all(|kind| *kind == 15), "{kinds:?}");

    // Whose an entry is, is told of one, and then nothing more.
    let guess = issue("ids", &[(10, "alice"), (11, "alice"), (12, "alice")]);
    let found = tried(&mut world, &together(&[guess, set("nothing", VALID, &[1])]));
    assert_eq!((codes(&found), found.more), (vec![(Some(0), "ENTRY_TAKEN")], true));
    let Some(AdmissionError::Status(error)) = found.violations.first().map(|one| &one.error) else {
        panic!("{:?}", found.violations)
    };
    assert_eq!(*error, StatusError::EntryTaken { index: 11 });
}

/// Counts what is read.
struct Counted<'a> {
    state: &'a dyn StateView,
    reads: Cell<usize>,
}

impl StateView for Counted<'_> {
    fn leaf(&self, key: &TreeKey) -> Result<Option<Vec<u8>>, StateFault> {
        self.reads.set(self.reads.get() + 1);
        self.state.leaf(key)
    }

    fn document(&self, hash: &Hash) -> Result<Option<v1::DidDocument>, StateFault> {
        self.state.document(hash)
    }
}

/// A refusal names types for which the role has the right; they are looked up once, however often it is refused.
#[test]
fn a_role_that_is_refused_again_and_again_costs_one_look_at_its_rights() {
    let others: Vec<String> = (0..16).map(|n| format!("type-{n}")).collect();
    let mut world = office(&[]);
    for of in &others {
        for (holder, grantor) in [("agency", ""), ("board", "agency")] {
            world.give(holder, Action::Revoke, of, grantor, [0; 3]);
        }
    }
    let mut reads = |times: usize| {
        let people: Vec<String> = (0..times).map(|n| format!("person {n}")).collect();
        let refused: Vec<Draft> = people.iter().map(|one| end(one).role("board")).collect();
        let draft = together(&refused);
        let time_ms = world.time_of(&draft);
        let transaction = world.transaction(&draft);
        let id = transaction_id(world.chain.hash(), transaction.body.as_ref().unwrap());
        let submitter = sign("registrar/submit", &prepare_string(world.chain.hash(), &id));
        let frame = world.frame(time_ms);
        let view = Counted { state: &world.state, reads: Cell::new(0) };
        let asked = Asked::check(&frame, &view, &transaction, &submitter).unwrap();
        let found = prepare(&frame, &view, asked, &[]).unwrap();
        assert_eq!(found.violations.len(), times);
        for one in &found.violations {
            let AdmissionError::Status(StatusError::WrongType { types, .. }) = &one.error else {
                panic!("{one:?}")
            };
            assert_eq!(types.len(), 16, "each names them all the same");
        }
        view.reads.get()
    };
    let (once, often) = (reads(1), reads(11));
    assert!(once > 32, "each of sixteen chains has two links: {once}");
    assert!(often - once < 10 * 16, "{once} reads for one, {often} for eleven");
}

/// C6: time is up for a preparation as for the transaction.
#[test]
fn c6_what_is_late_or_ordered_is_not_tried() {
    let mut world = office(&[]);
    let draft = set("badges", VALID, &[1]);
    let time_ms = world.time_of(&draft);
    let transaction = world.transaction(&draft);
    let at = |world: &World, time_ms| trial(world, &transaction, time_ms, &["registrar/submit"]);
    assert_eq!(at(&world, time_ms + 60_001).unwrap_err().code(), "EXPIRED");
    assert_eq!(at(&world, time_ms - HOUR).unwrap_err().code(), "VALID_UNTIL_TOO_FAR");
    assert!(at(&world, time_ms).unwrap().violations.is_empty());
    assert_eq!(world.entry("badges", 1), PENDING, "prepared is not done");
    world.run_transaction(transaction.clone(), time_ms).unwrap();
    assert_eq!(codes(&at(&world, time_ms + 1).unwrap()), [(None, "ALREADY_ORDERED")]);
}

/// What is left of an approver's limit is told to nobody who only names it.
#[test]
fn the_limit_of_an_approver_that_has_not_signed_is_not_asked() {
    let mut world = office(&[
        meanwhile(|world| world.give("board", Action::Approve, "id", "agency", [1, 0, 0])),
        reserve("alice", 1),
    ]);
    let draft = reserve("bob", 1);
    let time_ms = world.time_of(&draft);
    let signed = world.transaction(&draft);
    let bare = without_private_signatures(&signed);
    let found = trial(&world, &bare, time_ms, &["registrar/submit", "counter/submit"]).unwrap();
    assert_eq!((codes(&found), found.previews.len()), (vec![], 1));
    assert!(found.missing.iter().any(|one| one.signer == Signer::Approver));
    // With its word, it is what the block says.
    let found = trial(&world, &signed, time_ms, &["registrar/submit"]).unwrap();
    assert_eq!(codes(&found), [(Some(0), "VELOCITY_LIMIT")]);
}

/// Approvals have an end of their own, which nobody named yet: the trial takes the shortest.
#[test]
fn an_approval_that_is_not_given_yet_is_of_any_length() {
    let mut world = office(&[meanwhile(|world| {
        let policy = v1::TypePolicy { approval_max_ms: 1, ..policy(true) };
        world.publish("id", policy);
    })]);
    let draft = reserve("alice", 1);
    let time_ms = world.time_of(&draft);
    let bare = without_private_signatures(&world.transaction(&draft));
    let found = trial(&world, &bare, time_ms, &["registrar/submit", "counter/submit"]).unwrap();
    assert_eq!(codes(&found), []);
    assert_eq!(found.previews.len(), 1);
}
