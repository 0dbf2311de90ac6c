//! A ministry under the registrar, an agency under the ministry that issues, and a call centre under the agency that may
//! only take back: limits at full speed, winding down, and cutting off.

use super::harness::Network;
use super::law::{block_on, network};
use sillok_client::desk::EnrollmentStep;
use sillok_client::identity::Identity;
use sillok_client::keys::KeyAlgorithm::Ed25519;
use sillok_client::keys::SecretKey;
use sillok_client::pseudonym::Handle;
use sillok_client::rights::Ending;
use sillok_client::transaction::{OperationDraft, Terms};
use sillok_client::verify::authority::Right;
use sillok_client::verify::moment::Moment;
use sillok_devnet::desk::{self, Deed, Desk};
use sillok_devnet::reader::Reader;
use sillok_devnet::scene::{Scene, finish, organization_key};
use sillok_devnet::submit::Outcome;
use sillok_did_method::EntryState;
use sillok_proto::v1::{Action, EnrollmentState, Reason};
use std::collections::BTreeMap;

const ENDED_HOURLY: u32 = 5;
const SUSPENDED_HOURLY: u32 = 3;
const HOUR_MS: u64 = 3_600_000;

struct Office {
    scene: Scene,
    ministry: Identity,
    agency: Identity,
    centre: Identity,
    desk: Desk,
    readers: Vec<Reader>,
}

fn key() -> SecretKey {
    SecretKey::generate(Ed25519).unwrap()
}

impl Office {
    async fn open(network: &Network) -> Self {
        let scene = network.scene();
        let of = desk::publish(&scene).await.unwrap();
        let (ministry, agency, centre) = (
            desk::organization(&scene).await.unwrap(),
            desk::organization(&scene).await.unwrap(),
            desk::organization(&scene).await.unwrap(),
        );
        let unlimited = [0; 3];
        let limits = [0, SUSPENDED_HOURLY, ENDED_HOURLY];
        let (registrar, actions) =
            (&scene.registrar, [Action::Accredit, Action::Issue, Action::Revoke]);
        for action in actions {
            desk::accredit(&scene, registrar, &ministry, action, &of.0, unlimited).await.unwrap();
        }
        for action in actions {
            desk::accredit(&scene, &ministry, &agency, action, &of.0, unlimited).await.unwrap();
        }
        desk::accredit(&scene, &agency, &centre, Action::Revoke, &of.0, limits).await.unwrap();
        let desk = Desk::open(scene.clone(), agency.clone(), of).await.unwrap();
        let readers = network.devnet().nodes.iter().map(|node| network.reader(node)).collect();
        Self { scene, ministry, agency, centre, desk, readers }
    }

    /// People with a phone each, and an entry each, from these numbers on.
    async fn issue(&self, first: u32, count: u32) -> (Vec<Handle>, u64) {
        let (mut people, mut height) = (Vec::new(), 0);
        for index in first..first + count {
            let person = self.desk.person(index.into()).unwrap();
            height = self.desk.issue(&self.agency, person, &key(), index, 0).await.unwrap();
            people.push(person);
        }
        (people, height)
    }

