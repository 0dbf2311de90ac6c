//! Checking what a node answers, or a file that came from one: without I/O, clock, async, tree or storage, so that it runs
//! in any program, also offline.
//!
//! ```text
//!   moment ── status ── authority ── bucket ── (this page: DIDs)   answers of a node, each proved from one header
//!     ├────────┴───────────┴── as_of           what was so at a time, put together from such answers
//!     └────────┴───────────┴── staple ── staple/parts   answers of one height in a file, for who has no network
//! ```
//!
//! Whoever answers proves what it says with a header that the validators certified and a path to it. From one trusted
//! header on everything follows: the header, the head of the DID or its absence, the chain of heads by hash, the document
//! by its hash, and for version 1 the DID itself by its inception. What is old is never *valid*: an answer past its age
//! comes as stale, and its value must be asked for by a name that says so (PROTOCOL §6.3).
//!
//! `ResolveResponse.resolution_json` is never looked at: the view is made here, from what was verified. Signatures,
//! certificates, paths and the rules of rights are the ledger's own (`sillok_ledger::{certificate, proof, light}`), run
//! again. Deliberately absent: fetching, and where a trusted header is kept.

pub mod moment;

pub mod status;

pub mod authority;

pub mod bucket;

pub mod as_of;

pub mod staple;

use serde_json::Value;
use sillok_did_method::{
    Did, Recovery, Resolution as View, document_hash, head_hash, inception, inception_digest,
    resolution_json,
};
use sillok_ledger::certificate::HeaderError;
use sillok_ledger::light::{self, LightError, TrustedHeader};
use sillok_ledger::proof::{self, ProofError, VerifiedHeader, VerifiedReceipt, VerifiedState};
use sillok_ledger::snapshot::SnapshotError;
use sillok_ledger::{Chain, TreeKey, validator_set_hash};
use sillok_proto::{CanonicalError, Hash, decode, v1};

/// Longest head of a DID, in bytes.
const HEAD_BYTES_MAX: usize = 1024;

