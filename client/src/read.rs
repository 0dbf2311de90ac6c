//! Reading: ask a node, verify what it says, move the trusted header on.
//!
//! Every request carries the trusted height as `min_height`, so a client never goes back in time and reads its own
//! writes. The checks are [`crate::verify`]'s; nothing here decides whether an answer is true.

use crate::bucket::Width;
use crate::connection::{CallError, Connection, Node, call_one};
use crate::problem::Problem;
use crate::trust::{Trust, TrustError};
use crate::verify::{
    Answer, Asked, History, MAX_AGE_MS, Policy, Resolution, Stale, Verifier, VerifyError,
};
use sillok_did_method::{Did, format_datetime};
use sillok_ledger::light::{self, Fork, LightError, TrustedHeader};
use sillok_ledger::proof::{VerifiedHeader, VerifiedReceipt, VerifiedState};
use sillok_ledger::{Chain, TreeKey};
use sillok_proto::{Hash, v1};
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often the set may change between a question and its answer before the client gives up.
const CHANGES_MEANWHILE_MAX: usize = 4;

/// Why there is no verified answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No node answered, or it refused.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The node's answer does not hold.
    #[error("{node}: {source}")]
    Verify {
        /// Address of the node.
        node: String,
        /// What does not hold.
        source: Box<VerifyError>,
    },
    /// The DID belongs to another network.
    #[error(transparent)]
    OtherNetwork(Box<VerifyError>),
    /// Two certified headers of one height.
    #[error(
        "height {height} has two certified headers: the network has split or its keys are stolen; trust no answer, and show the operators {}",
        evidence.as_ref().map_or_else(|| "both headers".to_owned(), |path| path.display().to_string())
    )]
    Fork {
        /// The height.
        height: u64,
        /// Where both are kept.
        evidence: Option<PathBuf>,
    },
    /// The node says no and proves nothing.
    #[error("{node} says {problem}, without a proof; ask another node")]
    Unproved {
        /// Address of the node.
        node: String,
        /// What it says.
        problem: Problem,
    },
    /// A number of DIDs to hide among that is out of bounds.
    #[error(
        "{k} is no number of DIDs to be hidden among; give one from {} to {}",
        crate::bucket::K_MIN,
        crate::bucket::K_MAX
    )]
    AmongHowMany {
        /// The number.
        k: u32,
    },
    /// What is proved does not answer the question about a time.
    #[error(transparent)]
    AsOf(Box<VerifyError>),
    /// A height that the client has not verified yet.
    #[error(
        "height {height} is not verified yet, the newest is {trusted}; ask again later, or by what is known now"
    )]
    NotYet {
        /// The height.
        height: u64,
        /// The trusted one.
        trusted: u64,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes; try again")]
    NoRandomness,
    /// The answer is true of a time too long ago.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// What is trusted.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl ReadError {
    pub(crate) fn verify(node: &Node, source: VerifyError) -> Self {
        match source {
            VerifyError::OtherNetwork { .. } => Self::OtherNetwork(Box::new(source)),
            source => Self::Verify { node: node.address().to_owned(), source: Box::new(source) },
        }
    }
}

/// The clock of a client: milliseconds since 1970.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        }))
    }

    /// Any clock.
    pub fn new(now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now_ms))
    }

    /// Now.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        (self.0)()
    }
}

/// How a client reads.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// Age past which an answer is stale, in milliseconds.
    pub max_age_ms: u64,
    /// Lowest height that is an answer; the node waits for it a little.
    pub min_height: u64,
    /// Whose time it is.
    pub clock: Clock,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { max_age_ms: MAX_AGE_MS, min_height: 0, clock: Clock::system() }
    }
}

/// A client of one network.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    trust: Mutex<Trust>,
    /// Of the buckets that it asks for.
    width: Mutex<Option<Width>>,
    options: ReadOptions,
}

/// A verified answer to resolving, with the message it came in, to be kept.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The answer.
    pub answer: Answer<Resolution>,
    /// What the node sent. `None` if the answer was found in the history.
    pub response: Option<v1::ResolveResponse>,
    /// Address of the node.
    pub node: String,
}

impl Client {
    /// A client that starts from `trust`.
    #[must_use]
    pub fn new(connection: Connection, trust: Trust, options: ReadOptions) -> Self {
        Self { connection, trust: Mutex::new(trust), width: Mutex::new(None), options }
    }

