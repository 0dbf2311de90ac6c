//! An operation in words, for who signs it and for who approves it.

use super::read::did_text;
use sillok_client::credential_type::TypeFile;
use sillok_client::words::{Word as _, word_of};
use sillok_did_method::{format_datetime, multikey};
use sillok_proto::{Hash, v1};
use v1::change::Change;
use v1::operation::Operation as Kind;

fn digest(network: &str, bytes: &[u8]) -> String {
    Hash::from_slice(bytes).map_or_else(|| hex::encode(bytes), |hash| did_text(network, hash))
}

fn keys(network: &str, operator: &v1::Operator) -> Vec<(&'static str, String)> {
    vec![
        ("organization", digest(network, &operator.organization)),
        ("validator key", hex::encode(&operator.validator_key)),
        ("node key", hex::encode(&operator.node_key)),
        ("governance key", hex::encode(&operator.governance_key)),
        ("archive", if operator.archive { "yes" } else { "no" }.to_owned()),
    ]
}

pub(super) fn time(ms: u64, none: &str) -> String {
    if ms == 0 { none.to_owned() } else { format_datetime(ms) }
}

pub(super) fn resource(bytes: &[u8]) -> String {
    if bytes.is_empty() { "every one".to_owned() } else { hex::encode(bytes) }
}

pub(super) fn hourly(limit: u32) -> String {
    if limit == 0 { "any number".to_owned() } else { limit.to_string() }
}

fn new_grant(network: &str, grant: Option<&v1::NewGrant>) -> Vec<(&'static str, String)> {
    let Some(grant) = grant else { return vec![("grant", "none".to_owned())] };
    let mut facts = vec![
        ("organization", digest(network, &grant.organization)),
        ("action", grant.action().word()),
        ("resource", resource(&grant.resource)),
        ("from", time(grant.from_ms, "the block that orders it")),
        ("until", time(grant.until_ms, "open")),
        ("gained an hour", hourly(grant.gained_hourly)),
        ("suspended an hour", hourly(grant.suspended_hourly)),
        ("ended an hour", hourly(grant.ended_hourly)),
    ];
    if !grant.name.is_empty() {
        facts.push(("name", format!("{:?}", grant.name)));
    }
    facts
}

fn ended_grant(network: &str, grant: Option<&v1::EndedGrant>) -> Vec<(&'static str, String)> {
    let Some(grant) = grant else { return vec![("grant", "none".to_owned())] };
    vec![
        ("organization", digest(network, &grant.organization)),
        ("action", grant.action().word()),
        ("resource", resource(&grant.resource)),
        ("ends at", time(grant.at_ms, "the block that orders it")),
    ]
}

/// The figures of a network, by their names in the genesis.
pub(super) fn parameters(p: &v1::Parameters) -> Vec<(&'static str, String)> {
    vec![
        ("valid_until_window_ms", p.valid_until_window_ms.to_string()),
        ("heartbeat_ms", p.heartbeat_ms.to_string()),
        ("clock_behind_ms", p.clock_behind_ms.to_string()),
        ("clock_ahead_ms", p.clock_ahead_ms.to_string()),
        ("trusting_period_ms", p.trusting_period_ms.to_string()),
        ("block_bytes_max", p.block_bytes_max.to_string()),
        ("block_state_writes_max", p.block_state_writes_max.to_string()),
        ("block_signature_checks_max", p.block_signature_checks_max.to_string()),
        ("archives_min", p.archives_min.to_string()),
        ("list_base", p.list_base.clone()),
    ]
}

/// The figures that `new` has other than `old`, each from what to what.
pub(super) fn difference(
    old: &v1::Parameters,
    new: &v1::Parameters,
) -> Vec<(&'static str, String)> {
    parameters(old)
        .into_iter()
        .zip(parameters(new))
        .filter(|(before, after)| before != after)
        .map(|((name, before), (_, after))| (name, format!("{before} -> {after}")))
        .collect()
}

/// The state of an entry, by its Token Status List value.
fn entry_state(state: u32) -> String {
    match state {
        0 => "valid".to_owned(),
        1 => "invalid".to_owned(),
        2 => "suspended".to_owned(),
        3 => "pending".to_owned(),
        12 => "superseded".to_owned(),
        other => format!("{other}, which is none"),
    }
}

