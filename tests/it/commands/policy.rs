//! The policy that `policy` prints, and that it is sufficient for rare repairs.

use aws_sdk_ec2::types::{HttpTokensState, InstanceStateName};
use aws_sdk_ssm::config::Credentials;
use aws_sdk_ssm::error::ProvideErrorMetadata;
use devopsctl::aws::Aws;
use serde_json::Value;

use crate::console::{aws, control};
use crate::http::get;
use crate::project::Project;

const ROLE: &str = "devopsctl-hello-us-east-1";
/// The command line's user in the sandbox.
const USER: &str = "devopsctl";
const BUCKET: &str = "devopsctl-123456789012-us-east-1-an";

/// A project with a subnet in its `deploy.yaml`.
fn in_a_subnet() -> Project {
    let project = Project::example();
    crate::project::install_emulator();
    project.ok("sandbox start");
    let subnet = aws(&project, async |aws| {
        let subnets = aws.ec2.describe_subnets().send().await.unwrap();
        subnets.subnets()[0].subnet_id().unwrap().to_owned()
    });
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &format!("{text}\nnetwork: {{subnet: {subnet}}}\n"));
    project
}

/// The only instance.
async fn instance(aws: &Aws) -> aws_sdk_ec2::types::Instance {
    let found = aws.ec2.describe_instances().send().await.unwrap();
    found.reservations()[0].instances()[0].clone()
}

#[test]
fn the_policy_is_printed_without_a_call() {
    let project = Project::alone();
    let policy: Value = serde_json::from_str(&project.ok("policy --account 123456789012 --region eu-west-1")).unwrap();
    let text = policy["Statement"].to_string();
    assert!(text.contains("arn:aws:iam::123456789012:role/devopsctl-*-eu-west-1"), "{text}");
    assert!(text.contains("arn:aws:ssm:eu-west-1:123456789012:parameter/devopsctl/*"), "{text}");
    assert!(project.ok("policy").contains("devopsctl-${aws:PrincipalAccount}-*"));
    // The policy of the command line in the sandbox.
    assert!(project.ok("policy --sandbox").contains("arn:aws:s3:::devopsctl-123456789012-*"));
    project.run("policy --account 1234").code(2).says("an account id has 12 digits");
    assert!(project.processes().is_empty());
}

#[test]
#[ignore = "slow"]
fn a_required_boundary_is_set_and_restored() {
    let project = Project::example();
    project.ok("sandbox start");
    let document = project.ok("policy --sandbox --boundary-document");
    let boundary = aws(&project, async |aws| {
        let made = aws.iam.create_policy().policy_name("boundary").policy_document(document).send().await.unwrap();
        made.policy.unwrap().arn.unwrap()
    });
    let policy = project.ok(&format!("policy --sandbox --boundary {boundary}"));
    aws(&project, async |aws| {
        let put = aws.iam.put_user_policy().user_name(USER).policy_name(USER).policy_document(policy);
        put.send().await.unwrap();
    });
    project.run("up --sandbox").code(5).says("iam:CreateRole says AccessDenied").says("permissions_boundary");
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &format!("{text}\npermissions_boundary: {boundary}\n"));
    let url = project.up();
    assert_eq!(get(&url, Some(&project.token())).status, 200);
    // An administrator can remove it; the instance still has all permissions that it needs.
    aws(&project, async |aws| {
        aws.iam.delete_role_permissions_boundary().role_name(ROLE).send().await.unwrap();
    });
    project.run("plan --sandbox").code(3).says("its permissions boundary is missing or different");
    project.up();
    let found = aws(&project, async |aws| aws.iam.get_role().role_name(ROLE).send().await.unwrap().role.unwrap());
    assert_eq!(found.permissions_boundary.unwrap().permissions_boundary_arn.unwrap(), boundary);
    project.run("plan --sandbox").code(0);
    project.ok("set-token --sandbox --generate");
    assert_eq!(get(&url, Some(&project.token())).status, 200);
    project.ok("down --sandbox --yes");
    project.run("policy --boundary x").code(2).says("the ARN of a managed policy looks like");
}

#[test]
fn the_plan_policy_allows_only_plan() {
    let project = Project::example();
    project.ok("up --sandbox --no-wait");
    let policy = project.ok("policy --plan --sandbox");
    // The policy of a pull request's role in CI.
    aws(&project, async |aws| {
        let put = aws.iam.put_user_policy().user_name(USER).policy_name(USER).policy_document(policy);
        put.send().await.unwrap();
    });
    project.run("plan --sandbox").code(0).says("already up to date");
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &format!("{text}\nnetwork: {{https: off, port: 8080}}\n"));
    project.run("plan --sandbox").code(3).says("~ ingress");
    // Both start concurrently, and the first failure is reported.
    let up = project.run("up --sandbox --yes").code(5).says("✗ release").says("✗ ingress");
    let refusals = ["SecurityGroupIngress says UnauthorizedOperation", "s3:PutObject says AccessDenied"];
    assert!(refusals.iter().any(|refusal| up.stderr.contains(refusal)), "{}", up.stderr);
    project.run("token --sandbox").code(5).says("ssm:GetParameter");
    project.run("down --sandbox --yes").code(5);
}

