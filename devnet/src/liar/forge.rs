//! The liar's workshop: keys, certificates and trees of its own.
//!
//! What is made here is as good as anyone without the validators' keys can make it: the forms are right, the hashes
//! fit where they can, and only what a verifier must check does not hold.

use crate::clock_ms;
use ed25519_dalek::{Signer as _, SigningKey};
use sillok_client::identity::document_of;
use sillok_client::keys::{KeyAlgorithm, SecretKey};
use sillok_did_method::{DEVICE_RELATIONSHIPS, Did, Resolution, document_hash, resolution_json};
use sillok_ledger::overlay::LEAF_BYTES_MAX;
use sillok_ledger::proof::value_hash;
use sillok_ledger::tree::{self, NodeReader};
use sillok_ledger::{
    Chain, StateFault, TreeKey, certificate, header_hash, precommit_string, validator_set_hash,
};
use sillok_proto::{Hash, decode, encode, v1};
use std::collections::BTreeMap;

/// How many validators the liar pretends to have: as many as the smallest network that survives a traitor.
const VALIDATORS: usize = 4;

const YEAR_MS: u64 = 365 * 24 * 3_600_000;

pub(super) struct Forge {
    /// By public key, as in the set.
    keys: Vec<SigningKey>,
    set: v1::ValidatorSet,
    genesis: v1::Genesis,
    genesis_hash: Hash,
    document: v1::DidDocument,
    stolen: Vec<SigningKey>,
}

