//! What a node says about lists, entries, rights and types, and every kind of lie about them with the error that names
//! it. No sockets: the verifier is pure.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use sillok_client::desk::{Application, Circumstances, EntryDates};
use sillok_client::identity::Identity;
use sillok_client::testing::MemoryNetwork;
use sillok_client::transaction::{OperationDraft, Terms, TransactionBuilder};
use sillok_client::verify::authority::{Authority, Right};
use sillok_client::verify::moment::Moment;
use sillok_client::verify::status::{ListChunks, ListExport};
use sillok_client::verify::{Answer, Policy, Verifier, VerifyError};
use sillok_did_method::{CAPABILITY_INVOCATION, EntryState, SUBMIT};
use sillok_ledger::answer::{self, Recorder};
use sillok_ledger::authority::chain;
use sillok_ledger::light::{LightError, TrustedHeader};
use sillok_ledger::proof::{EntryError, ProofError};
use sillok_ledger::status::StatusPurpose;
use sillok_ledger::{StateFault, StateView, TreeKey, header_hash};
use sillok_proto::{Hash, v1};
use v1::{Action, Reason};

const START_MS: u64 = 1_795_251_600_000;
const DAY: u64 = 24 * 3_600_000;
const CAPACITY: u32 = 131_072 + 8_192;
/// The last height.
const TIP: u64 = 6;

/// At height: 1 a type is published, 2 its list created, 3 entries 0, 5 and 8192 become valid, 4 another organization
/// may issue, 5 entry 5 is invalid since half a second after height 3, 6 the right is withdrawn. A second lies between
/// blocks.
struct World {
    network: MemoryNetwork,
    ministry: Identity,
    other: Identity,
    of: Hash,
    list: Hash,
}

fn at_ms(height: u64) -> u64 {
    START_MS + height * 1_000
}

fn content() -> v1::TypeVersion {
    let rule = |reason: Reason| v1::ReasonRule { reason: reason.into(), ..Default::default() };
    let policy = v1::TypePolicy {
        reasons: vec![rule(Reason::AttributeChange), rule(Reason::Compromised)],
        channels: 0b10,
        purposes: 0b10,
        backdating_max_ms: DAY,
        ..v1::TypePolicy::default()
    };
    v1::TypeVersion { schema_hash: vec![7; 32], render_hash: vec![], policy: Some(policy) }
}

impl World {
    fn run(&mut self, draft: OperationDraft, authors: &[&Identity]) {
        let time_ms = at_ms(self.network.tip().height() + 1);
        let genesis = *self.network.chain().hash();
        let builder = TransactionBuilder::new(genesis, &self.ministry.did, time_ms + 60_000);
        let at_desk = authors.is_empty();
        let terms = if at_desk { Terms::WHOLE_LIST } else { Terms::NAMED };
        let mut partly = builder.push(draft, terms).freeze();
        for author in authors {
            partly.sign(0, author.newest_secret(CAPABILITY_INVOCATION).unwrap()).unwrap();
        }
        let key = self.ministry.newest_secret(SUBMIT).unwrap();
        if at_desk {
            partly.sign_acting_role(0, key).unwrap();
        }
        let transaction = partly.submit(key).unwrap();
        self.network.commit(time_ms, &[transaction]).unwrap();
    }

    fn set(&mut self, state: EntryState, indexes: &[u32], reason: Reason, since_ms: u64) {
        let circumstances = Circumstances {
            acting_role: self.ministry.did.clone(),
            reason,
            channel: v1::Channel::Office,
            assurance_level: None,
            organization: None,
            approvers: Vec::new(),
        };
        let entries: Vec<_> = indexes.iter().map(|index| (*index, None)).collect();
        let dates = EntryDates { grace_until_ms: 0, invalid_from_ms: since_ms };
        let genesis = *self.network.chain().hash();
        let application =
            Application::set_status(genesis, &circumstances, &self.list, state, &entries, dates);
        self.run(application.unwrap().draft(), &[]);
    }

