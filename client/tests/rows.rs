//! Rows of the requirements about whoever checks what is shown: what a shop learns, and how old a state each may take.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

#[path = "support/stapled.rs"]
mod stapled;

use sillok_client::keys::{KeyAlgorithm, SecretKey};
use sillok_client::read::{Client, Clock, ReadOptions};
use sillok_client::registry::states;
use sillok_client::testing::{Lie, MemoryNetwork, serve};
use sillok_client::verify::moment::Moment;
use sillok_client::verify::staple::{Proved, Staple, StapleError};
use sillok_client::verify::{Asked, Network, Policy, VerifyError};
use sillok_did_method::{ASSERTION_METHOD, Did, EntryState, verify};
use sillok_proto::v1;
use stapled::{Registry, document, entries, file, right, trusted};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const START_MS: u64 = 1_795_251_600_000;
const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 3_600_000;

fn at_ms(height: u64) -> u64 {
    START_MS + height * SECOND_MS
}

/// Heights 1 to 3: a type, its list, entries 0, 5 and 8,192 valid.
fn registry() -> (MemoryNetwork, Registry) {
    let (mut network, ministries) = MemoryNetwork::new("test", START_MS).unwrap();
    let mut height = 0;
    let registry = Registry::begin(&mut network, &ministries, || {
        height += 1;
        at_ms(height)
    });
    (network, registry)
}

// ------------------------------------------------------------------------------------------------ B1, a shop

/// "Of age", and nothing else: signed by the issuer, bound to a key that is used once, with a place in a list.
#[derive(Debug, Clone)]
struct Credential {
    issuer: Did,
    list: Vec<u8>,
    index: u32,
    key: SecretKey,
    signature: [u8; 64],
}

impl Credential {
    fn statement(issuer: &Did, list: &[u8], index: u32, key: &v1::PublicKey) -> Vec<u8> {
        let list = hex::encode(list);
        let point = hex::encode(&key.point);
        format!("of age: yes; issuer {issuer}; status {list}#{index}; key {point}").into_bytes()
    }

    fn issue(registry: &Registry, index: u32) -> Self {
        let (issuer, list) = (registry.ministry.did.clone(), registry.list.to_vec());
        let key = SecretKey::generate(KeyAlgorithm::P256).unwrap();
        let statement = Self::statement(&issuer, &list, index, key.public());
        let signer = registry.ministry.newest_secret(ASSERTION_METHOD).unwrap();
        let signature = signer.sign(&statement).unwrap();
        Self { issuer, list, index, key, signature }
    }

    /// Everything that a verifier gets to see.
    fn present(&self, nonce: &str) -> Presentation {
        Presentation {
            issuer: self.issuer.clone(),
            list: self.list.clone(),
            index: self.index,
            key: self.key.public().clone(),
            signature: self.signature,
            holder: self.key.sign(nonce.as_bytes()).unwrap(),
        }
    }
}

#[derive(Debug, Clone)]
struct Presentation {
    issuer: Did,
    list: Vec<u8>,
    index: u32,
    key: v1::PublicKey,
    signature: [u8; 64],
    holder: [u8; 64],
}

impl Presentation {
    /// Every value in it.
    fn values(&self) -> BTreeSet<Vec<u8>> {
        BTreeSet::from([
            self.issuer.to_string().into_bytes(),
            self.list.clone(),
            self.index.to_be_bytes().to_vec(),
            self.key.point.clone(),
            self.signature.to_vec(),
            self.holder.to_vec(),
        ])
    }

    fn is_signed(&self, issuer: &v1::DidDocument, nonce: &str) -> bool {
        let statement = Credential::statement(&self.issuer, &self.list, self.index, &self.key);
        let by_issuer = issuer
            .keys
            .iter()
            .filter(|bound| bound.relationships & ASSERTION_METHOD != 0)
            .filter_map(|bound| bound.key.as_ref())
            .any(|key| verify(key, &statement, &self.signature).is_ok());
        by_issuer && verify(&self.key, nonce.as_bytes(), &self.holder).is_ok()
    }
}

