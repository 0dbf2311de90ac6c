//! Answers of a node with their verdicts, for authors of other clients: `vectors/answers.json`.
//!
//! All is made here from nothing but names: the secret of a key is BLAKE3 of its name, and signatures are deterministic.
//! So the file is made again by each run and must not change.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops here")]

use serde_json::{Value, json};
use sillok_client::identity::{Identity, IdentityKey, document_of};
use sillok_client::keys::{KeyAlgorithm, SecretKey};
use sillok_client::testing::{MemoryNetwork, MemoryOperator};
use sillok_client::transaction::{OperationDraft, Terms, TransactionBuilder};
use sillok_client::verify::{Answer, Asked, Policy, Resolution, Verifier, VerifyError};
use sillok_did_method::{
    ASSERTION_METHOD, AUTHENTICATION, CAPABILITY_INVOCATION, Did, SUBMIT, format_datetime,
};
use sillok_ledger::light::{self, TrustedHeader};
use sillok_ledger::proof::value_hash;
use sillok_ledger::{default_parameters, header_hash, organization_digest};
use sillok_proto::{Hash, encode, v1};
use std::fmt::Debug;
use std::path::Path;
use v1::Kind;

const NETWORK: &str = "vectors";
const START_MS: u64 = 1_795_251_600_000;
const DEVICE: u32 = AUTHENTICATION | ASSERTION_METHOD | CAPABILITY_INVOCATION;

fn key(algorithm: KeyAlgorithm, name: &str) -> SecretKey {
    SecretKey::from_bytes(algorithm, &value_hash(name.as_bytes()).0).unwrap()
}

fn identity_key(algorithm: KeyAlgorithm, name: &str, relationships: u32) -> IdentityKey {
    IdentityKey { secret: key(algorithm, name), relationships, expires_ms: 0 }
}

fn organization(network: &str, name: &str) -> Identity {
    let keys = vec![
        identity_key(KeyAlgorithm::Ed25519, &format!("{name}/control"), CAPABILITY_INVOCATION),
        identity_key(KeyAlgorithm::Ed25519, &format!("{name}/submit"), SUBMIT),
    ];
    Identity::new(network, Kind::Organization, keys, None, None).unwrap()
}

/// A network of four validators, whose keys are named after `name`, and its one ministry.
fn network(name: &str) -> (MemoryNetwork, Identity) {
    let named = |document, actions: &[v1::Action]| v1::GenesisOrganization {
        name: "an organization".to_owned(),
        document: Some(document),
        actions: actions.iter().map(|action| (*action).into()).collect(),
    };
    let ministry = organization(NETWORK, &format!("{name}/ministry"));
    let rights = [v1::Action::Register, v1::Action::Revoke, v1::Action::Submit];
    let mut organizations = vec![named(ministry.document(), &rights)];
    let mut operators = Vec::new();
    for number in 1..=4 {
        let name = format!("{name}/operator/{number}");
        let own = |part: &str| key(KeyAlgorithm::Ed25519, &format!("{name}/{part}"));
        let did = organization(NETWORK, &name).did;
        organizations.push(named(organization(NETWORK, &name).document(), &[]));
        let (validator, governance) = (own("validator"), own("governance"));
        let operator = v1::Operator {
            organization: did.digest().to_vec(),
            validator_key: validator.public().point.clone(),
            node_key: own("node").public().point.clone(),
            governance_key: governance.public().point.clone(),
            archive: true,
        };
        operators.push((operator, MemoryOperator { did, governance, validator }));
    }
    organizations.sort_by_key(|one| one.document.as_ref().map(organization_digest));
    operators.sort_by(|(a, _), (b, _)| a.validator_key.cmp(&b.validator_key));
    let validators = operators.iter().map(|(_, known)| known.validator.clone()).collect();
    let genesis = v1::Genesis {
        protocol_version: 1,
        network: NETWORK.to_owned(),
        time_ms: START_MS,
        parameters: Some(default_parameters()),
        organizations,
        operators: operators.into_iter().map(|(operator, _)| operator).collect(),
        observers: Vec::new(),
    };
    (MemoryNetwork::of_genesis(genesis, validators).unwrap(), ministry)
}

/// Six blocks, one second apart.
struct World {
    network: MemoryNetwork,
    ministry: Identity,
    /// Versions at heights 1, 2 and 4; without a device from 6 on.
    alice: Did,
    /// Version at height 3; deactivated at 5.
    bob: Did,
    /// Never registered.
    nobody: Did,
    create_id: Hash,
}

