//! The links between the nodes, each direction of which can be cut.
//!
//! Where root allows, every node gets a network namespace of its own on a bridge, and a cut sends the packets of one
//! direction to an address that nobody has: they vanish without an error, as on a broken line. Elsewhere every
//! connection runs through a relay in this process, and a cut lets one direction of it stall. Clients are never cut
//! off: what they are told is what is checked.

use super::shell;
use crate::directory::Devnet;
use anyhow::{Context as _, ensure};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What names of ours begin with; the number of our process follows.
pub(super) const PREFIX: &str = "sillok-chaos-";
/// Ports inside a namespace, which has all of them for itself.
const P2P_PORT: u16 = 26_600;
const GRPC_PORT: u16 = 26_610;
/// Where HTTP answers.
const HTTP_PORT: u16 = 26_620;
/// An Ethernet address that no machine has: locally administered, of nobody here.
const NOBODY: &str = "02:00:00:00:00:99";

/// The links of a network.
#[derive(Debug)]
pub(super) enum Links {
    /// A network namespace for each node.
    Namespaces(Namespaces),
    /// A relay for each pair of nodes.
    Relays(Relays),
}

impl Links {
    /// Makes the links and puts the new addresses of the nodes into `devnet`.
    pub(super) async fn make(devnet: &mut Devnet) -> anyhow::Result<Self> {
        match Namespaces::make(devnet) {
            Ok(made) => Ok(Self::Namespaces(made)),
            Err(error) => Ok(Self::Relays(Relays::make(devnet, format!("{error:#}")).await?)),
        }
    }

    /// Makes links that ask for no root.
    pub(super) async fn without_root(devnet: &Devnet) -> anyhow::Result<Self> {
        Ok(Self::Relays(Relays::make(devnet, "not to be used".to_owned()).await?))
    }

    /// Removes what was made on the machine.
    pub(super) fn clear_away(&self) {
        if let Self::Namespaces(made) = self {
            clear_away(made.owner);
        }
    }

