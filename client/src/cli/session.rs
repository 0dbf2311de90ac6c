//! From the global options to a client: which network, which nodes, what is trusted.

use super::arguments::Global;
use super::failure::Failure;
use sillok_client::connection::Connection;
use sillok_client::read::{Client, Clock, ReadOptions, fetch_genesis};
use sillok_client::trust::{Trust, read_checkpoint, read_genesis};
use std::path::PathBuf;

pub(crate) fn home(global: &Global) -> Result<PathBuf, Failure> {
    match (&global.home, std::env::home_dir()) {
        (Some(home), _) => Ok(home.clone()),
        (None, Some(user)) => Ok(user.join(".sillok")),
        (None, None) => Err(Failure::usage(
            "this user has no home directory; say with --home where to keep what was verified",
        )),
    }
}

pub(crate) fn connection(global: &Global) -> Result<Connection, Failure> {
    Ok(Connection::new(&global.nodes)?)
}

/// What is trusted, without asking any node.
///
/// A checkpoint alone is enough where the genesis was kept before.
pub(crate) fn offline_trust(global: &Global) -> Result<Trust, Failure> {
    let home = home(global)?;
    let checkpoint = global.checkpoint.as_deref().map(read_checkpoint).transpose()?;
    let mut trust = match (&global.genesis, &checkpoint) {
        (Some(path), _) => Trust::open(&home, read_genesis(path)?)?,
        (None, None) => Trust::open_only(&home)?,
        (None, Some(checkpoint)) => match Trust::kept_genesis(&home, &checkpoint.genesis_hash)? {
            Some(chain) => Trust::open(&home, chain)?,
            None => {
                return Err(Failure::usage(
                    "a checkpoint without the network's genesis; give --genesis too, or ask a node once",
                ));
            }
        },
    };
    if let Some(checkpoint) = checkpoint {
        trust.take_checkpoint(checkpoint)?;
    }
    Ok(trust)
}

/// What is trusted; a genesis that is missing beside a checkpoint comes from a node, vouched for by its hash.
pub(crate) async fn trust(global: &Global, connection: &Connection) -> Result<Trust, Failure> {
    let home = home(global)?;
    if global.genesis.is_none()
        && let Some(path) = &global.checkpoint
    {
        let checkpoint = read_checkpoint(path)?;
        if Trust::kept_genesis(&home, &checkpoint.genesis_hash)?.is_none() {
            let chain = fetch_genesis(connection, &checkpoint.genesis_hash).await?;
            Trust::open(&home, chain)?;
        }
    }
    offline_trust(global)
}

pub(crate) fn options(global: &Global) -> ReadOptions {
    ReadOptions {
        max_age_ms: u64::try_from(global.max_age.as_millis()).unwrap_or(u64::MAX),
        min_height: global.min_height,
        clock: Clock::system(),
    }
}

pub(crate) async fn client(global: &Global) -> Result<Client, Failure> {
    let connection = connection(global)?;
    let trust = trust(global, &connection).await?;
    Ok(Client::new(connection, trust, options(global)))
}
