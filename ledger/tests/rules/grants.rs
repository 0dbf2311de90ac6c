//! Operations of trust, as stories tell them: who gives whom which right, who ends it, and who publishes which type.

use crate::motion::{Motion, motion};
use crate::story::{Draft, members, together};
use crate::support::World;
use sillok_did_method::credential_type_name;
use sillok_proto::{Hash, v1};
use v1::change::Change;
use v1::operation::Operation as Wire;

/// A resource that is a credential type, whether it was published or not.
pub(crate) const TYPE: [u8; 32] = [0x71; 32];
/// Another.
pub(crate) const OTHER_TYPE: [u8; 32] = [0x72; 32];

/// An open grant from the block's time on, without limits.
pub(crate) fn grant(world: &World, to: &str, action: v1::Action, resource: &[u8]) -> v1::NewGrant {
    v1::NewGrant {
        organization: world.did(to).to_vec(),
        action: action.into(),
        resource: resource.to_vec(),
        ..v1::NewGrant::default()
    }
}

/// `grantor` gives `to` a right, and signs alone.
pub(crate) fn accredit(
    grantor: &'static str,
    to: &'static str,
    action: v1::Action,
    resource: &'static [u8],
) -> Draft {
    accredit_with(grantor, to, action, resource, |_, _| {})
}

/// The same with something changed about it. What is changed last knows the world.
pub(crate) fn accredit_with(
    grantor: &'static str,
    to: &'static str,
    action: v1::Action,
    resource: &'static [u8],
    edit: impl Fn(&World, &mut v1::NewGrant) + 'static,
) -> Draft {
    let operation = move |world: &World| {
        let mut grant = grant(world, to, action, resource);
        edit(world, &mut grant);
        let grantor = world.did(grantor).to_vec();
        Wire::Accredit(v1::Accredit { grantor, grant: Some(grant) })
    };
    members(operation, &format!("{grantor}/control"))
}

/// `by` ends a right of `of`: at `at_ms`, or now.
pub(crate) fn withdraw(
    by: &'static str,
    of: &'static str,
    action: v1::Action,
    resource: &'static [u8],
    at_ms: u64,
) -> Draft {
    let operation = move |world: &World| {
        let grant = v1::EndedGrant {
            organization: world.did(of).to_vec(),
            action: action.into(),
            resource: resource.to_vec(),
            at_ms,
        };
        Wire::Withdraw(v1::Withdraw { by: world.did(by).to_vec(), grant: Some(grant) })
    };
    members(operation, &format!("{by}/control"))
}

/// Governance gives a right of the first level.
pub(crate) fn accredited(
    to: &'static str,
    action: v1::Action,
    resource: &'static [u8],
    edit: impl Fn(&mut v1::NewGrant) + 'static,
) -> Motion {
    motion(move |world| {
        let mut grant = grant(world, to, action, resource);
        edit(&mut grant);
        Change::Accredit(grant)
    })
}

/// Governance ends a right of whatever level.
pub(crate) fn withdrawn(
    of: &'static str,
    action: v1::Action,
    resource: &'static [u8],
    at_ms: u64,
) -> Motion {
    motion(move |world| {
        Change::Withdraw(v1::EndedGrant {
            organization: world.did(of).to_vec(),
            action: action.into(),
            resource: resource.to_vec(),
            at_ms,
        })
    })
}

/// Governance gives these rights on all, in one block.
pub(crate) fn governed(rights: &[(&'static str, v1::Action)]) -> Draft {
    let carried: Vec<Draft> = rights
        .iter()
        .flat_map(|(to, action)| accredited(to, *action, &[], |_| {}).carried())
        .collect();
    together(&carried)
}

/// A motion carried in one block.
pub(crate) fn at_once(motion: &Motion) -> Draft {
    together(&motion.carried())
}

/// The rules of an exclusive type that an operator of it might choose.
pub(crate) fn policy() -> v1::TypePolicy {
    const DAY_MS: u64 = 24 * 3_600_000;
    let rule = |reason: v1::Reason, approvals, replaces| v1::ReasonRule {
        reason: reason.into(),
        approvals,
        replaces,
    };
    v1::TypePolicy {
        exclusive: true,
        reasons: vec![
            rule(v1::Reason::FirstIssue, 2, false),
            rule(v1::Reason::LostDevice, 1, true),
            rule(v1::Reason::Renewal, 0, true),
            rule(v1::Reason::EndOfUse, 0, false),
        ],
        channels: 0b11_1110,
        assurance_levels: 0b1100,
        key_algorithms: 0b110,
        purposes: 0b110,
        validity_max_ms: 1_096 * DAY_MS,
        renewal_window_ms: 90 * DAY_MS,
        reservation_max_ms: 14 * DAY_MS,
        approval_max_ms: 7 * DAY_MS,
        backdating_max_ms: 30 * DAY_MS,
        grace_max_ms: DAY_MS,
        reissue_after_expiry: false,
    }
}

/// Version 1 of a type; later versions of it differ in the schema.
pub(crate) fn version(number: u32) -> v1::TypeVersion {
    let [.., low] = number.to_be_bytes();
    v1::TypeVersion {
        schema_hash: vec![low; 32],
        render_hash: vec![0xee; 32],
        policy: Some(policy()),
    }
}

/// The name of the type that `publisher` publishes with this nonce.
pub(crate) fn type_name(world: &World, publisher: &str, nonce: u8) -> Hash {
    credential_type_name(world.chain.hash(), &world.did(publisher), &[nonce; 16], &version(1))
}

/// `publisher` publishes a version of the type that `owner` published with this nonce.
pub(crate) fn publish(
    publisher: &'static str,
    (owner, nonce): (&'static str, u8),
    number: u32,
    edit: impl Fn(&mut v1::PublishType) + 'static,
) -> Draft {
    let operation = move |world: &World| {
        let mut operation = v1::PublishType {
            publisher: world.did(publisher).to_vec(),
            r#type: type_name(world, owner, nonce).to_vec(),
            version: number,
            nonce: if number == 1 { vec![nonce; 16] } else { Vec::new() },
            content: Some(version(number)),
        };
        edit(&mut operation);
        Wire::PublishType(operation)
    };
    members(operation, &format!("{publisher}/control"))
}
