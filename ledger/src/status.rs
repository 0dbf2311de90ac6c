//! Status lists as they are stored: chunks of 4-bit entries, the dates beside them, and what a change says in public
//! (PROTOCOL §4.1).
//!
//! Plain functions of bytes, for blocks and for whoever reads a chunk with its proof. A chunk is packed as Token Status
//! List packs 4 bits: entry 2i in the low half of byte i, entry 2i + 1 in the high half. Without its leaf, all entries of
//! a chunk are pending. Deliberately absent: who may change an entry (`operation/`), and lists as they are served.

use crate::StateFault;
use sillok_did_method::{CHUNK_ENTRIES, EntryState};
use sillok_proto::{Hash, v1};

/// Length of a chunk, in bytes.
pub const CHUNK_BYTES: usize = 4_096;
/// Entries whose dates stand in one leaf: a quarter of a chunk, so that the leaf stays below its bound.
pub const RECORD_ENTRIES: u32 = 2_048;
/// Most entries of one enrollment, in all lists together.
pub const ENROLLMENT_ENTRIES_MAX: usize = 64;
/// Most lists in which one enrollment has entries.
pub const ENROLLMENT_LISTS_MAX: usize = 8;

/// The chunk that holds an entry, and the entry's place in it.
#[must_use]
pub const fn chunk_of(index: u32) -> (u32, u32) {
    (index / CHUNK_ENTRIES, index % CHUNK_ENTRIES)
}

/// The leaf that holds an entry's dates, by number.
#[must_use]
pub const fn record_of(index: u32) -> u32 {
    index / RECORD_ENTRIES
}

/// A chunk of which no entry was ever used.
#[must_use]
pub fn pending_chunk() -> Vec<u8> {
    let pending = EntryState::Pending as u8;
    vec![pending | (pending << 4); CHUNK_BYTES]
}

/// The four bits at `place`; `None` beyond the end.
#[must_use]
pub fn get(states: &[u8], place: u32) -> Option<u8> {
    let byte = states.get(usize::try_from(place / 2).ok()?)?;
    Some(if place.is_multiple_of(2) { byte & 0x0f } else { byte >> 4 })
}

/// Sets the four bits at `place`, and says whether there is such a place.
pub fn set(states: &mut [u8], place: u32, value: u8) -> bool {
    let Some(byte) = usize::try_from(place / 2).ok().and_then(|at| states.get_mut(at)) else {
        return false;
    };
    *byte = if place.is_multiple_of(2) {
        (*byte & 0xf0) | (value & 0x0f)
    } else {
        (*byte & 0x0f) | (value << 4)
    };
    true
}

/// What an entry says, by the leaf of its chunk; `None` for a chunk without a leaf.
///
/// # Errors
///
/// [`StateFault`] if the leaf is no chunk or holds a number that is no state.
pub fn entry_state(chunk: Option<&v1::StatusChunk>, index: u32) -> Result<EntryState, StateFault> {
    let Some(chunk) = chunk else { return Ok(EntryState::Pending) };
    if chunk.states.len() != CHUNK_BYTES {
        return Err(StateFault::new("a chunk of a status list has another length"));
    }
    read_state(&chunk.states, index)
}

/// What an entry says, by the bytes of its chunk.
pub(crate) fn read_state(states: &[u8], index: u32) -> Result<EntryState, StateFault> {
    get(states, chunk_of(index).1)
        .and_then(|number| EntryState::read(number.into()))
        .ok_or_else(|| StateFault::new("an entry of a status list has no known state"))
}

/// The dates of an entry, by the leaf that would hold them.
#[must_use]
pub fn entry_dates(record: Option<&v1::EntryRecord>, index: u32) -> Option<&v1::EntryDates> {
    let entries = &record?.entries;
    let at = entries.binary_search_by_key(&index, |dates| dates.index).ok()?;
    entries.get(at)
}

