//! Creating a status list of one issuer and one type (PROTOCOL §4.1).
//!
//! A list begins with every entry pending and no chunk: a chunk is written when its first entry is.

use super::acting::{self, Deed};
use super::{Context, Signers};
use crate::admit;
use crate::error::StatusError;
use crate::overlay::read;
use crate::status::StatusEvent;
use crate::{AdmissionError, Overlay, StateView, TreeKey};
use sillok_did_method::{CreateList, status_list_name};
use sillok_proto::{encode, v1};

pub(super) fn run<V: StateView + ?Sized>(
    context: &Context<'_>,
    op: &CreateList,
    signers: &mut Signers<'_>,
    state: &mut Overlay<'_, V>,
) -> Result<StatusEvent, AdmissionError> {
    context.require_named_submitter()?;
    let issuer = op.issuer;
    let Some(document) = admit::organization(state, &issuer)? else {
        return Err(AdmissionError::UnknownOrganization { organization: issuer });
    };
    let signed = signers.controller(&issuer, &document)?;
    context.require_signed(signed, &issuer)?;
    let (frame, credential_type) = (context.frame, op.credential_type);
    // D9: the type first, before anything is written.
    acting::policy_of(state, &credential_type)?;
    acting::right(context, state, &issuer, &issuer, &credential_type, Deed::Gain)?;
    let expected = status_list_name(frame.chain.hash(), &issuer, &credential_type, &op.nonce);
    if op.list != expected {
        context.sink.report(StatusError::ListName { named: op.list, expected })?;
    }
    let leaf = TreeKey::status_list(&op.list);
    if read::<v1::StatusList>(state, &leaf)?.is_some() {
        return Err(StatusError::ListExists { list: op.list }.into());
    }
    let list = v1::StatusList {
        issuer: issuer.to_vec(),
        r#type: credential_type.to_vec(),
        capacity: op.capacity,
        max_age_s: op.max_age_s,
        created_ms: frame.time_ms,
    };
    state.put(leaf, encode(&list));
    let (operation, list) = (context.index, op.list);
    Ok(StatusEvent::ListCreated { operation, list, issuer, credential_type })
}
