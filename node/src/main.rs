//! `sillok-node`: makes, checks and runs a node. This file reads the command line; the library does the work.

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use sillok_node::config::Config;
use sillok_node::node::Layout;
use sillok_node::process::{self, EXIT_USAGE};
use sillok_node::{config, init};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// A file is in the way or cannot be written (`EX_CANTCREAT`).
const EXIT_CANNOT_CREATE: u8 = 73;

/// A node of the Sillok registry: a validator with a validator key, an observer without.
///
/// The first steps of a ministry:
///
///   sillok-node keys --out keys            makes the three keys; hand the public ones in for the genesis
///   sillok-node init --dir node --genesis genesis.json --keys keys --validator
///   sillok-node start --dir node
///
/// Exit codes: 0 stopped as asked; 64 wrong usage or configuration; 70 a person must act, the message says how;
/// 73 something is in the way; 75 start it again; 78 the directory is not as it should be.
#[derive(Parser)]
#[command(name = "sillok-node", version, verbatim_doc_comment)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes an operator's three keys: node, validator and governance
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Keys {
        #[command(subcommand)]
        command: Option<KeysCommand>,
        /// A new directory for the key files
        #[arg(long, value_name = "DIR", required = true)]
        out: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Makes a node's directory; overwrites nothing
    Init(InitArgs),
    /// Runs the node until it is told to stop (SIGINT or SIGTERM)
    Start(StartArgs),
    /// The configuration file
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Makes a new validator key with its signing record in a node's directory, for a re-key
    ///
    /// The key in use stays, and votes until the new one has joined; the running node then changes over by itself.
    Validator {
        /// The node's directory
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
struct InitArgs {
    /// The new directory
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The network's genesis.json
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// The directory that `sillok-node keys` made
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// Make a validator: its key moves into the new directory, together with its signing record
    #[arg(long)]
    validator: bool,
    /// The node is not in the genesis: the operators admit it later
    #[arg(long)]
    joins: bool,
    /// A setting that differs from the default, such as node.name=ministry; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
}

#[derive(Args)]
struct StartArgs {
    /// The node's directory
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// A setting that wins over the file and the environment; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Prints the configuration file with every setting at its default, commented
    Default,
    /// Checks the configuration of a directory and lists every mistake
    Check(StartArgs),
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("write it as SECTION.KEY=VALUE, such as api.grpc_listen=0.0.0.0:26601")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let result = match cli.command {
        Command::Keys { command: Some(KeysCommand::Validator { dir, json }), .. } => {
            validator_key(&dir, json)
        }
        Command::Keys { out, json, .. } => keys(&out.unwrap_or_default(), json),
        Command::Init(args) => make(&args),
        Command::Config(ConfigCommand::Default) => print(&config::default_toml()),
        Command::Config(ConfigCommand::Check(args)) => check(&args),
        Command::Start(args) => return process::start(&args.dir, &args.settings, |_| {}),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error, code_of(&error)),
    }
}

fn code_of(error: &anyhow::Error) -> u8 {
    if error.is::<config::ConfigError>() { EXIT_USAGE } else { EXIT_CANNOT_CREATE }
}

fn complain(error: &anyhow::Error, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
    ExitCode::from(code)
}

fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("the output was closed")
}

fn keys(out: &std::path::Path, json: bool) -> anyhow::Result<()> {
    let keys = init::generate_keys(out)?;
    let rows = [
        ("node_key", keys.node, "the node's identity to its peers; stays on the node"),
        (
            "validator_key",
            keys.validator,
            "votes; `init --validator` moves it into the node's directory",
        ),
        ("governance_key", keys.governance, "votes on members and rules; keep it off the node"),
    ];
    // Another spelling of the node key, the one that `network.peers` wants.
    let peer = sillok_node::network::NodeKey::from_bytes(&keys.node)
        .context("the new node key is not one")?;
    if json {
        let mut object: serde_json::Map<_, _> = rows
            .iter()
            .map(|(name, key, _)| ((*name).to_owned(), hex::encode(key).into()))
            .collect();
        object.insert("peer_id".to_owned(), peer.to_string().into());
        return print(&format!("{}\n", serde_json::Value::Object(object)));
    }
    let lines: String = rows
        .iter()
        .map(|(name, key, use_)| format!("{name:<15} {}  {use_}\n", hex::encode(key)))
        .collect();
    print(&format!(
        "Keys made in {}. For the genesis:\n{lines}\nFor the `network.peers` of the others: /ip4/ADDRESS/tcp/PORT/p2p/{peer}\n",
        out.display()
    ))
}

fn validator_key(dir: &std::path::Path, json: bool) -> anyhow::Result<()> {
    let (place, key) = init::make_validator_key(dir)?;
    let file = place.join("validator.key");
    if json {
        let value = serde_json::json!({ "validator_key": hex::encode(key), "file": file });
        return print(&format!("{value}\n"));
    }
    print(&format!(
        "Made {file} with its signing record.\nvalidator_key   {key}\nNext: sillok member rekey --validator-key {key}, signed by \
         the governance key; then sillok member join --key {file}\n",
        file = file.display(),
        key = hex::encode(key)
    ))
}

fn make(args: &InitArgs) -> anyhow::Result<()> {
    let settings: Vec<(&str, &str)> =
        args.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let hash = init::make_node(
        &args.dir,
        &args.genesis,
        &args.keys,
        args.validator,
        args.joins,
        &settings,
    )?;
    let dir = args.dir.display();
    print(&format!("Made {dir} for genesis {hash}.\nNext: sillok-node start --dir {dir}\n"))
}

fn check(args: &StartArgs) -> anyhow::Result<()> {
    let path = Layout::new(&args.dir).config();
    let config = Config::load(Some(&path), std::env::vars(), &args.settings)?;
    let layout = Layout { data: config.node.data_directory, ..Layout::new(&args.dir) };
    // A directory without keys or genesis is not a node's yet; its configuration may be checked all the same.
    for remark in init::remarks(&layout).unwrap_or_default() {
        writeln!(std::io::stderr(), "note: {remark}").context("standard error was closed")?;
    }
    print("The configuration is good.\n")
}
