//! A document signed years ago, verified as of its time over a real door, and the lies about what was so (D4).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use sillok_client::connection::{CallError, Connection};
use sillok_client::desk::{Application, Circumstances, EntryDates};
use sillok_client::identity::{Identity, IdentityKey, document_of};
use sillok_client::keys::{KeyAlgorithm, SecretKey};
use sillok_client::read::{Client, Clock, ReadError, ReadOptions};
use sillok_client::testing::{Door, Lie, MemoryNetwork, serve};
use sillok_client::transaction::{OperationDraft, Terms, TransactionBuilder};
use sillok_client::trust::Trust;
use sillok_client::verify::as_of::{KeyAsOf, Question};
use sillok_client::verify::moment::Moment;
use sillok_client::verify::{VerifyError, as_of};
use sillok_did_method::{
    ASSERTION_METHOD, CAPABILITY_INVOCATION, EntryState, KEY_AGREEMENT, SUBMIT, multikey,
};
use sillok_ledger::StateView;
use sillok_ledger::answer::{self, Entry};
use sillok_ledger::light::TrustedHeader;
use sillok_ledger::{header_hash, validator_set_hash};
use sillok_proto::{Hash, v1};
use std::sync::Arc;
use v1::{Action, Reason};

const START_MS: u64 = 1_795_251_600_000;
const CAPACITY: u32 = 131_072;
/// The last height.
const TIP: u64 = 14;

/// A second lies between blocks. At height: 1 a type is published, 2 its list created, 3 entries 0 and 5 become valid, 4
/// the office may issue, 5 it has a second key that ends at height 9, 7 its first key is replaced, 8 entry 5 is invalid
/// since half a second after height 6 and entry 0 from now on, 9 the right is withdrawn, 10 an operator names another
/// validator key, which joins at 11 and votes from 13 on, 13 the office is deactivated.
struct World {
    network: MemoryNetwork,
    ministry: Identity,
    office: Identity,
    of: Hash,
    list: Hash,
    first: IdentityKey,
    second: IdentityKey,
    third: IdentityKey,
}

const fn at_ms(height: u64) -> u64 {
    START_MS + height * 1_000
}

impl World {
    fn run(&mut self, draft: OperationDraft, keys: &[&SecretKey]) {
        let time_ms = at_ms(self.network.tip().height() + 1);
        let genesis = *self.network.chain().hash();
        let builder = TransactionBuilder::new(genesis, &self.ministry.did, time_ms + 60_000);
        let at_desk = keys.is_empty();
        let terms = if at_desk { Terms::WHOLE_LIST } else { Terms::NAMED };
        let mut partly = builder.push(draft, terms).freeze();
        for key in keys {
            partly.sign(0, key).unwrap();
        }
        let key = self.ministry.newest_secret(SUBMIT).unwrap();
        if at_desk {
            partly.sign_acting_role(0, key).unwrap();
        }
        let transaction = partly.submit(key).unwrap();
        self.network.commit(time_ms, &[transaction]).unwrap();
    }

    fn wait(&mut self) {
        let time_ms = at_ms(self.network.tip().height() + 1);
        self.network.commit(time_ms, &[]).unwrap();
    }

    fn set(&mut self, state: EntryState, index: &[u32], reason: Reason, since_ms: u64) {
        let circumstances = Circumstances {
            acting_role: self.ministry.did.clone(),
            reason,
            channel: v1::Channel::Office,
            assurance_level: None,
            organization: None,
            approvers: Vec::new(),
        };
        let entries: Vec<_> = index.iter().map(|index| (*index, None)).collect();
        let dates = EntryDates { grace_until_ms: 0, invalid_from_ms: since_ms };
        let genesis = *self.network.chain().hash();
        let application =
            Application::set_status(genesis, &circumstances, &self.list, state, &entries, dates);
        self.run(application.unwrap().draft(), &[]);
    }

    /// The office's document with these keys beside those by which it acts.
    fn rewrite(&mut self, keys: &[&IdentityKey], new: &SecretKey) {
        let acts = |key: &&IdentityKey| key.relationships & (CAPABILITY_INVOCATION | SUBMIT) != 0;
        let acting = self.office.keys.clone();
        let kept = acting.iter().filter(acts).chain(keys.iter().copied());
        let document = document_of(kept.map(IdentityKey::bound).collect(), Vec::new());
        let did = self.office.did.clone();
        let previous = self.network.head_hash(&did).unwrap();
        let control = self.office.newest_secret(CAPABILITY_INVOCATION).unwrap().clone();
        self.run(OperationDraft::update(&did, &previous, document, None), &[&control, new]);
    }

