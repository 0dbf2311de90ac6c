//! Stories: what happened, what somebody tries, and what comes of it; one line each.
//!
//! [`check`] runs a story as a mempool, a proposer and a validator see it, and all three must agree. A refusal must
//! leave no trace. `alice`, `bob` and `carol` are holders whose first device key is `<name>/1`.

use crate::desk::{Desk, private_signatures};
use crate::support::{
    STEP_MS, World, agreement, device, document, key, organization_document, sign,
};
use sillok_did_method::{
    Recovery, author_statement, author_string, document_hash, head_hash, inception,
    inception_digest, key_id, submitter_string, transaction_id,
};
use sillok_ledger::{AdmissionError, BlockError};
use sillok_proto::{Hash, v1};
use std::rc::Rc;
use v1::operation::Operation as Wire;

#[derive(Clone, Debug)]
enum Act {
    Create {
        kind: v1::Kind,
        authority: String,
        recovery: Option<String>,
    },
    /// The recovery rule: absent = it stays; `Some(None)` = nobody from now on.
    Update {
        recovery: Option<Option<String>>,
    },
    SetDevice,
    Deactivate,
    Members(Members),
    /// A change of status, at a desk.
    Status(Box<Desk>),
}

/// An operation on members, made once the world is known.
#[derive(Clone)]
struct Members(Rc<dyn Fn(&World) -> Wire>);

impl std::fmt::Debug for Members {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Members")
    }
}

/// The version an operation builds on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Previous {
    Newest,
    Version(u64),
    None,
    Hash(Hash),
}

#[derive(Clone, Debug)]
struct Step {
    act: Act,
    name: String,
    document: Option<v1::DidDocument>,
    previous: Previous,
    signers: Vec<String>,
    any: bool,
    whole_list: bool,
    /// Beyond the block's time; as long as the transaction by default.
    valid_for_ms: Option<i64>,
}

/// Something that a story changes.
type Change<T> = Rc<dyn Fn(&mut T)>;

/// A transaction in the making: what is usual, and what a story changes about it. Without operations: an empty block.
#[derive(Clone)]
pub(crate) struct Draft {
    steps: Vec<Step>,
    submitter: String,
    submitter_key: String,
    valid_for_ms: i64,
    after_ms: u64,
    forge: Vec<Change<v1::Transaction>>,
    edit: Option<Change<World>>,
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?} through {}, valid for {} ms",
            self.steps, self.submitter_key, self.valid_for_ms
        )
    }
}

fn draft(steps: Vec<Step>) -> Draft {
    Draft {
        steps,
        submitter: "registrar".to_owned(),
        submitter_key: "registrar/submit".to_owned(),
        valid_for_ms: 60_000,
        after_ms: STEP_MS,
        forge: Vec::new(),
        edit: None,
    }
}

fn one(act: Act, name: &str, document: Option<v1::DidDocument>, signers: &[&str]) -> Draft {
    draft(vec![Step {
        act,
        name: name.to_owned(),
        document,
        previous: Previous::Newest,
        signers: signers.iter().map(|signer| (*signer).to_owned()).collect(),
        any: false,
        whole_list: false,
        valid_for_ms: None,
    }])
}

fn first(name: &str) -> String {
    format!("{name}/1")
}

// ---------------------------------------------------------------------------------- what people do

/// A holder registers through `registrar`, with `<name>/1` on the device and the countersigner in the recovery rule.
pub(crate) fn created(name: &str) -> Draft {
    let act = Act::Create {
        kind: v1::Kind::Holder,
        authority: "registrar".to_owned(),
        recovery: Some("countersigner".to_owned()),
    };
    one(act, name, Some(document([device(&first(name))])), &[&first(name)])
}

/// An organization is registered the same way.
pub(crate) fn founded(name: &str) -> Draft {
    let act = Act::Create {
        kind: v1::Kind::Organization,
        authority: "registrar".to_owned(),
        recovery: Some("countersigner".to_owned()),
    };
    let signers = [format!("{name}/control"), format!("{name}/submit")];
    one(act, name, Some(organization_document(name)), &[&signers[0], &signers[1]])
}

