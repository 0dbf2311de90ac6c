//! What a path, a query or a fragment selects of a document (DID Resolution 1.0, "DID URL Dereferencing", at risk).
//!
//! The method defines no path and no parameter of its own, so those that the specification does not know select nothing.
//! Documents of this method are flat and have absolute identifiers; fragments are searched as Controlled Identifiers 1.0
//! says all the same.

use super::Problem;
use super::options::{self, Options};
use crate::did_url::DidUrl;
use crate::view::ResolutionError;
use serde_json::{Map, Value};

/// The parameters by which services are selected.
const SERVICE: &str = "service";
const SERVICE_TYPE: &str = "serviceType";
const RELATIVE_REFERENCE: &str = "relativeRef";

/// What of a DID URL is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The document.
    Whole,
    /// What its fragment names in the document.
    Fragment,
    /// Services, then perhaps what a fragment names there.
    Service,
}

impl Part {
    pub(super) fn of(url: &DidUrl) -> Result<Self, Problem> {
        let has = |name| url.parameter(name).is_some();
        let is_service = has(SERVICE) || has(SERVICE_TYPE);
        let unknown = |name: &str| {
            !options::is_known(name) && ![SERVICE, SERVICE_TYPE, RELATIVE_REFERENCE].contains(&name)
        };
        let selects_nothing = !url.path().is_empty()
            || url.parameters().any(|(name, _)| unknown(name))
            || (has(RELATIVE_REFERENCE) && !is_service);
        if selects_nothing {
            return Err(not_found(
                "the DID method defines nothing under this path or query; ask for the DID, a service or a fragment",
            ));
        }
        if is_service {
            let ends = url.parameter(RELATIVE_REFERENCE).is_some_and(|ends| ends.contains('#'));
            if ends && url.fragment().is_some() {
                return Err(Problem::new(
                    ResolutionError::InvalidDidUrl,
                    "relativeRef and the DID URL both have a fragment; leave one out",
                ));
            }
            return Ok(Self::Service);
        }
        Ok(if url.fragment().is_some() { Self::Fragment } else { Self::Whole })
    }

    /// Is this more than resolving the DID?
    pub(super) fn dereferences(self) -> bool {
        self != Self::Whole
    }

    pub(super) fn is_service(self) -> bool {
        self == Self::Service
    }
}

/// What was selected.
pub(super) enum Selected {
    /// The document, or a part of it.
    Part(Value),
    /// The URL of a service.
    Endpoint(String),
}

/// Selects a part of a document. `to_endpoint`: of a service, where it is.
pub(super) fn select(
    document: &Value,
    url: &DidUrl,
    options: &Options,
    part: Part,
    to_endpoint: bool,
) -> Result<Selected, Problem> {
    match part {
        Part::Whole => Ok(Selected::Part(document.clone())),
        Part::Fragment => fragment(document, url, options).map(Selected::Part),
        Part::Service => {
            let services = services(document, url);
            let Some(first) = services.first() else {
                return Err(not_found("the document has no such service; look at the document"));
            };
            if to_endpoint {
                return endpoint(first, url).map(Selected::Endpoint);
            }
            let mut selected = Map::new();
            for name in ["@context", "id"] {
                selected.insert(name.to_owned(), document[name].clone());
            }
            selected.insert("service".to_owned(), Value::Array(services));
            let selected = Value::Object(selected);
            match url.fragment() {
                Some(_) => fragment(&selected, url, options).map(Selected::Part),
                None => Ok(Selected::Part(selected)),
            }
        }
    }
}

fn not_found(detail: &str) -> Problem {
    Problem::new(ResolutionError::NotFound, detail)
}

