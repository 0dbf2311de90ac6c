//! The lives of credentials on a running network: reserved, activated, made valid, suspended and reinstated, refreshed
//! after a move or a renewal, lost and issued again, ended. Everything goes through the client and the doors of nodes.

use super::people::{Attributes, person};
use crate::clock_ms;
use crate::issuing::Issuing;
use crate::scene::Scene;
use crate::submit::Committed;
use anyhow::{Context as _, ensure};
use indicatif::ProgressBar;
use sillok_client::credential_type::TypeFile;
use sillok_client::desk::{Application, Circumstances, EnrollmentStep, EntryDates};
use sillok_client::identity::Identity;
use sillok_client::keys::{KeyAlgorithm, SecretKey};
use sillok_client::pseudonym::{Handle, HandleSecret, Person};
use sillok_client::transaction::{OperationDraft, Terms};
use sillok_consensus::testing::Random;
use sillok_did_method::{EntryState, LIST_ENTRIES_MIN, SUBMIT};
use sillok_proto::v1;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const LIFE_MS: u64 = 240_000;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// Operations of one transaction, and people in one operation that makes entries valid.
const BATCH: usize = 40;
/// People in one refresh: every refresh is of as many.
pub(super) const REFRESHED: usize = 10;
/// Transactions under way at once.
const CONCURRENCY: usize = 16;

/// One person, as the issuer, the phone and the wallet know them together.
pub(super) struct Someone {
    pub(super) attributes: Attributes,
    pub(super) holder: Identity,
    pub(super) handle: Handle,
    one_time: SecretKey,
    phone: SecretKey,
    number: u32,
    /// The entry of the credential that the phone holds now.
    pub(super) index: u32,
    /// Signed by the issuer, for the phone alone.
    pub(super) credential: String,
}

/// A transaction of refreshes, and why.
pub(super) struct Refresh {
    pub(super) reason: v1::Reason,
    pub(super) transaction: v1::Transaction,
    pub(super) at: Committed,
}

/// All of them, and their issuer.
pub(super) struct World {
    pub(super) issuing: Arc<Issuing>,
    pub(super) people: Vec<Someone>,
    free: Vec<u32>,
    /// Transactions that changed something.
    pub(super) transactions: usize,
    pub(super) operations: usize,
    pub(super) refreshes: Vec<Refresh>,
    /// A transaction that ended enrollments of as many people: it must not look like a refresh.
    pub(super) other: Option<v1::Transaction>,
    /// Entries that were used.
    pub(super) entries: usize,
}

fn type_content() -> anyhow::Result<v1::TypeVersion> {
    let file = TypeFile::parse(
        r#"{
            "schemaHash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "policy": {
                "exclusive": true,
                "reasons": [
                    { "reason": "first-issue", "approvals": 1 },
                    { "reason": "lost-device", "approvals": 1 },
                    { "reason": "renewal" },
                    { "reason": "attribute-change" },
                    { "reason": "end-of-use" },
                    { "reason": "suspected" },
                    { "reason": "found" }
                ],
                "channels": ["office", "call-centre", "portal", "app", "system"],
                "keyAlgorithms": ["ed25519", "p256"],
                "purposes": ["identification"],
                "validityMax": "3years",
                "renewalWindow": "90days",
                "reservationMax": "1day",
                "approvalMax": "7days",
                "backdatingMax": "30days",
                "graceMax": "7days"
            }
        }"#,
    )?;
    Ok(file.content(Path::new("."))?)
}

/// A change with the keys of the holder that sign it.
type Change = (Application, Vec<SecretKey>);

