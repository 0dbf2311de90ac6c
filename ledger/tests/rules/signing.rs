//! Who signs what: submitters, authors, front-running, and what nobody can change about a signed transaction.

use crate::story::{
    ACCEPTED, Draft, check, created, deactivate, founded, give_up, happened_in, meanwhile, outcome,
    refused, rekeyed, restore, set_device, take_away, together, update,
};
use crate::support::{STEP_MS, World, bound, device, document, key, organization_document, sign};
use p256::ecdsa::Signature;
use sillok_did_method::{ASSERTION_METHOD, CAPABILITY_INVOCATION, SUBMIT, key_id};
use sillok_ledger::AdmissionError;
use sillok_proto::{Hash, decode, encode, v1};

/// B3: whoever verifies has no way to write; nor has a holder, nor an organization that was not granted it.
#[test]
fn b3_a_verifier_has_no_write() {
    let happened = [created("alice"), founded("agency")];
    check(&happened, created("bob"), ACCEPTED);
    // A holder, with the key of its device.
    check(&happened, update("alice").through_key("alice", "alice/1"), refused("UNKNOWN_SUBMITTER"));
    check(&happened, created("bob").through_key("alice", "alice/1"), refused("UNKNOWN_SUBMITTER"));
    // Organizations: registered with a submit key but without the grant, from genesis or later.
    check(
        &happened,
        created("bob").through("ministry").and_by("registrar/control"),
        refused("NOT_GRANTED"),
    );
    check(
        &happened,
        created("bob").through("agency").and_by("registrar/control"),
        refused("NOT_GRANTED"),
    );
    check(
        &happened,
        created("bob").through("countersigner").and_by("registrar/control"),
        refused("NOT_GRANTED"),
    );
    // Nobody that the ledger knows.
    check(&happened, created("bob").through("nobody"), refused("UNKNOWN_SUBMITTER"));
    // With the grant, but another key than one to submit with.
    for key in ["registrar/control", "alice/1", "ministry/submit", "carrier/submit", "p256:mallory"]
    {
        check(
            &happened,
            created("bob").through_key("registrar", key),
            refused("KEY_NOT_AUTHORIZED"),
        );
    }
    let verifier = document([
        bound("registrar/control", CAPABILITY_INVOCATION),
        bound("registrar/verifier", ASSERTION_METHOD),
        bound("registrar/submit", SUBMIT),
    ]);
    let with_verifier =
        rekeyed("registrar", verifier, &["registrar/verifier", "registrar/control"]);
    let by_verifier = created("bob").through_key("registrar", "registrar/verifier");
    check(&[with_verifier], by_verifier, refused("KEY_NOT_AUTHORIZED"));
}

#[test]
fn a_submitter_holds_the_grant_at_the_time_of_the_block() {
    let granted = |from_ms: u64, until_ms: u64| {
        meanwhile(move |world| {
            let now = world.next_time_ms(0);
            world.set_grant("ministry", v1::Action::Submit, &[(now + from_ms, now + until_ms)]);
        })
    };
    let tried = |ms| created("alice").through("ministry").and_by("registrar/control").after(ms);
    check(&[granted(10, 20)], tried(9), refused("NOT_GRANTED"));
    check(&[granted(10, 20)], tried(10), ACCEPTED);
    check(&[granted(10, 20)], tried(19), ACCEPTED);
    check(&[granted(10, 20)], tried(20), refused("NOT_GRANTED"));
}

#[test]
fn the_submitter_signs_the_body() {
    check(
        &[],
        created("alice").forged_body(|body| body.valid_until_ms += 1),
        refused("BAD_SIGNATURE"),
    );
    let signature = |change: fn(&mut v1::KeySignature)| {
        created("alice").forged(move |one| {
            change(one.signatures.as_mut().unwrap().submitter.as_mut().unwrap());
        })
    };
    check(&[], signature(|one| one.signature[0] ^= 1), refused("BAD_SIGNATURE"));
    check(&[], signature(|one| one.signature = vec![0; 64]), refused("BAD_SIGNATURE"));
    check(&[], signature(|one| one.key_id[0] ^= 1), refused("KEY_NOT_AUTHORIZED"));
}

