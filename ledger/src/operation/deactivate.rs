//! Deactivating a DID, which is the last operation it will ever accept.
//!
//! The DID keeps resolving, with `deactivated: true`, and every earlier version stays provable: a verifier may hold a
//! signature made last year.

use super::{Context, Signers, already, require_previous};
use crate::overlay::{document_of, head};
use crate::{AdmissionError, Overlay, StateView};
use sillok_did_method::DeactivateDid;
use sillok_proto::v1;

pub(super) fn run<V: StateView + ?Sized>(
    context: &Context<'_>,
    op: &DeactivateDid,
    signers: &mut Signers<'_>,
    state: &mut Overlay<'_, V>,
) -> Result<v1::Head, AdmissionError> {
    let head = head(state, &op.did)?.ok_or(AdmissionError::UnknownDid { did: op.did })?;
    if head.deactivated {
        return Err(already(&op.did, &head));
    }
    require_previous(&op.did, &head, &op.previous)?;
    let document = document_of(state, &head)?;
    let signed = signers.controller(&op.did, &document)?;
    context.require_signed(signed, &op.did)?;
    if head.kind() != v1::Kind::Holder {
        context.require_named_submitter()?;
    }
    let mut next = context.next_head(&head, v1::Actor::Controller);
    next.document_hash = Vec::new();
    next.deactivated = true;
    Ok(next)
}
