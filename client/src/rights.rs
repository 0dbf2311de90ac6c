//! Rights: who holds which, whether one holds at a time and by which chain, and how an organization is wound down or cut
//! off (PROTOCOL §5.1).
//!
//! The walk is the ledger's own ([`sillok_ledger::authority`]), run here on proved leaves, so "no" is proved as "yes" is.
//! Grants are ended, never deleted: what holds now and what held at any time since is read from the same leaves.

use crate::read::{Client, ReadError};
use crate::verify::{Answer, VerifyError};
use sillok_did_method::Did;
use sillok_ledger::authority::{self, Link};
use sillok_ledger::proof::VerifiedState;
use sillok_ledger::{StateFault, StateView, TreeKey};
use sillok_proto::{Hash, decode, v1};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Longest leaf read here, in bytes: an index of 256 grants, or 64 periods.
const LEAF_BYTES_MAX: usize = 64 * 1024;
/// Leaves asked for at a time, beside the index.
const LEAVES_AT_ONCE: usize = 60;
/// How often the grants may change while they are read.
const ATTEMPTS: usize = 5;
/// Each answer to a walk shows the next steps of it, at most eight organizations up; one more for grants that changed.
const STEPS_MAX: usize = 12;

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

/// The leaves of a proof as a state; what it lacks is remembered, to be asked for.
struct ProvedView<'a> {
    state: &'a VerifiedState,
    missing: RefCell<BTreeSet<TreeKey>>,
}

impl StateView for ProvedView<'_> {
    fn leaf(&self, key: &TreeKey) -> Result<Option<Vec<u8>>, StateFault> {
        self.state.value(key).map(|value| value.map(<[u8]>::to_vec)).map_err(|error| {
            self.missing.borrow_mut().insert(*key);
            StateFault::new(error.to_string())
        })
    }

    fn document(&self, _: &Hash) -> Result<Option<v1::DidDocument>, StateFault> {
        Err(StateFault::new("a proof of rights has no documents"))
    }
}

fn unreadable(error: VerifyError) -> ReadError {
    // What was proved is not what it should be: no other node has better.
    ReadError::Verify { node: "the proved state".to_owned(), source: Box::new(error) }
}

fn leaf<M: prost::Message + Default>(
    state: &VerifiedState,
    key: &TreeKey,
    what: &'static str,
) -> Result<Option<M>, ReadError> {
    let value = state.value(key).map_err(|error| unreadable(error.into()))?;
    value
        .map(|bytes| decode(bytes, LEAF_BYTES_MAX))
        .transpose()
        .map_err(|source| unreadable(VerifyError::NotALeaf { what, source }))
}

