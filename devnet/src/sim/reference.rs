//! The record as it ought to be: every decided block executed once more, one after the other, on a state of its own,
//! with every signature checked anew and no bug switched on.

use super::keys::Signatures;
use sillok_ledger::tree::{self, NodeReader};
use sillok_ledger::{
    Chain, SignatureVerifier, StateFault, StateView, Tip, TreeKey, execute_block, header_hash,
};
use sillok_proto::{Hash, v1};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A state in memory that keeps every version.
#[derive(Default)]
struct State {
    leaves: BTreeMap<TreeKey, Vec<(u64, Vec<u8>)>>,
    nodes: BTreeMap<Vec<u8>, Vec<u8>>,
    documents: BTreeMap<Hash, v1::DidDocument>,
}

impl State {
    fn at(&self, key: &TreeKey, height: u64) -> Option<&Vec<u8>> {
        let versions = self.leaves.get(key)?;
        versions.iter().rev().find(|(at, _)| *at <= height).map(|(_, value)| value)
    }
}

impl NodeReader for State {
    fn node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateFault> {
        Ok(self.nodes.get(key).cloned())
    }

    fn value(&self, key: &TreeKey, max_version: u64) -> Result<Option<Vec<u8>>, StateFault> {
        Ok(self.at(key, max_version).cloned())
    }
}

impl StateView for State {
    fn leaf(&self, key: &TreeKey) -> Result<Option<Vec<u8>>, StateFault> {
        Ok(self.at(key, u64::MAX).cloned())
    }

    fn document(&self, hash: &Hash) -> Result<Option<v1::DidDocument>, StateFault> {
        Ok(self.documents.get(hash).cloned())
    }
}

/// A height of the record.
pub(super) struct Decided {
    pub(super) hash: Hash,
    pub(super) header: v1::Header,
    /// Leaves it wrote.
    pub(super) wrote: Vec<TreeKey>,
    /// Ids of its transactions, in order.
    pub(super) transactions: Vec<Hash>,
}

/// See the module.
pub(super) struct Reference {
    chain: Chain,
    tip: Tip,
    state: State,
    verifier: Arc<dyn SignatureVerifier + Send + Sync>,
    /// From height 1 on.
    decided: Vec<Decided>,
    /// set(h), read from the leaf that names it and from nothing else.
    sets: BTreeMap<u64, v1::ValidatorSet>,
}

impl Reference {
    pub(super) fn new(chain: &Chain, signatures: Signatures) -> Self {
        let genesis = chain.state();
        let mut state = State { documents: genesis.documents.clone(), ..State::default() };
        let update = tree::update(&state, 0, &genesis.leaves).expect("the genesis has a tree");
        state.nodes.extend(update.nodes.iter().cloned());
        for (key, value) in &genesis.leaves {
            state.leaves.insert(*key, vec![(0, value.clone())]);
        }
        let tip = Tip::genesis(chain, update.root).expect("the genesis has a tip");
        let set = chain.validators().clone();
        Self {
            chain: chain.clone(),
            tip,
            state,
            verifier: signatures.verifier(),
            decided: Vec::new(),
            sets: BTreeMap::from([(1, set.clone()), (2, set)]),
        }
    }

    pub(super) fn genesis(&self) -> &Hash {
        self.chain.hash()
    }

    pub(super) fn height(&self) -> u64 {
        self.decided.len() as u64
    }

    pub(super) fn tip(&self) -> &Tip {
        &self.tip
    }

    /// The block of a height.
    pub(super) fn decided(&self, height: u64) -> Option<&Decided> {
        self.decided.get(height.checked_sub(1)? as usize)
    }

    /// set(height).
    pub(super) fn set(&self, height: u64) -> Option<&v1::ValidatorSet> {
        self.sets.get(&height)
    }

    /// What a leaf holds after a height.
    pub(super) fn leaf(&self, key: &TreeKey, height: u64) -> Option<&Vec<u8>> {
        self.state.at(key, height)
    }

    /// Every leaf there is.
    pub(super) fn leaves(&self) -> impl Iterator<Item = &TreeKey> {
        self.state.leaves.keys()
    }

    /// A message in a leaf, as it is now.
    pub(super) fn read<M: prost::Message + Default>(&self, key: &TreeKey) -> Option<M> {
        M::decode(self.state.at(key, u64::MAX)?.as_slice()).ok()
    }

    /// Executes the next block.
    pub(super) fn execute(&mut self, block: &v1::Block) -> Result<(), String> {
        let run = execute_block(&self.chain, &self.tip, &self.state, &*self.verifier, block);
        let outcome = run.map_err(|error| error.to_string())?;
        let header = block.header.clone().unwrap_or_default();
        let hash = header_hash(&header);
        if outcome.hash != hash {
            return Err(format!("executing it gives the header {}", outcome.hash));
        }
        let height = header.height;
        for (key, value) in &outcome.changes.leaves {
            self.state.leaves.entry(*key).or_default().push((height, value.clone()));
        }
        self.state.nodes.extend(outcome.tree.nodes.iter().cloned());
        for (hash, document) in &outcome.changes.documents {
            self.state.documents.insert(*hash, document.clone());
        }
        self.tip.advance(&outcome).map_err(|fault| fault.reason)?;
        self.decided.push(Decided {
            hash,
            header,
            wrote: outcome.changes.leaves.keys().copied().collect(),
            transactions: outcome.transactions.iter().map(|leaf| leaf.id).collect(),
        });
        // PROTOCOL §7.3: a block fixes the set of the height after the next.
        let members: Option<v1::Members> = self.read(&TreeKey::members());
        let set = members
            .and_then(|members| members.validators)
            .unwrap_or_else(|| self.chain.validators().clone());
        self.sets.insert(height + 2, set);
        Ok(())
    }
}
