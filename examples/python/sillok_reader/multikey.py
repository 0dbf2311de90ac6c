"""Public keys as documents show them: Multikey (Controlled Identifiers 1.0) and thumbprints (RFC 7638)."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .did import base58_decode, base58_encode

ED25519, P256, X25519 = 1, 2, 3
PREFIXES = {ED25519: b"\xed\x01", P256: b"\x80\x24", X25519: b"\xec\x01"}
LENGTHS = {ED25519: 32, P256: 33, X25519: 32}
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class InvalidKey(ValueError):
    """No public key of this method."""


@dataclass(frozen=True)
class PublicKey:
    """A key: its number in the registry of algorithms, and its point."""

    algorithm: int
    point: bytes

    def __post_init__(self) -> None:
        if LENGTHS.get(self.algorithm) != len(self.point):
            raise InvalidKey("the algorithm is unknown or the length is another")

    @classmethod
    def from_multikey(cls, text: str) -> PublicKey:
        """The key in a `publicKeyMultibase`."""
        if not text.startswith("z") or len(text) > 128:
            raise InvalidKey("a Multikey of this method is base58btc and begins with z")
        try:
            data = base58_decode(text[1:])
        except ValueError as error:
            raise InvalidKey("not base58btc") from error
        for algorithm, prefix in PREFIXES.items():
            if data.startswith(prefix):
                return cls(algorithm, data[len(prefix):])
        raise InvalidKey("of another algorithm than Ed25519, P-256 and X25519")

    def multikey(self) -> str:
        """The key as `publicKeyMultibase`."""
        return "z" + base58_encode(PREFIXES[self.algorithm] + self.point)

    def jwk(self) -> dict[str, str]:
        """The members of the JWK that a thumbprint covers."""
        if self.algorithm == P256:
            key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), self.point)
            point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            return {"crv": "P-256", "kty": "EC", "x": url64(point[1:33]), "y": url64(point[33:])}
        curve = "Ed25519" if self.algorithm == ED25519 else "X25519"
        return {"crv": curve, "kty": "OKP", "x": url64(self.point)}

    def thumbprint(self) -> str:
        """What stands after `#` in the id of the verification method."""
        canonical = json.dumps(self.jwk(), sort_keys=True, separators=(",", ":"))
        return url64(hashlib.sha256(canonical.encode()).digest())

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Does the signature hold, by the rules of the record (docs/protocol.md, Signatures)?"""
        if len(signature) != 64:
            return False
        try:
            if self.algorithm == ED25519:
                # Of small order neither key nor R may be; the library checks the rest of what is strict.
                if is_small_order(self.point) or is_small_order(signature[:32]):
                    return False
                ed25519.Ed25519PublicKey.from_public_bytes(self.point).verify(signature, message)
                return True
            if self.algorithm == P256:
                r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
                if s > P256_ORDER // 2:
                    return False
                key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), self.point)
                key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
                return True
        except (InvalidSignature, ValueError):
            return False
        return False


# y of the points whose order divides 8, little-endian and without the sign of x; 0 and 1 also as p and p + 1.
SMALL_ORDER_Y = {
    int.from_bytes(bytes.fromhex(y), "little")
    for y in (
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    )
} | {0, 1, 2**255 - 20, 2**255 - 19, 2**255 - 18}


def is_small_order(point: bytes) -> bool:
    """Is an encoded point of Ed25519 one whose order divides 8?"""
    return int.from_bytes(point, "little") % 2**255 in SMALL_ORDER_Y


def url64(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
