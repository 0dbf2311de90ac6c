//! Private reads over real gRPC: for whom they are, what they prove, and that they leave no trace.

use super::api::refusal;
use super::desk::{AGENCY, AUDITOR, Desk, ENTRY, HANDLE, Office, RIVAL, STRANGER};
use super::support::{build, commit, everything_logged, sign};
use sillok_did_method::{Did, private_content_hash, read_string, transaction_id};
use sillok_ledger::TreeKey;
use sillok_ledger::proof::verify_entry;
use sillok_proto::v1::private_status_client::PrivateStatusClient;
use sillok_proto::{Hash, Tag, encode, v1};
use tonic::transport::Channel;
use tonic::{Code, Status};
use v1::operation::Operation as Wire;
use v1::read_statement::Read;
use v1::{Action, EnrollmentChange as Change, Reason};

const NOBODY: Hash = Hash([0xdb; 32]);

/// A request of an organization over the newest header.
fn asked(desk: &Desk, office: Office, read: Read) -> v1::PrivateReadRequest {
    let tip = desk.doors.ledger.tip();
    asked_over(desk, office, read, tip.height(), tip.hash)
}

fn asked_over(
    desk: &Desk,
    office: Office,
    read: Read,
    header_height: u64,
    header_hash: Hash,
) -> v1::PrivateReadRequest {
    let statement = v1::ReadStatement {
        organization: office.digest().to_vec(),
        header_height,
        header_hash: header_hash.to_vec(),
        read: Some(read),
    };
    let signature = Some(sign(office.submit, &read_string(&desk.genesis, &statement)));
    v1::PrivateReadRequest { statement: encode(&statement), signature, min_height: 0 }
}

fn entries(list: Hash, indexes: &[u32]) -> Read {
    Read::Entries(v1::ReadEntries { list: list.to_vec(), indexes: indexes.to_vec() })
}

