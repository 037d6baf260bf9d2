//! The data volume: from every state `up` ends with one volume, attached to the only instance, and no plan deletes it unasked.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::account::Account;
use super::fixtures::*;
use crate::base::names;
use crate::config::{Data, Deployment};
use crate::engine::observe::Observed;
use crate::engine::plan::{self, Plan};
use crate::engine::spec::Spec;
use crate::resources::instance::{self, Phase};
use crate::resources::orders::{NO_DATA, Orders};
use crate::resources::volume::{self, Attachment, State};
use crate::resources::{Action, Id, Kind, Lookup, Tags, attachment};

const VOLUME: &str = "vol-00000001";

static WITH_DATA: LazyLock<Deployment> =
    LazyLock::new(|| Deployment { data: Some(Data { path: "/data".into(), gib: 10 }), ..deployment() });

impl Account {
    pub fn volumes(&mut self) -> &mut Vec<State> {
        self.seen.volumes.stand(Vec::new)
    }

    pub fn volume(&mut self, change: volume::Change) {
        match change {
            volume::Change::Create { gib, tags } => {
                assert_eq!(volume::kept(&self.seen), None, "there is a volume already");
                let zone = self.current().zone.clone();
                self.volumes().push(State { gib, zone, tags, ..available() });
            }
            volume::Change::Update { id, grow, tags } => {
                let volume = self.volumes().iter_mut().find(|volume| volume.id == id).expect("it exists");
                volume.gib = grow.unwrap_or(volume.gib);
                volume.tags.extend(tags);
            }
            volume::Change::Delete { id } => {
                assert!(self.seen.instances.is_empty(), "an instance still uses the data");
                self.volumes().retain(|volume| volume.id != id);
            }
        }
    }

    pub fn attachment(&mut self, change: attachment::Change) {
        match change {
            attachment::Change::Attach => {
                let current = self.current().clone();
                let id = volume::kept(&self.seen).expect("a volume is created before it is attached").id.clone();
                assert_eq!(current.phase, Phase::Running);
                self.take(&id, Some(&current.id));
                let volume = self.volumes().iter_mut().find(|volume| volume.id == id).unwrap();
                assert_eq!(volume.zone, current.zone, "a volume cannot leave its zone");
                volume.attachment = Some(Attachment { instance: current.id, complete: true, busy: false });
                self.current().tell(Orders { data: Some(id), ..Orders::default() });
            }
            attachment::Change::Detach { volume, .. } => self.take(&volume, None),
        }
    }

    /// The instance that has the volume is told to give it back first.
    fn take(&mut self, id: &str, to: Option<&str>) {
        let volume = self.volumes().iter_mut().find(|volume| volume.id == id).unwrap();
        let Some(holder) = volume.attachment.take().map(|one| one.instance).filter(|one| Some(one.as_str()) != to)
        else {
            return;
        };
        let holder = self.seen.instances.iter_mut().find(|state| state.id == holder).expect("it exists");
        holder.tell(Orders { data: Some(NO_DATA.into()), ..Orders::default() });
    }

    /// A termination ends the attachments.
    pub fn release_volumes(&mut self, instance: &str) {
        for volume in self.volumes().iter_mut().filter(|volume| volume.holder() == Some(instance)) {
            volume.attachment = None;
        }
    }
}

fn available() -> State {
    let tags = spec(&WITH_DATA).named_tags().into_iter();
    let tags: Tags = tags.chain([(names::TAG_DATA.to_owned(), volume::CURRENT.to_owned())]).collect();
    let (id, zone) = (VOLUME.to_owned(), "b".to_owned());
    State { id, gib: 10, zone, phase: volume::Phase::Available, attachment: None, made: 1, tags }
}

type Ways = Vec<fn(&mut Account)>;

fn held(account: &mut Account, instance: &str, complete: bool) {
    let holder = Attachment { instance: instance.to_owned(), complete, busy: !complete };
    account.volumes()[0].attachment = Some(holder);
}

/// The states of the volume, after those of the instance.
fn volumes() -> Ways {
    vec![
        |_| {},
        |account| account.volumes().clear(),
        |account| account.volumes()[0].attachment = None,
        |account| account.volumes()[0].zone = "c".into(),
        |account| (account.volumes()[0].attachment, account.volumes()[0].zone) = (None, "c".into()),
        |account| account.volumes()[0].gib = 5,
        |account| drop(account.volumes()[0].tags.remove("team")),
        |account| {
            let holder = account.volumes()[0].holder().map(str::to_owned);
            holder.into_iter().for_each(|holder| held(account, &holder, false));
        },
        |account| {
            for state in &mut account.seen.instances {
                state.tell(Orders { data: Some(NO_DATA.into()), ..Orders::default() });
            }
        },
        |account| {
            for state in &mut account.seen.instances {
                state.tags.remove(names::TAG_DATA);
            }
        },
    ]
}

