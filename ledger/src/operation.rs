//! The operations, one file each: what a rule reads, what it refuses, what it writes.
//!
//! Every file has one `run`: it checks in the order of the method specification and writes only when nothing was
//! refused. This file holds what they share: who signed, and binding new keys.

mod accredit;
pub(crate) mod acting;
mod approve;
mod change;
mod create;
mod create_list;
mod deactivate;
mod enrollment;
mod entries;
mod join;
mod members;
pub(crate) mod preview;
mod propose;
mod publish_type;
mod rekey;
mod set_device;
mod set_enrollment;
mod set_status;
mod update;
mod withdraw;

use crate::admit::{self, Frame};
use crate::governance::GovernanceEvent;
use crate::overlay::{self, read};
use crate::private::PrivatePart;
use crate::sink::Sink;
use crate::status::StatusEvent;
use crate::transaction::{Authorship, Signature};
use crate::trust::TrustEvent;
use crate::{AdmissionError, Overlay, StateView, TreeKey};
use sillok_did_method::{
    CAPABILITY_INVOCATION, CheckedOperation, Recovery, head_hash, is_verification_key, key_id,
};
use sillok_proto::{Hash, encode, v1};
use std::collections::BTreeMap;

/// Where an operation runs and who brings it.
pub(crate) struct Context<'a> {
    pub(crate) frame: &'a Frame<'a>,
    /// Index in the body.
    pub(crate) index: usize,
    pub(crate) submitter: &'a Hash,
    pub(crate) authors: &'a Authorship,
    /// Its private side, if it has one.
    pub(crate) private: Option<&'a PrivatePart>,
    /// Where rules report that nothing rests on.
    pub(crate) sink: &'a Sink,
    /// What refusals of this transaction named so far.
    pub(crate) types_named: &'a acting::TypesNamed,
}

/// What an operation did, beside writing it down.
pub(crate) enum Effect {
    /// The new head of a DID, which is still to be written.
    Head(v1::Head),
    /// What became of members and proposals, and of a grant where a proposal about one was executed.
    Governance(Vec<GovernanceEvent>, Option<TrustEvent>),
    /// What became of a grant or a type.
    Trust(TrustEvent),
    /// What became of status, as far as it is public.
    Status(StatusEvent),
}

/// Runs one operation.
pub(crate) fn run<V: StateView + ?Sized>(
    context: &Context<'_>,
    operation: &CheckedOperation,
    state: &mut Overlay<'_, V>,
) -> Result<Effect, AdmissionError> {
    use Effect::{Governance, Head, Status, Trust};
    let mut signers = Signers::new(context);
    let left = &mut signers;
    let effect = match operation {
        CheckedOperation::Create(op) => Head(create::run(context, op, left, state)?),
        CheckedOperation::Update(op) => Head(update::run(context, op, left, state)?),
        CheckedOperation::SetDevice(op) => Head(set_device::run(context, op, left, state)?),
        CheckedOperation::Deactivate(op) => Head(deactivate::run(context, op, left, state)?),
        CheckedOperation::Propose(op) => propose::run(context, op, left, state)?,
        CheckedOperation::Approve(op) => approve::run(context, op, left, state)?,
        CheckedOperation::Join(op) => Governance(join::run(context, op, left, state)?, None),
        CheckedOperation::Rekey(op) => Governance(rekey::run(context, op, left, state)?, None),
        CheckedOperation::Accredit(op) => Trust(accredit::run(context, op, left, state)?),
        CheckedOperation::Withdraw(op) => Trust(withdraw::run(context, op, left, state)?),
        CheckedOperation::PublishType(op) => Trust(publish_type::run(context, op, left, state)?),
        CheckedOperation::CreateList(op) => Status(create_list::run(context, op, left, state)?),
        CheckedOperation::SetStatus(op) => Status(set_status::run(context, op, state)?),
        CheckedOperation::SetEnrollment(op) => Status(set_enrollment::run(context, op, state)?),
    };
    signers.finish()?;
    if let Effect::Head(head) = &effect {
        state.put_head(operation.subject(), head.clone());
    }
    Ok(effect)
}

/// The signatures of an operation that are not accounted for yet.
///
/// All must be, in the end: a signature that nothing calls for could be added by whoever passes the transaction on.
pub(crate) struct Signers<'a> {
    context: &'a Context<'a>,
    left: BTreeMap<Hash, &'a Signature>,
}

impl<'a> Signers<'a> {
    fn new(context: &'a Context<'a>) -> Self {
        let left = context.authors.signatures.iter().map(|one| (one.key_id, one)).collect();
        Self { context, left }
    }

    /// Did `key` sign? A signature that does not verify is refused, not passed over.
    fn take(&mut self, key: &v1::PublicKey) -> Result<bool, AdmissionError> {
        let id = key_id(key);
        let Some(signature) = self.left.remove(&id) else { return Ok(false) };
        if self.context.frame.verifier.verify(key, &self.context.authors.string, &signature.bytes) {
            Ok(true)
        } else {
            Err(AdmissionError::BadSignature { key_id: id })
        }
    }

