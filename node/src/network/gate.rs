//! Opens a protocol to some peers only: to the others it is as if this node did not speak it.
//!
//! Whom it is open to counts when a connection is made, so the connections of a peer that moves from one side to the
//! other are closed by the task, and it comes back on the right one.

use either::Either;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished, FromSwarm};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::task::{Context, Poll};

/// A protocol behind the gate.
pub(super) struct Gated<B> {
    inner: B,
    open_to: BTreeSet<PeerId>,
    /// Connections that were made while it was shut to their peer.
    shut: BTreeSet<ConnectionId>,
    /// Connections of each peer that it is open on.
    open: BTreeMap<PeerId, usize>,
}

impl<B> Gated<B> {
    /// Open to nobody.
    pub(super) fn new(inner: B) -> Self {
        Self { inner, open_to: BTreeSet::new(), shut: BTreeSet::new(), open: BTreeMap::new() }
    }

    /// To whom connections made from now on are open.
    pub(super) fn open_to(&mut self, peers: BTreeSet<PeerId>) {
        self.open_to = peers;
    }

    fn passes(&mut self, connection: ConnectionId, peer: PeerId) -> bool {
        let passes = self.open_to.contains(&peer);
        if !passes {
            self.shut.insert(connection);
        }
        passes
    }
}

impl<B> Deref for Gated<B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.inner
    }
}

impl<B> DerefMut for Gated<B> {
    fn deref_mut(&mut self) -> &mut B {
        &mut self.inner
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Gated<B> {
    type ConnectionHandler = Either<THandler<B>, dummy::ConnectionHandler>;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if !self.passes(connection, peer) {
            return Ok(Either::Right(dummy::ConnectionHandler));
        }
        self.inner
            .handle_established_inbound_connection(connection, peer, local, remote)
            .map(Either::Left)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner.handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if !self.passes(connection, peer) {
            return Ok(Either::Right(dummy::ConnectionHandler));
        }
        self.inner
            .handle_established_outbound_connection(connection, peer, address, role, port)
            .map(Either::Left)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(made) => {
                if self.shut.contains(&made.connection_id) {
                    return;
                }
                let open = self.open.entry(made.peer_id).or_default();
                // What is inside counts the connections it knows of.
                let made = ConnectionEstablished { other_established: *open, ..made };
                *open += 1;
                self.inner.on_swarm_event(FromSwarm::ConnectionEstablished(made));
            }
            FromSwarm::ConnectionClosed(closed) => {
                if self.shut.remove(&closed.connection_id) {
                    return;
                }
                let open = self.open.entry(closed.peer_id).or_default();
                *open = open.saturating_sub(1);
                let remaining_established = *open;
                if remaining_established == 0 {
                    self.open.remove(&closed.peer_id);
                }
                let closed = ConnectionClosed { remaining_established, ..closed };
                self.inner.on_swarm_event(FromSwarm::ConnectionClosed(closed));
            }
            FromSwarm::AddressChange(change) if self.shut.contains(&change.connection_id) => {}
            // Another protocol refused it after all.
            FromSwarm::ListenFailure(failure) if self.shut.remove(&failure.connection_id) => {}
            FromSwarm::DialFailure(failure) if self.shut.remove(&failure.connection_id) => {}
            event => self.inner.on_swarm_event(event),
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {
            Either::Left(event) => self.inner.on_connection_handler_event(peer, connection, event),
            Either::Right(never) => match never {},
        }
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(context).map(|action| action.map_in(Either::Left))
    }
}
