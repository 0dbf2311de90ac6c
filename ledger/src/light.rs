//! Following the validator sets from one trusted header to the latest, from one node that nobody trusts (PROTOCOL §6.2).
//!
//! A client holds one [`TrustedHeader`]: genesis, a checkpoint had out of band, or the last header it verified. A trust
//! bundle extends it: the light blocks at which the set changed, and a last one. Between two changes one set signs every
//! header, so nothing between needs fetching.
//!
//! What can go wrong, and what stops it:
//!
//! | a lying node | is stopped by |
//! |---|---|
//! | signs with a set of its own, or too few signatures | the set in force is known by hash; quorum |
//! | leaves out a change, to use a set that was replaced | the next header names a set that is not in force |
//! | shows a past that a retired set signed with sold keys | the trusting period; a set passed by is never used again |
//! | shows an older header as the latest | [`LightError::Rollback`], and freshness (the caller's policy) |
//! | dates headers ahead, so that trust in them never ends | [`LightError::FromTheFuture`] |
//! | shows another branch | [`LightError::Fork`], which keeps both headers as evidence |
//!
//! What remains: more than two thirds of a set in force, or retired for less than the trusting period, acting together.
//! Deliberately absent: the clock (handed in), storage, and fetching.

use crate::certificate::{self, CertificateError, HeaderError, ValidatorSetError};
use crate::proof::{self, ProofError, VerifiedHeader};
use sillok_proto::{Hash, v1};

/// How far a header's time may be ahead of the client's clock, and a trusted header's too: ordinary clocks differ.
pub const CLOCK_DRIFT_MS: u64 = 10_000;

/// Where a client starts: a header it trusts, and the set that certifies the next one.
#[derive(Debug, Clone, PartialEq)]
pub struct TrustedHeader {
    /// The network.
    pub genesis_hash: Hash,
    /// The height; 0 for genesis.
    pub height: u64,
    /// The hash of the header; zero for genesis, whose header only who holds the whole genesis state can compute.
    pub header_hash: Hash,
    /// Its ledger time.
    pub time_ms: u64,
    /// set(height + 1).
    pub next_validators: v1::ValidatorSet,
    /// The header with what certified it, where it is at hand: the first half of the evidence of a fork.
    pub signed_header: Option<v1::SignedHeader>,
    /// set(height), where it is at hand.
    pub validators: Option<v1::ValidatorSet>,
}

/// Two headers that cannot both be. Keep it: it shows who signed both.
#[derive(Debug, Clone, PartialEq)]
pub struct Fork {
    /// The height at which the branches differ.
    pub height: u64,
    /// Hash of the header trusted there.
    pub trusted_hash: Hash,
    /// Hash of the other header there.
    pub other_hash: Hash,
    /// The trusted header with its certificate, where it is at hand.
    pub trusted: Option<v1::SignedHeader>,
    /// The certified header of the other branch: the one at that height, or a later one that descends from it.
    pub other: v1::SignedHeader,
}

