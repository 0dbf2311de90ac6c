//! What all changes of status share: who acts, by what right, under which policy, with whose approval and within which
//! limits (PROTOCOL §4.4, §5.1, §5.2).
//!
//! Gaining a right takes `issue` and may need approvals; losing one takes `revoke` and never does. An hourly limit is no
//! wall but a second pair of eyes: beyond it one more organization must approve, so that one stolen key neither ends nor
//! suspends every credential of a country. Deliberately absent: what is changed.

use super::Context;
use super::preview::LimitPreview;
use crate::admit::{self, Frame};
use crate::authority::{self, Link};
use crate::error::{StatusDate, StatusError};
use crate::overlay::{head, read};
use crate::private::{GivenApproval, PrivatePart};
use crate::{AdmissionError, Overlay, StateFault, StateView, TreeKey, credential_type};
use sillok_did_method::{EntryState, SUBMIT};
use sillok_proto::{Hash, Tag, encode, v1};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Most registering authorities above an organization that are walked.
const AUTHORITIES_MAX: usize = 8;
/// Most types that a refusal names.
const TYPES_NAMED_MAX: usize = 16;
const HOUR_MS: u64 = 3_600_000;

/// Which right a change uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// A right is gained: `issue`.
    Gain,
    /// A right is lost: `revoke`.
    Loss,
}

impl Deed {
    const fn action(self) -> v1::Action {
        match self {
            Self::Gain => v1::Action::Issue,
            Self::Loss => v1::Action::Revoke,
        }
    }
}

/// Which hourly limit a change counts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Gained,
    Suspended,
    Ended,
}

impl Class {
    /// Of entries that come to this state.
    pub(super) const fn of_state(state: EntryState) -> Self {
        match state {
            EntryState::Valid => Self::Gained,
            EntryState::Suspended => Self::Suspended,
            EntryState::Invalid | EntryState::Superseded | EntryState::Pending => Self::Ended,
        }
    }

    /// Its limit in a period; 0 = none.
    const fn limit(self, period: &v1::Period) -> u32 {
        match self {
            Self::Gained => period.gained_hourly,
            Self::Suspended => period.suspended_hourly,
            Self::Ended => period.ended_hourly,
        }
    }

    const fn used(self, usage: &mut v1::Usage) -> &mut u32 {
        match self {
            Self::Gained => &mut usage.gained,
            Self::Suspended => &mut usage.suspended,
            Self::Ended => &mut usage.ended,
        }
    }
}

/// A type as its latest version has it.
pub(super) fn policy_of<V: StateView + ?Sized>(
    view: &V,
    name: &Hash,
) -> Result<(v1::CredentialType, v1::TypePolicy), AdmissionError> {
    let Some((one, version)) = credential_type::latest_type(view, name)? else {
        return Err(AdmissionError::UnknownType { name: *name });
    };
    let policy = version.content.and_then(|content| content.policy);
    let policy = policy.ok_or_else(|| StateFault::new("a type has no policy"))?;
    Ok((one, policy))
}

/// The types that a refusal names, by role and action: looked up once in a transaction, however often it is refused. A
/// trial hears every refusal, and each would walk as many chains as the role has grants.
pub(crate) type TypesNamed = RefCell<BTreeMap<(Hash, v1::Action), Vec<Hash>>>;

/// The grant by which `role` may do this to what `issuer` issues: the first link of its chain.
///
/// Gains: the issuer is `role` or stands in its chain. Losses: also from above, for whoever accredited an issuer, or
/// registered it, ends what it issued when it is gone.
pub(super) fn right<V: StateView + ?Sized>(
    context: &Context<'_>,
    view: &V,
    role: &Hash,
    issuer: &Hash,
    credential_type: &Hash,
    deed: Deed,
) -> Result<Link, AdmissionError> {
    let time_ms = context.frame.time_ms;
    let walk = |organization: &Hash| {
        authority::chain(view, organization, deed.action(), &credential_type.0, time_ms)
    };
    let Some(mut links) = walk(role)? else {
        let (organization, action, credential_type) = (*role, deed.action(), *credential_type);
        let types = types_of(context, view, role, action)?;
        let error = StatusError::WrongType { organization, action, credential_type, types };
        return Err(error.into());
    };
    let below = |links: &[Link], one: &Hash| links.iter().any(|link| link.organization == *one);
    let allowed = below(&links, issuer)
        || deed == Deed::Loss
            && (walk(issuer)?.is_some_and(|links| below(&links, role))
                || authorities(view, issuer)?.contains(role));
    if allowed {
        Ok(links.swap_remove(0))
    } else {
        Err(StatusError::NotOwner { organization: *role, issuer: *issuer }.into())
    }
}