    /// Did a key of `document` sign that may change the DID?
    fn controller(
        &mut self,
        did: &Hash,
        document: &v1::DidDocument,
    ) -> Result<bool, AdmissionError> {
        for bound in &document.keys {
            let Some(key) = &bound.key else { continue };
            let id = key_id(key);
            if bound.relationships & CAPABILITY_INVOCATION != 0 && self.left.contains_key(&id) {
                let frame = self.context.frame;
                let key = admit::usable_key(
                    frame,
                    did,
                    document,
                    &id,
                    CAPABILITY_INVOCATION,
                    "change the DID",
                )?;
                return self.take(key);
            }
        }
        Ok(false)
    }

    /// Did an organization sign with a key that may act for it?
    fn organization<V: StateView + ?Sized>(
        &mut self,
        view: &V,
        organization: &Hash,
    ) -> Result<bool, AdmissionError> {
        match admit::organization(view, organization)? {
            Some(document) => self.controller(organization, &document),
            None => Ok(false),
        }
    }

    fn finish(self) -> Result<(), AdmissionError> {
        match self.left.keys().next() {
            Some(key_id) => Err(AdmissionError::UnexpectedSignature {
                operation: self.context.index,
                key_id: *key_id,
            }),
            None => Ok(()),
        }
    }
}

impl Context<'_> {
    fn not_authorized(&self, did: &Hash) -> AdmissionError {
        AdmissionError::NotAuthorized { operation: self.index, did: *did }
    }

    /// A signature that the rules call for in any case, so that a preparation goes on without it.
    fn require_signed(&self, signed: bool, did: &Hash) -> Result<(), AdmissionError> {
        if signed { Ok(()) } else { self.sink.report(self.not_authorized(did)) }
    }

    /// `any` submitter is for a holder's own operations alone (PROTOCOL §2.2).
    fn require_named_submitter(&self) -> Result<(), AdmissionError> {
        if self.authors.any_submitter {
            Err(AdmissionError::SubmitterMustBeNamed { operation: self.index })
        } else {
            Ok(())
        }
    }

    /// The next head of a DID; the caller fills in what changes besides.
    fn next_head(&self, before: &v1::Head, actor: v1::Actor) -> v1::Head {
        v1::Head {
            version: before.version.saturating_add(1),
            previous: head_hash(before).to_vec(),
            height: self.frame.height,
            time_ms: self.frame.time_ms,
            actor: actor.into(),
            ..before.clone()
        }
    }
}

/// The head of a DID that can still change.
fn live_head<V: StateView + ?Sized>(view: &V, did: &Hash) -> Result<v1::Head, AdmissionError> {
    let head = overlay::head(view, did)?.ok_or(AdmissionError::UnknownDid { did: *did })?;
    if head.deactivated {
        return Err(AdmissionError::Deactivated { did: *did, height: head.height });
    }
    Ok(head)
}

/// An operation builds on the current version (PROTOCOL §3.5).
fn require_previous(did: &Hash, head: &v1::Head, previous: &Hash) -> Result<(), AdmissionError> {
    let current = head_hash(head);
    if current == *previous {
        Ok(())
    } else {
        Err(AdmissionError::StaleVersion {
            did: *did,
            version: head.version,
            head: current,
            previous: *previous,
        })
    }
}

fn already(did: &Hash, head: &v1::Head) -> AdmissionError {
    AdmissionError::Already { did: *did, version: head.version, height: head.height }
}

fn recovery_of(head: &v1::Head) -> Recovery {
    // A head holds what `CreateDid` or `UpdateDid` was checked for.
    Recovery::read(head.recovery.as_ref()).unwrap_or(Recovery::None)
}

/// Binds every verification key of `new` that `old` has not: it must sign (possession) and never have been bound
/// before, to any DID (PROTOCOL §3.4). Key-agreement keys cannot sign and are not indexed.
fn bind_new_keys<V: StateView + ?Sized>(
    context: &Context<'_>,
    old: &v1::DidDocument,
    new: &v1::DidDocument,
    signers: &mut Signers<'_>,
    state: &mut Overlay<'_, V>,
) -> Result<(), AdmissionError> {
    let known = |key: &v1::PublicKey| old.keys.iter().any(|bound| bound.key.as_ref() == Some(key));
    for key in new.keys.iter().filter_map(|bound| bound.key.as_ref()) {
        if !is_verification_key(key) || known(key) {
            continue;
        }
        let id = key_id(key);
        let leaf = TreeKey::used_key(&id);
        if let Some(used) = read::<v1::UsedKey>(state, &leaf)? {
            context.sink.report(AdmissionError::KeyReuse { key_id: id, height: used.height })?;
        }
        if !signers.take(key)? {
            let missing =
                AdmissionError::PossessionMissing { operation: context.index, key_id: id };
            context.sink.report(missing)?;
        }
        state.put(leaf, encode(&v1::UsedKey { height: context.frame.height }));
    }
    Ok(())
}
