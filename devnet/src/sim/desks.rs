//! The desks of the world: an agency with an exclusive type, a counter and a board, and persons with their devices.
//!
//! Who works there sees what some node shows, which may be old, and acts on it: reserves, activates, suspends,
//! reinstates, ends, replaces, moves, and sets entries of a list. Often two do so for one person in the same instant at
//! two validators, two devices with one one-time key among them; and now and then somebody tries what must never be.
//! All chance here comes from a stream of its own.

use super::client::{Client, Reads};
use super::founding::{Founding, Offices, Organization};
use super::keys::{Key, Signatures};
use super::scenario::Scenario;
use sillok_consensus::testing::Random;
use sillok_did_method::{
    acting_role_string, approval_string, credential_type_name, holder_string, operation_hash,
    private_content_hash, status_list_name, submitter_string, transaction_id,
};
use sillok_ledger::{TreeKey, pad};
use sillok_proto::v1::operation::Operation;
use sillok_proto::{Hash, Tag, v1};
use std::collections::BTreeMap;
use v1::{Action, EnrollmentChange as Change, EnrollmentState as State, Reason};

/// So few that they meet each other.
const PERSONS: usize = 5;
/// Indexes are drawn from the beginning of the list, so that entries meet too.
const INDEXES: u64 = 96;
/// The list has one nonce, and so has the type.
const NONCE: [u8; 16] = [7; 16];

const VALID: u32 = 0;
const INVALID: u32 = 1;
const SUPERSEDED: u32 = 12;

/// What an agency issues, by its names on the ledger.
#[derive(Debug, Clone, Copy)]
pub(super) struct Issued {
    pub(super) issuer: Hash,
    pub(super) credential_type: Hash,
    pub(super) list: Hash,
}

impl Issued {
    /// The names follow from the genesis.
    pub(super) fn of(genesis: &Hash, issuer: Hash) -> Self {
        let credential_type = credential_type_name(genesis, &issuer, &NONCE, &version());
        let list = status_list_name(genesis, &issuer, &credential_type, &NONCE);
        Self { issuer, credential_type, list }
    }

    pub(super) fn leaf(&self, handle: &Hash) -> TreeKey {
        TreeKey::enrollment(&self.issuer, &self.credential_type, handle)
    }
}

/// Somebody with an enrollment, and the handles it has had.
#[derive(Debug, Clone)]
struct Person {
    /// The first, and those that it was to move to.
    handles: Vec<Hash>,
    /// Entries that were asked for.
    indexes: Vec<u32>,
    /// One-time keys by number, of reservations that may have been ordered.
    one_time: Vec<(u32, Key)>,
    /// Enrollment keys that were tried.
    enrolled: Vec<Key>,
}

/// What is sent, and whether each goes to another validator in the same instant.
#[derive(Debug, Default)]
pub(super) struct Acts {
    pub(super) sent: Vec<usize>,
    pub(super) apart: bool,
    /// Two devices with one one-time key.
    pub(super) race: bool,
}

/// See the module.
pub(super) struct Desks {
    random: Random,
    signatures: Signatures,
    genesis: Hash,
    registrar: Organization,
    offices: Offices,
    pub(super) issued: Issued,
    persons: Vec<Person>,
    /// Persons and handles that nobody was told of yet.
    new_handles: Vec<(usize, Hash)>,
    /// Keys by their id: those on paper, and those in devices.
    keys: BTreeMap<Hash, Key>,
    handles: u64,
    founded: bool,
}

/// One change of status in the making.
struct Deed {
    what: What,
    reason: Reason,
    approved: bool,
    handles: Vec<Hash>,
    holder: Vec<Key>,
}

enum What {
    Set { state: u32, index: u32 },
    Enroll(v1::EnrollmentRequest),
}

fn deed(what: What, reason: Reason, handle: Option<Hash>) -> Deed {
    let handles = handle.into_iter().collect();
    Deed { what, reason, approved: false, handles, holder: Vec::new() }
}

fn enroll(change: Change, number: u32) -> v1::EnrollmentRequest {
    v1::EnrollmentRequest { change: change.into(), number, ..v1::EnrollmentRequest::default() }
}

