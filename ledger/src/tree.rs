//! The authenticated state tree: a Jellyfish Merkle tree over BLAKE3 (PROTOCOL §1.2, §6.4).
//!
//! The only file that names `jmt`, so that it can be replaced. [`update`] computes what a block changes and stores
//! nothing: the caller writes nodes, values and stale keys with the block, at once. [`prove`] walks the stored nodes
//! itself and needs from `jmt` only their form: its own prover panics where a node is missing. [`grow`] makes the nodes of
//! a subtree from its leaves, for who has them from a snapshot.
//!
//! Versions are heights. Every height has a root node, blocks without writes too, so any retained height can be proved.
//! Deliberately absent: deletion (leaves are ended, never removed), storage, and pruning.
//!
//! Stored forms. Node key: version (8 bytes, big-endian) ‖ number of nibbles (1 byte) ‖ nibbles, two to a byte, the last
//! one padded with 0. Node: the borsh form of `jmt` 0.12, which no hash covers and no other node sees.

#![allow(
    clippy::arithmetic_side_effects,
    reason = "places among sixteen children and nibbles of a 32-byte key: no sum leaves 0..=64"
)]

use crate::proof::{self, PLACEHOLDER};
use crate::snapshot::Prefix;
use crate::{StateFault, TreeKey};
use jmt::storage::{LeafNode, Node, NodeKey, TreeReader};
use jmt::{JellyfishMerkleTree, KeyHash, SimpleHasher, ValueHash};
use sillok_proto::{Hash, v1};
use std::collections::BTreeMap;

/// What the tree is read from: the nodes and values that [`update`] returned for earlier versions.
pub trait NodeReader {
    /// The node stored under this key.
    ///
    /// # Errors
    ///
    /// [`StateFault`] if storage failed; a node that does not exist is `None`.
    fn node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateFault>;

    /// The value of a leaf at its newest version not above `max_version`.
    ///
    /// # Errors
    ///
    /// [`StateFault`] if storage failed; a leaf that does not exist is `None`.
    fn value(&self, key: &TreeKey, max_version: u64) -> Result<Option<Vec<u8>>, StateFault>;
}

/// What one block changes in the tree, for someone else to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeUpdate {
    /// The height of the block.
    pub version: u64,
    /// The state root after it.
    pub root: Hash,
    /// New nodes by key.
    pub nodes: Vec<(Vec<u8>, Vec<u8>)>,
    /// New values by leaf, valid from `version` on. (`None`, the end of a leaf, is not used.)
    pub values: Vec<(TreeKey, Option<Vec<u8>>)>,
    /// Keys of the nodes that only older versions still need.
    pub stale: Vec<Vec<u8>>,
}

/// Computes the tree of `version` from that of `version - 1` and the leaves written. Version 0 starts from nothing.
///
/// # Errors
///
/// [`StateFault`] if storage failed, or the tree of `version - 1` is not there or not whole.
pub fn update<R: NodeReader + ?Sized>(
    reader: &R,
    version: u64,
    writes: &BTreeMap<TreeKey, Vec<u8>>,
) -> Result<TreeUpdate, StateFault> {
    let adapter = Adapter(reader);
    if writes.is_empty() {
        return carry_over(&adapter, version);
    }
    let tree = JellyfishMerkleTree::<'_, _, Blake3>::new(&adapter);
    let leaves = writes.iter().map(|(key, value)| (KeyHash(key.0), value.clone())).collect();
    let (roots, batch) =
        tree.batch_put_value_sets(vec![leaves], None, version).map_err(|error| fault(&error))?;
    let root = roots.first().ok_or_else(|| StateFault::new("the tree returned no root"))?;
    let mut nodes = Vec::with_capacity(batch.node_batch.nodes().len());
    for (key, node) in batch.node_batch.nodes() {
        nodes.push((stored_key(key)?, encode_node(node)?));
    }
    let mut stale = Vec::with_capacity(batch.stale_node_index_batch.len());
    for index in &batch.stale_node_index_batch {
        stale.push(stored_key(&index.node_key)?);
    }
    if let Some(previous) = version.checked_sub(1) {
        // `jmt` forgets an empty root when the first leaf comes.
        let root_key = stored_key(&root_key(previous))?;
        if !stale.contains(&root_key) {
            stale.push(root_key);
        }
    }
    let values = writes.iter().map(|(key, value)| (*key, Some(value.clone()))).collect();
    Ok(TreeUpdate { version, root: Hash(root.0), nodes, values, stale })
}