impl World {
    /// The issuer with its type, its list and its people; nothing is issued yet.
    pub(super) async fn begin(scene: Scene, count: usize, seed: u64) -> anyhow::Result<Self> {
        // Three credentials for each at most, with room to draw among.
        let capacity = u32::try_from(4 * count)?.next_multiple_of(LIST_ENTRIES_MIN);
        let issuing = Issuing::begin(scene, type_content()?, 1, capacity).await?;
        let mut random = Random::new(seed);
        let secret = HandleSecret::generate()?;
        let mut people = Vec::with_capacity(count);
        for nth in 0..count {
            let attributes = person(nth, &mut random);
            let number = Person::new(&attributes.texts[0].1)?;
            let algorithm =
                if nth.is_multiple_of(5) { KeyAlgorithm::P256 } else { KeyAlgorithm::Ed25519 };
            people.push(Someone {
                holder: issuing.scene.holder(algorithm, false)?,
                handle: secret.handle(&issuing.credential_type, &number),
                attributes,
                one_time: SecretKey::generate(algorithm)?,
                phone: SecretKey::generate(algorithm)?,
                number: 0,
                index: 0,
                credential: String::new(),
            });
        }
        let mut free: Vec<u32> = (0..capacity).collect();
        for place in (1..free.len()).rev() {
            free.swap(place, random.index(place + 1));
        }
        let world = Self {
            issuing: Arc::new(issuing),
            people,
            free,
            transactions: 0,
            operations: 0,
            refreshes: Vec::new(),
            other: None,
            entries: 0,
        };
        world.let_countersigner_approve().await?;
        Ok(world)
    }

    /// Who approves is another than who acts.
    async fn let_countersigner_approve(&self) -> anyhow::Result<()> {
        let scene = &self.issuing.scene;
        let grant = v1::NewGrant {
            organization: scene.countersigner.did.digest().to_vec(),
            action: v1::Action::Approve.into(),
            resource: self.issuing.credential_type.to_vec(),
            ..v1::NewGrant::default()
        };
        let draft = OperationDraft::accredit(&scene.registrar.did, grant);
        let mut partly = scene.draft(&scene.registrar, [(draft, Terms::NAMED)]);
        for organization in [&scene.registrar, &scene.countersigner] {
            partly.sign(0, crate::scene::organization_key(organization)?)?;
        }
        scene.commit(&crate::scene::finish(partly, &scene.registrar)?, 0).await?;
        Ok(())
    }

    fn circumstances(
        &self,
        reason: v1::Reason,
        channel: v1::Channel,
        approved: bool,
    ) -> Circumstances {
        let approvers =
            if approved { vec![self.issuing.scene.countersigner.did.clone()] } else { Vec::new() };
        Circumstances { channel, approvers, ..self.issuing.circumstances(reason) }
    }

    /// Has the countersigner approve what names it.
    fn approved(&self, mut application: Application) -> anyhow::Result<Application> {
        let approver = &self.issuing.scene.countersigner;
        if application.names(&approver.did) {
            let key = approver.newest_secret(SUBMIT).context("the approver has no key")?;
            let approval = application.approve(&approver.did, key, clock_ms() + HOUR_MS)?;
            application.merge(&approval)?;
        }
        Ok(application)
    }

    fn enrollment(
        &self,
        nth: usize,
        reason: v1::Reason,
        channel: v1::Channel,
        approved: bool,
        step: &EnrollmentStep,
    ) -> anyhow::Result<Application> {
        let issuing = &self.issuing;
        let application = Application::set_enrollment(
            issuing.scene.genesis_hash,
            &self.circumstances(reason, channel, approved),
            &issuing.scene.registrar.did,
            &issuing.credential_type,
            self.people[nth].handle,
            step,
        )?;
        self.approved(application)
    }

    fn entries(
        &self,
        state: EntryState,
        reason: v1::Reason,
        approved: bool,
        entries: &[(u32, Option<Handle>)],
        grace_until_ms: u64,
    ) -> anyhow::Result<Application> {
        let issuing = &self.issuing;
        let application = Application::set_status(
            issuing.scene.genesis_hash,
            &self.circumstances(reason, v1::Channel::System, approved),
            issuing.lists.first().context("there is no list")?,
            state,
            entries,
            EntryDates { grace_until_ms, ..EntryDates::default() },
        )?;
        self.approved(application)
    }

