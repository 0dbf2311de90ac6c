//! What an issuer's desk asks of a node, over real gRPC with real operations: prepare and confirm, and private reads.
//!
//! `AGENCY` issues the exclusive type and brings its own transactions; `RIVAL` issues it on its own; `STRANGER` may submit
//! and nothing else; `AUDITOR` may audit. The record has a list and one person, enrolled with one entry.

use super::api::{Doors, doors_of, refusal};
use super::support::{GENESIS_MS, GOVERNANCE, LIMITS, NETWORK, VALIDATOR, build, commit, now_ms};
use super::support::{bound, point, sign};
use sillok_did_method::{
    CAPABILITY_INVOCATION, SUBMIT, acting_role_string, author_statement, author_string,
    credential_type_name, holder_string, prepare_string, private_content_hash, status_list_name,
    submitter_string, transaction_id,
};
use sillok_ledger::{Chain, TreeKey, default_parameters, organization_digest, pad};
use sillok_node::ledger::{Environment, Ledger};
use sillok_node::storage::{Retention, Storage};
use sillok_proto::{Hash, encode, v1};
use std::path::Path;
use tonic::Code;
use v1::operation::Operation as Wire;
use v1::{Action, EnrollmentChange as Change, Reason};

/// An organization by the seeds of its keys.
#[derive(Clone, Copy)]
pub(crate) struct Office {
    control: u8,
    pub(crate) submit: u8,
}

pub(crate) const AGENCY: Office = Office { control: 31, submit: 32 };
pub(crate) const STRANGER: Office = Office { control: 33, submit: 34 };
pub(crate) const AUDITOR: Office = Office { control: 35, submit: 36 };
/// Issues credentials of the same type on its own.
pub(crate) const RIVAL: Office = Office { control: 37, submit: 38 };
const ONE_TIME: u8 = 41;
const ONE_TIME_OF_RIVAL: u8 = 43;
const ENROLLED: u8 = 42;
const HOUR: u64 = 3_600_000;
pub(crate) const HANDLE: Hash = Hash([0xda; 32]);
/// The person's entry.
pub(crate) const ENTRY: u32 = 70_001;

impl Office {
    pub(crate) const fn new(control: u8, submit: u8) -> Self {
        Self { control, submit }
    }

    fn document(self) -> v1::DidDocument {
        let mut keys = vec![bound(self.control, CAPABILITY_INVOCATION), bound(self.submit, SUBMIT)];
        keys.sort_by_key(|bound| bound.key.clone().map(|key| key.point));
        v1::DidDocument { keys, services: Vec::new() }
    }

    pub(crate) fn digest(self) -> Hash {
        organization_digest(&self.document())
    }
}

fn chain() -> Chain {
    let organization = |office: Office, actions: &[Action]| v1::GenesisOrganization {
        name: format!("{}", office.control),
        document: Some(office.document()),
        actions: actions.iter().map(|action| (*action).into()).collect(),
    };
    let mut organizations = vec![
        organization(
            AGENCY,
            &[Action::DefineType, Action::Register, Action::Issue, Action::Revoke, Action::Submit],
        ),
        organization(STRANGER, &[Action::Submit]),
        organization(RIVAL, &[Action::Issue, Action::Revoke]),
        organization(AUDITOR, &[Action::Submit, Action::Audit]),
    ];
    organizations.sort_by_key(|one| organization_digest(one.document.as_ref().unwrap()));
    Chain::new(v1::Genesis {
        protocol_version: 1,
        network: NETWORK.to_owned(),
        time_ms: GENESIS_MS,
        parameters: Some(default_parameters()),
        organizations,
        operators: vec![v1::Operator {
            organization: AGENCY.digest().to_vec(),
            validator_key: point(VALIDATOR),
            node_key: point(4),
            governance_key: point(GOVERNANCE),
            archive: true,
        }],
        observers: Vec::new(),
    })
    .unwrap()
}

/// An operation in the making: its private content, and the seeds of the holder's keys that sign.
pub(crate) struct Deed {
    pub(crate) wire: Wire,
    content: Option<v1::PrivateContent>,
    holder: Vec<u8>,
    role: Office,
}

