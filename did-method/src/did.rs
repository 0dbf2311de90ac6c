//! The identifier `did:sillok:<network>:<suffix>`, in its one spelling.
//!
//! The suffix is `z` and the base58btc of the multihash (BLAKE3-256) of the inception (PROTOCOL §3.1). The ledger
//! stores the 32-byte digest, so two spellings of one digest would be one DID with two names: this parser accepts
//! exactly the string that [`Did`] prints. Paths, queries and fragments are in `did_url`.

use sillok_proto::Hash;
use std::fmt;
use std::str::FromStr;

/// The method name.
pub const METHOD: &str = "sillok";

/// Longest network name, in characters.
pub const NETWORK_CHARS_MAX: usize = 24;

/// Multicodec of BLAKE3 and the digest length in bytes: the two bytes before the digest in the suffix.
const MULTIHASH_PREFIX: [u8; 2] = [0x1e, 0x20];

/// The suffix of every DID of this method has 47 characters. Decoding base58 takes quadratic time, so text that is
/// longer than any multihash worth an exact answer is refused unread.
const SUFFIX_CHARS_MAX: usize = 64;

/// A DID of this method.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Did {
    // Always 1 to 24 characters of a-z and 0-9.
    network: String,
    digest: Hash,
}

/// Why text is not a DID of this method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DidError {
    /// Breaks the syntax of DID Core 1.1 §3.1, whatever the method.
    #[error("this is not a did ({reason}); write did:sillok:<network>:<suffix>")]
    NotADid {
        /// Which part of the grammar is broken.
        reason: &'static str,
    },
    /// A well-formed DID of another method.
    #[error("the did method is not sillok; ask a resolver of that method")]
    OtherMethod,
    /// After the method name there are not exactly a network and a suffix.
    #[error(
        "a sillok did has two parts after the method name, a network and a suffix, not {parts}; copy it whole"
    )]
    Parts {
        /// Number of parts found between colons.
        parts: usize,
    },
    /// The network is empty, too long, or has other characters than a-z and 0-9.
    #[error(
        "the network name is not 1 to 24 characters of a-z and 0-9; use the name in the genesis"
    )]
    Network,
    /// The suffix does not begin with `z`, the multibase prefix of base58btc.
    #[error("the suffix does not begin with z; copy the did exactly, its case matters")]
    SuffixBase,
    /// The suffix has a character that base58btc does not have, or is far too long.
    #[error("the suffix is not base58btc; copy the did exactly, its case matters")]
    SuffixAlphabet,
    /// Another spelling of a suffix: leading zeros, or a multihash whose integers are not minimal.
    #[error("the suffix is not spelled canonically; use the did as its resolver prints it")]
    SuffixNotCanonical,
    /// A multihash of another hash function.
    #[error(
        "the suffix is not a blake3 multihash; a sillok did begins its multihash with 0x1e 0x20"
    )]
    HashFunction,
    /// A BLAKE3 multihash of another length than 32 bytes.
    #[error("the digest in the suffix is not 32 bytes long; copy the did whole")]
    DigestLength,
}

/// Checks a network name: 1 to 24 characters of a-z and 0-9.
///
/// # Errors
///
/// [`DidError::Network`].
pub fn check_network(network: &str) -> Result<(), DidError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if (1..=NETWORK_CHARS_MAX).contains(&network.len()) && network.bytes().all(allowed) {
        Ok(())
    } else {
        Err(DidError::Network)
    }
}

impl Did {
    /// The DID of `digest` on `network`.
    ///
    /// # Errors
    ///
    /// [`DidError::Network`].
    pub fn new(network: impl Into<String>, digest: Hash) -> Result<Self, DidError> {
        let network = network.into();
        check_network(&network)?;
        Ok(Self { network, digest })
    }

