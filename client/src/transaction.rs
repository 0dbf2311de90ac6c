//! Building a transaction: operations with their terms, signatures of one or several parties, the submitter's last.
//!
//! [`TransactionBuilder`] collects what is signed; [`PartlySigned`] is the transaction while parties sign, also one
//! after another on several machines; what [`PartlySigned::submit`] returns is complete and passed every rule that
//! needs no state. Reading the version an operation builds on is [`crate::write`]'s.

use crate::identity::Identity;
use crate::keys::{SecretKey, SecretKeyError, random};
use serde::{Deserialize, Serialize};
use sillok_did_method::{
    Did, Recovery, acting_role_string, author_statement, author_string, credential_type_name,
    document_hash, holder_string, is_verification_key, key_id, status_list_name, submitter_string,
    transaction_id,
};
use sillok_ledger::{AdmissionError, CheckedTransaction, TRANSACTION_BYTES_MAX};
use sillok_proto::{CanonicalError, Hash, decode, encode, v1};
use v1::operation::Operation as Kind;

/// Why a transaction cannot be built.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A DID that only genesis could make.
    #[error(
        "the did has no registering authority, so only genesis could register it; make the identity with an authority"
    )]
    AuthorityRequired,
    /// An index beyond the list.
    #[error("there is no operation {index}; the transaction has {count}")]
    NoSuchOperation {
        /// The index asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// A new key has to sign and its secret is not here.
    #[error(
        "operation {index} binds a key whose secret is not in the identity; sign with the file that holds it"
    )]
    SecretMissing {
        /// The operation.
        index: usize,
    },
    /// A key cannot sign.
    #[error(transparent)]
    Key(#[from] SecretKeyError),
    /// The finished transaction breaks a rule that needs no state.
    #[error("the transaction would be refused: {source}")]
    Refused {
        /// The rule.
        #[from]
        source: AdmissionError,
    },
    /// The file of a partly signed transaction.
    #[error(
        "the file is not a partly signed transaction ({reason}); ask its sender to write it again"
    )]
    File {
        /// What is wrong with it.
        reason: String,
    },
    /// The file is of another network.
    #[error(
        "the transaction is for network {found}, not for {expected}; use the genesis it was made for"
    )]
    OtherNetwork {
        /// Genesis hash in the file.
        found: Hash,
        /// Genesis hash of the caller.
        expected: Hash,
    },
    /// A desk's signature on an operation that has no private content.
    #[error("operation {index} is not one of a desk; it is signed by its author")]
    NotOfADesk {
        /// The operation.
        index: usize,
    },
    /// A holder's signature that the operation does not call for.
    #[error("operation {index} names other keys of the holder; sign with those that it names")]
    NotAHolderKey {
        /// The operation.
        index: usize,
    },
    /// The bytes in the file.
    #[error("the transaction in the file is refused: {source}")]
    Encoding {
        /// What is wrong with them.
        #[from]
        source: CanonicalError,
    },
}

/// An operation, with the document or the private content it names.
#[derive(Debug, Clone, PartialEq)]
pub struct OperationDraft {
    operation: v1::Operation,
    document: Option<v1::DidDocument>,
    /// With the approvals, in the order in which the content names their makers.
    content: Option<(v1::PrivateContent, Vec<v1::Approval>)>,
}

impl OperationDraft {
    fn new(kind: Kind, document: Option<v1::DidDocument>) -> Self {
        Self { operation: v1::Operation { operation: Some(kind) }, document, content: None }
    }

    /// A change of status with its private content: see [`crate::desk::Application`].
    pub(crate) const fn at_a_desk(
        operation: v1::Operation,
        content: v1::PrivateContent,
        approvals: Vec<v1::Approval>,
    ) -> Self {
        Self { operation, document: None, content: Some((content, approvals)) }
    }

    /// Gives an organization a right, or its grant a later end; `grantor` signs, and for a new period the receiver too,
    /// unless the grantor registered it.
    #[must_use]
    pub fn accredit(grantor: &Did, grant: v1::NewGrant) -> Self {
        let grantor = grantor.digest().to_vec();
        Self::new(Kind::Accredit(v1::Accredit { grantor, grant: Some(grant) }), None)
    }

    /// Ends a right; `by` signs: who holds it, its grantor, or who stands above that one.
    #[must_use]
    pub fn withdraw(by: &Did, grant: v1::EndedGrant) -> Self {
        let by = by.digest().to_vec();
        Self::new(Kind::Withdraw(v1::Withdraw { by, grant: Some(grant) }), None)
    }

