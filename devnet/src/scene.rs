//! The people of a devnet and what they bring: short ways to write what the tour and the tests are about.

use crate::clock_ms;
use crate::directory::{Devnet, OrganizationRole};
use crate::reader;
use crate::submit::{Committed, Outcome, Refusal, Submitter};
use anyhow::{Context as _, bail, ensure};
use sillok_client::identity::{Identity, IdentityKey, document_of};
use sillok_client::keys::{KeyAlgorithm, SecretKey};
use sillok_client::transaction::{OperationDraft, PartlySigned, Terms, TransactionBuilder};
use sillok_did_method::{CAPABILITY_INVOCATION, DEVICE_RELATIONSHIPS, SUBMIT, head_hash};
use sillok_proto::{Hash, v1};
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

/// How long a transaction may wait, in milliseconds.
const LIFE_MS: u64 = 60_000;
/// How long a node has to get to the height of the others.
const SETTLE_PATIENCE: Duration = Duration::from_secs(30);

/// The organizations of a devnet with their keys, and the way to its nodes.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The network's genesis hash.
    pub genesis_hash: Hash,
    /// Registers and submits.
    pub registrar: Identity,
    /// Another that registers and submits.
    pub rival: Identity,
    /// Signs beside the registrar.
    pub countersigner: Identity,
    /// An organization that may do nothing but run a validator.
    pub operator: Identity,
    /// The nodes, validators first.
    pub nodes: Submitter,
}

impl Scene {
    /// The scene of a devnet.
    ///
    /// # Errors
    ///
    /// A key file is missing.
    pub fn of(devnet: &Devnet) -> anyhow::Result<Self> {
        let load = |role| -> anyhow::Result<Identity> {
            Ok(Identity::load(&devnet.organization(role)?.key)?)
        };
        Ok(Self {
            genesis_hash: reader::genesis_hash(devnet)?,
            registrar: load(OrganizationRole::Registrar)?,
            rival: load(OrganizationRole::Submitter)?,
            countersigner: load(OrganizationRole::Countersigner)?,
            operator: load(OrganizationRole::Operator)?,
            nodes: Submitter::new(devnet.nodes.iter().map(|node| node.grpc.clone()).collect())?,
        })
    }

    /// A new holder under the registrar, which may be given a new device by registrar and countersigner together.
    ///
    /// # Errors
    ///
    /// No key could be made.
    pub fn holder(&self, algorithm: KeyAlgorithm, agreement: bool) -> anyhow::Result<Identity> {
        Ok(Identity::holder(
            self.registrar.did.network(),
            algorithm,
            agreement,
            self.registrar.did.clone(),
            Some(self.countersigner.did.clone()),
        )?)
    }

    /// Operations to be brought by `submitter`, not signed yet.
    #[must_use]
    pub fn draft(
        &self,
        submitter: &Identity,
        operations: impl IntoIterator<Item = (OperationDraft, Terms)>,
    ) -> PartlySigned {
        let builder =
            TransactionBuilder::new(self.genesis_hash, &submitter.did, clock_ms() + LIFE_MS);
        operations
            .into_iter()
            .fold(builder, |builder, (draft, terms)| builder.push(draft, terms))
            .freeze()
    }

    /// Registers `identities`, by the registrar, signed by all.
    ///
    /// # Errors
    ///
    /// One names no authority.
    pub fn create(&self, identities: &[&Identity]) -> anyhow::Result<v1::Transaction> {
        self.create_with(&self.registrar, identities, Terms::NAMED)
    }

