//! Who may do what, and which types there are: the bounds of the leaves, and what operations do to them (PROTOCOL §5).
//!
//! The rules themselves are the operations' (`operation/accredit.rs`, `withdraw.rs`, `publish_type.rs`); whether a right
//! holds is [`crate::authority`]'s.

use sillok_proto::{Hash, v1};

/// Most periods of one grant. Renewing extends the last one, so they are as many as there were breaks.
pub const PERIODS_MAX: usize = 64;
/// Most grants of one organization, ended ones included; who needs more holds a grant on all.
pub const GRANTS_MAX: usize = 256;

/// What an operation did to rights and types. All of it is public.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum TrustEvent {
    /// A grant has a new period, or its last one a later end or other limits.
    Accredited {
        /// Digest of who holds it.
        organization: Hash,
        /// What it may do.
        action: v1::Action,
        /// On what; `None` is everything.
        resource: Option<Hash>,
        /// The period as it is now. Its grantor is empty for governance.
        period: v1::Period,
    },
    /// A grant ends.
    Withdrawn {
        /// Digest of who ended it; `None` is governance.
        by: Option<Hash>,
        /// Digest of who held it.
        organization: Hash,
        /// What it may not do any more.
        action: v1::Action,
        /// On what; `None` is everything.
        resource: Option<Hash>,
        /// Ledger time of the end.
        at_ms: u64,
    },
    /// A type, or its next version.
    TypePublished {
        /// Its name.
        name: Hash,
        /// The version.
        version: u32,
    },
}
