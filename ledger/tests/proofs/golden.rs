//! The golden bytes: what is hashed and signed here, for clients in other languages. They are law: a change to one is a
//! new protocol version (PROTOCOL, Part I).

use crate::support::{GENESIS, Store, TestChain, certify_by_quorum, validators};
use sillok_ledger::certificate::{
    header_hash, precommit_string, prevote_string, proposal_string, refusal_string,
    validator_set_hash,
};
use sillok_ledger::merkle_log::{
    HistoryFrontier, HistoryHasher, TransactionHasher, transactions_root,
};
use sillok_ledger::proof::PLACEHOLDER;
use sillok_ledger::snapshot::{Prefix, verify_subtree};
use sillok_ledger::{TreeKey, tree};
use sillok_proto::{Hash, encode, v1};
use std::collections::BTreeMap;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/proofs.json");

fn bytes(n: u8) -> Hash {
    Hash([n; 32])
}

fn last_bit(mut key: [u8; 32]) -> [u8; 32] {
    key[31] ^= 1;
    key
}

fn empty_place(mut key: [u8; 32]) -> [u8; 32] {
    key[31] = 0x50;
    key
}

/// Name of the vector (which says its inputs) to hex.
fn vectors() -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut put = |name: &str, bytes: &[u8]| {
        assert!(out.insert(name.to_owned(), hex::encode(bytes)).is_none());
    };

    put("tree-key did_head 01*32", TreeKey::did_head(&bytes(1)).as_bytes());
    put("tree-key used_key 02*32", TreeKey::used_key(&bytes(2)).as_bytes());
    put(
        "tree-key grant 03*32 submit",
        TreeKey::grant(&bytes(3), v1::Action::Submit, &[]).as_bytes(),
    );
    put(
        "tree-key grant 03*32 issue resource 0a0b",
        TreeKey::grant(&bytes(3), v1::Action::Issue, &[0x0a, 0x0b]).as_bytes(),
    );
    put("tree-key operator 04*32", TreeKey::operator(&bytes(4)).as_bytes());
    put("tree-key organization 04*32", TreeKey::organization(&bytes(4)).as_bytes());
    put("tree-key observer 05*32", TreeKey::observer(&[5; 32]).as_bytes());
    put("tree-key parameters", TreeKey::parameters().as_bytes());

    put("state root of no leaves", &PLACEHOLDER.0);
    // The four keys share 0, 4 and 255 bits with the first.
    let keys = [[0x55; 32], [0xaa; 32], [0x5a; 32], last_bit([0x55; 32])].map(TreeKey);
    let (store, root) =
        Store::of(keys.into_iter().zip([vec![1], vec![2], vec![3], vec![]]).collect());
    put("state root of 55*32 = 01, aa*32 = 02, 5a*32 = 03, 55*31 54 = empty", &root.0);
    for (name, key) in [
        ("present 55*32", keys[0]),
        ("present aa*32", keys[1]),
        ("present 5a*32", keys[2]),
        ("present and empty 55*31 54", keys[3]),
        ("absent ab*32, shown by aa*32", TreeKey([0xab; 32])),
        ("absent 55*31 50, shown by an empty place", TreeKey(empty_place([0x55; 32]))),
    ] {
        put(&format!("state entry {name}"), &encode(&tree::prove(&store, 0, &key).unwrap()));
    }

    let values = [vec![1_u8], vec![2], vec![3], vec![]];
    for (name, key, bits) in [
        ("of 0 bits: all four leaves", keys[0], 0),
        ("of 4 bits 5: three leaves", keys[0], 4),
        ("of 9 bits 55 0: two leaves", keys[0], 9),
        ("of 6 bits a8: the leaf aa*32, which stands higher", keys[1], 6),
        ("of 4 bits b: none, shown by aa*32", TreeKey([0xbb; 32]), 4),
        ("of 3 bits 0: none, shown by an empty place", TreeKey([0x00; 32]), 3),
    ] {
        let prefix = Prefix::of(&key, bits);
        let mut leaves: Vec<v1::SubtreeLeaf> = keys
            .iter()
            .zip(&values)
            .filter(|(key, _)| prefix.contains(key))
            .map(|(key, value)| v1::SubtreeLeaf { key: key.to_vec(), value: value.clone() })
            .collect();
        leaves.sort_by(|one, other| one.key.cmp(&other.key));
        let subtree = v1::Subtree {
            prefix: prefix.to_vec(),
            prefix_bits: bits,
            leaves,
            path: Some(tree::subtree_path(&store, 0, &prefix).unwrap()),
        };
        assert!(verify_subtree(&root, &prefix, &subtree).is_ok(), "{name}");
        put(&format!("subtree {name}"), &encode(&subtree));
    }

    let leaves: Vec<Hash> = (0..5)
        .map(|n| TransactionHasher::leaf(&bytes(n), &bytes(n + 0x10), &bytes(n + 0x20)))
        .collect();
    put("transaction leaf 00*32 10*32 20*32", &leaves[0].0);
    for count in 0..=5 {
        put(
            &format!("transactions root of the first {count} leaves n*32 1n*32 2n*32"),
            &transactions_root(&leaves[..count]).0,
        );
    }

    let mut frontier = HistoryFrontier::new();
    for n in 0..5 {
        put(&format!("history root of the first {n} headers hashing to n*32"), &frontier.root().0);
        frontier.append(HistoryHasher::leaf(&bytes(n).0)).unwrap();
    }
    put("history frontier of the first 5 headers hashing to n*32", &frontier.encode());

    let set = validators(1..=4).set;
    put(
        "validator set (ed25519 secrets 01*32 to 04*32, organizations BLAKE3 of the keys)",
        &encode(&set),
    );
    put("validator set hash", &validator_set_hash(&set).0);
    let header = TestChain::new(1, None, |_| validators(1..=4)).header(1);
    put("header", &encode(&header));
    put("header hash", &header_hash(&header).0);
    put(
        "signed header (the first three sign in round 1)",
        &encode(&certify_by_quorum(&header, &validators(1..=4))),
    );

    let vote = |header_hash: Vec<u8>| v1::VoteStatement { height: 7, round: 2, header_hash };
    put(
        "prevote string genesis ab*32 height 7 round 2 header 06*32",
        &prevote_string(&GENESIS, &vote(vec![6; 32])),
    );
    put(
        "prevote string genesis ab*32 height 7 round 2 nil",
        &prevote_string(&GENESIS, &vote(vec![])),
    );
    put(
        "precommit string genesis ab*32 height 7 round 2 header 06*32",
        &precommit_string(&GENESIS, &vote(vec![6; 32])),
    );
    put(
        "precommit string genesis ab*32 height 7 round 2 nil",
        &precommit_string(&GENESIS, &vote(vec![])),
    );
    let first = v1::VoteStatement { height: 1, round: 0, header_hash: vec![6; 32] };
    put(
        "precommit string genesis ab*32 height 1 round 0 header 06*32",
        &precommit_string(&GENESIS, &first),
    );
    let proposal = |pol_round| v1::ProposalStatement {
        height: 7,
        round: 2,
        header_hash: vec![6; 32],
        pol_round,
    };
    put(
        "proposal string genesis ab*32 height 7 round 2 header 06*32 fresh",
        &proposal_string(&GENESIS, &proposal(0)),
    );
    put(
        "proposal string genesis ab*32 height 7 round 2 header 06*32 locked in round 0",
        &proposal_string(&GENESIS, &proposal(1)),
    );
    put(
        "refusal string genesis ab*32 height 7 round 2 header 06*32",
        &refusal_string(&GENESIS, &vote(vec![6; 32])),
    );
    out
}

#[test]
fn the_golden_bytes_do_not_change() {
    let actual = vectors();
    let text = std::fs::read_to_string(FILE).unwrap_or_else(|_| "{}".to_owned());
    let golden: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
    let changed: Vec<&String> = actual
        .iter()
        .filter(|(name, hex)| golden.get(*name) != Some(*hex))
        .map(|(name, _)| name)
        .collect();
    assert!(
        actual == golden,
        "these bytes are law; {changed:?} differ from {FILE}, which would have to say:\n{}",
        serde_json::to_string_pretty(&actual).unwrap()
    );
}
