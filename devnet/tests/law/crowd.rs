//! A crowd: desks that change the same few people's enrollments, entries and devices at the same moments, at different
//! validators, with whatever they believe of them.
//!
//! What the blocks hold is then told again to a model that knows the rules by itself, and what the nodes prove must be
//! what the model says: at every height of every entry, and in the end of every enrollment.

use super::harness::Network;
use super::law::{block_on, desk, network};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sillok_client::desk::EnrollmentStep;
use sillok_client::identity::{Identity, IdentityKey};
use sillok_client::keys::KeyAlgorithm::Ed25519;
use sillok_client::keys::SecretKey;
use sillok_client::pseudonym::Handle;
use sillok_client::verify::moment::Moment;
use sillok_devnet::console;
use sillok_devnet::desk::{Deed, Desk};
use sillok_devnet::reader::Reader;
use sillok_devnet::scene::new_device;
use sillok_devnet::submit::Outcome;
use sillok_did_method::{EntryState, head_hash, key_id, transaction_id};
use sillok_proto::{Hash, v1};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use v1::{EnrollmentState, Reason};

const PEOPLE: usize = 6;
const DESKS: usize = 6;
/// Changes that each desk tries at the least. What goes through depends on who is faster, so all go on until every kind
/// of change went through once, or until this many times as many turns.
const TURNS: usize = 30;
const MORE: usize = 8;
const KINDS: [&str; 7] = ["reserve", "activate", "issue", "suspend", "reinstate", "end", "revoke"];
/// Entries are of the first two chunks, so that one read proves all of them.
const INDEXES: u32 = 16_384;
const SEED: u64 = 20_261_122;

/// A handle, by person and whether the person moved to it.
type Place = (usize, bool);

/// One change, as the desk that tries it means it.
#[derive(Clone)]
enum Step {
    Reserve { place: Place, number: u32, one_time: SecretKey, replaces: bool, moves: bool },
    Activate { place: Place, number: u32, one_time: SecretKey, phone: SecretKey },
    Issue { place: Place, index: u32 },
    Suspend { place: Place },
    Reinstate { place: Place, number: u32, phone: SecretKey },
    End { place: Place },
    Revoke { index: u32 },
}

impl Step {
    const fn name(&self) -> &'static str {
        match self {
            Self::Reserve { moves: true, .. } => "reserve, to move",
            Self::Reserve { .. } => "reserve",
            Self::Activate { .. } => "activate",
            Self::Issue { .. } => "issue",
            Self::Suspend { .. } => "suspend",
            Self::Reinstate { .. } => "reinstate",
            Self::End { .. } => "end",
            Self::Revoke { .. } => "revoke",
        }
    }
}

/// What is reserved.
#[derive(Clone)]
struct Reserved {
    number: u32,
    one_time: SecretKey,
    moves: bool,
}

/// An enrollment of the model.
#[derive(Clone, Default)]
struct Enrolled {
    state: EnrollmentState,
    /// The last that was reserved.
    number: u32,
    active: u32,
    phone: Option<SecretKey>,
    reserved: Option<Reserved>,
}

/// The model: the rules in a few lines, with nothing of the ledger's.
#[derive(Clone, Default)]
struct Model {
    enrolled: BTreeMap<Place, Enrolled>,
    /// With the place and the number under which it became valid.
    entries: BTreeMap<u32, (EntryState, Place, u32)>,
}

fn require(holds: bool, rule: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(rule) }
}

impl Model {
    fn state(&self, index: u32) -> EntryState {
        self.entries.get(&index).map_or(EntryState::Pending, |(state, ..)| *state)
    }

    /// The entries of a place that are not final go to a state with it.
    fn carry(&mut self, place: Place, to: EntryState) {
        for (state, of, _) in self.entries.values_mut() {
            if *of == place && matches!(*state, EntryState::Valid | EntryState::Suspended) {
                *state = to;
            }
        }
    }