/// What a proposal changes.
pub(super) fn change(network: &str, change: Option<&Change>) -> Vec<(&'static str, String)> {
    let of = |what: &str, more: Vec<(&'static str, String)>| {
        [vec![("change", what.to_owned())], more].concat()
    };
    match change {
        Some(Change::AdmitOperator(operator)) => of("admit operator", keys(network, operator)),
        Some(Change::ReplaceOperator(operator)) => {
            of("replace the keys of an operator", keys(network, operator))
        }
        Some(Change::RemoveOperator(remove)) => {
            of("remove operator", vec![("organization", digest(network, &remove.organization))])
        }
        Some(Change::AdmitObserver(observer)) => of(
            "admit observer",
            vec![
                ("node key", hex::encode(&observer.node_key)),
                ("archive", if observer.archive { "yes" } else { "no" }.to_owned()),
            ],
        ),
        Some(Change::RemoveObserver(remove)) => {
            of("remove observer", vec![("node key", hex::encode(&remove.node_key))])
        }
        Some(Change::Accredit(grant)) => of("accredit", new_grant(network, Some(grant))),
        Some(Change::Withdraw(grant)) => of("withdraw", ended_grant(network, Some(grant))),
        Some(Change::SetParameters(figures)) => {
            let made_of = vec![("made of", hex::encode(&figures.previous))];
            of("set parameters", [parameters(figures), made_of].concat())
        }
        None => of("none that this version knows; update this program before you sign", Vec::new()),
    }
}

