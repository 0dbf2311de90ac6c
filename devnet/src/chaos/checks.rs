//! What must hold: while too many are gone, and in the end.

use super::Site;
use super::report::ChaosReport;
use super::traffic::{Promise, Traffic};
use crate::kill_test::chain_of;
use crate::reader::Reader;
use crate::status;
use anyhow::{Context as _, ensure};
use futures::StreamExt as _;
use sillok_client::verify::Asked;
use sillok_did_method::verify_ed25519;
use sillok_ledger::certificate::{precommit_string, prevote_string, proposal_string};
use sillok_ledger::{header_hash, proof};
use sillok_proto::v1::ledger_client::LedgerClient;
use sillok_proto::{Hash, v1};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long the nodes have to be at one height after the last write.
const SETTLE_PATIENCE: Duration = Duration::from_secs(60);
/// Reads under way at once.
const READS: usize = 8;

/// With too few for a quorum no height may be decided, and every answer must state its height and its age (A25).
pub(super) async fn no_quorum(
    site: &Site,
    traffic: &Traffic,
    alive: &[usize],
    last_block: Duration,
    lasts: Duration,
) -> anyhow::Result<String> {
    tokio::time::sleep(last_block).await;
    let before = heights_of(site, alive).await?;
    let (began, written) = (Instant::now(), traffic.count());
    tokio::time::sleep(lasts.saturating_sub(last_block)).await;
    let stood = began.elapsed();
    let promise = traffic.promises().first().cloned().context("nothing was written yet")?;
    let mut ages = Vec::new();
    for (place, height) in alive.iter().zip(&before) {
        let node = &site.devnet.nodes[*place];
        let reader = Reader::fresh(&site.devnet, &node.grpc)?;
        let answer = reader.client.resolve(&promise.did, Asked::Current).await?.answer;
        ensure!(
            answer.height() == *height,
            "{} answers for height {}, and stands at {height}",
            node.name,
            answer.height()
        );
        let age = Duration::from_millis(answer.age_ms());
        ensure!(age >= stood, "{} states an age of {age:?} after {stood:?}", node.name);
        ages.push(age.as_secs_f64());
    }
    ensure!(heights_of(site, alive).await? == before, "a height was decided without a quorum");
    // An acknowledgment may still be on its way when the last block is there; none may come later.
    ensure!(traffic.count() == written, "a write was acknowledged without a quorum");
    let oldest = ages.into_iter().fold(0.0, f64::max);
    Ok(format!("stood still, answers stated {oldest:.1} s"))
}

async fn heights_of(site: &Site, places: &[usize]) -> anyhow::Result<Vec<u64>> {
    let mut heights = Vec::with_capacity(places.len());
    for place in places {
        heights.push(status::ask(&site.devnet.nodes[*place].grpc).await?.height);
    }
    Ok(heights)
}

/// The rounds in which the heights from `first` to `last` were decided.
pub(super) async fn rounds(site: &Site, first: u64, last: u64) -> anyhow::Result<Vec<u32>> {
    let node = site.devnet.nodes.first().context("there is no node")?;
    let mut client = LedgerClient::new(status::connect(&node.grpc).await?);
    let mut rounds = Vec::new();
    for height in first..=last {
        let block = client.get_block(v1::GetBlockRequest { height }).await?.into_inner();
        let certificate = block.signed_header.and_then(|signed| signed.certificate);
        rounds.push(certificate.with_context(|| format!("no block {height}"))?.round);
    }
    Ok(rounds)
}

