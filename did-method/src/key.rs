//! Public keys: which bytes are one, and the names a key goes by.
//!
//! A key is registered only in its one canonical encoding, on its curve, and not of small order: one key under two
//! encodings would be two keys to the index of used keys (PROTOCOL §3.4), and a key of small order accepts
//! signatures nobody made (PROTOCOL §1.3). What a key may do is in [`crate::document`].

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::VerifyingKey as Ed25519Key;
use p256::ecdsa::VerifyingKey as P256Key;
use sha2::{Digest as _, Sha256};
use sillok_proto::v1::{Algorithm, PublicKey};
use sillok_proto::{Hash, Tag};

/// Longest Multikey text that is decoded; decoding base58 takes quadratic time.
const MULTIKEY_CHARS_MAX: usize = 128;

/// Multicodec prefixes (varints), CID 1.0 "Multikey" and the multicodec table.
const PREFIXES: [(Algorithm, [u8; 2]); 3] = [
    (Algorithm::Ed25519, [0xed, 0x01]),
    (Algorithm::P256, [0x80, 0x24]),
    (Algorithm::X25519, [0xec, 0x01]),
];

/// The u-coordinates below p of points whose order divides 8, on the curve and on its twist, little-endian
/// (RFC 7748 §6.1). Agreement with one of these gives zero whatever the secret.
const X25519_LOW_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
    {
        let mut minus_one = FIELD_PRIME;
        minus_one[0] = 0xec;
        minus_one
    },
];

/// p = 2^255 - 19, little-endian.
const FIELD_PRIME: [u8; 32] = {
    let mut prime = [0xff; 32];
    prime[0] = 0xed;
    prime[31] = 0x7f;
    prime
};

/// Why bytes or text are not a public key of this registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A number outside the registry of algorithms.
    #[error("algorithm {algorithm} is not known; use 1 (Ed25519), 2 (P-256) or 3 (X25519)")]
    UnknownAlgorithm {
        /// The number as received.
        algorithm: i32,
    },
    /// Another number of bytes than the algorithm's.
    #[error("the key has {len} bytes where its algorithm has {expected}; send the raw public key")]
    Length {
        /// Bytes received.
        len: usize,
        /// Bytes of a key of this algorithm.
        expected: usize,
    },
    /// A second encoding of a point or coordinate.
    #[error("the key is not encoded canonically; encode the reduced coordinate")]
    NotCanonical,
    /// No point of the curve has this encoding.
    #[error("the key is not a point of its curve; send a compressed public key")]
    NotOnCurve,
    /// A point whose order divides the cofactor.
    #[error("the key is of small order and protects nothing; generate another key")]
    SmallOrder,
    /// Not the text of a Multikey in base58btc.
    #[error("the multikey is not base58btc beginning with z; send a publicKeyMultibase value")]
    NotMultibase,
    /// A Multikey of an algorithm outside the registry.
    #[error("the multikey is of another algorithm; use Ed25519, P-256 or X25519")]
    UnknownPrefix,
    /// A Multikey that holds a secret key.
    #[error(
        "the multikey is a secret key and is now known to whoever saw it; destroy it and send a public key"
    )]
    SecretKey,
}

/// Checks that `key` is canonical, on its curve and not of small order.
///
/// # Errors
///
/// [`KeyError`].
pub fn check_key(key: &PublicKey) -> Result<(), KeyError> {
    match algorithm(key)? {
        Algorithm::Ed25519 => ed25519(&key.point).map(|_| ()),
        Algorithm::P256 => p256(&key.point).map(|_| ()),
        Algorithm::X25519 => x25519(&key.point),
        Algorithm::Unspecified => Err(KeyError::UnknownAlgorithm { algorithm: key.algorithm }),
    }
}

/// The name of a key on the ledger: `H("key", algorithm || point)`.
///
/// Two keys have one id only if they are one key, provided that both passed [`check_key`].
#[must_use]
pub fn key_id(key: &PublicKey) -> Hash {
    // The registry of algorithms is numbered below 256; a message out of it never passes `check_key`, and all its
    // four bytes are hashed so that it cannot take the id of a key that did.
    match u8::try_from(key.algorithm) {
        Ok(algorithm) => Tag::Key.hash(&[&[algorithm], &key.point]),
        Err(_) => Tag::Key.hash(&[&key.algorithm.to_be_bytes(), &key.point]),
    }
}

/// `key` as a Multikey (`z6Mk…`, `zDn…`, `z6LS…`).
///
/// # Errors
///
/// [`KeyError`] of a key that does not pass [`check_key`].
pub fn multikey(key: &PublicKey) -> Result<String, KeyError> {
    check_key(key)?;
    let algorithm = algorithm(key)?;
    let prefix = PREFIXES
        .iter()
        .find(|(known, _)| *known == algorithm)
        .map(|(_, prefix)| prefix)
        .ok_or(KeyError::UnknownAlgorithm { algorithm: key.algorithm })?;
    let mut bytes = prefix.to_vec();
    bytes.extend_from_slice(&key.point);
    Ok(format!("z{}", bs58::encode(bytes).into_string()))
}

