//! A whole network in memory behind one gRPC door: for tests of clients, and for whoever must answer with lies.
//!
//! [`MemoryNetwork`] executes blocks with the ledger's own rules, certifies them with the keys of its validators and
//! proves what it answers, all at once and without consensus. [`serve`] opens the door; a [`Lie`] may change each answer
//! on its way out. Time is handed in, so that nothing here waits.

use crate::identity::Identity;
use crate::keys::{KeyAlgorithm, SecretKey};
use crate::problem::DOMAIN;
use crate::verify::moment::Moment;
use sillok_did_method::{Did, head_hash, proposal_hash};
use sillok_ledger::answer::{self, Recorder};
use sillok_ledger::merkle_log::{self, HistoryHasher, TransactionHasher};
use sillok_ledger::prepare::Asked;
use sillok_ledger::snapshot::Prefix;
use sillok_ledger::state_key::KIND_BITS;
use sillok_ledger::tree::{self, NodeReader};
use sillok_ledger::{
    AdmissionError, Chain, CheckedTransaction, Frame, StateFault, StateView, Tip, TransactionLeaf,
    TreeKey, VerifyEach, authority, build_block, default_parameters, header_hash,
    organization_digest, precommit_string, reading, validator_set_hash,
};
use sillok_proto::{Hash, decode, v1};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Why the network in memory stopped: a mistake in a test.
#[derive(Debug, thiserror::Error)]
#[error("the network in memory: {0}")]
pub struct TestingError(String);

fn fault(error: impl fmt::Display) -> TestingError {
    TestingError(error.to_string())
}

/// Nodes, values, documents and heads of every height.
#[derive(Debug, Clone, Default)]
struct Store {
    height: u64,
    nodes: BTreeMap<Vec<u8>, Vec<u8>>,
    values: BTreeMap<TreeKey, BTreeMap<u64, Vec<u8>>>,
    documents: BTreeMap<Hash, v1::DidDocument>,
    heads: BTreeMap<Hash, v1::Head>,
}

impl NodeReader for Store {
    fn node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateFault> {
        Ok(self.nodes.get(key).cloned())
    }

    fn value(&self, key: &TreeKey, max_version: u64) -> Result<Option<Vec<u8>>, StateFault> {
        let versions = self.values.get(key);
        Ok(versions.and_then(|all| all.range(..=max_version).next_back()).map(|(_, v)| v.clone()))
    }
}

impl StateView for Store {
    fn leaf(&self, key: &TreeKey) -> Result<Option<Vec<u8>>, StateFault> {
        self.value(key, self.height)
    }

    fn document(&self, hash: &Hash) -> Result<Option<v1::DidDocument>, StateFault> {
        Ok(self.documents.get(hash).cloned())
    }
}

/// The state of one height.
struct StoreAt<'a> {
    store: &'a Store,
    height: u64,
}

impl StateView for StoreAt<'_> {
    fn leaf(&self, key: &TreeKey) -> Result<Option<Vec<u8>>, StateFault> {
        self.store.value(key, self.height)
    }

    fn document(&self, hash: &Hash) -> Result<Option<v1::DidDocument>, StateFault> {
        self.store.document(hash)
    }
}

impl Store {
    fn apply(&mut self, update: tree::TreeUpdate) {
        self.height = update.version;
        self.nodes.extend(update.nodes);
        for (key, value) in update.values {
            if let Some(value) = value {
                self.values.entry(key).or_default().insert(update.version, value);
            }
        }
    }
}

/// A network that orders what it is told, at the time it is told.
#[derive(Debug, Clone)]
pub struct MemoryNetwork {
    chain: Chain,
    tip: Tip,
    store: Store,
    /// The secrets of validators, those of replaced ones too.
    keys: BTreeMap<Vec<u8>, SecretKey>,
    /// The set of each height up to the next one.
    sets: BTreeMap<u64, v1::ValidatorSet>,
    operators: Vec<MemoryOperator>,
    headers: Vec<v1::Header>,
    signed_headers: BTreeMap<u64, v1::SignedHeader>,
    receipts: BTreeMap<Hash, (u64, u32, v1::Receipt)>,
}

/// An operator of a network in memory.
#[derive(Debug, Clone)]
pub struct MemoryOperator {
    /// Its organization.
    pub did: Did,
    /// Its governance key.
    pub governance: SecretKey,
    /// Its first validator key.
    pub validator: SecretKey,
}

/// Names and organizations of a network in memory.
#[derive(Debug, Clone)]
pub struct Ministries {
    /// Registers holders and submits.
    pub registrar: Identity,
    /// Countersigns and submits.
    pub countersigner: Identity,
}

impl MemoryNetwork {
    /// A network named `name` that starts at `time_ms`, with four validators and two organizations.
    ///
    /// # Errors
    ///
    /// [`TestingError`] never in practice.
    pub fn new(name: &str, time_ms: u64) -> Result<(Self, Ministries), TestingError> {
        let organization = || {
            Identity::organization(name, KeyAlgorithm::Ed25519, false, None, None).map_err(fault)
        };
        let ministries = Ministries { registrar: organization()?, countersigner: organization()? };
        let mut organizations = Vec::new();
        let mut operators = Vec::new();
        let mut known = Vec::new();
        for identity in [&ministries.registrar, &ministries.countersigner] {
            organizations.push(genesis_organization("ministry", identity.document()));
        }
        for _ in 0..4 {
            let identity = organization()?;
            let key = || SecretKey::generate(KeyAlgorithm::Ed25519).map_err(fault);
            let (validator, node, governance) = (key()?, key()?, key()?);
            operators.push(v1::Operator {
                organization: identity.did.digest().to_vec(),
                validator_key: validator.public().point.clone(),
                node_key: node.public().point.clone(),
                governance_key: governance.public().point.clone(),
                archive: true,
            });
            organizations.push(genesis_organization("operator", identity.document()));
            known.push(MemoryOperator { did: identity.did, governance, validator });
        }
        organizations.sort_by_key(|one| one.document.as_ref().map(organization_digest));
        operators.sort_by(|a, b| a.validator_key.cmp(&b.validator_key));
        known.sort_by(|a, b| a.validator.public().point.cmp(&b.validator.public().point));
        let genesis = v1::Genesis {
            protocol_version: 1,
            network: name.to_owned(),
            time_ms,
            parameters: Some(default_parameters()),
            organizations,
            operators,
            observers: Vec::new(),
        };
        let validators = known.iter().map(|operator| operator.validator.clone()).collect();
        let mut network = Self::of_genesis(genesis, validators)?;
        network.operators = known;
        Ok((network, ministries))
    }