/// The root of the tree of `version`.
///
/// # Errors
///
/// [`StateFault`] if storage failed or the tree of that version is not there.
pub fn root<R: NodeReader + ?Sized>(reader: &R, version: u64) -> Result<Hash, StateFault> {
    Ok(Place::of(&Adapter(reader).root(version)?)?.hash())
}

/// What `key` holds in the tree of `version`, with the proof: of its value, or that there is none.
///
/// # Errors
///
/// [`StateFault`] if storage failed, or the tree of that version is not there or not whole.
pub fn prove<R: NodeReader + ?Sized>(
    reader: &R,
    version: u64,
    key: &TreeKey,
) -> Result<v1::StateEntry, StateFault> {
    let adapter = Adapter(reader);
    let mut place = Place::of(&adapter.root(version)?)?;
    let mut path = NodePath::default();
    // From the root to the leaf; turned round at the end.
    let mut siblings = Vec::new();
    let leaf = loop {
        let children = match place {
            Place::Empty => break None,
            Place::Leaf { key, value_hash } => break Some((key, value_hash)),
            Place::Fork(children) => children,
        };
        let nibble = nibble(key, path.len()).ok_or_else(too_deep)?;
        let Some((index, child)) = children.descend(nibble, &mut siblings) else { break None };
        path.push(index);
        place = Place::of(&adapter.node_at(child.version, &path)?)?;
        if child.is_leaf != matches!(place, Place::Leaf { .. }) {
            return Err(StateFault::new(
                "a node of the tree is of another kind than its parent says",
            ));
        }
    };

    siblings.reverse();
    let siblings = siblings
        .into_iter()
        .map(|hash| if hash == PLACEHOLDER { Vec::new() } else { hash.to_vec() })
        .collect();
    let mut entry = v1::StateEntry {
        key: key.to_vec(),
        present: false,
        value: Vec::new(),
        path: Some(v1::TreePath { other_key: Vec::new(), other_value_hash: Vec::new(), siblings }),
    };
    if let Some((leaf_key, value_hash)) = leaf {
        if leaf_key == *key {
            let value = adapter.0.value(key, version)?;
            let value = value.ok_or_else(|| StateFault::new("a leaf of the tree has no value"))?;
            if proof::value_hash(&value) != value_hash {
                return Err(StateFault::new("a value is not the one that the tree holds"));
            }
            entry.present = true;
            entry.value = value;
        } else if let Some(path) = &mut entry.path {
            path.other_key = leaf_key.to_vec();
            path.other_value_hash = value_hash.to_vec();
        }
    }
    Ok(entry)
}

/// The way from the subtree under `prefix` to the root of the tree of `version`: what [`v1::Subtree`] has beside its
/// leaves. The leaves are the caller's to read.
///
/// # Errors
///
/// [`StateFault`] if storage failed, or the tree of that version is not there or not whole.
pub fn subtree_path<R: NodeReader + ?Sized>(
    reader: &R,
    version: u64,
    prefix: &Prefix,
) -> Result<v1::TreePath, StateFault> {
    let adapter = Adapter(reader);
    let mut place = Place::of(&adapter.root(version)?)?;
    let mut path = NodePath::default();
    let bits = usize::try_from(prefix.bits()).map_err(|_| too_deep())?;
    let target = prefix.first();
    let mut siblings = Vec::new();
    let mut other = None;
    while siblings.len() < bits {
        match place {
            Place::Empty => break,
            Place::Leaf { key, value_hash } => {
                other = (!prefix.contains(&key)).then_some((key, value_hash));
                break;
            }
            Place::Fork(children) => {
                let nibble = nibble(&target, path.len()).ok_or_else(too_deep)?;
                let levels = bits - siblings.len();
                let Some((index, child)) = children.descend_at_most(nibble, levels, &mut siblings)
                else {
                    break;
                };
                path.push(index);
                place = Place::of(&adapter.node_at(child.version, &path)?)?;
            }
        }
    }
    // At the very depth of the prefix every leaf begins with it.
    siblings.reverse();
    let (other_key, other_value_hash) =
        other.map(|(key, value_hash)| (key.to_vec(), value_hash.to_vec())).unwrap_or_default();
    let siblings = siblings
        .into_iter()
        .map(|hash| if hash == PLACEHOLDER { Vec::new() } else { hash.to_vec() })
        .collect();
    Ok(v1::TreePath { other_key, other_value_hash, siblings })
}

