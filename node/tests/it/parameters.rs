//! Figures that were changed: in force for what comes next, and after a restart.

use super::support::{GOVERNANCE, build, commit_one, create, governance, now_ms, open, operator};
use sillok_did_method::parameters_hash;
use sillok_node::ledger::{Ledger, SubmitError};
use sillok_proto::v1;

/// The one operator sets figures: opening the proposal is executing it.
fn set_parameters(ledger: &Ledger, change: impl Fn(&mut v1::Parameters)) {
    let mut parameters = ledger.tip().parameters.clone();
    parameters.previous = parameters_hash(&parameters).to_vec();
    change(&mut parameters);
    let proposal = v1::Proposal {
        expires_ms: now_ms() + 3_600_000,
        change: Some(v1::Change { change: Some(v1::change::Change::SetParameters(parameters)) }),
    };
    let propose = v1::Propose { operator: operator(), proposal: Some(proposal) };
    let operation = v1::operation::Operation::Propose(propose);
    let (_, transaction) =
        governance(ledger.chain.hash(), operation, GOVERNANCE, now_ms() + 50_000);
    commit_one(ledger, transaction);
}

#[test]
fn changed_figures_are_in_force_at_once_and_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path());
    set_parameters(&ledger, |parameters| {
        parameters.valid_until_window_ms = 180_000;
        parameters.heartbeat_ms = 3_000;
    });
    let in_force = ledger.tip().parameters.clone();
    assert_eq!((in_force.valid_until_window_ms, in_force.heartbeat_ms), (180_000, 3_000));
    assert_ne!(in_force, *ledger.chain.parameters(), "the genesis stays as it is");
    let too_far = |ledger: &Ledger| {
        let (_, late) = create(ledger.chain.hash(), 9, now_ms() + 240_000);
        match ledger.submit(late).unwrap_err() {
            SubmitError::Admission(error) => error.code(),
            other => panic!("{other}"),
        }
    };
    assert_eq!(too_far(&ledger), "VALID_UNTIL_TOO_FAR");
    drop(ledger);

    let ledger = open(directory.path());
    assert_eq!(ledger.tip().parameters, in_force);
    assert_eq!(too_far(&ledger), "VALID_UNTIL_TOO_FAR");
    set_parameters(&ledger, |parameters| parameters.valid_until_window_ms = 300_000);
    ledger.submit(create(ledger.chain.hash(), 9, now_ms() + 240_000).1).unwrap();
}

/// As after the window was shortened: those that wait for their time take no place from those that can be ordered.
#[test]
fn what_is_too_far_ahead_is_no_candidate() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path());
    ledger.submit(create(ledger.chain.hash(), 9, now_ms() + 240_000).1).unwrap();
    let early_ms = ledger.tip().header.time_ms + 1;
    assert!(build(&ledger, early_ms).candidates.is_empty());
    assert_eq!(build(&ledger, now_ms()).candidates.len(), 1);
}
