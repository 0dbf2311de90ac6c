//! Each way in which a certificate does not certify.

use crate::support::{GENESIS, TestChain, Validators, blake3_of, certify, validators};
use ed25519_dalek::Signer;
use sillok_ledger::certificate::{
    CertificateError, HeaderError, ValidatorSetError, check_header, check_validator_set,
    faulty_max, prevote_string, quorum, verify_certificate,
};
use sillok_proto::{Hash, v1};

fn four() -> Validators {
    validators(1..=4)
}

fn verify(signed: &v1::SignedHeader, set: &v1::ValidatorSet) -> Result<(), CertificateError> {
    let (header, certificate) =
        (signed.header.as_ref().unwrap(), signed.certificate.as_ref().unwrap());
    verify_certificate(&GENESIS, header, certificate, set)
}

fn changed(
    signed: &v1::SignedHeader,
    change: impl Fn(&mut v1::Header, &mut v1::CommitCertificate),
) -> CertificateError {
    let mut signed = signed.clone();
    change(signed.header.as_mut().unwrap(), signed.certificate.as_mut().unwrap());
    verify(&signed, &four().set).unwrap_err()
}

#[test]
fn a_quorum_is_more_than_two_thirds() {
    for n in 1..=128 {
        assert!(3 * quorum(n) > 2 * n && 3 * (quorum(n) - 1) <= 2 * n);
        assert!(n > 3 * faulty_max(n) && n <= 3 * (faulty_max(n) + 1));
    }
    assert_eq!([1, 2, 3, 4, 5, 6, 7, 10].map(quorum), [1, 2, 3, 3, 4, 5, 5, 7]);
}

#[test]
fn any_quorum_certifies_and_fewer_do_not() {
    let chain = TestChain::new(1, None, |_| four());
    let header = chain.header(1);
    for subset in 0_u32..16 {
        let signers: Vec<usize> = (0..4).filter(|index| subset & (1 << index) != 0).collect();
        let result = verify(&certify(&header, &four(), &signers), &four().set);
        if signers.len() >= 3 {
            result.unwrap();
        } else {
            let expected =
                CertificateError::NoQuorum { signatures: signers.len(), count: 4, quorum: 3 };
            assert_eq!(result.unwrap_err(), expected);
        }
    }
}

#[test]
fn each_rule_of_a_certificate_has_its_error() {
    let chain = TestChain::new(2, None, |_| four());
    let signed = chain.signed(2);
    verify(&signed, &four().set).unwrap();

    assert!(matches!(
        changed(&signed, |header, _| header.time_ms += 1),
        CertificateError::WrongHeader { .. }
    ));
    assert_eq!(
        changed(&signed, |_, certificate| certificate.height = 1),
        CertificateError::WrongHeight { certificate: 1, header: 2 }
    );
    assert!(matches!(
        changed(&signed, |header, _| header.validator_set_hash = vec![9; 32]),
        CertificateError::WrongValidatorSet { .. }
    ));
    assert_eq!(
        changed(&signed, |_, certificate| certificate.signatures[2].validator = 4),
        CertificateError::UnknownValidator { validator: 4, count: 4 }
    );
    assert_eq!(
        changed(&signed, |_, certificate| certificate.signatures[1].validator = 0),
        CertificateError::Order { validator: 0 }
    );
    assert_eq!(
        changed(&signed, |_, certificate| certificate.signatures.swap(0, 1)),
        CertificateError::Order { validator: 0 }
    );
    assert!(matches!(
        changed(&signed, |_, certificate| certificate.round = 0),
        CertificateError::Signature { validator: 0, .. }
    ));
    assert!(matches!(
        changed(&signed, |_, certificate| certificate.signatures[1].signature.truncate(63)),
        CertificateError::Signature { validator: 1, .. }
    ));
    // A quorum of good ones does not carry a false one.
    let all = certify(&chain.header(2), &four(), &[0, 1, 2, 3]);
    verify(&all, &four().set).unwrap();
    assert!(matches!(
        changed(&all, |_, certificate| certificate.signatures[3].signature[40] ^= 1),
        CertificateError::Signature { validator: 3, .. }
    ));
}

