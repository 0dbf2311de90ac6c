//! Runs of the Tendermint model, replayed through whole hosts.
//!
//! `traces/*.ev` come from Malachite's Quint model of Tendermint, one step a line: `node ; input ; output ; height round step`,
//! heights from 0. What each correct node says in the model, its host must say: no vote, proposal or decision may
//! contradict. Where a host says it at another step, or says more, is named here and nothing else is allowed:
//!
//! - *Own votes count at once.* The model delivers a node's own messages to it as a step; the core counts them when it signs.
//!   Such steps are left out. A host may decide a step before the model does, and then votes no more in later rounds.
//! - *Old votes are pruned.* After a lock the core forgets votes of earlier rounds. A proposal with a proof-of-lock round
//!   before that lock waits for the propose timeout, where the model prevotes nil at once ([`PRUNED`]).
//! - *A height is begun before it is heard.* The model collects votes at round −1, as internal steps that the trace does not
//!   spell out, and may decide without ever starting. A host is started then and told the votes spoken so far.
//! - *An invalid proposal is no proposal.* The model prevotes nil on seeing it; a host never hands it to the core, and the
//!   propose timeout makes it prevote nil. The replay fires that timeout.
//! - *Steps that end a trace.* A model run may stop before a vote that follows from what was delivered; then the host has
//!   said more.

#![allow(clippy::print_stdout, reason = "figures, for who runs this with --nocapture")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of a test fails the test")]

use sillok_consensus::testing::{KeyedHash, KeyedHashSigner};
use sillok_consensus::{
    Action, Event, HeightStart, Host, HostConfig, Peer, Signer, SigningRecord, Timeouts, TimerId,
    ValidationId, ValidatorKey, Verdict,
};
use sillok_ledger::{header_hash, precommit_string, prevote_string, proposal_string};
use sillok_proto::v1::consensus_message::Message;
use sillok_proto::{Hash, v1};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const GENESIS: Hash = Hash([1; 32]);
const NOW_MS: u64 = 1_800_000_000_000;
const PEER: Peer = Peer([99; 32]);

/// Prevotes of nil that come at the propose timeout, which these traces do not reach.
const PRUNED: [(&str, &str, (u64, u32)); 2] = [
    ("line32Test.line32LockedTest_1.ev", "v2", (0, 2)),
    ("line32Test.line32LockedTest_1.ev", "v3", (0, 2)),
];

/// Each kind of timeout has a length of its own, by which the replay finds it.
const PROPOSE_MS: u64 = 1_000_000;
const PREVOTE_MS: u64 = 2_000_000;
const PRECOMMIT_MS: u64 = 3_000_000;

/// What a node said, or was to say, by value name.
#[derive(Debug, Default)]
struct Said {
    /// By height, round and type.
    votes: BTreeMap<(u64, u32, String), String>,
    /// By height and round, with the proof-of-lock round.
    proposals: BTreeMap<(u64, u32), (String, i64)>,
    decisions: BTreeMap<u64, String>,
    /// In which round a height was decided.
    decided_in: BTreeMap<u64, u32>,
}

/// The values of a trace, by height and name.
struct Values {
    proposers: BTreeMap<(u64, String), usize>,
}

impl Values {
    fn of(steps: &[Vec<&str>], names: &[&str]) -> Self {
        let mut proposers = BTreeMap::new();
        for step in steps {
            for part in [step[1], step[2]] {
                let words: Vec<&str> = part.split(' ').collect();
                if let ["proposal", height, _, source, value, _] = words[..] {
                    let at = names.iter().position(|name| *name == source).unwrap();
                    proposers.entry((number(height), value.to_owned())).or_insert(at);
                }
            }
        }
        Self { proposers }
    }

    /// A block in place of a value. Who built it is part of it.
    fn block(&self, height: u64, name: &str) -> v1::Block {
        let proposer = self.proposers.get(&(height, name.to_owned())).copied().unwrap_or(0);
        let mut root = [0; 32];
        root[..name.len()].copy_from_slice(name.as_bytes());
        let header = v1::Header {
            protocol_version: 1,
            genesis_hash: GENESIS.to_vec(),
            height: height + 1,
            time_ms: NOW_MS,
            parent_hash: vec![2; 32],
            transactions_root: root.to_vec(),
            proposer: key(proposer).to_vec(),
            ..v1::Header::default()
        };
        v1::Block { header: Some(header), transactions: Vec::new() }
    }

    fn hash(&self, height: u64, name: &str) -> Vec<u8> {
        if name == "nil" {
            return Vec::new();
        }
        header_hash(self.block(height, name).header.as_ref().unwrap()).to_vec()
    }

