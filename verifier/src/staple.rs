//! Stapled proofs: a file with answers of one height and everything that proves them, for whoever checks without a network.
//!
//! A holder staples the status of a credential and the documents behind it; a gate keeps whole lists. One certified header
//! serves all answers of a file, so that none can be of another time than the rest. The file vouches for nothing: it is
//! checked from a trusted header on, like what a node says, and how old it may be is the policy of who takes it.
//!
//! ```text
//! file    = ["sillok-staple", 1, deflate(content)]                        CBOR (RFC 8949), DEFLATE (RFC 1951)
//! content = [genesis hash, SignedHeader, [LightBlock …], [item …]]        messages as canonical protobuf in byte strings
//! item    = [0, height, did, ResolveResponse]                             a document
//!         | [1, height, list, [index …], StateProof]                      entries, with the chunks they stand in
//!         | [2, height, list, StateProof]                                 a whole list
//!         | [3, height, organization, action, resource, StateProof]       a right, or that it is not held
//! ```
//!
//! The header is not repeated: proofs in items have none. An item says of which height it is, so that what was put
//! together from two files is told from what was forged. Every length is bounded before anything is made of it.
//! Deliberately absent: asking nodes (`sillok_client::staple`), and whether an entry is good enough for a purpose.

pub mod parts;

use super::authority::{Authority, Right};
use super::moment::Moment;
use super::status::ListChunks;
use super::{Answer, Asked, Network, Policy, Resolution, Verifier, VerifyError};
use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use sillok_did_method::{CHUNK_ENTRIES, Did};
use sillok_ledger::answer::{CHUNK_NUMBERS, CHUNKS_MAX};
use sillok_ledger::certificate::HeaderError;
use sillok_ledger::light::{self, LightError, TrustedHeader};
use sillok_ledger::status::chunk_of;
use sillok_proto::{Hash, decode, encode, v1};
use std::collections::BTreeSet;

/// Longest file, in bytes.
pub const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest content once it is inflated: the largest list with dates for a quarter of its entries.
pub const CONTENT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most items of a file.
pub const ITEMS_MAX: usize = 64;
/// Most indexes of an item.
pub const INDEXES_MAX: usize = 64;
/// Most light blocks: those of a trust bundle.
pub const LIGHT_BLOCKS_MAX: usize = 1_000;
/// Longest DID, in bytes of text.
const DID_BYTES_MAX: usize = 256;
/// Longest light block: two sets of 128 validators with their signatures.
const LIGHT_BLOCK_BYTES_MAX: usize = 64 * 1024;
/// Longest answer about one DID, in bytes: heads and one document.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

const MAGIC: &str = "sillok-staple";
const VERSION: u8 = 1;
/// Siblings are hashes: more effort finds nothing more.
const DEFLATE_LEVEL: u8 = 6;

/// Why a file is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StapleError {
    /// Something else.
    #[error("this is no stapled proof; give a file that `sillok staple` wrote")]
    NotAStaple,
    /// A form of later.
    #[error(
        "the stapled proof is of version {version}, this program knows {VERSION}; update this program"
    )]
    Version {
        /// Its version.
        version: u64,
    },
    /// Longer than any that is made.
    #[error("{what} is longer than {max} bytes, so the file is not taken; staple less in one file")]
    TooLong {
        /// Which part.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// The end is missing.
    #[error("the stapled proof is cut off; copy it whole")]
    Truncated,
    /// A part has not its form.
    #[error("{what} of the stapled proof has not its form; it was damaged or forged, get it again")]
    Malformed {
        /// Which part.
        what: &'static str,
    },
    /// More parts than allowed.
    #[error("the stapled proof has more than {max} {what}; staple less in one file")]
    TooMany {
        /// Parts of which kind.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// Nothing in it.
    #[error("the stapled proof holds no answer; staple it again")]
    Empty,
    /// Made on another network.
    #[error("the stapled proof is of network {found}, not of {expected}; it proves nothing here")]
    WrongNetwork {
        /// Genesis hash in the file.
        found: Hash,
        /// Genesis hash of what is trusted.
        expected: Hash,
    },
    /// Put together from two files.
    #[error(
        "item {item} is of height {height} and the header of height {header}; it was mixed from two proofs, get it again"
    )]
    Mixed {
        /// Its place.
        item: usize,
        /// The height it says.
        height: u64,
        /// The height of the header.
        header: u64,
    },
    /// A light block at or after the header.
    #[error(
        "the last light block is of height {height}, not below the header's {header}; get the stapled proof again"
    )]
    LightBlockAfter {
        /// Its height.
        height: u64,
        /// The height of the header.
        header: u64,
    },
    /// A proof that something is not there. It is true of its time and says nothing of later.
    #[error(
        "item {item} shows that there was no such did, which nobody can staple; ask a node for what is not there"
    )]
    Absence {
        /// Its place.
        item: usize,
    },
    /// A list with fewer or more chunks than it has.
    #[error("item {item} is called a whole list and is not one; get it again")]
    NotWhole {
        /// Its place.
        item: usize,
    },
    /// What an item says is not proved by the header.
    #[error("item {item}: {source}")]
    Item {
        /// Its place.
        item: usize,
        /// What does not hold.
        source: VerifyError,
    },
    /// The header is not certified by the validators that are trusted.
    #[error("{0}")]
    Header(VerifyError),
}

