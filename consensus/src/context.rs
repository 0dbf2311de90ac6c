//! The words the core speaks: heights, validators, votes, proposals and block values of ours.
//!
//! The core is generic over these. Nothing here decides; the wire forms are in `codec`, signed strings in `statement`.

use crate::config::StartError;
use arc_malachitebft_core_types::{
    Address, Context, Height, LinearTimeouts, NilOrVal, Proposal, ProposalPart, Round,
    SignedExtension, SigningScheme, Validator, ValidatorSet, Value, Vote, VoteType, VotingPower,
};
use sillok_ledger::certificate::{VALIDATORS_MAX, check_validator_set};
use sillok_proto::{Hash, v1};
use std::fmt;
use std::sync::Arc;

/// A validator, named by its public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ValidatorKey(pub [u8; 32]);

impl fmt::Display for ValidatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0[..4]))
    }
}

impl fmt::Debug for ValidatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Address for ValidatorKey {}

/// Names the vocabulary to the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vocabulary;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BlockHeight(pub(crate) u64);

impl fmt::Display for BlockHeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Height for BlockHeight {
    const ZERO: Self = Self(0);
    const INITIAL: Self = Self(1);

    fn increment_by(&self, n: u64) -> Self {
        Self(self.0.saturating_add(n))
    }

    fn decrement_by(&self, n: u64) -> Option<Self> {
        self.0.checked_sub(n).map(Self)
    }

    fn as_u64(&self) -> u64 {
        self.0
    }
}

/// A round as a number. Votes, proposals and certificates always have one.
pub(crate) fn round_number(round: Round) -> u32 {
    round.as_u32().unwrap_or(0)
}

/// A block and its name, the header hash.
///
/// Equality is by name. That is sound because only validated blocks are made into values, and a valid block's bytes
/// are fixed by its header: transactions by the transactions root, documents and private contents by hash.
#[derive(Clone)]
pub(crate) struct BlockValue {
    pub(crate) id: Hash,
    pub(crate) block: Arc<v1::Block>,
}

impl PartialEq for BlockValue {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for BlockValue {}

impl PartialOrd for BlockValue {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for BlockValue {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.id.cmp(&other.id)
    }
}

impl fmt::Debug for BlockValue {
    // The core logs values; a block's contents belong in no log (PROTOCOL II.6).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {}", self.id)
    }
}

impl Value for BlockValue {
    type Id = Hash;

    fn id(&self) -> Hash {
        self.id
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SignatureBytes(pub(crate) [u8; 64]);

impl fmt::Debug for SignatureBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0[..4]))
    }
}

/// What the core calls a signing scheme; signing and verifying themselves go through `signature`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signatures;

impl SigningScheme for Signatures {
    type DecodingError = &'static str;
    type Signature = SignatureBytes;
    type PublicKey = ValidatorKey;
    type PrivateKey = ();

    fn decode_signature(bytes: &[u8]) -> Result<SignatureBytes, &'static str> {
        bytes.try_into().map(SignatureBytes).map_err(|_| "a signature has 64 bytes")
    }

    fn encode_signature(signature: &SignatureBytes) -> Vec<u8> {
        signature.0.to_vec()
    }

    fn decode_public_key(bytes: &[u8]) -> Result<ValidatorKey, &'static str> {
        bytes.try_into().map(ValidatorKey).map_err(|_| "a public key has 32 bytes")
    }

    fn encode_public_key(key: &ValidatorKey) -> Vec<u8> {
        key.0.to_vec()
    }
}

/// A block travels whole inside its proposal, so there are no parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoPart {}

impl ProposalPart<Vocabulary> for NoPart {
    fn is_first(&self) -> bool {
        match *self {}
    }

