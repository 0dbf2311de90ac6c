//! A desk: changing status, with what the public never reads (PROTOCOL §2.4, §4).
//!
//! An [`Application`] is one change with its private content: who acts, why, through which channel, for whom. It is what
//! approvers sign, each by itself and before there is a transaction ([`Application::approve`]); the desk merges what they
//! hand back ([`Application::merge`]) and puts it into a transaction, which the acting role and the holder's keys sign.
//! Several changes in one transaction happen together or not at all: that is how an old enrollment ends and its successor
//! is reserved at one height.
//!
//! A person appears as a [`Handle`] alone, and only [`crate::pseudonym`] makes one.

use crate::identity::Identity;
use crate::keys::{SecretKey, SecretKeyError, random};
use crate::private_file::json_reason;
use crate::pseudonym::Handle;
use crate::read::Client;
use crate::transaction::{OperationDraft, PartlySigned, Terms, TransactionBuilder};
use crate::write::WriteError;
use serde::{Deserialize, Serialize};
use sillok_did_method::{
    CAPABILITY_INVOCATION, Did, Enrollment, EntryState, INDEXES_MAX, OperationError, SUBMIT,
    approval_string, operation_hash, private_content_hash,
};
use sillok_ledger::{
    APPROVERS_MAX, HANDLE_BYTES, PrivateContentError, TRANSACTION_BYTES_MAX, check_private_content,
    pad,
};
use sillok_proto::{CanonicalError, Hash, decode, encode, v1};
use std::collections::BTreeMap;
use v1::operation::Operation as Kind;

/// Why a change cannot be prepared or approved.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DeskError {
    /// No random salt, or a key that does not sign.
    #[error(transparent)]
    Key(#[from] SecretKeyError),
    /// More approvers than a rule asks for.
    #[error("{count} approvers are named, more than {APPROVERS_MAX}; name fewer")]
    TooManyApprovers {
        /// How many.
        count: usize,
    },
    /// An approver counts once, and is another than who acts.
    #[error("{approver} approves once, and not what it does itself; name another organization")]
    Approver {
        /// The one named.
        approver: Did,
    },
    /// An index stands twice.
    #[error("an index is named twice; name each once")]
    IndexTwice,
    /// None, or more than an operation takes.
    #[error("{count} indexes are named; an operation sets 1 to {INDEXES_MAX}, so split it")]
    IndexCount {
        /// How many.
        count: usize,
    },
    /// Of some entries it is said whose they are and of others not.
    #[error(
        "some entries have a person and others have none; an exclusive type calls for one each, others for none"
    )]
    HandleCount,
    /// The content would be refused.
    #[error("the private content would be refused: {0}")]
    Content(#[from] PrivateContentError),
    /// The operation would be refused.
    #[error("the change would be refused: {0}")]
    Operation(#[from] OperationError),
    /// The approval of another change.
    #[error("the approval is of another application; have this one approved")]
    OtherApplication,
    /// The application does not name this approver.
    #[error(
        "{approver} is not named in the application; name it with --approver when you prepare it"
    )]
    NotNamed {
        /// Who it is.
        approver: Hash,
    },
    /// A file that is something else.
    #[error("the file is not {what} ({reason})")]
    File {
        /// What it should be, and who makes such files.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The file is of another network.
    #[error("the file is for network {found}, not for {expected}; use the genesis it was made for")]
    OtherNetwork {
        /// Genesis hash in the file.
        found: Hash,
        /// Genesis hash of the caller.
        expected: Hash,
    },
}

/// Why, through which door, and with whose approval: what the rules of a type ask about each change.
#[derive(Debug, Clone)]
pub struct Circumstances {
    /// The organization, office or role that acts.
    pub acting_role: Did,
    /// Why.
    pub reason: v1::Reason,
    /// Through which door the request came.
    pub channel: v1::Channel,
    /// How well the person was proofed; for types that ask, where a right is gained.
    pub assurance_level: Option<v1::AssuranceLevel>,
    /// The organization that the person belongs to.
    pub organization: Option<Did>,
    /// Who will approve.
    pub approvers: Vec<Did>,
}

/// Dates beside entries; 0 = none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EntryDates {
    /// Of superseded entries: a verifier may still take them until then.
    pub grace_until_ms: u64,
    /// Of invalid ones: not to be trusted since then.
    pub invalid_from_ms: u64,
}

