//! Where this node's validator keys stand on the record, and what their operator should do next.
//!
//! Nothing is decided here: who may join is the ledger's to say, and which key votes is the host's.

use crate::ledger::Ledger;
use crate::members::{Operator, leaf};
use crate::storage::{Storage, StorageError};
use crate::validator_key::ValidatorKeys;
use sillok_did_method::{ed25519_key, key_id};
use sillok_ledger::{Tip, TreeKey};
use sillok_proto::v1;
use std::collections::BTreeMap;

/// Where a validator key stands on the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It votes at one of the next two heights.
    Seated,
    /// It was approved and may join.
    MayJoin {
        /// Until this ledger time, in milliseconds.
        expires_ms: u64,
    },
    /// Nothing lets it join: nobody approved it, or it did not join in time, or another was approved in its place.
    NotApproved,
    /// It was used, and votes at none of the next heights. Keys never return (PROTOCOL §3.4), so its seat has ended.
    Ended,
}

impl Standing {
    /// That of `key` after `tip`.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn of(key: &[u8; 32], storage: &Storage, tip: &Tip) -> Result<Self, StorageError> {
        let sets = [&tip.validators, &tip.next_validators];
        if sets.iter().any(|set| set.validators.iter().any(|one| one.public_key == key)) {
            return Ok(Self::Seated);
        }
        let state = storage.at(tip.height());
        let used = TreeKey::used_key(&key_id(&ed25519_key(key)));
        if leaf::<v1::UsedKey>(&state, &used)?.is_some() {
            return Ok(Self::Ended);
        }
        let members: v1::Members = leaf(&state, &TreeKey::members())?.unwrap_or_default();
        for organization in &members.operators {
            let Some(operator) = Operator::read(&state, organization)? else { continue };
            if let Some(pending) = operator.may_join(tip).filter(|one| one.validator_key == key) {
                return Ok(Self::MayJoin { expires_ms: pending.expires_ms });
            }
        }
        Ok(Self::NotApproved)
    }
}

/// What to do with a key that nothing lets join.
pub(crate) fn not_approved(key: &[u8; 32]) -> String {
    let key = hex::encode(key);
    format!(
        "nothing on the record lets the validator key {key} join: it was not approved, did not join in time, or another was \
         approved in its place. An operator with a seat goes on with `sillok member rekey --validator-key {key}`; for one \
         without, a member proposes `sillok member propose replace` with this key; then `sillok member join`"
    )
}

/// Tells the log of keys that wait for a seat, once for each change.
#[derive(Debug)]
pub struct KeyWatch {
    keys: ValidatorKeys,
    said: BTreeMap<[u8; 32], Standing>,
}

impl KeyWatch {
    /// Of the keys in this node's directory.
    #[must_use]
    pub const fn new(keys: ValidatorKeys) -> Self {
        Self { keys, said: BTreeMap::new() }
    }

    /// Looks at the directory and at the record, which should be up to date.
    ///
    /// # Errors
    ///
    /// [`StorageError`].
    pub fn look(&mut self, ledger: &Ledger) -> Result<(), StorageError> {
        let tip = ledger.tip();
        for key in self.keys.current_key().into_iter().chain(self.keys.next_key()) {
            let standing = Standing::of(&key, &ledger.storage, &tip)?;
            if self.said.insert(key, standing) == Some(standing) {
                continue;
            }
            match standing {
                // The key before it never had a seat, so the host does not see it end.
                Standing::Seated if self.waits_behind(&key, ledger)? => tracing::warn!(
                    event = "key_needs_restart",
                    key = %hex::encode(key),
                    "the key in `validator.next/` has the seat; start the node again, so that it votes"
                ),
                Standing::Seated | Standing::Ended => {}
                Standing::MayJoin { expires_ms } => tracing::info!(
                    event = "key_waits",
                    key = %hex::encode(key),
                    until_ms = expires_ms,
                    "a validator key here may join; `sillok member join` seats it"
                ),
                Standing::NotApproved => {
                    tracing::warn!(event = "key_not_approved", "{}", not_approved(&key));
                }
            }
        }
        Ok(())
    }

    /// Is this the next key, and was the one before it never seated?
    fn waits_behind(&self, key: &[u8; 32], ledger: &Ledger) -> Result<bool, StorageError> {
        let Some(current) = self.keys.current_key().filter(|current| current != key) else {
            return Ok(false);
        };
        let standing = Standing::of(&current, &ledger.storage, &ledger.tip())?;
        Ok(matches!(standing, Standing::MayJoin { .. } | Standing::NotApproved))
    }
}
