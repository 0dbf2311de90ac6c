//! Approving a proposal, and executing it once more than two thirds of the operators did.
//!
//! What counts is read at the height that executes: approvals of who left in between are worth nothing, and neither are
//! those given with a governance key that was replaced in between.

use super::change::{Done, execute};
use super::members::{Roster, governance_key, require_operator};
use super::{Context, Effect, Signers};
use crate::governance::GovernanceEvent;
use crate::overlay::read;
use crate::trust::TrustEvent;
use crate::{AdmissionError, Overlay, StateFault, StateView, TreeKey};
use sillok_did_method::{Approve, Change, key_id};
use sillok_proto::{Hash, encode, v1};

pub(super) fn run<V: StateView + ?Sized>(
    context: &Context<'_>,
    op: &Approve,
    signers: &mut Signers<'_>,
    state: &mut Overlay<'_, V>,
) -> Result<Effect, AdmissionError> {
    let mut roster = Roster::read(state)?;
    let by = require_operator(context, &op.operator, &roster, signers, state)?;
    let proposal = op.proposal;
    let mut record: v1::ProposalRecord = read(state, &TreeKey::proposal(&proposal))?
        .ok_or(AdmissionError::ProposalUnknown { proposal })?;
    if record.executed_height != 0 {
        let height = record.executed_height;
        return Err(AdmissionError::ProposalExecuted { proposal, height });
    }
    let time_ms = context.frame.time_ms;
    let expires_ms = record.proposal.as_ref().map(|one| one.expires_ms).unwrap_or_default();
    if time_ms >= expires_ms {
        return Err(AdmissionError::ProposalExpired { proposal, expires_ms, time_ms });
    }
    let operator = op.operator;
    let approval = approval(&operator, &by);
    let place = record.approvals.binary_search_by(|one| one.operator.as_slice().cmp(&operator.0));
    let is_new = match place {
        Ok(place) => match record.approvals.get_mut(place) {
            Some(before) if *before != approval => {
                *before = approval;
                true
            }
            _ => false,
        },
        Err(place) => {
            record.approvals.insert(place, approval);
            true
        }
    };
    let approved = is_new.then_some(GovernanceEvent::Approved { proposal, operator });
    let executed = settle(context, &proposal, record, &mut roster, state)?;
    // Saying it twice is worth something only where others left in between, so that the approvals now suffice.
    if approved.is_none() && executed.is_none() {
        return Err(AdmissionError::AlreadyApproved { proposal, operator });
    }
    let (executed, trust) = executed.unzip();
    let events = [approved, executed].into_iter().flatten().collect();
    Ok(Effect::Governance(events, trust.flatten()))
}

/// The approval of an operator with the governance key in force.
pub(super) fn approval(operator: &Hash, record: &v1::OperatorRecord) -> v1::GovernanceApproval {
    let key_id = key_id(&governance_key(record)).to_vec();
    v1::GovernanceApproval { operator: operator.to_vec(), key_id }
}

/// Executes the proposal if its approvals suffice, and writes down how it stands.
pub(super) fn settle<V: StateView + ?Sized>(
    context: &Context<'_>,
    hash: &Hash,
    mut record: v1::ProposalRecord,
    roster: &mut Roster,
    state: &mut Overlay<'_, V>,
) -> Result<Option<(GovernanceEvent, Option<TrustEvent>)>, AdmissionError> {
    let mut done = None;
    if roster.is_quorum(&record.approvals, state)? {
        let contradiction = || StateFault::new("a proposal contradicts the rules of proposals");
        let proposal = record.proposal.as_ref().ok_or_else(contradiction)?;
        let change = Change::check(proposal).map_err(|_| contradiction())?;
        let (effective_height, trust) =
            match execute(context, &change, proposal.expires_ms, roster, state)? {
                Done::Members { effective_height } => (effective_height, None),
                Done::Trust(event) => (None, Some(event)),
                Done::Parameters { effective_height } => (Some(effective_height), None),
            };
        record.executed_height = context.frame.height;
        roster.clone().write(state);
        let event = GovernanceEvent::Executed { proposal: *hash, effective_height };
        done = Some((event, trust));
    }
    state.put(TreeKey::proposal(hash), encode(&record));
    Ok(done)
}
