//! `sillok status`: what a desk does to credentials, and what a verifier asks about them.
//!
//! A person comes in by a file, as the number of the issuer's register, and goes no further than the handle that the
//! library makes of it. A one-time key is on disk before its public half is sent anywhere.

use super::arguments::{
    ActivateArguments, ApproveArguments, CarryArguments, CheckStatusArguments, CreateListArguments,
    DeskArguments, EndArguments, Global, PersonArguments, ReinstateArguments, ReserveArguments,
    SetArguments, StatusCommand, SubmitArguments, SuspendArguments,
};
use super::carry::{self, Done};
use super::failure::{EXIT_NO, EXIT_NOT_FOUND, EXIT_OK, EXIT_STALE, Failure};
use super::output::Output;
use super::read::{did_text, found, verification, verified_line};
use super::{operation, serve, session};
use serde_json::{Map, Value, json};
use sillok_client::desk::{
    Application, Circumstances, EnrollmentStep, EntryDates, applications_from_json,
    applications_to_json, approvals_from_json, approvals_to_json,
};
use sillok_client::draw::Lots;
use sillok_client::holder::{HolderKey, Ticket};
use sillok_client::identity::Identity;
use sillok_client::keys::{SecretKey, random};
use sillok_client::private_file;
use sillok_client::pseudonym::{Handle, HandleSecret, Person};
use sillok_client::read::Client;
use sillok_client::registry::{states, with_decoys};
use sillok_client::transaction::OperationDraft;
use sillok_client::verify::VerifyError;
use sillok_client::verify::moment::Moment;
use sillok_client::verify::status::ListChunks;
use sillok_client::words::Word;
use sillok_did_method::{
    Did, EntryState, LIST_ENTRIES_MAX, SUBMIT, format_datetime, from_multikey,
};
use sillok_ledger::answer::Entry;
use sillok_ledger::genesis::VALID_UNTIL_WINDOW_MS_MAX;
use sillok_ledger::status::chunk_of;
use sillok_proto::{Hash, v1};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::Duration;
use zeroize::Zeroizing;

/// Longest list of people, in bytes.
const PEOPLE_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// Longest application, in bytes of JSON.
const APPLICATION_BYTES_MAX: u64 = 16 * 1024 * 1024;
const APPLICATION: &str = "an application, as `sillok status … --out` writes it";
const APPROVAL: &str = "an approval, as `sillok status approve` writes it";

pub(crate) async fn run(
    global: &Global,
    command: &StatusCommand,
    output: Output,
) -> Result<u8, Failure> {
    match command {
        StatusCommand::CreateList(arguments) => create_list(global, arguments, output).await,
        StatusCommand::Reserve(arguments) => reserve(global, arguments, false, output).await,
        StatusCommand::Reissue(arguments) => reserve(global, arguments, true, output).await,
        StatusCommand::Activate(arguments) => activate(global, arguments, output).await,
        StatusCommand::Suspend(arguments) => suspend(global, arguments, output).await,
        StatusCommand::Reinstate(arguments) => reinstate(global, arguments, output).await,
        StatusCommand::End(arguments) => end(global, arguments, output).await,
        StatusCommand::Set(arguments) => set(global, arguments, output).await,
        StatusCommand::Approve(arguments) => approve(global, arguments, output).await,
        StatusCommand::Submit(arguments) => submit(global, arguments, output).await,
        StatusCommand::Show { list } => show(global, list, output).await,
        StatusCommand::Check(arguments) => check(global, arguments, output).await,
        StatusCommand::Serve(arguments) => serve::run(global, arguments, output).await,
    }
}

// ------------------------------------------------------------------------------------------------ lists

