//! Writing: read the version to build on, build, sign, submit, wait for the receipt, verify it.
//!
//! A write has succeeded when its receipt is verified, not when a node says so. A refusal is one node's word and says
//! what to do; a transaction that is neither committed nor past its end may still be ordered, and the error says that
//! too. Each function here is one operation by named parties; anything else is built with [`crate::transaction`] and
//! sent with [`Client::submit`].

use crate::connection::CallError;
use crate::identity::{Identity, IdentityKey, document_of};
use crate::keys::SecretKey;
use crate::problem::Problem;
use crate::read::{Client, Committed, ReadError, TransactionState};
use crate::transaction::{BuildError, OperationDraft, PartlySigned, Terms, TransactionBuilder};
use crate::verify::{Asked, ResolvedVersion};
use sillok_did_method::{CAPABILITY_INVOCATION, Did, Recovery, SUBMIT, transaction_id};
use sillok_ledger::TreeKey;
use sillok_ledger::governance::PARAMETERS_VALID_UNTIL_WINDOW_MS_MIN;
use sillok_proto::{Hash, encode, v1};
use std::time::Duration;

/// How far ledger time may be behind the clock when a long-lived transaction is submitted at once.
const WINDOW_MARGIN_MS: u64 = 15_000;
/// How long a transaction may wait to be ordered, in milliseconds of ledger time: shorter than every window that operators
/// may set, so that nobody has to ask for the one in force.
const LIFE_MS: u64 = 45_000;
const _: () = assert!(LIFE_MS + WINDOW_MARGIN_MS <= PARAMETERS_VALID_UNTIL_WINDOW_MS_MIN);
/// How long its receipt is waited for: until it is ordered or expired.
const WAIT: Duration = Duration::from_secs(60);
/// Longest time a node is asked to wait in one request.
const WAIT_ONCE: Duration = Duration::from_secs(20);

/// Why a write has no verified receipt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// What had to be read was not.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The transaction cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The DID to change does not exist; proved.
    #[error("{did} is not registered; create it first")]
    NotFound {
        /// The DID.
        did: Did,
    },
    /// The DID to change is deactivated; proved.
    #[error("{did} was deactivated at height {height}; it accepts no operation any more")]
    Deactivated {
        /// The DID.
        did: Did,
        /// Height of its last version.
        height: u64,
    },
    /// A party's file has no key that may do this.
    #[error(
        "the identity of {did} has no key that its document allows to {purpose}; use the file with its current keys"
    )]
    NoKey {
        /// The party.
        did: Did,
        /// What the key is for.
        purpose: &'static str,
    },
    /// A node refused it; nothing was ordered through this node.
    #[error("refused: {problem}")]
    Refused {
        /// Why.
        problem: Problem,
    },
    /// A node took it and later refused it. Another node may still order it until it expires.
    #[error("transaction {id} was refused after it was taken: {problem}")]
    Rejected {
        /// Its id.
        id: Hash,
        /// Why.
        problem: Problem,
    },
    /// Ledger time passed its end: that is proved. That it was not ordered before is the word of the node.
    #[error(
        "transaction {id} expired, and the node does not have it; ask another with `sillok tx status {id}` before writing anew"
    )]
    Expired {
        /// Its id.
        id: Hash,
    },
    /// Not ordered yet when the wait was over.
    #[error(
        "transaction {id} is not ordered yet and may be until {valid_until_ms} ms of ledger time; ask again with `sillok tx status {id}` before writing anew"
    )]
    Pending {
        /// Its id.
        id: Hash,
        /// Its end.
        valid_until_ms: u64,
    },
}

impl WriteError {
    /// The refusal in it, if a node refused.
    #[must_use]
    pub const fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused { problem } | Self::Rejected { problem, .. } => Some(problem),
            _ => None,
        }
    }

    /// Of a transaction that was to be submitted: may it have been ordered, or be yet? Whatever a node says once it has
    /// the transaction is its word, a refusal too; what was made for the transaction must then be kept.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        match self {
            Self::Read(_)
            | Self::Refused { .. }
            | Self::Rejected { .. }
            | Self::Expired { .. }
            | Self::Pending { .. } => true,
            Self::Build(_)
            | Self::NotFound { .. }
            | Self::Deactivated { .. }
            | Self::NoKey { .. } => false,
        }
    }
}

