//! The tour's story of a credential: an issuer is accredited, a person enrolled, a credential issued, checked and revoked.
//!
//! What is proved here is asked of every node by a client that knows the genesis alone.

use super::{Cast, Guide, first_reader, short};
use crate::directory::Devnet;
use crate::reader::Reader;
use anyhow::{Context as _, bail, ensure};
use sillok_client::credential_type::TypeFile;
use sillok_client::desk::{Application, Circumstances, EnrollmentStep, EntryDates};
use sillok_client::draw::Lots;
use sillok_client::holder::{HolderKey, Ticket};
use sillok_client::identity::Identity;
use sillok_client::keys::KeyAlgorithm::{Ed25519, P256};
use sillok_client::keys::{SecretKey, random};
use sillok_client::pseudonym::{Handle, HandleSecret, Person};
use sillok_client::read::{Client, Committed};
use sillok_client::registry::states;
use sillok_client::transaction::OperationDraft;
use sillok_client::verify::authority::Right;
use sillok_client::verify::moment::Moment;
use sillok_client::write::WriteError;
use sillok_did_method::{
    CAPABILITY_INVOCATION, CHUNK_ENTRIES, Did, EntryState, LIST_ENTRIES_MIN, SUBMIT,
};
use sillok_ledger::status::chunk_of;
use sillok_proto::{Hash, v1};
use std::path::Path;
use v1::Action;

/// One active enrollment for each person, an approval for the first.
const TYPE: &str = r#"{
    "schemaHash": "5ae2af1bd2a2bd0bf5b6d1a4b6cc1d2e9d4f0a0d3f8ad1a6f8f2f0b2b4d1c0e1",
    "policy": {
        "exclusive": true,
        "reasons": [
            { "reason": "first-issue", "approvals": 1 },
            { "reason": "attribute-change" },
            { "reason": "lost-device" },
            { "reason": "suspected" }
        ],
        "channels": ["office", "call-centre", "system"],
        "keyAlgorithms": ["ed25519", "p256"],
        "purposes": ["identification"],
        "validityMax": "3years",
        "reservationMax": "1day",
        "approvalMax": "1day"
    }
}"#;
const HOUR_MS: u64 = 3_600_000;

/// What the desk works with. The ministry carries what its office asks for.
struct Desk<'a> {
    client: &'a Client,
    ministry: &'a Identity,
    issuer: &'a Identity,
    credential_type: Hash,
    list: Hash,
    handle: Handle,
}

impl Desk<'_> {
    fn circumstances(&self, reason: v1::Reason, channel: v1::Channel) -> Circumstances {
        Circumstances {
            acting_role: self.issuer.did.clone(),
            reason,
            channel,
            assurance_level: None,
            organization: None,
            approvers: Vec::new(),
        }
    }

    fn enrollment(
        &self,
        circumstances: &Circumstances,
        step: &EnrollmentStep,
    ) -> anyhow::Result<Application> {
        let (genesis_hash, issuer) = (self.client.genesis_hash(), &self.issuer.did);
        let of = &self.credential_type;
        Ok(Application::set_enrollment(genesis_hash, circumstances, issuer, of, self.handle, step)?)
    }

    /// Signed by the desk and by these keys of the holder, and submitted.
    async fn bring(
        &self,
        application: Application,
        holder: &[&SecretKey],
    ) -> Result<Committed, WriteError> {
        let submitter = &self.ministry.did;
        let mut partly = self.client.at_desk(self.issuer, &[application], submitter, None).await?;
        for key in holder {
            partly.sign_holder(0, key)?;
        }
        self.client.bring(partly, self.ministry).await
    }

    /// The same, of what must be refused: the code of the rule.
    async fn refusal(
        &self,
        application: Application,
        holder: &[&SecretKey],
    ) -> anyhow::Result<String> {
        match self.bring(application, holder).await {
            Ok(at) => bail!("it was ordered at height {}", at.receipt.header.height()),
            Err(error) => match error.problem() {
                Some(problem) => Ok(problem.code.clone()),
                None => Err(error.into()),
            },
        }
    }

    /// Signed by nobody but the desk: what a call centre does about a lost phone.
    fn loss(&self, step: &EnrollmentStep, reason: v1::Reason) -> anyhow::Result<Application> {
        self.enrollment(&self.circumstances(reason, v1::Channel::CallCentre), step)
    }
}

/// Operations of one author, carried by the ministry.
async fn authored(
    client: &Client,
    ministry: &Identity,
    author: &Identity,
    drafts: Vec<OperationDraft>,
) -> anyhow::Result<Committed> {
    let partly = client.authored(author, drafts, &ministry.did, None).await?;
    Ok(client.bring(partly, ministry).await?)
}