/// The types on which an organization holds a right, some of them.
fn types_of<V: StateView + ?Sized>(
    context: &Context<'_>,
    view: &V,
    organization: &Hash,
    action: v1::Action,
) -> Result<Vec<Hash>, StateFault> {
    let key = (*organization, action);
    if let Some(types) = context.types_named.borrow().get(&key) {
        return Ok(types.clone());
    }
    let time_ms = context.frame.time_ms;
    let index: Option<v1::GrantIndex> = read(view, &TreeKey::grant_index(organization))?;
    let grants = index.unwrap_or_default().grants;
    let named = grants.iter().filter(|grant| grant.action() == action);
    let mut types = Vec::new();
    for name in named.filter_map(|grant| Hash::from_slice(&grant.resource)).take(TYPES_NAMED_MAX) {
        if authority::chain(view, organization, action, &name.0, time_ms)?.is_some() {
            types.push(name);
        }
    }
    context.types_named.borrow_mut().insert(key, types.clone());
    Ok(types)
}

/// An organization and the registering authorities above it.
fn authorities<V: StateView + ?Sized>(
    view: &V,
    organization: &Hash,
) -> Result<Vec<Hash>, StateFault> {
    let mut line = vec![*organization];
    let mut current = *organization;
    while line.len() <= AUTHORITIES_MAX {
        let above = head(view, &current)?.and_then(|head| Hash::from_slice(&head.authority));
        let Some(above) = above else { break };
        line.push(above);
        current = above;
    }
    Ok(line)
}

/// Is a date within its bounds, both included?
pub(super) fn within(
    date: StatusDate,
    at_ms: u64,
    from_ms: u64,
    until_ms: u64,
) -> Result<(), StatusError> {
    if (from_ms..=until_ms).contains(&at_ms) {
        Ok(())
    } else {
        Err(StatusError::Date { date, at_ms, from_ms, until_ms })
    }
}

/// A grace that is given ends after the block, and within what the type allows.
pub(super) fn check_grace(
    frame: &Frame<'_>,
    policy: &v1::TypePolicy,
    grace_until_ms: u64,
) -> Result<(), StatusError> {
    if grace_until_ms == 0 {
        return Ok(());
    }
    let (from_ms, until_ms) =
        (frame.time_ms.saturating_add(1), frame.time_ms.saturating_add(policy.grace_max_ms));
    within(StatusDate::Grace, grace_until_ms, from_ms, until_ms)
}

/// An invalidity date that is given lies in the past, within what the type allows, and not before `start_ms`.
pub(super) fn check_invalid_from(
    frame: &Frame<'_>,
    policy: &v1::TypePolicy,
    invalid_from_ms: u64,
    start_ms: u64,
) -> Result<(), StatusError> {
    if invalid_from_ms == 0 {
        return Ok(());
    }
    let from_ms = frame.time_ms.saturating_sub(policy.backdating_max_ms).max(start_ms);
    within(StatusDate::InvalidFrom, invalid_from_ms, from_ms, frame.time_ms)
}

/// The salt of a private leaf: a path shows the hash of its value, and what is in it can be guessed.
pub(super) fn leaf_salt(content_salt: &Hash, leaf: &TreeKey) -> Vec<u8> {
    Tag::LeafSalt.hash(&[&content_salt.0, &leaf.0]).to_vec()
}

