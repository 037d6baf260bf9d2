//! Resources that exist or are missing, and cause an error.

use std::fs;
use std::process::Child;
use std::time::UNIX_EPOCH;

use aws_sdk_ec2::types::Tag;
use aws_sdk_route53::types::{Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType};
use aws_sdk_s3::types::MetadataDirective;
use aws_sdk_ssm::types::ParameterType;
use devopsctl::aws::Aws;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::account::{Account, instance};
use super::keep;
use crate::console::fault;
use crate::project::{Ran, until};

const BUCKET: &str = "devopsctl-123456789012-us-east-1-an";
const TOKEN: &str = "/devopsctl/hello/token";

#[test]
fn what_cannot_be_launched() {
    let account = Account::start();
    account.reset();
    account.deploy("instance: {type: t9.micro}");
    account.shown("a_type_that_is_not_there", "up --no-wait", 1);
    account.deploy("instance: {type: t2.micro}");
    account.shown("a_type_before_nitro", "up --no-wait", 1);
    let subnet = account.console(async |aws| {
        let vpc = aws.ec2.create_vpc().cidr_block("10.9.0.0/16").send().await.unwrap().vpc.unwrap().vpc_id.unwrap();
        let subnet = aws.ec2.create_subnet().vpc_id(vpc).cidr_block("10.9.0.0/24").send().await.unwrap();
        subnet.subnet.unwrap().subnet_id.unwrap()
    });
    account.deploy(&format!("network: {{subnet: {subnet}}}"));
    account.shown("a_subnet_without_a_way_out", "up --no-wait", 1);
}

#[test]
fn what_is_not_there() {
    let account = Account::start();
    account.shown("no_token_yet", "token", 1);
    let secrets = "name: hello\nregion: us-east-1\napp: {path: app, secrets: [DATABASE_URL, MAIL_PASSWORD]}\n";
    account.project.file("deploy.yaml", secrets);
    account.shown("secrets_that_are_missing", "up --no-wait", 1);
    let secrets = "name: hello\nregion: us-east-1\napp: {path: app, secrets: [{DATABASE_URL: ssm:/shared/db}]}\n";
    account.project.file("deploy.yaml", secrets);
    account.shown("secrets_elsewhere_that_are_missing", "up --no-wait", 1);
    let arn = "secretsmanager:arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCd12";
    account.project.file("deploy.yaml", &secrets.replace("ssm:/shared/db", arn));
    account.shown("a_secret_of_another_region", "up --no-wait", 2);
    account.deploy("");
    account.shown("a_secret_that_is_not_set", "secrets get DATABASE_URL", 1);
    account.project.file(".env", "DATABASE_URL=not-for-your-eyes\n");
    account.run("secrets import .env").ok();
    account.project.file(".env", "DATABASE_URL=nor-this\n");
    account.shown("secrets_that_would_be_overwritten", "secrets import .env", 2);
    account.shown("no_log_without_an_instance", "logs", 1);
    account.shown("nothing_to_open", "open", 1);
    account.shown("nothing_to_go_back_to", "rollback", 1);
    account.shown("no_such_release", "rollback 0123abcd", 2);
    account.stand();
    account.shown("a_release_named_too_shortly", "rollback 01", 2);
    account.shown("nothing_ran_before", "rollback", 1);
    account.console(async |aws| {
        let previous = Tag::builder().key("devopsctl:previous").value("0123456789abcdef".repeat(4)).build();
        aws.ec2.create_tags().resources(instance(&aws).await).tags(previous).send().await.unwrap();
    });
    account.shown("a_release_that_is_gone", "rollback", 1);
    account.shown("no_terminal_to_ask_on", "down", 2);
    account.console(async |aws| {
        aws.ec2.stop_instances().instance_ids(instance(&aws).await).send().await.unwrap();
    });
    let all: Value = serde_json::from_str(&account.run("releases --json").ok().stdout).unwrap();
    let release = all["releases"][0]["id"].as_str().unwrap_or_default().to_owned();
    let ran = account.run(&format!("rollback {}", &release[..12])).code(1);
    keep(&account.project, "a_rollback_of_what_is_off", ran);
    account.console(async |aws| {
        aws.ec2.terminate_instances().instance_ids(instance(&aws).await).send().await.unwrap();
        aws.ssm.delete_parameter().name(TOKEN).send().await.unwrap();
    });
    let ran = account.run(&format!("rollback {}", &release[..12])).code(1);
    keep(&account.project, "a_rollback_without_an_instance", ran);
    account.stand();
    account.console(async |aws| {
        aws.ssm.put_parameter().name(TOKEN).value("by hand").overwrite(true).send().await.unwrap();
    });
    account.shown("a_token_by_hand", "token", 1);
}