/// What is done to an enrollment.
#[derive(Debug, Clone, PartialEq)]
pub enum EnrollmentStep {
    /// A number is reserved; what is active goes on until it is activated.
    Reserve {
        /// One more than the last.
        number: u32,
        /// The public half of what the holder is handed.
        one_time_key: v1::PublicKey,
        /// Activated before, or never.
        deadline_ms: u64,
        /// The end of the enrollment.
        valid_until_ms: u64,
        /// The handle it moves to at the activation.
        new_handle: Option<Handle>,
    },
    /// What was reserved becomes active, and what was active ends.
    Activate {
        /// The number reserved.
        number: u32,
        /// The key that was handed out; it signs.
        one_time_key: v1::PublicKey,
        /// The key of the phone; it signs.
        enrollment_key: v1::PublicKey,
        /// Entries that are superseded by it may still be taken until then; 0 = not at all.
        grace_until_ms: u64,
    },
    /// It may come back.
    Suspend {
        /// 0 = whichever is active.
        number: u32,
    },
    /// It comes back.
    Reinstate {
        /// The active number.
        number: u32,
        /// The key that was activated; it signs.
        enrollment_key: v1::PublicKey,
    },
    /// It never comes back.
    End {
        /// 0 = whichever there is.
        number: u32,
        /// Its entries are not to be trusted since then; 0 = since the block.
        invalid_from_ms: u64,
    },
}

impl EnrollmentStep {
    fn request(&self) -> v1::EnrollmentRequest {
        use v1::EnrollmentChange as Change;
        let of = |change: Change, number: u32| v1::EnrollmentRequest {
            change: change.into(),
            number,
            ..v1::EnrollmentRequest::default()
        };
        match self {
            Self::Reserve { number, one_time_key, deadline_ms, valid_until_ms, new_handle } => {
                v1::EnrollmentRequest {
                    one_time_key: Some(one_time_key.clone()),
                    deadline_ms: *deadline_ms,
                    valid_until_ms: *valid_until_ms,
                    new_handle: new_handle.map(|one| one.digest().to_vec()).unwrap_or_default(),
                    ..of(Change::Reserve, *number)
                }
            }
            Self::Activate { number, one_time_key, enrollment_key, grace_until_ms } => {
                v1::EnrollmentRequest {
                    one_time_key: Some(one_time_key.clone()),
                    enrollment_key: Some(enrollment_key.clone()),
                    grace_until_ms: *grace_until_ms,
                    ..of(Change::Activate, *number)
                }
            }
            Self::Suspend { number } => of(Change::Suspend, *number),
            Self::Reinstate { number, enrollment_key } => v1::EnrollmentRequest {
                enrollment_key: Some(enrollment_key.clone()),
                ..of(Change::Reinstate, *number)
            },
            Self::End { number, invalid_from_ms } => v1::EnrollmentRequest {
                invalid_from_ms: *invalid_from_ms,
                ..of(Change::End, *number)
            },
        }
    }
}

/// A change of status that is prepared: see the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Application {
    genesis_hash: Hash,
    operation: v1::Operation,
    content: v1::PrivateContent,
    /// By approver.
    approvals: BTreeMap<Vec<u8>, v1::Approval>,
}

/// An approval of one application by one organization, to be handed back to the desk.
#[derive(Debug, Clone, PartialEq)]
pub struct SignedApproval {
    genesis_hash: Hash,
    /// Who approves.
    pub approver: Did,
    operation_hash: Hash,
    approval: v1::Approval,
}

impl SignedApproval {
    /// Ledger time from which on it counts no more, in milliseconds.
    #[must_use]
    pub const fn expires_ms(&self) -> u64 {
        self.approval.expires_ms
    }
}

