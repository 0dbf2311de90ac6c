//! Checking answers about rights and types: the rules of the ledger are run again, on the leaves of the proof alone.
//!
//! A node hands over leaves and no verdict. That an organization may do something, and that it may not, follows here.

use super::moment::Moment;
use super::{Answer, Verifier, VerifyError};
use sillok_ledger::answer::{grants, type_and_version};
use sillok_ledger::authority::{Link, chain};
use sillok_ledger::proof::VerifiedHeader;
use sillok_proto::{Hash, v1};

/// A question: may an organization do something?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// Digest of the organization.
    pub organization: Hash,
    /// What it does.
    pub action: v1::Action,
    /// On which type or list; `None` is on all.
    pub resource: Option<Hash>,
}

impl Right {
    /// The resource as leaves and requests have it.
    #[must_use]
    pub fn resource_bytes(&self) -> Vec<u8> {
        self.resource.map(Hash::to_vec).unwrap_or_default()
    }

    /// As it is asked for.
    #[must_use]
    pub fn to_request(&self, moment: Moment, min_height: u64) -> v1::GetAuthorityRequest {
        v1::GetAuthorityRequest {
            organization: self.organization.to_vec(),
            action: self.action.into(),
            resource: self.resource_bytes(),
            min_height,
            at: moment.to_message(),
        }
    }
}

/// The answer to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Authority {
    /// The question.
    pub right: Right,
    /// The ledger time that it is about.
    pub time_ms: u64,
    /// The header whose state says what is known.
    pub header: VerifiedHeader,
    /// By which chain, from the organization to the first level; `None`: it is proved that it may not.
    pub chain: Option<Vec<Link>>,
}

impl Authority {
    /// May it?
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.chain.is_some()
    }
}

impl Verifier<'_> {
    /// Checks whether an organization may do something at a moment, and by which chain.
    ///
    /// # Errors
    ///
    /// [`VerifyError`]: the first thing that does not hold. That it may not is no error.
    pub fn authority(
        &self,
        right: &Right,
        moment: Moment,
        answer: &v1::StateAnswer,
    ) -> Result<Answer<Authority>, VerifyError> {
        let (states, certified) = self.states(moment, false, answer)?;
        let header = states.known.header().clone();
        let time_ms = moment.time_ms(&header);
        let resource = right.resource_bytes();
        let chain = states
            .known
            .ask(|view| chain(view, &right.organization, right.action, &resource, time_ms))?;
        let right = right.clone();
        Ok(certified.map(|()| Authority { right, time_ms, header, chain }))
    }

    /// Checks all grants that an organization has or had, by ascending action and resource.
    ///
    /// # Errors
    ///
    /// [`VerifyError`]: the first thing that does not hold.
    pub fn grants(
        &self,
        organization: &Hash,
        proof: &v1::StateProof,
    ) -> Result<Answer<Vec<(v1::GrantName, v1::Grant)>>, VerifyError> {
        let (leaves, answer) = self.present(proof)?;
        let found = leaves.ask(|view| grants(view, organization))?;
        Ok(answer.map(|()| found))
    }

    /// Checks a type and one version of it; 0 is the latest. `None`: it is proved that there is no such type, or no such
    /// version.
    ///
    /// # Errors
    ///
    /// [`VerifyError`]: the first thing that does not hold.
    #[allow(clippy::type_complexity, reason = "two leaves, the second only with the first")]
    pub fn credential_type(
        &self,
        name: &Hash,
        version: u32,
        proof: &v1::StateProof,
    ) -> Result<Answer<Option<(v1::CredentialType, Option<v1::TypeVersionRecord>)>>, VerifyError>
    {
        let (leaves, answer) = self.present(proof)?;
        let found = leaves.ask(|view| type_and_version(view, name, version))?;
        Ok(answer.map(|()| found))
    }
}
