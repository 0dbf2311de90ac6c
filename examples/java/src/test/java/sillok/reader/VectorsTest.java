package sillok.reader;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.List;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import sillok.v1.Record;

/** The golden vectors in vectors/, made by the reference: bytes, hashes and signatures must come out the same. */
class VectorsTest {
    private static final Path ROOT = Path.of("../..");
    private static final JsonNode RECORD = load("vectors/record.json");
    private static final byte[] GENESIS_HASH = bytes("genesis hash");

    private static JsonNode load(String name) {
        try {
            return new ObjectMapper().readTree(ROOT.resolve(name).toFile());
        } catch (IOException error) {
            throw new IllegalStateException("run this in examples/java", error);
        }
    }

    private static byte[] bytes(String name) {
        assertTrue(RECORD.hasNonNull(name), name);
        return HexFormat.of().parseHex(RECORD.get(name).asText());
    }

    /** The names of vectors between these, without the ending. */
    private static List<String> names(String prefix, String ending) {
        var all = ((Iterable<String>) RECORD::fieldNames).spliterator();
        var found = StreamSupport.stream(all, false)
                .filter(name -> name.startsWith(prefix) && name.endsWith(ending))
                .map(name -> name.substring(0, name.length() - ending.length()))
                .toList();
        assertFalse(found.isEmpty(), prefix);
        return found;
    }

    private static Stream<DynamicTest> each(String prefix, String ending, java.util.function.Consumer<String> check) {
        return names(prefix, ending).stream().map(name -> DynamicTest.dynamicTest(name, () -> check.accept(name)));
    }

    @TestFactory
    Stream<DynamicTest> anOperationHasOneEncodingAndItsHash() {
        return each("operation ", ", hash", name -> {
            Canonical.decode(Record.Operation.parser(), bytes(name));
            assertArrayEquals(bytes(name + ", hash"), Canonical.tagged("operation", GENESIS_HASH, bytes(name)));
        });
    }

    @TestFactory
    Stream<DynamicTest> aTransactionHasItsIdAndTheSubmitterSignsIt() {
        return each("transaction ", ", body", name -> {
            var body = bytes(name + ", body");
            Canonical.decode(Record.TransactionBody.parser(), body);
            var id = Canonical.tagged("transaction", GENESIS_HASH, body);
            assertArrayEquals(bytes(name + ", id"), id);
            assertArrayEquals(
                    bytes(name + ", submitter string"), Canonical.signedString("sign/submit", GENESIS_HASH, id));
        });
    }

    @TestFactory
    Stream<DynamicTest> authorsSignThisString() {
        return each("operation ", ", author statement", name -> {
            var statement = bytes(name + ", author statement");
            var read = Canonical.decode(Record.AuthorStatement.parser(), statement);
            assertArrayEquals(bytes(name + ", hash"), read.getOperationHash().toByteArray());
            assertArrayEquals(
                    bytes(name + ", author string"),
                    Canonical.signedString("sign/author", GENESIS_HASH, statement));
        });
    }

    @TestFactory
    Stream<DynamicTest> aDidIsTheHashOfItsInception() {
        return each("inception ", ", did", name -> {
            Canonical.decode(Record.Inception.parser(), bytes(name));
            var digest = Canonical.digest(bytes(name));
            assertArrayEquals(bytes(name + ", digest"), digest);
            var did = RECORD.get(name + ", did").asText();
            assertEquals(did, Did.of("test", digest).toString());
            assertEquals(Did.of("test", digest), Did.parse(did));
        });
    }

    @Test
    void documentsAndTheGenesisHaveTheirHashes() {
        assertArrayEquals(bytes("document holder hash"), Canonical.tagged("document", bytes("document holder")));
        assertArrayEquals(bytes("document empty hash"), Canonical.tagged("document"));
        assertArrayEquals(GENESIS_HASH, Canonical.tagged("genesis", bytes("genesis")));
        assertArrayEquals(bytes("genesis header hash"), Canonical.tagged("header", bytes("genesis header")));
    }

    @Test
    void keysHaveTheirIdsAndVerifyWhatTheySigned() {
        for (var name : List.of("alice/1", "p256:alice", "x25519:alice")) {
            var raw = Canonical.decode(Record.PublicKey.parser(), bytes("key " + name));
            var key = PublicKey.of(raw.getAlgorithmValue(), raw.getPoint().toByteArray());
            var id = Canonical.tagged("key", new byte[] {(byte) raw.getAlgorithmValue()}, key.bytes());
            assertArrayEquals(bytes("key " + name + " id"), id);
            assertEquals(key, PublicKey.fromMultikey(key.multikey()));
            if (key.algorithm() == PublicKey.Algorithm.X25519) {
                continue;
            }
            var signature = bytes("signature of " + name + " over \"message\"");
            assertTrue(key.verifies(signature, "message".getBytes(StandardCharsets.US_ASCII)));
            assertFalse(key.verifies(signature, "massage".getBytes(StandardCharsets.US_ASCII)));
            signature[0] ^= 1;
            assertFalse(key.verifies(signature, "message".getBytes(StandardCharsets.US_ASCII)));
        }
    }

    @Test
    void anotherEncodingOfTheSameMessageIsRefused() {
        var head = bytes("head after create holder");
        Canonical.decode(Record.Head.parser(), head);
        // An explicit default, and a field of a later version.
        for (var more : List.of("4000", "a2380178")) {
            var other = HexFormat.of().parseHex(HexFormat.of().formatHex(head) + more);
            assertThrows(Refused.class, () -> Canonical.decode(Record.Head.parser(), other));
        }
    }

    @Test
    void multikeysAndThumbprintsAreThoseOfTheReference() {
        for (var name : List.of("holder", "organization", "holder-without-device")) {
            var document = load("vectors/documents/" + name + ".json");
            var keys = Documents.checkForm(Did.parse(document.get("id").asText()), document);
            assertEquals(document.path("verificationMethod").size(), keys.size());
        }
        var published = load("did-method/tests/vectors/multikey-jwk.json").get("multikey");
        var checked = 0;
        for (var entry : published) {
            if (List.of("Ed25519", "P-256", "X25519").contains(entry.get("key_type").asText())) {
                var key = PublicKey.fromMultikey(entry.get("multibase").asText());
                assertEquals(entry.get("raw_public_key_hex").asText(), key.point());
                checked++;
            } else {
                assertThrows(
                        Refused.class, () -> PublicKey.fromMultikey(entry.get("multibase").asText()));
            }
        }
        assertTrue(checked >= 3);
        // RFC 8037, A.3.
        var point = HexFormat.of().parseHex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        assertEquals("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", PublicKey.of(1, point).thumbprint());
    }

    @Test
    void aDidHasOneSpelling() {
        var did = RECORD.get(names("inception ", ", did").get(0) + ", did").asText();
        for (var other : List.of(
                did.toUpperCase(java.util.Locale.ROOT),
                did.substring(0, did.length() - 1),
                did + "#key",
                did.replace(":z", ":z1"),
                did.replace("sillok", "example"),
                did + "\n",
                "did:sillok:test:z" + "1".repeat(100_000))) {
            assertThrows(Refused.class, () -> Did.parse(other), other);
        }
    }
}
