//! Files that are checked without a network, and every lie they can tell with the error that names it. No sockets: the
//! verifier is pure.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

#[path = "support/stapled.rs"]
mod stapled;

use proptest::prelude::*;
use sillok_client::identity::Identity;
use sillok_client::keys::{KeyAlgorithm, SecretKey};
use sillok_client::testing::MemoryNetwork;
use sillok_client::trust::read_trust;
use sillok_client::verify::staple::parts::join;
use sillok_client::verify::staple::{Claim, Proved, Staple, StapleError};
use sillok_client::verify::{Answer, Network, Policy, VerifyError};
use sillok_did_method::EntryState;
use sillok_ledger::certificate::{CertificateError, HeaderError};
use sillok_ledger::light::{LightError, TrustedHeader};
use sillok_ledger::proof::{EntryError, ProofError};
use sillok_ledger::{header_hash, precommit_string, validator_set_hash};
use sillok_proto::{Hash, v1};
use stapled::{CAPACITY, Registry, document, entries, file, right, trusted, whole};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

const START_MS: u64 = 1_795_251_600_000;
const HOUR_MS: u64 = 3_600_000;

/// Heights 1 to 3: a type, its list, three valid entries; 4: entry 5 is invalid.
struct World {
    network: MemoryNetwork,
    registry: Registry,
    /// The honest file of height 3, and of height 4.
    third: Staple,
    tip: Staple,
}

fn at_ms(height: u64) -> u64 {
    START_MS + height * 1_000
}

fn all(network: &MemoryNetwork, registry: &Registry) -> Staple {
    file(
        network,
        vec![
            document(network, &registry.ministry.did),
            entries(network, registry.list, &[0, 5, 8_192]),
            right(network, registry.may_issue()),
        ],
    )
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let (mut network, ministries) = MemoryNetwork::new("test", START_MS).unwrap();
        let mut height = 0;
        let registry = Registry::begin(&mut network, &ministries, || {
            height += 1;
            at_ms(height)
        });
        let third = all(&network, &registry);
        registry.set(&mut network, at_ms(4), EntryState::Invalid, &[5]);
        let tip = all(&network, &registry);
        World { network, registry, third, tip }
    })
}

impl World {
    fn network(&self) -> Network {
        Network::from(self.network.chain())
    }

    /// What a gate that has verified this height says an hour later, with a day's patience.
    fn check_from(&self, height: u64, staple: &Staple) -> Result<Answer<Vec<Proved>>, StapleError> {
        let policy = Policy { max_age_ms: 24 * HOUR_MS, ..Policy::at(at_ms(4) + HOUR_MS) };
        staple.verify(&self.network(), &trusted(&self.network, height), policy)
    }

    fn check(&self, staple: &Staple) -> Result<Answer<Vec<Proved>>, StapleError> {
        self.check_from(0, staple)
    }

    /// What is said of the honest file once something in it was changed.
    fn lie(&self, change: impl FnOnce(&mut Staple)) -> StapleError {
        let mut staple = self.tip.clone();
        change(&mut staple);
        // A liar writes files too, so the bytes are of the right form.
        let read = Staple::from_bytes(&staple.to_bytes().unwrap()).unwrap();
        assert_eq!(read, staple);
        self.check(&read).unwrap_err()
    }
}

fn said(answer: &Answer<Vec<Proved>>, indexes: &[u32]) -> Vec<EntryState> {
    let chunks = answer.even_if_stale().iter().find_map(|item| match item {
        Proved::Entries { chunks, .. } | Proved::List { chunks, .. } => Some(chunks),
        Proved::Document(_) | Proved::Right(_) => None,
    });
    let chunks = chunks.unwrap();
    indexes.iter().map(|index| chunks.entry(*index).unwrap().state).collect()
}

