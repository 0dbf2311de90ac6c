//! When a question is about: now, after an earlier block, or at a time; and the states that answer it.
//!
//! Each answer is tied to a certified header that is checked like any other. Older headers follow from it by its history
//! root, so no certificate of the past counts, and of no node's word what was in force at a time.

use super::{Answer, Verifier, VerifyError};
use sillok_ledger::StateFault;
use sillok_ledger::answer::{ProvedView, Recorder};
use sillok_ledger::proof::{self, VerifiedHeader, VerifiedState};
use sillok_ledger::{StateView, TreeKey};
use sillok_proto::v1;

/// The moment a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Moment {
    /// Now: the tip.
    #[default]
    Tip,
    /// After the block of this height.
    Height(u64),
    /// At this ledger time, in milliseconds.
    Time {
        /// The time.
        time_ms: u64,
        /// By what was known after the block of this height; `None` is what is known now.
        known_at: Option<u64>,
    },
}

impl Moment {
    /// As it is asked for.
    #[must_use]
    pub fn to_message(self) -> Option<v1::Moment> {
        let moment = match self {
            Self::Tip => return None,
            Self::Height(height) => v1::moment::Moment::Height(height),
            Self::Time { time_ms, known_at } => {
                v1::moment::Moment::Time(v1::KnownTime { time_ms, known_at })
            }
        };
        Some(v1::Moment { moment: Some(moment) })
    }

    const fn height(self) -> Option<u64> {
        match self {
            Self::Tip => None,
            Self::Height(height) => Some(height),
            Self::Time { known_at, .. } => known_at,
        }
    }

    /// The ledger time it is about, where what is known is known after this header.
    pub(super) fn time_ms(self, known: &VerifiedHeader) -> u64 {
        match self {
            Self::Tip | Self::Height(_) => known.time_ms(),
            Self::Time { time_ms, .. } => time_ms,
        }
    }
}

/// Leaves of one state, and the entries that they came in.
pub(super) struct Leaves<'m> {
    pub(super) state: VerifiedState,
    entries: &'m [v1::StateEntry],
}

impl Leaves<'_> {
    /// The header whose state it is.
    pub(super) const fn header(&self) -> &VerifiedHeader {
        self.state.header()
    }

    /// Runs a question on these leaves alone. They must be the very ones that it reads, in its order.
    pub(super) fn ask<T>(
        &self,
        question: impl Fn(&Recorder<'_, ProvedView<'_>>) -> Result<T, StateFault>,
    ) -> Result<T, VerifyError> {
        let view = ProvedView::new(&self.state);
        let recorder = Recorder::new(&view);
        let answer = question(&recorder);
        let keys = recorder.into_keys();
        if view.is_withheld() {
            return Err(VerifyError::LeafWithheld { position: keys.len().saturating_sub(1) });
        }
        self.exactly(&keys)?;
        answer.map_err(|fault| VerifyError::Contradiction { reason: fault.reason })
    }

    /// The entries are those of `keys`, in this order.
    fn exactly(&self, keys: &[TreeKey]) -> Result<(), VerifyError> {
        for (position, key) in keys.iter().enumerate() {
            match self.entries.get(position) {
                None => return Err(VerifyError::LeafWithheld { position }),
                Some(entry) if entry.key != key.0 => {
                    return Err(VerifyError::WrongLeaf { position });
                }
                Some(_) => {}
            }
        }
        if self.entries.len() > keys.len() {
            return Err(VerifyError::LeafUnasked { position: keys.len() });
        }
        Ok(())
    }
}

/// The states that answer a question.
pub(super) struct States<'m> {
    /// What is known.
    pub(super) known: Leaves<'m>,
    /// What was so at the time asked about, where that was asked for.
    pub(super) then: Option<Leaves<'m>>,
}

