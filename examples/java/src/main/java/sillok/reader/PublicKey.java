package sillok.reader;

import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.security.AlgorithmParameters;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.MessageDigest;
import java.security.Signature;
import java.security.spec.ECGenParameterSpec;
import java.security.spec.ECParameterSpec;
import java.security.spec.ECPoint;
import java.security.spec.ECPublicKeySpec;
import java.security.spec.EdECPoint;
import java.security.spec.EdECPublicKeySpec;
import java.security.spec.NamedParameterSpec;
import java.util.Arrays;
import java.util.Base64;
import java.util.HexFormat;

/** A public key as documents show it: Multikey (Controlled Identifiers 1.0), with its thumbprint (RFC 7638). */
public record PublicKey(Algorithm algorithm, String point) {
    /** The registry of algorithms (proto/sillok/v1/record.proto). */
    public enum Algorithm {
        ED25519(1, 0xed, 0x01, 32, "EdDSA"),
        P256(2, 0x80, 0x24, 33, "ES256"),
        X25519(3, 0xec, 0x01, 32, "none");

        final int number;
        final byte[] prefix;
        final int length;
        final String jose;

        Algorithm(int number, int first, int second, int length, String jose) {
            this.number = number;
            this.prefix = new byte[] {(byte) first, (byte) second};
            this.length = length;
            this.jose = jose;
        }
    }

    private static final int MULTIKEY_CHARS_MAX = 128;

    /** The key in a {@code publicKeyMultibase}. */
    public static PublicKey fromMultikey(String text) {
        if (!text.startsWith("z") || text.length() > MULTIKEY_CHARS_MAX) {
            throw new Refused("a Multikey of this method is base58btc and begins with z");
        }
        var data = Did.Base58.decode(text.substring(1));
        for (var algorithm : Algorithm.values()) {
            if (data.length > 2 && Arrays.equals(data, 0, 2, algorithm.prefix, 0, 2)) {
                return of(algorithm.number, Arrays.copyOfRange(data, 2, data.length));
            }
        }
        throw new Refused("the Multikey is of another algorithm than Ed25519, P-256 and X25519");
    }

    /** The key of an algorithm by its number. */
    public static PublicKey of(int number, byte[] point) {
        for (var algorithm : Algorithm.values()) {
            if (algorithm.number == number && algorithm.length == point.length) {
                return new PublicKey(algorithm, HexFormat.of().formatHex(point));
            }
        }
        throw new Refused("the key is of an unknown algorithm, or of another length");
    }

    /** The raw key. */
    public byte[] bytes() {
        return HexFormat.of().parseHex(point);
    }

    /** The key as {@code publicKeyMultibase}. */
    public String multikey() {
        var data = Arrays.copyOf(algorithm.prefix, 2 + algorithm.length);
        System.arraycopy(bytes(), 0, data, 2, algorithm.length);
        return "z" + Did.Base58.encode(data);
    }

    /** What stands after {@code #} in the id of the verification method. */
    public String thumbprint() {
        try {
            var jwk = switch (algorithm) {
                case ED25519 -> "{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"" + url64(bytes()) + "\"}";
                case X25519 -> "{\"crv\":\"X25519\",\"kty\":\"OKP\",\"x\":\"" + url64(bytes()) + "\"}";
                case P256 -> {
                    var affine = affine(p256());
                    yield "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"" + url64(word(affine.getAffineX()))
                            + "\",\"y\":\"" + url64(word(affine.getAffineY())) + "\"}";
                }
            };
            var sha256 = MessageDigest.getInstance("SHA-256");
            return url64(sha256.digest(jwk.getBytes(StandardCharsets.US_ASCII)));
        } catch (GeneralSecurityException error) {
            throw new IllegalStateException("every JDK has SHA-256 and P-256", error);
        }
    }

    /** Does the signature hold? P-256: r ‖ s with s in the lower half, as the record has it. */
    public boolean verifies(byte[] signature, byte[] message) {
        if (signature.length != 64) {
            return false;
        }
        try {
            var verifier = switch (algorithm) {
                case ED25519 -> {
                    var ed25519 = Signature.getInstance("Ed25519");
                    ed25519.initVerify(KeyFactory.getInstance("Ed25519").generatePublic(edwards()));
                    yield ed25519;
                }
                case P256 -> {
                    var curve = p256();
                    var s = new BigInteger(1, Arrays.copyOfRange(signature, 32, 64));
                    if (s.compareTo(curve.getOrder().shiftRight(1)) > 0) {
                        yield null;
                    }
                    var ecdsa = Signature.getInstance("SHA256withECDSAinP1363Format");
                    var spec = new ECPublicKeySpec(affine(curve), curve);
                    ecdsa.initVerify(KeyFactory.getInstance("EC").generatePublic(spec));
                    yield ecdsa;
                }
                case X25519 -> null;
            };
            if (verifier == null) {
                return false;
            }
            verifier.update(message);
            return verifier.verify(signature);
        } catch (GeneralSecurityException error) {
            return false;
        }
    }

    private EdECPublicKeySpec edwards() {
        var littleEndian = bytes();
        var bigEndian = new byte[32];
        for (var at = 0; at < 32; at++) {
            bigEndian[at] = littleEndian[31 - at];
        }
        var xOdd = (bigEndian[0] & 0x80) != 0;
        bigEndian[0] &= 0x7f;
        var spec = new EdECPoint(xOdd, new BigInteger(1, bigEndian));
        return new EdECPublicKeySpec(NamedParameterSpec.ED25519, spec);
    }

    private static ECParameterSpec p256() throws GeneralSecurityException {
        var parameters = AlgorithmParameters.getInstance("EC");
        parameters.init(new ECGenParameterSpec("secp256r1"));
        return parameters.getParameterSpec(ECParameterSpec.class);
    }

    /** The point of a compressed key: y is the root of x³ + ax + b of the parity that its first byte says. */
    private ECPoint affine(ECParameterSpec curve) {
        var compressed = bytes();
        var p = ((java.security.spec.ECFieldFp) curve.getCurve().getField()).getP();
        var x = new BigInteger(1, Arrays.copyOfRange(compressed, 1, 33));
        var square = x.pow(3).add(curve.getCurve().getA().multiply(x)).add(curve.getCurve().getB()).mod(p);
        // p is 3 modulo 4, so this is the root if there is one.
        var y = square.modPow(p.add(BigInteger.ONE).shiftRight(2), p);
        if (x.compareTo(p) >= 0 || !y.modPow(BigInteger.TWO, p).equals(square) || (compressed[0] & 0xfe) != 2) {
            throw new Refused("the key is no point of P-256");
        }
        return new ECPoint(x, y.testBit(0) == (compressed[0] == 3) ? y : p.subtract(y));
    }

    private static byte[] word(BigInteger number) {
        var bytes = number.toByteArray();
        var out = new byte[32];
        var length = Math.min(32, bytes.length);
        System.arraycopy(bytes, bytes.length - length, out, 32 - length, length);
        return out;
    }

    private static String url64(byte[] data) {
        return Base64.getUrlEncoder().withoutPadding().encodeToString(data);
    }
}
