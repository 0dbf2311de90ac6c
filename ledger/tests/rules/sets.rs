//! Validator sets: which is in force when, what a client needs to follow them, and what a set that changes must keep
//! (PROTOCOL §6.2, §7.3).

use crate::motion::{Motion, admit, admit_with, all, join, observe, rekey, remove, replace};
use crate::story::{
    ACCEPTED, Draft, check, created, happened_in, meanwhile, outcome, refused, restore, take_away,
    together, update, wait,
};
use crate::support::{START_MS, STEP_MS, World, key, sign};
use sillok_ledger::light::{self, TrustedHeader};
use sillok_ledger::mutant::{self, Mutant};
use sillok_ledger::{AdmissionError, Tip, certificate, header_hash, precommit_string, proposers};
use sillok_proto::v1;
use std::collections::{BTreeMap, BTreeSet};

/// Who holds a seat, by name, in which set.
fn seats(world: &World, set: &v1::ValidatorSet) -> Vec<(String, u64)> {
    let mut seats: Vec<(String, u64)> = set
        .validators
        .iter()
        .map(|seat| {
            let name = world.names.iter().find(|(_, did)| did.0 == seat.organization[..]).unwrap();
            (name.0.clone(), seat.since_height)
        })
        .collect();
    seats.sort();
    seats
}

pub(crate) fn names(world: &World, set: &v1::ValidatorSet) -> Vec<String> {
    seats(world, set).into_iter().map(|(name, _)| name).collect()
}

/// PROTOCOL §6.2: set(h) is fixed before h executes, and header h + 1 announces set(h + 2).
#[test]
fn a_change_in_block_h_is_in_force_at_height_h_plus_2() {
    let mut world = happened_in(&admit("ministry").carried());
    let before = world.tip.validators.clone();
    let hash_of = |set: &v1::ValidatorSet| certificate::validator_set_hash(set).to_vec();
    world.run(&join("ministry", "validator")).unwrap();
    let height = world.tip.height();
    let header = world.tip.header.clone();
    let after = world.members().validators.unwrap();
    assert_eq!(after.validators.len(), 5);
    assert!(seats(&world, &after).contains(&("ministry".to_owned(), height + 2)));
    assert_eq!(header.validator_set_hash, hash_of(&before));
    assert_eq!(header.next_validator_set_hash, hash_of(&before));
    assert_eq!(world.tip.validators_at(height + 1), Some(&before));
    assert_eq!(world.tip.validators_at(height + 2), Some(&after));

    world.run(&wait(STEP_MS)).unwrap();
    assert_eq!(world.tip.header.validator_set_hash, hash_of(&before));
    assert_eq!(world.tip.header.next_validator_set_hash, hash_of(&after), "announced");

    // A block of height h + 2 is built by a member of the new set, and its header names it.
    world.working = vec!["ministry".to_owned()];
    world.run(&wait(STEP_MS)).unwrap();
    assert_eq!(world.tip.height(), height + 2);
    assert_eq!(world.tip.header.validator_set_hash, hash_of(&after));
    assert_eq!(world.tip.header.proposer, key("ministry/validator").point);
}

#[test]
fn changes_of_one_block_and_of_following_blocks_add_up() {
    let approved = all(&[admit("ministry").carried(), admit("carrier").carried()]);
    let mut world = happened_in(&approved);
    let removal = remove("operator-4");
    world.run(&removal.proposed_by("operator-1")).unwrap();
    // Two joins in one transaction, a re-key in another of the same block, a removal in the next block.
    let drafts = [
        together(&[join("ministry", "validator"), join("carrier", "validator")]),
        rekey("operator-3", "validator2"),
        together(&[removal.approved_by("operator-2"), removal.approved_by("operator-3")]),
    ];
    let transactions: Vec<v1::Transaction> =
        drafts[..2].iter().map(|draft| world.transaction(draft)).collect();
    let built = world.build(&transactions, world.next_time_ms(STEP_MS));
    assert_eq!(built.refused, vec![]);
    world.commit(&built);
    let height = world.tip.height();
    let six = built.outcome.validators.clone().unwrap();
    assert_eq!(six.validators.len(), 6);
    world.run(&drafts[2]).unwrap();
    assert_eq!(world.tip.validators, six);
    assert_eq!(removal.record(&world).unwrap().executed_height, 0, "three of six");
    for name in ["ministry", "carrier"] {
        world.run(&removal.approved_by(name)).unwrap();
    }
    assert_eq!(world.tip.height(), height + 3);
    assert_eq!(world.tip.validators, six);
    let five = names(&world, &world.tip.next_validators);
    assert_eq!(five, ["carrier", "ministry", "operator-1", "operator-2", "operator-3"]);
}

