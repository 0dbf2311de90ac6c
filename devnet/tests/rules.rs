//! The rules of the record, from outside: real processes, gRPC, and a client that trusts the genesis alone.
//!
//! All tests share one network of four validators and an observer and run at once on it; none of them stops a node.
//! Tests are named after the requirement they show.

#[cfg(test)]
#[path = "support/harness.rs"]
mod harness;

#[cfg(test)]
mod rules {
    use super::harness::{Network, document};
    use sillok_client::identity::{Identity, IdentityKey, document_of};
    use sillok_client::keys::KeyAlgorithm::{Ed25519, P256};
    use sillok_client::transaction::{OperationDraft, Terms};
    use sillok_devnet::clock_ms;
    use sillok_devnet::reader::Reader;
    use sillok_devnet::scene::{controller, finish, new_device, organization_key};
    use sillok_devnet::submit::{Outcome, Refusal};
    use sillok_did_method::{
        ASSERTION_METHOD, DEVICE_RELATIONSHIPS, SUBMIT, head_hash, transaction_id, verify,
    };
    use sillok_proto::v1::did_resolver_client::DidResolverClient;
    use sillok_proto::v1::ledger_client::LedgerClient;
    use sillok_proto::v1::transaction_state::State;
    use sillok_proto::{Hash, encode, v1};
    use std::sync::OnceLock;
    use tonic::{Code, Status};

    static NETWORK: OnceLock<Network> = OnceLock::new();

