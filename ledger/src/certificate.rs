//! Headers, validator sets, and what certifies a header: commit certificates (PROTOCOL §6.2).
//!
//! The strings that validators sign are made here and nowhere else, so that voting and verifying cannot differ.
//! Deliberately absent: rounds, locks and votes being collected (they are the consensus crate's), and which set is in
//! force at a height (the chain knows by executing, a client by [`crate::light`]).

use sillok_did_method::{SignatureError, verify_ed25519};
use sillok_proto::{Hash, Tag, encode, v1};

/// The protocol version whose headers are understood here.
pub const PROTOCOL_VERSION: u32 = 1;
/// Most validators of a set.
pub const VALIDATORS_MAX: usize = 128;

/// Why a validator set is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValidatorSetError {
    /// None, or more than [`VALIDATORS_MAX`].
    #[error("the set has {count} validators; a set has 1 to {VALIDATORS_MAX}")]
    Count {
        /// How many.
        count: usize,
    },
    /// A public key is not 32 bytes.
    #[error(
        "the public key of validator {index} has {len} bytes; give the 32 bytes of an Ed25519 key"
    )]
    KeyLength {
        /// Index in the set.
        index: usize,
        /// Its length.
        len: usize,
    },
    /// An organization is not 32 bytes.
    #[error(
        "the organization of validator {index} has {len} bytes; give the 32-byte digest of its DID"
    )]
    OrganizationLength {
        /// Index in the set.
        index: usize,
        /// Its length.
        len: usize,
    },
    /// Not strictly ascending by key.
    #[error(
        "validator {index} does not follow its neighbour; sort the set by public key, no key twice"
    )]
    Order {
        /// Index in the set.
        index: usize,
    },
}

/// Why a header is refused by itself, whoever certified it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Absent.
    #[error("the answer has no header; ask another node")]
    Missing,
    /// A protocol version this code does not know.
    #[error(
        "the header is of protocol version {version}, this software knows {PROTOCOL_VERSION}; install a newer release"
    )]
    Version {
        /// The version in the header.
        version: u32,
    },
    /// The header of another network.
    #[error(
        "the header belongs to network {found}, not to {expected}; check the genesis and the address"
    )]
    WrongNetwork {
        /// Genesis hash in the header, in hex.
        found: String,
        /// Genesis hash trusted.
        expected: Hash,
    },
    /// A field has the wrong length.
    #[error("header field {field} has {len} bytes, not {expected}; ask another node")]
    FieldLength {
        /// Name of the field.
        field: &'static str,
        /// Its length.
        len: usize,
        /// The length it must have.
        expected: usize,
    },
}

/// Why a certificate does not certify a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The header itself.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The validator set itself.
    #[error(transparent)]
    ValidatorSet(#[from] ValidatorSetError),
    /// Absent.
    #[error("the header has no certificate; ask another node")]
    Missing,
    /// Height 0 is genesis; nobody certifies it.
    #[error("the header of height 0 has no certificate; take genesis as the checkpoint instead")]
    Genesis,
    /// The header names another set than the one trusted for its height.
    #[error(
        "the header names validator set {found}, but {expected} is in force; fetch the trust bundle"
    )]
    WrongValidatorSet {
        /// Set hash in the header.
        found: Hash,
        /// Hash of the set trusted.
        expected: Hash,
    },
    /// The certificate is for another height.
    #[error(
        "the certificate is for height {certificate}, the header has height {header}; ask another node"
    )]
    WrongHeight {
        /// Height of the certificate.
        certificate: u64,
        /// Height of the header.
        header: u64,
    },
    /// The certificate is for another header.
    #[error("the certificate is for another header than {header_hash}; ask another node")]
    WrongHeader {
        /// Hash of the header.
        header_hash: Hash,
    },
    /// A signature names a validator beyond the set.
    #[error("a signature names validator {validator} of a set of {count}; ask another node")]
    UnknownValidator {
        /// Index named.
        validator: u32,
        /// Size of the set.
        count: usize,
    },
    /// Signatures out of order, or a validator twice.
    #[error(
        "the signature of validator {validator} does not follow the one before it; ask another node"
    )]
    Order {
        /// Index named.
        validator: u32,
    },
    /// Too few signatures.
    #[error("{signatures} of {count} validators signed, {quorum} must; ask another node")]
    NoQuorum {
        /// Signatures present.
        signatures: usize,
        /// Size of the set.
        count: usize,
        /// Signatures needed.
        quorum: usize,
    },
    /// A signature does not verify.
    #[error("the signature of validator {validator} does not hold ({source}); ask another node")]
    Signature {
        /// Index of the validator.
        validator: u32,
        /// What the verifier says.
        source: SignatureError,
    },
}

