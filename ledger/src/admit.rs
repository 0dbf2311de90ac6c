//! The one rule set: may this transaction run on this state, at this ledger time?
//!
//! Mempool, proposer and validator call [`run`] alike; only the view differs, so they can never disagree about a rule.
//! Whether a key may act is read from the state at every run; nothing is remembered between runs (PROTOCOL II.2).

use crate::governance::GovernanceEvent;
use crate::mutant::{self, Mutant};
use crate::operation::acting::TypesNamed;
use crate::operation::{self, Context, Effect};
use crate::overlay::{document_of, head};
use crate::proposers::Recent;
use crate::sink::Sink;
use crate::status::StatusEvent;
use crate::transaction::{Authorship, Signature};
use crate::trust::TrustEvent;
use crate::{AdmissionError, Chain, Changes, CheckedTransaction, Overlay, StateView, authority};
use sillok_did_method::{SUBMIT, key_id};
use sillok_proto::{Hash, v1};
use std::collections::BTreeSet;

/// Checks one signature. The node's implementation may remember verdicts by (key, message, signature) alone.
pub trait SignatureVerifier {
    /// Does `signature` verify under `key`, by PROTOCOL §1.3?
    fn verify(&self, key: &v1::PublicKey, message: &[u8], signature: &[u8]) -> bool;
}

/// Checks every signature anew.
#[derive(Debug, Clone, Copy, Default)]
pub struct VerifyEach;

impl SignatureVerifier for VerifyEach {
    fn verify(&self, key: &v1::PublicKey, message: &[u8], signature: &[u8]) -> bool {
        sillok_did_method::verify(key, message, signature).is_ok()
    }
}

/// Was a transaction or an author-signed statement ordered within the window?
pub trait Replay {
    /// Is `name` (a transaction id or a statement hash, which covers its valid-until) in the window?
    fn contains(&self, name: &Hash, valid_until_ms: u64) -> bool;
}

/// The outside of a run: the network, the time and place of the block, and what was ordered before.
#[derive(Clone, Copy)]
#[allow(
    missing_debug_implementations,
    reason = "holds two trait objects without state of their own"
)]
pub struct Frame<'a> {
    /// The network.
    pub chain: &'a Chain,
    /// Height of the block.
    pub height: u64,
    /// Ledger time of the block, in milliseconds.
    pub time_ms: u64,
    /// How signatures are checked.
    pub verifier: &'a dyn SignatureVerifier,
    /// What the window holds.
    pub replay: &'a dyn Replay,
    /// The last headers before the block: who is absent, and over what a validator key may join.
    pub recent: &'a Recent,
    /// The figures that bind the block: the tip's.
    pub parameters: &'a v1::Parameters,
}

/// What a transaction does.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effects {
    /// What it writes.
    pub changes: Changes,
    /// The heads of DIDs, in the order of the operations that wrote them. Operations on members write none.
    pub heads: Vec<v1::Head>,
    /// What became of members and proposals, in the order of the operations.
    pub governance: Vec<GovernanceEvent>,
    /// What became of grants and types, each with the index of its operation, in the order of the operations.
    pub trust: Vec<(usize, TrustEvent)>,
    /// What became of status in public, in the order of the operations.
    pub status: Vec<StatusEvent>,
}

