//! The leaves that say who may do what, each with its proof: members, operators, observers, proposals, grants, figures,
//! types of credentials, and which status lists there are.
//!
//! Deliberately not here: heads of DIDs, which the resolver serves whole; chunks of lists and the dates of their entries,
//! which come together or not at all, for a leaf of dates alone would tell which entry somebody looks up; and everything
//! private (PROTOCOL §4.1, §6.4).

use super::Api;
use super::problem::{Refused, failed};
use sillok_ledger::{LeafKind, Tip, TreeKey, tree};
use sillok_proto::v1;
use std::collections::BTreeSet;
use tonic::Status;

/// Most leaves in one answer.
const KEYS_MAX: usize = 64;

/// The keys asked for, if each is one that this door serves.
pub(super) fn public_keys(keys: &[Vec<u8>]) -> Result<Vec<TreeKey>, Refused> {
    let refuse = |message: String| Refused::malformed("INVALID_STATE_KEY", message);
    if keys.is_empty() || keys.len() > KEYS_MAX {
        return Err(refuse(format!(
            "{} keys are asked for; ask for 1 to {KEYS_MAX} at a time",
            keys.len()
        )));
    }
    let served = [
        LeafKind::List,
        LeafKind::Grant,
        LeafKind::Type,
        LeafKind::Governance,
        LeafKind::Parameter,
    ]
    .map(|kind| kind as u8);
    let mut seen = BTreeSet::new();
    keys.iter()
        .map(|bytes| {
            let key = TreeKey::from_slice(bytes)
                .ok_or_else(|| refuse(format!("a tree key has 32 bytes, not {}", bytes.len())))?;
            if !served.contains(&key.kind_nibble()) {
                return Err(refuse(format!(
                    "leaves of kind {} are not served here; ask for those of kinds 3, 6, 7, 8 and 9, for chunks the status registry, and for DIDs the resolver",
                    key.kind_nibble()
                )));
            }
            if !seen.insert(key) {
                return Err(refuse("a key is asked for twice; name it once".to_owned()));
            }
            Ok(key)
        })
        .collect()
}

impl Api {
    /// What the state of `tip` holds at `keys`, with the proof.
    pub(super) fn state_proof(
        &self,
        tip: &Tip,
        keys: &[TreeKey],
    ) -> Result<v1::StateProof, Status> {
        let height = tip.height();
        let storage = &self.ledger.storage;
        let signed_header = storage.signed_header(height).map_err(failed("get_state"))?;
        let view = storage.at(height);
        let entries = keys
            .iter()
            .map(|key| tree::prove(&view, height, key))
            .collect::<Result<_, _>>()
            .map_err(|error| {
                tracing::error!(what = "get_state", err = %error, "a read failed");
                Refused::internal()
            })?;
        Ok(v1::StateProof { signed_header, entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sillok_proto::Hash;

    fn asked(keys: &[TreeKey]) -> Result<usize, String> {
        let keys: Vec<Vec<u8>> = keys.iter().map(|key| key.to_vec()).collect();
        public_keys(&keys).map(|keys| keys.len()).map_err(|refused| refused.problem.message)
    }

    #[test]
    fn only_leaves_that_say_who_may_do_what_are_served() {
        let organization = Hash([1; 32]);
        let operator = TreeKey::operator(&organization);
        let name = Hash([2; 32]);
        let served = [
            operator,
            TreeKey::parameters(),
            TreeKey::grant_index(&organization),
            TreeKey::status_list(&name),
            TreeKey::credential_type(&name),
            TreeKey::type_version(&name, 1),
        ];
        assert_eq!(asked(&served), Ok(6));
        let refused = [
            TreeKey::did_head(&organization),
            TreeKey::used_key(&name),
            TreeKey::status_chunk(&name, 0),
            TreeKey::entry_record(&name, 0),
            TreeKey::enrollment(&organization, &name, &name),
            TreeKey::approved(&name),
        ];
        for key in refused {
            assert!(asked(&[operator, key]).unwrap_err().contains("not served"));
        }
        assert!(asked(&[operator, operator]).unwrap_err().contains("twice"));
        assert!(asked(&[]).unwrap_err().contains("1 to 64"));
        assert!(public_keys(&[vec![8; 31]]).is_err());
    }
}
