//! `genesis.json`: the genesis as people write and read it. Keys and hashes are hex, keys of documents Multikey.
//!
//! The file is a view: the genesis hash is over the canonical message, so spaces and order of members do not matter.

use super::{Chain, GenesisError};
use serde::{Deserialize, Serialize};
use sillok_did_method::{from_multikey, multikey};
use sillok_proto::v1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    protocol_version: u32,
    network: String,
    time_ms: u64,
    parameters: ParametersFile,
    organizations: Vec<OrganizationFile>,
    operators: Vec<OperatorFile>,
    #[serde(default)]
    observers: Vec<ObserverFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ParametersFile {
    valid_until_window_ms: u64,
    heartbeat_ms: u64,
    clock_behind_ms: u64,
    clock_ahead_ms: u64,
    trusting_period_ms: u64,
    block_bytes_max: u64,
    block_state_writes_max: u32,
    block_signature_checks_max: u32,
    archives_min: u32,
    list_base: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OrganizationFile {
    name: String,
    keys: Vec<KeyFile>,
    #[serde(default)]
    services: Vec<ServiceFile>,
    actions: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    public_key: String,
    relationships: u32,
    #[serde(default)]
    expires_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceFile {
    kind: String,
    endpoint: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OperatorFile {
    organization: String,
    validator_key: String,
    node_key: String,
    governance_key: String,
    #[serde(default)]
    archive: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ObserverFile {
    node_key: String,
    #[serde(default)]
    archive: bool,
}

fn refuse(reason: impl Into<String>) -> GenesisError {
    GenesisError::Json { reason: reason.into() }
}

fn bytes(text: &str, what: &str) -> Result<Vec<u8>, GenesisError> {
    hex::decode(text).map_err(|error| refuse(format!("{what} is not hex ({error})")))
}

/// Reads and checks `genesis.json`.
///
/// # Errors
///
/// [`GenesisError`]: not JSON of this form, or a rule of the genesis.
pub fn from_json(text: &str) -> Result<Chain, GenesisError> {
    let file: File = serde_json::from_str(text).map_err(|error| refuse(error.to_string()))?;
    let p = file.parameters;
    Chain::new(v1::Genesis {
        protocol_version: file.protocol_version,
        network: file.network,
        time_ms: file.time_ms,
        parameters: Some(v1::Parameters {
            valid_until_window_ms: p.valid_until_window_ms,
            heartbeat_ms: p.heartbeat_ms,
            clock_behind_ms: p.clock_behind_ms,
            clock_ahead_ms: p.clock_ahead_ms,
            trusting_period_ms: p.trusting_period_ms,
            block_bytes_max: p.block_bytes_max,
            block_state_writes_max: p.block_state_writes_max,
            block_signature_checks_max: p.block_signature_checks_max,
            archives_min: p.archives_min,
            list_base: p.list_base,
            previous: Vec::new(),
        }),
        organizations: file
            .organizations
            .iter()
            .map(organization)
            .collect::<Result<Vec<_>, _>>()?,
        operators: file
            .operators
            .iter()
            .map(|operator| {
                Ok(v1::Operator {
                    organization: bytes(&operator.organization, "an operator's organization")?,
                    validator_key: bytes(&operator.validator_key, "a validator key")?,
                    node_key: bytes(&operator.node_key, "a node key")?,
                    governance_key: bytes(&operator.governance_key, "a governance key")?,
                    archive: operator.archive,
                })
            })
            .collect::<Result<Vec<_>, GenesisError>>()?,
        observers: file
            .observers
            .iter()
            .map(|observer| {
                Ok(v1::Observer {
                    node_key: bytes(&observer.node_key, "an observer's node key")?,
                    archive: observer.archive,
                })
            })
            .collect::<Result<Vec<_>, GenesisError>>()?,
    })
}

fn organization(file: &OrganizationFile) -> Result<v1::GenesisOrganization, GenesisError> {
    let keys = file
        .keys
        .iter()
        .map(|key| {
            Ok(v1::BoundKey {
                key: Some(
                    from_multikey(&key.public_key).map_err(|error| refuse(error.to_string()))?,
                ),
                relationships: key.relationships,
                expires_ms: key.expires_ms,
            })
        })
        .collect::<Result<Vec<_>, GenesisError>>()?;
    let services = file
        .services
        .iter()
        .map(|service| {
            let kind = v1::ServiceKind::from_str_name(&service.kind)
                .ok_or_else(|| refuse(format!("service kind {} is unknown", service.kind)))?;
            Ok(v1::Service { kind: kind.into(), endpoint: service.endpoint.clone() })
        })
        .collect::<Result<Vec<_>, GenesisError>>()?;
    let actions = file
        .actions
        .iter()
        .map(|name| {
            v1::Action::from_str_name(name)
                .map(i32::from)
                .ok_or_else(|| refuse(format!("action {name} is unknown")))
        })
        .collect::<Result<Vec<_>, GenesisError>>()?;
    Ok(v1::GenesisOrganization {
        name: file.name.clone(),
        document: Some(v1::DidDocument { keys, services }),
        actions,
    })
}

/// Writes the file of a checked genesis.
///
/// # Errors
///
/// [`GenesisError::Json`] if a key has no Multikey form, which a checked genesis excludes.
pub fn to_json(chain: &Chain) -> Result<String, GenesisError> {
    let genesis = chain.genesis();
    let p = chain.parameters();
    let organizations = genesis
        .organizations
        .iter()
        .map(|organization| {
            let document = organization.document.clone().unwrap_or_default();
            Ok(OrganizationFile {
                name: organization.name.clone(),
                keys: document
                    .keys
                    .iter()
                    .map(|bound| {
                        let key = bound.key.clone().unwrap_or_default();
                        Ok(KeyFile {
                            public_key: multikey(&key)
                                .map_err(|error| refuse(error.to_string()))?,
                            relationships: bound.relationships,
                            expires_ms: bound.expires_ms,
                        })
                    })
                    .collect::<Result<Vec<_>, GenesisError>>()?,
                services: document
                    .services
                    .iter()
                    .map(|service| ServiceFile {
                        kind: service.kind().as_str_name().to_owned(),
                        endpoint: service.endpoint.clone(),
                    })
                    .collect(),
                actions: organization
                    .actions()
                    .map(|action| action.as_str_name().to_owned())
                    .collect(),
            })
        })
        .collect::<Result<Vec<_>, GenesisError>>()?;
    let file = File {
        protocol_version: genesis.protocol_version,
        network: genesis.network.clone(),
        time_ms: genesis.time_ms,
        parameters: ParametersFile {
            valid_until_window_ms: p.valid_until_window_ms,
            heartbeat_ms: p.heartbeat_ms,
            clock_behind_ms: p.clock_behind_ms,
            clock_ahead_ms: p.clock_ahead_ms,
            trusting_period_ms: p.trusting_period_ms,
            block_bytes_max: p.block_bytes_max,
            block_state_writes_max: p.block_state_writes_max,
            block_signature_checks_max: p.block_signature_checks_max,
            archives_min: p.archives_min,
            list_base: p.list_base.clone(),
        },
        organizations,
        operators: genesis
            .operators
            .iter()
            .map(|operator| OperatorFile {
                organization: hex::encode(&operator.organization),
                validator_key: hex::encode(&operator.validator_key),
                node_key: hex::encode(&operator.node_key),
                governance_key: hex::encode(&operator.governance_key),
                archive: operator.archive,
            })
            .collect(),
        observers: genesis
            .observers
            .iter()
            .map(|observer| ObserverFile {
                node_key: hex::encode(&observer.node_key),
                archive: observer.archive,
            })
            .collect(),
    };
    serde_json::to_string_pretty(&file)
        .map(|mut text| {
            text.push('\n');
            text
        })
        .map_err(|error| refuse(error.to_string()))
}
