//! What live nodes serve, held against DID Core 1.1 and against clients of other versions.
//!
//! The documents are those of `sillok-devnet fixtures`, taken from a running network. The rules are read from DID Core 1.1
//! (W3C Candidate Recommendation Snapshot, 2026-03-05) and Controlled Identifiers 1.0, and not from our own code; each is
//! shown to be able to fail.

#[cfg(test)]
#[path = "support/harness.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod harness;

#[cfg(test)]
mod did_core {
    use super::harness::Network;
    use serde_json::{Map, Value, json};
    use sillok_client::keys::KeyAlgorithm::Ed25519;
    use sillok_client::verify::{Asked, Policy, Verifier};
    use sillok_devnet::clock_ms;
    use sillok_devnet::fixtures::{MEDIA_TYPES, SCENE_FILE, SUITE_FILE};
    use sillok_proto::v1::did_resolver_client::DidResolverClient;
    use sillok_proto::{decode, encode, v1};
    use std::collections::BTreeSet;
    use std::process::Command;
    use std::sync::OnceLock;
    use tonic::codegen::http::uri::PathAndQuery;
    use tonic_prost::ProstCodec;

    static NETWORK: OnceLock<Network> = OnceLock::new();

    fn network() -> &'static Network {
        NETWORK.get_or_init(|| Network::start("did-core", 4, 0))
    }

    // --------------------------------------------------------------------------------------- DID Core 1.1

    /// DID Core 1.1 §3.1.
    fn is_did(text: &str) -> bool {
        let id_char = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        let Some((method, id)) = text.strip_prefix("did:").and_then(|rest| rest.split_once(':'))
        else {
            return false;
        };
        let is_method = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        !method.is_empty()
            && method.chars().all(is_method)
            && id.split(':').all(|part| part.chars().all(id_char))
            && !id.ends_with(':')
            && !id.is_empty()
    }

    /// DID Core 1.1 §3.2, of what identifies a part of a document: absolute here.
    fn is_did_url_of(did: &str, id: &Value) -> bool {
        let fragment = id.as_str().and_then(|id| id.strip_prefix(did)?.strip_prefix('#'));
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/?".contains(c);
        fragment.is_some_and(|fragment| !fragment.is_empty() && fragment.chars().all(allowed))
    }

    /// A datetime normalized to UTC without fractions of a second (XMLSCHEMA11-2).
    fn is_datetime(value: &Value) -> bool {
        let form = |text: &str| {
            text.len() == 20
                && text
                    .chars()
                    .zip("0000-00-00T00:00:00Z".chars())
                    .all(|(c, form)| if form == '0' { c.is_ascii_digit() } else { c == form })
        };
        value.as_str().is_some_and(form)
    }

    const RELATIONSHIPS: [&str; 5] = [
        "authentication",
        "assertionMethod",
        "keyAgreement",
        "capabilityInvocation",
        "capabilityDelegation",
    ];

    /// The rules that a document breaks, each by its name.
    fn violations(document: &Value, did: &str) -> BTreeSet<&'static str> {
        let mut broken = BTreeSet::new();
        let mut rule = |name, holds: bool| {
            if !holds {
                broken.insert(name);
            }
        };
        let empty = Map::new();
        let members = document.as_object().unwrap_or(&empty);
        let known =
            ["@context", "id", "alsoKnownAs", "controller", "verificationMethod", "service"];
        let is_known = |name: &String| {
            known.contains(&name.as_str()) || RELATIONSHIPS.contains(&name.as_str())
        };
        rule(
            "document: a map of registered members",
            document.is_object() && members.keys().all(is_known),
        );
        rule("id: the DID, string-equal", document["id"] == did && is_did(did));
        rule(
            "@context: an ordered set that begins with that of DID 1.1",
            document["@context"][0] == "https://www.w3.org/ns/did/v1.1",
        );
        // Sets of strings and maps: never empty, no member twice.
        let of = |name: &str| members.get(name).and_then(Value::as_array);
        for name in ["verificationMethod", "service"].into_iter().chain(RELATIONSHIPS) {
            let is_set = of(name).is_some_and(|set| {
                !set.is_empty() && set.iter().enumerate().all(|(at, one)| !set[..at].contains(one))
            });
            rule("sets: not empty, nothing twice", !members.contains_key(name) || is_set);
        }
        let none = Vec::new();
        let methods = of("verificationMethod").unwrap_or(&none);
        let services = of("service").unwrap_or(&none);
        for method in methods {
            rule("verification method: id", is_did_url_of(did, &method["id"]));
            rule("verification method: type", method["type"].is_string());
            rule(
                "verification method: controller is a DID",
                method["controller"].as_str().is_some_and(is_did),
            );
            let key = method["publicKeyMultibase"].as_str().unwrap_or_default();
            rule(
                "Multikey: publicKeyMultibase alone",
                key.starts_with('z') && method.get("publicKeyJwk").is_none(),
            );
            let secret =
                ["secretKeyMultibase", "secretKeyJwk", "privateKeyJwk", "privateKeyBase58"];
            rule("no secret key", secret.iter().all(|name| method.get(*name).is_none()));
            let time = |name: &str| method.get(name).is_none_or(is_datetime);
            rule("datetimes: UTC, whole seconds", time("expires") && time("revoked"));
        }
        for reference in RELATIONSHIPS.iter().flat_map(|name| of(name).unwrap_or(&none)) {
            let there = methods.iter().any(|method| method["id"] == *reference);
            rule("relationship: a verification method or a reference to one", there);
        }
        for service in services {
            rule("service: id is a URI", is_did_url_of(did, &service["id"]));
            rule("service: type", service["type"].is_string());
            let endpoint = service["serviceEndpoint"].as_str().unwrap_or_default();
            rule("service: endpoint is a URI", endpoint.starts_with("https://"));
        }
        let ids: Vec<&Value> = methods.iter().chain(services).map(|one| &one["id"]).collect();
        let distinct: BTreeSet<&str> = ids.iter().filter_map(|id| id.as_str()).collect();
        rule("ids: unique in the document", distinct.len() == ids.len());
        broken
    }

    /// The fixtures of the running network, made once.
    fn fixtures() -> &'static (Value, Value) {
        static FIXTURES: OnceLock<(Value, Value)> = OnceLock::new();
        FIXTURES.get_or_init(|| {
            let out = tempfile::tempdir().unwrap();
            let made = Command::new(env!("CARGO_BIN_EXE_sillok-devnet"))
                .arg("--dir")
                .arg(&network().directory)
                .args(["fixtures", "--out"])
                .arg(out.path())
                .output()
                .unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            let read = |name: &str| {
                serde_json::from_slice(&std::fs::read(out.path().join(name)).unwrap()).unwrap()
            };
            (read(SUITE_FILE), read(SCENE_FILE))
        })
    }

    #[test]
    fn c11_documents_of_live_dids_are_those_of_did_core() {
        let (suite, scene) = fixtures();
        let dids = suite["dids"].as_array().unwrap();
        // All of the scene but who is deactivated and who never was.
        assert_eq!(dids.len(), scene["dids"].as_object().unwrap().len() - 2);
        let mut members = BTreeSet::new();
        for did in dids.iter().filter_map(Value::as_str) {
            let fixture = &suite[did];
            for media_type in MEDIA_TYPES {
                let production = &fixture[media_type];
                assert_eq!(production["didResolutionMetadata"]["contentType"], media_type);
                let document: Value =
                    serde_json::from_str(production["representation"].as_str().unwrap()).unwrap();
                assert_eq!(violations(&document, did), BTreeSet::new(), "{did} as {media_type}");
                // Representation and data model say the same.
                let mut model = fixture["didDocumentDataModel"]["properties"].clone();
                let entries = &production["didDocumentDataModel"]["representationSpecificEntries"];
                model["@context"] = entries["@context"].clone();
                assert_eq!(model, document);
                members.extend(document.as_object().unwrap().keys().cloned());
                let metadata = &production["didDocumentMetadata"];
                assert!(is_datetime(&metadata["created"]));
                assert!(metadata["versionId"].is_string());
                assert!(metadata.get("updated").is_none_or(is_datetime));
            }
        }
        // The fixtures show every member that a document of this method has.
        for member in RELATIONSHIPS.iter().chain(&["verificationMethod", "service", "id"]) {
            assert!(members.contains(*member), "no document has {member}");
        }
    }

    #[test]
    fn the_fixtures_have_the_form_of_the_suite() {
        let (suite, _) = fixtures();
        assert_eq!(suite["didMethod"], "did:sillok");
        assert_eq!(suite["supportedContentTypes"], json!(MEDIA_TYPES));
        for name in ["implementation", "implementer"] {
            assert!(suite[name].is_string());
        }
        for (name, url) in suite["didParameters"].as_object().unwrap() {
            assert!(url.as_str().unwrap().contains(&format!("{name}=")), "{name}: {url}");
        }
    }

    type Change<'a> = &'a dyn Fn(&mut Value);

    /// A rule that cannot fail is none.
    #[test]
    fn each_rule_of_did_core_can_fail() {
        let (suite, scene) = fixtures();
        let did = scene["dids"]["organization"].as_str().unwrap();
        let text = suite[did]["application/did"]["representation"].as_str().unwrap();
        let honest: Value = serde_json::from_str(text).unwrap();
        let broken_by = |change: Change<'_>| {
            let mut document = honest.clone();
            change(&mut document);
            violations(&document, did)
        };
        let cases: [(&str, Change<'_>); 13] = [
            ("document: a map of registered members", &|d| d["owner"] = json!("x")),
            ("id: the DID, string-equal", &|d| d["id"] = json!("did:sillok:devnet:z")),
            ("@context: an ordered set that begins with that of DID 1.1", &|d| {
                d["@context"] = json!(["https://www.w3.org/ns/did/v1"]);
            }),
            ("sets: not empty, nothing twice", &|d| d["keyAgreement"] = json!([])),
            ("verification method: id", &|d| d["verificationMethod"][0]["id"] = json!("#k")),
            ("verification method: type", &|d| d["verificationMethod"][0]["type"] = Value::Null),
            ("verification method: controller is a DID", &|d| {
                d["verificationMethod"][0]["controller"] = json!("nobody");
            }),
            ("Multikey: publicKeyMultibase alone", &|d| {
                d["verificationMethod"][0]["publicKeyJwk"] = json!({});
            }),
            ("no secret key", &|d| {
                d["verificationMethod"][0]["secretKeyMultibase"] = json!("z");
            }),
            ("datetimes: UTC, whole seconds", &|d| {
                d["verificationMethod"][0]["expires"] = json!("2026-11-21T09:00:00.5Z");
            }),
            ("relationship: a verification method or a reference to one", &|d| {
                d["authentication"] = json!([format!("{did}#nobody")]);
            }),
            ("service: endpoint is a URI", &|d| d["service"][0]["serviceEndpoint"] = json!("x")),
            ("ids: unique in the document", &|d| {
                d["service"][0]["id"] = d["verificationMethod"][0]["id"].clone();
            }),
        ];
        assert_eq!(broken_by(&|_| {}), BTreeSet::new());
        for (rule, change) in cases {
            let broken = broken_by(change);
            assert!(broken.contains(rule), "{rule}: {broken:?}");
        }
    }

    // ---------------------------------------------------------------------------- clients of other versions

    /// `ResolveRequest` as a later version of a client may have it.
    #[derive(Clone, PartialEq, prost::Message)]
    struct LaterRequest {
        #[prost(string, tag = "1")]
        did: String,
        #[prost(uint64, tag = "2")]
        min_height: u64,
        #[prost(string, repeated, tag = "900")]
        hints: Vec<String>,
    }

    /// `ResolveResponse` as an earlier version of a client knows it: without the document and what came later.
    #[derive(Clone, PartialEq, prost::Message)]
    struct EarlierResponse {
        #[prost(message, optional, tag = "1")]
        proof: Option<v1::StateProof>,
        #[prost(message, repeated, tag = "2")]
        heads: Vec<v1::Head>,
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn c13_a_node_answers_a_client_that_is_newer_and_one_that_is_older() {
        let (holder, found) = network().holder(Ed25519).await;
        let url = network().devnet().nodes[0].grpc.clone();
        let channel =
            tonic::transport::Endpoint::from_shared(url).unwrap().connect().await.unwrap();
        let did = holder.did.to_string();

        // Newer: the node passes over what it does not know.
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let request =
            LaterRequest { did: did.clone(), min_height: found.height, hints: vec!["x".into(); 3] };
        let path = PathAndQuery::from_static("/sillok.v1.DidResolver/Resolve");
        let codec = ProstCodec::<LaterRequest, v1::ResolveResponse>::default();
        let answer = client
            .unary(tonic::Request::new(request), path.clone(), codec)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(answer.heads.last(), Some(&found.head));

        // Older: it passes over what the node says besides, and what it knows still proves the head.
        let request = v1::ResolveRequest { did, ..v1::ResolveRequest::default() };
        client.ready().await.unwrap();
        let codec = ProstCodec::<v1::ResolveRequest, EarlierResponse>::default();
        let older = client.unary(tonic::Request::new(request.clone()), path, codec).await;
        let older = older.unwrap().into_inner();
        assert_eq!(older.heads.last(), Some(&found.head));

        // A client of today reads an answer of tomorrow, and verifies it. It follows the headers first: an answer given
        // before what it trusts would rightly be refused as a rollback.
        let reader = network().first_reader();
        reader.resolve(&holder.did).await.unwrap();
        let mut resolver = DidResolverClient::new(channel);
        let today = resolver.resolve(request).await.unwrap().into_inner();
        let mut tomorrow = encode(&today);
        tomorrow
            .extend(encode(&LaterRequest { hints: vec!["y".into()], ..LaterRequest::default() }));
        let read: v1::ResolveResponse = prost::Message::decode(tomorrow.as_slice()).unwrap();
        assert_eq!(read, today);
        let (chain, trusted) = (reader.client.chain(), reader.client.trusted());
        let verifier = Verifier::new(&chain, &trusted, Policy::at(clock_ms()));
        assert!(verifier.resolution(&holder.did, Asked::Current, &read).unwrap().fresh().is_ok());
    }

    /// What is hashed or signed has no later version without a later protocol: there nothing unknown is passed over.
    #[tokio::test]
    async fn c13_what_is_hashed_or_signed_tolerates_nothing_unknown() {
        let document = network().scene().registrar.document();
        let mut bytes = encode(&document);
        assert_eq!(decode::<v1::DidDocument>(&bytes, 4096), Ok(document));
        bytes.extend(encode(&LaterRequest { hints: vec!["z".into()], ..LaterRequest::default() }));
        assert!(decode::<v1::DidDocument>(&bytes, 4096).is_err());
    }
}
