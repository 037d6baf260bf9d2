//! The wanted state, and what the tests put into accounts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::LazyLock;

use super::super::*;
use super::account::Account;
use crate::aws::Target;
use crate::config::{
    Acme, App, Check, CpuCredits, Deployment, Health, Image, Instance, Limits, Network, SecretOrigin, Token,
};
use crate::engine::spec::{Policies, Spec};
use crate::engine::{plan, topology};
use crate::release::proxy::Build;
use crate::resources::instance::Phase;
use crate::resources::orders::Orders;
use crate::resources::references::Place;
use crate::resources::{elastic_ip, release, reports, secrets};

pub const RELEASE: &str = "1111111111111111111111111111111111111111111111111111111111111111";
/// The release that ran before it.
pub const BEFORE: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// A release that never becomes healthy.
pub const BROKEN: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
pub const REGION: &str = "eu-central-1";

/// Built once: the tests go through hundreds of thousands of plans.
pub static DEPLOYMENT: LazyLock<Deployment> = LazyLock::new(|| Deployment {
    name: "hello".into(),
    region: None,
    app: App {
        path: PathBuf::new(),
        web: "app:app".into(),
        requirements: None,
        include: Vec::new(),
        build_dependencies: false,
        build: Vec::new(),
        release: Vec::new(),
        release_timeout: 600,
        static_files: BTreeMap::new(),
        workers: None,
        threads: 4,
        env: Default::default(),
        secrets: BTreeMap::from([("SESSION_KEY".into(), SecretOrigin::Generated)]),
        permissions: None,
    },
    processes: BTreeMap::new(),
    schedule: BTreeMap::new(),
    token: Token {
        env: "APP_SECRET_TOKEN".into(),
        check: Check::App,
        open: Vec::new(),
        open_preflight: false,
        path: "/".into(),
    },
    instance: Instance { kind: "t3.micro".into(), image: Image::Debian13, disk_gib: 8, cpu_credits: CpuCredits::Auto },
    data: None,
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

pub fn deployment() -> Deployment {
    DEPLOYMENT.clone()
}

pub static POLICIES: LazyLock<Policies> = LazyLock::new(|| {
    let place = Place { partition: "aws", account: "123456789012", region: REGION };
    Policies::new(place, "hello", &BTreeSet::new())
});

pub fn spec(deployment: &Deployment) -> Spec<'_> {
    let target = Target::Image { python: "3.13", platform: "x86_64-manylinux_2_40" };
    let proxy = Build::of(&target).unwrap();
    Spec {
        deployment,
        region: REGION,
        image: "debian-13",
        release: RELEASE,
        proxy,
        policies: &POLICIES,
        wait: true,
        refresh: false,
    }
}

pub fn up(spec: &Spec, have: &Observed) -> Plan {
    plan::up(&topology::single(spec), have).unwrap()
}

pub fn down(have: &Observed) -> Plan {
    plan::down(have, false).unwrap()
}

pub fn rotation(tags: &Tags, have: &Observed, how: token::Rotation) -> Plan {
    plan::rotation(tags, have, how).unwrap()
}

pub fn change_secrets(have: &Observed, edits: &BTreeMap<String, secrets::Edit>) -> Plan {
    plan::secrets(&Tags::new(), have, edits, true).unwrap()
}

pub fn rollback(have: &Observed, to: &str) -> Plan {
    plan::rollback(have, to).unwrap()
}

pub fn stored(id: &str) -> release::Stored {
    release::Stored { id: id.into(), at: 0, size: 1 }
}

/// The report of the current instance: it runs this release.
pub fn says(account: &mut Account, runs: &str) {
    let release = account.current().orders().release;
    let report = reports::Report {
        release: Some(runs.into()),
        healthy: true,
        orders: Orders { release, ..Default::default() },
        ..Default::default()
    };
    account.seen.reports = vec![(account.current().id.clone(), report)];
}

/// Orders to run this release.
pub fn to_run(release: &str) -> Orders {
    Orders { release: Some(release.into()), ..Orders::default() }
}

impl instance::State {
    /// Gives the instance these orders.
    pub fn tell(&mut self, orders: Orders) {
        self.tags.extend(orders.tags());
    }

    /// Removes these orders.
    pub fn forget(&mut self, forget: impl FnOnce(&mut Orders)) {
        let mut orders = self.orders();
        self.tags.retain(|key, _| !orders.tags().contains_key(key));
        forget(&mut orders);
        self.tell(orders);
    }
}

pub fn running(id: &str, tags: Tags) -> instance::State {
    instance::State {
        id: id.into(),
        phase: Phase::Running,
        kind: "t3.micro".into(),
        image: "ami-1".into(),
        zone: "a".into(),
        ip: None,
        profile: None,
        metadata: true,
        tags,
        launched: 1,
    }
}

pub fn elastic(id: &str, instance: Option<&str>, tags: Tags) -> elastic_ip::State {
    let instance = instance.map(str::to_owned);
    let association = instance.as_ref().map(|_| "eipassoc-1".to_owned());
    let last = id.bytes().last().unwrap_or_default();
    elastic_ip::State { id: id.into(), ip: Ipv4Addr::new(203, 0, 113, last), instance, association, tags }
}

/// Chooses the next of the ready steps.
pub fn order(seed: Vec<usize>) -> impl FnMut(usize) -> usize {
    let mut seed = seed.into_iter().cycle();
    move |ready| seed.next().unwrap_or_default() % ready
}
