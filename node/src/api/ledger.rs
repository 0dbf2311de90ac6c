//! `Ledger`: submitting transactions, their state, blocks, validators, the trust bundle and the event stream.

use super::problem::{self, Refused, failed};
use super::streams::StreamKind;
use super::{Api, STREAM_READY_MAX};
use crate::ledger::SubmitError;
use crate::storage::{OperationEvent, StorageError};
use sillok_did_method::proposal_hash;
use sillok_ledger::{Retry, TRANSACTION_BYTES_MAX, TransactionLeaf};
use sillok_proto::v1::ledger_server::Ledger as LedgerService;
use sillok_proto::{CanonicalError, Hash, v1};
use std::pin::Pin;
use std::time::Duration;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

/// Longest wait for a transaction's final state.
const WAIT_MAX: Duration = Duration::from_secs(60);

type EventStream = Pin<Box<dyn Stream<Item = Result<v1::Event, Status>> + Send>>;

#[tonic::async_trait]
impl LedgerService for Api {
    type SubscribeStream = EventStream;

    async fn submit(
        &self,
        request: Request<v1::SubmitRequest>,
    ) -> Result<Response<v1::TransactionState>, Status> {
        let request = request.into_inner();
        let transaction: v1::Transaction =
            sillok_proto::decode(&request.transaction, TRANSACTION_BYTES_MAX)
                .map_err(|error| not_canonical(&error))?;
        if !request.prepared_id.is_empty() {
            super::prepare::confirm(self.ledger.chain.hash(), &transaction, &request.prepared_id)?;
        }
        let ledger = self.ledger.clone();
        let submitted = self.blocking(move || ledger.submit(transaction)).await?;
        let id = match submitted {
            Ok((id, new)) => {
                if new {
                    // Not sent is not lost: it waits here and is passed on again.
                    let _ = self.network.broadcast_transaction(request.transaction.into());
                }
                id
            }
            // The same bytes again: the answer is its state (C3).
            Err(SubmitError::Admission(sillok_ledger::AdmissionError::AlreadyOrdered {
                transaction_id,
            })) => transaction_id,
            Err(error) => {
                return Err(problem::refused(self.ledger.chain.network(), &error).into());
            }
        };
        self.final_state(&id, request.wait_ms).await.map(Response::new)
    }

    async fn simulate(
        &self,
        request: Request<v1::SimulateRequest>,
    ) -> Result<Response<v1::SimulateResponse>, Status> {
        let request = request.into_inner();
        let transaction: v1::Transaction =
            sillok_proto::decode(&request.transaction, TRANSACTION_BYTES_MAX)
                .map_err(|error| not_canonical(&error))?;
        let api = self.clone();
        let (submitter, roles) = (request.submitter.unwrap_or_default(), request.roles);
        self.blocking(move || api.simulated(&transaction, &submitter, &roles))
            .await?
            .map(Response::new)
            .map_err(Status::from)
    }

    async fn get_transaction(
        &self,
        request: Request<v1::GetTransactionRequest>,
    ) -> Result<Response<v1::TransactionState>, Status> {
        let request = request.into_inner();
        let id = Hash::from_slice(&request.transaction_id).ok_or_else(|| {
            Refused::malformed(
                "INVALID_TRANSACTION_ID",
                "a transaction id has 32 bytes; send those",
            )
        })?;
        self.final_state(&id, request.wait_ms).await.map(Response::new)
    }

    async fn get_status(
        &self,
        _request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::NodeStatus>, Status> {
        let tip = self.ledger.tip();
        let ordering = self.ordering.borrow().clone();
        let (mempool_transactions, mempool_bytes) = {
            let mempool = self.ledger.mempool();
            (u32::try_from(mempool.len()).unwrap_or(u32::MAX), mempool.bytes() as u64)
        };
        Ok(Response::new(v1::NodeStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            network: self.ledger.chain.network().to_owned(),
            genesis_hash: self.ledger.chain.hash().to_vec(),
            height: tip.height(),
            time_ms: tip.header.time_ms,
            header_hash: tip.hash.to_vec(),
            state_root: tip.header.state_root.clone(),
            name: self.name.clone(),
            validator_key: ordering.validator_key,
            validating: ordering.validating,
            round: ordering.round,
            validators: u32::try_from(tip.validators.validators.len()).unwrap_or(u32::MAX),
            peers: ordering
                .peers
                .iter()
                .map(|(key, height)| v1::PeerStatus { node_key: key.to_vec(), height: *height })
                .collect(),
            mempool_transactions,
            mempool_bytes,
            earliest_block: self.ledger.storage.blocks_from().map_err(failed("get_status"))?,
            syncing: ordering.best_peer_height > tip.height() + 1,
            halted: ordering.halted,
            signing: ordering.signing.into(),
            members: Some(self.member_counts()),
            banned: self.banned(),
            counters: Some(self.peer_counters()),
        }))
    }