    /// Right on every resource in the first organization's hands, none in the second's.
    fn begin() -> Self {
        let (network, ministries) = MemoryNetwork::new("test", START_MS).unwrap();
        let mut genesis = network.chain().genesis().clone();
        for one in &mut genesis.organizations {
            let is_ministry = one.document.as_ref() == Some(&ministries.registrar.document());
            let all = i32::from(Action::Accredit)..=i32::from(Action::Countersign);
            one.actions = if is_ministry { all.collect() } else { Vec::new() };
        }
        let keys = network.operators().iter().map(|one| one.validator.clone()).collect();
        let network = MemoryNetwork::of_genesis(genesis, keys).unwrap();
        let (ministry, other) = (ministries.registrar, ministries.countersigner);
        Self { network, ministry, other, of: Hash::default(), list: Hash::default() }
    }

    fn new() -> Self {
        let mut world = Self::begin();
        let genesis = *world.network.chain().hash();
        let (ministry, other) = (world.ministry.clone(), world.other.clone());
        let (draft, of) =
            OperationDraft::publish_type(&genesis, &ministry.did, &[1; 16], content());
        world.of = of;
        world.run(draft, &[&ministry]);
        let (draft, list) =
            OperationDraft::create_list(&genesis, &ministry.did, &of, &[2; 16], CAPACITY, 300);
        world.list = list;
        world.run(draft, &[&ministry]);
        world.set(EntryState::Valid, &[0, 5, 8_192], Reason::AttributeChange, 0);
        let grant = v1::NewGrant {
            organization: other.did.digest().to_vec(),
            action: Action::Issue.into(),
            resource: of.to_vec(),
            ..v1::NewGrant::default()
        };
        world.run(OperationDraft::accredit(&ministry.did, grant), &[&ministry, &other]);
        world.set(EntryState::Invalid, &[5], Reason::Compromised, at_ms(3) + 500);
        let ended = v1::EndedGrant {
            organization: other.did.digest().to_vec(),
            action: Action::Issue.into(),
            resource: of.to_vec(),
            at_ms: 0,
        };
        world.run(OperationDraft::withdraw(&ministry.did, ended), &[&ministry]);
        assert_eq!(world.network.tip().height(), TIP);
        world
    }

    /// A client that has verified this height; 0 knows the genesis alone.
    fn trusted(&self, height: u64) -> TrustedHeader {
        let chain = self.network.chain();
        let genesis =
            TrustedHeader::genesis(*chain.hash(), START_MS, chain.validators().clone()).unwrap();
        if height == 0 {
            return genesis;
        }
        let signed = self.network.signed_header(height).unwrap().clone();
        let header = signed.header.clone().unwrap();
        TrustedHeader {
            height,
            header_hash: header_hash(&header),
            time_ms: header.time_ms,
            signed_header: Some(signed),
            validators: Some(chain.validators().clone()),
            ..genesis
        }
    }

