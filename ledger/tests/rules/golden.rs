//! The golden bytes of the record: every string that is hashed or signed about an operation, a transaction and a block,
//! for clients in other languages. They are law: a change to one is a new protocol version (PROTOCOL, Part I).
//!
//! Keys: the secret of a key is BLAKE3 of its name (`alice/1`, `p256:alice`, …), as a seed of Ed25519 or a scalar of
//! P-256; an X25519 key is BLAKE3 of its name with the two highest bits of the last byte cleared. Signatures are
//! deterministic (RFC 8032; RFC 6979, normalized to low s). Logs, trees, votes and proofs are in `proofs.json`.

use crate::desk::{
    SUPERSEDED, VALID, activate, end, handle, issue, listed, office, reinstate, reserve, set,
    suspend,
};
use crate::grants::{
    TYPE, accredit_with, accredited, at_once, governed, publish, type_name, withdraw, withdrawn,
};
use crate::motion::{admit_keys, join, observe, rekey, remove, replace, unobserve};
use crate::parameters::set as set_parameters;
use crate::story::{
    created, deactivate, founded, give_up, happened_in, restore, set_device, take_away, together,
    update,
};
use crate::support::{START_MS, STEP_MS, World, agreement, device, document, key, sign};
use sillok_did_method::{
    Did, Recovery, acting_role_string, approval_string, author_statement, author_statement_hash,
    author_string, credential_type_name, document_hash, head_hash, holder_string, inception,
    inception_digest, key_id, operation_hash, operation_list_hash, prepare_string,
    private_content_hash, read_string, status_list_name, submitter_string, transaction_id,
};
use sillok_ledger::lane::place_in_turn;
use sillok_ledger::{
    LeafKind, TransactionLeaf, TreeKey, genesis_header, header_hash, organization_digest, pad,
};
use sillok_proto::{Hash, Tag, encode, v1};
use std::collections::BTreeMap;
use v1::read_statement::Read;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/record.json");

#[derive(Default)]
struct Vectors(BTreeMap<String, String>);

impl Vectors {
    fn put(&mut self, name: impl Into<String>, bytes: &[u8]) {
        self.text(name, hex::encode(bytes));
    }

    fn text(&mut self, name: impl Into<String>, text: String) {
        assert!(self.0.insert(name.into(), text).is_none(), "each name once");
    }
}

fn keys_and_documents(out: &mut Vectors) {
    for name in ["alice/1", "p256:alice", "x25519:alice"] {
        out.put(format!("key {name}"), &encode(&key(name)));
        out.put(format!("key {name} id"), &key_id(&key(name)).0);
    }
    for name in ["alice/1", "p256:alice"] {
        out.put(format!("signature of {name} over \"message\""), &sign(name, b"message").signature);
    }
    let holder = document([device("alice/1"), agreement("x25519:alice")]);
    out.put("document holder", &encode(&holder));
    out.put("document holder hash", &document_hash(&holder).0);
    out.put("document empty hash", &document_hash(&v1::DidDocument::default()).0);

    let authority = Hash([0xaa; 32]);
    let assisted = Recovery::Assisted { countersigner: Hash([0xbb; 32]) };
    for (name, recovery) in [("none", Recovery::None), ("countersigner bb*32", assisted)] {
        let name = format!("inception holder, authority aa*32, recovery {name}");
        let inception = inception(v1::Kind::Holder, &holder, Some(&authority), &recovery);
        let digest = inception_digest(&inception);
        out.put(&name, &encode(&inception));
        out.put(format!("{name}, digest"), &digest.0);
        out.text(format!("{name}, did"), Did::new("test", digest).unwrap().to_string());
    }
}

