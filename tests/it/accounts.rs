//! Accounts that are not as one would like them: each says what it is, and what to do; then the same command goes on.

use devopsctl::aws::Aws;

use crate::console::{aws, fault};
use crate::project::Project;

/// An account in which instances are entries alone: nobody waits for an app here.
fn account() -> Project {
    Project::unbooted()
}

async fn alive(aws: &Aws) -> usize {
    let found = aws.ec2.describe_instances().send().await.unwrap();
    let all = found.reservations().iter().flat_map(|reservation| reservation.instances());
    let states = all.filter_map(|instance| instance.state().and_then(|state| state.name()));
    states.filter(|name| matches!(name.as_str(), "pending" | "running")).count()
}

#[test]
#[ignore = "slow"]
fn a_launch_that_is_accepted_and_dies_says_why_and_the_next_one_lives() {
    let project = account();
    fault(&project, "doom?code=Client.VolumeLimitExceeded&message=Volume+limit+exceeded");
    let said = project.run("up --sandbox --no-wait").code(1);
    said.says("EC2 took the launch of").says("Client.VolumeLimitExceeded").says("limit for disks is reached");
    project.ok("up --sandbox --no-wait");
    assert_eq!(aws(&project, async |aws| alive(&aws).await), 1);
    project.ok("down --sandbox --yes");
}

#[test]
fn a_profile_that_an_accounts_rules_attach_is_named_and_left_alone() {
    let project = account();
    aws(&project, async |aws| {
        let trust = r#"{"Version":"2012-10-17","Statement":[]}"#;
        aws.iam.create_role().role_name("theirs").assume_role_policy_document(trust).send().await.unwrap();
        aws.iam.create_instance_profile().instance_profile_name("theirs").send().await.unwrap();
        let join = aws.iam.add_role_to_instance_profile().instance_profile_name("theirs").role_name("theirs");
        join.send().await.unwrap();
    });
    fault(&project, "attach?profile=theirs");
    let said = project.run("up --sandbox --no-wait").code(1);
    said.says("has an instance profile that is not ours").says("disassociate-iam-instance-profile");
    fault(&project, "attach");
    aws(&project, async |aws| {
        let found = aws.ec2.describe_iam_instance_profile_associations().send().await.unwrap();
        assert!(found.iam_instance_profile_associations()[0].iam_instance_profile().is_some());
        let association = found.iam_instance_profile_associations()[0].association_id().unwrap();
        aws.ec2.disassociate_iam_instance_profile().association_id(association).send().await.unwrap();
    });
    project.ok("up --sandbox --no-wait");
    project.ok("down --sandbox --yes");
}

#[test]
#[ignore = "slow"]
fn a_default_vpc_without_subnets_is_told_and_a_named_subnet_helps() {
    let project = account();
    let subnet = aws(&project, async |aws| {
        let found = aws.ec2.describe_subnets().send().await.unwrap();
        for subnet in found.subnets() {
            aws.ec2.delete_subnet().subnet_id(subnet.subnet_id().unwrap()).send().await.unwrap();
        }
        let vpc = aws.ec2.create_vpc().cidr_block("10.9.0.0/16").send().await.unwrap().vpc.unwrap().vpc_id.unwrap();
        let subnet = aws.ec2.create_subnet().vpc_id(vpc).cidr_block("10.9.0.0/24").send().await.unwrap();
        subnet.subnet.unwrap().subnet_id.unwrap()
    });
    project.run("up --sandbox --no-wait").code(1).says("No subnets found for the default VPC").says("network.subnet");
    // The group that was made belongs to the other VPC.
    project.ok("down --sandbox --yes");
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &format!("{text}\nnetwork: {{subnet: {subnet}}}\n"));
    project.ok("up --sandbox --no-wait");
    project.ok("down --sandbox --yes");
}