    /// How cuts are made here, for people.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Namespaces(made) => format!("network namespaces on {}", made.network()),
            Self::Relays(made) => {
                format!("a relay in this process (no network namespaces: {})", made.why)
            }
        }
    }

    /// The settings of the node at `place` that its links ask for.
    pub(super) fn settings(&self, devnet: &Devnet, place: usize) -> Vec<(String, String)> {
        let peers: Vec<String> = (0..devnet.nodes.len())
            .filter(|peer| *peer != place)
            .filter_map(|peer| {
                let (host, port) = self.dialed(place, peer)?;
                let key = super::peer_id(&devnet.nodes.get(peer)?.node_key)?;
                Some(format!("/ip4/{host}/tcp/{port}/p2p/{key}"))
            })
            .collect();
        let mut settings = vec![("network.peers".to_owned(), peers.join(","))];
        if let Self::Namespaces(made) = self {
            let host = made.address(place);
            settings.push(("network.listen".to_owned(), format!("/ip4/{host}/tcp/{P2P_PORT}")));
            settings.push(("api.grpc_listen".to_owned(), format!("{host}:{GRPC_PORT}")));
            settings.push(("api.http_listen".to_owned(), format!("{host}:{HTTP_PORT}")));
        }
        settings
    }

    fn dialed(&self, from: usize, to: usize) -> Option<(Ipv4Addr, u16)> {
        match self {
            Self::Namespaces(made) => Some((made.address(to), P2P_PORT)),
            Self::Relays(made) => {
                Some((Ipv4Addr::LOCALHOST, *made.ports.get(from)?.get(to)?.as_ref()?))
            }
        }
    }

    /// The command that runs `program` where the node at `place` lives. The process keeps its number.
    pub(super) fn command(&self, place: usize, program: &std::path::Path) -> Command {
        match self {
            Self::Namespaces(made) => {
                // Not `ip netns exec`, which would give it mounts of its own: later ones must reach it.
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/run/netns/{}", made.name(place))).arg(program);
                command
            }
            Self::Relays(_) => Command::new(program),
        }
    }

    /// Cuts the direction from one node to another.
    pub(super) fn cut(&self, from: usize, to: usize) -> anyhow::Result<()> {
        match self {
            Self::Namespaces(made) => made.cut(from, to),
            Self::Relays(made) => made.set(from, to, false),
        }
    }

    /// Mends every direction.
    pub(super) fn mend(&self) -> anyhow::Result<()> {
        match self {
            Self::Namespaces(made) => made.mend(),
            Self::Relays(made) => {
                for from in 0..made.ports.len() {
                    for to in 0..made.ports.len() {
                        made.set(from, to, true)?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// One network namespace for each node, all on a bridge.
#[derive(Debug)]
pub(super) struct Namespaces {
    owner: u32,
    subnet: [u8; 3],
    nodes: usize,
    cuts: Mutex<BTreeSet<(usize, usize)>>,
}

impl Namespaces {
    fn make(devnet: &mut Devnet) -> anyhow::Result<Self> {
        // From the range for tests of networks (RFC 2544), one that is not in use here.
        let routes = shell::output("ip", &["-4", "route"])?;
        let subnet =
            std::iter::repeat_with(|| [198, 18 + rand::random_range(0..2), rand::random()])
                .take(64)
                .find(|[a, b, c]| !routes.contains(&format!("{a}.{b}.{c}.")))
                .context("no subnet is free")?;
        let made = Self {
            owner: std::process::id(),
            subnet,
            nodes: devnet.nodes.len(),
            cuts: Mutex::default(),
        };
        // Dropped half made, it clears away what there is.
        let [a, b, c] = subnet;
        let bridge = made.bridge();
        shell::run("ip", &["link", "add", &bridge, "type", "bridge"])?;
        shell::run("ip", &["addr", "add", &format!("{a}.{b}.{c}.1/24"), "dev", &bridge])?;
        shell::run("ip", &["link", "set", &bridge, "up"])?;
        for place in 0..made.nodes {
            let (name, outside) = (made.name(place), format!("{bridge}-{place}"));
            let address = format!("{}/24", made.address(place));
            shell::run("ip", &["netns", "add", &name])?;
            let inside = ["peer", "name", "eth0", "netns", &name];
            let pair = [&["link", "add", &outside, "type", "veth"][..], &inside].concat();
            shell::run("ip", &pair)?;
            shell::run("ip", &["link", "set", &outside, "master", &bridge, "up"])?;
            shell::run("ip", &["-n", &name, "addr", "add", &address, "dev", "eth0"])?;
            shell::run("ip", &["-n", &name, "link", "set", "eth0", "up"])?;
            shell::run("ip", &["-n", &name, "link", "set", "lo", "up"])?;
            shell::run("nsenter", &[&format!("--net=/run/netns/{name}"), "true"])?;
        }
        for (place, node) in devnet.nodes.iter_mut().enumerate() {
            node.grpc = format!("http://{}:{GRPC_PORT}", made.address(place));
            node.http = format!("http://{}:{HTTP_PORT}", made.address(place));
            node.p2p = format!("{}:{P2P_PORT}", made.address(place));
        }
        Ok(made)
    }

    fn network(&self) -> String {
        let [a, b, c] = self.subnet;
        format!("{a}.{b}.{c}.0/24")
    }

    fn bridge(&self) -> String {
        bridge_of(self.owner)
    }

    fn name(&self, place: usize) -> String {
        format!("{PREFIX}{}-{}", self.owner, place + 1)
    }

    fn address(&self, place: usize) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, u8::try_from(place + 11).unwrap_or(u8::MAX))
    }

    fn cut(&self, from: usize, to: usize) -> anyhow::Result<()> {
        let (name, address) = (self.name(from), self.address(to).to_string());
        let entry = ["neigh", "replace", &address, "lladdr", NOBODY, "dev", "eth0"];
        shell::run("ip", &[&["-n", &name], &entry[..], &["nud", "permanent"]].concat())?;
        self.cuts.lock().unwrap_or_else(PoisonError::into_inner).insert((from, to));
        Ok(())
    }

    fn mend(&self) -> anyhow::Result<()> {
        let cuts = std::mem::take(&mut *self.cuts.lock().unwrap_or_else(PoisonError::into_inner));
        for (from, to) in cuts {
            let (name, address) = (self.name(from), self.address(to).to_string());
            shell::run("ip", &["-n", &name, "neigh", "del", &address, "dev", "eth0"])?;
        }
        Ok(())
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        clear_away(self.owner);
    }
}

fn bridge_of(owner: u32) -> String {
    // Names of interfaces have at most 15 characters, and a dash and a number follow.
    format!("sc{owner:x}")
}

/// Removes the namespaces and the bridge of the process `owner`, whatever of them there is, and ends who lives in them.
pub(super) fn clear_away(owner: u32) {
    let mark = format!("{PREFIX}{owner}-");
    for name in namespaces().into_iter().filter(|name| name.starts_with(&mark)) {
        let living = shell::output("ip", &["netns", "pids", &name]).unwrap_or_default();
        for pid in living.split_whitespace() {
            let _gone = shell::run("kill", &["-9", pid]);
        }
        let _gone = shell::run("ip", &["netns", "del", &name]);
    }
    let _gone = shell::run("ip", &["link", "del", &bridge_of(owner)]);
}

/// The namespaces of this machine.
pub(super) fn namespaces() -> Vec<String> {
    let listed = shell::output("ip", &["netns", "list"]).unwrap_or_default();
    listed.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
}

/// A relay for each ordered pair of nodes: who dials, and who is dialed.
#[derive(Debug)]
pub(super) struct Relays {
    /// Where the node `from` dials the node `to`.
    ports: Vec<Vec<Option<u16>>>,
    /// Whether what `from` sends to `to` passes.
    gates: Arc<Vec<Vec<watch::Sender<bool>>>>,
    why: String,
    /// Aborted when dropped.
    _tasks: JoinSet<()>,
}

impl Relays {
    async fn make(devnet: &Devnet, why: String) -> anyhow::Result<Self> {
        let count = devnet.nodes.len();
        let row = || (0..count).map(|_| watch::Sender::new(true)).collect();
        let gates: Arc<Vec<Vec<watch::Sender<bool>>>> =
            Arc::new((0..count).map(|_| row()).collect());
        let mut tasks = JoinSet::new();
        let mut ports = vec![vec![None; count]; count];
        for (from, row) in ports.iter_mut().enumerate() {
            for (to, port) in row.iter_mut().enumerate().filter(|(to, _)| *to != from) {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
                *port = Some(listener.local_addr()?.port());
                let target = devnet.nodes[to].p2p.clone();
                let there = gates[from][to].subscribe();
                let back = gates[to][from].subscribe();
                tasks.spawn(async move {
                    let mut connections = JoinSet::new();
                    while let Ok((near, _)) = listener.accept().await {
                        connections.spawn(relay(near, target.clone(), there.clone(), back.clone()));
                    }
                });
            }
        }
        Ok(Self { ports, gates, why, _tasks: tasks })
    }

    fn set(&self, from: usize, to: usize, open: bool) -> anyhow::Result<()> {
        let gate = self.gates.get(from).and_then(|row| row.get(to));
        ensure!(gate.is_some(), "there is no link from {from} to {to}");
        gate.map(|gate| gate.send_replace(open));
        Ok(())
    }
}

async fn relay(
    near: TcpStream,
    target: String,
    there: watch::Receiver<bool>,
    back: watch::Receiver<bool>,
) {
    let Ok(far) = TcpStream::connect(target).await else { return };
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    // Either end that hangs up ends both directions.
    tokio::select! {
        () = pump(near_in, far_out, there) => {}
        () = pump(far_in, near_out, back) => {}
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut gate: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        if gate.wait_for(|open| *open).await.is_err()
            || to.write_all(&buffer[..read]).await.is_err()
        {
            return;
        }
    }
}
