//! Who is a member, as this node's record has it: for the network, which keeps their connections, and for the doors,
//! which tell of them (PROTOCOL II.5, §7.3).
//!
//! Nothing is decided here: who becomes a member is the ledger's to say.

use crate::ledger::Ledger;
use crate::network::{Members, NetworkHandle, NodeKey};
use crate::storage::{StateAt, Storage, StorageError};
use prost::Message;
use sillok_ledger::{StateView, Tip, TreeKey};
use sillok_proto::{Hash, v1};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A record whose last block is older than this may not know who is a member now.
const STALE_AFTER_MS: u64 = 60_000;
/// Heartbeats after which it is stale, where they are slow.
const STALE_HEARTBEATS: u64 = 6;
/// How often that is looked at when no block comes.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Heights that this may be late in looking.
const HEIGHTS_AT_ONCE: u64 = 16;
/// How long a validator that left may ask for the blocks up to its last, by ledger time.
const LEAVING_MS: u64 = 600_000;

/// The members after a block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    /// Nodes of the validators of the next two heights, with their keys.
    pub validators: BTreeMap<NodeKey, Vec<u8>>,
    /// Nodes of operators that may join or take over, and of observers.
    pub others: BTreeSet<NodeKey>,
    /// Nodes that the record calls archives.
    pub archives: Vec<NodeKey>,
    /// Operators that hold a seat in the latest set that is fixed.
    pub seated: u32,
    /// Operators that may join.
    pub pending: u32,
    /// Observers.
    pub observers: u32,
}

impl Roster {
    /// Reads the members after `tip`.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn read(storage: &Storage, tip: &Tip) -> Result<Self, StorageError> {
        let state = storage.at(tip.height());
        let members: v1::Members = leaf(&state, &TreeKey::members())?.unwrap_or_default();
        let mut roster = Self::default();
        let latest = members.validators.unwrap_or_default();
        // In the order of their heights: of two keys of one node the later one is its seat's.
        let sets = [&tip.validators, &tip.next_validators, &latest];
        let mut seated: BTreeMap<&[u8], Vec<&[u8]>> = BTreeMap::new();
        for validator in sets.into_iter().flat_map(|set| &set.validators) {
            seated.entry(&validator.organization).or_default().push(&validator.public_key);
        }
        roster.seated = count(latest.validators.len());
        // Also of an operator that was removed and still votes for a height or two.
        for (organization, keys) in &seated {
            let Some(operator) = Operator::read(&state, organization)? else { continue };
            for key in keys {
                if let Some(node) = operator.node_of(key) {
                    roster.validators.insert(node, key.to_vec());
                }
            }
            let node = operator.node();
            roster.archives.extend(node.filter(|_| operator.keys.archive));
            // The node that takes over when its validator key joins; until then the one before keeps its place.
            roster.others.extend(operator.pending_node(tip));
        }
        let known = |one: &&Vec<u8>| seated.contains_key(one.as_slice());
        for organization in members.operators.iter().filter(|one| !known(one)) {
            let Some(operator) = Operator::read(&state, organization)? else { continue };
            if operator.may_join(tip).is_some() {
                roster.pending += 1;
                let node = operator.node();
                roster.others.extend(node);
                roster.others.extend(operator.pending_node(tip));
                roster.archives.extend(node.filter(|_| operator.keys.archive));
            }
        }
        // A node with two places has the one of a validator.
        roster.others.retain(|node| !roster.validators.contains_key(node));
        roster.observers = count(members.observers.len());
        for key in &members.observers {
            let record: Option<v1::ObserverRecord> = leaf(&state, &TreeKey::observer(key))?;
            let Ok(node) = NodeKey::from_bytes(key) else { continue };
            roster.others.insert(node);
            let observer = record.and_then(|record| record.observer);
            roster.archives.extend(observer.is_some_and(|one| one.archive).then_some(node));
        }
        Ok(roster)
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// What the record has about an operator's nodes.
struct Operator {
    keys: v1::Operator,
    pending: Option<v1::PendingKey>,
    previous_node_key: Vec<u8>,
}

impl Operator {
    fn read(state: &StateAt<'_>, organization: &[u8]) -> Result<Option<Self>, StorageError> {
        let Some(organization) = Hash::from_slice(organization) else { return Ok(None) };
        let record: Option<v1::OperatorRecord> = leaf(state, &TreeKey::operator(&organization))?;
        let Some(v1::OperatorRecord { operator: Some(keys), pending, previous_node_key, .. }) =
            record
        else {
            return Ok(None);
        };
        Ok(Some(Self { keys, pending, previous_node_key }))
    }

