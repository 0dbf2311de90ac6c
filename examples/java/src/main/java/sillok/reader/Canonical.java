package sillok.reader;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.Parser;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.bouncycastle.crypto.digests.Blake3Digest;

/** Canonical bytes, tagged hashes and signed strings (docs/protocol.md, Part I). */
public final class Canonical {
    private static final int HASH_BYTES = 32;

    private Canonical() {}

    /** Reads canonical bytes and refuses every other encoding, unknown fields among them. */
    public static <M extends Message> M decode(Parser<M> parser, byte[] data) {
        try {
            var message = parser.parseFrom(data);
            var known = message.toBuilder()
                    .setUnknownFields(com.google.protobuf.UnknownFieldSet.getDefaultInstance())
                    .build();
            if (Arrays.equals(known.toByteArray(), data)) {
                return message;
            }
        } catch (InvalidProtocolBufferException error) {
            throw new Refused("the bytes are no message of this kind");
        }
        throw new Refused("the bytes are not the canonical encoding");
    }

    /** BLAKE3-256 without a tag: what DIDs are hashed by. */
    public static byte[] digest(byte[]... parts) {
        var blake3 = new Blake3Digest(HASH_BYTES * 8);
        for (var part : parts) {
            blake3.update(part, 0, part.length);
        }
        var hash = new byte[HASH_BYTES];
        blake3.doFinal(hash, 0);
        return hash;
    }

    /** H(tag, parts): every hash of a message says what it is about. */
    public static byte[] tagged(String tag, byte[]... parts) {
        var all = new byte[parts.length + 1][];
        all[0] = prefix(tag);
        System.arraycopy(parts, 0, all, 1, parts.length);
        return digest(all);
    }

    /** What is signed: tag, genesis hash, statement. */
    public static byte[] signedString(String tag, byte[] genesisHash, byte[] statement) {
        var prefix = prefix(tag);
        var string = Arrays.copyOf(prefix, prefix.length + genesisHash.length + statement.length);
        System.arraycopy(genesisHash, 0, string, prefix.length, genesisHash.length);
        System.arraycopy(statement, 0, string, prefix.length + genesisHash.length, statement.length);
        return string;
    }

    private static byte[] prefix(String tag) {
        return ("sillok/v1/" + tag + "\0").getBytes(StandardCharsets.US_ASCII);
    }
}
