//! Where rules report what is broken (PROTOCOL §5.3): a block stops at the first, a preparation hears all.
//!
//! A rule that others do not rest on reports here and goes on if it may; one that others rest on returns its error, which
//! ends its operation. In a block both are the same. So there is one rule set, and what a preparation was told is what
//! the block says.

use crate::AdmissionError;
use std::cell::RefCell;

/// See the module.
pub(crate) enum Sink {
    /// The first rule broken ends the transaction.
    First,
    /// Every rule broken, as long as there is room.
    All(RefCell<Reports>),
}

/// What was reported.
pub(crate) struct Reports {
    errors: Vec<AdmissionError>,
    max: usize,
}

impl Sink {
    /// Collects `max` reports; the next one ends its operation.
    pub(crate) const fn all(max: usize) -> Self {
        Self::All(RefCell::new(Reports { errors: Vec::new(), max }))
    }

    /// Reports a broken rule. `Ok`: it was written down, and the caller goes on as if the rule held.
    pub(crate) fn report(&self, error: impl Into<AdmissionError>) -> Result<(), AdmissionError> {
        let error = error.into();
        match self {
            // A fault of the machine is no rule.
            Self::All(reports)
                if !matches!(error, AdmissionError::State(_)) && !error.ends_trial() =>
            {
                let mut reports = reports.borrow_mut();
                if reports.errors.len() >= reports.max {
                    return Err(error);
                }
                reports.errors.push(error);
                Ok(())
            }
            Self::First | Self::All(_) => Err(error),
        }
    }

    /// Reports what a rule that nothing rests on found.
    pub(crate) fn check<E: Into<AdmissionError>>(
        &self,
        verdict: Result<(), E>,
    ) -> Result<(), AdmissionError> {
        verdict.or_else(|error| self.report(error))
    }

    /// Takes what was reported so far.
    pub(crate) fn take(&self) -> Vec<AdmissionError> {
        match self {
            Self::First => Vec::new(),
            Self::All(reports) => std::mem::take(&mut reports.borrow_mut().errors),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StateFault;
    use crate::error::StatusError;

    fn broken() -> AdmissionError {
        AdmissionError::SignatureLength
    }

    #[test]
    fn a_block_stops_at_the_first_and_a_preparation_goes_on_while_there_is_room() {
        assert_eq!(Sink::First.report(broken()), Err(broken()));
        let sink = Sink::all(2);
        assert_eq!(sink.check(Ok::<(), AdmissionError>(())), Ok(()));
        assert_eq!(sink.check(Err(broken())), Ok(()));
        assert_eq!(sink.report(broken()), Ok(()));
        assert_eq!(sink.report(broken()), Err(broken()), "there is no room left");
        assert_eq!(sink.take(), vec![broken(), broken()]);
    }

    #[test]
    fn what_ends_a_trial_ends_its_operation() {
        let taken = || AdmissionError::Status(StatusError::EntryTaken { index: 1 });
        assert_eq!(Sink::all(2).report(taken()), Err(taken()));
    }

    #[test]
    fn a_fault_of_the_machine_is_never_collected() {
        let fault = || AdmissionError::State(StateFault::new("the disk is gone"));
        assert_eq!(Sink::all(2).report(fault()), Err(fault()));
    }
}
