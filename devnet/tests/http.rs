//! The HTTP door of real nodes, asked as a stranger does, and its proofs checked by a client that trusts no node.

#[cfg(test)]
#[path = "support/harness.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod harness;

#[cfg(test)]
mod http {
    use super::harness::Network;
    use serde_json::{Value, json};
    use sillok_client::keys::KeyAlgorithm::Ed25519;
    use sillok_client::read::Client;
    use sillok_client::verify::authority::Right;
    use sillok_client::verify::moment::Moment;
    use sillok_client::verify::{Asked, Policy, Verifier, VerifyError};
    use sillok_devnet::clock_ms;
    use sillok_devnet::directory::{NodeEntry, OrganizationRole};
    use sillok_did_method::binding::read_proof;
    use sillok_did_method::{Did, trqp};
    use sillok_proto::v1;
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::sync::OnceLock;
    use std::time::Duration;

    static NETWORK: OnceLock<Network> = OnceLock::new();

    fn network() -> &'static Network {
        NETWORK.get_or_init(|| Network::start("http", 4, 1))
    }

    /// One request without any library: status and body.
    fn ask(node: &NodeEntry, method: &str, target: &str, body: &str) -> (u16, Value) {
        let address = node.http.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    fn resolve(node: &NodeEntry, rest: &str) -> (u16, Value) {
        ask(node, "GET", &format!("/1.0/identifiers/{rest}"), "")
    }

    /// Runs `check` with what the client trusts now.
    fn with_verifier<T>(client: &Client, check: impl FnOnce(&Verifier<'_>) -> T) -> T {
        let (chain, trusted) = (client.chain(), client.trusted());
        check(&Verifier::new(&chain, &trusted, Policy::at(clock_ms())))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn c11_what_any_node_answers_over_http_is_proved() {
        let (holder, found) = network().holder(Ed25519).await;
        let devnet = network().devnet();
        for node in &devnet.nodes {
            let reader = network().reader(node);
            reader.wait_for(found.height).await.unwrap();
            reader.resolve(&holder.did).await.unwrap();
            let (status, json) = resolve(node, &holder.did.to_string());
            assert_eq!(status, 200, "{json}");
            let answer = read_proof(&json).unwrap();
            let verified = with_verifier(&reader.client, |verifier| {
                verifier.resolution(&holder.did, Asked::Current, &answer)
            });
            let verified = verified.unwrap();
            assert_eq!(verified.fresh().unwrap().to_json()["didDocument"], json["didDocument"]);

            // An absence has its proof as well.
            let nobody = Did::new(holder.did.network(), sillok_proto::Hash([1; 32])).unwrap();
            let (status, json) = resolve(node, &nobody.to_string());
            assert_eq!(status, 404);
            let answer = read_proof(&json).unwrap();
            let verified = with_verifier(&reader.client, |verifier| {
                verifier.resolution(&nobody, Asked::Current, &answer)
            });
            assert!(verified.unwrap().fresh().unwrap().version.is_none());
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn b4_a_lie_over_http_is_caught_by_its_proof() {
        let (holder, _) = network().holder(Ed25519).await;
        let (other, found) = network().holder(Ed25519).await;
        let devnet = network().devnet();
        let node = &devnet.nodes[0];
        let reader = network().reader(node);
        reader.wait_for(found.height).await.unwrap();
        reader.resolve(&holder.did).await.unwrap();
        let honest = read_proof(&resolve(node, &holder.did.to_string()).1).unwrap();
        let of_other = read_proof(&resolve(node, &other.did.to_string()).1).unwrap();
        let nobody = Did::new(holder.did.network(), sillok_proto::Hash([1; 32])).unwrap();
        let of_nobody = read_proof(&resolve(node, &nobody.to_string()).1).unwrap();
        let verify = |answer: &v1::ResolveResponse| {
            with_verifier(&reader.client, |verifier| {
                verifier.resolution(&holder.did, Asked::Current, answer).map(|_| ())
            })
        };
        assert_eq!(verify(&honest), Ok(()));
        let lies = [
            ("the answer for another DID", of_other.clone()),
            ("an absence of another DID", of_nobody),
            (
                "another's document",
                v1::ResolveResponse { document: of_other.document.clone(), ..honest.clone() },
            ),
            (
                "a head that is not proved",
                v1::ResolveResponse { heads: of_other.heads.clone(), ..honest.clone() },
            ),
            ("no document", v1::ResolveResponse { document: None, ..honest.clone() }),
            ("no proof", v1::ResolveResponse { proof: None, ..honest.clone() }),
        ];
        let mut errors: Vec<VerifyError> = Vec::new();
        for (what, lie) in lies {
            errors.push(verify(&lie).expect_err(what));
        }
        assert!(errors.contains(&VerifyError::NotTheProvedHead), "{errors:?}");
        assert!(errors.contains(&VerifyError::DocumentMissing { version: 1 }), "{errors:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_right_is_told_and_proved_over_http() {
        let devnet = network().devnet();
        let node = &devnet.nodes[0];
        let registrar = devnet.organization(OrganizationRole::Registrar).unwrap();
        let submitter = devnet.organization(OrganizationRole::Submitter).unwrap();
        let reader = network().reader(node);
        // The first block stands before anything is proved.
        reader.wait_for(1).await.unwrap();
        for (entity, action, acts, holds) in [
            (registrar, "register", v1::Action::Register, true),
            (submitter, "submit", v1::Action::Submit, true),
            (submitter, "countersign", v1::Action::Countersign, false),
        ] {
            let did = Did::parse(&entity.did).unwrap();
            reader.resolve(&did).await.unwrap();
            let query = json!({
                "entity_id": entity.did,
                "authority_id": format!("{}{}", trqp::GOVERNANCE, devnet.network),
                "action": action,
                "resource": "urn:sillok:all",
            });
            let (status, json) = ask(node, "POST", "/authorization?proof=true", &query.to_string());
            assert_eq!((status, &json["authorized"]), (200, &json!(holds)), "{json}");
            let [answer] = trqp::read_proofs(&json).unwrap().try_into().unwrap();
            let right = Right { organization: did.digest(), action: acts, resource: None };
            let verified = with_verifier(&reader.client, |verifier| {
                verifier.authority(&right, Moment::Tip, &answer)
            });
            assert_eq!(verified.unwrap().fresh().unwrap().holds(), holds, "{action}");
        }
    }

    #[test]
    fn a_devnet_tells_where_http_answers() {
        let devnet = network().devnet();
        let told = sillok_devnet::cli::environment(&devnet).unwrap();
        let http = told.iter().find(|(name, _)| *name == "SILLOK_HTTP").unwrap();
        assert_eq!(http.1, devnet.nodes[0].http);
        let ports: std::collections::BTreeSet<&str> =
            devnet.nodes.iter().flat_map(|node| [node.http.as_str(), node.grpc.as_str()]).collect();
        assert_eq!(ports.len(), 2 * devnet.nodes.len());
    }
}
