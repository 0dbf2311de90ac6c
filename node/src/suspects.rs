//! Transactions that builds may read differently, and how long a proposer leaves them out (PROTOCOL II.3).
//!
//! Such a transaction loses the round of every block it stands in, until its time is over. Which one of a block it is,
//! nobody can tell, so all of them are left out, each for a number of heights that follows from its own id: they come
//! back one by one, what is innocent is ordered then, and what is not is left out for longer.
//!
//! Two things make a suspect. *Builds differ*: the host says for certain that correct validators disagree on the block.
//! Or builders of blocks that failed are more than f, this node among them: all one has when those who are silent leave
//! no room for certainty; a slow network looks the same, so it counts for one short leave and no more.

use sillok_proto::Hash;
use std::collections::{BTreeMap, BTreeSet};

/// Short leaves, each by another byte of the id: an innocent transaction comes back with the one at fault after all of them
/// in one of 65,536 cases. After two it would be one of 256, and a block may hold more.
const SHORT_LEAVES: u32 = 4;
/// Heights of a short leave, at most. Few, because who comes back with the one at fault waits for the next leave too, and
/// heights may be slow.
const SHORT_LEAVE: u64 = 16;
/// Heights of every further one: longer than a transaction lives.
const LAST_LEAVE: u64 = 4_096;
/// Most transactions suspected at once; their submitters are accredited, so this many is no accident.
const SUSPECTS_MAX: usize = 10_000;

/// Those of one node.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    by_id: BTreeMap<Hash, Suspect>,
    /// With the height until which.
    left_out: BTreeMap<Hash, u64>,
}

#[derive(Debug, Default)]
struct Suspect {
    /// How often builds differed on a block of it.
    times: u32,
    /// Who built a block of it that failed.
    builders: BTreeSet<Vec<u8>>,
    /// One failed since it was left out last.
    fresh: bool,
    /// Until this height it is remembered.
    until: u64,
}

impl Suspects {
    /// What a proposer leaves out now.
    pub(crate) fn left_out(&self) -> BTreeSet<Hash> {
        self.left_out.keys().copied().collect()
    }

    /// Those of them that are no reason to make a block. The others come back soon, and are: else a network without other
    /// work would make them wait from heartbeat to heartbeat, longer than they live.
    pub(crate) fn given_up(&self) -> BTreeSet<Hash> {
        let given_up =
            |id: &&Hash| self.by_id.get(id).is_some_and(|suspect| suspect.times > SHORT_LEAVES);
        self.left_out.keys().filter(given_up).copied().collect()
    }

    /// Builds differ on a block of these transactions, at `height`.
    pub(crate) fn builds_differ(&mut self, ids: &[Hash], height: u64) {
        let known = |id: &Hash| {
            let differed = self.by_id.get(id).is_some_and(|suspect| suspect.times > 0);
            differed && self.left_out.contains_key(id)
        };
        // A traitor may propose what others leave out, beside everything there is: then it is known whose doing it is.
        if ids.iter().any(known) {
            return;
        }
        for id in ids {
            let suspect = self.suspect(*id, height);
            let nth = suspect.times;
            let byte = usize::try_from(nth).ok().and_then(|nth| id.0.get(nth));
            let leave = match byte {
                Some(byte) if nth < SHORT_LEAVES => 1 + u64::from(*byte) % SHORT_LEAVE,
                _ => LAST_LEAVE,
            };
            suspect.times = nth.saturating_add(1);
            suspect.fresh = false;
            suspect.builders.clear();
            self.leave_out(*id, height.saturating_add(leave));
        }
    }

    /// A block of these transactions by `builder` failed: it is refused here, or it is ours and was not decided.
    pub(crate) fn failed(&mut self, ids: &[Hash], builder: &[u8], height: u64) {
        for id in ids {
            // What others make of it while we leave it out says nothing new of those beside it.
            let fresh = !self.left_out.contains_key(id);
            let suspect = self.suspect(*id, height);
            suspect.builders.insert(builder.to_vec());
            suspect.fresh = fresh;
        }
    }

    /// These are ordered, so nothing more is held against them.
    pub(crate) fn ordered(&mut self, ids: &[Hash]) {
        for id in ids {
            self.by_id.remove(id);
            self.left_out.remove(id);
        }
    }