    fn is_last(&self) -> bool {
        match *self {}
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockProposal {
    pub(crate) height: BlockHeight,
    pub(crate) round: Round,
    pub(crate) value: BlockValue,
    pub(crate) pol_round: Round,
    pub(crate) validator: ValidatorKey,
}

impl Proposal<Vocabulary> for BlockProposal {
    fn height(&self) -> BlockHeight {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &BlockValue {
        &self.value
    }

    fn take_value(self) -> BlockValue {
        self.value
    }

    fn pol_round(&self) -> Round {
        self.pol_round
    }

    fn validator_address(&self) -> &ValidatorKey {
        &self.validator
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockVote {
    pub(crate) vote_type: VoteType,
    pub(crate) height: BlockHeight,
    pub(crate) round: Round,
    pub(crate) value: NilOrVal<Hash>,
    pub(crate) validator: ValidatorKey,
}

impl Vote<Vocabulary> for BlockVote {
    fn height(&self) -> BlockHeight {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &NilOrVal<Hash> {
        &self.value
    }

    fn take_value(self) -> NilOrVal<Hash> {
        self.value
    }

    fn vote_type(&self) -> VoteType {
        self.vote_type
    }

    fn validator_address(&self) -> &ValidatorKey {
        &self.validator
    }

    // Vote extensions are disabled: the core neither asks for one nor accepts one.
    fn extension(&self) -> Option<&SignedExtension<Vocabulary>> {
        None
    }

    fn take_extension(&mut self) -> Option<SignedExtension<Vocabulary>> {
        None
    }

    fn extend(self, _extension: SignedExtension<Vocabulary>) -> Self {
        self
    }
}

/// A validator; all have power 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member(ValidatorKey);

impl Validator<Vocabulary> for Member {
    fn address(&self) -> &ValidatorKey {
        &self.0
    }

    fn public_key(&self) -> &ValidatorKey {
        &self.0
    }

    fn voting_power(&self) -> VotingPower {
        1
    }
}

/// A validator set with the order in which its members propose at one height. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Validators {
    members: Arc<[Member]>,
    order: Arc<[usize]>,
}

impl Validators {
    /// The largest set: certificates and queues are bounded by it.
    pub(crate) const COUNT_MAX: usize = VALIDATORS_MAX;

    /// The members' keys, if the set is well-formed.
    pub(crate) fn members_of(
        set: &v1::ValidatorSet,
        height: u64,
    ) -> Result<Vec<ValidatorKey>, StartError> {
        check_validator_set(set).map_err(|source| StartError::ValidatorSet { height, source })?;
        let key = |validator: &v1::Validator| validator.public_key.as_slice().try_into().ok();
        Ok(set.validators.iter().filter_map(key).map(ValidatorKey).collect())
    }

    pub(crate) fn new(
        set: &v1::ValidatorSet,
        proposer_order: &[ValidatorKey],
        height: u64,
    ) -> Result<Self, StartError> {
        let keys = Self::members_of(set, height)?;
        let order = proposer_order
            .iter()
            .map(|key| keys.binary_search(key).ok())
            .collect::<Option<Vec<_>>>()
            .ok_or(StartError::ProposerOrder { height })?;
        let mut once = order.clone();
        once.sort_unstable();
        once.dedup();
        if order.len() != keys.len() || once.len() != keys.len() {
            return Err(StartError::ProposerOrder { height });
        }
        Ok(Self { members: keys.into_iter().map(Member).collect(), order: order.into() })
    }

    /// Whether both have the same members, in whatever order they propose.
    pub(crate) fn has_members_of(&self, other: &Self) -> bool {
        self.members == other.members
    }

    /// Position of a key in the set, by which commit certificates name it.
    pub(crate) fn index_of(&self, key: &ValidatorKey) -> Option<usize> {
        self.members.binary_search_by(|member| member.0.cmp(key)).ok()
    }

    pub(crate) fn key_at(&self, index: usize) -> Option<ValidatorKey> {
        self.members.get(index).map(|member| member.0)
    }

    pub(crate) fn contains(&self, key: &ValidatorKey) -> bool {
        self.index_of(key).is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether `count` validators are more than a third, so that one of them is correct.
    pub(crate) fn holds_a_correct_one(&self, count: usize) -> bool {
        count.saturating_mul(3) > self.len()
    }

    fn proposer(&self, round: Round) -> &Member {
        let round = usize::try_from(round.as_u32().unwrap_or(0)).unwrap_or(0);
        let turn = round.checked_rem(self.order.len()).unwrap_or(0);
        &self.members[self.order[turn]]
    }

    /// The proposer of a round: order[r mod n] (PROTOCOL §7.2).
    pub(crate) fn proposer_of(&self, round: Round) -> ValidatorKey {
        self.proposer(round).0
    }
}

impl ValidatorSet<Vocabulary> for Validators {
    fn count(&self) -> usize {
        self.members.len()
    }

    fn total_voting_power(&self) -> VotingPower {
        self.members.len() as u64
    }

    fn get_by_address(&self, address: &ValidatorKey) -> Option<&Member> {
        self.index_of(address).and_then(|index| self.members.get(index))
    }

    fn get_by_index(&self, index: usize) -> Option<&Member> {
        self.members.get(index)
    }
}

impl Context for Vocabulary {
    type Address = ValidatorKey;
    type Height = BlockHeight;
    type ProposalPart = NoPart;
    type Proposal = BlockProposal;
    type Validator = Member;
    type ValidatorSet = Validators;
    type Timeouts = LinearTimeouts;
    type Value = BlockValue;
    type Vote = BlockVote;
    type Extension = ();
    type SigningScheme = Signatures;

    fn select_proposer<'a>(
        &self,
        validators: &'a Validators,
        _height: BlockHeight,
        round: Round,
    ) -> &'a Member {
        validators.proposer(round)
    }

    fn new_proposal(
        &self,
        height: BlockHeight,
        round: Round,
        value: BlockValue,
        pol_round: Round,
        validator: ValidatorKey,
    ) -> BlockProposal {
        BlockProposal { height, round, value, pol_round, validator }
    }

    fn new_prevote(
        &self,
        height: BlockHeight,
        round: Round,
        value: NilOrVal<Hash>,
        validator: ValidatorKey,
    ) -> BlockVote {
        BlockVote { vote_type: VoteType::Prevote, height, round, value, validator }
    }

    fn new_precommit(
        &self,
        height: BlockHeight,
        round: Round,
        value: NilOrVal<Hash>,
        validator: ValidatorKey,
    ) -> BlockVote {
        BlockVote { vote_type: VoteType::Precommit, height, round, value, validator }
    }
}
