//! The doors of status and trust over real gRPC: what is served about lists, entries, rights and types that operations
//! made, each answer taken apart as whoever asked would, by its proof alone.

use super::api::{Doors, doors_of, refusal};
use super::support::{
    CONTROL, LIMITS, NETWORK, SUBMITTING, VALIDATOR, build, everything_logged, genesis, now_ms,
    operator, organization_of, sign, sign_vote,
};
use sillok_did_method::{
    EntryState, acting_role_string, author_statement, author_string, credential_type_name,
    private_content_hash, status_list_name, submitter_string, transaction_id,
};
use sillok_ledger::answer::{self, Chunk, Entry, ProvedView, Recorder};
use sillok_ledger::proof::{
    VerifiedHeader, VerifiedState, verify_ancestor, verify_entries, verify_state_proof,
};
use sillok_ledger::{Chain, StateFault, authority, organization_digest, pad};
use sillok_node::ledger::{Environment, Ledger};
use sillok_node::storage::{Retention, Storage};
use sillok_proto::v1::status_registry_client::StatusRegistryClient;
use sillok_proto::{Hash, v1};
use std::time::Duration;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};
use v1::operation::Operation;
use v1::{Action, Channel, Reason};

const PATIENCE: Duration = Duration::from_secs(20);
const DAY: u64 = 24 * 3_600_000;
/// The other organization's keys.
const OTHER_CONTROL: u8 = 11;
const OTHER_SUBMITTING: u8 = 12;

/// Heights of what [`happened`] commits.
const TYPE: u64 = 1;
pub(crate) const LIST: u64 = 2;
pub(crate) const ISSUED: u64 = 3;
const GRANTED: u64 = 4;
pub(crate) const REVOKED: u64 = 5;
const SUPERSEDED: u64 = 6;
const WITHDRAWN: u64 = 7;
pub(crate) const GOVERNED: u64 = 8;

/// A height as a place in what [`happened`] returns.
pub(crate) fn at(height: u64) -> usize {
    usize::try_from(height).unwrap()
}

fn ministry() -> Hash {
    Hash::from_slice(&operator()).unwrap()
}

fn other() -> Hash {
    organization_digest(&organization_of(OTHER_CONTROL, OTHER_SUBMITTING))
}

/// A network whose first organization may do everything and whose second may do nothing.
pub(crate) fn open(path: &std::path::Path, retention: Retention) -> Ledger {
    let mut genesis = genesis(NETWORK);
    let all = i32::from(Action::Accredit)..=i32::from(Action::Countersign);
    genesis.organizations[0].actions = all.collect();
    genesis.organizations.push(v1::GenesisOrganization {
        name: "발급기관".to_owned(),
        document: Some(organization_of(OTHER_CONTROL, OTHER_SUBMITTING)),
        actions: Vec::new(),
    });
    genesis.organizations.sort_by_key(|one| one.document.as_ref().map(organization_digest));
    let chain = Chain::new(genesis).unwrap();
    let storage = Storage::open(path, &chain, retention).unwrap();
    Ledger::open(chain, storage, LIMITS, Environment::default()).unwrap()
}

/// Commits a block of one operation: signed in public by `authors`, and in private by the acting role where there is a
/// content.
fn run(
    ledger: &Ledger,
    operation: Operation,
    authors: &[u8],
    content: Option<v1::PrivateContent>,
) -> u64 {
    let genesis = *ledger.chain.hash();
    let valid_until_ms = now_ms() + 60_000;
    let body = v1::TransactionBody {
        submitter: operator(),
        valid_until_ms,
        operations: vec![v1::Operation { operation: Some(operation) }],
    };
    let mut terms = v1::OperationSignatures::default();
    if !authors.is_empty() {
        terms.valid_until_ms = valid_until_ms;
        let statement = author_statement(&genesis, &body, 0, &terms).unwrap();
        let string = author_string(&genesis, &statement);
        terms.signatures = authors.iter().map(|seed| sign(*seed, &string)).collect();
        terms.signatures.sort_by(|a, b| a.key_id.cmp(&b.key_id));
    }
    let id = transaction_id(&genesis, &body);
    let acting = v1::ActingStatement { transaction_id: id.to_vec(), operation: 0 };
    let private_signatures = content.as_ref().map(|_| v1::PrivateSignatures {
        salt: vec![8; 32],
        operations: vec![v1::PrivateOperationSignatures {
            operation: 0,
            acting_role: Some(sign(SUBMITTING, &acting_role_string(&genesis, &acting))),
            approvals: Vec::new(),
            holder_keys: Vec::new(),
        }],
    });
    let transaction = v1::Transaction {
        body: Some(body),
        documents: Vec::new(),
        private_contents: content.into_iter().collect(),
        signatures: Some(v1::PublicSignatures {
            submitter: Some(sign(SUBMITTING, &submitter_string(&genesis, &id))),
            operations: vec![terms],
        }),
        private_signatures,
    };
    ledger.submit(transaction).unwrap();
    commit(ledger)
}