/// The only version of the type.
fn version() -> v1::TypeVersion {
    let rule = |reason: Reason, approvals, replaces| v1::ReasonRule {
        reason: reason.into(),
        approvals,
        replaces,
    };
    let policy = v1::TypePolicy {
        exclusive: true,
        reasons: vec![
            rule(Reason::FirstIssue, 1, false),
            rule(Reason::LostDevice, 1, false),
            rule(Reason::AttributeChange, 0, false),
            rule(Reason::DeviceChange, 0, true),
            rule(Reason::Suspected, 0, false),
            rule(Reason::Found, 1, false),
        ],
        channels: 0b10,
        assurance_levels: 0,
        key_algorithms: 0b10,
        purposes: 0b10,
        validity_max_ms: 86_400_000,
        renewal_window_ms: 3_600_000,
        reservation_max_ms: 3_600_000,
        approval_max_ms: 3_600_000,
        backdating_max_ms: 3_600_000,
        grace_max_ms: 3_600_000,
        reissue_after_expiry: false,
    };
    v1::TypeVersion { schema_hash: vec![7; 32], render_hash: Vec::new(), policy: Some(policy) }
}

impl Desks {
    pub(super) fn of(founding: &Founding, scenario: &Scenario) -> Option<Self> {
        let offices = founding.offices?;
        let genesis = *founding.chain.hash();
        let mut desks = Self {
            random: Random::new(scenario.seed ^ 0x0DE5_C0DE_5C0D_E5C0),
            signatures: scenario.signatures,
            genesis,
            registrar: founding.registrar,
            offices,
            issued: Issued::of(&genesis, offices.agency.did),
            persons: Vec::new(),
            new_handles: Vec::new(),
            keys: BTreeMap::new(),
            handles: 0,
            founded: false,
        };
        for _ in 0..PERSONS {
            let person = Person {
                handles: Vec::new(),
                indexes: Vec::new(),
                one_time: Vec::new(),
                enrolled: Vec::new(),
            };
            desks.persons.push(person);
            let handle = desks.new_handle();
            let nth = desks.persons.len() - 1;
            desks.persons[nth].handles.push(handle);
            desks.new_handles.push((nth, handle));
        }
        Some(desks)
    }

    /// Where the next act goes, of so many nodes.
    pub(super) fn place(&mut self, nodes: usize) -> usize {
        self.random.index(nodes)
    }

    pub(super) fn between(&mut self, first: u64, last: u64) -> u64 {
        self.random.between(first, last)
    }

    /// Handles that came up since it was asked last, and whose they are.
    pub(super) fn new_handles(&mut self) -> Vec<(usize, Hash)> {
        std::mem::take(&mut self.new_handles)
    }

    fn new_handle(&mut self) -> Hash {
        self.handles += 1;
        Tag::Key.hash(&[b"simulated handle", &self.handles.to_be_bytes()])
    }

    fn new_key(&mut self, client: &mut Client) -> Key {
        let key = client.new_key();
        self.keys.insert(key.id(), key);
        key
    }

    fn salt(&mut self) -> Vec<u8> {
        Tag::Key.hash(&[b"simulated salt", &self.random.next_u64().to_be_bytes()]).to_vec()
    }

    /// What happens at the desks next.
    pub(super) fn act(
        &mut self,
        client: &mut Client,
        reads: &dyn Reads,
        now_ms: u64,
        now_us: u64,
    ) -> Acts {
        if reads.leaf(&TreeKey::status_list(&self.issued.list)).is_none() {
            // The client sends it again until a node shows it.
            if std::mem::replace(&mut self.founded, true) {
                return Acts::default();
            }
            let founding = client.author(self.founding(), now_ms, now_us);
            return Acts { sent: vec![founding], ..Acts::default() };
        }
        let nth = self.random.index(self.persons.len());
        let (handle, shown) = self.shown(nth, reads);
        let at = At { nth, handle, now_ms };
        let reserved = shown.reservation.clone().filter(|one| one.deadline_ms > now_ms);
        if let Some(reservation) = &reserved
            && self.random.chance(600)
        {
            return self.activate(client, at, &shown, reservation, now_us);
        }
        let mut deeds = vec![self.next_deed(client, at, &shown)];
        let apart = self.random.chance(250);
        if apart {
            deeds.push(self.next_deed(client, at, &shown));
        }
        if self.random.chance(150) {
            deeds.push(self.what_must_not_be(client, at, &shown));
        }
        let sent =
            deeds.into_iter().map(|deed| self.send(client, &[deed], now_ms, now_us)).collect();
        Acts { sent, apart, race: false }
    }

