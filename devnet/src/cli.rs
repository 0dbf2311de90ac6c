//! The command line of `sillok-devnet`: what can be asked for. What is done is in the modules it names.

use crate::chaos::{self, Chaos};
use crate::console::{self, Style};
use crate::directory::Devnet;
use crate::fixtures::{self, Fixtures};
use crate::kill_test::{self, KillTest};
use crate::liar::{Liar, Lie};
use crate::load::{self, Load};
use crate::network::{self, Size};
use crate::privacy::{self, Privacy};
use crate::race::{self, Race};
use crate::status_load::{self, StatusLoad};
use crate::{log, members, status, tour};
use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use sillok_client::keys::SecretKey;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Many Sillok nodes on this machine: start them, break them, watch them agree.
#[derive(Debug, Parser)]
#[command(name = "sillok-devnet", version, propagate_version = true)]
pub struct Cli {
    /// Where the network lives
    #[arg(long, global = true, env = "SILLOK_DEVNET_DIR", default_value = ".devnet")]
    pub dir: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a network if there is none, and start every node that does not run
    Up(Up),
    /// Stop every node
    Down {
        /// Also remove the network: keys, data, everything in its directory
        #[arg(long)]
        wipe: bool,
    },
    /// Show every node: process, height, round, peers
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the settings with which `sillok` talks to this network, for `eval`
    Env,
    /// Kill a node (SIGKILL): it gets no chance to tidy up
    Kill {
        /// Number or name
        node: String,
    },
    /// Freeze a node (SIGSTOP)
    Pause {
        /// Number or name
        node: String,
    },
    /// Let a frozen node go on
    Resume {
        /// Number or name
        node: String,
    },
    /// Stop a node if it runs, start it, and wait until it has caught up
    Restart {
        /// Number or name
        node: String,
    },
    /// Add a validator: a new organization, admitted by the others; its node syncs, joins and votes
    AddValidator,
    /// Remove a validator: the others decide, its votes stop counting, its node is stopped
    RemoveValidator {
        /// Number or name
        node: String,
    },
    /// Give a validator a new key, as its operator alone may once a day
    RekeyValidator {
        /// Number or name
        node: String,
    },
    /// Add an observer, admitted by the operators
    AddObserver,
    /// Show the end of a node's log
    Logs {
        /// Number or name
        node: String,
        /// Go on as it grows
        #[arg(long, short)]
        follow: bool,
        /// How many lines of the end
        #[arg(long, short = 'n', default_value_t = 40)]
        lines: usize,
    },
    /// Create many holder DIDs and check every one of them with its proof
    Load(Load),
    /// Send two phones for one enrollment to two validators at once, again and again: one becomes active
    Race(Race),
    /// Make a million entries of status lists valid and revoke many, on a network of its own, and check every bit
    StatusLoad(StatusLoad),
    /// Live the credentials of ten thousand people on a network of its own, and search for them everywhere
    Privacy(Privacy),
    /// The main job, step by step, with what was checked at each step
    Tour {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a DID of each sort and write down what the HTTP door answers, in the form of the W3C DID test suite
    Fixtures(Fixtures),
    /// Run a node that tells one lie, to see it caught
    Liar(LiarArgs),
    /// Kill validators at random moments under load and check that nothing is lost
    KillTest(KillTest),
    /// Run whole nodes in a simulated world: virtual time, faults and traitors from a seed
    Sim(crate::sim::SimArgs),
    /// Do one fault after another to a network of its own, under load, and check that nothing is lost
    Chaos(Chaos),
}

/// `up`.
#[derive(Debug, Args)]
pub struct Up {
    /// How many nodes vote [default: 4]
    #[arg(long, short = 'v')]
    pub validators: Option<usize>,
    /// How many nodes replicate only [default: 0]
    #[arg(long, short = 'o')]
    pub observers: Option<usize>,
    /// Return when the network is up, and leave it running
    #[arg(long, short)]
    pub detach: bool,
    /// The sillok-node program [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    pub node_binary: Option<PathBuf>,
    /// Stop and remove the network when standard input is closed: for tests, which may end in any way
    #[arg(long, hide = true, conflicts_with = "detach")]
    pub until_eof: bool,
}

/// `liar`.
#[derive(Debug, Args)]
pub struct LiarArgs {
    /// Explain every lie
    #[arg(long, conflicts_with_all = ["lie", "upstream"])]
    pub list: bool,
    /// Which lie to tell
    #[arg(long, required_unless_present = "list", value_name = "LIE")]
    pub lie: Option<Lie>,
    /// The honest node that it passes on [default: the network's first]
    #[arg(long, value_name = "URL")]
    pub upstream: Option<String>,
    /// The key of a validator that was stolen, for the lies that need a quorum of them; may be given more than once
    #[arg(long = "stolen-key", value_name = "FILE")]
    pub stolen_keys: Vec<PathBuf>,
    /// Where it answers
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    pub listen: SocketAddr,
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    ///
    /// It could not be done; the message says what to do.
    pub async fn run(self) -> anyhow::Result<()> {
        let style = Style::detect();
        let directory = self.dir;
        let open = || Devnet::read(&directory);
        let find = |which: &str| {
            let devnet = open()?;
            let node = devnet.node(which)?.clone();
            anyhow::Ok((devnet, node))
        };
        match self.command {
            Command::Up(up) => run_up(&directory, up, style).await,
            Command::Down { wipe } => {
                let mut devnet = open()?;
                run_down(&mut devnet, style)?;
                if wipe {
                    std::fs::remove_dir_all(&directory)
                        .with_context(|| format!("{} cannot be removed", directory.display()))?;
                    console::line(format!("removed {}", directory.display()));
                }
                Ok(())
            }
            Command::Status { json } => {
                let reports = status::collect_with_seats(&open()?).await;
                if json {
                    console::json(&reports)
                } else {
                    status::print(&reports, style);
                    Ok(())
                }
            }
            Command::Env => {
                let devnet = open()?;
                for (name, value) in environment(&devnet)? {
                    console::line(format!("export {name}={value:?}"));
                }
                Ok(())
            }
            Command::Kill { node } => {
                let (mut devnet, node) = find(&node)?;
                network::kill(&mut devnet, node.index)?;
                console::line(format!(
                    "killed {}; `restart {}` brings it back",
                    node.name, node.index
                ));
                Ok(())
            }
            Command::Pause { node } => {
                let (devnet, node) = find(&node)?;
                network::pause(&devnet, node.index)?;
                console::line(format!(
                    "paused {}; `resume {}` lets it go on",
                    node.name, node.index
                ));
                Ok(())
            }
            Command::Resume { node } => {
                let (devnet, node) = find(&node)?;
                network::resume(&devnet, node.index)?;
                console::line(format!("resumed {}", node.name));
                Ok(())
            }
            Command::Restart { node } => {
                let (mut devnet, node) = find(&node)?;
                let took = network::restart(&mut devnet, node.index).await?;
                let took = console::duration(took);
                console::line(format!(
                    "{} is back at the network's height after {took}",
                    node.name
                ));
                Ok(())
            }
            Command::AddValidator => {
                let seated = members::add_validator(&mut open()?).await?;
                console::line(format!(
                    "{} (number {}) votes since height {}",
                    seated.node, seated.index, seated.from_height
                ));
                Ok(())
            }
            Command::RemoveValidator { node } => {
                let (mut devnet, node) = find(&node)?;
                let decision = members::remove_validator(&mut devnet, node.index).await?;
                console::line(format!(
                    "{} was removed at height {}; its votes do not count from height {} on",
                    node.name,
                    decision.height,
                    decision.height + sillok_ledger::MEMBERSHIP_DELAY
                ));
                Ok(())
            }
            Command::RekeyValidator { node } => {
                let (mut devnet, node) = find(&node)?;
                let seated = members::rekey_validator(&mut devnet, node.index).await?;
                console::line(format!(
                    "{} votes with its new key since height {}",
                    seated.node, seated.from_height
                ));
                Ok(())
            }
            Command::AddObserver => {
                let node = members::add_observer(&mut open()?).await?;
                console::line(format!("{} (number {}) replicates", node.name, node.index));
                Ok(())
            }
            Command::Logs { node, follow, lines } => {
                let (_, node) = find(&node)?;
                tokio::task::spawn_blocking(move || {
                    log::read_lines(&node.log, lines, follow, |line| {
                        console::line(line);
                        true
                    })
                })
                .await?
            }
            Command::Load(load) => load::run(&open()?, &load).await,
            Command::Race(race) => race::run(&open()?, &race).await,
            Command::StatusLoad(load) => status_load::run(&load).await,
            Command::Privacy(privacy) => privacy::run(&privacy).await,
            Command::Tour { json } => tour::run(&mut open()?, json).await,
            Command::Fixtures(arguments) => fixtures::run(&open()?, &arguments).await,
            Command::Liar(liar) => run_liar(&directory, liar, style).await,
            Command::KillTest(test) => kill_test::run(&mut open()?, &test).await,
            Command::Sim(args) => {
                tokio::task::spawn_blocking(move || crate::sim::command(&args)).await?
            }
            Command::Chaos(chaos) => chaos::run(&chaos).await,
        }
    }
}

/// What `sillok` reads from its environment to talk to this network as its registering authority.
///
/// # Errors
///
/// The network has no registrar or no node.
pub fn environment(devnet: &Devnet) -> anyhow::Result<Vec<(&'static str, String)>> {
    let registrar = devnet.organization(crate::directory::OrganizationRole::Registrar)?;
    let node = devnet.nodes.first().context("the devnet has no node")?;
    Ok(vec![
        ("SILLOK_GENESIS", devnet.genesis.display().to_string()),
        ("SILLOK_NODE", node.grpc.clone()),
        // For curl and other clients that are not ours.
        ("SILLOK_HTTP", node.http.clone()),
        ("SILLOK_SUBMITTER", registrar.key.display().to_string()),
        // Who acts in commands on rights, types and status.
        ("SILLOK_IDENTITY", registrar.key.display().to_string()),
    ])
}

async fn run_up(directory: &std::path::Path, up: Up, style: Style) -> anyhow::Result<()> {
    let binary = network::find_node_binary(up.node_binary)?;
    let size = Size { validators: up.validators, observers: up.observers };
    let began = std::time::Instant::now();
    let mut devnet = network::up(directory, &size, binary).await?;
    status::print(&status::collect(&devnet).await, style);
    console::line(format!(
        "network {} is up after {}; its index is {}",
        style.bold(&devnet.network),
        console::duration(began.elapsed()),
        devnet.directory.join(crate::directory::INDEX_FILE).display()
    ));
    if up.detach {
        console::line("next: `sillok-devnet tour`, `sillok-devnet status`, `sillok-devnet down`");
        return Ok(());
    }
    if up.until_eof {
        tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()))
            .await??;
        devnet = Devnet::read(&devnet.directory)?;
        run_down(&mut devnet, style)?;
        return Ok(std::fs::remove_dir_all(&devnet.directory)?);
    }
    console::line("Ctrl-C stops it");
    tokio::signal::ctrl_c().await?;
    // Others may have stopped or started nodes meanwhile.
    devnet = Devnet::read(&devnet.directory)?;
    run_down(&mut devnet, style)
}

