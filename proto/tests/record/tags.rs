//! Tags: one for each meaning, so that no byte string can stand for another (PROTOCOL §1.2).

use sillok_proto::{Hash, Tag, v1};
use std::collections::BTreeSet;

#[test]
fn no_tag_is_another_or_the_beginning_of_another_up_to_its_zero_byte() {
    let texts: BTreeSet<&str> = Tag::ALL.iter().map(|tag| tag.as_str()).collect();
    assert_eq!(texts.len(), Tag::ALL.len());
    for text in texts {
        assert!(text.starts_with("sillok/v1/"), "{text}");
        assert!(text.bytes().all(|byte| byte.is_ascii_lowercase() || b"/-1".contains(&byte)));
        assert!(!text.contains('\0'));
    }
    let mut sorted = Tag::ALL;
    sorted.sort();
    assert_eq!(sorted, Tag::ALL, "every tag, in the order of the enum");
}

/// `s` is 0x73: field 14 as a group, which no message of ours has. So a bare message is no tagged string.
#[test]
fn a_tagged_string_is_no_message() {
    let string = Tag::SignSubmit.signed_string(&Hash([1; 32]), &[2; 32]);
    assert!(sillok_proto::decode::<v1::Header>(&string, 1000).is_err());
    assert!(sillok_proto::decode::<v1::TransactionBody>(&string, 1000).is_err());
}

#[test]
fn a_hash_is_of_tag_zero_byte_and_parts() {
    let (genesis, message) = (Hash([7; 32]), v1::Period { from_ms: 1, ..v1::Period::default() });
    let tagged = |parts: &[&[u8]]| {
        let bytes = [b"sillok/v1/operation\0".as_slice(), &parts.concat()].concat();
        Hash(blake3::hash(&bytes).into())
    };
    assert_eq!(Tag::Operation.hash(&[]), tagged(&[]));
    assert_eq!(Tag::Operation.hash(&[b"a", b"bc"]), tagged(&[b"abc"]));
    assert_eq!(Tag::Operation.hash_message(&message), tagged(&[&[8, 1]]));
    assert_eq!(Tag::Operation.hash_message_in(&genesis, &message), tagged(&[&genesis.0, &[8, 1]]));
    let signed = [b"sillok/v1/sign/author\0".as_slice(), &genesis.0, &[8, 1]].concat();
    assert_eq!(Tag::SignAuthor.signed_string(&genesis, &[8, 1]), signed);
}
