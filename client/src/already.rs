//! Is it so already? What a node says of that ends a report, so it is proved before it is believed.
//!
//! The same loss is reported through several doors, and the second report is no failure: a node answers it with a rule
//! that says so. It is one node's word, and a phone that was lost stays in use if the word is false. So the state itself
//! is read: entries and grants by anybody, an enrollment by the issuer and by auditors alone (PROTOCOL §4.2). What cannot
//! be read is not proved.

use crate::connection::CallError;
use crate::identity::Identity;
use crate::private::{own_enrollment, read_request};
use crate::read::{Client, ReadError};
use crate::transaction::{BuildError, PartlySigned};
use crate::verify::VerifyError;
use crate::verify::moment::Moment;
use crate::write::WriteError;
use sillok_did_method::SUBMIT;
use sillok_ledger::TreeKey;
use sillok_ledger::answer::CHUNKS_MAX;
use sillok_ledger::status::chunk_of;
use sillok_proto::{Hash, v1};
use std::collections::BTreeSet;
use v1::operation::Operation as Kind;
use v1::read_statement::Read;

impl Client {
    /// Is all that the transaction asks for proved to be so now? `reader` is whose key asks for what is private. `false`:
    /// it is otherwise, or `reader` may not read it.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; [`ReadError::Stale`] where a proof is too old to say what is so now.
    pub async fn is_so_already(
        &self,
        partly: &PartlySigned,
        reader: &Identity,
    ) -> Result<bool, WriteError> {
        let body = partly.body();
        for (index, operation) in body.operations.iter().enumerate() {
            let is_so = match &operation.operation {
                Some(Kind::SetStatus(op)) => self.entries_are(op).await?,
                Some(Kind::Accredit(op)) => self.is_accredited(op).await?,
                Some(Kind::Withdraw(op)) => self.is_withdrawn(op).await?,
                Some(Kind::SetEnrollment(op)) => match partly.content(index) {
                    Some(content) => self.enrollment_is(op, content, reader).await?,
                    None => false,
                },
                _ => false,
            };
            if !is_so {
                return Ok(false);
            }
        }
        Ok(!body.operations.is_empty())
    }

    async fn entries_are(&self, op: &v1::SetStatus) -> Result<bool, ReadError> {
        let Some(list) = Hash::from_slice(&op.list) else { return Ok(false) };
        let numbers: BTreeSet<u32> = op.indexes.iter().map(|index| chunk_of(*index).0).collect();
        let numbers: Vec<u32> = numbers.into_iter().collect();
        for piece in numbers.chunks(CHUNKS_MAX) {
            let answer = self.chunks(&list, piece, Moment::Tip).await?;
            let chunks = answer.fresh()?;
            let here = op.indexes.iter().filter(|index| piece.contains(&chunk_of(**index).0));
            for index in here {
                let entry = chunks.entry(*index);
                if !entry.is_ok_and(|entry| entry.state as u32 == op.state) {
                    return Ok(false);
                }
            }
        }
        Ok(!op.indexes.is_empty())
    }

    /// Is the last period the very one that would be given?
    async fn is_accredited(&self, op: &v1::Accredit) -> Result<bool, ReadError> {
        let Some(grant) = &op.grant else { return Ok(false) };
        let Some(organization) = Hash::from_slice(&grant.organization) else { return Ok(false) };
        let answer = self.grants(&organization).await?;
        let time_ms = answer.time_ms();
        let Some(last) = answer
            .fresh()?
            .iter()
            .find(|(of, _)| of.action == grant.action && of.resource == grant.resource)
            .and_then(|(_, held)| held.periods.last())
        else {
            return Ok(false);
        };
        let asked = v1::Period {
            from_ms: if grant.from_ms == 0 { last.from_ms } else { grant.from_ms },
            until_ms: grant.until_ms,
            grantor: op.grantor.clone(),
            gained_hourly: grant.gained_hourly,
            suspended_hourly: grant.suspended_hourly,
            ended_hourly: grant.ended_hourly,
        };
        let began = grant.from_ms != 0 || last.from_ms <= time_ms;
        let runs = last.until_ms == 0 || time_ms < last.until_ms;
        if !began || !runs || asked != *last {
            return Ok(false);
        }
        Ok(grant.name.is_empty() || self.organization_name(&organization).await? == grant.name)
    }

    /// Does no period go beyond the end that is asked for?
    async fn is_withdrawn(&self, op: &v1::Withdraw) -> Result<bool, ReadError> {
        let Some(grant) = &op.grant else { return Ok(false) };
        let Some(organization) = Hash::from_slice(&grant.organization) else { return Ok(false) };
        let answer = self.grants(&organization).await?;
        let at_ms = if grant.at_ms == 0 { answer.time_ms() } else { grant.at_ms };
        let mut held = answer
            .fresh()?
            .iter()
            .filter(|(of, _)| of.action == grant.action && of.resource == grant.resource)
            .flat_map(|(_, held)| &held.periods);
        Ok(held.all(|period| period.until_ms != 0 && period.until_ms <= at_ms))
    }

