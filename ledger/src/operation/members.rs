//! Who is a member: the one leaf that says so, read before and written after every change (PROTOCOL §7.3).
//!
//! [`Roster`] is that leaf in hand. What must hold whenever the set changes is here too: a quorum that is not absent.
//! Deliberately absent: who may change it; that is each operation's.

use super::{Context, Signers};
use crate::certificate::{VALIDATORS_MAX, check_validator_set, quorum};
use crate::governance::MEMBERSHIP_DELAY;
use crate::overlay::read;
use crate::{AdmissionError, Overlay, StateFault, StateView, TreeKey, proposers};
use sillok_did_method::{ed25519_key, key_id};
use sillok_proto::{Hash, encode, v1};
use std::collections::{BTreeMap, BTreeSet};

/// The members as they are after the operations before this one: set(h + 2) in the making.
#[derive(Debug, Clone)]
pub(super) struct Roster {
    /// By key.
    seats: BTreeMap<Vec<u8>, v1::Validator>,
    operators: BTreeSet<Vec<u8>>,
    observers: BTreeSet<Vec<u8>>,
}

impl Roster {
    pub(super) fn read<V: StateView + ?Sized>(view: &V) -> Result<Self, StateFault> {
        let members: v1::Members = read(view, &TreeKey::members())?
            .ok_or_else(|| StateFault::new("the leaf of the members is missing"))?;
        let seats = members.validators.unwrap_or_default().validators;
        Ok(Self {
            seats: seats.into_iter().map(|seat| (seat.public_key.clone(), seat)).collect(),
            operators: members.operators.into_iter().collect(),
            observers: members.observers.into_iter().collect(),
        })
    }

    pub(super) fn write<V: StateView + ?Sized>(self, state: &mut Overlay<'_, V>) {
        let members = v1::Members {
            validators: Some(self.set()),
            operators: self.operators.into_iter().collect(),
            observers: self.observers.into_iter().collect(),
        };
        state.put(TreeKey::members(), encode(&members));
    }

    fn set(&self) -> v1::ValidatorSet {
        v1::ValidatorSet { validators: self.seats.values().cloned().collect() }
    }

    /// Does this organization hold a seat?
    pub(super) fn is_seated(&self, organization: &Hash) -> bool {
        self.seat_of(organization).is_some()
    }

    /// Is this organization seated, or may it join?
    pub(super) fn is_operator(&self, organization: &Hash) -> bool {
        self.operators.contains(organization.0.as_slice())
    }

    /// The seat of this organization.
    pub(super) fn seat_of(&self, organization: &Hash) -> Option<&v1::Validator> {
        self.seats.values().find(|seat| seat.organization == organization.0)
    }

    /// Are these more than two thirds of the operators? They are counted at the height that executes: approvals of who
    /// has no seat any more do not count, nor those by a governance key that is not in force any more, for that may
    /// have been in the wrong hands.
    pub(super) fn is_quorum<V: StateView + ?Sized>(
        &self,
        approvals: &[v1::GovernanceApproval],
        view: &V,
    ) -> Result<bool, StateFault> {
        let mut count: usize = 0;
        for approval in approvals {
            let Some(operator) = Hash::from_slice(&approval.operator) else { continue };
            if self.is_seated(&operator) {
                let key = governance_key(&member_record(view, &operator)?);
                if key_id(&key).0.as_slice() == approval.key_id {
                    count = count.saturating_add(1);
                }
            }
        }
        Ok(count >= quorum(self.seats.len()))
    }

    pub(super) fn operator_count(&self) -> usize {
        self.operators.len()
    }

    pub(super) fn observer_count(&self) -> usize {
        self.observers.len()
    }

    pub(super) fn is_observer(&self, node_key: &[u8; 32]) -> bool {
        self.observers.contains(node_key.as_slice())
    }

    pub(super) fn add_operator(&mut self, organization: &Hash) {
        self.operators.insert(organization.to_vec());
    }

    pub(super) fn remove_operator(&mut self, organization: &Hash) {
        self.operators.remove(organization.0.as_slice());
    }

    pub(super) fn add_observer(&mut self, node_key: &[u8; 32]) {
        self.observers.insert(node_key.to_vec());
    }

    pub(super) fn remove_observer(&mut self, node_key: &[u8; 32]) {
        self.observers.remove(node_key.as_slice());
    }

    /// Takes the organization's seat away. The caller checks that the rest can go on.
    pub(super) fn unseat(&mut self, organization: &Hash) {
        self.seats.retain(|_, seat| seat.organization != organization.0);
    }

    /// Gives the organization one seat, under this key, instead of the one it has.
    pub(super) fn seat(
        &mut self,
        context: &Context<'_>,
        organization: &Hash,
        key: &[u8; 32],
    ) -> u64 {
        let since_height = effective_height(context);
        self.unseat(organization);
        let seat = v1::Validator {
            public_key: key.to_vec(),
            organization: organization.to_vec(),
            since_height,
        };
        self.seats.insert(key.to_vec(), seat);
        since_height
    }

    /// A change of the set leaves a quorum of validators that are not absent: else the next height might never come,
    /// and with it no operation that could mend it.
    pub(super) fn require_quorum(&self, context: &Context<'_>) -> Result<(), AdmissionError> {
        let set = self.set();
        let validators = set.validators.len();
        let frame = context.frame;
        let absent = proposers::absent(&set, frame.height, frame.recent).len();
        let present = validators.saturating_sub(absent);
        let quorum = quorum(validators);
        if validators == 0 || present < quorum {
            return Err(AdmissionError::NoQuorumLeft { validators, present, quorum });
        }
        if validators > VALIDATORS_MAX || check_validator_set(&set).is_err() {
            // At most as many seats as operators, and keys and digests of 32 bytes, by every rule that writes them.
            return Err(
                StateFault::new("the members contradict the rules of a validator set").into()
            );
        }
        Ok(())
    }

