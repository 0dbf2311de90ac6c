//! May an organization do something at a time, and by which chain? (PROTOCOL §5.1)
//!
//! A right holds while the same action holds up the whole chain, from the organization to governance. So cutting off one
//! organization cuts off its whole subtree, at the very next height, without a word about those below. The walk reads
//! leaves and nothing else: blocks run it on the state, a client on the leaves of a proof, and both get the same answer.
//!
//! Each step has one leaf for the resource and one for all resources. The first is tried with all its chain; then the
//! second, from which on every grantor must hold the action for all resources too. So a walk reads at most
//! [`READS_MAX`] leaves, and a grant of the first kind whose chain broke does not hide one of the second.
//!
//! Deliberately absent: who may make and end grants (`operation/accredit.rs`, `operation/withdraw.rs`), and limits.

use crate::overlay::read;
use crate::{StateFault, StateView, TreeKey};
use sillok_proto::{Hash, v1};

/// Most organizations of a chain, the one that acts and that of the first level included.
pub const CHAIN_MAX: usize = 8;
/// Most leaves that a walk reads: one for the resource at each step, and from each step on those for all.
pub const READS_MAX: usize = CHAIN_MAX + CHAIN_MAX * (CHAIN_MAX + 1) / 2;

/// One link of a chain: why this organization may, as far as its own grant goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Who holds the grant.
    pub organization: Hash,
    /// Of the grant: as asked for, or empty for one on all.
    pub resource: Vec<u8>,
    /// The period that covers the time. Its grantor is the organization of the next link; governance at the last.
    pub period: v1::Period,
}

/// The period of a grant that covers `time_ms`; at most one does, for they do not overlap.
#[must_use]
pub fn period_at(grant: &v1::Grant, time_ms: u64) -> Option<&v1::Period> {
    grant.periods.iter().find(|period| {
        period.from_ms <= time_ms && (period.until_ms == 0 || time_ms < period.until_ms)
    })
}

/// The chain by which `organization` may do `action` on `resource` (empty: on all) at `time_ms`, itself first; `None`
/// if it may not.
///
/// # Errors
///
/// [`StateFault`] if the view could not be read, or holds a grantor that is no digest.
pub fn chain<V: StateView + ?Sized>(
    view: &V,
    organization: &Hash,
    action: v1::Action,
    resource: &[u8],
    time_ms: u64,
) -> Result<Option<Vec<Link>>, StateFault> {
    let walk = Walk { view, action, time_ms };
    let mut links = Vec::new();
    Ok(walk.from(organization, resource, &mut links)?.then_some(links))
}

struct Walk<'a, V: StateView + ?Sized> {
    view: &'a V,
    action: v1::Action,
    time_ms: u64,
}

