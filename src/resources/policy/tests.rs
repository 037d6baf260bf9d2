//! The permissions of the printed policies, and their length.

use super::*;

/// Statements about resources without an owner: other statements limit a launch.
const NOT_OURS: [&str; 2] = ["Look", "From"];

fn scopes() -> Vec<Scope> {
    let account = Some("123456789012".to_owned());
    let regions = [None, Some("ap-southeast-3"), Some("cn-northwest-1"), Some("us-gov-east-1")];
    let narrowed =
        regions.map(|region| Scope { account: account.clone(), region: region.map(str::to_owned), ..Scope::default() });
    let boundary = Some(format!("arn:aws-us-gov:iam::123456789012:policy/{}", "b".repeat(32)));
    let bounded = narrowed.clone().map(|scope| Scope { boundary: boundary.clone(), ..scope });
    [vec![Scope::default()], narrowed.to_vec(), bounded.to_vec()].concat()
}

fn statements(policy: &Value) -> &Vec<Value> {
    policy["Statement"].as_array().unwrap()
}

fn texts<'a>(statement: &'a Value, key: &str) -> Vec<&'a str> {
    statement[key].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

fn resources(scope: &Scope, sid: &str) -> Vec<String> {
    let policy = scope.policy();
    let statement = statements(&policy).iter().find(|statement| statement["Sid"] == sid).unwrap();
    texts(statement, "Resource").into_iter().map(str::to_owned).collect()
}

#[test]
fn it_fits_into_a_managed_policy() {
    for scope in scopes() {
        let size = scope.policy().to_string().len();
        assert!(size <= LARGEST_MANAGED_POLICY, "{scope:?}: {size}");
    }
}

#[test]
fn every_action_is_named_in_full() {
    for statement in statements(&Scope::default().policy()) {
        for action in texts(statement, "Action") {
            assert!(!action.contains(['*', '?']), "{action}");
        }
    }
}

#[test]
fn changes_are_limited_to_our_resources() {
    let reads = |action: &str| {
        let verb = action.split_once(':').unwrap().1;
        ["Describe", "Get", "List"].iter().any(|prefix| verb.starts_with(prefix))
    };
    for scope in scopes() {
        for statement in statements(&scope.policy()) {
            let sid = statement["Sid"].as_str().unwrap();
            if NOT_OURS.contains(&sid) || texts(statement, "Action").into_iter().all(reads) {
                continue;
            }
            let conditions = statement["Condition"].to_string();
            let ours = ["devopsctl:name", "ec2:CreateAction", "_devopsctl."];
            let condition = ours.iter().any(|mark| conditions.contains(mark));
            // An ARN without an account is one of the caller's own account, or of one that allowed the caller.
            let global = |resource: &str| [":s3:::", ":route53:::"].iter().any(|part| resource.contains(part));
            for resource in texts(statement, "Resource") {
                assert!(condition || resource.contains("devopsctl"), "{sid}: {resource}");
                assert!(resource.contains(scope.account()) || global(resource), "{sid}: {resource}");
            }
        }
    }
}

#[test]
fn the_policy_of_plan_changes_nothing_and_reads_no_secret() {
    let policy = Scope { plan: true, ..Scope::default() }.policy();
    let (denied, allowed): (Vec<_>, Vec<_>) = statements(&policy).iter().partition(|one| one["Effect"] == "Deny");
    assert_eq!(denied.len(), 1);
    assert_eq!(texts(denied[0], "Action"), ["kms:Decrypt"]);
    for action in allowed.iter().flat_map(|statement| texts(statement, "Action")) {
        let verb = action.split_once(':').unwrap().1;
        assert!(["Describe", "Get", "List"].iter().any(|prefix| verb.starts_with(prefix)), "{action}");
        assert!(!["s3:GetObject", "ssm:GetParameter"].contains(&action), "{action}");
    }
}