/// A transaction of another network has other signed strings throughout.
#[test]
fn a_signature_of_another_network_is_none_here() {
    let mut genesis = crate::support::genesis();
    genesis.network = "other".to_owned();
    let mut other = World::new();
    other.chain = sillok_ledger::Chain::new(genesis).unwrap();
    let transaction = other.transaction(&created("alice"));
    let mut world = World::new();
    let time_ms = world.next_time_ms(STEP_MS);
    let refused = world.run_transaction(transaction, time_ms).unwrap_err();
    assert_eq!(refused.code(), "BAD_SIGNATURE");
}

/// What the state holds is told to no stranger: before the submitter's signature is found good, every answer is the
/// same for a DID that exists, one that does not, and one that ended (PROTOCOL §5.3).
#[test]
fn an_unsigned_transaction_learns_nothing_about_a_did() {
    let happened =
        [created("alice"), created("gone"), deactivate("gone"), created("bare"), take_away("bare")];
    let about = |name: &str| -> Vec<Draft> {
        vec![
            created(name).valid_for(59_000),
            created("new")
                .with(document([device(&format!("{name}/1"))]))
                .by(&[&format!("{name}/1")]),
            update(name),
            update(name).recovery(None),
            set_device(name, "fresh"),
            restore(name, "fresh"),
            give_up(name),
            take_away(name),
            deactivate(name),
        ]
    };
    let unsigned = |transaction: &mut v1::Transaction| {
        transaction.signatures.as_mut().unwrap().submitter = Some(v1::KeySignature {
            key_id: key_id(&key("registrar/submit")).to_vec(),
            signature: vec![0; 64],
        });
    };
    type Forge = fn(&mut v1::Transaction);
    let strangers: [(&str, Forge); 3] = [
        ("a signature over something else", |one| {
            one.signatures.as_mut().unwrap().submitter = Some(sign("registrar/submit", b"else"));
        }),
        ("a key of no organization", |one| {
            one.signatures.as_mut().unwrap().submitter = Some(sign("mallory", b"else"));
        }),
        ("authors that did not sign", |one| {
            for terms in &mut one.signatures.as_mut().unwrap().operations {
                for signature in &mut terms.signatures {
                    signature.signature = vec![0; 64];
                }
            }
            one.signatures.as_mut().unwrap().submitter.as_mut().unwrap().signature = vec![0; 64];
        }),
    ];
    for (name, forge) in strangers.into_iter().chain([("no signature", unsigned as Forge)]) {
        let mut answers: Vec<AdmissionError> = Vec::new();
        for did in ["alice", "gone", "bare", "nobody"] {
            for draft in about(did) {
                let mut world = happened_in(&happened);
                answers.push(world.run(&draft.forged(forge)).unwrap_err());
            }
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{name}: {answers:?}");
    }
}

/// A rival submitter lifts a create out of the mempool: it would become the authority that may take the device away,
/// or at least the one who brought it.
#[test]
fn front_running_a_copied_create_is_refused() {
    let copied = |submitter: &'static str, key: &'static str| {
        let mut world = World::new();
        let mut copy = world.transaction(&created("alice"));
        copy.body.as_mut().unwrap().submitter = world.did(submitter).to_vec();
        world.submit(&mut copy, key);
        world.run_transaction(copy, world.next_time_ms(STEP_MS)).unwrap_err().code()
    };
    assert_eq!(copied("registrar-2", "registrar-2/submit"), "BAD_SIGNATURE");
    assert_eq!(copied("carrier", "carrier/submit"), "BAD_SIGNATURE");

    // Under the rival as authority it is another DID, and the keys have not signed for that.
    let mut world = World::new();
    let mut copy =
        world.transaction(&created("alice").under("registrar-2").through("registrar-2").by(&[]));
    let original = world.transaction(&created("alice"));
    let signatures = copy.signatures.as_mut().unwrap();
    signatures.operations = original.signatures.unwrap().operations;
    let refused = world.run_transaction(copy, world.next_time_ms(STEP_MS)).unwrap_err();
    assert_eq!(refused.code(), "BAD_SIGNATURE");

    // `any` would invite it, so a create never has it.
    check(&[], created("alice").any(), self::refused("SUBMITTER_MUST_BE_NAMED"));
}

#[test]
fn an_operation_bound_to_its_list_is_not_torn_from_it() {
    let pair = |drafts: [Draft; 2]| together(&drafts);
    let bound = || pair([created("alice").whole_list(), created("bob").whole_list()]);
    let free = || pair([created("alice"), created("bob")]);
    let resubmitted = |draft: Draft, index: usize| {
        let mut world = World::new();
        let mut half = world.transaction(&draft.torn(index));
        world.submit(&mut half, "registrar/submit");
        world.run_transaction(half, world.next_time_ms(STEP_MS)).map_err(|error| error.code())
    };
    check(&[], bound(), ACCEPTED);
    assert_eq!(resubmitted(bound(), 0), Err("BAD_SIGNATURE"));
    assert_eq!(resubmitted(bound(), 1), Err("BAD_SIGNATURE"));
    check(&[], free(), ACCEPTED);
    assert_eq!(resubmitted(free(), 0), Ok(()));
    assert_eq!(resubmitted(free(), 1), Ok(()));

    // Neither put into another order nor into a longer list.
    let reordered = bound().forged(|one| {
        one.body.as_mut().unwrap().operations.swap(0, 1);
        one.signatures.as_mut().unwrap().operations.swap(0, 1);
        one.documents.swap(0, 1);
    });
    let mut world = World::new();
    let mut reordered = world.transaction(&reordered);
    world.submit(&mut reordered, "registrar/submit");
    let refused = world.run_transaction(reordered, world.next_time_ms(STEP_MS)).unwrap_err();
    assert_eq!(refused.code(), "BAD_SIGNATURE");
}

#[test]
fn any_submitter_may_carry_a_holders_own_operations_and_nothing_else() {
    let happened = [created("alice"), founded("agency")];
    for own in
        [update("alice"), set_device("alice", "alice/2"), give_up("alice"), deactivate("alice")]
    {
        check(&happened, own.clone().any(), ACCEPTED);
        check(&happened, own.clone().any().through("carrier"), ACCEPTED);
        // Lifted by another submitter it still runs; without `any` it does not.
        for (draft, expected) in [(own.clone().any(), Ok(())), (own, Err("BAD_SIGNATURE"))] {
            let mut world = happened_in(&happened);
            let mut lifted = world.transaction(&draft);
            lifted.body.as_mut().unwrap().submitter = world.did("carrier").to_vec();
            world.submit(&mut lifted, "carrier/submit");
            let ran = world.run_transaction(lifted, world.next_time_ms(STEP_MS));
            assert_eq!(ran.map_err(|error| error.code()), expected);
        }
    }
    for other in [
        created("bob").any(),
        restore("alice", "alice/2").any(),
        take_away("alice").by(&["registrar/control"]).any().through("carrier"),
        rekeyed(
            "agency",
            document([bound("agency/control", CAPABILITY_INVOCATION)]),
            &["agency/control"],
        )
        .any(),
        deactivate("agency").by(&["agency/control"]).any(),
    ] {
        check(&happened, other, refused("SUBMITTER_MUST_BE_NAMED"));
    }
}

#[test]
fn every_signature_is_called_for() {
    let happened = [created("alice"), created("bob")];
    for extra in
        ["bob/1", "mallory", "registrar/control", "countersigner/control", "x25519:alice", "p256:m"]
    {
        check(&happened, update("alice").and_by(extra), refused("UNEXPECTED_SIGNATURE"));
        check(&happened, deactivate("alice").and_by(extra), refused("UNEXPECTED_SIGNATURE"));
        check(
            &happened,
            set_device("alice", "alice/2").and_by(extra),
            refused("UNEXPECTED_SIGNATURE"),
        );
        check(&happened, created("carol").and_by(extra), refused("UNEXPECTED_SIGNATURE"));
    }
}

/// Whether a key may act is read from the state at every run; what was good in a mempool is good no longer.
#[test]
fn a_key_rotated_while_its_transaction_waits_is_refused_on_every_view_alike() {
    let rekey = |name: &'static str| {
        let keys = document([
            bound(&format!("{name}/control-2"), CAPABILITY_INVOCATION),
            bound(&format!("{name}/submit-2"), SUBMIT),
        ]);
        let signers =
            [format!("{name}/control-2"), format!("{name}/submit-2"), format!("{name}/control")];
        rekeyed(name, keys, &[&signers[0], &signers[1], &signers[2]])
    };
    for (waiting, rotation, code) in [
        (update("alice"), set_device("alice", "alice/2"), "STALE_VERSION"),
        (created("bob"), rekey("registrar"), "KEY_NOT_AUTHORIZED"),
        (restore("alice", "alice/2"), rekey("countersigner").through("carrier"), "NOT_AUTHORIZED"),
        (restore("alice", "alice/2").through("carrier"), rekey("registrar"), "NOT_AUTHORIZED"),
        (
            take_away("alice").by(&["registrar/control"]).through("carrier"),
            rekey("registrar"),
            "NOT_AUTHORIZED",
        ),
    ] {
        let mut world = happened_in(&[created("alice")]);
        let transaction = world.transaction(&waiting);
        let time_ms = world.next_time_ms(STEP_MS);
        assert_eq!(world.mempool(&transaction, time_ms), Ok(()), "{code}: good while it waits");
        let rotation = world.transaction(&rotation);

        // Behind the rotation in the same block, and in the next.
        let built = world.build(&[rotation.clone(), transaction.clone()], time_ms);
        assert!(
            matches!(&built.refused[..], [(1, error)] if error.code() == code),
            "{:?}",
            built.refused
        );
        let forced = world.force(&[rotation, transaction.clone()], time_ms);
        let refused = world.execute(&forced).unwrap_err();
        assert!(matches!(refused, sillok_ledger::BlockError::Transaction { index: 1, .. }));
        world.commit(&built);
        let refused = world.run_transaction(transaction, world.next_time_ms(STEP_MS)).unwrap_err();
        assert_eq!(refused.code(), code);
    }
}

