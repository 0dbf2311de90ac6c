//! Queries and answers of TRQP v2, held against the JSON schemas of the specification.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what a test builds must be buildable")]

use serde_json::{Map, Value, json};
use sillok_did_method::Did;
use sillok_did_method::trqp::{self, Authority, Kind, Query, QueryError, Resource};
use sillok_proto::Hash;
use sillok_proto::v1::Action;

fn schema(name: &str) -> Value {
    let text = match name {
        "authorization_request" => {
            include_str!("vectors/trqp/trqp_authorization_request.schema.json")
        }
        "authorization_response" => {
            include_str!("vectors/trqp/trqp_authorization_response.schema.json")
        }
        "recognition_request" => include_str!("vectors/trqp/trqp_recognition_request.schema.json"),
        "recognition_response" => {
            include_str!("vectors/trqp/trqp_recognition_response.schema.json")
        }
        other => panic!("no schema {other}"),
    };
    serde_json::from_str(text).unwrap()
}

/// Stops at a word of a schema that [`check`] does not know.
fn all_known(words: &Map<String, Value>) {
    let known = [
        "$id",
        "title",
        "description",
        "type",
        "required",
        "properties",
        "additionalProperties",
        "format",
    ];
    for word in words.keys() {
        assert!(known.contains(&word.as_str()), "the schema has the word {word}");
    }
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        other => panic!("the schema has the type {other}"),
    }
}

/// What of JSON Schema the four use, and nothing else: another word in them stops the test.
fn check(schema: &Value, value: &Value) -> Result<(), String> {
    let words = schema.as_object().unwrap();
    all_known(words);
    let right = is_of_type(value, words["type"].as_str().unwrap());
    if !right {
        return Err(format!("{value} is no {}", words["type"]));
    }
    if words.get("format").is_some_and(|format| format == "date-time") {
        let text = value.as_str().unwrap();
        let seconds = sillok_did_method::parse_datetime(text);
        let fraction = text.split_once('.').map(|(whole, _)| format!("{whole}Z"));
        let cut = fraction.map(|whole| sillok_did_method::parse_datetime(&whole));
        if seconds.is_err() && !matches!(cut, Some(Ok(_))) {
            return Err(format!("{text} is no date-time"));
        }
    }
    let empty = Map::new();
    let members = value.as_object().unwrap_or(&empty);
    for name in words.get("required").and_then(Value::as_array).into_iter().flatten() {
        if !members.contains_key(name.as_str().unwrap()) {
            return Err(format!("{name} is missing"));
        }
    }
    let properties = words.get("properties").and_then(Value::as_object);
    for (name, member) in members {
        let rule = properties.and_then(|rules| rules.get(name));
        if let Some(rule) = rule.or_else(|| words.get("additionalProperties")) {
            check(rule, member).map_err(|error| format!("{name}: {error}"))?;
        }
    }
    Ok(())
}

fn did(n: u8) -> String {
    Did::new("devnet", Hash([n; 32])).unwrap().to_string()
}

fn query() -> Value {
    json!({
        "entity_id": did(1),
        "authority_id": did(2),
        "action": "issue",
        "resource": format!("urn:sillok:type:{}", "ab".repeat(32)),
    })
}

fn changed(name: &str, value: Value) -> Value {
    let mut query = query();
    query[name] = value;
    query
}

fn read(query: &Value) -> Result<Query, QueryError> {
    trqp::read(Kind::Authorization, "devnet", query.to_string().as_bytes())
}

#[test]
fn a_query_says_who_does_what_under_whom() {
    for kind in ["authorization_request", "recognition_request"] {
        check(&schema(kind), &query()).unwrap();
    }
    let read_query = read(&query()).unwrap();
    assert_eq!(read_query.entity, Hash([1; 32]));
    assert_eq!(read_query.authority, Authority::Organization(Hash([2; 32])));
    assert_eq!(read_query.action, Action::Issue);
    assert_eq!(read_query.resource, Resource::Type(Hash([0xab; 32])));
    assert_eq!(read_query.time_ms, None);
    let governance = changed("authority_id", json!("urn:sillok:governance:devnet"));
    assert_eq!(read(&governance).unwrap().authority, Authority::Governance);
    let all = changed("resource", json!("urn:sillok:all"));
    assert_eq!(read(&all).unwrap().resource.to_bytes(), Vec::<u8>::new());
    // Members that are not known are passed over.
    assert!(read(&changed("other", json!([1]))).is_ok());
}

#[test]
fn a_time_is_utc_and_may_have_a_fraction() {
    let at =
        |time: &str| read(&changed("context", json!({"time": time}))).map(|query| query.time_ms);
    assert_eq!(at("2026-11-21T09:00:00Z"), Ok(Some(1_795_251_600_000)));
    assert_eq!(at("2026-11-21T09:00:00.5Z"), Ok(Some(1_795_251_600_500)));
    assert_eq!(at("2026-11-21T09:00:00.123456Z"), Ok(Some(1_795_251_600_123)));
    for wrong in [
        "2026-11-21T09:00:00+00:00",
        "2026-11-21T09:00:00.Z",
        "yesterday",
        "",
        "2026-11-21T09:00:00.5",
    ] {
        assert_eq!(at(wrong).unwrap_err().status(), 400, "{wrong}");
    }
}

