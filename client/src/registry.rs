//! Asking about lists, rights and types: the question to a node, and its answer verified.
//!
//! The checks are [`crate::verify`]'s. A credential is never asked for by itself: the smallest question is a chunk of 8,192
//! entries, with all dates in it (PROTOCOL §4.1).

use crate::keys::{SecretKeyError, fill};
use crate::read::{Client, ReadError};
use crate::verify::authority::{Authority, Right};
use crate::verify::moment::Moment;
use crate::verify::status::{ListChunks, ListExport, WholeList};
use crate::verify::{Answer, VerifyError};
use sillok_did_method::{CHUNK_ENTRIES, EntryState, LIST_ENTRIES_MAX};
use sillok_ledger::answer::CHUNKS_MAX;
use sillok_ledger::status::{chunk_of, get};
use sillok_proto::{Hash, v1};
use std::collections::BTreeSet;

/// Most pieces of an export: those of the largest list, and a node that goes on is not listened to.
const PIECES_MAX: usize = (LIST_ENTRIES_MAX / CHUNK_ENTRIES) as usize / CHUNKS_MAX + 1;

/// The chunk that holds an entry among others drawn at random, ascending: which of them was meant, no node can tell.
///
/// # Errors
///
/// [`SecretKeyError::Random`].
pub fn with_decoys(index: u32, capacity: u32, decoys: usize) -> Result<Vec<u32>, SecretKeyError> {
    let chunks = capacity / CHUNK_ENTRIES;
    let meant = chunk_of(index).0;
    let mut numbers = BTreeSet::from([meant]);
    let wanted = decoys.min(CHUNKS_MAX - 1).saturating_add(1).min(chunks as usize);
    while numbers.len() < wanted {
        let mut bytes = [0; 4];
        fill(&mut bytes)?;
        // A list has at most 128 chunks: what the remainder favors is nothing.
        numbers.insert(u32::from_le_bytes(bytes) % chunks);
    }
    Ok(numbers.into_iter().collect())
}

