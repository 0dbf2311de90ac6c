//! What is decidable without state: the parts of a transaction and the form of its operations.

use crate::story::{
    ACCEPTED, Draft, check, created, deactivate, founded, refused, set_device, take_away, together,
    update,
};
use crate::support::{World, bound, device, document, key, organization_document};
use sillok_did_method::{
    CAPABILITY_INVOCATION, DEVICE_RELATIONSHIPS, KEY_AGREEMENT, document_hash,
};
use sillok_ledger::transaction::{OPERATIONS_MAX, SIGNATURES_MAX};
use sillok_ledger::{AdmissionError, CheckedTransaction, TRANSACTION_BYTES_MAX};
use sillok_proto::v1;
use v1::operation::Operation as Wire;

fn with_signatures(forge: impl Fn(&mut v1::PublicSignatures) + 'static) -> Draft {
    created("alice").forged(move |transaction| forge(transaction.signatures.as_mut().unwrap()))
}

fn with_operation(draft: &Draft, forge: impl Fn(&mut Wire) + 'static) -> Draft {
    draft.clone().forged_body(move |body| forge(body.operations[0].operation.as_mut().unwrap()))
}

#[test]
fn every_part_is_there() {
    check(&[], created("alice"), ACCEPTED);
    check(&[], created("alice").forged(|one| one.body = None), refused("MISSING_PART"));
    check(&[], created("alice").forged(|one| one.signatures = None), refused("MISSING_PART"));
    check(&[], with_signatures(|all| all.submitter = None), refused("MISSING_PART"));
    for submitter in [vec![], vec![1; 31], b"the registrar".to_vec()] {
        let tried = created("alice").forged_body(move |body| body.submitter.clone_from(&submitter));
        check(&[], tried, refused("MISSING_PART"));
    }
}

#[test]
fn every_operation_has_an_entry_among_the_signatures() {
    check(&[], with_signatures(|all| all.operations.clear()), refused("SIGNATURE_LIST_LENGTH"));
    let more = |all: &mut v1::PublicSignatures| all.operations.push(Default::default());
    check(&[], with_signatures(more), refused("SIGNATURE_LIST_LENGTH"));
}

#[test]
fn there_are_1_to_256_operations() {
    let none = created("alice").forged(|one| {
        one.body.as_mut().unwrap().operations.clear();
        one.signatures.as_mut().unwrap().operations.clear();
        one.documents.clear();
    });
    check(&[], none, refused("OPERATION_COUNT"));
    let many = |count: usize| {
        let drafts: Vec<Draft> = (0..count).map(|n| created(&format!("holder-{n}"))).collect();
        together(&drafts)
    };
    check(&[], many(OPERATIONS_MAX), ACCEPTED);
    check(&[], many(OPERATIONS_MAX + 1), refused("OPERATION_COUNT"));
}

#[test]
fn a_transaction_has_at_most_512_kib() {
    let mut world = World::new();
    let mut transaction = world.transaction(&created("alice"));
    let base = prost::Message::encoded_len(&transaction);
    let mut check = |len: usize| {
        // A document as long as need be; 3 bytes of tag and length around it, 3 around the point in it.
        let point = vec![0; len - base - 18];
        let key = v1::PublicKey { algorithm: 1, point };
        let bound = v1::BoundKey { key: Some(key), ..v1::BoundKey::default() };
        transaction.documents.truncate(1);
        transaction.documents.push(v1::DidDocument { keys: vec![bound], services: vec![] });
        let actual = prost::Message::encoded_len(&transaction);
        let refused = CheckedTransaction::check(world.chain.hash(), &transaction).unwrap_err();
        (actual, refused)
    };
    let (len, refused) = check(TRANSACTION_BYTES_MAX);
    assert_eq!(
        (len, refused),
        (TRANSACTION_BYTES_MAX, AdmissionError::UnexpectedPart { part: "a document" })
    );
    let (len, refused) = check(TRANSACTION_BYTES_MAX + 1);
    assert_eq!(refused, AdmissionError::TransactionTooLong { len, max: TRANSACTION_BYTES_MAX });
}