/// Why a trusted header is not extended.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LightError {
    /// The trusted header is of another network.
    #[error(
        "the trusted header belongs to network {trusted}, not to {asked}; use the genesis or a checkpoint of this network"
    )]
    WrongNetwork {
        /// Network of the trusted header.
        trusted: Hash,
        /// Network asked about.
        asked: Hash,
    },
    /// The trusted header is older than the trusting period.
    #[error(
        "the trusted header is {age_ms} ms old, trust in it ended after {trusting_period_ms} ms; get a checkpoint from someone you trust"
    )]
    Expired {
        /// Its age.
        age_ms: u64,
        /// The trusting period of the network.
        trusting_period_ms: u64,
    },
    /// The clock is behind the trusted header, so its age cannot be told.
    #[error("the trusted header is {ahead_ms} ms ahead of this machine's clock; set the clock")]
    ClockBehind {
        /// By how much.
        ahead_ms: u64,
    },
    /// No light block.
    #[error("the trust bundle is empty; ask another node")]
    Empty,
    /// A light block without a header.
    #[error("light block {index} has no header; ask another node")]
    NoHeader {
        /// Position in the bundle.
        index: usize,
    },
    /// Light blocks out of order, or a height twice.
    #[error("light block {index} does not follow the one before it; ask another node")]
    Order {
        /// Position in the bundle.
        index: usize,
    },
    /// A light block before the last one at which the set does not change.
    #[error("light block {index} changes nothing and is not the last; ask another node")]
    NotAChange {
        /// Position in the bundle.
        index: usize,
    },
    /// What was offered ends before the trusted header.
    #[error(
        "the node offers height {offered}, but height {trusted} was seen; it is behind or lying, ask another node"
    )]
    Rollback {
        /// Height trusted.
        trusted: u64,
        /// Height offered.
        offered: u64,
    },
    /// The header names another set than the one in force after the trusted header.
    #[error(
        "the header of height {height} names validator set {found}, but {expected} is in force; fetch the trust bundle from another node"
    )]
    WrongValidatorSet {
        /// Height of the header.
        height: u64,
        /// Set hash in the header.
        found: Hash,
        /// Hash of the set in force.
        expected: Hash,
    },
    /// The header is not certified.
    #[error("height {height}: {source}")]
    Certificate {
        /// Height of the header.
        height: u64,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// The set of the next height is missing, malformed, or not the one the header names.
    #[error(
        "the set that follows height {height} is missing or not the one its header names; ask another node"
    )]
    NextValidators {
        /// Height of the header.
        height: u64,
    },
    /// Ledger time does not advance.
    #[error(
        "the header of height {height} has time {time_ms}, not later than {previous_ms}; ask another node"
    )]
    TimeNotLater {
        /// Height of the header.
        height: u64,
        /// Its time.
        time_ms: u64,
        /// Time of the header before it.
        previous_ms: u64,
    },
    /// The header's time is ahead of the clock.
    #[error(
        "the header of height {height} is {ahead_ms} ms ahead of this machine's clock; set the clock, or ask another node"
    )]
    FromTheFuture {
        /// Height of the header.
        height: u64,
        /// By how much.
        ahead_ms: u64,
    },
    /// Two certified headers at one height.
    #[error("height {} has two certified headers, {} and {}; stop, keep both, and tell the operators", .0.height, .0.trusted_hash, .0.other_hash)]
    Fork(Box<Fork>),
    /// A checkpoint whose header is another than its hash says.
    #[error(
        "the header offered for the checkpoint hashes to {found}, not to {expected}; ask another node"
    )]
    WrongCheckpoint {
        /// Hash of the header offered.
        found: Hash,
        /// Hash of the checkpoint.
        expected: Hash,
    },
    /// A checkpoint's header itself.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A first set that is none.
    #[error(transparent)]
    ValidatorSet(#[from] ValidatorSetError),
    /// A history proof that ends elsewhere.
    #[error(
        "the history proof does not end at the trusted header of height {height}; ask another node"
    )]
    NotTheTrustedHeader {
        /// Height of the trusted header.
        height: u64,
    },
    /// A header of another branch.
    #[error(
        "the header of height {height} is not in the history of the trusted one; it was made up, or by keys that were retired"
    )]
    NotAnAncestor {
        /// Its height.
        height: u64,
    },
    /// The path that should show the way from the trusted header to a newer one.
    #[error(transparent)]
    Ancestry(#[from] ProofError),
}

impl TrustedHeader {
    /// Genesis as the checkpoint at height 0: its time, and set(1).
    ///
    /// # Errors
    ///
    /// [`LightError::ValidatorSet`].
    pub fn genesis(
        genesis_hash: Hash,
        time_ms: u64,
        validators: v1::ValidatorSet,
    ) -> Result<Self, LightError> {
        certificate::check_validator_set(&validators)?;
        Ok(Self {
            genesis_hash,
            height: 0,
            header_hash: Hash::default(),
            time_ms,
            next_validators: validators,
            signed_header: None,
            validators: None,
        })
    }

    /// A checkpoint: a header hash had out of band (or stored earlier), and a light block from anywhere that it names.
    /// The hash alone vouches for the light block, so no signature is needed.
    ///
    /// # Errors
    ///
    /// [`LightError`]: the light block is not the one of that hash, or not of this network.
    pub fn checkpoint(
        genesis_hash: Hash,
        header_hash: Hash,
        light_block: &v1::LightBlock,
    ) -> Result<Self, LightError> {
        let signed = light_block.signed_header.as_ref();
        let header =
            signed.and_then(|signed| signed.header.as_ref()).ok_or(HeaderError::Missing)?;
        certificate::check_header(&genesis_hash, header)?;
        let found = certificate::header_hash(header);
        if found != header_hash {
            return Err(LightError::WrongCheckpoint { found, expected: header_hash });
        }
        Ok(Self {
            genesis_hash,
            height: header.height,
            header_hash,
            time_ms: header.time_ms,
            next_validators: next_validators(header, light_block.next_validators.as_ref())?.clone(),
            // Its certificate was not looked at, so it is no evidence.
            signed_header: None,
            validators: None,
        })
    }

    /// The header itself, where it is at hand: what its parts are proved against.
    #[must_use]
    pub fn verified(&self) -> Option<VerifiedHeader> {
        let header = VerifiedHeader::new(self.signed_header.as_ref()?.header.as_ref()?);
        (header.hash() == self.header_hash).then_some(header)
    }

