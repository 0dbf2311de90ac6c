//! Documents: one rule a test, and that nothing but keys, relationships and endpoints fits into one.

#![allow(clippy::unwrap_used, reason = "what a test builds must be buildable")]

use sillok_did_method::{
    ASSERTION_METHOD, AUTHENTICATION, CAPABILITY_DELEGATION, CAPABILITY_INVOCATION,
    DEVICE_RELATIONSHIPS, DOCUMENT_BYTES_MAX, DocumentError, ENDPOINT_BYTES_MAX, EndpointError,
    KEY_AGREEMENT, KEYS_MAX, KeyError, SERVICES_MAX, SUBMIT, check_document, device_key,
    document_hash, inception_digest,
};
use sillok_proto::v1::{
    Algorithm, BoundKey, DidDocument, Inception, Kind, PublicKey, RecoveryRule, Service,
    ServiceKind,
};
use sillok_proto::{CanonicalError, decode, encode};

fn ed25519(seed: u8) -> PublicKey {
    let secret = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
    let point = secret.verifying_key().to_bytes().to_vec();
    PublicKey { algorithm: Algorithm::Ed25519.into(), point }
}

fn p256(seed: u8) -> PublicKey {
    let secret = p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap();
    let point = secret.verifying_key().to_sec1_point(true).as_bytes().to_vec();
    PublicKey { algorithm: Algorithm::P256.into(), point }
}

fn x25519(seed: u8) -> PublicKey {
    PublicKey { algorithm: Algorithm::X25519.into(), point: vec![seed; 32] }
}

fn bound(key: PublicKey, relationships: u32) -> BoundKey {
    BoundKey { key: Some(key), relationships, expires_ms: 0 }
}

fn device(key: PublicKey) -> BoundKey {
    bound(key, DEVICE_RELATIONSHIPS)
}

fn agreement(seed: u8) -> BoundKey {
    bound(x25519(seed), KEY_AGREEMENT)
}

fn service(kind: ServiceKind, endpoint: &str) -> Service {
    Service { kind: kind.into(), endpoint: endpoint.to_owned() }
}

/// A document with `keys` in their order.
fn sorted(mut keys: Vec<BoundKey>) -> DidDocument {
    keys.sort_by_key(|bound| {
        let key = bound.key.clone().unwrap();
        (key.algorithm, key.point)
    });
    DidDocument { keys, services: vec![] }
}

/// The smallest organization, with `services`.
fn with_services(services: Vec<Service>) -> DidDocument {
    DidDocument { services, ..sorted(vec![bound(ed25519(1), CAPABILITY_INVOCATION)]) }
}

#[track_caller]
fn accepted(kind: Kind, document: &DidDocument) {
    assert_eq!(check_document(kind, document), Ok(()));
}

#[track_caller]
fn refused(kind: Kind, document: &DidDocument, expected: DocumentError) {
    assert_eq!(check_document(kind, document), Err(expected));
}

#[test]
fn a_holder_has_a_device_key_and_perhaps_one_for_agreement_or_nothing() {
    accepted(Kind::Holder, &DidDocument::default());
    accepted(Kind::Holder, &sorted(vec![device(ed25519(1))]));
    accepted(Kind::Holder, &sorted(vec![device(p256(1))]));
    accepted(Kind::Holder, &sorted(vec![device(ed25519(1)), agreement(9)]));
    accepted(Kind::Holder, &sorted(vec![device(p256(1)), agreement(9)]));
}

#[test]
fn b10_a_holder_has_at_most_one_device_key() {
    let index = 1;
    for keys in [[ed25519(1), ed25519(2)], [p256(1), p256(2)], [ed25519(1), p256(2)]] {
        let document = sorted(keys.map(device).to_vec());
        refused(Kind::Holder, &document, DocumentError::SecondKey { index });
    }
    let document = sorted(vec![agreement(8), agreement(9)]);
    refused(Kind::Holder, &document, DocumentError::SecondKey { index });
    let document = sorted(vec![device(ed25519(1)), agreement(8), agreement(9)]);
    refused(Kind::Holder, &document, DocumentError::TooManyKeys { count: 3, max: 2 });
}

#[test]
fn a_holders_agreement_key_stands_beside_a_device_key() {
    let document = sorted(vec![agreement(9)]);
    refused(Kind::Holder, &document, DocumentError::AgreementWithoutDevice);
}