impl Client {
    /// Every grant that an organization has or had.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn rights(&self, organization: &Did) -> Result<Answer<Rights>, ReadError> {
        let digest = organization.digest();
        let index_key = TreeKey::grant_index(&digest);
        let name_key = TreeKey::organization(&digest);
        let read_index =
            |state: &VerifiedState| leaf::<v1::GrantIndex>(state, &index_key, "an index of grants");
        let mut answer = self.state(&[index_key, name_key]).await?;
        let name: v1::Organization =
            leaf(answer.even_if_stale(), &name_key, "the name of an organization")?
                .unwrap_or_default();
        'changed: for _ in 0..ATTEMPTS {
            let index = read_index(answer.even_if_stale())?.unwrap_or_default();
            let mut rights = Vec::new();
            for names in index.grants.chunks(LEAVES_AT_ONCE) {
                let keys: Vec<TreeKey> = names
                    .iter()
                    .map(|name| TreeKey::grant(&digest, name.action(), &name.resource))
                    .collect();
                // With the index, which shows whether they belong together.
                answer = self.state(&[&[index_key], keys.as_slice()].concat()).await?;
                let state = answer.even_if_stale();
                if read_index(state)?.unwrap_or_default() != index {
                    continue 'changed;
                }
                for (name, key) in names.iter().zip(&keys) {
                    let grant: v1::Grant = leaf(state, key, "a grant")?.unwrap_or_default();
                    let (action, resource) = (name.action(), name.resource.clone());
                    rights.push(Right { action, resource, periods: grant.periods });
                }
            }
            let found = Rights { organization: digest, name: name.name, rights };
            return Ok(answer.map(|_| found));
        }
        Err(unreadable(VerifyError::Changing))
    }

    /// The chain by which `organization` may do `action` on `resource` (empty: on everything) at `time_ms`, itself first;
    /// `None` in the answer: it is proved that it may not. Without a time, at that of the answer.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn authority(
        &self,
        organization: &Did,
        action: v1::Action,
        resource: &[u8],
        time_ms: Option<u64>,
    ) -> Result<Answer<Option<Vec<Link>>>, ReadError> {
        let digest = organization.digest();
        let mut keys = BTreeSet::from([
            TreeKey::grant(&digest, action, resource),
            TreeKey::grant(&digest, action, &[]),
        ]);
        for _ in 0..STEPS_MAX {
            let asked: Vec<TreeKey> = keys.iter().copied().collect();
            // All of it anew each time: one header must prove the whole chain.
            let answer = self.state(&asked).await?;
            let view = ProvedView { state: answer.even_if_stale(), missing: RefCell::default() };
            let time_ms = time_ms.unwrap_or_else(|| answer.time_ms());
            let walked = authority::chain(&view, &digest, action, resource, time_ms);
            let missing = view.missing.into_inner();
            match walked {
                Ok(chain) => return Ok(answer.map(|_| chain)),
                // Nothing was missing, so a leaf is not what it should be.
                Err(_) if missing.is_empty() => break,
                Err(_) => keys.extend(missing),
            }
        }
        Err(unreadable(VerifyError::Changing))
    }

    /// What `by` ends to wind `organization` down or to cut it off, and what it cannot end, because others gave it.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn endings(
        &self,
        organization: &Did,
        by: &Did,
        ending: Ending,
    ) -> Result<(Vec<v1::EndedGrant>, Vec<Right>), ReadError> {
        let answer = self.rights(organization).await?;
        let time_ms = answer.time_ms();
        let rights = answer.even_if_stale();
        let (mut ended, mut others) = (Vec::new(), Vec::new());
        for right in &rights.rights {
            if ending == Ending::WindDown && right.action == v1::Action::Revoke {
                continue;
            }
            let Some(period) = right.periods_from(time_ms).next() else { continue };
            if organization == by || self.is_above(by, right, period).await? {
                ended.push(v1::EndedGrant {
                    organization: rights.organization.to_vec(),
                    action: right.action.into(),
                    resource: right.resource.clone(),
                    at_ms: 0,
                });
            } else {
                others.push(right.clone());
            }
        }
        Ok((ended, others))
    }

    /// Is `by` who gave it, or in the chain of who did?
    async fn is_above(
        &self,
        by: &Did,
        right: &Right,
        period: &v1::Period,
    ) -> Result<bool, ReadError> {
        let Some(grantor) = Hash::from_slice(&period.grantor) else { return Ok(false) };
        if grantor == by.digest() {
            return Ok(true);
        }
        let Ok(grantor) = Did::new(by.network(), grantor) else { return Ok(false) };
        let chain = self.authority(&grantor, right.action, &right.resource, None).await?;
        let links = chain.even_if_stale().as_deref().unwrap_or_default();
        Ok(links.iter().any(|link| link.organization == by.digest()))
    }
}

impl Client {
    /// A credential type and a version of it, the latest if none is named. `None` in the answer: it is proved that there
    /// is none.
    ///
    /// # Errors
    ///
    /// [`ReadError`].
    pub async fn credential_type(
        &self,
        name: &Hash,
        version: Option<u32>,
    ) -> Result<Answer<Option<(v1::CredentialType, v1::TypeVersionRecord)>>, ReadError> {
        let key = TreeKey::credential_type(name);
        let read =
            |state: &VerifiedState| leaf::<v1::CredentialType>(state, &key, "a credential type");
        let mut answer = self.state(&[key]).await?;
        for _ in 0..ATTEMPTS {
            let Some(one) = read(answer.even_if_stale())? else { return Ok(answer.map(|_| None)) };
            let version = TreeKey::type_version(name, version.unwrap_or(one.version));
            answer = self.state(&[key, version]).await?;
            let state = answer.even_if_stale();
            if read(state)?.as_ref() == Some(&one) {
                let record = leaf(state, &version, "a version of a type")?;
                return Ok(answer.map(|_| record.map(|record| (one, record))));
            }
        }
        Err(unreadable(VerifyError::Changing))
    }
}
