//! Making stapled proofs: ask for answers of one height, and keep them with what proves them.
//!
//! What is in the file, and how it is checked, is in [`crate::verify::staple`].

use crate::connection::CallError;
use crate::read::{Client, ReadError};
use crate::verify::authority::Right;
use crate::verify::moment::Moment;
use crate::verify::staple::{Claim, Item, Staple, StapleError, chunks_of};
use crate::verify::{Answer, Asked, Network, Policy};
use sillok_did_method::Did;
use sillok_proto::{Hash, v1};
use std::time::Duration;

/// How often the network may go on between two documents before the client gives up.
const TRIES_MAX: usize = 16;

/// What to staple.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Whose documents.
    pub dids: Vec<Did>,
    /// Which entries of which lists; ascending, each once.
    pub entries: Vec<(Hash, Vec<u32>)>,
    /// Which whole lists.
    pub lists: Vec<Hash>,
    /// Which rights.
    pub rights: Vec<Right>,
    /// For verifiers that know no more than this height: the changes of validators since.
    pub since: Option<u64>,
}

/// Why nothing was stapled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MakeError {
    /// Asking failed, or an answer does not hold.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The answers make no file.
    #[error(transparent)]
    Staple(#[from] StapleError),
    /// It is proved that there is no such DID.
    #[error("there is no such did (proved); nobody can staple what is not there")]
    NoSuchDid,
    /// The network went on between any two answers.
    #[error("the network goes on faster than it answers; ask again, or staple one did in a file")]
    TooFast,
    /// There were more changes of validators than a file has room for.
    #[error(
        "there are more changes of validators since that height than a file holds; use a newer height"
    )]
    TooManyChanges,
}

/// The header that everything in the file is proved by, once there was an answer.
#[derive(Default)]
struct Anchor(Option<(u64, v1::SignedHeader)>);

impl Anchor {
    fn moment(&self) -> Moment {
        self.0.as_ref().map_or(Moment::Tip, |(height, _)| Moment::Height(*height))
    }

    /// The leaves of an answer, at the height of the file: the first answer sets it.
    fn leaves<T>(&mut self, answer: &Answer<T>, message: v1::StateAnswer) -> Vec<v1::StateEntry> {
        let (height, _) =
            self.0.get_or_insert_with(|| (answer.height(), answer.signed_header().clone()));
        // Verified already: they are where the moment says.
        if answer.height() == *height {
            message.proof.unwrap_or_default().entries
        } else {
            message.known.unwrap_or_default().entries
        }
    }

    fn height(&self) -> u64 {
        self.0.as_ref().map_or(0, |(height, _)| *height)
    }
}

impl Client {
    /// Asks for all of `wanted` as of one height. What comes back was checked like the file will be.
    ///
    /// # Errors
    ///
    /// [`MakeError`].
    pub async fn staple(&self, wanted: &Wanted) -> Result<Staple, MakeError> {
        let mut anchor = Anchor::default();
        let mut claims = self.documents(&wanted.dids, &mut anchor).await?;
        for (list, indexes) in &wanted.entries {
            let numbers = chunks_of(indexes);
            let moment = anchor.moment();
            let (answer, message, _) = self
                .ask(
                    |node, min_height| {
                        let request = v1::GetChunksRequest {
                            list: list.to_vec(),
                            chunks: numbers.clone(),
                            min_height,
                            at: moment.to_message(),
                        };
                        async move { node.status_registry().get_chunks(request).await }
                    },
                    |verifier, answer| verifier.chunks(list, &numbers, moment, answer),
                )
                .await?;
            let leaves = anchor.leaves(&answer, message);
            claims.push(Claim::Entries { list: *list, indexes: indexes.clone(), leaves });
        }
        for list in &wanted.lists {
            let leaves = self.list_leaves(list, &mut anchor).await?;
            claims.push(Claim::List { list: *list, leaves });
        }
        for right in &wanted.rights {
            let moment = anchor.moment();
            let (answer, message, _) = self
                .ask(
                    |node, min_height| {
                        let request = right.to_request(moment, min_height);
                        async move { node.trust_registry().get_authority(request).await }
                    },
                    |verifier, answer| verifier.authority(right, moment, answer),
                )
                .await?;
            let leaves = anchor.leaves(&answer, message);
            claims.push(Claim::Right { right: right.clone(), leaves });
        }
        let light_blocks = match wanted.since {
            Some(since) => self.changes(since, anchor.height()).await?,
            None => Vec::new(),
        };
        let (height, signed_header) = anchor.0.ok_or(StapleError::Empty)?;
        let items = claims.into_iter().map(|claim| Item { height, claim }).collect();
        let genesis_hash = self.genesis_hash();
        let staple = Staple { genesis_hash, signed_header, light_blocks, items };
        self.check_staple(&staple)?;
        Ok(staple)
    }

