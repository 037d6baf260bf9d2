//! Resources of all deployments → each deployment with its state and cost. Pure.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::proxy::Need;
use crate::aws::Front;
use crate::base::clock::now;
use crate::config;
use crate::engine::cost;
use crate::resources::instance::{self, Phase};
use crate::resources::inventory::{Inventory, ip, owner};
use crate::resources::reports::Report;
use crate::resources::{Tags, elastic_ip, security_group};

/// The name of a data volume among the resources of a deployment.
pub const DATA: &str = "data volume";

/// A deployment as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Its name.
    pub name: String,
    /// When its first resource was created, in seconds since 1970, if known.
    pub since: Option<i64>,
    /// Its state.
    pub state: State,
    /// Its resources, in words.
    pub stands: Vec<&'static str>,
    /// Its address, if it may answer there.
    pub front: Option<(Ipv4Addr, Front)>,
    /// Its resources that cost money.
    pub costs: cost::Standing,
}

/// The state of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The ordered release serves.
    Healthy,
    /// Another release serves than was ordered.
    Behind,
    /// The instance reports that it is not healthy.
    Unhealthy,
    /// The instance does not report.
    Silent,
    /// The instance is stopped: its disk and its address still cost money.
    Stopped,
    /// The instance is shutting down.
    Going,
    /// There is no instance: an `up` or `down` was interrupted, or it was deleted by hand.
    Remains,
}

impl State {
    /// For a person.
    pub fn words(self) -> &'static str {
        match self {
            State::Healthy => "healthy",
            State::Behind => "healthy, another release was ordered",
            State::Unhealthy => "not healthy",
            State::Silent => "does not report",
            State::Stopped => "stopped",
            State::Going => "shutting down",
            State::Remains => "no instance",
        }
    }

    /// For `--json`.
    pub fn name(self) -> &'static str {
        match self {
            State::Healthy => "healthy",
            State::Behind => "behind",
            State::Unhealthy => "unhealthy",
            State::Silent => "silent",
            State::Stopped => "stopped",
            State::Going => "going",
            State::Remains => "remains",
        }
    }

    /// Whether it may be orphaned: none of its resources serves requests.
    pub fn forgotten(self) -> bool {
        matches!(self, State::Stopped | State::Remains)
    }
}

/// Every deployment with at least one resource, by name. A tag whose value is no deployment's name is not ours.
pub fn sort(found: &Inventory) -> Vec<Deployment> {
    let mut all: BTreeSet<String> = BTreeSet::new();
    all.extend(found.instances.iter().filter_map(|one| owner(&one.tags)).cloned());
    all.extend(found.addresses.iter().filter_map(|one| owner(&one.tags)).cloned());
    all.extend(found.disks.iter().map(|one| one.name.clone()));
    all.extend(found.groups.iter().filter_map(|one| owner(&one.tags)).cloned());
    all.extend(found.key_pairs.iter().filter_map(|one| owner(&one.tags)).cloned());
    all.extend(found.reports.iter().map(|(name, ..)| name.clone()));
    all.extend(found.tokens.iter().chain(&found.secrets).chain(&found.stored).cloned());
    all.iter().filter(|name| config::is_name(name)).map(|name| one(name, &found.of(name))).collect()
}

impl Inventory {
    /// The resources of that deployment.
    fn of(&self, name: &str) -> Self {
        let tagged = |tags: &Tags| owner(tags).is_some_and(|of| of == name);
        let mut found = self.clone();
        found.instances.retain(|one| tagged(&one.tags));
        found.addresses.retain(|one| tagged(&one.tags));
        found.disks.retain(|one| one.name == name);
        found.groups.retain(|one| tagged(&one.tags));
        found.key_pairs.retain(|one| tagged(&one.tags));
        found.reports.retain(|(of, ..)| of == name);
        found.tokens.retain(|of| of == name);
        found.secrets.retain(|of| of == name);
        found.stored.retain(|of| of == name);
        found
    }
}

fn one(name: &str, found: &Inventory) -> Deployment {
    let serving = instance::serving(&found.instances, &found.addresses);
    let report = serving.and_then(|state| report(found, &state.id));
    let launched = found.instances.iter().map(|state| state.launched);
    let front = serving
        .filter(|state| state.phase == Phase::Running)
        .and_then(|state| ip(state, &found.addresses))
        .map(|ip| (ip, front(ip, found, report)));
    Deployment {
        name: name.to_owned(),
        since: found.key_pairs.iter().filter_map(|pair| pair.made).chain(launched).min(),
        state: state(found, serving, report),
        stands: stands(found),
        front,
        costs: costs(&found.instances, &found.addresses, found.disks.iter().map(|disk| disk.gib).sum()),
    }
}

