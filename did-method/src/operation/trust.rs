//! The operations of trust, as far as they can be checked without state: grants, and credential types (PROTOCOL §5).
//!
//! Here: that a grant is on something its action can be about, that a period is one, that a name can be read for what
//! it is, that the rules of a type are within bounds. What is *not* here: who may grant, which periods there are, who
//! owns a type, and its name, which covers the genesis hash; they belong to the ledger.

use super::{OperationError, hash};
use sillok_proto::{Hash, v1};

/// Longest name of an organization, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 96;
/// Most approvals that a reason may call for.
pub const APPROVALS_MAX: u32 = 4;

const DAY_MS: u64 = 24 * 3_600_000;
/// Longest validity of an enrollment: 100 years.
pub const VALIDITY_MS_MAX: u64 = 36_525 * DAY_MS;
/// Longest time from reserving to activating: 90 days.
pub const RESERVATION_MS_MAX: u64 = 90 * DAY_MS;
/// Longest life of an approval: 30 days.
pub const APPROVAL_MS_MAX: u64 = 30 * DAY_MS;
/// Furthest that an invalidity date may lie back: 10 years.
pub const BACKDATING_MS_MAX: u64 = 3_653 * DAY_MS;
/// Longest that a superseded entry may still be taken: 1 year.
pub const GRACE_MS_MAX: u64 = 366 * DAY_MS;

/// A right that one organization gives another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accredit {
    /// Digest of who gives it.
    pub grantor: Hash,
    /// What it gives.
    pub grant: NewGrant,
}

/// A new period of a grant, or a later end of its last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGrant {
    /// Digest of who receives it.
    pub organization: Hash,
    /// What it may do.
    pub action: v1::Action,
    /// On what; `None` is everything.
    pub resource: Option<Hash>,
    /// Ledger time from which on; `None` is that of the block.
    pub from_ms: Option<u64>,
    /// Ledger time until which, itself not included; `None` is open.
    pub until_ms: Option<u64>,
    /// How many rights it may give in an hour without a second role; 0 is any number.
    pub gained_hourly: u32,
    /// How many it may suspend.
    pub suspended_hourly: u32,
    /// How many it may end.
    pub ended_hourly: u32,
    /// The name of the organization, if it is set.
    pub name: Option<String>,
}

/// The end of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdraw {
    /// Digest of who ends it.
    pub by: Hash,
    /// What ends.
    pub grant: EndedGrant,
}

/// What ends, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedGrant {
    /// Digest of who holds it.
    pub organization: Hash,
    /// What it may not do any more.
    pub action: v1::Action,
    /// On what; `None` is everything.
    pub resource: Option<Hash>,
    /// Ledger time of the end; `None` is that of the block.
    pub at_ms: Option<u64>,
}

/// A credential type, or its next version.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishType {
    /// Digest of who publishes it.
    pub publisher: Hash,
    /// Its name.
    pub name: Hash,
    /// 1, or one more than the latest.
    pub version: u32,
    /// What makes the name one of a kind; there for version 1 alone.
    pub nonce: Option<[u8; 16]>,
    /// What the version says, as it is hashed and stored.
    pub content: v1::TypeVersion,
}

/// Why a text is no name for an organization.
///
/// Names are read by people beside other names, so what cannot be seen, or turns what is seen around, is refused. That
/// a name looks like another is not: whoever reads it looks at the chain of who gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Empty or too long.
    #[error("it has {len} bytes; a name has 1 to {NAME_BYTES_MAX}")]
    Length {
        /// Length received, in bytes.
        len: usize,
    },
    /// A character that is not seen, or changes the order of those that are.
    #[error("it has the invisible character U+{0:04X}; leave it out", u32::from(*.character))]
    Invisible {
        /// The character.
        character: char,
    },
    /// Space that cannot be counted by looking.
    #[error("it has space at an end, twice in a row, or other than U+0020; use single spaces")]
    Space,
}

/// Checks the name of an organization, of the genesis too.
///
/// # Errors
///
/// [`NameError`]: the first rule broken.
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(NameError::Length { len: name.len() });
    }
    let mut before = ' ';
    for character in name.chars() {
        if is_invisible(character) {
            return Err(NameError::Invisible { character });
        }
        if is_other_space(character) || (character == ' ' && before == ' ') {
            return Err(NameError::Space);
        }
        before = character;
    }
    if before == ' ' { Err(NameError::Space) } else { Ok(()) }
}

