//! DID Resolution over HTTP without a socket: each rule of the binding, asked and answered in one thread.

#![allow(clippy::unwrap_used, reason = "what a test builds must be buildable")]

use serde_json::{Value, json};
use sillok_did_method::binding::{
    self, AskedVersion, BindingError, HttpAnswer, HttpRequest, Question, read_proof,
};
use sillok_did_method::{
    ASSERTION_METHOD, AUTHENTICATION, CAPABILITY_INVOCATION, Did, ResolutionError, SUBMIT,
    document_hash,
};
use sillok_proto::Hash;
use sillok_proto::v1::{
    self, Algorithm, BoundKey, DidDocument, Head, Kind, PublicKey, Service, ServiceKind,
};

const GENESIS: [u8; 32] = [5; 32];
const TRUST_REGISTRY: &str = "https://trust.example:8443/v1/registry";

fn did() -> Did {
    Did::new("devnet", Hash([7; 32])).unwrap()
}

fn bound(seed: u8, relationships: u32) -> BoundKey {
    let secret = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
    let point = secret.verifying_key().to_bytes().to_vec();
    let key = Some(PublicKey { algorithm: Algorithm::Ed25519.into(), point });
    BoundKey { key, relationships, expires_ms: 0 }
}

fn document() -> DidDocument {
    let mut keys =
        vec![bound(1, CAPABILITY_INVOCATION), bound(2, SUBMIT), bound(3, ASSERTION_METHOD)];
    keys.sort_by_key(|bound| bound.key.clone().unwrap().point);
    let service = |kind: ServiceKind, endpoint: &str| Service {
        kind: kind.into(),
        endpoint: endpoint.to_owned(),
    };
    let services = vec![
        service(ServiceKind::LinkedDomains, "https://ministry.example"),
        service(ServiceKind::TrustRegistry, TRUST_REGISTRY),
    ];
    DidDocument { keys, services }
}

/// What a node found: two versions, the first with the document, the second perhaps the end.
fn found(versions: &[u64], deactivated: bool) -> v1::ResolveResponse {
    let document = document();
    let heads = versions
        .iter()
        .map(|version| Head {
            did: did().digest().to_vec(),
            kind: Kind::Organization.into(),
            version: *version,
            document_hash: document_hash(&document).to_vec(),
            deactivated: deactivated && Some(version) == versions.last(),
            created_ms: 1_795_251_600_000,
            time_ms: 1_795_251_600_000 + version * 1000,
            height: 40 + version,
            ..Head::default()
        })
        .collect();
    let header = v1::Header { height: 99, time_ms: 1_795_251_700_000, ..v1::Header::default() };
    let signed_header = v1::SignedHeader { header: Some(header), certificate: None };
    let proof = v1::StateProof { signed_header: Some(signed_header), entries: Vec::new() };
    v1::ResolveResponse {
        proof: Some(proof),
        heads,
        document: Some(document),
        resolution_json: String::new(),
    }
}

fn absent() -> v1::ResolveResponse {
    v1::ResolveResponse { heads: Vec::new(), document: None, ..found(&[1], false) }
}

fn question(request: HttpRequest<'_>) -> Result<Question, HttpAnswer> {
    binding::read("devnet", &request)
}

/// Asks with `GET`; `target` is the path after the prefix, with its query.
fn ask(target: &str, accept: &str) -> Result<Question, HttpAnswer> {
    let (identifier, query) = match target.split_once('?') {
        Some((identifier, query)) => (identifier, Some(query)),
        None => (target, None),
    };
    let accept = Some(accept).filter(|accept| !accept.is_empty());
    question(HttpRequest { identifier, query, accept, options: None })
}

/// Asks for the current version, which is there.
fn get(target: &str, accept: &str) -> HttpAnswer {
    match ask(target, accept) {
        Ok(question) => binding::answer(&question, &GENESIS, &found(&[3], false)),
        Err(answer) => answer,
    }
}

