//! DID Resolution over HTTP(S), as plain functions: a request becomes a [`Question`], and what a node found becomes an
//! [`HttpAnswer`] (DID Resolution 1.0, "HTTP(S) Binding").
//!
//! ```text
//!   media         what the caller accepts, and so which form the answer has
//!   options       versionId, versionTime and the other options, from a query, a DID URL or a JSON body
//!   dereference   a fragment, a service, a relative reference: one part of a document
//!   proof         our proof as a `proof` member of the metadata, and back
//! ```
//!
//! Whoever holds the state reads it between the two: nothing here knows a socket, a clock or a ledger. The order of the
//! checks is that of the algorithms of DID Resolution, so that a request with two faults is told of the same one by every
//! resolver. Where the candidate recommendation contradicts itself, decision 27 says which sentence is followed.
//!
//! Dereferencing is marked "at risk" in the candidate recommendation and therefore has a file of its own.

mod dereference;
mod media;
mod options;
mod proof;

pub use media::{
    DEREFERENCING_MEDIA_TYPE, Form, JSON_LD_RESOLUTION, RESOLUTION_MEDIA_TYPE, URI_LIST_MEDIA_TYPE,
    accepts_gzip, negotiate,
};
pub use options::{AskedVersion, Relationship};
pub use proof::{
    PROOF_TYPE, ProofMember, ProofMemberError, is_member, member, proof_member, read_member,
    read_proof,
};

use crate::did::Did;
use crate::did_url::{DidUrl, percent_decode};
use crate::view::{Resolution, ResolutionError, resolution_json};
use dereference::{Part, Selected};
use options::Options;
use serde_json::{Map, Value, json};
use sillok_proto::v1;

/// Longest DID URL that is read, in bytes.
pub const IDENTIFIER_BYTES_MAX: usize = 4096;

/// The parts of an HTTP request that the binding reads.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpRequest<'a> {
    /// The path after `/1.0/identifiers/`, as sent.
    pub identifier: &'a str,
    /// After `?`, as sent.
    pub query: Option<&'a str>,
    /// The `Accept` headers, joined by commas.
    pub accept: Option<&'a str>,
    /// The body of a POST: options as JSON.
    pub options: Option<&'a [u8]>,
}

/// What is sent back. The caller adds what is the same for all answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// `Content-Type`; `None` where there is no body.
    pub content_type: Option<&'static str>,
    /// `Location`, of a service endpoint.
    pub location: Option<String>,
    /// The body: ASCII, because resolvers read JSON without a charset as ISO-8859-1.
    pub body: Vec<u8>,
}

/// Why a question has no answer, with the words for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which error.
    pub error: BindingError,
    /// What is so and what to do, for the caller.
    pub detail: String,
}

impl Problem {
    pub(crate) fn new(error: impl Into<BindingError>, detail: impl Into<String>) -> Self {
        Self { error: error.into(), detail: detail.into() }
    }
}

/// The errors that a resolver and dereferencer may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindingError {
    /// One of DID Resolution.
    Resolution(ResolutionError),
    /// What the fragment names is no verification method (Controlled Identifiers 1.0).
    InvalidVerificationMethod,
    /// The verification method is not for this relationship (Controlled Identifiers 1.0).
    InvalidRelationship,
    /// The node has no answer yet: it joins, or is behind. Asked again, or another node, there is one.
    NotReady,
}

impl From<ResolutionError> for BindingError {
    fn from(error: ResolutionError) -> Self {
        Self::Resolution(error)
    }
}

impl BindingError {
    /// The status code that the binding gives the error. Those that it does not name are 500.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Resolution(error) => match error {
                ResolutionError::InvalidDid
                | ResolutionError::InvalidDidUrl
                | ResolutionError::InvalidOptions => 400,
                ResolutionError::NotFound => 404,
                ResolutionError::RepresentationNotSupported => 406,
                ResolutionError::InvalidDidDocument | ResolutionError::InternalError => 500,
                ResolutionError::MethodNotSupported | ResolutionError::FeatureNotSupported => 501,
            },
            Self::InvalidVerificationMethod | Self::InvalidRelationship => 500,
            // Not an error of the binding: nothing was resolved.
            Self::NotReady => 503,
        }
    }

    fn type_and_title(self) -> (String, &'static str) {
        let of_cid = |name: &str| format!("https://w3id.org/security#{name}");
        match self {
            Self::Resolution(error) => (error.type_url(), error.title()),
            Self::InvalidVerificationMethod => {
                (of_cid("INVALID_VERIFICATION_METHOD"), "Invalid verification method")
            }
            Self::InvalidRelationship => (
                of_cid("INVALID_RELATIONSHIP_FOR_VERIFICATION_METHOD"),
                "Invalid relationship for verification method",
            ),
            Self::NotReady => (ResolutionError::InternalError.type_url(), "Not ready"),
        }
    }
}

