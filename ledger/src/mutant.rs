//! Deliberate bugs in the rules and in the node around them, to see whether the simulation notices.
//!
//! Without the feature `testing` nothing here can be switched on and [`is`] is `false` at compile time. With it, a bug
//! is on for the thread that runs inside `with` and for no other, so tests side by side do not disturb each other.

/// A bug of the rules or of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Mutant {
    /// The set that a block fixes takes effect at the next height, not at the one after it.
    MembershipOneHeightEarly,
    /// What authors signed is not looked for in the replay window: one signature runs in two transactions.
    ReplayNotChecked,
    /// That a submitter may act is remembered by transaction id and outlives a rotation of its key.
    VerdictById,
    /// The state of a block is written when it is found valid, before anything certifies it.
    StateBeforeCertificate,
    /// Outcomes are kept as "the pending state": that of a proposal which was dropped is persisted with another block.
    OutcomeReused,
    /// The leaves of a snapshot are believed without their proof.
    SnapshotNotVerified,
    /// A read is answered at whatever height the node is, however recent the caller asked for.
    MinHeightIgnored,
    /// A decided block is written without waiting for the disk.
    CommitNotDurable,
    /// What builds read differently is proposed again and again.
    SuspectsNotLeftOut,
    /// Enrollments and used keys are read as the block found them: what its own transactions did is not seen.
    EnrollmentsOfParent,
    /// What is invalid or superseded may become valid again.
    FinalEntriesComeBack,
    /// The figures of the genesis stay in force whatever is decided.
    FiguresOfGenesis,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::MembershipOneHeightEarly,
        Self::ReplayNotChecked,
        Self::VerdictById,
        Self::StateBeforeCertificate,
        Self::OutcomeReused,
        Self::SnapshotNotVerified,
        Self::MinHeightIgnored,
        Self::CommitNotDurable,
        Self::SuspectsNotLeftOut,
        Self::EnrollmentsOfParent,
        Self::FinalEntriesComeBack,
        Self::FiguresOfGenesis,
    ];
}

#[cfg(feature = "testing")]
mod switch {
    use super::Mutant;
    use sillok_proto::Hash;
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        static ON: RefCell<BTreeSet<Mutant>> = const { RefCell::new(BTreeSet::new()) };
        /// Of [`Mutant::VerdictById`].
        static ACTED: RefCell<BTreeSet<Hash>> = const { RefCell::new(BTreeSet::new()) };
    }

    /// Whether [`Mutant::VerdictById`] remembers that the submitter of this transaction may act.
    #[must_use]
    pub(crate) fn remembers(id: &Hash) -> bool {
        is(Mutant::VerdictById) && ACTED.with_borrow(|acted| acted.contains(id))
    }

    pub(crate) fn remember(id: &Hash) {
        if is(Mutant::VerdictById) {
            ACTED.with_borrow_mut(|acted| acted.insert(*id));
        }
    }

    /// Puts back what was on before, also when a panic ends the run.
    struct Restore(BTreeSet<Mutant>);

    impl Drop for Restore {
        fn drop(&mut self) {
            ON.set(std::mem::take(&mut self.0));
        }
    }

    /// Is this bug on?
    #[must_use]
    pub fn is(mutant: Mutant) -> bool {
        ON.with_borrow(|on| on.contains(&mutant))
    }

    /// Runs with exactly these bugs on, in this thread.
    pub fn with<T>(mutants: &[Mutant], run: impl FnOnce() -> T) -> T {
        let _restore = Restore(ON.replace(mutants.iter().copied().collect()));
        run()
    }
}

#[cfg(feature = "testing")]
pub use switch::{is, with};
#[cfg(feature = "testing")]
pub(crate) use switch::{remember, remembers};

/// Is this bug on? Never, outside of tests.
#[cfg(not(feature = "testing"))]
#[must_use]
pub const fn is(_: Mutant) -> bool {
    false
}

#[cfg(not(feature = "testing"))]
pub(crate) const fn remembers(_: &sillok_proto::Hash) -> bool {
    false
}

#[cfg(not(feature = "testing"))]
pub(crate) const fn remember(_: &sillok_proto::Hash) {}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;

    #[test]
    fn a_bug_is_on_inside_and_off_outside_also_after_a_panic() {
        let mutant = Mutant::ReplayNotChecked;
        assert!(!is(mutant));
        with(&[mutant], || {
            assert!(is(mutant) && !is(Mutant::MembershipOneHeightEarly));
            with(&[], || assert!(!is(mutant)));
            assert!(is(mutant));
            std::thread::spawn(move || assert!(!is(mutant))).join().unwrap();
        });
        let ended = std::panic::catch_unwind(|| {
            with(&[mutant], || std::panic::resume_unwind(Box::new(())))
        });
        assert!(ended.is_err() && !is(mutant));
    }
}