/// `H(header, header)`.
#[must_use]
pub fn header_hash(header: &v1::Header) -> Hash {
    Tag::Header.hash_message(header)
}

/// `H(validator-set, set)`.
#[must_use]
pub fn validator_set_hash(set: &v1::ValidatorSet) -> Hash {
    Tag::ValidatorSet.hash_message(set)
}

/// How many of `n` validators must sign: more than two thirds.
#[must_use]
#[allow(clippy::arithmetic_side_effects, reason = "a set has at most 128 validators")]
pub const fn quorum(n: usize) -> usize {
    n * 2 / 3 + 1
}

/// How many of `n` validators may lie without harm: less than a third.
#[must_use]
pub const fn faulty_max(n: usize) -> usize {
    n.saturating_sub(1) / 3
}

/// Checks the form of a set: 1 to [`VALIDATORS_MAX`] validators, lengths, strictly ascending by key.
///
/// # Errors
///
/// [`ValidatorSetError`], one variant for each rule.
pub fn check_validator_set(set: &v1::ValidatorSet) -> Result<(), ValidatorSetError> {
    let count = set.validators.len();
    if count == 0 || count > VALIDATORS_MAX {
        return Err(ValidatorSetError::Count { count });
    }
    let mut previous: Option<&[u8]> = None;
    for (index, validator) in set.validators.iter().enumerate() {
        if validator.public_key.len() != 32 {
            return Err(ValidatorSetError::KeyLength { index, len: validator.public_key.len() });
        }
        if validator.organization.len() != 32 {
            let len = validator.organization.len();
            return Err(ValidatorSetError::OrganizationLength { index, len });
        }
        if previous.is_some_and(|previous| previous >= validator.public_key.as_slice()) {
            return Err(ValidatorSetError::Order { index });
        }
        previous = Some(&validator.public_key);
    }
    Ok(())
}

/// Checks what a header shows by itself: version, network, lengths of its fields.
///
/// # Errors
///
/// [`HeaderError`], one variant for each rule.
pub fn check_header(genesis_hash: &Hash, header: &v1::Header) -> Result<(), HeaderError> {
    if header.protocol_version != PROTOCOL_VERSION {
        return Err(HeaderError::Version { version: header.protocol_version });
    }
    if header.genesis_hash != genesis_hash.0 {
        return Err(HeaderError::WrongNetwork {
            // At most 32 bytes of it: a peer chooses the length.
            found: hex::encode(header.genesis_hash.get(..32).unwrap_or(&header.genesis_hash)),
            expected: *genesis_hash,
        });
    }
    let proposer = if header.height == 0 { 0 } else { 32 };
    for (field, bytes, expected) in [
        ("parent_hash", &header.parent_hash, 32),
        ("transactions_root", &header.transactions_root, 32),
        ("state_root", &header.state_root, 32),
        ("history_root", &header.history_root, 32),
        ("validator_set_hash", &header.validator_set_hash, 32),
        ("next_validator_set_hash", &header.next_validator_set_hash, 32),
        ("proposer", &header.proposer, proposer),
    ] {
        if bytes.len() != expected {
            return Err(HeaderError::FieldLength { field, len: bytes.len(), expected });
        }
    }
    Ok(())
}

/// The string of a prevote.
#[must_use]
pub fn prevote_string(genesis_hash: &Hash, statement: &v1::VoteStatement) -> Vec<u8> {
    Tag::SignPrevote.signed_string(genesis_hash, &encode(statement))
}

