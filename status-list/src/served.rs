//! Reading what somebody served: a list in either form, with bounds on all that comes from strangers.
//!
//! What is read here is what the document says. Whether that is so follows from its signature ([`crate::jws`]) or from its
//! proof, which is for whoever trusts a header (`sillok_client::served`).

use crate::compress::{gunzip, unzlib};
use crate::document::{PROOF_MESSAGE, View};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use sillok_did_method::binding::{ProofMemberError, is_member, read_member};
use sillok_did_method::{LIST_ENTRIES_MAX, LIST_ENTRIES_MIN, parse_datetime};
use sillok_proto::v1;

/// Longest list before compression, in bytes: the largest of ours, and no bomb becomes more.
const LIST_BYTES_MAX: usize = LIST_ENTRIES_MAX as usize / 2;
/// Shortest Bitstring Status List, in bytes: less would single people out (Bitstring Status List, §3.2).
const BITSTRING_BYTES_MIN: usize = LIST_ENTRIES_MIN as usize / 8;

/// Longest proof, in characters: twice what a list of a million entries has whose entries all have dates.
const PROOF_CHARACTERS_MAX: usize = 64 * 1024 * 1024;

/// Why a document is no status list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServedError {
    /// A member is missing or of another kind.
    #[error("`{name}` of the list is missing or not as the standard has it; ask somebody else")]
    Member {
        /// Which.
        name: &'static str,
    },
    /// The list is not compressed as it should be, or becomes too long.
    #[error("the list in the document is damaged or too long; ask somebody else")]
    Compressed,
    /// Fewer entries than the standard allows (`STATUS_LIST_LENGTH_ERROR`).
    #[error("the list has {bytes} bytes, fewer than the standard asks for; it singles people out")]
    Length {
        /// Its bytes.
        bytes: usize,
    },
    /// No proof, or a damaged one.
    #[error(transparent)]
    Proof(#[from] ProofMemberError),
}

/// What a served list says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Which of the lists it is.
    pub view: View,
    /// Its URI.
    pub uri: String,
    /// Since when it is so, in seconds.
    pub from_s: u64,
    /// Until when that may be taken for the present, in seconds.
    pub until_s: u64,
    /// How long to keep it, in seconds.
    pub ttl_s: u64,
    /// Who says so, of a credential.
    pub issuer: Option<String>,
    /// Bits of an entry.
    pub bits: u64,
    /// The list, before compression.
    pub bytes: Vec<u8>,
    /// Height of its header, where the document says it.
    pub height: Option<u64>,
}

impl Served {
    /// Reads a document of this view: claims of a token, or a credential.
    ///
    /// # Errors
    ///
    /// [`ServedError`].
    pub fn read(view: View, document: &Value) -> Result<Self, ServedError> {
        let height = match &document["sillok"]["height"] {
            Value::Null => None,
            height => {
                let height = text(height, "height")?.parse::<u64>();
                Some(height.map_err(|_| ServedError::Member { name: "height" })?)
            }
        };
        let read = if view == View::Token { read_claims } else { read_credential };
        Ok(Self { height, ..read(view, document)? })
    }

    /// What the list says of an entry; `None` beyond its end.
    #[must_use]
    pub fn entry(&self, index: u32) -> Option<u8> {
        let index = usize::try_from(index).ok()?;
        if self.view == View::Token {
            let per_byte = match self.bits {
                1 | 2 | 4 | 8 => 8 / usize::try_from(self.bits).ok()?,
                _ => return None,
            };
            // From the least significant bit on (Token Status List).
            let byte = self.bytes.get(index / per_byte)?;
            let shift = u32::try_from(index % per_byte).ok()? * u32::try_from(self.bits).ok()?;
            let mask = u8::try_from((1_u16 << self.bits) - 1).ok()?;
            return Some(byte.checked_shr(shift)? & mask);
        }
        // From the most significant bit on (Bitstring Status List).
        let byte = self.bytes.get(index / 8)?;
        Some(byte >> (7 - index % 8) & 1)
    }
}

fn number(value: &Value, name: &'static str) -> Result<u64, ServedError> {
    value.as_u64().ok_or(ServedError::Member { name })
}

fn text<'a>(value: &'a Value, name: &'static str) -> Result<&'a str, ServedError> {
    value.as_str().ok_or(ServedError::Member { name })
}