    fn name(&self, height: u64, hash: &[u8]) -> String {
        if hash.is_empty() {
            return "nil".to_owned();
        }
        let names = self.proposers.keys().map(|(_, name)| name.clone());
        names.into_iter().find(|name| self.hash(height, name) == hash).unwrap()
    }
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().ok().unwrap()
}

fn key(index: usize) -> [u8; 32] {
    [u8::try_from(index).unwrap() + 1; 32]
}

fn sign(index: usize, message: &[u8]) -> Vec<u8> {
    KeyedHashSigner::new(key(index)).sign(message).to_vec()
}

fn vote(values: &Values, names: &[&str], words: &[&str]) -> v1::SignedVote {
    let [kind, height, round, source, value] = words[..] else { panic!("{words:?}") };
    let by = names.iter().position(|name| *name == source).unwrap();
    let height: u64 = number(height);
    let header_hash = values.hash(height, value);
    let statement = v1::VoteStatement { height: height + 1, round: number(round), header_hash };
    let (vote_type, string) = match kind {
        "Prevote" => (v1::VoteType::Prevote, prevote_string(&GENESIS, &statement)),
        _ => (v1::VoteType::Precommit, precommit_string(&GENESIS, &statement)),
    };
    v1::SignedVote {
        r#type: vote_type.into(),
        statement: Some(statement),
        validator: key(by).to_vec(),
        signature: sign(by, &string),
    }
}

struct Node<'a> {
    me: usize,
    names: &'a [&'a str],
    values: &'a Values,
    host: Option<Host>,
    timers: Vec<(TimerId, u64)>,
    said: Said,
    model: Said,
}