    fn new() -> Self {
        let (network, ministries) = MemoryNetwork::new("test", START_MS).unwrap();
        let mut genesis = network.chain().genesis().clone();
        for one in &mut genesis.organizations {
            let is_ministry = one.document.as_ref() == Some(&ministries.registrar.document());
            let all = i32::from(Action::Accredit)..=i32::from(Action::Countersign);
            one.actions = if is_ministry { all.collect() } else { Vec::new() };
        }
        let operators = network.operators().to_vec();
        let keys = operators.iter().map(|one| one.validator.clone()).collect();
        let network = MemoryNetwork::of_genesis(genesis, keys).unwrap();
        let (ministry, office) = (ministries.registrar, ministries.countersigner);
        let is_first = |key: &&IdentityKey| key.relationships & ASSERTION_METHOD != 0;
        let first = office.keys.iter().find(is_first).unwrap().clone();
        let signing = || IdentityKey::generate(KeyAlgorithm::P256, ASSERTION_METHOD).unwrap();
        let second = IdentityKey { expires_ms: at_ms(9), ..signing() };
        let (of, list) = (Hash::default(), Hash::default());
        let third = signing();
        let mut world = Self { network, ministry, office, of, list, first, second, third };
        world.live(&operators[0].did.clone(), &operators[0].governance.clone());
        assert_eq!(world.network.tip().height(), TIP);
        world
    }

    fn live(&mut self, operator: &sillok_did_method::Did, governance: &SecretKey) {
        let genesis = *self.network.chain().hash();
        let (ministry, office) = (self.ministry.clone(), self.office.clone());
        let control = ministry.newest_secret(CAPABILITY_INVOCATION).unwrap();
        let agrees = office.newest_secret(CAPABILITY_INVOCATION).unwrap();
        let rule = |reason: Reason| v1::ReasonRule { reason: reason.into(), ..Default::default() };
        let policy = v1::TypePolicy {
            reasons: vec![rule(Reason::AttributeChange), rule(Reason::Compromised)],
            channels: 0b10,
            purposes: 0b10,
            backdating_max_ms: 3_600_000,
            ..v1::TypePolicy::default()
        };
        let content =
            v1::TypeVersion { schema_hash: vec![7; 32], render_hash: vec![], policy: Some(policy) };
        let (draft, of) = OperationDraft::publish_type(&genesis, &ministry.did, &[1; 16], content);
        self.of = of;
        self.run(draft, &[control]);
        let (draft, list) =
            OperationDraft::create_list(&genesis, &ministry.did, &of, &[2; 16], CAPACITY, 300);
        self.list = list;
        self.run(draft, &[control]);
        self.set(EntryState::Valid, &[0, 5], Reason::AttributeChange, 0);
        let grant = v1::NewGrant {
            organization: office.did.digest().to_vec(),
            action: Action::Issue.into(),
            resource: of.to_vec(),
            ..v1::NewGrant::default()
        };
        self.run(OperationDraft::accredit(&ministry.did, grant), &[control, agrees]);
        let (first, second, third) = (self.first.clone(), self.second.clone(), self.third.clone());
        self.rewrite(&[&first, &second], &second.secret);
        self.wait();
        self.rewrite(&[&second, &third], &third.secret);
        self.set(EntryState::Invalid, &[5], Reason::Compromised, at_ms(6) + 500);
        let ended = v1::EndedGrant {
            organization: office.did.digest().to_vec(),
            action: Action::Issue.into(),
            resource: of.to_vec(),
            at_ms: 0,
        };
        self.run(OperationDraft::withdraw(&ministry.did, ended), &[control]);
        let validator = SecretKey::generate(KeyAlgorithm::Ed25519).unwrap();
        let point = validator.public().point.clone().try_into().unwrap();
        self.network.add_validator_key(validator.clone());
        self.run(OperationDraft::rekey(operator, &point), &[governance]);
        let signed = self.network.signed_header(10).unwrap();
        let header = header_hash(signed.header.as_ref().unwrap());
        let join = OperationDraft::join(operator, validator.public(), 10, &header);
        self.run(join, &[&validator]);
        self.wait();
        let previous = self.network.head_hash(&office.did).unwrap();
        self.run(OperationDraft::deactivate(&office.did, &previous), &[agrees]);
        self.wait();
    }

