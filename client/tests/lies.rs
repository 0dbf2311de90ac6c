//! Every kind of lie a node can tell about a DID, and the error that names it. No sockets: the verifier is pure.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use sillok_client::identity::Identity;
use sillok_client::keys::{KeyAlgorithm, SecretKey};
use sillok_client::testing::{MemoryNetwork, Ministries};
use sillok_client::transaction::{OperationDraft, Terms, TransactionBuilder};
use sillok_client::verify::{Asked, Policy, Verifier, VerifyError};
use sillok_did_method::{Did, SUBMIT};
use sillok_ledger::certificate::{CertificateError, HeaderError};
use sillok_ledger::light::{LightError, TrustedHeader};
use sillok_ledger::proof::{EntryError, ProofError};
use sillok_ledger::{header_hash, validator_set_hash};
use sillok_proto::{Hash, v1};

const START_MS: u64 = 1_795_251_600_000;

/// A network with a holder of three versions (heights 1, 2, 4) and another holder (height 3).
struct World {
    network: MemoryNetwork,
    ministries: Ministries,
    holder: Identity,
    other: Identity,
    create_id: Hash,
}

fn submit(world: &mut World, seconds: u64, draft: OperationDraft, signers: &[&SecretKey]) -> Hash {
    let time_ms = START_MS + seconds * 1000;
    let registrar = &world.ministries.registrar;
    let genesis_hash = *world.network.chain().hash();
    let mut partly = TransactionBuilder::new(genesis_hash, &registrar.did, time_ms + 60_000)
        .push(draft, Terms::NAMED)
        .freeze();
    for signer in signers {
        partly.sign(0, signer).unwrap();
    }
    let id = partly.id();
    let transaction = partly.submit(registrar.newest_secret(SUBMIT).unwrap()).unwrap();
    world.network.commit(time_ms, &[transaction]).unwrap();
    id
}

fn rotate(world: &mut World, seconds: u64) {
    let old = world.holder.keys.last().unwrap().secret.clone();
    let mut new = world.holder.keys[0].clone();
    new.secret = SecretKey::generate(KeyAlgorithm::P256).unwrap();
    let document = sillok_client::identity::document_of(vec![new.bound()], Vec::new());
    let did = world.holder.did.clone();
    let previous = world.network.head_hash(&did).unwrap();
    let draft = OperationDraft::set_device(&did, &previous, document);
    submit(world, seconds, draft, &[&old, &new.secret]);
    world.holder.keys.push(new);
}

fn world() -> World {
    let (network, ministries) = MemoryNetwork::new("test", START_MS).unwrap();
    let holder = |algorithm| {
        let authority = ministries.registrar.did.clone();
        Identity::holder("test", algorithm, false, authority, None).unwrap()
    };
    let (holder, other) = (holder(KeyAlgorithm::Ed25519), holder(KeyAlgorithm::Ed25519));
    let mut world = World { network, ministries, holder, other, create_id: Hash::default() };
    let (holder, other) = (world.holder.clone(), world.other.clone());
    let key = &holder.keys[0].secret;
    world.create_id = submit(&mut world, 1, OperationDraft::create(&holder).unwrap(), &[key]);
    rotate(&mut world, 2);
    let key = &other.keys[0].secret;
    submit(&mut world, 3, OperationDraft::create(&other).unwrap(), &[key]);
    rotate(&mut world, 4);
    world
}

impl World {
    fn genesis(&self) -> TrustedHeader {
        let chain = self.network.chain();
        TrustedHeader::genesis(*chain.hash(), START_MS, chain.validators().clone()).unwrap()
    }

    /// A client that has verified this height.
    fn trusted(&self, height: u64) -> TrustedHeader {
        let signed = self.network.signed_header(height).unwrap().clone();
        let header = signed.header.clone().unwrap();
        TrustedHeader {
            height,
            header_hash: header_hash(&header),
            time_ms: header.time_ms,
            signed_header: Some(signed),
            validators: Some(self.network.chain().validators().clone()),
            ..self.genesis()
        }
    }