impl Node<'_> {
    fn start(&self, height: u64) -> HeightStart {
        let validator = |index| v1::Validator {
            public_key: key(index).to_vec(),
            organization: key(index).to_vec(),
            since_height: 0,
        };
        let count = self.names.len();
        let set = v1::ValidatorSet { validators: (0..count).map(validator).collect() };
        HeightStart {
            height: height + 1,
            parent_hash: Hash([2; 32]),
            parent_time_ms: NOW_MS - 1_000,
            validators: set.clone(),
            next_validators: set,
            // The model's: the second proposes in round 0, at every height.
            proposer_order: (0..count).map(|r| ValidatorKey(key((r + 1) % count))).collect(),
        }
    }

    fn boot(&mut self) {
        let mut config = HostConfig::new(GENESIS, Arc::new(KeyedHash));
        config.signer = Some(Arc::new(KeyedHashSigner::new(key(self.me))));
        config.heartbeat_ms = 0;
        config.timeouts = Timeouts {
            propose_ms: PROPOSE_MS,
            propose_delta_ms: 0,
            prevote_ms: PREVOTE_MS,
            prevote_delta_ms: 0,
            precommit_ms: PRECOMMIT_MS,
            precommit_delta_ms: 0,
            rebroadcast_ms: 9_000_000,
            max_ms: 10_000_000,
        };
        let record = SigningRecord::default();
        let (host, actions) = Host::new(config, &self.start(0), record, NOW_MS).unwrap();
        self.host = Some(host);
        self.carry_out(actions, Verdict::Valid);
    }

    /// Starts a height that was not started.
    fn begin(&mut self, height: u64) {
        match &self.host {
            None => self.boot(),
            Some(host) if host.status().height <= height => {
                let next = self.start(height);
                self.tell(Event::Committed { next }, Verdict::Valid);
            }
            Some(_) => {}
        }
    }

    fn tell(&mut self, event: Event, verdict: Verdict) {
        if let Some(host) = &mut self.host {
            let actions = host.handle(event, NOW_MS);
            self.carry_out(actions, verdict);
        }
    }

    fn message(&mut self, message: Message, verdict: Verdict) {
        let message = v1::ConsensusMessage { message: Some(message) };
        self.tell(Event::Message { peer: PEER, message }, verdict);
    }

    fn carry_out(&mut self, actions: Vec<Action>, verdict: Verdict) {
        let mut requests: Vec<ValidationId> = Vec::new();
        for action in actions {
            match action {
                Action::SetTimer { id, after_ms } => self.timers.push((id, after_ms)),
                Action::CancelTimer { id } => self.timers.retain(|timer| timer.0 != id),
                Action::Validate { request, .. } => requests.push(request),
                Action::Broadcast(message) => self.hear(message),
                Action::Decide { certificate, .. } => {
                    let height = certificate.height - 1;
                    let name = self.values.name(height, &certificate.header_hash);
                    self.said.decisions.insert(height, name);
                    self.said.decided_in.insert(height, certificate.round);
                }
                Action::PeerFault { reason, .. } => panic!("{reason}"),
                Action::Halt { reason } => panic!("{reason}"),
                Action::StopSigning { reason } => panic!("{reason}"),
                _ => {}
            }
        }
        for request in requests {
            self.tell(Event::Validated { request, verdict: verdict.clone() }, verdict.clone());
        }
    }

    /// What leaves must never contradict what left before.
    fn hear(&mut self, message: v1::ConsensusMessage) {
        match message.message {
            Some(Message::Vote(vote)) => {
                let statement = vote.statement.unwrap();
                let prevote = vote.r#type == i32::from(v1::VoteType::Prevote);
                let kind = if prevote { "Prevote" } else { "Precommit" };
                let height = statement.height - 1;
                let name = self.values.name(height, &statement.header_hash);
                let place = (height, statement.round, kind.to_owned());
                let before = self.said.votes.entry(place).or_insert(name.clone());
                assert_eq!(*before, name);
            }
            Some(Message::Proposal(proposal)) => {
                let statement = proposal.statement.unwrap();
                let height = statement.height - 1;
                let name = self.values.name(height, &statement.header_hash);
                let pol_round = i64::from(statement.pol_round) - 1;
                self.said.proposals.insert((height, statement.round), (name, pol_round));
            }
            _ => {}
        }
    }

    fn fire(&mut self, length_ms: u64) {
        let timer = self.timers.iter().rev().find(|timer| timer.1 == length_ms).copied();
        if let Some((id, _)) = timer {
            self.timers.retain(|timer| timer.0 != id);
            self.tell(Event::TimerFired(id), Verdict::Valid);
        }
    }

    fn step(&mut self, input: &str) {
        let words: Vec<&str> = input.split(' ').collect();
        match words[..] {
            ["start", height] => self.begin(number(height)),
            ["propose", value] => {
                let Some(status) = self.host.as_ref().map(Host::status) else { return };
                let block = Arc::new(self.values.block(status.height - 1, value));
                let (height, round) = (status.height, status.round.unwrap_or(0));
                self.tell(Event::Built { height, round, block }, Verdict::Valid);
            }
            ["proposal", height, round, source, value, pol_round] => {
                let by = self.names.iter().position(|name| *name == source).unwrap();
                if by == self.me {
                    return;
                }
                let height: u64 = number(height);
                let pol_round: i64 = number(pol_round);
                let statement = v1::ProposalStatement {
                    height: height + 1,
                    round: number(round),
                    header_hash: self.values.hash(height, value),
                    pol_round: u32::try_from(pol_round + 1).unwrap(),
                };
                let signature = sign(by, &proposal_string(&GENESIS, &statement));
                let proposal = v1::SignedProposal {
                    statement: Some(statement),
                    validator: key(by).to_vec(),
                    signature,
                    block: Some(self.values.block(height, value)),
                };
                if value == "invalid" {
                    let verdict = Verdict::Invalid { reason: "the model says so".to_owned() };
                    self.message(Message::Proposal(proposal), verdict);
                    self.fire(PROPOSE_MS);
                } else {
                    self.message(Message::Proposal(proposal), Verdict::Valid);
                }
            }
            ["vote", ref of @ ..] => {
                let vote = vote(self.values, self.names, of);
                if vote.validator != key(self.me) {
                    self.message(Message::Vote(vote), Verdict::Valid);
                }
            }
            ["timeout", kind] => self.fire(match kind {
                "ProposeTimeout" => PROPOSE_MS,
                "PrevoteTimeout" => PREVOTE_MS,
                _ => PRECOMMIT_MS,
            }),
            ["cert", ..] => self.certificate(input.strip_prefix("cert ").unwrap()),
            ["internal"] => {}
            _ => panic!("{input}"),
        }
    }

    fn certificate(&mut self, votes: &str) {
        let votes: Vec<v1::SignedVote> = votes
            .split(" | ")
            .map(|vote_text| {
                vote(self.values, self.names, &vote_text.split(' ').collect::<Vec<_>>())
            })
            .collect();
        let statement = votes[0].statement.clone().unwrap();
        if votes[0].r#type == i32::from(v1::VoteType::Prevote) {
            let signatures = votes.into_iter().map(|vote| v1::ValidatorSignature {
                validator: vote.validator,
                signature: vote.signature,
            });
            let certificate = v1::PolkaCertificate {
                height: statement.height,
                round: statement.round,
                header_hash: statement.header_hash,
                signatures: signatures.collect(),
            };
            return self.message(Message::PolkaCertificate(certificate), Verdict::Valid);
        }
        let signatures = votes.into_iter().map(|vote| v1::CommitSignature {
            validator: u32::from(vote.validator[0]) - 1,
            signature: vote.signature,
        });
        let certificate = v1::CommitCertificate {
            height: statement.height,
            round: statement.round,
            header_hash: statement.header_hash.clone(),
            signatures: signatures.collect(),
        };
        let height = statement.height - 1;
        let name = self.values.name(height, &statement.header_hash);
        let block = Some(self.values.block(height, &name));
        let decided = v1::DecidedBlock { block, certificate: Some(certificate) };
        // A commit certificate comes as a synced block, from a peer that is ahead.
        let tip = statement.height + 1;
        self.tell(Event::PeerTip { peer: PEER, height: tip }, Verdict::Valid);
        let response = v1::SyncResponse { tip, blocks: vec![decided] };
        self.tell(Event::Synced { peer: PEER, response }, Verdict::Valid);
    }

    fn expect(&mut self, output: &str, state: &str) {
        let words: Vec<&str> = output.split(' ').collect();
        match words[..] {
            ["vote", kind, height, round, _, value] => {
                let place = (number(height), number(round), kind.to_owned());
                self.model.votes.insert(place, value.to_owned());
            }
            ["proposal", height, round, _, value, pol_round] => {
                let said = (value.to_owned(), number(pol_round));
                self.model.proposals.insert((number(height), number(round)), said);
            }
            ["decided", ..] => {
                let height = number(state.split(' ').next().unwrap());
                let name = output.rsplit('"').nth(1).unwrap();
                self.model.decisions.insert(height, name.to_owned());
            }
            _ => {}
        }
    }
}