/// A holder whose first device is still there adds a key-agreement key.
pub(crate) fn update(name: &str) -> Draft {
    let keys = [device(&first(name)), agreement(&format!("x25519:{name}"))];
    one(Act::Update { recovery: None }, name, Some(document(keys)), &[&first(name)])
}

/// A holder sets a new device key with the first one.
pub(crate) fn set_device(name: &str, new: &str) -> Draft {
    one(Act::SetDevice, name, Some(document([device(new)])), &[new, &first(name)])
}

/// A holder gives the first device up and has none.
pub(crate) fn give_up(name: &str) -> Draft {
    one(Act::SetDevice, name, None, &[&first(name)])
}

/// The registering authority takes the device away.
pub(crate) fn take_away(name: &str) -> Draft {
    one(Act::SetDevice, name, None, &[]).on_none()
}

/// Authority and countersigner set a new device key.
pub(crate) fn restore(name: &str, new: &str) -> Draft {
    let signers = [new, "registrar/control", "countersigner/control"];
    one(Act::SetDevice, name, Some(document([device(new)])), &signers)
}

/// A holder deactivates with the first device.
pub(crate) fn deactivate(name: &str) -> Draft {
    one(Act::Deactivate, name, None, &[&first(name)])
}

/// An organization replaces its document.
pub(crate) fn rekeyed(name: &str, keys: v1::DidDocument, signers: &[&str]) -> Draft {
    one(Act::Update { recovery: None }, name, Some(keys), signers)
}

/// An operation on members: propose, approve, join, re-key.
pub(crate) fn members(operation: impl Fn(&World) -> Wire + 'static, signer: &str) -> Draft {
    one(Act::Members(Members(Rc::new(operation))), "", None, &[signer])
}

/// Nothing happens for so long.
pub(crate) fn wait(ms: u64) -> Draft {
    draft(Vec::new()).after(ms)
}

/// Something that no operation of this version does.
pub(crate) fn meanwhile(edit: impl Fn(&mut World) + 'static) -> Draft {
    Draft { edit: Some(Rc::new(edit)), ..draft(Vec::new()) }
}

/// A change of status.
pub(crate) fn at_desk(desk: Desk) -> Draft {
    one(Act::Status(Box::new(desk)), "", None, &[])
}

/// Several operations in one transaction, under the submitter and times of the first.
pub(crate) fn together(drafts: &[Draft]) -> Draft {
    let mut all = drafts[0].clone();
    all.steps = drafts.iter().flat_map(|draft| draft.steps.clone()).collect();
    all
}

impl Draft {
    fn each(mut self, change: impl Fn(&mut Step)) -> Self {
        self.steps.iter_mut().for_each(change);
        self
    }

    /// With another desk.
    pub(crate) fn desk(self, change: impl Fn(&mut Desk)) -> Self {
        self.each(|step| {
            if let Act::Status(desk) = &mut step.act {
                change(desk);
            }
        })
    }

    /// Builds on this version instead of the newest.
    pub(crate) fn on(self, version: u64) -> Self {
        self.each(|step| step.previous = Previous::Version(version))
    }

    /// Builds on the version with this hash.
    pub(crate) fn on_hash(self, hash: Hash) -> Self {
        self.each(|step| step.previous = Previous::Hash(hash))
    }

    /// Names no version.
    pub(crate) fn on_none(self) -> Self {
        self.each(|step| step.previous = Previous::None)
    }

    /// Signed by these keys instead.
    pub(crate) fn by(self, signers: &[&str]) -> Self {
        self.each(|step| step.signers = signers.iter().map(|one| (*one).to_owned()).collect())
    }

    /// Signed by this key too.
    pub(crate) fn and_by(self, signer: &str) -> Self {
        self.each(|step| step.signers.push(signer.to_owned()))
    }

    /// With this document instead.
    pub(crate) fn with(self, document: v1::DidDocument) -> Self {
        self.each(|step| step.document = Some(document.clone()))
    }

