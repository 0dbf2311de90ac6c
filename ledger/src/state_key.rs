//! The keys of the state tree (PROTOCOL §6.4): kind nibble ‖ low 252 bits of `H(tree-key, kind ‖ name)`.
//!
//! All leaves of one kind lie in one subtree, so a whole kind, or a prefix of it, can be proved complete. The name is
//! hashed, so an attacker who chooses names (keys, digests) cannot deepen the tree at a place of his choice cheaply.
//! Deliberately absent: what the leaves hold.

use sillok_proto::{Hash, Tag, v1::Action};
use std::fmt;

/// The kind of a state leaf: the first nibble of its key. The numbers are law.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum LeafKind {
    /// The current version of a DID.
    Head = 1,
    /// A key once bound to a DID.
    UsedKey = 2,
    /// A status list.
    List = 3,
    /// 8,192 entries of a status list.
    Chunk = 4,
    /// The record beside a chunk.
    EntryRecord = 5,
    /// A right of an organization.
    Grant = 6,
    /// A credential type.
    Type = 7,
    /// Members, operators, proposals, names of organizations, observers.
    Governance = 8,
    /// The figures of the network.
    Parameter = 9,
    /// Everything private.
    Private = 15,
}

/// How many bits of a tree key say its kind: the shortest prefix under which all leaves are of one kind.
pub const KIND_BITS: u32 = 4;

/// The place of a leaf in the state tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeKey(pub [u8; 32]);

impl TreeKey {
    /// The key of the leaf of this kind and name.
    #[must_use]
    pub fn new(kind: LeafKind, name: &[u8]) -> Self {
        let kind = kind as u8;
        let Hash(mut key) = Tag::TreeKey.hash(&[&[kind], name]);
        key[0] = (kind << 4) | (key[0] & 0x0f);
        Self(key)
    }

    /// The head of a DID, by the digest in it.
    #[must_use]
    pub fn did_head(did: &Hash) -> Self {
        Self::new(LeafKind::Head, &did.0)
    }

    /// A key once used, by its key id.
    #[must_use]
    pub fn used_key(key_id: &Hash) -> Self {
        Self::new(LeafKind::UsedKey, &key_id.0)
    }

    /// A grant: organization ‖ action (one byte) ‖ resource.
    #[must_use]
    pub fn grant(organization: &Hash, action: Action, resource: &[u8]) -> Self {
        // The last byte of the number; every action is below 256.
        let [.., action] = (action as i32).to_be_bytes();
        Self::new(LeafKind::Grant, &[&organization.0, [action].as_slice(), resource].concat())
    }

    /// The grants an organization has or had.
    #[must_use]
    pub fn grant_index(organization: &Hash) -> Self {
        // 32 bytes, and the name of a grant has more.
        Self::new(LeafKind::Grant, &organization.0)
    }

    /// A credential type.
    #[must_use]
    pub fn credential_type(name: &Hash) -> Self {
        Self::new(LeafKind::Type, &name.0)
    }

    /// A version of a credential type.
    #[must_use]
    pub fn type_version(name: &Hash, version: u32) -> Self {
        Self::numbered(LeafKind::Type, name, version)
    }

    /// A status list.
    #[must_use]
    pub fn status_list(list: &Hash) -> Self {
        Self::new(LeafKind::List, &list.0)
    }

    /// 8,192 entries of a list.
    #[must_use]
    pub fn status_chunk(list: &Hash, chunk: u32) -> Self {
        Self::numbered(LeafKind::Chunk, list, chunk)
    }

    /// The dates of 2,048 entries of a list.
    #[must_use]
    pub fn entry_record(list: &Hash, quarter: u32) -> Self {
        Self::numbered(LeafKind::EntryRecord, list, quarter)
    }

    /// A person's place at one issuer and type, by handle.
    #[must_use]
    pub fn enrollment(issuer: &Hash, credential_type: &Hash, handle: &Hash) -> Self {
        let name = [b"enrollment\0".as_slice(), &issuer.0, &credential_type.0, &handle.0].concat();
        Self::new(LeafKind::Private, &name)
    }

    /// An operation that was approved and has run.
    #[must_use]
    pub fn approved(operation: &Hash) -> Self {
        Self::new(LeafKind::Private, &[b"approved\0".as_slice(), &operation.0].concat())
    }