    /// Parses the one spelling of a DID; a DID URL is refused.
    ///
    /// # Errors
    ///
    /// [`DidError`], the general syntax first, then the method, then the form of this method.
    pub fn parse(text: &str) -> Result<Self, DidError> {
        let (method, id) = split_method(text)?;
        if method != METHOD {
            return Err(DidError::OtherMethod);
        }
        let Some((network, suffix)) = id.split_once(':').filter(|(_, rest)| !rest.contains(':'))
        else {
            return Err(DidError::Parts { parts: id.split(':').count() });
        };
        let did = Self::new(network, parse_suffix(suffix, network)?)?;
        // The rules above leave one spelling only; if they ever did not, this does.
        if did.to_string() == text { Ok(did) } else { Err(DidError::SuffixNotCanonical) }
    }

    /// The network, as its genesis names it.
    #[must_use]
    pub fn network(&self) -> &str {
        &self.network
    }

    /// The digest of the inception: what the ledger calls this DID.
    #[must_use]
    pub const fn digest(&self) -> Hash {
        self.digest
    }

    /// The suffix, the last part of the DID.
    #[must_use]
    pub fn suffix(&self) -> String {
        let mut multihash = Vec::with_capacity(34);
        multihash.extend_from_slice(&MULTIHASH_PREFIX);
        multihash.extend_from_slice(self.digest.as_bytes());
        format!("z{}", bs58::encode(multihash).into_string())
    }
}

/// Splits a DID of any method into its name and its method-specific id (DID Core 1.1 §3.1).
pub(crate) fn split_method(text: &str) -> Result<(&str, &str), DidError> {
    let not = |reason| Err(DidError::NotADid { reason });
    let Some(rest) = text.strip_prefix("did:") else {
        return not("it does not begin with did:");
    };
    let Some((method, id)) = rest.split_once(':') else {
        return not("nothing follows the method name");
    };
    if method.is_empty() {
        return not("the method name is empty");
    }
    if !method.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
        return not("the method name has characters other than a-z and 0-9");
    }
    // method-specific-id = *( *idchar ":" ) 1*idchar
    if id.is_empty() || id.ends_with(':') {
        return not("the last part is empty");
    }
    let mut bytes = id.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b':' => {}
            b'%' => {
                let hex = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
                if !(hex(bytes.next()) && hex(bytes.next())) {
                    return not("a percent sign is not followed by two hexadecimal digits");
                }
            }
            b'/' | b'?' | b'#' => return not("it has a path, query or fragment"),
            _ => return not("it has a character that DIDs do not have"),
        }
    }
    Ok((method, id))
}

/// The digest in `suffix`. Takes the network only to report its fault before the suffix's, from left to right.
fn parse_suffix(suffix: &str, network: &str) -> Result<Hash, DidError> {
    check_network(network)?;
    let base58 = suffix.strip_prefix('z').ok_or(DidError::SuffixBase)?;
    if base58.len() > SUFFIX_CHARS_MAX {
        return Err(DidError::SuffixAlphabet);
    }
    let multihash = bs58::decode(base58).into_vec().map_err(|_| DidError::SuffixAlphabet)?;
    // A multihash begins with two unsigned varints. A leading zero byte is base58's `1`; a first byte with its
    // high bit set begins a longer varint, and 0x9e 0x00 would be 0x1e again.
    match multihash.as_slice() {
        [0, ..] | [0x9e, 0x00, ..] | [0x1e, 0xa0, 0x00, ..] => Err(DidError::SuffixNotCanonical),
        [0x1e, 0x20, digest @ ..] => Hash::from_slice(digest).ok_or(DidError::DigestLength),
        [0x1e, ..] => Err(DidError::DigestLength),
        _ => Err(DidError::HashFunction),
    }
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "did:{METHOD}:{}:{}", self.network, self.suffix())
    }
}

impl fmt::Debug for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Did {
    type Err = DidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn did() -> Did {
        Did::new("devnet", Hash([7; 32])).unwrap()
    }

    fn refused(text: &str, expected: DidError) {
        assert_eq!(Did::parse(text), Err(expected), "{text}");
    }

    /// A DID whose suffix is the base58btc of `bytes`, whatever they are.
    fn with_multihash(bytes: &[u8]) -> String {
        format!("did:sillok:devnet:z{}", bs58::encode(bytes).into_string())
    }