    /// A person's enrollment, mostly under the handle that it has, sometimes under one that it had. Never under one that
    /// it was to move to and did not: there it would be somebody else.
    fn shown(&mut self, nth: usize, reads: &dyn Reads) -> (Hash, v1::Enrollment) {
        let handles = self.persons[nth].handles.clone();
        let read = |handle: &Hash| -> Option<v1::Enrollment> {
            prost::Message::decode(reads.leaf(&self.issued.leaf(handle))?.as_slice()).ok()
        };
        let mut present: Vec<(Hash, v1::Enrollment)> =
            handles.iter().filter_map(|handle| Some((*handle, read(handle)?))).collect();
        if present.is_empty() {
            return (handles[0], v1::Enrollment::default());
        }
        let here = present.iter().position(|(_, one)| one.state() != State::Moved);
        let any = self.random.index(present.len());
        let old = self.random.chance(100);
        present.swap_remove(here.filter(|_| !old).unwrap_or(any))
    }

    /// Rights, a type and a list, all at once.
    fn founding(&self) -> Vec<(Operation, Vec<Key>)> {
        let Offices { agency, counter, board } = self.offices;
        let Issued { credential_type, list, .. } = self.issued;
        let publish = v1::PublishType {
            publisher: agency.did.to_vec(),
            r#type: credential_type.to_vec(),
            version: 1,
            nonce: NONCE.to_vec(),
            content: Some(version()),
        };
        let create = v1::CreateList {
            issuer: agency.did.to_vec(),
            list: list.to_vec(),
            r#type: credential_type.to_vec(),
            nonce: NONCE.to_vec(),
            capacity: 131_072,
            max_age_s: 300,
        };
        let give = |to: &Organization, action: Action| {
            let grant = v1::NewGrant {
                organization: to.did.to_vec(),
                action: action.into(),
                resource: credential_type.to_vec(),
                ..v1::NewGrant::default()
            };
            let accredit = v1::Accredit { grantor: agency.did.to_vec(), grant: Some(grant) };
            // The agency did not register it, so it agrees.
            (Operation::Accredit(accredit), vec![agency.key, to.key])
        };
        vec![
            (Operation::PublishType(publish), vec![agency.key]),
            (Operation::CreateList(create), vec![agency.key]),
            give(&counter, Action::Issue),
            give(&counter, Action::Revoke),
            give(&board, Action::Approve),
        ]
    }

    /// A7: the paper with the one-time key is shown by one device, or by two in the same instant. With it, sometimes, the
    /// first credential, in one transaction.
    fn activate(
        &mut self,
        client: &mut Client,
        at: At,
        shown: &v1::Enrollment,
        reservation: &v1::Reservation,
        now_us: u64,
    ) -> Acts {
        let reserved = Hash::from_slice(&reservation.one_time_key_id).unwrap_or_default();
        let Some(one_time) = self.keys.get(&reserved).copied() else { return Acts::default() };
        let moves = Hash::from_slice(&reservation.new_handle);
        let race = self.random.chance(450);
        let mut sent = Vec::new();
        for _ in 0..1 + usize::from(race) {
            let device = self.new_key(client);
            self.persons[at.nth].enrolled.push(device);
            let mut deeds = vec![self.activation(at, shown.number, one_time, device)];
            if self.random.chance(400) {
                deeds.push(self.issue(at.nth, moves.unwrap_or(at.handle)));
            }
            sent.push(self.send(client, &deeds, at.now_ms, now_us));
        }
        // The loss may be reported in that instant too.
        if self.random.chance(150) {
            let end =
                deed(What::Enroll(enroll(Change::End, 0)), Reason::LostDevice, Some(at.handle));
            sent.push(self.send(client, &[end], at.now_ms, now_us));
        }
        Acts { apart: sent.len() > 1, sent, race }
    }

    fn activation(&mut self, at: At, number: u32, one_time: Key, device: Key) -> Deed {
        let grace = if self.random.chance(300) { at.now_ms + 60_000 } else { 0 };
        let request = v1::EnrollmentRequest {
            one_time_key: Some(one_time.public()),
            enrollment_key: Some(device.public()),
            grace_until_ms: grace,
            ..enroll(Change::Activate, number)
        };
        let mut deed = deed(What::Enroll(request), Reason::DeviceChange, Some(at.handle));
        deed.holder = vec![one_time, device];
        deed
    }

    /// An entry for whoever has this handle.
    fn issue(&mut self, nth: usize, handle: Hash) -> Deed {
        let index = self.random.below(INDEXES) as u32;
        self.persons[nth].indexes.push(index);
        set(VALID, index, Some(handle))
    }

