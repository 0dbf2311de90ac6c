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
    use sillok_client::served::{check_proved, compare};
    use sillok_client::verify::authority::Right;
    use sillok_client::verify::moment::Moment;
    use sillok_client::verify::{Asked, Policy, Verifier, VerifyError};
    use sillok_devnet::clock_ms;
    use sillok_devnet::directory::{NodeEntry, OrganizationRole};
    use sillok_devnet::issuing::Issuing;
    use sillok_did_method::binding::read_proof;
    use sillok_did_method::{Did, trqp};
    use sillok_did_method::{EntryState, LIST_ENTRIES_MIN};
    use sillok_proto::v1;
    use sillok_status_list::document::{Publisher, View};
    use sillok_status_list::served::Served;
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::TcpStream;
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
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

    const VIEWS: [(View, &str, &str); 3] = [
        (View::Token, "application/json", "application/statuslist+jwt"),
        (View::Revocation, "application/vc", "application/vc+jwt"),
        (View::Suspension, "application/vc", "application/vc+jwt"),
    ];

    /// One request for a list: status, head and body.
    fn fetch(address: &str, target: &str, accept: &str) -> (u16, String, String) {
        let address = address.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAccept: {accept}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.to_owned())
    }

    /// `sillok status serve`, stopped with the test.
    struct StatusIssuer {
        child: Child,
        address: String,
        _home: tempfile::TempDir,
    }

    impl Drop for StatusIssuer {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn status_issuer() -> StatusIssuer {
        let devnet = network().devnet();
        let home = tempfile::tempdir().unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_sillok-devnet")).with_file_name("sillok");
        let told = sillok_devnet::cli::environment(&devnet).unwrap();
        let sillok = || {
            let mut command = Command::new(&program);
            command.envs(told.iter().map(|(name, value)| (*name, value)));
            command.env("SILLOK_HOME", home.path().join("sillok"));
            command
        };
        let key = home.path().join("door.json");
        let identity = &told.iter().find(|(name, _)| *name == "SILLOK_IDENTITY").unwrap().1;
        let copied = sillok()
            .args(["key", "copy", identity, "--relationships", "assertionMethod", "--out"])
            .arg(&key)
            .output()
            .unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        let kept = std::fs::read_to_string(&key).unwrap();
        assert_eq!(kept.matches("assertionMethod").count(), 1);
        assert!(!kept.contains("capabilityInvocation") && !kept.contains("submit"), "no others");
        let mut child = sillok()
            .args(["status", "serve", "--listen", "127.0.0.1:0", "--key"])
            .arg(&key)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split_whitespace().last().unwrap().to_owned();
        StatusIssuer { child, address, _home: home }
    }

    fn type_content() -> v1::TypeVersion {
        let rule =
            |reason: v1::Reason| v1::ReasonRule { reason: reason.into(), ..Default::default() };
        let policy = v1::TypePolicy {
            reasons: vec![rule(v1::Reason::FirstIssue), rule(v1::Reason::EndOfUse)],
            channels: 1 << v1::Channel::System as u32,
            purposes: 0b10,
            ..v1::TypePolicy::default()
        };
        v1::TypeVersion { schema_hash: vec![7; 32], render_hash: vec![], policy: Some(policy) }
    }

    /// The whole way: entries are set by operations, every node serves them with the proof, a status issuer signs them, and
    /// a client that trusts the genesis alone compares each of them with what it verified itself.
    #[tokio::test(flavor = "multi_thread")]
    async fn b5_lists_over_http_are_proved_by_every_node_and_signed_by_a_status_issuer() {
        let devnet = network().devnet();
        let scene = network().scene();
        let issuing = Issuing::begin(scene, type_content(), 1, LIST_ENTRIES_MIN).await.unwrap();
        let list = issuing.lists[0];
        let indexes: Vec<u32> = (0..500_u32).map(|nth| nth * 257 % LIST_ENTRIES_MIN).collect();
        let set = async |state, reason, indexes: &[u32]| {
            let mut sorted = indexes.to_vec();
            sorted.sort_unstable();
            let change = issuing.set(&list, state, reason, &sorted).unwrap();
            let transaction = issuing.transaction(&[change], &[], 60_000).unwrap();
            let committed = issuing.scene.commit(&transaction, 0).await.unwrap();
            committed.height
        };
        set(EntryState::Valid, v1::Reason::FirstIssue, &indexes).await;
        let at = set(EntryState::Invalid, v1::Reason::EndOfUse, &indexes[..100]).await;
        let path = |view: View| format!("/lists/{list}{}", view.suffix());
        for node in &devnet.nodes {
            let reader = network().reader(node);
            reader.wait_for(at).await.unwrap();
            // What the client trusts is as new as what the node answers.
            reader.client.whole_list(&list, Moment::Tip).await.unwrap();
            let publisher = Publisher::of(&reader.client.chain());
            for (view, with_proof, signed) in VIEWS {
                let (status, head, body) = fetch(&node.http, &path(view), with_proof);
                assert_eq!(status, 200, "{body}");
                assert!(head.contains(&format!("content-type: {with_proof}")), "{head}");
                let json: Value = serde_json::from_str(&body).unwrap();
                let checked = with_verifier(&reader.client, |verifier| {
                    check_proved(*verifier, &publisher, (&list, view), Moment::Tip, &json)
                });
                let checked = checked.unwrap();
                assert!(checked.fresh().unwrap().header.height() >= at);
                let served = Served::read(view, &json).unwrap();
                for (nth, index) in indexes.iter().enumerate() {
                    let expected = match view {
                        View::Token | View::Revocation => u8::from(nth < 100),
                        View::Suspension => 0,
                    };
                    assert_eq!(served.entry(*index), Some(expected));
                }
                assert_eq!(fetch(&node.http, &path(view), signed).0, 406, "nodes have no key");
            }
        }
        let door = status_issuer();
        let reader = network().reader(&devnet.nodes[1]);
        let publisher = Publisher::of(&reader.client.chain());
        for (view, with_proof, signed) in VIEWS {
            let (status, head, token) = fetch(&door.address, &path(view), "*/*");
            assert_eq!(status, 200, "{token}");
            assert!(head.contains(&format!("content-type: {signed}")), "{head}");
            let served = reader.client.signed_list((&list, view), None, &token).await.unwrap();
            let height = served.height.unwrap();
            assert!(height >= at);
            reader.wait_for(height).await.unwrap();
            let moment = Moment::Height(height);
            let whole = reader.client.whole_list(&list, moment).await.unwrap();
            let whole = whole.fresh().unwrap().clone().unwrap();
            compare(&publisher, (&list, view), &served, &whole).unwrap();
            // The proof beside it, by the door and by a node: the same state.
            let query = head.split_once('?').unwrap().1.split_once('>').unwrap().0.to_owned();
            for address in [&door.address, &devnet.nodes[2].http] {
                network().reader(&devnet.nodes[2]).wait_for(height).await.unwrap();
                let target = format!("{}?{query}", path(view));
                let (status, _, body) = fetch(address, &target, with_proof);
                assert_eq!(status, 200, "{body}");
                let json: Value = serde_json::from_str(&body).unwrap();
                let beside = Served::read(view, &json).unwrap();
                assert_eq!((beside.bytes, beside.from_s), (served.bytes.clone(), served.from_s));
            }
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
