//! Accounts with a problem: the error names it and the next step, and then the same command succeeds.

use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use devopsctl::aws::Aws;

use crate::console::{aws, connect, fault};
use crate::project::Project;

/// An account where nothing boots: these tests need no app.
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
fn an_accepted_launch_that_fails_is_reported_and_repeated() {
    let project = account();
    fault(&project, "fail-launch?code=Client.VolumeLimitExceeded&message=Volume+limit+exceeded");
    let said = project.run("up --sandbox --no-wait").code(1);
    said.says("EC2 accepted the launch of").says("Client.VolumeLimitExceeded").says("limit for disks is reached");
    project.ok("up --sandbox --no-wait");
    assert_eq!(aws(&project, async |aws| alive(&aws).await), 1);
    project.ok("down --sandbox --yes");
}

#[test]
fn a_foreign_instance_profile_is_reported_and_left_unchanged() {
    let project = account();
    aws(&project, async |aws| {
        let trust = r#"{"Version":"2012-10-17","Statement":[]}"#;
        aws.iam.create_role().role_name("theirs").assume_role_policy_document(trust).send().await.unwrap();
        aws.iam.create_instance_profile().instance_profile_name("theirs").send().await.unwrap();
        let join = aws.iam.add_role_to_instance_profile().instance_profile_name("theirs").role_name("theirs");
        join.send().await.unwrap();
    });
    fault(&project, "attach-profile?profile=theirs");
    let said = project.run("up --sandbox --no-wait").code(1);
    said.says("has an instance profile that does not belong to this deployment")
        .says("disassociate-iam-instance-profile");
    fault(&project, "attach-profile");
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
fn a_default_vpc_without_subnets_needs_a_named_subnet() {
    let project = account();
    let subnet = aws(&project, async |aws| {
        let found = aws.ec2.describe_subnets().send().await.unwrap();
        for subnet in found.subnets() {
            aws.ec2.delete_subnet().subnet_id(subnet.subnet_id().unwrap()).send().await.unwrap();
        }
        let vpc = aws.ec2.create_vpc().cidr_block("10.9.0.0/16").send().await.unwrap().vpc.unwrap().vpc_id.unwrap();
        connect(&aws, &vpc).await;
        let subnet = aws.ec2.create_subnet().vpc_id(vpc).cidr_block("10.9.0.0/24").send().await.unwrap();
        subnet.subnet.unwrap().subnet_id.unwrap()
    });
    project.run("up --sandbox --no-wait").code(1).says("No subnets found for the default VPC").says("network.subnet");
    // The existing group belongs to the other VPC.
    project.ok("down --sandbox --yes");
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &format!("{text}\nnetwork: {{subnet: {subnet}}}\n"));
    project.ok("up --sandbox --no-wait");
    project.ok("down --sandbox --yes");
}

/// The id of the attached profile, and of the deployment's own.
async fn profiles(aws: &Aws) -> (String, String) {
    let attached = aws.ec2.describe_iam_instance_profile_associations().send().await.unwrap();
    let attached =
        attached.iam_instance_profile_associations()[0].iam_instance_profile().unwrap().id().unwrap().to_owned();
    let name = "devopsctl-hello-us-east-1";
    let made = aws.iam.get_instance_profile().instance_profile_name(name).send().await.unwrap();
    (attached, made.instance_profile().unwrap().instance_profile_id().to_owned())
}

#[test]
fn a_deleted_profile_is_replaced_by_the_new_one() {
    let project = account();
    project.ok("sandbox start");
    fault(&project, "stale-profile?times=2");
    project.ok("up --sandbox --no-wait");
    let (attached, made) = aws(&project, async |aws| profiles(&aws).await);
    assert_eq!(attached, made);
    assert!(project.ok("plan --sandbox").contains("already up to date"));
    project.ok("down --sandbox --yes");
}

#[test]
fn a_launch_waits_for_a_new_security_group() {
    let project = account();
    project.ok("sandbox start");
    fault(
        &project,
        "refuse?action=RunInstances&code=InvalidSecurityGroupID.NotFound&message=It+does+not+exist&times=2",
    );
    project.ok("up --sandbox --no-wait");
    project.ok("down --sandbox --yes");
}