/// Why an answer is refused: the node is lying or broken, unless the message says otherwise.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The DID belongs elsewhere. The caller's mistake.
    #[error(
        "the did is of network {found}, this is {expected}; use the genesis and the nodes of that network"
    )]
    OtherNetwork {
        /// Network in the DID.
        found: String,
        /// Network trusted.
        expected: String,
    },
    /// No proof at all.
    #[error("the answer carries no proof; ask another node")]
    NoProof,
    /// The header does not follow from the trusted one.
    #[error(transparent)]
    Light(#[from] LightError),
    /// The proof does not hold.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// A header from before the trusted one, certified by a set that is not in force any more. The history proves it.
    #[error(
        "the answer is of height {height}, certified by validators that were replaced since; their signatures say nothing any more, so name a --node that proves it by the history"
    )]
    PastValidators {
        /// Its height.
        height: u64,
    },
    /// Below the height asked for.
    #[error(
        "the answer is of height {height}, below {min_height} that was asked for; ask another node"
    )]
    BelowMinHeight {
        /// Height of the answer.
        height: u64,
        /// Height asked for.
        min_height: u64,
    },
    /// The proved leaf holds something else.
    #[error("the proved leaf is not {what} ({source}); update this program or ask another node")]
    NotALeaf {
        /// What it should be.
        what: &'static str,
        /// What is wrong with it.
        source: CanonicalError,
    },
    /// A leaf that the question reads is not in the answer.
    #[error(
        "leaf {position} of the answer is withheld, and what is not proved is no absence; ask another node"
    )]
    LeafWithheld {
        /// Its place among those that the question reads.
        position: usize,
    },
    /// Another leaf in the place of one that the question reads.
    #[error(
        "leaf {position} of the answer is not the one that the question reads there; ask another node"
    )]
    WrongLeaf {
        /// Its place.
        position: usize,
    },
    /// A leaf that the question does not read.
    #[error("leaf {position} of the answer is none that the question reads; ask another node")]
    LeafUnasked {
        /// Its place.
        position: usize,
    },
    /// The proved leaves do not fit each other, or are of a later version of the ledger.
    #[error("the proved leaves make no sense ({reason}); update this program or ask another node")]
    Contradiction {
        /// What does not fit.
        reason: String,
    },
    /// A part of an answer about the past is missing.
    #[error("the answer lacks {what}; ask another node")]
    PastMissing {
        /// Which.
        what: &'static str,
    },
    /// A part of an answer about the past that was not asked for.
    #[error("the answer brings {what}, which was not asked for; ask another node")]
    PastUnasked {
        /// Which.
        what: &'static str,
    },
    /// The state of another height.
    #[error("the answer is of the state of height {height}, not of {asked}; ask another node")]
    NotTheHeightAsked {
        /// The height in the answer.
        height: u64,
        /// The height asked for.
        asked: u64,
    },
    /// Not the last block up to a time.
    #[error("block {height} is not shown to be the last one up to {time_ms} ms; ask another node")]
    NotInForce {
        /// The block in the answer.
        height: u64,
        /// The time asked for.
        time_ms: u64,
    },
    /// A time that what is known does not reach.
    #[error(
        "{time_ms} ms is later than what is known, which is of {known_ms} ms; ask again later, or name a later known_at"
    )]
    TimeToCome {
        /// The time asked for.
        time_ms: u64,
        /// The ledger time of what is known.
        known_ms: u64,
    },
    /// A part of an answer about a time that is by other knowledge, or of another time, than the rest.
    #[error(
        "a part of the answer is by what was known at height {height} or of another time than the rest; ask again"
    )]
    OtherKnowledge {
        /// The height it is by.
        height: u64,
    },
    /// A piece of a list beyond its end.
    #[error("the list is whole with {chunks} chunks and the answer goes on; ask another node")]
    PieceUnasked {
        /// Chunks of the list.
        chunks: u32,
    },
    /// A piece of a list as of another moment than the first.
    #[error(
        "a piece of the list is of height {height} and the first is of another; ask another node"
    )]
    PieceOfOtherMoment {
        /// Its height.
        height: u64,
    },
    /// The list ends too soon.
    #[error("the list ends after {chunks} chunks and is not whole; ask again, or another node")]
    PiecesMissing {
        /// Chunks that came.
        chunks: u32,
    },
    /// It is proved that there is no such list. No lie.
    #[error("there is no such list; look at its name")]
    NoSuchList,
    /// The list is smaller. No lie.
    #[error("the list has {capacity} entries, and indexes begin at 0; look at the index")]
    NoSuchEntry {
        /// Its entries.
        capacity: u32,
    },
    /// An entry of a chunk that was not asked for. The caller's mistake.
    #[error("the entry is in none of the chunks asked for; ask for its chunk")]
    NotAsked,
    /// The leaves that belong together kept changing between one answer and the next.
    #[error("the members changed while they were read; read them again")]
    Changing,
    /// The proved leaf is no head.
    #[error(
        "the proved leaf is not the head of a did ({source}); update this program or ask another node"
    )]
    NotAHead {
        /// What is wrong with it.
        source: CanonicalError,
    },
    /// A head of another DID.
    #[error("version {version} in the answer is of another did; ask another node")]
    OtherDid {
        /// The version.
        version: u64,
    },
    /// Absence is proved, and yet the answer brings versions or a document.
    #[error("the answer proves that there is no such did and brings one; ask another node")]
    PresentAndAbsent,
    /// A head is proved and not in the answer.
    #[error(
        "the newest version in the answer is not the proved one; it is forged or old, ask another node"
    )]
    NotTheProvedHead,
    /// A version does not name the one before it.
    #[error(
        "version {version} does not follow from the version before it in the answer; one is forged or withheld, ask another node"
    )]
    BrokenChain {
        /// The later version.
        version: u64,
    },
    /// The history does not go back to version 1.
    #[error(
        "the history ends at version {version}, not at 1; entries are withheld, ask another node"
    )]
    Incomplete {
        /// The oldest version in the answer.
        version: u64,
    },
    /// Another version than the one asked for.
    #[error("version {version} is not the one that was asked for; ask another node")]
    NotTheVersionAsked {
        /// The version in the answer.
        version: u64,
    },
    /// The document has another hash than its head names.
    #[error(
        "the document of version {version} is forged: its hash is {actual}, the ledger has {named}; ask another node"
    )]
    ForgedDocument {
        /// The version.
        version: u64,
        /// Hash of the document received.
        actual: Hash,
        /// Hash in the head.
        named: Hash,
    },
    /// The document is not in the answer.
    #[error(
        "the document of version {version} is not in the answer; it was withheld or erased, ask another node or an archive"
    )]
    DocumentMissing {
        /// The version.
        version: u64,
    },
    /// A document where there is none.
    #[error("version {version} has no document and the answer brings one; ask another node")]
    DocumentUnexpected {
        /// The version.
        version: u64,
    },
    /// Version 1 does not hash to the DID.
    #[error("version 1 is not what the did is the hash of; ask another node")]
    OtherInception,
    /// A bucket of another prefix than the one asked for.
    #[error("the bucket is not the one that was asked for; ask another node")]
    BucketElsewhere,
    /// The leaves of a bucket do not make its subtree.
    #[error(
        "the leaves of the bucket do not lead to the certified state: one is left out, added or changed; ask another node"
    )]
    BucketIncomplete,
    /// A leaf of a bucket that holds the head of another DID.
    #[error("leaf {index} of the bucket holds the head of another did; ask another node")]
    BucketLeafExchanged {
        /// Its place.
        index: usize,
    },
    /// Fewer DIDs than the caller wants to hide among, and there are more.
    #[error(
        "the bucket has {dids} dids, fewer than {k}, and was not made wider; ask another node, for this one tries to learn who is looked up"
    )]
    BucketTooSmall {
        /// DIDs in the bucket.
        dids: usize,
        /// Fewest asked for.
        k: usize,
    },
    /// A bucket wider than was asked for, without need.
    #[error("the bucket has {dids} dids where a narrower one has {k}; ask another node")]
    BucketTooWide {
        /// DIDs in the bucket.
        dids: usize,
        /// Fewest asked for.
        k: usize,
    },
    /// A document that no head of the bucket names.
    #[error("a document in the bucket is none that its heads name; it is forged, ask another node")]
    BucketDocument,
    /// The subtree of a bucket.
    #[error(transparent)]
    Bucket(SnapshotError),
    /// A receipt of another transaction.
    #[error("the receipt is for another transaction; ask another node")]
    OtherReceipt,
    /// The place in the answer is not the one in the receipt.
    #[error("the answer says height {height} and the receipt proves {proved}; ask another node")]
    OtherPlace {
        /// Height in the answer.
        height: u64,
        /// Height proved.
        proved: u64,
    },
}