fn enrollment(desk: &Desk, handle: Hash) -> Read {
    let (issuer, of, handle) = (AGENCY.digest().to_vec(), desk.of.to_vec(), handle.to_vec());
    Read::Enrollment(v1::ReadEnrollment { issuer, r#type: of, handle })
}

fn contents(id: Hash) -> Read {
    Read::Contents(v1::ReadContents { transaction_id: id.to_vec() })
}

async fn doors(desk: &Desk) -> PrivateStatusClient<Channel> {
    PrivateStatusClient::connect(format!("http://{}", desk.doors.address)).await.unwrap()
}

/// Sends a request to the door of its kind, and returns the refusal.
async fn refused(desk: &Desk, request: v1::PrivateReadRequest) -> Status {
    let statement: v1::ReadStatement = sillok_proto::decode(&request.statement, 10_000).unwrap();
    let mut doors = doors(desk).await;
    match statement.read.unwrap() {
        Read::Entries(_) => doors.own_entries(request).await.map(|_| ()),
        Read::Enrollment(_) => doors.own_enrollment(request).await.map(|_| ()),
        Read::Contents(_) => doors.private_contents(request).await.map(|_| ()),
    }
    .unwrap_err()
}

/// Every leaf of the proof leads to the state root of its header. Returns the keys with what they hold.
fn proved(proof: &v1::StateProof) -> Vec<(TreeKey, Option<Vec<u8>>)> {
    let header = proof.signed_header.as_ref().unwrap().header.as_ref().unwrap();
    let root = Hash::from_slice(&header.state_root).unwrap();
    let verified = proof.entries.iter().map(|entry| verify_entry(&root, entry).unwrap());
    verified.map(|entry| (entry.key, entry.value.map(<[u8]>::to_vec))).collect()
}

/// C5: issuer and auditor obtain the reason that the public never sees; and everything else that is private, with proof.
#[tokio::test(flavor = "multi_thread")]
async fn c5_the_issuer_and_an_auditor_read_what_is_private_with_proof() {
    let directory = tempfile::tempdir().unwrap();
    let mut desk = Desk::open(directory.path()).await;
    let time_ms = desk.doors.ledger.tip().header.time_ms;
    let mut lost = desk.set(1, &[ENTRY], &[], Reason::LostDevice);
    if let Wire::SetStatus(op) = &mut lost.wire {
        op.invalid_from_ms = time_ms;
    }
    let id = desk.order(&[lost, desk.enroll(HANDLE, 0, Change::End, Reason::LostDevice)]);
    for office in [AGENCY, AUDITOR] {
        let mut doors = doors(&desk).await;
        let request = asked(&desk, office, entries(desk.list, &[3, ENTRY]));
        let answer = doors.own_entries(request).await.unwrap().into_inner();
        let own = |index, state, invalid_from_ms| v1::OwnEntry {
            index,
            state,
            grace_until_ms: 0,
            invalid_from_ms,
        };
        assert_eq!(answer.entries, [own(3, 3, 0), own(ENTRY, 1, time_ms)]);
        let proved_entries = proved(&answer.proof.unwrap());
        let keys: Vec<TreeKey> = proved_entries.iter().map(|(key, _)| *key).collect();
        let list = &desk.list;
        assert_eq!(
            keys,
            [
                TreeKey::status_list(list),
                TreeKey::status_chunk(list, 0),
                TreeKey::status_chunk(list, 8),
                TreeKey::entry_record(list, 0),
                TreeKey::entry_record(list, 34),
            ]
        );
        assert_eq!(proved_entries[1].1, None, "no entry of it was ever used");

        let request = asked(&desk, office, enrollment(&desk, HANDLE));
        let answer = doors.own_enrollment(request).await.unwrap().into_inner();
        let [(key, value)] = &proved(&answer.proof.unwrap())[..] else { panic!() };
        assert_eq!(*key, TreeKey::enrollment(&AGENCY.digest(), &desk.of, &HANDLE));
        let leaf: v1::Enrollment = sillok_proto::decode(value.as_ref().unwrap(), 10_000).unwrap();
        assert_eq!((leaf.state(), leaf.number), (v1::EnrollmentState::Ended, 1));
        let request = asked(&desk, office, enrollment(&desk, NOBODY));
        let answer = doors.own_enrollment(request).await.unwrap().into_inner();
        let height = desk.doors.ledger.tip().height();
        let none = v1::OwnEnrollmentResponse { proof: None, height };
        assert_eq!(answer, none, "no neighbour is shown");

        let request = asked(&desk, office, contents(id));
        let answer = doors.private_contents(request).await.unwrap().into_inner();
        let (receipt, body) = (answer.receipt.unwrap(), answer.body.unwrap());
        assert_eq!(receipt.transaction_id, transaction_id(&desk.genesis, &body).to_vec());
        let operations: Vec<u32> = answer.contents.iter().map(|one| one.operation).collect();
        assert_eq!(operations, [0, 1]);
        let content = answer.contents[0].content.clone().unwrap();
        assert_eq!(content.reason(), Reason::LostDevice);
        let Some(Wire::SetStatus(op)) = &body.operations[0].operation else { panic!() };
        assert_eq!(op.content_hash, private_content_hash(&content).to_vec());
        let signatures = v1::PrivateSignatures {
            salt: answer.signatures_salt,
            operations: answer.contents.into_iter().filter_map(|one| one.signatures).collect(),
        };
        let hash = Tag::PrivateSignatures.hash(&[&encode(&signatures)]);
        assert_eq!(receipt.private_signatures_hash, hash.to_vec());
    }
    desk.doors.close().await;
}

/// Of a transaction of two issuers each reads its own part, and nothing of the other's.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_transaction_of_two_each_reads_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let mut desk = Desk::open(directory.path()).await;
    let id = desk.order(&[
        desk.enroll(HANDLE, 0, Change::End, Reason::LostDevice),
        desk.enroll_by(RIVAL, HANDLE, 1, Change::Reserve, Reason::FirstIssue),
    ]);
    for (office, expected, is_whole) in
        [(AGENCY, vec![0], false), (RIVAL, vec![1], false), (AUDITOR, vec![0, 1], true)]
    {
        let request = asked(&desk, office, contents(id));
        let answer = doors(&desk).await.private_contents(request).await.unwrap().into_inner();
        let operations: Vec<u32> = answer.contents.iter().map(|one| one.operation).collect();
        assert_eq!((operations, !answer.signatures_salt.is_empty()), (expected, is_whole));
    }
    desk.doors.close().await;
}

/// Who may not read is told the same, word for word, whether there is something or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_told_the_same_of_what_is_there_and_of_what_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let mut desk = Desk::open(directory.path()).await;
    let id = desk.order(&[desk.enroll(HANDLE, 0, Change::End, Reason::LostDevice)]);
    let public = desk.doors.ledger.storage.block(1).unwrap().unwrap();
    let public = desk.id(&public.transactions[0]);
    let reads = [
        entries(desk.list, &[ENTRY]),
        entries(Hash([9; 32]), &[ENTRY]),
        entries(desk.list, &[4_000_000]),
        enrollment(&desk, HANDLE),
        enrollment(&desk, NOBODY),
        contents(id),
        contents(public),
        contents(Hash([9; 32])),
    ];
    let mut answers = Vec::new();
    for office in [STRANGER, RIVAL] {
        for read in &reads {
            let status = refused(&desk, asked(&desk, office, read.clone())).await;
            let allowed = (Code::PermissionDenied, "READ_NOT_ALLOWED".to_owned());
            assert_eq!(refusal(&status), allowed, "{read:?}");
            answers.push((status.message().to_owned(), status.details().to_vec()));
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");

    // Nobody is an issuer by naming itself as one; whoever was one reads on.
    let own = |issuer: Office| {
        let issuer = issuer.digest().to_vec();
        Read::Enrollment(v1::ReadEnrollment {
            issuer,
            r#type: desk.of.to_vec(),
            handle: NOBODY.to_vec(),
        })
    };
    let status = refused(&desk, asked(&desk, STRANGER, own(STRANGER))).await;
    assert_eq!(refusal(&status).1, "READ_NOT_ALLOWED");
    assert_eq!((status.message().to_owned(), status.details().to_vec()), answers[0]);
    let of_rival = doors(&desk).await.own_enrollment(asked(&desk, RIVAL, own(RIVAL))).await;
    assert_eq!(of_rival.unwrap().into_inner().proof, None);

    // The issuer is told what there is not.
    let beyond = refused(&desk, asked(&desk, AGENCY, entries(desk.list, &[4_000_000]))).await;
    assert_eq!(refusal(&beyond).1, "INDEX_OUT_OF_RANGE");
    desk.doors.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_signed_for_this_read_of_this_minute_by_who_asks() {
    let directory = tempfile::tempdir().unwrap();
    let desk = Desk::open(directory.path()).await;
    let read = || enrollment(&desk, HANDLE);
    let good = asked(&desk, AGENCY, read());
    assert!(doors(&desk).await.own_enrollment(good.clone()).await.is_ok());

    let code = |status: Status| refusal(&status).1;
    // Another's key, a key of another use, and a signature over something else.
    let mut by_other = asked(&desk, STRANGER, read());
    by_other.statement.clone_from(&good.statement);
    assert_eq!(code(refused(&desk, by_other).await), "KEY_NOT_AUTHORIZED");
    let mut other = asked(&desk, AGENCY, enrollment(&desk, NOBODY));
    other.signature.clone_from(&good.signature);
    assert_eq!(code(refused(&desk, other).await), "BAD_SIGNATURE");
    let unsigned = v1::PrivateReadRequest { signature: None, ..good.clone() };
    assert_eq!(code(refused(&desk, unsigned).await), "SIGNATURE_LENGTH");
    let nobody = Office::new(90, 91);
    assert_eq!(code(refused(&desk, asked(&desk, nobody, read())).await), "UNKNOWN_ORGANIZATION");

    // One door's request is none at another.
    let status = doors(&desk).await.own_entries(good.clone()).await.unwrap_err();
    assert_eq!(code(status), "INVALID_READ");
    for indexes in [vec![], vec![2, 1], (0..1_025).collect()] {
        let form = asked(&desk, AGENCY, entries(desk.list, &indexes));
        assert_eq!(code(refused(&desk, form).await), "INVALID_READ");
    }
    let most = asked(&desk, AGENCY, entries(desk.list, &(0..1_024).collect::<Vec<u32>>()));
    let answer = doors(&desk).await.own_entries(most).await.unwrap().into_inner();
    assert_eq!(answer.entries.len(), 1_024);
    let noise = v1::PrivateReadRequest { statement: vec![0xff; 20], ..good.clone() };
    assert_eq!(code(doors(&desk).await.own_entries(noise).await.unwrap_err()), "INVALID_READ");

    // A header of this chain, and of this minute of ledger time.
    let tip = desk.doors.ledger.tip();
    let (height, hash) = (tip.height(), tip.hash);
    let forged = asked_over(&desk, AGENCY, read(), height, Hash([1; 32]));
    assert_eq!(code(refused(&desk, forged).await), "READ_EXPIRED");
    let ahead = asked_over(&desk, AGENCY, read(), height + 1, hash);
    assert_eq!(code(refused(&desk, ahead).await), "STALE");
    for (after_ms, expired) in [(60_000, false), (1, true)] {
        let time_ms = desk.doors.ledger.tip().header.time_ms + after_ms;
        let built = build(&desk.doors.ledger, time_ms);
        commit(&desk.doors.ledger, &built);
        let again = doors(&desk).await.own_enrollment(good.clone()).await;
        assert_eq!(again.err().map(code).is_some_and(|code| code == "READ_EXPIRED"), expired);
    }
    assert!(doors(&desk).await.own_enrollment(asked(&desk, AGENCY, read())).await.is_ok());
    desk.doors.close().await;
}

/// The right is walked at the height of the answer.
#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_whose_grant_was_withdrawn_reads_nothing_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let mut desk = Desk::open(directory.path()).await;
    let read = enrollment(&desk, HANDLE);
    let request = asked(&desk, AUDITOR, read.clone());
    assert!(doors(&desk).await.own_enrollment(request.clone()).await.is_ok());
    desk.order(&[desk.public(Wire::Withdraw(v1::Withdraw {
        by: AUDITOR.digest().to_vec(),
        grant: Some(v1::EndedGrant {
            organization: AUDITOR.digest().to_vec(),
            action: Action::Audit.into(),
            ..v1::EndedGrant::default()
        }),
    }))]);
    for request in [request, asked(&desk, AUDITOR, read)] {
        assert_eq!(refusal(&refused(&desk, request).await).1, "READ_NOT_ALLOWED");
    }
    desk.doors.close().await;
}

/// A24: reads leave no trace: nothing in any log, at any level, says who read what; and nothing is written.
#[tokio::test(flavor = "multi_thread")]
async fn a24_private_reads_leave_no_trace() {
    let directory = tempfile::tempdir().unwrap();
    let mut desk = Desk::open(directory.path()).await;
    let bytes = |hash: Hash| {
        let list: Vec<String> = hash.0.iter().map(u8::to_string).collect();
        let did = Did::new(super::support::NETWORK, hash).unwrap().to_string();
        [hex::encode(hash.0), list[..8].join(", "), did]
    };
    let mut words: Vec<String> = [HANDLE, NOBODY, desk.list].into_iter().flat_map(bytes).collect();
    words.extend([AUDITOR, STRANGER].into_iter().flat_map(|office| bytes(office.digest())));
    let log = everything_logged();
    let canary = "canary-of-the-ears";
    tokio::task::spawn_blocking(move || tracing::trace!(target: "sillok_node::api", "{canary}"))
        .await
        .unwrap();

    let before = desk.doors.ledger.tip();
    for office in [AUDITOR, STRANGER] {
        for handle in [HANDLE, NOBODY] {
            let request = asked(&desk, office, enrollment(&desk, handle));
            let _ = doors(&desk).await.own_enrollment(request).await;
        }
        let request = asked(&desk, office, entries(desk.list, &[ENTRY]));
        let _ = doors(&desk).await.own_entries(request).await;
        let request = asked(&desk, office, contents(Hash([9; 32])));
        let _ = doors(&desk).await.private_contents(request).await;
        let deed = desk.enroll(HANDLE, 0, Change::End, Reason::LostDevice);
        let trial = desk.transaction_by(STRANGER, &[deed]);
        let _ = desk.simulate(&trial, &[office.submit]).await;
    }
    let text = String::from_utf8_lossy(&log.lock().unwrap()).into_owned();
    let (_, since) = text.split_once(canary).expect("the ears hear");
    for word in &words {
        assert!(!since.contains(word), "{word} is in the log");
    }
    let tokens = since.split(|one: char| !one.is_ascii_alphanumeric());
    assert!(tokens.into_iter().all(|token| token != ENTRY.to_string()), "an index is in the log");
    assert!(desk.doors.ledger.mempool().is_empty());
    desk.commit();
    assert_eq!(desk.doors.ledger.tip().header.state_root, before.header.state_root);
    desk.doors.close().await;
}
