//! Answers that go on: how many there are at once, of all callers and of one connection, and how long one waits for a
//! caller that does not read.
//!
//! A subscriber is little work for ever, a whole list much work for a while. So each has places of its own, and no number
//! of subscribers keeps anybody from a list; a connection has its share of both; and who does not read gives the place up.
//! Deliberately absent: what is sent.

use super::Api;
use super::problem::Refused;
use sillok_ledger::Retry;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::{Code, Request, Status};

/// Most subscribers at once, to events and to the changes of lists.
const SUBSCRIBERS_MAX: usize = 256;
/// Most of one connection.
const SUBSCRIBERS_PER_CONNECTION: usize = 32;
/// Most whole lists on their way at once.
const EXPORTS_MAX: usize = 16;
/// Most of one connection.
const EXPORTS_PER_CONNECTION: usize = 2;
/// How long a caller may leave unread what is ready for it.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// What kind of stream somebody asks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum StreamKind {
    /// Of what is still to come.
    Subscription,
    /// Of a whole list.
    Export,
}

/// Places for streams: a node's, and of each connection.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    subscribers: Arc<Semaphore>,
    exports: Arc<Semaphore>,
}

impl Places {
    pub(super) fn of_node() -> Self {
        Self::new(SUBSCRIBERS_MAX, EXPORTS_MAX)
    }

    pub(super) fn of_connection() -> Self {
        Self::new(SUBSCRIBERS_PER_CONNECTION, EXPORTS_PER_CONNECTION)
    }

    fn new(subscribers: usize, exports: usize) -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self { subscribers: places(subscribers), exports: places(exports) }
    }

    fn take(&self, kind: StreamKind) -> Result<OwnedSemaphorePermit, Refused> {
        let (places, code, message) = match kind {
            StreamKind::Subscription => (
                &self.subscribers,
                "TOO_MANY_SUBSCRIBERS",
                "there is no room for another subscriber, of this connection or of anybody; close one, or ask another node",
            ),
            StreamKind::Export => (
                &self.exports,
                "TOO_MANY_EXPORTS",
                "there is no room for another whole list, of this connection or of anybody; wait for one, or ask another node",
            ),
        };
        places
            .clone()
            .try_acquire_owned()
            .map_err(|_| Refused::new(Code::ResourceExhausted, code, message, Retry::Later))
    }
}

/// A place for one stream, for as long as it is held.
#[derive(Debug)]
pub(super) struct StreamPlace {
    _of_connection: Option<OwnedSemaphorePermit>,
    _of_node: OwnedSemaphorePermit,
}

impl Api {
    /// A place for what is asked for, of its connection and of the node.
    pub(super) fn stream_place<T>(
        &self,
        request: &Request<T>,
        kind: StreamKind,
    ) -> Result<StreamPlace, Refused> {
        let of_connection = request.extensions().get::<Places>();
        let of_connection = of_connection.map(|places| places.take(kind)).transpose()?;
        Ok(StreamPlace { _of_connection: of_connection, _of_node: self.room.streams.take(kind)? })
    }

    /// Sends what comes next, and says whether to go on.
    pub(super) async fn pass<T>(
        &self,
        sender: &Sender<Result<T, Status>>,
        next: Result<T, Status>,
    ) -> bool {
        pass_within(READ_WITHIN, self.stop.clone(), sender, next).await
    }
}

/// Not to a caller that is gone, or does not read for so long, nor once the node stops.
async fn pass_within<T>(
    within: Duration,
    mut stop: watch::Receiver<bool>,
    sender: &Sender<Result<T, Status>>,
    next: Result<T, Status>,
) -> bool {
    tokio::select! {
        sent = tokio::time::timeout(within, sender.send(next)) => matches!(sent, Ok(Ok(()))),
        _ = stop.wait_for(|stop| *stop) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn who_does_not_read_gives_its_place_up() {
        let (_running, stop) = watch::channel(false);
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        assert!(pass_within(SHORT, stop.clone(), &sender, Ok(1)).await);
        assert!(!pass_within(SHORT, stop.clone(), &sender, Ok(2)).await, "nobody reads");
        assert_eq!(receiver.recv().await.unwrap().unwrap(), 1);
        assert!(pass_within(SHORT, stop.clone(), &sender, Ok(3)).await, "somebody did");
        drop(receiver);
        assert!(!pass_within(LONG, stop, &sender, Ok(4)).await, "it is gone");
    }

    #[tokio::test]
    async fn a_caller_that_does_not_read_keeps_no_node_from_stopping() {
        let (running, stop) = watch::channel(false);
        let (sender, _receiver) = tokio::sync::mpsc::channel(1);
        assert!(pass_within(LONG, stop.clone(), &sender, Ok(1)).await);
        running.send_replace(true);
        assert!(!pass_within(LONG, stop, &sender, Ok(2)).await);
    }

    #[test]
    fn subscribers_take_no_place_of_a_whole_list() {
        let places = Places::new(1, 1);
        let held = places.take(StreamKind::Subscription).unwrap();
        let refused = places.take(StreamKind::Subscription).unwrap_err();
        assert_eq!(refused.problem.code, "TOO_MANY_SUBSCRIBERS");
        let export = places.take(StreamKind::Export).unwrap();
        assert_eq!(places.take(StreamKind::Export).unwrap_err().problem.code, "TOO_MANY_EXPORTS");
        drop((held, export));
        assert!(places.take(StreamKind::Subscription).is_ok());
    }
}
