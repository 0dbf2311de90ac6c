//! What can be told of an operation on members without state.

#![allow(clippy::unwrap_used, reason = "what a test builds must be buildable")]

use sillok_did_method::{
    Approve, Change, CheckedOperation, Join, KeyError, OperationError, OperatorKeys, Propose,
    Rekey, check_key, ed25519_key, proposal_hash,
};
use sillok_proto::{Hash, Tag, encode, v1};
use v1::change::Change as WireChange;
use v1::operation::Operation as Wire;

fn point(nth: u8) -> [u8; 32] {
    ed25519_dalek::SigningKey::from_bytes(&[nth; 32]).verifying_key().to_bytes()
}

fn operator() -> v1::Operator {
    v1::Operator {
        organization: vec![7; 32],
        validator_key: point(1).to_vec(),
        node_key: point(2).to_vec(),
        governance_key: point(3).to_vec(),
        archive: true,
    }
}

fn proposal(change: WireChange) -> v1::Proposal {
    v1::Proposal { expires_ms: 5, change: Some(v1::Change { change: Some(change) }) }
}

fn check(wire: Wire) -> Result<CheckedOperation, OperationError> {
    let operation = v1::Operation { operation: Some(wire) };
    CheckedOperation::check(&operation, &mut std::iter::empty())
}

#[test]
fn every_operation_on_members_is_about_its_operator_and_takes_no_document() {
    let operator = Hash([7; 32]);
    let one =
        proposal(WireChange::RemoveOperator(v1::RemoveOperator { organization: vec![8; 32] }));
    let document = v1::DidDocument::default();
    let bytes = operator.to_vec();
    for (wire, expected) in [
        (
            Wire::Propose(v1::Propose { operator: bytes.clone(), proposal: Some(one.clone()) }),
            CheckedOperation::Propose(Propose { operator, proposal: one }),
        ),
        (
            Wire::Approve(v1::Approve { operator: bytes.clone(), proposal_hash: vec![9; 32] }),
            CheckedOperation::Approve(Approve { operator, proposal: Hash([9; 32]) }),
        ),
        (
            Wire::Join(v1::Join {
                operator: bytes.clone(),
                validator_key: point(1).to_vec(),
                header_height: 4,
                header_hash: vec![6; 32],
            }),
            CheckedOperation::Join(Join {
                operator,
                validator_key: point(1),
                header_height: 4,
                header_hash: Hash([6; 32]),
            }),
        ),
        (
            Wire::Rekey(v1::Rekey { operator: bytes, validator_key: point(1).to_vec() }),
            CheckedOperation::Rekey(Rekey { operator, validator_key: point(1) }),
        ),
    ] {
        let operation = v1::Operation { operation: Some(wire) };
        let mut documents = std::iter::once(&document);
        let checked = CheckedOperation::check(&operation, &mut documents).unwrap();
        assert_eq!(checked, expected);
        assert!(checked.is_governance() && *checked.subject() == operator);
        assert_eq!(documents.count(), 1);
    }
    let deactivate = v1::DeactivateDid { did: vec![1; 32], previous: vec![2; 32] };
    let checked = check(Wire::DeactivateDid(deactivate)).unwrap();
    assert!(!checked.is_governance() && *checked.subject() == Hash([1; 32]));
}

#[test]
fn every_change_is_read_as_what_it_is() {
    let keys = OperatorKeys {
        organization: Hash([7; 32]),
        validator_key: point(1),
        node_key: point(2),
        governance_key: point(3),
        archive: true,
    };
    let organization = Hash([8; 32]);
    let node_key = point(4);
    for (wire, expected) in [
        (WireChange::AdmitOperator(operator()), Change::AdmitOperator(keys.clone())),
        (WireChange::ReplaceOperator(operator()), Change::ReplaceOperator(keys)),
        (
            WireChange::RemoveOperator(v1::RemoveOperator { organization: organization.to_vec() }),
            Change::RemoveOperator { organization },
        ),
        (
            WireChange::AdmitObserver(v1::Observer { node_key: node_key.to_vec(), archive: true }),
            Change::AdmitObserver { node_key, archive: true },
        ),
        (
            WireChange::RemoveObserver(v1::RemoveObserver { node_key: node_key.to_vec() }),
            Change::RemoveObserver { node_key },
        ),
    ] {
        assert_eq!(Change::check(&proposal(wire)), Ok(expected));
    }
}

