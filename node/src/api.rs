//! The gRPC doors of a node: `DidResolver`, `Ledger`, `StatusRegistry`, `TrustRegistry`, `PrivateStatus`, health and
//! reflection.
//!
//! Handlers read the last committed tip and storage at its height; they never wait for writes, except where a caller
//! asks for a height to come. No DID, index or client address is logged here, at any level (PROTOCOL II.6).

pub mod bucket;
pub(crate) mod connections;
mod evidence;
mod ledger;
mod members;
pub(crate) mod moment;
mod prepare;
mod private;
pub mod problem;
mod resolver;
mod sets;
mod state;
mod status;
mod streams;
pub(crate) mod trust;

use crate::join::Progress;
use crate::ledger::{Ledger, is_recent_enough};
use crate::members::Roster;
use crate::network::NetworkHandle;
use crate::ordering::OrderingStatus;
use problem::Refused;
use sillok_ledger::{Retry, Tip};
use sillok_proto::v1::did_resolver_server::DidResolverServer;
use sillok_proto::v1::ledger_server::LedgerServer;
use sillok_proto::v1::private_status_server::PrivateStatusServer;
use sillok_proto::v1::status_registry_server::StatusRegistryServer;
use sillok_proto::v1::trust_registry_server::TrustRegistryServer;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use streams::Places;
use tokio::sync::{Semaphore, watch};
use tonic::service::interceptor::InterceptedService;
use tonic::{Code, Request, Status};

/// Longest request that is read at all, in bytes. More than a transaction may have, so that one which is too long gets
/// an answer that says so.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;
/// Longest signed request to read what is private: twice what its statement may have, for an answer that says so.
const READ_REQUEST_BYTES_MAX: usize = 2 * sillok_ledger::reading::READ_BYTES_MAX;
/// Longest answer, in bytes: a block and its envelope.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a read waits for `min_height`.
const MIN_HEIGHT_WAIT: Duration = Duration::from_secs(5);
/// Most requests at work on one connection.
const CONCURRENCY_PER_CONNECTION: usize = 256;
/// Most streams open on one connection, those of subscribers too.
const STREAMS_PER_CONNECTION: u32 = 256;
/// How often a silent connection is asked whether it still is there.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(30);
/// How long it has to answer.
const KEEPALIVE_WITHIN: Duration = Duration::from_secs(20);
/// Reads and admissions at work at once, of all callers. The rest wait in the order they came, so that however many
/// ask, disk and processors stay free for blocks.
const WORK_AT_ONCE: usize = 8;
/// Messages ready for a stream's caller that reads slowly.
const STREAM_READY_MAX: usize = 256;

/// How much the doors take on at once.
#[derive(Debug, Clone)]
pub struct Room {
    work: Arc<Semaphore>,
    buckets: Arc<Semaphore>,
    streams: Places,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            work: Arc::new(Semaphore::new(WORK_AT_ONCE)),
            buckets: Arc::new(Semaphore::new(bucket::BUCKETS_AT_ONCE)),
            streams: Places::of_node(),
        }
    }
}

/// What the handlers share.
#[derive(Debug, Clone)]
pub struct Api {
    /// The record.
    pub ledger: Arc<Ledger>,
    /// To pass transactions on.
    pub network: NetworkHandle,
    /// What ordering says of itself.
    pub ordering: watch::Receiver<OrderingStatus>,
    /// The node's name, as configured.
    pub name: String,
    /// Who is a member.
    pub roster: watch::Receiver<Roster>,
    /// How far the node's snapshot has come, while it joins by one: until then it has no record to answer from.
    pub joining: watch::Receiver<Option<Progress>>,
    /// Becomes true when the node stops.
    pub stop: watch::Receiver<bool>,
    /// How much is taken on at once.
    pub room: Room,
}

impl Api {
    /// The tip, once it is at `min_height`; STALE if it does not get there in time. It never answers "not found" for
    /// what is merely late (D8).
    async fn tip_at(&self, min_height: u64) -> Result<Arc<Tip>, Refused> {
        let mut tips = self.ledger.watch_tip();
        let reached = tokio::time::timeout(
            MIN_HEIGHT_WAIT,
            tips.wait_for(|tip| is_recent_enough(tip, min_height)),
        );
        if let Ok(Ok(tip)) = reached.await {
            return Ok(tip.clone());
        }
        Err(self.stale(min_height))
    }

    /// This node is not there yet.
    fn stale(&self, height: u64) -> Refused {
        let tip = self.ledger.tip();
        Refused::new(
            Code::Unavailable,
            "STALE",
            format!(
                "this node is at height {}, not yet at {height}; try again or ask another node",
                tip.height()
            ),
            Retry::Later,
        )
        .with("height", tip.height())
        .with("time_ms", tip.header.time_ms)
    }

    /// This node kept it no longer, or never had it: who has it is named.
    fn pruned(&self, height: u64) -> Refused {
        self.pruned_because(
            height,
            format!("this node keeps no block of height {height}; ask an archive"),
        )
    }