#[test]
fn what_is_somebody_elses() {
    let account = Account::start();
    account.console(async |aws| {
        aws.ec2.create_security_group().group_name("devopsctl-hello").description("theirs").send().await.unwrap();
    });
    account.shown("a_group_that_is_not_ours", "up --no-wait", 1);
    account.reset();
    account.console(async |aws| {
        let trust = r#"{"Version":"2012-10-17","Statement":[]}"#;
        aws.iam.create_role().role_name("theirs").assume_role_policy_document(trust).send().await.unwrap();
        aws.iam.create_instance_profile().instance_profile_name("theirs").send().await.unwrap();
        let join = aws.iam.add_role_to_instance_profile().instance_profile_name("theirs").role_name("theirs");
        join.send().await.unwrap();
    });
    fault(&account.project, "attach-profile?profile=theirs");
    account.shown("a_profile_that_is_not_ours", "up --no-wait", 1);
    fault(&account.project, "attach-profile");
}

#[test]
fn launches_that_are_accepted_and_die() {
    let account = Account::start();
    for (name, code, words) in [
        ("a_launch_that_dies_of_the_disk_limit", "Client.VolumeLimitExceeded", "Volume+limit+exceeded"),
        (
            "a_launch_that_dies_of_the_key",
            "Client.InvalidKMSKey.InvalidState",
            "The+KMS+key+provided+is+in+an+incorrect+state",
        ),
        ("a_launch_that_dies_of_capacity", "Server.InsufficientInstanceCapacity", "There+is+not+enough+capacity"),
        ("a_launch_that_dies_of_something", "Server.InternalError", "Internal+error+on+launch"),
    ] {
        account.reset();
        // The launch fails after a moment.
        fault(&account.project, "delays?pending=0.3");
        fault(&account.project, &format!("fail-launch?code={code}&message={words}"));
        account.shown(name, "up --no-wait", 1);
    }
}

#[test]
fn releases_that_cannot_run() {
    let account = Account::start();
    account.stand();
    let id = account.console(async |aws| instance(&aws).await);
    report(&account, &id, true, Value::Null);
    let all: Value = serde_json::from_str(&account.run("releases --json").ok().stdout).unwrap();
    let first = all["releases"][0]["id"].as_str().unwrap().to_owned();
    // Releases of the same second have no order.
    let at = all["releases"][0]["at"].as_u64().unwrap();
    until(5, "another second", || (UNIX_EPOCH.elapsed().unwrap().as_secs() > at).then_some(()));
    // A release for another Python; and two with the same first characters.
    for (id, target) in [("beef1".repeat(13), "python3.2 vax"), ("beef2".repeat(13), "")] {
        let (from, to) =
            (format!("{BUCKET}/hello/releases/{first}.tar.gz"), format!("hello/releases/{}.tar.gz", &id[..64]));
        account.console(async |aws| {
            let copy = aws.s3.copy_object().bucket(BUCKET).copy_source(from).key(to);
            let copy = copy.metadata_directive(MetadataDirective::Replace).metadata("target", target);
            copy.metadata("what", "").send().await.unwrap();
        });
    }
    account.shown("a_release_that_does_not_fit", "rollback beef1", 1);
    account.shown("several_releases_that_begin_so", "rollback beef", 2);
}

fn record(name: &str, kind: RrType, value: &str) -> ResourceRecordSet {
    let value = ResourceRecord::builder().value(value).build().unwrap();
    ResourceRecordSet::builder().name(name).r#type(kind).ttl(60).resource_records(value).build().unwrap()
}

async fn zone(aws: &Aws, reference: &str) -> String {
    let made = aws.route53.create_hosted_zone().name("example.com").caller_reference(reference).send().await.unwrap();
    made.hosted_zone.unwrap().id
}

async fn change(aws: &Aws, zone: &str, action: ChangeAction, set: ResourceRecordSet) {
    let change = Change::builder().action(action).resource_record_set(set).build().unwrap();
    let batch = ChangeBatch::builder().changes(change).build().unwrap();
    aws.route53.change_resource_record_sets().hosted_zone_id(zone).change_batch(batch).send().await.unwrap();
}

