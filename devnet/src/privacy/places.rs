//! Where a person could leave a trace, and what else must hold of these places: nobody can ask about one credential or
//! one person (C4), a refresh after a move looks like any other (B15), and reads leave nothing behind (A24).

use super::life::World;
use super::{Found, Wanted};
use crate::directory::{Devnet, NodeEntry};
use crate::network;
use crate::reader::Reader;
use crate::status;
use anyhow::{Context as _, bail, ensure};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use sillok_client::private::read_request;
use sillok_client::verify::Asked;
use sillok_client::verify::moment::Moment;
use sillok_consensus::testing::Random;
use sillok_did_method::{EntryState, SUBMIT};
use sillok_ledger::TreeKey;
use sillok_ledger::status::{chunk_of, record_of};
use sillok_node::node::Layout;
use sillok_node::testing::Database;
use sillok_proto::v1::ledger_client::LedgerClient;
use sillok_proto::v1::private_status_client::PrivateStatusClient;
use sillok_proto::{encode, v1};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tonic::Code;
use tonic::codegen::http::uri::PathAndQuery;
use v1::operation::Operation as Kind;

/// The file to which a node of this run appends what it sends.
pub(super) const TAP: &str = "tap";
/// The file whose lines it logs.
pub(super) const LEAK: &str = "leak";

pub(super) const DATABASE: &str = "database";
pub(super) const DISK: &str = "disk";
pub(super) const LOG: &str = "log";
pub(super) const METRIC: &str = "metric";
/// What is served of members, whose DIDs stand there.
pub(super) const MEMBERS: &str = "members";
pub(super) const GOSSIP: &str = "gossip";

/// Bytes of a file that are searched at once, and how many of them again with the next.
const PIECE_BYTES: usize = 16 << 20;
const OVERLAP_BYTES: usize = 64;
/// How long a node stands still to see what it logs when nobody asks it anything.
const IDLE: Duration = Duration::from_secs(4);
/// Readers at once.
const READERS: usize = 8;

/// About how many transactions the lives of so many people take, for the bar.
pub(super) fn transactions_about(people: usize) -> u64 {
    (people / 40 * 6 + people / 10 + people / 60 + 20) as u64
}

/// Searches all that one node, which must not run, left on its disk.
pub(super) fn search_node(
    node: &NodeEntry,
    wanted: &Wanted,
) -> anyhow::Result<Vec<(&'static str, Found)>> {
    let mut database = Found::default();
    let data = Layout::new(&node.directory).data;
    Database::open(&data)?.visit(|_, key, value| {
        database.look(wanted, key);
        database.look(wanted, value);
    })?;
    let (mut log, mut gossip, mut disk) = (Found::default(), Found::default(), Found::default());
    search_file(&node.log, wanted, &mut log)?;
    search_file(&node.directory.join(TAP), wanted, &mut gossip)?;
    // Its settings and what it is told to leak are ours.
    let ours = [node.log.clone(), node.config.clone()]
        .into_iter()
        .chain([TAP, LEAK].map(|name| node.directory.join(name)))
        .collect::<BTreeSet<_>>();
    search_files(&node.directory, &ours, wanted, &mut disk)?;
    Ok(vec![(DATABASE, database), (LOG, log), (GOSSIP, gossip), (DISK, disk)])
}

fn search_files(
    directory: &Path,
    ours: &BTreeSet<std::path::PathBuf>,
    wanted: &Wanted,
    found: &mut Found,
) -> anyhow::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            search_files(&path, ours, wanted, found)?;
        } else if !ours.contains(&path) {
            search_file(&path, wanted, found)?;
        }
    }
    Ok(())
}

fn search_file(path: &Path, wanted: &Wanted, found: &mut Found) -> anyhow::Result<()> {
    let bytes = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut from = 0;
    while from < bytes.len() {
        let end = (from + PIECE_BYTES).min(bytes.len());
        found.look(wanted, &bytes[from..(end + OVERLAP_BYTES).min(bytes.len())]);
        from = end;
    }
    Ok(())
}