impl Forge {
    /// A workshop for lies on the network of `genesis`.
    pub(super) fn new(genesis_hash: Hash, genesis: v1::Genesis) -> anyhow::Result<Self> {
        let mut keys = Vec::with_capacity(VALIDATORS);
        for _ in 0..VALIDATORS {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed)
                .map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
            keys.push(SigningKey::from_bytes(&seed));
        }
        keys.sort_by_key(|key| key.verifying_key().to_bytes());
        let set = v1::ValidatorSet {
            validators: keys
                .iter()
                .zip(0_u8..)
                .map(|(key, index)| v1::Validator {
                    public_key: key.verifying_key().to_bytes().to_vec(),
                    organization: vec![index; 32],
                    since_height: 0,
                })
                .collect(),
        };
        let device = SecretKey::generate(KeyAlgorithm::Ed25519)?;
        let bound = v1::BoundKey {
            key: Some(device.public().clone()),
            relationships: DEVICE_RELATIONSHIPS,
            expires_ms: 0,
        };
        let document = document_of(vec![bound], Vec::new());
        Ok(Self { keys, set, genesis, genesis_hash, document, stolen: Vec::new() })
    }

    /// With keys of validators, by which alone it certifies from then on.
    pub(super) fn with_stolen(mut self, stolen: &[SecretKey]) -> Self {
        self.stolen = stolen.iter().map(|key| SigningKey::from_bytes(&key.to_bytes())).collect();
        self.stolen.sort_by_key(|key| key.verifying_key().to_bytes());
        self
    }

    /// A workshop for a network of the liar's own that looks like `chain`: same name, same organizations, other
    /// validators.
    pub(super) fn new_network(chain: &Chain) -> anyhow::Result<Self> {
        let mut forge = Self::new(*chain.hash(), chain.genesis().clone())?;
        forge.genesis.operators = forge
            .keys
            .iter()
            .zip(&chain.genesis().organizations)
            .map(|(key, organization)| {
                let document = organization.document.clone().unwrap_or_default();
                v1::Operator {
                    organization: sillok_ledger::organization_digest(&document).to_vec(),
                    validator_key: key.verifying_key().to_bytes().to_vec(),
                    node_key: Self::fresh_key(key, 1),
                    governance_key: Self::fresh_key(key, 2),
                    archive: true,
                }
            })
            .collect();
        forge.genesis.observers.clear();
        let other = Chain::new(forge.genesis.clone())?;
        forge.set = other.validators().clone();
        forge.genesis_hash = *other.hash();
        Ok(forge)
    }

    /// Another key that follows from `key`.
    fn fresh_key(key: &SigningKey, nth: u8) -> Vec<u8> {
        let mut seed = key.to_bytes();
        seed[0] ^= nth;
        SigningKey::from_bytes(&seed).verifying_key().to_bytes().to_vec()
    }

    pub(super) const fn genesis(&self) -> &v1::Genesis {
        &self.genesis
    }

    pub(super) const fn genesis_hash(&self) -> &Hash {
        &self.genesis_hash
    }

    pub(super) const fn validators(&self) -> &v1::ValidatorSet {
        &self.set
    }

    pub(super) fn network(&self) -> String {
        self.genesis.network.clone()
    }

    /// A holder's document with a device of the liar's.
    pub(super) fn document(&self) -> v1::DidDocument {
        self.document.clone()
    }

    /// A certificate of the liar's validators, or of those whose keys it has stolen: the first ones of their set.
    pub(super) fn certify(&self, header: v1::Header) -> v1::SignedHeader {
        let statement = v1::VoteStatement {
            height: header.height,
            round: 0,
            header_hash: header_hash(&header).to_vec(),
        };
        let string = precommit_string(&self.genesis_hash, &statement);
        let keys = if self.stolen.is_empty() { &self.keys } else { &self.stolen };
        let signatures = keys
            .iter()
            .zip(0_u32..)
            .map(|(key, validator)| v1::CommitSignature {
                validator,
                signature: key.sign(&string).to_bytes().to_vec(),
            })
            .collect();
        let certificate = v1::CommitCertificate {
            height: statement.height,
            round: statement.round,
            header_hash: statement.header_hash,
            signatures,
        };
        v1::SignedHeader { header: Some(header), certificate: Some(certificate) }
    }

    /// The same height, on the liar's chain, certified by its validators.
    pub(super) fn recertify(&self, signed: v1::SignedHeader) -> v1::SignedHeader {
        let mut header = signed.header.unwrap_or_default();
        let set_hash = validator_set_hash(&self.set).to_vec();
        header.protocol_version = certificate::PROTOCOL_VERSION;
        header.genesis_hash = self.genesis_hash.to_vec();
        header.validator_set_hash.clone_from(&set_hash);
        header.next_validator_set_hash = set_hash;
        header.proposer =
            self.set.validators.first().map(|one| one.public_key.clone()).unwrap_or_default();
        if header.height == 0 {
            return v1::SignedHeader { header: Some(header), certificate: None };
        }
        header.time_ms = header.time_ms.max(clock_ms());
        self.certify(header)
    }

    /// Lets `proof`'s entries be those of a state of the liar's, under a header of its own.
    pub(super) fn certify_entries(&self, proof: &mut v1::StateProof) {
        let writes: BTreeMap<TreeKey, Vec<u8>> = proof
            .entries
            .iter()
            .filter(|entry| entry.present)
            .filter_map(|entry| Some((tree_key(&entry.key)?, entry.value.clone())))
            .collect();
        let Some(world) = World::new(&writes) else { return };
        for entry in &mut proof.entries {
            if let Some(proved) = tree_key(&entry.key).and_then(|key| world.prove(&key)) {
                *entry = proved;
            }
        }
        let mut signed = proof.signed_header.take().unwrap_or_default();
        if let Some(header) = &mut signed.header {
            header.state_root = world.root.to_vec();
        }
        proof.signed_header = Some(self.recertify(signed));
    }

    /// The whole answer as it would be in the liar's world: its document, its head, its tree, its certificate.
    pub(super) fn rewrite(&self, answer: &mut v1::ResolveResponse) {
        self.replace_head(answer);
        if let Some(proof) = &mut answer.proof {
            self.certify_entries(proof);
        }
    }

    /// A head that names the liar's document, in the place of the proved one, under the true header.
    pub(super) fn forge_head(&self, answer: &mut v1::ResolveResponse) {
        self.replace_head(answer);
    }

    fn replace_head(&self, answer: &mut v1::ResolveResponse) {
        let Some(newest) = answer.heads.last_mut() else { return };
        newest.document_hash = document_hash(&self.document).to_vec();
        newest.deactivated = false;
        let value = encode(newest);
        answer.heads = answer.heads.split_off(answer.heads.len().saturating_sub(1));
        answer.document = Some(self.document());
        if let Some(entry) = answer.proof.as_mut().and_then(|proof| proof.entries.first_mut()) {
            entry.value = value;
        }
    }

    /// Another state root in the header, and the entries to go with it, under the true certificate.
    pub(super) fn swap_header(&self, answer: &mut v1::ResolveResponse) {
        let Some(proof) = &answer.proof else { return };
        let certificate =
            proof.signed_header.as_ref().and_then(|signed| signed.certificate.clone());
        let before = proof.signed_header.as_ref().and_then(|signed| signed.header.clone());
        self.rewrite(answer);
        let signed = answer.proof.as_mut().and_then(|proof| proof.signed_header.as_mut());
        if let (Some(signed), Some(mut header)) = (signed, before) {
            header.state_root = signed.header.take().unwrap_or_default().state_root;
            *signed = v1::SignedHeader { header: Some(header), certificate };
        }
    }
}

