"""The identifier `did:sillok:<network>:<suffix>`, in its one spelling (docs/method.md, 1.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
# BLAKE3-256: multicodec 0x1e, 32 bytes.
MULTIHASH_PREFIX = b"\x1e\x20"
SUFFIX_CHARS_MAX = 64


class InvalidDid(ValueError):
    """The text is no DID of this method."""


@dataclass(frozen=True)
class Did:
    """A DID: the network that it is of, and the BLAKE3 digest of its inception."""

    network: str
    digest: bytes

    @classmethod
    def parse(cls, text: str) -> Did:
        """Reads exactly what `str` of a DID prints, and nothing else."""
        match = re.fullmatch(r"did:sillok:([a-z0-9]{1,24}):(z[1-9A-HJ-NP-Za-km-z]+)", text, re.ASCII)
        if match is None:
            raise InvalidDid("write did:sillok:<network>:<suffix>")
        network, suffix = match.groups()
        # Decoding takes quadratic time, so what is longer than any DID is not decoded.
        if len(suffix) > SUFFIX_CHARS_MAX:
            raise InvalidDid("the suffix is far too long")
        multihash = base58_decode(suffix[1:])
        if multihash[:2] != MULTIHASH_PREFIX or len(multihash) != 34:
            raise InvalidDid("the suffix is no BLAKE3-256 multihash")
        did = cls(network, multihash[2:])
        if str(did) != text:
            raise InvalidDid("another spelling of a DID; use the one that its resolver prints")
        return did

    def __str__(self) -> str:
        return f"did:sillok:{self.network}:z{base58_encode(MULTIHASH_PREFIX + self.digest)}"


def base58_decode(text: str) -> bytes:
    """Base58btc."""
    number = 0
    for character in text:
        number = number * 58 + BASE58.index(character)
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def base58_encode(data: bytes) -> str:
    """Base58btc."""
    number = int.from_bytes(data, "big")
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = BASE58[digit] + digits
    zeros = len(data) - len(data.lstrip(b"\0"))
    return "1" * zeros + digits