    fn answer(&self) -> v1::ResolveResponse {
        self.network.resolve_at(&self.holder.did, None, 4).unwrap()
    }

    /// The verdict on `answer` about the current version, by a client that has verified height 3.
    fn check(&self, answer: &v1::ResolveResponse) -> Result<(), VerifyError> {
        self.check_asked(Asked::Current, answer)
    }

    fn check_asked(&self, asked: Asked, answer: &v1::ResolveResponse) -> Result<(), VerifyError> {
        let (chain, trusted) = (self.network.chain(), self.trusted(3));
        let policy = Policy::at(START_MS + 5_000);
        let verifier = Verifier::new(chain, &trusted, policy);
        verifier.resolution(&self.holder.did, asked, answer).map(|_| ())
    }

    fn check_history(&self, answer: &v1::HistoryResponse) -> Result<(), VerifyError> {
        let (chain, trusted) = (self.network.chain(), self.trusted(3));
        let policy = Policy::at(START_MS + 5_000);
        let verifier = Verifier::new(chain, &trusted, policy);
        verifier.history(&self.holder.did, answer).map(|_| ())
    }
}

#[test]
fn a12_the_truth_is_verified_from_genesis_and_proofs_alone() {
    let world = world();
    let (chain, trusted) = (world.network.chain(), world.genesis());
    let verifier = Verifier::new(chain, &trusted, Policy::at(START_MS + 5_000));
    let answer = verifier.resolution(&world.holder.did, Asked::Current, &world.answer()).unwrap();
    let resolution = answer.fresh().unwrap();
    let version = resolution.version.as_ref().unwrap();
    assert_eq!((answer.height(), version.head.version, answer.age_ms()), (4, 3, 1_000));
    let document = sillok_client::identity::document_of(
        vec![world.holder.keys.last().unwrap().bound()],
        Vec::new(),
    );
    assert_eq!(version.document.as_ref(), Some(&document));
    let json = resolution.to_json();
    assert_eq!(json["didDocument"]["id"], world.holder.did.to_string());
    assert_eq!(json["didDocumentMetadata"]["versionId"], "3");

    let history =
        verifier.history(&world.holder.did, &world.network.history(&world.holder.did).unwrap());
    let history = history.unwrap();
    let versions: Vec<u64> =
        history.fresh().unwrap().versions.iter().map(|(head, _)| head.version).collect();
    assert_eq!(versions, [3, 2, 1]);
}

#[test]
fn an_earlier_version_is_verified_by_the_chain_of_heads() {
    let world = world();
    for version in 1..=3 {
        let answer = world.network.resolve_at(&world.holder.did, Some(version), 4).unwrap();
        assert_eq!(world.check_asked(Asked::Version(version), &answer), Ok(()));
        let wrong = Asked::Version(version % 3 + 1);
        assert_eq!(
            world.check_asked(wrong, &answer),
            Err(VerifyError::NotTheVersionAsked { version })
        );
    }
    let second = world.network.resolve_at(&world.holder.did, Some(2), 4).unwrap();
    for (seconds, expected) in [(2, false), (3, true), (4, true), (5, false)] {
        let asked = Asked::Before(START_MS + seconds * 1000);
        assert_eq!(world.check_asked(asked, &second).is_ok(), expected, "before {seconds} s");
    }
}

#[test]
fn absence_is_verified() {
    let world = world();
    let authority = world.ministries.registrar.did.clone();
    let nobody = Identity::holder("test", KeyAlgorithm::P256, false, authority, None).unwrap().did;
    let answer = world.network.resolve_at(&nobody, None, 4).unwrap();
    let (chain, trusted) = (world.network.chain(), world.genesis());
    let verifier = Verifier::new(chain, &trusted, Policy::at(START_MS + 5_000));
    let answer = verifier.resolution(&nobody, Asked::Current, &answer).unwrap();
    assert_eq!(answer.fresh().unwrap().version, None);
}