fn report<'a>(found: &'a Inventory, instance: &str) -> Option<&'a Report> {
    found.reports.iter().find(|(_, id, _)| id == instance).map(|(.., report)| report)
}

fn state(found: &Inventory, serving: Option<&instance::State>, report: Option<&Report>) -> State {
    let Some(instance) = serving else {
        return if found.instances.is_empty() { State::Remains } else { State::Going };
    };
    if matches!(instance.phase, Phase::Stopped | Phase::Stopping) {
        return State::Stopped;
    }
    let Some(report) = report.filter(|report| !report.is_overdue(instance.launched, now())) else {
        return State::Silent;
    };
    let served = report.proxy.is_none() || Need::Serving.met(report);
    match (report.healthy && served, report.release == instance.orders().release) {
        (true, true) => State::Healthy,
        (true, false) => State::Behind,
        (false, _) => State::Unhealthy,
    }
}

/// With HTTPS, the certificate names the host; with plain HTTP, the app is at the port that the security group allows.
fn front(ip: Ipv4Addr, found: &Inventory, report: Option<&Report>) -> Front {
    let proxy = report.and_then(|report| report.proxy.as_ref()).filter(|proxy| proxy.https);
    match proxy {
        Some(proxy) => {
            let host = proxy.certificate.as_ref().and_then(|certificate| certificate.names.first().cloned());
            Front { port: 443, host: Some(host.unwrap_or_else(|| ip.to_string())) }
        }
        None => Front { port: found.groups.iter().find_map(security_group::State::port).unwrap_or(80), host: None },
    }
}

fn stands(found: &Inventory) -> Vec<&'static str> {
    let kinds = [
        ("instance", !found.instances.is_empty()),
        ("disk", found.disks.iter().any(|disk| disk.data.is_none())),
        (DATA, found.disks.iter().any(|disk| disk.data.is_some())),
        ("address", !found.addresses.is_empty()),
        ("security group", !found.groups.is_empty()),
        ("key pair", !found.key_pairs.is_empty()),
        ("token", !found.tokens.is_empty()),
        ("secrets", !found.secrets.is_empty()),
        ("reports", !found.reports.is_empty()),
        ("objects in the bucket", !found.stored.is_empty()),
    ];
    kinds.into_iter().filter(|(_, is)| *is).map(|(kind, _)| kind).collect()
}

