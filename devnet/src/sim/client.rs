//! The people of the world: registrars with their holders, organizations that turn their keys over, operators that
//! change the members. They know what nodes show them, sign real transactions, and send them again until they are
//! acknowledged or too late.

use super::founding::{Founding, Organization, organization_document};
use super::keys::{Key, Signatures};
use super::scenario::Scenario;
use sillok_consensus::testing::Random;
use sillok_did_method::{
    DEVICE_RELATIONSHIPS, Recovery, author_statement, author_string, document_hash, head_hash,
    inception, inception_digest, submitter_string, transaction_id,
};
use sillok_ledger::TreeKey;
use sillok_proto::v1::operation::Operation;
use sillok_proto::{Hash, v1};
use std::sync::Arc;

/// An operation as its authors sign it.
#[derive(Debug, Clone)]
pub(super) struct Signed {
    operation: v1::Operation,
    document: Option<v1::DidDocument>,
    authors: Vec<Key>,
    any_submitter: bool,
    valid_until_ms: u64,
}

/// A person's DID, as its registrar remembers it.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    pub(super) did: Hash,
    device: Option<Key>,
    assisted: bool,
    gone: bool,
    /// The authority's word that the device is lost, to be carried again later by somebody who should not.
    taken_away: Option<Signed>,
}

/// A transaction on its way.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) id: Hash,
    pub(super) transaction: Arc<v1::Transaction>,
    pub(super) valid_until_ms: u64,
    pub(super) sent_us: u64,
    /// When it was sent first.
    pub(super) made_us: u64,
    /// Height at which a node showed it.
    pub(super) acknowledged: Option<u64>,
    /// Nobody waits for it: it may well be refused.
    pub(super) doubtful: bool,
}

/// What the client asks of the world.
pub(super) trait Reads {
    /// The head of a DID as some node shows it.
    fn head(&self, did: &Hash) -> Option<v1::Head>;
    /// A leaf as that node shows it.
    fn leaf(&self, key: &TreeKey) -> Option<Vec<u8>>;
}

/// See the module.
pub(super) struct Client {
    signatures: Signatures,
    genesis: Hash,
    registrar: Organization,
    submitter: Organization,
    countersigner: Organization,
    pub(super) holders: Vec<Holder>,
    pub(super) sent: Vec<Sent>,
    next_key: usize,
    /// How long people sign for.
    life_ms: u64,
    /// What the submitter wants to become once a node shows it: its next key.
    turning: Option<Key>,
}

fn wire(operation: Operation) -> v1::Operation {
    v1::Operation { operation: Some(operation) }
}

fn holder_document(device: &Key) -> v1::DidDocument {
    let bound = v1::BoundKey {
        key: Some(device.public()),
        relationships: DEVICE_RELATIONSHIPS,
        expires_ms: 0,
    };
    v1::DidDocument { keys: vec![bound], services: Vec::new() }
}

impl Client {
    pub(super) fn new(founding: &Founding, scenario: &Scenario) -> Self {
        // Where figures change everybody signs for as long as any window allows, as the client does: what signs for the
        // whole of a window is refused by a node whose ledger time is a little behind.
        let life_ms = if scenario.changes_figures() { 45_000 } else { 60_000 };
        Self {
            signatures: scenario.signatures,
            genesis: *founding.chain.hash(),
            registrar: founding.registrar,
            submitter: founding.submitter,
            countersigner: founding.countersigner,
            holders: Vec::new(),
            sent: Vec::new(),
            next_key: founding.next_key,
            life_ms,
            turning: None,
        }
    }

    pub(super) fn new_key(&mut self) -> Key {
        self.next_key += 1;
        Key::numbered(self.next_key - 1)
    }

    /// A transaction of these operations, brought by `submitter`.
    fn transaction(
        &self,
        submitter: &Organization,
        valid_until_ms: u64,
        signed: &[Signed],
    ) -> (Hash, v1::Transaction) {
        let body = v1::TransactionBody {
            submitter: submitter.did.to_vec(),
            valid_until_ms,
            operations: signed.iter().map(|one| one.operation.clone()).collect(),
        };
        let id = transaction_id(&self.genesis, &body);
        let mut operations = Vec::new();
        for (index, one) in signed.iter().enumerate() {
            let mut terms = v1::OperationSignatures::default();
            if !one.authors.is_empty() {
                terms.any_submitter = one.any_submitter;
                terms.valid_until_ms = one.valid_until_ms;
                let statement = author_statement(&self.genesis, &body, index, &terms)
                    .expect("the body has this operation");
                let string = author_string(&self.genesis, &statement);
                let mut authors = one.authors.clone();
                authors.sort_by_key(Key::id);
                terms.signatures = authors
                    .iter()
                    .map(|key| v1::KeySignature {
                        key_id: key.id().to_vec(),
                        signature: self.signatures.sign(key, &string),
                    })
                    .collect();
            }
            operations.push(terms);
        }
        let string = submitter_string(&self.genesis, &id);
        let signature = v1::KeySignature {
            key_id: submitter.key.id().to_vec(),
            signature: self.signatures.sign(&submitter.key, &string),
        };
        let transaction = v1::Transaction {
            body: Some(body),
            documents: signed.iter().filter_map(|one| one.document.clone()).collect(),
            private_contents: Vec::new(),
            signatures: Some(v1::PublicSignatures { submitter: Some(signature), operations }),
            private_signatures: None,
        };
        (id, transaction)
    }

