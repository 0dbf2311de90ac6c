//! An issuer's desk on a devnet: a type of which a person has one, a list of it, people with their phones, and what is
//! done to them.
//!
//! A race, a thief and a crowd all play here, so that each of them writes down only what it is about. What a desk *reads*
//! is believed by its proof alone. People are numbers of a made-up register.

use crate::clock_ms;
use crate::reader::Reader;
use crate::scene::{Scene, finish, organization_key};
use anyhow::Context as _;
use sillok_client::desk::{Application, Circumstances, EnrollmentStep, EntryDates};
use sillok_client::identity::Identity;
use sillok_client::keys::{KeyAlgorithm, SecretKey, random};
use sillok_client::private::{own_enrollment, read_request};
use sillok_client::pseudonym::{Handle, HandleSecret, Person};
use sillok_client::transaction::{OperationDraft, Terms};
use sillok_client::verify::moment::Moment;
use sillok_client::verify::{Policy, Verifier};
use sillok_did_method::{EntryState, LIST_ENTRIES_MIN, SUBMIT};
use sillok_ledger::TreeKey;
use sillok_ledger::status::chunk_of;
use sillok_proto::{Hash, v1};
use std::collections::BTreeSet;
use std::time::Duration;
use v1::read_statement::Read;
use v1::{Action, Reason};

const HOUR_MS: u64 = 3_600_000;
const YEAR_MS: u64 = 365 * 24 * HOUR_MS;
/// How long a reservation may wait for its phone.
const RESERVED_MS: u64 = HOUR_MS;

/// A desk of `issuer`.
#[derive(Debug, Clone)]
pub struct Desk {
    /// The network.
    pub scene: Scene,
    /// Whose type, list and enrollments these are.
    pub issuer: Identity,
    /// A person has one place under it.
    pub credential_type: Hash,
    /// A list of it, of 131,072 entries.
    pub list: Hash,
    secret: HandleSecret,
}

/// The bits of these numbers.
fn mask<const N: usize>(numbers: [i32; N]) -> u32 {
    numbers.into_iter().map(|number| 1 << number).sum()
}

/// The policy of the type: no approvals, whatever the reason, so that what decides is what is tried.
fn policy() -> v1::TypePolicy {
    let rule = |reason: Reason| v1::ReasonRule {
        reason: reason.into(),
        approvals: 0,
        replaces: matches!(reason, Reason::DeviceChange | Reason::Renewal),
    };
    let reasons = [
        Reason::FirstIssue,
        Reason::LostDevice,
        Reason::Renewal,
        Reason::DeviceChange,
        Reason::EndOfUse,
        Reason::Suspected,
        Reason::Found,
    ];
    let mut reasons: Vec<v1::ReasonRule> = reasons.map(rule).into();
    reasons.sort_by_key(|rule| rule.reason);
    v1::TypePolicy {
        exclusive: true,
        reasons,
        channels: mask([v1::Channel::Office.into(), v1::Channel::CallCentre.into()]),
        assurance_levels: 0,
        key_algorithms: mask([v1::Algorithm::Ed25519.into(), v1::Algorithm::P256.into()]),
        purposes: mask([v1::Purpose::Civil.into()]),
        validity_max_ms: 5 * YEAR_MS,
        renewal_window_ms: 5 * YEAR_MS,
        reservation_max_ms: 24 * HOUR_MS,
        approval_max_ms: HOUR_MS,
        backdating_max_ms: HOUR_MS,
        grace_max_ms: HOUR_MS,
        reissue_after_expiry: true,
    }
}

/// A change of an enrollment or of entries, and who acts.
#[derive(Debug, Clone)]
pub struct Deed<'a> {
    /// Who acts: the issuer, or a role below it.
    pub role: &'a Identity,
    /// What.
    pub application: Application,
    /// Keys of the holder that sign it.
    pub holder: Vec<&'a SecretKey>,
}

impl Desk {
    /// A desk of the registrar with a type of its own.
    ///
    /// # Errors
    ///
    /// A rule refuses it.
    pub async fn of_registrar(scene: Scene) -> anyhow::Result<Self> {
        let credential_type = publish(&scene).await?;
        let issuer = scene.registrar.clone();
        Self::open(scene, issuer, credential_type).await
    }

    /// A desk of `issuer`, which may issue the type, with a new list.
    ///
    /// # Errors
    ///
    /// A rule refuses it.
    pub async fn open(
        scene: Scene,
        issuer: Identity,
        credential_type: Hash,
    ) -> anyhow::Result<Self> {
        let (create, list) = OperationDraft::create_list(
            &scene.genesis_hash,
            &issuer.did,
            &credential_type,
            &random::<16>()?,
            LIST_ENTRIES_MIN,
            300,
        );
        let mut partly = scene.draft(&scene.registrar, [(create, Terms::NAMED)]);
        partly.sign(0, organization_key(&issuer)?)?;
        scene.commit(&finish(partly, &scene.registrar)?, 0).await?;
        Ok(Self { scene, issuer, credential_type, list, secret: HandleSecret::generate()? })
    }