/// Which version is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Asked {
    /// The current one.
    #[default]
    Current,
    /// This one, from 1 on.
    Version(u64),
    /// The newest one before this ledger time, in milliseconds.
    Before(u64),
}

/// What the caller accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The caller's clock, in milliseconds since 1970.
    pub now_ms: u64,
    /// Age past which an answer is stale.
    pub max_age_ms: u64,
    /// Lowest height that is an answer.
    pub min_height: u64,
    /// Take an answer from before the trusted header, as stale, instead of refusing it: for answers kept on disk, never
    /// for a node's.
    pub past: bool,
}

impl Policy {
    /// The default: 60 s, any height, nothing from the past.
    #[must_use]
    pub const fn at(now_ms: u64) -> Self {
        Self { now_ms, max_age_ms: MAX_AGE_MS, min_height: 0, past: false }
    }
}

/// Age past which an answer is stale unless the caller says otherwise (PROTOCOL §6.3).
pub const MAX_AGE_MS: u64 = 60_000;

/// An answer that was verified, and how old it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<T> {
    value: T,
    header: VerifiedHeader,
    signed_header: v1::SignedHeader,
    age_ms: u64,
    max_age_ms: u64,
    superseded: bool,
}

/// A verified answer is too old to be taken for the present.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "STALE: the answer is of height {height}, {age_ms} ms old, more than the {max_age_ms} ms accepted; ask a node that is up to date, or accept it with a longer --max-age"
)]
pub struct Stale {
    /// Height of the answer.
    pub height: u64,
    /// Its age.
    pub age_ms: u64,
    /// The age accepted.
    pub max_age_ms: u64,
}