/// A subtree that was grown: what a tree above it needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grown {
    /// No leaf.
    Empty,
    /// One leaf, which stands wherever it is alone.
    Leaf {
        /// Its key.
        key: TreeKey,
        /// The hash of its value.
        value_hash: Hash,
    },
    /// Two leaves or more, under a node at exactly the prefix.
    Fork {
        /// The hash of the node.
        hash: Hash,
        /// How many leaves.
        leaves: u64,
    },
}

/// Nodes that were grown, by stored key.
pub type Nodes = Vec<(Vec<u8>, Vec<u8>)>;

/// Grows the subtree under `prefix`, of whole nibbles, from all its leaves, ascending, as if `version` had written them.
/// It is the tree that [`update`] makes, but for the versions of its nodes, which no hash covers.
///
/// # Errors
///
/// [`StateFault`] if the prefix is not of whole nibbles.
pub fn grow<'l>(
    version: u64,
    prefix: &Prefix,
    leaves: impl IntoIterator<Item = &'l (TreeKey, Hash)>,
) -> Result<(Grown, Nodes), StateFault> {
    let parts: Vec<(Prefix, Grown)> = leaves
        .into_iter()
        .map(|(key, value_hash)| {
            (Prefix::of(key, 256), Grown::Leaf { key: *key, value_hash: *value_hash })
        })
        .collect();
    let mut nodes = Nodes::new();
    let grown = grow_at(version, whole_nibbles(prefix)?, &parts, &mut nodes)?;
    Ok((grown, nodes))
}

/// Grows the rest of the tree above subtrees that cover it, ascending, and returns its root.
///
/// # Errors
///
/// [`StateFault`] if a prefix is not of whole nibbles, or two of them overlap.
pub fn grow_root(version: u64, parts: &[(Prefix, Grown)]) -> Result<(Hash, Nodes), StateFault> {
    let parts: Vec<(Prefix, Grown)> =
        parts.iter().filter(|(_, grown)| *grown != Grown::Empty).copied().collect();
    let mut nodes = Nodes::new();
    let node = match grow_at(version, 0, &parts, &mut nodes)? {
        Grown::Fork { hash, .. } => return Ok((hash, nodes)),
        Grown::Empty => Node::Null,
        Grown::Leaf { key, value_hash } => leaf_node(&key, &value_hash),
    };
    nodes.push((NodePath::default().stored_key(version), encode_node(&node)?));
    Ok((Place::of(&node)?.hash(), nodes))
}

fn whole_nibbles(prefix: &Prefix) -> Result<usize, StateFault> {
    if !prefix.bits().is_multiple_of(4) {
        return Err(StateFault::new("a subtree does not begin at a whole nibble"));
    }
    usize::try_from(prefix.bits() / 4).map_err(|_| too_deep())
}

