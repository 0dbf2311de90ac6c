//! Giving a right: by an organization that holds it, or by governance (PROTOCOL §5.1).
//!
//! Who gives a right holds it, and may accredit, both on the resource. Who receives one agrees to it, unless it is
//! given by the organization that registered it or by governance: else a stranger with some rights could fill the
//! leaves of another, take the place of its ministry in them, or slow it down by limits (decision 18).
//!
//! Nothing begins in the past, so what somebody was not allowed to do stays not allowed, whoever grants what later.

use super::{Context, Signers};
use crate::admit::{self, require_chain};
use crate::authority::CHAIN_MAX;
use crate::overlay::{self, read};
use crate::trust::{GRANTS_MAX, PERIODS_MAX, TrustEvent};
use crate::{AdmissionError, Overlay, StateView, TreeKey};
use sillok_did_method::{Accredit, NewGrant};
use sillok_proto::{Hash, encode, v1};

pub(super) fn run<V: StateView + ?Sized>(
    context: &Context<'_>,
    op: &Accredit,
    signers: &mut Signers<'_>,
    state: &mut Overlay<'_, V>,
) -> Result<TrustEvent, AdmissionError> {
    context.require_named_submitter()?;
    let (grantor, grant) = (op.grantor, &op.grant);
    let signed = signers.organization(state, &grantor)?;
    context.require_signed(signed, &grantor)?;
    // Taken wherever it is there, so that who signs does not have to know whether the period will be a new one.
    let receiver_signed = signers.organization(state, &grant.organization)?;
    let (frame, resource) = (context.frame, grant.resource());
    require_chain(frame, state, &grantor, v1::Action::Accredit, resource)?;
    let links = require_chain(frame, state, &grantor, grant.action, resource)?;
    // The grant would hold for nobody, or only as long as another of the same organization does.
    if links.len() >= CHAIN_MAX {
        return Err(AdmissionError::ChainTooLong { grantor, max: CHAIN_MAX });
    }
    if links.iter().any(|link| link.organization == grant.organization) {
        return Err(AdmissionError::GrantInCircle { grantor, organization: grant.organization });
    }
    give(context, Some(&grantor), receiver_signed, grant, state)
}

/// Gives a right in the name of `grantor`, `None` being governance, which `context` was found to speak for.
pub(super) fn give<V: StateView + ?Sized>(
    context: &Context<'_>,
    grantor: Option<&Hash>,
    receiver_signed: bool,
    grant: &NewGrant,
    state: &mut Overlay<'_, V>,
) -> Result<TrustEvent, AdmissionError> {
    let organization = grant.organization;
    if admit::organization(state, &organization)?.is_none() {
        return Err(AdmissionError::UnknownOrganization { organization });
    }
    let registered_it = match grantor {
        None => true,
        Some(grantor) => {
            let head = overlay::head(state, &organization)?;
            head.is_some_and(|head| head.authority == grantor.0)
        }
    };
    let is_named = name(grantor, registered_it, grant, state)?;

    let leaf = TreeKey::grant(&organization, grant.action, grant.resource());
    let mut record: v1::Grant = read(state, &leaf)?.unwrap_or_default();
    let period = match place(&record.periods, grantor, grant, context.frame.time_ms)? {
        Place::Unchanged(_) if !is_named => {
            let action = grant.action;
            return Err(AdmissionError::GrantExists { organization, action });
        }
        Place::Unchanged(period) | Place::Last(period) => {
            record.periods.pop();
            period
        }
        Place::New(period) => {
            if !registered_it && !receiver_signed {
                context.sink.report(AdmissionError::GrantNotAccepted { organization })?;
            }
            if record.periods.len() >= PERIODS_MAX {
                return Err(AdmissionError::PeriodsMax { organization, max: PERIODS_MAX });
            }
            list(grant, state)?;
            period
        }
    };
    record.periods.push(period.clone());
    state.put(leaf, encode(&record));
    let (action, resource) = (grant.action, grant.resource);
    Ok(TrustEvent::Accredited { organization, action, resource, period })
}

/// Where a period goes.
enum Place {
    /// It is the last one, as it is.
    Unchanged(v1::Period),
    /// It takes the place of the last one.
    Last(v1::Period),
    /// It follows the last one.
    New(v1::Period),
}

