//! A credential type as people write it: a JSON file, and the same form for showing what is published.
//!
//! ```
//! # use sillok_client::credential_type::TypeFile;
//! let file = TypeFile::parse(r#"{
//!     "schemaHash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
//!     "policy": {
//!         "exclusive": false,
//!         "reasons": [{ "reason": "first-issue" }, { "reason": "end-of-use" }],
//!         "channels": ["office", "portal"],
//!         "purposes": ["access"]
//!     }
//! }"#)?;
//! let content = file.content(".".as_ref())?;
//! assert_eq!(TypeFile::of(&content).to_json()["policy"]["channels"][1], "portal");
//! # Ok::<(), sillok_client::credential_type::TypeFileError>(())
//! ```
//!
//! Hashes are SHA-256 of the files of schema and render template, given as `schemaHash`, or as `schemaFile`, which is
//! read from beside the file. Durations have a unit: `90days`, `5years` of 365.25 days.

use crate::private_file::{self, FileError};
use crate::words::{UnknownWord, Word, word_of};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sillok_did_method::{OperationError, check_policy};
use sillok_proto::v1;
use std::path::Path;
use std::time::Duration;

const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Longest schema or template that is hashed, in bytes.
const HASHED_BYTES_MAX: u64 = 16 * 1024 * 1024;
const FILE: &str = "the description of a credential type; docs/client.md has an example";

/// Why a file describes no type.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TypeFileError {
    /// A file that cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not JSON of this form.
    #[error("the description of the type: {source}; see docs/client.md for an example")]
    Json {
        /// Which field, and where.
        #[from]
        source: serde_json::Error,
    },
    /// Not exactly one of the two ways to give a hash.
    #[error("give `{field}File` or `{field}Hash`, one of them")]
    OneHash {
        /// `schema` or `render`.
        field: &'static str,
    },
    /// Not a SHA-256.
    #[error("`{field}Hash` is not 64 hex digits; give the SHA-256 of the file, or `{field}File`")]
    Hash {
        /// `schema` or `render`.
        field: &'static str,
    },
    /// A word that is none.
    #[error("`{field}`: {source}")]
    Word {
        /// Name of the field.
        field: &'static str,
        /// Which, and those there are.
        source: UnknownWord,
    },
    /// A word stands twice.
    #[error("`{field}` names {word} twice; name it once")]
    Twice {
        /// Name of the field.
        field: &'static str,
        /// The word.
        word: String,
    },
    /// Not a duration.
    #[error("`{field}`: {text:?} is no duration; write 30days, 5years or 90s")]
    Duration {
        /// Name of the field.
        field: &'static str,
        /// What stands there.
        text: String,
    },
    /// The ledger would refuse the policy.
    #[error("the policy would be refused: {0}")]
    Policy(#[from] OperationError),
}

/// A type as it stands in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TypeFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schema_hash: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schema_file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    render_hash: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    render_file: Option<String>,
    policy: PolicyFile,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PolicyFile {
    exclusive: bool,
    reasons: Vec<RuleFile>,
    channels: Vec<String>,
    #[serde(default)]
    assurance_levels: Vec<String>,
    #[serde(default)]
    key_algorithms: Vec<String>,
    #[serde(default)]
    purposes: Vec<String>,
    #[serde(default = "none")]
    validity_max: String,
    #[serde(default = "none")]
    renewal_window: String,
    #[serde(default = "none")]
    reservation_max: String,
    #[serde(default = "none")]
    approval_max: String,
    #[serde(default = "none")]
    backdating_max: String,
    #[serde(default = "none")]
    grace_max: String,
    #[serde(default)]
    reissue_after_expiry: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    reason: String,
    #[serde(default)]
    approvals: u32,
    #[serde(default)]
    replaces: bool,
}

fn none() -> String {
    "0s".to_owned()
}

impl TypeFile {
    /// Reads a file. It is no secret.
    ///
    /// # Errors
    ///
    /// [`TypeFileError::File`], [`TypeFileError::Json`].
    pub fn read(path: &Path) -> Result<Self, TypeFileError> {
        Self::parse(&private_file::read_public(path, FILE, FILE_BYTES_MAX)?)
    }

