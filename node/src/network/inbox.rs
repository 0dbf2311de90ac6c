//! What peers sent, until the node takes it: bounded for each peer, and served to peers in turn.
//!
//! A peer that floods fills its own share and loses its own messages; what others sent stays. Nothing here waits:
//! a message that has no place is dropped and counted.

use super::address::NodeKey;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// How much of one lane one peer may fill.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) messages_max: usize,
    pub(super) bytes_max: usize,
}

/// Makes an inbox with one lane for each share; an earlier lane is emptied before a later one is looked at.
pub(super) fn inbox<T>(lanes: Vec<Share>) -> (Sender<T>, Receiver<T>) {
    let lanes =
        lanes.into_iter().map(|share| Lane { share, peers: BTreeMap::new(), last: None }).collect();
    let shared = Arc::new(Shared {
        state: Mutex::new(State { lanes, closed: false }),
        arrived: Notify::new(),
    });
    (Sender { shared: Arc::clone(&shared) }, Receiver { shared })
}

/// The end that the network task fills. The receiver ends when this is dropped, by a panic too.
#[derive(Debug)]
pub(super) struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// The end that the node empties.
#[derive(Debug)]
pub(super) struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    arrived: Notify,
}

#[derive(Debug)]
struct State<T> {
    lanes: Vec<Lane<T>>,
    closed: bool,
}

#[derive(Debug)]
struct Lane<T> {
    share: Share,
    /// Peers that have something waiting.
    peers: BTreeMap<NodeKey, Waiting<T>>,
    /// The peer served last; the next in key order follows.
    last: Option<NodeKey>,
}

#[derive(Debug)]
struct Waiting<T> {
    messages: VecDeque<(T, usize)>,
    bytes: usize,
}

impl<T> Sender<T> {
    /// Puts `message`, of `bytes` bytes, in `peer`'s share of a lane; false when it had to be dropped.
    #[must_use]
    pub(super) fn push(&self, lane: usize, peer: NodeKey, message: T, bytes: usize) -> bool {
        let mut state = self.shared.state();
        let Some(lane) = state.lanes.get_mut(lane) else { return false };
        let share = lane.share;
        let waiting = lane
            .peers
            .entry(peer)
            .or_insert_with(|| Waiting { messages: VecDeque::new(), bytes: 0 });
        if waiting.messages.len() >= share.messages_max
            || waiting.bytes.saturating_add(bytes) > share.bytes_max
        {
            return false;
        }
        waiting.messages.push_back((message, bytes));
        waiting.bytes += bytes;
        drop(state);
        self.shared.arrived.notify_one();
        true
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.arrived.notify_one();
    }
}

impl<T> Receiver<T> {
    /// The next message; `None` when the network has stopped and nothing is left.
    ///
    /// Dropping the future loses no message.
    pub(super) async fn next(&mut self) -> Option<T> {
        loop {
            {
                let mut state = self.shared.state();
                if let Some(message) = state.lanes.iter_mut().find_map(Lane::pop) {
                    return Some(message);
                }
                if state.closed {
                    return None;
                }
            }
            // One receiver only, so a wake-up between the look and the wait is kept for it.
            self.shared.arrived.notified().await;
        }
    }

    /// The next message if one is waiting.
    pub(super) fn try_next(&mut self) -> Option<T> {
        self.shared.state().lanes.iter_mut().find_map(Lane::pop)
    }
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Nothing under the lock can panic half way, so a poisoned state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Lane<T> {
    fn pop(&mut self) -> Option<T> {
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let peer = self
            .peers
            .range((after, Bound::Unbounded))
            .next()
            .or_else(|| self.peers.iter().next())
            .map(|(peer, _)| *peer)?;
        let waiting = self.peers.get_mut(&peer)?;
        let (message, bytes) = waiting.messages.pop_front()?;
        waiting.bytes -= bytes;
        if waiting.messages.is_empty() {
            self.peers.remove(&peer);
        }
        self.last = Some(peer);
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey;

    fn peer(seed: u8) -> NodeKey {
        NodeKey::from_bytes(&SecretKey::from_seed(&[seed; 32]).public()).unwrap()
    }

    fn share(messages_max: usize, bytes_max: usize) -> Share {
        Share { messages_max, bytes_max }
    }

    #[tokio::test]
    async fn an_earlier_lane_goes_first_and_each_lane_keeps_its_order() {
        let (sender, mut receiver) = inbox(vec![share(9, 99), share(9, 99)]);
        for (lane, message) in [(1, "c"), (0, "a"), (1, "d"), (0, "b")] {
            assert!(sender.push(lane, peer(1), message, 1));
        }
        for expected in ["a", "b", "c", "d"] {
            assert_eq!(receiver.next().await, Some(expected));
        }
        drop(sender);
        assert_eq!(receiver.next().await, None);
    }

    #[test]
    fn a_flooding_peer_fills_its_own_share_only() {
        let (sender, mut receiver) = inbox(vec![share(3, 100)]);
        assert_eq!((0..10).filter(|n| sender.push(0, peer(1), *n, 1)).count(), 3);
        assert!(sender.push(0, peer(2), 99, 1));
        let mut order = Vec::new();
        while let Some(message) = receiver.try_next() {
            order.push(message);
        }
        // The quiet peer waits for one message of the loud one, not for all.
        assert!(order[..2].contains(&99), "{order:?}");
        assert_eq!(order.len(), 4);
    }

    #[test]
    fn bytes_are_bounded_as_messages_are_and_freed_when_taken() {
        let (sender, mut receiver) = inbox(vec![share(9, 10)]);
        assert!(sender.push(0, peer(1), (), 6));
        assert!(!sender.push(0, peer(1), (), 6));
        receiver.try_next().unwrap();
        assert!(sender.push(0, peer(1), (), 6));
    }
}
