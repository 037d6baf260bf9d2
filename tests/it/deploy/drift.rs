//! Manual changes in AWS: `plan` shows them with a reason, `up` repairs them, and then nothing is left to do.

use aws_sdk_ec2::types::{DomainType, HttpTokensState, IpPermission, IpRange, Tag};
use aws_sdk_s3::types::PublicAccessBlockConfiguration;
use aws_sdk_ssm::types::ResourceTypeForTagging;
use devopsctl::aws::Aws;

use crate::console::aws;
use crate::project::Project;

const ROLE: &str = "devopsctl-hello-us-east-1";
const BUCKET: &str = "devopsctl-123456789012-us-east-1-an";

/// The example with a custom tag, after `up`, where nothing boots.
fn up() -> Project {
    let project = Project::unbooted();
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &format!("{text}\ntags: {{team: web}}\n"));
    project.run("plan --sandbox").code(3).says("+ instance").says("does not exist");
    project.ok("up --sandbox --no-wait");
    project.run("plan --sandbox").ok().says("already up to date");
    project
}

/// Asserts that `plan` shows each reason, and that `up` leaves nothing to do.
#[track_caller]
pub fn mended(project: &Project, reasons: &[&str]) {
    let mut plan = project.run("plan --sandbox").code(3);
    for reason in reasons {
        plan = plan.says(reason);
    }
    project.ok("up --sandbox --no-wait --yes");
    project.run("plan --sandbox").ok().says("already up to date");
}

pub async fn id(aws: &Aws) -> String {
    let found = aws.ec2.describe_instances().send().await.unwrap();
    let all = found.reservations().iter().flat_map(|reservation| reservation.instances());
    let alive = |instance: &&aws_sdk_ec2::types::Instance| {
        instance.state().and_then(|state| state.name()).is_some_and(|name| name.as_str() == "running")
    };
    all.filter(alive).map(|instance| instance.instance_id().unwrap().to_owned()).next().unwrap()
}

async fn group(aws: &Aws) -> String {
    let found = aws.ec2.describe_security_groups().group_names("devopsctl-hello").send().await.unwrap();
    found.security_groups()[0].group_id().unwrap().to_owned()
}

#[test]
fn ingress_rules_are_restored() {
    let project = up();
    aws(&project, async |aws| {
        let permission = |port| {
            let everybody = IpRange::builder().cidr_ip("0.0.0.0/0").build();
            IpPermission::builder().ip_protocol("tcp").from_port(port).to_port(port).ip_ranges(everybody).build()
        };
        let group = group(&aws).await;
        let let_in = aws.ec2.authorize_security_group_ingress().group_id(&group);
        let_in.ip_permissions(permission(22)).ip_permissions(permission(8080)).send().await.unwrap();
        let no_longer = aws.ec2.revoke_security_group_ingress().group_id(&group);
        no_longer.ip_permissions(permission(80)).send().await.unwrap();
    });
    mended(&project, &["does not allow tcp 80", "allows tcp 22", "allows tcp 8080"]);
}

#[test]
fn the_instances_options_are_restored() {
    let project = up();
    aws(&project, async |aws| {
        let id = id(&aws).await;
        let lax = aws.ec2.modify_instance_metadata_options().instance_id(&id).http_tokens(HttpTokensState::Optional);
        lax.send().await.unwrap();
        aws.ec2.stop_instances().instance_ids(&id).send().await.unwrap();
    });
    mended(&project, &["its metadata options were changed", "it is stop"]);
    aws(&project, async |aws| {
        aws.ec2.terminate_instances().instance_ids(id(&aws).await).send().await.unwrap();
    });
    mended(&project, &["+ instance", "+ profile", "association"]);
}

