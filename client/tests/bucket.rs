//! Resolving among others: what a node is told, what a bucket says, and every lie about one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use sillok_client::bucket::{K_MAX, K_MIN};
use sillok_client::identity::Identity;
use sillok_client::keys::{KeyAlgorithm, SecretKey};
use sillok_client::read::{Client, Clock, ReadError, ReadOptions};
use sillok_client::testing::{Lie, MemoryNetwork, Ministries, serve};
use sillok_client::transaction::{OperationDraft, Terms, TransactionBuilder};
use sillok_client::verify::bucket::Bucket;
use sillok_client::verify::{Answer, Asked, Policy, Verifier, VerifyError};
use sillok_did_method::{Did, SUBMIT};
use sillok_ledger::TreeKey;
use sillok_ledger::certificate::CertificateError;
use sillok_ledger::light::{LightError, TrustedHeader};
use sillok_ledger::snapshot::{Prefix, SnapshotError};
use sillok_proto::{Hash, encode, v1};
use std::sync::{Arc, Mutex};

const START_MS: u64 = 1_795_251_600_000;

/// A network and the holders on it, who are `count`; the last one is deactivated.
fn people(count: usize) -> (MemoryNetwork, Ministries, Vec<Identity>) {
    let (mut network, ministries) = MemoryNetwork::new("test", START_MS).unwrap();
    let registrar = &ministries.registrar;
    let genesis = *network.chain().hash();
    let mut holders = Vec::new();
    for (nth, size) in (1_u64..).zip((0..count).step_by(100).map(|from| (count - from).min(100))) {
        let time_ms = START_MS + nth * 1_000;
        let mut builder = TransactionBuilder::new(genesis, &registrar.did, time_ms + 60_000);
        let authority = || registrar.did.clone();
        let group: Vec<Identity> = (0..size)
            .map(|_| {
                Identity::holder("test", KeyAlgorithm::Ed25519, false, authority(), None).unwrap()
            })
            .collect();
        for holder in &group {
            builder = builder.push(OperationDraft::create(holder).unwrap(), Terms::NAMED);
        }
        let mut partly = builder.freeze();
        for (place, holder) in group.iter().enumerate() {
            partly.sign(place, &holder.keys[0].secret).unwrap();
        }
        let transaction = partly.submit(registrar.newest_secret(SUBMIT).unwrap()).unwrap();
        network.commit(time_ms, &[transaction]).unwrap();
        holders.extend(group);
    }
    let gone = holders.last().unwrap();
    let time_ms = START_MS + 60_000;
    let draft = OperationDraft::deactivate(&gone.did, &network.head_hash(&gone.did).unwrap());
    let mut partly = TransactionBuilder::new(genesis, &registrar.did, time_ms + 60_000)
        .push(draft, Terms::NAMED)
        .freeze();
    partly.sign(0, &gone.keys[0].secret).unwrap();
    let transaction = partly.submit(registrar.newest_secret(SUBMIT).unwrap()).unwrap();
    network.commit(time_ms, &[transaction]).unwrap();
    (network, ministries, holders)
}

fn key(did: &Did) -> TreeKey {
    TreeKey::did_head(&did.digest())
}

/// What a node is told: the prefixes and how many DIDs, and how many questions name one.
#[derive(Debug, Default)]
struct Told {
    buckets: Vec<(Prefix, u32)>,
    by_name: usize,
}

fn listening() -> (Arc<Mutex<Told>>, Lie) {
    let told = Arc::new(Mutex::new(Told::default()));
    let (of_buckets, of_names, of_histories) = (told.clone(), told.clone(), told.clone());
    let lie = Lie {
        bucket: Some(Arc::new(move |_, prefix, k, _| {
            of_buckets.lock().unwrap().buckets.push((*prefix, k));
        })),
        resolve: Some(Arc::new(move |_, _| of_names.lock().unwrap().by_name += 1)),
        history: Some(Arc::new(move |_, _| of_histories.lock().unwrap().by_name += 1)),
        ..Lie::default()
    };
    (told, lie)
}

fn client_of(address: &str, network: &MemoryNetwork) -> Client {
    let clock = Clock::new(|| START_MS + 61_000);
    let options = ReadOptions { clock, ..ReadOptions::default() };
    Client::in_memory(&[address], network.chain().clone()).unwrap().with_options(options)
}