/// The subtree of the parts, none of them empty, which share `depth` nibbles.
fn grow_at(
    version: u64,
    depth: usize,
    parts: &[(Prefix, Grown)],
    nodes: &mut Nodes,
) -> Result<Grown, StateFault> {
    let overlap = || StateFault::new("the subtrees overlap");
    let Some((first, grown)) = parts.first() else { return Ok(Grown::Empty) };
    if let [_] = parts
        && (matches!(grown, Grown::Leaf { .. }) || whole_nibbles(first)? == depth)
    {
        return Ok(*grown);
    }
    let mut path =
        NodePath((0..depth).filter_map(|at| nibble(&first.first(), at)).map(narrow).collect());
    let mut children = [const { None }; 16];
    let mut rest = parts;
    while let Some((next, _)) = rest.first() {
        let index = nibble(&next.first(), depth).ok_or_else(overlap)?;
        if whole_nibbles(next)? <= depth {
            return Err(overlap());
        }
        let same = |(prefix, _): &(Prefix, Grown)| nibble(&prefix.first(), depth) == Some(index);
        let (under, others) = rest.split_at(rest.iter().take_while(|part| same(part)).count());
        rest = others;
        let grown = grow_at(version, depth + 1, under, nodes)?;
        if let Grown::Leaf { key, value_hash } = &grown {
            path.push(index);
            nodes.push((path.stored_key(version), encode_node(&leaf_node(key, value_hash))?));
            path.0.pop();
        }
        *children.get_mut(index).ok_or_else(overlap)? = Some(grown);
    }
    let (node, leaves) = internal_node(version, &children)?;
    let hash = Place::of(&node)?.hash();
    nodes.push((path.stored_key(version), encode_node(&node)?));
    Ok(Grown::Fork { hash, leaves })
}

fn leaf_node(key: &TreeKey, value_hash: &Hash) -> Node {
    Node::Leaf(LeafNode::new(KeyHash(key.0), ValueHash(value_hash.0)))
}

/// An internal node and the leaves under it. `jmt` has no name for one outside itself, so it is written in its borsh
/// form: sixteen children {hash, version, leaf or number of leaves}, how many of them there are, and all their leaves.
fn internal_node(version: u64, children: &[Option<Grown>; 16]) -> Result<(Node, u64), StateFault> {
    const INTERNAL: u8 = 1;
    let (mut count, mut leaves) = (0_u64, 0_u64);
    let mut bytes = vec![INTERNAL];
    for child in children {
        let (hash, kind, below) = match child {
            None | Some(Grown::Empty) => {
                bytes.push(0);
                continue;
            }
            Some(Grown::Leaf { key, value_hash }) => (proof::leaf_hash(key, value_hash), None, 1),
            Some(Grown::Fork { hash, leaves }) => (*hash, Some(*leaves), *leaves),
        };
        count += 1;
        leaves += below;
        bytes.push(1);
        bytes.extend_from_slice(&hash.0);
        bytes.extend_from_slice(&version.to_le_bytes());
        match kind {
            None => bytes.push(0),
            Some(leaves) => {
                bytes.push(1);
                bytes.extend_from_slice(&leaves.to_le_bytes());
            }
        }
    }
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(&leaves.to_le_bytes());
    Ok((decode_node(&bytes)?, leaves))
}

/// BLAKE3 as `jmt` wants a hash function.
struct Blake3(blake3::Hasher);

impl SimpleHasher for Blake3 {
    fn new() -> Self {
        Self(blake3::Hasher::new())
    }

    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finalize(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// Our storage as `jmt` wants it.
struct Adapter<'r, R: ?Sized>(&'r R);

impl<R: NodeReader + ?Sized> Adapter<'_, R> {
    fn node(&self, key: &[u8]) -> Result<Option<Node>, StateFault> {
        self.0.node(key)?.map(|bytes| decode_node(&bytes)).transpose()
    }

    fn node_at(&self, version: u64, path: &NodePath) -> Result<Node, StateFault> {
        self.node(&path.stored_key(version))?.ok_or_else(|| {
            StateFault::new(format!("a node of version {version} of the tree is missing"))
        })
    }

    fn root(&self, version: u64) -> Result<Node, StateFault> {
        self.node(&NodePath::default().stored_key(version))?
            .ok_or_else(|| StateFault::new(format!("there is no tree of version {version}")))
    }
}