/// All that the nodes tell of themselves, as bytes and in words, and of their members and their evidence.
pub(super) async fn tell(devnet: &Devnet) -> anyhow::Result<Vec<(&'static str, Vec<u8>)>> {
    let mut told = Vec::new();
    for node in &devnet.nodes {
        let mut client = LedgerClient::connect(node.grpc.clone()).await?;
        let status = client.get_status(v1::GetStatusRequest {}).await?.into_inner();
        let members = client.get_members(v1::GetMembersRequest::default()).await?.into_inner();
        let evidence = client.get_evidence(v1::GetEvidenceRequest::default()).await?.into_inner();
        told.push((METRIC, encode(&status)));
        told.push((METRIC, format!("{status:?}").into_bytes()));
        told.push((MEMBERS, encode(&members)));
        told.push((MEMBERS, encode(&evidence)));
    }
    Ok(told)
}

/// Names of fields by which one credential or one person could be asked for.
const TELLING: [&str; 10] = [
    "index",
    "indexes",
    "entry",
    "entries",
    "handle",
    "holder",
    "subject",
    "person",
    "credential",
    "enrollment",
];

/// C4: nothing that is served to the public asks about one credential or one person; what is tried is refused. Returns
/// how many ways were tried.
pub(super) async fn no_query_about_one(devnet: &Devnet, world: &World) -> anyhow::Result<usize> {
    let mut tried = no_request_names_one()?;
    let node = devnet.nodes.first().context("the devnet has no node")?;
    let channel = status::connect(&node.grpc).await?;
    let one = world.people.get(1).context("there is nobody")?;
    // Methods that such a query would have.
    for service in ["StatusRegistry", "DidResolver", "TrustRegistry", "Ledger", "PrivateStatus"] {
        for method in ["GetEntry", "GetCredential", "ListCredentials", "FindByDid", "FindByHandle"]
        {
            let path = PathAndQuery::try_from(format!("/sillok.v1.{service}/{method}"))?;
            let mut client = tonic::client::Grpc::new(channel.clone());
            client.ready().await?;
            let codec = tonic_prost::ProstCodec::<v1::ResolveRequest, v1::ResolveResponse>::new();
            let did = one.holder.did.to_string();
            let request = v1::ResolveRequest { did, ..v1::ResolveRequest::default() };
            let answer = client.unary(tonic::Request::new(request), path, codec).await;
            match answer {
                Err(status) if status.code() == Code::Unimplemented => tried += 1,
                other => bail!("{service}.{method} answers {other:?}"),
            }
        }
    }
    // Leaves that say something of one person.
    let issuing = &world.issuing;
    let issuer = issuing.scene.registrar.did.digest();
    let list = issuing.lists.first().context("there is no list")?;
    let mut ledger = LedgerClient::new(channel.clone());
    for key in [
        TreeKey::enrollment(&issuer, &issuing.credential_type, one.handle.digest()),
        TreeKey::entry_record(list, record_of(one.index)),
        TreeKey::status_chunk(list, chunk_of(one.index).0),
    ] {
        let request = v1::GetStateRequest { keys: vec![key.0.to_vec()], ..Default::default() };
        let refused = ledger.get_state(request).await;
        ensure!(refused.is_err(), "a leaf that says something of one person is served");
        tried += 1;
    }
    // The issuer's own reads, by another organization.
    let reader = Reader::fresh(devnet, &node.grpc)?;
    reader.resolve(&issuing.scene.rival.did).await?;
    let trusted = reader.client.trusted();
    let rival = &issuing.scene.rival;
    let key = rival.newest_secret(SUBMIT).context("the rival has no key")?;
    let enrollment = v1::ReadEnrollment {
        issuer: issuer.to_vec(),
        r#type: issuing.credential_type.to_vec(),
        handle: one.handle.digest().to_vec(),
    };
    let entries = v1::ReadEntries { list: list.to_vec(), indexes: vec![one.index] };
    let ask = |read| {
        let header = (trusted.height, trusted.header_hash);
        read_request(&issuing.scene.genesis_hash, &rival.did.digest(), header, read, key)
    };
    let mut private = PrivateStatusClient::new(channel);
    let enrollment = ask(v1::read_statement::Read::Enrollment(enrollment))?;
    let entries = ask(v1::read_statement::Read::Entries(entries))?;
    for refused in
        [private.own_enrollment(enrollment).await.err(), private.own_entries(entries).await.err()]
    {
        let refused = refused.context("another organization reads what is the issuer's")?;
        let code = crate::submit::Refusal::of(&refused).map(|refusal| refusal.code);
        ensure!(
            code.as_deref() == Some("READ_NOT_ALLOWED"),
            "another organization is refused with {code:?}"
        );
        tried += 1;
    }
    Ok(tried)
}