/// What a file holds, as it was read: nothing of it is verified.
#[derive(Debug, Clone, PartialEq)]
pub struct Staple {
    /// Names the network.
    pub genesis_hash: Hash,
    /// The certified header of all items.
    pub signed_header: v1::SignedHeader,
    /// The changes of validators on the way from an older trusted header.
    pub light_blocks: Vec<v1::LightBlock>,
    /// The answers.
    pub items: Vec<Item>,
}

/// An answer with its proof, but for the header.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The height it was answered at.
    pub height: u64,
    /// What it is about.
    pub claim: Claim,
}

/// What an item is about.
#[derive(Debug, Clone, PartialEq)]
pub enum Claim {
    /// The current document of a DID.
    Document {
        /// The DID.
        did: Did,
        /// The answer to resolving it.
        answer: Box<v1::ResolveResponse>,
    },
    /// Entries of a list.
    Entries {
        /// The list.
        list: Hash,
        /// The entries, ascending; at most of 16 chunks.
        indexes: Vec<u32>,
        /// Leaves of the chunks they stand in.
        leaves: Vec<v1::StateEntry>,
    },
    /// A whole list.
    List {
        /// The list.
        list: Hash,
        /// Leaves of all its chunks.
        leaves: Vec<v1::StateEntry>,
    },
    /// Whether an organization may do something.
    Right {
        /// The question.
        right: Right,
        /// The leaves that the question reads.
        leaves: Vec<v1::StateEntry>,
    },
}

/// What an item proves.
#[derive(Debug, Clone, PartialEq)]
pub enum Proved {
    /// The current document of a DID.
    Document(Resolution),
    /// Entries of a list.
    Entries {
        /// The list.
        list: Hash,
        /// The entries that it was made for.
        indexes: Vec<u32>,
        /// The chunks they stand in, by which any other entry there can be read too.
        chunks: ListChunks,
    },
    /// A whole list.
    List {
        /// The list.
        list: Hash,
        /// All its chunks.
        chunks: ListChunks,
    },
    /// Whether an organization may do something.
    Right(Authority),
}

/// The chunks in which entries stand, ascending.
#[must_use]
pub fn chunks_of(indexes: &[u32]) -> Vec<u32> {
    let numbers: BTreeSet<u32> = indexes.iter().map(|index| chunk_of(*index).0).collect();
    numbers.into_iter().collect()
}

// ------------------------------------------------------------------------------------------------ bytes

/// Why an encoding ended: too short, or not in its form.
fn broken(what: &'static str) -> impl Fn(minicbor::decode::Error) -> StapleError {
    move |error| {
        if error.is_end_of_input() {
            StapleError::Truncated
        } else {
            StapleError::Malformed { what }
        }
    }
}

/// An array of exactly this length.
fn array(
    decoder: &mut Decoder<'_>,
    what: &'static str,
    len: impl Fn(u64) -> bool,
) -> Result<u64, StapleError> {
    let found = decoder.array().map_err(broken(what))?.filter(|found| len(*found));
    found.ok_or(StapleError::Malformed { what })
}

/// An array of at most this length.
fn bounded(decoder: &mut Decoder<'_>, what: &'static str, max: usize) -> Result<u64, StapleError> {
    let len = array(decoder, what, |_| true)?;
    if len > max as u64 { Err(StapleError::TooMany { what, max }) } else { Ok(len) }
}

