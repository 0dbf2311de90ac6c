//! Bringing a transaction to the network until it is committed, whichever nodes die meanwhile.
//!
//! The same bytes may be sent any number of times to any number of nodes: they run once (PROTOCOL §2.3). What a node
//! refuses by a rule is not sent again.

use crate::clock_ms;
use anyhow::{Context as _, anyhow, bail};
use sillok_client::problem::is_unreachable;
use sillok_did_method::transaction_id;
use sillok_proto::v1::ledger_client::LedgerClient;
use sillok_proto::v1::transaction_state::State;
use sillok_proto::{Hash, encode, v1};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// How long a node is asked to wait for the commit, in milliseconds. Then the next one is asked.
const WAIT_MS: u32 = 4_000;
/// How long an answer may take beyond that.
const GRACE: Duration = Duration::from_secs(2);
/// How long to wait before a node that was away is asked again, at first and at the most.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// A refusal by a rule, as programs read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The gRPC code.
    pub grpc: Code,
    /// Upper snake case, one for each rule.
    pub code: String,
    /// What is so and what to do.
    pub message: String,
    /// The values to act on, `retry` among them.
    pub fields: BTreeMap<String, String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl Refusal {
    /// The refusal in a gRPC status, if it is one of a rule of ours.
    #[must_use]
    pub fn of(status: &Status) -> Option<Self> {
        let info = status.get_error_details().error_info().cloned()?;
        (info.domain == "sillok.v1").then(|| Self {
            grpc: status.code(),
            code: info.reason,
            message: status.message().to_owned(),
            fields: info.metadata.into_iter().collect(),
        })
    }

    fn of_problem(problem: v1::Problem) -> Self {
        let mut fields: BTreeMap<String, String> =
            problem.fields.into_iter().map(|field| (field.name, field.value)).collect();
        fields.insert("retry".to_owned(), problem.retry);
        Self {
            grpc: Code::FailedPrecondition,
            code: problem.code,
            message: problem.message,
            fields,
        }
    }
}

/// Where a transaction was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Height of the block.
    pub height: u64,
    /// Its id.
    pub transaction_id: Hash,
}

/// What came of one submission.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It is in a block.
    Committed(Committed),
    /// A rule refused it, before or after admission.
    Refused(Refusal),
    /// Neither is known yet.
    Open(String),
}

/// Connections to several nodes.
#[derive(Debug, Clone)]
pub struct Submitter {
    clients: Arc<[LedgerClient<Channel>]>,
}

impl Submitter {
    /// Connects when there is something to send.
    ///
    /// # Errors
    ///
    /// A URL is none.
    pub fn new(urls: Vec<String>) -> anyhow::Result<Self> {
        let mut clients = Vec::with_capacity(urls.len());
        for url in urls {
            let channel = Endpoint::from_shared(url)?
                .connect_timeout(GRACE)
                .http2_keep_alive_interval(Duration::from_secs(2))
                .keep_alive_timeout(GRACE)
                .connect_lazy();
            clients.push(LedgerClient::new(channel));
        }
        Ok(Self { clients: clients.into() })
    }

