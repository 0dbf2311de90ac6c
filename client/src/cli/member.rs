//! `sillok member`: who runs the network, and how that changes.
//!
//! Everything shown is proved, but one thing: that a node's list of proposals is complete. A governance key is read
//! from its file where it is, or stays offline: then the transaction goes to it and back in a file (`tx sign`).

use super::arguments::{
    FigureArguments, Global, MemberCommand, ProposeArguments, ProposeCommand, SigningArguments,
};
use super::failure::{EXIT_NOT_FOUND, EXIT_OK, EXIT_STALE, Failure};
use super::output::Output;
use super::read::{did_text, verification, verified_line};
use super::{carry, operation, session, tx};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sillok_client::identity::Identity;
use sillok_client::keys::SecretKey;
use sillok_client::member::{Member, Members, Progress, Proposed, Standing, Weight};
use sillok_client::read::{Client, Committed};
use sillok_client::transaction::OperationDraft;
use sillok_client::verify::Answer;
use sillok_client::write::WriteError;
use sillok_did_method::{Did, format_datetime, parameters_hash, proposal_hash};
use sillok_ledger::MEMBERSHIP_DELAY;
use sillok_proto::{Hash, v1};
use std::fs;
use std::path::Path;
use std::time::Duration;
use v1::change::Change;

pub(crate) async fn run(
    global: &Global,
    command: &MemberCommand,
    output: Output,
) -> Result<u8, Failure> {
    match command {
        MemberCommand::List => list(global, output).await,
        MemberCommand::Propose(command) => propose(global, command, output).await,
        MemberCommand::Approve { proposal, signing } => {
            approve(global, proposal, signing, output).await
        }
        MemberCommand::Proposals { all } => proposals(global, *all, output).await,
        MemberCommand::Evidence => evidence(global, output).await,
        MemberCommand::Show { proposal } => show(global, proposal, output).await,
        MemberCommand::Rekey { validator_key, signing } => {
            rekey(global, validator_key, signing, output).await
        }
        MemberCommand::Join { dir, key, submitter } => {
            let path = match (dir, key) {
                (Some(dir), _) => {
                    // A key that waits for its turn is beside the one in use.
                    let next = dir.join("validator.next").join("validator.key");
                    let current = dir.join("validator").join("validator.key");
                    if next.exists() { next } else { current }
                }
                (None, Some(key)) => key.clone(),
                (None, None) => return Err(Failure::usage("say with --dir whose key joins")),
            };
            join(global, &path, submitter, output).await
        }
    }
}