/// The key in a Multikey.
///
/// # Errors
///
/// [`KeyError`]: other text, another algorithm, a secret key, or a key that does not pass [`check_key`].
pub fn from_multikey(text: &str) -> Result<PublicKey, KeyError> {
    let base58 = text.strip_prefix('z').ok_or(KeyError::NotMultibase)?;
    if base58.len() > MULTIKEY_CHARS_MAX {
        return Err(KeyError::UnknownPrefix);
    }
    let bytes = bs58::decode(base58).into_vec().map_err(|_| KeyError::NotMultibase)?;
    let [first, second, point @ ..] = bytes.as_slice() else {
        return Err(KeyError::UnknownPrefix);
    };
    // Codes 0x1300 to 0x137f are the multicodec table's secret keys.
    if *second == 0x26 && *first >= 0x80 {
        return Err(KeyError::SecretKey);
    }
    let algorithm = PREFIXES
        .iter()
        .find(|(_, prefix)| prefix == &[*first, *second])
        .map(|(algorithm, _)| *algorithm)
        .ok_or(KeyError::UnknownPrefix)?;
    let key = PublicKey { algorithm: algorithm.into(), point: point.to_vec() };
    check_key(&key)?;
    Ok(key)
}

/// The RFC 7638 thumbprint (SHA-256, base64url without padding), from which the document view names the key.
///
/// # Errors
///
/// [`KeyError`] of a key that does not pass [`check_key`].
pub fn thumbprint(key: &PublicKey) -> Result<String, KeyError> {
    check_key(key)?;
    let x = URL_SAFE_NO_PAD.encode(&key.point);
    // The required members in lexicographic order without white space (RFC 7638 §3.2, RFC 8037 §2).
    let jwk = match algorithm(key)? {
        Algorithm::Ed25519 => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#),
        Algorithm::X25519 => format!(r#"{{"crv":"X25519","kty":"OKP","x":"{x}"}}"#),
        Algorithm::P256 => {
            let point = p256(&key.point)?.to_sec1_point(false);
            let (Some(x), Some(y)) = (point.x(), point.y()) else {
                return Err(KeyError::NotOnCurve);
            };
            let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
            format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)
        }
        Algorithm::Unspecified => {
            return Err(KeyError::UnknownAlgorithm { algorithm: key.algorithm });
        }
    };
    Ok(URL_SAFE_NO_PAD.encode(Sha256::digest(jwk.as_bytes())))
}

/// The algorithm of `key`, if the registry has it.
pub(crate) fn algorithm(key: &PublicKey) -> Result<Algorithm, KeyError> {
    match Algorithm::try_from(key.algorithm) {
        Ok(Algorithm::Unspecified) | Err(_) => {
            Err(KeyError::UnknownAlgorithm { algorithm: key.algorithm })
        }
        Ok(algorithm) => Ok(algorithm),
    }
}

/// The Ed25519 key in `point`, under the rules of registration.
pub(crate) fn ed25519(point: &[u8]) -> Result<Ed25519Key, KeyError> {
    let bytes: &[u8; 32] =
        point.try_into().map_err(|_| KeyError::Length { len: point.len(), expected: 32 })?;
    let key = Ed25519Key::from_bytes(bytes).map_err(|_| KeyError::NotOnCurve)?;
    // Decompression reduces y modulo p and ignores the sign of x = 0; compression writes the one encoding.
    if key.to_edwards().compress().as_bytes() != bytes {
        return Err(KeyError::NotCanonical);
    }
    if key.is_weak() {
        return Err(KeyError::SmallOrder);
    }
    Ok(key)
}

/// The P-256 key in `point`, under the rules of registration. The curve has prime order, so no point of it but
/// the identity, which has no compressed encoding of 33 bytes, is of small order.
pub(crate) fn p256(point: &[u8]) -> Result<P256Key, KeyError> {
    if point.len() != 33 {
        return Err(KeyError::Length { len: point.len(), expected: 33 });
    }
    // SEC 1 knows other tags of the same length (0x05, compact); here a point has one encoding.
    if !matches!(point.first(), Some(2 | 3)) {
        return Err(KeyError::NotCanonical);
    }
    P256Key::from_sec1_bytes(point).map_err(|_| KeyError::NotOnCurve)
}

/// Checks the X25519 u-coordinate in `point`.
fn x25519(point: &[u8]) -> Result<(), KeyError> {
    let u: &[u8; 32] =
        point.try_into().map_err(|_| KeyError::Length { len: point.len(), expected: 32 })?;
    // Little-endian: compare from the last byte.
    if u.iter().rev().ge(FIELD_PRIME.iter().rev()) {
        return Err(KeyError::NotCanonical);
    }
    if X25519_LOW_ORDER.contains(u) { Err(KeyError::SmallOrder) } else { Ok(()) }
}