/// A request, understood.
#[derive(Debug, Clone)]
pub struct Question {
    url: DidUrl,
    options: Options,
    part: Part,
    form: Form,
}

impl Question {
    /// The DID that is to be resolved.
    #[must_use]
    pub const fn did(&self) -> &Did {
        self.url.did()
    }

    /// Which version of it.
    #[must_use]
    pub const fn version(&self) -> AskedVersion {
        self.options.version
    }
}

/// Understands a request for a DID of `network`.
///
/// # Errors
///
/// The answer that says what is wrong with it.
pub fn read(network: &str, request: &HttpRequest<'_>) -> Result<Question, HttpAnswer> {
    // What is not understood is answered in the form that it would have had as a DID.
    let form = media::negotiate(request.accept, &media::offers(false, false));
    understand(network, request)
        .map_err(|problem| failed(form.unwrap_or(Form::Resolution), &problem, None))
}

fn understand(network: &str, request: &HttpRequest<'_>) -> Result<Question, Problem> {
    let text = identifier(request.identifier)?;
    let query = request.query.filter(|query| !query.is_empty());
    // The query of an identifier that came as it is belongs to the DID URL; of one that came percent-encoded it is options.
    let (url, separate) = match query {
        Some(query) if !text.encoded && !options::is_json(query) => {
            (format!("{}?{query}", text.text), None)
        }
        other => (text.text, other),
    };
    let url = DidUrl::parse(&url)
        .map_err(|error| Problem::new(ResolutionError::from(&error), error.to_string()))?;
    let options = options::read(&url, separate, request.options)?;
    let part = Part::of(&url)?;
    if url.did().network() != network {
        return Err(Problem::new(
            ResolutionError::NotFound,
            format!(
                "the DID is of network {}, this node serves {network}; ask a node of that network",
                url.did().network()
            ),
        ));
    }
    let accept = options.accept.as_deref().or(request.accept);
    let offers = media::offers(part.dereferences(), part.is_service());
    let form = media::negotiate(accept, &offers).ok_or_else(|| {
        let offered: Vec<&str> = offers.iter().map(|(media_type, _)| *media_type).collect();
        Problem::new(
            ResolutionError::RepresentationNotSupported,
            format!("none of the accepted media types is offered; ask for {}", offered.join(", ")),
        )
    })?;
    Ok(Question { url, options, part, form })
}

/// An identifier of the path, and whether it came percent-encoded as a whole.
struct Identifier {
    text: String,
    encoded: bool,
}

/// Clients send the DID URL raw, or percent-encoded as a whole. No DID of ours has a percent sign, so one before the first
/// slash means the latter.
fn identifier(raw: &str) -> Result<Identifier, Problem> {
    if raw.len() > IDENTIFIER_BYTES_MAX {
        return Err(Problem::new(
            ResolutionError::InvalidDidUrl,
            format!("the DID URL has more than {IDENTIFIER_BYTES_MAX} bytes; give a shorter one"),
        ));
    }
    let encoded = raw.split('/').next().is_some_and(|first| first.contains('%'));
    let text = if encoded {
        String::from_utf8(percent_decode(raw)).map_err(|_| {
            Problem::new(
                ResolutionError::InvalidDid,
                "the path is not UTF-8 once decoded; send the DID",
            )
        })?
    } else {
        raw.to_owned()
    };
    Ok(Identifier { text, encoded })
}

