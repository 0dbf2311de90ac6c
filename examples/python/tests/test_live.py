"""A running network, asked over gRPC and HTTP as a stranger would, trusting the genesis hash and nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from conftest import Scene, run
from sillok.v1 import api_pb2 as api
from sillok.v1 import record_pb2 as record
from sillok_reader import http
from sillok_reader.did import Did
from sillok_reader.document import check_form, resolution_json
from sillok_reader.rpc import Node, now_ms
from sillok_reader.verify import Asked, Refused, TrustedHeader, Verifier

SORTS = [
    "holder",
    "holderWithKeyAgreement",
    "holderWithAnotherDevice",
    "holderWithoutDevice",
    "organization",
    "registrar",
]


@pytest.fixture(scope="module")
def genesis(scene: Scene) -> record.Genesis:
    with Node.connect(scene.node) as node:
        return node.genesis(bytes.fromhex(scene.genesis_hash))


def verifier_of(scene: Scene, genesis: record.Genesis, answer: api.ResolveResponse) -> Verifier:
    """A verifier from the genesis on, whatever validators changed on this network before."""
    with Node.connect(scene.node) as node:
        return node.verifier(genesis, answer.proof.signed_header.header)


def without_proof(result: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {key: value for key, value in (part or {}).items() if key != "proof"} if part else part
        for name, part in result.items()
    }


@pytest.mark.parametrize("sort", SORTS)
def test_a_did_is_resolved_and_verified_over_grpc_and_http_alike(
    scene: Scene, genesis: record.Genesis, sort: str
) -> None:
    did = Did.parse(scene.dids[sort])
    with Node.connect(scene.node) as node:
        found = node.resolve(genesis, did)
    assert found.head is not None and not found.stale
    served = http.resolve(scene.http, str(did))
    assert served.status == 200
    assert served.headers["content-type"] == "application/did-resolution"
    # What we derive from what is proved is what the door says.
    assert without_proof(served.json()) == resolution_json(found)
    # The proof travels in the metadata, through any resolver.
    proof = http.read_proof(served.json())
    verifier = verifier_of(scene, genesis, proof)
    assert resolution_json(verifier.resolution(did, Asked(), proof)) == resolution_json(found)
    # And what can be told without a proof.
    assert len(check_form(did, served.json()["didDocument"])) == len(found.document.keys)
    bare = http.resolve(scene.http, str(did), "application/did")
    assert bare.headers["content-type"] == "application/did"
    assert bare.json() == served.json()["didDocument"]


def test_earlier_versions_stay_and_are_verified(scene: Scene, genesis: record.Genesis) -> None:
    did = Did.parse(scene.dids["holderWithAnotherDevice"])
    with Node.connect(scene.node) as node:
        first, now = node.resolve(genesis, did, version=1), node.resolve(genesis, did)
    assert (first.head.version, first.next_version, now.head.version) == (1, 2, 2)
    assert first.document.keys[0].key != now.document.keys[0].key
    served = http.resolve(scene.http, f"{did}?versionId=1").json()
    assert without_proof(served) == resolution_json(first)


def test_a_deactivated_did_has_no_document_and_no_error(scene: Scene, genesis: record.Genesis) -> None:
    did = Did.parse(scene.dids["deactivated"])
    with Node.connect(scene.node) as node:
        found = node.resolve(genesis, did)
    assert found.head.deactivated and found.document is None
    served = http.resolve(scene.http, str(did))
    assert served.status == 410
    assert without_proof(served.json()) == resolution_json(found)
    assert served.json()["didDocumentMetadata"]["deactivated"] is True


def test_that_there_is_no_such_did_is_proved(scene: Scene, genesis: record.Genesis) -> None:
    did = Did.parse(scene.dids["nobody"])
    with Node.connect(scene.node) as node:
        found = node.resolve(genesis, did)
    assert found.head is None and not found.stale
    served = http.resolve(scene.http, str(did))
    assert served.status == 404
    assert served.json()["didResolutionMetadata"]["error"]["type"].endswith("#NOT_FOUND")
    proof = http.read_proof(served.json())
    assert verifier_of(scene, genesis, proof).resolution(did, Asked(), proof).head is None


def test_a_proof_that_was_changed_on_the_way_is_refused(scene: Scene, genesis: record.Genesis) -> None:
    did, other = (Did.parse(scene.dids[name]) for name in ("holder", "organization"))
    honest, stranger = (http.read_proof(http.resolve(scene.http, str(one)).json()) for one in (did, other))
    verifier = verifier_of(scene, genesis, honest)
    with pytest.raises(Refused, match="NotCovered"):
        verifier.resolution(did, Asked(), stranger)
    changed = api.ResolveResponse()
    changed.CopyFrom(honest)
    changed.document.CopyFrom(stranger.document)
    with pytest.raises(Refused, match="ForgedDocument"):
        verifier.resolution(did, Asked(), changed)
    elsewhere = record.Genesis()
    elsewhere.CopyFrom(genesis)
    elsewhere.time_ms += 1
    with pytest.raises(Refused, match="WrongNetwork"):
        Verifier(elsewhere, TrustedHeader.genesis(elsewhere), now_ms()).resolution(did, Asked(), honest)


def test_did_urls_are_dereferenced(scene: Scene) -> None:
    organization = scene.dids["organization"]
    service = http.resolve(scene.http, f"{organization}?service=linked-domains", "text/uri-list")
    assert (service.status, service.body) == (303, b"")
    assert service.headers["location"].startswith("https://")
    document = http.resolve(scene.http, organization, "application/did").json()
    method = document["verificationMethod"][0]
    accept = "application/did-url-dereferencing"
    assert http.resolve(scene.http, method["id"], accept).json()["content"] == method
    for wrong, status in [("not-a-did", 400), ("did:example:123", 501), (f"{organization}/path", 404)]:
        assert http.resolve(scene.http, wrong).status == status, wrong


def test_rights_are_asked_by_trqp(scene: Scene) -> None:
    query = {
        "entity_id": scene.dids["registrar"],
        "authority_id": f"urn:sillok:governance:{scene.network}",
        "action": "register",
        "resource": "urn:sillok:all",
    }
    answer = http.authorized(scene.http, query)
    assert answer.status == 200 and answer.json()["authorized"] is True
    assert {name: answer.json()[name] for name in query} == query
    assert http.recognized(scene.http, query).json()["recognized"] in (True, False)
    other = query | {"entity_id": scene.dids["organization"]}
    assert http.authorized(scene.http, other).json()["authorized"] is False
    assert http.authorized(scene.http, query | {"entity_id": scene.dids["nobody"]}).status == 404


def test_c13_what_a_door_does_not_know_it_passes_over(scene: Scene) -> None:
    request = api.ResolveRequest(did=scene.dids["holder"]).SerializeToString()
    # Field 900, of a later version.
    later = request + b"\xa2\x38\x01x"
    with grpc.insecure_channel(scene.node.removeprefix("http://")) as channel:
        call = channel.unary_unary("/sillok.v1.DidResolver/Resolve")
        answer = api.ResolveResponse.FromString(call(later, timeout=15))
    assert answer.heads
    query = {
        "entity_id": scene.dids["registrar"],
        "authority_id": f"urn:sillok:governance:{scene.network}",
        "action": "register",
        "resource": "urn:sillok:all",
        "later": {"any": ["thing"]},
    }
    assert http.authorized(scene.http, query).json()["authorized"] is True


def test_a_change_of_validators_is_followed(
    scene: Scene, genesis: record.Genesis, tmp_path: Path
) -> None:
    told = run("sillok-devnet", "--dir", str(scene.directory), "rekey-validator", "2")
    [seated] = re.findall(r"since height (\d+)", told)
    did = Did.parse(scene.dids["holder"])
    # Something to write, so that there is a block of the new set.
    height = 0
    for number in range(10):
        out = str(tmp_path / f"{number}.json")
        height = int(scene.sillok("did", "create", "--kind", "holder", "--out", out)["height"])
        if height >= int(seated):
            break
    with Node.connect(scene.node) as node:
        found = node.resolve(genesis, did, min_height=height)
        served = http.read_proof(http.resolve(scene.http, str(did)).json())
        verifier = node.verifier(genesis, served.proof.signed_header.header)
    assert found.head is not None and not found.stale
    first = TrustedHeader.genesis(genesis)
    assert verifier.trusted.height > 0
    assert verifier.trusted.next_validators != first.next_validators
    assert resolution_json(verifier.resolution(did, Asked(), served)) == resolution_json(found)
    # Who does not follow believes nothing of it.
    with pytest.raises(Refused, match="WrongValidatorSet"):
        Verifier(genesis, first, now_ms()).resolution(did, Asked(), served)


def reader(scene: Scene, *arguments: str) -> subprocess.CompletedProcess[str]:
    here = Path(__file__).resolve().parent.parent
    command = [sys.executable, "-m", "sillok_reader", "--node", scene.node, "--http", scene.http]
    path = {"PYTHONPATH": f"{here}{os.pathsep}{here / 'generated'}"}
    more = ["--genesis-hash", scene.genesis_hash]
    return subprocess.run(
        [*command, *more, *arguments], env=os.environ | path, capture_output=True, text=True
    )


def test_the_program_says_what_it_checked_and_what_not(scene: Scene) -> None:
    proved = reader(scene, "resolve", scene.dids["holder"])
    assert proved.returncode == 0, proved.stderr
    assert "checked:     the state proof" in proved.stderr
    assert "NOT CHECKED: that nothing newer was seen before" in proved.stderr
    told = reader(scene, "resolve-http", scene.dids["holder"])
    assert told.returncode == 0, told.stderr
    assert "NOT CHECKED: the state proof" in told.stderr
    assert "NOT CHECKED: the certificate" in told.stderr
    assert reader(scene, "resolve-http", "--proof", scene.dids["holder"]).returncode == 0
    assert reader(scene, "resolve", scene.dids["nobody"]).returncode == 5
    assert reader(scene, "resolve", scene.dids["deactivated"]).returncode == 6
    assert reader(scene, "resolve", "did:sillok:devnet:x").returncode == 64
    elsewhere = reader(scene, "--genesis-hash", "00" * 32, "resolve", scene.dids["holder"])
    assert elsewhere.returncode == 4 and "WrongNetwork" in elsewhere.stderr
