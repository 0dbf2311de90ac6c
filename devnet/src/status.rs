//! What the nodes say of themselves, beside what the system says of their processes.

use crate::clock_ms;
use crate::console::{self, Style};
use crate::directory::{Devnet, NodeEntry};
use crate::process::ProcessState;
use serde::Serialize;
use sillok_proto::v1;
use sillok_proto::v1::ledger_client::LedgerClient;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// How long a node has for an answer about itself before it counts as silent.
const PATIENCE: Duration = Duration::from_secs(2);

/// One node, now.
#[derive(Debug, Clone, Serialize)]
pub struct NodeReport {
    /// Its number.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// `validator` or `observer`.
    pub role: &'static str,
    /// Whether its key is seated, proved; empty where nobody asked, and for observers.
    pub seat: String,
    /// What it says its validator key is good for; empty where it does not answer.
    pub signing: &'static str,
    /// The organization that operates it.
    pub organization: String,
    /// The process, if one runs.
    pub pid: Option<i32>,
    /// What the process is doing.
    pub process: ProcessState,
    /// Where gRPC answers.
    pub grpc: String,
    /// Where HTTP answers.
    pub http: String,
    /// Height of its tip, if it answers.
    pub height: Option<u64>,
    /// Round of the height it works on.
    pub round: Option<u32>,
    /// Peers it is connected to.
    pub peers: Option<usize>,
    /// Transactions waiting with it.
    pub mempool: Option<u32>,
    /// How long ago its tip was made, in milliseconds.
    pub age_ms: Option<u64>,
    /// Why it stopped voting; empty while it votes.
    pub halted: String,
    /// Hash of its tip, in hex.
    pub header_hash: String,
}

/// A connection to a node's gRPC.
///
/// # Errors
///
/// It does not answer in time.
pub async fn connect(url: &str) -> anyhow::Result<Channel> {
    Ok(Endpoint::from_shared(url.to_owned())?.connect_timeout(PATIENCE).connect().await?)
}

/// What the node behind `url` says of itself.
///
/// # Errors
///
/// It does not answer in time.
pub async fn ask(url: &str) -> anyhow::Result<v1::NodeStatus> {
    let asking = async {
        let mut client = LedgerClient::new(connect(url).await?);
        anyhow::Ok(client.get_status(v1::GetStatusRequest {}).await?.into_inner())
    };
    tokio::time::timeout(PATIENCE, asking).await?
}

const fn signing(signing: v1::Signing) -> &'static str {
    match signing {
        v1::Signing::Unspecified => "",
        v1::Signing::Observer => "-",
        v1::Signing::Waiting => "waiting",
        v1::Signing::Seated => "votes",
        v1::Signing::Stopped => "stopped",
        v1::Signing::Destroyed => "destroyed",
    }
}

async fn report(node: &NodeEntry) -> NodeReport {
    let process = node.process.map_or(ProcessState::Dead, |process| process.state());
    // A paused process accepts connections and never answers: nothing to wait for.
    let status = match process {
        ProcessState::Alive => ask(&node.grpc).await.ok(),
        ProcessState::Paused | ProcessState::Dead => None,
    };
    NodeReport {
        index: node.index,
        name: node.name.clone(),
        role: node.role.as_str(),
        seat: String::new(),
        signing: status.as_ref().map_or("", |status| signing(status.signing())),
        organization: node.organization.clone(),
        pid: node.process.filter(|_| process != ProcessState::Dead).map(|process| process.pid),
        process,
        grpc: node.grpc.clone(),
        http: node.http.clone(),
        height: status.as_ref().map(|status| status.height),
        round: status.as_ref().map(|status| status.round),
        peers: status.as_ref().map(|status| status.peers.len()),
        mempool: status.as_ref().map(|status| status.mempool_transactions),
        age_ms: status.as_ref().map(|status| clock_ms().saturating_sub(status.time_ms)),
        halted: status.as_ref().map(|status| status.halted.clone()).unwrap_or_default(),
        header_hash: status.map(|status| hex::encode(status.header_hash)).unwrap_or_default(),
    }
}

/// Asks all nodes at once.
pub async fn collect(devnet: &Devnet) -> Vec<NodeReport> {
    futures::future::join_all(devnet.nodes.iter().map(report)).await
}

/// Asks all nodes, and one of them for the proof of who is seated.
pub async fn collect_with_seats(devnet: &Devnet) -> Vec<NodeReport> {
    let mut reports = collect(devnet).await;
    // Without an answer the table is still worth printing.
    for (index, seat) in crate::members::standings(devnet).await.unwrap_or_default() {
        for report in reports.iter_mut().filter(|report| report.index == index) {
            report.seat.clone_from(&seat);
        }
    }
    reports
}

/// The highest tip among the nodes that answer.
pub async fn highest(devnet: &Devnet) -> Option<u64> {
    collect(devnet).await.into_iter().filter_map(|report| report.height).max()
}

fn shown<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// The table of `status` and of `up`.
pub fn print(reports: &[NodeReport], style: Style) {
    let mut table = console::table([
        "#", "name", "role", "seat", "signing", "operator", "pid", "process", "height", "round",
        "peers", "mempool", "age", "grpc", "http",
    ]);
    for report in reports {
        let process = match report.process {
            ProcessState::Alive if report.height.is_some() => style.good("alive"),
            ProcessState::Alive => style.bad("silent"),
            ProcessState::Paused => style.bad("paused"),
            ProcessState::Dead => style.bad("dead"),
        };
        let age = report.age_ms.map(|ms| format!("{}.{} s", ms / 1000, ms % 1000 / 100));
        table.add_row(vec![
            console::number(report.index),
            report.name.clone().into(),
            report.role.into(),
            report.seat.clone().into(),
            report.signing.into(),
            report.organization.clone().into(),
            console::number(shown(report.pid)),
            process.into(),
            console::number(shown(report.height)),
            console::number(shown(report.round)),
            console::number(shown(report.peers)),
            console::number(shown(report.mempool)),
            console::number(shown(age)),
            report.grpc.clone().into(),
            report.http.clone().into(),
        ]);
    }
    console::line(table);
    for report in reports.iter().filter(|report| !report.halted.is_empty()) {
        console::line(style.bad(format!("{} does not vote: {}", report.name, report.halted)));
    }
}
