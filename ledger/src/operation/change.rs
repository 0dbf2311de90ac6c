//! Carrying out a proposal that more than two thirds of the operators approved (PROTOCOL §7.3).
//!
//! Nobody takes a seat here: approval lets a validator key join, and `join` seats it. Until then the node that holds the
//! seat keeps its key, for it still votes. Who is removed loses its seat at once, that is two heights later.

use super::members::{
    Roster, effective_height, member_record, parameters, record, require_never_used,
    require_unused, use_key,
};
use super::{Context, accredit, withdraw};
use crate::genesis::{
    CLOCK_AHEAD_MS_MAX, CLOCK_BEHIND_MS_MAX, OBSERVERS_MAX, OPERATORS_MAX,
    VALID_UNTIL_WINDOW_MS_MAX, check_figures,
};
use crate::governance::{
    PARAMETERS_CLOCK_MS_MIN, PARAMETERS_DELAY, PARAMETERS_HEARTBEAT_MS_MAX,
    PARAMETERS_VALID_UNTIL_WINDOW_MS_MIN,
};
use crate::overlay::read;
use crate::trust::TrustEvent;
use crate::{AdmissionError, Overlay, StateFault, StateView, TreeKey, admit};
use sillok_did_method::{Change, OperatorKeys, ed25519_key, key_id, parameters_hash};
use sillok_proto::{Hash, encode, v1};

/// What a change did.
pub(super) enum Done {
    /// Members changed. `None` where the set stays: observers, and keys that take over when they join.
    Members { effective_height: Option<u64> },
    /// A grant changed.
    Trust(TrustEvent),
    /// The figures changed, from this height on.
    Parameters { effective_height: u64 },
}

/// Executes `change`, whose proposal ends at `expires_ms`.
pub(super) fn execute<V: StateView + ?Sized>(
    context: &Context<'_>,
    change: &Change,
    expires_ms: u64,
    roster: &mut Roster,
    state: &mut Overlay<'_, V>,
) -> Result<Done, AdmissionError> {
    match change {
        Change::AdmitOperator(keys) => admit_operator(context, keys, expires_ms, roster, state)?,
        Change::ReplaceOperator(keys) => {
            replace_operator(context, keys, expires_ms, roster, state)?;
        }
        Change::RemoveOperator { organization } => {
            let effective_height = remove_operator(context, organization, roster, state)?;
            return Ok(Done::Members { effective_height });
        }
        Change::AdmitObserver { node_key, archive } => {
            admit_observer(node_key, *archive, roster, state)?;
        }
        Change::RemoveObserver { node_key } => {
            if !roster.is_observer(node_key) {
                let key_id = key_id(&ed25519_key(node_key));
                return Err(AdmissionError::ObserverUnknown { key_id });
            }
            end_observer(context, node_key, roster, state)?;
        }
        Change::Accredit(grant) => {
            return Ok(Done::Trust(accredit::give(context, None, false, grant, state)?));
        }
        Change::Withdraw(grant) => {
            return Ok(Done::Trust(withdraw::end(context, None, grant, state)?));
        }
        Change::SetParameters { previous, parameters } => {
            let effective_height = set_parameters(context, previous, parameters, roster, state)?;
            return Ok(Done::Parameters { effective_height });
        }
    }
    Ok(Done::Members { effective_height: None })
}

