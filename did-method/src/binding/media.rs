//! What the caller accepts (RFC 9110 §12.5.1), and so which form the answer has.
//!
//! DID Core 1.1 has one media type for documents. Those of 1.0 are gone from it and still sent by most clients, so they are
//! other names for the same bytes.

use crate::view::DID_MEDIA_TYPE;

/// A DID resolution result: document and both kinds of metadata.
pub const RESOLUTION_MEDIA_TYPE: &str = "application/did-resolution";
/// A DID URL dereferencing result.
pub const DEREFERENCING_MEDIA_TYPE: &str = "application/did-url-dereferencing";
/// The URL of a service.
pub const URI_LIST_MEDIA_TYPE: &str = "text/uri-list";
/// What resolution results were called before, as clients of old deployments still do.
pub const JSON_LD_RESOLUTION: &str =
    "application/ld+json;profile=\"https://w3id.org/did-resolution\"";

/// What the documents of DID Core 1.0 were called.
const OLD_DOCUMENT_TYPES: [&str; 3] =
    ["application/did+json", "application/did+ld+json", "application/ld+json"];

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The full result of a resolution.
    Resolution,
    /// The full result of a dereferencing.
    Dereferencing,
    /// The document or its part alone, under this name.
    Document(&'static str),
    /// Where a service is: 303.
    UriList,
}

/// What is offered to a question, the first being what is sent where the caller does not say.
pub(super) fn offers(dereferences: bool, service: bool) -> Vec<(&'static str, Form)> {
    let mut offers = Vec::new();
    if !dereferences {
        offers.push((RESOLUTION_MEDIA_TYPE, Form::Resolution));
    }
    offers.push((DEREFERENCING_MEDIA_TYPE, Form::Dereferencing));
    offers.push((DID_MEDIA_TYPE, Form::Document(DID_MEDIA_TYPE)));
    if !dereferences {
        offers.push((JSON_LD_RESOLUTION, Form::Resolution));
    }
    offers.extend(OLD_DOCUMENT_TYPES.map(|name| (name, Form::Document(name))));
    if service {
        offers.push((URI_LIST_MEDIA_TYPE, Form::UriList));
    }
    offers
}

