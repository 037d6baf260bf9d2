//! Every state that a deployment can be found in leads to what is wanted, and to nothing.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::*;
use crate::config::{App, Health, Image, Instance, Network, Token};
use crate::resources::instance::Phase;

const RELEASE: &str = "r1";
const REGION: &str = "eu-central-1";

fn deployment() -> Deployment {
    Deployment {
        name: "hello".into(),
        region: None,
        app: App {
            path: PathBuf::new(),
            wsgi: "app:app".into(),
            requirements: None,
            workers: 2,
            threads: 4,
            env: Default::default(),
        },
        token: Token { env: "APP_SECRET_TOKEN".into(), enforce: true, path: "/".into() },
        instance: Instance { kind: "t3.micro".into(), image: Image::Debian13, disk_gib: 8 },
        network: Network {
            port: 80,
            allow: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
            static_ip: true,
            subnet: None,
        },
        health: Health { path: "/".into(), timeout: 30 },
        tags: Tags::from([("team".into(), "web".into())]),
    }
}

fn wanted(deployment: &Deployment) -> Wanted<'_> {
    Wanted { deployment, region: REGION, image: "debian-13", release: RELEASE }
}

/// AWS, as far as a plan can change it.
#[derive(Clone, Debug)]
struct World(Observed);

impl World {
    /// Nothing at all.
    fn empty() -> Self {
        Self(Observed { account: "123456789012".into(), partition: "aws".into(), ..Observed::default() })
    }

    /// As `up` leaves it.
    fn complete() -> Self {
        let (deployment, mut world) = (deployment(), Self::empty());
        world.run(up(&wanted(&deployment), &world.0));
        world
    }

    /// Runs every step as soon as its needs are met, the last of those that are ready first: the executor may do
    /// them in any order.
    fn run(&mut self, plan: Plan) {
        let (mut waiting, mut done) = (plan.steps, BTreeSet::new());
        while !waiting.is_empty() {
            let ready = waiting.iter().rposition(|step| step.needs.iter().all(|need| done.contains(need)));
            let step = waiting.remove(ready.unwrap_or_else(|| panic!("these wait for each other: {waiting:?}")));
            assert!(!step.reasons.is_empty(), "no reason is given for {step:?}");
            self.apply(step.change);
            assert!(done.insert(step.kind), "two steps of one kind");
        }
    }

