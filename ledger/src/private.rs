//! Private contents: what validators check beside a status change, and the public never reads (PROTOCOL §2.4).
//!
//! The length of a private content follows from the public part of its operation, so it says nothing: a refresh for
//! moving house looks like any other refresh. [`PrivatePart`] is a content with the signatures beside it. Deliberately
//! absent: whether the acting role may act, and whether the approvals are enough.

mod part;

pub(crate) use part::Place;
pub use part::{GivenApproval, PrivatePart};

use sillok_proto::v1::PrivateContent;

/// Length of a private content's canonical encoding, whatever it says, with at most one handle.
pub const PRIVATE_CONTENT_BYTES: usize = 512;
/// Length of a handle.
pub const HANDLE_BYTES: usize = 32;

/// Length of a private content's canonical encoding with this many handles. How many an operation has follows from its
/// public part, so the length says nothing more.
#[must_use]
pub const fn private_content_bytes(handles: usize) -> usize {
    PRIVATE_CONTENT_BYTES.saturating_add(HANDLE_BYTES.saturating_mul(handles.saturating_sub(1)))
}
/// Most approvers of one private content.
pub const APPROVERS_MAX: usize = 4;

/// Why a private content is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are named by the message of their variant")]
pub enum PrivateContentError {
    /// Salt, acting role, an approver or the organization code.
    #[error("`{field}` of the private content has {len} bytes; it has 32")]
    FieldLength { field: &'static str, len: usize },
    /// More approvers than a rule can ask for.
    #[error("the private content has {count} approvers, more than {APPROVERS_MAX}; name fewer")]
    TooManyApprovers { count: usize },
    /// A3: one approver counts once.
    #[error("approver {index} is the one before it again; have another organization approve")]
    ApproverTwice { index: usize },
    /// Approvers out of order.
    #[error("approver {index} is not after the approver before it; sort approvers, each once")]
    ApproverOrder { index: usize },
    /// The padding could carry a message.
    #[error("the padding of the private content is not all zero; pad with zero bytes")]
    Padding,
    /// Another number of handles than the operation has.
    #[error(
        "`handles` has {actual} bytes and the operation calls for {expected}; give 32 for each handle"
    )]
    Handles { expected: usize, actual: usize },
    /// Another length than the operation calls for.
    #[error("the private content has {len} bytes, not {expected}; pad it")]
    Length { len: usize, expected: usize },
}

/// Checks the form of a private content whose operation has `handles` handles.
///
/// # Errors
///
/// [`PrivateContentError`]: the first rule broken. The error holds no value of the content.
pub fn check_private_content(
    content: &PrivateContent,
    handles: usize,
) -> Result<(), PrivateContentError> {
    let digest = |field, bytes: &[u8]| match bytes.len() {
        32 => Ok(()),
        len => Err(PrivateContentError::FieldLength { field, len }),
    };
    digest("salt", &content.salt)?;
    digest("acting_role", &content.acting_role)?;
    let count = content.approvers.len();
    if count > APPROVERS_MAX {
        return Err(PrivateContentError::TooManyApprovers { count });
    }
    let mut before: Option<&[u8]> = None;
    for (index, approver) in content.approvers.iter().enumerate() {
        digest("approvers", approver)?;
        if before == Some(approver.as_slice()) {
            return Err(PrivateContentError::ApproverTwice { index });
        }
        if before.is_some_and(|before| before > approver.as_slice()) {
            return Err(PrivateContentError::ApproverOrder { index });
        }
        before = Some(approver);
    }
    if !content.organization_code.is_empty() {
        digest("organization_code", &content.organization_code)?;
    }
    let expected = handles.saturating_mul(HANDLE_BYTES);
    if content.handles.len() != expected {
        let actual = content.handles.len();
        return Err(PrivateContentError::Handles { expected, actual });
    }
    if content.padding.iter().any(|byte| *byte != 0) {
        return Err(PrivateContentError::Padding);
    }
    let expected = private_content_bytes(handles);
    match prost::Message::encoded_len(content) {
        len if len == expected => Ok(()),
        len => Err(PrivateContentError::Length { len, expected }),
    }
}