    /// Publishes a new credential type. Returns its name, which covers the nonce: nobody can take it first.
    #[must_use]
    pub fn publish_type(
        genesis_hash: &Hash,
        publisher: &Did,
        nonce: &[u8; 16],
        content: v1::TypeVersion,
    ) -> (Self, Hash) {
        let publisher = publisher.digest();
        let name = credential_type_name(genesis_hash, &publisher, nonce, &content);
        let operation = v1::PublishType {
            publisher: publisher.to_vec(),
            r#type: name.to_vec(),
            version: 1,
            nonce: nonce.to_vec(),
            content: Some(content),
        };
        (Self::new(Kind::PublishType(operation), None), name)
    }

    /// Publishes the next version of a credential type that is the publisher's.
    #[must_use]
    pub fn publish_version(
        publisher: &Did,
        name: &Hash,
        version: u32,
        content: v1::TypeVersion,
    ) -> Self {
        let operation = v1::PublishType {
            publisher: publisher.digest().to_vec(),
            r#type: name.to_vec(),
            version,
            nonce: Vec::new(),
            content: Some(content),
        };
        Self::new(Kind::PublishType(operation), None)
    }

    /// Creates a status list of `issuer` and a type. Returns its name.
    #[must_use]
    pub fn create_list(
        genesis_hash: &Hash,
        issuer: &Did,
        credential_type: &Hash,
        nonce: &[u8; 16],
        capacity: u32,
        max_age_s: u32,
    ) -> (Self, Hash) {
        let issuer = issuer.digest();
        let name = status_list_name(genesis_hash, &issuer, credential_type, nonce);
        let operation = v1::CreateList {
            issuer: issuer.to_vec(),
            list: name.to_vec(),
            r#type: credential_type.to_vec(),
            nonce: nonce.to_vec(),
            capacity,
            max_age_s,
        };
        (Self::new(Kind::CreateList(operation), None), name)
    }

    /// Registers the DID of `identity` with all its keys.
    ///
    /// # Errors
    ///
    /// [`BuildError::AuthorityRequired`].
    pub fn create(identity: &Identity) -> Result<Self, BuildError> {
        let authority = identity.authority.as_ref().ok_or(BuildError::AuthorityRequired)?;
        let document = identity.document();
        let operation = v1::CreateDid {
            did: identity.did.digest().to_vec(),
            kind: identity.kind.into(),
            authority: authority.digest().to_vec(),
            recovery: identity.recovery().write(),
            document_hash: document_hash(&document).to_vec(),
        };
        Ok(Self::new(Kind::CreateDid(operation), Some(document)))
    }

    /// Replaces the document of `did`, and with `recovery` a holder's recovery rule. `previous` is the hash of the
    /// head it builds on.
    #[must_use]
    pub fn update(
        did: &Did,
        previous: &Hash,
        document: v1::DidDocument,
        recovery: Option<Recovery>,
    ) -> Self {
        let operation = v1::UpdateDid {
            did: did.digest().to_vec(),
            previous: previous.to_vec(),
            document_hash: document_hash(&document).to_vec(),
            recovery: recovery.map(|rule| v1::RecoveryChange { rule: rule.write() }),
        };
        Self::new(Kind::UpdateDid(operation), Some(document))
    }

    /// Gives a holder the device key in `document`: by its current key, or by authority and countersigner together.
    #[must_use]
    pub fn set_device(did: &Did, previous: &Hash, document: v1::DidDocument) -> Self {
        let operation = v1::SetDevice {
            did: did.digest().to_vec(),
            previous: previous.to_vec(),
            document_hash: document_hash(&document).to_vec(),
        };
        Self::new(Kind::SetDevice(operation), Some(document))
    }

    /// A holder's own key gives the device up.
    #[must_use]
    pub fn give_device_up(did: &Did, previous: &Hash) -> Self {
        let (did, previous) = (did.digest().to_vec(), previous.to_vec());
        Self::new(Kind::SetDevice(v1::SetDevice { did, previous, document_hash: Vec::new() }), None)
    }

    /// The registering authority alone takes the device away. It names no version: a thief who updates every second
    /// could outrun it (PROTOCOL §3.2).
    #[must_use]
    pub fn take_device_away(did: &Did) -> Self {
        let operation = v1::SetDevice {
            did: did.digest().to_vec(),
            previous: Vec::new(),
            document_hash: Vec::new(),
        };
        Self::new(Kind::SetDevice(operation), None)
    }

    /// The last operation of a DID.
    #[must_use]
    pub fn deactivate(did: &Did, previous: &Hash) -> Self {
        let (did, previous) = (did.digest().to_vec(), previous.to_vec());
        Self::new(Kind::DeactivateDid(v1::DeactivateDid { did, previous }), None)
    }

    /// Opens a proposal about who runs the network; `operator`'s governance key signs it, and with that approves it.
    #[must_use]
    pub fn propose(operator: &Did, proposal: v1::Proposal) -> Self {
        let operator = operator.digest().to_vec();
        Self::new(Kind::Propose(v1::Propose { operator, proposal: Some(proposal) }), None)
    }

