//! Connections to nodes: gRPC with bounds on time and size.
//!
//! Several nodes are tried in turn so that one that is down does no harm. That is for availability, never for trust:
//! what one node proves is proved, and when one node lies its lie is shown, not passed over for the next one's answer.

use crate::problem::{self, Problem, Retry};
use sillok_proto::v1::did_resolver_client::DidResolverClient;
use sillok_proto::v1::ledger_client::LedgerClient;
use sillok_proto::v1::private_status_client::PrivateStatusClient;
use sillok_proto::v1::status_registry_client::StatusRegistryClient;
use sillok_proto::v1::trust_registry_client::TrustRegistryClient;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

/// Longest time to reach a node.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest time for an answer, beside what the request asks the node to wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest answer, in bytes. A history of 10,000 versions with their documents fits.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why no node answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Nothing to call.
    #[error("no node is named; give --node http://HOST:PORT")]
    NoNode,
    /// Not an address.
    #[error("{address:?} is not the address of a node; write http://HOST:PORT")]
    Address {
        /// The text given.
        address: String,
    },
    /// No node could be reached.
    #[error(
        "no node could be reached ({tried}); check the address and that the node runs, or give another --node"
    )]
    Unreachable {
        /// Each address and what went wrong.
        tried: String,
    },
    /// A node refused.
    #[error("{node} refused: {problem}")]
    Refused {
        /// Its address.
        node: String,
        /// What it says.
        problem: Problem,
    },
}

/// A node.
#[derive(Clone)]
pub struct Node {
    address: String,
    channel: Channel,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Node {
    /// A node at `http://HOST:PORT` or `HOST:PORT`. It is not called yet.
    ///
    /// # Errors
    ///
    /// [`CallError::Address`].
    pub fn new(address: &str) -> Result<Self, CallError> {
        let wrong = || CallError::Address { address: address.to_owned() };
        let url =
            if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        if !url.starts_with("http://") {
            return Err(wrong());
        }
        let endpoint = Endpoint::from_shared(url).map_err(|_| wrong())?;
        if endpoint.uri().port_u16().is_none() {
            return Err(wrong());
        }
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(Duration::from_secs(20)));
        Ok(Self { address: address.to_owned(), channel: endpoint.connect_lazy() })
    }