    /// The node in force.
    fn node(&self) -> Option<NodeKey> {
        NodeKey::from_bytes(&self.keys.node_key).ok()
    }

    /// The node of a validator key that votes at one of the next heights. A join is in the record at once, and the key
    /// before it votes for one height more.
    fn node_of(&self, validator_key: &[u8]) -> Option<NodeKey> {
        if validator_key == self.keys.validator_key || self.previous_node_key.is_empty() {
            return self.node();
        }
        NodeKey::from_bytes(&self.previous_node_key).ok()
    }

    /// What may still join. Dates are compared, never swept (PROTOCOL §2.5).
    fn may_join(&self, tip: &Tip) -> Option<&v1::PendingKey> {
        self.pending.as_ref().filter(|pending| tip.header.time_ms < pending.expires_ms)
    }

    /// The node that takes over with a validator key that may still join.
    fn pending_node(&self, tip: &Tip) -> Option<NodeKey> {
        NodeKey::from_bytes(&self.may_join(tip)?.node_key).ok()
    }
}

fn leaf<M: Message + Default>(
    state: &StateAt<'_>,
    key: &TreeKey,
) -> Result<Option<M>, StorageError> {
    let bytes = state.leaf(key).map_err(|fault| StorageError::Io { reason: fault.reason })?;
    bytes
        .map(|bytes| sillok_proto::decode(&bytes, sillok_ledger::overlay::LEAF_BYTES_MAX))
        .transpose()
        .map_err(|error| StorageError::Damaged { reason: error.to_string() })
}

/// What the network is to know, and who left of late.
#[derive(Debug, Default)]
pub struct Following {
    roster: Roster,
    height: u64,
    /// Nodes that left: their last height, and the ledger time from which on they are forgotten.
    leaving: BTreeMap<NodeKey, (u64, u64)>,
}

impl Following {
    /// Takes note of the members after `tip`; what the network is to know of them at `now_ms` of the machine's clock.
    pub fn note(&mut self, roster: Roster, tip: &Tip, heartbeat_ms: u64, now_ms: u64) -> Members {
        let time_ms = tip.header.time_ms;
        // A validator of this height that is none of the next two has voted its last. Of one that left while we were far
        // behind nobody here can say which it was; a few heights may go by at once.
        if self.height > 0 && tip.height() <= self.height + HEIGHTS_AT_ONCE {
            for node in self.roster.validators.keys() {
                if !roster.validators.contains_key(node) {
                    self.leaving.insert(*node, (tip.height(), time_ms + LEAVING_MS));
                }
            }
        }
        self.leaving.retain(|node, (_, until_ms)| {
            time_ms < *until_ms
                && !roster.validators.contains_key(node)
                && !roster.others.contains(node)
        });
        (self.roster, self.height) = (roster, tip.height());
        let stale_after_ms = STALE_AFTER_MS.max(heartbeat_ms.saturating_mul(STALE_HEARTBEATS));
        Members {
            validators: self.roster.validators.keys().copied().collect(),
            others: self.roster.others.clone(),
            leaving: self.leaving.iter().map(|(node, (last, _))| (*node, *last)).collect(),
            stale: time_ms.saturating_add(stale_after_ms) < now_ms,
        }
    }
}

/// Follows the record: after every block the network keeps the connections of those who are members then, and the doors
/// know of them.
pub async fn follow(
    ledger: Arc<Ledger>,
    network: NetworkHandle,
    mut following: Following,
    shown: watch::Sender<Roster>,
    stop: watch::Receiver<bool>,
) {
    let mut tips = ledger.watch_tip();
    let mut stop = stop;
    let heartbeat_ms = ledger.chain.parameters().heartbeat_ms;
    loop {
        let tip = tips.borrow_and_update().clone();
        let storage = ledger.storage.clone();
        let at = tip.clone();
        let read = tokio::task::spawn_blocking(move || Roster::read(&storage, &at)).await;
        match read {
            Ok(Ok(roster)) => {
                shown.send_if_modified(|before| {
                    let changed = *before != roster;
                    if changed {
                        before.clone_from(&roster);
                    }
                    changed
                });
                let now_ms = ledger.clock().now_ms();
                let members = following.note(roster, &tip, heartbeat_ms, now_ms);
                if network.set_members(members).await.is_err() {
                    return;
                }
            }
            // The disk failed; ordering ends the process when it meets the same.
            Ok(Err(error)) => tracing::error!(err = %error, "the members could not be read"),
            Err(_) => return,
        }
        tokio::select! {
            changed = tips.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}