impl<T> Answer<T> {
    /// The value, if it is young enough to be taken for the present.
    ///
    /// # Errors
    ///
    /// [`Stale`].
    pub fn fresh(&self) -> Result<&T, Stale> {
        if self.is_stale() {
            return Err(Stale {
                height: self.height(),
                age_ms: self.age_ms,
                max_age_ms: self.max_age_ms,
            });
        }
        Ok(&self.value)
    }

    /// The value as it was at [`Self::height`], however long ago: accepting it is the caller's policy.
    #[must_use]
    pub const fn even_if_stale(&self) -> &T {
        &self.value
    }

    /// Is it past the age accepted, or from before what was verified already?
    #[must_use]
    pub const fn is_stale(&self) -> bool {
        self.superseded || self.age_ms > self.max_age_ms
    }

    /// Height it is of.
    #[must_use]
    pub const fn height(&self) -> u64 {
        self.header.height()
    }

    /// Ledger time it is of, in milliseconds.
    #[must_use]
    pub const fn time_ms(&self) -> u64 {
        self.header.time_ms()
    }

    /// How long ago that was by the caller's clock, in milliseconds.
    #[must_use]
    pub const fn age_ms(&self) -> u64 {
        self.age_ms
    }

    /// The age accepted, in milliseconds.
    #[must_use]
    pub const fn max_age_ms(&self) -> u64 {
        self.max_age_ms
    }

    /// The verified header.
    #[must_use]
    pub const fn header(&self) -> &VerifiedHeader {
        &self.header
    }

    /// The header with its certificate.
    #[must_use]
    pub const fn signed_header(&self) -> &v1::SignedHeader {
        &self.signed_header
    }

    /// The same answer about something that follows from it.
    #[must_use]
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Answer<U> {
        let Self { value, header, signed_header, age_ms, max_age_ms, superseded } = self;
        Answer { value: change(value), header, signed_header, age_ms, max_age_ms, superseded }
    }
}

/// What a DID resolved to.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolution {
    /// The DID asked for.
    pub did: Did,
    /// The version asked for; `None`: it is proved that the DID does not exist, or has no such version.
    pub version: Option<ResolvedVersion>,
}

/// A version of a DID.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedVersion {
    /// Its head.
    pub head: v1::Head,
    /// Its document. The deactivation has none; a holder without a device has an empty one.
    pub document: Option<v1::DidDocument>,
    /// The version after it, if there is one.
    pub next_version: Option<u64>,
    /// The current head, proved.
    pub current: v1::Head,
}

impl Resolution {
    /// The DID Resolution result.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let view = self.version.as_ref().map(|version| View {
            head: version.head.clone(),
            document: version.document.clone(),
            next_version: version.next_version,
        });
        resolution_json(&self.did, view.as_ref())
    }

    /// Is the DID deactivated in the version asked for?
    #[must_use]
    pub fn is_deactivated(&self) -> bool {
        self.version.as_ref().is_some_and(|version| version.head.deactivated)
    }
}

impl ResolvedVersion {
    /// The hash of the head: what an operation that builds on this version names.
    #[must_use]
    pub fn head_hash(&self) -> Hash {
        head_hash(&self.head)
    }

    /// The document; that of a deactivated DID is empty.
    #[must_use]
    pub fn document_or_empty(&self) -> v1::DidDocument {
        self.document.clone().unwrap_or_default()
    }
}

