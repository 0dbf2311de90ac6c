//! Blocks: what the proposer builds every validator accepts, and nothing else (PROTOCOL §7.1).

use crate::story::{Draft, outcome};
use crate::story::{created, happened_in, refused, set_device, take_away, together, update};
use crate::support::{Memory, STEP_MS, World, bound, device, document, genesis, key, sign};
use sillok_did_method::CAPABILITY_INVOCATION;
use sillok_ledger::merkle_log::{self, TransactionHasher, transactions_root};
use sillok_ledger::proof::{verify_receipt, verify_state_proof};
use sillok_ledger::tree::{self, NodeReader};
use sillok_ledger::{
    AdmissionError, BlockError, CheckedTransaction, Frame, Outcome, StateFault, StateView, TreeKey,
    VerifyEach, admit, build_block, execute_block, header_hash, precommit_string,
};
use sillok_proto::{Hash, encode, v1};
use std::cell::Cell;

/// A block of one create and one change, and the world it is for.
fn world_and_block() -> (World, v1::Block) {
    let mut world = happened_in(&[created("alice")]);
    let transactions =
        [world.transaction(&created("bob")), world.transaction(&set_device("alice", "alice/2"))];
    let time_ms = world.next_time_ms(STEP_MS);
    let block = world.build(&transactions, time_ms).block;
    (world, block)
}

fn changed(change: impl FnOnce(&mut v1::Block)) -> BlockError {
    let (world, mut block) = world_and_block();
    change(&mut block);
    world.execute(&block).unwrap_err()
}

fn changed_header(change: impl FnOnce(&mut v1::Header)) -> BlockError {
    changed(|block| change(block.header.as_mut().unwrap()))
}