    /// The network of a genesis, certified by these keys, which are those of its operators in order.
    ///
    /// # Errors
    ///
    /// [`TestingError`]: the genesis is refused.
    pub fn of_genesis(
        genesis: v1::Genesis,
        validators: Vec<SecretKey>,
    ) -> Result<Self, TestingError> {
        let chain = Chain::new(genesis).map_err(fault)?;
        let state = chain.state();
        let mut store =
            Store { documents: state.documents, heads: state.heads, ..Store::default() };
        let update = tree::update(&store, 0, &state.leaves).map_err(fault)?;
        let tip = Tip::genesis(&chain, update.root).map_err(fault)?;
        store.apply(update);
        let header = tip.header.clone();
        let sets = BTreeMap::from([(1, tip.validators.clone())]);
        let keys = validators.into_iter().map(|key| (key.public().point.clone(), key)).collect();
        Ok(Self {
            chain,
            tip,
            store,
            keys,
            sets,
            operators: Vec::new(),
            headers: vec![header],
            signed_headers: BTreeMap::new(),
            receipts: BTreeMap::new(),
        })
    }

    /// The network's genesis.
    #[must_use]
    pub const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The last block.
    #[must_use]
    pub const fn tip(&self) -> &Tip {
        &self.tip
    }

    /// Tries a transaction and keeps nothing, as a node does.
    ///
    /// # Errors
    ///
    /// Nobody who may submit asks for it, or it has no transaction's form.
    pub fn simulate(
        &self,
        time_ms: u64,
        transaction: &v1::Transaction,
        submitter: &v1::KeySignature,
        roles: &[v1::KeySignature],
    ) -> Result<v1::SimulateResponse, AdmissionError> {
        let height = self.tip.height();
        let time_ms = time_ms.max(self.tip.header.time_ms.saturating_add(1));
        let frame = Frame {
            chain: &self.chain,
            height: height.saturating_add(1),
            time_ms,
            verifier: &VerifyEach,
            replay: &self.tip.replay,
            recent: &self.tip.recent,
            parameters: &self.tip.parameters,
        };
        let asked = Asked::check(&frame, &self.store, transaction, submitter)?;
        let prepared = sillok_ledger::prepare(&frame, &self.store, asked, roles)?;
        Ok(prepared.into_message(height, time_ms, |error| v1::Problem {
            code: error.code().to_owned(),
            message: error.to_string(),
            retry: error.retry().as_str().to_owned(),
            fields: error
                .fields()
                .into_iter()
                .map(|(name, value)| v1::ProblemField { name: name.to_owned(), value })
                .collect(),
        }))
    }

    /// Orders transactions in a block of this time.
    ///
    /// # Errors
    ///
    /// The rule that the first inadmissible one breaks; then nothing is ordered.
    pub fn commit(
        &mut self,
        time_ms: u64,
        transactions: &[v1::Transaction],
    ) -> Result<(), AdmissionError> {
        let internal = |reason: String| AdmissionError::State(StateFault::new(reason));
        let checked = transactions
            .iter()
            .map(|one| CheckedTransaction::check(self.chain.hash(), one))
            .collect::<Result<Vec<_>, _>>()?;
        // By turns, so that none counts as absent.
        let set = &self.tip.validators.validators;
        let turn = usize::try_from(self.tip.height()).unwrap_or(0) % set.len().max(1);
        let proposer = set.get(turn).map(|validator| validator.public_key.clone());
        let built = build_block(
            &self.chain,
            &self.tip,
            &self.store,
            &VerifyEach,
            time_ms,
            &proposer.unwrap_or_default(),
            transactions.iter().zip(&checked),
        )
        .map_err(|error| internal(error.to_string()))?;
        if let Some((_, error)) = built.refused.into_iter().next() {
            return Err(error);
        }
        let outcome = built.outcome;
        let signed_header =
            self.certify(&outcome.header).map_err(|error| internal(error.to_string()))?;
        let height = outcome.header.height;
        let leaves: Vec<Hash> = outcome.transactions.iter().map(TransactionLeaf::hash).collect();
        for (index, leaf) in outcome.transactions.iter().enumerate() {
            let path = merkle_log::path_among::<TransactionHasher>(&leaves, index as u64)
                .map_err(|error| internal(error.to_string()))?;
            let receipt = v1::Receipt {
                signed_header: Some(signed_header.clone()),
                transaction_id: leaf.id.to_vec(),
                signatures_hash: leaf.signatures.to_vec(),
                private_signatures_hash: leaf.private_signatures.to_vec(),
                path: Some(path),
            };
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            self.receipts.insert(leaf.id, (height, index, receipt));
        }
        self.tip.advance(&outcome)?;
        self.sets.insert(height.saturating_add(1), self.tip.validators.clone());
        self.store.apply(outcome.tree);
        self.store.documents.extend(outcome.changes.documents);
        self.store.heads.extend(outcome.changes.heads);
        self.headers.push(outcome.header);
        self.signed_headers.insert(height, signed_header);
        Ok(())
    }

