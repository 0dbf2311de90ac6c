"""DID documents as JSON: the view that is derived from what was verified, and what can be said of one that was not."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from sillok.v1 import record_pb2 as record

from .did import Did
from .multikey import InvalidKey, PublicKey
from .verify import Resolution

CONTEXT = "https://www.w3.org/ns/did/v1.1"
RELATIONSHIPS = [
    (1, "authentication"),
    (2, "assertionMethod"),
    (4, "keyAgreement"),
    (8, "capabilityInvocation"),
    (16, "capabilityDelegation"),
]
SERVICES = {
    record.SERVICE_KIND_LINKED_DOMAINS: ("linked-domains", "LinkedDomains"),
    record.SERVICE_KIND_TRUST_REGISTRY: ("trust-registry", "TrustRegistry"),
    record.SERVICE_KIND_CREDENTIAL_ISSUER: ("credential-issuer", "CredentialIssuer"),
    record.SERVICE_KIND_STATUS_LIST: ("status-list", "StatusList"),
    record.SERVICE_KIND_GOVERNANCE_FRAMEWORK: ("governance-framework", "GovernanceFramework"),
    record.SERVICE_KIND_DID_RESOLVER: ("did-resolver", "DidResolver"),
}
ACTORS = {
    record.ACTOR_CONTROLLER: "controller",
    record.ACTOR_AUTHORITY: "authority",
    record.ACTOR_AUTHORITY_AND_COUNTERSIGNER: "authorityAndCountersigner",
}


class NotADocument(ValueError):
    """What a node sent is no DID document of this method."""


def datetime_of(time_ms: int) -> str:
    """A moment as DID documents write it."""
    moment = datetime.fromtimestamp(time_ms // 1000, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def document_json(did: Did, document: record.DidDocument) -> dict[str, Any]:
    """The document of a DID as DID Core 1.1 has it."""
    methods, references = [], {name: [] for _, name in RELATIONSHIPS}
    for bound in document.keys:
        key = PublicKey(bound.key.algorithm, bound.key.point)
        method = {"id": f"{did}#{key.thumbprint()}", "type": "Multikey", "controller": str(did)}
        if bound.expires_ms:
            method["expires"] = datetime_of(bound.expires_ms)
        methods.append(method | {"publicKeyMultibase": key.multikey()})
        for mask, name in RELATIONSHIPS:
            if bound.relationships & mask:
                references[name].append(method["id"])
    services = [
        {"id": f"{did}#{name}", "type": kind, "serviceEndpoint": service.endpoint}
        for service in document.services
        for name, kind in [SERVICES[service.kind]]
    ]
    sets = {"verificationMethod": methods} | references | {"service": services}
    whole = {"@context": [CONTEXT], "id": str(did)}
    return whole | {name: members for name, members in sets.items() if members}


def resolution_json(found: Resolution) -> dict[str, Any]:
    """The result of DID Resolution 1.0 for what was proved."""
    if found.head is None:
        problem = {
            "type": "https://www.w3.org/ns/did#NOT_FOUND",
            "title": "Not found",
            "detail": "no such did on this ledger at this height",
        }
        return {
            "didDocument": None,
            "didResolutionMetadata": {"error": problem},
            "didDocumentMetadata": {},
        }
    head = found.head
    metadata: dict[str, Any] = {"created": datetime_of(head.created_ms)}
    if head.version > 1:
        metadata["updated"] = datetime_of(head.time_ms)
    if head.deactivated:
        metadata["deactivated"] = True
    metadata["versionId"] = str(head.version)
    if found.next_version is not None:
        metadata["nextVersionId"] = str(found.next_version)
    if head.actor in ACTORS:
        metadata["actor"] = ACTORS[head.actor]
    metadata["height"] = str(head.height)
    there = found.document is not None and not head.deactivated
    return {
        "didDocument": document_json(found.did, found.document) if there else None,
        "didResolutionMetadata": {"contentType": "application/did"},
        "didDocumentMetadata": metadata,
    }


def check_form(did: Did, document: dict[str, Any]) -> dict[str, PublicKey]:
    """What can be checked of a document without its proof: that it is about this DID and means what it says. Returns the
    keys by the id of their verification method. Whether the ledger has this document, it cannot tell."""
    if document.get("id") != str(did):
        raise NotADocument(f"it is the document of {document.get('id')}")
    if document.get("@context") != [CONTEXT]:
        raise NotADocument("the context is another")
    keys: dict[str, PublicKey] = {}
    for method in document.get("verificationMethod", []):
        if method.get("type") != "Multikey" or method.get("controller") != str(did):
            raise NotADocument("a verification method is no Multikey of this DID")
        try:
            key = PublicKey.from_multikey(method["publicKeyMultibase"])
        except (InvalidKey, KeyError) as error:
            raise NotADocument("a key is none") from error
        if method.get("id") != f"{did}#{key.thumbprint()}":
            raise NotADocument("the id of a verification method is not the thumbprint of its key")
        keys[method["id"]] = key
    for _, name in RELATIONSHIPS:
        for reference in document.get(name, []):
            if reference not in keys:
                raise NotADocument(f"{name} names a key that is not there")
    return keys