impl Forge {
    /// Another header of the same height, in which something else was ordered.
    pub(super) fn second_header(&self, answer: &mut v1::ResolveResponse) {
        self.change_header(answer, |header| header.transactions_root = vec![9; 32]);
    }

    /// The same state, a year later.
    pub(super) fn postdate(&self, answer: &mut v1::ResolveResponse) {
        self.change_header(answer, |header| {
            header.time_ms = header.time_ms.saturating_add(YEAR_MS);
        });
    }

    fn change_header(&self, answer: &mut v1::ResolveResponse, change: impl Fn(&mut v1::Header)) {
        let Some(signed) = answer.proof.as_mut().and_then(|proof| proof.signed_header.as_mut())
        else {
            return;
        };
        let mut header = signed.header.take().unwrap_or_default();
        change(&mut header);
        *signed = self.certify(header);
    }
}

/// Everything in a chunk of a status list is said to be in these states, along the same path.
pub(super) fn rewrite_chunk(proof: &mut v1::StateProof, states: &[u8]) {
    // The leaf of the list comes first, then those of the first chunk.
    if let Some(entry) = proof.entries.get_mut(1) {
        entry.value = encode(&v1::StatusChunk { states: states.to_vec() });
    }
}

fn tree_key(bytes: &[u8]) -> Option<TreeKey> {
    Hash::from_slice(bytes).map(|hash| TreeKey(hash.0))
}

/// The entry was there; now it is said not to be, along the same path, with its own leaf as the one in its place.
pub(super) fn hide_entries(proof: &mut v1::StateProof) {
    for entry in &mut proof.entries {
        if let Some(path) = entry.path.as_mut().filter(|_| entry.present) {
            path.other_key.clone_from(&entry.key);
            path.other_value_hash = value_hash(&entry.value).to_vec();
        }
        entry.present = false;
        entry.value.clear();
    }
}

/// "Not found."
pub(super) fn say_absent(answer: &mut v1::ResolveResponse) {
    if let Some(proof) = &mut answer.proof {
        hide_entries(proof);
    }
    answer.heads.clear();
    answer.document = None;
    answer.resolution_json.clear();
}

/// Leaves one signature in the certificate.
pub(super) fn thin(proof: Option<&mut v1::StateProof>) {
    thin_header(proof.and_then(|proof| proof.signed_header.as_mut()));
}