    fn multihash(prefix: &[u8], digest_len: usize) -> Vec<u8> {
        [prefix, &vec![7; digest_len]].concat()
    }

    #[test]
    fn a_did_goes_both_ways() {
        for (network, digest) in [
            ("devnet", [7; 32]),
            ("a", [0; 32]),
            ("0", [255; 32]),
            ("abcdefghijklmnopqrstuvwx", [1; 32]),
        ] {
            let did = Did::new(network, Hash(digest)).unwrap();
            assert_eq!(Did::parse(&did.to_string()), Ok(did.clone()));
            assert_eq!((did.network(), did.digest()), (network, Hash(digest)));
            assert_eq!(did.suffix().len(), 47, "the length does not depend on the digest");
        }
    }

    #[test]
    fn the_spelling_is_golden() {
        assert_eq!(
            did().to_string(),
            "did:sillok:devnet:zgVx96LvWYTq4ouocjvwMMa1NAXtiAquREsid1RCcYLtATQ"
        );
        assert_eq!(with_multihash(&multihash(&[0x1e, 0x20], 32)), did().to_string());
    }

    #[test]
    fn text_outside_the_syntax_of_dids_is_not_a_did() {
        let check = |text: &str, reason| refused(text, DidError::NotADid { reason });
        check("", "it does not begin with did:");
        check("not-a-did", "it does not begin with did:");
        check(" did:sillok:devnet:z1", "it does not begin with did:");
        check("DID:sillok:devnet:z1", "it does not begin with did:");
        check("urn:did:sillok:devnet:z1", "it does not begin with did:");
        check("did", "it does not begin with did:");
        check("did:", "nothing follows the method name");
        check("did:example", "nothing follows the method name");
        check("did::devnet:z1", "the method name is empty");
        check("did:Sillok:devnet:z1", "the method name has characters other than a-z and 0-9");
        check("did:SILLOK:devnet:z1", "the method name has characters other than a-z and 0-9");
        check("did:sil-lok:devnet:z1", "the method name has characters other than a-z and 0-9");
        check("did:sillok:", "the last part is empty");
        check("did:sillok:devnet:", "the last part is empty");
        check("did:sillok:devnet:z1:", "the last part is empty");
        check("did:sillok:devnet:z1#key", "it has a path, query or fragment");
        check("did:sillok:devnet#z1:a", "it has a path, query or fragment");
        check("did:sillok:devnet:z1?a=b", "it has a path, query or fragment");
        check("did:sillok:devnet/../other:z1", "it has a path, query or fragment");
        check("did:sillok:devnet:z1 ", "it has a character that DIDs do not have");
        check("did:sillok:devnet:z1\n", "it has a character that DIDs do not have");
        check("did:sillok:devnet:z1\0", "it has a character that DIDs do not have");
        check("did:sillok:[::1]:z1", "it has a character that DIDs do not have");
        check("did:sillok:dev\u{ac00}:z1", "it has a character that DIDs do not have");
        check("did:sillok:devnet:z%", "a percent sign is not followed by two hexadecimal digits");
        check("did:sillok:devnet:z%4", "a percent sign is not followed by two hexadecimal digits");
        check("did:sillok:devnet:z%4g", "a percent sign is not followed by two hexadecimal digits");
    }

    #[test]
    fn dids_of_other_methods_are_left_to_others() {
        for text in [
            "did:example:123",
            "did:web:example.com",
            "did:webvh:a:b%3A1:c",
            "did:sillok2:a:b",
            "did:x::y",
            "did:x:.",
        ] {
            refused(text, DidError::OtherMethod);
        }
    }

    #[test]
    fn there_are_exactly_a_network_and_a_suffix() {
        let suffix = did().suffix();
        refused(&format!("did:sillok:{suffix}"), DidError::Parts { parts: 1 });
        refused(&format!("did:sillok:devnet:x:{suffix}"), DidError::Parts { parts: 3 });
        refused(&format!("did:sillok:devnet::{suffix}"), DidError::Parts { parts: 3 });
        refused(&format!("did:sillok::devnet:{suffix}"), DidError::Parts { parts: 3 });
    }