    /// A client of the nodes at `addresses` that knows nothing but the genesis and keeps nothing.
    ///
    /// # Errors
    ///
    /// [`ReadError::Call`] for an address; [`ReadError::Trust`] never in practice.
    pub fn in_memory<S: AsRef<str>>(addresses: &[S], chain: Chain) -> Result<Self, ReadError> {
        let connection = Connection::new(addresses)?;
        Ok(Self::new(connection, Trust::in_memory(chain)?, ReadOptions::default()))
    }

    /// The same client with other options.
    #[must_use]
    pub fn with_options(mut self, options: ReadOptions) -> Self {
        self.options = options;
        self
    }

    /// Its nodes.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The network.
    #[must_use]
    pub fn chain(&self) -> Chain {
        self.lock().chain().clone()
    }

    /// Names the network.
    #[must_use]
    pub fn genesis_hash(&self) -> Hash {
        *self.lock().chain().hash()
    }

    /// The trusted header as it is now.
    #[must_use]
    pub fn trusted(&self) -> TrustedHeader {
        self.lock().trusted().clone()
    }

    /// Its options.
    #[must_use]
    pub const fn options(&self) -> &ReadOptions {
        &self.options
    }

    /// Never held across an await.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Trust> {
        self.trust.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never held across an await.
    pub(crate) fn lock_width(&self) -> MutexGuard<'_, Option<Width>> {
        self.width.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn policy(&self) -> Policy {
        Policy {
            now_ms: self.options.clock.now_ms(),
            max_age_ms: self.options.max_age_ms,
            min_height: self.options.min_height,
            past: false,
        }
    }

