//! The bare limit: the blocks that a network made, executed once more in one thread and in memory, with every signature
//! checked and every root compared, but without network, votes or disk.
//!
//! What a network does in a second is set against it in the same run, on the same machine: a figure alone says more of
//! the machine than of the network. It is a check as well: a block that executes to another header ends it.

use crate::directory::Devnet;
use anyhow::{Context as _, ensure};
use sillok_client::trust::read_genesis;
use sillok_ledger::tree::{self, NodeReader};
use sillok_ledger::{
    Chain, StateFault, StateView, Tip, TransactionLeaf, TreeKey, VerifyEach, execute_block,
};
use sillok_proto::v1::ledger_client::LedgerClient;
use sillok_proto::{Hash, v1};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The newest state, in memory.
#[derive(Default)]
struct State {
    leaves: BTreeMap<TreeKey, Vec<u8>>,
    nodes: BTreeMap<Vec<u8>, Vec<u8>>,
    documents: BTreeMap<Hash, v1::DidDocument>,
}

impl NodeReader for State {
    fn node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateFault> {
        Ok(self.nodes.get(key).cloned())
    }

    fn value(&self, key: &TreeKey, _max_version: u64) -> Result<Option<Vec<u8>>, StateFault> {
        Ok(self.leaves.get(key).cloned())
    }
}

impl StateView for State {
    fn leaf(&self, key: &TreeKey) -> Result<Option<Vec<u8>>, StateFault> {
        Ok(self.leaves.get(key).cloned())
    }

    fn document(&self, hash: &Hash) -> Result<Option<v1::DidDocument>, StateFault> {
        Ok(self.documents.get(hash).cloned())
    }
}

/// How long the blocks of a span of heights took to execute.
#[derive(Debug, Default)]
pub struct BareTimes(BTreeMap<u64, Duration>);

impl BareTimes {
    /// The time of the blocks `from..=to`.
    #[must_use]
    pub fn of(&self, from: u64, to: u64) -> Duration {
        self.0.range(from..=to).map(|(_, time)| *time).sum()
    }
}

/// Executes every block of the network up to `height`. `known` holds the transactions with private contents, which no
/// node serves to a client.
///
/// # Errors
///
/// A node does not answer, a transaction with a private content is not among those known, or a block executes to another
/// header than the network's.
pub async fn execute_again(
    devnet: &Devnet,
    height: u64,
    known: &BTreeMap<Hash, v1::Transaction>,
) -> anyhow::Result<BareTimes> {
    let chain = read_genesis(&devnet.genesis)?;
    let node = devnet.nodes.first().context("the devnet has no node")?;
    let mut client =
        LedgerClient::connect(node.grpc.clone()).await?.max_decoding_message_size(64 * 1024 * 1024);
    let genesis = chain.state();
    let mut state = State {
        leaves: genesis.leaves.clone(),
        documents: genesis.documents.clone(),
        ..State::default()
    };
    let update = tree::update(&state, 0, &genesis.leaves)?;
    state.nodes.extend(update.nodes);
    let mut tip = Tip::genesis(&chain, update.root)?;
    let mut times = BareTimes::default();
    for height in 1..=height {
        let public = client.get_block(v1::GetBlockRequest { height }).await?.into_inner();
        let block = whole(&chain, public, known)
            .with_context(|| format!("block {height} cannot be executed again"))?;
        let began = Instant::now();
        let outcome = execute_block(&chain, &tip, &state, &VerifyEach, &block)
            .with_context(|| format!("block {height} is refused when it is executed again"))?;
        times.0.insert(height, began.elapsed());
        ensure!(
            block.header.as_ref() == Some(&outcome.header),
            "block {height} executes to another header"
        );
        tip.advance(&outcome)?;
        state.leaves.extend(outcome.changes.leaves);
        state.documents.extend(outcome.changes.documents);
        state.nodes.extend(outcome.tree.nodes);
    }
    Ok(times)
}

/// The block with all its parts.
fn whole(
    chain: &Chain,
    public: v1::GetBlockResponse,
    known: &BTreeMap<Hash, v1::Transaction>,
) -> anyhow::Result<v1::Block> {
    let header = public.signed_header.and_then(|signed| signed.header);
    let mut transactions = Vec::with_capacity(public.transactions.len());
    for one in public.transactions {
        let id = Hash::from_slice(&one.transaction_id).context("an id is none")?;
        let transaction = match known.get(&id) {
            Some(transaction) => transaction.clone(),
            None => v1::Transaction {
                body: one.body,
                documents: one.documents,
                signatures: one.signatures,
                ..v1::Transaction::default()
            },
        };
        let leaf = TransactionLeaf::of(chain.hash(), &transaction);
        ensure!(leaf.is_some_and(|leaf| leaf.id == id), "transaction {id} has other parts");
        transactions.push(transaction);
    }
    Ok(v1::Block { header, transactions })
}
