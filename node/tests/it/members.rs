//! Who is a member, as the network and the doors are told it.

use super::support::{
    GOVERNANCE, VALIDATOR, build, build_by, commit, commit_one, governance, now_ms, open, operator,
    point,
};
use sillok_node::keys::SecretKey;
use sillok_node::ledger::Ledger;
use sillok_node::members::Roster;
use sillok_node::network::NodeKey;
use sillok_node::standing::Standing;
use sillok_proto::v1;
use sillok_proto::v1::operation::Operation;
use std::collections::BTreeMap;

fn node(seed: u8) -> NodeKey {
    NodeKey::from_bytes(&SecretKey::from_seed(&[seed; 32]).public()).unwrap()
}

#[test]
fn a_record_that_is_older_than_a_minute_does_not_know_who_is_a_member() {
    let directory = tempfile::tempdir().unwrap();
    let tip = open(directory.path()).tip();
    let time_ms = tip.header.time_ms;
    let stale = |age_ms| Roster::default().for_network(&tip, time_ms + age_ms).stale;
    assert!(!stale(0) && !stale(60_000));
    assert!(stale(60_001));
}

#[test]
fn the_members_of_the_genesis_are_read_from_the_record() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path());
    for _ in 0..2 {
        let roster = Roster::read(&ledger.storage, &ledger.tip()).unwrap();
        assert_eq!(roster.validators.keys().copied().collect::<Vec<_>>(), [node(4)]);
        assert_eq!(roster.archives, [node(4)]);
        assert_eq!((roster.seated, roster.pending, roster.observers), (1, 0, 0));
        let built = build(&ledger, now_ms().max(ledger.tip().header.time_ms + 1));
        commit(&ledger, &built);
    }
}

const OBSERVER: u8 = 20;
const NEXT_KEY: u8 = 30;

/// Admits an observer in block 1, names a new validator key in block 2, seats it in block 3, and one block more.
pub(crate) fn with_changes(ledger: &Ledger) {
    let genesis = *ledger.chain.hash();
    let until = now_ms() + 60_000;
    let observer = v1::Observer { node_key: point(OBSERVER), archive: true };
    let propose = v1::Propose {
        operator: operator(),
        proposal: Some(v1::Proposal {
            expires_ms: until + 3_600_000,
            change: Some(v1::Change { change: Some(v1::change::Change::AdmitObserver(observer)) }),
        }),
    };
    let rekey = v1::Rekey { operator: operator(), validator_key: point(NEXT_KEY) };
    commit_one(ledger, governance(&genesis, Operation::Propose(propose), GOVERNANCE, until).1);
    commit_one(ledger, governance(&genesis, Operation::Rekey(rekey), GOVERNANCE, until).1);
    let tip = ledger.tip();
    let join = v1::Join {
        operator: operator(),
        validator_key: point(NEXT_KEY),
        header_height: tip.height(),
        header_hash: tip.hash.to_vec(),
    };
    commit_one(ledger, governance(&genesis, Operation::Join(join), NEXT_KEY, until).1);
    let built = build(ledger, ledger.tip().header.time_ms + 1);
    commit(ledger, &built);
}

#[test]
fn what_operators_decide_is_what_the_network_keeps() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path());
    with_changes(&ledger);
    let tip = ledger.tip();
    assert_eq!(tip.height(), 4);
    let roster = Roster::read(&ledger.storage, &tip).unwrap();
    assert_eq!(roster.validators, BTreeMap::from([(node(4), point(NEXT_KEY))]));
    assert_eq!(roster.others.iter().copied().collect::<Vec<_>>(), [node(OBSERVER)]);
    assert_eq!(roster.archives, [node(4), node(OBSERVER)]);
    assert_eq!((roster.seated, roster.pending, roster.observers), (1, 0, 1));
}

const REPLACED_KEY: u8 = 31;
const REPLACED_NODE: u8 = 32;

