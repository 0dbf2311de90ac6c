//! An operator's own new validator key, for one that was lost, seen or may not sign any more (PROTOCOL §7.3, II.4).
//!
//! Its governance key alone decides, for it changes nobody else's seat. Once a day: a governance key in the wrong hands
//! must not make the set change at every height. The old key keeps the seat until the new one joins. The node stays
//! what it is, or what a replacement that has not lapsed makes of it at the join.

use super::members::{Roster, require_operator, require_unused};
use super::{Context, Signers};
use crate::governance::{GovernanceEvent, REKEY_INTERVAL_MS};
use crate::{AdmissionError, Overlay, StateView, TreeKey};
use sillok_did_method::Rekey;
use sillok_proto::{encode, v1};

pub(super) fn run<V: StateView + ?Sized>(
    context: &Context<'_>,
    op: &Rekey,
    signers: &mut Signers<'_>,
    state: &mut Overlay<'_, V>,
) -> Result<Vec<GovernanceEvent>, AdmissionError> {
    let roster = Roster::read(state)?;
    let (operator, validator_key) = (op.operator, op.validator_key);
    let mut record = require_operator(context, &operator, &roster, signers, state)?;
    let time_ms = context.frame.time_ms;
    let next_ms = record.rekeyed_ms.saturating_add(REKEY_INTERVAL_MS);
    if record.rekeyed_ms != 0 && time_ms < next_ms {
        return Err(AdmissionError::RekeyTooSoon { operator, next_ms, time_ms });
    }
    require_unused(&validator_key, &roster, state)?;
    let expires_ms = time_ms.saturating_add(REKEY_INTERVAL_MS);
    record.rekeyed_ms = time_ms;
    let archive = record.operator.as_ref().is_some_and(|keys| keys.archive);
    let approved = record.pending.take().filter(|pending| time_ms < pending.expires_ms);
    record.pending = Some(v1::PendingKey {
        validator_key: validator_key.to_vec(),
        expires_ms,
        // The others approved this node, and it may be the only one left: a new key of the validator takes it along.
        ..approved.unwrap_or(v1::PendingKey { archive, ..v1::PendingKey::default() })
    });
    state.put(TreeKey::operator(&operator), encode(&record));
    Ok(vec![GovernanceEvent::Rekeyed { operator, validator_key, expires_ms }])
}
