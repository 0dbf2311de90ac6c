//! Drawing indexes of a status list: uniformly over those never used, by the system's random source (PROTOCOL §4.1).
//!
//! The ledger allocates none. Indexes in the order of issuing would say who was issued beside whom, and how many; so each
//! is drawn by lot, and none twice. Two desks that draw from one list at the same moment may draw the same: a desk that
//! issues by itself has a list of its own.

use crate::keys::{SecretKeyError, fill};
use sillok_did_method::EntryState;

/// Why indexes cannot be drawn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DrawError {
    /// The list is used up.
    #[error("the list has {unused} entries left and {asked} are asked for; create another list")]
    Exhausted {
        /// Entries never used.
        unused: usize,
        /// Entries asked for.
        asked: usize,
    },
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] SecretKeyError),
}

/// The entries of a list that were never used, as lots.
#[derive(Debug, Clone)]
pub struct Lots {
    unused: Vec<u32>,
}

impl Lots {
    /// Of a list in this state, by index: what is pending was never used.
    pub fn new(states: impl IntoIterator<Item = EntryState>) -> Self {
        let pending = |(index, state)| (state == EntryState::Pending).then_some(index);
        Self { unused: (0_u32..).zip(states).filter_map(pending).collect() }
    }

    /// How many are left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.unused.len()
    }

    /// Is none left?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unused.is_empty()
    }

    /// Draws so many, in the order in which they were drawn. What was drawn is not drawn again.
    ///
    /// # Errors
    ///
    /// [`DrawError`]; then none was drawn.
    pub fn draw(&mut self, count: usize) -> Result<Vec<u32>, DrawError> {
        self.draw_by(count, below)
    }

    fn draw_by(
        &mut self,
        count: usize,
        mut below: impl FnMut(usize) -> Result<usize, SecretKeyError>,
    ) -> Result<Vec<u32>, DrawError> {
        let unused = self.unused.len();
        if count > unused {
            return Err(DrawError::Exhausted { unused, asked: count });
        }
        // Fisher and Yates, from the end: the last `count` places are the lot.
        for left in (unused - count + 1..=unused).rev() {
            let place = below(left)?;
            self.unused.swap(place, left - 1);
        }
        let mut drawn = self.unused.split_off(unused - count);
        drawn.reverse();
        Ok(drawn)
    }
}

/// A number below `bound`, every one as likely as any other.
fn below(bound: usize) -> Result<usize, SecretKeyError> {
    let bound = bound as u64;
    // The largest multiple of the bound: what is beyond would make small numbers likelier.
    let fair = u64::MAX - u64::MAX % bound;
    loop {
        let mut bytes = [0; 8];
        fill(&mut bytes)?;
        let number = u64::from_le_bytes(bytes);
        if number < fair {
            return Ok(usize::try_from(number % bound).unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn states() -> impl Strategy<Value = Vec<EntryState>> {
        use EntryState::{Invalid, Pending, Superseded, Suspended, Valid};
        let state =
            proptest::sample::select(vec![Pending, Pending, Valid, Invalid, Suspended, Superseded]);
        proptest::collection::vec(state, 1..500)
    }

    proptest! {
        #[test]
        fn what_is_drawn_was_never_used_and_is_never_drawn_again(states in states(), share in 1_usize..5) {
            let mut lots = Lots::new(states.iter().copied());
            let all = lots.len();
            let mut drawn = BTreeSet::new();
            while !lots.is_empty() {
                for index in lots.draw(share.min(lots.len())).unwrap() {
                    prop_assert_eq!(states[index as usize], EntryState::Pending);
                    prop_assert!(drawn.insert(index), "{} was drawn twice", index);
                }
            }
            prop_assert_eq!(drawn.len(), all);
            prop_assert_eq!(lots.draw(1), Err(DrawError::Exhausted { unused: 0, asked: 1 }));
        }
    }

    /// Chi-square over 64 cells with 64,000 draws: beyond 150 with 63 degrees of freedom once in ten million runs.
    fn chi_square(counts: &[usize]) -> f64 {
        let expected = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
        counts.iter().map(|count| (*count as f64 - expected).powi(2) / expected).sum()
    }

    #[test]
    fn every_unused_entry_is_as_likely_as_any_other() {
        // Half of the list is used, so that a draw over all indexes would show.
        let states =
            (0..128).map(|i| if i % 2 == 0 { EntryState::Valid } else { EntryState::Pending });
        let (mut first, mut third) = (vec![0_usize; 64], vec![0_usize; 64]);
        for _ in 0..64_000 {
            let drawn = Lots::new(states.clone()).draw(3).unwrap();
            first[drawn[0] as usize / 2] += 1;
            third[drawn[2] as usize / 2] += 1;
        }
        assert!(chi_square(&first) < 150.0, "{first:?}");
        assert!(chi_square(&third) < 150.0, "{third:?}");
        // And the measure can fail.
        first[0] += 400;
        assert!(chi_square(&first) > 150.0);
    }

    #[test]
    fn a_failing_random_source_draws_nothing() {
        let mut lots = Lots::new(vec![EntryState::Pending; 5]);
        let broken = |_| Err(SecretKeyError::Random { reason: "test".to_owned() });
        assert!(matches!(lots.draw_by(2, broken), Err(DrawError::Random(_))));
        assert_eq!(lots.len(), 5);
    }
}