fn json(answer: &HttpAnswer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

/// Percent-encodes as `encodeURIComponent` does.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

const RESOLUTION: &str = "application/did-resolution";
const DEREFERENCING: &str = "application/did-url-dereferencing";
const DOCUMENT: &str = "application/did";
const URI_LIST: &str = "text/uri-list";

#[track_caller]
fn refused(answer: &HttpAnswer, status: u16, name: &str) {
    let json = json(answer);
    let of_resolution = answer.content_type == Some(RESOLUTION);
    let (metadata, document, about) = if of_resolution {
        ("didResolutionMetadata", "didDocument", "didDocumentMetadata")
    } else {
        assert_eq!(answer.content_type, Some(DEREFERENCING));
        ("dereferencingMetadata", "content", "contentMetadata")
    };
    let error = &json[metadata]["error"];
    let type_url = error["type"].as_str().unwrap();
    assert_eq!((answer.status, type_url.rsplit_once('#').unwrap().1), (status, name), "{json}");
    assert!(error["title"].is_string() && error["detail"].is_string(), "{error}");
    assert_eq!(json[document], Value::Null);
    assert_eq!(json[about], json!({}), "no metadata of what is not there");
}

// ------------------------------------------------------------------------------------------------ what is asked

#[test]
fn raw_and_percent_encoded_identifiers_are_the_same() {
    for target in [did().to_string(), encoded(&did().to_string())] {
        let question = ask(&target, "").unwrap();
        assert_eq!((question.did(), question.version()), (&did(), AskedVersion::Current));
    }
    let url = format!("{}?versionId=2", did());
    for target in [
        url.clone(),
        encoded(&url),
        format!("{}?versionId=2", encoded(&did().to_string())),
        // Both may say it, if they say the same.
        format!("{}?versionId=2", encoded(&url)),
        format!("{}?%7B%22versionId%22%3A%222%22%7D", did()),
        format!("{}?%7B%22versionId%22%3A2%2C%22expandRelativeUrls%22%3Atrue%7D", did()),
    ] {
        assert_eq!(ask(&target, "").unwrap().version(), AskedVersion::Version(2), "{target}");
    }
    let time = format!("{}?versionTime=2026-11-21T09:00:00Z", did());
    for target in [time.clone(), encoded(&time)] {
        let version = ask(&target, "").unwrap().version();
        assert_eq!(version, AskedVersion::Before(1_795_251_600_000), "{target}");
    }
    let long = format!("{}/{}", did(), "a".repeat(5000));
    refused(&get(&long, ""), 400, "INVALID_DID_URL");
}

#[test]
fn what_is_no_did_of_ours_has_its_own_error() {
    for not in
        ["not-a-did", "did:example", "", "did:", "DID:sillok:devnet:z", "%ff", "did:sillok:x:y"]
    {
        refused(&get(not, RESOLUTION), 400, "INVALID_DID");
        refused(&get(not, DOCUMENT), 400, "INVALID_DID");
        refused(&get(not, DEREFERENCING), 400, "INVALID_DID");
    }
    refused(&get("did:web:localhost%3A8080", RESOLUTION), 501, "METHOD_NOT_SUPPORTED");
    refused(&get("did%3Aexample%3A123", DOCUMENT), 501, "METHOD_NOT_SUPPORTED");
    let elsewhere = Did::new("other", Hash([7; 32])).unwrap();
    refused(&get(&elsewhere.to_string(), ""), 404, "NOT_FOUND");
    for path in ["/../x", "/%2e%2e/x"] {
        refused(&get(&format!("{}{path}", did()), ""), 400, "INVALID_DID_URL");
    }
    refused(&get(&encoded(&format!("{}#a b", did())), ""), 400, "INVALID_DID_URL");
    refused(&get(&format!("{}?versionId=1&versionId=1", did()), ""), 400, "INVALID_DID_URL");
}

#[test]
fn options_that_are_wrong_and_options_that_are_unknown_are_told_apart() {
    let did = encoded(&did().to_string());
    for query in [
        "versionId=1&versionTime=2026-11-21T09:00:00Z",
        "versionId=",
        "versionId=01",
        "versionId=one",
        "versionId=-1",
        "versionTime=yesterday",
        "versionTime=2026-11-21T09:00:00.5Z",
        "versionId=1&versionId=2",
        "noCache=maybe",
        "expandRelativeUrls=1",
        "verificationRelationship=authentication",
        "versionId=%ff",
        "%7B%22versionId%22",
        "%7B%22versionId%22%3Anull%7D",
    ] {
        refused(&get(&format!("{did}?{query}"), ""), 400, "INVALID_OPTIONS");
    }
    for query in ["hl=zm", "foo", "VersionId=1", "%7B%22foo%22%3A%22x%22%7D"] {
        refused(&get(&format!("{did}?{query}"), ""), 501, "FEATURE_NOT_SUPPORTED");
    }
    for query in ["noCache=true", "noCache=false", "expandRelativeUrls=true", "", "&"] {
        assert_eq!(get(&format!("{did}?{query}"), "").status, 200, "{query}");
    }
    // A DID URL is of its own version, and options may not contradict it.
    let url = format!("{}?versionId=3", encoded(&format!("{}?versionId=2", self::did())));
    refused(&get(&url, ""), 400, "INVALID_OPTIONS");
}

#[test]
fn a_post_has_its_options_in_its_body() {
    let identifier = did().to_string();
    let post = |body: &str| {
        let request = HttpRequest {
            identifier: &identifier,
            accept: Some(RESOLUTION),
            options: Some(body.as_bytes()),
            query: None,
        };
        question(request).map(|question| question.version())
    };
    assert_eq!(post(""), Ok(AskedVersion::Current));
    assert_eq!(post("{}"), Ok(AskedVersion::Current));
    assert_eq!(post(r#"{"versionId":"2","noCache":"true"}"#), Ok(AskedVersion::Version(2)));
    refused(&post("[]").unwrap_err(), 400, "INVALID_OPTIONS");
    refused(&post("{").unwrap_err(), 400, "INVALID_OPTIONS");
    refused(&post(r#"{"versionId":{}}"#).unwrap_err(), 400, "INVALID_OPTIONS");
    refused(&post(r#"{"other":"1"}"#).unwrap_err(), 501, "FEATURE_NOT_SUPPORTED");
    // What the body accepts stands above the header.
    let request = HttpRequest {
        identifier: &identifier,
        accept: Some("text/html"),
        options: Some(br#"{"accept":"application/did"}"#),
        query: None,
    };
    let answer = binding::answer(&question(request).unwrap(), &GENESIS, &found(&[3], false));
    assert_eq!((answer.status, answer.content_type), (200, Some(DOCUMENT)));
}

// ------------------------------------------------------------------------------------------------ what is answered

#[test]
fn a_did_is_answered_in_each_of_three_forms() {
    let did = did().to_string();
    let full = get(&did, RESOLUTION);
    assert_eq!((full.status, full.content_type), (200, Some(RESOLUTION)));
    let full = json(&full);
    assert_eq!(full["didDocument"]["id"], did.as_str());
    assert_eq!(full["didResolutionMetadata"]["contentType"], "application/did");
    assert_eq!(full["didDocumentMetadata"]["versionId"], "3");

    let bare = get(&did, DOCUMENT);
    assert_eq!((bare.status, bare.content_type), (200, Some(DOCUMENT)));
    assert_eq!(json(&bare), full["didDocument"]);
    for old in ["application/did+json", "application/did+ld+json", "application/ld+json"] {
        let answer = get(&did, old);
        assert_eq!((answer.content_type, &answer.body), (Some(old), &bare.body));
    }

    let dereferenced = get(&did, DEREFERENCING);
    assert_eq!((dereferenced.status, dereferenced.content_type), (200, Some(DEREFERENCING)));
    let dereferenced = json(&dereferenced);
    assert_eq!(dereferenced["content"], full["didDocument"]);
    assert_eq!(dereferenced["contentStream"], full["didDocument"]);
    assert_eq!(dereferenced["contentMetadata"], full["didDocumentMetadata"]);
    assert_eq!(dereferenced["dereferencingMetadata"]["contentType"], "application/did");
    refused(&get(&did, "text/html"), 406, "REPRESENTATION_NOT_SUPPORTED");
}

#[test]
fn an_answer_carries_its_proof_and_an_absence_too() {
    let question = ask(&did().to_string(), RESOLUTION).unwrap();
    for (found, place) in
        [(found(&[1, 2], false), "didDocumentMetadata"), (absent(), "didResolutionMetadata")]
    {
        let answer = json(&binding::answer(&question, &GENESIS, &found));
        let member = &answer[place]["proof"][0];
        assert_eq!(member["type"], "SillokStateProof");
        assert_eq!((&member["height"], &member["network"]), (&json!("99"), &json!("devnet")));
        assert_eq!(member["genesisHash"], "05".repeat(32));
        assert_eq!(member["time"], "2026-11-21T09:01:40Z");
        assert_eq!(read_proof(&answer).unwrap(), found, "all that a verifier needs");
    }
    let answer = binding::answer(&question, &GENESIS, &absent());
    refused(&answer, 404, "NOT_FOUND");
    assert!(read_proof(&json!({})).is_err());
    let damaged = json!({"didDocumentMetadata": {"proof": [
        {"type": "SillokStateProof", "message": "sillok.v1.ResolveResponse", "proofValue": "u_"}]}});
    assert!(read_proof(&damaged).is_err());
}

#[test]
fn a_deactivated_did_is_gone_and_no_error() {
    for (accept, content_type) in
        [(RESOLUTION, RESOLUTION), (DOCUMENT, RESOLUTION), (DEREFERENCING, DEREFERENCING)]
    {
        let question = ask(&did().to_string(), accept).unwrap();
        let answer = binding::answer(&question, &GENESIS, &found(&[4], true));
        assert_eq!((answer.status, answer.content_type), (410, Some(content_type)));
        let json = json(&answer);
        let (document, metadata) = if content_type == RESOLUTION {
            (&json["didDocument"], &json["didDocumentMetadata"])
        } else {
            (&json["content"], &json["contentMetadata"])
        };
        assert_eq!((document, &metadata["deactivated"]), (&Value::Null, &json!(true)));
        assert!(json["didResolutionMetadata"].get("error").is_none());
        assert!(read_proof(&json).is_ok());
    }
    // A version from before the end is there.
    let question = ask(&format!("{}?versionId=3", did()), RESOLUTION).unwrap();
    let answer = binding::answer(&question, &GENESIS, &found(&[3, 4], true));
    assert_eq!(answer.status, 200);
    assert_eq!(json(&answer)["didDocumentMetadata"]["nextVersionId"], "4");
}

#[test]
fn a_document_that_is_not_the_one_of_its_head_is_an_error() {
    let question = ask(&did().to_string(), DOCUMENT).unwrap();
    let mut other = found(&[1], false);
    other.document = Some(DidDocument::default());
    refused(&binding::answer(&question, &GENESIS, &other), 500, "INVALID_DID_DOCUMENT");
    other.document = None;
    refused(&binding::answer(&question, &GENESIS, &other), 500, "INTERNAL_ERROR");
}

#[test]
fn every_error_has_the_status_of_the_binding() {
    let expected = [400, 400, 400, 404, 406, 500, 500, 501, 501];
    for (error, status) in ResolutionError::ALL.into_iter().zip(expected) {
        let question = ask(&did().to_string(), RESOLUTION).unwrap();
        refused(&binding::failure(&question, error, "words"), status, error.name());
    }
    let question = ask(&did().to_string(), RESOLUTION).unwrap();
    let late = binding::failure(&question, BindingError::NotReady, "words");
    refused(&late, 503, "INTERNAL_ERROR");
}

#[test]
fn what_is_not_ascii_is_escaped() {
    let text = json!({"a": "실록 \u{1f600} \u{e9}\n"});
    let ascii = binding::ascii(&text);
    assert!(ascii.is_ascii(), "{ascii:?}");
    assert_eq!(serde_json::from_slice::<Value>(&ascii).unwrap(), text);
}

// ------------------------------------------------------------------------------------------------ dereferencing

fn method_id(relationship: u32) -> String {
    let bound = document().keys.into_iter().find(|bound| bound.relationships == relationship);
    sillok_did_method::thumbprint(&bound.unwrap().key.unwrap()).unwrap()
}

#[test]
fn a_fragment_is_a_verification_method_or_a_service() {
    let url = encoded(&format!("{}#{}", did(), method_id(ASSERTION_METHOD)));
    let bare = get(&url, DOCUMENT);
    assert_eq!((bare.status, bare.content_type), (200, Some(DOCUMENT)));
    assert_eq!(json(&bare)["type"], "Multikey");
    assert_eq!(json(&bare)["id"], format!("{}#{}", did(), method_id(ASSERTION_METHOD)));
    // Without an Accept header the answer is a dereferencing result.
    for accept in ["", "*/*", DEREFERENCING] {
        let full = get(&url, accept);
        assert_eq!((full.status, full.content_type), (200, Some(DEREFERENCING)));
        assert_eq!(json(&full)["content"], json(&bare));
        assert!(read_proof(&json(&full)).is_ok());
    }
    let service = encoded(&format!("{}#trust-registry", did()));
    assert_eq!(json(&get(&service, DOCUMENT))["serviceEndpoint"], TRUST_REGISTRY);
    // Only the percent sign of the fragment is encoded, as many write it.
    assert_eq!(get(&format!("{}%23trust-registry", did()), DOCUMENT).status, 200);
    for nothing in ["#nothing", "#"] {
        let answer = get(&encoded(&format!("{}{nothing}", did())), DEREFERENCING);
        let proof = &json(&answer)["dereferencingMetadata"]["proof"][0]["type"];
        assert_eq!(proof, "SillokStateProof", "the document that has it not is proved");
        refused(&answer, 404, "NOT_FOUND");
    }
    refused(&get(&url, RESOLUTION), 406, "REPRESENTATION_NOT_SUPPORTED");
}

#[test]
fn a_fragment_of_an_old_version_is_of_that_version() {
    let url = format!("{}?versionId=2#{}", did(), method_id(ASSERTION_METHOD));
    let question = ask(&encoded(&url), DOCUMENT).unwrap();
    assert_eq!(question.version(), AskedVersion::Version(2));
    assert_eq!(binding::answer(&question, &GENESIS, &found(&[2, 3], false)).status, 200);
}

#[test]
fn a_verification_relationship_is_checked() {
    let ask = |fragment: &str, relationship: &str| {
        let url = encoded(&format!("{}#{fragment}", did()));
        get(&format!("{url}?verificationRelationship={relationship}"), DEREFERENCING)
    };
    let key = method_id(ASSERTION_METHOD);
    assert_eq!(ask(&key, "assertionMethod").status, 200);
    let other = ask(&key, "authentication");
    refused(&other, 500, "INVALID_RELATIONSHIP_FOR_VERIFICATION_METHOD");
    let error = &json(&other)["dereferencingMetadata"]["error"]["type"];
    assert!(error.as_str().unwrap().starts_with("https://w3id.org/security#"));
    refused(&ask("trust-registry", "authentication"), 500, "INVALID_VERIFICATION_METHOD");
    refused(&ask(&key, "friendship"), 400, "INVALID_OPTIONS");
    assert_eq!(AUTHENTICATION, 1);
}

#[test]
fn a_service_is_selected_by_name_or_type() {
    for query in [
        "service=trust-registry",
        "service=%23trust-registry",
        "serviceType=TrustRegistry",
        "service=trust-registry&serviceType=TrustRegistry",
    ] {
        let url = format!("{}?{query}", did());
        let answer = get(&url, DOCUMENT);
        let json = json(&answer);
        assert_eq!((answer.status, &json["id"]), (200, &json!(did().to_string())), "{query}");
        let services = json["service"].as_array().unwrap();
        assert_eq!((services.len(), &services[0]["serviceEndpoint"]), (1, &json!(TRUST_REGISTRY)));
        assert!(json.get("verificationMethod").is_none(), "the selected services alone");
    }
    for query in
        ["service=other", "serviceType=Other", "service=trust-registry&serviceType=LinkedDomains"]
    {
        refused(&get(&format!("{}?{query}", did()), DEREFERENCING), 404, "NOT_FOUND");
    }
}

#[test]
fn where_a_service_is_is_a_redirect() {
    let check = |rest: &str, location: &str| {
        let answer = get(&encoded(&format!("{}{rest}", did())), URI_LIST);
        assert_eq!((answer.status, answer.location.as_deref()), (303, Some(location)), "{rest}");
        assert!(answer.body.is_empty() && answer.content_type.is_none());
    };
    check("?service=trust-registry", TRUST_REGISTRY);
    check("?service=trust-registry#part", &format!("{TRUST_REGISTRY}#part"));
    check(
        "?service=trust-registry&relativeRef=%2Flists%3Fa%3D1",
        "https://trust.example:8443/lists?a=1",
    );
    check("?service=trust-registry&relativeRef=lists", "https://trust.example:8443/v1/lists");
    check("?service=linked-domains&relativeRef=a%23b", "https://ministry.example/a#b");
    let url = |rest: &str| encoded(&format!("{}{rest}", did()));
    refused(
        &get(&url("?service=linked-domains&relativeRef=a%23b#c"), URI_LIST),
        400,
        "INVALID_DID_URL",
    );
    refused(
        &get(&url("?service=linked-domains&relativeRef=..%2Fa"), URI_LIST),
        400,
        "INVALID_DID_URL",
    );
    refused(
        &get(&url("?service=linked-domains&relativeRef=%2F%2Fevil"), URI_LIST),
        400,
        "INVALID_DID_URL",
    );
    refused(&get(&url("?service=other"), URI_LIST), 404, "NOT_FOUND");
    refused(&get(&url(""), URI_LIST), 406, "REPRESENTATION_NOT_SUPPORTED");
}

#[test]
fn other_paths_and_parameters_name_nothing() {
    for rest in ["/path", "/", "?hl=zm", "?relativeRef=a", "?versionId=1&foo=bar"] {
        for accept in [RESOLUTION, DEREFERENCING, DOCUMENT] {
            refused(&get(&format!("{}{rest}", did()), accept), 404, "NOT_FOUND");
        }
    }
}