#[test]
fn what_is_malformed_and_what_is_not_recognized_are_told_apart() {
    for name in ["entity_id", "authority_id", "action", "resource"] {
        let mut missing = query();
        missing.as_object_mut().unwrap().remove(name);
        assert!(check(&schema("authorization_request"), &missing).is_err());
        for wrong in [
            missing,
            changed(name, json!("")),
            changed(name, json!(1)),
            changed(name, json!("a".repeat(600))),
        ] {
            let error = read(&wrong).unwrap_err();
            assert_eq!(error.status(), 400, "{wrong}");
            assert!(error.to_string().starts_with(name), "{error}");
        }
    }
    for context in [json!([]), json!({"time": 1}), json!({"x": {}}), json!({"x": "a".repeat(600)})]
    {
        assert_eq!(read(&changed("context", context)).unwrap_err().status(), 400);
    }
    for body in ["", "[]", "{", "null", "\"a\""] {
        let error = trqp::read(Kind::Recognition, "devnet", body.as_bytes()).unwrap_err();
        assert_eq!(error.status(), 400, "{body}");
    }
    let elsewhere = Did::new("other", Hash([1; 32])).unwrap().to_string();
    for (name, unknown) in [
        ("entity_id", "urn:example:someone"),
        ("entity_id", elsewhere.as_str()),
        ("entity_id", "did:web:example.org"),
        ("authority_id", "https://authority.example"),
        ("authority_id", "urn:sillok:governance:other"),
        ("action", "ISSUE"),
        ("action", "fly"),
        ("action", "unspecified"),
        ("resource", "urn:example:thing"),
        ("resource", "urn:sillok:type:ab"),
        (
            "resource",
            "urn:sillok:list:ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB",
        ),
    ] {
        let error = read(&changed(name, json!(unknown))).unwrap_err();
        assert_eq!(error, QueryError::NotRecognized(name), "{unknown}");
        assert_eq!(error.status(), 404);
        assert!(!error.to_string().contains(unknown), "an error does not say who was asked for");
    }
}

#[test]
fn an_action_is_on_what_it_can_be_on() {
    let of_list = format!("urn:sillok:list:{}", "ab".repeat(32));
    let of_type = format!("urn:sillok:type:{}", "ab".repeat(32));
    for (action, on_type, on_list) in [
        ("accredit", true, false),
        ("define-type", true, false),
        ("register", false, false),
        ("issue", true, false),
        ("approve", true, false),
        ("revoke", true, false),
        ("submit", false, false),
        ("serve-status", false, true),
        ("audit", true, false),
        ("countersign", false, false),
    ] {
        let fits = |resource: &str| {
            let mut query = changed("action", json!(action));
            query["resource"] = json!(resource);
            read(&query).is_ok()
        };
        assert_eq!((fits(&of_type), fits(&of_list)), (on_type, on_list), "{action}");
        assert!(fits("urn:sillok:all"), "{action}");
    }
}

#[test]
fn an_authority_stands_above_the_entity() {
    let chain = [1, 3, 2].map(|n| Hash([n; 32]));
    assert!(read(&query()).unwrap().is_under(&chain));
    assert!(!read(&changed("authority_id", json!(did(4)))).unwrap().is_under(&chain));
    assert!(!read(&changed("authority_id", json!(did(1)))).unwrap().is_under(&chain), "not itself");
    let governance = read(&changed("authority_id", json!("urn:sillok:governance:devnet"))).unwrap();
    assert!(governance.is_under(&chain[..1]) && !governance.is_under(&[]));
}

#[test]
fn to_be_recognized_is_to_hold_the_right_and_to_give_it() {
    let actions = |kind, action: &str| {
        let query = changed("action", json!(action)).to_string();
        trqp::read(kind, "devnet", query.as_bytes()).unwrap().actions()
    };
    assert_eq!(actions(Kind::Authorization, "issue"), [Action::Issue]);
    assert_eq!(actions(Kind::Recognition, "issue"), [Action::Accredit, Action::Issue]);
    assert_eq!(actions(Kind::Recognition, "accredit"), [Action::Accredit]);
}

#[test]
fn answers_are_as_the_schemas_say() {
    let context = json!({"time": "2026-11-21T09:00:00.5Z", "locator": "a"});
    for (kind, name, verdict) in [
        (Kind::Authorization, "authorization_response", "authorized"),
        (Kind::Recognition, "recognition_response", "recognized"),
    ] {
        for query in [query(), changed("context", context.clone())] {
            let read = trqp::read(kind, "devnet", query.to_string().as_bytes()).unwrap();
            for holds in [true, false] {
                let answer = read.answer(holds, 1_795_251_600_999, Some(json!([])));
                check(&schema(name), &answer).unwrap();
                assert_eq!(answer[verdict], holds);
                assert_eq!(answer["time_evaluated"], "2026-11-21T09:00:00Z");
                assert_eq!(answer.get("context"), query.get("context"));
                let requested = query.get("context").map(|context| context["time"].clone());
                assert_eq!(answer.get("time_requested").cloned(), requested);
                for part in ["entity_id", "authority_id", "action", "resource"] {
                    assert_eq!(answer[part], query[part]);
                }
            }
        }
    }
}
