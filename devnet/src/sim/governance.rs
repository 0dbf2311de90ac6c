//! The operators of the world, changing the members one by one: propose, approve, join, re-key. They see the record as
//! anybody does and send the same operation again while it does not show.

use super::founding::Member;
use super::keys::Key;
use super::reference::Reference;
use super::scenario::Change;
use sillok_consensus::testing::Random;
use sillok_did_method::{parameters_hash, proposal_hash};
use sillok_ledger::TreeKey;
use sillok_ledger::certificate::{faulty_max, quorum};
use sillok_proto::v1::change::Change as Wire;
use sillok_proto::v1::operation::Operation;
use sillok_proto::{Hash, v1};
use std::collections::VecDeque;

/// How long the operators try before they let a change be.
const PATIENCE_US: u64 = 900_000;
/// How long until the same operation is sent again.
const AGAIN_US: u64 = 150_000;
const DAY_MS: u64 = 24 * 3_600_000;
/// The longest heartbeat that the operators of this world go over to.
pub(super) const HEARTBEAT_MS_MAX: u64 = 2_000;

/// What the world is to do for the operators.
pub(super) enum Order {
    /// Send an operation under this key.
    Send(Operation, Key),
    /// Give the node this validator key, with a new record, and start it again. Its old key is destroyed.
    Equip(usize, Key),
    /// A change is done.
    Done(Change),
}

/// A change under way.
struct Doing {
    change: Change,
    /// The node it is about.
    node: usize,
    /// The validator key that is to be seated.
    key: Option<Key>,
    /// The proposal, if it takes one.
    proposal: Option<v1::Proposal>,
    began_us: u64,
    sent_us: Option<u64>,
    equipped: bool,
    /// The record shows it: then it is pursued to its end, for half of a change may leave a seat that nobody sits on.
    shown: bool,
}

/// What the operators know of the nodes that is not on the record.
pub(super) struct Known<'a> {
    pub(super) members: &'a [Member],
    /// Nodes that are at fault for good, as far as the world knows: traitors, and validators that lost their key.
    pub(super) culprits: &'a [usize],
    /// Validators that lost their key.
    pub(super) keyless: &'a [usize],
    /// Nodes whose key must not be touched.
    pub(super) fixed: &'a [usize],
}

/// See the module.
#[derive(Default)]
pub(super) struct Operators {
    wanted: VecDeque<Change>,
    doing: Option<Doing>,
}

impl Operators {
    pub(super) fn want(&mut self, change: Change) {
        self.wanted.push_back(change);
    }

    pub(super) fn want_nothing_more(&mut self) {
        self.wanted.clear();
    }

    pub(super) fn is_idle(&self) -> bool {
        self.wanted.is_empty() && self.doing.is_none()
    }

    /// What the operators do now.
    pub(super) fn tick(
        &mut self,
        record: &Reference,
        known: &Known<'_>,
        random: &mut Random,
        now_us: u64,
        new_key: &mut dyn FnMut() -> Key,
    ) -> Vec<Order> {
        let given_up = |doing: &Doing| !doing.shown && now_us > doing.began_us + PATIENCE_US;
        if self.doing.as_ref().is_some_and(given_up) {
            self.doing = None;
        }
        if self.doing.is_none() {
            let Some(change) = self.wanted.pop_front() else { return Vec::new() };
            self.doing = begin(change, record, known, random, now_us, new_key);
        }
        let Some(doing) = &mut self.doing else { return Vec::new() };
        let (orders, done) = pursue(doing, record, known, now_us);
        if done {
            self.doing = None;
        }
        orders
    }
}

fn members(record: &Reference) -> v1::Members {
    record.read(&TreeKey::members()).unwrap_or_default()
}

/// Nodes of the latest set that is fixed.
fn seated(record: &Reference, known: &Known<'_>) -> Vec<usize> {
    let set = members(record).validators.unwrap_or_default();
    let sits = |member: &Member| {
        set.validators.iter().any(|one| one.organization == member.organization.did.0)
    };
    (0..known.members.len()).filter(|node| sits(&known.members[*node])).collect()
}

