//! The account's quotas and its plan.

use aws_sdk_ec2::types::{DomainType, InstanceType};

use super::{account, amiss, check, json, on_an_account, settings, told};
use crate::console::{aws, control, fault};
use crate::project::Project;
use crate::snapshot;

#[test]
fn exhausted_addresses_and_a_missing_instance_type() {
    let project = account();
    aws(&project, async |aws| {
        for _ in 0..5 {
            aws.ec2.allocate_address().domain(DomainType::Vpc).send().await.unwrap();
        }
    });
    let json = json(&project.run("doctor --sandbox --json").code(1));
    assert_eq!(amiss(&json), ["addresses"]);
    assert_eq!(json["ready"], false);
    assert_eq!(check(&json, "addresses")["seen"], "5 of 5 Elastic IPs are in use, and one more is needed");
    settings(&project, "instance: {type: a1.medium}\nnetwork: {static_ip: false}");
    let json = self::json(&project.run("doctor --sandbox --json --region eu-south-2").code(1));
    assert_eq!(amiss(&json), ["type"]);
    assert_eq!(check(&json, "type")["seen"], "a1.medium is not offered in eu-south-2");
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &text.replace("a1.medium", "m5.large"));
    let json = self::json(&project.run("doctor --sandbox --json").ok());
    assert_eq!(amiss(&json), Vec::<String>::new(), "the paid plan has every type");
}

/// Sets the vCPU quota of the standard families.
fn allow_vcpus(project: &Project, limit: &str) {
    control(project, &format!("quota?code=L-1216C47A{limit}"));
}

#[test]
#[ignore = "slow"]
fn the_quota_of_a_new_account_allows_no_instance() {
    let project = account();
    allow_vcpus(&project, "&value=1");
    snapshot!(project, told(&project.run("doctor --sandbox").code(1).shown()));
    // `up` would fail with the same error.
    let ran = project.run("up --sandbox --no-wait").code(1);
    ran.says("VcpuLimitExceeded").says("current vCPU limit of 1").says(" doctor");
    allow_vcpus(&project, "&value=2");
    project.run("doctor --sandbox").ok().says("0 of 2 in use, and t3.micro needs 2");
    project.ok("up --sandbox --no-wait");
    // A running instance needs no additional quota.
    allow_vcpus(&project, "&value=1");
    project.run("doctor --sandbox").ok().says("2 of 1 in use, including this deployment");
    project.ok("up --sandbox --no-wait");
    // A replacement is launched before the old instance ends.
    allow_vcpus(&project, "&value=3");
    settings(&project, "instance: {type: t3.small}");
    let json = json(&project.run("doctor --sandbox --json").code(1));
    let seen = check(&json, "vCPUs")["seen"].clone();
    assert_eq!(seen, "2 of 3 are in use, and t3.small needs 2 in addition to the instance that it replaces");
    project.run("up --sandbox --no-wait --yes").code(1).says("VcpuLimitExceeded");
    allow_vcpus(&project, "&value=4");
    project.run("doctor --sandbox").ok().says("t3.small needs 2 in addition to the instance that it replaces");
    project.ok("up --sandbox --no-wait --yes");
    project.ok("down --sandbox --yes");
}

#[test]
fn the_free_plan_is_checked_before_a_launch() {
    let project = account();
    control(&project, "plan?free=1&credits=87.5&until=2999-12-31T00:00:00Z");
    project.run("doctor --sandbox").ok().says("free plan, until 2999-12-31, 87.50 USD of credits left");
    settings(&project, "instance: {type: m5.large}");
    let json = json(&project.run("doctor --sandbox --json").code(1));
    assert_eq!(amiss(&json), ["type"]);
    let wrong = check(&json, "type");
    assert_eq!(wrong["seen"], "m5.large is not free-tier eligible, and this account is on the free plan");
    let next = wrong["next"].as_str().unwrap();
    project.run("up --sandbox --no-wait").code(1).says("InvalidParameterCombination").says("on the free plan");
    // The first named type is launched.
    let named = next.split_once("set instance.type to ").unwrap().1.split(' ').next().unwrap();
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &text.replace("m5.large", named));
    project.ok("up --sandbox --no-wait --yes");
    project.ok("down --sandbox --yes");
}

