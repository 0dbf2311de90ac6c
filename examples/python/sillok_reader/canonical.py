"""Canonical bytes, tagged hashes and signed strings (docs/protocol.md, Part I)."""

from __future__ import annotations

from typing import TypeVar

from blake3 import blake3
from google.protobuf.message import DecodeError, Message

M = TypeVar("M", bound=Message)


class NotCanonical(ValueError):
    """The bytes are no message, or another encoding of one."""


def encode(message: Message) -> bytes:
    """The one encoding: fields in order, no defaults. The schema has no maps, so that is what protobuf writes."""
    return message.SerializeToString(deterministic=True)


def decode(kind: type[M], data: bytes) -> M:
    """Reads canonical bytes and refuses every other encoding, unknown fields among them."""
    message = kind()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise NotCanonical("no message of this kind") from error
    message.DiscardUnknownFields()
    if encode(message) != data:
        raise NotCanonical("not the canonical encoding")
    return message


def digest(data: bytes) -> bytes:
    """BLAKE3-256 without a tag: what DIDs and values of leaves are hashed by."""
    return blake3(data).digest()


def tagged(tag: str, *parts: bytes) -> bytes:
    """H(tag, parts): every hash of a message says what it is about."""
    return digest(b"sillok/v1/" + tag.encode() + b"\0" + b"".join(parts))


def hash_message(tag: str, message: Message) -> bytes:
    """H(tag, message)."""
    return tagged(tag, encode(message))


def signed_string(tag: str, genesis_hash: bytes, statement: bytes) -> bytes:
    """What is signed: tag, genesis hash, statement."""
    return b"sillok/v1/" + tag.encode() + b"\0" + genesis_hash + statement
