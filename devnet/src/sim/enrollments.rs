//! What must hold of enrollments and entries at every height, whatever the rules say: of one enrollment never two are
//! active (A17), nothing comes back from revoked (C8), replacement neither forks nor goes in a circle (A15).
//!
//! It reads the state, counts what was ordered, and runs no rule of the ledger.

use super::checker::Violation;
use super::desks::{Issued, enrollment_changes};
use super::reference::Reference;
use sillok_ledger::{TreeKey, status};
use sillok_proto::{Hash, v1};
use std::collections::{BTreeMap, BTreeSet};
use v1::EnrollmentState as State;
use v1::operation::Operation;

const VALID: u8 = 0;
const INVALID: u8 = 1;
const SUSPENDED: u8 = 2;
const PENDING: u8 = 3;
const SUPERSEDED: u8 = 12;

/// See the module.
#[derive(Default)]
pub(super) struct Enrollments {
    issued: Option<Issued>,
    /// Handles, and whose they are.
    handles: BTreeMap<Hash, usize>,
    /// Enrollments after the last block.
    seen: BTreeMap<Hash, v1::Enrollment>,
    /// Entries that somebody set once, after the last block.
    entries: BTreeMap<u32, u8>,
    /// Where and when each number of a handle was activated.
    activated: BTreeMap<(Hash, u32), u64>,
    /// Enrollment keys that were active or suspended, and are not any more.
    gone: BTreeSet<Vec<u8>>,
    /// How many enrollments moved to another handle.
    pub(super) moves: u64,
}

fn is_live(one: &v1::Enrollment) -> bool {
    matches!(one.state(), State::Active | State::Suspended)
}

fn key_of(one: &v1::Enrollment) -> Vec<u8> {
    one.enrollment_key.as_ref().map(|key| key.point.clone()).unwrap_or_default()
}

impl Enrollments {
    pub(super) fn of(issued: Option<Issued>) -> Self {
        Self { issued, ..Self::default() }
    }

    /// A person has this handle, or may move to it.
    pub(super) fn knows(&mut self, person: usize, handle: Hash) {
        self.handles.insert(handle, person);
    }

    /// A block is in the record, which holds the state after it.
    pub(super) fn on_block(
        &mut self,
        record: &Reference,
        height: u64,
        block: &v1::Block,
    ) -> Option<Violation> {
        let issued = self.issued?;
        let mut changes = false;
        for transaction in &block.transactions {
            for (handle, request) in enrollment_changes(transaction) {
                let activates = request.change() == v1::EnrollmentChange::Activate;
                let number = (handle, request.number);
                if activates && let Some(before) = self.activated.insert(number, height) {
                    let reason =
                        format!("number {} was activated at {before} already", request.number);
                    return Some(Violation::TwoActive { height, reason });
                }
            }
            for operation in transaction.body.iter().flat_map(|body| &body.operations) {
                match &operation.operation {
                    Some(Operation::SetStatus(set)) => {
                        changes = true;
                        for index in &set.indexes {
                            self.entries.entry(*index).or_insert(PENDING);
                        }
                    }
                    Some(Operation::SetEnrollment(_)) => changes = true,
                    _ => {}
                }
            }
        }
        if !changes {
            return None;
        }
        let enrollments: BTreeMap<Hash, v1::Enrollment> = self
            .handles
            .keys()
            .filter_map(|handle| Some((*handle, record.read(&issued.leaf(handle))?)))
            .collect();
        let mut chunks: BTreeMap<u32, Option<v1::StatusChunk>> = BTreeMap::new();
        let entries: BTreeMap<u32, u8> = self
            .entries
            .keys()
            .map(|index| {
                let (number, place) = status::chunk_of(*index);
                let leaf = || record.read(&TreeKey::status_chunk(&issued.list, number));
                let chunk = chunks.entry(number).or_insert_with(leaf);
                let state = chunk.as_ref().and_then(|chunk| status::get(&chunk.states, place));
                (*index, state.unwrap_or(PENDING))
            })
            .collect();
        let broken = self
            .nothing_came_back(height, &enrollments, &entries)
            .or_else(|| self.one_way_on(height, &enrollments))
            .or_else(|| self.one_is_active(height, &enrollments, &entries));
        let moved = enrollments.values().filter(|one| one.state() == State::Moved);
        self.moves = moved.count() as u64;
        self.seen = enrollments;
        self.entries = entries;
        broken
    }

