//! Bugs switched on for a run, and the table that says at which seed each is caught, and by which rule.

use super::checker::Violation;
use super::keys::Signatures;
use super::scenario::{Change, Faults, Poison, Scenario};
use super::world::run;
use serde::Serialize;
use sillok_consensus::testing::{Behavior, Mutant as HostMutant};
use sillok_ledger::mutant::{self, Mutant as NodeMutant};

/// Bugs in every honest node of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mutants {
    /// Of the ordering host.
    pub host: Vec<HostMutant>,
    /// Of the rules and of the node around them.
    pub node: Vec<NodeMutant>,
    /// Whether the record that the checker keeps has those of `node` too: rules that everybody shares and that are wrong.
    pub law: bool,
}

impl Mutants {
    /// What the record has of it.
    pub(super) fn of_record(&self) -> &[NodeMutant] {
        if self.law { &self.node } else { &[] }
    }

    /// Runs what belongs to a node; only an honest one has the bugs.
    pub(super) fn within<T>(&self, honest: bool, run: impl FnOnce() -> T) -> T {
        let bugs: &[NodeMutant] = if honest { &self.node } else { &[] };
        mutant::with(bugs, run)
    }
}

/// A bug of the table.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// What it is called in the table.
    pub bug: &'static str,
    /// In the host.
    pub host: &'static [HostMutant],
    /// In the rules or the node.
    pub node: &'static [NodeMutant],
    /// Whether the record has those of the rules too. Then no node differs from it, and what must hold of every state is
    /// what catches the bug.
    pub law: bool,
    /// Within how many seeds it is to be caught.
    pub seeds: u64,
    /// What makes it likelier to show, whatever it is: a bug that needs a rare fault is not to cost hours.
    pub shape: fn(&mut Scenario),
    /// What is granted to this bug that others do not get; the table prints it.
    pub exception: &'static str,
    /// Whether "durable before released" is held as such. A bug is to show by its effects, so almost never.
    pub durability: bool,
}

/// When a bug was caught.
#[derive(Debug, Clone, Serialize)]
pub struct Caught {
    /// The bug.
    pub bug: &'static str,
    /// The first seed at which a rule did not hold.
    pub seed: Option<u64>,
    /// Which rule.
    pub rule: &'static str,
    /// What was seen.
    pub seen: String,
    /// What was granted to this bug.
    pub exception: &'static str,
    /// Seeds before it that ended in a panic: a panic shows no rule, so it is no catch.
    pub panics: u64,
    /// A seed that breaks a rule without the bug too, and what it breaks: then the catch proves nothing.
    pub unclean: Option<(u64, String)>,
}

impl Caught {
    /// Whether a rule did not hold because of the bug, and for no other reason.
    #[must_use]
    pub const fn is_proof(&self) -> bool {
        self.seed.is_some() && self.unclean.is_none()
    }
}

const fn host(bug: &'static str, host: &'static [HostMutant]) -> Entry {
    entry(bug, host, &[])
}

const fn node(bug: &'static str, node: &'static [NodeMutant]) -> Entry {
    entry(bug, &[], node)
}

const fn entry(
    bug: &'static str,
    host: &'static [HostMutant],
    node: &'static [NodeMutant],
) -> Entry {
    Entry {
        bug,
        host,
        node,
        law: false,
        seeds: 400,
        shape: |_| {},
        exception: "",
        durability: false,
    }
}

