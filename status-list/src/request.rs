//! What is asked for over HTTP: which list, of which moment, in which form; and why it is refused.
//!
//! The standards ask for a moment by `time` (Token Status List) and `timestamp` (Bitstring Status List); `height` and
//! `known_at` are ours, and name one state for good.

use crate::document::{
    CREDENTIAL_MEDIA_TYPE, JSON_MEDIA_TYPE, SIGNED_CREDENTIAL_MEDIA_TYPE, TOKEN_MEDIA_TYPE, View,
};
use serde_json::{Map, Value, json};
use sillok_did_method::binding::{accepts_gzip, ascii, negotiate};
use sillok_did_method::did_url::percent_decode;
use sillok_did_method::parse_datetime;
use sillok_proto::{Hash, v1};
use std::collections::BTreeMap;

/// Longest query that is read, in bytes.
const QUERY_BYTES_MAX: usize = 256;
/// Other names of a credential that is not signed.
const OLD_CREDENTIAL_TYPES: [&str; 2] = ["application/ld+json", JSON_MEDIA_TYPE];

/// The parts of an HTTP request that are read.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListRequest<'a> {
    /// The path.
    pub path: &'a str,
    /// After `?`, as sent.
    pub query: Option<&'a str>,
    /// The `Accept` headers, joined by commas.
    pub accept: Option<&'a str>,
    /// The `Accept-Encoding` headers, joined by commas.
    pub accept_encoding: Option<&'a str>,
    /// The `If-None-Match` headers, joined by commas.
    pub if_none_match: Option<&'a str>,
}

/// Which moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// Now: the last block.
    Now,
    /// After this block.
    Height(u64),
    /// The last block up to this time, in seconds, by what is known now or was known at a height.
    Time {
        /// The time.
        time_s: u64,
        /// The height.
        known_at: Option<u64>,
    },
}

impl Asked {
    /// As nodes are asked.
    #[must_use]
    pub fn to_message(self) -> Option<v1::Moment> {
        let moment = match self {
            Self::Now => return None,
            Self::Height(height) => v1::moment::Moment::Height(height),
            Self::Time { time_s, known_at } => {
                let time_ms = time_s.saturating_mul(1000);
                v1::moment::Moment::Time(v1::KnownTime { time_ms, known_at })
            }
        };
        Some(v1::Moment { moment: Some(moment) })
    }

    /// The time that was asked for, in seconds.
    #[must_use]
    pub const fn time_s(self) -> Option<u64> {
        match self {
            Self::Time { time_s, .. } => Some(time_s),
            Self::Now | Self::Height(_) => None,
        }
    }
}

/// The form of an answer.
#[derive(Debug, Clone, Copy)]
struct Form {
    media_type: &'static str,
    is_signed: bool,
}

/// What the bytes of an answer follow from: it is made once, by whatever names it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Content {
    /// The list.
    pub list: Hash,
    /// Which of its lists.
    pub view: View,
    /// Which moment.
    pub asked: Asked,
    /// Signed, or with our proof.
    pub is_signed: bool,
    /// Compressed once more.
    pub gzip: bool,
}

/// A question that is in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// What is asked for.
    pub content: Content,
    /// By which media type.
    pub media_type: &'static str,
}

/// Why there is no list.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The status code.
    pub status: u16,
    /// The rule, for programs.
    pub code: &'static str,
    /// What is so, and what to do.
    pub detail: String,
    /// More that a program needs.
    pub members: Map<String, Value>,
}

impl Refusal {
    /// Without more members.
    #[must_use]
    pub fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), members: Map::new() }
    }

    /// One more member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// We are wrong. What happened is not for the caller.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(500, "INTERNAL_ERROR", "this door failed to answer; try again or ask another")
    }

    /// There is no such list, at the moment that was asked about. With `proof`, of that.
    #[must_use]
    pub fn unknown_list(proof: Value) -> Self {
        let detail = "there is no such list at that moment; look at its URI, or ask about later";
        Self::new(404, "UNKNOWN_LIST", detail).with("proof", proof)
    }

    /// What a node says to a question about a moment, by its code: `fields` as they stand in its error.
    #[must_use]
    pub fn of_node(code: &str, message: &str, fields: &BTreeMap<String, String>) -> Self {
        let refusal = match code {
            "HISTORY_PRUNED" => {
                let archives = fields.get("archives").map_or("", String::as_str);
                let archives: Vec<&str> =
                    archives.split(',').filter(|name| !name.is_empty()).collect();
                Self::new(404, "HISTORY_PRUNED", message).with("archives", archives)
            }
            "BEFORE_GENESIS" => Self::new(404, "BEFORE_GENESIS", message),
            // A moment that has not come, or that this node has not reached.
            "STALE" => Self::new(404, "STALE", message),
            "INVALID_MOMENT" => Self::new(400, "INVALID_QUERY", message),
            "JOINING" => Self::new(503, "JOINING", message),
            "TOO_MANY_EXPORTS" => Self::new(503, "BUSY", message),
            _ => return Self::internal(),
        };
        match fields.get("height") {
            Some(height) => refusal.with("height", height.as_str()),
            None => refusal,
        }
    }

    /// The same where nothing but the present was asked about, or whether to sign: that there is none is never final.
    #[must_use]
    pub fn for_now(self) -> Self {
        let status = if self.status < 500 { 503 } else { self.status };
        Self { status, ..self }
    }

    /// Problem details (RFC 9457).
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let title = match self.status {
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            406 => "Not Acceptable",
            503 => "Service Unavailable",
            _ => "Internal Server Error",
        };
        let mut problem = json!({
            "type": "about:blank",
            "title": title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
        });
        if let Some(members) = problem.as_object_mut() {
            members.extend(self.members.clone());
        }
        ascii(&problem)
    }
}