#[test]
fn documents_are_those_named_in_their_order() {
    let two = || together(&[created("alice"), created("bob")]);
    check(&[], two(), ACCEPTED);
    check(&[], two().forged(|one| one.documents.swap(0, 1)), refused("DOCUMENT_HASH"));
    check(&[], two().forged(|one| one.documents.truncate(1)), refused("MISSING_DOCUMENT"));
    check(&[], two().forged(|one| one.documents.clear()), refused("MISSING_DOCUMENT"));
    let more = |one: &mut v1::Transaction| one.documents.push(document([device("carol/1")]));
    check(&[], two().forged(more), refused("UNEXPECTED_PART"));
    check(
        &[],
        two().forged(|one| one.documents.push(Default::default())),
        refused("UNEXPECTED_PART"),
    );
    let other = |one: &mut v1::Transaction| one.documents[0] = document([device("carol/1")]);
    check(&[], two().forged(other), refused("DOCUMENT_HASH"));
    let to_none = take_away("alice").forged(|one| one.documents.push(Default::default()));
    check(&[created("alice")], to_none, refused("UNEXPECTED_PART"));
}

#[test]
fn private_parts_are_those_of_operations_that_have_some() {
    let content = |one: &mut v1::Transaction| one.private_contents.push(Default::default());
    check(&[], created("alice").forged(content), refused("UNEXPECTED_PART"));
    // Not even the empty message, whose hash is that of none.
    let empty = |one: &mut v1::Transaction| one.private_signatures = Some(Default::default());
    check(&[], created("alice").forged(empty), refused("UNEXPECTED_PART"));
    let of_none = |one: &mut v1::Transaction| {
        one.private_signatures =
            Some(v1::PrivateSignatures { salt: vec![7; 32], operations: vec![] });
    };
    check(&[], created("alice").forged(of_none), refused("PRIVATE_SIGNATURE_LIST"));
    let of_another = |one: &mut v1::Transaction| {
        let operations = vec![v1::PrivateOperationSignatures::default()];
        one.private_signatures = Some(v1::PrivateSignatures { salt: vec![7; 32], operations });
    };
    check(&[], created("alice").forged(of_another), refused("PRIVATE_SIGNATURE_LIST"));
}

#[test]
fn a_signature_has_64_bytes_and_a_key_id_32() {
    for (key_id, signature) in [(31, 64), (33, 64), (0, 64), (32, 63), (32, 65), (32, 0)] {
        let wrong =
            move || v1::KeySignature { key_id: vec![1; key_id], signature: vec![1; signature] };
        let submitter = with_signatures(move |all| all.submitter = Some(wrong()));
        check(&[], submitter, refused("SIGNATURE_LENGTH"));
        let author = created("alice").forged_terms(move |terms| terms.signatures[0] = wrong());
        check(&[], author, refused("SIGNATURE_LENGTH"));
    }
}

#[test]
fn signatures_are_sorted_by_key_id_without_repetition() {
    let two = || founded("agency");
    check(&[], two(), ACCEPTED);
    check(&[], two().forged_terms(|terms| terms.signatures.reverse()), refused("SIGNATURE_ORDER"));
    let twice = |terms: &mut v1::OperationSignatures| {
        terms.signatures.insert(0, terms.signatures[0].clone());
    };
    check(&[], two().forged_terms(twice), refused("SIGNATURE_ORDER"));
}

/// A document's 16 keys, an authority and a countersigner fit: whoever is allowed to sign has room.
#[test]
fn an_operation_has_at_most_20_signatures() {
    let count = |count: usize| {
        created("alice").forged_terms(move |terms| {
            let one =
                |n: usize| v1::KeySignature { key_id: vec![n as u8; 32], signature: vec![0; 64] };
            terms.signatures = (1..=count).map(one).collect();
        })
    };
    check(&[], count(SIGNATURES_MAX + 1), refused("TOO_MANY_SIGNATURES"));
    check(&[], count(SIGNATURES_MAX), refused("POSSESSION_MISSING"));

    let names: Vec<String> = (0..16).map(|n| format!("agency/{n}")).collect();
    let keys = || document(names.iter().map(|name| bound(name, CAPABILITY_INVOCATION)));
    let signers: Vec<&str> = names.iter().map(String::as_str).collect();
    let full = founded("agency").with(keys()).by(&signers);
    check(&[], full.clone().through("carrier").and_by("registrar/control"), ACCEPTED);
    let all_new = update("agency").with(keys()).by(&signers);
    let by_both = all_new.and_by("registrar/control").and_by("countersigner/control");
    check(&[founded("agency")], by_both, ACCEPTED);
}

#[test]
fn terms_without_a_signature_say_nothing() {
    let terms = |change: fn(&mut v1::OperationSignatures)| take_away("alice").forged_terms(change);
    check(&[created("alice")], take_away("alice"), ACCEPTED);
    for change in [
        (|terms| terms.any_submitter = true) as fn(&mut v1::OperationSignatures),
        |terms| terms.valid_until_ms = 1,
        |terms| terms.whole_list = true,
    ] {
        check(&[created("alice")], terms(change), refused("TERMS_WITHOUT_SIGNATURE"));
    }
}

