//! What a client believes of private reads: what is proved, and nothing beside it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use sillok_client::identity::Identity;
use sillok_client::keys::KeyAlgorithm::Ed25519;
use sillok_client::private::{
    PrivateError, entry_keys, own_enrollment, own_entries, private_contents, read_request,
};
use sillok_client::testing::{MemoryNetwork, Ministries};
use sillok_client::transaction::{OperationDraft, Terms, TransactionBuilder};
use sillok_client::verify::{Policy, Verifier};
use sillok_did_method::{SUBMIT, private_content_hash, read_string, transaction_id};
use sillok_ledger::light::TrustedHeader;
use sillok_ledger::proof::{ProofError, VerifiedReceipt, VerifiedState};
use sillok_ledger::{TreeKey, pad};
use sillok_proto::{Hash, Tag, decode, encode, v1};
use v1::operation::Operation as Wire;
use v1::read_statement::Read;

const START_MS: u64 = 1_795_251_600_000;
const LIST: Hash = Hash([1; 32]);
const OF: Hash = Hash([2; 32]);
const HANDLE: Hash = Hash([3; 32]);

fn network() -> (MemoryNetwork, Ministries) {
    MemoryNetwork::new("test", START_MS).unwrap()
}

fn trusted(network: &MemoryNetwork) -> TrustedHeader {
    let validators = network.set(1).unwrap().clone();
    TrustedHeader::genesis(*network.chain().hash(), START_MS, validators).unwrap()
}

/// What the network's state proves at these keys.
fn state(network: &MemoryNetwork, keys: &[TreeKey]) -> VerifiedState {
    let trusted = trusted(network);
    let policy = Policy::at(network.tip().header.time_ms);
    let verifier = Verifier::new(network.chain(), &trusted, policy);
    let proof = network.state(keys, network.tip().height()).unwrap();
    verifier.leaves(keys, &proof).unwrap().even_if_stale().clone()
}

#[test]
fn a_request_is_signed_over_who_asks_what_and_a_header() {
    let (network, ministries) = network();
    let (genesis, key) = (network.chain().hash(), ministries.registrar.newest_secret(SUBMIT));
    let (key, header) = (key.unwrap(), (7, Hash([9; 32])));
    let read = Read::Entries(v1::ReadEntries { list: LIST.to_vec(), indexes: vec![1, 2] });
    let organization = ministries.registrar.did.digest();
    let request = read_request(genesis, &organization, header, read.clone(), key).unwrap();
    let statement: v1::ReadStatement = decode(&request.statement, 1_000).unwrap();
    assert_eq!((statement.read.clone(), request.min_height), (Some(read), 7));
    assert_eq!((statement.header_height, statement.header_hash.as_slice()), (7, &[9; 32][..]));
    let string = read_string(genesis, &statement);
    let signature = request.signature.unwrap().signature;
    sillok_did_method::verify(key.public(), &string, &signature).unwrap();
}

#[test]
fn what_is_absent_is_no_enrollment_and_what_is_not_covered_is_no_answer() {
    let (mut network, _) = network();
    network.commit(START_MS + 1_000, &[]).unwrap();
    let key = TreeKey::enrollment(&LIST, &OF, &HANDLE);
    let proved = state(&network, &[key]);
    let none = Err(PrivateError::Missing { part: "such enrollment" });
    assert_eq!(own_enrollment(&LIST, &OF, &HANDLE, &proved), none);
    let not_covered = Err(PrivateError::Proof(ProofError::NotCovered));
    assert_eq!(own_enrollment(&LIST, &OF, &LIST, &proved), not_covered);

    let keys = entry_keys(&LIST, &[5, 9_000]);
    assert_eq!(keys.len(), 5, "the list, two chunks, and two leaves of dates");
    let no_list = own_entries(&LIST, &[5, 9_000], &state(&network, &keys), &[]);
    assert_eq!(no_list, Err(PrivateError::Missing { part: "such list" }));
    let not_covered = own_entries(&LIST, &[5], &proved, &[]);
    assert_eq!(not_covered, Err(PrivateError::Proof(ProofError::NotCovered)));
}