fn network(out: &mut Vectors, world: &World) {
    let chain = &world.chain;
    out.put("genesis", &encode(chain.genesis()));
    out.put("genesis hash", &chain.hash().0);
    let registrar = crate::support::organization_document("registrar");
    out.put("genesis organization registrar digest", &organization_digest(&registrar).0);
    let root = Hash::from_slice(&world.tip.header.state_root).unwrap();
    let header = genesis_header(chain, root);
    out.put("genesis state root", &root.0);
    out.put("genesis header", &encode(&header));
    out.put("genesis header hash", &header_hash(&header).0);
    for (name, kind) in [
        ("head", LeafKind::Head),
        ("used-key", LeafKind::UsedKey),
        ("list", LeafKind::List),
        ("chunk", LeafKind::Chunk),
        ("entry-record", LeafKind::EntryRecord),
        ("grant", LeafKind::Grant),
        ("type", LeafKind::Type),
        ("governance", LeafKind::Governance),
        ("parameter", LeafKind::Parameter),
        ("private", LeafKind::Private),
    ] {
        let key = TreeKey::new(kind, b"name");
        out.put(format!("tree-key of kind {name} ({}), name \"name\"", kind as u8), key.as_bytes());
    }
    let place = place_in_turn(&Hash([0xaa; 32]), &Hash([0xbb; 32]));
    out.put("turn, parent aa*32, submitter bb*32", &place.0);
}

/// Each kind of operation, with what its authors sign and the head it writes.
fn operations(out: &mut Vectors) {
    let alice = || created("alice");
    let genesis = *World::new().chain.hash();
    for (name, happened, draft) in [
        ("create holder", vec![], alice()),
        ("create organization", vec![], founded("agency")),
        ("update", vec![alice()], update("alice").any()),
        ("update of the recovery rule", vec![alice()], update("alice").recovery(None)),
        ("set device by controller", vec![alice()], set_device("alice", "p256:alice").whole_list()),
        ("set device none by controller", vec![alice()], give_up("alice")),
        ("set device none by authority", vec![alice()], take_away("alice")),
        ("set device by authority and countersigner", vec![alice()], restore("alice", "alice/2")),
        ("deactivate", vec![alice()], deactivate("alice")),
    ] {
        let mut world = happened_in(&happened);
        let transaction = world.transaction(&draft);
        let body = transaction.body.clone().unwrap();
        let signatures = transaction.signatures.clone().unwrap();
        out.put(format!("operation {name}"), &encode(&body.operations[0]));
        out.put(
            format!("operation {name}, hash"),
            &operation_hash(&genesis, &body.operations[0]).0,
        );
        out.put(
            format!("operation {name}, list hash"),
            &operation_list_hash(&genesis, &body.operations).0,
        );
        let statement = author_statement(&genesis, &body, 0, &signatures.operations[0]).unwrap();
        if !signatures.operations[0].signatures.is_empty() {
            out.put(format!("operation {name}, author statement"), &encode(&statement));
            out.put(
                format!("operation {name}, author string"),
                &author_string(&genesis, &statement),
            );
            out.put(
                format!("operation {name}, author statement hash"),
                &author_statement_hash(&genesis, &statement).0,
            );
        }
        transaction_parts(out, name, &genesis, &transaction);
        world.run_transaction(transaction, world.next_time_ms(STEP_MS)).unwrap();
        let head = world.heads_written().pop().unwrap();
        out.put(format!("head after {name}"), &encode(&head));
        out.put(format!("head after {name}, hash"), &head_hash(&head).0);
    }
}