/// Every bug that the simulation must notice. Not here is what is defence in depth and shows in no run alone: the sign
/// guard, and telling the core in advance what its record holds.
pub const TABLE: &[Entry] = &[
    host("record not replayed after a restart", &[HostMutant::NoWalReplay]),
    host("record not fed to the core", &[HostMutant::RecordNotFed]),
    host("published before it is durable", &[HostMutant::PublishBeforeSync]),
    // The core alone never asks for a second signature, so the guard is missed only where something else fails too.
    host(
        "no sign guard, and a record not fed",
        &[HostMutant::NoSignGuard, HostMutant::RecordNotFed],
    ),
    Entry {
        shape: calm,
        exception: "no faults, 60 heights",
        ..host("timers of a past height", &[HostMutant::StaleTimers])
    },
    host("no block sync", &[HostMutant::NoSync]),
    host("votes never repeated", &[HostMutant::NoRepublish]),
    host("proposals fed without a verdict", &[HostMutant::AcceptInvalid]),
    host("signatures not checked", &[HostMutant::SkipSignatureCheck]),
    host("record kept from height to height", &[HostMutant::WalNotReset]),
    Entry {
        shape: lossy_with_tight_clocks,
        exception: "a quarter of packets lost, tight clocks",
        ..host("clock applied to a re-proposal", &[HostMutant::ClockOnReproposal])
    },
    host("the core answered before the replay is over", &[HostMutant::AnswerBeforeReplay]),
    host("a height begun twice", &[HostMutant::StartHeightTwice]),
    Entry {
        shape: with_early_lies,
        exception: "one traitor that equivocates, persisting slow",
        ..host("early proposals left to the core", &[HostMutant::EarlyProposalsToCore])
    },
    Entry {
        shape: very_lossy,
        exception: "most packets lost; \"durable before released\" is held as such",
        durability: true,
        ..host("no barrier before liveness messages", &[HostMutant::NoLivenessBarrier])
    },
    Entry {
        shape: with_a_lost_disk,
        exception: "a disk is lost in every seed",
        ..host("signing with a missing record", &[HostMutant::SignWithoutRecord])
    },
    Entry {
        shape: with_a_forger,
        exception: "two traitors of seven, one of which forges certificates",
        ..host("a signer counted twice", &[HostMutant::SignerCountedTwice])
    },
    Entry {
        shape: with_a_forger,
        exception: "two traitors of seven, one of which forges certificates",
        ..host("strangers counted as signers", &[HostMutant::StrangersCounted])
    },
    Entry {
        shape: with_other_roots,
        exception: "nothing but a transaction that builds read differently",
        ..node("what builds read differently proposed on", &[NodeMutant::SuspectsNotLeftOut])
    },
    node("state written before the certificate", &[NodeMutant::StateBeforeCertificate]),
    Entry {
        shape: with_changes,
        exception: "members change in every seed",
        ..node("membership one height early", &[NodeMutant::MembershipOneHeightEarly])
    },
    Entry {
        shape: joined_by_snapshot,
        exception: "a join by snapshot in every seed, one peer lies",
        ..node("a snapshot trusted without check", &[NodeMutant::SnapshotNotVerified])
    },
    node("a recent height asked for and ignored", &[NodeMutant::MinHeightIgnored]),
    node("a block committed and not synced", &[NodeMutant::CommitNotDurable]),
    node("a dropped proposal's outcome reused", &[NodeMutant::OutcomeReused]),
    node("verdict remembered by transaction id", &[NodeMutant::VerdictById]),
    node("one signed operation in two transactions", &[NodeMutant::ReplayNotChecked]),
    Entry {
        shape: with_desks,
        exception: "people at desks; the record has the bug too",
        law: true,
        ..node("two devices of one person in one block", &[NodeMutant::EnrollmentsOfParent])
    },
    Entry {
        shape: with_desks,
        exception: "people at desks; the record has the bug too",
        law: true,
        ..node("what is revoked comes back", &[NodeMutant::FinalEntriesComeBack])
    },
    Entry {
        shape: with_other_figures,
        exception: "figures change twice, people sign for long",
        ..node("figures of the genesis for ever", &[NodeMutant::FiguresOfGenesis])
    },
];

/// Nothing goes wrong, for longer.
fn calm(scenario: &mut Scenario) {
    *scenario = Scenario { heights: 60, ..Scenario::calm(scenario.seed) };
}

fn lossy_with_tight_clocks(scenario: &mut Scenario) {
    scenario.clock_behind_ms = 100;
    scenario.faults.skew_ms = 0;
    scenario.faults.jumping_clock = None;
    scenario.faults.loss_permille = 250;
}

