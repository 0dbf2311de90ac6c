//! Questions about status and trust, and the leaves that answer them.
//!
//! A node proves the leaves that a question reads; whoever asked runs the question again on the leaves of the proof and
//! nothing else, and so comes to what a validator would, or sees that something was held back. Both sides take the keys
//! from this file, so they cannot disagree about them.
//!
//! Deliberately absent: proofs themselves ([`crate::proof`]), and whether an answer is recent enough.

use crate::overlay::read;
use crate::proof::VerifiedState;
use crate::status::{
    CHUNK_BYTES, RECORD_ENTRIES, chunk_of, entry_dates, pending_chunk, read_state, record_of, set,
};
use crate::{StateFault, StateView, TreeKey, credential_type};
use sillok_did_method::{CHUNK_ENTRIES, EntryState, LIST_ENTRIES_MAX};
use sillok_proto::{Hash, v1};
use std::cell::{Cell, RefCell};

/// Most lists in one question.
pub const LISTS_MAX: usize = 16;
/// Most chunks in one question.
pub const CHUNKS_MAX: usize = 16;
/// Leaves of dates beside a chunk.
pub const CHUNK_RECORDS: u32 = CHUNK_ENTRIES / RECORD_ENTRIES;
/// Chunks of the largest list: numbers are below it.
pub const CHUNK_NUMBERS: u32 = LIST_ENTRIES_MAX / CHUNK_ENTRIES;

// ------------------------------------------------------------------------------------------------ views

/// A view that notes which leaves are read, in the order of the first reading.
#[derive(Debug)]
pub struct Recorder<'a, V: StateView + ?Sized> {
    view: &'a V,
    read: RefCell<Vec<TreeKey>>,
}

impl<'a, V: StateView + ?Sized> Recorder<'a, V> {
    /// Nothing was read yet.
    pub const fn new(view: &'a V) -> Self {
        Self { view, read: RefCell::new(Vec::new()) }
    }

    /// The keys that were read.
    #[must_use]
    pub fn into_keys(self) -> Vec<TreeKey> {
        self.read.into_inner()
    }
}

impl<V: StateView + ?Sized> StateView for Recorder<'_, V> {
    fn leaf(&self, key: &TreeKey) -> Result<Option<Vec<u8>>, StateFault> {
        let mut read = self.read.borrow_mut();
        if !read.contains(key) {
            read.push(*key);
        }
        self.view.leaf(key)
    }

    fn document(&self, hash: &Hash) -> Result<Option<v1::DidDocument>, StateFault> {
        self.view.document(hash)
    }
}

/// The leaves of a proof as a state. What the proof does not cover cannot be read: that is no absence.
#[derive(Debug)]
pub struct ProvedView<'a> {
    state: &'a VerifiedState,
    withheld: Cell<bool>,
}

impl<'a> ProvedView<'a> {
    /// The leaves that were proved.
    #[must_use]
    pub const fn new(state: &'a VerifiedState) -> Self {
        Self { state, withheld: Cell::new(false) }
    }

    /// Was a leaf read that the proof does not cover? Then what was made of the view is worth nothing.
    #[must_use]
    pub const fn is_withheld(&self) -> bool {
        self.withheld.get()
    }
}

impl StateView for ProvedView<'_> {
    fn leaf(&self, key: &TreeKey) -> Result<Option<Vec<u8>>, StateFault> {
        match self.state.value(key) {
            Ok(value) => Ok(value.map(<[u8]>::to_vec)),
            Err(error) => {
                self.withheld.set(true);
                Err(StateFault::new(error.to_string()))
            }
        }
    }

    fn document(&self, _: &Hash) -> Result<Option<v1::DidDocument>, StateFault> {
        self.withheld.set(true);
        Err(StateFault::new("a state proof holds no documents"))
    }
}

// ------------------------------------------------------------------------------------------------ status

/// The leaves of lists, in this order.
#[must_use]
pub fn list_keys(lists: &[Hash]) -> Vec<TreeKey> {
    lists.iter().map(TreeKey::status_list).collect()
}

/// The leaves of chunks of a list: the list's own, and for each chunk that of its states and all of its dates. All,
/// because the one that is asked for would tell which entry somebody looks up (PROTOCOL §4.1).
#[must_use]
pub fn chunk_keys(list: &Hash, numbers: &[u32]) -> Vec<TreeKey> {
    let mut keys = vec![TreeKey::status_list(list)];
    for number in numbers {
        keys.push(TreeKey::status_chunk(list, *number));
        keys.extend(records_of(*number).map(|record| TreeKey::entry_record(list, record)));
    }
    keys
}

