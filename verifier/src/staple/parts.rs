//! A file in parts that each fit a QR code, and whole again from them.
//!
//! A part is text of the alphabet that QR codes store best, `SILLOK1:` and base45 (RFC 9285) of
//!
//! ```text
//! part = [first 8 bytes of BLAKE3(file), number from 0, parts in all, bytes]      CBOR
//! ```
//!
//! The hash only tells which parts belong together. Whether what they hold is true is checked like any file.

use super::{FILE_BYTES_MAX, StapleError, Written, array, at_end, broken, bytes};
use minicbor::{Decoder, Encoder};
use sillok_ledger::proof::value_hash;

/// What the text of a part begins with.
pub const PREFIX: &str = "SILLOK1:";
/// Most bytes of a file in one part: with its frame and in base45 that is at most 1,853 characters, which a QR code of
/// version 25 holds with the lowest error correction.
pub const PART_BYTES: usize = 1_200;
/// Most parts of a file. Nobody photographs more.
pub const PARTS_MAX: usize = 64;

const ALPHABET: &[u8; 45] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";
const ID_BYTES: usize = 8;
/// What tells the parts of one file from those of another.
type FileId = [u8; ID_BYTES];
/// Longest part as text.
const TEXT_BYTES_MAX: usize = 2 * PART_BYTES;

/// Why parts make no file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartError {
    /// Something else.
    #[error("this is no part of a stapled proof; its text begins with {PREFIX}")]
    NotAPart,
    /// Not in its form.
    #[error("a part of the stapled proof is damaged; read it again")]
    Malformed,
    /// A part of another file.
    #[error("the parts are of two stapled proofs; read those of one")]
    OtherFile,
    /// A part is not there.
    #[error("part {number} of {count} is missing; read it too")]
    Missing {
        /// Its number, from 1.
        number: usize,
        /// How many there are.
        count: usize,
    },
    /// Two different parts with one number.
    #[error("part {number} came twice and differs; read it again")]
    Repeated {
        /// Its number, from 1.
        number: usize,
    },
    /// All parts are there and make another file than they say.
    #[error("the parts do not make the file they are of; one is forged, read them again")]
    OtherHash,
    /// Too long for this.
    #[error(
        "the stapled proof has {len} bytes, more than {PARTS_MAX} QR codes hold; hand it on as a file"
    )]
    TooLong {
        /// Its length.
        len: usize,
    },
}

/// A file as parts, in their order.
///
/// # Errors
///
/// [`PartError::TooLong`].
pub fn split(file: &[u8]) -> Result<Vec<String>, PartError> {
    let pieces: Vec<&[u8]> = file.chunks(PART_BYTES).collect();
    if pieces.len() > PARTS_MAX {
        return Err(PartError::TooLong { len: file.len() });
    }
    let id = id_of(file);
    let parts = pieces.iter().enumerate().map(|(number, piece)| {
        let mut writer = Encoder::new(Vec::new());
        let written: Written = (|| {
            writer.array(4)?.bytes(&id)?.u64(number as u64)?.u64(pieces.len() as u64)?;
            writer.bytes(piece)?;
            Ok(())
        })();
        debug_assert!(written.is_ok(), "writing to memory does not fail");
        format!("{PREFIX}{}", base45(&writer.into_writer()))
    });
    Ok(parts.collect())
}

/// The file that parts make, in whatever order and however often they were read.
///
/// # Errors
///
/// [`PartError`].
pub fn join<S: AsRef<str>>(parts: &[S]) -> Result<Vec<u8>, PartError> {
    let mut file: Option<(FileId, Vec<Option<Vec<u8>>>)> = None;
    for part in parts {
        let (id, number, count, piece) = read(part.as_ref())?;
        let (of, pieces) = file.get_or_insert_with(|| (id, vec![None; count]));
        if *of != id || pieces.len() != count {
            return Err(PartError::OtherFile);
        }
        let place = pieces.get_mut(number).ok_or(PartError::Malformed)?;
        match place {
            Some(known) if *known != piece => {
                return Err(PartError::Repeated { number: number.saturating_add(1) });
            }
            _ => *place = Some(piece),
        }
    }
    let (id, pieces) = file.ok_or(PartError::NotAPart)?;
    let count = pieces.len();
    let mut whole = Vec::new();
    for (number, piece) in (1..).zip(pieces) {
        whole.extend(piece.ok_or(PartError::Missing { number, count })?);
    }
    if id_of(&whole) == id { Ok(whole) } else { Err(PartError::OtherHash) }
}

fn id_of(file: &[u8]) -> FileId {
    let mut id = [0; ID_BYTES];
    for (to, from) in id.iter_mut().zip(value_hash(file).0) {
        *to = from;
    }
    id
}

type Part = (FileId, usize, usize, Vec<u8>);

fn read(text: &str) -> Result<Part, PartError> {
    let text = text.trim_end_matches(['\r', '\n']);
    let coded = text.strip_prefix(PREFIX).ok_or(PartError::NotAPart)?;
    if coded.len() > TEXT_BYTES_MAX {
        return Err(PartError::Malformed);
    }
    let part = from_base45(coded).ok_or(PartError::Malformed)?;
    read_frame(&part).map_err(|_| PartError::Malformed)
}

