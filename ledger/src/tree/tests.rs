//! The tree against a model (a sorted map and the definition of the root), and against `jmt`'s own proofs.

#![allow(clippy::unwrap_used, reason = "what a test builds must be buildable")]

use super::{
    Adapter, Blake3, Grown, NodeReader, TreeUpdate, decode_node, grow, grow_root, prove, root,
    subtree_path, update,
};
use crate::proof::{EntryError, PLACEHOLDER, internal_hash, leaf_hash, value_hash, verify_entry};
use crate::snapshot::{Prefix, SnapshotError, verify_subtree};
use crate::{LeafKind, StateFault, TreeKey};
use jmt::proof::SparseMerkleProof;
use jmt::{JellyfishMerkleTree, KeyHash, RootHash};
use proptest::prelude::*;
use sillok_proto::{Hash, decode, encode, v1};
use std::collections::BTreeMap;

type Model = BTreeMap<TreeKey, Vec<u8>>;

/// Nodes and values in memory, as a node would keep them.
#[derive(Default, Clone)]
struct Store {
    nodes: BTreeMap<Vec<u8>, Vec<u8>>,
    values: BTreeMap<(TreeKey, u64), Option<Vec<u8>>>,
    broken: bool,
}

impl NodeReader for Store {
    fn node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateFault> {
        if self.broken {
            return Err(StateFault::new("the disk is on fire"));
        }
        Ok(self.nodes.get(key).cloned())
    }

    fn value(&self, key: &TreeKey, max_version: u64) -> Result<Option<Vec<u8>>, StateFault> {
        let newest = self.values.range((*key, 0)..=(*key, max_version)).next_back();
        Ok(newest.and_then(|(_, value)| value.clone()))
    }
}

impl Store {
    fn apply(&mut self, update: &TreeUpdate) {
        self.nodes.extend(update.nodes.iter().cloned());
        for (key, value) in &update.values {
            self.values.insert((*key, update.version), value.clone());
        }
    }

    fn write(&mut self, version: u64, writes: &Model) -> TreeUpdate {
        let update = update(self, version, writes).unwrap();
        self.apply(&update);
        update
    }
}

/// The root by definition: an empty subtree is the placeholder, a subtree of one leaf is that leaf.
fn defined_root(leaves: &[(&TreeKey, Hash)], depth: usize) -> Hash {
    match leaves {
        [] => PLACEHOLDER,
        [(key, value_hash)] => leaf_hash(key, value_hash),
        _ => {
            let right = |(key, _): &(&TreeKey, Hash)| key.0[depth / 8] & (0x80 >> (depth % 8)) != 0;
            let middle = leaves.partition_point(|leaf| !right(leaf));
            let (left, right) = leaves.split_at(middle);
            internal_hash(&defined_root(left, depth + 1), &defined_root(right, depth + 1))
        }
    }
}

fn model_root(model: &Model) -> Hash {
    let leaves: Vec<_> = model.iter().map(|(key, value)| (key, value_hash(value))).collect();
    defined_root(&leaves, 0)
}

/// Our entry verifies, says what the model says, and is the proof that `jmt` makes and verifies itself.
fn check(store: &Store, version: u64, model: &Model, key: &TreeKey) {
    let state_root = model_root(model);
    let entry = prove(store, version, key).unwrap();
    let verified = verify_entry(&state_root, &entry).unwrap();
    assert_eq!(verified.key, *key);
    assert_eq!(verified.value, model.get(key).map(Vec::as_slice));

    let adapter = Adapter(store);
    let tree = JellyfishMerkleTree::<'_, _, Blake3>::new(&adapter);
    let (value, proof) = tree.get_with_proof(KeyHash(key.0), version).unwrap();
    assert_eq!(value.as_ref(), model.get(key));
    proof.verify(RootHash(state_root.0), KeyHash(key.0), value).unwrap();
    assert_eq!(path_of(&proof, key), entry.path.unwrap());
}