fn run_down(devnet: &mut Devnet, style: Style) -> anyhow::Result<()> {
    let killed = network::down(devnet)?;
    for name in &killed {
        console::line(style.bad(format!("{name} did not stop by itself and was killed")));
    }
    console::line(format!("stopped; the data is kept in {}", devnet.directory.display()));
    Ok(())
}

async fn run_liar(directory: &std::path::Path, args: LiarArgs, style: Style) -> anyhow::Result<()> {
    let Some(lie) = args.lie else {
        for lie in Lie::ALL {
            console::line(format!("{}\n    {}", style.bold(lie), lie.explain()));
        }
        return Ok(());
    };
    let upstream = match args.upstream {
        Some(url) => url,
        None => {
            Devnet::read(directory)?.nodes.first().context("the devnet has no node")?.grpc.clone()
        }
    };
    let stolen = args
        .stolen_keys
        .iter()
        .map(|file| SecretKey::read_file(file))
        .collect::<Result<Vec<_>, _>>()?;
    let liar = Liar::start_with(lie, &upstream, args.listen, &stolen).await?;
    console::line(format!("{} lies: {lie}", liar.url));
    console::line(format!("    {}", lie.explain()));
    console::line(format!("try: sillok did resolve DID --node {}", liar.url));
    tokio::select! {
        ended = liar.run() => ended,
        stop = tokio::signal::ctrl_c() => Ok(stop?),
    }
}
