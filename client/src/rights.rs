//! Rights of an organization: which it holds, and how it is wound down or cut off (PROTOCOL §5.1).
//!
//! Whether one holds at a moment, and by which chain, is [`Client::authority`]'s. Grants are ended, never deleted: what holds
//! now and what held at any time since is read from the same leaves.

use crate::read::{Client, ReadError};
use crate::verify::{Answer, VerifyError};
use sillok_did_method::Did;
use sillok_ledger::authority::chain_of_grants;
use sillok_ledger::{StateFault, StateView, TreeKey};
use sillok_proto::{Hash, decode, v1};
use std::cell::Cell;
use std::collections::BTreeMap;

/// Longest name of an organization as a leaf, in bytes.
const NAME_LEAF_BYTES_MAX: usize = 1024;

/// A grant of an organization, with all its periods.
#[derive(Debug, Clone, PartialEq)]
pub struct Right {
    /// What it may do.
    pub action: v1::Action,
    /// On what; empty for everything.
    pub resource: Vec<u8>,
    /// In order, not overlapping.
    pub periods: Vec<v1::Period>,
}

impl Right {
    /// The period that runs at a time. That the chain above holds too is [`Client::authority`]'s to say.
    #[must_use]
    pub fn period_at(&self, time_ms: u64) -> Option<&v1::Period> {
        self.periods.iter().find(|period| {
            period.from_ms <= time_ms && (period.until_ms == 0 || time_ms < period.until_ms)
        })
    }

    /// The periods that run at a time, or begin later.
    pub fn periods_from(&self, time_ms: u64) -> impl Iterator<Item = &v1::Period> {
        self.periods.iter().filter(move |one| one.until_ms == 0 || time_ms < one.until_ms)
    }
}

/// The grants that an organization has or had.
#[derive(Debug, Clone, PartialEq)]
pub struct Rights {
    /// Its digest.
    pub organization: Hash,
    /// Its name; empty if the ledger has none.
    pub name: String,
    /// By action and resource.
    pub rights: Vec<Right>,
}

/// How far an organization's rights are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Nothing is gained below it any more; what it issued can still be revoked.
    WindDown,
    /// All of it, and all below it.
    CutOff,
}

impl Client {
    /// Every grant that an organization has or had.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn rights(&self, organization: &Did) -> Result<Answer<Rights>, ReadError> {
        let digest = organization.digest();
        let name = self.organization_name(&digest).await?;
        let answer = self.grants(&digest).await?;
        let right = |(of, grant): (v1::GrantName, v1::Grant)| {
            let action = of.action();
            Right { action, resource: of.resource, periods: grant.periods }
        };
        Ok(answer.map(|grants| Rights {
            organization: digest,
            name,
            rights: grants.into_iter().map(right).collect(),
        }))
    }

    /// The name that the ledger has for an organization; empty if none.
    pub(crate) async fn organization_name(&self, organization: &Hash) -> Result<String, ReadError> {
        let key = TreeKey::organization(organization);
        let answer = self.state(&[key]).await?;
        let value = answer.even_if_stale().value(&key).map_err(|error| unreadable(error.into()))?;
        let Some(bytes) = value else { return Ok(String::new()) };
        let what = "the name of an organization";
        let leaf: v1::Organization = decode(bytes, NAME_LEAF_BYTES_MAX)
            .map_err(|source| unreadable(VerifyError::NotALeaf { what, source }))?;
        Ok(leaf.name)
    }

    /// What `by` ends to wind `organization` down or to cut it off, and what it cannot end, because others gave it.
    ///
    /// # Errors
    ///
    /// [`ReadError`]; [`ReadError::Stale`] too: of an old answer, a right that was given since would be missed.
    pub async fn endings(
        &self,
        organization: &Did,
        by: &Did,
        ending: Ending,
    ) -> Result<(Vec<v1::EndedGrant>, Vec<Right>), ReadError> {
        let answer = self.rights(organization).await?;
        let time_ms = answer.time_ms();
        let rights = answer.fresh()?;
        let (mut ended, mut others) = (Vec::new(), Vec::new());
        for right in &rights.rights {
            if ending == Ending::WindDown && right.action == v1::Action::Revoke {
                continue;
            }
            let (mut may_any, mut may_all) = (false, true);
            for period in right.periods_from(time_ms) {
                let may = organization == by || self.is_above(by, right, period, time_ms).await?;
                may_any |= may;
                may_all &= may;
            }
            if may_any {
                ended.push(v1::EndedGrant {
                    organization: rights.organization.to_vec(),
                    action: right.action.into(),
                    resource: right.resource.clone(),
                    at_ms: 0,
                });
            }
            if !may_all {
                others.push(right.clone());
            }
        }
        Ok((ended, others))
    }

    /// Is `by` who gave it, or in the chain of grants of who did? Whether those of the chain are active is not asked, as
    /// the ledger does not ask it: what was given in the name of a deactivated organization is ended from above.
    async fn is_above(
        &self,
        by: &Did,
        right: &Right,
        period: &v1::Period,
        time_ms: u64,
    ) -> Result<bool, ReadError> {
        let Some(grantor) = Hash::from_slice(&period.grantor) else { return Ok(false) };
        if grantor == by.digest() {
            return Ok(true);
        }
        // The walk says itself which leaf it reads next: at most one for each grant of it.
        let mut known = KnownLeaves::default();
        loop {
            let found = chain_of_grants(&known, &grantor, right.action, &right.resource, time_ms);
            let Some(unread) = known.unread.take() else {
                let contradiction =
                    |fault: StateFault| VerifyError::Contradiction { reason: fault.reason };
                let links = found.map_err(|fault| unreadable(contradiction(fault)))?;
                let links = links.unwrap_or_default();
                return Ok(links.iter().any(|link| link.organization == by.digest()));
            };
            let answer = self.state(&[unread]).await?;
            let leaf = answer.fresh()?.value(&unread).map_err(|error| unreadable(error.into()))?;
            known.leaves.insert(unread, leaf.map(<[u8]>::to_vec));
        }
    }
}

/// What was proved is not what it should be: no other node has better.
fn unreadable(error: VerifyError) -> ReadError {
    ReadError::Verify { node: "the proved state".to_owned(), source: Box::new(error) }
}

/// Leaves that were read and proved, as a state. The first other one that is asked for is noted, to be read next.
#[derive(Default)]
struct KnownLeaves {
    leaves: BTreeMap<TreeKey, Option<Vec<u8>>>,
    unread: Cell<Option<TreeKey>>,
}

impl StateView for KnownLeaves {
    fn leaf(&self, key: &TreeKey) -> Result<Option<Vec<u8>>, StateFault> {
        self.leaves.get(key).cloned().ok_or_else(|| {
            self.unread.set(Some(*key));
            StateFault::new("a leaf was not read yet")
        })
    }

    fn document(&self, _: &Hash) -> Result<Option<v1::DidDocument>, StateFault> {
        Ok(None)
    }
}