#[test]
fn a_holders_keys_have_exactly_their_relationships() {
    let index = 0;
    for relationships in (0..64).filter(|sum| *sum != DEVICE_RELATIONSHIPS) {
        for key in [ed25519(1), p256(1)] {
            let document = sorted(vec![bound(key, relationships)]);
            let expected = DocumentError::Relationships { index, relationships };
            refused(Kind::Holder, &document, expected);
        }
    }
    let index = 1;
    for relationships in (0..64).filter(|sum| *sum != KEY_AGREEMENT) {
        let document = sorted(vec![device(ed25519(1)), bound(x25519(9), relationships)]);
        refused(Kind::Holder, &document, DocumentError::Relationships { index, relationships });
    }
}

#[test]
fn a1_a_holder_has_no_services() {
    let services = vec![service(ServiceKind::LinkedDomains, "https://hong.example")];
    let document = DidDocument { services, ..sorted(vec![device(ed25519(1))]) };
    refused(Kind::Holder, &document, DocumentError::HolderServices);
}

#[test]
fn an_organizations_signing_keys_have_any_union_without_agreement() {
    for relationships in 0..256 {
        for key in [ed25519(2), p256(2)] {
            // Beside a controller, so that only the relationships of this key matter.
            let document =
                sorted(vec![bound(ed25519(1), CAPABILITY_INVOCATION), bound(key, relationships)]);
            let allowed =
                relationships != 0 && relationships & KEY_AGREEMENT == 0 && relationships < 64;
            let result = check_document(Kind::Organization, &document);
            assert_eq!(result.is_ok(), allowed, "{relationships}: {result:?}");
        }
    }
    let relationships = CAPABILITY_INVOCATION | 1 << 31;
    let document = sorted(vec![bound(ed25519(1), relationships)]);
    let expected = DocumentError::Relationships { index: 0, relationships };
    refused(Kind::Organization, &document, expected);
}

#[test]
fn an_organizations_x25519_key_is_for_agreement_only() {
    for relationships in 0..64 {
        let document =
            sorted(vec![bound(ed25519(1), CAPABILITY_INVOCATION), bound(x25519(9), relationships)]);
        let result = check_document(Kind::Organization, &document);
        assert_eq!(result.is_ok(), relationships == KEY_AGREEMENT, "{relationships}");
    }
}

#[test]
fn an_organization_has_a_key_that_may_change_it() {
    refused(Kind::Organization, &DidDocument::default(), DocumentError::NoController);
    let document = sorted(vec![
        bound(ed25519(1), AUTHENTICATION | ASSERTION_METHOD | CAPABILITY_DELEGATION | SUBMIT),
        agreement(9),
    ]);
    refused(Kind::Organization, &document, DocumentError::NoController);
}

#[test]
fn an_organization_has_at_most_16_keys() {
    let keys = |count: usize| {
        let seeds = 1..=u8::try_from(count).unwrap();
        sorted(seeds.map(|seed| bound(ed25519(seed), CAPABILITY_INVOCATION)).collect())
    };
    accepted(Kind::Organization, &keys(KEYS_MAX));
    let expected = DocumentError::TooManyKeys { count: 17, max: KEYS_MAX };
    refused(Kind::Organization, &keys(17), expected);
}

#[test]
fn keys_are_sorted_and_none_stands_twice() {
    let key = |key| bound(key, CAPABILITY_INVOCATION);
    let order = |keys: Vec<BoundKey>| {
        check_document(Kind::Organization, &DidDocument { keys, services: vec![] })
    };
    // By algorithm first, then by point.
    let good = sorted(vec![key(p256(1)), key(ed25519(2)), key(ed25519(1)), agreement(9)]);
    assert_eq!(
        good.keys.iter().map(|bound| bound.key.as_ref().unwrap().algorithm).collect::<Vec<_>>(),
        [1, 1, 2, 3]
    );
    assert_eq!(order(good.keys.clone()), Ok(()));
    for index in 1..good.keys.len() {
        let mut keys = good.keys.clone();
        keys.swap(index - 1, index);
        assert_eq!(order(keys), Err(DocumentError::KeyOrder { index }));
        let mut keys = good.keys.clone();
        keys[index] = keys[index - 1].clone();
        // Also with other relationships or another end: it is the same key.
        keys[index].expires_ms = 1000;
        assert_eq!(order(keys), Err(DocumentError::KeyOrder { index }));
    }
}

