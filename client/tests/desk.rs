//! Rights, types and status on the command line: a ministry, an agency, a counter, a board that approves, and a person.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

#[path = "support/world.rs"]
mod support;

use serde_json::Value;
use sillok_client::identity::Identity;
use sillok_client::testing::{Lie, MemoryNetwork};
use sillok_client::transaction::{OperationDraft, Terms, TransactionBuilder};
use sillok_did_method::{CAPABILITY_INVOCATION, Did, SUBMIT};
use sillok_proto::v1;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use support::{Run, World, now_ms, world, world_with};

const PERSON: &str = "900101-1234567";

/// A world in which the agency issues a type of the ministry, and the counter acts for it.
struct Office {
    world: World,
    r#type: String,
    list: String,
    /// All that the program printed.
    printed: std::cell::RefCell<String>,
}

impl Office {
    /// `registrar.json` is the ministry, which holds every right from the start and submits for all.
    async fn new() -> Self {
        Self::of(world().await).await
    }

    async fn of(world: World) -> Self {
        let mut office = Self {
            world,
            r#type: String::new(),
            list: String::new(),
            printed: String::new().into(),
        };
        for name in ["agency", "counter", "board"] {
            office
                .write(&format!("did create --kind organization --out {name}.json"))
                .await
                .expect(0);
        }
        let agency = office.did("agency");
        for action in ["accredit", "issue", "approve", "revoke"] {
            office
                .yes(&format!("trust accredit {agency} {action} --grantor registrar.json"))
                .await
                .expect(0);
        }
        let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples");
        for file in ["resident-id.type.json", "resident-id.schema.json"] {
            fs::copy(format!("{examples}/{file}"), office.world.path(file)).unwrap();
        }
        let published = office
            .yes("type publish resident-id.type.json --publisher registrar.json --json")
            .await;
        office.r#type = text(&published.expect(0).json()["type"]);
        for (name, action) in [("counter", "issue"), ("counter", "revoke"), ("board", "approve")] {
            let (who, on) = (office.did(name), &office.r#type);
            let accredit = format!(
                "trust accredit {who} {action} --on {on} --grantor agency.json --receiver {name}.json"
            );
            office.yes(&accredit).await.expect(0);
        }
        let create = format!("status create-list {} --issuer agency.json --json", office.r#type);
        office.list = text(&office.yes(&create).await.expect(0).json()["list"]);
        office.sillok("key handles --out handles.key").await.expect(0);
        fs::write(office.world.path("person.txt"), format!("{PERSON}\n")).unwrap();
        office
    }

    fn did(&self, name: &str) -> String {
        self.world.did(&format!("{name}.json"))
    }

    async fn sillok(&self, arguments: &str) -> Run {
        let run = self.world.sillok(arguments).await;
        self.printed.borrow_mut().push_str(&format!("{}{}", run.stdout, run.stderr));
        run
    }

    /// With the ministry as the submitter.
    async fn write(&self, arguments: &str) -> Run {
        self.sillok(&format!("{arguments} --submitter registrar.json")).await
    }

    async fn yes(&self, arguments: &str) -> Run {
        self.write(&format!("{arguments} --yes")).await
    }

    /// A change of the person's enrollment by the counter.
    fn change(&self, change: &str, reason: &str) -> String {
        let (agency, of) = (self.did("agency"), &self.r#type);
        format!(
            "status {change} --issuer {agency} --type {of} --handles handles.key --person person.txt --role counter.json --reason {reason} --channel office --level high"
        )
    }

    fn reserve(&self, change: &str, reason: &str, number: u32) -> String {
        let change = self.change(change, reason);
        format!("{change} --number {number} --valid-for 1year --qr qr{number}.json")
    }

    /// Has an application approved by the board, and submits it.
    async fn approved(&self, command: &str, name: &str) -> Run {
        let board = self.did("board");
        let application = format!("{name}.application");
        self.sillok(&format!("{command} --approver {board} --out {application}")).await.expect(0);
        self.sillok(&format!(
            "status approve {application} --role board.json --out {name}.approval --yes"
        ))
        .await
        .expect(0);
        self.yes(&format!(
            "status submit {application} --approval {name}.approval --role counter.json --json"
        ))
        .await
    }

    /// Reserved, approved and activated with a phone of this number.
    async fn enrolled(&self, number: u32) {
        self.approved(&self.reserve("reserve", "first-issue", number), &format!("r{number}"))
            .await
            .expect(0);
        self.activate(number).await.expect(0);
    }

    async fn activate(&self, number: u32) -> Run {
        self.sillok(&format!("key enrollment --out phone{number}.json")).await.expect(0);
        let activate = self.change("activate", "first-issue");
        self.yes(&format!(
            "{activate} --qr qr{number}.json --enrollment-key phone{number}.json --json"
        ))
        .await
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn code(run: Run) -> String {
    code_of(run, 1)
}

fn code_of(run: Run, exit: i32) -> String {
    text(&run.expect(exit).json()["error"]["code"])
}

/// What a node says of a rule.
fn problem(code: &str) -> v1::Problem {
    let (message, retry) = ("the node says so".to_owned(), "NEVER".to_owned());
    v1::Problem { code: code.to_owned(), message, retry, fields: Vec::new() }
}

/// A node that lies when it is told to.
#[derive(Clone, Default)]
struct Liar(Arc<AtomicBool>);

impl Liar {
    fn lies(&self, now: bool) {
        self.0.store(now, Ordering::SeqCst);
    }

    fn is_lying(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Of whatever is tried it says that it is so already.
    fn already(&self) -> Lie {
        let liar = self.clone();
        let say = move |answer: &mut v1::SimulateResponse| {
            if liar.is_lying() {
                let problem = Some(problem("ALREADY"));
                answer.violations = vec![v1::Violation { operation: Some(0), problem }];
                answer.previews.clear();
            }
        };
        Lie { simulate: Some(Arc::new(move |_, answer| say(answer))), ..Lie::default() }
    }

    /// Of entries that are drawn it says that they are in use, as when another desk has drawn them a moment ago.
    fn taken(&self) -> Lie {
        let liar = self.clone();
        let say = move |answer: &mut v1::SimulateResponse| {
            if liar.is_lying() {
                answer
                    .previews
                    .iter_mut()
                    .flat_map(|one| &mut one.entries)
                    .for_each(|one| one.from = 0);
            }
        };
        Lie { simulate: Some(Arc::new(move |_, answer| say(answer))), ..Lie::default() }
    }

    /// It orders what it is sent and says that it refused it.
    fn rejected(&self) -> Lie {
        let liar = self.clone();
        let say = move |answer: &mut v1::TransactionState| {
            if liar.is_lying() {
                let rejected = v1::Rejected { problem: Some(problem("NOT_GRANTED")) };
                answer.state = Some(v1::transaction_state::State::Rejected(rejected));
            }
        };
        Lie { transaction: Some(Arc::new(move |_, answer| say(answer))), ..Lie::default() }
    }
}

/// Draws an entry for the person.
fn draw(office: &Office) -> String {
    format!(
        "status set {} valid --handles handles.key --people person.txt --role counter.json --reason attribute-change --channel system --level high --json --draw 1",
        office.list
    )
}

/// The entry of the person, who is enrolled for it.
async fn issued(office: &Office) -> String {
    office.enrolled(1).await;
    text(&office.yes(&draw(office)).await.expect(0).json()["entries"])
}

#[tokio::test]
async fn an_entry_that_another_desk_drew_first_is_not_issued_again() {
    for lie in [Liar::already as fn(&Liar) -> Lie, Liar::taken] {
        let liar = Liar::default();
        let office = Office::of(world_with(lie(&liar)).await).await;
        office.enrolled(1).await;
        liar.lies(true);
        assert_eq!(code(office.yes(&draw(&office)).await), "ENTRY_TAKEN");
        liar.lies(false);
        let show = format!("status show {} --json", office.list);
        assert_eq!(office.sillok(&show).await.expect(0).json()["entries"]["valid"], 0);
    }
}

#[tokio::test]
async fn b17_no_node_ends_the_report_of_a_loss_by_saying_that_it_is_so_already() {
    let liar = Liar::default();
    let office = Office::of(world_with(liar.already()).await).await;
    let entry = issued(&office).await;
    let (list, of, counter) = (&office.list, &office.r#type, office.did("counter"));
    let revoke = format!(
        "status set {list} invalid --index {entry} --role counter.json --reason lost-device --channel office --json"
    );
    let withdraw = format!("trust withdraw {counter} issue --on {of} --by agency.json --json");
    let suspend = format!("{} --json", office.change("suspend", "suspected"));
    liar.lies(true);
    for report in [&revoke, &withdraw, &suspend] {
        assert_eq!(code_of(office.yes(report).await, 8), "NOT_PROVED", "{report}");
    }
    liar.lies(false);
    let check = format!("status check {list} {entry} --json");
    assert_eq!(office.sillok(&check).await.expect(0).json()["verdict"], "VALID");
    office.sillok(&format!("trust check {counter} issue --on {of}")).await.expect(0);
    // The same words are true once it is so, and then they are proved.
    for report in [&revoke, &withdraw] {
        office.yes(report).await.expect(0);
        liar.lies(true);
        assert_eq!(office.yes(report).await.expect(0).json()["already"], true, "{report}");
        liar.lies(false);
    }
}

#[tokio::test]
async fn a6_the_one_time_key_stays_while_its_reservation_may_be_ordered() {
    let liar = Liar::default();
    let office = Office::of(world_with(liar.rejected()).await).await;
    office.enrolled(1).await;
    liar.lies(true);
    let reserve = format!("{} --json", office.reserve("reserve", "device-change", 2));
    let refused = office.yes(&reserve).await;
    assert!(refused.stdout.contains("qr2.json stays"), "{}", refused.stdout);
    assert_eq!(code(refused), "NOT_GRANTED");
    assert!(office.world.path("qr2.json").exists());
    liar.lies(false);
    // It was ordered all the same: without the key there would be a reservation that nobody can activate.
    office.activate(2).await.expect(0);
}

#[tokio::test]
async fn rights_are_given_checked_and_ended_on_the_command_line() {
    let office = Office::new().await;
    let (counter, of) = (office.did("counter"), office.r#type.clone());
    let check = |action: &str| format!("trust check {counter} {action} --on {of} --json");
    let yes = office.sillok(&check("issue")).await.expect(0).json();
    let chain: Vec<String> =
        yes["chain"].as_array().unwrap().iter().map(|link| text(&link["organization"])).collect();
    assert_eq!(chain, [counter.clone(), office.did("agency"), office.did("registrar")]);
    assert_eq!(yes["verification"]["status"], "VALID");
    let no = office.sillok(&check("approve")).await.expect(9).json();
    assert_eq!((&no["holds"], &no["verification"]["status"]), (&false.into(), &"VALID".into()));
    let before = format!("trust check {counter} issue --on {of} --at 2020-01-01T00:00:00Z");
    assert!(office.sillok(&before).await.expect(9).stdout.contains("no (proved)"));
    office.sillok("trust check nobody issue").await.expect(64);
    office.sillok(&format!("trust check {counter} rule")).await.expect(64);

    // B8: who was registered by another authority agrees to what it is given, here or where its keys are.
    let accredit = format!("trust accredit {counter} approve --on {of} --grantor agency.json");
    let refused = office.yes(&accredit).await.expect(1);
    assert!(refused.stderr.contains("--receiver FILE"), "{}", refused.stderr);
    office.write(&format!("{accredit} --out grant.part")).await.expect(0);
    office.sillok("tx sign grant.part --key person.txt").await.expect(1);
    office.sillok("tx sign grant.part --key counter.json").await.expect(0);
    office.write("tx submit grant.part").await.expect(0);
    office.sillok(&check("approve")).await.expect(0);
    // B17: what is so already is no failure.
    let again = office.yes(&format!("{accredit} --json")).await.expect(0).json();
    assert_eq!((&again["already"], &again["code"]), (&true.into(), &"GRANT_EXISTS".into()));
    // Nothing is submitted that nobody confirmed.
    let withdraw = format!("trust withdraw {counter} approve --on {of} --by agency.json");
    let unconfirmed = office.write(&withdraw).await.expect(64);
    assert!(unconfirmed.stdout.contains("withdraw"), "{}", unconfirmed.stdout);
    assert!(unconfirmed.stderr.contains("--yes"), "{}", unconfirmed.stderr);

    let shown = office.sillok(&format!("trust show {counter} --json")).await.expect(0).json();
    assert_eq!(shown["rights"].as_array().unwrap().len(), 3);
    assert_eq!(shown["rights"][0]["runs"], true);
    assert!(
        office.sillok(&format!("trust show {counter}")).await.expect(0).stdout.contains("runs")
    );

    office
        .yes(&format!("trust withdraw {counter} approve --on {of} --by agency.json"))
        .await
        .expect(0);
    office.sillok(&check("approve")).await.expect(9);

    // Wound down it gains nothing and what it issued stays revocable; cut off, nothing is left.
    let agency = office.did("agency");
    office.yes(&format!("trust wind-down {agency} --by registrar.json")).await.expect(0);
    office.sillok(&check("issue")).await.expect(9);
    office.sillok(&check("revoke")).await.expect(0);
    office.yes(&format!("trust cut-off {agency} --by registrar.json")).await.expect(0);
    office.sillok(&check("revoke")).await.expect(9);
    let again = office.yes(&format!("trust cut-off {agency} --by registrar.json --json")).await;
    assert_eq!(again.expect(0).json()["already"], true);
    // What governance gave, no organization takes.
    let above = office.did("registrar");
    office.yes(&format!("trust cut-off {above} --by agency.json")).await.expect(9);
}

/// Decision 23: a deactivated organization gives nothing any more, and stands in nobody's way.
#[tokio::test]
async fn what_a_deactivated_organization_gave_is_ended_from_above() {
    let office = Office::new().await;
    let counter = office.did("counter");
    office.write("did deactivate agency.json").await.expect(0);
    office.yes(&format!("trust cut-off {counter} --by registrar.json")).await.expect(0);
    let shown = office.sillok(&format!("trust show {counter} --json")).await.expect(0).json();
    let rights = shown["rights"].as_array().unwrap();
    assert_eq!(rights.len(), 2);
    assert!(rights.iter().all(|right| right["runs"] == false), "{shown}");
}

/// A right of the board that the ministry gives, as a transaction.
fn given(office: &Office) -> v1::Transaction {
    let ministry = Identity::load(&office.world.path("registrar.json")).unwrap();
    let grant = v1::NewGrant {
        organization: Did::parse(&office.did("board")).unwrap().digest().to_vec(),
        action: v1::Action::Issue.into(),
        resource: hex::decode(&office.r#type).unwrap(),
        ..v1::NewGrant::default()
    };
    let genesis = *office.world.door.network().chain().hash();
    let draft = OperationDraft::accredit(&ministry.did, grant);
    let mut partly = TransactionBuilder::new(genesis, &ministry.did, now_ms() + 60_000)
        .push(draft, Terms::NAMED)
        .freeze();
    partly.sign(0, ministry.newest_secret(CAPABILITY_INVOCATION).unwrap()).unwrap();
    partly.submit(ministry.newest_secret(SUBMIT).unwrap()).unwrap()
}

#[tokio::test]
async fn what_is_given_while_rights_are_ended_is_told() {
    type Late = Arc<Mutex<Option<(Arc<Mutex<MemoryNetwork>>, v1::Transaction)>>>;
    let late = Late::default();
    let ordered = late.clone();
    // Ordered when the ending is tried, as soon as the door lets go of the network.
    let order = move || {
        if let Some((network, transaction)) = ordered.lock().unwrap().take() {
            std::thread::spawn(move || {
                network.lock().unwrap().commit(now_ms(), &[transaction]).unwrap();
            });
        }
    };
    let lie = Lie { simulate: Some(Arc::new(move |_, _| order())), ..Lie::default() };
    let office = Office::of(world_with(lie).await).await;
    let transaction = given(&office);
    *late.lock().unwrap() = Some((office.world.door.network.clone(), transaction));
    let cut_off = format!("trust cut-off {} --by registrar.json", office.did("board"));
    let first = office.yes(&cut_off).await.expect(9);
    assert!(first.stderr.contains("1 more were given meanwhile"), "{}", first.stderr);
    office.yes(&cut_off).await.expect(0);
    assert!(office.yes(&cut_off).await.expect(0).stdout.contains("nothing to do"));
}

#[tokio::test]
async fn what_an_old_answer_does_not_have_is_no_absence() {
    let office = Office::new().await;
    let (of, board, none) = (office.r#type.clone(), office.did("board"), "00".repeat(32));
    office.yes(&format!("trust cut-off {board} --by agency.json")).await.expect(0);
    office.write("did create --kind organization --out idle.json").await.expect(0);
    // Every answer is older than that.
    let old = |command: &str| format!("{command} --max-age 0s");
    for question in [
        format!("trust cut-off {board} --by agency.json --yes --submitter registrar.json"),
        format!("status show {none}"),
        format!("status check {none} 1"),
        format!("status check {none} 1 --decoys 1"),
        format!("type show {none}"),
        format!(
            "status set {} valid --draw 1 --role counter.json --reason attribute-change --channel system --yes --submitter registrar.json",
            office.list
        ),
    ] {
        assert_eq!(code_of(office.sillok(&old(&format!("{question} --json"))).await, 3), "STALE");
    }
    for question in [
        format!("trust check {board} approve --on {of}"),
        format!("trust show {}", office.did("idle")),
    ] {
        assert!(office.sillok(&question).await.stdout.contains("(proved)"), "{question}");
        let stale = office.sillok(&old(&question)).await.expect(3);
        assert!(!stale.stdout.contains("(proved)"), "{}", stale.stdout);
    }
}

#[tokio::test]
async fn a22_a_type_is_published_and_shown_on_the_command_line() {
    let office = Office::new().await;
    let of = office.r#type.clone();
    let shown = office.sillok(&format!("type show {of} --json")).await.expect(0).json();
    assert_eq!(
        (&shown["version"], &shown["content"]["policy"]["exclusive"]),
        (&1.into(), &true.into())
    );
    assert_eq!(text(&shown["owner"]), office.did("registrar"));
    // The next version; the first never changes.
    let file = office.world.path("resident-id.type.json");
    let changed = fs::read_to_string(&file).unwrap().replace("3years", "10years");
    fs::write(&file, changed).unwrap();
    let publish =
        format!("type publish resident-id.type.json --publisher registrar.json --type {of} --json");
    assert_eq!(office.yes(&publish).await.expect(0).json()["version"], "2");
    let show = |version: u32| format!("type show {of} --type-version {version} --json");
    let first = office.sillok(&show(1)).await.expect(0).json();
    assert_eq!((&first["version"], &first["latestVersion"]), (&1.into(), &2.into()));
    assert_eq!(first["content"], shown["content"]);
    office.sillok(&show(3)).await.expect(5);
    office.sillok(&format!("type show {}", "00".repeat(32))).await.expect(5);
    // Not the agency's, and a file that is wrong is refused by the name of its field.
    let stolen = publish.replace("registrar.json", "agency.json");
    assert!(["NOT_OWNER", "NOT_GRANTED"].contains(&code(office.yes(&stolen).await).as_str()));
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("office", "offise")).unwrap();
    let wrong = office.yes(&publish).await.expect(1);
    assert!(
        wrong.stdout.contains("channels") && wrong.stdout.contains("call-centre"),
        "{}",
        wrong.stdout
    );
}

#[tokio::test]
async fn a3_a6_b18_d3_the_life_of_an_enrollment_on_the_command_line() {
    let office = Office::new().await;
    // Without the approval that the type asks for it is refused, and the key that nobody will use is gone.
    let alone =
        office.yes(&format!("{} --json", office.reserve("reserve", "first-issue", 1))).await;
    assert!(alone.stdout.contains("--approver"), "{}", alone.stdout);
    assert_eq!(code(alone), "APPROVAL_MISSING");
    assert!(!office.world.path("qr1.json").exists());
    let board = office.did("board");
    let reserve = office.reserve("reserve", "first-issue", 1);
    office.sillok(&format!("{reserve} --approver {board}")).await.expect(64);
    office.enrolled(1).await;
    // A7: another phone comes too late.
    office.sillok("key enrollment --out other.json").await.expect(0);
    let activate = office.change("activate", "first-issue");
    let second =
        office.yes(&format!("{activate} --qr qr1.json --enrollment-key other.json --json")).await;
    assert_eq!(code(second), "ONE_DEVICE");

    // The credential itself.
    let (list, of) = (office.list.clone(), office.r#type.clone());
    let set = format!(
        "status set {list} valid --handles handles.key --people person.txt --role counter.json --reason attribute-change --channel system --level high --json"
    );
    let drawn = text(&office.yes(&format!("{set} --draw 1")).await.expect(0).json()["entries"]);
    let again = office.yes(&format!("{set} --index {drawn}")).await.expect(0).json();
    assert_eq!(again["already"], true);
    let check = |more: &str| format!("status check {list} {drawn} --json {more}");
    let valid = office.sillok(&check("")).await.expect(0).json();
    assert_eq!((&valid["verdict"], &valid["chunksAsked"]), (&"VALID".into(), &1.into()));
    assert_eq!(valid["verification"]["status"], "VALID");
    let hidden = office.sillok(&check("--decoys 3")).await.expect(0).json();
    assert_eq!((&hidden["verdict"], &hidden["chunksAsked"]), (&"VALID".into(), &4.into()));
    // D3, D9: what it is shown as, and for what.
    office.sillok(&check(&format!("--type {of} --purpose identification"))).await.expect(0);
    let other = "00".repeat(32);
    for (more, expected) in [
        ("--purpose civil", "PURPOSE_MISMATCH"),
        (&format!("--type {other}"), "WRONG_TYPE"),
        (&format!("--issuer {board}"), "WRONG_ISSUER"),
    ] {
        let refused = office.sillok(&check(more)).await.expect(9).json();
        assert_eq!(text(&refused["error"]["code"]), expected);
    }
    let shown = office.sillok(&format!("status show {list} --json")).await.expect(0).json();
    assert_eq!(
        (&shown["entries"]["valid"], &shown["entries"]["pending"]),
        (&1.into(), &131_071.into())
    );
    office.sillok(&format!("status show {other}")).await.expect(5);
    office.sillok(&format!("status check {other} 1")).await.expect(5);
    office.sillok(&format!("status check {list} 131072")).await.expect(5);

    // B17: lost, twice reported, once done. What is private is proved to the issuer; for others it stays open.
    let suspend = format!("{} --json", office.change("suspend", "suspected"));
    office.yes(&suspend).await.expect(0);
    let agency = office.did("agency");
    office.yes(&format!("trust accredit {agency} submit --grantor registrar.json")).await.expect(0);
    let as_issuer = |report: &str| format!("{report} --submitter agency.json --yes");
    let again = office.sillok(&as_issuer(&suspend)).await.expect(0).json();
    assert_eq!(again["already"], true);
    assert_eq!(code_of(office.yes(&suspend).await, 8), "NOT_PROVED");
    let now = office.sillok(&check("")).await.expect(9).json();
    assert_eq!((&now["verdict"], &now["usable"]), (&"SUSPENDED".into(), &false.into()));
    // B18: back with the phone's key alone.
    let reinstate = format!("{} --number 1", office.change("reinstate", "found"));
    let found = |key: &str| format!("{reinstate} --enrollment-key {key}");
    let back = format!("{} --approver {board} --out back.application", found("phone1.json"));
    office.sillok(&back).await.expect(0);
    office
        .sillok("status approve back.application --role board.json --out back.approval --yes")
        .await
        .expect(0);
    let submit = "status submit back.application --approval back.approval --role counter.json";
    assert_ne!(office.yes(submit).await.exit, 0, "the phone has not signed");
    office.yes(&format!("{submit} --holder-key other.json")).await.expect(64);
    office.yes(&format!("{submit} --holder-key phone1.json")).await.expect(0);

    office.sillok(&check("")).await.expect(0);

    // A14, A17: reissued after a loss, old and new at one height.
    let reissue = office.reserve("reissue", "lost-device", 2);
    office.approved(&reissue, "second").await.expect(0);
    assert_eq!(office.sillok(&check("")).await.expect(9).json()["verdict"], "INVALID");
    // The phone keeps its key: it signs the transaction where it is.
    let made = office.sillok("key enrollment --out phone2.json --algorithm p256 --json").await;
    let public = text(&made.expect(0).json()["publicKeyMultibase"]);
    let activate = office.change("activate", "first-issue");
    office
        .sillok(&format!("{activate} --qr qr2.json --enrollment-key {public} --out a.application"))
        .await
        .expect(0);
    office.write("status submit a.application --role counter.json --out a.part").await.expect(0);
    let shown = office.sillok("tx show a.part").await.expect(0).stdout;
    assert!(shown.contains("activate") && shown.contains("enrollment key"), "{shown}");
    let unsigned = office.sillok("tx sign a.part --key board.json").await.expect(1);
    assert!(unsigned.stdout.contains("enrollment key"), "shown before anything is signed");
    office.sillok("tx sign a.part --key qr2.json --key phone2.json").await.expect(0);
    office.write("tx submit a.part").await.expect(0);

    // Ended for good, and nothing comes back.
    let end = format!("{} --json", office.change("end", "end-of-use"));
    office.yes(&end).await.expect(0);
    assert_eq!(office.sillok(&as_issuer(&end)).await.expect(0).json()["already"], true);
    assert_eq!(code(office.yes(&suspend).await), "REVOKED");
    let early = office.reserve("reserve", "first-issue", 2).replace("qr2.json", "qr2b.json");
    let stale = office.approved(&early, "early").await;
    assert!(stale.stdout.contains("--number 3"), "{}", stale.stdout);
    assert_eq!(code(stale), "STALE_NUMBER");

    a8_the_person_is_nowhere(&office);
}

/// What names the person is in no file but its own, in nothing printed and in no leaf.
fn a8_the_person_is_nowhere(office: &Office) {
    let forms = [PERSON.to_owned(), hex::encode(PERSON), PERSON.replace('-', "")];
    let mut searched = 0;
    for entry in fs::read_dir(office.world.directory.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && !path.ends_with("person.txt") {
            let content = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            for form in &forms {
                assert!(!content.contains(form.as_str()), "{}", path.display());
            }
            searched += 1;
        }
    }
    assert!(searched > 20, "only {searched} files were searched");
    let printed = office.printed.borrow();
    assert!(printed.len() > 1_000);
    for form in &forms {
        assert!(!printed.contains(form.as_str()));
    }
}

#[tokio::test]
async fn what_a_desk_is_asked_wrongly_is_said_before_anything_is_sent() {
    let office = Office::new().await;
    let suspend = office.change("suspend", "suspected");
    for (from, to, exit) in [
        ("suspected", "because", 64),
        ("--channel office", "--channel window", 64),
        ("handles.key", "qr.json", 1),
        ("person.txt", "nobody.txt", 1),
    ] {
        office.yes(&suspend.replace(from, to)).await.expect(exit);
    }
    for (people, what) in [("", "no people"), ("1\n2\n", "several people"), ("홍길동\n", "ASCII")]
    {
        fs::write(office.world.path("person.txt"), people).unwrap();
        let refused = office.yes(&suspend).await.expect(64);
        assert!(refused.stderr.contains(what), "{}", refused.stderr);
        assert!(!refused.stderr.contains("홍길동"));
    }
    // A8: the number in the place of its file is not said again, to wherever errors are kept.
    let typed = office.yes(&suspend.replace("person.txt", PERSON)).await.expect(1);
    assert!(typed.stderr.contains("the file of people"), "{}", typed.stderr);
    assert!(!typed.stderr.contains(PERSON) && !typed.stdout.contains(PERSON));
    let people = format!(
        "status set {} valid --draw 1 --handles handles.key --people {PERSON} --role counter.json --reason attribute-change --channel system --json",
        office.list
    );
    let typed = office.yes(&people).await.expect(1);
    assert!(!typed.stderr.contains(PERSON) && !typed.stdout.contains(PERSON));
    // A secret on the command line would be seen by every process of the machine.
    office.yes(&format!("{suspend} --person-number 900101-1234567")).await.expect(64);
}

/// The commands of a section of docs/client.md, each with the exit code that it says it has.
fn commands(section: &str) -> Vec<(String, i32)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/client.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, after) = text.split_once(&format!("\n## {section}\n")).unwrap();
    let (_, block) = after.split_once("```sh\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let lines = block.replace("\\\n", " ");
    let lines = lines.lines().filter_map(|line| line.strip_prefix("sillok "));
    lines
        .map(|line| {
            let (line, remark) = line.split_once(" # exit code ").unwrap_or((line, "0"));
            (line.to_owned(), remark.split(':').next().unwrap().parse().unwrap())
        })
        .collect()
}

/// Runs the commands of a section as the ministry, with what they print in the place of the words in capitals.
async fn follow(section: &str) -> Vec<Value> {
    let world = world().await;
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples");
    fs::create_dir_all(world.path("docs/examples")).unwrap();
    for entry in fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        let to = world.path("docs/examples").join(path.file_name().unwrap());
        fs::copy(path, to).unwrap();
    }
    fs::write(world.path("person.txt"), PERSON).unwrap();
    let mut known = vec![("DID", world.did("registrar.json"))];
    let mut answers = Vec::new();
    for (line, exit) in commands(section) {
        let words = line.split_whitespace().map(|word| {
            known.iter().find(|(name, _)| *name == word).map_or(word, |(_, value)| value.as_str())
        });
        let mut command = words.collect::<Vec<_>>().join(" ");
        let asks = ["type publish", "trust accredit", "status create-list", "status set"]
            .into_iter()
            .chain(["status approve", "status submit", "status activate", "status end"]);
        if asks.into_iter().any(|one| command.starts_with(one)) {
            command.push_str(" --yes");
        }
        let run = world.sillok_as("registrar.json", &format!("{command} --json")).await;
        let answer = run.expect(exit).json();
        for (name, field) in
            [("TYPE", "type"), ("LIST", "list"), ("INDEX", "entries"), ("BOARD", "did")]
        {
            if let Some(value) = answer[field].as_str()
                && !known.iter().any(|(one, _)| *one == name)
            {
                known.push((name, value.to_owned()));
            }
        }
        answers.push(answer);
    }
    answers
}

#[tokio::test]
async fn status_and_trust_in_ten_commands_work_as_written() {
    let answers = follow("Status and trust in ten commands").await;
    // The first of the ten is for the shell.
    assert_eq!(answers.len(), 9);
    let verdicts: Vec<&Value> =
        answers.iter().map(|answer| &answer["verdict"]).filter(|one| !one.is_null()).collect();
    assert_eq!(verdicts, ["VALID", "SUSPENDED", "INVALID"]);
}

#[tokio::test]
async fn the_commands_of_a_desk_work_as_written() {
    let answers = follow("At a desk").await;
    assert_eq!(answers.len(), 10);
}
