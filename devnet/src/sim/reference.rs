//! The record as it ought to be: every decided block executed once more, one after the other, on a state of its own,
//! with every signature checked anew and no bug switched on, but where the rules themselves are said to be wrong.

use super::keys::Signatures;
use sillok_ledger::mutant::{self, Mutant};
use sillok_ledger::tree::{self, NodeReader};
use sillok_ledger::{
    BlockError, Chain, CheckedTransaction, Frame, Outcome, SignatureVerifier, StateFault,
    StateView, Tip, TransactionLeaf, TreeKey, execute_block, header_hash,
};
use sillok_proto::{Hash, Tag, encode, v1};
use std::collections::{BTreeMap, BTreeSet};
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
    /// Bugs of the rules that the record has too, so that only what must hold whatever the rules say can notice them.
    bugs: Vec<Mutant>,
    verifier: Arc<dyn SignatureVerifier + Send + Sync>,
    /// From height 1 on.
    decided: Vec<Decided>,
    /// set(h), read from the leaf that names it and from nothing else.
    sets: BTreeMap<u64, v1::ValidatorSet>,
    judged: Judged,
}

/// Blocks that somebody proposed for the next height, executed on the record, and what they gave. What was proposed for
/// the two heights before is kept, for votes that come late.
#[derive(Default)]
struct Judged {
    /// Hashes of whole blocks that were executed.
    seen: BTreeMap<Hash, u64>,
    /// By header hash: the height, the hash of the whole block, and what executing it gave.
    good: BTreeMap<Hash, (u64, Hash, Outcome)>,
    /// By header hash: why no block with it was good.
    bad: BTreeMap<Hash, (u64, String)>,
    /// Transactions that some build reads otherwise: no block that holds one is judged.
    excused: BTreeSet<Hash>,
}

fn whole_hash(block: &v1::Block) -> Hash {
    Tag::Key.hash(&[b"simulated block", &encode(block)])
}

/// The root of a tree over these leaves, made anew.
pub(super) fn root_of(leaves: &BTreeMap<TreeKey, Vec<u8>>) -> Hash {
    tree::update(&State::default(), 0, leaves).map(|update| update.root).unwrap_or_default()
}

impl Reference {
    pub(super) fn new(chain: &Chain, signatures: Signatures, bugs: &[Mutant]) -> Self {
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
            bugs: bugs.to_vec(),
            verifier: signatures.verifier(),
            decided: Vec::new(),
            sets: BTreeMap::from([(1, set.clone()), (2, set)]),
            judged: Judged::default(),
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

    /// Whether some set up to now held this key.
    pub(super) fn was_seated(&self, key: &[u8; 32]) -> bool {
        self.sets.values().any(|set| set.validators.iter().any(|one| one.public_key == key))
    }

    /// Builds read this transaction differently, and that is what the run is about.
    pub(super) fn excuse(&mut self, transaction: Hash) {
        self.judged.excused.insert(transaction);
    }

    /// Why the next block could not hold a transaction, if it could not.
    pub(super) fn refuses(&self, transaction: &v1::Transaction, now_ms: u64) -> Option<String> {
        let checked = match CheckedTransaction::check(self.chain.hash(), transaction) {
            Ok(checked) => checked,
            Err(error) => return Some(error.to_string()),
        };
        let frame = Frame {
            chain: &self.chain,
            height: self.tip.height() + 1,
            time_ms: now_ms.max(self.tip.header.time_ms + 1),
            verifier: &*self.verifier,
            replay: &self.tip.replay,
            recent: &self.tip.recent,
            parameters: &self.tip.parameters,
        };
        let ran =
            mutant::with(&self.bugs, || sillok_ledger::admit::run(&frame, &self.state, &checked));
        ran.err().map(|error| error.to_string())
    }

    fn run(&self, block: &v1::Block) -> Result<Outcome, BlockError> {
        mutant::with(&self.bugs, || {
            execute_block(&self.chain, &self.tip, &self.state, &*self.verifier, block)
        })
    }

    /// Somebody proposes a block.
    pub(super) fn judge(&mut self, block: &v1::Block) {
        let header = block.header.clone().unwrap_or_default();
        let hash = header_hash(&header);
        if header.height != self.height() + 1 || self.judged.good.contains_key(&hash) {
            return;
        }
        let whole = whole_hash(block);
        if self.judged.seen.insert(whole, header.height).is_some() {
            return;
        }
        match self.run(block) {
            Ok(outcome) if outcome.hash == hash => {
                self.judged.good.insert(hash, (header.height, whole, outcome));
            }
            Ok(outcome) => {
                let reason = format!("executing it gives the header {}", outcome.hash);
                self.judged.bad.insert(hash, (header.height, reason));
            }
            Err(error) => {
                self.judged.bad.insert(hash, (header.height, error.to_string()));
            }
        }
        let excused = &self.judged.excused;
        let holds_excused = || {
            block.transactions.iter().any(|one| {
                TransactionLeaf::of(self.chain.hash(), one)
                    .is_some_and(|leaf| excused.contains(&leaf.id))
            })
        };
        if !excused.is_empty() && holds_excused() {
            self.judged.bad.remove(&hash);
        }
    }

    /// What is known of a block that somebody votes for; `None` if it cannot be told.
    pub(super) fn judgement(&self, height: u64, header: &Hash) -> Option<Result<(), String>> {
        let decided = self.decided(height).is_some_and(|decided| decided.hash == *header);
        if decided || self.judged.good.contains_key(header) {
            return Some(Ok(()));
        }
        let (_, reason) = self.judged.bad.get(header)?;
        Some(Err(reason.clone()))
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
        let header = block.header.clone().unwrap_or_default();
        let hash = header_hash(&header);
        let outcome = match self.judged.good.remove(&hash) {
            Some((_, whole, outcome)) if whole == whole_hash(block) => outcome,
            _ => self.run(block).map_err(|error| error.to_string())?,
        };
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
        let advanced = mutant::with(&self.bugs, || self.tip.advance(&outcome));
        advanced.map_err(|fault| fault.reason)?;
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
        self.judged.seen.clear();
        self.judged.good.retain(|_, (of, ..)| *of + 2 > height);
        self.judged.bad.retain(|_, (of, _)| *of + 2 > height);
        Ok(())
    }
}
