//! Every state that a deployment can be found in leads to what is wanted, and to nothing.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::aws::Target;
use crate::config::{Acme, App, CpuCredits, Health, Image, Instance, Limits, Network, Token};
use crate::engine::observe::Store;
use crate::resources::Lookup;
use crate::resources::instance::Phase;

const RELEASE: &str = "r1";
/// What ran before it.
const BEFORE: &str = "r0";
const REGION: &str = "eu-central-1";

/// Made once: the tests below go through hundreds of thousands of plans.
static DEPLOYMENT: LazyLock<Deployment> = LazyLock::new(|| Deployment {
    name: "hello".into(),
    region: None,
    app: App {
        path: PathBuf::new(),
        wsgi: "app:app".into(),
        requirements: None,
        include: Vec::new(),
        build_dependencies: false,
        workers: 2,
        threads: 4,
        env: Default::default(),
    },
    token: Token { env: "APP_SECRET_TOKEN".into(), enforce: true, path: "/".into() },
    instance: Instance { kind: "t3.micro".into(), image: Image::Debian13, disk_gib: 8, cpu_credits: CpuCredits::Auto },
    network: Network {
        https: true,
        port: 80,
        domain: None,
        route53: false,
        acme: Acme::default(),
        limits: Limits { body_mb: 10, header_seconds: 10, body_seconds: 60, idle_seconds: 60 },
        allow: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
        static_ip: true,
        subnet: None,
    },
    permissions_boundary: None,
    health: Health { path: "/".into(), timeout: 30 },
    tags: Tags::from([("team".into(), "web".into())]),
});

fn up(want: &Wanted, have: &Observed) -> Plan {
    super::up(want, have).unwrap()
}

fn down(have: &Observed) -> Plan {
    super::down(have).unwrap()
}

fn rotation(tags: &Tags, have: &Observed, how: token::Rotation) -> Plan {
    super::rotation(tags, have, how).unwrap()
}

fn rollback(have: &Observed, to: &str) -> Plan {
    super::rollback(have, to).unwrap()
}

#[test]
fn no_plan_is_made_on_a_look_that_never_happened() {
    let looks: [fn(&mut Observed); 5] = [
        |seen| seen.security_group = Lookup::NotAsked,
        |seen| seen.key_pair = Lookup::NotAsked,
        |seen| seen.role = Lookup::NotAsked,
        |seen| seen.token = Lookup::NotAsked,
        |seen| seen.contents = Lookup::NotAsked,
    ];
    for (place, forget) in looks.into_iter().enumerate() {
        let mut seen = World::complete().seen;
        forget(&mut seen);
        assert!(super::down(&seen).is_err(), "{place}");
        // What lies in the bucket is nothing that `up` goes by.
        assert_eq!(super::up(&wanted(&DEPLOYMENT), &seen).is_err(), place < 4, "{place}");
        assert_eq!(super::rotation(&Tags::new(), &seen, token::Rotation::EndGrace).is_err(), place == 3, "{place}");
    }
}

fn deployment() -> Deployment {
    DEPLOYMENT.clone()
}

static POLICIES: LazyLock<Policies> = LazyLock::new(|| Policies::new("aws", "123456789012", REGION, "hello"));

fn wanted(deployment: &Deployment) -> Wanted<'_> {
    let target = Target::Image { python: "3.13", platform: "x86_64-manylinux_2_40" };
    let edge = Build::of(&target).unwrap();
    Wanted {
        deployment,
        region: REGION,
        image: "debian-13",
        release: RELEASE,
        edge,
        policies: &POLICIES,
        wait: true,
        refresh: false,
    }
}

/// AWS, as far as a plan can change it.
#[derive(Clone, Debug)]
struct World {
    seen: Observed,
    /// The instances that get the role's credentials: what EC2 knows, and no look at it tells.
    served: BTreeSet<String>,
    /// The bucket and what is in it, whether it was looked at or not.
    store: Store,
    /// How many instance profiles were made.
    profiles: u32,
    /// The instance that the plan is about: it is there, or launched by the plan.
    told: Option<String>,
}

impl World {
    /// Nothing at all.
    fn empty() -> Self {
        let seen = Observed {
            account: "123456789012".into(),
            partition: "aws".into(),
            image: Some("ami-1".into()),
            security_group: Lookup::Absent,
            key_pair: Lookup::Absent,
            role: Lookup::Absent,
            token: Lookup::Absent,
            contents: Lookup::Absent,
            ..Observed::default()
        };
        Self { seen, served: BTreeSet::new(), store: Store::default(), profiles: 0, told: None }.looked()
    }

    /// As somebody sees who looks at everything.
    fn looked(mut self) -> Self {
        self.seen.store = Some(self.store.clone());
        let any = !self.store.releases.is_empty();
        self.seen.contents = self.store.bucket.is_some().then_some(bucket::Contents { ours: any, any }).into();
        self
    }

    /// Whether the release that is wanted is in the bucket.
    fn uploaded(&self) -> bool {
        self.store.releases.iter().any(|release| release.id == RELEASE)
    }

    /// As `up` leaves it.
    fn complete() -> Self {
        let (deployment, mut world) = (deployment(), Self::empty());
        world.run(up(&wanted(&deployment), &world.seen));
        world.looked()
    }