/// Ranges of our own, for tables of Unicode grow with each version of a library, and validators must agree.
const fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' // control
        | '\u{ad}' // soft hyphen
        | '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}' // direction
        | '\u{115f}'..='\u{1160}' | '\u{3164}' | '\u{ffa0}' // fillers of Hangul
        | '\u{180b}'..='\u{180f}' | '\u{fe00}'..='\u{fe0f}' // selectors of variants
        | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}' | '\u{feff}' // of no width
        | '\u{fff0}'..='\u{fffb}' // annotation
        | '\u{e0000}'..='\u{e0fff}' // tags, and more selectors
    )
}

const fn is_other_space(character: char) -> bool {
    matches!(
        character,
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{2028}'..='\u{2029}' | '\u{202f}'
        | '\u{205f}' | '\u{2800}' | '\u{3000}'
    )
}

/// The action of this number, with the resource it is about.
fn right(number: i32, resource: &[u8]) -> Result<(v1::Action, Option<Hash>), OperationError> {
    let action = v1::Action::try_from(number).unwrap_or(v1::Action::Unspecified);
    let on_one = match action {
        v1::Action::Unspecified => return Err(OperationError::UnknownAction { number }),
        v1::Action::Accredit
        | v1::Action::DefineType
        | v1::Action::Issue
        | v1::Action::Approve
        | v1::Action::Revoke
        | v1::Action::ServeStatus
        | v1::Action::Audit => true,
        v1::Action::Register | v1::Action::Submit | v1::Action::Countersign => false,
    };
    if resource.is_empty() {
        return Ok((action, None));
    }
    // A grant that no rule will ever look for would only be taken for one by people.
    if !on_one {
        return Err(OperationError::ResourceNotAllowed { action });
    }
    Ok((action, Some(hash(resource, "resource")?)))
}

const fn some(ms: u64) -> Option<u64> {
    if ms == 0 { None } else { Some(ms) }
}

impl NewGrant {
    pub(super) fn check(grant: &v1::NewGrant) -> Result<Self, OperationError> {
        let (action, resource) = right(grant.action, &grant.resource)?;
        let (from_ms, until_ms) = (some(grant.from_ms), some(grant.until_ms));
        if let (Some(from_ms), Some(until_ms)) = (from_ms, until_ms)
            && until_ms <= from_ms
        {
            return Err(OperationError::PeriodEmpty { from_ms, until_ms });
        }
        let name = (!grant.name.is_empty()).then(|| grant.name.clone());
        if let Some(name) = &name {
            check_name(name)?;
        }
        Ok(Self {
            organization: hash(&grant.organization, "organization")?,
            action,
            resource,
            from_ms,
            until_ms,
            gained_hourly: grant.gained_hourly,
            suspended_hourly: grant.suspended_hourly,
            ended_hourly: grant.ended_hourly,
            name,
        })
    }

    /// The resource as it stands in a leaf's name: empty for everything.
    #[must_use]
    pub fn resource(&self) -> &[u8] {
        self.resource.as_ref().map_or(&[], |resource| &resource.0)
    }
}

impl EndedGrant {
    pub(super) fn check(grant: &v1::EndedGrant) -> Result<Self, OperationError> {
        let (action, resource) = right(grant.action, &grant.resource)?;
        Ok(Self {
            organization: hash(&grant.organization, "organization")?,
            action,
            resource,
            at_ms: some(grant.at_ms),
        })
    }

    /// The resource as it stands in a leaf's name: empty for everything.
    #[must_use]
    pub fn resource(&self) -> &[u8] {
        self.resource.as_ref().map_or(&[], |resource| &resource.0)
    }
}

impl Accredit {
    pub(super) fn check(op: &v1::Accredit) -> Result<Self, OperationError> {
        let grantor = hash(&op.grantor, "grantor")?;
        let grant = NewGrant::check(op.grant.as_ref().ok_or(OperationError::GrantMissing)?)?;
        if grant.organization == grantor {
            return Err(OperationError::GrantToItself);
        }
        Ok(Self { grantor, grant })
    }
}

impl Withdraw {
    pub(super) fn check(op: &v1::Withdraw) -> Result<Self, OperationError> {
        Ok(Self {
            by: hash(&op.by, "by")?,
            grant: EndedGrant::check(op.grant.as_ref().ok_or(OperationError::GrantMissing)?)?,
        })
    }
}

