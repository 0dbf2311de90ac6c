//! Every lie of `sillok-devnet liar`, told by a real server to a real client, and the error that names it.
//!
//! A client that trusts the genesis and asks the liar alone must catch each, for nothing else tells it the truth. Lies of
//! files are in `client/tests/staple.rs`.

#[cfg(test)]
#[path = "support/harness.rs"]
#[allow(dead_code, reason = "other test programs use the rest")]
mod harness;

#[cfg(test)]
mod lies {
    use super::harness::{Network, document};
    use sillok_client::bucket;
    use sillok_client::connection::Connection;
    use sillok_client::identity::Identity;
    use sillok_client::keys::{KeyAlgorithm::Ed25519, SecretKey};
    use sillok_client::read::{Client, ReadError, ReadOptions};
    use sillok_client::trust::{Trust, read_genesis};
    use sillok_client::verify::authority::Right;
    use sillok_client::verify::moment::Moment;
    use sillok_client::verify::{Asked, VerifyError};
    use sillok_client::write::WriteError;
    use sillok_devnet::directory::Devnet;
    use sillok_devnet::issuing::Issuing;
    use sillok_devnet::liar::{Liar, Lie};
    use sillok_devnet::members;
    use sillok_devnet::scene::Scene;
    use sillok_did_method::{EntryState, LIST_ENTRIES_MIN};
    use sillok_ledger::certificate::{CertificateError, HeaderError};
    use sillok_ledger::light::LightError;
    use sillok_ledger::proof::{EntryError, ProofError};
    use sillok_proto::{Hash, v1};
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::time::{Duration, Instant};

