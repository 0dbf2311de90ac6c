//! The operator's settings: `config.toml`, the environment and flags, resolved into domain types.
//!
//! What replicas must agree on is in the genesis or on the ledger, never here; and no secret is a setting. Every
//! setting is one row of `SETTINGS`, from which the commented default file is printed, so the manual cannot
//! disagree with the program. All mistakes are reported at once, each with its line and setting.
//!
//! A flag wins over `SILLOK_SECTION__KEY`, which wins over the file, which wins over the default.

use crate::join::Trust;
use crate::network::{ListenAddress, PeerAddress};
use sillok_proto::Hash;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use toml::de::{DeTable, DeValue};

/// What an environment variable of ours begins with.
const ENVIRONMENT_PREFIX: &str = "SILLOK_";
/// Longest file that can be a configuration, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Longest wait of consensus: a longer one is a mistyped unit.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Least memory of the database, in bytes. With less, so little may wait for its file that small ones are written all the
/// time.
const MEMORY_BYTES_MIN: usize = 32 * 1024 * 1024;

/// A node's settings, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `[node]`
    pub node: NodeSection,
    /// `[network]`
    pub network: NetworkSection,
    /// `[api]`
    pub api: ApiSection,
    /// `[consensus]`
    pub consensus: ConsensusSection,
    /// `[storage]`
    pub storage: StorageSection,
    /// `[snapshot]`
    pub snapshot: SnapshotSection,
    /// `[mempool]`
    pub mempool: MempoolSection,
    /// `[telemetry]`
    pub telemetry: TelemetrySection,
}

/// Which node this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSection {
    /// Its name in its own logs; no other node learns it.
    pub name: String,
    /// Where it keeps its database.
    pub data_directory: PathBuf,
}

/// How it meets its peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSection {
    /// Where it listens for them.
    pub listen: Vec<ListenAddress>,
    /// Whom it dials.
    pub peers: Vec<PeerAddress>,
}

/// How it answers clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiSection {
    /// Where it listens for gRPC.
    pub grpc_listen: SocketAddr,
    /// Where it listens for HTTP.
    pub http_listen: SocketAddr,
}

/// How long consensus waits, by the names of Tendermint.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Tendermint's; the settings' help says what each is")]
pub struct ConsensusSection {
    pub timeout_propose: Duration,
    pub timeout_propose_delta: Duration,
    pub timeout_prevote: Duration,
    pub timeout_prevote_delta: Duration,
    pub timeout_precommit: Duration,
    pub timeout_precommit_delta: Duration,
    pub timeout_rebroadcast: Duration,
}

/// What it keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageSection {
    /// How much of the past.
    pub history: History,
    /// Memory of the database, in bytes.
    pub memory_bytes_max: usize,
}

/// The words for [`History`].
#[derive(Debug, Clone, Copy, Default)]
enum Kept {
    #[default]
    All,
    Blocks,
    Latest,
}

/// How much of the past a node keeps (PROTOCOL §6.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// All blocks and all old tree nodes.
    Archive,
    /// All blocks, and the state of the latest heights.
    Blocks {
        /// How many heights.
        retention_heights: u64,
    },
    /// Blocks and state of the latest heights only.
    Pruned {
        /// How many heights.
        retention_heights: u64,
    },
}

/// When a new node begins with a snapshot, and what it believes then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSection {
    /// How many heights ahead its peers are at least.
    pub behind_min: u64,
    /// What it trusts before it asks anybody.
    pub trust: Trust,
}

/// How much waits to be ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MempoolSection {
    /// Bytes of all transactions.
    pub bytes_max: usize,
    /// Transactions.
    pub transactions_max: usize,
    /// Transactions of one submitter in each lane.
    pub per_submitter_max: usize,
}

/// What it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetrySection {
    /// The least urgent level that is logged.
    pub log_level: LogLevel,
    /// How a line of the log looks.
    pub log_format: LogFormat,
}

/// The least urgent level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are tracing's")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

