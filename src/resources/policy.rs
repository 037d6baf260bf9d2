//! What the command line itself may do: the least with which `up`, `plan`, `rollback`, `releases`, `set-token`, `token`,
//! `status`, `list`, `logs`, `ssh`, `doctor` and `down` work, as an IAM policy. `devopsctl policy` prints it, and the
//! sandbox holds the command line to it.
//!
//! It covers all deployments of an account. What can be named is narrowed by its name (`devopsctl-*`, `/devopsctl/*`),
//! and what cannot, because EC2 makes up its id, by the tag that it carries or must be given. `sts:GetCallerIdentity`
//! needs no permission, and decrypting the token neither: the key `alias/aws/ssm` lets the account's own principals.
//!
//! A new call needs its action here, and a rule in `sandbox/emulator/iam/actions.py` that says on which resources AWS checks
//! it; both are in AWS's service authorization reference. The sandbox refuses the call until then, and `tests/policy-used`
//! tells an action that nobody calls any more.

use serde_json::{Value, json};

use crate::base::names;
use crate::resources::role;

/// How many characters a managed policy may have, white space aside; a role's own, inline, may have 10,240:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
pub const LARGEST_MANAGED_POLICY: usize = 6144;

/// Any account's number, region or name.
const ANY: &str = "*";

/// Where the policy is to hold.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The account's number; any if it is not named.
    pub account: Option<String>,
    /// The region; any if it is not named.
    pub region: Option<String>,
    /// The ARN of the permissions boundary that every role must have which is made or changed.
    pub boundary: Option<String>,
    /// Only what `plan` needs: for whoever is to see what would change, and to change nothing.
    pub plan: bool,
}

impl Scope {
    /// The policy.
    pub fn policy(&self) -> Value {
        let mut statements = [self.ec2(), self.iam(), self.ssm(), self.s3(), self.route53()].concat();
        if self.plan {
            statements = statements.into_iter().filter_map(looking).chain([never_decrypt()]).collect();
        }
        json!({"Version": "2012-10-17", "Statement": statements})
    }

    /// The permissions boundary for the instances' roles: what the roles of all deployments may do, and no more.
    pub fn boundary_document(&self) -> Value {
        role::policy(self.partition(), self.account(), self.region(), ANY, &self.bucket())
    }

    /// EC2 makes up the ids, so tags narrow it. The tag's presence is asked for; its value is the deployment's name. Where
    /// the tag narrows it, the kinds are left out: a managed policy may not be long.
    fn ec2(&self) -> Vec<Value> {
        let ours = |kinds: &[&str]| kinds.iter().map(|kind| self.arn("ec2", self.account(), kind)).collect();
        let (asked_for, carried) = (asked_for(), carried());
        let making = ["AllocateAddress", "CreateSecurityGroup", "ImportKeyPair", "RunInstances"];
        vec![
            // AWS knows nothing narrower for these.
            allow(
                "Look",
                &[
                    of("ec2", &LOOKS),
                    of("freetier", &PLAN),
                    of("route53", &["ListHostedZonesByName"]),
                    of("servicequotas", &QUOTAS),
                ]
                .concat(),
                vec![ANY.into()],
            ),
            // Images are their publishers'; a subnet, with its VPC, may be shared by another account.
            allow(
                "From",
                &of("ec2", &["CreateSecurityGroup", "RunInstances"]),
                vec![self.arn("ec2", "", "image/*"), self.arn("ec2", ANY, "subnet/*"), self.arn("ec2", ANY, "vpc/*")],
            ),
            when(&asked_for, allow("Make", &of("ec2", &making), ours(&["*/*"]))),
            // With any call that makes something; which ones are allowed is said above.
            when(
                &json!({"StringLike": {"ec2:CreateAction": ANY}}),
                allow("Tag", &of("ec2", &["CreateTags"]), ours(&["*/*"])),
            ),
            when(&carried, allow("Change", &of("ec2", &CHANGES), ours(&["*/*"]))),
            // Of all tags, those of an ssh that has ended. Without a tag in the call it would be every one.
            when(
                &json!({
                    "StringLike": carried["StringLike"],
                    "ForAllValues:StringLike": {"aws:TagKeys": [format!("{}{ANY}", names::TAG_SSH)]},
                    "ForAnyValue:StringLike": {"aws:TagKeys": [format!("{}{ANY}", names::TAG_SSH)]},
                }),
                allow("Untag", &of("ec2", &["DeleteTags"]), ours(&["instance/*"])),
            ),
        ]
    }