/// The states of the instance.
fn instances() -> Ways {
    vec![
        |_| {},
        |account| {
            account.seen.instances.clear();
            account.volumes()[0].attachment = None;
        },
        |account| account.current().phase = Phase::Stopped,
        |account| account.current().phase = Phase::Dying,
        |account| drop(account.current().tags.insert(names::TAG_SPEC.into(), "another".into())),
        // A replacement that was killed before and after it moved the volume.
        |account| replacing(account),
        |account| {
            replacing(account);
            held(account, "i-fresh", true);
        },
    ]
}

fn replacing(account: &mut Account) {
    let mut new = account.current().clone();
    account.current().tags.insert(names::TAG_SPEC.into(), "another".into());
    (new.id, new.profile, new.launched) = ("i-fresh".into(), None, 2);
    new.tags.remove(names::TAG_DATA);
    account.seen.instances.insert(0, new);
}

fn complete() -> Account {
    let mut account = Account::empty();
    account.seen.volumes = Lookup::Present(Vec::new());
    account.run(up(&spec(&WITH_DATA), &account.seen));
    account.looked()
}

fn every(visit: impl Fn(&Account)) {
    for instance in instances() {
        for volume in volumes() {
            let mut account = complete();
            instance(&mut account);
            volume(&mut account);
            visit(&account.looked());
        }
    }
}

/// One volume, attached to the only live instance, which is told to use it.
fn assert_complete(account: Account, before: &Account) {
    let mut account = account.looked();
    let again = up(&spec(&WITH_DATA), &account.seen);
    assert!(again.is_empty(), "{:?}\nis left to do after\n{before:?}", again.steps);
    let alive: Vec<_> = instance::alive(&account.seen.instances).cloned().collect();
    let [volume] = account.volumes().as_slice() else { panic!("{account:?}") };
    assert_eq!(alive.len(), 1, "{alive:?}");
    assert_eq!(volume.holder(), Some(alive[0].id.as_str()), "after\n{before:?}");
    assert_eq!((alive[0].orders().data.as_ref(), &alive[0].zone), (Some(&volume.id), &volume.zone));
    assert!(volume.gib >= 10 && volume.tags.contains_key("team"));
}

#[test]
fn up_converges_from_every_state_of_the_data() {
    every(|before| {
        let mut account = before.clone();
        account.run(up(&spec(&WITH_DATA), &account.seen));
        assert_complete(account, before);
    });
}

#[test]
fn down_keeps_the_data_until_the_user_wants_it_deleted() {
    every(|before| {
        let had: Vec<String> = before.clone().volumes().iter().map(|volume| volume.id.clone()).collect();
        let mut account = before.clone();
        account.run(down(&account.seen));
        let mut account = account.looked();
        let left: Vec<String> = account.volumes().iter().map(|volume| volume.id.clone()).collect();
        assert_eq!((left, account.seen.nothing()), (had, true), "{before:?}");
        assert!(down(&account.seen).is_empty());
        account.run(plan::down(&account.seen, true).unwrap());
        assert!(account.volumes().is_empty());
    });
}

