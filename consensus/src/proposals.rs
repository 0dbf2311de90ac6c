//! Proposals whose block waits for a verdict.
//!
//! The core takes every proposal it is given as valid (`cc/handle/proposal.rs:183`), so it is given none before the
//! shell has said `Valid` for exactly these bytes. A signature covers the header hash only, so a forwarder can put
//! other parts beside a good header: a verdict is for one variant of the bytes, never for the hash.

use crate::action::ValidationId;
use crate::codec::SignedProposal;
use crate::context::{BlockValue, round_number};
use crate::event::Peer;
use sillok_proto::{Hash, v1};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug, Default)]
pub(crate) struct WaitingProposals {
    by_header: BTreeMap<Hash, Candidate>,
    headers: BTreeMap<u32, BTreeSet<Hash>>,
}

#[derive(Debug, Default)]
struct Candidate {
    proposals: Vec<SignedProposal>,
    variants: Vec<Variant>,
}

/// One form of a block's bytes. Kept after a refusal, so that the same bytes are not executed again.
#[derive(Debug)]
struct Variant {
    from: Peer,
    block: Arc<v1::Block>,
    request: ValidationId,
    refused: bool,
}

impl WaitingProposals {
    /// The core keeps two proposals of a round; one more is room for a proposer that signs too many.
    const HEADERS_PER_ROUND_MAX: usize = 3;
    const VARIANTS_MAX: usize = 16;
    const PROPOSALS_MAX: usize = 64;

    /// Keeps a proposal; says whether its block is to be validated under `request`.
    pub(crate) fn offer(
        &mut self,
        from: Peer,
        proposal: SignedProposal,
        request: ValidationId,
    ) -> bool {
        let value = proposal.value.clone();
        let headers = self.headers.entry(round_number(proposal.round)).or_default();
        if !headers.contains(&value.id) && headers.len() >= Self::HEADERS_PER_ROUND_MAX {
            return false;
        }
        headers.insert(value.id);
        let candidate = self.by_header.entry(value.id).or_default();
        if candidate.proposals.len() < Self::PROPOSALS_MAX
            && !candidate.proposals.iter().any(|known| known.message == proposal.message)
        {
            candidate.proposals.push(proposal);
        }
        // One variant from each peer: who floods keeps no other's bytes out.
        let known = |variant: &Variant| variant.from == from || variant.block == value.block;
        if candidate.variants.iter().any(known) || candidate.variants.len() >= Self::VARIANTS_MAX {
            return false;
        }
        candidate.variants.push(Variant { from, block: value.block, request, refused: false });
        true
    }

    /// The verdict was `Valid`: the value, and the proposals that waited for it.
    pub(crate) fn accept(
        &mut self,
        request: ValidationId,
    ) -> Option<(BlockValue, Vec<SignedProposal>)> {
        let (id, block) = self.by_header.iter().find_map(|(id, candidate)| {
            let variant = candidate.variants.iter().find(|variant| variant.request == request)?;
            Some((*id, variant.block.clone()))
        })?;
        let candidate = self.by_header.remove(&id)?;
        Some((BlockValue { id, block }, candidate.proposals))
    }

    /// The verdict was another. Says of which block, and of which round the first proposal of it was.
    pub(crate) fn refuse(&mut self, request: ValidationId) -> Option<(Hash, u32)> {
        let (header, candidate) = self.by_header.iter_mut().find(|(_, candidate)| {
            candidate.variants.iter().any(|variant| variant.request == request)
        })?;
        for variant in &mut candidate.variants {
            variant.refused |= variant.request == request;
        }
        Some((*header, round_number(candidate.proposals.first()?.round)))
    }

    /// There was no verdict: the same bytes are executed again when they come again.
    pub(crate) fn forget(&mut self, request: ValidationId) {
        for candidate in self.by_header.values_mut() {
            candidate.variants.retain(|variant| variant.request != request);
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