/// May the network go over from the figures in force to these? Asked when they are proposed too: what may not be now may
/// never be, but for `archives_min`, which is a matter of who is there when they are executed. Returns those in force.
pub(super) fn check_parameters<V: StateView + ?Sized>(
    context: &Context<'_>,
    previous: &Hash,
    new: &v1::Parameters,
    view: &V,
) -> Result<v1::Parameters, AdmissionError> {
    let (old, first) = (parameters(view)?, context.frame.chain.parameters());
    if old == (v1::Parameters { previous: old.previous.clone(), ..new.clone() }) {
        return Err(AdmissionError::ParametersUnchanged);
    }
    // All figures are named: a late approval of what was made of others would undo what was decided meanwhile.
    let in_force = parameters_hash(&old);
    if *previous != in_force {
        return Err(AdmissionError::ParametersChanged { previous: *previous, in_force });
    }
    // A client knows them from the genesis, and is to trust nobody for them: how old a trusted header may be, and under
    // which name lists are served, which is written in credentials.
    if new.trusting_period_ms != first.trusting_period_ms {
        return Err(AdmissionError::ParameterFixed { name: "trusting_period_ms" });
    }
    if new.list_base != first.list_base {
        return Err(AdmissionError::ParameterFixed { name: "list_base" });
    }
    // Narrower than a genesis may have them, for nobody could come back from there: with a window of seconds nothing
    // that is signed away from the network arrives in time, and with clocks nearer than they are kept no fresh block
    // is taken; and with a long heartbeat clients call an idle network stale. What a network began with it may keep.
    let (clock, window) = (PARAMETERS_CLOCK_MS_MIN, PARAMETERS_VALID_UNTIL_WINDOW_MS_MIN);
    let heartbeat = clock..=PARAMETERS_HEARTBEAT_MS_MAX;
    for (name, figure, may_be, range) in [
        (
            "valid_until_window_ms",
            (|p| p.valid_until_window_ms) as fn(&v1::Parameters) -> u64,
            window..=VALID_UNTIL_WINDOW_MS_MAX,
            "3 min to 5 min",
        ),
        ("clock_behind_ms", |p| p.clock_behind_ms, clock..=CLOCK_BEHIND_MS_MAX, "1 s to 60 s"),
        ("clock_ahead_ms", |p| p.clock_ahead_ms, clock..=CLOCK_AHEAD_MS_MAX, "1 s to 5 s"),
        ("heartbeat_ms", |p| p.heartbeat_ms, heartbeat, "1 s to 20 s"),
    ] {
        let value = figure(new);
        if value != figure(&old) && !may_be.contains(&value) {
            return Err(AdmissionError::ParameterRange { name, value, range });
        }
    }
    check_figures(new).map_err(|crate::genesis::OutOfRange { name, value, range }| {
        AdmissionError::ParameterRange { name, value, range }
    })?;
    Ok(old)
}

/// The figures bind the next block: its parent state holds them.
fn set_parameters<V: StateView + ?Sized>(
    context: &Context<'_>,
    previous: &Hash,
    new: &v1::Parameters,
    roster: &Roster,
    state: &mut Overlay<'_, V>,
) -> Result<u64, AdmissionError> {
    let old = check_parameters(context, previous, new, state)?;
    // More than there are would be a promise that nobody keeps.
    let archives = roster.archives(state)?;
    let min = new.archives_min;
    if min > old.archives_min && archives < usize::try_from(min).unwrap_or(usize::MAX) {
        return Err(AdmissionError::ArchivesMin { archives, min });
    }
    state.put(TreeKey::parameters(), encode(new));
    Ok(context.frame.height.saturating_add(PARAMETERS_DELAY))
}

fn admit_operator<V: StateView + ?Sized>(
    context: &Context<'_>,
    keys: &OperatorKeys,
    expires_ms: u64,
    roster: &mut Roster,
    state: &mut Overlay<'_, V>,
) -> Result<(), AdmissionError> {
    let organization = keys.organization;
    if admit::organization(state, &organization)?.is_none() {
        return Err(AdmissionError::UnknownOrganization { organization });
    }
    roster.forget_expired(context, state)?;
    if roster.is_operator(&organization) {
        return Err(AdmissionError::OperatorExists { operator: organization });
    }
    if roster.operator_count() >= OPERATORS_MAX {
        return Err(AdmissionError::MembersMax { members: "operators", max: OPERATORS_MAX });
    }
    require_unused(&keys.validator_key, roster, state)?;
    require_unused(&keys.governance_key, roster, state)?;
    require_never_used(&keys.node_key, state)?;
    use_key(context, &keys.governance_key, state);
    use_node_key(context, &keys.node_key, roster, state)?;
    roster.add_operator(&organization);
    let before = record(state, &organization)?.unwrap_or_default();
    let mut new = v1::OperatorRecord {
        operator: Some(v1::Operator {
            organization: organization.to_vec(),
            validator_key: Vec::new(),
            node_key: keys.node_key.to_vec(),
            governance_key: keys.governance_key.to_vec(),
            archive: keys.archive,
        }),
        pending: Some(v1::PendingKey {
            validator_key: keys.validator_key.to_vec(),
            expires_ms,
            node_key: Vec::new(),
            archive: keys.archive,
        }),
        // What it opened before it was removed is still its.
        open_proposals: before.open_proposals,
        ..v1::OperatorRecord::default()
    };
    if before.ended_height == effective_height(context) {
        // Removed in this very block, its old key votes for one height more.
        new.previous_node_key = if before.previous_node_key.is_empty() {
            before.operator.map(|old| old.node_key).unwrap_or_default()
        } else {
            before.previous_node_key
        };
    }
    state.put(TreeKey::operator(&organization), encode(&new));
    Ok(())
}

