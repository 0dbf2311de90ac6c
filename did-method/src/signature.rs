//! Which signatures verify: the only place that says so (PROTOCOL §1.3).
//!
//! A change in which signatures verify is a new protocol version, so the verifier crates are pinned and the
//! published edge cases are tests (`tests/vectors/`). Signatures are verified one at a time: `verify_batch` of
//! Ed25519 gives verdicts that depend on the rest of the batch, and validators would disagree.

use crate::key::{self, KeyError};
use ed25519_dalek::Signature as Ed25519Signature;
use p256::ecdsa::Signature as P256Signature;
use p256::ecdsa::signature::Verifier as _;
use sillok_proto::v1::{Algorithm, PublicKey};

/// Length of a signature of the algorithms known so far, in bytes.
pub const SIGNATURE_BYTES: usize = 64;

/// The order of the Ed25519 base point, little-endian (RFC 8032 §5.1).
const ED25519_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// Why a signature does not verify.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The key is none.
    #[error("the signing key is not usable: {source}")]
    Key {
        /// What is wrong with the key.
        #[from]
        source: KeyError,
    },
    /// A key for key agreement.
    #[error(
        "an X25519 key agrees on secrets and verifies nothing; sign with an Ed25519 or P-256 key"
    )]
    KeyAgreementKey,
    /// Not 64 bytes.
    #[error(
        "the signature has {len} bytes, not 64; send r || s (P-256, not DER) or R || S (Ed25519)"
    )]
    Length {
        /// Bytes received.
        len: usize,
    },
    /// A number of the signature is zero (P-256) or not below the order of the group.
    #[error("a number in the signature is out of range; sign again with an unmodified library")]
    OutOfRange,
    /// P-256 with s above n/2: the other half of a pair of signatures that both verify elsewhere.
    #[error("s of the signature is above n/2; replace s by n - s")]
    HighS,
    /// The equation does not hold, or R is of small order or not canonical.
    #[error(
        "the signature is not one of this key over this message; check key, network and bytes signed"
    )]
    WrongSignature,
}

/// Checks that `signature` over `message` is one of `key`.
///
/// # Errors
///
/// [`SignatureError`].
pub fn verify(key: &PublicKey, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    match key::algorithm(key)? {
        Algorithm::Ed25519 => verify_ed25519(&key.point, message, signature),
        Algorithm::P256 => verify_p256(&key.point, message, signature),
        Algorithm::X25519 => Err(SignatureError::KeyAgreementKey),
        Algorithm::Unspecified => {
            Err(KeyError::UnknownAlgorithm { algorithm: key.algorithm }.into())
        }
    }
}

/// Checks an Ed25519 signature, for keys that are known to be Ed25519 (validators).
///
/// # Errors
///
/// [`SignatureError`].
pub fn verify_ed25519(
    point: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    let key = key::ed25519(point)?;
    let bytes = signature_bytes(signature)?;
    // S below the order, else there would be a second signature (RFC 8032 §5.1.7). `verify_strict` checks this
    // too; the answer is told apart from a wrong signature. Little-endian: compare from the last byte.
    if bytes.iter().rev().take(32).ge(ED25519_ORDER.iter().rev()) {
        return Err(SignatureError::OutOfRange);
    }
    key.verify_strict(message, &Ed25519Signature::from_bytes(bytes))
        .map_err(|_| SignatureError::WrongSignature)
}

/// Checks a P-256 signature (ECDSA with SHA-256).
fn verify_p256(point: &[u8], message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
    let key = key::p256(point)?;
    let bytes = signature_bytes(signature)?;
    // Refuses r or s that is zero or not below n.
    let signature = P256Signature::from_slice(bytes).map_err(|_| SignatureError::OutOfRange)?;
    // The crate accepts both halves of the pair (r, s) and (r, n - s).
    if signature.normalize_s() != signature {
        return Err(SignatureError::HighS);
    }
    key.verify(message, &signature).map_err(|_| SignatureError::WrongSignature)
}

/// The signature with s at most n/2, for clients: phones and tokens make both kinds.
///
/// A signature that is out of range is returned unchanged; [`verify`] says what is wrong with it.
#[must_use]
pub fn normalize_p256(signature: [u8; SIGNATURE_BYTES]) -> [u8; SIGNATURE_BYTES] {
    P256Signature::from_slice(&signature)
        .map_or(signature, |signature| signature.normalize_s().to_bytes().into())
}

fn signature_bytes(signature: &[u8]) -> Result<&[u8; SIGNATURE_BYTES], SignatureError> {
    signature.try_into().map_err(|_| SignatureError::Length { len: signature.len() })
}