#[test]
fn d12_algorithms_sign_in_every_role() {
    let p256 = |name: &str| format!("p256:{name}");
    let organization = |name: &str| {
        document([
            bound(&p256(&format!("{name}/control")), CAPABILITY_INVOCATION),
            bound(&p256(&format!("{name}/submit")), SUBMIT),
        ])
    };
    let moved = |name: &str| {
        let control = format!("{name}/control");
        let new = [p256(&control), p256(&format!("{name}/submit"))];
        rekeyed(name, organization(name), &[&new[0], &new[1], &control])
    };
    let happened = [
        created("alice").with(document([device("p256:alice")])).by(&["p256:alice"]),
        moved("countersigner"),
        moved("registrar"),
    ];
    let restore = restore("alice", "p256:alice-2")
        .by(&["p256:alice-2", "p256:registrar/control", "p256:countersigner/control"])
        .through_key("registrar", "p256:registrar/submit");
    check(&happened, restore, ACCEPTED);
    let own = set_device("alice", "alice/2").by(&["alice/2", "p256:alice"]);
    check(&happened, own.through("carrier"), ACCEPTED);
}

/// Each P-256 signature has a twin that verifies elsewhere. If both did here, whoever passes a transaction on could
/// exchange them.
#[test]
fn d12_algorithms_a_p256_signature_with_high_s_is_refused() {
    let draft = created("alice").with(document([device("p256:alice")])).by(&["p256:alice"]);
    check(&[], draft.clone(), ACCEPTED);
    let high = draft.forged_terms(|terms| {
        let low = Signature::from_slice(&terms.signatures[0].signature).unwrap();
        let high = Signature::from_scalars(low.r(), -*low.s()).unwrap();
        assert_ne!(high, low);
        terms.signatures[0].signature = high.to_bytes().to_vec();
    });
    check(&[], high, refused("BAD_SIGNATURE"));
}

