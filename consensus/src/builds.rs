//! Which proposed blocks of this height some builds find valid and others do not.
//!
//! A liar can propose a block that everybody refuses, and refuse a block that everybody accepts; f liars together do no
//! more. So builds differ for certain only where a correct validator accepts what a correct one refuses: each side is
//! this node, which knows what it did itself, or more than f others, of whom one is correct.

use crate::context::{ValidatorKey, Validators};
use sillok_proto::Hash;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of one block.
#[derive(Debug, Default)]
struct Verdicts {
    accepted_by: BTreeSet<ValidatorKey>,
    refused_by: BTreeSet<ValidatorKey>,
    accepted_here: bool,
    refused_here: bool,
    told: bool,
}

/// What validators make of the blocks of one height. Bounded: of each validator one prevote and one refusal of a round,
/// so that who signs many fills its own places only.
#[derive(Debug, Default)]
pub(crate) struct Builds {
    by_header: BTreeMap<Hash, Verdicts>,
    prevotes: BTreeSet<(u32, ValidatorKey)>,
    refusals: BTreeSet<(u32, ValidatorKey)>,
}

impl Builds {
    /// A prevote for a block: its signer found it valid.
    pub(crate) fn prevoted(&mut self, header: Hash, round: u32, by: ValidatorKey) {
        if self.prevotes.insert((round, by)) {
            self.by_header.entry(header).or_default().accepted_by.insert(by);
        }
    }

    /// A refusal: its signer found the block invalid.
    pub(crate) fn refused(&mut self, header: Hash, round: u32, by: ValidatorKey) {
        if self.refusals.insert((round, by)) {
            self.by_header.entry(header).or_default().refused_by.insert(by);
        }
    }

    /// What execution said here.
    pub(crate) fn judged_here(&mut self, header: Hash, valid: bool) {
        let verdicts = self.by_header.entry(header).or_default();
        verdicts.accepted_here |= valid;
        verdicts.refused_here |= !valid;
    }

    /// Whether builds differ on a block, for certain; said once.
    pub(crate) fn differ_on(&mut self, header: &Hash, validators: &Validators) -> bool {
        let Some(verdicts) = self.by_header.get_mut(header).filter(|verdicts| !verdicts.told)
        else {
            return false;
        };
        let one_of = |by: &BTreeSet<ValidatorKey>| validators.holds_a_correct_one(by.len());
        verdicts.told = (verdicts.accepted_here || one_of(&verdicts.accepted_by))
            && (verdicts.refused_here || one_of(&verdicts.refused_by));
        verdicts.told
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
