//! Private contents: what validators check beside a status change, and the public never reads (PROTOCOL §2.4).
//!
//! Every private content takes the same number of bytes, so its length says nothing: a refresh for moving house looks
//! like any other refresh. No operation of this protocol version has one yet; its form is law already, so that a
//! client can be written against it. Deliberately absent: whether the acting role may act, and the approvals.

use sillok_proto::v1::PrivateContent;

/// Length of a private content's canonical encoding, whatever it says: one size class.
pub const PRIVATE_CONTENT_BYTES: usize = 512;
/// Most approvers of one private content.
pub const APPROVERS_MAX: usize = 4;

/// Why a private content is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are named by the message of their variant")]
pub enum PrivateContentError {
    /// Salt, acting role, handle, an approver or the organization code.
    #[error("`{field}` of the private content has {len} bytes; it has 32")]
    FieldLength { field: &'static str, len: usize },
    /// More approvers than a rule can ask for.
    #[error("the private content has {count} approvers, more than {APPROVERS_MAX}; name fewer")]
    TooManyApprovers { count: usize },
    /// Approvers out of order, or one twice.
    #[error("approver {index} is not after the approver before it; sort approvers, each once")]
    ApproverOrder { index: usize },
    /// The padding could carry a message.
    #[error("the padding of the private content is not all zero; pad with zero bytes")]
    Padding,
    /// Another size class.
    #[error("the private content has {len} bytes, not {PRIVATE_CONTENT_BYTES}; pad it")]
    Length { len: usize },
}

/// Checks the form of a private content.
///
/// # Errors
///
/// [`PrivateContentError`]: the first rule broken. The error holds no value of the content.
pub fn check_private_content(content: &PrivateContent) -> Result<(), PrivateContentError> {
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
        // In order, so that none counts twice.
        if before.is_some_and(|before| before >= approver.as_slice()) {
            return Err(PrivateContentError::ApproverOrder { index });
        }
        before = Some(approver);
    }
    digest("handle", &content.handle)?;
    if !content.organization_code.is_empty() {
        digest("organization_code", &content.organization_code)?;
    }
    if content.padding.iter().any(|byte| *byte != 0) {
        return Err(PrivateContentError::Padding);
    }
    match prost::Message::encoded_len(content) {
        PRIVATE_CONTENT_BYTES => Ok(()),
        len => Err(PrivateContentError::Length { len }),
    }
}