impl Client {
    /// Which of these lists there are, in their order; at most 16.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn lists(
        &self,
        lists: &[Hash],
    ) -> Result<Answer<Vec<Option<v1::StatusList>>>, ReadError> {
        let names: Vec<Vec<u8>> = lists.iter().map(|list| list.to_vec()).collect();
        let (answer, _, _) = self
            .ask(
                |node, min_height| {
                    let request = v1::GetListRequest { lists: names.clone(), min_height };
                    async move { node.status_registry().get_list(request).await }
                },
                |verifier, proof| verifier.lists(lists, proof),
            )
            .await?;
        Ok(answer)
    }

    /// Chunks of a list with the dates of their entries, as of a moment; at most 16, ascending.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn chunks(
        &self,
        list: &Hash,
        chunks: &[u32],
        moment: Moment,
    ) -> Result<Answer<ListChunks>, ReadError> {
        let (answer, _, _) = self
            .ask(
                |node, min_height| {
                    let request = v1::GetChunksRequest {
                        list: list.to_vec(),
                        chunks: chunks.to_vec(),
                        min_height,
                        at: moment.to_message(),
                    };
                    async move { node.status_registry().get_chunks(request).await }
                },
                |verifier, answer| verifier.chunks(list, chunks, moment, answer),
            )
            .await?;
        Ok(answer)
    }

    /// A whole list as of one moment. `None` in the answer: it is proved that there is none.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn whole_list(
        &self,
        list: &Hash,
        moment: Moment,
    ) -> Result<Answer<Option<WholeList>>, ReadError> {
        let (answer, _) = self.exported_list(list, moment).await?;
        Ok(answer)
    }

    /// The same, and the pieces as the node sent them.
    pub(crate) async fn exported_list(
        &self,
        list: &Hash,
        moment: Moment,
    ) -> Result<(Answer<Option<WholeList>>, Vec<v1::StateAnswer>), ReadError> {
        let (answer, pieces, _) = self
            .ask(
                |node, min_height| {
                    let (list, at) = (list.to_vec(), moment.to_message());
                    let request = v1::ExportListRequest { list, min_height, at };
                    async move {
                        let mut stream =
                            node.status_registry().export_list(request).await?.into_inner();
                        let mut pieces = Vec::new();
                        while let Some(piece) = stream.message().await? {
                            pieces.push(piece);
                            if pieces.len() > PIECES_MAX {
                                break;
                            }
                        }
                        Ok(tonic::Response::new(pieces))
                    }
                },
                |verifier, pieces: &Vec<v1::StateAnswer>| {
                    let mut export = ListExport::new(*verifier, *list, moment);
                    for piece in pieces {
                        export.piece(piece)?;
                    }
                    export.finish()
                },
            )
            .await?;
        Ok((answer, pieces))
    }

    /// May an organization do something at a moment, and by which chain?
    ///
    /// # Errors
    ///
    /// [`ReadError`]. That it may not is no error.
    pub async fn authority(
        &self,
        right: &Right,
        moment: Moment,
    ) -> Result<Answer<Authority>, ReadError> {
        let (answer, _, _) = self
            .ask(
                |node, min_height| {
                    let request = right.to_request(moment, min_height);
                    async move { node.trust_registry().get_authority(request).await }
                },
                |verifier, answer| verifier.authority(right, moment, answer),
            )
            .await?;
        Ok(answer)
    }

    /// All grants that an organization has or had, by ascending action and resource.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn grants(
        &self,
        organization: &Hash,
    ) -> Result<Answer<Vec<(v1::GrantName, v1::Grant)>>, ReadError> {
        let (answer, _, _) = self
            .ask(
                |node, min_height| {
                    let organization = organization.to_vec();
                    let request = v1::GetGrantsRequest { organization, min_height };
                    async move { node.trust_registry().get_grants(request).await }
                },
                |verifier, proof| verifier.grants(organization, proof),
            )
            .await?;
        Ok(answer)
    }

    /// A credential type and a version of it, the latest if none is named. `None` in the answer: it is proved that there
    /// is none.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn credential_type(
        &self,
        name: &Hash,
        version: Option<u32>,
    ) -> Result<Answer<Option<(v1::CredentialType, v1::TypeVersionRecord)>>, ReadError> {
        let version = version.unwrap_or(0);
        let (answer, _, _) = self
            .ask(
                |node, min_height| {
                    let request = v1::GetTypeRequest { r#type: name.to_vec(), version, min_height };
                    async move { node.trust_registry().get_type(request).await }
                },
                |verifier, proof| verifier.credential_type(name, version, proof),
            )
            .await?;
        Ok(answer.map(|found| found.and_then(|(one, record)| record.map(|record| (one, record)))))
    }
}

/// What every entry of a list says, by index.
///
/// # Errors
///
/// [`VerifyError::Contradiction`] if an entry has no known state.
pub fn states(list: &WholeList) -> Result<Vec<EntryState>, VerifyError> {
    let packed = list.token_status_list();
    (0..list.list.capacity)
        .map(|index| {
            get(packed, index).and_then(|number| EntryState::read(number.into())).ok_or_else(|| {
                VerifyError::Contradiction {
                    reason: "an entry of a status list has no known state".to_owned(),
                }
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sillok_did_method::LIST_ENTRIES_MIN;

    #[test]
    fn c4_decoys_are_other_chunks_of_the_list_and_the_meant_one_is_among_them() {
        let mut seen = BTreeSet::new();
        for _ in 0..200 {
            let numbers = with_decoys(8_192 * 3 + 5, LIST_ENTRIES_MIN, 3).unwrap();
            assert!(numbers.contains(&3) && numbers.len() == 4, "{numbers:?}");
            assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(numbers.iter().all(|number| *number < LIST_ENTRIES_MIN / CHUNK_ENTRIES));
            seen.extend(numbers);
        }
        assert_eq!(seen.len(), 16, "every chunk comes up");
        assert_eq!(with_decoys(0, LIST_ENTRIES_MIN, 0).unwrap(), [0]);
        // No more than one question takes, and no more than there are.
        assert_eq!(with_decoys(0, LIST_ENTRIES_MAX, 255).unwrap().len(), CHUNKS_MAX);
    }
}
