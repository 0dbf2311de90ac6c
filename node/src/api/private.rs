//! `PrivateStatus`: what is private, for those whose it is and for auditors (PROTOCOL §2.4, §4.1, §4.2).
//!
//! The only door that serves one entry of a list, an enrollment, or what stands in private beside a transaction. Who may
//! not is told the same whether there is something or not. Reads leave no trace: nothing here is logged or counted (A24).

use super::Api;
use super::problem::{self, Refused, failed};
use sillok_ledger::reading::{READ_BYTES_MAX, Read, ReadError, check_read, may_read};
use sillok_ledger::status::{chunk_of, entry_dates, entry_state, record_of};
use sillok_ledger::{Retry, StateFault, StateView, Tip, TreeKey};
use sillok_proto::v1::private_status_server::PrivateStatus;
use sillok_proto::{Hash, v1};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tonic::{Code, Request, Response, Status};
use v1::operation::Operation as Wire;

/// Most bytes of leaves in one answer. Dates all over the largest list are more.
const LEAVES_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Longest leaf that is read back.
const LEAF_BYTES_MAX: usize = sillok_ledger::overlay::LEAF_BYTES_MAX;

#[tonic::async_trait]
impl PrivateStatus for Api {
    async fn own_entries(
        &self,
        request: Request<v1::PrivateReadRequest>,
    ) -> Result<Response<v1::OwnEntriesResponse>, Status> {
        self.read_private(request, |api, tip, organization, read| match read {
            Read::Entries { list, indexes } => {
                api.own_entries_at(tip, organization, &list, &indexes)
            }
            _ => Err(other_read()),
        })
        .await
    }

    async fn own_enrollment(
        &self,
        request: Request<v1::PrivateReadRequest>,
    ) -> Result<Response<v1::OwnEnrollmentResponse>, Status> {
        self.read_private(request, |api, tip, organization, read| {
            let Read::Enrollment { issuer, credential_type, handle } = read else {
                return Err(other_read());
            };
            api.require_reader(tip, organization, &issuer, &credential_type)?;
            let key = TreeKey::enrollment(&issuer, &credential_type, &handle);
            let height = tip.height();
            let held = api.ledger.storage.at(height).leaf(&key).map_err(|error| fault(&error))?;
            // A proof of absence names the leaf next to the place: whoever may guess handles would read its way through
            // what is private of everybody.
            let proof = held.map(|_| api.state_proof(tip, &[key])).transpose()?;
            Ok(v1::OwnEnrollmentResponse { proof, height })
        })
        .await
    }

    async fn private_contents(
        &self,
        request: Request<v1::PrivateReadRequest>,
    ) -> Result<Response<v1::PrivateContentsResponse>, Status> {
        self.read_private(request, |api, tip, organization, read| match read {
            Read::Contents { transaction_id } => {
                api.contents_of(tip, organization, &transaction_id)
            }
            _ => Err(other_read()),
        })
        .await
    }
}

/// A statement of another kind than the door's.
fn other_read() -> Status {
    refused(&ReadError::Form { field: "read" }, "")
}

fn refused(error: &ReadError, network: &str) -> Status {
    let code = match error {
        ReadError::Unknown(error) => return problem::admission(network, error).into(),
        ReadError::NotAllowed => Code::PermissionDenied,
        ReadError::Expired { .. } => Code::FailedPrecondition,
        _ => Code::InvalidArgument,
    };
    Refused::new(code, error.code(), error.to_string(), error.retry()).into()
}

fn fault(error: &StateFault) -> Status {
    tracing::error!(what = "private_status", err = %error, "a read failed");
    Refused::internal().into()
}

fn leaf<M: prost::Message + Default>(
    view: &impl StateView,
    key: &TreeKey,
) -> Result<Option<M>, Status> {
    let bytes = view.leaf(key).map_err(|error| fault(&error))?;
    bytes.map(|bytes| decode_leaf(&bytes)).transpose()
}

fn decode_leaf<M: prost::Message + Default>(bytes: &[u8]) -> Result<M, Status> {
    sillok_proto::decode(bytes, LEAF_BYTES_MAX)
        .map_err(|error| fault(&StateFault::new(format!("a leaf does not decode: {error}"))))
}

