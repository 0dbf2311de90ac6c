//! Ten thousand people and the whole lives of their credentials, and then a search for them: in every node's database, in
//! everything on its disk, in its log, in what it tells of itself, and in all it said to its peers.
//!
//! Nothing of a person may be found anywhere, in no usual form and in no hash without a salt. A search that finds nothing
//! shows nothing, so what must be found is planted in each place before: if the same search misses one of these
//! canaries, the run fails.
//!
//! ```text
//!   people    attributes from a seed
//!   life      what happens to their credentials, through the client and the doors of nodes
//!   needles   every form of every attribute, and looking for all of them at once
//!   places    where is looked, and what else must hold there: C4, B15, A24
//! ```

mod life;
pub mod needles;
mod people;
mod places;

use crate::chaos::interrupted;
use crate::console::{self, Style};
use crate::directory::{Devnet, INDEX_FILE};
use crate::network::{self, Size};
use crate::own::OwnNetwork;
use crate::scene::Scene;
use crate::setup::{self, Plan};
use crate::status_load::{load_average, progress_bar};
use anyhow::{Context as _, bail, ensure};
use clap::Args;
use life::World;
use needles::{NEEDLE_BYTES_MAX, NEEDLE_BYTES_MIN, Needles, forms};
use serde::Serialize;
use sillok_consensus::testing::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// The test-only node beside this program: it can be tapped.
const CHAOS_NODE: &str = "sillok-chaos-node";

/// `privacy`.
#[derive(Debug, Clone, Args)]
pub struct Privacy {
    /// How many people
    #[arg(long, default_value_t = 10_000)]
    pub people: usize,
    /// Who they are, and which entries are drawn
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Reads of chunks and of DIDs that must leave no trace
    #[arg(long, default_value_t = 10_000)]
    pub reads: usize,
    /// Keep the network's directory
    #[arg(long)]
    pub keep: bool,
    /// The sillok-node program, with sillok-chaos-node beside it [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    pub node_binary: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A place that was searched.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Place {
    /// Pieces: keys and values, files, answers.
    pub pieces: u64,
    /// Bytes searched.
    pub bytes: u64,
    /// Forms of canaries that were planted there.
    pub planted: usize,
    /// Of these, how many were found.
    pub canaries_found: usize,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct PrivacyReport {
    /// People.
    pub people: usize,
    /// The seed.
    pub seed: u64,
    /// Transactions that changed a credential.
    pub transactions: usize,
    /// Operations in them.
    pub operations: usize,
    /// Entries that were used.
    pub entries: usize,
    /// Height in the end.
    pub height: u64,
    /// Different attributes looked for.
    pub attributes: usize,
    /// Forms looked for.
    pub needles: usize,
    /// Where was looked.
    pub places: BTreeMap<&'static str, Place>,
    /// Attributes that were found: kind of the attribute, form, place. No value.
    pub found: Vec<String>,
    /// DIDs, lists and handles in logs and metrics.
    pub named: Vec<String>,
    /// Ways to ask about one credential or one person that were tried (C4).
    pub queries_refused: usize,
    /// Refreshes for an address change, and others (B15).
    pub refreshes: (usize, usize),
    /// Bytes of the public form of each, smallest and largest; and the one length of their private parts.
    pub refresh_bytes: [(usize, usize); 2],
    /// Reads that left no trace (A24).
    pub reads: usize,
    /// Seconds of the lives, and of the search.
    pub seconds: (f64, f64),
    /// Load of the machine before, and in the end.
    pub load_average: (String, String),
}

/// Whose form it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Person,
    /// Planted.
    Canary,
    /// May be on the ledger, and in no log and no metric (PROTOCOL II.6).
    Silent,
}

/// What a needle is a form of.
struct Label {
    owner: Owner,
    what: &'static str,
    form: &'static str,
}

/// What is looked for.
struct Wanted {
    needles: Needles,
    labels: Vec<Label>,
    attributes: usize,
}

/// The canary: an attribute of nobody, in every form.
const CANARY: &str = "010-0000-9753";

