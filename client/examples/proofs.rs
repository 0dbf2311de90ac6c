//! How large proofs are and how long checking them takes: of one DID among many, of a stapled file, of a trust bundle.
//!
//! The tree is the ledger's own, grown in memory, leaf by leaf as blocks write them; headers are certified by as many keys
//! as there are validators; what is timed is the verifier that clients link. Sizes are of this protocol, times of this
//! machine and this run: beside each time stands that of the signatures alone, below which no check of them can be.
//!
//! ```sh
//! cargo run -p sillok-client --example proofs
//! cargo run -p sillok-client --example proofs -- --dids 1000 --validators 4 --json
//! ```

use clap::Parser;
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;
use sillok_client::keys::{KeyAlgorithm, SecretKey};
use sillok_client::verify::authority::Right;
use sillok_client::verify::staple::{Claim, Item, Staple};
use sillok_client::verify::{Asked, Network, Policy, Verifier};
use sillok_did_method::{
    DEVICE_RELATIONSHIPS, Did, Recovery, document_hash, inception, verify_ed25519,
};
use sillok_ledger::answer::chunk_keys;
use sillok_ledger::light::{TrustedHeader, follow};
use sillok_ledger::proof::value_hash;
use sillok_ledger::status::pending_chunk;
use sillok_ledger::tree::{self, NodeReader};
use sillok_ledger::{StateFault, TreeKey, header_hash, precommit_string, validator_set_hash};
use sillok_proto::{Hash, encode, v1};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Display;
use std::io::Write as _;
use std::time::{Duration, Instant};

const NETWORK: &str = "measured";
const GENESIS: Hash = Hash([7; 32]);
const START_MS: u64 = 1_795_251_600_000;
const DAY_MS: u64 = 24 * 3_600_000;
/// Leaves that one version of the tree writes: about what a block may.
const BATCH: u64 = 20_000;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn ensure(holds: bool, what: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(what.into()) }
}

/// Measure how large proofs are and how long checking them takes.
#[derive(Debug, Clone, Parser)]
struct Proofs {
    /// How many DIDs there are
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1000,1000000")]
    dids: Vec<u64>,
    /// How many validators certify
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "4,7,25")]
    validators: Vec<usize>,
    /// How many changes of validators a trust bundle has
    #[arg(long, value_name = "N", default_value_t = 100)]
    changes: u64,
    /// How often each check is timed; the middle of them is shown
    #[arg(long, value_name = "N", default_value_t = 21)]
    runs: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was measured with one number of DIDs and of validators.
#[derive(Debug, Clone, Serialize)]
struct Figures {
    /// DIDs in the tree.
    dids: u64,
    /// Validators that signed.
    validators: usize,
    /// The header with its certificate, in bytes.
    signed_header_bytes: usize,
    /// What one DID's leaf and its path add, in bytes.
    entry_bytes: usize,
    /// The whole answer to resolving one DID, with document, in bytes.
    answer_bytes: usize,
    /// The same of a DID that does not exist, in bytes.
    absence_bytes: usize,
    /// A stapled file of one document, one entry of a list and one right, in bytes.
    staple_bytes: usize,
    /// Checking the answer, in milliseconds.
    answer_ms: f64,
    /// Reading and checking the file, in milliseconds.
    staple_ms: f64,
    /// The certificate's signatures alone, in milliseconds.
    signatures_ms: f64,
}

/// What was measured of a trust bundle.
#[derive(Debug, Clone, Serialize)]
struct BundleFigures {
    /// Validators of each set.
    validators: usize,
    /// Changes of the set in it.
    changes: u64,
    /// Its length, in bytes.
    bundle_bytes: usize,
    /// Following it, in milliseconds.
    bundle_ms: f64,
    /// The signatures in it alone, in milliseconds.
    signatures_ms: f64,
}

/// Everything that was measured.
#[derive(Debug, Clone, Serialize)]
struct Report {
    /// Proofs, by DIDs and validators.
    proofs: Vec<Figures>,
    /// Trust bundles, by validators.
    bundles: Vec<BundleFigures>,
}