impl Api {
    /// Finds out who asks, beside the tasks that serve sockets, and answers.
    async fn read_private<T: Send + 'static>(
        &self,
        request: Request<v1::PrivateReadRequest>,
        answer: impl FnOnce(&Self, &Tip, &Hash, Read) -> Result<T, Status> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let request = request.into_inner();
        let statement: v1::ReadStatement = sillok_proto::decode(&request.statement, READ_BYTES_MAX)
            .map_err(|error| Refused::malformed("INVALID_READ", error.to_string()))?;
        // Who signed over a header of another node may be ahead of this one.
        let tip: Arc<Tip> =
            self.tip_at(request.min_height.max(statement.header_height).max(1)).await?;
        let api = self.clone();
        let signature = request.signature.unwrap_or_default();
        self.blocking(move || {
            let view = api.ledger.storage.at(tip.height());
            let frame = api.ledger.frame(&tip, tip.header.time_ms);
            let (organization, read) = check_read(&frame, &view, &statement, &signature)
                .map_err(|error| refused(&error, api.ledger.chain.network()))?;
            answer(&api, &tip, &organization, read)
        })
        .await?
        .map(Response::new)
    }

    /// May the organization read what is private of this issuer and type?
    fn is_reader(
        &self,
        tip: &Tip,
        organization: &Hash,
        issuer: &Hash,
        credential_type: &Hash,
    ) -> Result<bool, Status> {
        let view = self.ledger.storage.at(tip.height());
        let time_ms = tip.header.time_ms;
        may_read(&view, organization, issuer, credential_type, time_ms)
            .map_err(|error| fault(&error))
    }

    fn require_reader(
        &self,
        tip: &Tip,
        organization: &Hash,
        issuer: &Hash,
        credential_type: &Hash,
    ) -> Result<(), Status> {
        if self.is_reader(tip, organization, issuer, credential_type)? {
            Ok(())
        } else {
            Err(refused(&ReadError::NotAllowed, ""))
        }
    }

    /// A list's issuer, type and capacity; `None` if there is no such list.
    fn list(&self, tip: &Tip, list: &Hash) -> Result<Option<(Hash, Hash, u32)>, Status> {
        let view = self.ledger.storage.at(tip.height());
        let leaf: Option<v1::StatusList> = leaf(&view, &TreeKey::status_list(list))?;
        Ok(leaf.and_then(|leaf| {
            let issuer = Hash::from_slice(&leaf.issuer)?;
            Some((issuer, Hash::from_slice(&leaf.r#type)?, leaf.capacity))
        }))
    }

    fn own_entries_at(
        &self,
        tip: &Tip,
        organization: &Hash,
        list: &Hash,
        indexes: &[u32],
    ) -> Result<v1::OwnEntriesResponse, Status> {
        let Some((issuer, credential_type, capacity)) = self.list(tip, list)? else {
            return Err(refused(&ReadError::NotAllowed, ""));
        };
        self.require_reader(tip, organization, &issuer, &credential_type)?;
        // Ascending, so the last is the largest.
        if indexes.last().is_some_and(|index| *index >= capacity) {
            return Err(Refused::malformed(
                "INDEX_OUT_OF_RANGE",
                format!("the list has {capacity} entries; ask for entries of the list"),
            )
            .into());
        }
        let chunks: BTreeSet<u32> = indexes.iter().map(|index| chunk_of(*index).0).collect();
        let records: BTreeSet<u32> = indexes.iter().map(|index| record_of(*index)).collect();
        let mut keys = vec![TreeKey::status_list(list)];
        keys.extend(chunks.iter().map(|number| TreeKey::status_chunk(list, *number)));
        keys.extend(records.iter().map(|number| TreeKey::entry_record(list, *number)));
        let proof = self.state_proof(tip, &keys)?;
        if proof.entries.iter().map(|entry| entry.value.len()).sum::<usize>() > LEAVES_BYTES_MAX {
            let message =
                "these entries and their dates are too much for one answer; ask for fewer";
            let code = Code::ResourceExhausted;
            return Err(Refused::new(code, "ANSWER_TOO_LONG", message, Retry::AfterFix).into());
        }
        let mut leaves = proof.entries.iter().skip(1).map(|entry| (entry.present, &entry.value));
        let mut held_chunks: BTreeMap<u32, Option<v1::StatusChunk>> = BTreeMap::new();
        for (number, (present, value)) in chunks.iter().zip(leaves.by_ref()) {
            held_chunks.insert(*number, present.then(|| decode_leaf(value)).transpose()?);
        }
        let mut held_records: BTreeMap<u32, Option<v1::EntryRecord>> = BTreeMap::new();
        for (number, (present, value)) in records.iter().zip(leaves) {
            held_records.insert(*number, present.then(|| decode_leaf(value)).transpose()?);
        }
        let entries = indexes
            .iter()
            .map(|index| {
                let chunk = held_chunks.get(&chunk_of(*index).0).and_then(Option::as_ref);
                let record = held_records.get(&record_of(*index)).and_then(Option::as_ref);
                let dates = entry_dates(record, *index).copied().unwrap_or_default();
                Ok(v1::OwnEntry {
                    index: *index,
                    state: entry_state(chunk, *index).map_err(|error| fault(&error))? as u32,
                    grace_until_ms: dates.grace_until_ms,
                    invalid_from_ms: dates.invalid_from_ms,
                })
            })
            .collect::<Result<_, Status>>()?;
        Ok(v1::OwnEntriesResponse { proof: Some(proof), entries })
    }

    /// The private contents of a transaction that the organization may read.
    fn contents_of(
        &self,
        tip: &Tip,
        organization: &Hash,
        id: &Hash,
    ) -> Result<v1::PrivateContentsResponse, Status> {
        let failed = failed("private_contents");
        let not_allowed = || refused(&ReadError::NotAllowed, "");
        let storage = &self.ledger.storage;
        let Some((height, index)) = storage.transaction(id).map_err(&failed)? else {
            return Err(not_allowed());
        };
        // That it stands in this block is public; whose it is cannot be told without the block.
        let (block, receipt) = (
            storage.block(height).map_err(&failed)?,
            storage.receipt(self.ledger.chain.hash(), height, index).map_err(&failed)?,
        );
        let place = usize::try_from(index).unwrap_or(usize::MAX);
        let transaction = block.and_then(|block| block.transactions.into_iter().nth(place));
        let (Some(transaction), Some(receipt)) = (transaction, receipt) else {
            return Err(self.pruned(height).into());
        };
        let body = transaction.body.unwrap_or_default();
        let signatures = transaction.private_signatures.unwrap_or_default();
        // Validators saw that contents and signatures go with the operations that have one, in their order.
        let mut beside = transaction.private_contents.into_iter().zip(signatures.operations);
        let (mut contents, mut is_whole) = (Vec::new(), true);
        for (operation, one) in (0_u32..).zip(&body.operations) {
            let owner = match &one.operation {
                Some(Wire::SetStatus(op)) => {
                    let list = Hash::from_slice(&op.list);
                    let found = list.map(|list| self.list(tip, &list)).transpose()?.flatten();
                    found.map(|(issuer, credential_type, _)| (issuer, credential_type))
                }
                Some(Wire::SetEnrollment(op)) => {
                    Hash::from_slice(&op.issuer).zip(Hash::from_slice(&op.r#type))
                }
                _ => continue,
            };
            let Some((content, signatures)) = beside.next() else { break };
            let may = match owner {
                Some((issuer, credential_type)) => {
                    self.is_reader(tip, organization, &issuer, &credential_type)?
                }
                None => false,
            };
            is_whole &= may;
            if may {
                let (content, signatures) = (Some(content), Some(signatures));
                contents.push(v1::OperationContent { operation, content, signatures });
            }
        }
        if contents.is_empty() {
            return Err(not_allowed());
        }
        Ok(v1::PrivateContentsResponse {
            receipt: Some(receipt),
            body: Some(body),
            contents,
            // With the salt the hash in the receipt could be held against guesses of what others signed.
            signatures_salt: if is_whole { signatures.salt } else { Vec::new() },
        })
    }
}