    fn current(&mut self) -> &mut instance::State {
        let found = self.0.instances.iter_mut().find(|state| state.phase != Phase::Dying);
        found.expect("this step needs an instance")
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::SecurityGroup(change) => self.security_group(change),
            Change::KeyPair(key_pair::Change::Create { .. }) => {
                self.0.key_pair = Some(key_pair::State { id: "key-1".into() });
            }
            Change::KeyPair(key_pair::Change::Delete { .. }) => self.0.key_pair = None,
            Change::Role(change) => self.role(change),
            Change::Token(token::Change::Create { .. }) => self.0.token = Some(token::State { version: 1 }),
            Change::Token(token::Change::Delete) => self.0.token = None,
            Change::Bucket(change) => self.bucket(change),
            Change::Release(_) => {
                assert!(self.0.bucket.is_some(), "a release needs its bucket");
                (self.0.release, self.0.contents) = (true, bucket::Contents { ours: true, any: true });
            }
            Change::Instance(change) => self.instance(change),
            Change::Attachment(_) => self.attach(),
            Change::Address(change) => self.address(change),
            Change::Doorbell(change) => {
                let version = self.0.token.expect("the doorbell needs a token").version;
                assert!(self.0.release, "the doorbell names a release that is there");
                let tags = &mut self.current().tags;
                tags.extend(change.release.map(|release| (names::TAG_RELEASE.to_owned(), release)));
                tags.insert(names::TAG_TOKEN.into(), version.to_string());
            }
            Change::Reports(_) => {
                assert!(self.0.instances.is_empty(), "an instance that lives writes reports");
                self.0.reports.clear();
            }
        }
    }

    fn security_group(&mut self, change: security_group::Change) {
        let nonce = Some("nonce".to_owned());
        match change {
            security_group::Change::Create { rules, tags } => {
                assert!(self.0.security_group.is_none());
                let ingress = rules.into_iter().collect();
                self.0.security_group = Some(security_group::State { id: "sg-1".into(), nonce, ingress, tags });
            }
            security_group::Change::Update { authorize, revoke, tags, .. } => {
                let group = self.0.security_group.as_mut().unwrap();
                group.ingress.retain(|rule| !revoke.contains(rule));
                group.ingress.extend(authorize);
                if tags.contains_key(names::TAG_NONCE) {
                    group.nonce = nonce;
                }
                group.tags.extend(tags);
            }
            security_group::Change::Delete { .. } => {
                assert!(self.0.instances.is_empty(), "an interface still uses the group");
                self.0.security_group = None;
            }
        }
    }

    fn role(&mut self, change: role::Change) {
        let role::Change::Ensure { role, policy, profile, .. } = change else {
            self.0.role = None;
            return;
        };
        let state = self.0.role.get_or_insert_with(role::State::default);
        assert_ne!(role, state.role);
        state.role = true;
        if let Some(document) = policy {
            state.policy = Some(serde_json::from_str(&document).unwrap());
        }
        let id = if profile { "AIPANEW".to_owned() } else { state.profile.clone().unwrap().id };
        state.profile = Some(role::Profile { id, holds_role: true });
    }

    fn bucket(&mut self, change: bucket::Change) {
        match change {
            bucket::Change::Ensure { create, policy, .. } => {
                assert_eq!(create, self.0.bucket.is_none());
                let before = self.0.bucket.take().and_then(|bucket| bucket.policy);
                let policy = policy.map_or(before, |document| Some(serde_json::from_str(&document).unwrap()));
                self.0.bucket = Some(bucket::State { policy, closed: true });
            }
            bucket::Change::Delete => {
                assert!(self.0.instances.is_empty(), "an instance that lives writes logs");
                (self.0.bucket, self.0.release) = (None, false);
                self.0.contents = bucket::Contents::default();
            }
        }
    }

    fn instance(&mut self, change: instance::Change) {
        match change {
            instance::Change::Launch { tags, .. } => {
                assert!(self.0.security_group.as_ref().is_some_and(|group| group.nonce.is_some()));
                assert!(self.0.key_pair.is_some());
                let id = format!("i-new{}", self.0.instances.len());
                self.0.instances.insert(0, running(&id, tags));
            }
            instance::Change::Update { start, metadata, tags, .. } => {
                let current = self.current();
                if start {
                    current.phase = Phase::Running;
                }
                current.metadata |= metadata;
                current.tags.extend(tags);
            }
            instance::Change::Terminate { ids } => {
                self.0.instances.retain(|state| !ids.contains(&state.id));
                let gone = |address: &address::State| address.instance.as_ref().is_some_and(|id| ids.contains(id));
                for address in self.0.addresses.iter_mut().filter(|address| gone(address)) {
                    (address.instance, address.association) = (None, None);
                }
            }
        }
    }

    fn attach(&mut self) {
        let role = self.0.role.clone().expect("the profile is attached after it was made");
        assert!(role.role && role.policy.is_some(), "what is attached must be of use at once");
        let id = role.profile.filter(|profile| profile.holds_role).unwrap().id;
        let arn = format!("arn:aws:iam::123456789012:instance-profile/{}", names::role("hello", REGION));
        let current = self.current();
        assert_eq!(current.phase, Phase::Running);
        current.profile = Some(instance::Profile { arn, id });
    }

    fn address(&mut self, change: address::Change) {
        let address::Change::Ensure { keep, attach, tags, .. } = change else {
            self.0.addresses.clear();
            return;
        };
        let mut address = keep.unwrap_or_else(|| elastic("eipalloc-1", None, Tags::new()));
        address.tags.extend(tags);
        if attach {
            let current = self.current();
            assert_eq!(current.phase, Phase::Running);
            address.instance = Some(current.id.clone());
        }
        self.0.addresses = vec![address];
    }
}

fn running(id: &str, tags: Tags) -> instance::State {
    instance::State {
        id: id.into(),
        phase: Phase::Running,
        kind: "t3.micro".into(),
        ip: None,
        profile: None,
        metadata: true,
        tags,
        launched: 1,
    }
}

fn elastic(id: &str, instance: Option<&str>, tags: Tags) -> address::State {
    let instance = instance.map(str::to_owned);
    let association = instance.as_ref().map(|_| "eipassoc-1".to_owned());
    address::State { id: id.into(), ip: Ipv4Addr::new(203, 0, 113, 9), instance, association, tags }
}

/// One thing, whole, missing, or spoilt in one of the ways that AWS, a person or a killed run can leave it in.
type Ways = Vec<fn(&mut World)>;

