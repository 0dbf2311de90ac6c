//! `sillok trust`: who may do what, given by whom.

use super::arguments::{
    AccreditArguments, CheckArguments, EndingArguments, Global, TrustCommand, WithdrawArguments,
};
use super::carry::{self, Done};
use super::failure::{EXIT_NO, EXIT_OK, EXIT_STALE, Failure};
use super::operation::{hourly, resource, time};
use super::output::Output;
use super::read::{did_text, verification, verified_line};
use super::session;
use serde_json::{Value, json};
use sillok_client::identity::Identity;
use sillok_client::rights::{Ending, Right};
use sillok_client::transaction::OperationDraft;
use sillok_client::verify::authority;
use sillok_client::verify::moment::Moment;
use sillok_client::words::Word as _;
use sillok_did_method::{CAPABILITY_INVOCATION, Did, format_datetime};
use sillok_ledger::authority::Link;
use sillok_proto::{Hash, v1};

pub(crate) async fn run(
    global: &Global,
    command: &TrustCommand,
    output: Output,
) -> Result<u8, Failure> {
    match command {
        TrustCommand::Accredit(arguments) => accredit(global, arguments, output).await,
        TrustCommand::Withdraw(arguments) => withdraw(global, arguments, output).await,
        TrustCommand::WindDown(arguments) => {
            end_all(global, arguments, Ending::WindDown, output).await
        }
        TrustCommand::CutOff(arguments) => end_all(global, arguments, Ending::CutOff, output).await,
        TrustCommand::Show { organization } => show(global, organization, output).await,
        TrustCommand::Check(arguments) => check(global, arguments, output).await,
    }
}

fn bytes(on: Option<&Hash>) -> Vec<u8> {
    on.map(|name| name.to_vec()).unwrap_or_default()
}

fn facts(organization: &Did, action: v1::Action, on: Option<&Hash>) -> Vec<(&'static str, String)> {
    vec![
        ("organization", organization.to_string()),
        ("action", action.word()),
        ("resource", resource(&bytes(on))),
    ]
}

async fn accredit(
    global: &Global,
    arguments: &AccreditArguments,
    output: Output,
) -> Result<u8, Failure> {
    let grantor = Identity::load(&arguments.grantor)?;
    let receiver = arguments.receiver.as_deref().map(Identity::load).transpose()?;
    if let Some(receiver) = &receiver
        && receiver.did != arguments.grant.organization
    {
        return Err(Failure::usage(format!(
            "the file of --receiver is of {}, and the right is for {}",
            receiver.did, arguments.grant.organization
        )));
    }
    let submitter = carry::submitter(&arguments.carry, &grantor)?;
    let client = session::client(global).await?;
    let draft = OperationDraft::accredit(&grantor.did, arguments.grant.grant());
    let until_ms = carry::valid_until_ms(&client, &arguments.carry).await?;
    let mut partly = client.authored(&grantor, vec![draft], &submitter.did, until_ms).await?;
    if let Some(receiver) = &receiver {
        let key = client.acting_key(receiver, CAPABILITY_INVOCATION).await?;
        partly.sign(0, &key)?;
    }
    let grant = &arguments.grant;
    let facts = facts(&grant.organization, grant.action, grant.on.as_ref());
    let done = Done::new("accredited", facts);
    carry::finish(&client, partly, &submitter, &arguments.carry, &done, output).await.map_err(
        |failure| match failure.code.as_str() {
            "GRANT_NOT_ACCEPTED" => failure.and(
                "it agrees with --receiver FILE, or where its keys are with --out and `sillok tx sign`",
            ),
            _ => failure,
        },
    )
}

async fn withdraw(
    global: &Global,
    arguments: &WithdrawArguments,
    output: Output,
) -> Result<u8, Failure> {
    let by = Identity::load(&arguments.by)?;
    let submitter = carry::submitter(&arguments.carry, &by)?;
    let client = session::client(global).await?;
    let grant = v1::EndedGrant {
        organization: arguments.organization.digest().to_vec(),
        action: arguments.action.into(),
        resource: bytes(arguments.on.as_ref()),
        at_ms: arguments.at.unwrap_or(0),
    };
    let draft = OperationDraft::withdraw(&by.did, grant);
    let until_ms = carry::valid_until_ms(&client, &arguments.carry).await?;
    let partly = client.authored(&by, vec![draft], &submitter.did, until_ms).await?;
    let facts = facts(&arguments.organization, arguments.action, arguments.on.as_ref());
    let done = Done::new("withdrawn", facts);
    carry::finish(&client, partly, &submitter, &arguments.carry, &done, output).await
}