fn content(
    circumstances: &Circumstances,
    handles: &[Handle],
    enrollment: Option<v1::EnrollmentRequest>,
) -> Result<v1::PrivateContent, DeskError> {
    let mut approvers: Vec<&Did> = circumstances.approvers.iter().collect();
    approvers.sort_by_key(|did| did.digest());
    if approvers.len() > APPROVERS_MAX {
        return Err(DeskError::TooManyApprovers { count: approvers.len() });
    }
    for (place, approver) in approvers.iter().enumerate() {
        let before = place.checked_sub(1).and_then(|before| approvers.get(before));
        if before == Some(approver) || **approver == circumstances.acting_role {
            return Err(DeskError::Approver { approver: (*approver).clone() });
        }
    }
    let content = pad(v1::PrivateContent {
        salt: random::<32>()?.to_vec(),
        acting_role: circumstances.acting_role.digest().to_vec(),
        approvers: approvers.iter().map(|did| did.digest().to_vec()).collect(),
        channel: circumstances.channel.into(),
        reason: circumstances.reason.into(),
        assurance_level: circumstances.assurance_level.map_or(0, Into::into),
        organization_code: circumstances
            .organization
            .as_ref()
            .map(|did| did.digest().to_vec())
            .unwrap_or_default(),
        handles: handles.iter().flat_map(|handle| handle.digest().0).collect(),
        enrollment,
        padding: Vec::new(),
    });
    check_private_content(&content, handles.len())?;
    Ok(content)
}

impl Application {
    /// Sets entries of a list to one state. Of an exclusive type's entries that become valid each has its handle, others
    /// have none.
    ///
    /// # Errors
    ///
    /// [`DeskError`].
    pub fn set_status(
        genesis_hash: Hash,
        circumstances: &Circumstances,
        list: &Hash,
        state: EntryState,
        entries: &[(u32, Option<Handle>)],
        dates: EntryDates,
    ) -> Result<Self, DeskError> {
        let mut entries = entries.to_vec();
        entries.sort_by_key(|(index, _)| *index);
        if entries.is_empty() || entries.len() > INDEXES_MAX {
            return Err(DeskError::IndexCount { count: entries.len() });
        }
        if entries.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(DeskError::IndexTwice);
        }
        let handles: Vec<Handle> = entries.iter().filter_map(|(_, handle)| *handle).collect();
        if !handles.is_empty() && handles.len() != entries.len() {
            return Err(DeskError::HandleCount);
        }
        let content = content(circumstances, &handles, None)?;
        let operation = Kind::SetStatus(v1::SetStatus {
            list: list.to_vec(),
            state: state as u32,
            indexes: entries.into_iter().map(|(index, _)| index).collect(),
            grace_until_ms: dates.grace_until_ms,
            invalid_from_ms: dates.invalid_from_ms,
            content_hash: private_content_hash(&content).to_vec(),
        });
        Ok(Self::new(genesis_hash, operation, content))
    }

    /// Changes an enrollment.
    ///
    /// # Errors
    ///
    /// [`DeskError`].
    pub fn set_enrollment(
        genesis_hash: Hash,
        circumstances: &Circumstances,
        issuer: &Did,
        credential_type: &Hash,
        handle: Handle,
        step: &EnrollmentStep,
    ) -> Result<Self, DeskError> {
        let request = step.request();
        Enrollment::check(&request, handle.digest())?;
        let content = content(circumstances, &[handle], Some(request))?;
        let operation = Kind::SetEnrollment(v1::SetEnrollment {
            issuer: issuer.digest().to_vec(),
            r#type: credential_type.to_vec(),
            content_hash: private_content_hash(&content).to_vec(),
        });
        Ok(Self::new(genesis_hash, operation, content))
    }

    fn new(genesis_hash: Hash, operation: Kind, content: v1::PrivateContent) -> Self {
        let operation = v1::Operation { operation: Some(operation) };
        Self { genesis_hash, operation, content, approvals: BTreeMap::new() }
    }

    /// What the public will see.
    #[must_use]
    pub const fn operation(&self) -> &v1::Operation {
        &self.operation
    }

    /// What it will not.
    #[must_use]
    pub const fn content(&self) -> &v1::PrivateContent {
        &self.content
    }

    /// What approvals are over.
    #[must_use]
    pub fn operation_hash(&self) -> Hash {
        operation_hash(&self.genesis_hash, &self.operation)
    }

    /// Is this organization to approve it?
    #[must_use]
    pub fn names(&self, approver: &Did) -> bool {
        self.content.approvers.iter().any(|one| *one == approver.digest().0)
    }

    /// Is the approval one of this change?
    #[must_use]
    pub fn is_approved_by(&self, approval: &SignedApproval) -> bool {
        approval.operation_hash == self.operation_hash()
    }

    /// Is it about this person?
    #[must_use]
    pub fn is_about(&self, handle: &Handle) -> bool {
        self.content.handles.chunks(HANDLE_BYTES).any(|one| one == handle.digest().0)
    }

    /// The digests of those who are named and have not approved.
    #[must_use]
    pub fn missing(&self) -> Vec<Hash> {
        let given = |one: &&Vec<u8>| !self.approvals.contains_key(*one);
        self.content
            .approvers
            .iter()
            .filter(given)
            .filter_map(|one| Hash::from_slice(one))
            .collect()
    }

    /// An approval by `approver`, which the application names, with a key of its that may submit.
    ///
    /// # Errors
    ///
    /// [`DeskError::NotNamed`], [`DeskError::Key`].
    pub fn approve(
        &self,
        approver: &Did,
        key: &SecretKey,
        expires_ms: u64,
    ) -> Result<SignedApproval, DeskError> {
        let digest = approver.digest();
        self.require_named(&digest)?;
        let operation_hash = self.operation_hash();
        let statement =
            v1::ApprovalStatement { operation_hash: operation_hash.to_vec(), expires_ms };
        let signature = key.key_signature(&approval_string(&self.genesis_hash, &statement))?;
        let approval = v1::Approval { expires_ms, signature: Some(signature) };
        let (genesis_hash, approver) = (self.genesis_hash, approver.clone());
        Ok(SignedApproval { genesis_hash, approver, operation_hash, approval })
    }

    fn require_named(&self, approver: &Hash) -> Result<(), DeskError> {
        let named = self.content.approvers.iter().any(|one| *one == approver.0);
        if named { Ok(()) } else { Err(DeskError::NotNamed { approver: *approver }) }
    }

    /// Takes an approval in; a second one of one approver takes the place of the first.
    ///
    /// # Errors
    ///
    /// [`DeskError::OtherApplication`], [`DeskError::NotNamed`].
    pub fn merge(&mut self, approval: &SignedApproval) -> Result<(), DeskError> {
        let own = (self.genesis_hash, self.operation_hash());
        if (approval.genesis_hash, approval.operation_hash) != own {
            return Err(DeskError::OtherApplication);
        }
        let approver = approval.approver.digest();
        self.require_named(&approver)?;
        self.approvals.insert(approver.to_vec(), approval.approval.clone());
        Ok(())
    }

    /// The operation for a transaction. An approval that is missing is missed when the transaction is complete.
    #[must_use]
    pub fn draft(&self) -> OperationDraft {
        let given = |one: &Vec<u8>| self.approvals.get(one).cloned().unwrap_or_default();
        let approvals = self.content.approvers.iter().map(given).collect();
        OperationDraft::at_a_desk(self.operation.clone(), self.content.clone(), approvals)
    }
}