impl TelemetrySection {
    /// The directives of the log filter.
    ///
    /// Libraries are held to warnings at every level of ours, for some log keys or addresses below that, which no
    /// log of ours may hold (PROTOCOL II.6); gossip warns of what peers send, with which strangers could fill the
    /// disk; and the tree logs raw keys.
    #[must_use]
    pub fn filter(&self) -> String {
        let level = match self.log_level {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        };
        let ours = ["node", "consensus", "ledger", "did_method", "proto"]
            .map(|name| format!("sillok_{name}={level}"))
            .join(",");
        format!("error,{ours},jmt=off")
    }
}

impl Default for Config {
    fn default() -> Self {
        Sources::default().resolve(None).expect("the defaults are checked by a test")
    }
}

impl Config {
    /// Reads the file (if one is given), the environment and the flags, and checks everything.
    ///
    /// `environment` is all variables; those that are not `SILLOK_SECTION__KEY` are passed over. `flags` are pairs of
    /// a setting, such as `network.listen`, and its value; a list is written with commas. A relative data directory
    /// is relative to the file.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every mistake.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let mut sources = Sources::default();
        if let Some(path) = file {
            sources.read_file(path);
        }
        for (variable, value) in environment {
            sources.set_variable(&variable, value);
        }
        for (setting, value) in flags {
            sources.set(setting, Place::Flag, value.clone());
        }
        sources.resolve(file.and_then(Path::parent))
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The mistakes, in the order they were found; at least one.
    pub mistakes: Vec<Mistake>,
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// A line of the file, a variable or a flag.
    pub place: String,
    /// The setting, such as `network.listen`, if it is known.
    pub setting: Option<String>,
    /// What is wrong and what to do.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.setting {
            Some(setting) => write!(f, "{}: {setting}: {}", self.place, self.problem),
            None => write!(f, "{}: {}", self.place, self.problem),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.mistakes.len();
        write!(f, "the configuration has {count} mistake{}", if count == 1 { "" } else { "s" })?;
        self.mistakes.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl std::error::Error for ConfigError {}

/// One setting: its name, form and default, and what `config default` says of it.
struct Setting {
    name: &'static str,
    form: Form,
    /// As it would be given by environment or flag.
    default: &'static str,
    help: &'static str,
}

/// How a setting is written in TOML.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Number,
    /// A list of texts.
    List,
}

const fn row(name: &'static str, form: Form, default: &'static str, help: &'static str) -> Setting {
    Setting { name, form, default, help }
}

