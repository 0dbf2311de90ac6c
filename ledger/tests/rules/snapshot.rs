//! The tip from its parts: the same as the tip of who executed every block, and no part that is another.

use crate::story::{created, set_device};
use crate::support::{STEP_MS, World};
use sillok_did_method::head_hash;
use sillok_ledger::light::TrustedHeader;
use sillok_ledger::merkle_log::{HistoryFrontier, HistoryHasher};
use sillok_ledger::snapshot::{
    SnapshotError, TipParts, assemble_tip, latest_parameters, latest_set, verify_block,
    verify_headers, verify_version,
};
use sillok_ledger::{Tip, TreeKey, header_hash};
use sillok_proto::{Hash, v1};

/// A short past: the world after it, its headers from genesis on, its blocks.
struct Past {
    world: World,
    headers: Vec<v1::Header>,
    blocks: Vec<v1::Block>,
}

fn past() -> Past {
    let mut world = World::new();
    let mut headers = vec![world.tip.header.clone()];
    let mut blocks = Vec::new();
    // Two blocks lie before the window of five minutes, one of them with a transaction.
    let past = [
        (Some(created("alice")), STEP_MS),
        (None, STEP_MS),
        (None, 290_000),
        (Some(created("bob")), STEP_MS),
        (Some(set_device("alice", "alice/2")), STEP_MS),
        (None, 10_000),
    ];
    for (draft, step_ms) in past {
        let transactions: Vec<v1::Transaction> =
            draft.iter().map(|draft| world.transaction(draft)).collect();
        let built = world.build(&transactions, world.next_time_ms(step_ms));
        assert!(built.refused.is_empty());
        world.commit(&built);
        headers.push(built.outcome.header.clone());
        blocks.push(built.block);
    }
    Past { world, headers, blocks }
}

/// [`TipParts`], for a test to change.
struct Parts {
    validators: v1::ValidatorSet,
    next_validators: v1::ValidatorSet,
    parameters: v1::Parameters,
    history: HistoryFrontier,
    headers: Vec<v1::Header>,
    blocks: Vec<v1::Block>,
}

impl Past {
    fn history(&self) -> HistoryFrontier {
        let mut history = HistoryFrontier::new();
        for header in self.headers.iter().rev().skip(1).rev() {
            history.append(HistoryHasher::leaf(&header_hash(header).0)).unwrap();
        }
        history
    }

    fn trusted(&self) -> TrustedHeader {
        let tip = &self.world.tip;
        TrustedHeader {
            genesis_hash: *self.world.chain.hash(),
            height: tip.height(),
            header_hash: tip.hash,
            time_ms: tip.header.time_ms,
            next_validators: tip.validators.clone(),
            signed_header: Some(v1::SignedHeader {
                header: Some(tip.header.clone()),
                certificate: None,
            }),
            validators: None,
        }
    }

    /// The tip of these parts, after `change` to them.
    fn assemble(&self, change: impl FnOnce(&mut Parts)) -> Result<Tip, SnapshotError> {
        let members = &self.world.state.leaves[&TreeKey::members()];
        let figures = &self.world.state.leaves[&TreeKey::parameters()];
        let mut parts = Parts {
            validators: self.world.tip.validators.clone(),
            next_validators: latest_set(self.world.tip.height(), members)?,
            parameters: latest_parameters(self.world.tip.height(), figures)?,
            history: self.history(),
            headers: self.headers.clone(),
            blocks: self.blocks.clone(),
        };
        change(&mut parts);
        let parts = TipParts {
            header: &self.trusted().verified().unwrap(),
            validators: parts.validators,
            next_validators: parts.next_validators,
            parameters: parts.parameters,
            history: parts.history,
            headers: &parts.headers,
            blocks: &parts.blocks,
        };
        assemble_tip(&self.world.chain, parts)
    }
}

#[test]
fn the_tip_of_its_parts_is_that_of_who_executed_every_block() {
    let past = past();
    let tip = past.assemble(|_| {}).unwrap();
    let executed = &past.world.tip;
    assert_eq!((&tip.header, tip.hash), (&executed.header, executed.hash));
    assert_eq!(tip.validators, executed.validators);
    assert_eq!(tip.next_validators, executed.next_validators);
    assert_eq!(tip.parameters, executed.parameters);
    assert_eq!(tip.history, executed.history);
    assert_eq!(tip.recent, executed.recent);
    assert_eq!(tip.replay, executed.replay);
    assert!(!tip.replay.is_empty());
    // What lies before the window is not needed.
    let tip = past.assemble(|parts| _ = parts.blocks.drain(..2)).unwrap();
    assert_eq!(tip.replay, executed.replay);
}

