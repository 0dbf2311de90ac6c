//! The two lanes to a block: transactions that only take rights away have one of their own (PROTOCOL §5.2).
//!
//! A phone that was lost must be cut off while somebody floods the network with anything else. So a quarter of a block
//! and of a mempool is kept for the [`Lane::Loss`], and in each lane submitters take turns. This is conduct of a
//! proposer and not validity (decision 22): what waits where is in no state.
//!
//! Deliberately absent: how much room there is, and what becomes of a transaction that is refused.

use crate::CheckedTransaction;
use sillok_did_method::{CheckedOperation, Enrollment, EntryState};
use sillok_proto::{Hash, Tag};
use std::collections::BTreeMap;

/// One part of this many of a block, and of a mempool, is kept for the lane of losses.
pub const LOSS_PART: usize = 4;

/// Which way a transaction goes to a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// It takes rights away and does nothing else.
    Loss,
    /// All else.
    General,
}

impl Lane {
    /// The lane in words, for messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loss => "losses of rights",
            Self::General => "all but losses of rights",
        }
    }
}

impl CheckedTransaction {
    /// Its lane. All its operations must be losses: one that gains something could else be carried past the others.
    #[must_use]
    pub fn lane(&self) -> Lane {
        let mut private = self.private.iter().map(Option::as_ref);
        let all = self.operations.iter().all(|(operation, _)| {
            let change = private.next().flatten().and_then(|part| part.enrollment.as_ref());
            is_loss(operation, change)
        });
        if all && !self.operations.is_empty() { Lane::Loss } else { Lane::General }
    }
}

/// Does the operation take a right away, and nothing else?
const fn is_loss(operation: &CheckedOperation, change: Option<&Enrollment>) -> bool {
    match operation {
        CheckedOperation::SetStatus(op) => {
            matches!(op.state, EntryState::Invalid | EntryState::Suspended | EntryState::Superseded)
        }
        CheckedOperation::SetEnrollment(_) => {
            matches!(change, Some(Enrollment::Suspend { .. } | Enrollment::End { .. }))
        }
        CheckedOperation::SetDevice(op) => op.document.is_none(),
        CheckedOperation::Deactivate(_) | CheckedOperation::Withdraw(_) => true,
        // An approval may execute a withdrawal or a removal, but it names its proposal by a hash.
        CheckedOperation::Create(_)
        | CheckedOperation::Update(_)
        | CheckedOperation::Propose(_)
        | CheckedOperation::Approve(_)
        | CheckedOperation::Join(_)
        | CheckedOperation::Rekey(_)
        | CheckedOperation::Accredit(_)
        | CheckedOperation::PublishType(_)
        | CheckedOperation::CreateList(_) => false,
    }
}

/// Where a submitter stands in each turn, in the block on this parent: by a hash that is drawn anew for every block.
///
/// By the digest of its DID the same submitters would stand first in every block. Where a block has room for fewer than
/// there are submitters, the last of them would wait for ever, and who looks for a DID with a low digest would be before
/// all others. The parent is known only when it is decided, so no DID is good for more than one block (decision 33).
#[must_use]
pub fn place_in_turn(parent: &Hash, submitter: &Hash) -> Hash {
    Tag::Turn.hash(&[&parent.0, &submitter.0])
}

/// The indexes of transactions of these submitters in the order in which they are tried: one of every submitter in turn,
/// and of one submitter those that stand first. So a submitter with ten thousand of them delays the first of another by
/// one.
#[must_use]
pub fn by_turns(submitters: impl IntoIterator<Item = Hash>) -> Vec<usize> {
    let mut counts: BTreeMap<Hash, usize> = BTreeMap::new();
    let mut turns = Vec::new();
    for (index, submitter) in submitters.into_iter().enumerate() {
        let turn = counts.entry(submitter).or_default();
        turns.push((*turn, index));
        *turn = turn.saturating_add(1);
    }
    turns.sort_unstable();
    turns.into_iter().map(|(_, index)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sillok_did_method::{DeactivateDid, EndedGrant, SetDevice, SetStatus, Withdraw};
    use sillok_proto::v1;

    const HASH: Hash = Hash([7; 32]);

    fn set_status(state: EntryState) -> CheckedOperation {
        CheckedOperation::SetStatus(SetStatus {
            list: HASH,
            state,
            indexes: vec![1],
            grace_until_ms: 0,
            invalid_from_ms: 0,
            content_hash: HASH,
        })
    }

    fn set_device(document: Option<v1::DidDocument>) -> CheckedOperation {
        CheckedOperation::SetDevice(SetDevice { did: HASH, previous: None, document })
    }

    #[test]
    fn a_loss_takes_a_right_away_and_gives_none() {
        let withdraw = EndedGrant {
            organization: HASH,
            action: v1::Action::Issue,
            resource: None,
            at_ms: None,
        };
        for loss in [
            set_status(EntryState::Invalid),
            set_status(EntryState::Suspended),
            set_status(EntryState::Superseded),
            set_device(None),
            CheckedOperation::Deactivate(DeactivateDid { did: HASH, previous: HASH }),
            CheckedOperation::Withdraw(Withdraw { by: HASH, grant: withdraw }),
        ] {
            assert!(is_loss(&loss, None), "{loss:?}");
        }
        for gain in [set_status(EntryState::Valid), set_device(Some(v1::DidDocument::default()))] {
            assert!(!is_loss(&gain, None), "{gain:?}");
        }
    }

    #[test]
    fn what_is_done_to_an_enrollment_stands_in_its_private_content() {
        let operation = CheckedOperation::SetEnrollment(sillok_did_method::SetEnrollment {
            issuer: HASH,
            credential_type: HASH,
            content_hash: HASH,
        });
        let key = v1::PublicKey::default();
        let loss = |change: &Enrollment| is_loss(&operation, Some(change));
        assert!(loss(&Enrollment::Suspend { number: 0 }));
        assert!(loss(&Enrollment::End { number: 0, invalid_from_ms: 0 }));
        assert!(!loss(&Enrollment::Reinstate { number: 1, enrollment_key: key.clone() }));
        assert!(!loss(&Enrollment::Activate {
            number: 1,
            one_time_key: key.clone(),
            enrollment_key: key,
            grace_until_ms: 0
        }));
        assert!(!is_loss(&operation, None));
    }

    proptest! {
        /// A18, as a law of the order: before the nth of one submitter stand at most n of any other.
        #[test]
        fn a18_nobody_is_delayed_by_more_than_one_of_another_for_each_of_its_own(
            submitters in proptest::collection::vec((0..5_u8).prop_map(|one| Hash([one; 32])), 0..200)
        ) {
            let order = by_turns(submitters.clone());
            let mut all = order.clone();
            all.sort_unstable();
            prop_assert_eq!(all, (0..submitters.len()).collect::<Vec<_>>(), "each once");
            let mut before: BTreeMap<Hash, usize> = BTreeMap::new();
            let mut last: BTreeMap<Hash, usize> = BTreeMap::new();
            for index in order {
                let submitter = submitters[index];
                let nth = before.get(&submitter).copied().unwrap_or_default().saturating_add(1);
                before.insert(submitter, nth);
                prop_assert!(before.values().all(|count| *count <= nth), "{:?}", before);
                let previous = last.insert(submitter, index);
                prop_assert!(previous.is_none_or(|previous| previous < index), "its own order");
            }
        }
    }
}