    /// A create under this authority; an update leaves it alone.
    pub(crate) fn under(self, name: &str) -> Self {
        self.each(|step| {
            if let Act::Create { authority, .. } = &mut step.act {
                *authority = name.to_owned();
            }
        })
    }

    /// With this recovery rule.
    pub(crate) fn recovery(self, countersigner: Option<&str>) -> Self {
        self.each(|step| match &mut step.act {
            Act::Create { recovery, .. } => *recovery = countersigner.map(str::to_owned),
            Act::Update { recovery } => *recovery = Some(countersigner.map(str::to_owned)),
            Act::SetDevice | Act::Deactivate | Act::Members(_) | Act::Status(_) => {}
        })
    }

    /// Any submitter may carry it.
    pub(crate) fn any(self) -> Self {
        self.each(|step| step.any = true)
    }

    /// It may run only in this very list.
    pub(crate) fn whole_list(self) -> Self {
        self.each(|step| step.whole_list = true)
    }

    /// Brought by another organization, with its submit key.
    pub(crate) fn through(mut self, submitter: &str) -> Self {
        self.submitter = submitter.to_owned();
        self.submitter_key = format!("{submitter}/submit");
        self
    }

    /// Brought by an organization or whoever, with this key.
    pub(crate) fn through_key(mut self, submitter: &str, key: &str) -> Self {
        self.submitter = submitter.to_owned();
        self.submitter_key = key.to_owned();
        self
    }

    /// Valid until so long after the block's time.
    pub(crate) fn valid_for(mut self, ms: i64) -> Self {
        self.valid_for_ms = ms;
        self
    }

    /// The authors want it until so long after the block's time.
    pub(crate) fn authors_valid_for(self, ms: i64) -> Self {
        self.each(|step| step.valid_for_ms = Some(ms))
    }

    /// In a block that comes so long after its parent.
    pub(crate) fn after(mut self, ms: u64) -> Self {
        self.after_ms = ms;
        self
    }

    /// Changed after everybody signed.
    pub(crate) fn forged(mut self, forge: impl Fn(&mut v1::Transaction) + 'static) -> Self {
        self.forge.push(Rc::new(forge));
        self
    }

    /// The body is changed after everybody signed.
    pub(crate) fn forged_body(self, forge: impl Fn(&mut v1::TransactionBody) + 'static) -> Self {
        self.forged(move |transaction| forge(transaction.body.as_mut().unwrap()))
    }

    /// The signatures of the first operation, and the terms beside them, are changed after everybody signed.
    pub(crate) fn forged_terms(
        self,
        forge: impl Fn(&mut v1::OperationSignatures) + 'static,
    ) -> Self {
        self.forged(move |transaction| {
            forge(&mut transaction.signatures.as_mut().unwrap().operations[0]);
        })
    }

    /// Only those operations of a signed transaction, as somebody would tear them out.
    pub(crate) fn torn(self, index: usize) -> Self {
        self.forged(move |transaction| {
            let body = transaction.body.as_mut().unwrap();
            body.operations = vec![body.operations[index].clone()];
            let signatures = transaction.signatures.as_mut().unwrap();
            signatures.operations = vec![signatures.operations[index].clone()];
            transaction.documents = vec![transaction.documents[index].clone()];
        })
    }
}

// ------------------------------------------------------------------------------------- making it real

impl World {
    /// The time of the block that a draft is for.
    pub(crate) fn time_of(&self, draft: &Draft) -> u64 {
        self.next_time_ms(draft.after_ms)
    }