fn wanted(world: &World) -> anyhow::Result<Wanted> {
    let (mut needles, mut labels) = (Needles::default(), Vec::new());
    let mut add = |owner, what, form, bytes: &[u8]| -> anyhow::Result<bool> {
        let label = u32::try_from(labels.len())?;
        labels.push(Label { owner, what, form });
        Ok(needles.add(label, bytes))
    };
    let mut seen = BTreeSet::new();
    for one in &world.people {
        for (what, text) in &one.attributes.texts {
            if seen.insert(text.clone()) {
                for (form, bytes) in forms(text) {
                    let looked_for = add(Owner::Person, *what, form, &bytes)?;
                    ensure!(looked_for, "a {what} in {form} is too short to be looked for");
                }
            }
        }
        let did = one.holder.did.to_string();
        add(Owner::Silent, "did", "text", did.as_bytes())?;
        for (what, bytes) in
            [("did", one.holder.did.digest().to_vec()), ("handle", one.handle.digest().to_vec())]
        {
            for (form, bytes) in silent_forms(&bytes) {
                add(Owner::Silent, what, form, &bytes)?;
            }
        }
    }
    let scene = &world.issuing.scene;
    for organization in [&scene.registrar, &scene.rival, &scene.countersigner, &scene.operator] {
        add(Owner::Silent, "did", "text", organization.did.to_string().as_bytes())?;
        for (form, bytes) in silent_forms(&organization.did.digest().0) {
            add(Owner::Silent, "did", form, &bytes)?;
        }
    }
    for list in &world.issuing.lists {
        for (form, bytes) in silent_forms(&list.0) {
            add(Owner::Silent, "list", form, &bytes)?;
        }
    }
    for (form, bytes) in forms(CANARY) {
        let looked_for = add(Owner::Canary, "canary", form, &bytes)?;
        ensure!(looked_for, "the canary in {form} is too short to be looked for");
    }
    Ok(Wanted { needles: needles.finish(), labels, attributes: seen.len() })
}

/// How bytes could stand in a log: as hex, as Rust prints them, as base64.
fn silent_forms(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    needles::encodings(
        bytes,
        ["bytes", "hex", "HEX", "decimal", "base64", "base64 +1", "base64 +2"],
    )
}

/// What was found in one place.
#[derive(Debug, Default)]
struct Found {
    pieces: u64,
    bytes: u64,
    people: BTreeSet<(&'static str, &'static str)>,
    silent: BTreeSet<(&'static str, &'static str)>,
    canaries: BTreeSet<&'static str>,
}

impl Found {
    fn look(&mut self, wanted: &Wanted, bytes: &[u8]) {
        self.pieces += 1;
        self.bytes += bytes.len() as u64;
        wanted.needles.search(bytes, |label, _| {
            let Some(label) = wanted.labels.get(label as usize) else { return };
            match label.owner {
                Owner::Person => self.people.insert((label.what, label.form)),
                Owner::Silent => self.silent.insert((label.what, label.form)),
                Owner::Canary => self.canaries.insert(label.form),
            };
        });
    }

    fn add(&mut self, other: Self) {
        self.pieces += other.pieces;
        self.bytes += other.bytes;
        self.people.extend(other.people);
        self.silent.extend(other.silent);
        self.canaries.extend(other.canaries);
    }
}

/// A network whose nodes show what they send, log all they can, and leak canaries.
async fn site(privacy: &Privacy, canaries: &Canaries) -> anyhow::Result<OwnNetwork> {
    let honest = network::find_node_binary(privacy.node_binary.clone())?;
    let binary = honest.with_file_name(CHAOS_NODE);
    ensure!(binary.is_file(), "{CHAOS_NODE} is not built; build it with `cargo build`");
    let directory = std::env::temp_dir().join(format!(
        "sillok-privacy-{}-{:x}",
        std::process::id(),
        rand::random::<u32>()
    ));
    let devnet =
        setup::make(&Plan { directory, validators: 4, observers: 0, node_binary: binary.clone() })?;
    // From here on it is removed, however this ends.
    let mut own = OwnNetwork { devnet, keep: privacy.keep };
    let leaked: Vec<String> = canaries.text.iter().map(|(_, text)| text.clone()).collect();
    for (place, node) in own.devnet.nodes.iter().enumerate() {
        let name = canaries.names[place % canaries.names.len()].1.as_str();
        let settings = [("telemetry.log_level", "trace"), ("node.name", name)];
        fs::write(&node.config, setup::node_config_with(node, &own.devnet.nodes, &settings)?)?;
        fs::write(node.directory.join(places::TAP), "")?;
        fs::write(node.directory.join(places::LEAK), leaked.join("\n"))?;
    }
    let directory = own.devnet.directory.clone();
    ensure!(directory.join(INDEX_FILE).is_file(), "the network has no index");
    own.devnet = network::up(&directory, &Size::default(), binary).await?;
    Ok(own)
}