fn holder(ministry: &Identity, name: &str) -> Identity {
    let keys = vec![identity_key(KeyAlgorithm::Ed25519, name, DEVICE)];
    Identity::new(NETWORK, Kind::Holder, keys, Some(ministry.did.clone()), None).unwrap()
}

fn commit(
    network: &mut MemoryNetwork,
    ministry: &Identity,
    draft: OperationDraft,
    signers: &[&SecretKey],
) -> Hash {
    let time_ms = network.tip().header.time_ms + 1_000;
    let builder = TransactionBuilder::new(*network.chain().hash(), &ministry.did, time_ms + 60_000);
    let mut partly = builder.push(draft, Terms::NAMED).freeze();
    for signer in signers {
        partly.sign(0, signer).unwrap();
    }
    let id = partly.id();
    let transaction = partly.submit(ministry.newest_secret(SUBMIT).unwrap()).unwrap();
    network.commit(time_ms, &[transaction]).unwrap();
    id
}

fn world() -> World {
    let (mut network, ministry) = network("vectors");
    let (alice, bob) = (holder(&ministry, "alice/1"), holder(&ministry, "bob/1"));
    let keys = [
        alice.keys[0].secret.clone(),
        key(KeyAlgorithm::P256, "alice/2"),
        key(KeyAlgorithm::Ed25519, "alice/3"),
    ];
    let run = commit;
    let create_id =
        run(&mut network, &ministry, OperationDraft::create(&alice).unwrap(), &[&keys[0]]);
    let device = |network: &mut MemoryNetwork, old: &SecretKey, new: &SecretKey| {
        let bound = IdentityKey { secret: new.clone(), relationships: DEVICE, expires_ms: 0 };
        let previous = network.head_hash(&alice.did).unwrap();
        let document = document_of(vec![bound.bound()], Vec::new());
        let draft = OperationDraft::set_device(&alice.did, &previous, document);
        run(network, &ministry, draft, &[old, new]);
    };
    device(&mut network, &keys[0], &keys[1]);
    let bobs = &bob.keys[0].secret;
    run(&mut network, &ministry, OperationDraft::create(&bob).unwrap(), &[bobs]);
    device(&mut network, &keys[1], &keys[2]);
    let previous = network.head_hash(&bob.did).unwrap();
    run(&mut network, &ministry, OperationDraft::deactivate(&bob.did, &previous), &[bobs]);
    let previous = network.head_hash(&alice.did).unwrap();
    let draft = OperationDraft::give_device_up(&alice.did, &previous);
    run(&mut network, &ministry, draft, &[&keys[2]]);
    let nobody = holder(&ministry, "nobody").did;
    World { network, ministry, alice: alice.did, bob: bob.did, nobody, create_id }
}

/// What a client asks, knows and accepts.
#[derive(Clone)]
struct Case {
    name: &'static str,
    did: Did,
    asked: Asked,
    trusted: u64,
    now_ms: u64,
    min_height: u64,
    expected: &'static str,
}

/// The name of the rule that an error is about: that of the innermost variant.
fn reason<E: Debug>(error: &E) -> String {
    let text = format!("{error:?}");
    let inner = text.rsplit("source: ").next().unwrap_or(&text);
    let end = inner.find([' ', '{', ')']).unwrap_or(inner.len());
    inner[..end].rsplit('(').find(|name| !name.is_empty()).unwrap_or_default().to_owned()
}

impl World {
    fn trusted(&self, height: u64) -> TrustedHeader {
        let chain = self.network.chain();
        let set = chain.validators().clone();
        let genesis = TrustedHeader::genesis(*chain.hash(), START_MS, set.clone()).unwrap();
        if height == 0 {
            return genesis;
        }
        let signed = self.network.signed_header(height).unwrap().clone();
        let header = signed.header.clone().unwrap();
        TrustedHeader {
            height,
            header_hash: header_hash(&header),
            time_ms: header.time_ms,
            signed_header: Some(signed),
            validators: Some(set),
            ..genesis
        }
    }

    fn case(&self, name: &'static str, expected: &'static str) -> Case {
        let now_ms = START_MS + 7_000;
        let (did, asked) = (self.alice.clone(), Asked::Current);
        Case { name, did, asked, trusted: 0, now_ms, min_height: 0, expected }
    }

    fn resolve(&self, did: &Did, version: Option<u64>, height: u64) -> v1::ResolveResponse {
        self.network.resolve_at(did, version, height).unwrap()
    }