/// Every setting, in the order of the printed file.
static SETTINGS: &[Setting] = &[
    row(
        "node.name",
        Form::Text,
        "node",
        "Name of this node in its own logs: a-z, 0-9 and '-', at most 63 characters.",
    ),
    row(
        "node.data_directory",
        Form::Text,
        "data",
        "Where the node keeps its database. Relative to this file.\n\
         Beside this file, the directory `validator` (voting key and signing record) belongs together: never copy it, never back it up.",
    ),
    row(
        "network.listen",
        Form::List,
        "/ip4/0.0.0.0/tcp/26600",
        "Where to listen for other nodes: /ip4/ADDRESS/tcp/PORT or /ip6/ADDRESS/tcp/PORT.",
    ),
    row(
        "network.peers",
        Form::List,
        "",
        "Other nodes to connect to and stay connected to: /ip4/ADDRESS/tcp/PORT/p2p/NODE or /dns/NAME/tcp/PORT/p2p/NODE.\n\
         Name every validator. Only nodes whose key is on the ledger stay connected, whoever dials.",
    ),
    row(
        "api.grpc_listen",
        Form::Text,
        "127.0.0.1:26610",
        "Where to answer clients over gRPC. Put a TLS proxy before it when it is not loopback.",
    ),
    row(
        "api.http_listen",
        Form::Text,
        "127.0.0.1:26620",
        "Where to answer resolvers and verifiers over HTTP, read-only. Put a TLS proxy before it when it is not loopback.",
    ),
    row(
        "consensus.timeout_propose",
        Form::Text,
        "1s",
        "How long to wait for a proposal before voting for none. A dead proposer costs this much.",
    ),
    row(
        "consensus.timeout_propose_delta",
        Form::Text,
        "500ms",
        "How much longer in each further round.",
    ),
    row(
        "consensus.timeout_prevote",
        Form::Text,
        "500ms",
        "How long to wait for more prevotes after more than two thirds that disagree.",
    ),
    row(
        "consensus.timeout_prevote_delta",
        Form::Text,
        "250ms",
        "How much longer in each further round.",
    ),
    row(
        "consensus.timeout_precommit",
        Form::Text,
        "500ms",
        "How long to wait for more precommits before the next round.",
    ),
    row(
        "consensus.timeout_precommit_delta",
        Form::Text,
        "250ms",
        "How much longer in each further round.",
    ),
    row(
        "consensus.timeout_rebroadcast",
        Form::Text,
        "5s",
        "How long a height may stand still before votes are sent again.",
    ),
    row(
        "storage.history",
        Form::Text,
        "archive",
        "How much of the past to keep: \"archive\" keeps all, \"blocks\" all blocks and the state of the latest heights,\n\
         \"pruned\" blocks and state of the latest heights. A new node that is no archive begins with a snapshot of its peers;\n\
         with \"blocks\" it fetches the older blocks later.\n\
         The ledger says which validators are archives; a node that is one must keep all.",
    ),
    row(
        "storage.retention_heights",
        Form::Number,
        "1000000",
        "How many heights these are. No effect on an archive.",
    ),
    row(
        "storage.memory_bytes_max",
        Form::Number,
        "134217728",
        "Most bytes of memory that the database takes: what it read lately, indexes of its files, and what waits to be written.\n\
         More makes reads of a large record faster.",
    ),
    row(
        "snapshot.behind_min",
        Form::Number,
        "10000",
        "A new node begins with a snapshot when its peers are more than this many heights ahead; else it executes the blocks.",
    ),
    row(
        "snapshot.trusted_header",
        Form::Text,
        "",
        "What a snapshot is proved from: HEIGHT:HASH of a header that the other operators told you by another way\n\
         (`sillok checkpoint show`). Empty: the genesis, while it is younger than the network's trusting period of 30 days.\n\
         This header must be younger than that too. It has no effect once the node has blocks.",
    ),
    row(
        "mempool.bytes_max",
        Form::Number,
        "67108864",
        "Most bytes of transactions that wait to be ordered.",
    ),
    row(
        "mempool.transactions_max",
        Form::Number,
        "50000",
        "Most transactions that wait to be ordered.",
    ),
    row(
        "mempool.per_submitter_max",
        Form::Number,
        "10000",
        "Most waiting transactions of one submitter in each lane: losses of rights, and all else. At most half of a lane's part of\n\
         the two figures above; a quarter is the losses', three are of all else.",
    ),
    row(
        "telemetry.log_level",
        Form::Text,
        "info",
        "Least urgent level to log: \"error\", \"warn\", \"info\", \"debug\" or \"trace\".",
    ),
    row(
        "telemetry.log_format",
        Form::Text,
        "text",
        "\"text\" for people or \"json\" for machines.",
    ),
];

/// The configuration file with every setting at its default, commented.
#[must_use]
pub fn default_toml() -> String {
    render(&BTreeMap::new())
}

/// The commented file with some settings changed: pairs of a setting and its value as a flag would give it.
///
/// # Errors
///
/// [`ConfigError`]: a setting that does not exist, or a value that is wrong.
pub fn toml_with(changes: &[(&str, &str)]) -> Result<String, ConfigError> {
    let mut sources = Sources::default();
    for (setting, value) in changes {
        sources.set(setting, Place::Flag, (*value).to_owned());
    }
    sources.resolve(None)?;
    Ok(render(&changes.iter().copied().collect()))
}

fn render(changes: &BTreeMap<&str, &str>) -> String {
    let mut out = String::from(
        "# Settings of a Sillok node. Each can also be given as an environment variable, SILLOK_SECTION__KEY,\n\
         # which wins over this file. What all nodes must agree on is not here but on the ledger.\n",
    );
    let mut section = "";
    for setting in SETTINGS {
        let (in_section, key) = setting.name.split_once('.').unwrap_or(("", setting.name));
        if in_section != section {
            section = in_section;
            // Writing to a string cannot fail.
            let _ = writeln!(out, "\n[{section}]");
        } else {
            out.push('\n');
        }
        for line in setting.help.lines() {
            let _ = writeln!(out, "# {line}");
        }
        let value = changes.get(setting.name).copied().unwrap_or(setting.default);
        let _ = writeln!(out, "{key} = {}", literal(setting.form, value));
    }
    out
}