    /// Reads the JSON.
    ///
    /// # Errors
    ///
    /// [`TypeFileError::Json`]: a field is missing, unknown or of another form.
    pub fn parse(text: &str) -> Result<Self, TypeFileError> {
        Ok(serde_json::from_str(text)?)
    }

    /// What the ledger stores. Files that it names are read from `directory`.
    ///
    /// # Errors
    ///
    /// [`TypeFileError`]: the first thing that is wrong, also what the ledger would refuse.
    pub fn content(&self, directory: &Path) -> Result<v1::TypeVersion, TypeFileError> {
        let hash = |field, hash: &Option<String>, file: &Option<String>| match (hash, file) {
            (Some(text), None) => hex::decode(text)
                .ok()
                .filter(|bytes| bytes.len() == 32)
                .map(Some)
                .ok_or(TypeFileError::Hash { field }),
            (None, Some(name)) => {
                let path = directory.join(name);
                let text =
                    private_file::read_public(&path, "a schema or template", HASHED_BYTES_MAX)?;
                Ok(Some(Sha256::digest(text.as_bytes()).to_vec()))
            }
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(TypeFileError::OneHash { field }),
        };
        let schema_hash = hash("schema", &self.schema_hash, &self.schema_file)?
            .ok_or(TypeFileError::OneHash { field: "schema" })?;
        let render_hash = hash("render", &self.render_hash, &self.render_file)?.unwrap_or_default();
        let policy = self.policy.read()?;
        check_policy(&policy)?;
        Ok(v1::TypeVersion { schema_hash, render_hash, policy: Some(policy) })
    }

    /// The form of what is stored.
    #[must_use]
    pub fn of(content: &v1::TypeVersion) -> Self {
        let policy = content.policy.clone().unwrap_or_default();
        Self {
            schema_hash: Some(hex::encode(&content.schema_hash)),
            schema_file: None,
            render_hash: (!content.render_hash.is_empty())
                .then(|| hex::encode(&content.render_hash)),
            render_file: None,
            policy: PolicyFile::of(&policy),
        }
    }

    /// The JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        // Text, numbers and lists have a JSON form.
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// A word of a set, each at most once.
fn words<W: Word>(field: &'static str, texts: &[String]) -> Result<Vec<W>, TypeFileError> {
    let mut all = Vec::with_capacity(texts.len());
    for (place, text) in texts.iter().enumerate() {
        if texts.iter().take(place).any(|before| before == text) {
            return Err(TypeFileError::Twice { field, word: text.clone() });
        }
        all.push(W::parse(text).map_err(|source| TypeFileError::Word { field, source })?);
    }
    Ok(all)
}

fn milliseconds(field: &'static str, text: &str) -> Result<u64, TypeFileError> {
    let wrong = || TypeFileError::Duration { field, text: text.to_owned() };
    let duration = humantime::parse_duration(text).map_err(|_| wrong())?;
    u64::try_from(duration.as_millis()).map_err(|_| wrong())
}

impl PolicyFile {
    fn read(&self) -> Result<v1::TypePolicy, TypeFileError> {
        let mut reasons = Vec::new();
        let names: Vec<String> = self.reasons.iter().map(|rule| rule.reason.clone()).collect();
        for (reason, rule) in words::<v1::Reason>("reasons", &names)?.into_iter().zip(&self.reasons)
        {
            reasons.push(v1::ReasonRule {
                reason: reason.into(),
                approvals: rule.approvals,
                replaces: rule.replaces,
            });
        }
        // In the file they stand as people like them.
        reasons.sort_by_key(|rule| rule.reason);
        Ok(v1::TypePolicy {
            exclusive: self.exclusive,
            reasons,
            channels: Word::mask(&words::<v1::Channel>("channels", &self.channels)?),
            assurance_levels: Word::mask(&words::<v1::AssuranceLevel>(
                "assuranceLevels",
                &self.assurance_levels,
            )?),
            key_algorithms: Word::mask(&words::<v1::Algorithm>(
                "keyAlgorithms",
                &self.key_algorithms,
            )?),
            purposes: Word::mask(&words::<v1::Purpose>("purposes", &self.purposes)?),
            validity_max_ms: milliseconds("validityMax", &self.validity_max)?,
            renewal_window_ms: milliseconds("renewalWindow", &self.renewal_window)?,
            reservation_max_ms: milliseconds("reservationMax", &self.reservation_max)?,
            approval_max_ms: milliseconds("approvalMax", &self.approval_max)?,
            backdating_max_ms: milliseconds("backdatingMax", &self.backdating_max)?,
            grace_max_ms: milliseconds("graceMax", &self.grace_max)?,
            reissue_after_expiry: self.reissue_after_expiry,
        })
    }

