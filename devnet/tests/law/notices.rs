//! Notices: a consumer of the event stream that is killed again and again misses nothing, hears nothing twice in another
//! order, and hears of nothing that is not final.

use super::law::{block_on, desk, network};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sillok_client::keys::KeyAlgorithm::Ed25519;
use sillok_client::keys::SecretKey;
use sillok_client::read::TransactionState;
use sillok_devnet::console;
use sillok_devnet::desk::Desk;
use sillok_devnet::submit::{Outcome, Refusal};
use sillok_did_method::transaction_id;
use sillok_proto::v1::event::Event as Kind;
use sillok_proto::{Hash, v1};
use std::collections::BTreeSet;
use std::time::Duration;
use v1::Reason;

/// How often the consumer is killed.
const KILLS: usize = 100;
/// Changes meanwhile.
const CHANGES: u64 = 40;

type Position = (u64, u32, u32);

fn position(event: &v1::Event) -> Position {
    let cursor = event.cursor.unwrap();
    (cursor.height, cursor.transaction, cursor.operation)
}

async fn subscribe(desk: &Desk, node: usize, after: v1::Cursor) -> tonic::Streaming<v1::Event> {
    let mut client = desk.scene.nodes.client(node).unwrap();
    loop {
        // A node that is blocks behind the cursor says STALE.
        match client.subscribe(v1::SubscribeRequest { after: Some(after) }).await {
            Ok(events) => return events.into_inner(),
            Err(status) => assert_eq!(Refusal::of(&status).unwrap().code, "STALE"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Reservations, each for another person, and every fourth of them twice at two validators: then one is refused. Returns
/// the ids of both kinds.
async fn write(desk: Desk) -> (Vec<Hash>, Vec<Hash>) {
    let genesis = desk.scene.genesis_hash;
    let (mut done, mut refused) = (Vec::new(), Vec::new());
    for nth in 0..CHANGES {
        let person = desk.person(nth + 1).unwrap();
        let reserve = || {
            let step = Desk::reservation(1, &SecretKey::generate(Ed25519).unwrap());
            let deed = desk.enroll(&desk.issuer, person, &step, Reason::FirstIssue).unwrap();
            desk.transaction(&desk.scene.registrar, &[deed]).unwrap()
        };
        let node = usize::try_from(nth).unwrap();
        let transactions = if nth % 4 == 0 { vec![reserve(), reserve()] } else { vec![reserve()] };
        let sent = transactions
            .iter()
            .enumerate()
            .map(|(place, one)| desk.scene.nodes.try_once(&genesis, one, node + place));
        let outcomes = futures::future::try_join_all(sent).await.unwrap();
        for (transaction, outcome) in transactions.iter().zip(outcomes) {
            let id = transaction_id(&genesis, transaction.body.as_ref().unwrap());
            match outcome {
                Outcome::Committed(_) => done.push(id),
                Outcome::Refused(refusal) => {
                    assert_eq!(refusal.code, "STALE_NUMBER");
                    refused.push(id);
                }
                Outcome::Open(why) => panic!("{why}"),
            }
        }
    }
    (done, refused)
}

#[test]
fn a5_c7_a_consumer_killed_a_hundred_times_hears_of_each_final_change_in_order_and_of_nothing_else()
{
    let (network, _alone) = network();
    block_on(async {
        let desk = desk(network).await;
        let begin = desk.scene.nodes.height(0).await.unwrap();
        let start = v1::Cursor { height: begin, transaction: u32::MAX, operation: u32::MAX };
        let mut random = StdRng::seed_from_u64(5);
        let writer = tokio::spawn(write(desk.clone()));

        // What the consumer stored with its cursor. Each time it lives for a few events, at any node.
        let (mut stored, mut after) = (Vec::new(), start);
        for _ in 0..KILLS {
            let mut events = subscribe(&desk, random.random_range(0..4), after).await;
            for _ in 0..random.random_range(1..4) {
                let Ok(next) =
                    tokio::time::timeout(Duration::from_millis(300), events.message()).await
                else {
                    break;
                };
                let event = next.unwrap().unwrap();
                after = event.cursor.unwrap();
                stored.push(event);
            }
        }
        let (done, refused) = writer.await.unwrap();
        // To the end: the block after the last change.
        let last = desk.scene.nodes.height(0).await.unwrap();
        let mut events = subscribe(&desk, 3, after).await;
        while after.height < last || after.transaction != u32::MAX {
            let event = events.message().await.unwrap().unwrap();
            after = event.cursor.unwrap();
            stored.push(event);
        }
        assert!(stored.windows(2).all(|pair| position(&pair[0]) < position(&pair[1])), "in order");

        // Every node tells the same in one go.
        for node in 0..4 {
            let mut events = subscribe(&desk, node, start).await;
            for kept in &stored {
                let event = events.message().await.unwrap().unwrap();
                assert_eq!(&event, kept, "node {node} tells otherwise");
            }
        }
        // Each is of a transaction whose receipt is proved, at the place that the event names; and all are told.
        let reader = network.first_reader();
        let mut told = BTreeSet::new();
        for event in &stored {
            let Some(Kind::Status(status)) = &event.event else { continue };
            let id = Hash::from_slice(&event.transaction_id).unwrap();
            let TransactionState::Committed(committed) =
                reader.client.transaction(&id, Duration::ZERO).await.unwrap()
            else {
                panic!("an event of a transaction that is not final");
            };
            let receipt = &committed.receipt;
            assert_eq!(receipt.transaction_id, id);
            let at = (receipt.header.header().height, receipt.index);
            assert_eq!(at, (position(event).0, position(event).1));
            // Nothing in it is about a person but what the public form of the operation says.
            assert!(matches!(
                status.operation.as_ref().unwrap().operation,
                Some(v1::operation::Operation::SetEnrollment(_))
            ));
            told.insert(id);
        }
        assert_eq!(told, done.iter().copied().collect());
        assert!(refused.iter().all(|id| !told.contains(id)));
        assert_eq!((done.len(), refused.len()), (40, 10));
        console::note(format!(
            "{KILLS} kills; {} events in all, {} of them changes; {} refused and never told",
            stored.len(),
            told.len(),
            refused.len()
        ));
    });
}
