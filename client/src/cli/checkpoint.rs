//! `sillok checkpoint`: what is trusted, shown and handed on.

use super::arguments::{CheckpointCommand, Global};
use super::failure::{EXIT_OK, Failure};
use super::output::Output;
use super::session;
use serde_json::json;
use sillok_client::trust::{CheckpointFile, Trust};
use sillok_client::verify::Network;
use sillok_did_method::format_datetime;
use sillok_ledger::light::TrustedHeader;
use std::fs;
use std::io::Write as _;
use std::path::Path;

pub(crate) async fn run(
    global: &Global,
    command: &CheckpointCommand,
    output: Output,
) -> Result<u8, Failure> {
    match command {
        CheckpointCommand::Show => {
            let trust = session::offline_trust(global)?;
            show(&trust, trust.trusted(), output);
        }
        CheckpointCommand::Save { file } => {
            let client = session::client(global).await?;
            // As new as the first node that answers can prove.
            let mut trusted = client.trusted();
            let mut last = None;
            for node in client.connection().nodes() {
                match client.follow(node).await {
                    Ok(newer) => {
                        trusted = newer;
                        last = None;
                        break;
                    }
                    Err(error) => last = Some(error),
                }
            }
            if let Some(error) = last {
                return Err(error.into());
            }
            let trust = session::offline_trust(global)?;
            let network = Network::from(trust.chain());
            write(file, &CheckpointFile::of(&trusted, true).with_network(&network))?;
            show(&trust, &trusted, output);
            output.note(format_args!(
                "written to {}; hand it on by a way that cannot be tampered with",
                file.display()
            ));
        }
    }
    Ok(EXIT_OK)
}

fn write(path: &Path, checkpoint: &CheckpointFile) -> Result<(), Failure> {
    let io = |error: std::io::Error| {
        Failure::failed(format!("{}: {error}; choose another name", path.display()))
    };
    let mut file = fs::File::create_new(path).map_err(io)?;
    file.write_all(checkpoint.to_json().as_bytes()).map_err(io)
}

fn show(trust: &Trust, trusted: &TrustedHeader, output: Output) {
    let until_ms = trusted.time_ms.saturating_add(trust.chain().parameters().trusting_period_ms);
    let kept = trust.directory().map(|path| path.display().to_string()).unwrap_or_default();
    output.facts(&[
        ("network", trust.chain().network().to_owned()),
        ("genesis", trusted.genesis_hash.to_string()),
        ("height", trusted.height.to_string()),
        ("header", trusted.header_hash.to_string()),
        ("time", format_datetime(trusted.time_ms)),
        ("validators", trusted.next_validators.validators.len().to_string()),
        ("trusted until", format_datetime(until_ms)),
        ("kept in", kept.clone()),
    ]);
    let file = serde_json::to_value(CheckpointFile::of(trusted, false)).unwrap_or_default();
    output.value(&json!({
        "network": trust.chain().network(),
        "checkpoint": file,
        "trustedUntil": format_datetime(until_ms),
        "keptIn": kept,
    }));
}
