//! Our proof as a `proof` member of the metadata, and back.
//!
//! DID Resolution leaves the form to the method and lets resolvers pass the member on, so that a verifier behind any of
//! them can check the answer as if it had asked a node over gRPC.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;
use serde_json::{Value, json};
use sillok_proto::v1;

/// The `type` of the member.
pub const PROOF_TYPE: &str = "SillokStateProof";
/// The message in `proofValue`.
const MESSAGE: &str = "sillok.v1.ResolveResponse";
/// Multibase: base64url without padding.
const MULTIBASE: char = 'u';

/// The JSON of a proof.
pub type ProofMember = Value;

/// Why a member is no proof of ours. Whether what it proves is so is for the verifier of `ResolveResponse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofMemberError {
    /// No `proof` in either metadata, or none of this type.
    #[error("the result carries no proof of this method; ask a node of the network")]
    Missing,
    /// `proofValue` is not what its type says.
    #[error("the proof of the result is damaged; ask again")]
    Damaged,
}

/// The member for what a node found. It carries everything but the JSON.
#[must_use]
pub fn proof_member(
    network: &str,
    genesis_hash: &[u8],
    found: &v1::ResolveResponse,
) -> ProofMember {
    let bare = v1::ResolveResponse { resolution_json: String::new(), ..found.clone() };
    member(network, genesis_hash, found.proof.as_ref(), MESSAGE, &bare.encode_to_vec())
}

/// A member with this message. It names the header that certifies it, for people and for a first look.
#[must_use]
pub fn member(
    network: &str,
    genesis_hash: &[u8],
    proof: Option<&v1::StateProof>,
    message: &str,
    encoded: &[u8],
) -> ProofMember {
    let header = proof
        .and_then(|proof| proof.signed_header.as_ref())
        .and_then(|signed| signed.header.as_ref());
    let (height, time_ms) = header.map_or((0, 0), |header| (header.height, header.time_ms));
    json!({
        "type": PROOF_TYPE,
        "network": network,
        "genesisHash": hex::encode(genesis_hash),
        "height": height.to_string(),
        "time": crate::datetime::format_datetime(time_ms),
        "message": message,
        "proofValue": format!("{MULTIBASE}{}", URL_SAFE_NO_PAD.encode(encoded)),
    })
}

/// The answer of a node in the JSON of a resolution or dereferencing result, for a verifier that takes nothing from the
/// JSON itself.
///
/// # Errors
///
/// [`ProofMemberError`].
pub fn read_proof(result: &Value) -> Result<v1::ResolveResponse, ProofMemberError> {
    let places = [
        "didDocumentMetadata",
        "didResolutionMetadata",
        "contentMetadata",
        "dereferencingMetadata",
    ];
    places
        .iter()
        .filter_map(|place| result.get(place)?.get("proof")?.as_array())
        .flatten()
        .find(|member| is_member(member, MESSAGE))
        .map_or(Err(ProofMemberError::Missing), read_member)
}

/// Is this a member of ours, with this message?
#[must_use]
pub fn is_member(value: &Value, message: &str) -> bool {
    value["type"] == PROOF_TYPE && value["message"] == message
}

/// The message in a member.
///
/// # Errors
///
/// [`ProofMemberError::Damaged`].
pub fn read_member<M: Message + Default>(member: &Value) -> Result<M, ProofMemberError> {
    let text = member["proofValue"].as_str().and_then(|value| value.strip_prefix(MULTIBASE));
    let bytes = text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    bytes.and_then(|bytes| M::decode(bytes.as_slice()).ok()).ok_or(ProofMemberError::Damaged)
}
