//! Replacing the document of a DID, and for its controller the recovery rule.
//!
//! A holder's device key is not changed here but by `set device`, so that whoever follows devices reads one operation.
//! An organization that lost its keys is re-keyed by its authority together with the countersigner of its rule.

use super::create::require_countersigner;
use super::{Context, Signers, already, bind_new_keys, live_head, recovery_of, require_previous};
use crate::admit::require_grant;
use crate::overlay::document_of;
use crate::{AdmissionError, Overlay, StateView};
use sillok_did_method::{Recovery, UpdateDid, check_document, device_key, document_hash};
use sillok_proto::{Hash, v1};

pub(super) fn run<V: StateView + ?Sized>(
    context: &Context<'_>,
    op: &UpdateDid,
    signers: &mut Signers<'_>,
    state: &mut Overlay<'_, V>,
) -> Result<v1::Head, AdmissionError> {
    let head = live_head(state, &op.did)?;
    require_previous(&op.did, &head, &op.previous)?;
    let old = document_of(state, &head)?;
    check_document(head.kind(), &op.document)
        .map_err(|source| AdmissionError::Document { operation: context.index, source })?;
    let holder = head.kind() == v1::Kind::Holder;
    if holder && device_key(&old) != device_key(&op.document) {
        return Err(AdmissionError::UseSetDevice { did: op.did });
    }
    let hash = document_hash(&op.document);
    let recovery_before = recovery_of(&head);
    let recovery = op.recovery.unwrap_or(recovery_before);
    if head.document_hash == hash.0 && recovery == recovery_before {
        return Err(already(&op.did, &head));
    }
    bind_new_keys(context, &old, &op.document, signers, state)?;

    let actor = if signers.controller(&op.did, &old)? {
        if !holder {
            context.require_named_submitter()?;
        }
        v1::Actor::Controller
    } else {
        assisted(context, op, &head, holder, signers, state)?;
        v1::Actor::AuthorityAndCountersigner
    };
    if recovery != recovery_before {
        check_new_rule(context, op, &head, recovery, state)?;
    }
    state.put_document(hash, op.document.clone());
    let mut next = context.next_head(&head, actor);
    next.document_hash = hash.to_vec();
    next.recovery = recovery.write();
    Ok(next)
}

fn check_new_rule<V: StateView + ?Sized>(
    context: &Context<'_>,
    op: &UpdateDid,
    head: &v1::Head,
    recovery: Recovery,
    state: &Overlay<'_, V>,
) -> Result<(), AdmissionError> {
    let Recovery::Assisted { countersigner } = recovery else { return Ok(()) };
    if head.authority == countersigner.0 || op.did == countersigner {
        return Err(AdmissionError::UnknownCountersigner { countersigner });
    }
    require_countersigner(context, state, &countersigner)
}

/// An organization's authority and countersigner re-key it together (PROTOCOL §3.3); a holder's document is its own.
fn assisted<V: StateView + ?Sized>(
    context: &Context<'_>,
    op: &UpdateDid,
    head: &v1::Head,
    holder: bool,
    signers: &mut Signers<'_>,
    state: &Overlay<'_, V>,
) -> Result<(), AdmissionError> {
    if holder {
        return Err(context.not_authorized(&op.did));
    }
    context.require_named_submitter()?;
    sign_together(context, &op.did, head, signers, state)?;
    if op.recovery.is_some() {
        return Err(AdmissionError::RecoveryRuleByController { did: op.did });
    }
    Ok(())
}

/// The registering authority and the countersigner of the recovery rule both sign, each with a key that may act for
/// it and each under its grant.
pub(super) fn sign_together<V: StateView + ?Sized>(
    context: &Context<'_>,
    did: &Hash,
    head: &v1::Head,
    signers: &mut Signers<'_>,
    state: &Overlay<'_, V>,
) -> Result<(), AdmissionError> {
    let Some(authority) = Hash::from_slice(&head.authority) else {
        return Err(context.not_authorized(did));
    };
    if !signers.organization(state, &authority)? {
        return Err(context.not_authorized(did));
    }
    let Recovery::Assisted { countersigner } = recovery_of(head) else {
        return Err(AdmissionError::RecoveryNotAllowed { did: *did });
    };
    if !signers.organization(state, &countersigner)? {
        return Err(context.not_authorized(did));
    }
    require_grant(context.frame, state, &authority, v1::Action::Register)?;
    require_grant(context.frame, state, &countersigner, v1::Action::Countersign)
}