    /// C8.
    fn nothing_came_back(
        &mut self,
        height: u64,
        enrollments: &BTreeMap<Hash, v1::Enrollment>,
        entries: &BTreeMap<u32, u8>,
    ) -> Option<Violation> {
        let came_back = |reason: String| Some(Violation::CameBack { height, reason });
        for (index, is) in entries {
            match self.entries.get(index).copied().unwrap_or(PENDING) {
                was @ (INVALID | SUPERSEDED) if was != *is => {
                    return came_back(format!("entry {index} was {was} and is {is}"));
                }
                was if *is == PENDING && was != PENDING => {
                    return came_back(format!("entry {index} was {was} and is unused again"));
                }
                _ => {}
            }
        }
        for (handle, was) in &self.seen {
            let is = enrollments.get(handle)?;
            let same_key = key_of(is) == key_of(was);
            if is_live(was) && !(is_live(is) && same_key) {
                self.gone.insert(key_of(was));
            }
            let newly = is_live(is) && !(is_live(was) && same_key);
            if newly && is.active_number <= was.active_number {
                return came_back(format!("number {} of {handle}", is.active_number));
            }
        }
        let mut live = enrollments.iter().filter(|(_, one)| is_live(one));
        live.find(|(_, one)| self.gone.contains(&key_of(one))).and_then(|(handle, one)| {
            came_back(format!("the key of number {} of {handle}", one.active_number))
        })
    }

    /// A15: numbers only grow, who moved is final, and a key lives in one place.
    fn one_way_on(
        &self,
        height: u64,
        enrollments: &BTreeMap<Hash, v1::Enrollment>,
    ) -> Option<Violation> {
        let forked = |reason: String| Some(Violation::Forked { height, reason });
        for (handle, was) in &self.seen {
            let Some(is) = enrollments.get(handle) else {
                return forked(format!("{handle} is there no more"));
            };
            if is.number < was.number || is.active_number < was.active_number {
                return forked(format!("the numbers of {handle} went back"));
            }
            if was.state() == State::Moved && is != was {
                return forked(format!("{handle} had moved, and changed"));
            }
        }
        let mut keys: BTreeMap<Vec<u8>, Hash> = BTreeMap::new();
        for (handle, one) in enrollments.iter().filter(|(_, one)| is_live(one)) {
            if let Some(other) = keys.insert(key_of(one), *handle) {
                return forked(format!("one key under {handle} and under {other}"));
            }
        }
        None
    }

    /// A17: a person has one live enrollment under all its handles, and entries live as theirs does.
    fn one_is_active(
        &self,
        height: u64,
        enrollments: &BTreeMap<Hash, v1::Enrollment>,
        entries: &BTreeMap<u32, u8>,
    ) -> Option<Violation> {
        let two = |reason: String| Some(Violation::TwoActive { height, reason });
        let issued = self.issued?;
        let mut persons: BTreeMap<usize, Hash> = BTreeMap::new();
        let mut owners: BTreeMap<u32, (Hash, State)> = BTreeMap::new();
        for (handle, one) in enrollments {
            if is_live(one)
                && let Some(person) = self.handles.get(handle)
                && let Some(other) = persons.insert(*person, *handle)
            {
                return two(format!("person {person} under {other} and under {handle}"));
            }
            for of_list in one.entries.iter().filter(|entries| entries.list == issued.list.0) {
                for index in &of_list.indexes {
                    if owners.insert(*index, (*handle, one.state())).is_some() {
                        return two(format!("entry {index} is of two enrollments"));
                    }
                }
            }
        }
        for (index, state) in entries {
            let owner = owners.get(index).map(|(_, state)| *state);
            let fits = match (*state, owner) {
                (VALID, owner) => owner == Some(State::Active),
                (SUSPENDED, owner) => owner == Some(State::Suspended),
                _ => true,
            };
            if !fits {
                return two(format!("entry {index} is {state}, and its enrollment {owner:?}"));
            }
        }
        None
    }
}
