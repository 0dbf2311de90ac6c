//! Trying a transaction without bringing it (PROTOCOL §5.3): what it would do, everything that stands against it, and
//! who has still to sign. Nothing is kept.
//!
//! The rules are those of blocks, on the same code; they report into a sink that hears all (`sink.rs`). A signature that
//! is not made yet counts as made and is named. Deliberately absent: whatever other transactions do in the meantime.
//!
//! Who asks is known before any rule reads the state: the submitter signs the transaction's id under a tag of its own.
//! An operation with a private content is tried only for its acting role: that role brings the transaction itself, has
//! signed it, or signs as the submitter does. Else any submitter could ask what an enrollment is that it knows the handle
//! of. Of a role without the right nothing is read beyond that it has none, and a right that an operation of the same
//! transaction would give counts for it only once that operation is signed. Which entries are a person's is not told: what
//! a change of an enrollment does to entries is told as a number, and to no change of entries beside it.

mod message;

use crate::admit::{self, Frame, SignatureVerifier};
use crate::operation::acting::TypesNamed;
use crate::operation::preview::is_of_entries;
use crate::operation::{self, Context};
use crate::overlay::Overlay;
use crate::private::{APPROVERS_MAX, HANDLE_BYTES, Place, PrivatePart};
use crate::sink::Sink;
use crate::transaction::{
    Authorship, OPERATIONS_MAX, Signature, TRANSACTION_BYTES_MAX, TRANSACTION_WRITES_MAX, UNSIGNED,
    check_operation, operation_writes,
};
use crate::{AdmissionError, Changes, StateView};
use sillok_did_method::{
    CheckedOperation, Enrollment, OperationHashes, SUBMIT, key_id, prepare_string,
    submitter_string, transaction_id,
};
use sillok_proto::{Hash, v1};
use std::collections::{BTreeMap, BTreeSet};
use v1::operation::Operation as Wire;

pub use crate::operation::preview::{
    EnrollmentPreview, EnrollmentStanding, EntriesPreview, LimitPreview, Preview, PreviewChange,
    PreviewLeaf,
};

/// Most violations that one answer names.
pub const VIOLATIONS_MAX: usize = 256;

/// A rule that the transaction breaks.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// Index in the body; `None`: the transaction as a whole.
    pub operation: Option<usize>,
    /// The rule.
    pub error: AdmissionError,
}

/// In what part somebody signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    /// Brings the transaction.
    Submitter,
    /// Of an operation in public.
    Author,
    /// Of an operation with a private content.
    ActingRole,
    /// Of an operation with a private content.
    Approver,
    /// A one-time or enrollment key.
    Holder,
}

/// A signature that is still to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingSignature {
    /// Index in the body; `None`: the submitter's.
    pub operation: Option<usize>,
    /// In what part.
    pub signer: Signer,
    /// Digest of whose key signs, where any of its keys may.
    pub did: Option<Hash>,
    /// The key, where it must be this one.
    pub key_id: Option<Hash>,
}

/// What comes of trying a transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// Its id.
    pub id: Hash,
    /// What it breaks: first as a whole, then by operation.
    pub violations: Vec<Violation>,
    /// May there be more violations than are named?
    pub more: bool,
    /// Signatures that are still to be made.
    pub missing: Vec<MissingSignature>,
    /// What its operations would do, without those that break a rule and those whose acting role is not known.
    pub previews: Vec<Preview>,
}

/// Takes a signature that is not made yet for good, and checks every other.
struct NotYetSigned<'a>(&'a dyn SignatureVerifier);

impl SignatureVerifier for NotYetSigned<'_> {
    fn verify(&self, key: &v1::PublicKey, message: &[u8], signature: &[u8]) -> bool {
        signature == UNSIGNED || self.0.verify(key, message, signature)
    }
}

/// A transaction that is to be tried: its submitter is known, and nothing was read but that.
#[derive(Debug)]
pub struct Asked<'a> {
    transaction: &'a v1::Transaction,
    body: &'a v1::TransactionBody,
    id: Hash,
    submitter: Hash,
    /// What who prepares it signs.
    string: Vec<u8>,
}