/// Every version of a DID.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// The DID asked for.
    pub did: Did,
    /// Newest first, back to version 1. Empty: it is proved that the DID does not exist. Documents may have been erased.
    pub versions: Vec<(v1::Head, Option<v1::DidDocument>)>,
}

impl History {
    /// The version asked for, as resolving it would give it. `None`: it is proved that there is none.
    ///
    /// # Errors
    ///
    /// [`VerifyError::DocumentMissing`] if the version is there without its document.
    pub fn resolve(&self, asked: Asked) -> Result<Resolution, VerifyError> {
        let did = self.did.clone();
        let none = Resolution { did: did.clone(), version: None };
        let Some((current, _)) = self.versions.first() else { return Ok(none) };
        let place = self.versions.iter().position(|(head, _)| match asked {
            Asked::Current => true,
            Asked::Version(version) => head.version == version,
            Asked::Before(time_ms) => head.time_ms < time_ms,
        });
        let Some(place) = place else { return Ok(none) };
        let Some((head, document)) = self.versions.get(place) else { return Ok(none) };
        let next = place.checked_sub(1).and_then(|place| self.versions.get(place));
        if document.is_none() && needs_document(head) {
            return Err(VerifyError::DocumentMissing { version: head.version });
        }
        let version = ResolvedVersion {
            head: head.clone(),
            document: document.clone(),
            next_version: next.map(|(head, _)| head.version),
            current: current.clone(),
        };
        Ok(Resolution { did, version: Some(version) })
    }
}

/// What a verifier knows of a network. The genesis says it, or a checkpoint that somebody vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its name, as in its DIDs.
    pub name: String,
    /// Names it to its validators.
    pub genesis_hash: Hash,
    /// How long a trusted header may be built on.
    pub trusting_period_ms: u64,
}

impl From<&Chain> for Network {
    fn from(chain: &Chain) -> Self {
        Self {
            name: chain.network().to_owned(),
            genesis_hash: *chain.hash(),
            trusting_period_ms: chain.parameters().trusting_period_ms,
        }
    }
}

/// Checks answers about one network, from one trusted header, for one caller.
#[derive(Debug, Clone, Copy)]
pub struct Verifier<'a> {
    network: &'a str,
    genesis_hash: Hash,
    trusting_period_ms: u64,
    /// Where trust starts.
    pub trusted: &'a TrustedHeader,
    /// What the caller accepts.
    pub policy: Policy,
    /// That the header of an answer is an ancestor of the trusted one: for what a replaced set certified.
    pub history: Option<&'a v1::HistoryProof>,
}

impl<'a> Verifier<'a> {
    /// Checks answers from `trusted` on.
    #[must_use]
    pub fn new(chain: &'a Chain, trusted: &'a TrustedHeader, policy: Policy) -> Self {
        Self {
            network: chain.network(),
            genesis_hash: *chain.hash(),
            trusting_period_ms: chain.parameters().trusting_period_ms,
            trusted,
            policy,
            history: None,
        }
    }

    /// The same for who does not have the genesis itself.
    #[must_use]
    pub fn of(network: &'a Network, trusted: &'a TrustedHeader, policy: Policy) -> Self {
        let Network { name, genesis_hash, trusting_period_ms } = network;
        Self {
            network: name,
            genesis_hash: *genesis_hash,
            trusting_period_ms: *trusting_period_ms,
            trusted,
            policy,
            history: None,
        }
    }

    /// The same with a proof that the header of the answer is an ancestor of the trusted one.
    #[must_use]
    pub const fn with_history(self, history: &'a v1::HistoryProof) -> Self {
        Self { history: Some(history), ..self }
    }

    /// Checks what the state holds at `keys`, all of which the proof must cover.
    ///
    /// # Errors
    ///
    /// [`VerifyError`]: the first thing that does not hold.
    pub fn leaves(
        &self,
        keys: &[TreeKey],
        proof: &v1::StateProof,
    ) -> Result<Answer<VerifiedState>, VerifyError> {
        let (state, answer) = self.proved(Some(proof))?;
        for key in keys {
            state.value(key)?;
        }
        Ok(answer.map(|()| state))
    }

