//! Compact signatures (RFC 7515) by keys of this registry: EdDSA (RFC 8037) and ES256 (RFC 7518).
//!
//! The algorithm follows from the key that the DID document has, and the header must name the same one: a header that
//! could choose (`none`, another curve) would choose for the attacker.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use sillok_did_method::{
    Did, KeyError, SIGNATURE_BYTES, SignatureError, normalize_p256, thumbprint, verify,
};
use sillok_proto::v1::{Algorithm, PublicKey};
use std::fmt;

/// Longest token that is read, in bytes. A list of a million entries that do not compress is below it.
pub const TOKEN_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Why a text is no signed token, or not one of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwsError {
    /// Too long.
    #[error("the token has {len} bytes, more than {TOKEN_BYTES_MAX}; ask somebody else for it")]
    Length {
        /// Its length.
        len: usize,
    },
    /// Not three parts of base64url without padding, the first two JSON objects.
    #[error("the text is no compact jws of json ({what}); ask for the signed media type")]
    Form {
        /// Which part is not as it should be.
        what: &'static str,
    },
    /// Extensions that must be understood.
    #[error("the token has critical headers, and none is known here; ask somebody else for it")]
    Critical,
    /// Another type of token.
    #[error("the token is of type {found:?}, not {expected:?}; ask for another media type")]
    Type {
        /// What the header says.
        found: String,
        /// What was asked for.
        expected: &'static str,
    },
    /// The header names another algorithm than the key has.
    #[error("the token names algorithm {named:?} and its key is for {of_key:?}; it is forged")]
    Algorithm {
        /// What the header says.
        named: String,
        /// What the key is for.
        of_key: &'static str,
    },
    /// The key signs nothing.
    #[error("the key of the token is not usable: {0}")]
    Key(#[from] KeyError),
    /// The signature is not one of the key.
    #[error("the signature of the token does not verify: {0}")]
    Signature(#[from] SignatureError),
}

/// The name of a key's algorithm.
///
/// # Errors
///
/// [`JwsError::Signature`] of a key that signs nothing.
fn algorithm_name(key: &PublicKey) -> Result<&'static str, JwsError> {
    match key.algorithm() {
        Algorithm::Ed25519 => Ok("EdDSA"),
        Algorithm::P256 => Ok("ES256"),
        Algorithm::X25519 | Algorithm::Unspecified => Err(SignatureError::KeyAgreementKey.into()),
    }
}

type Sign = dyn Fn(&[u8]) -> Option<[u8; SIGNATURE_BYTES]> + Send + Sync;

/// Who signs what is served.
pub struct Signer {
    did: Did,
    key_id: String,
    algorithm: &'static str,
    sign: Box<Sign>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl Signer {
    /// A signer by a key of `did`. `sign` makes r ‖ s or R ‖ S; the secret stays where it is.
    ///
    /// # Errors
    ///
    /// [`JwsError`] of a key that signs nothing.
    pub fn new(
        did: Did,
        key: &PublicKey,
        sign: impl Fn(&[u8]) -> Option<[u8; SIGNATURE_BYTES]> + Send + Sync + 'static,
    ) -> Result<Self, JwsError> {
        let key_id = format!("{did}#{}", thumbprint(key)?);
        Ok(Self { did, key_id, algorithm: algorithm_name(key)?, sign: Box::new(sign) })
    }

    /// Whose key it is.
    #[must_use]
    pub const fn did(&self) -> &Did {
        &self.did
    }

    /// A token of these types over `payload`; `None` if the key did not sign.
    #[must_use]
    pub fn token(&self, typ: &str, cty: Option<&str>, payload: &Value) -> Option<String> {
        let mut header = Map::from_iter([
            ("alg".to_owned(), json!(self.algorithm)),
            ("kid".to_owned(), json!(self.key_id)),
            ("typ".to_owned(), json!(typ)),
        ]);
        header.extend(cty.map(|cty| ("cty".to_owned(), json!(cty))));
        let header = URL_SAFE_NO_PAD.encode(Value::Object(header).to_string());
        let mut token = format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload.to_string()));
        let signature = (self.sign)(token.as_bytes())?;
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Some(token)
    }
}

/// A signed token, read and not verified.
#[derive(Debug, Clone, PartialEq)]
pub struct Jws {
    /// Which key signed, as the token says: a DID URL.
    pub key_id: String,
    /// Its claims.
    pub payload: Value,
    algorithm: String,
    signed: String,
    signature: Vec<u8>,
}

impl Jws {
    /// Reads a token of this type.
    ///
    /// # Errors
    ///
    /// [`JwsError`]: too long, not in the form, or of another type.
    pub fn read(text: &str, typ: &'static str) -> Result<Self, JwsError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(JwsError::Length { len: text.len() });
        }
        let form = |what| JwsError::Form { what };
        let (signed, signature) = text.rsplit_once('.').ok_or_else(|| form("parts"))?;
        let (header, payload) = signed.split_once('.').ok_or_else(|| form("parts"))?;
        let header = object(header).ok_or_else(|| form("header"))?;
        let payload = object(payload).ok_or_else(|| form("payload"))?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| form("signature"))?;
        if header.get("crit").is_some() {
            return Err(JwsError::Critical);
        }
        let word = |name: &str| header[name].as_str().unwrap_or_default();
        // A media type may leave out `application/` (RFC 7515, §4.1.9).
        let found = word("typ").strip_prefix("application/").unwrap_or(word("typ"));
        if !found.eq_ignore_ascii_case(typ) {
            return Err(JwsError::Type { found: found.chars().take(64).collect(), expected: typ });
        }
        Ok(Self {
            key_id: word("kid").to_owned(),
            algorithm: word("alg").chars().take(64).collect(),
            signed: signed.to_owned(),
            payload,
            signature,
        })
    }

    /// Checks that `key` signed it.
    ///
    /// # Errors
    ///
    /// [`JwsError`]: it did not, or the header names another algorithm than the key's.
    pub fn verify(&self, key: &PublicKey) -> Result<(), JwsError> {
        let of_key = algorithm_name(key)?;
        if self.algorithm != of_key {
            return Err(JwsError::Algorithm { named: self.algorithm.clone(), of_key });
        }
        // Others than us sign ES256 with either s.
        let normal = match <[u8; SIGNATURE_BYTES]>::try_from(self.signature.as_slice()) {
            Ok(signature) if key.algorithm() == Algorithm::P256 => {
                normalize_p256(signature).to_vec()
            }
            _ => self.signature.clone(),
        };
        Ok(verify(key, self.signed.as_bytes(), &normal)?)
    }
}