/// B1: a shop learns "of age" and who says so, checks the issuer's key and the status, and cannot tell two purchases of
/// one person from those of two. What it asks a node for names the issuer and the list.
#[tokio::test]
async fn b1_a_shop_checks_of_age_and_two_presentations_share_no_number_of_the_person() {
    let (network, registry) = registry();
    // One block made the entries of a batch valid, in which people are mixed.
    let (first, second) = (Credential::issue(&registry, 5), Credential::issue(&registry, 8_192));
    let other = Credential::issue(&registry, 0);
    let never_issued = Credential::issue(&registry, 77);
    let chain = network.chain().clone();
    let door = serve(network, || at_ms(3) + SECOND_MS, Lie::default()).await.unwrap();
    let options = ReadOptions { clock: Clock::new(|| at_ms(3) + SECOND_MS), ..Default::default() };
    let shop = Client::in_memory(&[door.address.to_string()], chain).unwrap().with_options(options);

    let issuer = shop.resolve(&registry.ministry.did, Asked::Current).await.unwrap();
    let issuer = issuer.answer.fresh().unwrap().version.clone().unwrap().document_or_empty();
    let list = shop.whole_list(&registry.list, Moment::Tip).await.unwrap();
    let states = states(list.fresh().unwrap().as_ref().unwrap()).unwrap();
    let may = shop.authority(&registry.may_issue(), Moment::Tip).await.unwrap();
    assert!(may.fresh().unwrap().holds());
    let accepts = |shown: &Presentation, nonce: &str| {
        shown.is_signed(&issuer, nonce) && states[shown.index as usize] == EntryState::Valid
    };

    let shown = [first.present("a"), second.present("b"), other.present("c")];
    for (one, nonce) in shown.iter().zip(["a", "b", "c"]) {
        assert!(accepts(one, nonce));
        assert!(!accepts(one, "again"), "what was shown once is not shown by another");
    }
    assert!(!accepts(&never_issued.present("d"), "d"), "an index that was never used is pending");

    let common = |a: &Presentation, b: &Presentation| -> BTreeSet<Vec<u8>> {
        a.values().intersection(&b.values()).cloned().collect()
    };
    let of_one_person = common(&shown[0], &shown[1]);
    assert_eq!(of_one_person, common(&shown[0], &shown[2]), "as much as two people share");
    let of_the_type = [registry.ministry.did.to_string().into_bytes(), registry.list.to_vec()];
    assert_eq!(of_one_person, BTreeSet::from(of_the_type));
}

// --------------------------------------------------------------------------------------- B5, classes of verifiers

/// How a verifier comes by the state, and what it does with an old one.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Asks a node each time.
    Online,
    /// Keeps what it fetched, and fetches anew what is too old.
    Cached,
    /// Has what it was given, and refuses what is too old.
    Offline,
}

struct Class {
    name: &'static str,
    way: Way,
    max_age_ms: u64,
}

/// Each has its patience; a smaller one costs questions, a larger one the time until a revocation is known.
const CLASSES: [Class; 6] = [
    Class { name: "counter", way: Way::Online, max_age_ms: MINUTE_MS },
    Class { name: "bank", way: Way::Online, max_age_ms: 15 * SECOND_MS },
    Class { name: "Gov24", way: Way::Online, max_age_ms: MINUTE_MS },
    Class { name: "vehicle rental", way: Way::Cached, max_age_ms: 10 * MINUTE_MS },
    Class { name: "airport", way: Way::Offline, max_age_ms: HOUR_MS },
    Class { name: "vending machine", way: Way::Offline, max_age_ms: 24 * HOUR_MS },
];

/// What a verifier does with entry 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Accepts,
    Revoked,
    /// The state is too old to say.
    TooOld,
}

fn verdict(state: EntryState) -> Verdict {
    if state == EntryState::Valid { Verdict::Accepts } else { Verdict::Revoked }
}

struct Scene {
    network: Network,
    genesis: sillok_ledger::light::TrustedHeader,
    now: Arc<AtomicU64>,
    client: Client,
}

