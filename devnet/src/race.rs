//! Two phones for one enrollment, sent within a millisecond to two validators: exactly one becomes active (A7).
//!
//! A race counts only if its question was really put: both transactions were sent within a millisecond, and both stood at
//! once in the mempools of both validators that they were sent to. What each node says of the one that lost, and what all
//! nodes prove of the enrollment and its entries afterwards, must be the same.

use crate::console::{self, Style};
use crate::desk::Desk;
use crate::directory::Devnet;
use crate::load::percentile;
use crate::reader::Reader;
use crate::scene::Scene;
use crate::submit::{Refusal, Submitter};
use anyhow::{Context as _, bail, ensure};
use clap::Args;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;
use sillok_client::identity::Identity;
use sillok_client::keys::{KeyAlgorithm, SecretKey};
use sillok_client::pseudonym::Handle;
use sillok_did_method::{EntryState, LIST_ENTRIES_MIN, transaction_id};
use sillok_proto::v1::ledger_client::LedgerClient;
use sillok_proto::{Hash, encode, v1};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Barrier;
use tonic::transport::Channel;
use v1::transaction_state::State;
use v1::{EnrollmentState, Reason};

/// The two are sent within this time, or the race does not count.
const APART_MAX: Duration = Duration::from_millis(1);
/// How long a validator has to decide. It makes many blocks in that time.
const DECIDE_WITHIN: Duration = Duration::from_secs(20);
/// How long a node has after a block to say what became of those that cannot be in any.
const MEND_WITHIN: Duration = Duration::from_millis(500);
/// Races of one transaction that makes reservations.
const RESERVED_AT_ONCE: u64 = 32;
/// One race in so many must count, or this machine cannot tell anything.
const TRIES_PER_RACE: u64 = 40;
/// What the ledger answers to who was second.
const LOST: &str = "ONE_DEVICE";

/// `race`.
#[derive(Debug, Clone, Args)]
pub struct Race {
    /// How many races to count
    #[arg(long, default_value_t = 1_000)]
    pub times: u64,
    /// What chooses validators, kinds and who is first [default: any]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Races under way at once: they keep blocks coming for each other
    #[arg(long, default_value_t = 8)]
    pub at_once: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What is raced for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RaceKind {
    /// The first device of a person.
    FirstDevice,
    /// The first device, each with an entry in the same transaction.
    FirstDeviceAndEntry,
    /// The next device, over one that is active, each with an entry.
    NextDeviceAndEntry,
}

impl RaceKind {
    const ALL: [Self; 3] = [Self::FirstDevice, Self::FirstDeviceAndEntry, Self::NextDeviceAndEntry];

    const fn with_entry(self) -> bool {
        !matches!(self, Self::FirstDevice)
    }

    const fn number(self) -> u32 {
        if matches!(self, Self::NextDeviceAndEntry) { 2 } else { 1 }
    }
}

impl fmt::Display for RaceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FirstDevice => "first device",
            Self::FirstDeviceAndEntry => "first device and entry",
            Self::NextDeviceAndEntry => "next device and entry",
        })
    }
}

/// What came of the races that count, of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct KindReport {
    /// Races.
    pub races: u64,
    /// The one that was sent first won.
    pub first_won: u64,
    /// The other did.
    pub second_won: u64,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RaceReport {
    /// What chose validators and kinds.
    pub seed: u64,
    /// Nodes that proved the state after each race.
    pub nodes: usize,
    /// Races that count: sent within a millisecond, and both in both mempools at once.
    pub counted: u64,
    /// By what was raced for.
    pub kinds: BTreeMap<RaceKind, KindReport>,
    /// The code of each refusal, by how often it was given.
    pub refusals: BTreeMap<String, u64>,
    /// Races that do not count: sent further apart than that.
    pub too_far_apart: u64,
    /// Races that do not count: one was ordered, or refused, before both were in both mempools.
    pub not_in_both: u64,
    /// Time between the two, in microseconds: half were nearer.
    pub apart_p50_us: f64,
    /// The most.
    pub apart_max_us: f64,
    /// From sending to the verdict of both validators on both, in milliseconds.
    pub decided_p50_ms: f64,
    /// 99 of 100 were faster.
    pub decided_p99_ms: f64,
    /// The slowest.
    pub decided_max_ms: f64,
    /// Reads of an enrollment and of the entries, each proved, that showed one winner.
    pub proved_reads: u64,
    /// Seconds in all.
    pub seconds: f64,
}