    /// What is handed on was seen to hold, in the very form in which it is handed on.
    fn check_staple(&self, staple: &Staple) -> Result<(), MakeError> {
        let network = Network::from(&self.chain());
        let policy = Policy::at(self.options().clock.now_ms());
        let read = Staple::from_bytes(&staple.to_bytes()?)?;
        let without = Staple { light_blocks: Vec::new(), ..read };
        without.verify(&network, &self.trusted(), policy)?;
        Ok(())
    }

    /// Documents of one height. Resolving is about the tip alone, so where the network goes on between two, from anew.
    async fn documents(&self, dids: &[Did], anchor: &mut Anchor) -> Result<Vec<Claim>, MakeError> {
        'tries: for _ in 0..TRIES_MAX {
            anchor.0 = None;
            let mut claims = Vec::with_capacity(dids.len());
            for did in dids {
                let resolved = self.resolve(did, Asked::Current).await?;
                let answer = resolved.answer;
                if answer.even_if_stale().version.is_none() {
                    return Err(MakeError::NoSuchDid);
                }
                let first = (answer.height(), answer.signed_header().clone());
                if anchor.0.get_or_insert(first).0 != answer.height() {
                    continue 'tries;
                }
                let mut answer = resolved.response.unwrap_or_default();
                // The header is kept once, and a node's own words are not worth keeping.
                answer.resolution_json = String::new();
                if let Some(proof) = &mut answer.proof {
                    proof.signed_header = None;
                }
                claims.push(Claim::Document { did: did.clone(), answer: Box::new(answer) });
            }
            return Ok(claims);
        }
        Err(MakeError::TooFast)
    }

    async fn list_leaves(
        &self,
        list: &Hash,
        anchor: &mut Anchor,
    ) -> Result<Vec<v1::StateEntry>, MakeError> {
        let moment = anchor.moment();
        let (answer, pieces) = self.exported_list(list, moment).await?;
        let mut leaves = Vec::new();
        for piece in pieces {
            // Every piece begins with the leaf of the list itself.
            let skip = usize::from(!leaves.is_empty());
            leaves.extend(anchor.leaves(&answer, piece).into_iter().skip(skip));
        }
        Ok(leaves)
    }

    /// The light blocks at which the set changed, above one height and below another.
    async fn changes(&self, since: u64, below: u64) -> Result<Vec<v1::LightBlock>, MakeError> {
        let mut found: Vec<v1::LightBlock> = Vec::new();
        let mut from_height = since;
        loop {
            let (bundle, _) = self
                .connection()
                .call(Duration::ZERO, |node| async move {
                    let request = v1::GetTrustBundleRequest { from_height };
                    node.ledger().get_trust_bundle(request).await
                })
                .await
                .map_err(|error: CallError| ReadError::from(error))?;
            let height_of = |one: &v1::LightBlock| {
                let header = one.signed_header.as_ref().and_then(|signed| signed.header.as_ref());
                header.map(|header| {
                    let changes = header.validator_set_hash != header.next_validator_set_hash;
                    (header.height, changes)
                })
            };
            let reached =
                bundle.light_blocks.iter().filter_map(height_of).map(|(height, _)| height);
            let reached = reached.max().unwrap_or(from_height);
            found.extend(bundle.light_blocks.into_iter().filter(|one| {
                height_of(one).is_some_and(|(height, changes)| {
                    changes && height > from_height && height < below
                })
            }));
            if found.len() > crate::verify::staple::LIGHT_BLOCKS_MAX {
                return Err(MakeError::TooManyChanges);
            }
            // A long bundle may go on.
            if reached >= below.saturating_sub(1) || reached <= from_height {
                return Ok(found);
            }
            from_height = reached;
        }
    }
}