    /// Approves a proposal; `operator`'s governance key signs it.
    #[must_use]
    pub fn approve(operator: &Did, proposal_hash: &Hash) -> Self {
        let (operator, proposal_hash) = (operator.digest().to_vec(), proposal_hash.to_vec());
        Self::new(Kind::Approve(v1::Approve { operator, proposal_hash }), None)
    }

    /// Seats an approved validator key, which signs it. The header is one of this chain that is under 10 minutes old:
    /// it shows that the node of the key is there and follows.
    #[must_use]
    pub fn join(
        operator: &Did,
        validator_key: &v1::PublicKey,
        header_height: u64,
        header_hash: &Hash,
    ) -> Self {
        let join = v1::Join {
            operator: operator.digest().to_vec(),
            validator_key: validator_key.point.clone(),
            header_height,
            header_hash: header_hash.to_vec(),
        };
        Self::new(Kind::Join(join), None)
    }

    /// Names a new validator key for the operator's own seat; its governance key signs it. The new key takes over when
    /// it joins.
    #[must_use]
    pub fn rekey(operator: &Did, validator_key: &[u8; 32]) -> Self {
        let (operator, validator_key) = (operator.digest().to_vec(), validator_key.to_vec());
        Self::new(Kind::Rekey(v1::Rekey { operator, validator_key }), None)
    }

    /// The operation.
    #[must_use]
    pub const fn operation(&self) -> &v1::Operation {
        &self.operation
    }
}

/// What the authors of one operation agree to (PROTOCOL §2.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// Any submitter may carry it. Only for a holder's own operations, so that no registrar can silence a holder.
    pub any_submitter: bool,
    /// It may run only together with the very list it stands in.
    pub whole_list: bool,
    /// Ledger time until which the authors want it, in milliseconds; `None` = as long as the transaction lives.
    pub valid_until_ms: Option<u64>,
}

impl Terms {
    /// Bound to the named submitter and to nothing else: the usual.
    pub const NAMED: Self = Self { any_submitter: false, whole_list: false, valid_until_ms: None };
    /// Any submitter may carry it.
    pub const ANY: Self = Self { any_submitter: true, whole_list: false, valid_until_ms: None };
    /// Bound to the named submitter and to the other operations of the transaction.
    pub const WHOLE_LIST: Self =
        Self { any_submitter: false, whole_list: true, valid_until_ms: None };
}

/// Collects the operations of a transaction.
///
/// ```
/// use sillok_client::identity::Identity;
/// use sillok_client::keys::KeyAlgorithm::Ed25519;
/// use sillok_client::transaction::{OperationDraft, Terms, TransactionBuilder};
/// use sillok_did_method::SUBMIT;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (genesis_hash, now_ms) = (sillok_proto::Hash([1; 32]), 1_795_251_600_000);
/// let ministry = Identity::organization("dev", Ed25519, false, None, None)?;
/// let holder = Identity::holder("dev", Ed25519, false, ministry.did.clone(), None)?;
///
/// let mut transaction = TransactionBuilder::new(genesis_hash, &ministry.did, now_ms + 60_000)
///     .push(OperationDraft::create(&holder)?, Terms::NAMED)
///     .freeze();
/// transaction.sign_new_keys(0, &holder)?;
/// let transaction = transaction.submit(ministry.newest_secret(SUBMIT).ok_or("no key")?)?;
/// # assert_eq!(transaction.documents.len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct TransactionBuilder {
    genesis_hash: Hash,
    body: v1::TransactionBody,
    documents: Vec<v1::DidDocument>,
    contents: Vec<v1::PrivateContent>,
    private: Vec<v1::PrivateOperationSignatures>,
    terms: Vec<v1::OperationSignatures>,
}

impl TransactionBuilder {
    /// A transaction that `submitter` brings, until ledger time `valid_until_ms`.
    #[must_use]
    pub fn new(genesis_hash: Hash, submitter: &Did, valid_until_ms: u64) -> Self {
        let body = v1::TransactionBody {
            submitter: submitter.digest().to_vec(),
            valid_until_ms,
            operations: Vec::new(),
        };
        Self {
            genesis_hash,
            body,
            documents: Vec::new(),
            contents: Vec::new(),
            private: Vec::new(),
            terms: Vec::new(),
        }
    }