    /// The instance's role. It can be passed to EC2 alone.
    ///
    /// Which condition keys each action knows is in <https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsidentityandaccessmanagementiam.html>.
    /// Making takes the tag in the request, and changing takes it on the role or profile. No key tells a tag of a new role from
    /// one of a role that stands (EC2 has `ec2:CreateAction`), so a role of our name without the tag can be given it.
    fn iam(&self) -> Vec<Value> {
        let region = self.region();
        let named = |kind: &str| match region {
            ANY => self.global("iam", &format!("{kind}/{}", names::common(ANY))),
            region => self.global("iam", &format!("{kind}/{}", names::role(ANY, region))),
        };
        let role = || vec![named("role")];
        // Each action is on one of the two alone. AWS takes no `*` in place of the kind.
        let both = || vec![named("instance-profile"), named("role")];
        let bounded = |mut condition: Value| {
            if let Some(boundary) = &self.boundary {
                condition["StringEquals"] = json!({"iam:PermissionsBoundary": boundary});
            }
            condition
        };
        vec![
            allow("LookAtRole", &of("iam", &ROLE_LOOKS), both()),
            when(&bounded(asked_for()), allow("MakeRole", &of("iam", &["CreateRole"]), role())),
            when(&asked_for(), allow("MakeProfile", &of("iam", &PROFILE_MAKES), both())),
            when(&bounded(carried()), allow("Grant", &of("iam", &ROLE_GRANTS), role())),
            when(&carried(), allow("Role", &of("iam", &ROLE), both())),
            // AWS does not tell a tag of the role that is passed:
            // <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html>
            when(
                &json!({"StringEquals": {"iam:PassedToService": self.ec2_service()}}),
                allow("PassRole", &of("iam", &["PassRole"]), role()),
            ),
        ]
    }

    /// Token and reports; and the parameters in which AWS keeps the newest images for everybody to read.
    fn ssm(&self) -> Vec<Value> {
        vec![
            allow(
                "Parameters",
                &of("ssm", &PARAMETERS),
                // The folder itself is what `list` asks for.
                ["parameter/devopsctl", "parameter/devopsctl/*"]
                    .map(|name| self.arn("ssm", self.account(), name))
                    .to_vec(),
            ),
            allow("Images", &of("ssm", &["GetParameters"]), vec![self.arn("ssm", "", "parameter/aws/service/*")]),
        ]
    }

    /// An ARN in S3 has no account, so its number in the bucket's name narrows it; where it is not known, AWS puts in
    /// that of whoever calls.
    fn bucket(&self) -> String {
        let account = self.account.as_deref().unwrap_or("${aws:PrincipalAccount}");
        format!("{}-{}*", names::common(account), self.region.as_deref().unwrap_or_default())
    }

    fn s3(&self) -> Vec<Value> {
        let bucket = self.resource("s3", "", "", &self.bucket());
        vec![
            allow("Bucket", &of("s3", &BUCKET), vec![bucket.clone()]),
            allow(
                "Objects",
                &of("s3", &["DeleteObject", "DeleteObjectVersion", "PutObject"]),
                vec![format!("{bucket}/*")],
            ),
            // For the notes on a release. AWS knows no right to these alone: who has it can read the release, too.
            allow(
                "Read",
                &of("s3", &["GetObject"]),
                vec![format!("{bucket}/*/releases/*"), format!("{bucket}/*/logs/*")],
            ),
        ]
    }

    /// Zones are global, and which one it will be only `deploy.yaml` knows. Of no batch can be said that its TXT record is
    /// so and its A record otherwise; but each of ours is of these types alone, and touches a mark.
    /// <https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/specifying-conditions-route53.html>
    fn route53(&self) -> Vec<Value> {
        let zones = || vec![self.resource("route53", "", "", "hostedzone/*")];
        let key = |what: &str| format!("route53:ChangeResourceRecordSets{what}");
        let ours = json!({
            "ForAllValues:StringEquals": {key("RecordTypes"): ["A", "TXT"]},
            "ForAnyValue:StringLike": {key("NormalizedRecordNames"): [names::record_mark(ANY)]},
        });
        vec![
            allow("LookIntoZones", &of("route53", &["ListResourceRecordSets"]), zones()),
            when(&ours, allow("Records", &of("route53", &["ChangeResourceRecordSets"]), zones())),
        ]
    }

    fn account(&self) -> &str {
        self.account.as_deref().unwrap_or(ANY)
    }

    fn region(&self) -> &str {
        self.region.as_deref().unwrap_or(ANY)
    }

    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>
    fn partition(&self) -> &'static str {
        let region = self.region();
        let known = [("cn-", "aws-cn"), ("us-gov-", "aws-us-gov"), ("eusc-", "aws-eusc")];
        known.iter().find(|(prefix, _)| region.starts_with(prefix)).map_or("aws", |(_, partition)| partition)
    }

    /// What IAM calls EC2 when a role is passed to it.
    fn ec2_service(&self) -> Vec<&'static str> {
        match self.partition() {
            "aws-cn" => vec!["ec2.amazonaws.com", "ec2.amazonaws.com.cn"],
            _ => vec!["ec2.amazonaws.com"],
        }
    }

    fn arn(&self, service: &str, account: &str, resource: &str) -> String {
        self.resource(service, self.region(), account, resource)
    }

    fn global(&self, service: &str, resource: &str) -> String {
        self.resource(service, "", self.account(), resource)
    }

    fn resource(&self, service: &str, region: &str, account: &str, resource: &str) -> String {
        format!("arn:{}:{service}:{region}:{account}:{resource}", self.partition())
    }
}

