//! `sillok-devnet`: many nodes on one machine.

use clap::Parser as _;
use sillok_devnet::cli::Cli;
use sillok_devnet::console;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match Box::pin(Cli::parse().run()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::note(format!("sillok-devnet: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