#[test]
fn without_data_the_volume_is_detached_and_kept() {
    every(|before| {
        let mut account = before.clone();
        account.run(up(&spec(&DEPLOYMENT), &account.seen));
        let mut account = account.looked();
        assert!(up(&spec(&DEPLOYMENT), &account.seen).is_empty(), "{before:?}");
        // The termination of an instance ends its attachment.
        let dying: Vec<String> =
            account.seen.instances.iter().filter(|one| one.phase == Phase::Dying).map(|one| one.id.clone()).collect();
        let is_free = |volume: &State| volume.holder().is_none_or(|holder| dying.iter().any(|id| id == holder));
        assert!(account.volumes().iter().all(is_free), "{before:?}");
        assert_eq!(account.volumes().len(), before.clone().volumes().len());
        // It is taken up again.
        account.run(up(&spec(&WITH_DATA), &account.seen));
        assert_complete(account, before);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn a_run_that_is_killed_anywhere_loses_no_data(
        first in 0..7_usize, second in 0..10_usize, seed in prop::collection::vec(0..100_usize, 1..20), most in 0..16_usize,
        ends: bool,
    ) {
        let mut account = complete();
        instances()[first](&mut account);
        volumes()[second](&mut account);
        let before = account.looked();
        let had = before.clone().volumes().len();
        let mut account = before.clone();
        let plan = if ends { down(&account.seen) } else { up(&spec(&WITH_DATA), &account.seen) };
        account.run_some(plan, most, &mut order(seed));
        let mut account = account.looked();
        prop_assert!(account.volumes().len() >= had);
        account.run(up(&spec(&WITH_DATA), &account.seen));
        assert_complete(account, &before);
    }
}

fn ids(plan: &Plan) -> Vec<&Id> {
    plan.steps.iter().map(|step| &step.id).collect()
}

#[test]
fn the_data_moves_after_the_new_instance_waits_for_it_and_before_it_is_healthy() {
    let mut account = complete();
    says(&mut account, RELEASE);
    account.current().tags.insert(names::TAG_SPEC.into(), "another".into());
    let plan = up(&spec(&WITH_DATA), &account.seen);
    let [gate, health, association] = [Kind::DataGate, Kind::HealthGate, Kind::EipAssociation].map(Id::of);
    let old = Id::named(Kind::Instance, "i-new0");
    let profile = Id::of(Kind::InstanceProfile);
    let orders = Id::of(Kind::Orders);
    assert_eq!(ids(&plan), [&instance::ID, &profile, &orders, &gate, &attachment::ID, &health, &association, &old]);
    let step = |id: &Id| plan.steps.iter().find(|step| step.id == *id).unwrap();
    for (after, before) in [(&attachment::ID, &gate), (&health, &attachment::ID), (&old, &attachment::ID)] {
        assert!(step(after).needs.contains(before), "{after}");
    }
    assert!(step(&attachment::ID).reasons[0].contains("the app answers 503 for some seconds while its data moves"));
    // An instance that does not serve loses nothing, so nothing waits for the new one.
    account.seen.reports = Vec::new();
    assert!(!ids(&up(&spec(&WITH_DATA), &account.seen)).contains(&&gate));
    let hurry = up(&Spec { wait: false, ..spec(&WITH_DATA) }, &account.seen);
    assert!(!ids(&hurry).contains(&&gate) && ids(&hurry).contains(&&attachment::ID));
}

#[test]
fn a_launch_goes_to_the_zone_of_the_volume() {
    let mut account = complete();
    account.seen.instances.clear();
    (account.volumes()[0].zone, account.volumes()[0].attachment) = ("c".into(), None);
    account.run(up(&spec(&WITH_DATA), &account.seen));
    assert_eq!(account.current().zone, "c");
}

#[test]
fn an_impossible_volume_is_refused_before_anything_is_changed() {
    let refusal = |wanted: &Deployment, spoil: fn(&mut Account)| {
        let mut account = complete();
        account.seen.kind = Lookup::Present(instance::Kind::default());
        spoil(&mut account);
        spec(wanted).check(&account.seen).err().map(|failure| failure.what().to_owned())
    };
    let small = Deployment { data: Some(Data { path: "/data".into(), gib: 9 }), ..deployment() };
    assert_eq!(refusal(&WITH_DATA, |_| {}), None);
    assert_eq!(refusal(&small, |_| {}).unwrap(), "the data volume vol-00000001 cannot shrink from 10 to 9 GiB");
    let foreign = refusal(&WITH_DATA, |account| held(account, "i-foreign", true));
    assert_eq!(foreign.unwrap(), "the data volume vol-00000001 is attached to i-foreign");
    let broken = refusal(&WITH_DATA, |account| account.volumes()[0].phase = volume::Phase::Broken);
    assert_eq!(broken.unwrap(), "the data volume vol-00000001 is in the state error");
    let mut placed = WITH_DATA.clone();
    placed.network.subnet = Some("subnet-1".into());
    let elsewhere = refusal(&placed, |account| account.seen.subnet_zone = Some("c".into()));
    assert_eq!(elsewhere.unwrap(), "the data volume vol-00000001 cannot be attached to an instance in subnet-1");
    assert_eq!(refusal(&placed, |account| account.seen.subnet_zone = Some("b".into())), None);
}

#[test]
fn a_plan_for_data_needs_the_volumes_to_be_read() {
    let seen = Observed { volumes: Lookup::NotAsked, ..complete().seen };
    let wanted = crate::engine::topology::single(&spec(&WITH_DATA));
    assert!(plan::up(&wanted, &seen).is_err() && plan::down(&seen, true).is_err());
}

/// The old instance gets its data back if the new one fails: the gate knows which one it is.
#[test]
fn the_gate_knows_the_instance_that_served() {
    let mut account = complete();
    says(&mut account, RELEASE);
    replacing(&mut account);
    held(&mut account, "i-fresh", true);
    let plan = up(&spec(&WITH_DATA), &account.seen);
    let step = plan.steps.iter().find(|step| step.id.kind == Kind::HealthGate).unwrap();
    let crate::resources::Change::HealthGate(gate) = &step.change else { panic!() };
    assert_eq!((gate.back.as_deref(), step.action), (Some("i-new0"), Action::Update));
}