/// An outcome says which set it fixes only where the set changes.
#[test]
fn most_blocks_fix_the_set_that_was() {
    let mut world = World::new();
    for (draft, changes) in [
        (created("alice"), false),
        (admit("ministry").proposed_by("operator-1"), false),
        (admit("ministry").approved_by("operator-2"), false),
        (admit("ministry").approved_by("operator-3"), false),
        (join("ministry", "validator"), true),
        (update("alice"), false),
    ] {
        let transaction = world.transaction(&draft);
        let built = world.build(&[transaction], world.time_of(&draft));
        assert_eq!(built.outcome.validators.is_some(), changes);
        world.commit(&built);
    }
}

/// All that a client needs to follow a network: the light blocks at which the set changed, signed by the set in force.
struct Witness {
    keys: BTreeMap<Vec<u8>, String>,
    light_blocks: BTreeMap<u64, v1::LightBlock>,
}

impl Witness {
    fn new(names: &[&'static str]) -> Self {
        let mut keys = BTreeMap::new();
        for name in names {
            for number in ["", "2", "3"] {
                let validator = format!("{name}/validator{number}");
                keys.insert(key(&validator).point, validator);
            }
        }
        Self { keys, light_blocks: BTreeMap::new() }
    }

    /// Runs a story; every block is certified by the set that was in force before it.
    fn run(&mut self, world: &mut World, drafts: &[Draft]) {
        for draft in drafts {
            let set = world.tip.validators.clone();
            world.run(draft).unwrap();
            let header = world.tip.header.clone();
            assert_eq!(header.validator_set_hash, certificate::validator_set_hash(&set).to_vec());
            let signed_header = self.certify(world, &header, &set);
            let light_block = v1::LightBlock {
                signed_header: Some(signed_header),
                next_validators: Some(world.tip.validators.clone()),
            };
            self.light_blocks.insert(header.height, light_block);
        }
    }

    fn certify(
        &self,
        world: &World,
        header: &v1::Header,
        set: &v1::ValidatorSet,
    ) -> v1::SignedHeader {
        let header_hash = header_hash(header).to_vec();
        let statement =
            v1::VoteStatement { height: header.height, round: 0, header_hash: header_hash.clone() };
        let string = precommit_string(world.chain.hash(), &statement);
        let signatures = set
            .validators
            .iter()
            .enumerate()
            .map(|(index, seat)| v1::CommitSignature {
                validator: index as u32,
                signature: sign(&self.keys[&seat.public_key], &string).signature,
            })
            .collect();
        let certificate =
            v1::CommitCertificate { height: header.height, round: 0, header_hash, signatures };
        v1::SignedHeader { header: Some(header.clone()), certificate: Some(certificate) }
    }

    fn changes(&self, header: &v1::LightBlock) -> bool {
        let header = header.signed_header.as_ref().unwrap().header.as_ref().unwrap();
        header.validator_set_hash != header.next_validator_set_hash
    }

    fn bundle(&self) -> v1::TrustBundle {
        let last = *self.light_blocks.keys().next_back().unwrap();
        let light_blocks = self
            .light_blocks
            .iter()
            .filter(|(height, one)| **height == last || self.changes(one))
            .map(|(_, one)| one.clone())
            .collect();
        v1::TrustBundle { light_blocks }
    }

    fn follow(&self, world: &World) -> TrustedHeader {
        let chain = &world.chain;
        let validators = chain.validators().clone();
        let trusted =
            TrustedHeader::genesis(*chain.hash(), chain.genesis().time_ms, validators).unwrap();
        let period_ms = chain.parameters().trusting_period_ms;
        light::follow(chain.hash(), &trusted, &self.bundle(), world.tip.header.time_ms, period_ms)
            .unwrap()
    }
}

#[test]
fn all_validators_are_replaced_one_by_one_and_a_client_of_genesis_follows() {
    let mut world = World::new();
    let mut witness = Witness::new(&["operator-1", "operator-2", "operator-3", "operator-4"]);
    let names = ["operator-1", "operator-2", "operator-3", "operator-4"];
    for (nth, name) in names.into_iter().enumerate() {
        // Others propose; who has new keys signs with them.
        let motion = replace(name, "2");
        let by = |other: &'static str, draft: Draft| {
            let place = names.iter().position(|one| *one == other).unwrap();
            if place < nth { draft.by(&[&format!("{other}/governance2")]) } else { draft }
        };
        let others: Vec<&'static str> = names.into_iter().filter(|one| *one != name).collect();
        let mut drafts = vec![by(others[0], motion.proposed_by(others[0]))];
        drafts.extend(others[1..].iter().map(|other| by(other, motion.approved_by(other))));
        witness.run(&mut world, &drafts);
        assert_ne!(motion.record(&world).unwrap().executed_height, 0);
        witness.run(&mut world, &[join(name, "validator2")]);
        let trusted = witness.follow(&world);
        assert_eq!((trusted.height, trusted.header_hash), (world.tip.height(), world.tip.hash));
    }
    witness.run(&mut world, &[wait(STEP_MS), wait(STEP_MS), created("alice")]);
    let old: BTreeSet<&[u8]> =
        world.chain.validators().validators.iter().map(|one| one.public_key.as_slice()).collect();
    let set = &world.tip.validators;
    assert_eq!(set.validators.len(), 4);
    assert!(set.validators.iter().all(|one| !old.contains(one.public_key.as_slice())));
    let trusted = witness.follow(&world);
    assert_eq!(trusted.next_validators, *set);
    assert_eq!(witness.bundle().light_blocks.len(), 4 + 1);
    // Without one of the changes nobody follows.
    for left_out in 0..4 {
        let mut bundle = witness.bundle();
        bundle.light_blocks.remove(left_out);
        let validators = world.chain.validators().clone();
        let trusted = TrustedHeader::genesis(*world.chain.hash(), START_MS, validators).unwrap();
        let period_ms = world.chain.parameters().trusting_period_ms;
        let time_ms = world.tip.header.time_ms;
        light::follow(world.chain.hash(), &trusted, &bundle, time_ms, period_ms).unwrap_err();
    }
}

