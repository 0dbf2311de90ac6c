//! Desks: who changes status in a story, by what policy, and the organizations around them.
//!
//! `agency` issues the exclusive type `id` and the type `badge`, and was registered by `ministry`, which may revoke them.
//! Under it: `counter` may issue and revoke, `call-centre` may only revoke, `board`, `board-2`, `dept-1` and `dept-2`
//! approve; `clerk-1` was registered by `dept-1`. `rival` issues both types on its own. A desk is `counter`, at an office,
//! unless the story says otherwise. Types and grants are written behind the back.

use crate::story::{Draft, at_desk, happened_in, meanwhile, members};
use crate::support::{START_MS, World, key, organization_document, seed, sign};
use sillok_did_method::{
    Recovery, acting_role_string, approval_string, document_hash, holder_string, inception,
    inception_digest, operation_hash, private_content_hash, status_list_name, transaction_id,
};
use sillok_ledger::{TreeKey, pad, status};
use sillok_proto::{Hash, encode, v1};
use v1::operation::Operation as Wire;
use v1::{Action, Channel, EnrollmentChange as Change, Reason};

pub(crate) const HOUR: u64 = 3_600_000;
pub(crate) const DAY: u64 = 24 * HOUR;
pub(crate) const YEAR: u64 = 365 * DAY;

pub(crate) const VALID: u32 = 0;
pub(crate) const INVALID: u32 = 1;
pub(crate) const SUSPENDED: u32 = 2;
pub(crate) const PENDING: u32 = 3;
pub(crate) const SUPERSEDED: u32 = 12;

// ------------------------------------------------------------------------------------ behind the back

fn organize(world: &mut World, name: &str, authority: &str) {
    let authority = world.did(authority);
    let document = organization_document(name);
    let inception = inception(v1::Kind::Organization, &document, Some(&authority), &Recovery::None);
    let did = inception_digest(&inception);
    let hash = document_hash(&document);
    let head = v1::Head {
        did: did.to_vec(),
        kind: v1::Kind::Organization.into(),
        version: 1,
        document_hash: hash.to_vec(),
        authority: authority.to_vec(),
        created_ms: START_MS,
        time_ms: START_MS,
        actor: v1::Actor::Controller.into(),
        ..v1::Head::default()
    };
    world.state.leaves.insert(TreeKey::did_head(&did), encode(&head));
    world.state.documents.insert(hash, document);
    world.names.insert(name.to_owned(), did);
}

impl World {
    /// Gives a right on a type (empty: on all) by a grantor (empty: governance), with limits.
    pub(crate) fn give(
        &mut self,
        holder: &str,
        action: Action,
        of: &str,
        grantor: &str,
        [gained_hourly, suspended_hourly, ended_hourly]: [u32; 3],
    ) {
        let resource = if of.is_empty() { Vec::new() } else { self.did(of).to_vec() };
        let grantor = if grantor.is_empty() { Vec::new() } else { self.did(grantor).to_vec() };
        let period = v1::Period {
            from_ms: START_MS,
            until_ms: 0,
            grantor,
            gained_hourly,
            suspended_hourly,
            ended_hourly,
        };
        let holder = self.did(holder);
        let leaf = encode(&v1::Grant { periods: vec![period] });
        self.state.leaves.insert(TreeKey::grant(&holder, action, &resource), leaf);
        let key = TreeKey::grant_index(&holder);
        let mut index: v1::GrantIndex = self.leaf(&key).unwrap_or_default();
        let name = v1::GrantName { action: action.into(), resource };
        if !index.grants.contains(&name) {
            index.grants.push(name);
        }
        self.state.leaves.insert(key, encode(&index));
    }

    /// Ends a right at the next block.
    pub(crate) fn take_right(&mut self, holder: &str, action: Action, of: &str) {
        let leaf = TreeKey::grant(&self.did(holder), action, &self.did(of).0);
        let mut grant: v1::Grant = self.leaf(&leaf).unwrap();
        grant.periods.last_mut().unwrap().until_ms = self.tip.header.time_ms + 1;
        self.state.leaves.insert(leaf, encode(&grant));
    }