    /// Adds an operation.
    #[must_use]
    pub fn push(mut self, draft: OperationDraft, terms: Terms) -> Self {
        // More than 256 operations are refused when the transaction is complete.
        let operation = u32::try_from(self.body.operations.len()).unwrap_or(u32::MAX);
        self.body.operations.push(draft.operation);
        self.documents.extend(draft.document);
        if let Some((content, approvals)) = draft.content {
            self.contents.push(content);
            self.private.push(v1::PrivateOperationSignatures {
                operation,
                approvals,
                ..v1::PrivateOperationSignatures::default()
            });
        }
        self.terms.push(v1::OperationSignatures {
            any_submitter: terms.any_submitter,
            valid_until_ms: terms.valid_until_ms.unwrap_or(self.body.valid_until_ms),
            whole_list: terms.whole_list,
            signatures: Vec::new(),
        });
        self
    }

    /// Ends the list, so that it can be signed.
    #[must_use]
    pub fn freeze(self) -> PartlySigned {
        let signatures = v1::PublicSignatures { submitter: None, operations: self.terms };
        let private = v1::PrivateSignatures { salt: Vec::new(), operations: self.private };
        PartlySigned {
            genesis_hash: self.genesis_hash,
            transaction: v1::Transaction {
                body: Some(self.body),
                documents: self.documents,
                private_contents: self.contents,
                signatures: Some(signatures),
                private_signatures: (!private.operations.is_empty()).then_some(private),
            },
        }
    }
}

/// A transaction that lacks signatures.
#[derive(Debug, Clone, PartialEq)]
pub struct PartlySigned {
    genesis_hash: Hash,
    transaction: v1::Transaction,
}

impl PartlySigned {
    /// Its id; signatures do not change it.
    #[must_use]
    pub fn id(&self) -> Hash {
        transaction_id(&self.genesis_hash, &self.body())
    }

    /// What the submitter will sign.
    #[must_use]
    pub fn body(&self) -> v1::TransactionBody {
        self.transaction.body.clone().unwrap_or_default()
    }

    /// The transaction as far as it is.
    #[must_use]
    pub const fn transaction(&self) -> &v1::Transaction {
        &self.transaction
    }

    fn terms(&self, index: usize) -> Result<&v1::OperationSignatures, BuildError> {
        let operations = self.transaction.signatures.as_ref().map(|all| all.operations.as_slice());
        let operations = operations.unwrap_or_default();
        operations.get(index).ok_or(BuildError::NoSuchOperation { index, count: operations.len() })
    }

    /// The string that every author of operation `index` signs, for keys that are not in this process.
    ///
    /// # Errors
    ///
    /// [`BuildError::NoSuchOperation`].
    pub fn author_string(&self, index: usize) -> Result<Vec<u8>, BuildError> {
        let terms = self.terms(index)?;
        let body = self.body();
        let statement = author_statement(&self.genesis_hash, &body, index, terms)
            .ok_or(BuildError::NoSuchOperation { index, count: body.operations.len() })?;
        Ok(author_string(&self.genesis_hash, &statement))
    }

    /// Puts a signature made elsewhere into its place; a second one by the same key replaces the first.
    ///
    /// # Errors
    ///
    /// [`BuildError::NoSuchOperation`].
    pub fn add_signature(
        &mut self,
        index: usize,
        signature: v1::KeySignature,
    ) -> Result<(), BuildError> {
        self.terms(index)?;
        let operations = self.transaction.signatures.as_mut().map(|all| &mut all.operations);
        if let Some(terms) = operations.and_then(|operations| operations.get_mut(index)) {
            terms.signatures.retain(|one| one.key_id != signature.key_id);
            let place = terms.signatures.partition_point(|one| one.key_id < signature.key_id);
            terms.signatures.insert(place, signature);
        }
        Ok(())
    }

    /// Signs operation `index`.
    ///
    /// # Errors
    ///
    /// [`BuildError::NoSuchOperation`], [`BuildError::Key`].
    pub fn sign(&mut self, index: usize, key: &SecretKey) -> Result<(), BuildError> {
        let signature = key.key_signature(&self.author_string(index)?)?;
        self.add_signature(index, signature)
    }

    /// Signs operation `index` with the secret of every verification key in its document: for a create, whose keys
    /// are all new and all prove possession.
    ///
    /// # Errors
    ///
    /// [`BuildError::SecretMissing`] if `identity` lacks one.
    pub fn sign_new_keys(&mut self, index: usize, identity: &Identity) -> Result<(), BuildError> {
        let document = self.document(index)?.cloned().unwrap_or_default();
        let new = document.keys.iter().filter_map(|bound| bound.key.as_ref());
        for key in new.filter(|key| is_verification_key(key)) {
            let secret = identity.secret_of(key).ok_or(BuildError::SecretMissing { index })?;
            self.sign(index, secret)?;
        }
        Ok(())
    }

