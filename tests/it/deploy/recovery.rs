//! Every command when the app is broken, the local state is lost, or a resource was deleted manually: each reports it,
//! `up` repairs it, and `down` leaves nothing.

use std::fs;

use aws_sdk_ssm::types::ParameterType;
use devopsctl::aws::Aws;

use crate::error_snapshots::account::{Account, instance};

const ROLE: &str = "devopsctl-hello-us-east-1";
const BUCKET: &str = "devopsctl-123456789012-us-east-1-an";
const TOKEN: &str = "/devopsctl/hello/token";

/// The read-only commands. `logs` waits for an instance and has its own tests.
const LOOKING: [&str; 9] = ["status", "status --json", "plan", "token", "open", "releases", "list", "cost", "rollback"];

/// Damages a deployment, then runs every command.
#[track_caller]
fn survived(account: &Account, harm: impl FnOnce(&Account)) {
    account.stand();
    harm(account);
    for line in LOOKING {
        let ran = account.run(line);
        let told = ran.stderr.contains("help: ");
        assert!(matches!(ran.code, 0 | 3 | 4) || (ran.code == 1 && told), "{}", ran.shown());
        assert!(!ran.stderr.contains("devopsctl itself failed"), "{}", ran.shown());
    }
    // A token can be set in every state.
    account.run("set-token --generate --no-wait").ok();
    account.run("up --no-wait --yes").ok();
    account.run("plan").ok();
    account.run("down --yes").ok();
    let left = account.run("status").code(4);
    assert!(left.stdout.contains("not deployed"), "{}", left.shown());
}

/// The same for `down` only, without a repair before it.
#[track_caller]
fn removed(account: &Account, harm: impl FnOnce(&Account)) {
    account.stand();
    harm(account);
    account.run("down --yes").ok();
    let left = account.run("status").code(4);
    assert!(left.stdout.contains("not deployed"), "{}", left.shown());
}

async fn terminated(aws: &Aws) {
    let id = instance(aws).await;
    aws.ec2.terminate_instances().instance_ids(&id).send().await.unwrap();
}

async fn without_a_group(aws: &Aws) {
    terminated(aws).await;
    aws.ec2.delete_security_group().group_name("devopsctl-hello").send().await.unwrap();
}

async fn without_a_role(aws: &Aws) {
    aws.iam.remove_role_from_instance_profile().instance_profile_name(ROLE).role_name(ROLE).send().await.unwrap();
    aws.iam.delete_instance_profile().instance_profile_name(ROLE).send().await.unwrap();
    aws.iam.delete_role_policy().role_name(ROLE).policy_name(ROLE).send().await.unwrap();
    aws.iam.delete_role().role_name(ROLE).send().await.unwrap();
}

async fn without_an_address(aws: &Aws) {
    let found = aws.ec2.describe_addresses().send().await.unwrap();
    let address = &found.addresses()[0];
    aws.ec2.disassociate_address().association_id(address.association_id().unwrap()).send().await.unwrap();
    aws.ec2.release_address().allocation_id(address.allocation_id().unwrap()).send().await.unwrap();
}

async fn without_objects(aws: &Aws) {
    let found = aws.s3.list_objects_v2().bucket(BUCKET).send().await.unwrap();
    for object in found.contents() {
        aws.s3.delete_object().bucket(BUCKET).key(object.key().unwrap()).send().await.unwrap();
    }
}

async fn without_a_bucket(aws: &Aws) {
    without_objects(aws).await;
    aws.s3.delete_bucket().bucket(BUCKET).send().await.unwrap();
}

async fn without_a_token(aws: &Aws) {
    aws.ssm.delete_parameter().name(TOKEN).send().await.unwrap();
}

async fn without_a_key(aws: &Aws) {
    aws.ec2.delete_key_pair().key_name("devopsctl-hello").send().await.unwrap();
}

async fn with_an_unreadable_token(aws: &Aws) {
    aws.ssm.put_parameter().name(TOKEN).value("by hand").overwrite(true).send().await.unwrap();
}

/// The report of an app that never became healthy.
async fn with_a_broken_app(aws: &Aws) {
    let name = format!("/devopsctl/hello/report/{}", instance(aws).await);
    let report =
        r#"{"v": 1, "phase": "failed", "healthy": false, "error": "it does not load", "log_tail": "oh", "at": 9}"#;
    aws.ssm.put_parameter().name(name).value(report).r#type(ParameterType::String).send().await.unwrap();
}

/// The report of an agent of another version.
async fn with_an_unreadable_report(aws: &Aws) {
    let name = format!("/devopsctl/hello/report/{}", instance(aws).await);
    aws.ssm.put_parameter().name(name).value("no JSON").r#type(ParameterType::String).send().await.unwrap();
}

/// As on another machine, or after the local state was deleted.
fn nothing_here(account: &Account) {
    fs::remove_dir_all(account.project.state().join("devopsctl/keys")).unwrap();
}

#[test]
#[ignore = "slow"]
fn the_instance_or_a_resource_it_needs_was_deleted() {
    let account = Account::start();
    survived(&account, |account| account.console(async |aws| terminated(&aws).await));
    survived(&account, |account| account.console(async |aws| without_a_group(&aws).await));
    survived(&account, |account| account.console(async |aws| without_a_role(&aws).await));
    survived(&account, |account| account.console(async |aws| without_an_address(&aws).await));
}

#[test]
#[ignore = "slow"]
fn stored_data_was_deleted_or_overwritten() {
    let account = Account::start();
    survived(&account, |account| account.console(async |aws| without_objects(&aws).await));
    survived(&account, |account| account.console(async |aws| without_a_bucket(&aws).await));
    survived(&account, |account| account.console(async |aws| without_a_token(&aws).await));
    survived(&account, |account| account.console(async |aws| without_a_key(&aws).await));
    survived(&account, |account| account.console(async |aws| with_an_unreadable_token(&aws).await));
}

#[test]
#[ignore = "slow"]
fn the_app_is_broken_or_the_local_state_is_lost() {
    let account = Account::start();
    survived(&account, |account| account.console(async |aws| with_a_broken_app(&aws).await));
    survived(&account, |account| account.console(async |aws| with_an_unreadable_report(&aws).await));
    survived(&account, nothing_here);
}

#[test]
#[ignore = "slow"]
fn down_removes_the_rest_of_a_damaged_deployment() {
    let account = Account::start();
    removed(&account, |account| account.console(async |aws| without_a_group(&aws).await));
    removed(&account, |account| account.console(async |aws| without_a_role(&aws).await));
    removed(&account, |account| account.console(async |aws| without_an_address(&aws).await));
    removed(&account, |account| account.console(async |aws| without_a_bucket(&aws).await));
    removed(&account, |account| account.console(async |aws| without_a_token(&aws).await));
    removed(&account, |account| account.console(async |aws| without_a_key(&aws).await));
    removed(&account, |account| account.console(async |aws| with_an_unreadable_token(&aws).await));
    removed(&account, |account| account.console(async |aws| with_a_broken_app(&aws).await));
    removed(&account, nothing_here);
    // Everything together, then a forgotten deployment.
    removed(&account, |account| {
        account.console(async |aws| {
            without_a_group(&aws).await;
            without_a_role(&aws).await;
            without_a_bucket(&aws).await;
            without_a_token(&aws).await;
            without_a_key(&aws).await;
        });
        nothing_here(account);
    });
}