/// What an operation does, as names and values.
pub(super) fn describe(
    network: &str,
    genesis_hash: &Hash,
    operation: &v1::Operation,
) -> Vec<(&'static str, String)> {
    let named = |what: &str, who: &'static str, bytes: &[u8]| {
        vec![("operation", what.to_owned()), (who, digest(network, bytes))]
    };
    match &operation.operation {
        Some(Kind::CreateDid(op)) => named("create did", "did", &op.did),
        Some(Kind::UpdateDid(op)) => named("update did", "did", &op.did),
        Some(Kind::SetDevice(op)) => named("set device", "did", &op.did),
        Some(Kind::DeactivateDid(op)) => named("deactivate did", "did", &op.did),
        Some(Kind::Propose(op)) => {
            let proposal = op.proposal.clone().unwrap_or_default();
            let mut facts = named("propose", "in the name of", &op.operator);
            let hash = sillok_did_method::proposal_hash(genesis_hash, &proposal);
            facts.push(("proposal", hash.to_string()));
            let body = proposal.change.as_ref().and_then(|change| change.change.as_ref());
            facts.extend(change(network, body));
            facts.push(("expires", format_datetime(proposal.expires_ms)));
            facts
        }
        Some(Kind::Approve(op)) => {
            let mut facts = named("approve", "in the name of", &op.operator);
            facts.push(("proposal", hex::encode(&op.proposal_hash)));
            facts
        }
        Some(Kind::Join(op)) => {
            let mut facts = named("join", "in the name of", &op.operator);
            facts.push(("validator key", hex::encode(&op.validator_key)));
            facts.push(("over height", op.header_height.to_string()));
            facts
        }
        Some(Kind::Rekey(op)) => {
            let mut facts = named("rekey", "in the name of", &op.operator);
            facts.push(("validator key", hex::encode(&op.validator_key)));
            facts
        }
        Some(Kind::Accredit(op)) => {
            [named("accredit", "grantor", &op.grantor), new_grant(network, op.grant.as_ref())]
                .concat()
        }
        Some(Kind::Withdraw(op)) => {
            [named("withdraw", "by", &op.by), ended_grant(network, op.grant.as_ref())].concat()
        }
        Some(Kind::PublishType(op)) => {
            let content = op.content.clone().unwrap_or_default();
            let mut facts = named("publish type", "publisher", &op.publisher);
            facts.push(("type", hex::encode(&op.r#type)));
            facts.push(("version", op.version.to_string()));
            facts.push(("content", format!("{:#}", TypeFile::of(&content).to_json())));
            facts
        }
        Some(Kind::CreateList(op)) => {
            let mut facts = named("create list", "issuer", &op.issuer);
            facts.push(("list", hex::encode(&op.list)));
            facts.push(("type", hex::encode(&op.r#type)));
            facts.push(("capacity", op.capacity.to_string()));
            facts.push(("max age", format!("{} s", op.max_age_s)));
            facts
        }
        Some(Kind::SetStatus(op)) => vec![
            ("operation", "set status".to_owned()),
            ("list", hex::encode(&op.list)),
            ("state", entry_state(op.state)),
            ("entries", op.indexes.len().to_string()),
            ("still taken until", time(op.grace_until_ms, "not at all")),
            ("invalid since", time(op.invalid_from_ms, "the block that orders it")),
        ],
        Some(Kind::SetEnrollment(op)) => {
            let mut facts = named("set enrollment", "issuer", &op.issuer);
            facts.push(("type", hex::encode(&op.r#type)));
            facts.push(("private content", hex::encode(&op.content_hash)));
            facts
        }
        None => vec![("operation", "none that this version knows; do not sign it".to_owned())],
    }
}

/// What the private content of a change says, for the desk, the holder and approvers. Handles are left out: they say
/// nothing to people, and a log of a terminal is no place for them.
pub(super) fn private_facts(
    network: &str,
    content: &v1::PrivateContent,
) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(request) = &content.enrollment {
        let key = |key: &v1::PublicKey| multikey(key).unwrap_or_else(|error| error.to_string());
        facts.push(("change", word_of::<v1::EnrollmentChange>(request.change)));
        facts.push((
            "number",
            if request.number == 0 { "whichever".to_owned() } else { request.number.to_string() },
        ));
        facts.extend(request.one_time_key.as_ref().map(|one| ("one-time key", key(one))));
        facts.extend(request.enrollment_key.as_ref().map(|one| ("enrollment key", key(one))));
        for (name, ms) in [
            ("activated before", request.deadline_ms),
            ("valid until", request.valid_until_ms),
            ("old ones taken until", request.grace_until_ms),
            ("entries invalid since", request.invalid_from_ms),
        ] {
            if ms != 0 {
                facts.push((name, format_datetime(ms)));
            }
        }
        if !request.new_handle.is_empty() {
            facts.push(("moves", "to another handle".to_owned()));
        }
    }
    facts.push(("acting role", digest(network, &content.acting_role)));
    facts.push(("reason", word_of::<v1::Reason>(content.reason)));
    facts.push(("channel", word_of::<v1::Channel>(content.channel)));
    if content.assurance_level != 0 {
        facts.push(("assurance level", word_of::<v1::AssuranceLevel>(content.assurance_level)));
    }
    if !content.organization_code.is_empty() {
        facts.push(("person's organization", digest(network, &content.organization_code)));
    }
    let approvers: Vec<String> = content.approvers.iter().map(|one| digest(network, one)).collect();
    if !approvers.is_empty() {
        facts.push(("approvers", approvers.join("\n")));
    }
    facts
}

/// What a node says that an operation would do to entries, enrollments and the limits of who acts.
pub(super) fn preview(preview: &v1::OperationPreview) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    for one in &preview.entries {
        let noun = if one.count == 1 { "entry" } else { "entries" };
        facts.push((
            "would set",
            format!(
                "{} {noun} from {} to {}",
                one.count,
                entry_state(one.from),
                entry_state(one.to)
            ),
        ));
    }
    let standing = |standing: Option<&v1::EnrollmentStanding>| match standing {
        None => "none".to_owned(),
        Some(one) => {
            let name = one.state().as_str_name().trim_start_matches("ENROLLMENT_STATE_");
            let state = match one.state() {
                v1::EnrollmentState::Unspecified => "never active".to_owned(),
                _ => name.to_ascii_lowercase(),
            };
            let reserved = if one.deadline_ms == 0 {
                String::new()
            } else {
                format!(
                    ", number {} reserved until {}",
                    one.number,
                    format_datetime(one.deadline_ms)
                )
            };
            format!("{state}{reserved}")
        }
    };
    for one in &preview.enrollments {
        let (before, after) = (standing(one.before.as_ref()), standing(one.after.as_ref()));
        facts.push((
            if one.is_new_handle { "new enrollment" } else { "enrollment" },
            format!("{before} -> {after}"),
        ));
    }
    if let Some(limit) = &preview.limit {
        facts.push(("left of the hour's limit", format!("{} of {}", limit.left, limit.limit)));
    }
    facts
}
