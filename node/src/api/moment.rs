//! Answers as of a moment: at the tip, after an earlier block, or at a ledger time by what is known.
//!
//! A header of the past is tied to the certified tip by its history root, so no key of the past is needed and the answer
//! proves itself (PROTOCOL §6.1). The header in force at a time is shown by itself and its successor. A node that keeps
//! the old tree no longer says so and names the archives (§6.5).

use super::Api;
use super::problem::{Refused, failed};
use crate::storage::{StateAt, StorageError};
use sillok_ledger::{Retry, StateFault, Tip, TreeKey, tree};
use sillok_proto::v1;
use std::sync::Arc;
use tonic::{Code, Status};

/// What time a caller asks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Now.
    Tip,
    /// After the block of this height.
    Height(u64),
    /// At this ledger time, by what was known after the block of a height, or is known now.
    Time { time_ms: u64, known_at: Option<u64> },
}

impl Asked {
    pub(crate) fn read(moment: Option<v1::Moment>) -> Result<Self, Refused> {
        let Some(moment) = moment else { return Ok(Self::Tip) };
        match moment.moment {
            Some(v1::moment::Moment::Height(height)) => Ok(Self::Height(height)),
            Some(v1::moment::Moment::Time(v1::KnownTime { time_ms, known_at })) => {
                Ok(Self::Time { time_ms, known_at })
            }
            None => Err(Refused::malformed(
                "INVALID_MOMENT",
                "a moment is a height or a time; name one, or leave the moment out for the present",
            )),
        }
    }

    /// The height that must be committed before there is an answer.
    pub(super) fn height(self) -> u64 {
        match self {
            Self::Tip => 0,
            Self::Height(height) => height,
            Self::Time { known_at, .. } => known_at.unwrap_or(0),
        }
    }
}

/// The blocks whose states answer.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    tip: Arc<Tip>,
    /// By what is known after this block.
    known: u64,
    /// The last block up to the time asked for, if one is.
    then: Option<u64>,
    /// The ledger time that the answer is about.
    time_ms: u64,
}

impl Place {
    /// The height whose state says what is known.
    pub(crate) const fn known(&self) -> u64 {
        self.known
    }

    /// The height of the last block up to the time asked for, if one is.
    pub(crate) const fn then(&self) -> Option<u64> {
        self.then
    }

    /// The height whose header is in force at the moment.
    pub(crate) fn in_force(&self) -> u64 {
        self.then.unwrap_or(self.known)
    }

    /// The ledger time that the answer is about.
    pub(crate) const fn time_ms(&self) -> u64 {
        self.time_ms
    }
}

impl Api {
    /// The place of a moment, in the chain as it is now. With `then`, a time calls for the state of that time too.
    pub(crate) fn place(&self, asked: Asked, then: bool) -> Result<Place, Status> {
        let tip = self.ledger.tip();
        let known = match asked {
            Asked::Tip | Asked::Time { known_at: None, .. } => tip.height(),
            Asked::Height(height) | Asked::Time { known_at: Some(height), .. } => height,
        };
        if known > tip.height() {
            return Err(self.stale(known).into());
        }
        let header = self.header(known)?;
        let (mut time_ms, mut at) = (header.time_ms, None);
        if let Asked::Time { time_ms: wanted, known_at } = asked {
            if wanted > header.time_ms {
                return Err(self.time_to_come(wanted, &header, known_at.is_some()).into());
            }
            time_ms = wanted;
            if then {
                at = Some(self.last_up_to(wanted, known)?);
            }
        }
        Ok(Place { tip, known, then: at, time_ms })
    }

