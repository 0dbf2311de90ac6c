//! Networks whose nodes are killed, paused, stopped and lied for: real processes, one network at a time.

#[cfg(test)]
#[path = "support/harness.rs"]
mod harness;

#[cfg(test)]
mod faults {
    use super::harness::{Network, document};
    use sillok_client::identity::{Identity, IdentityKey, document_of};
    use sillok_client::keys::KeyAlgorithm::Ed25519;
    use sillok_client::transaction::Terms;
    use sillok_devnet::kill_test::{self, KillTest};
    use sillok_devnet::process::ProcessState;
    use sillok_devnet::reader::Reader;
    use sillok_devnet::scene::controller;
    use sillok_devnet::submit::Outcome;
    use sillok_devnet::{console, network, status, tour};
    use sillok_did_method::{SUBMIT, transaction_id};
    use sillok_proto::v1::ledger_client::LedgerClient;
    use sillok_proto::v1::transaction_state::State;
    use sillok_proto::{encode, v1};
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::process::Command;
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::time::{Duration, Instant};

    /// One network at a time: tests measure patience, and two networks on a small machine try it.
    static ALONE: Mutex<()> = Mutex::new(());

    fn alone() -> MutexGuard<'static, ()> {
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn the_tour_holds_what_it_tells() {
        let _alone = alone();
        let network = Network::start("tour", 4, 1);
        let report = block_on(tour::take(&mut network.devnet(), true)).unwrap();
        assert_eq!(report.steps.len(), 16);
        assert!(report.milliseconds < 60_000, "the tour took {} ms", report.milliseconds);
    }

    const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");

    /// The lines of the shell examples in a text.
    fn commands(text: &str) -> Vec<String> {
        let mut inside = false;
        let mut lines = Vec::new();
        for line in text.lines() {
            match line {
                "```sh" => inside = true,
                "```" => inside = false,
                line if inside && !line.trim().is_empty() => lines.push(line.to_owned()),
                _ => {}
            }
        }
        lines
    }

    #[test]
    fn the_commands_of_the_readme_work_as_written() {
        let _alone = alone();
        let network = Network::start("readme", 4, 0);
        let home = tempfile::tempdir().unwrap();
        let mut script = String::from("set -euo pipefail\n");
        let shown = commands(&std::fs::read_to_string(README).unwrap());
        let mine = shown.iter().filter(|line| {
            (line.starts_with("sillok") || line.starts_with("eval"))
                // The network is stopped by whoever started it.
                && !line.contains("--wipe")
        });
        for line in mine {
            // As many as show that it works.
            let line = line.replace("--dids 10000", "--dids 100");
            let line = line.split(' ').map(|word| if word == "DID" { "\"$DID\"" } else { word });
            script.push_str(&line.collect::<Vec<_>>().join(" "));
            script.push('\n');
            if script.ends_with("--out me.json\n") {
                script.push_str(
                    "DID=$(sed -n 's/.*\"did\": *\"\\([^\"]*\\)\".*/\\1/p' me.json | head -1)\n",
                );
            }
        }
        assert!(script.contains("DID=") && script.contains("sillok verify"), "{script}");
        let output = Command::new("bash")
            .args(["-x", "-c", &script])
            .current_dir(home.path())
            .env("PATH", path_with_programs())
            .env("HOME", home.path())
            .env("SILLOK_HOME", home.path().join("sillok"))
            .env("SILLOK_DEVNET_DIR", &network.directory)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// The path, with the programs of this build first.
    fn path_with_programs() -> String {
        let programs = Path::new(env!("CARGO_BIN_EXE_sillok-devnet")).parent().unwrap();
        assert!(programs.join("sillok").is_file(), "build `sillok` first: cargo build --workspace");
        format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default())
    }

    const CLIENT_PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/client.md");
    const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");