const APPLICATION: &str = "an application, as `sillok status … --out` writes it";
const APPROVAL: &str = "an approval, as `sillok status approve` writes it";

fn unhex<M: prost::Message + Default>(text: &str, what: &'static str) -> Result<M, DeskError> {
    let wrong = |reason: String| DeskError::File { what, reason };
    let bytes = hex::decode(text).map_err(|_| wrong("it is not hex".to_owned()))?;
    decode(&bytes, TRANSACTION_BYTES_MAX).map_err(|error: CanonicalError| wrong(error.to_string()))
}

fn check_network(text: &str, expected: Hash, what: &'static str) -> Result<(), DeskError> {
    let found = hex::decode(text).ok().and_then(|bytes| Hash::from_slice(&bytes));
    match found {
        None => Err(DeskError::File { what, reason: "the genesis hash is none".to_owned() }),
        Some(found) if found != expected => Err(DeskError::OtherNetwork { found, expected }),
        Some(_) => Ok(()),
    }
}

/// A file for approvers, of changes that will happen together. It holds their private contents: who may read it may
/// know whose enrollment it is.
#[must_use]
pub fn applications_to_json(genesis_hash: &Hash, applications: &[Application]) -> String {
    let stored = |one: &Application| StoredApplication {
        operation: hex::encode(encode(&one.operation)),
        private_content: hex::encode(encode(&one.content)),
        approvals: one
            .approvals
            .iter()
            .map(|(approver, approval)| StoredApproval {
                approver: hex::encode(approver),
                approval: hex::encode(encode(approval)),
            })
            .collect(),
    };
    let file = ApplicationsFile {
        genesis_hash: genesis_hash.to_string(),
        changes: applications.iter().map(stored).collect(),
    };
    // Strings have a JSON form.
    serde_json::to_string_pretty(&file).unwrap_or_default()
}

