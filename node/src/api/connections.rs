//! Connections to the doors: how many there are, in all and of one address, and how long one may say nothing.
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

/// What a door takes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Most connections at once.
    connections_max: usize,
    /// Most of one address.
    per_address_max: usize,
    /// How long a connection may take to begin.
    begin_within: Duration,
    /// How many bytes are a beginning.
    begin_bytes: usize,
    /// How long a caller may take nothing of an answer, where the protocol does not ask it whether it is there.
    stalls_within: Option<Duration>,
}

/// Those of gRPC: one connection carries many requests, so the share of an address is a whole office behind one. HTTP/2
/// begins with a preface of 24 bytes; afterwards its own pings find out who is gone.
pub(crate) const GRPC: Limits = Limits {
    connections_max: 384,
    per_address_max: 128,
    begin_within: Duration::from_secs(10),
    begin_bytes: 24,
    stalls_within: None,
};

/// Those of HTTP/1.1: one request at a time. With gRPC's, the database's files and the peers it stays below the usual
/// limit of 1,024 descriptors. Here a beginning is one byte; how long a head may take is hyper's to say.
pub(crate) const HTTP: Limits = Limits {
    connections_max: 192,
    per_address_max: 96,
    begin_within: Duration::from_secs(10),
    begin_bytes: 1,
    stalls_within: Some(Duration::from_secs(20)),
};

/// Pause after a connection could not be accepted, which is mostly for want of descriptors.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Connections of each address.
type Shares = Arc<Mutex<BTreeMap<IpAddr, usize>>>;

/// Accepts connections for ever, within the limits.
pub(crate) fn accept(
    listener: TcpListener,
    limits: Limits,
) -> impl Stream<Item = io::Result<Connection>> {
    let room = Arc::new(Semaphore::new(limits.connections_max));
    let start = (listener, room, Shares::default());
    futures::stream::unfold(start, move |(listener, room, shares)| async move {
        let permit = room.clone().acquire_owned().await.ok()?;
        loop {
            let Ok((stream, address)) = listener.accept().await else {
                sleep(ACCEPT_AGAIN_AFTER).await;
                continue;
            };
            // Over its share: closed at once.
            let Some(share) = Share::take(&shares, address.ip(), limits.per_address_max) else {
                continue;
            };
            let _ = stream.set_nodelay(true);
            let silent = Some((Box::pin(sleep(limits.begin_within)), 0));
            let connection = Connection {
                stream,
                limits,
                silent,
                stalled: None,
                streams: Places::of_connection(),
                _permit: permit,
                _share: share,
            };
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
    fn take(shares: &Shares, address: IpAddr, most: usize) -> Option<Self> {
        let mut counts = shares.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_insert(0);
        if *count >= most {
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
pub(crate) struct Connection {
    stream: TcpStream,
    limits: Limits,
    /// Until it began: when to give up, and the bytes so far.
    silent: Option<(Pin<Box<Sleep>>, usize)>,
    /// While the caller takes nothing: when to give up.
    stalled: Option<Pin<Box<Sleep>>>,
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
        if *bytes >= this.limits.begin_bytes {
            this.silent = None;
        } else if polled.is_pending() && give_up.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl Connection {
    /// What writing came to, or the end for a caller that has taken nothing for too long.
    fn unless_stalled<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let Some(within) = self.limits.stalls_within else { return polled };
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let give_up = self.stalled.get_or_insert_with(|| Box::pin(sleep(within)));
        match give_up.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.unless_stalled(context, polled)
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
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.unless_stalled(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