#[test]
#[ignore = "slow"]
fn a_profile_without_credentials_is_associated_again() {
    let project = up();
    aws(&project, async |aws| {
        let found = aws.ec2.describe_iam_instance_profile_associations().send().await.unwrap();
        let association = found.iam_instance_profile_associations()[0].association_id().unwrap();
        aws.ec2.disassociate_iam_instance_profile().association_id(association).send().await.unwrap();
    });
    mended(&project, &["the instance has no profile"]);
    aws(&project, async |aws| {
        aws.iam.remove_role_from_instance_profile().instance_profile_name(ROLE).role_name(ROLE).send().await.unwrap();
    });
    mended(&project, &["the role is not in its profile", "profile of i-"]);
    aws(&project, async |aws| {
        aws.iam.remove_role_from_instance_profile().instance_profile_name(ROLE).role_name(ROLE).send().await.unwrap();
        aws.iam.delete_role_policy().role_name(ROLE).policy_name(ROLE).send().await.unwrap();
        aws.iam.delete_role().role_name(ROLE).send().await.unwrap();
    });
    mended(&project, &["there is no role", "it was re-created, or its role was"]);
    let role = aws(&project, async |aws| id(&aws).await);
    let said = crate::console::control(&project, &format!("credentials?instance={role}"));
    assert!(said.contains("AccessKeyId"), "{said}");
}

#[test]
fn the_roles_permissions_are_restored_and_down_removes_additions() {
    let project = up();
    let everything = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
    aws(&project, async |aws| {
        let put = aws.iam.put_role_policy().role_name(ROLE).policy_name(ROLE).policy_document(everything);
        put.send().await.unwrap();
    });
    mended(&project, &["its policy is missing or was changed"]);
    aws(&project, async |aws| {
        let policy = aws.iam.create_policy().policy_name("theirs").policy_document(everything).send().await.unwrap();
        let arn = policy.policy.unwrap().arn.unwrap();
        aws.iam.attach_role_policy().role_name(ROLE).policy_arn(arn).send().await.unwrap();
        let put = aws.iam.put_role_policy().role_name(ROLE).policy_name("also-theirs").policy_document(everything);
        put.send().await.unwrap();
    });
    project.ok("down --sandbox --yes");
    project.run("status --sandbox").code(4).says("not deployed");
}

#[test]
fn the_role_of_the_app_is_restored_and_removed() {
    const APP_ROLE: &str = "devopsctl-hello-us-east-1-app";
    let project = up();
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    let everything = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
    let read_only = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";
    project.file("policy.json", &everything.replace("\"*\",\"Res", "\"s3:GetObject\",\"Res"));
    let with = text.replace("path: app\n", &format!("path: app\n  permissions: [policy.json, '{read_only}']\n"));
    assert_ne!(with, text);
    project.file("deploy.yaml", &with);
    mended(&project, &["+ app role", "there is no role for the app"]);
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
    aws(&project, async |aws| {
        let iam = &aws.iam;
        iam.update_assume_role_policy().role_name(APP_ROLE).policy_document(trust).send().await.unwrap();
        for policy in [APP_ROLE, "more"] {
            let put = iam.put_role_policy().role_name(APP_ROLE).policy_name(policy).policy_document(everything);
            put.send().await.unwrap();
        }
        let made = iam.create_policy().policy_name("theirs").policy_document(everything).send().await.unwrap();
        let theirs = made.policy.unwrap().arn.unwrap();
        iam.attach_role_policy().role_name(APP_ROLE).policy_arn(theirs).send().await.unwrap();
        iam.detach_role_policy().role_name(APP_ROLE).policy_arn(read_only).send().await.unwrap();
        iam.untag_role().role_name(APP_ROLE).tag_keys("team").send().await.unwrap();
    });
    let read_only = format!("{read_only} is not attached");
    mended(
        &project,
        &[
            "its trust policy was changed",
            "its policy differs from policy.json",
            &read_only,
            "policy/theirs is attached in addition to those of app.permissions",
            "it has a policy in addition to those of app.permissions",
            "tag team is missing",
        ],
    );
    // An ARN that does not exist is a mistake that only AWS finds.
    project.file("deploy.yaml", &with.replace("AmazonS3ReadOnly", "NoSuch"));
    let refused = project.run("up --sandbox --no-wait --yes").code(1).says("is not attachable");
    refused.says("correct the ARN under app.permissions in deploy.yaml, then run");
    project.file("deploy.yaml", &text);
    mended(&project, &["- app role", "no longer wanted"]);
    project.file("deploy.yaml", &with);
    project.ok("up --sandbox --no-wait");
    project.ok("down --sandbox --yes --name hello");
    let left = aws(&project, async |aws| aws.iam.list_roles().send().await.unwrap());
    assert!(left.roles().is_empty(), "{left:?}");
}