/// The forms of the canary, by the places where they can be planted.
struct Canaries {
    /// Every form, cut to what is looked for and filled up to the length of a salt.
    salts: Vec<(&'static str, [u8; 32])>,
    /// Forms that are text.
    text: Vec<(&'static str, String)>,
    /// Forms that are the name of a node.
    names: Vec<(&'static str, String)>,
}

impl Canaries {
    fn new() -> Self {
        let mut canaries = Self { salts: Vec::new(), text: Vec::new(), names: Vec::new() };
        for (form, bytes) in forms(CANARY) {
            let cut = &bytes[..bytes.len().min(NEEDLE_BYTES_MAX)];
            let mut salt: [u8; 32] = rand::random();
            // Not always at the beginning.
            let from = (salt.len() - cut.len()) / 2;
            salt[from..from + cut.len()].copy_from_slice(cut);
            canaries.salts.push((form, salt));
            // Bytes that happen to be text are no form of a log.
            let is_text = bytes.iter().all(u8::is_ascii_graphic) || form.ends_with("decimal");
            if let Ok(text) = String::from_utf8(bytes)
                && is_text
            {
                let fits = (NEEDLE_BYTES_MIN..=63).contains(&text.len());
                if fits && (form == "utf-8" || form == "hex") {
                    canaries.names.push((form, text.clone()));
                } else if form.ends_with(" hex") && text.len() >= 63 {
                    // A name has 63 characters; the first 32 are looked for.
                    canaries.names.push((form, text[..63].to_owned()));
                }
                canaries.text.push((form, text));
            }
        }
        // A node for each: plain, hex, and two hashes.
        canaries.names.truncate(4);
        canaries
    }
}

/// Runs it on a network of its own.
///
/// # Errors
///
/// A change was refused, a query about one credential was answered, a refresh could be told from another, or reads left a
/// trace. What is found of people is in the report.
pub async fn measure(privacy: &Privacy) -> anyhow::Result<PrivacyReport> {
    ensure!(
        (4 * life::REFRESHED..=250_000).contains(&privacy.people),
        "{} to 250,000 people, not {}",
        4 * life::REFRESHED,
        privacy.people
    );
    let before = load_average();
    let canaries = Canaries::new();
    let mut own = site(privacy, &canaries).await?;
    let mut report = watched(privacy, &mut own, &canaries).await?;
    report.load_average = (before, load_average());
    Ok(report)
}

async fn watched(
    privacy: &Privacy,
    own: &mut OwnNetwork,
    canaries: &Canaries,
) -> anyhow::Result<PrivacyReport> {
    let began = Instant::now();
    let scene = Scene::of(&own.devnet)?;
    let mut world = World::begin(scene, privacy.people, privacy.seed).await?;
    let bar = progress_bar(0, "", "transactions", privacy.json)?;
    bar.set_length(places::transactions_about(privacy.people));
    world.live(&bar).await.context("a life")?;
    let salts: Vec<[u8; 32]> = canaries.salts.iter().map(|(_, salt)| *salt).collect();
    world.plant(&salts, &bar).await.context("the canaries")?;
    bar.finish();
    let height = crate::status::highest(&own.devnet).await.context("no node answers")?;
    network::wait_until_up(&own.devnet, height, network::UP_PATIENCE).await?;
    let lived = began.elapsed().as_secs_f64();

    let queries_refused = places::no_query_about_one(&own.devnet, &world).await?;
    let refreshed = places::refreshes_look_alike(&own.devnet, &world).await?;
    let mut random = Random::new(privacy.seed);
    let told_before = places::tell(&own.devnet).await?;
    let read = places::reads_leave_no_trace(&mut own.devnet, &world, privacy.reads, &mut random)
        .await
        .context("A24, reads leave no trace")?;
    let told: Vec<(&'static str, Vec<u8>)> = told_before.into_iter().chain(read.told).collect();
    let killed = network::down(&mut own.devnet)?;
    ensure!(killed.is_empty(), "{} did not stop by themselves", killed.join(", "));

    let began = Instant::now();
    let wanted = Arc::new(wanted(&world)?);
    if !privacy.json {
        console::note(format!(
            "searching for {} forms of {} attributes",
            console::count(wanted.needles.len() as u64),
            console::count(wanted.attributes as u64)
        ));
    }
    // What phones hold is full of them: the search must see that.
    let mut phones = Found::default();
    for one in &world.people {
        phones.look(&wanted, one.credential.as_bytes());
    }
    let kinds: BTreeSet<&str> = phones.people.iter().map(|(kind, _)| *kind).collect();
    ensure!(kinds.len() >= 7, "of what stands in credentials the search finds {kinds:?} alone");
    let found = search(&own.devnet, &wanted, told).await?;
    let mut report = PrivacyReport {
        people: privacy.people,
        seed: privacy.seed,
        transactions: world.transactions,
        operations: world.operations,
        entries: world.entries,
        height,
        attributes: wanted.attributes,
        needles: wanted.needles.len(),
        places: BTreeMap::new(),
        found: Vec::new(),
        named: Vec::new(),
        queries_refused,
        refreshes: refreshed.counts,
        refresh_bytes: [refreshed.public_bytes, refreshed.private_bytes],
        reads: read.reads,
        seconds: (lived, began.elapsed().as_secs_f64()),
        load_average: (String::new(), String::new()),
    };
    for (place, found) in found {
        let planted: BTreeSet<&'static str> = match place {
            places::DATABASE | places::GOSSIP => {
                canaries.salts.iter().map(|(form, _)| *form).collect()
            }
            places::LOG => canaries.text.iter().map(|(form, _)| *form).collect(),
            places::METRIC => canaries.names.iter().map(|(form, _)| *form).collect(),
            _ => BTreeSet::new(),
        };
        for (what, form) in &found.people {
            report.found.push(format!("{what} as {form} in {place}"));
        }
        if matches!(place, places::LOG | places::METRIC) {
            for (what, form) in &found.silent {
                report.named.push(format!("{what} as {form} in {place}"));
            }
        }
        report.places.insert(
            place,
            Place {
                pieces: found.pieces,
                bytes: found.bytes,
                planted: planted.len(),
                canaries_found: planted.intersection(&found.canaries).count(),
            },
        );
    }
    Ok(report)
}

/// Searches everything, on as many threads as there are nodes.
async fn search(
    devnet: &Devnet,
    wanted: &Arc<Wanted>,
    told: Vec<(&'static str, Vec<u8>)>,
) -> anyhow::Result<BTreeMap<&'static str, Found>> {
    let mut all: BTreeMap<&'static str, Found> = BTreeMap::new();
    for (place, piece) in told {
        all.entry(place).or_default().look(wanted, &piece);
    }
    let mut searches = Vec::new();
    for node in devnet.nodes.clone() {
        let wanted = wanted.clone();
        searches.push(tokio::task::spawn_blocking(move || places::search_node(&node, &wanted)));
    }
    for one in searches {
        for (place, found) in one.await?? {
            all.entry(place).or_default().add(found);
        }
    }
    Ok(all)
}

impl PrivacyReport {
    /// What does not hold, in words.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for what in self.found.iter().chain(&self.named) {
            broken.push(format!("found: {what}"));
        }
        for place in [places::DATABASE, places::LOG, places::METRIC, places::GOSSIP] {
            match self.places.get(place) {
                Some(one) if one.planted > 0 && one.canaries_found == one.planted => {}
                Some(one) => broken.push(format!(
                    "of {} canaries planted in {place} {} were found: the search says nothing",
                    one.planted, one.canaries_found
                )),
                None => broken.push(format!("{place} was not searched")),
            }
        }
        broken
    }
}

/// The command.
///
/// # Errors
///
/// Something of a person was found, or a canary was not.
pub async fn run(privacy: &Privacy) -> anyhow::Result<()> {
    let report = tokio::select! {
        report = measure(privacy) => report?,
        () = interrupted() => bail!("interrupted; the network is removed"),
    };
    if privacy.json {
        console::json(&report)?;
    } else {
        print(&report);
    }
    match report.broken().as_slice() {
        [] => Ok(()),
        [first, ..] => bail!("{} things do not hold; the first: {first}", report.broken().len()),
    }
}

fn print(report: &PrivacyReport) {
    let style = Style::detect();
    let count = |number: usize| console::count(number as u64);
    console::line(console::figures([
        ("people", count(report.people)),
        ("transactions", count(report.transactions)),
        ("operations", count(report.operations)),
        ("entries used", count(report.entries)),
        ("attributes looked for", count(report.attributes)),
        ("forms of them", count(report.needles)),
        ("lives", format!("{:.0} s", report.seconds.0)),
        ("search", format!("{:.0} s", report.seconds.1)),
    ]));
    for (name, place) in &report.places {
        console::line(format!(
            "  {name:9} {:>12} pieces {:>9.1} MB   canaries found: {} of {}",
            console::count(place.pieces),
            place.bytes as f64 / 1e6,
            place.canaries_found,
            place.planted
        ));
    }
    let (moved, renewed) = report.refreshes;
    let [(least, most), (private, _)] = report.refresh_bytes;
    console::line(style.good(format!(
        "✓ C4: {} ways to ask about one credential or person are not served",
        report.queries_refused
    )));
    console::line(style.good(format!(
        "✓ B15: {moved} refreshes after a move and {renewed} others have one public form of {least} to {most} bytes (the length of an index varies) and private parts of {private} bytes"
    )));
    console::line(style.good(format!(
        "✓ A24: {} reads changed nothing in database, log or metrics",
        count(report.reads)
    )));
    match report.broken().as_slice() {
        [] => console::line(style.good("✓ A1: nothing of anybody is found, every canary is")),
        broken => broken.iter().for_each(|one| console::line(style.bad(format!("✗ {one}")))),
    }
    console::line(format!(
        "load average before {}, after {}",
        report.load_average.0, report.load_average.1
    ));
}
