//! Who runs the network, and what was proposed about it: read with proof, and judged here.
//!
//! The law is the ledger's (PROTOCOL §7.3). A leaf names the latest set of validators and the organizations that are
//! members or may become it; a leaf for each says with which keys. Nothing here decides: it reads, and it says what the
//! leaves mean at the height they are of.

use crate::evidence::{EvidenceError, Misbehavior, verify_evidence};
use crate::read::{Client, ReadError};
use crate::verify::{Answer, VerifyError};
use sillok_did_method::{ed25519_key, key_id};
use sillok_ledger::TreeKey;
use sillok_ledger::certificate::quorum;
use sillok_ledger::proof::VerifiedState;
use sillok_proto::{Hash, decode, v1};
use std::collections::BTreeSet;
use std::time::Duration;

/// Longest leaf read here, in bytes: 128 validators with their organizations, 256 observers.
const LEAF_BYTES_MAX: usize = 64 * 1024;
/// Leaves asked for at a time, beside that of the members.
const LEAVES_AT_ONCE: usize = 60;
/// How often the members may change while they are read.
const ATTEMPTS: usize = 5;
/// Whether a member's validator votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its key votes at the next height.
    Votes,
    /// Its key is seated and votes from this height on.
    VotesFrom(u64),
    /// It is approved, and its key may join until this ledger time.
    MayJoin(u64),
    /// It was approved, and its key did not join in time.
    Lapsed(u64),
}

/// A member, or an organization that may become one.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Digest of its organization's DID.
    pub organization: Hash,
    /// The name of its organization; empty if the ledger has none.
    pub name: String,
    /// Its keys, and the key that may join.
    pub record: v1::OperatorRecord,
    /// Its seat in the latest set.
    pub seat: Option<v1::Validator>,
}

impl Member {
    /// Its keys.
    #[must_use]
    pub fn keys(&self) -> v1::Operator {
        self.record.operator.clone().unwrap_or_default()
    }

    /// Whether its validator votes, as of a height and its ledger time.
    #[must_use]
    pub fn standing(&self, height: u64, time_ms: u64) -> Standing {
        match (&self.seat, &self.record.pending) {
            (Some(seat), _) if seat.since_height <= height.saturating_add(1) => Standing::Votes,
            (Some(seat), _) => Standing::VotesFrom(seat.since_height),
            (None, Some(pending)) if time_ms < pending.expires_ms => {
                Standing::MayJoin(pending.expires_ms)
            }
            (None, pending) => {
                Standing::Lapsed(pending.as_ref().map_or(0, |pending| pending.expires_ms))
            }
        }
    }

    /// The node key that takes over when the key that may join does, where it is another.
    #[must_use]
    pub fn pending_node_key(&self, time_ms: u64) -> Option<&[u8]> {
        let pending = self.pending(time_ms)?;
        (!pending.node_key.is_empty()).then_some(pending.node_key.as_slice())
    }

    /// The key that may join, if it still may.
    #[must_use]
    pub fn pending(&self, time_ms: u64) -> Option<&v1::PendingKey> {
        self.record.pending.as_ref().filter(|pending| time_ms < pending.expires_ms)
    }
}

/// Who runs the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Members {
    /// The latest set that is fixed: that of two heights after the answer's.
    pub validators: v1::ValidatorSet,
    /// Members, and organizations that may become one, by their digests.
    pub operators: Vec<Member>,
    /// Nodes that replicate without voting.
    pub observers: Vec<v1::ObserverRecord>,
}

impl Members {
    /// How many members must approve.
    #[must_use]
    pub fn threshold(&self) -> usize {
        quorum(self.validators.validators.len())
    }

    /// The member of this organization.
    #[must_use]
    pub fn of(&self, organization: &Hash) -> Option<&Member> {
        self.operators.iter().find(|member| member.organization == *organization)
    }

    /// The member with this governance key.
    #[must_use]
    pub fn by_governance_key(&self, key: &[u8]) -> Option<&Member> {
        self.operators.iter().find(|member| member.keys().governance_key == key)
    }

    /// The member that may seat this validator key, or has seated it.
    #[must_use]
    pub fn by_validator_key(&self, key: &[u8]) -> Option<&Member> {
        let is_pending = |member: &&Member| {
            member.record.pending.as_ref().is_some_and(|pending| pending.validator_key == key)
        };
        let is_seated =
            |member: &&Member| member.seat.as_ref().is_some_and(|seat| seat.public_key == key);
        self.operators.iter().find(is_pending).or_else(|| self.operators.iter().find(is_seated))
    }

