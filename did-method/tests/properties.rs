//! What holds for every input: both ways and back, and no panic on any bytes.
//!
//! The same parsers have fuzz targets in `fuzz/`.

#![allow(clippy::unwrap_used, reason = "what a test builds must be buildable")]

use proptest::prelude::*;
use sillok_did_method::{
    Did, DidUrl, check_document, check_endpoint, check_key, document_json, format_datetime,
    from_multikey, key_id, multikey, normalize_p256, parse_datetime, thumbprint, verify,
};
use sillok_proto::v1::{Algorithm, BoundKey, DidDocument, Kind, PublicKey, Service};
use sillok_proto::{Hash, decode, encode};

fn did() -> impl Strategy<Value = Did> {
    ("[a-z0-9]{1,24}", any::<[u8; 32]>())
        .prop_map(|(network, digest)| Did::new(network, Hash(digest)).unwrap())
}

/// `pchar` of RFC 3986, dots only inside a segment, and `more`.
fn characters(more: &str) -> impl Strategy<Value = String> + use<> {
    let regex = format!("([a-zA-Z0-9_~:@!$'()*+,;{more}-]|%[0-9A-F][0-9A-F]){{0,12}}");
    proptest::string::string_regex(&regex).unwrap()
}

/// A DID URL of the grammar, without query parameters that repeat or climb.
fn did_url() -> impl Strategy<Value = String> {
    let path = proptest::collection::vec(characters(""), 0..4).prop_map(|segments| {
        segments.iter().map(|segment| format!("/x{segment}")).collect::<String>()
    });
    let query = proptest::option::of(characters("/?").prop_map(|text| format!("?q={text}")));
    let fragment = proptest::option::of(characters("/?&=.").prop_map(|text| format!("#{text}")));
    (did(), path, query, fragment).prop_map(|(did, path, query, fragment)| {
        format!("{did}{path}{}{}", query.unwrap_or_default(), fragment.unwrap_or_default())
    })
}

/// Keys that pass `check_key`, of each algorithm.
fn key() -> impl Strategy<Value = PublicKey> {
    (1..=3_i32, any::<[u8; 32]>()).prop_filter_map("no secret of its curve", |(algorithm, seed)| {
        let point = match algorithm {
            1 => ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key().to_bytes().to_vec(),
            2 => {
                let secret = p256::ecdsa::SigningKey::from_slice(&seed).ok()?;
                secret.verifying_key().to_sec1_point(true).as_bytes().to_vec()
            }
            _ => seed.map(|byte| byte & 0x7f).to_vec(),
        };
        let key = PublicKey { algorithm, point };
        check_key(&key).ok().map(|()| key)
    })
}

/// Messages of any content, mostly refused.
fn any_document() -> impl Strategy<Value = DidDocument> {
    let any_key = (-1..6_i32, proptest::collection::vec(any::<u8>(), 0..40))
        .prop_map(|(algorithm, point)| PublicKey { algorithm, point });
    let key = proptest::option::of(prop_oneof![key(), any_key]);
    let bound = (key, 0..80_u32, any::<u64>())
        .prop_map(|(key, relationships, expires_ms)| BoundKey { key, relationships, expires_ms });
    let service = (-1..8_i32, "(https://[a-z.]{0,8}(/[a-z]*)?|.{0,8})")
        .prop_map(|(kind, endpoint)| Service { kind, endpoint });
    (proptest::collection::vec(bound, 0..4), proptest::collection::vec(service, 0..3))
        .prop_map(|(keys, services)| DidDocument { keys, services })
}