/// A1, B2: where a digest or a hash belongs, nothing else fits; so there is no room for a name or a number.
#[test]
fn a1_b2_d11_no_field_takes_anything_but_a_digest() {
    let text = || "홍길동 900101-1234567".as_bytes().to_vec();
    let check = |happened: &[Draft], draft: &Draft, forge: fn(&mut Wire, Vec<u8>)| {
        check(
            happened,
            with_operation(draft, move |wire| forge(wire, text())),
            refused("HASH_LENGTH"),
        );
        let short = move |wire: &mut Wire| forge(wire, vec![1; 31]);
        check(happened, with_operation(draft, short), refused("HASH_LENGTH"));
    };
    macro_rules! field {
        ($variant:ident, $field:ident) => {
            |wire, bytes| match wire {
                Wire::$variant(op) => op.$field = bytes,
                _ => unreachable!("the draft is of this kind"),
            }
        };
    }
    let create = created("alice");
    check(&[], &create, field!(CreateDid, did));
    check(&[], &create, field!(CreateDid, authority));
    check(&[], &create, field!(CreateDid, document_hash));
    check(&[], &create, |wire, bytes| match wire {
        Wire::CreateDid(op) => op.recovery = Some(v1::RecoveryRule { countersigner: bytes }),
        _ => unreachable!("the draft is a create"),
    });
    let happened = [created("alice")];
    check(&happened, &update("alice"), field!(UpdateDid, did));
    check(&happened, &update("alice"), field!(UpdateDid, previous));
    check(&happened, &update("alice"), field!(UpdateDid, document_hash));
    check(&happened, &update("alice"), |wire, countersigner| match wire {
        Wire::UpdateDid(op) => {
            let rule = Some(v1::RecoveryRule { countersigner });
            op.recovery = Some(v1::RecoveryChange { rule });
        }
        _ => unreachable!("the draft is an update"),
    });
    check(&happened, &set_device("alice", "alice/2"), field!(SetDevice, did));
    check(&happened, &set_device("alice", "alice/2"), field!(SetDevice, previous));
    check(&happened, &set_device("alice", "alice/2"), field!(SetDevice, document_hash));
    check(&happened, &deactivate("alice"), field!(DeactivateDid, did));
    check(&happened, &deactivate("alice"), field!(DeactivateDid, previous));
}

#[test]
fn an_operation_is_of_a_known_kind() {
    let none = created("alice").forged(|one| {
        one.body.as_mut().unwrap().operations[0].operation = None;
        one.documents.clear();
    });
    check(&[], none, refused("UNKNOWN_OPERATION"));
}

#[test]
fn a_did_is_of_an_organization_or_of_a_holder() {
    for kind in [0, 3, -1, i32::MAX] {
        let tried = with_operation(&created("alice"), move |wire| {
            if let Wire::CreateDid(op) = wire {
                op.kind = kind;
            }
        });
        check(&[], tried, refused("UNKNOWN_KIND"));
    }
    let as_organization = with_operation(&created("alice"), |wire| {
        if let Wire::CreateDid(op) = wire {
            op.kind = v1::Kind::Organization.into();
        }
    });
    // The kind is hashed into the DID.
    check(&[], as_organization, refused("INCEPTION_MISMATCH"));
}

#[test]
fn a_did_is_the_hash_of_kind_keys_authority_and_recovery() {
    let with = |change: fn(&mut v1::CreateDid)| {
        with_operation(&created("alice"), move |wire| {
            if let Wire::CreateDid(op) = wire {
                change(op);
            }
        })
    };
    check(&[], with(|op| op.did[0] ^= 1), refused("INCEPTION_MISMATCH"));
    check(&[], with(|op| op.authority[0] ^= 1), refused("INCEPTION_MISMATCH"));
    check(&[], with(|op| op.recovery = None), refused("INCEPTION_MISMATCH"));
    check(&[], with(|op| op.authority = vec![]), refused("AUTHORITY_REQUIRED"));
    let other_keys = created("alice").forged(|one| {
        let other = document([device("bob/1")]);
        let hash = document_hash(&other).to_vec();
        one.documents = vec![other];
        if let Some(Wire::CreateDid(op)) = &mut one.body.as_mut().unwrap().operations[0].operation {
            op.document_hash = hash;
        }
    });
    check(&[], other_keys, refused("INCEPTION_MISMATCH"));
}