    /// Whether this header may still be built on at `now_ms`.
    fn check_age(
        &self,
        genesis_hash: &Hash,
        now_ms: u64,
        trusting_period_ms: u64,
    ) -> Result<(), LightError> {
        if self.genesis_hash != *genesis_hash {
            return Err(LightError::WrongNetwork {
                trusted: self.genesis_hash,
                asked: *genesis_hash,
            });
        }
        let ahead_ms = self.time_ms.saturating_sub(now_ms);
        if ahead_ms > CLOCK_DRIFT_MS {
            return Err(LightError::ClockBehind { ahead_ms });
        }
        let age_ms = now_ms.saturating_sub(self.time_ms);
        if age_ms > trusting_period_ms {
            return Err(LightError::Expired { age_ms, trusting_period_ms });
        }
        Ok(())
    }

    /// The set that should have certified a header of this very height, if that can be told.
    fn own_validators(&self) -> Option<&v1::ValidatorSet> {
        self.validators.as_ref().or_else(|| {
            let header = self.signed_header.as_ref()?.header.as_ref()?;
            let unchanged = header.validator_set_hash == header.next_validator_set_hash;
            unchanged.then_some(&self.next_validators)
        })
    }

    /// What a header of this very height means: nothing new, a fork, or a lie.
    fn check_same_height(&self, other: &v1::SignedHeader) -> Result<(), LightError> {
        let height = self.height;
        let Some(header) = &other.header else { return Err(HeaderError::Missing.into()) };
        let other_hash = certificate::header_hash(header);
        if other_hash == self.header_hash {
            return Ok(());
        }
        // Only a certified header is evidence; without set(height) the one in force next must do.
        let set = self.own_validators().unwrap_or(&self.next_validators);
        certificate::verify_signed_header(&self.genesis_hash, Some(other), set)
            .map_err(|source| LightError::Certificate { height, source })?;
        Err(self.fork(other_hash, other))
    }

    /// Checks a header of a later height: certified by the set in force, later in time, not from another branch.
    fn check_later(&self, signed: &v1::SignedHeader, now_ms: u64) -> Result<(), LightError> {
        let height = signed.header.as_ref().map(|header| header.height).unwrap_or_default();
        let header = certificate::verify_signed_header(
            &self.genesis_hash,
            Some(signed),
            &self.next_validators,
        )
        .map_err(|source| match source {
            CertificateError::WrongValidatorSet { found, expected } => {
                LightError::WrongValidatorSet { height, found, expected }
            }
            source => LightError::Certificate { height, source },
        })?;
        if header.time_ms <= self.time_ms {
            return Err(LightError::TimeNotLater {
                height,
                time_ms: header.time_ms,
                previous_ms: self.time_ms,
            });
        }
        let ahead_ms = header.time_ms.saturating_sub(now_ms);
        if ahead_ms > CLOCK_DRIFT_MS {
            return Err(LightError::FromTheFuture { height, ahead_ms });
        }
        let parent = Hash::from_slice(&header.parent_hash).unwrap_or_default();
        if self.height.checked_add(1) == Some(height)
            && self.header_hash != Hash::default()
            && parent != self.header_hash
        {
            return Err(self.fork(parent, signed));
        }
        Ok(())
    }

    fn fork(&self, other_hash: Hash, other: &v1::SignedHeader) -> LightError {
        LightError::Fork(Box::new(Fork {
            height: self.height,
            trusted_hash: self.header_hash,
            other_hash,
            trusted: self.signed_header.clone(),
            other: other.clone(),
        }))
    }
}

/// Extends `trusted` by a trust bundle: its last header, when everything up to it holds.
///
/// Light blocks below the trusted height say nothing that is not known and are passed over, so that one bundle serves
/// clients of different heights.
///
/// # Errors
///
/// [`LightError`], one variant for each rule. On any error keep the trusted header as it is.
pub fn follow(
    genesis_hash: &Hash,
    trusted: &TrustedHeader,
    bundle: &v1::TrustBundle,
    now_ms: u64,
    trusting_period_ms: u64,
) -> Result<TrustedHeader, LightError> {
    trusted.check_age(genesis_hash, now_ms, trusting_period_ms)?;
    let mut current = trusted.clone();
    let mut previous: Option<u64> = None;
    let mut light_blocks = bundle.light_blocks.iter().enumerate().peekable();
    while let Some((index, light_block)) = light_blocks.next() {
        let Some((signed, header)) = light_block
            .signed_header
            .as_ref()
            .and_then(|signed| signed.header.as_ref().map(|header| (signed, header)))
        else {
            return Err(LightError::NoHeader { index });
        };
        if previous.is_some_and(|previous| previous >= header.height) {
            return Err(LightError::Order { index });
        }
        previous = Some(header.height);
        if header.height < trusted.height {
            continue;
        }
        if header.height == trusted.height {
            current.check_same_height(signed)?;
            continue;
        }
        current.check_later(signed, now_ms)?;
        let next = next_validators(header, light_block.next_validators.as_ref())?;
        if header.next_validator_set_hash == header.validator_set_hash
            && light_blocks.peek().is_some()
        {
            return Err(LightError::NotAChange { index });
        }
        current = TrustedHeader {
            genesis_hash: *genesis_hash,
            height: header.height,
            header_hash: certificate::header_hash(header),
            time_ms: header.time_ms,
            next_validators: next.clone(),
            signed_header: Some(signed.clone()),
            validators: Some(current.next_validators),
        };
    }
    match previous {
        None => Err(LightError::Empty),
        Some(offered) if offered < trusted.height => {
            Err(LightError::Rollback { trusted: trusted.height, offered })
        }
        Some(_) => Ok(current),
    }
}

