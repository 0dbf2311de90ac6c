"""`python -m sillok_reader`: resolves DIDs, asks about rights, reads status lists, and says what it did not check."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from urllib.parse import urlsplit

from . import http, status
from .did import Did, InvalidDid
from .document import NotADocument, check_form, document_json, resolution_json
from .rpc import Node
from .verify import Asked, Refused, Resolution

# Exit codes as those of `sillok`.
OK, FAILED, STALE, FALSE, ABSENT, DEACTIVATED, NO, USAGE = 0, 1, 3, 4, 5, 6, 9, 64


def say(checked: list[str], not_checked: list[str]) -> None:
    """What was checked, and plainly what was not."""
    for what in checked:
        print(f"checked:     {what}", file=sys.stderr)
    for what in not_checked:
        print(f"NOT CHECKED: {what}", file=sys.stderr)


def verdict(found: Resolution) -> int:
    """The exit code for what is proved."""
    if found.stale:
        return STALE
    if found.head is None:
        return ABSENT
    return DEACTIVATED if found.head.deactivated else OK


def resolve(arguments: argparse.Namespace) -> int:
    """A DID over gRPC, with its proof."""
    did = Did.parse(arguments.did)
    with Node.connect(arguments.node) as node:
        genesis = node.genesis(bytes.fromhex(arguments.genesis_hash))
        found = node.resolve(genesis, did, arguments.version_id)
    print(json.dumps(resolution_json(found), indent=2))
    say(
        [
            "the DID: syntax, and that its suffix is a BLAKE3 multihash",
            f"the certificate of height {found.height}: more than two thirds of the validators, followed from the genesis",
            "the state proof: the leaf of the DID under the certified root",
            "the chain of versions, the hash of the document, and of version 1 the DID by its inception",
            f"the age: {found.age_ms} ms" + (", too old to be taken for the present" if found.stale else ""),
        ],
        ["that nothing newer was seen before: this program starts at the genesis each time and keeps nothing"],
    )
    return verdict(found)


def resolve_http(arguments: argparse.Namespace) -> int:
    """A DID over HTTP, by what its JSON says or by the proof in it."""
    did = Did.parse(arguments.did)
    answer = http.resolve(arguments.http, arguments.did)
    result = answer.json()
    checked = ["the DID: syntax, and that its suffix is a BLAKE3 multihash"]
    if arguments.proof:
        message = http.read_proof(result)
        if message is None:
            raise Refused("NoProof")
        with Node.connect(arguments.node) as node:
            genesis = node.genesis(bytes.fromhex(arguments.genesis_hash))
            verifier = node.verifier(genesis, message.proof.signed_header.header)
        found = verifier.resolution(did, Asked(), message)
        print(json.dumps(resolution_json(found), indent=2))
        say([*checked, "the proof in the metadata, as over gRPC"], ["the JSON beside the proof: it was not used"])
        return verdict(found)
    print(json.dumps(result.get("didDocument"), indent=2))
    if answer.status == 200:
        check_form(did, result["didDocument"])
        checked += [
            "the document: it is about this DID, its keys decode as Multikeys, their ids are their thumbprints",
        ]
    say(
        checked,
        ["the state proof", "the certificate", "the age: this answer is the word of the node and of all on the way"],
    )
    return {200: OK, 404: ABSENT, 410: DEACTIVATED}.get(answer.status, FAILED)


def right(arguments: argparse.Namespace) -> int:
    """May an organization do something? (TRQP)"""
    query = {
        "entity_id": arguments.entity,
        "authority_id": arguments.authority,
        "action": arguments.action,
        "resource": arguments.resource,
    }
    answer = http.authorized(arguments.http, query)
    print(json.dumps(answer.json(), indent=2))
    say([], ["the proof of the right (`?proof=true`): this answer is the word of the node"])
    if answer.status != 200:
        return FAILED
    return OK if answer.json()["authorized"] else NO


def entry(arguments: argparse.Namespace) -> int:
    """An entry of a status list, by a signed token and the key of its issuer."""
    # The URI names no node; a node or a status issuer serves its path.
    answer = http.ask(arguments.http + urlsplit(arguments.uri).path, "application/statuslist+jwt")
    if answer.status != 200:
        print(answer.body.decode(), file=sys.stderr)
        return FAILED
    token = answer.body.decode()
    did = Did.parse(status.kid_of(token).partition("#")[0])
    with Node.connect(arguments.node) as node:
        genesis = node.genesis(bytes.fromhex(arguments.genesis_hash))
        issuer = node.resolve(genesis, did)
    if issuer.stale or issuer.document is None:
        raise status.NotAList("the status issuer is not known for certain now")
    document = document_json(did, issuer.document)
    keys = check_form(did, document)
    signing = {id: key for id, key in keys.items() if id in document.get("assertionMethod", [])}
    found = status.read_token(token, signing, arguments.uri, int(time.time()))
    state = found.state(arguments.index)
    print(status.STATES.get(state, f"application specific ({state})"))
    say(
        [f"the status issuer {did}: with its proof, as over gRPC", "the signature of the token, its list and its time"],
        ["that the ledger agrees: the proof of the list", "that the issuer may serve this list: its grant `serve-status`"],
    )
    return OK if state == 0 else NO


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="python -m sillok_reader", description=__doc__)
    parser.add_argument("--node", default=os.environ.get("SILLOK_NODE"), help="gRPC of any node")
    parser.add_argument("--http", default=os.environ.get("SILLOK_HTTP"), help="HTTP of any node")
    parser.add_argument("--genesis-hash", help="of the network, had from somebody you trust; needed for proofs")
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("resolve", help=resolve.__doc__)
    one.add_argument("did")
    one.add_argument("--version-id", type=int)
    one.set_defaults(run=resolve)
    one = commands.add_parser("resolve-http", help=resolve_http.__doc__)
    one.add_argument("did")
    one.add_argument("--proof", action="store_true", help="check the proof, and take nothing from the JSON")
    one.set_defaults(run=resolve_http)
    one = commands.add_parser("right", help=right.__doc__)
    for name in ("entity", "authority", "action", "resource"):
        one.add_argument(name)
    one.set_defaults(run=right)
    one = commands.add_parser("entry", help=entry.__doc__)
    one.add_argument("uri")
    one.add_argument("index", type=int)
    one.set_defaults(run=entry)
    arguments = parser.parse_args()
    try:
        return arguments.run(arguments)
    except InvalidDid as error:
        print(f"this is no DID of the method: {error}", file=sys.stderr)
        return USAGE
    except (Refused, NotADocument, status.NotAList) as error:
        print(f"REFUSED: {error}", file=sys.stderr)
        return FALSE


if __name__ == "__main__":
    sys.exit(main())
