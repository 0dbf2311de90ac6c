//! A hash over everything that happens in a run, so that two runs of one seed can be told to be the same.
//!
//! It need not resist anybody; it has to be quick, for it sees every byte that travels.

use sillok_consensus::{Action, TimerId};
use sillok_ledger::header_hash;
use sillok_proto::{encode, v1};

/// A running hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl Trace {
    pub(super) const fn mix(&mut self, value: u64) -> &mut Self {
        self.0 = (self.0 ^ value).wrapping_mul(0x0100_0000_01B3).rotate_left(23);
        self
    }

    pub(super) fn mix_bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.mix(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_be_bytes(word));
        }
        self
    }

    fn mix_block(&mut self, block: &v1::Block) -> &mut Self {
        // The header names the transactions; what hangs on them beside it is mixed where it travels.
        let header = block.header.clone().unwrap_or_default();
        self.mix_bytes(&header_hash(&header).0).mix(block.transactions.len() as u64)
    }

    fn mix_timer(&mut self, id: &TimerId) -> &mut Self {
        self.mix_bytes(format!("{id:?}").as_bytes())
    }

    /// Which action, and every field of it.
    pub(super) fn mix_action(&mut self, action: &Action) -> &mut Self {
        self.mix_bytes(kind(action).as_bytes());
        match action {
            Action::ResetWal { height } | Action::AnnounceTip { height } => self.mix(*height),
            Action::Append(entry) => self.mix_bytes(&encode(entry)),
            Action::Sync | Action::Vouch => self,
            Action::Broadcast(message) => self.mix_bytes(&encode(message)),
            Action::SetTimer { id, after_ms } => self.mix_timer(id).mix(*after_ms),
            Action::CancelTimer { id } => self.mix_timer(id),
            Action::Build { height, round, within_ms } => {
                self.mix(*height).mix(u64::from(*round)).mix(*within_ms)
            }
            Action::Validate { request, block, certified } => self
                .mix_bytes(format!("{request:?}").as_bytes())
                .mix_block(block)
                .mix(u64::from(*certified)),
            Action::Decide { block, certificate, evidence } => {
                self.mix_block(block).mix_bytes(&encode(certificate));
                for one in evidence {
                    self.mix_bytes(&encode(one));
                }
                self
            }
            Action::RequestSync { peer, from_height, blocks_max } => {
                self.mix_bytes(&peer.0).mix(*from_height).mix(u64::from(*blocks_max))
            }
            Action::PeerFault { peer, reason } => {
                self.mix_bytes(&peer.0).mix_bytes(reason.to_string().as_bytes())
            }
            Action::BuildsDiffer { header_hash } => self.mix_bytes(&header_hash.0),
            Action::Disconnect { peer } => self.mix_bytes(&peer.0),
            Action::StopSigning { reason } => self.mix_bytes(reason.to_string().as_bytes()),
            Action::DestroyKey { last_height } => self.mix(*last_height),
            Action::Notice(notice) => self.mix_bytes(notice.to_string().as_bytes()),
            Action::Halt { reason } => self.mix_bytes(reason.to_string().as_bytes()),
        }
    }

    pub(super) const fn hash(self) -> u64 {
        self.0
    }
}

/// What an action is called.
pub(super) const fn kind(action: &Action) -> &'static str {
    match action {
        Action::ResetWal { .. } => "ResetWal",
        Action::Append(_) => "Append",
        Action::Sync => "Sync",
        Action::Broadcast(_) => "Broadcast",
        Action::AnnounceTip { .. } => "AnnounceTip",
        Action::SetTimer { .. } => "SetTimer",
        Action::CancelTimer { .. } => "CancelTimer",
        Action::Build { .. } => "Build",
        Action::Validate { .. } => "Validate",
        Action::BuildsDiffer { .. } => "BuildsDiffer",
        Action::Decide { .. } => "Decide",
        Action::RequestSync { .. } => "RequestSync",
        Action::Vouch => "Vouch",
        Action::PeerFault { .. } => "PeerFault",
        Action::Disconnect { .. } => "Disconnect",
        Action::StopSigning { .. } => "StopSigning",
        Action::DestroyKey { .. } => "DestroyKey",
        Action::Notice(_) => "Notice",
        Action::Halt { .. } => "Halt",
    }
}