    /// The client of the `nth` node, round and round.
    ///
    /// # Errors
    ///
    /// There is no node.
    pub fn client(&self, nth: usize) -> anyhow::Result<LedgerClient<Channel>> {
        let count = self.clients.len().max(1);
        self.clients.get(nth % count).cloned().context("there is no node to submit to")
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Is there no node?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// The height that the `nth` node says it is at, if it answers.
    ///
    /// # Errors
    ///
    /// It does not.
    pub async fn height(&self, nth: usize) -> anyhow::Result<u64> {
        let mut client = self.client(nth)?;
        let asked = client.get_status(v1::GetStatusRequest {});
        Ok(tokio::time::timeout(GRACE, asked).await??.into_inner().height)
    }

    /// Sends `transaction` to the `nth` node once and waits for what comes of it.
    ///
    /// # Errors
    ///
    /// There is no node.
    pub async fn try_once(
        &self,
        genesis_hash: &Hash,
        transaction: &v1::Transaction,
        nth: usize,
    ) -> anyhow::Result<Outcome> {
        let id = transaction_id(genesis_hash, &transaction.body.clone().unwrap_or_default());
        let mut client = self.client(nth)?;
        let request = v1::SubmitRequest {
            transaction: encode(transaction),
            wait_ms: WAIT_MS,
            ..Default::default()
        };
        let patience = Duration::from_millis(WAIT_MS.into()) + GRACE;
        let answer = tokio::time::timeout(patience, client.submit(request)).await;
        Ok(match answer {
            Err(_) => Outcome::Open("no answer in time".to_owned()),
            Ok(Ok(state)) => Self::read(id, state.into_inner()),
            Ok(Err(status)) => match Refusal::of(&status) {
                Some(refusal) if !may_pass(&refusal) => Outcome::Refused(refusal),
                Some(refusal) => Outcome::Open(refusal.to_string()),
                None if is_unreachable(&status) || is_transient(status.code()) => {
                    Outcome::Open(status.to_string())
                }
                None => bail!("the node answered {status}"),
            },
        })
    }

    fn read(id: Hash, state: v1::TransactionState) -> Outcome {
        match state.state {
            Some(State::Committed(committed)) => {
                Outcome::Committed(Committed { height: committed.height, transaction_id: id })
            }
            Some(State::Rejected(rejected)) => {
                Outcome::Refused(Refusal::of_problem(rejected.problem.unwrap_or_default()))
            }
            Some(State::Expired(expired)) => Outcome::Refused(Refusal {
                grpc: Code::FailedPrecondition,
                code: "EXPIRED".to_owned(),
                message: "ledger time passed valid-until".to_owned(),
                fields: BTreeMap::from([(
                    "valid_until_ms".to_owned(),
                    expired.valid_until_ms.to_string(),
                )]),
            }),
            Some(State::Pending(_)) => Outcome::Open("still pending".to_owned()),
            Some(State::Unknown(_)) | None => {
                Outcome::Open("the node knows nothing of it".to_owned())
            }
            Some(State::Pruned(_)) => {
                Outcome::Open("it is in a block that the node keeps no longer".to_owned())
            }
        }
    }

    /// What any node knows of a transaction that was sent before.
    async fn look_up(&self, id: &Hash) -> Option<Committed> {
        for client in self.clients.iter() {
            let request = v1::GetTransactionRequest { transaction_id: id.to_vec(), wait_ms: 0 };
            let mut client = client.clone();
            let asked = tokio::time::timeout(GRACE, client.get_transaction(request)).await;
            if let Ok(Ok(state)) = asked
                && let Outcome::Committed(committed) = Self::read(*id, state.into_inner())
            {
                return Some(committed);
            }
        }
        None
    }

    /// Sends `transaction`, first to the `nth` node and then to the others in turn, until it is committed.
    ///
    /// # Errors
    ///
    /// A rule refuses it, or its time is over.
    pub async fn commit(
        &self,
        genesis_hash: &Hash,
        transaction: &v1::Transaction,
        nth: usize,
        retries: &AtomicUsize,
    ) -> anyhow::Result<Committed> {
        let body = transaction.body.clone().unwrap_or_default();
        let id = transaction_id(genesis_hash, &body);
        let mut pause = PAUSE;
        for attempt in nth.. {
            let why = match self.try_once(genesis_hash, transaction, attempt).await? {
                Outcome::Committed(committed) => return Ok(committed),
                Outcome::Refused(refusal) => {
                    // An earlier attempt may have got through although its answer was lost.
                    if let Some(committed) = self.look_up(&id).await {
                        return Ok(committed);
                    }
                    return Err(anyhow!("{refusal}"));
                }
                Outcome::Open(why) => why,
            };
            if clock_ms() > body.valid_until_ms {
                bail!("transaction {id} was not committed in its time; the last answer was: {why}");
            }
            retries.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        bail!("transaction {id} was tried too often")
    }
}

/// Refusals that say "not now" and not "never".
pub(crate) fn may_pass(refusal: &Refusal) -> bool {
    is_transient(refusal.grpc) || refusal.fields.get("retry").is_some_and(|retry| retry == "LATER")
}

pub(crate) fn is_transient(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::ResourceExhausted
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Aborted
            // A connection that broke in the middle of an answer.
            | Code::Unknown
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn a_refusal_is_read_from_the_details_of_a_status() {
        let details = ErrorDetails::with_error_info(
            "STALE_VERSION",
            "sillok.v1",
            [("version".to_owned(), "2".to_owned())],
        );
        let status = Status::with_error_details(Code::FailedPrecondition, "m", details);
        let refusal = Refusal::of(&status).unwrap();
        assert_eq!(refusal.code, "STALE_VERSION");
        assert_eq!(refusal.fields["version"], "2");
        assert_eq!(Refusal::of(&Status::internal("x")), None);
    }
}