fn begin(
    change: Change,
    record: &Reference,
    known: &Known<'_>,
    random: &mut Random,
    now_us: u64,
    new_key: &mut dyn FnMut() -> Key,
) -> Option<Doing> {
    let seated = seated(record, known);
    let may_touch = |node: &usize| !known.fixed.contains(node);
    let mut any = |nodes: Vec<usize>| (!nodes.is_empty()).then(|| nodes[random.index(nodes.len())]);
    let now_ms = record.tip().header.time_ms;
    let propose = |wire| {
        Some(v1::Proposal {
            expires_ms: now_ms + DAY_MS,
            change: Some(v1::Change { change: Some(wire) }),
        })
    };
    let (node, key, proposal) = match change {
        Change::Add => {
            let operators = members(record).operators;
            let outside = (0..known.members.len()).filter(|node| {
                let did = &known.members[*node].organization.did;
                !operators.iter().any(|one| *one == did.0) && may_touch(node)
            });
            // Those who were members once keep their keys, which may not come back.
            let fresh = outside.filter(|node| record_of(record, &known.members[*node]).is_none());
            let node = any(fresh.collect())?;
            let member = &known.members[node];
            (node, Some(member.validator), propose(Wire::AdmitOperator(member.operator())))
        }
        Change::Rekey => {
            // An operator may do it once a day; mostly those are chosen that have not yet.
            let fresh = |node: &usize| {
                record_of(record, &known.members[*node]).is_none_or(|one| one.rekeyed_ms == 0)
            };
            let may: Vec<usize> = seated.iter().copied().filter(may_touch).collect();
            let node = match any(may.iter().copied().filter(fresh).collect()) {
                Some(node) => node,
                None => any(may)?,
            };
            (node, Some(new_key()), None)
        }
        Change::Replace => {
            let lost: Vec<usize> =
                seated.iter().copied().filter(|node| known.keyless.contains(node)).collect();
            let node = match any(lost) {
                Some(node) => node,
                None => any(seated.iter().copied().filter(may_touch).collect())?,
            };
            let key = new_key();
            let operator = v1::Operator {
                validator_key: key.point.to_vec(),
                ..known.members[node].operator()
            };
            (node, Some(key), propose(Wire::ReplaceOperator(operator)))
        }
        Change::Remove => {
            let node = any(seated.clone())?;
            let culprits =
                known.culprits.iter().filter(|one| seated.contains(one) && **one != node);
            if seated.len() <= 4 || culprits.count() > faulty_max(seated.len() - 1) {
                return None;
            }
            let organization = known.members[node].organization.did.to_vec();
            (node, None, propose(Wire::RemoveOperator(v1::RemoveOperator { organization })))
        }
        Change::Observer => {
            let node_key = new_key().point.to_vec();
            let observer = v1::Observer { node_key, archive: false };
            (0, None, propose(Wire::AdmitObserver(observer)))
        }
        Change::Parameters => {
            let old = record.read(&TreeKey::parameters()).unwrap_or_default();
            (0, None, propose(Wire::SetParameters(other_figures(&old, random))))
        }
    };
    Some(Doing {
        change,
        node,
        key,
        proposal,
        began_us: now_us,
        sent_us: None,
        equipped: false,
        shown: false,
    })
}

/// Figures that a network may go over to, one of them another at least.
fn other_figures(old: &v1::Parameters, random: &mut Random) -> v1::Parameters {
    let mut other = |old: u64, values: &[u64]| {
        let others: Vec<u64> = values.iter().copied().filter(|value| *value != old).collect();
        others[random.index(others.len())]
    };
    v1::Parameters {
        valid_until_window_ms: other(old.valid_until_window_ms, &[180_000, 240_000, 300_000]),
        heartbeat_ms: other(old.heartbeat_ms, &[1_000, HEARTBEAT_MS_MAX]),
        clock_ahead_ms: other(old.clock_ahead_ms, &[2_000, 3_000]),
        block_bytes_max: other(old.block_bytes_max, &[1 << 20, 2 << 20, 4 << 20]),
        block_signature_checks_max: other(
            old.block_signature_checks_max.into(),
            &[6_000, 8_000, 9_000],
        ) as u32,
        previous: parameters_hash(old).to_vec(),
        ..old.clone()
    }
}

