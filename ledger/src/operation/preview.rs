//! What an operation would write, read from the state before and after it (PROTOCOL §5.3).
//!
//! Nothing is decided here: rules ran, and this looks at what they wrote. Of an enrollment it says how it stands and how
//! many entries go with it, not which: whoever acts for an issuer could else read a person's entries without touching
//! them.

use super::acting::{self, Class, Deed};
use super::enrollment::Held;
use super::{Context, Effect};
use crate::governance::GovernanceEvent;
use crate::overlay::read;
use crate::status::{self, CHUNK_BYTES, StatusEvent, pending_chunk};
use crate::trust::TrustEvent;
use crate::{LeafKind, Overlay, StateFault, StateView, TreeKey};
use sillok_did_method::{CHUNK_ENTRIES, CheckedOperation, Enrollment, EntryState};
use sillok_proto::{Hash, v1};
use std::collections::BTreeMap;

/// What one operation would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    /// Index in the body.
    pub operation: usize,
    /// What it does.
    pub change: PreviewChange,
    /// The leaves it writes, by key; without those of the entries that go with an enrollment.
    pub leaves: Vec<PreviewLeaf>,
    /// How entries of lists change.
    pub entries: Vec<EntriesPreview>,
    /// How enrollments change: the one that it names, and the one it moves to.
    pub enrollments: Vec<EnrollmentPreview>,
    /// What is left of the hourly limit of the acting role, if it has one.
    pub limit: Option<LimitPreview>,
}

/// What an operation does, as an event would say it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum PreviewChange {
    /// The next version of a DID.
    Head(v1::Head),
    /// Members and proposals, and a grant where a proposal about one would be executed.
    Governance(Vec<GovernanceEvent>, Option<TrustEvent>),
    /// A grant or a type.
    Trust(TrustEvent),
    /// A list, entries, an enrollment.
    Status(StatusEvent),
}

/// A leaf that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviewLeaf {
    /// Where.
    pub key: TreeKey,
    /// Was there none before?
    pub is_new: bool,
    /// What it holds then; nothing for what is private, and for chunks and dates, which `entries` says.
    pub value: Vec<u8>,
}

/// Entries of one list that go from one state to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntriesPreview {
    /// Name of the list.
    pub list: Hash,
    /// What they are.
    pub from: EntryState,
    /// What they become.
    pub to: EntryState,
    /// How many.
    pub count: usize,
    /// Which, ascending; none where they go with an enrollment.
    pub indexes: Vec<u32>,
}

/// How an enrollment stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrollmentStanding {
    /// As it is written; past its end it is expired all the same.
    pub state: v1::EnrollmentState,
    /// Of the last one reserved.
    pub number: u32,
    /// Of the one that is or was active.
    pub active_number: u32,
    /// Its end.
    pub valid_until_ms: u64,
    /// Until when the reservation can be activated; 0 = there is none.
    pub deadline_ms: u64,
}

/// How an enrollment changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrollmentPreview {
    /// Is it the one that the enrollment moves to?
    pub is_new_handle: bool,
    /// `None`: there is none.
    pub before: Option<EnrollmentStanding>,
    /// Then.
    pub after: EnrollmentStanding,
}

/// What is left of an hourly limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitPreview {
    /// Digest of the acting role.
    pub organization: Hash,
    /// Which right.
    pub action: v1::Action,
    /// The resource of its grant.
    pub resource: Vec<u8>,
    /// How many in an hour.
    pub limit: u32,
    /// How many the hour has left after this.
    pub left: u32,
}

/// Reads what an operation did from the state before it and after it.
pub(crate) fn preview<V: StateView + ?Sized>(
    context: &Context<'_>,
    operation: &CheckedOperation,
    effect: Effect,
    before: &V,
    after: &Overlay<'_, V>,
) -> Result<Preview, StateFault> {
    let change = match effect {
        Effect::Head(head) => PreviewChange::Head(head),
        Effect::Governance(events, trust) => PreviewChange::Governance(events, trust),
        Effect::Trust(event) => PreviewChange::Trust(event),
        Effect::Status(event) => PreviewChange::Status(event),
    };
    let entries = match &change {
        PreviewChange::Status(StatusEvent::StatusSet { list, chunks, .. }) => {
            let chunks: Vec<(Hash, u32)> = chunks.iter().map(|number| (*list, *number)).collect();
            entries(&chunks, true, before, after)?
        }
        PreviewChange::Status(StatusEvent::EnrollmentSet { chunks, .. }) => {
            entries(chunks, false, before, after)?
        }
        _ => Vec::new(),
    };
    Ok(Preview {
        operation: context.index,
        change,
        leaves: leaves(operation, before, after)?,
        entries,
        enrollments: enrollments(context, operation, before, after)?,
        limit: limit(context, operation, after)?,
    })
}

/// Does a leaf say something of entries: a chunk, or the dates beside it?
pub(crate) fn is_of_entries(key: &TreeKey) -> bool {
    [LeafKind::Chunk, LeafKind::EntryRecord].map(|kind| kind as u8).contains(&key.kind_nibble())
}