/// A11, A12, B5: document, status and right of one height, from the genesis and one file, an hour later, without a network.
#[test]
fn a11_a12_a_file_is_verified_from_the_genesis_alone() {
    use EntryState::{Invalid, Pending, Valid};
    let world = world();
    let bytes = world.tip.to_bytes().unwrap();
    let staple = Staple::from_bytes(&bytes).unwrap();
    assert_eq!(staple, world.tip);
    let answer = world.check(&staple).unwrap();
    assert_eq!((answer.height(), answer.age_ms()), (4, HOUR_MS));
    assert!(answer.fresh().is_ok(), "an hour is within a day");
    assert_eq!(said(&answer, &[0, 5, 6, 8_192]), [Valid, Invalid, Pending, Valid]);
    let [Proved::Document(resolution), Proved::Entries { .. }, Proved::Right(right)] =
        answer.even_if_stale().as_slice()
    else {
        panic!("another order");
    };
    let version = resolution.version.as_ref().unwrap();
    assert_eq!(version.document.as_ref(), Some(&world.registry.ministry.document()));
    assert!(right.holds());
    // A gate that has seen as much, or more than the file is of.
    for height in 0..=4 {
        assert_eq!(said(&world.check_from(height, &staple).unwrap(), &[5]), [Invalid]);
    }
    let before = world.check_from(4, &world.third).unwrap();
    assert!(!before.is_stale(), "age alone counts, whatever the gate has seen since");
    assert_eq!(said(&before, &[5]), [Valid]);
}

#[test]
fn a11_a_gate_keeps_a_whole_list() {
    use EntryState::{Invalid, Pending, Valid};
    let world = world();
    let list = world.registry.list;
    let staple = file(&world.network, vec![whole(&world.network, list)]);
    let read = Staple::from_bytes(&staple.to_bytes().unwrap()).unwrap();
    let answer = world.check(&read).unwrap();
    let last = CAPACITY - 1;
    assert_eq!(said(&answer, &[0, 5, 8_192, last]), [Valid, Invalid, Valid, Pending]);
    let [Proved::List { chunks, .. }] = answer.even_if_stale().as_slice() else { panic!() };
    let beyond = VerifyError::NoSuchEntry { capacity: CAPACITY };
    assert_eq!(chunks.entry(CAPACITY), Err(beyond));
    // Less than the whole, more than it, and what is no number of chunks.
    let cut = |keep: usize| {
        let mut staple = staple.clone();
        let Claim::List { leaves, .. } = &mut staple.items[0].claim else { panic!() };
        leaves.truncate(keep);
        world.check(&staple).unwrap_err()
    };
    let full = 1 + 17 * 5;
    assert_eq!(cut(full - 5), StapleError::NotWhole { item: 0 });
    assert_eq!(cut(full - 1), StapleError::NotWhole { item: 0 });
    assert_eq!(cut(1), StapleError::NotWhole { item: 0 });
    assert_eq!(cut(0), StapleError::NotWhole { item: 0 });
}

// --------------------------------------------------------------------------------------------- freshness

#[test]
fn b5_a_file_grows_stale_and_a_floor_refuses_older_ones() {
    let world = world();
    let verify = |now_ms, max_age_ms, min_height| {
        let policy = Policy { max_age_ms, min_height, ..Policy::at(now_ms) };
        world.tip.verify(&world.network(), &trusted(&world.network, 0), policy)
    };
    let day = 24 * HOUR_MS;
    assert!(!verify(at_ms(4) + day, day, 4).unwrap().is_stale());
    let stale = verify(at_ms(4) + day + 1, day, 0).unwrap();
    assert_eq!(stale.fresh().unwrap_err().age_ms, day + 1);
    let below = VerifyError::BelowMinHeight { height: 4, min_height: 5 };
    assert_eq!(verify(at_ms(4), day, 5).unwrap_err(), StapleError::Header(below));
    // From the future, and past the trusting period: no patience helps.
    let early = verify(START_MS - 60_000, day, 0).unwrap_err();
    assert!(matches!(
        early,
        StapleError::Header(VerifyError::Light(LightError::ClockBehind { .. }))
    ));
    let period_ms = world.network().trusting_period_ms;
    let late = verify(at_ms(4) + period_ms + 1, u64::MAX, 0).unwrap_err();
    assert!(matches!(late, StapleError::Header(VerifyError::Light(LightError::Expired { .. }))));
}