fn bytes<'b>(
    decoder: &mut Decoder<'b>,
    what: &'static str,
    max: usize,
) -> Result<&'b [u8], StapleError> {
    let found = decoder.bytes().map_err(broken(what))?;
    if found.len() > max { Err(StapleError::TooLong { what, max }) } else { Ok(found) }
}

fn hash(decoder: &mut Decoder<'_>, what: &'static str) -> Result<Hash, StapleError> {
    Hash::from_slice(bytes(decoder, what, 32)?).ok_or(StapleError::Malformed { what })
}

fn message<M: prost::Message + Default>(
    decoder: &mut Decoder<'_>,
    what: &'static str,
    max: usize,
) -> Result<M, StapleError> {
    let found = bytes(decoder, what, max)?;
    decode(found, max).map_err(|_| StapleError::Malformed { what })
}

fn leaves(decoder: &mut Decoder<'_>) -> Result<Vec<v1::StateEntry>, StapleError> {
    let what = "a state proof";
    let proof: v1::StateProof = message(decoder, what, CONTENT_BYTES_MAX)?;
    if proof.signed_header.is_some() {
        return Err(StapleError::Malformed { what });
    }
    Ok(proof.entries)
}

fn indexes(decoder: &mut Decoder<'_>) -> Result<Vec<u32>, StapleError> {
    let len = bounded(decoder, "indexes", INDEXES_MAX)?;
    let found = (0..len)
        .map(|_| decoder.u32().map_err(broken("an index")))
        .collect::<Result<Vec<_>, _>>()?;
    let ascending = found.windows(2).all(|pair| pair[0] < pair[1]);
    if found.is_empty() || !ascending || chunks_of(&found).len() > CHUNKS_MAX {
        return Err(StapleError::Malformed { what: "the indexes" });
    }
    Ok(found)
}

fn item(decoder: &mut Decoder<'_>) -> Result<Item, StapleError> {
    let what = "an item";
    let len = array(decoder, what, |len| (4..=6).contains(&len))?;
    let kind = decoder.u8().map_err(broken(what))?;
    let height = decoder.u64().map_err(broken(what))?;
    let claim = match (kind, len) {
        (0, 4) => {
            let text = decoder.str().map_err(broken("a did"))?;
            if text.len() > DID_BYTES_MAX {
                return Err(StapleError::TooLong { what: "a did", max: DID_BYTES_MAX });
            }
            let did = Did::parse(text).map_err(|_| StapleError::Malformed { what: "a did" })?;
            let what = "an answer about a did";
            let answer: Box<v1::ResolveResponse> =
                Box::new(message(decoder, what, ANSWER_BYTES_MAX)?);
            let is_bare = answer.proof.as_ref().is_some_and(|proof| proof.signed_header.is_none());
            if !is_bare || !answer.resolution_json.is_empty() {
                return Err(StapleError::Malformed { what });
            }
            Claim::Document { did, answer }
        }
        (1, 5) => {
            let list = hash(decoder, "a list")?;
            Claim::Entries { list, indexes: indexes(decoder)?, leaves: leaves(decoder)? }
        }
        (2, 4) => Claim::List { list: hash(decoder, "a list")?, leaves: leaves(decoder)? },
        (3, 6) => {
            let organization = hash(decoder, "an organization")?;
            let what = "a right";
            let number = i32::from(decoder.u8().map_err(broken(what))?);
            let action = v1::Action::try_from(number)
                .ok()
                .filter(|action| *action != v1::Action::Unspecified)
                .ok_or(StapleError::Malformed { what })?;
            let resource = match bytes(decoder, what, 32)? {
                [] => None,
                name => Some(Hash::from_slice(name).ok_or(StapleError::Malformed { what })?),
            };
            let right = Right { organization, action, resource };
            Claim::Right { right, leaves: leaves(decoder)? }
        }
        _ => return Err(StapleError::Malformed { what }),
    };
    Ok(Item { height, claim })
}

fn at_end(decoder: &Decoder<'_>, len: usize, what: &'static str) -> Result<(), StapleError> {
    if decoder.position() == len { Ok(()) } else { Err(StapleError::Malformed { what }) }
}

/// Writing to memory does not fail.
type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;
type Writer = Encoder<Vec<u8>>;