fn read_claims(view: View, claims: &Value) -> Result<Served, ServedError> {
    let list = &claims["status_list"];
    let bits = number(&list["bits"], "bits")?;
    if ![1, 2, 4, 8].contains(&bits) {
        return Err(ServedError::Member { name: "bits" });
    }
    let packed =
        URL_SAFE_NO_PAD.decode(text(&list["lst"], "lst")?).map_err(|_| ServedError::Compressed)?;
    Ok(Served {
        view,
        uri: text(&claims["sub"], "sub")?.to_owned(),
        from_s: number(&claims["iat"], "iat")?,
        until_s: number(&claims["exp"], "exp")?,
        ttl_s: number(&claims["ttl"], "ttl")?,
        issuer: None,
        bits,
        bytes: unzlib(&packed, LIST_BYTES_MAX).ok_or(ServedError::Compressed)?,
        height: None,
    })
}

fn read_credential(view: View, credential: &Value) -> Result<Served, ServedError> {
    let member = |name| ServedError::Member { name };
    let types = credential["type"].as_array().ok_or(member("type"))?;
    let is = |name: &str| types.iter().any(|one| one == name);
    if !is("VerifiableCredential") || !is("BitstringStatusListCredential") {
        return Err(member("type"));
    }
    let subject = &credential["credentialSubject"];
    let purpose = view.purpose().map_or("", |(_, name)| name);
    if subject["type"] != "BitstringStatusList" {
        return Err(member("credentialSubject.type"));
    }
    if subject["statusPurpose"] != purpose {
        return Err(member("statusPurpose"));
    }
    let encoded = text(&subject["encodedList"], "encodedList")?;
    let encoded = encoded.strip_prefix('u').ok_or(member("encodedList"))?;
    let packed = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| ServedError::Compressed)?;
    let bytes = gunzip(&packed, LIST_BYTES_MAX).ok_or(ServedError::Compressed)?;
    if bytes.len() < BITSTRING_BYTES_MIN {
        return Err(ServedError::Length { bytes: bytes.len() });
    }
    let seconds = |name: &'static str| {
        let time_ms = parse_datetime(text(&credential[name], name)?).map_err(|_| member(name))?;
        Ok::<_, ServedError>(time_ms / 1000)
    };
    Ok(Served {
        view,
        uri: text(&credential["id"], "id")?.to_owned(),
        from_s: seconds("validFrom")?,
        until_s: seconds("validUntil")?,
        ttl_s: number(&subject["ttl"], "ttl")? / 1000,
        issuer: Some(text(&credential["issuer"], "issuer")?.to_owned()),
        bits: 1,
        bytes,
        height: None,
    })
}