/// Trust in a header from before the trusted one ends like that in any other, though the trusted one is young.
#[test]
fn a_header_past_the_trusting_period_is_refused_under_a_young_trusted_one() {
    let world = world();
    let young =
        TrustedHeader { time_ms: START_MS + 31 * 24 * HOUR_MS, ..trusted(&world.network, 4) };
    let policy = Policy { max_age_ms: u64::MAX, ..Policy::at(young.time_ms) };
    let verdict = world.third.verify(&world.network(), &young, policy).unwrap_err();
    let expired = matches!(
        verdict,
        StapleError::Item { source: VerifyError::Light(LightError::Expired { .. }), .. }
    );
    assert!(expired, "{verdict:?}");
}

// -------------------------------------------------------------------------------------------------- lies

#[test]
fn mixed_files_are_refused_however_they_are_labeled() {
    let world = world();
    let third = world.third.items[1].clone();
    // Entry 5 as it was before it was revoked, beside the newest header.
    let mixed = world.lie(|staple| staple.items[1] = third.clone());
    assert_eq!(mixed, StapleError::Mixed { item: 1, height: 3, header: 4 });
    let relabeled = world.lie(|staple| staple.items[1].claim = third.claim);
    let forged = matches!(
        &relabeled,
        StapleError::Item {
            item: 1,
            source: VerifyError::Proof(ProofError::Entry {
                source: EntryError::WrongRoot { .. },
                ..
            })
        }
    );
    assert!(forged, "{relabeled:?}");
    // The header of one and the certificate of another.
    let certificate = world.third.signed_header.certificate.clone();
    let swapped = world.lie(|staple| staple.signed_header.certificate = certificate);
    let named = matches!(
        swapped,
        StapleError::Header(VerifyError::Light(LightError::Certificate {
            source: CertificateError::WrongHeight { .. },
            ..
        }))
    );
    assert!(named, "{swapped:?}");
}