/// A race that is prepared: two transactions that cannot both run.
struct Prepared {
    kind: RaceKind,
    person: Handle,
    phones: [SecretKey; 2],
    /// Of each, where it brings one.
    entries: [u32; 2],
    /// The entry of the device that is active before.
    before: Option<u32>,
    transactions: [v1::Transaction; 2],
    /// To which validator each goes.
    nodes: [usize; 2],
    /// The second one waits so long.
    delay: Duration,
}

/// One race that was run.
struct Outcome {
    apart: Duration,
    in_both: bool,
    /// 0 or 1, the one sent first being 0.
    winner: usize,
    decided: Duration,
    refusals: Vec<String>,
    reads: u64,
}

struct Track {
    desk: Desk,
    rival: Identity,
    nodes: Submitter,
    validators: usize,
    readers: Vec<Reader>,
    next_person: AtomicU64,
}

impl Track {
    async fn of(devnet: &Devnet) -> anyhow::Result<Self> {
        let scene = Scene::of(devnet)?;
        let rival = scene.rival.clone();
        let nodes = Submitter::new(crate::network::validator_urls(devnet))?;
        let validators = nodes.len();
        ensure!(validators >= 2, "a race takes two validators");
        let readers = devnet
            .nodes
            .iter()
            .map(|node| Reader::fresh(devnet, &node.grpc))
            .collect::<Result<_, _>>()?;
        let desk = Desk::of_registrar(scene).await?;
        Ok(Self { desk, rival, nodes, validators, readers, next_person: AtomicU64::new(1) })
    }