/// Asserts that `up` fails before it creates anything.
#[track_caller]
fn refused_before_anything(project: &Project, what: &str, why: &str) {
    project.run("up --sandbox --no-wait").code(1).says(what).says(why).says("Nothing was changed.");
    project.run("status --sandbox").code(4).says("not deployed");
}

#[test]
fn an_unsupported_instance_type_fails_before_anything_is_created() {
    let project = account();
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    let of = |kind: &str| project.file("deploy.yaml", &format!("{text}\ninstance: {{type: {kind}}}\n"));
    of("t2.micro");
    refused_before_anything(&project, "t2.micro is not a Nitro type", "a stop and a start");
    project.run("doctor --sandbox").code(1).says("t2.micro is not a Nitro type");
    of("t9.micro");
    refused_before_anything(&project, "t9.micro is not offered in us-east-1", "no such instance type");
}

#[test]
fn a_subnet_without_internet_access_fails_before_anything_is_created() {
    let project = account();
    project.ok("sandbox start");
    let (subnet, table, gateway) = aws(&project, async |aws| {
        let vpc = aws.ec2.create_vpc().cidr_block("10.9.0.0/16").send().await.unwrap().vpc.unwrap().vpc_id.unwrap();
        let subnet = aws.ec2.create_subnet().vpc_id(&vpc).cidr_block("10.9.0.0/24").availability_zone("us-east-1a");
        let subnet = subnet.send().await.unwrap().subnet.unwrap().subnet_id.unwrap();
        let table = aws.ec2.create_route_table().vpc_id(&vpc).send().await.unwrap().route_table.unwrap();
        let table = table.route_table_id.unwrap();
        aws.ec2.associate_route_table().route_table_id(&table).subnet_id(&subnet).send().await.unwrap();
        let gateway = aws.ec2.create_internet_gateway().send().await.unwrap().internet_gateway.unwrap();
        let gateway = gateway.internet_gateway_id.unwrap();
        aws.ec2.attach_internet_gateway().internet_gateway_id(&gateway).vpc_id(&vpc).send().await.unwrap();
        (subnet, table, gateway)
    });
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &format!("{text}\nnetwork: {{subnet: {subnet}}}\n"));
    let why = format!("its route table {table} has no route for 0.0.0.0/0 to an internet gateway");
    refused_before_anything(&project, &format!("an instance in {subnet} cannot be reached from the internet"), &why);
    project.run("doctor --sandbox").code(1).says(&why);
    aws(&project, async |aws| {
        let route = aws.ec2.create_route().route_table_id(&table).destination_cidr_block("0.0.0.0/0");
        route.gateway_id(&gateway).send().await.unwrap();
    });
    project.ok("doctor --sandbox");
    project.ok("up --sandbox --no-wait");
    project.ok("down --sandbox --yes");
}

#[test]
fn a_versioned_bucket_is_removed_with_all_versions() {
    let project = account();
    project.ok("sandbox start");
    project.ok("up --sandbox --no-wait");
    let bucket = "devopsctl-123456789012-us-east-1-an";
    aws(&project, async |aws| {
        let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        aws.s3.put_bucket_versioning().bucket(bucket).versioning_configuration(enabled).send().await.unwrap();
        // A renewed certificate, as an instance stores it.
        for content in ["first", "second"] {
            let put = aws.s3.put_object().bucket(bucket).key("hello/certificates.tar");
            put.body(content.as_bytes().to_vec().into()).send().await.unwrap();
        }
    });
    project.ok("down --sandbox --yes");
    let left = aws(&project, async |aws| aws.s3.list_buckets().send().await.unwrap().buckets().len());
    assert_eq!(left, 0);
}

#[test]
fn a_wrong_clock_is_reported_instead_of_wrong_credentials() {
    let project = account();
    project.ok("sandbox start");
    for (ahead, side) in [(3600, "60 minutes behind"), (-420, "7 minutes ahead")] {
        fault(&project, &format!("clock?ahead={ahead}"));
        let said = project.run("status --sandbox").code(5);
        said.says(&format!("this machine's clock is {side}")).says("set the clock");
    }
    fault(&project, "clock?ahead=0");
    project.run("status --sandbox").code(4);
}
