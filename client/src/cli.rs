//! The command line: arguments in, library calls, answers out. Nothing is decided here but what to print and with which
//! code to end.

mod arguments;
mod as_of;
mod carry;
mod checkpoint;
mod credential_type;
mod failure;
mod key;
mod member;
mod network;
mod operation;
mod output;
mod read;
mod serve;
mod session;
mod staple;
mod status;
mod trust;
mod tx;
mod write;

use arguments::{Arguments, Command};
use clap::Parser as _;
use failure::{EXIT_USAGE, Failure};
use output::Output;
use std::process::ExitCode;

/// Runs the command on the command line of this process.
pub(crate) async fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are answers, the rest is bad usage.
            let _closed = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let output = Output::new(arguments.global.json);
    match Box::pin(dispatch(&arguments, output)).await {
        Ok(exit) => ExitCode::from(exit),
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.exit)
        }
    }
}

async fn dispatch(arguments: &Arguments, output: Output) -> Result<u8, Failure> {
    let global = &arguments.global;
    match &arguments.command {
        Command::Key(command) => key::run(command, output),
        Command::Did(command) => match command {
            arguments::DidCommand::Resolve(arguments) => {
                read::resolve(global, arguments, output).await
            }
            arguments::DidCommand::History { did } => read::history(global, did, output).await,
            arguments::DidCommand::Create(arguments) => {
                write::create(global, arguments, output).await
            }
            arguments::DidCommand::Update(arguments) => {
                write::update(global, arguments, output).await
            }
            arguments::DidCommand::SetDevice(arguments) => {
                write::set_device(global, arguments, output).await
            }
            arguments::DidCommand::Deactivate(arguments) => {
                write::deactivate(global, arguments, output).await
            }
        },
        Command::Tx(command) => match command {
            arguments::TxCommand::Status { id, wait } => {
                network::transaction(global, id, *wait, output).await
            }
            arguments::TxCommand::Show { file } => tx::show(global, file, output),
            arguments::TxCommand::Sign { file, key } => tx::sign(global, file, key, output),
            arguments::TxCommand::Submit { file, submitter } => {
                tx::submit(global, file, submitter, output).await
            }
        },
        Command::Trust(command) => trust::run(global, command, output).await,
        Command::Type(command) => credential_type::run(global, command, output).await,
        Command::Status(command) => status::run(global, command, output).await,
        Command::Member(command) => member::run(global, command, output).await,
        Command::Network(arguments::NetworkCommand::Status) => {
            network::status(global, output).await
        }
        Command::Verify { file } => read::verify(global, file, output).await,
        Command::VerifyAsOf(arguments) => Box::pin(as_of::run(global, arguments, output)).await,
        Command::Staple(arguments) => staple::staple(global, arguments, output).await,
        Command::VerifyStaple(arguments) => staple::verify(global, arguments, output),
        Command::Checkpoint(command) => checkpoint::run(global, command, output).await,
    }
}