    /// Does a change, or says which rule does not allow it.
    fn apply(&mut self, step: &Step) -> Result<(), &'static str> {
        use EnrollmentState as State;
        match step {
            Step::Reserve { place, number, one_time, replaces, moves } => {
                let target = self.enrolled.contains_key(&(place.0, true));
                let one = self.enrolled.entry(*place).or_default();
                require(one.number + 1 == *number, "A15: numbers follow one another")?;
                require(one.state != State::Moved, "A15: what moved goes on elsewhere")?;
                require(one.state != State::Suspended, "C10: what is suspended comes back first")?;
                require(*replaces || one.state != State::Active, "D6: the old is ended first")?;
                require(!*moves || !target, "A15: a handle is in use once")?;
                one.number = *number;
                let (number, one_time, moves) = (*number, one_time.clone(), *moves);
                one.reserved = Some(Reserved { number, one_time, moves });
            }
            Step::Activate { place, number, one_time, phone } => {
                let one = self.enrolled.entry(*place).or_default();
                let reserved = one.reserved.clone().ok_or("A6: only what was reserved")?;
                require(reserved.number == *number, "A6: the number that was reserved")?;
                require(reserved.one_time.public() == one_time.public(), "B7: the key handed out")?;
                require(one.state != State::Suspended, "C10: what is suspended comes back first")?;
                let active = Enrolled {
                    state: State::Active,
                    number: *number,
                    active: *number,
                    phone: Some(phone.clone()),
                    reserved: None,
                };
                self.carry(*place, EntryState::Superseded);
                if reserved.moves {
                    let to = (place.0, true);
                    require(!self.enrolled.contains_key(&to), "A15: a handle is in use once")?;
                    let moved = Enrolled { state: State::Moved, phone: None, ..active.clone() };
                    self.enrolled.insert(*place, moved);
                    self.enrolled.insert(to, active);
                } else {
                    self.enrolled.insert(*place, active);
                }
            }
            Step::Issue { place, index } => {
                let one = self.enrolled.entry(*place).or_default();
                require(one.state == State::Active, "A6: only under an active enrollment")?;
                let number = one.active;
                require(self.state(*index) == EntryState::Pending, "C8: only what was never used")?;
                self.entries.insert(*index, (EntryState::Valid, *place, number));
            }
            Step::Suspend { place } => {
                let one = self.enrolled.entry(*place).or_default();
                require(one.state == State::Active, "only what is active is suspended")?;
                one.state = State::Suspended;
                self.carry(*place, EntryState::Suspended);
            }
            Step::Reinstate { place, number, phone } => {
                let one = self.enrolled.entry(*place).or_default();
                require(one.state == State::Suspended, "C8: only what is suspended comes back")?;
                let same = one.phone.as_ref().map(SecretKey::public) == Some(phone.public());
                require(one.active == *number && same, "B18: with the holder's key")?;
                one.state = State::Active;
                self.carry(*place, EntryState::Valid);
            }
            Step::End { place } => {
                let one = self.enrolled.entry(*place).or_default();
                let lives = matches!(one.state, State::Active | State::Suspended);
                require(lives || one.reserved.is_some(), "there is something to end")?;
                require(one.state != State::Moved, "what moved goes on elsewhere")?;
                (one.state, one.phone, one.reserved) = (State::Ended, None, None);
                self.carry(*place, EntryState::Invalid);
            }
            Step::Revoke { index } => {
                let of = self.state(*index);
                require(
                    !matches!(of, EntryState::Invalid | EntryState::Superseded),
                    "C8: final is final",
                )?;
                let (_, place, number) =
                    self.entries.get(index).copied().unwrap_or((of, (usize::MAX, false), 0));
                self.entries.insert(*index, (EntryState::Invalid, place, number));
            }
        }
        self.check()
    }

    /// A17: at no height are two of a person's devices active, nor entries of another number than the active one.
    fn check(&self) -> Result<(), &'static str> {
        for person in 0..PEOPLE {
            let places = [false, true].map(|moved| self.enrolled.get(&(person, moved)));
            let active = places.into_iter().flatten();
            let active: Vec<u32> = active
                .filter(|one| one.state == EnrollmentState::Active)
                .map(|one| one.active)
                .collect();
            require(active.len() <= 1, "A17: two are active")?;
            let mut valid = self
                .entries
                .values()
                .filter(|(state, (of, _), _)| *state == EntryState::Valid && *of == person);
            require(
                valid.all(|(_, _, number)| active.first() == Some(number)),
                "A17: an entry of a device that is not the active one is valid",
            )?;
        }
        Ok(())
    }
}

/// A DID whose device many desks change at once.
struct Rotated {
    holder: Identity,
    /// As the last desk that saw it committed believes.
    device: IdentityKey,
}