/// Looks through the schema that nodes serve. Returns how many requests it has.
fn no_request_names_one() -> anyhow::Result<usize> {
    let files = FileDescriptorSet::decode(sillok_proto::DESCRIPTORS)?;
    let files = || files.file.iter().filter(|file| file.package() == "sillok.v1");
    let messages: BTreeMap<&str, _> =
        files().flat_map(|file| &file.message_type).map(|one| (one.name(), one)).collect();
    let mut requests = 0;
    for service in files().flat_map(|file| &file.service) {
        // Signed by those whose it is.
        if service.name() == "PrivateStatus" {
            continue;
        }
        for method in &service.method {
            let name = method.input_type().rsplit('.').next().unwrap_or_default();
            let request = messages.get(name).with_context(|| format!("{name} is not served"))?;
            for field in &request.field {
                let about_one = TELLING.contains(&field.name())
                    || (field.name() == "did" && service.name() != "DidResolver");
                ensure!(
                    !about_one,
                    "{}.{} asks for one {}",
                    service.name(),
                    method.name(),
                    field.name()
                );
            }
            requests += 1;
        }
    }
    ensure!(requests > 10, "the schema was not found");
    Ok(requests)
}

/// What was seen of refreshes.
pub(super) struct Refreshed {
    /// After a move, and others.
    pub(super) counts: (usize, usize),
    /// Smallest and largest public form.
    pub(super) public_bytes: (usize, usize),
    /// Smallest and largest private parts.
    pub(super) private_bytes: (usize, usize),
}

/// B15: all refreshes have one public form, but for what is drawn by lot or is a hash, and private parts of one length.
pub(super) async fn refreshes_look_alike(
    devnet: &Devnet,
    world: &World,
) -> anyhow::Result<Refreshed> {
    let node = devnet.nodes.first().context("the devnet has no node")?;
    let mut client =
        LedgerClient::connect(node.grpc.clone()).await?.max_decoding_message_size(64 * 1024 * 1024);
    let mut blocks: BTreeMap<u64, BTreeMap<Vec<u8>, v1::PublicTransaction>> = BTreeMap::new();
    let mut shapes: BTreeMap<Vec<u8>, BTreeSet<i32>> = BTreeMap::new();
    let (mut counts, mut public_bytes, mut private_bytes) = ((0, 0), Vec::new(), Vec::new());
    for refresh in &world.refreshes {
        let height = refresh.at.height;
        if let std::collections::btree_map::Entry::Vacant(entry) = blocks.entry(height) {
            let block = client.get_block(v1::GetBlockRequest { height }).await?.into_inner();
            let by_id = block.transactions.into_iter().map(|one| (one.transaction_id.clone(), one));
            entry.insert(by_id.collect());
        }
        let public = blocks
            .get(&height)
            .and_then(|block| block.get(refresh.at.transaction_id.0.as_slice()))
            .context("a refresh is not in its block")?;
        shapes.entry(shape(public)).or_default().insert(refresh.reason.into());
        public_bytes.push(public.encoded_len());
        private_bytes.push(private_len(&refresh.transaction));
        match refresh.reason {
            v1::Reason::AttributeChange => counts.0 += 1,
            _ => counts.1 += 1,
        }
    }
    ensure!(counts.0 > 0 && counts.1 > 0, "there are not both kinds of refresh");
    ensure!(
        shapes.len() == 1,
        "refreshes have {} public forms, so some can be told from others",
        shapes.len()
    );
    let private_bytes = least_and_most(&private_bytes);
    ensure!(private_bytes.0 == private_bytes.1, "private parts have several lengths");
    // The comparison sees a difference where there is one.
    let other = world.other.as_ref().context("nothing else happened")?;
    let other = v1::PublicTransaction {
        transaction_id: vec![0; 32],
        body: other.body.clone(),
        documents: other.documents.clone(),
        signatures: other.signatures.clone(),
        private_signatures_hash: vec![0; 32],
    };
    ensure!(!shapes.contains_key(&shape(&other)), "the end of an enrollment looks like a refresh");
    Ok(Refreshed { counts, public_bytes: least_and_most(&public_bytes), private_bytes })
}

