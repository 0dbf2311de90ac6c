//! The two forms of a message say the same, and bytes from strangers cannot do more than be refused.

use super::*;
use proptest::prelude::*;
use sillok_proto::encode;

fn block(time_ms: u64) -> v1::Block {
    let header = v1::Header { height: 7, time_ms, ..v1::Header::default() };
    v1::Block { header: Some(header), transactions: Vec::new() }
}

fn any_vote() -> impl Strategy<Value = v1::SignedVote> {
    let header = proptest::option::of(any::<[u8; 32]>());
    let numbers = (any::<u64>(), 0..=ROUND_MAX, any::<bool>());
    (numbers, header, any::<[u8; 32]>(), any::<[u8; 64]>()).prop_map(
        |((height, round, prevote), header, validator, signature)| v1::SignedVote {
            r#type: if prevote { 1 } else { 2 },
            statement: Some(v1::VoteStatement {
                height,
                round,
                header_hash: header.map_or(Vec::new(), |header| header.to_vec()),
            }),
            validator: validator.to_vec(),
            signature: signature.to_vec(),
        },
    )
}

fn any_proposal() -> impl Strategy<Value = v1::SignedProposal> {
    let numbers = (1..=ROUND_MAX, 0..=1_u32, any::<u64>());
    (numbers, any::<[u8; 32]>(), any::<[u8; 64]>()).prop_map(
        |((round, pol_round, time_ms), validator, signature)| {
            let block = block(time_ms);
            v1::SignedProposal {
                statement: Some(v1::ProposalStatement {
                    height: 7,
                    round,
                    header_hash: header_hash(block.header.as_ref().unwrap()).to_vec(),
                    pol_round,
                }),
                validator: validator.to_vec(),
                signature: signature.to_vec(),
                block: Some(block),
            }
        },
    )
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let timeout = (1..=3_i32, 0..=ROUND_MAX)
        .prop_map(|(kind, round)| Entry::Timeout(v1::TimeoutElapsed { kind, round }));
    let value = (0..=ROUND_MAX, 0..=ROUND_MAX, any::<[u8; 32]>(), any::<bool>(), any::<u64>())
        .prop_map(|(round, valid_round, proposer, synced, time_ms)| {
            Entry::ProposedValue(v1::ProposedValue {
                round,
                valid_round,
                proposer: proposer.to_vec(),
                valid: true,
                block: Some(block(time_ms)),
                synced,
            })
        });
    let polka = proptest::collection::vec(any_vote(), 0..5).prop_map(|votes| {
        let signature = |vote: v1::SignedVote| v1::ValidatorSignature {
            validator: vote.validator,
            signature: vote.signature,
        };
        Entry::PolkaCertificate(v1::PolkaCertificate {
            height: 7,
            round: 3,
            header_hash: vec![5; 32],
            signatures: votes.into_iter().map(signature).collect(),
        })
    });
    prop_oneof![
        any_vote().prop_map(|mut vote| {
            vote.statement.as_mut().unwrap().height = 7;
            Entry::Vote(vote)
        }),
        any_proposal().prop_map(Entry::Proposal),
        timeout,
        value,
        polka,
    ]
}

proptest! {
    #[test]
    fn a_vote_says_the_same_in_both_forms(vote in any_vote()) {
        prop_assert_eq!(vote_to(&vote_from(&vote).unwrap()), vote);
    }

    #[test]
    fn a_refusal_says_the_same_in_both_forms(mut vote in any_vote()) {
        vote.statement.as_mut().unwrap().header_hash.resize(32, 1);
        let v1::SignedVote { statement, validator, signature, .. } = vote;
        let refusal = v1::SignedRefusal { statement, validator, signature };
        prop_assert_eq!(refusal_to(&refusal_from(&refusal).unwrap()), refusal);
    }

    #[test]
    fn a_proposal_says_the_same_in_both_forms(proposal in any_proposal()) {
        prop_assert_eq!(proposal_to(&proposal_from(proposal.clone()).unwrap()), proposal);
    }

    #[test]
    fn an_entry_of_the_record_is_read_as_it_was_written(entry in any_entry()) {
        let entry = v1::WalEntry { height: 7, entry: Some(entry) };
        let bytes = encode(&entry);
        let read = decode_entry(&bytes, 1_000).unwrap();
        prop_assert_eq!(&read, &entry);
        let input = entry_from(&read).unwrap().unwrap();
        prop_assert_eq!(entry_to(7, &input), Some(entry));
    }

    #[test]
    fn a_cut_entry_is_not_an_entry(entry in any_entry(), cut in any::<proptest::sample::Index>()) {
        let bytes = encode(&v1::WalEntry { height: 7, entry: Some(entry) });
        let len = cut.index(bytes.len());
        // A cut may leave a canonical message: then it lacks something, and is refused as that.
        if let Ok(read) = decode_entry(&bytes[..len], 1_000) {
            prop_assert!(len < bytes.len());
            let _ = entry_from(&read);
        }
    }

    #[test]
    fn rubbish_is_refused_and_nothing_more(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(message) = decode_message(&bytes, 1_000) {
            match message.message {
                Some(Message::Vote(vote)) => drop(vote_from(&vote)),
                Some(Message::Proposal(proposal)) => drop(proposal_from(proposal)),
                Some(Message::PolkaCertificate(certificate)) => drop(polka_from(&certificate, 4)),
                Some(Message::RoundCertificate(certificate)) => {
                    drop(round_certificate_from(&certificate, 4));
                }
                Some(Message::Refusal(refusal)) => drop(refusal_from(&refusal)),
                None => {}
            }
        }
    }
}

#[test]
fn a_message_longer_than_any_block_is_not_decoded() {
    let bytes = vec![0; MESSAGE_OVERHEAD_BYTES + 11];
    assert!(matches!(decode_message(&bytes, 10), Err(CanonicalError::TooLong { .. })));
}
