//! Seating a validator key: the key itself says that it is there (PROTOCOL §7.3).
//!
//! It signs over a header of this chain that is under ten minutes old. So a key that was approved and whose node is not
//! running takes no seat, and neither an old signature nor a copied one seats it later.

use super::members::{Roster, member_record, require_unused, use_key};
use super::{Context, Signers};
use crate::governance::{GovernanceEvent, JOIN_HEADER_AGE_MS_MAX};
use crate::{AdmissionError, Overlay, StateView, TreeKey};
use sillok_did_method::{Join, ed25519_key, key_id};
use sillok_proto::encode;

pub(super) fn run<V: StateView + ?Sized>(
    context: &Context<'_>,
    op: &Join,
    signers: &mut Signers<'_>,
    state: &mut Overlay<'_, V>,
) -> Result<Vec<GovernanceEvent>, AdmissionError> {
    context.require_named_submitter()?;
    let operator = op.operator;
    let key = ed25519_key(&op.validator_key);
    let key_id = key_id(&key);
    if !signers.take(&key)? {
        let operation = context.index;
        context.sink.report(AdmissionError::PossessionMissing { operation, key_id })?;
    }
    let mut roster = Roster::read(state)?;
    if !roster.is_operator(&operator) {
        return Err(AdmissionError::JoinNotApproved { operator, key_id });
    }
    let mut record = member_record(state, &operator)?;
    let mut keys = record.operator.clone().unwrap_or_default();
    if keys.validator_key == op.validator_key {
        return Err(AdmissionError::AlreadyJoined { operator, key_id });
    }
    let Some(pending) =
        record.pending.as_ref().filter(|pending| pending.validator_key == op.validator_key)
    else {
        return Err(AdmissionError::JoinNotApproved { operator, key_id });
    };
    let (time_ms, expires_ms) = (context.frame.time_ms, pending.expires_ms);
    if time_ms >= expires_ms {
        return Err(AdmissionError::JoinExpired { operator, expires_ms, time_ms });
    }
    require_recent_header(context, op)?;
    require_unused(&op.validator_key, &roster, state)?;

    // With the key take force what was approved with it: its node, and whether that is an archive.
    let (node_key, archive) = (pending.node_key.clone(), pending.archive);
    let archives = roster.archives(state)?;
    let seated_before = roster.seat_of(&operator).map(|seat| seat.since_height);
    let effective_height = roster.seat(context, &operator, &op.validator_key);
    roster.require_quorum(context)?;
    // A key that was seated in this very block votes never, and of an operator that was removed in it and admitted anew the
    // key before still does: what is noted then is the node of the key that votes.
    let seat_votes = seated_before.is_some_and(|since_height| since_height != effective_height);
    if seat_votes || record.previous_node_key.is_empty() {
        record.previous_node_key.clear();
        if !node_key.is_empty() {
            record.previous_node_key.clone_from(&keys.node_key);
        }
    }
    if !node_key.is_empty() {
        keys.node_key = node_key;
    }
    keys.archive = archive;
    keys.validator_key = op.validator_key.to_vec();
    record.operator = Some(keys);
    record.pending = None;
    use_key(context, &op.validator_key, state);
    state.put(TreeKey::operator(&operator), encode(&record));
    Roster::require_archives(state, archives, roster.archives(state)?)?;
    roster.write(state);
    let validator_key = op.validator_key;
    Ok(vec![GovernanceEvent::Joined { operator, validator_key, effective_height }])
}

fn require_recent_header(context: &Context<'_>, op: &Join) -> Result<(), AdmissionError> {
    let frame = context.frame;
    let header = frame
        .recent
        .header(op.header_height)
        .filter(|header| header.hash == op.header_hash)
        .ok_or(AdmissionError::JoinHeaderUnknown { height: op.header_height })?;
    let age_ms = frame.time_ms.saturating_sub(header.time_ms);
    if age_ms > JOIN_HEADER_AGE_MS_MAX {
        return Err(AdmissionError::JoinHeaderOld { height: op.header_height, age_ms });
    }
    Ok(())
}