fn leaves<V: StateView + ?Sized>(
    operation: &CheckedOperation,
    before: &V,
    after: &Overlay<'_, V>,
) -> Result<Vec<PreviewLeaf>, StateFault> {
    // The key of a chunk names it: lists and numbers can be tried.
    let is_counted = matches!(operation, CheckedOperation::SetEnrollment(_));
    let written = after.changes().leaves.iter();
    written
        .filter(|(key, _)| !(is_counted && is_of_entries(key)))
        .map(|(key, value)| {
            let hidden = is_of_entries(key) || key.kind_nibble() == LeafKind::Private as u8;
            Ok(PreviewLeaf {
                key: *key,
                is_new: before.leaf(key)?.is_none(),
                value: if hidden { Vec::new() } else { value.clone() },
            })
        })
        .collect()
}

fn chunk<V: StateView + ?Sized>(view: &V, list: &Hash, number: u32) -> Result<Vec<u8>, StateFault> {
    let leaf: Option<v1::StatusChunk> = read(view, &TreeKey::status_chunk(list, number))?;
    let states = leaf.map_or_else(pending_chunk, |chunk| chunk.states);
    if states.len() == CHUNK_BYTES {
        Ok(states)
    } else {
        Err(StateFault::new("a chunk of a status list has another length"))
    }
}

fn entries<V: StateView + ?Sized>(
    chunks: &[(Hash, u32)],
    named: bool,
    before: &V,
    after: &Overlay<'_, V>,
) -> Result<Vec<EntriesPreview>, StateFault> {
    let mut groups: BTreeMap<(Hash, EntryState, EntryState), EntriesPreview> = BTreeMap::new();
    for (list, number) in chunks {
        let (old, new) = (chunk(before, list, *number)?, chunk(after, list, *number)?);
        let first = number.saturating_mul(CHUNK_ENTRIES);
        for place in 0..CHUNK_ENTRIES {
            if status::get(&old, place) == status::get(&new, place) {
                continue;
            }
            let (from, to) = (status::read_state(&old, place)?, status::read_state(&new, place)?);
            let group = groups.entry((*list, from, to)).or_insert_with(|| EntriesPreview {
                list: *list,
                from,
                to,
                count: 0,
                indexes: Vec::new(),
            });
            group.count = group.count.saturating_add(1);
            if named {
                group.indexes.push(first.saturating_add(place));
            }
        }
    }
    Ok(groups.into_values().collect())
}

fn standing(leaf: &v1::Enrollment) -> EnrollmentStanding {
    EnrollmentStanding {
        state: leaf.state(),
        number: leaf.number,
        active_number: leaf.active_number,
        valid_until_ms: leaf.valid_until_ms,
        deadline_ms: leaf.reservation.as_ref().map(|one| one.deadline_ms).unwrap_or_default(),
    }
}

fn enrollments<V: StateView + ?Sized>(
    context: &Context<'_>,
    operation: &CheckedOperation,
    before: &V,
    after: &Overlay<'_, V>,
) -> Result<Vec<EnrollmentPreview>, StateFault> {
    // Of entries that become valid the entries say all; their enrollments stay what they are.
    let CheckedOperation::SetEnrollment(op) = operation else { return Ok(Vec::new()) };
    let Some(handle) = context.private.and_then(|part| part.handles.first()) else {
        return Ok(Vec::new());
    };
    let (issuer, credential_type) = (&op.issuer, &op.credential_type);
    let held = Held::read(before, issuer, credential_type, handle)?;
    let mut handles = vec![(*handle, false)];
    let reservation = held.leaf.reservation.as_ref();
    handles.extend(
        reservation.and_then(|one| Hash::from_slice(&one.new_handle)).map(|new| (new, true)),
    );
    let mut changed = Vec::new();
    for (handle, is_new_handle) in handles {
        let before = Held::read(before, issuer, credential_type, &handle)?;
        let now = Held::read(after, issuer, credential_type, &handle)?;
        if now.leaf != before.leaf {
            changed.push(EnrollmentPreview {
                is_new_handle,
                before: before.present.then(|| standing(&before.leaf)),
                after: standing(&now.leaf),
            });
        }
    }
    Ok(changed)
}

fn limit<V: StateView + ?Sized>(
    context: &Context<'_>,
    operation: &CheckedOperation,
    after: &Overlay<'_, V>,
) -> Result<Option<LimitPreview>, StateFault> {
    let Some(part) = context.private else { return Ok(None) };
    let (credential_type, class) = match operation {
        CheckedOperation::SetStatus(op) => {
            let list: Option<v1::StatusList> = read(after, &TreeKey::status_list(&op.list))?;
            (list.and_then(|list| Hash::from_slice(&list.r#type)), Class::of_state(op.state))
        }
        CheckedOperation::SetEnrollment(op) => {
            let class = match part.enrollment {
                Some(Enrollment::Reserve { .. } | Enrollment::Reinstate { .. }) => Class::Gained,
                Some(Enrollment::Suspend { .. }) => Class::Suspended,
                Some(Enrollment::End { .. }) => Class::Ended,
                // It was counted when it was reserved.
                Some(Enrollment::Activate { .. }) | None => return Ok(None),
            };
            (Some(op.credential_type), class)
        }
        _ => return Ok(None),
    };
    let Some(credential_type) = credential_type else { return Ok(None) };
    let deed = if class == Class::Gained { Deed::Gain } else { Deed::Loss };
    acting::limit(context.frame, after, &part.acting_role, &credential_type, deed, class)
}