    /// The section of a document below a heading.
    fn section<'a>(text: &'a str, heading: &str) -> &'a str {
        let (_, below) = text.split_once(&format!("\n## {heading}\n")).unwrap();
        below.split("\n## ").next().unwrap()
    }

    /// Somebody who types what a page shows, and in place of each name in capitals what was printed before.
    struct Newcomer<'a> {
        home: tempfile::TempDir,
        network: &'a Network,
        known: BTreeMap<&'static str, String>,
    }

    impl<'a> Newcomer<'a> {
        fn to(network: &'a Network) -> Self {
            let home = tempfile::tempdir().unwrap();
            std::os::unix::fs::symlink(DOCS, home.path().join("docs")).unwrap();
            Self { home, network, known: BTreeMap::new() }
        }

        /// Runs the shell examples of a text, each of which ends as the page says; returns what they print.
        fn follow(&mut self, text: &str) -> Vec<String> {
            let examples = commands(text).join("\n").replace("\\\n", " ");
            examples.lines().map(|line| self.run(line)).collect()
        }

        fn run(&mut self, line: &str) -> String {
            let (command, comment) = line.split_once(" # ").unwrap_or((line, ""));
            let says = comment.split_once("exit code ").map_or("0", |(_, says)| says);
            let exit: i32 =
                says.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap();
            let named =
                |word: &str| self.known.get(word).cloned().unwrap_or_else(|| word.to_owned());
            let mut command = command.split_whitespace().map(named).collect::<Vec<_>>().join(" ");
            let unknown =
                |word: &str| word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase());
            assert!(
                !command.split(' ').any(unknown),
                "nothing that was printed is that: {command}"
            );
            let asks = [
                "publish",
                "accredit",
                "create-list",
                "set",
                "reserve",
                "approve",
                "submit",
                "activate",
                "end",
            ];
            if command.split(' ').nth(2).is_some_and(|verb| asks.contains(&verb)) {
                command.push_str(" --yes");
            }
            let output = Command::new("bash")
                .args(["-c", &format!("eval \"$(sillok-devnet env)\"\n{command}")])
                .current_dir(self.home.path())
                .env("PATH", path_with_programs())
                .env("HOME", self.home.path())
                .env("SILLOK_DEVNET_DIR", &self.network.directory)
                .output()
                .unwrap();
            let printed = String::from_utf8(output.stdout).unwrap();
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(exit), "{command}\n{printed}{complaint}");
            self.learn(&command, &printed);
            printed
        }

        /// What is printed beside a name is what the page calls so.
        fn learn(&mut self, command: &str, printed: &str) {
            for line in printed.lines() {
                let mut words = line.split_whitespace();
                let (Some(name), Some(value), None) = (words.next(), words.next(), words.next())
                else {
                    continue;
                };
                let known = match name {
                    "publisher" => "DID",
                    "type" => "TYPE",
                    "list" => "LIST",
                    "entries" => "INDEX",
                    "created" if command.contains("--out board.json") => "BOARD",
                    _ => continue,
                };
                self.known.insert(known, value.to_owned());
            }
        }
    }

    #[test]
    fn status_and_trust_in_ten_commands_is_as_the_page_for_clients_says() {
        let _alone = alone();
        let network = Network::start("ten", 4, 0);
        let page = std::fs::read_to_string(CLIENT_PAGE).unwrap();
        let ten = section(&page, "Status and trust in ten commands");
        assert_eq!(commands(ten).len(), 10);
        let mut newcomer = Newcomer::to(&network);
        let printed = newcomer.follow(ten);
        let verdicts: Vec<&str> = printed
            .iter()
            .flat_map(|printed| printed.lines())
            .filter_map(|line| line.trim_start().strip_prefix("entry ")?.split_whitespace().next())
            .collect();
        assert_eq!(verdicts, ["VALID", "SUSPENDED", "INVALID"]);
    }

    #[test]
    fn a_person_is_enrolled_at_a_desk_as_the_page_for_clients_says() {
        let _alone = alone();
        let network = Network::start("desk", 4, 0);
        let page = std::fs::read_to_string(CLIENT_PAGE).unwrap();
        let mut newcomer = Newcomer::to(&network);
        std::fs::write(newcomer.home.path().join("person.txt"), "900101-1234567\n").unwrap();
        let printed = newcomer.follow(section(&page, "At a desk"));
        assert!(printed.last().unwrap().contains("ended"), "{printed:?}");
        assert!(!printed.concat().contains("900101"));
    }

    /// D8: from the receipt on until every validator answers at its height or above.
    #[test]
    fn d8_what_is_committed_is_read_from_every_validator_within_a_second() {
        let _alone = alone();
        let network = Network::start("visible", 4, 0);
        block_on(async {
            let (devnet, scene) = (network.devnet(), network.scene());
            let readers: Vec<Reader> = devnet.nodes.iter().map(|one| network.reader(one)).collect();
            let mut times = Vec::new();
            for nth in 0..50 {
                let holder = scene.holder(Ed25519, false).unwrap();
                let at = scene.commit(&scene.create(&[&holder]).unwrap(), nth % 4).await.unwrap();
                let committed = Instant::now();
                for reader in &readers {
                    let asked = v1::ResolveRequest {
                        did: holder.did.to_string(),
                        min_height: at.height,
                        ..v1::ResolveRequest::default()
                    };
                    let mut resolver = reader.client.connection().nodes()[0].resolver();
                    let answer = resolver.resolve(asked).await.unwrap().into_inner();
                    let signed = answer.proof.unwrap().signed_header.unwrap();
                    assert!(signed.header.unwrap().height >= at.height, "the height is stated");
                    assert!(answer.document.is_some(), "never the state of before");
                }
                times.push(committed.elapsed());
            }
            times.sort_unstable();
            let (p50, p99) = (times[24], times[48]);
            console::line(format!("seen by every validator: p50 {p50:.0?}, p99 {p99:.0?}"));
            assert!(p99 <= Duration::from_secs(1), "{p99:?}");
        });
    }

    #[test]
    fn with_two_of_four_down_writes_stop_and_reads_state_their_height_and_with_three_writes_go_on()
    {
        let _alone = alone();
        let network = Network::start("quorum", 4, 1);
        block_on(async {
            let mut devnet = network.devnet();
            let scene = network.scene();
            let (holder, before) = network.holder(Ed25519).await;
            network::kill(&mut devnet, 3).unwrap();
            network::kill(&mut devnet, 4).unwrap();

            let late = scene.holder(Ed25519, false).unwrap();
            let create = scene.create(&[&late]).unwrap();
            let outcome = scene.nodes.try_once(&scene.genesis_hash, &create, 0).await.unwrap();
            assert!(matches!(outcome, Outcome::Open(_)), "{outcome:?}");
            for nth in [0, 1, 4] {
                let reader = network.reader(&devnet.nodes[nth]);
                let found = reader.resolve(&holder.did).await.unwrap();
                assert_eq!(found.head, before.head);
                assert!(found.height >= before.height);
                assert!(reader.find(&late.did).await.unwrap().is_none());
            }
            let stopped_at = status::highest(&devnet).await.unwrap();

            network::start(&mut devnet, 3).unwrap();
            // The very transaction that waited is ordered; nobody sends it again.
            let id = transaction_id(&scene.genesis_hash, create.body.as_ref().unwrap());
            let request =
                v1::GetTransactionRequest { transaction_id: id.to_vec(), wait_ms: 50_000 };
            let mut ledger = LedgerClient::connect(devnet.nodes[0].grpc.clone()).await.unwrap();
            let state = ledger.get_transaction(request).await.unwrap().into_inner();
            let Some(State::Committed(committed)) = state.state else { panic!("{state:?}") };
            assert!(committed.height > stopped_at);
            let reader = network.reader(&devnet.nodes[2]);
            let found = reader.resolve_from(&late.did, committed.height).await.unwrap();
            assert_eq!(found.document, Some(late.document()));
            assert_eq!(found.signatures, 3);
        });
    }

    /// Requirement A16: from submission until every honest validator answers that the device is gone.
    const REVOKED_WITHIN: Duration = Duration::from_secs(3);
    /// So many that the second slowest is the 99th of a hundred.
    const REVOCATIONS: usize = 100;

    #[test]
    fn a16_with_one_of_four_down_every_honest_validator_says_revoked_within_three_seconds() {
        let _alone = alone();
        let network = Network::start("revoked", 4, 0);
        block_on(async {
            let mut devnet = network.devnet();
            let scene = network.scene();
            let holders: Vec<Identity> =
                (0..REVOCATIONS).map(|_| scene.holder(Ed25519, false).unwrap()).collect();
            for some in holders.chunks(20) {
                let create = scene.create(&some.iter().collect::<Vec<_>>()).unwrap();
                let at = scene.commit(&create, 0).await.unwrap();
                network::wait_for_height(&devnet, at.height, Duration::from_secs(30))
                    .await
                    .unwrap();
            }
            network::kill(&mut devnet, 2).unwrap();
            let honest: Vec<_> =
                [0, 2, 3].map(|nth| network.reader(&devnet.nodes[nth])).into_iter().collect();
            let mut took = Vec::new();
            for holder in &holders {
                let loss = scene.take_device_away(holder).unwrap();
                let began = Instant::now();
                scene.commit(&loss, 0).await.unwrap();
                for reader in &honest {
                    while !document(&reader.resolve(&holder.did).await.unwrap()).keys.is_empty() {
                        assert!(began.elapsed() < Duration::from_secs(60), "still shown");
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
                took.push(began.elapsed());
            }
            took.sort_unstable();
            let p99 = took[REVOCATIONS * 99 / 100 - 1];
            console::line(format!(
                "revoked everywhere: p50 {:?}, p99 {p99:?}",
                took[REVOCATIONS / 2]
            ));
            assert!(p99 <= REVOKED_WITHIN, "{took:?}");
        });
    }

    #[test]
    fn f2_a_site_that_burns_down_takes_nothing_with_it_and_issuing_goes_on() {
        let _alone = alone();
        let network = Network::start("burnt", 4, 0);
        block_on(async {
            let mut devnet = network.devnet();
            let mut issued = Vec::new();
            for _ in 0..10 {
                issued.push(network.holder(Ed25519).await);
            }
            // Process, disk and keys, between two blocks or in the middle of one.
            network::kill(&mut devnet, 4).unwrap();
            std::fs::remove_dir_all(&devnet.nodes[3].directory).unwrap();
            for _ in 0..10 {
                issued.push(network.holder(Ed25519).await);
            }
            let height = issued.iter().map(|(_, found)| found.height).max().unwrap();
            for node in &devnet.nodes[..3] {
                let reader = network.reader(node);
                reader.wait_for(height).await.unwrap();
                for (holder, first) in &issued {
                    let found = reader.resolve(&holder.did).await.unwrap();
                    assert_eq!(found.head, first.head);
                    assert_eq!(found.document, Some(holder.document()));
                }
            }
        });
    }

    #[test]
    fn a_transaction_signed_by_a_key_that_is_rotated_while_it_waits_is_refused_by_every_node_alike()
    {
        let _alone = alone();
        let network = Network::start("rotation", 4, 0);
        block_on(async {
            let mut rival = network.scene().rival;
            // Both wait at once, so a proposer may have met them in the other order; then both are right.
            for _ in 0..6 {
                if rotate_under_a_waiting_create(&network, &mut rival).await {
                    return;
                }
            }
            panic!("the rotation was never ordered before the create");
        });
    }

    /// Lets a create wait together with the rotation of the key that signed it. Was the rotation ordered first?
    async fn rotate_under_a_waiting_create(network: &Network, rival: &mut Identity) -> bool {
        let devnet = network.devnet();
        let scene = network.scene();
        let found = network.first_reader().resolve(&rival.did).await.unwrap();
        // Nothing is ordered while two of four are frozen.
        network::pause(&devnet, 3).unwrap();
        network::pause(&devnet, 4).unwrap();
        let before = document(&found);
        let old = rival.clone();
        let new = IdentityKey::generate(Ed25519, SUBMIT).unwrap();
        let mut keys: Vec<v1::BoundKey> =
            before.keys.iter().filter(|key| key.relationships & SUBMIT == 0).cloned().collect();
        keys.push(new.bound());
        rival.keys.push(new);
        let after = document_of(keys, Vec::new());
        let rotation = scene.update(rival, &found.head, &before, after).unwrap();
        let authority = rival.did.clone();
        let holder = Identity::holder(&devnet.network, Ed25519, false, authority, None).unwrap();
        let create = scene.create_with(&old, &[&holder], Terms::NAMED).unwrap();
        for transaction in [&rotation, &create] {
            submit_without_waiting(&devnet.nodes[0].grpc, transaction).await;
            wait_until_known(&devnet.nodes[1].grpc, &scene.genesis_hash, transaction).await;
        }
        network::resume(&devnet, 3).unwrap();
        network::resume(&devnet, 4).unwrap();
        let rotated = scene.commit(&rotation, 0).await.unwrap();
        network::wait_for_height(&devnet, rotated.height, Duration::from_secs(30)).await.unwrap();

        let state = state_on(&devnet.nodes[0].grpc, &scene.genesis_hash, &create).await;
        let too_early = matches!(state, State::Committed(_));
        for node in &devnet.nodes {
            let found = network.reader(node).find(&holder.did).await.unwrap();
            assert_eq!(found.is_some(), too_early, "{} disagrees", node.name);
            let refused = refusal_on(&node.grpc, &scene.genesis_hash, &create).await;
            assert!(too_early || refused, "{} does not refuse it", node.name);
        }
        if !too_early {
            // The same create under the new key is ordered.
            let create = scene.create_with(rival, &[&holder], Terms::NAMED).unwrap();
            scene.commit(&create, 1).await.unwrap();
        }
        !too_early
    }

    async fn submit_without_waiting(url: &str, transaction: &v1::Transaction) {
        let request = v1::SubmitRequest {
            transaction: encode(transaction),
            wait_ms: 0,
            ..Default::default()
        };
        let mut ledger = LedgerClient::connect(url.to_owned()).await.unwrap();
        let state = ledger.submit(request).await.unwrap().into_inner();
        assert!(matches!(state.state, Some(State::Pending(_))), "{state:?}");
    }

    async fn state_on(
        url: &str,
        genesis_hash: &sillok_proto::Hash,
        transaction: &v1::Transaction,
    ) -> State {
        let id = transaction_id(genesis_hash, transaction.body.as_ref().unwrap());
        let request = v1::GetTransactionRequest { transaction_id: id.to_vec(), wait_ms: 0 };
        let mut ledger = LedgerClient::connect(url.to_owned()).await.unwrap();
        ledger.get_transaction(request).await.unwrap().into_inner().state.unwrap()
    }

    async fn wait_until_known(
        url: &str,
        genesis_hash: &sillok_proto::Hash,
        transaction: &v1::Transaction,
    ) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while matches!(state_on(url, genesis_hash, transaction).await, State::Unknown(_)) {
            assert!(Instant::now() < deadline, "the transaction was not passed on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Does the node refuse it, now or as soon as it looks again?
    async fn refusal_on(
        url: &str,
        genesis_hash: &sillok_proto::Hash,
        transaction: &v1::Transaction,
    ) -> bool {
        // A node shows the new height a moment before it has looked through what still waits.
        let deadline = Instant::now() + Duration::from_secs(10);
        while matches!(state_on(url, genesis_hash, transaction).await, State::Pending(_)) {
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let request = v1::SubmitRequest {
            transaction: encode(transaction),
            wait_ms: 0,
            ..Default::default()
        };
        let mut ledger = LedgerClient::connect(url.to_owned()).await.unwrap();
        let again = ledger.submit(request).await;
        let state = state_on(url, genesis_hash, transaction).await;
        again.is_err() && !matches!(state, State::Committed(_) | State::Pending(_))
    }

    #[test]
    fn a_node_stops_when_it_is_told_to_and_a_second_process_in_its_directory_is_refused() {
        let _alone = alone();
        let network = Network::start("stop", 4, 0);
        block_on(async {
            let mut devnet = network.devnet();
            let (holder, before) = network.holder(Ed25519).await;
            let second = Command::new(&devnet.node_binary)
                .args(["start", "--dir"])
                .arg(&devnet.nodes[0].directory)
                .output()
                .unwrap();
            assert!(!second.status.success());
            let said = String::from_utf8_lossy(&second.stderr).into_owned();
            assert!(said.contains("in use by another process"), "{said}");
            // The first goes on undisturbed.
            assert_eq!(
                network.first_reader().resolve(&holder.did).await.unwrap().head,
                before.head
            );

            assert!(network::stop(&mut devnet, 1).unwrap(), "v1 had to be killed");
            assert!(devnet.node("v1").unwrap().process.is_none());
            network::restart(&mut devnet, 1).await.unwrap();
            let found = network.first_reader().resolve(&holder.did).await.unwrap();
            assert_eq!(found.head, before.head);

            // All at once, and the same network again with its data.
            let killed = network::down(&mut devnet).unwrap();
            assert!(killed.is_empty(), "{killed:?} had to be killed");
            let size = network::Size::default();
            let binary = devnet.node_binary.clone();
            let devnet = network::up(&network.directory, &size, binary).await.unwrap();
            let found = network.first_reader().resolve(&holder.did).await.unwrap();
            assert_eq!(found.head, before.head);
            assert_eq!(devnet.nodes.len(), 4);
        });
    }

    #[test]
    fn a_paused_validator_is_shown_as_paused_and_catches_up_when_it_is_resumed() {
        let _alone = alone();
        let network = Network::start("pause", 4, 0);
        block_on(async {
            let devnet = network.devnet();
            network::pause(&devnet, 2).unwrap();
            let (_, found) = network.holder(Ed25519).await;
            let reports = status::collect(&devnet).await;
            assert_eq!(reports[1].process, ProcessState::Paused);
            assert!(reports[0].height >= Some(found.height));
            network::resume(&devnet, 2).unwrap();
            let height =
                network::wait_until_caught_up(&devnet, 2, network::UP_PATIENCE).await.unwrap();
            assert!(height >= found.height);
        });
    }

    #[test]
    fn nothing_acknowledged_is_lost_when_validators_are_killed_under_load() {
        let _alone = alone();
        let network = Network::start("kill", 4, 0);
        let test = KillTest {
            kills: 8,
            in_flight: Some(4),
            seed: 2,
            concurrency: 6,
            batch: 2,
            rate: 40.0,
            json: true,
        };
        let report = block_on(kill_test::measure(&mut network.devnet(), &test)).unwrap();
        assert_eq!(report.kills.len(), 8);
        assert_eq!(report.read_back, report.acknowledged);
        assert!(report.acknowledged > 0);
    }

    #[test]
    fn a_holder_whose_key_nobody_has_cannot_be_changed_by_another_holder() {
        let _alone = alone();
        let network = Network::start("holders", 1, 0);
        block_on(async {
            let scene = network.scene();
            let (victim, first) = network.holder(Ed25519).await;
            let (thief, other) = network.holder(Ed25519).await;
            let stolen = controller(&thief, &document(&other)).unwrap();
            let device = sillok_devnet::scene::new_device(Ed25519).unwrap();
            let theft = scene.set_device(&victim, &first.head, &device, &[stolen]).unwrap();
            let refusal = scene.refusal(&theft, 0).await.unwrap();
            assert_eq!(refusal.code, "NOT_AUTHORIZED", "{refusal}");
        });
    }
}
