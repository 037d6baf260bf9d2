//! Denies each call: the error says what the call was for, and which permission is missing.

use aws_sdk_ec2::types::{HttpTokensState, Tag};
use aws_sdk_ssm::types::ResourceTypeForTagging;
use devopsctl::aws::Aws;

use super::account::{Account, instance};
use super::snapshot;

const BUCKET: &str = "arn:aws:s3:::devopsctl-123456789012-us-east-1-an";
const ROLE: &str = "devopsctl-hello-us-east-1";
const ALL: &str = "*";

/// The action, the resource and the command.
type Denied = (&'static str, &'static str, &'static str);

/// Denies a call, and returns the error.
#[track_caller]
fn denied(account: &Account, (action, resource, line): Denied) -> String {
    account.deny(action, &resource.replace("BUCKET", BUCKET));
    let ran = account.run(line).code(5);
    account.allow();
    let words = ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ").replace("│ ", "");
    assert!(words.contains(&format!("ask an administrator to allow {action}")), "{}", ran.shown());
    format!("{action}\n{}", ran.shown())
}

/// Denies each call after `again`, and stores the errors.
#[track_caller]
fn all_denied(account: &Account, name: &str, calls: &[Denied], again: impl Fn(&Account)) {
    let said = calls.iter().map(|call| {
        again(account);
        denied(account, *call)
    });
    snapshot(&account.project, name, &said.collect::<Vec<_>>().join("\n"));
}

#[test]
#[ignore = "slow"]
fn while_creating() {
    let account = Account::start();
    const UP: &str = "up --no-wait";
    let calls = [
        ("ssm:GetParameters", "arn:aws:ssm:*::parameter/aws/*", UP),
        ("ec2:DescribeImages", ALL, UP),
        ("ec2:DescribeInstanceTypes", ALL, UP),
        ("ec2:CreateSecurityGroup", ALL, UP),
        ("ec2:AuthorizeSecurityGroupIngress", ALL, UP),
        ("ec2:ImportKeyPair", ALL, UP),
        ("iam:CreateRole", ALL, UP),
        ("ssm:PutParameter", ALL, UP),
        ("ssm:GetParameter", "arn:aws:ssm:*:*:parameter/devopsctl/hello/report/*", "up"),
        ("ec2:RunInstances", ALL, UP),
        ("ec2:AllocateAddress", ALL, UP),
        ("ec2:AssociateAddress", ALL, UP),
        ("ec2:AssociateIamInstanceProfile", ALL, UP),
        ("s3:CreateBucket", ALL, UP),
        ("s3:PutBucketPolicy", ALL, UP),
        ("s3:PutObject", "BUCKET/hello/*", UP),
        ("s3:PutObject", "BUCKET/_tools/*", UP),
    ];
    all_denied(&account, "denied_while_creating", &calls, Account::reset);
}

#[test]
#[ignore = "slow"]
fn while_looking() {
    let account = Account::start();
    account.stand();
    account.console(async |aws| {
        aws.route53.create_hosted_zone().name("example.com").caller_reference("1").send().await.unwrap();
    });
    let calls = [
        ("ec2:DescribeInstances", ALL, "status"),
        ("ec2:DescribeSecurityGroups", ALL, "status"),
        ("ec2:DescribeKeyPairs", ALL, "status"),
        ("ec2:DescribeAddresses", ALL, "status"),
        ("iam:GetRole", ALL, "status"),
        ("ssm:ListTagsForResource", ALL, "status"),
        ("ssm:GetParametersByPath", "arn:aws:ssm:*:*:parameter/devopsctl/hello/report", "status"),
        ("ssm:GetParametersByPath", "arn:aws:ssm:*:*:parameter/devopsctl/hello/secrets", "status"),
        ("ssm:GetParameters", "arn:aws:ssm:*:*:parameter/devopsctl/hello/secrets/*", "secrets get DATABASE_URL"),
        ("ec2:DescribeVolumes", ALL, "list"),
        ("ec2:DescribeSecurityGroups", ALL, "list"),
        ("ec2:DescribeKeyPairs", ALL, "list"),
        ("ssm:GetParametersByPath", ALL, "list"),
        ("ssm:GetParameter", ALL, "token"),
        ("s3:GetBucketPolicy", ALL, "plan"),
        ("s3:ListBucket", ALL, "releases"),
        ("s3:GetObject", "BUCKET/hello/releases/*", "rollback"),
        ("s3:GetObject", "BUCKET/hello/logs/*", "logs"),
        ("ec2:CreateTags", ALL, "logs"),
        ("ec2:CreateTags", ALL, "ssh --from 192.0.2.1"),
        ("ec2:AuthorizeSecurityGroupIngress", ALL, "ssh --from 192.0.2.1"),
    ];
    all_denied(&account, "denied_while_looking", &calls, |_| {});
    account.deploy("network: {domain: app.example.com, dns: route53}");
    let mut said = vec![
        denied(&account, ("route53:ListHostedZonesByName", ALL, "plan")),
        denied(&account, ("route53:ListResourceRecordSets", ALL, "plan")),
        denied(&account, ("route53:ChangeResourceRecordSets", ALL, "up --no-wait --yes")),
    ];
    account.run("up --no-wait --yes").ok();
    said.push(denied(&account, ("route53:ChangeResourceRecordSets", ALL, "down --yes")));
    snapshot(&account.project, "denied_by_route_53", &said.join("\n"));
}

/// Removes a tag that `deploy.yaml` sets.
async fn untag(aws: &Aws, resource: &str) {
    aws.ec2.delete_tags().resources(resource).tags(Tag::builder().key("team").build()).send().await.unwrap();
}

/// Denies an action while `up` repairs the damage.
type Repaired<'a> = &'a mut dyn FnMut(&'static str, &dyn Fn(&Account));

fn missing_tags(repaired: Repaired) {
    repaired("ec2:CreateTags", &|account| {
        account.console(async |aws| {
            let groups = aws.ec2.describe_security_groups().group_names("devopsctl-hello").send().await.unwrap();
            untag(&aws, groups.security_groups()[0].group_id().unwrap()).await;
        });
    });
    repaired("ec2:CreateTags", &|account| {
        account.console(async |aws| {
            let keys = aws.ec2.describe_key_pairs().send().await.unwrap();
            untag(&aws, keys.key_pairs()[0].key_pair_id().unwrap()).await;
        });
    });
    repaired("ec2:CreateTags", &|account| {
        account.console(async |aws| {
            let addresses = aws.ec2.describe_addresses().send().await.unwrap();
            untag(&aws, addresses.addresses()[0].allocation_id().unwrap()).await;
        });
    });
    repaired("ec2:CreateTags", &|account| {
        account.console(async |aws| untag(&aws, &instance(&aws).await).await);
    });
    repaired("ssm:AddTagsToResource", &|account| {
        account.console(async |aws| {
            let untag = aws.ssm.remove_tags_from_resource().resource_type(ResourceTypeForTagging::Parameter);
            untag.resource_id("/devopsctl/hello/token").tag_keys("team").send().await.unwrap();
        });
    });
}

fn changed_settings(repaired: Repaired) {
    repaired("ec2:ModifyInstanceMetadataOptions", &|account| {
        account.console(async |aws| {
            let lax = aws.ec2.modify_instance_metadata_options().instance_id(instance(&aws).await);
            lax.http_tokens(HttpTokensState::Optional).send().await.unwrap();
        });
    });
    repaired("ec2:ModifyInstanceCreditSpecification", &|account| {
        account.deploy("instance: {cpu_credits: standard}");
        account.console(async |aws| {
            let unlimited = aws_sdk_ec2::types::InstanceCreditSpecificationRequest::builder();
            let unlimited = unlimited.instance_id(instance(&aws).await).cpu_credits("unlimited").build();
            let modify = aws.ec2.modify_instance_credit_specification().instance_credit_specifications(unlimited);
            modify.send().await.unwrap();
        });
    });
    repaired("ec2:StartInstances", &|account| {
        account.console(async |aws| {
            aws.ec2.stop_instances().instance_ids(instance(&aws).await).send().await.unwrap();
        });
    });
    repaired("ec2:CreateTags", &|account| {
        account.console(async |aws| {
            let addresses = aws.ec2.describe_addresses().send().await.unwrap();
            let leads = addresses.addresses()[0].association_id().unwrap();
            aws.ec2.disassociate_address().association_id(leads).send().await.unwrap();
        });
    });
    for action in ["ec2:DescribeIamInstanceProfileAssociations", "ec2:DisassociateIamInstanceProfile"] {
        repaired(action, &|account| {
            account.console(async |aws| {
                let out = aws.iam.remove_role_from_instance_profile().instance_profile_name(ROLE).role_name(ROLE);
                out.send().await.unwrap();
            });
        });
    }
    repaired("ec2:DescribeSubnets", &|account| {
        let subnet = account.console(async |aws| {
            aws.ec2.describe_subnets().send().await.unwrap().subnets()[0].subnet_id().unwrap().to_owned()
        });
        account.reset();
        account.deploy(&format!("network: {{subnet: {subnet}}}"));
    });
}

#[test]
#[ignore = "slow"]
fn while_repairing() {
    let account = Account::start();
    let mut said = Vec::new();
    let mut repaired = |action: &'static str, harm: &dyn Fn(&Account)| {
        account.reset();
        account.deploy("tags: {team: web}");
        account.run("up --no-wait").ok();
        harm(&account);
        said.push(denied(&account, (action, ALL, "up --no-wait --yes")));
    };
    missing_tags(&mut repaired);
    changed_settings(&mut repaired);
    account.stand();
    said.push(denied(&account, ("ec2:CreateTags", ALL, "set-token --generate --no-wait")));
    snapshot(&account.project, "denied_while_repairing", &said.join("\n"));
}

#[test]
#[ignore = "slow"]
fn while_deleting() {
    let account = Account::start();
    const DOWN: &str = "down --yes";
    let calls = [
        ("ec2:TerminateInstances", ALL, DOWN),
        ("ec2:ReleaseAddress", ALL, DOWN),
        ("ec2:DeleteKeyPair", ALL, DOWN),
        ("ec2:DeleteSecurityGroup", ALL, DOWN),
        ("iam:DeleteRole", ALL, DOWN),
        ("ssm:DeleteParameter", ALL, DOWN),
        ("ssm:DeleteParameters", ALL, DOWN),
        ("s3:DeleteObject", ALL, DOWN),
        ("s3:ListBucketVersions", ALL, DOWN),
        ("s3:DeleteBucket", ALL, DOWN),
    ];
    all_denied(&account, "denied_while_deleting", &calls, |account| {
        account.stand();
        account.console(async |aws| {
            let name = format!("/devopsctl/hello/report/{}", instance(&aws).await);
            let kind = aws_sdk_ssm::types::ParameterType::String;
            aws.ssm.put_parameter().name(name).value("{}").r#type(kind).send().await.unwrap();
        });
    });
}
