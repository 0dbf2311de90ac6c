//! An issuer of a devnet at work: its type, its lists, and the transactions that change entries.
//!
//! The registrar plays the issuer: it holds every right that it takes (`setup`).

use crate::clock_ms;
use crate::scene::{Scene, finish, organization_key};
use anyhow::Context as _;
use sillok_client::desk::{Application, Circumstances, EntryDates};
use sillok_client::keys::SecretKey;
use sillok_client::transaction::{OperationDraft, Terms, TransactionBuilder};
use sillok_did_method::{EntryState, SUBMIT};
use sillok_proto::{Hash, v1};

/// Longest age of a served list, in seconds.
const LIST_AGE_S: u32 = 300;

/// A type of the registrar, and its lists.
#[derive(Debug, Clone)]
pub struct Issuing {
    /// The people.
    pub scene: Scene,
    /// The type.
    pub credential_type: Hash,
    /// Names of the lists, in the order in which they were created.
    pub lists: Vec<Hash>,
}

impl Issuing {
    /// Publishes a type and creates lists of this many entries each.
    ///
    /// # Errors
    ///
    /// A rule refuses it.
    pub async fn begin(
        scene: Scene,
        content: v1::TypeVersion,
        lists: usize,
        capacity: u32,
    ) -> anyhow::Result<Self> {
        let (genesis_hash, registrar) = (scene.genesis_hash, scene.registrar.clone());
        let key = organization_key(&registrar)?;
        let (draft, credential_type) =
            OperationDraft::publish_type(&genesis_hash, &registrar.did, &rand::random(), content);
        let mut partly = scene.draft(&registrar, [(draft, Terms::NAMED)]);
        partly.sign(0, key)?;
        let published = finish(partly, &registrar)?;
        scene.commit(&published, 0).await.context("the type is refused")?;
        let mut names = Vec::with_capacity(lists);
        let drafts: Vec<(OperationDraft, Terms)> = (0..lists)
            .map(|_| {
                let (draft, name) = OperationDraft::create_list(
                    &genesis_hash,
                    &registrar.did,
                    &credential_type,
                    &rand::random(),
                    capacity,
                    LIST_AGE_S,
                );
                names.push(name);
                (draft, Terms::NAMED)
            })
            .collect();
        let mut partly = scene.draft(&registrar, drafts);
        for index in 0..lists {
            partly.sign(index, key)?;
        }
        let created = finish(partly, &registrar)?;
        scene.commit(&created, 0).await.context("the lists are refused")?;
        Ok(Self { scene, credential_type, lists: names })
    }

    /// The issuer acts itself, for this reason.
    #[must_use]
    pub fn circumstances(&self, reason: v1::Reason) -> Circumstances {
        Circumstances {
            acting_role: self.scene.registrar.did.clone(),
            reason,
            channel: v1::Channel::System,
            assurance_level: None,
            organization: None,
            approvers: Vec::new(),
        }
    }

    /// Sets entries of one list to one state, nobody's in particular.
    ///
    /// # Errors
    ///
    /// None, too many, or one twice.
    pub fn set(
        &self,
        list: &Hash,
        state: EntryState,
        reason: v1::Reason,
        indexes: &[u32],
    ) -> anyhow::Result<Application> {
        let entries: Vec<_> = indexes.iter().map(|index| (*index, None)).collect();
        Ok(Application::set_status(
            self.scene.genesis_hash,
            &self.circumstances(reason),
            list,
            state,
            &entries,
            EntryDates::default(),
        )?)
    }

    /// The transaction of these changes, signed by the acting role, by holders where they must, and by the submitter.
    ///
    /// # Errors
    ///
    /// It breaks a rule that needs no state.
    pub fn transaction(
        &self,
        applications: &[Application],
        holders: &[(usize, Vec<&SecretKey>)],
        life_ms: u64,
    ) -> anyhow::Result<v1::Transaction> {
        let registrar = &self.scene.registrar;
        let key = registrar.newest_secret(SUBMIT).context("the registrar has no submit key")?;
        let builder =
            TransactionBuilder::new(self.scene.genesis_hash, &registrar.did, clock_ms() + life_ms);
        let mut partly = applications
            .iter()
            .fold(builder, |builder, one| builder.push(one.draft(), Terms::NAMED))
            .freeze();
        for index in 0..applications.len() {
            partly.sign_acting_role(index, key)?;
        }
        for (index, keys) in holders {
            for key in keys {
                partly.sign_holder(*index, key)?;
            }
        }
        Ok(partly.submit(key)?)
    }
}