#[test]
fn forged_values_headers_signatures_and_documents_are_refused() {
    let world = world();
    fn leaves(staple: &mut Staple) -> &mut Vec<v1::StateEntry> {
        match &mut staple.items[1].claim {
            Claim::Entries { leaves, .. } => leaves,
            _ => panic!("another item"),
        }
    }
    let root = |error: &StapleError| {
        matches!(
            error,
            StapleError::Item {
                source: VerifyError::Proof(ProofError::Entry {
                    source: EntryError::WrongRoot { .. },
                    ..
                }),
                ..
            }
        )
    };
    // Entry 5 is in the high half of byte 2 of the states.
    let valid_again = world.lie(|staple| {
        let value = &mut leaves(staple)[1].value;
        let from = value.len() - 4_096;
        value[from + 2] &= 0x0f;
    });
    assert!(root(&valid_again), "{valid_again:?}");
    let absent = world.lie(|staple| {
        let leaf = &mut leaves(staple)[1];
        (leaf.present, leaf.value) = (false, Vec::new());
    });
    assert!(root(&absent), "{absent:?}");
    let source = |source| StapleError::Item { item: 1, source };
    let withheld = world.lie(|staple| drop(leaves(staple).remove(1)));
    assert_eq!(withheld, source(VerifyError::LeafWithheld { position: 1 }));
    let swapped = world.lie(|staple| leaves(staple).swap(1, 2));
    assert_eq!(swapped, source(VerifyError::WrongLeaf { position: 1 }));
    let more = world.lie(|staple| {
        let list = document(&world.network, &world.registry.ministry.did);
        let Claim::Document { answer, .. } = list else { panic!() };
        leaves(staple).extend(answer.proof.unwrap().entries);
    });
    assert_eq!(more, source(VerifyError::LeafUnasked { position: 11 }));
    // Another list's name on the same leaves.
    let renamed = world.lie(|staple| {
        let Claim::Entries { list, .. } = &mut staple.items[1].claim else { panic!() };
        *list = Hash([9; 32]);
    });
    assert_eq!(renamed, source(VerifyError::LeafWithheld { position: 0 }));
    let forged_document = world.lie(|staple| {
        let Claim::Document { answer, .. } = &mut staple.items[0].claim else { panic!() };
        answer.document = Some(v1::DidDocument::default());
    });
    let forged = matches!(
        forged_document,
        StapleError::Item { item: 0, source: VerifyError::ForgedDocument { .. } }
    );
    assert!(forged, "{forged_document:?}");
    let header = world.lie(|staple| {
        staple.signed_header.header.as_mut().unwrap().state_root = vec![7; 32];
    });
    let named = matches!(
        header,
        StapleError::Header(VerifyError::Light(LightError::Certificate {
            source: CertificateError::WrongHeader { .. },
            ..
        }))
    );
    assert!(named, "{header:?}");
    let thin = world.lie(|staple| {
        staple.signed_header.certificate.as_mut().unwrap().signatures.truncate(2);
    });
    let thin_named =
        matches!(thin, StapleError::Header(VerifyError::Light(LightError::Certificate { .. })));
    assert!(thin_named, "{thin:?}");
    let right = world.lie(|staple| {
        let Claim::Right { right, .. } = &mut staple.items[2].claim else { panic!() };
        right.action = v1::Action::Revoke;
    });
    assert!(matches!(right, StapleError::Item { item: 2, .. }), "{right:?}");
}

#[test]
fn another_network_is_refused_under_its_own_name_and_under_ours() {
    let world = world();
    let (mut other, _) = MemoryNetwork::new("test", START_MS).unwrap();
    other.commit(at_ms(1), &[]).unwrap();
    let own = Identity::organization("test", KeyAlgorithm::Ed25519, false, None, None).unwrap();
    let foreign = file(&other, vec![document(&other, &own.did)]);
    let (found, expected) = (*other.chain().hash(), *world.network.chain().hash());
    assert_eq!(world.check(&foreign).unwrap_err(), StapleError::WrongNetwork { found, expected });
    let renamed = Staple { genesis_hash: expected, ..foreign };
    let verdict = world.check(&renamed).unwrap_err();
    let named = matches!(
        verdict,
        StapleError::Header(VerifyError::Light(LightError::Certificate {
            source: CertificateError::Header(HeaderError::WrongNetwork { .. }),
            ..
        }))
    );
    assert!(named, "{verdict:?}");
}

#[test]
fn what_is_not_there_is_not_stapled_and_an_empty_file_is_none() {
    let world = world();
    let nobody = Identity::organization("test", KeyAlgorithm::Ed25519, false, None, None).unwrap();
    let absence = file(&world.network, vec![document(&world.network, &nobody.did)]);
    assert_eq!(world.check(&absence).unwrap_err(), StapleError::Absence { item: 0 });
    assert_eq!(world.lie(|staple| staple.items.clear()), StapleError::Empty);
    let no_list = file(&world.network, vec![entries(&world.network, Hash([9; 32]), &[0])]);
    let source = VerifyError::NoSuchList;
    assert_eq!(world.check(&no_list).unwrap_err(), StapleError::Item { item: 0, source });
}

#[test]
fn two_certified_headers_of_one_height_are_a_fork_and_both_are_kept() {
    let world = world();
    let mut header = world.tip.signed_header.header.clone().unwrap();
    header.transactions_root = vec![7; 32];
    let other = world.network.certify(&header).unwrap();
    let staple = Staple { signed_header: other.clone(), ..world.tip.clone() };
    let verdict = world.check_from(4, &staple).unwrap_err();
    let StapleError::Header(VerifyError::Light(LightError::Fork(fork))) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!((fork.height, &fork.other), (4, &other));
    assert_eq!(fork.trusted.as_ref(), world.network.signed_header(4));
}