/// The path of a proof of `jmt`, read from its encoding: leaf (option), siblings (0 null, 1 internal, 2 leaf).
fn path_of(proof: &SparseMerkleProof<Blake3>, key: &TreeKey) -> v1::TreePath {
    let bytes = borsh::to_vec(proof).unwrap();
    let mut rest = bytes.as_slice();
    let mut take = |len: usize| {
        let (head, tail) = rest.split_at(len);
        rest = tail;
        head.to_vec()
    };
    let mut path = v1::TreePath::default();
    if take(1) == [1] {
        let (leaf_key, value_hash) = (take(32), take(32));
        if leaf_key != key.0 {
            (path.other_key, path.other_value_hash) = (leaf_key, value_hash);
        }
    }
    let count = u32::from_le_bytes(take(4).try_into().unwrap());
    for _ in 0..count {
        let sibling = match take(1)[..] {
            [0] => Vec::new(),
            [kind] => {
                let left = Hash::from_slice(&take(32)).unwrap();
                let right = Hash::from_slice(&take(32)).unwrap();
                let internal = kind == 1;
                let hash = if internal {
                    internal_hash(&left, &right)
                } else {
                    leaf_hash(&TreeKey(left.0), &right)
                };
                hash.to_vec()
            }
            _ => unreachable!(),
        };
        path.siblings.push(sibling);
    }
    assert!(rest.is_empty());
    path
}

/// Keys that share long prefixes: one of two bases with a few bits flipped anywhere.
fn crafted_key() -> impl Strategy<Value = TreeKey> {
    (any::<bool>(), prop::collection::vec(0_usize..256, 0..3)).prop_map(|(base, flips)| {
        let mut key = if base { [0x5a; 32] } else { [0x1f; 32] };
        for flip in flips {
            key[flip / 8] ^= 0x80 >> (flip % 8);
        }
        TreeKey(key)
    })
}

fn any_key() -> impl Strategy<Value = TreeKey> {
    prop_oneof![3 => crafted_key(), 1 => any::<[u8; 32]>().prop_map(TreeKey)]
}

