"""The golden vectors in `vectors/`, made by the reference: bytes, hashes, signatures and verdicts must come out the same."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric import ed25519
from google.protobuf.message import Message
from sillok.v1 import api_pb2 as api
from sillok.v1 import record_pb2 as record
from sillok_reader.canonical import NotCanonical, decode, digest, encode, hash_message, signed_string, tagged
from sillok_reader.did import Did, InvalidDid
from sillok_reader.document import NotADocument, check_form, document_json, resolution_json
from sillok_reader.multikey import ED25519, P256, InvalidKey, PublicKey, is_small_order
from sillok_reader.verify import (
    Asked,
    Refused,
    TrustedHeader,
    Verifier,
    log_head,
    tree_key,
    verify_entry,
)

ROOT = Path(__file__).resolve().parents[3]
VECTORS = ROOT / "vectors"


def load(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


RECORD: dict[str, str] = load("record.json")
PROOFS: dict[str, str] = load("proofs.json")
ANSWERS: dict[str, Any] = load("answers.json")
GENESIS_HASH = bytes.fromhex(RECORD["genesis hash"])


def bytes_of(name: str) -> bytes:
    return bytes.fromhex(RECORD[name])


def names(prefix: str, ending: str) -> list[str]:
    """The names of vectors between these, without them."""
    found = [
        name.removesuffix(ending)
        for name in RECORD
        if name.startswith(prefix) and name.endswith(ending)
    ]
    assert found, f"there are no vectors {prefix}…{ending}"
    return found


# ---------------------------------------------------------------------------------------- record.json


@pytest.mark.parametrize("name", names("operation ", ", hash"))
def test_an_operation_has_one_encoding_and_its_hash(name: str) -> None:
    operation = decode(record.Operation, bytes_of(name))
    assert tagged("operation", GENESIS_HASH, encode(operation)) == bytes_of(f"{name}, hash")


@pytest.mark.parametrize("name", names("operation ", ", author statement"))
def test_authors_sign_this_string(name: str) -> None:
    statement = decode(record.AuthorStatement, bytes_of(f"{name}, author statement"))
    assert statement.operation_hash == bytes_of(f"{name}, hash")
    string = signed_string("sign/author", GENESIS_HASH, encode(statement))
    assert string == bytes_of(f"{name}, author string")


def test_a_place_in_a_turn_is_drawn_anew_for_each_parent() -> None:
    place = tagged("turn", b"\xaa" * 32, b"\xbb" * 32)
    assert place == bytes_of("turn, parent aa*32, submitter bb*32")


@pytest.mark.parametrize("name", names("transaction ", ", body"))
def test_a_transaction_has_its_id_and_its_leaf(name: str) -> None:
    body = decode(record.TransactionBody, bytes_of(f"{name}, body"))
    identifier = tagged("transaction", GENESIS_HASH, encode(body))
    assert identifier == bytes_of(f"{name}, id")
    string = signed_string("sign/submit", GENESIS_HASH, identifier)
    assert string == bytes_of(f"{name}, submitter string")
    transaction = decode(record.Transaction, bytes_of(name))
    signatures = hash_message("signatures", transaction.signatures)
    assert signatures == bytes_of(f"{name}, signatures hash")
    private = hash_message("private-signatures", transaction.private_signatures)
    leaf = tagged("transaction-leaf", identifier, signatures, private)
    assert leaf == bytes_of(f"{name}, leaf")


@pytest.mark.parametrize("name", names("head after ", ", hash"))
def test_a_head_has_its_hash(name: str) -> None:
    assert hash_message("head", decode(record.Head, bytes_of(name))) == bytes_of(f"{name}, hash")


@pytest.mark.parametrize("name", names("inception ", ", did"))
def test_a_did_is_the_hash_of_its_inception(name: str) -> None:
    inception = decode(record.Inception, bytes_of(name))
    assert digest(encode(inception)) == bytes_of(f"{name}, digest")
    assert str(Did("test", digest(encode(inception)))) == RECORD[f"{name}, did"]
    assert Did.parse(RECORD[f"{name}, did"]).digest == bytes_of(f"{name}, digest")


def test_documents_genesis_and_headers_have_their_hashes() -> None:
    document = decode(record.DidDocument, bytes_of("document holder"))
    assert hash_message("document", document) == bytes_of("document holder hash")
    assert hash_message("document", record.DidDocument()) == bytes_of("document empty hash")
    genesis = decode(record.Genesis, bytes_of("genesis"))
    assert hash_message("genesis", genesis) == GENESIS_HASH
    header = decode(record.Header, bytes_of("genesis header"))
    assert hash_message("header", header) == bytes_of("genesis header hash")


@pytest.mark.parametrize("name", names("key ", " id"))
def test_a_key_has_its_id_and_verifies_what_it_signed(name: str) -> None:
    raw = decode(record.PublicKey, bytes_of(name))
    key = PublicKey(raw.algorithm, raw.point)
    assert tagged("key", bytes([key.algorithm]), key.point) == bytes_of(f"{name} id")
    assert PublicKey.from_multikey(key.multikey()) == key
    label = name.removeprefix("key ")
    signed = RECORD.get(f'signature of {label} over "message"')
    if signed is None:
        assert label.startswith("x25519"), "a key that signs has a signature"
        return
    signature = bytes.fromhex(signed)
    assert key.verifies(signature, b"message")
    assert not key.verifies(signature, b"massage")
    assert not key.verifies(bytes([signature[0] ^ 1]) + signature[1:], b"message")
    if key.algorithm == ED25519:
        # The secret is BLAKE3 of the name, and Ed25519 is deterministic: so we sign the same.
        secret = ed25519.Ed25519PrivateKey.from_private_bytes(blake3(label.encode()).digest())
        assert secret.sign(b"message") == signature


def test_another_encoding_of_the_same_message_is_refused() -> None:
    canonical = bytes_of("head after create holder")
    assert decode(record.Head, canonical)
    # An explicit default (field 8 is false), a field of a later version, and bytes that are no field.
    for more in (b"\x40\x00", b"\xa2\x38\x01x", b"\xff"):
        with pytest.raises(NotCanonical):
            decode(record.Head, canonical + more)


# ---------------------------------------------------------------------------------------- proofs.json


def test_tree_keys_headers_and_strings_of_validators() -> None:
    def value(name: str) -> bytes:
        return bytes.fromhex(PROOFS[name])

    assert tree_key(1, bytes([1]) * 32) == value("tree-key did_head 01*32")
    assert tree_key(2, bytes([2]) * 32) == value("tree-key used_key 02*32")
    header = decode(record.Header, value("header"))
    assert hash_message("header", header) == value("header hash")
    validators = value("validator set (ed25519 secrets 01*32 to 04*32, organizations BLAKE3 of the keys)")
    assert hash_message("validator-set", decode(record.ValidatorSet, validators)) == value("validator set hash")
    statement = record.VoteStatement(height=7, round=2, header_hash=bytes([6]) * 32)
    string = signed_string("sign/precommit", bytes([0xAB]) * 32, encode(statement))
    assert string == value("precommit string genesis ab*32 height 7 round 2 header 06*32")


STATE_ENTRIES = [name for name in PROOFS if name.startswith("state entry ")]


@pytest.mark.parametrize("name", STATE_ENTRIES)
def test_a_leaf_is_present_or_absent_under_the_root(name: str) -> None:
    root = bytes.fromhex(PROOFS["state root of 55*32 = 01, aa*32 = 02, 5a*32 = 03, 55*31 54 = empty"])
    entry = decode(record.StateEntry, bytes.fromhex(PROOFS[name]))
    value = verify_entry(root, entry)
    assert (value is None) == ("absent" in name)
    with pytest.raises(Refused):
        verify_entry(bytes(32), entry)
    entry.key = bytes([entry.key[0] ^ 0x80]) + entry.key[1:]
    with pytest.raises(Refused):
        verify_entry(root, entry)


def test_roots_of_transactions() -> None:
    leaf = tagged("transaction-leaf", bytes(32), bytes([0x10]) * 32, bytes([0x20]) * 32)
    assert leaf.hex() == PROOFS["transaction leaf 00*32 10*32 20*32"]
    path = record.LogPath(index=0, size=1)
    head = log_head(leaf, path, lambda left, right: tagged("transaction-node", left, right))
    root = tagged("transactions", (1).to_bytes(4, "big"), head)
    assert root.hex() == PROOFS["transactions root of the first 1 leaves n*32 1n*32 2n*32"]


# --------------------------------------------------------------------------------------- answers.json


def answers_genesis() -> record.Genesis:
    genesis = decode(record.Genesis, bytes.fromhex(ANSWERS["genesis"]))
    assert hash_message("genesis", genesis).hex() == ANSWERS["genesis_hash"]
    return genesis


def trusted_at(height: int) -> TrustedHeader:
    start = TrustedHeader.genesis(answers_genesis())
    assert encode(start.next_validators).hex() == ANSWERS["validator_set"]
    if height == 0:
        return start
    [found] = [one for one in ANSWERS["headers"] if one["height"] == height]
    header = decode(record.Header, bytes.fromhex(found["header"]))
    assert hash_message("header", header).hex() == found["hash"]
    return TrustedHeader(height, bytes.fromhex(found["hash"]), header.time_ms, start.next_validators)


def verifier(case: dict[str, Any]) -> Verifier:
    return Verifier(
        answers_genesis(),
        trusted_at(case["trusted_height"]),
        case["now_ms"],
        ANSWERS["max_age_ms"],
        case["request"]["min_height"],
    )


def asked(request: dict[str, Any]) -> Asked:
    if "version_id" in request:
        return Asked(version=int(request["version_id"]))
    if "version_time" in request:
        return Asked(before_ms=int(datetime.fromisoformat(request["version_time"]).timestamp()) * 1000)
    return Asked()


@pytest.mark.parametrize("case", ANSWERS["resolve"], ids=lambda case: case["name"])
def test_an_answer_has_the_verdict_of_the_reference(case: dict[str, Any]) -> None:
    did = Did.parse(case["request"]["did"])
    answer = api.ResolveResponse.FromString(bytes.fromhex(case["response"]))
    expected = case["verdict"]
    try:
        found = verifier(case).resolution(did, asked(case["request"]), answer)
    except Refused as refused:
        assert expected["outcome"] == "refused", refused
        assert refused.reason == expected["reason"]
        return
    assert expected["outcome"] == ("stale" if found.stale else "verified")
    assert (found.height, found.age_ms) == (expected["height"], expected["age_ms"])
    assert resolution_json(found) == expected["resolution"]


def test_a_bit_of_an_honest_answer_changed_anywhere_is_noticed() -> None:
    [case] = [one for one in ANSWERS["resolve"] if one["name"].startswith("the current version")]
    honest = bytes.fromhex(case["response"])
    did, check = Did.parse(case["request"]["did"]), verifier(case)
    truth = resolution_json(check.resolution(did, Asked(), api.ResolveResponse.FromString(honest)))
    refusals = 0
    for at in range(0, len(honest), 3):
        changed = honest[:at] + bytes([honest[at] ^ 1 << at % 8]) + honest[at + 1 :]
        try:
            found = check.resolution(did, Asked(), api.ResolveResponse.FromString(changed))
        except (Refused, ValueError):
            refusals += 1
            continue
        except Exception as error:  # noqa: BLE001
            # protobuf's own word for bytes that are no message.
            assert type(error).__name__ == "DecodeError", error
            refusals += 1
            continue
        # What is outside of the proof may change nothing of what is said.
        assert resolution_json(found) == truth, f"byte {at}"
    assert refusals > len(honest) // 3 * 9 // 10


@pytest.mark.parametrize("case", ANSWERS["trust_bundles"], ids=lambda case: case["name"])
def test_a_trust_bundle_leads_to_the_validators_in_force(case: dict[str, Any]) -> None:
    check = Verifier(answers_genesis(), trusted_at(case["trusted_height"]), case["now_ms"])
    before = check.trusted
    bundle = decode(record.TrustBundle, bytes.fromhex(case["trust_bundle"]))
    assert outcome_of(lambda: check.follow(bundle)) == case["outcome"]
    if case["outcome"] != "verified":
        assert check.trusted == before
        return
    trusted = check.trusted
    assert (trusted.height, trusted.header_hash.hex()) == (case["height"], case["header_hash"])
    assert hash_message("validator-set", trusted.next_validators).hex() == case["next_validator_set_hash"]


@pytest.mark.parametrize("case", ANSWERS["receipts"], ids=lambda case: case["name"])
def test_a_receipt_proves_that_a_transaction_was_ordered(case: dict[str, Any]) -> None:
    check = Verifier(answers_genesis(), trusted_at(0), ANSWERS["resolve"][0]["now_ms"])
    receipt = decode(record.Receipt, bytes.fromhex(case["receipt"]))
    outcome = outcome_of(lambda: check.receipt(bytes.fromhex(case["transaction_id"]), receipt))
    assert outcome == case["outcome"]


@pytest.mark.parametrize("case", ANSWERS["history_proofs"], ids=lambda case: case["name"])
def test_a_history_proof_proves_an_older_header(case: dict[str, Any]) -> None:
    check = Verifier(answers_genesis(), trusted_at(0), ANSWERS["resolve"][0]["now_ms"])
    proof = decode(record.HistoryProof, bytes.fromhex(case["proof"]))
    assert outcome_of(lambda: check.history(proof)) == case["outcome"]


def outcome_of(check: Any) -> str:
    try:
        check()
    except Refused as refused:
        return refused.reason
    return "verified"


# ------------------------------------------------------------------------- documents, keys and DIDs


def test_documents_are_derived_as_the_reference_does() -> None:
    lines = (VECTORS / "documents/hashes.txt").read_text().splitlines()
    canonical, hash_, inception, inception_digest, empty = lines[1:]
    document = decode(record.DidDocument, bytes.fromhex(canonical))
    assert hash_message("document", document).hex() == hash_
    assert digest(encode(decode(record.Inception, bytes.fromhex(inception)))).hex() == inception_digest
    assert hash_message("document", record.DidDocument()).hex() == empty
    did = Did("devnet", bytes.fromhex(inception_digest))
    check_form(did, document_json(did, document))


@pytest.mark.parametrize("name", ["holder", "holder-without-device", "organization"])
def test_what_can_be_told_of_a_document_without_proof(name: str) -> None:
    document = load(f"documents/{name}.json")
    did = Did.parse(document["id"])
    keys = check_form(did, document)
    assert len(keys) == len(document.get("verificationMethod", []))
    with pytest.raises(NotADocument):
        check_form(did, document | {"id": document["id"][:-1]})
    if keys:
        swapped = json.loads(json.dumps(document))
        methods = swapped["verificationMethod"]
        methods[0]["publicKeyMultibase"] = methods[1]["publicKeyMultibase"]
        with pytest.raises(NotADocument):
            check_form(did, swapped)


def test_multikeys_of_the_published_vectors() -> None:
    published = json.loads((ROOT / "did-method/tests/vectors/multikey-jwk.json").read_text())
    checked = set()
    for entry in published["multikey"]:
        try:
            key = PublicKey.from_multikey(entry["multibase"])
        except InvalidKey:
            assert entry["key_type"] not in ("Ed25519", "P-256", "X25519"), entry
            continue
        assert key.point.hex() == entry["raw_public_key_hex"]
        assert key.multikey() == entry["multibase"]
        if jwk := entry.get("jwk"):
            assert key.jwk().items() <= jwk.items()
        checked.add(entry["key_type"])
    assert checked == {"Ed25519", "P-256", "X25519"}


def test_the_thumbprint_of_rfc_8037() -> None:
    point = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    assert PublicKey(ED25519, point).thumbprint() == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_did_has_one_spelling() -> None:
    did = Did.parse(ANSWERS["resolve"][0]["request"]["did"])
    text = str(did)
    for other in (
        text.upper(),
        text[:-1],
        text + "1",
        text + "#key",
        text.replace(":z", ":z1"),
        text.replace("did:sillok:", "did:example:"),
        text.replace("vectors", "Vectors"),
        "did:sillok:vectors:z" + "1" * 100_000,
        text + "\n",
    ):
        with pytest.raises(InvalidDid):
            Did.parse(other)


def test_keys_and_points_of_small_order_verify_nothing() -> None:
    for point in (bytes(32), bytes([1]) + bytes(31), bytes.fromhex("ec" + "ff" * 30 + "7f")):
        assert is_small_order(point)
        assert not PublicKey(ED25519, point).verifies(point + bytes(32), b"")


def test_a_high_s_of_p256_is_no_signature() -> None:
    raw = decode(record.PublicKey, bytes_of("key p256:alice"))
    key = PublicKey(raw.algorithm, raw.point)
    assert key.algorithm == P256
    signature = bytes_of('signature of p256:alice over "message"')
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    high = order - int.from_bytes(signature[32:], "big")
    assert not key.verifies(signature[:32] + high.to_bytes(32, "big"), b"message")


def test_every_message_of_the_record_is_known_to_the_generated_code() -> None:
    """The classes are made of the published files: a name that is not there is a mistake in them."""
    for name in ("Header", "StateProof", "ValidatorSet", "Receipt", "HistoryProof"):
        assert issubclass(getattr(record, name), Message)