    /// The signed transaction of a draft.
    pub(crate) fn transaction(&mut self, draft: &Draft) -> v1::Transaction {
        let time_ms = self.time_of(draft);
        let until = |ms: i64| time_ms.saturating_add_signed(ms);
        let mut body = v1::TransactionBody {
            submitter: self.did(&draft.submitter).to_vec(),
            valid_until_ms: until(draft.valid_for_ms),
            operations: Vec::new(),
        };
        let (mut documents, mut private_contents) = (Vec::new(), Vec::new());
        for (index, step) in draft.steps.iter().enumerate() {
            if let Act::Status(desk) = &step.act {
                let content = desk.content(self, time_ms, index);
                body.operations.push(desk.operation(self, time_ms, &content));
                private_contents.push(content);
                continue;
            }
            body.operations.push(self.operation(step));
            documents.extend(step.document.clone());
        }
        let genesis = *self.chain.hash();
        let mut operations = Vec::new();
        for (index, step) in draft.steps.iter().enumerate() {
            let mut terms = v1::OperationSignatures::default();
            if !step.signers.is_empty() {
                terms.any_submitter = step.any;
                terms.whole_list = step.whole_list;
                terms.valid_until_ms = until(step.valid_for_ms.unwrap_or(draft.valid_for_ms));
            }
            let statement = author_statement(&genesis, &body, index, &terms).unwrap();
            let string = author_string(&genesis, &statement);
            terms.signatures = step
                .signers
                .iter()
                .map(|signer| match self.trusting {
                    false => sign(signer, &string),
                    true => v1::KeySignature {
                        key_id: key_id(&key(signer)).to_vec(),
                        signature: vec![7; 64],
                    },
                })
                .collect();
            terms.signatures.sort_by(|a, b| a.key_id.cmp(&b.key_id));
            operations.push(terms);
        }
        let desks = draft.steps.iter().enumerate().filter_map(|(index, step)| match &step.act {
            Act::Status(desk) => Some((index, desk.as_ref())),
            _ => None,
        });
        let private_signatures = private_signatures(self, &body, time_ms, desks);
        let mut transaction = v1::Transaction {
            body: Some(body),
            documents,
            private_contents,
            signatures: Some(v1::PublicSignatures { submitter: None, operations }),
            private_signatures,
        };
        self.submit(&mut transaction, &draft.submitter_key);
        for forge in &draft.forge {
            forge(&mut transaction);
        }
        transaction
    }

    /// The submitter signs; whatever was there before is replaced.
    pub(crate) fn submit(&self, transaction: &mut v1::Transaction, key: &str) {
        let genesis = self.chain.hash();
        let id = transaction_id(genesis, transaction.body.as_ref().unwrap());
        let signature = sign(key, &submitter_string(genesis, &id));
        transaction.signatures.as_mut().unwrap().submitter = Some(signature);
    }

    fn operation(&mut self, step: &Step) -> v1::Operation {
        let hash =
            step.document.as_ref().map(|one| document_hash(one).to_vec()).unwrap_or_default();
        let rule = |world: &Self, name: &Option<String>| match name {
            None => Recovery::None,
            Some(name) => Recovery::Assisted { countersigner: world.did(name) },
        };
        if let Act::Create { kind, authority, recovery } = &step.act {
            let (authority, recovery) = (self.did(authority), rule(self, recovery));
            let empty = v1::DidDocument::default();
            let document = step.document.as_ref().unwrap_or(&empty);
            let digest = inception_digest(&inception(*kind, document, Some(&authority), &recovery));
            // The first of a name keeps it: a second create of it is another DID, or the very same.
            self.names.entry(step.name.clone()).or_insert(digest);
            return v1::Operation {
                operation: Some(Wire::CreateDid(v1::CreateDid {
                    did: digest.to_vec(),
                    kind: (*kind).into(),
                    authority: authority.to_vec(),
                    recovery: recovery.write(),
                    document_hash: hash,
                })),
            };
        }
        if let Act::Members(make) = &step.act {
            return v1::Operation { operation: Some(make.0(self)) };
        }
        let did = self.did(&step.name).to_vec();
        let of = |version| self.head(&step.name, version).as_ref().map_or(Hash([0; 32]), head_hash);
        let previous = match step.previous {
            Previous::Newest => of(None).to_vec(),
            Previous::Version(version) => of(Some(version)).to_vec(),
            Previous::Hash(hash) => hash.to_vec(),
            Previous::None => Vec::new(),
        };
        let operation = match &step.act {
            Act::Update { recovery } => {
                let recovery = recovery
                    .as_ref()
                    .map(|recovery| v1::RecoveryChange { rule: rule(self, recovery).write() });
                Wire::UpdateDid(v1::UpdateDid { did, previous, document_hash: hash, recovery })
            }
            Act::SetDevice => Wire::SetDevice(v1::SetDevice { did, previous, document_hash: hash }),
            _ => Wire::DeactivateDid(v1::DeactivateDid { did, previous }),
        };
        v1::Operation { operation: Some(operation) }
    }