    /// An enrollment, for the issuer whose it is and for nobody else.
    fn own_enrollment(
        &self,
        request: &v1::PrivateReadRequest,
    ) -> Result<Option<v1::StateProof>, Status> {
        let denied = |code: &str, message: &str| status(Code::PermissionDenied, code, message, "");
        let statement: v1::ReadStatement = decode(&request.statement, reading::READ_BYTES_MAX)
            .map_err(|error| denied("INVALID_READ", &error.to_string()))?;
        let frame = Frame {
            chain: &self.chain,
            height: self.tip.height(),
            time_ms: self.tip.header.time_ms,
            verifier: &VerifyEach,
            replay: &self.tip.replay,
            recent: &self.tip.recent,
            parameters: &self.tip.parameters,
        };
        let signature = request.signature.clone().unwrap_or_default();
        let asked = reading::check_read(&frame, &self.store, &statement, &signature);
        match asked.map_err(|error| denied(error.code(), &error.to_string()))? {
            (asker, reading::Read::Enrollment { issuer, credential_type, handle })
                if asker == issuer =>
            {
                let leaf = TreeKey::enrollment(&issuer, &credential_type, &handle);
                // Of what is absent a proof would name a neighbour.
                let held = self.store.leaf(&leaf).map_err(|error| internal(fault(error)))?;
                held.map(|_| self.state(&[leaf], self.tip.height()).map_err(internal)).transpose()
            }
            _ => Err(denied("READ_NOT_ALLOWED", "there is nothing here for this organization")),
        }
    }

    /// Its operators at genesis.
    #[must_use]
    pub fn operators(&self) -> &[MemoryOperator] {
        &self.operators
    }

    /// Lets a validator that may join sign once it is seated.
    pub fn add_validator_key(&mut self, key: SecretKey) {
        self.keys.insert(key.public().point.clone(), key);
    }

    /// The set of a height up to the next one.
    #[must_use]
    pub fn set(&self, height: u64) -> Option<&v1::ValidatorSet> {
        self.sets.get(&height)
    }

    /// The light blocks above a height at which the set changed, and the last one.
    #[must_use]
    pub fn trust_bundle(&self, from: u64) -> v1::TrustBundle {
        let tip = self.tip.height();
        let changes = |height: &u64| self.set(*height) != self.set(height.saturating_add(1));
        let light_blocks = (from.saturating_add(1)..=tip)
            .filter(|height| *height == tip || changes(height))
            .map(|height| v1::LightBlock {
                signed_header: self.signed_header(height).cloned(),
                next_validators: self.set(height.saturating_add(1)).cloned(),
            })
            .collect();
        v1::TrustBundle { light_blocks }
    }

    /// Signs a header with the keys of the set that it names, or of the set in force, whatever it says.
    ///
    /// # Errors
    ///
    /// [`TestingError`] never in practice.
    pub fn certify(&self, header: &v1::Header) -> Result<v1::SignedHeader, TestingError> {
        let hash = header_hash(header);
        let statement =
            v1::VoteStatement { height: header.height, round: 0, header_hash: hash.to_vec() };
        let string = precommit_string(self.chain.hash(), &statement);
        let named = |set: &&v1::ValidatorSet| {
            validator_set_hash(set).0.as_slice() == header.validator_set_hash
        };
        let set = self.sets.values().find(named).unwrap_or(&self.tip.validators);
        let mut signatures = Vec::new();
        for (validator, member) in (0_u32..).zip(&set.validators) {
            // A validator whose key is elsewhere is away.
            let Some(key) = self.keys.get(&member.public_key) else { continue };
            let signature = key.sign(&string).map_err(fault)?.to_vec();
            signatures.push(v1::CommitSignature { validator, signature });
        }
        let certificate = v1::CommitCertificate {
            height: header.height,
            round: 0,
            header_hash: hash.to_vec(),
            signatures,
        };
        Ok(v1::SignedHeader { header: Some(header.clone()), certificate: Some(certificate) })
    }

    /// The certified header of a height.
    #[must_use]
    pub fn signed_header(&self, height: u64) -> Option<&v1::SignedHeader> {
        self.signed_headers.get(&height)
    }

    /// The receipt of a transaction.
    #[must_use]
    pub fn receipt(&self, id: &Hash) -> Option<&v1::Receipt> {
        self.receipts.get(id).map(|(_, _, receipt)| receipt)
    }

    /// What the state held for a DID at a height, with the proof.
    ///
    /// # Errors
    ///
    /// [`TestingError`]: there is no such height.
    pub fn proof(
        &self,
        did: &Did,
        height: u64,
    ) -> Result<(v1::StateProof, Option<v1::Head>), TestingError> {
        let signed_header = self.signed_headers.get(&height).cloned();
        let entry =
            tree::prove(&self.store, height, &TreeKey::did_head(&did.digest())).map_err(fault)?;
        let head = entry.present.then(|| decode(&entry.value, 4096)).transpose().map_err(fault)?;
        Ok((v1::StateProof { signed_header, entries: vec![entry] }, head))
    }

    /// The hashes of all proposals, ascending.
    #[must_use]
    pub fn proposals(&self) -> Vec<Hash> {
        let hash_at = |key: &TreeKey, value: &[u8]| {
            let record: v1::ProposalRecord = decode(value, 16 * 1024).ok()?;
            let hash = proposal_hash(self.chain.hash(), record.proposal.as_ref()?);
            (TreeKey::proposal(&hash) == *key).then_some(hash)
        };
        let leaves = self.store.values.iter();
        let mut hashes: Vec<Hash> = leaves
            .filter_map(|(key, versions)| hash_at(key, versions.values().next_back()?))
            .collect();
        hashes.sort_unstable();
        hashes
    }

    /// What the state held at these keys at a height, with the proof.
    ///
    /// # Errors
    ///
    /// [`TestingError`]: there is no such height.
    pub fn state(&self, keys: &[TreeKey], height: u64) -> Result<v1::StateProof, TestingError> {
        let signed_header = self.signed_headers.get(&height).cloned();
        let entries = keys
            .iter()
            .map(|key| tree::prove(&self.store, height, key).map_err(fault))
            .collect::<Result<_, _>>()?;
        Ok(v1::StateProof { signed_header, entries })
    }

