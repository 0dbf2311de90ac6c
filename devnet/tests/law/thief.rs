//! A front-runner: it sees every transaction before any validator does, may submit, register and issue itself, and holds
//! nobody's keys but its own. What it can make of what it sees goes to every validator first, and takes nothing.

use super::harness::Network;
use super::law::{block_on, network};
use sillok_client::desk::EnrollmentStep;
use sillok_client::identity::Identity;
use sillok_client::keys::KeyAlgorithm::{Ed25519, P256};
use sillok_client::keys::SecretKey;
use sillok_client::pseudonym::Handle;
use sillok_client::transaction::{OperationDraft, Terms};
use sillok_devnet::desk::{self, Desk};
use sillok_devnet::reader::Reader;
use sillok_devnet::scene::{Scene, finish};
use sillok_devnet::submit::Outcome;
use sillok_did_method::{
    EntryState, SUBMIT, acting_role_string, document_hash, head_hash, holder_string, key_id,
    private_content_hash, submitter_string, transaction_id,
};
use sillok_ledger::pad;
use sillok_proto::{Hash, v1};
use v1::operation::Operation as Wire;
use v1::{Action, Reason};

/// Order of the group of P-256, big-endian: of a signature (r, s) the other half is (r, n - s).
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

struct Thief {
    scene: Scene,
    identity: Identity,
    /// Which validator is asked next.
    nth: usize,
}

impl Thief {
    fn key(&self) -> &SecretKey {
        self.identity.newest_secret(SUBMIT).unwrap()
    }

    fn genesis(&self) -> Hash {
        self.scene.genesis_hash
    }

    /// The thief brings it: its name in the body, its signature under the id.
    fn bring(&self, mut transaction: v1::Transaction) -> v1::Transaction {
        let body = transaction.body.as_mut().unwrap();
        body.submitter = self.identity.did.digest().to_vec();
        let id = transaction_id(&self.genesis(), body);
        let signature = self.key().key_signature(&submitter_string(&self.genesis(), &id)).unwrap();
        transaction.signatures.get_or_insert_default().submitter = Some(signature);
        transaction
    }

    /// The thief acts in every operation of a desk, in its own name.
    fn act(&self, mut transaction: v1::Transaction) -> v1::Transaction {
        let role = self.identity.did.digest().to_vec();
        change_contents(&mut transaction, |content| content.acting_role.clone_from(&role));
        let mut transaction = self.bring(transaction);
        let id = transaction_id(&self.genesis(), transaction.body.as_ref().unwrap());
        for one in &mut transaction.private_signatures.as_mut().unwrap().operations {
            let statement =
                v1::ActingStatement { transaction_id: id.to_vec(), operation: one.operation };
            let string = acting_role_string(&self.genesis(), &statement);
            one.acting_role = Some(self.key().key_signature(&string).unwrap());
        }
        transaction
    }

    /// Brings it to the next validator, and says what became of it: the code of the refusal.
    async fn tries(&mut self, transaction: &v1::Transaction) -> String {
        self.nth += 1;
        match self.scene.nodes.try_once(&self.genesis(), transaction, self.nth).await.unwrap() {
            Outcome::Refused(refusal) => refusal.code,
            other => format!("{other:?}"),
        }
    }

    /// Every one is refused, with this code.
    async fn is_refused(&mut self, tried: Vec<(&str, v1::Transaction, &str)>) {
        let mut other = Vec::new();
        for (what, transaction, expected) in tried {
            let code = self.tries(&transaction).await;
            if code != expected {
                other.push((what, code, expected));
            }
        }
        assert!(other.is_empty(), "{other:?}");
    }
}

/// Changes what stands in private, and makes the operations name that.
fn change_contents(transaction: &mut v1::Transaction, change: impl Fn(&mut v1::PrivateContent)) {
    let mut contents = transaction.private_contents.iter_mut();
    for operation in &mut transaction.body.as_mut().unwrap().operations {
        let named = match operation.operation.as_mut().unwrap() {
            Wire::SetEnrollment(op) => &mut op.content_hash,
            Wire::SetStatus(op) => &mut op.content_hash,
            _ => continue,
        };
        let content = contents.next().unwrap();
        change(content);
        *content = pad(content.clone());
        *named = private_content_hash(content).to_vec();
    }
}