    #[test]
    fn a_network_is_a_short_lower_case_name() {
        let suffix = did().suffix();
        for network in [
            "",
            "Devnet",
            "DEVNET",
            "dev-net",
            "dev_net",
            "..",
            ".",
            "%2e%2e",
            "127.0.0.1",
            "registry.example",
            "devnet%3A8080",
            "abcdefghijklmnopqrstuvwxy",
        ] {
            refused(&format!("did:sillok:{network}:{suffix}"), DidError::Network);
            assert_eq!(Did::new(network, Hash([7; 32])), Err(DidError::Network));
        }
    }

    #[test]
    fn a_suffix_is_base58btc_after_z() {
        let suffix = did().suffix();
        refused(&format!("did:sillok:devnet:{}", &suffix[1..]), DidError::SuffixBase);
        refused(&format!("did:sillok:devnet:Z{}", &suffix[1..]), DidError::SuffixBase);
        refused("did:sillok:devnet:u1e20", DidError::SuffixBase);
        refused("did:sillok:devnet:..", DidError::SuffixBase);
        for bad in ["0", "O", "I", "l", "-", "_", ".", "%41"] {
            refused(&format!("did:sillok:devnet:{suffix}{bad}"), DidError::SuffixAlphabet);
        }
        refused(&format!("did:sillok:devnet:{}", "z".repeat(66)), DidError::SuffixAlphabet);
        refused(&format!("did:sillok:devnet:{}", "z".repeat(100_000)), DidError::SuffixAlphabet);
    }

    #[test]
    fn a_suffix_is_a_blake3_multihash_of_32_bytes() {
        // SHA-256, identity, a bare digest, nothing.
        refused(&with_multihash(&multihash(&[0x12, 0x20], 32)), DidError::HashFunction);
        refused(&with_multihash(&multihash(&[0x1f, 0x20], 32)), DidError::HashFunction);
        refused(&with_multihash(&multihash(&[], 32)), DidError::HashFunction);
        refused("did:sillok:devnet:z", DidError::HashFunction);
        refused(&with_multihash(&multihash(&[0x1e, 0x20], 31)), DidError::DigestLength);
        refused(&with_multihash(&multihash(&[0x1e, 0x20], 33)), DidError::DigestLength);
        refused(&with_multihash(&multihash(&[0x1e, 0x1f], 31)), DidError::DigestLength);
        refused(&with_multihash(&multihash(&[0x1e, 0x21], 33)), DidError::DigestLength);
        refused(&with_multihash(&multihash(&[0x1e, 0x14], 20)), DidError::DigestLength);
        refused(&with_multihash(&[0x1e, 0x20]), DidError::DigestLength);
        refused(&with_multihash(&[0x1e]), DidError::DigestLength);
    }

    #[test]
    fn a_suffix_has_one_spelling() {
        let suffix = did().suffix();
        // A leading 1 is a zero byte that other decoders might strip.
        refused(&format!("did:sillok:devnet:z1{}", &suffix[1..]), DidError::SuffixNotCanonical);
        // 0x1e and 0x20 as varints that are longer than need be.
        refused(&with_multihash(&multihash(&[0x9e, 0x00, 0x20], 32)), DidError::SuffixNotCanonical);
        refused(&with_multihash(&multihash(&[0x1e, 0xa0, 0x00], 32)), DidError::SuffixNotCanonical);
        // Case matters: another suffix is another DID or none.
        let swapped: String = suffix[1..]
            .chars()
            .map(|c| {
                if c.is_ascii_uppercase() { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() }
            })
            .collect();
        assert!(Did::parse(&format!("did:sillok:devnet:z{swapped}")).is_err());
        // The percent-encoded form of a letter is refused, not decoded.
        let encoded = format!("did:sillok:devnet:z%{:02X}{}", suffix.as_bytes()[1], &suffix[2..]);
        refused(&encoded, DidError::SuffixAlphabet);
    }
}
