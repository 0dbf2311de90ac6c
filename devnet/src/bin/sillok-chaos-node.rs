//! A node for tests: the very node, but its clock may be wrong, its execution may be faulty, and what it says may be what
//! no honest node says. Never run it where a network matters.
//!
//! Two files in its directory make it tell what an honest node keeps to itself: to `tap` it appends every message that it
//! sends to peers, as it is before it is encrypted, and every line of `leak` it writes to its log when it starts.

use bytes::Bytes;
use clap::{Args, Parser, Subcommand};
use sillok_consensus::testing::{Behavior, Mutant, Random, Traitor};
use sillok_consensus::{Ed25519Signer, decode_message};
use sillok_devnet::chaos::Fault;
use sillok_ledger::Chain;
use sillok_ledger::genesis::BLOCK_BYTES_MAX;
use sillok_node::clock::Clock;
use sillok_node::keys::SecretKey;
use sillok_node::ledger::ExecutionFault;
use sillok_node::node::{self, Layout};
use sillok_node::process::{self, EXIT_USAGE};
use sillok_node::testing::{Faults, Outgoing, Tap};
use sillok_proto::{Hash, encode, v1};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A node that is not to be trusted
#[derive(Debug, Parser)]
#[command(name = "sillok-chaos-node", version)]
struct Cli {
    /// A file with the number of milliseconds by which the clock is wrong; read again and again
    #[arg(long, value_name = "FILE")]
    clock: Option<PathBuf>,
    /// Do as a traitor does
    #[arg(long, value_name = "FAULT")]
    behave: Option<Fault>,
    /// Panic when this transaction is executed
    #[arg(long, value_name = "ID")]
    panic_on: Option<String>,
    /// Compute another state root when this transaction is executed
    #[arg(long, value_name = "ID")]
    other_root_on: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the node until it is told to stop
    Start(Start),
}

#[derive(Debug, Args)]
struct Start {
    /// The node's directory
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// A setting that wins over the file
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    settings: Vec<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let Command::Start(start) = &cli.command;
    let settings: Vec<(String, String)> = start
        .settings
        .iter()
        .filter_map(|setting| setting.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let faults = match faults(&cli, &start.dir) {
        Ok(faults) => faults,
        Err(error) => {
            sillok_devnet::console::note(format!("error: {error:#}"));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let clock = cli.clock.clone();
    process::start(&start.dir, &settings, |settings| {
        settings.faults = faults;
        if let Some(path) = clock {
            settings.clock = wrong_clock(path);
        }
        leak(&start.dir);
    })
}

/// How often the file of the clock is read.
const CLOCK_EVERY: Duration = Duration::from_millis(50);

/// The machine's clock, wrong by as much as the file says. No file, no error.
fn wrong_clock(path: PathBuf) -> Clock {
    let (machine, read) = (Clock::system(), Mutex::new((0_i64, None::<Instant>)));
    Clock::of(move || {
        let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.1.is_none_or(|at| at.elapsed() > CLOCK_EVERY) {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            *read = (text.trim().parse().unwrap_or(0), Some(Instant::now()));
        }
        machine.now_ms().saturating_add_signed(read.0)
    })
}

fn faults(cli: &Cli, directory: &Path) -> anyhow::Result<Faults> {
    let id = |text: &Option<String>| -> anyhow::Result<_> {
        text.iter()
            .map(|text| {
                let bytes = hex::decode(text)?;
                Hash::from_slice(&bytes).ok_or_else(|| anyhow::anyhow!("an id has 32 bytes"))
            })
            .collect()
    };
    let execution = ExecutionFault {
        panics_on: id(&cli.panic_on)?,
        other_root_on: id(&cli.other_root_on)?,
        other_root: [0xff; 32],
        ..ExecutionFault::default()
    };
    let outgoing = cli.behave.map(|fault| traitor(fault, directory)).transpose()?;
    // A traitor that is shown the second vote it signed knows of it; an honest node would never sign again.
    let forgets = cli.behave.map(|_| Mutant::SignWithoutRecord).into_iter().collect();
    Ok(Faults { execution, outgoing, forgets, tap: tap(directory)? })
}

/// Appends every message to the file `tap`, if there is one, with zeros between them so that none runs into the next.
fn tap(directory: &Path) -> anyhow::Result<Option<Tap>> {
    let path = directory.join("tap");
    if !path.is_file() {
        return Ok(None);
    }
    let file = Mutex::new(File::options().append(true).open(path)?);
    Ok(Some(Tap::new(move |message| {
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = file.write_all(message).and_then(|()| file.write_all(&[0; 16]));
        // A message that is not shown would be one that nobody looked at.
        written.expect("the tap can be written");
    })))
}

/// Logs every line of the file `leak`, if there is one: what must be found by whoever searches the log.
fn leak(directory: &Path) {
    let text = std::fs::read_to_string(directory.join("leak")).unwrap_or_default();
    for line in text.lines() {
        tracing::warn!(target: "sillok_node::leak", leaked = line);
    }
}

/// Garbage that a flooding traitor sends with each message, and how long a piece is.
const GARBAGE: usize = 40;
const GARBAGE_BYTES: usize = 300;

/// What a traitor sends in place of what its host would.
fn traitor(fault: Fault, directory: &Path) -> anyhow::Result<Outgoing> {
    let layout = Layout::new(directory);
    let chain: Chain = node::read_genesis(&layout.genesis())?;
    let own = SecretKey::read(&layout.validator().join("validator.key"))?;
    let signer = Ed25519Signer::new(&own.seed());
    let keys = chain.genesis().operators.iter();
    let victims = keys
        .filter_map(|operator| operator.validator_key.as_slice().try_into().ok())
        .filter(|key| *key != own.public())
        .collect();
    let behaviors = match fault {
        Fault::Equivocate => vec![Behavior::Equivocate],
        Fault::Withhold => vec![Behavior::Withhold],
        Fault::Forge => vec![Behavior::Forge],
        Fault::Flood => vec![Behavior::Flood, Behavior::Replay],
        other => anyhow::bail!("{other:?} is nothing that a node does"),
    };
    // As ordering does: operators may set longer blocks than the genesis.
    let block_bytes_max = usize::try_from(BLOCK_BYTES_MAX)?;
    let state =
        Mutex::new((Traitor::new(*chain.hash(), victims, behaviors), Random::new(rand::random())));
    Ok(Outgoing::new(move |bytes: Bytes| {
        let Ok(message) = decode_message(&bytes, block_bytes_max) else { return vec![bytes] };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let (traitor, random) = &mut *state;
        traitor.observe(&message);
        let mut sent = Vec::new();
        // As if to two peers; everybody hears both.
        for _ in 0..2 {
            let told = traitor.tell(&message, &signer, random, &mut |block, _| later(block));
            sent.extend(told.iter().map(|message| Bytes::from(encode(message))));
        }
        if fault == Fault::Flood {
            for _ in 0..GARBAGE {
                sent.push(Bytes::from(
                    (0..GARBAGE_BYTES).map(|_| rand::random()).collect::<Vec<u8>>(),
                ));
            }
        }
        sent.dedup();
        sent
    }))
}

/// The block a moment later: well formed, and of another hash.
fn later(block: &v1::Block) -> v1::Block {
    let mut other = block.clone();
    if let Some(header) = &mut other.header {
        header.time_ms += 1;
    }
    other
}