/// Checks a header under the set that follows `trusted`: the same header again, or a later one while the set has not
/// changed. It extends trust to a header as [`follow`] does, so the trusting period holds here too.
///
/// # Errors
///
/// [`LightError`], one variant for each rule; [`LightError::WrongValidatorSet`] asks for a trust bundle.
pub fn verify_header(
    genesis_hash: &Hash,
    trusted: &TrustedHeader,
    signed: &v1::SignedHeader,
    now_ms: u64,
    trusting_period_ms: u64,
) -> Result<VerifiedHeader, LightError> {
    trusted.check_age(genesis_hash, now_ms, trusting_period_ms)?;
    let header = signed.header.as_ref().ok_or(HeaderError::Missing)?;
    if header.height < trusted.height {
        return Err(LightError::Rollback { trusted: trusted.height, offered: header.height });
    }
    if header.height == trusted.height {
        trusted.check_same_height(signed)?;
    } else {
        trusted.check_later(signed, now_ms)?;
    }
    Ok(VerifiedHeader::new(header))
}

/// Checks that `newer`, which was verified from `trusted`, descends from it: `proof` leads from the header at the trusted
/// height to the history root of `newer`. [`follow`] rests on signatures alone; this also finds two branches that one set
/// signed.
///
/// # Errors
///
/// [`LightError::Fork`] if `newer` descends from another header at the trusted height; [`LightError::Ancestry`] if the
/// proof does not hold.
pub fn check_descent(
    trusted: &TrustedHeader,
    newer: &v1::SignedHeader,
    proof: &v1::HistoryProof,
) -> Result<(), LightError> {
    let header = newer.header.as_ref().ok_or(HeaderError::Missing)?;
    let ancestor =
        proof::verify_ancestor(&trusted.genesis_hash, &VerifiedHeader::new(header), proof)?;
    if ancestor.height() != trusted.height {
        return Err(ProofError::WrongHistoryIndex {
            index: ancestor.height(),
            height: trusted.height,
        }
        .into());
    }
    if trusted.header_hash != Hash::default() && ancestor.hash() != trusted.header_hash {
        return Err(trusted.fork(ancestor.hash(), newer));
    }
    Ok(())
}

/// Checks that `header` is the trusted header itself or an ancestor of it, by the history root alone. That is how what
/// a replaced set certified is verified: its keys may have been sold with old disks, so its signatures say nothing any
/// more (PROTOCOL §6.1, §6.2). The header that `proof` brings as the newer one must be the trusted one.
///
/// # Errors
///
/// [`LightError::NotTheTrustedHeader`], [`LightError::NotAnAncestor`], [`LightError::Ancestry`].
pub fn verify_past(
    trusted: &TrustedHeader,
    header: &v1::Header,
    proof: &v1::HistoryProof,
) -> Result<VerifiedHeader, LightError> {
    let past = VerifiedHeader::new(header);
    if trusted.header_hash != Hash::default() && past.hash() == trusted.header_hash {
        return Ok(past);
    }
    let newer = proof.signed_header.as_ref().and_then(|signed| signed.header.as_ref());
    let newer = VerifiedHeader::new(newer.ok_or(HeaderError::Missing)?);
    if newer.hash() != trusted.header_hash {
        return Err(LightError::NotTheTrustedHeader { height: trusted.height });
    }
    let ancestor = proof::verify_ancestor(&trusted.genesis_hash, &newer, proof)?;
    if ancestor.hash() != past.hash() {
        return Err(LightError::NotAnAncestor { height: past.height() });
    }
    Ok(ancestor)
}

/// The set beside a header, if it is the one that the header names for the next height.
fn next_validators<'a>(
    header: &v1::Header,
    set: Option<&'a v1::ValidatorSet>,
) -> Result<&'a v1::ValidatorSet, LightError> {
    set.filter(|set| {
        certificate::check_validator_set(set).is_ok()
            && certificate::validator_set_hash(set).0.as_slice() == header.next_validator_set_hash
    })
    .ok_or(LightError::NextValidators { height: header.height })
}