fn least_and_most(all: &[usize]) -> (usize, usize) {
    (all.iter().min().copied().unwrap_or(0), all.iter().max().copied().unwrap_or(0))
}

/// Bytes of what is not public.
fn private_len(transaction: &v1::Transaction) -> usize {
    let contents: usize =
        transaction.private_contents.iter().map(prost::Message::encoded_len).sum();
    contents + transaction.private_signatures.as_ref().map_or(0, prost::Message::encoded_len)
}

/// The public form with everything blanked that is drawn by lot, is a hash or a signature, or is a time: lengths, counts
/// and all else stay.
fn shape(public: &v1::PublicTransaction) -> Vec<u8> {
    let blank = |bytes: &mut Vec<u8>| bytes.fill(0);
    let mut public = public.clone();
    blank(&mut public.transaction_id);
    blank(&mut public.private_signatures_hash);
    let body = public.body.get_or_insert_default();
    body.valid_until_ms = 1;
    for operation in &mut body.operations {
        match &mut operation.operation {
            Some(Kind::SetStatus(op)) => {
                blank(&mut op.content_hash);
                for (place, index) in (0..).zip(&mut op.indexes) {
                    *index = place;
                }
                op.grace_until_ms = op.grace_until_ms.min(1);
                op.invalid_from_ms = op.invalid_from_ms.min(1);
            }
            Some(Kind::SetEnrollment(op)) => blank(&mut op.content_hash),
            _ => {}
        }
    }
    let signatures = public.signatures.get_or_insert_default();
    for signature in signatures.submitter.iter_mut().chain(
        signatures.operations.iter_mut().flat_map(|operation| operation.signatures.iter_mut()),
    ) {
        blank(&mut signature.signature);
    }
    encode(&public)
}

