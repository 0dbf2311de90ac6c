//! The schedule of proposers (PROTOCOL §7.2).

use crate::support::validators;
use sillok_ledger::certificate::faulty_max;
use sillok_ledger::proposers::{RECENT_MAX, Recent, absent, order, proposer};
use sillok_proto::{Hash, v1};

/// Records a header with this proposer.
fn record(recent: &mut Recent, height: u64, proposer: &[u8]) {
    let header = v1::Header { height, proposer: proposer.to_vec(), ..v1::Header::default() };
    recent.record(&header, Hash([7; 32]));
}

/// Headers 1..=tip, built in turn by those validators that `works` names.
fn built(set: &v1::ValidatorSet, tip: u64, works: impl Fn(usize) -> bool) -> Recent {
    let workers: Vec<usize> = (0..set.validators.len()).filter(|index| works(*index)).collect();
    let mut recent = Recent::new();
    for height in 1..=tip {
        let turn = usize::try_from(height).unwrap() % workers.len();
        record(&mut recent, height, &set.validators[workers[turn]].public_key);
    }
    recent
}

#[test]
fn heights_rotate_the_set_and_rounds_go_through_the_order() {
    let set = validators(1..=4).set;
    let recent = built(&set, 100, |_| true);
    assert_eq!(order(&set, 101, &recent), [1, 2, 3, 0]);
    assert_eq!(order(&set, 102, &recent), [2, 3, 0, 1]);
    let rounds: Vec<_> = (0..6).map(|round| proposer(&set, 101, round, &recent).unwrap()).collect();
    assert_eq!(rounds, [1, 2, 3, 0, 1, 2]);
}

#[test]
fn a_validator_that_built_nothing_goes_to_the_end() {
    let set = validators(1..=4).set;
    for height in 41..200 {
        let recent = built(&set, height - 1, |index| index != 2);
        assert_eq!(absent(&set, height, &recent), [2]);
        let order = order(&set, height, &recent);
        if height % 40 < 4 {
            let first = usize::try_from(height % 4).unwrap();
            assert_eq!(order[0], first, "its turn to come back, once in every 10n heights");
        } else {
            assert_eq!(order[3], 2);
        }
        // The others keep their rotation.
        let mut others: Vec<usize> = order.into_iter().filter(|index| *index != 2).collect();
        let start = others.iter().position(|index| *index == 0).unwrap();
        others.rotate_left(start);
        assert_eq!(others, [0, 1, 3]);
    }
}

#[test]
fn it_is_back_as_soon_as_it_built_one() {
    let set = validators(1..=4).set;
    let mut recent = built(&set, 99, |index| index != 2);
    assert_eq!(absent(&set, 100, &recent), [2]);
    record(&mut recent, 100, &set.validators[2].public_key);
    assert!(absent(&set, 101, &recent).is_empty());
    // And for the next 10n headers, this one included.
    for height in 101..=139 {
        record(&mut recent, height, &set.validators[0].public_key);
        assert!(!absent(&set, height + 1, &recent).contains(&2));
    }
    record(&mut recent, 140, &set.validators[0].public_key);
    assert!(absent(&set, 141, &recent).contains(&2));
}

#[test]
fn at_most_f_are_moved_in_the_order_of_the_set() {
    let set = validators(1..=7).set;
    let recent = built(&set, 99, |index| ![1, 3, 5].contains(&index));
    assert_eq!(absent(&set, 100, &recent), [1, 3, 5]);
    assert_eq!(faulty_max(7), 2);
    // 100 mod 7 = 2.
    assert_eq!(order(&set, 100, &recent), [2, 4, 5, 6, 0, 1, 3]);
}

#[test]
fn nobody_is_absent_before_ten_n_headers_exist() {
    let set = validators(1..=4).set;
    for height in 0..=40 {
        let recent = built(&set, height.max(1) - 1, |index| index == 0);
        assert!(absent(&set, height, &recent).is_empty(), "{height}");
    }
    let recent = built(&set, 40, |index| index == 0);
    assert_eq!(absent(&set, 41, &recent), [1, 2, 3]);
}

#[test]
fn a_newcomer_is_not_absent_until_it_was_there_for_ten_n_headers() {
    let mut set = validators(1..=4).set;
    set.validators[2].since_height = 200;
    for tip in 200..260 {
        let recent = built(&set, tip, |index| index != 2);
        assert_eq!(absent(&set, tip + 1, &recent) == [2], tip + 1 >= 240, "{tip}");
    }
}

#[test]
fn what_is_kept_is_enough_for_the_largest_set_and_no_more() {
    let set = validators(1..=4).set;
    let tip = RECENT_MAX + 500;
    let mut recent = built(&set, tip, |_| true);
    assert_eq!(recent.headers().count() as u64, RECENT_MAX);
    assert_eq!(recent.headers().next().unwrap().0, 501);
    assert_eq!((recent.header(500), recent.header(tip + 1)), (None, None));
    assert_eq!(recent.header(tip).unwrap().hash, Hash([7; 32]));
    // However the headers came: the same ones, the same value.
    let mut late = Recent::new();
    for height in 400..=tip {
        let proposer = recent.header(height).map_or([9; 32], |header| header.proposer);
        record(&mut late, height, &proposer);
    }
    assert_eq!(recent, late);
    record(&mut recent, tip + 1, &set.validators[0].public_key);
    assert_eq!(recent.headers().next().unwrap().0, 502);
}

#[test]
fn an_empty_set_has_no_proposer() {
    let set = v1::ValidatorSet::default();
    assert!(order(&set, 5, &Recent::new()).is_empty());
    assert_eq!(proposer(&set, 5, 0, &Recent::new()), None);
    let one = validators([9]).set;
    assert_eq!(proposer(&one, 5, 7, &Recent::new()), Some(0));
}
