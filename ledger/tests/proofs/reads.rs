//! What a verifier reads: state, receipts, older headers. And each way in which a node may lie about them.

use crate::support::{GENESIS, Store, TestChain, blake3_of, certify_by_quorum, validators};
use sillok_ledger::certificate::{CertificateError, HeaderError, header_hash};
use sillok_ledger::merkle_log::{self, HistoryHasher, LogError, TransactionHasher};
use sillok_ledger::proof::{
    EntryError, ProofError, verify_entries, verify_history_proof, verify_receipt,
    verify_state_proof,
};
use sillok_ledger::{TreeKey, tree};
use sillok_proto::{Hash, v1};
use std::collections::BTreeMap;

/// A chain whose tip commits to a state of three DIDs, and that state.
fn world() -> (TestChain, v1::SignedHeader, Store) {
    let chain = TestChain::new(9, None, |_| validators(1..=4));
    let values: BTreeMap<TreeKey, Vec<u8>> =
        (1..=3).map(|n| (TreeKey::did_head(&Hash([n; 32])), vec![n; 5])).collect();
    let (store, root) = Store::of(values);
    let mut header = chain.header(9);
    header.state_root = root.to_vec();
    let signed = certify_by_quorum(&header, chain.set(9));
    (chain, signed, store)
}

fn read(store: &Store, signed: &v1::SignedHeader, dids: &[u8]) -> v1::StateProof {
    v1::StateProof {
        signed_header: Some(signed.clone()),
        entries: dids
            .iter()
            .map(|n| tree::prove(store, 0, &TreeKey::did_head(&Hash([*n; 32]))).unwrap())
            .collect(),
    }
}

#[test]
fn b4_a_state_proof_says_what_each_key_holds_and_nothing_about_others() {
    let (chain, signed, store) = world();
    let proof = read(&store, &signed, &[1, 2, 9]);
    let state = verify_state_proof(&GENESIS, &proof, &chain.set(9).set).unwrap();
    let key = |n| TreeKey::did_head(&Hash([n; 32]));
    assert_eq!(state.value(&key(1)).unwrap(), Some([1_u8; 5].as_slice()));
    assert_eq!(state.value(&key(9)).unwrap(), None);
    assert_eq!(state.value(&key(3)), Err(ProofError::NotCovered));
    assert_eq!(state.entries().count(), 3);
    assert_eq!(state.header().height(), 9);
    assert_eq!(state.header().time_ms(), chain.header(9).time_ms);
    assert_eq!(state.header().hash(), header_hash(signed.header.as_ref().unwrap()));
    // Several proofs under one header need its signatures once.
    let again =
        verify_entries(state.header().clone(), &read(&store, &signed, &[3]).entries).unwrap();
    assert_eq!(again.value(&key(3)).unwrap(), Some([3_u8; 5].as_slice()));
}

#[test]
fn b4_a_lie_about_the_state_is_caught() {
    let (chain, signed, store) = world();
    let set = &chain.set(9).set;
    let good = read(&store, &signed, &[1, 9]);
    let refuse = |change: &dyn Fn(&mut v1::StateProof)| {
        let mut proof = good.clone();
        change(&mut proof);
        verify_state_proof(&GENESIS, &proof, set).unwrap_err()
    };
    // A forged value, a withheld leaf, a state of another height.
    assert!(matches!(
        refuse(&|proof| proof.entries[0].value = vec![7]),
        ProofError::Entry { index: 0, source: EntryError::WrongRoot { .. } }
    ));
    assert!(matches!(
        refuse(&|proof| {
            proof.entries[0].present = false;
            proof.entries[0].value.clear();
        }),
        ProofError::Entry { index: 0, source: EntryError::WrongRoot { .. } }
    ));
    assert!(matches!(
        refuse(&|proof| proof.signed_header = Some(chain.signed(8))),
        ProofError::Entry { index: 0, source: EntryError::WrongRoot { .. } }
    ));
    // The same key twice: the second answer would hide the first.
    assert_eq!(
        refuse(&|proof| proof.entries.push(proof.entries[1].clone())),
        ProofError::RepeatedKey { index: 2 }
    );
    // Nobody's header, another network's, another set's.
    assert_eq!(
        refuse(&|proof| proof.signed_header = None),
        ProofError::Certificate(CertificateError::Header(HeaderError::Missing))
    );
    assert_eq!(
        refuse(&|proof| proof.signed_header.as_mut().unwrap().certificate = None),
        ProofError::Certificate(CertificateError::Missing)
    );
    assert!(matches!(
        verify_state_proof(&Hash([1; 32]), &good, set).unwrap_err(),
        ProofError::Certificate(CertificateError::Header(HeaderError::WrongNetwork { .. }))
    ));
    assert!(matches!(
        verify_state_proof(&GENESIS, &good, &validators(5..=8).set).unwrap_err(),
        ProofError::Certificate(CertificateError::WrongValidatorSet { .. })
    ));
}

fn transactions(count: u8) -> Vec<[Hash; 3]> {
    (0..count)
        .map(|n| [1, 2, 3].map(|part| Hash::from_slice(&blake3_of(&[n, part])).unwrap()))
        .collect()
}

fn receipt(chain: &TestChain, count: u8, index: u8) -> v1::Receipt {
    let transactions = transactions(count);
    let leaves: Vec<Hash> = transactions
        .iter()
        .map(|[id, public, private]| TransactionHasher::leaf(id, public, private))
        .collect();
    let mut header = chain.header(9);
    header.transactions_root = merkle_log::transactions_root(&leaves).to_vec();
    let [id, public, private] = transactions[usize::from(index)];
    v1::Receipt {
        signed_header: Some(certify_by_quorum(&header, chain.set(9))),
        transaction_id: id.to_vec(),
        signatures_hash: public.to_vec(),
        private_signatures_hash: private.to_vec(),
        path: Some(merkle_log::path_among::<TransactionHasher>(&leaves, index.into()).unwrap()),
    }
}

