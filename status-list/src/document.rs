//! Both lists, of the state of one moment: the claims of a Token Status List and the credential of a Bitstring Status
//! List, and our proof as a member of either.
//!
//! A document says what the header in force says, at the time of that header (PROTOCOL §4.5). Signed, the proof stands
//! beside it, at the same URI (decision 29).

use crate::compress::{gzip, zlib};
use crate::jws::Signer;
use crate::request::Asked;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message as _;
use serde_json::{Map, Value, json};
use sillok_did_method::{Did, binding, format_datetime};
use sillok_ledger::status::{StatusPurpose, bitstring};
use sillok_ledger::{Chain, StateFault};
use sillok_proto::{Hash, v1};

/// How long a verifier keeps what it was given before it asks again, in seconds.
pub const TTL_S: u64 = 60;
/// Bits of an entry in a Token Status List.
pub const TOKEN_BITS: u64 = 4;
/// The message of our proof.
pub const PROOF_MESSAGE: &str = "sillok.v1.ListAnswer";
/// Type and media type of a signed Token Status List, without and with `application/`.
pub const TOKEN_TYPE: &str = "statuslist+jwt";
/// The media type of one.
pub const TOKEN_MEDIA_TYPE: &str = "application/statuslist+jwt";
/// Type of a signed Bitstring Status List credential.
pub const CREDENTIAL_TYPE: &str = "vc+jwt";
/// The media type of one.
pub const SIGNED_CREDENTIAL_MEDIA_TYPE: &str = "application/vc+jwt";
/// The media type of a credential that is not signed.
pub const CREDENTIAL_MEDIA_TYPE: &str = "application/vc";
/// The claims of a Token Status List with our proof.
pub const JSON_MEDIA_TYPE: &str = "application/json";

/// Which of the lists of one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum View {
    /// The Token Status List: all states.
    Token,
    /// The Bitstring Status List of what is over for good.
    Revocation,
    /// The Bitstring Status List of what may not be used now.
    Suspension,
}

impl View {
    /// The end of its URI, after that of the list.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Token => "",
            Self::Revocation => "/revocation",
            Self::Suspension => "/suspension",
        }
    }

    /// The purpose of a Bitstring Status List, and what it is called.
    #[must_use]
    pub const fn purpose(self) -> Option<(StatusPurpose, &'static str)> {
        match self {
            Self::Token => None,
            Self::Revocation => Some((StatusPurpose::Revocation, "revocation")),
            Self::Suspension => Some((StatusPurpose::Suspension, "suspension")),
        }
    }

    /// The bytes of its list, before compression.
    ///
    /// # Errors
    ///
    /// [`StateFault`] if an entry has no known state.
    pub fn bytes(self, states: &[u8]) -> Result<Vec<u8>, StateFault> {
        match self.purpose() {
            None => Ok(states.to_vec()),
            Some((purpose, _)) => bitstring(states, purpose),
        }
    }
}

/// The network whose lists are served, and under which name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publisher {
    network: String,
    genesis_hash: Hash,
    list_base: String,
}

impl Publisher {
    /// That of a network's genesis.
    #[must_use]
    pub fn of(chain: &Chain) -> Self {
        Self {
            network: chain.network().to_owned(),
            genesis_hash: *chain.hash(),
            list_base: chain.parameters().list_base.clone(),
        }
    }

    /// The hash of the genesis.
    #[must_use]
    pub const fn genesis_hash(&self) -> &Hash {
        &self.genesis_hash
    }

    /// The path of all lists: that of `list_base`, which ends with a slash (a rule of the genesis).
    #[must_use]
    pub fn path(&self) -> &str {
        let name = self.list_base.split_once("://").map_or("", |(_, name)| name);
        name.find('/').and_then(|slash| name.get(slash..)).unwrap_or("/")
    }

    /// The URI of a list. It names no node.
    #[must_use]
    pub fn uri(&self, list: &Hash, view: View) -> String {
        format!("{}{list}{}", self.list_base, view.suffix())
    }

    /// The DID of an organization of the network, by its digest; `None` if that is no digest.
    #[must_use]
    pub fn did(&self, organization: &[u8]) -> Option<String> {
        let did = Did::new(&self.network, Hash::from_slice(organization)?).ok()?;
        Some(did.to_string())
    }

    /// Our proof, as a member.
    #[must_use]
    pub fn proof(&self, pieces: &[v1::StateAnswer]) -> Value {
        let message = v1::ListAnswer { pieces: pieces.to_vec() }.encode_to_vec();
        let first = pieces.first().and_then(|piece| piece.proof.as_ref());
        let genesis_hash = self.genesis_hash.as_bytes();
        binding::member(&self.network, genesis_hash, first, PROOF_MESSAGE, &message)
    }