async fn create_list(
    global: &Global,
    arguments: &CreateListArguments,
    output: Output,
) -> Result<u8, Failure> {
    let issuer = Identity::load(&arguments.issuer)?;
    let submitter = carry::submitter(&arguments.carry, &issuer)?;
    let client = session::client(global).await?;
    let nonce = random::<16>()?;
    let (draft, list) = OperationDraft::create_list(
        &client.genesis_hash(),
        &issuer.did,
        &arguments.r#type,
        &nonce,
        arguments.capacity,
        u32::try_from(arguments.max_age.as_secs()).unwrap_or(u32::MAX),
    );
    let until_ms = carry::valid_until_ms(&client, &arguments.carry).await?;
    let partly = client.authored(&issuer, vec![draft], &submitter.did, until_ms).await?;
    let facts = vec![("list", list.to_string()), ("type", arguments.r#type.to_string())];
    let done = Done::new("list created", facts);
    carry::finish(&client, partly, &submitter, &arguments.carry, &done, output).await
}

// ----------------------------------------------------------------------------------------------- people

/// The text of a file or of standard input, which names people. No message names the path: whoever types the number in
/// its place does not want it in a log too.
fn people_text(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let wrong = |error: std::io::Error| {
        Failure::failed(format!(
            "the file of people: {error}; give the path of a file with the number in it, or - for standard input"
        ))
    };
    let read = |input: &mut dyn Read| {
        let mut text = Zeroizing::new(String::new());
        input.take(PEOPLE_BYTES_MAX).read_to_string(&mut text).map(|_| text)
    };
    if path == Path::new("-") {
        read(&mut std::io::stdin().lock()).map_err(wrong)
    } else {
        read(&mut File::open(path).map_err(wrong)?).map_err(wrong)
    }
}

fn people(path: &Path) -> Result<Vec<Person>, Failure> {
    let text = people_text(path)?;
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(place, line)| {
            Person::new(line).map_err(|error| {
                Failure::usage(format!("the file of people, line {}: {error}", place + 1))
            })
        })
        .collect()
}

impl PersonArguments {
    fn person(&self) -> Result<Person, Failure> {
        let mut all = people(&self.person)?;
        match (all.pop(), all.is_empty()) {
            (Some(one), true) => Ok(one),
            _ => Err(Failure::usage(format!(
                "the file of --person names {} people; the change is about one, so write its number and nothing else",
                if all.is_empty() { "no" } else { "several" }
            ))),
        }
    }

    fn issuer(&self, role: &Identity) -> Did {
        self.issuer.clone().unwrap_or_else(|| role.did.clone())
    }

    /// The handle, and who it is for a second handle.
    fn handle(&self) -> Result<(Handle, Person), Failure> {
        let secret = HandleSecret::read(&self.handles)?;
        let person = self.person()?;
        Ok((secret.handle(&self.r#type, &person), person))
    }
}

// ---------------------------------------------------------------------------------------------- changes

fn circumstances(desk: &DeskArguments, role: &Identity) -> Circumstances {
    Circumstances {
        acting_role: role.did.clone(),
        reason: desk.reason,
        channel: desk.channel,
        assurance_level: desk.level.map(Into::into),
        organization: desk.organization.clone(),
        approvers: desk.approver.clone(),
    }
}

/// Of a change that loses a right: nothing is proved of the person, and nobody approves unless a limit is reached.
fn loss(desk: &DeskArguments, role: &Identity) -> Circumstances {
    Circumstances { assurance_level: None, ..circumstances(desk, role) }
}

/// A time this long from now, in whole seconds: what a QR says is what the ledger has.
fn later(client: &Client, duration: Duration) -> u64 {
    let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let at_ms = client.options().clock.now_ms().saturating_add(duration_ms);
    at_ms - at_ms % 1000
}

/// A key of a holder: whole in a file, or its public half on the command line.
fn holder_key(text: &str) -> Result<(v1::PublicKey, Option<HolderKey>), Failure> {
    if let Ok(public) = from_multikey(text) {
        return Ok((public, None));
    }
    let key = HolderKey::read(Path::new(text))?;
    Ok((key.secret.public().clone(), Some(key)))
}

/// Writes the changes for approvers, or submits them: signed by the role and by the holder's keys that are here.
#[allow(clippy::too_many_arguments, reason = "everything that becomes of a change")]
async fn go(
    client: &Client,
    role: &Identity,
    applications: &[Application],
    holder: &[&SecretKey],
    carry: &CarryArguments,
    done: Done,
    output: Output,
) -> Result<u8, Failure> {
    if let Some(path) = &carry.out {
        return write(client, applications, path, &done, output);
    }
    let submitter = carry::submitter(carry, role)?;
    let mut partly = client.at_desk(role, applications, &submitter.did, None).await?;
    for index in 0..applications.len() {
        for key in holder {
            if partly.holder_keys(index).contains(key.public()) {
                partly.sign_holder(index, key)?;
            }
        }
    }
    carry::finish(client, partly, &submitter, carry, &done, output).await.map_err(hint)
}

/// What to do about a refusal, in words of the command line.
fn hint(failure: Failure) -> Failure {
    let number: Option<u32> = failure.fields.get("number").and_then(|text| text.parse().ok());
    match (failure.code.as_str(), number) {
        ("STALE_NUMBER", Some(number)) => {
            failure.and(&format!("reserve with --number {}", number.saturating_add(1)))
        }
        ("APPROVAL_MISSING", _) => failure.and(
            "name who approves with --approver DID --out FILE, then `sillok status approve` and `sillok status submit`",
        ),
        ("VELOCITY_LIMIT", _) => {
            failure.and("have one more organization approve: --approver DID --out FILE")
        }
        _ => failure,
    }
}

fn write(
    client: &Client,
    applications: &[Application],
    path: &Path,
    done: &Done,
    output: Output,
) -> Result<u8, Failure> {
    private_file::create(path, &applications_to_json(&client.genesis_hash(), applications))?;
    let network = client.chain().network().to_owned();
    let mut approvers: Vec<String> = applications
        .iter()
        .flat_map(Application::missing)
        .map(|one| did_text(&network, one))
        .collect();
    approvers.sort();
    approvers.dedup();
    let mut value: Map<String, Value> = done
        .facts
        .iter()
        .map(|(name, text)| (name.replace(' ', "_"), text.clone().into()))
        .collect();
    value.insert("file".to_owned(), path.display().to_string().into());
    value.insert("approvers".to_owned(), approvers.clone().into());
    output.value(&Value::Object(value));
    output.line(format_args!("{} {}", output.good("written to"), path.display()));
    let path = path.display();
    for approver in &approvers {
        output.note(format_args!(
            "next, at {approver}: sillok status approve {path} --role FILE --out FILE"
        ));
    }
    output.note(format_args!("then, here: sillok status submit {path} --role FILE"));
    Ok(EXIT_OK)
}

async fn reserve(
    global: &Global,
    arguments: &ReserveArguments,
    ends_first: bool,
    output: Output,
) -> Result<u8, Failure> {
    let role = Identity::load(&arguments.desk.role)?;
    let (handle, person) = arguments.person.handle()?;
    let credential_type = arguments.person.r#type;
    let new_handle = arguments
        .new_handles
        .as_deref()
        .map(HandleSecret::read)
        .transpose()?
        .map(|secret| secret.handle(&credential_type, &person));
    let client = session::client(global).await?;
    let deadline_ms = later(&client, arguments.activate_within);
    let issuer = arguments.person.issuer(&role);
    let ticket =
        Ticket { issuer: issuer.clone(), credential_type, number: arguments.number, deadline_ms };
    let one_time = HolderKey::one_time(arguments.algorithm.into(), ticket)?;
    let step = EnrollmentStep::Reserve {
        number: arguments.number,
        one_time_key: one_time.secret.public().clone(),
        deadline_ms,
        valid_until_ms: later(&client, arguments.valid_for),
        new_handle,
    };
    let genesis_hash = client.genesis_hash();
    let change = |circumstances: &Circumstances, step: &EnrollmentStep| {
        Application::set_enrollment(
            genesis_hash,
            circumstances,
            &issuer,
            &credential_type,
            handle,
            step,
        )
    };
    let mut applications = Vec::new();
    if ends_first {
        let end = EnrollmentStep::End { number: 0, invalid_from_ms: 0 };
        // Ending takes no approval, so that approvers sign one thing.
        let circumstances = Circumstances { approvers: Vec::new(), ..loss(&arguments.desk, &role) };
        applications.push(change(&circumstances, &end)?);
    }
    applications.push(change(&circumstances(&arguments.desk, &role), &step)?);
    one_time.create(&arguments.qr)?;
    let facts = vec![
        ("number", arguments.number.to_string()),
        ("activate before", format_datetime(deadline_ms)),
        ("one-time key", arguments.qr.display().to_string()),
    ];
    let done = Done::new(if ends_first { "ended and reserved" } else { "reserved" }, facts);
    let went = go(&client, &role, &applications, &[], &arguments.carry, done, output).await;
    match went {
        Ok(exit) => {
            output.note(format_args!(
                "show {} as a QR; what it holds works once, before {}",
                arguments.qr.display(),
                format_datetime(deadline_ms)
            ));
            Ok(exit)
        }
        // One node refuses and another may order it all the same: there is no other copy of the key.
        Err(failure) if failure.open => Err(failure.and(&format!(
            "{} stays, for the reservation may be ordered until {}",
            arguments.qr.display(),
            format_datetime(
                client.options().clock.now_ms().saturating_add(VALID_UNTIL_WINDOW_MS_MAX)
            )
        ))),
        Err(failure) => {
            // Nobody has heard of the key, so it is good for nothing.
            let _gone = fs::remove_file(&arguments.qr);
            Err(failure)
        }
    }
}

async fn activate(
    global: &Global,
    arguments: &ActivateArguments,
    output: Output,
) -> Result<u8, Failure> {
    let role = Identity::load(&arguments.desk.role)?;
    let (handle, _) = arguments.person.handle()?;
    let (one_time_key, one_time) = holder_key(&arguments.qr)?;
    let (enrollment_key, phone) = holder_key(&arguments.enrollment_key)?;
    let ticket = one_time.as_ref().and_then(|key| key.ticket.as_ref());
    if let Some(ticket) = ticket
        && (ticket.issuer != arguments.person.issuer(&role)
            || ticket.credential_type != arguments.person.r#type)
    {
        return Err(Failure::usage(
            "the one-time key was handed out by another issuer, or for another type",
        ));
    }
    let number = arguments
        .number
        .or_else(|| ticket.map(|ticket| ticket.number))
        .ok_or_else(|| Failure::usage("say with --number which number was reserved"))?;
    let client = session::client(global).await?;
    let step = EnrollmentStep::Activate {
        number,
        one_time_key,
        enrollment_key,
        grace_until_ms: arguments.grace_until.unwrap_or(0),
    };
    let application = Application::set_enrollment(
        client.genesis_hash(),
        &circumstances(&arguments.desk, &role),
        &arguments.person.issuer(&role),
        &arguments.person.r#type,
        handle,
        &step,
    )?;
    let done = Done::new("activated", vec![("number", number.to_string())]);
    let holder: Vec<&SecretKey> =
        [&one_time, &phone].into_iter().flatten().map(|key| &key.secret).collect();
    if arguments.carry.out.is_none() && holder.len() < 2 {
        return Err(Failure::usage(
            "both keys of the holder sign; give their files, or --out for the phone to sign",
        ));
    }
    go(&client, &role, &[application], &holder, &arguments.carry, done, output).await
}

async fn suspend(
    global: &Global,
    arguments: &SuspendArguments,
    output: Output,
) -> Result<u8, Failure> {
    let role = Identity::load(&arguments.desk.role)?;
    let (handle, _) = arguments.person.handle()?;
    let client = session::client(global).await?;
    let application = Application::set_enrollment(
        client.genesis_hash(),
        &loss(&arguments.desk, &role),
        &arguments.person.issuer(&role),
        &arguments.person.r#type,
        handle,
        &EnrollmentStep::Suspend { number: arguments.number },
    )?;
    let done = Done::new("suspended", Vec::new());
    go(&client, &role, &[application], &[], &arguments.carry, done, output).await
}

async fn reinstate(
    global: &Global,
    arguments: &ReinstateArguments,
    output: Output,
) -> Result<u8, Failure> {
    let role = Identity::load(&arguments.desk.role)?;
    let (handle, _) = arguments.person.handle()?;
    let (enrollment_key, phone) = holder_key(&arguments.enrollment_key)?;
    let client = session::client(global).await?;
    let application = Application::set_enrollment(
        client.genesis_hash(),
        &circumstances(&arguments.desk, &role),
        &arguments.person.issuer(&role),
        &arguments.person.r#type,
        handle,
        &EnrollmentStep::Reinstate { number: arguments.number, enrollment_key },
    )?;
    let done = Done::new("reinstated", vec![("number", arguments.number.to_string())]);
    let holder: Vec<&SecretKey> = phone.iter().map(|key| &key.secret).collect();
    if arguments.carry.out.is_none() && holder.is_empty() {
        return Err(Failure::usage(
            "the key of the phone signs; give its file, or --out for the phone to sign",
        ));
    }
    go(&client, &role, &[application], &holder, &arguments.carry, done, output).await
}

async fn end(global: &Global, arguments: &EndArguments, output: Output) -> Result<u8, Failure> {
    let role = Identity::load(&arguments.desk.role)?;
    let (handle, _) = arguments.person.handle()?;
    let client = session::client(global).await?;
    let invalid_from_ms = arguments.invalid_from.unwrap_or(0);
    let application = Application::set_enrollment(
        client.genesis_hash(),
        &loss(&arguments.desk, &role),
        &arguments.person.issuer(&role),
        &arguments.person.r#type,
        handle,
        &EnrollmentStep::End { number: arguments.number, invalid_from_ms },
    )?;
    let done = Done::new("ended", Vec::new());
    go(&client, &role, &[application], &[], &arguments.carry, done, output).await
}

async fn set(global: &Global, arguments: &SetArguments, output: Output) -> Result<u8, Failure> {
    let role = Identity::load(&arguments.desk.role)?;
    let state: EntryState = arguments.state.into();
    let client = session::client(global).await?;
    let indexes = match arguments.draw {
        None => arguments.index.clone(),
        Some(count) => {
            let answer = client.whole_list(&arguments.list, Moment::Tip).await?;
            // Of an old list, what was used since would be drawn again.
            let whole = answer.fresh()?.as_ref().ok_or_else(|| no_list(&arguments.list))?;
            Lots::new(states(whole)?).draw(count)?
        }
    };
    let handles = match (&arguments.handles, &arguments.people) {
        (Some(secret), Some(file)) => {
            let secret = HandleSecret::read(secret)?;
            let people = people(file)?;
            if people.len() != indexes.len() {
                return Err(Failure::usage(format!(
                    "{} people for {} entries; write a number for each entry, one a line",
                    people.len(),
                    indexes.len()
                )));
            }
            let list = list(&client, &arguments.list).await?;
            let credential_type = Hash::from_slice(&list.r#type).unwrap_or_default();
            people.iter().map(|one| Some(secret.handle(&credential_type, one))).collect()
        }
        // The secret may come from the environment; without people it is not for this.
        (_, None) | (None, _) => vec![None; indexes.len()],
    };
    let entries: Vec<(u32, Option<Handle>)> = indexes.iter().copied().zip(handles).collect();
    let dates = EntryDates {
        grace_until_ms: arguments.grace_until.unwrap_or(0),
        invalid_from_ms: arguments.invalid_from.unwrap_or(0),
    };
    let why: fn(&DeskArguments, &Identity) -> Circumstances =
        if state.is_gain() { circumstances } else { loss };
    let application = Application::set_status(
        client.genesis_hash(),
        &why(&arguments.desk, &role),
        &arguments.list,
        state,
        &entries,
        dates,
    )?;
    // In the order in which people were named: the caller must know whose entry is whose.
    let shown: Vec<String> = indexes.iter().map(u32::to_string).collect();
    let facts = vec![
        ("list", arguments.list.to_string()),
        ("state", state.as_str().to_ascii_lowercase()),
        ("entries", shown.join(" ")),
    ];
    let done = Done { drawn: arguments.draw, ..Done::new("set", facts) };
    go(&client, &role, &[application], &[], &arguments.carry, done, output).await
}

// ---------------------------------------------------------------------------------------------- reading

fn no_list(list: &Hash) -> Failure {
    let message = format!("there is no status list {list} (proved); check its name");
    Failure::new(EXIT_NOT_FOUND, "NOT_FOUND", message)
}

async fn list(client: &Client, name: &Hash) -> Result<v1::StatusList, Failure> {
    let answer = client.lists(&[*name]).await?;
    found(&answer, |lists| lists.first()?.as_ref(), || no_list(name)).cloned()
}

async fn show(global: &Global, name: &Hash, output: Output) -> Result<u8, Failure> {
    let client = session::client(global).await?;
    let network = client.chain().network().to_owned();
    let answer = client.whole_list(name, Moment::Tip).await?;
    let whole = found(&answer, Option::as_ref, || no_list(name))?;
    let mut counts: BTreeMap<EntryState, usize> = BTreeMap::new();
    for state in states(whole)? {
        *counts.entry(state).or_default() += 1;
    }
    let count = |state| counts.get(&state).copied().unwrap_or(0);
    let list = &whole.list;
    let issuer = did_text(&network, Hash::from_slice(&list.issuer).unwrap_or_default());
    let all = [
        EntryState::Valid,
        EntryState::Suspended,
        EntryState::Superseded,
        EntryState::Invalid,
        EntryState::Pending,
    ];
    let entries: Map<String, Value> = all
        .iter()
        .map(|state| (state.as_str().to_ascii_lowercase(), count(*state).into()))
        .collect();
    output.value(&json!({
        "list": name.to_string(),
        "issuer": issuer,
        "type": hex::encode(&list.r#type),
        "capacity": list.capacity,
        "maxAgeSeconds": list.max_age_s,
        "created": format_datetime(list.created_ms),
        "entries": entries,
        "verification": verification(&answer, &client.genesis_hash()),
    }));
    let mut facts = vec![
        ("list", name.to_string()),
        ("issuer", issuer),
        ("type", hex::encode(&list.r#type)),
        ("created", format_datetime(list.created_ms)),
        ("capacity", list.capacity.to_string()),
    ];
    for (word, state) in
        ["valid", "suspended", "superseded", "invalid", "never used"].into_iter().zip(all)
    {
        facts.push((word, count(state).to_string()));
    }
    output.facts(&facts);
    verified_line(&answer, &client.genesis_hash(), "the whole list", output);
    Ok(if answer.is_stale() { EXIT_STALE } else { EXIT_OK })
}

/// What a verifier hears in a word.
pub(super) fn verdict(entry: &Entry, time_ms: u64) -> &'static str {
    match entry.state {
        // B20: not to be trusted before it was revoked.
        EntryState::Invalid if entry.invalid_from_ms != 0 && entry.invalid_from_ms <= time_ms => {
            "COMPROMISED"
        }
        state => state.as_str(),
    }
}

async fn check(
    global: &Global,
    arguments: &CheckStatusArguments,
    output: Output,
) -> Result<u8, Failure> {
    let CheckStatusArguments { list: name, index, decoys, .. } = arguments;
    let client = session::client(global).await?;
    let network = client.chain().network().to_owned();
    if *index >= LIST_ENTRIES_MAX {
        return Err(Failure::usage(format!(
            "no list has an entry {index}; look at the credential"
        )));
    }
    let numbers = if *decoys == 0 {
        vec![chunk_of(*index).0]
    } else {
        let capacity = list(&client, name).await?.capacity;
        with_decoys(*index, capacity, usize::from(*decoys))?
    };
    let moment =
        arguments.at.map_or(Moment::Tip, |time_ms| Moment::Time { time_ms, known_at: None });
    let answer = client.chunks(name, &numbers, moment).await?;
    let chunks = answer.even_if_stale();
    let list = found(&answer, ListChunks::list, || no_list(name))?;
    let entry = chunks.entry(*index).map_err(|error| match error {
        VerifyError::NoSuchEntry { .. } => {
            Failure::new(EXIT_NOT_FOUND, "NOT_FOUND", error.to_string())
        }
        error => error.into(),
    })?;
    let time_ms = chunks.time_ms();
    check_expected(&client, arguments, list).await?;
    let (verdict, usable) = (verdict(&entry, time_ms), entry.is_usable(time_ms));
    let date = |ms: u64| (ms != 0).then(|| format_datetime(ms));
    let issuer = did_text(&network, Hash::from_slice(&list.issuer).unwrap_or_default());
    output.value(&json!({
        "list": name.to_string(),
        "index": index,
        "verdict": verdict,
        "usable": usable,
        "at": format_datetime(time_ms),
        "graceUntil": date(entry.grace_until_ms),
        "invalidFrom": date(entry.invalid_from_ms),
        "issuer": issuer,
        "type": hex::encode(&list.r#type),
        "chunksAsked": numbers.len(),
        "verification": verification(&answer, &client.genesis_hash()),
    }));
    let painted = if usable { output.good(verdict) } else { output.bad(verdict) };
    let mut facts = vec![
        ("entry", painted),
        ("at", format_datetime(time_ms)),
        ("issuer", issuer),
        ("type", hex::encode(&list.r#type)),
    ];
    facts.extend(date(entry.grace_until_ms).map(|date| ("still taken until", date)));
    facts.extend(date(entry.invalid_from_ms).map(|date| ("not to be trusted since", date)));
    output.facts(&facts);
    let asked = format!("{} chunks of 8,192 entries were asked for", numbers.len());
    verified_line(&answer, &client.genesis_hash(), &asked, output);
    Ok(match (answer.is_stale(), usable) {
        (true, _) => EXIT_STALE,
        (false, true) => EXIT_OK,
        (false, false) => EXIT_NO,
    })
}

/// D3, D9: what the credential says of itself, and what it is shown for.
async fn check_expected(
    client: &Client,
    arguments: &CheckStatusArguments,
    list: &v1::StatusList,
) -> Result<(), Failure> {
    let credential_type = Hash::from_slice(&list.r#type).unwrap_or_default();
    if let Some(expected) = arguments.r#type
        && expected != credential_type
    {
        let message = format!(
            "the list is of type {credential_type}, not of {expected}; do not take the credential"
        );
        return Err(Failure::new(EXIT_NO, "WRONG_TYPE", message));
    }
    if let Some(expected) = &arguments.issuer
        && expected.digest().0 != list.issuer.as_slice()
    {
        let message = format!("the list is not one of {expected}; do not take the credential");
        return Err(Failure::new(EXIT_NO, "WRONG_ISSUER", message));
    }
    let Some(purpose) = arguments.purpose else { return Ok(()) };
    let answer = client.credential_type(&credential_type, None).await?;
    // A later version may allow what an older one does not.
    let (_, version) = answer.fresh()?.as_ref().ok_or_else(|| {
        Failure::new(EXIT_NOT_FOUND, "NOT_FOUND", "the type of the list is not published")
    })?;
    let policy = version.content.as_ref().and_then(|content| content.policy.as_ref());
    let mask = policy.map_or(0, |policy| policy.purposes);
    let allowed = v1::Purpose::of_mask(mask);
    if allowed.contains(&purpose) {
        return Ok(());
    }
    let words: Vec<String> = allowed.into_iter().map(Word::word).collect();
    let message = format!(
        "credentials of this type are for {}, not for {}; do not take it for that",
        if words.is_empty() { "no purpose".to_owned() } else { words.join(", ") },
        purpose.word()
    );
    Err(Failure::new(EXIT_NO, "PURPOSE_MISMATCH", message))
}

// -------------------------------------------------------------------------------------------- approvals

fn read_applications(client: &Client, path: &Path) -> Result<Vec<Application>, Failure> {
    let text = private_file::read(path, APPLICATION, APPLICATION_BYTES_MAX)?;
    Ok(applications_from_json(&text, client.genesis_hash())?)
}

async fn approve(
    global: &Global,
    arguments: &ApproveArguments,
    output: Output,
) -> Result<u8, Failure> {
    let role = Identity::load(&arguments.role)?;
    let client = session::client(global).await?;
    let applications = read_applications(&client, &arguments.file)?;
    let named: Vec<&Application> = applications.iter().filter(|one| one.names(&role.did)).collect();
    if named.is_empty() {
        return Err(Failure::usage(format!(
            "the application does not name {} as an approver",
            role.did
        )));
    }
    let network = client.chain().network().to_owned();
    let genesis_hash = client.genesis_hash();
    for one in &named {
        let mut facts = operation::describe(&network, &genesis_hash, one.operation());
        facts.extend(operation::private_facts(&network, one.content()));
        output.facts(&facts);
        output.line("");
    }
    carry::confirm(arguments.yes, "approve this?", output)?;
    let key = client.acting_key(&role, SUBMIT).await?;
    let expires_ms = later(&client, arguments.within);
    let approvals = named
        .iter()
        .map(|one| one.approve(&role.did, &key, expires_ms))
        .collect::<Result<Vec<_>, _>>()?;
    private_file::create(&arguments.out, &approvals_to_json(&genesis_hash, &role.did, &approvals))?;
    output.value(&json!({
        "approver": role.did.to_string(),
        "approvals": approvals.len(),
        "expires": format_datetime(expires_ms),
        "file": arguments.out.display().to_string(),
    }));
    output.line(format_args!(
        "{} in {}, until {}",
        output.good("approved"),
        arguments.out.display(),
        format_datetime(expires_ms)
    ));
    output.note(format_args!(
        "hand it back; next, at the desk: sillok status submit {} --approval {} --role FILE",
        arguments.file.display(),
        arguments.out.display()
    ));
    Ok(EXIT_OK)
}

async fn submit(
    global: &Global,
    arguments: &SubmitArguments,
    output: Output,
) -> Result<u8, Failure> {
    let role = Identity::load(&arguments.role)?;
    let client = session::client(global).await?;
    let mut applications = read_applications(&client, &arguments.file)?;
    for path in &arguments.approval {
        let text = private_file::read(path, APPROVAL, APPLICATION_BYTES_MAX)?;
        for approval in approvals_from_json(&text, client.genesis_hash())? {
            let one = applications.iter_mut().find(|one| one.is_approved_by(&approval));
            let one = one.ok_or_else(|| {
                Failure::usage(format!(
                    "{} approves another application; have this one approved",
                    path.display()
                ))
            })?;
            one.merge(&approval)?;
        }
    }
    let network = client.chain().network().to_owned();
    let missing: Vec<String> = applications
        .iter()
        .flat_map(Application::missing)
        .map(|one| did_text(&network, one))
        .collect();
    if !missing.is_empty() {
        return Err(Failure::usage(format!(
            "the approval of {} is missing; give it with --approval",
            missing.join(" and of ")
        )));
    }
    for one in &applications {
        if one.content().acting_role != role.did.digest().0 {
            let named = Hash::from_slice(&one.content().acting_role).unwrap_or_default();
            return Err(Failure::usage(format!(
                "{} prepared this; give its identity file with --role",
                did_text(&network, named)
            )));
        }
    }
    let submitter = carry::submitter(&arguments.carry, &role)?;
    let until_ms = carry::valid_until_ms(&client, &arguments.carry).await?;
    let mut partly = client.at_desk(&role, &applications, &submitter.did, until_ms).await?;
    for path in &arguments.holder_key {
        let key = HolderKey::read(path)?;
        let mut signed = false;
        for index in 0..applications.len() {
            if partly.holder_keys(index).contains(key.secret.public()) {
                partly.sign_holder(index, &key.secret)?;
                signed = true;
            }
        }
        if !signed {
            return Err(Failure::usage(format!(
                "the application names another key than that in {}",
                path.display()
            )));
        }
    }
    let done = Done::new("done", Vec::new());
    carry::finish(&client, partly, &submitter, &arguments.carry, &done, output).await.map_err(hint)
}
