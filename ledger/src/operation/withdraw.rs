//! Ending a right: by who holds it, by who gave it or stands above that one, or by governance (PROTOCOL §5.1).
//!
//! One end cuts off the whole subtree at the next height, for rights are walked and not copied. What was done before
//! stays done: the period keeps its beginning and gets an end. One that never began goes without a trace.

use super::{Context, Signers};
use crate::overlay::read;
use crate::trust::TrustEvent;
use crate::{AdmissionError, Overlay, StateView, TreeKey, authority};
use sillok_did_method::{EndedGrant, Withdraw};
use sillok_proto::{Hash, encode, v1};
use std::collections::BTreeMap;

pub(super) fn run<V: StateView + ?Sized>(
    context: &Context<'_>,
    op: &Withdraw,
    signers: &mut Signers<'_>,
    state: &mut Overlay<'_, V>,
) -> Result<TrustEvent, AdmissionError> {
    context.require_named_submitter()?;
    let signed = signers.organization(state, &op.by)?;
    context.require_signed(signed, &op.by)?;
    end(context, Some(&op.by), &op.grant, state)
}

/// Ends a right in the name of `by`, `None` being governance, which `context` was found to speak for. After it the
/// grant has no period beyond the end, but for those that `by` has nothing to do with.
pub(super) fn end<V: StateView + ?Sized>(
    context: &Context<'_>,
    by: Option<&Hash>,
    ended: &EndedGrant,
    state: &mut Overlay<'_, V>,
) -> Result<TrustEvent, AdmissionError> {
    let time_ms = context.frame.time_ms;
    let at_ms = ended.at_ms.unwrap_or(time_ms);
    if at_ms < time_ms {
        return Err(AdmissionError::PeriodInPast { ms: at_ms, time_ms });
    }
    let (organization, action, resource) = (ended.organization, ended.action, ended.resource);
    let leaf = TreeKey::grant(&organization, action, ended.resource());
    let record: v1::Grant = read(state, &leaf)?.unwrap_or_default();
    let (mut goes_beyond, mut may_any) = (false, false);
    let mut kept = Vec::with_capacity(record.periods.len());
    // Most periods are of one grantor: its chain is walked once, or a transaction could cost a million reads.
    let mut verdicts = BTreeMap::new();
    for period in record.periods {
        if period.until_ms != 0 && period.until_ms <= at_ms {
            kept.push(period);
            continue;
        }
        goes_beyond = true;
        let may = match verdicts.get(&period.grantor) {
            Some(may) => *may,
            None => may_end(context, by, ended, &period, state)?,
        };
        verdicts.insert(period.grantor.clone(), may);
        if !may {
            kept.push(period);
            continue;
        }
        may_any = true;
        if period.from_ms < at_ms {
            kept.push(v1::Period { until_ms: at_ms, ..period });
        }
    }
    if !goes_beyond {
        return Err(AdmissionError::NothingToWithdraw { organization, action });
    }
    if let Some(by) = by.filter(|_| !may_any) {
        return Err(AdmissionError::WithdrawNotAllowed { by: *by, organization });
    }
    state.put(leaf, encode(&v1::Grant { periods: kept }));
    Ok(TrustEvent::Withdrawn { by: by.copied(), organization, action, resource, at_ms })
}

/// May this period be ended by `by`: who holds it, its grantor, or who stands above the grantor now?
///
/// Its own grantor even when it may do nothing any more: one may always take back what one gave.
fn may_end<V: StateView + ?Sized>(
    context: &Context<'_>,
    by: Option<&Hash>,
    ended: &EndedGrant,
    period: &v1::Period,
    state: &Overlay<'_, V>,
) -> Result<bool, AdmissionError> {
    let Some(by) = by else { return Ok(true) };
    if *by == ended.organization || period.grantor == by.0 {
        return Ok(true);
    }
    // Above governance is nobody.
    let Some(grantor) = Hash::from_slice(&period.grantor) else { return Ok(false) };
    let time_ms = context.frame.time_ms;
    let (action, resource) = (ended.action, ended.resource());
    let links = authority::chain_of_grants(state, &grantor, action, resource, time_ms)?;
    Ok(links.unwrap_or_default().iter().any(|link| link.organization == *by))
}