#[test]
fn validators_come_to_the_root_that_the_proposer_came_to() {
    let (mut world, block) = world_and_block();
    let time_ms = block.header.as_ref().unwrap().time_ms;
    let built = world.build(&block.transactions, time_ms);
    let outcome: Outcome = world.clone().execute(&block).unwrap();
    assert_eq!(outcome.header, built.outcome.header);
    assert_eq!(outcome.hash, header_hash(&built.outcome.header));
    assert_eq!(outcome.header.state_root, outcome.tree.root.to_vec());
    let leaves: Vec<Hash> = outcome.transactions.iter().map(|leaf| leaf.hash()).collect();
    assert_eq!(outcome.header.transactions_root, transactions_root(&leaves).to_vec());
    assert_eq!(outcome.heads.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
    world.commit(&built);
    assert_eq!(world.tip.hash, outcome.hash);
    assert_eq!(world.tip.height(), 2);
}

#[test]
fn every_field_of_a_header_is_checked() {
    let refused = |change: fn(&mut v1::Header), expected: &str| match changed_header(change) {
        BlockError::Header { field, .. } => assert_eq!(field, expected),
        other => panic!("{expected}: {other}"),
    };
    refused(|header| header.protocol_version += 1, "protocol_version");
    refused(|header| header.genesis_hash[0] ^= 1, "genesis_hash");
    refused(|header| header.height += 1, "height");
    refused(|header| header.height -= 1, "height");
    refused(|header| header.height = u64::MAX, "height");
    refused(|header| header.parent_hash[31] ^= 1, "parent_hash");
    refused(|header| header.parent_hash.clear(), "parent_hash");
    refused(|header| header.transactions_root[0] ^= 1, "transactions_root");
    refused(|header| header.state_root[0] ^= 1, "state_root");
    refused(|header| header.state_root.clear(), "state_root");
    refused(|header| header.history_root[0] ^= 1, "history_root");
    refused(|header| header.validator_set_hash[0] ^= 1, "validator_set_hash");
    refused(|header| header.next_validator_set_hash[0] ^= 1, "next_validator_set_hash");
    // Time is part of the heads that the transactions write, so it cannot be changed alone either.
    refused(|header| header.time_ms += 1, "state_root");
    assert_eq!(changed(|block| block.header = None), BlockError::MissingHeader);
}

#[test]
fn time_is_later_than_the_parents() {
    let parent_ms = happened_in(&[created("alice")]).tip.header.time_ms;
    for time_ms in [parent_ms, parent_ms - 1, 0] {
        let refused = changed_header(|header| header.time_ms = time_ms);
        assert_eq!(refused, BlockError::Time { time_ms, parent_ms });
    }
    let world = World::new();
    let time_ms = world.next_time_ms(1);
    assert!(world.execute(&world.force(&[], time_ms)).is_ok(), "one millisecond is enough");
}

#[test]
fn the_proposer_is_a_validator_of_the_height() {
    for proposer in [vec![], vec![1; 32], crate::support::key("operator-1/node").point] {
        let refused = changed_header(|header| header.proposer = proposer);
        assert_eq!(refused, BlockError::Proposer { height: 2 });
    }
    // Any of them: who proposes when is the schedule's to say, not the block's.
    let world = World::new();
    let mut block = world.force(&[], world.next_time_ms(1));
    for validator in &world.tip.validators.validators {
        block.header.as_mut().unwrap().proposer = validator.public_key.clone();
        assert!(world.execute(&block).is_ok());
    }
}

#[test]
fn nobody_builds_a_block_that_nobody_accepts() {
    let world = World::new();
    let build = |time_ms, proposer: &[u8]| {
        build_block(&world.chain, &world.tip, &world.state, &VerifyEach, time_ms, proposer, [])
            .map(|built| built.block)
    };
    let parent_ms = world.tip.header.time_ms;
    assert!(build(parent_ms + 1, &world.proposer()).is_ok());
    let standing_still = build(parent_ms, &world.proposer());
    assert_eq!(standing_still, Err(BlockError::Time { time_ms: parent_ms, parent_ms }));
    assert_eq!(build(parent_ms + 1, &[1; 32]), Err(BlockError::Proposer { height: 1 }));
}

/// What was changed between the proposer and us says nothing about the block of that header: another peer may have it
/// whole, and a certified one that counted as invalid would stop this node.
#[test]
fn bytes_altered_under_a_good_header_are_altered_and_not_invalid() {
    let root = |change: fn(&mut v1::Block)| {
        let error = changed(change);
        let is_root = matches!(error, BlockError::Header { field: "transactions_root", .. });
        assert!(is_root && error.is_altered(), "{error}");
    };
    root(|block| block.transactions[0].body.as_mut().unwrap().valid_until_ms += 1);
    root(|block| block.transactions[0].body = None);
    root(|block| block.transactions.iter_mut().for_each(|one| one.body = None));
    root(|block| {
        let signatures = block.transactions[1].signatures.as_mut().unwrap();
        signatures.submitter.as_mut().unwrap().signature[0] ^= 1;
    });
    root(|block| {
        block.transactions[1].signatures.as_mut().unwrap().operations[0].signatures.clear()
    });
    root(|block| block.transactions[1].signatures = None);
    root(|block| block.transactions.swap(0, 1));
    root(|block| block.transactions.push(block.transactions[0].clone()));
    root(|block| block.transactions.truncate(1));
    root(|block| block.transactions.clear());

    let part = |change: fn(&mut v1::Transaction), code: &str| {
        let error = changed(|block| change(&mut block.transactions[1]));
        let BlockError::Transaction { index: 1, source } = &error else { panic!("{error}") };
        assert_eq!(source.code(), code);
        assert!(error.is_altered(), "{error}");
    };
    part(|one| one.documents.clear(), "MISSING_DOCUMENT");
    part(|one| one.documents[0] = document([device("mallory")]), "DOCUMENT_HASH");
    part(|one| one.documents.push(document([device("mallory")])), "UNEXPECTED_PART");
    part(|one| one.private_contents.push(v1::PrivateContent::default()), "UNEXPECTED_PART");
    part(|one| one.private_signatures = Some(v1::PrivateSignatures::default()), "UNEXPECTED_PART");
}

/// Padding by whoever passes the block on must not make it too long: that would be a verdict on the block.
#[test]
fn a_padded_block_is_altered_and_not_too_long() {
    let (world, block) = world_and_block();
    let max = usize::try_from(world.chain.parameters().block_bytes_max).unwrap();
    let point = vec![0; max];
    let key = v1::BoundKey {
        key: Some(v1::PublicKey { algorithm: 1, point }),
        ..v1::BoundKey::default()
    };
    let padding = v1::DidDocument { keys: vec![key], services: vec![] };
    let content = v1::PrivateContent { padding: vec![0; max], ..v1::PrivateContent::default() };
    for pad in [
        &(|one: &mut v1::Transaction| one.documents.push(padding.clone())) as &dyn Fn(&mut _),
        &|one: &mut v1::Transaction| one.private_contents.push(content.clone()),
        &|one: &mut v1::Transaction| one.documents[0] = padding.clone(),
    ] {
        let mut padded = block.clone();
        pad(&mut padded.transactions[0]);
        let error = world.execute(&padded).unwrap_err();
        assert!(error.is_altered(), "{error}");
    }
    assert!(world.execute(&block).is_ok());
}

#[test]
fn a_wrong_block_under_its_own_header_is_invalid_and_not_altered() {
    let mut world = happened_in(&[created("alice")]);
    let time_ms = world.next_time_ms(STEP_MS);
    let not_granted =
        world.transaction(&created("bob").through("ministry").and_by("registrar/control"));
    let good = world.transaction(&update("alice"));
    let error = world.execute(&world.force(&[good.clone(), not_granted], time_ms)).unwrap_err();
    let expected = AdmissionError::NotGranted {
        organization: world.did("ministry"),
        action: v1::Action::Submit,
    };
    assert_eq!(error, BlockError::Transaction { index: 1, source: expected });
    assert!(!error.is_altered());

    // Committed to by the header, so the proposer's doing: signatures that lack, and terms that nobody signed.
    let unsigned = |change: fn(&mut v1::PublicSignatures)| {
        let mut one = good.clone();
        change(one.signatures.as_mut().unwrap());
        let error = world.execute(&world.force(&[one], time_ms)).unwrap_err();
        assert!(!error.is_altered(), "{error}");
    };
    unsigned(|all| all.submitter = None);
    unsigned(|all| all.operations.clear());
    unsigned(|all| all.operations[0].signatures.clear());
    assert!(!changed_header(|header| header.state_root[0] ^= 1).is_altered());
    assert!(!changed_header(|header| header.time_ms = 0).is_altered());
}

#[test]
fn a_refused_transaction_leaves_no_trace_in_its_block() {
    let mut world = happened_in(&[created("alice")]);
    let time_ms = world.next_time_ms(STEP_MS);
    let bob = world.transaction(&created("bob"));
    // Its first operation would be fine and binds a key; its second is not.
    let half = world.transaction(&together(&[created("carol"), update("nobody")]));
    let carol = world.transaction(&created("carol").valid_for(50_000));
    let with = world.build(&[bob.clone(), half, carol.clone()], time_ms);
    let without = world.build(&[bob, carol], time_ms);
    assert_eq!(with.refused.len(), 1);
    assert_eq!(with.block, without.block);
    assert_eq!(with.outcome.changes, without.outcome.changes);
    assert_eq!(with.outcome.replay, without.outcome.replay);
}

// ---------------------------------------------------------------------------------------------- bounds

pub(crate) fn network(change: impl FnOnce(&mut v1::Parameters)) -> World {
    let mut genesis = genesis();
    let parameters = genesis.parameters.as_mut().unwrap();
    parameters.block_bytes_max = 8_388_608;
    parameters.block_state_writes_max = 1_000_000;
    parameters.block_signature_checks_max = 100_000;
    change(parameters);
    let mut world = World::of(genesis);
    world.trusting = true;
    world
}

/// 180 organizations of 16 keys: about 450 KB, 2,881 signatures, 3,060 leaves.
pub(crate) fn large(nth: usize) -> Draft {
    let drafts: Vec<Draft> = (0..180)
        .map(|n| {
            let names: Vec<String> = (0..16).map(|key| format!("{nth}/{n}/{key}")).collect();
            let keys = document(names.iter().map(|name| bound(name, CAPABILITY_INVOCATION)));
            let signers: Vec<&str> = names.iter().map(String::as_str).collect();
            crate::story::founded(&format!("{nth}/{n}")).with(keys).by(&signers)
        })
        .collect();
    together(&drafts)
}

/// The proposer stops below the bound, the validator refuses what is above it, and one transaction more is above it.
fn bounded(change: impl FnOnce(&mut v1::Parameters), expected: &str, fit: usize) {
    let mut world = network(change);
    let time_ms = world.next_time_ms(STEP_MS);
    let transactions: Vec<v1::Transaction> =
        (0..=fit).map(|nth| world.transaction(&large(nth))).collect();
    let built = world.build(&transactions, time_ms);
    assert_eq!(built.block.transactions.len(), fit);
    assert_eq!(built.refused, vec![], "what has no room is not refused; it waits");
    assert!(world.execute(&built.block).is_ok());
    match world.execute(&world.force(&transactions, time_ms)) {
        Err(BlockError::TooLarge { bound, actual, max }) => {
            assert_eq!(bound, expected);
            assert!(actual > max);
        }
        other => panic!("{other:?}"),
    }
    // The one that had no room has room in the next.
    world.commit(&built);
    let next = world.build(&transactions[fit..], world.next_time_ms(STEP_MS));
    assert_eq!(next.block.transactions.len(), 1);
}

#[test]
fn a_block_is_bounded_by_its_bytes() {
    bounded(|parameters| parameters.block_bytes_max = 1_048_576, "bytes", 2);
}

#[test]
fn a_block_is_bounded_by_its_state_writes() {
    bounded(|parameters| parameters.block_state_writes_max = 20_000, "state writes", 6);
}

#[test]
fn a_block_is_bounded_by_its_signature_checks() {
    bounded(|parameters| parameters.block_signature_checks_max = 6_000, "signature checks", 2);
}

#[test]
fn what_has_no_room_does_not_keep_out_what_has() {
    let mut world = network(|parameters| parameters.block_signature_checks_max = 6_000);
    let time_ms = world.next_time_ms(STEP_MS);
    let mut transactions: Vec<v1::Transaction> =
        (0..3).map(|nth| world.transaction(&large(nth))).collect();
    transactions.push(world.transaction(&created("alice")));
    let built = world.build(&transactions, time_ms);
    assert_eq!(built.block.transactions.len(), 3);
    world.commit(&built);
    assert!(world.device_of("alice").is_some());
}

// -------------------------------------------------------------------------------------------- storage

/// A state whose disk fails after so many reads.
pub(crate) struct Failing<'a> {
    pub(crate) state: &'a Memory,
    pub(crate) left: Cell<usize>,
}