/// The list of a path below that of all lists; `None`: the path is not one of a list.
#[must_use]
pub fn read_path(base: &str, path: &str) -> Option<(Hash, View)> {
    let rest = path.strip_prefix(base)?;
    let (name, suffix) = rest.split_at_checked(64)?;
    let view = [View::Token, View::Revocation, View::Suspension]
        .into_iter()
        .find(|view| view.suffix() == suffix)?;
    // One list has one URI.
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    Some((Hash::from_slice(&hex::decode(name).ok()?)?, view))
}

/// Reads a request about a list whose path was read. `signs`: does this door sign?
///
/// # Errors
///
/// [`Refusal`].
pub fn read(
    (list, view): (Hash, View),
    signs: bool,
    request: &ListRequest<'_>,
) -> Result<Question, Refusal> {
    let asked = read_query(request.query.unwrap_or_default())?;
    let Form { media_type, is_signed } = read_form(view, signs, request.accept)?;
    let gzip = accepts_gzip(request.accept_encoding);
    Ok(Question { content: Content { list, view, asked, is_signed, gzip }, media_type })
}

fn offers(view: View, signs: bool) -> Vec<(&'static str, Form)> {
    let form = |media_type, is_signed| (media_type, Form { media_type, is_signed });
    let mut offers = Vec::new();
    match view {
        View::Token => {
            offers.extend(signs.then(|| form(TOKEN_MEDIA_TYPE, true)));
            offers.push(form(JSON_MEDIA_TYPE, false));
        }
        View::Revocation | View::Suspension => {
            offers.extend(signs.then(|| form(SIGNED_CREDENTIAL_MEDIA_TYPE, true)));
            offers.push(form(CREDENTIAL_MEDIA_TYPE, false));
            offers.extend(OLD_CREDENTIAL_TYPES.map(|name| form(name, false)));
        }
    }
    offers
}

fn read_form(view: View, signs: bool, accept: Option<&str>) -> Result<Form, Refusal> {
    let here = offers(view, signs);
    if let Some(form) = negotiate(accept, &here) {
        return Ok(form);
    }
    let names: Vec<&str> = here.iter().map(|(name, _)| *name).collect();
    let there = negotiate(accept, &offers(view, true));
    let refusal = match there {
        Some(form) => Refusal::new(
            406,
            "NOT_SIGNED_HERE",
            format!(
                "{} is signed, and this node signs no lists; ask a status issuer, or for {}, which carries its proof",
                form.media_type, names[0]
            ),
        ),
        None => Refusal::new(
            406,
            "NOT_ACCEPTABLE",
            format!("none of the accepted media types is offered; ask for {}", names.join(", ")),
        ),
    };
    Err(refusal.with("offered", names))
}

fn read_query(query: &str) -> Result<Asked, Refusal> {
    let invalid = |detail: &str| Refusal::new(400, "INVALID_QUERY", detail);
    if query.len() > QUERY_BYTES_MAX {
        return Err(invalid("the query is longer than any that is known; ask for less"));
    }
    let (mut time_s, mut height, mut known_at) = (None, None, None);
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = String::from_utf8(percent_decode(value)).unwrap_or_default();
        let (place, read) = match name {
            "time" => (&mut time_s, number(&value)),
            "timestamp" => (&mut time_s, timestamp(&value)),
            "height" => (&mut height, number(&value)),
            "known_at" => (&mut known_at, number(&value)),
            _ => {
                return Err(invalid(
                    "a parameter is not known; those are time, timestamp, height and known_at",
                ));
            }
        };
        let read = read.ok_or_else(|| {
            invalid(
                "time is in seconds since 1970, timestamp as 2026-11-21T09:00:00Z or with a fraction and an offset, height and known_at are heights",
            )
        })?;
        if place.replace(read).is_some() {
            return Err(invalid("a moment is named twice; name it once"));
        }
    }
    match (time_s, height, known_at) {
        (None, None, None) => Ok(Asked::Now),
        (None, Some(height), None) => Ok(Asked::Height(height)),
        (Some(time_s), None, known_at) if time_s <= u64::MAX / 1000 => {
            Ok(Asked::Time { time_s, known_at })
        }
        _ => Err(invalid(
            "a moment is a time with or without known_at, or a height; name one of them",
        )),
    }
}

