//! Publishing a credential type, or its next version.
//!
//! A new kind of credential is a leaf, not a new binary. A version never changes, so a credential is read for ever by
//! the version it was issued under; the rules of the latest version hold for what happens from then on. Who owns a type
//! is read from its leaf, never from its name, so that it can move one day.

use super::{Context, Signers};
use crate::admit::require_chain;
use crate::credential_type::latest_type;
use crate::trust::TrustEvent;
use crate::{AdmissionError, Overlay, StateView, TreeKey};
use sillok_did_method::{PublishType, credential_type_name};
use sillok_proto::{encode, v1};

pub(super) fn run<V: StateView + ?Sized>(
    context: &Context<'_>,
    op: &PublishType,
    signers: &mut Signers<'_>,
    state: &mut Overlay<'_, V>,
) -> Result<TrustEvent, AdmissionError> {
    context.require_named_submitter()?;
    let (publisher, name, frame) = (op.publisher, op.name, context.frame);
    let signed = signers.organization(state, &publisher)?;
    context.require_signed(signed, &publisher)?;
    let define = v1::Action::DefineType;
    let exclusive = op.content.policy.as_ref().is_some_and(|policy| policy.exclusive);
    let before = latest_type(state, &name)?.map(|(credential_type, _)| credential_type);
    let credential_type = match (&op.nonce, before) {
        (Some(nonce), None) => {
            let derived = credential_type_name(frame.chain.hash(), &publisher, nonce, &op.content);
            if derived != name {
                context.sink.report(AdmissionError::TypeNameMismatch { named: name, derived })?;
            }
            // Nobody can hold a grant on what has no name yet.
            require_chain(frame, state, &publisher, define, &[])?;
            v1::CredentialType {
                owner: publisher.to_vec(),
                version: op.version,
                exclusive,
                created_ms: frame.time_ms,
            }
        }
        (None, None) => return Err(AdmissionError::UnknownType { name }),
        (_, Some(before)) => {
            if before.owner != publisher.0 {
                return Err(AdmissionError::NotOwner { organization: publisher, resource: name });
            }
            require_chain(frame, state, &publisher, define, &name.0)?;
            if before.version.checked_add(1) != Some(op.version) {
                context.sink.report(AdmissionError::TypeVersion {
                    name,
                    version: op.version,
                    latest: before.version,
                })?;
            }
            // Enrollments and lists were made for one or the other.
            if before.exclusive != exclusive {
                context.sink.report(AdmissionError::ExclusiveFixed { name })?;
            }
            v1::CredentialType { version: op.version, ..before }
        }
    };
    let record = v1::TypeVersionRecord {
        r#type: name.to_vec(),
        version: op.version,
        content: Some(op.content.clone()),
        height: frame.height,
        time_ms: frame.time_ms,
    };
    state.put(TreeKey::credential_type(&name), encode(&credential_type));
    state.put(TreeKey::type_version(&name, op.version), encode(&record));
    Ok(TrustEvent::TypePublished { name, version: op.version })
}