    /// A type, or its next version.
    pub(crate) fn publish(&mut self, name: &str, policy: v1::TypePolicy) {
        let of = self.did(name);
        let leaf = TreeKey::credential_type(&of);
        let before: v1::CredentialType = self.leaf(&leaf).unwrap_or_default();
        let version = before.version + 1;
        let owner = self.did("agency").to_vec();
        let exclusive = policy.exclusive;
        let one = v1::CredentialType { owner, version, exclusive, created_ms: START_MS };
        self.state.leaves.insert(leaf, encode(&one));
        let content =
            v1::TypeVersion { schema_hash: vec![7; 32], render_hash: vec![], policy: Some(policy) };
        let record = v1::TypeVersionRecord {
            r#type: of.to_vec(),
            version,
            content: Some(content),
            height: 0,
            time_ms: START_MS,
        };
        self.state.leaves.insert(TreeKey::type_version(&of, version), encode(&record));
    }

    pub(crate) fn list_name(&self, issuer: &str, of: &str, name: &str) -> Hash {
        let nonce: [u8; 16] = seed(name)[..16].try_into().unwrap();
        status_list_name(self.chain.hash(), &self.did(issuer), &self.did(of), &nonce)
    }

    pub(crate) fn entry(&self, list: &str, index: u32) -> u32 {
        let (number, _) = status::chunk_of(index);
        let chunk = self.leaf(&TreeKey::status_chunk(&self.did(list), number));
        status::entry_state(chunk.as_ref(), index).unwrap() as u32
    }

    pub(crate) fn dates(&self, list: &str, index: u32) -> (u64, u64) {
        let leaf = TreeKey::entry_record(&self.did(list), status::record_of(index));
        let record = self.leaf(&leaf);
        let dates = status::entry_dates(record.as_ref(), index).copied().unwrap_or_default();
        (dates.grace_until_ms, dates.invalid_from_ms)
    }

    pub(crate) fn enrollment(&self, person: &str) -> Option<v1::Enrollment> {
        let (issuer, of) = (self.did("agency"), self.did("id"));
        self.leaf(&TreeKey::enrollment(&issuer, &of, &handle(person)))
    }

    pub(crate) fn usage(&self, organization: &str, action: Action, of: &str) -> v1::Usage {
        let leaf = TreeKey::usage(&self.did(organization), action, &self.did(of).0);
        self.leaf(&leaf).unwrap_or_default()
    }
}

pub(crate) fn handle(person: &str) -> Hash {
    Hash(seed(&format!("handle of {person}")))
}

/// Reasons with the approvals each calls for, and whether it replaces an active enrollment.
const REASONS: [(Reason, u32, bool); 15] = [
    (Reason::FirstIssue, 1, false),
    (Reason::LostDevice, 1, false),
    (Reason::AppDeleted, 1, true),
    (Reason::PasswordLocked, 1, true),
    (Reason::AttributeChange, 0, false),
    (Reason::Renewal, 1, true),
    (Reason::Expired, 2, false),
    (Reason::Damaged, 1, true),
    (Reason::DeviceChange, 0, true),
    (Reason::EndOfUse, 0, false),
    (Reason::Compromised, 0, false),
    (Reason::Deceased, 0, false),
    (Reason::IssuedInError, 0, false),
    (Reason::Suspected, 0, false),
    (Reason::Found, 1, false),
];

pub(crate) fn policy(exclusive: bool) -> v1::TypePolicy {
    let reasons = REASONS
        .iter()
        .map(|(reason, approvals, replaces)| v1::ReasonRule {
            reason: (*reason).into(),
            approvals: *approvals,
            replaces: *replaces,
        })
        .collect();
    v1::TypePolicy {
        exclusive,
        reasons,
        channels: 0b1111_1110,
        assurance_levels: 0,
        key_algorithms: 0b110,
        purposes: 0b10,
        validity_max_ms: 5 * YEAR,
        renewal_window_ms: 30 * DAY,
        reservation_max_ms: DAY,
        approval_max_ms: DAY,
        backdating_max_ms: 30 * DAY,
        grace_max_ms: 7 * DAY,
        reissue_after_expiry: true,
    }
}

/// Everybody of the module's description, and no list yet.
pub(crate) fn offices() -> Draft {
    meanwhile(|world| {
        for (name, authority) in [
            ("agency", "ministry"),
            ("counter", "agency"),
            ("call-centre", "agency"),
            ("board", "agency"),
            ("board-2", "agency"),
            ("dept-1", "agency"),
            ("dept-2", "agency"),
            ("clerk-1", "dept-1"),
            ("rival", "registrar"),
        ] {
            organize(world, name, authority);
        }
        for of in ["id", "badge"] {
            world.publish(of, policy(of == "id"));
            world.give("ministry", Action::Revoke, of, "", [0; 3]);
            for issuer in ["agency", "rival"] {
                for action in [Action::Issue, Action::Revoke, Action::Approve] {
                    world.give(issuer, action, of, "", [0; 3]);
                }
            }
            world.give("counter", Action::Issue, of, "agency", [0; 3]);
            world.give("counter", Action::Revoke, of, "agency", [0; 3]);
            world.give("call-centre", Action::Revoke, of, "agency", [0; 3]);
            for approver in ["board", "board-2", "dept-1", "dept-2"] {
                world.give(approver, Action::Approve, of, "agency", [0; 3]);
            }
        }
    })
}