impl Failing<'_> {
    fn read(&self) -> Result<(), StateFault> {
        match self.left.get().checked_sub(1) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => Err(StateFault::new("the disk is gone")),
        }
    }
}

impl StateView for Failing<'_> {
    fn leaf(&self, key: &TreeKey) -> Result<Option<Vec<u8>>, StateFault> {
        self.read()?;
        self.state.leaf(key)
    }

    fn document(&self, hash: &Hash) -> Result<Option<v1::DidDocument>, StateFault> {
        self.read()?;
        self.state.document(hash)
    }
}

impl NodeReader for Failing<'_> {
    fn node(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateFault> {
        self.read()?;
        self.state.node(key)
    }

    fn value(&self, key: &TreeKey, max_version: u64) -> Result<Option<Vec<u8>>, StateFault> {
        self.read()?;
        self.state.value(key, max_version)
    }
}

/// A failing disk is never a rule: neither the transaction nor the block is refused for it, and none is "absent".
#[test]
fn a_storage_fault_is_no_verdict() {
    let (world, block) = world_and_block();
    let fault = StateFault::new("the disk is gone");
    let checked = CheckedTransaction::check(world.chain.hash(), &block.transactions[1]).unwrap();
    let mut reads = 0;
    loop {
        let failing = Failing { state: &world.state, left: Cell::new(reads) };
        let executed = execute_block(&world.chain, &world.tip, &failing, &VerifyEach, &block);
        let built = build_block(
            &world.chain,
            &world.tip,
            &Failing { state: &world.state, left: Cell::new(reads) },
            &VerifyEach,
            world.next_time_ms(STEP_MS),
            &world.proposer(),
            [(&block.transactions[1], &checked)],
        );
        let frame = Frame {
            chain: &world.chain,
            height: 2,
            time_ms: world.next_time_ms(STEP_MS),
            verifier: &VerifyEach,
            replay: &world.tip.replay,
            recent: &world.tip.recent,
            parameters: &world.tip.parameters,
        };
        let failing = Failing { state: &world.state, left: Cell::new(reads) };
        let admitted = admit::run(&frame, &failing, &checked).map(|_| ());
        assert!(
            admitted == Ok(()) || admitted == Err(AdmissionError::State(fault.clone())),
            "{reads}"
        );
        if let Err(error) = built {
            assert_eq!(error, BlockError::State(fault.clone()), "{reads}");
        }
        match executed {
            Ok(_) => break,
            Err(error) => {
                assert_eq!(error, BlockError::State(fault.clone()), "{reads}");
                assert!(!error.is_altered());
            }
        }
        reads += 1;
    }
    assert!(reads > 10, "it was tried at every read");
}