impl Scene {
    fn of_file(
        &self,
        staple: &Staple,
        class: &Class,
        min_height: u64,
    ) -> Result<Verdict, StapleError> {
        let now_ms = self.now.load(Ordering::SeqCst);
        let policy = Policy { max_age_ms: class.max_age_ms, min_height, ..Policy::at(now_ms) };
        let answer = staple.verify(&self.network, &self.genesis, policy)?;
        let Ok(proved) = answer.fresh() else { return Ok(Verdict::TooOld) };
        let state = proved.iter().find_map(|one| match one {
            Proved::Entries { chunks, .. } => Some(chunks.entry(5).unwrap().state),
            _ => None,
        });
        Ok(verdict(state.unwrap()))
    }

    async fn of_node(&self, class: &Class, list: &sillok_proto::Hash) -> Verdict {
        let answer = self.client.chunks(list, &[0], Moment::Tip).await.unwrap();
        if answer.age_ms() > class.max_age_ms {
            return Verdict::TooOld;
        }
        verdict(answer.even_if_stale().entry(5).unwrap().state)
    }

    /// With the file that it fetched before the revocation.
    async fn check(&self, class: &Class, kept: &Staple, registry: &Registry) -> Verdict {
        match class.way {
            Way::Online => self.of_node(class, &registry.list).await,
            Way::Offline => self.of_file(kept, class, 0).unwrap(),
            Way::Cached => match self.of_file(kept, class, 0).unwrap() {
                Verdict::TooOld => self.of_node(class, &registry.list).await,
                known => known,
            },
        }
    }
}

#[tokio::test]
async fn b5_each_class_of_verifiers_has_its_way_and_its_patience_with_old_state() {
    use Verdict::{Accepts, Revoked, TooOld};
    let (mut network, registry) = registry();
    let claims = |network: &MemoryNetwork| {
        vec![
            document(network, &registry.ministry.did),
            entries(network, registry.list, &[5]),
            right(network, registry.may_issue()),
        ]
    };
    let before = file(&network, claims(&network));
    let genesis = trusted(&network, 0);
    registry.set(&mut network, at_ms(4), EntryState::Invalid, &[5]);
    let after = file(&network, claims(&network));

    let now = Arc::new(AtomicU64::new(0));
    let (clock, node_clock) = (now.clone(), now.clone());
    let chain = network.chain().clone();
    let of_network = Network::from(&chain);
    let door =
        serve(network, move || node_clock.load(Ordering::SeqCst), Lie::default()).await.unwrap();
    let options = ReadOptions {
        clock: Clock::new(move || clock.load(Ordering::SeqCst)),
        ..Default::default()
    };
    let client =
        Client::in_memory(&[door.address.to_string()], chain).unwrap().with_options(options);
    let scene = Scene { network: of_network, genesis, now: now.clone(), client };

    // Ten seconds after the revocation; half an hour, in which blocks went on; an hour in which none came; two days.
    let moments = [
        (at_ms(4) + 10 * SECOND_MS, [Revoked, Revoked, Revoked, Accepts, Accepts, Accepts]),
        (at_ms(4) + 30 * MINUTE_MS, [Revoked, Revoked, Revoked, Revoked, Accepts, Accepts]),
        (at_ms(4) + 90 * MINUTE_MS, [TooOld, TooOld, TooOld, TooOld, TooOld, Accepts]),
        (at_ms(4) + 48 * HOUR_MS, [TooOld, TooOld, TooOld, TooOld, TooOld, TooOld]),
    ];
    for (nth, (now_ms, expected)) in moments.into_iter().enumerate() {
        now.store(now_ms, Ordering::SeqCst);
        if nth < 2 {
            door.network().commit(now_ms - SECOND_MS, &[]).unwrap();
        }
        for (class, expected) in CLASSES.iter().zip(expected) {
            let said = scene.check(class, &before, &registry).await;
            assert_eq!(said, expected, "{} at {} s", class.name, (now_ms - at_ms(4)) / SECOND_MS);
        }
    }

    // Refreshed, the gate refuses the credential, and the file of before, however young.
    now.store(at_ms(4) + MINUTE_MS, Ordering::SeqCst);
    for class in CLASSES.iter().filter(|class| matches!(class.way, Way::Offline)) {
        assert_eq!(scene.of_file(&after, class, 4), Ok(Revoked), "{}", class.name);
        let below = VerifyError::BelowMinHeight { height: 3, min_height: 4 };
        assert_eq!(scene.of_file(&before, class, 4), Err(StapleError::Header(below)));
    }
}