/// One operation of several, with what belongs to it.
fn half(transaction: &v1::Transaction, which: usize) -> v1::Transaction {
    let mut half = transaction.clone();
    let body = half.body.as_mut().unwrap();
    body.operations = vec![body.operations[which].clone()];
    if !half.private_contents.is_empty() {
        half.private_contents = vec![half.private_contents[which].clone()];
        let private = half.private_signatures.as_mut().unwrap();
        private.operations = vec![private.operations[which].clone()];
        private.operations[0].operation = 0;
    }
    let signatures = half.signatures.as_mut().unwrap();
    if !signatures.operations.is_empty() {
        signatures.operations = vec![signatures.operations[which].clone()];
    }
    half
}

/// The other signature that the mathematics of P-256 takes for the same one.
fn high_s(signature: &mut v1::KeySignature) {
    let mut borrow = 0_i16;
    for place in (0..32).rev() {
        let difference =
            i16::from(P256_ORDER[place]) - i16::from(signature.signature[32 + place]) - borrow;
        borrow = i16::from(difference < 0);
        signature.signature[32 + place] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
}

fn with_private_signatures(
    transaction: &v1::Transaction,
    change: impl FnOnce(&mut v1::PrivateSignatures),
) -> v1::Transaction {
    let mut changed = transaction.clone();
    change(changed.private_signatures.as_mut().unwrap());
    changed
}

/// A network on which an agency issues a type, and the thief may issue it too, in its own name and under the same registrar.
struct Office {
    thief: Thief,
    desk: Desk,
    agency: Identity,
    reader: Reader,
}

impl Office {
    async fn open(network: &Network) -> Self {
        let scene = network.scene();
        let (registrar, identity) = (scene.registrar.clone(), scene.rival.clone());
        let credential_type = desk::publish(&scene).await.unwrap();
        let agency = desk::organization(&scene).await.unwrap();
        for receiver in [&agency, &identity] {
            for action in [Action::Issue, Action::Revoke] {
                let of = &credential_type.0;
                desk::accredit(&scene, &registrar, receiver, action, of, [0; 3]).await.unwrap();
            }
        }
        let desk = Desk::open(scene.clone(), agency.clone(), credential_type).await.unwrap();
        let thief = Thief { scene, identity, nth: 0 };
        Self { thief, desk, agency, reader: network.first_reader() }
    }

    /// The honest transaction, after everything that the thief made of it.
    async fn goes_through(&self, transaction: &v1::Transaction) -> u64 {
        self.thief.scene.commit(transaction, 3).await.unwrap().height
    }

    async fn enrollment(&self, person: &Handle, height: u64) -> v1::Enrollment {
        self.desk.entries(&self.reader, &[0], height).await.unwrap();
        self.desk.enrollment(&self.reader, person).await.unwrap()
    }

    async fn entries(&self, indexes: &[u32], height: u64) -> Vec<EntryState> {
        self.desk.entries(&self.reader, indexes, height).await.unwrap()
    }
}

fn key() -> SecretKey {
    SecretKey::generate(Ed25519).unwrap()
}

#[test]
fn b7_who_sees_a_reservation_first_cannot_take_it() {
    let (network, _alone) = network();
    block_on(async {
        let mut office = Office::open(network).await;
        let (desk, agency) = (office.desk.clone(), office.agency.clone());
        let (person, one_time, own) = (desk.person(1).unwrap(), key(), key());
        let step = Desk::reservation(1, &one_time);
        let deed = desk.enroll(&agency, person, &step, Reason::FirstIssue).unwrap();
        let honest = desk.transaction(&desk.scene.registrar, &[deed]).unwrap();

        let thief = &office.thief;
        let with_own_key = |mut transaction: v1::Transaction| {
            change_contents(&mut transaction, |content| {
                content.enrollment.as_mut().unwrap().one_time_key = Some(own.public().clone());
            });
            transaction
        };
        let mut in_thiefs_name = thief.bring(honest.clone());
        in_thiefs_name
            .body
            .as_mut()
            .unwrap()
            .submitter
            .clone_from(&honest.body.as_ref().unwrap().submitter);
        let tried = vec![
            ("the same, brought by the thief", thief.bring(honest.clone()), "BAD_SIGNATURE"),
            ("the same, under the thief's signature", in_thiefs_name, "KEY_NOT_AUTHORIZED"),
            (
                "for the thief's one-time key",
                thief.bring(with_own_key(honest.clone())),
                "BAD_SIGNATURE",
            ),
            ("by the thief as the acting role", thief.act(honest.clone()), "NOT_OWNER"),
            ("by the thief, for its own key", thief.act(with_own_key(honest.clone())), "NOT_OWNER"),
            (
                "without the role's signature",
                with_private_signatures(&thief.bring(honest.clone()), |all| all.operations.clear()),
                "PRIVATE_SIGNATURE_LIST",
            ),
        ];
        office.thief.is_refused(tried).await;
        // In its own name it reserves for the same handle and the same key: another person's place, of another issuer.
        let mut own_place = honest.clone();
        if let Some(Wire::SetEnrollment(op)) =
            &mut own_place.body.as_mut().unwrap().operations[0].operation
        {
            op.issuer = office.thief.identity.did.digest().to_vec();
        }
        let own_place = office.thief.act(own_place);
        office.thief.scene.commit(&own_place, 0).await.unwrap();

        let height = office.goes_through(&honest).await;
        let held = office.enrollment(&person, height).await;
        let reservation = held.reservation.unwrap();
        assert_eq!(reservation.one_time_key_id, key_id(one_time.public()).0);
        assert_eq!(reservation.role, agency.did.digest().0);
        // And the key still works for whom it was meant.
        let phone = key();
        let deed = desk.activation(&agency, person, 1, &one_time, &phone).unwrap();
        let height = desk.commit(&[deed], 1).await.unwrap();
        let held = office.enrollment(&person, height).await;
        assert_eq!(held.enrollment_key.as_ref(), Some(phone.public()));
    });
}

#[test]
fn a7_b7_who_sees_an_activation_first_cannot_take_the_handle() {
    let (network, _alone) = network();
    block_on(async {
        let mut office = Office::open(network).await;
        let (desk, agency) = (office.desk.clone(), office.agency.clone());
        // A phone with P-256: of its signatures there are always two that verify by mathematics.
        let (person, one_time, own) = (desk.person(1).unwrap(), key(), key());
        let phone = SecretKey::generate(P256).unwrap();
        let step = Desk::reservation(1, &one_time);
        let reserve = desk.enroll(&agency, person, &step, Reason::FirstIssue).unwrap();
        desk.commit(&[reserve], 0).await.unwrap();
        let activate = desk.activation(&agency, person, 1, &one_time, &phone).unwrap();
        let entry = [(1, Some(person))];
        let set = desk.set(&agency, EntryState::Valid, &entry, Reason::FirstIssue).unwrap();
        // With an entry, as a pair.
        let honest = desk.transaction(&desk.scene.registrar, &[activate, set]).unwrap();

        let thief = &office.thief;
        let with_own_phone = |mut transaction: v1::Transaction| {
            change_contents(&mut transaction, |content| {
                if let Some(enrollment) = &mut content.enrollment {
                    enrollment.enrollment_key = Some(own.public().clone());
                }
            });
            transaction
        };
        let holder = |all: &mut v1::PrivateSignatures, change: fn(&mut v1::KeySignature)| {
            let id = key_id(phone.public());
            let signatures = &mut all.operations[0].holder_keys;
            change(signatures.iter_mut().find(|one| one.key_id == id.0).unwrap());
        };
        // Its own phone signs; for the key that was handed out it has but the signature it saw.
        let mut signed_by_own = thief.act(with_own_phone(honest.clone()));
        let id = transaction_id(&thief.genesis(), signed_by_own.body.as_ref().unwrap());
        let statement = v1::ActingStatement { transaction_id: id.to_vec(), operation: 0 };
        let string = holder_string(&thief.genesis(), &statement);
        let signatures = &mut signed_by_own.private_signatures.as_mut().unwrap().operations[0];
        signatures.holder_keys.retain(|one| one.key_id == key_id(one_time.public()).0);
        signatures.holder_keys.push(own.key_signature(&string).unwrap());
        signatures.holder_keys.sort_by(|one, other| one.key_id.cmp(&other.key_id));
        let other_half = with_private_signatures(&honest, |all| holder(all, high_s));
        let garbled =
            with_private_signatures(&honest, |all| holder(all, |one| one.signature[0] ^= 1));
        let tried = vec![
            ("the same, brought by the thief", thief.bring(honest.clone()), "BAD_SIGNATURE"),
            ("by the thief as the acting role", thief.act(honest.clone()), "BAD_SIGNATURE"),
            (
                "for the thief's phone",
                thief.act(with_own_phone(honest.clone())),
                "POSSESSION_MISSING",
            ),
            ("signed by the thief's phone", signed_by_own, "BAD_SIGNATURE"),
            ("the activation alone", thief.bring(half(&honest, 0)), "BAD_SIGNATURE"),
            ("the entry alone", thief.bring(half(&honest, 1)), "BAD_SIGNATURE"),
            ("the entry alone, by the thief", thief.act(half(&honest, 1)), "NOT_OWNER"),
            // Under the id of the honest one: what is refused must leave no trace under it.
            ("the other half of a signature", other_half, "BAD_SIGNATURE"),
            ("a garbled signature", garbled, "BAD_SIGNATURE"),
        ];
        office.thief.is_refused(tried).await;
        // The keys that it saw it cannot use up either: not for a place of its own, nor for a DID.
        let mut own_place = honest.clone();
        if let Some(Wire::SetEnrollment(op)) =
            &mut own_place.body.as_mut().unwrap().operations[0].operation
        {
            op.issuer = office.thief.identity.did.digest().to_vec();
        }
        let own_place = half(&office.thief.act(own_place), 0);
        let own_place = office.thief.act(own_place);
        assert_eq!(office.thief.tries(&own_place).await, "BAD_SIGNATURE");

        let height = office.goes_through(&honest).await;
        let held = office.enrollment(&person, height).await;
        assert_eq!(held.enrollment_key.as_ref(), Some(phone.public()));
        assert_eq!(office.entries(&[1], height).await, [EntryState::Valid]);
    });
}

/// Nobody signs the salt beside private signatures, so who sees it may change it, under the same id. It is the same
/// transaction with the same outcome; a client compares what it holds with the receipt.
#[test]
fn who_changes_what_nobody_signed_brings_the_honest_transaction() {
    let (network, _alone) = network();
    block_on(async {
        let office = Office::open(network).await;
        let (desk, agency) = (office.desk.clone(), office.agency.clone());
        let (person, one_time) = (desk.person(1).unwrap(), key());
        let step = Desk::reservation(1, &one_time);
        let deed = desk.enroll(&agency, person, &step, Reason::FirstIssue).unwrap();
        let honest = desk.transaction(&desk.scene.registrar, &[deed]).unwrap();
        let salted = with_private_signatures(&honest, |all| all.salt = vec![9; 32]);
        let first = office.thief.scene.commit(&salted, 1).await.unwrap();
        let second = office.thief.scene.commit(&honest, 2).await.unwrap();
        assert_eq!(first, second, "it runs once");
        let held = office.enrollment(&person, first.height).await;
        assert_eq!(held.reservation.unwrap().one_time_key_id, key_id(one_time.public()).0);
    });
}

#[test]
fn who_sees_a_create_first_cannot_take_it() {
    let (network, _alone) = network();
    block_on(async {
        let mut office = Office::open(network).await;
        let scene = office.thief.scene.clone();
        let (holder, organization) = (
            scene.holder(P256, false).unwrap(),
            Identity::organization(
                scene.registrar.did.network(),
                Ed25519,
                false,
                Some(scene.registrar.did.clone()),
                None,
            )
            .unwrap(),
        );
        for victim in [&holder, &organization] {
            let honest = scene.create(&[victim]).unwrap();
            let thief = &office.thief;
            let mut other_authority = honest.clone();
            if let Some(Wire::CreateDid(op)) =
                &mut other_authority.body.as_mut().unwrap().operations[0].operation
            {
                op.authority = thief.identity.did.digest().to_vec();
            }
            let mut anybodys = honest.clone();
            anybodys.signatures.as_mut().unwrap().operations[0].any_submitter = true;
            // A DID of the thief's making, with the victim's keys: the thief may register, and has no proof of possession.
            let own = Identity::new(
                victim.did.network(),
                victim.kind,
                victim.keys.clone(),
                Some(thief.identity.did.clone()),
                None,
            )
            .unwrap();
            let draft = OperationDraft::create(&own).unwrap();
            let partly = scene.draft(&thief.identity, [(draft, Terms::NAMED)]);
            let mut with_their_keys = partly.transaction().clone();
            with_their_keys.signatures.as_mut().unwrap().operations[0].signatures =
                honest.signatures.as_ref().unwrap().operations[0].signatures.clone();
            let tried = vec![
                ("the same, brought by the thief", thief.bring(honest.clone()), "BAD_SIGNATURE"),
                ("as anybody's to bring", thief.bring(anybodys), "SUBMITTER_MUST_BE_NAMED"),
                ("with the thief as authority", thief.bring(other_authority), "INCEPTION_MISMATCH"),
                ("the victim's keys in another DID", thief.bring(with_their_keys), "BAD_SIGNATURE"),
            ];
            office.thief.is_refused(tried).await;
            let height = office.goes_through(&honest).await;
            let found = office.reader.resolve_from(&victim.did, height).await.unwrap();
            assert_eq!(found.head.authority, scene.registrar.did.digest().0);
            assert_eq!(found.document_hash(), document_hash(&victim.document()).to_string());
        }
    });
}

/// Old DID ended and new one made, together or not at all: also where anybody may carry the operations.
#[test]
fn who_sees_a_pair_first_cannot_carry_half_of_it() {
    let (network, _alone) = network();
    block_on(async {
        let mut office = Office::open(network).await;
        let scene = office.thief.scene.clone();
        let (one, one_found) = network.holder(Ed25519).await;
        let (two, two_found) = network.holder(Ed25519).await;
        let terms = Terms { any_submitter: true, whole_list: true, valid_until_ms: None };
        let drafts = [(&one, &one_found), (&two, &two_found)].map(|(who, found)| {
            (OperationDraft::deactivate(&who.did, &head_hash(&found.head)), terms)
        });
        let mut partly = scene.draft(&scene.registrar, drafts);
        for (index, (who, found)) in
            [(&one, &one_found), (&two, &two_found)].into_iter().enumerate()
        {
            let key =
                sillok_devnet::scene::controller(who, &super::harness::document(found)).unwrap();
            partly.sign(index, key).unwrap();
        }
        let honest = finish(partly, &scene.registrar).unwrap();
        let thief = &office.thief;
        let torn = |which: usize| {
            let mut torn = half(&honest, which);
            torn.signatures.as_mut().unwrap().operations[0].whole_list = false;
            torn
        };
        let mut turned = honest.clone();
        turned.body.as_mut().unwrap().operations.reverse();
        turned.signatures.as_mut().unwrap().operations.reverse();
        let tried = vec![
            ("the first half", thief.bring(half(&honest, 0)), "BAD_SIGNATURE"),
            ("the second half", thief.bring(half(&honest, 1)), "BAD_SIGNATURE"),
            ("the first, said to be whole", thief.bring(torn(0)), "BAD_SIGNATURE"),
            ("the second, said to be whole", thief.bring(torn(1)), "BAD_SIGNATURE"),
            ("in the other order", thief.bring(turned), "BAD_SIGNATURE"),
        ];
        office.thief.is_refused(tried).await;
        // The desk's pair: an old phone ended and the next number reserved.
        let (desk, agency) = (office.desk.clone(), office.agency.clone());
        let (person, phone, next) = (desk.person(1).unwrap(), key(), key());
        let height = desk.issue(&agency, person, &phone, 5, 0).await.unwrap();
        let end = EnrollmentStep::End { number: 0, invalid_from_ms: 0 };
        let pair = [
            desk.enroll(&agency, person, &end, Reason::LostDevice).unwrap(),
            desk.enroll(&agency, person, &Desk::reservation(2, &next), Reason::LostDevice).unwrap(),
        ];
        let pair = desk.transaction(&scene.registrar, &pair).unwrap();
        let thief = &office.thief;
        let tried = vec![
            ("the end alone", thief.bring(half(&pair, 0)), "BAD_SIGNATURE"),
            ("the end alone, by the thief", thief.act(half(&pair, 0)), "NOT_OWNER"),
            ("the reservation alone", thief.bring(half(&pair, 1)), "BAD_SIGNATURE"),
            ("the reservation alone, by the thief", thief.act(half(&pair, 1)), "NOT_OWNER"),
        ];
        office.thief.is_refused(tried).await;
        assert_eq!(office.entries(&[5], height).await, [EntryState::Valid], "nothing happened yet");
        // Each goes through as a whole. What anybody may carry the thief may carry: all of it.
        let carried = office.thief.bring(honest.clone());
        let at = scene.commit(&carried, 0).await.unwrap().height;
        assert_eq!(office.thief.tries(&honest).await, "OPERATION_ALREADY_ORDERED");
        for who in [&one, &two] {
            assert!(office.reader.resolve_from(&who.did, at).await.unwrap().head.deactivated);
        }
        let height = office.goes_through(&pair).await;
        assert_eq!(office.entries(&[5], height).await, [EntryState::Invalid]);
        let held = office.enrollment(&person, height).await;
        let reserved = held.reservation.unwrap().one_time_key_id;
        assert_eq!((held.number, reserved), (2, key_id(next.public()).to_vec()));
    });
}