// ------------------------------------------------------------------------------------ changes of the set

/// A branch after height 4 on which other keys take over at height 6, and the file at height 7 that they certify.
struct Changed {
    light_block: v1::LightBlock,
    staple: Staple,
}

fn set_of(keys: &[SecretKey]) -> v1::ValidatorSet {
    let mut validators: Vec<v1::Validator> = keys
        .iter()
        .map(|key| v1::Validator {
            public_key: key.public().point.clone(),
            organization: vec![9; 32],
            since_height: 6,
        })
        .collect();
    validators.sort_by(|a, b| a.public_key.cmp(&b.public_key));
    for (number, validator) in (1..).zip(&mut validators) {
        validator.organization = vec![number; 32];
    }
    v1::ValidatorSet { validators }
}

fn sign(world: &World, header: &v1::Header, keys: &[SecretKey]) -> v1::SignedHeader {
    let hash = header_hash(header);
    let statement =
        v1::VoteStatement { height: header.height, round: 0, header_hash: hash.to_vec() };
    let string = precommit_string(world.network.chain().hash(), &statement);
    let mut keys: Vec<&SecretKey> = keys.iter().collect();
    keys.sort_by(|a, b| a.public().point.cmp(&b.public().point));
    let signatures = (0..)
        .zip(keys)
        .map(|(validator, key)| v1::CommitSignature {
            validator,
            signature: key.sign(&string).unwrap().to_vec(),
        })
        .collect();
    let header_hash = hash.to_vec();
    let certificate =
        v1::CommitCertificate { height: header.height, round: 0, header_hash, signatures };
    v1::SignedHeader { header: Some(header.clone()), certificate: Some(certificate) }
}

fn changed(world: &World) -> Changed {
    let keys: Vec<SecretKey> =
        (0..4).map(|_| SecretKey::generate(KeyAlgorithm::Ed25519).unwrap()).collect();
    let set = set_of(&keys);
    let now = world.tip.signed_header.header.clone().unwrap();
    let fifth = v1::Header {
        height: 5,
        time_ms: at_ms(5),
        parent_hash: header_hash(&now).to_vec(),
        next_validator_set_hash: validator_set_hash(&set).to_vec(),
        ..now.clone()
    };
    // The state is that of height 4: nothing was written since.
    let seventh = v1::Header {
        height: 7,
        time_ms: at_ms(7),
        parent_hash: vec![3; 32],
        validator_set_hash: validator_set_hash(&set).to_vec(),
        next_validator_set_hash: validator_set_hash(&set).to_vec(),
        ..now
    };
    let light_block = v1::LightBlock {
        signed_header: Some(world.network.certify(&fifth).unwrap()),
        next_validators: Some(set),
    };
    let mut staple = world.tip.clone();
    staple.signed_header = sign(world, &seventh, &keys);
    for item in &mut staple.items {
        item.height = 7;
    }
    Changed { light_block, staple }
}

