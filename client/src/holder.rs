//! Keys of a holder under an enrollment: the one-time key that a QR carries, and the enrollment key of a phone
//! (PROTOCOL §4.3).
//!
//! The desk makes the one-time key with the reservation and hands its private half out; the phone makes the enrollment
//! key and hands its public half in. Activating takes both, so neither a copied QR nor a foreign phone is enough, and
//! nothing that is sent anywhere can be used again.

use crate::keys::{KeyAlgorithm, SecretKey, SecretKeyError};
use crate::private_file::{self, FileError};
use serde::{Deserialize, Serialize};
use sillok_did_method::{Did, format_datetime, from_multikey, parse_datetime};
use sillok_proto::Hash;
use std::path::Path;
use zeroize::Zeroizing;

const FILE: &str = "a holder's key, as `sillok status reserve` and `sillok key enrollment` make it";
const FILE_BYTES_MAX: u64 = 4096;

/// What a one-time key was handed out for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Who issues.
    pub issuer: Did,
    /// The credential type.
    pub credential_type: Hash,
    /// The number that was reserved.
    pub number: u32,
    /// Ledger time before which it must be activated, in milliseconds.
    pub deadline_ms: u64,
}

/// A key of a holder.
#[derive(Debug, Clone)]
pub struct HolderKey {
    /// The key.
    pub secret: SecretKey,
    /// Of a one-time key, what it is for; `None` for an enrollment key.
    pub ticket: Option<Ticket>,
}

/// The JSON, and what a QR carries.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    r#use: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<TicketFile>,
    algorithm: String,
    public: String,
    secret: Zeroizing<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TicketFile {
    issuer: String,
    r#type: String,
    number: u32,
    deadline: String,
}

const ONE_TIME: &str = "one-time key";
const ENROLLMENT: &str = "enrollment key";

impl HolderKey {
    /// A new enrollment key, on the phone.
    ///
    /// # Errors
    ///
    /// [`SecretKeyError`].
    pub fn enrollment(algorithm: KeyAlgorithm) -> Result<Self, SecretKeyError> {
        Ok(Self { secret: SecretKey::generate(algorithm)?, ticket: None })
    }

    /// A new one-time key for a reservation, at the desk.
    ///
    /// # Errors
    ///
    /// [`SecretKeyError`].
    pub fn one_time(algorithm: KeyAlgorithm, ticket: Ticket) -> Result<Self, SecretKeyError> {
        Ok(Self { secret: SecretKey::generate(algorithm)?, ticket: Some(ticket) })
    }

    /// The JSON that a file holds and a QR carries. It holds the secret.
    ///
    /// # Errors
    ///
    /// Never in practice: the key was checked when it was made.
    pub fn to_json(&self) -> Result<Zeroizing<String>, SecretKeyError> {
        let ticket = self.ticket.as_ref().map(|ticket| TicketFile {
            issuer: ticket.issuer.to_string(),
            r#type: ticket.credential_type.to_string(),
            number: ticket.number,
            deadline: format_datetime(ticket.deadline_ms),
        });
        let file = KeyFile {
            r#use: if ticket.is_some() { ONE_TIME } else { ENROLLMENT }.to_owned(),
            ticket,
            algorithm: self.secret.algorithm().name().to_owned(),
            public: self.secret.multikey()?,
            secret: Zeroizing::new(hex::encode(self.secret.to_bytes().as_slice())),
        };
        Ok(Zeroizing::new(serde_json::to_string_pretty(&file).unwrap_or_default()))
    }

    /// Writes it to a new file of mode 0600.
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn create(&self, path: &Path) -> Result<(), FileError> {
        let text = self.to_json().map_err(|error| wrong(path, error.to_string()))?;
        private_file::create(path, &text)
    }

    /// Reads it from a file that only its owner can read.
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let text = private_file::read(path, FILE, FILE_BYTES_MAX)?;
        Self::from_json(&text).map_err(|reason| wrong(path, reason))
    }

    /// Reads what [`Self::to_json`] wrote; the error says what is wrong, without the text.
    fn from_json(text: &str) -> Result<Self, String> {
        let file: KeyFile =
            serde_json::from_str(text).map_err(|error| private_file::json_reason(&error))?;
        let ticket = match (file.r#use.as_str(), file.ticket) {
            (ONE_TIME, Some(ticket)) => Some(Ticket {
                issuer: Did::parse(&ticket.issuer).map_err(|error| error.to_string())?,
                credential_type: hex::decode(&ticket.r#type)
                    .ok()
                    .and_then(|bytes| Hash::from_slice(&bytes))
                    .ok_or("the type is no name")?,
                number: ticket.number,
                deadline_ms: parse_datetime(&ticket.deadline).map_err(|error| error.to_string())?,
            }),
            (ENROLLMENT, None) => None,
            _ => return Err("it is for another use".to_owned()),
        };
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(file.secret.as_bytes(), bytes.as_mut_slice())
            .map_err(|_| "the secret is not 64 hex digits".to_owned())?;
        let algorithm =
            file.algorithm.parse().map_err(|error: SecretKeyError| error.to_string())?;
        let secret = SecretKey::from_bytes(algorithm, &bytes).map_err(|error| error.to_string())?;
        let public = from_multikey(&file.public).map_err(|error| error.to_string())?;
        if *secret.public() != public {
            return Err("its public key is not that of its secret".to_owned());
        }
        Ok(Self { secret, ticket })
    }
}

fn wrong(path: &Path, reason: String) -> FileError {
    private_file::content(path, FILE, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    fn ticket() -> Ticket {
        let issuer =
            Identity::organization("test", KeyAlgorithm::Ed25519, false, None, None).unwrap();
        Ticket {
            issuer: issuer.did,
            credential_type: Hash([3; 32]),
            number: 2,
            deadline_ms: 1_795_251_600_000,
        }
    }

    #[test]
    fn keys_of_a_holder_survive_their_files() {
        let directory = tempfile::tempdir().unwrap();
        for algorithm in [KeyAlgorithm::Ed25519, KeyAlgorithm::P256] {
            let made = [
                HolderKey::enrollment(algorithm).unwrap(),
                HolderKey::one_time(algorithm, ticket()).unwrap(),
            ];
            for (nth, key) in made.iter().enumerate() {
                let path = directory.path().join(format!("{algorithm}-{nth}"));
                key.create(&path).unwrap();
                let again = HolderKey::read(&path).unwrap();
                assert_eq!(again.secret.public(), key.secret.public());
                assert_eq!(again.ticket.is_some(), nth == 1);
            }
        }
    }

    #[test]
    fn a_key_of_another_use_or_with_a_swapped_half_is_refused_without_its_secret() {
        let key = HolderKey::one_time(KeyAlgorithm::Ed25519, ticket()).unwrap();
        let text = key.to_json().unwrap();
        assert_eq!(HolderKey::from_json(&text).unwrap().ticket, Some(key.ticket.clone().unwrap()));
        let other = SecretKey::generate(KeyAlgorithm::Ed25519).unwrap().multikey().unwrap();
        for wrong in [
            text.replace(ONE_TIME, ENROLLMENT),
            text.replace(&key.secret.multikey().unwrap(), &other),
            text.replace("\"number\": 2", "\"number\": 2, \"person\": \"x\""),
        ] {
            let reason = HolderKey::from_json(&wrong).unwrap_err();
            assert!(!reason.contains(&hex::encode(key.secret.to_bytes().as_slice())));
        }
    }
}
