//! The genesis: what it may say, and that its file is a view of it.

use crate::support::{World, genesis, key, organization_document};
use sillok_ledger::genesis::{from_json, to_json};
use sillok_ledger::{Chain, GenesisError, TreeKey, genesis_header, organization_digest};
use sillok_proto::{Hash, v1};

fn refused(change: impl FnOnce(&mut v1::Genesis)) -> GenesisError {
    let mut genesis = genesis();
    change(&mut genesis);
    Chain::new(genesis).unwrap_err()
}

fn parameter(change: impl FnOnce(&mut v1::Parameters)) -> GenesisError {
    refused(|genesis| change(genesis.parameters.as_mut().unwrap()))
}

#[test]
fn a_genesis_is_of_this_protocol_version_and_has_a_name() {
    assert_eq!(refused(|one| one.protocol_version = 2), GenesisError::Version { version: 2 });
    for network in ["", "a-b", "Main", "네트워크", "a2345678901234567890123456"] {
        let error = refused(|one| one.network = network.to_owned());
        assert_eq!(error, GenesisError::Network { network: network.to_owned() });
    }
}

#[test]
fn every_figure_is_within_its_range() {
    let named = |error: GenesisError| match error {
        GenesisError::Parameter { name, .. } => name,
        other => panic!("{other}"),
    };
    assert_eq!(named(refused(|one| one.parameters = None)), "valid_until_window_ms");
    assert_eq!(named(parameter(|p| p.valid_until_window_ms = 300_001)), "valid_until_window_ms");
    assert_eq!(named(parameter(|p| p.heartbeat_ms = 0)), "heartbeat_ms");
    assert_eq!(named(parameter(|p| p.clock_behind_ms = u64::MAX)), "clock_behind_ms");
    assert_eq!(named(parameter(|p| p.clock_ahead_ms = 0)), "clock_ahead_ms");
    // A light client takes headers that are 10 s ahead, and calls an answer stale that is a minute old.
    assert_eq!(named(parameter(|p| p.clock_ahead_ms = 5_001)), "clock_ahead_ms");
    assert_eq!(named(parameter(|p| p.heartbeat_ms = 30_001)), "heartbeat_ms");
    assert_eq!(named(parameter(|p| p.trusting_period_ms = 1)), "trusting_period_ms");
    assert_eq!(named(parameter(|p| p.archives_min = 129)), "archives_min");
    assert_eq!(named(parameter(|p| p.previous = vec![0; 32])), "previous");
    // Every admissible transaction fits into an empty block.
    assert_eq!(named(parameter(|p| p.block_bytes_max = 1_048_575)), "block_bytes_max");
    assert_eq!(named(parameter(|p| p.block_state_writes_max = 19_999)), "block_state_writes_max");
    assert_eq!(
        named(parameter(|p| p.block_signature_checks_max = 5_999)),
        "block_signature_checks_max"
    );
}

/// B2: the one text that a network has beside its name is an address of the closed grammar.
#[test]
fn b2_list_base_is_an_https_name_and_a_path() {
    for text in [
        "",
        "http://status.example/",
        "https://status.example",
        "https://status.example/?a=b",
        "https://status.example//",
        "https://홍길동.example/",
        "https://user@status.example/",
    ] {
        let error = parameter(|p| p.list_base = text.to_owned());
        assert!(matches!(error, GenesisError::ListBase { .. }), "{text}: {error}");
    }
    let mut genesis = genesis();
    genesis.parameters.as_mut().unwrap().list_base = "https://status.example/".to_owned();
    assert!(Chain::new(genesis).is_ok());
}

#[test]
fn organizations_are_sorted_and_share_no_key() {
    let error = refused(|one| one.organizations.reverse());
    assert_eq!(error, GenesisError::Order { list: "organizations", by: "digest" });
    let error = refused(|one| one.organizations[1] = one.organizations[0].clone());
    assert!(matches!(error, GenesisError::Organization { .. }), "{error}");
    type Change = fn(&mut v1::GenesisOrganization);
    for change in [
        (|one| one.name = String::new()) as Change,
        |one| one.name = "가".repeat(33),
        |one| one.name = "a\nb".to_owned(),
        |one| one.name = "mini\u{202e}yrts".to_owned(),
        |one| one.name = " ministry".to_owned(),
    ] {
        let error = refused(|genesis| change(&mut genesis.organizations[0]));
        assert!(matches!(error, GenesisError::Name { .. }), "{error}");
    }
    for change in [
        (|one| one.document = None) as Change,
        |one| one.actions = vec![0],
        |one| one.actions = vec![99],
        |one| one.actions = vec![3, 3],
        |one| one.actions = vec![7, 3],
    ] {
        let error = refused(|genesis| change(&mut genesis.organizations[0]));
        assert!(matches!(error, GenesisError::Organization { .. }), "{error}");
    }
    let error = refused(|one| one.organizations[0].document.as_mut().unwrap().keys.reverse());
    assert!(matches!(error, GenesisError::Document { .. }), "{error}");
}

