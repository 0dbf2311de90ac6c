//! Opening a proposal, in the name of an operator and with its approval.
//!
//! A proposal is stored whole under its hash, so that what is executed is what was approved. In a network of one
//! operator opening it is executing it. An operator has a bounded number of open ones, for whoever has its key could
//! else fill the state.

use super::approve::{approval, settle};
use super::change;
use super::members::{Roster, require_operator};
use super::{Context, Effect, Signers};
use crate::governance::{GovernanceEvent, OPEN_PROPOSALS_MAX, PROPOSAL_MS_MAX};
use crate::overlay::read;
use crate::{AdmissionError, Overlay, StateFault, StateView, TreeKey};
use sillok_did_method::{Change, Propose, proposal_hash};
use sillok_proto::{Hash, encode, v1};

pub(super) fn run<V: StateView + ?Sized>(
    context: &Context<'_>,
    op: &Propose,
    signers: &mut Signers<'_>,
    state: &mut Overlay<'_, V>,
) -> Result<Effect, AdmissionError> {
    let mut roster = Roster::read(state)?;
    let mut operator = require_operator(context, &op.operator, &roster, signers, state)?;
    let (time_ms, expires_ms) = (context.frame.time_ms, op.proposal.expires_ms);
    let hash = proposal_hash(context.frame.chain.hash(), &op.proposal);
    if expires_ms <= time_ms {
        return Err(AdmissionError::ProposalExpired { proposal: hash, expires_ms, time_ms });
    }
    let latest_ms = time_ms.saturating_add(PROPOSAL_MS_MAX);
    if expires_ms > latest_ms {
        return Err(AdmissionError::ProposalTooLong { expires_ms, latest_ms });
    }
    if let Ok(Change::SetParameters { previous, parameters }) = Change::check(&op.proposal) {
        change::check_parameters(context, &previous, &parameters, state)?;
    }
    if read::<v1::ProposalRecord>(state, &TreeKey::proposal(&hash))?.is_some() {
        return Err(AdmissionError::ProposalExists { proposal: hash });
    }
    let mut open = still_open(context, &operator, state)?;
    if open.len() >= OPEN_PROPOSALS_MAX {
        let (operator, max) = (op.operator, OPEN_PROPOSALS_MAX);
        return Err(AdmissionError::OpenProposalsMax { operator, max });
    }
    let record = v1::ProposalRecord {
        proposal: Some(op.proposal.clone()),
        approvals: vec![approval(&op.operator, &operator)],
        executed_height: 0,
    };
    open.push(hash.to_vec());
    open.sort_unstable();
    operator.open_proposals = open;
    // Before it is executed, which may change this very record.
    state.put(TreeKey::operator(&op.operator), encode(&operator));
    let opened = GovernanceEvent::Proposed { proposal: hash, operator: op.operator };
    let (executed, trust) = settle(context, &hash, record, &mut roster, state)?.unzip();
    let events = [Some(opened), executed].into_iter().flatten().collect();
    Ok(Effect::Governance(events, trust.flatten()))
}

/// The proposals that this operator opened and that can still be approved.
fn still_open<V: StateView + ?Sized>(
    context: &Context<'_>,
    operator: &v1::OperatorRecord,
    view: &V,
) -> Result<Vec<Vec<u8>>, StateFault> {
    let mut open = Vec::new();
    for hash in operator.open_proposals.iter().filter_map(|hash| Hash::from_slice(hash)) {
        let record: Option<v1::ProposalRecord> = read(view, &TreeKey::proposal(&hash))?;
        let is_open = record.is_some_and(|record| {
            let expires_ms = record.proposal.map(|one| one.expires_ms).unwrap_or_default();
            record.executed_height == 0 && context.frame.time_ms < expires_ms
        });
        if is_open {
            open.push(hash.to_vec());
        }
    }
    Ok(open)
}
