//! Registering a DID under the hash of its inception.
//!
//! The DID is known before it is registered and cannot be squatted: it is bound to its first keys, its registering
//! authority and its recovery rule, and every key proves possession.

use super::{Context, Signers, bind_new_keys};
use crate::admit::{self, require_grant};
use crate::{AdmissionError, Overlay, StateView, overlay};
use sillok_did_method::{CreateDid, Recovery, document_hash};
use sillok_proto::v1;

pub(super) fn run<V: StateView + ?Sized>(
    context: &Context<'_>,
    op: &CreateDid,
    signers: &mut Signers<'_>,
    state: &mut Overlay<'_, V>,
) -> Result<v1::Head, AdmissionError> {
    // A create speaks for the authority too, so it is never anybody's to carry.
    context.require_named_submitter()?;
    if let Some(head) = overlay::head(state, &op.did)? {
        return Err(AdmissionError::AlreadyExists { did: op.did, version: head.version });
    }
    if admit::organization(state, &op.authority)?.is_none() {
        return Err(AdmissionError::UnknownAuthority { authority: op.authority });
    }
    let sink = context.sink;
    sink.check(require_grant(context.frame, state, &op.authority, v1::Action::Register))?;
    if let Recovery::Assisted { countersigner } = op.recovery {
        sink.check(require_countersigner(context, state, &countersigner))?;
    }
    bind_new_keys(context, &v1::DidDocument::default(), &op.document, signers, state)?;
    // The authority's word is its submission, or a signature of its own.
    let consents =
        *context.submitter == op.authority || signers.organization(state, &op.authority)?;
    context.require_signed(consents, &op.did)?;
    let hash = document_hash(&op.document);
    state.put_document(hash, op.document.clone());
    Ok(v1::Head {
        did: op.did.to_vec(),
        kind: op.kind.into(),
        version: 1,
        document_hash: hash.to_vec(),
        previous: Vec::new(),
        authority: op.authority.to_vec(),
        recovery: op.recovery.write(),
        deactivated: false,
        created_ms: context.frame.time_ms,
        height: context.frame.height,
        time_ms: context.frame.time_ms,
        actor: v1::Actor::Controller.into(),
    })
}

/// A recovery rule names an organization that may countersign when the rule is made.
pub(super) fn require_countersigner<V: StateView + ?Sized>(
    context: &Context<'_>,
    state: &Overlay<'_, V>,
    countersigner: &sillok_proto::Hash,
) -> Result<(), AdmissionError> {
    let known = admit::organization(state, countersigner)?.is_some();
    if known && admit::holds_grant(context.frame, state, countersigner, v1::Action::Countersign)? {
        Ok(())
    } else {
        Err(AdmissionError::UnknownCountersigner { countersigner: *countersigner })
    }
}