#[test]
fn prevotes_do_not_certify() {
    let chain = TestChain::new(1, None, |_| four());
    let mut signed = chain.signed(1);
    let certificate = signed.certificate.as_mut().unwrap();
    let statement = v1::VoteStatement {
        height: 1,
        round: certificate.round,
        header_hash: certificate.header_hash.clone(),
    };
    let message = prevote_string(&GENESIS, &statement);
    for (signature, key) in certificate.signatures.iter_mut().zip(&four().keys) {
        signature.signature = key.sign(&message).to_bytes().to_vec();
    }
    assert!(matches!(
        verify(&signed, &four().set).unwrap_err(),
        CertificateError::Signature { validator: 0, .. }
    ));
}

#[test]
fn b4_no_changed_byte_of_a_signed_header_verifies() {
    let chain = TestChain::new(1, None, |_| four());
    let signed = chain.signed(1);
    let bytes = sillok_proto::encode(&signed);
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let Ok(forged) = sillok_proto::decode::<v1::SignedHeader>(&bytes, bytes.len()) else {
            continue;
        };
        let result =
            sillok_ledger::certificate::verify_signed_header(&GENESIS, Some(&forged), &four().set);
        assert!(result.is_err(), "byte {at}");
    }
}

#[test]
fn genesis_has_no_certificate() {
    let chain = TestChain::new(1, None, |_| four());
    let signed = certify(&chain.header(0), &four(), &[0, 1, 2]);
    assert_eq!(verify(&signed, &four().set).unwrap_err(), CertificateError::Genesis);
}

#[test]
fn each_rule_of_a_header_has_its_error() {
    let header = TestChain::new(1, None, |_| four()).header(1);
    check_header(&GENESIS, &header).unwrap();
    let refuse = |change: &dyn Fn(&mut v1::Header)| {
        let mut header = header.clone();
        change(&mut header);
        check_header(&GENESIS, &header).unwrap_err()
    };
    assert_eq!(refuse(&|header| header.protocol_version = 2), HeaderError::Version { version: 2 });
    assert!(matches!(
        refuse(&|header| header.genesis_hash = vec![1; 32]),
        HeaderError::WrongNetwork { .. }
    ));
    assert!(matches!(
        check_header(&Hash([1; 32]), &header).unwrap_err(),
        HeaderError::WrongNetwork { .. }
    ));
    let field = |field| HeaderError::FieldLength { field, len: 0, expected: 32 };
    assert_eq!(refuse(&|header| header.parent_hash.clear()), field("parent_hash"));
    assert_eq!(refuse(&|header| header.transactions_root.clear()), field("transactions_root"));
    assert_eq!(refuse(&|header| header.state_root.clear()), field("state_root"));
    assert_eq!(refuse(&|header| header.history_root.clear()), field("history_root"));
    assert_eq!(refuse(&|header| header.validator_set_hash.clear()), field("validator_set_hash"));
    assert_eq!(
        refuse(&|header| header.next_validator_set_hash.clear()),
        field("next_validator_set_hash")
    );
    assert_eq!(refuse(&|header| header.proposer.clear()), field("proposer"));
    assert_eq!(
        refuse(&|header| header.height = 0),
        HeaderError::FieldLength { field: "proposer", len: 32, expected: 0 }
    );
}

#[test]
fn each_rule_of_a_validator_set_has_its_error() {
    let four = four().set;
    check_validator_set(&four).unwrap();
    let refuse = |change: &dyn Fn(&mut Vec<v1::Validator>)| {
        let mut set = four.clone();
        change(&mut set.validators);
        check_validator_set(&set).unwrap_err()
    };
    assert_eq!(refuse(&Vec::clear), ValidatorSetError::Count { count: 0 });
    let many = |set: &mut Vec<v1::Validator>| {
        *set = (0..129_u8)
            .map(|n| v1::Validator {
                public_key: vec![n; 32],
                organization: blake3_of(&[n]),
                since_height: 0,
            })
            .collect();
    };
    assert_eq!(refuse(&many), ValidatorSetError::Count { count: 129 });
    assert_eq!(
        refuse(&|set| set[1].public_key.push(0)),
        ValidatorSetError::KeyLength { index: 1, len: 33 }
    );
    assert_eq!(
        refuse(&|set| set[1].organization.clear()),
        ValidatorSetError::OrganizationLength { index: 1, len: 0 }
    );
    assert_eq!(refuse(&|set| set.swap(1, 2)), ValidatorSetError::Order { index: 2 });
    assert_eq!(refuse(&|set| set[3] = set[2].clone()), ValidatorSetError::Order { index: 3 });
}
