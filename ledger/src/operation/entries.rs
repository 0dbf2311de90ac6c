//! Entries of status lists while an operation changes them: each chunk is read once and written once.

use crate::overlay::read;
use crate::status::{self, chunk_of, pending_chunk, record_of};
use crate::{Overlay, StateFault, StateView, TreeKey};
use sillok_did_method::EntryState;
use sillok_proto::{Hash, encode, v1};
use std::collections::BTreeMap;

/// What may stand beside an entry; 0 = nothing.
#[derive(Clone, Copy, Default)]
pub(super) struct Dates {
    pub(super) grace_until_ms: u64,
    pub(super) invalid_from_ms: u64,
}

#[derive(Default)]
pub(super) struct Entries {
    /// By list and number: the bytes, and whether they changed.
    chunks: BTreeMap<(Hash, u32), (Vec<u8>, bool)>,
    records: BTreeMap<(Hash, u32), v1::EntryRecord>,
}

impl Entries {
    /// What an entry says.
    pub(super) fn get<V: StateView + ?Sized>(
        &mut self,
        view: &V,
        list: &Hash,
        index: u32,
    ) -> Result<EntryState, StateFault> {
        status::read_state(&self.chunk(view, list, index)?.0, index)
    }

    /// Sets an entry that may go to this state, with its dates.
    pub(super) fn set<V: StateView + ?Sized>(
        &mut self,
        view: &V,
        list: &Hash,
        index: u32,
        state: EntryState,
        dates: Dates,
    ) -> Result<(), StateFault> {
        let (states, changed) = self.chunk(view, list, index)?;
        status::set(states, chunk_of(index).1, state as u8);
        *changed = true;
        if dates.grace_until_ms == 0 && dates.invalid_from_ms == 0 {
            return Ok(());
        }
        let number = record_of(index);
        let record = match self.records.entry((*list, number)) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let leaf = TreeKey::entry_record(list, number);
                entry.insert(read(view, &leaf)?.unwrap_or_default())
            }
        };
        let Dates { grace_until_ms, invalid_from_ms } = dates;
        let dates = v1::EntryDates { index, grace_until_ms, invalid_from_ms };
        match record.entries.binary_search_by_key(&index, |dates| dates.index) {
            // Only final states have dates, so an entry gets them once.
            Ok(_) => return Err(StateFault::new("an entry has dates before it is final")),
            Err(at) => record.entries.insert(at, dates),
        }
        Ok(())
    }

    fn chunk<V: StateView + ?Sized>(
        &mut self,
        view: &V,
        list: &Hash,
        index: u32,
    ) -> Result<&mut (Vec<u8>, bool), StateFault> {
        let number = chunk_of(index).0;
        match self.chunks.entry((*list, number)) {
            std::collections::btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let leaf: Option<v1::StatusChunk> =
                    read(view, &TreeKey::status_chunk(list, number))?;
                let states = leaf.map_or_else(pending_chunk, |chunk| chunk.states);
                Ok(entry.insert((states, false)))
            }
        }
    }

    /// Writes what changed, and names the chunks.
    pub(super) fn write<V: StateView + ?Sized>(
        self,
        state: &mut Overlay<'_, V>,
    ) -> Vec<(Hash, u32)> {
        for ((list, number), record) in self.records {
            state.put(TreeKey::entry_record(&list, number), encode(&record));
        }
        let mut names = Vec::new();
        for ((list, number), (states, changed)) in self.chunks {
            if changed {
                let leaf = TreeKey::status_chunk(&list, number);
                state.put(leaf, encode(&v1::StatusChunk { states }));
                names.push((list, number));
            }
        }
        names
    }
}

/// Does an entry go from one state to another (PROTOCOL §4.1)? `Some(false)`: it is there already; `None`: it may not.
pub(super) const fn transition(from: EntryState, to: EntryState) -> Option<bool> {
    use EntryState::{Invalid, Pending, Superseded, Suspended, Valid};
    match (from, to) {
        (Valid, Valid)
        | (Invalid, Invalid)
        | (Suspended, Suspended)
        | (Pending, Pending)
        | (Superseded, Superseded) => Some(false),
        (Pending | Suspended, Valid)
        | (Valid, Suspended | Superseded)
        | (Valid | Suspended | Pending, Invalid)
        | (Suspended, Superseded) => Some(true),
        // Nothing leaves a final state, and what was never valid is neither suspended nor superseded.
        (Invalid | Superseded, _) | (Pending, Suspended | Superseded) | (_, Pending) => None,
    }
}
