//! Looking for very many byte strings at once, in every form in which somebody might have written them down.
//!
//! A form is cut to its first and last [`NEEDLE_BYTES_MAX`] bytes: that is enough to be no accident, it finds what was
//! cut short too, and it bounds the memory for millions of forms. They are found by their first eight bytes: a filter of
//! bits says of almost every place that nothing begins there, and what it lets through is compared whole. So nothing is
//! missed and nothing is found that is not there; both are tested against a search byte by byte. An automaton over as
//! many strings would take gigabytes (decision 26).

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};

/// Shortest form that is looked for: less would be found by accident.
pub const NEEDLE_BYTES_MIN: usize = 8;
/// Longest part of a form that is compared.
pub const NEEDLE_BYTES_MAX: usize = 32;

/// The names of what [`encodings`] makes of a hash.
macro_rules! named {
    ($hash:literal) => {
        [
            $hash,
            concat!($hash, " hex"),
            concat!($hash, " HEX"),
            concat!($hash, " decimal"),
            concat!($hash, " base64"),
            concat!($hash, " base64 +1"),
            concat!($hash, " base64 +2"),
        ]
    };
}

/// The forms of one text, with their names.
#[must_use]
pub fn forms(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = text.as_bytes();
    let utf16: Vec<u16> = text.encode_utf16().collect();
    let mut all = vec![
        ("utf-16le", utf16.iter().flat_map(|unit| unit.to_le_bytes()).collect()),
        ("utf-16be", utf16.iter().flat_map(|unit| unit.to_be_bytes()).collect()),
    ];
    all.extend(encodings(
        bytes,
        ["utf-8", "hex", "HEX", "decimal", "base64", "base64 +1", "base64 +2"],
    ));
    let hashes = [
        (Sha256::digest(bytes).to_vec(), named!("sha-256")),
        (Sha512::digest(bytes).to_vec(), named!("sha-512")),
        (blake3::hash(bytes).as_bytes().to_vec(), named!("blake3")),
        // Broken for long, and what old systems still look people up by.
        (Sha1::digest(bytes).to_vec(), named!("sha-1")),
        (Md5::digest(bytes).to_vec(), named!("md5")),
    ];
    for (hash, names) in hashes {
        all.extend(encodings(&hash, names));
    }
    all
}