    /// Registers `identities`, brought by `submitter` under `terms`.
    ///
    /// # Errors
    ///
    /// One names no authority.
    pub fn create_with(
        &self,
        submitter: &Identity,
        identities: &[&Identity],
        terms: Terms,
    ) -> anyhow::Result<v1::Transaction> {
        let drafts = identities
            .iter()
            .map(|identity| Ok((OperationDraft::create(identity)?, terms)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut partly = self.draft(submitter, drafts);
        for (index, identity) in identities.iter().enumerate() {
            partly.sign_new_keys(index, identity)?;
        }
        finish(partly, submitter)
    }

    /// Replaces a document, signed by the DID's own key and by every key that is new.
    ///
    /// # Errors
    ///
    /// A secret is missing.
    pub fn update(
        &self,
        identity: &Identity,
        head: &v1::Head,
        before: &v1::DidDocument,
        after: v1::DidDocument,
    ) -> anyhow::Result<v1::Transaction> {
        let draft = OperationDraft::update(&identity.did, &head_hash(head), after, None);
        let mut partly = self.draft(&self.registrar, [(draft, Terms::NAMED)]);
        partly.sign(0, controller(identity, before)?)?;
        partly.sign_added_keys(0, before, identity)?;
        finish(partly, &self.registrar)
    }

    /// Gives a holder a new device key, signed by that key and by `others`.
    ///
    /// # Errors
    ///
    /// A secret is missing.
    pub fn set_device(
        &self,
        holder: &Identity,
        head: &v1::Head,
        device: &IdentityKey,
        others: &[&SecretKey],
    ) -> anyhow::Result<v1::Transaction> {
        let document = document_of(vec![device.bound()], Vec::new());
        let draft = OperationDraft::set_device(&holder.did, &head_hash(head), document);
        let mut partly = self.draft(&self.registrar, [(draft, Terms::NAMED)]);
        partly.sign(0, &device.secret)?;
        for key in others {
            partly.sign(0, key)?;
        }
        finish(partly, &self.registrar)
    }

    /// The registrar takes a holder's device away.
    ///
    /// # Errors
    ///
    /// The registrar has no key.
    pub fn take_device_away(&self, holder: &Identity) -> anyhow::Result<v1::Transaction> {
        let draft = OperationDraft::take_device_away(&holder.did);
        finish(self.draft(&self.registrar, [(draft, Terms::NAMED)]), &self.registrar)
    }

    /// The last operation of a DID, by its own key.
    ///
    /// # Errors
    ///
    /// A secret is missing.
    pub fn deactivate(
        &self,
        identity: &Identity,
        head: &v1::Head,
        document: &v1::DidDocument,
    ) -> anyhow::Result<v1::Transaction> {
        let draft = OperationDraft::deactivate(&identity.did, &head_hash(head));
        let mut partly = self.draft(&self.registrar, [(draft, Terms::NAMED)]);
        partly.sign(0, controller(identity, document)?)?;
        finish(partly, &self.registrar)
    }

    /// Brings a transaction to the `nth` node, and to others if that one is away, until it is committed.
    ///
    /// # Errors
    ///
    /// A rule refuses it.
    pub async fn commit(
        &self,
        transaction: &v1::Transaction,
        nth: usize,
    ) -> anyhow::Result<Committed> {
        self.nodes.commit(&self.genesis_hash, transaction, nth, &AtomicUsize::new(0)).await
    }

    /// Waits until the `nth` node has every block that another node has now: a node that is behind gives the answers of
    /// its height.
    ///
    /// # Errors
    ///
    /// It does not get there.
    pub async fn settle(&self, nth: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + SETTLE_PATIENCE;
        let mut newest = 0;
        for other in 0..self.nodes.len() {
            newest = newest.max(self.nodes.height(other).await.unwrap_or(0));
        }
        while self.nodes.height(nth).await.unwrap_or(0) < newest {
            ensure!(Instant::now() < deadline, "a node did not reach height {newest}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Brings a transaction that must be refused to the `nth` node, and returns why it was.
    ///
    /// # Errors
    ///
    /// It was not refused.
    pub async fn refusal(
        &self,
        transaction: &v1::Transaction,
        nth: usize,
    ) -> anyhow::Result<Refusal> {
        self.settle(nth).await?;
        match self.nodes.try_once(&self.genesis_hash, transaction, nth).await? {
            Outcome::Refused(refusal) => Ok(refusal),
            Outcome::Committed(at) => bail!("it was committed at height {}", at.height),
            Outcome::Open(why) => bail!("it was neither refused nor committed: {why}"),
        }
    }
}

/// The submitter signs last.
///
/// # Errors
///
/// It has no key to submit with, or the transaction breaks a rule.
pub fn finish(partly: PartlySigned, submitter: &Identity) -> anyhow::Result<v1::Transaction> {
    let key = submitter.newest_secret(SUBMIT).context("the submitter has no key to submit with")?;
    Ok(partly.submit(key)?)
}

/// The key of `identity` that may change its DID as `document` stands.
///
/// # Errors
///
/// Its secret is not there.
pub fn controller<'a>(
    identity: &'a Identity,
    document: &v1::DidDocument,
) -> anyhow::Result<&'a SecretKey> {
    identity
        .secret_for(document, CAPABILITY_INVOCATION, clock_ms())
        .with_context(|| format!("no secret here may change {}", identity.did))
}

/// The key of an organization that may change its DID, as the genesis has it.
///
/// # Errors
///
/// Its secret is not there.
pub fn organization_key(organization: &Identity) -> anyhow::Result<&SecretKey> {
    organization
        .newest_secret(CAPABILITY_INVOCATION)
        .with_context(|| format!("no secret here may act for {}", organization.did))
}

/// A new device key.
///
/// # Errors
///
/// No key could be made.
pub fn new_device(algorithm: KeyAlgorithm) -> anyhow::Result<IdentityKey> {
    Ok(IdentityKey::generate(algorithm, DEVICE_RELATIONSHIPS)?)
}
