//! Was it so then? A key, an entry and a right as of a time, by what was known at a height (PROTOCOL §6.4, D4).
//!
//! Each part was verified from a certified header of today: versions are a chain by hash, states of before follow from the
//! history root, so no key and no validator set of the past counts. What is here is the verdict, and that the parts belong
//! together.

use super::authority::Authority;
use super::status::ListChunks;
use super::{Resolution, VerifyError};
use sillok_did_method::{Did, from_multikey, thumbprint};
use sillok_ledger::answer::Entry;
use sillok_ledger::proof::VerifiedHeader;
use sillok_proto::{Hash, v1};

/// A key as a signature names it: its Multikey, or the fragment or whole of its DID URL.
#[must_use]
pub fn is_named(key: &v1::PublicKey, name: &str) -> bool {
    let fragment = name.rsplit_once('#').map_or(name, |(_, fragment)| fragment);
    from_multikey(name).is_ok_and(|named| named == *key)
        || thumbprint(key).is_ok_and(|id| id == fragment)
}

/// What a key was at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAsOf {
    /// In the document, for this use, not expired.
    Valid,
    /// There was no such DID yet, or there never was.
    NoDid,
    /// The DID was deactivated.
    Deactivated,
    /// Not in the document: not yet, not any more, or never.
    NotInDocument,
    /// In the document, for other uses.
    OtherUse,
    /// In the document, and past its end.
    Expired {
        /// Its end, in milliseconds.
        expires_ms: u64,
    },
}

impl KeyAsOf {
    /// A name for programs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Valid => "VALID",
            Self::NoDid => "NO_DID",
            Self::Deactivated => "DEACTIVATED",
            Self::NotInDocument => "NOT_IN_DOCUMENT",
            Self::OtherUse => "OTHER_USE",
            Self::Expired { .. } => "EXPIRED",
        }
    }

    /// What a key was at `time_ms`, by the version in force then. `relationships` are those that it must have, 0 any.
    fn of(resolution: &Resolution, key: &str, relationships: u32, time_ms: u64) -> Self {
        let Some(version) = &resolution.version else { return Self::NoDid };
        if version.head.deactivated {
            return Self::Deactivated;
        }
        let document = version.document_or_empty();
        let named = document
            .keys
            .iter()
            .find(|bound| bound.key.as_ref().is_some_and(|public| is_named(public, key)));
        match named {
            None => Self::NotInDocument,
            Some(bound) if bound.relationships & relationships != relationships => Self::OtherUse,
            Some(bound) if bound.expires_ms != 0 && bound.expires_ms <= time_ms => {
                Self::Expired { expires_ms: bound.expires_ms }
            }
            Some(_) => Self::Valid,
        }
    }
}

/// An entry at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct EntryAsOf {
    /// The list it stands in.
    pub list: v1::StatusList,
    /// What it was then, by what is known.
    pub entry: Entry,
    /// The header in force at the time.
    pub header: VerifiedHeader,
}

/// What somebody asks who holds a signed document from before.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Who signed.
    pub did: Did,
    /// By which key: Multikey, fragment or DID URL.
    pub key: String,
    /// For what it must have been there: bits of verification relationships; 0 is any.
    pub relationships: u32,
    /// When, in milliseconds of ledger time.
    pub time_ms: u64,
    /// By what was known after the block of this height; `None` is what is known now.
    pub known_at: Option<u64>,
    /// The entry that the credential names: a list and an index.
    pub entry: Option<(Hash, u32)>,
    /// What the signer must have been allowed to do: an action, and the type or list; `None` is on all.
    pub right: Option<(v1::Action, Option<Hash>)>,
}

/// The answer to it.
#[derive(Debug, Clone, PartialEq)]
pub struct AsOf {
    /// The version of the DID in force at the time.
    pub resolution: Resolution,
    /// The key.
    pub key: KeyAsOf,
    /// The entry, if one was asked about.
    pub entry: Option<EntryAsOf>,
    /// The right, if one was asked about.
    pub authority: Option<Authority>,
    /// The header whose state says what is known.
    pub known: VerifiedHeader,
    /// The time asked about.
    pub time_ms: u64,
}

impl AsOf {
    /// The verdict on verified parts: `resolution` is that of the newest version up to the time, `known` the header of
    /// what is known. All parts must be by the same knowledge, of the same time.
    ///
    /// # Errors
    ///
    /// [`VerifyError::TimeToCome`]; [`VerifyError::OtherKnowledge`] for parts that do not belong together;
    /// [`VerifyError::NotTheVersionAsked`]; those of [`ListChunks::entry`].
    pub fn judge(
        question: &Question,
        known: VerifiedHeader,
        resolution: Resolution,
        chunks: Option<&ListChunks>,
        authority: Option<Authority>,
    ) -> Result<Self, VerifyError> {
        let Question { time_ms, .. } = *question;
        if time_ms > known.time_ms() {
            return Err(VerifyError::TimeToCome { time_ms, known_ms: known.time_ms() });
        }
        let head = resolution.version.as_ref().map(|version| &version.head);
        if let Some(head) = head.filter(|head| head.time_ms > time_ms) {
            return Err(VerifyError::NotTheVersionAsked { version: head.version });
        }
        let same = |header: &VerifiedHeader, at_ms: u64| {
            let same = header.hash() == known.hash() && at_ms == time_ms;
            if same { Ok(()) } else { Err(VerifyError::OtherKnowledge { height: header.height() }) }
        };
        let key = KeyAsOf::of(&resolution, &question.key, question.relationships, time_ms);
        let entry = match (question.entry, chunks) {
            (Some((_, index)), Some(chunks)) => {
                same(chunks.known_header(), chunks.time_ms())?;
                let entry = chunks.entry(index)?;
                let list = chunks.list().cloned().ok_or(VerifyError::NoSuchList)?;
                Some(EntryAsOf { list, entry, header: chunks.header().clone() })
            }
            (None, _) => None,
            (Some(_), None) => return Err(VerifyError::PastMissing { what: "the entry" }),
        };
        let authority = match (question.right, authority) {
            (Some(_), Some(authority)) => {
                same(&authority.header, authority.time_ms)?;
                Some(authority)
            }
            (None, _) => None,
            (Some(_), None) => return Err(VerifyError::PastMissing { what: "the right" }),
        };
        Ok(Self { resolution, key, entry, authority, known, time_ms })
    }

    /// Was all of it so? The key was good, the entry to be taken, the right held.
    #[must_use]
    pub fn holds(&self) -> bool {
        let usable = |one: &EntryAsOf| one.entry.is_usable(self.time_ms);
        self.key == KeyAsOf::Valid
            && self.entry.as_ref().is_none_or(usable)
            && self.authority.as_ref().is_none_or(Authority::holds)
    }
}