    /// `height` is decided: who stayed away long enough comes back.
    pub(crate) fn decided(&mut self, height: u64, own: Option<&[u8]>, faulty_max: usize) {
        self.by_id.retain(|_, suspect| suspect.until > height);
        self.left_out.retain(|_, until| *until > height);
        let mut leaving = Vec::new();
        for (id, suspect) in &mut self.by_id {
            if suspect.fresh && suspect.failed_for_many(own, faulty_max) {
                suspect.fresh = false;
                // What failed before this leave is paid for: the next one takes more than f builders again.
                suspect.builders.clear();
                let leave = 1 + u64::from(id.0[0]) % SHORT_LEAVE;
                leaving.push((*id, height.saturating_add(leave)));
            }
        }
        for (id, until) in leaving {
            self.leave_out(id, until);
        }
    }

    fn leave_out(&mut self, id: Hash, until: u64) {
        let longest = self.left_out.entry(id).or_default();
        *longest = until.max(*longest);
    }

    fn suspect(&mut self, id: Hash, height: u64) -> &mut Suspect {
        if self.by_id.len() >= SUSPECTS_MAX && !self.by_id.contains_key(&id) {
            // First those that only stood in blocks that failed: anybody can make such blocks of anything.
            self.by_id.retain(|_, suspect| suspect.times > 0);
            if self.by_id.len() >= SUSPECTS_MAX {
                self.by_id.clear();
            }
        }
        let suspect = self.by_id.entry(id).or_default();
        suspect.until = height.saturating_add(LAST_LEAVE);
        suspect
    }
}