const LOOKS: [&str; 14] = [
    "DescribeAccountAttributes",
    "DescribeAddresses",
    "DescribeIamInstanceProfileAssociations",
    "DescribeImages",
    "DescribeInstanceCreditSpecifications",
    "DescribeInstanceTypeOfferings",
    "DescribeInstanceTypes",
    "DescribeInstances",
    "DescribeKeyPairs",
    "DescribeRouteTables",
    "DescribeSecurityGroups",
    "DescribeSubnets",
    "DescribeVolumes",
    "DescribeVpcBlockPublicAccessOptions",
];

const PLAN: [&str; 1] = ["GetAccountPlanState"];

const QUOTAS: [&str; 2] = ["GetAWSDefaultServiceQuota", "GetServiceQuota"];

/// A launch also needs the key pair and the security group.
const CHANGES: [&str; 15] = [
    "AssociateAddress",
    "AssociateIamInstanceProfile",
    "AuthorizeSecurityGroupIngress",
    "CreateTags",
    "DeleteKeyPair",
    "DeleteSecurityGroup",
    "DisassociateAddress",
    "DisassociateIamInstanceProfile",
    "ModifyInstanceCreditSpecification",
    "ModifyInstanceMetadataOptions",
    "ReleaseAddress",
    "RevokeSecurityGroupIngress",
    "RunInstances",
    "StartInstances",
    "TerminateInstances",
];

/// Also of a role that is not ours: its name is taken then.
const ROLE_LOOKS: [&str; 5] =
    ["GetInstanceProfile", "GetRole", "GetRolePolicy", "ListAttachedRolePolicies", "ListRolePolicies"];

/// Beside the role, what is given our tag when it is made.
const PROFILE_MAKES: [&str; 3] = ["CreateInstanceProfile", "TagInstanceProfile", "TagRole"];

/// The actions that give a role its rights.
const ROLE_GRANTS: [&str; 2] = ["PutRolePermissionsBoundary", "PutRolePolicy"];

const ROLE: [&str; 8] = [
    "AddRoleToInstanceProfile",
    "DeleteInstanceProfile",
    "DeleteRole",
    "DeleteRolePolicy",
    "DetachRolePolicy",
    "RemoveRoleFromInstanceProfile",
    "TagInstanceProfile",
    "TagRole",
];

const PARAMETERS: [&str; 8] = [
    "AddTagsToResource",
    "DeleteParameter",
    "DeleteParameters",
    "GetParameter",
    "GetParameters",
    "GetParametersByPath",
    "ListTagsForResource",
    "PutParameter",
];

const BUCKET: [&str; 8] = [
    "CreateBucket",
    "DeleteBucket",
    "GetBucketPolicy",
    "GetBucketPublicAccessBlock",
    "ListBucket",
    "ListBucketVersions",
    "PutBucketPolicy",
    "PutBucketPublicAccessBlock",
];

/// What is left of a statement for who only looks, but not into the token, the app's code and its log.
fn looking(mut statement: Value) -> Option<Value> {
    let looks = |action: &str| {
        let verb = action.split_once(':').map_or(action, |(_, verb)| verb);
        let secret = ["s3:GetObject", "ssm:GetParameter"].contains(&action);
        !secret && ["Describe", "Get", "List"].iter().any(|prefix| verb.starts_with(prefix))
    };
    let actions = statement["Action"].as_array_mut()?;
    actions.retain(|action| action.as_str().is_some_and(looks));
    (!actions.is_empty()).then_some(statement)
}

/// The token's version is told by the same call that would tell the token, if it could be decrypted:
/// <https://docs.aws.amazon.com/kms/latest/developerguide/services-parameter-store.html>
fn never_decrypt() -> Value {
    json!({"Sid": "NotTheToken", "Effect": "Deny", "Action": ["kms:Decrypt"], "Resource": [ANY]})
}

/// The condition that the call gives our tag.
fn asked_for() -> Value {
    json!({"StringLike": {format!("aws:RequestTag/{}", names::TAG_NAME): ANY}})
}

/// The condition that what is changed carries our tag.
fn carried() -> Value {
    json!({"StringLike": {format!("aws:ResourceTag/{}", names::TAG_NAME): ANY}})
}

fn of(service: &str, actions: &[&str]) -> Vec<String> {
    actions.iter().map(|action| format!("{service}:{action}")).collect()
}

fn allow(sid: &str, actions: &[String], resources: Vec<String>) -> Value {
    json!({"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources})
}

/// The statement holds under a condition only.
fn when(condition: &Value, mut statement: Value) -> Value {
    statement["Condition"] = condition.clone();
    statement
}

#[cfg(test)]
mod tests;
