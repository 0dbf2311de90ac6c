//! DID URLs: a DID with path, query and fragment (DID Core 1.1 §3.2, the full grammar).
//!
//! The parser keeps the text as it came and reads the parameters once. Parameters are scalar and case-sensitive,
//! so a parameter given twice is an error and not a choice (DID Resolution 1.0, DID parameters). Of the paths and relative
//! references that the grammar allows, those that climb (`..`) are refused here, where every reader passes.
//! What a path, a query or a fragment selects is not decided here.

use crate::did::{Did, DidError};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A DID URL of this method.
#[derive(Clone, PartialEq, Eq)]
pub struct DidUrl {
    did: Did,
    // Empty, or beginning with `/`.
    path: String,
    query: Option<String>,
    fragment: Option<String>,
    // Read from `query`: names and values without percent-encoding.
    parameters: BTreeMap<String, String>,
}

/// The parts of a DID URL after the DID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlPart {
    /// After the DID, up to `?` or `#`.
    Path,
    /// After `?`, up to `#`.
    Query,
    /// After `#`.
    Fragment,
    /// The value of the parameter `relativeRef`, without percent-encoding.
    RelativeReference,
}

impl fmt::Display for UrlPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Fragment => "fragment",
            Self::RelativeReference => "relative reference",
        })
    }
}

/// Why text is not a DID URL of this method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DidUrlError {
    /// The part before path, query and fragment is not a DID of this method.
    #[error(transparent)]
    Did {
        /// What is wrong with it.
        #[from]
        source: DidError,
    },
    /// A character that the part does not have.
    #[error("the {part} has the character 0x{byte:02x}; percent-encode it")]
    Character {
        /// Where.
        part: UrlPart,
        /// The first such byte.
        byte: u8,
    },
    /// A percent sign without two hexadecimal digits.
    #[error("the {part} has a percent sign without two hexadecimal digits; write it as %25")]
    PercentEncoding {
        /// Where.
        part: UrlPart,
    },
    /// A segment `.` or `..`, plain or percent-encoded.
    #[error("the {part} has a segment . or ..; write the path it leads to")]
    DotSegment {
        /// Where.
        part: UrlPart,
    },
    /// One parameter more than once.
    #[error("a parameter stands in the query more than once; give it one value")]
    DuplicateParameter,
    /// A parameter whose name or value is not UTF-8 once decoded.
    #[error("a parameter is not UTF-8 text; percent-encode the UTF-8 form of its value")]
    ParameterNotText,
    /// A `relativeRef` that would leave the service it is relative to.
    #[error("relativeRef names a scheme or a host; give a path, query or fragment only")]
    NotRelative,
}

impl DidUrl {
    /// Parses a DID URL. A bare DID is one.
    ///
    /// # Errors
    ///
    /// [`DidUrlError`].
    pub fn parse(text: &str) -> Result<Self, DidUrlError> {
        let did_end = text.find(['/', '?', '#']).unwrap_or(text.len());
        let (did, rest) = text.split_at(did_end);
        let did = Did::parse(did)?;
        let (rest, fragment) = match rest.split_once('#') {
            Some((rest, fragment)) => (rest, Some(fragment)),
            None => (rest, None),
        };
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        check_characters(UrlPart::Path, path, b"/")?;
        check_characters(UrlPart::Query, query.unwrap_or_default(), b"/?")?;
        check_characters(UrlPart::Fragment, fragment.unwrap_or_default(), b"/?")?;
        check_dot_segments(UrlPart::Path, path)?;
        Ok(Self {
            did,
            path: path.to_owned(),
            query: query.map(str::to_owned),
            fragment: fragment.map(str::to_owned),
            parameters: parse_parameters(query.unwrap_or_default())?,
        })
    }

    /// The DID.
    #[must_use]
    pub const fn did(&self) -> &Did {
        &self.did
    }

    /// The path as written: empty, or beginning with `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The query as written, without `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// The fragment as written, without `#`.
    #[must_use]
    pub fn fragment(&self) -> Option<&str> {
        self.fragment.as_deref()
    }

    /// The value of a parameter (`versionId`, `versionTime`, `service`, `relativeRef`, …), decoded. Names are
    /// case-sensitive.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// All parameters, by name.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Checks that `text` has only `pchar` (RFC 3986 §3.3) and `more`.
fn check_characters(part: UrlPart, text: &str, more: &[u8]) -> Result<(), DidUrlError> {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => {}
            b'-' | b'.' | b'_' | b'~' | b':' | b'@' => {}
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => {}
            b'%' => {
                let hex = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
                if !(hex(bytes.next()) && hex(bytes.next())) {
                    return Err(DidUrlError::PercentEncoding { part });
                }
            }
            _ if more.contains(&byte) => {}
            _ => return Err(DidUrlError::Character { part, byte }),
        }
    }
    Ok(())
}

