"""Verifying what a node answers, from the genesis or a header verified before, trusting no node.

The steps are those of docs/client.md ("Reading", "Trust bundles"), in its order; `Refused.reason` is the name of the broken
rule, as in `vectors/answers.json`. Left to the caller: keeping the trusted header, and asking `Verifier.history` whether a
newer one descends from it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

from sillok.v1 import api_pb2 as api
from sillok.v1 import record_pb2 as record

from .canonical import NotCanonical, decode, digest, encode, hash_message, signed_string, tagged
from .did import Did
from .multikey import ED25519, PublicKey

PROTOCOL_VERSION = 1
MAX_AGE_MS = 60_000
CLOCK_DRIFT_MS = 10_000
VALIDATORS_MAX = 128
SIBLINGS_MAX = 256
EMPTY_SUBTREE = b"SPARSE_MERKLE_PLACEHOLDER_HASH__"
HEAD_KIND = 1


class Refused(Exception):
    """An answer does not hold: the node lies or is broken. Report it, and do not ask another to get around it."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


@dataclass(frozen=True)
class TrustedHeader:
    """Where trust starts: the genesis (height 0, no hash), or a header that was verified."""

    height: int
    header_hash: bytes
    time_ms: int
    next_validators: record.ValidatorSet

    @classmethod
    def genesis(cls, genesis: record.Genesis) -> TrustedHeader:
        """Height 0: its time, and the operators sorted by validator key as the first set."""
        operators = sorted(genesis.operators, key=lambda one: one.validator_key)
        validators = record.ValidatorSet(
            validators=[
                record.Validator(public_key=one.validator_key, organization=one.organization)
                for one in operators
            ]
        )
        return cls(0, b"", genesis.time_ms, validators)


@dataclass(frozen=True)
class Asked:
    """Which version: the current one, a number, or the newest before a time."""

    version: int | None = None
    before_ms: int | None = None


@dataclass(frozen=True)
class Resolution:
    """What is proved of a DID at a height. Without a head it is proved that there is no such DID."""

    did: Did
    height: int
    age_ms: int
    stale: bool
    head: record.Head | None = None
    document: record.DidDocument | None = None
    next_version: int | None = None