/// What all desks know.
struct World {
    believed: Model,
    /// Everything that was sent, by id.
    sent: BTreeMap<Hash, Vec<Step>>,
    next_index: u32,
    committed: BTreeMap<&'static str, usize>,
    refused: BTreeMap<String, usize>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a desk tries next, by what it believes; now and then by what it does not.
fn choose(world: &mut World, random: &mut StdRng) -> Vec<Step> {
    let person = random.random_range(0..PEOPLE);
    let moved = world.believed.enrolled.contains_key(&(person, true));
    let place = (person, moved);
    let one = world.believed.enrolled.get(&place).cloned().unwrap_or_default();
    let key = || SecretKey::generate(Ed25519).unwrap();
    let reserve = |replaces: bool, moves: bool| Step::Reserve {
        place,
        number: one.number + 1,
        one_time: key(),
        replaces,
        moves,
    };
    let activate = || {
        let reserved = one.reserved.clone();
        let (number, one_time) =
            reserved.map_or((one.active, key()), |reserved| (reserved.number, reserved.one_time));
        Step::Activate { place, number, one_time, phone: key() }
    };
    let reinstate = || Step::Reinstate {
        place,
        number: one.active,
        phone: one.phone.clone().unwrap_or_else(key),
    };
    let issue = |world: &mut World, random: &mut StdRng| {
        // One in ten is an index that somebody had before.
        let used = world.next_index;
        let nth = if used > 0 && random.random_bool(0.1) {
            random.random_range(0..used)
        } else {
            world.next_index += 1;
            used
        };
        // All over the two chunks, each once.
        Step::Issue { place, index: (nth * 4_099 + 17) % INDEXES }
    };
    let revoke = |world: &World, random: &mut StdRng| {
        let indexes: Vec<u32> = world.believed.entries.keys().copied().collect();
        let nth = random.random_range(0..indexes.len().max(1));
        Step::Revoke { index: indexes.get(nth).copied().unwrap_or(5) }
    };
    let state = if random.random_bool(0.15) {
        [EnrollmentState::Unspecified, EnrollmentState::Active, EnrollmentState::Suspended]
            [random.random_range(0..3)]
    } else {
        one.state
    };
    let dice = random.random_range(0..100);
    match state {
        EnrollmentState::Suspended => match dice {
            0..60 => vec![reinstate()],
            60..80 => vec![Step::End { place }],
            _ => vec![reserve(true, false)],
        },
        EnrollmentState::Active => match dice {
            0..35 => vec![issue(world, random)],
            35..50 => vec![Step::Suspend { place }],
            50..60 => vec![Step::End { place }],
            60..70 => vec![revoke(world, random)],
            // A reissue: the old ends and the next is reserved at one height.
            70..80 => vec![Step::End { place }, reserve(false, false)],
            80..90 if one.reserved.is_some() => vec![activate()],
            _ => vec![reserve(true, !moved && dice >= 93)],
        },
        _ if one.reserved.is_some() && dice < 80 => vec![activate()],
        _ if dice < 90 => vec![reserve(false, false)],
        _ => vec![Step::End { place }],
    }
}

fn person(desk: &Desk, place: Place) -> Handle {
    // A second handle of a person is one of another secret; here another number stands for it.
    desk.person(1 + place.0 as u64 + if place.1 { 1_000 } else { 0 }).unwrap()
}

fn deed<'a>(desk: &'a Desk, step: &'a Step) -> Deed<'a> {
    let role = &desk.issuer;
    let of = |place: &Place| person(desk, *place);
    match step {
        Step::Reserve { place, number, one_time, replaces, moves } => {
            let mut change = Desk::reservation(*number, one_time);
            if let EnrollmentStep::Reserve { new_handle, .. } = &mut change {
                *new_handle = moves.then(|| person(desk, (place.0, true)));
            }
            let reason = if *replaces { Reason::DeviceChange } else { Reason::LostDevice };
            desk.enroll(role, of(place), &change, reason)
        }
        Step::Activate { place, number, one_time, phone } => {
            desk.activation(role, of(place), *number, one_time, phone)
        }
        Step::Issue { place, index } => {
            let entry = [(*index, Some(of(place)))];
            desk.set(role, EntryState::Valid, &entry, Reason::FirstIssue)
        }
        Step::Suspend { place } => {
            let change = EnrollmentStep::Suspend { number: 0 };
            desk.enroll(role, of(place), &change, Reason::Suspected)
        }
        Step::Reinstate { place, number, phone } => {
            let enrollment_key = phone.public().clone();
            let change = EnrollmentStep::Reinstate { number: *number, enrollment_key };
            desk.enroll(role, of(place), &change, Reason::Found)
                .map(|deed| Deed { holder: vec![phone], ..deed })
        }
        Step::End { place } => {
            let change = EnrollmentStep::End { number: 0, invalid_from_ms: 0 };
            desk.enroll(role, of(place), &change, Reason::LostDevice)
        }
        Step::Revoke { index } => {
            desk.set(role, EntryState::Invalid, &[(*index, None)], Reason::EndOfUse)
        }
    }
    .unwrap()
}

/// One desk: change after change, each to some validator.
async fn work(desk: Desk, world: Arc<Mutex<World>>, nth: u64) {
    let mut random = StdRng::seed_from_u64(SEED + nth);
    let genesis = desk.scene.genesis_hash;
    for turn in 0..MORE * TURNS {
        let steps = {
            let mut world = locked(&world);
            if turn >= TURNS && KINDS.iter().all(|kind| world.committed.contains_key(kind)) {
                break;
            }
            choose(&mut world, &mut random)
        };
        let transaction = {
            let deeds: Vec<Deed<'_>> = steps.iter().map(|step| deed(&desk, step)).collect();
            let submitter = if random.random() { &desk.scene.registrar } else { &desk.scene.rival };
            desk.transaction(submitter, &deeds).unwrap()
        };
        let id = transaction_id(&genesis, transaction.body.as_ref().unwrap());
        locked(&world).sent.insert(id, steps.clone());
        let node = random.random_range(0..desk.scene.nodes.len());
        let outcome = desk.scene.nodes.try_once(&genesis, &transaction, node).await.unwrap();
        let mut world = locked(&world);
        match outcome {
            Outcome::Committed(_) => {
                for step in &steps {
                    *world.committed.entry(step.name()).or_insert(0) += 1;
                    // Others may have told their news first: what is believed may be wrong.
                    let _unknown = world.believed.apply(step);
                }
            }
            Outcome::Refused(refusal) => {
                *world.refused.entry(refusal.code).or_insert(0) += 1;
            }
            Outcome::Open(_) => *world.refused.entry("open".to_owned()).or_insert(0) += 1,
        }
    }
}

/// Two desks at two validators change the device of one DID by the same version, again and again.
async fn rotate(desk: &Desk, reader: &Reader, rotated: &mut Rotated) -> (usize, usize) {
    let (scene, genesis) = (&desk.scene, desk.scene.genesis_hash);
    let (mut committed, mut refused) = (0, 0);
    for turn in 0..6 {
        let head = reader.resolve(&rotated.holder.did).await.unwrap().head;
        let devices = [new_device(Ed25519).unwrap(), new_device(Ed25519).unwrap()];
        let of = |device: &IdentityKey| {
            scene.set_device(&rotated.holder, &head, device, &[&rotated.device.secret]).unwrap()
        };
        let transactions = [of(&devices[0]), of(&devices[1])];
        let (one, other) = tokio::join!(
            scene.nodes.try_once(&genesis, &transactions[0], turn),
            scene.nodes.try_once(&genesis, &transactions[1], turn + 1),
        );
        let mut height = 0;
        for (outcome, device) in [one.unwrap(), other.unwrap()].into_iter().zip(devices) {
            match outcome {
                Outcome::Committed(at) => {
                    (committed, height) = (committed + 1, at.height);
                    rotated.device = device;
                }
                Outcome::Refused(refusal) => {
                    assert_eq!(refusal.code, "STALE_VERSION", "{refusal}");
                    refused += 1;
                }
                Outcome::Open(why) => panic!("{why}"),
            }
        }
        reader.wait_for(height).await.unwrap();
    }
    (committed, refused)
}

/// The ids of a block's transactions, in their order.
async fn ordered(desk: &Desk, height: u64) -> Vec<Hash> {
    let mut client = desk.scene.nodes.client(0).unwrap();
    let block = client.get_block(v1::GetBlockRequest { height }).await.unwrap().into_inner();
    let id = |one: &v1::PublicTransaction| Hash::from_slice(&one.transaction_id).unwrap();
    block.transactions.iter().map(id).collect()
}

fn readers(network: &Network) -> Vec<Reader> {
    network.devnet().nodes.iter().map(|node| network.reader(node)).collect()
}

#[test]
fn a15_a17_c8_whatever_desks_do_at_once_at_different_validators() {
    let (network, _alone) = network();
    block_on(async {
        let desk = desk(network).await;
        let readers = readers(network);
        let (holder, _) = network.holder(Ed25519).await;
        let mut rotated = Rotated { device: holder.keys[0].clone(), holder };
        let first = desk.scene.nodes.height(0).await.unwrap() + 1;
        let world = Arc::new(Mutex::new(World {
            believed: Model::default(),
            sent: BTreeMap::new(),
            next_index: 0,
            committed: BTreeMap::new(),
            refused: BTreeMap::new(),
        }));
        let workers: Vec<_> = (0..DESKS as u64)
            .map(|nth| tokio::spawn(work(desk.clone(), world.clone(), nth)))
            .collect();
        let (rotations, stale) = rotate(&desk, &readers[0], &mut rotated).await;
        for worker in workers {
            worker.await.unwrap();
        }
        // What is still open is ordered by then, or never.
        desk.scene.settle(0).await.unwrap();
        let last = desk.scene.nodes.height(0).await.unwrap();
        let world = Arc::into_inner(world).unwrap().into_inner().unwrap();
        console::note(format!(
            "heights {first} to {last}; committed {:?}; refused {:?}",
            world.committed, world.refused
        ));

        // The blocks told again, and at each height what a node proves of every entry that anybody named.
        let mut model = Model::default();
        let indexes: Vec<u32> =
            (0..world.next_index).map(|nth| (nth * 4_099 + 17) % INDEXES).chain([5]).collect();
        let mut before = vec![EntryState::Pending; indexes.len()];
        let (mut changed, mut told) = (0, 0);
        for height in first..=last {
            for id in ordered(&desk, height).await {
                let Some(steps) = world.sent.get(&id) else { continue };
                for step in steps {
                    let done = model.apply(step);
                    assert_eq!(done, Ok(()), "{} in {id} at height {height}", step.name());
                    told += 1;
                }
            }
            let reader = &readers[usize::try_from(height).unwrap() % readers.len()];
            reader.wait_for(height).await.unwrap();
            let answer =
                reader.client.chunks(&desk.list, &[0, 1], Moment::Height(height)).await.unwrap();
            let proved = answer.even_if_stale();
            for (before, index) in before.iter_mut().zip(&indexes) {
                let state = proved.entry(*index).unwrap().state;
                assert_eq!(state, model.state(*index), "entry {index} at height {height}");
                let was_final = matches!(before, EntryState::Invalid | EntryState::Superseded);
                assert!(!was_final || state == *before, "C8: entry {index} came back");
                changed += usize::from(state != *before);
                *before = state;
            }
        }
        let committed: usize = world.committed.values().sum();
        assert!(told >= committed, "every one that was acknowledged is in a block");

        // In the end, every enrollment at every node.
        let mut enrollments = 0;
        for reader in &readers {
            desk.entries(reader, &[0], last).await.unwrap();
            for (place, one) in &model.enrolled {
                if one.number == 0 {
                    continue;
                }
                let held = desk.enrollment(reader, &person(&desk, *place)).await.unwrap();
                assert_eq!((held.state(), held.number), (one.state, one.number), "{place:?}");
                assert_eq!(held.active_number, one.active, "{place:?}");
                assert_eq!(held.enrollment_key.as_ref(), one.phone.as_ref().map(SecretKey::public));
                let reserved = held.reservation.map(|one| one.one_time_key_id);
                let expected =
                    one.reserved.as_ref().map(|one| key_id(one.one_time.public()).to_vec());
                assert_eq!(reserved, expected, "{place:?}");
                let lives = |index: &u32| {
                    matches!(model.state(*index), EntryState::Valid | EntryState::Suspended)
                };
                let indexes = held.entries.iter().flat_map(|one| one.indexes.clone());
                let indexes: Vec<u32> = indexes.filter(lives).collect();
                let expected: Vec<u32> = model
                    .entries
                    .iter()
                    .filter(|(index, (_, of, _))| of == place && lives(index))
                    .map(|(index, _)| *index)
                    .collect();
                assert_eq!(indexes, expected, "{place:?}");
                enrollments += 1;
            }
        }
        // The device of the DID: one version after the other.
        let history = readers[1].history(&rotated.holder.did).await.unwrap();
        assert_eq!(history.len(), rotations + 1);
        assert_eq!((rotations, stale), (6, 6), "of two by one version one runs");
        for pair in history.windows(2) {
            assert_eq!(pair[0].previous, head_hash(&pair[1]).0);
        }
        console::note(format!(
            "{told} changes told again, {changed} changes of entries and {enrollments} enrollments proved"
        ));
        // Nothing of this was vacuous.
        for kind in KINDS {
            assert!(world.committed.contains_key(kind), "no {kind} went through");
        }
        assert!(!world.refused.is_empty() && changed > 20);
    });
}