/// The pieces in our proof.
///
/// # Errors
///
/// [`ServedError::Proof`].
pub fn read_proof(document: &Value) -> Result<Vec<v1::StateAnswer>, ServedError> {
    let member = &document["proof"];
    if !is_member(member, PROOF_MESSAGE) {
        return Err(ProofMemberError::Missing.into());
    }
    if member["proofValue"].as_str().is_some_and(|text| text.len() > PROOF_CHARACTERS_MAX) {
        return Err(ProofMemberError::Damaged.into());
    }
    let answer: v1::ListAnswer = read_member(member)?;
    Ok(answer.pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use sha2::{Digest as _, Sha256};

    fn claims(bits: u64, lst: &str) -> Value {
        json!({ "sub": "https://a.example/1", "iat": 1, "exp": 2, "ttl": 60,
            "status_list": { "bits": bits, "lst": lst } })
    }

    fn credential(purpose: &str, encoded: &str) -> Value {
        json!({
            "@context": ["https://www.w3.org/ns/credentials/v2"],
            "id": "https://a.example/1",
            "type": ["VerifiableCredential", "BitstringStatusListCredential"],
            "issuer": "did:example:1",
            "validFrom": "2026-11-21T09:00:00Z",
            "validUntil": "2026-11-21T09:15:00Z",
            "credentialSubject": { "type": "BitstringStatusList", "statusPurpose": purpose,
                "encodedList": encoded, "ttl": 60_000 }
        })
    }

    /// The lists of the draft (`ietf-token-status-list.json`), entry by entry.
    #[test]
    fn the_published_token_status_lists_are_read() {
        let file = include_str!("../tests/vectors/token-status-list.json");
        let file: Value = serde_json::from_str(file).unwrap();
        let lists = file["lists"].as_array().unwrap();
        assert_eq!(lists.len(), 6);
        for list in lists {
            let bits = list["bits"].as_u64().unwrap();
            let lst = list["json"]["lst"].as_str().unwrap();
            let read = Served::read(View::Token, &claims(bits, lst));
            if bits == 8 {
                // A list that is longer than any of ours, which have 4 bits.
                assert_eq!(read, Err(ServedError::Compressed));
                continue;
            }
            let served = read.unwrap();
            let hash = hex::encode(Sha256::digest(&served.bytes));
            assert_eq!(hash, list["uncompressed_sha256"].as_str().unwrap());
            let statuses = list["statuses"].as_object().unwrap();
            let entries = u32::try_from(list["entries"].as_u64().unwrap()).unwrap();
            let mut set = 0;
            for index in 0..entries {
                let expected = statuses.get(&index.to_string()).and_then(Value::as_u64);
                set += usize::from(expected.is_some());
                let state = served.entry(index).map(u64::from);
                assert_eq!(state, Some(expected.unwrap_or(0)), "entry {index} of {bits} bits");
            }
            assert_eq!(set, statuses.len());
        }
    }

    /// Published bit strings (`w3c-bitstring-status-list.json`); those below the minimum are refused.
    #[test]
    fn the_published_bitstrings_are_read() {
        let file = include_str!("../tests/vectors/bitstring-status-list.json");
        let file: Value = serde_json::from_str(file).unwrap();
        let mut read = 0;
        for vector in file["vectors"].as_array().unwrap() {
            let encoded = vector["encodedList"].as_str().unwrap();
            let encoded = format!("u{}", encoded.trim_start_matches('u'));
            let bytes = vector["uncompressed_len_bytes"].as_u64().unwrap();
            let served = Served::read(View::Revocation, &credential("revocation", &encoded));
            if vector["meets_131072_minimum"] == true {
                let served = served.unwrap();
                assert_eq!(served.bytes.len() as u64, bytes);
                assert!((0..131_072).all(|index| served.entry(index) == Some(0)));
                read += 1;
            } else {
                let bytes = usize::try_from(bytes).unwrap();
                assert_eq!(served, Err(ServedError::Length { bytes }));
            }
        }
        assert_eq!(read, 1);
    }

    #[test]
    fn the_first_entry_is_the_most_significant_bit() {
        let mut bytes = vec![0; BITSTRING_BYTES_MIN];
        bytes[0] = 0b0100_1000;
        let encoded = format!("u{}", URL_SAFE_NO_PAD.encode(crate::compress::gzip(&bytes)));
        let served = Served::read(View::Suspension, &credential("suspension", &encoded)).unwrap();
        let set: Vec<u32> = (0..131_072).filter(|at| served.entry(*at) == Some(1)).collect();
        assert_eq!((set, served.entry(131_072)), (vec![1, 4], None));
        assert_eq!((served.from_s, served.until_s), (1_795_251_600, 1_795_252_500));
        // The list of one purpose is not taken for that of another.
        let other = Served::read(View::Revocation, &credential("suspension", &encoded));
        assert_eq!(other, Err(ServedError::Member { name: "statusPurpose" }));
    }

    #[test]
    fn a_proof_has_a_bound() {
        let too_long = "A".repeat(PROOF_CHARACTERS_MAX);
        let proof = json!({ "proof": { "type": "SillokStateProof", "message": PROOF_MESSAGE,
            "proofValue": format!("u{too_long}") } });
        assert_eq!(read_proof(&proof), Err(ServedError::Proof(ProofMemberError::Damaged)));
        let mut listed = claims(4, "eNrbuRgAAhcBXQ");
        listed["sillok"] = json!({ "height": "7 " });
        let read = Served::read(View::Token, &listed);
        assert_eq!(read, Err(ServedError::Member { name: "height" }));
    }

    #[test]
    fn a_bomb_becomes_no_list() {
        let bomb = URL_SAFE_NO_PAD.encode(crate::compress::zlib(&vec![0; 64 * 1024 * 1024]));
        let read = Served::read(View::Token, &claims(4, &bomb));
        assert_eq!(read, Err(ServedError::Compressed));
        for bits in [0, 3, 5, 16, u64::MAX] {
            let read = Served::read(View::Token, &claims(bits, "eNrbuRgAAhcBXQ"));
            assert_eq!(read, Err(ServedError::Member { name: "bits" }), "{bits}");
        }
    }

    proptest! {
        #[test]
        fn any_document_ends_without_a_panic(
            lst in "[A-Za-z0-9_-]{0,100}",
            number in any::<u64>(),
            index in any::<u32>(),
        ) {
            let token = claims(number % 9, &lst);
            let listed = credential("revocation", &format!("u{lst}"));
            for view in [View::Token, View::Revocation, View::Suspension] {
                for document in [&token, &listed, &json!(lst), &json!([number]), &Value::Null] {
                    let _ = Served::read(view, document).map(|served| served.entry(index));
                    let _ = read_proof(document);
                }
            }
            let proof = json!({ "proof": { "type": "SillokStateProof", "message": PROOF_MESSAGE,
                "proofValue": format!("u{lst}") } });
            let _ = read_proof(&proof);
        }
    }
}