fn right_name(right: &Right) -> String {
    format!("{} on {}", right.action.word(), resource(&right.resource))
}

async fn end_all(
    global: &Global,
    arguments: &EndingArguments,
    ending: Ending,
    output: Output,
) -> Result<u8, Failure> {
    let by = Identity::load(&arguments.by)?;
    let submitter = carry::submitter(&arguments.carry, &by)?;
    let client = session::client(global).await?;
    let organization = &arguments.organization;
    let (ended, others) = client.endings(organization, &by.did, ending).await?;
    let names = |rights: &[Right]| rights.iter().map(right_name).collect::<Vec<_>>();
    let warn = |left: &[String]| {
        if !left.is_empty() {
            output.note(format_args!(
                "{} of its rights were given by others and stay: {}; governance ends any right, by a proposal",
                left.len(),
                left.join(", ")
            ));
        }
    };
    if ended.is_empty() {
        let left = names(&others);
        let facts = json!({
            "organization": organization.to_string(),
            "already": left.is_empty(),
            "ended": 0,
            "left": left,
        });
        output.value(&facts);
        output.line(format_args!(
            "{}; it holds nothing that {} could end",
            output.good("nothing to do"),
            by.did
        ));
        warn(&left);
        return Ok(if left.is_empty() { EXIT_OK } else { EXIT_NO });
    }
    let count = ended.len();
    let drafts = ended.into_iter().map(|grant| OperationDraft::withdraw(&by.did, grant)).collect();
    let until_ms = carry::valid_until_ms(&client, &arguments.carry).await?;
    let partly = client.authored(&by, drafts, &submitter.did, until_ms).await?;
    let what = match ending {
        Ending::WindDown => "wound down",
        Ending::CutOff => "cut off",
    };
    let facts =
        vec![("organization", organization.to_string()), ("rights ended", count.to_string())];
    let done = Done::new(what, facts);
    let sent = carry::send(&client, partly, &submitter, &arguments.carry, &done, output).await?;
    let (given, others) = match sent {
        None => (Vec::new(), others),
        // At the height of the receipt or above: what was given between asking and ending is there still.
        Some(_) => client.endings(organization, &by.did, ending).await.map_err(|error| {
            Failure::from(error).and("the rights were ended; `sillok trust show` says what is left")
        })?,
    };
    if !given.is_empty() {
        output.note(format_args!("{} more were given meanwhile; run this again", given.len()));
    }
    let left = names(&others);
    warn(&left);
    Ok(if given.is_empty() && left.is_empty() { EXIT_OK } else { EXIT_NO })
}

fn grantor(network: &str, bytes: &[u8]) -> String {
    Hash::from_slice(bytes).map_or_else(|| "governance".to_owned(), |hash| did_text(network, hash))
}

fn period_json(network: &str, period: &v1::Period) -> Value {
    json!({
        "from": format_datetime(period.from_ms),
        "until": (period.until_ms != 0).then(|| format_datetime(period.until_ms)),
        "grantor": grantor(network, &period.grantor),
        "gainedHourly": period.gained_hourly,
        "suspendedHourly": period.suspended_hourly,
        "endedHourly": period.ended_hourly,
    })
}