/// The answer to a question, of what the state of the ledger holds for its DID.
///
/// `found` is a node's own reading: nothing in it is verified here, and `resolution_json` is not read. Of a DID that is
/// absent it has the proof alone.
#[must_use]
pub fn answer(question: &Question, genesis_hash: &[u8], found: &v1::ResolveResponse) -> HttpAnswer {
    let did = question.did();
    let member = json!([proof_member(did.network(), genesis_hash, found)]);
    let resolution = found.heads.first().map(|head| Resolution {
        head: head.clone(),
        document: found.document.clone(),
        next_version: found.heads.get(1).map(|next| next.version),
    });
    let mut result = Outcome::of(resolution_json(did, resolution.as_ref()));
    // What is found carries its proof in its own metadata; an error has none, so it stands in those of the resolution.
    let metadata = if result.is_error() {
        &mut result.resolution_metadata
    } else {
        &mut result.document_metadata
    };
    metadata.insert("proof".to_owned(), member.clone());
    let status = result.status();
    if status != 200 || question.part == Part::Whole {
        return result.into_answer(status, question.form);
    }
    let to_endpoint = question.form == Form::UriList;
    let Question { url, options, part, .. } = question;
    match dereference::select(&result.document, url, options, *part, to_endpoint) {
        Err(problem) => failed(question.form, &problem, Some(member)),
        Ok(Selected::Part(part)) => {
            Outcome { document: part, ..result }.into_answer(200, question.form)
        }
        Ok(Selected::Endpoint(endpoint)) => HttpAnswer {
            status: 303,
            content_type: None,
            location: Some(endpoint),
            body: Vec::new(),
        },
    }
}

/// The answer to a question that could not be answered.
#[must_use]
pub fn failure(question: &Question, error: impl Into<BindingError>, detail: &str) -> HttpAnswer {
    failed(question.form, &Problem::new(error, detail), None)
}

/// An error always comes with the full result, whatever was accepted: a status code alone would become an internal error
/// with callers that read results (Universal Resolver).
fn failed(form: Form, problem: &Problem, proof: Option<Value>) -> HttpAnswer {
    let (type_url, title) = problem.error.type_and_title();
    let error = json!({ "type": type_url, "title": title, "detail": problem.detail });
    let mut resolution_metadata = Map::from_iter([("error".to_owned(), error)]);
    resolution_metadata.extend(proof.map(|proof| ("proof".to_owned(), proof)));
    let outcome =
        Outcome { document: Value::Null, resolution_metadata, document_metadata: Map::new() };
    outcome.into_answer(problem.error.status(), form)
}

/// Document or content, and the two kinds of metadata.
struct Outcome {
    document: Value,
    resolution_metadata: Map<String, Value>,
    document_metadata: Map<String, Value>,
}

impl Outcome {
    /// Of a DID resolution result as the view makes it.
    fn of(mut json: Value) -> Self {
        let mut object = |name: &str| match json.get_mut(name).map(Value::take) {
            Some(Value::Object(members)) => members,
            _ => Map::new(),
        };
        let resolution_metadata = object("didResolutionMetadata");
        let document_metadata = object("didDocumentMetadata");
        let document = json.get_mut("didDocument").map(Value::take).unwrap_or_default();
        Self { document, resolution_metadata, document_metadata }
    }

    fn is_error(&self) -> bool {
        self.resolution_metadata.contains_key("error")
    }

    fn status(&self) -> u16 {
        let error = self.resolution_metadata.get("error").and_then(|error| error["type"].as_str());
        if let Some(type_url) = error {
            let known = ResolutionError::ALL.into_iter().find(|one| one.type_url() == type_url);
            return known.map_or(500, |error| BindingError::from(error).status());
        }
        if self.document_metadata.get("deactivated") == Some(&Value::Bool(true)) {
            return 410;
        }
        200
    }

    fn into_answer(self, status: u16, form: Form) -> HttpAnswer {
        let (content_type, json) = match form {
            Form::Document(media_type) if status == 200 => (media_type, self.document),
            Form::Dereferencing | Form::UriList => {
                // Both names are in use: that of the binding, and that of the abstract function (decision 27).
                let json = json!({
                    "dereferencingMetadata": self.resolution_metadata,
                    "content": self.document,
                    "contentStream": self.document,
                    "contentMetadata": self.document_metadata,
                });
                (DEREFERENCING_MEDIA_TYPE, json)
            }
            Form::Resolution | Form::Document(_) => {
                let json = json!({
                    "didDocument": self.document,
                    "didResolutionMetadata": self.resolution_metadata,
                    "didDocumentMetadata": self.document_metadata,
                });
                (RESOLUTION_MEDIA_TYPE, json)
            }
        };
        HttpAnswer { status, content_type: Some(content_type), location: None, body: ascii(&json) }
    }
}

/// JSON in ASCII: what is not is written `\uXXXX`.
#[must_use]
pub fn ascii(json: &Value) -> Vec<u8> {
    let text = json.to_string();
    let mut ascii = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii() {
            ascii.push(character);
            continue;
        }
        // JSON escapes are UTF-16. Characters that are not ASCII stand in strings alone.
        for unit in character.encode_utf16(&mut [0; 2]) {
            ascii.push_str(&format!("\\u{unit:04x}"));
        }
    }
    ascii.into_bytes()
}
