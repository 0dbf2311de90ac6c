//! Who a node is to its peers and where it is found.

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId, identity};
use std::fmt;
use std::str::FromStr;

/// Why a key or an address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Not the bytes of an Ed25519 public key.
    #[error(
        "a node key is an Ed25519 public key of 32 bytes; copy it from the genesis or from the node's `init`"
    )]
    NotANodeKey,
    /// Not an address at all.
    #[error("`{text}` is not an address ({reason}); write it like {example}")]
    Malformed {
        /// What was given.
        text: String,
        /// What the parser says.
        reason: String,
        /// One that is right.
        example: &'static str,
    },
    /// An address of a kind the node does not speak.
    #[error(
        "`{text}` is not an address this node can use: it speaks TCP only; write it like {example}"
    )]
    Unsupported {
        /// What was given.
        text: String,
        /// One that is right.
        example: &'static str,
    },
}

const PEER_EXAMPLE: &str = "/ip4/192.0.2.1/tcp/26600/p2p/12D3KooW…";
const LISTEN_EXAMPLE: &str = "/ip4/0.0.0.0/tcp/26600";

/// The public node key (PROTOCOL §7.3): a node's one identity to its peers.
///
/// Shown as a libp2p peer id, which is another spelling of the same 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeKey([u8; 32]);

impl NodeKey {
    /// Checks that `bytes` are an Ed25519 public key.
    ///
    /// # Errors
    ///
    /// [`AddressError::NotANodeKey`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AddressError> {
        identity::ed25519::PublicKey::try_from_bytes(bytes)
            .map(|key| Self(key.to_bytes()))
            .map_err(|_| AddressError::NotANodeKey)
    }

    /// The 32 bytes, as the ledger holds them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The libp2p name of this key.
    pub(super) fn peer_id(&self) -> PeerId {
        let key = identity::ed25519::PublicKey::try_from_bytes(&self.0)
            .expect("a node key is made from a checked Ed25519 key only");
        identity::PublicKey::from(key).to_peer_id()
    }

    /// The key behind a libp2p name. A peer id of Ed25519 holds the key itself, not a hash of it.
    pub(super) fn from_peer_id(peer: &PeerId) -> Result<Self, AddressError> {
        identity::PublicKey::try_decode_protobuf(peer.as_ref().digest())
            .ok()
            .and_then(|key| key.try_into_ed25519().ok())
            .map(|key| Self(key.to_bytes()))
            .ok_or(AddressError::NotANodeKey)
    }
}

impl fmt::Display for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.peer_id().fmt(f)
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for NodeKey {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let peer = text.parse::<PeerId>().map_err(|_| AddressError::NotANodeKey)?;
        Self::from_peer_id(&peer)
    }
}

/// Where a known peer is: `/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT/p2p/NODE`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerAddress {
    node: NodeKey,
    host: Host,
    port: u16,
}

/// A machine, by number or by name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Host {
    /// An IP address, as a multiaddr of one part.
    Ip(std::net::IpAddr),
    /// A name, looked up again at every dial; the flags say which families are wanted.
    Name { name: String, v4: bool, v6: bool },
}

impl PeerAddress {
    /// The address of `node` at an IP address and port.
    #[must_use]
    pub fn new(node: NodeKey, socket: std::net::SocketAddr) -> Self {
        Self { node, host: Host::Ip(socket.ip()), port: socket.port() }
    }

    /// Whose address it is.
    #[must_use]
    pub fn node(&self) -> NodeKey {
        self.node
    }

    /// The machine.
    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// The port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

/// The multiaddr of a TCP port on an IP address.
pub(super) fn multiaddr(socket: std::net::SocketAddr) -> Multiaddr {
    Multiaddr::from(socket.ip()).with(Protocol::Tcp(socket.port()))
}

impl FromStr for PeerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let address = text.parse::<Multiaddr>().map_err(|error| AddressError::Malformed {
            text: text.to_owned(),
            reason: error.to_string(),
            example: PEER_EXAMPLE,
        })?;
        let unsupported =
            || AddressError::Unsupported { text: text.to_owned(), example: PEER_EXAMPLE };
        let parts: Vec<Protocol<'_>> = address.iter().collect();
        let [host, Protocol::Tcp(port), Protocol::P2p(peer)] = parts.as_slice() else {
            return Err(unsupported());
        };
        let name = |name: &str, v4: bool, v6: bool| Host::Name { name: name.to_owned(), v4, v6 };
        let host = match host {
            Protocol::Ip4(ip) => Host::Ip((*ip).into()),
            Protocol::Ip6(ip) => Host::Ip((*ip).into()),
            Protocol::Dns(host) => name(host, true, true),
            Protocol::Dns4(host) => name(host, true, false),
            Protocol::Dns6(host) => name(host, false, true),
            _ => return Err(unsupported()),
        };
        if *port == 0 {
            return Err(unsupported());
        }
        Ok(Self { node: NodeKey::from_peer_id(peer)?, host, port: *port })
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(std::net::IpAddr::V4(ip)) => write!(f, "/ip4/{ip}")?,
            Host::Ip(std::net::IpAddr::V6(ip)) => write!(f, "/ip6/{ip}")?,
            Host::Name { name, v4: true, v6: true } => write!(f, "/dns/{name}")?,
            Host::Name { name, v4: true, .. } => write!(f, "/dns4/{name}")?,
            Host::Name { name, .. } => write!(f, "/dns6/{name}")?,
        }
        write!(f, "/tcp/{}/p2p/{}", self.port, self.node)
    }
}