#[test]
fn other_operators_take_over_one_by_one() {
    let mut world = World::new();
    let new = ["ministry", "carrier", "registrar", "countersigner"];
    let old = ["operator-1", "operator-2", "operator-3", "operator-4"];
    let mut witness = Witness::new(&[new, old].concat());
    let mut seated: Vec<&'static str> = old.to_vec();
    for (joins, leaves) in new.into_iter().zip(old) {
        let motion = admit_with(joins, "", |one| one.archive = true);
        witness.run(&mut world, &motion.carried_by(&seated[..3]));
        witness.run(&mut world, &[join(joins, "validator")]);
        seated.push(joins);
        witness.run(&mut world, &remove(leaves).carried_by(&seated[1..]));
        seated.remove(0);
    }
    witness.run(&mut world, &[wait(STEP_MS), wait(STEP_MS)]);
    assert_eq!(
        names(&world, &world.tip.validators),
        ["carrier", "countersigner", "ministry", "registrar"]
    );
    assert_eq!(witness.follow(&world).header_hash, world.tip.hash);
    for name in old {
        assert_ne!(world.operator(name).unwrap().ended_height, 0);
    }
}

// -------------------------------------------------------------------------------------- quorum left

/// Blocks in which only these validators build, for so long that the others count as absent.
fn only_working(names: &'static [&'static str], blocks: u64) -> Vec<Draft> {
    let mut drafts = vec![meanwhile(|world| {
        world.working = names_of(names);
    })];
    drafts.extend((0..blocks).map(|_| wait(STEP_MS)));
    return drafts;

    fn names_of(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }
}

