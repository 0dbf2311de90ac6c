//! Changing an enrollment: reserve, activate, suspend, reinstate, end (PROTOCOL §4.2, §4.3).
//!
//! One leaf, so one device; its number only grows, so there is no fork and no way back. What becomes of the enrollment
//! becomes of its entries in the same operation. A reservation stands beside the active one, which ends when the new one
//! is activated, at the same height.

use super::Context;
use super::acting::{Acting, Class, Deed, check_grace, check_invalid_from, in_mask, right, within};
use super::enrollment::{Held, Standing};
use super::entries::{Dates, Entries};
use crate::admit;
use crate::error::{StatusDate, StatusError};
use crate::overlay::read;
use crate::status::StatusEvent;
use crate::{AdmissionError, Overlay, StateFault, StateView, TreeKey};
use sillok_did_method::{Enrollment, EntryState, SetEnrollment, key_id};
use sillok_proto::{Hash, encode, v1};

pub(super) fn run<V: StateView + ?Sized>(
    context: &Context<'_>,
    op: &SetEnrollment,
    state: &mut Overlay<'_, V>,
) -> Result<StatusEvent, AdmissionError> {
    let missing = || AdmissionError::MissingPart { part: "private content" };
    let part = context.private.ok_or_else(missing)?;
    let enrollment = part.enrollment.as_ref().ok_or_else(missing)?;
    let handle = part.handles.first().ok_or_else(missing)?;
    let deed = if enrollment.is_gain() { Deed::Gain } else { Deed::Loss };
    let (issuer, credential_type) = (op.issuer, op.credential_type);
    let acting = Acting::begin(context, state, &issuer, &credential_type, deed)?;
    if !acting.exclusive {
        return Err(StatusError::NotExclusive.into());
    }
    let held = Held::read(state, &issuer, &credential_type, handle)?;
    let mut change = Change {
        context,
        op,
        acting: &acting,
        standing: held.standing(context.frame.time_ms),
        held,
        entries: Entries::default(),
    };
    let asked = acting.approvals_asked();
    match enrollment {
        Enrollment::Reserve { .. } => {
            change.reserve(state, enrollment)?;
            acting.settle(state, asked, Some((Class::Gained, 1)))?;
        }
        Enrollment::Activate { .. } => {
            let moved = change.activate(state, enrollment)?;
            // Approved and counted when it was reserved.
            acting.settle(state, 0, None)?;
            if let Some(moved) = moved {
                moved.write(state, &part.salt, context.frame.height);
            }
        }
        Enrollment::Suspend { number } => {
            change.suspend(state, *number)?;
            acting.settle(state, asked, Some((Class::Suspended, 1)))?;
        }
        Enrollment::Reinstate { number, enrollment_key } => {
            change.reinstate(state, *number, enrollment_key)?;
            acting.settle(state, asked, Some((Class::Gained, 1)))?;
        }
        Enrollment::End { number, invalid_from_ms } => {
            change.end(state, *number, *invalid_from_ms)?;
            acting.settle(state, asked, Some((Class::Ended, 1)))?;
        }
    }
    let Change { held, entries, .. } = change;
    held.write(state, &part.salt, context.frame.height);
    let chunks = entries.write(state);
    Ok(StatusEvent::EnrollmentSet { operation: context.index, issuer, credential_type, chunks })
}

struct Change<'a> {
    context: &'a Context<'a>,
    op: &'a SetEnrollment,
    acting: &'a Acting<'a>,
    standing: Standing,
    held: Held,
    entries: Entries,
}