/// A role that may act, for a reason and through a channel that the type allows.
pub(super) struct Acting<'a> {
    context: &'a Context<'a>,
    pub(super) part: &'a PrivatePart,
    issuer: Hash,
    credential_type: Hash,
    pub(super) exclusive: bool,
    pub(super) policy: v1::TypePolicy,
    pub(super) rule: v1::ReasonRule,
    deed: Deed,
    link: Link,
}

impl<'a> Acting<'a> {
    /// Checks the acting role's signature and the holder's, the right, and the policy.
    pub(super) fn begin<V: StateView + ?Sized>(
        context: &'a Context<'a>,
        view: &V,
        issuer: &Hash,
        credential_type: &Hash,
        deed: Deed,
    ) -> Result<Self, AdmissionError> {
        let part =
            context.private.ok_or(AdmissionError::MissingPart { part: "private content" })?;
        let (frame, role) = (context.frame, part.acting_role);
        let Some(document) = admit::organization(view, &role)? else {
            return Err(AdmissionError::UnknownOrganization { organization: role });
        };
        let signature = &part.acting_signature;
        let key =
            admit::usable_key(frame, &role, &document, &signature.key_id, SUBMIT, "act at a desk")?;
        let verify =
            |key: &v1::PublicKey, string: &[u8], signature: &crate::transaction::Signature| {
                if frame.verifier.verify(key, string, &signature.bytes) {
                    Ok(())
                } else {
                    Err(AdmissionError::BadSignature { key_id: signature.key_id })
                }
            };
        verify(key, &part.acting_string, signature)?;
        for (key, signature) in &part.holder_signatures {
            context.sink.check(verify(key, &part.holder_string, signature))?;
        }
        // From here on the answer is about what the issuer holds: a role without the right is told nothing else.
        let (credential, policy) = policy_of(view, credential_type)?;
        let link = right(context, view, &role, issuer, credential_type, deed)?;
        let rule = match reason_rule(&policy, part.reason) {
            Ok(rule) => rule,
            Err(error) => {
                context.sink.report(error)?;
                // Of no reason, which asks for nothing: nothing more is reported about it.
                v1::ReasonRule { replaces: true, ..v1::ReasonRule::default() }
            }
        };
        context.sink.check(check_channel(&policy, part))?;
        context.sink.check(check_level(&policy, part, deed))?;
        let acting = Self {
            context,
            part,
            issuer: *issuer,
            credential_type: *credential_type,
            exclusive: credential.exclusive,
            policy,
            rule,
            deed,
            link,
        };
        context.sink.check(acting.check_organization_code(view))?;
        Ok(acting)
    }

    /// Checks the approvals, of which the change calls for `asked`, and counts it on the limits of everybody who signed;
    /// `None` counts on none. The last check of a change: what it would do anyway is known by then.
    pub(super) fn settle<V: StateView + ?Sized>(
        &self,
        state: &mut Overlay<'_, V>,
        asked: usize,
        count: Option<(Class, usize)>,
    ) -> Result<(), AdmissionError> {
        let approvals = &self.part.approvals;
        let sink = self.context.sink;
        let mut links = Vec::with_capacity(approvals.len());
        for approval in approvals {
            match self.check_approval(state, approval) {
                Ok(link) if approval.signature.is_made() => links.push((approval.approver, link)),
                // What the approver's limit has left is told, in a trial, to who has its word.
                Ok(_) => {}
                Err(error) => sink.report(error)?,
            }
        }
        let given = approvals.len();
        if given < asked {
            sink.report(StatusError::ApprovalMissing { asked, given })?;
        }
        if given > 0 {
            sink.check(self.use_approvals(state))?;
        }
        let Some((class, count)) = count else { return Ok(()) };
        let role = self.part.acting_role;
        let within = self.charge(state, &role, self.deed.action(), &self.link, class, count)?;
        // The second role: one more than the rule asks for.
        if given <= asked {
            sink.check(within)?;
        }
        for (approver, link) in &links {
            let within = self.charge(state, approver, v1::Action::Approve, link, class, count)?;
            sink.check(within)?;
        }
        Ok(())
    }