/// What a node wrote down against validators from a height on: their keys, each piece checked as anybody can.
async fn accused(site: &Site, place: usize, from_height: u64) -> anyhow::Result<Vec<Vec<u8>>> {
    let genesis_hash = crate::reader::genesis_hash(&site.devnet)?;
    let node = &site.devnet.nodes[place];
    let mut client = LedgerClient::new(status::connect(&node.grpc).await?)
        .max_decoding_message_size(16 * 1024 * 1024);
    let (mut accused, mut from_height) = (Vec::new(), from_height.max(1));
    while from_height > 0 {
        let request = v1::GetEvidenceRequest { from_height, count: 0 };
        let page = client.get_evidence(request).await?.into_inner();
        for recorded in page.evidence {
            let holds = holds(&genesis_hash, &recorded).unwrap_or(false);
            ensure!(holds, "{} accuses without a proof at height {}", node.name, recorded.height);
            accused.push(recorded.validator);
        }
        from_height = page.next_height;
    }
    Ok(accused)
}

/// Are these two signatures of one validator over two statements of one height, round and step?
fn holds(genesis_hash: &Hash, recorded: &v1::RecordedEvidence) -> Option<bool> {
    use v1::evidence::Evidence;
    let signed = |message: &[u8], signature: &[u8]| {
        verify_ed25519(&recorded.validator, message, signature).is_ok()
    };
    match recorded.evidence.as_ref()?.evidence.as_ref()? {
        Evidence::Votes(pair) => {
            let (first, second) = (pair.first.as_ref()?, pair.second.as_ref()?);
            let (a, b) = (first.statement.as_ref()?, second.statement.as_ref()?);
            let precommit = first.r#type == i32::from(v1::VoteType::Precommit);
            let string = if precommit { precommit_string } else { prevote_string };
            let same = first.r#type == second.r#type && (a.height, a.round) == (b.height, b.round);
            Some(
                same && a != b
                    && signed(&string(genesis_hash, a), &first.signature)
                    && signed(&string(genesis_hash, b), &second.signature),
            )
        }
        Evidence::Proposals(pair) => {
            let (first, second) = (pair.first.as_ref()?, pair.second.as_ref()?);
            let (a, b) = (first.statement.as_ref()?, second.statement.as_ref()?);
            Some(
                (a.height, a.round) == (b.height, b.round)
                    && a != b
                    && signed(&proposal_string(genesis_hash, a), &first.signature)
                    && signed(&proposal_string(genesis_hash, b), &second.signature),
            )
        }
    }
}

/// Every validator but the traitors must have written down what they signed twice since `from_height`. Says how many pieces
/// there are.
pub(super) async fn convicted(
    site: &Site,
    traitors: &[usize],
    from_height: u64,
) -> anyhow::Result<usize> {
    let mut pieces = 0;
    let places = 0..site.devnet.nodes.len();
    for place in places.filter(|place| site.votes(*place) && !traitors.contains(place)) {
        let accused = accused(site, place, from_height).await?;
        for traitor in traitors {
            let key = hex::decode(&site.devnet.nodes[*traitor].validator_key)?;
            let against = accused.iter().filter(|accused| **accused == key).count();
            ensure!(
                against > 0,
                "{} has no evidence against {}",
                site.name(place),
                site.name(*traitor)
            );
            pieces += against;
        }
    }
    Ok(pieces)
}

/// Nobody may be accused who did not sign twice.
async fn falsely_accused(site: &Site, traffic: &Traffic) -> anyhow::Result<Vec<String>> {
    let traitors = traffic.traitors();
    let mut broken = Vec::new();
    for (place, node) in site.devnet.nodes.iter().enumerate() {
        for accused in accused(site, place, 1).await? {
            let accused = hex::encode(accused);
            let who = site.devnet.nodes.iter().position(|node| node.validator_key == accused);
            if !who.is_some_and(|who| traitors.contains(&who)) {
                broken.push(format!("{} accuses {accused}, which never signed twice", node.name));
            }
        }
    }
    Ok(broken)
}

