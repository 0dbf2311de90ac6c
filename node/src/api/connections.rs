//! Connections to the gRPC doors: how many there are, in all and of one address, and how long one may say nothing.
//!
//! Each holds a file descriptor, and a node that has none left can neither write its signing record nor reach its
//! peers. So a stranger's thousand connections must cost the stranger's share. Addresses are counted here and told to
//! nobody: neither handlers nor logs see them (PROTOCOL II.6).

use super::streams::Places;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tokio_stream::Stream;
use tonic::transport::server::Connected;

/// Most connections at once. With the database's files and the peers it stays below the usual limit of 1,024.
const CONNECTIONS_MAX: usize = 512;
/// Most of one address: one connection carries many requests, so this is a whole office behind one.
const PER_ADDRESS_MAX: usize = 128;
/// How long a connection may take to begin HTTP/2.
const PREFACE_WITHIN: Duration = Duration::from_secs(10);
/// Length of the HTTP/2 preface, in bytes.
const PREFACE_BYTES: usize = 24;
/// Pause after a connection could not be accepted, which is mostly for want of descriptors.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Connections of each address.
type Shares = Arc<Mutex<BTreeMap<IpAddr, usize>>>;

/// Accepts connections for ever, within the limits.
pub(super) fn accept(listener: TcpListener) -> impl Stream<Item = io::Result<Connection>> {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let start = (listener, room, Shares::default());
    futures::stream::unfold(start, |(listener, room, shares)| async move {
        let permit = room.clone().acquire_owned().await.ok()?;
        loop {
            let Ok((stream, address)) = listener.accept().await else {
                sleep(ACCEPT_AGAIN_AFTER).await;
                continue;
            };
            // Over its share: closed at once.
            let Some(share) = Share::take(&shares, address.ip()) else { continue };
            let _ = stream.set_nodelay(true);
            let silent = Some((Box::pin(sleep(PREFACE_WITHIN)), 0));
            let streams = Places::of_connection();
            let connection = Connection { stream, silent, streams, _permit: permit, _share: share };
            return Some((Ok(connection), (listener, room, shares)));
        }
    })
}

/// One connection's part of its address's share.
#[derive(Debug)]
struct Share {
    shares: Shares,
    address: IpAddr,
}

impl Share {
    fn take(shares: &Shares, address: IpAddr) -> Option<Self> {
        let mut counts = shares.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_insert(0);
        if *count >= PER_ADDRESS_MAX {
            return None;
        }
        *count += 1;
        Some(Self { shares: shares.clone(), address })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut counts = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// A connection within its limits.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// Until the preface came: when to give up, and the bytes so far. Afterwards HTTP/2's own pings take over.
    silent: Option<(Pin<Box<Sleep>>, usize)>,
    /// Its places for answers that go on.
    streams: Places,
    _permit: OwnedSemaphorePermit,
    _share: Share,
}

impl Connected for Connection {
    /// Nothing else: no handler learns a client's address.
    type ConnectInfo = Places;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.streams.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        let Some((give_up, bytes)) = &mut this.silent else { return polled };
        *bytes += buffer.filled().len() - before;
        if *bytes >= PREFACE_BYTES {
            this.silent = None;
        } else if polled.is_pending() && give_up.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