/// Reads what [`applications_to_json`] wrote, and checks that each content is the one that its operation names: what is
/// shown to an approver is what it signs.
///
/// # Errors
///
/// [`DeskError::File`], [`DeskError::OtherNetwork`].
pub fn applications_from_json(
    text: &str,
    genesis_hash: Hash,
) -> Result<Vec<Application>, DeskError> {
    let wrong = |reason: String| DeskError::File { what: APPLICATION, reason };
    let file: ApplicationsFile =
        serde_json::from_str(text).map_err(|error| wrong(json_reason(&error)))?;
    check_network(&file.genesis_hash, genesis_hash, APPLICATION)?;
    if file.changes.is_empty() {
        return Err(wrong("it has no change".to_owned()));
    }
    file.changes.iter().map(|stored| stored.read(genesis_hash)).collect()
}

impl StoredApplication {
    fn read(&self, genesis_hash: Hash) -> Result<Application, DeskError> {
        let wrong = |reason: &str| DeskError::File { what: APPLICATION, reason: reason.to_owned() };
        let operation: v1::Operation = unhex(&self.operation, APPLICATION)?;
        let content: v1::PrivateContent = unhex(&self.private_content, APPLICATION)?;
        let named = match &operation.operation {
            Some(Kind::SetStatus(op)) => &op.content_hash,
            Some(Kind::SetEnrollment(op)) => &op.content_hash,
            _ => return Err(wrong("it is no change of status")),
        };
        if *named != private_content_hash(&content).0 {
            return Err(wrong("its private content is another than the operation names"));
        }
        check_private_content(&content, content.handles.len() / HANDLE_BYTES)?;
        let mut approvals = BTreeMap::new();
        for one in &self.approvals {
            let approver = hex::decode(&one.approver).unwrap_or_default();
            approvals.insert(approver, unhex(&one.approval, APPLICATION)?);
        }
        Ok(Application { genesis_hash, operation, content, approvals })
    }
}

/// A file for the desk, of the approvals of one organization. It holds nothing of the private contents.
#[must_use]
pub fn approvals_to_json(
    genesis_hash: &Hash,
    approver: &Did,
    approvals: &[SignedApproval],
) -> String {
    let stored = |one: &SignedApproval| StoredSignedApproval {
        operation_hash: one.operation_hash.to_string(),
        approval: hex::encode(encode(&one.approval)),
    };
    let file = ApprovalsFile {
        genesis_hash: genesis_hash.to_string(),
        approver: approver.to_string(),
        approvals: approvals.iter().map(stored).collect(),
    };
    serde_json::to_string_pretty(&file).unwrap_or_default()
}

