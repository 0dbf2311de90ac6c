//! zlib (RFC 1950), as Token Status List has it, and gzip (RFC 1952), as Bitstring Status List and HTTP have it.
//!
//! Compressed bytes differ from library to library, so nothing is hashed or compared over them.

use miniz_oxide::deflate::{compress_to_vec, compress_to_vec_zlib};
use miniz_oxide::inflate::{decompress_to_vec_with_limit, decompress_to_vec_zlib_with_limit};

/// As Token Status List recommends: the highest that zlib knows.
const LEVEL: u8 = 9;
/// Of a body on its way: what it holds is compressed already, so a little is enough.
const BODY_LEVEL: u8 = 4;
/// No name, no time, no system: the same for everybody.
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// `bytes` as zlib.
#[must_use]
pub fn zlib(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec_zlib(bytes, LEVEL)
}

/// `bytes` as gzip.
#[must_use]
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    gzip_at(bytes, LEVEL)
}

/// A body as gzip, for `Content-Encoding`.
#[must_use]
pub fn gzip_body(bytes: &[u8]) -> Vec<u8> {
    gzip_at(bytes, BODY_LEVEL)
}

fn gzip_at(bytes: &[u8], level: u8) -> Vec<u8> {
    let mut packed = GZIP_HEAD.to_vec();
    packed.extend(compress_to_vec(bytes, level));
    packed.extend(crc32(bytes).to_le_bytes());
    // By the standard the length modulo 2^32.
    let length = u32::try_from(bytes.len() & 0xffff_ffff).unwrap_or_default();
    packed.extend(length.to_le_bytes());
    packed
}

/// What zlib holds; `None` if it is damaged or more than `len_max` bytes.
#[must_use]
pub fn unzlib(packed: &[u8], len_max: usize) -> Option<Vec<u8>> {
    decompress_to_vec_zlib_with_limit(packed, len_max).ok()
}

/// What gzip holds, if it is one member; `None` if it is damaged or more than `len_max` bytes.
#[must_use]
pub fn gunzip(packed: &[u8], len_max: usize) -> Option<Vec<u8>> {
    let rest = packed.strip_prefix(&[0x1f, 0x8b, 8])?;
    let (flags, rest) = (rest.first()?, rest.get(7..)?);
    let rest = after_fields(*flags, rest)?;
    let (deflated, end) = rest.split_last_chunk::<8>()?;
    let bytes = decompress_to_vec_with_limit(deflated, len_max).ok()?;
    let [c0, c1, c2, c3, l0, l1, l2, l3] = *end;
    let whole = u32::from_le_bytes([c0, c1, c2, c3]) == crc32(&bytes)
        && usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])) == Ok(bytes.len());
    whole.then_some(bytes)
}

/// What comes after the fields that the flags announce.
fn after_fields(flags: u8, mut rest: &[u8]) -> Option<&[u8]> {
    const HEADER_CRC: u8 = 2;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    if flags >= 2 * COMMENT {
        return None;
    }
    if flags & EXTRA != 0 {
        let (length, after) = rest.split_first_chunk::<2>()?;
        rest = after.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = rest.get(end + 1..)?;
        }
    }
    if flags & HEADER_CRC != 0 { rest.get(2..) } else { Some(rest) }
}

/// The remainders of one byte (RFC 1952, §8).
const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0_u32;
    while byte < 256 {
        let (mut remainder, mut bit) = (byte, 0);
        while bit < 8 {
            remainder =
                if remainder & 1 == 1 { 0xedb8_8320 ^ (remainder >> 1) } else { remainder >> 1 };
            bit += 1;
        }
        table[byte as usize] = remainder;
        byte += 1;
    }
    table
};

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        CRC_TABLE[usize::from(low ^ byte)] ^ (crc >> 8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_crc_is_that_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn fields_of_other_programs_are_passed_over() {
        let packed = gzip(b"list");
        let mut named = packed.clone();
        named[3] = 2 | 4 | 8 | 16;
        named.splice(10..10, *b"\x02\x00xxname\0comment\0cc");
        assert_eq!(gunzip(&named, 4).unwrap(), b"list");
        named[3] = 32;
        assert_eq!(gunzip(&named, 4), None, "a flag that nobody knows");
    }

    #[test]
    fn what_is_damaged_or_too_long_is_nothing() {
        let packed = gzip(&[7; 1000]);
        assert_eq!(gunzip(&packed, 1000).unwrap().len(), 1000);
        assert_eq!(gunzip(&packed, 999), None);
        assert_eq!(unzlib(&zlib(&[7; 1000]), 999), None);
        for at in 10..packed.len() {
            let mut other = packed.clone();
            other[at] ^= 1;
            // Deflate may say one thing in two ways; what it says is then the same.
            let read = gunzip(&other, 1000);
            assert!(read.is_none() || read.as_deref() == Some(&[7; 1000]), "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn both_go_both_ways(bytes in proptest::collection::vec(any::<u8>(), 0..4_000)) {
            prop_assert_eq!(gunzip(&gzip(&bytes), bytes.len()), Some(bytes.clone()));
            prop_assert_eq!(gunzip(&gzip_body(&bytes), bytes.len()), Some(bytes.clone()));
            prop_assert_eq!(unzlib(&zlib(&bytes), bytes.len()), Some(bytes));
        }

        #[test]
        fn any_bytes_end_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut framed = vec![0x1f, 0x8b, 8];
            framed.extend(&bytes);
            let _ = (gunzip(&bytes, 1000), gunzip(&framed, 1000), unzlib(&bytes, 1000));
        }
    }
}