    /// One transaction in one block, as mempool, proposer and validator see it: they agree, or this panics.
    pub(crate) fn run(&mut self, draft: &Draft) -> Result<(), AdmissionError> {
        if let Some(edit) = &draft.edit {
            edit(self);
            return Ok(());
        }
        let time_ms = self.time_of(draft);
        if draft.steps.is_empty() {
            let empty = self.build(&[], time_ms);
            self.commit(&empty);
            return Ok(());
        }
        let transaction = self.transaction(draft);
        self.run_transaction(transaction, time_ms)
    }

    /// The same for a transaction that is made already.
    #[allow(
        clippy::panic_in_result_fn,
        reason = "the result is the verdict, a panic is the failed test"
    )]
    pub(crate) fn run_transaction(
        &mut self,
        transaction: v1::Transaction,
        time_ms: u64,
    ) -> Result<(), AdmissionError> {
        let verdict = self.mempool(&transaction, time_ms);
        let well_formed =
            sillok_ledger::CheckedTransaction::check(self.chain.hash(), &transaction).is_ok();
        match &verdict {
            Ok(()) => {
                let built = self.build(&[transaction], time_ms);
                assert_eq!(built.refused, vec![], "the mempool took what the proposer refuses");
                assert_eq!(built.block.transactions.len(), 1, "there was room");
                self.commit(&built);
            }
            Err(error) => {
                if well_formed {
                    let built = self.build(std::slice::from_ref(&transaction), time_ms);
                    assert_eq!(built.refused, vec![(0, error.clone())], "the proposer");
                    let without = self.build(&[], time_ms);
                    assert_eq!(built.block, without.block, "a refused transaction leaves no trace");
                    assert_eq!(built.outcome.changes, without.outcome.changes);
                    assert_eq!(built.outcome.replay, without.outcome.replay);
                    assert_eq!(built.outcome.validators, None);
                }
                if transaction.body.is_some() {
                    let refused = self.execute(&self.force(&[transaction], time_ms)).unwrap_err();
                    let expected = BlockError::Transaction { index: 0, source: error.clone() };
                    assert_eq!(refused, expected, "the validator");
                }
            }
        }
        verdict
    }
}

/// What comes of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Expected {
    Accepted,
    Refused(&'static str),
}

/// It is ordered.
pub(crate) const ACCEPTED: Expected = Expected::Accepted;

/// It is refused with this code.
pub(crate) const fn refused(code: &'static str) -> Expected {
    Expected::Refused(code)
}

/// What happened must be accepted; then `tried` must come out as expected. Returns the world after it.
#[track_caller]
pub(crate) fn check(happened: &[Draft], tried: Draft, expected: Expected) -> World {
    let mut world = happened_in(happened);
    assert_eq!(outcome(&mut world, &tried), expected);
    world
}

/// A world in which all this happened.
#[track_caller]
pub(crate) fn happened_in(happened: &[Draft]) -> World {
    let mut world = World::new();
    for (index, draft) in happened.iter().enumerate() {
        world.run(draft).unwrap_or_else(|error| panic!("what happened, {index}: {error}"));
    }
    world
}

/// What comes of one more try.
pub(crate) fn outcome(world: &mut World, tried: &Draft) -> Expected {
    match world.run(tried) {
        Ok(()) => Expected::Accepted,
        Err(error) => Expected::Refused(error.code()),
    }
}