    /// Resolves `did`. The answer is verified; whether it is fresh it says itself.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn resolve(&self, did: &Did, asked: Asked) -> Result<Resolved, ReadError> {
        let (version_id, version_time) = match asked {
            Asked::Current => (String::new(), String::new()),
            Asked::Version(version) => (version.to_string(), String::new()),
            Asked::Before(time_ms) => (String::new(), format_datetime(time_ms)),
        };
        let text = did.to_string();
        self.check_network(did)?;
        let found = self
            .ask(
                |node, min_height| {
                    let request = v1::ResolveRequest {
                        did: text.clone(),
                        min_height,
                        version_id: version_id.clone(),
                        version_time: version_time.clone(),
                    };
                    async move { node.resolver().resolve(request).await }
                },
                |verifier, response| verifier.resolution(did, asked, response),
            )
            .await;
        match found {
            Err(ReadError::Unproved { node, problem }) => {
                self.resolve_from_history(did, asked, node, problem).await
            }
            found => {
                let (answer, response, node) = found?;
                Ok(Resolved { answer, response: Some(response), node })
            }
        }
    }

    /// A node cannot prove in one answer that a version is missing; the whole history does.
    async fn resolve_from_history(
        &self,
        did: &Did,
        asked: Asked,
        node: String,
        problem: Problem,
    ) -> Result<Resolved, ReadError> {
        if asked == Asked::Current {
            return Err(ReadError::Unproved { node, problem });
        }
        let history = self.history(did).await?;
        let resolution = history
            .even_if_stale()
            .resolve(asked)
            .map_err(|source| ReadError::Verify { node: node.clone(), source: Box::new(source) })?;
        Ok(Resolved { answer: history.map(|_| resolution), response: None, node })
    }

    /// Every version of `did`, complete.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn history(&self, did: &Did) -> Result<Answer<History>, ReadError> {
        let text = did.to_string();
        self.check_network(did)?;
        let (answer, _, _) = self
            .ask(
                |node, min_height| {
                    let request = v1::HistoryRequest { did: text.clone(), min_height };
                    async move { node.resolver().history(request).await }
                },
                |verifier, response| verifier.history(did, response),
            )
            .await?;
        Ok(answer)
    }

    /// What the state holds at these keys: of members, grants, types, lists and figures, none twice, at
    /// most 64.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn state(&self, keys: &[TreeKey]) -> Result<Answer<VerifiedState>, ReadError> {
        let asked: Vec<Vec<u8>> = keys.iter().map(|key| key.to_vec()).collect();
        let (answer, _, _) = self
            .ask(
                |node, min_height| {
                    let request = v1::GetStateRequest { keys: asked.clone(), min_height };
                    async move { node.ledger().get_state(request).await }
                },
                |verifier, proof| verifier.leaves(keys, proof),
            )
            .await?;
        Ok(answer)
    }

    /// Checks a receipt that was kept: also one that validators certified who were replaced since, which a node proves
    /// by the history.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn kept_receipt(
        &self,
        id: &Hash,
        receipt: &v1::Receipt,
    ) -> Result<VerifiedReceipt, ReadError> {
        let header = receipt.signed_header.as_ref().and_then(|signed| signed.header.as_ref());
        let height = header.map_or(0, |header| header.height);
        let mut last = None;
        for node in self.connection.nodes() {
            let claim = v1::Committed {
                height,
                index: receipt.path.as_ref().map_or(0, |path| path.index.try_into().unwrap_or(0)),
                receipt: Some(receipt.clone()),
            };
            match self.committed(id, node, &claim).await {
                Ok(committed) => return Ok(committed.receipt),
                // Another node may have what this one lacks; a proof that does not hold does not get better.
                Err(ReadError::Call(error)) => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.map_or(ReadError::Call(CallError::NoNode), ReadError::Call))
    }

    /// Where a transaction stands. Only [`TransactionState::Committed`] is proved; the others are one node's word.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn transaction(
        &self,
        id: &Hash,
        wait: Duration,
    ) -> Result<TransactionState, ReadError> {
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX).min(60_000);
        let request = v1::GetTransactionRequest { transaction_id: id.to_vec(), wait_ms };
        let (state, node) = self
            .connection
            .call(wait, |node| {
                let request = request.clone();
                async move { node.ledger().get_transaction(request).await }
            })
            .await?;
        self.transaction_state(id, node, state).await
    }

    pub(crate) async fn transaction_state(
        &self,
        id: &Hash,
        node: &Node,
        state: v1::TransactionState,
    ) -> Result<TransactionState, ReadError> {
        use v1::transaction_state::State;
        Ok(match state.state {
            Some(State::Committed(committed)) => {
                let committed = self.committed(id, node, &committed).await?;
                TransactionState::Committed(Box::new(committed))
            }
            Some(State::Pending(_)) => TransactionState::Pending,
            Some(State::Rejected(rejected)) => TransactionState::Rejected {
                problem: Problem::of_message(&rejected.problem.unwrap_or_default()),
            },
            Some(State::Expired(expired)) => {
                TransactionState::Expired { valid_until_ms: expired.valid_until_ms }
            }
            Some(State::Unknown(_) | State::Pruned(_)) | None => TransactionState::Unknown,
        })
    }

    /// Follows the validator sets to the tip of `node`.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn follow(&self, node: &Node) -> Result<TrustedHeader, ReadError> {
        loop {
            let trusted = self.trusted();
            // From just below, so that the answer has at least the header that is trusted already.
            let from_height = trusted.height.saturating_sub(1);
            let request = v1::GetTrustBundleRequest { from_height };
            let mut ledger = node.ledger();
            let bundle = call_one(node, Duration::ZERO, ledger.get_trust_bundle(request)).await?;
            let more = bundle.light_blocks.len() > 1;
            let chain = self.chain();
            let followed = light::follow(
                chain.hash(),
                &trusted,
                &bundle,
                self.options.clock.now_ms(),
                chain.parameters().trusting_period_ms,
            )
            .map_err(|error| self.refuse(node, error.into()))?;
            let height = followed.height;
            if let Some(signed) =
                followed.signed_header.as_ref().filter(|_| height > trusted.height)
            {
                self.check_descent(node, &trusted, signed, height).await?;
            }
            self.lock().advance(followed)?;
            // A long bundle may go on.
            if !more || height <= trusted.height {
                return Ok(self.trusted());
            }
        }
    }

    pub(crate) fn check_network(&self, did: &Did) -> Result<(), ReadError> {
        let trust = self.lock();
        if did.network() == trust.chain().network() {
            return Ok(());
        }
        Err(ReadError::OtherNetwork(Box::new(VerifyError::OtherNetwork {
            found: did.network().to_owned(),
            expected: trust.chain().network().to_owned(),
        })))
    }

    /// Asks a node and checks its answer from the trusted header that stood when the question was put: answers to
    /// questions asked at once may come in any order. If the validator set has changed, follows the changes and asks
    /// once more.
    ///
    /// Another node is asked where one cannot be reached, is behind, or stops after its answer and before it could show
    /// what that rests on (D15); and where an answer is stale, for a node that is cut off from the others gives old
    /// answers until it is back. Where one lies, nobody else is asked: the lie is what there is to say.
    pub(crate) async fn ask<R, T, F: Future<Output = Result<tonic::Response<R>, tonic::Status>>>(
        &self,
        call: impl Fn(Node, u64) -> F,
        check: impl Fn(&Verifier<'_>, &R) -> Result<Answer<T>, VerifyError>,
    ) -> Result<(Answer<T>, R, String), ReadError> {
        let (mut followed, mut gone) = (0, 0);
        let mut passed_over = BTreeSet::new();
        let (mut stale, mut broken_off) = (None, None);
        loop {
            let trusted = self.trusted();
            let min_height = trusted.height.max(self.options.min_height);
            let called = self
                .connection
                .call_others(&passed_over, Duration::ZERO, |node| call(node, min_height))
                .await;
            let (response, place, node) = match (called, stale) {
                (Ok(called), before) => {
                    stale = before;
                    called
                }
                // Nobody has a newer one.
                (Err(_), Some(found)) => return Ok(found),
                (Err(CallError::Unreachable { tried }), None) => {
                    return Err(
                        broken_off.unwrap_or_else(|| CallError::Unreachable { tried }.into())
                    );
                }
                (Err(error), None) => return Err(unproved(error)),
            };
            let error = match self.check(&trusted, |verifier| check(verifier, &response)) {
                Ok(answer) => {
                    let (signed, verified) = (answer.signed_header(), answer.header());
                    match self.extend(node, &trusted, signed, verified).await {
                        Ok(()) => {
                            let is_stale = answer.is_stale();
                            let found = (answer, response, node.address().to_owned());
                            if !is_stale {
                                return Ok(found);
                            }
                            passed_over.insert(place);
                            stale = Some(found);
                            continue;
                        }
                        Err(error) => error,
                    }
                }
                // Once is enough, unless the set changes again meanwhile.
                Err(error) if followed < CHANGES_MEANWHILE_MAX && names_other_set(&error) => {
                    match self.follow(node).await {
                        Ok(_) => {
                            followed += 1;
                            continue;
                        }
                        Err(error) => error,
                    }
                }
                Err(error) => return Err(self.refuse(node, error)),
            };
            if !is_gone(&error) {
                return Err(error);
            }
            broken_off = Some(error);
            gone += 1;
            passed_over.insert(place);
            // Each a second time, for a connection that breaks may be made again.
            let nodes = self.connection.nodes().len();
            if passed_over.len() == nodes && gone <= nodes && stale.is_none() {
                passed_over.clear();
            }
        }
    }

    async fn committed(
        &self,
        id: &Hash,
        node: &Node,
        claim: &v1::Committed,
    ) -> Result<Committed, ReadError> {
        let proof = claim.receipt.clone().unwrap_or_default();
        let check = |verifier: &Verifier<'_>| {
            let receipt = verifier.receipt(id, &proof)?;
            let proved = receipt.header.height();
            if proved != claim.height || receipt.index != claim.index {
                return Err(VerifyError::OtherPlace { height: claim.height, proved });
            }
            Ok(receipt)
        };
        let mut trusted = self.trusted();
        let mut checked = self.check(&trusted, check);
        for _ in 0..CHANGES_MEANWHILE_MAX {
            match &checked {
                Err(VerifyError::Light(LightError::WrongValidatorSet { .. })) => {
                    trusted = self.follow(node).await?;
                    checked = self.check(&trusted, check);
                }
                Err(VerifyError::PastValidators { height }) => {
                    let history = self.history_of(node, &trusted, *height).await?;
                    checked =
                        self.check(&trusted, |verifier| check(&verifier.with_history(&history)));
                }
                _ => break,
            }
        }
        let receipt = checked.map_err(|error| self.refuse(node, error))?;
        if let Some(signed) = &proof.signed_header {
            self.extend(node, &trusted, signed, &receipt.header).await?;
        }
        Ok(Committed { receipt, proof })
    }

    fn check<T>(
        &self,
        trusted: &TrustedHeader,
        check: impl Fn(&Verifier<'_>) -> Result<T, VerifyError>,
    ) -> Result<T, VerifyError> {
        let chain = self.chain();
        check(&Verifier::new(&chain, trusted, self.policy()))
    }

    /// The trusted header moves on to one that was verified from `base`, once that is shown to descend from it: a
    /// certificate alone does not tell two branches of one set apart.
    async fn extend(
        &self,
        node: &Node,
        base: &TrustedHeader,
        signed: &v1::SignedHeader,
        verified: &VerifiedHeader,
    ) -> Result<(), ReadError> {
        if verified.height() <= base.height {
            return Ok(());
        }
        // Another question put at once may have come back sooner, with this header or with another of its height.
        let now = self.trusted();
        if now.height == verified.height() {
            if now.header_hash == verified.hash() {
                return Ok(());
            }
            let fork = Fork {
                height: now.height,
                trusted_hash: now.header_hash,
                other_hash: verified.hash(),
                trusted: now.signed_header,
                other: signed.clone(),
            };
            return Err(self.refuse(node, LightError::Fork(Box::new(fork)).into()));
        }
        self.check_descent(node, base, signed, verified.height()).await?;
        let mut trust = self.lock();
        match trust.after(signed, verified) {
            Some(newer) => Ok(trust.advance(newer)?),
            None => Ok(()),
        }
    }

    /// What a node has to show that the header of `height` is an ancestor of the trusted one.
    ///
    /// # Errors
    ///
    /// [`ReadError::Call`].
    pub async fn history_of(
        &self,
        node: &Node,
        trusted: &TrustedHeader,
        height: u64,
    ) -> Result<v1::HistoryProof, ReadError> {
        let request = v1::GetHistoryProofRequest { height, at_height: trusted.height };
        let mut ledger = node.ledger();
        Ok(call_one(node, Duration::ZERO, ledger.get_history_proof(request)).await?)
    }

    /// The same from the first node that has it.
    ///
    /// # Errors
    ///
    /// [`ReadError::Call`].
    pub async fn history_from_any(&self, height: u64) -> Result<v1::HistoryProof, ReadError> {
        let request = v1::GetHistoryProofRequest { height, at_height: self.trusted().height };
        let (proof, _) =
            self.connection
                .call(Duration::ZERO, |node| async move {
                    node.ledger().get_history_proof(request).await
                })
                .await?;
        Ok(proof)
    }

    async fn check_descent(
        &self,
        node: &Node,
        base: &TrustedHeader,
        signed: &v1::SignedHeader,
        height: u64,
    ) -> Result<(), ReadError> {
        // Genesis is in every history, and the parent hash of the next header was compared already.
        if base.header_hash == Hash::default() || base.height.saturating_add(1) >= height {
            return Ok(());
        }
        let request = v1::GetHistoryProofRequest { height: base.height, at_height: height };
        let mut ledger = node.ledger();
        let proof = call_one(node, Duration::ZERO, ledger.get_history_proof(request)).await?;
        light::check_descent(base, signed, &proof).map_err(|error| self.refuse(node, error.into()))
    }

    /// A fork is kept as evidence before anything else is done.
    fn refuse(&self, node: &Node, error: VerifyError) -> ReadError {
        if let VerifyError::Light(LightError::Fork(fork)) = &error {
            return match self.lock().keep_fork(fork) {
                Ok(evidence) => ReadError::Fork { height: fork.height, evidence },
                Err(error) => error.into(),
            };
        }
        ReadError::verify(node, error)
    }
}