fn ways() -> [Ways; 7] {
    let whole: fn(&mut World) = |_| {};
    [
        vec![
            whole,
            |world| world.0.security_group = None,
            |world| world.0.security_group.as_mut().unwrap().ingress.clear(),
            |world| world.0.security_group.as_mut().unwrap().nonce = None,
            |world| {
                let ssh = security_group::Rule::tcp(22, "0.0.0.0/0".parse().unwrap());
                world.0.security_group.as_mut().unwrap().ingress.insert(ssh);
            },
        ],
        vec![whole, |world| world.0.key_pair = None],
        vec![
            whole,
            |world| world.0.role = None,
            |world| world.0.role.as_mut().unwrap().policy = None,
            |world| world.0.role.as_mut().unwrap().profile = None,
            |world| world.0.role.as_mut().unwrap().profile.as_mut().unwrap().holds_role = false,
            |world| {
                let role = world.0.role.as_mut().unwrap();
                (role.role, role.policy) = (false, None);
                role.profile.as_mut().unwrap().holds_role = false;
            },
        ],
        vec![whole, |world| world.0.token = None, |world| world.0.token = Some(token::State { version: 7 })],
        vec![
            whole,
            |world| (world.0.bucket, world.0.release) = (None, false),
            |world| world.0.release = false,
            |world| world.0.bucket.as_mut().unwrap().closed = false,
        ],
        vec![
            whole,
            |world| world.0.instances.clear(),
            |world| world.current().phase = Phase::Stopped,
            |world| world.current().phase = Phase::Dying,
            |world| world.current().profile = None,
            |world| world.current().metadata = false,
            |world| drop(world.current().tags.insert(names::TAG_SPEC.into(), "another".into())),
            |world| drop(world.current().tags.remove(names::TAG_RELEASE)),
            |world| drop(world.current().tags.remove(names::TAG_TOKEN)),
            |world| drop(world.current().tags.remove("team")),
            |world| {
                let mut second = world.current().clone();
                second.id = "i-second".into();
                world.0.instances.push(second);
            },
        ],
        vec![
            whole,
            |world| world.0.addresses.clear(),
            |world| (world.0.addresses[0].instance, world.0.addresses[0].association) = (None, None),
            |world| world.0.addresses[0].instance = Some("i-of-somebody".into()),
            |world| world.0.addresses.push(elastic("eipalloc-2", None, Tags::new())),
        ],
    ]
}

/// Every combination of everything's states.
fn every(visit: &mut dyn FnMut(World)) {
    fn spoil(ways: &[Ways], world: World, visit: &mut dyn FnMut(World)) {
        let Some((first, rest)) = ways.split_first() else { return visit(world) };
        for way in first {
            let mut world = world.clone();
            way(&mut world);
            spoil(rest, world, visit);
        }
    }
    // The address last: it may lead to an instance that is gone.
    spoil(&ways(), World::complete(), visit);
}

#[test]
fn what_is_complete_needs_nothing() {
    let deployment = deployment();
    let world = World::complete();
    assert_eq!(up(&wanted(&deployment), &world.0), Plan::default());
    assert_eq!(down(&World::empty().0), Plan::default());
}

#[test]
fn up_converges_from_every_state_and_then_has_nothing_to_do() {
    let deployment = deployment();
    let mut count = 0;
    every(&mut |mut world| {
        count += 1;
        let before = format!("{world:?}");
        world.run(up(&wanted(&deployment), &world.0));
        let again = up(&wanted(&deployment), &world.0);
        assert!(again.is_empty(), "{:?}\nis still to be done after\n{before}", again.steps);
        assert_eq!(world.0.addresses.len(), 1);
        let alive: Vec<_> = world.0.instances.iter().filter(|state| state.phase != Phase::Dying).collect();
        assert_eq!(alive.len(), 1, "{alive:?}");
    });
    assert_eq!(count, 5 * 2 * 6 * 3 * 4 * 11 * 5);
}

#[test]
fn down_leads_from_every_state_to_nothing() {
    every(&mut |mut world| {
        world.run(down(&world.0));
        assert!(down(&world.0).is_empty(), "{:?}", world.0);
        assert!(world.0.nothing() && world.0.bucket.is_none(), "{:?}", world.0);
    });
}

#[test]
fn another_deployment_in_the_bucket_keeps_it() {
    let mut world = World::complete();
    world.0.contents = bucket::Contents { ours: false, any: true };
    world.0.instances.clear();
    assert!(!down(&world.0).steps.iter().any(|step| step.kind == Kind::Bucket));
}

#[test]
fn nothing_that_is_not_asked_for_is_replaced_or_deleted() {
    let deployment = deployment();
    let mut world = World::complete();
    world.0.role = None;
    world.0.security_group.as_mut().unwrap().ingress.clear();
    world.current().phase = Phase::Stopped;
    let plan = up(&wanted(&deployment), &world.0);
    assert!(plan.steps.iter().all(|step| matches!(step.action, Action::Create | Action::Update)), "{plan:?}");
}

#[test]
fn what_was_given_up_is_tried_again() {
    let (deployment, mut world) = (deployment(), World::complete());
    let report = reports::Report {
        phase: "failed".into(),
        wanted: reports::Wanted { release: Some(RELEASE.into()), ..Default::default() },
        ..Default::default()
    };
    let id = world.current().id.clone();
    world.0.reports = vec![(id, report)];
    let plan = up(&wanted(&deployment), &world.0);
    assert_eq!(plan.steps.len(), 1);
    assert!(matches!(&plan.steps[0].change, Change::Doorbell(doorbell::Change { again: true, .. })));
}