    /// That the header of `height` is an ancestor of that of `at_height`.
    ///
    /// # Errors
    ///
    /// [`TestingError`]: there is no such height.
    pub fn history_proof(
        &self,
        height: u64,
        at_height: u64,
    ) -> Result<v1::HistoryProof, TestingError> {
        let place = |height| usize::try_from(height).unwrap_or(usize::MAX);
        let earlier = self.headers.get(..place(at_height)).unwrap_or_default();
        let leaves: Vec<Hash> =
            earlier.iter().map(|one| HistoryHasher::leaf(&header_hash(one).0)).collect();
        Ok(v1::HistoryProof {
            signed_header: self.signed_headers.get(&at_height).cloned(),
            header: self.headers.get(place(height)).cloned(),
            path: Some(merkle_log::path_among::<HistoryHasher>(&leaves, height).map_err(fault)?),
        })
    }

    /// The honest answer to a question about a moment: `keys` says which leaves it reads of a state, at which time. With
    /// `then`, a time calls for the state of that time too.
    ///
    /// # Errors
    ///
    /// [`TestingError`]: there is no such moment.
    pub fn answer(
        &self,
        moment: Moment,
        then: bool,
        keys: impl Fn(&dyn StateView, u64) -> Result<Vec<TreeKey>, StateFault>,
    ) -> Result<v1::StateAnswer, TestingError> {
        let tip = self.tip.height();
        let (known, time_ms) = match moment {
            Moment::Tip => (tip, None),
            Moment::Height(height) => (height, None),
            Moment::Time { time_ms, known_at } => (known_at.unwrap_or(tip), Some(time_ms)),
        };
        let header = |height: u64| {
            let place = usize::try_from(height).unwrap_or(usize::MAX);
            self.headers.get(place).ok_or_else(|| fault(format!("there is no height {height}")))
        };
        let at_ms = time_ms.unwrap_or(header(known)?.time_ms);
        let entries = |height: u64| -> Result<Vec<v1::StateEntry>, TestingError> {
            let view = StoreAt { store: &self.store, height };
            let keys = keys(&view, at_ms).map_err(fault)?;
            let prove = |key| tree::prove(&self.store, height, key).map_err(fault);
            keys.iter().map(prove).collect()
        };
        let ancestor = |height: u64| -> Result<v1::Ancestor, TestingError> {
            let path = if height == tip { None } else { self.history_proof(height, tip)?.path };
            Ok(v1::Ancestor { header: Some(header(height)?.clone()), path })
        };
        let past = |height: u64, next: Option<u64>| -> Result<v1::PastState, TestingError> {
            Ok(v1::PastState {
                header: Some(ancestor(height)?),
                next: next.map(ancestor).transpose()?,
                entries: entries(height)?,
            })
        };
        let signed_header = self.signed_headers.get(&tip).cloned();
        let at_tip = known == tip;
        let in_force = |time_ms: u64| {
            (0..=known).rev().find(|height| header(*height).is_ok_and(|one| one.time_ms <= time_ms))
        };
        let then = time_ms.filter(|_| then).map(|time_ms| {
            let height = in_force(time_ms).ok_or_else(|| fault("before the genesis"))?;
            past(height, (height < known).then_some(height.saturating_add(1)))
        });
        Ok(v1::StateAnswer {
            proof: Some(v1::StateProof {
                signed_header,
                entries: if at_tip { entries(tip)? } else { Vec::new() },
            }),
            known: (!at_tip).then(|| past(known, None)).transpose()?,
            then: then.transpose()?,
        })
    }

    fn versions(&self, head: Option<v1::Head>) -> Vec<v1::Version> {
        let mut versions = Vec::new();
        let mut next = head;
        while let Some(head) = next {
            next = Hash::from_slice(&head.previous)
                .and_then(|hash| self.store.heads.get(&hash).cloned());
            let document = Hash::from_slice(&head.document_hash)
                .and_then(|hash| self.store.documents.get(&hash).cloned());
            versions.push(v1::Version { head: Some(head), document });
        }
        versions
    }

    /// The honest answer to resolving a DID as of a height.
    ///
    /// # Errors
    ///
    /// [`TestingError`]: there is no such height.
    pub fn resolve_at(
        &self,
        did: &Did,
        version: Option<u64>,
        height: u64,
    ) -> Result<v1::ResolveResponse, TestingError> {
        let (proof, head) = self.proof(did, height)?;
        let mut heads = Vec::new();
        let mut document = None;
        for one in self.versions(head) {
            let Some(head) = one.head else { continue };
            let found = version.is_none_or(|version| head.version == version);
            heads.push(head);
            document = one.document;
            if found {
                break;
            }
        }
        heads.reverse();
        let resolution_json = String::new();
        Ok(v1::ResolveResponse { proof: Some(proof), heads, document, resolution_json })
    }

    /// The honest answer to asking for a bucket: the narrowest around the prefix with `k` DIDs, or all.
    ///
    /// # Errors
    ///
    /// [`TestingError`] never in practice.
    pub fn bucket(
        &self,
        asked: &Prefix,
        k: u32,
    ) -> Result<v1::ResolveBucketResponse, TestingError> {
        let height = self.tip.height();
        let leaves_under = |prefix: &Prefix| -> Vec<v1::SubtreeLeaf> {
            let under = self.store.values.range(prefix.first()..);
            let under = under.take_while(|(key, _)| prefix.contains(key));
            let leaf = |(key, versions): (&TreeKey, &BTreeMap<u64, Vec<u8>>)| {
                let (_, value) = versions.last_key_value()?;
                Some(v1::SubtreeLeaf { key: key.to_vec(), value: value.clone() })
            };
            under.filter_map(leaf).collect()
        };
        let mut prefix = *asked;
        let mut leaves = leaves_under(&prefix);
        while leaves.len() < usize::try_from(k).unwrap_or(usize::MAX) && prefix.bits() > KIND_BITS {
            prefix = Prefix::of(&prefix.first(), prefix.bits().saturating_sub(1));
            leaves = leaves_under(&prefix);
        }
        let document = |leaf: &v1::SubtreeLeaf| {
            let head: v1::Head = decode(&leaf.value, 4096).ok()?;
            self.store.documents.get(&Hash::from_slice(&head.document_hash)?).cloned()
        };
        let empty = v1::DidDocument::default();
        let documents = leaves.iter().filter_map(document).filter(|one| *one != empty).collect();
        let path = tree::subtree_path(&self.store, height, &prefix).map_err(fault)?;
        let subtree = v1::Subtree {
            prefix: prefix.to_vec(),
            prefix_bits: prefix.bits(),
            leaves,
            path: Some(path),
        };
        let signed_header = self.signed_headers.get(&height).cloned();
        Ok(v1::ResolveBucketResponse { signed_header, subtree: Some(subtree), documents })
    }