    /// Trust that begins with the header of today: no set of before is in it.
    fn today(&self) -> Trust {
        let chain = self.network.chain().clone();
        let signed = self.network.signed_header(TIP - 1).unwrap().clone();
        let header = signed.header.clone().unwrap();
        assert_ne!(header.validator_set_hash, validator_set_hash(chain.validators()).to_vec());
        let mut trust = Trust::in_memory(chain).unwrap();
        let set = self.network.set(TIP).unwrap().clone();
        let trusted = TrustedHeader {
            height: TIP - 1,
            header_hash: header_hash(&header),
            time_ms: header.time_ms,
            next_validators: set.clone(),
            signed_header: Some(signed),
            validators: Some(set),
            ..trust.trusted().clone()
        };
        trust.take_checkpoint(trusted).unwrap();
        trust
    }

    fn client(&self, doors: &[&Door]) -> Client {
        let addresses: Vec<String> = doors.iter().map(|door| door.address.to_string()).collect();
        let clock = Clock::new(|| at_ms(TIP) + 500);
        let options = ReadOptions { clock, ..ReadOptions::default() };
        Client::new(Connection::new(&addresses).unwrap(), self.today(), options)
    }

    async fn door(&self, lie: Lie) -> Door {
        serve(self.network.clone(), || 0, lie).await.unwrap()
    }

    fn question(&self, key: &IdentityKey, time_ms: u64, known_at: Option<u64>) -> Question {
        Question {
            did: self.office.did.clone(),
            key: multikey(key.secret.public()).unwrap(),
            relationships: ASSERTION_METHOD,
            time_ms,
            known_at,
            entry: Some((self.list, 5)),
            right: Some((Action::Issue, Some(self.of))),
        }
    }
}

/// D4: every verdict before and after every change, by a client that trusts the header of today alone.
#[tokio::test]
async fn d4_what_was_signed_is_verified_as_of_its_time_from_the_header_of_today() {
    use EntryState::{Invalid, Pending, Valid};
    let world = World::new();
    let door = world.door(Lie::default()).await;
    let client = world.client(&[&door]);
    let expired = KeyAsOf::Expired { expires_ms: at_ms(9) };
    let gone = KeyAsOf::Deactivated;
    let (first, second, third) = (&world.first, &world.second, &world.third);
    // Key, time, known at; what the key was, the entry, the right; whether all of it holds.
    let table = [
        // Before anybody may issue, and before the entry is valid.
        (first, at_ms(2), None, KeyAsOf::Valid, Pending, false, false),
        (first, at_ms(4) - 1, None, KeyAsOf::Valid, Valid, false, false),
        (first, at_ms(4), None, KeyAsOf::Valid, Valid, true, true),
        (second, at_ms(5) - 1, None, KeyAsOf::NotInDocument, Valid, true, false),
        (second, at_ms(5), None, KeyAsOf::Valid, Valid, true, true),
        // The moment of the signature, years later: rotated, revoked, withdrawn and deactivated since.
        (first, at_ms(6), None, KeyAsOf::Valid, Valid, true, true),
        // It became known at height 8 that the entry was not to be trusted since half a second after height 6.
        (first, at_ms(6) + 499, None, KeyAsOf::Valid, Valid, true, true),
        (first, at_ms(6) + 500, None, KeyAsOf::Valid, Invalid, true, false),
        (first, at_ms(6) + 500, Some(8), KeyAsOf::Valid, Invalid, true, false),
        (first, at_ms(6) + 500, Some(7), KeyAsOf::Valid, Valid, true, true),
        // The rotation.
        (first, at_ms(7) - 1, Some(7), KeyAsOf::Valid, Valid, true, true),
        (first, at_ms(7), Some(7), KeyAsOf::NotInDocument, Valid, true, false),
        (third, at_ms(7) - 1, Some(7), KeyAsOf::NotInDocument, Valid, true, false),
        (third, at_ms(7), Some(7), KeyAsOf::Valid, Valid, true, true),
        // The revocation, the end of the second key, and that of the right.
        (third, at_ms(8), None, KeyAsOf::Valid, Invalid, true, false),
        (second, at_ms(9) - 1, None, KeyAsOf::Valid, Invalid, true, false),
        (second, at_ms(9), None, expired, Invalid, false, false),
        // The deactivation.
        (third, at_ms(13) - 1, None, KeyAsOf::Valid, Invalid, false, false),
        (third, at_ms(13), None, gone, Invalid, false, false),
        (third, at_ms(TIP), Some(TIP), gone, Invalid, false, false),
    ];
    for (key, time_ms, known_at, expected, state, right, holds) in table {
        let question = world.question(key, time_ms, known_at);
        let answer = client.as_of(&question).await.unwrap();
        let as_of = answer.fresh().unwrap();
        let entry = as_of.entry.as_ref().unwrap();
        let found = (as_of.key, entry.entry.state, as_of.authority.as_ref().unwrap().holds());
        assert_eq!(found, (expected, state, right), "{} {known_at:?}", time_ms - START_MS);
        assert_eq!(as_of.holds(), holds, "{} {known_at:?}", time_ms - START_MS);
        assert_eq!(as_of.known.height(), known_at.unwrap_or(TIP));
        assert_eq!(entry.header.height(), (time_ms - START_MS) / 1_000, "the block in force");
        assert_eq!(answer.height(), TIP, "certified by the validators of today");
    }
    // Another use than the key is there for; no such DID; no entry, no right asked for.
    let question = world.question(first, at_ms(6), None);
    let other = Question { relationships: KEY_AGREEMENT, ..question.clone() };
    let answer = client.as_of(&other).await.unwrap();
    assert_eq!(answer.even_if_stale().key, KeyAsOf::OtherUse);
    let nobody = SecretKey::generate(KeyAlgorithm::P256).unwrap();
    let stranger =
        Identity::holder("test", KeyAlgorithm::P256, false, world.ministry.did.clone(), None);
    let other = Question { did: stranger.unwrap().did, entry: None, ..question.clone() };
    assert_eq!(client.as_of(&other).await.unwrap().even_if_stale().key, KeyAsOf::NoDid);
    let alone = Question { entry: None, right: None, ..question.clone() };
    assert!(client.as_of(&alone).await.unwrap().even_if_stale().holds());
    let other = Question { key: multikey(nobody.public()).unwrap(), ..alone };
    assert!(!client.as_of(&other).await.unwrap().even_if_stale().holds());

    // What is to come is no answer, and nobody knows yet what a later block knows.
    let early = world.question(first, at_ms(TIP) + 1, None);
    let error = client.as_of(&early).await.unwrap_err();
    assert!(matches!(as_of_error(error), VerifyError::TimeToCome { .. }));
    let error = client.as_of(&world.question(first, at_ms(6), Some(TIP + 1))).await.unwrap_err();
    assert!(matches!(error, ReadError::NotYet { height: 15, trusted: TIP }), "{error}");
    let none = Question { entry: Some((Hash([9; 32]), 5)), ..question };
    assert_eq!(as_of_error(client.as_of(&none).await.unwrap_err()), VerifyError::NoSuchList);
}