    /// A list with our proof in it.
    ///
    /// # Errors
    ///
    /// [`StateFault`] if an entry has no known state, or the list no issuer.
    pub fn proved(&self, listed: &Listed, view: View) -> Result<Value, StateFault> {
        let mut document = match view {
            View::Token => self.claims(listed)?,
            View::Revocation | View::Suspension => {
                let issuer = self.did(&listed.list.issuer);
                let none = || StateFault::new("the issuer of a status list is no digest");
                self.credential(listed, view, &issuer.ok_or_else(none)?)?
            }
        };
        document.insert("proof".to_owned(), self.proof(&listed.pieces));
        Ok(Value::Object(document))
    }

    /// A list, signed; `None` if the key did not sign.
    ///
    /// # Errors
    ///
    /// [`StateFault`] if an entry has no known state.
    pub fn signed(
        &self,
        listed: &Listed,
        view: View,
        signer: &Signer,
    ) -> Result<Option<String>, StateFault> {
        if view == View::Token {
            let claims = Value::Object(self.claims(listed)?);
            return Ok(signer.token(TOKEN_TYPE, None, &claims));
        }
        let issuer = signer.did().to_string();
        let mut payload = self.credential(listed, view, &issuer)?;
        payload.insert("iss".to_owned(), issuer.into());
        payload.insert("iat".to_owned(), listed.from_s().into());
        payload.insert("exp".to_owned(), listed.until_s().into());
        payload.insert("sillok".to_owned(), self.place(listed));
        Ok(signer.token(CREDENTIAL_TYPE, Some("vc"), &Value::Object(payload)))
    }

    fn claims(&self, listed: &Listed) -> Result<Map<String, Value>, StateFault> {
        let lst = URL_SAFE_NO_PAD.encode(zlib(&View::Token.bytes(&listed.states)?));
        Ok(object(json!({
            "sub": self.uri(&listed.name, View::Token),
            "iat": listed.from_s(),
            "exp": listed.until_s(),
            "ttl": TTL_S,
            "status_list": { "bits": TOKEN_BITS, "lst": lst },
            "sillok": self.place(listed),
        })))
    }

    fn credential(
        &self,
        listed: &Listed,
        view: View,
        issuer: &str,
    ) -> Result<Map<String, Value>, StateFault> {
        let uri = self.uri(&listed.name, view);
        let purpose = view.purpose().map_or("", |(_, name)| name);
        let encoded = URL_SAFE_NO_PAD.encode(gzip(&view.bytes(&listed.states)?));
        Ok(object(json!({
            "@context": ["https://www.w3.org/ns/credentials/v2"],
            "id": uri,
            "type": ["VerifiableCredential", "BitstringStatusListCredential"],
            "issuer": issuer,
            "validFrom": format_datetime(listed.from_s().saturating_mul(1000)),
            "validUntil": format_datetime(listed.until_s().saturating_mul(1000)),
            "credentialSubject": {
                "id": format!("{uri}#list"),
                "type": "BitstringStatusList",
                "statusPurpose": purpose,
                // Multibase: base64url without padding.
                "encodedList": format!("u{encoded}"),
                "ttl": TTL_S * 1000,
            },
        })))
    }

    /// Which state it is, for who looks for its proof.
    fn place(&self, listed: &Listed) -> Value {
        let mut place = json!({
            "genesisHash": self.genesis_hash.to_string(),
            "height": listed.height.to_string(),
        });
        if listed.asked.time_s().is_some() {
            place["knownAt"] = listed.known_height.to_string().into();
        }
        place
    }

    /// The URI of the same state with our proof, whatever comes after it.
    #[must_use]
    pub fn proof_uri(&self, listed: &Listed, view: View) -> String {
        let uri = self.uri(&listed.name, view);
        match listed.asked.time_s() {
            None => format!("{uri}?height={}", listed.known_height),
            Some(time_s) => format!("{uri}?time={time_s}&known_at={}", listed.known_height),
        }
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// A list at a moment, as whoever holds the state read it.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// Its name.
    pub name: Hash,
    /// Its leaf.
    pub list: v1::StatusList,
    /// What was asked.
    pub asked: Asked,
    /// The packed states of all entries.
    pub states: Vec<u8>,
    /// Height of the header in force.
    pub height: u64,
    /// Its time, in milliseconds.
    pub time_ms: u64,
    /// Height of the header by whose state it is known.
    pub known_height: u64,
    /// What proves it.
    pub pieces: Vec<v1::StateAnswer>,
    /// Why it may not be signed, if it may not.
    pub unsigned: Option<crate::request::Refusal>,
}

impl Listed {
    /// From when on it is so, in whole seconds: the time of its header.
    #[must_use]
    pub const fn from_s(&self) -> u64 {
        self.time_ms / 1000
    }

    /// Until when that may be taken for the present.
    #[must_use]
    pub fn until_s(&self) -> u64 {
        self.from_s().saturating_add(u64::from(self.list.max_age_s))
    }

    /// Is it the present that was asked about?
    #[must_use]
    pub const fn is_present(&self) -> bool {
        matches!(self.asked, Asked::Now)
    }
}
