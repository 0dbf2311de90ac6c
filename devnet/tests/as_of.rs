//! A document of before on a network of real processes: what was so when it was signed is proved after everything about it
//! has changed, also who validates, and where one node keeps nothing of then (D4).

#[cfg(test)]
#[path = "support/harness.rs"]
#[allow(dead_code, reason = "each test uses what it needs")]
mod harness;

#[cfg(test)]
mod as_of {
    use super::harness::Network;
    use sillok_client::connection::{CallError, Connection};
    use sillok_client::credential_type::TypeFile;
    use sillok_client::desk::{Application, EntryDates};
    use sillok_client::identity::{Identity, IdentityKey, document_of};
    use sillok_client::keys::{KeyAlgorithm, SecretKey};
    use sillok_client::read::{Client, ReadError, ReadOptions};
    use sillok_client::transaction::OperationDraft;
    use sillok_client::trust::{CheckpointFile, Trust, read_genesis};
    use sillok_client::verify::as_of::{KeyAsOf, Question};
    use sillok_client::verify::{Asked, VerifyError};
    use sillok_client::write::Parties;
    use sillok_devnet::directory::Devnet;
    use sillok_devnet::issuing::Issuing;
    use sillok_devnet::liar::{Liar, Lie};
    use sillok_devnet::{clock_ms, members, network};
    use sillok_did_method::{
        ASSERTION_METHOD, CAPABILITY_INVOCATION, EntryState, SUBMIT, format_datetime, multikey,
    };
    use sillok_proto::{Hash, v1};
    use std::path::Path;
    use std::process::{Command, Output};
    use std::time::Duration;
    use v1::{Action, Reason};

