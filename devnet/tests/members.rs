//! Members that come and go on networks of real processes, under load, one network at a time.

#[cfg(test)]
#[path = "support/harness.rs"]
mod harness;

#[cfg(test)]
mod members {
    use super::harness::{Network, document};
    use sillok_client::keys::KeyAlgorithm::Ed25519;
    use sillok_client::keys::SecretKey;
    use sillok_client::member::Progress;
    use sillok_client::read::{Client, Committed};
    use sillok_client::trust::{Trust, read_genesis};
    use sillok_client::verify::Asked;
    use sillok_client::write::WriteError;
    use sillok_devnet::directory::Devnet;
    use sillok_devnet::members::{self, Seated, governor, refusal, submitter};
    use sillok_devnet::scene::Scene;
    use sillok_devnet::{clock_ms, console, network, status};
    use sillok_did_method::{Did, proposal_hash};
    use sillok_ledger::MEMBERSHIP_DELAY;
    use sillok_proto::{Hash, v1};
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
    use std::time::{Duration, Instant};
    use v1::change::Change;

    /// One network at a time: tests measure patience, and two networks on a small machine try it.
    static ALONE: Mutex<()> = Mutex::new(());

    fn alone() -> MutexGuard<'static, ()> {
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(future)
    }

    /// Longest time without an acknowledged write while members change, on a machine of two cores that also checks.
    const GAP_MAX: Duration = Duration::from_secs(8);
    /// DIDs written per second and writer, at most.
    const WRITE_EVERY: Duration = Duration::from_millis(100);

    /// Writers that go on whatever happens, with what was acknowledged and when.
    struct Load {
        stop: Arc<AtomicBool>,
        workers: Vec<tokio::task::JoinHandle<Vec<(Did, Instant)>>>,
        began: Instant,
    }

    impl Load {
        fn start(scene: &Scene) -> Self {
            let stop = Arc::new(AtomicBool::new(false));
            let workers =
                (0..3).map(|nth| tokio::spawn(write(scene.clone(), nth, stop.clone()))).collect();
            Self { stop, workers, began: Instant::now() }
        }

        /// Stops; returns the acknowledged DIDs and the longest time between two of them.
        async fn finish(self) -> (Vec<Did>, Duration) {
            self.stop.store(true, Ordering::Relaxed);
            let mut acknowledged = Vec::new();
            for worker in self.workers {
                acknowledged.extend(worker.await.unwrap());
            }
            let mut times: Vec<Instant> = acknowledged.iter().map(|(_, at)| *at).collect();
            times.push(self.began);
            times.sort_unstable();
            let gap = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
            (acknowledged.into_iter().map(|(did, _)| did).collect(), gap)
        }
    }

    /// Creates one DID after another; a refusal or a lost one fails the test.
    async fn write(scene: Scene, nth: usize, stop: Arc<AtomicBool>) -> Vec<(Did, Instant)> {
        let mut acknowledged = Vec::new();
        for turn in nth.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let holder = scene.holder(Ed25519, false).unwrap();
            let transaction = scene.create(&[&holder]).unwrap();
            scene.commit(&transaction, turn).await.unwrap();
            acknowledged.push((holder.did, Instant::now()));
            tokio::time::sleep(WRITE_EVERY).await;
        }
        acknowledged
    }

    /// How often each reader reads.
    const READ_EVERY: Duration = Duration::from_millis(100);

    /// Reads a DID from one node until told to stop: how many answers were verified and fresh, and what failed.
    async fn read(client: Client, did: Did, stop: Arc<AtomicBool>) -> (usize, Vec<String>) {
        let (mut good, mut failed) = (0, Vec::new());
        while !stop.load(Ordering::Relaxed) {
            match client.resolve(&did, Asked::Current).await {
                Ok(found) if found.answer.fresh().is_ok() => good += 1,
                Ok(_) => failed.push("a stale answer".to_owned()),
                Err(error) => failed.push(error.to_string()),
            }
            tokio::time::sleep(READ_EVERY).await;
        }
        (good, failed)
    }

    fn client(devnet: &Devnet) -> Client {
        members::client(devnet).unwrap()
    }

    async fn seats(client: &Client) -> BTreeSet<Vec<u8>> {
        let answer = client.members().await.unwrap();
        let set = answer.even_if_stale().validators.clone();
        set.validators.into_iter().map(|one| one.public_key).collect()
    }

    /// A governance key signs and the registrar brings; the code of the refusal, or where it was ordered.
    async fn approve(
        devnet: &Devnet,
        node: &str,
        proposal: &Hash,
    ) -> Result<Committed, WriteError> {
        let governor = governor(devnet, node).unwrap();
        let brings = submitter(devnet).unwrap();
        client(devnet).approve(&governor.did, &governor.key, proposal, &brings).await
    }

    fn code(error: &WriteError) -> String {
        error.problem().map(|problem| problem.code.clone()).unwrap_or_else(|| error.to_string())
    }

    /// What the node says of the set of a height.
    async fn keys_at(client: &Client, height: u64) -> BTreeSet<Vec<u8>> {
        let (answer, _) = client
            .connection()
            .call(Duration::ZERO, |node| async move {
                node.ledger().get_validators(v1::GetValidatorsRequest { height }).await
            })
            .await
            .unwrap();
        answer.validators.unwrap().validators.into_iter().map(|one| one.public_key).collect()
    }

    #[test]
    fn a21_d15_a_network_replaces_all_its_validators_under_load_without_a_stop_or_a_failed_read() {
        let _alone = alone();
        let network = Network::start("replace", 4, 1);
        block_on(async {
            let mut devnet = network.devnet();
            let scene = network.scene();
            // Nodes that stay reachable all the time are asked first; the others take their turn.
            let load = Load::start(&scene);

            // D15: whoever asks a node that stays notices nothing, nor who knows two, of which one is restarted.
            let stop = Arc::new(AtomicBool::new(false));
            let readers: Vec<_> = [vec![4], vec![1, 2], vec![2, 1]]
                .map(|asked| {
                    let chain = read_genesis(&devnet.genesis).unwrap();
                    let nodes: Vec<&str> =
                        asked.iter().map(|nth: &usize| devnet.nodes[*nth].grpc.as_str()).collect();
                    let client = Client::in_memory(&nodes, chain).unwrap();
                    tokio::spawn(read(client, scene.registrar.did.clone(), stop.clone()))
                })
                .into_iter()
                .collect();

            // One client follows everything, one keeps its trust on disk and sleeps, one has a receipt of before.
            let observer = devnet.nodes[4].grpc.clone();
            let genesis = devnet.genesis.clone();
            let chain = || read_genesis(&genesis).unwrap();
            let follows = Client::in_memory(&[&observer], chain()).unwrap();
            let home = tempfile::tempdir().unwrap();
            let sleeps = |trust: Trust| {
                let connection = follows.connection().clone();
                Client::new(connection, trust, follows.options().clone())
            };
            let registrar = scene.registrar.did.clone();
            let before = sleeps(Trust::open(home.path(), chain()).unwrap());
            before.resolve(&registrar, Asked::Current).await.unwrap();
            let slept_at = before.trusted().height;
            drop(before);
            let holder = scene.holder(Ed25519, false).unwrap();
            let transaction = scene.create(&[&holder]).unwrap();
            let receipt = follows.submit(&transaction, Duration::from_secs(30)).await.unwrap();
            let first = seats(&follows).await;
            assert_eq!(first.len(), 4);

            let told = |what: String, began: Instant| {
                console::line(format!("{what}: {:.1} s", began.elapsed().as_secs_f64()));
            };
            // v1 goes and v5 comes; v2 and v3 get new keys; v4 goes and v6 comes.
            let mut step = Instant::now();
            let Seated { node, from_height, .. } =
                members::add_validator(&mut devnet).await.unwrap();
            told(format!("{node} votes from height {from_height} on"), step);
            step = Instant::now();
            let removed =
                SecretKey::read_file(&devnet.nodes[0].directory.join("validator/validator.key"));
            let removed = removed.unwrap().public().point.clone();
            let decision = members::remove_validator(&mut devnet, 1).await.unwrap();
            told(format!("v1 removed at height {}", decision.height), step);
            // Its votes stop counting at a defined height, and not before.
            let ends = decision.height + MEMBERSHIP_DELAY;
            assert!(keys_at(&follows, ends - 1).await.contains(&removed));
            assert!(!keys_at(&follows, ends).await.contains(&removed));
            for index in [2, 3] {
                step = Instant::now();
                let seated = members::rekey_validator(&mut devnet, index).await.unwrap();
                told(format!("{} re-keyed, height {}", seated.node, seated.from_height), step);
                follows.resolve(&registrar, Asked::Current).await.unwrap();
            }
            step = Instant::now();
            let seated = members::add_validator(&mut devnet).await.unwrap();
            told(format!("{} votes from height {} on", seated.node, seated.from_height), step);
            step = Instant::now();
            let decision = members::remove_validator(&mut devnet, 4).await.unwrap();
            told(format!("v4 removed at height {}", decision.height), step);

            let now = seats(&follows).await;
            assert_eq!(now.len(), 4);
            assert!(now.is_disjoint(&first), "not all keys are new");

            stop.store(true, Ordering::Relaxed);
            for reader in readers {
                let (good, failed) = reader.await.unwrap();
                assert_eq!((good > 20, failed), (true, Vec::new()), "{good} reads");
            }
            let (acknowledged, gap) = load.finish().await;
            console::line(format!(
                "{} writes acknowledged while all validators were replaced; longest gap {:.1} s",
                acknowledged.len(),
                gap.as_secs_f64()
            ));
            assert!(acknowledged.len() > 20, "{} writes", acknowledged.len());
            assert!(gap < GAP_MAX, "no write was acknowledged for {gap:?}");
            // None is lost: a client that never knew the old validators but from the genesis finds every one.
            let fresh = Client::in_memory(&[&observer], chain()).unwrap();
            for did in &acknowledged {
                let found = fresh.resolve(did, Asked::Current).await.unwrap();
                assert!(found.answer.fresh().unwrap().version.is_some(), "{did} is lost");
            }

            // The client that slept follows every change from its file, and keeps what it learnt.
            let woke = sleeps(Trust::open(home.path(), chain()).unwrap());
            assert_eq!(woke.trusted().height, slept_at);
            woke.resolve(&registrar, Asked::Current).await.unwrap();
            let kept = Trust::open(home.path(), chain()).unwrap();
            assert_eq!(kept.trusted(), &woke.trusted());
            // A set is known by its hash: what is kept must be the very set, and go on from there.
            sleeps(kept).resolve(&registrar, Asked::Current).await.unwrap();

            // The receipt of before holds, although everybody who signed it is gone.
            let id = receipt.receipt.transaction_id;
            let again = fresh.kept_receipt(&id, &receipt.proof).await.unwrap();
            assert_eq!(again.header.hash(), receipt.receipt.header.hash());
            // Not so one that the same validators would sign today over another block.
            let mut forged = receipt.proof.clone();
            let header = forged.signed_header.as_mut().unwrap().header.as_mut().unwrap();
            header.state_root = vec![9; 32];
            fresh.kept_receipt(&id, &forged).await.unwrap_err();
        });
    }

    #[test]
    fn f3_a_node_that_slept_through_a_re_keying_of_all_others_finds_its_way_back() {
        let _alone = alone();
        let network = Network::start("slept", 4, 0);
        block_on(async {
            let mut devnet = network.devnet();
            network::stop(&mut devnet, 4).unwrap();
            // With one asleep nobody else can be missed: each new key takes over from its old one at a height.
            for index in [1, 2, 3] {
                let seated = members::rekey_in_place(&mut devnet, index).await.unwrap();
                console::line(format!("{} re-keyed, height {}", seated.node, seated.from_height));
            }
            // Something that the sleeper has not seen.
            let (holder, found) = network.holder(Ed25519).await;
            assert_eq!(document(&found), holder.document());
            let began = Instant::now();
            network::start(&mut devnet, 4).unwrap();
            network::wait_until_caught_up(&devnet, 4, network::UP_PATIENCE).await.unwrap();
            let height = status::highest(&devnet).await.unwrap();
            members::wait_until_it_votes(&devnet, 4, height).await.unwrap();
            console::line(format!("back and voting after {:.1} s", began.elapsed().as_secs_f64()));
        });
    }

    #[test]
    fn what_the_rules_of_membership_refuse_is_refused_by_a_running_network() {
        let _alone = alone();
        let network = Network::start("rules-of-members", 4, 0);
        block_on(async {
            let mut devnet = network.devnet();
            let client = client(&devnet);
            let brings = submitter(&devnet).unwrap();
            let first = governor(&devnet, "v1").unwrap();
            let genesis_hash = client.genesis_hash();
            let proposal = |life_ms: u64, change| v1::Proposal {
                expires_ms: clock_ms() + life_ms,
                change: Some(v1::Change { change: Some(change) }),
            };
            let node_key = |byte: u8| {
                let key = SecretKey::from_bytes(Ed25519, &[byte; 32]).unwrap();
                v1::Observer { node_key: key.public().point.clone(), archive: false }
            };

            // Two of four are not more than two thirds.
            let observer = proposal(60_000, Change::AdmitObserver(node_key(1)));
            let hash = proposal_hash(&genesis_hash, &observer);
            client.propose(&first.did, &first.key, observer, &brings).await.unwrap();
            approve(&devnet, "v2", &hash).await.unwrap();
            let answer = client.proposal(&hash).await.unwrap();
            let proposed = answer.even_if_stale().clone().unwrap();
            assert_eq!(proposed.progress(answer.time_ms()), Progress::Open);
            let known = client.members().await.unwrap();
            assert_eq!(
                (proposed.counted(known.even_if_stale()), known.even_if_stale().threshold()),
                (2, 3)
            );
            assert!(known.even_if_stale().observers.is_empty());
            // The same approval twice counts once.
            assert_eq!(code(&approve(&devnet, "v2", &hash).await.unwrap_err()), "ALREADY");
            approve(&devnet, "v3", &hash).await.unwrap();
            let known = client.members().await.unwrap();
            assert_eq!(known.even_if_stale().observers.len(), 1);
            assert_eq!(
                code(&approve(&devnet, "v4", &hash).await.unwrap_err()),
                "PROPOSAL_EXECUTED"
            );
            let listed = client.proposals().await.unwrap();
            assert_eq!(listed.iter().map(|one| one.hash).collect::<Vec<_>>(), [hash]);

            // An expired proposal is approved by nobody.
            let short = proposal(2_500, Change::AdmitObserver(node_key(2)));
            let hash = proposal_hash(&genesis_hash, &short);
            client.propose(&first.did, &first.key, short, &brings).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2_600)).await;
            // Ledger time goes on with the next block.
            network.holder(Ed25519).await;
            assert_eq!(code(&approve(&devnet, "v2", &hash).await.unwrap_err()), "PROPOSAL_EXPIRED");

            // A stranger's key governs nothing.
            let stranger = SecretKey::generate(Ed25519).unwrap();
            let observer = proposal(60_000, Change::AdmitObserver(node_key(3)));
            let error = client.propose(&first.did, &stranger, observer, &brings).await.unwrap_err();
            assert!(
                ["GOVERNANCE_KEY_REQUIRED", "UNEXPECTED_SIGNATURE"]
                    .contains(&code(&error).as_str()),
                "{error}"
            );

            // A join over a header that this network does not know, and one without an approval.
            let admitted = members::admit(&mut devnet).await.unwrap();
            let did = governor(&devnet, &admitted.node.name).unwrap().did;
            let key = members::validator_key(&admitted.node.directory).unwrap();
            let until_ms = client.valid_until_ms().await.unwrap();
            let join = |key: &SecretKey, height: u64, hash: &Hash| {
                let operation = sillok_client::transaction::OperationDraft::join(
                    &did,
                    key.public(),
                    height,
                    hash,
                );
                let mut partly = client.partly(&brings.did, operation, until_ms);
                partly.sign(0, key).unwrap();
                client.bring(partly, &brings)
            };
            let trusted = client.trusted();
            let error = join(&key, trusted.height, &Hash([9; 32])).await.unwrap_err();
            assert_eq!(code(&error), "JOIN_HEADER_UNKNOWN");
            let error = join(&stranger, trusted.height, &trusted.header_hash).await.unwrap_err();
            assert_eq!(code(&error), "JOIN_NOT_APPROVED");

            // With two of four away nobody decides anything; with one away, no more may leave than can be missed.
            network::stop(&mut devnet, 4).unwrap();
            wait_until_absent(&devnet, &network, 4).await;
            let error = members::remove_validator(&mut devnet, 3).await.unwrap_err();
            assert_eq!(refusal(&error).as_deref(), Some("NO_QUORUM_LEFT"), "{error:#}");
            assert_eq!(seats(&client).await.len(), 4);
        });
    }

    /// Writes until the network has noticed that the validator of this node proposes nothing (PROTOCOL §7.2).
    async fn wait_until_absent(devnet: &Devnet, network: &Network, index: usize) {
        let from = status::highest(devnet).await.unwrap();
        let goal = from + 10 * 4 + 2;
        let deadline = Instant::now() + Duration::from_secs(120);
        let scene = network.scene();
        let mut nth = 0;
        while status::highest(devnet).await.unwrap() < goal {
            assert!(Instant::now() < deadline, "node {index} is waited for too long");
            let holder = scene.holder(Ed25519, false).unwrap();
            scene.commit(&scene.create(&[&holder]).unwrap(), nth % 3).await.unwrap();
            nth += 1;
        }
    }
}