/// The organizations that act for others in an operation.
#[derive(Debug, Clone, Copy)]
pub struct Parties<'a> {
    /// Brings the transaction.
    pub submitter: &'a Identity,
    /// The registering authority, where it acts and is not the submitter.
    pub authority: Option<&'a Identity>,
    /// The countersigner of the recovery rule, where it acts.
    pub countersigner: Option<&'a Identity>,
    /// A holder's own operation may be carried by any submitter, so that no registrar can silence a holder.
    pub any_submitter: bool,
}

impl<'a> Parties<'a> {
    /// The submitter alone.
    #[must_use]
    pub const fn submitter(submitter: &'a Identity) -> Self {
        Self { submitter, authority: None, countersigner: None, any_submitter: false }
    }

    /// Who acts as the authority.
    #[must_use]
    pub fn acting_authority(&self) -> &'a Identity {
        self.authority.unwrap_or(self.submitter)
    }
}

/// The transaction being put together, and who submits it.
struct Draft {
    partly: PartlySigned,
}

impl Client {
    /// Registers the DID of `identity`.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub async fn create(
        &self,
        identity: &Identity,
        parties: &Parties<'_>,
    ) -> Result<Committed, WriteError> {
        let mut draft =
            self.draft(parties, OperationDraft::create(identity)?, Terms::NAMED).await?;
        draft.partly.sign_new_keys(0, identity)?;
        // The authority's word is its submission, or a signature of its own.
        let authority = parties.acting_authority();
        if authority.did != parties.submitter.did {
            let key = self.acting_key(authority, CAPABILITY_INVOCATION).await?;
            draft.partly.sign(0, &key)?;
        }
        self.send(draft, parties).await
    }

    /// Replaces the document of `identity`, and with `recovery` a holder's recovery rule. New keys of the document must
    /// be among those of `identity`.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub async fn update(
        &self,
        identity: &Identity,
        document: v1::DidDocument,
        recovery: Option<Recovery>,
        parties: &Parties<'_>,
    ) -> Result<Committed, WriteError> {
        let current = self.current(&identity.did).await?;
        let operation =
            OperationDraft::update(&identity.did, &current.head_hash(), document, recovery);
        let mut draft = self.draft(parties, operation, own_terms(parties)).await?;
        self.sign_own(&mut draft, identity, &current)?;
        self.send(draft, parties).await
    }

    /// The holder's current key sets another: `new`, whose secret must be among those of `identity`, like that of the
    /// current one.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub async fn replace_device(
        &self,
        identity: &Identity,
        new: &IdentityKey,
        parties: &Parties<'_>,
    ) -> Result<Committed, WriteError> {
        let current = self.current(&identity.did).await?;
        let document = with_device(&current, new);
        let operation = OperationDraft::set_device(&identity.did, &current.head_hash(), document);
        let mut draft = self.draft(parties, operation, own_terms(parties)).await?;
        self.sign_own(&mut draft, identity, &current)?;
        self.send(draft, parties).await
    }

    /// The holder's current key gives the device up.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub async fn give_device_up(
        &self,
        identity: &Identity,
        parties: &Parties<'_>,
    ) -> Result<Committed, WriteError> {
        let current = self.current(&identity.did).await?;
        let operation = OperationDraft::give_device_up(&identity.did, &current.head_hash());
        let mut draft = self.draft(parties, operation, own_terms(parties)).await?;
        self.sign_own(&mut draft, identity, &current)?;
        self.send(draft, parties).await
    }

    /// The registering authority takes the device of `did` away: it needs nobody else and names no version.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub async fn take_device_away(
        &self,
        did: &Did,
        parties: &Parties<'_>,
    ) -> Result<Committed, WriteError> {
        let operation = OperationDraft::take_device_away(did);
        let mut draft = self.draft(parties, operation, Terms::NAMED).await?;
        let authority = parties.acting_authority();
        if authority.did != parties.submitter.did {
            let key = self.acting_key(authority, CAPABILITY_INVOCATION).await?;
            draft.partly.sign(0, &key)?;
        }
        self.send(draft, parties).await
    }

    /// The registering authority and the countersigner give `did` the device key `new`, which proves possession.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub async fn assist_device(
        &self,
        did: &Did,
        new: &IdentityKey,
        parties: &Parties<'_>,
    ) -> Result<Committed, WriteError> {
        let current = self.current(did).await?;
        let document = with_device(&current, new);
        let operation = OperationDraft::set_device(did, &current.head_hash(), document);
        let mut draft = self.draft(parties, operation, Terms::NAMED).await?;
        draft.partly.sign(0, &new.secret)?;
        for party in [Some(parties.acting_authority()), parties.countersigner].into_iter().flatten()
        {
            let key = self.acting_key(party, CAPABILITY_INVOCATION).await?;
            draft.partly.sign(0, &key)?;
        }
        self.send(draft, parties).await
    }

    /// Deactivates the DID of `identity`, for good.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub async fn deactivate(
        &self,
        identity: &Identity,
        parties: &Parties<'_>,
    ) -> Result<Committed, WriteError> {
        let current = self.current(&identity.did).await?;
        let operation = OperationDraft::deactivate(&identity.did, &current.head_hash());
        let mut draft = self.draft(parties, operation, own_terms(parties)).await?;
        self.sign_own(&mut draft, identity, &current)?;
        self.send(draft, parties).await
    }

    /// The current version of a DID that can be changed. It may be stale: the ledger refuses what builds on an old
    /// version.
    ///
    /// # Errors
    ///
    /// [`WriteError::NotFound`], [`WriteError::Deactivated`], [`WriteError::Read`].
    pub async fn current(&self, did: &Did) -> Result<ResolvedVersion, WriteError> {
        let resolved = self.resolve(did, Asked::Current).await?;
        let version = resolved.answer.even_if_stale().version.clone();
        let version = version.ok_or_else(|| WriteError::NotFound { did: did.clone() })?;
        if version.head.deactivated {
            let height = version.head.height;
            return Err(WriteError::Deactivated { did: did.clone(), height });
        }
        Ok(version)
    }

    /// A time until which a transaction made now may be ordered: 45 seconds ahead, which every window allows that operators
    /// may set. A network that began with a shorter one is asked for the one in force. Ledger time is what counts; it is
    /// taken from the last verified header, and from the clock as far as every window allows.
    ///
    /// # Errors
    ///
    /// [`ReadError`], only where the network is asked.
    pub async fn valid_until_ms(&self) -> Result<u64, ReadError> {
        let first_ms = self.lock().chain().parameters().valid_until_window_ms;
        let window_ms = if first_ms < PARAMETERS_VALID_UNTIL_WINDOW_MS_MIN {
            let in_force = self.parameters().await?;
            in_force.even_if_stale().valid_until_window_ms.min(PARAMETERS_VALID_UNTIL_WINDOW_MS_MIN)
        } else {
            PARAMETERS_VALID_UNTIL_WINDOW_MS_MIN
        };
        let life_ms = LIFE_MS.min(window_ms / 2);
        // A header of the genesis says nothing about the present.
        let (ledger_ms, fresh) = {
            let trust = self.lock();
            (trust.trusted().time_ms, trust.trusted().height > 0)
        };
        let now_ms = self.options().clock.now_ms();
        let latest_ms = ledger_ms.saturating_add(window_ms.saturating_sub(life_ms));
        let base_ms = if fresh { now_ms.clamp(ledger_ms, latest_ms) } else { now_ms };
        Ok(base_ms.saturating_add(life_ms))
    }

    /// A key of `identity` that its current document allows to act.
    ///
    /// # Errors
    ///
    /// [`WriteError::NoKey`], and what [`Self::current`] returns.
    pub async fn acting_key(
        &self,
        identity: &Identity,
        relationship: u32,
    ) -> Result<SecretKey, WriteError> {
        let document = self.current(&identity.did).await?.document_or_empty();
        let time_ms = self.trusted().time_ms;
        let purpose = if relationship == SUBMIT { "submit transactions" } else { "act for it" };
        identity
            .secret_for(&document, relationship, time_ms)
            .cloned()
            .ok_or_else(|| WriteError::NoKey { did: identity.did.clone(), purpose })
    }

    /// The latest time until which a transaction made now may be ordered: for signatures that are carried from machine
    /// to machine. The ledger takes no more than its window, and the one in force is asked for.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn latest_valid_until_ms(&self) -> Result<u64, ReadError> {
        let window_ms = self.parameters().await?.even_if_stale().valid_until_window_ms;
        // Ledger time may be a little behind the clock; where it is ahead, the clock would take from the time to sign.
        let now_ms = self.options().clock.now_ms().max(self.trusted().time_ms);
        Ok(now_ms.saturating_add(window_ms.saturating_sub(WINDOW_MARGIN_MS.min(window_ms / 4))))
    }

    /// An operation that `submitter` will bring, not signed yet.
    #[must_use]
    pub fn partly(
        &self,
        submitter: &Did,
        operation: OperationDraft,
        valid_until_ms: u64,
    ) -> PartlySigned {
        TransactionBuilder::new(self.genesis_hash(), submitter, valid_until_ms)
            .push(operation, Terms::NAMED)
            .freeze()
    }

    /// Signs as the submitter, brings the transaction, and waits until its receipt is verified.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub async fn bring(
        &self,
        partly: PartlySigned,
        submitter: &Identity,
    ) -> Result<Committed, WriteError> {
        let key = self.acting_key(submitter, SUBMIT).await?;
        let transaction = partly.submit(&key)?;
        self.submit(&transaction, WAIT).await
    }

    /// As [`Client::bring`], for a transaction that was shown and confirmed: a node refuses any other under its id.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub async fn confirm(
        &self,
        partly: PartlySigned,
        submitter: &Identity,
    ) -> Result<Committed, WriteError> {
        let (key, id) = (self.acting_key(submitter, SUBMIT).await?, partly.id());
        let transaction = partly.submit(&key)?;
        self.submit_as(&transaction, id.to_vec(), WAIT).await
    }

    /// An operation about members, signed by the key that it takes: an operator's governance key, or for a join the new
    /// validator key.
    async fn govern(
        &self,
        operation: OperationDraft,
        key: &SecretKey,
        submitter: &Identity,
    ) -> Result<Committed, WriteError> {
        self.current(&submitter.did).await?;
        let until_ms = self.valid_until_ms().await?;
        let mut partly = self.partly(&submitter.did, operation, until_ms);
        partly.sign(0, key)?;
        self.bring(partly, submitter).await
    }

    /// Opens a proposal about members in the name of `operator`, which approves it with that.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub async fn propose(
        &self,
        operator: &Did,
        governance_key: &SecretKey,
        proposal: v1::Proposal,
        submitter: &Identity,
    ) -> Result<Committed, WriteError> {
        self.govern(OperationDraft::propose(operator, proposal), governance_key, submitter).await
    }

    /// Approves a proposal in the name of `operator`.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub async fn approve(
        &self,
        operator: &Did,
        governance_key: &SecretKey,
        proposal_hash: &Hash,
        submitter: &Identity,
    ) -> Result<Committed, WriteError> {
        let operation = OperationDraft::approve(operator, proposal_hash);
        self.govern(operation, governance_key, submitter).await
    }

    /// Names a new validator key for the seat of `operator`.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub async fn rekey(
        &self,
        operator: &Did,
        governance_key: &SecretKey,
        validator_key: &[u8; 32],
        submitter: &Identity,
    ) -> Result<Committed, WriteError> {
        let operation = OperationDraft::rekey(operator, validator_key);
        self.govern(operation, governance_key, submitter).await
    }

    /// Seats an approved validator key of `operator`, over the newest header that was verified.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub async fn join(
        &self,
        operator: &Did,
        validator_key: &SecretKey,
        submitter: &Identity,
    ) -> Result<Committed, WriteError> {
        // Moves the trusted header on, so that it is young.
        self.current(&submitter.did).await?;
        let trusted = self.trusted();
        let operation = OperationDraft::join(
            operator,
            validator_key.public(),
            trusted.height,
            &trusted.header_hash,
        );
        self.govern(operation, validator_key, submitter).await
    }

    async fn draft(
        &self,
        parties: &Parties<'_>,
        operation: OperationDraft,
        terms: Terms,
    ) -> Result<Draft, WriteError> {
        // Also moves the trusted header on, so that the end of the transaction is right.
        self.current(&parties.submitter.did).await?;
        let submitter = &parties.submitter.did;
        let until_ms = self.valid_until_ms().await?;
        let partly = TransactionBuilder::new(self.genesis_hash(), submitter, until_ms)
            .push(operation, terms)
            .freeze();
        Ok(Draft { partly })
    }

    /// The DID's own key signs, and every key that the operation adds.
    fn sign_own(
        &self,
        draft: &mut Draft,
        identity: &Identity,
        current: &ResolvedVersion,
    ) -> Result<(), WriteError> {
        let document = current.document_or_empty();
        let time_ms = self.trusted().time_ms;
        let key =
            identity.secret_for(&document, CAPABILITY_INVOCATION, time_ms).ok_or_else(|| {
                WriteError::NoKey { did: identity.did.clone(), purpose: "change the DID" }
            })?;
        draft.partly.sign(0, key)?;
        draft.partly.sign_added_keys(0, &document, identity)?;
        Ok(())
    }

    async fn send(&self, draft: Draft, parties: &Parties<'_>) -> Result<Committed, WriteError> {
        let key = self.acting_key(parties.submitter, SUBMIT).await?;
        let transaction = draft.partly.submit(&key)?;
        self.submit(&transaction, WAIT).await
    }

    /// Submits a complete transaction and waits until its receipt is verified.
    ///
    /// The very bytes may be sent again, to any node, as often as one likes: they are ordered once.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; after [`WriteError::Pending`] the outcome is open.
    pub async fn submit(
        &self,
        transaction: &v1::Transaction,
        wait: Duration,
    ) -> Result<Committed, WriteError> {
        self.submit_as(transaction, Vec::new(), wait).await
    }

    /// Is it proved that ledger time has passed this?
    async fn is_past(&self, time_ms: u64) -> Result<bool, ReadError> {
        if self.trusted().time_ms <= time_ms {
            // Any read moves the trusted header on.
            match self.state(&[TreeKey::members()]).await {
                Ok(_) | Err(ReadError::Call(CallError::Unreachable { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.trusted().time_ms > time_ms)
    }

    async fn submit_as(
        &self,
        transaction: &v1::Transaction,
        prepared_id: Vec<u8>,
        wait: Duration,
    ) -> Result<Committed, WriteError> {
        let body = transaction.body.clone().unwrap_or_default();
        let id = transaction_id(&self.genesis_hash(), &body);
        let valid_until_ms = body.valid_until_ms;
        let bytes = encode(transaction);
        let deadline = tokio::time::Instant::now() + wait;
        let left = || deadline.saturating_duration_since(tokio::time::Instant::now());
        let wait_ms = |left: Duration| u32::try_from(left.min(WAIT_ONCE).as_millis()).unwrap_or(0);

        let asked = left();
        let request =
            v1::SubmitRequest { transaction: bytes, wait_ms: wait_ms(asked), prepared_id };
        let called = self
            .connection()
            .call(asked.min(WAIT_ONCE), |node| {
                let request = request.clone();
                async move { node.ledger().submit(request).await }
            })
            .await;
        let mut state = match called {
            Ok((state, node)) => self.transaction_state(&id, node, state).await?,
            Err(CallError::Refused { problem, .. }) => return Err(WriteError::Refused { problem }),
            Err(error) => return Err(ReadError::from(error).into()),
        };
        loop {
            match state {
                TransactionState::Committed(committed) => return Ok(*committed),
                TransactionState::Rejected { problem } => {
                    return Err(WriteError::Rejected { id, problem });
                }
                TransactionState::Expired { .. } => {
                    if self.is_past(valid_until_ms).await? {
                        return Err(WriteError::Expired { id });
                    }
                }
                TransactionState::Pending | TransactionState::Unknown => {}
            }
            let left = left();
            if left.is_zero() {
                return Err(WriteError::Pending { id, valid_until_ms });
            }
            // A node that does not wait must not be asked without pause.
            tokio::time::sleep(Duration::from_millis(50).min(left)).await;
            state = match self.transaction(&id, left.min(WAIT_ONCE)).await {
                Ok(state) => state,
                // The transaction was sent: whether it is ordered does not depend on who can be asked.
                Err(ReadError::Call(CallError::Unreachable { .. })) => TransactionState::Unknown,
                Err(error) => return Err(error.into()),
            };
        }
    }
}

fn own_terms(parties: &Parties<'_>) -> Terms {
    if parties.any_submitter { Terms::ANY } else { Terms::NAMED }
}

/// The document of a holder with `new` as its device key; its key-agreement key stays.
fn with_device(current: &ResolvedVersion, new: &IdentityKey) -> v1::DidDocument {
    let mut keys = current.document_or_empty().keys;
    keys.retain(|bound| bound.relationships == sillok_did_method::KEY_AGREEMENT);
    keys.push(new.bound());
    document_of(keys, Vec::new())
}