fn write_leaves(writer: &mut Writer, leaves: &[v1::StateEntry]) -> Written {
    let proof = v1::StateProof { signed_header: None, entries: leaves.to_vec() };
    writer.bytes(&encode(&proof))?;
    Ok(())
}

fn write_item(writer: &mut Writer, item: &Item) -> Written {
    let begin = |writer: &mut Writer, len: u64, kind: u8| -> Written {
        writer.array(len)?.u8(kind)?.u64(item.height)?;
        Ok(())
    };
    match &item.claim {
        Claim::Document { did, answer } => {
            begin(writer, 4, 0)?;
            writer.str(&did.to_string())?.bytes(&encode(answer.as_ref()))?;
        }
        Claim::Entries { list, indexes, leaves } => {
            begin(writer, 5, 1)?;
            writer.bytes(&list.0)?.array(indexes.len() as u64)?;
            for index in indexes {
                writer.u32(*index)?;
            }
            write_leaves(writer, leaves)?;
        }
        Claim::List { list, leaves } => {
            begin(writer, 4, 2)?;
            writer.bytes(&list.0)?;
            write_leaves(writer, leaves)?;
        }
        Claim::Right { right, leaves } => {
            begin(writer, 6, 3)?;
            let action = u8::try_from(i32::from(right.action)).unwrap_or_default();
            writer.bytes(&right.organization.0)?.u8(action)?.bytes(&right.resource_bytes())?;
            write_leaves(writer, leaves)?;
        }
    }
    Ok(())
}

impl Staple {
    /// Reads a file. Nothing of it is verified yet.
    ///
    /// # Errors
    ///
    /// [`StapleError`]: the first thing that has not its form.
    pub fn from_bytes(file: &[u8]) -> Result<Self, StapleError> {
        if file.len() > FILE_BYTES_MAX {
            return Err(StapleError::TooLong { what: "the file", max: FILE_BYTES_MAX });
        }
        let mut outer = Decoder::new(file);
        // What is no array, or does not begin with the name, is another kind of file.
        if outer.datatype().ok() != Some(Type::Array) || outer.array().ok().flatten() != Some(3) {
            return Err(if file.is_empty() {
                StapleError::Truncated
            } else {
                StapleError::NotAStaple
            });
        }
        match outer.str() {
            Ok(MAGIC) => {}
            Err(error) if error.is_end_of_input() => return Err(StapleError::Truncated),
            _ => return Err(StapleError::NotAStaple),
        }
        let version = outer.u64().map_err(broken("the version"))?;
        if version != u64::from(VERSION) {
            return Err(StapleError::Version { version });
        }
        let deflated = bytes(&mut outer, "the content", FILE_BYTES_MAX)?;
        at_end(&outer, file.len(), "the end")?;
        let inflated = inflate(deflated)?;
        Self::from_content(&inflated)
    }

    /// Reads the content of a file that was inflated.
    ///
    /// # Errors
    ///
    /// [`StapleError`]: the first thing that has not its form.
    pub fn from_content(content: &[u8]) -> Result<Self, StapleError> {
        let mut decoder = Decoder::new(content);
        array(&mut decoder, "the content", |len| len == 4)?;
        let genesis_hash = hash(&mut decoder, "the genesis hash")?;
        let signed_header = message(&mut decoder, "the header", LIGHT_BLOCK_BYTES_MAX)?;
        let count = bounded(&mut decoder, "light blocks", LIGHT_BLOCKS_MAX)?;
        let light_blocks = (0..count)
            .map(|_| message(&mut decoder, "a light block", LIGHT_BLOCK_BYTES_MAX))
            .collect::<Result<_, _>>()?;
        let count = bounded(&mut decoder, "items", ITEMS_MAX)?;
        let items = (0..count).map(|_| item(&mut decoder)).collect::<Result<_, _>>()?;
        at_end(&decoder, content.len(), "the end of the content")?;
        Ok(Self { genesis_hash, signed_header, light_blocks, items })
    }

    /// The content before it is deflated.
    fn to_content(&self) -> Vec<u8> {
        let mut writer = Encoder::new(Vec::new());
        let written: Written = (|| {
            writer.array(4)?.bytes(&self.genesis_hash.0)?.bytes(&encode(&self.signed_header))?;
            writer.array(self.light_blocks.len() as u64)?;
            for light_block in &self.light_blocks {
                writer.bytes(&encode(light_block))?;
            }
            writer.array(self.items.len() as u64)?;
            self.items.iter().try_for_each(|item| write_item(&mut writer, item))
        })();
        debug_assert!(written.is_ok(), "writing to memory does not fail");
        writer.into_writer()
    }