/// Each operation on members, with what its author signs; and the leaves that they write.
fn governance(out: &mut Vectors) {
    let mut world = World::new();
    let genesis = *world.chain.hash();
    let admitted = admit_keys("ministry", "");
    let figures = set_parameters(|parameters| {
        parameters.valid_until_window_ms = 240_000;
        parameters.heartbeat_ms = 5_000;
        parameters.block_bytes_max = 4 * 1024 * 1024;
    });
    let changes = [
        ("admit operator", admitted.clone()),
        ("replace operator", replace("operator-2", "2")),
        ("remove operator", remove("operator-4")),
        ("admit observer", observe("new/node")),
        ("remove observer", unobserve("observer/node")),
        ("set parameters", figures.clone()),
    ];
    for (name, motion) in changes {
        out.put(format!("proposal {name}"), &encode(&motion.proposal(&world)));
        out.put(format!("proposal {name}, hash"), &motion.hash(&world).0);
    }
    let leaf = |out: &mut Vectors, world: &World, name: &str, key: TreeKey| {
        out.put(format!("leaf {name}, key"), key.as_bytes());
        out.put(format!("leaf {name}"), &world.state.leaves[&key]);
    };
    leaf(out, &world, "members of the genesis", TreeKey::members());
    leaf(out, &world, "parameters of the genesis", TreeKey::parameters());
    let operator_1 = TreeKey::operator(&world.did("operator-1"));
    leaf(out, &world, "operator of the genesis", operator_1);
    let observer = TreeKey::observer(&key("observer/node").point);
    leaf(out, &world, "observer of the genesis", observer);
    for (name, draft) in [
        ("propose", admitted.proposed_by("operator-1")),
        ("approve", admitted.approved_by("operator-2")),
        ("approve and execute", admitted.approved_by("operator-3")),
        ("join", join("ministry", "validator")),
        ("rekey", rekey("ministry", "validator2")),
    ] {
        let transaction = world.transaction(&draft);
        let body = transaction.body.clone().unwrap();
        let terms = &transaction.signatures.as_ref().unwrap().operations[0];
        let statement = author_statement(&genesis, &body, 0, terms).unwrap();
        out.put(format!("operation {name}"), &encode(&body.operations[0]));
        out.put(
            format!("operation {name}, hash"),
            &operation_hash(&genesis, &body.operations[0]).0,
        );
        out.put(format!("operation {name}, author string"), &author_string(&genesis, &statement));
        transaction_parts(out, name, &genesis, &transaction);
        world.run_transaction(transaction, world.next_time_ms(STEP_MS)).unwrap();
        out.put(format!("state root after {name}"), &world.tip.header.state_root);
        let proposal = TreeKey::proposal(&admitted.hash(&world));
        if ["propose", "approve", "approve and execute"].contains(&name) {
            out.put(format!("leaf proposal after {name}"), &world.state.leaves[&proposal]);
        }
        if ["approve and execute", "join", "rekey"].contains(&name) {
            let ministry = TreeKey::operator(&world.did("ministry"));
            let text = |what| format!("{what} after {name}");
            out.put(text("leaf operator ministry"), &world.state.leaves[&ministry]);
            out.put(text("leaf members"), &world.state.leaves[&TreeKey::members()]);
        }
    }
    // Five operators by now.
    let four = ["operator-1", "operator-2", "operator-3", "operator-4"];
    world.run(&together(&figures.carried_by(&four))).unwrap();
    assert_eq!(world.tip.parameters.heartbeat_ms, 5_000, "carried");
    leaf(out, &world, "parameters after set parameters", TreeKey::parameters());
    out.put("state root after set parameters", &world.tip.header.state_root);
}

/// Each operation of trust, with what its authors sign; and the leaves that they write.
fn trust(out: &mut Vectors) {
    let mut world = World::new();
    let genesis = *world.chain.hash();
    world.run(&founded("agency")).unwrap();
    let rights = [v1::Action::Accredit, v1::Action::Issue, v1::Action::DefineType];
    world.run(&governed(&rights.map(|action| ("registrar", action)))).unwrap();
    let motions = [
        ("accredit", accredited("agency", v1::Action::Issue, &TYPE, |_| {})),
        ("withdraw", withdrawn("agency", v1::Action::Issue, &TYPE, 0)),
    ];
    for (name, motion) in &motions {
        out.put(format!("proposal {name}"), &encode(&motion.proposal(&world)));
        out.put(format!("proposal {name}, hash"), &motion.hash(&world).0);
    }
    let full = |_: &World, grant: &mut v1::NewGrant| {
        grant.until_ms = START_MS + 86_400_000;
        (grant.gained_hourly, grant.suspended_hourly, grant.ended_hourly) = (100, 20, 10);
        grant.name = "Agency 서울".to_owned();
    };
    let name_1 = type_name(&world, "registrar", 1);
    let agency = world.did("agency");
    let grant = TreeKey::grant(&agency, v1::Action::Issue, &TYPE);
    let of_type = [
        ("credential type", TreeKey::credential_type(&name_1)),
        ("type version 1", TreeKey::type_version(&name_1, 1)),
    ];
    for (name, draft, leaves) in [
        (
            "accredit",
            accredit_with("registrar", "agency", v1::Action::Issue, &TYPE, full),
            vec![
                ("grant", grant),
                ("grant index", TreeKey::grant_index(&agency)),
                ("name", TreeKey::organization(&agency)),
            ],
        ),
        (
            "withdraw",
            withdraw("registrar", "agency", v1::Action::Issue, &TYPE, 0),
            vec![("grant", grant)],
        ),
        ("accredit by governance", at_once(&motions[0].1), vec![("grant", grant)]),
        ("publish type", publish("registrar", ("registrar", 1), 1, |_| {}), of_type.to_vec()),
        (
            "publish type, version 2",
            publish("registrar", ("registrar", 1), 2, |_| {}),
            vec![of_type[0], ("type version 2", TreeKey::type_version(&name_1, 2))],
        ),
    ] {
        let transaction = world.transaction(&draft);
        let body = transaction.body.clone().unwrap();
        let terms = &transaction.signatures.as_ref().unwrap().operations[0];
        let statement = author_statement(&genesis, &body, 0, terms).unwrap();
        if body.operations.len() == 1 {
            out.put(format!("operation {name}"), &encode(&body.operations[0]));
            out.put(
                format!("operation {name}, hash"),
                &operation_hash(&genesis, &body.operations[0]).0,
            );
            let string = author_string(&genesis, &statement);
            out.put(format!("operation {name}, author string"), &string);
            transaction_parts(out, name, &genesis, &transaction);
        }
        world.run_transaction(transaction, world.next_time_ms(STEP_MS)).unwrap();
        for (what, key) in leaves {
            out.put(format!("leaf {what} after {name}, key"), key.as_bytes());
            out.put(format!("leaf {what} after {name}"), &world.state.leaves[&key]);
        }
        out.put(format!("state root after {name}"), &world.tip.header.state_root);
    }
}