    /// Reservations of several people in one transaction, and of each the two activations.
    async fn prepare(
        &self,
        random: &mut StdRng,
        free: &mut Vec<u32>,
        count: u64,
    ) -> anyhow::Result<Vec<Prepared>> {
        let (desk, issuer) = (&self.desk, &self.desk.issuer);
        let mut draw = || free.pop().context("the list is used up");
        let generate = || SecretKey::generate(KeyAlgorithm::Ed25519);
        let (mut people, mut setup) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let kind = RaceKind::ALL[random.random_range(0..RaceKind::ALL.len())];
            let person = desk.person(self.next_person.fetch_add(1, Ordering::Relaxed))?;
            let before = (kind.number() > 1).then(&mut draw).transpose()?;
            people.push((kind, person, before, [generate()?, generate()?, generate()?]));
        }
        for (kind, person, before, [one_time, old_one_time, old_phone]) in &people {
            if let Some(index) = before {
                let first = Desk::reservation(1, old_one_time);
                setup.push(desk.enroll(issuer, *person, &first, Reason::FirstIssue)?);
                setup.push(desk.activation(issuer, *person, 1, old_one_time, old_phone)?);
                let entry = [(*index, Some(*person))];
                setup.push(desk.set(issuer, EntryState::Valid, &entry, Reason::FirstIssue)?);
            }
            let reason = if before.is_some() { Reason::DeviceChange } else { Reason::FirstIssue };
            let step = Desk::reservation(kind.number(), one_time);
            setup.push(desk.enroll(issuer, *person, &step, reason)?);
        }
        let height = desk.commit(&setup, random.random_range(0..self.validators)).await?;
        // Else a validator that is a block behind refuses what it does not know of yet.
        for nth in 0..self.validators {
            while self.nodes.height(nth).await? < height {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        let mut prepared = Vec::new();
        for &(kind, person, before, [ref one_time, ..]) in &people {
            let (phones, entries) = ([generate()?, generate()?], [draw()?, draw()?]);
            let of = |nth: usize, submitter: &Identity| {
                let number = kind.number();
                let mut deeds =
                    vec![desk.activation(issuer, person, number, one_time, &phones[nth])?];
                if kind.with_entry() {
                    let entry = [(entries[nth], Some(person))];
                    deeds.push(desk.set(issuer, EntryState::Valid, &entry, Reason::FirstIssue)?);
                }
                desk.transaction(submitter, &deeds)
            };
            // Now one submitter brings both, now two do.
            let other = if random.random() { issuer } else { &self.rival };
            let transactions = [of(0, issuer)?, of(1, other)?];
            let first = random.random_range(0..self.validators);
            let second = (first + random.random_range(1..self.validators)) % self.validators;
            let delay = Duration::from_micros(random.random_range(0..600));
            let nodes = [first, second];
            prepared.push(Prepared {
                kind,
                person,
                phones,
                entries,
                before,
                transactions,
                nodes,
                delay,
            });
        }
        Ok(prepared)
    }

    /// Runs one race to its end and reads what came of it from every node.
    async fn run(&self, race: &Prepared) -> anyhow::Result<Outcome> {
        let genesis = &self.desk.scene.genesis_hash;
        let ids = race.transactions.each_ref().map(|transaction| {
            transaction_id(genesis, &transaction.body.clone().unwrap_or_default())
        });
        let start = Arc::new(Barrier::new(2));
        let send = |nth: usize| {
            let (nodes, start) = (self.nodes.clone(), start.clone());
            let transaction = encode(&race.transactions[nth]);
            let (node, delay) =
                (race.nodes[nth], if nth == 0 { Duration::ZERO } else { race.delay });
            tokio::spawn(async move {
                let mut client = nodes.client(node)?;
                let request =
                    v1::SubmitRequest { transaction, wait_ms: 0, ..v1::SubmitRequest::default() };
                start.wait().await;
                // A timer is not that fine: the delay is of a few hundred microseconds.
                let began = Instant::now();
                while began.elapsed() < delay {
                    std::hint::spin_loop();
                }
                let sent = Instant::now();
                let answer = client.submit(request).await;
                anyhow::Ok((sent, answer.err()))
            })
        };
        let (first, second) = (send(0), send(1));
        let together =
            race.nodes.map(|node| tokio::spawn(stand_together(self.nodes.clone(), node, ids)));
        let ((first_sent, first_refused), (second_sent, second_refused)) =
            (first.await??, second.await??);
        // Refused before it was taken in: it came when the other was ordered already, and the verdict says so too.
        let late: Vec<Refusal> = [first_refused, second_refused]
            .into_iter()
            .flatten()
            .map(|status| Refusal::of(&status).with_context(|| format!("a node answered {status}")))
            .collect::<Result<_, _>>()?;
        let mut in_both = true;
        for one in together {
            in_both &= one.await??;
        }
        let verdicts = self.verdicts(race, &ids).await?;
        let decided = first_sent.min(second_sent).elapsed();
        let apart = second_sent.max(first_sent) - first_sent.min(second_sent);
        let committed: Vec<usize> = (0..2)
            .filter(|nth| verdicts.iter().any(|of| matches!(of[*nth], Verdict::Committed(_))))
            .collect();
        let [winner] = committed[..] else {
            bail!(
                "of two transactions {} were committed: {} and {}",
                committed.len(),
                ids[0],
                ids[1]
            )
        };
        let mut refusals: Vec<String> = late.into_iter().map(|refusal| refusal.code).collect();
        let mut height = 0;
        for of in &verdicts {
            match (&of[winner], &of[1 - winner]) {
                (Verdict::Committed(at), Verdict::Refused(code)) => {
                    height = height.max(*at);
                    refusals.push(code.clone());
                }
                // It never stood in this node's mempool, so the node knows nothing of it.
                (Verdict::Committed(at), Verdict::Unknown) if !in_both => height = height.max(*at),
                other => bail!("{} and {}: a node says {other:?}", ids[0], ids[1]),
            }
        }
        if let Some(other) = refusals.iter().find(|code| *code != LOST) {
            bail!("{} or {} was refused with {other}, not {LOST}", ids[0], ids[1]);
        }
        let reads = self.check(race, winner, height).await?;
        let sent_first = usize::from(second_sent < first_sent);
        let winner = usize::from(winner != sent_first);
        Ok(Outcome { apart, in_both, winner, decided, refusals, reads })
    }

    /// What each of the two validators says of both, once it is no longer open.
    async fn verdicts(
        &self,
        race: &Prepared,
        ids: &[Hash; 2],
    ) -> anyhow::Result<[[Verdict; 2]; 2]> {
        let [first, second] = race.nodes;
        let (first, second) =
            tokio::join!(decided(&self.nodes, first, ids), decided(&self.nodes, second, ids));
        Ok([first?, second?])
    }

    /// Every node proves the same: the winner's phone, the winner's entry, and nothing of the other.
    async fn check(&self, race: &Prepared, winner: usize, height: u64) -> anyhow::Result<u64> {
        let indexes: Vec<u32> = race.entries.into_iter().chain(race.before).collect();
        let entry = |nth: usize| {
            let won = nth == winner && race.kind.with_entry();
            if won { EntryState::Valid } else { EntryState::Pending }
        };
        let mut expected = vec![entry(0), entry(1)];
        expected.extend(race.before.map(|_| EntryState::Superseded));
        let held: Vec<u32> =
            race.kind.with_entry().then_some(race.entries[winner]).into_iter().collect();
        let at_node = |reader: &Reader| {
            let reader = reader.clone();
            let (indexes, expected, held) = (indexes.clone(), expected.clone(), held.clone());
            async move {
                let states = self.desk.entries(&reader, &indexes, height).await?;
                ensure!(states == expected, "a node proves entries {states:?}, not {expected:?}");
                let found = self.desk.enrollment(&reader, &race.person).await?;
                let entries: Vec<u32> =
                    found.entries.iter().flat_map(|one| one.indexes.clone()).collect();
                ensure!(
                    found.state() == EnrollmentState::Active
                        && found.active_number == race.kind.number()
                        && found.number == race.kind.number()
                        && found.enrollment_key.as_ref() == Some(race.phones[winner].public())
                        && found.reservation.is_none()
                        && entries == held,
                    "a node proves another enrollment than the winner's"
                );
                anyhow::Ok(2)
            }
        };
        let reads = futures::future::try_join_all(self.readers.iter().map(at_node)).await?;
        Ok(reads.into_iter().sum())
    }
}

/// What a node says of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Pending,
    Committed(u64),
    Refused(String),
    Unknown,
}