impl Verifier<'_> {
    /// The leaves of an answer about the present.
    pub(super) fn present<'m>(
        &self,
        proof: &'m v1::StateProof,
    ) -> Result<(Leaves<'m>, Answer<()>), VerifyError> {
        let (state, answer) = self.proved(Some(proof))?;
        Ok((Leaves { state, entries: &proof.entries }, answer))
    }

    /// The states of an answer about a moment, each proved from the certified header in it. With `then`, a time calls
    /// for the state of that time too.
    pub(super) fn states<'m>(
        &self,
        moment: Moment,
        then: bool,
        answer: &'m v1::StateAnswer,
    ) -> Result<(States<'m>, Answer<()>), VerifyError> {
        let proof = answer.proof.as_ref().ok_or(VerifyError::NoProof)?;
        let (at_tip, certified) = self.present(proof)?;
        let tip = at_tip.header().clone();
        let known = match moment.height().filter(|height| *height != tip.height()) {
            None => {
                refuse_unasked("an earlier state", answer.known.is_some())?;
                at_tip
            }
            Some(asked) => {
                refuse_unasked("the present state", !proof.entries.is_empty())?;
                let past = answer
                    .known
                    .as_ref()
                    .ok_or(VerifyError::PastMissing { what: "the state asked for" })?;
                refuse_unasked("a later header", past.next.is_some())?;
                let header = self.ancestor(&tip, past.header.as_ref())?;
                if header.height() != asked {
                    let height = header.height();
                    return Err(VerifyError::NotTheHeightAsked { height, asked });
                }
                leaves(header, past)?
            }
        };
        if let Moment::Time { time_ms, .. } = moment
            && time_ms > known.header().time_ms()
        {
            let known_ms = known.header().time_ms();
            return Err(VerifyError::TimeToCome { time_ms, known_ms });
        }
        let then = match moment {
            Moment::Time { time_ms, .. } if then => {
                let past = answer
                    .then
                    .as_ref()
                    .ok_or(VerifyError::PastMissing { what: "the state of the time asked for" })?;
                Some(self.in_force(time_ms, &tip, known.header(), past)?)
            }
            _ => {
                refuse_unasked("the state of a time", answer.then.is_some())?;
                None
            }
        };
        Ok((States { known, then }, certified))
    }

    /// The state after the last block up to a time, as the one after it shows.
    fn in_force<'m>(
        &self,
        time_ms: u64,
        tip: &VerifiedHeader,
        known: &VerifiedHeader,
        past: &'m v1::PastState,
    ) -> Result<Leaves<'m>, VerifyError> {
        let header = self.ancestor(tip, past.header.as_ref())?;
        let height = header.height();
        let not_in_force = VerifyError::NotInForce { height, time_ms };
        if header.time_ms() > time_ms || height > known.height() {
            return Err(not_in_force);
        }
        if height == known.height() {
            refuse_unasked("a later header", past.next.is_some())?;
        } else {
            let next = past.next.as_ref();
            let missing = VerifyError::PastMissing { what: "the header after the time asked for" };
            let next = self.ancestor(tip, Some(next.ok_or(missing)?))?;
            if next.height() != height.saturating_add(1) || next.time_ms() <= time_ms {
                return Err(not_in_force);
            }
        }
        leaves(header, past)
    }

    /// A header that the certified one proves, or the certified one itself.
    fn ancestor(
        &self,
        tip: &VerifiedHeader,
        ancestor: Option<&v1::Ancestor>,
    ) -> Result<VerifiedHeader, VerifyError> {
        let missing = VerifyError::PastMissing { what: "the header of a state" };
        let ancestor = ancestor.ok_or(missing)?;
        if ancestor.path.is_none() && ancestor.header.as_ref() == Some(tip.header()) {
            return Ok(tip.clone());
        }
        let proof = v1::HistoryProof {
            signed_header: None,
            header: ancestor.header.clone(),
            path: ancestor.path.clone(),
        };
        Ok(proof::verify_ancestor(&self.genesis_hash, tip, &proof)?)
    }
}

fn leaves(header: VerifiedHeader, past: &v1::PastState) -> Result<Leaves<'_>, VerifyError> {
    let state = proof::verify_entries(header, &past.entries)?;
    Ok(Leaves { state, entries: &past.entries })
}

fn refuse_unasked(what: &'static str, is_there: bool) -> Result<(), VerifyError> {
    if is_there { Err(VerifyError::PastUnasked { what }) } else { Ok(()) }
}

/// Leaves of keys that are known beforehand, decoded one by one.
pub(super) fn read_all<V: StateView + ?Sized, M: prost::Message + Default>(
    view: &V,
    keys: &[TreeKey],
) -> Result<Vec<Option<M>>, StateFault> {
    keys.iter()
        .map(|key| {
            let Some(bytes) = view.leaf(key)? else { return Ok(None) };
            sillok_proto::decode(&bytes, sillok_ledger::overlay::LEAF_BYTES_MAX)
                .map(Some)
                .map_err(|error| StateFault::new(format!("a leaf does not decode: {error}")))
        })
        .collect()
}