fn writes() -> impl Strategy<Value = Model> {
    prop::collection::btree_map(any_key(), prop::collection::vec(any::<u8>(), 0..6), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_version_has_the_defined_root_and_proves_every_key_present_or_absent(
        blocks in prop::collection::vec(writes(), 1..6),
        strangers in prop::collection::vec(any_key(), 8),
    ) {
        let mut store = Store::default();
        let mut model = Model::new();
        let mut versions = Vec::new();
        for (version, block) in (0..).zip(&blocks) {
            let update = store.write(version, block);
            model.extend(block.clone());
            prop_assert_eq!(update.root, model_root(&model));
            prop_assert_eq!(root(&store, version).unwrap(), update.root);
            versions.push(model.clone());
        }
        // Old versions are proved after all are written, each with the keys of every version.
        for (version, at) in (0..).zip(&versions) {
            for key in model.keys().chain(&strangers) {
                check(&store, version, at, key);
            }
        }
    }

    #[test]
    fn the_tip_needs_no_stale_node(blocks in prop::collection::vec(writes(), 2..6)) {
        let mut store = Store::default();
        let mut model = Model::new();
        for (version, block) in (0..).zip(&blocks) {
            let update = store.write(version, block);
            for stale in &update.stale {
                prop_assert!(store.nodes.remove(stale).is_some(), "a stale key that was never written");
            }
            model.extend(block.clone());
            for key in model.keys() {
                check(&store, version, &model, key);
            }
            // All that is left is of use: as many leaf nodes as leaves, one root.
            prop_assert_eq!(store.nodes.keys().filter(|key| key[8] == 0).count(), 1);
        }
    }
}

/// What an honest node answers.
fn subtree(store: &Store, version: u64, model: &Model, prefix: &Prefix) -> v1::Subtree {
    let leaves = model.iter().filter(|(key, _)| prefix.contains(key));
    v1::Subtree {
        prefix: prefix.to_vec(),
        prefix_bits: prefix.bits(),
        leaves: leaves
            .map(|(key, value)| v1::SubtreeLeaf { key: key.to_vec(), value: value.clone() })
            .collect(),
        path: Some(subtree_path(store, version, prefix).unwrap()),
    }
}

/// A cover of the tree by prefixes of whole nibbles, split where `wide` says so.
fn cover(prefix: Prefix, wide: &dyn Fn(&Prefix) -> bool, out: &mut Vec<Prefix>) {
    if wide(&prefix) {
        prefix.split().into_iter().for_each(|part| cover(part, wide, out));
    } else {
        out.push(prefix);
    }
}

/// The tree of `version`, grown from subtrees of at most `leaves_max` leaves.
fn grown(model: &Model, version: u64, leaves_max: usize) -> (Store, Hash) {
    let hashes: Vec<(TreeKey, Hash)> =
        model.iter().map(|(key, value)| (*key, value_hash(value))).collect();
    let under = |prefix: &Prefix| hashes.iter().filter(|(key, _)| prefix.contains(key)).count();
    let mut prefixes = Vec::new();
    cover(Prefix::ALL, &|prefix| under(prefix) > leaves_max, &mut prefixes);
    let mut store = Store::default();
    let mut parts = Vec::new();
    for prefix in prefixes {
        let leaves = hashes.iter().filter(|(key, _)| prefix.contains(key));
        let (part, nodes) = grow(version, &prefix, leaves).unwrap();
        store.nodes.extend(nodes);
        parts.push((prefix, part));
    }
    let (root, nodes) = grow_root(version, &parts).unwrap();
    store.nodes.extend(nodes);
    for (key, value) in model {
        store.values.insert((*key, version), Some(value.clone()));
    }
    (store, root)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_prefix_has_a_subtree_that_verifies_and_holds_all_its_leaves(
        model in writes(),
        keys in prop::collection::vec((any_key(), 0_u32..=256), 8),
    ) {
        let mut store = Store::default();
        let root = store.write(0, &model).root;
        let of_leaves = model.keys().flat_map(|key| [0, 1, 3, 4, 8, 255, 256].map(|bits| (*key, bits)));
        for (key, bits) in keys.into_iter().chain(of_leaves) {
            let prefix = Prefix::of(&key, bits);
            let answer = subtree(&store, 0, &model, &prefix);
            let bytes = encode(&answer);
            let answer: v1::Subtree = decode(&bytes, bytes.len()).unwrap();
            let verified = verify_subtree(&root, &prefix, &answer).unwrap();
            let expected: Vec<(TreeKey, &[u8])> = model
                .iter()
                .filter(|(key, _)| prefix.contains(key))
                .map(|(key, value)| (*key, value.as_slice()))
                .collect();
            prop_assert_eq!(verified, expected);
        }
    }

    #[test]
    fn a_grown_tree_is_the_written_one(
        model in writes(),
        more in writes(),
        leaves_max in 1_usize..6,
    ) {
        let mut written = Store::default();
        let expected = written.write(0, &model).root;
        let (mut store, root) = grown(&model, 7, leaves_max);
        prop_assert_eq!(root, expected);
        // The same nodes, but for the versions in them.
        let unversioned = |store: &Store| -> BTreeMap<Vec<u8>, Hash> {
            let hash = |node: &Vec<u8>| super::Place::of(&decode_node(node).unwrap()).unwrap().hash();
            store.nodes.iter().map(|(key, node)| (key[8..].to_vec(), hash(node))).collect()
        };
        prop_assert_eq!(unversioned(&store), unversioned(&written));
        for key in model.keys().chain(more.keys()) {
            check(&store, 7, &model, key);
        }
        // And it grows on alike.
        let mut model = model;
        model.extend(more.clone());
        prop_assert_eq!(store.write(8, &more).root, written.write(1, &more).root);
        for key in model.keys() {
            check(&store, 8, &model, key);
        }
    }

    #[test]
    fn no_change_of_a_subtree_verifies(
        model in prop::collection::btree_map(any_key(), prop::collection::vec(any::<u8>(), 0..6), 1..12),
        chosen in any::<prop::sample::Index>(),
        bits in prop_oneof![0_u32..12, 0_u32..=256],
        changes in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 16),
    ) {
        let mut store = Store::default();
        let root = store.write(0, &model).root;
        let key = model.keys().nth(chosen.index(model.len())).unwrap();
        // Also a neighbor, under which there may be nothing.
        let neighbor = TreeKey(key.0.map(|byte| byte ^ 1));
        for prefix in [Prefix::of(key, bits), Prefix::of(&neighbor, bits)] {
            let answer = subtree(&store, 0, &model, &prefix);
            for index in 0..answer.leaves.len() {
                let mut forged = answer.clone();
                forged.leaves.remove(index);
                prop_assert!(verify_subtree(&root, &prefix, &forged).is_err(), "a leaf left out");
            }
            let bytes = encode(&answer);
            for (at, change) in &changes {
                let mut bytes = bytes.clone();
                if bytes.is_empty() { continue; }
                let at = at.index(bytes.len());
                bytes[at] ^= change;
                let Ok(forged) = decode::<v1::Subtree>(&bytes, bytes.len()) else { continue };
                prop_assert!(verify_subtree(&root, &prefix, &forged).is_err());
            }
        }
    }
}