/// A client of each node that knows the genesis alone, once the node has reached a height.
async fn verifiers(devnet: &Devnet, height: u64) -> anyhow::Result<Vec<(String, Reader)>> {
    let mut verifiers = Vec::with_capacity(devnet.nodes.len());
    for node in &devnet.nodes {
        let reader = Reader::fresh(devnet, &node.grpc)?;
        reader.wait_for(height).await?;
        verifiers.push((node.name.clone(), reader));
    }
    Ok(verifiers)
}

/// Tells the story.
pub(super) async fn tell(devnet: &Devnet, cast: &Cast, guide: &mut Guide) -> anyhow::Result<()> {
    let reader = first_reader(devnet)?;
    let client = &*reader.client;
    let (ministry, issuer) = (&cast.scene.registrar, &cast.office);
    let (authority, countersigner) = (ministry.did.clone(), cast.scene.countersigner.did.clone());
    let board = Identity::organization(
        &devnet.network,
        Ed25519,
        false,
        Some(authority),
        Some(countersigner),
    )?;
    cast.scene.commit(&cast.scene.create(&[&board])?, 0).await?;
    let (credential_type, list) = accredit(devnet, client, cast, &board, guide).await?;

    let secret = HandleSecret::generate()?;
    let person = Person::new("900101-1234567")?;
    let handle = secret.handle(&credential_type, &person);
    let desk = Desk { client, ministry, issuer, credential_type, list, handle };
    Box::pin(enroll(&desk, &board, guide)).await?;
    Box::pin(use_and_lose(devnet, &desk, guide)).await
}

/// A type is published; an office may issue under it from then on, and before that it may not.
async fn accredit(
    devnet: &Devnet,
    client: &Client,
    cast: &Cast,
    board: &Identity,
    guide: &mut Guide,
) -> anyhow::Result<(Hash, Hash)> {
    let (ministry, issuer) = (&cast.scene.registrar, &cast.office);
    let genesis_hash = client.genesis_hash();
    let content = TypeFile::parse(TYPE)?.content(Path::new("."))?;
    let (draft, credential_type) =
        OperationDraft::publish_type(&genesis_hash, &ministry.did, &random()?, content);
    authored(client, ministry, ministry, vec![draft]).await?;

    let right = Right {
        organization: issuer.did.digest(),
        action: Action::Issue,
        resource: Some(credential_type),
    };
    let before = client.authority(&right, Moment::Tip).await?;
    ensure!(before.fresh()?.chain.is_none(), "the office may issue before it is accredited");
    let grant = |by: &Did, to: &Did, action: v1::Action| {
        let grant = v1::NewGrant {
            organization: to.digest().to_vec(),
            action: action.into(),
            resource: credential_type.to_vec(),
            ..v1::NewGrant::default()
        };
        OperationDraft::accredit(by, grant)
    };
    // What the office may pass on: who approves for it has its right from it.
    let grants = [Action::Issue, Action::Revoke, Action::Approve, Action::Accredit]
        .map(|action| grant(&ministry.did, &issuer.did, action));
    let at = authored(client, ministry, ministry, grants.into()).await?.receipt.header.height();
    // Registered by the ministry and not by the office, the board agrees to what it receives.
    let approves = vec![grant(&issuer.did, &board.did, Action::Approve)];
    let mut partly = client.authored(issuer, approves, &ministry.did, None).await?;
    partly.sign(0, &client.acting_key(board, CAPABILITY_INVOCATION).await?)?;
    client.bring(partly, ministry).await?;
    let mut links = 0;
    for (name, verifier) in verifiers(devnet, at).await? {
        let answer = verifier.client.authority(&right, Moment::Tip).await?;
        let chain = answer.fresh()?.chain.as_ref();
        links = chain.with_context(|| format!("{name} knows of no such right"))?.len();
    }
    let nonce = random()?;
    let (draft, list) = OperationDraft::create_list(
        &genesis_hash,
        &issuer.did,
        &credential_type,
        &nonce,
        LIST_ENTRIES_MIN,
        300,
    );
    let created = authored(client, ministry, issuer, vec![draft]).await?;
    guide.done(
        "An issuer is accredited",
        vec![
            format!("before: {} may not issue, and that is proved too", short(&issuer.did)),
            format!(
                "accredited at height {at}: every node proves it, by a chain of {links} grants that ends at the genesis"
            ),
            format!(
                "its status list has {LIST_ENTRIES_MIN} entries at height {}, all pending",
                created.receipt.header.height()
            ),
        ],
    );
    Ok((credential_type, list))
}

