//! A domain with its record in Route 53: created after the address, deleted before it, and never in place of another record.

use aws_sdk_route53::types::{
    AliasTarget, Change, ChangeAction, ChangeBatch, HostedZoneConfig, ResourceRecord, ResourceRecordSet, RrType, Vpc,
    VpcRegion,
};
use devopsctl::aws::Aws;

use crate::console::{aws, calls, fault};
use crate::project::Project;
use crate::snapshot;

const WWW: &str = "www.example.com. A 300 192.0.2.1";

/// The example with a domain, where nothing boots, and the zone `example.com` with a record of another owner.
fn project(network: &str) -> Project {
    let project = Project::unbooted();
    aws(&project, async |aws| {
        zone(&aws, "example.com").await;
        change(&aws, "example.com", ChangeAction::Create, plain("www.example.com", RrType::A, "192.0.2.1")).await;
    });
    set(&project, network);
    project
}

fn set(project: &Project, network: &str) {
    project.file("deploy.yaml", &format!("name: hello\napp: {{path: app}}\nnetwork: {{{network}}}\n"));
}

const APP: &str = "domain: app.example.com, dns: route53";

async fn zone(aws: &Aws, name: &str) {
    aws.route53.create_hosted_zone().name(name).caller_reference(name).send().await.unwrap();
}

async fn id(aws: &Aws, zone: &str) -> String {
    let found = aws.route53.list_hosted_zones_by_name().dns_name(zone).send().await.unwrap();
    assert_eq!(found.hosted_zones()[0].name(), format!("{zone}."));
    found.hosted_zones()[0].id().to_owned()
}

fn plain(name: &str, kind: RrType, value: &str) -> ResourceRecordSet {
    let record = ResourceRecord::builder().value(value).build().unwrap();
    ResourceRecordSet::builder().name(name).r#type(kind).ttl(300).resource_records(record).build().unwrap()
}

fn alias(name: &str) -> ResourceRecordSet {
    let target = AliasTarget::builder().hosted_zone_id("Z2FDTNDATAQYW2").dns_name("d111.cloudfront.net");
    let target = target.evaluate_target_health(false).build().unwrap();
    ResourceRecordSet::builder().name(name).r#type(RrType::A).alias_target(target).build().unwrap()
}

async fn change(aws: &Aws, zone: &str, action: ChangeAction, set: ResourceRecordSet) {
    let change = Change::builder().action(action).resource_record_set(set).build().unwrap();
    let batch = ChangeBatch::builder().changes(change).build().unwrap();
    let id = id(aws, zone).await;
    aws.route53.change_resource_record_sets().hosted_zone_id(id).change_batch(batch).send().await.unwrap();
}