fn replace_operator<V: StateView + ?Sized>(
    context: &Context<'_>,
    keys: &OperatorKeys,
    expires_ms: u64,
    roster: &mut Roster,
    state: &mut Overlay<'_, V>,
) -> Result<(), AdmissionError> {
    let organization = keys.organization;
    if !roster.is_operator(&organization) {
        return Err(AdmissionError::OperatorUnknown { operator: organization });
    }
    let mut record = member_record(state, &organization)?;
    let mut operator = record.operator.clone().unwrap_or_default();
    // The key in force is a used one, so the new one is another.
    require_unused(&keys.validator_key, roster, state)?;
    if keys.governance_key != *operator.governance_key {
        require_unused(&keys.governance_key, roster, state)?;
        use_key(context, &keys.governance_key, state);
    }
    let mut node_key = Vec::new();
    if keys.node_key != *operator.node_key {
        node_key = keys.node_key.to_vec();
        // One that was approved for it before, and has not taken force, is its own.
        if record.pending.as_ref().is_none_or(|pending| pending.node_key != node_key) {
            require_never_used(&keys.node_key, state)?;
            use_node_key(context, &keys.node_key, roster, state)?;
        }
    }
    if roster.is_seated(&organization) && operator.archive && !keys.archive {
        let archives = roster.archives(state)?;
        Roster::require_archives(state, archives, archives.saturating_sub(1))?;
    }
    // The governance key may be in the wrong hands. All else is of a node that may hold the seat until the join.
    operator.governance_key = keys.governance_key.to_vec();
    record.operator = Some(operator);
    record.pending = Some(v1::PendingKey {
        validator_key: keys.validator_key.to_vec(),
        expires_ms,
        node_key,
        archive: keys.archive,
    });
    state.put(TreeKey::operator(&organization), encode(&record));
    Ok(())
}

fn remove_operator<V: StateView + ?Sized>(
    context: &Context<'_>,
    organization: &Hash,
    roster: &mut Roster,
    state: &mut Overlay<'_, V>,
) -> Result<Option<u64>, AdmissionError> {
    if !roster.is_operator(organization) {
        return Err(AdmissionError::OperatorUnknown { operator: *organization });
    }
    let effective = effective_height(context);
    let mut record = member_record(state, organization)?;
    let since_height = roster.seat_of(organization).map(|seat| seat.since_height);
    if let Some(since_height) = since_height {
        // The node of the key that votes for one height more. Of a key that was seated in this very block, which votes never,
        // it is the one noted at the join; else the one in force, and what is noted is of the past.
        if since_height != effective {
            record.previous_node_key.clear();
        }
        let archives = roster.archives(state)?;
        roster.unseat(organization);
        roster.require_quorum(context)?;
        Roster::require_archives(state, archives, roster.archives(state)?)?;
    }
    roster.remove_operator(organization);
    // Nothing of it may join any more.
    record.pending = None;
    record.ended_height = effective;
    state.put(TreeKey::operator(organization), encode(&record));
    Ok(since_height.map(|_| effective))
}

fn admit_observer<V: StateView + ?Sized>(
    node_key: &[u8; 32],
    archive: bool,
    roster: &mut Roster,
    state: &mut Overlay<'_, V>,
) -> Result<(), AdmissionError> {
    require_unused(node_key, roster, state)?;
    if roster.observer_count() >= OBSERVERS_MAX {
        return Err(AdmissionError::MembersMax { members: "observers", max: OBSERVERS_MAX });
    }
    roster.add_observer(node_key);
    let observer = v1::Observer { node_key: node_key.to_vec(), archive };
    let record = v1::ObserverRecord { observer: Some(observer), ended_height: 0 };
    state.put(TreeKey::observer(node_key), encode(&record));
    Ok(())
}

/// The key is an operator's from now on. Where it was an observer's, the observer became a member.
fn use_node_key<V: StateView + ?Sized>(
    context: &Context<'_>,
    node_key: &[u8; 32],
    roster: &mut Roster,
    state: &mut Overlay<'_, V>,
) -> Result<(), AdmissionError> {
    use_key(context, node_key, state);
    if roster.is_observer(node_key) {
        end_observer(context, node_key, roster, state)?;
    }
    Ok(())
}

fn end_observer<V: StateView + ?Sized>(
    context: &Context<'_>,
    node_key: &[u8; 32],
    roster: &mut Roster,
    state: &mut Overlay<'_, V>,
) -> Result<(), AdmissionError> {
    let leaf = TreeKey::observer(node_key);
    let mut record: v1::ObserverRecord =
        read(state, &leaf)?.ok_or_else(|| StateFault::new("an observer has no record"))?;
    record.ended_height = context.frame.height;
    roster.remove_observer(node_key);
    state.put(leaf, encode(&record));
    Ok(())
}