    const PATIENCE: Duration = Duration::from_secs(30);

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(future)
    }

    /// A network, and what lies are about.
    struct World {
        devnet: Devnet,
        scene: Scene,
        network: Network,
    }

    impl World {
        fn start(name: &str, validators: usize) -> Self {
            let network = Network::start(name, validators, 0);
            Self { devnet: network.devnet(), scene: network.scene(), network }
        }

        async fn liar(&self, lie: Lie, stolen: &[SecretKey]) -> Liar {
            let listen = "127.0.0.1:0".parse().unwrap();
            Liar::start_with(lie, &self.devnet.nodes[0].grpc, listen, stolen).await.unwrap()
        }

        /// A client that knows the genesis and asks nobody else.
        fn client(&self, url: &str) -> Client {
            Client::in_memory(&[url], read_genesis(&self.devnet.genesis).unwrap()).unwrap()
        }

        /// The height of a block that is committed now.
        async fn height(&self) -> u64 {
            self.network.holder(Ed25519).await.1.height
        }
    }

    async fn resolve(client: &Client, holder: &Identity) -> Result<(), ReadError> {
        let resolved = client.resolve(&holder.did, Asked::Current).await?;
        resolved.answer.fresh()?;
        Ok(())
    }

    /// What a client says to a lie about a DID.
    async fn about_a_did(world: &World, lie: Lie) -> ReadError {
        let liar = world.liar(lie, &[]).await;
        let client = world.client(&liar.url);
        let (holder, first) = world.network.holder(Ed25519).await;
        match lie {
            Lie::OldState => {
                // At first it is true. Then the client brings a write through it and so has seen a later height.
                resolve(&client, &holder).await.unwrap();
                let end = world.scene.deactivate(&holder, &first.head, &document(&first)).unwrap();
                client.submit(&end, PATIENCE).await.unwrap();
            }
            Lie::AbsenceUnderOldHeader => {
                let holder = world.scene.holder(Ed25519, false).unwrap();
                let absent = client.resolve(&holder.did, Asked::Current).await.unwrap();
                assert!(absent.answer.even_if_stale().version.is_none());
                let create = world.scene.create(&[&holder]).unwrap();
                world.scene.commit(&create, 0).await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
                // A newcomer has seen no height, so that the age alone tells it.
                let options = ReadOptions { max_age_ms: 1, ..ReadOptions::default() };
                let newcomer = world.client(&liar.url).with_options(options);
                return resolve(&newcomer, &holder).await.unwrap_err();
            }
            Lie::OtherDid => {
                resolve(&client, &holder).await.unwrap();
                let (other, _) = world.network.holder(Ed25519).await;
                return resolve(&client, &other).await.unwrap_err();
            }
            Lie::OldVersion => {
                resolve(&client, &holder).await.unwrap();
                let end = world.scene.take_device_away(&holder).unwrap();
                client.submit(&end, PATIENCE).await.unwrap();
            }
            Lie::WithheldVersion => {
                let end = world.scene.take_device_away(&holder).unwrap();
                client.submit(&end, PATIENCE).await.unwrap();
                let asked = client.resolve(&holder.did, Asked::Version(1)).await;
                asked.expect_err("the old version was withheld");
                return client.history(&holder.did).await.unwrap_err();
            }
            Lie::FalseReceipt => {
                let holder = world.scene.holder(Ed25519, false).unwrap();
                let create = world.scene.create(&[&holder]).unwrap();
                let told = client.submit(&create, Duration::from_secs(5)).await;
                let truth = world.network.first_reader().find(&holder.did).await.unwrap();
                assert!(truth.is_none(), "the liar passed it on");
                let Err(WriteError::Read(error)) = told else { panic!("believed: {told:?}") };
                return error;
            }
            Lie::BucketLeftOut
            | Lie::BucketExchanged
            | Lie::BucketElsewhere
            | Lie::BucketTooSmall => return about_a_bucket(world, &client, &holder, lie).await,
            _ => {}
        }
        let error = resolve(&client, &holder).await.expect_err(lie.name());
        // A client that has seen the truth is not turned round either.
        let both = [world.devnet.nodes[0].grpc.as_str(), liar.url.as_str()];
        let honest =
            Client::in_memory(&both, read_genesis(&world.devnet.genesis).unwrap()).unwrap();
        honest.resolve(&holder.did, Asked::Current).await.unwrap();
        error
    }

    /// What a client says to a lie about the DIDs among which it asks for one.
    async fn about_a_bucket(
        world: &World,
        client: &Client,
        holder: &Identity,
        lie: Lie,
    ) -> ReadError {
        // Enough that no half of all DIDs is empty.
        for _ in 0..8 {
            world.network.holder(Ed25519).await;
        }
        let truth = world.network.first_reader();
        let truth = truth.client.resolve_among(&holder.did, bucket::K_MIN).await.unwrap();
        assert!(truth.answer.fresh().unwrap().version.is_some());
        client.resolve_among(&holder.did, bucket::K_MIN).await.expect_err(lie.name())
    }

    /// A list of two pieces with an entry that was valid and is revoked.
    struct Registry {
        issuing: Issuing,
        list: Hash,
        /// Height and ledger time of the block that revoked it.
        revoked: u64,
        revoked_ms: u64,
        /// Ledger time of the block before.
        before_ms: u64,
    }

    async fn registry(world: &World) -> Registry {
        let rule = |reason: v1::Reason| v1::ReasonRule {
            reason: reason.into(),
            ..v1::ReasonRule::default()
        };
        let policy = v1::TypePolicy {
            reasons: vec![rule(v1::Reason::FirstIssue), rule(v1::Reason::Compromised)],
            channels: 1 << i32::from(v1::Channel::System),
            purposes: 1 << i32::from(v1::Purpose::Civil),
            ..v1::TypePolicy::default()
        };
        let content = v1::TypeVersion {
            schema_hash: vec![7; 32],
            render_hash: Vec::new(),
            policy: Some(policy),
        };
        let issuing =
            Issuing::begin(world.scene.clone(), content, 1, 2 * LIST_ENTRIES_MIN).await.unwrap();
        let list = issuing.lists[0];
        let mut revoked = 0;
        for (state, reason) in [
            (EntryState::Valid, v1::Reason::FirstIssue),
            (EntryState::Invalid, v1::Reason::Compromised),
        ] {
            let change = issuing.set(&list, state, reason, &[5]).unwrap();
            let transaction = issuing.transaction(&[change], &[], 30_000).unwrap();
            revoked = world.scene.commit(&transaction, 0).await.unwrap().height;
        }
        let client = world.client(&world.devnet.nodes[0].grpc);
        let at = client.chunks(&list, &[0], Moment::Height(revoked)).await.unwrap();
        assert_eq!(at.even_if_stale().entry(5).unwrap().state, EntryState::Invalid);
        let revoked_ms = at.even_if_stale().time_ms();
        let before = client.chunks(&list, &[0], Moment::Height(revoked - 1)).await.unwrap();
        let before_ms = before.even_if_stale().time_ms();
        Registry { issuing, list, revoked, revoked_ms, before_ms }
    }

    /// What a client says to a lie about a list or a right.
    async fn about_a_registry(world: &World, registry: &Registry, lie: Lie) -> ReadError {
        let liar = world.liar(lie, &[]).await;
        let client = world.client(&liar.url);
        let list = &registry.list;
        match lie {
            Lie::RevivedEntry | Lie::SwappedChunks => {
                client.chunks(list, &[0, 1], Moment::Tip).await.unwrap_err()
            }
            Lie::ShortList | Lie::EndlessList => {
                client.whole_list(list, Moment::Tip).await.unwrap_err()
            }
            Lie::MixedList => {
                client.whole_list(list, Moment::Tip).await.unwrap();
                world.height().await;
                // Another, for the first would not hear of an earlier height.
                world.client(&liar.url).whole_list(list, Moment::Tip).await.unwrap_err()
            }
            Lie::OtherHeight => {
                let moment = Moment::Height(registry.revoked);
                client.chunks(list, &[0], moment).await.unwrap_err()
            }
            Lie::EarlierKnowledge => {
                let known_at = Some(registry.revoked);
                let moment = Moment::Time { time_ms: registry.before_ms, known_at };
                client.chunks(list, &[0], moment).await.unwrap_err()
            }
            Lie::NeighborHeader => {
                let moment = Moment::Time { time_ms: registry.revoked_ms, known_at: None };
                client.chunks(list, &[0], moment).await.unwrap_err()
            }
            Lie::WithheldRight => {
                let right = Right {
                    organization: world.scene.registrar.did.digest(),
                    action: v1::Action::Issue,
                    resource: Some(registry.issuing.credential_type),
                };
                client.authority(&right, Moment::Tip).await.unwrap_err()
            }
            _ => panic!("{lie} is about no registry"),
        }
    }

    /// The error that must name it. A lie about a leaf has that of any forged leaf; otherwise each has its own.
    fn is_named(lie: Lie, error: &ReadError) -> bool {
        use ProofError::Entry;
        use VerifyError as V;
        let error = match error {
            ReadError::Verify { source, .. } => source.as_ref(),
            ReadError::Fork { .. } => return lie == Lie::SecondHeader,
            ReadError::Stale(_) => return lie == Lie::AbsenceUnderOldHeader,
            _ => return false,
        };
        match lie {
            Lie::ForgedDocument => matches!(error, V::ForgedDocument { version: 1, .. }),
            Lie::ForgedHead => {
                let forged = |source: &EntryError| matches!(source, EntryError::WrongRoot { .. });
                matches!(error, V::Proof(Entry { index: 0, source }) if forged(source))
            }
            Lie::OldState => matches!(error, V::Light(LightError::Rollback { .. })),
            Lie::WithheldEntry => {
                let source = EntryError::OtherLeafIsThis;
                error == &V::Proof(Entry { index: 0, source })
            }
            Lie::WithheldVersion => matches!(error, V::Incomplete { .. }),
            Lie::WrongNetwork => is_certificate(error, |source| {
                let header =
                    |source: &HeaderError| matches!(source, HeaderError::WrongNetwork { .. });
                matches!(source, CertificateError::Header(source) if header(source))
            }),
            Lie::OtherSet => matches!(error, V::Light(LightError::WrongValidatorSet { .. })),
            Lie::ThinCertificate => is_certificate(error, |source| {
                matches!(source, CertificateError::NoQuorum { signatures: 1, .. })
            }),
            Lie::SwappedHeader => is_certificate(error, |source| {
                matches!(source, CertificateError::WrongHeader { .. })
            }),
            Lie::FalseReceipt => matches!(error, V::Proof(ProofError::NotInBlock { .. })),
            Lie::NoProof => error == &V::NoProof,
            Lie::OtherDid => error == &V::Proof(ProofError::NotCovered),
            Lie::WithheldDocument => error == &V::DocumentMissing { version: 1 },
            Lie::OldVersion => error == &V::NotTheProvedHead,
            Lie::OtherNextSet => matches!(error, V::Light(LightError::NextValidators { .. })),
            Lie::RevivedEntry => {
                let forged = |source: &EntryError| matches!(source, EntryError::WrongRoot { .. });
                matches!(error, V::Proof(Entry { index: 1, source }) if forged(source))
            }
            Lie::SwappedChunks => error == &V::WrongLeaf { position: 1 },
            Lie::ShortList => matches!(error, V::PiecesMissing { .. }),
            Lie::EndlessList => matches!(error, V::PieceUnasked { .. }),
            Lie::MixedList => matches!(error, V::PieceOfOtherMoment { .. }),
            Lie::NeighborHeader => matches!(error, V::NotInForce { .. }),
            Lie::OtherHeight | Lie::EarlierKnowledge => {
                matches!(error, V::NotTheHeightAsked { .. })
            }
            Lie::WithheldRight => matches!(error, V::LeafWithheld { .. }),
            Lie::RetiredSet => matches!(error, V::Light(LightError::NotAnAncestor { height: 1 })),
            Lie::Postdated => matches!(error, V::Light(LightError::FromTheFuture { .. })),
            Lie::BucketLeftOut => error == &V::BucketIncomplete,
            Lie::BucketExchanged => error == &V::BucketLeafExchanged { index: 0 },
            Lie::BucketElsewhere => error == &V::BucketElsewhere,
            Lie::BucketTooSmall => matches!(error, V::BucketTooSmall { .. }),
            Lie::AbsenceUnderOldHeader | Lie::SecondHeader => false,
        }
    }

    fn is_certificate(error: &VerifyError, is: impl Fn(&CertificateError) -> bool) -> bool {
        matches!(error, VerifyError::Light(LightError::Certificate { source, .. }) if is(source))
    }

    fn check(told: &mut BTreeSet<String>, lie: Lie, error: &ReadError) {
        sillok_devnet::console::line(format!("{lie}: {error}"));
        assert!(is_named(lie, error), "{lie} has another error: {error:?}");
        told.insert(lie.name().to_owned());
    }

    const OF_REGISTRIES: [Lie; 9] = [
        Lie::RevivedEntry,
        Lie::SwappedChunks,
        Lie::ShortList,
        Lie::EndlessList,
        Lie::MixedList,
        Lie::OtherHeight,
        Lie::NeighborHeader,
        Lie::EarlierKnowledge,
        Lie::WithheldRight,
    ];
    const OF_SETS: [Lie; 4] =
        [Lie::OtherNextSet, Lie::RetiredSet, Lie::SecondHeader, Lie::Postdated];

    #[test]
    fn b4_every_lie_of_a_node_is_caught_and_named() {
        block_on(async {
            let world = World::start("liar", 4);
            let mut told = BTreeSet::new();
            let registry = Box::pin(registry(&world)).await;
            for lie in OF_REGISTRIES {
                let error = Box::pin(about_a_registry(&world, &registry, lie)).await;
                check(&mut told, lie, &error);
            }
            for lie in Lie::ALL {
                if !told.contains(lie.name()) && !OF_SETS.contains(&lie) {
                    let error = Box::pin(about_a_did(&world, lie)).await;
                    check(&mut told, lie, &error);
                }
            }
            assert_eq!(told.len(), Lie::ALL.len() - OF_SETS.len());
        });
    }

    #[test]
    fn b4_lies_with_stolen_keys_of_validators_are_caught_and_named() {
        block_on(async {
            let mut world = World::start("stolen", 1);
            let node = world.devnet.nodes[0].clone();
            let retired = members::validator_key(&node.directory).unwrap();
            let mut told = BTreeSet::new();

            let liar = world.liar(Lie::Postdated, std::slice::from_ref(&retired)).await;
            let (holder, _) = world.network.holder(Ed25519).await;
            let error = resolve(&world.client(&liar.url), &holder).await.unwrap_err();
            check(&mut told, Lie::Postdated, &error);

            members::rekey_in_place(&mut world.devnet, 1).await.unwrap();
            let stolen = key_other_than(&retired, &node.directory).await;
            // A block of the new key.
            world.height().await;

            let liar = world.liar(Lie::OtherNextSet, &[]).await;
            let error = resolve(&world.client(&liar.url), &holder).await.unwrap_err();
            check(&mut told, Lie::OtherNextSet, &error);

            // Who has followed the change believes those whose keys count no more nothing, also of their own time.
            let liar = world.liar(Lie::RetiredSet, &[retired]).await;
            let client = world.client(&liar.url);
            resolve(&client, &holder).await.unwrap();
            let error = client.transaction(&Hash([7; 32]), Duration::ZERO).await.unwrap_err();
            check(&mut told, Lie::RetiredSet, &error);

            Box::pin(second_header(&world, &mut told, &stolen, &holder)).await;
            assert_eq!(told.len(), OF_SETS.len());
        });
    }

    /// The node's key once it has changed over.
    async fn key_other_than(retired: &SecretKey, directory: &Path) -> SecretKey {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            match members::validator_key(directory) {
                Ok(key) if key.public() != retired.public() => return key,
                // Between the old directory and the new one there is none.
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        panic!("the node did not change over to its new key");
    }

    /// A client that has seen a header meets another one of the same height.
    async fn second_header(
        world: &World,
        told: &mut BTreeSet<String>,
        stolen: &SecretKey,
        holder: &Identity,
    ) {
        let liar = world.liar(Lie::SecondHeader, std::slice::from_ref(stolen)).await;
        let honest = world.devnet.nodes[0].grpc.clone();
        // Between the two questions no block may come: the network is idle but for its heartbeat.
        for _ in 0..5 {
            let client = world.client(&honest);
            resolve(&client, holder).await.unwrap();
            let trusted = client.trusted();
            let mut trust = Trust::in_memory(client.chain()).unwrap();
            trust.advance(trusted.clone()).unwrap();
            let connection = Connection::new(&[&liar.url]).unwrap();
            let misled = Client::new(connection, trust, ReadOptions::default());
            let error = resolve(&misled, holder).await.expect_err("the second header was believed");
            if let ReadError::Fork { height, .. } = &error {
                assert_eq!(*height, trusted.height);
                check(told, Lie::SecondHeader, &error);
                return;
            }
        }
        panic!("no two answers were of one height");
    }
}