#[test]
fn a_deleted_token_is_created_again_with_the_next_version() {
    let project = up();
    project.ok("set-token --sandbox --generate --no-wait");
    project.ok("set-token --sandbox --generate --no-wait");
    let version = || {
        let text = project.ok("token --sandbox --json");
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["version"].as_i64().unwrap()
    };
    assert_eq!(version(), 3);
    let delete = async |aws: Aws| {
        aws.ssm.delete_parameter().name("/devopsctl/hello/token").send().await.unwrap();
    };
    // SSM would start with version 1 again, and the agent takes no version that is older than the known one.
    aws(&project, delete);
    mended(&project, &["no token is set"]);
    assert_eq!(version(), 4);
    // Also if the parameter was created manually.
    aws(&project, async |aws| {
        let name = "/devopsctl/hello/token";
        aws.ssm.delete_parameter().name(name).send().await.unwrap();
        let ours = aws_sdk_ssm::types::Tag::builder().key("devopsctl:name").value("hello").build().unwrap();
        let kind = aws_sdk_ssm::types::ParameterType::SecureString;
        let put = aws.ssm.put_parameter().name(name).value("by-hand-and-no-document").r#type(kind).tags(ours);
        put.send().await.unwrap();
    });
    project.run("token --sandbox").code(1).says("does not contain what devopsctl writes").says("set-token");
    project.run_with("set-token --sandbox --stdin --no-wait", "a-token-after-all").ok();
    assert_eq!(version(), 5);
    mended(&project, &["tag team is missing"]);
}

#[test]
fn a_foreign_role_is_removed_from_the_profile() {
    let project = up();
    let swap = async |aws: Aws| {
        let trust = r#"{"Version":"2012-10-17","Statement":[]}"#;
        // It may exist already.
        let _ = aws.iam.create_role().role_name("theirs").assume_role_policy_document(trust).send().await;
        aws.iam.remove_role_from_instance_profile().instance_profile_name(ROLE).role_name(ROLE).send().await.unwrap();
        aws.iam.add_role_to_instance_profile().instance_profile_name(ROLE).role_name("theirs").send().await.unwrap();
    };
    aws(&project, swap);
    mended(&project, &["the role is not in its profile"]);
    aws(&project, swap);
    project.ok("down --sandbox --yes");
    project.run("status --sandbox").code(4).says("not deployed");
    aws(&project, async |aws| {
        assert!(aws.iam.get_role().role_name("theirs").send().await.is_ok(), "it was not ours to delete");
    });
}

#[test]
fn there_is_one_address_and_it_leads_to_the_instance() {
    let project = up();
    aws(&project, async |aws| {
        let found = aws.ec2.describe_addresses().send().await.unwrap();
        let association = found.addresses()[0].association_id().unwrap();
        aws.ec2.disassociate_address().association_id(association).send().await.unwrap();
    });
    mended(&project, &["no address points to the instance"]);
    let before = project.run("status --sandbox --json").stdout;
    aws(&project, async |aws| {
        let second = aws.ec2.allocate_address().domain(DomainType::Vpc).send().await.unwrap();
        let ours = Tag::builder().key("devopsctl:name").value("hello").build();
        aws.ec2.create_tags().resources(second.allocation_id().unwrap()).tags(ours).send().await.unwrap();
    });
    mended(&project, &["is a duplicate"]);
    let address = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["address"].clone();
    let after = project.run("status --sandbox --json").stdout;
    assert_eq!(address(&before), address(&after), "the one that people know stays");
}