#[test]
fn the_keys_must_be_keys() {
    let check = |key: Option<PublicKey>, expected| {
        let keys = vec![BoundKey { key, relationships: DEVICE_RELATIONSHIPS, expires_ms: 0 }];
        let document = DidDocument { keys, services: vec![] };
        refused(Kind::Holder, &document, expected);
        assert!(check_document(Kind::Organization, &document).is_err());
    };
    let bad = |source| DocumentError::Key { index: 0, source };
    check(None, DocumentError::MissingKey { index: 0 });
    check(Some(PublicKey::default()), bad(KeyError::UnknownAlgorithm { algorithm: 0 }));
    let key = |algorithm, point: Vec<u8>| Some(PublicKey { algorithm, point });
    check(key(4, vec![0; 1312]), bad(KeyError::UnknownAlgorithm { algorithm: 4 }));
    check(key(1, vec![0; 32]), bad(KeyError::SmallOrder));
    check(key(1, vec![7; 31]), bad(KeyError::Length { len: 31, expected: 32 }));
    check(key(2, vec![4; 33]), bad(KeyError::NotCanonical));
}

#[test]
fn a_key_ends_at_a_whole_second_that_can_be_shown() {
    let check = |expires_ms: u64, expected| {
        let mut document = sorted(vec![device(ed25519(1))]);
        document.keys[0].expires_ms = expires_ms;
        assert_eq!(check_document(Kind::Holder, &document), expected, "{expires_ms}");
    };
    let index = 0;
    check(0, Ok(()));
    check(1000, Ok(()));
    check(1_795_251_600_000, Ok(()));
    check(253_402_300_799_000, Ok(()));
    for expires_ms in [1, 999, 1001, 1_795_251_600_001, 253_402_300_800_000, u64::MAX] {
        check(expires_ms, Err(DocumentError::Expires { index }));
    }
}

#[test]
fn services_are_of_the_closed_set_sorted_and_none_twice() {
    let kinds = (1..=6).map(|number| ServiceKind::try_from(number).unwrap());
    let all: Vec<Service> = kinds.map(|kind| service(kind, "https://a.example")).collect();
    assert_eq!(all.len(), SERVICES_MAX);
    accepted(Kind::Organization, &with_services(all.clone()));
    for index in 1..all.len() {
        let mut services = all.clone();
        services.swap(index - 1, index);
        let expected = DocumentError::ServiceOrder { index };
        refused(Kind::Organization, &with_services(services), expected.clone());
        let mut services = all.clone();
        services[index].kind = services[index - 1].kind;
        refused(Kind::Organization, &with_services(services), expected);
    }
    for kind in [0, 7, -1] {
        let services = vec![Service { kind, endpoint: "https://a.example".to_owned() }];
        let expected = DocumentError::UnknownService { index: 0, kind };
        refused(Kind::Organization, &with_services(services), expected);
    }
}

#[test]
fn an_endpoint_is_checked() {
    let services = vec![
        service(ServiceKind::LinkedDomains, "https://a.example"),
        service(ServiceKind::TrustRegistry, "http://a.example"),
    ];
    let expected = DocumentError::Endpoint { index: 1, source: EndpointError::Scheme };
    refused(Kind::Organization, &with_services(services), expected);
}

#[test]
fn a_document_is_of_a_known_kind() {
    refused(Kind::Unspecified, &DidDocument::default(), DocumentError::UnknownKind);
}

#[test]
fn the_longest_document_is_within_its_bound() {
    let endpoint = format!("https://a.b/{}", "c".repeat(ENDPOINT_BYTES_MAX - 12));
    let kinds = (1..=6).map(|number| ServiceKind::try_from(number).unwrap());
    let keys = (1..=16).map(|seed| BoundKey {
        expires_ms: 253_402_300_799_000,
        ..bound(p256(seed), CAPABILITY_INVOCATION | SUBMIT)
    });
    let document = DidDocument {
        services: kinds.map(|kind| service(kind, &endpoint)).collect(),
        ..sorted(keys.collect())
    };
    accepted(Kind::Organization, &document);
    assert_eq!(encode(&document).len(), 2400);
    assert_eq!(decode(&encode(&document), DOCUMENT_BYTES_MAX), Ok(document));
}