    fn run(&mut self, plan: Plan) {
        self.run_some(plan, usize::MAX, &mut |ready| ready - 1);
    }

    /// Runs at most `most` steps, each as soon as its needs are met. Of those that are ready `choose` takes one: the
    /// executor may do them in any order.
    fn run_some(&mut self, plan: Plan, most: usize, choose: &mut dyn FnMut(usize) -> usize) {
        self.told = plan.instance.clone();
        for (place, step) in plan.steps.iter().enumerate() {
            let before = |need: &Kind| plan.steps[..place].iter().any(|earlier| earlier.kind == *need);
            assert!(step.needs.iter().all(before), "{:?} stands before what it needs: {plan:?}", step.kind);
        }
        let (mut waiting, mut done) = (plan.steps, BTreeSet::new());
        while !waiting.is_empty() && done.len() < most {
            let ready: Vec<usize> = (0..waiting.len())
                .filter(|&place| waiting[place].needs.iter().all(|need| done.contains(need)))
                .collect();
            assert!(!ready.is_empty(), "these wait for each other: {waiting:?}");
            let step = waiting.remove(ready[choose(ready.len())]);
            assert!(!step.reasons.is_empty(), "no reason is given for {step:?}");
            self.apply(step.change);
            assert!(done.insert(step.kind), "two steps of one kind");
        }
    }