    /// The honest answer to asking for every version of a DID.
    ///
    /// # Errors
    ///
    /// [`TestingError`] never in practice.
    pub fn history(&self, did: &Did) -> Result<v1::HistoryResponse, TestingError> {
        let (proof, head) = self.proof(did, self.tip.height())?;
        Ok(v1::HistoryResponse { proof: Some(proof), versions: self.versions(head) })
    }

    /// The hash of a DID's current head.
    #[must_use]
    pub fn head_hash(&self, did: &Did) -> Option<Hash> {
        let (_, head) = self.proof(did, self.tip.height()).ok()?;
        head.map(|head| head_hash(&head))
    }

    /// The state of a transaction.
    #[must_use]
    pub fn transaction(&self, id: &Hash) -> v1::TransactionState {
        use v1::transaction_state::State;
        let state = match self.receipts.get(id) {
            Some((height, index, receipt)) => State::Committed(v1::Committed {
                height: *height,
                index: *index,
                receipt: Some(receipt.clone()),
            }),
            None => State::Unknown(v1::Unknown { earliest_block: 1 }),
        };
        v1::TransactionState {
            transaction_id: id.to_vec(),
            height: self.tip.height(),
            time_ms: self.tip.header.time_ms,
            state: Some(state),
        }
    }
}

fn genesis_organization(name: &str, document: v1::DidDocument) -> v1::GenesisOrganization {
    let actions = [
        v1::Action::Accredit,
        v1::Action::DefineType,
        v1::Action::Register,
        v1::Action::Issue,
        v1::Action::Approve,
        v1::Action::Revoke,
        v1::Action::Submit,
        v1::Action::Countersign,
    ];
    v1::GenesisOrganization {
        name: name.to_owned(),
        document: Some(document),
        actions: actions.map(i32::from).to_vec(),
    }
}

/// Changes an answer on its way out.
#[derive(Clone, Default)]
#[allow(clippy::type_complexity, reason = "each is one function")]
pub struct Lie {
    /// To resolving.
    pub resolve: Option<Arc<dyn Fn(&MemoryNetwork, &mut v1::ResolveResponse) + Send + Sync>>,
    /// To asking for the history.
    pub history: Option<Arc<dyn Fn(&MemoryNetwork, &mut v1::HistoryResponse) + Send + Sync>>,
    /// To asking for a bucket, with what was asked for: its prefix and its `k`.
    pub bucket: Option<
        Arc<dyn Fn(&MemoryNetwork, &Prefix, u32, &mut v1::ResolveBucketResponse) + Send + Sync>,
    >,
    /// To asking for leaves of the state.
    pub state: Option<Arc<dyn Fn(&MemoryNetwork, &mut v1::StateProof) + Send + Sync>>,
    /// To questions about chunks, lists, rights and types.
    pub answer: Option<Arc<dyn Fn(&MemoryNetwork, &mut v1::StateAnswer) + Send + Sync>>,
    /// The lowest height whose state the node says to keep; that of a height below it is an archive's.
    pub state_from: u64,
    /// To trying a transaction.
    pub simulate: Option<Arc<dyn Fn(&MemoryNetwork, &mut v1::SimulateResponse) + Send + Sync>>,
    /// To submitting, and to asking for the state of a transaction.
    pub transaction: Option<Arc<dyn Fn(&MemoryNetwork, &mut v1::TransactionState) + Send + Sync>>,
    /// Does the connection end instead of the answer to this call? Of `GetHistoryProof`, `GetTrustBundle`, and at the end of
    /// what `ExportList` streams.
    pub breaks_off: Option<Arc<dyn Fn(&str) -> bool + Send + Sync>>,
}

impl fmt::Debug for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lie")
    }
}

/// A door to a network in memory. It closes when this is dropped.
#[derive(Debug)]
pub struct Door {
    /// Where it listens.
    pub address: SocketAddr,
    /// What is behind it.
    pub network: Arc<Mutex<MemoryNetwork>>,
    _stop: oneshot::Sender<()>,
}

impl Door {
    /// The network.
    pub fn network(&self) -> MutexGuard<'_, MemoryNetwork> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a door on the loopback. `now_ms` is the time of blocks that a submitted transaction makes.
///
/// # Errors
///
/// What the system says to the socket.
pub async fn serve(
    network: MemoryNetwork,
    now_ms: impl Fn() -> u64 + Send + Sync + 'static,
    lie: Lie,
) -> std::io::Result<Door> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let network = Arc::new(Mutex::new(network));
    let service = Service { network: network.clone(), now_ms: Arc::new(now_ms), lie };
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let _ = tonic::transport::Server::builder()
            .add_service(v1::did_resolver_server::DidResolverServer::new(service.clone()))
            .add_service(v1::status_registry_server::StatusRegistryServer::new(service.clone()))
            .add_service(v1::trust_registry_server::TrustRegistryServer::new(service.clone()))
            .add_service(v1::private_status_server::PrivateStatusServer::new(service.clone()))
            .add_service(v1::ledger_server::LedgerServer::new(service))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
                let _ = stopped.await;
            })
            .await;
    });
    Ok(Door { address, network, _stop: stop })
}

#[derive(Clone)]
struct Service {
    network: Arc<Mutex<MemoryNetwork>>,
    now_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
    lie: Lie,
}