/// A leaf that does not decode, or a document that is not there, is this machine's fault and not the caller's.
#[test]
fn a_state_that_contradicts_itself_is_a_fault() {
    let mut world = happened_in(&[created("alice")]);
    let transaction = world.transaction(&update("alice"));
    let time_ms = world.next_time_ms(STEP_MS);
    let mut without_document = world.clone();
    let head = world.head("alice", None).unwrap();
    without_document.state.documents.remove(&Hash::from_slice(&head.document_hash).unwrap());
    let refused = without_document.mempool(&transaction, time_ms).unwrap_err();
    assert_eq!(refused.code(), "INTERNAL_ERROR");
    let leaf = TreeKey::did_head(&world.did("alice"));
    world.state.leaves.insert(leaf, vec![0xff]);
    let refused = world.mempool(&transaction, time_ms).unwrap_err();
    assert_eq!(refused.code(), "INTERNAL_ERROR");
    assert!(!refused.to_string().contains(&world.did("alice").to_string()), "it names no DID");
}

/// What a log may say of a refused block names the rule and no DID.
#[test]
fn a_block_is_refused_for_a_reason_without_names() {
    let mut world = happened_in(&[created("alice"), update("alice")]);
    let time_ms = world.next_time_ms(STEP_MS);
    let stale = world.transaction(&update("alice").on(1));
    let error = world.execute(&world.force(&[stale], time_ms)).unwrap_err();
    assert!(error.to_string().contains(&world.did("alice").to_string()));
    assert_eq!(error.reason(), "transaction 0: STALE_VERSION");
    assert_eq!(BlockError::MissingHeader.reason(), "the block has no header");
}