@dataclass
class Verifier:
    """Checks answers for one caller, whose clock is `now_ms`."""

    genesis: record.Genesis
    trusted: TrustedHeader
    now_ms: int
    max_age_ms: int = MAX_AGE_MS
    min_height: int = 0
    genesis_hash: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.genesis_hash = hash_message("genesis", self.genesis)

    # ------------------------------------------------------------------------------------- answers

    def resolution(self, did: Did, asked: Asked, answer: api.ResolveResponse) -> Resolution:
        """What `answer` proves of `did`. `resolution_json` in it is not looked at: it is derived, and proves nothing."""
        if did.network != self.genesis.network:
            raise Refused("OtherNetwork", did.network)
        if not answer.HasField("proof") or not answer.proof.HasField("signed_header"):
            raise Refused("NoProof")
        header = self.header(answer.proof.signed_header)
        entries = {}
        for entry in answer.proof.entries:
            value = verify_entry(header.state_root, entry)
            if entry.key in entries:
                raise Refused("RepeatedKey")
            entries[entry.key] = value
        if header.height < self.min_height:
            raise Refused("BelowMinHeight", f"{header.height} < {self.min_height}")
        key = tree_key(HEAD_KIND, did.digest)
        if key not in entries:
            # What a proof does not cover is not proved absent.
            raise Refused("NotCovered")
        age_ms = max(0, self.now_ms - header.time_ms)
        stale = age_ms > self.max_age_ms
        if entries[key] is None:
            if answer.heads or answer.HasField("document"):
                raise Refused("PresentAndAbsent")
            return Resolution(did, header.height, age_ms, stale)
        try:
            proved = decode(record.Head, entries[key])
        except NotCanonical as error:
            raise Refused("NotAHead") from error
        head, next_version = check_heads(did, asked, proved, list(answer.heads))
        sent = answer.document if answer.HasField("document") else None
        document = check_document(did, head, sent)
        return Resolution(did, header.height, age_ms, stale, head, document, next_version)

    def receipt(self, transaction_id: bytes, receipt: record.Receipt) -> record.Header:
        """The header of the block in which the transaction stands. A receipt does not age."""
        header = self.header(receipt.signed_header)
        leaf = tagged(
            "transaction-leaf",
            receipt.transaction_id,
            receipt.signatures_hash,
            receipt.private_signatures_hash,
        )
        root = log_head(leaf, receipt.path, lambda left, right: tagged("transaction-node", left, right))
        if tagged("transactions", receipt.path.size.to_bytes(4, "big"), root) != header.transactions_root:
            raise Refused("NotInBlock")
        if receipt.transaction_id != transaction_id:
            raise Refused("OtherReceipt")
        return header

    def history(self, proof: record.HistoryProof) -> record.Header:
        """An older header, proved by the history root of a certified one: no key of its time is needed."""
        newer = self.header(proof.signed_header)
        older = proof.header
        check_header(self.genesis_hash, older)
        if proof.path.size != newer.height:
            raise Refused("WrongHistorySize")
        if proof.path.index != older.height:
            raise Refused("WrongHistoryIndex")
        # RFC 6962: a leaf is hashed after a zero byte, a node after a one.
        leaf = hashlib.sha256(b"\0" + hash_message("header", older)).digest()
        node = lambda left, right: hashlib.sha256(b"\1" + left + right).digest()  # noqa: E731
        if log_head(leaf, proof.path, node) != newer.history_root:
            raise Refused("WrongHead")
        return older

    # ------------------------------------------------------------------------------------- headers

    def follow(self, bundle: record.TrustBundle) -> TrustedHeader:
        """Extends the trusted header over changes of validators. Each change is signed by the set before it, so nothing
        between needs to be fetched. On a refusal the trusted header stays as it is."""
        self.check_age()
        trusted, previous = self.trusted, None
        for at, block in enumerate(bundle.light_blocks):
            signed, header = block.signed_header, block.signed_header.header
            if previous is not None and header.height <= previous:
                raise Refused("Order")
            previous = header.height
            if header.height <= self.trusted.height:
                if header.height == self.trusted.height:
                    self.header(signed)
                continue
            step = replace(self, trusted=trusted)
            step.header(signed)
            if hash_message("validator-set", block.next_validators) != header.next_validator_set_hash:
                raise Refused("NextValidators")
            changes = header.next_validator_set_hash != header.validator_set_hash
            if not changes and at + 1 < len(bundle.light_blocks):
                raise Refused("NotAChange")
            trusted = TrustedHeader(
                header.height, hash_message("header", header), header.time_ms, block.next_validators
            )
        if previous is None:
            raise Refused("Empty")
        if previous < self.trusted.height:
            raise Refused("Rollback")
        self.trusted = trusted
        return trusted

    def check_age(self) -> None:
        """The trusted header is neither too old to be built on nor ahead of the clock."""
        ahead_ms = self.trusted.time_ms - self.now_ms
        if ahead_ms > CLOCK_DRIFT_MS:
            raise Refused("ClockBehind", f"by {ahead_ms} ms")
        if -ahead_ms > self.genesis.parameters.trusting_period_ms:
            raise Refused("Expired", "get a checkpoint from somebody you trust")

    def header(self, signed: record.SignedHeader) -> record.Header:
        """Checks a header from the trusted one on: age of trust, height, set, certificate, time, descent."""
        self.check_age()
        header = signed.header
        if header.height < self.trusted.height:
            raise Refused("Rollback", f"{header.height} < {self.trusted.height}")
        header_hash = hash_message("header", header)
        if header.height == self.trusted.height and header_hash == self.trusted.header_hash:
            return header
        self.certificate(header, header_hash, signed.certificate)
        if header.height == self.trusted.height:
            raise Refused("Fork", "two certified headers of one height: stop, keep both, tell the operators")
        if header.time_ms <= self.trusted.time_ms:
            raise Refused("TimeNotLater")
        if header.time_ms - self.now_ms > CLOCK_DRIFT_MS:
            raise Refused("FromTheFuture")
        follows = header.height == self.trusted.height + 1 and self.trusted.header_hash
        if follows and header.parent_hash != self.trusted.header_hash:
            raise Refused("Fork", "a certified header of another branch: stop, keep both, tell the operators")
        return header

    def certificate(
        self, header: record.Header, header_hash: bytes, certificate: record.CommitCertificate
    ) -> None:
        """More than two thirds of the set in force signed the header, and no signature there is false."""
        check_header(self.genesis_hash, header)
        validators = self.trusted.next_validators.validators
        if header.height == 0:
            raise Refused("Genesis", "nobody certifies height 0")
        if header.validator_set_hash != hash_message("validator-set", self.trusted.next_validators):
            raise Refused("WrongValidatorSet", "another set is in force: follow the trust bundle first")
        if certificate.height != header.height:
            raise Refused("WrongHeight")
        if certificate.header_hash != header_hash:
            raise Refused("WrongHeader")
        previous = -1
        for one in certificate.signatures:
            if one.validator >= len(validators):
                raise Refused("UnknownValidator")
            if one.validator <= previous:
                raise Refused("Order")
            previous = one.validator
        if len(certificate.signatures) < len(validators) * 2 // 3 + 1:
            raise Refused("NoQuorum", f"{len(certificate.signatures)} of {len(validators)}")
        statement = record.VoteStatement(
            height=certificate.height, round=certificate.round, header_hash=header_hash
        )
        message = signed_string("sign/precommit", self.genesis_hash, encode(statement))
        for one in certificate.signatures:
            key = PublicKey(ED25519, validators[one.validator].public_key)
            if not key.verifies(one.signature, message):
                raise Refused("WrongSignature", f"of validator {one.validator}")