impl Verdict {
    fn read(state: Option<State>) -> Self {
        match state {
            Some(State::Pending(_)) => Self::Pending,
            Some(State::Committed(at)) => Self::Committed(at.height),
            Some(State::Rejected(rejected)) => {
                Self::Refused(rejected.problem.unwrap_or_default().code)
            }
            Some(State::Expired(_)) => Self::Refused("EXPIRED".to_owned()),
            _ => Self::Unknown,
        }
    }
}

async fn ask(client: &mut LedgerClient<Channel>, id: &Hash) -> anyhow::Result<Verdict> {
    let request = v1::GetTransactionRequest { transaction_id: id.to_vec(), wait_ms: 0 };
    Ok(Verdict::read(client.get_transaction(request).await?.into_inner().state))
}

/// What a node says of both, once one is ordered there and the other is not pending any more.
async fn decided(nodes: &Submitter, node: usize, ids: &[Hash; 2]) -> anyhow::Result<[Verdict; 2]> {
    let mut client = nodes.client(node)?;
    let deadline = Instant::now() + DECIDE_WITHIN;
    let mut ordered_at = None;
    loop {
        let found = [ask(&mut client, &ids[0]).await?, ask(&mut client, &ids[1]).await?];
        if found.iter().any(|one| matches!(one, Verdict::Committed(_))) {
            let since: &mut Instant = ordered_at.get_or_insert_with(Instant::now);
            // A moment passes between the block and what is said of those that it leaves behind.
            let settled = !found.contains(&Verdict::Unknown) || since.elapsed() > MEND_WITHIN;
            if settled && !found.contains(&Verdict::Pending) {
                return Ok(found);
            }
        }
        ensure!(
            Instant::now() < deadline,
            "{} and {} are open after {DECIDE_WITHIN:?}: {found:?}",
            ids[0],
            ids[1]
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Are both transactions at once in the mempool of a node? A transaction is pending until it is ordered or refused and
/// never again, so one that is pending before and after the other was seen was there with it.
async fn stand_together(nodes: Submitter, node: usize, ids: [Hash; 2]) -> anyhow::Result<bool> {
    let mut client = nodes.client(node)?;
    let deadline = Instant::now() + DECIDE_WITHIN;
    while Instant::now() < deadline {
        let mut seen = Vec::with_capacity(3);
        for nth in [0, 1, 0] {
            seen.push(ask(&mut client, &ids[nth]).await?);
        }
        if seen.iter().all(|one| *one == Verdict::Pending) {
            return Ok(true);
        }
        if seen.iter().any(|one| matches!(one, Verdict::Committed(_) | Verdict::Refused(_))) {
            return Ok(false);
        }
    }
    Ok(false)
}

/// What the races under way tell.
#[derive(Default)]
struct Tally {
    report: RaceReport,
    apart: Vec<Duration>,
    decided: Vec<Duration>,
}

impl Tally {
    fn take(&mut self, kind: RaceKind, outcome: Outcome) {
        let report = &mut self.report;
        report.proved_reads += outcome.reads;
        if outcome.apart > APART_MAX {
            report.too_far_apart += 1;
            return;
        }
        if !outcome.in_both {
            report.not_in_both += 1;
            return;
        }
        report.counted += 1;
        let of_kind = report.kinds.entry(kind).or_default();
        of_kind.races += 1;
        if outcome.winner == 0 {
            of_kind.first_won += 1;
        } else {
            of_kind.second_won += 1;
        }
        for code in outcome.refusals {
            *report.refusals.entry(code).or_insert(0) += 1;
        }
        self.apart.push(outcome.apart);
        self.decided.push(outcome.decided);
    }

    fn finish(mut self, began: Instant) -> RaceReport {
        self.apart.sort_unstable();
        self.decided.sort_unstable();
        let us = |share| percentile(&self.apart, share) * 1e3;
        let ms = |share| percentile(&self.decided, share);
        RaceReport {
            apart_p50_us: us(0.5),
            apart_max_us: us(1.0),
            decided_p50_ms: ms(0.5),
            decided_p99_ms: ms(0.99),
            decided_max_ms: ms(1.0),
            seconds: began.elapsed().as_secs_f64(),
            ..self.report
        }
    }
}

/// Runs races until so many count.
///
/// # Errors
///
/// A race had no winner or two, a loser had another answer than `ONE_DEVICE`, or a node proves something else.
pub async fn measure(devnet: &Devnet, race: &Race) -> anyhow::Result<RaceReport> {
    ensure!(race.at_once > 0, "at least one race is under way at once");
    let seed = race.seed.unwrap_or_else(rand::random);
    let mut random = StdRng::seed_from_u64(seed);
    let began = Instant::now();
    let track = Arc::new(Track::of(devnet).await?);
    // In no order, as desks draw them (PROTOCOL §4.1).
    let mut free: Vec<u32> = (0..LIST_ENTRIES_MIN).collect();
    free.shuffle(&mut random);
    let mut tally = Tally::default();
    (tally.report.seed, tally.report.nodes) = (seed, track.readers.len());
    let (mut waiting, mut tried) = (Vec::new(), 0);
    let mut under_way = tokio::task::JoinSet::new();
    while tally.report.counted < race.times {
        while under_way.len() < race.at_once {
            if waiting.is_empty() {
                let wanted = race.times - tally.report.counted;
                let count = wanted.clamp(1, RESERVED_AT_ONCE);
                waiting = track.prepare(&mut random, &mut free, count).await?;
            }
            let Some(next) = waiting.pop() else { break };
            let track = track.clone();
            tried += 1;
            under_way.spawn(async move {
                let outcome = track.run(&next).await?;
                anyhow::Ok((next.kind, outcome))
            });
        }
        ensure!(
            tried <= race.times.max(8) * TRIES_PER_RACE,
            "of {tried} races {} count; this machine is too slow or too fast for them",
            tally.report.counted
        );
        if let Some(done) = under_way.join_next().await {
            let (kind, outcome) = done??;
            tally.take(kind, outcome);
        }
    }
    // Those still under way must have one winner as well; they are counted too.
    while let Some(done) = under_way.join_next().await {
        let (kind, outcome) = done??;
        tally.take(kind, outcome);
    }
    Ok(tally.finish(began))
}

/// The command.
///
/// # Errors
///
/// A race had no winner or two.
pub async fn run(devnet: &Devnet, race: &Race) -> anyhow::Result<()> {
    let report = measure(devnet, race).await?;
    if race.json {
        return console::json(&report);
    }
    print(&report);
    Ok(())
}

fn print(report: &RaceReport) {
    let mut table = console::table(["raced for", "races", "first won", "second won"]);
    for (kind, of) in &report.kinds {
        table.add_row(vec![
            comfy_table::Cell::new(kind),
            console::number(of.races),
            console::number(of.first_won),
            console::number(of.second_won),
        ]);
    }
    console::line(table);
    let refusals: Vec<String> =
        report.refusals.iter().map(|(code, times)| format!("{code} {times}")).collect();
    console::line(console::figures([
        ("races that count", console::count(report.counted)),
        ("with one winner", console::count(report.counted)),
        ("refusals of the other, at both validators", refusals.join(", ")),
        ("proved reads that show one winner", console::count(report.proved_reads)),
        ("not counted: not in both mempools at once", console::count(report.not_in_both)),
        ("not counted: more than 1 ms apart", console::count(report.too_far_apart)),
        ("apart p50", format!("{:.0} µs", report.apart_p50_us)),
        ("apart max", format!("{:.0} µs", report.apart_max_us)),
        ("decided p50", format!("{:.0} ms", report.decided_p50_ms)),
        ("decided p99", format!("{:.0} ms", report.decided_p99_ms)),
        ("decided max", format!("{:.0} ms", report.decided_max_ms)),
        ("time", format!("{:.1} s", report.seconds)),
        ("seed", report.seed.to_string()),
    ]));
    let style = Style::detect();
    console::line(style.good(format!(
        "✓ {} times exactly one device became active, and {} nodes prove it",
        console::count(report.counted),
        report.nodes
    )));
}
