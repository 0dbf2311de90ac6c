//! The logs against RFC 6962: its definition, its published vectors, and every way to be wrong about a path.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sillok_ledger::merkle_log::{
    Frontier, HistoryFrontier, HistoryHasher, LogError, LogHasher, TransactionHasher, head_of_path,
    path, path_among, root, verify_path,
};
use sillok_proto::{Hash, v1::LogPath};
use std::collections::BTreeMap;

#[derive(serde::Deserialize)]
struct Vectors {
    leaves_hex: Vec<String>,
    roots_by_size_0_to_8_hex: Vec<String>,
    inclusion: Vec<Inclusion>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inclusion {
    leaf_idx: u64,
    tree_size: u64,
    root: String,
    leaf_hash: String,
    proof: Option<Vec<String>>,
    desc: String,
    want_err: bool,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../vectors/rfc6962-merkle.json")).unwrap()
}

fn hash(bytes: &[u8]) -> Hash {
    Hash::from_slice(bytes).unwrap()
}

fn leaves(count: usize) -> Vec<Hash> {
    (0..count).map(|n| HistoryHasher::leaf(&n.to_be_bytes())).collect()
}

/// MTH of RFC 6962 §2.1, word for word.
fn defined_root<H: LogHasher>(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => H::empty(),
        [leaf] => *leaf,
        _ => {
            let mut k = 1;
            while k * 2 < leaves.len() {
                k *= 2;
            }
            H::node(&defined_root::<H>(&leaves[..k]), &defined_root::<H>(&leaves[k..]))
        }
    }
}

#[test]
fn the_reference_roots_of_rfc_6962_come_out() {
    let vectors = vectors();
    let leaves: Vec<Hash> = vectors
        .leaves_hex
        .iter()
        .map(|leaf| HistoryHasher::leaf(&hex::decode(leaf).unwrap()))
        .collect();
    let mut frontier = HistoryFrontier::new();
    for (size, expected) in vectors.roots_by_size_0_to_8_hex.iter().enumerate() {
        assert_eq!(root::<HistoryHasher>(&leaves[..size]).to_string(), *expected);
        assert_eq!(frontier.root().to_string(), *expected);
        if let Some(leaf) = leaves.get(size) {
            frontier.append(*leaf).unwrap();
        }
    }
}

#[test]
fn the_published_inclusion_cases_are_judged_as_published() {
    let cases = vectors().inclusion;
    assert_eq!(cases.len(), 98);
    for case in cases {
        let decode = |text: &String| STANDARD.decode(text).unwrap();
        let path = LogPath {
            index: case.leaf_idx,
            size: case.tree_size,
            hashes: case.proof.unwrap_or_default().iter().map(decode).collect(),
        };
        let (leaf, expected) = (decode(&case.leaf_hash), decode(&case.root));
        let result = match (Hash::from_slice(&leaf), Hash::from_slice(&expected)) {
            (Some(leaf), Some(expected)) => {
                verify_path::<HistoryHasher>(&leaf, &path, &expected).is_ok()
            }
            _ => false,
        };
        assert_eq!(result, !case.want_err, "{}", case.desc);
    }
}

fn shape<H: LogHasher>() {
    const SIZE: usize = 70;
    let leaves = leaves(SIZE);
    let mut frontier = Frontier::<H>::new();
    let mut nodes = BTreeMap::new();
    for size in 0..=SIZE {
        let expected = defined_root::<H>(&leaves[..size]);
        assert_eq!(root::<H>(&leaves[..size]), expected);
        assert_eq!(frontier.root(), expected);
        assert_eq!(frontier.size(), size as u64);
        assert_eq!(Frontier::<H>::decode(&frontier.encode()).unwrap().root(), expected);
        for index in 0..size as u64 {
            // From the nodes that appending reported, and from the leaves alone.
            let path = path::<H, LogError>(index, size as u64, |level, index| {
                Ok(*nodes.get(&(level, index)).expect("only complete subtrees are asked for"))
            })
            .unwrap();
            assert_eq!(path_among::<H>(&leaves[..size], index).unwrap(), path);
            let leaf = leaves[usize::try_from(index).unwrap()];
            verify_path::<H>(&leaf, &path, &expected).unwrap();
        }
        if let Some(leaf) = leaves.get(size) {
            let made = frontier.append(*leaf).unwrap();
            assert_eq!((made[0].level, made[0].index, made[0].hash), (0, size as u64, *leaf));
            nodes.extend(made.into_iter().map(|node| ((node.level, node.index), node.hash)));
        }
    }
}