impl<'a> Asked<'a> {
    /// Finds out who asks. `submitter` is the submitter's signature over the id to prepare it.
    ///
    /// # Errors
    ///
    /// [`AdmissionError`] if the transaction is too long or empty, its time is over or too far, or `submitter` is no
    /// signature of a submitter; or a storage fault.
    pub fn check<V: StateView + ?Sized>(
        frame: &Frame<'_>,
        view: &V,
        transaction: &'a v1::Transaction,
        submitter: &v1::KeySignature,
    ) -> Result<Self, AdmissionError> {
        let missing = |part| AdmissionError::MissingPart { part };
        let len = prost::Message::encoded_len(transaction);
        if len > TRANSACTION_BYTES_MAX {
            return Err(AdmissionError::TransactionTooLong { len, max: TRANSACTION_BYTES_MAX });
        }
        let body = transaction.body.as_ref().ok_or_else(|| missing("body"))?;
        let digest = Hash::from_slice(&body.submitter).ok_or_else(|| missing("submitter"))?;
        let count = body.operations.len();
        if count == 0 || count > OPERATIONS_MAX {
            return Err(AdmissionError::OperationCount { count, max: OPERATIONS_MAX });
        }
        admit::check_time(frame, body.valid_until_ms)?;
        let genesis = frame.chain.hash();
        let id = transaction_id(genesis, body);
        let string = prepare_string(genesis, &id);
        let signature = Signature::read(submitter)?;
        admit::check_submitter_signature(frame, view, &digest, &signature, &string)?;
        Ok(Self { transaction, body, id, submitter: digest, string })
    }

    /// Digest of the submitter.
    #[must_use]
    pub const fn submitter(&self) -> &Hash {
        &self.submitter
    }
}

/// Tries a transaction, with as many of its signatures as there are, on `view`. `roles` are signatures over its id to
/// prepare it, of acting roles that have not signed it yet.
///
/// # Errors
///
/// [`AdmissionError`] if there are too many roles, or one is no signature; or a storage fault. Every other rule is in the
/// answer.
pub fn prepare<V: StateView + ?Sized>(
    frame: &Frame<'_>,
    view: &V,
    asked: Asked<'_>,
    roles: &[v1::KeySignature],
) -> Result<Prepared, AdmissionError> {
    if roles.len() > OPERATIONS_MAX {
        let (operation, count, max) = (0, roles.len(), OPERATIONS_MAX);
        return Err(AdmissionError::TooManySignatures { operation, count, max });
    }
    let Asked { transaction, body, id, submitter, string } = asked;
    let verifier = NotYetSigned(frame.verifier);
    let mut trial = Trial {
        frame: Frame { verifier: &verifier, ..*frame },
        verifier: frame.verifier,
        view,
        transaction,
        body,
        submitter,
        roles: roles.iter().map(Signature::read).collect::<Result<_, _>>()?,
        string,
        found: Prepared {
            id,
            violations: Vec::new(),
            more: false,
            missing: Vec::new(),
            previews: Vec::new(),
        },
    };
    if frame.replay.contains(&id, body.valid_until_ms) {
        trial.violation(None, AdmissionError::AlreadyOrdered { transaction_id: id });
        return Ok(trial.found);
    }
    trial.submitter_signature()?;
    let parts = trial.form()?;
    let writes = parts
        .iter()
        .flatten()
        .map(|part| operation_writes(&part.operation, &part.authors, part.private.as_ref()));
    let (count, max) = (writes.fold(0, usize::saturating_add), TRANSACTION_WRITES_MAX);
    if count > max {
        trial.violation(None, AdmissionError::TooManyWrites { count, max });
        return Ok(trial.found);
    }
    trial.run(&parts)?;
    Ok(trial.found)
}

/// An operation that is well formed, and whether its acting role has signed it.
struct Part {
    operation: CheckedOperation,
    authors: Authorship,
    private: Option<PrivatePart>,
    role_signed: bool,
}

