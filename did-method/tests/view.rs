//! The JSON that the rest of the world reads, as golden files in `vectors/documents/`.

#![allow(clippy::unwrap_used, reason = "what a test builds must be buildable")]

use serde_json::Value;
use sillok_did_method::{
    ASSERTION_METHOD, AUTHENTICATION, CAPABILITY_DELEGATION, CAPABILITY_INVOCATION,
    DEVICE_RELATIONSHIPS, Did, DidError, DidUrl, DidUrlError, DocumentError, EndpointError,
    KEY_AGREEMENT, Resolution, ResolutionError, SUBMIT, UrlPart, check_document, document_hash,
    document_json, error_json, resolution_json,
};
use sillok_proto::Hash;
use sillok_proto::v1::{
    Actor, Algorithm, BoundKey, DidDocument, Head, Kind, PublicKey, Service, ServiceKind,
};

fn did() -> Did {
    Did::new("devnet", Hash([7; 32])).unwrap()
}

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

fn organization() -> DidDocument {
    let mut keys = vec![
        bound(ed25519(1), CAPABILITY_INVOCATION | CAPABILITY_DELEGATION),
        bound(ed25519(2), SUBMIT),
        bound(ed25519(3), AUTHENTICATION | SUBMIT),
        BoundKey { expires_ms: 1_795_251_600_000, ..bound(p256(1), ASSERTION_METHOD) },
        bound(x25519(9), KEY_AGREEMENT),
    ];
    keys.sort_by_key(|bound| {
        let key = bound.key.clone().unwrap();
        (key.algorithm, key.point)
    });
    let kinds = (1..=6).map(|number| ServiceKind::try_from(number).unwrap());
    let services = kinds
        .map(|kind| Service {
            kind: kind.into(),
            endpoint: format!("https://registry.example:8443/v1/{}", i32::from(kind)),
        })
        .collect();
    let document = DidDocument { keys, services };
    assert_eq!(check_document(Kind::Organization, &document), Ok(()));
    document
}

fn holder() -> DidDocument {
    let keys = vec![bound(p256(1), DEVICE_RELATIONSHIPS), bound(x25519(9), KEY_AGREEMENT)];
    let document = DidDocument { keys, services: vec![] };
    assert_eq!(check_document(Kind::Holder, &document), Ok(()));
    document
}

/// Version 1 of the holder.
fn created() -> Resolution {
    let document = holder();
    let head = Head {
        did: did().digest().to_vec(),
        kind: Kind::Holder.into(),
        version: 1,
        document_hash: document_hash(&document).to_vec(),
        previous: vec![],
        authority: vec![0xaa; 32],
        recovery: None,
        deactivated: false,
        created_ms: 1_795_251_600_999,
        height: 41,
        time_ms: 1_795_251_600_999,
        actor: Actor::Controller.into(),
    };
    Resolution { head, document: Some(document), next_version: None }
}