    /// What the state holds at the keys that a question reads: given a state and the time that it is asked about, `keys`
    /// says which.
    pub(crate) fn answer(
        &self,
        place: &Place,
        keys: impl Fn(&StateAt<'_>, u64) -> Result<Vec<TreeKey>, StateFault>,
    ) -> Result<v1::StateAnswer, Status> {
        let storage = &self.ledger.storage;
        let tip = place.tip.height();
        let entries = |height: u64| -> Result<Vec<v1::StateEntry>, Status> {
            self.check_kept(height)?;
            let view = storage.at(height);
            keys(&view, place.time_ms)
                .and_then(|keys| keys.iter().map(|key| tree::prove(&view, height, key)).collect())
                .map_err(|error| self.no_state(height, &error))
        };
        let past = |height: u64, next: Option<u64>| -> Result<v1::PastState, Status> {
            Ok(v1::PastState {
                header: Some(self.ancestor(height, tip)?),
                next: next.map(|next| self.ancestor(next, tip)).transpose()?,
                entries: entries(height)?,
            })
        };
        let at_tip = place.known == tip;
        Ok(v1::StateAnswer {
            proof: Some(v1::StateProof {
                signed_header: storage.signed_header(tip).map_err(failed("state"))?,
                entries: if at_tip { entries(tip)? } else { Vec::new() },
            }),
            known: (!at_tip).then(|| past(place.known, None)).transpose()?,
            then: place
                .then
                .map(|height| past(height, (height < place.known).then(|| height + 1)))
                .transpose()?,
        })
    }

    /// The last height up to `known` whose block is not later than `time_ms`. Times only grow.
    fn last_up_to(&self, time_ms: u64, known: u64) -> Result<u64, Status> {
        let first = self.header(0)?;
        if first.time_ms > time_ms {
            return Err(Refused::new(
                Code::OutOfRange,
                "BEFORE_GENESIS",
                format!(
                    "the ledger begins at {} ms; ask for that time or a later one",
                    first.time_ms
                ),
                Retry::AfterFix,
            )
            .with("time_ms", first.time_ms)
            .into());
        }
        let (mut low, mut high) = (0, known);
        while low < high {
            let middle = high - (high - low) / 2;
            if self.header(middle)?.time_ms <= time_ms {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Ok(low)
    }

    fn header(&self, height: u64) -> Result<v1::Header, Status> {
        let header = self.ledger.storage.header(height).map_err(failed("state"))?;
        header.ok_or_else(|| self.pruned_state(height).into())
    }

    /// A header up to that of the tip, as the tip proves it.
    fn ancestor(&self, height: u64, tip: u64) -> Result<v1::Ancestor, Status> {
        if height == tip {
            return Ok(v1::Ancestor { header: Some(self.header(height)?), path: None });
        }
        let proof = self.ledger.storage.history_proof(height, tip).map_err(failed("state"))?;
        let v1::HistoryProof { header, path, .. } =
            proof.ok_or_else(|| Status::from(self.pruned_state(height)))?;
        Ok(v1::Ancestor { header, path })
    }

    /// Is the state of this height kept here? Asked after a read it says whether what was read was whole: a block and what
    /// it prunes are written at once.
    pub(crate) fn check_kept(&self, height: u64) -> Result<(), Status> {
        if height < self.state_from().map_err(failed("state"))? {
            return Err(self.pruned_state(height).into());
        }
        Ok(())
    }

    fn state_from(&self) -> Result<u64, StorageError> {
        self.ledger.storage.state_from()
    }

    /// A read of an old state failed: pruned while it was read, or truly.
    fn no_state(&self, height: u64, error: &StateFault) -> Status {
        if self.state_from().is_ok_and(|from| height < from) {
            return self.pruned_state(height).into();
        }
        tracing::error!(what = "state", err = %error, "a read failed");
        Refused::internal().into()
    }

    fn pruned_state(&self, height: u64) -> Refused {
        self.pruned_because(
            height,
            format!("this node keeps no state of height {height}; ask an archive"),
        )
    }

    /// The time was not reached where it was to be known: later it may be, here or by another question.
    fn time_to_come(&self, time_ms: u64, header: &v1::Header, fixed: bool) -> Refused {
        let (height, known_ms) = (header.height, header.time_ms);
        if !fixed {
            return self.stale(height.saturating_add(1));
        }
        Refused::malformed(
            "INVALID_MOMENT",
            format!(
                "block {height} is of {known_ms} ms and cannot know of {time_ms} ms; name a later known_at"
            ),
        )
        .with("height", height)
        .with("time_ms", known_ms)
    }
}
