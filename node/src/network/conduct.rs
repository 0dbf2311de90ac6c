//! What peers did that no correct node does, and for how long they are not listened to because of it.
//!
//! Time comes in, decisions go out; the sockets are the task's. A ban always ends: what looks like malice may be a fault
//! of either side's software, and when it is mended the votes must come back. So a validator's ban is short too: it
//! costs the network one of the votes it needs.

use super::address::NodeKey;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Faults are counted over this time.
const WINDOW: Duration = Duration::from_secs(60);
/// This many in one window are too many. A correct node makes none; a few may be the traces of a release that is
/// being replaced.
const FAULTS_MAX: u32 = 20;
/// Messages of one peer are counted over this time.
const RATE_WINDOW: Duration = Duration::from_secs(10);
/// More consensus messages and requests than this in one rate window are a flood. A correct validator sends some ten for
/// each height, and what it may have queued while it could not send is less.
const MESSAGES_MAX: u32 = 10_000;
/// How many messages beyond that make one fault.
const MESSAGES_PER_FAULT: u32 = 100;
/// The first ban.
const BAN_FIRST: Duration = Duration::from_secs(10);
/// The longest ban of a validator.
const BAN_VALIDATOR_MAX: Duration = Duration::from_secs(60);
/// The longest ban of another peer.
const BAN_MAX: Duration = Duration::from_secs(600);
/// After this long without a ban the next one is a first one again.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// The records of all peers.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    peers: BTreeMap<NodeKey, Record>,
}

#[derive(Debug)]
struct Record {
    window: Instant,
    faults: u32,
    rate_window: Instant,
    messages: u32,
    bans: u32,
    banned_until: Option<Instant>,
    ban_ended: Option<Instant>,
}

/// A ban under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ban {
    pub(super) node: NodeKey,
    pub(super) times: u32,
    pub(super) until: Instant,
}

impl Record {
    fn new(now: Instant) -> Self {
        Self {
            window: now,
            faults: 0,
            rate_window: now,
            messages: 0,
            bans: 0,
            banned_until: None,
            ban_ended: None,
        }
    }
}

impl Conduct {
    fn record(&mut self, node: NodeKey, now: Instant) -> &mut Record {
        self.peers.entry(node).or_insert_with(|| Record::new(now))
    }

    /// Notes a fault; how long the peer is banned for if this was one too many.
    pub(super) fn fault(
        &mut self,
        node: NodeKey,
        validator: bool,
        now: Instant,
    ) -> Option<Duration> {
        let record = self.record(node, now);
        if now - record.window >= WINDOW {
            (record.window, record.faults) = (now, 0);
        }
        record.faults = record.faults.saturating_add(1);
        if record.faults < FAULTS_MAX { None } else { self.ban(node, validator, now) }
    }

    /// Notes a message; true when the peer has sent so many that it is a fault.
    pub(super) fn message(&mut self, node: NodeKey, now: Instant) -> bool {
        let record = self.record(node, now);
        if now - record.rate_window >= RATE_WINDOW {
            (record.rate_window, record.messages) = (now, 0);
        }
        record.messages = record.messages.saturating_add(1);
        record.messages > MESSAGES_MAX
            && (record.messages - MESSAGES_MAX).is_multiple_of(MESSAGES_PER_FAULT)
    }

    /// Bans a peer, each time for longer; for how long, or `None` if it is banned already.
    pub(super) fn ban(&mut self, node: NodeKey, validator: bool, now: Instant) -> Option<Duration> {
        let record = self.record(node, now);
        if record.banned_until.is_some() {
            return None;
        }
        if record.ban_ended.is_some_and(|ended| now - ended >= FORGOTTEN_AFTER) {
            record.bans = 0;
        }
        let longest = if validator { BAN_VALIDATOR_MAX } else { BAN_MAX };
        let length = BAN_FIRST.saturating_mul(1 << record.bans.min(16)).min(longest);
        record.bans = record.bans.saturating_add(1);
        record.banned_until = Some(now + length);
        (record.faults, record.messages) = (0, 0);
        Some(length)
    }

    /// Whether a peer is banned.
    pub(super) fn banned(&self, node: &NodeKey) -> bool {
        self.peers.get(node).is_some_and(|record| record.banned_until.is_some())
    }

    /// Ends the bans whose time is over; whether there were any.
    pub(super) fn end_bans(&mut self, now: Instant) -> bool {
        let mut ended = false;
        for record in self.peers.values_mut() {
            if record.banned_until.is_some_and(|until| until <= now) {
                (record.banned_until, record.ban_ended) = (None, Some(now));
                record.window = now;
                ended = true;
            }
        }
        ended
    }

    /// The bans under way.
    pub(super) fn bans(&self) -> Vec<Ban> {
        self.peers
            .iter()
            .filter_map(|(node, record)| {
                Some(Ban { node: *node, times: record.bans, until: record.banned_until? })
            })
            .collect()
    }

    /// Forgets those that nobody would let in anyway.
    pub(super) fn keep(&mut self, known: impl Fn(&NodeKey) -> bool) {
        self.peers.retain(|node, _| known(node));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey;

    fn peer() -> NodeKey {
        NodeKey::from_bytes(&SecretKey::from_seed(&[1; 32]).public()).unwrap()
    }

    fn bans(validator: bool, count: usize) -> Vec<u64> {
        let (mut conduct, mut now) = (Conduct::default(), Instant::now());
        (0..count)
            .map(|_| {
                let length = conduct.ban(peer(), validator, now).unwrap();
                assert_eq!(conduct.ban(peer(), validator, now), None, "it is banned already");
                now += length;
                assert!(conduct.end_bans(now) && !conduct.banned(&peer()));
                length.as_secs()
            })
            .collect()
    }

    #[test]
    fn bans_grow_and_always_end_and_those_of_validators_soon() {
        assert_eq!(bans(true, 6), [10, 20, 40, 60, 60, 60]);
        assert_eq!(bans(false, 9), [10, 20, 40, 80, 160, 320, 600, 600, 600]);
    }

    #[test]
    fn faults_far_apart_are_no_reason_and_many_at_once_are() {
        let (mut conduct, start) = (Conduct::default(), Instant::now());
        for nth in 0..100 {
            assert_eq!(conduct.fault(peer(), false, start + WINDOW / 10 * nth), None);
        }
        let later = start + WINDOW * 20;
        let banned = (0..FAULTS_MAX).find_map(|_| conduct.fault(peer(), false, later));
        assert_eq!(banned, Some(BAN_FIRST));
        assert_eq!(conduct.bans().len(), 1);
    }

    #[test]
    fn a_flood_is_a_fault_and_a_busy_peer_is_not() {
        let (mut conduct, start) = (Conduct::default(), Instant::now());
        // A thousand a second for a minute.
        for nth in 0..60_000 {
            assert!(!conduct.message(peer(), start + Duration::from_millis(nth)));
        }
        let later = start + WINDOW * 2;
        assert!((0..MESSAGES_MAX + MESSAGES_PER_FAULT).any(|_| conduct.message(peer(), later)));
    }

    #[test]
    fn a_peer_that_behaved_for_long_begins_anew() {
        let (mut conduct, start) = (Conduct::default(), Instant::now());
        conduct.ban(peer(), false, start);
        conduct.end_bans(start + BAN_FIRST);
        let later = start + BAN_FIRST + FORGOTTEN_AFTER;
        assert_eq!(conduct.ban(peer(), false, later), Some(BAN_FIRST));
    }
}