    fn verify<T>(
        &self,
        check: impl FnOnce(&Verifier<'_>) -> Result<T, VerifyError>,
    ) -> Result<T, VerifyError> {
        let trusted = self.trusted(TIP - 1);
        let policy = Policy::at(at_ms(TIP) + 500);
        check(&Verifier::new(self.network.chain(), &trusted, policy))
    }

    /// The honest answer about chunks of the list.
    fn chunks(&self, numbers: &[u32], moment: Moment) -> v1::StateAnswer {
        let keys = |_: &dyn StateView, _| Ok(answer::chunk_keys(&self.list, numbers));
        self.network.answer(moment, true, keys).unwrap()
    }

    fn check_chunks(
        &self,
        numbers: &[u32],
        moment: Moment,
        answer: &v1::StateAnswer,
    ) -> Result<Answer<ListChunks>, VerifyError> {
        self.verify(|verifier| verifier.chunks(&self.list, numbers, moment, answer))
    }

    /// What is said of a lie about chunk 0.
    fn lie(&self, moment: Moment, change: impl FnOnce(&mut v1::StateAnswer)) -> VerifyError {
        let mut answer = self.chunks(&[0], moment);
        change(&mut answer);
        self.check_chunks(&[0], moment, &answer).unwrap_err()
    }

    fn question(&self, who: &Identity) -> Right {
        Right { organization: who.did.digest(), action: Action::Issue, resource: Some(self.of) }
    }

    /// The honest answer about a right.
    fn right(&self, question: &Right, moment: Moment) -> v1::StateAnswer {
        let resource = question.resource_bytes();
        self.network
            .answer(moment, false, |view, time_ms| {
                recorded(view, |view| {
                    chain(view, &question.organization, question.action, &resource, time_ms)
                })
            })
            .unwrap()
    }

    fn check_right(
        &self,
        question: &Right,
        moment: Moment,
        answer: &v1::StateAnswer,
    ) -> Result<Answer<Authority>, VerifyError> {
        self.verify(|verifier| verifier.authority(question, moment, answer))
    }

    /// By which organizations it may, honestly answered.
    fn by(&self, who: &Identity, moment: Moment) -> Option<Vec<Hash>> {
        let question = self.question(who);
        let answer = self.check_right(&question, moment, &self.right(&question, moment)).unwrap();
        let authority = answer.fresh().unwrap();
        assert_eq!(authority.holds(), authority.chain.is_some());
        authority.chain.as_ref().map(|links| links.iter().map(|one| one.organization).collect())
    }

    fn present(
        &self,
        keys: impl Fn(&dyn StateView) -> Result<Vec<TreeKey>, StateFault>,
    ) -> v1::StateProof {
        self.network.answer(Moment::Tip, false, |view, _| keys(view)).unwrap().proof.unwrap()
    }

    fn pieces(&self, moment: Moment) -> Vec<v1::StateAnswer> {
        let first: Vec<u32> = (0..16).collect();
        vec![self.chunks(&first, moment), self.chunks(&[16], moment)]
    }

    /// The states of a list that comes in these pieces.
    fn export(&self, moment: Moment, pieces: &[v1::StateAnswer]) -> Result<Vec<u8>, VerifyError> {
        self.verify(|verifier| {
            let mut export = ListExport::new(*verifier, self.list, moment);
            for piece in pieces {
                export.piece(piece)?;
            }
            let list = export.finish()?;
            let list = list.fresh().unwrap().clone().unwrap();
            Ok(list.token_status_list().to_vec())
        })
    }
}

fn recorded<T>(
    view: &dyn StateView,
    ask: impl Fn(&Recorder<'_, dyn StateView + '_>) -> Result<T, StateFault>,
) -> Result<Vec<TreeKey>, StateFault> {
    let recorder = Recorder::new(view);
    ask(&recorder)?;
    Ok(recorder.into_keys())
}

const fn at_height(height: u64) -> Moment {
    Moment::Height(height)
}

const fn at_time(time_ms: u64, known_at: Option<u64>) -> Moment {
    Moment::Time { time_ms, known_at }
}

// ------------------------------------------------------------------------------------------------ status

/// B20: what entries say, at the tip, after an earlier block and at a time, from the proof alone.
#[test]
fn b20_entries_are_verified_at_every_moment() {
    use EntryState::{Invalid, Pending, Valid};
    let world = World::new();
    let entry = |moment, index| {
        let answer = world.chunks(&[0, 1], moment);
        let answer = world.check_chunks(&[0, 1], moment, &answer).unwrap();
        answer.fresh().unwrap().entry(index).unwrap()
    };
    let said = |moment| [0, 5, 6, 8_192].map(|index| entry(moment, index).state);
    assert_eq!(said(Moment::Tip), [Valid, Invalid, Pending, Valid]);
    assert_eq!(entry(Moment::Tip, 5).invalid_from_ms, at_ms(3) + 500);
    for (height, five) in [(2, Pending), (3, Valid), (4, Valid), (5, Invalid), (TIP, Invalid)] {
        assert_eq!(said(at_height(height))[1], five, "height {height}");
    }
    // At a time: by what was said until then, unless it is known now that it was not to be trusted already.
    for (time_ms, known_at, five) in [
        (at_ms(2) + 999, None, Pending),
        (at_ms(3), None, Valid),
        (at_ms(3) + 499, None, Valid),
        (at_ms(3) + 500, None, Invalid),
        (at_ms(4), Some(4), Valid),
        (at_ms(4), Some(5), Invalid),
        (at_ms(TIP), Some(TIP), Invalid),
    ] {
        let moment = at_time(time_ms, known_at);
        assert_eq!(said(moment)[1], five, "{moment:?}");
        let answer = world.check_chunks(&[0], moment, &world.chunks(&[0], moment)).unwrap();
        let chunks = answer.fresh().unwrap();
        assert_eq!(chunks.time_ms(), time_ms);
        assert_eq!(chunks.header().height(), (time_ms - START_MS) / 1_000, "the block in force");
        assert_eq!(chunks.known_header().height(), known_at.unwrap_or(TIP));
        assert_eq!(answer.height(), TIP, "fresh or not is the tip's to say");
    }
}

/// The genesis is a height like any other, on the wire too.
#[test]
fn what_was_known_at_the_genesis_is_asked_and_answered() {
    let moment = at_time(START_MS, Some(0));
    let asked = v1::KnownTime { time_ms: START_MS, known_at: Some(0) };
    let asked = v1::Moment { moment: Some(v1::moment::Moment::Time(asked)) };
    assert_eq!(moment.to_message(), Some(asked));
    let world = World::new();
    let answer = world.check_chunks(&[0], moment, &world.chunks(&[0], moment)).unwrap();
    let chunks = answer.fresh().unwrap();
    assert_eq!((chunks.known_header().height(), chunks.list()), (0, None));
}

#[test]
fn a_list_that_is_none_and_an_index_beyond_it_are_told_from_pending() {
    let world = World::new();
    let chunks =
        |moment| world.check_chunks(&[0, 17], moment, &world.chunks(&[0, 17], moment)).unwrap();
    let now = chunks(Moment::Tip);
    let now = now.fresh().unwrap();
    assert_eq!(now.list().unwrap().capacity, CAPACITY);
    assert_eq!(now.entry(CAPACITY), Err(VerifyError::NoSuchEntry { capacity: CAPACITY }));
    assert_eq!(now.entry(8_192), Err(VerifyError::NotAsked));
    let before = chunks(at_height(1));
    assert_eq!(before.fresh().unwrap().entry(0), Err(VerifyError::NoSuchList));
    let names = [world.list, Hash([9; 32])];
    let proof = world.present(|_| Ok(answer::list_keys(&names)));
    let lists = world.verify(|verifier| verifier.lists(&names, &proof)).unwrap();
    let capacities: Vec<Option<u32>> =
        lists.fresh().unwrap().iter().map(|one| one.as_ref().map(|one| one.capacity)).collect();
    assert_eq!(capacities, [Some(CAPACITY), None]);
    let turned = world.verify(|verifier| verifier.lists(&[names[1], names[0]], &proof));
    assert_eq!(turned.unwrap_err(), VerifyError::WrongLeaf { position: 0 });
}

#[test]
fn leaves_that_are_withheld_exchanged_or_added_are_refused() {
    let world = World::new();
    fn entries(answer: &mut v1::StateAnswer) -> &mut Vec<v1::StateEntry> {
        &mut answer.proof.as_mut().unwrap().entries
    }
    let lie = |change: fn(&mut Vec<v1::StateEntry>)| {
        world.lie(Moment::Tip, |answer| change(entries(answer)))
    };
    // What is not proved is no absence: without its dates, or its chunk, an entry would look good.
    let last = lie(|entries| {
        entries.pop();
    });
    assert_eq!(last, VerifyError::LeafWithheld { position: 5 });
    let dates = lie(|entries| {
        entries.remove(2);
    });
    assert_eq!(dates, VerifyError::LeafWithheld { position: 2 });
    assert_eq!(lie(|entries| entries.swap(1, 2)), VerifyError::WrongLeaf { position: 1 });
    assert_eq!(lie(Vec::clear), VerifyError::LeafWithheld { position: 0 });
    // Beside what was asked for, another chunk: nothing false, and nothing that was asked for.
    let more = world.chunks(&[0, 1], Moment::Tip);
    let verdict = world.check_chunks(&[0], Moment::Tip, &more).unwrap_err();
    assert_eq!(verdict, VerifyError::LeafUnasked { position: 6 });
    let verdict = world.check_chunks(&[1], Moment::Tip, &world.chunks(&[0], Moment::Tip));
    assert_eq!(verdict.unwrap_err(), VerifyError::LeafWithheld { position: 1 });
    let twice = lie(|entries| entries.push(entries[1].clone()));
    assert_eq!(twice, VerifyError::Proof(ProofError::RepeatedKey { index: 6 }));
    // A value that was changed, and one that is denied.
    let forged = lie(|entries| entries[1].value[7] ^= 1);
    assert!(matches!(
        forged,
        VerifyError::Proof(ProofError::Entry { index: 1, source: EntryError::WrongRoot { .. } })
    ));
    let denied = lie(|entries| {
        entries[1].present = false;
        entries[1].value.clear();
    });
    assert!(matches!(denied, VerifyError::Proof(ProofError::Entry { index: 1, .. })), "{denied:?}");
    assert_eq!(world.lie(Moment::Tip, |answer| answer.proof = None), VerifyError::NoProof);
}

#[test]
fn an_old_state_is_not_taken_for_the_present() {
    let world = World::new();
    let keys = answer::chunk_keys(&world.list, &[0]);
    let old = v1::StateAnswer {
        proof: Some(world.network.state(&keys, 4).unwrap()),
        ..v1::StateAnswer::default()
    };
    let verdict = world.check_chunks(&[0], Moment::Tip, &old).unwrap_err();
    assert!(matches!(verdict, VerifyError::Light(LightError::Rollback { .. })), "{verdict:?}");
    // Nor with the header of the tip.
    let mixed = world.lie(Moment::Tip, |answer| {
        answer.proof.as_mut().unwrap().entries = old.proof.unwrap().entries;
    });
    assert!(matches!(mixed, VerifyError::Proof(ProofError::Entry { .. })), "{mixed:?}");
    // As the past it was asked for, and is beside the point where it was not.
    let past = world.chunks(&[0], at_height(4));
    let verdict = world.check_chunks(&[0], Moment::Tip, &past).unwrap_err();
    assert_eq!(verdict, VerifyError::PastUnasked { what: "an earlier state" });
}

#[test]
fn another_height_than_the_one_asked_for_is_refused() {
    let world = World::new();
    let moment = at_height(4);
    let other = world.chunks(&[0], at_height(3));
    assert_eq!(
        world.check_chunks(&[0], moment, &other).unwrap_err(),
        VerifyError::NotTheHeightAsked { height: 3, asked: 4 }
    );
    let missing = VerifyError::PastMissing { what: "the state asked for" };
    assert_eq!(world.lie(moment, |answer| answer.known = None), missing);
    let present = world.chunks(&[0], Moment::Tip);
    let unasked = VerifyError::PastUnasked { what: "the present state" };
    assert_eq!(world.check_chunks(&[0], moment, &present).unwrap_err(), unasked);
    let past = |change: fn(&mut v1::PastState)| {
        world.lie(moment, |answer| change(answer.known.as_mut().unwrap()))
    };
    let missing = VerifyError::PastMissing { what: "the header of a state" };
    assert_eq!(past(|past| past.header = None), missing);
    let nowhere = past(|past| past.header.as_mut().unwrap().path = None);
    assert_eq!(nowhere, VerifyError::Proof(ProofError::NoPath));
    // A header with another root, and another path: neither leads to the tip.
    let forged = past(|past| {
        past.header.as_mut().unwrap().header.as_mut().unwrap().state_root = vec![9; 32];
    });
    assert!(matches!(forged, VerifyError::Proof(ProofError::Log(_))), "{forged:?}");
    let leaf = past(|past| past.entries[1].value[7] ^= 1);
    assert!(matches!(leaf, VerifyError::Proof(ProofError::Entry { .. })), "{leaf:?}");
    let then = world.chunks(&[0], at_time(at_ms(3), None)).then;
    let unasked = VerifyError::PastUnasked { what: "the state of a time" };
    assert_eq!(world.lie(moment, |answer| answer.then = then), unasked);
}

/// The header in force at a time is the last one up to it. Nothing else passes for it.
#[test]
fn another_header_than_the_one_in_force_is_refused() {
    let world = World::new();
    let time_ms = at_ms(4) + 500;
    let moment = at_time(time_ms, None);
    let then = |at: u64| world.chunks(&[0], at_time(at_ms(at), None)).then.unwrap();
    let not_in_force = |height| VerifyError::NotInForce { height, time_ms };
    // An earlier block with its own successor, which is no later than the time; and a later block.
    for height in [1, 2, 3, 5] {
        let other = world.lie(moment, |answer| answer.then = Some(then(height)));
        assert_eq!(other, not_in_force(height));
    }
    // An earlier block with a successor that is later than the time, and not the next.
    let next = then(4).next;
    let skipped = world.lie(moment, |answer| {
        answer.then = Some(v1::PastState { next: next.clone(), ..then(3) });
    });
    assert_eq!(skipped, not_in_force(3));
    let alone = world.lie(moment, |answer| answer.then.as_mut().unwrap().next = None);
    let missing = VerifyError::PastMissing { what: "the header after the time asked for" };
    assert_eq!(alone, missing);
    let missing = VerifyError::PastMissing { what: "the state of the time asked for" };
    assert_eq!(world.lie(moment, |answer| answer.then = None), missing);
    let forged = world.lie(moment, |answer| {
        let next = answer.then.as_mut().unwrap().next.as_mut().unwrap();
        next.header.as_mut().unwrap().time_ms += 1;
    });
    assert!(matches!(forged, VerifyError::Proof(ProofError::Log(_))), "{forged:?}");
    // Not later than what is known either.
    let known = at_time(at_ms(4), Some(4));
    let later = world.lie(known, |answer| answer.then = Some(then(5)));
    assert_eq!(later, VerifyError::NotInForce { height: 5, time_ms: at_ms(4) });
    let to_come = at_time(at_ms(TIP) + 1, None);
    let present = world.chunks(&[0], at_time(at_ms(TIP), None));
    assert_eq!(
        world.check_chunks(&[0], to_come, &present).unwrap_err(),
        VerifyError::TimeToCome { time_ms: at_ms(TIP) + 1, known_ms: at_ms(TIP) }
    );
}

#[test]
fn a_whole_list_is_verified_and_has_both_standard_forms() {
    let world = World::new();
    for (moment, five) in [
        (Moment::Tip, 0x1),
        (at_height(3), 0x0),
        (at_time(at_ms(3) + 499, None), 0x0),
        (at_time(at_ms(3) + 500, None), 0x1),
    ] {
        let states = world.export(moment, &world.pieces(moment)).unwrap();
        assert_eq!(states.len(), (CAPACITY / 2) as usize);
        assert_eq!(
            (states[0], states[2], states[3]),
            (0x30, 0x03 | (five << 4), 0x33),
            "{moment:?}"
        );
        assert_eq!(states[4_096], 0x30, "entry 8192");
    }
    world
        .verify(|verifier| {
            let mut export = ListExport::new(*verifier, world.list, Moment::Tip);
            for piece in world.pieces(Moment::Tip) {
                export.piece(&piece)?;
            }
            let list = export.finish()?.fresh().unwrap().clone().unwrap();
            let revoked = list.bitstring(StatusPurpose::Revocation)?;
            let suspended = list.bitstring(StatusPurpose::Suspension)?;
            assert_eq!(revoked.len(), (CAPACITY / 8) as usize);
            assert_eq!(revoked.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
            assert_eq!((revoked[0], suspended[0], suspended[1]), (0b0000_0100, 0b0111_1011, 0xff));
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_list_with_a_hole_or_of_two_moments_is_refused() {
    let world = World::new();
    let moment = Moment::Tip;
    let pieces = world.pieces(moment);
    let export = |pieces: &[v1::StateAnswer]| world.export(moment, pieces).unwrap_err();
    assert_eq!(export(&pieces[..1]), VerifyError::PiecesMissing { chunks: 16 });
    assert_eq!(export(&[]), VerifyError::PiecesMissing { chunks: 0 });
    let more = [pieces.clone(), pieces[1..].to_vec()].concat();
    assert_eq!(export(&more), VerifyError::PieceUnasked { chunks: 17 });
    // The end first, the beginning twice, a first piece that is cut short.
    assert!(matches!(export(&pieces[1..]), VerifyError::LeafWithheld { .. }));
    let twice = [pieces[0].clone(), pieces[0].clone()];
    assert!(matches!(export(&twice), VerifyError::LeafWithheld { .. }));
    let short: Vec<u32> = (0..15).collect();
    let short = world.chunks(&short, moment);
    assert!(matches!(export(&[short]), VerifyError::LeafWithheld { .. }));
    // Each piece true of its own height, and together of none.
    let mut later = World::new();
    (later.network, later.list) = (world.network.clone(), world.list);
    later.network.commit(at_ms(TIP + 1), &[]).unwrap();
    let torn = [pieces[0].clone(), later.chunks(&[16], moment)];
    assert_eq!(export(&torn), VerifyError::PieceOfOtherMoment { height: TIP + 1 });
}

/// The pieces of a list that is known now, as of a time at which there was none yet: an honest node's, and still none.
#[test]
fn a_list_that_was_not_there_yet_is_exported_as_none() {
    let world = World::new();
    let moment = at_time(at_ms(1), None);
    let exported = |pieces: &[v1::StateAnswer]| {
        world.verify(|verifier| {
            let mut export = ListExport::new(*verifier, world.list, moment);
            for piece in pieces {
                export.piece(piece)?;
            }
            export.finish()
        })
    };
    let pieces = world.pieces(moment);
    assert_eq!(exported(&pieces).unwrap().fresh().unwrap(), &None);
    assert_eq!(exported(&pieces[..1]), Err(VerifyError::PiecesMissing { chunks: 16 }));
    // Without chunks it would be a list that is not known either.
    let cut = [world.chunks(&[], moment)];
    assert!(matches!(exported(&cut), Err(VerifyError::LeafWithheld { .. })));
}

#[test]
fn a_list_that_is_none_is_exported_as_none() {
    let mut world = World::new();
    world.list = Hash([9; 32]);
    let nothing = world.chunks(&[], Moment::Tip);
    let verified = world.verify(|verifier| {
        let mut export = ListExport::new(*verifier, world.list, Moment::Tip);
        export.piece(&nothing)?;
        export.finish()
    });
    assert_eq!(verified.unwrap().fresh().unwrap(), &None);
}

// ------------------------------------------------------------------------------------------------- trust

/// "May it, and by which chain" is verified at a height and at a time, and so is "no".
#[test]
fn a_right_and_the_lack_of_one_are_verified() {
    let world = World::new();
    let (ministry, other) = (world.ministry.did.digest(), world.other.did.digest());
    assert_eq!(world.by(&world.ministry, Moment::Tip), Some(vec![ministry]));
    assert_eq!(world.by(&world.other, Moment::Tip), None);
    let chain = Some(vec![other, ministry]);
    for (height, expected) in [(3, &None), (4, &chain), (5, &chain), (6, &None)] {
        assert_eq!(&world.by(&world.other, at_height(height)), expected, "height {height}");
        let time = at_time(at_ms(height), None);
        assert_eq!(&world.by(&world.other, time), expected, "at the time of {height}");
    }
    assert_eq!(world.by(&world.other, at_time(at_ms(4), Some(5))), chain);
    let question = world.question(&world.other);
    let answer = world.right(&question, at_height(4));
    let authority = world.check_right(&question, at_height(4), &answer).unwrap();
    assert_eq!(authority.even_if_stale().time_ms, at_ms(4));
    assert_eq!(authority.even_if_stale().header.height(), 4);
}

#[test]
fn a_node_cannot_hide_a_right_or_make_one_up() {
    let world = World::new();
    let question = world.question(&world.other);
    let moment = at_height(4);
    let lie = |change: fn(&mut Vec<v1::StateEntry>)| {
        let mut answer = world.right(&question, moment);
        change(&mut answer.known.as_mut().unwrap().entries);
        world.check_right(&question, moment, &answer).unwrap_err()
    };
    // The grant, those of the grantor: whatever is left out is missed, and is no "no".
    let first = lie(|entries| {
        entries.remove(0);
    });
    assert_eq!(first, VerifyError::LeafWithheld { position: 0 });
    let last = lie(|entries| {
        entries.pop();
    });
    assert!(matches!(last, VerifyError::LeafWithheld { position } if position > 0), "{last:?}");
    assert_eq!(lie(|entries| entries.swap(0, 1)), VerifyError::WrongLeaf { position: 0 });
    let denied = lie(|entries| {
        entries[0].present = false;
        entries[0].value.clear();
    });
    assert!(matches!(denied, VerifyError::Proof(ProofError::Entry { index: 0, .. })));
    // The leaves of a height at which it held do not show that it holds now.
    let before = world.right(&question, moment);
    let unasked = VerifyError::PastUnasked { what: "an earlier state" };
    assert_eq!(world.check_right(&question, Moment::Tip, &before).unwrap_err(), unasked);
    // Those of somebody who may do not show that another may.
    let others = world.right(&world.question(&world.ministry), Moment::Tip);
    let verdict = world.check_right(&question, Moment::Tip, &others).unwrap_err();
    assert_eq!(verdict, VerifyError::LeafWithheld { position: 0 });
    // What is beside the walk is refused, though it is true.
    let mut more = world.right(&question, Moment::Tip);
    let beside = world.network.state(&[TreeKey::parameters()], TIP).unwrap().entries;
    let count = more.proof.as_ref().unwrap().entries.len();
    more.proof.as_mut().unwrap().entries.extend(beside);
    let verdict = world.check_right(&question, Moment::Tip, &more).unwrap_err();
    assert_eq!(verdict, VerifyError::LeafUnasked { position: count });
    let to_come = at_time(at_ms(TIP) + 1, None);
    let verdict = world.check_right(&question, to_come, &world.right(&question, Moment::Tip));
    assert!(matches!(verdict.unwrap_err(), VerifyError::TimeToCome { .. }));
}

#[test]
fn grants_and_types_are_verified_whole() {
    let world = World::new();
    let other = world.other.did.digest();
    let proof = world.present(|view| recorded(view, |view| answer::grants(view, &other)));
    let grants = world.verify(|verifier| verifier.grants(&other, &proof)).unwrap();
    let [(name, grant)] = grants.fresh().unwrap().as_slice() else { panic!("{grants:?}") };
    assert_eq!((name.action(), &name.resource), (Action::Issue, &world.of.to_vec()));
    assert_eq!((grant.periods[0].from_ms, grant.periods[0].until_ms), (at_ms(4), at_ms(6)));
    let mut hidden = proof.clone();
    hidden.entries.pop();
    let verdict = world.verify(|verifier| verifier.grants(&other, &hidden)).unwrap_err();
    assert_eq!(verdict, VerifyError::LeafWithheld { position: 1 });
    let ministry = world.ministry.did.digest();
    let verdict = world.verify(|verifier| verifier.grants(&ministry, &proof)).unwrap_err();
    assert_eq!(verdict, VerifyError::LeafWithheld { position: 0 });

    let proof = |version| {
        world.present(|view| {
            recorded(view, |view| answer::type_and_version(view, &world.of, version))
        })
    };
    let check = |version, proof: &v1::StateProof| {
        let answer =
            world.verify(|verifier| verifier.credential_type(&world.of, version, proof))?;
        Ok(answer.fresh().unwrap().clone())
    };
    let (found, record) = check(0, &proof(0)).unwrap().unwrap();
    assert_eq!((found.version, found.owner), (1, ministry.to_vec()));
    assert_eq!(record.unwrap().content, Some(content()));
    assert_eq!(check(2, &proof(2)).unwrap().unwrap().1, None, "no such version");
    let verdict: Result<_, VerifyError> = check(2, &proof(1));
    assert_eq!(verdict.unwrap_err(), VerifyError::LeafWithheld { position: 1 });
}

/// A receipt of the past is not taken from validators that were replaced: their header follows from the tip alone.
#[test]
fn no_certificate_of_the_past_is_looked_at() {
    let world = World::new();
    let moment = at_height(2);
    let mut answer = world.chunks(&[0], moment);
    assert!(world.check_chunks(&[0], moment, &answer).is_ok());
    // An older certified header in the place of the tip's is one from before what was verified.
    answer.proof.as_mut().unwrap().signed_header = world.network.signed_header(4).cloned();
    let verdict = world.check_chunks(&[0], moment, &answer).unwrap_err();
    assert!(matches!(verdict, VerifyError::Light(LightError::Rollback { .. })), "{verdict:?}");
    let mut answer = world.chunks(&[0], moment);
    let signed = answer.proof.as_mut().unwrap().signed_header.as_mut().unwrap();
    signed.certificate.as_mut().unwrap().signatures.clear();
    let verdict = world.check_chunks(&[0], moment, &answer).unwrap_err();
    assert!(matches!(verdict, VerifyError::Light(_)), "{verdict:?}");
}