struct Trial<'a, V: StateView + ?Sized> {
    /// In which a signature that is not made yet counts as made.
    frame: Frame<'a>,
    /// For signatures that must be made.
    verifier: &'a dyn SignatureVerifier,
    view: &'a V,
    transaction: &'a v1::Transaction,
    body: &'a v1::TransactionBody,
    submitter: Hash,
    roles: Vec<Signature>,
    /// What `roles` sign.
    string: Vec<u8>,
    found: Prepared,
}

impl<'a, V: StateView + ?Sized> Trial<'a, V> {
    fn violation(&mut self, operation: Option<usize>, error: AdmissionError) {
        if self.found.violations.len() >= VIOLATIONS_MAX {
            self.found.more = true;
        } else {
            self.found.violations.push(Violation { operation, error });
        }
    }

    /// Notes what a rule said of an operation. A fault of the machine ends the trial.
    fn note(
        &mut self,
        index: usize,
        operation: Option<&CheckedOperation>,
        error: AdmissionError,
    ) -> Result<(), AdmissionError> {
        if matches!(error, AdmissionError::State(_)) {
            return Err(error);
        }
        match unsigned(index, operation, &error) {
            Some(missing) => self.found.missing.push(missing),
            None => self.violation(Some(index), error),
        }
        Ok(())
    }

    /// The submitter's own signature, which it may make after it has seen what comes of it.
    fn submitter_signature(&mut self) -> Result<(), AdmissionError> {
        let signatures = self.transaction.signatures.as_ref();
        let given = signatures.and_then(|all| all.submitter.as_ref()).filter(|one| is_made(one));
        let Some(given) = given else {
            let did = Some(self.submitter);
            let signer = Signer::Submitter;
            self.found.missing.push(MissingSignature {
                operation: None,
                signer,
                did,
                key_id: None,
            });
            return Ok(());
        };
        let string = submitter_string(self.frame.chain.hash(), &self.found.id);
        let verdict = Signature::read(given).and_then(|signature| {
            let (frame, submitter) = (&self.frame, &self.submitter);
            admit::check_submitter_signature(frame, self.view, submitter, &signature, &string)
        });
        match verdict {
            Err(AdmissionError::State(fault)) => return Err(fault.into()),
            Err(error) => self.violation(None, error),
            Ok(()) => {}
        }
        Ok(())
    }

    /// Checks what needs no state, each operation by itself.
    fn form(&mut self) -> Result<Vec<Option<Part>>, AdmissionError> {
        let (transaction, body, genesis) = (self.transaction, self.body, self.frame.chain.hash());
        let terms = self.terms();
        let given = self.private_signatures();
        let hashes = OperationHashes::of(genesis, body);
        let id = self.found.id;
        let mut documents = transaction.documents.iter();
        let mut contents = transaction.private_contents.iter();
        let mut parts = Vec::with_capacity(body.operations.len());
        for (index, operation) in body.operations.iter().enumerate() {
            let (names_document, names_content) = names(operation);
            let content = contents.as_slice().first().filter(|_| names_content);
            let filled = match content {
                Some(content) => Some(self.fill(index, content, given.get(&index).copied())?),
                None => None,
            };
            let place = Place { genesis, transaction_id: &id, index };
            let (mut own_documents, mut own_contents) = (documents.clone(), contents.clone());
            let left = (&mut own_documents, &mut own_contents);
            let own_terms = terms.get(index).cloned().unwrap_or_default();
            let signatures = || {
                let filled = filled.as_ref().map(|filled| &filled.signatures);
                filled.ok_or(AdmissionError::PrivateSignatureList)
            };
            let checked = check_operation(place, &hashes, operation, &own_terms, left, signatures);
            // Of an operation that is not well formed those beside it are passed over, so that the next finds its own.
            if names_document {
                documents.next();
            }
            if names_content {
                contents.next();
            }
            parts.push(match checked {
                Ok((operation, authors, private)) => {
                    let role_signed = filled.as_ref().is_some_and(|filled| filled.role_signed);
                    self.found.missing.extend(filled.into_iter().flat_map(|one| one.missing));
                    Some(Part { operation, authors, private, role_signed })
                }
                Err(error) => {
                    self.note(index, None, error)?;
                    None
                }
            });
        }
        if documents.next().is_some() {
            self.violation(None, AdmissionError::UnexpectedPart { part: "a document" });
        }
        if contents.next().is_some() {
            self.violation(None, AdmissionError::UnexpectedPart { part: "a private content" });
        }
        Ok(parts)
    }