/// A node that votes keeps its place until the key that replaces its own does, two heights after the join; the node
/// that takes over is let in from the approval on.
#[test]
fn a_node_that_is_replaced_keeps_its_place_as_long_as_it_votes() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path());
    let genesis = *ledger.chain.hash();
    let until = now_ms() + 60_000;
    let old_key = ledger.chain.validators().validators[0].public_key.clone();
    let replaced = v1::Operator {
        organization: operator(),
        validator_key: point(REPLACED_KEY),
        node_key: point(REPLACED_NODE),
        governance_key: point(GOVERNANCE),
        archive: true,
    };
    let propose = v1::Propose {
        operator: operator(),
        proposal: Some(v1::Proposal {
            expires_ms: until + 3_600_000,
            change: Some(v1::Change {
                change: Some(v1::change::Change::ReplaceOperator(replaced)),
            }),
        }),
    };
    let seen = || {
        let roster = Roster::read(&ledger.storage, &ledger.tip()).unwrap();
        (roster.validators, roster.others.into_iter().collect::<Vec<_>>())
    };
    commit_one(&ledger, governance(&genesis, Operation::Propose(propose), GOVERNANCE, until).1);
    let before = BTreeMap::from([(node(4), old_key.clone())]);
    assert_eq!(seen(), (before, vec![node(REPLACED_NODE)]));
    assert_eq!(ledger.storage.proposals(ledger.tip().height()).unwrap().len(), 1);
    let tip = ledger.tip();
    let join = v1::Join {
        operator: operator(),
        validator_key: point(REPLACED_KEY),
        header_height: tip.height(),
        header_hash: tip.hash.to_vec(),
    };
    commit_one(&ledger, governance(&genesis, Operation::Join(join), REPLACED_KEY, until).1);
    // The next height is still the old key's.
    let new = (node(REPLACED_NODE), point(REPLACED_KEY));
    assert_eq!(seen(), (BTreeMap::from([(node(4), old_key), new.clone()]), vec![]));
    let next_block = |after_ms| {
        let proposer = if ledger.tip().height() < 3 { VALIDATOR } else { REPLACED_KEY };
        let built = build_by(proposer, &ledger, ledger.tip().header.time_ms + after_ms);
        commit(&ledger, &built);
    };
    let standing = |seed| {
        let key = point(seed).try_into().unwrap();
        Standing::of(&key, &ledger.storage, &ledger.tip()).unwrap()
    };
    assert_eq!(standing(VALIDATOR), Standing::Seated, "for one height more");
    next_block(1);
    assert_eq!(seen(), (BTreeMap::from([new]), vec![]));
    assert_eq!(standing(VALIDATOR), Standing::Ended);
    assert_eq!(standing(REPLACED_KEY), Standing::Seated);
    // From the record alone, so also after a restart, or when several heights came at once: 3 was its last, for a while.
    let leaving = || Roster::read(&ledger.storage, &ledger.tip()).unwrap().leaving;
    let left = BTreeMap::from([(node(4), 3)]);
    assert_eq!(leaving(), left);
    next_block(1);
    next_block(599_998);
    assert_eq!(leaving(), left);
    next_block(1);
    assert_eq!(leaving(), BTreeMap::new(), "ten minutes are over");
}

#[test]
fn a_key_that_waits_may_join_while_its_approval_lasts() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path());
    let genesis = *ledger.chain.hash();
    let standing = |seed| {
        let key = point(seed).try_into().unwrap();
        Standing::of(&key, &ledger.storage, &ledger.tip()).unwrap()
    };
    let rekey = v1::Rekey { operator: operator(), validator_key: point(NEXT_KEY) };
    assert_eq!(standing(NEXT_KEY), Standing::NotApproved);
    let until = now_ms() + 60_000;
    commit_one(&ledger, governance(&genesis, Operation::Rekey(rekey), GOVERNANCE, until).1);
    let expires_ms = ledger.tip().header.time_ms + 24 * 3_600_000;
    assert_eq!(standing(NEXT_KEY), Standing::MayJoin { expires_ms });
    commit(&ledger, &build(&ledger, expires_ms));
    assert_eq!(standing(NEXT_KEY), Standing::NotApproved);
    assert_eq!(standing(VALIDATOR), Standing::Seated);
}
