//! A small network with keys from fixed seeds: what every story begins with.
//!
//! Four operators; `registrar` may register and submit, `registrar-2` too, `carrier` may only submit, `countersigner`
//! may only countersign, `revoker` may submit and revoke, `ministry` has keys and no grant at all. The keys of an
//! organization are `<name>/control` and `<name>/submit`. Another key is made by naming it: Ed25519, or P-256 and
//! X25519 by the prefixes `p256:` and `x25519:`.

use ed25519_dalek::Signer as _;
use sillok_did_method::{
    AUTHENTICATION, CAPABILITY_INVOCATION, DEVICE_RELATIONSHIPS, KEY_AGREEMENT, SUBMIT,
    document_hash, head_hash, key_id, normalize_p256,
};
use sillok_ledger::merkle_log;
use sillok_ledger::tree::{self, NodeReader};
use sillok_ledger::{
    AdmissionError, BlockError, Built, Chain, Changes, CheckedTransaction, Frame, Outcome,
    SignatureVerifier, StateFault, StateView, Tip, TransactionLeaf, TreeKey, VerifyEach, admit,
    build_block, build_in_order, default_parameters, execute_block, organization_digest,
};
use sillok_proto::{Hash, v1};
use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};

/// Ledger time of the genesis.
pub(crate) const START_MS: u64 = 1_795_251_600_000;
/// From one block to the next, unless the story says otherwise.
pub(crate) const STEP_MS: u64 = 1_000;

// ------------------------------------------------------------------------------------------------ keys

enum Secret {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    P256(Box<p256::ecdsa::SigningKey>),
    X25519,
}

pub(crate) fn seed(name: &str) -> [u8; 32] {
    blake3::hash(name.as_bytes()).into()
}

fn secret(name: &str) -> Secret {
    match name.split_once(':') {
        Some(("p256", _)) => {
            Secret::P256(Box::new(p256::ecdsa::SigningKey::from_slice(&seed(name)).unwrap()))
        }
        Some(("x25519", _)) => Secret::X25519,
        _ => Secret::Ed25519(Box::new(ed25519_dalek::SigningKey::from_bytes(&seed(name)))),
    }
}

pub(crate) fn key(name: &str) -> v1::PublicKey {
    static KEYS: Mutex<BTreeMap<String, v1::PublicKey>> = Mutex::new(BTreeMap::new());
    if let Some(key) = KEYS.lock().unwrap().get(name) {
        return key.clone();
    }
    let key = derive(name);
    KEYS.lock().unwrap().insert(name.to_owned(), key.clone());
    key
}

fn derive(name: &str) -> v1::PublicKey {
    let (algorithm, point) = match secret(name) {
        Secret::Ed25519(secret) => {
            (v1::Algorithm::Ed25519, secret.verifying_key().to_bytes().to_vec())
        }
        Secret::P256(secret) => {
            (v1::Algorithm::P256, secret.verifying_key().to_sec1_point(true).as_bytes().to_vec())
        }
        // Any reduced u-coordinate is a key.
        Secret::X25519 => {
            let mut point = seed(name);
            point[31] &= 0x3f;
            (v1::Algorithm::X25519, point.to_vec())
        }
    };
    v1::PublicKey { algorithm: algorithm.into(), point }
}

/// The signature of the key of this name; of an X25519 key, which has none, 64 bytes of something.
pub(crate) fn sign(name: &str, message: &[u8]) -> v1::KeySignature {
    let signature = match secret(name) {
        Secret::Ed25519(secret) => secret.sign(message).to_bytes(),
        Secret::P256(secret) => {
            let signature: p256::ecdsa::Signature = secret.sign(message);
            normalize_p256(signature.to_bytes().into())
        }
        Secret::X25519 => [7; 64],
    };
    v1::KeySignature { key_id: key_id(&key(name)).to_vec(), signature: signature.to_vec() }
}

pub(crate) fn bound(name: &str, relationships: u32) -> v1::BoundKey {
    v1::BoundKey { key: Some(key(name)), relationships, expires_ms: 0 }
}

/// A holder's device key.
pub(crate) fn device(name: &str) -> v1::BoundKey {
    bound(name, DEVICE_RELATIONSHIPS)
}

/// A key-agreement key.
pub(crate) fn agreement(name: &str) -> v1::BoundKey {
    bound(name, KEY_AGREEMENT)
}