/// The content with the padding that brings it to [`private_content_bytes`] of its handles.
///
/// Two rooms no padding fills: the tag and the length before it take at least 3 bytes with one of padding, and the
/// length takes a second byte from 128 on. What has such a room, or none, is returned without padding and does not pass
/// the check. With fields of the lengths of [`check_private_content`] neither occurs.
#[must_use]
pub fn pad(content: PrivateContent) -> PrivateContent {
    let bare = PrivateContent { padding: Vec::new(), ..content };
    let bytes = private_content_bytes(bare.handles.len() / HANDLE_BYTES);
    let room = bytes.saturating_sub(prost::Message::encoded_len(&bare));
    // One byte for the tag; one for a length below 128, two from there on.
    for overhead in [2, 3] {
        let padding = vec![0; room.saturating_sub(overhead)];
        let padded = PrivateContent { padding, ..bare.clone() };
        if prost::Message::encoded_len(&padded) == bytes {
            return padded;
        }
    }
    bare
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sillok_proto::v1::{EnrollmentRequest, PublicKey};

    fn digest() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 32)
    }

    fn key() -> impl Strategy<Value = Option<PublicKey>> {
        let key = (1..=2_i32).prop_map(|algorithm| PublicKey { algorithm, point: vec![7; 33] });
        proptest::option::of(key)
    }

    prop_compose! {
        fn request()(
            change in 0..=5_i32,
            number in any::<u32>(),
            one_time_key in key(),
            enrollment_key in key(),
            dates in any::<[u64; 4]>(),
            new_handle in proptest::option::of(digest()),
        ) -> EnrollmentRequest {
            EnrollmentRequest {
                change,
                number,
                one_time_key,
                deadline_ms: dates[0],
                valid_until_ms: dates[1],
                new_handle: new_handle.unwrap_or_default(),
                enrollment_key,
                grace_until_ms: dates[2],
                invalid_from_ms: dates[3],
            }
        }
    }

    prop_compose! {
        fn content()(
            salt in digest(),
            acting_role in digest(),
            approvers in proptest::collection::btree_set(digest(), 0..=APPROVERS_MAX),
            channel in 0..=5_i32,
            reason in 0..=15_i32,
            assurance_level in 0..=3_i32,
            handles in 0..100_usize,
            organization_code in proptest::option::of(digest()),
            enrollment in proptest::option::of(request()),
        ) -> PrivateContent {
            PrivateContent {
                salt,
                acting_role,
                approvers: approvers.into_iter().collect(),
                channel,
                reason,
                assurance_level,
                organization_code: organization_code.unwrap_or_default(),
                handles: vec![5; handles.saturating_mul(HANDLE_BYTES)],
                // Together with one handle at most, for an operation has one or the other.
                enrollment: enrollment.filter(|_| handles <= 1),
                padding: Vec::new(),
            }
        }
    }

    fn one() -> PrivateContent {
        PrivateContent {
            salt: vec![1; 32],
            acting_role: vec![2; 32],
            approvers: vec![vec![3; 32], vec![4; 32]],
            channel: 2,
            reason: 6,
            assurance_level: 3,
            organization_code: vec![8; 32],
            handles: vec![7; 32],
            enrollment: None,
            padding: Vec::new(),
        }
    }

    fn refused(change: impl FnOnce(&mut PrivateContent), expected: PrivateContentError) {
        let mut content = one();
        change(&mut content);
        assert_eq!(check_private_content(&pad(content), 1), Err(expected));
    }

    proptest! {
        #[test]
        fn the_length_follows_from_the_number_of_handles_and_says_nothing_else(content in content()) {
            let handles = content.handles.len() / HANDLE_BYTES;
            let padded = pad(content.clone());
            prop_assert_eq!(sillok_proto::encode(&padded).len(), private_content_bytes(handles));
            prop_assert_eq!(check_private_content(&padded, handles), Ok(()));
            prop_assert_eq!(pad(padded.clone()), padded.clone(), "padding again changes nothing");
            prop_assert_eq!(PrivateContent { padding: Vec::new(), ..padded }, content);
        }

        #[test]
        fn any_other_padding_is_another_length(content in content(), length in 0_usize..1000) {
            let handles = content.handles.len() / HANDLE_BYTES;
            let padded = pad(content);
            prop_assume!(length != padded.padding.len());
            let other = PrivateContent { padding: vec![0; length], ..padded };
            let refused = matches!(
                check_private_content(&other, handles),
                Err(PrivateContentError::Length { .. })
            );
            prop_assert!(refused);
        }
    }

    #[test]
    fn fields_have_32_bytes_and_only_the_organization_code_may_be_absent() {
        let length = |field, len| PrivateContentError::FieldLength { field, len };
        refused(|content| content.salt = vec![1; 31], length("salt", 31));
        refused(|content| content.acting_role = vec![], length("acting_role", 0));
        refused(|content| content.approvers[1] = vec![4; 33], length("approvers", 33));
        refused(|content| content.organization_code = vec![8; 4], length("organization_code", 4));

        let absent = PrivateContent { organization_code: vec![], ..one() };
        assert_eq!(check_private_content(&pad(absent), 1), Ok(()));
        let alone = PrivateContent { approvers: vec![], channel: 0, reason: 0, ..one() };
        assert_eq!(check_private_content(&pad(alone), 1), Ok(()));
    }

    #[test]
    fn there_are_as_many_handles_as_the_operation_has() {
        let handles = |expected, actual| PrivateContentError::Handles { expected, actual };
        refused(|content| content.handles = vec![], handles(32, 0));
        refused(|content| content.handles = vec![7; 33], handles(32, 33));
        refused(|content| content.handles = vec![7; 64], handles(32, 64));
        let none = PrivateContent { handles: vec![], ..one() };
        assert_eq!(check_private_content(&pad(none), 0), Ok(()));
    }

    #[test]
    fn there_are_four_approvers_at_most_and_none_counts_twice() {
        let four: Vec<Vec<u8>> = (1..=4).map(|n| vec![n; 32]).collect();
        let five: Vec<Vec<u8>> = (1..=5).map(|n| vec![n; 32]).collect();
        let padded = pad(PrivateContent { approvers: four, ..one() });
        assert_eq!(check_private_content(&padded, 1), Ok(()));
        refused(
            |content| content.approvers = five,
            PrivateContentError::TooManyApprovers { count: 5 },
        );
        refused(
            |content| content.approvers = vec![vec![3; 32], vec![3; 32]],
            PrivateContentError::ApproverTwice { index: 1 },
        );
        refused(
            |content| content.approvers.reverse(),
            PrivateContentError::ApproverOrder { index: 1 },
        );
    }

    #[test]
    fn padding_is_zero_and_carries_nothing() {
        let mut content = pad(one());
        assert_eq!(check_private_content(&content, 1), Ok(()));
        content.padding[9] = 1;
        assert_eq!(check_private_content(&content, 1), Err(PrivateContentError::Padding));
        content.padding = Vec::new();
        let len = prost::Message::encoded_len(&content);
        let expected = PRIVATE_CONTENT_BYTES;
        assert_eq!(
            check_private_content(&content, 1),
            Err(PrivateContentError::Length { len, expected })
        );
    }
}