fn transaction_parts(out: &mut Vectors, name: &str, genesis: &Hash, transaction: &v1::Transaction) {
    let body = transaction.body.as_ref().unwrap();
    let id = transaction_id(genesis, body);
    let leaf = TransactionLeaf::of(genesis, transaction).unwrap();
    out.put(format!("transaction {name}"), &encode(transaction));
    out.put(format!("transaction {name}, body"), &encode(body));
    out.put(format!("transaction {name}, id"), &id.0);
    out.put(format!("transaction {name}, submitter string"), &submitter_string(genesis, &id));
    out.put(
        format!("transaction {name}, public signatures"),
        &encode(transaction.signatures.as_ref().unwrap()),
    );
    out.put(format!("transaction {name}, signatures hash"), &leaf.signatures.0);
    out.put(format!("transaction {name}, leaf"), &leaf.hash().0);
}

/// Each operation on status with its private parts, and the leaves that they write. See `desk` for the organizations.
fn status(out: &mut Vectors) {
    let mut world = office(&[crate::story::meanwhile(|world| {
        world.give("counter", v1::Action::Issue, "badge", "agency", [9, 9, 9]);
    })]);
    let genesis = *world.chain.hash();
    let (agency, id) = (world.did("agency"), world.did("id"));
    let list = world.did("ids");
    let person = TreeKey::enrollment(&agency, &id, &handle("alice"));
    let usage = TreeKey::usage(&world.did("counter"), v1::Action::Issue, &world.did("badge").0);
    let of_list = [
        ("chunk", TreeKey::status_chunk(&list, 0)),
        ("entry-record", TreeKey::entry_record(&list, 0)),
    ];
    let mut leaves = vec![("enrollment", person), ("usage", usage)];
    leaves.extend(of_list);
    leaves.push(("list", TreeKey::status_list(&list)));
    for (name, draft) in [
        ("create list", listed("agency", "id", "golden")),
        ("reserve", reserve("alice", 1).code("agency")),
        ("activate", activate("alice", 1)),
        ("set status valid, exclusive", issue("ids", &[(1, "alice"), (2, "alice")])),
        ("set status valid", set("badges", VALID, &[1, 8_192])),
        ("set status superseded", set("ids", SUPERSEDED, &[1]).grace(1_000)),
        ("suspend", suspend("alice")),
        ("reinstate", reinstate("alice", 1)),
        ("end", end("alice").invalid_from(-1)),
    ] {
        let transaction = world.transaction(&draft);
        let body = transaction.body.clone().unwrap();
        let operation = operation_hash(&genesis, &body.operations[0]);
        out.put(format!("operation {name}"), &encode(&body.operations[0]));
        out.put(format!("operation {name}, hash"), &operation.0);
        if let Some(content) = transaction.private_contents.first() {
            out.put(
                format!("operation {name}, private content hash"),
                &private_content_hash(content).0,
            );
            let private = transaction.private_signatures.as_ref().unwrap();
            out.put(format!("operation {name}, private signatures"), &encode(private));
        }
        transaction_parts(out, name, &genesis, &transaction);
        let built = world.build(&[transaction], world.next_time_ms(STEP_MS));
        assert_eq!(built.refused, vec![]);
        out.put(format!("state root after {name}"), &built.outcome.header.state_root);
        for (leaf, key) in &leaves {
            if let Some(value) = built.outcome.changes.leaves.get(key) {
                // Of a chunk the beginning: the rest is pending.
                let value = &value[..value.len().min(512)];
                out.put(format!("leaf {leaf} after {name}"), value);
            }
        }
        let approved = TreeKey::approved(&operation);
        if let Some(value) = built.outcome.changes.leaves.get(&approved) {
            out.put(format!("leaf approved after {name}, key"), approved.as_bytes());
            out.put(format!("leaf approved after {name}"), value);
        }
        world.commit(&built);
    }
    for (leaf, key) in leaves {
        out.put(format!("leaf {leaf}, key"), key.as_bytes());
    }
    out.put("leaf list", &world.state.leaves[&TreeKey::status_list(&list)]);
}