#[test]
fn the_bucket_stays_private() {
    let project = up();
    aws(&project, async |aws| {
        let open = PublicAccessBlockConfiguration::builder().block_public_acls(false).build();
        let put = aws.s3.put_public_access_block().bucket(BUCKET).public_access_block_configuration(open);
        put.send().await.unwrap();
        aws.s3.delete_bucket_policy().bucket(BUCKET).send().await.unwrap();
        let found = aws.s3.list_objects_v2().bucket(BUCKET).send().await.unwrap();
        aws.s3.delete_object().bucket(BUCKET).key(found.contents()[0].key().unwrap()).send().await.unwrap();
    });
    mended(
        &project,
        &["public access is not blocked", "its policy is missing or was changed", "it is not in the bucket yet"],
    );
    // An upload of a truncated file by an earlier version.
    aws(&project, async |aws| {
        let found = aws.s3.list_objects_v2().bucket(BUCKET).prefix("hello/releases/").send().await.unwrap();
        let cut = aws_sdk_s3::primitives::ByteStream::from_static(b"cut short");
        aws.s3.put_object().bucket(BUCKET).key(found.contents()[0].key().unwrap()).body(cut).send().await.unwrap();
    });
    mended(&project, &["in the bucket is damaged and will be replaced: it has 9 bytes", "+ release"]);
    // Other content of the same size.
    aws(&project, async |aws| {
        let found = aws.s3.list_objects_v2().bucket(BUCKET).prefix("hello/releases/").send().await.unwrap();
        let (key, size) = (found.contents()[0].key().unwrap(), found.contents()[0].size().unwrap());
        let other = aws_sdk_s3::primitives::ByteStream::from(vec![0; usize::try_from(size).unwrap()]);
        aws.s3.put_object().bucket(BUCKET).key(key).body(other).send().await.unwrap();
    });
    mended(&project, &["in the bucket is damaged and will be replaced: S3 has another sha256", "+ release"]);
}

#[test]
fn missing_tags_are_restored_and_a_key_pair_is_created_again() {
    let project = up();
    aws(&project, async |aws| {
        let (id, group) = (id(&aws).await, group(&aws).await);
        let keys = aws.ec2.describe_key_pairs().send().await.unwrap();
        let addresses = aws.ec2.describe_addresses().send().await.unwrap();
        let (key, address) = (keys.key_pairs()[0].key_pair_id(), addresses.addresses()[0].allocation_id());
        for resource in [&id, &group, key.unwrap(), address.unwrap()] {
            let team = Tag::builder().key("team").build();
            aws.ec2.delete_tags().resources(resource).tags(team).send().await.unwrap();
        }
        aws.iam.untag_role().role_name(ROLE).tag_keys("team").send().await.unwrap();
        aws.iam.untag_instance_profile().instance_profile_name(ROLE).tag_keys("team").send().await.unwrap();
        let untag = aws.ssm.remove_tags_from_resource().resource_type(ResourceTypeForTagging::Parameter);
        untag.resource_id("/devopsctl/hello/token").tag_keys("team").send().await.unwrap();
    });
    let lines = ["~ security group", "~ key pair", "~ role", "~ token", "~ address", "~ instance"];
    mended(&project, &[&lines[..], &["tag team is missing or different on the instance profile"]].concat());
    aws(&project, async |aws| {
        aws.ec2.delete_key_pair().key_name("devopsctl-hello").send().await.unwrap();
    });
    mended(&project, &["+ key pair"]);
}

#[test]
fn a_plan_in_json_names_kinds_actions_reasons_and_needs() {
    let project = up();
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &format!("{text}\ninstance: {{disk_gib: 9}}\n"));
    let plan: serde_json::Value = serde_json::from_str(&project.run("plan --sandbox --json").code(3).stdout).unwrap();
    assert_eq!((&plan["v"], &plan["changes"]), (&1.into(), &true.into()));
    let kinds: Vec<_> = plan["steps"].as_array().unwrap().iter().map(|step| step["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["instance", "profile", "orders", "health", "association", "instance"]);
    assert!(plan["steps"][5]["name"].as_str().unwrap().starts_with("i-") && plan["steps"][0]["name"].is_null());
    assert_eq!(plan["steps"][0]["action"], "replace");
    assert_eq!(plan["steps"][4]["needs"], serde_json::json!(["instance", "health"]));
    // `up` asks before it deletes something, and without a terminal there is no answer.
    project.run("up --sandbox --no-wait").code(2).says("± instance").says("add --yes to answer yes");
}