/// A12: with the genesis and one answer of any node, a verifier that trusts no node knows what the record holds.
#[test]
fn a12_what_a_block_wrote_is_verified_from_the_genesis_alone() {
    let mut world = World::new();
    let transaction = world.transaction(&created("alice"));
    let built = world.build(&[transaction], world.next_time_ms(STEP_MS));
    world.commit(&built);
    let signed_header = certified(&world);

    // The verifier's side: the genesis, and bytes from an untrusted node.
    let (genesis_hash, set) = (*world.chain.hash(), world.chain.validators().clone());
    let (alice, nobody) =
        (TreeKey::did_head(&world.did("alice")), TreeKey::did_head(&Hash([9; 32])));
    let entry = |key| tree::prove(&world.state, 1, key).unwrap();
    let mut proof = v1::StateProof {
        signed_header: Some(signed_header.clone()),
        entries: vec![entry(&alice), entry(&nobody)],
    };
    let verified = verify_state_proof(&genesis_hash, &proof, &set).unwrap();
    let head = encode(&world.head("alice", None).unwrap());
    assert_eq!(verified.value(&alice).unwrap(), Some(head.as_slice()));
    assert_eq!(verified.value(&nobody).unwrap(), None);

    let leaf = built.outcome.transactions[0];
    let receipt = v1::Receipt {
        signed_header: Some(signed_header),
        transaction_id: leaf.id.to_vec(),
        signatures_hash: leaf.signatures.to_vec(),
        private_signatures_hash: leaf.private_signatures.to_vec(),
        path: Some(merkle_log::path_among::<TransactionHasher>(&[leaf.hash()], 0).unwrap()),
    };
    assert!(verify_receipt(&genesis_hash, &receipt, &set).is_ok());

    // A single lie, and nothing is believed.
    proof.entries[0].value[5] ^= 1;
    assert!(verify_state_proof(&genesis_hash, &proof, &set).is_err());
    let other = v1::Receipt { signatures_hash: vec![1; 32], ..receipt };
    assert!(verify_receipt(&genesis_hash, &other, &set).is_err());
}