/// A document of these keys, in order.
pub(crate) fn document(keys: impl IntoIterator<Item = v1::BoundKey>) -> v1::DidDocument {
    let mut keys: Vec<v1::BoundKey> = keys.into_iter().collect();
    keys.sort_by_key(|bound| {
        let key = bound.key.clone().unwrap_or_default();
        (key.algorithm, key.point)
    });
    v1::DidDocument { keys, services: Vec::new() }
}

/// The keys of an organization.
pub(crate) fn organization_document(name: &str) -> v1::DidDocument {
    document([
        bound(&format!("{name}/control"), CAPABILITY_INVOCATION | AUTHENTICATION),
        bound(&format!("{name}/submit"), SUBMIT),
    ])
}

// --------------------------------------------------------------------------------------------- genesis

/// The organizations of the genesis and what each may do.
const ORGANIZATIONS: [(&str, &[v1::Action]); 10] = [
    ("operator-1", &[]),
    ("operator-2", &[]),
    ("operator-3", &[]),
    ("operator-4", &[]),
    ("registrar", &[v1::Action::Register, v1::Action::Submit]),
    ("registrar-2", &[v1::Action::Register, v1::Action::Submit]),
    ("carrier", &[v1::Action::Submit]),
    ("countersigner", &[v1::Action::Countersign]),
    ("revoker", &[v1::Action::Revoke, v1::Action::Submit]),
    ("ministry", &[]),
];

pub(crate) fn genesis() -> v1::Genesis {
    let mut organizations: Vec<v1::GenesisOrganization> = ORGANIZATIONS
        .iter()
        .map(|(name, actions)| v1::GenesisOrganization {
            name: (*name).to_owned(),
            document: Some(organization_document(name)),
            actions: actions.iter().map(|action| (*action).into()).collect(),
        })
        .collect();
    organizations.sort_by_key(|one| organization_digest(one.document.as_ref().unwrap()));
    let mut operators: Vec<v1::Operator> = (1..=4)
        .map(|n| {
            let name = format!("operator-{n}");
            let point = |use_of: &str| key(&format!("{name}/{use_of}")).point;
            v1::Operator {
                organization: organization_digest(&organization_document(&name)).to_vec(),
                validator_key: point("validator"),
                node_key: point("node"),
                governance_key: point("governance"),
                archive: n == 1,
            }
        })
        .collect();
    operators.sort_by(|a, b| a.validator_key.cmp(&b.validator_key));
    v1::Genesis {
        protocol_version: sillok_ledger::certificate::PROTOCOL_VERSION,
        network: "test".to_owned(),
        time_ms: START_MS,
        parameters: Some(default_parameters()),
        organizations,
        operators,
        observers: vec![v1::Observer { node_key: key("observer/node").point, archive: false }],
    }
}

// ----------------------------------------------------------------------------------------------- state

/// The committed state, in memory.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    pub(crate) leaves: BTreeMap<TreeKey, Vec<u8>>,
    pub(crate) documents: BTreeMap<Hash, v1::DidDocument>,
    nodes: BTreeMap<Vec<u8>, Vec<u8>>,
    values: BTreeMap<(TreeKey, u64), Vec<u8>>,
}

impl Memory {
    fn apply(&mut self, changes: Changes, tree: &tree::TreeUpdate) {
        self.leaves.extend(changes.leaves);
        self.documents.extend(changes.documents);
        self.nodes.extend(tree.nodes.iter().cloned());
        for (key, value) in &tree.values {
            self.values.insert((*key, tree.version), value.clone().unwrap());
        }
    }
}

impl StateView for Memory {
    fn leaf(&self, key: &TreeKey) -> Result<Option<Vec<u8>>, StateFault> {
        Ok(self.leaves.get(key).cloned())
    }

    fn document(&self, hash: &Hash) -> Result<Option<v1::DidDocument>, StateFault> {
        Ok(self.documents.get(hash).cloned())
    }
}

impl NodeReader for Memory {
    fn node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateFault> {
        Ok(self.nodes.get(key).cloned())
    }

    fn value(&self, key: &TreeKey, max_version: u64) -> Result<Option<Vec<u8>>, StateFault> {
        Ok(self.values.range((*key, 0)..=(*key, max_version)).next_back().map(|(_, v)| v.clone()))
    }
}

// ----------------------------------------------------------------------------------------------- world

