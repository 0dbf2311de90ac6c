//! Doing one fault, healing it, and measuring how long the node and the network need afterwards.

use super::report::{FaultReport, milliseconds};
use super::schedule::{Fault, Step};
use super::supervisor::Program;
use super::traffic::Traffic;
use super::{Site, checks};
use crate::status;
use anyhow::{Context as _, ensure};
use rustix::process::Signal;
use sillok_proto::v1;
use std::time::{Duration, Instant};

/// How long a healed node has until it is at the tip and votes.
const RECOVERY_PATIENCE: Duration = Duration::from_secs(90);
/// How long a healed node has until it hears all others, before the next fault comes all the same.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(30);
/// How long the network has to come up, or to take a write.
const UP_PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at again.
const POLL: Duration = Duration::from_millis(25);
/// Heights that must have passed before a traitor's key may sign honestly again: by then what it signed is of the past.
const HEIGHTS_AFTER_TREASON: u64 = 3;
/// How long a block that was in flight may take to end when too many are gone.
const LAST_BLOCK: Duration = Duration::from_millis(1_500);
/// By how much a clock is wrong, in milliseconds: both are more than a block may be off (PROTOCOL II.1).
const CLOCK_AHEAD_MS: i64 = 15_000;
const CLOCK_BEHIND_MS: i64 = -30_000;
/// Rounds that a transaction on which execution fails may cost a height.
const ROUNDS_MAX: u32 = 5;
/// Other writes that must be acknowledged while it waits.
const WRITES_BESIDE_POISON: usize = 5;
/// How often a jumping clock jumps.
const JUMP_EVERY: Duration = Duration::from_millis(700);

/// Waits until every node answers and votes.
pub(super) async fn wait_until_up(site: &Site) -> anyhow::Result<()> {
    for place in 0..site.devnet.nodes.len() {
        recovered(site, place).await?;
    }
    Ok(())
}