    /// Verifies, holds the verdict against the one expected here, and writes both down.
    fn verdict(&self, case: &Case, verdict: Result<Answer<Resolution>, VerifyError>) -> Value {
        let (outcome, more) = match &verdict {
            Ok(answer) => {
                let outcome = if answer.fresh().is_ok() { "verified" } else { "stale" };
                (outcome.to_owned(), Some(answer))
            }
            Err(error) => (reason(error), None),
        };
        assert_eq!(outcome, case.expected, "{}: {verdict:?}", case.name);
        match more {
            Some(answer) => json!({
                "outcome": outcome,
                "height": answer.height(),
                "age_ms": answer.age_ms(),
                "resolution": answer.even_if_stale().to_json(),
            }),
            None => json!({ "outcome": "refused", "reason": outcome }),
        }
    }

    fn resolved(&self, case: Case, answer: &v1::ResolveResponse) -> Value {
        let trusted = self.trusted(case.trusted);
        let policy = Policy { min_height: case.min_height, ..Policy::at(case.now_ms) };
        let verifier = Verifier::new(self.network.chain(), &trusted, policy);
        let verdict = self.verdict(&case, verifier.resolution(&case.did, case.asked, answer));
        let mut asked = json!({ "did": case.did.to_string(), "min_height": case.min_height });
        match case.asked {
            Asked::Version(version) => asked["version_id"] = version.to_string().into(),
            Asked::Before(time_ms) => asked["version_time"] = format_datetime(time_ms).into(),
            Asked::Current => {}
        }
        json!({
            "name": case.name,
            "request": asked,
            "trusted_height": case.trusted,
            "now_ms": case.now_ms,
            "response": hex::encode(encode(answer)),
            "verdict": verdict,
        })
    }
}

/// What is true, and what is true and old.
fn truths(world: &World) -> Vec<Value> {
    let current = world.resolve(&world.alice, None, 4);
    let mut cases = vec![
        world
            .resolved(world.case("the current version, from the genesis on", "verified"), &current),
        world.resolved(
            Case { trusted: 3, ..world.case("the height after the trusted one", "verified") },
            &current,
        ),
        world.resolved(
            Case { trusted: 4, ..world.case("the trusted height again", "verified") },
            &current,
        ),
        world.resolved(
            Case {
                now_ms: START_MS + 4_000 + 60_001,
                ..world.case("one millisecond past the maximum age of a minute", "stale")
            },
            &current,
        ),
        world.resolved(
            world.case("a holder without a device", "verified"),
            &world.resolve(&world.alice, None, 6),
        ),
    ];
    for (name, version) in [("version 1, by the chain of heads", 1), ("version 2", 2)] {
        let asked = Asked::Version(version);
        let case = Case { asked, ..world.case(name, "verified") };
        cases.push(world.resolved(case, &world.resolve(&world.alice, Some(version), 4)));
    }
    let asked = Asked::Before(START_MS + 4_000);
    let case = Case { asked, ..world.case("the newest version before a time", "verified") };
    cases.push(world.resolved(case, &world.resolve(&world.alice, Some(2), 4)));
    let did = world.bob.clone();
    let case = Case { did, ..world.case("a deactivated did", "verified") };
    cases.push(world.resolved(case, &world.resolve(&world.bob, None, 6)));
    let did = world.nobody.clone();
    let case = Case { did, ..world.case("a did that does not exist", "verified") };
    cases.push(world.resolved(case, &world.resolve(&world.nobody, None, 6)));
    cases
}

