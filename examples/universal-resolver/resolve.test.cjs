// A client of the Universal Resolver that never heard of Sillok, asking a running node as it would ask a resolver.
// scripts/languages.sh starts the network and names its fixtures.
"use strict";

const assert = require("node:assert");
const path = require("node:path");
const { test } = require("node:test");
const { UniResolver } = require("@sphereon/did-uni-client");

const directory = process.env.SILLOK_SCENE_DIR;
assert.ok(directory, "set SILLOK_SCENE_DIR to the directory of `sillok-devnet fixtures --out`");
const scene = require(path.resolve(directory, "scene.json"));
const resolver = new UniResolver();
resolver.setResolveURL(`${scene.http}/1.0/identifiers`);

const there = Object.entries(scene.dids).filter(([sort]) => !["deactivated", "nobody"].includes(sort));

for (const [sort, did] of there) {
  test(`${sort} is resolved, and the proof passes through`, async () => {
    const found = await resolver.resolve(did);
    assert.strictEqual(found.didDocument.id, did);
    assert.strictEqual(found.didResolutionMetadata.contentType, "application/did");
    const [proof] = found.didDocumentMetadata.proof;
    assert.strictEqual(proof.type, "SillokStateProof");
    assert.strictEqual(proof.genesisHash, scene.genesisHash);
  });
}

// This client throws the body of every answer but 200: it must be the full result, never a page of the server.
test("a did that does not exist is NOT_FOUND, with its proof", async () => {
  const error = await resolver.resolve(scene.dids.nobody).then(() => assert.fail("it was found"), (error) => error);
  const result = JSON.parse(error.message);
  assert.strictEqual(result.didResolutionMetadata.error.type, "https://www.w3.org/ns/did#NOT_FOUND");
  assert.strictEqual(result.didResolutionMetadata.proof[0].type, "SillokStateProof");
});

test("a deactivated did says so, and is no error", async () => {
  const error = await resolver.resolve(scene.dids.deactivated).then(() => assert.fail("it has a document"), (error) => error);
  const result = JSON.parse(error.message);
  assert.strictEqual(result.didDocument, null);
  assert.strictEqual(result.didDocumentMetadata.deactivated, true);
  assert.strictEqual(result.didResolutionMetadata.error, undefined);
});
