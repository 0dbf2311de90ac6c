//! Every message of the record has one encoding, and [`decode`] takes no other.

use crate::support::{Schema, Source, split, varint};
use proptest::prelude::*;
use sillok_proto::{CanonicalError, decode, encode, v1};
use std::collections::BTreeSet;

const BYTES_MAX: usize = 1 << 20;

/// Decodes as one message and encodes again.
type Again = fn(&[u8]) -> Result<Vec<u8>, CanonicalError>;

macro_rules! messages {
    ($($name:ident)*) => {
        [$((stringify!($name), (|bytes| {
            decode::<v1::$name>(bytes, BYTES_MAX).map(|message| encode(&message))
        }) as Again)),*]
    };
}

/// Every message of `record.proto`; a test holds the list complete.
const MESSAGES: &[(&str, Again)] = &messages![
    PublicKey KeySignature DidDocument BoundKey Service RecoveryRule Inception Operation CreateDid
    UpdateDid RecoveryChange SetDevice DeactivateDid TransactionBody Transaction PublicSignatures
    OperationSignatures AuthorStatement ApprovalStatement PrivateContent PrivateSignatures
    PrivateOperationSignatures Approval Head UsedKey Grant Period Operator Organization Observer
    Parameters Genesis GenesisOrganization Header Block ValidatorSet Validator VoteStatement
    ProposalStatement CommitCertificate CommitSignature SignedHeader LightBlock TrustBundle TreePath
    StateEntry StateProof LogPath Receipt HistoryProof Proposal Change RemoveOperator RemoveObserver Propose Approve
    Join Rekey Members OperatorRecord PendingKey ObserverRecord ProposalRecord GovernanceApproval Subtree SubtreeLeaf
    Accredit NewGrant Withdraw EndedGrant PublishType TypeVersion TypePolicy ReasonRule CreateList SetStatus
    SetEnrollment EnrollmentRequest ActingStatement GrantIndex GrantName CredentialType TypeVersionRecord StatusList
    StatusChunk EntryRecord EntryDates Enrollment Reservation EnrollmentEntries Usage ApprovedOperation
    ReadStatement ReadEntries ReadEnrollment ReadContents
];

#[test]
fn every_message_of_the_record_is_tested_here() {
    let tested: BTreeSet<&str> = MESSAGES.iter().map(|(name, _)| *name).collect();
    let schema = Schema::record();
    assert_eq!(tested, schema.messages.keys().map(String::as_str).collect());
}