    /// How many seats are those of archives.
    pub(super) fn archives<V: StateView + ?Sized>(&self, view: &V) -> Result<usize, StateFault> {
        let mut archives: usize = 0;
        for seat in self.seats.values() {
            let record = Hash::from_slice(&seat.organization)
                .map(|organization| record(view, &organization))
                .transpose()?;
            let operator = record.flatten().and_then(|record| record.operator);
            if operator.is_some_and(|operator| operator.archive) {
                archives = archives.saturating_add(1);
            }
        }
        Ok(archives)
    }

    /// Fewer archives than `archives_min`, and fewer than before: then history might be lost (PROTOCOL §6.5). A
    /// network that has too few already may still change.
    pub(super) fn require_archives<V: StateView + ?Sized>(
        view: &V,
        before: usize,
        archives: usize,
    ) -> Result<(), AdmissionError> {
        let min = parameters(view)?.archives_min;
        if archives < before && archives < usize::try_from(min).unwrap_or(usize::MAX) {
            return Err(AdmissionError::ArchivesMin { archives, min });
        }
        Ok(())
    }

    /// Forgets who was admitted, did not join, and cannot any more. Dates are compared, never swept (PROTOCOL §2.5):
    /// this happens only when somebody else needs the place, and changes nobody's rights.
    pub(super) fn forget_expired<V: StateView + ?Sized>(
        &mut self,
        context: &Context<'_>,
        view: &V,
    ) -> Result<(), StateFault> {
        let mut expired = Vec::new();
        for operator in &self.operators {
            let Some(organization) = Hash::from_slice(operator) else { continue };
            if self.is_seated(&organization) {
                continue;
            }
            let pending = record(view, &organization)?.and_then(|record| record.pending);
            if pending.is_none_or(|pending| context.frame.time_ms >= pending.expires_ms) {
                expired.push(organization);
            }
        }
        for organization in expired {
            self.remove_operator(&organization);
        }
        Ok(())
    }
}

/// The first height at which a change of this block is in force.
pub(super) const fn effective_height(context: &Context<'_>) -> u64 {
    context.frame.height.saturating_add(MEMBERSHIP_DELAY)
}

/// The figures of the next block. An earlier transaction of this one may have set them.
pub(super) fn parameters<V: StateView + ?Sized>(view: &V) -> Result<v1::Parameters, StateFault> {
    read(view, &TreeKey::parameters())?.ok_or_else(|| StateFault::new("the parameters are missing"))
}

/// What is written about a member, also one that is none any more.
pub(super) fn record<V: StateView + ?Sized>(
    view: &V,
    organization: &Hash,
) -> Result<Option<v1::OperatorRecord>, StateFault> {
    read(view, &TreeKey::operator(organization))
}

/// The record of an organization that the roster lists.
pub(super) fn member_record<V: StateView + ?Sized>(
    view: &V,
    organization: &Hash,
) -> Result<v1::OperatorRecord, StateFault> {
    record(view, organization)?.ok_or_else(|| StateFault::new("a member has no record"))
}

/// The governance key in force.
pub(super) fn governance_key(record: &v1::OperatorRecord) -> v1::PublicKey {
    let point = record.operator.as_ref().map(|keys| keys.governance_key.as_slice());
    ed25519_key(point.unwrap_or_default())
}

/// The record of a seated operator whose governance key signed this operation.
pub(super) fn require_operator<V: StateView + ?Sized>(
    context: &Context<'_>,
    operator: &Hash,
    roster: &Roster,
    signers: &mut Signers<'_>,
    view: &V,
) -> Result<v1::OperatorRecord, AdmissionError> {
    context.require_named_submitter()?;
    if !roster.is_seated(operator) {
        return Err(AdmissionError::NotAnOperator { operator: *operator });
    }
    let record = member_record(view, operator)?;
    if !signers.take(&governance_key(&record))? {
        context.sink.report(AdmissionError::GovernanceKeyRequired {
            operation: context.index,
            operator: *operator,
        })?;
    }
    Ok(record)
}

/// A key of an operator is in no document, in no other record and no observer's: one key has one use, once (PROTOCOL
/// §3.4).
pub(super) fn require_unused<V: StateView + ?Sized>(
    key: &[u8; 32],
    roster: &Roster,
    view: &V,
) -> Result<(), AdmissionError> {
    if roster.is_observer(key) {
        return Err(AdmissionError::ObserverExists { key_id: key_id(&ed25519_key(key)) });
    }
    require_never_used(key, view)
}

/// Like [`require_unused`], for a node key, which an observer may bring along.
pub(super) fn require_never_used<V: StateView + ?Sized>(
    key: &[u8; 32],
    view: &V,
) -> Result<(), AdmissionError> {
    let key_id = key_id(&ed25519_key(key));
    match read::<v1::UsedKey>(view, &TreeKey::used_key(&key_id))? {
        Some(used) => Err(AdmissionError::KeyReuse { key_id, height: used.height }),
        None => Ok(()),
    }
}

/// From here on the key is used.
pub(super) fn use_key<V: StateView + ?Sized>(
    context: &Context<'_>,
    key: &[u8; 32],
    state: &mut Overlay<'_, V>,
) {
    let leaf = TreeKey::used_key(&key_id(&ed25519_key(key)));
    state.put(leaf, encode(&v1::UsedKey { height: context.frame.height }));
}