impl Suspect {
    /// Whether somebody correct is among those whose blocks of it failed. One proposer's word is worth nothing: a liar can
    /// make a block that fails of any transactions.
    fn failed_for_many(&self, own: Option<&[u8]>, faulty_max: usize) -> bool {
        let others = self.builders.iter().any(|key| Some(key.as_slice()) != own);
        others && self.builders.len() > faulty_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(bytes: &[[u8; 2]]) -> Vec<Hash> {
        let id = |[first, second]: &[u8; 2]| {
            let mut id = [7; 32];
            id[..2].copy_from_slice(&[*first, *second]);
            Hash(id)
        };
        bytes.iter().map(id).collect()
    }

    /// The heights from `from` on at which a transaction is left out, one height decided after the other.
    fn away(suspects: &mut Suspects, id: Hash, from: u64) -> u64 {
        (from..)
            .take_while(|height| {
                let out = suspects.left_out().contains(&id);
                suspects.decided(*height, None, 1);
                out
            })
            .count() as u64
    }

    #[test]
    fn what_builds_read_differently_costs_five_rounds_while_it_lives() {
        let [guilty] = ids(&[[3, 9]])[..] else { panic!("one") };
        let mut suspects = Suspects::default();
        let mut height = 5;
        let mut rounds = 0;
        while height < 4_000 {
            suspects.builds_differ(&[guilty], height);
            rounds += 1;
            height += away(&mut suspects, guilty, height);
        }
        assert_eq!(rounds, 5);
    }

    #[test]
    fn what_comes_back_soon_is_a_reason_to_make_blocks() {
        let [guilty] = ids(&[[3, 9]])[..] else { panic!("one") };
        let mut suspects = Suspects::default();
        let mut height = 5;
        for last in [false, false, false, false, true] {
            suspects.builds_differ(&[guilty], height);
            assert_eq!(suspects.given_up().contains(&guilty), last);
            height += away(&mut suspects, guilty, height);
        }
        assert!(suspects.given_up().is_empty(), "its time is over");
    }

    #[test]
    fn an_innocent_transaction_comes_back_at_another_height_than_the_guilty_one() {
        let ids = ids(&[[3, 9], [4, 9], [3, 10]]);
        let mut suspects = Suspects::default();
        suspects.builds_differ(&ids, 5);
        assert_eq!(suspects.left_out().len(), 3);
        for height in 5..=8 {
            suspects.decided(height, None, 1);
        }
        // Height 9 + 1 = 5 + 1 + 3 + 1: two are back, one is not yet; the one that is ordered now is out of it.
        assert_eq!(suspects.left_out().len(), 3);
        suspects.decided(9, None, 1);
        assert_eq!(suspects.left_out().into_iter().collect::<Vec<_>>(), [ids[1]]);
        suspects.builds_differ(&[ids[0], ids[2]], 10);
        suspects.decided(10, None, 1);
        assert_eq!(suspects.left_out().len(), 2, "the second of them has its own time now");
        for height in 11..=20 {
            suspects.decided(height, None, 1);
        }
        assert_eq!(suspects.left_out().into_iter().collect::<Vec<_>>(), [ids[2]]);
    }

    #[test]
    fn a_traitor_that_proposes_what_is_left_out_has_nothing_else_left_out() {
        let ids = ids(&[[3, 9], [4, 9]]);
        let mut suspects = Suspects::default();
        suspects.builds_differ(&ids[..1], 5);
        suspects.builds_differ(&ids, 6);
        assert_eq!(suspects.left_out().into_iter().collect::<Vec<_>>(), ids[..1]);
    }

    #[test]
    fn no_f_liars_have_a_transaction_left_out() {
        let id = ids(&[[3, 9]]);
        let own = [9; 32];
        let left_out = |builders: &[u8], faulty_max: usize| {
            let mut suspects = Suspects::default();
            for builder in builders {
                suspects.failed(&id, &[*builder; 32], 5);
            }
            suspects.decided(5, Some(&own), faulty_max);
            !suspects.left_out().is_empty()
        };
        for faulty_max in 0..3_usize {
            let liars: Vec<u8> = (1..=3).take(faulty_max).collect();
            assert!(!left_out(&liars, faulty_max));
            // One more is correct, and so is this node, whose own block was not decided.
            assert!(left_out(&[liars.as_slice(), &[7]].concat(), faulty_max));
            let ourselves = left_out(&[liars.as_slice(), &[9]].concat(), faulty_max);
            assert_eq!(ourselves, !liars.is_empty(), "a slow round of ours alone is nothing");
        }
    }

    /// A liar that fills the list with what failed in its blocks does not have the guilty one forgotten.
    #[test]
    fn what_builds_differ_on_is_not_forgotten_for_what_failed() {
        let [guilty] = ids(&[[3, 9]])[..] else { panic!("one") };
        let mut suspects = Suspects::default();
        for height in [5, 100, 200, 300] {
            suspects.builds_differ(&[guilty], height);
            suspects.left_out.clear();
        }
        let many = |count: u32| -> Vec<Hash> {
            let id = |nth: u32| {
                let mut id = [9; 32];
                id[..4].copy_from_slice(&nth.to_be_bytes());
                Hash(id)
            };
            (0..count).map(id).collect()
        };
        suspects.failed(&many(25_000), &[1; 32], 301);
        assert!(suspects.by_id.len() <= SUSPECTS_MAX);
        suspects.builds_differ(&[guilty], 302);
        assert!(suspects.given_up().contains(&guilty), "the fifth time, and not the first");
    }

    #[test]
    fn what_is_ordered_is_no_suspect_any_more() {
        let ids = ids(&[[3, 9], [4, 9]]);
        let mut suspects = Suspects::default();
        suspects.builds_differ(&ids, 5);
        suspects.ordered(&ids[..1]);
        assert_eq!(suspects.left_out().into_iter().collect::<Vec<_>>(), ids[1..]);
        assert!(!suspects.by_id.contains_key(&ids[0]));
    }

    #[test]
    fn after_a_leave_one_builder_alone_is_as_good_as_none() {
        let [id] = ids(&[[3, 9]])[..] else { panic!("one") };
        let mut suspects = Suspects::default();
        for builder in 1..=3 {
            suspects.failed(&[id], &[builder; 32], 5);
        }
        suspects.decided(5, None, 1);
        let back = 6 + away(&mut suspects, id, 6);
        suspects.failed(&[id], &[1; 32], back);
        suspects.decided(back, None, 1);
        assert!(suspects.left_out().is_empty());
        suspects.failed(&[id], &[2; 32], back + 1);
        suspects.decided(back + 1, None, 1);
        assert_eq!(suspects.left_out().len(), 1);
    }

    #[test]
    fn blocks_that_fail_without_certainty_cost_short_leaves_only() {
        let [id] = ids(&[[255, 255]])[..] else { panic!("one") };
        let mut suspects = Suspects::default();
        let mut height = 5;
        for _ in 0..5 {
            for builder in 1..=3 {
                suspects.failed(&[id], &[builder; 32], height);
            }
            suspects.decided(height, None, 1);
            let leave = away(&mut suspects, id, height + 1);
            assert!((1..=SHORT_LEAVE).contains(&leave), "{leave}");
            height += leave + 1;
        }
    }
}