/// Commits a block of what waits, with the signature of the one validator, and returns its ledger time.
fn commit(ledger: &Ledger) -> u64 {
    let built = build(ledger, now_ms().max(ledger.tip().header.time_ms + 1));
    assert_eq!(built.built.refused, []);
    let outcome = &built.built.outcome;
    let height = outcome.header.height;
    let signature = sign_vote(VALIDATOR, ledger.chain.hash(), height, &outcome.hash);
    let certificate = v1::CommitCertificate {
        height,
        round: 0,
        header_hash: outcome.hash.to_vec(),
        signatures: vec![v1::CommitSignature { validator: 0, signature }],
    };
    ledger.commit(outcome, &built.built.block, &certificate, &[]).unwrap();
    outcome.header.time_ms
}

fn type_content() -> v1::TypeVersion {
    let rule =
        |reason: Reason| v1::ReasonRule { reason: reason.into(), approvals: 0, replaces: false };
    let policy = v1::TypePolicy {
        reasons: [Reason::LostDevice, Reason::AttributeChange, Reason::Compromised]
            .map(rule)
            .to_vec(),
        channels: 0b10,
        purposes: 0b10,
        backdating_max_ms: 30 * DAY,
        grace_max_ms: 7 * DAY,
        ..v1::TypePolicy::default()
    };
    v1::TypeVersion { schema_hash: vec![7; 32], render_hash: vec![], policy: Some(policy) }
}

fn credential_type(ledger: &Ledger) -> Hash {
    credential_type_name(ledger.chain.hash(), &ministry(), &[1; 16], &type_content())
}

pub(crate) fn list(ledger: &Ledger) -> Hash {
    status_list_name(ledger.chain.hash(), &ministry(), &credential_type(ledger), &[2; 16])
}

/// Sets entries, for a reason that calls for no approval.
pub(crate) fn set(
    ledger: &Ledger,
    state: EntryState,
    indexes: &[u32],
    until_ms: u64,
    from_ms: u64,
) -> u64 {
    let reason = match state {
        EntryState::Invalid => Reason::Compromised,
        _ => Reason::AttributeChange,
    };
    let content = pad(v1::PrivateContent {
        salt: vec![u8::try_from(ledger.tip().height()).unwrap(); 32],
        acting_role: operator(),
        channel: Channel::Office.into(),
        reason: reason.into(),
        ..v1::PrivateContent::default()
    });
    let operation = Operation::SetStatus(v1::SetStatus {
        list: list(ledger).to_vec(),
        state: state as u32,
        indexes: indexes.to_vec(),
        grace_until_ms: until_ms,
        invalid_from_ms: from_ms,
        content_hash: private_content_hash(&content).to_vec(),
    });
    run(ledger, operation, &[], Some(content))
}

/// What there is to ask about; the ledger time of each height, that of the genesis first.
fn happened(ledger: &Ledger) -> Vec<u64> {
    let mut times = vec![ledger.tip().header.time_ms];
    times.push(run(
        ledger,
        Operation::PublishType(v1::PublishType {
            publisher: operator(),
            r#type: credential_type(ledger).to_vec(),
            version: 1,
            nonce: vec![1; 16],
            content: Some(type_content()),
        }),
        &[CONTROL],
        None,
    ));
    times.push(run(
        ledger,
        Operation::CreateList(v1::CreateList {
            issuer: operator(),
            list: list(ledger).to_vec(),
            r#type: credential_type(ledger).to_vec(),
            nonce: vec![2; 16],
            capacity: 131_072 + 8_192,
            max_age_s: 300,
        }),
        &[CONTROL],
        None,
    ));
    times.push(set(ledger, EntryState::Valid, &[0, 5, 8_192, 139_263], 0, 0));
    let grant = v1::NewGrant {
        organization: other().to_vec(),
        action: Action::Issue.into(),
        resource: credential_type(ledger).to_vec(),
        ..v1::NewGrant::default()
    };
    let accredit = v1::Accredit { grantor: operator(), grant: Some(grant.clone()) };
    times.push(run(ledger, Operation::Accredit(accredit), &[CONTROL, OTHER_CONTROL], None));
    // Since after the issue, and before it was said.
    let since = times[at(ISSUED)] + 1;
    times.push(set(ledger, EntryState::Invalid, &[5], 0, since));
    let grace = now_ms() + DAY;
    times.push(set(ledger, EntryState::Superseded, &[0, 8_192], grace, 0));
    let ended = v1::EndedGrant {
        organization: other().to_vec(),
        action: Action::Issue.into(),
        resource: credential_type(ledger).to_vec(),
        at_ms: 0,
    };
    let withdraw = v1::Withdraw { by: operator(), grant: Some(ended) };
    times.push(run(ledger, Operation::Withdraw(withdraw), &[CONTROL], None));
    let change = v1::change::Change::Accredit(v1::NewGrant {
        action: Action::Revoke.into(),
        resource: Vec::new(),
        ..grant
    });
    let propose = v1::Propose {
        operator: operator(),
        proposal: Some(v1::Proposal {
            expires_ms: now_ms() + DAY,
            change: Some(v1::Change { change: Some(change) }),
        }),
    };
    times.push(run(ledger, Operation::Propose(propose), &[super::support::GOVERNANCE], None));
    assert_eq!(times.len() as u64, GOVERNED + 1);
    times
}