/// The content with the padding that brings it to [`PRIVATE_CONTENT_BYTES`].
///
/// A content whose fields have the lengths of [`check_private_content`] leaves room for at least 200 bytes. Two rooms
/// no padding fills: the tag and the length before it take at least 3 bytes with one of padding, and the length takes
/// a second byte from 128 on. What has such a room, or none, is returned without padding and does not pass the check.
#[must_use]
pub fn pad(content: PrivateContent) -> PrivateContent {
    let bare = PrivateContent { padding: Vec::new(), ..content };
    let room = PRIVATE_CONTENT_BYTES.saturating_sub(prost::Message::encoded_len(&bare));
    // One byte for the tag; one for a length below 128, two from there on.
    for overhead in [2, 3] {
        let padding = vec![0; room.saturating_sub(overhead)];
        let padded = PrivateContent { padding, ..bare.clone() };
        if prost::Message::encoded_len(&padded) == PRIVATE_CONTENT_BYTES {
            return padded;
        }
    }
    bare
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digest() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 32)
    }

    prop_compose! {
        fn content()(
            salt in digest(),
            acting_role in digest(),
            approvers in proptest::collection::btree_set(digest(), 0..=APPROVERS_MAX),
            channel in any::<u32>(),
            reason in any::<u32>(),
            handle in digest(),
            organization_code in proptest::option::of(digest()),
        ) -> PrivateContent {
            PrivateContent {
                salt,
                acting_role,
                approvers: approvers.into_iter().collect(),
                channel,
                reason,
                handle,
                organization_code: organization_code.unwrap_or_default(),
                padding: Vec::new(),
            }
        }
    }

    fn one() -> PrivateContent {
        PrivateContent {
            salt: vec![1; 32],
            acting_role: vec![2; 32],
            approvers: vec![vec![3; 32], vec![4; 32]],
            channel: 5,
            reason: 6,
            handle: vec![7; 32],
            organization_code: vec![8; 32],
            padding: Vec::new(),
        }
    }

    fn refused(change: impl FnOnce(&mut PrivateContent), expected: PrivateContentError) {
        let mut content = one();
        change(&mut content);
        assert_eq!(check_private_content(&pad(content)), Err(expected));
    }

    proptest! {
        #[test]
        fn every_content_has_the_same_length_whatever_it_says(content in content()) {
            let padded = pad(content.clone());
            prop_assert_eq!(sillok_proto::encode(&padded).len(), PRIVATE_CONTENT_BYTES);
            prop_assert_eq!(check_private_content(&padded), Ok(()));
            prop_assert_eq!(pad(padded.clone()), padded.clone(), "padding again changes nothing");
            prop_assert_eq!(PrivateContent { padding: Vec::new(), ..padded }, content);
        }

        #[test]
        fn any_other_padding_is_another_length(content in content(), length in 0_usize..1000) {
            let padded = pad(content);
            prop_assume!(length != padded.padding.len());
            let other = PrivateContent { padding: vec![0; length], ..padded };
            let refused = matches!(check_private_content(&other), Err(PrivateContentError::Length { .. }));
            prop_assert!(refused);
        }
    }

    /// A handle of any length makes any room: all are filled but the two that no length can.
    #[test]
    fn padding_steps_over_the_second_byte_of_its_length() {
        let with_room = |room: usize| {
            let bare = PrivateContent { handle: vec![7; 300], ..PrivateContent::default() };
            let fixed = prost::Message::encoded_len(&bare);
            let handle = vec![7; 300 + PRIVATE_CONTENT_BYTES - fixed - room];
            PrivateContent { handle, ..bare }
        };
        for room in 0..=200 {
            let padded = pad(with_room(room));
            let fits = prost::Message::encoded_len(&padded) == PRIVATE_CONTENT_BYTES;
            assert_eq!(fits, !matches!(room, 1 | 2 | 130), "a room of {room} bytes");
        }
        assert_eq!(pad(with_room(129)).padding.len(), 127);
        assert_eq!(pad(with_room(131)).padding.len(), 128);
    }

    #[test]
    fn fields_have_32_bytes_and_only_the_organization_code_may_be_absent() {
        let length = |field, len| PrivateContentError::FieldLength { field, len };
        refused(|content| content.salt = vec![1; 31], length("salt", 31));
        refused(|content| content.acting_role = vec![], length("acting_role", 0));
        refused(|content| content.approvers[1] = vec![4; 33], length("approvers", 33));
        refused(|content| content.handle = vec![], length("handle", 0));
        refused(|content| content.organization_code = vec![8; 4], length("organization_code", 4));

        let absent = PrivateContent { organization_code: vec![], ..one() };
        assert_eq!(check_private_content(&pad(absent)), Ok(()));
        let alone = PrivateContent { approvers: vec![], channel: 0, reason: 0, ..one() };
        assert_eq!(check_private_content(&pad(alone)), Ok(()));
    }

    #[test]
    fn there_are_four_approvers_at_most_and_none_counts_twice() {
        let four: Vec<Vec<u8>> = (1..=4).map(|n| vec![n; 32]).collect();
        let five: Vec<Vec<u8>> = (1..=5).map(|n| vec![n; 32]).collect();
        let padded = pad(PrivateContent { approvers: four, ..one() });
        assert_eq!(check_private_content(&padded), Ok(()));
        refused(
            |content| content.approvers = five,
            PrivateContentError::TooManyApprovers { count: 5 },
        );
        refused(
            |content| content.approvers = vec![vec![3; 32], vec![3; 32]],
            PrivateContentError::ApproverOrder { index: 1 },
        );
        refused(
            |content| content.approvers.reverse(),
            PrivateContentError::ApproverOrder { index: 1 },
        );
    }

    #[test]
    fn padding_is_zero_and_carries_nothing() {
        let mut content = pad(one());
        assert_eq!(check_private_content(&content), Ok(()));
        content.padding[9] = 1;
        assert_eq!(check_private_content(&content), Err(PrivateContentError::Padding));
        content.padding = Vec::new();
        let len = prost::Message::encoded_len(&content);
        assert_eq!(check_private_content(&content), Err(PrivateContentError::Length { len }));
    }
}