def check_header(genesis_hash: bytes, header: record.Header) -> None:
    """What a header shows by itself: version, network, lengths."""
    if header.protocol_version != PROTOCOL_VERSION:
        raise Refused("Version")
    if header.genesis_hash != genesis_hash:
        raise Refused("WrongNetwork")
    hashes = [
        header.parent_hash,
        header.transactions_root,
        header.state_root,
        header.history_root,
        header.validator_set_hash,
        header.next_validator_set_hash,
    ]
    proposer = 0 if header.height == 0 else 32
    if any(len(one) != 32 for one in hashes) or len(header.proposer) != proposer:
        raise Refused("FieldLength")


# ------------------------------------------------------------------------------------------- state


def tree_key(kind: int, name: bytes) -> bytes:
    """The place of a leaf: kind nibble and 252 bits of a hash."""
    key = bytearray(tagged("tree-key", bytes([kind]), name))
    key[0] = kind << 4 | key[0] & 0x0F
    return bytes(key)


def verify_entry(state_root: bytes, entry: record.StateEntry) -> bytes | None:
    """What the key of an entry holds under the root; `None`: nothing, which is proved as well."""
    if len(entry.key) != 32:
        raise Refused("KeyLength")
    if not entry.HasField("path"):
        raise Refused("NoPath")
    path, siblings = entry.path, len(entry.path.siblings)
    if siblings > SIBLINGS_MAX:
        raise Refused("PathTooLong")
    lengths = len(path.other_key), len(path.other_value_hash)
    if lengths not in ((0, 0), (32, 32)):
        raise Refused("OtherLeafLength")
    other = path.other_key or None
    if entry.present:
        if other:
            raise Refused("OtherLeafOfPresent")
        computed = leaf_hash(entry.key, digest(entry.value))
    elif entry.value:
        raise Refused("ValueOfAbsent")
    elif other is None:
        computed = EMPTY_SUBTREE
    elif other == entry.key:
        raise Refused("OtherLeafIsThis")
    elif shared_bits(entry.key, other) < siblings:
        raise Refused("OtherLeafElsewhere")
    else:
        computed = leaf_hash(other, path.other_value_hash)
    # The first sibling is the deepest: it stands beside bit `siblings - 1` of the key.
    for sibling, depth in zip(path.siblings, reversed(range(siblings))):
        if sibling == EMPTY_SUBTREE:
            raise Refused("EmptySiblingWritten")
        if len(sibling) not in (0, 32):
            raise Refused("SiblingLength")
        pair = (sibling or EMPTY_SUBTREE, computed)
        left, right = pair if bit(entry.key, depth) else reversed(pair)
        computed = digest(b"JMT::IntrnalNode" + left + right)
    if computed != state_root:
        raise Refused("WrongRoot")
    return entry.value if entry.present else None