/// Lies about a DID, each with a true proof of something.
fn lies_about_the_did(world: &World) -> Vec<Value> {
    let current = || world.resolve(&world.alice, None, 4);
    let mut cases = Vec::new();
    let mut lie = |name, expected, change: &dyn Fn(&mut v1::ResolveResponse)| {
        let mut answer = current();
        change(&mut answer);
        cases.push(world.resolved(world.case(name, expected), &answer));
    };
    lie("another's key in the document", "ForgedDocument", &|answer| {
        let other = key(KeyAlgorithm::Ed25519, "thief").public().clone();
        answer.document.as_mut().unwrap().keys[0].key = Some(other);
    });
    lie("no document", "DocumentMissing", &|answer| answer.document = None);
    lie("an older version without the later heads", "NotTheProvedHead", &|answer| {
        *answer = world.resolve(&world.alice, Some(2), 4);
        answer.heads.truncate(1);
    });
    lie("an older version as the current one", "NotTheVersionAsked", &|answer| {
        *answer = world.resolve(&world.alice, Some(2), 4);
    });
    lie("an absence that was not proved", "WrongRoot", &|answer| {
        let entry = &mut answer.proof.as_mut().unwrap().entries[0];
        entry.present = false;
        entry.value.clear();
        answer.heads.clear();
        answer.document = None;
    });
    lie("the absence of another did", "NotCovered", &|answer| {
        *answer = world.resolve(&world.nobody, None, 4);
    });
    lie("no proof", "NoProof", &|answer| answer.proof = None);
    let asked = Asked::Version(1);
    let mut answer = world.resolve(&world.alice, Some(1), 4);
    answer.heads.remove(1);
    let case = Case { asked, ..world.case("a version in between left out", "BrokenChain") };
    cases.push(world.resolved(case, &answer));
    let mut answer = world.resolve(&world.alice, Some(1), 4);
    answer.heads[0].did = world.bob.digest().to_vec();
    let case = Case { asked, ..world.case("the head of another did in the chain", "OtherDid") };
    cases.push(world.resolved(case, &answer));
    let did = world.bob.clone();
    let mut answer = world.resolve(&world.bob, None, 2);
    answer.heads = world.resolve(&world.bob, None, 4).heads;
    let case = Case { did, ..world.case("absence and a version at once", "PresentAndAbsent") };
    cases.push(world.resolved(case, &answer));
    let did = Did::new("elsewhere", world.alice.digest()).unwrap();
    let case = Case { did, ..world.case("a did of another network", "OtherNetwork") };
    cases.push(world.resolved(case, &current()));
    cases
}

/// Lies about the header that is to prove everything.
fn lies_about_the_header(world: &World) -> Vec<Value> {
    let (strangers, _) = network("strangers");
    let mut cases = Vec::new();
    let mut lie = |case: Case, change: &dyn Fn(&mut v1::SignedHeader)| {
        let mut answer = world.resolve(&world.alice, None, 4);
        change(answer.proof.as_mut().unwrap().signed_header.as_mut().unwrap());
        cases.push(world.resolved(case, &answer));
    };
    lie(world.case("a changed header", "WrongHeader"), &|signed| {
        signed.header.as_mut().unwrap().time_ms += 1;
    });
    lie(world.case("a header of another genesis", "WrongNetwork"), &|signed| {
        signed.header.as_mut().unwrap().genesis_hash = strangers.chain().hash().to_vec();
    });
    lie(world.case("a certificate of too few", "NoQuorum"), &|signed| {
        signed.certificate.as_mut().unwrap().signatures.truncate(2);
    });
    lie(world.case("signatures out of order", "Order"), &|signed| {
        signed.certificate.as_mut().unwrap().signatures.swap(0, 1);
    });
    lie(world.case("one false signature among enough good ones", "WrongSignature"), &|signed| {
        signed.certificate.as_mut().unwrap().signatures[3].signature[0] ^= 1;
    });
    lie(world.case("a signature of nobody", "UnknownValidator"), &|signed| {
        signed.certificate.as_mut().unwrap().signatures[3].validator = 4;
    });
    lie(world.case("a certificate of another height", "WrongHeight"), &|signed| {
        signed.certificate.as_mut().unwrap().height = 5;
    });
    lie(
        world.case("strangers sign under the name of the set in force", "WrongSignature"),
        &|signed| {
            *signed = strangers.certify(signed.header.as_ref().unwrap()).unwrap();
        },
    );
    lie(world.case("strangers sign under their own name", "WrongValidatorSet"), &|signed| {
        let mut header = signed.header.clone().unwrap();
        header.validator_set_hash =
            sillok_ledger::validator_set_hash(strangers.chain().validators()).to_vec();
        *signed = strangers.certify(&header).unwrap();
    });
    let early = world.case("a header of eleven seconds from now", "FromTheFuture");
    lie(Case { now_ms: START_MS + 4_000 - 10_001, ..early }, &|_| {});
    let late = world.case("trust that has expired", "Expired");
    let period = world.network.chain().parameters().trusting_period_ms;
    lie(Case { now_ms: START_MS + period + 1, ..late }, &|_| {});
    let low = world.case("below the height asked for", "BelowMinHeight");
    lie(Case { min_height: 5, ..low }, &|_| {});
    let back = world.case("an older state than was seen", "Rollback");
    lie(Case { trusted: 5, ..back }, &|_| {});
    cases.extend(forks(world));
    cases
}

