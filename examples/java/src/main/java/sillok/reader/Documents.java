package sillok.reader;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What can be told of a DID document without its proof: that it is about this DID and means what it says. */
public final class Documents {
    private static final String CONTEXT = "https://www.w3.org/ns/did/v1.1";
    private static final List<String> RELATIONSHIPS = List.of(
            "authentication", "assertionMethod", "keyAgreement", "capabilityInvocation", "capabilityDelegation");

    private Documents() {}

    /**
     * Checks the document and returns its keys by the id of their verification method. Whether the ledger has this
     * document, it cannot tell.
     */
    public static Map<String, PublicKey> checkForm(Did did, JsonNode document) {
        if (!document.path("id").asText().equals(did.toString())) {
            throw new Refused("this is the document of " + document.path("id").asText());
        }
        if (!document.path("@context").path(0).asText().equals(CONTEXT)) {
            throw new Refused("the context of the document is another");
        }
        var keys = new LinkedHashMap<String, PublicKey>();
        for (var method : document.path("verificationMethod")) {
            var ours = method.path("type").asText().equals("Multikey")
                    && method.path("controller").asText().equals(did.toString());
            if (!ours) {
                throw new Refused("a verification method is no Multikey of this DID");
            }
            var key = PublicKey.fromMultikey(method.path("publicKeyMultibase").asText());
            var id = method.path("id").asText();
            if (!id.equals(did + "#" + key.thumbprint())) {
                throw new Refused("the id of a verification method is not the thumbprint of its key");
            }
            keys.put(id, key);
        }
        for (var relationship : RELATIONSHIPS) {
            for (var reference : document.path(relationship)) {
                if (!keys.containsKey(reference.asText())) {
                    throw new Refused(relationship + " names a key that is not there");
                }
            }
        }
        return keys;
    }
}