/// Waits until `count` more transactions are acknowledged.
pub(super) async fn wait_for_writes(traffic: &Traffic, count: usize) -> anyhow::Result<()> {
    let (deadline, goal) = (Instant::now() + UP_PATIENCE, traffic.count() + count);
    while traffic.count() < goal {
        ensure!(Instant::now() < deadline, "no write was acknowledged for {UP_PATIENCE:?}");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

async fn heights(site: &Site) -> Vec<Option<v1::NodeStatus>> {
    let asked = site.devnet.nodes.iter().map(|node| status::ask(&node.grpc));
    futures::future::join_all(asked).await.into_iter().map(Result::ok).collect()
}

async fn highest(site: &Site) -> u64 {
    heights(site).await.into_iter().flatten().map(|status| status.height).max().unwrap_or(0)
}

/// Waits until the node is at the height that the network has now, and votes if it is to.
async fn recovered(site: &Site, place: usize) -> anyhow::Result<()> {
    let node = site.devnet.nodes.get(place).context("there is no such node")?;
    let deadline = Instant::now() + RECOVERY_PATIENCE;
    let mut goal = 0;
    loop {
        // Asked again and again: at first it may be the only one that answers.
        goal = goal.max(match goal {
            0 => highest(site).await,
            known => known,
        });
        let status = status::ask(&node.grpc).await;
        if let Ok(status) = &status {
            ensure!(status.halted.is_empty(), "{} does not vote: {}", node.name, status.halted);
            let votes = status.validating || !site.votes(place);
            if status.height >= goal && votes && !status.syncing {
                return Ok(());
            }
        }
        if let [first, ..] = site.supervisor.failures().as_slice() {
            anyhow::bail!("{first}");
        }
        ensure!(
            Instant::now() < deadline,
            "{} is not back after {RECOVERY_PATIENCE:?}: {}",
            node.name,
            status.map_or_else(
                |error| error.to_string(),
                |status| format!(
                    "at height {} of {goal}, {}",
                    status.height,
                    if status.validating { "voting" } else { "not voting" }
                )
            )
        );
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until the node hears all others; whether it does in the end. A traitor's ban outlasts its treason, and as long as
/// it does the network has one node less: another fault at that time would be one too many.
async fn connected(site: &Site, place: usize) -> anyhow::Result<bool> {
    let node = site.devnet.nodes.get(place).context("there is no such node")?;
    let deadline = Instant::now() + CONNECTION_PATIENCE;
    while Instant::now() < deadline {
        let status = status::ask(&node.grpc).await;
        if status.is_ok_and(|status| status.peers.len() + 1 >= site.devnet.nodes.len()) {
            return Ok(true);
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(false)
}

/// Does one fault, heals it, waits until everything is as before, and says how it went.
pub(super) async fn inflict(
    site: &Site,
    traffic: &Traffic,
    step: &Step,
) -> anyhow::Result<FaultReport> {
    let began = Instant::now();
    let restarts_before: usize = site.supervisor.restarts().iter().sum();
    let missed_before = traffic.misses().len();
    let mut note = String::new();
    let (healed, recovery) = if step.fault == Fault::Upgrade {
        upgrade(site, traffic, step).await?
    } else if let Fault::Panicking | Fault::Diverging = step.fault {
        let (healed, recovery, seen) = poison(site, traffic, step).await?;
        note = seen;
        (healed, recovery)
    } else {
        prepare(site, traffic, step).await?;
        traffic.set_faulty(step.victims.iter().copied());
        let from_height = highest(site).await;
        // What it floods with is also of its own signing.
        if let Fault::Equivocate | Fault::Flood = step.fault {
            traffic.add_traitors(&step.victims);
        }
        note = fault(site, traffic, step).await?;
        heal(site, step).await?;
        if step.fault == Fault::Equivocate {
            let pieces = checks::convicted(site, &step.victims, from_height).await?;
            note = format!("{pieces} pieces of evidence with the others");
        }
        let healed = Instant::now();
        for place in &step.victims {
            recovered(site, *place).await?;
        }
        let recovery = healed.elapsed();
        for place in &step.victims {
            if !connected(site, *place).await? {
                note = format!("{note}; {} does not hear all others yet", site.name(*place));
            }
        }
        traffic.set_faulty([]);
        (healed, recovery)
    };
    wait_for_writes(traffic, 1).await?;
    let ended = Instant::now();
    let restarts: usize = site.supervisor.restarts().iter().sum();
    Ok(FaultReport {
        fault: step.fault,
        victims: step.victims.iter().map(|place| site.name(*place).to_owned()).collect(),
        lasted_ms: milliseconds(healed.duration_since(began)),
        recovered_ms: milliseconds(recovery),
        stalled_ms: milliseconds(traffic.stalled(began, ended)),
        stalled_after_ms: milliseconds(traffic.stalled(healed, ended)),
        restarts: restarts - restarts_before,
        missed_reads: traffic.misses().len() - missed_before,
        note,
    })
}

/// Lets the victims run the build that the fault needs, one after the other.
async fn prepare(site: &Site, traffic: &Traffic, step: &Step) -> anyhow::Result<()> {
    if !matches!(step.fault, Fault::ClockSkew | Fault::ClockJump) {
        return Ok(());
    }
    for place in &step.victims {
        let program = site.other(*place, None)?;
        if site.supervisor.program(*place)? != program {
            replace(site, traffic, *place, program).await?;
        }
    }
    Ok(())
}

/// Does the fault for as long as it lasts. Returns what is worth telling.
async fn fault(site: &Site, traffic: &Traffic, step: &Step) -> anyhow::Result<String> {
    let others: Vec<usize> =
        (0..site.devnet.nodes.len()).filter(|place| !step.victims.contains(place)).collect();
    let mut note = String::new();
    for place in &step.victims {
        match step.fault {
            Fault::Kill | Fault::TooMany => site.supervisor.kill(*place)?,
            Fault::Pause => site.supervisor.signal(*place, Signal::STOP)?,
            Fault::Partition | Fault::OneWay => {
                for other in &others {
                    let both = step.fault == Fault::Partition;
                    if both || step.coin {
                        site.links.cut(*place, *other)?;
                    }
                    if both || !step.coin {
                        site.links.cut(*other, *place)?;
                    }
                }
                if step.fault == Fault::OneWay {
                    note = if step.coin { "not heard" } else { "hears nothing" }.to_owned();
                }
            }
            Fault::DiskFull => site.disk()?.fill(*place)?,
            Fault::ReadOnly => site.disk()?.fail(*place)?,
            Fault::ClockSkew => {
                let offset = if step.coin { CLOCK_AHEAD_MS } else { CLOCK_BEHIND_MS };
                set_clock(site, *place, offset)?;
                note = format!("{} s", offset / 1_000);
            }
            Fault::ClockJump | Fault::Upgrade | Fault::Panicking | Fault::Diverging => {}
            Fault::Equivocate | Fault::Withhold | Fault::Forge | Fault::Flood => {
                site.supervisor.stop(*place).await?;
                site.supervisor.set_program(*place, site.other(*place, Some(step.fault))?)?;
                site.supervisor.start(*place)?;
            }
        }
    }
    match step.fault {
        Fault::TooMany => {
            note = checks::no_quorum(site, traffic, &others, LAST_BLOCK, step.lasts).await?;
        }
        Fault::ClockJump => {
            let until = Instant::now() + step.lasts;
            let mut ahead = step.coin;
            while Instant::now() < until {
                for place in &step.victims {
                    set_clock(site, *place, if ahead { CLOCK_AHEAD_MS } else { CLOCK_BEHIND_MS })?;
                }
                ahead = !ahead;
                tokio::time::sleep(JUMP_EVERY).await;
            }
        }
        _ => tokio::time::sleep(step.lasts).await,
    }
    Ok(note)
}

/// Replaces the file in one step: the node must not read half a number.
fn set_clock(site: &Site, place: usize, offset_ms: i64) -> anyhow::Result<()> {
    let path = site.clock(place);
    let unfinished = path.with_extension("new");
    std::fs::write(&unfinished, offset_ms.to_string())?;
    Ok(std::fs::rename(unfinished, path)?)
}

async fn heal(site: &Site, step: &Step) -> anyhow::Result<()> {
    match step.fault {
        Fault::Partition | Fault::OneWay => site.links.mend()?,
        Fault::Kill | Fault::TooMany => {
            for place in &step.victims {
                site.supervisor.start(*place)?;
            }
        }
        Fault::Pause => {
            for place in &step.victims {
                site.supervisor.signal(*place, Signal::CONT)?;
            }
        }
        Fault::DiskFull => {
            for place in &step.victims {
                site.disk()?.empty(*place)?;
            }
        }
        Fault::ReadOnly => {
            for place in &step.victims {
                // Nobody can mount a disk anew under a process; the supervisor starts the node, not a person.
                site.supervisor.kill(*place)?;
                site.disk()?.replace(*place)?;
                site.supervisor.start(*place)?;
            }
        }
        Fault::ClockSkew | Fault::ClockJump => {
            for place in &step.victims {
                set_clock(site, *place, 0)?;
            }
        }
        Fault::Equivocate | Fault::Withhold | Fault::Forge | Fault::Flood => {
            for place in &step.victims {
                site.supervisor.kill(*place)?;
                site.supervisor.set_program(*place, site.honest.clone())?;
            }
            let (goal, deadline) =
                (highest(site).await + HEIGHTS_AFTER_TREASON, Instant::now() + UP_PATIENCE);
            while highest(site).await < goal {
                ensure!(Instant::now() < deadline, "no blocks after the traitor is gone");
                tokio::time::sleep(POLL).await;
            }
            for place in &step.victims {
                site.supervisor.start(*place)?;
            }
        }
        Fault::Upgrade | Fault::Panicking | Fault::Diverging => {}
    }
    Ok(())
}

/// Stops one node after the other and starts it with the build it did not run. Returns when the last was started, and
/// the longest that one needed.
async fn upgrade(
    site: &Site,
    traffic: &Traffic,
    step: &Step,
) -> anyhow::Result<(Instant, Duration)> {
    let mut longest = Duration::ZERO;
    for place in &step.victims {
        let program = match site.supervisor.program(*place)? {
            program if program == site.honest => site.other(*place, None)?,
            _ => site.honest.clone(),
        };
        longest = longest.max(replace(site, traffic, *place, program).await?);
        wait_for_writes(traffic, 1).await?;
    }
    Ok((Instant::now(), longest))
}

/// Stops a node and starts it with another build. Says how long it needed to come back.
async fn replace(
    site: &Site,
    traffic: &Traffic,
    place: usize,
    program: Program,
) -> anyhow::Result<Duration> {
    traffic.set_faulty([place]);
    site.supervisor.stop(place).await?;
    site.supervisor.set_program(place, program)?;
    site.supervisor.start(place)?;
    let started = Instant::now();
    recovered(site, place).await?;
    traffic.set_faulty([]);
    Ok(started.elapsed())
}

/// Brings a transaction on which the victims fail to all nodes. It may cost rounds; it may not cost a process, nor what
/// waits beside it.
async fn poison(
    site: &Site,
    traffic: &Traffic,
    step: &Step,
) -> anyhow::Result<(Instant, Duration, String)> {
    let option = if step.fault == Fault::Panicking { "--panic-on" } else { "--other-root-on" };
    let poison = traffic.poison()?;
    for place in &step.victims {
        let mut program = site.other(*place, None)?;
        program.arguments.extend([option.to_owned(), poison.id.to_string()]);
        replace(site, traffic, *place, program).await?;
    }
    let before = highest(site).await;
    traffic.set_faulty(step.victims.iter().copied());
    let restarts: usize = site.supervisor.restarts().iter().sum();
    for nth in 0..site.devnet.nodes.len() {
        traffic.send(&poison.transaction, nth).await?;
    }
    let began = Instant::now();
    // Others' writes go on beside it.
    wait_for_writes(traffic, WRITES_BESIDE_POISON).await?;
    tokio::time::sleep(step.lasts.saturating_sub(began.elapsed())).await;
    let after = highest(site).await;
    let rounds = checks::rounds(site, before + 1, after).await?;
    let most = rounds.iter().copied().max().unwrap_or(0);
    ensure!(most <= ROUNDS_MAX, "a height took {most} rounds more than one, {ROUNDS_MAX} may be");
    ensure!(
        restarts == site.supervisor.restarts().iter().sum::<usize>(),
        "a node ended by a transaction"
    );
    let healed = Instant::now();
    for place in &step.victims {
        replace(site, traffic, *place, site.honest.clone()).await?;
    }
    let more: u32 = rounds.iter().sum();
    let note = format!("{most} rounds more at one height, {more} at {} heights", rounds.len());
    Ok((healed, healed.elapsed(), note))
}
