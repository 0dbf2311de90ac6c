"""What the doors serve, read by implementations of the standards that are not ours and never saw our code."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import Scene
from openvc.did.base import multikey_to_jwk
from pydid import DIDDocument
from pydid.verification_method import Multikey
from sillok_reader import http
from sillok_reader.multikey import PublicKey

SORTS = [
    "holder",
    "holderWithKeyAgreement",
    "holderWithAnotherDevice",
    "holderWithoutDevice",
    "organization",
    "registrar",
]


def served(scene: Scene, sort: str) -> dict[str, Any]:
    return http.resolve(scene.http, scene.dids[sort], "application/did").json()


@pytest.mark.parametrize("sort", SORTS)
def test_c11_pydid_reads_every_document(scene: Scene, sort: str) -> None:
    document = served(scene, sort)
    read = DIDDocument.deserialize(document)
    assert str(read.id) == scene.dids[sort]
    for method in document.get("verificationMethod", []):
        found = read.dereference(method["id"])
        assert isinstance(found, Multikey)
        assert found.public_key_multibase == method["publicKeyMultibase"]
    for name in ("authentication", "assertionMethod", "keyAgreement", "capabilityInvocation"):
        for reference in document.get(name, []):
            assert read.dereference(reference).id == reference
    for service in document.get("service", []):
        assert read.dereference(service["id"]).type == service["type"]
    # Written again, it is the same document.
    assert json.loads(read.to_json()) == document


def test_c11_openvc_decodes_every_key_as_we_do(scene: Scene) -> None:
    algorithms = set()
    for sort in SORTS:
        for method in served(scene, sort).get("verificationMethod", []):
            key = PublicKey.from_multikey(method["publicKeyMultibase"])
            if key.jwk()["crv"] == "X25519":
                # It reads keys that sign, and this one does not.
                continue
            jwk = multikey_to_jwk(method["publicKeyMultibase"])
            assert key.jwk().items() <= jwk.items()
            algorithms.add(key.jwk()["crv"])
    assert algorithms == {"Ed25519", "P-256"}
