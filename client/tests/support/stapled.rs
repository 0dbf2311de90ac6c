//! A network in memory with a document, a list and rights, and files made of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]
#![allow(dead_code, reason = "each test uses what it needs")]

use sillok_client::desk::{Application, Circumstances, EntryDates};
use sillok_client::identity::Identity;
use sillok_client::testing::{MemoryNetwork, Ministries};
use sillok_client::transaction::{OperationDraft, Terms, TransactionBuilder};
use sillok_client::verify::authority::Right;
use sillok_client::verify::moment::Moment;
use sillok_client::verify::staple::{Claim, Item, Staple, chunks_of};
use sillok_did_method::{CAPABILITY_INVOCATION, CHUNK_ENTRIES, Did, EntryState, SUBMIT};
use sillok_ledger::answer::{self, Recorder};
use sillok_ledger::authority::chain;
use sillok_ledger::light::TrustedHeader;
use sillok_ledger::{StateView, header_hash};
use sillok_proto::{Hash, v1};
use v1::{Action, Reason};

pub(crate) const CAPACITY: u32 = 131_072 + 8_192;

/// A ministry that published a type and keeps a list of it.
pub(crate) struct Registry {
    pub(crate) ministry: Identity,
    pub(crate) of: Hash,
    pub(crate) list: Hash,
}

fn run(
    network: &mut MemoryNetwork,
    time_ms: u64,
    ministry: &Identity,
    draft: OperationDraft,
    at_desk: bool,
) {
    let genesis = *network.chain().hash();
    let terms = if at_desk { Terms::WHOLE_LIST } else { Terms::NAMED };
    let builder = TransactionBuilder::new(genesis, &ministry.did, time_ms + 60_000);
    let mut partly = builder.push(draft, terms).freeze();
    let submit = ministry.newest_secret(SUBMIT).unwrap();
    if at_desk {
        partly.sign_acting_role(0, submit).unwrap();
    } else {
        partly.sign(0, ministry.newest_secret(CAPABILITY_INVOCATION).unwrap()).unwrap();
    }
    network.commit(time_ms, &[partly.submit(submit).unwrap()]).unwrap();
}

impl Registry {
    /// Three blocks: a type, its list, and entries 0, 5 and 8,192 valid.
    pub(crate) fn begin(
        network: &mut MemoryNetwork,
        ministries: &Ministries,
        mut time_ms: impl FnMut() -> u64,
    ) -> Self {
        let ministry = ministries.registrar.clone();
        let genesis = *network.chain().hash();
        let rule = |reason: Reason| v1::ReasonRule { reason: reason.into(), ..Default::default() };
        let policy = v1::TypePolicy {
            reasons: vec![rule(Reason::AttributeChange), rule(Reason::Compromised)],
            channels: 0b10,
            purposes: 0b10,
            backdating_max_ms: 24 * 3_600_000,
            ..v1::TypePolicy::default()
        };
        let content =
            v1::TypeVersion { schema_hash: vec![7; 32], render_hash: vec![], policy: Some(policy) };
        let (draft, of) = OperationDraft::publish_type(&genesis, &ministry.did, &[1; 16], content);
        run(network, time_ms(), &ministry, draft, false);
        let (draft, list) =
            OperationDraft::create_list(&genesis, &ministry.did, &of, &[2; 16], CAPACITY, 300);
        run(network, time_ms(), &ministry, draft, false);
        let registry = Self { ministry, of, list };
        registry.set(network, time_ms(), EntryState::Valid, &[0, 5, 8_192]);
        registry
    }

    /// One block that sets entries.
    pub(crate) fn set(
        &self,
        network: &mut MemoryNetwork,
        time_ms: u64,
        state: EntryState,
        indexes: &[u32],
    ) {
        let reason = match state {
            EntryState::Valid => Reason::AttributeChange,
            _ => Reason::Compromised,
        };
        let circumstances = Circumstances {
            acting_role: self.ministry.did.clone(),
            reason,
            channel: v1::Channel::Office,
            assurance_level: None,
            organization: None,
            approvers: Vec::new(),
        };
        let entries: Vec<_> = indexes.iter().map(|index| (*index, None)).collect();
        let genesis = *network.chain().hash();
        let application = Application::set_status(
            genesis,
            &circumstances,
            &self.list,
            state,
            &entries,
            EntryDates::default(),
        );
        run(network, time_ms, &self.ministry, application.unwrap().draft(), true);
    }

    pub(crate) fn may_issue(&self) -> Right {
        Right {
            organization: self.ministry.did.digest(),
            action: Action::Issue,
            resource: Some(self.of),
        }
    }
}

/// The certified header of a height, as a client that has verified it keeps it; 0 is genesis.
pub(crate) fn trusted(network: &MemoryNetwork, height: u64) -> TrustedHeader {
    let chain = network.chain();
    let genesis =
        TrustedHeader::genesis(*chain.hash(), chain.genesis().time_ms, chain.validators().clone())
            .unwrap();
    let Some(signed) = network.signed_header(height) else { return genesis };
    let header = signed.header.clone().unwrap();
    TrustedHeader {
        height,
        header_hash: header_hash(&header),
        time_ms: header.time_ms,
        signed_header: Some(signed.clone()),
        validators: Some(chain.validators().clone()),
        ..genesis
    }
}

/// A file of the tip that holds these claims.
pub(crate) fn file(network: &MemoryNetwork, claims: Vec<Claim>) -> Staple {
    let height = network.tip().height();
    Staple {
        genesis_hash: *network.chain().hash(),
        signed_header: network.signed_header(height).unwrap().clone(),
        light_blocks: Vec::new(),
        items: claims.into_iter().map(|claim| Item { height, claim }).collect(),
    }
}

pub(crate) fn document(network: &MemoryNetwork, did: &Did) -> Claim {
    let mut answer = network.resolve_at(did, None, network.tip().height()).unwrap();
    answer.proof.as_mut().unwrap().signed_header = None;
    Claim::Document { did: did.clone(), answer: Box::new(answer) }
}

fn chunk_leaves(network: &MemoryNetwork, list: &Hash, numbers: &[u32]) -> Vec<v1::StateEntry> {
    let keys = |_: &dyn StateView, _| Ok(answer::chunk_keys(list, numbers));
    network.answer(Moment::Tip, false, keys).unwrap().proof.unwrap().entries
}

pub(crate) fn entries(network: &MemoryNetwork, list: Hash, indexes: &[u32]) -> Claim {
    let leaves = chunk_leaves(network, &list, &chunks_of(indexes));
    Claim::Entries { list, indexes: indexes.to_vec(), leaves }
}

pub(crate) fn whole(network: &MemoryNetwork, list: Hash) -> Claim {
    let numbers: Vec<u32> = (0..CAPACITY / CHUNK_ENTRIES).collect();
    Claim::List { list, leaves: chunk_leaves(network, &list, &numbers) }
}

pub(crate) fn right(network: &MemoryNetwork, right: Right) -> Claim {
    let resource = right.resource_bytes();
    let answer = network
        .answer(Moment::Tip, false, |view, time_ms| {
            let recorder = Recorder::new(view);
            chain(&recorder, &right.organization, right.action, &resource, time_ms)?;
            Ok(recorder.into_keys())
        })
        .unwrap();
    Claim::Right { right, leaves: answer.proof.unwrap().entries }
}