def leaf_hash(key: bytes, value_hash: bytes) -> bytes:
    """The hash of a leaf; the tree's own form, as `jmt` 0.12 has it."""
    return digest(b"JMT::LeafNode" + key + value_hash)


def bit(key: bytes, depth: int) -> int:
    """Bit `depth` of a key, the highest of the first byte being 0."""
    return key[depth // 8] >> 7 - depth % 8 & 1


def shared_bits(one: bytes, other: bytes) -> int:
    """How many bits two keys both begin with."""
    return 256 - (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_length()


def log_head(leaf: bytes, path: record.LogPath, node) -> bytes:
    """The head of a log that a leaf and its path lead to (RFC 9162, 2.1.3.2)."""
    if path.index >= path.size:
        raise Refused("IndexOutOfRange")
    position, last, head = path.index, path.size - 1, leaf
    for sibling in path.hashes:
        if len(sibling) != 32:
            raise Refused("HashLength")
        if last == 0:
            raise Refused("PathLength")
        if position % 2 == 1 or position == last:
            head = node(sibling, head)
            while position % 2 == 0 and position != 0:
                position, last = position // 2, last // 2
        else:
            head = node(head, sibling)
        position, last = position // 2, last // 2
    if last != 0:
        raise Refused("PathLength")
    return head


# ------------------------------------------------------------------------------------------- a DID


def check_heads(
    did: Did, asked: Asked, proved: record.Head, heads: list[record.Head]
) -> tuple[record.Head, int | None]:
    """The head of the version asked for, and the number of the next one: each head names the hash of the one before."""
    if proved.did != did.digest:
        raise Refused("OtherDid")
    if not heads or heads[-1] != proved:
        raise Refused("NotTheProvedHead")
    for earlier, later in zip(heads, heads[1:]):
        if earlier.did != did.digest:
            raise Refused("OtherDid")
        if later.previous != hash_message("head", earlier) or later.version != earlier.version + 1:
            raise Refused("BrokenChain")
    head, following = heads[0], heads[1] if len(heads) > 1 else None
    if asked.version is not None:
        as_asked = head.version == asked.version
    elif asked.before_ms is not None:
        as_asked = head.time_ms < asked.before_ms and (
            following is None or following.time_ms >= asked.before_ms
        )
    else:
        as_asked = following is None
    if not as_asked:
        raise Refused("NotTheVersionAsked", f"version {head.version}")
    return head, following.version if following is not None else None


def check_document(
    did: Did, head: record.Head, sent: record.DidDocument | None
) -> record.DidDocument | None:
    """The document of a version: it has the hash that its head names, and version 1 hashes to the DID."""
    empty = record.DidDocument()
    if not head.document_hash:
        if sent is not None and sent != empty:
            raise Refused("DocumentUnexpected")
        return None
    if sent is None:
        # A holder without a device: the empty document need not be sent.
        if head.document_hash != hash_message("document", empty):
            raise Refused("DocumentMissing")
        return empty
    if hash_message("document", sent) != head.document_hash:
        raise Refused("ForgedDocument")
    if head.version == 1:
        inception = record.Inception(kind=head.kind, keys=sent.keys, authority=head.authority)
        if head.HasField("recovery"):
            inception.recovery.CopyFrom(head.recovery)
        if digest(encode(inception)) != did.digest:
            raise Refused("OtherInception")
    return sent