#[test]
fn the_policy_allows_rare_repairs() {
    let project = in_a_subnet();
    project.ok("up --sandbox --no-wait");
    // An administrator weakens the metadata options, deletes the profile, stops the machine and opens the bucket.
    aws(&project, async |aws| {
        let id = instance(&aws).await.instance_id.unwrap();
        let lax = aws.ec2.modify_instance_metadata_options().instance_id(&id).http_tokens(HttpTokensState::Optional);
        lax.send().await.unwrap();
        aws.iam.remove_role_from_instance_profile().instance_profile_name(ROLE).role_name(ROLE).send().await.unwrap();
        aws.iam.delete_instance_profile().instance_profile_name(ROLE).send().await.unwrap();
        aws.ec2.stop_instances().instance_ids(&id).send().await.unwrap();
        aws.s3.delete_public_access_block().bucket(BUCKET).send().await.unwrap();
    });
    project.ok("up --sandbox --no-wait");
    aws(&project, async |aws| {
        let instance = instance(&aws).await;
        assert_eq!(instance.metadata_options.unwrap().http_tokens, Some(HttpTokensState::Required));
        assert_eq!(instance.state.unwrap().name, Some(InstanceStateName::Running));
        let profile = aws.iam.get_instance_profile().instance_profile_name(ROLE).send().await.unwrap();
        let id = profile.instance_profile.unwrap().instance_profile_id;
        assert_eq!(instance.iam_instance_profile.unwrap().id, Some(id));
        let block = aws.s3.get_public_access_block().bucket(BUCKET).send().await.unwrap();
        assert_eq!(block.public_access_block_configuration.unwrap().restrict_public_buckets, Some(true));
    });
    // An administrator gives the role more permissions. `down` deletes it all the same.
    aws(&project, async |aws| {
        let document =
            r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}}"#;
        let made = aws.iam.create_policy().policy_name("more").policy_document(document).send().await.unwrap();
        let arn = made.policy.unwrap().arn.unwrap();
        aws.iam.attach_role_policy().role_name(ROLE).policy_arn(arn).send().await.unwrap();
        let inline = aws.iam.put_role_policy().role_name(ROLE).policy_name("more").policy_document(document);
        inline.send().await.unwrap();
    });
    project.ok("down --sandbox --yes");
    let roles = aws(&project, async |aws| aws.iam.list_roles().send().await.unwrap());
    assert!(roles.roles().is_empty(), "{roles:?}");
}

#[test]
fn an_instance_cannot_read_the_token_and_secrets_of_another_deployment() {
    let project = Project::example();
    project.ok("up --sandbox --no-wait");
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("other.yaml", &text.replace("name: hello", "name: other"));
    project.ok("set-token --sandbox --generate --file other.yaml");
    project.ok("secrets set --sandbox --generate KEY --file other.yaml");
    project.ok("secrets set --sandbox --generate --no-restart KEY");
    let id = aws(&project, async |aws| instance(&aws).await.instance_id.unwrap());
    let keys: Value = serde_json::from_str(&control(&project, &format!("credentials?instance={id}"))).unwrap();
    let key = |name: &str| keys[name].as_str().unwrap().to_owned();
    let credentials =
        Credentials::new(key("AccessKeyId"), key("SecretAccessKey"), Some(key("Token")), None, "the instance's role");
    let said = aws(&project, async |aws| {
        let config = aws.ssm.config().to_builder().credentials_provider(credentials).build();
        let ssm = aws_sdk_ssm::Client::from_conf(config);
        let own = ssm.get_parameter().name("/devopsctl/hello/token").with_decryption(true).send().await;
        assert!(own.is_ok(), "{own:?}");
        let all = |path: &str| ssm.get_parameters_by_path().path(path).recursive(true).with_decryption(true).send();
        let own = all("/devopsctl/hello/secrets").await.unwrap();
        assert_eq!(own.parameters().len(), 1, "{own:?}");
        let mut said = Vec::new();
        for path in ["/devopsctl/other/secrets", "/devopsctl/hello", "/devopsctl"] {
            said.push(all(path).await.unwrap_err().code().map(str::to_owned));
        }
        let other = ssm.get_parameter().name("/devopsctl/other/token").with_decryption(true).send().await;
        said.push(other.unwrap_err().code().map(str::to_owned));
        said
    });
    assert!(said.iter().all(|code| code.as_deref() == Some("AccessDeniedException")), "{said:?}");
    project.ok("down --sandbox --yes --file other.yaml");
}