/// The offer that the caller prefers, by its media type; among equals the first. `None`: it accepts none of them.
#[must_use]
pub fn negotiate<F: Copy>(accept: Option<&str>, offers: &[(&'static str, F)]) -> Option<F> {
    let accept = accept.map(str::trim).filter(|accept| !accept.is_empty()).unwrap_or("*/*");
    let ranges: Vec<Range<'_>> = split(accept, ',').filter_map(Range::parse).collect();
    let mut best: Option<(u16, F)> = None;
    for (media_type, form) in offers {
        // The most specific range speaks for the offer.
        let range = ranges.iter().filter(|range| range.covers(media_type));
        let weight = range.max_by_key(|range| range.specificity()).map_or(0, |range| range.weight);
        if weight > best.as_ref().map_or(0, |(weight, _)| *weight) {
            best = Some((weight, *form));
        }
    }
    best.map(|(_, form)| form)
}

/// Does the caller rather have the body compressed with gzip, by its `Accept-Encoding` (RFC 9110 §12.5.3)? Not where it
/// says nothing.
#[must_use]
pub fn accepts_gzip(accept_encoding: Option<&str>) -> bool {
    let (mut gzip, mut identity, mut any) = (None, None, None);
    for element in split(accept_encoding.unwrap_or_default(), ',') {
        let mut parts = element.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        let Some(quality) = quality.map_or(Some(1000), weight) else { continue };
        match coding.as_str() {
            "gzip" | "x-gzip" => gzip = Some(quality),
            "identity" => identity = Some(quality),
            "*" => any = Some(quality),
            _ => {}
        }
    }
    let gzip = gzip.or(any).unwrap_or(0);
    gzip > 0 && gzip >= identity.unwrap_or(0)
}

/// One element of an `Accept` header.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    profile: Option<&'a str>,
    /// In thousandths.
    weight: u16,
}

impl<'a> Range<'a> {
    /// What is no media range is passed over: Java's own client sends a lone `*`.
    fn parse(element: &'a str) -> Option<Self> {
        let mut parts = split(element, ';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let mut range = Self { kind, subtype, profile: None, weight: 1000 };
        for parameter in parts {
            let Some((name, value)) = parameter.split_once('=') else { continue };
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => range.weight = weight(value)?,
                "profile" => range.profile = Some(value.trim_matches('"')),
                _ => {}
            }
        }
        Some(range)
    }

    fn covers(&self, offer: &str) -> bool {
        let (essence, profile) = offer.split_once(";profile=").unwrap_or((offer, ""));
        let Some((kind, subtype)) = essence.split_once('/') else { return false };
        let exactly = |range: &str, offered: &str| range.eq_ignore_ascii_case(offered);
        if self.kind == "*" && self.subtype == "*" {
            return true;
        }
        if !exactly(self.kind, kind) {
            return false;
        }
        // With a profile it is another thing, which only who names the profile means.
        self.subtype == "*"
            || (exactly(self.subtype, subtype)
                && self.profile.unwrap_or_default() == profile.trim_matches('"'))
    }

    fn specificity(&self) -> u8 {
        match (self.kind, self.subtype, self.profile) {
            ("*", ..) => 0,
            (_, "*", _) => 1,
            (_, _, None) => 2,
            (_, _, Some(_)) => 3,
        }
    }
}

/// `0.25` as 250. More than three decimals are cut.
fn weight(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let whole = match whole {
        "" | "0" => 0,
        "1" => 1000,
        _ => return None,
    };
    let mut fraction = 0_u16;
    for place in 0..3 {
        let digit = match decimals.as_bytes().get(place) {
            None => 0,
            Some(digit @ b'0'..=b'9') => u16::from(digit - b'0'),
            Some(_) => return None,
        };
        fraction = fraction * 10 + digit;
    }
    Some((whole + fraction).min(1000))
}

/// Splits where `separator` is outside of quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |character| {
        if character == '"' {
            quoted = !quoted;
        }
        character == separator && !quoted
    })
    .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_did(accept: &str) -> Option<Form> {
        negotiate(Some(accept), &offers(false, false))
    }

    const DOCUMENT: Form = Form::Document(DID_MEDIA_TYPE);

    #[test]
    fn what_is_not_said_is_a_full_result() {
        for accept in [None, Some(""), Some("*/*"), Some("application/*")] {
            assert_eq!(negotiate(accept, &offers(false, false)), Some(Form::Resolution));
            assert_eq!(negotiate(accept, &offers(true, true)), Some(Form::Dereferencing));
        }
    }

    #[test]
    fn each_media_type_has_its_form_and_old_names_are_answered_under_themselves() {
        assert_eq!(of_did("application/did-resolution"), Some(Form::Resolution));
        assert_eq!(of_did("application/did-url-dereferencing"), Some(Form::Dereferencing));
        assert_eq!(of_did("application/did"), Some(DOCUMENT));
        assert_eq!(of_did("Application/DID"), Some(DOCUMENT));
        assert_eq!(of_did("application/did;charset=utf-8"), Some(DOCUMENT));
        for old in OLD_DOCUMENT_TYPES {
            assert_eq!(of_did(old), Some(Form::Document(old)), "{old}");
        }
        for old in [
            JSON_LD_RESOLUTION,
            "application/ld+json; profile=\"https://w3id.org/did-resolution\"",
            "application/ld+json;profile=https://w3id.org/did-resolution",
        ] {
            assert_eq!(of_did(old), Some(Form::Resolution), "{old}");
        }
        assert_eq!(of_did("application/ld+json;profile=\"https://other\""), None);
    }

    #[test]
    fn what_is_not_offered_is_not_given() {
        for accept in [
            "text/html",
            "application/vc",
            "application/did+cbor",
            "application/did;q=0",
            "*/*;q=0",
            "text/*",
            "*",
            "nonsense",
            ",",
            "application/did;q=x",
        ] {
            assert_eq!(of_did(accept), None, "{accept}");
        }
        // A list of URLs is of services alone, and a resolution result of DIDs.
        assert_eq!(of_did("text/uri-list"), None);
        assert_eq!(negotiate(Some("text/uri-list"), &offers(true, true)), Some(Form::UriList));
        assert_eq!(negotiate(Some("text/uri-list"), &offers(true, false)), None);
        assert_eq!(negotiate(Some(RESOLUTION_MEDIA_TYPE), &offers(true, true)), None);
    }

    #[test]
    fn a_list_is_weighed_and_the_most_specific_range_counts() {
        // As Universal Resolver asks.
        assert_eq!(of_did("application/did-resolution,application/did"), Some(Form::Resolution));
        assert_eq!(of_did("application/did, application/did-resolution"), Some(Form::Resolution));
        assert_eq!(of_did("application/did, application/did-resolution;q=0.9"), Some(DOCUMENT));
        assert_eq!(of_did("text/html, application/did;q=0.001"), Some(DOCUMENT));
        assert_eq!(of_did("*/*;q=0.1, application/did;q=0.2"), Some(DOCUMENT));
        assert_eq!(of_did("*/*, application/did-resolution;q=0"), Some(Form::Dereferencing));
        assert_eq!(of_did("application/*;q=0.5, application/did"), Some(DOCUMENT));
        // As Java's own client asks.
        assert_eq!(
            of_did("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"),
            Some(Form::Resolution)
        );
        assert_eq!(of_did("a/b;x=\"q,q;q\", application/did"), Some(DOCUMENT));
    }

    #[test]
    fn gzip_is_what_the_caller_weighs_it() {
        for yes in [
            "gzip",
            "GZIP",
            "x-gzip",
            "*",
            "br, gzip;q=0.5",
            "gzip, deflate",
            "gzip;q=1.0, identity; q=0.5",
        ] {
            assert!(accepts_gzip(Some(yes)), "{yes}");
        }
        for no in [
            "",
            "identity",
            "br",
            "gzip;q=0",
            "*;q=0",
            "gzip;q=0, *",
            "gzip;q=0.5, identity",
            "gzip;q=x",
        ] {
            assert!(!accepts_gzip(Some(no)), "{no}");
        }
        assert!(!accepts_gzip(None));
    }

    #[test]
    fn a_weight_has_three_decimals() {
        let weights = ["1", "0", "0.5", "1.000", ".2", "0.1239", "1.5"].map(weight);
        assert_eq!(weights, [1000, 0, 500, 1000, 200, 123, 1000].map(Some));
        assert_eq!(["2", "-1", "0.x", "x"].map(weight), [None; 4]);
    }
}