/// A node of all of it.
pub(crate) async fn world(retention: Retention) -> (tempfile::TempDir, Doors, Vec<u64>) {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path(), retention);
    let times = happened(&ledger);
    let (doors, _shown) = doors_of(ledger, None).await;
    (directory, doors, times)
}

// ------------------------------------------------------------------------------------------ taking apart

/// What an answer proves, from the validators of the genesis alone.
pub(crate) struct Proved<'a> {
    pub(crate) known: (VerifiedState, &'a [v1::StateEntry]),
    pub(crate) then: Option<(VerifiedState, &'a [v1::StateEntry])>,
}

fn ancestor(ledger: &Ledger, tip: &VerifiedHeader, one: &v1::Ancestor) -> VerifiedHeader {
    if one.path.is_none() {
        assert_eq!(one.header.as_ref(), Some(tip.header()));
        return tip.clone();
    }
    let v1::Ancestor { header, path } = one.clone();
    let proof = v1::HistoryProof { signed_header: None, header, path };
    verify_ancestor(ledger.chain.hash(), tip, &proof).unwrap()
}

pub(crate) fn proved<'a>(ledger: &Ledger, answer: &'a v1::StateAnswer) -> Proved<'a> {
    let proof = answer.proof.as_ref().unwrap();
    let at_tip = of_tip(ledger, proof);
    let tip = at_tip.header().clone();
    let past = |past: &'a v1::PastState| {
        let header = ancestor(ledger, &tip, past.header.as_ref().unwrap());
        if let Some(next) = &past.next {
            let next = ancestor(ledger, &tip, next);
            assert_eq!(next.height(), header.height() + 1);
        }
        (verify_entries(header, &past.entries).unwrap(), past.entries.as_slice())
    };
    Proved {
        known: answer.known.as_ref().map_or((at_tip, proof.entries.as_slice()), past),
        then: answer.then.as_ref().map(past),
    }
}

fn of_tip(ledger: &Ledger, proof: &v1::StateProof) -> VerifiedState {
    verify_state_proof(ledger.chain.hash(), proof, ledger.chain.validators()).unwrap()
}

/// Asks the leaves of a proof, which must be the very ones that the question reads.
fn ask<T>(
    (state, entries): (&VerifiedState, &[v1::StateEntry]),
    question: impl Fn(&Recorder<'_, ProvedView<'_>>) -> Result<T, StateFault>,
) -> T {
    let view = ProvedView::new(state);
    let recorder = Recorder::new(&view);
    let answer = question(&recorder).unwrap();
    let keys: Vec<Vec<u8>> = recorder.into_keys().iter().map(|key| key.to_vec()).collect();
    assert_eq!(keys, entries.iter().map(|entry| entry.key.clone()).collect::<Vec<_>>());
    answer
}

impl Proved<'_> {
    pub(crate) fn known<T>(
        &self,
        question: impl Fn(&Recorder<'_, ProvedView<'_>>) -> Result<T, StateFault>,
    ) -> T {
        ask((&self.known.0, self.known.1), question)
    }

    pub(crate) fn then<T>(
        &self,
        question: impl Fn(&Recorder<'_, ProvedView<'_>>) -> Result<T, StateFault>,
    ) -> T {
        let (state, entries) = self.then.as_ref().unwrap();
        ask((state, entries), question)
    }
}

fn entry(chunks: &[Chunk], index: u32) -> Entry {
    chunks.iter().find_map(|chunk| chunk.entry(index).unwrap()).unwrap()
}

fn at_height(height: u64) -> Option<v1::Moment> {
    Some(v1::Moment { moment: Some(v1::moment::Moment::Height(height)) })
}

fn at_time(time_ms: u64, known_at: Option<u64>) -> Option<v1::Moment> {
    let time = v1::KnownTime { time_ms, known_at };
    Some(v1::Moment { moment: Some(v1::moment::Moment::Time(time)) })
}

impl Doors {
    async fn chunks(
        &mut self,
        chunks: &[u32],
        at: Option<v1::Moment>,
    ) -> Result<v1::StateAnswer, Status> {
        let list = list(&self.ledger).to_vec();
        let request = v1::GetChunksRequest { list, chunks: chunks.to_vec(), min_height: 0, at };
        self.status.get_chunks(request).await.map(tonic::Response::into_inner)
    }