/// A node's doors, with what stands on the record behind them.
pub(crate) struct Desk {
    pub(crate) doors: Doors,
    pub(crate) genesis: Hash,
    pub(crate) of: Hash,
    pub(crate) list: Hash,
}

impl Desk {
    pub(crate) async fn open(path: &Path) -> Self {
        let chain = chain();
        let genesis = *chain.hash();
        let storage = Storage::open(path, &chain, Retention::Archive).unwrap();
        let ledger = Ledger::open(chain, storage, LIMITS, Environment::default()).unwrap();
        let (doors, _) = doors_of(ledger, None).await;
        let content = type_content();
        let of = credential_type_name(&genesis, &AGENCY.digest(), &[1; 16], &content);
        let list = status_list_name(&genesis, &AGENCY.digest(), &of, &[2; 16]);
        let mut desk = Self { doors, genesis, of, list };
        desk.order(&[desk.public(Wire::PublishType(v1::PublishType {
            publisher: AGENCY.digest().to_vec(),
            r#type: of.to_vec(),
            version: 1,
            nonce: vec![1; 16],
            content: Some(content),
        }))]);
        desk.order(&[desk.public(Wire::CreateList(v1::CreateList {
            issuer: AGENCY.digest().to_vec(),
            list: list.to_vec(),
            r#type: of.to_vec(),
            nonce: vec![2; 16],
            capacity: 131_072,
            max_age_s: 300,
        }))]);
        desk.order(&[desk.enroll(HANDLE, 1, Change::Reserve, Reason::FirstIssue)]);
        desk.order(&[desk.enroll(HANDLE, 1, Change::Activate, Reason::FirstIssue)]);
        desk.order(&[desk.set(0, &[ENTRY], &[HANDLE], Reason::FirstIssue)]);
        desk
    }

    pub(crate) fn public(&self, wire: Wire) -> Deed {
        Deed { wire, content: None, holder: Vec::new(), role: AGENCY }
    }

    fn content(
        &self,
        role: Office,
        reason: Reason,
        handles: &[Hash],
        enrollment: Option<v1::EnrollmentRequest>,
    ) -> v1::PrivateContent {
        pad(v1::PrivateContent {
            salt: rand(&format!("{reason:?} {handles:?} {enrollment:?}")).to_vec(),
            acting_role: role.digest().to_vec(),
            channel: v1::Channel::Office.into(),
            reason: reason.into(),
            handles: handles.iter().flat_map(|handle| handle.0).collect(),
            enrollment,
            ..v1::PrivateContent::default()
        })
    }

    pub(crate) fn set(
        &self,
        state: u32,
        indexes: &[u32],
        handles: &[Hash],
        reason: Reason,
    ) -> Deed {
        let content = self.content(AGENCY, reason, handles, None);
        let wire = Wire::SetStatus(v1::SetStatus {
            list: self.list.to_vec(),
            state,
            indexes: indexes.to_vec(),
            content_hash: private_content_hash(&content).to_vec(),
            ..v1::SetStatus::default()
        });
        Deed { wire, content: Some(content), holder: Vec::new(), role: AGENCY }
    }

    pub(crate) fn enroll(&self, handle: Hash, number: u32, change: Change, reason: Reason) -> Deed {
        self.enroll_by(AGENCY, handle, number, change, reason)
    }