    const INDEX: u32 = 5;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(future)
    }

    fn type_content() -> v1::TypeVersion {
        let file = TypeFile::parse(
            r#"{
                "schemaHash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "policy": {
                    "exclusive": false,
                    "reasons": [{ "reason": "first-issue" }, { "reason": "compromised" }],
                    "channels": ["system"],
                    "purposes": ["access"],
                    "backdatingMax": "1h"
                }
            }"#,
        );
        file.unwrap().content(Path::new(".")).unwrap()
    }

    /// The whole second after a time.
    const fn next_second(time_ms: u64) -> u64 {
        (time_ms / 1_000 + 1) * 1_000
    }

    async fn wait_until(time_ms: u64) {
        while clock_ms() <= time_ms {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// An office that signs, what it signed, and the ledger times at which something changed.
    struct Past {
        office: Identity,
        first: IdentityKey,
        second: IdentityKey,
        credential_type: Hash,
        list: Hash,
        signed_ms: u64,
        compromised_ms: u64,
        rotated_ms: u64,
        /// And the height after which that is known.
        revoked: (u64, u64),
        withdrawn_ms: u64,
        deactivated_ms: u64,
    }

    struct Acting<'a> {
        client: &'a Client,
        registrar: &'a Identity,
    }

    impl Acting<'_> {
        /// One operation, ordered; its height and ledger time.
        async fn run(&self, draft: OperationDraft, keys: &[&SecretKey]) -> (u64, u64) {
            let Self { client, registrar } = self;
            let mut partly =
                client.partly(&registrar.did, draft, client.valid_until_ms().await.unwrap());
            for key in keys {
                partly.sign(0, key).unwrap();
            }
            let header = client.bring(partly, registrar).await.unwrap().receipt.header;
            (header.height(), header.time_ms())
        }

        async fn rewrite(&self, office: &Identity, keys: &[&IdentityKey], new: &SecretKey) -> u64 {
            let acts =
                |key: &&IdentityKey| key.relationships & (CAPABILITY_INVOCATION | SUBMIT) != 0;
            let kept = office.keys.iter().filter(acts).chain(keys.iter().copied());
            let document = document_of(kept.map(IdentityKey::bound).collect(), Vec::new());
            let previous = self.client.current(&office.did).await.unwrap().head_hash();
            let draft = OperationDraft::update(&office.did, &previous, document, None);
            let control = office.newest_secret(CAPABILITY_INVOCATION).unwrap();
            self.run(draft, &[control, new]).await.1
        }
    }

    /// Everything happens: rights, keys, an entry and its end; and each is undone.
    async fn live(network: &Network, client: &Client) -> Past {
        let scene = network.scene();
        let registrar = &scene.registrar;
        let acting = Acting { client, registrar };
        let issuing = Issuing::begin(scene.clone(), type_content(), 1, 131_072).await.unwrap();
        let (of, list) = (issuing.credential_type, issuing.lists[0]);
        let authority = Some(registrar.did.clone());
        let algorithm = KeyAlgorithm::Ed25519;
        let network_name = registrar.did.network();
        let office =
            Identity::organization(network_name, algorithm, false, authority, None).unwrap();
        client.create(&office, &Parties::submitter(registrar)).await.unwrap();
        let control = registrar.newest_secret(CAPABILITY_INVOCATION).unwrap();
        let right = (office.did.digest().to_vec(), i32::from(Action::Issue), of.to_vec());
        let (organization, action, resource) = right.clone();
        let grant = v1::NewGrant { organization, action, resource, ..v1::NewGrant::default() };
        acting.run(OperationDraft::accredit(&registrar.did, grant), &[control]).await;
        let signs = |key: &&IdentityKey| key.relationships & ASSERTION_METHOD != 0;
        let first = office.keys.iter().find(signs).unwrap().clone();
        // It ends by itself, before anything else does.
        let second = IdentityKey::generate(KeyAlgorithm::P256, ASSERTION_METHOD).unwrap();
        let second = IdentityKey { expires_ms: (clock_ms() / 1_000 + 5) * 1_000, ..second };
        acting.rewrite(&office, &[&first, &second], &second.secret).await;
        let set = async |state, reason, since_ms: u64| {
            let dates = EntryDates { grace_until_ms: 0, invalid_from_ms: since_ms };
            let application = Application::set_status(
                scene.genesis_hash,
                &issuing.circumstances(reason),
                &list,
                state,
                &[(INDEX, None)],
                dates,
            );
            let change = issuing.transaction(&[application.unwrap()], &[], 60_000).unwrap();
            let at = scene.commit(&change, 0).await.unwrap().height;
            client.resolve(&registrar.did, Asked::Current).await.unwrap();
            (at, client.header_at(at).await.unwrap().time_ms())
        };
        let (_, signed_ms) = set(EntryState::Valid, Reason::FirstIssue, 0).await;
        // So that the command line, whose times are whole seconds, has one before the next change.
        wait_until(next_second(signed_ms) + 1).await;
        let third = IdentityKey::generate(KeyAlgorithm::P256, ASSERTION_METHOD).unwrap();
        let rotated_ms = acting.rewrite(&office, &[&second, &third], &third.secret).await;
        let compromised_ms = rotated_ms - 1;
        let revoked = set(EntryState::Invalid, Reason::Compromised, compromised_ms).await;
        let (organization, action, resource) = right;
        let ended = v1::EndedGrant { organization, action, resource, at_ms: 0 };
        let withdraw = OperationDraft::withdraw(&registrar.did, ended);
        let (_, withdrawn_ms) = acting.run(withdraw, &[control]).await;
        Past {
            office,
            first,
            second,
            credential_type: of,
            list,
            signed_ms,
            compromised_ms,
            rotated_ms,
            revoked,
            withdrawn_ms,
            deactivated_ms: 0,
        }
    }

    /// The last change, once the second key has ended.
    async fn deactivate(client: &Client, registrar: &Identity, past: &mut Past) {
        wait_until(past.second.expires_ms).await;
        let previous = client.current(&past.office.did).await.unwrap().head_hash();
        let end = OperationDraft::deactivate(&past.office.did, &previous);
        let key = past.office.newest_secret(CAPABILITY_INVOCATION).unwrap();
        past.deactivated_ms = Acting { client, registrar }.run(end, &[key]).await.1;
    }

    impl Past {
        fn question(&self, key: &IdentityKey, time_ms: u64, known_at: Option<u64>) -> Question {
            Question {
                did: self.office.did.clone(),
                key: multikey(key.secret.public()).unwrap(),
                relationships: ASSERTION_METHOD,
                time_ms,
                known_at,
                entry: Some((self.list, INDEX)),
                right: Some((Action::Issue, Some(self.credential_type))),
            }
        }
    }

    /// A client of these nodes that trusts the header of today and no set of before.
    fn today(devnet: &Devnet, follower: &Client, nodes: &[&str]) -> Client {
        let checkpoint = CheckpointFile::of(&follower.trusted(), false).trusted().unwrap();
        let mut trust = Trust::in_memory(read_genesis(&devnet.genesis).unwrap()).unwrap();
        trust.take_checkpoint(checkpoint).unwrap();
        Client::new(Connection::new(nodes).unwrap(), trust, ReadOptions::default())
    }

    /// The observer forgets everything and begins with a snapshot: from now on it keeps no state of before.
    async fn prune(devnet: &mut Devnet) -> String {
        let observer = devnet.node("o1").unwrap().clone();
        network::stop(devnet, observer.index).unwrap();
        let text = std::fs::read_to_string(&observer.config).unwrap();
        let pruned = text
            .replace("history = \"archive\"", "history = \"pruned\"")
            .replace("behind_min = 10000", "behind_min = 1");
        assert_eq!(pruned.len() + "archive".len() + "10000".len(), text.len() + "pruned1".len());
        std::fs::write(&observer.config, pruned).unwrap();
        std::fs::remove_dir_all(observer.directory.join("data")).unwrap();
        network::start(devnet, observer.index).unwrap();
        network::wait_until_caught_up(devnet, observer.index, network::UP_PATIENCE).await.unwrap();
        observer.grpc
    }

    #[test]
    fn d4_a_document_of_before_is_verified_after_everything_has_changed() {
        let network = Network::start("as-of", 4, 1);
        block_on(async {
            let mut devnet = network.devnet();
            let writer = members::client(&devnet).unwrap();
            let mut past = live(&network, &writer).await;
            let before = writer.trusted().next_validators;
            // More than a third are others: what those of before sign is worth nothing any more.
            for index in [1, 2] {
                members::rekey_in_place(&mut devnet, index).await.unwrap();
            }
            let registrar = network.scene().registrar;
            deactivate(&writer, &registrar, &mut past).await;
            wait_until(next_second(past.deactivated_ms)).await;
            network.holder(KeyAlgorithm::Ed25519).await;
            writer.resolve(&registrar.did, Asked::Current).await.unwrap();
            assert_ne!(writer.trusted().next_validators, before);
            let pruned = prune(&mut devnet).await;
            let archive = devnet.nodes[0].grpc.clone();

            let client = today(&devnet, &writer, &[&pruned, &archive]);
            judged(&client, &past).await;
            refused_by_who_keeps_nothing(&today(&devnet, &writer, &[&pruned]), &past).await;
            lies_are_caught(&devnet, &writer, &past, &archive).await;
            on_the_command_line(&network, &past, &pruned, &archive);
        });
    }

    async fn judged(client: &Client, past: &Past) {
        let (first, second) = (&past.first, &past.second);
        let (revoked_at, revoked_ms) = past.revoked;
        // Key, time, known at; what the key was, whether the entry was to be taken, the right was held, and all of it.
        let table = [
            (first, past.signed_ms, None, KeyAsOf::Valid, true, true, true),
            (first, past.signed_ms - 1, None, KeyAsOf::Valid, false, true, false),
            (first, past.compromised_ms, None, KeyAsOf::Valid, false, true, false),
            (first, past.compromised_ms, Some(revoked_at - 1), KeyAsOf::Valid, true, true, true),
            (
                first,
                past.rotated_ms,
                Some(revoked_at - 1),
                KeyAsOf::NotInDocument,
                true,
                true,
                false,
            ),
            (second, past.signed_ms, None, KeyAsOf::Valid, true, true, true),
            (first, revoked_ms, None, KeyAsOf::NotInDocument, false, true, false),
            (first, past.withdrawn_ms, None, KeyAsOf::NotInDocument, false, false, false),
            (first, past.deactivated_ms, None, KeyAsOf::Deactivated, false, false, false),
        ];
        for (place, (key, time_ms, known_at, expected, usable, right, holds)) in
            table.into_iter().enumerate()
        {
            let answer = client.as_of(&past.question(key, time_ms, known_at)).await.unwrap();
            let as_of = answer.fresh().unwrap();
            let entry = as_of.entry.as_ref().unwrap().entry.is_usable(time_ms);
            let found = (as_of.key, entry, as_of.authority.as_ref().unwrap().holds());
            assert_eq!(found, (expected, usable, right), "case {place}");
            assert_eq!(as_of.holds(), holds, "case {place}");
        }
        // The end that a key was given.
        let ended = async |time_ms| {
            let answer = client.as_of(&past.question(second, time_ms, None)).await.unwrap();
            answer.fresh().unwrap().key
        };
        assert_eq!(ended(second.expires_ms - 1).await, KeyAsOf::Valid);
        let expires_ms = second.expires_ms;
        assert_eq!(ended(expires_ms).await, KeyAsOf::Expired { expires_ms });
    }

    async fn refused_by_who_keeps_nothing(client: &Client, past: &Past) {
        let question = past.question(&past.first, past.signed_ms, None);
        let error = client.as_of(&question).await.unwrap_err();
        let ReadError::Call(CallError::Refused { problem, .. }) = error else { panic!("{error}") };
        assert_eq!(problem.code, "HISTORY_PRUNED");
        assert_eq!(problem.fields["archives"].split(',').count(), 4, "the four validators");
        // Key and right need no state of then.
        let answer = client.as_of(&Question { entry: None, ..question }).await.unwrap();
        assert!(answer.fresh().unwrap().holds());
    }

    async fn lies_are_caught(devnet: &Devnet, follower: &Client, past: &Past, honest: &str) {
        let question = past.question(&past.first, past.signed_ms, Some(past.revoked.0));
        for lie in [Lie::NeighborHeader, Lie::EarlierKnowledge, Lie::WithheldVersion] {
            let liar = Liar::start(lie, honest, "127.0.0.1:0".parse().unwrap()).await.unwrap();
            let client = today(devnet, follower, &[&liar.url]);
            let error = client.as_of(&question).await.unwrap_err();
            let ReadError::Verify { source, .. } = error else { panic!("{lie}: {error}") };
            let as_expected = match lie {
                Lie::NeighborHeader => matches!(*source, VerifyError::NotInForce { .. }),
                Lie::EarlierKnowledge => matches!(*source, VerifyError::NotTheHeightAsked { .. }),
                _ => matches!(*source, VerifyError::BrokenChain { .. }),
            };
            assert!(as_expected, "{lie}: {source}");
        }
    }

    fn on_the_command_line(network: &Network, past: &Past, pruned: &str, archive: &str) {
        let home = tempfile::tempdir().unwrap();
        let sillok = Path::new(env!("CARGO_BIN_EXE_sillok-devnet")).with_file_name("sillok");
        let run = |nodes: &[&str], time_ms: u64| -> Output {
            let mut command = Command::new(&sillok);
            for node in nodes {
                command.args(["--node", node]);
            }
            command
                .args(["verify-as-of", &past.office.did.to_string()])
                .args(["--key", &multikey(past.first.secret.public()).unwrap()])
                .args(["--use", "assertionMethod", "--at", &format_datetime(time_ms), "--json"])
                .args(["--status", &format!("{}#{INDEX}", past.list)])
                .args(["--right", "issue", "--on", &past.credential_type.to_string()])
                .arg("--genesis")
                .arg(network.devnet().genesis)
                .arg("--home")
                .arg(home.path())
                .output()
                .unwrap()
        };
        let json = |output: &Output| -> serde_json::Value {
            serde_json::from_slice(&output.stdout).unwrap()
        };
        let (then, now) = (next_second(past.signed_ms), next_second(past.deactivated_ms));
        let good = run(&[pruned, archive], then);
        assert_eq!(good.status.code(), Some(0), "{good:?}");
        let good = json(&good);
        assert_eq!((&good["holds"], &good["entry"]["verdict"]), (&true.into(), &"VALID".into()));
        let gone = run(&[pruned, archive], now);
        assert_eq!(gone.status.code(), Some(9), "{gone:?}");
        let gone = json(&gone);
        assert_eq!(
            (&gone["holds"], &gone["key"]["verdict"]),
            (&false.into(), &"DEACTIVATED".into())
        );
        let alone = run(&[pruned], then);
        assert_eq!(alone.status.code(), Some(1), "{alone:?}");
        let alone = json(&alone);
        assert_eq!(alone["error"]["code"], "HISTORY_PRUNED");
        let message = alone["error"]["message"].as_str().unwrap();
        assert!(message.contains("archives are run by"), "{message}");
    }
}
