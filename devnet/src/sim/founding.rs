//! How the world begins: organizations, members with their keys, and the genesis that names them.

use super::keys::Key;
use super::scenario::Scenario;
use sillok_did_method::{CAPABILITY_INVOCATION, SUBMIT};
use sillok_ledger::certificate::PROTOCOL_VERSION;
use sillok_ledger::{Chain, default_parameters, organization_digest};
use sillok_proto::v1::Action;
use sillok_proto::{Hash, v1};

/// Where the clocks of the world begin.
pub(super) const START_MS: u64 = 1_800_000_000_000;

/// An organization and the key that speaks for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Organization {
    pub(super) did: Hash,
    pub(super) key: Key,
}

/// A node and the keys that belong to it.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) organization: Organization,
    pub(super) node: Key,
    pub(super) validator: Key,
    pub(super) governance: Key,
}

/// Who issues credentials: the agency has the rights from the genesis and gives them on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offices {
    pub(super) agency: Organization,
    /// Issues and revokes at a desk.
    pub(super) counter: Organization,
    /// Approves.
    pub(super) board: Organization,
}

/// Everything there is before the first block.
#[derive(Debug, Clone)]
pub(super) struct Founding {
    pub(super) chain: Chain,
    /// One for each node: validators, observers, candidates.
    pub(super) members: Vec<Member>,
    pub(super) registrar: Organization,
    pub(super) submitter: Organization,
    pub(super) countersigner: Organization,
    /// Those who issue credentials, if anybody does.
    pub(super) offices: Option<Offices>,
    /// Numbers of keys from here on are free.
    pub(super) next_key: usize,
}

/// The document of an organization with one key for everything.
pub(super) fn organization_document(key: &Key) -> v1::DidDocument {
    let bound = v1::BoundKey {
        key: Some(key.public()),
        relationships: CAPABILITY_INVOCATION | SUBMIT,
        expires_ms: 0,
    };
    v1::DidDocument { keys: vec![bound], services: Vec::new() }
}

impl Founding {
    pub(super) fn of(scenario: &Scenario) -> Self {
        let mut next_key = 0;
        let mut key = || {
            next_key += 1;
            Key::numbered(next_key - 1)
        };
        let mut organization = || {
            let key = key();
            Organization { did: organization_digest(&organization_document(&key)), key }
        };
        let registrar = organization();
        let submitter = organization();
        let countersigner = organization();
        let count = scenario.validators + scenario.observers + scenario.candidates;
        let organizations: Vec<_> = (0..count).map(|_| organization()).collect();
        let members: Vec<Member> = organizations
            .into_iter()
            .map(|organization| Member {
                organization,
                node: key(),
                validator: key(),
                governance: key(),
            })
            .collect();

        // After everybody else, whose keys are the same with them and without.
        let offices = (scenario.desk_every_us > 0).then(|| {
            let mut organization = || {
                let key = key();
                Organization { did: organization_digest(&organization_document(&key)), key }
            };
            Offices { agency: organization(), counter: organization(), board: organization() }
        });

        let mut founded: Vec<(Hash, v1::GenesisOrganization)> = Vec::new();
        let mut found = |organization: &Organization, name: &str, actions: &[Action]| {
            founded.push((
                organization.did,
                v1::GenesisOrganization {
                    name: name.to_owned(),
                    document: Some(organization_document(&organization.key)),
                    actions: actions.iter().map(|action| (*action).into()).collect(),
                },
            ));
        };
        found(&registrar, "registrar", &[Action::Register, Action::Submit]);
        found(&submitter, "submitter", &[Action::Register, Action::Submit]);
        found(&countersigner, "countersigner", &[Action::Countersign]);
        for member in &members {
            found(&member.organization, "ministry", &[]);
        }
        if let Some(offices) = &offices {
            let all = [
                Action::Accredit,
                Action::DefineType,
                Action::Issue,
                Action::Approve,
                Action::Revoke,
            ];
            found(&offices.agency, "agency", &all);
            found(&offices.counter, "counter", &[]);
            found(&offices.board, "board", &[]);
        }
        founded.sort_by_key(|(did, _)| *did);
        let mut operators: Vec<v1::Operator> =
            members[..scenario.validators].iter().map(Member::operator).collect();
        operators.sort_by(|a, b| a.validator_key.cmp(&b.validator_key));
        let observing = scenario.validators..scenario.validators + scenario.observers;
        let mut observers: Vec<v1::Observer> = members[observing]
            .iter()
            .map(|member| v1::Observer { node_key: member.node.point.to_vec(), archive: false })
            .collect();
        observers.sort_by(|a, b| a.node_key.cmp(&b.node_key));
        let mut parameters = default_parameters();
        parameters.heartbeat_ms = scenario.heartbeat_ms.max(100);
        parameters.clock_behind_ms = scenario.clock_behind_ms;
        let chain = Chain::new(v1::Genesis {
            protocol_version: PROTOCOL_VERSION,
            network: "sim".to_owned(),
            time_ms: START_MS,
            parameters: Some(parameters),
            organizations: founded.into_iter().map(|(_, organization)| organization).collect(),
            operators,
            observers,
        })
        .expect("the genesis of a simulated network is made by its rules");
        Self { chain, members, registrar, submitter, countersigner, offices, next_key }
    }
}

impl Member {
    /// As a genesis or a proposal names it.
    pub(super) fn operator(&self) -> v1::Operator {
        v1::Operator {
            organization: self.organization.did.to_vec(),
            validator_key: self.validator.point.to_vec(),
            node_key: self.node.point.to_vec(),
            governance_key: self.governance.point.to_vec(),
            archive: true,
        }
    }
}