/// A traitor that proposes against the rules, to peers that are a height behind.
fn with_early_lies(scenario: &mut Scenario) {
    *scenario = Scenario {
        traitors: vec![(1, vec![Behavior::Equivocate])],
        persist_us: (0, 20_000),
        transaction_every_us: 15_000,
        faults: Faults { until_us: 2_000_000, ..Faults::default() },
        ..Scenario::calm(scenario.seed)
    };
}

/// From round 10 on the core sends the polka it locks on, which may hold our vote of a moment ago (CONSENSUS §4b). Power
/// would have to go at that very instant, so here it is the rule itself that is held.
fn very_lossy(scenario: &mut Scenario) {
    *scenario = Scenario {
        faults: Faults { loss_permille: 550, until_us: 20_000_000, ..Faults::default() },
        ..Scenario::calm(scenario.seed)
    };
}

/// A node joins by snapshot from peers of which one lies.
fn joined_by_snapshot(scenario: &mut Scenario) {
    *scenario = Scenario {
        candidates: 1,
        snapshot: true,
        signatures: Signatures::Ed25519,
        traitors: vec![(0, vec![Behavior::Forge])],
        faults: Faults { until_us: 1_500_000, ..Faults::default() },
        ..Scenario::calm(scenario.seed)
    };
}

fn with_a_forger(scenario: &mut Scenario) {
    *scenario = Scenario {
        validators: 7,
        traitors: vec![(1, vec![Behavior::Forge]), (4, vec![Behavior::Equivocate])],
        faults: Faults { loss_permille: 100, until_us: 1_500_000, ..Faults::default() },
        ..Scenario::calm(scenario.seed)
    };
}

fn with_other_roots(scenario: &mut Scenario) {
    *scenario = Scenario {
        faults: Faults {
            poison: Some(Poison::OtherRoot),
            until_us: 1_500_000,
            ..Faults::default()
        },
        ..Scenario::calm(scenario.seed)
    };
}

fn with_changes(scenario: &mut Scenario) {
    if scenario.faults.changes.is_empty() {
        scenario.faults.changes = vec![Change::Add, Change::Rekey];
        scenario.candidates = 1;
        scenario.faults.until_us = 2_000_000;
    }
}

/// Desks, often, and nothing goes wrong.
fn with_desks(scenario: &mut Scenario) {
    *scenario = Scenario {
        desk_every_us: 15_000,
        faults: Faults { until_us: 2_000_000, ..Faults::default() },
        ..Scenario::calm(scenario.seed)
    };
}

fn with_other_figures(scenario: &mut Scenario) {
    with_desks(scenario);
    scenario.faults.changes = vec![Change::Parameters, Change::Parameters];
}

fn with_a_lost_disk(scenario: &mut Scenario) {
    if scenario.culprits() == 0 {
        scenario.faults.loses_disk = Some(0);
    }
}

/// Runs seeds with a bug switched on until a rule does not hold, then that seed without the bug: there every rule must.
#[must_use]
pub fn catch(entry: &Entry) -> Caught {
    let mutants = Mutants { host: entry.host.to_vec(), node: entry.node.to_vec(), law: entry.law };
    let mut caught = Caught {
        bug: entry.bug,
        seed: None,
        rule: "",
        seen: String::new(),
        exception: entry.exception,
        panics: 0,
        unclean: None,
    };
    for seed in 0..entry.seeds {
        let mut scenario = Scenario::swarm(seed);
        (entry.shape)(&mut scenario);
        scenario.check_durability = entry.durability;
        scenario.mutants = mutants.clone();
        let violations = run(&scenario).violations;
        if violations.iter().any(|one| matches!(one, Violation::Panicked { .. })) {
            caught.panics += 1;
            continue;
        }
        let Some(violation) = violations.into_iter().next() else { continue };
        scenario.mutants = Mutants::default();
        scenario.check_durability = true;
        if let Some(without) = run(&scenario).violations.first() {
            caught.unclean = Some((seed, without.to_string()));
        }
        (caught.seed, caught.rule) = (Some(seed), violation.rule());
        caught.seen = format!("{violation:?}");
        break;
    }
    caught
}