/// The period that is asked for, and where it goes among those there are, which stay in order and do not overlap.
///
/// The last one is changed by its own grantor alone: its limits at once, its end to a later one. To shorten it is to
/// withdraw it, which others may too.
fn place(
    periods: &[v1::Period],
    grantor: Option<&Hash>,
    grant: &NewGrant,
    time_ms: u64,
) -> Result<Place, AdmissionError> {
    let grantor_bytes = grantor.map(|grantor| grantor.to_vec()).unwrap_or_default();
    let until_ms = grant.until_ms.unwrap_or_default();
    let new = |from_ms| v1::Period {
        from_ms,
        until_ms,
        grantor: grantor_bytes.clone(),
        gained_hourly: grant.gained_hourly,
        suspended_hourly: grant.suspended_hourly,
        ended_hourly: grant.ended_hourly,
    };
    let last = periods.last();
    if let Some(last) = last
        && last.grantor == grantor_bytes
        && !is_over(last, time_ms)
        && grant.from_ms.map_or(last.from_ms <= time_ms, |from_ms| from_ms == last.from_ms)
    {
        let is_earlier = match (until_ms, last.until_ms) {
            (0, _) => false,
            (_, 0) => true,
            (new, old) => new < old,
        };
        if is_earlier {
            return Err(AdmissionError::PeriodShortened { until_ms: last.until_ms });
        }
        let period = new(last.from_ms);
        return Ok(if period == *last { Place::Unchanged(period) } else { Place::Last(period) });
    }
    let from_ms = grant.from_ms.unwrap_or(time_ms);
    if from_ms < time_ms {
        return Err(AdmissionError::PeriodInPast { ms: from_ms, time_ms });
    }
    if until_ms != 0 && until_ms <= from_ms {
        return Err(AdmissionError::PeriodEmpty { from_ms, until_ms });
    }
    match last {
        Some(last) if !is_over(last, from_ms) && last.grantor != grantor_bytes => {
            Err(AdmissionError::GrantedByOther { grantor: Hash::from_slice(&last.grantor) })
        }
        Some(last) if !is_over(last, from_ms) => {
            Err(AdmissionError::PeriodOverlap { from_ms: last.from_ms, until_ms: last.until_ms })
        }
        _ => Ok(Place::New(new(from_ms))),
    }
}

/// Has the period ended by then? Its end is not in it.
const fn is_over(period: &v1::Period, time_ms: u64) -> bool {
    period.until_ms != 0 && period.until_ms <= time_ms
}

/// Sets the name, if there is one to set. Returns whether it is another than before.
///
/// A name is the word of who registered the organization, for who else should know what it is called.
fn name<V: StateView + ?Sized>(
    grantor: Option<&Hash>,
    registered_it: bool,
    grant: &NewGrant,
    state: &mut Overlay<'_, V>,
) -> Result<bool, AdmissionError> {
    let Some(name) = &grant.name else { return Ok(false) };
    let organization = grant.organization;
    if let Some(grantor) = grantor.filter(|_| !registered_it) {
        return Err(AdmissionError::NameNotAllowed { grantor: *grantor, organization });
    }
    let leaf = TreeKey::organization(&organization);
    let before: Option<v1::Organization> = read(state, &leaf)?;
    if before.is_some_and(|before| before.name == *name) {
        return Ok(false);
    }
    state.put(leaf, encode(&v1::Organization { name: name.clone() }));
    Ok(true)
}

/// Adds the grant to those that the organization has or had.
fn list<V: StateView + ?Sized>(
    grant: &NewGrant,
    state: &mut Overlay<'_, V>,
) -> Result<(), AdmissionError> {
    let organization = grant.organization;
    let leaf = TreeKey::grant_index(&organization);
    let mut index: v1::GrantIndex = read(state, &leaf)?.unwrap_or_default();
    let action = i32::from(grant.action);
    let key = (action, grant.resource());
    let Err(at) =
        index.grants.binary_search_by(|one| (one.action, one.resource.as_slice()).cmp(&key))
    else {
        return Ok(());
    };
    if index.grants.len() >= GRANTS_MAX {
        return Err(AdmissionError::GrantsMax { organization, max: GRANTS_MAX });
    }
    index.grants.insert(at, v1::GrantName { action, resource: grant.resource().to_vec() });
    state.put(leaf, encode(&index));
    Ok(())
}
