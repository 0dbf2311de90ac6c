"""Resolving over gRPC, with the classes that protoc made of the published files (build_protos.py)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from sillok.v1 import api_pb2 as api
from sillok.v1 import record_pb2 as record
from sillok.v1.api_pb2_grpc import DidResolverStub, LedgerStub

from .canonical import hash_message
from .did import Did
from .verify import Asked, Refused, Resolution, TrustedHeader, Verifier

TIMEOUT_S = 15


def now_ms() -> int:
    """This machine's clock."""
    return time.time_ns() // 1_000_000


class Node:
    """A node that nobody trusts."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.resolver = DidResolverStub(channel)
        self.ledger = LedgerStub(channel)

    @classmethod
    @contextmanager
    def connect(cls, url: str) -> Iterator[Node]:
        """A node at `http://host:port`, as `sillok-devnet env` prints it. Put TLS before a public one."""
        with grpc.insecure_channel(url.removeprefix("http://")) as channel:
            yield cls(channel)

    def genesis(self, genesis_hash: bytes) -> record.Genesis:
        """The genesis of this hash, which was had from somebody that is trusted; the node only carries it."""
        genesis = self.ledger.GetGenesis(api.GetGenesisRequest(), timeout=TIMEOUT_S).genesis
        if hash_message("genesis", genesis) != genesis_hash:
            raise Refused("WrongNetwork", "the node is of another network")
        return genesis

    def resolve(
        self, genesis: record.Genesis, did: Did, version: int | None = None, min_height: int = 0
    ) -> Resolution:
        """The current version of a DID, or the one of this number, verified from the genesis on."""
        request = api.ResolveRequest(did=str(did), min_height=min_height)
        if version is not None:
            request.version_id = str(version)
        answer = self.resolver.Resolve(request, timeout=TIMEOUT_S)
        verifier = self.verifier(genesis, answer.proof.signed_header.header, min_height)
        return verifier.resolution(did, Asked(version=version), answer)

    def verifier(
        self, genesis: record.Genesis, header: record.Header, min_height: int = 0
    ) -> Verifier:
        """A verifier that starts at the genesis, and follows the changes of validators if `header` names another set."""
        verifier = Verifier(genesis, TrustedHeader.genesis(genesis), now_ms(), min_height=min_height)
        while header.validator_set_hash != hash_message("validator-set", verifier.trusted.next_validators):
            before = verifier.trusted.height
            request = api.GetTrustBundleRequest(from_height=before)
            bundle = self.ledger.GetTrustBundle(request, timeout=TIMEOUT_S)
            if verifier.follow(bundle).height == before:
                break
        return verifier