#[test]
fn c3_a_receipt_shows_the_place_of_a_transaction() {
    let chain = TestChain::new(9, None, |_| validators(1..=4));
    for count in 1..=9 {
        for index in 0..count {
            let receipt = receipt(&chain, count, index);
            let verified = verify_receipt(&GENESIS, &receipt, &chain.set(9).set).unwrap();
            assert_eq!(verified.transaction_id.to_vec(), receipt.transaction_id);
            assert_eq!((verified.index, verified.header.height()), (u32::from(index), 9));
        }
    }
}

#[test]
fn c3_a_false_receipt_is_refused() {
    let chain = TestChain::new(9, None, |_| validators(1..=4));
    let good = receipt(&chain, 5, 3);
    let refuse = |change: &dyn Fn(&mut v1::Receipt)| {
        let mut receipt = good.clone();
        change(&mut receipt);
        verify_receipt(&GENESIS, &receipt, &chain.set(9).set).unwrap_err()
    };
    let path = |receipt: &mut v1::Receipt| receipt.path.take().unwrap();
    assert!(matches!(refuse(&|it| it.transaction_id[0] ^= 1), ProofError::NotInBlock { .. }));
    assert!(matches!(refuse(&|it| it.signatures_hash[0] ^= 1), ProofError::NotInBlock { .. }));
    assert!(matches!(
        refuse(&|it| it.private_signatures_hash[0] ^= 1),
        ProofError::NotInBlock { .. }
    ));
    assert_eq!(
        refuse(&|it| it.signatures_hash.clear()),
        ProofError::FieldLength { field: "signatures_hash", len: 0 }
    );
    assert_eq!(refuse(&|it| it.path = None), ProofError::NoPath);
    // The count is hashed, so a path of the same length in a larger log does not fit.
    assert!(matches!(
        refuse(&|it| it.path = Some(v1::LogPath { size: 6, ..path(it) })),
        ProofError::NotInBlock { .. }
    ));
    assert!(matches!(
        refuse(&|it| it.path = Some(v1::LogPath { index: 2, ..path(it) })),
        ProofError::NotInBlock { .. }
    ));
    let deep = v1::LogPath { index: 0, size: 1 << 33, hashes: vec![vec![0; 32]; 33] };
    assert_eq!(refuse(&|it| it.path = Some(deep.clone())), ProofError::BlockSize { size: 1 << 33 });
    assert!(matches!(
        refuse(&|it| it.signed_header = Some(chain.signed(8))),
        ProofError::NotInBlock { .. }
    ));
    let bytes = sillok_proto::encode(&good);
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let Ok(forged) = sillok_proto::decode::<v1::Receipt>(&bytes, bytes.len()) else { continue };
        assert!(verify_receipt(&GENESIS, &forged, &chain.set(9).set).is_err(), "byte {at}");
    }
}

#[test]
fn d4_any_older_header_is_proved_from_a_later_one_without_old_keys() {
    // The set changes at every height; only the last set is known.
    let chain = TestChain::new(9, None, |height| {
        let first = u8::try_from(height).unwrap();
        validators(first..first + 4)
    });
    for older in 0..9 {
        let proof = chain.history(9, older);
        let verified = verify_history_proof(&GENESIS, &proof, &chain.set(9).set).unwrap();
        assert_eq!(*verified.ancestor.header(), chain.header(older));
        assert_eq!(verified.header.height(), 9);
    }
}

#[test]
fn a_false_ancestor_is_refused() {
    let chain = TestChain::new(9, None, |_| validators(1..=4));
    let branch = TestChain::new(9, Some(5), |_| validators(1..=4));
    let good = chain.history(9, 5);
    let refuse = |change: &dyn Fn(&mut v1::HistoryProof)| {
        let mut proof = good.clone();
        change(&mut proof);
        verify_history_proof(&GENESIS, &proof, &chain.set(9).set).unwrap_err()
    };
    assert!(matches!(
        refuse(&|proof| proof.header = Some(branch.header(5))),
        ProofError::Log(LogError::WrongHead { .. })
    ));
    assert_eq!(
        refuse(&|proof| proof.header = Some(chain.header(4))),
        ProofError::WrongHistoryIndex { index: 5, height: 4 }
    );
    // A path to the history root of an earlier height, and one in a log that was never so long.
    assert_eq!(
        refuse(&|proof| proof.path = chain.history(8, 5).path),
        ProofError::WrongHistorySize { size: 8, height: 9 }
    );
    assert_eq!(
        refuse(&|proof| proof.signed_header = Some(chain.signed(8))),
        ProofError::WrongHistorySize { size: 9, height: 8 }
    );
    assert_eq!(refuse(&|proof| proof.header = None), ProofError::OlderHeader(HeaderError::Missing));
    assert_eq!(refuse(&|proof| proof.path = None), ProofError::NoPath);
    assert!(matches!(
        refuse(&|proof| proof.header.as_mut().unwrap().genesis_hash = vec![1; 32]),
        ProofError::OlderHeader(HeaderError::WrongNetwork { .. })
    ));
    // A node of the log is no header, whatever it hashes to.
    let leaf = HistoryHasher::leaf(&header_hash(&chain.header(5)).0);
    assert_ne!(leaf, header_hash(&chain.header(5)));
    let bytes = sillok_proto::encode(&good);
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let Ok(forged) = sillok_proto::decode::<v1::HistoryProof>(&bytes, bytes.len()) else {
            continue;
        };
        assert!(verify_history_proof(&GENESIS, &forged, &chain.set(9).set).is_err(), "byte {at}");
    }
}