    /// The terms of each operation with the signatures that are made; where nobody signed yet, none.
    fn terms(&mut self) -> Vec<v1::OperationSignatures> {
        let given = self.transaction.signatures.as_ref().map(|all| all.operations.as_slice());
        let given = given.unwrap_or_default();
        let (signed, operations) = (given.len(), self.body.operations.len());
        if signed != 0 && signed != operations {
            self.violation(None, AdmissionError::SignatureListLength { signed, operations });
            return Vec::new();
        }
        let made = |terms: &v1::OperationSignatures| {
            let mut terms = terms.clone();
            terms.signatures.retain(is_made);
            if terms.signatures.is_empty() { v1::OperationSignatures::default() } else { terms }
        };
        given.iter().map(made).collect()
    }

    /// The private signatures that are there, by operation.
    fn private_signatures(&mut self) -> BTreeMap<usize, &'a v1::PrivateOperationSignatures> {
        let transaction = self.transaction;
        let mut found = BTreeMap::new();
        let Some(given) = &transaction.private_signatures else { return found };
        if !given.operations.is_empty() && given.salt.len() != 32 {
            self.violation(None, AdmissionError::PrivateSalt { len: given.salt.len() });
        }
        let mut before = None;
        for one in &given.operations {
            let index = usize::try_from(one.operation).unwrap_or(usize::MAX);
            let called_for = self.body.operations.get(index).is_some_and(|one| names(one).1);
            if !called_for || before.is_some_and(|before| before >= index) {
                self.violation(None, AdmissionError::PrivateSignatureList);
                return found;
            }
            before = Some(index);
            found.insert(index, one);
        }
        found
    }

    /// The private signatures of an operation, with [`UNSIGNED`] for each that is not made yet.
    fn fill(
        &self,
        index: usize,
        content: &v1::PrivateContent,
        given: Option<&v1::PrivateOperationSignatures>,
    ) -> Result<Filled, AdmissionError> {
        let mut signatures = given.cloned().unwrap_or_default();
        // At most 256 operations.
        signatures.operation = u32::try_from(index).unwrap_or(u32::MAX);
        let mut missing = Vec::new();
        let mut to_sign = |signer, did, key_id| {
            missing.push(MissingSignature { operation: Some(index), signer, did, key_id });
        };
        let role_signed = signatures.acting_role.as_ref().is_some_and(is_made);
        if !role_signed {
            let role = Hash::from_slice(&content.acting_role);
            signatures.acting_role = Some(self.unsigned(role.as_ref())?);
            to_sign(Signer::ActingRole, role, None);
        }
        if signatures.approvals.is_empty() {
            let count = content.approvers.len().min(APPROVERS_MAX);
            signatures.approvals = vec![v1::Approval::default(); count];
        }
        for (approver, approval) in content.approvers.iter().zip(&mut signatures.approvals) {
            if approval.signature.as_ref().is_some_and(is_made) {
                continue;
            }
            let approver = Hash::from_slice(approver);
            approval.signature = Some(self.unsigned(approver.as_ref())?);
            if approval.expires_ms == 0 {
                // The approver names its end when it signs; until then the shortest.
                approval.expires_ms = self.frame.time_ms.saturating_add(1);
            }
            to_sign(Signer::Approver, approver, None);
        }
        let handle = content.handles.get(..HANDLE_BYTES).and_then(Hash::from_slice);
        let enrollment = content.enrollment.as_ref().zip(handle);
        let enrollment =
            enrollment.and_then(|(request, handle)| Enrollment::check(request, &handle).ok());
        let mut left = std::mem::take(&mut signatures.holder_keys);
        left.retain(is_made);
        for key in enrollment.as_ref().map(Enrollment::holder_keys).unwrap_or_default() {
            let id = key_id(&key);
            let made = left.iter().position(|one| one.key_id == id.0);
            signatures.holder_keys.push(match made {
                Some(at) => left.remove(at),
                None => {
                    to_sign(Signer::Holder, None, Some(id));
                    v1::KeySignature { key_id: id.to_vec(), signature: UNSIGNED.to_vec() }
                }
            });
        }
        signatures.holder_keys.append(&mut left);
        Ok(Filled { signatures, role_signed, missing })
    }

    /// What stands for the signature of an organization, by the first of its keys that may sign.
    fn unsigned(&self, organization: Option<&Hash>) -> Result<v1::KeySignature, AdmissionError> {
        let document = match organization {
            Some(organization) => admit::organization(self.view, organization)?,
            None => None,
        };
        let time_ms = self.frame.time_ms;
        let usable = |bound: &&v1::BoundKey| {
            bound.relationships & SUBMIT != 0
                && (bound.expires_ms == 0 || time_ms < bound.expires_ms)
        };
        let key = document.as_ref().and_then(|document| document.keys.iter().find(usable));
        // Of an organization without such a key the rule says so.
        let id = key.and_then(|bound| bound.key.as_ref()).map(key_id).unwrap_or_default();
        Ok(v1::KeySignature { key_id: id.to_vec(), signature: UNSIGNED.to_vec() })
    }

    /// Is the acting role there: does it bring the transaction, has it signed it, or does it prepare it too?
    fn is_role_known(&self, part: &Part, role: &Hash) -> Result<bool, AdmissionError> {
        if part.role_signed || *role == self.submitter {
            return Ok(true);
        }
        let Some(document) = admit::organization(self.view, role)? else { return Ok(false) };
        Ok(self.roles.iter().any(|signature| {
            let id = &signature.key_id;
            let key = admit::usable_key(&self.frame, role, &document, id, SUBMIT, "act at a desk");
            key.is_ok_and(|key| self.verifier.verify(key, &self.string, &signature.bytes))
        }))
    }

    /// Runs the operations one after another. One that cannot run to its end is left out for those after it; see
    /// [`Before`].
    fn run(&mut self, parts: &[Option<Part>]) -> Result<(), AdmissionError> {
        let (frame, submitter) = (self.frame, self.submitter);
        let types_named = TypesNamed::default();
        let mut before = Before::new(self.view);
        let mut seen = BTreeSet::new();
        for (index, part) in parts.iter().enumerate() {
            let Some(part) = part else { continue };
            if let Some(private) = &part.private
                && !self.is_role_known(part, &private.acting_role)?
            {
                continue;
            }
            let Part { operation, authors, private, .. } = part;
            let mut reports = Vec::new();
            if !authors.signatures.is_empty() {
                reports.extend(admit::check_time(&frame, authors.valid_until_ms).err());
                reports.extend(admit::check_repetition(&frame, index, authors, &mut seen).err());
            }
            let sink = Sink::all(VIOLATIONS_MAX.saturating_sub(self.found.violations.len()));
            let private = private.as_ref();
            let (submitter, sink) = (&submitter, &sink);
            let context = Context {
                frame: &frame,
                index,
                submitter,
                authors,
                private,
                sink,
                types_named: &types_named,
            };
            let overlay = before.of(operation);
            let mut attempt = Overlay::new(overlay);
            let done = operation::run(&context, operation, &mut attempt);
            reports.extend(sink.take());
            let changes = match done {
                Ok(effect) => {
                    let stands = |error| unsigned(index, Some(operation), error).is_some();
                    if reports.iter().all(stands) {
                        let preview = operation::preview::preview(
                            &context, operation, effect, overlay, &attempt,
                        )?;
                        self.found.previews.push(preview);
                    }
                    Some(attempt.into_changes())
                }
                Err(error) => {
                    reports.push(error);
                    None
                }
            };
            if let Some(changes) = changes {
                before.take(operation, changes, reports.is_empty());
            }
            let is_over = reports.iter().any(AdmissionError::ends_trial);
            for error in reports {
                self.note(index, Some(operation), error)?;
            }
            if is_over {
                self.found.more = true;
                return Ok(());
            }
        }
        Ok(())
    }
}