/// A list of an issuer and a type, in which the story finds it by `name`.
pub(crate) fn listed(issuer: &str, of: &str, name: &str) -> Draft {
    listed_with(issuer, of, name, |_| {})
}

pub(crate) fn listed_with(
    issuer: &str,
    of: &str,
    name: &str,
    change: impl Fn(&mut v1::CreateList) + 'static,
) -> Draft {
    let signer = format!("{issuer}/control");
    let (issuer, of, name) = (issuer.to_owned(), of.to_owned(), name.to_owned());
    members(
        move |world| {
            let mut op = v1::CreateList {
                issuer: world.did(&issuer).to_vec(),
                list: world.list_name(&issuer, &of, &name).to_vec(),
                r#type: world.did(&of).to_vec(),
                nonce: seed(&name)[..16].to_vec(),
                capacity: 131_072,
                max_age_s: 300,
            };
            change(&mut op);
            Wire::CreateList(op)
        },
        &signer,
    )
}

/// The lists that stories use: `ids` and `ids-2` of `id`, `badges` of `badge`, all of `agency`.
pub(crate) fn with_lists() -> Vec<Draft> {
    let name = |name: &'static str, of: &'static str| {
        meanwhile(move |world| {
            let list = world.list_name("agency", of, name);
            world.names.insert(name.to_owned(), list);
        })
    };
    vec![
        offices(),
        listed("agency", "id", "ids"),
        name("ids", "id"),
        listed("agency", "id", "ids-2"),
        name("ids-2", "id"),
        listed("agency", "badge", "badges"),
        name("badges", "badge"),
    ]
}

/// A world with offices and lists, in which more happened.
#[track_caller]
pub(crate) fn office(happened: &[Draft]) -> World {
    let mut all = with_lists();
    all.extend_from_slice(happened);
    happened_in(&all)
}

/// Like `story::check`, in a world with offices and lists.
#[track_caller]
pub(crate) fn check(happened: &[Draft], tried: Draft, expected: crate::story::Expected) -> World {
    let mut world = office(happened);
    assert_eq!(crate::story::outcome(&mut world, &tried), expected);
    world
}

// --------------------------------------------------------------------------------------------- desks

/// A time from the block on, in milliseconds; backwards if negative. `None` stands for 0 in the message.
pub(crate) type Offset = Option<i64>;

#[derive(Clone, Debug)]
pub(crate) enum What {
    Set { list: String, state: u32, indexes: Vec<u32> },
    Enroll { issuer: String, of: String },
}

/// A change of status in the making.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    pub(crate) what: What,
    pub(crate) role: String,
    pub(crate) role_key: Option<String>,
    /// Organization, key, and for how long.
    pub(crate) approvals: Vec<(String, String, i64)>,
    pub(crate) channel: i32,
    pub(crate) reason: i32,
    pub(crate) level: i32,
    pub(crate) code: Option<String>,
    pub(crate) people: Vec<String>,
    pub(crate) change: Change,
    pub(crate) number: u32,
    pub(crate) one_time: Option<String>,
    pub(crate) enrollment: Option<String>,
    pub(crate) deadline: Offset,
    pub(crate) valid_until: Offset,
    pub(crate) new_person: Option<String>,
    pub(crate) grace: Offset,
    pub(crate) invalid_from: Offset,
    /// Keys of the holder that sign.
    pub(crate) holder: Vec<String>,
    /// One salt for one number: the same content again.
    pub(crate) salt: Option<u8>,
}

fn desk(what: What, reason: Reason) -> Desk {
    Desk {
        what,
        role: "counter".to_owned(),
        role_key: None,
        approvals: Vec::new(),
        channel: Channel::Office.into(),
        reason: reason.into(),
        level: 0,
        code: None,
        people: Vec::new(),
        change: Change::Unspecified,
        number: 0,
        one_time: None,
        enrollment: None,
        deadline: None,
        valid_until: None,
        new_person: None,
        grace: None,
        invalid_from: None,
        holder: Vec::new(),
        salt: None,
    }
}