#[track_caller]
fn golden(name: &str, expected: &str, actual: &Value) {
    let text = format!("{}\n", serde_json::to_string_pretty(actual).unwrap());
    assert!(text.is_ascii(), "{name}: resolvers read the answer as ISO-8859-1");
    if text != expected {
        let path = format!("{}/{name}.json", env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(&path, &text).unwrap();
        panic!("{name} differs from vectors/documents/{name}.json; what was made is in {path}");
    }
}

macro_rules! golden {
    ($name:literal, $actual:expr) => {
        golden($name, include_str!(concat!("../../vectors/documents/", $name, ".json")), $actual)
    };
}

#[test]
fn documents_are_golden() {
    golden!("organization", &document_json(&did(), &organization()).unwrap());
    golden!("holder", &document_json(&did(), &holder()).unwrap());
    golden!("holder-without-device", &document_json(&did(), &DidDocument::default()).unwrap());
}

#[test]
fn resolution_results_are_golden() {
    let created = created();
    golden!("resolution-created", &resolution_json(&did(), Some(&created)));

    // The authority took the device away; a later version exists.
    let empty = DidDocument::default();
    let head = Head {
        version: 2,
        document_hash: document_hash(&empty).to_vec(),
        previous: vec![1; 32],
        height: u64::MAX,
        time_ms: 1_795_338_000_000,
        actor: Actor::Authority.into(),
        ..created.head.clone()
    };
    let updated = Resolution { head, document: Some(empty), next_version: Some(3) };
    golden!("resolution-updated", &resolution_json(&did(), Some(&updated)));

    let head = Head {
        version: 4,
        deactivated: true,
        height: 99,
        time_ms: 1_795_424_400_000,
        actor: Actor::AuthorityAndCountersigner.into(),
        ..updated.head.clone()
    };
    let deactivated = Resolution { head, document: None, next_version: None };
    golden!("resolution-deactivated", &resolution_json(&did(), Some(&deactivated)));

    golden!("resolution-not-found", &resolution_json(&did(), None));
    let refused = DidUrl::parse("did:sillok:Devnet:z1").unwrap_err();
    golden!("resolution-invalid-did", &error_json((&refused).into(), &refused.to_string()));
}

#[test]
fn a_deactivated_did_shows_no_document_even_if_one_is_at_hand() {
    let mut found = created();
    found.head.deactivated = true;
    let result = resolution_json(&did(), Some(&found));
    assert_eq!(result["didDocument"], Value::Null);
    assert_eq!(result["didDocumentMetadata"]["deactivated"], true);
    assert_eq!(result["didResolutionMetadata"]["error"], Value::Null);
}

#[test]
fn what_does_not_belong_together_is_an_error_and_no_document() {
    let check = |found: &Resolution, error: ResolutionError| {
        let result = resolution_json(&did(), Some(found));
        assert_eq!(result["didDocument"], Value::Null);
        assert_eq!(result["didDocumentMetadata"], serde_json::json!({}));
        assert_eq!(result["didResolutionMetadata"]["error"]["type"], error.type_url());
    };
    let mut other_did = created();
    other_did.head.did = vec![8; 32];
    check(&other_did, ResolutionError::InternalError);
    let erased = Resolution { document: None, ..created() };
    check(&erased, ResolutionError::InternalError);
    let forged = Resolution { document: Some(organization()), ..created() };
    check(&forged, ResolutionError::InvalidDidDocument);
    let mut bad_key = created();
    let document = DidDocument { keys: vec![BoundKey::default()], services: vec![] };
    bad_key.head.document_hash = document_hash(&document).to_vec();
    bad_key.document = Some(document);
    check(&bad_key, ResolutionError::InvalidDidDocument);
}

#[test]
fn the_view_refuses_what_no_checked_document_has() {
    let document = |key: Option<PublicKey>, kind: i32, endpoint: &str| DidDocument {
        keys: vec![BoundKey { key, relationships: 1, expires_ms: 0 }],
        services: vec![Service { kind, endpoint: endpoint.to_owned() }],
    };
    let check = |document: &DidDocument, expected| {
        assert_eq!(document_json(&did(), document), Err(expected));
    };
    check(&document(None, 1, "https://a.b"), DocumentError::MissingKey { index: 0 });
    let key = Some(ed25519(1));
    check(
        &document(key.clone(), 7, "https://a.b"),
        DocumentError::UnknownService { index: 0, kind: 7 },
    );
    let source = EndpointError::Character { byte: 0xea };
    check(&document(key, 1, "https://a.b/\u{ac00}"), DocumentError::Endpoint { index: 0, source });
}

/// Each member and each string of a document is of a closed list (REQUIREMENTS A1, B2, C12; C11: no private key).
#[test]
fn a1_b2_c11_c12_a_document_view_has_only_members_of_the_closed_list() {
    const MEMBERS: [&str; 14] = [
        "@context",
        "id",
        "verificationMethod",
        "authentication",
        "assertionMethod",
        "keyAgreement",
        "capabilityInvocation",
        "capabilityDelegation",
        "service",
        "type",
        "controller",
        "expires",
        "publicKeyMultibase",
        "serviceEndpoint",
    ];
    fn walk(value: &Value, did: &str) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    assert!(MEMBERS.contains(&name.as_str()), "{name}");
                    walk(value, did);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, did)),
            Value::String(text) => {
                let closed = text.starts_with(did)
                    || text == "https://www.w3.org/ns/did/v1.1"
                    || text.starts_with("https://registry.example:8443/v1/")
                    || sillok_did_method::from_multikey(text).is_ok()
                    || sillok_did_method::parse_datetime(text).is_ok()
                    || text == "Multikey"
                    || (1..=6).any(|kind| {
                        let kind = ServiceKind::try_from(kind).unwrap();
                        text == sillok_did_method::service_type(kind)
                    });
                assert!(closed, "{text}");
            }
            other => panic!("neither text nor set nor map: {other}"),
        }
    }
    for document in [organization(), holder(), DidDocument::default()] {
        walk(&document_json(&did(), &document).unwrap(), &did().to_string());
    }
}

