//! Handles: how an issuer names a person on the ledger, so that nobody else can tell who it is (PROTOCOL §4.2).
//!
//! handle = HMAC-SHA-256(secret of the issuer, type ‖ person). It is computed here and nowhere else: a handle chosen by
//! hand would one day be a number of the person. Two issuers, and two types of one issuer, have different handles for
//! one person; whoever loses the secret can find none of its people again, and whoever steals it can try all numbers.
//!
//! The text that names the person never leaves this module: not into a transaction, a file, an error or a debug print.

use crate::keys::{SecretKeyError, fill};
use crate::private_file::{self, FileError};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use sillok_proto::Hash;
use std::fmt;
use std::path::Path;
use zeroize::Zeroizing;

/// Longest text that names a person, in characters.
pub const PERSON_CHARS_MAX: usize = 128;
/// What such a file is called.
const FILE: &str = "a secret for handles, as `sillok key handles` makes it";
const FILE_BYTES_MAX: u64 = 1024;
/// What the file says it is for.
const USE: &str = "handles";

/// Why a text names no person. It never holds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PersonError {
    /// Empty or too long.
    #[error("what names the person has {chars} characters; it has 1 to {PERSON_CHARS_MAX}")]
    Length {
        /// How many there are.
        chars: usize,
    },
    /// One person has one handle, so there must be one way to write what names it.
    #[error(
        "what names the person has something other than letters, digits and marks of ASCII; use the number in your register"
    )]
    NotAscii,
}

/// Who it is: the number in the issuer's register. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Person(Zeroizing<String>);

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Person")
    }
}

impl Person {
    /// The person that the issuer's register calls so. White space around the text does not count.
    ///
    /// # Errors
    ///
    /// [`PersonError`]: Unicode writes one text in several ways, so only visible ASCII is taken.
    pub fn new(text: &str) -> Result<Self, PersonError> {
        let text = text.trim_ascii();
        let chars = text.chars().count();
        if chars == 0 || chars > PERSON_CHARS_MAX {
            return Err(PersonError::Length { chars });
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(PersonError::NotAscii);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

/// The pseudonym of a person at one issuer and type. Only [`HandleSecret::handle`] makes one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Handle(Hash);

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle")
    }
}

impl Handle {
    /// The 32 bytes, for the private content and for the issuer's own reads.
    #[must_use]
    pub const fn digest(&self) -> &Hash {
        &self.0
    }
}

/// The issuer's secret. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct HandleSecret(Zeroizing<[u8; 32]>);

impl fmt::Debug for HandleSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandleSecret")
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretFile {
    r#use: String,
    secret: Zeroizing<String>,
}

impl HandleSecret {
    /// A new secret from the system's random source.
    ///
    /// # Errors
    ///
    /// [`SecretKeyError::Random`].
    pub fn generate() -> Result<Self, SecretKeyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        fill(bytes.as_mut_slice())?;
        Ok(Self(bytes))
    }

