//! What comes of a trial, as the message that a door answers with: for nodes, and for the ledgers in memory of tests.

use super::{
    EnrollmentPreview, EnrollmentStanding, EntriesPreview, MissingSignature, Prepared, Preview,
    PreviewChange, PreviewLeaf, Signer,
};
use crate::AdmissionError;
use sillok_proto::{Hash, v1};

impl Prepared {
    /// The message. `height` and `time_ms` say on what state it was tried, and when; `problem` words a rule.
    #[must_use]
    pub fn into_message(
        self,
        height: u64,
        time_ms: u64,
        problem: impl Fn(&AdmissionError) -> v1::Problem,
    ) -> v1::SimulateResponse {
        let violations = self.violations.into_iter().map(|one| v1::Violation {
            operation: one.operation.map(index),
            problem: Some(problem(&one.error)),
        });
        v1::SimulateResponse {
            transaction_id: self.id.to_vec(),
            height,
            time_ms,
            violations: violations.collect(),
            more_violations: self.more,
            missing: self.missing.into_iter().map(missing).collect(),
            previews: self.previews.into_iter().map(preview).collect(),
        }
    }
}

/// Transactions are too short for more operations, entries or leaves than a `u32` counts.
fn index(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn missing(one: MissingSignature) -> v1::MissingSignature {
    let signer = match one.signer {
        Signer::Submitter => v1::Signer::Submitter,
        Signer::Author => v1::Signer::Author,
        Signer::ActingRole => v1::Signer::ActingRole,
        Signer::Approver => v1::Signer::Approver,
        Signer::Holder => v1::Signer::Holder,
    };
    v1::MissingSignature {
        operation: one.operation.map(index),
        signer: signer.into(),
        did: one.did.map(Hash::to_vec).unwrap_or_default(),
        key_id: one.key_id.map(Hash::to_vec).unwrap_or_default(),
    }
}

fn preview(one: Preview) -> v1::OperationPreview {
    let head = match one.change {
        PreviewChange::Head(head) => Some(head),
        // The leaves say what becomes of members, grants, types and lists.
        _ => None,
    };
    v1::OperationPreview {
        operation: index(one.operation),
        head,
        leaves: one.leaves.into_iter().map(leaf).collect(),
        entries: one.entries.into_iter().map(entries).collect(),
        enrollments: one.enrollments.into_iter().map(enrollment).collect(),
        limit: one.limit.map(|limit| v1::LimitPreview {
            organization: limit.organization.to_vec(),
            action: limit.action.into(),
            resource: limit.resource,
            limit: limit.limit,
            left: limit.left,
        }),
    }
}

fn leaf(leaf: PreviewLeaf) -> v1::PreviewLeaf {
    v1::PreviewLeaf { key: leaf.key.to_vec(), is_new: leaf.is_new, value: leaf.value }
}

fn entries(group: EntriesPreview) -> v1::EntriesPreview {
    v1::EntriesPreview {
        list: group.list.to_vec(),
        from: group.from as u32,
        to: group.to as u32,
        count: index(group.count),
        indexes: group.indexes,
    }
}

fn enrollment(one: EnrollmentPreview) -> v1::EnrollmentPreview {
    let standing = |one: EnrollmentStanding| v1::EnrollmentStanding {
        state: one.state.into(),
        number: one.number,
        active_number: one.active_number,
        valid_until_ms: one.valid_until_ms,
        deadline_ms: one.deadline_ms,
    };
    v1::EnrollmentPreview {
        is_new_handle: one.is_new_handle,
        before: one.before.map(standing),
        after: Some(standing(one.after)),
    }
}
