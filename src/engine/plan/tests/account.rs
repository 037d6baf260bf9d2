//! A model of AWS that applies plans.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::super::*;
use super::fixtures::up;
use super::fixtures::*;
use crate::base::names;
use crate::engine::observe::Store;
use crate::resources::Lookup;
use crate::resources::instance::Phase;
use crate::resources::orders::{OfSsm, Orders};
use crate::resources::{
    bucket, dns_record, elastic_ip, history, instance_profile, key_pair, role, secrets, security_group,
};

/// A model of AWS that applies plans.
#[derive(Clone, Debug)]
pub struct Account {
    pub seen: Observed,
    /// The instances that get the role's credentials: EC2 knows them, but no read shows them.
    pub served: BTreeSet<String>,
    /// The bucket and its content, whether it was read or not.
    pub store: Store,
    /// The number of instance profiles that were created.
    pub profiles: u32,
    /// The number of writes to secrets.
    pub writes: i64,
    /// The instance of the plan: it exists, or the plan launches it.
    pub told: Option<String>,
}

impl Account {
    /// An empty account.
    pub fn empty() -> Self {
        let seen = Observed {
            account: "123456789012".into(),
            partition: "aws".into(),
            image: Lookup::Present("ami-1".into()),
            kind: Lookup::Absent,
            security_group: Lookup::Absent,
            key_pair: Lookup::Absent,
            role: Lookup::Absent,
            app_role: Lookup::Absent,
            token: Lookup::Absent,
            secrets: Lookup::Absent,
            contents: Lookup::Absent,
            ..Observed::default()
        };
        Self { seen, served: BTreeSet::new(), store: Store::default(), profiles: 0, writes: 0, told: None }.looked()
    }

    /// The state that a command reads if it reads everything.
    pub fn looked(mut self) -> Self {
        self.seen.store = Lookup::Present(self.store.clone());
        let any = !self.store.releases.is_empty();
        self.seen.contents = self.store.bucket.is_some().then_some(bucket::Contents { ours: any, any }).into();
        self
    }

    /// Whether the wanted release is in the bucket.
    pub fn uploaded(&self) -> bool {
        self.store.releases.iter().any(|release| release.id == RELEASE)
    }

    /// The state after `up`.
    pub fn complete() -> Self {
        let (deployment, mut account) = (deployment(), Self::empty());
        account.run(up(&spec(&deployment), &account.seen));
        account.looked()
    }

    pub fn run(&mut self, plan: Plan) {
        self.run_some(plan, usize::MAX, &mut |ready| ready - 1);
    }

    /// Runs at most `most` steps, each after its dependencies. `choose` picks one of the ready steps, because the
    /// executor may run them in any order.
    pub fn run_some(&mut self, plan: Plan, most: usize, choose: &mut dyn FnMut(usize) -> usize) {
        self.told = plan.outputs.get::<instance::Output>(&instance::ID).map(|instance| instance.id);
        for (place, step) in plan.steps.iter().enumerate() {
            let before = |need: &Id| plan.steps[..place].iter().any(|earlier| earlier.id == *need);
            assert!(step.needs.iter().all(before), "{:?} comes before its dependencies: {plan:?}", step.id);
        }
        let (mut waiting, mut done) = (plan.steps, BTreeSet::new());
        while !waiting.is_empty() && done.len() < most {
            let ready: Vec<usize> = (0..waiting.len())
                .filter(|&place| waiting[place].needs.iter().all(|need| done.contains(need)))
                .collect();
            assert!(!ready.is_empty(), "these wait for each other: {waiting:?}");
            let step = waiting.remove(ready[choose(ready.len())]);
            assert!(!step.reasons.is_empty(), "{step:?} has no reason");
            match step.change {
                Change::Secret(change) => self.secret(&step.id.name, &change),
                change => self.apply(change),
            }
            assert!(done.insert(step.id), "two steps for one resource");
        }
    }

    /// The wanted instance; of several, the one of the plan.
    pub fn current(&mut self) -> &mut instance::State {
        static SPEC: LazyLock<String> = LazyLock::new(|| spec(&DEPLOYMENT).instance_spec());
        let alive = |state: &&mut instance::State| {
            state.phase != Phase::Dying && state.tags.get(names::TAG_SPEC) == Some(&*SPEC)
        };
        let told = self.told.as_ref();
        let candidates = self.seen.instances.iter_mut().filter(alive);
        candidates.min_by_key(|state| Some(&state.id) != told).expect("this step needs an instance")
    }