    /// The instance that is what is wanted; of several the one that the plan is about.
    fn current(&mut self) -> &mut instance::State {
        static SPEC: LazyLock<Option<String>> =
            LazyLock::new(|| wanted(&DEPLOYMENT).instance_tags().remove(names::TAG_SPEC));
        let alive = |state: &&mut instance::State| {
            state.phase != Phase::Dying && state.tags.get(names::TAG_SPEC) == SPEC.as_ref()
        };
        let told = self.told.as_ref();
        let candidates = self.seen.instances.iter_mut().filter(alive);
        candidates.min_by_key(|state| Some(&state.id) != told).expect("this step needs an instance")
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::SecurityGroup(change) => self.security_group(change),
            Change::Ingress(change) => {
                let group = self.seen.security_group.present_mut().expect("a rule needs its group");
                group.ingress.retain(|rule| !change.revoke.contains(rule));
                group.ingress.extend(change.authorize);
            }
            Change::KeyPair(key_pair::Change::Create { tags }) => {
                self.seen.key_pair = Lookup::Present(key_pair::State { id: "key-1".into(), made: None, tags });
            }
            Change::KeyPair(key_pair::Change::Tag { tags, .. }) => {
                self.seen.key_pair.present_mut().unwrap().tags.extend(tags);
            }
            Change::KeyPair(key_pair::Change::Delete { .. }) => self.seen.key_pair = Lookup::Absent,
            Change::Role(change) => self.role(change),
            Change::Token(token::Change::Create { tags, floor }) => {
                assert!(self.seen.token.present().is_none());
                self.seen.token = Lookup::Present(token::State { version: floor + 1, tags });
            }
            Change::Token(token::Change::Raise { floor, tags }) => {
                let state = self.seen.token.present_mut().unwrap();
                state.version = floor + 1;
                state.tags.extend(tags);
            }
            Change::Token(token::Change::Tag { tags }) => self.seen.token.present_mut().unwrap().tags.extend(tags),
            Change::Token(token::Change::End { floor }) => {
                let state = self.seen.token.present_mut().expect("what ends is there");
                state.version = floor.max(state.version) + 1;
            }
            Change::Token(token::Change::Write { stands, tags, floor, .. }) => {
                assert_eq!(stands, self.seen.token.present().map(|token| token.version));
                let state = self.seen.token.stand(|| token::State { version: 0, tags });
                state.version = floor.max(state.version) + 1;
            }
            Change::Token(token::Change::Delete) => self.seen.token = Lookup::Absent,
            Change::Bucket(change) => self.bucket(change),
            Change::Release(change) => {
                assert!(self.store.bucket.is_some(), "a release needs its bucket");
                for used in history::in_use(&self.seen) {
                    assert!(
                        used == change.id || change.keep.contains(&used),
                        "{used} is in use and must not go: {change:?}"
                    );
                }
                self.store.releases.insert(0, stored(&change.id));
            }
            Change::Edge(_) => {
                assert!(self.store.bucket.is_some(), "Caddy needs its bucket");
                self.store.edge = true;
            }
            Change::Instance(change) => self.instance(change),
            Change::Attachment(attachment::Change::Attach) => self.attach(),
            Change::Attachment(attachment::Change::Detach(id)) => {
                self.seen.instances.iter_mut().find(|state| state.id == id).expect("it stands").profile = None;
                self.served.remove(&id);
            }
            Change::Address(change) => self.address(change),
            Change::Record(change) => self.record(change),
            Change::Association(_) => self.associate(),
            Change::Doorbell(change) => {
                let version = self.seen.token.present().expect("the doorbell needs a token").version;
                let named = [&change.release, &change.previous].into_iter().flatten();
                for release in named.filter(|release| [RELEASE, BEFORE].contains(&release.as_str())) {
                    let there = self.store.releases.iter().any(|stored| stored.id == *release);
                    assert!(there || release == BEFORE, "the doorbell names a release that is there");
                }
                let releases = [(names::TAG_RELEASE, change.release), (names::TAG_PREVIOUS, change.previous)];
                for (tag, release) in releases.into_iter().filter_map(|(tag, release)| Some((tag, release?))) {
                    self.current().tags.insert(tag.to_owned(), release);
                }
                let told = self.told.clone().into_iter().chain(change.others).collect::<Vec<_>>();
                for state in self.seen.instances.iter_mut().filter(|state| told.contains(&state.id)) {
                    state.tags.insert(names::TAG_TOKEN.into(), version.to_string());
                }
            }
            Change::Ready(_) => {
                let current = self.current().clone();
                assert!(self.served.contains(&current.id), "without credentials it never becomes healthy");
                assert!(current.tags.contains_key(names::TAG_TOKEN) && self.uploaded() && self.store.edge);
            }
            Change::Reports(_) => {
                assert!(self.seen.instances.is_empty(), "an instance that lives writes reports");
                self.seen.reports.clear();
            }
        }
    }

    fn security_group(&mut self, change: security_group::Change) {
        let nonce = Some("nonce".to_owned());
        match change {
            security_group::Change::Create { tags } => {
                assert!(self.seen.security_group.present().is_none());
                let ingress = BTreeSet::new();
                self.seen.security_group = Lookup::Present(security_group::State {
                    id: "sg-1".into(),
                    nonce,
                    ingress,
                    doors: Vec::new(),
                    tags,
                });
            }
            security_group::Change::Tag { tags, .. } => {
                let group = self.seen.security_group.present_mut().unwrap();
                if tags.contains_key(names::TAG_NONCE) {
                    group.nonce = nonce;
                }
                group.tags.extend(tags);
            }
            security_group::Change::Delete { .. } => {
                assert!(self.seen.instances.is_empty(), "an interface still uses the group");
                self.seen.security_group = Lookup::Absent;
            }
        }
    }

    fn role(&mut self, change: role::Change) {
        let role::Change::Ensure(ensure) = change else {
            self.seen.role = Lookup::Absent;
            return;
        };
        let state = self.seen.role.stand(role::State::default);
        assert_ne!(ensure.role, state.role.is_some());
        state.role.get_or_insert(ensure.tags.clone()).extend(ensure.role_tags);
        state.boundary = ensure.boundary.or(state.boundary.take());
        if let Some(document) = ensure.policy {
            state.policy = Some(document);
        }
        if ensure.profile {
            self.profiles += 1;
            let id = format!("AIPA{}", self.profiles);
            state.profile =
                Some(role::Profile { id, holds_role: false, others: Vec::new(), tags: ensure.tags, made: 0 });
        }
        let profile = state.profile.as_mut().unwrap();
        profile.others.retain(|role| !ensure.others.contains(role));
        assert!(profile.others.is_empty() || !ensure.membership, "a profile holds one role");
        profile.holds_role |= ensure.membership;
        profile.tags.extend(ensure.profile_tags);
    }

    fn bucket(&mut self, change: bucket::Change) {
        match change {
            bucket::Change::Look => {
                if let Some(planned) = bucket::diff(&POLICIES.bucket, self.store.bucket.as_ref()) {
                    self.bucket(planned.change);
                }
            }
            bucket::Change::Ensure { create, policy, .. } => {
                assert_eq!(create, self.store.bucket.is_none());
                let before = self.store.bucket.take().and_then(|bucket| bucket.policy);
                let policy = policy.or(before);
                self.store.bucket = Some(bucket::State { policy, closed: true });
            }
            bucket::Change::Delete => {
                assert!(self.seen.instances.is_empty(), "an instance that lives writes logs");
                self.store = Store::default();
            }
        }
    }

    fn instance(&mut self, change: instance::Change) {
        match change {
            instance::Change::Launch { tags, .. } => {
                assert!(self.seen.security_group.present().is_some_and(|group| group.nonce.is_some()));
                assert!(self.seen.key_pair.present().is_some() && self.seen.token.present().is_some());
                let id = format!("i-new{}", self.seen.instances.len());
                self.told = Some(id.clone());
                let image = self.seen.image.clone().expect("a launch needs an image");
                self.seen.instances.insert(0, instance::State { image, ..running(&id, tags) });
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
                self.seen.instances.retain(|state| !ids.contains(&state.id));
                let gone = |address: &address::State| address.instance.as_ref().is_some_and(|id| ids.contains(id));
                for address in self.seen.addresses.iter_mut().filter(|address| gone(address)) {
                    (address.instance, address.association) = (None, None);
                }
            }
        }
    }

    fn attach(&mut self) {
        let role = self.seen.role.present().cloned().expect("the profile is attached after it was made");
        assert!(role.role.is_some() && role.policy.is_some(), "what is attached must be of use at once");
        let id = role.profile.filter(|profile| profile.holds_role).unwrap().id;
        let arn = format!("arn:aws:iam::123456789012:instance-profile/{}", names::role("hello", REGION));
        let current = self.current();
        assert_eq!(current.phase, Phase::Running);
        assert_eq!(current.profile, None, "there is one attached already");
        current.profile = Some(instance::Profile { arn, id });
        let id = current.id.clone();
        self.served.insert(id);
    }

    /// Whoever removes a record removes what was seen; whoever makes one leads it to the address that there is, which by
    /// then knows the name.
    fn record(&mut self, change: record::Change) {
        let address = self.seen.addresses.first().map(|address| (address.ip, address.tags.clone()));
        for state in &mut self.seen.records {
            match &change {
                record::Change::Remove { all } if all.contains(state) => {
                    *state = record::tests::removed(state.clone());
                }
                record::Change::Lead { from } if from == state => {
                    let (ip, tags) = address.clone().expect("a record leads to an address");
                    assert_eq!(tags.get(names::TAG_DOMAIN), Some(&state.domain));
                    *state = record::tests::led(state.clone(), "hello", REGION, ip);
                }
                _ => {}
            }
        }
    }

    /// The names that lead here by our doing.
    fn led(&self) -> Vec<&str> {
        let ours = |state: &&record::State| matches!(state.mark, record::Mark::Ours(..));
        self.seen.records.iter().filter(ours).map(|state| state.domain.as_str()).collect()
    }

    fn address(&mut self, change: address::Change) {
        if matches!(change, address::Change::Release { .. }) {
            assert_eq!(self.led(), [""; 0], "a name must not lead to what may be somebody else's");
        }
        self.seen.addresses = match change {
            address::Change::Allocate { tags } => vec![elastic("eipalloc-1", None, tags)],
            address::Change::Update { mut keep, tags, .. } => {
                keep.tags.extend(tags);
                vec![keep]
            }
            address::Change::Release { .. } => Vec::new(),
        };
    }

    fn associate(&mut self) {
        let current = self.current().clone();
        assert_eq!(current.phase, Phase::Running);
        let others = instance::alive(&self.seen.instances).any(|state| state.id != current.id);
        assert!(!others || self.served.contains(&current.id), "the old one serves until the new one can");
        assert_eq!(self.seen.addresses.len(), 1);
        self.seen.addresses[0].instance = Some(current.id);
        let ip = self.seen.addresses[0].ip.to_string();
        self.current().tags.insert(names::TAG_ADDRESS.into(), ip);
    }
}

