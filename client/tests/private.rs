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
use sillok_did_method::{SUBMIT, read_string};
use sillok_ledger::light::TrustedHeader;
use sillok_ledger::proof::{ProofError, VerifiedState};
use sillok_ledger::{TreeKey, pad};
use sillok_proto::{Hash, decode, v1};
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

    let honest = v1::PrivateContentsResponse {
        receipt: Some(receipt),
        body: Some(body),
        ..v1::PrivateContentsResponse::default()
    };
    assert_eq!(private_contents(&genesis, &verified, &honest), Ok(&[][..]));
    let check = |change: fn(&mut v1::PrivateContentsResponse)| {
        let mut answer = honest.clone();
        change(&mut answer);
        private_contents(&genesis, &verified, &answer).map(<[_]>::len)
    };
    let other_body = check(|answer| answer.body.as_mut().unwrap().valid_until_ms += 1);
    assert_eq!(other_body, Err(PrivateError::OtherTransaction));
    let no_body = check(|answer| answer.body = None);
    assert_eq!(no_body, Err(PrivateError::Missing { part: "body" }));
    let forged = check(|answer| {
        let content = v1::PrivateContent { salt: vec![1; 32], ..v1::PrivateContent::default() };
        let content = Some(pad(content));
        answer.contents = vec![v1::OperationContent { operation: 0, content, signatures: None }];
    });
    assert_eq!(forged, Err(PrivateError::OtherContent { operation: 0 }));
    let salted = check(|answer| answer.signatures_salt = vec![1; 32]);
    assert_eq!(salted, Err(PrivateError::OtherSignatures));
}