    /// Signs operation `index` with the secrets of those verification keys of its document that `before` has not.
    ///
    /// # Errors
    ///
    /// [`BuildError::SecretMissing`] if `identity` lacks one.
    pub fn sign_added_keys(
        &mut self,
        index: usize,
        before: &v1::DidDocument,
        identity: &Identity,
    ) -> Result<(), BuildError> {
        let document = self.document(index)?.cloned().unwrap_or_default();
        for key in document.keys.iter().filter_map(|bound| bound.key.as_ref()) {
            let known = before.keys.iter().any(|bound| bound.key.as_ref() == Some(key));
            if known || !is_verification_key(key) {
                continue;
            }
            let secret = identity.secret_of(key).ok_or(BuildError::SecretMissing { index })?;
            self.sign(index, secret)?;
        }
        Ok(())
    }

    /// The private content of operation `index`, if it is one of a desk: the one that it names by its hash.
    #[must_use]
    pub fn content(&self, index: usize) -> Option<&v1::PrivateContent> {
        let operations = &self.transaction.body.as_ref()?.operations;
        operations.get(index).filter(|one| names_content(one))?;
        let before = operations.iter().take(index).filter(|one| names_content(one)).count();
        self.transaction.private_contents.get(before)
    }

    /// The signatures beside operation `index`, if it is one of a desk.
    #[must_use]
    pub fn desk_signatures(&self, index: usize) -> Option<&v1::PrivateOperationSignatures> {
        self.private().iter().find(|one| is_index(one.operation, index))
    }

    fn private(&self) -> &[v1::PrivateOperationSignatures] {
        self.transaction.private_signatures.as_ref().map_or(&[], |all| &all.operations)
    }

    fn desk_signatures_mut(
        &mut self,
        index: usize,
    ) -> Result<&mut v1::PrivateOperationSignatures, BuildError> {
        let all = self.transaction.private_signatures.as_mut();
        all.and_then(|all| all.operations.iter_mut().find(|one| is_index(one.operation, index)))
            .ok_or(BuildError::NotOfADesk { index })
    }

    fn acting_statement(&self, index: usize) -> v1::ActingStatement {
        let operation = u32::try_from(index).unwrap_or(u32::MAX);
        v1::ActingStatement { transaction_id: self.id().to_vec(), operation }
    }

    /// The acting role signs operation `index`: this one of this transaction, so that nothing of it can be carried in
    /// another.
    ///
    /// # Errors
    ///
    /// [`BuildError::NotOfADesk`], [`BuildError::Key`].
    pub fn sign_acting_role(&mut self, index: usize, key: &SecretKey) -> Result<(), BuildError> {
        let string = acting_role_string(&self.genesis_hash, &self.acting_statement(index));
        let signature = key.key_signature(&string)?;
        self.desk_signatures_mut(index)?.acting_role = Some(signature);
        self.salt()
    }

    /// Without a salt whoever guesses the private signers could compare the hash in the transactions root.
    fn salt(&mut self) -> Result<(), BuildError> {
        if let Some(private) = &mut self.transaction.private_signatures
            && private.salt.is_empty()
        {
            private.salt = random::<32>()?.to_vec();
        }
        Ok(())
    }

    /// The string that the holder's keys sign for operation `index`, for keys that are on a phone.
    #[must_use]
    pub fn holder_string(&self, index: usize) -> Vec<u8> {
        holder_string(&self.genesis_hash, &self.acting_statement(index))
    }

    /// The holder's keys that operation `index` names: of an activation the one-time and the enrollment key, of a
    /// reinstatement the enrollment key.
    #[must_use]
    pub fn holder_keys(&self, index: usize) -> Vec<v1::PublicKey> {
        let request = self.content(index).and_then(|content| content.enrollment.clone());
        request.map_or_else(Vec::new, |request| {
            let one_time = match request.change() {
                v1::EnrollmentChange::Activate => request.one_time_key,
                _ => None,
            };
            one_time.into_iter().chain(request.enrollment_key).collect()
        })
    }

    /// A key of the holder signs operation `index`, which names it.
    ///
    /// # Errors
    ///
    /// [`BuildError::NotAHolderKey`], [`BuildError::NotOfADesk`], [`BuildError::Key`].
    pub fn sign_holder(&mut self, index: usize, key: &SecretKey) -> Result<(), BuildError> {
        let signature = key.key_signature(&self.holder_string(index))?;
        let named = self.holder_keys(index).contains(key.public());
        let signatures = &mut self.desk_signatures_mut(index)?.holder_keys;
        if !named {
            return Err(BuildError::NotAHolderKey { index });
        }
        signatures.retain(|one| one.key_id != signature.key_id);
        let place = signatures.partition_point(|one| one.key_id < signature.key_id);
        signatures.insert(place, signature);
        Ok(())
    }

    /// The network it is for.
    #[must_use]
    pub const fn genesis_hash(&self) -> &Hash {
        &self.genesis_hash
    }