fn stored(id: &str) -> release::Stored {
    release::Stored { id: id.into(), at: 0, size: 1 }
}

/// What the instance that counts says of itself: it runs this release.
fn says(world: &mut World, runs: &str) {
    let wanted = world.current().tags.get(names::TAG_RELEASE).cloned();
    let report = reports::Report {
        release: Some(runs.into()),
        healthy: true,
        wanted: reports::Wanted { release: wanted, ..Default::default() },
        ..Default::default()
    };
    world.seen.reports = vec![(world.current().id.clone(), report)];
}

fn running(id: &str, tags: Tags) -> instance::State {
    instance::State {
        id: id.into(),
        phase: Phase::Running,
        kind: "t3.micro".into(),
        image: "ami-1".into(),
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

/// The role, as it is spoilt; who had its credentials has them no longer.
fn spoil_role(world: &mut World, how: impl FnOnce(&mut role::State)) {
    how(world.seen.role.present_mut().unwrap());
    world.served.clear();
}

fn ways() -> [Ways; 7] {
    let whole: fn(&mut World) = |_| {};
    [
        vec![
            whole,
            |world| world.seen.security_group = Lookup::Absent,
            |world| world.seen.security_group.present_mut().unwrap().ingress.clear(),
            |world| world.seen.security_group.present_mut().unwrap().nonce = None,
            |world| {
                let ssh = Rule::new("tcp", 22, "0.0.0.0/0".parse().unwrap());
                world.seen.security_group.present_mut().unwrap().ingress.insert(ssh);
            },
        ],
        vec![whole, |world| world.seen.key_pair = Lookup::Absent, |world| {
            drop(world.seen.key_pair.present_mut().unwrap().tags.remove("team"))
        }],
        vec![
            whole,
            |world| {
                world.seen.role = Lookup::Absent;
                world.served.clear();
            },
            |world| world.seen.role.present_mut().unwrap().policy = None,
            |world| spoil_role(world, |role| role.profile = None),
            |world| spoil_role(world, |role| role.profile.as_mut().unwrap().holds_role = false),
            |world| {
                spoil_role(world, |role| {
                    let profile = role.profile.as_mut().unwrap();
                    (profile.holds_role, profile.others) = (false, vec!["theirs".into()]);
                });
            },
            |world| {
                spoil_role(world, |role| {
                    (role.role, role.policy) = (None, None);
                    role.profile.as_mut().unwrap().holds_role = false;
                });
            },
            |world| drop(world.seen.role.present_mut().unwrap().profile.as_mut().unwrap().tags.remove("team")),
        ],
        vec![
            whole,
            |world| world.seen.token = Lookup::Absent,
            |world| world.seen.token.present_mut().unwrap().version = 7,
            |world| {
                // Deleted and made anew while the instance knows a higher version.
                drop(world.current().tags.insert(names::TAG_TOKEN.into(), "9".into()));
            },
        ],
        vec![whole, |world| world.store = Store::default(), |world| world.store.releases.clear(), |world| {
            world.store.bucket.as_mut().unwrap().closed = false
        }],
        vec![
            whole,
            |world| world.seen.instances.clear(),
            |world| world.current().phase = Phase::Stopped,
            |world| world.current().phase = Phase::Dying,
            |world| {
                world.current().profile = None;
                world.served.clear();
            },
            |world| world.current().metadata = false,
            |world| drop(world.current().tags.insert(names::TAG_SPEC.into(), "another".into())),
            |world| drop(world.current().tags.remove(names::TAG_RELEASE)),
            // Another release is to run and runs, or is to run and does not.
            |world| {
                world.current().tags.insert(names::TAG_RELEASE.into(), BEFORE.into());
                says(world, BEFORE);
            },
            |world| {
                world.current().tags.insert(names::TAG_RELEASE.into(), "broken".into());
                world.current().tags.insert(names::TAG_PREVIOUS.into(), BEFORE.into());
                says(world, BEFORE);
            },
            |world| drop(world.current().tags.remove(names::TAG_TOKEN)),
            |world| drop(world.current().tags.remove("team")),
            |world| {
                let mut second = world.current().clone();
                second.id = "i-second".into();
                world.seen.instances.push(second);
            },
            // A replacement that was killed after the launch.
            |world| {
                let mut new = world.current().clone();
                world.current().tags.insert(names::TAG_SPEC.into(), "another".into());
                (new.id, new.profile, new.launched) = ("i-fresh".into(), None, 2);
                world.seen.instances.insert(0, new);
            },
            // The same for a newer image.
            |world| {
                let mut new = world.current().clone();
                world.seen.image = Some("ami-2".into());
                (new.id, new.image, new.profile, new.launched) = ("i-fresh".into(), "ami-2".into(), None, 2);
                world.seen.instances.insert(0, new);
            },
        ],
        vec![
            whole,
            |world| world.seen.addresses.clear(),
            |world| (world.seen.addresses[0].instance, world.seen.addresses[0].association) = (None, None),
            |world| world.seen.addresses[0].instance = Some("i-of-somebody".into()),
            |world| world.seen.addresses.push(elastic("eipalloc-2", None, Tags::new())),
        ],
    ]
}

/// Every combination of everything's states, each state of the first kind in a thread of its own.
fn every(visit: &(dyn Fn(&World) + Sync)) {
    fn spoil(ways: &[Ways], world: World, visit: &dyn Fn(&World)) {
        let Some((first, rest)) = ways.split_first() else { return visit(&world.looked()) };
        for way in first {
            let mut world = world.clone();
            way(&mut world);
            spoil(rest, world, visit);
        }
    }
    // The address last: it may lead to an instance that is gone.
    let ways = ways();
    let (first, rest) = ways.split_first().unwrap();
    std::thread::scope(|scope| {
        for way in first {
            scope.spawn(|| {
                let mut world = World::complete();
                way(&mut world);
                spoil(rest, world, visit);
            });
        }
    });
}

#[test]
fn what_is_complete_needs_nothing() {
    let deployment = deployment();
    let world = World::complete();
    assert_eq!(up(&wanted(&deployment), &world.seen).steps, []);
    assert_eq!(down(&World::empty().seen), Plan::default());
}

/// Nothing is left to do, everything is there once, and the instance gets its role's credentials.
fn assert_complete(world: World, before: &dyn std::fmt::Debug) {
    let world = world.looked();
    let again = up(&wanted(&DEPLOYMENT), &world.seen);
    assert!(again.is_empty(), "{:?}\nis still to be done after\n{before:?}", again.steps);
    assert_eq!(world.seen.addresses.len(), 1);
    let alive: Vec<_> = instance::alive(&world.seen.instances).collect();
    assert_eq!(alive.len(), 1, "{alive:?}");
    let token = world.seen.token.present().unwrap().version;
    assert!(token >= 1 && alive[0].tags.get(names::TAG_TOKEN) == Some(&token.to_string()), "{alive:?}");
    assert!(world.served.contains(&alive[0].id), "the instance has no credentials, after\n{before:?}");
    assert_ne!(alive[0].tags.get(names::TAG_PREVIOUS).map(String::as_str), Some("broken"), "after\n{before:?}");
}

#[test]
fn up_converges_from_every_state_and_then_has_nothing_to_do() {
    let count = AtomicUsize::new(0);
    every(&|before| {
        count.fetch_add(1, Ordering::Relaxed);
        let mut world = before.clone();
        world.run(up(&wanted(&DEPLOYMENT), &world.seen));
        assert_complete(world, before);
    });
    assert_eq!(count.into_inner(), 5 * 3 * 8 * 4 * 4 * 15 * 5);
}

#[test]
fn down_leads_from_every_state_to_nothing() {
    every(&|before| {
        let mut world = before.clone();
        world.run(down(&world.seen));
        let world = world.looked();
        assert!(down(&world.seen).is_empty(), "{:?}", world.seen);
        assert!(world.seen.nothing() && world.store.bucket.is_none(), "{:?}", world.seen);
    });
}

/// Any of the ways at once, several of one thing too, and whether the bucket is looked at before the plan is made.
fn spoilt() -> impl Strategy<Value = World> {
    let ways = ways().map(|ways| (0..ways.len()).prop_map(move |pick| ways[pick]));
    (ways, any::<bool>()).prop_map(|(ways, looked)| {
        let mut world = World::complete();
        ways.iter().for_each(|way| way(&mut world));
        let mut world = world.looked();
        if !looked {
            world.seen.store = None;
        }
        world
    })
}

/// Which of the steps that are ready comes next.
fn order(seed: Vec<usize>) -> impl FnMut(usize) -> usize {
    let mut seed = seed.into_iter().cycle();
    move |ready| seed.next().unwrap_or_default() % ready
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    /// The heart of crash safety: wherever a run ends, and in whatever order its steps were done, the next one completes it.
    #[test]
    fn an_up_that_is_killed_anywhere_is_completed_by_the_next(
        mut world in spoilt(), seed in prop::collection::vec(0..100_usize, 1..20), most in 0..16_usize,
    ) {
        let (deployment, before) = (deployment(), world.clone());
        world.run_some(up(&wanted(&deployment), &world.seen), most, &mut order(seed));
        let mut world = world.looked();
        world.run(up(&wanted(&deployment), &world.seen));
        assert_complete(world, &before);
    }

    /// It goes on with the instance that the first run has launched, whether it is told to refresh the image as well or not.
    #[test]
    fn a_refresh_that_is_killed_anywhere_is_completed_by_the_next(
        mut world in spoilt(), seed in prop::collection::vec(0..100_usize, 1..20), most in 0..16_usize, again: bool,
    ) {
        let (deployment, before) = (deployment(), world.clone());
        let refresh = |refresh| Wanted { refresh, ..wanted(&deployment) };
        world.seen.image = Some("ami-3".into());
        world.run_some(up(&refresh(true), &world.seen), most, &mut order(seed));
        let mut world = world.looked();
        let fresh = |state: &&instance::State| state.phase != Phase::Dying && state.image == "ami-3";
        let launched = world.seen.instances.iter().find(fresh).map(|state| state.id.clone());
        world.run(up(&refresh(again), &world.seen));
        let mut world = world.looked();
        let current = world.current().clone();
        prop_assert_eq!(up(&refresh(again), &world.seen).steps, [], "after\n{:?}", before);
        prop_assert!(current.image == "ami-3" || !again && launched.is_none(), "{:?}", current);
        prop_assert!(launched.is_none_or(|id| id == current.id), "another was launched after\n{:?}", before);
        assert_complete(world, &before);
    }

    #[test]
    fn a_down_that_is_killed_anywhere_is_completed_by_the_next(
        world in spoilt(), seed in prop::collection::vec(0..100_usize, 1..20), most in 0..8_usize,
    ) {
        let mut world = world.looked();
        world.run_some(down(&world.seen), most, &mut order(seed));
        let mut world = world.looked();
        world.run(down(&world.seen));
        prop_assert!(world.seen.nothing() && world.store.bucket.is_none(), "{:?}", world.seen);
    }

    /// Whoever changes his mind in the middle gets what he wants in the end.
    #[test]
    fn a_down_in_the_middle_of_an_up_leaves_nothing(
        mut world in spoilt(), seed in prop::collection::vec(0..100_usize, 1..20), most in 0..16_usize,
    ) {
        let deployment = deployment();
        world.run_some(up(&wanted(&deployment), &world.seen), most, &mut order(seed));
        let mut world = world.looked();
        world.run(down(&world.seen));
        prop_assert!(world.seen.nothing() && world.store.bucket.is_none(), "{:?}", world.seen);
    }
}

/// A deployment with a name of its own, if any, whose record is kept.
fn named(domain: Option<&str>) -> Deployment {
    let mut deployment = deployment();
    deployment.network.domain = domain.map(str::to_owned);
    deployment.network.route53 = domain.is_some();
    deployment
}

/// As the next command sees it: of the names of which there is a record, those that are looked at.
fn looks_for(world: World, deployment: &Deployment) -> World {
    let noted = world.seen.addresses.iter().filter_map(|address| address.tags.get(names::TAG_DOMAIN)).cloned();
    let asked: Vec<String> = noted.chain(deployment.network.record().map(str::to_owned)).collect();
    for led in world.led() {
        assert!(asked.iter().any(|domain| domain == led), "nobody would find {led} again");
    }
    world.looked()
}

/// A name is taken, changed, and given up, and any of the runs ends anywhere.
#[derive(Clone, Debug)]
struct Run {
    domain: Option<&'static str>,
    up: bool,
    most: usize,
    order: Vec<usize>,
}

fn run() -> impl Strategy<Value = Run> {
    let domain = prop::sample::select(vec![None, Some("a.example.com"), Some("b.example.com")]);
    let parts = (domain, prop::bool::weighted(0.7), 0..18_usize, prop::collection::vec(0..100_usize, 1..20));
    parts.prop_map(|(domain, up, most, order)| Run { domain, up, most, order })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    /// Of all that was made under whatever name, the last run leaves what it says and no more.
    #[test]
    fn names_come_and_go_whatever_is_killed(runs in prop::collection::vec(run(), 1..6), last in run()) {
        let mut world = World::empty();
        world.seen.records = ["a.example.com", "b.example.com"].map(record::tests::nothing).to_vec();
        for Run { domain, up: wanted_up, most, order: seed } in runs {
            let deployment = named(domain);
            world = looks_for(world, &deployment);
            let plan = if wanted_up { up(&wanted(&deployment), &world.seen) } else { down(&world.seen) };
            world.run_some(plan, most, &mut order(seed));
        }
        let deployment = named(last.domain);
        let mut world = looks_for(world, &deployment);
        if last.up {
            world.run(up(&wanted(&deployment), &world.seen));
            let world = looks_for(world, &deployment);
            prop_assert_eq!(up(&wanted(&deployment), &world.seen).steps, []);
            prop_assert_eq!(world.led(), last.domain.into_iter().collect::<Vec<_>>());
        } else {
            world.run(down(&world.seen));
            let world = looks_for(world, &deployment);
            prop_assert!(down(&world.seen).is_empty() && world.led().is_empty(), "{:?}", world.seen);
        }
    }
}

#[test]
fn a_name_is_led_to_the_address_and_goes_before_it() {
    let deployment = named(Some("a.example.com"));
    let mut world = World::empty();
    world.seen.records = vec![record::tests::nothing("a.example.com")];
    let plan = up(&wanted(&deployment), &world.seen);
    let needs = |plan: &Plan, kind| plan.steps.iter().find(|step| step.kind == kind).unwrap().needs.clone();
    assert_eq!(needs(&plan, Kind::Record), [Kind::Address]);
    world.run(plan);
    assert_eq!(world.led(), ["a.example.com"]);
    assert_eq!(needs(&down(&world.seen), Kind::Address), [Kind::Record]);
    // Another name: the old one goes before the address forgets it.
    let mut world = world.looked();
    world.seen.records.push(record::tests::nothing("b.example.com"));
    let plan = up(&wanted(&named(Some("b.example.com"))), &world.seen);
    let steps: Vec<_> = plan.steps.iter().map(|step| (step.kind, step.action)).collect();
    let expected = [(Kind::OldRecord, Action::Delete), (Kind::Address, Action::Update), (Kind::Record, Action::Create)];
    assert_eq!(steps, expected);
    // An address that somebody took away: the name is led to the next one.
    world.seen.addresses.clear();
    world.seen.records.truncate(1);
    let plan = up(&wanted(&deployment), &world.seen);
    assert!(plan.steps.iter().any(|step| step.kind == Kind::Record && step.action == Action::Update), "{plan:?}");
}

#[test]
fn another_token_is_told_to_all_that_live_and_then_there_is_nothing_to_do() {
    every(&|before| {
        let mut world = before.clone();
        let known = world.seen.known_token();
        let version = world.seen.token.present().map_or(0, |token| token.version);
        world.run(rotation(&Tags::new(), &world.seen, token::Rotation::Replace { grace: Duration::ZERO }));
        let now = world.seen.token.present().unwrap().version;
        assert!(now > version && now > known);
        for state in instance::alive(&world.seen.instances) {
            assert_eq!(state.tags.get(names::TAG_TOKEN), Some(&now.to_string()), "{world:?}");
        }
        assert_eq!(rotation(&Tags::new(), &world.seen, token::Rotation::Stored(now)).steps, []);
        world.run(rotation(&Tags::new(), &world.seen, token::Rotation::EndGrace));
        let ended = world.seen.token.present().unwrap().version;
        assert!(ended > now);
        for state in instance::alive(&world.seen.instances) {
            assert_eq!(state.tags.get(names::TAG_TOKEN), Some(&ended.to_string()), "{world:?}");
        }
    });
}

/// Wherever a run is cut off, what is gone back to is what served.
#[test]
fn what_served_is_what_is_gone_back_to_and_says_so_once() {
    let deployment = deployment();
    for broken in [false, true] {
        for most in 0..4 {
            let mut world = World::complete();
            let wanted_before = if broken { "broken" } else { BEFORE };
            world.current().tags.insert(names::TAG_RELEASE.into(), wanted_before.into());
            says(&mut world, BEFORE);
            world.store.releases = vec![stored(BEFORE)];
            let mut world = world.looked();
            world.run_some(up(&wanted(&deployment), &world.seen), most, &mut |ready| ready - 1);
            let mut world = world.looked();
            world.run(up(&wanted(&deployment), &world.seen));
            assert_eq!(world.current().tags.get(names::TAG_PREVIOUS).map(String::as_str), Some(BEFORE));
            assert_complete(world, &"another release");
        }
    }
}

#[test]
fn a_rollback_changes_two_tags_and_a_second_one_goes_forward_again() {
    let mut world = World::complete();
    world.current().tags.insert(names::TAG_PREVIOUS.into(), BEFORE.into());
    world.store.releases.push(stored(BEFORE));
    says(&mut world, RELEASE);
    let mut world = world.looked();
    for (from, to) in [(RELEASE, BEFORE), (BEFORE, RELEASE), (RELEASE, BEFORE)] {
        assert_eq!(history::History::of(&world.seen).back(), Some(to));
        let plan = rollback(&world.seen, to);
        assert_eq!(plan.steps.iter().map(|step| step.kind).collect::<Vec<_>>(), [Kind::Doorbell]);
        let unchanged = (world.seen.clone(), world.store.clone());
        world.run(plan);
        let tags = world.current().tags.clone();
        assert_eq!(tags.get(names::TAG_RELEASE).map(String::as_str), Some(to));
        assert_eq!(tags.get(names::TAG_PREVIOUS).map(String::as_str), Some(from));
        let (mut before, store) = unchanged;
        before.instances[0].tags = tags;
        assert_eq!((format!("{before:?}"), store), (format!("{:?}", world.seen), world.store.clone()));
        says(&mut world, to);
        assert!(rollback(&world.seen, to).is_empty(), "it is there already");
    }
}

#[test]
fn a_replacement_knows_what_its_predecessor_would_have_gone_back_to() {
    let deployment = deployment();
    for (runs, previous) in [(RELEASE, "older"), (BEFORE, BEFORE)] {
        let mut world = World::complete();
        world.current().tags.insert(names::TAG_RELEASE.into(), runs.into());
        world.current().tags.insert(names::TAG_PREVIOUS.into(), "older".into());
        says(&mut world, runs);
        world.current().tags.insert(names::TAG_SPEC.into(), "another".into());
        let mut world = world.looked();
        world.run(up(&wanted(&deployment), &world.seen));
        assert_eq!(world.current().tags.get(names::TAG_PREVIOUS).map(String::as_str), Some(previous));
        assert!(up(&wanted(&deployment), &world.looked().seen).is_empty());
    }
}

#[test]
fn another_deployment_in_the_bucket_keeps_it() {
    let mut world = World::complete();
    world.seen.contents = Lookup::Present(bucket::Contents { ours: false, any: true });
    world.seen.instances.clear();
    assert!(!down(&world.seen).steps.iter().any(|step| step.kind == Kind::Bucket));
}

#[test]
fn nothing_that_is_not_asked_for_is_replaced_or_deleted() {
    let deployment = deployment();
    let mut world = World::complete();
    spoil_role(&mut world, |role| role.profile = None);
    world.seen.security_group.present_mut().unwrap().ingress.clear();
    world.current().phase = Phase::Stopped;
    let plan = up(&wanted(&deployment), &world.seen);
    assert!(!plan.steps.iter().any(|step| step.action.grave()), "{plan:?}");
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
    world.seen.reports = vec![(id, report)];
    let plan = up(&wanted(&deployment), &world.seen);
    assert_eq!(plan.steps.len(), 1);
    assert!(matches!(&plan.steps[0].change, Change::Doorbell(doorbell::Change { again: true, .. })));
}

#[test]
fn a_replacement_takes_over_when_it_is_healthy_and_only_then_the_old_one_goes() {
    let (deployment, mut world) = (deployment(), World::complete());
    world.current().tags.insert(names::TAG_SPEC.into(), "another".into());
    let plan = up(&wanted(&deployment), &world.seen);
    let kinds: Vec<Kind> = plan.steps.iter().map(|step| step.kind).collect();
    let expected = [Kind::Instance, Kind::Attachment, Kind::Doorbell, Kind::Ready, Kind::Association, Kind::Leftovers];
    assert_eq!(kinds, expected);
    let needs = |kind| &plan.steps.iter().find(|step| step.kind == kind).unwrap().needs;
    assert!(needs(Kind::Association).contains(&Kind::Ready));
    assert!(needs(Kind::Leftovers).contains(&Kind::Association));
    // Who does not want to wait gets no such step.
    let plan = up(&Wanted { wait: false, ..wanted(&deployment) }, &world.seen);
    assert!(!plan.steps.iter().any(|step| step.kind == Kind::Ready));
}

#[test]
fn a_launch_waits_for_nothing_but_group_key_and_token() {
    let (deployment, world) = (deployment(), World::empty());
    let unseen = Observed { store: None, ..world.seen };
    let plan = up(&wanted(&deployment), &unseen);
    let launch = plan.steps.iter().find(|step| step.kind == Kind::Instance).unwrap();
    assert_eq!(launch.needs, [Kind::SecurityGroup, Kind::KeyPair, Kind::Token]);
    for need in &launch.needs {
        assert!(plan.steps.iter().find(|step| step.kind == *need).unwrap().needs.is_empty());
    }
}

#[test]
fn what_cannot_be_launched_is_refused_before_anything_is_made() {
    let deployment = deployment();
    let want = wanted(&deployment);
    let fits =
        || Observed { image: Some("ami-1".into()), kind: Some(instance::Kind::default()), ..World::empty().seen };
    assert!(want.check(&fits()).is_ok());
    let closed = crate::resources::route::Way::Closed { subnet: "subnet-1".into(), table: "rtb-1".into() };
    let xen = instance::Kind { xen: true, ..instance::Kind::default() };
    let cases = [
        (Observed { image: None, ..fits() }, "the image debian-13 is not in eu-central-1"),
        (Observed { kind: None, ..fits() }, "t3.micro is not offered in eu-central-1"),
        (Observed { kind: Some(xen), ..fits() }, "t3.micro is not a Nitro type, and cannot be told what to run"),
        (Observed { way: closed, ..fits() }, "an instance in subnet-1 cannot be reached from the internet"),
    ];
    for (have, what) in cases {
        let failure = want.check(&have).unwrap_err();
        assert_eq!(failure.what(), what);
        // One that runs already is left alone, unless it is to be replaced.
        let running = instance::State { image: "ami-0".into(), ..World::complete().seen.instances.remove(0) };
        let have = Observed { instances: vec![running], ..have };
        assert!(want.check(&have).is_ok(), "{what}");
        assert_eq!(Wanted { refresh: true, ..wanted(&deployment) }.check(&have).unwrap_err().what(), what);
    }
}