/// What came of the reads.
pub(super) struct Reads {
    pub(super) reads: usize,
    /// What the node told of itself before and after.
    pub(super) told: Vec<(&'static str, Vec<u8>)>,
}

/// A family's keys and values, in number and in one hash.
fn digest(database: &Database) -> anyhow::Result<BTreeMap<String, (u64, blake3::Hash)>> {
    let mut families: BTreeMap<String, (u64, blake3::Hasher)> = BTreeMap::new();
    database.visit(|family, key, value| {
        let (count, hasher) = families.entry(family.to_owned()).or_default();
        *count += 1;
        for part in [key, value] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
    })?;
    Ok(families
        .into_iter()
        .map(|(name, (count, hasher))| (name, (count, hasher.finalize())))
        .collect())
}

/// Stops a node and says what its database holds.
async fn stopped(
    devnet: &mut Devnet,
    node: &NodeEntry,
) -> anyhow::Result<BTreeMap<String, (u64, blake3::Hash)>> {
    ensure!(network::stop(devnet, node.index)?, "{} did not stop by itself", node.name);
    let data = Layout::new(&node.directory).data;
    tokio::task::spawn_blocking(move || digest(&Database::open(&data)?)).await?
}

async fn started(devnet: &mut Devnet, node: &NodeEntry) -> anyhow::Result<v1::NodeStatus> {
    network::start(devnet, node.index)?;
    let deadline = tokio::time::Instant::now() + network::UP_PATIENCE;
    loop {
        match status::ask(&node.grpc).await {
            Ok(status) if !status.syncing => return Ok(status),
            other => ensure!(
                tokio::time::Instant::now() < deadline,
                "{} does not come up: {:?}",
                node.name,
                other.err()
            ),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The status without what counts, and without what goes on by itself.
fn settled(status: &v1::NodeStatus) -> v1::NodeStatus {
    v1::NodeStatus {
        counters: None,
        peers: Vec::new(),
        round: 0,
        validating: false,
        ..status.clone()
    }
}

/// A line of a log without its time and its numbers.
fn line_shape(line: &str) -> String {
    let after_time = line.split_once(' ').map_or(line, |(_, rest)| rest);
    after_time.chars().map(|one| if one.is_ascii_hexdigit() { '#' } else { one }).collect()
}

fn lines_from(path: &Path, from: usize) -> anyhow::Result<Vec<String>> {
    let bytes = fs::read(path)?;
    let text = String::from_utf8_lossy(bytes.get(from..).unwrap_or_default()).into_owned();
    Ok(text.lines().map(line_shape).collect())
}

/// A24: one node alone, so that nothing else happens, answers very many verified questions; its database is the same to
/// the last byte afterwards, it tells the same of itself but for counters, and it logged nothing that it does not log
/// when nobody asks.
pub(super) async fn reads_leave_no_trace(
    devnet: &mut Devnet,
    world: &World,
    reads: usize,
    random: &mut Random,
) -> anyhow::Result<Reads> {
    let alone = devnet.nodes.first().cloned().context("the devnet has no node")?;
    for node in devnet.nodes.clone().iter().skip(1) {
        ensure!(network::stop(devnet, node.index)?, "{} did not stop by itself", node.name);
    }
    let before = stopped(devnet, &alone).await?;
    started(devnet, &alone).await?;
    let from = fs::read(&alone.log)?.len();
    tokio::time::sleep(IDLE).await;
    let idle: BTreeSet<String> = lines_from(&alone.log, from)?.into_iter().collect();
    let unread = stopped(devnet, &alone).await?;
    ensure!(before == unread, "the database of a node that decides nothing changes by itself");

    let status_before = started(devnet, &alone).await?;
    let from = fs::read(&alone.log)?.len();
    let list = *world.issuing.lists.first().context("there is no list")?;
    let picks: Vec<usize> = (0..reads).map(|_| random.index(world.people.len())).collect();
    let mut readers = Vec::new();
    for picks in picks.chunks(reads.div_ceil(READERS).max(1)) {
        let reader = Reader::fresh(devnet, &alone.grpc)?;
        readers.push(async move {
            for pick in picks {
                let one = &world.people[*pick];
                let number = chunk_of(one.index).0;
                // The network stands still, so the answer may be old; it is proved all the same.
                let chunks = reader.client.chunks(&list, &[number], Moment::Tip).await?;
                let state = chunks.even_if_stale().entry(one.index)?.state;
                ensure!(
                    matches!(state, EntryState::Valid | EntryState::Invalid),
                    "a credential that was handed out is {state:?}"
                );
                let resolved = reader.client.resolve(&one.holder.did, Asked::Current).await?;
                let version = &resolved.answer.even_if_stale().version;
                ensure!(version.is_some(), "a holder is not found");
            }
            Ok(())
        });
    }
    futures::future::try_join_all(readers).await?;
    let status_after = status::ask(&alone.grpc).await?;
    ensure!(
        settled(&status_before) == settled(&status_after),
        "what the node tells of itself has changed"
    );
    let lines = lines_from(&alone.log, from)?;
    let new = lines.iter().filter(|line| !idle.contains(*line)).count();
    // What is logged once a minute may fall into the time of the reads; a line for one read in ten would be far more.
    ensure!(
        new < (reads / 10).max(12),
        "{new} lines are logged that are not logged when nobody asks, as: {}",
        lines.iter().find(|line| !idle.contains(*line)).cloned().unwrap_or_default()
    );
    let after = stopped(devnet, &alone).await?;
    ensure!(unread == after, "the database has changed");
    ensure!(before.values().any(|(count, _)| *count > 0), "the database is empty");
    let told = [status_before, status_after].map(|status| (METRIC, encode(&status))).to_vec();
    Ok(Reads { reads: 2 * reads, told })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c4_no_request_to_the_public_names_one_credential_or_one_person() {
        assert!(no_request_names_one().unwrap() > 20);
    }

    #[test]
    fn a_line_keeps_its_words_and_loses_its_time_and_numbers() {
        let line = |time: &str, height: u32| {
            line_shape(&format!("{time}  INFO node: event=\"sync\" height={height}"))
        };
        assert_eq!(line("2026-11-22T13:00:00Z", 17), line("2026-11-22T14:59:59Z", 94));
        assert_ne!(line("x", 1), line("x", 100_000));
    }
}
