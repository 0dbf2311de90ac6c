//! How a change gets to the ledger: shown, confirmed, submitted, and its receipt verified; or into a file, for others to
//! sign.
//!
//! Nothing is submitted that was not shown. A script says `--yes`; a person is asked.

use super::arguments::CarryArguments;
use super::failure::{EXIT_FAILED, EXIT_OK, EXIT_OPEN, Failure};
use super::output::Output;
use super::{member, operation, tx};
use serde_json::{Map, Value, json};
use sillok_client::identity::Identity;
use sillok_client::problem::Problem;
use sillok_client::read::{Client, Committed};
use sillok_client::transaction::PartlySigned;
use sillok_did_method::{EntryState, format_datetime};
use std::io::{BufRead as _, IsTerminal as _, Write as _};

/// What a command says of its result.
pub(super) struct Done {
    /// In a word or two.
    pub(super) what: &'static str,
    /// Names and values.
    pub(super) facts: Vec<(&'static str, String)>,
    /// How many entries were drawn as never used. Another desk may have drawn the same a moment ago.
    pub(super) drawn: Option<usize>,
}

impl Done {
    pub(super) const fn new(what: &'static str, facts: Vec<(&'static str, String)>) -> Self {
        Self { what, facts, drawn: None }
    }
}

/// Who submits; `signer` where nobody else is named.
pub(super) fn submitter(carry: &CarryArguments, signer: &Identity) -> Result<Identity, Failure> {
    Ok(match &carry.submitter {
        Some(path) => Identity::load(path)?,
        None => signer.clone(),
    })
}

/// Until when others may sign, where it goes into a file.
pub(super) async fn valid_until_ms(
    client: &Client,
    carry: &CarryArguments,
) -> Result<Option<u64>, Failure> {
    match &carry.out {
        Some(_) => Ok(Some(client.latest_valid_until_ms().await?)),
        None => Ok(None),
    }
}

/// Asks whether to go on.
pub(super) fn confirm(yes: bool, question: &str, output: Output) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if output.json || !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "nobody is there to confirm what was shown; say --yes to do it without asking",
        ));
    }
    let _closed = write!(std::io::stderr().lock(), "{question} [y/N] ");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Failure::new(EXIT_FAILED, "DECLINED", "not confirmed; nothing was sent"))
    }
}

/// Shows the transaction, asks, submits it and prints the receipt; or writes it to a file. `None`: it was written.
pub(super) async fn send(
    client: &Client,
    partly: PartlySigned,
    submitter: &Identity,
    carry: &CarryArguments,
    done: &Done,
    output: Output,
) -> Result<Option<Committed>, Failure> {
    if let Some(path) = &carry.out {
        tx::write_new(path, &partly)?;
        let until = format_datetime(partly.body().valid_until_ms);
        let mut value = object(&done.facts);
        value.insert("transactionId".to_owned(), partly.id().to_string().into());
        value.insert("file".to_owned(), path.display().to_string().into());
        value.insert("validUntil".to_owned(), until.clone().into());
        output.value(&Value::Object(value));
        output.line(format_args!(
            "{} {}; it can be submitted until {until}",
            output.good("written to"),
            path.display(),
        ));
        output.note(format_args!(
            "next, where the other keys are: sillok tx sign {path} --key FILE\nthen, here: sillok tx submit {path}",
            path = path.display()
        ));
        return Ok(None);
    }
    tx::print(client.chain().network(), &partly, output);
    output.line("");
    if let Some(already) = Box::pin(preview(client, &partly, submitter, done, output)).await? {
        Box::pin(prove_already(client, &partly, submitter, &already, done, output)).await?;
        return Ok(None);
    }
    confirm(carry.yes, "submit this?", output)?;
    match Box::pin(client.confirm(partly.clone(), submitter)).await {
        Ok(committed) => {
            member::done(output, done.what, &done.facts, &committed);
            Ok(Some(committed))
        }
        Err(error) => match error.problem().filter(|problem| is_already(problem)) {
            Some(already) => {
                let proved = prove_already(client, &partly, submitter, already, done, output);
                Box::pin(proved).await.map_err(|failure| Failure { open: true, ..failure })?;
                Ok(None)
            }
            None => Err(Failure::sent(error)),
        },
    }
}