/// A value as TOML writes it.
fn literal(form: Form, value: &str) -> String {
    let text = |value: &str| toml::Value::String(value.to_owned()).to_string();
    match form {
        Form::Text => text(value),
        Form::Number => value.to_owned(),
        Form::List => format!("[{}]", items(value).map(text).collect::<Vec<_>>().join(", ")),
    }
}

/// The items of a list as environment and flags write it.
fn items(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Default,
    Line { file: PathBuf, line: usize },
    Variable(String),
    Flag,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Line { file, line } => write!(f, "{}:{line}", file.display()),
            Self::Variable(variable) => write!(f, "environment {variable}"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// A value as written. A list keeps the place of each item.
#[derive(Debug, Clone)]
struct Raw {
    items: Vec<(String, Place)>,
    place: Place,
}

/// The settings as written, and what is wrong with them so far.
#[derive(Debug, Default)]
struct Sources {
    values: BTreeMap<&'static str, Raw>,
    mistakes: Vec<Mistake>,
}

impl Sources {
    fn mistake(&mut self, place: &Place, setting: Option<&str>, problem: impl Into<String>) {
        self.mistakes.push(Mistake {
            place: place.to_string(),
            setting: setting.map(str::to_owned),
            problem: problem.into(),
        });
    }

    /// The row of a setting, or a mistake that names what there is.
    fn known(&mut self, name: &str, place: &Place) -> Option<&'static Setting> {
        if let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) {
            return Some(setting);
        }
        let section = name.split_once('.').map_or(name, |(section, _)| section);
        let mut keys: Vec<&str> = SETTINGS
            .iter()
            .filter_map(|setting| setting.name.split_once('.'))
            .filter_map(|(of, key)| (of == section).then_some(key))
            .collect();
        let known = if keys.is_empty() {
            keys = SETTINGS.iter().filter_map(|setting| setting.name.split('.').next()).collect();
            keys.dedup();
            format!("sections are {}", keys.join(", "))
        } else {
            format!("[{section}] has {}", keys.join(", "))
        };
        self.mistake(place, Some(name), format!("there is no such setting; {known}"));
        None
    }

    /// Sets one setting from text, over what was set before.
    fn set(&mut self, name: &str, place: Place, value: String) {
        let Some(setting) = self.known(name, &place) else { return };
        let items = if setting.form == Form::List {
            items(&value).map(|item| (item.to_owned(), place.clone())).collect()
        } else {
            vec![(value, place.clone())]
        };
        self.values.insert(setting.name, Raw { items, place });
    }

    fn set_variable(&mut self, variable: &str, value: String) {
        let Some((section, key)) =
            variable.strip_prefix(ENVIRONMENT_PREFIX).and_then(|name| name.split_once("__"))
        else {
            return;
        };
        let name = format!("{}.{}", section.to_lowercase(), key.to_lowercase());
        self.set(&name, Place::Variable(variable.to_owned()), value);
    }

    fn read_file(&mut self, path: &Path) {
        let whole = Place::Line { file: path.to_owned(), line: 1 };
        let text = match fs::metadata(path).and_then(|metadata| {
            if metadata.len() > FILE_BYTES_MAX {
                return Err(std::io::Error::other("it is too long to be a configuration"));
            }
            fs::read_to_string(path)
        }) {
            Ok(text) => text,
            Err(error) => {
                let problem = format!(
                    "the file cannot be read: {error}; print one with `sillok-node config default`"
                );
                return self.mistake(&whole, None, problem);
            }
        };
        let line = |offset: usize| Place::Line {
            file: path.to_owned(),
            line: 1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count(),
        };
        let (table, errors) = DeTable::parse_recoverable(&text);
        for error in errors {
            let place = line(error.span().map_or(0, |span| span.start));
            self.mistake(&place, None, format!("this is not TOML: {}", error.message()));
        }
        for (section, value) in table.get_ref() {
            let section_place = line(section.span().start);
            let section = section.get_ref();
            let DeValue::Table(keys) = value.get_ref() else {
                self.mistake(
                    &section_place,
                    Some(section),
                    "settings stand in sections; write [node] before it",
                );
                continue;
            };
            if !SETTINGS.iter().any(|setting| setting.name.split('.').next() == Some(section)) {
                self.known(section, &section_place);
                continue;
            }
            for (key, value) in keys {
                let place = line(key.span().start);
                let name = format!("{section}.{}", key.get_ref());
                let Some(setting) = self.known(&name, &place) else { continue };
                let items = match (setting.form, value.get_ref()) {
                    (Form::Text, DeValue::String(text)) => {
                        Some(vec![(text.to_string(), place.clone())])
                    }
                    (Form::Number, DeValue::Integer(number)) => {
                        Some(vec![(number.to_string(), place.clone())])
                    }
                    (Form::List, DeValue::Array(array)) => array
                        .iter()
                        .map(|item| match item.get_ref() {
                            DeValue::String(text) => {
                                Some((text.to_string(), line(item.span().start)))
                            }
                            _ => None,
                        })
                        .collect(),
                    _ => None,
                };
                match items {
                    Some(items) => {
                        self.values.insert(setting.name, Raw { items, place });
                    }
                    None => {
                        let form = match setting.form {
                            Form::Text => "a text in quotes",
                            Form::Number => "a whole number",
                            Form::List => "a list of texts in brackets",
                        };
                        let example = literal(setting.form, setting.default);
                        self.mistake(
                            &place,
                            Some(&name),
                            format!("must be {form}, such as {example}"),
                        );
                    }
                }
            }
        }
    }

    /// Checks everything. A setting that is wrong stands as its default until the mistakes are reported.
    fn resolve(mut self, base: Option<&Path>) -> Result<Config, ConfigError> {
        let history = self.one("storage.history", |text| match text {
            "archive" => Ok(Kept::All),
            "blocks" => Ok(Kept::Blocks),
            "pruned" => Ok(Kept::Latest),
            _ => Err("must be \"archive\", \"blocks\" or \"pruned\"".to_owned()),
        });
        let retention_heights = self.one("storage.retention_heights", |text| {
            number(text).and_then(|heights| {
                if heights < 1000 {
                    return Err(
                        "must be at least 1000, or peers that were away cannot catch up here"
                            .to_owned(),
                    );
                }
                Ok(heights)
            })
        });
        let data_directory = self.one("node.data_directory", |text| {
            if text.is_empty() {
                Err("must name a directory".to_owned())
            } else {
                Ok(PathBuf::from(text))
            }
        });
        let config =
            Config {
                node: NodeSection {
                    name: self.one("node.name", name),
                    data_directory: base
                        .map_or(data_directory.clone(), |base| base.join(&data_directory)),
                },
                network: NetworkSection {
                    listen: self.list("network.listen", 1),
                    peers: self.list("network.peers", 0),
                },
                api: ApiSection {
                    grpc_listen: self.one("api.grpc_listen", |text| socket(text, 26610)),
                    http_listen: self.one("api.http_listen", |text| socket(text, 26620)),
                },
                consensus: ConsensusSection {
                    timeout_propose: self.one("consensus.timeout_propose", wait),
                    timeout_propose_delta: self.one("consensus.timeout_propose_delta", wait),
                    timeout_prevote: self.one("consensus.timeout_prevote", wait),
                    timeout_prevote_delta: self.one("consensus.timeout_prevote_delta", wait),
                    timeout_precommit: self.one("consensus.timeout_precommit", wait),
                    timeout_precommit_delta: self.one("consensus.timeout_precommit_delta", wait),
                    timeout_rebroadcast: self.one("consensus.timeout_rebroadcast", wait),
                },
                storage: StorageSection {
                    history: match history {
                        Kept::All => History::Archive,
                        Kept::Blocks => History::Blocks { retention_heights },
                        Kept::Latest => History::Pruned { retention_heights },
                    },
                    memory_bytes_max: self.one("storage.memory_bytes_max", memory_bytes),
                },
                snapshot: SnapshotSection {
                    behind_min: self.one("snapshot.behind_min", number),
                    trust: self.one("snapshot.trusted_header", trust),
                },
                mempool: MempoolSection {
                    bytes_max: self.one("mempool.bytes_max", at_least_one),
                    transactions_max: self.one("mempool.transactions_max", at_least_one),
                    per_submitter_max: self.one("mempool.per_submitter_max", at_least_one),
                },
                telemetry: TelemetrySection {
                    log_level: self.one("telemetry.log_level", |text| match text {
                        "error" => Ok(LogLevel::Error),
                        "warn" => Ok(LogLevel::Warn),
                        "info" => Ok(LogLevel::Info),
                        "debug" => Ok(LogLevel::Debug),
                        "trace" => Ok(LogLevel::Trace),
                        _ => Err("must be \"error\", \"warn\", \"info\", \"debug\" or \"trace\""
                            .to_owned()),
                    }),
                    log_format: self.one("telemetry.log_format", |text| match text {
                        "text" => Ok(LogFormat::Text),
                        "json" => Ok(LogFormat::Json),
                        _ => Err("must be \"text\" or \"json\"".to_owned()),
                    }),
                },
            };
        if self.mistakes.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError { mistakes: self.mistakes })
        }
    }

    /// The items of a setting and where it was given.
    fn raw(&self, name: &'static str) -> Raw {
        self.values.get(name).cloned().unwrap_or_else(|| default_of(name))
    }

    /// The value of a setting that has one.
    fn one<T>(&mut self, name: &'static str, check: impl Fn(&str) -> Result<T, String>) -> T {
        let raw = self.raw(name);
        match check(raw.items.first().map_or("", |(text, _)| text.trim())) {
            Ok(value) => value,
            Err(problem) => {
                self.mistake(&raw.place, Some(name), problem);
                let default = default_of(name);
                check(default.items.first().map_or("", |(text, _)| text))
                    .unwrap_or_else(|_| unreachable!("the default of {name} is checked by a test"))
            }
        }
    }

    /// The items of a list, of which there must be some.
    fn list<T: FromStr<Err: fmt::Display> + Ord + Clone + fmt::Display>(
        &mut self,
        name: &'static str,
        items_min: usize,
    ) -> Vec<T> {
        let raw = self.raw(name);
        let mut values: Vec<T> = Vec::new();
        for (text, place) in &raw.items {
            match text.trim().parse::<T>() {
                Ok(value) if values.contains(&value) => {
                    self.mistake(
                        place,
                        Some(name),
                        format!("{value} stands there twice; leave one"),
                    );
                }
                Ok(value) => values.push(value),
                Err(error) => self.mistake(place, Some(name), error.to_string()),
            }
        }
        if raw.items.len() < items_min {
            self.mistake(&raw.place, Some(name), "must not be empty");
        }
        values
    }
}