/// What a Bitstring Status List says with one bit for each entry (W3C, `statusPurpose`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StatusPurpose {
    /// Set for entries that are over for good: invalid and superseded.
    Revocation,
    /// Set for entries that may not be used now and may be later: suspended and pending.
    Suspension,
}

/// One bit for each of the packed `states`, the first the most significant of the first byte (Bitstring Status List, §1).
///
/// # Errors
///
/// [`StateFault`] if four bits are no state.
pub fn bitstring(states: &[u8], purpose: StatusPurpose) -> Result<Vec<u8>, StateFault> {
    let is_set = |number: u8| {
        let state = EntryState::read(number.into())
            .ok_or_else(|| StateFault::new("an entry of a status list has no known state"))?;
        Ok(match (purpose, state) {
            (StatusPurpose::Revocation, EntryState::Invalid | EntryState::Superseded)
            | (StatusPurpose::Suspension, EntryState::Suspended | EntryState::Pending) => 1,
            _ => 0,
        })
    };
    // Four bytes are eight entries, which are one byte.
    states
        .chunks(4)
        .map(|eight| {
            let mut bits = 0_u8;
            for (byte, place) in eight.iter().zip([7_u8, 5, 3, 1]) {
                bits |= is_set(byte & 0x0f)? << place;
                bits |= is_set(byte >> 4)? << place.saturating_sub(1);
            }
            Ok(bits)
        })
        .collect()
}