/// Refuses `.` and `..` in `path`, also where a percent-encoded dot, slash or backslash would make one of them for
/// a careless reader (DID Resolution 1.0, "Path Traversal").
fn check_dot_segments(part: UrlPart, path: &str) -> Result<(), DidUrlError> {
    let decoded = percent_decode(path);
    let climbs = decoded
        .split(|byte| matches!(byte, b'/' | b'\\'))
        .any(|segment| segment == b"." || segment == b"..");
    if climbs { Err(DidUrlError::DotSegment { part }) } else { Ok(()) }
}

/// Splits first and decodes then, so that `%26` and `%3D` stay inside the value they were written in.
fn parse_parameters(query: &str) -> Result<BTreeMap<String, String>, DidUrlError> {
    let mut parameters = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let text = |encoded: &str| {
            String::from_utf8(percent_decode(encoded)).map_err(|_| DidUrlError::ParameterNotText)
        };
        let (name, value) = (text(name)?, text(value)?);
        if name == "relativeRef" {
            check_relative_reference(&value)?;
        }
        if parameters.insert(name, value).is_some() {
            return Err(DidUrlError::DuplicateParameter);
        }
    }
    Ok(parameters)
}

/// A relative reference (RFC 3986 §4.2) with neither scheme nor host: added to an endpoint, it stays there.
fn check_relative_reference(reference: &str) -> Result<(), DidUrlError> {
    let part = UrlPart::RelativeReference;
    let (rest, fragment) = reference.split_once('#').unwrap_or((reference, ""));
    check_characters(part, rest, b"/?")?;
    check_characters(part, fragment, b"/?")?;
    let path = rest.split_once('?').map_or(rest, |(path, _)| path);
    let first_segment = path.split('/').next().unwrap_or(path);
    if path.starts_with("//") || first_segment.contains(':') {
        return Err(DidUrlError::NotRelative);
    }
    check_dot_segments(part, path)
}

/// Decodes text whose percent signs are known to be followed by two hexadecimal digits; others stay as they are.
#[must_use]
pub fn percent_decode(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let mut byte = *first;
        if let (b'%', [high, low, tail @ ..]) = (byte, tail)
            && let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low))
        {
            byte = high << 4 | low;
            rest = tail;
        }
        decoded.push(byte);
    }
    decoded
}

const fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

