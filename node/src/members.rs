//! Who is a member, as this node's record has it: for the network, which keeps their connections, and for the doors,
//! which tell of them (PROTOCOL II.5, §7.3).
//!
//! Nothing is decided here: who becomes a member is the ledger's to say.

use crate::ledger::Ledger;
use crate::network::{Members, NetworkHandle, NodeKey};
use crate::standing::KeyWatch;
use crate::storage::{StateAt, Storage, StorageError};
use prost::Message;
use sillok_ledger::{MEMBERSHIP_DELAY, StateView, Tip, TreeKey};
use sillok_proto::{Hash, v1};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A record whose last block is older than this may not know who is a member now.
const STALE_AFTER_MS: u64 = 60_000;
/// Heartbeats after which it is stale, where they are slow.
const STALE_HEARTBEATS: u64 = 6;
/// How often that is looked at when no block comes.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often the keys in the node's directory are looked up on the record.
const LOOK_AT_KEYS_EVERY: Duration = Duration::from_secs(60);
/// Heights in which those who left of late are looked for: at ten blocks a second they are more than [`LEAVING_MS`].
const LEAVING_HEIGHTS: u64 = 10_000;
/// How long a validator that left may ask for the blocks up to its last, by ledger time.
const LEAVING_MS: u64 = 600_000;

/// The members after a block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    /// Nodes of the validators of the next two heights, with their keys.
    pub validators: BTreeMap<NodeKey, Vec<u8>>,
    /// Nodes of operators that may join or take over, and of observers.
    pub others: BTreeSet<NodeKey>,
    /// Nodes of validators that left of late, each with the last height that its key voted at.
    pub leaving: BTreeMap<NodeKey, u64>,
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
        roster.leaving = left_of_late(storage, tip)?;
        // Who was admitted anew, or has another key, is no stranger.
        let Self { validators, others, leaving, .. } = &mut roster;
        leaving.retain(|node, _| !validators.contains_key(node) && !others.contains(node));
        Ok(roster)
    }

    /// What the network is to know of the members after `tip` at `now_ms` of the machine's clock.
    #[must_use]
    pub fn for_network(&self, tip: &Tip, now_ms: u64) -> Members {
        // An idle network makes a block every heartbeat, and no more.
        let stale_after_ms =
            STALE_AFTER_MS.max(tip.parameters.heartbeat_ms.saturating_mul(STALE_HEARTBEATS));
        Members {
            validators: self.validators.keys().copied().collect(),
            others: self.others.clone(),
            leaving: self.leaving.clone(),
            stale: tip.header.time_ms.saturating_add(stale_after_ms) < now_ms,
        }
    }
}

/// The nodes whose validator keys went out of the set, each with its last height: that of the header that names a set
/// without it for the next height.
fn left_of_late(storage: &Storage, tip: &Tip) -> Result<BTreeMap<NodeKey, u64>, StorageError> {
    let mut left = BTreeMap::new();
    let set = |hash: &[u8]| {
        let set = Hash::from_slice(hash).map_or(Ok(None), |hash| storage.validator_set(&hash));
        Ok::<_, StorageError>(set?.unwrap_or_default().validators)
    };
    let from = tip.height().saturating_sub(LEAVING_HEIGHTS);
    for last_height in storage.set_changes(from, usize::MAX)? {
        let Some(header) = storage.header(last_height)? else { continue };
        if header.time_ms.saturating_add(LEAVING_MS) <= tip.header.time_ms {
            continue;
        }
        let after = set(&header.next_validator_set_hash)?;
        let stays = |key: &[u8]| after.iter().any(|one| one.public_key == key);
        // The state that still names its node for this key: before the block that took the seat, if it is kept.
        let state = storage.at(last_height.saturating_sub(MEMBERSHIP_DELAY));
        for validator in set(&header.validator_set_hash)? {
            if !stays(&validator.public_key)
                && let Some(operator) = Operator::read(&state, &validator.organization)?
                && let Some(node) = operator.node_of(&validator.public_key)
            {
                left.insert(node, last_height);
            }
        }
    }
    Ok(left)
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// What the record has about an operator's nodes.
pub(crate) struct Operator {
    keys: v1::Operator,
    pending: Option<v1::PendingKey>,
    previous_node_key: Vec<u8>,
}

impl Operator {
    pub(crate) fn read(
        state: &StateAt<'_>,
        organization: &[u8],
    ) -> Result<Option<Self>, StorageError> {
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
    pub(crate) fn may_join(&self, tip: &Tip) -> Option<&v1::PendingKey> {
        self.pending.as_ref().filter(|pending| tip.header.time_ms < pending.expires_ms)
    }

    /// The node that takes over with a validator key that may still join.
    fn pending_node(&self, tip: &Tip) -> Option<NodeKey> {
        NodeKey::from_bytes(&self.may_join(tip)?.node_key).ok()
    }
}

pub(crate) fn leaf<M: Message + Default>(
    state: &StateAt<'_>,
    key: &TreeKey,
) -> Result<Option<M>, StorageError> {
    let bytes = state.leaf(key).map_err(|fault| StorageError::Io { reason: fault.reason })?;
    bytes
        .map(|bytes| sillok_proto::decode(&bytes, sillok_ledger::overlay::LEAF_BYTES_MAX))
        .transpose()
        .map_err(|error| StorageError::Damaged { reason: error.to_string() })
}

/// Follows the record: after every block the network keeps the connections of those who are members then, and the doors
/// know of them. Now and then the log is told of keys that wait.
pub async fn follow(
    ledger: Arc<Ledger>,
    network: NetworkHandle,
    mut keys: KeyWatch,
    shown: watch::Sender<Roster>,
    stop: watch::Receiver<bool>,
) {
    let mut looked: Option<Instant> = None;
    let mut tips = ledger.watch_tip();
    let mut stop = stop;
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
                let members = roster.for_network(&tip, now_ms);
                // A record that is far behind knows of no approval yet.
                let due = looked.is_none_or(|at| at.elapsed() > LOOK_AT_KEYS_EVERY);
                if !members.stale && due {
                    looked = Some(Instant::now());
                    let ledger = ledger.clone();
                    let look = move || keys.look(&ledger).map(|()| keys);
                    match tokio::task::spawn_blocking(look).await {
                        Ok(Ok(back)) => keys = back,
                        _ => return,
                    }
                }
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
