"""The HTTP doors of a node (docs/http.md), with the standard library alone."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from sillok.v1 import api_pb2 as api

TIMEOUT_S = 15
ANSWER_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True)
class Answer:
    """Status, headers and body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def ask(
    url: str, accept: str | None = None, body: Any = None, follow: bool = False
) -> Answer:
    """One request: GET, or POST of JSON. Redirects are answers here, for a DID URL may lead to one."""
    request = urllib.request.Request(url)
    if accept:
        request.add_header("Accept", accept)
    if body is not None:
        request.add_header("Content-Type", "application/json")
        request.data = json.dumps(body).encode()
    opener = urllib.request.build_opener() if follow else urllib.request.build_opener(NoRedirect)
    try:
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            return _read(answer)
    except urllib.error.HTTPError as error:
        # 404, 410, 501 and the like carry a result too.
        with error:
            return _read(error)


def _read(answer: Any) -> Answer:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Answer(answer.status, headers, answer.read(ANSWER_BYTES_MAX))


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves 303 to the caller."""

    def redirect_request(self, *_args: Any, **_more: Any) -> None:
        return None


def resolve(node: str, did_url: str, accept: str | None = None) -> Answer:
    """A DID or DID URL, percent-encoded as a whole."""
    return ask(f"{node}/1.0/identifiers/{quote(did_url, safe='')}", accept)


def read_proof(result: dict[str, Any]) -> api.ResolveResponse | None:
    """The answer of the node that stands in the metadata of a result, for `Verifier.resolution`."""
    for name in ("didDocumentMetadata", "didResolutionMetadata"):
        # A set, for others may add proofs of theirs.
        for proof in result.get(name, {}).get("proof", []):
            if proof.get("type") == "SillokStateProof":
                value = proof["proofValue"].removeprefix("u")
                data = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
                return api.ResolveResponse.FromString(data)
    return None


def authorized(node: str, query: dict[str, Any]) -> Answer:
    """May an entity do something, under an authority? (TRQP v2)"""
    return ask(f"{node}/authorization", body=query)


def recognized(node: str, query: dict[str, Any]) -> Answer:
    """May it let others do it?"""
    return ask(f"{node}/recognition", body=query)