/// Reserved with an approval, activated with the phone.
async fn enroll(desk: &Desk<'_>, board: &Identity, guide: &mut Guide) -> anyhow::Result<()> {
    let client = desk.client;
    let now_ms = client.options().clock.now_ms();
    let ticket = Ticket {
        issuer: desk.issuer.did.clone(),
        credential_type: desk.credential_type,
        number: 1,
        deadline_ms: now_ms + HOUR_MS,
    };
    let one_time = HolderKey::one_time(Ed25519, ticket)?;
    let reserve = EnrollmentStep::Reserve {
        number: 1,
        one_time_key: one_time.secret.public().clone(),
        deadline_ms: now_ms + HOUR_MS,
        valid_until_ms: now_ms + 365 * 24 * HOUR_MS,
        new_handle: None,
    };
    let first = desk.circumstances(v1::Reason::FirstIssue, v1::Channel::Office);
    let alone = desk.refusal(desk.enrollment(&first, &reserve)?, &[]).await?;
    ensure!(alone == "APPROVAL_MISSING", "without its approval it was refused as {alone}");
    let named = Circumstances { approvers: vec![board.did.clone()], ..first.clone() };
    let mut application = desk.enrollment(&named, &reserve)?;
    let key = client.acting_key(board, SUBMIT).await?;
    let approval = application.approve(&board.did, &key, now_ms + HOUR_MS)?;
    application.merge(&approval)?;
    let reserved = desk.bring(application, &[]).await?;

    let activate = |phone: &HolderKey| {
        let step = EnrollmentStep::Activate {
            number: 1,
            one_time_key: one_time.secret.public().clone(),
            enrollment_key: phone.secret.public().clone(),
            grace_until_ms: 0,
        };
        desk.enrollment(&first, &step)
    };
    let phone = HolderKey::enrollment(P256)?;
    let active = desk.bring(activate(&phone)?, &[&one_time.secret, &phone.secret]).await?;
    let second = HolderKey::enrollment(P256)?;
    let taken = desk.refusal(activate(&second)?, &[&one_time.secret, &second.secret]).await?;
    ensure!(taken == "ONE_DEVICE", "the second phone was refused as {taken}");
    guide.done(
        "A person is enrolled: the office reserves, a board approves, the phone activates",
        vec![
            format!(
                "reserved at height {}; without the board's approval: {alone}",
                reserved.receipt.header.height()
            ),
            format!(
                "activated at height {} by the code and the phone together; another phone with the same code: {taken}",
                active.receipt.header.height()
            ),
            "on the ledger the person is a keyed hash in a leaf that no verifier is shown".to_owned(),
        ],
    );
    Ok(())
}

/// What verifiers hear of an entry, each from another node that it does not trust: a whole chunk, never one entry.
async fn ask_all(
    devnet: &Devnet,
    list: &Hash,
    index: u32,
    height: u64,
) -> anyhow::Result<EntryState> {
    let mut heard = None;
    for (name, verifier) in verifiers(devnet, height).await? {
        let answer = verifier.client.chunks(list, &[chunk_of(index).0], Moment::Tip).await?;
        let state = answer.fresh()?.entry(index)?.state;
        let others = *heard.get_or_insert(state);
        ensure!(
            state == others,
            "{name} says {} and others say {}",
            state.as_str(),
            others.as_str()
        );
    }
    heard.context("the devnet has no node")
}

/// A credential is issued and checked, its phone lost.
async fn use_and_lose(devnet: &Devnet, desk: &Desk<'_>, guide: &mut Guide) -> anyhow::Result<()> {
    let client = desk.client;
    let whole = client.whole_list(&desk.list, Moment::Tip).await?;
    let whole = whole.fresh()?.as_ref().context("the list is not there")?;
    let index = Lots::new(states(whole)?).draw(1)?.pop().context("nothing was drawn")?;
    let issued = Application::set_status(
        client.genesis_hash(),
        &desk.circumstances(v1::Reason::AttributeChange, v1::Channel::System),
        &desk.list,
        EntryState::Valid,
        &[(index, Some(desk.handle))],
        EntryDates::default(),
    )?;
    let end = EnrollmentStep::End { number: 0, invalid_from_ms: 0 };
    let suspended = desk.loss(&EnrollmentStep::Suspend { number: 0 }, v1::Reason::Suspected)?;
    let ended = desk.loss(&end, v1::Reason::LostDevice)?;
    let steps = [
        ("issued", issued, EntryState::Valid),
        (
            "the phone is missing, suspended by the call centre alone",
            suspended,
            EntryState::Suspended,
        ),
        ("the phone is lost, revoked for good", ended, EntryState::Invalid),
    ];
    let mut checks = Vec::new();
    for (what, application, expected) in steps {
        let at = desk.bring(application, &[]).await?.receipt.header.height();
        let state = ask_all(devnet, &desk.list, index, at).await?;
        ensure!(state == expected, "after {what:?} the entry is {}", state.as_str());
        checks.push(format!(
            "{what}, at height {at}: all {} nodes prove {}",
            devnet.nodes.len(),
            state.as_str()
        ));
    }
    let code = desk.refusal(desk.loss(&end, v1::Reason::LostDevice)?, &[]).await?;
    ensure!(code == "ALREADY", "the second report was refused as {code}");
    checks.push(format!("reported twice, done once: {code}"));
    checks.push(format!(
        "a verifier asks for {CHUNK_ENTRIES} entries at once, so no node learns which credential was shown"
    ));
    guide.done("A credential is issued, checked, and revoked when its phone is lost", checks);
    Ok(())
}