#[test]
fn b4_no_flipped_bit_of_a_subtree_verifies() {
    let (store, model) = small();
    let state_root = model_root(&model);
    let first = *model.keys().next().unwrap();
    let absent = TreeKey::new(LeafKind::Private, b"nobody");
    for (key, bits) in [(first, 0), (first, 4), (first, 9), (first, 30), (absent, 4), (first, 256)]
    {
        let prefix = Prefix::of(&key, bits);
        let bytes = encode(&subtree(&store, 1, &model, &prefix));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                let Ok(forged) = decode::<v1::Subtree>(&bytes, bytes.len()) else { continue };
                assert!(
                    verify_subtree(&state_root, &prefix, &forged).is_err(),
                    "byte {at} bit {bit}"
                );
            }
        }
    }
}

#[test]
fn a_subtree_has_one_form() {
    let (store, model) = small();
    let state_root = model_root(&model);
    let first = *model.keys().next().unwrap();
    let whole = subtree(&store, 1, &model, &Prefix::ALL);
    let refuse = |prefix: &Prefix, change: &dyn Fn(&mut v1::Subtree)| {
        let mut forged = subtree(&store, 1, &model, prefix);
        change(&mut forged);
        verify_subtree(&state_root, prefix, &forged).unwrap_err()
    };
    let all = Prefix::ALL;
    assert_eq!(refuse(&all, &|s| s.prefix = vec![0]), SnapshotError::OtherPrefix);
    assert_eq!(refuse(&all, &|s| s.prefix_bits = 1), SnapshotError::OtherPrefix);
    let nine = Prefix::of(&first, 9);
    assert_eq!(refuse(&nine, &|s| s.prefix[1] ^= 1), SnapshotError::OtherPrefix);
    assert_eq!(
        refuse(&all, &|s| s.leaves[3].key.push(0)),
        SnapshotError::KeyLength { index: 3, len: 33 }
    );
    assert_eq!(refuse(&all, &|s| s.leaves.swap(4, 5)), SnapshotError::Order { index: 5 });
    assert_eq!(
        refuse(&all, &|s| s.leaves.insert(1, s.leaves[0].clone())),
        SnapshotError::Order { index: 1 }
    );
    assert_eq!(
        refuse(&Prefix::of(&TreeKey([0xff; 32]), 4), &|s| s.leaves.push(whole.leaves[0].clone())),
        SnapshotError::Outside { index: 0 }
    );
    assert_eq!(
        refuse(&all, &|s| s.leaves[0].value = vec![0; 65_537]),
        SnapshotError::ValueLength { index: 0, len: 65_537 }
    );
    assert_eq!(
        refuse(&all, &|s| s.path =
            Some(v1::TreePath { siblings: vec![vec![]], ..Default::default() })),
        SnapshotError::PathLength { leaves: 40, bits: 0, siblings: 1 }
    );
    assert_eq!(refuse(&all, &|s| s.path = None), EntryError::NoPath.into());
    // A leaf hidden as the other leaf of an empty subtree.
    let alone = Prefix::of(&first, 256);
    assert_eq!(
        refuse(&alone, &|s| {
            let leaf = s.leaves.remove(0);
            let path = s.path.as_mut().unwrap();
            path.other_key = leaf.key;
            path.other_value_hash = value_hash(&leaf.value).to_vec();
        }),
        SnapshotError::OtherLeaf
    );
    assert!(matches!(
        refuse(&all, &|s| s.leaves[0].value.push(1)),
        SnapshotError::Path(EntryError::WrongRoot { .. })
    ));
}