/// An XML Schema `dateTimeStamp`, as Bitstring Status List has it, in whole seconds: a fraction is cut off.
fn timestamp(text: &str) -> Option<u64> {
    let (seconds, rest) = text.split_at_checked(19)?;
    let local_s = parse_datetime(&format!("{seconds}Z")).ok()? / 1000;
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|digit: char| digit.is_ascii_digit());
            (zone.len() < fraction.len()).then_some(zone)?
        }
        None => rest,
    };
    if zone == "Z" {
        return Some(local_s);
    }
    let (sign, offset) = zone.split_at_checked(1)?;
    let (hours, minutes) = offset.split_once(':')?;
    if (hours.len(), minutes.len()) != (2, 2) {
        return None;
    }
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let offset_s = hours * 3_600 + minutes * 60;
    if minutes > 59 || offset_s > 14 * 3_600 {
        return None;
    }
    match sign {
        "+" => local_s.checked_sub(offset_s),
        "-" => local_s.checked_add(offset_s),
        _ => None,
    }
}

/// Digits alone: no sign, no space, nothing too large.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIST: Hash = Hash([0xab; 32]);

    fn query(query: &str) -> Result<Asked, &'static str> {
        read_query(query).map_err(|refusal| refusal.code)
    }

    #[test]
    fn a_path_is_a_list_and_one_of_its_views() {
        let name = LIST.to_string();
        let read = |path: String| read_path("/lists/", &path);
        assert_eq!(read(format!("/lists/{name}")), Some((LIST, View::Token)));
        assert_eq!(read(format!("/lists/{name}/revocation")), Some((LIST, View::Revocation)));
        assert_eq!(read(format!("/lists/{name}/suspension")), Some((LIST, View::Suspension)));
        assert_eq!(read_path("/", &format!("/{name}")), Some((LIST, View::Token)));
        for other in [
            format!("/lists/{}", name.to_uppercase()),
            format!("/lists/{name}/"),
            format!("/lists/{name}/message"),
            format!("/lists/{name}/revocation/4711"),
            format!("/lists/{name}/4711"),
            format!("/lists/{}", &name[1..]),
            format!("/lists/x{}", &name[1..]),
            format!("/{name}"),
            format!("/lists/{}\u{e9}", &name[1..]),
            String::new(),
        ] {
            assert_eq!(read(other.clone()), None, "{other}");
        }
    }

    #[test]
    fn a_moment_is_named_once_and_in_its_form() {
        let time = |known_at| Ok(Asked::Time { time_s: 1_795_251_600, known_at });
        assert_eq!(query(""), Ok(Asked::Now));
        assert_eq!(query("&"), Ok(Asked::Now));
        assert_eq!(query("time=1795251600"), time(None));
        assert_eq!(query("timestamp=2026-11-21T09:00:00Z"), time(None));
        assert_eq!(query("timestamp=2026-11-21T09%3A00%3A00Z"), time(None));
        for same in ["09:00:00.999Z", "18:00:00%2B09:00", "18:00:00.5+09:00", "03:30:00-05:30"] {
            assert_eq!(query(&format!("timestamp=2026-11-21T{same}")), time(None), "{same}");
        }
        assert_eq!(query("known_at=7&time=1795251600"), time(Some(7)));
        assert_eq!(query("height=7"), Ok(Asked::Height(7)));
        for wrong in [
            "time=",
            "time=-1",
            "time=+1",
            "time=1.5",
            "time=99999999999999999999",
            "time=18446744073709551615",
            "time=2026-11-21T09:00:00Z",
            "timestamp=1795251600",
            "timestamp=2026-11-21T09:00:00",
            "timestamp=2026-11-21T09:00:00.Z",
            "timestamp=2026-11-21T09:00:00%2B9:00",
            "timestamp=2026-11-21T09:00:00%2B14:01",
            "timestamp=2026-11-21T09:00:00-09:60",
            "timestamp=2026-11-21T09:00:00*09:00",
            "timestamp=1970-01-01T00:00:00%2B00:01",
            "time=1&time=1",
            "time=1&timestamp=2026-11-21T09:00:00Z",
            "height=1&time=1",
            "known_at=1",
            "height=1&known_at=1",
            "index=4711",
            "idx",
        ] {
            assert_eq!(query(wrong), Err("INVALID_QUERY"), "{wrong}");
        }
        assert_eq!(query(&"time=0".repeat(50)), Err("INVALID_QUERY"));
    }

    #[test]
    fn each_media_type_has_its_form() {
        let form = |view, signs, accept: &'static str| {
            let accept = Some(accept).filter(|accept| !accept.is_empty());
            read_form(view, signs, accept)
                .map(|form| (form.media_type, form.is_signed))
                .map_err(|refusal| (refusal.status, refusal.code))
        };
        let not_here = Err((406, "NOT_SIGNED_HERE"));
        let none = Err((406, "NOT_ACCEPTABLE"));
        for any in ["", "*/*", "application/*"] {
            assert_eq!(form(View::Token, true, any), Ok((TOKEN_MEDIA_TYPE, true)));
            assert_eq!(form(View::Token, false, any), Ok((JSON_MEDIA_TYPE, false)));
            let signed = Ok((SIGNED_CREDENTIAL_MEDIA_TYPE, true));
            assert_eq!(form(View::Revocation, true, any), signed);
            assert_eq!(form(View::Suspension, false, any), Ok((CREDENTIAL_MEDIA_TYPE, false)));
        }
        assert_eq!(form(View::Token, false, TOKEN_MEDIA_TYPE), not_here);
        assert_eq!(form(View::Revocation, false, SIGNED_CREDENTIAL_MEDIA_TYPE), not_here);
        assert_eq!(form(View::Token, true, "application/json"), Ok((JSON_MEDIA_TYPE, false)));
        for name in [CREDENTIAL_MEDIA_TYPE, "application/ld+json", "application/json"] {
            assert_eq!(form(View::Revocation, true, name), Ok((name, false)));
        }
        for (view, other) in [
            (View::Token, "application/vc"),
            (View::Token, "application/statuslist+cwt"),
            (View::Token, "text/html"),
            (View::Revocation, TOKEN_MEDIA_TYPE),
            (View::Revocation, "application/vc+sd-jwt"),
        ] {
            assert_eq!(form(view, true, other), none, "{other}");
            assert_eq!(form(view, false, other), none, "{other}");
        }
        let weighed = "application/vc;q=0.9, application/vc+jwt;q=0.8";
        assert_eq!(form(View::Revocation, true, weighed), Ok((CREDENTIAL_MEDIA_TYPE, false)));
        let offered = read_form(View::Token, true, Some("text/html")).unwrap_err();
        assert_eq!(offered.members["offered"], json!([TOKEN_MEDIA_TYPE, JSON_MEDIA_TYPE]));
    }

    #[test]
    fn what_a_node_says_keeps_its_code_and_names_archives() {
        let fields = BTreeMap::from([
            ("archives".to_owned(), "aa,bb".to_owned()),
            ("height".to_owned(), "7".to_owned()),
        ]);
        let pruned = Refusal::of_node("HISTORY_PRUNED", "ask an archive", &fields);
        let json: Value = serde_json::from_slice(&pruned.to_json()).unwrap();
        assert_eq!((json["status"].as_u64(), &json["archives"]), (Some(404), &json!(["aa", "bb"])));
        assert_eq!((&json["code"], &json["height"]), (&json!("HISTORY_PRUNED"), &json!("7")));
        let status = |code| Refusal::of_node(code, "", &BTreeMap::new()).status;
        assert_eq!(
            ["STALE", "BEFORE_GENESIS", "INVALID_MOMENT", "JOINING", "TOO_MANY_EXPORTS", "OTHER"]
                .map(status),
            [404, 404, 400, 503, 503, 500]
        );
        // A node that lags has not the last word about the present.
        let lags = Refusal::of_node("STALE", "", &BTreeMap::new()).for_now();
        assert_eq!((lags.status, lags.code), (503, "STALE"));
    }

    proptest! {
        #[test]
        fn any_request_ends_without_a_panic(path in "\\PC{0,90}", query in "\\PC{0,90}", accept in "\\PC{0,90}") {
            let list = read_path("/lists/", &format!("/lists/{path}")).unwrap_or((LIST, View::Token));
            let request = ListRequest {
                path: &path,
                query: Some(&query),
                accept: Some(&accept),
                accept_encoding: Some(&accept),
                if_none_match: Some(&accept),
            };
            let _ = read(list, true, &request);
        }
    }
}