    /// The file. The bytes depend on how well they were deflated, so nothing may be hashed or signed over them.
    ///
    /// # Errors
    ///
    /// [`StapleError::TooLong`], [`StapleError::TooMany`]: nobody would read it.
    pub fn to_bytes(&self) -> Result<Vec<u8>, StapleError> {
        for (what, len, max) in [
            ("items", self.items.len(), ITEMS_MAX),
            ("light blocks", self.light_blocks.len(), LIGHT_BLOCKS_MAX),
        ] {
            if len > max {
                return Err(StapleError::TooMany { what, max });
            }
        }
        let content = self.to_content();
        if content.len() > CONTENT_BYTES_MAX {
            return Err(StapleError::TooLong { what: "the content", max: CONTENT_BYTES_MAX });
        }
        let deflated = miniz_oxide::deflate::compress_to_vec(&content, DEFLATE_LEVEL);
        let mut writer = Encoder::new(Vec::with_capacity(deflated.len().saturating_add(32)));
        let written: Written = (|| {
            writer.array(3)?.str(MAGIC)?.u8(VERSION)?.bytes(&deflated)?;
            Ok(())
        })();
        debug_assert!(written.is_ok(), "writing to memory does not fail");
        let file = writer.into_writer();
        if file.len() > FILE_BYTES_MAX {
            return Err(StapleError::TooLong { what: "the file", max: FILE_BYTES_MAX });
        }
        Ok(file)
    }
}

/// A few bytes may inflate to gigabytes, so it ends at the bound.
fn inflate(deflated: &[u8]) -> Result<Vec<u8>, StapleError> {
    use miniz_oxide::inflate::TINFLStatus;
    miniz_oxide::inflate::decompress_to_vec_with_limit(deflated, CONTENT_BYTES_MAX).map_err(
        |error| match error.status {
            TINFLStatus::HasMoreOutput => {
                StapleError::TooLong { what: "the content", max: CONTENT_BYTES_MAX }
            }
            TINFLStatus::FailedCannotMakeProgress | TINFLStatus::NeedsMoreInput => {
                StapleError::Truncated
            }
            _ => StapleError::Malformed { what: "the content" },
        },
    )
}

// ---------------------------------------------------------------------------------------------- proving

impl Staple {
    /// The header of all items.
    fn header(&self) -> Result<&v1::Header, StapleError> {
        let missing = VerifyError::Light(LightError::Header(HeaderError::Missing));
        self.signed_header.header.as_ref().ok_or(StapleError::Header(missing))
    }

    /// Checks everything in the file, from a trusted header on, without any node.
    ///
    /// A header from before the trusted one is taken if the set in force certified it, and is then judged by its age
    /// alone: who shows a proof of an hour ago cannot know what the verifier has seen since (decision 28).
    ///
    /// # Errors
    ///
    /// [`StapleError`]: the first thing that does not hold. That an answer is too old it says itself.
    pub fn verify(
        &self,
        network: &Network,
        trusted: &TrustedHeader,
        policy: Policy,
    ) -> Result<Answer<Vec<Proved>>, StapleError> {
        if self.genesis_hash != network.genesis_hash {
            let (found, expected) = (self.genesis_hash, network.genesis_hash);
            return Err(StapleError::WrongNetwork { found, expected });
        }
        if self.items.is_empty() {
            return Err(StapleError::Empty);
        }
        let header = self.header()?.height;
        for (item, Item { height, .. }) in self.items.iter().enumerate() {
            if *height != header {
                return Err(StapleError::Mixed { item, height: *height, header });
            }
        }
        let followed = self.follow(network, trusted, policy, header)?;
        let base = followed.as_ref().unwrap_or(trusted);
        let mut certified = Verifier::of(network, base, Policy { past: true, ..policy })
            .leaves(&[], &self.proof(&[]))
            .map_err(StapleError::Header)?;
        certified.superseded = false;
        // From here on the header is known by its hash, so its signatures are checked once.
        let known = TrustedHeader {
            genesis_hash: network.genesis_hash,
            height: certified.height(),
            header_hash: certified.header().hash(),
            time_ms: certified.time_ms(),
            next_validators: base.next_validators.clone(),
            signed_header: Some(self.signed_header.clone()),
            validators: None,
        };
        let verifier = Verifier::of(network, &known, Policy { past: false, ..policy });
        let proved = self
            .items
            .iter()
            .enumerate()
            .map(|(place, item)| self.prove(&verifier, place, &item.claim))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(certified.map(|_| proved))
    }

