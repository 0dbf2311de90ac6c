//! The one encoding of a message: protobuf that encodes to itself.
//!
//! Protobuf allows many encodings of one message (unknown fields, explicit defaults, fields out of order, repeated
//! scalars). A signed or hashed message has exactly one: [`decode`] accepts only bytes that [`encode`] would make.
//! That the schema has no map, float or recursion, and is at most 8 deep, is held by this crate's tests.

use prost::Message;

/// Why bytes are not a canonical message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CanonicalError {
    /// Longer than the caller allows; nothing was decoded.
    #[error("the message has {len} bytes, more than the {max} allowed; send less")]
    TooLong {
        /// Length received, in bytes.
        len: usize,
        /// Longest length accepted, in bytes.
        max: usize,
    },
    /// Not protobuf of this type: truncated, a wrong wire type, or text that is not UTF-8.
    #[error(
        "the bytes are not a protobuf message of this type ({reason}); send the canonical encoding"
    )]
    Malformed {
        /// What the decoder says.
        reason: String,
    },
    /// Decodes, but encodes to other bytes: an unknown field, an explicit default, or fields out of order.
    #[error(
        "the encoding is not canonical; encode with every field once, in order, without defaults or unknown fields"
    )]
    NotCanonical,
}

/// Encodes a message canonically.
#[must_use]
pub fn encode<M: Message>(message: &M) -> Vec<u8> {
    message.encode_to_vec()
}

/// Decodes `bytes`, of which there may be at most `bytes_max`, and checks that they are canonical.
///
/// # Errors
///
/// [`CanonicalError`]: too long, malformed, or not canonical.
pub fn decode<M: Message + Default>(bytes: &[u8], bytes_max: usize) -> Result<M, CanonicalError> {
    if bytes.len() > bytes_max {
        return Err(CanonicalError::TooLong { len: bytes.len(), max: bytes_max });
    }
    let message = M::decode(bytes)
        .map_err(|error| CanonicalError::Malformed { reason: error.to_string() })?;
    if message.encoded_len() != bytes.len() || encode(&message) != bytes {
        return Err(CanonicalError::NotCanonical);
    }
    Ok(message)
}
