//! Opening a proposal, in the name of an operator and with its approval.
//!
//! A proposal is stored whole under its hash, so that what is executed is what was approved. In a network of one
//! operator opening it is executing it.

use super::approve::settle;
use super::members::{Roster, require_operator};
use super::{Context, Signers};
use crate::governance::{GovernanceEvent, PROPOSAL_MS_MAX};
use crate::overlay::read;
use crate::{AdmissionError, Overlay, StateView, TreeKey};
use sillok_did_method::{Propose, proposal_hash};
use sillok_proto::v1;

pub(super) fn run<V: StateView + ?Sized>(
    context: &Context<'_>,
    op: &Propose,
    signers: &mut Signers<'_>,
    state: &mut Overlay<'_, V>,
) -> Result<Vec<GovernanceEvent>, AdmissionError> {
    let mut roster = Roster::read(state)?;
    require_operator(context, &op.operator, &roster, signers, state)?;
    let (time_ms, expires_ms) = (context.frame.time_ms, op.proposal.expires_ms);
    let hash = proposal_hash(context.frame.chain.hash(), &op.proposal);
    if expires_ms <= time_ms {
        return Err(AdmissionError::ProposalExpired { proposal: hash, expires_ms, time_ms });
    }
    let latest_ms = time_ms.saturating_add(PROPOSAL_MS_MAX);
    if expires_ms > latest_ms {
        return Err(AdmissionError::ProposalTooLong { expires_ms, latest_ms });
    }
    if read::<v1::ProposalRecord>(state, &TreeKey::proposal(&hash))?.is_some() {
        return Err(AdmissionError::ProposalExists { proposal: hash });
    }
    let record = v1::ProposalRecord {
        proposal: Some(op.proposal.clone()),
        approvals: vec![op.operator.to_vec()],
        executed_height: 0,
    };
    let opened = GovernanceEvent::Proposed { proposal: hash, operator: op.operator };
    let executed = settle(context, &hash, record, &mut roster, state)?;
    Ok([Some(opened), executed].into_iter().flatten().collect())
}