/// Another branch, which the validators certified as well.
fn forks(world: &World) -> Vec<Value> {
    let mut branch = network("vectors").0;
    let alice = holder(&world.ministry, "alice/1");
    let create = OperationDraft::create(&alice).unwrap();
    commit(&mut branch, &world.ministry, create, &[&alice.keys[0].secret]);
    for height in 2..=4 {
        branch.commit(START_MS + height * 1_000 + 1, &[]).unwrap();
    }
    let answer = |height| branch.resolve_at(&world.alice, None, height).unwrap();
    let same = Case { trusted: 3, ..world.case("two headers of one height", "Fork") };
    let next = Case { trusted: 3, ..world.case("a header on another branch", "Fork") };
    vec![world.resolved(same, &answer(3)), world.resolved(next, &answer(4))]
}

// ------------------------------------------------------------------------------- a change of validators

/// The same network five blocks later: an operator has named a new validator key, which took over.
fn rekeyed(world: &World) -> MemoryNetwork {
    let mut network = world.network.clone();
    let operator = organization(NETWORK, "vectors/operator/1").did;
    let governance = key(KeyAlgorithm::Ed25519, "vectors/operator/1/governance");
    let fresh = key(KeyAlgorithm::Ed25519, "vectors/operator/1/validator/2");
    network.add_validator_key(fresh.clone());
    let point = <[u8; 32]>::try_from(fresh.public().point.as_slice()).unwrap();
    let draft = OperationDraft::rekey(&operator, &point);
    commit(&mut network, &world.ministry, draft, &[&governance]);
    let header = network.tip().header.clone();
    let draft =
        OperationDraft::join(&operator, fresh.public(), header.height, &header_hash(&header));
    commit(&mut network, &world.ministry, draft, &[&fresh]);
    for _ in 0..3 {
        let time_ms = network.tip().header.time_ms + 1_000;
        network.commit(time_ms, &[]).unwrap();
    }
    network
}

/// Bundles that lead from the genesis, or from a header verified before, to a new set; and those that do not.
fn trust_bundles(world: &World) -> Vec<Value> {
    let network = rekeyed(world);
    let honest = network.trust_bundle(0);
    assert_eq!(honest.light_blocks.len(), 2, "one change, and the last block");
    let with = |change: &dyn Fn(&mut Vec<v1::LightBlock>)| {
        let mut bundle = honest.clone();
        change(&mut bundle.light_blocks);
        bundle
    };
    let block = |height: u64| v1::LightBlock {
        signed_header: network.signed_header(height).cloned(),
        next_validators: network.set(height + 1).cloned(),
    };
    let strangers = network_of_strangers();
    let cases = [
        ("a change of validators", 0, honest.clone(), "verified"),
        ("the same from a header verified before", 6, honest.clone(), "verified"),
        ("the change left out", 0, with(&|blocks| drop(blocks.remove(0))), "WrongValidatorSet"),
        ("no light block", 0, with(&|blocks| blocks.clear()), "Empty"),
        ("a height twice", 0, with(&|blocks| blocks.insert(1, blocks[0].clone())), "Order"),
        ("a light block that changes nothing", 0, with(&|b| b.insert(0, block(2))), "NotAChange"),
        (
            "another set beside the header",
            0,
            with(&|blocks| blocks[0].next_validators = Some(strangers.clone())),
            "NextValidators",
        ),
        (
            "no set beside the header",
            0,
            with(&|blocks| blocks[0].next_validators = None),
            "NextValidators",
        ),
        (
            "an older header than was seen",
            6,
            v1::TrustBundle { light_blocks: vec![block(4)] },
            "Rollback",
        ),
    ];
    let made = cases.into_iter().map(|(name, from, bundle, expected)| {
        let chain = world.network.chain();
        let period = chain.parameters().trusting_period_ms;
        let now_ms = START_MS + 12_000;
        let verdict = light::follow(chain.hash(), &world.trusted(from), &bundle, now_ms, period);
        let outcome = verdict.as_ref().map_or_else(reason, |_| "verified".to_owned());
        assert_eq!(outcome, expected, "{name}: {verdict:?}");
        let mut case = json!({
            "name": name,
            "trusted_height": from,
            "now_ms": now_ms,
            "trust_bundle": hex::encode(encode(&bundle)),
            "outcome": outcome,
        });
        if let Ok(trusted) = verdict {
            case["height"] = trusted.height.into();
            case["header_hash"] = trusted.header_hash.to_string().into();
            case["next_validator_set_hash"] =
                sillok_ledger::validator_set_hash(&trusted.next_validators).to_string().into();
        }
        case
    });
    made.collect()
}