impl Change<'_> {
    const fn time_ms(&self) -> u64 {
        self.context.frame.time_ms
    }

    fn already(&self) -> AdmissionError {
        StatusError::AlreadyEnrolled { height: self.held.leaf.height }.into()
    }

    fn stale(&self) -> AdmissionError {
        StatusError::StaleNumber { number: self.held.leaf.number }.into()
    }

    fn reserve<V: StateView + ?Sized>(
        &mut self,
        view: &V,
        request: &Enrollment,
    ) -> Result<(), AdmissionError> {
        let Enrollment::Reserve { number, one_time_key, deadline_ms, valid_until_ms, new_handle } =
            request
        else {
            return Ok(());
        };
        let sink = self.context.sink;
        sink.check(self.require_replaceable())?;
        if self.held.leaf.number.checked_add(1) != Some(*number) {
            sink.report(self.stale())?;
        }
        let (time_ms, policy) = (self.time_ms(), &self.acting.policy);
        let earliest_ms = time_ms.saturating_add(1);
        let latest_ms = time_ms.saturating_add(policy.reservation_max_ms);
        sink.check(within(StatusDate::Deadline, *deadline_ms, earliest_ms, latest_ms))?;
        let latest_ms = time_ms.saturating_add(policy.validity_max_ms);
        sink.check(within(StatusDate::ValidUntil, *valid_until_ms, *deadline_ms, latest_ms))?;
        sink.check(self.require_new_key(view, one_time_key).map(|_| ()))?;
        if let Some(new) = new_handle {
            sink.check(self.require_free_handle(view, new).map(|_| ()))?;
        }
        self.held.leaf.number = *number;
        self.held.leaf.reservation = Some(v1::Reservation {
            one_time_key_id: key_id(one_time_key).to_vec(),
            deadline_ms: *deadline_ms,
            valid_until_ms: *valid_until_ms,
            role: self.acting.part.acting_role.to_vec(),
            new_handle: new_handle.map(|handle| handle.to_vec()).unwrap_or_default(),
        });
        Ok(())
    }

    /// May a new one be reserved, for the reason given, beside what there is?
    fn require_replaceable(&self) -> Result<(), AdmissionError> {
        let (policy, rule) = (&self.acting.policy, &self.acting.rule);
        let reason = rule.reason();
        let refusal = match self.standing {
            Standing::Moved => Some(self.standing.refusal()),
            Standing::None | Standing::Ended => match reason {
                v1::Reason::Renewal => Some(self.standing.refusal()),
                v1::Reason::Expired => Some(StatusError::NotExpired),
                _ => None,
            },
            // D7: anew, or by a reason of its own where the type takes it.
            Standing::Expired => match reason {
                v1::Reason::FirstIssue => None,
                v1::Reason::Renewal => Some(self.standing.refusal()),
                _ if !policy.reissue_after_expiry => Some(StatusError::ApplyAnew),
                v1::Reason::Expired => None,
                _ => Some(self.standing.refusal()),
            },
            // What is suspended ends or comes back first: else the proof by its key could be gone around.
            Standing::Suspended => Some(StatusError::OldNotRevoked),
            Standing::Active if reason == v1::Reason::Expired => Some(StatusError::NotExpired),
            Standing::Active if !rule.replaces => Some(StatusError::OldNotRevoked),
            Standing::Active => {
                let valid_until_ms = self.held.leaf.valid_until_ms;
                let from_ms = valid_until_ms.saturating_sub(policy.renewal_window_ms);
                let early = reason == v1::Reason::Renewal && self.time_ms() < from_ms;
                early.then_some(StatusError::RenewalTooEarly { from_ms })
            }
        };
        refusal.map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    /// D12: an algorithm that the type allows, and a key that nobody used.
    fn require_new_key<V: StateView + ?Sized>(
        &self,
        view: &V,
        key: &v1::PublicKey,
    ) -> Result<Hash, AdmissionError> {
        let algorithm = key.algorithm;
        if !in_mask(self.acting.policy.key_algorithms, algorithm) {
            return Err(StatusError::KeyAlgorithmNotAllowed { algorithm }.into());
        }
        let key_id = key_id(key);
        match read::<v1::UsedKey>(view, &TreeKey::used_key(&key_id))? {
            Some(used) => Err(AdmissionError::KeyReuse { key_id, height: used.height }),
            None => Ok(key_id),
        }
    }

    fn require_free_handle<V: StateView + ?Sized>(
        &self,
        view: &V,
        handle: &Hash,
    ) -> Result<Held, AdmissionError> {
        let held = Held::read(view, &self.op.issuer, &self.op.credential_type, handle)?;
        if held.present { Err(StatusError::HandleInUse.into()) } else { Ok(held) }
    }

    /// Activates what was reserved. Returns the enrollment under the old handle, if it moves.
    fn activate<V: StateView + ?Sized>(
        &mut self,
        state: &mut Overlay<'_, V>,
        request: &Enrollment,
    ) -> Result<Option<Held>, AdmissionError> {
        let Enrollment::Activate { number, one_time_key, enrollment_key, grace_until_ms } = request
        else {
            return Ok(None);
        };
        let time_ms = self.time_ms();
        let reservation = self.require_reservation(*number)?;
        let sink = self.context.sink;
        if key_id(one_time_key).0 != reservation.one_time_key_id.as_slice() {
            sink.report(StatusError::OneTimeKeyMismatch)?;
        }
        sink.check(self.require_role(state, &reservation))?;
        sink.check(check_grace(self.context.frame, &self.acting.policy, *grace_until_ms))?;
        // Of the latest version, which may allow less than when it was reserved.
        let latest_ms = time_ms.saturating_add(self.acting.policy.validity_max_ms);
        let valid_until_ms = reservation.valid_until_ms;
        sink.check(within(StatusDate::ValidUntil, valid_until_ms, time_ms, latest_ms))?;
        for key in [one_time_key, enrollment_key] {
            match self.require_new_key(state, key) {
                Ok(key_id) => {
                    let used = v1::UsedKey { height: self.context.frame.height };
                    state.put(TreeKey::used_key(&key_id), encode(&used));
                }
                Err(error) => sink.report(error)?,
            }
        }
        let dates = Dates { grace_until_ms: *grace_until_ms, ..Dates::default() };
        self.held.carry(state, &mut self.entries, EntryState::Superseded, dates)?;
        let active = v1::Enrollment {
            state: v1::EnrollmentState::Active.into(),
            number: *number,
            active_number: *number,
            enrollment_key: Some(enrollment_key.clone()),
            activated_ms: time_ms,
            valid_until_ms: reservation.valid_until_ms,
            ..v1::Enrollment::default()
        };
        if reservation.new_handle.is_empty() {
            self.held.leaf = active;
            return Ok(None);
        }
        let new = Hash::from_slice(&reservation.new_handle)
            .ok_or_else(|| StateFault::new("a handle has no 32 bytes"))?;
        let mut moved = self.require_free_handle(state, &new)?;
        moved.leaf = active;
        std::mem::swap(&mut moved, &mut self.held);
        moved.leaf = v1::Enrollment {
            state: v1::EnrollmentState::Moved.into(),
            number: *number,
            active_number: *number,
            ..v1::Enrollment::default()
        };
        Ok(Some(moved))
    }

    /// The reservation of this number, which can still be activated.
    fn require_reservation(&self, number: u32) -> Result<v1::Reservation, AdmissionError> {
        let (leaf, time_ms) = (&self.held.leaf, self.time_ms());
        // A7: of two that activate one number the first wins.
        if leaf.active_number == number
            && matches!(
                self.standing,
                Standing::Active | Standing::Suspended | Standing::Expired | Standing::Moved
            )
        {
            return Err(StatusError::OneDevice { number }.into());
        }
        let Some(reservation) = &leaf.reservation else {
            return Err(match self.standing {
                Standing::Ended | Standing::Moved => self.standing.refusal().into(),
                _ => StatusError::NoReservation.into(),
            });
        };
        if leaf.number != number {
            return Err(self.stale());
        }
        // What was suspended since must come back or end first.
        if self.standing == Standing::Suspended {
            return Err(self.standing.refusal().into());
        }
        let deadline_ms = reservation.deadline_ms;
        if self.held.open_reservation(time_ms).is_none() {
            return Err(StatusError::ReservationExpired { deadline_ms, time_ms }.into());
        }
        Ok(reservation.clone())
    }

    /// B7: who handed out the one-time key may still issue.
    fn require_role<V: StateView + ?Sized>(
        &self,
        view: &V,
        reservation: &v1::Reservation,
    ) -> Result<(), AdmissionError> {
        let role = Hash::from_slice(&reservation.role)
            .ok_or_else(|| StateFault::new("a role is no digest"))?;
        let (issuer, credential_type) = (&self.op.issuer, &self.op.credential_type);
        let ended = || AdmissionError::from(StatusError::RoleEnded { role });
        if admit::organization(view, &role)?.is_none() {
            return Err(ended());
        }
        match right(self.context, view, &role, issuer, credential_type, Deed::Gain) {
            Ok(_) => Ok(()),
            Err(AdmissionError::State(fault)) => Err(fault.into()),
            Err(_) => Err(ended()),
        }
    }

    fn suspend<V: StateView + ?Sized>(
        &mut self,
        view: &V,
        number: u32,
    ) -> Result<(), AdmissionError> {
        let leaf = &self.held.leaf;
        match leaf.state() {
            v1::EnrollmentState::Active => {}
            v1::EnrollmentState::Suspended => return Err(self.already()),
            _ => return Err(self.standing.refusal().into()),
        }
        if number != 0 && number != leaf.active_number {
            self.context.sink.report(self.stale())?;
        }
        self.held.carry(view, &mut self.entries, EntryState::Suspended, Dates::default())?;
        self.held.leaf.state = v1::EnrollmentState::Suspended.into();
        Ok(())
    }

    /// B18: the issuer and the holder together.
    fn reinstate<V: StateView + ?Sized>(
        &mut self,
        view: &V,
        number: u32,
        enrollment_key: &v1::PublicKey,
    ) -> Result<(), AdmissionError> {
        let leaf = &self.held.leaf;
        match self.standing {
            Standing::Suspended => {}
            Standing::Active => return Err(self.already()),
            other => return Err(other.refusal().into()),
        }
        let sink = self.context.sink;
        if number != leaf.active_number {
            sink.report(self.stale())?;
        }
        if leaf.enrollment_key.as_ref() != Some(enrollment_key) {
            sink.report(StatusError::EnrollmentKeyMismatch)?;
        }
        self.held.carry(view, &mut self.entries, EntryState::Valid, Dates::default())?;
        self.held.leaf.state = v1::EnrollmentState::Active.into();
        Ok(())
    }

    /// Ends what is active or suspended, and takes back what is reserved.
    fn end<V: StateView + ?Sized>(
        &mut self,
        view: &V,
        number: u32,
        invalid_from_ms: u64,
    ) -> Result<(), AdmissionError> {
        let time_ms = self.time_ms();
        let leaf = &self.held.leaf;
        let reserved = self.held.open_reservation(time_ms).is_some();
        match leaf.state() {
            v1::EnrollmentState::Moved => return Err(self.standing.refusal().into()),
            v1::EnrollmentState::Ended if !reserved => return Err(self.already()),
            v1::EnrollmentState::Unspecified if !reserved => {
                return Err(self.standing.refusal().into());
            }
            _ => {}
        }
        let about = number == 0
            || number == leaf.active_number && leaf.state() != v1::EnrollmentState::Ended
            || reserved && number == leaf.number;
        let sink = self.context.sink;
        if !about {
            sink.report(self.stale())?;
        }
        sink.check(check_invalid_from(
            self.context.frame,
            &self.acting.policy,
            invalid_from_ms,
            leaf.activated_ms,
        ))?;
        let dates = Dates { invalid_from_ms, ..Dates::default() };
        self.held.carry(view, &mut self.entries, EntryState::Invalid, dates)?;
        let leaf = &mut self.held.leaf;
        leaf.state = v1::EnrollmentState::Ended.into();
        leaf.reservation = None;
        leaf.entries.clear();
        leaf.enrollment_key = None;
        Ok(())
    }
}