    fn network() -> &'static Network {
        NETWORK.get_or_init(|| Network::start("rules", 4, 1))
    }

    async fn ledger(nth: usize) -> LedgerClient<tonic::transport::Channel> {
        let url = network().devnet().nodes[nth].grpc.clone();
        LedgerClient::connect(url).await.unwrap()
    }

    /// Sends bytes as they are.
    async fn send(bytes: Vec<u8>, nth: usize) -> Result<v1::TransactionState, Status> {
        let request =
            v1::SubmitRequest { transaction: bytes, wait_ms: 5_000, ..Default::default() };
        ledger(nth).await.submit(request).await.map(tonic::Response::into_inner)
    }

    /// Sends what must be refused, and returns how.
    async fn refused(bytes: Vec<u8>) -> Refusal {
        let status = send(bytes, 0).await.unwrap_err();
        Refusal::of(&status).unwrap_or_else(|| panic!("an error without a code of ours: {status}"))
    }

    async fn state_of(transaction: &v1::Transaction, nth: usize) -> State {
        let scene = network().scene();
        let id = transaction_id(&scene.genesis_hash, transaction.body.as_ref().unwrap());
        let request = v1::GetTransactionRequest { transaction_id: id.to_vec(), wait_ms: 5_000 };
        ledger(nth).await.get_transaction(request).await.unwrap().into_inner().state.unwrap()
    }

    /// Nothing of it can be found anywhere.
    async fn leaves_no_trace(transaction: &v1::Transaction, identity: &Identity) {
        let scene = network().scene();
        let id = transaction_id(&scene.genesis_hash, &transaction.body.clone().unwrap_or_default());
        for (nth, node) in network().devnet().nodes.iter().enumerate() {
            let request = v1::GetTransactionRequest { transaction_id: id.to_vec(), wait_ms: 0 };
            let state = ledger(nth).await.get_transaction(request).await.unwrap().into_inner();
            assert!(matches!(state.state, Some(State::Unknown(_))), "{state:?}");
            let found = network().reader(node).find(&identity.did).await.unwrap();
            assert!(found.is_none(), "{} has it", node.name);
        }
    }

    /// A create that is right, and its holder.
    fn good_create() -> (v1::Transaction, Identity) {
        let scene = network().scene();
        let holder = scene.holder(Ed25519, false).unwrap();
        (scene.create(&[&holder]).unwrap(), holder)
    }

    // ------------------------------------------------------------------------------------------ reading

    #[tokio::test]
    async fn a12_b4_every_node_gives_the_same_verified_document_and_the_observer_too() {
        let (holder, first) = network().holder(P256).await;
        for node in &network().devnet().nodes {
            let reader = network().reader(node);
            let found = reader.resolve_from(&holder.did, first.height).await.unwrap();
            assert_eq!(found.document, Some(holder.document()), "{}", node.name);
            assert_eq!(found.head, first.head, "{}", node.name);
            assert_eq!(found.json(), first.json(), "{}", node.name);
            assert!(found.signatures >= 3, "{} of {}", found.signatures, found.validators);
        }
    }

    #[tokio::test]
    async fn a12_an_absence_is_proved_and_never_only_said() {
        let (_, holder) = good_create();
        for node in &network().devnet().nodes {
            assert!(network().reader(node).find(&holder.did).await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn c11_the_answer_is_a_did_resolution_result_without_private_members() {
        let (holder, found) = network().holder(Ed25519).await;
        let did = holder.did.to_string();
        let json = found.json();
        let document = &json["didDocument"];
        assert_eq!(document["@context"][0], "https://www.w3.org/ns/did/v1.1");
        assert_eq!(document["id"], did.as_str());
        let method = &document["verificationMethod"][0];
        assert_eq!(method["type"], "Multikey");
        assert_eq!(method["controller"], did.as_str());
        assert_eq!(document["authentication"][0], method["id"]);
        assert_eq!(found.json()["didDocumentMetadata"]["versionId"], "1");
        let text = found.json().to_string();
        for private in ["secretKeyMultibase", "privateKey", "\"d\":"] {
            assert!(!text.contains(private), "{text}");
        }
        // The same JSON comes from any node for readers that check nothing.
        let url = network().devnet().nodes[1].grpc.clone();
        let request =
            v1::ResolveRequest { did, min_height: found.height, ..v1::ResolveRequest::default() };
        let mut resolver = DidResolverClient::connect(url).await.unwrap();
        let answer = resolver.resolve(request).await.unwrap().into_inner();
        let json: serde_json::Value = serde_json::from_str(&answer.resolution_json).unwrap();
        assert_eq!(json["didDocument"], found.json()["didDocument"]);
    }

    #[tokio::test]
    async fn d8_a_read_with_min_height_waits_or_says_stale_and_never_not_found() {
        let (transaction, holder) = good_create();
        let scene = network().scene();
        let at = scene.commit(&transaction, 0).await.unwrap();
        for node in &network().devnet().nodes {
            let mut resolver = DidResolverClient::connect(node.grpc.clone()).await.unwrap();
            let request = v1::ResolveRequest {
                did: holder.did.to_string(),
                min_height: at.height,
                ..v1::ResolveRequest::default()
            };
            // Sent at once: a node that is behind waits.
            let answer = resolver.resolve(request.clone()).await.unwrap().into_inner();
            assert!(answer.document.is_some(), "{} does not see height {}", node.name, at.height);
            let signed = answer.proof.unwrap().signed_header.unwrap();
            assert!(signed.header.unwrap().height >= at.height);
        }
        let node = &network().devnet().nodes[0];
        let mut resolver = DidResolverClient::connect(node.grpc.clone()).await.unwrap();
        let request = v1::ResolveRequest {
            did: holder.did.to_string(),
            min_height: at.height + 1_000_000,
            ..v1::ResolveRequest::default()
        };
        let refusal = Refusal::of(&resolver.resolve(request).await.unwrap_err()).unwrap();
        assert_eq!(refusal.code, "STALE");
        assert_eq!(refusal.fields["retry"], "LATER");
        assert!(refusal.fields.contains_key("height"));
    }

    #[tokio::test]
    async fn a23_a_presentation_needs_no_node_and_writes_nothing() {
        let (holder, before) = network().holder(P256).await;
        let challenge = b"a verifier's challenge";
        let signature = holder.keys[0].secret.sign(challenge).unwrap();
        // The verifier: a verified document, and the signature under its key.
        let found = network().first_reader().resolve(&holder.did).await.unwrap();
        verify(&found.keys()[0], challenge, &signature).unwrap();
        let after = network().first_reader().resolve(&holder.did).await.unwrap();
        assert_eq!(after.head, before.head);
    }

    // ------------------------------------------------------------------------------------------ writing

    #[tokio::test]
    async fn of_two_updates_sent_to_two_validators_one_commits_and_the_other_learns_the_newer_version()
     {
        let scene = network().scene();
        let (holder, found) = network().holder(Ed25519).await;
        let old = controller(&holder, &document(&found)).unwrap();
        let mut changes = Vec::new();
        for _ in 0..2 {
            let device = new_device(Ed25519).unwrap();
            changes.push(scene.set_device(&holder, &found.head, &device, &[old]).unwrap());
        }
        let (one, two) = tokio::join!(
            scene.nodes.try_once(&scene.genesis_hash, &changes[0], 0),
            scene.nodes.try_once(&scene.genesis_hash, &changes[1], 1),
        );
        let (committed, refused): (Vec<_>, Vec<_>) = [one.unwrap(), two.unwrap()]
            .into_iter()
            .partition(|outcome| matches!(outcome, Outcome::Committed(_)));
        assert_eq!(committed.len(), 1, "{committed:?} {refused:?}");
        let [Outcome::Refused(refusal)] = refused.as_slice() else { panic!("{refused:?}") };
        assert_eq!(refusal.code, "STALE_VERSION");
        assert_eq!(refusal.fields["version"], "2");
        let now = network().first_reader().resolve(&holder.did).await.unwrap();
        assert_eq!(now.head.version, 2);
        assert_eq!(refusal.fields["head"], head_hash(&now.head).to_string());
    }

    #[tokio::test]
    async fn c3_the_state_of_a_transaction_is_told_by_every_node_and_the_same_bytes_never_act_twice()
     {
        let (transaction, holder) = good_create();
        assert!(matches!(state_now(&transaction, 0).await, State::Unknown(_)));
        let first = send(encode(&transaction), 0).await.unwrap();
        let Some(State::Committed(first)) = first.state else { panic!("{first:?}") };
        for nth in 0..5 {
            let State::Committed(other) = state_of(&transaction, nth).await else {
                panic!("node {nth} does not know it")
            };
            assert_eq!((other.height, other.index), (first.height, first.index));
            assert!(other.receipt.is_some());
        }
        let again = send(encode(&transaction), 1).await.unwrap();
        let Some(State::Committed(again)) = again.state else { panic!("{again:?}") };
        assert_eq!((again.height, again.index), (first.height, first.index));
        let found = network().first_reader().resolve_from(&holder.did, first.height).await.unwrap();
        assert_eq!(found.head.version, 1);
    }

    async fn state_now(transaction: &v1::Transaction, nth: usize) -> State {
        let scene = network().scene();
        let id = transaction_id(&scene.genesis_hash, transaction.body.as_ref().unwrap());
        let request = v1::GetTransactionRequest { transaction_id: id.to_vec(), wait_ms: 0 };
        ledger(nth).await.get_transaction(request).await.unwrap().into_inner().state.unwrap()
    }

    #[tokio::test]
    async fn a_copied_create_is_refused_and_the_original_commits() {
        let scene = network().scene();
        let (original, holder) = good_create();
        // The rival has every right a submitter and registrar can have; it puts its own name on the envelope.
        let mut copy = original.clone();
        copy.body.as_mut().unwrap().submitter = scene.rival.did.digest().to_vec();
        sign_as_submitter(&mut copy, &scene.rival);
        // It is quicker than the original.
        let refusal = refused(encode(&copy)).await;
        assert_eq!(refusal.code, "BAD_SIGNATURE");
        let at = scene.commit(&original, 0).await.unwrap();
        let found = network().first_reader().resolve_from(&holder.did, at.height).await.unwrap();
        assert_eq!(found.head.authority, scene.registrar.did.digest().to_vec());
    }

    #[tokio::test]
    async fn half_of_a_transaction_is_refused_and_the_whole_commits() {
        let scene = network().scene();
        let holders = [scene.holder(Ed25519, false).unwrap(), scene.holder(P256, false).unwrap()];
        let both = [&holders[0], &holders[1]];
        let whole = scene.create_with(&scene.registrar, &both, Terms::WHOLE_LIST).unwrap();
        for submitter in [&scene.registrar, &scene.rival] {
            let mut half = whole.clone();
            let body = half.body.as_mut().unwrap();
            body.submitter = submitter.did.digest().to_vec();
            body.operations.pop();
            half.documents.pop();
            half.signatures.as_mut().unwrap().operations.pop();
            sign_as_submitter(&mut half, submitter);
            assert_eq!(refused(encode(&half)).await.code, "BAD_SIGNATURE");
        }
        let at = scene.commit(&whole, 0).await.unwrap();
        for holder in &holders {
            let found =
                network().first_reader().resolve_from(&holder.did, at.height).await.unwrap();
            assert_eq!(found.head.height, at.height);
        }
    }

    /// Puts `submitter`'s signature over the body as it is now.
    fn sign_as_submitter(transaction: &mut v1::Transaction, submitter: &Identity) {
        let genesis = network().scene().genesis_hash;
        let id = transaction_id(&genesis, transaction.body.as_ref().unwrap());
        let string = sillok_did_method::submitter_string(&genesis, &id);
        let key = submitter.newest_secret(SUBMIT).unwrap();
        transaction.signatures.as_mut().unwrap().submitter =
            Some(key.key_signature(&string).unwrap());
    }

    // ------------------------------------------------------------------------------------------ devices

    #[tokio::test]
    async fn b10_a_device_changes_in_one_step_and_the_old_key_signs_no_more() {
        let scene = network().scene();
        let (holder, first) = network().holder(Ed25519).await;
        let old = holder.keys[0].clone();
        let new = new_device(P256).unwrap();
        let change = scene.set_device(&holder, &first.head, &new, &[&old.secret]).unwrap();
        let at = scene.commit(&change, 0).await.unwrap();
        let reader = network().first_reader();
        let now = reader.resolve_from(&holder.did, at.height).await.unwrap();
        assert_eq!(now.keys(), vec![new.secret.public().clone()]);
        assert_eq!(now.head.height, at.height);
        // The old key acts for nothing any more.
        let third = new_device(Ed25519).unwrap();
        let late = scene.set_device(&holder, &now.head, &third, &[&old.secret]).unwrap();
        let refusal = scene.refusal(&late, 1).await.unwrap();
        assert!(
            ["NOT_AUTHORIZED", "UNEXPECTED_SIGNATURE", "RECOVERY_NOT_ALLOWED"]
                .contains(&refusal.code.as_str()),
            "{refusal}"
        );
    }

    #[tokio::test]
    async fn b11_ending_on_the_old_phone_and_registering_on_the_new_one_leaves_a_gap_and_never_two()
    {
        let scene = network().scene();
        let (holder, first) = network().holder(Ed25519).await;
        let draft = OperationDraft::give_device_up(&holder.did, &head_hash(&first.head));
        let mut partly = scene.draft(&scene.registrar, [(draft, Terms::NAMED)]);
        partly.sign(0, &holder.keys[0].secret).unwrap();
        let at = scene.commit(&finish(partly, &scene.registrar).unwrap(), 0).await.unwrap();
        let reader = network().first_reader();
        let gap = reader.resolve_from(&holder.did, at.height).await.unwrap();
        assert!(gap.keys().is_empty());
        let new = new_device(Ed25519).unwrap();
        let keys = [
            organization_key(&scene.registrar).unwrap(),
            organization_key(&scene.countersigner).unwrap(),
        ];
        let at = scene
            .commit(&scene.set_device(&holder, &gap.head, &new, &keys).unwrap(), 1)
            .await
            .unwrap();
        let now = reader.resolve_from(&holder.did, at.height).await.unwrap();
        assert_eq!(now.keys(), vec![new.secret.public().clone()]);
        assert_eq!(now.head.actor(), v1::Actor::AuthorityAndCountersigner);
    }

    #[tokio::test]
    async fn the_authority_alone_takes_a_device_away_and_cannot_set_one_and_history_says_who_and_when()
     {
        let scene = network().scene();
        let (holder, _) = network().holder(P256).await;
        let at = scene.commit(&scene.take_device_away(&holder).unwrap(), 2).await.unwrap();
        let reader = network().first_reader();
        let gone = reader.resolve_from(&holder.did, at.height).await.unwrap();
        assert_eq!(gone.head.actor(), v1::Actor::Authority);
        let new = new_device(Ed25519).unwrap();
        let registrar = organization_key(&scene.registrar).unwrap();
        let alone = scene.set_device(&holder, &gone.head, &new, &[registrar]).unwrap();
        assert_eq!(scene.refusal(&alone, 0).await.unwrap().code, "NOT_AUTHORIZED");
        let keys = [registrar, organization_key(&scene.countersigner).unwrap()];
        let together = scene.set_device(&holder, &gone.head, &new, &keys).unwrap();
        let at = scene.commit(&together, 0).await.unwrap();
        reader.wait_for(at.height).await.unwrap();
        let history = reader.history(&holder.did).await.unwrap();
        let actors: Vec<v1::Actor> = history.iter().map(v1::Head::actor).collect();
        assert_eq!(
            actors,
            [v1::Actor::AuthorityAndCountersigner, v1::Actor::Authority, v1::Actor::Controller]
        );
        assert!(history.windows(2).all(|pair| pair[0].height > pair[1].height));
        assert_eq!(history[0].height, at.height);
    }

    #[tokio::test]
    async fn b12_a_key_once_used_never_returns_to_any_did() {
        let scene = network().scene();
        let (holder, _) = network().holder(Ed25519).await;
        // The same device under another DID: another authority makes another inception.
        let copy = Identity::new(
            scene.registrar.did.network(),
            v1::Kind::Holder,
            vec![holder.keys[0].clone()],
            Some(scene.rival.did.clone()),
            None,
        )
        .unwrap();
        let create = scene.create_with(&scene.rival, &[&copy], Terms::NAMED).unwrap();
        let refusal = scene.refusal(&create, 0).await.unwrap();
        assert_eq!(refusal.code, "KEY_REUSE");
        // And after the DID is gone for good.
        let found = network().first_reader().resolve(&holder.did).await.unwrap();
        let end = scene.deactivate(&holder, &found.head, &document(&found)).unwrap();
        scene.commit(&end, 0).await.unwrap();
        let create = scene.create_with(&scene.rival, &[&copy], Terms::NAMED).unwrap();
        assert_eq!(scene.refusal(&create, 1).await.unwrap().code, "KEY_REUSE");
    }

    #[tokio::test]
    async fn c8_nothing_brings_a_deactivated_did_back() {
        let scene = network().scene();
        let (holder, first) = network().holder(Ed25519).await;
        let create = scene.create(&[&holder]).unwrap();
        let end = scene.deactivate(&holder, &first.head, &document(&first)).unwrap();
        let at = scene.commit(&end, 0).await.unwrap();
        let reader = network().first_reader();
        let gone = reader.resolve_from(&holder.did, at.height).await.unwrap();
        assert!(gone.head.deactivated && gone.document.is_none());
        assert_eq!(gone.json()["didDocumentMetadata"]["deactivated"], true);

        let old = controller(&holder, &document(&first)).unwrap();
        let device = new_device(Ed25519).unwrap();
        let authorities = [
            organization_key(&scene.registrar).unwrap(),
            organization_key(&scene.countersigner).unwrap(),
        ];
        let attempts = [
            ("create again", create, "ALREADY_EXISTS"),
            (
                "new device by its own key",
                scene.set_device(&holder, &gone.head, &device, &[old]).unwrap(),
                "DEACTIVATED",
            ),
            (
                "new device by the authorities",
                scene.set_device(&holder, &gone.head, &device, &authorities).unwrap(),
                "DEACTIVATED",
            ),
            (
                "on the version before",
                scene.set_device(&holder, &first.head, &device, &[old]).unwrap(),
                "DEACTIVATED",
            ),
            (
                "end again",
                scene.deactivate(&holder, &gone.head, &document(&first)).unwrap(),
                "ALREADY",
            ),
        ];
        for (what, transaction, code) in attempts {
            assert_eq!(scene.refusal(&transaction, 0).await.unwrap().code, code, "{what}");
        }
        let still = reader.resolve(&holder.did).await.unwrap();
        assert_eq!(still.head, gone.head);
    }

    // ------------------------------------------------------------------------------------------ who may write

    #[tokio::test]
    async fn b3_who_has_no_grant_writes_nothing() {
        let scene = network().scene();
        let stranger =
            Identity::organization(scene.registrar.did.network(), Ed25519, false, None, None)
                .unwrap();
        for (submitter, code) in
            [(&scene.operator, "NOT_GRANTED"), (&stranger, "UNKNOWN_SUBMITTER")]
        {
            let holder = Identity::holder(
                scene.registrar.did.network(),
                Ed25519,
                false,
                submitter.did.clone(),
                None,
            )
            .unwrap();
            let create = scene.create_with(submitter, &[&holder], Terms::NAMED).unwrap();
            let refusal = scene.refusal(&create, 0).await.unwrap();
            assert_eq!(refusal.code, code);
            assert_eq!(refusal.grpc, Code::PermissionDenied, "{refusal}");
            leaves_no_trace(&create, &holder).await;
        }
    }

    #[tokio::test]
    async fn a18_nothing_in_the_protocol_is_a_fee() {
        // The names of all messages and fields stand in the schema that the node serves by reflection.
        let schema = String::from_utf8_lossy(sillok_proto::DESCRIPTORS).to_lowercase();
        for word in ["fee", "gas", "balance", "price", "amount", "coin", "wallet"] {
            let found = schema.split(|c: char| !c.is_ascii_alphanumeric()).any(|name| name == word);
            assert!(!found, "the schema has a {word}");
        }
        // And a write needs nothing but a grant.
        let (transaction, _) = good_create();
        network().scene().commit(&transaction, 0).await.unwrap();
    }

    #[tokio::test]
    async fn d12_several_algorithms_are_accepted_and_weak_or_unknown_ones_refused() {
        for algorithm in [Ed25519, P256] {
            let (holder, found) = network().holder(algorithm).await;
            assert_eq!(found.document, Some(holder.document()));
        }
        let (good, holder) = good_create();
        let bad_keys = [
            ("a point of small order", v1::Algorithm::Ed25519 as i32, vec![0; 32]),
            ("too short", v1::Algorithm::Ed25519 as i32, vec![1; 31]),
            ("not on the curve", v1::Algorithm::P256 as i32, [vec![2], vec![0xff; 32]].concat()),
            ("an algorithm of tomorrow", 9, vec![1; 32]),
        ];
        for (what, algorithm, point) in bad_keys {
            let mut bad = good.clone();
            bad.documents[0].keys[0].key = Some(v1::PublicKey { algorithm, point });
            name_document_again(&mut bad);
            let refusal = refused(encode(&bad)).await;
            assert_eq!(refusal.code, "INVALID_DID_DOCUMENT", "{what}: {refusal}");
            assert_eq!(refusal.grpc, Code::InvalidArgument, "{what}");
        }
        leaves_no_trace(&good, &holder).await;
    }

    /// Lets the create name its changed document, and its submitter sign that.
    fn name_document_again(transaction: &mut v1::Transaction) {
        let hash = sillok_did_method::document_hash(&transaction.documents[0]);
        let body = transaction.body.as_mut().unwrap();
        if let Some(v1::operation::Operation::CreateDid(create)) =
            body.operations[0].operation.as_mut()
        {
            create.document_hash = hash.to_vec();
        }
        sign_as_submitter(transaction, &network().scene().registrar);
    }

    #[tokio::test]
    async fn a1_b2_there_is_no_place_for_anything_about_a_person() {
        let scene = network().scene();
        let (good, holder) = good_create();
        // A field the schema does not have, with a name in it, at the end of each message that is stored.
        let mut smuggled = encode(&good);
        smuggled.extend_from_slice(&[0xf2, 0x3f, 6]);
        smuggled.extend_from_slice("홍길".as_bytes());
        assert_eq!(refused(smuggled).await.code, "NOT_CANONICAL");

        // A service URL in the document of a person.
        let mut with_service = good.clone();
        with_service.documents[0].services.push(v1::Service {
            kind: v1::ServiceKind::LinkedDomains.into(),
            endpoint: "https://hong.example/gildong".to_owned(),
        });
        name_document_again(&mut with_service);
        assert_eq!(refused(encode(&with_service)).await.code, "INVALID_DID_DOCUMENT");

        // A private content that no operation names.
        let mut with_content = good.clone();
        with_content.private_contents.push(v1::PrivateContent {
            salt: vec![7; 32],
            padding: "Hong Gildong".into(),
            ..v1::PrivateContent::default()
        });
        assert_eq!(refused(encode(&with_content)).await.code, "UNEXPECTED_PART");

        // A second device.
        let second = IdentityKey::generate(Ed25519, DEVICE_RELATIONSHIPS).unwrap();
        let mut two = good.clone();
        two.documents[0] = document_of(vec![holder.keys[0].bound(), second.bound()], Vec::new());
        name_document_again(&mut two);
        assert_eq!(refused(encode(&two)).await.code, "INVALID_DID_DOCUMENT");
        leaves_no_trace(&good, &holder).await;
        drop(scene);
    }

    // ------------------------------------------------------------------------------------------ bad requests

    #[tokio::test]
    async fn malformed_truncated_and_oversized_bytes_are_refused_with_a_code() {
        let (good, holder) = good_create();
        let bytes = encode(&good);
        assert_eq!(refused(vec![0xff; 100]).await.code, "MALFORMED");
        assert_eq!(refused(Vec::new()).await.code, "MISSING_PART");
        for cut in [1, bytes.len() / 3, bytes.len() - 1] {
            let code = refused(bytes[..cut].to_vec()).await.code;
            assert!(
                ["MALFORMED", "NOT_CANONICAL", "MISSING_PART", "SIGNATURE_LIST_LENGTH"]
                    .contains(&code.as_str()),
                "cut at {cut}: {code}"
            );
        }
        let refusal = refused(vec![0x0a; sillok_ledger::TRANSACTION_BYTES_MAX + 1]).await;
        assert_eq!(refusal.code, "TRANSACTION_TOO_LONG");
        assert_eq!(refusal.grpc, Code::ResourceExhausted);
        // Beyond what a node reads at all, the transport answers.
        let status = send(vec![0x0a; 5 * 1024 * 1024], 0).await.unwrap_err();
        assert!(matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted), "{status}");
        leaves_no_trace(&good, &holder).await;
    }

    #[tokio::test]
    async fn a_second_encoding_of_the_same_transaction_is_refused() {
        let (good, holder) = good_create();
        // The last field once more: decoders take the last one, so the meaning is the same.
        let mut doubled = encode(&good);
        let signatures = encode(&v1::Transaction {
            signatures: good.signatures.clone(),
            ..v1::Transaction::default()
        });
        doubled.extend_from_slice(&signatures);
        let refusal = refused(doubled).await;
        assert_eq!(refusal.code, "NOT_CANONICAL");
        assert_eq!(refusal.grpc, Code::InvalidArgument);
        leaves_no_trace(&good, &holder).await;
    }

    #[tokio::test]
    async fn a_wrong_signature_is_refused_whoever_made_it() {
        let scene = network().scene();
        let (good, holder) = good_create();
        let mut wrong = good.clone();
        let author = &mut wrong.signatures.as_mut().unwrap().operations[0].signatures[0];
        author.signature[10] ^= 1;
        assert_eq!(refused(encode(&wrong)).await.code, "BAD_SIGNATURE");
        let mut wrong = good.clone();
        wrong.signatures.as_mut().unwrap().submitter.as_mut().unwrap().signature[10] ^= 1;
        assert_eq!(refused(encode(&wrong)).await.code, "BAD_SIGNATURE");
        // Nobody proves possession of the new key.
        let draft = OperationDraft::create(&holder).unwrap();
        let partly = scene.draft(&scene.registrar, [(draft, Terms::NAMED)]);
        let unsigned = finish(partly, &scene.registrar).unwrap();
        assert_eq!(refused(encode(&unsigned)).await.code, "POSSESSION_MISSING");
        leaves_no_trace(&good, &holder).await;
    }

    #[tokio::test]
    async fn a_transaction_signed_for_another_network_is_refused() {
        let scene = network().scene();
        let holder = scene.holder(Ed25519, false).unwrap();
        let mut elsewhere = scene.clone();
        elsewhere.genesis_hash = Hash([7; 32]);
        let foreign = elsewhere.create(&[&holder]).unwrap();
        assert_eq!(refused(encode(&foreign)).await.code, "BAD_SIGNATURE");
        leaves_no_trace(&foreign, &holder).await;
    }

    #[tokio::test]
    async fn an_operation_that_was_ordered_is_not_ordered_again_in_another_envelope() {
        let scene = network().scene();
        let (holder, first) = network().holder(Ed25519).await;
        let device = new_device(Ed25519).unwrap();
        let change =
            scene.set_device(&holder, &first.head, &device, &[&holder.keys[0].secret]).unwrap();
        scene.commit(&change, 0).await.unwrap();
        // The same author-signed operation under another valid-until of the envelope.
        let mut replayed = change.clone();
        replayed.body.as_mut().unwrap().valid_until_ms -= 1_000;
        sign_as_submitter(&mut replayed, &scene.registrar);
        let refusal = refused(encode(&replayed)).await;
        assert!(
            ["OPERATION_ALREADY_ORDERED", "STALE_VERSION", "ALREADY"]
                .contains(&refusal.code.as_str()),
            "{refusal}"
        );
        let now = network().first_reader().resolve(&holder.did).await.unwrap();
        assert_eq!(now.head.version, 2);
    }

    #[tokio::test]
    async fn a_transaction_out_of_its_time_is_refused() {
        let scene = network().scene();
        let holder = scene.holder(Ed25519, false).unwrap();
        for (valid_until_ms, code) in
            [(clock_ms() - 120_000, "EXPIRED"), (clock_ms() + 3_600_000, "VALID_UNTIL_TOO_FAR")]
        {
            let draft = OperationDraft::create(&holder).unwrap();
            let mut partly = sillok_client::transaction::TransactionBuilder::new(
                scene.genesis_hash,
                &scene.registrar.did,
                valid_until_ms,
            )
            .push(draft, Terms::NAMED)
            .freeze();
            partly.sign_new_keys(0, &holder).unwrap();
            let transaction = finish(partly, &scene.registrar).unwrap();
            assert_eq!(refused(encode(&transaction)).await.code, code);
            leaves_no_trace(&transaction, &holder).await;
        }
    }

    #[tokio::test]
    async fn a_did_that_is_none_is_refused_by_its_w3c_name() {
        let node = &network().devnet().nodes[0];
        let mut resolver = DidResolverClient::connect(node.grpc.clone()).await.unwrap();
        for (did, code) in [
            ("", "INVALID_DID"),
            ("did:sillok:devnet:zzz", "INVALID_DID"),
            ("did:sillok:devnet:../../etc", "INVALID_DID"),
            ("did:web:example.org", "METHOD_NOT_SUPPORTED"),
        ] {
            let request =
                v1::ResolveRequest { did: did.to_owned(), ..v1::ResolveRequest::default() };
            let refusal = Refusal::of(&resolver.resolve(request).await.unwrap_err()).unwrap();
            assert_eq!(refusal.code, code, "{did}");
        }
    }

    #[tokio::test]
    async fn an_organization_rotates_its_keys_and_its_old_version_stays_provable() {
        let scene = network().scene();
        let mut office = Identity::organization(
            scene.registrar.did.network(),
            Ed25519,
            false,
            Some(scene.registrar.did.clone()),
            None,
        )
        .unwrap();
        let at = scene.commit(&scene.create(&[&office]).unwrap(), 0).await.unwrap();
        let reader: Reader = network().first_reader();
        let first = reader.resolve_from(&office.did, at.height).await.unwrap();
        let new = IdentityKey::generate(P256, ASSERTION_METHOD).unwrap();
        let mut keys = document(&first).keys;
        keys.push(new.bound());
        office.keys.push(new);
        let after = document_of(keys, Vec::new());
        let update = scene.update(&office, &first.head, &document(&first), after.clone()).unwrap();
        let at = scene.commit(&update, 3).await.unwrap();
        let now = reader.resolve_from(&office.did, at.height).await.unwrap();
        assert_eq!((now.head.version, now.document), (2, Some(after)));
        let then = reader.resolve_version(&office.did, 1).await.unwrap();
        assert_eq!(then.document, first.document);
    }
}