fn network_of_strangers() -> v1::ValidatorSet {
    network("strangers").0.chain().validators().clone()
}

/// Transactions in their blocks.
fn receipts(world: &World) -> Vec<Value> {
    let honest = world.network.receipt(&world.create_id).unwrap().clone();
    let mut forged = honest.clone();
    forged.signatures_hash = vec![9; 32];
    let trusted = world.trusted(0);
    let policy = Policy::at(START_MS + 7_000);
    let verifier = Verifier::new(world.network.chain(), &trusted, policy);
    let cases = [
        ("a transaction in its block", world.create_id, honest.clone(), "verified"),
        ("other signatures", world.create_id, forged, "NotInBlock"),
        ("another transaction", Hash([9; 32]), honest, "OtherReceipt"),
    ];
    let made = cases.into_iter().map(|(name, id, receipt, expected)| {
        let verdict = verifier.receipt(&id, &receipt);
        let outcome = verdict.as_ref().map_or_else(reason, |_| "verified".to_owned());
        assert_eq!(outcome, expected, "{name}");
        json!({
            "name": name,
            "transaction_id": id.to_string(),
            "receipt": hex::encode(encode(&receipt)),
            "outcome": outcome,
        })
    });
    made.collect()
}

/// Older headers in the history of newer ones.
fn histories(world: &World) -> Vec<Value> {
    let trusted = |height| world.network.signed_header(height).unwrap().header.clone().unwrap();
    let honest = world.network.history_proof(2, 6).unwrap();
    let mut forged = honest.clone();
    forged.header.as_mut().unwrap().time_ms += 1;
    let mut elsewhere = honest.clone();
    elsewhere.path.as_mut().unwrap().index = 3;
    let newer = sillok_ledger::proof::verify_history_proof(
        world.network.chain().hash(),
        &honest,
        world.network.chain().validators(),
    );
    assert_eq!(newer.unwrap().ancestor.header(), &trusted(2));
    let cases = [
        ("height 2 in the history of height 6", honest, "verified"),
        ("a changed older header", forged, "WrongHead"),
        ("the place of another header", elsewhere, "WrongHistoryIndex"),
    ];
    let made = cases.into_iter().map(|(name, proof, expected)| {
        let verdict = sillok_ledger::proof::verify_history_proof(
            world.network.chain().hash(),
            &proof,
            world.network.chain().validators(),
        );
        let outcome = match &verdict {
            Ok(_) => "verified".to_owned(),
            Err(error) => reason(error),
        };
        assert_eq!(outcome, expected, "{name}");
        json!({ "name": name, "proof": hex::encode(encode(&proof)), "outcome": outcome })
    });
    made.collect()
}

#[test]
fn the_golden_answers_have_their_verdicts() {
    let world = world();
    let chain = world.network.chain();
    let headers: Vec<Value> = (1..=6)
        .map(|height| {
            let header = world.network.signed_header(height).unwrap().header.clone().unwrap();
            json!({
                "height": height,
                "header": hex::encode(encode(&header)),
                "hash": header_hash(&header).to_string(),
            })
        })
        .collect();
    let cases: Vec<Value> =
        [truths(&world), lies_about_the_did(&world), lies_about_the_header(&world)].concat();
    let mut names: Vec<&str> = cases.iter().filter_map(|case| case["name"].as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases.len(), "each name once");
    let made = json!({
        "network": chain.network(),
        "genesis": hex::encode(encode(chain.genesis())),
        "genesis_hash": chain.hash().to_string(),
        "validator_set": hex::encode(encode(chain.validators())),
        "max_age_ms": sillok_client::verify::MAX_AGE_MS,
        "headers": headers,
        "resolve": cases,
        "trust_bundles": trust_bundles(&world),
        "receipts": receipts(&world),
        "history_proofs": histories(&world),
    });
    let made = format!("{}\n", serde_json::to_string_pretty(&made).unwrap());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors/answers.json");
    if std::fs::read_to_string(&path).ok().as_ref() != Some(&made) {
        let beside = Path::new(env!("CARGO_TARGET_TMPDIR")).join("answers.json");
        std::fs::write(&beside, made).unwrap();
        panic!("{} differs; what was made is in {}", path.display(), beside.display());
    }
}
