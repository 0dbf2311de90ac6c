package sillok.reader;

import java.math.BigInteger;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.regex.Pattern;

/** The identifier {@code did:sillok:<network>:<suffix>}, in its one spelling (docs/method.md, 1.1). */
public record Did(String network, String digest) {
    private static final Pattern FORM =
            Pattern.compile("did:sillok:([a-z0-9]{1,24}):(z[1-9A-HJ-NP-Za-km-z]+)");
    /** BLAKE3-256: multicodec 0x1e, 32 bytes. */
    private static final byte[] MULTIHASH_PREFIX = {0x1e, 0x20};

    private static final int SUFFIX_CHARS_MAX = 64;

    /** Reads exactly what {@link #toString()} of a DID prints, and nothing else. */
    public static Did parse(String text) {
        var match = FORM.matcher(text);
        if (!match.matches()) {
            throw new Refused("this is no DID of the method: write did:sillok:<network>:<suffix>");
        }
        var suffix = match.group(2);
        // Decoding takes quadratic time, so what is longer than any DID is not decoded.
        if (suffix.length() > SUFFIX_CHARS_MAX) {
            throw new Refused("this is no DID of the method: the suffix is far too long");
        }
        var multihash = Base58.decode(suffix.substring(1));
        if (multihash.length != 34 || !Arrays.equals(multihash, 0, 2, MULTIHASH_PREFIX, 0, 2)) {
            throw new Refused("this is no DID of the method: the suffix is no BLAKE3-256 multihash");
        }
        var did = of(match.group(1), Arrays.copyOfRange(multihash, 2, 34));
        if (!did.toString().equals(text)) {
            throw new Refused("this is another spelling of a DID: use the one that its resolver prints");
        }
        return did;
    }

    /** The DID of a digest. */
    public static Did of(String network, byte[] digest) {
        return new Did(network, HexFormat.of().formatHex(digest));
    }

    /** The BLAKE3-256 digest of the inception: what the ledger calls this DID. */
    public byte[] bytes() {
        return HexFormat.of().parseHex(digest);
    }

    @Override
    public String toString() {
        var multihash = Arrays.copyOf(MULTIHASH_PREFIX, 34);
        System.arraycopy(bytes(), 0, multihash, 2, 32);
        return "did:sillok:" + network + ":z" + Base58.encode(multihash);
    }

    /** Base58btc. */
    static final class Base58 {
        private static final String ALPHABET =
                "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
        private static final BigInteger BASE = BigInteger.valueOf(58);

        private Base58() {}

        static byte[] decode(String text) {
            var number = BigInteger.ZERO;
            for (var character : text.toCharArray()) {
                var digit = ALPHABET.indexOf(character);
                if (digit < 0) {
                    throw new Refused("this is not base58btc");
                }
                number = number.multiply(BASE).add(BigInteger.valueOf(digit));
            }
            var zeros = (int) text.chars().takeWhile(character -> character == '1').count();
            var bytes = number.signum() == 0 ? new byte[0] : number.toByteArray();
            var sign = bytes.length > 0 && bytes[0] == 0 ? 1 : 0;
            var out = new byte[zeros + bytes.length - sign];
            System.arraycopy(bytes, sign, out, zeros, bytes.length - sign);
            return out;
        }

        static String encode(byte[] data) {
            var number = new BigInteger(1, data);
            var digits = new StringBuilder();
            while (number.signum() > 0) {
                var parts = number.divideAndRemainder(BASE);
                digits.append(ALPHABET.charAt(parts[1].intValue()));
                number = parts[0];
            }
            for (var at = 0; at < data.length && data[at] == 0; at++) {
                digits.append('1');
            }
            return digits.reverse().toString();
        }
    }
}
