//! Setting entries of a list to one state (PROTOCOL §4.1).
//!
//! Idempotent by target: entries that are there already stay, and a change of none is not ordered. Under an exclusive
//! type an entry becomes valid only for an active enrollment, and is suspended and reinstated with it alone.

use super::Context;
use super::acting::{Acting, Class, Deed, check_grace, check_invalid_from};
use super::enrollment::{Held, Standing};
use super::entries::{Dates, Entries, transition};
use crate::error::StatusError;
use crate::mutant::{self, Mutant};
use crate::overlay::read;
use crate::status::StatusEvent;
use crate::{AdmissionError, Overlay, StateFault, StateView, TreeKey};
use sillok_did_method::{EntryState, SetStatus};
use sillok_proto::{Hash, v1};
use std::collections::BTreeMap;

pub(super) fn run<V: StateView + ?Sized>(
    context: &Context<'_>,
    op: &SetStatus,
    state: &mut Overlay<'_, V>,
) -> Result<StatusEvent, AdmissionError> {
    let list: v1::StatusList = read(state, &TreeKey::status_list(&op.list))?
        .ok_or(StatusError::UnknownList { list: op.list })?;
    let digest = |bytes: &[u8]| {
        Hash::from_slice(bytes).ok_or_else(|| StateFault::new("a list's issuer or type is no name"))
    };
    let (issuer, credential_type) = (digest(&list.issuer)?, digest(&list.r#type)?);
    let deed = if op.state.is_gain() { Deed::Gain } else { Deed::Loss };
    let acting = Acting::begin(context, state, &issuer, &credential_type, deed)?;
    let (frame, policy) = (context.frame, &acting.policy);
    let sink = context.sink;
    sink.check(check_grace(frame, policy, op.grace_until_ms))?;
    sink.check(check_invalid_from(frame, policy, op.invalid_from_ms, list.created_ms))?;
    // Ascending, so the last is the largest.
    let capacity = list.capacity;
    if let Some(index) = op.indexes.last().copied().filter(|index| *index >= capacity) {
        sink.report(StatusError::IndexOutOfRange { index, capacity })?;
    }
    let handles = match check_handles(op, &acting) {
        Ok(handles) => handles,
        Err(error) => {
            sink.report(error)?;
            &[]
        }
    };
    let mut change = Change {
        op,
        time_ms: frame.time_ms,
        exclusive: acting.exclusive,
        entries: Entries::default(),
        enrollments: BTreeMap::new(),
        names: (issuer, credential_type),
    };
    let (mut changed, mut refused): (usize, usize) = (0, 0);
    for (nth, index) in op.indexes.iter().enumerate().filter(|(_, index)| **index < capacity) {
        match change.set(state, *index, handles.get(nth)) {
            Ok(true) => changed = changed.saturating_add(1),
            Ok(false) => {}
            Err(error) => {
                refused = refused.saturating_add(1);
                sink.report(error)?;
            }
        }
    }
    if changed == 0 && refused == 0 {
        let height = frame.height.saturating_sub(1);
        sink.report(StatusError::AlreadySet { list: op.list, state: op.state, height })?;
    }
    let class = Class::of_state(op.state);
    acting.settle(state, acting.approvals_asked(), Some((class, changed)))?;
    for held in change.enrollments.into_values() {
        held.write(state, &acting.part.salt, frame.height);
    }
    let chunks = change.entries.write(state).into_iter().map(|(_, number)| number).collect();
    Ok(StatusEvent::StatusSet { operation: context.index, list: op.list, state: op.state, chunks })
}

/// One handle for each index where entries of an exclusive type become valid; else none.
fn check_handles<'a>(op: &SetStatus, acting: &Acting<'a>) -> Result<&'a [Hash], StatusError> {
    if acting.exclusive && op.state == EntryState::Suspended {
        return Err(StatusError::UseSetEnrollment);
    }
    let handles = &acting.part.handles;
    let called_for = acting.exclusive && op.state == EntryState::Valid;
    let expected = if called_for { op.indexes.len() } else { 0 };
    if handles.len() == expected {
        Ok(handles)
    } else {
        Err(StatusError::HandleCount { expected, actual: handles.len() })
    }
}

struct Change<'a> {
    op: &'a SetStatus,
    time_ms: u64,
    exclusive: bool,
    entries: Entries,
    /// By handle; each is read once and written once.
    enrollments: BTreeMap<Hash, Held>,
    /// Issuer and type.
    names: (Hash, Hash),
}

impl Change<'_> {
    /// Sets one entry, and says whether it changed.
    fn set<V: StateView + ?Sized>(
        &mut self,
        view: &V,
        index: u32,
        handle: Option<&Hash>,
    ) -> Result<bool, AdmissionError> {
        let (list, asked) = (self.op.list, self.op.state);
        let from = self.entries.get(view, &list, index)?;
        if self.exclusive && from == EntryState::Suspended && asked == EntryState::Valid {
            return Err(StatusError::UseSetEnrollment.into());
        }
        let refusal = StatusError::EntryState { index, state: from, asked };
        let comes_back = from.is_final() && asked == EntryState::Valid;
        let changes = match transition(from, asked) {
            None if comes_back && mutant::is(Mutant::FinalEntriesComeBack) => true,
            changes => changes.ok_or(refusal)?,
        };
        if let Some(handle) = handle {
            self.enroll(view, index, handle, changes)?;
        }
        if changes {
            let (grace_until_ms, invalid_from_ms) =
                (self.op.grace_until_ms, self.op.invalid_from_ms);
            let dates = Dates { grace_until_ms, invalid_from_ms };
            self.entries.set(view, &list, index, asked, dates)?;
        }
        Ok(changes)
    }

    /// An entry that becomes valid is the enrollment's from now on; one that is valid must be already.
    fn enroll<V: StateView + ?Sized>(
        &mut self,
        view: &V,
        index: u32,
        handle: &Hash,
        becomes_valid: bool,
    ) -> Result<(), AdmissionError> {
        let (issuer, credential_type) = &self.names;
        let held = match self.enrollments.entry(*handle) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(Held::read(view, issuer, credential_type, handle)?)
            }
        };
        if !becomes_valid {
            return if held.has_entry(&self.op.list, index) {
                Ok(())
            } else {
                Err(StatusError::EntryTaken { index }.into())
            };
        }
        match held.standing(self.time_ms) {
            Standing::Active => held.add_entry(view, &mut self.entries, &self.op.list, index),
            other => Err(other.refusal().into()),
        }
    }
}