impl<V: StateView + ?Sized> Walk<'_, V> {
    /// Does the right hold from `holder` on up? The links of its chain are then appended; else `links` is as before.
    fn from(
        &self,
        holder: &Hash,
        resource: &[u8],
        links: &mut Vec<Link>,
    ) -> Result<bool, StateFault> {
        let before = links.len();
        // Grants in a circle end here too.
        if before >= CHAIN_MAX {
            return Ok(false);
        }
        if let Some(link) = self.link(holder, resource)? {
            let grantor = link.period.grantor.clone();
            links.push(link);
            if grantor.is_empty() {
                return Ok(true);
            }
            let grantor = Hash::from_slice(&grantor)
                .ok_or_else(|| StateFault::new("a grantor is no digest"))?;
            if self.from(&grantor, resource, links)? {
                return Ok(true);
            }
            links.truncate(before);
        }
        if resource.is_empty() { Ok(false) } else { self.from(holder, &[], links) }
    }

    fn link(&self, holder: &Hash, resource: &[u8]) -> Result<Option<Link>, StateFault> {
        let leaf = TreeKey::grant(holder, self.action, resource);
        let grant: Option<v1::Grant> = read(self.view, &leaf)?;
        Ok(grant.as_ref().and_then(|grant| period_at(grant, self.time_ms)).map(|period| Link {
            organization: *holder,
            resource: resource.to_vec(),
            period: period.clone(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sillok_proto::encode;
    use std::cell::Cell;
    use std::collections::BTreeMap;

    const TYPE: [u8; 32] = [9; 32];

    #[derive(Default)]
    struct View {
        leaves: BTreeMap<TreeKey, Vec<u8>>,
        reads: Cell<usize>,
    }

    impl StateView for View {
        fn leaf(&self, key: &TreeKey) -> Result<Option<Vec<u8>>, StateFault> {
            self.reads.set(self.reads.get().saturating_add(1));
            Ok(self.leaves.get(key).cloned())
        }

        fn document(&self, _: &Hash) -> Result<Option<v1::DidDocument>, StateFault> {
            Ok(None)
        }
    }

    fn organization(n: u8) -> Hash {
        Hash([n; 32])
    }

    impl View {
        /// `grantor` 0 is governance.
        fn grant(&mut self, holder: u8, resource: &[u8], grantor: u8, from_ms: u64, until_ms: u64) {
            let leaf = TreeKey::grant(&organization(holder), v1::Action::Issue, resource);
            let mut grant: v1::Grant = read(self, &leaf).unwrap().unwrap_or_default();
            let grantor = if grantor == 0 { Vec::new() } else { organization(grantor).to_vec() };
            grant.periods.push(v1::Period { from_ms, until_ms, grantor, ..v1::Period::default() });
            self.leaves.insert(leaf, encode(&grant));
        }

        fn chain(&self, holder: u8, resource: &[u8], time_ms: u64) -> Option<Vec<u8>> {
            self.reads.set(0);
            let found =
                chain(self, &organization(holder), v1::Action::Issue, resource, time_ms).unwrap();
            assert!(self.reads.get() <= READS_MAX, "{} reads", self.reads.get());
            found.map(|links| links.iter().map(|link| link.organization.0[0]).collect())
        }
    }

    #[test]
    fn a_right_holds_while_it_holds_up_the_whole_chain() {
        let mut view = View::default();
        view.grant(1, &[], 0, 10, 20);
        view.grant(2, &[], 1, 5, 0);
        view.grant(3, &TYPE, 2, 12, 18);
        assert_eq!(view.chain(3, &TYPE, 12), Some(vec![3, 2, 1]));
        assert_eq!(view.chain(3, &TYPE, 11), None, "not yet");
        assert_eq!(view.chain(3, &TYPE, 18), None, "the end is not in the period");
        assert_eq!(view.chain(3, &[], 12), None, "a grant on one is none on all");
        assert_eq!(view.chain(2, &TYPE, 19), Some(vec![2, 1]));
        assert_eq!(view.chain(2, &TYPE, 20), None, "the ministry's own right has ended");
        assert_eq!(view.chain(2, &TYPE, 9), None, "and had not begun");
    }

    #[test]
    fn a_broken_chain_of_the_resource_does_not_hide_one_of_all() {
        let mut view = View::default();
        view.grant(1, &[], 0, 0, 0);
        view.grant(2, &[], 1, 0, 0);
        view.grant(4, &[], 0, 0, 10);
        view.grant(2, &TYPE, 4, 0, 0);
        assert_eq!(view.chain(2, &TYPE, 5), Some(vec![2, 4]), "the closer one where it holds");
        assert_eq!(view.chain(2, &TYPE, 10), Some(vec![2, 1]), "else that of all");
    }

    #[test]
    fn from_a_grant_on_all_the_chain_goes_on_by_grants_on_all() {
        let mut view = View::default();
        view.grant(1, &TYPE, 0, 0, 0);
        view.grant(2, &[], 1, 0, 0);
        assert_eq!(view.chain(2, &TYPE, 5), None, "who holds one cannot have given all");
        assert_eq!(view.chain(1, &TYPE, 5), Some(vec![1]));
    }

    #[test]
    fn eight_organizations_are_a_chain_and_nine_are_none() {
        let mut view = View::default();
        view.grant(1, &[], 0, 0, 0);
        for n in 2..=9 {
            view.grant(n, &[], n - 1, 0, 0);
        }
        assert_eq!(view.chain(8, &TYPE, 5), Some(vec![8, 7, 6, 5, 4, 3, 2, 1]));
        assert_eq!(view.chain(9, &TYPE, 5), None);
    }

    #[test]
    fn grants_in_a_circle_are_no_right_and_the_walk_ends() {
        let mut view = View::default();
        for (holder, grantor) in [(1, 2), (2, 3), (3, 1)] {
            view.grant(holder, &[], grantor, 0, 0);
            view.grant(holder, &TYPE, grantor, 0, 0);
        }
        assert_eq!(view.chain(1, &TYPE, 5), None);
    }
}
