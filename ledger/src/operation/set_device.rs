//! Setting or taking away the one device key of a holder (PROTOCOL §3.2).
//!
//! Three ways, and no other: the current key, to anything; the registering authority alone, to none; the authority and
//! the countersigner of another organization, to a key, if the recovery rule allows. The operation itself says which:
//! the authority alone names no version, everybody else does. Were it told from the signatures, whoever passes a
//! transaction on could strip the holder's and make the holder's act the authority's.

use super::update::sign_together;
use super::{Context, Signers, already, bind_new_keys, live_head, require_previous};
use crate::admit;
use crate::overlay::{document_of, read};
use crate::{AdmissionError, Overlay, StateView, TreeKey, authority};
use sillok_did_method::{SetDevice, device_key, document_hash, key_id};
use sillok_proto::{Hash, v1};

pub(super) fn run<V: StateView + ?Sized>(
    context: &Context<'_>,
    op: &SetDevice,
    signers: &mut Signers<'_>,
    state: &mut Overlay<'_, V>,
) -> Result<v1::Head, AdmissionError> {
    let head = live_head(state, &op.did)?;
    if head.kind() != v1::Kind::Holder {
        return Err(AdmissionError::NotAHolder { did: op.did });
    }
    let old = document_of(state, &head)?;
    let new = op.document.clone().unwrap_or_default();
    let hash = document_hash(&new);
    // By target, not by caller: two channels that report one loss make one change (B17).
    if head.document_hash == hash.0 {
        return Err(already(&op.did, &head));
    }
    if let Some(previous) = &op.previous {
        require_previous(&op.did, &head, previous)?;
    }
    require_other_device(&old, &new, state)?;
    bind_new_keys(context, &old, &new, signers, state)?;

    let actor = match (&op.previous, &op.document) {
        (None, None) => {
            context.require_named_submitter()?;
            authority_takes_away(context, op, &head, signers, state)?;
            v1::Actor::Authority
        }
        (Some(_), _) if signers.controller(&op.did, &old)? => v1::Actor::Controller,
        (Some(_), None) => return Err(context.not_authorized(&op.did)),
        (_, Some(_)) => {
            context.require_named_submitter()?;
            sign_together(context, &op.did, &head, signers, state)?;
            v1::Actor::AuthorityAndCountersigner
        }
    };
    if op.document.is_some() {
        state.put_document(hash, new);
    }
    let mut next = context.next_head(&head, actor);
    next.document_hash = hash.to_vec();
    Ok(next)
}

/// A device key that stays is not set anew: under another end or beside another key-agreement key it would return
/// without proving possession.
fn require_other_device<V: StateView + ?Sized>(
    old: &v1::DidDocument,
    new: &v1::DidDocument,
    state: &Overlay<'_, V>,
) -> Result<(), AdmissionError> {
    let key = |document| device_key(document).and_then(|bound| bound.key.clone());
    let Some(same) = key(new).filter(|new| key(old).as_ref() == Some(new)) else { return Ok(()) };
    let key_id = key_id(&same);
    let used: Option<v1::UsedKey> = read(state, &TreeKey::used_key(&key_id))?;
    Err(AdmissionError::KeyReuse { key_id, height: used.unwrap_or_default().height })
}

/// Losing a right needs no approval and no version: the authority's submission or signature is enough, while it may
/// register or revoke.
fn authority_takes_away<V: StateView + ?Sized>(
    context: &Context<'_>,
    op: &SetDevice,
    head: &v1::Head,
    signers: &mut Signers<'_>,
    state: &Overlay<'_, V>,
) -> Result<(), AdmissionError> {
    let Some(authority) = Hash::from_slice(&head.authority) else {
        return Err(context.not_authorized(&op.did));
    };
    let consents = if *context.submitter == authority {
        // It was active when the transaction began; an operation before this one may have ended it.
        admit::organization(state, &authority)?.is_some()
    } else {
        signers.organization(state, &authority)?
    };
    if !consents {
        return Err(context.not_authorized(&op.did));
    }
    // Either right, also where somebody above it was deactivated: that keeps it from giving, not from taking away.
    let time_ms = context.frame.time_ms;
    let may = |action| authority::chain_of_grants(state, &authority, action, &[], time_ms);
    if may(v1::Action::Register)?.is_some() || may(v1::Action::Revoke)?.is_some() {
        Ok(())
    } else {
        Err(AdmissionError::NotGranted { organization: authority, action: v1::Action::Revoke })
    }
}