#[test]
fn a_forged_document_is_refused() {
    let world = world();
    let mut answer = world.answer();
    let thief = SecretKey::generate(KeyAlgorithm::Ed25519).unwrap();
    answer.document.as_mut().unwrap().keys[0].key = Some(thief.public().clone());
    assert!(matches!(world.check(&answer), Err(VerifyError::ForgedDocument { version: 3, .. })));
}

#[test]
fn a_withheld_document_is_refused() {
    let world = world();
    let mut answer = world.answer();
    answer.document = None;
    assert_eq!(world.check(&answer), Err(VerifyError::DocumentMissing { version: 3 }));
}

#[test]
fn an_old_version_as_the_current_one_is_refused() {
    let world = world();
    let old = world.network.resolve_at(&world.holder.did, Some(2), 4).unwrap();
    // With all its heads it is not what was asked for; without them it is not what is proved.
    assert_eq!(world.check(&old), Err(VerifyError::NotTheVersionAsked { version: 2 }));
    let mut alone = old;
    alone.heads.truncate(1);
    assert_eq!(world.check(&alone), Err(VerifyError::NotTheProvedHead));
}

#[test]
fn d8_an_old_state_below_the_verified_height_is_refused() {
    let world = world();
    let old = world.network.resolve_at(&world.holder.did, None, 2).unwrap();
    assert_eq!(
        world.check(&old),
        Err(VerifyError::Light(LightError::Rollback { trusted: 3, offered: 2 }))
    );
}

#[test]
fn d8_absence_under_an_old_header_is_refused() {
    let world = world();
    let before = world.network.resolve_at(&world.other.did, None, 2).unwrap();
    assert!(before.heads.is_empty());
    let trusted = world.trusted(3);
    let policy = Policy::at(START_MS + 5_000);
    let verifier = Verifier::new(world.network.chain(), &trusted, policy);
    let verdict = verifier.resolution(&world.other.did, Asked::Current, &before);
    let expected = VerifyError::Light(LightError::Rollback { trusted: 3, offered: 2 });
    assert_eq!(verdict, Err(expected));

    // A client that knows only genesis is told the age, and cannot take the answer for the present by mistake.
    let trusted = world.genesis();
    let policy = Policy::at(START_MS + 2_000 + 60_001);
    let verifier = Verifier::new(world.network.chain(), &trusted, policy);
    let answer = verifier.resolution(&world.other.did, Asked::Current, &before).unwrap();
    assert_eq!(answer.fresh().unwrap_err().age_ms, 60_001);

    // One that was told a height out of band refuses.
    let policy = Policy { min_height: 3, ..Policy::at(START_MS + 5_000) };
    let verifier = Verifier::new(world.network.chain(), &trusted, policy);
    let verdict = verifier.resolution(&world.other.did, Asked::Current, &before);
    assert_eq!(verdict, Err(VerifyError::BelowMinHeight { height: 2, min_height: 3 }));
}

#[test]
fn absence_of_another_did_is_refused() {
    let world = world();
    let mut answer = world.answer();
    let authority = world.ministries.registrar.did.clone();
    let nobody = Identity::holder("test", KeyAlgorithm::P256, false, authority, None).unwrap().did;
    answer.proof = world.network.resolve_at(&nobody, None, 4).unwrap().proof;
    answer.heads.clear();
    answer.document = None;
    assert_eq!(world.check(&answer), Err(VerifyError::Proof(ProofError::NotCovered)));
}

#[test]
fn invented_absence_is_refused() {
    let world = world();
    let mut answer = world.answer();
    let entry = &mut answer.proof.as_mut().unwrap().entries[0];
    entry.present = false;
    entry.value.clear();
    answer.heads.clear();
    answer.document = None;
    assert!(matches!(
        world.check(&answer),
        Err(VerifyError::Proof(ProofError::Entry { source: EntryError::WrongRoot { .. }, .. }))
    ));
}

#[test]
fn a_proof_of_absence_with_a_version_is_refused() {
    let world = world();
    let before = world.network.resolve_at(&world.other.did, None, 2).unwrap();
    let mut answer = world.network.resolve_at(&world.other.did, None, 4).unwrap();
    answer.proof = before.proof;
    let trusted = world.genesis();
    let policy = Policy::at(START_MS + 5_000);
    let verifier = Verifier::new(world.network.chain(), &trusted, policy);
    let verdict = verifier.resolution(&world.other.did, Asked::Current, &answer);
    assert_eq!(verdict, Err(VerifyError::PresentAndAbsent));
}