fn object(part: &str) -> Option<Value> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&bytes).ok().filter(Value::is_object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer as _, SigningKey};
    use proptest::prelude::*;
    use sillok_proto::Hash;

    fn key() -> (SigningKey, PublicKey) {
        let secret = SigningKey::from_bytes(&[7; 32]);
        let point = secret.verifying_key().to_bytes().to_vec();
        (secret, PublicKey { algorithm: Algorithm::Ed25519.into(), point })
    }

    fn signer() -> Signer {
        let (secret, public) = key();
        let did = Did::new("dev", Hash([1; 32])).unwrap();
        Signer::new(did, &public, move |bytes| Some(secret.sign(bytes).to_bytes())).unwrap()
    }

    fn token() -> String {
        signer().token("statuslist+jwt", None, &json!({ "iat": 1 })).unwrap()
    }

    /// The token of the draft with its published key (`ietf-token-status-list.json`).
    #[test]
    fn a_published_token_verifies() {
        let vectors = include_str!("../tests/vectors/token-status-list.json");
        let vectors: Value = serde_json::from_str(vectors).unwrap();
        let text = vectors["token"].as_str().unwrap();
        let jwk = &vectors["key"];
        let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
        let sign = 2 | (coordinate("y")[31] & 1);
        let point = [vec![sign], coordinate("x")].concat();
        let key = PublicKey { algorithm: Algorithm::P256.into(), point };
        let jws = Jws::read(text, "statuslist+jwt").unwrap();
        assert_eq!(jws.key_id, "12");
        assert_eq!(jws.payload["status_list"]["bits"], 1);
        assert_eq!(jws.verify(&key), Ok(()));
        let (_, other) = self::key();
        let named = "ES256".to_owned();
        assert_eq!(jws.verify(&other), Err(JwsError::Algorithm { named, of_key: "EdDSA" }));
    }

    #[test]
    fn what_is_signed_is_read_and_nothing_else_is() {
        let (_, public) = key();
        let jws = Jws::read(&token(), "statuslist+jwt").unwrap();
        assert_eq!(jws.payload, json!({ "iat": 1 }));
        assert!(jws.key_id.starts_with("did:sillok:dev:z") && jws.key_id.contains('#'));
        assert_eq!(jws.verify(&public), Ok(()));
        let text = token();
        let (head, _) = text.rsplit_once('.').unwrap();
        let (_, payload) = head.split_once('.').unwrap();
        let header = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let with = |json: &Value| {
            let signature = text.rsplit_once('.').unwrap().1;
            Jws::read(&format!("{}.{payload}.{signature}", header(json)), "statuslist+jwt")
        };
        let none = with(&json!({ "alg": "none", "typ": "statuslist+jwt" })).unwrap();
        let named = "none".to_owned();
        assert_eq!(none.verify(&public), Err(JwsError::Algorithm { named, of_key: "EdDSA" }));
        let same = json!({ "alg": "EdDSA", "typ": "application/statuslist+jwt" });
        assert!(matches!(with(&same).unwrap().verify(&public), Err(JwsError::Signature(_))));
        let critical = json!({ "alg": "EdDSA", "typ": "statuslist+jwt", "crit": ["b64"] });
        assert_eq!(with(&critical), Err(JwsError::Critical));
        let found = "JWT".to_owned();
        let expected = "statuslist+jwt";
        assert_eq!(with(&json!({ "typ": "JWT" })), Err(JwsError::Type { found, expected }));
    }

    #[test]
    fn an_agreement_key_signs_no_token() {
        let mut nine = [0; 32];
        nine[0] = 9;
        let key = PublicKey { algorithm: Algorithm::X25519.into(), point: nine.to_vec() };
        let did = Did::new("dev", Hash([1; 32])).unwrap();
        assert!(Signer::new(did, &key, |_| None).is_err());
    }

    proptest! {
        #[test]
        fn any_text_ends_without_a_panic(text in "\\PC{0,200}", tail in "[A-Za-z0-9_.-]{0,100}") {
            let _ = Jws::read(&text, "vc+jwt");
            let _ = Jws::read(&format!("eyJ0eXAiOiJ2Yytqd3QifQ.{tail}"), "vc+jwt").map(|jws| {
                jws.verify(&key().1)
            });
        }

        #[test]
        fn a_changed_token_does_not_verify(at in 0_usize..400, bit in 0_u8..7) {
            let mut bytes = token().into_bytes();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let (_, public) = key();
            if let Ok(jws) = String::from_utf8(bytes)
                .map_err(|_| JwsError::Critical)
                .and_then(|text| Jws::read(&text, "statuslist+jwt"))
            {
                prop_assert!(jws.verify(&public).is_err());
            }
        }
    }
}