/// Each private part by itself.
fn private_parts(out: &mut Vectors) {
    let mut world = World::new();
    let genesis = *world.chain.hash();
    let operation = Hash([0x0d; 32]);
    let approval =
        v1::ApprovalStatement { operation_hash: operation.to_vec(), expires_ms: 1_795_251_900_000 };
    out.put("approval statement", &encode(&approval));
    out.put("approval string", &approval_string(&genesis, &approval));
    let acting = v1::ActingStatement { transaction_id: vec![0x0e; 32], operation: 1 };
    out.put("acting statement", &encode(&acting));
    out.put("acting role string", &acting_role_string(&genesis, &acting));
    out.put("holder string", &holder_string(&genesis, &acting));
    let id = Hash([0x0e; 32]);
    out.put("prepare string of transaction 0e*32", &prepare_string(&genesis, &id));
    for (name, read) in [
        ("entries", Read::Entries(v1::ReadEntries { list: vec![1; 32], indexes: vec![0, 300] })),
        (
            "an enrollment",
            Read::Enrollment(v1::ReadEnrollment {
                issuer: vec![2; 32],
                r#type: vec![3; 32],
                handle: vec![4; 32],
            }),
        ),
        ("contents", Read::Contents(v1::ReadContents { transaction_id: id.to_vec() })),
    ] {
        let statement = v1::ReadStatement {
            organization: vec![5; 32],
            header_height: 700,
            header_hash: vec![6; 32],
            read: Some(read),
        };
        out.put(format!("read statement of {name}"), &encode(&statement));
        out.put(format!("read string of {name}"), &read_string(&genesis, &statement));
    }

    let first = v1::TypeVersion { schema_hash: vec![0x11; 32], ..v1::TypeVersion::default() };
    let publisher = Hash([0x12; 32]);
    let credential_type = credential_type_name(&genesis, &publisher, &[0x13; 16], &first);
    out.put("name of a credential type", &credential_type.0);
    let list = status_list_name(&genesis, &publisher, &credential_type, &[0x14; 16]);
    out.put("name of a status list", &list.0);

    let smallest = pad(v1::PrivateContent {
        salt: vec![1; 32],
        acting_role: vec![2; 32],
        ..v1::PrivateContent::default()
    });
    let largest = pad(v1::PrivateContent {
        approvers: (4..8).map(|n| vec![n; 32]).collect(),
        channel: v1::Channel::System.into(),
        reason: v1::Reason::Found.into(),
        assurance_level: v1::AssuranceLevel::High.into(),
        organization_code: vec![8; 32],
        handles: [[3; 32], [4; 32]].concat(),
        padding: vec![],
        ..smallest.clone()
    });
    let enrollment = pad(v1::PrivateContent {
        handles: vec![3; 32],
        enrollment: Some(v1::EnrollmentRequest {
            change: v1::EnrollmentChange::Reserve.into(),
            number: 1,
            one_time_key: Some(key("p256:alice")),
            deadline_ms: approval.expires_ms,
            valid_until_ms: approval.expires_ms + 1,
            new_handle: vec![4; 32],
            enrollment_key: Some(key("alice/1")),
            grace_until_ms: approval.expires_ms + 2,
            invalid_from_ms: approval.expires_ms + 3,
        }),
        padding: vec![],
        ..smallest.clone()
    });
    let contents = [
        ("smallest", &smallest, 0),
        ("of two handles", &largest, 2),
        ("enrollment", &enrollment, 1),
    ];
    for (name, content, handles) in contents {
        assert_eq!(sillok_ledger::check_private_content(content, handles), Ok(()));
        out.put(format!("private content {name}"), &encode(content));
        out.put(format!("private content {name}, hash"), &private_content_hash(content).0);
    }

    let private = v1::PrivateSignatures {
        salt: vec![9; 32],
        operations: vec![v1::PrivateOperationSignatures {
            operation: 0,
            acting_role: Some(sign("role", &acting_role_string(&genesis, &acting))),
            approvals: vec![v1::Approval {
                expires_ms: approval.expires_ms,
                signature: Some(sign("approver", &approval_string(&genesis, &approval))),
            }],
            holder_keys: vec![sign("p256:alice", &holder_string(&genesis, &acting))],
        }],
    };
    let mut transaction = world.transaction(&created("alice"));
    transaction.private_signatures = Some(private.clone());
    let leaf = TransactionLeaf::of(&genesis, &transaction).unwrap();
    out.put("private signatures", &encode(&private));
    out.put("private signatures hash", &leaf.private_signatures.0);
    out.put("private signatures hash of none", &Tag::PrivateSignatures.hash(&[]).0);
    out.put("transaction leaf with private signatures", &leaf.hash().0);

    transaction.private_signatures = None;
    let none = TransactionLeaf::of(&genesis, &transaction).unwrap();
    assert_eq!(none.private_signatures, Tag::PrivateSignatures.hash(&[]));
    let mut other_salt = private;
    other_salt.salt = vec![10; 32];
    transaction.private_signatures = Some(other_salt);
    let other = TransactionLeaf::of(&genesis, &transaction).unwrap();
    assert_ne!(other.hash(), leaf.hash(), "the salt is in the leaf");
}

