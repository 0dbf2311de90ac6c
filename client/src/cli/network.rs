//! `sillok network status` and `sillok tx status`.

use super::arguments::Global;
use super::failure::{
    EXIT_FAILED, EXIT_NOT_FOUND, EXIT_OK, EXIT_OPEN, EXIT_UNREACHABLE, EXIT_UNVERIFIED, Failure,
};
use super::output::{Output, age};
use super::session;
use serde_json::{Value, json};
use sillok_client::connection::{Connection, Node, call_one};
use sillok_client::read::{Client, ReadError, TransactionState};
use sillok_client::trust::Trust;
use sillok_did_method::format_datetime;
use sillok_proto::{Hash, v1};
use std::time::Duration;

pub(crate) async fn transaction(
    global: &Global,
    id: &Hash,
    wait: Duration,
    output: Output,
) -> Result<u8, Failure> {
    let client = session::client(global).await?;
    let state = client.transaction(id, wait).await?;
    let (name, exit, more) = match &state {
        TransactionState::Committed(committed) => {
            let header = &committed.receipt.header;
            let more = json!({
                "height": header.height().to_string(),
                "index": committed.receipt.index,
                "time": format_datetime(header.time_ms()),
                "headerHash": header.hash().to_string(),
            });
            ("COMMITTED", EXIT_OK, more)
        }
        TransactionState::Pending => ("PENDING", EXIT_OPEN, Value::Null),
        TransactionState::Rejected { problem } => {
            let more = json!({ "code": problem.code, "message": problem.message, "fields": problem.fields });
            ("REJECTED", EXIT_FAILED, more)
        }
        TransactionState::Expired { valid_until_ms } => {
            ("EXPIRED", EXIT_FAILED, json!({ "validUntil": format_datetime(*valid_until_ms) }))
        }
        TransactionState::Unknown => ("UNKNOWN", EXIT_NOT_FOUND, Value::Null),
    };
    let proved = exit == EXIT_OK;
    output.value(&json!({
        "transactionId": id.to_string(),
        "state": name,
        "proved": proved,
        "details": more,
    }));
    let painted = if proved { output.good(name) } else { output.warning(name) };
    output.line(format_args!("{painted}  transaction {id}"));
    if let Value::Object(details) = &more {
        let facts: Vec<(&str, String)> = details
            .iter()
            .map(|(name, value)| {
                (name.as_str(), value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            })
            .collect();
        output.facts(&facts);
    }
    output.line(if proved {
        "the receipt is verified"
    } else {
        "this is one node's word; only a receipt is proof"
    });
    Ok(exit)
}

/// What one node says of itself, and the height it proves.
struct Report {
    address: String,
    status: Result<v1::NodeStatus, String>,
    proved: Result<u64, ReadError>,
}

pub(crate) async fn status(global: &Global, output: Output) -> Result<u8, Failure> {
    let connection = session::connection(global)?;
    let trust = session::trust(global, &connection).await?;
    let mut reports = Vec::new();
    for node in connection.nodes() {
        reports.push(report(global, node, &trust).await?);
    }
    let now_ms = session::options(global).clock.now_ms();
    let genesis_hash = *trust.chain().hash();
    let mut rows = Vec::new();
    let mut values = Vec::new();
    for report in &reports {
        rows.push(row(report, &genesis_hash, now_ms, output));
        values.push(value(report, now_ms));
    }
    output.value(&json!({ "network": trust.chain().network(), "genesisHash": genesis_hash.to_string(), "nodes": values }));
    output.line(format_args!("network {}, genesis {genesis_hash}\n", trust.chain().network()));
    output.table(
        ["node", "name", "role", "height", "proved", "age", "round", "peers", "mempool", "state"],
        rows,
    );
    let lies = reports.iter().any(|report| {
        matches!(&report.proved, Err(error) if !matches!(error, ReadError::Call(_) | ReadError::Trust(_)))
    });
    let answered = reports.iter().any(|report| report.status.is_ok());
    Ok(if lies {
        EXIT_UNVERIFIED
    } else if answered {
        EXIT_OK
    } else {
        EXIT_UNREACHABLE
    })
}

async fn report(global: &Global, node: &Node, trust: &Trust) -> Result<Report, Failure> {
    let address = node.address().to_owned();
    let mut ledger = node.ledger();
    let asked = ledger.get_status(v1::GetStatusRequest {});
    let status = call_one(node, Duration::ZERO, asked).await.map_err(|error| error.to_string());
    // Each from the same start, so that a node that is behind another is not taken for one that goes back.
    let one = Connection::new(&[&address])?;
    let client = Client::new(one, trust.detached(), session::options(global));
    let proved = client.follow(node).await.map(|trusted| trusted.height);
    Ok(Report { address, status, proved })
}

fn row(report: &Report, genesis_hash: &Hash, now_ms: u64, output: Output) -> [String; 10] {
    let address = report.address.clone();
    let dash = || "-".to_owned();
    let status = match &report.status {
        Ok(status) => status,
        Err(_) => {
            let [a, b, c, d, e, f, g] = std::array::from_fn(|_| dash());
            return [address, a, b, c, d, e, f, g, dash(), output.bad("unreachable")];
        }
    };
    let state = if status.genesis_hash != genesis_hash.0 {
        output.bad("another network")
    } else if !status.halted.is_empty() {
        // A node's words, without what a terminal would obey.
        let reason: String = status.halted.chars().filter(|c| !c.is_control()).take(120).collect();
        output.bad(&format!("halted: {reason}"))
    } else if status.syncing {
        output.warning("syncing")
    } else {
        output.good("ok")
    };
    let proved = match &report.proved {
        Ok(height) => output.good(&height.to_string()),
        Err(ReadError::Call(_)) => dash(),
        Err(error) => output.bad(&error.to_string()),
    };
    let name: String = status.name.chars().filter(|c| !c.is_control()).take(40).collect();
    [
        address,
        name,
        if status.validator_key.is_empty() { "observer" } else { "validator" }.to_owned(),
        status.height.to_string(),
        proved,
        age(now_ms.saturating_sub(status.time_ms)),
        status.round.to_string(),
        status.peers.len().to_string(),
        status.mempool_transactions.to_string(),
        state,
    ]
}

fn value(report: &Report, now_ms: u64) -> Value {
    let proved = match &report.proved {
        Ok(height) => json!({ "height": height.to_string() }),
        Err(error) => json!({ "error": error.to_string() }),
    };
    let status = match &report.status {
        Err(error) => json!({ "error": error }),
        Ok(status) => json!({
            "version": status.version,
            "network": status.network,
            "genesisHash": hex::encode(&status.genesis_hash),
            "name": status.name,
            "height": status.height.to_string(),
            "headerHash": hex::encode(&status.header_hash),
            "stateRoot": hex::encode(&status.state_root),
            "time": format_datetime(status.time_ms),
            "ageMs": now_ms.saturating_sub(status.time_ms),
            "validator": !status.validator_key.is_empty(),
            "validating": status.validating,
            "round": status.round,
            "validators": status.validators,
            "peers": status.peers.len(),
            "mempoolTransactions": status.mempool_transactions,
            "mempoolBytes": status.mempool_bytes.to_string(),
            "syncing": status.syncing,
            "halted": status.halted,
        }),
    };
    json!({ "node": report.address, "status": status, "proved": proved })
}