#[test]
fn d12_algorithms_a_key_agreement_key_signs_nothing() {
    let keys = || document([device("alice/1"), crate::support::agreement("x25519:a")]);
    let happened = [created("alice").with(keys())];
    let by_agreement = update("alice").with(document([device("alice/1")])).by(&["x25519:a"]);
    check(&happened, by_agreement, refused("NOT_AUTHORIZED"));
    check(&[], created("alice").with(keys()).and_by("x25519:a"), refused("UNEXPECTED_SIGNATURE"));
    let submit =
        organization_document("agency").keys.into_iter().chain([bound("x25519:s", SUBMIT)]);
    let founded = founded("agency").with(document(submit)).and_by("x25519:s");
    check(&[], founded, refused("INVALID_DID_DOCUMENT"));
}

/// The transactions that the tests below try to change: every operation, every role, both algorithms.
fn accepted() -> Vec<(Vec<Draft>, Draft)> {
    let alice = || vec![created("alice")];
    let p256 = || created("alice").with(document([device("p256:alice")])).by(&["p256:alice"]);
    vec![
        (vec![], created("alice")),
        (vec![], p256()),
        (vec![], created("alice").through("carrier").and_by("registrar/control")),
        (vec![], founded("agency")),
        (alice(), update("alice").any()),
        (alice(), update("alice").recovery(None)),
        (vec![p256()], set_device("alice", "alice/2").by(&["alice/2", "p256:alice"])),
        (alice(), give_up("alice")),
        (alice(), give_up("alice").any().through("carrier")),
        (alice(), take_away("alice")),
        (alice(), take_away("alice").by(&["registrar/control"]).through("carrier")),
        (alice(), restore("alice", "p256:alice")),
        (alice(), deactivate("alice").any()),
        (vec![], together(&[created("alice").whole_list(), created("bob")])),
    ]
}