fn record_of(record: &Reference, member: &Member) -> Option<v1::OperatorRecord> {
    record.read(&TreeKey::operator(&member.organization.did))
}

/// The next step of a change, and whether it is done.
fn pursue(
    doing: &mut Doing,
    record: &Reference,
    known: &Known<'_>,
    now_us: u64,
) -> (Vec<Order>, bool) {
    let due = doing.sent_us.is_none_or(|sent| now_us > sent + AGAIN_US);
    let member = &known.members[doing.node];
    let organization = member.organization.did.to_vec();
    let governor = |node: usize| known.members[node].governance;

    // First the approval.
    if let Some(proposal) = &doing.proposal {
        let hash: Hash = proposal_hash(record.genesis(), proposal);
        let shown: Option<v1::ProposalRecord> = record.read(&TreeKey::proposal(&hash));
        if shown.as_ref().is_none_or(|shown| shown.executed_height == 0) {
            if !due {
                return (Vec::new(), false);
            }
            doing.sent_us = Some(now_us);
            let seated = seated(record, known);
            let name = |node: usize| known.members[node].organization.did.to_vec();
            doing.shown |= shown.is_some();
            let Some(shown) = shown else {
                let Some(first) = seated.first().copied() else { return (Vec::new(), true) };
                let propose =
                    v1::Propose { operator: name(first), proposal: Some(proposal.clone()) };
                return (vec![Order::Send(Operation::Propose(propose), governor(first))], false);
            };
            let approved =
                |node: usize| shown.approvals.iter().any(|one| one.operator == name(node));
            let missing = seated.iter().filter(|node| !approved(**node));
            let wanted = quorum(seated.len()).saturating_sub(shown.approvals.len());
            let approve = |node: &usize| {
                let approve = v1::Approve { operator: name(*node), proposal_hash: hash.to_vec() };
                Order::Send(Operation::Approve(approve), governor(*node))
            };
            return (missing.take(wanted).map(approve).collect(), false);
        }
    }
    let Some(key) = doing.key else {
        return (vec![Order::Done(doing.change)], true);
    };

    // Then the key: named by its operator, joined by itself, seated two heights later.
    let point = key.point.to_vec();
    let next = record.height() + 1;
    let sits = |set: Option<&v1::ValidatorSet>| {
        set.is_some_and(|set| set.validators.iter().any(|one| one.public_key == point))
    };
    if sits(record.set(next)) {
        let mut orders = Vec::new();
        if !doing.equipped {
            orders.push(Order::Equip(doing.node, key));
        }
        orders.push(Order::Done(doing.change));
        return (orders, true);
    }
    if sits(record.set(next + 1)) {
        return (Vec::new(), false);
    }
    let pending = record_of(record, member).and_then(|record| record.pending);
    let named = pending.is_some_and(|pending| pending.validator_key == point);
    if !due {
        return (Vec::new(), false);
    }
    doing.sent_us = Some(now_us);
    if !named {
        if doing.proposal.is_some() {
            // Approved and gone again: somebody else's change came in between.
            return (Vec::new(), true);
        }
        let rekey = v1::Rekey { operator: organization, validator_key: point };
        return (vec![Order::Send(Operation::Rekey(rekey), member.governance)], false);
    }
    doing.shown = true;
    let mut orders = Vec::new();
    // A node that votes goes on with its old key until the new one is seated.
    let votes = seated(record, known).contains(&doing.node) && !known.keyless.contains(&doing.node);
    if !votes && !doing.equipped {
        doing.equipped = true;
        orders.push(Order::Equip(doing.node, key));
    }
    let tip = record.tip();
    let join = v1::Join {
        operator: organization,
        validator_key: point,
        header_height: tip.height(),
        header_hash: tip.hash.to_vec(),
    };
    orders.push(Order::Send(Operation::Join(join), key));
    (orders, false)
}
