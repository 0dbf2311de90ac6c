//! A process that is one node: its configuration, its log, its signals and its exit code.
//!
//! Here and not in `main.rs`, so that a program with another command line runs the very same node.

use crate::config::{Config, History, LogFormat};
use crate::mempool::Limits;
use crate::node::{self, Layout, Settings};
use crate::storage::Retention;
use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::sync::watch;

/// Usage or configuration is wrong (`EX_USAGE`).
pub const EXIT_USAGE: u8 = 64;
/// A supervisor may start the process again (`EX_TEMPFAIL`).
pub const EXIT_RESTART: u8 = 75;

/// How long tasks that do not end have after the node has stopped.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// Runs the node in `directory` until SIGINT, SIGTERM, or something ends it. `overrides` win over the file and the
/// environment; `adjust` has the last word.
pub fn start(
    directory: &Path,
    overrides: &[(String, String)],
    adjust: impl FnOnce(&mut Settings),
) -> ExitCode {
    let layout = Layout::new(directory);
    let config = match Config::load(Some(&layout.config()), std::env::vars(), overrides) {
        Ok(config) => config,
        Err(error) => return complain(&error, EXIT_USAGE),
    };
    log_to_stdout(&config);
    let mut settings = settings(&config, layout);
    adjust(&mut settings);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error, EXIT_RESTART),
    };
    let result = runtime.block_on(async {
        let (sender, stop) = watch::channel(false);
        tokio::spawn(async move {
            signalled().await;
            let _ = sender.send(true);
            // Kept until the process ends: a dropped sender would say nothing.
            std::future::pending::<()>().await;
        });
        node::run(settings, stop).await
    });
    runtime.shutdown_timeout(SHUTDOWN);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(event = "ended", err = %error, "the node stopped");
            complain(&error, error.exit_code())
        }
    }
}

fn complain(error: &impl Display, code: u8) -> ExitCode {
    // Nobody may be listening any more; the code says enough.
    let _ = writeln!(std::io::stderr(), "error: {error}");
    ExitCode::from(code)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn settings(config: &Config, layout: Layout) -> Settings {
    let consensus = &config.consensus;
    Settings {
        name: config.node.name.clone(),
        layout: Layout { data: config.node.data_directory.clone(), ..layout },
        listen: config.network.listen.clone(),
        peers: config.network.peers.clone(),
        api: config.api.grpc_listen,
        http: config.api.http_listen,
        timeouts: sillok_consensus::Timeouts {
            propose_ms: milliseconds(consensus.timeout_propose),
            propose_delta_ms: milliseconds(consensus.timeout_propose_delta),
            prevote_ms: milliseconds(consensus.timeout_prevote),
            prevote_delta_ms: milliseconds(consensus.timeout_prevote_delta),
            precommit_ms: milliseconds(consensus.timeout_precommit),
            precommit_delta_ms: milliseconds(consensus.timeout_precommit_delta),
            rebroadcast_ms: milliseconds(consensus.timeout_rebroadcast),
            ..sillok_consensus::Timeouts::default()
        },
        memory_bytes_max: config.storage.memory_bytes_max,
        retention: match config.storage.history {
            History::Archive => Retention::Archive,
            History::Blocks { retention_heights } => Retention::Blocks(retention_heights),
            History::Pruned { retention_heights } => Retention::Heights(retention_heights),
        },
        mempool: Limits {
            transactions_max: config.mempool.transactions_max,
            bytes_max: config.mempool.bytes_max,
            per_submitter_max: config.mempool.per_submitter_max,
        },
        snapshot: crate::join::Settings {
            behind_min: config.snapshot.behind_min,
            ..crate::join::Settings::default()
        },
        trust: config.snapshot.trust.clone(),
        clock: crate::clock::Clock::system(),
        #[cfg(feature = "testing")]
        faults: crate::testing::Faults::default(),
    }
}

/// SIGINT or SIGTERM.
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

fn log_to_stdout(config: &Config) {
    let filter = tracing_subscriber::EnvFilter::new(config.telemetry.filter());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        // A log that cannot be written (its disk is full, its reader is gone) must not take the node with it: the
        // complaint about it goes to standard error, and one that fails there too panics.
        .log_internal_errors(false);
    match config.telemetry.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