fn as_of_error(error: ReadError) -> VerifyError {
    match error {
        ReadError::AsOf(source) => *source,
        ReadError::Verify { source, .. } => *source,
        error => panic!("{error}"),
    }
}

/// A node that keeps no state of then names the archives, and the client goes on to one that it knows.
#[tokio::test]
async fn d4_where_a_node_has_pruned_the_archive_is_asked() {
    let world = World::new();
    let pruned = world.door(Lie { state_from: 10, ..Lie::default() }).await;
    let archive = world.door(Lie::default()).await;
    let question = world.question(&world.first, at_ms(6), None);
    let alone = world.client(&[&pruned]).as_of(&question).await.unwrap_err();
    let ReadError::Call(CallError::Refused { problem, .. }) = alone else { panic!("{alone}") };
    assert_eq!(problem.code, "HISTORY_PRUNED");
    assert_eq!(problem.fields["archives"].split(',').count(), 4);
    for doors in [[&pruned, &archive], [&archive, &pruned]] {
        let answer = world.client(&doors).as_of(&question).await.unwrap();
        assert!(answer.fresh().unwrap().holds());
    }
    // What the pruned node still has it answers: key and right need no old state.
    let no_entry = Question { entry: None, ..question };
    assert!(world.client(&[&pruned]).as_of(&no_entry).await.unwrap().fresh().unwrap().holds());
}

/// A lie about chunks, by the true answer to another question.
fn instead(world: &World, moment: Moment) -> Lie {
    let list = world.list;
    Lie {
        answer: Some(Arc::new(move |network, answer| {
            let keys = |_: &dyn StateView, _| Ok(answer::chunk_keys(&list, &[0]));
            *answer = network.answer(moment, true, keys).unwrap();
        })),
        ..Lie::default()
    }
}