#[tokio::test]
async fn b1_a_node_asked_for_a_did_among_others_learns_no_more_than_a_bucket() {
    let (network, ministries, holders) = people(300);
    let (told, lie) = listening();
    let door = serve(network.clone(), || 0, lie).await.unwrap();
    let client = client_of(&door.address.to_string(), &network);
    let by_name = serve(network.clone(), || 0, Lie::default()).await.unwrap();
    let by_name = client_of(&by_name.address.to_string(), &network);
    let nobody =
        Identity::holder("test", KeyAlgorithm::P256, false, ministries.registrar.did.clone(), None);
    let nobody = nobody.unwrap().did;
    let some = [&holders[0].did, &holders[7].did, &holders[299].did, &nobody];
    for did in some.into_iter().chain([&ministries.registrar.did]) {
        let among = client.resolve_among(did, K_MIN).await.unwrap();
        let expected = by_name.resolve(did, Asked::Current).await.unwrap();
        // The very same answer, absence and deactivation too.
        assert_eq!(among.answer.fresh().unwrap(), expected.answer.fresh().unwrap());
        assert_eq!(
            among.answer.fresh().unwrap().to_json(),
            expected.answer.fresh().unwrap().to_json()
        );
        assert!(among.dids >= K_MIN as usize && !among.all, "{}", among.dids);
    }
    let told = std::mem::take(&mut *told.lock().unwrap());
    assert_eq!(told.by_name, 0, "a question named a DID");
    // Once at random, with a margin; then one question for each, all of one width.
    let ((anywhere, margin), rest) = told.buckets.split_first().unwrap();
    assert_eq!((anywhere.bits(), *margin), (256, 4 * K_MIN));
    assert!(some.iter().all(|did| !anywhere.contains(&key(did))));
    assert_eq!(rest.len(), 5);
    let bits = rest[0].0.bits();
    assert!(bits > 4, "300 DIDs are more than four times {K_MIN}");
    for ((prefix, k), did) in rest.iter().zip(some) {
        assert_eq!((prefix.bits(), *k), (bits, K_MIN));
        assert!(prefix.contains(&key(did)));
        let others = holders.iter().filter(|one| prefix.contains(&key(&one.did))).count();
        assert!(others >= K_MIN as usize, "{others} DIDs are too few to hide among");
    }
}

#[tokio::test]
async fn b1_asked_again_with_another_number_a_did_is_hidden_by_the_narrowest_bucket_and_no_less() {
    let (network, _, holders) = people(300);
    let (told, lie) = listening();
    let door = serve(network.clone(), || 0, lie).await.unwrap();
    let address = door.address.to_string();
    let did = &holders[3].did;
    let client = client_of(&address, &network);
    for k in [K_MIN, 16, K_MIN, 64, K_MIN] {
        client.resolve_among(did, k).await.unwrap();
    }
    // A second client, with a width of its own.
    client_of(&address, &network).resolve_among(did, 16).await.unwrap();
    let told = std::mem::take(&mut *told.lock().unwrap());
    let of_did: Vec<_> =
        told.buckets.iter().filter(|(prefix, _)| prefix.bits() < 256).map(|one| one.0).collect();
    assert_eq!(of_did.len(), 6);
    // Within one client none is narrower than one before.
    let widths: Vec<u32> = of_did.iter().map(Prefix::bits).collect();
    assert!(widths[..5].windows(2).all(|pair| pair[1] <= pair[0]), "{widths:?}");
    // All that were asked for hold each other: together they say what the narrowest says alone.
    let narrowest = of_did.iter().max_by_key(|prefix| prefix.bits()).unwrap();
    let in_all =
        holders.iter().filter(|one| of_did.iter().all(|bucket| bucket.contains(&key(&one.did))));
    let in_narrowest = holders.iter().filter(|one| narrowest.contains(&key(&one.did))).count();
    assert_eq!(in_all.count(), in_narrowest);
    assert!(in_narrowest >= K_MIN as usize, "{in_narrowest}");
}