    /// Its address, as given.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its `DidResolver`.
    #[must_use]
    pub fn resolver(&self) -> DidResolverClient<Channel> {
        DidResolverClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Its `PrivateStatus`.
    #[must_use]
    pub fn private_status(&self) -> PrivateStatusClient<Channel> {
        PrivateStatusClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Its `StatusRegistry`.
    #[must_use]
    pub fn status_registry(&self) -> StatusRegistryClient<Channel> {
        StatusRegistryClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Its `TrustRegistry`.
    #[must_use]
    pub fn trust_registry(&self) -> TrustRegistryClient<Channel> {
        TrustRegistryClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Its `Ledger`.
    #[must_use]
    pub fn ledger(&self) -> LedgerClient<Channel> {
        LedgerClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }
}

/// The nodes a client may call, in the order in which they are tried: from the one on that answered last, so that one that
/// is silent costs its time once.
#[derive(Debug, Clone)]
pub struct Connection {
    nodes: Vec<Node>,
    first: Arc<AtomicUsize>,
}

impl Connection {
    /// The nodes at these addresses.
    ///
    /// # Errors
    ///
    /// [`CallError::NoNode`], [`CallError::Address`].
    pub fn new<S: AsRef<str>>(addresses: &[S]) -> Result<Self, CallError> {
        if addresses.is_empty() {
            return Err(CallError::NoNode);
        }
        let nodes =
            addresses.iter().map(|one| Node::new(one.as_ref())).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { nodes, first: Arc::default() })
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Calls one node after another, from the one on that answered last, until one answers. `wait` is how long the request
    /// lets the node wait.
    ///
    /// # Errors
    ///
    /// [`CallError::Refused`] by the first node whose refusal would be the same elsewhere, or by the last one;
    /// [`CallError::Unreachable`].
    pub async fn call<T, F: Future<Output = Result<Response<T>, Status>>>(
        &self,
        wait: Duration,
        call: impl Fn(Node) -> F,
    ) -> Result<(T, &Node), CallError> {
        let (answer, _, node) = self.call_others(&BTreeSet::new(), wait, call).await?;
        Ok((answer, node))
    }

    /// The same without the nodes at these places; says at which place the node is that answered.
    pub(crate) async fn call_others<T, F: Future<Output = Result<Response<T>, Status>>>(
        &self,
        passed_over: &BTreeSet<usize>,
        wait: Duration,
        call: impl Fn(Node) -> F,
    ) -> Result<(T, usize, &Node), CallError> {
        let mut tried = Vec::new();
        let mut refused = None;
        let (before, from) = self.nodes.split_at(self.first.load(Ordering::Relaxed));
        let in_turn = (before.len()..).zip(from).chain(before.iter().enumerate());
        for (place, node) in in_turn.filter(|(place, _)| !passed_over.contains(place)) {
            match call_one(node, wait, call(node.clone())).await {
                Ok(answer) => {
                    self.first.store(place, Ordering::Relaxed);
                    return Ok((answer, place, node));
                }
                Err(CallError::Unreachable { tried: reason }) => tried.push(reason),
                // What this node cannot do now another may, and an archive has what it has pruned.
                Err(CallError::Refused { node, problem })
                    if problem.retry == Retry::Later || problem.code == "HISTORY_PRUNED" =>
                {
                    refused = Some(CallError::Refused { node, problem });
                }
                Err(error) => return Err(error),
            }
        }
        Err(refused.unwrap_or_else(|| CallError::Unreachable { tried: tried.join("; ") }))
    }
}

/// Waits for the answer of one node, which `call` was made to.
///
/// # Errors
///
/// [`CallError::Refused`], [`CallError::Unreachable`].
pub async fn call_one<T>(
    node: &Node,
    wait: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, CallError> {
    let unreachable =
        |reason: &str| CallError::Unreachable { tried: format!("{}: {reason}", node.address) };
    match tokio::time::timeout(ANSWER_TIMEOUT.saturating_add(wait), call).await {
        Err(_) => Err(unreachable("no answer in time")),
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) if problem::is_unreachable(&status) => {
            // The text of the transport error says "tcp connect error"; its source says why.
            let reason = std::error::Error::source(&status)
                .map_or_else(|| status.message().to_owned(), deepest);
            Err(unreachable(&reason))
        }
        Ok(Err(status)) => {
            let problem =
                Problem::of_status(&status).unwrap_or_else(|| Problem::of_other_status(&status));
            Err(CallError::Refused { node: node.address.clone(), problem })
        }
    }
}

fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[tokio::test]
    async fn an_address_is_http_with_a_port() {
        for good in ["http://127.0.0.1:7101", "127.0.0.1:7101", "http://node.example:80"] {
            assert_eq!(Node::new(good).unwrap().address(), good);
        }
        for bad in ["", "ftp://x:1", "http://node", "https://node:443", "not an address"] {
            assert!(Node::new(bad).is_err(), "{bad}");
        }
        assert_eq!(Connection::new::<&str>(&[]).unwrap_err(), CallError::NoNode);
    }

    #[tokio::test]
    async fn a_node_that_is_down_is_passed_over_and_named_when_all_are() {
        // Port 1 of the loopback is nobody's.
        let connection = Connection::new(&["127.0.0.1:1", "127.0.0.1:2"]).unwrap();
        let status = async |node: Node| {
            node.ledger().get_status(sillok_proto::v1::GetStatusRequest {}).await
        };
        let error = connection.call(Duration::ZERO, status).await.unwrap_err();
        let CallError::Unreachable { tried } = error else { panic!("{error}") };
        assert!(tried.contains("127.0.0.1:1") && tried.contains("127.0.0.1:2"), "{tried}");
    }

    #[tokio::test]
    async fn a_node_that_is_silent_is_not_asked_first_again() {
        let connection = Connection::new(&["a:1", "b:1", "c:1"]).unwrap();
        let ask = async |up: &str| {
            let asked = Mutex::new(Vec::new());
            let call = |node: Node| {
                let is_up = node.address() == up;
                asked.lock().unwrap().push(node.address().to_owned());
                async move {
                    if is_up {
                        Ok(Response::new(()))
                    } else {
                        Err(Status::unavailable("no answer"))
                    }
                }
            };
            let answered = connection.call(Duration::ZERO, call).await.is_ok();
            (asked.into_inner().unwrap().join(" "), answered)
        };
        assert_eq!(ask("b:1").await, ("a:1 b:1".to_owned(), true));
        assert_eq!(ask("b:1").await, ("b:1".to_owned(), true));
        assert_eq!(ask("a:1").await, ("b:1 c:1 a:1".to_owned(), true));
        assert_eq!(ask("").await, ("a:1 b:1 c:1".to_owned(), false));
    }
}