#[test]
fn an_unknown_account_plan_is_no_failure() {
    let project = account();
    let said = |line: &str| check(&json(&project.run(line).ok()), "plan");
    let paid = said("doctor --sandbox --json");
    assert_eq!((paid["state"].as_str(), paid["seen"].as_str()), (Some("pass"), Some("paid plan")));
    // The signature is for us-east-1, whatever the deployment's region is.
    assert_eq!(said("doctor --sandbox --json --region eu-central-1")["seen"], "paid plan");
    assert_eq!(check(&json(&on_an_account(&project, "doctor --json --region eu-west-1")), "plan")["seen"], "paid plan");
    control(&project, "plan?free=1&status=EXPIRED&until=2026-01-31T00:00:00Z");
    let over = said("doctor --sandbox --json");
    assert_eq!(
        (over["state"].as_str(), over["seen"].as_str()),
        (Some("warn"), Some("free plan, until 2026-01-31: it has ended"))
    );
    assert!(over["next"].as_str().unwrap().contains("paid plan"), "{over}");
    fault(&project, "refuse?action=GetAccountPlanState&code=InternalServerException&status=500");
    let broken = said("doctor --sandbox --json");
    assert_eq!(broken["seen"], "unknown: freetier:GetAccountPlanState says InternalServerException");
    // A caller without the permission gets one line, and no failed check.
    aws(&project, async |aws| {
        let deny =
            r#"{"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "freetier:*", "Resource": "*"}}"#;
        aws.iam.put_user_policy().user_name("devopsctl").policy_name("no").policy_document(deny).send().await.unwrap();
    });
    let json = json(&project.run("doctor --sandbox --json").ok());
    let denied = check(&json, "plan");
    assert_eq!(denied["seen"], "unknown: freetier:GetAccountPlanState is denied");
    assert_eq!((denied["state"].as_str(), denied["next"].as_str(), amiss(&json)), (Some("pass"), None, vec![]));
    // Then a type that the free plan excludes is a warning.
    settings(&project, "instance: {type: m5.large}");
    let json = self::json(&project.run("doctor --sandbox --json").ok());
    assert_eq!(amiss(&json), ["type"]);
    assert!(check(&json, "type")["next"].as_str().unwrap().starts_with("on the free plan, set instance.type to "));
}

#[test]
fn used_vcpus_count_in_their_family() {
    let project = account();
    allow_vcpus(&project, "&value=5");
    let launched = aws(&project, async |aws| {
        let image = aws.ec2.describe_images().send().await.unwrap().images()[0].image_id().unwrap().to_owned();
        let launch = aws.ec2.run_instances().image_id(image).instance_type(InstanceType::M5Xlarge);
        let launched = launch.min_count(1).max_count(1).send().await.unwrap();
        let id = launched.instances()[0].instance_id().unwrap().to_owned();
        // Lists do not contain a new instance yet.
        while aws.ec2.describe_instances().instance_ids(&id).send().await.is_err() {}
        id
    });
    let json = json(&project.run("doctor --sandbox --json").code(1));
    assert_eq!(amiss(&json), ["vCPUs"]);
    let seen = check(&json, "vCPUs");
    assert_eq!(seen["seen"], "4 of 5 are in use, and t3.micro needs 2");
    let next = seen["next"].as_str().unwrap();
    assert!(next.contains("--region us-east-1 --service-code ec2 --quota-code L-1216C47A --desired-value 8"), "{next}");
    assert!(next.contains("terminate another instance") && next.contains("m6g.medium"), "{next}");
    // Terminated instances do not count.
    aws(&project, async |aws| _ = aws.ec2.terminate_instances().instance_ids(launched).send().await.unwrap());
    project.run("doctor --sandbox").ok().says("0 of 5 in use");
    // Families with their own quotas.
    settings(&project, "instance: {type: g4dn.xlarge}");
    let json = self::json(&project.run("doctor --sandbox --json").code(1));
    let seen = check(&json, "vCPUs");
    assert_eq!(seen["seen"], "0 of 0 are in use, and g4dn.xlarge needs 4");
    assert!(seen["next"].as_str().unwrap().contains("--quota-code L-DB2E81BA --desired-value 8"), "{seen}");
}

#[test]
fn an_unreadable_quota_is_no_failure() {
    let project = account();
    aws(&project, async |aws| {
        let deny = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "servicequotas:GetServiceQuota", "Resource": "*"}}"#;
        aws.iam.put_user_policy().user_name("devopsctl").policy_name("no").policy_document(deny).send().await.unwrap();
    });
    let json = json(&project.run("doctor --sandbox --json").ok());
    assert_eq!(amiss(&json), ["vCPUs"]);
    assert_eq!(check(&json, "vCPUs")["seen"], "not checked: servicequotas:GetServiceQuota is denied");
    aws(&project, async |aws| {
        aws.iam.delete_user_policy().user_name("devopsctl").policy_name("no").send().await.unwrap();
    });
    fault(&project, "refuse?action=GetServiceQuota&code=ServiceException&message=It+is+broken.&status=500");
    project.run("doctor --sandbox").ok().says("cannot read the quota").says("It is broken");
    // AWS may return only the default quota, or none at all.
    allow_vcpus(&project, "");
    project.run("doctor --sandbox").ok().says("0 of 5 in use, and t3.micro needs 2");
    let absent = "code=NoSuchResourceException&message=There+is+none.&status=400";
    fault(&project, &format!("refuse?action=GetAWSDefaultServiceQuota&{absent}"));
    let json = self::json(&project.run("doctor --sandbox --json").ok());
    assert!(json["checks"].as_array().unwrap().iter().all(|check| check["what"] != "vCPUs"), "{json:#}");
}
