//! TRQP v2 as plain functions: a question about a right becomes a [`Query`], and a verdict becomes JSON
//! (Trust Registry Query Protocol 2.0, Public Review 02).
//!
//! *Authorization* asks whether an entity may do an action on a resource under an authority; *recognition*, whether it may
//! let others do so. The standard leaves open what its four texts are. Here:
//!
//! ```text
//! entity_id     the DID of an organization
//! authority_id  the DID of an organization above it, or urn:sillok:governance:NETWORK for the first authority, which is
//!               no organization
//! action        accredit, define-type, register, issue, approve, revoke, submit, serve-status, audit, countersign
//! resource      urn:sillok:type:HEX or urn:sillok:list:HEX, 64 hexadecimal digits; urn:sillok:all for a right on all
//! ```
//!
//! Who the state says may do what is the ledger's to read and deliberately not here.

use crate::binding::{ProofMember, ProofMemberError, is_member, member, read_member};
use crate::datetime::{format_datetime, parse_datetime};
use crate::did::Did;
use prost::Message as _;
use serde_json::{Map, Value, json};
use sillok_proto::Hash;
use sillok_proto::v1::{Action, StateAnswer};

/// What the first authority is called, before the name of the network.
pub const GOVERNANCE: &str = "urn:sillok:governance:";
/// A right on everything.
const ALL: &str = "urn:sillok:all";
const TYPE: &str = "urn:sillok:type:";
const LIST: &str = "urn:sillok:list:";
/// The message in a proof of ours.
const MESSAGE: &str = "sillok.v1.StateAnswer";
/// Longest text of a query, in bytes.
const TEXT_BYTES_MAX: usize = 512;
/// Most members of a context.
const CONTEXT_MEMBERS_MAX: usize = 16;

/// Which of the two questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// May the entity?
    Authorization,
    /// May the entity let others?
    Recognition,
}

/// Under whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authority {
    /// The first authority of the network.
    Governance,
    /// An organization.
    Organization(Hash),
}

/// On what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// On everything, or on nothing: the action has no resource.
    All,
    /// A credential type.
    Type(Hash),
    /// A status list.
    List(Hash),
}

impl Resource {
    /// As grants have it.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::All => Vec::new(),
            Self::Type(name) | Self::List(name) => name.to_vec(),
        }
    }
}

/// A question.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// Which.
    pub kind: Kind,
    /// Who.
    pub entity: Hash,
    /// Under whom.
    pub authority: Authority,
    /// Does what.
    pub action: Action,
    /// On what.
    pub resource: Resource,
    /// At which time, in milliseconds; `None`: now.
    pub time_ms: Option<u64>,
    // As they came, for the answer.
    texts: [String; 4],
    context: Map<String, Value>,
}

/// The texts of a query, in the order of the schemas.
const NAMES: [&str; 4] = ["entity_id", "authority_id", "action", "resource"];

/// Why a query has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// 400: no JSON object, or a member that is missing or of another form.
    #[error("{0}")]
    Malformed(String),
    /// 404: an entity, authority, action or resource that this registry does not know.
    #[error("the {0} is not known to this registry; see its documentation for the names it takes")]
    NotRecognized(&'static str),
}

impl QueryError {
    /// The status code of the binding.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::NotRecognized(_) => 404,
        }
    }
}

/// Reads a query for the registry of `network`. Members that are not known are passed over, as the standard demands.
///
/// # Errors
///
/// [`QueryError`].
pub fn read(kind: Kind, network: &str, body: &[u8]) -> Result<Query, QueryError> {
    let malformed = |message: String| QueryError::Malformed(message);
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
        return Err(malformed(
            "the body is no JSON object; send one as the schema says".to_owned(),
        ));
    };
    let mut texts: [String; 4] = Default::default();
    for (name, text) in NAMES.iter().zip(&mut texts) {
        match members.get(*name) {
            Some(Value::String(value)) if (1..=TEXT_BYTES_MAX).contains(&value.len()) => {
                text.clone_from(value);
            }
            _ => {
                return Err(malformed(format!(
                    "{name} is missing, empty, no text or longer than {TEXT_BYTES_MAX} bytes; give it"
                )));
            }
        }
    }
    let context = match members.get("context") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(context)) if context.len() <= CONTEXT_MEMBERS_MAX => context.clone(),
        Some(_) => {
            return Err(malformed(format!(
                "context is no object of at most {CONTEXT_MEMBERS_MAX} members; correct it"
            )));
        }
    };
    let short = |value: &Value| value.as_str().is_some_and(|text| text.len() <= TEXT_BYTES_MAX);
    if !context.values().all(short) {
        return Err(malformed(format!(
            "a member of context is no text of at most {TEXT_BYTES_MAX} bytes; correct it"
        )));
    }
    let time_ms = context
        .get("time")
        .and_then(Value::as_str)
        .map(|time| {
            read_time(time).ok_or_else(|| {
                malformed(
                    "context.time is no RFC 3339 time in UTC; write it like 2026-11-21T09:00:00Z"
                        .to_owned(),
                )
            })
        })
        .transpose()?;
    let [entity, authority, action, resource] = &texts;
    let organization = |text: &str| {
        let did = Did::parse(text).ok()?;
        (did.network() == network).then(|| did.digest())
    };
    let entity = organization(entity).ok_or(QueryError::NotRecognized(NAMES[0]))?;
    let authority = match authority.strip_prefix(GOVERNANCE) {
        Some(name) if name == network => Authority::Governance,
        Some(_) => return Err(QueryError::NotRecognized(NAMES[1])),
        None => Authority::Organization(
            organization(authority).ok_or(QueryError::NotRecognized(NAMES[1]))?,
        ),
    };
    let action = read_action(action).ok_or(QueryError::NotRecognized(NAMES[2]))?;
    let resource = read_resource(resource)
        .filter(|resource| fits(action, *resource))
        .ok_or(QueryError::NotRecognized(NAMES[3]))?;
    Ok(Query { kind, entity, authority, action, resource, time_ms, texts, context })
}