    fn end<'a>(&self, role: &'a Identity, person: Handle) -> Deed<'a> {
        let step = EnrollmentStep::End { number: 0, invalid_from_ms: 0 };
        self.desk.enroll(role, person, &step, Reason::LostDevice).unwrap()
    }

    fn suspend<'a>(&self, role: &'a Identity, person: Handle) -> Deed<'a> {
        let step = EnrollmentStep::Suspend { number: 0 };
        self.desk.enroll(role, person, &step, Reason::Suspected).unwrap()
    }

    /// The code with which it is refused.
    async fn refused(&self, deeds: &[Deed<'_>]) -> String {
        let transaction = self.desk.transaction(&self.scene.registrar, deeds).unwrap();
        self.scene.refusal(&transaction, 1).await.unwrap().code
    }

    async fn entries(&self, indexes: &[u32], height: u64) -> Vec<EntryState> {
        let mut all = Vec::new();
        for reader in &self.readers {
            all.push(self.desk.entries(reader, indexes, height).await.unwrap());
        }
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "nodes prove different entries");
        all.remove(0)
    }

    /// May it, by what every node proves?
    async fn may(&self, who: &Identity, action: Action, moment: Moment, height: u64) -> bool {
        let right = Right {
            organization: who.did.digest(),
            action,
            resource: Some(self.desk.credential_type),
        };
        let mut all = Vec::new();
        for reader in &self.readers {
            reader.wait_for(height).await.unwrap();
            all.push(
                reader.client.authority(&right, moment).await.unwrap().even_if_stale().holds(),
            );
        }
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "nodes prove different rights");
        all[0]
    }

    /// The registrar winds the ministry down, or cuts it off.
    async fn end_rights(&self, ending: Ending) -> u64 {
        let registrar = &self.scene.registrar;
        let client = &self.readers[0].client;
        let (ended, others) =
            client.endings(&self.ministry.did, &registrar.did, ending).await.unwrap();
        assert!(others.is_empty() && !ended.is_empty());
        let drafts = ended
            .into_iter()
            .map(|grant| (OperationDraft::withdraw(&registrar.did, grant), Terms::NAMED));
        let mut partly = self.scene.draft(registrar, drafts);
        for index in 0..partly.body().operations.len() {
            partly.sign(index, organization_key(registrar).unwrap()).unwrap();
        }
        let transaction = finish(partly, registrar).unwrap();
        self.scene.commit(&transaction, 0).await.unwrap().height
    }

    /// The hour of ledger time of a block.
    async fn hour(&self, height: u64) -> u64 {
        let mut client = self.scene.nodes.client(0).unwrap();
        let request = sillok_proto::v1::GetBlockRequest { height };
        let block = client.get_block(request).await.unwrap().into_inner();
        block.signed_header.unwrap().header.unwrap().time_ms / HOUR_MS
    }
}

