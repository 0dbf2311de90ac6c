//! The options of resolving and dereferencing: from the query, from the parameters of the DID URL, or from a JSON body.
//!
//! `?versionId=2` may be a parameter of the DID URL or an option of the request. Both mean the same, so they are one map:
//! each name has one value, and two values that differ are an error.

use super::Problem;
use crate::datetime::parse_datetime;
use crate::did_url::{DidUrl, percent_decode};
use crate::view::ResolutionError;
use serde_json::Value;
use std::collections::BTreeMap;

/// Every option that is known. Names are case-sensitive.
const KNOWN: [&str; 6] = [
    "accept",
    "expandRelativeUrls",
    "noCache",
    "verificationRelationship",
    "versionId",
    "versionTime",
];

/// Which version of a DID is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedVersion {
    /// The one in force.
    Current,
    /// The one of this number.
    Version(u64),
    /// The newest from before this time, in milliseconds.
    Before(u64),
}

impl AskedVersion {
    /// Of `versionId` and `versionTime`.
    ///
    /// # Errors
    ///
    /// `INVALID_OPTIONS`, in words.
    pub fn read(id: Option<&str>, time: Option<&str>) -> Result<Self, String> {
        match (id, time) {
            (None, None) => Ok(Self::Current),
            (Some(id), None) => {
                let digits = !id.starts_with('0') && id.bytes().all(|byte| byte.is_ascii_digit());
                id.parse().ok().filter(|_| digits).map(Self::Version).ok_or_else(|| {
                    "the versionId is not a version number such as 3; give the versionId of the metadata"
                        .to_owned()
                })
            }
            (None, Some(time)) => {
                parse_datetime(time).map(Self::Before).map_err(|error| error.to_string())
            }
            (Some(_), Some(_)) => {
                Err("versionId and versionTime exclude each other; give one of them".to_owned())
            }
        }
    }
}

/// A verification relationship of DID Core 1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relationship(&'static str);

impl Relationship {
    const ALL: [&'static str; 5] = [
        "authentication",
        "assertionMethod",
        "keyAgreement",
        "capabilityInvocation",
        "capabilityDelegation",
    ];

    /// Its name, which is that of the member of the document.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0
    }
}

/// The options of one request.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) version: AskedVersion,
    /// Instead of the header.
    pub(super) accept: Option<String>,
    pub(super) relationship: Option<Relationship>,
}

/// Is the query one URL-encoded JSON object? Universal Resolver sends options like that where one is no text.
pub(super) fn is_json(query: &str) -> bool {
    query.starts_with('{') || query.to_ascii_uppercase().starts_with("%7B")
}

/// Is a parameter of a DID URL an option?
pub(super) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}

/// Reads the options from the DID URL, from a query that is not part of it, and from a body.
pub(super) fn read(
    url: &DidUrl,
    query: Option<&str>,
    body: Option<&[u8]>,
) -> Result<Options, Problem> {
    let mut values = BTreeMap::new();
    for (name, value) in url.parameters().filter(|(name, _)| is_known(name)) {
        values.insert(name.to_owned(), value.to_owned());
    }
    match query {
        Some(query) if is_json(query) => add_json(&mut values, &percent_decode(query))?,
        Some(query) => {
            for pair in query.split('&').filter(|pair| !pair.is_empty()) {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                add(&mut values, text(name)?, text(value)?)?;
            }
        }
        None => {}
    }
    if let Some(body) = body.filter(|body| !body.iter().all(u8::is_ascii_whitespace)) {
        add_json(&mut values, body)?;
    }
    let get = |name: &str| values.get(name).map(String::as_str);
    // Nothing is cached here and no URL of ours is relative, so both answers to each of these are the same.
    for switch in ["noCache", "expandRelativeUrls"] {
        if !matches!(get(switch), None | Some("true" | "false")) {
            return Err(invalid(format!("{switch} is neither true nor false; give one of them")));
        }
    }
    let version = AskedVersion::read(get("versionId"), get("versionTime")).map_err(invalid)?;
    let relationship = get("verificationRelationship")
        .map(|asked| {
            let known = Relationship::ALL.into_iter().find(|name| *name == asked);
            known.map(Relationship).ok_or_else(|| {
                invalid(format!(
                    "the verificationRelationship is not one of DID Core; give {}",
                    Relationship::ALL.join(", ")
                ))
            })
        })
        .transpose()?;
    if relationship.is_some() && url.fragment().is_none() {
        return Err(invalid(
            "verificationRelationship is for a verification method; give a DID URL with its fragment",
        ));
    }
    Ok(Options { version, accept: values.remove("accept"), relationship })
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(ResolutionError::InvalidOptions, detail)
}

fn text(encoded: &str) -> Result<String, Problem> {
    String::from_utf8(percent_decode(encoded)).map_err(|_| {
        invalid("an option is not UTF-8 text; percent-encode the UTF-8 form of its value")
    })
}

fn add(values: &mut BTreeMap<String, String>, name: String, value: String) -> Result<(), Problem> {
    if !is_known(&name) {
        return Err(Problem::new(
            ResolutionError::FeatureNotSupported,
            format!(
                "an option is none of those that this resolver has: {}; leave it out",
                KNOWN.join(", ")
            ),
        ));
    }
    match values.insert(name, value.clone()) {
        Some(before) if before != value => {
            Err(invalid("an option is given twice, with two values; give it one"))
        }
        _ => Ok(()),
    }
}

fn add_json(values: &mut BTreeMap<String, String>, bytes: &[u8]) -> Result<(), Problem> {
    let Ok(Value::Object(members)) = serde_json::from_slice(bytes) else {
        return Err(invalid(
            "the options are no JSON object; send one, such as {\"versionId\":\"2\"}",
        ));
    };
    for (name, value) in members {
        let value = match value {
            Value::String(text) => text,
            Value::Bool(value) => value.to_string(),
            // 3 for "3": it is clear what is meant.
            Value::Number(number) if name == "versionId" => number.to_string(),
            _ => return Err(invalid("the value of an option is neither text nor true or false")),
        };
        add(values, name, value)?;
    }
    Ok(())
}
