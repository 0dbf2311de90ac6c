//! When to dial which known peer again: for ever, less eagerly after failures, at least once a second.
//!
//! Time comes in, decisions go out; the sockets are the task's.

use super::address::{NodeKey, PeerAddress};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Wait after the first failed dial; doubled by each further one.
const BACK_OFF_FIRST: Duration = Duration::from_millis(100);
/// Longest wait: a peer that comes back is found within about this time. A refused dial costs next to nothing.
const BACK_OFF_MAX: Duration = Duration::from_secs(1);
/// How long the node with the greater key lets the other dial first, so that two nodes that find each other at the
/// same moment seldom make two connections.
const COURTESY: Duration = Duration::from_millis(150);

/// The known peers and when each is next dialed.
#[derive(Debug)]
pub(super) struct Dialing {
    us: NodeKey,
    peers: BTreeMap<NodeKey, Target>,
}

#[derive(Debug)]
struct Target {
    addresses: Vec<PeerAddress>,
    state: State,
    failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connected,
    /// A dial is under way.
    Dialing,
    /// To be dialed at this time.
    Waiting(Instant),
}

impl Dialing {
    /// All of `addresses` but our own, to be dialed from `now` on.
    pub(super) fn new(us: NodeKey, addresses: Vec<PeerAddress>, now: Instant) -> Self {
        let mut dialing = Self { us, peers: BTreeMap::new() };
        for address in addresses {
            let node = address.node();
            if node == us {
                continue;
            }
            let first = now + dialing.courtesy(node);
            dialing
                .peers
                .entry(node)
                .or_insert_with(|| Target {
                    addresses: Vec::new(),
                    state: State::Waiting(first),
                    failures: 0,
                })
                .addresses
                .push(address);
        }
        dialing
    }

    /// All known peers.
    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeKey> {
        self.peers.keys().copied()
    }

    /// The peers whose time has come, of those that `may` be connected; they count as being dialed from now on.
    pub(super) fn due(
        &mut self,
        now: Instant,
        may: impl Fn(&NodeKey) -> bool,
    ) -> Vec<(NodeKey, Vec<PeerAddress>)> {
        let mut due = Vec::new();
        for (node, target) in &mut self.peers {
            if matches!(target.state, State::Waiting(at) if at <= now) && may(node) {
                target.state = State::Dialing;
                due.push((*node, target.addresses.clone()));
            }
        }
        due
    }

    /// A connection to `node` exists, whoever dialed.
    pub(super) fn connected(&mut self, node: NodeKey) {
        if let Some(target) = self.peers.get_mut(&node) {
            target.state = State::Connected;
            target.failures = 0;
        }
    }

    /// The last connection to `node` is gone.
    pub(super) fn disconnected(&mut self, node: NodeKey, now: Instant) {
        let courtesy = self.courtesy(node);
        if let Some(target) = self.peers.get_mut(&node) {
            target.state = State::Waiting(now + BACK_OFF_FIRST + courtesy);
        }
    }

    /// A dial of `node` failed; the number of failures in a row. Ignored when it is connected by now: the other
    /// side may have dialed.
    pub(super) fn failed(&mut self, node: NodeKey, now: Instant) -> Option<u32> {
        let target = self.peers.get_mut(&node).filter(|target| target.state == State::Dialing)?;
        let wait = BACK_OFF_FIRST.saturating_mul(1 << target.failures.min(16)).min(BACK_OFF_MAX);
        target.failures = target.failures.saturating_add(1);
        target.state = State::Waiting(now + wait);
        Some(target.failures)
    }

    fn courtesy(&self, node: NodeKey) -> Duration {
        if self.us > node { COURTESY } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey;
    use std::net::{Ipv4Addr, SocketAddr};

    fn nodes() -> (NodeKey, NodeKey) {
        let node = |seed| NodeKey::from_bytes(&SecretKey::from_seed(&[seed; 32]).public()).unwrap();
        let (a, b) = (node(1), node(2));
        (a.min(b), a.max(b))
    }

    fn address(node: NodeKey) -> PeerAddress {
        PeerAddress::new(node, SocketAddr::from((Ipv4Addr::LOCALHOST, 1)))
    }

    #[test]
    fn a_peer_that_stays_away_is_dialed_for_ever_about_once_a_second() {
        let (us, peer) = nodes();
        let start = Instant::now();
        let mut dialing = Dialing::new(us, vec![address(peer), address(us)], start);
        let mut waits = Vec::new();
        let (mut now, mut last) = (start, start);
        while now < start + Duration::from_secs(60) {
            if !dialing.due(now, |_| true).is_empty() {
                waits.push(now - last);
                last = now;
                dialing.failed(peer, now);
            }
            now += Duration::from_millis(50);
        }
        assert!(waits.iter().max().unwrap() <= &Duration::from_millis(1050), "{waits:?}");
        assert!(waits.len() > 58, "{waits:?}");
    }

    #[test]
    fn a_connected_peer_is_not_dialed_and_a_lost_one_soon_is() {
        let (us, peer) = nodes();
        let start = Instant::now();
        let mut dialing = Dialing::new(us, vec![address(peer)], start);
        assert_eq!(dialing.due(start, |_| true).len(), 1);
        assert!(dialing.due(start + BACK_OFF_MAX, |_| true).is_empty(), "a dial is under way");
        dialing.connected(peer);
        dialing.failed(peer, start);
        assert!(dialing.due(start + BACK_OFF_MAX, |_| true).is_empty());
        dialing.disconnected(peer, start);
        assert_eq!(dialing.due(start + BACK_OFF_FIRST + COURTESY, |_| true).len(), 1);
    }

    #[test]
    fn a_peer_that_is_not_a_member_is_dialed_once_it_is() {
        let (us, peer) = nodes();
        let start = Instant::now();
        let mut dialing = Dialing::new(us, vec![address(peer)], start);
        assert!(dialing.due(start, |_| false).is_empty());
        assert_eq!(dialing.due(start, |_| true).len(), 1);
    }

    #[test]
    fn of_two_nodes_one_lets_the_other_dial_first() {
        let (lesser, greater) = nodes();
        let start = Instant::now();
        assert_eq!(
            Dialing::new(lesser, vec![address(greater)], start).due(start, |_| true).len(),
            1
        );
        assert!(
            Dialing::new(greater, vec![address(lesser)], start).due(start, |_| true).is_empty()
        );
    }
}