fn read_frame(part: &[u8]) -> Result<Part, StapleError> {
    let what = "a part";
    let mut decoder = Decoder::new(part);
    array(&mut decoder, what, |len| len == 4)?;
    let id = bytes(&mut decoder, what, ID_BYTES)?;
    let id = id.try_into().map_err(|_| StapleError::Malformed { what })?;
    let mut number = || {
        let found = decoder.u64().map_err(broken(what))?;
        usize::try_from(found).map_err(|_| StapleError::Malformed { what })
    };
    let (number, count) = (number()?, number()?);
    let piece = bytes(&mut decoder, what, FILE_BYTES_MAX)?.to_vec();
    at_end(&decoder, part.len(), what)?;
    if count == 0 || count > PARTS_MAX || number >= count {
        return Err(StapleError::Malformed { what });
    }
    Ok((id, number, count, piece))
}

/// Base45 (RFC 9285): two bytes are three characters, a last one two.
fn base45(bytes: &[u8]) -> String {
    let mut text = String::new();
    for pair in bytes.chunks(2) {
        let (mut value, digits) = match *pair {
            [high, low] => (u32::from(high) << 8 | u32::from(low), 3),
            [last] => (u32::from(last), 2),
            _ => (0, 0),
        };
        for _ in 0..digits {
            let digit = ALPHABET.get((value % 45) as usize).copied().unwrap_or_default();
            text.push(char::from(digit));
            value /= 45;
        }
    }
    text
}

fn from_base45(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| ALPHABET.iter().position(|one| one == byte);
    let mut bytes = Vec::with_capacity(text.len());
    for group in text.as_bytes().chunks(3) {
        let mut value = 0_usize;
        for byte in group.iter().rev() {
            value = value * 45 + digit(byte)?;
        }
        match group.len() {
            3 => bytes.extend(u16::try_from(value).ok()?.to_be_bytes()),
            2 => bytes.push(u8::try_from(value).ok()?),
            _ => return None,
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn base45_is_that_of_rfc_9285() {
        for (plain, coded) in [
            ("AB", "BB8"),
            ("Hello!!", "%69 VD92EX0"),
            ("base-45", "UJCLQE7W581"),
            ("ietf!", "QED8WEX0"),
            ("", ""),
        ] {
            assert_eq!(base45(plain.as_bytes()), coded);
            assert_eq!(from_base45(coded).as_deref(), Some(plain.as_bytes()));
        }
        // "GGW" is the highest value that two bytes have, ":::" is beyond it; a lone character is nothing.
        assert_eq!(from_base45("FGW"), Some(vec![0xff, 0xff]));
        for wrong in ["GGW", ":::", "A", "ABCD", "ab8", "::"] {
            assert_eq!(from_base45(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_part_fits_its_qr_code() {
        let parts = split(&vec![0xff; PART_BYTES * PARTS_MAX]).unwrap();
        assert_eq!(parts.len(), PARTS_MAX);
        assert!(parts.iter().all(|part| part.len() <= 1_853), "{}", parts[0].len());
        let len = PART_BYTES * PARTS_MAX + 1;
        assert_eq!(split(&vec![0; len]), Err(PartError::TooLong { len }));
    }

    #[test]
    fn parts_of_two_files_and_missing_forged_and_foreign_ones_are_refused() {
        let file =
            |seed: u8| -> Vec<u8> { (0..3_000_u32).map(|at| at.to_le_bytes()[0] ^ seed).collect() };
        let (one, other) = (split(&file(0)).unwrap(), split(&file(1)).unwrap());
        let join = |parts: &[&String]| join(parts);
        assert_eq!(join(&[&one[2], &one[0], &one[0], &one[1]]).unwrap(), file(0));
        assert_eq!(join(&[&one[0], &one[2]]), Err(PartError::Missing { number: 2, count: 3 }));
        assert_eq!(join(&[&one[0], &other[1], &one[2]]), Err(PartError::OtherFile));
        assert_eq!(join(&[]), Err(PartError::NotAPart));
        assert_eq!(join(&[&"HC1:6BF".to_owned()]), Err(PartError::NotAPart));
        for cut in [PREFIX.len(), PREFIX.len() + 1, PREFIX.len() + 30, one[1].len() - 3] {
            let cut = one[1][..cut].to_owned();
            assert_eq!(join(&[&one[0], &cut, &one[2]]), Err(PartError::Malformed));
        }
        // The frame of one file around the bytes of another.
        let (id, number, count, _) = read(&one[1]).unwrap();
        let (_, _, _, piece) = read(&other[1]).unwrap();
        let mut writer = Encoder::new(Vec::new());
        writer.array(4).unwrap().bytes(&id).unwrap().u64(number as u64).unwrap();
        writer.u64(count as u64).unwrap().bytes(&piece).unwrap();
        let forged = format!("{PREFIX}{}", base45(&writer.into_writer()));
        assert_eq!(join(&[&one[0], &forged, &one[2]]), Err(PartError::OtherHash));
        assert_eq!(join(&[&one[1], &forged]), Err(PartError::Repeated { number: 2 }));
    }

    proptest! {
        #[test]
        fn any_file_survives_its_parts(file in prop::collection::vec(any::<u8>(), 1..5_000)) {
            prop_assert_eq!(join(&split(&file).unwrap()).unwrap(), file);
        }

        #[test]
        fn no_text_stops_the_reader(text in "SILLOK1:[0-9A-Z $%*+./:-]{0,60}|\\PC{0,40}") {
            prop_assert!(join(&[text]).is_err());
        }
    }
}