/// What an operation sees of those before it, beside the state.
struct Before<'a, V: StateView + ?Sized> {
    /// For operations in public: all that ran to their end, as if every signature that is not made yet was made.
    public: Overlay<'a, V>,
    /// For changes of entries: those that no rule said anything about. A right that nobody signed is none: else a
    /// stranger gives it to itself on paper, and is told what only a role is told.
    entries: Overlay<'a, V>,
    /// For changes of enrollments: likewise. Of each other the two do not see what becomes of entries: else whoever
    /// changes many entries and one enrollment on paper is told which of them are the person's.
    enrollments: Overlay<'a, V>,
}

impl<'a, V: StateView + ?Sized> Before<'a, V> {
    fn new(view: &'a V) -> Self {
        let (public, entries) = (Overlay::new(view), Overlay::new(view));
        Self { public, entries, enrollments: Overlay::new(view) }
    }

    fn of(&self, operation: &CheckedOperation) -> &Overlay<'a, V> {
        match operation {
            CheckedOperation::SetStatus(_) => &self.entries,
            CheckedOperation::SetEnrollment(_) => &self.enrollments,
            _ => &self.public,
        }
    }

    /// Takes over what an operation would write. `stands`: no rule said anything about it.
    fn take(&mut self, operation: &CheckedOperation, changes: Changes, stands: bool) {
        let (own, leaves): (BTreeMap<_, _>, BTreeMap<_, _>) =
            changes.leaves.into_iter().partition(|(key, _)| is_of_entries(key));
        let own = Changes { leaves: own, ..Changes::default() };
        let shared = Changes { leaves, ..changes };
        self.public.apply(shared.clone());
        if !stands {
            return;
        }
        self.entries.apply(shared.clone());
        self.enrollments.apply(shared);
        match operation {
            CheckedOperation::SetEnrollment(_) => self.enrollments.apply(own),
            _ => self.entries.apply(own),
        }
    }
}