fn main() -> Result<()> {
    let arguments = Proofs::parse();
    let report = measure(&arguments)?;
    if arguments.json {
        return print(serde_json::to_string_pretty(&report)?);
    }
    let mut shown = table([
        "DIDs",
        "validators",
        "header",
        "leaf and path",
        "answer",
        "absence",
        "staple",
        "check answer",
        "check staple",
        "signatures alone",
    ]);
    for one in &report.proofs {
        shown.add_row([
            number(one.dids),
            number(one.validators),
            number(format!("{} B", one.signed_header_bytes)),
            number(format!("{} B", one.entry_bytes)),
            number(format!("{} B", one.answer_bytes)),
            number(format!("{} B", one.absence_bytes)),
            number(format!("{} B", one.staple_bytes)),
            number(format!("{:.2} ms", one.answer_ms)),
            number(format!("{:.2} ms", one.staple_ms)),
            number(format!("{:.2} ms", one.signatures_ms)),
        ]);
    }
    print(&shown)?;
    let mut shown = table(["trust bundle", "validators", "bytes", "check", "signatures alone"]);
    for one in &report.bundles {
        shown.add_row([
            number(format!("{} changes", one.changes)),
            number(one.validators),
            number(one.bundle_bytes),
            number(format!("{:.2} ms", one.bundle_ms)),
            number(format!("{:.2} ms", one.signatures_ms)),
        ]);
    }
    print(&shown)
}

fn print(text: impl Display) -> Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{text}")?)
}

fn table<const N: usize>(head: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(head);
    table
}

fn number(value: impl Display) -> Cell {
    Cell::new(value).set_alignment(CellAlignment::Right)
}

fn measure(arguments: &Proofs) -> Result<Report> {
    ensure(arguments.runs > 0, "--runs is at least 1")?;
    let mut report = Report { proofs: Vec::new(), bundles: Vec::new() };
    for dids in &arguments.dids {
        let state = State::grow(*dids)?;
        for validators in &arguments.validators {
            report.proofs.push(state.figures(*validators, arguments.runs)?);
        }
    }
    for validators in &arguments.validators {
        report.bundles.push(bundle(*validators, arguments.changes, arguments.runs)?);
    }
    Ok(report)
}