/// Compares everything that all nodes have, with the traffic at rest.
pub(super) async fn check(site: &Site, traffic: &Traffic) -> anyhow::Result<ChaosReport> {
    settle(site).await?;
    let mut broken = site.supervisor.failures();
    broken.extend(traffic.wrong().into_iter().map(|what| format!("a wrong answer: {what}")));

    let chains = futures::future::try_join_all(site.devnet.nodes.iter().map(chain_of)).await?;
    let lowest = chains.iter().map(Vec::len).min().unwrap_or(0);
    let (first, others) = chains.split_first().context("there is no node")?;
    for (other, node) in others.iter().zip(site.devnet.nodes.iter().skip(1)) {
        // A header names the state root, so equal headers are equal states.
        if other[..lowest] != first[..lowest] {
            broken.push(format!("{} has other blocks than {}", node.name, site.name(0)));
        }
    }
    broken.extend(receipts(site, traffic, first).await?);
    broken.extend(falsely_accused(site, traffic).await?);

    let promises = traffic.promises();
    let mut present = 0;
    for node in &site.devnet.nodes {
        let reader = Reader::fresh(&site.devnet, &node.grpc)?;
        let missing = missing(&reader, &promises).await;
        present += promises.len() - missing.len();
        broken.extend(missing.into_iter().map(|what| format!("{}: {what}", node.name)));
    }
    Ok(ChaosReport {
        heights_checked: u64::try_from(lowest)?,
        promised: promises.len(),
        found: present,
        broken,
        reads_right: traffic.right.load(Ordering::Relaxed),
        ..ChaosReport::default()
    })
}

/// Waits until all are at one height.
async fn settle(site: &Site) -> anyhow::Result<()> {
    let deadline = Instant::now() + SETTLE_PATIENCE;
    let all: Vec<usize> = (0..site.devnet.nodes.len()).collect();
    loop {
        let heights = heights_of(site, &all).await;
        if let Ok(heights) = &heights
            && heights.windows(2).all(|pair| pair[0] == pair[1])
        {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the nodes do not meet at one height: {heights:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Every receipt must hold, and must be of the chain that all nodes have.
async fn receipts(site: &Site, traffic: &Traffic, chain: &[Hash]) -> anyhow::Result<Vec<String>> {
    let genesis_hash = crate::reader::genesis_hash(&site.devnet)?;
    let first = site.devnet.nodes.first().context("there is no node")?;
    let reader = Reader::fresh(&site.devnet, &first.grpc)?;
    let node = reader.client.connection().nodes().first().context("there is no node")?;
    // The set does not change in such a run.
    let set = reader.client.follow(node).await?.next_validators;
    let mut broken = Vec::new();
    for one in traffic.acknowledged() {
        let header = one.receipt.signed_header.as_ref().and_then(|signed| signed.header.clone());
        let header = header.unwrap_or_default();
        let there =
            usize::try_from(one.height).ok().and_then(|height| chain.get(height.checked_sub(1)?));
        let held = proof::verify_receipt(&genesis_hash, &one.receipt, &set);
        match held {
            Ok(held) if held.transaction_id == one.id && there == Some(&header_hash(&header)) => {}
            Ok(_) => broken.push(format!("the receipt of {} is of another chain", one.id)),
            Err(error) => broken.push(format!("the receipt of {} does not hold: {error}", one.id)),
        }
    }
    Ok(broken)
}

/// What is not at a node as it was promised.
async fn missing(reader: &Reader, promises: &[Promise]) -> Vec<String> {
    let looks = futures::stream::iter(promises.iter().cloned().map(|promise| {
        let reader = reader.clone();
        async move {
            match reader.client.resolve(&promise.did, Asked::Current).await {
                Ok(resolved) => match &resolved.answer.even_if_stale().version {
                    Some(version) if version.head.document_hash == promise.document_hash.0 => None,
                    Some(_) => Some(format!("{} has another document", promise.did)),
                    None => Some(format!("{} is proved not to exist", promise.did)),
                },
                Err(error) => Some(format!("{}: {error}", promise.did)),
            }
        }
    }));
    looks.buffer_unordered(READS).filter_map(std::future::ready).collect().await
}