    async fn get_genesis(
        &self,
        _request: Request<v1::GetGenesisRequest>,
    ) -> Result<Response<v1::GetGenesisResponse>, Status> {
        let genesis = Some(self.ledger.chain.genesis().clone());
        Ok(Response::new(v1::GetGenesisResponse { genesis }))
    }

    async fn get_block(
        &self,
        request: Request<v1::GetBlockRequest>,
    ) -> Result<Response<v1::GetBlockResponse>, Status> {
        let api = self.clone();
        let asked = request.into_inner().height;
        self.blocking(move || api.public_block(asked)).await?.map(Response::new)
    }

    async fn get_validators(
        &self,
        request: Request<v1::GetValidatorsRequest>,
    ) -> Result<Response<v1::GetValidatorsResponse>, Status> {
        let tip = self.ledger.tip();
        let next = tip.height() + 1;
        let height = match request.into_inner().height {
            0 => next,
            height => height,
        };
        let ledger = self.ledger.clone();
        let validators = self
            .blocking(move || super::sets::validators(&ledger.storage, &tip, height))
            .await?
            .map_err(failed("get_validators"))?;
        if validators.is_none() {
            return Err(self.no_such_height(height).into());
        }
        Ok(Response::new(v1::GetValidatorsResponse { height, validators }))
    }

    async fn get_trust_bundle(
        &self,
        request: Request<v1::GetTrustBundleRequest>,
    ) -> Result<Response<v1::TrustBundle>, Status> {
        let from = request.into_inner().from_height;
        let ledger = self.ledger.clone();
        self.blocking(move || super::sets::trust_bundle(&ledger.storage, &ledger.tip(), from))
            .await?
            .map_err(failed("get_trust_bundle"))?
            .map(Response::new)
            .ok_or_else(|| self.pruned(from.saturating_add(1)).into())
    }

    async fn get_history_proof(
        &self,
        request: Request<v1::GetHistoryProofRequest>,
    ) -> Result<Response<v1::HistoryProof>, Status> {
        let request = request.into_inner();
        let tip = self.ledger.tip().height();
        let at = if request.at_height == 0 { tip } else { request.at_height };
        if request.height >= at && at <= tip {
            return Err(Refused::malformed(
                "NOT_AN_ANCESTOR",
                "a history proof is of a height below the one it is proved at; ask for a lower height",
            )
            .into());
        }
        let storage = self.ledger.storage.clone();
        self.blocking(move || storage.history_proof(request.height, at))
            .await?
            .map_err(failed("get_history_proof"))?
            .map(Response::new)
            .ok_or_else(|| self.no_such_height(request.height.max(at)).into())
    }

    async fn get_state(
        &self,
        request: Request<v1::GetStateRequest>,
    ) -> Result<Response<v1::StateProof>, Status> {
        let request = request.into_inner();
        let keys = super::state::public_keys(&request.keys)?;
        self.tip_at(request.min_height.max(1)).await?;
        let api = self.clone();
        self.blocking(move || api.state_proof(&api.ledger.tip(), &keys)).await?.map(Response::new)
    }

    async fn get_proposals(
        &self,
        _request: Request<v1::GetProposalsRequest>,
    ) -> Result<Response<v1::GetProposalsResponse>, Status> {
        let ledger = self.ledger.clone();
        let read = move || ledger.storage.proposals(ledger.tip().height());
        let found = self.blocking(read).await?.map_err(failed("get_proposals"))?;
        let proposal_hashes = found.iter().map(|hash| hash.to_vec()).collect();
        Ok(Response::new(v1::GetProposalsResponse { proposal_hashes }))
    }

    async fn get_members(
        &self,
        request: Request<v1::GetMembersRequest>,
    ) -> Result<Response<v1::GetMembersResponse>, Status> {
        let request = request.into_inner();
        let proposals = super::members::proposals(&request.proposal_hashes)?;
        let tip = self.tip_at(request.min_height.max(1)).await?;
        let api = self.clone();
        self.blocking(move || api.members(&tip, &proposals)).await?.map(Response::new)
    }

