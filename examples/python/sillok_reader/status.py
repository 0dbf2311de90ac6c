"""Status lists as an operator's HTTP door serves them: Token Status List, signed as a JWT (docs/http.md, "Status lists").

A token is signed with a key of the status issuer's DID, so it is as good as what is known of that DID: resolve it with its
proof first. What the signature does not say is whether the ledger agrees: that is in the proof beside the list.
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from typing import Any

from .multikey import ED25519, P256, PublicKey

STATES = {0: "valid", 1: "invalid", 2: "suspended", 3: "pending", 12: "superseded"}
ALGORITHMS = {"EdDSA": ED25519, "ES256": P256}
LIST_BYTES_MAX = 1_048_576 // 2


class NotAList(ValueError):
    """The answer is no status list, or one that must not be believed."""


@dataclass(frozen=True)
class StatusList:
    """A list as its token says it."""

    uri: str
    issued_s: int
    expires_s: int
    bits: int
    states: bytes

    def state(self, index: int) -> int:
        """The state of an entry; the first of a byte stands in its lowest bits."""
        per_byte = 8 // self.bits
        if not 0 <= index < len(self.states) * per_byte:
            raise NotAList("the list has no such entry")
        byte = self.states[index // per_byte]
        return byte >> index % per_byte * self.bits & (1 << self.bits) - 1


def kid_of(token: str) -> str:
    """The verification method that is said to have signed a token: whose DID to resolve."""
    return str(_json(token.split(".")[0]).get("kid"))


def read_token(token: str, keys: dict[str, PublicKey], uri: str, now_s: int) -> StatusList:
    """Checks a token and reads it. `keys`: the verification methods under `assertionMethod` of the DID in its `kid`."""
    try:
        head, payload, signature = token.split(".")
        header, claims = _json(head), _json(payload)
        key = keys.get(header["kid"])
        if header["typ"] != "statuslist+jwt":
            raise NotAList("the token is something else")
        if key is None or ALGORITHMS.get(header["alg"]) != key.algorithm:
            raise NotAList("no assertion method of the issuer has this kid and algorithm")
        if not key.verifies(_bytes(signature), f"{head}.{payload}".encode()):
            raise NotAList("the signature does not hold")
        if claims["sub"] != uri:
            raise NotAList("the token is of another list")
        if not claims["iat"] - 10 <= now_s < claims["exp"]:
            raise NotAList("the token has expired, or is of the future")
        bits = claims["status_list"]["bits"]
        if bits not in (1, 2, 4, 8):
            raise NotAList("entries of that many bits there are not")
        inflate = zlib.decompressobj()
        states = inflate.decompress(_bytes(claims["status_list"]["lst"]), LIST_BYTES_MAX)
        if not inflate.eof:
            raise NotAList("the list is cut off or too long")
        return StatusList(uri, claims["iat"], claims["exp"], bits, states)
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        if isinstance(error, NotAList):
            raise
        raise NotAList("the token is malformed") from error


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _json(part: str) -> Any:
    return json.loads(_bytes(part))
