//! A client of a Sillok network: builds, submits, resolves and *verifies*. The command line `sillok` is this crate's.
//!
//! ```text
//!   keys ── identity ── transaction ── prepare what is signed, by whom
//!   private_file ── words ── credential_type   what people keep in files, and write in them
//!   pseudonym ── holder ── draw ── desk        what a desk knows, and how it changes status
//!   verify ── private ── trust                 what is believed, and why (pure; files)
//!   problem ── connection ── read ── bucket ── write   nodes, which are believed nothing
//!   member ── evidence ── rights ── registry   who runs the network, who misbehaved, who may do what; lists and types
//!   as_of ── staple                            what was so then; answers of one height in a file, for who has no network
//!   status_issuer ── status_door ── served     lists for others over HTTP, and those that others served
//! ```
//!
//! Reading order: as the modules are declared. A node is an untrusted messenger: what it answers is checked against the
//! validators' signatures from one trusted header on. Deliberately absent: everything that only a node needs (libp2p,
//! RocksDB, the state tree).
//!
//! ```no_run
//! use sillok_client::{read::Client, trust::read_genesis, verify::Asked};
//! use sillok_did_method::Did;
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let chain = read_genesis("genesis.json".as_ref())?;
//! let client = Client::in_memory(&["http://127.0.0.1:7101"], chain)?;
//! let did = Did::parse("did:sillok:dev:zGz…")?;
//! let resolved = client.resolve(&did, Asked::Current).await?;
//! // Not yet "valid": `fresh` refuses an answer that is too old.
//! println!("{:#}", resolved.answer.fresh()?.to_json());
//! # Ok(())
//! # }
//! ```

pub mod keys;

pub mod identity;

pub mod transaction;

pub mod prepare;

pub mod private_file;

pub mod words;

pub mod credential_type;

pub mod pseudonym;

pub mod holder;

pub mod draw;

pub mod desk;

#[doc(inline)]
pub use sillok_verifier as verify;

pub mod private;

pub mod trust;

pub mod problem;

pub mod connection;

pub mod read;

pub mod bucket;

pub mod write;

pub mod already;

pub mod member;

pub mod evidence;

pub mod rights;

pub mod registry;

pub mod as_of;

pub mod staple;

pub mod status_issuer;

pub mod status_door;

pub mod served;

#[cfg(feature = "testing")]
pub mod testing;