fn status(code: Code, name: &str, message: &str, retry: &str) -> Status {
    let metadata = HashMap::from([("retry".to_owned(), retry.to_owned())]);
    Status::with_error_details(code, message, ErrorDetails::with_error_info(name, DOMAIN, metadata))
}

fn pruned(network: &MemoryNetwork) -> Status {
    let operators = &network.chain.genesis().operators;
    let archives: Vec<String> = operators.iter().map(|one| hex::encode(&one.node_key)).collect();
    let metadata = HashMap::from([
        ("retry".to_owned(), "AFTER_FIX".to_owned()),
        ("archives".to_owned(), archives.join(",")),
    ]);
    let details = ErrorDetails::with_error_info("HISTORY_PRUNED", DOMAIN, metadata);
    let message = "this node keeps no state of then; ask an archive";
    Status::with_error_details(Code::OutOfRange, message, details)
}

fn refused(error: &AdmissionError) -> Status {
    let fields = error.fields().into_iter();
    let mut metadata: HashMap<String, String> =
        fields.map(|(name, value)| (name.to_owned(), value)).collect();
    metadata.insert("retry".to_owned(), error.retry().as_str().to_owned());
    let details = ErrorDetails::with_error_info(error.code(), DOMAIN, metadata);
    Status::with_error_details(Code::FailedPrecondition, error.to_string(), details)
}

fn read_transaction(bytes: &[u8]) -> Result<v1::Transaction, Status> {
    decode(bytes, sillok_ledger::TRANSACTION_BYTES_MAX).map_err(|error| {
        status(Code::InvalidArgument, "NOT_CANONICAL", &error.to_string(), "AFTER_FIX")
    })
}

fn internal(error: TestingError) -> Status {
    status(Code::Internal, "INTERNAL_ERROR", &error.to_string(), "LATER")
}

impl Service {
    fn lock(&self) -> MutexGuard<'_, MemoryNetwork> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn goes_on(&self, call: &str) -> Result<(), Status> {
        match &self.lie.breaks_off {
            Some(breaks_off) if breaks_off(call) => {
                Err(Status::unavailable("the connection ended"))
            }
            _ => Ok(()),
        }
    }
}

fn reached(network: &MemoryNetwork, min_height: u64) -> Result<(), Status> {
    if network.tip.height() >= min_height.max(1) {
        Ok(())
    } else {
        Err(status(Code::Unavailable, "STALE", "this node is behind; ask another", "LATER"))
    }
}

#[tonic::async_trait]
impl v1::did_resolver_server::DidResolver for Service {
    async fn resolve(
        &self,
        request: Request<v1::ResolveRequest>,
    ) -> Result<Response<v1::ResolveResponse>, Status> {
        let request = request.into_inner();
        let network = self.lock();
        reached(&network, request.min_height)?;
        let did = Did::parse(&request.did).map_err(|error| {
            status(Code::InvalidArgument, "INVALID_DID", &error.to_string(), "")
        })?;
        let version = request.version_id.parse().ok();
        let height = network.tip.height();
        let mut answer = network.resolve_at(&did, version, height).map_err(internal)?;
        if version.is_some() && version != answer.heads.first().map(|head| head.version) {
            return Err(status(Code::NotFound, "NOT_FOUND", "no such version", "AFTER_FIX"));
        }
        if let Some(lie) = &self.lie.resolve {
            lie(&network, &mut answer);
        }
        Ok(Response::new(answer))
    }

    async fn history(
        &self,
        request: Request<v1::HistoryRequest>,
    ) -> Result<Response<v1::HistoryResponse>, Status> {
        let request = request.into_inner();
        let network = self.lock();
        reached(&network, request.min_height)?;
        let did = Did::parse(&request.did).map_err(|error| {
            status(Code::InvalidArgument, "INVALID_DID", &error.to_string(), "")
        })?;
        let mut answer = network.history(&did).map_err(internal)?;
        if let Some(lie) = &self.lie.history {
            lie(&network, &mut answer);
        }
        Ok(Response::new(answer))
    }

    async fn resolve_bucket(
        &self,
        request: Request<v1::ResolveBucketRequest>,
    ) -> Result<Response<v1::ResolveBucketResponse>, Status> {
        let v1::ResolveBucketRequest { prefix, prefix_bits, k, min_height } = request.into_inner();
        let network = self.lock();
        reached(&network, min_height)?;
        let prefix = Prefix::read(&prefix, prefix_bits).filter(|one| one.bits() >= KIND_BITS);
        let prefix = prefix.ok_or_else(|| {
            status(Code::InvalidArgument, "INVALID_BUCKET", "no prefix of heads", "AFTER_FIX")
        })?;
        let mut answer = network.bucket(&prefix, k).map_err(internal)?;
        if let Some(lie) = &self.lie.bucket {
            lie(&network, &prefix, k, &mut answer);
        }
        Ok(Response::new(answer))
    }
}

impl Service {
    /// The answer to a question about a moment, or a lie.
    fn answer(
        &self,
        min_height: u64,
        at: Option<v1::Moment>,
        then: bool,
        keys: impl Fn(&dyn StateView, u64) -> Result<Vec<TreeKey>, StateFault>,
    ) -> Result<v1::StateAnswer, Status> {
        let moment = match at.and_then(|at| at.moment) {
            None => Moment::Tip,
            Some(v1::moment::Moment::Height(height)) => Moment::Height(height),
            Some(v1::moment::Moment::Time(v1::KnownTime { time_ms, known_at })) => {
                Moment::Time { time_ms, known_at }
            }
        };
        let network = self.lock();
        reached(&network, min_height)?;
        let mut answer = network.answer(moment, then, keys).map_err(internal)?;
        let past = [&answer.known, &answer.then].into_iter().flatten();
        let headers = past.filter_map(|past| past.header.as_ref()?.header.as_ref());
        if headers.into_iter().any(|header| header.height < self.lie.state_from) {
            return Err(pruned(&network));
        }
        if let Some(lie) = &self.lie.answer {
            lie(&network, &mut answer);
        }
        Ok(answer)
    }

