//! The ledger: state + block → state root, and the proofs of what it holds.
//!
//! ```text
//!   state_key ── tree ─── execute ── tip            who keeps the state (feature `tree`)
//!       │                    │
//!    overlay ── authority ── admit ── operation/*                the one rule set of mempool, proposal and block
//!       │                    └── prepare                         the same, and nothing comes of it
//!       └── credential_type ──────────┘
//!                 │
//!            transaction ── private ── lane ── status ── genesis
//!
//!   merkle_log ── certificate ── proof ── light     what a verifier runs: no tree, no storage
//!                     ├── proposers                 who proposes in which round
//!                     ├── answer                    which leaves answer a question
//!                     └── snapshot                  the parts of a state and its tip, each by itself
//! ```
//!
//! Reading order: as the modules are declared. Everything is a plain function of its inputs: no clock, randomness,
//! environment or I/O. Deliberately absent: votes, peers, disk.

#![warn(clippy::arithmetic_side_effects, clippy::float_arithmetic)]

pub mod state_key;

pub mod merkle_log;

pub mod state;

pub mod certificate;

pub mod proposers;

pub mod governance;

pub mod trust;

pub mod genesis;

pub mod transaction;

pub mod private;

pub mod lane;

pub mod status;

pub mod mutant;

pub mod error;

pub mod overlay;

pub mod authority;

pub mod credential_type;

mod sink;

pub mod admit;
mod operation;

pub mod prepare;

pub mod reading;

#[cfg(feature = "tree")]
pub mod tree;

#[cfg(feature = "tree")]
pub mod execute;
pub mod tip;

pub mod proof;

pub mod light;

pub mod answer;

pub mod snapshot;

pub use admit::{Effects, Frame, Replay, SignatureVerifier, VerifyEach};
pub use certificate::{
    header_hash, precommit_string, prevote_string, proposal_string, quorum, refusal_string,
    validator_set_hash,
};
pub use error::{AdmissionError, BlockError, Retry, StatusError};
#[cfg(feature = "tree")]
pub use execute::{Built, Outcome, build_block, build_in_order, execute_block};
pub use genesis::{Chain, GenesisError, GenesisState, default_parameters, organization_digest};
pub use governance::{GovernanceEvent, MEMBERSHIP_DELAY};
pub use lane::Lane;
pub use overlay::{Changes, Overlay, StateView};
pub use prepare::{Prepared, prepare};
pub use private::{
    APPROVERS_MAX, HANDLE_BYTES, PRIVATE_CONTENT_BYTES, PrivateContentError, PrivatePart,
    check_private_content, pad, private_content_bytes,
};
pub use state::StateFault;
pub use state_key::{LeafKind, TreeKey};
pub use status::StatusEvent;
pub use tip::{ReplayWindow, Tip, genesis_header};
pub use transaction::{
    CheckedTransaction, TRANSACTION_BYTES_MAX, TRANSACTION_WRITES_MAX, TransactionLeaf,
    write_weight,
};
pub use trust::TrustEvent;
// Signature rules live in one place; layers above this one reach it through here.
pub use sillok_did_method::verify_ed25519;
