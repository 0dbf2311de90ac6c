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
//! A right to give somebody something also ends with any organization of its chain: who deactivated its DID, or lost it
//! to whoever did, gives nothing any more, and nothing is given in its name. A right to take something away stays, and
//! so do those to carry it and to show it: what was issued must stay revocable, and its phones reportable (decision 23).
//!
//! Deliberately absent: who may make and end grants (`operation/accredit.rs`, `operation/withdraw.rs`), and limits.

use crate::overlay::{head, read};
use crate::{StateFault, StateView, TreeKey};
use sillok_proto::{Hash, v1};

/// Most organizations of a chain, the one that acts and that of the first level included.
pub const CHAIN_MAX: usize = 8;
/// Most grants that a walk reads: one for the resource at each step, and from each step on those for all.
const GRANTS_READ_MAX: usize = CHAIN_MAX + CHAIN_MAX * (CHAIN_MAX + 1) / 2;
/// Most leaves that a walk reads: of each grant the head of its holder too.
pub const READS_MAX: usize = 2 * GRANTS_READ_MAX;

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

/// Does a right to do this end with the organizations of its chain? Not where it takes something away, carries that, or
/// shows what was taken away.
const fn ends_with_its_chain(action: v1::Action) -> bool {
    !matches!(action, v1::Action::Revoke | v1::Action::Submit | v1::Action::ServeStatus)
}

/// The chain by which `organization` may do `action` on `resource` (empty: on all) at `time_ms`, itself first; `None`
/// if it may not.
///
/// For every action but `revoke`, `submit` and `serve-status` each organization of it is active at that time. Whether the first one is
/// active, whatever it does, is the caller's to ask: it signs.
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
    let walk = Walk { view, action, time_ms, active: ends_with_its_chain(action) };
    let mut links = Vec::new();
    Ok(walk.from(organization, resource, &mut links)?.then_some(links))
}

/// The same chain whether its organizations are active or not: who stands above a grant, for who may end it. Else what
/// an organization gave before it was deactivated could be ended by nobody above it.
///
/// # Errors
///
/// As [`chain`].
pub fn chain_of_grants<V: StateView + ?Sized>(
    view: &V,
    organization: &Hash,
    action: v1::Action,
    resource: &[u8],
    time_ms: u64,
) -> Result<Option<Vec<Link>>, StateFault> {
    let walk = Walk { view, action, time_ms, active: false };
    let mut links = Vec::new();
    Ok(walk.from(organization, resource, &mut links)?.then_some(links))
}

struct Walk<'a, V: StateView + ?Sized> {
    view: &'a V,
    action: v1::Action,
    time_ms: u64,
    /// Must the organizations be active?
    active: bool,
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
        let Some(period) = grant.as_ref().and_then(|grant| period_at(grant, self.time_ms)) else {
            return Ok(None);
        };
        if self.active && !self.is_active(holder)? {
            return Ok(None);
        }
        let period = period.clone();
        Ok(Some(Link { organization: *holder, resource: resource.to_vec(), period }))
    }

    /// Was it registered, and not deactivated by then? The head of what is deactivated is the last, so its time is that
    /// of the deactivation, and the same walk says what was right before it.
    fn is_active(&self, holder: &Hash) -> Result<bool, StateFault> {
        Ok(head(self.view, holder)?
            .is_some_and(|head| !head.deactivated || self.time_ms < head.time_ms))
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
            self.grant_of(v1::Action::Issue, holder, resource, grantor, from_ms, until_ms);
        }

        fn grant_of(
            &mut self,
            action: v1::Action,
            holder: u8,
            resource: &[u8],
            grantor: u8,
            from_ms: u64,
            until_ms: u64,
        ) {
            let leaf = TreeKey::grant(&organization(holder), action, resource);
            let mut grant: v1::Grant = read(self, &leaf).unwrap().unwrap_or_default();
            let grantor = if grantor == 0 { Vec::new() } else { organization(grantor).to_vec() };
            grant.periods.push(v1::Period { from_ms, until_ms, grantor, ..v1::Period::default() });
            self.leaves.insert(leaf, encode(&grant));
            self.head(holder, None);
        }

        /// Registered, and deactivated at that time.
        fn head(&mut self, of: u8, deactivated_ms: Option<u64>) {
            let of = organization(of);
            let head = v1::Head {
                did: of.to_vec(),
                kind: v1::Kind::Organization.into(),
                deactivated: deactivated_ms.is_some(),
                time_ms: deactivated_ms.unwrap_or_default(),
                ..v1::Head::default()
            };
            self.leaves.insert(TreeKey::did_head(&of), encode(&head));
        }

        fn chain(&self, holder: u8, resource: &[u8], time_ms: u64) -> Option<Vec<u8>> {
            self.chain_for(v1::Action::Issue, holder, resource, time_ms)
        }

        fn chain_for(
            &self,
            action: v1::Action,
            holder: u8,
            resource: &[u8],
            time_ms: u64,
        ) -> Option<Vec<u8>> {
            self.reads.set(0);
            let found = chain(self, &organization(holder), action, resource, time_ms).unwrap();
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
    fn who_is_deactivated_gives_nothing_and_what_it_gave_ends_but_for_losses() {
        let lasting = [v1::Action::Revoke, v1::Action::Submit, v1::Action::ServeStatus];
        let ending = [v1::Action::Issue, v1::Action::Register, v1::Action::Accredit];
        for action in [lasting, ending].concat() {
            let mut view = View::default();
            view.grant_of(action, 1, &[], 0, 0, 0);
            view.grant_of(action, 2, &[], 1, 0, 0);
            view.grant_of(action, 3, &TYPE, 2, 0, 0);
            view.head(2, Some(10));
            assert_eq!(view.chain_for(action, 3, &TYPE, 9), Some(vec![3, 2, 1]), "until then");
            let expected = lasting.contains(&action).then(|| vec![3, 2, 1]);
            assert_eq!(view.chain_for(action, 3, &TYPE, 10), expected, "{action:?}");
            let above = chain_of_grants(&view, &organization(3), action, &TYPE, 10).unwrap();
            assert_eq!(above.map(|links| links.len()), Some(3));
        }
    }

    #[test]
    fn a_grant_of_who_is_deactivated_does_not_hide_another() {
        let mut view = View::default();
        view.grant(1, &[], 0, 0, 0);
        view.grant(4, &[], 0, 0, 0);
        view.grant(2, &TYPE, 4, 0, 0);
        view.grant(2, &[], 1, 0, 0);
        view.head(4, Some(10));
        assert_eq!(view.chain(2, &TYPE, 9), Some(vec![2, 4]));
        assert_eq!(view.chain(2, &TYPE, 10), Some(vec![2, 1]));
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