#[test]
fn changes_of_validators_in_the_file_are_followed_and_no_others_are_believed() {
    let world = world();
    let Changed { light_block, staple } = changed(world);
    let other_set = |verdict: &StapleError| {
        matches!(
            verdict,
            StapleError::Header(VerifyError::Light(LightError::WrongValidatorSet { .. }))
        )
    };
    let verdict = world.check(&staple).unwrap_err();
    assert!(other_set(&verdict), "{verdict:?}");
    let with = Staple { light_blocks: vec![light_block.clone()], ..staple.clone() };
    let read = Staple::from_bytes(&with.to_bytes().unwrap()).unwrap();
    for height in 0..=4 {
        assert_eq!(world.check_from(height, &read).unwrap().height(), 7, "from {height}");
    }
    // A light block that the set in force did not sign.
    let mut thin = light_block.clone();
    thin.signed_header.as_mut().unwrap().certificate.as_mut().unwrap().signatures.truncate(2);
    let verdict = world.check(&Staple { light_blocks: vec![thin], ..staple.clone() }).unwrap_err();
    assert!(
        matches!(verdict, StapleError::Header(VerifyError::Light(LightError::Certificate { .. }))),
        "{verdict:?}"
    );
    let mut other_next = light_block.clone();
    other_next.next_validators = Some(world.network.chain().validators().clone());
    let verdict = world.check(&Staple { light_blocks: vec![other_next], ..staple }).unwrap_err();
    assert!(
        matches!(
            verdict,
            StapleError::Header(VerifyError::Light(LightError::NextValidators { height: 5 }))
        ),
        "{verdict:?}"
    );
    // The way leads past the header.
    let after = Staple { light_blocks: vec![light_block], ..world.tip.clone() };
    let verdict = world.check_from(0, &after).unwrap_err();
    assert_eq!(verdict, StapleError::LightBlockAfter { height: 5, header: 4 });
}

/// What a replaced set certified is no proof any more, however young: its keys may have been sold.
#[test]
fn a_file_of_validators_that_were_replaced_is_refused() {
    let world = world();
    let Changed { light_block, .. } = changed(world);
    let set = light_block.next_validators.unwrap();
    let signed = light_block.signed_header.unwrap();
    let header = signed.header.clone().unwrap();
    let gate = TrustedHeader {
        height: 5,
        header_hash: header_hash(&header),
        time_ms: header.time_ms,
        next_validators: set,
        ..trusted(&world.network, 4)
    };
    let policy = Policy { max_age_ms: 24 * HOUR_MS, ..Policy::at(at_ms(6)) };
    let verdict = world.tip.verify(&world.network(), &gate, policy).unwrap_err();
    assert_eq!(verdict, StapleError::Header(VerifyError::PastValidators { height: 4 }));
}

// ------------------------------------------------------------------------------------------------ golden

/// What authors of other clients check theirs with. The keys that certified it are gone: nobody can make another.
#[test]
fn the_golden_file_proves_what_is_written_beside_it() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors/staple");
    let bytes = fs::read(directory.join("credential.staple")).unwrap();
    let expected: serde_json::Value =
        serde_json::from_slice(&fs::read(directory.join("expected.json")).unwrap()).unwrap();
    let number = |name: &str| expected[name].as_u64().unwrap();
    let (network, trusted) = read_trust(&directory.join("checkpoint.json")).unwrap();
    let policy = Policy { max_age_ms: number("max_age_ms"), ..Policy::at(number("now_ms")) };
    let staple = Staple::from_bytes(&bytes).unwrap();
    let answer = staple.verify(&network, &trusted, policy).unwrap();
    assert_eq!((answer.height(), answer.age_ms()), (number("height"), number("age_ms")));
    assert_eq!(answer.header().hash().to_string(), expected["header_hash"]);
    let [Proved::Document(resolution), Proved::Entries { list, chunks, .. }, Proved::Right(right)] =
        answer.fresh().unwrap().as_slice()
    else {
        panic!("another order");
    };
    assert_eq!(resolution.to_json(), expected["resolution"]);
    for entry in expected["entries"].as_array().unwrap() {
        assert_eq!(list.to_string(), entry["list"]);
        let index = u32::try_from(entry["index"].as_u64().unwrap()).unwrap();
        let state = chunks.entry(index).unwrap().state as u8;
        assert_eq!(u64::from(state), entry["state"].as_u64().unwrap(), "entry {index}");
    }
    let asked = &expected["right"];
    assert_eq!(right.right.organization.to_string(), asked["organization"]);
    assert_eq!(right.right.resource.unwrap().to_string(), asked["resource"]);
    assert_eq!(right.holds(), asked["holds"]);
    // The same content is written again; how well it is deflated may differ.
    assert_eq!(content_of(&staple.to_bytes().unwrap()), content_of(&bytes));
    let part =
        |number: usize| fs::read_to_string(directory.join(format!("credential.staple.{number}")));
    let parts: Vec<String> = (1..).map_while(|number| part(number).ok()).collect();
    assert!(parts.len() > 1);
    assert_eq!(join(&parts).unwrap(), bytes);
}