    fn pruned_because(&self, height: u64, message: String) -> Refused {
        let archives = self.roster.borrow().archives.clone();
        let archives: Vec<String> =
            archives.iter().map(|node| hex::encode(node.as_bytes())).collect();
        Refused::new(Code::OutOfRange, "HISTORY_PRUNED", message, Retry::AfterFix)
            .with("height", height)
            .with("archives", archives.join(","))
    }

    /// Lets calls pass once the node has a record to answer from. Whoever asks before learns that the node is there, and
    /// asks another.
    fn gate(&self) -> impl Fn(Request<()>) -> Result<Request<()>, Status> + Clone + use<> {
        let api = self.clone();
        move |request| api.check_joined().map(|()| request).map_err(Status::from)
    }

    /// Has the node a record to answer from?
    pub(crate) fn check_joined(&self) -> Result<(), Refused> {
        let Some(progress) = *self.joining.borrow() else { return Ok(()) };
        let Progress { height, headers_left, segments_left } = progress;
        let how_far = if height == 0 {
            "it looks for peers".to_owned()
        } else {
            format!(
                "it fetches the state of height {height}, and {headers_left} headers and {segments_left} segments are left"
            )
        };
        let message = format!("this node is joining: {how_far}; ask another node");
        Err(Refused::new(Code::Unavailable, "JOINING", message, Retry::Later)
            .with("height", height)
            .with("headers_left", headers_left)
            .with("segments_left", segments_left))
    }

    /// Does what reads the disk or checks signatures beside the tasks that serve sockets, when its turn comes. A panic
    /// is an internal error of this request alone.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Status> {
        let internal = || Status::from(Refused::internal());
        let turn = self.room.work.clone().acquire_owned().await.map_err(|_| internal())?;
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        })
        .await
        .map_err(|_| internal())
    }

    /// Serves until the node stops.
    ///
    /// # Errors
    ///
    /// The transport's error.
    pub async fn serve(
        self,
        listener: tokio::net::TcpListener,
    ) -> Result<(), tonic::transport::Error> {
        let (health, health_service) = tonic_health::server::health_reporter();
        let mut joining = self.joining.clone();
        tokio::spawn(async move {
            if joining.borrow().is_some() {
                health.set_not_serving::<DidResolverServer<Self>>().await;
                health.set_not_serving::<LedgerServer<Self>>().await;
                health.set_not_serving::<StatusRegistryServer<Self>>().await;
                health.set_not_serving::<TrustRegistryServer<Self>>().await;
                health.set_not_serving::<PrivateStatusServer<Self>>().await;
            }
            // A node that stops while it joins never serves.
            if joining.wait_for(Option::is_none).await.is_ok() {
                health.set_serving::<DidResolverServer<Self>>().await;
                health.set_serving::<LedgerServer<Self>>().await;
                health.set_serving::<StatusRegistryServer<Self>>().await;
                health.set_serving::<TrustRegistryServer<Self>>().await;
                health.set_serving::<PrivateStatusServer<Self>>().await;
            }
        });
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(sillok_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1();
        let mut stop = self.stop.clone();
        let stopped = async move {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        let gate = self.gate();
        let resolver = DidResolverServer::new(self.clone())
            .max_decoding_message_size(REQUEST_BYTES_MAX)
            .max_encoding_message_size(ANSWER_BYTES_MAX);
        let status = StatusRegistryServer::new(self.clone())
            .max_decoding_message_size(REQUEST_BYTES_MAX)
            .max_encoding_message_size(ANSWER_BYTES_MAX);
        let trust = TrustRegistryServer::new(self.clone())
            .max_decoding_message_size(REQUEST_BYTES_MAX)
            .max_encoding_message_size(ANSWER_BYTES_MAX);
        let private = PrivateStatusServer::new(self.clone())
            .max_decoding_message_size(READ_REQUEST_BYTES_MAX)
            .max_encoding_message_size(ANSWER_BYTES_MAX);
        let ledger = LedgerServer::new(self)
            .max_decoding_message_size(REQUEST_BYTES_MAX)
            .max_encoding_message_size(ANSWER_BYTES_MAX);
        let mut server = tonic::transport::Server::builder()
            .concurrency_limit_per_connection(CONCURRENCY_PER_CONNECTION)
            .max_concurrent_streams(STREAMS_PER_CONNECTION)
            .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
            .http2_keepalive_timeout(Some(KEEPALIVE_WITHIN))
            .add_service(health_service)
            .add_service(InterceptedService::new(resolver, gate.clone()))
            .add_service(InterceptedService::new(status, gate.clone()))
            .add_service(InterceptedService::new(trust, gate.clone()))
            .add_service(InterceptedService::new(private, gate.clone()))
            .add_service(InterceptedService::new(ledger, gate));
        match reflection {
            Ok(reflection) => server = server.add_service(reflection),
            Err(error) => tracing::error!(err = %error, "reflection is off"),
        }
        let connections = Box::pin(connections::accept(listener, connections::GRPC));
        server.serve_with_incoming_shutdown(connections, stopped).await
    }
}

/// Binds the address of the API before anything else starts, so that a taken port is told at once.
///
/// # Errors
///
/// The system's error.
pub async fn bind(address: SocketAddr) -> std::io::Result<tokio::net::TcpListener> {
    tokio::net::TcpListener::bind(address).await
}
