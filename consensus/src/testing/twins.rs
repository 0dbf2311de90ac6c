//! Twins: two machines with one key, each an ordinary host, each heard by another part of the network in each round.
//!
//! The simplest honest-looking traitor there is: an operator that restored a backup beside the running machine. Who hears
//! which twin is drawn anew for every round, so that every way of splitting the network comes up.

use super::random::Random;
use sillok_proto::v1;
use sillok_proto::v1::consensus_message::Message;

/// Which of the two twins (0 or 1) `node` hears, and is heard by, at a height and round.
#[must_use]
pub fn twin_heard(seed: u64, height: u64, round: u32, node: usize) -> usize {
    let draw = seed ^ height.rotate_left(24) ^ u64::from(round).rotate_left(48);
    (Random::new(draw).next_u64() >> (node % 64) & 1) as usize
}

/// Height and round of a message.
#[must_use]
pub fn height_and_round(message: &v1::ConsensusMessage) -> (u64, u32) {
    match &message.message {
        Some(Message::Vote(vote)) => {
            vote.statement.as_ref().map_or((0, 0), |statement| (statement.height, statement.round))
        }
        Some(Message::Proposal(proposal)) => proposal
            .statement
            .as_ref()
            .map_or((0, 0), |statement| (statement.height, statement.round)),
        Some(Message::PolkaCertificate(certificate)) => (certificate.height, certificate.round),
        Some(Message::RoundCertificate(certificate)) => (certificate.height, certificate.round),
        Some(Message::Refusal(refusal)) => refusal
            .statement
            .as_ref()
            .map_or((0, 0), |statement| (statement.height, statement.round)),
        None => (0, 0),
    }
}