/// A message and its canonical encoding, made from the schema and not by the code under test.
fn any_message() -> impl Strategy<Value = (&'static str, Again, Vec<u8>)> {
    let choices = proptest::collection::vec(any::<u8>(), 0..400);
    (0..MESSAGES.len(), choices).prop_map(|(index, choices)| {
        let (name, again) = MESSAGES[index];
        (name, again, Schema::record().encoding(name, &mut Source::new(choices)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn what_decodes_encodes_to_the_same_bytes((name, again, bytes) in any_message()) {
        prop_assert_eq!(again(&bytes), Ok(bytes), "{}", name);
    }

    #[test]
    fn an_unknown_field_is_refused(
        (name, again, mut bytes) in any_message(),
        number in 100_u64..100_000,
        wire_type in prop::sample::select(vec![0_u64, 1, 2, 3, 5]),
    ) {
        bytes.extend(varint((number << 3) | wire_type));
        bytes.extend(match wire_type {
            0 => vec![1],
            1 => vec![0; 8],
            2 => vec![2, 7, 7],
            3 => varint((number << 3) | 4),
            _ => vec![0; 4],
        });
        prop_assert_eq!(again(&bytes), Err(CanonicalError::NotCanonical), "{}", name);
    }

    #[test]
    fn trailing_and_missing_bytes_are_refused(
        (name, again, bytes) in any_message(),
        tail in proptest::collection::vec(any::<u8>(), 1..3),
        cut in any::<prop::sample::Index>(),
    ) {
        let zeros = [bytes.as_slice(), &[0]].concat();
        prop_assert!(again(&zeros).is_err(), "{}: field 0", name);
        // Whatever else is accepted is another message: its own encoding, never this message's.
        let longer = [bytes.as_slice(), &tail].concat();
        prop_assert!(again(&longer).is_err() || again(&longer) == Ok(longer), "{}", name);
        if !bytes.is_empty() {
            let shorter = &bytes[..cut.index(bytes.len())];
            prop_assert!(again(shorter).is_err() || again(shorter) == Ok(shorter.to_vec()), "{}", name);
        }
    }

    #[test]
    fn fields_out_of_order_are_refused(
        (name, again, bytes) in any_message(),
        first in any::<prop::sample::Index>(),
        second in any::<prop::sample::Index>(),
    ) {
        let mut fields = split(&bytes);
        if fields.is_empty() {
            return Ok(());
        }
        let (first, second) = (first.index(fields.len()), second.index(fields.len()));
        if fields[first].0 == fields[second].0 {
            return Ok(());
        }
        fields.swap(first, second);
        let swapped: Vec<u8> = fields.into_iter().flat_map(|(_, field)| field).collect();
        prop_assert!(again(&swapped).is_err(), "{}", name);
    }

    #[test]
    fn a_number_longer_than_it_need_be_is_refused(
        (name, again, bytes) in any_message(),
        which in any::<prop::sample::Index>(),
    ) {
        // The tag of a field is a number too: one byte for the fields of the record, none of which is above 15.
        let mut fields = split(&bytes);
        if fields.is_empty() {
            return Ok(());
        }
        let index = which.index(fields.len());
        let field = &mut fields[index].1;
        field.splice(0..1, [field[0] | 0x80, 0]);
        let longer: Vec<u8> = fields.into_iter().flat_map(|(_, field)| field).collect();
        prop_assert_eq!(again(&longer), Err(CanonicalError::NotCanonical), "{}", name);
    }

    #[test]
    fn an_explicit_default_is_refused((name, again, bytes) in any_message()) {
        let schema = Schema::record();
        let present: BTreeSet<u64> = split(&bytes).into_iter().map(|(number, _)| number).collect();
        for field in &schema.message(name).field {
            use prost_types::field_descriptor_proto::{Label, Type};
            let number = u64::try_from(field.number()).unwrap();
            let (wire_type, scalar) = match field.r#type() {
                Type::Message => continue,
                Type::Bytes | Type::String => (2, field.label() != Label::Repeated),
                Type::Enum if field.label() == Label::Repeated => (2, true),
                _ => (0, field.label() != Label::Repeated),
            };
            if !scalar || present.contains(&number) {
                continue;
            }
            let mut fields = split(&bytes);
            fields.push((number, [varint((number << 3) | wire_type), vec![0]].concat()));
            fields.sort_by_key(|(number, _)| *number);
            let explicit: Vec<u8> = fields.into_iter().flat_map(|(_, field)| field).collect();
            let refused = again(&explicit);
            prop_assert_eq!(refused, Err(CanonicalError::NotCanonical), "{}.{}", name, field.name());
        }
    }

    #[test]
    fn a_field_that_stands_twice_is_refused(
        (name, again, bytes) in any_message(),
        which in any::<prop::sample::Index>(),
    ) {
        use prost_types::field_descriptor_proto::{Label, Type};
        let mut fields = split(&bytes);
        if fields.is_empty() {
            return Ok(());
        }
        let index = which.index(fields.len());
        let twice = fields[index].clone();
        let schema = Schema::record();
        let message = schema.message(name);
        let field = message.field.iter().find(|one| u64::try_from(one.number()) == Ok(twice.0)).unwrap();
        if field.label() == Label::Repeated && field.r#type() != Type::Enum {
            return Ok(());
        }
        fields.insert(index, twice);
        let bytes: Vec<u8> = fields.into_iter().flat_map(|(_, field)| field).collect();
        prop_assert!(again(&bytes).is_err(), "{}.{}", name, field.name());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for (name, again) in MESSAGES {
            let result = again(&bytes);
            prop_assert!(result.is_err() || result == Ok(bytes.clone()), "{}", name);
        }
    }
}

#[test]
fn what_is_longer_than_allowed_is_not_decoded() {
    let bytes =
        encode(&v1::Period { from_ms: 1_000_000, until_ms: 2_000_000, ..v1::Period::default() });
    assert!(decode::<v1::Period>(&bytes, bytes.len()).is_ok());
    let (len, max) = (bytes.len(), bytes.len() - 1);
    assert_eq!(decode::<v1::Period>(&bytes, max), Err(CanonicalError::TooLong { len, max }));
}

#[test]
fn what_is_no_protobuf_of_the_type_is_malformed() {
    for bytes in [
        &[0x0a][..],                                                      // a length is missing
        &[0x0a, 5, 1],    // fewer bytes than the length says
        &[0x08, 1],       // a number where bytes are
        &[0x0a, 1, 0xff], // not UTF-8
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], // no end of the number
    ] {
        let refused = decode::<v1::Organization>(bytes, 100);
        assert!(matches!(refused, Err(CanonicalError::Malformed { .. })), "{bytes:?}: {refused:?}");
    }
}

/// The schema is at most 8 deep, so depth can only come in unknown fields: refused whatever is inside.
#[test]
fn deep_groups_in_an_unknown_field_are_refused_without_exhausting_the_stack() {
    let number = varint((100 << 3) | 3);
    let open: Vec<u8> = number.iter().copied().cycle().take(number.len() * 100_000).collect();
    assert!(decode::<v1::Block>(&open, BYTES_MAX).is_err());
    let nested: Vec<u8> = [number.repeat(50), varint((100 << 3) | 4).repeat(50)].concat();
    assert_eq!(decode::<v1::Block>(&nested, BYTES_MAX), Err(CanonicalError::NotCanonical));
}