#[test]
fn names_in_route_53() {
    let account = Account::start();
    account.deploy("network: {domain: app.example.com, dns: route53}");
    account.shown("a_name_without_a_zone", "up --no-wait", 1);
    let id = account.console(async |aws| zone(&aws, "one").await);
    for (name, kind, owner, value) in [
        ("a_record_that_is_not_ours", RrType::Cname, "app.example.com", "elsewhere.example.com"),
        ("a_record_of_ipv6", RrType::Aaaa, "app.example.com", "2001:db8::1"),
        (
            "another_deployments_name",
            RrType::Txt,
            "_devopsctl.app.example.com",
            "\"devopsctl: shop in eu-west-1, for 192.0.2.7\"",
        ),
    ] {
        let set = record(owner, kind, value);
        account.console(async |aws| change(&aws, &id, ChangeAction::Create, set.clone()).await);
        keep(&account.project, name, blurred(&account.run("up --no-wait").code(1), &id));
        account.console(async |aws| change(&aws, &id, ChangeAction::Delete, set).await);
    }
    let second = account.console(async |aws| zone(&aws, "two").await);
    let ran = blurred(&account.run("up --no-wait").code(1), &id);
    keep(&account.project, "a_name_with_two_zones", blurred(&ran, &second));
}

/// The output without the zone's id, whose length varies.
fn blurred(ran: &Ran, zone: &str) -> Ran {
    ran.with(|text| text.replace(zone.trim_start_matches("/hostedzone/"), "Z0123456789ABC"))
}

#[test]
#[ignore = "slow"]
fn files_on_this_machine() {
    let account = Account::start();
    let state = account.project.state().join("devopsctl");
    let keys = state.join("keys/123456789012/us-east-1");
    fs::create_dir_all(&keys).unwrap();
    fs::write(keys.join("hello"), "no key").unwrap();
    account.shown("a_key_that_is_none", "up --no-wait", 1);
    fs::remove_file(keys.join("hello")).unwrap();
    // A folder cannot be deleted as a file.
    account.stand();
    fs::remove_file(keys.join("hello")).unwrap();
    fs::create_dir(keys.join("hello")).unwrap();
    account.shown("a_key_that_cannot_be_deleted", "down --yes", 1);
    // A cache that contains only releases, and no package index.
    account.reset();
    fs::remove_dir(keys.join("hello")).unwrap();
    let cache = account.project.folder().join("cache");
    let packages = fs::canonicalize(devopsctl::base::dirs::cache().unwrap().join("..")).unwrap().join("uv");
    // The first one resolves the requirements.
    for _ in 0..2 {
        let mut plan = account.typed("plan");
        let built = plan.env("XDG_CACHE_HOME", &cache).env("UV_CACHE_DIR", &packages).output().unwrap();
        assert_eq!(built.status.code(), Some(3), "{built:?}");
    }
    let mut up = account.typed("up --no-wait");
    let up = up.env("XDG_CACHE_HOME", &cache).env("UV_CACHE_DIR", cache.join("uv")).env("UV_OFFLINE", "1");
    let ran = Ran::new("up", &up.output().unwrap()).code(1);
    keep(&account.project, "caddy_cannot_be_had", ran);
    // The lock is a folder here, which cannot be deleted as a file.
    for lock in fs::read_dir(cache.join("devopsctl/locks")).unwrap() {
        let lock = lock.unwrap().path();
        fs::remove_file(&lock).unwrap();
        fs::create_dir(&lock).unwrap();
    }
    let mut upgrade = account.typed("up --upgrade");
    let ran = Ran::new("up --upgrade", &upgrade.env("XDG_CACHE_HOME", &cache).output().unwrap()).code(1);
    keep(&account.project, "a_cache_that_cannot_be_used", ran);
}

/// Runs a command, does `work` while it waits for the instance, and stores its error.
#[track_caller]
fn meanwhile(account: &Account, name: &str, line: &str, code: i32, work: impl FnOnce(&Child, String)) {
    let calls = || account.log().matches("\"GetParameter\"").count();
    let before = calls();
    let child = account.typed(line).spawn().unwrap();
    let found = until(60, "an instance that has its role", || {
        account.console(async |aws| {
            let found = aws.ec2.describe_iam_instance_profile_associations().send().await.unwrap();
            found.iam_instance_profile_associations().first().and_then(|one| one.instance_id.clone())
        })
    });
    // All steps are done, and the command reads the report.
    until(60, "the report is asked for again and again", || (calls() > before + 5).then_some(()));
    work(&child, found);
    keep(&account.project, name, Ran::new(line, &child.wait_with_output().unwrap()).code(code));
}

