"""Status lists as they are served, decoded by implementations that are not ours, and every bit compared.

What the state is says `sillok status` (of the counts, and of each entry that was touched), and for each of the 131,072
entries the chunks of `StatusRegistry.ExportList`. A status issuer's door signs; a node's door has the proof instead.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import jwt
import pytest
from conftest import Scene
from openvc.did.base import multikey_to_jwk
from openvc.status.bitstring import decode_bitstring, get_status_bit
from openvc.status.issue import verify_status_list_token
from openvc.status.status_list import check_credential_status
from openvc.status.token_status_list import check_token_status, decode_status_list, get_status
from sillok.v1 import api_pb2 as api
from sillok.v1.api_pb2_grpc import StatusRegistryStub
from sillok_reader import http, status
from sillok_reader.did import Did
from sillok_reader.document import check_form, document_json
from sillok_reader.rpc import Node
from sillok_reader.verify import tree_key

ROOT = Path(__file__).resolve().parents[3]
VALID, INVALID, SUSPENDED, PENDING, SUPERSEDED = 0, 1, 2, 3, 12
CHUNK_ENTRIES = 8192
CHUNK_KIND = 4
# Entries at the edges of bytes, chunks and the list.
TOUCHED = {
    VALID: [0, 6, 8191, 70_000],
    INVALID: [1, 8192, 131_071],
    SUSPENDED: [7, 16_384],
    SUPERSEDED: [3, 131_070],
}
REASONS = {VALID: "first-issue", INVALID: "lost-device", SUSPENDED: "suspected", SUPERSEDED: "found"}


@dataclass(frozen=True)
class Lists:
    """A list of the network, the door of its status issuer, and what each entry is."""

    scene: Scene
    name: str
    uri: str
    issuer: str
    door: str
    expected: list[int]

    def served(self, accept: str, ending: str = "", door: str | None = None) -> http.Answer:
        """The list at the path of its URI, which names no node."""
        answer = http.ask((door or self.door) + urlsplit(self.uri).path + ending, accept)
        assert answer.status == 200, answer.body
        assert answer.headers["content-type"] == accept
        return answer

    def signing_key(self, token: str) -> dict[str, str]:
        """The key in the `kid` of a token as a JWK, decoded by openvc, of a document that was verified with its proof."""
        kid = jwt.get_unverified_header(token)["kid"]
        did = Did.parse(kid.partition("#")[0])
        assert str(did) == self.issuer
        with Node.connect(self.scene.node) as node:
            genesis = node.genesis(bytes.fromhex(self.scene.genesis_hash))
            document = document_json(did, node.resolve(genesis, did).document)
        assert kid in document["assertionMethod"]
        [method] = [one for one in document["verificationMethod"] if one["id"] == kid]
        return multikey_to_jwk(method["publicKeyMultibase"])


def states(scene: Scene, name: str, capacity: int) -> list[int]:
    """The state of every entry, of the leaves of the chunks; without its leaf all of a chunk are pending."""
    chunks = {
        tree_key(CHUNK_KIND, bytes.fromhex(name) + number.to_bytes(4, "big")): number
        for number in range(capacity // CHUNK_ENTRIES)
    }
    found = [PENDING] * capacity
    with grpc.insecure_channel(scene.node.removeprefix("http://")) as channel:
        request = api.ExportListRequest(list=bytes.fromhex(name))
        for piece in StatusRegistryStub(channel).ExportList(request, timeout=60):
            for leaf in piece.proof.entries:
                if leaf.key in chunks and leaf.present:
                    # A canonical StatusChunk: field 1, of 4,096 bytes.
                    packed, first = leaf.value[3:], chunks[leaf.key] * CHUNK_ENTRIES
                    assert len(packed) == CHUNK_ENTRIES // 2
                    for at, byte in enumerate(packed):
                        found[first + 2 * at] = byte & 15
                        found[first + 2 * at + 1] = byte >> 4
    return found


@pytest.fixture(scope="module")
def lists(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lists]:
    files = tmp_path_factory.mktemp("lists")
    sillok = scene.sillok
    kind = sillok("type", "publish", str(ROOT / "docs/examples/access-badge.type.json"), "--yes")["type"]
    name = sillok("status", "create-list", kind, "--yes")["list"]

    def change(state: str, indexes: list[int], reason: str) -> None:
        chosen = [word for index in indexes for word in ("--index", str(index))]
        sillok("status", "set", name, state, *chosen, "--reason", reason, "--channel", "office", "--yes")

    every = sorted(index for indexes in TOUCHED.values() for index in indexes)
    change("valid", every, REASONS[VALID])
    for state, word in [(INVALID, "invalid"), (SUSPENDED, "suspended"), (SUPERSEDED, "superseded")]:
        change(word, TOUCHED[state], REASONS[state])

    office, door_key = str(files / "office.json"), str(files / "door.json")
    issuer = sillok("did", "create", "--kind", "organization", "--out", office)["did"]
    sillok("trust", "accredit", issuer, "serve-status", "--on", name, "--yes")
    sillok("key", "copy", office, "--relationships", "assertionMethod", "--out", door_key)
    with Node.connect(scene.node) as node:
        base = node.genesis(bytes.fromhex(scene.genesis_hash)).parameters.list_base
    capacity = sillok("status", "show", name)["capacity"]
    expected = states(scene, name, capacity)

    command = ["sillok", "status", "serve", "--key", door_key, "--listen", "127.0.0.1:0"]
    home = ["--home", str(files / "home")]
    with subprocess.Popen(
        [*command, *home], env=scene.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        try:
            found = (re.search(r"http://127\.0\.0\.1:\d+", line) for line in server.stdout)
            door = next(match.group() for match in found if match)
            yield Lists(scene, name, base + name, issuer, door, expected)
        finally:
            server.terminate()


def test_what_is_compared_against_is_what_the_program_says(lists: Lists) -> None:
    shown = lists.scene.sillok("status", "show", lists.name)
    counted = Counter(status.STATES[state] for state in lists.expected)
    assert shown["entries"] == {word: counted[word] for word in status.STATES.values()}
    for state, indexes in TOUCHED.items():
        for index in indexes:
            assert lists.expected[index] == state
            told = lists.scene.sillok(
                "status", "check", lists.name, str(index), exit_code=0 if state == VALID else 9
            )
            assert told["verdict"] == status.STATES[state].upper(), index


def test_c11_openvc_verifies_the_token_status_list_and_every_entry_agrees(lists: Lists) -> None:
    token = lists.served("application/statuslist+jwt").body.decode()
    key = lists.signing_key(token)
    claims = verify_status_list_token(token, public_key_jwk=key, expected_uri=lists.uri)
    bits = claims["status_list"]["bits"]
    data = decode_status_list(claims["status_list"]["lst"])
    assert (bits, len(data)) == (4, len(lists.expected) // 2)
    assert [get_status(data, index, bits=bits) for index in range(len(lists.expected))] == lists.expected
    # As a verifier meets it: a referenced token with an index and the URI.
    for state, indexes in TOUCHED.items():
        referenced = {"status": {"status_list": {"idx": indexes[0], "uri": lists.uri}}}
        found = check_token_status(referenced, resolve_status_list_token=lambda _uri: claims)
        assert found.status == state


def test_c11_pyjwt_verifies_the_signature_and_refuses_another_key(lists: Lists) -> None:
    token = lists.served("application/statuslist+jwt").body.decode()
    key = jwt.PyJWK(lists.signing_key(token))
    claims = jwt.decode(token, key=key, algorithms=["EdDSA", "ES256"])
    assert claims["sub"] == lists.uri
    assert claims["iat"] <= time.time() < claims["exp"]
    head, payload, signature = token.split(".")
    forged = f"{head}.{payload}.{signature[:-2]}{'AA' if signature[-2:] != 'AA' else 'BB'}"
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(forged, key=key, algorithms=["EdDSA", "ES256"])


@pytest.mark.parametrize(
    ("purpose", "set_for"), [("revocation", {INVALID, SUPERSEDED}), ("suspension", {SUSPENDED, PENDING})]
)
def test_c11_openvc_decodes_the_bitstring_and_every_bit_agrees(
    lists: Lists, purpose: str, set_for: set[int]
) -> None:
    token = lists.served("application/vc+jwt", f"/{purpose}").body.decode()
    key = jwt.PyJWK(lists.signing_key(token))
    signed = jwt.decode(token, key=key, algorithms=["EdDSA", "ES256"])
    # A node has no key: it serves the credential unsigned, with the proof beside.
    unsigned = lists.served("application/vc", f"/{purpose}", lists.scene.http).json()
    for credential in (signed, unsigned):
        assert credential["id"] == f"{lists.uri}/{purpose}"
        subject = credential["credentialSubject"]
        assert subject["statusPurpose"] == purpose
        bits = decode_bitstring(subject["encodedList"])
        assert len(bits) * 8 >= 131_072
        decoded = [get_status_bit(bits, index) for index in range(len(lists.expected))]
        assert decoded == [int(state in set_for) for state in lists.expected]
    # As a verifier meets it: a credential with an entry.
    for state, indexes in TOUCHED.items():
        entry = {
            "type": "BitstringStatusListEntry",
            "statusPurpose": purpose,
            "statusListIndex": str(indexes[0]),
            "statusListCredential": f"{lists.uri}/{purpose}",
        }
        found = check_credential_status(
            {"credentialStatus": entry}, resolve_status_list=lambda _url: signed
        )
        assert (found.revoked if purpose == "revocation" else found.suspended) == (state in set_for)


def test_a_nodes_door_says_the_same_with_its_proof(lists: Lists) -> None:
    claims = lists.served("application/json", door=lists.scene.http).json()
    data = decode_status_list(claims["status_list"]["lst"])
    assert [get_status(data, index, bits=4) for index in range(len(lists.expected))] == lists.expected
    assert claims["sub"] == lists.uri
    [proof] = claims["proof"] if isinstance(claims["proof"], list) else [claims["proof"]]
    assert proof["proofValue"].startswith("u")


def test_the_example_reads_a_list_and_says_what_it_did_not_check(lists: Lists) -> None:
    token = lists.served("application/statuslist+jwt").body.decode()
    did = Did.parse(status.kid_of(token).partition("#")[0])
    with Node.connect(lists.scene.node) as node:
        genesis = node.genesis(bytes.fromhex(lists.scene.genesis_hash))
        keys = check_form(did, document_json(did, node.resolve(genesis, did).document))
    now_s = int(time.time())
    found = status.read_token(token, keys, lists.uri, now_s)
    assert [found.state(index) for index in range(len(lists.expected))] == lists.expected
    for wrong in (
        lambda: status.read_token(token, {}, lists.uri, now_s),
        lambda: status.read_token(token, keys, lists.uri + "0", now_s),
        lambda: status.read_token(token, keys, lists.uri, found.expires_s),
        lambda: status.read_token(token[:-3] + "AAA", keys, lists.uri, now_s),
        lambda: found.state(len(lists.expected)),
    ):
        with pytest.raises(status.NotAList):
            wrong()

    here = Path(__file__).resolve().parent.parent
    path = {"PYTHONPATH": f"{here}{os.pathsep}{here / 'generated'}"}
    for index, code in [(TOUCHED[VALID][0], 0), (TOUCHED[INVALID][0], 9)]:
        command = [sys.executable, "-m", "sillok_reader", "--node", lists.scene.node, "--http", lists.door]
        more = ["--genesis-hash", lists.scene.genesis_hash, "entry", lists.uri, str(index)]
        done = subprocess.run([*command, *more], env=os.environ | path, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        assert done.stdout.strip() == status.STATES[lists.expected[index]]
        assert "NOT CHECKED: that the ledger agrees" in done.stderr


def test_no_door_serves_one_entry(lists: Lists) -> None:
    path = urlsplit(lists.uri).path
    for ending in ("/0", "/entries/0", "?index=0"):
        answer = http.ask(lists.scene.http + path + ending)
        assert answer.status in (400, 404), ending
    assert json.loads(http.ask(lists.scene.http + path + "?index=0").body)["status"] == 400