/// See [`Trial::fill`].
struct Filled {
    signatures: v1::PrivateOperationSignatures,
    role_signed: bool,
    missing: Vec<MissingSignature>,
}

fn is_made(signature: &v1::KeySignature) -> bool {
    !signature.signature.is_empty() && signature.signature != UNSIGNED
}

/// Does an operation name a document, and a private content?
fn names(operation: &v1::Operation) -> (bool, bool) {
    match &operation.operation {
        Some(Wire::CreateDid(_) | Wire::UpdateDid(_)) => (true, false),
        Some(Wire::SetDevice(op)) => (!op.document_hash.is_empty(), false),
        Some(Wire::SetStatus(_) | Wire::SetEnrollment(_)) => (false, true),
        _ => (false, false),
    }
}

/// The signature whose absence a rule reports; `None`: the rule is about something else.
fn unsigned(
    index: usize,
    operation: Option<&CheckedOperation>,
    error: &AdmissionError,
) -> Option<MissingSignature> {
    let (did, key_id) = match error {
        // Registering is the authority's word, beside the possession of every key.
        AdmissionError::NotAuthorized { did, .. } => match operation {
            Some(CheckedOperation::Create(op)) => (Some(op.authority), None),
            _ => (Some(*did), None),
        },
        AdmissionError::PossessionMissing { key_id, .. } => (None, Some(*key_id)),
        AdmissionError::GovernanceKeyRequired { operator, .. } => (Some(*operator), None),
        AdmissionError::GrantNotAccepted { organization } => (Some(*organization), None),
        _ => return None,
    };
    Some(MissingSignature { operation: Some(index), signer: Signer::Author, did, key_id })
}
