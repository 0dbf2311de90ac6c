//! The only use of a clock in ordering: is a fresh proposal's time near ours? (PROTOCOL II.1)
//!
//! Never asked of a re-proposal, a replay, a synced block or a certificate: there a quorum has answered, and a node
//! that asked again would part from it because it was slow.

use crate::config::HostConfig;

/// Whether `block_time_ms` is within [now − behind, now + ahead].
///
/// The lower bound widens by itself each round, so that clocks worse than the genesis thought cost rounds and not the
/// network. The upper one does not: time from the future would push every later block's time ahead.
pub(crate) fn is_near(config: &HostConfig, round: u32, block_time_ms: u64, now_ms: u64) -> bool {
    let behind = config.clock_behind_ms.saturating_mul(u64::from(round).saturating_add(1));
    let earliest = now_ms.saturating_sub(behind);
    let latest = now_ms.saturating_add(config.clock_ahead_ms);
    (earliest..=latest).contains(&block_time_ms)
}