/// Runs a transaction on `view` and returns what it does, or the first rule it breaks; then nothing is written.
///
/// Rules that read other state than the submitter's come after the submitter's signature: else a stranger could ask
/// the state anything (PROTOCOL §5.3).
///
/// # Errors
///
/// [`AdmissionError`]: the first rule broken, or a storage fault.
pub fn run<V: StateView + ?Sized>(
    frame: &Frame<'_>,
    view: &V,
    transaction: &CheckedTransaction,
) -> Result<Effects, AdmissionError> {
    check_time(frame, transaction.valid_until_ms)?;
    for (_, authors) in &transaction.operations {
        if !authors.signatures.is_empty() {
            check_time(frame, authors.valid_until_ms)?;
        }
    }
    if frame.replay.contains(&transaction.leaf.id, transaction.valid_until_ms) {
        return Err(AdmissionError::AlreadyOrdered { transaction_id: transaction.leaf.id });
    }
    check_submitter(frame, view, transaction)?;

    let types_named = TypesNamed::default();
    let mut overlay = Overlay::new(view);
    let mut heads = Vec::with_capacity(transaction.operations.len());
    let (mut governance, mut trust, mut status) = (Vec::new(), Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    // As long as the operations; one without an entry has no private side.
    let mut private = transaction.private.iter().map(Option::as_ref);
    for (index, (operation, authors)) in transaction.operations.iter().enumerate() {
        let private = private.next().flatten();
        check_repetition(frame, index, authors, &mut seen)?;
        let submitter = &transaction.submitter;
        let context = Context {
            frame,
            index,
            submitter,
            authors,
            private,
            sink: &Sink::First,
            types_named: &types_named,
        };
        match operation::run(&context, operation, &mut overlay)? {
            Effect::Head(head) => heads.push(head),
            Effect::Governance(events, event) => {
                governance.extend(events);
                trust.extend(event.map(|event| (index, event)));
            }
            Effect::Trust(event) => trust.push((index, event)),
            Effect::Status(event) => status.push(event),
        }
    }
    Ok(Effects { changes: overlay.into_changes(), heads, governance, trust, status })
}

/// What its authors signed runs once, whoever carries it (PROTOCOL §2.3).
pub(crate) fn check_repetition(
    frame: &Frame<'_>,
    index: usize,
    authors: &Authorship,
    seen: &mut BTreeSet<Hash>,
) -> Result<(), AdmissionError> {
    if !authors.signatures.is_empty()
        && (frame.replay.contains(&authors.statement_hash, authors.valid_until_ms)
            || !seen.insert(authors.statement_hash))
        && !mutant::is(Mutant::ReplayNotChecked)
    {
        return Err(AdmissionError::OperationAlreadyOrdered { operation: index });
    }
    Ok(())
}

pub(crate) fn check_time(frame: &Frame<'_>, valid_until_ms: u64) -> Result<(), AdmissionError> {
    let (time_ms, window_ms) = (frame.time_ms, frame.parameters.valid_until_window_ms);
    if valid_until_ms < time_ms {
        return Err(AdmissionError::Expired { valid_until_ms, time_ms });
    }
    if valid_until_ms > time_ms.saturating_add(window_ms) {
        return Err(AdmissionError::ValidUntilTooFar { valid_until_ms, time_ms, window_ms });
    }
    Ok(())
}

fn check_submitter<V: StateView + ?Sized>(
    frame: &Frame<'_>,
    view: &V,
    transaction: &CheckedTransaction,
) -> Result<(), AdmissionError> {
    if mutant::remembers(&transaction.leaf.id) {
        return Ok(());
    }
    let string = sillok_did_method::submitter_string(frame.chain.hash(), &transaction.leaf.id);
    check_submitter_signature(
        frame,
        view,
        &transaction.submitter,
        &transaction.submitter_signature,
        &string,
    )?;
    mutant::remember(&transaction.leaf.id);
    Ok(())
}

/// A submitting key of an organization that may submit signed `string`.
pub(crate) fn check_submitter_signature<V: StateView + ?Sized>(
    frame: &Frame<'_>,
    view: &V,
    submitter: &Hash,
    signature: &Signature,
    string: &[u8],
) -> Result<(), AdmissionError> {
    let document = organization(view, submitter)?
        .ok_or(AdmissionError::UnknownSubmitter { submitter: *submitter })?;
    let bound =
        usable_key(frame, submitter, &document, &signature.key_id, SUBMIT, "submit transactions")?;
    if !frame.verifier.verify(bound, string, &signature.bytes) {
        return Err(AdmissionError::BadSignature { key_id: signature.key_id });
    }
    require_grant(frame, view, submitter, v1::Action::Submit)
}

/// The document of an organization that is registered and active.
pub(crate) fn organization<V: StateView + ?Sized>(
    view: &V,
    did: &Hash,
) -> Result<Option<v1::DidDocument>, AdmissionError> {
    let Some(head) = head(view, did)? else { return Ok(None) };
    if head.deactivated || head.kind() != v1::Kind::Organization {
        return Ok(None);
    }
    Ok(Some(document_of(view, &head)?))
}

/// The key named `key_id` of `document`, if it has the relationship and is not past its end.
pub(crate) fn usable_key<'d>(
    frame: &Frame<'_>,
    did: &Hash,
    document: &'d v1::DidDocument,
    id: &Hash,
    relationship: u32,
    name: &'static str,
) -> Result<&'d v1::PublicKey, AdmissionError> {
    let found = document.keys.iter().find_map(|bound| {
        let key = bound.key.as_ref()?;
        (key_id(key) == *id).then_some((bound, key))
    });
    let Some((bound, key)) = found.filter(|(bound, _)| bound.relationships & relationship != 0)
    else {
        return Err(AdmissionError::KeyNotAuthorized {
            did: *did,
            key_id: *id,
            relationship: name,
        });
    };
    if bound.expires_ms != 0 && frame.time_ms >= bound.expires_ms {
        return Err(AdmissionError::KeyExpired { key_id: *id, expires_ms: bound.expires_ms });
    }
    Ok(key)
}

/// May `organization` do `action` on everything at the block's time? Dates are compared, never swept (PROTOCOL §2.5).
pub(crate) fn holds_grant<V: StateView + ?Sized>(
    frame: &Frame<'_>,
    view: &V,
    organization: &Hash,
    action: v1::Action,
) -> Result<bool, AdmissionError> {
    Ok(authority::chain(view, organization, action, &[], frame.time_ms)?.is_some())
}

pub(crate) fn require_grant<V: StateView + ?Sized>(
    frame: &Frame<'_>,
    view: &V,
    organization: &Hash,
    action: v1::Action,
) -> Result<(), AdmissionError> {
    if holds_grant(frame, view, organization, action)? {
        Ok(())
    } else {
        Err(AdmissionError::NotGranted { organization: *organization, action })
    }
}

/// The chain by which `organization` may do `action` on `resource` (empty: on all) at the block's time.
pub(crate) fn require_chain<V: StateView + ?Sized>(
    frame: &Frame<'_>,
    view: &V,
    organization: &Hash,
    action: v1::Action,
    resource: &[u8],
) -> Result<Vec<authority::Link>, AdmissionError> {
    authority::chain(view, organization, action, resource, frame.time_ms)?
        .ok_or(AdmissionError::NotGranted { organization: *organization, action })
}