    fn send(
        &mut self,
        submitter: &Organization,
        valid_until_ms: u64,
        signed: &[Signed],
        now_us: u64,
        doubtful: bool,
    ) -> usize {
        let made = self.transaction(submitter, valid_until_ms, signed);
        self.take(made, valid_until_ms, now_us, doubtful)
    }

    /// A transaction to be sent.
    pub(super) fn take(
        &mut self,
        (id, transaction): (Hash, v1::Transaction),
        valid_until_ms: u64,
        now_us: u64,
        doubtful: bool,
    ) -> usize {
        self.sent.push(Sent {
            id,
            transaction: Arc::new(transaction),
            valid_until_ms,
            sent_us: now_us,
            made_us: now_us,
            acknowledged: None,
            doubtful,
        });
        self.sent.len() - 1
    }

    /// A new holder.
    pub(super) fn create(&mut self, random: &mut Random, now_ms: u64, now_us: u64) -> usize {
        let device = self.new_key();
        let document = holder_document(&device);
        let assisted = random.chance(500);
        let recovery = if assisted {
            Recovery::Assisted { countersigner: self.countersigner.did }
        } else {
            Recovery::None
        };
        let authority = self.registrar.did;
        let inception = inception(v1::Kind::Holder, &document, Some(&authority), &recovery);
        let did = inception_digest(&inception);
        let operation = wire(Operation::CreateDid(v1::CreateDid {
            did: did.to_vec(),
            kind: v1::Kind::Holder.into(),
            authority: authority.to_vec(),
            recovery: recovery.write(),
            document_hash: document_hash(&document).to_vec(),
        }));
        let signed = Signed {
            operation,
            document: Some(document),
            authors: vec![device],
            any_submitter: false,
            valid_until_ms: now_ms + self.life_ms,
        };
        self.holders.push(Holder {
            did,
            device: Some(device),
            assisted,
            gone: false,
            taken_away: None,
        });
        let registrar = self.registrar;
        self.send(&registrar, now_ms + self.life_ms, &[signed], now_us, false)
    }

    /// What somebody does next: indexes of the transactions to be sent.
    pub(super) fn act(
        &mut self,
        random: &mut Random,
        reads: &dyn Reads,
        now_ms: u64,
        now_us: u64,
    ) -> Vec<usize> {
        if self.holders.len() < 2 || random.chance(300) {
            return vec![self.create(random, now_ms, now_us)];
        }
        if random.chance(60) {
            return self.turn_over(random, reads, now_ms, now_us);
        }
        let nth = random.index(self.holders.len());
        let holder = self.holders[nth].clone();
        let Some(head) = reads.head(&holder.did) else { return Vec::new() };
        if holder.gone {
            return Vec::new();
        }
        let previous = head_hash(&head).to_vec();
        let until = now_ms + self.life_ms;
        let registrar = self.registrar;
        match (holder.device, random.below(10)) {
            // The holder changes devices. By any submitter, so two of them may carry the very same words.
            (Some(old), 0..6) => {
                let new = self.new_key();
                let document = holder_document(&new);
                let signed = Signed {
                    operation: wire(Operation::SetDevice(v1::SetDevice {
                        did: holder.did.to_vec(),
                        previous,
                        document_hash: document_hash(&document).to_vec(),
                    })),
                    document: Some(document),
                    authors: vec![old, new],
                    any_submitter: true,
                    valid_until_ms: until,
                };
                self.holders[nth].device = Some(new);
                let mut sent =
                    vec![self.send(&registrar, until, std::slice::from_ref(&signed), now_us, true)];
                if random.chance(300) {
                    let submitter = self.submitter;
                    sent.push(self.send(&submitter, until, &[signed], now_us, true));
                }
                sent
            }
            // The device is lost: the authority takes it away, in words that name no version.
            (Some(_), 6..9) => {
                let signed = Signed {
                    operation: wire(Operation::SetDevice(v1::SetDevice {
                        did: holder.did.to_vec(),
                        previous: Vec::new(),
                        document_hash: Vec::new(),
                    })),
                    document: None,
                    authors: vec![registrar.key],
                    any_submitter: false,
                    valid_until_ms: until,
                };
                self.holders[nth].device = None;
                self.holders[nth].taken_away = Some(signed.clone());
                let submitter = self.submitter;
                vec![self.send(&submitter, until, &[signed], now_us, true)]
            }
            (Some(device), _) => {
                let signed = Signed {
                    operation: wire(Operation::DeactivateDid(v1::DeactivateDid {
                        did: holder.did.to_vec(),
                        previous,
                    })),
                    document: None,
                    authors: vec![device],
                    any_submitter: true,
                    valid_until_ms: until,
                };
                self.holders[nth].gone = true;
                vec![self.send(&registrar, until, &[signed], now_us, true)]
            }
            (None, _) if holder.assisted => {
                let new = self.new_key();
                let document = holder_document(&new);
                let signed = Signed {
                    operation: wire(Operation::SetDevice(v1::SetDevice {
                        did: holder.did.to_vec(),
                        previous,
                        document_hash: document_hash(&document).to_vec(),
                    })),
                    document: Some(document),
                    authors: vec![new, registrar.key, self.countersigner.key],
                    any_submitter: false,
                    valid_until_ms: until,
                };
                self.holders[nth].device = Some(new);
                vec![self.send(&registrar, until, &[signed], now_us, true)]
            }
            (None, _) => Vec::new(),
        }
    }