/// The last header with the precommits of three of the four validators.
fn certified(world: &World) -> v1::SignedHeader {
    let header = world.tip.header.clone();
    let header_hash = header_hash(&header).to_vec();
    let statement =
        v1::VoteStatement { height: header.height, round: 0, header_hash: header_hash.clone() };
    let string = precommit_string(world.chain.hash(), &statement);
    let names: Vec<String> = (1..=4).map(|n| format!("operator-{n}/validator")).collect();
    let signatures =
        world.chain.validators().validators.iter().enumerate().take(3).map(|(index, one)| {
            let name = names.iter().find(|name| key(name).point == one.public_key).unwrap();
            v1::CommitSignature {
                validator: index as u32,
                signature: sign(name, &string).signature,
            }
        });
    let certificate = v1::CommitCertificate {
        height: header.height,
        round: 0,
        header_hash,
        signatures: signatures.collect(),
    };
    v1::SignedHeader { header: Some(header), certificate: Some(certificate) }
}

#[test]
fn every_error_says_whether_to_try_again_and_what_to_do() {
    let mut world = happened_in(&[created("alice")]);
    assert_eq!(outcome(&mut world, &take_away("alice")), crate::story::ACCEPTED);
    assert_eq!(outcome(&mut world, &take_away("alice")), refused("ALREADY"));
    let error = world.run(&update("alice").on(1)).unwrap_err();
    assert_eq!((error.code(), error.retry().as_str()), ("STALE_VERSION", "AFTER_FIX"));
    let fields: Vec<&str> = error.fields().iter().map(|(name, _)| *name).collect();
    assert_eq!(fields, ["did", "version", "head"]);
    let error = world.run(&take_away("alice")).unwrap_err();
    assert_eq!(error.retry().as_str(), "NEVER");
    let fault = AdmissionError::State(StateFault::new("the disk is gone"));
    assert_eq!((fault.code(), fault.retry().as_str()), ("INTERNAL_ERROR", "LATER"));
}