#[test]
fn a_new_holder_brings_a_device_and_set_device_a_device_too() {
    let empty = created("alice").with(v1::DidDocument::default()).by(&[]);
    check(&[], empty, refused("DEVICE_REQUIRED"));
    let to_empty = set_device("alice", "alice/2").with(v1::DidDocument::default()).by(&["alice/1"]);
    check(&[created("alice")], to_empty, refused("NO_DEVICE_IN_DOCUMENT"));
    let unversioned = set_device("alice", "alice/2").on_none();
    check(&[created("alice")], unversioned, refused("PREVIOUS_REQUIRED"));
}

/// D12: of the keys that tokens and phones make, those of the registry are taken, in their one encoding, if they
/// protect anything. Another algorithm is a new number in the registry.
#[test]
fn d12_algorithms_malformed_and_weak_keys_are_refused() {
    let of = |algorithm: i32, point: Vec<u8>, relationships| v1::BoundKey {
        key: Some(v1::PublicKey { algorithm, point }),
        relationships,
        expires_ms: 0,
    };
    let mut not_reduced = [0xff; 32];
    (not_reduced[0], not_reduced[31]) = (0xee, 0x7f);
    let mut small_order = [0; 32];
    small_order[0] = 1;
    let p256 = key("p256:alice").point;
    let mut off_curve = p256.clone();
    // One of two x-coordinates is on no point; the first that follows and is not.
    while sillok_did_method::check_key(&v1::PublicKey { algorithm: 2, point: off_curve.clone() })
        .is_ok()
    {
        off_curve[32] = off_curve[32].wrapping_add(1);
    }
    let uncompressed = [vec![4], vec![1; 64]].concat();
    let ed25519 = key("alice/1").point;
    for bad in [
        of(0, ed25519.clone(), DEVICE_RELATIONSHIPS),
        of(4, vec![1; 1312], DEVICE_RELATIONSHIPS),
        of(5, ed25519.clone(), DEVICE_RELATIONSHIPS),
        of(1, small_order.to_vec(), DEVICE_RELATIONSHIPS),
        of(1, vec![0; 32], DEVICE_RELATIONSHIPS),
        of(1, not_reduced.to_vec(), DEVICE_RELATIONSHIPS),
        of(1, ed25519[..31].to_vec(), DEVICE_RELATIONSHIPS),
        of(1, vec![], DEVICE_RELATIONSHIPS),
        of(2, off_curve, DEVICE_RELATIONSHIPS),
        of(2, uncompressed, DEVICE_RELATIONSHIPS),
        of(2, [&[5], &p256[1..]].concat(), DEVICE_RELATIONSHIPS),
        of(3, key("x25519:a").point, DEVICE_RELATIONSHIPS),
        of(1, ed25519, KEY_AGREEMENT),
    ] {
        let tried = created("alice").with(document([bad]));
        check(&[], tried, refused("INVALID_DID_DOCUMENT"));
    }
    check(
        &[],
        created("alice").with(document([device("p256:alice")])).by(&["p256:alice"]),
        ACCEPTED,
    );
}

#[test]
fn a_document_is_of_the_closed_set() {
    let organization = |change: fn(&mut v1::DidDocument)| {
        let mut document = organization_document("agency");
        change(&mut document);
        founded("agency").with(document)
    };
    for change in [
        (|one| one.keys.swap(0, 1)) as fn(&mut v1::DidDocument),
        |one| one.keys[0].relationships = 64,
        |one| one.keys[0].expires_ms = 1,
        |one| one.keys[0].key = None,
        |one| one.keys.retain(|key| key.relationships & CAPABILITY_INVOCATION == 0),
        |one| {
            let endpoint = "https://agency.example/?name=hong".to_owned();
            one.services.push(v1::Service { kind: 1, endpoint });
        },
        |one| one.services.push(v1::Service { kind: 9, endpoint: "https://a.example".to_owned() }),
    ] {
        check(&[], organization(change), refused("INVALID_DID_DOCUMENT"));
    }
    let with_service = organization(|one| {
        one.services.push(v1::Service { kind: 1, endpoint: "https://agency.example".to_owned() });
    });
    check(&[], with_service, ACCEPTED);
    let mut holder = document([device("alice/1")]);
    holder.services.push(v1::Service { kind: 1, endpoint: "https://alice.example".to_owned() });
    check(&[], created("alice").with(holder), refused("INVALID_DID_DOCUMENT"));
}