/// A thief with the call centre's key brings everything it can, to every validator at once.
#[test]
fn a18_a_stolen_call_centre_key_ends_and_suspends_no_more_than_its_hour_allows() {
    let (network, _alone) = network();
    block_on(async {
        let office = Office::open(network).await;
        let (people, height) = office.issue(0, 16).await;
        for node in 0..4 {
            while office.scene.nodes.height(node).await.unwrap() < height {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
        let (lost, suspected) = people.split_at(9);
        let deeds = lost.iter().map(|person| office.end(&office.centre, *person));
        let deeds = deeds.chain(suspected.iter().map(|one| office.suspend(&office.centre, *one)));
        let transactions: Vec<_> = deeds
            .map(|deed| office.desk.transaction(&office.scene.rival, &[deed]).unwrap())
            .collect();
        let genesis = &office.scene.genesis_hash;
        let sent = transactions
            .iter()
            .enumerate()
            .map(|(nth, transaction)| office.scene.nodes.try_once(genesis, transaction, nth));
        let outcomes = futures::future::try_join_all(sent).await.unwrap();
        // By the hour of the ledger: at full speed two hours may meet.
        let mut counts: BTreeMap<(bool, u64), u32> = BTreeMap::new();
        let (mut last, mut refused) = (0, 0);
        for (nth, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Outcome::Committed(at) => {
                    last = last.max(at.height);
                    let hour = office.hour(at.height).await;
                    *counts.entry((nth < lost.len(), hour)).or_insert(0) += 1;
                }
                Outcome::Refused(refusal) => {
                    assert_eq!(refusal.code, "VELOCITY_LIMIT", "{refusal}");
                    refused += 1;
                }
                Outcome::Open(why) => panic!("{why}"),
            }
        }
        for ((is_end, _), count) in &counts {
            let limit = if *is_end { ENDED_HOURLY } else { SUSPENDED_HOURLY };
            assert!(*count <= limit, "{counts:?}");
        }
        let of = |is_end: bool| -> u32 {
            counts.iter().filter(|((end, _), _)| *end == is_end).map(|(_, count)| *count).sum()
        };
        assert!(of(true) >= ENDED_HOURLY && of(false) >= SUSPENDED_HOURLY, "{counts:?}");
        assert_eq!(refused, 16 - of(true) - of(false));
        assert!(refused > 0);
        // And this is what every node proves of the entries.
        let indexes: Vec<u32> = (0..16).collect();
        let states = office.entries(&indexes, last).await;
        let count = |of: EntryState| {
            u32::try_from(states.iter().filter(|state| **state == of).count()).unwrap()
        };
        assert_eq!(
            (count(EntryState::Invalid), count(EntryState::Suspended)),
            (of(true), of(false))
        );
        assert_eq!(count(EntryState::Valid), refused);
        // Who has no limit is not slowed by who has reached it: every other phone can still be lost.
        let alive = people.iter().zip(&states).filter(|(_, state)| **state == EntryState::Valid);
        let deeds: Vec<Deed<'_>> =
            alive.map(|(person, _)| office.end(&office.agency, *person)).collect();
        let height = office.desk.commit(&deeds, 2).await.unwrap();
        let states = office.entries(&indexes, height).await;
        assert!(!states.contains(&EntryState::Valid));
    });
}

#[test]
fn b8_a_ministry_wound_down_gains_nothing_and_cut_off_its_subtree_is_refused() {
    let (network, _alone) = network();
    block_on(async {
        let office = Office::open(network).await;
        let (desk, agency, centre) = (&office.desk, &office.agency, &office.centre);
        let (people, issued) = office.issue(0, 4).await;
        // One more has a reservation, and an appointment to activate it.
        let (waiting, one_time, phone) = (desk.person(9).unwrap(), key(), key());
        let reserve = |person| {
            desk.enroll(agency, person, &Desk::reservation(1, &one_time), Reason::FirstIssue)
        };
        desk.commit(&[reserve(waiting).unwrap()], 0).await.unwrap();

        let wound = office.end_rights(Ending::WindDown).await;
        // Nothing is gained any more, not even what was promised before.
        let activate = desk.activation(agency, waiting, 1, &one_time, &phone).unwrap();
        assert_eq!(office.refused(&[activate]).await, "WRONG_TYPE");
        assert_eq!(
            office.refused(&[reserve(desk.person(10).unwrap()).unwrap()]).await,
            "WRONG_TYPE"
        );
        let more = [(7, Some(people[0]))];
        let more = desk.set(agency, EntryState::Valid, &more, Reason::FirstIssue).unwrap();
        assert_eq!(office.refused(&[more]).await, "WRONG_TYPE");
        for who in [&office.ministry, agency] {
            assert!(!office.may(who, Action::Issue, Moment::Tip, wound).await);
            assert!(office.may(who, Action::Revoke, Moment::Tip, wound).await);
            assert!(office.may(who, Action::Issue, Moment::Height(issued), wound).await);
            // Refused from the very block on that ended it.
            assert!(!office.may(who, Action::Issue, Moment::Height(wound), wound).await);
            assert!(office.may(who, Action::Issue, Moment::Height(wound - 1), wound).await);
        }
        // Lost phones are revoked by everybody who could: the call centre, the agency.
        let ends = [office.end(centre, people[0]), office.end(agency, people[1])];
        let height = desk.commit(&ends, 1).await.unwrap();
        assert_eq!(
            office.entries(&[0, 1, 2, 3], height).await,
            [EntryState::Invalid, EntryState::Invalid, EntryState::Valid, EntryState::Valid]
        );

        let cut = office.end_rights(Ending::CutOff).await;
        for role in [centre, agency] {
            assert_eq!(office.refused(&[office.end(role, people[2])]).await, "WRONG_TYPE");
            assert_eq!(office.refused(&[office.suspend(role, people[2])]).await, "WRONG_TYPE");
            assert!(!office.may(role, Action::Revoke, Moment::Height(cut), cut).await);
            assert!(office.may(role, Action::Revoke, Moment::Height(cut - 1), cut).await);
        }
        // Who stands above it ends what it left behind.
        let registrar = &office.scene.registrar;
        let height = desk.commit(&[office.end(registrar, people[2])], 3).await.unwrap();
        assert_eq!(office.entries(&[2], height).await, [EntryState::Invalid]);
        // What was done before is as it was: the entries of then verify by the state of then, the rights too.
        for reader in &office.readers {
            let answer =
                reader.client.chunks(&desk.list, &[0], Moment::Height(issued)).await.unwrap();
            for index in 0..4 {
                let then = answer.even_if_stale().entry(index).unwrap();
                assert_eq!(then.state, EntryState::Valid, "entry {index} at height {issued}");
            }
        }
        assert!(office.may(agency, Action::Issue, Moment::Height(issued), cut).await);
        // The issuer still reads what it issued.
        let held = desk.enrollment(&office.readers[0], &people[3]).await.unwrap();
        assert_eq!(held.state(), EnrollmentState::Active);
    });
}
