//! Operations on members, as stories tell them.
//!
//! The keys of an operator are `<name>/validator`, `<name>/node` and `<name>/governance`; later ones end in a number. A
//! [`Motion`] is a change that is proposed and approved; `carried` is by three of the first four operators.

use crate::story::{Draft, members};
use crate::support::{START_MS, World, key};
use sillok_did_method::proposal_hash;
use sillok_ledger::TreeKey;
use sillok_proto::{Hash, v1};
use std::rc::Rc;
use v1::change::Change;
use v1::operation::Operation as Wire;

pub(crate) const HOUR_MS: u64 = 3_600_000;
pub(crate) const DAY_MS: u64 = 24 * HOUR_MS;

/// A change, made once the world is known.
type ChangeIn = Rc<dyn Fn(&World) -> Option<Change>>;

/// A change with the end of its proposal.
#[derive(Clone)]
pub(crate) struct Motion {
    pub(crate) change: ChangeIn,
    pub(crate) expires_ms: u64,
}

pub(crate) fn motion(change: impl Fn(&World) -> Change + 'static) -> Motion {
    Motion { change: Rc::new(move |world| Some(change(world))), expires_ms: START_MS + 20 * DAY_MS }
}

/// The keys of an operator: the first ones, or later ones by a number behind them.
pub(crate) fn keys(world: &World, name: &str, number: &str) -> v1::Operator {
    let point = |what: &str| key(&format!("{name}/{what}{number}")).point;
    v1::Operator {
        organization: world.did(name).to_vec(),
        validator_key: point("validator"),
        node_key: point("node"),
        governance_key: point("governance"),
        archive: false,
    }
}

/// A new member with its first keys.
pub(crate) fn admit(name: &'static str) -> Motion {
    admit_keys(name, "")
}

/// A new member with these of its keys.
pub(crate) fn admit_keys(name: &'static str, number: &'static str) -> Motion {
    admit_with(name, number, |_| {})
}

pub(crate) fn admit_with(
    name: &'static str,
    number: &'static str,
    edit: impl Fn(&mut v1::Operator) + 'static,
) -> Motion {
    motion(move |world| {
        let mut operator = keys(world, name, number);
        edit(&mut operator);
        Change::AdmitOperator(operator)
    })
}

/// New keys of a member; it stays an archive if it was one.
pub(crate) fn replace(name: &'static str, number: &'static str) -> Motion {
    replace_with(name, number, |_| {})
}

pub(crate) fn replace_with(
    name: &'static str,
    number: &'static str,
    edit: impl Fn(&mut v1::Operator) + 'static,
) -> Motion {
    motion(move |world| {
        let mut operator = keys(world, name, number);
        let before = world.operator(name).and_then(|record| record.operator).unwrap_or_default();
        operator.archive = before.archive;
        edit(&mut operator);
        Change::ReplaceOperator(operator)
    })
}

pub(crate) fn remove(name: &'static str) -> Motion {
    motion(move |world| {
        Change::RemoveOperator(v1::RemoveOperator { organization: world.did(name).to_vec() })
    })
}

pub(crate) fn observe(node_key: &'static str) -> Motion {
    motion(move |_| {
        Change::AdmitObserver(v1::Observer { node_key: key(node_key).point, archive: false })
    })
}

pub(crate) fn unobserve(node_key: &'static str) -> Motion {
    motion(move |_| Change::RemoveObserver(v1::RemoveObserver { node_key: key(node_key).point }))
}

impl Motion {
    /// Ends at this ledger time.
    pub(crate) fn until(mut self, expires_ms: u64) -> Self {
        self.expires_ms = expires_ms;
        self
    }

    pub(crate) fn proposal(&self, world: &World) -> v1::Proposal {
        v1::Proposal {
            expires_ms: self.expires_ms,
            change: Some(v1::Change { change: (self.change)(world) }),
        }
    }

    pub(crate) fn hash(&self, world: &World) -> Hash {
        proposal_hash(world.chain.hash(), &self.proposal(world))
    }

    pub(crate) fn record(&self, world: &World) -> Option<v1::ProposalRecord> {
        world.leaf(&TreeKey::proposal(&self.hash(world)))
    }

    pub(crate) fn proposed_by(&self, name: &'static str) -> Draft {
        let motion = self.clone();
        let operation = move |world: &World| {
            Wire::Propose(v1::Propose {
                operator: world.did(name).to_vec(),
                proposal: Some(motion.proposal(world)),
            })
        };
        members(operation, &format!("{name}/governance"))
    }

    pub(crate) fn approved_by(&self, name: &'static str) -> Draft {
        let motion = self.clone();
        let operation = move |world: &World| {
            Wire::Approve(v1::Approve {
                operator: world.did(name).to_vec(),
                proposal_hash: motion.hash(world).to_vec(),
            })
        };
        members(operation, &format!("{name}/governance"))
    }

    /// Proposed by the first and approved by the others.
    pub(crate) fn carried_by(&self, names: &[&'static str]) -> Vec<Draft> {
        let approvals = names[1..].iter().map(|name| self.approved_by(name));
        [self.proposed_by(names[0])].into_iter().chain(approvals).collect()
    }

    /// Carried by three of the first four.
    pub(crate) fn carried(&self) -> Vec<Draft> {
        self.carried_by(&["operator-1", "operator-2", "operator-3"])
    }

    /// All but the approval that executes it.
    pub(crate) fn nearly_carried(&self) -> Vec<Draft> {
        self.carried_by(&["operator-1", "operator-2"])
    }
}

/// The header of a height among the last.
pub(crate) fn header_of(world: &World, height: u64) -> Hash {
    if height == world.tip.height() {
        return world.tip.hash;
    }
    world.tip.recent.header(height).map_or(Hash([0; 32]), |header| header.hash)
}

/// A validator key joins over the header of a height.
pub(crate) fn join_over(name: &'static str, validator: &'static str, height: u64) -> Draft {
    let operation = move |world: &World| {
        Wire::Join(v1::Join {
            operator: world.did(name).to_vec(),
            validator_key: key(&format!("{name}/{validator}")).point,
            header_height: height,
            header_hash: header_of(world, height).to_vec(),
        })
    };
    members(operation, &format!("{name}/{validator}"))
}

/// A validator key joins over the latest header.
pub(crate) fn join(name: &'static str, validator: &'static str) -> Draft {
    let operation = move |world: &World| {
        Wire::Join(v1::Join {
            operator: world.did(name).to_vec(),
            validator_key: key(&format!("{name}/{validator}")).point,
            header_height: world.tip.height(),
            header_hash: world.tip.hash.to_vec(),
        })
    };
    members(operation, &format!("{name}/{validator}"))
}

pub(crate) fn rekey(name: &'static str, validator: &'static str) -> Draft {
    let operation = move |world: &World| {
        Wire::Rekey(v1::Rekey {
            operator: world.did(name).to_vec(),
            validator_key: key(&format!("{name}/{validator}")).point,
        })
    };
    members(operation, &format!("{name}/governance"))
}

pub(crate) fn all(parts: &[Vec<Draft>]) -> Vec<Draft> {
    parts.concat()
}
