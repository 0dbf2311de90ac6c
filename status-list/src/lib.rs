//! Status lists as others read them: Token Status List (IETF) and Bitstring Status List (W3C), made of the state of one
//! moment, signed or with its proof, served over HTTP; and read back.
//!
//! ```text
//!   compress ── jws         bytes: zlib, gzip, compact signatures
//!   document                both lists, of the state of one moment
//!   request ── door         what is asked and answered over HTTP, without a socket
//!   served                  what somebody served, read with bounds
//! ```
//!
//! Whoever holds the state hands it in ([`door::Source`]): a node what it executed, a status issuer what it verified. The
//! time of a list is that of its header, never of a clock (PROTOCOL §4.5). Deliberately absent: sockets, storage, keys,
//! and whether what somebody else served is so (`sillok_client::served`). No document is of one entry, and nothing here
//! logs (II.6).

pub mod compress;

pub mod jws;

pub mod document;

pub mod request;

pub mod door;

pub mod served;