/// The string of a precommit.
#[must_use]
pub fn precommit_string(genesis_hash: &Hash, statement: &v1::VoteStatement) -> Vec<u8> {
    Tag::SignPrecommit.signed_string(genesis_hash, &encode(statement))
}

/// The string of a proposal.
#[must_use]
pub fn proposal_string(genesis_hash: &Hash, statement: &v1::ProposalStatement) -> Vec<u8> {
    Tag::SignProposal.signed_string(genesis_hash, &encode(statement))
}

/// The string of a refusal.
#[must_use]
pub fn refusal_string(genesis_hash: &Hash, statement: &v1::VoteStatement) -> Vec<u8> {
    Tag::SignRefusal.signed_string(genesis_hash, &encode(statement))
}

/// Checks that more than two thirds of `set` precommitted to `header`, and that `set` is the one it names.
///
/// Every signature present must hold, not only enough of them: a certificate with a false signature is nobody's honest
/// work. The caller knows that `set` is the set of the header's height.
///
/// # Errors
///
/// [`CertificateError`], one variant for each rule. Signatures are looked at last, so that nonsense costs little.
pub fn verify_certificate(
    genesis_hash: &Hash,
    header: &v1::Header,
    certificate: &v1::CommitCertificate,
    set: &v1::ValidatorSet,
) -> Result<(), CertificateError> {
    check_header(genesis_hash, header)?;
    check_validator_set(set)?;
    if header.height == 0 {
        return Err(CertificateError::Genesis);
    }
    let expected = validator_set_hash(set);
    let found = Hash::from_slice(&header.validator_set_hash).unwrap_or_default();
    if found != expected {
        return Err(CertificateError::WrongValidatorSet { found, expected });
    }
    if certificate.height != header.height {
        return Err(CertificateError::WrongHeight {
            certificate: certificate.height,
            header: header.height,
        });
    }
    let header_hash = header_hash(header);
    if certificate.header_hash != header_hash.0 {
        return Err(CertificateError::WrongHeader { header_hash });
    }

    let count = set.validators.len();
    let mut signers = Vec::with_capacity(count.min(certificate.signatures.len()));
    let mut previous: Option<u32> = None;
    for v1::CommitSignature { validator, signature } in &certificate.signatures {
        let validator = *validator;
        let Some(member) =
            usize::try_from(validator).ok().and_then(|index| set.validators.get(index))
        else {
            return Err(CertificateError::UnknownValidator { validator, count });
        };
        if previous.is_some_and(|previous| previous >= validator) {
            return Err(CertificateError::Order { validator });
        }
        previous = Some(validator);
        signers.push((validator, member, signature));
    }
    let quorum = quorum(count);
    if signers.len() < quorum {
        return Err(CertificateError::NoQuorum { signatures: signers.len(), count, quorum });
    }

    let statement = v1::VoteStatement {
        height: certificate.height,
        round: certificate.round,
        header_hash: certificate.header_hash.clone(),
    };
    let message = precommit_string(genesis_hash, &statement);
    for (validator, member, signature) in signers {
        // The verifier refuses signatures that are not 64 bytes (PROTOCOL §1.3 lives in one place).
        verify_ed25519(&member.public_key, &message, signature)
            .map_err(|source| CertificateError::Signature { validator, source })?;
    }
    Ok(())
}

/// [`verify_certificate`] of a header with its certificate, both of which may be absent in a message.
///
/// # Errors
///
/// [`CertificateError`], one variant for each rule.
pub fn verify_signed_header<'a>(
    genesis_hash: &Hash,
    signed: Option<&'a v1::SignedHeader>,
    set: &v1::ValidatorSet,
) -> Result<&'a v1::Header, CertificateError> {
    let header = signed.and_then(|signed| signed.header.as_ref()).ok_or(HeaderError::Missing)?;
    let certificate =
        signed.and_then(|signed| signed.certificate.as_ref()).ok_or(CertificateError::Missing)?;
    verify_certificate(genesis_hash, header, certificate, set)?;
    Ok(header)
}