    fn reserve(
        &mut self,
        client: &mut Client,
        at: At,
        number: u32,
        reason: Reason,
        moves: bool,
    ) -> Deed {
        let one_time = self.new_key(client);
        self.persons[at.nth].one_time.push((number, one_time));
        let new_handle = if moves {
            let handle = self.new_handle();
            self.persons[at.nth].handles.push(handle);
            self.new_handles.push((at.nth, handle));
            handle.to_vec()
        } else {
            Vec::new()
        };
        // Some are too late, and some enrollments end soon.
        let deadline_ms = at.now_ms + [400, 5_000, 60_000][self.random.index(3)];
        let life_ms = if self.random.chance(200) { 1_500 } else { 3_000_000 };
        let request = v1::EnrollmentRequest {
            one_time_key: Some(one_time.public()),
            deadline_ms,
            valid_until_ms: deadline_ms + life_ms,
            new_handle,
            ..enroll(Change::Reserve, number)
        };
        let approved = reason != Reason::DeviceChange;
        Deed { approved, ..deed(What::Enroll(request), reason, Some(at.handle)) }
    }

    /// What comes next for this person, by what is shown.
    fn next_deed(&mut self, client: &mut Client, at: At, shown: &v1::Enrollment) -> Deed {
        let handle = Some(at.handle);
        let person = self.persons[at.nth].clone();
        let index = match person.indexes.len() {
            0 => self.random.below(INDEXES) as u32,
            many => person.indexes[self.random.index(many)],
        };
        let next = shown.number + 1;
        let over = at.now_ms >= shown.valid_until_ms;
        match (shown.state(), self.random.below(12)) {
            (State::Active, 0..3) if !over => self.issue(at.nth, at.handle),
            (State::Active, 3 | 4) if !over => {
                deed(What::Enroll(enroll(Change::Suspend, 0)), Reason::Suspected, handle)
            }
            (State::Active, 5..8) if !over => {
                let moves = self.random.chance(500);
                self.reserve(client, at, next, Reason::DeviceChange, moves)
            }
            (State::Active, 8) if !over => set(INVALID, index, None),
            (State::Active, 9) if !over => set(SUPERSEDED, index, None),
            (State::Suspended, 0..8) => {
                let mut request = enroll(Change::Reinstate, shown.active_number);
                request.enrollment_key.clone_from(&shown.enrollment_key);
                let device = shown.enrollment_key.as_ref().map(sillok_did_method::key_id);
                let mut deed = deed(What::Enroll(request), Reason::Found, handle);
                deed.approved = true;
                deed.holder =
                    device.and_then(|id| self.keys.get(&id).copied()).into_iter().collect();
                deed
            }
            (State::Active | State::Suspended, _) => {
                let number = if self.random.chance(500) { shown.active_number } else { 0 };
                let mut request = enroll(Change::End, number);
                if self.random.chance(300) {
                    request.invalid_from_ms = shown.activated_ms;
                }
                deed(What::Enroll(request), Reason::LostDevice, handle)
            }
            _ => {
                let first = shown.number == 0;
                let reason = if first { Reason::FirstIssue } else { Reason::LostDevice };
                self.reserve(client, at, next, reason, false)
            }
        }
    }

    /// What no rule may let through, whatever the state is by then: an old paper, an old device, a final entry.
    fn what_must_not_be(&mut self, client: &mut Client, at: At, shown: &v1::Enrollment) -> Deed {
        let person = self.persons[at.nth].clone();
        match (self.random.below(4), person.one_time.as_slice(), person.enrolled.as_slice()) {
            (0, [.., (number, one_time)], _) => {
                let device = self.new_key(client);
                self.activation(at, *number, *one_time, device)
            }
            (1, [(number, one_time), ..], [device, ..]) => {
                self.activation(at, *number, *one_time, *device)
            }
            (2, _, [device, ..]) => {
                let request = v1::EnrollmentRequest {
                    enrollment_key: Some(device.public()),
                    ..enroll(Change::Reinstate, shown.active_number.max(1))
                };
                let mut deed = deed(What::Enroll(request), Reason::Found, Some(at.handle));
                deed.approved = true;
                deed.holder = vec![*device];
                deed
            }
            _ => {
                let index = match person.indexes.as_slice() {
                    [] => 0,
                    all => all[self.random.index(all.len())],
                };
                set(VALID, index, Some(at.handle))
            }
        }
    }

    // ------------------------------------------------------------------------------ transactions

    fn send(&mut self, client: &mut Client, deeds: &[Deed], now_ms: u64, now_us: u64) -> usize {
        // Some sign for longer than the shortest window allows.
        let life_ms = if self.random.chance(250) { 230_000 } else { 45_000 };
        let until = now_ms + life_ms;
        let made = self.transaction(deeds, now_ms, until);
        client.take(made, until, now_us, true)
    }