/// A network at some height: the genesis, the state and the tip; and all heads that ever were.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) chain: Chain,
    pub(crate) tip: Tip,
    pub(crate) state: Memory,
    /// Digest of each DID that a story names.
    pub(crate) names: BTreeMap<String, Hash>,
    /// Take every signature for good, and make none: for stories about quantity.
    pub(crate) trusting: bool,
    /// The operators whose validators build blocks, in turn; without any, the first of the set builds all.
    pub(crate) working: Vec<String>,
    heads: BTreeMap<Hash, Vec<v1::Head>>,
}

/// Takes every signature for good.
struct Trusting;

impl SignatureVerifier for Trusting {
    fn verify(&self, _: &v1::PublicKey, _: &[u8], _: &[u8]) -> bool {
        true
    }
}

impl World {
    pub(crate) fn new() -> Self {
        static START: LazyLock<World> = LazyLock::new(|| World::of(genesis()));
        START.clone()
    }

    /// The network of this genesis.
    pub(crate) fn of(genesis: v1::Genesis) -> Self {
        let chain = Chain::new(genesis).unwrap();
        let start = chain.state();
        let mut state = Memory::default();
        let update = tree::update(&state, 0, &start.leaves).unwrap();
        let changes = Changes {
            leaves: start.leaves,
            documents: start.documents,
            heads: start.heads.clone(),
        };
        state.apply(changes, &update);
        let tip = Tip::genesis(&chain, update.root).unwrap();
        let names = ORGANIZATIONS
            .iter()
            .map(|(name, _)| {
                ((*name).to_owned(), organization_digest(&organization_document(name)))
            })
            .collect();
        let (working, heads) = (Vec::new(), BTreeMap::new());
        let mut world = Self { chain, tip, state, names, trusting: false, working, heads };
        for head in start.heads.into_values() {
            world.remember(head);
        }
        world
    }

    fn remember(&mut self, head: v1::Head) {
        self.heads.entry(Hash::from_slice(&head.did).unwrap()).or_default().push(head);
    }

    /// The digest of a DID by its name in the story; of one that never was, something.
    pub(crate) fn did(&self, name: &str) -> Hash {
        self.names.get(name).copied().unwrap_or_else(|| Hash(seed(name)))
    }

    /// The head of this version; the newest without one. `None` if the DID never was.
    pub(crate) fn head(&self, name: &str, version: Option<u64>) -> Option<v1::Head> {
        let heads = self.heads.get(&self.did(name))?;
        match version {
            None => heads.last().cloned(),
            Some(version) => heads.iter().find(|head| head.version == version).cloned(),
        }
    }

    /// The heads of the last block.
    pub(crate) fn heads_written(&self) -> Vec<v1::Head> {
        let height = self.tip.height();
        self.heads.values().flatten().filter(|head| head.height == height).cloned().collect()
    }

    /// The document of a DID as it stands.
    pub(crate) fn document(&self, name: &str) -> v1::DidDocument {
        let head = self.head(name, None).unwrap();
        let hash = Hash::from_slice(&head.document_hash);
        hash.and_then(|hash| self.state.documents.get(&hash).cloned()).unwrap_or_default()
    }

    /// A holder's device key.
    pub(crate) fn device_of(&self, name: &str) -> Option<v1::PublicKey> {
        sillok_did_method::device_key(&self.document(name)).and_then(|bound| bound.key.clone())
    }

    pub(crate) const fn next_time_ms(&self, after_ms: u64) -> u64 {
        self.tip.header.time_ms + after_ms
    }

    /// The proposer of the next block: any validator of those that work.
    pub(crate) fn proposer(&self) -> Vec<u8> {
        let working: Vec<Hash> = self.working.iter().map(|name| self.did(name)).collect();
        let seats: Vec<&v1::Validator> = self
            .tip
            .validators
            .validators
            .iter()
            .filter(|seat| {
                working.is_empty() || working.iter().any(|one| seat.organization == one.0)
            })
            .collect();
        seats[self.tip.height() as usize % if working.is_empty() { 1 } else { seats.len() }]
            .public_key
            .clone()
    }

    /// The leaf of the members.
    pub(crate) fn members(&self) -> v1::Members {
        self.leaf(&TreeKey::members()).unwrap()
    }

    /// What is written about an operator.
    pub(crate) fn operator(&self, name: &str) -> Option<v1::OperatorRecord> {
        self.leaf(&TreeKey::operator(&self.did(name)))
    }

