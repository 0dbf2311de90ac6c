package sillok.reader;

import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import java.util.concurrent.TimeUnit;
import sillok.v1.Api.ResolveRequest;
import sillok.v1.Api.ResolveResponse;
import sillok.v1.DidResolverGrpc;

/** A node over gRPC, with the classes that protoc made of the published files. Put TLS before a public one. */
public final class Node implements AutoCloseable {
    private static final long TIMEOUT_S = 15;
    private final ManagedChannel channel;

    /** A node at {@code http://host:port}, as {@code sillok-devnet env} prints it. */
    public Node(String url) {
        var target = url.replaceFirst("^http://", "");
        channel = Grpc.newChannelBuilder(target, InsecureChannelCredentials.create()).build();
    }

    /** The current version of a DID, as the node says it: its proof is in the answer and is not checked here. */
    public ResolveResponse resolve(Did did) {
        return resolve(ResolveRequest.newBuilder().setDid(did.toString()).build());
    }

    /** The same for a request of one's own. */
    public ResolveResponse resolve(ResolveRequest request) {
        return DidResolverGrpc.newBlockingStub(channel)
                .withDeadlineAfter(TIMEOUT_S, TimeUnit.SECONDS)
                .resolve(request);
    }

    @Override
    public void close() {
        channel.shutdownNow();
    }
}