/// The services that both parameters, where given, mean.
fn services(document: &Value, url: &DidUrl) -> Vec<Value> {
    let did = url.did().to_string();
    let (id, kind) = (url.parameter(SERVICE), url.parameter(SERVICE_TYPE));
    let means = |service: &Value| {
        let named = id.is_none_or(|id| {
            let asked = if id.starts_with("did:") {
                id.to_owned()
            } else {
                format!("{did}#{}", id.trim_start_matches('#'))
            };
            service["id"] == asked.as_str()
        });
        named && kind.is_none_or(|kind| service["type"] == kind)
    };
    let all = document["service"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter(|service| means(service)).cloned().collect()
}

/// Where a service is, with `relativeRef` and the fragment.
fn endpoint(service: &Value, url: &DidUrl) -> Result<String, Problem> {
    let base = service["serviceEndpoint"]
        .as_str()
        .ok_or_else(|| not_found("the service has no URL; look at the document"))?;
    let mut target = match url.parameter(RELATIVE_REFERENCE) {
        Some(reference) => join(base, reference),
        None => base.to_owned(),
    };
    if let Some(fragment) = url.fragment() {
        target.push('#');
        target.push_str(fragment);
    }
    Ok(target)
}

/// A relative reference added to an endpoint (RFC 3986 §5.2). An endpoint has neither query nor fragment nor dot segments,
/// and the reference neither scheme nor host nor dot segments: so this is all there is to it.
fn join(base: &str, reference: &str) -> String {
    let authority_end = base
        .find("://")
        .and_then(|scheme| base.get(scheme + 3..)?.find('/').map(|at| scheme + 3 + at));
    let (authority, path) = base.split_at(authority_end.unwrap_or(base.len()));
    match reference.chars().next() {
        None => base.to_owned(),
        Some('/') => format!("{authority}{reference}"),
        Some('?' | '#') => format!("{base}{reference}"),
        Some(_) => {
            let directory = path.rfind('/').map_or("/", |last| path.get(..=last).unwrap_or("/"));
            format!("{authority}{directory}{reference}")
        }
    }
}

/// The map that the fragment names (Controlled Identifiers 1.0, "Fragment Resolution").
fn fragment(document: &Value, url: &DidUrl, options: &Options) -> Result<Value, Problem> {
    let fragment = format!("#{}", url.fragment().unwrap_or_default());
    let absolute = format!("{}{fragment}", url.did());
    let names = |id: &Value| id == absolute.as_str() || id == fragment.as_str();
    let found = find(document, &names).ok_or_else(|| {
        not_found("the document has nothing of this fragment; look at the document")
    })?;
    let Some(relationship) = options.relationship else { return Ok(found.clone()) };
    if found.get("type").is_none() || found.get("controller").is_none() {
        return Err(Problem::new(
            super::BindingError::InvalidVerificationMethod,
            "the fragment names no verification method; look at the document",
        ));
    }
    let listed = document[relationship.name()].as_array().map(Vec::as_slice).unwrap_or_default();
    if listed.iter().any(|entry| names(entry) || names(&entry["id"])) {
        return Ok(found.clone());
    }
    Err(Problem::new(
        super::BindingError::InvalidRelationship,
        format!("the verification method is not for {}; do not accept it", relationship.name()),
    ))
}

/// The first map with such an `id`, the document itself excepted. Documents are bounded, and so is this.
fn find<'a>(value: &'a Value, names: &impl Fn(&Value) -> bool) -> Option<&'a Value> {
    match value {
        Value::Object(members) => {
            if members.get("id").is_some_and(names) {
                return Some(value);
            }
            members.values().find_map(|member| find(member, names))
        }
        Value::Array(items) => items.iter().find_map(|item| find(item, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3986 §5.4.1, of those references that a DID URL may have.
    #[test]
    fn a_relative_reference_is_added_as_the_standard_says() {
        let check = |base: &str, reference: &str, target: &str| {
            assert_eq!(join(base, reference), target, "{reference}");
        };
        let base = "https://a.example/b/c/d";
        check(base, "g", "https://a.example/b/c/g");
        check(base, "g/", "https://a.example/b/c/g/");
        check(base, "/g", "https://a.example/g");
        check(base, "?y", "https://a.example/b/c/d?y");
        check(base, "g?y", "https://a.example/b/c/g?y");
        check(base, "#s", "https://a.example/b/c/d#s");
        check(base, "g?y#s", "https://a.example/b/c/g?y#s");
        check(base, "", base);
        let bare = "https://a.example:8443";
        check(bare, "g", "https://a.example:8443/g");
        check(bare, "/g", "https://a.example:8443/g");
        check(bare, "?y", "https://a.example:8443?y");
        check(bare, "", bare);
    }
}