    /// Checks the answer to resolving `did`.
    ///
    /// # Errors
    ///
    /// [`VerifyError`]: the first thing that does not hold.
    pub fn resolution(
        &self,
        did: &Did,
        asked: Asked,
        answer: &v1::ResolveResponse,
    ) -> Result<Answer<Resolution>, VerifyError> {
        let (proved, verified) = self.proved_head(did, answer.proof.as_ref())?;
        let Some(current) = proved else {
            if !answer.heads.is_empty() || answer.document.is_some() {
                return Err(VerifyError::PresentAndAbsent);
            }
            return Ok(verified.map(|()| Resolution { did: did.clone(), version: None }));
        };
        if answer.heads.last() != Some(&current) {
            return Err(VerifyError::NotTheProvedHead);
        }
        for pair in answer.heads.windows(2) {
            check_link(did, &pair[0], &pair[1])?;
        }
        let Some(head) = answer.heads.first() else { return Err(VerifyError::NotTheProvedHead) };
        let next = answer.heads.get(1);
        let as_asked = match asked {
            Asked::Current => next.is_none(),
            Asked::Version(version) => head.version == version,
            Asked::Before(time_ms) => {
                head.time_ms < time_ms && next.is_none_or(|next| next.time_ms >= time_ms)
            }
        };
        if !as_asked {
            return Err(VerifyError::NotTheVersionAsked { version: head.version });
        }
        check_version(did, head, answer.document.as_ref())?;
        if answer.document.is_none() && needs_document(head) {
            return Err(VerifyError::DocumentMissing { version: head.version });
        }
        let version = ResolvedVersion {
            document: document_of(head, answer.document.as_ref()),
            head: head.clone(),
            next_version: next.map(|next| next.version),
            current,
        };
        Ok(verified.map(|()| Resolution { did: did.clone(), version: Some(version) }))
    }