    /// The trusted header after the changes of validators in the file that are news.
    fn follow(
        &self,
        network: &Network,
        trusted: &TrustedHeader,
        policy: Policy,
        header: u64,
    ) -> Result<Option<TrustedHeader>, StapleError> {
        let height_of = |one: &v1::LightBlock| {
            let signed = one.signed_header.as_ref();
            signed.and_then(|signed| signed.header.as_ref()).map_or(0, |header| header.height)
        };
        let height = self.light_blocks.last().map_or(0, height_of);
        if height <= trusted.height {
            return Ok(None);
        }
        if height >= header {
            return Err(StapleError::LightBlockAfter { height, header });
        }
        let bundle = v1::TrustBundle { light_blocks: self.light_blocks.clone() };
        light::follow(
            &network.genesis_hash,
            trusted,
            &bundle,
            policy.now_ms,
            network.trusting_period_ms,
        )
        .map(Some)
        .map_err(|error| StapleError::Header(error.into()))
    }

    fn proof(&self, leaves: &[v1::StateEntry]) -> v1::StateProof {
        let signed_header = Some(self.signed_header.clone());
        v1::StateProof { signed_header, entries: leaves.to_vec() }
    }

    fn prove(
        &self,
        verifier: &Verifier<'_>,
        item: usize,
        claim: &Claim,
    ) -> Result<Proved, StapleError> {
        let refused = |source| StapleError::Item { item, source };
        let answered = |leaves: &[v1::StateEntry]| v1::StateAnswer {
            proof: Some(self.proof(leaves)),
            ..v1::StateAnswer::default()
        };
        let chunks = |list: &Hash, numbers: &[u32], leaves: &[v1::StateEntry]| {
            verifier
                .chunks(list, numbers, Moment::Tip, &answered(leaves))
                .map(|answer| answer.even_if_stale().clone())
                .map_err(refused)
        };
        match claim {
            Claim::Document { did, answer } => {
                let entries =
                    answer.proof.as_ref().map_or(&[][..], |proof| proof.entries.as_slice());
                let proof = Some(self.proof(entries));
                let answer = v1::ResolveResponse { proof, ..answer.as_ref().clone() };
                let answer = verifier.resolution(did, Asked::Current, &answer).map_err(refused)?;
                let resolution = answer.even_if_stale().clone();
                if resolution.version.is_none() {
                    return Err(StapleError::Absence { item });
                }
                Ok(Proved::Document(resolution))
            }
            Claim::Entries { list, indexes, leaves } => {
                let chunks = chunks(list, &chunks_of(indexes), leaves)?;
                for index in indexes {
                    chunks.entry(*index).map_err(refused)?;
                }
                Ok(Proved::Entries { list: *list, indexes: indexes.clone(), chunks })
            }
            Claim::List { list, leaves } => {
                // How many chunks came follows from the leaves; whether it is all of them, from the list's own.
                let count = (0..=CHUNK_NUMBERS)
                    .find(|count| leaves_of(list, *count) == leaves.len())
                    .ok_or(StapleError::NotWhole { item })?;
                let numbers: Vec<u32> = (0..count).collect();
                let chunks = chunks(list, &numbers, leaves)?;
                let found = chunks.list().ok_or_else(|| refused(VerifyError::NoSuchList))?;
                if found.capacity / CHUNK_ENTRIES != count {
                    return Err(StapleError::NotWhole { item });
                }
                Ok(Proved::List { list: *list, chunks })
            }
            Claim::Right { right, leaves } => verifier
                .authority(right, Moment::Tip, &answered(leaves))
                .map(|answer| Proved::Right(answer.even_if_stale().clone()))
                .map_err(refused),
        }
    }
}

/// How many leaves the first `count` chunks of a list are proved by.
fn leaves_of(list: &Hash, count: u32) -> usize {
    let each = sillok_ledger::answer::chunk_keys(list, &[0]).len().saturating_sub(1);
    each.saturating_mul(usize::try_from(count).unwrap_or(usize::MAX)).saturating_add(1)
}