/// The leaves of dates beside a chunk, by number.
fn records_of(number: u32) -> impl Iterator<Item = u32> {
    let first = number.saturating_mul(CHUNK_RECORDS);
    first..first.saturating_add(CHUNK_RECORDS)
}

/// 8,192 entries of a list with their dates.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    number: u32,
    states: Vec<u8>,
    records: Vec<v1::EntryRecord>,
}

/// What an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its state.
    pub state: EntryState,
    /// Superseded: until when a verifier may still take it; 0 = not at all.
    pub grace_until_ms: u64,
    /// Invalid: since when it is not to be trusted; 0 = since it was set.
    pub invalid_from_ms: u64,
}

impl Entry {
    /// What an entry was at a time: what it said then, unless what is known later says that it was not to be trusted
    /// already.
    #[must_use]
    pub const fn at(then: Self, known: Self, time_ms: u64) -> Self {
        let reaches_back = matches!(known.state, EntryState::Invalid)
            && known.invalid_from_ms != 0
            && known.invalid_from_ms <= time_ms;
        if reaches_back { known } else { then }
    }

    /// May a verifier take a credential with this entry at this ledger time? Suspended and pending ones never.
    #[must_use]
    pub const fn is_usable(&self, time_ms: u64) -> bool {
        match self.state {
            EntryState::Valid => true,
            EntryState::Superseded => time_ms < self.grace_until_ms,
            EntryState::Invalid | EntryState::Suspended | EntryState::Pending => false,
        }
    }
}

impl Chunk {
    /// Its number in the list.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Its states as they are packed: 4,096 bytes.
    #[must_use]
    pub fn states(&self) -> &[u8] {
        &self.states
    }

    /// What the entry with this index in the list says; `None` if it stands in another chunk.
    ///
    /// # Errors
    ///
    /// [`StateFault`] if its four bits are no state.
    pub fn entry(&self, index: u32) -> Result<Option<Entry>, StateFault> {
        if chunk_of(index).0 != self.number {
            return Ok(None);
        }
        let state = read_state(&self.states, index)?;
        let place = record_of(index).saturating_sub(self.number.saturating_mul(CHUNK_RECORDS));
        let record = usize::try_from(place).ok().and_then(|place| self.records.get(place));
        let dates = entry_dates(record, index).copied().unwrap_or_default();
        Ok(Some(Entry {
            state,
            grace_until_ms: dates.grace_until_ms,
            invalid_from_ms: dates.invalid_from_ms,
        }))
    }
}

/// A list, if there is one, and chunks of it. Reads [`chunk_keys`] in their order.
///
/// # Errors
///
/// [`StateFault`] if the view could not be read, or a leaf is not what it should be.
pub fn chunks<V: StateView + ?Sized>(
    view: &V,
    list: &Hash,
    numbers: &[u32],
) -> Result<(Option<v1::StatusList>, Vec<Chunk>), StateFault> {
    let found = read(view, &TreeKey::status_list(list))?;
    let chunks = numbers.iter().map(|number| chunk(view, list, *number)).collect::<Result<_, _>>();
    Ok((found, chunks?))
}

/// The packed states of chunks, in their order: as they are known, or as the same chunks were at a time by what is known.
///
/// # Errors
///
/// [`StateFault`] if an entry has no known state, or the chunks of both moments are not the same.
pub fn packed(known: &[Chunk], then: Option<(&[Chunk], u64)>) -> Result<Vec<u8>, StateFault> {
    let mut packed: Vec<u8> = known.iter().flat_map(|chunk| chunk.states.iter().copied()).collect();
    let Some((then, time_ms)) = then else { return Ok(packed) };
    let mut place = 0_u32;
    for (at, known) in known.iter().enumerate() {
        let other = || StateFault::new("a chunk of one of the two moments is missing");
        let then = then.get(at).ok_or_else(other)?;
        let first = known.number.saturating_mul(CHUNK_ENTRIES);
        for index in first..first.saturating_add(CHUNK_ENTRIES) {
            let (was, is) = (then.entry(index)?, known.entry(index)?);
            let entry = Entry::at(was.ok_or_else(other)?, is.ok_or_else(other)?, time_ms);
            set(&mut packed, place, entry.state as u8);
            place = place.saturating_add(1);
        }
    }
    Ok(packed)
}

fn chunk<V: StateView + ?Sized>(view: &V, list: &Hash, number: u32) -> Result<Chunk, StateFault> {
    let leaf: Option<v1::StatusChunk> = read(view, &TreeKey::status_chunk(list, number))?;
    let states = leaf.map_or_else(pending_chunk, |chunk| chunk.states);
    if states.len() != CHUNK_BYTES {
        return Err(StateFault::new("a chunk of a status list has another length"));
    }
    let records = records_of(number)
        .map(|record| Ok(read(view, &TreeKey::entry_record(list, record))?.unwrap_or_default()))
        .collect::<Result<_, StateFault>>()?;
    Ok(Chunk { number, states, records })
}