/// The middle of several times, each of which must succeed.
fn timed<T>(runs: usize, check: impl Fn() -> Result<T>) -> Result<f64> {
    let mut times = Vec::with_capacity(runs);
    for _ in 0..runs {
        let began = Instant::now();
        check()?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let middle = times.get(runs / 2).copied().unwrap_or(Duration::ZERO);
    Ok(middle.as_secs_f64() * 1_000.0)
}

// ------------------------------------------------------------------------------------------------- state

/// Nodes and values of the latest version.
#[derive(Default)]
struct Store {
    nodes: BTreeMap<Vec<u8>, Vec<u8>>,
    values: BTreeMap<TreeKey, Vec<u8>>,
}

impl NodeReader for Store {
    fn node(&self, key: &[u8]) -> std::result::Result<Option<Vec<u8>>, StateFault> {
        Ok(self.nodes.get(key).cloned())
    }

    fn value(&self, key: &TreeKey, _: u64) -> std::result::Result<Option<Vec<u8>>, StateFault> {
        Ok(self.values.get(key).cloned())
    }
}

impl Store {
    fn apply(&mut self, update: tree::TreeUpdate) {
        for key in &update.stale {
            self.nodes.remove(key);
        }
        self.nodes.extend(update.nodes);
        for (key, value) in update.values {
            self.values.extend(value.map(|value| (key, value)));
        }
    }
}

/// A state with many holders, one list and one right.
struct State {
    dids: u64,
    store: Store,
    version: u64,
    root: Hash,
    authority: Hash,
}

fn document(number: u64) -> v1::DidDocument {
    let point = value_hash(&number.to_be_bytes()).to_vec();
    let key = v1::PublicKey { algorithm: v1::Algorithm::Ed25519.into(), point };
    let bound = v1::BoundKey { key: Some(key), relationships: DEVICE_RELATIONSHIPS, expires_ms: 0 };
    v1::DidDocument { keys: vec![bound], ..v1::DidDocument::default() }
}

/// The first version of a holder, as `create` writes it.
fn head(authority: &Hash, number: u64) -> (Hash, v1::Head) {
    let document = document(number);
    let kind = v1::Kind::Holder;
    let inception = inception(kind, &document, Some(authority), &Recovery::None);
    let did = sillok_did_method::inception_digest(&inception);
    let head = v1::Head {
        did: did.to_vec(),
        kind: kind.into(),
        version: 1,
        document_hash: document_hash(&document).to_vec(),
        authority: authority.to_vec(),
        created_ms: START_MS,
        height: number / BATCH + 1,
        time_ms: START_MS,
        actor: v1::Actor::Controller.into(),
        ..v1::Head::default()
    };
    (did, head)
}

const LIST: Hash = Hash([3; 32]);
const TYPE: Hash = Hash([4; 32]);

/// A list of which half a chunk was issued at places that nobody can foresee, and who may issue on it.
fn registry(authority: &Hash) -> BTreeMap<TreeKey, Vec<u8>> {
    let list = v1::StatusList {
        issuer: authority.to_vec(),
        r#type: TYPE.to_vec(),
        capacity: 131_072,
        max_age_s: 300,
        created_ms: START_MS,
    };
    let mut states = pending_chunk();
    for (place, byte) in (0_u64..).zip(&mut states) {
        let drawn = value_hash(&place.to_le_bytes()).0[0];
        *byte = (if drawn & 1 == 0 { 0 } else { 3 }) | (if drawn & 2 == 0 { 0 } else { 0x30 });
    }
    let period = v1::Period { from_ms: START_MS, ..v1::Period::default() };
    let kind = v1::Kind::Organization.into();
    let active = v1::Head { did: authority.to_vec(), kind, version: 1, ..v1::Head::default() };
    BTreeMap::from([
        (TreeKey::did_head(authority), encode(&active)),
        (TreeKey::status_list(&LIST), encode(&list)),
        (TreeKey::status_chunk(&LIST, 0), encode(&v1::StatusChunk { states })),
        (
            TreeKey::grant(authority, v1::Action::Issue, &TYPE.0),
            encode(&v1::Grant { periods: vec![period] }),
        ),
    ])
}

impl State {
    fn grow(dids: u64) -> Result<Self> {
        ensure(dids > 0, "a tree has at least one DID")?;
        let authority = Hash([5; 32]);
        let mut store = Store::default();
        let update = tree::update(&store, 0, &registry(&authority))?;
        store.apply(update);
        let (mut version, mut number, mut root) = (0, 0, Hash::default());
        while number < dids {
            let until = number.saturating_add(BATCH).min(dids);
            let leaves = (number..until)
                .map(|number| {
                    let (did, head) = head(&authority, number);
                    (TreeKey::did_head(&did), encode(&head))
                })
                .collect();
            version += 1;
            let update = tree::update(&store, version, &leaves)?;
            root = update.root;
            store.apply(update);
            number = until;
        }
        Ok(Self { dids, store, version, root, authority })
    }

    fn prove(&self, keys: &[TreeKey]) -> Result<Vec<v1::StateEntry>> {
        let prove = |key: &TreeKey| -> Result<v1::StateEntry> {
            Ok(tree::prove(&self.store, self.version, key)?)
        };
        keys.iter().map(prove).collect()
    }

    fn figures(&self, validators: usize, runs: usize) -> Result<Figures> {
        let keys = keys(validators)?;
        let set = set_of(&keys);
        let header = header(self.version + 1, &set, &set, self.root);
        let signed_header = sign(&header, &keys)?;
        let network = Network {
            name: NETWORK.to_owned(),
            genesis_hash: GENESIS,
            trusting_period_ms: 30 * DAY_MS,
        };
        let trusted = TrustedHeader::genesis(GENESIS, START_MS, set)?;
        let policy = Policy { max_age_ms: DAY_MS, ..Policy::at(header.time_ms + 1_000) };

        // A DID in the middle: which one makes no difference of more than a sibling or two.
        let number = self.dids / 2;
        let (digest, head) = head(&self.authority, number);
        let did = Did::new(NETWORK, digest)?;
        let entries = self.prove(&[TreeKey::did_head(&digest)])?;
        let entry_bytes = entries.iter().map(prost::Message::encoded_len).sum();
        let proof =
            v1::StateProof { signed_header: Some(signed_header.clone()), entries: entries.clone() };
        let answer = v1::ResolveResponse {
            proof: Some(proof),
            heads: vec![head.clone()],
            document: Some(document(number)),
            resolution_json: String::new(),
        };
        let answer_ms = timed(runs, || {
            let verifier = Verifier::of(&network, &trusted, policy);
            let found = verifier.resolution(&did, Asked::Current, &answer)?;
            ensure(found.fresh()?.version.is_some(), "the DID is there")
        })?;
        let absent = self.prove(&[TreeKey::did_head(&Hash([9; 32]))])?;
        let absence =
            v1::StateProof { signed_header: Some(signed_header.clone()), entries: absent };

        let right =
            Right { organization: self.authority, action: v1::Action::Issue, resource: Some(TYPE) };
        let grant = TreeKey::grant(&self.authority, v1::Action::Issue, &TYPE.0);
        let bare = v1::StateProof { signed_header: None, entries };
        let claims = [
            Claim::Document {
                did,
                answer: Box::new(v1::ResolveResponse { proof: Some(bare), ..answer.clone() }),
            },
            Claim::Entries {
                list: LIST,
                indexes: vec![5],
                leaves: self.prove(&chunk_keys(&LIST, &[0]))?,
            },
            Claim::Right {
                right,
                leaves: self.prove(&[grant, TreeKey::did_head(&self.authority)])?,
            },
        ];
        let items = claims.map(|claim| Item { height: header.height, claim }).to_vec();
        let staple = Staple {
            genesis_hash: GENESIS,
            signed_header: signed_header.clone(),
            light_blocks: Vec::new(),
            items,
        };
        let file = staple.to_bytes()?;
        let staple_ms = timed(runs, || {
            let read = Staple::from_bytes(&file)?;
            let answer = read.verify(&network, &trusted, policy)?;
            ensure(answer.fresh()?.len() == 3, "there are three answers")
        })?;
        Ok(Figures {
            dids: self.dids,
            validators,
            signed_header_bytes: encode(&signed_header).len(),
            entry_bytes,
            answer_bytes: encode(&answer).len(),
            absence_bytes: encode(&absence).len(),
            staple_bytes: file.len(),
            answer_ms,
            staple_ms,
            signatures_ms: timed(runs, || check_signatures(&signed_header, &keys))?,
        })
    }
}

// ----------------------------------------------------------------------------------------------- headers

fn keys(count: usize) -> Result<Vec<SecretKey>> {
    let mut keys = (0..count)
        .map(|_| SecretKey::generate(KeyAlgorithm::Ed25519))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    keys.sort_by(|a, b| a.public().point.cmp(&b.public().point));
    Ok(keys)
}

fn set_of(keys: &[SecretKey]) -> v1::ValidatorSet {
    let validators = keys
        .iter()
        .map(|key| v1::Validator {
            public_key: key.public().point.clone(),
            organization: value_hash(&key.public().point).to_vec(),
            since_height: 0,
        })
        .collect();
    v1::ValidatorSet { validators }
}

fn header(height: u64, set: &v1::ValidatorSet, next: &v1::ValidatorSet, root: Hash) -> v1::Header {
    v1::Header {
        protocol_version: 1,
        genesis_hash: GENESIS.to_vec(),
        height,
        time_ms: START_MS + height * 1_000,
        parent_hash: vec![1; 32],
        transactions_root: vec![2; 32],
        state_root: root.to_vec(),
        history_root: vec![3; 32],
        validator_set_hash: validator_set_hash(set).to_vec(),
        next_validator_set_hash: validator_set_hash(next).to_vec(),
        proposer: set.validators.first().map(|one| one.public_key.clone()).unwrap_or_default(),
    }
}

/// Certified by all: what is usual, and the most that there is to check.
fn sign(header: &v1::Header, keys: &[SecretKey]) -> Result<v1::SignedHeader> {
    let header_hash = header_hash(header).to_vec();
    let statement =
        v1::VoteStatement { height: header.height, round: 0, header_hash: header_hash.clone() };
    let string = precommit_string(&GENESIS, &statement);
    let signatures = (0..)
        .zip(keys)
        .map(|(validator, key)| {
            Ok(v1::CommitSignature { validator, signature: key.sign(&string)?.to_vec() })
        })
        .collect::<Result<_>>()?;
    let certificate =
        v1::CommitCertificate { height: header.height, round: 0, header_hash, signatures };
    Ok(v1::SignedHeader { header: Some(header.clone()), certificate: Some(certificate) })
}

/// What every check has to do at least.
fn check_signatures(signed: &v1::SignedHeader, keys: &[SecretKey]) -> Result<()> {
    let certificate = signed.certificate.as_ref().ok_or("the header is certified")?;
    let statement = v1::VoteStatement {
        height: certificate.height,
        round: certificate.round,
        header_hash: certificate.header_hash.clone(),
    };
    let string = precommit_string(&GENESIS, &statement);
    for (one, key) in certificate.signatures.iter().zip(keys) {
        verify_ed25519(&key.public().point, &string, &one.signature)?;
    }
    Ok(())
}

/// Two sets that take turns at every second height, so that none follows on its parent.
fn bundle(validators: usize, changes: u64, runs: usize) -> Result<BundleFigures> {
    let sets = [keys(validators)?, keys(validators)?];
    let turn = |number: u64| if number.is_multiple_of(2) { &sets[0] } else { &sets[1] };
    let mut light_blocks = Vec::new();
    for number in 0..changes {
        let (now, next) = (turn(number), turn(number + 1));
        let header = header(2 * (number + 1), &set_of(now), &set_of(next), Hash([4; 32]));
        light_blocks.push(v1::LightBlock {
            signed_header: Some(sign(&header, now)?),
            next_validators: Some(set_of(next)),
        });
    }
    let bundle = v1::TrustBundle { light_blocks };
    let trusted = TrustedHeader::genesis(GENESIS, START_MS, set_of(turn(0)))?;
    let last = 2 * changes;
    let now_ms = START_MS + last * 1_000;
    let bundle_ms = timed(runs, || {
        let reached = follow(&GENESIS, &trusted, &bundle, now_ms, 30 * DAY_MS)?;
        ensure(reached.height == last, "the bundle leads to its last height")
    })?;
    let signatures_ms = timed(runs, || {
        for (number, block) in (0..).zip(&bundle.light_blocks) {
            let signed = block.signed_header.as_ref().ok_or("a light block has its header")?;
            check_signatures(signed, turn(number))?;
        }
        Ok(())
    })?;
    let bundle_bytes = encode(&bundle).len();
    Ok(BundleFigures { validators, changes, bundle_bytes, bundle_ms, signatures_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The command itself, small: everything that it times holds, and sizes go the way they must.
    #[test]
    fn what_is_measured_holds_and_grows_with_dids_and_validators() {
        let arguments = Proofs {
            dids: vec![20, 2_000],
            validators: vec![1, 4],
            changes: 3,
            runs: 1,
            json: true,
        };
        let report = measure(&arguments).unwrap();
        let [few_one, few_four, many_one, many_four] = report.proofs.as_slice() else { panic!() };
        assert!(few_one.signed_header_bytes + 3 * 64 < few_four.signed_header_bytes);
        assert_eq!(few_four.signed_header_bytes, many_four.signed_header_bytes);
        assert!(few_one.entry_bytes < many_one.entry_bytes, "a longer path");
        for one in &report.proofs {
            assert!(one.entry_bytes + one.signed_header_bytes < one.answer_bytes);
            assert!(one.staple_bytes < 16 * 1024, "{one:?}");
            assert!(one.signatures_ms > 0.0, "{one:?}");
        }
        let [one, four] = report.bundles.as_slice() else { panic!() };
        assert!(one.bundle_bytes < four.bundle_bytes);
    }
}
