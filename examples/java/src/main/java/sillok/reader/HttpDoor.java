package sillok.reader;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;

/** The HTTP doors of a node (docs/http.md), with the JDK's own client. */
public final class HttpDoor {
    private static final Duration TIMEOUT = Duration.ofSeconds(15);
    private static final ObjectMapper JSON = new ObjectMapper();
    private final HttpClient client =
            HttpClient.newBuilder().connectTimeout(TIMEOUT).version(HttpClient.Version.HTTP_1_1).build();
    private final String url;

    public HttpDoor(String url) {
        this.url = url;
    }

    /** Resolves a DID or DID URL, percent-encoded as a whole. Redirects are answers, for a DID URL may lead to one. */
    public HttpResponse<String> resolve(String didUrl, String accept) {
        return get("/1.0/identifiers/" + URLEncoder.encode(didUrl, StandardCharsets.UTF_8), accept);
    }

    /** Gets a path. */
    public HttpResponse<String> get(String path, String accept) {
        return send(HttpRequest.newBuilder(URI.create(url + path)).header("Accept", accept));
    }

    /** Asks by TRQP v2 whether an entity may do something ({@code /authorization}, {@code /recognition}). */
    public HttpResponse<String> ask(String path, Map<String, ?> query) {
        try {
            var body = HttpRequest.BodyPublishers.ofString(JSON.writeValueAsString(query));
            return send(HttpRequest.newBuilder(URI.create(url + path))
                    .header("Content-Type", "application/json")
                    .POST(body));
        } catch (JsonProcessingException error) {
            throw new IllegalStateException("a map of texts is JSON", error);
        }
    }

    /** The body as JSON. */
    public static JsonNode json(HttpResponse<String> answer) {
        try {
            return JSON.readTree(answer.body());
        } catch (JsonProcessingException error) {
            throw new Refused("the answer is no JSON");
        }
    }

    private HttpResponse<String> send(HttpRequest.Builder request) {
        try {
            return client.send(request.timeout(TIMEOUT).build(), HttpResponse.BodyHandlers.ofString());
        } catch (IOException error) {
            throw new Refused("the node does not answer: " + error.getMessage());
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new Refused("interrupted");
        }
    }
}