/// The default of a setting, as written.
fn default_of(name: &str) -> Raw {
    let place = Place::Default;
    let items = SETTINGS
        .iter()
        .find(|setting| setting.name == name)
        .map(|setting| match setting.form {
            Form::List => {
                items(setting.default).map(|item| (item.to_owned(), place.clone())).collect()
            }
            Form::Text | Form::Number => vec![(setting.default.to_owned(), place.clone())],
        })
        .unwrap_or_default();
    Raw { items, place }
}

fn socket(text: &str, port: u16) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("`{text}` is not an IP address and port; write it like 127.0.0.1:{port}")
    })
}

fn name(text: &str) -> Result<String, String> {
    let right = (1..=63).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if right {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 63 characters of a-z, 0-9 and '-'".to_owned())
    }
}

fn number<N: FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("`{text}` is not a whole number that is possible here"))
}

fn trust(text: &str) -> Result<Trust, String> {
    if text.is_empty() {
        return Ok(Trust::Genesis);
    }
    let parsed = text.split_once(':').and_then(|(height, hash)| {
        let height = height.parse::<u64>().ok().filter(|height| *height > 0)?;
        let hash = hex::decode(hash).ok().and_then(|bytes| Hash::from_slice(&bytes))?;
        Some(Trust::Checkpoint { height, hash })
    });
    parsed.ok_or_else(|| {
        "must be HEIGHT:HASH, with a hash of 64 hexadecimal digits, or empty".to_owned()
    })
}