    /// The handle of `person` under `credential_type`.
    #[must_use]
    pub fn handle(&self, credential_type: &Hash, person: &Person) -> Handle {
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.0.as_slice()) else {
            unreachable!("32 bytes are a key of HMAC")
        };
        // The type has 32 bytes, so nothing can be moved from the one to the other.
        mac.update(&credential_type.0);
        mac.update(person.0.as_bytes());
        Handle(Hash(mac.finalize().into_bytes().into()))
    }

    /// Writes it to a new file of mode 0600.
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn create(&self, path: &Path) -> Result<(), FileError> {
        let secret = Zeroizing::new(hex::encode(self.0.as_slice()));
        let file = SecretFile { r#use: USE.to_owned(), secret };
        // A struct of two strings has a JSON form.
        let text = Zeroizing::new(serde_json::to_string_pretty(&file).unwrap_or_default());
        private_file::create(path, &text)
    }

    /// Reads it from a file that only its owner can read.
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let text = private_file::read(path, FILE, FILE_BYTES_MAX)?;
        let wrong = |reason: String| private_file::content(path, FILE, reason);
        let file: SecretFile = serde_json::from_str(&text)
            .map_err(|error| wrong(private_file::json_reason(&error)))?;
        if file.r#use != USE {
            return Err(wrong("it is for another use".to_owned()));
        }
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(file.secret.as_bytes(), bytes.as_mut_slice())
            .map_err(|_| wrong("the secret is not 64 hex digits".to_owned()))?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::Digest as _;
    use std::collections::BTreeSet;
    use std::fs;

    fn secret(byte: u8) -> HandleSecret {
        HandleSecret(Zeroizing::new([byte; 32]))
    }

    fn person(text: &str) -> Person {
        Person::new(text).unwrap()
    }

    /// RFC 2104, from the hash alone.
    fn hmac_by_hand(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
        let pad = |byte: u8| {
            let mut block = [byte; 64];
            block.iter_mut().zip(key).for_each(|(one, key)| *one ^= key);
            block
        };
        let inner = Sha256::digest([&pad(0x36), message].concat());
        Sha256::digest([pad(0x5c).as_slice(), &inner].concat()).into()
    }

    proptest! {
        #[test]
        fn a8_a_handle_is_the_hmac_of_type_and_person(key: [u8; 32], of: [u8; 32], text in "[!-~]{1,128}") {
            let handle = HandleSecret(Zeroizing::new(key)).handle(&Hash(of), &person(&text));
            let message = [of.as_slice(), text.as_bytes()].concat();
            prop_assert_eq!(handle.digest().0, hmac_by_hand(&key, &message));
        }
    }

    #[test]
    fn a8_handles_of_one_person_differ_by_issuer_and_by_type() {
        let mut handles = BTreeSet::new();
        for (issuer, of) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            handles.insert(secret(issuer).handle(&Hash([of; 32]), &person("900101-1234567")));
        }
        assert_eq!(handles.len(), 4);
        let again = secret(1).handle(&Hash([1; 32]), &person(" 900101-1234567\n"));
        assert!(handles.contains(&again), "white space around the number does not count");
    }

    #[test]
    fn what_names_a_person_has_one_spelling_and_no_error_repeats_it() {
        let refused = |text: &str| Person::new(text).unwrap_err();
        assert_eq!(refused(" \n"), PersonError::Length { chars: 0 });
        assert_eq!(refused(&"7".repeat(129)), PersonError::Length { chars: 129 });
        // Two ways to write one syllable.
        for text in ["홍길동", "\u{1112}\u{1169}\u{11bc}", "900101 1234567", "9001\u{7f}"] {
            let error = refused(text);
            assert_eq!(error, PersonError::NotAscii);
            assert!(!error.to_string().contains(text) && !format!("{error:?}").contains(text));
        }
    }

    #[test]
    fn neither_secret_nor_person_nor_handle_is_printed() {
        let (secret, person) = (secret(7), person("900101-1234567"));
        let handle = secret.handle(&Hash([1; 32]), &person);
        assert_eq!(format!("{secret:?} {person:?} {handle:?}"), "HandleSecret Person Handle");
    }

    #[test]
    fn the_secret_survives_its_file_and_is_no_other_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("handles.key");
        let made = HandleSecret::generate().unwrap();
        made.create(&path).unwrap();
        let again = HandleSecret::read(&path).unwrap();
        let (of, person) = (Hash([1; 32]), person("1"));
        assert_eq!(made.handle(&of, &person), again.handle(&of, &person));
        let text = fs::read_to_string(&path).unwrap();
        for wrong in [text.replace("handles", "one-time"), text.replace("\": \"", "\": \"zz")] {
            fs::remove_file(&path).unwrap();
            private_file::create(&path, &wrong).unwrap();
            let error = HandleSecret::read(&path).unwrap_err();
            assert!(matches!(error, FileError::Content { .. }), "{error}");
            assert!(!error.to_string().contains(&hex::encode(made.0.as_slice())));
        }
    }
}