    /// Carries an authority's word a second time, in another transaction: it must not run again.
    pub(super) fn repeat_a_word(
        &mut self,
        random: &mut Random,
        now_ms: u64,
        now_us: u64,
    ) -> Vec<usize> {
        let words: Vec<Signed> = self
            .holders
            .iter()
            .filter(|holder| holder.device.is_some())
            .filter_map(|holder| holder.taken_away.clone())
            .collect();
        if words.is_empty() {
            return Vec::new();
        }
        let word = words[random.index(words.len())].clone();
        let submitter = self.submitter;
        let until = now_ms + self.life_ms - 1_000 - random.below(1_000);
        vec![self.send(&submitter, until, &[word], now_us, true)]
    }

    /// The submitter takes another key, while transactions under the old one are on their way.
    fn turn_over(
        &mut self,
        random: &mut Random,
        reads: &dyn Reads,
        now_ms: u64,
        now_us: u64,
    ) -> Vec<usize> {
        let Some(head) = reads.head(&self.submitter.did) else { return Vec::new() };
        if let Some(new) = self.turning {
            if head.document_hash == document_hash(&organization_document(&new)).0 {
                self.submitter.key = new;
                self.turning = None;
            } else {
                return Vec::new();
            }
        }
        let (old, new) = (self.submitter, self.new_key());
        let document = organization_document(&new);
        let until = now_ms + self.life_ms;
        let update = Signed {
            operation: wire(Operation::UpdateDid(v1::UpdateDid {
                did: old.did.to_vec(),
                previous: head_hash(&head).to_vec(),
                document_hash: document_hash(&document).to_vec(),
                recovery: None,
            })),
            document: Some(document),
            authors: vec![old.key, new],
            any_submitter: false,
            valid_until_ms: until,
        };
        self.turning = Some(new);
        let turned = self.send(&old, until, &[update], now_us, true);
        let mut sent = vec![turned];
        // Signed with the old key before, ordered after: the old key may not act any more.
        for _ in 0..1 + random.index(3) {
            let nth = self.create(random, now_ms, now_us);
            let Some(Sent { transaction, .. }) = self.sent.pop() else { continue };
            debug_assert_eq!(nth, self.sent.len());
            sent.extend(self.carry(&old, &transaction, until, now_us));
        }
        sent
    }

    /// The same create, brought by another submitter with the registrar's word.
    fn carry(
        &mut self,
        submitter: &Organization,
        created: &v1::Transaction,
        until: u64,
        now_us: u64,
    ) -> Option<usize> {
        let operation = created.body.as_ref()?.operations.first()?.clone();
        let device = self.holders.last()?.device?;
        let signed = Signed {
            operation,
            document: created.documents.first().cloned(),
            authors: vec![device, self.registrar.key],
            any_submitter: false,
            valid_until_ms: until,
        };
        Some(self.send(submitter, until, &[signed], now_us, true))
    }

    /// Operations with their authors, all of them or none.
    pub(super) fn author(
        &mut self,
        operations: Vec<(Operation, Vec<Key>)>,
        now_ms: u64,
        now_us: u64,
    ) -> usize {
        let until = now_ms + self.life_ms;
        let signed: Vec<Signed> = operations
            .into_iter()
            .map(|(operation, authors)| Signed {
                operation: wire(operation),
                document: None,
                authors,
                any_submitter: false,
                valid_until_ms: until,
            })
            .collect();
        let registrar = self.registrar;
        self.send(&registrar, until, &signed, now_us, false)
    }

    /// An operation of governance, under one key.
    pub(super) fn govern(
        &mut self,
        operation: Operation,
        author: Key,
        now_ms: u64,
        now_us: u64,
    ) -> usize {
        let until = now_ms + 20_000;
        let signed = Signed {
            operation: wire(operation),
            document: None,
            authors: vec![author],
            any_submitter: false,
            valid_until_ms: until,
        };
        let registrar = self.registrar;
        self.send(&registrar, until, &[signed], now_us, true)
    }
}