#[test]
#[ignore = "slow"]
fn an_instance_that_does_not_show_its_log() {
    let account = Account::start();
    account.stand();
    account.shown("a_silent_log", "logs", 4);
}

#[test]
#[ignore = "slow"]
fn an_instance_that_does_not_see_what_is_new() {
    let account = Account::start();
    account.stand();
    let found = account.console(async |aws| aws.ec2.describe_instances().send().await.unwrap());
    let id = found.reservations()[0].instances()[0].instance_id().unwrap();
    report(&account, id, true, Value::Null);
    account.shown("tags_that_are_not_seen", "set-token --generate", 4);
}

#[test]
#[ignore = "slow"]
fn while_up_waits() {
    let account = Account::start();
    meanwhile(&account, "stopped_by_ctrl_c", "up", 130, |child, _| {
        kill_process(Pid::from_child(child), Signal::INT).unwrap();
    });
    account.reset();
    meanwhile(&account, "an_instance_that_was_stopped_meanwhile", "up", 4, |_, id| {
        account.console(async |aws| aws.ec2.terminate_instances().instance_ids(id).send().await.unwrap());
    });
    account.reset();
    // Another up, or a rollback, changes the release meanwhile.
    meanwhile(&account, "another_release_meanwhile", "up", 4, |_, id| {
        account.console(async |aws| {
            until_told(&aws, &id).await;
            let tag = Tag::builder().key("devopsctl:release").value("b".repeat(64)).build();
            aws.ec2.create_tags().resources(id).tags(tag).send().await.unwrap();
        });
    });
    account.reset();
    let error = "HTTP 429 urn:ietf:params:acme:error:rateLimited - too many certificates (5) already issued for this exact \
                 set of identifiers in the last 168h0m0s";
    meanwhile(&account, "no_certificate", "up", 4, |_, id| {
        report(&account, &id, true, json!({"https": true, "phase": "certificate", "error": error}));
    });
    account.reset();
    meanwhile(&account, "a_token_that_goes_meanwhile", "up", 1, |_, id| {
        account.console(async |aws| {
            aws.ssm.delete_parameter().name(TOKEN).send().await.unwrap();
        });
        report(&account, &id, true, json!({"https": true, "phase": "serving"}));
    });
    account.reset();
    meanwhile(&account, "an_app_that_fails", "up", 4, |_, id| report(&account, &id, false, Value::Null));
    account.reset();
    meanwhile(&account, "an_instance_that_no_longer_reports", "up", 4, |_, id| {
        report_until(&account, &id, true, json!({"https": true, "phase": "serving"}), Some(0));
    });
}

/// Writes an agent's report: the app is healthy or has failed; `edge` is the state of the proxy.
fn report(account: &Account, id: &str, healthy: bool, edge: Value) {
    report_until(account, id, healthy, edge, None);
}

/// [`report`], with the time of the next report.
fn report_until(account: &Account, id: &str, healthy: bool, mut edge: Value, next_at: Option<i64>) {
    account.console(async |aws| {
        let (release, again) = until_told(&aws, id).await;
        if edge.is_object() {
            edge["release"] = json!(release);
            edge["try"] = json!(again);
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let report = json!({
            "v": 1, "wanted": {"release": release, "token": 1, "try": again}, "release": healthy.then_some(&release),
            "token": healthy.then_some(1), "phase": if healthy { "healthy" } else { "failed" }, "healthy": healthy,
            "error": (!healthy).then_some("the app answers 500 to its health path"), "edge": edge,
            "log_tail": if healthy { "" } else { "ValueError: no such table: users" }, "at": now,
            "next_at": next_at,
        });
        let name = format!("/devopsctl/hello/report/{id}");
        let put = aws.ssm.put_parameter().name(name).value(report.to_string()).r#type(ParameterType::String);
        put.send().await.unwrap();
    });
}

/// The wanted release, and `devopsctl:try`.
async fn until_told(aws: &Aws, id: &str) -> (String, Option<String>) {
    let found = aws.ec2.describe_instances().instance_ids(id).send().await.unwrap();
    let tags: Vec<Tag> = found.reservations()[0].instances()[0].tags().to_vec();
    let tag = |key: &str| tags.iter().find(|tag| tag.key() == Some(key)).and_then(|tag| tag.value.clone());
    (tag("devopsctl:release").unwrap(), tag("devopsctl:try"))
}