impl fmt::Debug for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Where this node listens for peers: `/ip4|ip6/ADDRESS/tcp/PORT`; port 0 takes any free one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListenAddress(std::net::SocketAddr);

impl ListenAddress {
    /// The IP address and port.
    #[must_use]
    pub fn socket(&self) -> std::net::SocketAddr {
        self.0
    }

    /// As libp2p reports it, if it is TCP on an IP address.
    pub(super) fn from_multiaddr(address: &Multiaddr) -> Option<Self> {
        let mut parts = address.iter();
        let ip = match parts.next()? {
            Protocol::Ip4(ip) => ip.into(),
            Protocol::Ip6(ip) => ip.into(),
            _ => return None,
        };
        let Some(Protocol::Tcp(port)) = parts.next() else { return None };
        parts.next().is_none().then_some(Self(std::net::SocketAddr::new(ip, port)))
    }
}

impl From<std::net::SocketAddr> for ListenAddress {
    fn from(socket: std::net::SocketAddr) -> Self {
        Self(socket)
    }
}

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let address = text.parse::<Multiaddr>().map_err(|error| AddressError::Malformed {
            text: text.to_owned(),
            reason: error.to_string(),
            example: LISTEN_EXAMPLE,
        })?;
        Self::from_multiaddr(&address).ok_or_else(|| AddressError::Unsupported {
            text: text.to_owned(),
            example: LISTEN_EXAMPLE,
        })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        multiaddr(self.0).fmt(f)
    }
}

impl fmt::Debug for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The node key of the seed of ones.
    const NODE: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";

    fn peer(text: &str) -> Result<String, AddressError> {
        text.replace("NODE", NODE).parse::<PeerAddress>().map(|address| address.to_string())
    }

    #[test]
    fn a_node_key_and_its_peer_id_are_two_spellings_of_the_same_bytes() {
        let key: NodeKey = NODE.parse().unwrap();
        assert_eq!(key.as_bytes(), &crate::keys::SecretKey::from_seed(&[1; 32]).public());
        assert_eq!(key.to_string(), NODE);
        assert_eq!(NodeKey::from_bytes(key.as_bytes()), Ok(key));
        assert_eq!(NodeKey::from_bytes(&key.as_bytes()[1..]), Err(AddressError::NotANodeKey));
        assert_eq!(
            "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N".parse::<NodeKey>(),
            Err(AddressError::NotANodeKey)
        );
    }

    #[test]
    fn a_peer_is_found_by_number_or_by_name() {
        for text in [
            "/ip4/192.0.2.1/tcp/26600/p2p/NODE",
            "/ip6/2001:db8::1/tcp/26600/p2p/NODE",
            "/dns/node.example/tcp/26600/p2p/NODE",
            "/dns4/node.example/tcp/26600/p2p/NODE",
            "/dns6/node.example/tcp/26600/p2p/NODE",
        ] {
            assert_eq!(peer(text), Ok(text.replace("NODE", NODE)));
        }
    }

    #[test]
    fn an_address_of_another_kind_says_how_to_write_it() {
        for text in [
            "192.0.2.1:26600",
            "/ip4/192.0.2.1/tcp/26600",
            "/ip4/192.0.2.1/udp/26600/quic-v1/p2p/NODE",
            "/ip4/192.0.2.1/tcp/0/p2p/NODE",
            "/ip4/192.0.2.1/tcp/26600/ws/p2p/NODE",
            "/unix/run/node/p2p/NODE",
        ] {
            let refusal = peer(text).unwrap_err().to_string();
            assert!(refusal.contains("/p2p/"), "{refusal}");
        }
        for text in ["0.0.0.0:1", "/ip4/0.0.0.0", "/dns/node.example/tcp/1", "/ip4/0.0.0.0/udp/1"] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
        assert_eq!(
            "/ip4/0.0.0.0/tcp/26600".parse::<ListenAddress>().unwrap().to_string(),
            "/ip4/0.0.0.0/tcp/26600"
        );
    }
}