    /// Has this key signed operation `index`?
    ///
    /// # Errors
    ///
    /// [`BuildError::NoSuchOperation`].
    pub fn is_signed_by(&self, index: usize, key: &v1::PublicKey) -> Result<bool, BuildError> {
        let id = key_id(key);
        Ok(self.terms(index)?.signatures.iter().any(|one| one.key_id == id.0))
    }

    /// The document that operation `index` names, if it names one.
    ///
    /// # Errors
    ///
    /// [`BuildError::NoSuchOperation`].
    pub fn document(&self, index: usize) -> Result<Option<&v1::DidDocument>, BuildError> {
        let operations = self.transaction.body.as_ref().map(|body| body.operations.as_slice());
        let operations = operations.unwrap_or_default();
        if index >= operations.len() {
            return Err(BuildError::NoSuchOperation { index, count: operations.len() });
        }
        let before = operations.iter().take(index).filter(|one| names_document(one)).count();
        Ok(operations
            .get(index)
            .filter(|one| names_document(one))
            .and_then(|_| self.transaction.documents.get(before)))
    }

    /// The submitter signs, and the transaction is complete.
    ///
    /// # Errors
    ///
    /// [`BuildError::Refused`] for a rule that every node would apply too; [`BuildError::Key`].
    pub fn submit(mut self, key: &SecretKey) -> Result<v1::Transaction, BuildError> {
        let string = submitter_string(&self.genesis_hash, &self.id());
        self.salt()?;
        let signatures = self.transaction.signatures.get_or_insert_default();
        signatures.submitter = Some(key.key_signature(&string)?);
        for terms in &mut signatures.operations {
            // Nobody signed terms, so they must say nothing.
            if terms.signatures.is_empty() {
                *terms = v1::OperationSignatures::default();
            }
        }
        CheckedTransaction::check(&self.genesis_hash, &self.transaction)?;
        Ok(self.transaction)
    }

    /// A file that the next signer reads. It holds no key; of a desk's operation it holds the private content, which is
    /// for the desk, the holder and the approvers alone.
    #[must_use]
    pub fn to_json(&self) -> String {
        let file = PartlySignedFile {
            genesis_hash: self.genesis_hash.to_string(),
            transaction: hex::encode(encode(&self.transaction)),
        };
        // A struct of two strings has a JSON form.
        serde_json::to_string_pretty(&file).unwrap_or_default()
    }