#[test]
fn contents_are_those_that_the_ordered_body_names() {
    let (mut network, ministries) = network();
    let registrar = &ministries.registrar;
    let holder = Identity::holder("test", Ed25519, false, registrar.did.clone(), None).unwrap();
    let genesis = *network.chain().hash();
    let mut partly = TransactionBuilder::new(genesis, &registrar.did, START_MS + 60_000)
        .push(OperationDraft::create(&holder).unwrap(), Terms::NAMED)
        .freeze();
    partly.sign_new_keys(0, &holder).unwrap();
    let (id, body) = (partly.id(), partly.body());
    let transaction = partly.submit(registrar.newest_secret(SUBMIT).unwrap()).unwrap();
    network.commit(START_MS + 1_000, &[transaction]).unwrap();
    let receipt = network.receipt(&id).unwrap().clone();
    let trusted = trusted(&network);
    let policy = Policy::at(START_MS + 1_000);
    let verified = Verifier::new(network.chain(), &trusted, policy).receipt(&id, &receipt).unwrap();

    // The transaction of two issuers, in the place of the one that was ordered.
    let content =
        |n: u8| pad(v1::PrivateContent { salt: vec![n; 32], ..v1::PrivateContent::default() });
    let change = |issuer: Hash, n: u8| v1::Operation {
        operation: Some(Wire::SetEnrollment(v1::SetEnrollment {
            issuer: issuer.to_vec(),
            r#type: OF.to_vec(),
            content_hash: private_content_hash(&content(n)).to_vec(),
        })),
    };
    let body = v1::TransactionBody { operations: vec![change(LIST, 1), change(OF, 2)], ..body };
    let signed = |operation: u32| v1::PrivateOperationSignatures {
        operation,
        acting_role: Some(v1::KeySignature { key_id: vec![8; 32], signature: vec![9; 64] }),
        ..v1::PrivateOperationSignatures::default()
    };
    let ordered =
        v1::PrivateSignatures { salt: vec![5; 32], operations: vec![signed(0), signed(1)] };
    let verified = VerifiedReceipt {
        transaction_id: transaction_id(&genesis, &body),
        private_signatures_hash: Tag::PrivateSignatures.hash(&[&encode(&ordered)]),
        ..verified
    };
    let of = |operation: u32, n: u8| v1::OperationContent {
        operation,
        content: Some(content(n)),
        signatures: Some(signed(operation)),
    };
    let honest = v1::PrivateContentsResponse {
        receipt: Some(receipt),
        body: Some(body),
        contents: vec![of(0, 1), of(1, 2)],
        signatures_salt: ordered.salt,
    };
    let all = |_: &Wire| true;
    let own = |wire: &Wire| matches!(wire, Wire::SetEnrollment(op) if op.issuer == LIST.0);
    let whole = private_contents(&genesis, &verified, all, &honest).unwrap();
    assert_eq!((whole.contents, whole.signatures_proved), (&honest.contents[..], true));

    let check = |is_own: fn(&Wire) -> bool, change: fn(&mut v1::PrivateContentsResponse)| {
        let mut answer = honest.clone();
        change(&mut answer);
        private_contents(&genesis, &verified, is_own, &answer).map(|one| one.signatures_proved)
    };
    let missing = |part| Err(PrivateError::Missing { part });
    // Of another issuer's part nothing is said; then the signatures are not proved.
    let partly = |answer: &mut v1::PrivateContentsResponse| {
        answer.contents.pop();
        answer.signatures_salt.clear();
    };
    assert_eq!(check(own, partly), Ok(false));
    // Whose part it is gets it.
    assert_eq!(check(all, partly), missing("private content of an operation"));
    let other = |answer: &mut v1::PrivateContentsResponse| drop(answer.contents.remove(0));
    assert_eq!(check(own, other), missing("private content of an operation"));
    let nobodys: fn(&Wire) -> bool = |_| false;
    let nothing = |answer: &mut v1::PrivateContentsResponse| answer.contents.clear();
    assert_eq!(check(nobodys, nothing), missing("private content of an operation"));
    let unsigned = |answer: &mut v1::PrivateContentsResponse| answer.contents[1].signatures = None;
    assert_eq!(check(all, unsigned), missing("private signatures of an operation"));

    let other_body = check(all, |answer| answer.body.as_mut().unwrap().valid_until_ms += 1);
    assert_eq!(other_body, Err(PrivateError::OtherTransaction));
    assert_eq!(check(all, |answer| answer.body = None), missing("body"));
    let forged = check(all, |answer| {
        answer.contents[0].content.as_mut().unwrap().reason = v1::Reason::EndOfUse.into();
    });
    assert_eq!(forged, Err(PrivateError::OtherContent { operation: 0 }));
    let twice = check(all, |answer| answer.contents[1] = answer.contents[0].clone());
    assert_eq!(twice, Err(PrivateError::OtherContent { operation: 0 }));
    // All are there, so the signatures are held against what was ordered: also where the salt is left out, or the
    // receipt in the answer says otherwise than the one that was verified.
    let other_signature = check(all, |answer| {
        let signatures = answer.contents[0].signatures.as_mut().unwrap();
        signatures.acting_role.as_mut().unwrap().signature[0] ^= 1;
        let forged = v1::PrivateSignatures {
            salt: answer.signatures_salt.clone(),
            operations: answer.contents.iter().filter_map(|one| one.signatures.clone()).collect(),
        };
        let hash = Tag::PrivateSignatures.hash(&[&encode(&forged)]);
        answer.receipt.as_mut().unwrap().private_signatures_hash = hash.to_vec();
    });
    assert_eq!(other_signature, Err(PrivateError::OtherSignatures));
    let unsalted = check(all, |answer| answer.signatures_salt.clear());
    assert_eq!(unsalted, Err(PrivateError::OtherSignatures));
}
