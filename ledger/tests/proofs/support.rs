//! Keys, sets, and a small chain of certified headers to lie about.

use ed25519_dalek::{Signer, SigningKey};
use sillok_ledger::certificate::{self, header_hash, precommit_string, validator_set_hash};
use sillok_ledger::merkle_log::{self, HistoryFrontier, HistoryHasher};
use sillok_ledger::tree::{self, NodeReader};
use sillok_ledger::{StateFault, TreeKey};
use sillok_proto::{Hash, v1};
use std::collections::BTreeMap;

pub(crate) const GENESIS: Hash = Hash([0xAB; 32]);
pub(crate) const START_MS: u64 = 1_700_000_000_000;
pub(crate) const STEP_MS: u64 = 1_000;

/// A validator set with its private keys, in the order of the set.
#[derive(Clone)]
pub(crate) struct Validators {
    pub(crate) keys: Vec<SigningKey>,
    pub(crate) set: v1::ValidatorSet,
}

pub(crate) fn validators(seeds: impl IntoIterator<Item = u8>) -> Validators {
    let mut keys: Vec<SigningKey> =
        seeds.into_iter().map(|seed| SigningKey::from_bytes(&[seed; 32])).collect();
    keys.sort_by_key(|key| key.verifying_key().to_bytes());
    let set = v1::ValidatorSet {
        validators: keys
            .iter()
            .map(|key| v1::Validator {
                public_key: key.verifying_key().to_bytes().to_vec(),
                organization: blake3_of(key.verifying_key().as_bytes()),
                since_height: 0,
            })
            .collect(),
    };
    Validators { keys, set }
}

pub(crate) fn blake3_of(bytes: &[u8]) -> Vec<u8> {
    blake3::hash(bytes).as_bytes().to_vec()
}

/// A certificate by these members of `by`.
pub(crate) fn certify(header: &v1::Header, by: &Validators, signers: &[usize]) -> v1::SignedHeader {
    let round = 1;
    let statement = v1::VoteStatement {
        height: header.height,
        round,
        header_hash: header_hash(header).to_vec(),
    };
    let message = precommit_string(&GENESIS, &statement);
    let signatures = signers
        .iter()
        .map(|&index| v1::CommitSignature {
            validator: u32::try_from(index).unwrap(),
            signature: by.keys[index].sign(&message).to_bytes().to_vec(),
        })
        .collect();
    let certificate = v1::CommitCertificate {
        height: header.height,
        round,
        header_hash: statement.header_hash,
        signatures,
    };
    v1::SignedHeader { header: Some(header.clone()), certificate: Some(certificate) }
}

/// A certificate by the first quorum of `by`.
pub(crate) fn certify_by_quorum(header: &v1::Header, by: &Validators) -> v1::SignedHeader {
    let signers: Vec<usize> = (0..certificate::quorum(by.keys.len())).collect();
    certify(header, by, &signers)
}

/// Headers 0..=n; 0 is genesis and uncertified.
#[derive(Clone)]
pub(crate) struct TestChain {
    /// `sets[h]` certifies height h; `sets[0]` is not used.
    pub(crate) sets: Vec<Validators>,
    pub(crate) signed: Vec<v1::SignedHeader>,
    pub(crate) log: BTreeMap<(u32, u64), Hash>,
}

impl TestChain {
    /// Heights up to `tip`, set(h) being `set_at(h)`. From `branch_at` on the states are another branch's.
    pub(crate) fn new(
        tip: u64,
        branch_at: Option<u64>,
        set_at: impl Fn(u64) -> Validators,
    ) -> Self {
        let sets: Vec<Validators> = (0..=tip + 1).map(set_at).collect();
        let mut chain = Self { sets, signed: Vec::new(), log: BTreeMap::new() };
        let mut frontier = HistoryFrontier::new();
        let mut parent_hash = vec![0; 32];
        for height in 0..=tip {
            let at = usize::try_from(height).unwrap();
            let branch = branch_at.is_some_and(|branch_at| height >= branch_at);
            let by = &chain.sets[at];
            let header = v1::Header {
                protocol_version: 1,
                genesis_hash: GENESIS.to_vec(),
                height,
                time_ms: START_MS + height * STEP_MS,
                parent_hash,
                transactions_root: merkle_log::transactions_root(&[]).to_vec(),
                state_root: blake3_of(&[u8::from(branch), height.to_be_bytes()[7]]),
                history_root: frontier.root().to_vec(),
                validator_set_hash: validator_set_hash(&chain.sets[at.max(1)].set).to_vec(),
                next_validator_set_hash: validator_set_hash(&chain.sets[at + 1].set).to_vec(),
                proposer: if height == 0 {
                    vec![]
                } else {
                    by.set.validators[0].public_key.clone()
                },
            };
            let signed = if height == 0 {
                v1::SignedHeader { header: Some(header.clone()), certificate: None }
            } else {
                certify_by_quorum(&header, by)
            };
            let hash = header_hash(&header);
            for node in frontier.append(HistoryHasher::leaf(&hash.0)).unwrap() {
                chain.log.insert((node.level, node.index), node.hash);
            }
            chain.signed.push(signed);
            parent_hash = hash.to_vec();
        }
        chain
    }

    pub(crate) fn signed(&self, height: u64) -> v1::SignedHeader {
        self.signed[usize::try_from(height).unwrap()].clone()
    }

    pub(crate) fn header(&self, height: u64) -> v1::Header {
        self.signed(height).header.unwrap()
    }

    pub(crate) fn set(&self, height: u64) -> &Validators {
        &self.sets[usize::try_from(height).unwrap()]
    }

    pub(crate) fn light_block(&self, height: u64) -> v1::LightBlock {
        v1::LightBlock {
            signed_header: Some(self.signed(height)),
            next_validators: Some(self.set(height + 1).set.clone()),
        }
    }

    pub(crate) fn bundle(&self, heights: &[u64]) -> v1::TrustBundle {
        v1::TrustBundle {
            light_blocks: heights.iter().map(|&height| self.light_block(height)).collect(),
        }
    }

    pub(crate) fn history(&self, tip: u64, older: u64) -> v1::HistoryProof {
        let path =
            merkle_log::path::<HistoryHasher, merkle_log::LogError>(older, tip, |level, index| {
                Ok(self.log[&(level, index)])
            });
        v1::HistoryProof {
            signed_header: Some(self.signed(tip)),
            header: Some(self.header(older)),
            path: Some(path.unwrap()),
        }
    }
}

/// A state tree of one version, 0, in memory.
#[derive(Default)]
pub(crate) struct Store {
    nodes: BTreeMap<Vec<u8>, Vec<u8>>,
    values: BTreeMap<TreeKey, Vec<u8>>,
}

impl Store {
    /// The tree of these leaves, and its root.
    pub(crate) fn of(values: BTreeMap<TreeKey, Vec<u8>>) -> (Self, Hash) {
        let update = tree::update(&Self::default(), 0, &values).unwrap();
        (Self { nodes: update.nodes.into_iter().collect(), values }, update.root)
    }
}

impl NodeReader for Store {
    fn node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateFault> {
        Ok(self.nodes.get(key).cloned())
    }

    fn value(&self, key: &TreeKey, _: u64) -> Result<Option<Vec<u8>>, StateFault> {
        Ok(self.values.get(key).cloned())
    }
}
