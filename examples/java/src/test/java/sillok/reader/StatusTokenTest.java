package sillok.reader;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.Signature;
import java.util.Arrays;
import java.util.Base64;
import java.util.Map;
import java.util.zip.DeflaterOutputStream;
import org.junit.jupiter.api.Test;

/** Tokens made here by the rules of Token Status List, and what is wrong with others. */
class StatusTokenTest {
    private static final String URI = "https://status.example/lists/00";
    private static final String KID = "did:sillok:test:z#key";
    private static final long NOW_S = 1_795_251_600;
    private static final KeyPair KEY = generate();
    private static final Map<String, PublicKey> KEYS = Map.of(KID, publicKey());

    private static KeyPair generate() {
        try {
            return KeyPairGenerator.getInstance("Ed25519").generateKeyPair();
        } catch (GeneralSecurityException error) {
            throw new IllegalStateException("every JDK has Ed25519", error);
        }
    }

    private static PublicKey publicKey() {
        // The encoded form ends with the 32 bytes of the point.
        var encoded = KEY.getPublic().getEncoded();
        return PublicKey.of(1, Arrays.copyOfRange(encoded, encoded.length - 32, encoded.length));
    }

    private static String url64(byte[] data) {
        return Base64.getUrlEncoder().withoutPadding().encodeToString(data);
    }

    private static String token(String typ, String claims) throws Exception {
        var header = "{\"alg\":\"EdDSA\",\"kid\":\"" + KID + "\",\"typ\":\"" + typ + "\"}";
        var signed = url64(header.getBytes(StandardCharsets.UTF_8)) + "."
                + url64(claims.getBytes(StandardCharsets.UTF_8));
        var signer = Signature.getInstance("Ed25519");
        signer.initSign(KEY.getPrivate());
        signer.update(signed.getBytes(StandardCharsets.US_ASCII));
        return signed + "." + url64(signer.sign());
    }

    private static String claims(int bits, byte[] states) throws Exception {
        var deflated = new ByteArrayOutputStream();
        try (var deflater = new DeflaterOutputStream(deflated)) {
            deflater.write(states);
        }
        return "{\"sub\":\"" + URI + "\",\"iat\":" + (NOW_S - 60) + ",\"exp\":" + (NOW_S + 60)
                + ",\"status_list\":{\"bits\":" + bits + ",\"lst\":\"" + url64(deflated.toByteArray()) + "\"}}";
    }

    @Test
    void entriesStandInTheLowestBitsFirst() throws Exception {
        var token = token("statuslist+jwt", claims(4, new byte[] {0x20, (byte) 0xc1, 0x33}));
        assertEquals(KID, StatusToken.kidOf(token));
        var list = StatusToken.read(token, KEYS, URI, NOW_S);
        var states = new int[] {0, 2, 1, 12, 3, 3};
        for (var index = 0; index < states.length; index++) {
            assertEquals(states[index], list.state(index), "entry " + index);
        }
        assertThrows(Refused.class, () -> list.state(6));
        // The example of Token Status List, 4.1: sixteen entries of one bit.
        var bits = StatusToken.read(token("statuslist+jwt", claims(1, new byte[] {(byte) 0xb9, (byte) 0xa3})), KEYS, URI, NOW_S);
        var published = "1001110111000101";
        for (var index = 0; index < published.length(); index++) {
            assertEquals(published.charAt(index) - '0', bits.state(index), "entry " + index);
        }
    }

    @Test
    void aTokenThatMustNotBeBelievedIsRefused() throws Exception {
        var claims = claims(4, new byte[16]);
        var honest = token("statuslist+jwt", claims);
        StatusToken.read(honest, KEYS, URI, NOW_S);
        var forged = honest.substring(0, honest.lastIndexOf('.') + 1) + url64(new byte[64]);
        assertThrows(Refused.class, () -> StatusToken.read(forged, KEYS, URI, NOW_S));
        assertThrows(Refused.class, () -> StatusToken.read(honest, Map.of(), URI, NOW_S));
        assertThrows(Refused.class, () -> StatusToken.read(honest, KEYS, URI + "0", NOW_S));
        assertThrows(Refused.class, () -> StatusToken.read(honest, KEYS, URI, NOW_S + 60));
        assertThrows(Refused.class, () -> StatusToken.read(honest, KEYS, URI, NOW_S - 71));
        assertThrows(Refused.class, () -> StatusToken.read("x", KEYS, URI, NOW_S));
        var other = token("JWT", claims);
        assertThrows(Refused.class, () -> StatusToken.read(other, KEYS, URI, NOW_S));
        var odd = token("statuslist+jwt", claims(3, new byte[16]));
        assertThrows(Refused.class, () -> StatusToken.read(odd, KEYS, URI, NOW_S));
        // Half a megabyte of zeros is a list, a byte more is none that the ledger has.
        StatusToken.read(token("statuslist+jwt", claims(4, new byte[524_288])), KEYS, URI, NOW_S);
        var bomb = token("statuslist+jwt", claims(4, new byte[524_289]));
        assertThrows(Refused.class, () -> StatusToken.read(bomb, KEYS, URI, NOW_S));
    }
}
