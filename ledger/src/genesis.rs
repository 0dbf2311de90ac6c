//! The start of a network: who is in it, with which keys and figures, and the state that follows.
//!
//! Genesis is a canonical message; its hash names the network in every signed string and header. `genesis.json` is a
//! view for people: hex, texts and figures. Parsing JSON happens once at start, never in a rule of consensus.

mod json;

pub use json::{from_json, to_json};

use crate::certificate::{self, PROTOCOL_VERSION};
use crate::light::CLOCK_DRIFT_MS;
use crate::state_key::TreeKey;
use sillok_did_method::{
    DocumentError, EndpointError, NameError, Recovery, check_document, check_endpoint, check_name,
    document_hash, ed25519_key, head_hash, inception, inception_digest, is_verification_key,
    key_id,
};
use sillok_proto::{Hash, Tag, encode, v1};
use std::collections::{BTreeMap, BTreeSet};

/// Most operators, and so validators, of a network: those seated and those that may join.
pub const OPERATORS_MAX: usize = 128;
/// Most observers of a network.
pub const OBSERVERS_MAX: usize = 256;

/// Longest window of any network: names of what was ordered are kept and fetched for as long, whatever the window in
/// force, for it may be changed.
pub const VALID_UNTIL_WINDOW_MS_MAX: u64 = 300_000;
/// Longest heartbeat of any network: half the age from which on clients call an answer stale.
pub const HEARTBEAT_MS_MAX: u64 = 30_000;
/// Furthest that the clocks of any network let a fresh block's time be behind them.
pub const CLOCK_BEHIND_MS_MAX: u64 = 60_000;
/// Furthest that the clocks of any network let a block's time be ahead of them: half of what a light client takes, whose
/// clock may be behind. A client that refused the newest header could not even propose what would mend it.
pub const CLOCK_AHEAD_MS_MAX: u64 = 5_000;
const _: () = assert!(2 * CLOCK_AHEAD_MS_MAX <= CLOCK_DRIFT_MS);
/// Longest block of any network. What passes blocks on takes as much from the start, whatever the bound in force: a node
/// that is one height behind must not refuse a block of the next.
pub const BLOCK_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Why a genesis is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are named by the message of their variant")]
pub enum GenesisError {
    /// Another protocol version.
    #[error(
        "genesis is of protocol version {version}, this software executes {PROTOCOL_VERSION}; install a matching version"
    )]
    Version { version: u32 },
    /// The network's name is not 1 to 24 of a-z and 0-9.
    #[error("network name {network:?} is not 1 to 24 characters of a-z and 0-9; choose another")]
    Network { network: String },
    /// A figure is missing or out of range.
    #[error("parameter {name} is {value}, outside {range}; set it within")]
    Parameter { name: &'static str, value: u64, range: &'static str },
    /// The name under which lists are served.
    #[error("list_base {list_base:?} is refused: {source}; set an https name that ends with /")]
    ListBase { list_base: String, source: EndpointError },
    /// Too few or too many operators.
    #[error("there are {count} operators; a network has 1 to {OPERATORS_MAX}")]
    OperatorCount { count: usize },
    /// Too many observers.
    #[error("there are {count} observers; a network has at most {OBSERVERS_MAX}")]
    ObserverCount { count: usize },
    /// An operator's entry.
    #[error("operator {index}: {reason}")]
    Operator { index: usize, reason: &'static str },
    /// An organization's entry.
    #[error("organization {name:?}: {reason}")]
    Organization { name: String, reason: &'static str },
    /// An organization's name.
    #[error("organization {name:?}: {source}")]
    Name { name: String, source: NameError },
    /// An organization's document.
    #[error("organization {name:?}: {source}")]
    Document { name: String, source: DocumentError },
    /// An observer's entry.
    #[error("observer {index}: {reason}")]
    Observer { index: usize, reason: &'static str },
    /// A list is not in its canonical order.
    #[error("{list} are not sorted without repetition; sort them by {by}")]
    Order { list: &'static str, by: &'static str },
    /// `genesis.json` does not parse.
    #[error("genesis.json: {reason}; mend the file or fetch it again")]
    Json { reason: String },
}

/// A checked genesis, its hash and what follows from them: the fixed part of every rule's context.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    genesis: v1::Genesis,
    parameters: v1::Parameters,
    hash: Hash,
    validators: v1::ValidatorSet,
}

/// What genesis writes before the first block.
#[derive(Debug, Clone, PartialEq)]
pub struct GenesisState {
    /// State leaves.
    pub leaves: BTreeMap<TreeKey, Vec<u8>>,
    /// Documents by hash.
    pub documents: BTreeMap<Hash, v1::DidDocument>,
    /// Heads by hash.
    pub heads: BTreeMap<Hash, v1::Head>,
}

/// The DID digest of an organization of the genesis: an inception by governance, without recovery.
#[must_use]
pub fn organization_digest(document: &v1::DidDocument) -> Hash {
    inception_digest(&inception(v1::Kind::Organization, document, None, &Recovery::None))
}

/// Figures for a network, those a devnet uses and the documents name.
#[must_use]
pub fn default_parameters() -> v1::Parameters {
    v1::Parameters {
        valid_until_window_ms: 300_000,
        heartbeat_ms: 10_000,
        clock_behind_ms: 10_000,
        clock_ahead_ms: 2_000,
        trusting_period_ms: 30 * 24 * 3_600_000,
        block_bytes_max: 2 * 1024 * 1024,
        block_state_writes_max: 40_000,
        block_signature_checks_max: 8_000,
        archives_min: 1,
        list_base: "https://status.sillok.example/lists/".to_owned(),
        previous: Vec::new(),
    }
}

impl Chain {
    /// Checks a genesis.
    ///
    /// # Errors
    ///
    /// [`GenesisError`]: the first rule broken.
    pub fn new(genesis: v1::Genesis) -> Result<Self, GenesisError> {
        if genesis.protocol_version != PROTOCOL_VERSION {
            return Err(GenesisError::Version { version: genesis.protocol_version });
        }
        let network_ok = (1..=24).contains(&genesis.network.len())
            && genesis.network.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !network_ok {
            return Err(GenesisError::Network { network: genesis.network });
        }
        let parameters = genesis.parameters.clone().unwrap_or_default();
        check_parameters(&parameters)?;
        let (organizations, mut keys) = check_organizations(&genesis)?;
        check_operators(&genesis, &organizations, &mut keys)?;
        check_observers(&genesis, &mut keys)?;
        let validators = v1::ValidatorSet {
            validators: genesis
                .operators
                .iter()
                .map(|operator| v1::Validator {
                    public_key: operator.validator_key.clone(),
                    organization: operator.organization.clone(),
                    since_height: 0,
                })
                .collect(),
        };
        let hash = Tag::Genesis.hash_message(&genesis);
        Ok(Self { genesis, parameters, hash, validators })
    }

    /// The genesis itself.
    #[must_use]
    pub const fn genesis(&self) -> &v1::Genesis {
        &self.genesis
    }

    /// The genesis hash.
    #[must_use]
    pub const fn hash(&self) -> &Hash {
        &self.hash
    }

    /// The network's name.
    #[must_use]
    pub fn network(&self) -> &str {
        &self.genesis.network
    }

    /// The figures of the genesis. Those in force are the tip's ([`crate::Tip::parameters`]).
    #[must_use]
    pub const fn parameters(&self) -> &v1::Parameters {
        &self.parameters
    }

    /// set(1): the validators that certify the first block.
    #[must_use]
    pub const fn validators(&self) -> &v1::ValidatorSet {
        &self.validators
    }

    /// The state before the first block.
    #[must_use]
    pub fn state(&self) -> GenesisState {
        let genesis = &self.genesis;
        let mut state = GenesisState {
            leaves: BTreeMap::new(),
            documents: BTreeMap::new(),
            heads: BTreeMap::new(),
        };
        state.leaves.insert(TreeKey::parameters(), encode(&self.parameters));
        for organization in &genesis.organizations {
            let Some(document) = &organization.document else { continue };
            let did = organization_digest(document);
            let document_hash = document_hash(document);
            let head = v1::Head {
                did: did.to_vec(),
                kind: v1::Kind::Organization.into(),
                version: 1,
                document_hash: document_hash.to_vec(),
                created_ms: genesis.time_ms,
                time_ms: genesis.time_ms,
                actor: v1::Actor::Authority.into(),
                ..v1::Head::default()
            };
            state.leaves.insert(TreeKey::did_head(&did), encode(&head));
            state.heads.insert(head_hash(&head), head);
            state.documents.insert(document_hash, document.clone());
            for bound in &document.keys {
                let Some(key) = &bound.key else { continue };
                if is_verification_key(key) {
                    let used = v1::UsedKey { height: 0 };
                    state.leaves.insert(TreeKey::used_key(&key_id(key)), encode(&used));
                }
            }
            let open = v1::Grant {
                periods: vec![v1::Period { from_ms: genesis.time_ms, ..v1::Period::default() }],
            };
            for action in organization.actions() {
                state.leaves.insert(TreeKey::grant(&did, action, &[]), encode(&open));
            }
            // As an accreditation would; the actions are ascending.
            if !organization.actions.is_empty() {
                let grants = organization.actions.iter();
                let grants =
                    grants.map(|action| v1::GrantName { action: *action, resource: vec![] });
                let index = v1::GrantIndex { grants: grants.collect() };
                state.leaves.insert(TreeKey::grant_index(&did), encode(&index));
            }
            let name = v1::Organization { name: organization.name.clone() };
            state.leaves.insert(TreeKey::organization(&did), encode(&name));
        }
        self.write_members(&mut state);
        state
    }

    /// The members, as operations will change them (PROTOCOL §7.3).
    fn write_members(&self, state: &mut GenesisState) {
        let genesis = &self.genesis;
        let used = encode(&v1::UsedKey { height: 0 });
        let mut members = v1::Members {
            validators: Some(self.validators.clone()),
            // As they are in the genesis: by node key.
            observers: genesis.observers.iter().map(|one| one.node_key.clone()).collect(),
            operators: genesis.operators.iter().map(|one| one.organization.clone()).collect(),
        };
        members.operators.sort();
        state.leaves.insert(TreeKey::members(), encode(&members));
        for operator in &genesis.operators {
            let Some(organization) = Hash::from_slice(&operator.organization) else { continue };
            let record = v1::OperatorRecord {
                operator: Some(operator.clone()),
                ..v1::OperatorRecord::default()
            };
            state.leaves.insert(TreeKey::operator(&organization), encode(&record));
            for key in [&operator.validator_key, &operator.node_key, &operator.governance_key] {
                let leaf = TreeKey::used_key(&key_id(&ed25519_key(key)));
                state.leaves.insert(leaf, used.clone());
            }
        }
        for observer in &genesis.observers {
            let record = v1::ObserverRecord { observer: Some(observer.clone()), ended_height: 0 };
            state.leaves.insert(TreeKey::observer(&observer.node_key), encode(&record));
        }
    }
}

/// A figure is out of range: its name, its value, and the range in words.
pub(crate) struct OutOfRange {
    pub(crate) name: &'static str,
    pub(crate) value: u64,
    pub(crate) range: &'static str,
}

impl From<OutOfRange> for GenesisError {
    fn from(OutOfRange { name, value, range }: OutOfRange) -> Self {
        Self::Parameter { name, value, range }
    }
}

fn within(
    name: &'static str,
    value: u64,
    range: std::ops::RangeInclusive<u64>,
    text: &'static str,
) -> Result<(), OutOfRange> {
    if range.contains(&value) { Ok(()) } else { Err(OutOfRange { name, value, range: text }) }
}

fn check_parameters(p: &v1::Parameters) -> Result<(), GenesisError> {
    check_figures(p)?;
    within("previous", u64::try_from(p.previous.len()).unwrap_or(u64::MAX), 0..=0, "0 bytes")?;
    // A list's URI is `list_base` followed by its id.
    let list_base = || p.list_base.clone();
    let name = p.list_base.strip_suffix('/').ok_or_else(|| GenesisError::ListBase {
        list_base: list_base(),
        source: EndpointError::EmptySegment,
    })?;
    check_endpoint(name).map_err(|source| GenesisError::ListBase { list_base: list_base(), source })
}

/// Is every figure in its range?
pub(crate) fn check_figures(p: &v1::Parameters) -> Result<(), OutOfRange> {
    let window_ms = 1_000..=VALID_UNTIL_WINDOW_MS_MAX;
    within("valid_until_window_ms", p.valid_until_window_ms, window_ms, "1 s to 5 min")?;
    within("heartbeat_ms", p.heartbeat_ms, 100..=HEARTBEAT_MS_MAX, "100 ms to 30 s")?;
    within("clock_behind_ms", p.clock_behind_ms, 100..=CLOCK_BEHIND_MS_MAX, "100 ms to 60 s")?;
    within("clock_ahead_ms", p.clock_ahead_ms, 100..=CLOCK_AHEAD_MS_MAX, "100 ms to 5 s")?;
    within(
        "trusting_period_ms",
        p.trusting_period_ms,
        60_000..=31_536_000_000,
        "1 min to 365 days",
    )?;
    // The lower bounds let every admissible transaction into an empty block: one of 512 KiB, with 256 operations of
    // 20 signatures, and with `TRANSACTION_WRITES_MAX` writes. Else it would wait in every mempool until it expires.
    within("block_bytes_max", p.block_bytes_max, 1_048_576..=BLOCK_BYTES_MAX, "1 MiB to 8 MiB")?;
    within(
        "block_state_writes_max",
        p.block_state_writes_max.into(),
        20_000..=1_000_000,
        "20,000 to 1,000,000",
    )?;
    within(
        "block_signature_checks_max",
        p.block_signature_checks_max.into(),
        6_000..=100_000,
        "6,000 to 100,000",
    )?;
    within("archives_min", p.archives_min.into(), 0..=128, "0 to 128")
}

/// The digests of the organizations, and the key ids of their documents.
fn check_organizations(
    genesis: &v1::Genesis,
) -> Result<(BTreeSet<Hash>, BTreeSet<Hash>), GenesisError> {
    let mut digests = BTreeSet::new();
    let mut previous: Option<Hash> = None;
    let mut keys = BTreeSet::new();
    for organization in &genesis.organizations {
        let refuse =
            |reason| GenesisError::Organization { name: organization.name.clone(), reason };
        check_name(&organization.name)
            .map_err(|source| GenesisError::Name { name: organization.name.clone(), source })?;
        let document =
            organization.document.as_ref().ok_or_else(|| refuse("it has no document"))?;
        check_document(v1::Kind::Organization, document)
            .map_err(|source| GenesisError::Document { name: organization.name.clone(), source })?;
        for bound in &document.keys {
            if let Some(key) = &bound.key
                && is_verification_key(key)
                && !keys.insert(key_id(key))
            {
                return Err(refuse("it shares a key with another organization"));
            }
        }
        let mut last = 0;
        for action in &organization.actions {
            if *action <= last || v1::Action::try_from(*action).is_err() {
                return Err(refuse("its actions must be known and ascending"));
            }
            last = *action;
        }
        let digest = organization_digest(document);
        if previous.is_some_and(|before| before >= digest) {
            return Err(GenesisError::Order { list: "organizations", by: "digest" });
        }
        previous = Some(digest);
        digests.insert(digest);
    }
    Ok((digests, keys))
}

/// The id of the Ed25519 key in `point`, if it is one.
fn ed25519(point: &[u8]) -> Option<Hash> {
    let key = ed25519_key(point);
    sillok_did_method::check_key(&key).is_ok().then(|| key_id(&key))
}

/// One key has one use: those of operators are in no document, and none is used twice.
fn check_operators(
    genesis: &v1::Genesis,
    known: &BTreeSet<Hash>,
    keys: &mut BTreeSet<Hash>,
) -> Result<(), GenesisError> {
    let count = genesis.operators.len();
    if count == 0 || count > OPERATORS_MAX {
        return Err(GenesisError::OperatorCount { count });
    }
    let mut organizations = BTreeSet::new();
    for (index, operator) in genesis.operators.iter().enumerate() {
        let refuse = |reason| GenesisError::Operator { index, reason };
        let organization = Hash::from_slice(&operator.organization)
            .filter(|digest| known.contains(digest))
            .ok_or_else(|| refuse("its organization is not in the genesis"))?;
        if !organizations.insert(organization) {
            return Err(refuse("its organization operates another validator"));
        }
        for key in [&operator.validator_key, &operator.node_key, &operator.governance_key] {
            let id = ed25519(key).ok_or_else(|| refuse("a key is not a valid Ed25519 key"))?;
            if !keys.insert(id) {
                return Err(refuse("a key is used twice; make one for each use"));
            }
        }
    }
    let set = v1::ValidatorSet {
        validators: genesis
            .operators
            .iter()
            .map(|operator| v1::Validator {
                public_key: operator.validator_key.clone(),
                organization: operator.organization.clone(),
                since_height: 0,
            })
            .collect(),
    };
    certificate::check_validator_set(&set)
        .map_err(|_| GenesisError::Order { list: "operators", by: "validator key" })
}

fn check_observers(genesis: &v1::Genesis, keys: &mut BTreeSet<Hash>) -> Result<(), GenesisError> {
    let count = genesis.observers.len();
    if count > OBSERVERS_MAX {
        return Err(GenesisError::ObserverCount { count });
    }
    let mut previous: Option<&[u8]> = None;
    for (index, observer) in genesis.observers.iter().enumerate() {
        let refuse = |reason| GenesisError::Observer { index, reason };
        let id = ed25519(&observer.node_key)
            .ok_or_else(|| refuse("its node key is not a valid Ed25519 key"))?;
        if previous.is_some_and(|before| before >= observer.node_key.as_slice()) {
            return Err(GenesisError::Order { list: "observers", by: "node key" });
        }
        previous = Some(&observer.node_key);
        if !keys.insert(id) {
            return Err(refuse("its node key has another use; make one for each use"));
        }
    }
    Ok(())
}