#[test]
fn an_answer_without_a_proof_is_refused() {
    let world = world();
    let mut answer = world.answer();
    answer.proof = None;
    assert_eq!(world.check(&answer), Err(VerifyError::NoProof));
}

#[test]
fn a_withheld_entry_in_the_history_is_refused() {
    let world = world();
    let honest = world.network.history(&world.holder.did).unwrap();
    assert_eq!(world.check_history(&honest), Ok(()));
    let without = |place: usize| {
        let mut answer = honest.clone();
        answer.versions.remove(place);
        world.check_history(&answer)
    };
    assert_eq!(without(0), Err(VerifyError::NotTheProvedHead));
    assert_eq!(without(1), Err(VerifyError::BrokenChain { version: 3 }));
    assert_eq!(without(2), Err(VerifyError::Incomplete { version: 2 }));
    let empty = v1::HistoryResponse { versions: Vec::new(), ..honest };
    assert_eq!(world.check_history(&empty), Err(VerifyError::NotTheProvedHead));
}

#[test]
fn a_rewritten_entry_in_the_history_is_refused() {
    let world = world();
    let mut answer = world.network.history(&world.holder.did).unwrap();
    answer.versions[1].head.as_mut().unwrap().actor = v1::Actor::Authority.into();
    assert_eq!(world.check_history(&answer), Err(VerifyError::BrokenChain { version: 3 }));
}

#[test]
fn the_head_of_another_did_is_refused() {
    let world = world();
    let mut answer = world.network.history(&world.holder.did).unwrap();
    answer.versions[1].head.as_mut().unwrap().did = world.other.did.digest().to_vec();
    assert_eq!(world.check_history(&answer), Err(VerifyError::OtherDid { version: 2 }));
}

#[test]
fn the_answer_of_another_network_is_refused() {
    let world = world();
    // The same name and the same kind of network, with other keys and so another genesis.
    let (mut network, ministries) = MemoryNetwork::new("test", START_MS).unwrap();
    for seconds in 1..=4 {
        network.commit(START_MS + seconds * 1000, &[]).unwrap();
    }
    let answer = network.resolve_at(&ministries.registrar.did, None, 4).unwrap();
    assert!(matches!(
        world.check(&answer),
        Err(VerifyError::Light(LightError::Certificate {
            source: CertificateError::Header(HeaderError::WrongNetwork { .. }),
            ..
        }))
    ));
    let elsewhere = Did::new("elsewhere", world.holder.did.digest()).unwrap();
    let trusted = world.genesis();
    let policy = Policy::at(START_MS + 5_000);
    let verifier = Verifier::new(world.network.chain(), &trusted, policy);
    let verdict = verifier.resolution(&elsewhere, Asked::Current, &world.answer());
    assert!(matches!(verdict, Err(VerifyError::OtherNetwork { .. })));
}

#[test]
fn a_branch_of_another_validator_set_is_refused() {
    let world = world();
    let (others, _) = MemoryNetwork::new("test", START_MS).unwrap();
    let mut answer = world.answer();
    let proof = answer.proof.as_mut().unwrap();
    let mut header = proof.signed_header.clone().unwrap().header.unwrap();

    // Certified by strangers under the name of the set in force.
    let strangers = MemoryNetwork::certify(&others, &header).unwrap();
    proof.signed_header = Some(strangers);
    assert!(matches!(
        world.check(&answer),
        Err(VerifyError::Light(LightError::Certificate {
            source: CertificateError::Signature { .. },
            ..
        }))
    ));

    // Certified by strangers under their own name.
    let own = validator_set_hash(others.chain().validators());
    header.validator_set_hash = own.to_vec();
    let proof = answer.proof.as_mut().unwrap();
    proof.signed_header = Some(others.certify(&header).unwrap());
    assert!(matches!(
        world.check(&answer),
        Err(VerifyError::Light(LightError::WrongValidatorSet { .. }))
    ));
}