impl<R: NodeReader + ?Sized> TreeReader for Adapter<'_, R> {
    fn get_node_option(&self, node_key: &NodeKey) -> anyhow::Result<Option<Node>> {
        Ok(self.node(&stored_key(node_key)?)?)
    }

    fn get_node(&self, node_key: &NodeKey) -> anyhow::Result<Node> {
        // `jmt`'s own error names the key.
        let version = node_key.version();
        Ok(self.get_node_option(node_key)?.ok_or_else(|| {
            StateFault::new(format!("a node of version {version} of the tree is missing"))
        })?)
    }

    fn get_value_option(&self, max_version: u64, key: KeyHash) -> anyhow::Result<Option<Vec<u8>>> {
        Ok(self.0.value(&TreeKey(key.0), max_version)?)
    }

    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        Err(StateFault::new("the tree was asked for its rightmost leaf, which nothing here needs")
            .into())
    }
}

/// A block without writes: the same root node under the next version, so that every height has a tree.
fn carry_over<R: NodeReader + ?Sized>(
    adapter: &Adapter<'_, R>,
    version: u64,
) -> Result<TreeUpdate, StateFault> {
    let root_path = NodePath::default();
    let (node, stale) = match version.checked_sub(1) {
        None => (Node::Null, Vec::new()),
        Some(previous) => (adapter.root(previous)?, vec![root_path.stored_key(previous)]),
    };
    Ok(TreeUpdate {
        version,
        root: Place::of(&node)?.hash(),
        nodes: vec![(root_path.stored_key(version), encode_node(&node)?)],
        values: Vec::new(),
        stale,
    })
}

/// A node as a proof sees it.
enum Place {
    Empty,
    Leaf { key: TreeKey, value_hash: Hash },
    Fork(Box<Children>),
}

impl Place {
    fn of(node: &Node) -> Result<Self, StateFault> {
        Ok(match node {
            Node::Null => Self::Empty,
            Node::Leaf(leaf) => {
                let (key, value_hash) = leaf_parts(leaf)?;
                Self::Leaf { key, value_hash }
            }
            Node::Internal(internal) => {
                let mut children = [const { None }; 16];
                for (nibble, child) in internal.children_sorted() {
                    if let Some(place) = children.get_mut(nibble.as_usize()) {
                        *place = Some(Child {
                            hash: Hash(child.hash),
                            version: child.version,
                            is_leaf: child.is_leaf(),
                        });
                    }
                }
                Self::Fork(Box::new(Children(children)))
            }
        })
    }

    fn hash(&self) -> Hash {
        match self {
            Self::Empty => PLACEHOLDER,
            Self::Leaf { key, value_hash } => proof::leaf_hash(key, value_hash),
            Self::Fork(children) => children.hash(0, 16),
        }
    }
}

/// The parts of a leaf node, which `jmt` shows only in its encoding: key, hash of the value.
fn leaf_parts(leaf: &LeafNode) -> Result<(TreeKey, Hash), StateFault> {
    let bytes = borsh::to_vec(leaf).map_err(|_| unreadable())?;
    let (halves, tail) = bytes.as_chunks::<32>();
    match halves {
        [key, value_hash] if tail.is_empty() => Ok((TreeKey(*key), Hash(*value_hash))),
        _ => Err(unreadable()),
    }
}

/// One of the sixteen children of an internal node.
struct Child {
    hash: Hash,
    version: u64,
    is_leaf: bool,
}

/// The children of an internal node: the sixteen lowest places of four binary levels.
struct Children([Option<Child>; 16]);

impl Children {
    /// The places `start..start + width` that hold a child.
    fn among(&self, start: usize, width: usize) -> impl Iterator<Item = (usize, &Child)> {
        let places = self.0.iter().enumerate().skip(start).take(width);
        places.filter_map(|(index, child)| child.as_ref().map(|child| (index, child)))
    }

    /// The only child among these places, if there is one alone and it needs no further level: a leaf, or any child of
    /// a single place.
    fn only(&self, start: usize, width: usize) -> Option<(usize, &Child)> {
        let mut among = self.among(start, width);
        let first = among.next()?;
        (width == 1 || (among.next().is_none() && first.1.is_leaf)).then_some(first)
    }