/// Whole seconds, or a fraction of them, which is cut to milliseconds.
fn read_time(text: &str) -> Option<u64> {
    let Some((whole, fraction)) = text.split_once('.') else { return parse_datetime(text).ok() };
    let digits = fraction.strip_suffix('Z')?;
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let ms: u64 = format!("{digits:0<3}").get(..3)?.parse().ok()?;
    parse_datetime(&format!("{whole}Z")).ok()?.checked_add(ms)
}

/// The action of this word: `define-type` for `ACTION_DEFINE_TYPE`.
fn read_action(word: &str) -> Option<Action> {
    (1..=10)
        .filter_map(|number| Action::try_from(number).ok())
        .find(|action| self::word(*action) == word)
}

fn word(action: Action) -> String {
    action.as_str_name().trim_start_matches("ACTION_").to_ascii_lowercase().replace('_', "-")
}

fn read_resource(text: &str) -> Option<Resource> {
    let name = |hex: &str| {
        let lower = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        hex::decode(hex).ok().filter(|_| lower).and_then(|bytes| Hash::from_slice(&bytes))
    };
    match text {
        ALL => Some(Resource::All),
        _ => text
            .strip_prefix(TYPE)
            .and_then(name)
            .map(Resource::Type)
            .or_else(|| text.strip_prefix(LIST).and_then(name).map(Resource::List)),
    }
}

/// May the action be on such a resource at all?
const fn fits(action: Action, resource: Resource) -> bool {
    match action {
        Action::Unspecified => false,
        Action::Register | Action::Submit | Action::Countersign => {
            matches!(resource, Resource::All)
        }
        Action::ServeStatus => !matches!(resource, Resource::Type(_)),
        Action::Accredit
        | Action::DefineType
        | Action::Issue
        | Action::Approve
        | Action::Revoke
        | Action::Audit => !matches!(resource, Resource::List(_)),
    }
}

impl Query {
    /// The rights that the answer depends on: all of them must hold under the authority. Who lets others do something
    /// holds `accredit` on it and the action itself.
    #[must_use]
    pub fn actions(&self) -> Vec<Action> {
        match self.kind {
            Kind::Authorization => vec![self.action],
            Kind::Recognition if self.action == Action::Accredit => vec![Action::Accredit],
            Kind::Recognition => vec![Action::Accredit, self.action],
        }
    }

    /// Is the authority of the question in a chain of organizations, the entity first? Governance stands above every one.
    #[must_use]
    pub fn is_under(&self, chain: &[Hash]) -> bool {
        match &self.authority {
            Authority::Governance => !chain.is_empty(),
            Authority::Organization(authority) => {
                chain.iter().skip(1).any(|link| link == authority)
            }
        }
    }

    /// The answer: the verdict, and the ledger time of the state that it was read from.
    #[must_use]
    pub fn answer(&self, holds: bool, state_ms: u64, proof: Option<Value>) -> Value {
        let mut answer = Map::new();
        for (name, text) in NAMES.iter().zip(&self.texts) {
            answer.insert((*name).to_owned(), json!(text));
        }
        let (verdict, message) = match (self.kind, holds) {
            (Kind::Authorization, true) => ("authorized", "the right holds by a chain of grants"),
            (Kind::Authorization, false) => ("authorized", "no chain of grants gives this right"),
            (Kind::Recognition, true) => ("recognized", "the entity may give this right to others"),
            (Kind::Recognition, false) => {
                ("recognized", "the entity may not give this right to others")
            }
        };
        answer.insert(verdict.to_owned(), json!(holds));
        if let Some(time) = self.context.get("time") {
            answer.insert("time_requested".to_owned(), time.clone());
        }
        answer.insert("time_evaluated".to_owned(), json!(format_datetime(state_ms)));
        answer.insert("message".to_owned(), json!(message));
        if !self.context.is_empty() {
            answer.insert("context".to_owned(), Value::Object(self.context.clone()));
        }
        if let Some(proof) = proof {
            answer.insert("proof".to_owned(), proof);
        }
        Value::Object(answer)
    }
}

/// What proves one right or its absence, as a member of `proof`: the leaves that its walk reads.
#[must_use]
pub fn proof_member(
    network: &str,
    genesis_hash: &[u8],
    action: Action,
    answer: &StateAnswer,
) -> ProofMember {
    let bytes = answer.encode_to_vec();
    let mut member = member(network, genesis_hash, answer.proof.as_ref(), MESSAGE, &bytes);
    member["action"] = json!(word(action));
    member
}

/// The proofs in an answer, in the order of [`Query::actions`], for a verifier that takes no verdict from anybody.
///
/// # Errors
///
/// [`ProofMemberError`].
pub fn read_proofs(answer: &Value) -> Result<Vec<StateAnswer>, ProofMemberError> {
    let members = answer["proof"].as_array().ok_or(ProofMemberError::Missing)?;
    let ours = members.iter().filter(|member| is_member(member, MESSAGE));
    let proofs = ours.map(read_member).collect::<Result<Vec<_>, _>>()?;
    if proofs.is_empty() { Err(ProofMemberError::Missing) } else { Ok(proofs) }
}
