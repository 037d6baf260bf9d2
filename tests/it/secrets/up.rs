//! `up` and `plan` with the secrets of `app.secrets`.

use serde_json::Value;

use super::{project, stored, variable};
use crate::console::{aws, calls, only_reads};
use crate::project::Project;

fn needs(project: &Project, secrets: &str) {
    project.file("deploy.yaml", &format!("name: hello\napp: {{path: app, secrets: [{secrets}]}}\n"));
}

#[test]
#[ignore = "slow"]
fn a_missing_secret_is_refused_before_anything_is_made() {
    let project = project();
    needs(&project, "DATABASE_URL, {SESSION_KEY: generate}, MAIL_PASSWORD");
    let before = calls(&project).len();
    // Before the build ends, too.
    let text = std::fs::read_to_string(project.folder().join("deploy.yaml")).unwrap();
    project.file("deploy.yaml", &text.replace("path: app,", "path: app, build: sleep 60,"));
    let up = project.run("up --sandbox").code(1);
    assert!(!up.stderr.contains("built release"), "{}", up.shown());
    project.file("deploy.yaml", &text);
    up.says("the app needs secrets that are not set: DATABASE_URL, MAIL_PASSWORD")
        .says("devopsctl secrets set DATABASE_URL MAIL_PASSWORD --sandbox");
    let plan = project.run("plan --sandbox").code(3).says("secret SESSION_KEY");
    plan.says("not set: DATABASE_URL, MAIL_PASSWORD; up will refuse");
    let plan: Value = serde_json::from_str(&project.run("plan --sandbox --json").code(3).stdout).unwrap();
    assert_eq!(plan["missing_secrets"], serde_json::json!(["DATABASE_URL", "MAIL_PASSWORD"]));
    let made: Vec<Value> = calls(&project).split_off(before);
    assert!(made.iter().all(only_reads), "{made:?}");

    for name in ["DATABASE_URL", "MAIL_PASSWORD"] {
        project.run_with(&format!("secrets set --sandbox --stdin {name}"), name).ok();
    }
    let url = project.up();
    assert_eq!(variable(&project, &url, "DATABASE_URL"), "DATABASE_URL");
    let generated = variable(&project, &url, "SESSION_KEY");
    assert_eq!(generated.len(), 43);
    project.run("up --sandbox").ok().says("already up to date");
    assert_eq!(variable(&project, &url, "SESSION_KEY"), generated, "it is generated only once");
}

#[test]
#[ignore = "slow"]
fn a_running_app_gets_a_generated_secret_and_keeps_it() {
    let project = project();
    let url = project.up();
    needs(&project, "{SESSION_KEY: generate}");
    project.run("up --sandbox").ok().says("+ secret SESSION_KEY");
    let generated = variable(&project, &url, "SESSION_KEY");
    assert_eq!(generated.len(), 43);
    // Deleted tags are restored.
    aws(&project, async |aws| {
        let found = aws.ec2.describe_instances().send().await.unwrap();
        let instance = found.reservations()[0].instances()[0].instance_id().unwrap().to_owned();
        let tag = aws_sdk_ec2::types::Tag::builder().key("devopsctl:secrets").build();
        aws.ec2.delete_tags().resources(instance).tags(tag).send().await.unwrap();
    });
    project.run("up --sandbox").ok().says("the secrets differ from the ones in the instance's orders");
    project.run("up --sandbox").ok().says("already up to date");
    // Code changes and rolls back; secrets do not.
    project.file("app/more.py", "MORE = 1\n");
    project.up();
    project.run_with("secrets set --sandbox --stdin GREETING", "hello").ok();
    project.run("rollback --sandbox").ok().says("secrets are not rolled back: the app has the same as before");
    assert_eq!(variable(&project, &url, "SESSION_KEY"), generated);
    assert_eq!(variable(&project, &url, "GREETING"), "hello");
    project.run_with("secrets set --sandbox --stdin --no-restart GREETING", "later").ok();
    project.run("rollback --sandbox").ok().says("those that were stored with --no-restart");
    assert_eq!(variable(&project, &url, "GREETING"), "hello");
    project.run("down --sandbox --yes").ok();
    assert_eq!(stored(&project), [""; 0]);
}