// ------------------------------------------------------------------------------------------------- bytes

#[test]
fn a_file_that_is_cut_off_or_is_something_else_says_so() {
    let bytes = world().tip.to_bytes().unwrap();
    for len in 1..bytes.len() {
        let error = Staple::from_bytes(&bytes[..len]).unwrap_err();
        assert_eq!(error, StapleError::Truncated, "cut at {len} of {}", bytes.len());
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(Staple::from_bytes(&longer), Err(StapleError::Malformed { what: "the end" }));
    for other in [&b"{\"did\":1}"[..], b"\x83\x61x\x01\x40", b"\xa0", b"SILLOK1:6BF", b"\x82\x01"] {
        assert_eq!(Staple::from_bytes(other), Err(StapleError::NotAStaple), "{other:?}");
    }
    // ["sillok-staple", 2, …]
    let mut later = bytes;
    later[15] = 2;
    assert_eq!(Staple::from_bytes(&later), Err(StapleError::Version { version: 2 }));
}

/// A kilobyte that inflates to gigabytes ends at the bound.
#[test]
fn a_bomb_is_refused_at_its_bound() {
    let zeros = vec![0; 40 * 1024 * 1024];
    let deflated = miniz_oxide::deflate::compress_to_vec(&zeros, 6);
    let mut writer = minicbor::Encoder::new(Vec::new());
    writer.array(3).unwrap().str("sillok-staple").unwrap().u8(1).unwrap();
    writer.bytes(&deflated).unwrap();
    let max = sillok_client::verify::staple::CONTENT_BYTES_MAX;
    let bomb = writer.into_writer();
    assert!(bomb.len() < 64 * 1024);
    let verdict = Staple::from_bytes(&bomb);
    assert_eq!(verdict, Err(StapleError::TooLong { what: "the content", max }));
}

/// The frame around content of somebody's own making.
fn framed(content: &[u8]) -> Vec<u8> {
    let deflated = miniz_oxide::deflate::compress_to_vec(content, 6);
    let mut writer = minicbor::Encoder::new(Vec::new());
    writer.array(3).unwrap().str("sillok-staple").unwrap().u8(1).unwrap();
    writer.bytes(&deflated).unwrap();
    writer.into_writer()
}

fn content_of(file: &[u8]) -> Vec<u8> {
    let mut decoder = minicbor::Decoder::new(file);
    decoder.array().unwrap();
    decoder.str().unwrap();
    decoder.u8().unwrap();
    miniz_oxide::inflate::decompress_to_vec(decoder.bytes().unwrap()).unwrap()
}

#[test]
fn every_length_is_bounded_before_anything_is_made_of_it() {
    // [genesis hash, header, then an array or a byte string that claims 2^62 parts]
    let begin = |writer: &mut minicbor::Encoder<Vec<u8>>| {
        writer.array(4).unwrap().bytes(&[1; 32]).unwrap().bytes(&[]).unwrap();
    };
    for (light_blocks, items, expected) in [
        (1 << 62, 0, StapleError::TooMany { what: "light blocks", max: 1_000 }),
        (0, 1 << 62, StapleError::TooMany { what: "items", max: 64 }),
        (0, 65, StapleError::TooMany { what: "items", max: 64 }),
        (0, 64, StapleError::Truncated),
    ] {
        let mut writer = minicbor::Encoder::new(Vec::new());
        begin(&mut writer);
        writer.array(light_blocks).unwrap();
        writer.array(items).unwrap();
        assert_eq!(Staple::from_bytes(&framed(&writer.into_writer())), Err(expected));
    }
    let item = |write: &dyn Fn(&mut minicbor::Encoder<Vec<u8>>)| {
        let mut writer = minicbor::Encoder::new(Vec::new());
        begin(&mut writer);
        writer.array(0).unwrap().array(1).unwrap();
        write(&mut writer);
        Staple::from_bytes(&framed(&writer.into_writer())).unwrap_err()
    };
    let indexes = |count: u64, step: u32| {
        item(&|writer| {
            writer.array(5).unwrap().u8(1).unwrap().u64(4).unwrap().bytes(&[1; 32]).unwrap();
            writer.array(count).unwrap();
            for index in 0..u32::try_from(count.min(70)).unwrap() {
                writer.u32(index * step).unwrap();
            }
            writer.bytes(&[]).unwrap();
        })
    };
    assert_eq!(indexes(65, 1), StapleError::TooMany { what: "indexes", max: 64 });
    let wrong = StapleError::Malformed { what: "the indexes" };
    assert_eq!(indexes(0, 1), wrong, "none");
    assert_eq!(indexes(2, 0), wrong, "one twice");
    assert_eq!(indexes(17, 8_192), wrong, "of more chunks than one question takes");
    let did = item(&|writer| {
        writer.array(4).unwrap().u8(0).unwrap().u64(4).unwrap();
        writer.str(&"d".repeat(300)).unwrap().bytes(&[]).unwrap();
    });
    assert_eq!(did, StapleError::TooLong { what: "a did", max: 256 });
    for (kind, len) in [(4_u8, 4_u64), (0, 5), (1, 4), (2, 5), (3, 4)] {
        let unknown = item(&|writer| {
            writer.array(len).unwrap().u8(kind).unwrap().u64(4).unwrap();
        });
        assert_eq!(unknown, StapleError::Malformed { what: "an item" }, "{kind} of {len}");
    }
    // An array without a length, which CBOR allows.
    let endless = item(&|writer| {
        writer.begin_array().unwrap();
    });
    assert_eq!(endless, StapleError::Malformed { what: "an item" });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever byte of the content is changed: it is refused, or what it proves is the same.
    #[test]
    fn a_changed_byte_proves_nothing_new(place in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let world = world();
        let honest = world.check(&world.tip).unwrap();
        let mut content = content_of(&world.tip.to_bytes().unwrap());
        let place = place.index(content.len());
        content[place] ^= 1 << bit;
        if let Ok(staple) = Staple::from_bytes(&framed(&content))
            && let Ok(answer) = world.check(&staple)
        {
            // A certificate needs three of four signatures, and all that there are must hold.
            prop_assert_eq!(answer.even_if_stale().len(), honest.even_if_stale().len());
            for (one, other) in answer.even_if_stale().iter().zip(honest.even_if_stale()) {
                let same_question = match (one, other) {
                    (Proved::Entries { indexes: a, .. }, Proved::Entries { indexes: b, .. }) => a == b,
                    _ => true,
                };
                prop_assert!(!same_question || one == other, "byte {place}");
            }
        }
    }

    #[test]
    fn no_bytes_stop_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Staple::from_bytes(&bytes).is_err());
        let _ = Staple::from_bytes(&framed(&bytes));
    }

    /// Random content inside of a good frame, with the first words right, so that it comes far.
    #[test]
    fn a_file_that_is_read_is_written_the_same(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut content = content_of(&world().tip.to_bytes().unwrap());
        let at = at.index(content.len());
        content[at] = byte;
        if let Ok(staple) = Staple::from_bytes(&framed(&content)) {
            let again = Staple::from_bytes(&staple.to_bytes().unwrap()).unwrap();
            prop_assert_eq!(again, staple);
        }
    }
}
