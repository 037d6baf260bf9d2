//! The record of a domain: created, changed and deleted, also by interrupted runs.

use proptest::prelude::*;

use super::super::*;
use super::account::*;
use super::fixtures::*;
use super::fixtures::{down, up};
use crate::base::names;
use crate::config::Deployment;
use crate::resources::{dns_record, elastic_ip};

/// A deployment with an optional domain of its own, whose record is managed.
fn named(domain: Option<&str>) -> Deployment {
    let mut deployment = deployment();
    deployment.network.domain = domain.map(str::to_owned);
    deployment.network.route53 = domain.is_some();
    deployment
}

/// The state that the next command reads: only the records of the domains that it looks up.
fn looks_for(account: Account, deployment: &Deployment) -> Account {
    let noted = account.seen.addresses.iter().filter_map(|address| address.tags.get(names::TAG_DOMAIN)).cloned();
    let asked: Vec<String> = noted.chain(deployment.network.record().map(str::to_owned)).collect();
    for led in account.led() {
        assert!(asked.iter().any(|domain| domain == led), "no later run would find {led}");
    }
    account.looked()
}

/// A domain is added, changed and removed, and any of the runs may be interrupted.
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

    /// Of all records that were created, the last run leaves exactly the wanted one.
    #[test]
    fn domains_change_correctly_whatever_is_killed(runs in prop::collection::vec(run(), 1..6), last in run()) {
        let mut account = Account::empty();
        account.seen.records = ["a.example.com", "b.example.com"].map(dns_record::tests::nothing).to_vec();
        for Run { domain, up: wanted_up, most, order: seed } in runs {
            let deployment = named(domain);
            account = looks_for(account, &deployment);
            let plan = if wanted_up { up(&spec(&deployment), &account.seen) } else { down(&account.seen) };
            account.run_some(plan, most, &mut order(seed));
        }
        let deployment = named(last.domain);
        let mut account = looks_for(account, &deployment);
        if last.up {
            account.run(up(&spec(&deployment), &account.seen));
            let account = looks_for(account, &deployment);
            prop_assert_eq!(up(&spec(&deployment), &account.seen).steps, []);
            prop_assert_eq!(account.led(), last.domain.into_iter().collect::<Vec<_>>());
        } else {
            account.run(down(&account.seen));
            let account = looks_for(account, &deployment);
            prop_assert!(down(&account.seen).is_empty() && account.led().is_empty(), "{:?}", account.seen);
        }
    }
}

#[test]
fn a_record_points_to_the_address_and_is_deleted_before_it() {
    let deployment = named(Some("a.example.com"));
    let mut account = Account::empty();
    account.seen.records = vec![dns_record::tests::nothing("a.example.com")];
    let plan = up(&spec(&deployment), &account.seen);
    let needs = |plan: &Plan, kind| plan.steps.iter().find(|step| step.id.kind == kind).unwrap().needs.clone();
    assert_eq!(needs(&plan, Kind::DnsRecord), [elastic_ip::ID]);
    account.run(plan);
    assert_eq!(account.led(), ["a.example.com"]);
    assert_eq!(needs(&down(&account.seen), Kind::ElasticIp), [Id::named(Kind::DnsRecord, "a.example.com in Z1")]);
    // With another domain, the old record is deleted before the address loses its tag.
    let mut account = account.looked();
    account.seen.records.push(dns_record::tests::nothing("b.example.com"));
    let plan = up(&spec(&named(Some("b.example.com"))), &account.seen);
    let steps: Vec<_> = plan.steps.iter().map(|step| (step.id.kind, step.action)).collect();
    let expected =
        [(Kind::DnsRecord, Action::Delete), (Kind::ElasticIp, Action::Update), (Kind::DnsRecord, Action::Create)];
    assert_eq!(steps, expected);
    // Of two addresses the one that stays has the name before the other one is released.
    let tags = std::mem::take(&mut account.seen.addresses[0].tags);
    account.seen.addresses.push(elastic("eipalloc-2", None, tags));
    let plan = up(&spec(&deployment), &account.seen);
    let released =
        plan.steps.iter().find(|step| matches!(step.change, Change::ElasticIp(elastic_ip::Change::Release { .. })));
    assert!(released.unwrap().needs.contains(&elastic_ip::ID), "{plan:?}");
    account.seen.addresses.truncate(1);
    // The address was released by hand: the record points to the next one.
    account.seen.addresses.clear();
    account.seen.records.truncate(1);
    let plan = up(&spec(&deployment), &account.seen);
    assert!(plan.steps.iter().any(|step| step.id.kind == Kind::DnsRecord && step.action == Action::Update), "{plan:?}");
}