    pub(crate) fn enroll_by(
        &self,
        role: Office,
        handle: Hash,
        number: u32,
        change: Change,
        reason: Reason,
    ) -> Deed {
        let activates = change == Change::Activate;
        let reserves = change == Change::Reserve;
        // A key is used once.
        let one_time = if role.control == AGENCY.control { ONE_TIME } else { ONE_TIME_OF_RIVAL };
        let request = v1::EnrollmentRequest {
            change: change.into(),
            number,
            one_time_key: (reserves || activates).then(|| bound(one_time, 0).key.unwrap()),
            deadline_ms: if reserves { now_ms() + HOUR } else { 0 },
            valid_until_ms: if reserves { now_ms() + 9 * HOUR } else { 0 },
            enrollment_key: activates.then(|| bound(ENROLLED, 0).key.unwrap()),
            ..v1::EnrollmentRequest::default()
        };
        let content = self.content(role, reason, &[handle], Some(request));
        let wire = Wire::SetEnrollment(v1::SetEnrollment {
            issuer: role.digest().to_vec(),
            r#type: self.of.to_vec(),
            content_hash: private_content_hash(&content).to_vec(),
        });
        let holder = if activates { vec![ONE_TIME, ENROLLED] } else { Vec::new() };
        Deed { wire, content: Some(content), holder, role }
    }

    /// A transaction with every signature, brought by the agency.
    pub(crate) fn transaction(&self, deeds: &[Deed]) -> v1::Transaction {
        self.transaction_by(AGENCY, deeds)
    }

    /// Brought by another, and signed by the agency all the same.
    pub(crate) fn transaction_by(&self, submitter: Office, deeds: &[Deed]) -> v1::Transaction {
        let genesis = &self.genesis;
        let valid_until_ms = now_ms().max(self.doors.ledger.tip().header.time_ms) + 60_000;
        let operations =
            deeds.iter().map(|deed| v1::Operation { operation: Some(deed.wire.clone()) });
        let body = v1::TransactionBody {
            submitter: submitter.digest().to_vec(),
            valid_until_ms,
            operations: operations.collect(),
        };
        let id = transaction_id(genesis, &body);
        let mut public = Vec::new();
        let mut private = Vec::new();
        for (index, deed) in deeds.iter().enumerate() {
            let mut terms = v1::OperationSignatures::default();
            if deed.content.is_none() {
                terms.valid_until_ms = valid_until_ms;
                let statement = author_statement(genesis, &body, index, &terms).unwrap();
                let author = match &deed.wire {
                    Wire::Withdraw(_) => AUDITOR.control,
                    _ => AGENCY.control,
                };
                terms.signatures = vec![sign(author, &author_string(genesis, &statement))];
            } else {
                let operation = u32::try_from(index).unwrap();
                let acting = v1::ActingStatement { transaction_id: id.to_vec(), operation };
                let string = holder_string(genesis, &acting);
                let mut holder_keys: Vec<v1::KeySignature> =
                    deed.holder.iter().map(|key| sign(*key, &string)).collect();
                holder_keys.sort_by(|a, b| a.key_id.cmp(&b.key_id));
                private.push(v1::PrivateOperationSignatures {
                    operation,
                    acting_role: Some(sign(
                        deed.role.submit,
                        &acting_role_string(genesis, &acting),
                    )),
                    approvals: Vec::new(),
                    holder_keys,
                });
            }
            public.push(terms);
        }
        let submitted = Some(sign(submitter.submit, &submitter_string(genesis, &id)));
        let salted =
            || v1::PrivateSignatures { salt: rand(&id.to_string()).to_vec(), operations: private };
        let is_private = deeds.iter().any(|deed| deed.content.is_some());
        v1::Transaction {
            body: Some(body),
            documents: Vec::new(),
            private_contents: deeds.iter().filter_map(|deed| deed.content.clone()).collect(),
            signatures: Some(v1::PublicSignatures { submitter: submitted, operations: public }),
            private_signatures: is_private.then(salted),
        }
    }

    /// Orders a transaction of the agency's in a block of its own, and returns its id.
    pub(crate) fn order(&mut self, deeds: &[Deed]) -> Hash {
        let transaction = self.transaction(deeds);
        let (id, _) = self.doors.ledger.submit(transaction).unwrap();
        self.commit();
        assert!(self.doors.ledger.storage.transaction(&id).unwrap().is_some());
        id
    }

    /// A block of what waits.
    pub(crate) fn commit(&mut self) {
        let ledger = &self.doors.ledger;
        let built = build(ledger, now_ms().max(ledger.tip().header.time_ms + 1));
        assert!(built.built.refused.is_empty(), "{:?}", built.built.refused);
        commit(ledger, &built);
    }