/// The words for a committed change, and its place.
pub(super) fn done(
    output: Output,
    what: &str,
    facts: &[(&'static str, String)],
    committed: &Committed,
) {
    let receipt = &committed.receipt;
    let header = &receipt.header;
    let mut value: Map<String, Value> =
        facts.iter().map(|(name, value)| (name.replace(' ', "_"), value.clone().into())).collect();
    value.insert("transactionId".to_owned(), receipt.transaction_id.to_string().into());
    value.insert("height".to_owned(), header.height().to_string().into());
    value.insert("time".to_owned(), format_datetime(header.time_ms()).into());
    output.value(&Value::Object(value));
    output.line(output.good(what));
    let mut facts = facts.to_vec();
    facts.push(("transaction", receipt.transaction_id.to_string()));
    facts.push(("height", format!("{} (receipt verified)", header.height())));
    output.facts(&facts);
}

fn exit_of<T>(answer: &Answer<T>) -> u8 {
    if answer.is_stale() { EXIT_STALE } else { EXIT_OK }
}

fn standing(member: &Member, answer: &Answer<Members>) -> String {
    match member.standing(answer.height(), answer.time_ms()) {
        Standing::Votes => "votes".to_owned(),
        Standing::VotesFrom(height) => format!("votes from height {height} on"),
        Standing::MayJoin(until_ms) => format!("may join until {}", format_datetime(until_ms)),
        Standing::Lapsed(_) => "did not join in time".to_owned(),
    }
}

async fn list(global: &Global, output: Output) -> Result<u8, Failure> {
    let client = session::client(global).await?;
    let answer = client.members().await?;
    let network = client.chain().network().to_owned();
    let members = answer.even_if_stale();
    let mut rows = Vec::new();
    let mut values = Vec::new();
    for member in &members.operators {
        let keys = member.keys();
        let standing = standing(member, &answer);
        let pending = member.pending(answer.time_ms());
        let seat = member.seat.as_ref();
        values.push(json!({
            "organization": did_text(&network, member.organization),
            "name": member.name,
            "standing": standing,
            "seated": seat.is_some(),
            "votesSinceHeight": seat.map(|seat| seat.since_height.to_string()),
            "validatorKey": seat.map(|seat| hex::encode(&seat.public_key)),
            "pendingValidatorKey": pending.map(|pending| hex::encode(&pending.validator_key)),
            "pendingUntil": pending.map(|pending| format_datetime(pending.expires_ms)),
            "nodeKey": hex::encode(&keys.node_key),
            "pendingNodeKey": member.pending_node_key(answer.time_ms()).map(hex::encode),
            "governanceKey": hex::encode(&keys.governance_key),
            "archive": keys.archive,
        }));
        let shown = match (seat, pending) {
            (Some(_), Some(_)) => format!("{standing}, new key may join"),
            _ => standing,
        };
        let painted = if seat.is_some() { output.good(&shown) } else { output.warning(&shown) };
        rows.push([
            match member.name.as_str() {
                "" => "-".to_owned(),
                name => name.chars().filter(|c| !c.is_control()).collect(),
            },
            painted,
            match seat.map(|seat| seat.since_height) {
                None => "-".to_owned(),
                Some(0) => "genesis".to_owned(),
                Some(height) => height.to_string(),
            },
            if keys.archive { "yes" } else { "no" }.to_owned(),
            did_text(&network, member.organization),
        ]);
        if let Some(node_key) = member.pending_node_key(answer.time_ms()) {
            let archive = pending.is_some_and(|pending| pending.archive);
            rows.push([
                "-".to_owned(),
                "takes over when the new key joins".to_owned(),
                "-".to_owned(),
                if archive { "yes" } else { "no" }.to_owned(),
                format!("node key {} after {}", hex::encode(node_key), hex::encode(&keys.node_key)),
            ]);
        }
    }
    let mut observers = Vec::new();
    for record in &members.observers {
        let observer = record.observer.clone().unwrap_or_default();
        observers.push(
            json!({ "nodeKey": hex::encode(&observer.node_key), "archive": observer.archive }),
        );
        rows.push([
            "-".to_owned(),
            "observer".to_owned(),
            "-".to_owned(),
            if observer.archive { "yes" } else { "no" }.to_owned(),
            format!("node key {}", hex::encode(&observer.node_key)),
        ]);
    }
    let seated = members.validators.validators.len();
    output.value(&json!({
        "operators": values,
        "observers": observers,
        "seated": seated,
        "approvalsNeeded": members.threshold(),
        "verification": verification(&answer, &client.genesis_hash()),
    }));
    output.table(["name", "standing", "since", "archive", "member"], rows);
    output.line("");
    output.line(format_args!(
        "{seated} members are seated; a proposal needs the approval of {}",
        members.threshold()
    ));
    verified_line(&answer, &client.genesis_hash(), "members and their keys", output);
    Ok(exit_of(&answer))
}

/// The public keys of an operator as `sillok-node keys --json` prints them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublicKeys {
    node_key: String,
    validator_key: String,
    governance_key: String,
    #[serde(default)]
    #[allow(dead_code, reason = "printed with the keys; another spelling of the node key")]
    peer_id: Option<String>,
}

fn read_keys(path: &Path, organization: &Did, archive: bool) -> Result<v1::Operator, Failure> {
    let wrong = |reason: &dyn std::fmt::Display| {
        Failure::failed(format!(
            "{}: {reason}; give what `sillok-node keys --json` printed",
            path.display()
        ))
    };
    let text = fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let keys: PublicKeys = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
    let key = |text: &str| {
        hex::decode(text)
            .ok()
            .filter(|bytes| bytes.len() == 32)
            .ok_or_else(|| wrong(&"a key is not 64 hex digits"))
    };
    Ok(v1::Operator {
        organization: organization.digest().to_vec(),
        validator_key: key(&keys.validator_key)?,
        node_key: key(&keys.node_key)?,
        governance_key: key(&keys.governance_key)?,
        archive,
    })
}

/// Who signs: the operator, and its governance key if it is here.
struct Signer {
    operator: Did,
    key: Option<SecretKey>,
}

async fn signer(client: &Client, signing: &SigningArguments) -> Result<Signer, Failure> {
    let key = signing.governance_key.as_deref().map(SecretKey::read_file).transpose()?;
    let answer = client.members().await?;
    let members = answer.even_if_stale();
    let network = client.chain().network().to_owned();
    let member = match (&key, &signing.operator) {
        (Some(key), _) => members.by_governance_key(&key.public().point).ok_or_else(|| {
            Failure::failed(
                "no member has this governance key; see `sillok member list --json` for those they have",
            )
        })?,
        (None, Some(did)) => members.of(&did.digest()).ok_or_else(|| {
            Failure::failed(format!("{did} is no member; see `sillok member list`"))
        })?,
        (None, None) => return Err(Failure::usage("say with --operator in whose name")),
    };
    let operator = Did::parse(&did_text(&network, member.organization))
        .map_err(|error| Failure::failed(error.to_string()))?;
    if let Some(named) = &signing.operator
        && *named != operator
    {
        return Err(Failure::usage(format!(
            "this governance key is of {operator}, not of {named}"
        )));
    }
    Ok(Signer { operator, key })
}

/// Signs and submits, or writes the file for the machine that has the key. `None`: it was written. With `confirm`, a
/// node tries it first, and it is asked about unless it says yes.
async fn send(
    client: &Client,
    signing: &SigningArguments,
    key: Option<&SecretKey>,
    draft: OperationDraft,
    confirm: Option<bool>,
    output: Output,
) -> Result<Option<Committed>, Failure> {
    let submitter = Identity::load(&signing.submitter)?;
    client.current(&submitter.did).await?;
    match (key, &signing.out) {
        (Some(key), _) => {
            let until_ms = client.valid_until_ms().await?;
            let mut partly = client.partly(&submitter.did, draft, until_ms);
            partly.sign(0, key)?;
            let Some(yes) = confirm else {
                return Ok(Some(client.bring(partly, &submitter).await?));
            };
            let shown = carry::Done::new("proposed", Vec::new());
            let already = carry::preview(client, &partly, &submitter, &shown, output).await?;
            // Figures that were read with proof are others, so somebody changed them meanwhile.
            if let Some(failure) = already.and_then(|one| Failure::violations(&[(Some(0), one)])) {
                return Err(failure);
            }
            carry::confirm(yes, "submit this?", output)?;
            Ok(Some(client.confirm(partly, &submitter).await?))
        }
        (None, Some(path)) => {
            let until_ms = client.latest_valid_until_ms().await?;
            let partly = client.partly(&submitter.did, draft, until_ms);
            tx::write_new(path, &partly)?;
            output.value(&json!({
                "transactionId": partly.id().to_string(),
                "file": path.display().to_string(),
                "validUntil": format_datetime(until_ms),
            }));
            output.line(format_args!(
                "{} {}; it can be submitted until {}",
                output.good("written to"),
                path.display(),
                format_datetime(until_ms)
            ));
            output.note(format_args!(
                "next, where the governance key is: sillok tx sign {path} --key governance.key\nthen, here: sillok tx submit {path}",
                path = path.display()
            ));
            Ok(None)
        }
        (None, None) => Err(Failure::usage(
            "say with --governance-key who signs, or with --out where to write the transaction",
        )),
    }
}

async fn propose(global: &Global, command: &ProposeCommand, output: Output) -> Result<u8, Failure> {
    let (change, arguments) = match command {
        ProposeCommand::Admit { organization, keys, archive, propose } => {
            (Change::AdmitOperator(read_keys(keys, organization, *archive)?), propose)
        }
        ProposeCommand::Replace { organization, keys, archive, propose } => {
            (Change::ReplaceOperator(read_keys(keys, organization, *archive)?), propose)
        }
        ProposeCommand::Remove { organization, propose } => {
            let organization = organization.digest().to_vec();
            (Change::RemoveOperator(v1::RemoveOperator { organization }), propose)
        }
        ProposeCommand::AdmitObserver { node_key, archive, propose } => {
            let node_key = node_key.to_vec();
            (Change::AdmitObserver(v1::Observer { node_key, archive: *archive }), propose)
        }
        ProposeCommand::Accredit { grant, propose } => (Change::Accredit(grant.grant()), propose),
        ProposeCommand::Withdraw { organization, action, on, propose } => {
            let grant = v1::EndedGrant {
                organization: organization.digest().to_vec(),
                action: (*action).into(),
                resource: on.map(Hash::to_vec).unwrap_or_default(),
                at_ms: 0,
            };
            (Change::Withdraw(grant), propose)
        }
        ProposeCommand::RemoveObserver { node_key, propose } => {
            let node_key = node_key.to_vec();
            (Change::RemoveObserver(v1::RemoveObserver { node_key }), propose)
        }
        ProposeCommand::SetParameters { figures, yes, propose } => {
            return set_parameters(global, figures, *yes, propose, output).await;
        }
    };
    let client = session::client(global).await?;
    open(&client, change, arguments, None, output).await
}

/// Shows what would change of the figures in force, which are proved, and proposes all of them.
async fn set_parameters(
    global: &Global,
    figures: &FigureArguments,
    yes: bool,
    arguments: &ProposeArguments,
    output: Output,
) -> Result<u8, Failure> {
    let client = session::client(global).await?;
    let old = client.parameters().await?.even_if_stale().clone();
    let new = figures.set(&old);
    let changed = operation::difference(&old, &new);
    if changed.is_empty() {
        output.value(&json!({ "already": true }));
        output.line(format_args!("{}; nothing is to be proposed", output.good("already so")));
        return Ok(EXIT_OK);
    }
    output.line("figures of the network, from the block after the last approval on:");
    output.facts(&changed);
    output.line("");
    open(&client, Change::SetParameters(new), arguments, Some(yes), output).await
}

/// What an open proposal would change of the figures in force, which are proved; nothing of other proposals.
async fn difference(
    client: &Client,
    proposed: &Proposed,
    time_ms: u64,
) -> Result<Vec<(&'static str, String)>, Failure> {
    let Some(Change::SetParameters(new)) = proposed.change() else { return Ok(Vec::new()) };
    if proposed.progress(time_ms) != Progress::Open {
        return Ok(Vec::new());
    }
    let in_force = client.parameters().await?.even_if_stale().clone();
    if new.previous != parameters_hash(&in_force).0 {
        let gone = "it was made of figures that are not in force any more; propose again";
        return Ok(vec![("would change", gone.to_owned())]);
    }
    let changed = operation::difference(&in_force, new);
    let lines: Vec<String> =
        changed.into_iter().map(|(name, change)| format!("{name} {change}")).collect();
    Ok(vec![("would change", lines.join("\n"))])
}

impl FigureArguments {
    /// `old`, but for what is named.
    fn set(&self, old: &v1::Parameters) -> v1::Parameters {
        let ms = |duration: Option<Duration>, old: u64| {
            duration.map_or(old, |one| u64::try_from(one.as_millis()).unwrap_or(u64::MAX))
        };
        v1::Parameters {
            valid_until_window_ms: ms(self.valid_until_window, old.valid_until_window_ms),
            heartbeat_ms: ms(self.heartbeat, old.heartbeat_ms),
            clock_behind_ms: ms(self.clock_behind, old.clock_behind_ms),
            clock_ahead_ms: ms(self.clock_ahead, old.clock_ahead_ms),
            block_bytes_max: self.block_bytes_max.unwrap_or(old.block_bytes_max),
            block_state_writes_max: self
                .block_state_writes_max
                .unwrap_or(old.block_state_writes_max),
            block_signature_checks_max: self
                .block_signature_checks_max
                .unwrap_or(old.block_signature_checks_max),
            archives_min: self.archives_min.unwrap_or(old.archives_min),
            // A client takes them from the genesis, so nobody changes them.
            trusting_period_ms: old.trusting_period_ms,
            list_base: old.list_base.clone(),
            previous: parameters_hash(old).to_vec(),
        }
    }
}

/// Opens a proposal. For `confirm` see [`send`].
async fn open(
    client: &Client,
    change: Change,
    arguments: &ProposeArguments,
    confirm: Option<bool>,
    output: Output,
) -> Result<u8, Failure> {
    let ProposeArguments { expires_in, signing } = arguments;
    let signer = signer(client, signing).await?;
    let life_ms = u64::try_from(expires_in.as_millis()).unwrap_or(u64::MAX);
    let proposal = v1::Proposal {
        expires_ms: client.options().clock.now_ms().saturating_add(life_ms),
        change: Some(v1::Change { change: Some(change) }),
    };
    let hash = proposal_hash(&client.genesis_hash(), &proposal);
    let draft = OperationDraft::propose(&signer.operator, proposal);
    match send(client, signing, signer.key.as_ref(), draft, confirm, output).await? {
        Some(committed) => {
            done(output, "proposed", &[("proposal", hash.to_string())], &committed);
            next(client, &hash, output).await
        }
        None => {
            output.line(format_args!("proposal {hash}"));
            Ok(EXIT_OK)
        }
    }
}

async fn approve(
    global: &Global,
    proposal: &Hash,
    signing: &SigningArguments,
    output: Output,
) -> Result<u8, Failure> {
    let client = session::client(global).await?;
    let signer = signer(&client, signing).await?;
    let answer = client.proposal(proposal).await?;
    if let Some(proposed) = answer.even_if_stale() {
        let changed = difference(&client, proposed, answer.time_ms()).await?;
        if !changed.is_empty() {
            output.facts(&changed);
        }
    }
    let draft = OperationDraft::approve(&signer.operator, proposal);
    let sent = send(&client, signing, signer.key.as_ref(), draft, None, output).await;
    match sent {
        Ok(Some(committed)) => {
            done(output, "approved", &[("proposal", proposal.to_string())], &committed);
            next(&client, proposal, output).await
        }
        Ok(None) => Ok(EXIT_OK),
        // The state asked for is there already.
        Err(failure) if failure.code == "ALREADY" => {
            output.value(&json!({ "proposal": proposal.to_string(), "already": true }));
            output.line(format_args!("{} {proposal}", output.good("already approved")));
            next(&client, proposal, output).await
        }
        Err(failure) => Err(failure),
    }
}

/// Says how far a proposal is, and what is to be done next.
async fn next(client: &Client, hash: &Hash, output: Output) -> Result<u8, Failure> {
    let members = client.members().await?;
    let answer = client.proposal(hash).await?;
    if let Some(proposed) = answer.even_if_stale() {
        hint(proposed, members.even_if_stale(), answer.time_ms(), output);
    }
    Ok(EXIT_OK)
}

fn hint(proposed: &Proposed, members: &Members, time_ms: u64, output: Output) {
    let hash = proposed.hash;
    match proposed.progress(time_ms) {
        Progress::Open => output.note(format_args!(
            "{} of {} approvals; next: sillok member approve {hash} --governance-key governance.key",
            proposed.counted(members),
            members.threshold()
        )),
        Progress::Expired => output.note("it expired; propose it anew"),
        Progress::Executed(height) => match proposed.change() {
            Some(Change::AdmitOperator(_) | Change::ReplaceOperator(_)) => output.note(format_args!(
                "decided at height {height}; next, on the machine of that operator, once its node has caught up: sillok member join --dir DIR"
            )),
            Some(Change::RemoveOperator(_)) => output.note(format_args!(
                "decided at height {height}; its votes do not count from height {} on",
                height.saturating_add(MEMBERSHIP_DELAY)
            )),
            _ => output.note(format_args!("decided at height {height}")),
        },
    }
}

fn progress(proposed: &Proposed, time_ms: u64) -> String {
    match proposed.progress(time_ms) {
        Progress::Open => "open".to_owned(),
        Progress::Executed(height) => format!("decided at height {height}"),
        Progress::Expired => "expired".to_owned(),
    }
}

fn value(proposed: &Proposed, members: &Members, network: &str, time_ms: u64) -> Value {
    let change: Map<String, Value> = operation::change(network, proposed.change())
        .into_iter()
        .map(|(name, value)| (name.replace(' ', "_"), value.into()))
        .collect();
    let approvals: Vec<Value> = proposed
        .record
        .approvals
        .iter()
        .map(|one| {
            json!({
                "operator": did_text(network, Hash::from_slice(&one.operator).unwrap_or_default()),
                "keyId": hex::encode(&one.key_id),
                "counts": members.weigh(one) == Weight::Counts,
            })
        })
        .collect();
    json!({
        "proposal": proposed.hash.to_string(),
        "state": progress(proposed, time_ms),
        "change": change,
        "expires": format_datetime(proposed.expires_ms()),
        "approvals": approvals,
        "approvalsCounted": proposed.counted(members),
        "approvalsNeeded": members.threshold(),
        "decidedHeight": proposed.record.executed_height.to_string(),
    })
}

async fn proposals(global: &Global, all: bool, output: Output) -> Result<u8, Failure> {
    let client = session::client(global).await?;
    let network = client.chain().network().to_owned();
    let members = client.members().await?;
    let time_ms = members.time_ms();
    let mut found = client.proposals().await?;
    found.retain(|one| all || one.progress(time_ms) == Progress::Open);
    let mut rows = Vec::new();
    let mut values = Vec::new();
    for proposed in &found {
        let words = operation::change(&network, proposed.change());
        let what: Vec<&str> = words.iter().take(2).map(|(_, value)| value.as_str()).collect();
        let counted = proposed.counted(members.even_if_stale());
        rows.push([
            proposed.hash.to_string(),
            progress(proposed, time_ms),
            format!("{counted} of {}", members.even_if_stale().threshold()),
            format_datetime(proposed.expires_ms()),
            what.join(" "),
        ]);
        values.push(value(proposed, members.even_if_stale(), &network, time_ms));
    }
    output.value(&json!({ "proposals": values }));
    if found.is_empty() {
        output.line("no proposal is open");
    } else {
        output.table(["proposal", "state", "approvals", "expires", "change"], rows);
    }
    output.note("each is proved; that these are all is the word of one node");
    Ok(exit_of(&members))
}

async fn evidence(global: &Global, output: Output) -> Result<u8, Failure> {
    let client = session::client(global).await?;
    let network = client.chain().network().to_owned();
    let members = client.members().await?;
    let mut rows = Vec::new();
    let mut values = Vec::new();
    let mut forged: usize = 0;
    for recorded in client.evidence(0).await? {
        let Ok(found) = &recorded.verdict else {
            forged = forged.saturating_add(1);
            continue;
        };
        // A key of the past may be of somebody who has another by now.
        let member = members.even_if_stale().by_validator_key(&found.validator);
        let member = member.map(|member| did_text(&network, member.organization));
        let key = hex::encode(&found.validator);
        values.push(json!({
            "validatorKey": key,
            "member": member,
            "height": found.height.to_string(),
            "round": found.round,
            "step": found.step.as_str(),
            "evidence": hex::encode(sillok_proto::encode(&recorded.evidence)),
        }));
        rows.push([
            found.height.to_string(),
            found.round.to_string(),
            found.step.as_str().to_owned(),
            key,
            member.unwrap_or_else(|| "not its key now".to_owned()),
        ]);
    }
    if forged > 0 {
        let message = format!(
            "{forged} pieces of evidence do not hold; the node made them up, ask another node"
        );
        return Err(Failure::new(super::failure::EXIT_UNVERIFIED, "UNVERIFIED", message));
    }
    output.value(&json!({ "evidence": values }));
    if rows.is_empty() {
        output.line("no validator is known to have signed twice");
    } else {
        output.table(["height", "round", "step", "validator key", "member"], rows);
    }
    output.note("each is proved by its two signatures; that these are all is the word of one node");
    Ok(EXIT_OK)
}

async fn show(global: &Global, hash: &Hash, output: Output) -> Result<u8, Failure> {
    let client = session::client(global).await?;
    let network = client.chain().network().to_owned();
    let members = client.members().await?;
    let answer = client.proposal(hash).await?;
    let Some(proposed) = answer.even_if_stale() else {
        let message = format!("nobody opened proposal {hash} (proved); check the hash");
        return Err(Failure::new(EXIT_NOT_FOUND, "NOT_FOUND", message));
    };
    let time_ms = answer.time_ms();
    let known = members.even_if_stale();
    output.value(&value(proposed, known, &network, time_ms));
    let mut facts = vec![("proposal", hash.to_string()), ("state", progress(proposed, time_ms))];
    facts.extend(operation::change(&network, proposed.change()));
    facts.extend(difference(&client, proposed, time_ms).await?);
    facts.push(("expires", format_datetime(proposed.expires_ms())));
    let approvals: Vec<String> = proposed
        .record
        .approvals
        .iter()
        .map(|one| {
            let organization = Hash::from_slice(&one.operator).unwrap_or_default();
            let name = known.of(&organization).map(|member| member.name.clone());
            let counts = match known.weigh(one) {
                Weight::Counts => "",
                Weight::NotSeated => " (not seated, does not count)",
                Weight::OldKey => " (by a governance key that was replaced, does not count)",
            };
            format!("{} {}{counts}", did_text(&network, organization), name.unwrap_or_default())
        })
        .collect();
    facts.push(("approved by", approvals.join("\n")));
    let counted = proposed.counted(known);
    facts.push(("approvals", format!("{counted} of {} that count now", known.threshold())));
    output.facts(&facts);
    verified_line(&answer, &client.genesis_hash(), "the proposal and its approvals", output);
    hint(proposed, known, time_ms, output);
    Ok(exit_of(&answer))
}

async fn rekey(
    global: &Global,
    validator_key: &[u8; 32],
    signing: &SigningArguments,
    output: Output,
) -> Result<u8, Failure> {
    let client = session::client(global).await?;
    let signer = signer(&client, signing).await?;
    let draft = OperationDraft::rekey(&signer.operator, validator_key);
    if let Some(committed) =
        send(&client, signing, signer.key.as_ref(), draft, None, output).await?
    {
        let facts = [("validator key", hex::encode(validator_key))];
        done(output, "new validator key named", &facts, &committed);
        output.note("next, within 24 h, once the node of the new key has caught up: sillok member join --dir DIR");
    }
    Ok(EXIT_OK)
}

async fn join(
    global: &Global,
    key: &Path,
    submitter: &Path,
    output: Output,
) -> Result<u8, Failure> {
    let key = SecretKey::read_file(key)?;
    let submitter = Identity::load(submitter)?;
    let client = session::client(global).await?;
    let members = client.members().await?;
    let public = &key.public().point;
    let member = members.even_if_stale().by_validator_key(public).ok_or_else(|| {
        Failure::failed(format!(
            "validator key {key} may not join: it was not approved, or another was in its place. An operator with a seat goes \
             on with `sillok member rekey --validator-key {key}`; for one without, a member proposes `sillok member propose \
             replace` with this key. `sillok member list --json` shows those that may join",
            key = hex::encode(public)
        ))
    })?;
    let operator = Did::parse(&did_text(client.chain().network(), member.organization))
        .map_err(|error| Failure::failed(error.to_string()))?;
    match client.join(&operator, &key, &submitter).await {
        Ok(committed) => {
            let from = committed.receipt.header.height().saturating_add(MEMBERSHIP_DELAY);
            let facts = [("member", operator.to_string()), ("votes from height", from.to_string())];
            done(output, "joined", &facts, &committed);
        }
        Err(error) if is_already(&error) => {
            output.value(&json!({ "member": operator.to_string(), "already": true }));
            output.line(format_args!("{} {operator}", output.good("already seated")));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(EXIT_OK)
}

fn is_already(error: &WriteError) -> bool {
    error.problem().is_some_and(|problem| problem.code == "ALREADY")
}
