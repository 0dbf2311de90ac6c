//! The sets of validators of each height, and the light blocks by which a client follows them (PROTOCOL §6.2).

use crate::storage::{Storage, StorageError};
use sillok_ledger::Tip;
use sillok_proto::{Hash, v1};

/// Most light blocks in a bundle; a client that needs more asks again from the last one.
const LIGHT_BLOCKS_MAX: usize = 1_000;

/// The light blocks above a client's trusted height at which the set changed, and the last one. `None`: one of them is
/// kept here no longer, or never was, and a bundle with a hole would look like a lie.
pub(super) fn trust_bundle(
    storage: &Storage,
    tip: &Tip,
    from: u64,
) -> Result<Option<v1::TrustBundle>, StorageError> {
    let mut light_blocks = Vec::new();
    for height in storage.set_changes(from.saturating_add(1), LIGHT_BLOCKS_MAX)? {
        // Committed meanwhile; the next bundle has it.
        if height >= tip.height() {
            break;
        }
        let Some(light_block) = light_block(storage, height)? else { return Ok(None) };
        light_blocks.push(light_block);
    }
    // A bundle that is full ends at a change, from which the client asks on.
    if tip.height() > from
        && light_blocks.len() < LIGHT_BLOCKS_MAX
        && let Some(signed_header) = storage.signed_header(tip.height())?
    {
        light_blocks.push(v1::LightBlock {
            signed_header: Some(signed_header),
            next_validators: Some(tip.validators.clone()),
        });
    }
    Ok(Some(v1::TrustBundle { light_blocks }))
}

fn light_block(storage: &Storage, height: u64) -> Result<Option<v1::LightBlock>, StorageError> {
    let Some(signed_header) = storage.signed_header(height)? else { return Ok(None) };
    let header = signed_header.header.as_ref();
    let next = header.and_then(|header| Hash::from_slice(&header.next_validator_set_hash));
    let next_validators = next.map(|hash| storage.validator_set(&hash)).transpose()?.flatten();
    Ok(Some(v1::LightBlock { signed_header: Some(signed_header), next_validators }))
}

/// The set of a height, up to two above the tip: those are fixed. `None`: it is not fixed yet, or not kept here.
pub(super) fn validators(
    storage: &Storage,
    tip: &Tip,
    height: u64,
) -> Result<Option<v1::ValidatorSet>, StorageError> {
    match height.checked_sub(tip.height()) {
        Some(1) => Ok(Some(tip.validators.clone())),
        Some(2) => Ok(Some(tip.next_validators.clone())),
        Some(3..) => Ok(None),
        Some(0) | None => {
            let header = storage.header(height)?;
            let hash = header.and_then(|header| Hash::from_slice(&header.validator_set_hash));
            Ok(hash.map(|hash| storage.validator_set(&hash)).transpose()?.flatten())
        }
    }
}

/// The set of `height` + 2, if the block of `height` made it another one than the set before it.
pub(super) fn changed_by(
    storage: &Storage,
    tip: &Tip,
    height: u64,
) -> Result<Option<v1::ValidatorSet>, StorageError> {
    let before = validators(storage, tip, height.saturating_add(1))?;
    let after = validators(storage, tip, height.saturating_add(2))?;
    Ok(after.filter(|after| before.is_some_and(|before| before != *after)))
}