/// The resources that cost money. A public address is billed whether it is an Elastic IP or the instance's own.
pub fn costs(instances: &[instance::State], addresses: &[elastic_ip::State], disk_gib: u32) -> cost::Standing {
    let running = || instances.iter().filter(|one| matches!(one.phase, Phase::Pending | Phase::Running));
    let ips: BTreeSet<Ipv4Addr> =
        addresses.iter().map(|address| address.ip).chain(running().filter_map(|one| one.ip)).collect();
    cost::Standing {
        instances: running().map(|one| one.kind.clone()).collect(),
        disk_gib,
        addresses: u32::try_from(ips.len()).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::names;
    use crate::resources::ingress::Rule;
    use crate::resources::inventory::Disk;
    use crate::resources::key_pair;
    use crate::resources::orders::Orders;
    use crate::resources::orders::tests::id;
    use crate::resources::reports::{Certificate, Proxy, ProxyPhase};

    const IP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

    fn tags(name: &str) -> Tags {
        let orders = Orders { release: Some(id("1")), ..Orders::default() };
        orders.tags().into_iter().chain([(names::TAG_NAME.to_owned(), name.to_owned())]).collect()
    }

    fn instance(phase: Phase) -> instance::State {
        instance::State {
            id: "i-1".into(),
            phase,
            kind: "t3.micro".into(),
            image: "ami-1".into(),
            zone: "a".into(),
            ip: Some(IP),
            profile: None,
            metadata: true,
            tags: tags("shop"),
            launched: 2000,
        }
    }

    fn group(name: &str, port: Option<u16>) -> security_group::State {
        let rule = |port| Rule::new("tcp", port, "0.0.0.0/0".parse().unwrap());
        let ingress = port.map(rule).into_iter().collect();
        security_group::State { id: "sg-1".into(), nonce: None, ingress, ssh_rules: Vec::new(), tags: tags(name) }
    }

    fn elastic(leads: bool) -> elastic_ip::State {
        let instance = leads.then(|| "i-1".to_owned());
        elastic_ip::State { id: "eipalloc-1".into(), ip: IP, instance, association: None, tags: tags("shop") }
    }

    fn whole(report: Report) -> Inventory {
        Inventory {
            instances: vec![instance(Phase::Running)],
            addresses: vec![elastic(true)],
            disks: vec![Disk { name: "shop".into(), gib: 8, data: None }],
            groups: vec![group("shop", Some(8080))],
            key_pairs: vec![key_pair::State { id: "key-1".into(), made: Some(1000), tags: tags("shop") }],
            tokens: vec!["shop".into()],
            secrets: vec!["shop".into()],
            reports: vec![("shop".into(), "i-1".into(), report)],
            stored: vec!["shop".into()],
        }
    }

    fn healthy() -> Report {
        Report { healthy: true, release: Some(id("1")), ..Report::default() }
    }

    fn only(found: &Inventory) -> Deployment {
        let mut all = sort(found);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    #[test]
    fn a_healthy_deployment() {
        let shop = only(&whole(healthy()));
        assert_eq!((shop.name.as_str(), shop.state, shop.since), ("shop", State::Healthy, Some(1000)));
        assert_eq!(shop.front, Some((IP, Front { port: 8080, host: None })));
        assert_eq!(shop.costs, cost::Standing::one("t3.micro", 8));
        assert_eq!(shop.stands.len(), 9);
    }

    #[test]
    fn the_report_decides_the_state() {
        let state = |report| only(&whole(report)).state;
        assert_eq!(state(Report { release: Some(id("0")), ..healthy() }), State::Behind);
        assert_eq!(state(Report { healthy: false, ..healthy() }), State::Unhealthy);
        let proxy = Proxy { phase: ProxyPhase::Certificate, release: Some(id("1")), ..Proxy::default() };
        assert_eq!(state(Report { proxy: Some(proxy), ..healthy() }), State::Unhealthy);
        let mut silent = whole(healthy());
        silent.reports[0].1 = "i-0".into();
        assert_eq!(only(&silent).state, State::Silent);
    }

    #[test]
    fn with_https_the_certificate_names_the_host() {
        let certificate = Some(Certificate { names: vec!["shop.example.com".into()], ..Certificate::default() });
        let proxy = Some(Proxy { https: true, certificate, ..Proxy::default() });
        let front = only(&whole(Report { proxy, ..healthy() })).front.unwrap().1;
        assert_eq!(front, Front { port: 443, host: Some("shop.example.com".into()) });
    }

    #[test]
    fn a_stopped_instance_costs_its_disk_and_address() {
        let mut found = whole(healthy());
        found.instances[0] = instance(Phase::Stopped);
        let shop = only(&found);
        assert_eq!((shop.state, shop.front), (State::Stopped, None));
        assert_eq!(shop.costs, cost::Standing { instances: vec![], disk_gib: 8, addresses: 1 });
        assert!(shop.state.forgotten());
    }

    #[test]
    fn each_public_address_counts_once() {
        let mut found = whole(healthy());
        found.addresses.clear();
        assert_eq!(only(&found).costs.addresses, 1);
        let mut other = elastic(false);
        other.ip = Ipv4Addr::new(203, 0, 113, 8);
        found.addresses = vec![other];
        assert_eq!(only(&found).costs.addresses, 2);
    }

    #[test]
    fn every_single_leftover_is_found() {
        let whole = whole(healthy());
        let nothing = Inventory::default;
        let alone = [
            Inventory { addresses: vec![elastic(false)], ..nothing() },
            Inventory { disks: whole.disks.clone(), ..nothing() },
            Inventory { disks: vec![Disk { data: Some("vol-1".into()), ..whole.disks[0].clone() }], ..nothing() },
            Inventory { groups: whole.groups.clone(), ..nothing() },
            Inventory { key_pairs: whole.key_pairs.clone(), ..nothing() },
            Inventory { tokens: whole.tokens.clone(), ..nothing() },
            Inventory { secrets: whole.secrets.clone(), ..nothing() },
            Inventory { reports: whole.reports.clone(), ..nothing() },
            Inventory { stored: whole.stored.clone(), ..nothing() },
        ];
        for found in alone {
            let shop = only(&found);
            assert_eq!((shop.state, shop.stands.len(), shop.front), (State::Remains, 1, None), "{:?}", shop.stands);
        }
        let going = Inventory { instances: vec![instance(Phase::Dying)], ..nothing() };
        assert_eq!(only(&going).state, State::Going);
    }

    #[test]
    fn invalid_names_are_ignored() {
        let group = |name: &str| group(name, None);
        let groups = vec![group("x; rm -rf ~"), group(""), group("\u{1b}[31m"), group("b"), group("a")];
        let all = sort(&Inventory { groups, ..Inventory::default() });
        assert_eq!(all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }
}