    /// Whether an approval counts now.
    #[must_use]
    pub fn weigh(&self, approval: &v1::GovernanceApproval) -> Weight {
        if !self.seated().contains(&approval.operator) {
            return Weight::NotSeated;
        }
        let organization = Hash::from_slice(&approval.operator);
        let member = organization.and_then(|organization| self.of(&organization));
        let in_force = member.is_some_and(|member| {
            ed25519_key_id(&member.keys().governance_key) == approval.key_id.as_slice()
        });
        if in_force { Weight::Counts } else { Weight::OldKey }
    }

    /// The organizations that vote on proposals now.
    #[must_use]
    pub fn seated(&self) -> BTreeSet<Vec<u8>> {
        self.validators.validators.iter().map(|one| one.organization.clone()).collect()
    }
}

/// Whether an approval counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// It does.
    Counts,
    /// Who gave it has no seat.
    NotSeated,
    /// It was given with a governance key that is not in force any more.
    OldKey,
}

/// A proposal and how far it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposed {
    /// Its name.
    pub hash: Hash,
    /// What is proposed, and who approved it.
    pub record: v1::ProposalRecord,
}

/// How far a proposal came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It can still be approved.
    Open,
    /// It was executed at this height.
    Executed(u64),
    /// Its time is over.
    Expired,
}

impl Proposed {
    /// What is proposed.
    #[must_use]
    pub fn change(&self) -> Option<&v1::change::Change> {
        self.record.proposal.as_ref()?.change.as_ref()?.change.as_ref()
    }

    /// Ledger time from which on it can be neither approved nor joined under.
    #[must_use]
    pub fn expires_ms(&self) -> u64 {
        self.record.proposal.as_ref().map_or(0, |proposal| proposal.expires_ms)
    }

    /// How far it came, as of a ledger time.
    #[must_use]
    pub fn progress(&self, time_ms: u64) -> Progress {
        match self.record.executed_height {
            0 if time_ms < self.expires_ms() => Progress::Open,
            0 => Progress::Expired,
            height => Progress::Executed(height),
        }
    }

    /// How many approvals count now.
    #[must_use]
    pub fn counted(&self, members: &Members) -> usize {
        let counts = |one: &&v1::GovernanceApproval| members.weigh(one) == Weight::Counts;
        self.record.approvals.iter().filter(counts).count()
    }
}

/// The id of an Ed25519 key.
fn ed25519_key_id(point: &[u8]) -> [u8; 32] {
    key_id(&ed25519_key(point)).0
}

fn leaf<M: prost::Message + Default>(
    state: &VerifiedState,
    key: &TreeKey,
    what: &'static str,
) -> Result<Option<M>, VerifyError> {
    state
        .value(key)?
        .map(|bytes| decode(bytes, LEAF_BYTES_MAX))
        .transpose()
        .map_err(|source| VerifyError::NotALeaf { what, source })
}

fn members_leaf(state: &VerifiedState) -> Result<v1::Members, VerifyError> {
    Ok(leaf(state, &TreeKey::members(), "the leaf of the members")?.unwrap_or_default())
}