    async fn get_evidence(
        &self,
        request: Request<v1::GetEvidenceRequest>,
    ) -> Result<Response<v1::GetEvidenceResponse>, Status> {
        let request = request.into_inner();
        let storage = self.ledger.storage.clone();
        self.blocking(move || super::evidence::page(&storage, &request))
            .await?
            .map(Response::new)
            .map_err(failed("get_evidence"))
    }

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<EventStream>, Status> {
        let place = self.stream_place(&request, StreamKind::Subscription)?;
        let after = request.into_inner().after;
        let tip = self.ledger.tip().height();
        // A cursor of a node that is ahead is late here, and no mistake.
        if let Some(cursor) = after.filter(|cursor| cursor.height > tip.saturating_add(1)) {
            return Err(self.stale(cursor.height).into());
        }
        let (sender, receiver) = tokio::sync::mpsc::channel(STREAM_READY_MAX);
        let api = self.clone();
        tokio::spawn(async move {
            let _place = place;
            if let Err(status) = api.send_events(after, &sender).await {
                api.pass(&sender, Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

pub(super) fn not_canonical(error: &CanonicalError) -> Refused {
    match error {
        CanonicalError::TooLong { .. } => Refused::new(
            Code::ResourceExhausted,
            "TRANSACTION_TOO_LONG",
            error.to_string(),
            Retry::AfterFix,
        ),
        CanonicalError::NotCanonical => Refused::malformed("NOT_CANONICAL", error.to_string()),
        _ => Refused::malformed("MALFORMED", error.to_string()),
    }
}

impl Api {
    fn member_counts(&self) -> v1::MemberCounts {
        let roster = self.roster.borrow();
        v1::MemberCounts {
            operators: roster.seated,
            pending: roster.pending,
            observers: roster.observers,
        }
    }

    fn banned(&self) -> Vec<v1::BannedPeer> {
        let seconds = |left: Duration| u32::try_from(left.as_secs() + 1).unwrap_or(u32::MAX);
        let banned = self.network.banned().into_iter();
        banned
            .map(|ban| v1::BannedPeer {
                node_key: ban.node.as_bytes().to_vec(),
                times: ban.times,
                seconds: seconds(ban.remaining),
            })
            .collect()
    }

    fn peer_counters(&self) -> v1::PeerCounters {
        let counters = self.network.counters();
        v1::PeerCounters {
            refused_connections: counters.refused_connections,
            refused_messages: counters.refused_messages,
            dropped_consensus: counters.dropped_consensus_in,
            dropped_transactions: counters.dropped_transactions_in,
            dropped_requests: counters.dropped_requests_in,
            faults: counters.faults,
            bans: counters.bans,
        }
    }

    /// There is no such height here: because it is late, or because there never was one (the genesis has no block).
    fn no_such_height(&self, height: u64) -> Refused {
        let tip = self.ledger.tip().height();
        if height > tip {
            return self.stale(height);
        }
        if height > 0 {
            return self.pruned(height);
        }
        Refused::new(
            Code::NotFound,
            "NO_SUCH_HEIGHT",
            format!("there is no block of height {height}; ask for one from 1 to {tip}"),
            Retry::AfterFix,
        )
        .with("height", tip)
    }

    fn public_block(&self, asked: u64) -> Result<v1::GetBlockResponse, Status> {
        let height = match asked {
            // Before the first block there is none yet.
            0 => self.ledger.tip().height().max(1),
            height => height,
        };
        let storage = &self.ledger.storage;
        let block = storage.block(height).map_err(failed("get_block"))?;
        let signed_header = storage.signed_header(height).map_err(failed("get_block"))?;
        let (Some(block), Some(signed_header)) = (block, signed_header) else {
            return Err(self.no_such_height(height).into());
        };
        let genesis = self.ledger.chain.hash();
        let transactions = block
            .transactions
            .into_iter()
            .filter_map(|transaction| {
                let leaf = TransactionLeaf::of(genesis, &transaction)?;
                Some(v1::PublicTransaction {
                    transaction_id: leaf.id.to_vec(),
                    body: transaction.body,
                    documents: transaction.documents,
                    signatures: transaction.signatures,
                    private_signatures_hash: leaf.private_signatures.to_vec(),
                })
            })
            .collect();
        Ok(v1::GetBlockResponse { signed_header: Some(signed_header), transactions })
    }

    /// Its state, read beside the tasks that serve sockets.
    async fn state_of(&self, id: Hash) -> Result<v1::TransactionState, Status> {
        let api = self.clone();
        self.blocking(move || api.transaction_state(&id)).await?.map_err(failed("get_transaction"))
    }

    /// The state of a transaction, once it is final or the wait is over.
    async fn final_state(&self, id: &Hash, wait_ms: u32) -> Result<v1::TransactionState, Status> {
        let wait = Duration::from_millis(wait_ms.into()).min(WAIT_MAX);
        let deadline = tokio::time::Instant::now() + wait;
        let mut tips = self.ledger.watch_tip();
        let mut stop = self.stop.clone();
        loop {
            tips.borrow_and_update();
            let state = self.state_of(*id).await?;
            let open = matches!(
                state.state,
                Some(
                    v1::transaction_state::State::Pending(_)
                        | v1::transaction_state::State::Unknown(_)
                )
            );
            if !open || wait.is_zero() {
                return Ok(state);
            }
            // A node that stops must not wait for those who wait.
            let changed = tokio::select! {
                changed = tips.changed() => changed.is_ok(),
                () = tokio::time::sleep_until(deadline) => false,
                _ = stop.wait_for(|stop| *stop) => false,
            };
            if !changed {
                return self.state_of(*id).await;
            }
        }
    }

    fn transaction_state(&self, id: &Hash) -> Result<v1::TransactionState, StorageError> {
        use v1::transaction_state::State;
        let storage = &self.ledger.storage;
        // In this order, so that a transaction on its way from the pool into a block is never unknown.
        let pending = self.ledger.mempool().contains(id);
        let tip = self.ledger.tip();
        let (mut at_height, mut time_ms) = (tip.height(), tip.header.time_ms);
        let state = if let Some((height, index)) = storage.transaction(id)? {
            // Committed a moment ago, and not yet the tip we saw: the answer is of no lower height than what it says.
            if height > at_height
                && let Some(header) = storage.header(height)?
            {
                (at_height, time_ms) = (height, header.time_ms);
            }
            match storage.receipt(self.ledger.chain.hash(), height, index)? {
                None => State::Pruned(v1::Pruned { height, index }),
                receipt => State::Committed(v1::Committed { height, index, receipt }),
            }
        } else if pending {
            State::Pending(v1::Pending {})
        } else {
            match storage.refusal(id)? {
                None => State::Unknown(v1::Unknown { earliest_block: storage.blocks_from()? }),
                Some(refusal) if refusal.valid_until_ms < tip.header.time_ms => {
                    State::Expired(v1::Expired { valid_until_ms: refusal.valid_until_ms })
                }
                Some(refusal) => match refusal.problem {
                    Some(problem) => State::Rejected(v1::Rejected { problem: Some(problem) }),
                    None => State::Expired(v1::Expired { valid_until_ms: refusal.valid_until_ms }),
                },
            }
        };
        Ok(v1::TransactionState {
            transaction_id: id.to_vec(),
            height: at_height,
            time_ms,
            state: Some(state),
        })
    }

    /// Sends every event after the cursor, then each block's as it is committed, until the subscriber goes or the node
    /// stops. Positions are equal on every node.
    async fn send_events(
        &self,
        after: Option<v1::Cursor>,
        sender: &tokio::sync::mpsc::Sender<Result<v1::Event, Status>>,
    ) -> Result<(), Status> {
        let mut tips = self.ledger.watch_tip();
        let mut stop = self.stop.clone();
        let mut height =
            after.map_or(self.ledger.tip().height() + 1, |cursor| cursor.height.max(1));
        loop {
            let reached = tokio::select! {
                reached = tips.wait_for(|tip| tip.height() >= height) => reached.is_ok(),
                () = sender.closed() => false,
                _ = stop.wait_for(|stop| *stop) => false,
            };
            if !reached {
                return Ok(());
            }
            let api = self.clone();
            let events = self.blocking(move || api.events_of(height)).await?;
            let events = events.map_err(failed("subscribe"))?;
            for event in events.ok_or_else(|| Status::from(self.pruned(height)))? {
                let position =
                    |cursor: &v1::Cursor| (cursor.height, cursor.transaction, cursor.operation);
                let passed = after
                    .zip(event.cursor)
                    .is_some_and(|(after, cursor)| position(&cursor) <= position(&after));
                if passed {
                    continue;
                }
                if !self.pass(sender, Ok(event)).await {
                    return Ok(());
                }
            }
            height += 1;
        }
    }

    /// The events of a block; `None` if this node keeps it no longer, or never had it.
    fn events_of(&self, height: u64) -> Result<Option<Vec<v1::Event>>, StorageError> {
        let storage = &self.ledger.storage;
        let (Some(block), Some(written)) = (storage.block(height)?, storage.events(height)?) else {
            return Ok(None);
        };
        let header = block.header.clone().unwrap_or_default();
        let time_ms = header.time_ms;
        let count = u32::try_from(block.transactions.len()).unwrap_or(u32::MAX);
        let mut events = Vec::new();
        for ((transaction, one), written) in
            (0_u32..).zip(block.transactions).zip(written.transactions)
        {
            let operations = one.body.unwrap_or_default().operations;
            // Both stand in the order of the operations that wrote them; most write but one of them.
            let mut heads = written.heads.into_iter();
            let mut others = written.written.into_iter().peekable();
            for (operation, done) in (0_u32..).zip(operations) {
                let wrote = others.next_if(|one| one.operation == operation).unwrap_or_default();
                let event = event(self.ledger.chain.hash(), done, wrote, &mut heads);
                events.push(v1::Event {
                    cursor: Some(v1::Cursor { height, transaction, operation }),
                    time_ms,
                    transaction_id: written.id.clone(),
                    event,
                });
            }
        }
        // The last position of the block, after every transaction.
        events.push(v1::Event {
            cursor: Some(v1::Cursor { height, transaction: u32::MAX, operation: u32::MAX }),
            time_ms,
            transaction_id: Vec::new(),
            event: Some(v1::event::Event::Block(v1::BlockEvent {
                header: Some(header),
                transactions: count,
                new_validators: super::sets::changed_by(storage, &self.ledger.tip(), height)?,
            })),
        });
        Ok(Some(events))
    }
}

/// The event of an operation, with what it wrote.
fn event(
    genesis: &Hash,
    done: v1::Operation,
    wrote: OperationEvent,
    heads: &mut impl Iterator<Item = v1::Head>,
) -> Option<v1::event::Event> {
    use v1::event::Event;
    use v1::operation::Operation as Kind;
    let governance = |proposal_hash: Vec<u8>, grant, operation| {
        Event::Governance(v1::GovernanceEvent { operation: Some(operation), proposal_hash, grant })
    };
    let OperationEvent { grant, changed, .. } = wrote;
    Some(match done.operation.as_ref()? {
        Kind::CreateDid(_) | Kind::UpdateDid(_) | Kind::SetDevice(_) | Kind::DeactivateDid(_) => {
            Event::Did(v1::DidEvent { head: heads.next() })
        }
        Kind::Propose(propose) => {
            let hash = propose.proposal.as_ref().map(|one| proposal_hash(genesis, one).to_vec());
            governance(hash.unwrap_or_default(), grant, done)
        }
        Kind::Approve(approve) => governance(approve.proposal_hash.clone(), grant, done),
        Kind::Join(_) | Kind::Rekey(_) => governance(Vec::new(), None, done),
        Kind::Accredit(_) | Kind::Withdraw(_) | Kind::PublishType(_) => {
            Event::Trust(v1::TrustEvent { operation: Some(done), grant })
        }
        Kind::CreateList(_) | Kind::SetStatus(_) => {
            Event::Status(v1::StatusEvent { operation: Some(done), changed })
        }
        // Which chunks one change of an enrollment touched would tell which entries are of one person, and a reservation
        // from an end: watchers of a list hear of the chunks of a whole block (PROTOCOL §4.2).
        Kind::SetEnrollment(_) => {
            Event::Status(v1::StatusEvent { operation: Some(done), changed: Vec::new() })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::event::Event;
    use v1::operation::Operation as Kind;

    fn changed_by(operation: Kind) -> Vec<v1::ChangedChunks> {
        let changed = vec![v1::ChangedChunks { list: vec![1; 32], chunks: vec![3] }];
        let wrote = OperationEvent { operation: 0, grant: None, changed };
        let done = v1::Operation { operation: Some(operation) };
        match event(&Hash([9; 32]), done.clone(), wrote, &mut std::iter::empty()) {
            Some(Event::Status(event)) => {
                assert_eq!(event.operation, Some(done));
                event.changed
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_told_of_a_change_of_an_enrollment_says_nothing_of_its_entries() {
        assert_eq!(changed_by(Kind::SetStatus(v1::SetStatus::default())).len(), 1);
        assert_eq!(changed_by(Kind::SetEnrollment(v1::SetEnrollment::default())), []);
    }
}