    /// How many approvals a gain calls for.
    pub(super) fn approvals_asked(&self) -> usize {
        match self.deed {
            Deed::Gain => usize::try_from(self.rule.approvals).unwrap_or(usize::MAX),
            Deed::Loss => 0,
        }
    }

    fn check_approval<V: StateView + ?Sized>(
        &self,
        view: &V,
        approval: &GivenApproval,
    ) -> Result<Link, AdmissionError> {
        let (frame, approver) = (self.context.frame, approval.approver);
        let not_allowed = || StatusError::ApproverNotAllowed { approver };
        if approver == self.part.acting_role {
            return Err(not_allowed().into());
        }
        let document = admit::organization(view, &approver)?.ok_or_else(not_allowed)?;
        let (action, resource) = (v1::Action::Approve, &self.credential_type.0);
        let links = authority::chain(view, &approver, action, resource, frame.time_ms)?
            .filter(|links| links.iter().any(|link| link.organization == self.issuer));
        let link = links.and_then(|links| links.into_iter().next()).ok_or_else(not_allowed)?;
        self.check_line(view, &approver)?;
        let (expires_ms, time_ms) = (approval.expires_ms, frame.time_ms);
        if expires_ms <= time_ms {
            return Err(StatusError::ApprovalExpired { approver, expires_ms, time_ms }.into());
        }
        let latest_ms = time_ms.saturating_add(self.policy.approval_max_ms);
        within(StatusDate::Approval, expires_ms, time_ms, latest_ms)?;
        let id = &approval.signature.key_id;
        let key = admit::usable_key(frame, &approver, &document, id, SUBMIT, "approve")?;
        if frame.verifier.verify(key, &approval.string, &approval.signature.bytes) {
            Ok(link)
        } else {
            Err(StatusError::ApprovalMismatch { approver }.into())
        }
    }

    /// D10: the person's organization is the issuer or one that was registered under it.
    fn check_organization_code<V: StateView + ?Sized>(
        &self,
        view: &V,
    ) -> Result<(), AdmissionError> {
        let Some(code) = self.part.organization_code else { return Ok(()) };
        let active = admit::organization(view, &code)?.is_some();
        if active && authorities(view, &code)?.contains(&self.issuer) {
            Ok(())
        } else {
            Err(StatusError::OrgMismatch { code, issuer: self.issuer }.into())
        }
    }

    /// A3: an approver is of the person's own department, above it or below it.
    fn check_line<V: StateView + ?Sized>(
        &self,
        view: &V,
        approver: &Hash,
    ) -> Result<(), AdmissionError> {
        let Some(code) = self.part.organization_code else { return Ok(()) };
        let line = authorities(view, &code)?;
        // What is above the issuer is no department of it.
        let above = line.iter().take_while(|one| **one != self.issuer).chain([&self.issuer]);
        if above.into_iter().any(|one| one == approver)
            || authorities(view, approver)?.contains(&code)
        {
            Ok(())
        } else {
            Err(StatusError::ApproverMismatch { approver: *approver, code }.into())
        }
    }

    /// Approvals are over the operation alone, so that they can be given before there is a transaction. So the operation
    /// is written down: what can be undone, as a suspension, could else be done again with the same approvals.
    fn use_approvals<V: StateView + ?Sized>(
        &self,
        state: &mut Overlay<'_, V>,
    ) -> Result<(), AdmissionError> {
        let leaf = TreeKey::approved(&self.part.operation_hash);
        if let Some(used) = read::<v1::ApprovedOperation>(state, &leaf)? {
            return Err(StatusError::ApprovalUsed { height: used.height }.into());
        }
        let salt = leaf_salt(&self.part.salt, &leaf);
        let used = v1::ApprovedOperation { salt, height: self.context.frame.height };
        state.put(leaf, encode(&used));
        Ok(())
    }

