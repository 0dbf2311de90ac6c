//! Checking answers about status lists: which lists there are, chunks of them, and whole lists.

use super::moment::{Leaves, Moment, read_all};
use super::{Answer, Verifier, VerifyError};
use sillok_did_method::CHUNK_ENTRIES;
use sillok_ledger::answer::{self, CHUNKS_MAX, Chunk, Entry};
use sillok_ledger::proof::VerifiedHeader;
use sillok_ledger::status::{StatusPurpose, bitstring};
use sillok_proto::{Hash, v1};

/// Chunks of a list as of a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct ListChunks {
    list: Option<v1::StatusList>,
    /// How many chunks there are by what is known, which may be a list that was not there yet at the moment.
    known_chunks: u32,
    time_ms: u64,
    known: (VerifiedHeader, Vec<Chunk>),
    then: Option<(VerifiedHeader, Vec<Chunk>)>,
}

impl ListChunks {
    /// The list; `None`: it is proved that at the moment asked about there was none.
    #[must_use]
    pub const fn list(&self) -> Option<&v1::StatusList> {
        self.list.as_ref()
    }

    /// The header whose state says what is known.
    #[must_use]
    pub const fn known_header(&self) -> &VerifiedHeader {
        &self.known.0
    }

    /// The header in force at the time asked for; that of what is known where no time was asked for.
    #[must_use]
    pub fn header(&self) -> &VerifiedHeader {
        self.then.as_ref().map_or(&self.known.0, |(header, _)| header)
    }

    /// The ledger time that this is about.
    #[must_use]
    pub const fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// What an entry is at the moment asked about: what it said then, by what was known.
    ///
    /// # Errors
    ///
    /// [`VerifyError::NoSuchList`], [`VerifyError::NoSuchEntry`]; [`VerifyError::NotAsked`] for one of another chunk;
    /// [`VerifyError::Contradiction`] if its four bits are no state.
    pub fn entry(&self, index: u32) -> Result<Entry, VerifyError> {
        let list = self.list.as_ref().ok_or(VerifyError::NoSuchList)?;
        if index >= list.capacity {
            return Err(VerifyError::NoSuchEntry { capacity: list.capacity });
        }
        let known = entry_in(&self.known.1, index)?;
        match &self.then {
            None => Ok(known),
            Some((_, chunks)) => Ok(Entry::at(entry_in(chunks, index)?, known, self.time_ms)),
        }
    }
}

fn entry_in(chunks: &[Chunk], index: u32) -> Result<Entry, VerifyError> {
    for chunk in chunks {
        let entry = chunk.entry(index);
        let entry = entry.map_err(|fault| VerifyError::Contradiction { reason: fault.reason })?;
        if let Some(entry) = entry {
            return Ok(entry);
        }
    }
    Err(VerifyError::NotAsked)
}

/// A whole list as of a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct WholeList {
    /// The list.
    pub list: v1::StatusList,
    /// The header in force at the moment.
    pub header: VerifiedHeader,
    /// The ledger time that this is about.
    pub time_ms: u64,
    states: Vec<u8>,
}

impl WholeList {
    /// All entries packed as in a Token Status List with 4 bits, before compression.
    #[must_use]
    pub fn token_status_list(&self) -> &[u8] {
        &self.states
    }

    /// One bit for each entry as in a Bitstring Status List, before compression.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Contradiction`] if an entry's four bits are no state.
    pub fn bitstring(&self, purpose: StatusPurpose) -> Result<Vec<u8>, VerifyError> {
        bitstring(&self.states, purpose)
            .map_err(|fault| VerifyError::Contradiction { reason: fault.reason })
    }
}

/// The pieces of a list as they come in. All must be of one moment of one chain, in order, none missing.
#[derive(Debug, Clone)]
pub struct ListExport<'v> {
    verifier: Verifier<'v>,
    list: Hash,
    moment: Moment,
    first: Option<Answer<ListChunks>>,
    states: Vec<u8>,
    chunks: u32,
}

impl<'v> ListExport<'v> {
    /// Nothing came in yet.
    #[must_use]
    pub const fn new(verifier: Verifier<'v>, list: Hash, moment: Moment) -> Self {
        Self { verifier, list, moment, first: None, states: Vec::new(), chunks: 0 }
    }

    /// Chunks of the list, by what is known: none, where it is proved that there is no list. `None`: not known yet.
    fn total(&self) -> Option<u32> {
        Some(self.first.as_ref()?.even_if_stale().known_chunks)
    }