    fn present(
        &self,
        min_height: u64,
        keys: impl Fn(&dyn StateView) -> Result<Vec<TreeKey>, StateFault>,
    ) -> Result<Response<v1::StateProof>, Status> {
        let answer = self.answer(min_height, None, false, |view, _| keys(view))?;
        Ok(Response::new(answer.proof.unwrap_or_default()))
    }
}

fn name(bytes: &[u8]) -> Result<Hash, Status> {
    let wrong =
        || status(Code::InvalidArgument, "INVALID_NAME", "a name has 32 bytes", "AFTER_FIX");
    Hash::from_slice(bytes).ok_or_else(wrong)
}

/// The keys that a question reads.
fn recorded<T>(
    view: &dyn StateView,
    ask: impl Fn(&Recorder<'_, dyn StateView + '_>) -> Result<T, StateFault>,
) -> Result<Vec<TreeKey>, StateFault> {
    let recorder = Recorder::new(view);
    ask(&recorder)?;
    Ok(recorder.into_keys())
}

#[tonic::async_trait]
impl v1::status_registry_server::StatusRegistry for Service {
    type ExportListStream = tokio_stream::Iter<std::vec::IntoIter<Result<v1::StateAnswer, Status>>>;
    type WatchListStream = tokio_stream::Empty<Result<v1::ListChange, Status>>;

    async fn get_list(
        &self,
        request: Request<v1::GetListRequest>,
    ) -> Result<Response<v1::StateProof>, Status> {
        let request = request.into_inner();
        let lists =
            request.lists.iter().map(|one| name(one)).collect::<Result<Vec<_>, Status>>()?;
        self.present(request.min_height, |_| Ok(answer::list_keys(&lists)))
    }

    async fn get_chunks(
        &self,
        request: Request<v1::GetChunksRequest>,
    ) -> Result<Response<v1::StateAnswer>, Status> {
        let v1::GetChunksRequest { list, chunks, min_height, at } = request.into_inner();
        let list = name(&list)?;
        let keys = |_: &dyn StateView, _| Ok(answer::chunk_keys(&list, &chunks));
        self.answer(min_height, at, true, keys).map(Response::new)
    }

    async fn export_list(
        &self,
        request: Request<v1::ExportListRequest>,
    ) -> Result<Response<Self::ExportListStream>, Status> {
        let v1::ExportListRequest { list, min_height, at } = request.into_inner();
        let list = name(&list)?;
        let leaf = self.lock().store.leaf(&TreeKey::status_list(&list));
        let leaf: v1::StatusList =
            leaf.ok().flatten().and_then(|bytes| decode(&bytes, 4096).ok()).unwrap_or_default();
        let numbers: Vec<u32> = (0..leaf.capacity / sillok_did_method::CHUNK_ENTRIES).collect();
        let pieces: Vec<&[u32]> = if numbers.is_empty() {
            vec![&[]]
        } else {
            numbers.chunks(answer::CHUNKS_MAX).collect()
        };
        let mut pieces: Vec<_> = pieces
            .into_iter()
            .map(|piece| {
                let keys = |_: &dyn StateView, _| Ok(answer::chunk_keys(&list, piece));
                self.answer(min_height, at, true, keys)
            })
            .collect();
        pieces.extend(self.goes_on("ExportList").err().map(Err));
        Ok(Response::new(tokio_stream::iter(pieces)))
    }

    async fn watch_list(
        &self,
        _: Request<v1::WatchListRequest>,
    ) -> Result<Response<Self::WatchListStream>, Status> {
        Ok(Response::new(tokio_stream::empty()))
    }
}

#[tonic::async_trait]
impl v1::trust_registry_server::TrustRegistry for Service {
    async fn get_authority(
        &self,
        request: Request<v1::GetAuthorityRequest>,
    ) -> Result<Response<v1::StateAnswer>, Status> {
        let request = request.into_inner();
        let organization = name(&request.organization)?;
        let keys = |view: &dyn StateView, time_ms| {
            recorded(view, |view| {
                authority::chain(view, &organization, request.action(), &request.resource, time_ms)
            })
        };
        self.answer(request.min_height, request.at, false, keys).map(Response::new)
    }

    async fn get_grants(
        &self,
        request: Request<v1::GetGrantsRequest>,
    ) -> Result<Response<v1::StateProof>, Status> {
        let request = request.into_inner();
        let organization = name(&request.organization)?;
        self.present(request.min_height, |view| {
            recorded(view, |view| answer::grants(view, &organization))
        })
    }

    async fn get_type(
        &self,
        request: Request<v1::GetTypeRequest>,
    ) -> Result<Response<v1::StateProof>, Status> {
        let request = request.into_inner();
        let name = name(&request.r#type)?;
        self.present(request.min_height, |view| {
            recorded(view, |view| answer::type_and_version(view, &name, request.version))
        })
    }
}

#[tonic::async_trait]
impl v1::private_status_server::PrivateStatus for Service {
    async fn own_entries(
        &self,
        _: Request<v1::PrivateReadRequest>,
    ) -> Result<Response<v1::OwnEntriesResponse>, Status> {
        Err(Status::unimplemented("this network answers for enrollments alone"))
    }

    async fn own_enrollment(
        &self,
        request: Request<v1::PrivateReadRequest>,
    ) -> Result<Response<v1::OwnEnrollmentResponse>, Status> {
        let request = request.into_inner();
        let network = self.lock();
        let (proof, height) = (network.own_enrollment(&request)?, network.tip.height());
        Ok(Response::new(v1::OwnEnrollmentResponse { proof, height }))
    }

    async fn private_contents(
        &self,
        _: Request<v1::PrivateReadRequest>,
    ) -> Result<Response<v1::PrivateContentsResponse>, Status> {
        Err(Status::unimplemented("this network answers for enrollments alone"))
    }
}

#[tonic::async_trait]
impl v1::ledger_server::Ledger for Service {
    type SubscribeStream = tokio_stream::Empty<Result<v1::Event, Status>>;

