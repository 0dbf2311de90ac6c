//! An operation in words, for who signs it and for who approves it.

use super::read::did_text;
use sillok_did_method::format_datetime;
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
        None => vec![("operation", "none that this version knows; do not sign it".to_owned())],
    }
}
