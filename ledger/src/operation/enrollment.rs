//! An enrollment as it is held: one leaf for each (issuer, type, handle), and the entries that live and die with it
//! (PROTOCOL §4.2).
//!
//! What is *not* here: which change is allowed when; that is `set_enrollment` and `set_status`.

use super::acting::leaf_salt;
use super::entries::{Dates, Entries, transition};
use crate::error::{EnrollmentStatus, StatusError};
use crate::overlay::read;
use crate::status::{ENROLLMENT_ENTRIES_MAX, ENROLLMENT_LISTS_MAX};
use crate::{AdmissionError, Overlay, StateFault, StateView, TreeKey};
use sillok_did_method::EntryState;
use sillok_proto::{Hash, encode, v1};

/// What an enrollment is at the block's time. Dates are compared, never swept (PROTOCOL §2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    None,
    Active,
    Suspended,
    Ended,
    Moved,
    /// Active or suspended, and past its end.
    Expired,
}

impl Standing {
    /// The refusal of a change that calls for something else.
    pub(super) const fn refusal(self) -> StatusError {
        let state = match self {
            Self::None | Self::Active => EnrollmentStatus::Pending,
            Self::Suspended => EnrollmentStatus::Suspended,
            Self::Ended => EnrollmentStatus::Ended,
            Self::Moved => EnrollmentStatus::Moved,
            Self::Expired => EnrollmentStatus::Expired,
        };
        StatusError::Enrollment { state }
    }
}

/// An enrollment, and where it stands in the tree.
pub(super) struct Held {
    key: TreeKey,
    /// Was it written before?
    pub(super) present: bool,
    pub(super) leaf: v1::Enrollment,
}

impl Held {
    pub(super) fn read<V: StateView + ?Sized>(
        view: &V,
        issuer: &Hash,
        credential_type: &Hash,
        handle: &Hash,
    ) -> Result<Self, StateFault> {
        let key = TreeKey::enrollment(issuer, credential_type, handle);
        let leaf: Option<v1::Enrollment> = read(view, &key)?;
        Ok(Self { key, present: leaf.is_some(), leaf: leaf.unwrap_or_default() })
    }

    pub(super) fn standing(&self, time_ms: u64) -> Standing {
        match self.leaf.state() {
            v1::EnrollmentState::Unspecified => Standing::None,
            v1::EnrollmentState::Ended => Standing::Ended,
            v1::EnrollmentState::Moved => Standing::Moved,
            v1::EnrollmentState::Active | v1::EnrollmentState::Suspended
                if time_ms >= self.leaf.valid_until_ms =>
            {
                Standing::Expired
            }
            v1::EnrollmentState::Active => Standing::Active,
            v1::EnrollmentState::Suspended => Standing::Suspended,
        }
    }

    /// The reservation that can still be activated.
    pub(super) fn open_reservation(&self, time_ms: u64) -> Option<&v1::Reservation> {
        self.leaf.reservation.as_ref().filter(|one| time_ms < one.deadline_ms)
    }

    /// Is the entry one of this enrollment?
    pub(super) fn has_entry(&self, list: &Hash, index: u32) -> bool {
        let of_list = self.leaf.entries.iter().find(|entries| entries.list == list.0);
        of_list.is_some_and(|entries| entries.indexes.binary_search(&index).is_ok())
    }

    /// Adds an entry. Final ones make room for it.
    pub(super) fn add_entry<V: StateView + ?Sized>(
        &mut self,
        view: &V,
        entries: &mut Entries,
        list: &Hash,
        index: u32,
    ) -> Result<(), AdmissionError> {
        if !self.has_room(list) {
            self.drop_final(view, entries)?;
            if !self.has_room(list) {
                let (entries, lists) = (ENROLLMENT_ENTRIES_MAX, ENROLLMENT_LISTS_MAX);
                return Err(StatusError::EnrollmentFull { entries, lists }.into());
            }
        }
        let lists = &mut self.leaf.entries;
        let at = match lists.binary_search_by(|entries| entries.list.as_slice().cmp(&list.0)) {
            Ok(at) => at,
            Err(at) => {
                let entries = v1::EnrollmentEntries { list: list.to_vec(), indexes: Vec::new() };
                lists.insert(at, entries);
                at
            }
        };
        if let Some(of_list) = lists.get_mut(at)
            && let Err(place) = of_list.indexes.binary_search(&index)
        {
            of_list.indexes.insert(place, index);
        }
        Ok(())
    }

    fn has_room(&self, list: &Hash) -> bool {
        let lists = &self.leaf.entries;
        let count = lists.iter().map(|one| one.indexes.len()).fold(0, usize::saturating_add);
        count < ENROLLMENT_ENTRIES_MAX
            && (lists.len() < ENROLLMENT_LISTS_MAX || lists.iter().any(|one| one.list == list.0))
    }

    fn drop_final<V: StateView + ?Sized>(
        &mut self,
        view: &V,
        entries: &mut Entries,
    ) -> Result<(), StateFault> {
        let mut left = Vec::new();
        for of_list in std::mem::take(&mut self.leaf.entries) {
            let list = list_name(&of_list)?;
            let mut indexes = Vec::new();
            for index in of_list.indexes {
                if !entries.get(view, &list, index)?.is_final() {
                    indexes.push(index);
                }
            }
            if !indexes.is_empty() {
                left.push(v1::EnrollmentEntries { list: of_list.list, indexes });
            }
        }
        self.leaf.entries = left;
        Ok(())
    }

    /// Takes all entries along to a state, those that go there.
    pub(super) fn carry<V: StateView + ?Sized>(
        &self,
        view: &V,
        entries: &mut Entries,
        to: EntryState,
        dates: Dates,
    ) -> Result<(), StateFault> {
        for of_list in &self.leaf.entries {
            let list = list_name(of_list)?;
            let mut dates = dates;
            if dates.invalid_from_ms != 0 {
                // The date is about the enrollment; no entry was valid before its list was.
                let created: Option<v1::StatusList> = read(view, &TreeKey::status_list(&list))?;
                let created_ms = created.unwrap_or_default().created_ms;
                dates.invalid_from_ms = dates.invalid_from_ms.max(created_ms);
            }
            for index in &of_list.indexes {
                let from = entries.get(view, &list, *index)?;
                if transition(from, to) == Some(true) {
                    entries.set(view, &list, *index, to, dates)?;
                }
            }
        }
        Ok(())
    }

    /// Writes the leaf under a salt that follows from the content's.
    pub(super) fn write<V: StateView + ?Sized>(
        mut self,
        state: &mut Overlay<'_, V>,
        content_salt: &Hash,
        height: u64,
    ) {
        self.leaf.salt = leaf_salt(content_salt, &self.key);
        self.leaf.height = height;
        state.put(self.key, encode(&self.leaf));
    }
}

fn list_name(entries: &v1::EnrollmentEntries) -> Result<Hash, StateFault> {
    Hash::from_slice(&entries.list).ok_or_else(|| StateFault::new("a list's name has no 32 bytes"))
}