    /// What an organization has used of the hourly limits of a grant.
    #[must_use]
    pub fn usage(organization: &Hash, action: Action, resource: &[u8]) -> Self {
        let [.., action] = (action as i32).to_be_bytes();
        let name = [b"usage\0".as_slice(), &organization.0, &[action], resource].concat();
        Self::new(LeafKind::Private, &name)
    }

    /// The operator that an organization is.
    #[must_use]
    pub fn operator(organization: &Hash) -> Self {
        Self::governance("operator", &organization.0)
    }

    /// The name of an organization.
    #[must_use]
    pub fn organization(organization: &Hash) -> Self {
        Self::governance("organization", &organization.0)
    }

    /// An observer, by its node key.
    #[must_use]
    pub fn observer(node_key: &[u8]) -> Self {
        Self::governance("observer", node_key)
    }

    /// Who runs the network: set(h + 2) after block h, operators, observers.
    #[must_use]
    pub fn members() -> Self {
        Self::new(LeafKind::Governance, b"members")
    }

    /// A proposal, by its hash.
    #[must_use]
    pub fn proposal(proposal: &Hash) -> Self {
        Self::governance("proposal", &proposal.0)
    }

    /// The figures of the network.
    #[must_use]
    pub fn parameters() -> Self {
        Self::new(LeafKind::Parameter, b"parameters")
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key in a `bytes` field, if the field holds 32 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The key as a field of a message.
    #[must_use]
    pub fn to_vec(self) -> Vec<u8> {
        self.0.to_vec()
    }

    /// The first nibble: the number of the leaf's kind.
    #[must_use]
    pub const fn kind_nibble(&self) -> u8 {
        self.0[0] >> 4
    }

    /// Name ‖ number in 4 bytes, big-endian.
    fn numbered(kind: LeafKind, name: &Hash, number: u32) -> Self {
        Self::new(kind, &[name.0.as_slice(), &number.to_be_bytes()].concat())
    }

    /// Prefix ‖ 0x00 ‖ name: no prefix is the beginning of another's name, and `members` has no 0x00.
    fn governance(prefix: &str, name: &[u8]) -> Self {
        Self::new(LeafKind::Governance, &[prefix.as_bytes(), &[0], name].concat())
    }
}

impl fmt::Debug for TreeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TreeKey({})", hex::encode(self.0))
    }
}

impl From<[u8; 32]> for TreeKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_first_nibble_is_the_kind_and_the_rest_is_the_hash() {
        let did = Hash([7; 32]);
        let key = TreeKey::did_head(&did);
        let hash = Tag::TreeKey.hash(&[&[1], &did.0]);
        assert_eq!(key.kind_nibble(), 1);
        assert_eq!(key.0[0] & 0x0f, hash.0[0] & 0x0f);
        assert_eq!(key.0[1..], hash.0[1..]);
        assert_eq!(TreeKey::new(LeafKind::Private, &[]).kind_nibble(), 15);
    }

    #[test]
    fn different_names_have_different_keys_even_when_their_bytes_are_the_same() {
        let bytes = Hash([1; 32]);
        let keys = [
            TreeKey::did_head(&bytes),
            TreeKey::used_key(&bytes),
            TreeKey::grant(&bytes, Action::Submit, &[]),
            TreeKey::grant(&bytes, Action::Register, &[]),
            TreeKey::grant(&bytes, Action::Submit, &[0]),
            TreeKey::operator(&bytes),
            TreeKey::organization(&bytes),
            TreeKey::observer(&bytes.0),
            TreeKey::proposal(&bytes),
            TreeKey::members(),
            TreeKey::parameters(),
            TreeKey::grant_index(&bytes),
            TreeKey::credential_type(&bytes),
            TreeKey::type_version(&bytes, 1),
            TreeKey::status_list(&bytes),
            TreeKey::status_chunk(&bytes, 1),
            TreeKey::entry_record(&bytes, 1),
            TreeKey::enrollment(&bytes, &bytes, &bytes),
            TreeKey::usage(&bytes, Action::Submit, &[]),
            TreeKey::approved(&bytes),
        ];
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
    }
}