#[test]
fn a_change_leaves_a_quorum_that_is_not_absent() {
    let three = || only_working(&["operator-1", "operator-2", "operator-3"], 40);
    let last = |motion: &Motion| motion.approved_by("operator-3");
    // One of four is absent. Without one that works two of three would be left; without the absent one all are there.
    for (motion, expected) in [
        (remove("operator-2"), refused("NO_QUORUM_LEFT")),
        (remove("operator-4"), ACCEPTED),
        (replace("operator-2", "2"), ACCEPTED),
        (replace("operator-4", "2"), ACCEPTED),
        (admit("ministry"), ACCEPTED),
        (observe("new/node"), ACCEPTED),
    ] {
        let before = all(&[three(), motion.nearly_carried()]);
        let world = check(&before, last(&motion), expected);
        let absent =
            proposers::absent(&world.tip.validators, world.tip.height() + 1, &world.tip.recent);
        assert_eq!(absent.len(), 1);
    }
    // As long as it is not absent yet, everything goes.
    let two = remove("operator-2");
    let early =
        all(&[only_working(&["operator-1", "operator-2", "operator-3"], 20), two.nearly_carried()]);
    check(&early, last(&two), ACCEPTED);
    // The key that comes back under a new name is there.
    let rekeyed =
        all(&[three(), vec![rekey("operator-4", "validator2"), join("operator-4", "validator2")]]);
    let motion = remove("operator-2");
    check(&all(&[rekeyed, motion.nearly_carried()]), last(&motion), ACCEPTED);
    // A newcomer counts as there although it built nothing yet.
    let five = all(&[three(), admit("ministry").carried(), vec![join("ministry", "validator")]]);
    let mut world = happened_in(&five);
    let removal = remove("operator-2");
    for draft in removal.carried_by(&["operator-1", "operator-2", "operator-3"]) {
        world.run(&draft).unwrap();
    }
    assert_eq!(
        outcome(&mut world, &removal.approved_by("ministry")),
        ACCEPTED,
        "three of four are there"
    );
}

#[test]
fn a_join_too_leaves_a_quorum() {
    // Two of four build nothing: set(h) goes on, for they may vote, but no set may be made in which they are too many.
    let two = only_working(&["operator-1", "operator-2"], 60);
    let admitted = all(&[admit("ministry").carried(), two]);
    let mut world = check(&admitted, join("ministry", "validator"), refused("NO_QUORUM_LEFT"));
    // Removing the absent ones is the way out. One alone leaves two of three, which is too few.
    let one = remove("operator-4");
    for draft in one.nearly_carried() {
        world.run(&draft).unwrap();
    }
    assert_eq!(outcome(&mut world, &one.approved_by("operator-3")), refused("NO_QUORUM_LEFT"));
    // They build again, and it goes on.
    world.working.clear();
    for draft in only_working(&["operator-1", "operator-2", "operator-3"], 3) {
        world.run(&draft).unwrap();
    }
    assert_eq!(outcome(&mut world, &one.approved_by("operator-3")), ACCEPTED);
}

// ------------------------------------------------------------------------------------------- mutants

#[test]
fn the_mutants_do_what_they_say_and_without_them_nothing_does() {
    let admitted = happened_in(&admit("ministry").carried());
    let run = || {
        let mut world = admitted.clone();
        let transaction = world.transaction(&join("ministry", "validator"));
        let built = world.build(&[transaction], world.next_time_ms(STEP_MS));
        let mut tip: Tip = world.tip.clone();
        tip.advance(&built.outcome).unwrap();
        (tip.validators.validators.len(), tip.next_validators.validators.len())
    };
    assert_eq!(run(), (4, 5));
    assert_eq!(mutant::with(&[Mutant::MembershipOneHeightEarly], run), (5, 5));

    let replay = || -> Result<(), AdmissionError> {
        let mut world = happened_in(&[created("alice")]);
        let signed = take_away("alice").by(&["registrar/control"]).through("carrier");
        let first = world.transaction(&signed.authors_valid_for(200_000));
        let mut second = first.clone();
        second.body.as_mut().unwrap().valid_until_ms += 1;
        world.submit(&mut second, "carrier/submit");
        world.run_transaction(first, world.next_time_ms(STEP_MS))?;
        world.run(&restore("alice", "alice/2"))?;
        world.run_transaction(second, world.next_time_ms(STEP_MS))
    };
    assert_eq!(replay(), Err(AdmissionError::OperationAlreadyOrdered { operation: 0 }));
    assert_eq!(mutant::with(&[Mutant::ReplayNotChecked], replay), Ok(()));
}