async fn show(global: &Global, organization: &Did, output: Output) -> Result<u8, Failure> {
    let client = session::client(global).await?;
    let network = client.chain().network().to_owned();
    let answer = client.rights(organization).await?;
    let (found, time_ms) = (answer.even_if_stale(), answer.time_ms());
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    for right in &found.rights {
        let running = right.period_at(time_ms).is_some();
        let periods: Vec<Value> =
            right.periods.iter().map(|period| period_json(&network, period)).collect();
        values.push(json!({
            "action": right.action.word(),
            "resource": (!right.resource.is_empty()).then(|| hex::encode(&right.resource)),
            "runs": running,
            "periods": periods,
        }));
        for period in &right.periods {
            let state = if period.from_ms > time_ms {
                output.warning("to come")
            } else if period.until_ms == 0 || time_ms < period.until_ms {
                output.good("runs")
            } else {
                "ended".to_owned()
            };
            let limits = [period.gained_hourly, period.suspended_hourly, period.ended_hourly];
            rows.push([
                right.action.word(),
                resource(&right.resource),
                state,
                format_datetime(period.from_ms),
                time(period.until_ms, "open"),
                if limits == [0; 3] { "-".to_owned() } else { limits.map(hourly).join(" / ") },
                grantor(&network, &period.grantor),
            ]);
        }
    }
    output.value(&json!({
        "organization": organization.to_string(),
        "name": found.name,
        "rights": values,
        "verification": verification(&answer, &client.genesis_hash()),
    }));
    let name: String = found.name.chars().filter(|c| !c.is_control()).collect();
    output.facts(&[("organization", organization.to_string()), ("name", name)]);
    output.line("");
    if rows.is_empty() && answer.is_stale() {
        output.line("it had no right by then; ask again for what was given since");
    } else if rows.is_empty() {
        output.line("it never held a right (proved)");
    } else {
        output.table(
            ["action", "on", "", "from", "until", "gain / suspend / end an hour", "given by"],
            rows,
        );
        output.note(
            "a right counts while the same right holds for everybody above: sillok trust check",
        );
    }
    verified_line(&answer, &client.genesis_hash(), "all its rights", output);
    Ok(if answer.is_stale() { EXIT_STALE } else { EXIT_OK })
}

fn chain_json(network: &str, links: &[Link]) -> Value {
    let link = |link: &Link| {
        json!({
            "organization": did_text(network, link.organization),
            "resource": (!link.resource.is_empty()).then(|| hex::encode(&link.resource)),
            "period": period_json(network, &link.period),
        })
    };
    Value::Array(links.iter().map(link).collect())
}

async fn check(global: &Global, arguments: &CheckArguments, output: Output) -> Result<u8, Failure> {
    let client = session::client(global).await?;
    let network = client.chain().network().to_owned();
    let CheckArguments { organization, action, on, at } = arguments;
    let right =
        authority::Right { organization: organization.digest(), action: *action, resource: *on };
    let moment = at.map_or(Moment::Tip, |time_ms| Moment::Time { time_ms, known_at: None });
    let answer = client.authority(&right, moment).await?;
    let at_ms = answer.even_if_stale().time_ms;
    let chain = &answer.even_if_stale().chain;
    output.value(&json!({
        "organization": organization.to_string(),
        "action": action.word(),
        "resource": on.map(|name| name.to_string()),
        "at": format_datetime(at_ms),
        "holds": chain.is_some(),
        "chain": chain.as_ref().map(|links| chain_json(&network, links)),
        "verification": verification(&answer, &client.genesis_hash()),
    }));
    let mut facts = facts(organization, *action, on.as_ref());
    facts.push(("at", format_datetime(at_ms)));
    let verdict = match (chain.is_some(), answer.is_stale()) {
        (true, _) => output.good("yes"),
        (false, false) => output.bad("no (proved)"),
        (false, true) => output.warning("no, by what was known then"),
    };
    facts.push(("may it", verdict));
    output.facts(&facts);
    if let Some(links) = chain {
        output.line("");
        let rows = links.iter().map(|link| {
            [
                did_text(&network, link.organization),
                resource(&link.resource),
                format_datetime(link.period.from_ms),
                time(link.period.until_ms, "open"),
                grantor(&network, &link.period.grantor),
            ]
        });
        output.table(["who", "on", "from", "until", "given by"], rows.collect());
    }
    verified_line(&answer, &client.genesis_hash(), "the whole chain", output);
    Ok(match (answer.is_stale(), chain) {
        (true, _) => EXIT_STALE,
        (false, Some(_)) => EXIT_OK,
        (false, None) => EXIT_NO,
    })
}