// ------------------------------------------------------------------------------------------------- trust

/// The grants that an organization has or had, by ascending action and resource.
///
/// # Errors
///
/// [`StateFault`] if the view could not be read, or the index names a grant that there is not.
pub fn grants<V: StateView + ?Sized>(
    view: &V,
    organization: &Hash,
) -> Result<Vec<(v1::GrantName, v1::Grant)>, StateFault> {
    let index: Option<v1::GrantIndex> = read(view, &TreeKey::grant_index(organization))?;
    let names = index.unwrap_or_default().grants;
    names
        .into_iter()
        .map(|name| {
            let leaf = TreeKey::grant(organization, name.action(), &name.resource);
            let grant = read(view, &leaf)?
                .ok_or_else(|| StateFault::new("the index names a grant that is not there"))?;
            Ok((name, grant))
        })
        .collect()
}

/// A credential type, if it was published, and a version of it, if that was; 0 is the latest.
///
/// # Errors
///
/// [`StateFault`] if the view could not be read, or holds a type without its latest version.
#[allow(clippy::type_complexity, reason = "two leaves, the second only with the first")]
pub fn type_and_version<V: StateView + ?Sized>(
    view: &V,
    name: &Hash,
    version: u32,
) -> Result<Option<(v1::CredentialType, Option<v1::TypeVersionRecord>)>, StateFault> {
    if version == 0 {
        let latest = credential_type::latest_type(view, name)?;
        return Ok(latest.map(|(found, record)| (found, Some(record))));
    }
    let Some(found) = read(view, &TreeKey::credential_type(name))? else { return Ok(None) };
    Ok(Some((found, credential_type::type_version(view, name, version)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sillok_proto::encode;
    use std::collections::BTreeMap;

    #[derive(Default)]
    struct View(BTreeMap<TreeKey, Vec<u8>>);

    impl StateView for View {
        fn leaf(&self, key: &TreeKey) -> Result<Option<Vec<u8>>, StateFault> {
            Ok(self.0.get(key).cloned())
        }

        fn document(&self, _: &Hash) -> Result<Option<v1::DidDocument>, StateFault> {
            Ok(None)
        }
    }

    const LIST: Hash = Hash([1; 32]);

    /// What a question read, in order.
    fn read_by<T>(view: &View, ask: impl Fn(&Recorder<'_, View>) -> T) -> (T, Vec<TreeKey>) {
        let recorder = Recorder::new(view);
        let answer = ask(&recorder);
        (answer, recorder.into_keys())
    }

    #[test]
    fn a_chunk_is_read_with_all_its_dates_and_in_the_order_of_its_keys() {
        let mut view = View::default();
        let mut states = pending_chunk();
        assert!(set(&mut states, 5, 1));
        let index = 3 * CHUNK_ENTRIES + 5;
        view.0.insert(TreeKey::status_chunk(&LIST, 3), encode(&v1::StatusChunk { states }));
        let dates = |index| v1::EntryDates { index, grace_until_ms: 0, invalid_from_ms: 7 };
        let last = 4 * CHUNK_ENTRIES - 1;
        for (record, index) in [(12, index), (15, last)] {
            let record_leaf = v1::EntryRecord { entries: vec![dates(index)] };
            view.0.insert(TreeKey::entry_record(&LIST, record), encode(&record_leaf));
        }
        let (answer, keys) = read_by(&view, |view| chunks(view, &LIST, &[0, 3]));
        let (list, chunks) = answer.unwrap();
        assert_eq!((list, chunks.len(), keys.len()), (None, 2, 11));
        assert_eq!(keys, chunk_keys(&LIST, &[0, 3]));
        let entry = |chunk: usize, index| chunks[chunk].entry(index).unwrap();
        let invalid = Entry { state: EntryState::Invalid, grace_until_ms: 0, invalid_from_ms: 7 };
        assert_eq!(entry(1, index), Some(invalid));
        assert_eq!(entry(1, index + 1).unwrap().state, EntryState::Pending);
        assert_eq!(entry(1, last).unwrap().invalid_from_ms, 7);
        assert_eq!(entry(0, 0).unwrap().state, EntryState::Pending);
        assert_eq!(entry(0, index), None, "it stands in another chunk");
        assert_eq!(chunk_keys(&LIST, &[CHUNK_NUMBERS - 1]).len(), 6);
    }

    #[test]
    fn an_invalidity_date_reaches_back_and_a_later_revocation_does_not() {
        let entry = |state, invalid_from_ms| Entry { state, grace_until_ms: 0, invalid_from_ms };
        let valid = entry(EntryState::Valid, 0);
        let compromised = entry(EntryState::Invalid, 100);
        assert_eq!(Entry::at(valid, compromised, 99), valid);
        assert_eq!(Entry::at(valid, compromised, 100), compromised);
        assert_eq!(Entry::at(valid, entry(EntryState::Invalid, 0), 100), valid, "later");
        let superseded =
            Entry { state: EntryState::Superseded, grace_until_ms: 50, invalid_from_ms: 0 };
        assert_eq!(Entry::at(superseded, valid, 10), superseded);
        assert!(superseded.is_usable(49) && !superseded.is_usable(50));
        assert!(valid.is_usable(0) && !compromised.is_usable(0));
    }

    #[test]
    fn chunks_are_packed_as_they_were_by_what_is_known() {
        let chunk = |number, entries: &[(u32, u8)], dates: Vec<v1::EntryDates>| {
            let mut states = pending_chunk();
            for (place, state) in entries {
                assert!(set(&mut states, *place, *state));
            }
            let records = vec![v1::EntryRecord { entries: dates }];
            Chunk { number, states, records }
        };
        let dates =
            |index, invalid_from_ms| v1::EntryDates { index, grace_until_ms: 0, invalid_from_ms };
        let first = CHUNK_ENTRIES * 3;
        // Valid then; later one was revoked, and one was known to have been stolen since before.
        let then = [chunk(3, &[(0, 0), (1, 0), (2, 0)], Vec::new())];
        let known = [chunk(
            3,
            &[(0, 0), (1, 1), (2, 1), (3, 0)],
            vec![dates(first + 1, 900), dates(first + 2, 100)],
        )];
        let state = |packed: &[u8], place| crate::status::get(packed, place).unwrap();
        let now = packed(&known, None).unwrap();
        assert_eq!([0, 1, 2, 3].map(|place| state(&now, place)), [0, 1, 1, 0]);
        let at = packed(&known, Some((&then, 500))).unwrap();
        assert_eq!([0, 1, 2, 3].map(|place| state(&at, place)), [0, 0, 1, 3]);
        assert_eq!(at.len(), CHUNK_BYTES);
        assert!(packed(&known, Some((&[], 500))).is_err());
        let other = [chunk(4, &[], Vec::new())];
        assert!(packed(&known, Some((&other, 500))).is_err());
    }

    #[test]
    fn grants_are_read_by_their_index_and_a_hole_is_a_fault() {
        let organization = Hash([2; 32]);
        let mut view = View::default();
        let (none, keys) = read_by(&view, |view| grants(view, &organization));
        assert_eq!((none.unwrap(), keys.len()), (Vec::new(), 1));
        let name = |action: v1::Action| v1::GrantName { action: action.into(), resource: vec![] };
        let names = [name(v1::Action::Issue), name(v1::Action::Revoke)];
        let index = v1::GrantIndex { grants: names.to_vec() };
        view.0.insert(TreeKey::grant_index(&organization), encode(&index));
        for action in [v1::Action::Issue, v1::Action::Revoke] {
            assert!(grants(&view, &organization).is_err());
            let leaf = TreeKey::grant(&organization, action, &[]);
            view.0.insert(leaf, encode(&v1::Grant::default()));
        }
        let (all, keys) = read_by(&view, |view| grants(view, &organization).unwrap());
        assert_eq!(all.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), names);
        assert_eq!(keys[1], TreeKey::grant(&organization, v1::Action::Issue, &[]));
    }

    #[test]
    fn a_type_is_read_with_the_version_asked_for() {
        let name = Hash([3; 32]);
        let mut view = View::default();
        assert_eq!(type_and_version(&view, &name, 0), Ok(None));
        let found = v1::CredentialType { version: 2, ..v1::CredentialType::default() };
        view.0.insert(TreeKey::credential_type(&name), encode(&found));
        assert!(type_and_version(&view, &name, 0).is_err(), "a latest version there must be");
        let record =
            |version| v1::TypeVersionRecord { version, ..v1::TypeVersionRecord::default() };
        for version in [1, 2] {
            view.0.insert(TreeKey::type_version(&name, version), encode(&record(version)));
        }
        let version = |asked| type_and_version(&view, &name, asked).unwrap().unwrap().1;
        assert_eq!(
            [0, 1, 2, 3].map(version),
            [Some(record(2)), Some(record(1)), Some(record(2)), None]
        );
    }
}
