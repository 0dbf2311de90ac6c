//! What happened how often in a run, and when.

use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A counter a line: the struct, and how runs add up.
macro_rules! counts {
    ($($field:ident,)*) => {
        /// What happened how often.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
        #[allow(missing_docs, reason = "the names say it")]
        pub struct Counts {
            $(pub $field: u64,)*
            /// Highest round in which a height was decided.
            pub round_max: u32,
            /// Longest time from the end of the faults until everybody was back.
            pub recovery_us_max: u64,
            /// The same, of a thousand of what it might have taken.
            pub recovery_permille_max: u64,
        }

        impl Counts {
            /// Adds another run's.
            pub fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)*
                self.round_max = self.round_max.max(other.round_max);
                self.recovery_us_max = self.recovery_us_max.max(other.recovery_us_max);
                self.recovery_permille_max =
                    self.recovery_permille_max.max(other.recovery_permille_max);
            }
        }
    };
}

counts! {
    events,
    // The network. A packet is parted, lost or sent; what is sent may be late, and arrive twice.
    messages_sent,
    messages_lost,
    messages_parted,
    messages_dropped,
    messages_far,
    duplicates,
    stragglers,
    partitions,
    partitions_one_way,
    // Power.
    crashes,
    crashes_between_actions,
    replays,
    replayed_entries,
    // Disks.
    torn_records,
    torn_resets,
    lost_writes,
    slow_disks,
    restores,
    lost_disks,
    full_disks,
    // Time.
    pauses,
    sleepers,
    clock_jumps,
    skewed_clocks,
    // Traitors and twins.
    lies,
    equivocations,
    withholdings,
    forgeries,
    forged_certificates,
    replayed_messages,
    floods,
    flooded_transactions,
    false_tips,
    false_blocks,
    false_segments,
    split_by_twins,
    // What came of it.
    evidence,
    faults_reported,
    disconnects,
    rounds_lost,
    empty_blocks,
    synced_blocks,
    snapshots_joined,
    quiet_ends,
    votes_judged,
    votes_not_judged,
    // People.
    transactions_sent,
    transactions_committed,
    acknowledged,
    reads,
    stale_reads,
    poisons,
    poison_hits,
    poison_proposed,
    // Operations in blocks.
    creates,
    updates,
    device_changes,
    devices_taken,
    recoveries,
    deactivations,
    proposals,
    approvals,
    joins,
    rekeys,
    reservations,
    activations,
    suspensions,
    reinstatements,
    endings,
    moves,
    entries_set,
    // At desks: acts of one instant at different validators, two devices with one one-time key among them.
    desks_at_once,
    device_races,
    // Members.
    added,
    rekeyed,
    removed,
    replaced,
    observers_changed,
    figures_changed,
    equipped,
    destroyed_keys,
}

/// When what happened, for tests of single scenarios.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timeline {
    /// When an honest node was the first to persist a height.
    pub decided: Vec<(u64, u64)>,
    /// When an honest node answered a read.
    pub reads: Vec<(u64, usize)>,
    /// Nodes that were given another validator key.
    pub equipped: BTreeSet<usize>,
    /// Before which kinds of action a node crashed, and how often.
    pub crashed_before: BTreeMap<&'static str, u64>,
    /// When the faults ended.
    pub healed_us: u64,
    /// Which node was handed the probe.
    pub probed: Option<usize>,
}

impl Timeline {
    /// Heights decided from `first_us` to `last_us`.
    #[must_use]
    pub fn decided_between(&self, first_us: u64, last_us: u64) -> usize {
        self.decided.iter().filter(|(at, _)| (first_us..=last_us).contains(at)).count()
    }

    /// Reads answered from `first_us` to `last_us` by one of `nodes`.
    #[must_use]
    pub fn reads_between(&self, first_us: u64, last_us: u64, nodes: &[usize]) -> usize {
        let within =
            |(at, node): &&(u64, usize)| (first_us..=last_us).contains(at) && nodes.contains(node);
        self.reads.iter().filter(within).count()
    }

    /// The longest time without a decided height from `first_us` to `last_us`.
    #[must_use]
    pub fn gap_max_us(&self, first_us: u64, last_us: u64) -> u64 {
        let within = self.decided.iter().map(|(at, _)| *at);
        let within = within.filter(|at| (first_us..=last_us).contains(at));
        let mut before = first_us;
        let mut gap = 0;
        for at in within.chain([last_us]) {
            gap = gap.max(at.saturating_sub(before));
            before = at;
        }
        gap
    }
}