    /// Checks the answer to asking for every version of `did`.
    ///
    /// # Errors
    ///
    /// [`VerifyError`]: the first thing that does not hold.
    pub fn history(
        &self,
        did: &Did,
        answer: &v1::HistoryResponse,
    ) -> Result<Answer<History>, VerifyError> {
        let (proved, verified) = self.proved_head(did, answer.proof.as_ref())?;
        let mut versions = Vec::with_capacity(answer.versions.len());
        match proved {
            None if answer.versions.is_empty() => {}
            None => return Err(VerifyError::PresentAndAbsent),
            Some(current) => {
                let mut later: Option<&v1::Head> = None;
                for version in &answer.versions {
                    let head = version.head.as_ref().ok_or(VerifyError::NotTheProvedHead)?;
                    match later {
                        None if *head != current => return Err(VerifyError::NotTheProvedHead),
                        None => {}
                        Some(later) => check_link(did, head, later)?,
                    }
                    later = Some(head);
                    check_version(did, head, version.document.as_ref())?;
                    versions.push((head.clone(), document_of(head, version.document.as_ref())));
                }
                match later {
                    None => return Err(VerifyError::NotTheProvedHead),
                    Some(oldest) if oldest.version != 1 => {
                        return Err(VerifyError::Incomplete { version: oldest.version });
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(verified.map(|()| History { did: did.clone(), versions }))
    }

    /// Checks that transaction `id` was ordered. A receipt does not age: inclusion is success for good.
    ///
    /// # Errors
    ///
    /// [`VerifyError`].
    pub fn receipt(
        &self,
        id: &Hash,
        receipt: &v1::Receipt,
    ) -> Result<VerifiedReceipt, VerifyError> {
        let signed = receipt.signed_header.as_ref().ok_or(VerifyError::NoProof)?;
        let header = signed.header.as_ref().ok_or(LightError::Header(HeaderError::Missing))?;
        let header = if header.height >= self.trusted.height {
            self.verify_header(signed)?
        } else {
            self.past_header(signed, header)?
        };
        let verified = proof::verify_receipt_in(header, receipt)?;
        if verified.transaction_id != *id {
            return Err(VerifyError::OtherReceipt);
        }
        Ok(verified)
    }

    fn verify_header(&self, signed: &v1::SignedHeader) -> Result<VerifiedHeader, LightError> {
        light::verify_header(
            &self.genesis_hash,
            self.trusted,
            signed,
            self.policy.now_ms,
            self.trusting_period_ms,
        )
    }

    /// A header from before the trusted one: certified by the set that is in force, or in the history of the trusted
    /// one. A set passed by is never used again: its keys may have been sold with old disks.
    fn past_header(
        &self,
        signed: &v1::SignedHeader,
        header: &v1::Header,
    ) -> Result<VerifiedHeader, VerifyError> {
        if let Some(history) = self.history {
            return Ok(light::verify_past(self.trusted, header, history)?);
        }
        let set = &self.trusted.next_validators;
        if validator_set_hash(set).0.as_slice() != header.validator_set_hash {
            return Err(VerifyError::PastValidators { height: header.height });
        }
        // The certificate alone: that nothing is asked of the state.
        let proof = v1::StateProof { signed_header: Some(signed.clone()), entries: Vec::new() };
        let state = proof::verify_state_proof(&self.genesis_hash, &proof, set)?;
        Ok(state.header().clone())
    }

    /// What the proof shows of the state, and whether it is from before the trusted header.
    fn state(&self, proof: &v1::StateProof) -> Result<(VerifiedState, bool), VerifyError> {
        let signed = proof.signed_header.as_ref().ok_or(VerifyError::NoProof)?;
        let header = signed.header.as_ref().ok_or(LightError::Header(HeaderError::Missing))?;
        if self.policy.past && header.height < self.trusted.height {
            let verified = self.past_header(signed, header)?;
            return Ok((proof::verify_entries(verified, &proof.entries)?, true));
        }
        let verified = self.verify_header(signed)?;
        Ok((proof::verify_entries(verified, &proof.entries)?, false))
    }

    /// What the proof shows of the state, and how old that is.
    fn proved(
        &self,
        proof: Option<&v1::StateProof>,
    ) -> Result<(VerifiedState, Answer<()>), VerifyError> {
        let proof = proof.ok_or(VerifyError::NoProof)?;
        let (state, superseded) = self.state(proof)?;
        let header = state.header().clone();
        if header.height() < self.policy.min_height {
            return Err(VerifyError::BelowMinHeight {
                height: header.height(),
                min_height: self.policy.min_height,
            });
        }
        let answer = Answer {
            value: (),
            age_ms: self.policy.now_ms.saturating_sub(header.time_ms()),
            max_age_ms: self.policy.max_age_ms,
            header,
            signed_header: proof.signed_header.clone().unwrap_or_default(),
            superseded,
        };
        Ok((state, answer))
    }

    fn proved_head(
        &self,
        did: &Did,
        proof: Option<&v1::StateProof>,
    ) -> Result<(Option<v1::Head>, Answer<()>), VerifyError> {
        if did.network() != self.network {
            return Err(VerifyError::OtherNetwork {
                found: did.network().to_owned(),
                expected: self.network.to_owned(),
            });
        }
        let (state, answer) = self.proved(proof)?;
        let head = match state.value(&TreeKey::did_head(&did.digest()))? {
            None => None,
            Some(bytes) => {
                let head: v1::Head = decode(bytes, HEAD_BYTES_MAX)
                    .map_err(|source| VerifyError::NotAHead { source })?;
                if head.did != did.digest().0 {
                    return Err(VerifyError::OtherDid { version: head.version });
                }
                Some(head)
            }
        };
        Ok((head, answer))
    }
}

/// `earlier` is the version right before `later`.
fn check_link(did: &Did, earlier: &v1::Head, later: &v1::Head) -> Result<(), VerifyError> {
    if earlier.did != did.digest().0 {
        return Err(VerifyError::OtherDid { version: earlier.version });
    }
    let follows = later.previous == head_hash(earlier).0
        && earlier.version.checked_add(1) == Some(later.version);
    if follows { Ok(()) } else { Err(VerifyError::BrokenChain { version: later.version }) }
}

/// Whether a version is whole only with its document.
fn needs_document(head: &v1::Head) -> bool {
    !head.document_hash.is_empty()
        && head.document_hash != document_hash(&v1::DidDocument::default()).0
}

/// The document of a version, the empty one included, which need not be sent.
fn document_of(head: &v1::Head, sent: Option<&v1::DidDocument>) -> Option<v1::DidDocument> {
    if head.document_hash.is_empty() {
        None
    } else if needs_document(head) {
        sent.cloned()
    } else {
        Some(v1::DidDocument::default())
    }
}

/// The document of a version by its hash, and for version 1 the DID by its inception.
fn check_version(
    did: &Did,
    head: &v1::Head,
    document: Option<&v1::DidDocument>,
) -> Result<(), VerifyError> {
    let version = head.version;
    let Some(document) = document else { return Ok(()) };
    let actual = document_hash(document);
    if head.document_hash.is_empty() {
        // An empty message in the place of none says the same.
        let empty = *document == v1::DidDocument::default();
        return if empty { Ok(()) } else { Err(VerifyError::DocumentUnexpected { version }) };
    }
    if head.document_hash != actual.0 {
        let named = Hash::from_slice(&head.document_hash).unwrap_or_default();
        return Err(VerifyError::ForgedDocument { version, actual, named });
    }
    if version == 1 {
        let recovery = Recovery::read(head.recovery.as_ref());
        let authority = Hash::from_slice(&head.authority);
        let digest = recovery.map(|rule| {
            inception_digest(&inception(head.kind(), document, authority.as_ref(), &rule))
        });
        if digest != Ok(did.digest()) {
            return Err(VerifyError::OtherInception);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sillok_did_method::SUBMIT;

    /// A document with one key; nobody needs its secret here.
    fn document(point: u8) -> v1::DidDocument {
        let key =
            v1::PublicKey { algorithm: v1::Algorithm::Ed25519.into(), point: vec![point; 32] };
        let bound = v1::BoundKey { key: Some(key), relationships: SUBMIT, ..Default::default() };
        v1::DidDocument { keys: vec![bound], ..v1::DidDocument::default() }
    }

    fn did(document: &v1::DidDocument) -> Did {
        let kind = v1::Kind::Organization;
        let digest = inception_digest(&inception(kind, document, None, &Recovery::None));
        Did::new("test", digest).unwrap()
    }

    #[test]
    fn version_1_is_what_the_did_is_the_hash_of() {
        let (document, other) = (document(1), document(2));
        let (of, other) = (did(&document), did(&other));
        let head = v1::Head {
            did: of.digest().to_vec(),
            kind: v1::Kind::Organization.into(),
            version: 1,
            document_hash: document_hash(&document).to_vec(),
            ..v1::Head::default()
        };
        assert_eq!(check_version(&of, &head, Some(&document)), Ok(()));
        // A certified head of a DID that its keys do not make: only validators could forge it, and it still fails.
        let forged = v1::Head { did: other.digest().to_vec(), ..head.clone() };
        let verdict = check_version(&other, &forged, Some(&document));
        assert_eq!(verdict, Err(VerifyError::OtherInception));
        let assisted = Some(v1::RecoveryRule { countersigner: vec![7; 32] });
        let forged = v1::Head { recovery: assisted, ..head };
        let verdict = check_version(&of, &forged, Some(&document));
        assert_eq!(verdict, Err(VerifyError::OtherInception));
    }

    #[test]
    fn the_deactivation_has_no_document() {
        let document = document(1);
        let of = did(&document);
        let head = v1::Head { version: 2, deactivated: true, ..v1::Head::default() };
        assert_eq!(check_version(&of, &head, None), Ok(()));
        let verdict = check_version(&of, &head, Some(&document));
        assert_eq!(verdict, Err(VerifyError::DocumentUnexpected { version: 2 }));
    }
}