    /// Reads the file of another signer, for the network of `genesis_hash`. What is beside the body is what the body
    /// names: whoever signs is shown the documents and private contents that it signs, and no others.
    ///
    /// # Errors
    ///
    /// [`BuildError::File`], [`BuildError::OtherNetwork`], [`BuildError::Encoding`]; [`BuildError::Refused`] for a document
    /// or a private content that is another than its operation names.
    pub fn from_json(text: &str, genesis_hash: Hash) -> Result<Self, BuildError> {
        let file: PartlySignedFile = serde_json::from_str(text)
            .map_err(|error| BuildError::File { reason: error.to_string() })?;
        let hash = hex::decode(&file.genesis_hash).unwrap_or_default();
        let found = Hash::from_slice(&hash)
            .ok_or_else(|| BuildError::File { reason: "the genesis hash is none".to_owned() })?;
        if found != genesis_hash {
            return Err(BuildError::OtherNetwork { found, expected: genesis_hash });
        }
        let bytes = hex::decode(&file.transaction)
            .map_err(|_| BuildError::File { reason: "the transaction is not hex".to_owned() })?;
        let transaction: v1::Transaction = decode(&bytes, TRANSACTION_BYTES_MAX)?;
        let operations = transaction.body.as_ref().map_or(0, |body| body.operations.len());
        let signed = transaction.signatures.as_ref().map_or(0, |all| all.operations.len());
        if operations == 0 || operations != signed {
            return Err(BuildError::File { reason: "operations or their terms lack".to_owned() });
        }
        CheckedTransaction::check_parts(&transaction)?;
        Ok(Self { genesis_hash, transaction })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartlySignedFile {
    genesis_hash: String,
    transaction: String,
}

fn is_index(operation: u32, index: usize) -> bool {
    usize::try_from(operation) == Ok(index)
}

const fn names_content(operation: &v1::Operation) -> bool {
    matches!(operation.operation, Some(Kind::SetStatus(_) | Kind::SetEnrollment(_)))
}

fn names_document(operation: &v1::Operation) -> bool {
    match &operation.operation {
        Some(Kind::CreateDid(_) | Kind::UpdateDid(_)) => true,
        Some(Kind::SetDevice(op)) => !op.document_hash.is_empty(),
        Some(
            Kind::DeactivateDid(_)
            | Kind::Propose(_)
            | Kind::Approve(_)
            | Kind::Join(_)
            | Kind::Rekey(_)
            | Kind::Accredit(_)
            | Kind::Withdraw(_)
            | Kind::PublishType(_)
            | Kind::CreateList(_)
            | Kind::SetStatus(_)
            | Kind::SetEnrollment(_),
        )
        | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyAlgorithm::{Ed25519, P256};
    use sillok_did_method::SUBMIT;

    const GENESIS: Hash = Hash([1; 32]);

    fn ministry() -> Identity {
        Identity::organization("test", Ed25519, false, None, None).unwrap()
    }

    fn two_creates(ministry: &Identity, terms: Terms) -> (PartlySigned, Identity, Identity) {
        let [one, two] = [Ed25519, P256].map(|algorithm| {
            Identity::holder("test", algorithm, true, ministry.did.clone(), None).unwrap()
        });
        let partly = TransactionBuilder::new(GENESIS, &ministry.did, 60_000)
            .push(OperationDraft::create(&one).unwrap(), terms)
            .push(OperationDraft::create(&two).unwrap(), terms)
            .freeze();
        (partly, one, two)
    }

    #[test]
    fn a_create_is_signed_by_its_new_keys_and_passes_the_rules_without_state() {
        let ministry = ministry();
        let (mut partly, one, two) = two_creates(&ministry, Terms::WHOLE_LIST);
        partly.sign_new_keys(0, &one).unwrap();
        partly.sign_new_keys(1, &two).unwrap();
        let id = partly.id();
        let transaction = partly.submit(ministry.newest_secret(SUBMIT).unwrap()).unwrap();
        let checked = CheckedTransaction::check(&GENESIS, &transaction).unwrap();
        assert_eq!(checked.leaf.id, id);
        for ((_, authors), identity) in checked.operations.iter().zip([&one, &two]) {
            let [signature] = authors.signatures.as_slice() else { panic!("one signature each") };
            let device = identity.keys[0].secret.public();
            sillok_did_method::verify(device, &authors.string, &signature.bytes).unwrap();
        }
    }

    #[test]
    fn an_operation_bound_to_its_list_signs_the_list() {
        let ministry = ministry();
        let (mut whole, _, _) = two_creates(&ministry, Terms::WHOLE_LIST);
        let before = whole.author_string(0).unwrap();
        whole.transaction.body.as_mut().unwrap().operations.pop();
        assert_ne!(whole.author_string(0).unwrap(), before);

        let (mut single, _, _) = two_creates(&ministry, Terms::NAMED);
        let before = single.author_string(0).unwrap();
        single.transaction.body.as_mut().unwrap().operations.pop();
        assert_eq!(single.author_string(0).unwrap(), before);
    }

    #[test]
    fn any_submitter_leaves_the_submitter_out_of_what_is_signed() {
        let (one, two) = (ministry(), ministry());
        let holder = Identity::holder("test", Ed25519, false, one.did.clone(), None).unwrap();
        let string = |submitter: &Identity, terms| {
            TransactionBuilder::new(GENESIS, &submitter.did, 60_000)
                .push(OperationDraft::deactivate(&holder.did, &Hash([2; 32])), terms)
                .freeze()
                .author_string(0)
                .unwrap()
        };
        assert_eq!(string(&one, Terms::ANY), string(&two, Terms::ANY));
        assert_ne!(string(&one, Terms::NAMED), string(&two, Terms::NAMED));
    }

    #[test]
    fn terms_that_nobody_signed_say_nothing() {
        let ministry = ministry();
        let holder = Identity::holder("test", Ed25519, false, ministry.did.clone(), None).unwrap();
        let transaction = TransactionBuilder::new(GENESIS, &ministry.did, 60_000)
            .push(OperationDraft::take_device_away(&holder.did), Terms::NAMED)
            .freeze()
            .submit(ministry.newest_secret(SUBMIT).unwrap())
            .unwrap();
        let terms = &transaction.signatures.unwrap().operations[0];
        assert_eq!(*terms, v1::OperationSignatures::default());
    }

    #[test]
    fn several_parties_sign_one_after_another_through_a_file() {
        let (ministry, other) = (ministry(), ministry());
        let holder = Identity::holder("test", Ed25519, false, ministry.did.clone(), None).unwrap();
        let device = SecretKey::generate(Ed25519).unwrap();
        let document = crate::identity::document_of(
            vec![v1::BoundKey {
                key: Some(device.public().clone()),
                relationships: sillok_did_method::DEVICE_RELATIONSHIPS,
                expires_ms: 0,
            }],
            Vec::new(),
        );
        let mut partly = TransactionBuilder::new(GENESIS, &ministry.did, 60_000)
            .push(OperationDraft::set_device(&holder.did, &Hash([3; 32]), document), Terms::NAMED)
            .freeze();
        for key in [&device, &ministry.keys[0].secret, &other.keys[0].secret] {
            partly.sign(0, key).unwrap();
            partly.sign(0, key).unwrap();
            partly = PartlySigned::from_json(&partly.to_json(), GENESIS).unwrap();
            assert!(partly.is_signed_by(0, key.public()).unwrap());
        }
        let transaction = partly.submit(ministry.newest_secret(SUBMIT).unwrap()).unwrap();
        assert_eq!(transaction.signatures.unwrap().operations[0].signatures.len(), 3);
    }

    /// Two changes of status, about entries 3 and 4.
    fn two_changes(role: &Identity) -> [crate::desk::Application; 2] {
        let circumstances = crate::desk::Circumstances {
            acting_role: role.did.clone(),
            reason: v1::Reason::Suspected,
            channel: v1::Channel::Office,
            assurance_level: None,
            organization: None,
            approvers: Vec::new(),
        };
        [3, 4].map(|index| {
            let state = sillok_did_method::EntryState::Suspended;
            let (list, dates) = (Hash([4; 32]), crate::desk::EntryDates::default());
            let entries = [(index, None)];
            crate::desk::Application::set_status(
                GENESIS,
                &circumstances,
                &list,
                state,
                &entries,
                dates,
            )
            .unwrap()
        })
    }

    fn partly(role: &Identity, applications: &[crate::desk::Application]) -> PartlySigned {
        let builder = TransactionBuilder::new(GENESIS, &role.did, 60_000);
        let push = |builder: TransactionBuilder, one: &crate::desk::Application| {
            builder.push(one.draft(), Terms::WHOLE_LIST)
        };
        applications.iter().fold(builder, push).freeze()
    }

    #[test]
    fn who_signs_a_file_is_shown_the_contents_that_it_signs() {
        let role = ministry();
        let changes = two_changes(&role);
        let partly = partly(&role, &changes);
        let text = partly.to_json();
        let [one, other] = changes.each_ref().map(|change| hex::encode(encode(change.content())));
        // Contents change their places; the body, and so every signature over it, is as before.
        let swapped = text.replace(&one, "-").replace(&other, &one).replace('-', &other);
        assert_eq!(swapped.len(), text.len());
        let error = PartlySigned::from_json(&swapped, GENESIS).unwrap_err();
        assert!(matches!(error, BuildError::Refused { .. }), "{error}");

        // Each is shown beside the operation that names it, whatever the signatures say of their places.
        let mut moved = partly;
        let places = &mut moved.transaction.private_signatures.as_mut().unwrap().operations;
        for (place, operation) in places.iter_mut().zip([1, 0]) {
            place.operation = operation;
        }
        let moved = PartlySigned::from_json(&moved.to_json(), GENESIS).unwrap();
        assert_eq!(moved.content(0), Some(changes[0].content()));
        assert_eq!(moved.content(1), Some(changes[1].content()));
        assert_eq!(moved.content(2), None);
    }

    #[test]
    fn who_signs_a_file_is_shown_the_document_that_it_signs() {
        let ministry = ministry();
        let (partly, one, two) = two_creates(&ministry, Terms::NAMED);
        let documents = [&one, &two].map(|identity| identity.document());
        let mut other = partly;
        other.transaction.documents = vec![documents[1].clone(), documents[0].clone()];
        let error = PartlySigned::from_json(&other.to_json(), GENESIS).unwrap_err();
        assert!(matches!(error, BuildError::Refused { .. }), "{error}");
        other.transaction.documents = vec![documents[0].clone()];
        assert!(PartlySigned::from_json(&other.to_json(), GENESIS).is_err());
        other.transaction.documents = documents.to_vec();
        PartlySigned::from_json(&other.to_json(), GENESIS).unwrap();
    }

    #[test]
    fn a_file_of_another_network_is_refused() {
        let (partly, _, _) = two_creates(&ministry(), Terms::NAMED);
        let error = PartlySigned::from_json(&partly.to_json(), Hash([9; 32])).unwrap_err();
        assert!(matches!(error, BuildError::OtherNetwork { found: GENESIS, .. }));
    }

    #[test]
    fn a_create_without_an_authority_is_refused() {
        let error = OperationDraft::create(&ministry()).unwrap_err();
        assert_eq!(error, BuildError::AuthorityRequired);
    }

    #[test]
    fn a_key_whose_secret_is_elsewhere_is_missed() {
        let ministry = ministry();
        let (mut partly, one, _) = two_creates(&ministry, Terms::NAMED);
        assert_eq!(partly.sign_new_keys(1, &one), Err(BuildError::SecretMissing { index: 1 }));
        assert!(matches!(
            partly.sign(2, &one.keys[0].secret),
            Err(BuildError::NoSuchOperation { index: 2, count: 2 })
        ));
    }
}