#[test]
fn with_a_boundary_no_role_is_created_or_given_rights_without_it() {
    let arn = "arn:aws:iam::123456789012:policy/b";
    let grants = ["iam:AttachRolePolicy", "iam:CreateRole", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy"];
    let policy = Scope { boundary: Some(arn.into()), ..Scope::default() }.policy();
    for statement in statements(&policy) {
        for action in texts(statement, "Action") {
            assert_ne!(action, "iam:DeleteRolePermissionsBoundary");
            let bounded = statement["Condition"]["StringEquals"]["iam:PermissionsBoundary"] == arn;
            assert_eq!(bounded, grants.contains(&action), "{action}");
        }
    }
}

/// A role has the permissions that both its policy and its boundary allow.
#[test]
fn the_boundary_covers_the_policy_of_every_role() {
    for scope in scopes() {
        let boundary = scope.boundary_document();
        let (account, region) = ("123456789012", scope.region.as_deref().unwrap_or("eu-west-1"));
        let (bucket, _) = names::bucket(account, region);
        let role = role::policy(scope.partition(), account, region, "hello", &bucket);
        for (wanted, given) in statements(&role).iter().zip(statements(&boundary)) {
            assert_eq!(wanted["Action"], given["Action"]);
            let pattern = given["Resource"].as_str().unwrap().replace("${aws:PrincipalAccount}", account);
            let pattern = format!("^{}$", regex::escape(&pattern).replace(r"\*", ".*"));
            let resource = wanted["Resource"].as_str().unwrap();
            assert!(regex::Regex::new(&pattern).unwrap().is_match(resource), "{pattern}: {resource}");
        }
        assert_eq!(statements(&role).len(), statements(&boundary).len());
    }
}

#[test]
fn names_of_all_regions_or_of_one_are_covered() {
    let account = Some("123456789012".to_owned());
    let all = Scope { account: account.clone(), ..Scope::default() };
    let one = Scope { account, region: Some("eu-west-1".into()), ..Scope::default() };
    assert_eq!(resources(&all, "PassRole"), ["arn:aws:iam::123456789012:role/devopsctl-*"]);
    assert_eq!(resources(&one, "PassRole"), ["arn:aws:iam::123456789012:role/devopsctl-*-eu-west-1"]);
    assert_eq!(names::role("hello", "eu-west-1"), "devopsctl-hello-eu-west-1");
    assert_eq!(resources(&all, "Grant"), ["arn:aws:iam::123456789012:role/devopsctl-*"]);
    assert_eq!(resources(&one, "Grant"), ["arn:aws:iam::123456789012:role/devopsctl-*-eu-west-1*"]);
    assert_eq!(names::app_role("hello", "eu-west-1"), "devopsctl-hello-eu-west-1-app");
    assert_eq!(resources(&all, "Bucket"), ["arn:aws:s3:::devopsctl-123456789012-*"]);
    assert_eq!(resources(&one, "Bucket"), ["arn:aws:s3:::devopsctl-123456789012-eu-west-1*"]);
    assert_eq!(names::bucket("123456789012", "eu-west-1").0, "devopsctl-123456789012-eu-west-1-an");
    assert_eq!(
        resources(&one, "Parameters"),
        [
            "arn:aws:ssm:eu-west-1:123456789012:parameter/devopsctl",
            "arn:aws:ssm:eu-west-1:123456789012:parameter/devopsctl/*"
        ]
    );
    assert_eq!(names::token_parameter("hello"), "/devopsctl/hello/token");
    assert_eq!(names::report_path("hello"), "/devopsctl/hello/report");
}

#[test]
fn without_an_account_the_bucket_is_still_the_callers_own() {
    assert_eq!(resources(&Scope::default(), "Bucket"), ["arn:aws:s3:::devopsctl-${aws:PrincipalAccount}-*"]);
}

#[test]
fn other_partitions_have_their_own_arns() {
    let china = Scope { region: Some("cn-north-1".into()), ..Scope::default() };
    assert!(resources(&china, "Make").iter().all(|arn| arn.starts_with("arn:aws-cn:ec2:cn-north-1:")));
}