/// The same of a header by itself.
pub(super) fn thin_header(signed: Option<&mut v1::SignedHeader>) {
    let certificate = signed.and_then(|signed| signed.certificate.as_mut());
    if let Some(certificate) = certificate {
        certificate.signatures.truncate(1);
    }
}

/// The last DID of a bucket was never there, and neither was its document.
pub(super) fn leave_out(answer: &mut v1::ResolveBucketResponse) {
    let leaf = answer.subtree.as_mut().and_then(|subtree| subtree.leaves.pop());
    let head = leaf.and_then(|leaf| decode::<v1::Head>(&leaf.value, LEAF_BYTES_MAX).ok());
    if let Some(head) = head {
        answer.documents.retain(|one| document_hash(one).0.as_slice() != head.document_hash);
    }
}

/// The first two leaves of a bucket change places.
pub(super) fn exchange_leaves(answer: &mut v1::ResolveBucketResponse) {
    if let Some([first, second, ..]) = answer.subtree.as_mut().map(|tree| &mut *tree.leaves) {
        std::mem::swap(&mut first.value, &mut second.value);
    }
}

/// The resolution result as the answer has it.
pub(super) fn view(network: &str, answer: &v1::ResolveResponse) -> String {
    let Some(head) = answer.heads.first() else { return String::new() };
    let did = Hash::from_slice(&head.did).and_then(|digest| Did::new(network, digest).ok());
    let Some(did) = did else { return String::new() };
    let next_version = (answer.heads.len() > 1).then(|| head.version.saturating_add(1));
    let resolution =
        Resolution { head: head.clone(), document: answer.document.clone(), next_version };
    resolution_json(&did, Some(&resolution)).to_string()
}

/// A state of the liar's, with its tree.
struct World {
    root: Hash,
    nodes: BTreeMap<Vec<u8>, Vec<u8>>,
    values: BTreeMap<TreeKey, Vec<u8>>,
}

impl World {
    fn new(values: &BTreeMap<TreeKey, Vec<u8>>) -> Option<Self> {
        let mut world =
            Self { root: Hash::default(), nodes: BTreeMap::new(), values: values.clone() };
        let update = tree::update(&world, 0, values).ok()?;
        world.root = update.root;
        world.nodes = update.nodes.into_iter().collect();
        Some(world)
    }

    fn prove(&self, key: &TreeKey) -> Option<v1::StateEntry> {
        tree::prove(self, 0, key).ok()
    }
}

impl NodeReader for World {
    fn node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateFault> {
        Ok(self.nodes.get(key).cloned())
    }

    fn value(&self, key: &TreeKey, _max_version: u64) -> Result<Option<Vec<u8>>, StateFault> {
        Ok(self.values.get(key).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sillok_ledger::certificate::verify_certificate;

    fn header(forge: &Forge) -> v1::Header {
        let blank = vec![0; 32];
        let signed = v1::SignedHeader {
            header: Some(v1::Header {
                height: 5,
                parent_hash: blank.clone(),
                transactions_root: blank.clone(),
                state_root: blank.clone(),
                history_root: blank,
                ..v1::Header::default()
            }),
            certificate: None,
        };
        let signed = forge.recertify(signed);
        let (header, certificate) = (signed.header.unwrap(), signed.certificate.unwrap());
        verify_certificate(&forge.genesis_hash, &header, &certificate, &forge.set).unwrap();
        header
    }

    #[test]
    fn a_forged_world_is_consistent_in_itself() {
        let forge = Forge::new(Hash([7; 32]), v1::Genesis::default()).unwrap();
        assert_eq!(header(&forge).height, 5);
        let key = TreeKey::did_head(&Hash([1; 32]));
        let world = World::new(&BTreeMap::from([(key, vec![1, 2, 3])])).unwrap();
        let entry = world.prove(&key).unwrap();
        sillok_ledger::proof::verify_entry(&world.root, &entry).unwrap();
    }
}
