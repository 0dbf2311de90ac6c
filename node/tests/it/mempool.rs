//! What waits, while blocks are built and committed around it.

use super::support::{build, commit, create, now_ms, open};
use sillok_node::ledger::SubmitError;
use sillok_proto::Hash;

#[test]
fn who_loses_in_a_block_that_is_not_decided_still_waits() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path());
    let genesis = *ledger.chain.hash();
    let until = now_ms() + 60_000;
    let ids: Vec<Hash> = [until, until + 1]
        .map(|until| ledger.submit(create(&genesis, 9, until).1).unwrap().0)
        .to_vec();
    let built = build(&ledger, now_ms());
    assert_eq!((built.built.block.transactions.len(), built.built.refused.len()), (1, 1));
    for (index, error) in &built.built.refused {
        ledger.drop_refused(&built.candidates[*index], error).unwrap();
    }
    assert!(ids.iter().all(|id| ledger.mempool().contains(id)), "nothing is decided yet");

    commit(&ledger, &built);
    assert!(ledger.mempool().is_empty());
    assert!(!*ledger.watch_pending().borrow());
    let loser = built.candidates[built.built.refused[0].0].id();
    let refusal = ledger.storage.refusal(&loser).unwrap().unwrap();
    assert_eq!(refusal.problem.unwrap().code, "ALREADY_EXISTS");
}

#[test]
fn a_proposer_whose_clock_is_ahead_forgets_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path());
    let (id, transaction) = create(ledger.chain.hash(), 9, now_ms() + 60_000);
    ledger.submit(transaction).unwrap();
    let built = build(&ledger, now_ms() + 3_600_000);
    let [(index, error)] = built.built.refused.as_slice() else { panic!("it is too late then") };
    ledger.drop_refused(&built.candidates[*index], error).unwrap();
    assert!(ledger.mempool().contains(&id));
    assert_eq!(ledger.storage.refusal(&id).unwrap(), None);
}

#[test]
fn what_is_refused_at_the_door_is_remembered_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path());
    let (id, mut transaction) = create(ledger.chain.hash(), 9, now_ms() + 60_000);
    let signature = transaction.signatures.as_mut().unwrap().submitter.as_mut().unwrap();
    signature.signature[0] ^= 1;
    let refused = ledger.submit(transaction);
    assert!(matches!(refused, Err(SubmitError::Admission(_))), "{refused:?}");
    assert!(ledger.mempool().is_empty());
    assert_eq!(ledger.storage.refusal(&id).unwrap(), None);
    // The same body with its own signature is not the worse for it: nothing is held against an id (II.2).
    ledger.submit(create(ledger.chain.hash(), 9, now_ms() + 60_000).1).unwrap();
}

#[test]
fn a_committed_transaction_does_not_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path());
    let (_, transaction) = create(ledger.chain.hash(), 9, now_ms() + 60_000);
    ledger.submit(transaction.clone()).unwrap();
    let built = build(&ledger, now_ms());
    commit(&ledger, &built);
    assert!(ledger.submit(transaction).is_err());
    assert!(ledger.mempool().is_empty());
}