/// Sets entries; to valid for a change of attributes, which needs no approval.
pub(crate) fn set(list: &str, state: u32, indexes: &[u32]) -> Draft {
    let reason = match state {
        SUSPENDED => Reason::Suspected,
        INVALID => Reason::LostDevice,
        _ => Reason::AttributeChange,
    };
    let what = What::Set { list: list.to_owned(), state, indexes: indexes.to_vec() };
    at_desk(desk(what, reason))
}

/// Makes entries valid, each for a person.
pub(crate) fn issue(list: &str, entries: &[(u32, &str)]) -> Draft {
    let indexes: Vec<u32> = entries.iter().map(|(index, _)| *index).collect();
    let people: Vec<String> = entries.iter().map(|(_, person)| (*person).to_owned()).collect();
    set(list, VALID, &indexes).desk(move |desk| desk.people.clone_from(&people))
}

fn enroll(person: &str, change: Change, reason: Reason) -> Draft {
    let what = What::Enroll { issuer: "agency".to_owned(), of: "id".to_owned() };
    at_desk(Desk { people: vec![person.to_owned()], change, ..desk(what, reason) })
}

/// The one-time key of a number, and the enrollment key that is activated with it.
pub(crate) fn keys_of(person: &str, number: u32) -> [String; 2] {
    [format!("{person}/qr/{number}"), format!("{person}/enrolled/{number}")]
}

/// Reserves, approved by `board`, for an hour; then valid for a year.
pub(crate) fn reserve(person: &str, number: u32) -> Draft {
    let [one_time, _] = keys_of(person, number);
    enroll(person, Change::Reserve, Reason::FirstIssue)
        .desk(move |desk| {
            desk.number = number;
            desk.one_time = Some(one_time.clone());
            desk.deadline = Some(HOUR as i64);
            desk.valid_until = Some(YEAR as i64);
        })
        .approved(&["board"])
}

/// Activates a reservation with its own keys.
pub(crate) fn activate(person: &str, number: u32) -> Draft {
    let [one_time, enrollment] = keys_of(person, number);
    enroll(person, Change::Activate, Reason::FirstIssue).desk(move |desk| {
        desk.number = number;
        desk.one_time = Some(one_time.clone());
        desk.enrollment = Some(enrollment.clone());
        desk.holder = vec![one_time.clone(), enrollment.clone()];
    })
}

/// Both, one after the other.
pub(crate) fn enrolled(person: &str, number: u32) -> [Draft; 2] {
    [reserve(person, number), activate(person, number)]
}

pub(crate) fn suspend(person: &str) -> Draft {
    enroll(person, Change::Suspend, Reason::Suspected)
}

/// With the enrollment key of a number, approved by `board`.
pub(crate) fn reinstate(person: &str, number: u32) -> Draft {
    let [_, enrollment] = keys_of(person, number);
    enroll(person, Change::Reinstate, Reason::Found)
        .desk(move |desk| {
            desk.number = number;
            desk.enrollment = Some(enrollment.clone());
            desk.holder = vec![enrollment.clone()];
        })
        .approved(&["board"])
}

pub(crate) fn end(person: &str) -> Draft {
    enroll(person, Change::End, Reason::LostDevice)
}

impl Draft {
    pub(crate) fn role(self, role: &str) -> Self {
        self.desk(|desk| desk.role = role.to_owned())
    }

    pub(crate) fn reason(self, reason: Reason) -> Self {
        self.desk(|desk| desk.reason = reason.into())
    }

    pub(crate) fn channel(self, channel: Channel) -> Self {
        self.desk(|desk| desk.channel = channel.into())
    }

    /// Approved by exactly these, for an hour.
    pub(crate) fn approved(self, approvers: &[&str]) -> Self {
        self.approved_for(approvers, HOUR as i64)
    }

    pub(crate) fn approved_for(self, approvers: &[&str], ms: i64) -> Self {
        self.desk(|desk| {
            let approval = |one: &&str| ((*one).to_owned(), format!("{one}/submit"), ms);
            desk.approvals = approvers.iter().map(approval).collect();
        })
    }

    pub(crate) fn code(self, organization: &str) -> Self {
        self.desk(|desk| desk.code = Some(organization.to_owned()))
    }

    pub(crate) fn grace(self, ms: i64) -> Self {
        self.desk(|desk| desk.grace = Some(ms))
    }

    pub(crate) fn invalid_from(self, ms: i64) -> Self {
        self.desk(|desk| desk.invalid_from = Some(ms))
    }
}

fn at(time_ms: u64, offset: Offset) -> u64 {
    offset.map_or(0, |ms| time_ms.saturating_add_signed(ms))
}