    pub(crate) async fn simulate(
        &mut self,
        transaction: &v1::Transaction,
        keys: &[u8],
    ) -> Result<v1::SimulateResponse, tonic::Status> {
        let id = self.id(transaction);
        let string = prepare_string(&self.genesis, &id);
        let mut signatures = keys.iter().map(|key| sign(*key, &string));
        let request = v1::SimulateRequest {
            transaction: encode(transaction),
            submitter: signatures.next(),
            roles: signatures.collect(),
        };
        self.doors.writer.simulate(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) fn id(&self, transaction: &v1::Transaction) -> Hash {
        transaction_id(&self.genesis, transaction.body.as_ref().unwrap())
    }

    async fn confirm(
        &mut self,
        transaction: &v1::Transaction,
        prepared_id: &Hash,
    ) -> Result<v1::TransactionState, tonic::Status> {
        let request = v1::SubmitRequest {
            transaction: encode(transaction),
            wait_ms: 0,
            prepared_id: prepared_id.to_vec(),
        };
        self.doors.writer.submit(request).await.map(tonic::Response::into_inner)
    }
}

fn rand(seed: &str) -> Hash {
    Hash(blake3::hash(seed.as_bytes()).into())
}

fn type_content() -> v1::TypeVersion {
    let rule =
        |reason: Reason| v1::ReasonRule { reason: reason.into(), approvals: 0, replaces: false };
    let policy = v1::TypePolicy {
        exclusive: true,
        reasons: vec![rule(Reason::FirstIssue), rule(Reason::LostDevice)],
        channels: 0b1110,
        key_algorithms: 0b10,
        purposes: 0b10,
        validity_max_ms: 24 * HOUR,
        reservation_max_ms: 2 * HOUR,
        backdating_max_ms: HOUR,
        ..v1::TypePolicy::default()
    };
    v1::TypeVersion { schema_hash: vec![7; 32], render_hash: Vec::new(), policy: Some(policy) }
}

fn codes(answer: &v1::SimulateResponse) -> Vec<(Option<u32>, &str)> {
    let violations = answer.violations.iter();
    violations.map(|one| (one.operation, one.problem.as_ref().unwrap().code.as_str())).collect()
}

/// C2: all errors at once, machine-readable, and no trace; C6: what was confirmed is what is done, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn c2_c6_prepare_names_everything_and_confirm_takes_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let mut desk = Desk::open(directory.path()).await;
    let height = desk.doors.ledger.tip().height();

    let bad = [
        desk.set(1, &[5, 200_000], &[], Reason::EndOfUse),
        desk.enroll(HANDLE, 9, Change::End, Reason::LostDevice),
        desk.enroll(Hash([1; 32]), 0, Change::End, Reason::LostDevice),
    ];
    let answer = desk.simulate(&desk.transaction(&bad), &[AGENCY.submit]).await.unwrap();
    assert_eq!(
        codes(&answer),
        [
            (Some(0), "REASON_NOT_ALLOWED"),
            (Some(0), "INDEX_OUT_OF_RANGE"),
            (Some(1), "STALE_NUMBER"),
            (Some(2), "PENDING")
        ]
    );
    let first = answer.violations[1].problem.as_ref().unwrap();
    assert_eq!((first.retry.as_str(), first.fields[0].value.as_str()), ("AFTER_FIX", "200000"));
    assert!(answer.previews.is_empty());