    async fn submit(
        &self,
        request: Request<v1::SubmitRequest>,
    ) -> Result<Response<v1::TransactionState>, Status> {
        let request = request.into_inner();
        let transaction = read_transaction(&request.transaction)?;
        let mut network = self.lock();
        let leaf = TransactionLeaf::of(network.chain.hash(), &transaction);
        let id = leaf.map(|leaf| leaf.id).unwrap_or_default();
        if !request.prepared_id.is_empty() && request.prepared_id != id.0 {
            let message = "the transaction is not the one that was prepared";
            return Err(status(Code::FailedPrecondition, "PREPARE_MISMATCH", message, "AFTER_FIX"));
        }
        let time_ms = (self.now_ms)().max(network.tip.header.time_ms.saturating_add(1));
        match network.commit(time_ms, &[transaction]) {
            Ok(()) | Err(AdmissionError::AlreadyOrdered { .. }) => {}
            Err(error) => return Err(refused(&error)),
        }
        let mut state = network.transaction(&id);
        if let Some(lie) = &self.lie.transaction {
            lie(&network, &mut state);
        }
        Ok(Response::new(state))
    }

    async fn simulate(
        &self,
        request: Request<v1::SimulateRequest>,
    ) -> Result<Response<v1::SimulateResponse>, Status> {
        let request = request.into_inner();
        let transaction = read_transaction(&request.transaction)?;
        let submitter = request.submitter.unwrap_or_default();
        let time_ms = (self.now_ms)();
        let network = self.lock();
        let mut response = network
            .simulate(time_ms, &transaction, &submitter, &request.roles)
            .map_err(|error| refused(&error))?;
        if let Some(lie) = &self.lie.simulate {
            lie(&network, &mut response);
        }
        Ok(Response::new(response))
    }

    async fn get_transaction(
        &self,
        request: Request<v1::GetTransactionRequest>,
    ) -> Result<Response<v1::TransactionState>, Status> {
        let id = Hash::from_slice(&request.into_inner().transaction_id).unwrap_or_default();
        let network = self.lock();
        let mut state = network.transaction(&id);
        if let Some(lie) = &self.lie.transaction {
            lie(&network, &mut state);
        }
        Ok(Response::new(state))
    }

    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::NodeStatus>, Status> {
        let network = self.lock();
        Ok(Response::new(v1::NodeStatus {
            version: "in-memory".to_owned(),
            network: network.chain.network().to_owned(),
            genesis_hash: network.chain.hash().to_vec(),
            height: network.tip.height(),
            time_ms: network.tip.header.time_ms,
            header_hash: network.tip.hash.to_vec(),
            state_root: network.tip.header.state_root.clone(),
            validating: true,
            validators: 4,
            ..v1::NodeStatus::default()
        }))
    }

    async fn get_genesis(
        &self,
        _: Request<v1::GetGenesisRequest>,
    ) -> Result<Response<v1::GetGenesisResponse>, Status> {
        let genesis = Some(self.lock().chain.genesis().clone());
        Ok(Response::new(v1::GetGenesisResponse { genesis }))
    }

    async fn get_block(
        &self,
        request: Request<v1::GetBlockRequest>,
    ) -> Result<Response<v1::GetBlockResponse>, Status> {
        let signed_header = self.lock().signed_header(request.into_inner().height).cloned();
        Ok(Response::new(v1::GetBlockResponse { signed_header, transactions: Vec::new() }))
    }

    async fn get_validators(
        &self,
        request: Request<v1::GetValidatorsRequest>,
    ) -> Result<Response<v1::GetValidatorsResponse>, Status> {
        let validators = Some(self.lock().tip.validators.clone());
        let height = request.into_inner().height;
        Ok(Response::new(v1::GetValidatorsResponse { height, validators }))
    }

    async fn get_trust_bundle(
        &self,
        request: Request<v1::GetTrustBundleRequest>,
    ) -> Result<Response<v1::TrustBundle>, Status> {
        self.goes_on("GetTrustBundle")?;
        let from = request.into_inner().from_height;
        Ok(Response::new(self.lock().trust_bundle(from)))
    }

    async fn get_history_proof(
        &self,
        request: Request<v1::GetHistoryProofRequest>,
    ) -> Result<Response<v1::HistoryProof>, Status> {
        self.goes_on("GetHistoryProof")?;
        let request = request.into_inner();
        let network = self.lock();
        let at = if request.at_height == 0 { network.tip.height() } else { request.at_height };
        network.history_proof(request.height, at).map(Response::new).map_err(internal)
    }

    async fn get_state(
        &self,
        request: Request<v1::GetStateRequest>,
    ) -> Result<Response<v1::StateProof>, Status> {
        let request = request.into_inner();
        let network = self.lock();
        reached(&network, request.min_height)?;
        let height = network.tip.height();
        let keys: Vec<TreeKey> =
            request.keys.iter().filter_map(|key| TreeKey::from_slice(key)).collect();
        let mut proof = network.state(&keys, height).map_err(internal)?;
        if let Some(lie) = &self.lie.state {
            lie(&network, &mut proof);
        }
        Ok(Response::new(proof))
    }

    async fn get_proposals(
        &self,
        _: Request<v1::GetProposalsRequest>,
    ) -> Result<Response<v1::GetProposalsResponse>, Status> {
        let proposal_hashes = self.lock().proposals().iter().map(|hash| hash.to_vec()).collect();
        Ok(Response::new(v1::GetProposalsResponse { proposal_hashes }))
    }

    async fn get_members(
        &self,
        _: Request<v1::GetMembersRequest>,
    ) -> Result<Response<v1::GetMembersResponse>, Status> {
        Err(Status::unimplemented("this network has no governance"))
    }

    async fn get_evidence(
        &self,
        _: Request<v1::GetEvidenceRequest>,
    ) -> Result<Response<v1::GetEvidenceResponse>, Status> {
        Ok(Response::new(v1::GetEvidenceResponse::default()))
    }

    async fn subscribe(
        &self,
        _: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        Ok(Response::new(tokio_stream::empty()))
    }
}