#[tokio::test]
async fn d4_b4_every_lie_about_what_was_so_then_is_refused_with_its_own_error() {
    let world = World::new();
    let time_ms = at_ms(8) + 300;
    let caught = async |lie: Lie, question: &Question| {
        let door = world.door(lie).await;
        as_of_error(world.client(&[&door]).as_of(question).await.unwrap_err())
    };
    let at = |time_ms, known_at| Moment::Time { time_ms, known_at: Some(known_at) };
    // The state of a neighbor of the block in force, where the entry is valid still; and of the one after it.
    let question = world.question(&world.third, time_ms, Some(10));
    for height in [7, 9] {
        let lie = instead(&world, at(at_ms(height), 10));
        let verdict = caught(lie, &question).await;
        assert_eq!(verdict, VerifyError::NotInForce { height, time_ms });
    }
    // What was known earlier than asked: the block before the revocation.
    let question = world.question(&world.first, at_ms(6) + 500, Some(8));
    let lie = instead(&world, at(at_ms(6) + 500, 7));
    let verdict = caught(lie, &question).await;
    assert_eq!(verdict, VerifyError::NotTheHeightAsked { height: 7, asked: 8 });
    let question = world.question(&world.first, at_ms(6) + 500, None);
    let verdict = caught(instead(&world, at(at_ms(6) + 500, 7)), &question).await;
    assert!(matches!(verdict, VerifyError::PastUnasked { .. }), "{verdict}");

    // An older version than the one in force: the rotation never was; or there is a gap; or no beginning.
    let question = world.question(&world.first, at_ms(8), None);
    let without = |place: usize| Lie {
        history: Some(Arc::new(move |_, answer| {
            answer.versions.remove(place);
        })),
        ..Lie::default()
    };
    assert_eq!(caught(without(0), &question).await, VerifyError::NotTheProvedHead);
    assert_eq!(caught(without(1), &question).await, VerifyError::BrokenChain { version: 4 });
    assert_eq!(caught(without(3), &question).await, VerifyError::Incomplete { version: 2 });
    // A key of the liar's in the document of then.
    let thief = SecretKey::generate(KeyAlgorithm::P256).unwrap();
    let forged = Lie {
        history: Some(Arc::new(move |_, answer| {
            let version = answer.versions.last_mut().unwrap();
            version.document.as_mut().unwrap().keys[0].key = Some(thief.public().clone());
        })),
        ..Lie::default()
    };
    let verdict = caught(forged, &question).await;
    assert!(matches!(verdict, VerifyError::ForgedDocument { version: 1, .. }), "{verdict}");
    // A date that was moved, and a right that was not withdrawn: leaves that lead nowhere.
    let moved = Lie {
        answer: Some(Arc::new(|_, answer| {
            let entries = &mut answer.then.as_mut().unwrap().entries;
            entries[1].value[2] = 0x11;
        })),
        ..Lie::default()
    };
    let question = world.question(&world.third, at_ms(8), None);
    let verdict = caught(moved, &question).await;
    assert!(matches!(verdict, VerifyError::Proof(_)), "{verdict}");
}

/// Parts of two answers do not make one: each by the same knowledge, of the same time.
#[tokio::test]
async fn d4_parts_by_another_knowledge_are_no_answer() {
    let world = World::new();
    let door = world.door(Lie::default()).await;
    let client = world.client(&[&door]);
    let question = world.question(&world.first, at_ms(6), Some(8));
    let good = client.as_of(&question).await.unwrap().even_if_stale().clone();
    let moment = |time_ms, known_at| Moment::Time { time_ms, known_at: Some(known_at) };
    let judge = async |at: Moment| {
        let chunks = client.chunks(&world.list, &[0], at).await.unwrap();
        let (known, resolution) = (good.known.clone(), good.resolution.clone());
        let right = good.authority.clone();
        as_of::AsOf::judge(&question, known, resolution, Some(chunks.even_if_stale()), right)
    };
    assert_eq!(judge(moment(at_ms(6), 8)).await, Ok(good.clone()));
    for other in [moment(at_ms(6), 7), moment(at_ms(5), 8)] {
        let verdict = judge(other).await;
        assert!(matches!(verdict, Err(VerifyError::OtherKnowledge { .. })), "{verdict:?}");
    }
    let entry = good.entry.as_ref().unwrap().entry;
    let date = Entry { state: EntryState::Valid, grace_until_ms: 0, invalid_from_ms: 0 };
    assert_eq!(entry, date);
}