    // What a person sees, before the issuer's role has signed anything.
    let whole = desk.transaction(&[desk.enroll(HANDLE, 0, Change::End, Reason::LostDevice)]);
    let bare = v1::Transaction { signatures: None, private_signatures: None, ..whole.clone() };
    let answer = desk.simulate(&bare, &[AGENCY.submit]).await.unwrap();
    assert_eq!(codes(&answer), []);
    let signers: Vec<i32> = answer.missing.iter().map(|one| one.signer).collect();
    assert_eq!(signers, [v1::Signer::Submitter as i32, v1::Signer::ActingRole as i32]);
    assert!(answer.missing.iter().all(|one| one.did == AGENCY.digest().to_vec()));
    let preview = &answer.previews[0];
    let (before, after) = (preview.enrollments[0].before.unwrap(), preview.enrollments[0].after);
    assert_eq!(before.state(), v1::EnrollmentState::Active);
    assert_eq!(after.unwrap().state(), v1::EnrollmentState::Ended);
    let entries = &preview.entries[0];
    assert_eq!((entries.list.clone(), entries.from, entries.to), (desk.list.to_vec(), 0, 1));
    assert_eq!((entries.count, entries.indexes.len()), (1, 0));
    assert_eq!((answer.height, answer.transaction_id), (height, desk.id(&whole).to_vec()));

    // Nothing of it is kept.
    assert!(desk.doors.ledger.mempool().is_empty());
    assert_eq!(desk.doors.ledger.tip().height(), height);
    desk.commit();
    assert_eq!(desk.doors.ledger.tip().header.transactions_root, {
        sillok_ledger::merkle_log::transactions_root(&[]).to_vec()
    });

    // Confirmed is this one, and no other.
    let id = desk.id(&whole);
    let other = desk.transaction(&[desk.set(1, &[ENTRY], &[], Reason::LostDevice)]);
    let refused = desk.confirm(&other, &id).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::FailedPrecondition, "PREPARE_MISMATCH".to_owned()));
    let refused = desk.confirm(&whole, &Hash([1; 32])).await.unwrap_err();
    assert_eq!(refusal(&refused).1, "PREPARE_MISMATCH");
    assert!(desk.doors.ledger.mempool().is_empty());
    desk.confirm(&whole, &id).await.unwrap();
    desk.commit();
    let view = desk.doors.ledger.storage.at(desk.doors.ledger.tip().height());
    let key = TreeKey::enrollment(&AGENCY.digest(), &desk.of, &HANDLE);
    let leaf = sillok_ledger::StateView::leaf(&view, &key).unwrap().unwrap();
    let leaf: v1::Enrollment = sillok_proto::decode(&leaf, 10_000).unwrap();
    assert_eq!(leaf.state(), v1::EnrollmentState::Ended);

    // What was prepared and not confirmed in time is over.
    let late = {
        let mut body = other.body.clone().unwrap();
        body.valid_until_ms = desk.doors.ledger.tip().header.time_ms - 1;
        v1::Transaction { body: Some(body), ..other }
    };
    let id = desk.id(&late);
    let refused = desk.confirm(&late, &id).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::FailedPrecondition, "EXPIRED".to_owned()));
    let refused = desk.simulate(&late, &[AGENCY.submit]).await.unwrap_err();
    assert_eq!(refusal(&refused).1, "EXPIRED");
    desk.doors.close().await;
}

/// Who is not known is told nothing, and whoever knows a handle nothing about it.
#[tokio::test(flavor = "multi_thread")]
async fn a_trial_tells_a_stranger_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut desk = Desk::open(directory.path()).await;
    let mut answers = Vec::new();
    for handle in [HANDLE, Hash([1; 32])] {
        let deed = desk.enroll(handle, 0, Change::End, Reason::LostDevice);
        let whole = desk.transaction_by(STRANGER, &[deed]);
        let bare = v1::Transaction { private_signatures: None, ..whole };
        let refused = desk.simulate(&bare, &[AUDITOR.submit]).await.unwrap_err();
        assert_eq!(refusal(&refused), (Code::PermissionDenied, "KEY_NOT_AUTHORIZED".to_owned()));
        let answer = desk.simulate(&bare, &[STRANGER.submit]).await.unwrap();
        assert!(answer.previews.is_empty());
        answers.push((answer.violations, answer.missing));
        // The role that prepares it too is told.
        let answer = desk.simulate(&bare, &[STRANGER.submit, AGENCY.submit]).await.unwrap();
        assert_eq!(answer.previews.len(), usize::from(handle == HANDLE));
    }
    assert_eq!(answers[0], answers[1]);
    desk.doors.close().await;
}