#[test]
fn prefixes_split_into_all_that_they_contain() {
    let key = TreeKey([0b1010_0110; 32]);
    for bits in [0, 1, 4, 7, 8, 100, 252] {
        let prefix = Prefix::of(&key, bits);
        let parts = prefix.split();
        assert_eq!(parts.len(), 16);
        assert!(parts.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(parts.iter().filter(|part| part.contains(&key)).count(), 1);
        assert!(parts.iter().all(|part| prefix.contains(&part.first()) && part.bits() == bits + 4));
        assert_eq!(Prefix::read(&prefix.to_vec(), bits), Some(prefix));
    }
    assert_eq!(Prefix::of(&key, 253).split(), []);
    assert_eq!(Prefix::of(&key, 300), Prefix::of(&key, 256));
    assert_eq!(Prefix::read(&[0xf0], 3), None, "a bit beyond the prefix");
    assert_eq!(Prefix::read(&[0; 33], 264), None);
}

#[test]
fn subtrees_that_overlap_or_begin_within_a_nibble_do_not_grow_together() {
    let leaf = |byte| Grown::Leaf { key: TreeKey([byte; 32]), value_hash: Hash([1; 32]) };
    let fork = Grown::Fork { hash: Hash([2; 32]), leaves: 2 };
    let at = |byte, bits| Prefix::of(&TreeKey([byte; 32]), bits);
    assert!(grow(0, &at(1, 3), []).is_err());
    assert!(grow_root(0, &[(at(0x11, 4), fork), (at(0x11, 8), fork)]).is_err());
    assert!(grow_root(0, &[(at(0x11, 5), fork), (at(0x21, 8), leaf(0x21))]).is_err());
    assert_eq!(grow_root(0, &[(at(0x11, 4), Grown::Empty)]).unwrap().0, PLACEHOLDER);
}

fn small() -> (Store, Model) {
    let mut store = Store::default();
    let model: Model = (0_u8..40)
        .map(|n| (TreeKey::new(LeafKind::UsedKey, &[n]), vec![n; usize::from(n) + 1]))
        .collect();
    store.write(0, &Model::new());
    store.write(1, &model);
    (store, model)
}

#[test]
fn an_empty_tree_proves_absence_at_every_version() {
    let mut store = Store::default();
    for version in 0..3 {
        let update = store.write(version, &Model::new());
        assert_eq!(update.root, PLACEHOLDER);
        check(&store, version, &Model::new(), &TreeKey::parameters());
    }
    let model = Model::from([(TreeKey::parameters(), vec![1])]);
    let update = store.write(3, &model);
    assert_eq!(update.stale.len(), 1, "the empty root of version 2");
    check(&store, 3, &model, &TreeKey::parameters());
}

#[test]
fn a_block_without_writes_keeps_the_root_and_can_be_read_at_its_height() {
    let (mut store, model) = small();
    let before = root(&store, 1).unwrap();
    for version in 2..5 {
        let update = store.write(version, &Model::new());
        assert_eq!((update.root, update.nodes.len(), update.stale.len()), (before, 1, 1));
        for key in model.keys() {
            check(&store, version, &model, key);
        }
    }
}

#[test]
fn writing_the_same_value_again_changes_no_root() {
    let (mut store, model) = small();
    let update = store.write(2, &model);
    assert_eq!(update.root, root(&store, 1).unwrap());
}

#[test]
fn a_missing_version_is_a_fault_not_an_empty_tree() {
    let (store, model) = small();
    assert!(update(&store, 5, &model).is_err());
    assert!(update(&store, 5, &Model::new()).is_err());
    assert!(prove(&store, 5, &TreeKey::parameters()).is_err());
    assert!(root(&store, 5).is_err());
}

#[test]
fn a_missing_or_damaged_node_is_a_fault_that_names_no_key() {
    let (store, model) = small();
    let keys: Vec<_> = store.nodes.keys().filter(|key| key[..8] == 1_u64.to_be_bytes()).collect();
    for lost in keys {
        for damage in [None, Some(Vec::new()), Some(vec![9; 40])] {
            let mut store = store.clone();
            match damage {
                None => store.nodes.remove(lost),
                Some(bytes) => store.nodes.insert(lost.clone(), bytes),
            };
            let faults: Vec<StateFault> =
                model.keys().filter_map(|key| prove(&store, 1, key).err()).collect();
            assert!(!faults.is_empty());
            let writes: Model = model.keys().map(|key| (*key, vec![0])).collect();
            let fault = update(&store, 2, &writes).unwrap_err();
            for fault in faults.into_iter().chain([fault]) {
                assert!(fault.reason.contains("tree"), "{fault}");
                assert!(model.keys().all(|key| !fault.reason.contains(&hex::encode(&key.0[1..4]))));
            }
        }
    }
}

#[test]
fn a_fault_of_storage_is_passed_on() {
    let (mut store, model) = small();
    store.broken = true;
    let fault = StateFault::new("the disk is on fire");
    assert_eq!(update(&store, 2, &model).unwrap_err(), fault);
    assert_eq!(update(&store, 2, &Model::new()).unwrap_err(), fault);
    assert_eq!(prove(&store, 1, &TreeKey::parameters()).unwrap_err(), fault);
}

#[test]
fn a_lost_or_changed_value_is_a_fault() {
    let (mut store, model) = small();
    let key = *model.keys().next().unwrap();
    store.values.insert((key, 1), Some(vec![99]));
    assert!(prove(&store, 1, &key).is_err());
    store.values.remove(&(key, 1));
    assert!(prove(&store, 1, &key).is_err());
}

#[test]
fn b4_no_flipped_bit_of_an_entry_verifies_for_the_same_key() {
    let (store, model) = small();
    let state_root = model_root(&model);
    let absent = (0_u8..200).map(|n| TreeKey::new(LeafKind::UsedKey, &[n, n]));
    let keys: Vec<TreeKey> = model.keys().copied().take(4).chain(absent.take(12)).collect();
    let (mut empty_places, mut other_leaves) = (0, 0);
    for key in keys {
        let entry = prove(&store, 1, &key).unwrap();
        if !entry.present {
            let other = !entry.path.as_ref().unwrap().other_key.is_empty();
            if other { other_leaves += 1 } else { empty_places += 1 }
        }
        let bytes = encode(&entry);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                let Ok(forged) = decode::<v1::StateEntry>(&bytes, bytes.len()) else { continue };
                let Ok(verified) = verify_entry(&state_root, &forged) else { continue };
                // One place proves the absence of every key that would stand there.
                assert!(verified.key != key && verified.value.is_none() && !entry.present);
            }
        }
    }
    assert!(empty_places > 0 && other_leaves > 0, "both forms of absence were tried");
}

