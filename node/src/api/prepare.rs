//! `Ledger.Simulate`, and confirming what it showed (PROTOCOL §5.3).
//!
//! Nothing is kept and nothing is logged. Deliberately not here: the rules, and whom a trial tells what
//! (`sillok_ledger::prepare`).

use super::Api;
use super::problem::{self, Refused};
use sillok_did_method::transaction_id;
use sillok_ledger::Retry;
use sillok_proto::{Hash, v1};
use tonic::Code;

/// A person confirmed this transaction and no other (C6).
pub(super) fn confirm(
    genesis: &Hash,
    transaction: &v1::Transaction,
    prepared_id: &[u8],
) -> Result<(), Refused> {
    let id = transaction.body.as_ref().map(|body| transaction_id(genesis, body));
    // Without a body the rules say what is wrong.
    let Some(id) = id.filter(|id| id.0 != prepared_id) else { return Ok(()) };
    Err(Refused::new(
        Code::FailedPrecondition,
        "PREPARE_MISMATCH",
        "the transaction is not the one that was prepared; prepare this one and have it confirmed",
        Retry::AfterFix,
    )
    .with("transaction_id", id))
}

impl Api {
    /// What comes of trying a transaction.
    pub(super) fn simulated(
        &self,
        transaction: &v1::Transaction,
        submitter: &v1::KeySignature,
        roles: &[v1::KeySignature],
    ) -> Result<v1::SimulateResponse, Refused> {
        let network = self.ledger.chain.network();
        let (prepared, height, time_ms) = self
            .ledger
            .simulate(transaction, submitter, roles)
            .map_err(|error| problem::refused(network, &error))?;
        let problem = |error: &_| problem::admission(network, error).problem;
        Ok(prepared.into_message(height, time_ms, problem))
    }
}