    /// Puts changes into transactions and brings them until all are ordered.
    async fn bring(&mut self, changes: &[Change], bar: &ProgressBar) -> anyhow::Result<()> {
        let mut transactions = Vec::new();
        for batch in changes.chunks(BATCH) {
            let applications: Vec<Application> =
                batch.iter().map(|(application, _)| application.clone()).collect();
            let holders: Vec<(usize, Vec<&SecretKey>)> = batch
                .iter()
                .enumerate()
                .map(|(place, (_, keys))| (place, keys.iter().collect()))
                .collect();
            transactions.push(self.issuing.transaction(&applications, &holders, LIFE_MS)?);
        }
        self.order(transactions, bar).await.map(drop)
    }

    /// Brings transactions until all are ordered, and says where, in their order.
    async fn order(
        &mut self,
        transactions: Vec<v1::Transaction>,
        bar: &ProgressBar,
    ) -> anyhow::Result<Vec<Committed>> {
        self.transactions += transactions.len();
        self.operations += transactions
            .iter()
            .map(|one| one.body.as_ref().map_or(0, |body| body.operations.len()))
            .sum::<usize>();
        let transactions: Arc<[v1::Transaction]> = transactions.into();
        let next = Arc::new(AtomicUsize::new(0));
        let mut workers = tokio::task::JoinSet::new();
        for _ in 0..CONCURRENCY {
            let (issuing, transactions) = (self.issuing.clone(), transactions.clone());
            let (next, bar) = (next.clone(), bar.clone());
            workers.spawn(async move {
                let mut done = Vec::new();
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(one) = transactions.get(place) else { break };
                    done.push((place, issuing.scene.commit(one, place).await?));
                    bar.inc(1);
                }
                anyhow::Ok(done)
            });
        }
        let mut done = Vec::with_capacity(transactions.len());
        while let Some(worker) = workers.join_next().await {
            done.extend(worker??);
        }
        done.sort_by_key(|(place, _)| *place);
        ensure!(done.len() == transactions.len(), "not every transaction was ordered");
        Ok(done.into_iter().map(|(_, at)| at).collect())
    }

    /// The whole lives. Each kind of change is done to all whom it befalls before the next.
    pub(super) async fn live(&mut self, bar: &ProgressBar) -> anyhow::Result<()> {
        let all: Vec<usize> = (0..self.people.len()).collect();
        let every = |nth: usize| -> Vec<usize> {
            all.iter().copied().filter(|one| one.is_multiple_of(nth)).collect()
        };
        bar.set_message("registering");
        self.register(bar).await?;
        bar.set_message("first issue");
        self.enroll(&all, v1::Reason::FirstIssue, bar).await?;
        self.issue(&all, v1::Reason::FirstIssue, bar).await?;
        bar.set_message("suspending");
        self.suspend_and_reinstate(&every(3), bar).await?;
        bar.set_message("refreshing");
        self.refresh(bar).await?;
        bar.set_message("lost");
        let lost: Vec<usize> = every(5);
        self.end(&lost, v1::Reason::LostDevice, v1::Channel::CallCentre, bar).await?;
        for nth in &lost {
            let one = &mut self.people[*nth];
            (one.one_time, one.phone) = (
                SecretKey::generate(KeyAlgorithm::Ed25519)?,
                SecretKey::generate(KeyAlgorithm::Ed25519)?,
            );
        }
        self.enroll(&lost, v1::Reason::LostDevice, bar).await?;
        self.issue(&lost, v1::Reason::LostDevice, bar).await?;
        bar.set_message("ended");
        self.end(&every(7), v1::Reason::EndOfUse, v1::Channel::Portal, bar).await
    }

    async fn register(&mut self, bar: &ProgressBar) -> anyhow::Result<()> {
        let transactions = self
            .people
            .chunks(BATCH)
            .map(|batch| {
                let holders: Vec<&Identity> = batch.iter().map(|one| &one.holder).collect();
                self.issuing.scene.create(&holders)
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        self.order(transactions, bar).await.map(drop)
    }

    /// Reserved at the office, and activated by the phone.
    async fn enroll(
        &mut self,
        whom: &[usize],
        reason: v1::Reason,
        bar: &ProgressBar,
    ) -> anyhow::Result<()> {
        let mut changes = Vec::with_capacity(whom.len());
        for nth in whom {
            self.people[*nth].number += 1;
            let one = &self.people[*nth];
            let step = EnrollmentStep::Reserve {
                number: one.number,
                one_time_key: one.one_time.public().clone(),
                deadline_ms: clock_ms() + HOUR_MS,
                valid_until_ms: clock_ms() + 365 * DAY_MS,
                new_handle: None,
            };
            let application = self.enrollment(*nth, reason, v1::Channel::Office, true, &step)?;
            changes.push((application, Vec::new()));
        }
        self.bring(&changes, bar).await?;
        let mut changes = Vec::with_capacity(whom.len());
        for nth in whom {
            let one = &self.people[*nth];
            let step = EnrollmentStep::Activate {
                number: one.number,
                one_time_key: one.one_time.public().clone(),
                enrollment_key: one.phone.public().clone(),
                grace_until_ms: 0,
            };
            let application = self.enrollment(*nth, reason, v1::Channel::App, false, &step)?;
            changes.push((application, vec![one.one_time.clone(), one.phone.clone()]));
        }
        self.bring(&changes, bar).await
    }

    fn draw(&mut self) -> anyhow::Result<u32> {
        self.entries += 1;
        self.free.pop().context("the list is used up")
    }

    /// A credential for the phone, and its entry made valid together with others'.
    async fn issue(
        &mut self,
        whom: &[usize],
        reason: v1::Reason,
        bar: &ProgressBar,
    ) -> anyhow::Result<()> {
        let mut changes = Vec::new();
        for batch in whom.chunks(BATCH) {
            let mut entries = Vec::with_capacity(batch.len());
            for nth in batch {
                let index = self.draw()?;
                self.hand_out(*nth, index, false)?;
                entries.push((index, Some(self.people[*nth].handle)));
            }
            let application = self.entries(EntryState::Valid, reason, true, &entries, 0)?;
            changes.push((application, Vec::new()));
        }
        self.bring(&changes, bar).await
    }

    /// What the phone gets: signed, and sent to nobody else.
    fn hand_out(&mut self, nth: usize, index: u32, moved: bool) -> anyhow::Result<()> {
        let registrar = &self.issuing.scene.registrar;
        let key = registrar
            .newest_secret(sillok_did_method::ASSERTION_METHOD)
            .context("the registrar has no key to sign credentials with")?;
        let one = &mut self.people[nth];
        let claims = one.attributes.credential(moved);
        let text = serde_json::json!({ "claims": claims, "statusIndex": index }).to_string();
        let signature = key.key_signature(text.as_bytes())?;
        one.credential = format!("{text}.{}", hex::encode(signature.signature));
        one.index = index;
        Ok(())
    }

    async fn suspend_and_reinstate(
        &mut self,
        whom: &[usize],
        bar: &ProgressBar,
    ) -> anyhow::Result<()> {
        let step = EnrollmentStep::Suspend { number: 0 };
        let suspended = whom
            .iter()
            .map(|nth| {
                let channel = v1::Channel::CallCentre;
                let reason = v1::Reason::Suspected;
                Ok((self.enrollment(*nth, reason, channel, false, &step)?, Vec::new()))
            })
            .collect::<anyhow::Result<Vec<Change>>>()?;
        self.bring(&suspended, bar).await?;
        let found = whom
            .iter()
            .map(|nth| {
                let one = &self.people[*nth];
                let step = EnrollmentStep::Reinstate {
                    number: one.number,
                    enrollment_key: one.phone.public().clone(),
                };
                let channel = v1::Channel::App;
                let application =
                    self.enrollment(*nth, v1::Reason::Found, channel, false, &step)?;
                Ok((application, vec![one.phone.clone()]))
            })
            .collect::<anyhow::Result<Vec<Change>>>()?;
        self.bring(&found, bar).await
    }

    /// Half of the people moved house, the others' time came; both are refreshed in the same minutes, in groups of equal
    /// size.
    async fn refresh(&mut self, bar: &ProgressBar) -> anyhow::Result<()> {
        let grace_until_ms = clock_ms() + DAY_MS;
        let half = self.people.len() / 2;
        let (movers, others): (Vec<usize>, Vec<usize>) =
            (0..self.people.len()).partition(|nth| nth.is_multiple_of(2));
        let mut groups: Vec<(v1::Reason, Vec<usize>)> = Vec::new();
        // One of each in turn: their times say nothing either.
        for (moved, due) in movers.chunks_exact(REFRESHED).zip(others.chunks_exact(REFRESHED)) {
            groups.push((v1::Reason::AttributeChange, moved.to_vec()));
            groups.push((v1::Reason::Renewal, due.to_vec()));
        }
        ensure!(!groups.is_empty(), "{half} people are too few to refresh in groups");
        let mut transactions = Vec::with_capacity(groups.len());
        for (reason, group) in &groups {
            let old: Vec<_> = group.iter().map(|nth| (self.people[*nth].index, None)).collect();
            let mut new = Vec::with_capacity(group.len());
            for nth in group {
                let index = self.draw()?;
                self.hand_out(*nth, index, *reason == v1::Reason::AttributeChange)?;
                new.push((index, Some(self.people[*nth].handle)));
            }
            let applications = [
                self.entries(EntryState::Superseded, *reason, false, &old, grace_until_ms)?,
                self.entries(EntryState::Valid, *reason, false, &new, 0)?,
            ];
            transactions.push(self.issuing.transaction(&applications, &[], LIFE_MS)?);
        }
        let at = self.order(transactions.clone(), bar).await?;
        for (((reason, _), transaction), at) in groups.into_iter().zip(transactions).zip(at) {
            self.refreshes.push(Refresh { reason, transaction, at });
        }
        Ok(())
    }

    async fn end(
        &mut self,
        whom: &[usize],
        reason: v1::Reason,
        channel: v1::Channel,
        bar: &ProgressBar,
    ) -> anyhow::Result<()> {
        let step = EnrollmentStep::End { number: 0, invalid_from_ms: 0 };
        let changes = whom
            .iter()
            .map(|nth| Ok((self.enrollment(*nth, reason, channel, false, &step)?, Vec::new())))
            .collect::<anyhow::Result<Vec<Change>>>()?;
        if let Some((application, _)) = changes.first() {
            let single = std::slice::from_ref(application);
            self.other = Some(self.issuing.transaction(single, &[], LIFE_MS)?);
        }
        self.bring(&changes, bar).await
    }

    /// Brings transactions whose private salts are these bytes, so that they stand in gossip and in blocks as they are.
    /// They suspend nobody's enrollment and revoke entries that were never used.
    pub(super) async fn plant(
        &mut self,
        salts: &[[u8; 32]],
        bar: &ProgressBar,
    ) -> anyhow::Result<()> {
        let mut applications = Vec::with_capacity(salts.len());
        for salt in salts {
            let index = self.draw()?;
            let application = self.entries(
                EntryState::Invalid,
                v1::Reason::EndOfUse,
                false,
                &[(index, None)],
                0,
            )?;
            applications.push((salted(&self.issuing.scene, &application, salt)?, Vec::new()));
        }
        self.bring(&applications, bar).await
    }
}

/// The same change with another salt, by way of the file in which a desk hands it on.
fn salted(
    scene: &Scene,
    application: &Application,
    salt: &[u8; 32],
) -> anyhow::Result<Application> {
    use sillok_client::desk::{applications_from_json, applications_to_json};
    use v1::operation::Operation as Kind;
    let genesis = scene.genesis_hash;
    let text = applications_to_json(&genesis, std::slice::from_ref(application));
    let mut file: serde_json::Value = serde_json::from_str(&text)?;
    let content = v1::PrivateContent { salt: salt.to_vec(), ..application.content().clone() };
    let mut operation = application.operation().clone();
    if let Some(Kind::SetStatus(op)) = &mut operation.operation {
        op.content_hash = sillok_did_method::private_content_hash(&content).to_vec();
    }
    file["changes"][0]["private_content"] = hex::encode(sillok_proto::encode(&content)).into();
    file["changes"][0]["operation"] = hex::encode(sillok_proto::encode(&operation)).into();
    let read = applications_from_json(&file.to_string(), genesis)?;
    read.into_iter().next().context("there is one change in the file")
}