    /// The handle of the person with this number.
    ///
    /// # Errors
    ///
    /// Never for a number.
    pub fn person(&self, number: u64) -> anyhow::Result<Handle> {
        let person = Person::new(&number.to_string())?;
        Ok(self.secret.handle(&self.credential_type, &person))
    }

    fn circumstances(&self, role: &Identity, reason: Reason) -> Circumstances {
        Circumstances {
            acting_role: role.did.clone(),
            reason,
            channel: v1::Channel::Office,
            assurance_level: None,
            organization: None,
            approvers: Vec::new(),
        }
    }

    /// A change of a person's enrollment by `role`.
    ///
    /// # Errors
    ///
    /// The change has no right form.
    pub fn enroll<'a>(
        &self,
        role: &'a Identity,
        person: Handle,
        step: &EnrollmentStep,
        reason: Reason,
    ) -> anyhow::Result<Deed<'a>> {
        let application = Application::set_enrollment(
            self.scene.genesis_hash,
            &self.circumstances(role, reason),
            &self.issuer.did,
            &self.credential_type,
            person,
            step,
        )?;
        Ok(Deed { role, application, holder: Vec::new() })
    }

    /// A number is reserved for whoever has this one-time key and comes within the hour.
    #[must_use]
    pub fn reservation(number: u32, one_time: &SecretKey) -> EnrollmentStep {
        let now_ms = clock_ms();
        EnrollmentStep::Reserve {
            number,
            one_time_key: one_time.public().clone(),
            deadline_ms: now_ms + RESERVED_MS,
            valid_until_ms: now_ms + YEAR_MS,
            new_handle: None,
        }
    }

    /// A phone takes what was reserved; both keys sign.
    ///
    /// # Errors
    ///
    /// The change has no right form.
    pub fn activation<'a>(
        &self,
        role: &'a Identity,
        person: Handle,
        number: u32,
        one_time: &'a SecretKey,
        phone: &'a SecretKey,
    ) -> anyhow::Result<Deed<'a>> {
        let step = EnrollmentStep::Activate {
            number,
            one_time_key: one_time.public().clone(),
            enrollment_key: phone.public().clone(),
            grace_until_ms: 0,
        };
        let deed = self.enroll(role, person, &step, Reason::FirstIssue)?;
        Ok(Deed { holder: vec![one_time, phone], ..deed })
    }

    /// Entries of the list are set by `role`; those that become valid are a person's.
    ///
    /// # Errors
    ///
    /// The change has no right form.
    pub fn set<'a>(
        &self,
        role: &'a Identity,
        state: EntryState,
        entries: &[(u32, Option<Handle>)],
        reason: Reason,
    ) -> anyhow::Result<Deed<'a>> {
        let application = Application::set_status(
            self.scene.genesis_hash,
            &self.circumstances(role, reason),
            &self.list,
            state,
            entries,
            EntryDates::default(),
        )?;
        Ok(Deed { role, application, holder: Vec::new() })
    }

    /// These changes, together or not at all, brought by `submitter` and signed by everybody.
    ///
    /// # Errors
    ///
    /// A secret is missing, or a rule that needs no state refuses it.
    pub fn transaction(
        &self,
        submitter: &Identity,
        deeds: &[Deed<'_>],
    ) -> anyhow::Result<v1::Transaction> {
        // Terms are an author's, and a change of status has none.
        let drafts = deeds.iter().map(|deed| (deed.application.draft(), Terms::NAMED));
        let mut partly = self.scene.draft(submitter, drafts);
        for (index, deed) in deeds.iter().enumerate() {
            let key = deed.role.newest_secret(SUBMIT).context("the role has no key to act with")?;
            partly.sign_acting_role(index, key)?;
            for key in &deed.holder {
                partly.sign_holder(index, key)?;
            }
        }
        finish(partly, submitter)
    }

    /// These changes, brought by the registrar to the `nth` node until they are committed. Returns the height.
    ///
    /// # Errors
    ///
    /// A rule refuses them.
    pub async fn commit(&self, deeds: &[Deed<'_>], nth: usize) -> anyhow::Result<u64> {
        let transaction = self.transaction(&self.scene.registrar, deeds)?;
        Ok(self.scene.commit(&transaction, nth).await?.height)
    }

    /// Reserves number 1 for a person, has a phone activate it, and gives it an entry. Returns the height.
    ///
    /// # Errors
    ///
    /// A rule refuses it.
    pub async fn issue(
        &self,
        role: &Identity,
        person: Handle,
        phone: &SecretKey,
        index: u32,
        nth: usize,
    ) -> anyhow::Result<u64> {
        let one_time = SecretKey::generate(KeyAlgorithm::Ed25519)?;
        let reserve = Self::reservation(1, &one_time);
        let deeds = [
            self.enroll(role, person, &reserve, Reason::FirstIssue)?,
            self.activation(role, person, 1, &one_time, phone)?,
            self.set(role, EntryState::Valid, &[(index, Some(person))], Reason::FirstIssue)?,
        ];
        self.commit(&deeds, nth).await
    }

    /// What the state says of entries, proved, at `height` or later. Also moves the client to that height.
    ///
    /// # Errors
    ///
    /// The answer does not hold, is stale, or is of an earlier height.
    pub async fn entries(
        &self,
        reader: &Reader,
        indexes: &[u32],
        height: u64,
    ) -> anyhow::Result<Vec<EntryState>> {
        reader.wait_for(height).await?;
        let chunks: BTreeSet<u32> = indexes.iter().map(|index| chunk_of(*index).0).collect();
        let chunks: Vec<u32> = chunks.into_iter().collect();
        let answer = reader.client.chunks(&self.list, &chunks, Moment::Tip).await?;
        anyhow::ensure!(answer.height() >= height, "the answer is of height {}", answer.height());
        let found = answer.fresh()?;
        indexes.iter().map(|index| Ok(found.entry(*index)?.state)).collect()
    }

    /// What the state says of a person's enrollment, proved, at the client's height or later. Ask for entries of a height
    /// first: a request is signed over a header of the last minute.
    ///
    /// # Errors
    ///
    /// The answer does not hold, or there is no enrollment.
    pub async fn enrollment(
        &self,
        reader: &Reader,
        person: &Handle,
    ) -> anyhow::Result<v1::Enrollment> {
        let client = &reader.client;
        let (issuer, of) = (self.issuer.did.digest(), self.credential_type);
        let key = self.issuer.newest_secret(SUBMIT).context("the issuer has no key to ask with")?;
        let trusted = client.trusted();
        let read = Read::Enrollment(v1::ReadEnrollment {
            issuer: issuer.to_vec(),
            r#type: of.to_vec(),
            handle: person.digest().to_vec(),
        });
        let header = (trusted.height, trusted.header_hash);
        let request = read_request(&self.scene.genesis_hash, &issuer, header, read, key)?;
        let call = |node: sillok_client::connection::Node| {
            let request = request.clone();
            async move { node.private_status().own_enrollment(request).await }
        };
        let (answer, _) = client.connection().call(Duration::ZERO, call).await?;
        let proof = answer.proof.context("the node says that there is no such enrollment")?;
        let chain = client.chain();
        let verifier = Verifier::new(&chain, &trusted, Policy::at(clock_ms()));
        let leaf = TreeKey::enrollment(&issuer, &of, person.digest());
        let proved = verifier.leaves(&[leaf], &proof)?;
        Ok(own_enrollment(&issuer, &of, person.digest(), proved.fresh()?)?)
    }
}

/// Publishes a type in the name of the registrar.
///
/// # Errors
///
/// A rule refuses it.
pub async fn publish(scene: &Scene) -> anyhow::Result<Hash> {
    let registrar = &scene.registrar;
    let (schema_hash, policy) = (vec![7; 32], Some(policy()));
    let content = v1::TypeVersion { schema_hash, render_hash: Vec::new(), policy };
    let (draft, name) = OperationDraft::publish_type(
        &scene.genesis_hash,
        &registrar.did,
        &random::<16>()?,
        content,
    );
    let mut partly = scene.draft(registrar, [(draft, Terms::NAMED)]);
    partly.sign(0, organization_key(registrar)?)?;
    scene.commit(&finish(partly, registrar)?, 0).await?;
    Ok(name)
}

/// A grant of `action` on `resource` by `grantor` to an organization that it registered, with most rights given, suspended
/// and ended in an hour; 0 = any number. Brought by the registrar.
///
/// # Errors
///
/// A rule refuses it.
pub async fn accredit(
    scene: &Scene,
    grantor: &Identity,
    receiver: &Identity,
    action: Action,
    resource: &[u8],
    [gained_hourly, suspended_hourly, ended_hourly]: [u32; 3],
) -> anyhow::Result<u64> {
    let grant = v1::NewGrant {
        organization: receiver.did.digest().to_vec(),
        action: action.into(),
        resource: resource.to_vec(),
        gained_hourly,
        suspended_hourly,
        ended_hourly,
        ..v1::NewGrant::default()
    };
    let draft = OperationDraft::accredit(&grantor.did, grant);
    let mut partly = scene.draft(&scene.registrar, [(draft, Terms::NAMED)]);
    partly.sign(0, organization_key(grantor)?)?;
    partly.sign(0, organization_key(receiver)?)?;
    Ok(scene.commit(&finish(partly, &scene.registrar)?, 0).await?.height)
}

/// A new organization that the registrar registers.
///
/// # Errors
///
/// A rule refuses it.
pub async fn organization(scene: &Scene) -> anyhow::Result<Identity> {
    let network = scene.registrar.did.network();
    let authority = Some(scene.registrar.did.clone());
    let organization =
        Identity::organization(network, KeyAlgorithm::Ed25519, false, authority, None)?;
    scene.commit(&scene.create(&[&organization])?, 0).await?;
    Ok(organization)
}
