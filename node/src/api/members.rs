//! Who runs the network, with the proof: the leaf of the members, and every record it names, all of one height.

use super::Api;
use super::problem::Refused;
use sillok_ledger::{Tip, TreeKey, overlay::LEAF_BYTES_MAX};
use sillok_proto::{Hash, v1};
use tonic::Status;

/// Most proposals asked for at once.
const PROPOSALS_MAX: usize = 16;

/// The proposals asked for.
pub(super) fn proposals(hashes: &[Vec<u8>]) -> Result<Vec<TreeKey>, Refused> {
    if hashes.len() > PROPOSALS_MAX {
        return Err(Refused::malformed(
            "INVALID_PROPOSAL_HASH",
            format!("{} proposals are asked for; ask for {PROPOSALS_MAX} at a time", hashes.len()),
        ));
    }
    hashes
        .iter()
        .map(|hash| Hash::from_slice(hash).map(|hash| TreeKey::proposal(&hash)))
        .collect::<Option<_>>()
        .ok_or_else(|| {
            Refused::malformed("INVALID_PROPOSAL_HASH", "a proposal is named by 32 bytes")
        })
}

impl Api {
    pub(super) fn members(
        &self,
        tip: &Tip,
        proposals: &[TreeKey],
    ) -> Result<v1::GetMembersResponse, Status> {
        let mut proof = self.state_proof(tip, &[TreeKey::members()])?;
        let leaf = proof.entries.first().map(|entry| entry.value.as_slice()).unwrap_or_default();
        let members: v1::Members = sillok_proto::decode(leaf, LEAF_BYTES_MAX)
            .map_err(|_| Status::from(Refused::internal()))?;
        let operators = members.operators.iter().filter_map(|one| Hash::from_slice(one));
        let mut keys: Vec<TreeKey> = operators.map(|one| TreeKey::operator(&one)).collect();
        keys.extend(members.observers.iter().map(|key| TreeKey::observer(key)));
        keys.extend(proposals);
        let records = self.state_proof(tip, &keys)?;
        proof.entries.extend(records.entries);
        Ok(v1::GetMembersResponse { proof: Some(proof) })
    }
}