/// How many statements agreed, and which did not.
fn replay(file: &str) -> (usize, Vec<String>) {
    let text = std::fs::read_to_string(file).unwrap();
    let mut lines = text.lines();
    let set = lines.next().unwrap();
    let names: Vec<&str> =
        set.split(' ').skip(1).map(|member| member.strip_suffix(":1").unwrap()).collect();
    let correct: Vec<&str> = lines.next().unwrap().split(' ').skip(1).collect();
    let steps: Vec<Vec<&str>> = lines.map(|line| line.split(" ; ").collect()).collect();
    let values = Values::of(&steps, &names);
    let mut nodes: BTreeMap<&str, Node<'_>> = BTreeMap::new();
    for name in &correct {
        let me = names.iter().position(|known| known == name).unwrap();
        let node = Node {
            me,
            names: &names,
            values: &values,
            host: None,
            timers: Vec::new(),
            said: Said::default(),
            model: Said::default(),
        };
        nodes.insert(name, node);
    }
    let mut spoken: Vec<Vec<&str>> = Vec::new();
    for step in &steps {
        let node = nodes.get_mut(step[0]).unwrap();
        let state: Vec<&str> = step[3].split(' ').collect();
        if state[1] == "-1" && step[1] != "internal" {
            node.begin(number(state[0]));
            for words in spoken.iter().filter(|words| words[1] == state[0]) {
                let vote = vote(&values, &names, words);
                if vote.validator != key(node.me) {
                    node.message(Message::Vote(vote), Verdict::Valid);
                }
            }
        }
        node.step(step[1]);
        if let Some(words) = step[2].strip_prefix("vote ") {
            spoken.push(words.split(' ').collect());
        }
        node.expect(step[2], step[3]);
    }
    let (mut same, mut other) = (0, Vec::new());
    for (name, node) in &nodes {
        for (place, value) in &node.model.votes {
            let said = node.said.votes.get(place);
            let at = (place.0, place.1);
            let decided = node.said.decided_in.get(&place.0).is_some_and(|round| *round < place.1);
            let pruned = value == "nil"
                && PRUNED
                    .iter()
                    .any(|(of, who, when)| file.ends_with(of) && who == name && *when == at);
            if said == Some(value) {
                same += 1;
            } else if said.is_some() || !(decided || pruned) {
                other.push(format!("{name} vote {place:?}: the model {value}, the host {said:?}"));
            }
        }
        for (place, value) in &node.model.proposals {
            let said = node.said.proposals.get(place);
            if said == Some(value) {
                same += 1
            } else {
                other.push(format!(
                    "{name} proposal {place:?}: the model {value:?}, the host {said:?}"
                ));
            }
        }
        for (height, value) in &node.model.decisions {
            let said = node.said.decisions.get(height);
            if said == Some(value) {
                same += 1
            } else {
                other.push(format!(
                    "{name} decision {height}: the model {value}, the host {said:?}"
                ));
            }
        }
    }
    (same, other)
}

#[test]
fn the_runs_of_the_tendermint_model_replay_through_the_host() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces");
    let (mut files, mut same, mut other) = (0, 0, Vec::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        let (agreed, differing) = replay(path.to_str().unwrap());
        same += agreed;
        other.extend(differing.into_iter().map(|one| format!("{file} {one}")));
        files += 1;
    }
    other.sort();
    assert_eq!(other, [""; 0]);
    assert_eq!(files, 16);
    assert!(same > 200, "{same} statements compared");
    println!("{files} traces, {same} statements of the model, none contradicted");
}