#[tokio::test]
async fn where_there_are_fewer_dids_than_wanted_all_are_asked_for() {
    let (network, ministries, _) = people(5);
    let door = serve(network.clone(), || 0, Lie::default()).await.unwrap();
    let client = client_of(&door.address.to_string(), &network);
    let found = client.resolve_among(&ministries.registrar.did, K_MAX).await.unwrap();
    // Five holders, two ministries, four operators.
    assert_eq!((found.dids, found.all), (11, true));
    for k in [0, K_MIN - 1, K_MAX + 1] {
        let refused = client.resolve_among(&ministries.registrar.did, k).await;
        assert!(matches!(refused, Err(ReadError::AmongHowMany { .. })));
    }
    let elsewhere = Did::new("elsewhere", ministries.registrar.did.digest()).unwrap();
    let refused = client.resolve_among(&elsewhere, K_MIN).await;
    assert!(matches!(refused, Err(ReadError::OtherNetwork(_))));
}

/// An honest answer about the bucket of somebody, and what a change of it is called.
struct Asking {
    network: MemoryNetwork,
    did: Did,
    asked: Prefix,
    k: u32,
}

impl Asking {
    fn new() -> Self {
        let (network, _, holders) = people(200);
        let did = holders[0].did.clone();
        let asked = Prefix::of(&key(&did), 256);
        Self { network, did, asked, k: 16 }
    }

    fn trusted(&self) -> TrustedHeader {
        let chain = self.network.chain();
        TrustedHeader::genesis(*chain.hash(), START_MS, chain.validators().clone()).unwrap()
    }

    fn honest(&self) -> v1::ResolveBucketResponse {
        self.network.bucket(&self.asked, self.k).unwrap()
    }

    fn check(&self, answer: &v1::ResolveBucketResponse) -> Result<Answer<Bucket>, VerifyError> {
        let (chain, trusted) = (self.network.chain(), self.trusted());
        let verifier = Verifier::new(chain, &trusted, Policy::at(START_MS + 61_000));
        verifier.bucket(&self.asked, self.k as usize, answer)
    }

    fn verdict(&self, lie: impl FnOnce(&mut v1::ResolveBucketResponse)) -> VerifyError {
        let mut answer = self.honest();
        lie(&mut answer);
        self.check(&answer).unwrap_err()
    }
}

fn leaves(answer: &mut v1::ResolveBucketResponse) -> &mut Vec<v1::SubtreeLeaf> {
    &mut answer.subtree.as_mut().unwrap().leaves
}

#[test]
fn b4_a_bucket_with_one_did_left_out_is_refused_whichever_it_is() {
    let asking = Asking::new();
    let count = leaves(&mut asking.honest()).len();
    assert!(count >= 16);
    for place in 0..count {
        let verdict = asking.verdict(|answer| {
            let leaf = leaves(answer).remove(place);
            let head: v1::Head = sillok_proto::decode(&leaf.value, 1024).unwrap();
            let named = |one: &v1::DidDocument| {
                sillok_did_method::document_hash(one).0.as_slice() == head.document_hash
            };
            answer.documents.retain(|one| !named(one));
        });
        assert_eq!(verdict, VerifyError::BucketIncomplete, "without leaf {place}");
    }
}

#[test]
fn b4_a_leaf_of_a_bucket_that_is_exchanged_changed_or_added_is_refused() {
    let asking = Asking::new();
    let swapped = asking.verdict(|answer| {
        let leaves = leaves(answer);
        let (first, second) = leaves.split_at_mut(1);
        std::mem::swap(&mut first[0].value, &mut second[0].value);
    });
    assert_eq!(swapped, VerifyError::BucketLeafExchanged { index: 0 });
    // A head of the liar's under its right key.
    let changed = asking.verdict(|answer| {
        let leaf = &mut leaves(answer)[2];
        let mut head: v1::Head = sillok_proto::decode(&leaf.value, 1024).unwrap();
        head.version += 1;
        leaf.value = encode(&head);
    });
    assert_eq!(changed, VerifyError::BucketIncomplete);
    // A DID that there is not, in order and under the prefix.
    let added = asking.verdict(|answer| {
        let subtree = answer.subtree.as_mut().unwrap();
        let prefix = Prefix::read(&subtree.prefix, subtree.prefix_bits).unwrap();
        let made_up = (0_u64..)
            .map(|n| Hash(std::array::from_fn(|at| n.to_le_bytes().get(at).copied().unwrap_or(7))))
            .find(|did| prefix.contains(&TreeKey::did_head(did)))
            .unwrap();
        let head = v1::Head { did: made_up.to_vec(), version: 1, ..v1::Head::default() };
        let key = TreeKey::did_head(&made_up).to_vec();
        subtree.leaves.push(v1::SubtreeLeaf { key, value: encode(&head) });
        subtree.leaves.sort_by(|a, b| a.key.cmp(&b.key));
    });
    assert_eq!(added, VerifyError::BucketIncomplete);
    let twice = asking.verdict(|answer| {
        let first = leaves(answer)[0].clone();
        leaves(answer).insert(0, first);
    });
    assert_eq!(twice, VerifyError::Bucket(SnapshotError::Order { index: 1 }));
}