/// Has a node try it: what it would do, or every rule that it breaks. Some of them say that there is nothing to do.
pub(super) async fn preview(
    client: &Client,
    partly: &PartlySigned,
    submitter: &Identity,
    done: &Done,
    output: Output,
) -> Result<Option<Problem>, Failure> {
    let prepared = match client.prepare(partly, submitter).await {
        Ok(prepared) => prepared,
        // A node of before it could; what the transaction says was shown.
        Err(error) if error.problem().is_some_and(|problem| problem.code == "UNIMPLEMENTED") => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let violations: Vec<(Option<u32>, Problem)> = prepared
        .violations
        .iter()
        .map(|one| (one.operation, Problem::of_message(&one.problem.clone().unwrap_or_default())))
        .collect();
    if let Some((_, first)) = violations.first().filter(|(_, first)| is_already(first))
        && violations.len() == partly.body().operations.len()
        && violations.iter().all(|(_, problem)| is_already(problem))
    {
        return Ok(Some(first.clone()));
    }
    if let Some(failure) = Failure::violations(&violations) {
        return Err(failure);
    }
    let entries = prepared.previews.iter().flat_map(|one| &one.entries);
    let unused: u64 = entries
        .filter(|one| one.from == EntryState::Pending as u32)
        .map(|one| u64::from(one.count))
        .sum();
    if done.drawn.is_some_and(|drawn| u64::try_from(drawn) != Ok(unused)) {
        return Err(drawn_twice());
    }
    for one in &prepared.previews {
        let facts = operation::preview(one);
        if !facts.is_empty() {
            output.facts(&facts);
            output.line("");
        }
    }
    Ok(None)
}

/// A node says that it is so already. What ends a report of a loss is proved (B17); the word of one node leaves it open.
async fn prove_already(
    client: &Client,
    partly: &PartlySigned,
    reader: &Identity,
    problem: &Problem,
    done: &Done,
    output: Output,
) -> Result<(), Failure> {
    // The same state, and of somebody else's credential.
    if done.drawn.is_some() {
        return Err(drawn_twice());
    }
    if !client.is_so_already(partly, reader).await? {
        let mut failure = Failure::new(
            EXIT_OPEN,
            "NOT_PROVED",
            format!(
                "a node says that it is so already ({problem}) and that is not proved; take it for open, and try again with another --node, or with the issuer's or an auditor's file as --submitter, who may read what is private"
            ),
        );
        failure.fields.insert("said".to_owned(), problem.code.clone());
        return Err(failure);
    }
    let mut value = object(&done.facts);
    value.insert("already".to_owned(), true.into());
    value.insert("code".to_owned(), problem.code.clone().into());
    output.value(&Value::Object(value));
    output.line(format_args!("{} (proved); nothing was to be done", output.good("already so")));
    Ok(())
}

fn drawn_twice() -> Failure {
    Failure::new(
        EXIT_FAILED,
        "ENTRY_TAKEN",
        "an entry that was drawn is in use: another desk drew it at the same moment; draw again",
    )
}

/// As [`send`], for a command that ends with it.
pub(super) async fn finish(
    client: &Client,
    partly: PartlySigned,
    submitter: &Identity,
    carry: &CarryArguments,
    done: &Done,
    output: Output,
) -> Result<u8, Failure> {
    send(client, partly, submitter, carry, done, output).await?;
    Ok(EXIT_OK)
}

fn is_already(problem: &Problem) -> bool {
    ["ALREADY", "GRANT_EXISTS", "NOTHING_TO_WITHDRAW"].contains(&problem.code.as_str())
}

fn object(facts: &[(&'static str, String)]) -> Map<String, Value> {
    facts.iter().map(|(name, value)| (name.replace(' ', "_"), json!(value))).collect()
}