    /// A leaf, which must be canonical.
    pub(crate) fn leaf<M: prost::Message + Default>(&self, key: &TreeKey) -> Option<M> {
        let bytes = self.state.leaves.get(key)?;
        Some(sillok_proto::decode(bytes, sillok_ledger::overlay::LEAF_BYTES_MAX).unwrap())
    }

    fn verifier(&self) -> &'static dyn SignatureVerifier {
        if self.trusting { &Trusting } else { &VerifyEach }
    }

    /// The frame of the next height at this time.
    pub(crate) fn frame(&self, time_ms: u64) -> Frame<'_> {
        Frame {
            chain: &self.chain,
            height: self.tip.height() + 1,
            time_ms,
            verifier: self.verifier(),
            replay: &self.tip.replay,
            recent: &self.tip.recent,
            parameters: &self.tip.parameters,
        }
    }

    /// What a mempool says of a transaction.
    pub(crate) fn mempool(
        &self,
        transaction: &v1::Transaction,
        time_ms: u64,
    ) -> Result<(), AdmissionError> {
        let checked = CheckedTransaction::check(self.chain.hash(), transaction)?;
        admit::run(&self.frame(time_ms), &self.state, &checked).map(|_| ())
    }

    /// A block of these transactions, as a proposer makes it. All must be well formed.
    pub(crate) fn build(&self, transactions: &[v1::Transaction], time_ms: u64) -> Built {
        let checked: Vec<CheckedTransaction> = transactions
            .iter()
            .map(|one| CheckedTransaction::check(self.chain.hash(), one).unwrap())
            .collect();
        build_block(
            &self.chain,
            &self.tip,
            &self.state,
            self.verifier(),
            time_ms,
            &self.proposer(),
            transactions.iter().zip(&checked),
        )
        .unwrap()
    }

    /// The same without room kept for losses.
    pub(crate) fn build_in_order(&self, transactions: &[v1::Transaction], time_ms: u64) -> Built {
        let checked: Vec<CheckedTransaction> = transactions
            .iter()
            .map(|one| CheckedTransaction::check(self.chain.hash(), one).unwrap())
            .collect();
        build_in_order(
            &self.chain,
            &self.tip,
            &self.state,
            self.verifier(),
            time_ms,
            &self.proposer(),
            transactions.iter().zip(&checked),
        )
        .unwrap()
    }

    /// What a validator says of a block.
    pub(crate) fn execute(&self, block: &v1::Block) -> Result<Outcome, BlockError> {
        execute_block(&self.chain, &self.tip, &self.state, self.verifier(), block)
    }

    /// A block with these transactions, admissible or not, whose header commits to them.
    pub(crate) fn force(&self, transactions: &[v1::Transaction], time_ms: u64) -> v1::Block {
        let mut block = self.build(&[], time_ms).block;
        block.transactions = transactions.to_vec();
        self.commit_to_transactions(&mut block);
        block
    }

    /// Sets the transactions root to that of the transactions. Of one without a body there is none.
    pub(crate) fn commit_to_transactions(&self, block: &mut v1::Block) {
        let leaves: Vec<Hash> = block
            .transactions
            .iter()
            .filter_map(|one| Some(TransactionLeaf::of(self.chain.hash(), one)?.hash()))
            .collect();
        if let Some(header) = &mut block.header {
            header.transactions_root = merkle_log::transactions_root(&leaves).to_vec();
        }
    }

    /// Commits a block: every validator executes it on its own copy and must come to the same.
    pub(crate) fn commit(&mut self, built: &Built) {
        let other = self.clone();
        let outcome = other.execute(&built.block).unwrap();
        assert_eq!(outcome.header, built.outcome.header);
        assert_eq!(outcome.changes, built.outcome.changes);
        assert_eq!(outcome.tree, built.outcome.tree);
        assert_eq!(
            (outcome.heads, outcome.replay),
            (built.outcome.heads.clone(), built.outcome.replay.clone())
        );
        assert_eq!(
            (outcome.governance, outcome.validators, outcome.status),
            (
                built.outcome.governance.clone(),
                built.outcome.validators.clone(),
                built.outcome.status.clone()
            )
        );
        let outcome = &built.outcome;
        let (next, time_ms) = (self.tip.next_validators.clone(), self.tip.header.time_ms);
        self.state.apply(outcome.changes.clone(), &outcome.tree);
        for head in outcome.heads.iter().flatten() {
            self.remember(head.clone());
        }
        self.tip.advance(outcome).unwrap();
        assert_eq!(self.tip.validators, next, "set(h + 1) was fixed before block h");
        assert!(self.tip.header.time_ms > time_ms);
        self.check_invariants();
        self.check_members();
    }

    /// What holds of members after every block, whatever was in it.
    fn check_members(&self) {
        let v1::Members { validators, operators, observers } = self.members();
        let set = validators.unwrap();
        sillok_ledger::certificate::check_validator_set(&set).unwrap();
        assert_eq!(self.tip.next_validators, set, "the leaf holds set(h + 2)");
        assert!(operators.is_sorted_by(|a, b| a < b) && operators.len() <= 128);
        assert!(observers.is_sorted_by(|a, b| a < b) && observers.len() <= 256);
        let mut waiting = operators;
        for seat in &set.validators {
            let place = waiting.binary_search(&seat.organization);
            waiting.remove(place.expect("one seat for each of the operators"));
            let organization = Hash::from_slice(&seat.organization).unwrap();
            let record: v1::OperatorRecord = self.leaf(&TreeKey::operator(&organization)).unwrap();
            let keys = record.operator.unwrap();
            assert_eq!(keys.validator_key, seat.public_key, "the key in force holds the seat");
            assert_eq!((keys.organization, record.ended_height), (seat.organization.clone(), 0));
            let next_node = record.pending.map(|pending| pending.node_key).unwrap_or_default();
            let mut points = vec![keys.validator_key, keys.node_key, keys.governance_key];
            points.extend(Some(next_node).filter(|point| !point.is_empty()));
            for point in points {
                let key = v1::PublicKey { algorithm: v1::Algorithm::Ed25519.into(), point };
                assert!(self.state.leaves.contains_key(&TreeKey::used_key(&key_id(&key))));
            }
        }
        for organization in waiting {
            let organization = Hash::from_slice(&organization).unwrap();
            let record: v1::OperatorRecord = self.leaf(&TreeKey::operator(&organization)).unwrap();
            assert!(record.pending.is_some() && record.ended_height == 0, "it may join");
            assert!(record.operator.unwrap().validator_key.is_empty(), "it never did");
        }
        for node_key in observers {
            let record: v1::ObserverRecord = self.leaf(&TreeKey::observer(&node_key)).unwrap();
            assert_eq!(record.observer.unwrap().node_key, node_key);
            assert_eq!(record.ended_height, 0);
        }
    }

    /// What holds after every block, whatever was in it.
    fn check_invariants(&self) {
        for (did, heads) in &self.heads {
            let leaf = self.state.leaves[&TreeKey::did_head(did)].clone();
            assert_eq!(leaf, sillok_proto::encode(heads.last().unwrap()));
            for (nth, pair) in heads.windows(2).enumerate() {
                assert!(!pair[0].deactivated, "deactivated is final");
                assert_eq!(pair[1].previous, head_hash(&pair[0]).to_vec(), "heads form a chain");
                assert_eq!(pair[1].version, nth as u64 + 2);
                assert_eq!(
                    (pair[1].kind, &pair[1].authority, pair[1].created_ms),
                    (pair[0].kind, &pair[0].authority, pair[0].created_ms),
                    "what never changes"
                );
            }
            let head = heads.last().unwrap();
            let empty = document_hash(&v1::DidDocument::default());
            if !head.deactivated && head.document_hash != empty.to_vec() {
                let hash = Hash::from_slice(&head.document_hash).unwrap();
                let document = &self.state.documents[&hash];
                sillok_did_method::check_document(head.kind(), document).unwrap();
                for bound in &document.keys {
                    let key = bound.key.as_ref().unwrap();
                    let used = self.state.leaves.contains_key(&TreeKey::used_key(&key_id(key)));
                    assert_eq!(used, key.algorithm() != v1::Algorithm::X25519);
                }
            }
        }
    }

    /// Ends or begins a grant. No operation does so in this protocol version, so the leaf is written behind its back.
    pub(crate) fn set_grant(&mut self, name: &str, action: v1::Action, periods: &[(u64, u64)]) {
        let periods = periods
            .iter()
            .map(|(from_ms, until_ms)| v1::Period {
                from_ms: *from_ms,
                until_ms: *until_ms,
                ..v1::Period::default()
            })
            .collect();
        let leaf = TreeKey::grant(&self.did(name), action, &[]);
        self.state.leaves.insert(leaf, sillok_proto::encode(&v1::Grant { periods }));
    }
}