/// Reads what [`approvals_to_json`] wrote.
///
/// # Errors
///
/// [`DeskError::File`], [`DeskError::OtherNetwork`].
pub fn approvals_from_json(
    text: &str,
    genesis_hash: Hash,
) -> Result<Vec<SignedApproval>, DeskError> {
    let wrong = |reason: String| DeskError::File { what: APPROVAL, reason };
    let file: ApprovalsFile =
        serde_json::from_str(text).map_err(|error| wrong(json_reason(&error)))?;
    check_network(&file.genesis_hash, genesis_hash, APPROVAL)?;
    let approver = Did::parse(&file.approver).map_err(|error| wrong(error.to_string()))?;
    file.approvals
        .iter()
        .map(|one| {
            let operation_hash = hex::decode(&one.operation_hash)
                .ok()
                .and_then(|bytes| Hash::from_slice(&bytes))
                .ok_or_else(|| wrong("the hash of an operation is none".to_owned()))?;
            let approval = unhex(&one.approval, APPROVAL)?;
            Ok(SignedApproval {
                genesis_hash,
                approver: approver.clone(),
                operation_hash,
                approval,
            })
        })
        .collect()
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApplicationsFile {
    genesis_hash: String,
    changes: Vec<StoredApplication>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredApplication {
    operation: String,
    private_content: String,
    approvals: Vec<StoredApproval>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredApproval {
    approver: String,
    approval: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApprovalsFile {
    genesis_hash: String,
    approver: String,
    approvals: Vec<StoredSignedApproval>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSignedApproval {
    operation_hash: String,
    approval: String,
}

impl Client {
    /// Operations of one author, signed by its control key and lacking the submitter's signature: what is said here
    /// happens together or not at all.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub async fn authored(
        &self,
        author: &Identity,
        drafts: Vec<OperationDraft>,
        submitter: &Did,
        valid_until_ms: Option<u64>,
    ) -> Result<PartlySigned, WriteError> {
        let key = self.acting_key(author, CAPABILITY_INVOCATION).await?;
        // Only now, for reading the author has moved the trusted header on.
        let until_ms = match valid_until_ms {
            Some(until_ms) => until_ms,
            None => self.valid_until_ms().await?,
        };
        let mut partly = self.together(drafts, submitter, until_ms);
        for index in 0..partly.body().operations.len() {
            partly.sign(index, &key)?;
        }
        Ok(partly)
    }

    /// Changes of status, signed by the acting role. The keys of a holder may sign before the submitter does, which it
    /// must by `valid_until_ms`; an approval that is missing is missed then.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub async fn at_desk(
        &self,
        role: &Identity,
        applications: &[Application],
        submitter: &Did,
        valid_until_ms: Option<u64>,
    ) -> Result<PartlySigned, WriteError> {
        let key = self.acting_key(role, SUBMIT).await?;
        let drafts = applications.iter().map(Application::draft).collect();
        // Only now, for reading the role has moved the trusted header on.
        let until_ms = match valid_until_ms {
            Some(until_ms) => until_ms,
            None => self.valid_until_ms().await?,
        };
        let mut partly = self.together(drafts, submitter, until_ms);
        for index in 0..applications.len() {
            partly.sign_acting_role(index, &key)?;
        }
        Ok(partly)
    }

    fn together(
        &self,
        drafts: Vec<OperationDraft>,
        submitter: &Did,
        valid_until_ms: u64,
    ) -> PartlySigned {
        // One operation has no list to be torn from.
        let terms = if drafts.len() > 1 { Terms::WHOLE_LIST } else { Terms::NAMED };
        drafts
            .into_iter()
            .fold(
                TransactionBuilder::new(self.genesis_hash(), submitter, valid_until_ms),
                |builder, draft| builder.push(draft, terms),
            )
            .freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyAlgorithm::{Ed25519, P256};
    use crate::pseudonym::{HandleSecret, Person};
    use sillok_ledger::{AdmissionError, CheckedTransaction};

    const GENESIS: Hash = Hash([1; 32]);
    const TYPE: Hash = Hash([2; 32]);
    const NUMBER: &str = "900101-1234567";

    fn organization() -> Identity {
        Identity::organization("test", Ed25519, false, None, None).unwrap()
    }

    fn circumstances(role: &Identity, approvers: &[&Identity]) -> Circumstances {
        Circumstances {
            acting_role: role.did.clone(),
            reason: v1::Reason::FirstIssue,
            channel: v1::Channel::Office,
            assurance_level: Some(v1::AssuranceLevel::High),
            organization: None,
            approvers: approvers.iter().map(|one| one.did.clone()).collect(),
        }
    }

    fn handle() -> (HandleSecret, Handle) {
        let secret = HandleSecret::generate().unwrap();
        let handle = secret.handle(&TYPE, &Person::new(NUMBER).unwrap());
        (secret, handle)
    }

    fn public(algorithm: crate::keys::KeyAlgorithm) -> (SecretKey, v1::PublicKey) {
        let secret = SecretKey::generate(algorithm).unwrap();
        let public = secret.public().clone();
        (secret, public)
    }

    fn reserve(role: &Identity, approvers: &[&Identity]) -> Application {
        let step = EnrollmentStep::Reserve {
            number: 1,
            one_time_key: public(Ed25519).1,
            deadline_ms: 10,
            valid_until_ms: 20,
            new_handle: None,
        };
        let circumstances = circumstances(role, approvers);
        Application::set_enrollment(GENESIS, &circumstances, &role.did, &TYPE, handle().1, &step)
            .unwrap()
    }

    fn submit_key(identity: &Identity) -> &SecretKey {
        identity.newest_secret(SUBMIT).unwrap()
    }

    /// A transaction of these changes, complete.
    fn finish(
        role: &Identity,
        applications: &[Application],
        holder: &[&SecretKey],
    ) -> Result<v1::Transaction, crate::transaction::BuildError> {
        let mut partly = applications
            .iter()
            .fold(TransactionBuilder::new(GENESIS, &role.did, 60_000), |builder, one| {
                builder.push(one.draft(), Terms::WHOLE_LIST)
            })
            .freeze();
        for index in 0..applications.len() {
            partly.sign_acting_role(index, submit_key(role))?;
        }
        // Through a file, as between desk and phone.
        let mut partly = PartlySigned::from_json(&partly.to_json(), GENESIS)?;
        for key in holder {
            partly.sign_holder(applications.len() - 1, key)?;
        }
        partly.submit(submit_key(role))
    }

    #[test]
    fn an_approved_reservation_passes_the_rules_without_state() {
        let (role, one, two) = (organization(), organization(), organization());
        let application = reserve(&role, &[&one, &two]);
        let text = applications_to_json(&GENESIS, std::slice::from_ref(&application));
        let mut merged = applications_from_json(&text, GENESIS).unwrap().remove(0);
        assert_eq!(merged, application);
        // Each approves by itself; the order in which they hand it back does not matter.
        for approver in [&two, &one] {
            let read = applications_from_json(&text, GENESIS).unwrap().remove(0);
            let approval = read.approve(&approver.did, submit_key(approver), 50).unwrap();
            let file = approvals_to_json(&GENESIS, &approver.did, &[approval]);
            for approval in approvals_from_json(&file, GENESIS).unwrap() {
                merged.merge(&approval).unwrap();
            }
        }
        assert!(merged.missing().is_empty());
        let transaction = finish(&role, &[merged], &[]).unwrap();
        let checked = CheckedTransaction::check(&GENESIS, &transaction).unwrap();
        let part = checked.private[0].as_ref().unwrap();
        let key = |identity: &Identity| submit_key(identity).public().clone();
        sillok_did_method::verify(&key(&role), &part.acting_string, &part.acting_signature.bytes)
            .unwrap();
        for approval in &part.approvals {
            let approver =
                [&one, &two].into_iter().find(|one| one.did.digest() == approval.approver).unwrap();
            let bytes = &approval.signature.bytes;
            sillok_did_method::verify(&key(approver), &approval.string, bytes).unwrap();
        }
    }

    #[test]
    fn a3_a_missing_approval_is_missed_before_anything_is_sent() {
        let (role, one) = (organization(), organization());
        let application = reserve(&role, &[&one]);
        assert_eq!(application.missing(), [one.did.digest()]);
        let error = finish(&role, &[application], &[]).unwrap_err();
        let missing = AdmissionError::MissingPart { part: "approver's signature" };
        assert_eq!(error, missing.into());
    }

    #[test]
    fn a3_an_approval_is_for_one_change_by_who_is_named() {
        let (role, one, other) = (organization(), organization(), organization());
        let application = reserve(&role, &[&one]);
        let approval = application.approve(&one.did, submit_key(&one), 50).unwrap();
        let mut again = reserve(&role, &[&one]);
        assert_eq!(again.merge(&approval), Err(DeskError::OtherApplication));
        let error = application.approve(&other.did, submit_key(&other), 50).unwrap_err();
        assert_eq!(error, DeskError::NotNamed { approver: other.did.digest() });
        for approvers in [vec![&one, &one], vec![&role]] {
            let circumstances = circumstances(&role, &approvers);
            let error = content(&circumstances, &[], None).unwrap_err();
            assert!(matches!(error, DeskError::Approver { .. }));
        }
    }

    #[test]
    fn an_activation_is_signed_by_both_keys_of_the_holder() {
        let role = organization();
        let ((one_time, one_time_key), (phone, enrollment_key)) = (public(P256), public(Ed25519));
        let step =
            EnrollmentStep::Activate { number: 1, one_time_key, enrollment_key, grace_until_ms: 0 };
        let circumstances = circumstances(&role, &[]);
        let application = Application::set_enrollment(
            GENESIS,
            &circumstances,
            &role.did,
            &TYPE,
            handle().1,
            &step,
        )
        .unwrap();
        let all = [application];
        finish(&role, &all, &[&phone, &one_time]).unwrap();
        let error = finish(&role, &all, &[&phone]).unwrap_err();
        assert!(error.to_string().contains("possession") || error.to_string().contains("key"));
        let stranger = public(Ed25519).0;
        let error = finish(&role, &all, &[&stranger]).unwrap_err();
        assert_eq!(error, crate::transaction::BuildError::NotAHolderKey { index: 0 });
    }

    #[test]
    fn a17_ending_and_reserving_stand_in_one_transaction_in_that_order() {
        let role = organization();
        let circumstances = circumstances(&role, &[]);
        let end = EnrollmentStep::End { number: 0, invalid_from_ms: 0 };
        let end = Application::set_enrollment(
            GENESIS,
            &circumstances,
            &role.did,
            &TYPE,
            handle().1,
            &end,
        )
        .unwrap();
        let transaction = finish(&role, &[end, reserve(&role, &[])], &[]).unwrap();
        let checked = CheckedTransaction::check(&GENESIS, &transaction).unwrap();
        let changes: Vec<_> =
            checked.private.iter().flatten().map(|part| part.enrollment.clone().unwrap()).collect();
        assert!(matches!(changes[..], [Enrollment::End { .. }, Enrollment::Reserve { .. }]));
    }

    #[test]
    fn entries_are_sorted_with_their_people() {
        let role = organization();
        let secret = HandleSecret::generate().unwrap();
        let handle = |text: &str| secret.handle(&TYPE, &Person::new(text).unwrap());
        let entries = [(9, Some(handle("b"))), (3, Some(handle("a")))];
        let set = |entries: &[(u32, Option<Handle>)]| {
            let circumstances = circumstances(&role, &[]);
            let dates = EntryDates::default();
            Application::set_status(
                GENESIS,
                &circumstances,
                &TYPE,
                EntryState::Valid,
                entries,
                dates,
            )
        };
        let application = set(&entries).unwrap();
        let Some(Kind::SetStatus(op)) = &application.operation().operation else { panic!("a set") };
        assert_eq!(op.indexes, [3, 9]);
        let handles = [handle("a"), handle("b")].map(|handle| handle.digest().0).concat();
        assert_eq!(application.content().handles, handles);
        assert!(application.is_about(&handle("b")) && !application.is_about(&handle("c")));
        assert_eq!(set(&[(3, None), (3, None)]), Err(DeskError::IndexTwice));
        assert_eq!(set(&[(3, None), (4, Some(handle("a")))]), Err(DeskError::HandleCount));
        assert_eq!(set(&[]), Err(DeskError::IndexCount { count: 0 }));
        finish(&role, &[application], &[]).unwrap();
    }

    #[test]
    fn a8_what_names_a_person_is_in_nothing_that_leaves_the_desk() {
        let (role, one) = (organization(), organization());
        let application = reserve(&role, &[&one]);
        let approval = application.approve(&one.did, submit_key(&one), 50).unwrap();
        let mut merged = application.clone();
        merged.merge(&approval).unwrap();
        let partly = TransactionBuilder::new(GENESIS, &role.did, 60_000)
            .push(merged.draft(), Terms::NAMED)
            .freeze();
        let transaction = encode(&finish(&role, &[merged.clone()], &[]).unwrap());
        let texts = [
            applications_to_json(&GENESIS, &[merged.clone()]),
            approvals_to_json(&GENESIS, &one.did, &[approval]),
            partly.to_json(),
            hex::encode(&transaction),
            format!("{merged:?} {partly:?}"),
            String::from_utf8_lossy(&transaction).into_owned(),
        ];
        for form in [NUMBER.to_owned(), hex::encode(NUMBER), NUMBER.replace('-', "")] {
            for text in &texts {
                assert!(!text.contains(&form));
            }
        }
        // An unsalted hash could be matched against all numbers.
        use sha2::Digest as _;
        let hash = sha2::Sha256::digest(NUMBER).to_vec();
        assert!(!transaction.windows(hash.len()).any(|window| window == hash));
    }

    #[test]
    fn a_changed_file_is_refused() {
        let role = organization();
        let text = applications_to_json(&GENESIS, &[reserve(&role, &[])]);
        let other = applications_to_json(&GENESIS, &[reserve(&role, &[])]);
        let content = |text: &str| {
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            value["changes"][0]["private_content"].as_str().unwrap().to_owned()
        };
        let swapped = text.replace(&content(&text), &content(&other));
        let error = applications_from_json(&swapped, GENESIS).unwrap_err();
        assert!(error.to_string().contains("another than the operation names"), "{error}");
        let error = applications_from_json(&text, Hash([9; 32])).unwrap_err();
        assert!(matches!(error, DeskError::OtherNetwork { .. }));
        assert!(approvals_from_json(&text, GENESIS).is_err());
    }
}