    /// Counts on an hourly limit, and says whether it is still within. Without a limit nothing is written.
    fn charge<V: StateView + ?Sized>(
        &self,
        state: &mut Overlay<'_, V>,
        organization: &Hash,
        action: v1::Action,
        link: &Link,
        class: Class,
        count: usize,
    ) -> Result<Result<(), StatusError>, AdmissionError> {
        let limit = class.limit(&link.period);
        if limit == 0 {
            return Ok(Ok(()));
        }
        let leaf = TreeKey::usage(organization, action, &link.resource);
        let hour = self.context.frame.time_ms / HOUR_MS;
        let mut usage = usage_in(state, &leaf, hour)?;
        let used = class.used(&mut usage);
        *used = used.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        let within = *used <= limit;
        usage.salt = leaf_salt(&self.part.salt, &leaf);
        state.put(leaf, encode(&usage));
        Ok(if within {
            Ok(())
        } else {
            let next_ms = hour.saturating_add(1).saturating_mul(HOUR_MS);
            Err(StatusError::VelocityLimit { organization: *organization, limit, next_ms })
        })
    }
}

/// What was used of the limits of a grant in this hour.
fn usage_in<V: StateView + ?Sized>(
    view: &V,
    leaf: &TreeKey,
    hour: u64,
) -> Result<v1::Usage, StateFault> {
    let usage: Option<v1::Usage> = read(view, leaf)?;
    Ok(usage
        .filter(|usage| usage.hour == hour)
        .unwrap_or_else(|| v1::Usage { hour, ..v1::Usage::default() }))
}

/// What the hour has left of a role's limit; `None` without one.
pub(super) fn limit<V: StateView + ?Sized>(
    frame: &Frame<'_>,
    view: &V,
    role: &Hash,
    credential_type: &Hash,
    deed: Deed,
    class: Class,
) -> Result<Option<LimitPreview>, StateFault> {
    let action = deed.action();
    let links = authority::chain(view, role, action, &credential_type.0, frame.time_ms)?;
    let Some(link) = links.and_then(|links| links.into_iter().next()) else { return Ok(None) };
    let limit = class.limit(&link.period);
    if limit == 0 {
        return Ok(None);
    }
    let leaf = TreeKey::usage(role, action, &link.resource);
    let mut usage = usage_in(view, &leaf, frame.time_ms / HOUR_MS)?;
    let left = limit.saturating_sub(*class.used(&mut usage));
    Ok(Some(LimitPreview { organization: *role, action, resource: link.resource, limit, left }))
}

/// The rule of a reason, if the type allows it.
fn reason_rule(policy: &v1::TypePolicy, reason: i32) -> Result<v1::ReasonRule, StatusError> {
    if reason == v1::Reason::Unspecified as i32 {
        return Err(StatusError::ReasonRequired);
    }
    let rule = policy.reasons.iter().find(|rule| rule.reason == reason);
    rule.copied().ok_or(StatusError::ReasonNotAllowed { reason })
}

/// Is the number in a mask of a policy? One that is negative or of no closed set is in none.
pub(super) fn in_mask(mask: u32, number: i32) -> bool {
    u32::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .and_then(|number| 1_u32.checked_shl(number))
        .is_some_and(|bit| mask & bit != 0)
}

fn check_channel(policy: &v1::TypePolicy, part: &PrivatePart) -> Result<(), StatusError> {
    let channel = part.channel;
    if in_mask(policy.channels, channel) {
        Ok(())
    } else {
        Err(StatusError::ChannelNotAllowed { channel })
    }
}

fn check_level(policy: &v1::TypePolicy, part: &PrivatePart, deed: Deed) -> Result<(), StatusError> {
    let level = part.assurance_level;
    // Where none is asked for, any number would be a place for a message.
    let allowed = if deed == Deed::Gain && policy.assurance_levels != 0 {
        in_mask(policy.assurance_levels, level)
    } else {
        level == v1::AssuranceLevel::Unspecified as i32
    };
    if allowed { Ok(()) } else { Err(StatusError::AssuranceLevelNotAllowed { level }) }
}
