//! Which signatures verify, by the published edge cases (PROTOCOL §1.3). A change here is a protocol version.

#![allow(clippy::unwrap_used, reason = "a vector that cannot be read is a failed test")]

use serde_json::Value;
use sillok_did_method::{
    KeyError, SignatureError, check_key, normalize_p256, verify, verify_ed25519,
};
use sillok_proto::v1::{Algorithm, PublicKey};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn ed25519(point: Vec<u8>) -> PublicKey {
    PublicKey { algorithm: Algorithm::Ed25519.into(), point }
}

#[test]
fn speccheck_only_case_3_verifies() {
    let cases = json(include_str!("vectors/ed25519/speccheck-cases.json"));
    let small_order = || KeyError::SmallOrder.into();
    let non_canonical = || KeyError::NotCanonical.into();
    // The properties are those of the table in "Taming the many EdDSAs" (Chalkias et al., 2020).
    let expected: [(&str, Result<(), SignatureError>); 12] = [
        ("0: A and R of small order, S = 0", Err(small_order())),
        ("1: A of small order", Err(small_order())),
        ("2: R of small order", Err(SignatureError::WrongSignature)),
        ("3: A and R of mixed order, holds without cofactor", Ok(())),
        ("4: holds with cofactor only", Err(SignatureError::WrongSignature)),
        ("5: holds with cofactor only, k reduced early", Err(SignatureError::WrongSignature)),
        ("6: S above the order", Err(SignatureError::OutOfRange)),
        ("7: S far above the order", Err(SignatureError::OutOfRange)),
        ("8: R not canonical, k of R as sent", Err(SignatureError::WrongSignature)),
        ("9: R not canonical, k of R reduced", Err(SignatureError::WrongSignature)),
        ("10: A not canonical, k of A as sent", Err(non_canonical())),
        ("11: A not canonical, k of A reduced", Err(non_canonical())),
    ];
    assert_eq!(list(&cases).len(), expected.len());
    for (case, (name, expected)) in list(&cases).iter().zip(expected) {
        let (point, message) = (bytes(&case["pub_key"]), bytes(&case["message"]));
        let signature = bytes(&case["signature"]);
        assert_eq!(verify_ed25519(&point, &message, &signature), expected, "{name}");
        assert_eq!(verify(&ed25519(point), &message, &signature), expected, "{name}");
    }
}

#[test]
fn cctv_small_order_and_non_canonical_points_and_residues_are_refused() {
    let cases = json(include_str!("vectors/ed25519/cctv-ed25519vectors.json"));
    let (mut verified, mut refused) = (0, 0);
    for case in list(&cases) {
        let number = &case["number"];
        let flags: Vec<&str> = case["flags"]
            .as_array()
            .map(|flags| flags.iter().map(|flag| flag.as_str().unwrap()).collect())
            .unwrap_or_default();
        let has = |flag: &str| flags.contains(&flag);
        let point = bytes(&case["key"]);

        let key = check_key(&ed25519(point.clone()));
        if has("non_canonical_A") {
            assert_eq!(key, Err(KeyError::NotCanonical), "case {number}");
        } else if has("low_order_A") {
            assert_eq!(key, Err(KeyError::SmallOrder), "case {number}");
        } else {
            assert_eq!(key, Ok(()), "case {number}");
        }

        // Left are points of mixed order whose small parts cancel in the equation without cofactor: they verify
        // under `verify_strict`, everywhere and always, which is all that replicas need.
        let expected = !["non_canonical_A", "low_order_A", "non_canonical_R", "low_order_R"]
            .into_iter()
            .chain(["low_order_residue", "reencoded_k"])
            .any(has);
        let message = case["msg"].as_str().unwrap().as_bytes();
        let verdict = verify_ed25519(&point, message, &bytes(&case["sig"]));
        assert_eq!(verdict.is_ok(), expected, "case {number} {flags:?}: {verdict:?}");
        if expected { verified += 1 } else { refused += 1 }
    }
    assert_eq!((verified, refused), (43, 871));
}

#[test]
fn wycheproof_ed25519_valid_verifies_and_invalid_does_not() {
    let file = json(include_str!("vectors/ed25519/wycheproof-ed25519.json"));
    let (mut valid, mut invalid) = (0, 0);
    for group in list(&file["testGroups"]) {
        let key = ed25519(bytes(&group["publicKey"]["pk"]));
        for test in list(&group["tests"]) {
            let verdict = verify(&key, &bytes(&test["msg"]), &bytes(&test["sig"]));
            let expected = test["result"] == "valid";
            assert_eq!(verdict.is_ok(), expected, "tcId {}: {verdict:?}", test["tcId"]);
            if expected { valid += 1 } else { invalid += 1 }
        }
    }
    assert_eq!((valid, invalid), (88, 63));
}