#[test]
fn a_certificate_of_too_few_is_refused() {
    let world = world();
    let mut answer = world.answer();
    let signed = answer.proof.as_mut().unwrap().signed_header.as_mut().unwrap();
    signed.certificate.as_mut().unwrap().signatures.truncate(2);
    assert!(matches!(
        world.check(&answer),
        Err(VerifyError::Light(LightError::Certificate {
            source: CertificateError::NoQuorum { signatures: 2, .. },
            ..
        }))
    ));
}

#[test]
fn a_changed_header_is_refused() {
    let world = world();
    let mut answer = world.answer();
    let signed = answer.proof.as_mut().unwrap().signed_header.as_mut().unwrap();
    signed.header.as_mut().unwrap().time_ms += 1;
    assert!(matches!(
        world.check(&answer),
        Err(VerifyError::Light(LightError::Certificate {
            source: CertificateError::WrongHeader { .. },
            ..
        }))
    ));
}

#[test]
fn a_second_certified_header_of_a_height_is_a_fork() {
    let mut world = world();
    let mut branch = world.network.clone();
    branch.commit(START_MS + 5_000, &[]).unwrap();
    rotate(&mut world, 5);
    let trusted = world.trusted(5);
    let policy = Policy::at(START_MS + 6_000);
    let verifier = Verifier::new(world.network.chain(), &trusted, policy);
    let answer = branch.resolve_at(&world.holder.did, None, 5).unwrap();
    let verdict = verifier.resolution(&world.holder.did, Asked::Current, &answer).unwrap_err();
    let VerifyError::Light(LightError::Fork(fork)) = verdict else { panic!("{verdict}") };
    assert_eq!(fork.height, 5);
    assert!(fork.trusted.is_some());
}

#[test]
fn a_receipt_is_verified_and_a_tampered_one_refused() {
    let world = world();
    let trusted = world.trusted(3);
    let policy = Policy::at(START_MS + 5_000);
    let verifier = Verifier::new(world.network.chain(), &trusted, policy);
    let receipt = world.network.receipt(&world.create_id).unwrap();
    // From before the trusted header: inclusion does not age.
    let verified = verifier.receipt(&world.create_id, receipt).unwrap();
    assert_eq!((verified.header.height(), verified.index), (1, 0));

    let other = Hash([9; 32]);
    assert_eq!(verifier.receipt(&other, receipt), Err(VerifyError::OtherReceipt));
    let mut tampered = receipt.clone();
    tampered.transaction_id = other.to_vec();
    let verdict = verifier.receipt(&other, &tampered);
    assert!(matches!(verdict, Err(VerifyError::Proof(ProofError::NotInBlock { .. }))));
    let mut tampered = receipt.clone();
    tampered.signatures_hash = other.to_vec();
    let verdict = verifier.receipt(&world.create_id, &tampered);
    assert!(matches!(verdict, Err(VerifyError::Proof(ProofError::NotInBlock { .. }))));
    let mut tampered = receipt.clone();
    tampered.signed_header = world.network.signed_header(2).cloned();
    assert!(verifier.receipt(&world.create_id, &tampered).is_err());
    assert_eq!(
        verifier.receipt(&world.create_id, &v1::Receipt::default()),
        Err(VerifyError::NoProof)
    );
}

#[test]
fn an_answer_kept_on_disk_is_stale_once_a_higher_one_was_verified() {
    let world = world();
    let kept = world.network.resolve_at(&world.holder.did, None, 2).unwrap();
    let trusted = world.trusted(4);
    let policy = Policy { past: true, ..Policy::at(START_MS + 5_000) };
    let verifier = Verifier::new(world.network.chain(), &trusted, policy);
    let answer = verifier.resolution(&world.holder.did, Asked::Current, &kept).unwrap();
    assert!(answer.is_stale() && answer.fresh().is_err());
    assert_eq!(answer.even_if_stale().version.as_ref().unwrap().head.version, 2);
}