#[test]
fn a_tip_of_other_parts_or_too_few_is_refused() {
    let past = past();
    let height = past.world.tip.height();
    let refused = |change: &dyn Fn(&mut Parts)| past.assemble(change).unwrap_err();

    let other_sets = SnapshotError::ValidatorSets { height };
    assert_eq!(refused(&|parts| _ = parts.validators.validators.pop()), other_sets);
    assert_eq!(refused(&|parts| parts.next_validators.validators.clear()), other_sets);
    assert!(matches!(
        refused(&|parts| parts.history = HistoryFrontier::new()),
        SnapshotError::History { .. }
    ));
    assert!(matches!(
        refused(&|parts| parts.history = past.world.tip.history.clone()),
        SnapshotError::History { .. }
    ));

    assert_eq!(refused(&|parts| parts.headers.clear()), SnapshotError::Missing { height: 1 });
    assert_eq!(refused(&|parts| _ = parts.headers.pop()), SnapshotError::Missing { height });
    assert_eq!(
        refused(&|parts| _ = parts.headers.drain(..2)),
        SnapshotError::Missing { height: 1 }
    );
    assert!(matches!(
        refused(&|parts| parts.headers[2].time_ms += 1),
        SnapshotError::NotTheParent { .. }
    ));

    assert_eq!(refused(&|parts| parts.blocks.clear()), SnapshotError::Missing { height });
    assert_eq!(
        refused(&|parts| _ = parts.blocks.drain(..3)),
        SnapshotError::Missing { height: 3 },
        "the window begins earlier"
    );
}

#[test]
fn headers_descend_from_the_one_above_them() {
    let Past { headers, .. } = past();
    let descending: Vec<v1::Header> = headers.iter().rev().cloned().collect();
    assert_eq!(verify_headers(&descending[0], &descending[1..]), Ok(()));
    let refused = |headers: &[v1::Header]| verify_headers(&descending[0], headers).unwrap_err();
    assert_eq!(
        refused(&descending[2..]),
        SnapshotError::NotTheParent { index: 0, above: 6 },
        "one left out"
    );
    for change in [
        |header: &mut v1::Header| header.proposer[0] ^= 1,
        |header: &mut v1::Header| header.height += 1,
        |header: &mut v1::Header| header.genesis_hash[0] ^= 1,
    ] {
        let mut headers = descending[1..].to_vec();
        change(&mut headers[2]);
        assert_eq!(refused(&headers), SnapshotError::NotTheParent { index: 2, above: 4 });
    }
    assert!(verify_headers(&headers[0], &headers[..1]).is_err(), "nothing is before genesis");
}

#[test]
fn a_block_is_that_of_its_header_with_every_part() {
    let past = past();
    let genesis = past.world.chain.hash();
    let (header, block) = (&past.headers[5], &past.blocks[4]);
    assert_eq!(verify_block(genesis, header, block), Ok(()));
    let refused = |change: &dyn Fn(&mut v1::Block)| {
        let mut block = block.clone();
        change(&mut block);
        verify_block(genesis, header, &block).unwrap_err()
    };
    let hash = header_hash(header);
    assert_eq!(refused(&|block| block.header = None), SnapshotError::OtherBlock { header: hash });
    let other = SnapshotError::OtherTransactions { header: hash };
    assert_eq!(refused(&|block| block.transactions.clear()), other);
    assert_eq!(refused(&|block| block.transactions[0].body = None), other);
    assert_eq!(
        refused(&|block| {
            let signatures = block.transactions[0].signatures.as_mut().unwrap();
            signatures.submitter.as_mut().unwrap().signature[0] ^= 1;
        }),
        other
    );
    assert!(matches!(
        refused(&|block| block.transactions[0].documents[0].keys.clear()),
        SnapshotError::Transaction { index: 0, .. }
    ));
    assert_eq!(
        verify_block(&Hash([1; 32]), header, block).unwrap_err(),
        other,
        "another network names it otherwise"
    );
}

#[test]
fn a_version_is_that_of_its_hash_and_leads_to_the_one_before() {
    let past = past();
    let head = past.world.head("alice", None).unwrap();
    let document = past.world.document("alice");
    let hash = head_hash(&head);
    let first = head_hash(&past.world.head("alice", Some(1)).unwrap());
    assert_eq!(verify_version(&hash, &head, Some(&document)), Ok(Some(first)));
    let other = Err(SnapshotError::OtherVersion { expected: hash });
    assert_eq!(verify_version(&hash, &head, None), other);
    assert_eq!(verify_version(&hash, &head, Some(&past.world.document("bob"))), other);
    let mut forged = head.clone();
    forged.height += 1;
    assert_eq!(verify_version(&hash, &forged, Some(&document)), other);
    let begin = past.world.head("bob", None).unwrap();
    assert_eq!(
        verify_version(&head_hash(&begin), &begin, Some(&past.world.document("bob"))),
        Ok(None)
    );
    // Without keys there is no document to send.
    let bare = v1::Head { document_hash: Vec::new(), ..begin };
    assert_eq!(verify_version(&head_hash(&bare), &bare, None), Ok(None));
}
