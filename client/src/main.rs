//! `sillok`: the command line of a Sillok network. This file reads the command line; the library does the work.

mod cli;

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    cli::run().await
}