    pub fn apply(&mut self, change: Change) {
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
            Change::AppRole(change) => self.app_role(change),
            Change::Token(change) => self.token(change),
            Change::Bucket(change) => self.bucket(change),
            Change::Secret(_) => unreachable!("the id of its step has the name"),
            Change::Release(change) => {
                assert!(self.store.bucket.is_some(), "a release needs its bucket");
                for used in history::in_use(&self.seen) {
                    assert!(
                        used == change.id || change.keep.contains(&used),
                        "{used} is in use and must be kept: {change:?}"
                    );
                }
                self.store.releases.insert(0, stored(&change.id));
            }
            Change::Proxy(_) => {
                assert!(self.store.bucket.is_some(), "Caddy needs its bucket");
                self.store.proxy = true;
            }
            Change::Instance(change) => self.instance(change),
            Change::InstanceProfile(instance_profile::Change::Attach) => self.attach(),
            Change::InstanceProfile(instance_profile::Change::Detach(id)) => {
                self.seen.instances.iter_mut().find(|state| state.id == id).expect("it exists").profile = None;
                self.served.remove(&id);
            }
            Change::ElasticIp(change) => self.address(change),
            Change::DnsRecord(change) => self.record(change),
            Change::EipAssociation(_) => self.associate(),
            Change::Orders(change) => self.orders(change),
            Change::Volume(change) => self.volume(change),
            Change::Attachment(change) => self.attachment(change),
            Change::DataGate(_) | Change::HealthGate(_) => {
                let current = self.current().clone();
                assert!(self.served.contains(&current.id), "without credentials it never becomes healthy");
                assert!(current.orders().token.is_some() && self.uploaded() && self.store.proxy);
            }
            Change::Reports(_) => {
                assert!(self.seen.instances.is_empty(), "a live instance writes reports");
                self.seen.reports.clear();
            }
        }
    }

    pub fn security_group(&mut self, change: security_group::Change) {
        let nonce = Some("nonce".to_owned());
        match change {
            security_group::Change::Create { tags } => {
                assert!(self.seen.security_group.present().is_none());
                let ingress = BTreeSet::new();
                self.seen.security_group = Lookup::Present(security_group::State {
                    id: "sg-1".into(),
                    nonce,
                    ingress,
                    ssh_rules: Vec::new(),
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

    pub fn role(&mut self, change: role::Change) {
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

    pub fn token(&mut self, change: token::Change) {
        match change {
            token::Change::Create { tags, floor } => {
                assert!(self.seen.token.present().is_none());
                self.seen.token = Lookup::Present(token::State { version: floor + 1, tags });
            }
            token::Change::Raise { floor, tags } => {
                let state = self.seen.token.present_mut().unwrap();
                state.version = floor + 1;
                state.tags.extend(tags);
            }
            token::Change::Tag { tags } => self.seen.token.present_mut().unwrap().tags.extend(tags),
            token::Change::End { floor } => {
                let state = self.seen.token.present_mut().expect("the token exists");
                state.version = floor.max(state.version) + 1;
            }
            token::Change::Write { stands, tags, floor, .. } => {
                assert_eq!(stands, self.seen.token.present().map(|token| token.version));
                let state = self.seen.token.stand(|| token::State { version: 0, tags });
                state.version = floor.max(state.version) + 1;
            }
            token::Change::Delete => self.seen.token = Lookup::Absent,
        }
    }

    pub fn orders(&mut self, change: orders::Change) {
        let version = self.seen.token.present().map(|token| token.version);
        let (token, secrets) = match change.of_ssm {
            OfSsm::Token => (version, None),
            OfSsm::Secrets => (None, Some(self.fingerprint())),
            OfSsm::Both => (version, Some(self.fingerprint())),
            OfSsm::Nothing => (None, None),
        };
        assert!(token.is_some() || change.of_ssm == OfSsm::Secrets, "orders need a token");
        let named = [&change.tell.release, &change.tell.previous].into_iter().flatten();
        for release in named.filter(|release| [RELEASE, BEFORE].contains(&release.as_str())) {
            let there = self.store.releases.iter().any(|stored| stored.id == *release);
            assert!(there || release == BEFORE, "the orders name a release that is there");
        }
        if change.tell != Orders::default() {
            self.current().tell(change.tell);
        }
        let told = self.told.clone().into_iter().chain(change.others).collect::<Vec<_>>();
        for state in self.seen.instances.iter_mut().filter(|state| told.contains(&state.id)) {
            state.tell(Orders { token, secrets: secrets.clone(), ..Orders::default() });
        }
    }

    pub fn bucket(&mut self, change: bucket::Change) {
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
                assert!(self.seen.instances.is_empty(), "a live instance writes logs");
                self.store = Store::default();
            }
        }
    }

    pub fn instance(&mut self, change: instance::Change) {
        match change {
            instance::Change::Launch { tags, zone, .. } => {
                assert!(self.seen.security_group.present().is_some_and(|group| group.nonce.is_some()));
                assert!(self.seen.key_pair.present().is_some() && self.seen.token.present().is_some());
                assert_ne!(
                    self.fingerprint(),
                    secrets::NONE,
                    "the app is not started without the secrets that it needs"
                );
                let is_free = |id: &String| !self.seen.instances.iter().any(|state| state.id == *id);
                let id = (0..).map(|number| format!("i-new{number}")).find(is_free).unwrap();
                self.told = Some(id.clone());
                let image = self.seen.image.present().cloned().expect("a launch needs an image");
                let zone = zone.unwrap_or_else(|| "b".into());
                self.seen.instances.insert(0, instance::State { image, zone, ..running(&id, tags) });
            }
            instance::Change::Update { start, metadata, tags, .. } => {
                let current = self.current();
                if start {
                    current.phase = Phase::Running;
                }
                current.metadata |= metadata;
                current.tags.extend(tags);
            }
            instance::Change::Terminate { id } => {
                self.seen.instances.retain(|state| state.id != id);
                self.release_volumes(&id);
                let gone = |address: &elastic_ip::State| address.instance.as_ref() == Some(&id);
                for address in self.seen.addresses.iter_mut().filter(|address| gone(address)) {
                    (address.instance, address.association) = (None, None);
                }
            }
        }
    }

    pub fn attach(&mut self) {
        let role = self.seen.role.present().cloned().expect("the profile is attached after its creation");
        assert!(role.role.is_some() && role.policy.is_some(), "an attached profile must be usable at once");
        let id = role.profile.filter(|profile| profile.holds_role).unwrap().id;
        let arn = format!("arn:aws:iam::123456789012:instance-profile/{}", names::role("hello", REGION));
        let current = self.current();
        assert_eq!(current.phase, Phase::Running);
        assert_eq!(current.profile, None, "a profile is already attached");
        current.profile = Some(instance::Profile { arn, id });
        let id = current.id.clone();
        self.served.insert(id);
    }

    /// A removal removes the observed record. A creation points the record to the current address, which then has the
    /// domain as a tag.
    pub fn record(&mut self, change: dns_record::Change) {
        let address = self.seen.addresses.first().map(|address| (address.ip, address.tags.clone()));
        for state in &mut self.seen.records {
            match &change {
                dns_record::Change::Remove { state: from } if from == state => {
                    *state = dns_record::tests::removed(state.clone());
                }
                dns_record::Change::Lead { from } if from == state => {
                    let (ip, tags) = address.clone().expect("a record points to an address");
                    assert_eq!(tags.get(names::TAG_DOMAIN), Some(&state.domain));
                    *state = dns_record::tests::led(state.clone(), "hello", REGION, ip);
                }
                _ => {}
            }
        }
    }

    /// The names that we pointed to this address.
    pub fn led(&self) -> Vec<&str> {
        let ours = |state: &&dns_record::State| matches!(state.mark, dns_record::Mark::Ours(..));
        self.seen.records.iter().filter(ours).map(|state| state.domain.as_str()).collect()
    }

    pub fn address(&mut self, change: elastic_ip::Change) {
        if matches!(change, elastic_ip::Change::Release { .. }) {
            assert_eq!(self.led(), [""; 0], "a name must not point to an address that may belong to another account");
        }
        match change {
            elastic_ip::Change::Allocate { tags } => self.seen.addresses.push(elastic("eipalloc-1", None, tags)),
            elastic_ip::Change::Tag { keep, tags } => {
                let found = self.seen.addresses.iter_mut().find(|address| address.id == keep.id);
                found.expect("it exists").tags.extend(tags);
            }
            elastic_ip::Change::Release { address } => self.seen.addresses.retain(|other| other.id != address.id),
        }
    }

    pub fn associate(&mut self) {
        let current = self.current().clone();
        assert_eq!(current.phase, Phase::Running);
        let others = instance::alive(&self.seen.instances).any(|state| state.id != current.id);
        assert!(!others || self.served.contains(&current.id), "the old one serves until the new one can");
        let address = elastic_ip::kept(&self.seen).expect("an address is associated with it").id.clone();
        let address = self.seen.addresses.iter_mut().find(|other| other.id == address).unwrap();
        address.instance = Some(current.id);
        let address = Some(address.ip);
        self.current().tell(Orders { address, ..Orders::default() });
    }
}