/// Every `id` in a document is a DID URL of it and stands once (PEERS: duplicate fragments).
#[test]
fn identifiers_in_a_document_are_unique_and_references_resolve() {
    let view = document_json(&did(), &organization()).unwrap();
    let ids: Vec<&str> = ["verificationMethod", "service"]
        .iter()
        .flat_map(|set| view[set].as_array().unwrap())
        .map(|entry| entry["id"].as_str().unwrap())
        .collect();
    for (index, id) in ids.iter().enumerate() {
        let url = DidUrl::parse(id).unwrap();
        assert_eq!(url.did(), &did());
        assert!(url.fragment().is_some_and(|fragment| !fragment.is_empty()));
        assert!(!ids[..index].contains(id), "{id}");
    }
    for relationship in [
        "authentication",
        "assertionMethod",
        "keyAgreement",
        "capabilityInvocation",
        "capabilityDelegation",
    ] {
        for reference in view[relationship].as_array().unwrap() {
            assert!(ids.contains(&reference.as_str().unwrap()));
        }
    }
}

#[test]
fn a_submit_key_is_a_verification_method_without_relationship() {
    let document = DidDocument { keys: vec![bound(ed25519(2), SUBMIT)], services: vec![] };
    let view = document_json(&did(), &document).unwrap();
    let members: Vec<&String> = view.as_object().unwrap().keys().collect();
    assert_eq!(members, ["@context", "id", "verificationMethod"]);
}

#[test]
fn faults_of_dids_have_the_names_of_did_resolution() {
    let check = |text: &str, name: &str| {
        let error = ResolutionError::from(&DidUrl::parse(text).unwrap_err());
        assert_eq!(error.name(), name, "{text}");
        assert_eq!(error.type_url(), format!("https://www.w3.org/ns/did#{name}"));
    };
    let did = did();
    check("not-a-did", "INVALID_DID");
    check("did:example", "INVALID_DID");
    check("did:sillok:devnet:z1", "INVALID_DID");
    check("did:sillok:Devnet:zQ", "INVALID_DID");
    check("did:sillok:devnet:uQ", "INVALID_DID");
    check("did:sillok:devnet", "INVALID_DID");
    check("did:unsupported:123", "METHOD_NOT_SUPPORTED");
    check("did:unsupported:123?versionId=1", "METHOD_NOT_SUPPORTED");
    check(&format!("{did}?versionId=1&versionId=2"), "INVALID_DID_URL");
    check(&format!("{did}/../x"), "INVALID_DID_URL");
    check(&format!("{did}#a b"), "INVALID_DID_URL");
    check(&format!("{did}?%"), "INVALID_DID_URL");
    check(&format!("{did}?a=%ff"), "INVALID_DID_URL");
    check(&format!("{did}?relativeRef=//x"), "INVALID_DID_URL");

    assert_eq!(ResolutionError::from(&DidError::OtherMethod), ResolutionError::MethodNotSupported);
    let error = DidUrlError::DotSegment { part: UrlPart::Path };
    assert_eq!(ResolutionError::from(&error), ResolutionError::InvalidDidUrl);
    let mut names = ResolutionError::ALL.map(ResolutionError::name).to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ResolutionError::ALL.len());
}
