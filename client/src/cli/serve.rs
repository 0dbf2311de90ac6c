//! `sillok status serve`: the door of a status issuer, until it is stopped.

use super::arguments::{Global, ServeArguments};
use super::failure::{EXIT_OK, Failure};
use super::output::Output;
use super::session;
use serde_json::json;
use sillok_client::identity::Identity;
use sillok_client::status_door;
use sillok_client::status_issuer::StatusIssuer;
use sillok_did_method::ASSERTION_METHOD;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) async fn run(
    global: &Global,
    arguments: &ServeArguments,
    output: Output,
) -> Result<u8, Failure> {
    let identity = Identity::load(&arguments.key)?;
    let key = identity.newest_secret(ASSERTION_METHOD).ok_or_else(|| {
        Failure::usage(format!(
            "{} has no assertionMethod key; make one with `sillok did update --add-key`",
            arguments.key.display()
        ))
    })?;
    let client = session::client(global).await?;
    let base = client.chain().parameters().list_base.clone();
    let door = StatusIssuer::door(client, identity.did.clone(), key)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let system = |error: std::io::Error| {
        Failure::failed(format!("{}: {error}; choose another --listen", arguments.listen))
    };
    let listener = TcpListener::bind(arguments.listen).await.map_err(system)?;
    let address = listener.local_addr().map_err(system)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
    output.value(&json!({ "listen": format!("http://{address}"), "lists": base }));
    output.line(format_args!("{} http://{address}", output.good("serving lists at")));
    output.note(format_args!("as {base}…, signed by {}", identity.did));
    status_door::serve(door, listener, async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    })
    .await;
    Ok(EXIT_OK)
}