fn memory_bytes(text: &str) -> Result<usize, String> {
    let bytes = number(text)?;
    if bytes < MEMORY_BYTES_MIN {
        return Err(format!(
            "must be at least {MEMORY_BYTES_MIN}, or the database writes files all the time"
        ));
    }
    Ok(bytes)
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match number(text)? {
        0 => Err("must be at least 1".to_owned()),
        some => Ok(some),
    }
}

fn wait(text: &str) -> Result<Duration, String> {
    let wait = humantime::parse_duration(text).map_err(|_| {
        format!("`{text}` is not a duration with a unit, such as \"1s\" or \"500ms\"")
    })?;
    if wait.is_zero() || wait > TIMEOUT_MAX {
        return Err(format!("must be more than 0 and at most {}s", TIMEOUT_MAX.as_secs()));
    }
    Ok(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str =
        "/ip4/192.0.2.1/tcp/26600/p2p/12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";

    fn none() -> std::iter::Empty<(String, String)> {
        std::iter::empty()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    /// Loads a file of this text, with nothing else.
    #[allow(clippy::unwrap_in_result, reason = "the result is what is tested")]
    fn load(text: &str) -> Result<Config, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        fs::write(&path, text).unwrap();
        Config::load(Some(&path), none(), &[])
    }

    /// The mistakes of a file, each as `line setting problem`, without the directory.
    fn mistakes(text: &str) -> Vec<String> {
        load(text)
            .unwrap_err()
            .mistakes
            .iter()
            .map(|mistake| {
                let line = mistake.place.rsplit(':').next().unwrap();
                format!("{line} {} {}", mistake.setting.as_deref().unwrap_or("-"), mistake.problem)
            })
            .collect()
    }

    #[test]
    fn the_printed_file_is_the_defaults() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        fs::write(&path, default_toml()).unwrap();
        let printed = Config::load(Some(&path), none(), &[]).unwrap();
        let mut default = Config::default();
        default.node.data_directory = directory.path().join("data");
        assert_eq!(printed, default);
        assert_eq!(default.consensus.timeout_propose, Duration::from_secs(1));
        assert_eq!(default.storage.history, History::Archive);
    }

    #[test]
    fn the_printed_file_explains_every_setting() {
        let printed = default_toml();
        for setting in SETTINGS {
            let (_, key) = setting.name.split_once('.').unwrap();
            assert!(printed.contains(&format!("\n{key} = ")), "{}", setting.name);
            assert!(!setting.help.is_empty());
        }
    }

    #[test]
    fn flag_over_environment_over_file_over_default() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        fs::write(&path, "[mempool]\nbytes_max = 1\ntransactions_max = 1\nper_submitter_max = 1\n")
            .unwrap();
        let environment = [
            pair("SILLOK_MEMPOOL__BYTES_MAX", "2"),
            pair("SILLOK_MEMPOOL__TRANSACTIONS_MAX", "2"),
            pair("SILLOK_LOG", "not a setting"),
            pair("PATH", "/bin"),
        ];
        let flags = [pair("mempool.bytes_max", "3")];
        let config = Config::load(Some(&path), environment, &flags).unwrap();
        let mempool = config.mempool;
        assert_eq!(
            (mempool.bytes_max, mempool.transactions_max, mempool.per_submitter_max),
            (3, 2, 1)
        );
        assert_eq!(config.telemetry, Config::default().telemetry);
    }

    #[test]
    fn all_mistakes_are_reported_at_once_each_with_its_line_and_setting() {
        let found = mistakes(&format!(
            "[node]\nname = \"Big Name\"\ncolour = \"red\"\n\n[network]\nlisten = []\npeers = [\n  \"{PEER}\",\n  \
             \"nowhere\",\n  \"{PEER}\",\n]\n[consensus]\ntimeout_propose = \"1\"\ntimeout_prevote = 5\n\
             timeout_rebroadcast = \"2h\"\n[sharding]\ncount = 2\n"
        ));
        let expected = [
            "2 node.name must be",
            "3 node.colour there is no such setting; [node] has name, data_directory",
            "6 network.listen must not be empty",
            "9 network.peers `nowhere` is not an address",
            "10 network.peers",
            "13 consensus.timeout_propose `1` is not a duration",
            "14 consensus.timeout_prevote must be a text in quotes",
            "15 consensus.timeout_rebroadcast must be more than 0 and at most 60s",
            "16 sharding there is no such setting; sections are node, network",
        ];
        for expected in expected {
            assert_eq!(
                found.iter().filter(|mistake| mistake.starts_with(expected)).count(),
                1,
                "{expected}\n{found:#?}"
            );
        }
        assert_eq!(found.len(), expected.len(), "{found:#?}");
    }

    #[test]
    fn what_is_not_toml_is_reported_with_its_line() {
        let found = mistakes("[node]\nname = \n[network\n");
        assert!(
            found.iter().any(|mistake| mistake.starts_with("2 - this is not TOML")),
            "{found:#?}"
        );
        assert!(
            found.iter().any(|mistake| mistake.starts_with("3 - this is not TOML")),
            "{found:#?}"
        );
    }

    #[test]
    fn a_setting_outside_of_a_section_is_refused() {
        assert!(mistakes("name = \"a\"\n")[0].starts_with("1 name settings stand in sections"));
    }

    #[test]
    fn a_mistyped_variable_is_not_passed_over() {
        let environment =
            [pair("SILLOK_NETWORK__LISTENS", "x"), pair("SILLOK_MEMPOOL__BYTES_MAX", "many")];
        let found = Config::load(None, environment, &[]).unwrap_err().to_string();
        assert!(found.contains("environment SILLOK_NETWORK__LISTENS: network.listens"), "{found}");
        assert!(found.contains("`many` is not a whole number"), "{found}");
        assert!(found.contains("2 mistakes"), "{found}");
    }

    #[test]
    fn a_missing_file_says_how_to_make_one() {
        let found =
            Config::load(Some(Path::new("/nonexistent/config.toml")), none(), &[]).unwrap_err();
        assert!(found.to_string().contains("sillok-node config default"), "{found}");
    }

    #[test]
    fn a_list_in_the_environment_is_written_with_commas() {
        let environment = [pair("SILLOK_NETWORK__LISTEN", "/ip4/127.0.0.1/tcp/1, /ip6/::1/tcp/2")];
        let config = Config::load(None, environment, &[]).unwrap();
        assert_eq!(config.network.listen.len(), 2);
    }

    #[test]
    fn a_file_made_with_changes_holds_them() {
        let text = toml_with(&[
            ("network.peers", PEER),
            ("node.name", "seoul-1"),
            ("storage.history", "pruned"),
        ])
        .unwrap();
        let config = load(&text).unwrap();
        assert_eq!(config.node.name, "seoul-1");
        assert_eq!(config.network.peers[0].to_string(), PEER);
        assert_eq!(config.storage.history, History::Pruned { retention_heights: 1_000_000 });
        assert!(toml_with(&[("node.nickname", "x")]).is_err());
        assert!(toml_with(&[("node.name", "\"\n")]).is_err());
    }

    #[test]
    fn a_trusted_header_is_a_height_and_a_hash() {
        assert_eq!(Config::default().snapshot.trust, Trust::Genesis);
        let hash = "ab".repeat(32);
        let with = |value: &str| load(&format!("[snapshot]\ntrusted_header = \"{value}\"\n"));
        assert_eq!(
            with(&format!("250:{hash}")).unwrap().snapshot.trust,
            Trust::Checkpoint { height: 250, hash: Hash([0xab; 32]) }
        );
        for wrong in ["250", &hash, &format!("0:{hash}"), &format!("x:{hash}"), "250:abab"] {
            let found = with(wrong).unwrap_err().to_string();
            assert!(found.contains("HEIGHT:HASH"), "{wrong}: {found}");
        }
    }

    #[test]
    fn the_log_filter_keeps_libraries_quiet_at_every_level() {
        let telemetry =
            TelemetrySection { log_level: LogLevel::Trace, log_format: LogFormat::Text };
        let filter = telemetry.filter();
        assert!(filter.starts_with("error,") && filter.contains("jmt=off"), "{filter}");
        assert!(filter.contains("sillok_node=trace"), "{filter}");
    }
}