    fn transaction(&mut self, deeds: &[Deed], now_ms: u64, until: u64) -> (Hash, v1::Transaction) {
        let Offices { counter, board, .. } = self.offices;
        let contents: Vec<v1::PrivateContent> = deeds
            .iter()
            .map(|deed| {
                let approvers = if deed.approved { vec![board.did.to_vec()] } else { Vec::new() };
                pad(v1::PrivateContent {
                    salt: self.salt(),
                    acting_role: counter.did.to_vec(),
                    approvers,
                    channel: v1::Channel::Office.into(),
                    reason: deed.reason.into(),
                    handles: deed.handles.iter().flat_map(|handle| handle.0).collect(),
                    enrollment: match &deed.what {
                        What::Enroll(request) => Some(request.clone()),
                        What::Set { .. } => None,
                    },
                    ..v1::PrivateContent::default()
                })
            })
            .collect();
        let operations = deeds.iter().zip(&contents).map(|(deed, content)| {
            let content_hash = private_content_hash(content).to_vec();
            let operation = match deed.what {
                What::Set { state, index } => Operation::SetStatus(v1::SetStatus {
                    list: self.issued.list.to_vec(),
                    state,
                    indexes: vec![index],
                    content_hash,
                    ..v1::SetStatus::default()
                }),
                What::Enroll(_) => Operation::SetEnrollment(v1::SetEnrollment {
                    issuer: self.issued.issuer.to_vec(),
                    r#type: self.issued.credential_type.to_vec(),
                    content_hash,
                }),
            };
            v1::Operation { operation: Some(operation) }
        });
        let body = v1::TransactionBody {
            submitter: self.registrar.did.to_vec(),
            valid_until_ms: until,
            operations: operations.collect(),
        };
        let id = transaction_id(&self.genesis, &body);
        let private: Vec<_> = deeds
            .iter()
            .enumerate()
            .map(|(nth, deed)| self.private_signatures(deed, &body, &id, nth, now_ms + 600_000))
            .collect();
        let submitter = self.sign(&self.registrar.key, &submitter_string(&self.genesis, &id));
        let transaction = v1::Transaction {
            signatures: Some(v1::PublicSignatures {
                submitter: Some(submitter),
                operations: vec![v1::OperationSignatures::default(); deeds.len()],
            }),
            body: Some(body),
            documents: Vec::new(),
            private_contents: contents,
            private_signatures: Some(v1::PrivateSignatures {
                salt: self.salt(),
                operations: private,
            }),
        };
        (id, transaction)
    }

    fn sign(&self, key: &Key, string: &[u8]) -> v1::KeySignature {
        v1::KeySignature { key_id: key.id().to_vec(), signature: self.signatures.sign(key, string) }
    }

    fn private_signatures(
        &self,
        deed: &Deed,
        body: &v1::TransactionBody,
        id: &Hash,
        nth: usize,
        expires_ms: u64,
    ) -> v1::PrivateOperationSignatures {
        let operation = nth as u32;
        let acting = v1::ActingStatement { transaction_id: id.to_vec(), operation };
        let hash = operation_hash(&self.genesis, &body.operations[nth]);
        let statement = v1::ApprovalStatement { operation_hash: hash.to_vec(), expires_ms };
        let string = approval_string(&self.genesis, &statement);
        let approval = || v1::Approval {
            expires_ms,
            signature: Some(self.sign(&self.offices.board.key, &string)),
        };
        let string = holder_string(&self.genesis, &acting);
        let mut holder: Vec<Key> = deed.holder.clone();
        holder.sort_by_key(Key::id);
        let string_of_role = acting_role_string(&self.genesis, &acting);
        v1::PrivateOperationSignatures {
            operation,
            acting_role: Some(self.sign(&self.offices.counter.key, &string_of_role)),
            approvals: deed.approved.then(approval).into_iter().collect(),
            holder_keys: holder.iter().map(|key| self.sign(key, &string)).collect(),
        }
    }
}

/// Whom an act is about, and when.
#[derive(Clone, Copy)]
struct At {
    nth: usize,
    handle: Hash,
    now_ms: u64,
}

/// An entry; with a handle where it becomes valid.
fn set(state: u32, index: u32, handle: Option<Hash>) -> Deed {
    let reason = if state == INVALID { Reason::LostDevice } else { Reason::AttributeChange };
    deed(What::Set { state, index }, reason, handle)
}

/// The changes of enrollments in a transaction, with their handles.
pub(super) fn enrollment_changes(
    transaction: &v1::Transaction,
) -> impl Iterator<Item = (Hash, &v1::EnrollmentRequest)> {
    transaction.private_contents.iter().filter_map(|content| {
        let handle = Hash::from_slice(content.handles.get(..32)?)?;
        Some((handle, content.enrollment.as_ref()?))
    })
}