    /// What entry 5 is known to be, and what it was at a time.
    async fn entry_5(&mut self, at: Option<v1::Moment>) -> (Entry, Option<Entry>) {
        let answer = self.chunks(&[0], at).await.unwrap();
        let list = list(&self.ledger);
        let proved = proved(&self.ledger, &answer);
        let known = proved.known(|view| answer::chunks(view, &list, &[0])).1;
        let then = proved
            .then
            .is_some()
            .then(|| entry(&proved.then(|view| answer::chunks(view, &list, &[0])).1, 5));
        (entry(&known, 5), then)
    }

    async fn right(
        &mut self,
        organization: Hash,
        at: Option<v1::Moment>,
    ) -> Option<Vec<authority::Link>> {
        let resource = credential_type(&self.ledger).to_vec();
        let request = v1::GetAuthorityRequest {
            organization: organization.to_vec(),
            action: Action::Issue.into(),
            resource: resource.clone(),
            min_height: GOVERNED,
            at,
        };
        let answer = self.trust.get_authority(request).await.unwrap().into_inner();
        assert_eq!(answer.then, None, "what is known says all about rights");
        let proved = proved(&self.ledger, &answer);
        let time_ms = match at.and_then(|at| at.moment) {
            Some(v1::moment::Moment::Time(time)) => time.time_ms,
            _ => proved.known.0.header().time_ms(),
        };
        proved
            .known(|view| authority::chain(view, &organization, Action::Issue, &resource, time_ms))
    }
}

async fn collect<T>(mut stream: Streaming<T>, count: usize) -> Vec<T> {
    let mut all = Vec::new();
    while all.len() < count {
        let next = timeout(PATIENCE, stream.message()).await.expect("the next message comes");
        all.push(next.unwrap().unwrap());
    }
    all
}

// ------------------------------------------------------------------------------------------------ status

/// A24: the smallest public read is a chunk of 8,192 entries with all dates beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a24_lists_and_chunks_are_served_whole_and_with_proof() {
    let (_directory, mut doors, times) = world(Retention::Archive).await;
    let name = list(&doors.ledger);
    let request = v1::GetListRequest { lists: vec![vec![9; 32], name.to_vec()], min_height: 2 };
    let proof = doors.status.get_list(request).await.unwrap().into_inner();
    let state = of_tip(&doors.ledger, &proof);
    let keys = answer::list_keys(&[Hash([9; 32]), name]);
    assert_eq!(
        proof.entries.iter().map(|one| &one.key[..]).collect::<Vec<_>>(),
        [&keys[0].0, &keys[1].0]
    );
    assert_eq!(state.value(&keys[0]), Ok(None), "absence is proved");
    let leaf = state.value(&keys[1]).unwrap().unwrap();
    let leaf: v1::StatusList = sillok_proto::decode(leaf, 4096).unwrap();
    assert_eq!((leaf.issuer, leaf.capacity), (operator(), 139_264));

    let answer = doors.chunks(&[0, 1, 2, 16], None).await.unwrap();
    assert_eq!((&answer.known, &answer.then), (&None, &None));
    let proved = proved(&doors.ledger, &answer);
    let (found, chunks) = proved.known(|view| answer::chunks(view, &name, &[0, 1, 2, 16]));
    assert_eq!(found.unwrap().capacity, 139_264);
    let states = [0, 1, 5, 8_191, 8_192, 16_384, 139_263].map(|index| entry(&chunks, index).state);
    use EntryState::{Invalid, Pending, Superseded, Valid};
    assert_eq!(states, [Superseded, Pending, Invalid, Pending, Superseded, Pending, Valid]);
    assert!(entry(&chunks, 8_192).grace_until_ms > now_ms());
    assert_eq!(entry(&chunks, 5).invalid_from_ms, times[at(ISSUED)] + 1);
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_none_is_refused_by_name_and_without_the_list() {
    let (_directory, mut doors, times) = world(Retention::Archive).await;
    let many: Vec<u32> = (0..17).collect();
    let cases = [
        (vec![], None, Code::InvalidArgument, "INVALID_CHUNKS"),
        (many, None, Code::InvalidArgument, "INVALID_CHUNKS"),
        (vec![1, 0], None, Code::InvalidArgument, "INVALID_CHUNKS"),
        (vec![128], None, Code::InvalidArgument, "INVALID_CHUNKS"),
        (vec![0], Some(v1::Moment::default()), Code::InvalidArgument, "INVALID_MOMENT"),
        // A height that is late is not "not found" (D8), and neither is a time that is still to come.
        (vec![0], at_time(now_ms() + DAY, None), Code::Unavailable, "STALE"),
        (vec![0], at_time(times[4], Some(3)), Code::InvalidArgument, "INVALID_MOMENT"),
        (vec![0], at_time(times[0] - 1, None), Code::OutOfRange, "BEFORE_GENESIS"),
    ];
    let name = list(&doors.ledger);
    for (chunks, at, code, reason) in cases {
        let refused = doors.chunks(&chunks, at).await.unwrap_err();
        assert_eq!(refusal(&refused), (code, reason.to_owned()), "{chunks:?} {at:?}");
        let said = format!("{refused:?}");
        assert!(!said.contains(&name.to_string()), "{said}");
    }
    let request = v1::GetListRequest { lists: vec![vec![1; 31]], min_height: 0 };
    let refused = doors.status.get_list(request).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::InvalidArgument, "INVALID_LIST".to_owned()));
    let request = v1::WatchListRequest { list: vec![9; 32], after_height: None };
    let refused = doors.status.watch_list(request).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::NotFound, "UNKNOWN_LIST".to_owned()));
    let request = v1::WatchListRequest { list: name.to_vec(), after_height: Some(99) };
    let refused = doors.status.watch_list(request).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::Unavailable, "STALE".to_owned()));
    let request = v1::GetAuthorityRequest { organization: operator(), ..Default::default() };
    let refused = doors.trust.get_authority(request).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::InvalidArgument, "INVALID_ACTION".to_owned()));
    doors.close().await;
}