    /// Takes the next piece.
    ///
    /// # Errors
    ///
    /// [`VerifyError`]: the first thing that does not hold.
    pub fn piece(&mut self, piece: &v1::StateAnswer) -> Result<(), VerifyError> {
        let numbers = match self.total() {
            Some(total) if self.chunks >= total => {
                return Err(VerifyError::PieceUnasked { chunks: self.chunks });
            }
            Some(total) => next_numbers(self.chunks, total),
            None => self.first_numbers(piece)?,
        };
        let answer = self.verifier.chunks(&self.list, &numbers, self.moment, piece)?;
        let chunks = answer.even_if_stale();
        match &self.first {
            None => {
                // What the first piece says of the list must fit what came with it.
                if numbers != next_numbers(0, chunks.known_chunks) {
                    return Err(VerifyError::LeafWithheld { position: piece_len(&numbers) });
                }
            }
            Some(first) => {
                let first = first.even_if_stale();
                let same = first.known_header() == chunks.known_header()
                    && first.header() == chunks.header();
                if !same {
                    let height = chunks.known_header().height();
                    return Err(VerifyError::PieceOfOtherMoment { height });
                }
            }
        }
        self.states.extend(states(chunks)?);
        self.chunks = self.chunks.saturating_add(u32::try_from(numbers.len()).unwrap_or(u32::MAX));
        self.first.get_or_insert(answer);
        Ok(())
    }

    /// The numbers of the first piece, by its length: whether that is right its own leaf of the list says.
    fn first_numbers(&self, piece: &v1::StateAnswer) -> Result<Vec<u32>, VerifyError> {
        let proof = piece.proof.as_ref().ok_or(VerifyError::NoProof)?;
        let known = piece.known.as_ref().map_or(&proof.entries, |known| &known.entries);
        let per_chunk = answer::chunk_keys(&self.list, &[0]).len().saturating_sub(1).max(1);
        let count = known.len().saturating_sub(1) / per_chunk;
        Ok(next_numbers(0, u32::try_from(count).unwrap_or(u32::MAX)))
    }

    /// The whole list, once all pieces came; `None`: it is proved that there was none.
    ///
    /// # Errors
    ///
    /// [`VerifyError::PiecesMissing`].
    pub fn finish(self) -> Result<Answer<Option<WholeList>>, VerifyError> {
        let total = self.total();
        let missing = VerifyError::PiecesMissing { chunks: self.chunks };
        let first = self.first.filter(|_| total == Some(self.chunks)).ok_or(missing)?;
        let states = self.states;
        Ok(first.map(|first| {
            let (header, time_ms) = (first.header().clone(), first.time_ms());
            first.list.map(|list| WholeList { list, header, time_ms, states })
        }))
    }
}

fn next_numbers(from: u32, total: u32) -> Vec<u32> {
    let most = u32::try_from(CHUNKS_MAX).unwrap_or(u32::MAX);
    (from..total.min(from.saturating_add(most))).collect()
}

fn piece_len(numbers: &[u32]) -> usize {
    answer::chunk_keys(&Hash::default(), numbers).len()
}

/// The packed states of chunks at the moment that they are of.
fn states(chunks: &ListChunks) -> Result<Vec<u8>, VerifyError> {
    let then = chunks.then.as_ref().filter(|_| chunks.list.is_some());
    let then = then.map(|(_, then)| (then.as_slice(), chunks.time_ms));
    answer::packed(&chunks.known.1, then)
        .map_err(|fault| VerifyError::Contradiction { reason: fault.reason })
}

impl Verifier<'_> {
    /// Checks which of these lists there are, in their order.
    ///
    /// # Errors
    ///
    /// [`VerifyError`]: the first thing that does not hold.
    pub fn lists(
        &self,
        lists: &[Hash],
        proof: &v1::StateProof,
    ) -> Result<Answer<Vec<Option<v1::StatusList>>>, VerifyError> {
        let (leaves, answer) = self.present(proof)?;
        let found = leaves.ask(|view| read_all(view, &answer::list_keys(lists)))?;
        Ok(answer.map(|()| found))
    }

    /// Checks chunks of a list as of a moment.
    ///
    /// # Errors
    ///
    /// [`VerifyError`]: the first thing that does not hold.
    pub fn chunks(
        &self,
        list: &Hash,
        numbers: &[u32],
        moment: Moment,
        answer: &v1::StateAnswer,
    ) -> Result<Answer<ListChunks>, VerifyError> {
        let (states, certified) = self.states(moment, true, answer)?;
        let read = |leaves: &Leaves<'_>| {
            leaves
                .ask(|view| answer::chunks(view, list, numbers))
                .map(|(found, chunks)| (found, (leaves.header().clone(), chunks)))
        };
        let (known_list, known) = read(&states.known)?;
        let known_chunks = known_list.as_ref().map_or(0, |list| list.capacity / CHUNK_ENTRIES);
        let time_ms = moment.time_ms(states.known.header());
        let (list, then) = match &states.then {
            None => (known_list, None),
            Some(leaves) => {
                let (list, then) = read(leaves)?;
                (list, Some(then))
            }
        };
        Ok(certified.map(|()| ListChunks { list, known_chunks, time_ms, known, then }))
    }
}
