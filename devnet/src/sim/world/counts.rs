//! What happened how often in a run.

use serde::Serialize;

/// What happened how often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Counts {
    pub events: u64,
    pub messages_sent: u64,
    pub messages_lost: u64,
    pub crashes: u64,
    pub crashes_between_actions: u64,
    pub replays: u64,
    pub replayed_entries: u64,
    pub restores: u64,
    pub lost_disks: u64,
    pub full_disks: u64,
    pub pauses: u64,
    pub partitions: u64,
    pub clock_jumps: u64,
    pub lies: u64,
    pub synced_blocks: u64,
    pub snapshots_joined: u64,
    pub evidence: u64,
    pub faults_reported: u64,
    pub rounds_lost: u64,
    pub round_max: u32,
    pub empty_blocks: u64,
    pub transactions_sent: u64,
    pub transactions_committed: u64,
    pub acknowledged: u64,
    pub reads: u64,
    pub stale_reads: u64,
    pub disconnects: u64,
    pub destroyed_keys: u64,
    pub poisons: u64,
    pub poison_hits: u64,
    pub poison_proposed: u64,
    pub forged_certificates: u64,
    pub votes_judged: u64,
    pub votes_not_judged: u64,
    pub creates: u64,
    pub updates: u64,
    pub device_changes: u64,
    pub devices_taken: u64,
    pub recoveries: u64,
    pub deactivations: u64,
    pub proposals: u64,
    pub approvals: u64,
    pub joins: u64,
    pub rekeys: u64,
    pub added: u64,
    pub rekeyed: u64,
    pub removed: u64,
    pub replaced: u64,
    pub observers_changed: u64,
}

impl Counts {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        macro_rules! sum { ($($field:ident)*) => { $(self.$field += other.$field;)* } }
        sum!(events messages_sent messages_lost crashes crashes_between_actions replays
            replayed_entries restores lost_disks full_disks pauses partitions clock_jumps lies
            synced_blocks snapshots_joined evidence faults_reported rounds_lost empty_blocks
            transactions_sent transactions_committed acknowledged reads stale_reads disconnects destroyed_keys poisons
            poison_hits poison_proposed forged_certificates votes_judged votes_not_judged creates updates device_changes
            devices_taken recoveries deactivations proposals approvals joins rekeys added
            rekeyed removed replaced observers_changed);
        self.round_max = self.round_max.max(other.round_max);
    }
}