    fn of(policy: &v1::TypePolicy) -> Self {
        fn names<W: Word>(mask: u32) -> Vec<String> {
            W::of_mask(mask).into_iter().map(Word::word).collect()
        }
        let text = |ms| humantime::format_duration(Duration::from_millis(ms)).to_string();
        let rule = |rule: &v1::ReasonRule| RuleFile {
            reason: word_of::<v1::Reason>(rule.reason),
            approvals: rule.approvals,
            replaces: rule.replaces,
        };
        Self {
            exclusive: policy.exclusive,
            reasons: policy.reasons.iter().map(rule).collect(),
            channels: names::<v1::Channel>(policy.channels),
            assurance_levels: names::<v1::AssuranceLevel>(policy.assurance_levels),
            key_algorithms: names::<v1::Algorithm>(policy.key_algorithms),
            purposes: names::<v1::Purpose>(policy.purposes),
            validity_max: text(policy.validity_max_ms),
            renewal_window: text(policy.renewal_window_ms),
            reservation_max: text(policy.reservation_max_ms),
            approval_max: text(policy.approval_max_ms),
            backdating_max: text(policy.backdating_max_ms),
            grace_max: text(policy.grace_max_ms),
            reissue_after_expiry: policy.reissue_after_expiry,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the documents.
    fn example() -> String {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/resident-id.type.json");
        std::fs::read_to_string(path).unwrap()
    }

    fn examples() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples")
    }

    fn refused(from: &str, to: &str) -> TypeFileError {
        let text = example();
        assert!(text.contains(from), "{from}");
        let changed = text.replacen(from, to, 1);
        TypeFile::parse(&changed).and_then(|file| file.content(&examples())).unwrap_err()
    }

    #[test]
    fn the_example_is_a_type_and_is_shown_as_it_is_written() {
        let content = TypeFile::parse(&example()).unwrap().content(&examples()).unwrap();
        let policy = content.policy.as_ref().unwrap();
        assert!(policy.exclusive && policy.reasons.len() > 5);
        let schema = std::fs::read(examples().join("resident-id.schema.json")).unwrap();
        assert_eq!(content.schema_hash, Sha256::digest(schema).to_vec());
        let shown = TypeFile::of(&content).to_json().to_string();
        assert_eq!(TypeFile::parse(&shown).unwrap().content(&examples()).unwrap(), content);
    }

    #[test]
    fn a22_a_wrong_description_is_refused_by_the_name_of_its_field() {
        use TypeFileError as E;
        let error = refused("\"exclusive\"", "\"exclusiv\"");
        assert!(
            matches!(&error, E::Json { .. }) && error.to_string().contains("exclusiv"),
            "{error}"
        );
        let error = refused("\"first-issue\"", "\"first issue\"");
        assert!(matches!(&error, E::Word { field: "reasons", .. }), "{error}");
        assert!(error.to_string().contains("lost-device"), "names those there are: {error}");
        let error = refused("\"lost-device\"", "\"first-issue\"");
        assert!(matches!(&error, E::Twice { field: "reasons", .. }), "{error}");
        let error = refused("\"validityMax\": \"", "\"validityMax\": \"about ");
        assert!(matches!(&error, E::Duration { field: "validityMax", .. }), "{error}");
        let error = refused("resident-id.schema.json", "nothing.json");
        assert!(matches!(&error, E::File(_)), "{error}");
        let error = refused("\"schemaFile\"", "\"schemaHash\"");
        assert!(matches!(&error, E::Hash { field: "schema" }), "{error}");
        let error = refused("\"schemaFile\"", "\"renderFile\"");
        assert!(matches!(&error, E::OneHash { field: "schema" }), "{error}");
        let error = refused("\"validityMax\": \"", "\"validityMax\": \"1000");
        assert!(matches!(&error, E::Policy(_)), "{error}");
    }
}
