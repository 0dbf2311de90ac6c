//! The closed sets of the record by the names that people write: `lost-device` for `REASON_LOST_DEVICE`.
//!
//! One rule makes them all, so command lines, files and answers have the same words.

use sillok_proto::v1::{
    Action, Algorithm, AssuranceLevel, Channel, EnrollmentChange, Purpose, Reason,
};

/// Highest number that any of the sets may come to; only known ones are taken.
const NUMBER_MAX: i32 = 31;

/// A text that is none of the words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no {set} {text:?}; use one of: {}", known.join(", "))]
pub struct UnknownWord {
    /// What was asked for.
    pub set: &'static str,
    /// The text.
    pub text: String,
    /// Those there are.
    pub known: Vec<String>,
}

/// A member of a closed set.
pub trait Word: Copy + Sized + 'static {
    /// What such a word is called.
    const SET: &'static str;
    /// What stands before the word in the schema.
    const PREFIX: &'static str;

    /// Its name in the schema.
    fn name(self) -> &'static str;

    /// Its number.
    fn number(self) -> i32;

    /// The one of this number.
    fn of_number(number: i32) -> Option<Self>;

    /// The word.
    fn word(self) -> String {
        let name = self.name();
        name.strip_prefix(Self::PREFIX).unwrap_or(name).to_ascii_lowercase().replace('_', "-")
    }

    /// All of them but `unspecified`, by number.
    fn all() -> Vec<Self> {
        (1..=NUMBER_MAX).filter_map(Self::of_number).collect()
    }

    /// The one of this word.
    ///
    /// # Errors
    ///
    /// [`UnknownWord`].
    fn parse(text: &str) -> Result<Self, UnknownWord> {
        Self::all().into_iter().find(|one| one.word() == text).ok_or_else(|| UnknownWord {
            set: Self::SET,
            text: text.to_owned(),
            known: Self::all().into_iter().map(Self::word).collect(),
        })
    }

    /// The sum of 1 << number.
    fn mask(all: &[Self]) -> u32 {
        all.iter()
            .fold(0, |mask, one| mask | 1_u32.checked_shl(one.number().unsigned_abs()).unwrap_or(0))
    }

    /// Those of a mask, by number.
    fn of_mask(mask: u32) -> Vec<Self> {
        Self::all().into_iter().filter(|one| mask & Self::mask(&[*one]) != 0).collect()
    }
}

/// The word of a number, or the number where there is none.
#[must_use]
pub fn word_of<W: Word>(number: i32) -> String {
    W::of_number(number).map_or_else(|| number.to_string(), Word::word)
}

macro_rules! words {
    ($($set:ident, $what:literal, $prefix:literal;)*) => {$(
        impl Word for $set {
            const SET: &'static str = $what;
            const PREFIX: &'static str = $prefix;

            fn name(self) -> &'static str {
                self.as_str_name()
            }

            fn number(self) -> i32 {
                self.into()
            }

            fn of_number(number: i32) -> Option<Self> {
                Self::try_from(number).ok()
            }
        }
    )*};
}

words! {
    Action, "action", "ACTION_";
    Algorithm, "key algorithm", "ALGORITHM_";
    AssuranceLevel, "assurance level", "ASSURANCE_LEVEL_";
    Channel, "channel", "CHANNEL_";
    EnrollmentChange, "change", "ENROLLMENT_CHANGE_";
    Purpose, "purpose", "PURPOSE_";
    Reason, "reason", "REASON_";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<W: Word + PartialEq + std::fmt::Debug>(count: usize, some: &str) {
        let all = W::all();
        assert_eq!(all.len(), count);
        for one in &all {
            assert_eq!(W::parse(&one.word()).unwrap(), *one);
        }
        assert_eq!(W::of_mask(W::mask(&all)), all);
        assert!(W::parse(some).is_ok(), "{some}");
        for wrong in ["", "unspecified", "LOST-DEVICE", "lost_device"] {
            let error = W::parse(wrong).unwrap_err();
            assert_eq!(error.known.len(), count);
        }
    }

    #[test]
    fn every_member_has_a_word_and_no_other_text_is_one() {
        check::<Action>(10, "serve-status");
        check::<Algorithm>(3, "p256");
        check::<AssuranceLevel>(3, "substantial");
        check::<Channel>(5, "call-centre");
        check::<EnrollmentChange>(5, "reserve");
        check::<Purpose>(4, "administrative");
        check::<Reason>(15, "lost-device");
    }

    #[test]
    fn a_mask_is_the_sum_that_the_schema_says() {
        assert_eq!(Channel::mask(&[Channel::Office, Channel::Portal]), 0b1010);
        assert_eq!(Algorithm::of_mask(0b110), [Algorithm::Ed25519, Algorithm::P256]);
    }
}