#[test]
fn b4_a_bucket_of_another_prefix_is_refused() {
    let asking = Asking::new();
    let mut other = asking.asked.first();
    other.0[0] ^= 0x08;
    let elsewhere = asking.network.bucket(&Prefix::of(&other, 256), asking.k).unwrap();
    assert_eq!(asking.check(&elsewhere).unwrap_err(), VerifyError::BucketElsewhere);
    // Deeper than asked for, too, and one of another kind.
    let verdict = asking.verdict(|answer| answer.subtree.as_mut().unwrap().prefix_bits = 3);
    assert_eq!(verdict, VerifyError::BucketElsewhere);
    // A bucket has no answer for a DID of another.
    let (_, _, strangers) = people(20);
    let bucket = asking.check(&asking.honest()).unwrap();
    let outside =
        strangers.iter().find(|one| !bucket.even_if_stale().prefix().contains(&key(&one.did)));
    let verdict = bucket.even_if_stale().resolve(&outside.unwrap().did);
    assert_eq!(verdict, Err(VerifyError::BucketElsewhere));
}

#[test]
fn b4_a_bucket_with_too_few_that_was_not_made_wider_is_refused() {
    let asking = Asking::new();
    let narrow = asking.network.bucket(&asking.asked, 1).unwrap();
    let verdict = asking.check(&narrow).unwrap_err();
    assert!(matches!(verdict, VerifyError::BucketTooSmall { k: 16, .. }), "{verdict}");
    let wide = asking.network.bucket(&asking.asked, 100).unwrap();
    let verdict = asking.check(&wide).unwrap_err();
    assert!(matches!(verdict, VerifyError::BucketTooWide { k: 16, .. }), "{verdict}");
}

/// Were the verdict another for the DID that is meant, a liar would find it out by spoiling one document after another.
#[test]
fn b4_a_forged_or_missing_document_is_refused_whichever_did_is_meant() {
    let asking = Asking::new();
    let thief = SecretKey::generate(KeyAlgorithm::Ed25519).unwrap();
    let documents = asking.honest().documents.len();
    for place in 0..documents {
        let verdict = asking.verdict(|answer| {
            answer.documents[place].keys[0].key = Some(thief.public().clone());
        });
        assert_eq!(verdict, VerifyError::BucketDocument);
    }
    let bucket = asking.check(&asking.honest()).unwrap();
    assert!(bucket.even_if_stale().resolve(&asking.did).unwrap().version.is_some());
    // Neither does one that is left out tell whether it was meant.
    for place in 0..documents {
        let verdict = asking.verdict(|answer| {
            answer.documents.remove(place);
        });
        assert_eq!(verdict, VerifyError::DocumentMissing { version: 1 });
    }
}

#[test]
fn b4_a_bucket_without_a_certified_header_is_refused() {
    let asking = Asking::new();
    assert_eq!(asking.verdict(|answer| answer.signed_header = None), VerifyError::NoProof);
    assert_eq!(asking.verdict(|answer| answer.subtree = None), VerifyError::NoProof);
    let thin = asking.verdict(|answer| {
        let signed = answer.signed_header.as_mut().unwrap();
        signed.certificate.as_mut().unwrap().signatures.truncate(2);
    });
    let VerifyError::Light(LightError::Certificate { source, .. }) = thin else { panic!("{thin}") };
    assert!(matches!(source, CertificateError::NoQuorum { signatures: 2, .. }));
    // The bucket of today under the header of before.
    let old = asking.verdict(|answer| {
        answer.signed_header = asking.network.signed_header(1).cloned();
    });
    assert_eq!(old, VerifyError::BucketIncomplete);
}
