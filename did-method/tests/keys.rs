//! Keys: what is one, and its names, by the published vectors.

#![allow(clippy::unwrap_used, reason = "a vector that cannot be read is a failed test")]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use sillok_did_method::{KeyError, check_key, from_multikey, key_id, multikey, thumbprint};
use sillok_proto::v1::{Algorithm, PublicKey};

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/multikey-jwk.json")).unwrap()
}

fn key(algorithm: Algorithm, point: &[u8]) -> PublicKey {
    PublicKey { algorithm: algorithm.into(), point: point.to_vec() }
}

fn hex_key(algorithm: Algorithm, point: &str) -> PublicKey {
    key(algorithm, &hex::decode(point).unwrap())
}

/// The Multikey of any bytes.
fn raw_multikey(bytes: &[u8]) -> String {
    format!("z{}", bs58::encode(bytes).into_string())
}

#[test]
fn published_multikeys_go_both_ways_and_others_are_refused() {
    let (mut known, mut unknown) = (0, 0);
    for entry in vectors()["multikey"].as_array().unwrap() {
        let text = entry["multibase"].as_str().unwrap();
        let algorithm = match entry["key_type"].as_str().unwrap() {
            "Ed25519" => Algorithm::Ed25519,
            "P-256" => Algorithm::P256,
            "X25519" => Algorithm::X25519,
            other => {
                let multibase_z = text.starts_with('z');
                let expected =
                    if multibase_z { KeyError::UnknownPrefix } else { KeyError::NotMultibase };
                assert_eq!(from_multikey(text), Err(expected), "{other}");
                unknown += 1;
                continue;
            }
        };
        let expected = hex_key(algorithm, entry["raw_public_key_hex"].as_str().unwrap());
        assert_eq!(from_multikey(text), Ok(expected.clone()), "{text}");
        assert_eq!(multikey(&expected).as_deref(), Ok(text));
        known += 1;
    }
    assert_eq!((known, unknown), (5, 5));
}

#[test]
fn the_thumbprint_is_that_of_rfc_8037() {
    let mut seen = 0;
    for entry in vectors()["json_web_key"].as_array().unwrap() {
        let Some(expected) = entry["jwk_thumbprint_sha256"].as_str() else { continue };
        let x = URL_SAFE_NO_PAD.decode(entry["publicKeyJwk"]["x"].as_str().unwrap()).unwrap();
        assert_eq!(thumbprint(&key(Algorithm::Ed25519, &x)).as_deref(), Ok(expected));
        seen += 1;
    }
    assert_eq!(seen, 1);
}

/// The JWKs of the vectors carry y, which a compressed point leaves out: both must name one key.
#[test]
fn the_thumbprint_of_p256_is_over_both_coordinates() {
    use sha2::{Digest as _, Sha256};
    let file = vectors();
    let keys = file["multikey"].as_array().unwrap().iter().map(|entry| &entry["jwk"]);
    let valid = file["json_web_key"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["valid"] == true)
        .map(|entry| &entry["publicKeyJwk"]);
    let mut seen = 0;
    for jwk in keys.chain(valid).filter(|jwk| jwk["crv"] == "P-256") {
        let (x, y) = (jwk["x"].as_str().unwrap(), jwk["y"].as_str().unwrap());
        let odd = URL_SAFE_NO_PAD.decode(y).unwrap()[31] & 1;
        let point = [&[2 + odd], URL_SAFE_NO_PAD.decode(x).unwrap().as_slice()].concat();
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let expected = URL_SAFE_NO_PAD.encode(Sha256::digest(text));
        assert_eq!(thumbprint(&key(Algorithm::P256, &point)), Ok(expected));
        seen += 1;
    }
    assert_eq!(seen, 3);
}

#[test]
fn the_thumbprint_of_x25519_is_not_that_of_ed25519() {
    let point = [0x58; 32];
    assert_eq!(check_key(&key(Algorithm::X25519, &point)), Ok(()));
    let (a, b) = (key(Algorithm::X25519, &point), key(Algorithm::Ed25519, &[0x66; 32]));
    assert_eq!(thumbprint(&a).unwrap().len(), 43);
    assert_ne!(thumbprint(&a), thumbprint(&b));
}

#[test]
fn a_secret_multikey_is_refused_as_such() {
    for prefix in [
        [0x80, 0x26],
        [0x81, 0x26],
        [0x82, 0x26],
        [0x86, 0x26],
        [0x87, 0x26],
        [0x97, 0x26],
        [0x9a, 0x26],
    ] {
        for len in [0, 32, 48, 64] {
            let text = raw_multikey(&[&prefix[..], &vec![7; len]].concat());
            assert_eq!(from_multikey(&text), Err(KeyError::SecretKey), "{prefix:02x?}");
        }
    }
}