fn blocks(out: &mut Vectors) {
    let mut world = World::new();
    let pair = together(&[created("alice").whole_list(), created("bob").whole_list()]);
    let bound = world.transaction(&pair);
    transaction_parts(out, "create twice, whole list", world.chain.hash(), &bound);

    let transaction = world.transaction(&created("alice"));
    let time_ms = world.next_time_ms(STEP_MS);
    for (name, transactions) in [("of one create", vec![transaction]), ("empty", vec![])] {
        let built = world.build(&transactions, time_ms);
        let header = &built.outcome.header;
        out.put(format!("block {name}"), &encode(&built.block));
        out.put(format!("block {name}, header"), &encode(header));
        out.put(format!("block {name}, hash"), &header_hash(header).0);
        out.put(format!("block {name}, transactions root"), &header.transactions_root);
        out.put(format!("block {name}, state root"), &header.state_root);
        out.put(format!("block {name}, history root"), &header.history_root);
    }
}

#[test]
fn signed_and_hashed_bytes_are_golden() {
    let mut out = Vectors::default();
    keys_and_documents(&mut out);
    network(&mut out, &World::new());
    operations(&mut out);
    governance(&mut out);
    trust(&mut out);
    status(&mut out);
    private_parts(&mut out);
    blocks(&mut out);
    let Vectors(actual) = out;
    let golden: BTreeMap<String, String> =
        serde_json::from_str(include_str!("../../../vectors/record.json")).unwrap();
    let differing: Vec<String> = actual
        .keys()
        .chain(golden.keys())
        .filter(|name| actual.get(*name) != golden.get(*name))
        .map(|name| format!("{name}\n  was {:?}\n  is  {:?}", golden.get(name), actual.get(name)))
        .collect();
    assert!(
        differing.is_empty(),
        "these bytes are law: a change is a new protocol version and needs a line in docs/CHANGELOG.md\n{}\n\
         the whole of {FILE} would be:\n{}",
        differing.join("\n"),
        serde_json::to_string_pretty(&actual).unwrap()
    );
}