/// The records of a zone without those that every zone has.
fn records(project: &Project, zone: &str) -> Vec<String> {
    let found = aws(project, async |aws| {
        let id = id(&aws, zone).await;
        aws.route53.list_resource_record_sets().hosted_zone_id(id).send().await.unwrap().resource_record_sets
    });
    let own = found.iter().filter(|set| !matches!(set.r#type, RrType::Ns | RrType::Soa));
    own.map(|set| {
        let values: Vec<&str> = set.resource_records().iter().map(|record| record.value()).collect();
        format!("{} {} {} {}", set.name, set.r#type.as_str(), set.ttl.unwrap_or_default(), values.join(" "))
    })
    .collect()
}

fn address(project: &Project) -> String {
    let text = project.run("status --sandbox --json").stdout;
    let status: serde_json::Value = serde_json::from_str(&text).unwrap();
    status["address"]["ip"].as_str().unwrap().to_owned()
}

fn led(project: &Project, name: &str) -> [String; 2] {
    let ip = address(project);
    [format!("{name}. A 60 {ip}"), format!("_devopsctl.{name}. TXT 60 \"devopsctl: hello in us-east-1, for {ip}\"")]
}

/// The number of calls of that action.
fn count(project: &Project, action: &str) -> usize {
    calls(project).iter().filter(|call| call["action"] == action).count()
}

#[test]
#[ignore = "slow"]
fn the_record_comes_with_the_address_and_goes_before_it() {
    let project = project(APP);
    // Longer zone names than the right one: a private zone, and a zone of another domain.
    aws(&project, async |aws| {
        let vpc = Vpc::builder().vpc_region(VpcRegion::UsEast1).vpc_id("vpc-1").build();
        let private = HostedZoneConfig::builder().private_zone(true).build();
        let make = aws.route53.create_hosted_zone().name("app.example.com").caller_reference("private").vpc(vpc);
        make.hosted_zone_config(private).send().await.unwrap();
        zone(&aws, "xapp.example.com").await;
    });
    project.run("plan --sandbox").code(3).says("app.example.com has no A record");
    let said = project.run("up --sandbox --no-wait").ok();
    let both = led(&project, "app.example.com");
    said.says(&format!("✓ record app.example.com: app.example.com. A {}", address(&project)));
    assert_eq!(records(&project, "example.com"), [&both[0], &both[1], WWW]);
    let before = count(&project, "ChangeResourceRecordSets");
    project.run("up --sandbox --no-wait").ok().says("already up to date");
    project.run("plan --sandbox").ok().says("already up to date");
    assert_eq!(count(&project, "ChangeResourceRecordSets"), before);
    let said = project.run("down --sandbox --yes").ok().says("record app.example.com in ").says(", address ");
    said.says("✓ record app.example.com in ").says("deleted hello");
    assert_eq!(records(&project, "example.com"), [WWW]);
    // Again: a deleted record can be created.
    project.ok("up --sandbox --no-wait");
    assert_eq!(records(&project, "example.com")[..2], led(&project, "app.example.com"));
    project.ok("down --sandbox --yes");
}

#[test]
#[ignore = "slow"]
fn without_dns_no_route_53_permission_is_needed() {
    let project = project("domain: app.example.com");
    let before = count(&project, "ListHostedZonesByName");
    project.ok("up --sandbox --no-wait");
    project.ok("down --sandbox --yes");
    assert_eq!(count(&project, "ListHostedZonesByName"), before);
    assert_eq!(records(&project, "example.com"), [WWW]);
}

#[test]
#[ignore = "slow"]
fn a_foreign_record_fails_before_anything_is_created() {
    let project = project(APP);
    let name = "app.example.com";
    for (theirs, words) in [
        (plain(name, RrType::A, "192.0.2.7"), "192.0.2.7"),
        (alias(name), "alias"),
        (plain(name, RrType::Cname, "elsewhere.example.net"), "elsewhere.example.net"),
        (plain(name, RrType::Ns, "ns.example.net."), "ns.example.net"),
        (plain(name, RrType::Aaaa, "2001:db8::1"), "2001:db8::1"),
        (
            plain("_devopsctl.app.example.com", RrType::Txt, "\"devopsctl: shop in eu-west-1, for 192.0.2.7\""),
            "belongs to another deployment",
        ),
    ] {
        let before = theirs.clone();
        aws(&project, async |aws| change(&aws, "example.com", ChangeAction::Create, before).await);
        let stands = records(&project, "example.com");
        for line in ["plan --sandbox", "up --sandbox --no-wait"] {
            project.run(line).code(1).says(words).says("It was not changed");
        }
        project.run("down --sandbox --yes").ok().says("hello has no resources");
        assert_eq!(records(&project, "example.com"), stands);
        aws(&project, async |aws| change(&aws, "example.com", ChangeAction::Delete, theirs).await);
    }
    aws(&project, async |aws| {
        assert!(aws.ec2.describe_addresses().send().await.unwrap().addresses().is_empty());
        assert!(aws.ec2.describe_instances().send().await.unwrap().reservations().is_empty());
    });
}

#[test]
fn a_name_without_a_zone() {
    let project = project("domain: app.example.org, dns: route53");
    snapshot!(project, project.run("up --sandbox -q").code(1).shown());
    let groups = aws(&project, async |aws| aws.ec2.describe_security_groups().send().await.unwrap());
    assert_eq!(groups.security_groups().len(), 1, "there is the VPC's own, and no other");
}

#[test]
fn a_correct_manual_record_is_kept() {
    let project = project("domain: app.example.com");
    project.ok("up --sandbox --no-wait");
    let (ip, name) = (address(&project), "app.example.com");
    let by_hand = plain(name, RrType::A, &ip);
    aws(&project, async |aws| change(&aws, "example.com", ChangeAction::Create, by_hand).await);
    set(&project, APP);
    project.ok("up --sandbox --no-wait");
    project.run("plan --sandbox").ok().says("already up to date");
    let stands = [format!("app.example.com. A 300 {ip}"), WWW.to_owned()];
    assert_eq!(records(&project, "example.com"), stands);
    project.ok("down --sandbox --yes");
    assert_eq!(records(&project, "example.com"), stands);
}

#[test]
#[ignore = "slow"]
fn a_changed_domain_removes_the_old_record() {
    let project = project(APP);
    project.ok("up --sandbox --no-wait");
    aws(&project, async |aws| zone(&aws, "example.net").await);
    set(&project, "domain: shop.example.net, dns: route53");
    project.run("plan --sandbox").code(3).says("- record app.example.com in ");
    project.run("up --sandbox --no-wait").code(2).says("add --yes to answer yes");
    project.ok("up --sandbox --no-wait --yes");
    assert_eq!(records(&project, "example.com"), [WWW]);
    assert_eq!(records(&project, "example.net"), led(&project, "shop.example.net"));
    project.run("plan --sandbox").ok().says("already up to date");
    // A zone with a longer name: the zone above it is no longer read.
    aws(&project, async |aws| zone(&aws, "shop.example.net").await);
    project.ok("up --sandbox --no-wait --yes");
    assert_eq!(records(&project, "example.net"), [""; 0]);
    assert_eq!(records(&project, "shop.example.net"), led(&project, "shop.example.net"));
    // From now on manually.
    set(&project, "domain: shop.example.net");
    project.ok("up --sandbox --no-wait --yes");
    assert_eq!(records(&project, "shop.example.net"), [""; 0]);
    let asked = count(&project, "ListHostedZonesByName");
    project.run("plan --sandbox").ok().says("already up to date");
    assert_eq!(count(&project, "ListHostedZonesByName"), asked, "the known zone is not searched again");
    project.ok("down --sandbox --yes");
}

#[test]
#[ignore = "slow"]
fn down_finds_records_without_deploy_yaml_and_without_an_address() {
    let project = project(APP);
    project.ok("up --sandbox --no-wait");
    set(&project, "");
    project.run("down --sandbox --yes").ok().says("✓ record app.example.com in ");
    assert_eq!(records(&project, "example.com"), [WWW]);
    set(&project, APP);
    project.ok("up --sandbox --no-wait");
    aws(&project, async |aws| {
        let found = aws.ec2.describe_addresses().send().await.unwrap();
        let address = &found.addresses()[0];
        aws.ec2.disassociate_address().association_id(address.association_id().unwrap()).send().await.unwrap();
        aws.ec2.release_address().allocation_id(address.allocation_id().unwrap()).send().await.unwrap();
    });
    project.run("down --sandbox --yes").ok().says("✓ record app.example.com in ");
    assert_eq!(records(&project, "example.com"), [WWW]);
}

#[test]
fn manual_changes_of_a_record_are_repaired() {
    let project = project(APP);
    project.ok("up --sandbox --no-wait");
    let both = led(&project, "app.example.com");
    let moved = || plain("app.example.com", RrType::A, "192.0.2.7");
    aws(&project, async |aws| change(&aws, "example.com", ChangeAction::Upsert, moved()).await);
    project.run("plan --sandbox").code(3).says("~ record app.example.com");
    project.ok("up --sandbox --no-wait");
    assert_eq!(records(&project, "example.com")[..2], both);
    aws(&project, async |aws| change(&aws, "example.com", ChangeAction::Upsert, moved()).await);
    project.ok("down --sandbox --yes");
    assert_eq!(records(&project, "example.com"), ["app.example.com. A 300 192.0.2.7", WWW]);
}

#[test]
#[ignore = "slow"]
fn two_deployments_cannot_share_a_domain() {
    let project = project(APP);
    project.ok("up --sandbox --no-wait");
    let stands = records(&project, "example.com");
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("other.yaml", &text.replace("name: hello", "name: other"));
    let said = project.run("up --sandbox --no-wait --file other.yaml").code(1).says("belongs to another deployment");
    said.says("hello in us-east-1");
    project.run("down --sandbox --yes --file other.yaml").ok().says("other has no resources");
    assert_eq!(records(&project, "example.com"), stands);
    project.ok("down --sandbox --yes");
}

#[test]
#[ignore = "slow"]
fn a_conflicting_record_change_is_planned_again() {
    let project = project(APP);
    let refuse =
        |code: &str| fault(&project, &format!("refuse?action=ChangeResourceRecordSets&code={code}&status=400"));
    for code in ["Throttling", "PriorRequestNotComplete", "InvalidChangeBatch"] {
        refuse(code);
    }
    project.ok("up --sandbox --no-wait");
    assert_eq!(records(&project, "example.com")[..2], led(&project, "app.example.com"));
    refuse("InvalidChangeBatch");
    project.ok("down --sandbox --yes");
    assert_eq!(records(&project, "example.com"), [WWW]);
    // A batch that conflicts every time is reported, and the same command continues.
    fault(&project, "refuse?action=ChangeResourceRecordSets&code=InvalidChangeBatch&message=no&status=400&times=4");
    project.run("up --sandbox --no-wait").code(1).says("cannot create the DNS record of app.example.com");
    project.ok("up --sandbox --no-wait");
    project.ok("down --sandbox --yes");
}
