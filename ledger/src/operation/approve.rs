//! Approving a proposal, and executing it once more than two thirds of the operators did.
//!
//! Who counts as an operator is read at the height that executes: approvals of who left in between are worth nothing.

use super::change::execute;
use super::members::{Roster, require_operator};
use super::{Context, Signers};
use crate::governance::GovernanceEvent;
use crate::overlay::read;
use crate::{AdmissionError, Overlay, StateFault, StateView, TreeKey};
use sillok_did_method::{Approve, Change};
use sillok_proto::{Hash, encode, v1};

pub(super) fn run<V: StateView + ?Sized>(
    context: &Context<'_>,
    op: &Approve,
    signers: &mut Signers<'_>,
    state: &mut Overlay<'_, V>,
) -> Result<Vec<GovernanceEvent>, AdmissionError> {
    let mut roster = Roster::read(state)?;
    require_operator(context, &op.operator, &roster, signers, state)?;
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
    let approved = match record.approvals.binary_search(&operator.to_vec()) {
        Ok(_) => None,
        Err(place) => {
            record.approvals.insert(place, operator.to_vec());
            Some(GovernanceEvent::Approved { proposal, operator })
        }
    };
    let executed = settle(context, &proposal, record, &mut roster, state)?;
    // Saying it twice is worth something only where others left in between, so that the approvals now suffice.
    if approved.is_none() && executed.is_none() {
        return Err(AdmissionError::AlreadyApproved { proposal, operator });
    }
    Ok([approved, executed].into_iter().flatten().collect())
}

/// Executes the proposal if its approvals suffice, and writes down how it stands.
pub(super) fn settle<V: StateView + ?Sized>(
    context: &Context<'_>,
    hash: &Hash,
    mut record: v1::ProposalRecord,
    roster: &mut Roster,
    state: &mut Overlay<'_, V>,
) -> Result<Option<GovernanceEvent>, AdmissionError> {
    let mut event = None;
    if roster.is_quorum(&record.approvals) {
        let contradiction = || StateFault::new("a proposal contradicts the rules of proposals");
        let proposal = record.proposal.as_ref().ok_or_else(contradiction)?;
        let change = Change::check(proposal).map_err(|_| contradiction())?;
        let effective_height = execute(context, &change, proposal.expires_ms, roster, state)?;
        record.executed_height = context.frame.height;
        roster.clone().write(state);
        event = Some(GovernanceEvent::Executed { proposal: *hash, effective_height });
    }
    state.put(TreeKey::proposal(hash), encode(&record));
    Ok(event)
}
