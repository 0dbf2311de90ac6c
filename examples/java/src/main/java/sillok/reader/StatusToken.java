package sillok.reader;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.Map;
import java.util.zip.InflaterInputStream;

/** A Token Status List, signed as a JWT by a status issuer (docs/http.md, "Status lists"). */
public record StatusToken(String uri, long issuedS, long expiresS, int bits, byte[] states) {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final int LIST_BYTES_MAX = 1_048_576 / 2;

    /** The verification method that is said to have signed a token: whose DID to resolve. */
    public static String kidOf(String token) {
        return json(token.split("\\.")[0]).path("kid").asText();
    }

    /** Checks a token and reads it. {@code keys}: those under {@code assertionMethod} of the DID in its kid. */
    public static StatusToken read(String token, Map<String, PublicKey> keys, String uri, long nowS) {
        var parts = token.split("\\.");
        if (parts.length != 3) {
            throw new Refused("this is no JWT");
        }
        var header = json(parts[0]);
        var claims = json(parts[1]);
        var key = keys.get(header.path("kid").asText());
        if (!header.path("typ").asText().equals("statuslist+jwt")) {
            throw new Refused("the token is something else");
        }
        if (key == null || !header.path("alg").asText().equals(key.algorithm().jose)) {
            throw new Refused("no assertion method of the issuer has this kid and algorithm");
        }
        var signed = (parts[0] + "." + parts[1]).getBytes(StandardCharsets.US_ASCII);
        if (!key.verifies(Base64.getUrlDecoder().decode(parts[2]), signed)) {
            throw new Refused("the signature of the token does not hold");
        }
        if (!claims.path("sub").asText().equals(uri)) {
            throw new Refused("the token is of another list");
        }
        var issued = claims.path("iat").asLong();
        var expires = claims.path("exp").asLong();
        if (nowS < issued - 10 || nowS >= expires) {
            throw new Refused("the token has expired, or is of the future");
        }
        var list = claims.path("status_list");
        var bits = list.path("bits").asInt();
        if (bits != 1 && bits != 2 && bits != 4 && bits != 8) {
            throw new Refused("entries of that many bits there are not");
        }
        return new StatusToken(uri, issued, expires, bits, inflate(list.path("lst").asText()));
    }

    /** The state of an entry; the first of a byte stands in its lowest bits. */
    public int state(int index) {
        var perByte = 8 / bits;
        if (index < 0 || index >= states.length * perByte) {
            throw new Refused("the list has no such entry");
        }
        return states[index / perByte] >> index % perByte * bits & (1 << bits) - 1;
    }

    private static byte[] inflate(String text) {
        var deflated = new ByteArrayInputStream(Base64.getUrlDecoder().decode(text));
        try (var inflater = new InflaterInputStream(deflated)) {
            var states = inflater.readNBytes(LIST_BYTES_MAX);
            if (inflater.read() != -1) {
                throw new Refused("the list is too long");
            }
            return states;
        } catch (IOException error) {
            throw new Refused("the list is cut off or damaged");
        }
    }

    private static JsonNode json(String part) {
        try {
            return JSON.readTree(Base64.getUrlDecoder().decode(part));
        } catch (IOException | IllegalArgumentException error) {
            throw new Refused("the token is malformed");
        }
    }
}