/// B20: what an entry was at a time, by what was known at a height, is one answer for good.
#[tokio::test(flavor = "multi_thread")]
async fn b20_an_entry_is_proved_as_of_a_height_and_as_of_a_time() {
    let (_directory, mut doors, times) = world(Retention::Archive).await;
    use EntryState::{Invalid, Pending, Valid};
    for (height, state) in [(0, Pending), (LIST, Pending), (ISSUED, Valid), (GRANTED, Valid)] {
        let (known, then) = doors.entry_5(at_height(height)).await;
        assert_eq!((known.state, then), (state, None), "height {height}");
    }
    for height in [REVOKED, SUPERSEDED, GOVERNED] {
        assert_eq!(doors.entry_5(at_height(height)).await.0.state, Invalid, "height {height}");
    }
    // Each time between two blocks is that of the first of them; it was invalid since before anybody said so.
    let since = times[at(ISSUED)] + 1;
    for (time_ms, said, was) in [
        (times[at(ISSUED)] - 1, Pending, Pending),
        (times[at(ISSUED)], Valid, Valid),
        (times[at(REVOKED)] - 1, Valid, Invalid),
        (times[at(REVOKED)], Invalid, Invalid),
        (times[at(GOVERNED)], Invalid, Invalid),
    ] {
        let (known, then) = doors.entry_5(at_time(time_ms, None)).await;
        assert_eq!((known.state, known.invalid_from_ms), (Invalid, since));
        let then = then.unwrap();
        assert_eq!((then.state, Entry::at(then, known, time_ms).state), (said, was), "{time_ms}");
    }
    // By what was known before the revocation it was valid, and this stays so.
    let time_ms = times[at(GRANTED)];
    let before = doors.entry_5(at_time(time_ms, Some(GRANTED))).await;
    assert_eq!((before.0.state, before.1.unwrap().state), (Valid, Valid));
    commit(&doors.ledger);
    assert_eq!(doors.entry_5(at_time(time_ms, Some(GRANTED))).await, before);
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_header_in_force_at_a_time_is_shown_by_the_one_after_it() {
    let (_directory, mut doors, times) = world(Retention::Archive).await;
    let shown = |answer: &v1::StateAnswer| {
        let then = answer.then.as_ref().unwrap();
        let height = |one: &v1::Ancestor| one.header.as_ref().unwrap().height;
        (height(then.header.as_ref().unwrap()), then.next.as_ref().map(height))
    };
    for (height, time_ms) in times.iter().enumerate() {
        let height = height as u64;
        let answer = doors.chunks(&[0], at_time(*time_ms, None)).await.unwrap();
        let next = (height < GOVERNED).then_some(height + 1);
        assert_eq!(shown(&answer), (height, next));
        // Known at that very height, nothing came after it.
        let answer = doors.chunks(&[0], at_time(*time_ms, Some(height))).await.unwrap();
        assert_eq!(shown(&answer), (height, None));
    }
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_keeps_no_old_state_names_the_archives() {
    let (_directory, mut doors, times) = world(Retention::Heights(2)).await;
    let from = doors.ledger.storage.state_from().unwrap();
    assert!(from > REVOKED, "{from}");
    let mut pruned = Vec::new();
    pruned.push(doors.chunks(&[0], at_height(ISSUED)).await.unwrap_err());
    pruned.push(doors.chunks(&[0], at_time(times[at(ISSUED)], None)).await.unwrap_err());
    let request = v1::GetAuthorityRequest {
        organization: operator(),
        action: Action::Issue.into(),
        at: at_height(TYPE),
        ..v1::GetAuthorityRequest::default()
    };
    pruned.push(doors.trust.get_authority(request).await.unwrap_err());
    let request = v1::ExportListRequest {
        list: list(&doors.ledger).to_vec(),
        min_height: 0,
        at: at_height(2),
    };
    let mut stream = doors.status.export_list(request).await.unwrap().into_inner();
    pruned.push(stream.message().await.unwrap_err());
    for status in pruned {
        assert_eq!(refusal(&status), (Code::OutOfRange, "HISTORY_PRUNED".to_owned()));
        use tonic_types::StatusExt as _;
        let details = status.get_error_details();
        let archives = &details.error_info().unwrap().metadata["archives"];
        assert_eq!(archives, &hex::encode(super::support::point(4)));
    }
    // What is kept is served, and rights at a time need no old state.
    assert!(doors.chunks(&[0], at_height(from)).await.is_ok());
    assert!(doors.right(other(), at_time(times[at(GRANTED)], None)).await.is_some());
    drop(stream);
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_list_comes_in_pieces_of_one_height() {
    let (_directory, mut doors, _) = world(Retention::Archive).await;
    let name = list(&doors.ledger);
    let mut request = v1::ExportListRequest { list: name.to_vec(), min_height: 0, at: None };
    // Entries 0 and 4 stand in the low halves of their bytes, 5 in a high one, and the last in the high half of the last.
    for (moment, height, first, third) in
        [(None, GOVERNED, 0x3c, 0x13), (at_height(ISSUED), ISSUED, 0x30, 0x03)]
    {
        request.at = moment;
        let stream = doors.status.export_list(request.clone()).await.unwrap().into_inner();
        let pieces = collect(stream, 2).await;
        let mut states = Vec::new();
        for (piece, numbers) in pieces.iter().zip([(0..16).collect(), vec![16]]) {
            let proved = proved(&doors.ledger, piece);
            assert_eq!(proved.known.0.header().height(), height);
            let (found, chunks) = proved.known(|view| answer::chunks(view, &name, &numbers));
            assert_eq!(found.unwrap().capacity, 139_264);
            states.extend(chunks.iter().flat_map(|chunk| chunk.states().to_vec()));
        }
        assert_eq!(states.len(), 139_264 / 2);
        assert_eq!((states[0], states[2]), (first, third), "height {height}");
        assert_eq!(states.last(), Some(&0x03));
    }
    // Of a list that there is not one piece says so, with proof.
    request.list = vec![9; 32];
    let stream = doors.status.export_list(request).await.unwrap().into_inner();
    let pieces = collect(stream, 1).await;
    let proved = proved(&doors.ledger, &pieces[0]);
    let nothing = proved.known(|view| answer::chunks(view, &Hash([9; 32]), &[]));
    assert_eq!(nothing, (None, Vec::new()));
    doors.close().await;
}

/// Whoever subscribes as often as it may takes no place of another connection, nor one of a whole list.
#[tokio::test(flavor = "multi_thread")]
async fn one_connection_keeps_nobody_from_a_stream_or_a_list() {
    let (_directory, mut doors, _) = world(Retention::Archive).await;
    let name = list(&doors.ledger).to_vec();
    let watch = || v1::WatchListRequest { list: name.clone(), after_height: None };
    let mut held = Vec::new();
    for _ in 0..32 {
        held.push(doors.status.watch_list(watch()).await.unwrap());
    }
    let too_many = (Code::ResourceExhausted, "TOO_MANY_SUBSCRIBERS".to_owned());
    let refused = doors.status.watch_list(watch()).await.unwrap_err();
    assert_eq!(refusal(&refused), too_many);
    let events = v1::SubscribeRequest { after: None };
    assert_eq!(refusal(&doors.writer.subscribe(events).await.unwrap_err()), too_many);
    let request = v1::ExportListRequest { list: name.clone(), min_height: 0, at: None };
    let stream = doors.status.export_list(request).await.unwrap().into_inner();
    assert_eq!(collect(stream, 2).await.len(), 2);
    let address = format!("http://{}", doors.address);
    let mut elsewhere = StatusRegistryClient::connect(address).await.unwrap();
    held.push(elsewhere.watch_list(watch()).await.unwrap());
    drop((held, elsewhere));
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_a_list_hears_which_chunks_each_block_changed_and_goes_on_from_there() {
    let (_directory, mut doors, times) = world(Retention::Archive).await;
    let name = list(&doors.ledger).to_vec();
    let watch = |after_height| v1::WatchListRequest { list: name.clone(), after_height };
    let stream = doors.status.watch_list(watch(Some(0))).await.unwrap().into_inner();
    let all = collect(stream, at(GOVERNED)).await;
    let heard: Vec<(u64, Vec<u32>)> =
        all.iter().map(|change| (change.height, change.chunks.clone())).collect();
    let expected = [
        (TYPE, vec![]),
        (LIST, vec![]),
        (ISSUED, vec![0, 1, 16]),
        (GRANTED, vec![]),
        (REVOKED, vec![0]),
        (SUPERSEDED, vec![0, 1]),
        (WITHDRAWN, vec![]),
        (GOVERNED, vec![]),
    ];
    assert_eq!(heard, expected);
    assert!(all.iter().all(|change| change.time_ms == times[at(change.height)]));
    // From a height that was stored on, the same; and then each block as it comes.
    let mut stream = doors.status.watch_list(watch(Some(REVOKED))).await.unwrap().into_inner();
    for expected in &all[at(REVOKED)..] {
        let next = timeout(PATIENCE, stream.message()).await.unwrap().unwrap();
        assert_eq!(next.as_ref(), Some(expected));
    }
    set(&doors.ledger, EntryState::Valid, &[130_000], 0, 0);
    let next = timeout(PATIENCE, stream.message()).await.unwrap().unwrap().unwrap();
    assert_eq!((next.height, next.chunks), (GOVERNED + 1, vec![15]));
    drop(stream);
    doors.close().await;
}

/// A24: reads leave no trace. What is planted in the log is found, what was asked for is not, at the most talkative
/// level that an operator can set.
#[tokio::test(flavor = "multi_thread")]
async fn a24_what_is_asked_for_does_not_stand_in_the_log() {
    let log = everything_logged();
    let (_directory, mut doors, times) = world(Retention::Archive).await;
    let (name, organization) = (list(&doors.ledger), other());
    let planted = Hash([0xca; 32]);
    tracing::error!(target: "sillok_node::api", err = %planted, "planted");
    for at in [None, at_height(ISSUED), at_time(times[4], None), at_time(now_ms() + DAY, None)] {
        let _ = doors.chunks(&[0, 16], at).await;
        let request = v1::ExportListRequest { list: name.to_vec(), min_height: 0, at };
        let mut stream = doors.status.export_list(request).await.unwrap().into_inner();
        while let Ok(Some(_)) = stream.message().await {}
    }
    let request = v1::GetListRequest { lists: vec![name.to_vec()], min_height: 0 };
    doors.status.get_list(request).await.unwrap();
    let request = v1::WatchListRequest { list: name.to_vec(), after_height: Some(0) };
    let stream = doors.status.watch_list(request).await.unwrap().into_inner();
    assert_eq!(collect(stream, at(GOVERNED)).await.len() as u64, GOVERNED);
    doors.right(organization, None).await;
    doors.close().await;
    let log = String::from_utf8_lossy(&log.lock().unwrap()).to_lowercase();
    assert!(log.contains(&planted.to_string()), "what is logged is seen here");
    for asked in [name, organization] {
        assert!(!log.contains(&hex::encode(asked.0)));
        // As a list of numbers, which is how bytes are printed for debugging.
        let numbers = format!("{:?}", &asked.0[..6]);
        assert!(!log.contains(numbers.trim_matches(['[', ']'])));
    }
}

// ------------------------------------------------------------------------------------------------- trust

/// "May it, and by which chain" is answered with proof, also where the answer is no.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_and_the_lack_of_one_are_proved_at_a_height_and_at_a_time() {
    let (_directory, mut doors, times) = world(Retention::Archive).await;
    let organizations = |chain: Option<Vec<authority::Link>>| {
        chain.map(|links| links.iter().map(|link| link.organization).collect::<Vec<_>>())
    };
    assert_eq!(organizations(doors.right(ministry(), None).await), Some(vec![ministry()]));
    let by_grant = Some(vec![other(), ministry()]);
    assert_eq!(organizations(doors.right(other(), None).await), None, "it was withdrawn");
    for (height, expected) in [
        (ISSUED, None),
        (GRANTED, by_grant.clone()),
        (SUPERSEDED, by_grant.clone()),
        (WITHDRAWN, None),
    ] {
        let found = organizations(doors.right(other(), at_height(height)).await);
        assert_eq!(found, expected, "height {height}");
        // The periods say the same of the time of that height, by what is known now.
        let time_ms = times[at(height)];
        let found = organizations(doors.right(other(), at_time(time_ms, None)).await);
        assert_eq!(found, expected, "height {height} by its time");
    }
    // By what was known then, the end was not in sight.
    let end = times[at(WITHDRAWN)];
    assert_eq!(
        organizations(doors.right(other(), at_time(end - 1, Some(GOVERNED))).await),
        by_grant
    );
    let request = v1::GetAuthorityRequest {
        organization: other().to_vec(),
        action: Action::Issue.into(),
        at: at_time(end, Some(SUPERSEDED)),
        ..v1::GetAuthorityRequest::default()
    };
    let refused = doors.trust.get_authority(request).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::InvalidArgument, "INVALID_MOMENT".to_owned()));
    doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_and_types_are_served_whole_and_with_proof() {
    let (_directory, mut doors, times) = world(Retention::Archive).await;
    let request = v1::GetGrantsRequest { organization: other().to_vec(), min_height: GOVERNED };
    let proof = doors.trust.get_grants(request).await.unwrap().into_inner();
    let state = of_tip(&doors.ledger, &proof);
    let grants = ask((&state, &proof.entries), |view| answer::grants(view, &other()));
    let [(issue, ended), (revoke, given)] = grants.as_slice() else { panic!("{grants:?}") };
    assert_eq!(
        (issue.action(), &issue.resource),
        (Action::Issue, &credential_type(&doors.ledger).to_vec())
    );
    let period = &ended.periods[0];
    assert_eq!((period.from_ms, period.until_ms), (times[at(GRANTED)], times[at(WITHDRAWN)]));
    assert_eq!((revoke.action(), given.periods[0].grantor.len()), (Action::Revoke, 0));
    let request = v1::GetGrantsRequest { organization: vec![9; 32], min_height: 0 };
    let proof = doors.trust.get_grants(request).await.unwrap().into_inner();
    let state = of_tip(&doors.ledger, &proof);
    assert_eq!(ask((&state, &proof.entries), |view| answer::grants(view, &Hash([9; 32]))), []);

    let name = credential_type(&doors.ledger);
    for (name, version, leaves, found) in
        [(name, 0, 2, true), (name, 1, 2, true), (name, 2, 2, false), (Hash([9; 32]), 0, 1, false)]
    {
        let request = v1::GetTypeRequest { r#type: name.to_vec(), version, min_height: 0 };
        let proof = doors.trust.get_type(request).await.unwrap().into_inner();
        assert_eq!(proof.entries.len(), leaves);
        let state = of_tip(&doors.ledger, &proof);
        let answer =
            ask((&state, &proof.entries), |view| answer::type_and_version(view, &name, version));
        let record = answer.and_then(|(_, record)| record);
        assert_eq!(
            record.as_ref().map(|one| one.content == Some(type_content())),
            found.then_some(true)
        );
    }
    doors.close().await;
}

// ------------------------------------------------------------------------------------------------ events

#[tokio::test(flavor = "multi_thread")]
async fn operations_of_status_and_trust_are_told_with_what_they_changed() {
    let (_directory, mut doors, times) = world(Retention::Archive).await;
    use v1::event::Event as Kind;
    let events = doors.events(Some(v1::Cursor::default()), 2 * at(GOVERNED)).await;
    let of = |height: u64| {
        let event = &events[(at(height) - 1) * 2];
        assert_eq!(event.cursor, Some(v1::Cursor { height, transaction: 0, operation: 0 }));
        assert!(matches!(events[at(height) * 2 - 1].event, Some(Kind::Block(_))));
        event.event.clone().unwrap()
    };
    let name = list(&doors.ledger).to_vec();
    for (height, chunks) in [(LIST, None), (ISSUED, Some(vec![0, 1, 16])), (REVOKED, Some(vec![0]))]
    {
        let Kind::Status(event) = of(height) else { panic!("{height}") };
        let changed: Vec<v1::ChangedChunks> = chunks
            .map(|chunks| v1::ChangedChunks { list: name.clone(), chunks })
            .into_iter()
            .collect();
        assert_eq!(event.changed, changed, "{height}");
        let operation = event.operation.unwrap().operation.unwrap();
        match operation {
            Operation::CreateList(op) => assert_eq!((op.list, height), (name.clone(), LIST)),
            Operation::SetStatus(op) => {
                assert_eq!((op.list, op.content_hash.len()), (name.clone(), 32))
            }
            other => panic!("{other:?}"),
        }
    }
    let Kind::Trust(published) = of(TYPE) else { panic!() };
    assert!(matches!(published.operation.unwrap().operation, Some(Operation::PublishType(_))));
    assert_eq!(published.grant, None);
    let change = |period, ended_ms| v1::GrantChange {
        organization: other().to_vec(),
        action: Action::Issue.into(),
        resource: credential_type(&doors.ledger).to_vec(),
        period,
        ended_ms,
    };
    let Kind::Trust(given) = of(GRANTED) else { panic!() };
    let period =
        v1::Period { from_ms: times[at(GRANTED)], grantor: operator(), ..v1::Period::default() };
    assert_eq!(given.grant, Some(change(Some(period), 0)));
    let Kind::Trust(ended) = of(WITHDRAWN) else { panic!() };
    assert_eq!(ended.grant, Some(change(None, times[at(WITHDRAWN)])));
    // One operator is more than two thirds of one: what it proposed was executed, and gave a right.
    let Kind::Governance(governed) = of(GOVERNED) else { panic!() };
    let grant = governed.grant.unwrap();
    assert_eq!((grant.action(), grant.resource.len(), grant.ended_ms), (Action::Revoke, 0, 0));
    assert_eq!(grant.period.unwrap().from_ms, times[at(GOVERNED)]);
    doors.close().await;
}