/// What an operation on status says in public. Nothing of its private content is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StatusEvent {
    /// A list was created.
    ListCreated {
        /// Index of the operation in the body.
        operation: usize,
        /// Name of the list.
        list: Hash,
        /// Digest of the issuer.
        issuer: Hash,
        /// Name of the type.
        credential_type: Hash,
    },
    /// Entries were set.
    StatusSet {
        /// Index of the operation in the body.
        operation: usize,
        /// Name of the list.
        list: Hash,
        /// What they say now.
        state: EntryState,
        /// The chunks that changed, ascending.
        chunks: Vec<u32>,
    },
    /// An enrollment was changed, whatever became of it.
    EnrollmentSet {
        /// Index of the operation in the body.
        operation: usize,
        /// Digest of the issuer.
        issuer: Hash,
        /// Name of the type.
        credential_type: Hash,
        /// The chunks that changed, ascending.
        chunks: Vec<(Hash, u32)>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};
    use std::collections::BTreeMap;

    /// The draft's own example of 4 bits: 1,048,576 entries, all 0 but these (ietf-token-status-list.json, `long-4bit`).
    #[test]
    fn the_layout_is_that_of_token_status_list_with_4_bits() {
        let file = include_str!("../tests/vectors/token-status-list-4bit.json");
        let vector: serde_json::Value = serde_json::from_str(file).unwrap();
        let entries = u32::try_from(vector["entries"].as_u64().unwrap()).unwrap();
        let mut chunks = vec![vec![0; CHUNK_BYTES]; (entries / CHUNK_ENTRIES) as usize];
        for (index, state) in vector["statuses"].as_object().unwrap() {
            let (chunk, place) = chunk_of(index.parse().unwrap());
            let state = u8::try_from(state.as_u64().unwrap()).unwrap();
            assert!(set(&mut chunks[chunk as usize], place, state));
            assert_eq!(get(&chunks[chunk as usize], place), Some(state));
        }
        let bytes = chunks.concat();
        assert_eq!(bytes.len() as u64, vector["uncompressed_len"].as_u64().unwrap());
        let hash = hex::encode(Sha256::digest(&bytes));
        assert_eq!(hash, vector["uncompressed_sha256"].as_str().unwrap());
    }

    /// Published bit strings (`bitstring-status-list.json`), by entries that are revoked and by entries that are suspended.
    #[test]
    fn a_bitstring_has_the_layout_of_bitstring_status_list() {
        let file = include_str!("../tests/vectors/bitstring-status-list.json");
        let file: serde_json::Value = serde_json::from_str(file).unwrap();
        let vectors = file["vectors"].as_array().unwrap();
        assert_eq!(vectors.len(), 5);
        for vector in vectors {
            let bytes =
                usize::try_from(vector["uncompressed_len_bytes"].as_u64().unwrap()).unwrap();
            for (purpose, states) in
                [(StatusPurpose::Revocation, [1, 12]), (StatusPurpose::Suspension, [2, 3])]
            {
                let mut packed = vec![0; bytes * 4];
                for (nth, bit) in
                    vector["set_bits_msb_first"].as_array().unwrap().iter().enumerate()
                {
                    let place = u32::try_from(bit.as_u64().unwrap()).unwrap();
                    assert!(set(&mut packed, place, states[nth % 2]));
                }
                let bits = bitstring(&packed, purpose).unwrap();
                assert_eq!(bits.len(), bytes);
                let hash = hex::encode(Sha256::digest(&bits));
                assert_eq!(hash, vector["uncompressed_sha256"].as_str().unwrap(), "{purpose:?}");
            }
        }
    }

    #[test]
    fn each_purpose_sets_the_bits_of_its_states_alone() {
        // 0, 1, 2, 3, 12, and three valid ones.
        let packed = [0x10, 0x32, 0x0c, 0x00];
        assert_eq!(bitstring(&packed, StatusPurpose::Revocation), Ok(vec![0b0100_1000]));
        assert_eq!(bitstring(&packed, StatusPurpose::Suspension), Ok(vec![0b0011_0000]));
        assert!(bitstring(&[0x04, 0, 0, 0], StatusPurpose::Revocation).is_err());
        assert_eq!(
            bitstring(&pending_chunk(), StatusPurpose::Suspension),
            Ok(vec![0xff; CHUNK_BYTES / 4])
        );
    }

    #[test]
    fn an_entry_never_used_is_pending() {
        let chunk = v1::StatusChunk { states: pending_chunk() };
        for index in [0, 1, CHUNK_ENTRIES - 1, CHUNK_ENTRIES, 1_048_575] {
            assert_eq!(entry_state(Some(&chunk), index), Ok(EntryState::Pending));
            assert_eq!(entry_state(None, index), Ok(EntryState::Pending));
        }
        assert_eq!(get(&chunk.states, CHUNK_ENTRIES), None);
        assert!(!set(&mut chunk.states.clone(), CHUNK_ENTRIES, 0));
    }

    #[test]
    fn a_leaf_that_is_no_chunk_is_a_fault_and_no_state() {
        let short = v1::StatusChunk { states: vec![0; CHUNK_BYTES - 1] };
        assert!(entry_state(Some(&short), 0).is_err());
        let unknown = v1::StatusChunk { states: vec![0x44; CHUNK_BYTES] };
        assert!(entry_state(Some(&unknown), 0).is_err());
    }

    #[test]
    fn dates_are_found_by_index() {
        let dates = |index| v1::EntryDates { index, grace_until_ms: 1, invalid_from_ms: 0 };
        let record = v1::EntryRecord { entries: vec![dates(3), dates(2_047)] };
        assert_eq!(entry_dates(Some(&record), 2_047), Some(&dates(2_047)));
        assert_eq!(entry_dates(Some(&record), 4), None);
        assert_eq!(entry_dates(None, 3), None);
    }

    proptest! {
        #[test]
        fn what_was_set_is_read_and_nothing_beside_it(
            writes in proptest::collection::vec((0..CHUNK_ENTRIES, 0..16_u8), 0..64),
        ) {
            let mut states = pending_chunk();
            let mut expected = BTreeMap::new();
            for (place, value) in writes {
                prop_assert!(set(&mut states, place, value));
                expected.insert(place, value);
            }
            for place in 0..CHUNK_ENTRIES {
                let value = expected.get(&place).copied().unwrap_or(3);
                prop_assert_eq!(get(&states, place), Some(value));
            }
        }
    }
}