    /// Whoever may not read an enrollment is told nothing of it, and then nothing is proved.
    async fn enrollment_is(
        &self,
        op: &v1::SetEnrollment,
        content: &v1::PrivateContent,
        reader: &Identity,
    ) -> Result<bool, WriteError> {
        let (issuer, credential_type) =
            (Hash::from_slice(&op.issuer), Hash::from_slice(&op.r#type));
        let handle = Hash::from_slice(&content.handles);
        let (Some(issuer), Some(credential_type), Some(handle), Some(request)) =
            (issuer, credential_type, handle, &content.enrollment)
        else {
            return Ok(false);
        };
        // Also moves the trusted header on: a request is signed over one of a moment ago.
        let key = self.acting_key(reader, SUBMIT).await?;
        let trusted = self.trusted();
        let read = Read::Enrollment(v1::ReadEnrollment {
            issuer: op.issuer.clone(),
            r#type: op.r#type.clone(),
            handle: handle.to_vec(),
        });
        let signed = read_request(
            &self.genesis_hash(),
            &reader.did.digest(),
            (trusted.height, trusted.header_hash),
            read,
            &key,
        )
        .map_err(BuildError::from)?;
        let leaf = TreeKey::enrollment(&issuer, &credential_type, &handle);
        let found = self
            .ask(
                |node, _| {
                    let signed = signed.clone();
                    async move { node.private_status().own_enrollment(signed).await }
                },
                |verifier, answer: &v1::OwnEnrollmentResponse| {
                    let proof = answer.proof.as_ref().ok_or(VerifyError::NoProof)?;
                    verifier.leaves(&[leaf], proof)
                },
            )
            .await;
        let answer = match found {
            Ok((answer, _, _)) => answer,
            Err(ReadError::Call(CallError::Refused { .. }) | ReadError::Unproved { .. }) => {
                return Ok(false);
            }
            // By its word there is none.
            Err(ReadError::Verify { source, .. }) if *source == VerifyError::NoProof => {
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        let time_ms = answer.time_ms();
        let state = answer.fresh().map_err(ReadError::from)?;
        let Ok(held) = own_enrollment(&issuer, &credential_type, &handle, state) else {
            return Ok(false);
        };
        Ok(enrollment_holds(&held, request, time_ms))
    }
}

/// Is an enrollment what a change would make of it?
fn enrollment_holds(held: &v1::Enrollment, asked: &v1::EnrollmentRequest, time_ms: u64) -> bool {
    use v1::{EnrollmentChange as Change, EnrollmentState as State};
    let is_number = asked.number == 0 || asked.number == held.active_number;
    match asked.change() {
        Change::Suspend => held.state() == State::Suspended && is_number,
        // What is reserved is taken back too.
        Change::End => {
            held.state() == State::Ended
                && held.reservation.as_ref().is_none_or(|one| one.deadline_ms <= time_ms)
        }
        Change::Reinstate => {
            held.state() == State::Active
                && is_number
                && held.enrollment_key == asked.enrollment_key
                && time_ms < held.valid_until_ms
        }
        Change::Unspecified | Change::Reserve | Change::Activate => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::{EnrollmentChange as Change, EnrollmentState as State};

    #[test]
    fn b17_an_enrollment_is_so_already_only_as_the_change_would_leave_it() {
        let asked = |change: Change, number| v1::EnrollmentRequest {
            change: change.into(),
            number,
            ..v1::EnrollmentRequest::default()
        };
        let held = |state: State| v1::Enrollment {
            state: state.into(),
            active_number: 2,
            valid_until_ms: 100,
            ..v1::Enrollment::default()
        };
        for (change, as_it_is) in [
            (Change::Suspend, State::Suspended),
            (Change::End, State::Ended),
            (Change::Reinstate, State::Active),
        ] {
            for state in [State::Active, State::Suspended, State::Ended, State::Moved] {
                let so = enrollment_holds(&held(state), &asked(change, 0), 50);
                assert_eq!(so, state == as_it_is, "{change:?} {state:?}");
            }
        }
        let suspended = held(State::Suspended);
        assert!(enrollment_holds(&suspended, &asked(Change::Suspend, 2), 50));
        assert!(!enrollment_holds(&suspended, &asked(Change::Suspend, 1), 50));
        // An old one that ended beside a reservation that can still be activated.
        let reservation = v1::Reservation { deadline_ms: 60, ..v1::Reservation::default() };
        let ended = v1::Enrollment { reservation: Some(reservation), ..held(State::Ended) };
        assert!(!enrollment_holds(&ended, &asked(Change::End, 0), 59));
        assert!(enrollment_holds(&ended, &asked(Change::End, 0), 60));
        // Past its end it is no use to be active.
        assert!(!enrollment_holds(&held(State::Active), &asked(Change::Reinstate, 2), 100));
        for change in [Change::Reserve, Change::Activate, Change::Unspecified] {
            assert!(!enrollment_holds(&held(State::Active), &asked(change, 0), 50));
        }
    }
}