proptest! {
    #[test]
    fn a_did_goes_both_ways(did in did()) {
        let text = did.to_string();
        prop_assert_eq!(Did::parse(&text), Ok(did.clone()));
        prop_assert_eq!(DidUrl::parse(&text), Ok(did.into()));
    }

    #[test]
    fn one_changed_character_is_another_did_or_none(did in did(), at in any::<prop::sample::Index>(), with in "[ -~]") {
        let text = did.to_string();
        let mut changed = text.clone();
        let at = at.index(text.len());
        changed.replace_range(at..=at, &with);
        match Did::parse(&changed) {
            Ok(other) => prop_assert_eq!(other == did, changed == text),
            Err(_) => prop_assert_ne!(changed, text),
        }
    }

    #[test]
    fn a_did_url_goes_both_ways(text in did_url()) {
        match DidUrl::parse(&text) {
            Ok(url) => prop_assert_eq!(url.to_string(), text),
            // %FF and the like in the query, %2E%2E between slashes: refused for their meaning, not their form.
            Err(error) => prop_assert!(text.contains('%'), "{}: {}", text, error),
        }
    }

    #[test]
    fn a_multikey_goes_both_ways(key in key()) {
        let text = multikey(&key).unwrap();
        prop_assert_eq!(from_multikey(&text), Ok(key.clone()));
        prop_assert_eq!(thumbprint(&key).unwrap().len(), 43);
    }

    #[test]
    fn two_keys_have_two_names(a in key(), b in key()) {
        prop_assert_eq!(a == b, key_id(&a) == key_id(&b));
        prop_assert_eq!(a == b, thumbprint(&a) == thumbprint(&b));
        prop_assert_eq!(a == b, multikey(&a) == multikey(&b));
    }

    #[test]
    fn datetimes_go_both_ways(seconds in 0..=253_402_300_799_u64) {
        prop_assert_eq!(parse_datetime(&format_datetime(seconds * 1000)), Ok(seconds * 1000));
    }

    #[test]
    fn parsers_never_panic_on_text(text in "(did:sillok:|https://|z)?\\PC{0,80}") {
        if let Ok(did) = Did::parse(&text) {
            prop_assert_eq!(did.to_string(), text.clone());
        }
        if let Ok(url) = DidUrl::parse(&text) {
            prop_assert_eq!(url.to_string(), text.clone());
        }
        if let Ok(key) = from_multikey(&text) {
            prop_assert_eq!(multikey(&key), Ok(text.clone()));
        }
        if check_endpoint(&text).is_ok() {
            prop_assert!(text.is_ascii() && !text.contains(['?', '#', '@', '%']));
        }
        let _ = parse_datetime(&text);
    }

    #[test]
    fn parsers_never_panic_on_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = (Did::parse(&text), DidUrl::parse(&text), from_multikey(&text));
        let _ = (check_endpoint(&text), parse_datetime(&text));
        let _ = from_multikey(&format!("z{}", bs58::encode(&bytes).into_string()));
        let _ = DidUrl::parse(&format!("{}{text}", Did::new("devnet", Hash([7; 32])).unwrap()));
        if let Ok(document) = decode::<DidDocument>(&bytes, 200) {
            let _ = check_document(Kind::Organization, &document);
        }
    }

    #[test]
    fn a_signature_check_never_panics(
        algorithm in -1..6_i32,
        point in proptest::collection::vec(any::<u8>(), 31..35),
        signature in proptest::collection::vec(any::<u8>(), 63..66),
    ) {
        let key = PublicKey { algorithm, point };
        prop_assert!(verify(&key, b"message", &signature).is_err());
    }

    #[test]
    fn normalizing_a_p256_signature_is_idempotent_and_enough(seed in 1..=255_u8, message: [u8; 8]) {
        use p256::ecdsa::signature::Signer as _;
        let secret = p256::ecdsa::SigningKey::from_slice(&[seed; 32]);
        prop_assume!(secret.is_ok());
        let secret = secret.unwrap();
        let point = secret.verifying_key().to_sec1_point(true).as_bytes().to_vec();
        let key = PublicKey { algorithm: Algorithm::P256.into(), point };
        let made: p256::ecdsa::Signature = secret.sign(&message);
        let normalized = normalize_p256(made.to_bytes().into());
        prop_assert_eq!(normalize_p256(normalized), normalized);
        prop_assert_eq!(verify(&key, &message, &normalized), Ok(()));
    }

    #[test]
    fn a_checked_document_has_a_view_and_one_encoding(document in any_document()) {
        let did = Did::new("devnet", Hash([7; 32])).unwrap();
        let holder = check_document(Kind::Holder, &document);
        let organization = check_document(Kind::Organization, &document);
        if holder.is_ok() || organization.is_ok() {
            let view = document_json(&did, &document);
            prop_assert!(view.unwrap().to_string().is_ascii());
            prop_assert_eq!(decode(&encode(&document), 4096), Ok(document));
        } else {
            let _ = document_json(&did, &document);
        }
    }
}