impl fmt::Display for DidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.did, self.path)?;
        if let Some(query) = &self.query {
            write!(f, "?{query}")?;
        }
        if let Some(fragment) = &self.fragment {
            write!(f, "#{fragment}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for DidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for DidUrl {
    type Err = DidUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl From<Did> for DidUrl {
    fn from(did: Did) -> Self {
        let parameters = BTreeMap::new();
        Self { did, path: String::new(), query: None, fragment: None, parameters }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sillok_proto::Hash;

    fn did() -> Did {
        Did::new("devnet", Hash([7; 32])).unwrap()
    }

    /// Parses `<did><rest>`.
    fn parse(rest: &str) -> Result<DidUrl, DidUrlError> {
        DidUrl::parse(&format!("{}{rest}", did()))
    }

    #[test]
    fn a_did_url_has_path_query_and_fragment() {
        let check = |rest: &str, path: &str, query: Option<&str>, fragment: Option<&str>| {
            let url = parse(rest).unwrap();
            assert_eq!(
                (url.path(), url.query(), url.fragment()),
                (path, query, fragment),
                "{rest}"
            );
            assert_eq!(url.did(), &did());
            assert_eq!(url.to_string(), format!("{}{rest}", did()));
        };
        check("", "", None, None);
        check("?", "", Some(""), None);
        check("#", "", None, Some(""));
        check("/", "/", None, None);
        check("/a/b;c=1,2/:@!$&'()*+", "/a/b;c=1,2/:@!$&'()*+", None, None);
        check("//a//", "//a//", None, None);
        check("/a?b#c", "/a", Some("b"), Some("c"));
        check("?a/b?c", "", Some("a/b?c"), None);
        check("#a/b?c", "", None, Some("a/b?c"));
        check("?versionId=2#key", "", Some("versionId=2"), Some("key"));
        check("/%41%e3%81%82", "/%41%e3%81%82", None, None);
        check("#%23", "", None, Some("%23"));
        check("/..a/...", "/..a/...", None, None);
    }

    #[test]
    fn parameters_are_scalar_case_sensitive_and_decoded_once() {
        let url = parse(
            "?versionId=2&VersionId=3&service=a%26b%3Dc&x=%2541&flag&relativeRef=%2Fp%3Fq%3D1%23f&",
        )
        .unwrap();
        let expected = [
            ("VersionId", "3"),
            ("flag", ""),
            ("relativeRef", "/p?q=1#f"),
            ("service", "a&b=c"),
            ("versionId", "2"),
            ("x", "%41"),
        ];
        assert_eq!(url.parameters().collect::<Vec<_>>(), expected);
        assert_eq!(url.parameter("versionId"), Some("2"));
        assert_eq!(url.parameter("versionid"), None);
        assert_eq!(
            parse("?versionTime=2026-11-21T09:00:00Z").unwrap().parameter("versionTime"),
            Some("2026-11-21T09:00:00Z")
        );
        assert_eq!(parse("?a=1+2").unwrap().parameter("a"), Some("1+2"), "a plus is no space");
    }

    #[test]
    fn a_parameter_given_twice_is_refused() {
        for query in [
            "?versionId=1&versionId=2",
            "?versionId=1&versionId=1",
            "?versionTime=2026-11-21T09:00:00Z&versionTime=2026-11-21T09:00:00Z",
            "?service=a&x=1&service=a",
            "?relativeRef=%2Fa&relativeRef=%2Fa",
            // Normalization: %49 is I.
            "?versionId=1&version%49d=2",
            "?x&x",
        ] {
            assert_eq!(parse(query), Err(DidUrlError::DuplicateParameter), "{query}");
        }
    }

    #[test]
    fn characters_outside_the_grammar_are_refused() {
        let check = |rest: &str, part, byte| {
            assert_eq!(parse(rest), Err(DidUrlError::Character { part, byte }), "{rest}");
        };
        check("/a b", UrlPart::Path, b' ');
        check("/a\\b", UrlPart::Path, b'\\');
        check("/[", UrlPart::Path, b'[');
        check("/\u{ac00}", UrlPart::Path, 0xea);
        check("/a\0", UrlPart::Path, 0);
        check("?a=\"", UrlPart::Query, b'"');
        check("?a\n", UrlPart::Query, b'\n');
        check("#a#b", UrlPart::Fragment, b'#');
        check("#<script>", UrlPart::Fragment, b'<');
        check("?relativeRef=a%0d%0aSet-Cookie:%20x", UrlPart::RelativeReference, b'\r');
        for (rest, part) in [
            ("/%", UrlPart::Path),
            ("/%4", UrlPart::Path),
            ("/%4g", UrlPart::Path),
            ("?%zz", UrlPart::Query),
            ("#%", UrlPart::Fragment),
            ("?relativeRef=%25", UrlPart::RelativeReference),
        ] {
            assert_eq!(parse(rest), Err(DidUrlError::PercentEncoding { part }), "{rest}");
        }
        assert_eq!(parse("?a=%ff"), Err(DidUrlError::ParameterNotText));
        assert_eq!(parse("?%c3=1"), Err(DidUrlError::ParameterNotText));
    }

    #[test]
    fn path_traversal_is_refused() {
        for path in [
            "/..",
            "/.",
            "/../x",
            "/a/../../etc/passwd",
            "/a/./b",
            "/%2e%2e/x",
            "/.%2E/x",
            "/a%2f..%2fb",
            "/..%5cx",
        ] {
            let part = UrlPart::Path;
            assert_eq!(parse(path), Err(DidUrlError::DotSegment { part }), "{path}");
        }
        for reference in
            ["..", "%2E%2E", "%2Fa%2F..%2F..", "a%2F.", "%252e%252e%2Fx", "a%2F..%255cb", "..%3Fq"]
        {
            let part = UrlPart::RelativeReference;
            let query = format!("?service=x&relativeRef={reference}");
            assert_eq!(parse(&query), Err(DidUrlError::DotSegment { part }), "{query}");
        }
    }

    #[test]
    fn a_relative_reference_does_not_leave_its_service() {
        for reference in [
            "https:%2F%2Fevil.example",
            "//evil.example",
            "%2F%2Fevil.example",
            "javascript:alert(1)",
            "a:b",
        ] {
            let query = format!("?relativeRef={reference}");
            assert_eq!(parse(&query), Err(DidUrlError::NotRelative), "{query}");
        }
        for reference in ["", "a", "%2Fa%2Fb", "a%2Fb:c", "%3Fa:b", "%23a", "?q=..", "a..b"] {
            assert!(parse(&format!("?relativeRef={reference}")).is_ok(), "{reference}");
        }
    }

    #[test]
    fn the_did_in_front_must_be_one_of_this_method() {
        let check = |text: &str, source| {
            assert_eq!(DidUrl::parse(text), Err(DidUrlError::Did { source }), "{text}");
        };
        check("", DidError::NotADid { reason: "it does not begin with did:" });
        check("/did:sillok:devnet:z", DidError::NotADid { reason: "it does not begin with did:" });
        check("did:example:123?versionId=1", DidError::OtherMethod);
        check("did:sillok:devnet?versionId=1", DidError::Parts { parts: 1 });
        check("did:sillok:devnet:/path", DidError::NotADid { reason: "the last part is empty" });
    }
}
