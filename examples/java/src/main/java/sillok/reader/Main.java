package sillok.reader;

import java.io.PrintStream;

/** Resolves a DID over gRPC and HTTP, and says what it checked and what it did not. */
public final class Main {
    private Main() {}

    public static void main(String[] arguments) {
        if (arguments.length != 3) {
            System.err.println("usage: GRPC-URL HTTP-URL DID");
            System.exit(64);
        }
        try {
            System.exit(run(arguments[0], arguments[1], arguments[2], System.out, System.err));
        } catch (Refused refused) {
            System.err.println("REFUSED: " + refused.getMessage());
            System.exit(4);
        }
    }

    /** Exit codes as those of {@code sillok}: 0 there, 5 not there, 6 deactivated. */
    static int run(String grpc, String http, String text, PrintStream out, PrintStream notes) {
        var did = Did.parse(text);
        notes.println("checked:     the DID: syntax, and that its suffix is a BLAKE3 multihash");
        var answer = new HttpDoor(http).resolve(text, "application/did-resolution");
        var document = HttpDoor.json(answer).path("didDocument");
        out.println(document.toPrettyString());
        if (answer.statusCode() == 200) {
            var keys = Documents.checkForm(did, document);
            notes.println("checked:     the document: it is about this DID, its keys decode as Multikeys,"
                    + " their ids are their thumbprints");
            try (var node = new Node(grpc)) {
                var sent = node.resolve(did).getDocument();
                for (var bound : sent.getKeysList()) {
                    var key = PublicKey.of(bound.getKey().getAlgorithmValue(), bound.getKey().getPoint().toByteArray());
                    if (!keys.containsValue(key)) {
                        throw new Refused("gRPC and HTTP show other keys");
                    }
                }
            }
            notes.println("checked:     gRPC and HTTP show the same keys");
        }
        notes.println("NOT CHECKED: the state proof");
        notes.println("NOT CHECKED: the certificate");
        notes.println("NOT CHECKED: the age: all of this is the word of the node and of all on the way");
        return switch (answer.statusCode()) {
            case 200 -> 0;
            case 404 -> 5;
            case 410 -> 6;
            default -> 1;
        };
    }
}