/// Is this only that the node cannot be reached any more? Another may be.
const fn is_gone(error: &ReadError) -> bool {
    matches!(error, ReadError::Call(CallError::Unreachable { .. }))
}

const fn names_other_set(error: &VerifyError) -> bool {
    matches!(error, VerifyError::Light(LightError::WrongValidatorSet { .. }))
}

fn unproved(error: CallError) -> ReadError {
    match error {
        CallError::Refused { node, problem } if problem.code == "NOT_FOUND" => {
            ReadError::Unproved { node, problem }
        }
        error => error.into(),
    }
}

/// A transaction that was ordered.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// Where it stands, proved.
    pub receipt: VerifiedReceipt,
    /// The proof, to be kept.
    pub proof: v1::Receipt,
}

/// Where a transaction stands.
#[derive(Debug, Clone, PartialEq)]
pub enum TransactionState {
    /// It was ordered; proved.
    Committed(Box<Committed>),
    /// The node holds it and it was not ordered yet.
    Pending,
    /// The node refused it; another may still order it until it expires.
    Rejected {
        /// Why.
        problem: Problem,
    },
    /// Ledger time passed its end, the node says.
    Expired {
        /// Its end, in milliseconds.
        valid_until_ms: u64,
    },
    /// The node knows nothing of it.
    Unknown,
}

/// The genesis of the network `genesis_hash`, from any node: the hash vouches for it.
///
/// # Errors
///
/// [`ReadError`].
pub async fn fetch_genesis(
    connection: &Connection,
    genesis_hash: &Hash,
) -> Result<Chain, ReadError> {
    let (answer, node) = connection
        .call(Duration::ZERO, |node| async move {
            node.ledger().get_genesis(v1::GetGenesisRequest {}).await
        })
        .await?;
    let path = PathBuf::from(node.address());
    let chain = Chain::new(answer.genesis.unwrap_or_default())
        .map_err(|source| TrustError::Genesis { path, source })?;
    if chain.hash() == genesis_hash {
        Ok(chain)
    } else {
        Err(TrustError::OtherGenesis { found: *chain.hash(), expected: *genesis_hash }.into())
    }
}