#[test]
fn the_device_key_is_found_beside_an_agreement_key() {
    assert_eq!(device_key(&DidDocument::default()), None);
    for key in [ed25519(1), p256(1)] {
        let document = sorted(vec![agreement(9), device(key.clone())]);
        assert_eq!(device_key(&document).and_then(|bound| bound.key.clone()), Some(key));
    }
}

#[test]
fn hashes_of_documents_and_inceptions_are_golden() {
    let document = DidDocument {
        keys: vec![BoundKey { expires_ms: 1_795_251_600_000, ..device(ed25519(1)) }, agreement(9)],
        services: vec![],
    };
    accepted(Kind::Holder, &document);
    let inception = Inception {
        kind: Kind::Holder.into(),
        keys: document.keys.clone(),
        authority: vec![0xaa; 32],
        recovery: Some(RecoveryRule { countersigner: vec![0xbb; 32] }),
    };
    let golden = [
        hex::encode(encode(&document)),
        document_hash(&document).to_string(),
        hex::encode(encode(&inception)),
        inception_digest(&inception).to_string(),
        document_hash(&DidDocument::default()).to_string(),
    ];
    let expected: Vec<&str> = include_str!("../../vectors/documents/hashes.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert_eq!(golden.as_slice(), expected);
    // The multihash in a DID is plain BLAKE3, so that any library can recompute it.
    assert_eq!(
        inception_digest(&inception).as_bytes(),
        blake3::hash(&encode(&inception)).as_bytes()
    );
}

/// One length-delimited protobuf field.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for mut varint in [u64::from(number) << 3 | 2, content.len() as u64] {
        while varint >= 0x80 {
            bytes.push(varint.to_le_bytes()[0] | 0x80);
            varint >>= 7;
        }
        bytes.push(varint.to_le_bytes()[0]);
    }
    [bytes, content.to_vec()].concat()
}

/// A document on the wire is made of its fields only: whatever else is put beside them, at any depth and under any
/// number, is refused before any rule is asked.
#[test]
fn a1_b2_c12_a_document_with_anything_else_in_it_does_not_decode() {
    let person =
        ["홍길동", "900101-1234567", "010-1234-5678", "hong@mail.example", "\u{1}\u{2}ciphertext"];
    let key = encode(&ed25519(1));
    let entry = encode(&device(ed25519(1)));
    let place = encode(&service(ServiceKind::LinkedDomains, "https://a.example"));
    for (number, text) in (3..64).flat_map(|number| person.map(|text| (number, text))) {
        let more = field(number, text.as_bytes());
        let with = |content: &[u8]| [content, more.as_slice()].concat();
        // Beside the keys and services; in an entry; in a key; in a service.
        let mut forms = vec![
            with(&field(1, &entry)),
            more.clone(),
            field(1, &field(1, &with(&key))),
            field(2, &with(&place)),
        ];
        // Entry field 3 is a number: another wire type, so it does not decode at all.
        forms.push(field(1, &with(&entry)));
        for form in forms {
            let decoded = decode::<DidDocument>(&form, DOCUMENT_BYTES_MAX);
            let closed = matches!(
                decoded,
                Err(CanonicalError::NotCanonical | CanonicalError::Malformed { .. })
            );
            assert!(closed, "field {number}: {decoded:?}");
        }
    }
    assert!(decode::<DidDocument>(&field(1, &entry), DOCUMENT_BYTES_MAX).is_ok());
}

/// The only text of a document is the endpoint of an organization, and its grammar has no place for a person.
#[test]
fn a1_b2_c12_an_endpoint_with_a_persons_data_is_refused() {
    for endpoint in [
        "https://registry.example/?name=hong",
        "https://registry.example?rrn=9001011234567",
        "https://hong:010@registry.example",
        "https://registry.example/홍길동",
        "https://registry.example/%ED%99%8D%EA%B8%B8%EB%8F%99",
        "https://registry.example/#hong",
        "mailto:hong@mail.example",
        "tel:+82-10-1234-5678",
        "data:text/plain,hong",
        "홍길동",
    ] {
        let document = with_services(vec![service(ServiceKind::LinkedDomains, endpoint)]);
        let result = check_document(Kind::Organization, &document);
        assert!(matches!(result, Err(DocumentError::Endpoint { index: 0, .. })), "{endpoint}");
    }
}