impl Desk {
    /// The approvals by ascending approver.
    fn approvals_in(&self, world: &World) -> Vec<(Hash, String, i64)> {
        let mut all: Vec<_> = self
            .approvals
            .iter()
            .map(|(one, key, ms)| (world.did(one), key.clone(), *ms))
            .collect();
        all.sort();
        all
    }

    pub(crate) fn content(
        &self,
        world: &mut World,
        time_ms: u64,
        index: usize,
    ) -> v1::PrivateContent {
        let salt = match self.salt {
            Some(salt) => vec![salt; 32],
            None => seed(&format!("{self:?} {time_ms} {index}")).to_vec(),
        };
        let enrollment = matches!(self.what, What::Enroll { .. }).then(|| v1::EnrollmentRequest {
            change: self.change.into(),
            number: self.number,
            one_time_key: self.one_time.as_deref().map(key),
            deadline_ms: at(time_ms, self.deadline),
            valid_until_ms: at(time_ms, self.valid_until),
            new_handle: self.new_person.as_deref().map(|p| handle(p).to_vec()).unwrap_or_default(),
            enrollment_key: self.enrollment.as_deref().map(key),
            grace_until_ms: at(time_ms, self.grace),
            invalid_from_ms: at(time_ms, self.invalid_from),
        });
        pad(v1::PrivateContent {
            salt,
            acting_role: world.did(&self.role).to_vec(),
            approvers: self.approvals_in(world).iter().map(|(one, ..)| one.to_vec()).collect(),
            channel: self.channel,
            reason: self.reason,
            assurance_level: self.level,
            organization_code: self
                .code
                .as_deref()
                .map(|code| world.did(code).to_vec())
                .unwrap_or_default(),
            handles: self.people.iter().flat_map(|person| handle(person).0).collect(),
            enrollment,
            padding: Vec::new(),
        })
    }

    pub(crate) fn operation(
        &self,
        world: &World,
        time_ms: u64,
        content: &v1::PrivateContent,
    ) -> v1::Operation {
        let content_hash = private_content_hash(content).to_vec();
        let operation = match &self.what {
            What::Set { list, state, indexes } => Wire::SetStatus(v1::SetStatus {
                list: world.did(list).to_vec(),
                state: *state,
                indexes: indexes.clone(),
                grace_until_ms: at(time_ms, self.grace),
                invalid_from_ms: at(time_ms, self.invalid_from),
                content_hash,
            }),
            What::Enroll { issuer, of } => Wire::SetEnrollment(v1::SetEnrollment {
                issuer: world.did(issuer).to_vec(),
                r#type: world.did(of).to_vec(),
                content_hash,
            }),
        };
        v1::Operation { operation: Some(operation) }
    }
}

/// What acting roles, approvers and holders sign; `None` without a desk.
pub(crate) fn private_signatures<'a>(
    world: &World,
    body: &v1::TransactionBody,
    time_ms: u64,
    desks: impl Iterator<Item = (usize, &'a Desk)>,
) -> Option<v1::PrivateSignatures> {
    let genesis = world.chain.hash();
    let id = transaction_id(genesis, body);
    let operations: Vec<v1::PrivateOperationSignatures> = desks
        .map(|(index, desk)| {
            let operation = index as u32;
            let acting = v1::ActingStatement { transaction_id: id.to_vec(), operation };
            let role_key = desk.role_key.clone().unwrap_or_else(|| format!("{}/submit", desk.role));
            let hash = operation_hash(genesis, &body.operations[index]);
            let approvals = desk
                .approvals_in(world)
                .iter()
                .map(|(_, key, ms)| {
                    let expires_ms = time_ms.saturating_add_signed(*ms);
                    let operation_hash = hash.to_vec();
                    let statement = v1::ApprovalStatement { operation_hash, expires_ms };
                    let signature = Some(sign(key, &approval_string(genesis, &statement)));
                    v1::Approval { expires_ms, signature }
                })
                .collect();
            let string = holder_string(genesis, &acting);
            let mut holder_keys: Vec<v1::KeySignature> =
                desk.holder.iter().map(|key| sign(key, &string)).collect();
            holder_keys.sort_by(|a, b| a.key_id.cmp(&b.key_id));
            v1::PrivateOperationSignatures {
                operation,
                acting_role: Some(sign(&role_key, &acting_role_string(genesis, &acting))),
                approvals,
                holder_keys,
            }
        })
        .collect();
    let salt = seed(&format!("salt of {id}")).to_vec();
    (!operations.is_empty()).then_some(v1::PrivateSignatures { salt, operations })
}