#[test]
fn a_proposal_says_what_changes_and_until_when() {
    let remove = WireChange::RemoveOperator(v1::RemoveOperator { organization: vec![8; 32] });
    let propose = |proposal| Wire::Propose(v1::Propose { operator: vec![7; 32], proposal });
    assert!(check(propose(Some(proposal(remove.clone())))).is_ok());
    assert_eq!(check(propose(None)), Err(OperationError::ProposalWithoutChange));
    let empty = v1::Proposal { expires_ms: 5, change: None };
    assert_eq!(check(propose(Some(empty))), Err(OperationError::ProposalWithoutChange));
    let empty = v1::Proposal { expires_ms: 5, change: Some(v1::Change { change: None }) };
    assert_eq!(check(propose(Some(empty))), Err(OperationError::ProposalWithoutChange));
    let endless = v1::Proposal { expires_ms: 0, ..proposal(remove) };
    assert_eq!(check(propose(Some(endless))), Err(OperationError::ProposalWithoutEnd));
}

#[test]
fn the_keys_of_an_operator_are_three_and_each_protects_something() {
    let admit = |edit: &dyn Fn(&mut v1::Operator)| {
        let mut operator = operator();
        edit(&mut operator);
        Change::check(&proposal(WireChange::AdmitOperator(operator))).map(|_| ())
    };
    assert_eq!(admit(&|_| {}), Ok(()));
    let key = |field, source| Err(OperationError::OperatorKey { field, source });
    let length = KeyError::Length { len: 31, expected: 32 };
    assert_eq!(admit(&|one| one.validator_key = vec![1; 31]), key("validator_key", length.clone()));
    assert_eq!(admit(&|one| one.node_key = vec![1; 31]), key("node_key", length.clone()));
    assert_eq!(admit(&|one| one.governance_key = vec![1; 31]), key("governance_key", length));
    // y = 0 is a point of order 4, y = 1 the neutral one; y = p is zero written a second way.
    let mut one = vec![0; 32];
    one[0] = 1;
    let mut prime = vec![0xff; 32];
    (prime[0], prime[31]) = (0xed, 0x7f);
    for (point, source) in [
        (vec![0; 32], KeyError::SmallOrder),
        (one, KeyError::SmallOrder),
        (prime, KeyError::NotCanonical),
    ] {
        assert_eq!(admit(&|one| one.node_key = point.clone()), key("node_key", source));
    }
    for (edit, fields) in [
        (
            (|one| one.node_key = one.validator_key.clone()) as fn(&mut v1::Operator),
            ["validator_key", "node_key"],
        ),
        (|one| one.governance_key = one.validator_key.clone(), ["validator_key", "governance_key"]),
        (|one| one.governance_key = one.node_key.clone(), ["node_key", "governance_key"]),
    ] {
        let refused = admit(&edit).unwrap_err();
        assert!(
            matches!(refused, OperationError::OperatorKeyTwice { fields: named, .. } if named == fields)
        );
    }
    assert_eq!(
        admit(&|one| one.organization.push(0)),
        Err(OperationError::HashLength { field: "organization", len: 33 })
    );
}

#[test]
fn a_proposal_is_named_by_the_network_and_all_that_it_says() {
    let one = proposal(WireChange::AdmitOperator(operator()));
    let genesis = Hash([1; 32]);
    let hash = proposal_hash(&genesis, &one);
    assert_eq!(hash, Tag::GovernanceProposal.hash(&[&genesis.0, &encode(&one)]));
    assert_ne!(hash, proposal_hash(&Hash([2; 32]), &one));
    assert_ne!(hash, proposal_hash(&genesis, &v1::Proposal { expires_ms: 6, ..one }));
    let replace = proposal(WireChange::ReplaceOperator(operator()));
    assert_ne!(hash, proposal_hash(&genesis, &replace), "the same keys, another change");
    assert_eq!(check_key(&ed25519_key(&point(1))), Ok(()));
}