/// The bytes themselves, as hex in both cases, as Rust prints bytes, and as base64 in both alphabets wherever they begin.
#[must_use]
pub fn encodings(bytes: &[u8], names: [&'static str; 7]) -> Vec<(&'static str, Vec<u8>)> {
    let [raw, hex_name, hex_upper, decimal, aligned, after_one, after_two] = names;
    let listed: Vec<String> = bytes.iter().map(u8::to_string).collect();
    let mut all = vec![
        (raw, bytes.to_vec()),
        (hex_name, hex::encode(bytes).into_bytes()),
        (hex_upper, hex::encode_upper(bytes).into_bytes()),
        (decimal, listed.join(", ").into_bytes()),
    ];
    for (before, name) in [aligned, after_one, after_two].into_iter().enumerate() {
        let standard = base64_inside(bytes, before, *b"+/");
        let url = base64_inside(bytes, before, *b"-_");
        if url != standard {
            all.push((name, url));
        }
        all.push((name, standard));
    }
    all
}

/// The characters of base64 that `bytes` alone decide, where `before` bytes of something else stand before them
/// (RFC 4648, §4 and §5; `last` are the two characters in which they differ).
fn base64_inside(bytes: &[u8], before: usize, last: [u8; 2]) -> Vec<u8> {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let bit = |place: usize| {
        let byte = place / 8;
        let from = byte.checked_sub(before).and_then(|at| bytes.get(at)).copied().unwrap_or(0);
        usize::from((from >> (7 - place % 8)) & 1)
    };
    let first = (before * 8).div_ceil(6);
    let end = (before + bytes.len()) * 8 / 6;
    (first..end)
        .map(|letter| {
            let value = (0..6).fold(0, |value, nth| (value << 1) | bit(letter * 6 + nth));
            LETTERS.get(value).copied().unwrap_or_else(|| last[value - LETTERS.len()])
        })
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Needle {
    first: u64,
    /// Where its bytes are.
    at: u32,
    len: u8,
    /// What it is a form of.
    label: u32,
}

/// The strings that are looked for.
#[derive(Debug, Default)]
pub struct Needles {
    bytes: Vec<u8>,
    /// By first eight bytes.
    needles: Vec<Needle>,
    /// A bit for each place that the first eight bytes of a needle fall on.
    filter: Vec<u64>,
}

/// Bits of the filter: about a hundred for each of the forms of ten thousand people.
const FILTER_BITS: u32 = 28;

#[allow(clippy::cast_possible_truncation, reason = "28 bits are left")]
const fn place_of(first: u64) -> usize {
    // Fibonacci hashing: the upper bits depend on all.
    (first.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - FILTER_BITS)) as usize
}

fn first_of(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().copied().map(u64::from_le_bytes)
}

impl Needles {
    /// Looks for a form too; one that is too short to be no accident is left out. Says whether it is looked for.
    pub fn add(&mut self, label: u32, form: &[u8]) -> bool {
        if form.len() < NEEDLE_BYTES_MIN {
            return false;
        }
        let cut = form.len().min(NEEDLE_BYTES_MAX);
        self.add_one(label, &form[..cut]);
        if form.len() > cut {
            self.add_one(label, &form[form.len() - cut..]);
        }
        true
    }

    fn add_one(&mut self, label: u32, bytes: &[u8]) {
        let (Some(first), Ok(at), Ok(len)) =
            (first_of(bytes), u32::try_from(self.bytes.len()), u8::try_from(bytes.len()))
        else {
            unreachable!("a needle has 8 to 32 bytes, and all of them less than 4 GiB")
        };
        self.bytes.extend_from_slice(bytes);
        self.needles.push(Needle { first, at, len, label });
    }

    /// Ready to look. Nothing may be added any more.
    #[must_use]
    pub fn finish(mut self) -> Self {
        self.needles.sort_unstable();
        self.filter = vec![0; 1 << (FILTER_BITS - 6)];
        for needle in &self.needles {
            let place = place_of(needle.first);
            self.filter[place / 64] |= 1 << (place % 64);
        }
        self
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.needles.len()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.needles.is_empty()
    }

    /// Tells `found` the label of every needle in `haystack`, with the place where it begins.
    pub fn search(&self, haystack: &[u8], mut found: impl FnMut(u32, usize)) {
        for (at, window) in haystack.windows(NEEDLE_BYTES_MIN).enumerate() {
            let Some(first) = first_of(window) else { continue };
            let place = place_of(first);
            if self.filter[place / 64] & (1 << (place % 64)) == 0 {
                continue;
            }
            let from = self.needles.partition_point(|needle| needle.first < first);
            for needle in self.needles[from..].iter().take_while(|needle| needle.first == first) {
                let bytes = &self.bytes[needle.at as usize..][..needle.len.into()];
                if haystack[at..].starts_with(bytes) {
                    found(needle.label, at);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sillok_consensus::testing::Random;

    fn all(needles: &Needles, haystack: &[u8]) -> Vec<(u32, usize)> {
        let mut all = Vec::new();
        needles.search(haystack, |label, at| all.push((label, at)));
        all.sort_unstable();
        all
    }

    fn naive(parts: &[Vec<u8>], haystack: &[u8]) -> Vec<(u32, usize)> {
        let mut all = Vec::new();
        for (label, part) in (0..).zip(parts) {
            for at in 0..haystack.len() {
                if haystack[at..].starts_with(part) {
                    all.push((label, at));
                }
            }
        }
        all.sort_unstable();
        all
    }

    /// Few different bytes, so that needles begin alike, overlap and stand at the very ends.
    #[test]
    fn a_search_finds_what_a_search_byte_by_byte_finds_and_nothing_else() {
        let mut random = Random::new(1);
        for _ in 0..200 {
            let mut string = |len: usize| -> Vec<u8> {
                (0..len).map(|_| b'a' + u8::try_from(random.index(2)).unwrap()).collect()
            };
            let mut haystack = string(400);
            let lengths = [8, 8, 9, 12, 16, 31, 32];
            let mut parts: Vec<Vec<u8>> = lengths.map(&mut string).to_vec();
            parts.push(haystack[..8].to_vec());
            parts.push(haystack[haystack.len() - 20..].to_vec());
            haystack.extend_from_slice(&parts[6].clone());
            let mut needles = Needles::default();
            for (label, part) in (0..).zip(&parts) {
                assert!(needles.add(label, part));
            }
            let needles = needles.finish();
            let expected = naive(&parts, &haystack);
            assert!(expected.len() >= 3);
            assert_eq!(all(&needles, &haystack), expected);
        }
    }

    #[test]
    fn base64_is_found_wherever_it_begins_and_whatever_stands_around_it() {
        use base64::Engine as _;
        use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
        let secret = "남궁민수?>~ÿ".as_bytes();
        for before in 0..7 {
            for after in 0..4 {
                let bytes = [vec![0xa5; before], secret.to_vec(), vec![0x5a; after]].concat();
                for text in [BASE64_STANDARD.encode(&bytes), BASE64_URL_SAFE_NO_PAD.encode(&bytes)]
                {
                    let mut needles = Needles::default();
                    for (label, last) in [(0, *b"+/"), (1, *b"-_")] {
                        assert!(needles.add(label, &base64_inside(secret, before % 3, last)));
                    }
                    assert!(
                        !all(&needles.finish(), text.as_bytes()).is_empty(),
                        "{before} {after}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_form_of_a_text_is_found_also_when_it_is_cut_short() {
        let text = "서울특별시 종로구 세종대로 209, 12동 1403호";
        let forms = forms(text);
        assert_eq!(String::from_utf8(forms[2].1.clone()).unwrap(), text);
        assert!(forms.iter().any(|(name, _)| *name == "sha-512 base64 +2"));
        // `printf '서울…' | md5sum`, as any old system would write it.
        let md5 = forms.iter().find(|(name, _)| *name == "md5 hex").unwrap();
        assert_eq!(String::from_utf8(md5.1.clone()).unwrap(), "c8ee5f07aa358ef77f8adf48cd0cda75");
        let sha1 = forms.iter().find(|(name, _)| *name == "sha-1 hex").unwrap();
        assert_eq!(
            String::from_utf8(sha1.1.clone()).unwrap(),
            "a4c833868a5d86c051a1c81c134afc4c0ff0361e"
        );
        for (name, form) in &forms {
            let mut needles = Needles::default();
            assert!(needles.add(9, form), "{name}");
            let needles = needles.finish();
            for part in [&form[..form.len().min(32)], &form[form.len().saturating_sub(32)..]] {
                let haystack = [b"....", part, b"...."].concat();
                assert!(all(&needles, &haystack).iter().any(|(label, at)| (*label, *at) == (9, 4)));
            }
        }
        // What would be found by accident is not looked for.
        assert!(!Needles::default().add(0, b"1234567"));
    }
}