impl Client {
    /// Who runs the network.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn members(&self) -> Result<Answer<Members>, ReadError> {
        let mut answer = self.state(&[TreeKey::members()]).await?;
        'changed: for _ in 0..ATTEMPTS {
            let known = members_leaf(answer.even_if_stale()).map_err(unreadable)?;
            let organizations = hashes(&known.operators);
            let keys: Vec<TreeKey> = organizations
                .iter()
                .flat_map(|one| [TreeKey::operator(one), TreeKey::organization(one)])
                .chain(known.observers.iter().map(|key| TreeKey::observer(key)))
                .collect();
            let mut found = Vec::new();
            for chunk in keys.chunks(LEAVES_AT_ONCE) {
                // With the leaf of the members, which shows whether they belong together.
                let asked: Vec<TreeKey> = [&[TreeKey::members()], chunk].concat();
                answer = self.state(&asked).await?;
                if members_leaf(answer.even_if_stale()).map_err(unreadable)? != known {
                    continue 'changed;
                }
                found.push(answer.even_if_stale().clone());
            }
            let members = collect(&known, &organizations, &found).map_err(unreadable)?;
            return Ok(answer.map(|_| members));
        }
        Err(unreadable(VerifyError::Changing))
    }

    /// The figures in force for the block after the answer's.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn parameters(&self) -> Result<Answer<v1::Parameters>, ReadError> {
        let key = TreeKey::parameters();
        let answer = self.state(&[key]).await?;
        let found = leaf(answer.even_if_stale(), &key, "the leaf of the parameters");
        let parameters: v1::Parameters = found.map_err(unreadable)?.unwrap_or_default();
        Ok(answer.map(|_| parameters))
    }

    /// A proposal. `None`: it is proved that nobody opened it.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn proposal(&self, hash: &Hash) -> Result<Answer<Option<Proposed>>, ReadError> {
        let key = TreeKey::proposal(hash);
        let answer = self.state(&[key]).await?;
        let record = leaf(answer.even_if_stale(), &key, "a proposal").map_err(unreadable)?;
        let proposed = record.map(|record| Proposed { hash: *hash, record });
        Ok(answer.map(|_| proposed))
    }

    /// The proposals that a node names, each proved, and proved again under its name. That these are all is the word of
    /// one node.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn proposals(&self) -> Result<Vec<Proposed>, ReadError> {
        let (named, _) = self
            .connection()
            .call(Duration::ZERO, |node| async move {
                node.ledger().get_proposals(v1::GetProposalsRequest {}).await
            })
            .await?;
        let hashes: BTreeSet<Hash> = hashes(&named.proposal_hashes).into_iter().collect();
        let hashes: Vec<Hash> = hashes.into_iter().collect();
        let mut proposals = Vec::new();
        for chunk in hashes.chunks(LEAVES_AT_ONCE) {
            let keys: Vec<TreeKey> = chunk.iter().map(TreeKey::proposal).collect();
            let answer = self.state(&keys).await?;
            for (hash, key) in chunk.iter().zip(&keys) {
                let record = leaf(answer.even_if_stale(), key, "a proposal").map_err(unreadable)?;
                proposals.extend(record.map(|record| Proposed { hash: *hash, record }));
            }
        }
        Ok(proposals)
    }
}

/// What a node wrote down about a validator that signed twice.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// The statements.
    pub evidence: v1::Evidence,
    /// What they show, if they hold.
    pub verdict: Result<Misbehavior, EvidenceError>,
}

/// Most pages of evidence asked for: a node that always names another page is not followed for ever.
const PAGES_MAX: usize = 1_000;

impl Client {
    /// What the first node that answers wrote down about validators that signed twice, each piece judged here. That it
    /// is all there is, is its word.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn evidence(&self, from_height: u64) -> Result<Vec<Recorded>, ReadError> {
        let genesis_hash = self.genesis_hash();
        let mut from_height = from_height;
        let mut found = Vec::new();
        for _ in 0..PAGES_MAX {
            let request = v1::GetEvidenceRequest { from_height, count: 0 };
            let (page, _) =
                self.connection()
                    .call(Duration::ZERO, |node| async move {
                        node.ledger().get_evidence(request).await
                    })
                    .await?;
            found.extend(page.evidence.into_iter().filter_map(|one| one.evidence).map(
                |evidence| {
                    let verdict = verify_evidence(&genesis_hash, &evidence);
                    Recorded { evidence, verdict }
                },
            ));
            if page.next_height <= from_height {
                break;
            }
            from_height = page.next_height;
        }
        Ok(found)
    }
}

fn unreadable(error: VerifyError) -> ReadError {
    // What was proved is not what it should be: no other node has better.
    ReadError::Verify { node: "the proved state".to_owned(), source: Box::new(error) }
}

fn hashes(bytes: &[Vec<u8>]) -> Vec<Hash> {
    bytes.iter().filter_map(|bytes| Hash::from_slice(bytes)).collect()
}

fn collect(
    known: &v1::Members,
    organizations: &[Hash],
    found: &[VerifiedState],
) -> Result<Members, VerifyError> {
    fn find<M: prost::Message + Default>(
        found: &[VerifiedState],
        key: &TreeKey,
        what: &'static str,
    ) -> Result<M, VerifyError> {
        for state in found {
            if state.value(key).is_ok() {
                return Ok(leaf(state, key, what)?.unwrap_or_default());
            }
        }
        Ok(M::default())
    }
    let validators = known.validators.clone().unwrap_or_default();
    let operators = organizations
        .iter()
        .map(|organization| {
            let operator = TreeKey::operator(organization);
            let record = find(found, &operator, "the record of an operator")?;
            let named: v1::Organization =
                find(found, &TreeKey::organization(organization), "the name of an organization")?;
            let seat = validators
                .validators
                .iter()
                .find(|one| one.organization == organization.0)
                .cloned();
            Ok(Member { organization: *organization, name: named.name, record, seat })
        })
        .collect::<Result<_, VerifyError>>()?;
    let observers = known
        .observers
        .iter()
        .map(|key| find(found, &TreeKey::observer(key), "the record of an observer"))
        .collect::<Result<_, VerifyError>>()?;
    Ok(Members { validators, operators, observers })
}