#[test]
fn other_text_is_no_multikey() {
    let good = "z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";
    assert!(from_multikey(good).is_ok());
    let check = |text: &str, expected| assert_eq!(from_multikey(text), Err(expected), "{text}");
    check("", KeyError::NotMultibase);
    check(&good[1..], KeyError::NotMultibase);
    check(&format!("Z{}", &good[1..]), KeyError::NotMultibase);
    check(&format!("u{}", &good[1..]), KeyError::NotMultibase);
    check(&format!(" {good}"), KeyError::NotMultibase);
    check(&format!("{good} "), KeyError::NotMultibase);
    check(&format!("{good}0"), KeyError::NotMultibase);
    check("z", KeyError::UnknownPrefix);
    check("z1", KeyError::UnknownPrefix);
    check(&format!("z1{}", &good[1..]), KeyError::UnknownPrefix);
    check(&format!("z{}", "2".repeat(100_000)), KeyError::UnknownPrefix);
    // secp256k1, P-384, BLS12-381 G2, SM2; a varint that is longer than need be.
    for prefix in [[0xe7, 0x01], [0x81, 0x24], [0xeb, 0x01], [0x86, 0x24], [0xed, 0x81]] {
        check(&raw_multikey(&[&prefix[..], &[7; 33]].concat()), KeyError::UnknownPrefix);
    }
    for (prefix, expected) in [([0xed, 0x01], 32), ([0xec, 0x01], 32), ([0x80, 0x24], 33)] {
        for len in [0, 31, 34, 65] {
            let text = raw_multikey(&[&prefix[..], &vec![2; len]].concat());
            check(&text, KeyError::Length { len, expected });
        }
    }
}

#[test]
fn an_ed25519_key_is_canonical_on_the_curve_and_not_of_small_order() {
    let check = |point: &str, expected| {
        assert_eq!(check_key(&hex_key(Algorithm::Ed25519, point)), expected, "{point}");
    };
    check("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", Ok(()));
    // The eight points of small order in their canonical encodings.
    for point in [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    ] {
        check(point, Err(KeyError::SmallOrder));
    }
    // y = p, p + 1; x = 0 with a sign; y = p + 3, which is on the curve and of large order.
    for point in [
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        check(point, Err(KeyError::NotCanonical));
    }
    check(
        "0200000000000000000000000000000000000000000000000000000000000000",
        Err(KeyError::NotOnCurve),
    );
    check("", Err(KeyError::Length { len: 0, expected: 32 }));
    check(&"07".repeat(33), Err(KeyError::Length { len: 33, expected: 32 }));
}

#[test]
fn a_p256_key_is_a_compressed_point_of_its_curve() {
    let check = |point: &str, expected| {
        assert_eq!(check_key(&hex_key(Algorithm::P256, point)), expected, "{point}");
    };
    let x = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296";
    let y = "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
    let p = "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff";
    check(&format!("03{x}"), Ok(()));
    check(&format!("02{x}"), Ok(()));
    // Uncompressed, hybrid and compact forms, the identity.
    check(&format!("04{x}{y}"), Err(KeyError::Length { len: 65, expected: 33 }));
    check("00", Err(KeyError::Length { len: 1, expected: 33 }));
    for tag in ["00", "01", "04", "05", "06", "07", "ff"] {
        check(&format!("{tag}{x}"), Err(KeyError::NotCanonical));
    }
    // x = p and p + 5 would be 0 and 5 reduced, which are on the curve; 1 is not.
    check(&format!("02{p}"), Err(KeyError::NotOnCurve));
    check(
        "02ffffffff00000001000000000000000000000001000000000000000000000004",
        Err(KeyError::NotOnCurve),
    );
    check(&format!("02{:064x}", 5), Ok(()));
    check(&format!("02{:064x}", 0), Ok(()));
    check(&format!("02{:064x}", 1), Err(KeyError::NotOnCurve));
}

#[test]
fn an_x25519_key_is_reduced_and_not_of_low_order() {
    let check = |point: &str, expected| {
        assert_eq!(check_key(&hex_key(Algorithm::X25519, point)), expected, "{point}");
    };
    check("0900000000000000000000000000000000000000000000000000000000000000", Ok(()));
    check("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f", Ok(()));
    check("ebffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", Ok(()));
    for point in [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ] {
        check(point, Err(KeyError::SmallOrder));
    }
    for point in [
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0900000000000000000000000000000000000000000000000000000000000080",
    ] {
        check(point, Err(KeyError::NotCanonical));
    }
    check(&"07".repeat(31), Err(KeyError::Length { len: 31, expected: 32 }));
}

#[test]
fn algorithms_outside_the_registry_are_unknown() {
    for algorithm in [0, 4, 255, 256, 257, -1, i32::MAX, i32::MIN] {
        let key = PublicKey { algorithm, point: vec![7; 32] };
        let expected = KeyError::UnknownAlgorithm { algorithm };
        assert_eq!(check_key(&key), Err(expected.clone()));
        assert_eq!(multikey(&key), Err(expected.clone()));
        assert_eq!(thumbprint(&key), Err(expected));
    }
}

#[test]
fn b12_a_key_id_is_the_hash_of_algorithm_and_point() {
    let point = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let ed25519 = hex_key(Algorithm::Ed25519, point);
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"sillok/v1/key\0\x01").update(&ed25519.point);
    assert_eq!(key_id(&ed25519).as_bytes(), hasher.finalize().as_bytes());
    assert_ne!(key_id(&ed25519), key_id(&hex_key(Algorithm::X25519, point)));
    // 257 is 1 in one byte, and must not take the id of the Ed25519 key.
    assert_ne!(key_id(&ed25519), key_id(&PublicKey { algorithm: 257, ..ed25519.clone() }));
}