impl PublishType {
    pub(super) fn check(op: &v1::PublishType) -> Result<Self, OperationError> {
        let publisher = hash(&op.publisher, "publisher")?;
        let name = hash(&op.r#type, "type")?;
        // Of version 1 the name is the hash, nonce included; a later one names the type and needs no other.
        let nonce = match (op.version, op.nonce.as_slice()) {
            (0, _) => return Err(OperationError::TypeVersionZero),
            (1, nonce) => Some(<[u8; 16]>::try_from(nonce)),
            (_, []) => None,
            (_, nonce) => return Err(OperationError::TypeNonce { len: nonce.len(), expected: 0 }),
        };
        let nonce = nonce
            .transpose()
            .map_err(|_| OperationError::TypeNonce { len: op.nonce.len(), expected: 16 })?;
        let content = op.content.clone().ok_or(OperationError::TypeContentMissing)?;
        hash(&content.schema_hash, "schema_hash")?;
        if !content.render_hash.is_empty() {
            hash(&content.render_hash, "render_hash")?;
        }
        check_policy(content.policy.as_ref().ok_or(OperationError::TypeContentMissing)?)?;
        Ok(Self { publisher, name, version: op.version, nonce, content })
    }
}

/// Checks the rules of a type: everything in them is known, and within bounds.
///
/// # Errors
///
/// [`OperationError::TypePolicy`]: the first rule broken.
pub fn check_policy(policy: &v1::TypePolicy) -> Result<(), OperationError> {
    let refuse = |field, reason| Err(OperationError::TypePolicy { field, reason });
    let mut last = 0;
    for rule in &policy.reasons {
        if rule.reason <= last || v1::Reason::try_from(rule.reason).is_err() {
            return refuse("reasons", "they are not known ones in ascending order");
        }
        last = rule.reason;
        if rule.approvals > APPROVALS_MAX {
            return refuse("reasons", "one calls for more than 4 approvals");
        }
        if rule.approvals > 0 && policy.approval_max_ms == 0 {
            return refuse("approval_max_ms", "approvals are called for but live for no time");
        }
        if rule.replaces && !policy.exclusive {
            return refuse("reasons", "only of an exclusive type is there something to replace");
        }
    }
    // What could never be changed could never be revoked.
    if policy.reasons.is_empty() {
        return refuse("reasons", "there is none, so nothing could be done");
    }
    if policy.channels == 0 {
        return refuse("channels", "there is none, so nothing could be done");
    }
    let masks = [
        ("channels", policy.channels, v1::Channel::System as u32),
        ("assurance_levels", policy.assurance_levels, v1::AssuranceLevel::High as u32),
        // X25519 keys do not sign.
        ("key_algorithms", policy.key_algorithms, v1::Algorithm::P256 as u32),
        ("purposes", policy.purposes, v1::Purpose::Access as u32),
    ];
    for (field, mask, highest) in masks {
        // Bits 1 to the highest number; bit 0 would be the unspecified one.
        let known = 1_u32.checked_shl(highest.saturating_add(1)).unwrap_or(0).saturating_sub(2);
        if mask & !known != 0 {
            return refuse(field, "it has bits of unknown numbers");
        }
    }
    let bounds = [
        ("validity_max_ms", policy.validity_max_ms, VALIDITY_MS_MAX),
        ("renewal_window_ms", policy.renewal_window_ms, VALIDITY_MS_MAX),
        ("reservation_max_ms", policy.reservation_max_ms, RESERVATION_MS_MAX),
        ("approval_max_ms", policy.approval_max_ms, APPROVAL_MS_MAX),
        ("backdating_max_ms", policy.backdating_max_ms, BACKDATING_MS_MAX),
        ("grace_max_ms", policy.grace_max_ms, GRACE_MS_MAX),
    ];
    for (field, value, max) in bounds {
        if value > max {
            return refuse(field, "it is longer than any type may have it");
        }
    }
    if policy.exclusive {
        // Else nobody could ever be enrolled.
        if policy.key_algorithms == 0 {
            return refuse("key_algorithms", "an exclusive type names at least one");
        }
        if policy.validity_max_ms == 0 {
            return refuse(
                "validity_max_ms",
                "an enrollment of an exclusive type lives for a time",
            );
        }
        if policy.reservation_max_ms == 0 {
            return refuse("reservation_max_ms", "a reservation lives for a time");
        }
        if policy.renewal_window_ms > policy.validity_max_ms {
            return refuse("renewal_window_ms", "it is longer than the validity itself");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_it_looks_like() {
        for name in
            ["a", "행정안전부", "Ministry of the Interior", "Café №1 (서울)", &"x".repeat(96)]
        {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for len in [0, 97] {
            assert_eq!(check_name(&"x".repeat(len)), Err(NameError::Length { len }));
        }
        // 33 characters of 3 bytes each.
        assert_eq!(check_name(&"가".repeat(33)), Err(NameError::Length { len: 99 }));
        for character in [
            '\0',
            '\n',
            '\u{7f}',
            '\u{85}',
            '\u{ad}',
            '\u{61c}',
            '\u{115f}',
            '\u{200b}',
            '\u{200d}',
            '\u{200e}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{206f}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{e0041}',
        ] {
            let name = format!("Mini{character}stry");
            assert_eq!(check_name(&name), Err(NameError::Invisible { character }), "{name:?}");
        }
        for name in [" a", "a ", "a  b", "a\u{a0}b", "a\u{3000}b", "a\u{2009}b", " ", "a\u{2028}"] {
            assert_eq!(check_name(name), Err(NameError::Space), "{name:?}");
        }
    }

    fn policy() -> v1::TypePolicy {
        v1::TypePolicy {
            exclusive: true,
            reasons: vec![v1::ReasonRule { reason: 1, approvals: 2, replaces: false }],
            channels: 0b10,
            assurance_levels: 0b1110,
            key_algorithms: 0b110,
            purposes: 0b11110,
            validity_max_ms: VALIDITY_MS_MAX,
            renewal_window_ms: VALIDITY_MS_MAX,
            reservation_max_ms: RESERVATION_MS_MAX,
            approval_max_ms: APPROVAL_MS_MAX,
            backdating_max_ms: BACKDATING_MS_MAX,
            grace_max_ms: GRACE_MS_MAX,
            reissue_after_expiry: true,
        }
    }

    /// The field that the policy is refused for after this change of one that is taken.
    fn refused_for(edit: fn(&mut v1::TypePolicy)) -> Option<&'static str> {
        let mut edited = policy();
        edit(&mut edited);
        match check_policy(&edited) {
            Ok(()) => None,
            Err(OperationError::TypePolicy { field, .. }) => Some(field),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn every_rule_of_a_type_is_known_and_within_bounds() {
        assert_eq!(refused_for(|_| {}), None);
        assert_eq!(refused_for(|p| p.reasons.clear()), Some("reasons"));
        assert_eq!(refused_for(|p| p.reasons[0].reason = 0), Some("reasons"));
        assert_eq!(refused_for(|p| p.reasons[0].reason = 15), None);
        assert_eq!(refused_for(|p| p.reasons[0].reason = 16), Some("reasons"));
        assert_eq!(refused_for(|p| p.reasons[0].reason = -1), Some("reasons"));
        assert_eq!(refused_for(|p| p.reasons.push(p.reasons[0])), Some("reasons"));
        assert_eq!(refused_for(|p| p.reasons[0].approvals = 4), None);
        assert_eq!(refused_for(|p| p.reasons[0].approvals = 5), Some("reasons"));
        assert_eq!(refused_for(|p| p.channels = 0), Some("channels"));
        assert_eq!(refused_for(|p| p.channels = 0b11_1110), None);
        assert_eq!(refused_for(|p| p.channels = 0b100_0000), Some("channels"));
        assert_eq!(refused_for(|p| p.channels = 1 << 31), Some("channels"));
        assert_eq!(refused_for(|p| p.channels |= 1), Some("channels"));
        assert_eq!(refused_for(|p| p.assurance_levels = 0), None);
        assert_eq!(refused_for(|p| p.assurance_levels = 0b1_0000), Some("assurance_levels"));
        assert_eq!(refused_for(|p| p.key_algorithms = 0b1000), Some("key_algorithms"));
        assert_eq!(refused_for(|p| p.key_algorithms = 0), Some("key_algorithms"));
        assert_eq!(refused_for(|p| p.purposes = 0b10_0000), Some("purposes"));
        assert_eq!(refused_for(|p| p.validity_max_ms += 1), Some("validity_max_ms"));
        assert_eq!(refused_for(|p| p.validity_max_ms = 0), Some("validity_max_ms"));
        assert_eq!(refused_for(|p| p.validity_max_ms -= 1), Some("renewal_window_ms"));
        assert_eq!(refused_for(|p| p.reservation_max_ms += 1), Some("reservation_max_ms"));
        assert_eq!(refused_for(|p| p.reservation_max_ms = 0), Some("reservation_max_ms"));
        assert_eq!(refused_for(|p| p.approval_max_ms += 1), Some("approval_max_ms"));
        assert_eq!(refused_for(|p| p.approval_max_ms = 0), Some("approval_max_ms"));
        assert_eq!(refused_for(|p| p.backdating_max_ms = u64::MAX), Some("backdating_max_ms"));
        assert_eq!(refused_for(|p| p.grace_max_ms += 1), Some("grace_max_ms"));
        assert_eq!(
            refused_for(|p| {
                p.exclusive = false;
                p.reasons[0].replaces = true;
            }),
            Some("reasons")
        );
        let bare = |p: &mut v1::TypePolicy| {
            *p = v1::TypePolicy {
                reasons: vec![v1::ReasonRule { reason: 1, ..v1::ReasonRule::default() }],
                channels: 2,
                ..v1::TypePolicy::default()
            };
        };
        assert_eq!(refused_for(bare), None, "one that is not exclusive needs none of the rest");
    }
}