    /// The hash of the binary subtree over these places; an only leaf stands for its subtree.
    fn hash(&self, start: usize, width: usize) -> Hash {
        if self.among(start, width).next().is_none() {
            return PLACEHOLDER;
        }
        if let Some((_, child)) = self.only(start, width) {
            return child.hash;
        }
        let half = width / 2;
        proof::internal_hash(&self.hash(start, half), &self.hash(start + half, half))
    }

    /// Goes down towards `nibble`, noting the sibling at each binary level, until the place is empty (`None`) or one
    /// child is left.
    fn descend(&self, nibble: usize, siblings: &mut Vec<Hash>) -> Option<(usize, &Child)> {
        self.descend_at_most(nibble, 4, siblings)
    }

    /// The same, but no more than `levels` down; `None` also if several children are left there.
    fn descend_at_most(
        &self,
        nibble: usize,
        levels: usize,
        siblings: &mut Vec<Hash>,
    ) -> Option<(usize, &Child)> {
        let (mut start, mut width) = (0, 16);
        for _ in 0..levels {
            width /= 2;
            let sibling = if nibble < start + width { start + width } else { start };
            if sibling == start {
                start += width;
            }
            siblings.push(self.hash(sibling, width));
            self.among(start, width).next()?;
            if let Some(only) = self.only(start, width) {
                return Some(only);
            }
        }
        None
    }
}

/// The nibbles from the root to a node.
#[derive(Default)]
struct NodePath(Vec<u8>);

impl NodePath {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn push(&mut self, nibble: usize) {
        self.0.push(narrow(nibble));
    }

    fn stored_key(&self, version: u64) -> Vec<u8> {
        let mut key = version.to_be_bytes().to_vec();
        // At most 64 nibbles: a key has no more.
        key.push(u8::try_from(self.len()).unwrap_or(u8::MAX));
        key.extend(self.0.chunks(2).map(|pair| match pair {
            [high, low] => (high << 4) | low,
            lone => lone.first().copied().unwrap_or_default() << 4,
        }));
        key
    }
}

/// A nibble is below 16: an index of `Children`.
fn narrow(nibble: usize) -> u8 {
    u8::try_from(nibble).unwrap_or_default()
}

fn nibble(key: &TreeKey, position: usize) -> Option<usize> {
    let byte = usize::from(*key.0.get(position / 2)?);
    Some(if position.is_multiple_of(2) { byte >> 4 } else { byte & 0x0f })
}

fn root_key(version: u64) -> NodeKey {
    NodeKey::new(version, std::iter::empty().collect())
}

fn stored_key(key: &NodeKey) -> Result<Vec<u8>, StateFault> {
    let path = key.nibble_path();
    if path.num_nibbles() > 64 {
        return Err(too_deep());
    }
    let nibbles = (0..path.num_nibbles()).map(|nth| u8::from(path.get_nibble(nth))).collect();
    Ok(NodePath(nibbles).stored_key(key.version()))
}

fn encode_node(node: &Node) -> Result<Vec<u8>, StateFault> {
    borsh::to_vec(node).map_err(|_| StateFault::new("a node of the tree cannot be encoded"))
}

fn decode_node(bytes: &[u8]) -> Result<Node, StateFault> {
    borsh::from_slice(bytes).map_err(|_| unreadable())
}

fn unreadable() -> StateFault {
    StateFault::new("a node of the tree cannot be decoded")
}

fn too_deep() -> StateFault {
    StateFault::new("the tree is deeper than its keys are long")
}

/// The fault behind an error of `jmt`. Its own words may name keys, so they are not passed on (PROTOCOL, Part II §6).
fn fault(error: &anyhow::Error) -> StateFault {
    match error.downcast_ref::<StateFault>() {
        Some(fault) => fault.clone(),
        None => StateFault::new("the tree is not whole"),
    }
}

#[cfg(test)]
mod tests;