/// Is `changed` refused, given that the original is admissible? A change of what is beside the body must never make
/// another leaf of a transaction that the submitter signed once.
fn is_refused(world: &World, changed: &v1::Transaction) -> bool {
    world.mempool(changed, world.next_time_ms(STEP_MS)).is_err()
}

#[test]
fn nobody_changes_a_bit_of_a_signed_transaction() {
    for (nth, (happened, draft)) in accepted().into_iter().enumerate() {
        let mut world = happened_in(&happened);
        let transaction = world.transaction(&draft);
        assert!(!is_refused(&world, &transaction), "transaction {nth}");
        let bytes = encode(&transaction);
        for at in 0..bytes.len() {
            // One bit of every byte, another one from byte to byte.
            let mut changed = bytes.clone();
            changed[at] ^= 1 << ((at + nth) % 8);
            if let Ok(changed) = decode::<v1::Transaction>(&changed, 1 << 20) {
                assert!(is_refused(&world, &changed), "transaction {nth}, byte {at}");
            }
        }
    }
}

#[test]
fn nobody_adds_or_takes_away_a_signature_or_a_term() {
    for (nth, (happened, draft)) in accepted().into_iter().enumerate() {
        let mut world = happened_in(&happened);
        let transaction = world.transaction(&draft);
        let try_change = |name: &str, change: &dyn Fn(&mut Vec<v1::OperationSignatures>)| {
            let mut changed = transaction.clone();
            change(&mut changed.signatures.as_mut().unwrap().operations);
            let same = changed == transaction;
            assert!(same || is_refused(&world, &changed), "transaction {nth}: {name}");
        };
        for index in 0..transaction.signatures.as_ref().unwrap().operations.len() {
            try_change("no terms", &|all| all[index] = v1::OperationSignatures::default());
            try_change("no signatures", &|all| all[index].signatures.clear());
            try_change("any", &|all| all[index].any_submitter ^= true);
            try_change("whole list", &|all| all[index].whole_list ^= true);
            try_change("longer", &|all| all[index].valid_until_ms += 1);
            try_change("shorter", &|all| {
                all[index].valid_until_ms = all[index].valid_until_ms.saturating_sub(1)
            });
            for at in 0..20 {
                try_change("one less", &|all| {
                    if at < all[index].signatures.len() {
                        all[index].signatures.remove(at);
                    }
                });
            }
            // Signatures that somebody made for another purpose over this very statement.
            let genesis = *world.chain.hash();
            let body = transaction.body.clone().unwrap();
            let terms = &transaction.signatures.as_ref().unwrap().operations[index];
            let statement =
                sillok_did_method::author_statement(&genesis, &body, index, terms).unwrap();
            let string = sillok_did_method::author_string(&genesis, &statement);
            for signer in
                ["alice/1", "alice/2", "registrar/control", "countersigner/control", "mallory"]
            {
                try_change(signer, &|all| {
                    let signatures = &mut all[index].signatures;
                    signatures.push(sign(signer, &string));
                    signatures.sort_by(|a, b| a.key_id.cmp(&b.key_id));
                    signatures.dedup_by(|a, b| a.key_id == b.key_id);
                });
            }
        }
    }
}

/// The id covers neither documents nor signatures: those of one transaction do not fit under another.
#[test]
fn parts_of_one_transaction_do_not_fit_another() {
    let mut world = World::new();
    let (a, b) = (world.transaction(&created("alice")), world.transaction(&created("bob")));
    let mixed = v1::Transaction { documents: b.documents.clone(), ..a.clone() };
    assert!(is_refused(&world, &mixed));
    let mixed = v1::Transaction { signatures: b.signatures.clone(), ..a.clone() };
    assert!(is_refused(&world, &mixed));
    let mixed = v1::Transaction { body: b.body.clone(), ..a.clone() };
    assert!(is_refused(&world, &mixed));
    assert_eq!(outcome(&mut world, &created("alice")), ACCEPTED);
    assert_ne!(world.did("alice"), Hash::default());
}