#[test]
fn b4_a_present_key_cannot_be_shown_absent_by_any_leaf_or_place_of_the_tree() {
    let (store, model) = small();
    let state_root = model_root(&model);
    for key in model.keys() {
        for other in model.keys() {
            let theirs = prove(&store, 1, other).unwrap();
            let mut path = theirs.path.unwrap();
            let mut entry = v1::StateEntry {
                key: key.to_vec(),
                path: Some(path.clone()),
                ..Default::default()
            };
            assert!(verify_entry(&state_root, &entry).is_err());
            path.other_key = other.to_vec();
            path.other_value_hash = value_hash(&theirs.value).to_vec();
            // Cut short as well, so that the other leaf stands higher than it does.
            for len in 0..=path.siblings.len() {
                let mut path = path.clone();
                path.siblings.drain(..len);
                entry.path = Some(path);
                assert!(verify_entry(&state_root, &entry).is_err());
            }
        }
    }
}

#[test]
fn an_entry_has_one_form() {
    let (store, model) = small();
    let state_root = model_root(&model);
    let present = prove(&store, 1, model.keys().next().unwrap()).unwrap();
    let absent = (0_u8..200)
        .map(|n| prove(&store, 1, &TreeKey::new(LeafKind::UsedKey, &[n, n])).unwrap())
        .find(|entry| !entry.path.as_ref().unwrap().other_key.is_empty())
        .unwrap();
    let refuse = |entry: &v1::StateEntry, change: &dyn Fn(&mut v1::StateEntry)| {
        let mut entry = entry.clone();
        change(&mut entry);
        verify_entry(&state_root, &entry).unwrap_err()
    };
    let path = |entry: &mut v1::StateEntry| entry.path.take().unwrap_or_default();

    assert_eq!(refuse(&present, &|entry| entry.key.push(0)), EntryError::KeyLength { len: 33 });
    assert_eq!(refuse(&present, &|entry| entry.path = None), EntryError::NoPath);
    assert_eq!(
        refuse(&present, &|entry| {
            entry.path = Some(v1::TreePath { siblings: vec![vec![]; 257], ..path(entry) });
        }),
        EntryError::PathTooLong { len: 257 }
    );
    assert_eq!(
        refuse(&present, &|entry| {
            let mut path = path(entry);
            path.siblings[0] = vec![0; 31];
            entry.path = Some(path);
        }),
        EntryError::SiblingLength { position: 0, len: 31 }
    );
    assert_eq!(
        refuse(&present, &|entry| {
            let mut path = path(entry);
            let position = path.siblings.iter().position(Vec::is_empty).unwrap();
            path.siblings[position] = PLACEHOLDER.to_vec();
            entry.path = Some(path);
        }),
        EntryError::EmptySiblingWritten {
            position: present
                .path
                .as_ref()
                .unwrap()
                .siblings
                .iter()
                .position(Vec::is_empty)
                .unwrap()
        }
    );
    assert_eq!(
        refuse(&absent, &|entry| {
            entry.path = Some(v1::TreePath { other_value_hash: vec![], ..path(entry) });
        }),
        EntryError::OtherLeafLength { key_len: 32, value_hash_len: 0 }
    );
    assert_eq!(refuse(&absent, &|entry| entry.present = true), EntryError::OtherLeafOfPresent);
    assert_eq!(
        refuse(&absent, &|entry| entry.value = vec![1]),
        EntryError::ValueOfAbsent { len: 1 }
    );
    assert_eq!(
        refuse(&absent, &|entry| {
            let path = path(entry);
            entry.key.clone_from(&path.other_key);
            entry.path = Some(path);
        }),
        EntryError::OtherLeafIsThis
    );
    assert!(matches!(
        refuse(&absent, &|entry| entry.key[0] ^= 0x80),
        EntryError::OtherLeafElsewhere { shared: 0, .. }
    ));
    assert!(matches!(refuse(&present, &|entry| entry.value.push(1)), EntryError::WrongRoot { .. }));
}

#[test]
fn a_node_is_stored_under_version_length_and_nibbles() {
    let model = Model::from([(TreeKey([0x12; 32]), vec![1]), (TreeKey::from([0x13; 32]), vec![2])]);
    let update = update(&Store::default(), 0x0102, &Model::new()).unwrap_err();
    assert!(update.reason.contains("257"), "{update}");
    let mut store = Store::default();
    store.write(0, &Model::new());
    let update = store.write(1, &model);
    let keys: Vec<String> = update.nodes.iter().map(|(key, _)| hex::encode(key)).collect();
    assert_eq!(
        keys,
        [
            "000000000000000100",
            "00000000000000010110",
            "00000000000000010212",
            "00000000000000010213"
        ]
    );
}
