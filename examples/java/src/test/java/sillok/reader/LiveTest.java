package sillok.reader;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.google.protobuf.ByteString;
import com.google.protobuf.UnknownFieldSet;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import sillok.v1.Api.ResolveRequest;

/** A running network, asked over gRPC and HTTP. scripts/languages.sh starts one and names its fixtures. */
class LiveTest {
    private static final String RESULT = "application/did-resolution";
    private static JsonNode scene;
    private static HttpDoor door;

    @BeforeAll
    static void open() throws IOException {
        var directory = System.getenv("SILLOK_SCENE_DIR");
        assertTrue(directory != null, "set SILLOK_SCENE_DIR to the directory of `sillok-devnet fixtures --out`");
        scene = new ObjectMapper().readTree(Path.of(directory, "scene.json").toFile());
        door = new HttpDoor(scene.get("http").asText());
    }

    private static String did(String sort) {
        return scene.get("dids").get(sort).asText();
    }

    @ParameterizedTest
    @ValueSource(strings = {"holder", "holderWithKeyAgreement", "holderWithAnotherDevice", "organization", "registrar"})
    void aDidIsResolvedOverGrpcAndHttpAlike(String sort) {
        var did = Did.parse(did(sort));
        var answer = door.resolve(did.toString(), RESULT);
        assertEquals(200, answer.statusCode());
        assertEquals(RESULT, answer.headers().firstValue("content-type").orElseThrow());
        var keys = Documents.checkForm(did, HttpDoor.json(answer).get("didDocument"));
        try (var node = new Node(scene.get("grpc").asText())) {
            var sent = node.resolve(did);
            assertEquals(ByteString.copyFrom(did.bytes()), sent.getHeads(0).getDid());
            assertEquals(keys.size(), sent.getDocument().getKeysCount());
            for (var bound : sent.getDocument().getKeysList()) {
                var key = PublicKey.of(bound.getKey().getAlgorithmValue(), bound.getKey().getPoint().toByteArray());
                assertEquals(key, keys.get(did + "#" + key.thumbprint()));
            }
            // The document has the hash that its head names; whether the head is the ledger's, a proof would say.
            var hash = Canonical.tagged("document", sent.getDocument().toByteArray());
            assertEquals(ByteString.copyFrom(hash), sent.getHeads(0).getDocumentHash());
        }
    }

    @Test
    void aDeactivatedDidAndOneThatIsNotThere() {
        var deactivated = door.resolve(did("deactivated"), RESULT);
        assertEquals(410, deactivated.statusCode());
        assertTrue(HttpDoor.json(deactivated).at("/didDocumentMetadata/deactivated").asBoolean());
        var nobody = door.resolve(did("nobody"), RESULT);
        assertEquals(404, nobody.statusCode());
        assertTrue(HttpDoor.json(nobody).at("/didResolutionMetadata/error/type").asText().endsWith("#NOT_FOUND"));
    }

    @Test
    void didUrlsAreDereferenced() {
        var organization = did("organization");
        var service = door.resolve(organization + "?service=linked-domains", "text/uri-list");
        assertEquals(303, service.statusCode());
        assertTrue(service.headers().firstValue("location").orElseThrow().startsWith("https://"));
        var first = door.resolve(did("holderWithAnotherDevice") + "?versionId=1", RESULT);
        assertEquals("1", HttpDoor.json(first).at("/didDocumentMetadata/versionId").asText());
        assertEquals("2", HttpDoor.json(first).at("/didDocumentMetadata/nextVersionId").asText());
    }

    @Test
    void rightsAreAskedByTrqp() {
        var query = new HashMap<>(Map.of(
                "entity_id", did("registrar"),
                "authority_id", "urn:sillok:governance:" + scene.get("network").asText(),
                "action", "register",
                "resource", "urn:sillok:all"));
        var answer = door.ask("/authorization", query);
        assertEquals(200, answer.statusCode());
        assertTrue(HttpDoor.json(answer).get("authorized").asBoolean());
        query.put("entity_id", did("organization"));
        assertFalse(HttpDoor.json(door.ask("/authorization", query)).get("authorized").asBoolean());
    }

    @Test
    void c13ADoorPassesOverWhatItDoesNotKnow() {
        var later = UnknownFieldSet.newBuilder()
                .addField(900, UnknownFieldSet.Field.newBuilder().addVarint(1).build())
                .build();
        var request = ResolveRequest.newBuilder().setDid(did("holder")).setUnknownFields(later).build();
        try (var node = new Node(scene.get("grpc").asText())) {
            assertTrue(node.resolve(request).getHeadsCount() > 0);
        }
    }

    @Test
    void theProgramSaysWhatItCheckedAndWhatNot() {
        var notes = new ByteArrayOutputStream();
        var out = new PrintStream(new ByteArrayOutputStream());
        var grpc = scene.get("grpc").asText();
        var http = scene.get("http").asText();
        assertEquals(0, Main.run(grpc, http, did("holder"), out, new PrintStream(notes)));
        assertTrue(notes.toString().contains("checked:     gRPC and HTTP show the same keys"));
        assertTrue(notes.toString().contains("NOT CHECKED: the state proof"));
        assertTrue(notes.toString().contains("NOT CHECKED: the certificate"));
        assertEquals(5, Main.run(grpc, http, did("nobody"), out, new PrintStream(notes)));
        assertEquals(6, Main.run(grpc, http, did("deactivated"), out, new PrintStream(notes)));
    }
}