#[test]
fn frontier_leaves_and_definition_agree_for_the_history_log() {
    shape::<HistoryHasher>();
}

#[test]
fn frontier_leaves_and_definition_agree_for_transactions() {
    shape::<TransactionHasher>();
}

#[test]
fn a_path_holds_for_no_other_index_size_length_or_bit() {
    for size in 1..20_u64 {
        let leaves = leaves(usize::try_from(size).unwrap());
        let head = root::<HistoryHasher>(&leaves);
        for index in 0..size {
            let leaf = leaves[usize::try_from(index).unwrap()];
            let good = path_among::<HistoryHasher>(&leaves, index).unwrap();
            let refused = |path: &LogPath| {
                assert!(verify_path::<HistoryHasher>(&leaf, path, &head).is_err(), "{path:?}");
            };
            for other in (0..size + 3).filter(|other| *other != index) {
                refused(&LogPath { index: other, ..good.clone() });
            }
            refused(&LogPath {
                hashes: [good.hashes.clone(), vec![vec![0; 32]]].concat(),
                ..good.clone()
            });
            refused(&LogPath {
                hashes: [vec![vec![0; 32]], good.hashes.clone()].concat(),
                ..good.clone()
            });
            for (nth, hash) in good.hashes.iter().enumerate() {
                let mut path = good.clone();
                path.hashes.remove(nth);
                refused(&path);
                for bit in 0..hash.len() * 8 {
                    let mut path = good.clone();
                    path.hashes[nth][bit / 8] ^= 1 << (bit % 8);
                    refused(&path);
                }
                let mut path = good.clone();
                path.hashes[nth].push(0);
                refused(&path);
            }
        }
    }
}

#[test]
fn the_length_of_a_path_is_that_of_its_index_and_size() {
    // A longer log may have the same path length for an index; the size is bound by what holds the head.
    let leaf = hash(&[1; 32]);
    let path = |index, size, len| LogPath { index, size, hashes: vec![vec![0; 32]; len] };
    let check = |path: LogPath| head_of_path::<HistoryHasher>(&leaf, &path);
    assert_eq!(check(path(0, 1, 0)).unwrap(), leaf);
    assert_eq!(check(path(0, 0, 0)), Err(LogError::IndexOutOfRange { index: 0, size: 0 }));
    assert_eq!(check(path(0, 1, 1)), Err(LogError::PathLength { index: 0, size: 1, len: 1 }));
    assert_eq!(check(path(4, 5, 2)), Err(LogError::PathLength { index: 4, size: 5, len: 2 }));
    assert!(check(path(4, 5, 1)).is_ok());
    assert!(check(path(u64::MAX - 1, u64::MAX, 63)).is_ok());
    assert!(check(path(0, u64::MAX, 64)).is_ok());
    assert!(check(path(0, u64::MAX, 65)).is_err());
}

#[test]
fn a_frontier_of_another_length_is_refused() {
    let mut frontier = HistoryFrontier::new();
    for leaf in leaves(11) {
        frontier.append(leaf).unwrap();
    }
    let bytes = frontier.encode();
    assert_eq!(bytes.len(), 8 + 3 * 32);
    for len in 0..bytes.len() {
        assert!(HistoryFrontier::decode(&bytes[..len]).is_err());
    }
    assert!(HistoryFrontier::decode(&[bytes.clone(), vec![0; 32]].concat()).is_err());
    let mut full = u64::MAX.to_be_bytes().to_vec();
    full.extend([7; 64 * 32]);
    assert_eq!(HistoryFrontier::decode(&full).unwrap().append(hash(&[0; 32])), Err(LogError::Full));
}

#[test]
fn a_source_that_fails_makes_no_path() {
    assert_eq!(
        path::<HistoryHasher, LogError>(3, 8, |_, _| Err(LogError::Full)),
        Err(LogError::Full)
    );
    assert_eq!(
        path_among::<HistoryHasher>(&leaves(3), 3),
        Err(LogError::IndexOutOfRange { index: 3, size: 3 })
    );
}