#[test]
fn operators_are_organizations_of_the_genesis_with_keys_of_their_own() {
    assert_eq!(refused(|one| one.operators.clear()), GenesisError::OperatorCount { count: 0 });
    let many = |one: &mut v1::Genesis| one.operators = vec![one.operators[0].clone(); 129];
    assert_eq!(refused(many), GenesisError::OperatorCount { count: 129 });
    let error = refused(|one| one.operators.swap(0, 1));
    assert_eq!(error, GenesisError::Order { list: "operators", by: "validator key" });
    type Change = fn(&mut v1::Genesis);
    for change in [
        (|one| one.operators[1].organization = vec![1; 32]) as Change,
        |one| one.operators[1].organization = one.operators[0].organization.clone(),
        |one| one.operators[1].node_key = vec![0; 32],
        |one| one.operators[1].governance_key = vec![],
        |one| one.operators[1].node_key = one.operators[0].node_key.clone(),
        |one| one.operators[1].node_key = one.operators[1].validator_key.clone(),
        |one| one.operators[1].governance_key = key("registrar/control").point,
    ] {
        let error = refused(change);
        assert!(matches!(error, GenesisError::Operator { index: 1, .. }), "{error}");
    }
}

#[test]
fn observers_are_sorted_and_have_keys_of_their_own() {
    let observer = |node_key: Vec<u8>| v1::Observer { node_key, archive: false };
    let error = refused(|one| one.observers.push(one.observers[0].clone()));
    assert_eq!(error, GenesisError::Order { list: "observers", by: "node key" });
    for node_key in [vec![1; 31], key("operator-1/node").point, key("registrar/submit").point] {
        let error = refused(|one| one.observers = vec![observer(node_key)]);
        assert!(matches!(error, GenesisError::Observer { index: 0, .. }), "{error}");
    }
    let many = |count: usize| {
        let mut one = genesis();
        one.observers = (0..count).map(|nth| observer(key(&format!("{nth}/node")).point)).collect();
        one.observers.sort_by(|a, b| a.node_key.cmp(&b.node_key));
        Chain::new(one).map(|_| ())
    };
    assert_eq!(many(256), Ok(()));
    assert_eq!(many(257), Err(GenesisError::ObserverCount { count: 257 }));
}

#[test]
fn the_genesis_state_holds_what_the_genesis_says_and_nothing_else() {
    let chain = Chain::new(genesis()).unwrap();
    let state = chain.state();
    // 10 organizations with a head, a name and two keys each; 8 grants of 5 of them, each with an index; 4 operators with
    // a record and three keys each, an observer, the members, the figures.
    assert_eq!(state.leaves.len(), 10 * 4 + 8 + 5 + 4 * 4 + 1 + 1 + 1);
    assert_eq!((state.documents.len(), state.heads.len()), (10, 10));
    let registrar = organization_digest(&organization_document("registrar"));
    assert!(state.leaves.contains_key(&TreeKey::grant(&registrar, v1::Action::Register, &[])));
    assert!(!state.leaves.contains_key(&TreeKey::grant(&registrar, v1::Action::Revoke, &[])));
    for head in state.heads.values() {
        assert!(head.authority.is_empty() && head.recovery.is_none() && head.height == 0);
    }
}

#[test]
fn every_field_of_the_genesis_is_in_its_hash_and_so_in_every_header() {
    let hash = *Chain::new(genesis()).unwrap().hash();
    type Change = fn(&mut v1::Genesis);
    for change in [
        (|one| one.network = "other".to_owned()) as Change,
        |one| one.time_ms += 1,
        |one| one.parameters.as_mut().unwrap().archives_min += 1,
        |one| one.organizations[0].name.push('x'),
        |one| one.organizations[0].actions = vec![9],
        |one| one.operators[0].archive ^= true,
        |one| one.observers.clear(),
    ] {
        let mut other = genesis();
        change(&mut other);
        let other = Chain::new(other).unwrap();
        assert_ne!(*other.hash(), hash);
        let header = genesis_header(&other, Hash([0; 32]));
        assert_eq!(header.genesis_hash, other.hash().to_vec());
    }
}

#[test]
fn the_file_is_a_view_and_reads_back_to_the_same_genesis() {
    let chain = World::new().chain;
    let text = to_json(&chain).unwrap();
    assert_eq!(from_json(&text).unwrap(), chain);
    // White space and the order of members do not matter.
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(from_json(&value.to_string()).unwrap().hash(), chain.hash());
}

#[test]
fn a_file_of_another_form_is_refused_with_its_place() {
    let text = to_json(&World::new().chain).unwrap();
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        change(&mut value);
        from_json(&value.to_string()).unwrap_err()
    };
    let json = |error: GenesisError| assert!(matches!(error, GenesisError::Json { .. }), "{error}");
    json(from_json("").unwrap_err());
    json(from_json("{}").unwrap_err());
    json(with(&|value| value["comment"] = "a word".into()));
    json(with(&|value| value["parameters"]["more"] = 1.into()));
    json(with(&|value| value["time_ms"] = (-1).into()));
    json(with(&|value| value["time_ms"] = 1.5.into()));
    json(with(&|value| value["operators"][0]["node_key"] = "xyz".into()));
    json(with(&|value| value["organizations"][0]["keys"][0]["public_key"] = "z123".into()));
    json(with(&|value| value["organizations"][0]["actions"] = serde_json::json!(["ACTION_FLY"])));
    let services = serde_json::json!([{ "kind": "SHOP", "endpoint": "https://a.example" }]);
    json(with(&|value| value["organizations"][0]["services"] = services.clone()));
    let error = with(&|value| value["network"] = "A".into());
    assert!(matches!(error, GenesisError::Network { .. }), "{error}");
}