#[test]
fn wycheproof_p256_verifies_with_s_at_most_half_the_order() {
    let file = json(include_str!("vectors/p256/wycheproof-ecdsa-secp256r1-sha256-p1363.json"));
    let (mut low, mut high, mut invalid) = (0, 0, 0);
    for group in list(&file["testGroups"]) {
        let uncompressed = bytes(&group["publicKey"]["uncompressed"]);
        let point = [&[2 + (uncompressed[64] & 1)], &uncompressed[1..33]].concat();
        let key = PublicKey { algorithm: Algorithm::P256.into(), point };
        assert_eq!(check_key(&key), Ok(()));
        for test in list(&group["tests"]) {
            let id = &test["tcId"];
            let (message, signature) = (bytes(&test["msg"]), bytes(&test["sig"]));
            let verdict = verify(&key, &message, &signature);
            let normalized = <[u8; 64]>::try_from(signature.as_slice()).map(normalize_p256);
            if test["result"] == "valid" {
                let normalized = normalized.unwrap();
                assert_eq!(verify(&key, &message, &normalized), Ok(()), "tcId {id}");
                assert_eq!(normalize_p256(normalized), normalized, "tcId {id}: idempotent");
                if normalized == signature.as_slice() {
                    assert_eq!(verdict, Ok(()), "tcId {id}");
                    low += 1;
                } else {
                    assert_eq!(verdict, Err(SignatureError::HighS), "tcId {id}");
                    high += 1;
                }
            } else {
                assert!(verdict.is_err(), "tcId {id}");
                // Normalizing must not make a valid signature of an invalid one.
                if let Ok(normalized) = normalized {
                    assert!(verify(&key, &message, &normalized).is_err(), "tcId {id}");
                }
                invalid += 1;
            }
        }
    }
    assert_eq!((low, high, invalid), (103, 70, 89));
}

#[test]
fn p256_r_and_s_are_from_1_to_below_the_order() {
    use p256::ecdsa::signature::Signer as _;
    let secret = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    let point = secret.verifying_key().to_sec1_point(true).as_bytes().to_vec();
    let key = PublicKey { algorithm: Algorithm::P256.into(), point };
    let made: p256::ecdsa::Signature = secret.sign(b"message");
    let good = normalize_p256(made.to_bytes().into());
    assert_eq!(verify(&key, b"message", &good), Ok(()));
    assert_eq!(verify(&key, b"other", &good), Err(SignatureError::WrongSignature));

    let order =
        hex::decode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551").unwrap();
    let half =
        hex::decode("7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8").unwrap();
    let after_half =
        hex::decode("7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a9").unwrap();
    let check = |r: &[u8], s: &[u8], expected| {
        let signature = [r, s].concat();
        assert_eq!(verify(&key, b"message", &signature), Err(expected), "{r:02x?} {s:02x?}");
    };
    for out in [&[0; 32][..], &order, &[0xff; 32]] {
        check(out, &good[32..], SignatureError::OutOfRange);
        check(&good[..32], out, SignatureError::OutOfRange);
        let signature = <[u8; 64]>::try_from([out, &good[32..]].concat()).unwrap();
        assert_eq!(normalize_p256(signature), signature, "left for `verify` to refuse");
    }
    // n/2 rounded down is the last low s.
    check(&good[..32], &half, SignatureError::WrongSignature);
    check(&good[..32], &after_half, SignatureError::HighS);
}

#[test]
fn a_signature_has_64_bytes_and_a_key_that_verifies() {
    use ed25519_dalek::Signer as _;
    let secret = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let key = ed25519(secret.verifying_key().to_bytes().to_vec());
    let good = secret.sign(b"message").to_bytes();
    assert_eq!(verify(&key, b"message", &good), Ok(()));
    assert_eq!(verify(&key, b"messag", &good), Err(SignatureError::WrongSignature));
    for len in [0, 1, 63, 65, 72, 128] {
        let signature = vec![1; len];
        assert_eq!(verify(&key, b"message", &signature), Err(SignatureError::Length { len }));
    }
    let check = |algorithm: i32, expected: SignatureError| {
        let key = PublicKey { algorithm, ..key.clone() };
        assert_eq!(verify(&key, b"message", &good), Err(expected));
    };
    check(Algorithm::X25519.into(), SignatureError::KeyAgreementKey);
    check(0, KeyError::UnknownAlgorithm { algorithm: 0 }.into());
    check(4, KeyError::UnknownAlgorithm { algorithm: 4 }.into());
    check(-1, KeyError::UnknownAlgorithm { algorithm: -1 }.into());
    check(Algorithm::P256.into(), KeyError::Length { len: 32, expected: 33 }.into());
}
